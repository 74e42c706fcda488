# SPDX-License-Identifier: Apache-2.0
"""Mail goes through: what arrives is what was sent, whatever the TLS, key, size and pipelining."""
import email.message
import hashlib
import random
import re
import select
import smtplib
import socket
import ssl
import threading
from pathlib import Path

from support import GatewayTest, PATIENCE, client_context, greeted, main, raw_connect, secured, stuffed, without_received

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

AWKWARD = (b"Subject: dots and more\r\nX-Empty:\r\n\r\n"
           b".\r\n..\r\n.leading dot\r\n\r\n...\r\nno dot\r\n. \r\n"
           b"8-bit: \xc3\xa4\xff\r\n\ttab\r\n" + b"x" * 2000 + b"\r\n.\r\n")


def kernel_most(setting):
    """The most bytes that the kernel lets a buffer of TCP grow to by itself."""
    return int(Path("/proc/sys/net/ipv4", setting).read_text(encoding="ascii").split()[2])


def random_message(size, seed):
    """A message of about `size` bytes whose every line can be told from any other."""
    numbers = random.Random(seed)
    lines = [b"Subject: random\r\n", b"Message-ID: <%d@client.test>\r\n" % seed, b"\r\n"]
    length = 0
    while length < size:
        line = b"%s%d %s\r\n" % (b"." * numbers.randrange(0, 3), length,
                                 numbers.randbytes(numbers.randrange(0, 400)).hex().encode())
        lines.append(line)
        length += len(line)
    return b"".join(lines)


def send(peer, message, sender="a@client.test", recipients=("b@hop.test",), params=""):
    """One transaction, step by step; the answer to the final dot."""
    assert peer.ask(f"MAIL FROM:<{sender}>{params}").startswith("250")
    for recipient in recipients:
        answer = peer.ask(f"RCPT TO:<{recipient}>")
        assert answer.startswith("250"), answer
    assert peer.ask("DATA").startswith("354")
    peer.send(stuffed(message))
    return peer.reply()


class Relay(GatewayTest):
    def check(self, keeper, message, sender="a@client.test", recipients=("b@hop.test",)):
        got = keeper.take()
        content, received = without_received(got["content"])
        self.assertEqual(content, message)
        self.assertEqual((got["sender"], got["recipients"]), (sender, list(recipients)))
        return got, received

    def test_both_versions_and_keys_with_tls_to_the_next_hop(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port, hop_tls="encrypt")
        count = 0
        for name, version in VERSIONS.items():
            for key in ("rsa", "ec") if name == "TLSv1.2" else ("ec",):
                with self.subTest(version=name, key=key):
                    count += 1
                    peer = secured(gateway.port, self.certificates, version=version,
                                   key=key if name == "TLSv1.2" else None)
                    self.assertTrue(send(peer, AWKWARD).startswith("250 2.0.0"))
                    got, received = self.check(keeper, AWKWARD)
                    self.assertTrue(got["tls"])
                    self.assertIn("with ESMTPS id ", received)
                    self.assertIn("tls TLS_", received)
                    self.assertIn(name, received)
                    line = gateway.wait_line("transaction", count)
                    self.assertEqual(line["tls"], name)
                    self.assertEqual(line["key"], key.upper())
                    self.assertEqual(line["certificate"], "gateway.test")
                    self.assertEqual((line["result"], line["tls_achieved"]), ("delivered", "encrypt"))
                    self.assertEqual(line["next_hop_tls_achieved"], "encrypt")
                    self.assertIn(line["id"], received)
                    self.assertNotEqual(line["sealed_by"], "")
                    peer.ask("QUIT")
                    peer.close()

    def test_rsa_alone_serves_tls_1_3(self):
        keeper, port = self.start_hop()
        gateway = self.start(port, names=("rsa",))
        peer = secured(gateway.port, self.certificates, version=ssl.TLSVersion.TLSv1_3)
        self.assertTrue(send(peer, AWKWARD).startswith("250 "))
        self.check(keeper, AWKWARD)
        self.assertEqual(gateway.wait_line("transaction")["key"], "RSA")

    def test_clear_text_where_allowed(self):
        keeper, port = self.start_hop()
        gateway = self.start(port, hop_tls="none")
        peer = greeted(gateway.port)
        self.assertTrue(send(peer, AWKWARD).startswith("250 "))
        got, received = self.check(keeper, AWKWARD)
        self.assertFalse(got["tls"])
        self.assertIn("with ESMTP id ", received)
        self.assertNotIn("tls", received)
        line = gateway.wait_line("transaction")
        self.assertEqual((line["tls_wanted"], line["tls_achieved"]), ("may", "none"))
        self.assertNotIn("sealed_by", line)

    def test_verified_next_hop(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port, hop_tls="verify",
                             route=f'ca = "{self.certificates.ca}" server_name = "hop.test"')
        peer = secured(gateway.port, self.certificates)
        self.assertTrue(send(peer, AWKWARD).startswith("250 "))
        self.check(keeper, AWKWARD)
        self.assertEqual(gateway.wait_line("transaction")["next_hop_tls_achieved"], "verify")

    def test_helo_client(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = raw_connect(gateway.port)
        peer.reply()
        self.assertEqual(peer.ask("HELO client.test"), "250 gateway.test")
        self.assertTrue(send(peer, b"Subject: x\r\n\r\nhello\r\n").startswith("250 "))
        _, received = self.check(keeper, b"Subject: x\r\n\r\nhello\r\n")
        self.assertIn("with SMTP id", received)

    def test_everything_pipelined(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port)
        peer = secured(gateway.port, self.certificates)
        peer.send("MAIL FROM:<a@client.test> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<b@hop.test>\r\n"
                  "RCPT TO:<c@hop.test>\r\nDATA\r\n")
        self.assertEqual([peer.reply()[:3] for _ in range(4)], ["250", "250", "250", "354"])
        peer.send(stuffed(AWKWARD) + b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n")
        self.assertEqual([peer.reply()[:3] for _ in range(4)], ["250", "250", "250", "354"])
        peer.send(stuffed(AWKWARD[:-3]) + b"QUIT\r\n")
        self.assertEqual([peer.reply()[:3] for _ in range(2)], ["250", "221"])
        got, _ = self.check(keeper, AWKWARD, recipients=("b@hop.test", "c@hop.test"))
        self.assertIn("BODY=8BITMIME", got["options"])
        self.check(keeper, AWKWARD[:-3], sender="<>", recipients=("postmaster",))

    def test_one_byte_at_a_time(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = raw_connect(gateway.port)
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n\r\n"
        script = (b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\n" +
                  stuffed(message) + b"QUIT\r\n")
        self.assertTrue(peer.reply().startswith("220 "))
        for byte in script:
            peer.send(bytes([byte]))
        self.assertEqual([peer.reply()[:3] for _ in range(6)], ["250", "250", "250", "354", "250", "221"])
        self.check(keeper, message)

    def test_many_messages_over_one_connection_each_way(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port, hop_tls="encrypt")
        peer = secured(gateway.port, self.certificates)
        for number in range(50):
            message = random_message(4096, number)
            self.assertTrue(send(peer, message).startswith("250 "))
            self.check(keeper, message)
        ids = [gateway.wait_line("transaction", n + 1)["id"] for n in range(50)]
        self.assertEqual(len(set(ids)), 50)
        peer.ask("QUIT")

    def test_ten_megabytes(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port, hop_tls="encrypt")
        message = random_message(10 * 1024 * 1024, 1)
        for secure in (True, False):
            with self.subTest(secure=secure):
                peer = secured(gateway.port, self.certificates) if secure else greeted(gateway.port)
                self.assertTrue(send(peer, message).startswith("250 "))
                self.check(keeper, message)
                peer.close()

    def test_slow_next_hop_stops_the_sender_and_loses_nothing(self):
        """The next hop reads nothing for a while: the sender's bytes stay with the sender."""
        # More than the kernel may hold: what the gateway has not read, and what it has sent (tcp(7), tcp_rmem, tcp_wmem).
        message = random_message(kernel_most("tcp_rmem") + kernel_most("tcp_wmem") + 8 * 1024 * 1024, 2)
        gate = threading.Event()
        result = {}

        def script(hop, _number, _self):
            hop.answer_envelope()
            gate.wait(PATIENCE)
            digest = hashlib.sha256()
            tail = hop.held
            digest.update(tail)
            while not tail.endswith(b"\r\n.\r\n"):
                more = hop.socket.recv(1 << 20)
                if not more:
                    return
                digest.update(more)
                tail = (tail + more)[-5:]
            result["sha256"] = digest.hexdigest()
            hop.send("250 2.0.0 slowly taken\r\n")
            hop.line()

        hop = self.start_script(script)
        hop.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)  # for whom it accepts, too
        gateway = self.start(hop.port, hop_tls="none", extra="limits { message_size = 1000M }")
        peer = greeted(gateway.port)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        peer.ask("MAIL FROM:<a@client.test>")
        peer.ask("RCPT TO:<b@hop.test>")
        peer.ask("DATA")
        wire = stuffed(message)
        peer.socket.setblocking(False)
        sent = 0
        # Send until nobody takes any more. Both kernels' buffers fill; the gateway's own are 34 KB each.
        while sent < len(wire):
            _, ready, _ = select.select([], [peer.socket], [], 1.0)
            if not ready:
                break
            sent += peer.socket.send(wire[sent:sent + 65536])
        self.assertLess(sent, len(wire), "the gateway took all of it although the next hop took nothing")
        with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as f:
            resident = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
        print(f"    {sent} bytes sent before it stopped, resident {resident} kB", flush=True)
        peer.socket.settimeout(PATIENCE)
        gate.set()
        peer.send(wire[sent:])
        self.assertEqual(peer.reply(), "250 2.0.0 slowly taken")
        received_length = int(gateway.wait_line("transaction")["bytes"])
        self.assertEqual(received_length, len(message))
        self.assertIn("sha256", result)

    def test_slow_sender(self):
        """A message in many small pieces, each sent when the one before has reached the next hop."""
        pieces = [b"Subject: slow\r\n", b"\r", b"\n", b".", b".\r\n", b"line\r", b"\n.", b"\r\n"]
        arrived = []
        step = threading.Semaphore(0)

        def script(hop, _number, _self):
            hop.answer_envelope()
            while True:
                line = hop.line()
                arrived.append(line)
                step.release()
                if line == ".":
                    break
            hop.send("250 ok\r\n")
            hop.line()

        hop = self.start_script(script)
        gateway = self.start(hop.port, hop_tls="none")
        peer = greeted(gateway.port)
        peer.ask("MAIL FROM:<a@client.test>")
        peer.ask("RCPT TO:<b@hop.test>")
        peer.ask("DATA")
        peer.send(pieces[0])
        while not step.acquire(timeout=PATIENCE) or arrived[-1] != "Subject: slow":
            pass
        for piece in pieces[1:]:
            peer.send(piece)
        self.assertEqual(peer.reply(), "250 2.0.0 ok")
        self.assertEqual(arrived[-4:], ["", "..", "line", "."])

    def test_resumption(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        for name, version in VERSIONS.items():
            with self.subTest(version=name):
                context = client_context(self.certificates, version)
                session, resumed = None, []
                for _ in range(2):
                    peer = greeted(gateway.port)
                    peer.ask("STARTTLS")
                    peer.socket = context.wrap_socket(peer.socket, server_hostname="gateway.test",
                                                      session=session)
                    peer.ask("EHLO client.test")
                    self.assertTrue(send(peer, b"Subject: x\r\n\r\n").startswith("250 "))
                    keeper.take()
                    resumed.append(peer.socket.session_reused)
                    session = peer.socket.session
                    peer.ask("QUIT")
                    peer.close()
                self.assertEqual(resumed, [False, True])
        lines = [gateway.wait_line("transaction", n + 1)["resumed"] for n in range(4)]
        self.assertEqual(lines, ["no", "yes", "no", "yes"])

    def test_smtplib_with_real_messages(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port, hop_tls="encrypt")
        message = email.message.EmailMessage()
        message["Subject"] = "Größe"
        message["From"] = "a@client.test"
        message["To"] = "b@hop.test"
        message.set_content("Hallo\n.\n..\nEnde\n")
        message.add_attachment(bytes(range(256)) * 100, maintype="application", subtype="octet-stream")
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=PATIENCE) as client:
            client.starttls(context=unchecked_context())
            client.send_message(message)
        got = keeper.take()
        content, _ = without_received(got["content"])
        parsed = email.message_from_bytes(content)
        self.assertEqual(parsed.get_payload(1).get_payload(decode=True), bytes(range(256)) * 100)

    def test_smtputf8(self):
        keeper, port = self.start_hop()
        gateway = self.start(port)
        peer = greeted(gateway.port)
        peer.send("MAIL FROM:<jürgen@client.test> SMTPUTF8\r\n")
        self.assertTrue(peer.reply().startswith("250"))
        peer.send("RCPT TO:<größe@hop.test>\r\n")
        self.assertTrue(peer.reply().startswith("250"))
        self.assertTrue(peer.ask("DATA").startswith("354"))
        peer.send(stuffed("Subject: Größe\r\n\r\nHallo\r\n".encode()))
        self.assertTrue(peer.reply().startswith("250 "))
        got, received = self.check(keeper, "Subject: Größe\r\n\r\nHallo\r\n".encode(),
                                   "jürgen@client.test",
                                   ("größe@hop.test",))
        self.assertTrue(got["utf8"])
        self.assertIn("with UTF8SMTP id", received)

    def test_many_sessions_at_once(self):
        """Nothing is lost, doubled or changed with 40 sessions of 5 messages each at the same time."""
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start(port, hop_tls="encrypt")
        failures, expected = [], {}

        def work(session):
            try:
                peer = secured(gateway.port, self.certificates)
                for number in range(5):
                    seed = session * 1000 + number
                    message = random_message(random.Random(seed).randrange(100, 60000), seed)
                    expected[f"{seed}@client.test"] = message
                    answer = send(peer, message, sender=f"{seed}@client.test")
                    if not answer.startswith("250 "):
                        failures.append(answer)
                peer.ask("QUIT")
                peer.close()
            except Exception as e:  # noqa: whatever it is, the test must hear of it
                failures.append(repr(e))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        got = {}
        for _ in range(200):
            message = keeper.take()
            self.assertNotIn(message["sender"], got, "delivered twice")
            got[message["sender"]] = without_received(message["content"])[0]
        self.assertEqual(got, expected)
        self.assertTrue(keeper.messages.empty())


def unchecked_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    main()
