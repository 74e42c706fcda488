# SPDX-License-Identifier: Apache-2.0
"""What `check` and `run` say about settings, certificates and keys: file and line, and the exit status."""
import os
import re
import socket
import subprocess

from support import GATEWAY, Gateway, GatewayTest, greeted, main, openssl


class Settings(GatewayTest):
    def setUp(self):
        super().setUp()
        self.file = os.path.join(self.folder, "gateway.conf")

    def run_gateway(self, text, verb="check"):
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(text)
        return subprocess.run([GATEWAY, verb, "-c", self.file], capture_output=True, text=True, timeout=60,
                              check=False)

    def good(self, **kwargs):
        return self.settings(25, **kwargs)

    # Both read the file alike. Where each start costs many times as much, they take turns.
    verbs = [["check"], ["run"]] if os.environ.get("SEALANE_SANITIZE") else [["check", "run"]]

    def expect(self, text, line, *words):
        Settings.verbs = Settings.verbs[1:] + Settings.verbs[:1]
        for verb in Settings.verbs[0]:
            result = self.run_gateway(text, verb)
            self.assertEqual(result.returncode, 1, result.stderr)
            where = f"{self.file}:{line}: " if line else self.file
            found = [row for row in result.stderr.splitlines() if row.startswith(where)]
            self.assertEqual(len(found), 1, result.stderr)
            for word in words:
                self.assertIn(word, found[0])
            self.assertNotIn("starting", result.stderr)

    def test_good_file(self):
        result = self.run_gateway(self.good())
        self.assertEqual((result.returncode, result.stdout), (0, self.file + ": good\n"))
        self.assertIn("key=EC", result.stderr)
        self.assertIn("key=RSA", result.stderr)

    def test_example_file_works_as_it_is_after_editing_paths(self):
        text = self.source("sealane-gateway.conf.example")
        for name, to in (("mail-ec", "ec"), ("mail-rsa", "rsa"), ("internal-ca", "ca")):
            text = text.replace(f"/etc/sealane/{name}", self.certificates.path(to))
        result = self.run_gateway(text)
        self.assertEqual(result.returncode, 0, result.stderr)

    def source(self, name):
        with open(os.path.join(os.path.dirname(__file__), "../../gateway", name), encoding="utf-8") as f:
            return f.read()

    def test_each_setting_is_in_the_manual_and_in_the_example_and_those_are_all(self):
        known = set(re.findall(r'(?:CFG_[A-Z_]+|LIMIT)\(\s*"([a-z_]+)"', self.source("settings.c")))
        self.assertGreater(len(known), 50)
        for file in ("man/sealane-gateway.conf.5", "sealane-gateway.conf.example"):
            for name in known:
                with self.subTest(name, file=file):
                    self.assertRegex(self.source(file), rf"\b{name}\b")
        for line in set(re.findall(r"(?m)^\s*#\s+([a-z_]+) +=|^\s*#\s+([a-z_]+) = ", self.source("sealane-gateway.conf.example"))):
            self.assertIn(line[0] or line[1], known)

    def test_command_line(self):
        for arguments, status, word in (([], 1, "check"), (["run"], 1, "-c FILE"), (["--help"], 0, "Usage"),
                                        (["--version"], 0, "OpenSSL 3"), (["dance", "-c", "x"], 1, "run"),
                                        (["check", "-c", "/nonexistent/x"], 1,
                                         "/nonexistent/x: cannot read: No such"),
                                        (["check", "-x"], 1, "Usage")):
            with self.subTest(arguments=arguments):
                result = subprocess.run([GATEWAY, *arguments], capture_output=True, text=True, timeout=60,
                                        check=False)
                self.assertEqual(result.returncode, status)
                self.assertIn(word, result.stdout if status == 0 else result.stderr)

    def test_one_line_for_each_error(self):
        good = self.good()
        rows = good.splitlines()

        def line_of(start):
            return next(n for n, row in enumerate(rows, 1) if row.strip().startswith(start))

        for name, old, new, line, words in (
                ("unknown key", 'log = "json"', 'lag = "json"', line_of("log"), ["lag"]),
                ("unknown key in a section", ' port = 0', ' part = 0', line_of("port"), ["part"]),
                ("not a number", ' port = 0', ' port = "x"', line_of("port"), ["port"]),
                ("port out of range", ' port = 0', ' port = 70000', line_of("port"), ["port", "70000"]),
                ("address", 'address = "127.0.0.1"', 'address = "localhost"', line_of("address"),
                 ["address", "localhost"]),
                ("tls word", 'tls = "may"\n\n', 'tls = "maybe"\n\n', line_of("tls"),
                 ["tls", "maybe", "encrypt"]),
                ("log word", 'log = "json"', 'log = "xml"', line_of("log"), ["log", "xml"]),
                ("handshake word", 'log = "json"', 'handshake = "x"', line_of("log"), ["handshake"]),
                ("next hop", '"127.0.0.1:25"', '"127.0.0.1"', line_of("next_hop"), ["next_hop", "host:port"]),
                ("next hop port", '"127.0.0.1:25"', '"127.0.0.1:0"', line_of("next_hop"), ["next_hop"]),
                ("next hop v6", '"127.0.0.1:25"', '"::1:25"', line_of("next_hop"), ["next_hop"]),
                ("loops", 'log = "json"', 'loops = -1', line_of("log"), ["loops"]),
                ("size", 'log = "json"', 'limits { line = 10X }', line_of("log"), ["line", "10X"]),
                ("line limit", 'log = "json"', 'limits { line = 100 }', line_of("log"), ["line", "100"]),
                ("recipients", 'log = "json"', 'limits { recipients = 5 }', line_of("log"),
                 ["recipients", "5"]),
                ("a connector's line limit", ' port = 0', ' port = 0\n limits { line = 1M }',
                 line_of("port") + 1, ["line"]),
                ("time", 'log = "json"', 'timeouts { final = 0 }', line_of("log"), ["final"]),
                ("hostname", '"gateway.test"', '"gateway test"', 1, ["hostname"]),
                ("ca without verify", 'tls = "may"\n\n}', 'tls = "may" ca = "x"\n\n}', None,
                 ["ca", "verify"]),
                ("later word", 'tls = "may"\n\n}', 'tls = "dane"\n\n}', None, ["dane", "comes later"]),
                ("later word too", 'tls = "may"\n\n}', 'tls = "dane-only"\n\n}', None, ["comes later"]),
                ("pattern", ' next_hop', ' recipients = {"a b"}\n next_hop', line_of("next_hop"), ["a b"]),
                ("pin", ' next_hop', ' clients = {"key:12"}\n next_hop', line_of("next_hop"), ["SHA-256"]),
                ("pins without their level", ' next_hop', f' pins = {{"key:{"ab" * 32}"}}\n next_hop', None,
                 ["pins", "fingerprint"]),
                ("level without pins", 'tls = "may"\n\n}', 'tls = "fingerprint"\n\n}', None, ["pins", "missing"]),
                ("unknown connector", ' next_hop', ' connectors = {"no"}\n next_hop', None, ["connectors", "no"]),
                ("unknown send section", ' next_hop = "127.0.0.1:25"', ' send = "no"', None, ["send", "no"]),
                ("unknown fallback", ' next_hop', ' fallback = "no"\n next_hop', line_of("next_hop"), ["fallback"]),
                ("unknown queue", 'log = "json"', 'queue = "no"', line_of("log"), ["queue"]),
                ("open relay", ' next_hop = "127.0.0.1:25"', ' mx = yes', None, ["anything for anybody"]),
                ("open relay by sender", ' next_hop = "127.0.0.1:25"', ' mx = yes\n senders = {"a.test"}', None,
                 ["anything for anybody"]),
                ("two destinations", ' next_hop', ' mx = yes\n recipients = {"a.test"}\n next_hop', None, ["mx"]),
                ("proxies", ' port = 0', ' port = 0\n proxy_from = {"10.0.0.0/40"}', line_of("port") + 1,
                 ["proxy_from", "10.0.0.0/40"]),
                ("client CA for nobody", ' port = 0', ' port = 0\n client_ca = "x"', None, ["client_ca"]),
                ("old TLS", ' port = 0', ' port = 0\n min_version = "TLSv1.1"', line_of("port") + 1,
                 ["min_version", "TLSv1.2"]),
                ("unknown suite", ' port = 0', ' port = 0\n suites = "TLS_NO"', line_of("port") + 1, ["suites"]),
                ("unknown group", ' port = 0', ' port = 0\n groups = "P-1"', line_of("port") + 1, ["groups"]),
                ("unknown cipher", ' port = 0', ' port = 0\n ciphers = "NO"', line_of("port") + 1, ["ciphers"]),
                ("metrics for all", 'log = "json"', 'metrics = "0.0.0.0:9000"', line_of("log"), ["metrics"]),
                ("control", 'log = "json"', 'control = "here"', line_of("log"), ["control"]),
                ("partner without demands", 'route "out"', 'partner "a.test" { }\nroute "out"', None, ["partner"]),
                ("partner's name", 'route "out"', 'partner "a b" { tls = "encrypt" }\nroute "out"', None, ["a b"]),
                ("syntax", 'log = "json"', 'log = = "json"', line_of("log"), []),
                ("no closing brace", 'route "out" {', 'route "out" {{', None, []),
        ):
            with self.subTest(name):
                self.assertIn(old, good)
                self.expect(good.replace(old, new, 1), line, *words)

    def test_what_is_missing(self):
        good = self.good()
        for old, words in ((' address = "127.0.0.1"\n', ["address", "missing"]),
                           (' port = 0\n', ["port", "missing"]),
                           (' next_hop = "127.0.0.1:25"\n', ["next_hop", "missing"]),
                           (self.certificates.section("ec") + self.certificates.section("rsa"),
                            ["certificate", "missing"]),
                           (f'key = "{self.certificates.path("ec")}.key"', ["key", "missing"]),
                           (good[good.index("route"):], ["route", "missing"]),
                           (good[good.index("receive"):good.index("route")], ["receive", "missing"])):
            with self.subTest(missing=words[0]):
                self.assertIn(old, good)
                self.expect(good.replace(old, "", 1), None, *words)

    def test_doubles(self):
        good = self.good()
        receive = good[good.index("receive"):good.index("route")]
        self.expect(good + receive, None, "in")
        self.expect(good + good[good.index("route"):], None, "out")
        self.expect(self.good(names=("ec", "ec")), None, "chain")

    def test_key_does_not_fit(self):
        text = self.good(names=("ec",)).replace("ec.key", "hop.key")
        line = text.splitlines().index(next(r for r in text.splitlines() if "certificate {" in r)) + 1
        self.expect(text, line, "key", "does not fit", "ec.pem")

    def test_missing_files(self):
        for name, word in (("ec.pem", "chain"), ("ec.key", "key")):
            self.expect(self.good(names=("ec",)).replace(name, "gone-" + name), None, word, "gone-" + name,
                        "No such file")
        self.expect(self.good(route='ca = "/nonexistent.pem"', hop_tls="verify"), None, "ca",
                    "/nonexistent.pem")
        self.expect('openssl_conf = "/nonexistent.cnf"\n' + self.good(), 1, "openssl_conf",
                    "/nonexistent.cnf")

    def test_rubbish_in_files(self):
        rubbish = self.certificates.path("rubbish")
        with open(rubbish, "w", encoding="ascii") as f:
            f.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.expect(self.good(names=("ec",)).replace("ec.pem", "rubbish"), None, "chain", "rubbish")
        self.expect(self.good(names=("ec",)).replace("ec.key", "rubbish"), None, "key", "rubbish")
        cut = self.certificates.path("cut.pem")
        with open(self.certificates.path("ec.pem"), encoding="ascii") as f:
            chain = f.read()
        with open(cut, "w", encoding="ascii") as f:
            f.write(chain + chain[:len(chain) // 2])
        self.expect(self.good(names=("ec",)).replace("ec.pem", "cut.pem"), None, "chain", "cut.pem")

    def test_encrypted_key_is_refused_and_nobody_is_asked(self):
        openssl("pkey", "-in", self.certificates.path("ec.key"), "-aes256", "-passout", "pass:secret", "-out",
                self.certificates.path("locked.key"))
        self.expect(self.good(names=("ec",)).replace("ec.key", "locked.key"), None, "key", "locked.key")

    def test_pin_is_never_shown(self):
        text = self.good(names=("ec",))
        key = self.certificates.path("ec.key")
        uri = "pkcs11:token=none;object=x?pin-value=987654321&module-name=y"
        result = self.run_gateway(text.replace(key, uri))
        self.assertEqual(result.returncode, 1)
        self.assertIn("pkcs11:token=none;object=x", result.stderr)
        self.assertNotIn("987654321", result.stderr)
        self.assertNotIn("987654321", result.stdout)

    def test_certificate_that_ends_soon(self):
        self.certificates.make("soon", "gateway.test", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
                               days="5")
        result = self.run_gateway(self.good(names=("soon",)))
        self.assertEqual(result.returncode, 0)
        self.assertIn("warning: the certificate expires in", result.stderr)
        self.assertNotIn("warning", self.run_gateway(self.good(names=("ec",))).stderr)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = self.run_gateway(self.good().replace(" port = 0", f" port = {port}"), "run")
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"cannot listen on 127.0.0.1 port {port}: Address already in use", result.stderr)

    def test_two_gateways_do_not_share_a_port(self):
        gateway = self.start(25)
        result = self.run_gateway(self.good().replace(" port = 0", f" port = {gateway.port}"), "run")
        self.assertEqual(result.returncode, 1)
        self.assertIn("Address already in use", result.stderr)

    def test_several_connectors(self):
        _, port = self.start_hop()
        text = self.settings(port)
        receive = text[text.index("receive"):text.index("route")]
        second = receive.replace('"in"', '"second"').replace('"may"', '"encrypt"')
        gateway = Gateway(self.folder, text + second)
        second = gateway.wait_line("listening", connector="second")
        peer = greeted(int(second["port"]))
        self.assertTrue(peer.ask("MAIL FROM:<a@b.test>").startswith("530"))
        peer.ask("QUIT")
        peer.close()
        self.assertEqual(gateway.stop(), 0)


if __name__ == "__main__":
    main()
