# SPDX-License-Identifier: Apache-2.0
"""scripts/provision does nothing twice and shows no PIN; scripts/doctor names each thing that is wrong, and what to do."""
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PROVIDER, COUNT = os.environ["SEALANE_PROVIDER"], os.environ["SEALANE_COUNT"]
PLAIN = {k: v for k, v in os.environ.items() if k not in ("OPENSSL_CONF", "SOFTHSM2_CONF", "PKCS11_PROVIDER_MODULE")}
LOW, FINAL, LOCKED = 0x10000, 0x20000, 0x40000
LOGINS, TOKEN_FLAGS = 8, 8 + 8 * 11  # offsets in struct count_file: logins, token_flags


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sealane-scripts-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.dir = self.folder / "site"
        tokens = self.folder / "tokens"
        tokens.mkdir()
        (self.folder / "softhsm2.conf").write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.tokens = tokens
        self.environment = dict(PLAIN, SOFTHSM2_CONF=str(self.folder / "softhsm2.conf"))

    def provision(self, *options, status=0, env=None):
        done = subprocess.run([TOP / "scripts/provision", "--dir", self.dir, "--provider", PROVIDER, *options], text=True,
                              env=env or self.environment, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        if (self.dir / "pin").exists():
            self.assertNotIn((self.dir / "pin").read_text().strip(), done.stdout + done.stderr)
        return done.stdout + done.stderr

    def contents(self):
        """Of what provision writes; SoftHSM2 itself writes in its token whenever it is opened."""
        return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in self.dir.iterdir() if p.is_file()}


class Provision(Base):
    def test_second_run_changes_nothing_and_says_so(self):
        first = self.provision("--self-signed", "--host", "localhost", "--host", "127.0.0.1")
        self.assertIn("made", first)
        before = self.contents()
        second = self.provision("--self-signed", "--host", "localhost", "--host", "127.0.0.1")
        self.assertIn("nothing has been changed", second)
        self.assertNotIn("made", second)
        self.assertEqual(before, self.contents())

    def test_what_it_makes_works(self):
        for kind in ("ec:P-256", "ec:P-384", "rsa:2048"):
            name = kind.replace(":", "-")
            self.provision("--key", name, "--type", kind, "--self-signed", "--host", "localhost")
            text = subprocess.run(["openssl", "x509", "-in", self.dir / f"{name}.pem", "-noout", "-text"], env=PLAIN, text=True,
                                  capture_output=True, check=True).stdout
            self.assertIn("DNS:localhost", text)
            self.assertIn({"e": "id-ecPublicKey", "r": "rsaEncryption"}[kind[0]], text)
            self.assertIn("PKCS#11 PROVIDER URI", (self.dir / f"{name}.key").read_text())
            self.assertEqual((self.dir / "pin").stat().st_mode & 0o077, 0)

    def test_request(self):
        self.provision("--host", "mx.example", "--host", "2001:db8::1")
        text = subprocess.run(["openssl", "req", "-in", self.dir / "tls.csr", "-noout", "-text", "-verify"], env=PLAIN, text=True,
                              capture_output=True, check=True)
        self.assertIn("DNS:mx.example", text.stdout)
        self.assertIn("IP Address:2001:DB8:0:0:0:0:0:1", text.stdout)
        self.assertFalse((self.dir / "tls.pem").exists())

    def test_wrong_pin_is_tried_once(self):
        self.provision()
        (self.dir / "pin").write_text("7391846205\n")
        count = self.folder / "count"
        env = dict(self.environment, SEALANE_COUNT_FILE=str(count), SEALANE_COUNT_MODULE=self.module())
        out = self.provision("--module", COUNT, status=1, env=env)
        self.assertIn("CKR_PIN_INCORRECT", out)
        self.assertEqual(int.from_bytes(count.read_bytes()[LOGINS:LOGINS + 8], "little"), 1)

    def module(self):
        return re.search(r"pkcs11-module-path = (.*)", (self.dir / "openssl.cnf").read_text()).group(1)

    def test_what_cannot_be_is_one_line(self):
        for options, part in ((("--type", "dsa:1024"), "dsa:1024"), (("--module", "/nonexistent.so"), "/nonexistent.so"),
                              (("--key", "a;b"), "a;b"), (("--days", "many"), "many"), (("--host", "a,b"), "a,b"),
                              (("--user", "nosuchuser"), "nosuchuser")):
            out = self.provision(*options, status=1)
            self.assertEqual(len(out.strip().splitlines()), 1, out)
            self.assertIn(part, out)

    def test_changed_settings_are_kept(self):
        self.provision()
        with open(self.dir / "openssl.cnf", "a", encoding="ascii") as file:
            file.write("# mine\n")
        out = self.provision()
        self.assertIn("openssl.cnf.new", out)
        self.assertIn("# mine", (self.dir / "openssl.cnf").read_text())


class Doctor(Base):
    def setUp(self):
        super().setUp()
        self.provision("--self-signed", "--host", "localhost")
        self.cnf = self.dir / "openssl.cnf"
        self.key, self.certificate = self.dir / "tls.key", self.dir / "tls.pem"

    def doctor(self, *options, env=None):
        done = subprocess.run([TOP / "scripts/doctor", "--json", "--config", self.cnf, "--key", str(self.key), "--certificate",
                               self.certificate, *options], env=env or self.environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        self.assertNotIn((self.dir / "pin").read_text().strip() or "no pin", done.stdout)
        self.status = done.returncode
        return {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines()) if finding["level"] != "ok"}

    def finds(self, check, *words, level="error", options=(), env=None):
        """Exactly this finding, with these words in it, something to do, and the right status."""
        found = self.doctor(*options, env=env)
        self.assertEqual(list(found), [check], found)
        self.assertEqual(found[check]["level"], level)
        for word in words:
            self.assertIn(word, found[check]["what"])
        self.assertTrue(found[check]["do"])
        self.assertEqual(self.status, 1 if level == "error" else 0)

    def change(self, old, new):
        text = self.cnf.read_text()
        self.assertIn(old, text)
        self.cnf.write_text(text.replace(old, new))

    def test_good(self):
        self.assertEqual(self.doctor(), {})
        self.assertEqual(self.status, 0)
        people = subprocess.run([TOP / "scripts/doctor", "--config", self.cnf, "--key", self.key], env=self.environment,
                                capture_output=True, text=True, check=True).stdout
        self.assertIn("ok       key", people)

    def test_config_missing(self):
        self.cnf = self.dir / "nosuch.cnf"
        self.finds("config", "nosuch.cnf")

    def test_config_without_beginning(self):
        self.change("openssl_conf = openssl_init\n", "")
        self.finds("config", "openssl_conf")

    def test_config_without_provider(self):
        self.change("sealane = sealane_settings\n", "")
        self.finds("config", "no provider sealane")

    def test_provider_not_activated(self):
        self.change("activate = 1\n\n[algorithms]", "\n[algorithms]")
        self.finds("config", "activate = 1")

    def test_provider_missing(self):
        self.change(PROVIDER, "/nonexistent/sealane.so")
        self.finds("provider", "/nonexistent/sealane.so", "does not exist")

    def test_provider_not_loaded_says_why(self):
        self.change("activate = 1\n\n[algorithms]", "sealane-sessions = many\nactivate = 1\n\n[algorithms]")
        self.finds("provider", "sealane-sessions")

    def test_records_not_ours(self):
        self.change("default_properties = ?sealane.records=yes\n", "")
        self.finds("records", "provider default", "default_properties", level="warning")

    def test_no_module_set(self):
        self.cnf.write_text(re.sub(r"pkcs11-module-path.*\n", "", self.cnf.read_text()))
        self.finds("module", "no PKCS#11 module")

    def test_module_missing(self):
        self.cnf.write_text(re.sub(r"pkcs11-module-path = .*", "pkcs11-module-path = /nonexistent.so", self.cnf.read_text()))
        self.finds("module", "/nonexistent.so", "does not exist")

    def test_module_that_is_none(self):
        other = self.folder / "other.so"
        other.write_bytes(b"no library")
        self.cnf.write_text(re.sub(r"pkcs11-module-path = .*", f"pkcs11-module-path = {other}", self.cnf.read_text()))
        self.finds("module", "other.so")

    def test_token_not_there(self):
        self.key = "pkcs11:token=nosuch;object=tls;type=private"
        self.finds("token", "nosuch", "sealane")

    def test_key_file_without_uri(self):
        self.key.write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
        self.finds("key", "no PKCS#11 URI")

    def test_key_not_found(self):
        self.key = "pkcs11:token=sealane;object=nosuch;type=private"
        self.finds("key", "nosuch")

    def test_pin_file_missing(self):
        self.change("/pin\n", "/nopin\n")
        self.finds("pin-file", "nopin", "does not exist")

    def test_no_pin_set(self):
        self.cnf.write_text(re.sub(r"pkcs11-module-token-pin.*\n", "", self.cnf.read_text()))
        self.finds("pin-file", "no PIN is set", level="warning")

    def test_pin_file_open_to_all(self):
        (self.dir / "pin").chmod(0o644)
        self.finds("pin-file", "everybody", level="warning")

    def counted(self, flags=0):
        """The counting module in between, whose token says `flags` besides; and what tells the number of logins."""
        module = re.search(r"pkcs11-module-path = (.*)", self.cnf.read_text()).group(1)
        count = self.folder / "count"
        count.write_bytes(bytes(TOKEN_FLAGS) + flags.to_bytes(8, "little") + bytes(64))
        env = dict(self.environment, PKCS11_PROVIDER_MODULE=COUNT, SEALANE_COUNT_MODULE=module, SEALANE_COUNT_FILE=str(count))
        return env, lambda: int.from_bytes(count.read_bytes()[LOGINS:LOGINS + 8], "little")

    def test_wrong_pin_costs_one_try_and_the_next_run_none(self):
        (self.dir / "pin").write_text("7391846205\n")
        env, logins = self.counted()
        self.finds("pin", "refuses the PIN", "CKR_PIN_INCORRECT", "few tries are left", env=env)
        self.assertEqual(logins(), 1)
        self.finds("pin", "few tries are left", "not been tried", env=env)
        self.assertEqual(logins(), 1)
        self.finds("pin", "refuses the PIN", options=("--try-pin",), env=env)
        self.assertEqual(logins(), 2)

    def test_last_try_is_not_burnt(self):
        env, logins = self.counted(FINAL)
        self.finds("pin", "one try left", options=("--try-pin",), env=env)
        self.assertEqual(logins(), 0)

    def test_locked_token(self):
        env, logins = self.counted(LOCKED)
        self.finds("pin", "locked", env=env)
        self.assertEqual(logins(), 0)

    def test_certificate_expired(self):
        (self.dir / "index").touch()
        settings = self.dir / "ca.cnf"
        settings.write_text("[ca]\ndefault_ca = ca\n[ca]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\npolicy = all\n"
                            "default_md = sha256\n[all]\ncommonName = supplied\n[req]\ndistinguished_name = n\n[n]\n")
        self.provision("--host", "localhost")
        self.certificate.unlink()
        self.provision("--host", "localhost")
        for command in (["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out",
                         "ca.pem", "-subj", "/CN=CA"],
                        ["ca", "-batch", "-in", "tls.csr", "-cert", "ca.pem", "-keyfile", "ca.key", "-notext", "-out", "tls.pem",
                         "-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]):
            subprocess.run(["openssl", *command, "-config", settings], cwd=self.dir, env=PLAIN, capture_output=True, check=True)
        self.finds("certificate", "expired")

    def test_certificate_missing(self):
        self.certificate.unlink()
        self.finds("certificate", "tls.pem")

    def test_key_of_another_certificate(self):
        self.provision("--key", "other", "--self-signed", "--host", "localhost")
        self.certificate = self.dir / "other.pem"
        self.finds("pair", "is not the key of")

    @unittest.skipUnless(os.getuid() == 0, "only root can look as somebody else")
    def test_as_the_daemons_user(self):
        user = "nobody"
        self.finds("config", user, "cannot read", options=("--user", user))
        self.dir.chmod(0o711)
        self.finds("token-directory", user, str(self.tokens), options=("--user", user))
        for place in (self.tokens, *self.tokens.rglob("*")):
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)
        self.finds("key", user, "cannot read", options=("--user", user))
        self.key.chmod(0o644)
        self.finds("pin-file", user, "cannot read", options=("--user", user))
        os.chown(self.dir / "pin", pwd.getpwnam(user).pw_uid, -1)
        self.assertEqual(self.doctor("--user", user), {})


if __name__ == "__main__":
    unittest.main(verbosity=2)
