# SPDX-License-Identifier: Apache-2.0
"""What must not go through does not: bad input from senders, bad next hops, both dying at any point."""
import os
import re
import resource
import select
import signal
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from support import (GatewayTest, Gateway, PATIENCE, Peer, client_context, greeted, main, raw_connect,
                     secured, stuffed, thread_states, wait_for_stop, without_received)

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def envelope(peer, params=""):
    assert peer.ask(f"MAIL FROM:<a@client.test>{params}").startswith("250")
    answer = peer.ask("RCPT TO:<b@hop.test>")
    assert answer.startswith("250"), answer
    assert peer.ask("DATA").startswith("354")


class Senders(GatewayTest):
    """Bad input from the sender's side."""

    def expect_nothing_delivered(self, keeper, gateway):
        """Sends one good message: it must be the first that the next hop has seen."""
        peer = greeted(gateway.port)
        envelope(peer)
        peer.send(stuffed(b"Subject: canary\r\n\r\n"))
        self.assertTrue(peer.reply().startswith("250 "))
        content, _ = without_received(keeper.take()["content"])
        self.assertEqual(content, b"Subject: canary\r\n\r\n")
        self.assertTrue(keeper.messages.empty())
        peer.close()

    def test_bytes_behind_starttls_are_refused_and_never_obeyed(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.send(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\n")
        rest = peer.until_closed()
        self.assertTrue(rest.startswith(b"554 5.5.1"), rest)
        self.assertEqual(rest.count(b"\r\n"), 1, "one answer, and the end")
        self.expect_nothing_delivered(keeper, gateway)

    def test_starttls_forgets_what_was_said_before(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.ask("MAIL FROM:<a@client.test>")
        self.assertTrue(peer.ask("STARTTLS").startswith("220"))
        peer.start_tls(client_context(self.certificates))
        self.assertTrue(peer.ask("RCPT TO:<b@hop.test>").startswith("503"))
        self.assertTrue(peer.ask("MAIL FROM:<a@client.test>").startswith("503"), "EHLO must be forgotten")
        answer = peer.ask("EHLO client.test")
        self.assertNotIn("STARTTLS", answer)
        self.assertTrue(peer.ask("STARTTLS").startswith("503"))

    def test_encrypt_wants_tls_first(self):
        _, port = self.start_hop()
        gateway = self.start(port, tls="encrypt")
        peer = greeted(gateway.port)
        for command in ("MAIL FROM:<a@client.test>", "RCPT TO:<b@hop.test>", "DATA", "RSET", "VRFY x",
                        "HELO x"):
            self.assertTrue(peer.ask(command).startswith("530 5.7.0"), command)
        self.assertTrue(peer.ask("NOOP").startswith("250"))
        self.assertTrue(peer.ask("STARTTLS").startswith("220"))

    def smuggle(self, gateway, connect, pieces, expected):
        peer = connect()
        envelope(peer)
        for piece in pieces:
            peer.send(piece)
        answer = peer.reply()
        self.assertTrue(answer.startswith(expected), answer)
        self.assertTrue(peer.ask("NOOP").startswith("250"), "the connection is in step")
        peer.close()

    def test_smuggling(self):
        """In one piece, byte by byte, and a TLS record for each byte."""
        keeper, port = self.start_hop()
        gateway = self.start(port)
        inner = b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil"
        for name, end in {"LF . LF": b"\n.\n", "LF . CRLF": b"\n.\r\n", "CR . CR": b"\r.\r",
                          "CR . CRLF": b"\r.\r\n",
                          "CRLF . LF": b"\r\n.\n", "CRLF . CR": b"\r\n.\r", "CRLF NUL . CRLF": b"\r\n\0.\r\n",
                          "CRLF . NUL CRLF": b"\r\n.\0\r\n", "CRLF LF . CRLF": b"\r\n\n.\r\n",
                          "CR CRLF . CRLF": b"\r\r\n.\r", "LF CR . CR LF": b"\n\r.\r\n"}.items():
            whole = b"Subject: x\r\n\r\nhello" + end + inner + b"\r\n.\r\n"
            cut = [whole[at:at + 1] for at in range(len(whole))]
            for way, connect, pieces in (("at once", lambda: greeted(gateway.port), [whole]),
                                         ("in bytes", lambda: greeted(gateway.port), cut),
                                         ("in records", lambda: secured(gateway.port, self.certificates), cut)):
                with self.subTest(end=name, way=way):
                    self.smuggle(gateway, connect, pieces, "550 5.6.0")
        self.expect_nothing_delivered(keeper, gateway)

    def test_bare_cr_lf_and_nul_in_content(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        for name, body in {"CR": b"a\rb", "LF": b"a\nb", "NUL": b"a\0b", "CR at end": b"a\r\r\nb"}.items():
            with self.subTest(bad=name):
                self.smuggle(gateway, lambda: greeted(gateway.port), [b"Subject: x\r\n\r\n" + body + b"\r\n.\r\n"], "550 5.6.0")
        self.expect_nothing_delivered(keeper, gateway)

    def test_bare_cr_lf_and_nul_in_commands(self):
        _, port = self.start_hop()
        gateway = self.start(port)
        for bad in (b"NOOP\n", b"NOOP\rNOOP\r\n", b"NO\0OP\r\n", b"\nQUIT\r\n"):
            with self.subTest(bad=bad):
                peer = greeted(gateway.port)
                peer.send(bad)
                self.assertTrue(peer.until_closed().startswith(b"550 5.5.2"))

    def test_long_lines(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.send(b"NOOP " + b"x" * 3000)  # refused without waiting for its end
        self.assertTrue(peer.until_closed().startswith(b"500 5.5.2"))
        peer = greeted(gateway.port)
        envelope(peer)
        peer.send(b"Subject: x\r\n\r\n" + b"x" * 2049 + b"\r\n.\r\n")
        self.assertTrue(peer.reply().startswith("550 5.6.0"))
        self.expect_nothing_delivered(keeper, gateway)

    def test_header_too_big_and_endless(self):
        keeper, port = self.start_hop()
        gateway = self.start(port, extra="limits { header_size = 10K }")
        peer = greeted(gateway.port)
        envelope(peer)
        peer.send(b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(20)) + b"\r\n.\r\n")
        self.assertTrue(peer.reply().startswith("552 5.3.4"))
        self.expect_nothing_delivered(keeper, gateway)

    def test_mail_loop(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        for hops, expected in ((50, "250 "), (51, "554 5.4.6")):
            peer = greeted(gateway.port)
            envelope(peer)
            peer.send(b"RECEIVED: from x\r\n by y\r\n" * hops +
                      b"Subject: x\r\n\r\nReceived: not this\r\n.\r\n")
            answer = peer.reply()
            self.assertTrue(answer.startswith(expected), answer)
        keeper.take()
        self.expect_nothing_delivered(keeper, gateway)

    def test_size(self):
        keeper, port = self.start_hop()
        gateway = self.start(port, extra="limits { message_size = 100K }")
        peer = greeted(gateway.port)
        self.assertTrue(peer.ask(f"MAIL FROM:<a@client.test> SIZE={100 * 1024 + 1}").startswith("552 5.3.4"))
        envelope(peer)
        block = (b"z" * 998 + b"\r\n") * 103
        peer.send(b"Subject: x\r\n\r\n" + block + b".\r\n")
        self.assertTrue(peer.reply().startswith("552 5.3.4"))
        envelope(peer)  # and one that never ends is cut off
        peer.send(b"Subject: x\r\n\r\n")
        try:
            for _ in range(100):
                peer.send(block)
        except ConnectionError:
            pass
        answer = b""
        try:
            answer = peer.until_closed()
        except ConnectionError:
            pass
        self.assertTrue(answer == b"" or answer.startswith(b"552 5.3.4"), answer)
        self.assertEqual(gateway.wait_line("transaction", 2)["result"], "refused")
        self.expect_nothing_delivered(keeper, gateway)

    def test_commands_that_bring_no_message_are_not_for_ever(self):
        _, port = self.start_hop()
        gateway = self.start(port, extra="limits { errors = 3 }")
        peer = greeted(gateway.port)  # EHLO is the first of them
        for _ in range(33):
            for command in ("NOOP", "RSET", "VRFY a"):
                self.assertIn(peer.ask(command)[:3], ("250", "252"))
        envelope(peer)
        peer.send(stuffed(MESSAGE))
        self.assertTrue(peer.reply().startswith("250 "))  # after a message they are counted anew
        for _ in range(50):
            for command in ("NOOP", "HELO client.test"):
                self.assertTrue(peer.ask(command).startswith("250"))
        for _ in range(3):  # errors, as many as there may be
            self.assertTrue(peer.ask("NOOP").startswith("250"))
        peer.send(b"NOOP\r\nNOOP\r\n")
        self.assertEqual(peer.until_closed(), b"421 4.7.0 Too many errors\r\n")

    def test_commands_out_of_order_and_malformed(self):
        _, port = self.start_hop()
        gateway = self.start(port, extra="limits { errors = 100 }")
        peer = raw_connect(gateway.port)
        peer.reply()
        for command, code in (
                ("MAIL FROM:<a@b.test>", "503"), ("RCPT TO:<a@b.test>", "503"), ("DATA", "503"),
                ("EHLO", "501"),
                ("EHLO a b", "501"), ("EHLO <x>", "501"), ("EHLO client.test", "250"),
                ("EHLO [127.0.0.1]", "250"),
                ("DATA", "503"), ("RCPT TO:<a@b.test>", "503"), ("MAIL", "501"),
                ("MAIL FROM:a@b.test", "501"),
                ("MAIL FROM:<a@b", "501"), ("MAIL FROM:<a b@c.test>", "501"), ("MAIL FROM:<@b.test>", "501"),
                ("MAIL FROM:<a@b..test>", "501"), ("MAIL FROM:<a@b.test>SIZE=1", "501"),
                ("MAIL FROM:<" + "x" * 400 + "@b.test>", "501"), ("MAIL FROM:<a@b.test> SIZE=x", "501"),
                ("MAIL FROM:<a@b.test> SIZE=1 SIZE=2", "501"),
                ("MAIL FROM:<a@b.test> BODY=BINARYMIME", "501"),
                ("MAIL FROM:<a@b.test> FOO=BAR", "555"), ("MAIL FROM:<ä@b.test>", "553"),
                ("MAIL FROM:<a@b.test>", "250"), ("MAIL FROM:<a@b.test>", "503"), ("DATA", "554"),
                ("RCPT TO:<>", "501"), ("RCPT TO:<nobody>", "501"),
                ("RCPT TO:<a@b.test> NOTIFY=NEVER", "555"),
                ("RCPT TO:<ä@b.test>", "553"), ("RCPT TO:<@relay.test:c@d.test>", "250"), ("DATA x", "501"),
                ("RSET x", "501"), ("RSET", "250"), ("DATA", "503"), ("VRFY root", "252"), ("EXPN x", "502"),
                ("BDAT 1", "502"), ("AUTH PLAIN", "502"), ("FOO", "500"), ("", "500"), ("STARTTLS x", "501"),
                ("QUIT now", "221")):
            with self.subTest(command=command[:60]):
                self.assertEqual(peer.ask(command)[:3], code)

    def test_error_flood(self):
        _, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.send("FOO\r\n" * 100)
        lines = peer.until_closed().decode().splitlines()
        self.assertEqual([line[:3] for line in lines], ["500"] * 20 + ["421"])

    def test_sender_that_does_not_read(self):
        """It is not listened to any longer either: memory stays, others are served, and every answer comes when it reads."""
        _, port = self.start_hop()
        gateway = self.start(port, extra="limits { errors = 1000000000 }")  # or the flood would soon be over

        def memory():
            with open(f"/proc/{gateway.process.pid}/smaps_rollup", encoding="ascii") as f:
                return int(re.search(r"Anonymous: +(\d+) kB", f.read())[1])

        flood = greeted(gateway.port)
        before = memory()
        block, sent = b"NOOP\r\n" * 10000, 0
        while select.select([], [flood.socket], [], 1)[1]:
            sent += flood.socket.send(block[sent % 6:], socket.MSG_DONTWAIT)
        self.assertLess(memory() - before, 8192)
        other = greeted(gateway.port)
        self.assertTrue(other.ask("NOOP").startswith("250"))
        rest = -sent % 6
        answers, wanted = 0, (sent + rest) // 6
        while answers < wanted:
            if rest and select.select([], [flood.socket], [], 0)[1]:
                flood.send(block[6 - rest:6])
                rest = 0
            data = flood.socket.recv(1 << 20)
            self.assertTrue(data)
            answers += data.count(b"\n")
        self.assertEqual(answers, wanted)

    def test_recipient_flood(self):
        keeper, port = self.start_hop()
        gateway = self.start(port, extra="limits { recipients = 100 bad_recipients = 10 }")
        peer = greeted(gateway.port)
        peer.ask("MAIL FROM:<a@client.test>")
        answers = [peer.ask(f"RCPT TO:<{n}@hop.test>")[:9] for n in range(101)]
        self.assertEqual(answers, ["250 2.1.5"] * 100 + ["452 4.5.3"])
        peer.ask("RSET")
        keeper.replies["RCPT"] = "550 5.1.1 unknown"
        peer.ask("MAIL FROM:<a@client.test>")
        answers = [peer.ask(f"RCPT TO:<{n}@hop.test>")[:9] for n in range(11)]
        self.assertEqual(answers, ["550 5.1.1"] * 10 + ["421 4.7.0"])

    def test_browser(self):
        _, port = self.start_hop()
        gateways = {tls: self.start(port, tls=tls) for tls in ("may", "encrypt")}
        verbs = ("GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "PRI")
        for verb, tls, connect in [*((verb, "may", connect) for verb in verbs for connect in (raw_connect, greeted)),
                                   ("POST", "encrypt", greeted)]:
            with self.subTest(verb=verb, tls=tls, connect=connect.__name__):
                peer = connect(gateways[tls].port)
                if connect is raw_connect:
                    peer.reply()
                peer.send(f"{verb} / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.test>\r\n")
                self.assertEqual(peer.until_closed(), b"554 5.5.1 This is not a web server\r\n")
                peer.close()

    def test_talking_before_the_banner(self):
        _, port = self.start_hop()
        gateway = self.start(port)
        os.kill(gateway.process.pid, signal.SIGSTOP)  # it accepts only after the bytes are there
        wait_for_stop(gateway.process.pid)
        peer = raw_connect(gateway.port)
        peer.send("EHLO client.test\r\n")
        os.kill(gateway.process.pid, signal.SIGCONT)
        self.assertTrue(peer.until_closed().startswith(b"554 "))

    def test_alpn(self):
        _, port = self.start_hop()
        gateway = self.start(port)
        implicit = self.start(port, tls="implicit")
        for offered, good, version, through in (
                (["smtp"], True, "TLSv1_3", gateway), (["http/1.1", "smtp"], True, "TLSv1_3", gateway),
                (["http/1.1"], False, "TLSv1_3", gateway), (["h2"], False, "TLSv1_3", gateway),
                (["ftp", "imap", "pop3"], False, "TLSv1_2", gateway), (["smtp"], True, "TLSv1_2", gateway),
                (["h2", "http/1.1"], False, "TLSv1_3", implicit), (["smtp"], True, "TLSv1_3", implicit)):
            with self.subTest(offered=offered, version=version, implicit=through is implicit):
                peer = raw_connect(through.port)
                if through is gateway:
                    peer.reply()
                    peer.ask("EHLO client.test")
                    peer.ask("STARTTLS")
                context = client_context(self.certificates, version=ssl.TLSVersion[version])
                context.set_alpn_protocols(offered)
                if good:
                    peer.start_tls(context)
                    self.assertEqual(peer.socket.selected_alpn_protocol(), "smtp")
                else:
                    with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
                        peer.start_tls(context)
        self.assertIn("application protocol", gateway.wait_line("handshake_failed")["reason"])

    def test_old_tls_is_refused(self):
        _, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        context = client_context(self.certificates)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with self.assertRaises(ssl.SSLError):
            peer.start_tls(context)
        self.assertIn("protocol", gateway.wait_line("handshake_failed")["reason"])

    def test_no_tls_after_starttls(self):
        _, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        peer.send("MAIL FROM:<a@client.test>\r\n")
        self.assertNotIn(b"250", peer.until_closed())
        gateway.wait_line("handshake_failed")
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        peer.close()
        self.assertIn("closed", gateway.wait_line("handshake_failed", 2)["reason"])

    def test_broken_record(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = secured(gateway.port, self.certificates)
        envelope(peer)
        raw = peer.socket.detach()
        with socket.socket(fileno=raw) as s:
            s.sendall(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
            s.settimeout(PATIENCE)
            while s.recv(4096):
                pass
        self.assertEqual(gateway.wait_line("transaction")["result"], "lost")
        self.expect_nothing_delivered(keeper, gateway)

    def test_timeouts(self):
        """Waits for the gateway to lose patience; only the one timeout that each row is about is short."""
        _, port = self.start_hop()
        commands = self.start(port, extra="timeouts { command = 1 }")
        handshakes = self.start(port, extra="timeouts { handshake = 1 }")
        messages = self.start(port, extra="timeouts { rate_window = 1 }")
        silent, half, midway, shaking, slow = [f(g.port) for f, g in (
            (raw_connect, commands), (raw_connect, commands), (greeted, commands), (greeted, handshakes), (greeted, messages))]
        half.reply()
        half.send("NOO")
        midway.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@hop.test>\r\n")  # the next hop was waited for between
        shaking.ask("STARTTLS")
        envelope(slow)
        slow.send("Subject: x\r\n")
        self.assertIn(b"\r\n421 4.4.2", silent.until_closed())
        self.assertTrue(half.until_closed().startswith(b"421 4.4.2"))
        self.assertRegex(midway.until_closed(), rb"^250 2\.1\.0 [^\r]*\r\n250 2\.1\.5 ok\r\n421 4\.4\.2")
        self.assertEqual(shaking.until_closed(), b"")
        self.assertEqual(handshakes.wait_line("handshake_failed")["reason"], "timed out")
        self.assertTrue(slow.until_closed().startswith(b"421 4.4.2 Too slow"))
        self.assertEqual(messages.wait_line("transaction")["result"], "lost")

    def test_each_command_has_a_time_of_its_own(self):
        """A sender's deadline begins anew with each command, and rests while the next hop decides. Where the machine itself
        held a command up, nothing is proven, and it is tried again."""
        def script(hop, _number, _me):
            hop.send("220 hop.test\r\n")
            for _ in range(4):
                command = hop.line()
                time.sleep(1.5 if command.startswith("RCPT") else 0)
                hop.send("354 go\r\n" if command == "DATA" else "250 ok\r\n")
            while hop.line() != ".":
                pass
            hop.send("250 2.0.0 taken\r\n")
            hop.line()

        hop = self.start_script(script)
        gateway = self.start(hop.port, hop_tls="none", extra="timeouts { command = 1 }")
        for _ in range(20):
            peer, slowest, told = greeted(gateway.port), 0, None
            began = last = time.monotonic()
            try:
                while last - began < 1.5:
                    time.sleep(0.2)
                    self.assertEqual(peer.ask("NOOP")[:3], "250")
                    now = time.monotonic()
                    slowest, last = max(slowest, now - last), now
                peer.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\n")
                slowest = max(slowest, time.monotonic() - last)
                self.assertEqual([peer.reply()[:3] for _ in range(3)], ["250", "250", "354"])
                peer.send("Subject: x\r\n\r\n.\r\n")
                told = peer.reply()
            except (OSError, EOFError, AssertionError) as error:
                told = f"{type(error).__name__} {error}"
            peer.close()
            if told.startswith("250 2.0.0 taken"):
                return
            self.assertGreater(slowest, 0.5, told)
        self.fail("20 times the machine took more than half a second for a command")

    def test_dripping(self):
        """A byte now and then is no sign of life: deadlines are those of the whole command, handshake, header."""
        _, port = self.start_hop()
        hello = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + b"\0" * 1000
        for name, before, drip, settings in (
                ("command", ["EHLO client.test"], b"NOOP " + b"x" * 1000, {"extra": "timeouts { command = 1 }"}),
                ("handshake", ["EHLO client.test", "STARTTLS"], hello, {"extra": "timeouts { handshake = 1 }"}),
                ("implicit", None, hello, {"extra": "timeouts { handshake = 1 }", "tls": "implicit"}),
                ("PROXY", None, b"PROXY UNKNOWN " + b"x" * 80, {"extra": "timeouts { handshake = 1 }",
                                                                "receive": 'proxy_from = {"127.0.0.1"}'})):
            with self.subTest(name):
                peer = raw_connect(self.start(port, **settings).port)
                if before is not None:
                    peer.reply()
                    for command in before:
                        peer.ask(command)
                peer.socket.setblocking(False)
                for at in range(len(drip)):
                    if select.select([peer.socket], [], [], 0.1)[0]:
                        break
                    peer.send(drip[at:at + 1])
                else:
                    self.fail("it may drip for ever")
                peer.close()

    def test_nothing_behind_quit_is_obeyed(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.send("QUIT\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\n")
        self.assertEqual(peer.until_closed(), b"221 2.0.0 Bye\r\n")
        self.expect_nothing_delivered(keeper, gateway)

    def test_no_descriptors_left(self):
        """Who is there is told 451, who comes waits, the processor rests, and all goes on when somebody leaves."""
        keeper, port = self.start_hop()
        gateway = self.start(port)
        pid = gateway.process.pid
        held = list(map(int, os.listdir(f"/proc/{pid}/fd")))
        limit = max(held) + 1 + 3
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        inside = [greeted(gateway.port) for _ in range(limit - len(held))]
        waiting = raw_connect(gateway.port)

        self.assertEqual(inside[0].ask("MAIL FROM:<a@client.test>")[:3], "250")
        self.assertEqual(inside[0].ask("RCPT TO:<b@hop.test>")[:9], "451 4.4.1")
        self.assertEqual(inside[0].ask("RSET")[:3], "250")
        self.assertIn("Too many open files", gateway.wait_line("transaction")["error"])
        asleep, end = 0, time.monotonic() + PATIENCE
        while asleep < 5:
            self.assertLess(time.monotonic(), end, "a loop asks again and again and never sleeps")
            asleep += set(thread_states(pid)) == {"S"}
            time.sleep(0.01)
        for peer in inside[1:]:
            peer.close()
        self.assertTrue(waiting.reply().startswith("220"))
        envelope(inside[0])
        inside[0].send(stuffed(MESSAGE))
        self.assertTrue(inside[0].reply().startswith("250 "))
        keeper.take()

    def test_connection_limit(self):
        _, port = self.start_hop()
        gateway = self.start(port, extra="limits { connections = 3 }")
        peers = [greeted(gateway.port) for _ in range(3)]
        refused = raw_connect(gateway.port)
        self.assertTrue(refused.reply().startswith("421 4.3.2"))
        peers[0].ask("QUIT")
        peers[0].close()
        while True:  # until the gateway has seen the end of the first
            peer = raw_connect(gateway.port)
            if peer.reply().startswith("220"):
                break


class SendersDying(GatewayTest):
    def test_sender_dies_in_the_middle_of_data(self):
        ended = threading.Event()
        seen = []

        def script(hop, _number, _self):
            hop.answer_envelope()
            seen.append(hop.until_closed())
            ended.set()

        hop = self.start_script(script)
        gateway = self.start(hop.port, hop_tls="none")
        for number, die in enumerate((Peer.close, Peer.reset)):
            with self.subTest(die=die.__name__):
                peer = greeted(gateway.port)
                envelope(peer)
                peer.send(b"Subject: x\r\n\r\nhalf a mess")
                # half a line and half an end: nothing may complete it
                peer.send(b"age\r\n.")
                die(peer)
                self.assertTrue(ended.wait(PATIENCE))
                ended.clear()
                self.assertFalse(seen[-1].endswith(b".\r\n"), seen[-1])
                self.assertNotIn(b"\r\n.\r\n", seen[-1])
                self.assertEqual(gateway.wait_line("transaction", number + 1)["result"], "lost")

    def test_sender_dies_while_the_next_hop_decides(self):
        keeper, port = self.start_hop()
        keeper.gate = threading.Event()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        envelope(peer)
        peer.send(stuffed(MESSAGE))
        self.assertTrue(keeper.arrived.wait(PATIENCE))
        peer.reset()
        # The gateway must have seen the reset before the answer comes.
        wait_for_reset(gateway)
        keeper.gate.set()
        line = gateway.wait_line("transaction")
        self.assertEqual(line["result"], "delivered")
        self.assertEqual(gateway.wait_line("possible_duplicate")["id"], line["id"])
        keeper.take()


def wait_for_reset(gateway):
    """Until the kernel has no established connection from a client to the gateway's port any more."""
    end = time.monotonic() + PATIENCE
    wanted = f":{gateway.port:04X}"
    while time.monotonic() < end:
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        if not any(row[1].endswith(wanted) and row[3] == "01" for row in rows):
            return
    raise AssertionError("the connection is still there")


class NextHops(GatewayTest):
    """A next hop that refuses, misbehaves, is away or dies."""

    def transaction(self, gateway):
        """The answers to MAIL, RCPT, DATA and the final dot, as far as it goes."""
        peer = greeted(gateway.port)
        answers = [peer.ask("MAIL FROM:<a@client.test>"), peer.ask("RCPT TO:<b@hop.test>")]
        if answers[-1].startswith("250"):
            answers.append(peer.ask("DATA"))
            if answers[-1].startswith("354"):
                peer.send(stuffed(MESSAGE))
                answers.append(peer.reply())
        self.assertTrue(peer.ask("NOOP").startswith("250"), "the session goes on")
        peer.ask("QUIT")
        peer.close()
        return answers

    def test_next_hop_away(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
            gateway = self.start(s.getsockname()[1])
            self.assertEqual(self.transaction(gateway)[1][:9], "451 4.4.1")
            line = gateway.wait_line("transaction")
            self.assertEqual((line["result"], line["recipients"]), ("deferred", 0))
            self.assertIn("refused", line["error"])
            peer = greeted(gateway.port)
            peer.ask("MAIL FROM:<a@client.test>")
            for _ in range(3):
                self.assertEqual(peer.ask("RCPT TO:<b@hop.test>")[:9], "451 4.4.1")
            self.assertEqual(peer.ask("DATA")[:3], "451")

    def test_unknown_host(self):
        gateway = Gateway(self.folder, self.settings(25).replace("127.0.0.1:25", "no-such-host.invalid:25"))
        self.addCleanup(gateway.stop)
        self.assertEqual(self.transaction(gateway)[1][:9], "451 4.4.1")
        self.assertIn("look", gateway.wait_line("transaction")["error"])

    def test_replies_pass_through_at_each_stage(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        lines = 0
        for stage, where in (("MAIL", 1), ("RCPT", 1), ("DATA", 3)):
            for reply, expected in (("450 4.2.1 busy now", "450 4.2.1 busy now"),
                                    ("550 5.7.1 no", "550 5.7.1 no"),
                                    ("552 full", "552 5.0.0 full"), ("451 5.1.1 odd", "451 4.0.0 odd")):
                with self.subTest(stage=stage, reply=reply):
                    keeper.replies[stage] = reply
                    answers = self.transaction(gateway)
                    self.assertEqual(answers[where], expected)
                    self.assertEqual(len(answers), where + 1)
                    line = gateway.wait_line("transaction", lines + 1)
                    self.assertEqual(line["result"], "deferred" if reply[0] == "4" else "refused")
                    self.assertTrue(line["reply"].startswith(reply[:3]))
                    lines += 2
                    del keeper.replies[stage]
                    self.assertEqual(self.transaction(gateway)[-1][:3], "250", "the next one is not harmed")

    def test_one_bad_recipient_among_good(self):
        keeper, port = self.start_hop()
        keeper.replies["bad@hop.test"] = "550 5.1.1 unknown"
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.ask("MAIL FROM:<a@client.test>")
        self.assertEqual([peer.ask(f"RCPT TO:<{n}@hop.test>")[:3] for n in ("b", "bad", "c")],
                         ["250", "550", "250"])
        peer.ask("DATA")
        peer.send(stuffed(MESSAGE))
        self.assertEqual(peer.reply()[:3], "250")
        self.assertEqual(keeper.take()["recipients"], ["b@hop.test", "c@hop.test"])
        self.assertEqual(gateway.wait_line("transaction")["recipients"], 2)

    def scripted(self, replies, **kwargs):
        """A next hop that answers commands from a dict (None: closes) that may change, and a gateway in front of it."""
        def script(hop, _number, me):
            first = replies.get("banner", "220 hop.test\r\n")
            if first is None:
                return
            hop.send(first)
            while True:
                command = hop.line()
                verb = command.split(":")[0].split(" ")[0].upper()
                me.seen.put(command)
                reply = replies.get(verb, "354 go\r\n" if verb == "DATA" else "250 2.0.0 ok\r\n")
                if reply is None:
                    return
                if verb == "QUIT":
                    hop.send("221 2.0.0 bye\r\n")
                    return
                hop.send(reply)
                if verb == "DATA" and str(reply).startswith("354"):
                    while True:
                        line = hop.line()
                        if line == ".":
                            break
                        if replies.get("die") == "content" and line == "hello":
                            return
                    me.seen.put(".")
                    final = replies.get(".", "250 2.0.0 taken\r\n")
                    if final is None:
                        return
                    hop.send(final)

        hop = self.start_script(script)
        return hop, self.start(hop.port, hop_tls=kwargs.pop("hop_tls", "none"), **kwargs)

    def test_every_way_to_fail(self):
        rows = {
            "banner refuses": ({"banner": "554 no\r\n"}, "451 4.4.1"),
            "banner is no SMTP": ({"banner": "HTTP/1.1 400 Bad Request\r\n"}, "451 4.5.0"),
            "closes before the banner": ({"banner": None}, "451 4.4.2"),
            "closes at EHLO": ({"EHLO": None}, "451 4.4.2"),
            "EHLO and HELO refused": ({"EHLO": "502 no\r\n", "HELO": "502 no\r\n"}, "451 4.4.1"),
            "EHLO refused, HELO taken": ({"EHLO": "502 no\r\n"}, "250 2.0.0"),
            "closes at MAIL": ({"MAIL": None}, "451 4.4.2"),
            "closes at RCPT": ({"RCPT": None}, "451 4.4.2"),
            "closes at DATA": ({"DATA": None}, "451 4.4.2"),
            "dies in the middle": ({"die": "content"}, "451 4.4.2"),
            "closes instead of an answer": ({".": None}, "451 4.4.2"),
            "421 at MAIL": ({"MAIL": "421 4.3.2 going\r\n"}, "451 4.3.2"),
            "421 at the end": ({".": "421 4.3.2 going\r\n"}, "451 4.3.2"),
            "354 to RCPT": ({"RCPT": "354 what\r\n"}, "451 4.5.0"),
            "250 to DATA": ({"DATA": "250 what\r\n"}, "451 4.5.0"),
            "354 at the end": ({".": "354 what\r\n"}, "451 4.5.0"),
            "100 to RCPT": ({"RCPT": "150 wait\r\n"}, "451 4.5.0"),
            "600 to RCPT": ({"RCPT": "650 what\r\n"}, "451 4.5.0"),
            "NUL in an answer": ({"RCPT": "250 o\0k\r\n"}, "451 4.5.0"),
            "bare CR in an answer": ({"RCPT": "250 ok\r250 ok\r\n"}, "451 4.5.0"),
            "an empty answer": ({"RCPT": "\r\n"}, "451 4.5.0"),
            "two answers to RCPT": ({"RCPT": "250 ok\r\n250 more\r\n"}, "451 4.5.0"),
            "bare LF": ({"RCPT": "250 ok\n"}, "451 4.5.0"),
            "bare LF inside": ({"RCPT": "250-ok\n250 ok\r\n"}, "451 4.5.0"),
            "codes differ": ({"RCPT": "250-ok\r\n550 no\r\n"}, "451 4.5.0"),
            "an endless line": ({"RCPT": "250 " + "x" * 40000 + "\r\n"}, "451 4.5.0"),
            "endless lines": ({"RCPT": "250-x\r\n" * 200 + "250 x\r\n"}, "451 4.5.0"),
        }
        now = {}
        _, gateway = self.scripted(now, route="messages = 1")  # or the connection would be kept for the next row
        for number, (name, (replies, expected)) in enumerate(rows.items()):
            with self.subTest(name):
                now.clear()
                now.update(replies)
                answers = self.transaction(gateway)
                self.assertEqual(answers[-1][:9], expected, answers)
                line = gateway.wait_line("transaction", number + 1)
                results = {"2": "delivered", "4": "deferred", "5": "refused"}
                self.assertEqual(line["result"], results[expected[0]])

    def test_answers_before_the_end(self):
        """A refusal counts; a 250 before the final dot must never be taken for the answer to it."""
        for early, expected in (("552 5.2.2 full", "552 5.2.2"), ("250 2.0.0 taken", "451 4.5.0"),
                                ("421 4.3.2 going", "451 4.3.2")):
            with self.subTest(early=early):
                closed = threading.Event()

                def script(hop, _number, _me):
                    hop.answer_envelope()
                    while hop.line() != "Subject: x":
                        pass
                    hop.send(early + "\r\n")
                    hop.until_closed()
                    closed.set()

                hop = self.start_script(script)
                gateway = self.start(hop.port, hop_tls="none")
                peer = greeted(gateway.port)
                envelope(peer)
                peer.send("Subject: x\r\n\r\n")
                self.assertTrue(closed.wait(PATIENCE), "the gateway must leave a next hop that gave up")
                peer.send("the rest\r\n.\r\n")
                self.assertEqual(peer.reply()[:9], expected)

    def test_duplicates_are_counted(self):
        _, gateway = self.scripted({".": None})
        self.transaction(gateway)
        self.assertEqual(gateway.wait_line("possible_duplicate")["id"],
                         gateway.wait_line("transaction")["id"])
        gateway.stop()
        self.assertEqual(gateway.events("stopped")[-1]["possible_duplicates"], 1)

    def test_control_characters_and_lines_of_a_reply_are_tamed(self):
        _, gateway = self.scripted({"RCPT": b"550-5.1.1 one\x1b[31m\r\n550 5.1.1 tw\xf6\r\n"})
        peer = greeted(gateway.port)
        peer.ask("MAIL FROM:<a@client.test>")
        self.assertEqual(peer.ask("RCPT TO:<b@hop.test>"), "550-5.1.1 one?[31m\n550 5.1.1 tw?")

    def test_reply_injected_before_tls(self):
        """CVE-2021-38371: bytes behind the 220 to STARTTLS."""
        _, gateway = self.scripted({"EHLO": "250-hop.test\r\n250 STARTTLS\r\n",
                                    "STARTTLS": "220 go\r\n250-hop.test\r\n250 SMTPUTF8\r\n"}, hop_tls="may")
        self.assertEqual(self.transaction(gateway)[1][:9], "451 4.7.0")
        self.assertIn("behind the reply to STARTTLS", gateway.wait_line("transaction")["error"])

    def test_required_tls_is_never_replaced_by_clear_text(self):
        subjects = {}
        for level in ("encrypt", "verify"):
            now = {}
            subjects[level] = (now, *self.scripted(now, hop_tls=level))
        for name, replies in {"not offered": {}, "refused": {"EHLO": "250-hop.test\r\n250 STARTTLS\r\n",
                                                             "STARTTLS": "454 4.7.0 not now\r\n"},
                              "no TLS behind it": {"EHLO": "250-hop.test\r\n250 STARTTLS\r\n",
                                                   "STARTTLS": "220 go\r\n"},
                              "HELO alone": {"EHLO": "502 no\r\n"}}.items():
            for level, (now, hop, gateway) in subjects.items():
                with self.subTest(name, level=level):
                    now.clear()
                    now.update(replies)
                    self.assertEqual(self.transaction(gateway)[1][:7], "451 4.7")
                    commands = list(hop.seen.queue)
                    self.assertTrue(commands)
                    self.assertFalse([c for c in commands if c.startswith(("MAIL", "HELO"))], commands)

    def test_may_goes_on_without_tls(self):
        now = {}
        _, gateway = self.scripted(now, hop_tls="may", route="messages = 1")
        for number, (name, replies) in enumerate({"not offered": {}, "refused": {"EHLO": "250-hop.test\r\n250 STARTTLS\r\n",
                                                             "STARTTLS": "454 4.7.0 not now\r\n"},
                              "no TLS behind it": {"EHLO": "250-hop.test\r\n250 STARTTLS\r\n",
                                                   "STARTTLS": "220 go\r\n"}}.items()):
            with self.subTest(name):
                now.clear()
                now.update(replies)
                self.assertEqual(self.transaction(gateway)[-1][:3], "250")
                self.assertEqual(gateway.wait_line("transaction", number + 1)["next_hop_tls_achieved"], "none")

    def test_wrong_certificate_under_verify(self):
        self.certificates.make("star", "h*.hop.test", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        foreign = self.certificates.path("ec.pem")  # as CA: it signed nothing
        for name, shown, ca, server_name, reason in (
                ("wrong name", "hop", self.certificates.ca, "other.test", "ostname mismatch"),
                ("part of a label", "star", self.certificates.ca, "ha.hop.test", "ostname mismatch"),
                ("unknown CA", "hop", foreign, "hop.test", "certificate"),
                ("address", "hop", self.certificates.ca, "127.0.0.1", "IP address mismatch")):
            with self.subTest(name):
                keeper, port = self.start_hop(self.certificates, name=shown)
                gateway = self.start(port, hop_tls="verify",
                                     route=f'ca = "{ca}" server_name = "{server_name}"')
                self.assertEqual(self.transaction(gateway)[1][:9], "451 4.7.5")
                self.assertIn(reason, gateway.wait_line("transaction")["error"])
                self.assertTrue(keeper.messages.empty())

    def test_extensions_that_the_next_hop_lacks(self):
        _, gateway = self.scripted({})
        for params, address, expected in ((" SMTPUTF8", "jürgen@client.test", "550 5.6.7"),
                                          (" SMTPUTF8", "a@client.test", "550 5.6.9"),
                                          (" BODY=8BITMIME", "a@client.test", "550 5.6.3"),
                                          (" BODY=7BIT SIZE=1", "a@client.test", "250 2.0.0")):
            with self.subTest(params=params, address=address):
                peer = greeted(gateway.port)
                self.assertEqual(peer.ask(f"MAIL FROM:<{address}>{params}")[:3], "250")
                self.assertEqual(peer.ask("RCPT TO:<b@hop.test>")[:9], expected)
                self.assertEqual(peer.ask("DATA")[:3], "354" if expected[0] == "2" else "554")
                peer.close()

    def test_connection_is_used_again_and_replaced_when_it_was_closed(self):
        """Closed between two messages, or in answer to the next MAIL: either way nobody hears of it."""
        for hears_mail in (False, True):
            with self.subTest(hears_mail=hears_mail):
                closing = threading.Event()

                def script(hop, number, _me):
                    hop.send("220 hop.test\r\n")
                    count = 0
                    while True:
                        command = hop.line()
                        if command == "QUIT" or (count == 2 and number == 1):
                            return
                        hop.send("354 go\r\n" if command == "DATA" else "250 2.0.0 ok\r\n")
                        if command == "DATA":
                            hop.message()
                            count += 1
                            hop.send(f"250 2.0.0 connection {number} message {count}\r\n")
                            if number == 1 and count == 2:
                                closing.set()
                                if not hears_mail:
                                    return

                hop = self.start_script(script)
                gateway = self.start(hop.port, hop_tls="none")
                peer = greeted(gateway.port)
                answers = []
                for _ in range(4):
                    envelope(peer)
                    peer.send(stuffed(MESSAGE))
                    answers.append(peer.reply())
                    if len(answers) == 2:
                        self.assertTrue(closing.wait(PATIENCE))
                self.assertEqual(answers, [f"250 2.0.0 connection {c} message {m}"
                                           for c, m in ((1, 1), (1, 2), (2, 1), (2, 2))])
                peer.close()

    def test_silent_next_hop(self):
        """Waits for the gateway to lose patience; only the one timeout that each row is about is short."""
        rows = (("banner", "envelope", 1), ("RCPT", "envelope", 1), ("DATA", "data", 2), (".", "final", 3))
        gateways = [self.scripted({stage: b""}, extra=f"timeouts {{ {timeout} = 1 }}")[1] for stage, timeout, _ in rows]
        with ThreadPoolExecutor(len(rows)) as pool:
            found = list(pool.map(self.transaction, gateways))
        for (stage, _, expected), answers in zip(rows, found):
            with self.subTest(stage=stage):
                self.assertEqual(answers[expected][:9], "451 4.4.2")
                self.assertEqual(len(answers), expected + 1)


    def test_host_that_does_not_answer(self):
        """Its backlog is full, so the connection is neither taken nor refused."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            waiting = []
            while not waiting or select.select([], [waiting[-1]], [], 0.5)[1]:
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(full.getsockname())
            gateway = self.start(full.getsockname()[1], extra="timeouts { connect = 1 }")
            self.assertEqual(self.transaction(gateway)[1][:9], "451 4.4.1")
            self.assertIn("timed out", gateway.wait_line("transaction")["error"])
            for s in waiting:
                s.close()

    def test_next_hop_that_takes_nothing(self):
        """It said 354 and reads no more: the sender hears of it, whatever it has left to say."""
        over = threading.Event()

        def script(hop, _number, _me):
            hop.answer_envelope()
            over.wait(PATIENCE)

        gateway = self.start(self.start_script(script).port, hop_tls="none", extra="timeouts { block = 1 }")
        peer = greeted(gateway.port)
        envelope(peer)
        peer.send(b"Subject: x\r\n\r\n")
        block = (b"x" * 76 + b"\r\n") * 10000

        def send():
            for _ in range(20):
                peer.send(block)
            peer.send(b".\r\n")

        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(send)
            self.assertEqual(peer.reply()[:9], "451 4.4.2")
            sent.result()
        over.set()
        self.assertEqual(gateway.wait_line("transaction")["result"], "deferred")

    def test_connection_that_nobody_uses_again_ends_in_good_order(self):
        hop, gateway = self.scripted({}, extra="timeouts { reuse = 1 }")
        self.assertEqual(self.transaction(gateway)[-1][:3], "250")
        while hop.seen.get(timeout=PATIENCE) != "QUIT":
            pass


class Stopping(GatewayTest):
    def test_sigterm_lets_what_is_in_flight_finish(self):
        keeper, port = self.start_hop()
        keeper.gate = threading.Event()
        gateway = self.start(port)
        idle = greeted(gateway.port)
        busy = greeted(gateway.port)
        envelope(busy)
        busy.send(b"Subject: x\r\n\r\nhel")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_line("stopping")
        self.assertTrue(idle.until_closed().startswith(b"421 4.3.2"))
        with self.assertRaises((ConnectionRefusedError, ConnectionResetError, EOFError)):
            while True:  # the listening sockets close one loop after the other
                late = raw_connect(gateway.port)
                self.assertTrue(late.line().startswith("421"))
        busy.send(b"lo\r\n.\r\n")
        self.assertTrue(keeper.arrived.wait(PATIENCE))
        keeper.gate.set()
        self.assertTrue(busy.reply().startswith("250 2.0.0"))
        self.assertTrue(busy.until_closed().startswith(b"421 4.3.2"))
        busy.close()
        idle.close()
        self.assertEqual(gateway.process.wait(PATIENCE), 0)
        self.assertEqual(without_received(keeper.take()["content"])[0], MESSAGE)
        self.assertEqual(gateway.wait_line("stopped")["delivered"], 1)

    def test_drain_has_a_deadline(self):
        keeper, port = self.start_hop()
        gateway = self.start(port, extra="timeouts { drain = 1 }")
        peer = greeted(gateway.port)
        envelope(peer)
        gateway.process.send_signal(signal.SIGINT)
        self.assertEqual(gateway.process.wait(PATIENCE), 0)
        self.assertEqual(gateway.wait_line("transaction")["result"], "lost")
        self.assertTrue(keeper.messages.empty())
        peer.close()

    def test_second_signal_means_now(self):
        _, port = self.start_hop()
        gateway = self.start(port, expected_status=1)
        peer = greeted(gateway.port)
        envelope(peer)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_line("stopping")
        gateway.process.send_signal(signal.SIGTERM)
        self.assertEqual(gateway.process.wait(PATIENCE), 1)


if __name__ == "__main__":
    main()
