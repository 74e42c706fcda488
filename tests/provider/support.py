# SPDX-License-Identifier: Apache-2.0
"""What the tests with OpenSSL's commands share. The test's arguments are TOP SEALANE_SO, then unittest's."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

TOP, PROVIDER = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
sys.path.append(str(TOP / "tests/support"))
from ports import free_port  # noqa: E402 (of the tests of all rooms)
EC = "pkcs11:token=sealane;object=ec;type=private"
RSA = "pkcs11:token=sealane;object=rsa;type=private"


class Fixture:
    """A token, keys and certificates of its own."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="sealane-test-")
        self.dir = Path(self.folder.name) / "hsm"
        plain = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "OPENSSL_CONF")}
        made = subprocess.run([TOP / "tests/support/make_token", "--provider", PROVIDER, self.dir], env=plain, capture_output=True,
                              text=True)
        if made.returncode != 0:
            raise RuntimeError(made.stdout + made.stderr)
        self.environment = dict(plain, OPENSSL_CONF=str(self.dir / "openssl.cnf"),
                                SOFTHSM2_CONF=str(self.dir / "softhsm2.conf"), **sanitizer())

    def configure(self, name, change):
        """A copy of openssl.cnf, changed."""
        text = change((self.dir / "openssl.cnf").read_text())
        (self.dir / name).write_text(text)
        return dict(self.environment, OPENSSL_CONF=str(self.dir / name))


def sanitizer():
    """What an instrumented sealane.so needs in a program that is not."""
    keep = ("ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS")
    found = {k: os.environ[k] for k in keep if k in os.environ}
    if "SEALANE_PRELOAD" in os.environ:
        found["LD_PRELOAD"] = os.environ["SEALANE_PRELOAD"]
    return found


class TokenTest(unittest.TestCase):
    """A test case with a fixture, and short ways to say what most tests say."""

    @classmethod
    def setUpClass(cls):
        cls.fixture = Fixture()
        cls.dir = cls.fixture.dir

    @classmethod
    def tearDownClass(cls):
        cls.fixture.folder.cleanup()

    def openssl(self, *arguments, env=None, status=0, stdin=None):
        done = subprocess.run(["openssl", *map(str, arguments)], env=env or self.fixture.environment, cwd=self.dir,
                              capture_output=True, input=stdin, timeout=120)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, status, f"openssl {' '.join(map(str, arguments))}\n{out}\n{err}")
        self.assertNotIn("Sanitizer", err)
        return out + err

    def plain(self):
        return dict(self.fixture.environment, OPENSSL_CONF=str(self.dir / "ca.cnf"))

    # -- serving

    def wait_for(self, server, port):
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            self.assertIsNone(server.poll(), "s_server has ended")
            time.sleep(0.02)

    def serve(self, key, certificate, options, client_options, env=None):
        port = free_port()
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-key", key, "-cert", certificate, "-www", *options],
            env=env or self.fixture.environment, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            self.wait_for(server, port)
            return self.openssl("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", "ca.pem", "-verify_return_error",
                                "-ign_eof", *client_options, stdin=b"GET / HTTP/1.0\r\n\r\n", env=self.plain())
        finally:
            server.terminate()
            server.communicate(timeout=30)
