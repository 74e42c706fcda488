# SPDX-License-Identifier: Apache-2.0
"""OpenSSL's own commands with keys of a SoftHSM2 token: they do their work, exit with 0 and do not crash.

usage: test_openssl.py TOP SEALANE_SO
"""

import os
import re
import socket
import subprocess
import sys
import unittest

from support import EC, RSA, TokenTest, free_port


class OpenSSL(TokenTest):
    # -- looking

    def test_storeutl_lists_what_the_token_holds(self):
        out = self.openssl("storeutl", "-noout", "pkcs11:token=sealane")
        self.assertIn("Total found: 4", out)
        self.assertIn("Total found: 1", self.openssl("storeutl", "-noout", EC))

    def test_storeutl_text_shows_uri_and_public_part(self):
        out = self.openssl("storeutl", "-noout", "-text", RSA)
        self.assertIn("object=rsa", out)
        self.assertIn("Modulus:", out)
        self.assertNotIn((self.dir / "pin").read_text().strip(), out)

    def test_public_key_can_be_read_from_the_private_one(self):
        for uri in (EC, RSA):
            public = self.openssl("pkey", "-in", uri, "-pubout")
            self.assertIn("BEGIN PUBLIC KEY", public)
            self.assertEqual(public, self.openssl("pkey", "-pubin", "-in", uri.replace("private", "public"), "-pubout"))

    def test_pem_uri_file_round_trip(self):
        for name, uri in (("ec", EC), ("rsa", RSA)):
            first = self.openssl("pkey", "-in", uri)
            self.assertIn("BEGIN PKCS#11 PROVIDER URI", first)
            (self.dir / "again.key").write_text(first)
            self.assertEqual(first, self.openssl("pkey", "-in", "again.key"))
            self.assertEqual(self.openssl("pkey", "-in", "again.key", "-pubout"),
                             self.openssl("pkey", "-in", uri, "-pubout"))

    def test_pem_uri_files_of_pkcs11_provider_are_read(self):
        # As its uri2pem.py writes them; the DER is spelt out, with no code of ours in between.
        uri = EC.encode()
        description = b"PKCS#11 Provider URI v1.0"
        body = bytes([0x1A, len(description)]) + description + bytes([0x0C, len(uri)]) + uri
        (self.dir / "theirs.der").write_bytes(bytes([0x30, len(body)]) + body)
        base64 = self.openssl("base64", "-in", "theirs.der", env=self.plain())
        (self.dir / "theirs.key").write_text(
            f"-----BEGIN PKCS#11 PROVIDER URI-----\n{base64}-----END PKCS#11 PROVIDER URI-----\n")
        self.assertIn("P-256", self.openssl("pkey", "-in", "theirs.key", "-noout", "-text"))

    def test_the_private_key_does_not_come_out(self):
        # As DER there is no form for it but its URI.
        self.openssl("pkey", "-in", EC, "-outform", "DER", "-out", "leak.der")
        self.assertIn(b"pkcs11:", (self.dir / "leak.der").read_bytes())
        self.assertLess((self.dir / "leak.der").stat().st_size, 400)
        text = self.openssl("pkey", "-in", EC, "-text", "-noout")
        self.assertNotIn("priv:", text)

    # -- signing

    def test_pkeyutl_signs_and_others_verify(self):
        (self.dir / "digest").write_bytes(bytes(range(32)))
        cases = [(EC, "ec", []), (RSA, "rsa", ["-pkeyopt", "digest:sha256"]),
                 (RSA, "rsa", ["-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:32"]),
                 (RSA, "rsa", ["-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:max"]),
                 (RSA, "rsa", [])]
        for uri, name, options in cases:
            self.openssl("pkeyutl", "-sign", "-inkey", uri, "-in", "digest", "-out", "signature", *options)
            self.assertIn("Verified", self.openssl("pkeyutl", "-verify", "-certin", "-inkey", f"{name}.pem", "-in", "digest",
                                                   "-sigfile", "signature", *options, env=self.plain()))
            # and the token's own key verifies too
            self.assertIn("Verified", self.openssl("pkeyutl", "-verify", "-inkey", uri, "-in", "digest", "-sigfile", "signature",
                                                   *options))
            broken = bytearray((self.dir / "signature").read_bytes())
            broken[-1] ^= 1
            (self.dir / "signature").write_bytes(broken)
            self.openssl("pkeyutl", "-verify", "-inkey", uri, "-in", "digest", "-sigfile", "signature", *options, status=1)

    def test_every_digest_signs(self):
        (self.dir / "text").write_text("to be signed")
        for digest in ("sha1", "sha224", "sha256", "sha384", "sha512"):
            for uri, name in ((EC, "ec"), (RSA, "rsa")):
                self.openssl("dgst", f"-{digest}", "-sign", uri, "-out", "signature", "text")
                self.openssl("x509", "-in", f"{name}.pem", "-pubkey", "-noout", "-out", "public.pem", env=self.plain())
                self.assertIn("Verified OK", self.openssl("dgst", f"-{digest}", "-verify", "public.pem", "-signature",
                                                          "signature", "text", env=self.plain()))

    def test_self_signed_certificate_and_request(self):
        for uri, options in ((EC, []), (RSA, []), (RSA, ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"])):
            self.openssl("req", "-x509", "-key", uri, "-subj", "/CN=self", "-out", "self.pem", "-days", "2", *options)
            self.assertIn("OK", self.openssl("verify", "-CAfile", "self.pem", "self.pem", env=self.plain()))
            text = self.openssl("x509", "-in", "self.pem", "-noout", "-text", env=self.plain())
            if uri == EC:
                self.assertIn("ASN1 OID: prime256v1", text)  # a named curve, no explicit parameters
            if options:
                self.assertIn("rsassaPss", text)
                self.assertIn("Salt Length: 0x20", text)
            self.openssl("req", "-new", "-key", uri, "-subj", "/CN=request", "-out", "request.pem", *options)
            self.assertIn("verify OK", self.openssl("req", "-in", "request.pem", "-verify", "-noout", env=self.plain()))

    def test_cms_signature(self):
        (self.dir / "text").write_text("to be signed\n")
        self.openssl("cms", "-sign", "-in", "text", "-signer", "ec.pem", "-inkey", EC, "-out", "signed.eml")
        self.openssl("cms", "-verify", "-in", "signed.eml", "-CAfile", "ca.pem", "-purpose", "any", "-out", "/dev/null",
                     env=self.plain())

    # -- serving

    def test_s_server_with_every_kind_of_handshake(self):
        for name, uri in (("ec", EC), ("rsa", RSA)):
            for key in (uri, f"{name}.key"):
                for version in ("-tls1_2", "-tls1_3"):
                    out = self.serve(key, f"{name}.pem", [version], [version])
                    self.assertIn("Verify return code: 0 (ok)", out)
                    self.assertIn("GCM", out)
        out = self.serve(RSA, "rsa.pem", ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
                         ["-tls1_2", "-sigalgs", "RSA+SHA256"])
        self.assertIn("Verify return code: 0 (ok)", out)

    def test_client_certificate_from_the_token(self):
        port = free_port()
        server = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-key", "ec.key", "-cert", "ec.pem",
                                   "-Verify", "1", "-CAfile", "ca.pem", "-verify_return_error", "-www"],
                                  env=self.fixture.environment, cwd=self.dir, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.wait_for(server, port)
            for version in ("-tls1_2", "-tls1_3"):
                out = self.openssl("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", "ca.pem", "-cert", "rsa.pem", "-key",
                                   RSA, version, "-ign_eof", stdin=b"GET / HTTP/1.0\r\n\r\n")
                self.assertIn("HTTP/1.0 200 ok", out)
        finally:
            server.terminate()
            server.wait(timeout=30)

    # -- settings

    def test_order_of_providers_does_not_matter(self):
        swapped = self.fixture.configure("swapped.cnf", lambda text: text.replace(
            "default = default_settings\nsealane = sealane_settings\n", "sealane = sealane_settings\ndefault = default_settings\n"))
        self.assertIn("Total found: 4", self.openssl("storeutl", "-noout", "pkcs11:token=sealane", env=swapped))
        self.openssl("req", "-x509", "-key", EC, "-subj", "/CN=self", "-out", "self.pem", env=swapped)
        # software keys and other people's certificates still work as if we were not there
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "soft.key", env=swapped)
        self.assertIn("BEGIN PRIVATE KEY", (self.dir / "soft.key").read_text())
        self.openssl("genpkey", "-algorithm", "RSA", "-aes256", "-pass", "pass:secret", "-out", "softrsa.key", env=swapped)
        self.assertIn("BEGIN ENCRYPTED PRIVATE KEY", (self.dir / "softrsa.key").read_text())
        self.openssl("pkey", "-in", "softrsa.key", "-passin", "pass:secret", "-noout", env=self.plain())
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-384", "-text", "-out", "/dev/null", env=swapped)
        self.openssl("req", "-x509", "-key", "soft.key", "-subj", "/CN=soft", "-out", "soft.pem", env=swapped)
        self.assertIn("OK", self.openssl("verify", "-CAfile", "ca.pem", "ec.pem", "rsa.pem", env=swapped))
        out = self.serve("ec.key", "ec.pem", [], [], env=swapped)
        self.assertIn("Verify return code: 0 (ok)", out)

    def test_without_a_module_there_are_records_only(self):
        bare = self.fixture.configure("bare.cnf", lambda text: re.sub(r"pkcs11-\S+ = .*\n", "", text))
        self.assertIn("@ sealane", self.openssl("list", "-cipher-algorithms", env=bare))
        out = self.openssl("storeutl", "-noout", EC, env=bare, status=1)
        self.assertNotIn("Total found: 1", out)

    def test_module_from_the_environment(self):
        module = re.search(r"pkcs11-module-path = (.*)", (self.dir / "openssl.cnf").read_text()).group(1)
        elsewhere = self.fixture.configure("elsewhere.cnf", lambda text: text.replace(module, "/nonexistent.so"))
        out = self.openssl("pkey", "-noout", "-in", EC, env=elsewhere, status=1)
        self.assertIn("/nonexistent.so", out)
        self.openssl("storeutl", "-noout", EC, env=dict(elsewhere, PKCS11_PROVIDER_MODULE=module))

    def test_keys_of_a_group_of_tokens(self):
        grouped = self.fixture.configure("group.cnf", lambda text: text.replace(
            "activate = 1\n\n[algorithms]", "sealane-token-group = all: pkcs11:token=absent, sealane\nactivate = 1\n\n[algorithms]"))
        uri = EC.replace("token=sealane", "token=all")
        self.assertIn("Total found: 1", self.openssl("storeutl", "-noout", uri, env=grouped))
        (self.dir / "group.key").write_text(self.openssl("pkey", "-in", uri, env=grouped))
        self.openssl("dgst", "-sha256", "-sign", "group.key", "-out", "group.sig", "openssl.cnf", env=grouped)
        self.openssl("x509", "-in", "ec.pem", "-noout", "-pubkey", "-out", "group.pub")
        self.openssl("dgst", "-sha256", "-verify", "group.pub", "-signature", "group.sig", "openssl.cnf", env=grouped)

    def test_who_signs_and_with_what(self):
        for thread, keys in (("auto", "auto"), ("always", "true"), ("never", "false")):
            chosen = self.fixture.configure("chosen.cnf", lambda text: text.replace(
                "activate = 1\n\n[algorithms]",
                f"sealane-caller-thread = {thread}\npkcs11-module-cache-keys = {keys}\nactivate = 1\n\n[algorithms]"))
            log = self.dir / f"who-{thread}.log"
            self.openssl("dgst", "-sha256", "-sign", "ec.key", "-out", "who.sig", "openssl.cnf",
                         env=dict(chosen, SEALANE_DEBUG=f"file:{log}"))
            self.openssl("x509", "-in", "ec.pem", "-noout", "-pubkey", "-out", "who.pub")
            self.openssl("dgst", "-sha256", "-verify", "who.pub", "-signature", "who.sig", "openssl.cnf", env=chosen)
            self.assertEqual("C_CopyObject CKR_OK" in log.read_text(), thread != "never")

    def test_wrong_settings_are_refused_with_their_name(self):
        for line, part in (("sealane-sessions = many", "sealane-sessions"), ("sealane-token-group = x", "token group 'x'"),
                           ("pkcs11-module-quirks = fast", "fast"),
                           ("sealane-caller-thread = often", "sealane-caller-thread = often"),
                           ("pkcs11-module-cache-keys = maybe", "pkcs11-module-cache-keys = maybe"),
                           ("pkcs11-module-block-operations = signing", "signing"),
                           ("pkcs11-module-login-behavior = sometimes", "pkcs11-module-login-behavior")):
            wrong = self.fixture.configure("wrong.cnf", lambda text: text.replace(
                "activate = 1\n\n[algorithms]", f"{line}\nactivate = 1\n\n[algorithms]"))
            out = self.openssl("pkey", "-noout", "-in", EC, env=wrong, status=1)
            self.assertRegex(out, f"sealane: provider not loaded: .*{part}")

    # -- what goes wrong says so

    def test_errors_say_what_and_where(self):
        cases = [("pkcs11:token=nosuch;object=ec", "nosuch"), ("pkcs11:token=sealane;object=nosuch;type=private", "nosuch"),
                 ("pkcs11:token=sealane;colour=red", "colour"), ("pkcs11:token=sealane;object=ec%zz", "%zz")]
        for uri, part in cases:
            out = self.openssl("pkey", "-noout", "-in", uri, status=1)
            self.assertIn(part, out.replace(uri, "", 1), uri)

    def test_wrong_pin_is_one_clear_error(self):
        (self.dir / "wrongpin").write_text("0000\n")
        wrong = self.fixture.configure("wrongpin.cnf", lambda text: text.replace("/pin\n", "/wrongpin\n"))
        for name in (EC, "ec.key"):
            out = self.openssl("pkey", "-in", name, "-pubout", env=wrong, status=1)
            self.assertIn("CKR_PIN_INCORRECT", out)
        self.assertNotIn("0000\n", out)
        self.assertIn("BEGIN PUBLIC KEY", self.openssl("pkey", "-in", EC, "-pubout"))

    def test_key_that_does_not_fit_the_certificate(self):
        done = subprocess.run(["openssl", "s_server", "-accept", f"127.0.0.1:{free_port()}", "-key", EC, "-cert", "rsa.pem"],
                              env=self.fixture.environment, cwd=self.dir, capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "mismatch|match")

    def test_pin_in_the_uri(self):
        no_pin = self.fixture.configure("nopin.cnf", lambda text: re.sub(r"pkcs11-module-token-pin.*\n", "", text))
        pin = (self.dir / "pin").read_text().strip()
        self.openssl("pkey", "-in", f"{EC}?pin-value={pin}", "-pubout", env=no_pin)
        self.openssl("pkey", "-in", f"{EC}?pin-source=file:{self.dir}/pin", "-pubout", env=no_pin)
        # and from whoever the program asks
        self.openssl("pkey", "-in", EC, "-passin", f"file:{self.dir}/pin", "-pubout", env=no_pin)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[3:]])
