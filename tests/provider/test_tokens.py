# SPDX-License-Identifier: Apache-2.0
"""One suite for every kind of token that Debian has: SoftHSM2, SoftHSM2 in another process behind p11-kit server, NSS's
softokn, and a TPM 2 (swtpm with tpm2-pkcs11). What a token cannot do, or is not installed, is skipped.

usage: test_tokens.py SEALANE_SO TOKEN_LOAD FAULT_MODULE [unittest's arguments, such as a name]
"""

import glob
import json
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROVIDER, LOAD, FAULT = (Path(a).resolve() for a in sys.argv[1:4])
LONG = os.environ.get("SEALANE_TEST_LONG") == "1"
PIN = "sealane-1234"


def library(*patterns):
    for pattern in patterns:
        for found in sorted(glob.glob(pattern)):
            return found
    return None


SOFTHSM = library("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so")


def times(out, word):
    """When token_load said so."""
    return [float(line.split()[1]) for line in out.splitlines() if line.startswith(word + " ")]


def heard(load, word, since):
    """What token_load says, until it has said that word of a time after `since`."""
    out = ""
    for line in load.stdout:
        out += line
        if any(t > since for t in times(line, word)):
            break
    return out


class Machine:
    """A folder, an environment and commands in it."""

    def __init__(self, name):
        self.folder = tempfile.TemporaryDirectory(prefix=f"sealane-{name}-")
        self.dir = Path(self.folder.name)
        self.env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "OPENSSL_CONF")}
        self.daemons = []

    def run(self, *command, env=None, check=True, **more):
        done = subprocess.run([str(c) for c in command], env=env or self.env, cwd=self.dir, capture_output=True, text=True,
                              timeout=300, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def daemon(self, *command, **more):
        started = subprocess.Popen([str(c) for c in command], env=self.env, cwd=self.dir, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True, **more)
        self.daemons.append(started)
        return started

    def kill(self, daemon):
        """With all that it has started: it leads a session of its own."""
        try:
            os.killpg(daemon.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        daemon.wait()

    def clean(self):
        for daemon in self.daemons:
            self.kill(daemon)
        self.folder.cleanup()

    def configure(self, name, module, settings="", first="default"):
        """openssl.cnf with the providers in either order."""
        order = ["default", "sealane"] if first == "default" else ["sealane", "default"]
        (self.dir / name).write_text(
            "openssl_conf = init\n[init]\nproviders = providers\n[providers]\n"
            + "".join(f"{p} = {p}_settings\n" for p in order)
            + "[default_settings]\nactivate = 1\n[sealane_settings]\nactivate = 1\n"
            + f"module = {PROVIDER}\npkcs11-module-path = {module}\npkcs11-module-token-pin = file:{self.dir}/pin\n{settings}\n"
            + "[req]\ndistinguished_name = dn\n[dn]\n")
        (self.dir / "pin").write_text(PIN + "\n")
        return str(self.dir / name)


class Suite:
    """What holds for every token. `machine`, `module`, `keys` (name: URI) come from the classes below."""

    settings = ""
    threads, handshakes = 8, 1000 if LONG else 40

    @classmethod
    def tearDownClass(cls):
        if getattr(cls, "machine", None):
            cls.machine.clean()

    @classmethod
    def begin(cls):
        m = cls.machine
        cls.plain = dict(m.env)
        for first in ("default", "sealane"):
            m.configure(f"{first}.cnf", cls.module, cls.settings, first)
        m.env["OPENSSL_CONF"] = str(m.dir / "default.cnf")
        for name in ("PRELOAD",):
            if "SEALANE_PRELOAD" in os.environ:
                m.env["LD_PRELOAD"] = os.environ["SEALANE_PRELOAD"]
        for name, uri in cls.keys.items():
            m.run("openssl", "req", "-x509", "-new", "-key", uri, "-subj", f"/CN={name}", "-days", "3", "-addext",
                  "basicConstraints=critical,CA:true", "-out", f"{name}.pem")

    def load(self, name, *arguments, env=None, check=True):
        done = self.machine.run(LOAD, "--cert", f"{name}.pem", "--key", self.keys[name], *arguments, env=env, check=check)
        return json.loads(done.stdout.splitlines()[-1]), done

    def test_commands_end_with_status_0_whatever_the_order(self):
        m = self.machine
        (m.dir / "message").write_bytes(b"MAIL FROM:<alice@example.org>\r\n")
        for first in ("default", "sealane"):
            env = dict(m.env, OPENSSL_CONF=str(m.dir / f"{first}.cnf"))
            for name, uri in self.keys.items():
                m.run("openssl", "pkey", "-in", uri, "-pubout", "-out", f"{name}.pub", env=env)
                m.run("openssl", "pkey", "-in", uri, "-out", f"{name}.key", env=env)
                for key in (uri, f"{name}.key"):
                    m.run("openssl", "dgst", "-sha256", "-sign", key, "-out", "signature", "message", env=env)
                    m.run("openssl", "dgst", "-sha256", "-verify", f"{name}.pub", "-signature", "signature", "message",
                          env=self.plain)
            listed = m.run("openssl", "storeutl", "-noout", self.token, env=env).stdout
            self.assertRegex(listed, r"Total found: [1-9]")

    def test_handshakes_of_many_threads(self):
        for name in self.keys:
            for version in ([], ["--tls12"]):
                got, _ = self.load(name, "--threads", self.threads, "--handshakes", self.handshakes, *version)
                self.assertEqual((got["good"], got["failed"]), (self.handshakes, 0))

    def test_children_and_parent_sign_at_once(self):
        children = 24 if LONG else 4
        for when in ("before", "after"):
            for name in self.keys:
                with self.subTest(load=when, key=name):
                    got, done = self.load(name, "--threads", 2, "--children", children, "--handshakes", 4 * self.handshakes,
                                          "--load", when)
                    self.assertEqual((got["good"] >= 4 * self.handshakes, got["failed"], got["bad_children"]), (True, 0, 0),
                                     done.stderr)


def softhsm_token(machine, label, keys):
    """A token with new keys: {label: type}."""
    (machine.dir / "tokens").mkdir(exist_ok=True)
    conf = machine.dir / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {machine.dir}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    machine.env["SOFTHSM2_CONF"] = str(conf)
    machine.run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "officer", "--pin", PIN)
    for number, (name, kind) in enumerate(keys.items(), 1):
        machine.run("pkcs11-tool", "--module", SOFTHSM, "--token-label", label, "--login", "--pin", PIN, "--keypairgen", "--key-type",
                    kind, "--label", name, "--id", f"{number:02x}")


SOFT_KEYS = {"ec": "EC:prime256v1", "rsa": "rsa:2048"}


@unittest.skipUnless(SOFTHSM, "SoftHSM2 is not installed")
class SoftHSM(Suite, unittest.TestCase):
    token = "pkcs11:token=soft"
    keys = {n: f"pkcs11:token=soft;object={n};type=private" for n in SOFT_KEYS}

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine("soft")
        softhsm_token(cls.machine, "soft", SOFT_KEYS)
        cls.module = SOFTHSM
        cls.begin()


class P11KitServer:
    """SoftHSM2 in a process that can be killed."""

    def __init__(self, machine):
        self.machine = machine
        self.socket = machine.dir / "p11"
        machine.env["P11_KIT_SERVER_ADDRESS"] = f"unix:path={self.socket}"
        self.start()

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.daemon = self.machine.daemon("p11-kit", "server", "--foreground", "--name", self.socket, "--provider", SOFTHSM,
                                          "pkcs11:")
        while not self.socket.exists():
            if self.daemon.poll() is not None:
                raise AssertionError("p11-kit server does not start")
            time.sleep(0.01)

    def kill(self):
        self.machine.kill(self.daemon)


P11KIT_CLIENT = library("/usr/lib/*/pkcs11/p11-kit-client.so")


@unittest.skipUnless(SOFTHSM and P11KIT_CLIENT and shutil.which("p11-kit"), "p11-kit server is not installed")
class SoftHSMBehindP11Kit(Suite, unittest.TestCase):
    token, keys = SoftHSM.token, SoftHSM.keys

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine("p11kit")
        softhsm_token(cls.machine, "soft", SOFT_KEYS)
        cls.server = P11KitServer(cls.machine)
        cls.module = P11KIT_CLIENT
        cls.begin()

    def test_server_killed_in_the_middle_of_handshakes_and_restarted(self):
        m, hold, over = self.machine, self.machine.dir / "hold", self.machine.dir / "over"
        # Threads that p11-kit's client never lets go (README) end with their time-out, and the load with them.
        env = dict(m.env, OPENSSL_CONF=m.configure("impatient.cnf", self.module, "sealane-timeout-ms = 3000"))
        load = subprocess.Popen([LOAD, "--cert", "ec.pem", "--key", self.keys["ec"], "--threads", "4", "--seconds",
                                 "8" if LONG else "120", "--hold", hold, "--until", over], env=env, cwd=m.dir,
                                stdout=subprocess.PIPE, text=True)
        wait_for(hold.exists)
        hold.unlink()
        time.sleep(0.5)
        killed = time.monotonic()
        self.server.kill()
        out = heard(load, "down", killed)
        self.server.start()
        started = time.monotonic()
        out += heard(load, "up", started)
        if not LONG:
            over.touch()
        out += load.communicate(timeout=120)[0]
        self.assertEqual(load.returncode, 0)
        got = json.loads(out.splitlines()[-1])
        after = [t - started for t in times(out, "up") if t > started]
        self.assertTrue(after, out)
        print(f"killed and restarted: first success {after[0]:.3f} s after the start; {got}", file=sys.stderr)
        self.assertEqual(got["silent"], 0)
        if LONG:  # figures, for a machine that does nothing else
            self.assertLess(after[0], 1.0)
            self.assertGreater(got["good"], 1000)


NSS = library("/usr/lib/*/nss/libsoftokn3.so", "/usr/lib/*/libsoftokn3.so")


@unittest.skipUnless(NSS and shutil.which("certutil") and shutil.which("pk12util"), "NSS's tools are not installed")
class NSSSoftokn(Suite, unittest.TestCase):
    token = "pkcs11:token=NSS%20Certificate%20DB"
    keys = {n: f"pkcs11:token=NSS%20Certificate%20DB;object={n};type=private" for n in ("ec", "rsa")}

    @classmethod
    def setUpClass(cls):
        m = cls.machine = Machine("nss")
        (m.dir / "db").mkdir()
        m.env["NSS_MAX_MP_PBE_ITERATION_COUNT"] = "1"  # else each use of a key costs thousands of hashes
        (m.dir / "pin").write_text(PIN + "\n")
        m.run("certutil", "-N", "-d", "sql:db", "-f", "pin")
        for name, kind in (("ec", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("rsa", ["rsa:2048"])):
            m.run("openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", "soft.key", "-out", "soft.pem", "-subj",
                  f"/CN={name}", "-days", "3", stdin=subprocess.DEVNULL)
            m.run("openssl", "pkcs12", "-export", "-inkey", "soft.key", "-in", "soft.pem", "-name", name, "-passout", "pass:x", "-out",
                  "soft.p12")
            m.run("pk12util", "-i", "soft.p12", "-d", "sql:db", "-k", "pin", "-W", "x", "-n", name)
        cls.module = NSS
        cls.settings = (f"pkcs11-module-init-args = configdir='sql:{m.dir}/db' certPrefix='' keyPrefix='' secmod='' "
                        "flags=optimizeSpace")
        cls.begin()


TPM2 = library("/usr/lib/*/pkcs11/libtpm2_pkcs11.so", "/usr/lib/*/libtpm2_pkcs11.so.1")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("a daemon of the test does not start")


def free_ports():
    """swtpm's TCTI takes the control channel to be one port above the command's."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            try:
                b.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                continue


@unittest.skipUnless(TPM2 and all(map(shutil.which, ("swtpm", "tpm2_ptool", "tpm2-abrmd", "dbus-daemon"))),
                     "swtpm, tpm2-abrmd and tpm2-pkcs11 are not installed")
class TPM(Suite, unittest.TestCase):
    token = "pkcs11:token=tpm"
    keys = {n: f"pkcs11:token=tpm;object={n};type=private" for n in ("ec", "rsa")}
    threads, handshakes = 4, 20

    @classmethod
    def setUpClass(cls):
        m = cls.machine = Machine("tpm")
        port = free_ports()
        (m.dir / "state").mkdir()
        m.daemon("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={m.dir}/state", "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
                 "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1", "--flags", "not-need-init,startup-clear")
        # The chip has room for three keys at a time; the resource manager swaps them, as on a real machine.
        wait_for(lambda: listens(port + 1))
        bus = f"unix:path={m.dir}/bus"
        m.daemon("dbus-daemon", "--session", "--nofork", f"--address={bus}")
        wait_for((m.dir / "bus").exists)
        m.env["DBUS_SESSION_BUS_ADDRESS"] = bus
        m.daemon("tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}", "--max-connections=100")
        m.env["TPM2_PKCS11_STORE"] = str(m.dir)
        for name in ("TPM2_PKCS11_TCTI", "TPM2TOOLS_TCTI"):
            m.env[name] = "tabrmd:bus_type=session"
        wait_for(lambda: m.run("tpm2_getrandom", "--hex", "1", check=False).returncode == 0)
        m.run("tpm2_ptool", "init")
        m.run("tpm2_ptool", "addtoken", "--pid=1", "--label=tpm", "--sopin=officer", f"--userpin={PIN}")
        for name, kind in (("ec", "ecc256"), ("rsa", "rsa2048")):
            m.run("tpm2_ptool", "addkey", "--label=tpm", f"--userpin={PIN}", f"--algorithm={kind}", f"--key-label={name}")
        cls.module = TPM2
        cls.begin()

    # tpm2-abrmd is reached through GLib's D-Bus, which does not survive a fork once it is in use.
    def test_children_and_parent_sign_at_once(self):
        got, done = self.load("ec", "--children", 2, "--handshakes", 20, "--load", "after")
        self.assertEqual((got["failed"], got["bad_children"]), (0, 0), done.stderr)


@unittest.skipUnless(SOFTHSM, "SoftHSM2 is not installed")
class TokenThatGoesAway(unittest.TestCase):
    """Seen from TLS: the token is taken out under load and put back, into another slot."""

    @classmethod
    def setUpClass(cls):
        m = cls.machine = Machine("away")
        softhsm_token(m, "soft", SOFT_KEYS)
        cls.module, cls.token, cls.keys = FAULT, SoftHSM.token, SoftHSM.keys
        m.env.update(SEALANE_FAULT_MODULE=SOFTHSM, SEALANE_FAULT_FILE=str(m.dir / "fault"))
        Suite.begin.__func__(cls)
        with open(m.dir / "fault", "r+b") as file:
            cls.orders = mmap.mmap(file.fileno(), 0)

    @classmethod
    def tearDownClass(cls):
        cls.machine.clean()

    settings = ""

    def order(self, offset, value):
        self.orders[offset:offset + 8] = struct.pack("=Q", value)

    def test_first_success_within_a_second_and_every_failure_with_an_alert(self):
        m, hold, over, gone = self.machine, self.machine.dir / "hold", self.machine.dir / "over", 10 if LONG else 1
        for name in self.keys:
            with self.subTest(key=name):
                load = subprocess.Popen([LOAD, "--cert", f"{name}.pem", "--key", self.keys[name], "--threads", "8", "--children", "2",
                                         "--seconds", str(gone + 3 if LONG else 120), "--hold", hold, "--until", over], env=m.env,
                                        cwd=m.dir, stdout=subprocess.PIPE, text=True)
                wait_for(hold.exists)
                hold.unlink()
                time.sleep(0.5)
                away = time.monotonic()
                self.order(8, 1)
                out = heard(load, "down", away)
                time.sleep(gone)
                self.order(56, 5)
                self.order(8, 0)
                back = time.monotonic()
                out += heard(load, "up", back)
                if not LONG:
                    over.touch()
                out += load.communicate(timeout=120)[0]
                over.unlink(missing_ok=True)
                self.assertEqual(load.returncode, 0)
                got = json.loads(out.splitlines()[-1])
                # Those that had their signature when the token went succeed after the first failure, hence "after".
                after = [t - back for t in times(out, "up") if t > back]
                self.assertTrue(after, out)
                print(f"{name}: away {gone} s, first success {after[0]:.3f} s after the return; {got}", file=sys.stderr)
                self.assertGreater(got["failed"], 0)
                self.assertEqual((got["silent"], got["bad_children"]), (0, 0))
                if LONG:
                    self.assertLess(after[0], 1.0)
                self.order(56, 0)


@unittest.skipUnless(LONG and SOFTHSM, "long")
class ManyThreads(Suite, unittest.TestCase):
    token, keys = SoftHSM.token, SoftHSM.keys
    test_commands_end_with_status_0_whatever_the_order = test_children_and_parent_sign_at_once = None

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine("many")
        softhsm_token(cls.machine, "soft", SOFT_KEYS)
        cls.module = SOFTHSM
        cls.begin()

    def test_handshakes_of_many_threads(self):
        for name in self.keys:
            got, _ = self.load(name, "--threads", 64, "--seconds", 60)
            print(f"{name}: 64 threads, 60 s: {got}", file=sys.stderr)
            self.assertEqual(got["failed"], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
