# SPDX-License-Identifier: Apache-2.0
"""Every kind of key that SoftHSM2 has, made in the token by OpenSSL's commands, does all that it can: sign, decrypt,
derive, serve TLS; and its files of every form are read. All of it in both orders of the providers.

usage: test_key_kinds.py TOP SEALANE_SO
"""

import os
import subprocess
import sys
import unittest

from support import TokenTest

RSA, EC = "rsa_keygen_bits:2048", "ec_paramgen_curve:P-256"
KINDS = {
    "krsa": ["-algorithm", "RSA", "-pkeyopt", RSA],
    "kpss": ["-algorithm", "RSA-PSS", "-pkeyopt", RSA, "-pkeyopt", "rsa_pss_keygen_md:sha256"],
    "kp256": ["-algorithm", "EC", "-pkeyopt", EC],
    "kp384": ["-algorithm", "EC", "-pkeyopt", "group:P-384"],
    "kp521": ["-algorithm", "EC", "-pkeyopt", "group:secp521r1"],
    "ked25519": ["-algorithm", "ED25519"],
    "ked448": ["-algorithm", "ED448"],
}
OAEP = ["-pkeyopt", "rsa_padding_mode:oaep"]


def uri(name):
    return f"pkcs11:token=sealane;object={name};type=private"


class Kinds:
    """The tests, once per order of the providers."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.environment = cls.fixture.configure("order.cnf", cls.order)
        case = cls()
        for name, options in KINDS.items():
            case.generate(f"{name}.key", name, *options)
            case.openssl("req", "-x509", "-key", f"{name}.key", "-subj", "/CN=localhost", "-days", "2", "-out", f"{name}.pem")

    def runTest(self):
        """What the class needs of a case outside of tests."""

    def openssl(self, *arguments, env=None, **options):
        return super().openssl(*arguments, env=env or self.environment, **options)

    def software(self, *arguments, **options):
        """The same without us."""
        return self.openssl(*arguments, env=self.plain(), **options)

    def generate(self, out, name, *options, **more):
        return self.openssl("genpkey", "-propquery", "provider=sealane", *options, "-pkeyopt",
                            f"pkcs11_uri:pkcs11:token=sealane;object={name}", "-out", out, **more)

    def write(self, name, data):
        (self.dir / name).write_bytes(data)
        return name

    def read(self, name):
        return (self.dir / name).read_bytes()

    # -- making

    def test_generated_keys_stay_in_the_token(self):
        for name in KINDS:
            self.assertIn("PKCS#11 PROVIDER URI", self.read(f"{name}.key").decode())
            self.assertIn("valid", self.openssl("pkey", "-in", uri(name), "-check", "-noout"))
        for line in self.objects():
            self.assertIn("sensitive, always sensitive, never extractable", line)

    def objects(self):
        module = next(line.split(" = ")[1] for line in (self.dir / "openssl.cnf").read_text().splitlines()
                      if line.startswith("pkcs11-module-path"))
        environment = {k: v for k, v in self.environment.items() if k not in ("LD_PRELOAD", "OPENSSL_CONF")}
        environment["PIN"] = self.read("pin").decode().strip()
        listing = subprocess.run(["pkcs11-tool", "--module", module, "--token-label", "sealane", "--login", "--pin", "env:PIN",
                                  "-O", "--type", "privkey"], env=environment, capture_output=True, text=True, check=True).stdout
        found = [line for line in listing.splitlines() if "Access:" in line]
        self.assertGreaterEqual(len(found), len(KINDS))
        return found

    def test_a_key_is_not_made_twice_under_one_name(self):
        before = self.openssl("storeutl", "-noout", "pkcs11:token=sealane")
        out = self.generate("twice.key", "kp256", "-algorithm", "EC", "-pkeyopt", EC, status=1)
        self.assertIn("already", out)
        self.assertEqual(before, self.openssl("storeutl", "-noout", "pkcs11:token=sealane"))

    def test_what_cannot_be_made_says_why_and_leaves_nothing(self):
        before = self.openssl("storeutl", "-noout", "pkcs11:token=sealane")
        for options, part in ((["-algorithm", "EC"], "curve"),
                              (["-algorithm", "EC", "-pkeyopt", EC, "-pkeyopt", "pkcs11_key_usage:singing"], "singing")):
            self.assertIn(part, self.generate("none.key", "none", *options, status=1))
        out = self.openssl("genpkey", "-propquery", "provider=sealane", "-algorithm", "ED25519", "-pkeyopt",
                           "pkcs11_uri:pkcs11:token=nosuch;object=x", status=1)
        self.assertIn("nosuch", out)
        self.assertEqual(before, self.openssl("storeutl", "-noout", "pkcs11:token=sealane"))

    def test_usage_is_the_tokens_to_keep(self):
        self.generate("agree.key", "agree", "-algorithm", "EC", "-pkeyopt", EC, "-pkeyopt", "pkcs11_key_usage:keyAgreement")
        self.openssl("dgst", "-sha256", "-sign", "agree.key", "-out", "signature", "order.cnf", status=1)
        self.derive("agree", "P-256")

    # -- signing

    def test_certificates_and_requests(self):
        for name in KINDS:
            self.assertIn("OK", self.software("verify", "-CAfile", f"{name}.pem", f"{name}.pem"))
            self.openssl("req", "-new", "-key", uri(name), "-subj", "/CN=request", "-out", "request.pem")
            self.assertIn("verify OK", self.software("req", "-in", "request.pem", "-verify", "-noout"))

    def test_edwards_keys_sign_whole_messages(self):
        self.write("message", os.urandom(70000))
        for name in ("ked25519", "ked448"):
            self.openssl("pkeyutl", "-sign", "-rawin", "-in", "message", "-inkey", uri(name), "-out", "signature")
            check = ["pkeyutl", "-verify", "-rawin", "-in", "message", "-sigfile", "signature"]
            self.assertIn("Verified", self.software(*check, "-certin", "-inkey", f"{name}.pem"))
            self.assertIn("Verified", self.openssl(*check, "-inkey", uri(name)))
            self.write("signature", bytes([self.read("signature")[0] ^ 1]) + self.read("signature")[1:])
            self.openssl(*check, "-inkey", uri(name), status=1)

    def test_pss_keys_keep_to_their_parameters(self):
        self.assertIn("Hash Algorithm: SHA2-256", self.openssl("pkey", "-in", uri("kpss"), "-noout", "-text"))
        sign = ["dgst", "-sign", uri("kpss"), "-out", "signature"]
        self.openssl(*sign, "-sha256", "-sigopt", "rsa_pss_saltlen:32", "order.cnf")
        self.software("x509", "-in", "kpss.pem", "-noout", "-pubkey", "-out", "kpss.pub")
        self.assertIn("Verified OK", self.software("dgst", "-sha256", "-verify", "kpss.pub", "-sigopt", "rsa_pss_saltlen:32",
                                                   "-signature", "signature", "order.cnf"))
        self.openssl(*sign, "-sha512", "order.cnf", status=1)
        self.openssl(*sign, "-sha256", "-sigopt", "rsa_padding_mode:pkcs1", "order.cnf", status=1)

    def test_pss_with_an_mgf_that_the_token_does_not_do(self):
        self.write("digest", os.urandom(32))
        options = ["-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_mgf1_md:sha1", "-pkeyopt",
                   "rsa_pss_saltlen:20"]
        self.openssl("pkeyutl", "-sign", "-inkey", uri("krsa"), "-in", "digest", "-out", "signature", *options)
        self.assertIn("Verified", self.software("pkeyutl", "-verify", "-certin", "-inkey", "krsa.pem", "-in", "digest", "-sigfile",
                                                "signature", *options))

    # -- decrypting

    def test_rsa_decrypts_every_padding(self):
        self.write("message", b"hello")
        for options in ([], OAEP, [*OAEP, "-pkeyopt", "rsa_oaep_md:sha256"],
                        [*OAEP, "-pkeyopt", "rsa_oaep_md:sha512", "-pkeyopt", "rsa_mgf1_md:sha1"],
                        [*OAEP, "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_oaep_label:00ff41"]):
            self.software("pkeyutl", "-encrypt", "-certin", "-inkey", "krsa.pem", "-in", "message", "-out", "secret", *options)
            self.openssl("pkeyutl", "-decrypt", "-inkey", uri("krsa"), "-in", "secret", "-out", "clear", *options)
            self.assertEqual(self.read("clear"), b"hello", options)
            self.openssl("pkeyutl", "-encrypt", "-inkey", uri("krsa"), "-in", "message", "-out", "secret", *options)
            self.openssl("pkeyutl", "-decrypt", "-inkey", uri("krsa"), "-in", "secret", "-out", "clear", *options)
            self.assertEqual(self.read("clear"), b"hello", options)

    def test_rsa_without_padding(self):
        self.write("number", b"\0" + os.urandom(255))
        raw = ["-pkeyopt", "rsa_padding_mode:none"]
        self.openssl("pkeyutl", "-decrypt", "-inkey", uri("krsa"), "-in", "number", "-out", "power", *raw)
        self.software("pkeyutl", "-encrypt", "-certin", "-inkey", "krsa.pem", "-in", "power", "-out", "again", *raw)
        self.assertEqual(self.read("again"), self.read("number"))

    def test_a_bad_ciphertext_gets_an_invented_message_and_always_the_same(self):
        self.write("bad", b"\0" + os.urandom(255))
        seen = set()
        for _ in range(3):  # three processes
            self.openssl("pkeyutl", "-decrypt", "-inkey", uri("krsa"), "-in", "bad", "-out", "invented")
            seen.add(self.read("invented"))
        self.assertEqual(len(seen), 1)
        self.openssl("pkeyutl", "-decrypt", "-inkey", uri("krsa"), "-in", "bad", *OAEP, status=1)

    def test_cms_encrypted_for_a_token(self):
        self.write("message", b"a secret\n")
        for name, options in (("krsa", []), ("krsa", ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"]),
                              ("kp256", []), ("kp384", [])):
            self.software("cms", "-encrypt", "-binary", "-in", "message", "-out", "message.cms", "-recip", f"{name}.pem", *options)
            self.openssl("cms", "-decrypt", "-in", "message.cms", "-inkey", uri(name), "-recip", f"{name}.pem", "-out", "clear")
            self.assertEqual(self.read("clear"), b"a secret\n")

    def test_cms_signed_by_a_token(self):
        self.write("message", b"to be signed\n")
        for name, options in (("krsa", []), ("krsa", ["-keyopt", "rsa_padding_mode:pss"]), ("kp384", [])):
            self.openssl("cms", "-sign", "-in", "message", "-signer", f"{name}.pem", "-inkey", uri(name), "-out", "signed.eml",
                         *options)
            self.software("cms", "-verify", "-in", "signed.eml", "-CAfile", f"{name}.pem", "-purpose", "any", "-out", os.devnull)

    # -- deriving

    def derive(self, name, curve):
        self.software("genpkey", "-algorithm", "EC", "-pkeyopt", f"group:{curve}", "-out", "peer.key")
        self.software("pkey", "-in", "peer.key", "-pubout", "-out", "peer.pub")
        self.openssl("pkey", "-in", uri(name), "-pubout", "-out", "ours.pub")
        self.openssl("pkeyutl", "-derive", "-inkey", uri(name), "-peerkey", "peer.pub", "-out", "ours")
        self.software("pkeyutl", "-derive", "-inkey", "peer.key", "-peerkey", "ours.pub", "-out", "theirs")
        self.assertEqual(self.read("ours"), self.read("theirs"))

    def test_ecdh(self):
        for name, curve in (("kp256", "P-256"), ("kp384", "P-384"), ("kp521", "P-521")):
            self.derive(name, curve)

    # -- serving

    def test_tls_with_every_kind_of_key(self):
        for name in KINDS:
            for version in ("-tls1_2", "-tls1_3"):
                out = self.serve(uri(name), f"{name}.pem", [version], [version, "-CAfile", f"{name}.pem"], env=self.environment)
                self.assertIn("Verify return code: 0 (ok)", out)

    def test_tls_1_2_with_rsa_key_exchange(self):
        for cipher in ("AES128-GCM-SHA256", "AES256-SHA"):
            options = ["-tls1_2", "-cipher", cipher]
            out = self.serve(uri("krsa"), "krsa.pem", options, [*options, "-CAfile", "krsa.pem"], env=self.environment)
            self.assertIn(f"Cipher is {cipher}", out)

    def test_ecdhe_on_every_curve(self):
        for curve in ("P-256", "P-384", "P-521"):
            for version in ("-tls1_2", "-tls1_3"):
                offered = curve if curve == "P-256" else f"{curve}:P-256"  # ECDSA's curve must be among them in TLS 1.2
                out = self.serve(uri("kp256"), "kp256.pem", [version, "-curves", curve],
                                 [version, "-curves", offered, "-CAfile", "kp256.pem"], env=self.environment)
                self.assertIn("Verify return code: 0 (ok)", out)

    # -- files

    def test_every_form_of_file_is_read(self):
        for name in KINDS:
            public = self.openssl("pkey", "-in", uri(name), "-pubout")
            self.openssl("pkcs8", "-topk8", "-nocrypt", "-in", f"{name}.key", "-out", "wrapped.pem")
            self.assertTrue(self.read("wrapped.pem").startswith(b"-----BEGIN PRIVATE KEY-----"))
            self.openssl("pkcs8", "-topk8", "-passout", "pass:secret", "-in", f"{name}.key", "-out", "encrypted.pem")
            self.openssl("pkey", "-in", uri(name), "-outform", "DER", "-out", "wrapped.der")
            for file, options in ((f"{name}.key", []), ("wrapped.pem", []), ("encrypted.pem", ["-passin", "pass:secret"]),
                                  ("wrapped.der", ["-inform", "DER"])):
                self.assertEqual(public, self.openssl("pkey", "-in", file, "-pubout", *options))
            self.assertEqual(self.read(f"{name}.key"), self.openssl("pkey", "-in", "wrapped.pem").encode())

    def test_software_keys_are_as_they_were(self):
        for options in (["-algorithm", "ED25519"], ["-algorithm", "ED448"], ["-algorithm", "RSA-PSS", "-pkeyopt", RSA],
                        ["-algorithm", "RSA", "-pkeyopt", RSA], ["-algorithm", "EC", "-pkeyopt", EC]):
            self.openssl("genpkey", *options, "-out", "soft.key")
            self.assertIn(b"BEGIN PRIVATE KEY", self.read("soft.key"))
            self.openssl("req", "-x509", "-key", "soft.key", "-subj", "/CN=localhost", "-out", "soft.pem")
            self.assertIn("OK", self.software("verify", "-CAfile", "soft.pem", "soft.pem"))
            self.assertEqual(self.openssl("pkey", "-in", "soft.key", "-text"), self.software("pkey", "-in", "soft.key", "-text"))
            for version in ("-tls1_2", "-tls1_3"):
                out = self.serve("soft.key", "soft.pem", [version], [version, "-CAfile", "soft.pem"], env=self.environment)
                self.assertIn("Verify return code: 0 (ok)", out)


def order_usual(text):
    return text


def order_swapped(text):
    usual = "default = default_settings\nsealane = sealane_settings\n"
    assert usual in text
    return text.replace(usual, "sealane = sealane_settings\ndefault = default_settings\n")


class DefaultFirst(Kinds, TokenTest):
    order = staticmethod(order_usual)


class SealaneFirst(Kinds, TokenTest):
    order = staticmethod(order_swapped)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[3:]])
