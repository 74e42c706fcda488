# SPDX-License-Identifier: Apache-2.0
"""Receive connectors: names and certificates, implicit TLS, certificates of clients, PROXY headers, limits per address."""
import os
import socket
import ssl
import struct
import subprocess
import threading

from support import PATIENCE, Peer, client_context, greeted, main, raw_connect, secured
from test_routes import RoutesTest

V2 = b"\r\n\r\n\0\r\nQUIT\n"


class ReceiveTest(RoutesTest):
    def start_receive(self, receive="", **kwargs):
        self.keeper, port = self.start_hop()
        return self.start_with(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}', receive=receive, **kwargs)

    def start_tls(self, gateway, context, name="gateway.test"):
        peer = greeted(gateway.port)
        answer = peer.ask("STARTTLS")
        self.assertTrue(answer.startswith("220 "), answer)
        peer.start_tls(context, name)
        self.assertTrue(peer.ask("EHLO client.test").startswith("250"))
        return peer


class Names(ReceiveTest):
    def test_certificate_by_name(self):
        for name, host, key in (("one", "one.test", "ec"), ("onersa", "one.test", "rsa"), ("star", "*.two.test", "ec")):
            self.certificates.make(name, host, ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec"
                                   else ["rsa:2048"])
        section = self.certificates.section
        gateway = self.start_receive(receive=section("one") + section("onersa") + section("star").replace(
            "chain", 'names = {"extra.test", "*.two.test"} chain'))
        rsa = {"version": ssl.TLSVersion.TLSv1_2, "key": "rsa"}
        for asked, options, got, kind in (("one.test", {}, "one.test", "EC"), ("one.test", rsa, "one.test", "RSA"),
                                          ("ONE.test", {}, "one.test", "EC"), ("a.two.test", {}, "*.two.test", "EC"),
                                          ("extra.test", {}, "*.two.test", "EC"),
                                          ("gateway.test", {}, "gateway.test", "EC"),
                                          ("a.b.two.test", {}, "one.test", "EC"), ("unknown.test", {}, "one.test", "EC"),
                                          (None, {}, "one.test", "EC")):
            with self.subTest(asked=asked, kind=kind):
                context = client_context(self.certificates, **options)
                context.check_hostname = False
                peer = self.start_tls(gateway, context, asked)
                self.assertEqual(peer.socket.getpeercert()["subjectAltName"][0][1], got)
                self.assertTrue(self.mail(gateway, "b@x.test", peer=peer).startswith("250"))
                self.keeper.take()
                peer.close()
        lines = [gateway.wait_line("transaction", n + 1) for n in range(9)]
        self.assertEqual([line["key"] for line in lines[:2]], ["EC", "RSA"])

    def test_names_that_are_none(self):
        """They are as good as no name, or the end of that handshake; the next one goes."""
        gateway = self.start_receive()
        context = client_context(self.certificates)
        for name in (b"..ay.test", b"*.way.tst", b".........", b"%n%n%n%n%", b"a\r\nb.test", b"\xff\xfe\xfd\xfcabcde", b"\0\0\0\0.test"):
            with self.subTest(name):
                outgoing = ssl.MemoryBIO()
                tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="abcd.test")
                self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
                peer = greeted(gateway.port)
                peer.ask("STARTTLS")
                peer.send(outgoing.read().replace(b"abcd.test", name))
                answer = peer.socket.recv(1)
                self.assertIn(answer, (b"\x16",) if b"\0" not in name else (b"\x15",))  # a handshake record, an alert
                peer.close()
        self.assertTrue(self.mail(gateway, "b@x.test", peer=secured(gateway.port, self.certificates)).startswith("250 "))

    def test_version_suites_and_groups(self):
        gateway = self.start_receive(receive=' min_version = "TLSv1.3"\n suites = "TLS_CHACHA20_POLY1305_SHA256"\n'
                                             ' groups = "P-384"')
        peer = self.start_tls(gateway, client_context(self.certificates))
        self.assertEqual(peer.socket.cipher()[0], "TLS_CHACHA20_POLY1305_SHA256")
        self.assertTrue(self.mail(gateway, "b@x.test", peer=peer).startswith("250"))
        self.assertEqual(gateway.wait_line("transaction")["group"], "secp384r1")
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        with self.assertRaises(ssl.SSLError):
            peer.start_tls(client_context(self.certificates, ssl.TLSVersion.TLSv1_2))

    def test_unused_certificate_is_an_error(self):
        text = self.settings_with('route "out" { next_hop = "127.0.0.1:1" }', receive=self.certificates.section("ec"))
        file = os.path.join(self.folder, "double.conf")
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
        done = subprocess.run([os.environ["SEALANE_GATEWAY"], "check", "-c", file], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is never used", done.stderr)


class Implicit(ReceiveTest):
    def test_tls_from_the_first_byte(self):
        gateway = self.start_receive(tls="implicit")
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as raw:
            peer = Peer(client_context(self.certificates).wrap_socket(raw, server_hostname="gateway.test"))
            self.assertTrue(peer.reply().startswith("220 "))
            self.assertNotIn("STARTTLS", peer.ask("EHLO client.test"))
            self.assertTrue(peer.ask("STARTTLS").startswith("503"))
            self.assertTrue(self.mail(gateway, "b@x.test", peer=peer).startswith("250"))
            self.assertIn(b"with ESMTPS", self.keeper.take()["content"])

    def test_clear_text_gets_no_word(self):
        gateway = self.start_receive(tls="implicit")
        peer = raw_connect(gateway.port)
        peer.send("EHLO client.test\r\n")
        self.assertNotIn(b"250", peer.until_closed())
        gateway.wait_line("handshake_failed")


class Clients(ReceiveTest):
    def test_required_certificate(self):
        self.certificates.make_own("stranger", "stranger.test")
        gateway = self.start_receive(receive=f' client_certificates = "require"\n client_ca = "{self.certificates.ca}"')
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name, good in (("hop", True), ("stranger", False), (None, False)):
                with self.subTest(name=name, version=version.name):
                    context = client_context(self.certificates, version, client=name)
                    peer = greeted(gateway.port)
                    peer.ask("STARTTLS")
                    try:
                        peer.start_tls(context)
                        answer = peer.ask("EHLO client.test")
                    except (OSError, EOFError):
                        answer = "refused"
                    self.assertEqual(answer.startswith("250"), good)

    def test_asked_for_and_resumed(self):
        """A resumed session still knows who the client is."""
        gateway = self.start_receive(receive=f' client_certificates = "ask"\n client_ca = "{self.certificates.ca}"')
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(self.certificates, version, client="hop")
            session = None
            for _ in range(2):
                peer = greeted(gateway.port)
                peer.ask("STARTTLS")
                peer.socket = context.wrap_socket(peer.socket, server_hostname="gateway.test", session=session)
                peer.ask("EHLO client.test")
                self.assertTrue(self.mail(gateway, "b@x.test", peer=peer).startswith("250"))
                session = peer.socket.session
                peer.ask("QUIT")
        lines = [gateway.wait_line("transaction", n + 1) for n in range(4)]
        self.assertEqual([line["resumed"] for line in lines], ["no", "yes", "no", "yes"])
        self.assertEqual({(line["client_certificate"], line["client_trusted"]) for line in lines}, {("hop.test", "yes")})

    def test_tickets_end_with_their_keys(self):
        """Keys are changed every second: a ticket that is two keys old is worth a full handshake."""
        gateway = self.start_receive(extra="ticket_lifetime = 1s")
        context = client_context(self.certificates, ssl.TLSVersion.TLSv1_2)
        first = greeted(gateway.port)
        first.ask("STARTTLS")
        first.socket = context.wrap_socket(first.socket, server_hostname="gateway.test")
        first.ask("EHLO client.test")
        session = first.socket.session
        for _ in range(100):  # until it is forgotten; every other answer means that it is not yet
            peer = greeted(gateway.port)
            peer.ask("STARTTLS")
            peer.socket = context.wrap_socket(peer.socket, server_hostname="gateway.test", session=session)
            peer.ask("EHLO client.test")
            if not peer.socket.session_reused:
                return
            peer.close()
            threading.Event().wait(0.1)
        self.fail("the ticket is still taken")

    def test_renegotiation_is_refused(self):
        """By the engine that has taken the connection over, and by libssl."""
        for records in ("engine", "libssl"):
            with self.subTest(records=records):
                self.renegotiate(self.start_receive(extra=f'records = "{records}"'))

    def renegotiate(self, gateway):
        with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-starttls", "smtp", "-tls1_2"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            while not client.stdout.readline().startswith(b"250 "):
                pass
            client.stdin.write(b"R\n")
            client.stdin.flush()
            while client.stdout.readline() != b"RENEGOTIATING\n":
                pass
            client.stdin.write(b"NOOP\r\n")  # is answered only if it had its way
            client.stdin.flush()
            for line in client.stdout:
                self.assertNotIn(b"250 2.0.0", line)
                if b"no renegotiation" in line:
                    break
            else:
                self.fail("nothing was said about it")
            client.kill()

    def s_client(self, gateway, *options):
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-starttls", "smtp", *options],
                              input=b"QUIT\r\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False).stdout

    def test_chain_without_end(self):
        """A certificate of a client is one message, and bounded: what is longer ends the handshake."""
        gateway = self.start_receive(receive=' client_certificates = "ask"')
        chain = os.path.join(self.folder, "chain.pem")
        with open(self.certificates.ca, encoding="ascii") as one, open(chain, "w", encoding="ascii") as many:
            many.write(one.read() * 400)
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                self.assertNotIn(b"221 2.0.0", self.s_client(gateway, version, "-ign_eof", "-cert", self.certificates.path("hop.pem"), "-key",
                                                             self.certificates.path("hop.key"), "-cert_chain", chain))
        self.assertIn("message", gateway.wait_line("handshake_failed", 2)["reason"])

    def test_groups_that_cost_only_us_are_refused(self):
        """D(HE)at, CVE-2002-20001."""
        gateway = self.start_receive()
        for group in ("ffdhe2048", "ffdhe8192"):
            with self.subTest(group):
                self.assertIn(b"handshake failure", self.s_client(gateway, "-tls1_3", "-groups", group))
        for group in ("X25519", "P-256", "P-384"):
            with self.subTest(group):
                self.assertIn(b"221 2.0.0", self.s_client(gateway, "-tls1_3", "-groups", group, "-ign_eof"))

    def test_resumed_sessions_have_new_keys(self):
        """RFC 8446, 2.2: never by the old secret alone, even if the client would."""
        gateway = self.start_receive()
        session = os.path.join(self.folder, "session")
        self.s_client(gateway, "-tls1_3", "-ign_eof", "-sess_out", session)
        for option in ([], ["-allow_no_dhe_kex"]):
            text = self.s_client(gateway, "-tls1_3", "-ign_eof", "-sess_in", session, *option)
            self.assertIn(b"Reused, TLSv1.3", text)
            self.assertRegex(text, rb"(Server|Peer) Temp Key: |Negotiated TLS1.3 group: [^<]")

    def test_early_data_is_never_taken(self):
        """It could be sent again by anybody who has seen it."""
        gateway = self.start_receive(tls="implicit")
        session, early = os.path.join(self.folder, "session"), os.path.join(self.folder, "early")
        with open(early, "w", encoding="ascii") as f:
            f.write("MAIL FROM:<a@client.test>\r\n")
        connect = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-tls1_3", "-ign_eof"]
        options = dict(input=b"QUIT\r\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False)
        subprocess.run([*connect, "-sess_out", session], **options)
        text = subprocess.run([*connect, "-sess_in", session, "-early_data", early], **options).stdout
        self.assertIn(b"Reused, TLSv1.3", text)
        self.assertNotIn(b"Early data was accepted", text)
        self.assertNotIn(b"250 2.1.0", text)


class Proxy(ReceiveTest):
    def v1(self, gateway, header):
        peer = raw_connect(gateway.port)
        peer.send(header)
        return peer

    def test_headers_of_both_versions(self):
        gateway = self.start_receive(receive=' proxy_from = {"127.0.0.0/8"}')
        v4 = b"\x21\x11" + struct.pack("!H", 12) + bytes([192, 0, 2, 9, 127, 0, 0, 1]) + struct.pack("!HH", 1, 25)
        v6 = b"\x21\x21" + struct.pack("!H", 36 + 5) + socket.inet_pton(socket.AF_INET6, "2001:db8::9") + \
            socket.inet_pton(socket.AF_INET6, "::1") + struct.pack("!HH", 1, 25) + b"\x04\0\x02ab"
        for header, address in ((b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 25\r\n", "192.0.2.7"),
                                (b"PROXY TCP6 2001:db8::7 ::1 1000 25\r\n", "2001:db8::7"),
                                (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
                                (b"PROXY UNKNOWN ff:ff whatever\r\n", "127.0.0.1"), (V2 + v4, "192.0.2.9"),
                                (V2 + v6, "2001:db8::9"), (V2 + b"\x20\0\0\0", "127.0.0.1")):
            for pieces in ([header], [header[i:i + 1] for i in range(len(header))]):
                with self.subTest(header=header, pieces=len(pieces)):
                    peer = raw_connect(gateway.port)
                    for piece in pieces:
                        peer.send(piece)
                    self.assertTrue(peer.reply().startswith("220 "))
                    peer.ask("EHLO client.test")
                    self.assertTrue(self.mail(gateway, "b@x.test", peer=peer).startswith("250"))
                    self.assertIn(address.encode(), self.keeper.take()["content"])
                    peer.ask("QUIT")
                    peer.close()

    def test_what_is_no_header_is_dropped(self):
        gateway = self.start_receive(receive=' proxy_from = {"127.0.0.1"}')
        for header in (b"EHLO client.test\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n",
                       b"PROXY TCP4 ::1 ::1 1 1\r\n", b"PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n", b"PROXY \n", b"PROXY " + b"x" * 200,
                       V2 + b"\x31\x11\0\x0c" + b"\0" * 12, V2 + b"\x21\x11\0\x04" + b"\0" * 4, V2 + b"\x21\x11\xff\xff"):
            with self.subTest(header=header):
                peer = raw_connect(gateway.port)
                peer.send(header)
                self.assertEqual(peer.until_closed(), b"")
        gateway.wait_line("proxy_refused", 10)
        self.assertEqual(len(gateway.events("proxy_refused")), 10)

    def test_bytes_behind_the_header_are_pregreet(self):
        gateway = self.start_receive(receive=' proxy_from = {"127.0.0.1"}')
        peer = self.v1(gateway, b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 25\r\nEHLO client.test\r\n")
        self.assertTrue(peer.reply().startswith("554 "))

    def test_strangers_cannot_say_who_they_are(self):
        gateway = self.start_receive(receive=' proxy_from = {"192.0.2.0/24"}')
        peer = raw_connect(gateway.port)
        self.assertTrue(peer.reply().startswith("220 "))
        self.assertTrue(peer.ask("PROXY TCP4 192.0.2.7 127.0.0.1 1000 25").startswith("500"))

    def test_before_implicit_tls_in_one_segment(self):
        gateway = self.start_receive(receive=' proxy_from = {"127.0.0.1"}', tls="implicit")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context(self.certificates).wrap_bio(incoming, outgoing, server_hostname="gateway.test")
        peer = raw_connect(gateway.port)
        header = b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 465\r\n"
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            peer.send(header + outgoing.read())
            header = b""
            if not done:
                incoming.write(peer.socket.recv(65536))
        while True:
            try:
                self.assertTrue(tls.read(4096).startswith(b"220 "))
                break
            except ssl.SSLWantReadError:
                incoming.write(peer.socket.recv(65536))


class Limits(ReceiveTest):
    def test_connections_of_one_address(self):
        gateway = self.start_receive(receive=' limits { connections_per_address = 2 }')
        first, second = greeted(gateway.port), greeted(gateway.port)
        third = raw_connect(gateway.port)
        self.assertTrue(third.reply().startswith("421 4.7.0"))
        # Another address is not hurt, and who leaves makes room.
        other = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE, source_address=("127.0.0.9", 0))
        self.assertTrue(Peer(other).reply().startswith("220 "))
        first.ask("QUIT")
        first.until_closed()
        self.assertTrue(greeted(gateway.port).ask("NOOP").startswith("250"))
        self.assertTrue(second.ask("NOOP").startswith("250"))

    def test_address_behind_a_proxy_is_the_one_that_counts(self):
        gateway = self.start_receive(receive=' proxy_from = {"127.0.0.1"}\n limits { connections_per_address = 1 }')
        answers = []
        peers = []
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            peer = raw_connect(gateway.port)
            peer.send(f"PROXY TCP{6 if ':' in address else 4} {address} {address} 1 25\r\n")
            answers.append(peer.reply()[:3])
            peers.append(peer)
        self.assertEqual(answers, ["220", "220", "421", "220", "421", "220"])  # a /64 is one customer

    def test_handshakes_of_one_address(self):
        gateway = self.start_receive(receive=' limits { handshakes_per_second = 3 }')

        def ask(source="127.0.0.1"):
            peer = Peer(socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE, source_address=(source, 0)))
            peer.reply()
            peer.ask("EHLO client.test")
            answer = peer.ask("STARTTLS")[:3]
            peer.close()
            return answer

        self.assertEqual([ask() for _ in range(3)], ["220"] * 3)
        while ask() != "454":  # four within a second: soon, however slow this machine is
            pass
        self.assertEqual(ask("127.0.0.9"), "220", "another address is not hurt")
        while ask() != "220":  # nor is this one for ever
            pass


if __name__ == "__main__":
    main()
