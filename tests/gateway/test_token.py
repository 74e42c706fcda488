# SPDX-License-Identifier: Apache-2.0
"""The gateway with its keys in a SoftHSM2 token: runs under tests/support/with_token, SEALANE_COUNT names the counting
module between the provider and the token (tests/modules/count.h), which tells what the token was really asked for."""
import glob
import os
import re
import shutil
import signal
import ssl
import struct
import subprocess
import threading
import time
import unittest
from pathlib import Path

from support import (GATEWAY, PATIENCE, Bench, Gateway, GatewayTest, demanding_script, der_of, main, raw_connect,
                     stuffed, without_received)

TOKEN = Path(os.environ["SEALANE_TEST_DIR"])
MESSAGE = b"From: a@client.test\r\nTo: b@hop.test\r\nSubject: signed in the token\r\n\r\n.body\r\n"
P11KIT_CLIENT = next(iter(glob.glob("/usr/lib/*/pkcs11/p11-kit-client.so")), None)
LOGINS, HELD, HOLD = 0, 7, 9  # fields of struct count_file after its magic


class Count:
    """The module's counters; the file is there once the module has been loaded."""

    def __init__(self, path):
        self.path = Path(path)

    def __getitem__(self, field):
        if not self.path.exists():
            return 0
        return struct.unpack_from("=Q", self.path.read_bytes(), 8 + 8 * field)[0]

    def __setitem__(self, field, value):
        with open(self.path, "r+b") as file:
            file.seek(8 + 8 * field)
            file.write(struct.pack("=Q", value))

    def signatures(self):
        return sum(self[field] for field in (3, 4, 5, 6))


class Token(GatewayTest):
    def setUp(self):
        super().setUp()
        self.count = Count(os.path.join(self.folder, "token.count"))
        self.env = {"PKCS11_PROVIDER_MODULE": os.environ["SEALANE_COUNT"], "SEALANE_COUNT_FILE": str(self.count.path)}

    def token_settings(self, hop_port, cnf="openssl.cnf", pairs=(("ec", "ec.key"), ("rsa", "rsa.key"))):
        text = self.settings(hop_port, tls="encrypt", names=(), extra=f'openssl_conf = "{TOKEN / cnf}"',
                             receive="".join(f'certificate {{ chain = "{TOKEN / chain}.pem" key = "{key}" }}\n'
                                             for chain, key in ((c, k if ":" in k else TOKEN / k) for c, k in pairs)))
        return text

    def check(self, text):
        file = os.path.join(self.folder, "check.conf")
        Path(file).write_text(text)
        return subprocess.run([GATEWAY, "check", "-c", file], capture_output=True, text=True, timeout=60, check=False,
                              env=dict(os.environ, **self.env))

    def refused(self, text, *words):
        done = self.check(text)
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = [line for line in done.stderr.splitlines() if re.search(r"check\.conf:\d+: ", line)]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertNotIn((TOKEN / "pin").read_text().strip(), done.stderr)

    def configure(self, name, pattern, replacement):
        text, changes = re.subn(pattern, replacement, (TOKEN / "openssl.cnf").read_text())
        self.assertGreater(changes, 0)
        (TOKEN / name).write_text(text)
        return name

    def run_gateway(self, hop_port, **kwargs):
        gateway = Gateway(self.folder, self.token_settings(hop_port, **kwargs), self.env)
        self.addCleanup(lambda: self.assertEqual(gateway.stop(), 0))
        return gateway

    def context(self, version, key=None):
        context = ssl.create_default_context(cafile=str(TOKEN / "ca.pem"))
        context.minimum_version = context.maximum_version = version
        if key:
            context.set_ciphers({"RSA": "ECDHE-RSA-AES128-GCM-SHA256", "EC": "ECDHE-ECDSA-AES256-GCM-SHA384"}[key])
        return context

    def send(self, gateway, context):
        peer = raw_connect(gateway.port)
        peer.reply()
        peer.ask("EHLO client.test")
        self.assertTrue(peer.ask("STARTTLS").startswith("220 "))
        peer.start_tls(context, "localhost")
        for command, code in (("EHLO client.test", "250"), ("MAIL FROM:<a@client.test>", "250"), ("RCPT TO:<b@hop.test>", "250"),
                              ("DATA", "354")):
            answer = peer.ask(command)
            self.assertTrue(answer.startswith(code), answer)
        peer.send(stuffed(MESSAGE))
        self.assertTrue(peer.reply().startswith("250 "))
        peer.ask("QUIT")
        peer.close()

    def test_mail_with_each_kind_of_key_and_the_token_signs_once_each(self):
        keeper, port = self.start_hop()
        gateway = self.run_gateway(port)
        for version, key in ((ssl.TLSVersion.TLSv1_2, "RSA"), (ssl.TLSVersion.TLSv1_2, "EC"), (ssl.TLSVersion.TLSv1_3, None)):
            before = self.count.signatures()
            self.send(gateway, self.context(version, key))
            arrived, received = without_received(keeper.take()["content"])
            self.assertEqual(arrived, MESSAGE)
            self.assertIn("with ESMTPS", received)
            self.assertEqual(self.count.signatures(), before + 1)
        gateway.wait_line("transaction", 3)
        rows = gateway.events("transaction")
        self.assertEqual([row["key"] for row in rows[:2]], ["RSA", "EC"])
        self.assertNotIn(rows[0]["sealed_by"], ("none", "libcrypto"))

    def test_key_named_by_uri(self):
        keeper, port = self.start_hop()
        gateway = self.run_gateway(port, pairs=(("ec", "pkcs11:token=sealane;object=ec;type=private"),))
        self.send(gateway, self.context(ssl.TLSVersion.TLSv1_3))
        keeper.take()

    def test_our_own_client_certificate_is_in_the_token_too(self):
        seen = []
        hop = self.start_script(demanding_script(self.certificates, str(TOKEN / "ca.pem"), seen))
        text = self.token_settings(hop.port).replace(
            'tls = "may"\n', f'tls = "encrypt"\ncertificate {{ chain = "{TOKEN}/rsa.pem" key = "{TOKEN}/rsa.key" }}\n')
        gateway = Gateway(self.folder, text, self.env)
        self.addCleanup(lambda: self.assertEqual(gateway.stop(), 0))
        before = self.count.signatures()
        self.send(gateway, self.context(ssl.TLSVersion.TLSv1_3))
        self.assertEqual(self.count.signatures(), before + 2)
        self.assertEqual(seen, [der_of(TOKEN / "rsa.pem")])

    def test_loop_goes_on_while_the_token_does_not(self):
        keeper, port = self.start_hop()
        gateway = self.run_gateway(port)
        early = raw_connect(gateway.port)
        early.reply()
        self.count[HOLD] = 1
        try:
            waiting = threading.Thread(target=self.send, args=(gateway, self.context(ssl.TLSVersion.TLSv1_3)))
            waiting.start()
            while self.count[HELD] == 0:
                time.sleep(0.01)
            # The token holds that signature back; everybody else is served all the same.
            for _ in range(50):
                self.assertTrue(early.ask("NOOP").startswith("250 "))
            other = raw_connect(gateway.port)
            self.assertTrue(other.reply().startswith("220 "))
            other.close()
            self.assertEqual(self.count[HELD], 1)
            self.assertTrue(waiting.is_alive())
        finally:
            self.count[HOLD] = 0
        waiting.join()
        keeper.take()
        early.close()

    def test_wrong_pin_is_one_line_and_tried_once(self):
        (TOKEN / "wrongpin").write_text("0000\n")
        cnf = self.configure("wrongpin.cnf", r"file:\S+/pin", f"file:{TOKEN}/wrongpin")
        # Both certificates have their keys in this token: the PIN is shown to it once all the same.
        done = self.check(self.token_settings(25, cnf=cnf))
        self.assertEqual(done.returncode, 1)
        self.assertIn("PIN", done.stderr)
        self.assertNotIn("0000", done.stderr)
        self.assertEqual(self.count[LOGINS], 1)

    def test_missing_things_are_one_clear_line_each(self):
        ec = (("ec", "ec.key"),)
        self.refused(self.token_settings(25, pairs=(("ec", "pkcs11:token=nosuch;object=ec"),)), "nosuch", "sealane")
        self.refused(self.token_settings(25, pairs=(("ec", "pkcs11:token=sealane;object=nosuch"),)), "nosuch")
        self.refused(self.token_settings(25, pairs=(("ec", "pkcs11:token=sealane;colour=red"),)), "colour")
        self.refused(self.token_settings(25, pairs=(("rsa", "ec.key"),)), "rsa.pem")
        cnf = self.configure("nopin.cnf", r"file:\S+/pin", "file:/nonexistent/pin")
        self.refused(self.token_settings(25, cnf=cnf, pairs=ec), "/nonexistent/pin")
        self.env["PKCS11_PROVIDER_MODULE"] = "/nonexistent/module.so"
        self.refused(self.token_settings(25, pairs=ec), "/nonexistent/module.so")

    def test_setting_of_the_provider_that_is_wrong(self):
        cnf = self.configure("wrongset.cnf", r"(pkcs11-module-path = .*)", r"\1\nsealane-sessions = many")
        done = self.check(self.token_settings(25, cnf=cnf))
        self.assertEqual(done.returncode, 1)
        self.assertIn("sealane-sessions", done.stderr)

    @unittest.skipUnless(P11KIT_CLIENT and shutil.which("p11-kit"), "p11-kit server is not installed")
    def test_token_killed_under_load(self):
        """The token lives in another process, which is killed: no message is lost, and signing goes on with its successor."""
        bench = Bench(self.folder, self.certificates)
        self.addCleanup(bench.close)
        address = os.path.join(self.folder, "p11")
        self.start_server(address)
        # A thread that p11-kit's client never lets go (README) keeps a reference to a socket's structure, which nobody frees
        # then. The client has been unloaded when leaks are looked for, so it cannot be named there.
        leaks = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        # It also closes the connection while other threads of it read.
        races = os.environ.get("TSAN_OPTIONS", "") + f":suppressions={Path(__file__).with_name('p11_kit.supp')}"
        self.env = {"PKCS11_PROVIDER_MODULE": P11KIT_CLIENT, "P11_KIT_SERVER_ADDRESS": f"unix:path={address}",
                    "ASAN_OPTIONS": leaks, "TSAN_OPTIONS": races}
        gateway = self.run_gateway(bench.sink_port)
        for _ in range(2):
            done = len(gateway.events("transaction"))
            bench.start_load(gateway.port, "--senders", "20", "--messages", "5", "--size", "20000", "--seconds", "3600")
            gateway.wait_line("transaction", done + 100)
            failed = len(gateway.events("handshake_failed"))
            self.kill_server()
            gateway.wait_line("handshake_failed", failed + 1)  # it has been missed
            self.start_server(address)
            gateway.wait_line("transaction", len(gateway.events("transaction")) + 100)
            result = bench.end_load()
            print(f"    {result['answered']} answered, {result['arrived']} arrived, {result['refused']} refused, "
                  f"{result['broken']} connections broken")
            self.assertGreater(result["answered"], 100)
            self.assertEqual((result["lost"], result["twice"], result["corrupted"]), (0, 0, 0))

    def kill_server(self):
        """With the children that it has for its clients."""
        if self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(PATIENCE)

    def start_server(self, address):
        if os.path.exists(address):
            os.unlink(address)
        module = re.search("pkcs11-module-path = (.*)", (TOKEN / "openssl.cnf").read_text())[1]
        self.server = subprocess.Popen(["p11-kit", "server", "--foreground", "--name", address, "--provider", module, "pkcs11:"],
                                       stdout=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(self.kill_server)
        while not os.path.exists(address):
            self.assertIsNone(self.server.poll(), "p11-kit server does not start")
            time.sleep(0.01)


if __name__ == "__main__":
    main()
