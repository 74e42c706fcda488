# SPDX-License-Identifier: Apache-2.0
"""Keys in a token: the gateway with the sealane provider and a SoftHSM2 token of the test's own."""
import os
import ssl
import subprocess

from support import GATEWAY, Gateway, GatewayTest, main, openssl, secured, stuffed, without_received

PROVIDER = os.environ.get("SEALANE_PROVIDER")
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "7351-secret"

CONF = """openssl_conf = init
[init]
providers = provider_list
alg_section = algorithms
[algorithms]
default_properties = ?sealane.records=yes
[provider_list]
default = default_provider
sealane = sealane_provider
[default_provider]
activate = 1
[sealane_provider]
module = {provider}
pkcs11-module-path = {module}
pkcs11-module-token-pin = {pin}
activate = 1
"""


class Token(GatewayTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.module = next(m for m in MODULES if os.path.exists(m))
        tokens = os.path.join(cls.shared, "tokens")
        os.mkdir(tokens)
        conf = os.path.join(cls.shared, "softhsm2.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = conf
        cls.softhsm("--init-token", "--free", "--label", "mail", "--so-pin", "12345678")
        for number, name in enumerate(("ec", "rsa"), 1):
            openssl("pkcs8", "-topk8", "-nocrypt", "-in", cls.certificates.path(name + ".key"), "-out",
                    cls.certificates.path(name + ".p8"))
            cls.softhsm("--import", cls.certificates.path(name + ".p8"), "--token", "mail", "--label", name, "--id",
                        f"0{number}")

    @classmethod
    def softhsm(cls, *arguments):
        subprocess.run(["softhsm2-util", *arguments, "--pin", PIN], check=True, capture_output=True)

    def token_settings(self, hop_port=25, names=("ec", "rsa"), pin=PIN, module=None, uri="pkcs11:token=mail;object={}"):
        conf = os.path.join(self.folder, "openssl.cnf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(CONF.format(provider=PROVIDER, module=module or self.module, pin=pin))
        text = self.settings(hop_port, names=names, extra=f'openssl_conf = "{conf}"')
        for name in names:
            text = text.replace(f'key = "{self.certificates.path(name)}.key"', f'key = "{uri.format(name)}"')
        return text

    def test_token_signs_and_engine_seals(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = Gateway(self.folder, self.token_settings(port))
        self.assertEqual(gateway.wait_line("starting")["provider"], "sealane")
        self.assertEqual(gateway.wait_line("certificate")["key_held_by"], "sealane")
        count = 0
        for version, key in ((ssl.TLSVersion.TLSv1_3, None), (ssl.TLSVersion.TLSv1_2, "ec"),
                             (ssl.TLSVersion.TLSv1_2, "rsa")):
            peer = secured(gateway.port, self.certificates, version=version, key=key)
            peer.ask("MAIL FROM:<a@client.test>")
            peer.ask("RCPT TO:<b@hop.test>")
            peer.ask("DATA")
            peer.send(stuffed(b"Subject: x\r\n\r\n" + b"y" * 900 + b"\r\n"))
            self.assertTrue(peer.reply().startswith("250 "))
            count += 1
            self.assertEqual(without_received(keeper.take()["content"])[0], b"Subject: x\r\n\r\n" + b"y" * 900 + b"\r\n")
            line = gateway.wait_line("transaction", count)
            self.assertNotIn(line["sealed_by"], ("libcrypto", "none", "unknown"))
            peer.ask("QUIT")
            peer.close()
        self.assertEqual(gateway.stop(), 0)
        last = gateway.events("stopped")[-1]
        self.assertEqual(last["token_signatures"], count + 2, "one for each handshake, one for each key's check")
        self.assertEqual((last["token_failures"], last["records_forged"]), (0, 0))
        self.assertGreater(last["records_sealed"], 0)

    def expect(self, text, *words):
        path = os.path.join(self.folder, "gateway.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        for verb in ("check", "run"):
            result = subprocess.run([GATEWAY, verb, "-c", path], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(result.returncode, 1, result.stderr)
            lines = result.stderr.splitlines()
            self.assertEqual(len(lines), 1, result.stderr)
            for word in (path + ":", ": key: ", *words):
                self.assertIn(word, lines[0])
            self.assertNotIn(PIN, result.stderr)
            self.assertNotIn("wrong-pin", result.stderr)

    def test_what_goes_wrong_with_a_token_is_one_line(self):
        self.expect(self.token_settings(names=("ec",), pin="wrong-pin"), "PIN")
        self.expect(self.token_settings(names=("ec",), uri="pkcs11:token=mail;object=nothing"), "nothing")
        self.expect(self.token_settings(names=("ec",), uri="pkcs11:token=nowhere;object={}"), "nowhere")
        self.expect(self.token_settings(names=("ec",), module="/nonexistent.so"), "/nonexistent.so")
        self.expect(self.token_settings(names=("ec",)).replace("object=ec", "object=rsa"), "does not fit")
        self.expect(self.token_settings(names=("ec",), pin="wrong-pin", uri="pkcs11:token=mail;object={}?pin-value=wrong-pin"),
                    "PIN")


if __name__ == "__main__":
    main()
