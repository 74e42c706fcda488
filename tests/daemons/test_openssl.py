# SPDX-License-Identifier: Apache-2.0
"""OpenSSL's own commands as an administrator uses them, each signature counted by the token: a CA, requests, CMS, a server
for many connections. (tests/provider/test_openssl.py looks at the commands' every option.)"""
import signal
import subprocess

from support import DaemonTest, Storm, fetch, free_port, main, program

OPENSSL = program("openssl")


class OpenSSL(DaemonTest):
    def openssl(self, *arguments, plain=False):
        done = subprocess.run([OPENSSL, *map(str, arguments)], env=self.site.environment if not plain else
                              dict(self.site.environment, OPENSSL_CONF=self.site.path("ca.cnf")), cwd=self.site.dir,
                              capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, f"openssl {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def signs(self, count=1):
        """A block in which the token signs so often."""
        test, before = self, self.site.signatures()

        class Block:
            def __enter__(self):
                return self

            def __exit__(self, kind, *unused):
                if kind is None:
                    test.assertEqual(test.site.signatures() - before, count)
        return Block()

    def test_server_with_every_client_version_and_key(self):
        for kind in ("ec", "rsa"):
            port = free_port()
            server = self.start([OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-key", self.site.path(f"{kind}.key"), "-cert",
                                 self.site.path(f"{kind}.pem"), "-www"], port)
            self.check_all_clients(port, "Ciphers supported in s_server", kinds=(kind,), web=False)
            server.stop(signal.SIGINT)

    def test_server_under_many_connections(self):
        port = free_port()
        server = self.start([OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-key", self.site.path("ec.key"), "-cert",
                             self.site.path("ec.pem"), "-www", "-quiet"], port)

        def talk(context):
            return b"HTTP/1.0 200 ok" in fetch(port, context)
        before = self.site.signatures()
        with Storm(self.site, talk) as storm:
            storm.wait_more(100)
            storm.stop()
        self.assertEqual(storm.failures, [])
        self.assertGreaterEqual(self.site.signatures() - before, storm.good)
        server.stop(signal.SIGINT)

    def test_ca_with_its_key_in_the_token(self):
        (self.site.dir / "index").write_text("")
        (self.site.dir / "token-ca.cnf").write_text(
            (self.site.dir / "openssl.cnf").read_text() + "\n[ca]\ndefault_ca = it\n[it]\ndatabase = index\nnew_certs_dir = .\n"
            "rand_serial = yes\npolicy = all\ndefault_md = sha256\ndefault_days = 5\ndefault_crl_days = 5\n[all]\ncommonName = supplied\n")
        env = dict(self.site.environment, OPENSSL_CONF=self.site.path("token-ca.cnf"))
        uri = "pkcs11:token=sealane;object=rsa;type=private"
        with self.signs():
            self.openssl("req", "-x509", "-new", "-key", uri, "-subj", "/CN=Token CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                         "-out", "token-ca.pem")
        self.openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-subj", "/CN=leaf", "-out", "leaf.csr")
        for command in (["ca", "-batch", "-in", "leaf.csr", "-out", "leaf.pem", "-notext"], ["ca", "-gencrl", "-out", "crl.pem"]):
            with self.signs():
                done = subprocess.run([OPENSSL, *command, "-keyfile", uri, "-cert", "token-ca.pem"], env=env, cwd=self.site.dir,
                                      capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("OK", self.openssl("verify", "-CAfile", "token-ca.pem", "-CRLfile", "crl.pem", "-crl_check", "leaf.pem", plain=True))

    def test_request_cms_and_pkeyutl(self):
        (self.site.dir / "text").write_text("to be signed\n")
        for kind in ("ec", "rsa"):
            uri = f"pkcs11:token=sealane;object={kind};type=private"
            with self.signs():
                self.openssl("req", "-new", "-key", uri, "-subj", "/CN=me", "-out", "me.csr")
            self.assertIn("verify OK", self.openssl("req", "-in", "me.csr", "-verify", "-noout", plain=True))
            with self.signs():
                self.openssl("cms", "-sign", "-in", "text", "-signer", f"{kind}.pem", "-inkey", uri, "-out", "signed.eml")
            self.openssl("cms", "-verify", "-in", "signed.eml", "-CAfile", "ca.pem", "-purpose", "any", "-out", "/dev/null", plain=True)
            with self.signs():
                self.openssl("pkeyutl", "-sign", "-rawin", "-digest", "sha256", "-in", "text", "-inkey", uri, "-out", "signature")
            self.assertIn("Verified", self.openssl("pkeyutl", "-verify", "-rawin", "-digest", "sha256", "-in", "text", "-certin", "-inkey",
                                                   f"{kind}.pem", "-sigfile", "signature", plain=True))

    def test_storeutl_lists_the_token(self):
        with self.signs(0):
            self.assertRegex(self.openssl("storeutl", "-noout", "pkcs11:token=sealane"), r"Total found: [4-9]")

    def test_speed_runs_and_has_the_engines_ciphers(self):
        out = self.openssl("speed", "-seconds", "1", "-bytes", "4096", "-evp", "aes-128-gcm")
        self.assertRegex(out, r"(?i)aes-128-gcm +[1-9]")
        self.assertRegex(self.openssl("list", "-cipher-algorithms"), "128-GCM.*@ sealane")


if __name__ == "__main__":
    main()
