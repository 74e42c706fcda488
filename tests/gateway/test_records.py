# SPDX-License-Identifier: Apache-2.0
"""records = engine | libssl: the same mail arrives either way, connections are taken over or stay with libssl without a
hitch, and the metrics tell which."""
import random
import re
import ssl
import urllib.request
from subprocess import PIPE, STDOUT, Popen

from support import Gateway, GatewayTest, PATIENCE, client_context, free_port, greeted, main, secured, stuffed, without_received
from tls_by_hand import TlsByHand  # where support says

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
# What a takeover can be told to fail at, that a connection of the gateway comes to.
STEPS = ("handshake", "unread", "unsent", "halfway", "unproven", "unwatched", "no_secrets", "version", "suite", "compression",
         "renegotiation", "early_data", "read_ahead", "shutdown", "proof", "state", "memory", "engine")


def corpus():
    """Messages of many lengths, around the lengths of records and buffers too."""
    numbers = random.Random(7)
    for size in (0, 1, 100, 4000, 16300, 16384, 16500, 34816, 70000, 300000):
        lines, length = [b"Subject: %d\r\n\r\n" % size], 0
        while length < size:
            line = numbers.randbytes(numbers.randrange(0, 300)).hex().encode() + b"\r\n"
            lines.append(line)
            length += len(line)
        yield b"".join(lines)


class Records(GatewayTest):
    def start(self, hop_port, env=None, **kwargs):
        self.metrics_port = free_port()
        kwargs["extra"] = f'metrics = "127.0.0.1:{self.metrics_port}"\n' + kwargs.get("extra", "")
        gateway = Gateway(self.folder, self.settings(hop_port, hop_tls="encrypt", **kwargs), env)
        self.addCleanup(lambda: self.assertEqual(gateway.stop(), 0))
        return gateway

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=PATIENCE) as answer:
            return dict(re.findall(r"^sealane_(\S+) ([0-9.]+)$", answer.read().decode(), re.M))

    def send_corpus(self, gateway, keeper, versions=VERSIONS, chunk=None):
        """All of it over one connection for each version; returns what arrived."""
        arrived = []
        for version in versions:
            peer = secured(gateway.port, self.certificates, version=version)
            for message in corpus():
                for command in ("MAIL FROM:<a@client.test>", "RCPT TO:<b@hop.test>"):
                    self.assertTrue(peer.ask(command).startswith("250"))
                self.assertTrue(peer.ask("DATA").startswith("354"))
                data = stuffed(message)
                for at in range(0, len(data), chunk or len(data)):
                    peer.send(data[at:at + (chunk or len(data))])
                self.assertTrue(peer.reply().startswith("250"))
                content, _ = without_received(keeper.take()["content"])
                self.assertEqual(content, message)
                arrived.append(content)
            self.assertTrue(peer.ask("QUIT").startswith("221"))
            peer.socket.unwrap()  # fails unless the gateway says goodbye
            peer.close()
        return arrived

    def test_the_same_mail_arrives_with_either_setting(self):
        keeper, hop = self.start_hop(self.certificates)
        seen = {}
        for records in ("engine", "libssl"):
            gateway = self.start(hop, extra=f'records = "{records}"')
            seen[records] = self.send_corpus(gateway, keeper)
            numbers = self.metrics()
            if records == "engine":
                self.assertGreaterEqual(int(numbers["takeovers_total"]), 3)  # two senders, and the next hop
                self.assertGreater(int(numbers["seal_batches_total"]), 0)
                self.assertGreaterEqual(int(numbers["open_connections_total"]), int(numbers["open_batches_total"]))
                self.assertTrue(any(name.startswith("engine_records_total{") for name in numbers))
            else:
                self.assertEqual(int(numbers["takeovers_total"]), 0)
                self.assertEqual(int(numbers["seal_batches_total"]), 0)
            self.assertFalse(any(name.startswith("takeovers_refused") for name in numbers), numbers)
        self.assertEqual(seen["engine"], seen["libssl"])

    def test_written_in_many_small_records(self):
        keeper, hop = self.start_hop(self.certificates)
        gateway = self.start(hop)
        peer = secured(gateway.port, self.certificates)
        self.assertTrue(peer.ask("MAIL FROM:<a@client.test>").startswith("250"))
        self.assertTrue(peer.ask("RCPT TO:<b@hop.test>").startswith("250"))
        self.assertTrue(peer.ask("DATA").startswith("354"))
        message = b"Subject: x\r\n\r\n" + b"".join(b"%d\r\n" % i for i in range(600))
        for byte in stuffed(message):
            peer.send(bytes([byte]))
        self.assertTrue(peer.reply().startswith("250"))
        self.assertEqual(without_received(keeper.take()["content"])[0], message)
        peer.close()

    def test_told_to_fail_at_each_step_libssl_goes_on(self):
        keeper, hop = self.start_hop(self.certificates)
        for step in STEPS:
            with self.subTest(step=step):
                gateway = self.start(hop, env={"SEALANE_TAKEOVER_DRILL": step})
                for version in VERSIONS:
                    peer = secured(gateway.port, self.certificates, version=version)
                    for _ in range(2):
                        self.assertTrue(peer.ask("MAIL FROM:<a@client.test>").startswith("250"))
                        self.assertTrue(peer.ask("RCPT TO:<b@hop.test>").startswith("250"))
                        self.assertTrue(peer.ask("DATA").startswith("354"))
                        peer.send(b"Subject: drill\r\n\r\n" + b"x" * 500 + b"\r\n.\r\n")
                        self.assertTrue(peer.reply().startswith("250"))
                        keeper.take()
                    self.assertTrue(peer.ask("QUIT").startswith("221"))
                    peer.socket.unwrap()
                    peer.close()
                gateway.wait_line("transaction", 4)
                numbers = self.metrics()
                self.assertEqual(numbers["takeovers_total"], "0")
                self.assertEqual(gateway.stop(), 0)

    def test_a_suite_that_stays_with_libssl(self):
        keeper, hop = self.start_hop(self.certificates)
        gateway = self.start(hop, receive='ciphers = "ECDHE-RSA-AES128-SHA256"')
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        context = client_context(self.certificates, version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE-RSA-AES128-SHA256")
        peer.start_tls(context)
        self.assertTrue(peer.ask("EHLO client.test").startswith("250"))
        self.assertEqual(self.metrics()['takeovers_refused_total{reason="suite"}'], "1")
        peer.close()

    def test_a_sender_is_taken_over_right_after_its_handshake(self):
        _, hop = self.start_hop(self.certificates)
        gateway = self.start(hop)
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        peer.start_tls(client_context(self.certificates, version=ssl.TLSVersion.TLSv1_3))
        self.assertTrue(peer.ask("NOOP").startswith(("250", "503")))
        self.assertEqual(self.metrics()["takeovers_total"], "1")
        peer.close()

    def test_a_broken_record_ends_the_connection_with_an_alert(self):
        for records in ("engine", "libssl"):
            with self.subTest(records=records):
                self.break_a_record(records)

    def break_a_record(self, records):
        _, hop = self.start_hop(self.certificates)
        gateway = self.start(hop, extra=f'records = "{records}"')
        peer = greeted(gateway.port)
        peer.ask("STARTTLS")
        tls = TlsByHand(peer.socket, client_context(self.certificates), "gateway.test")
        tls.handshake()
        tls.write(b"EHLO client.test\r\n")
        self.assertTrue(tls.read().startswith(b"250"))
        tls.write_broken(b"NOOP\r\n")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)bad.record.mac"):
            tls.read()
        self.assertEqual(self.metrics()["engine_records_forged_total"], "1" if records == "engine" else "0")
        peer.close()

    def test_key_updates_of_a_sender(self):
        _, hop = self.start_hop(self.certificates)
        gateway = self.start(hop)
        with Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-starttls", "smtp", "-tls1_3", "-quiet",
                    "-no_ign_eof"], stdin=PIPE, stdout=PIPE, stderr=STDOUT) as client:
            def say(text, answer):
                client.stdin.write(text)
                client.stdin.flush()
                seen = b""
                while answer not in seen:
                    piece = client.stdout.read1(65536)
                    self.assertTrue(piece, seen)
                    seen += piece

            say(b"", b"250 ")
            for order in (b"K\n", b"k\n", b"K\n"):
                say(order, b"KEYUPDATE")
                say(b"NOOP\r\n", b"250 ")
            client.stdin.close()
            client.stdout.read()

    def test_sessions_with_next_hops_are_resumed(self):
        """Tickets come behind the handshake: libssl still reads them."""
        keeper, hop = self.start_hop(self.certificates)
        gateway = self.start(hop, route="messages = 1")
        for count in range(1, 4):
            peer = secured(gateway.port, self.certificates)
            for command in ("MAIL FROM:<a@client.test>", "RCPT TO:<b@hop.test>"):
                self.assertTrue(peer.ask(command).startswith("250"))
            self.assertTrue(peer.ask("DATA").startswith("354"))
            peer.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            self.assertTrue(peer.reply().startswith("250"))
            keeper.take()
            peer.close()
            gateway.wait_line("transaction", count)
        self.assertGreaterEqual(int(self.metrics()["hop_resumed_total"]), 1)


if __name__ == "__main__":
    main()
