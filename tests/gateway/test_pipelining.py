# SPDX-License-Identifier: Apache-2.0
"""Commands that come together (RFC 2920): their answers go out together, and the next hop hears them together."""
import threading
import time

from support import GatewayTest, PATIENCE, greeted, main, stuffed

ENVELOPE = "MAIL FROM:<a@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\n"
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def at_once(peer):
    """What one recv brings. What was sent in one piece comes so: it is small, and loopback loses nothing."""
    assert not peer.held
    return peer.socket.recv(65536).decode()


class Pipelining(GatewayTest):
    def start_pipelining(self, answers, seen=None):
        """A next hop that answers each verb from `answers`; commands that came in one piece are answered in one."""
        def script(hop, _number, me):
            hop.send("220 hop.test\r\n")
            while True:
                lines = [hop.line()]
                while b"\n" in hop.held:
                    lines.append(hop.line())
                me.seen.put(lines)
                replies = ""
                for line in lines:
                    verb = line.split(" ")[0].split(":")[0].upper()
                    usual = {"EHLO": "250-hop.test\r\n250 PIPELINING\r\n", "DATA": "354 go\r\n", "QUIT": "221 bye\r\n"}
                    replies += answers.get(verb, usual.get(verb, "250 2.0.0 ok\r\n"))
                hop.send(replies)
                if "QUIT" in lines:
                    return
                if replies.endswith("354 go\r\n"):
                    me.seen.put(hop.message())
                    hop.send(answers.get(".", "250 2.0.0 taken\r\n"))

        hop = self.start_script(script)
        return hop, self.start(hop.port, hop_tls="none")

    def heard(self, hop):
        """What the next hop has heard since, its greeting left out."""
        found = []
        while not hop.seen.empty():
            found.append(hop.seen.get())
        return [lines for lines in found if lines[:1] != ["EHLO gateway.test"]]

    def test_one_piece_in_one_piece_out(self):
        hop, gateway = self.start_pipelining({})
        peer = greeted(gateway.port)
        for _ in range(2):  # over a new connection, and over one that is used again
            peer.send(ENVELOPE)
            self.assertRegex(at_once(peer), r"^250 2\.1\.0 [^\r]*\r\n250 2\.0\.0 ok\r\n354 [^\r]*\r\n$")
            peer.send(stuffed(MESSAGE))
            self.assertEqual(peer.reply(), "250 2.0.0 taken")
            envelope, message = self.heard(hop)
            self.assertEqual(envelope, ["MAIL FROM:<a@client.test>", "RCPT TO:<b@hop.test>", "DATA"])
            self.assertTrue(message[0].startswith("Received: "))
            self.assertEqual(message[-3:], ["Subject: x", "", "hello"])
        peer.close()

    def test_a_next_hop_that_does_not_offer_it_hears_one_command_at_a_time(self):
        hop, gateway = self.start_pipelining({"EHLO": "250 hop.test\r\n"})
        peer = greeted(gateway.port)
        peer.send(ENVELOPE)
        self.assertEqual([peer.reply()[:3] for _ in range(3)], ["250", "250", "354"])
        peer.send(stuffed(MESSAGE))
        self.assertEqual(peer.reply(), "250 2.0.0 taken")
        self.assertEqual(self.heard(hop)[:3], [["MAIL FROM:<a@client.test>"], ["RCPT TO:<b@hop.test>"], ["DATA"]])
        peer.close()

    def test_data_is_told_only_behind_the_last_recipient(self):
        hop, gateway = self.start_pipelining({})
        peer = greeted(gateway.port)
        peer.send(ENVELOPE.replace("DATA", "RCPT TO:<c@hop.test>\r\nRCPT TO:<d@hop.test>\r\nDATA"))
        self.assertEqual([peer.reply()[:3] for _ in range(5)], ["250"] * 4 + ["354"])
        peer.send(stuffed(MESSAGE))
        self.assertEqual(peer.reply()[:3], "250")
        self.assertEqual(self.heard(hop)[:3], [["MAIL FROM:<a@client.test>", "RCPT TO:<b@hop.test>"], ["RCPT TO:<c@hop.test>"],
                                               ["RCPT TO:<d@hop.test>", "DATA"]])
        peer.close()

    def test_refused_at_each_stage(self):
        """Whatever the next hop makes of DATA that came in vain: nothing is delivered, and the next message goes."""
        no = "550 5.7.1 no\r\n"
        vain = "554 5.5.1 no valid recipients\r\n"
        rows = {"MAIL": ({"MAIL": no, "RCPT": "503 5.5.1 MAIL first\r\n", "DATA": "503 5.5.1 MAIL first\r\n"}, ["250", "550", "554"]),
                "RCPT": ({"RCPT": no, "DATA": vain}, ["250", "550", "554"]),
                "RCPT, and DATA is taken": ({"RCPT": no, ".": vain}, ["250", "550", "554"]),
                "RCPT for now": ({"RCPT": "450 4.2.1 later\r\n", "DATA": vain}, ["250", "450", "554"]),
                "DATA": ({"DATA": no}, ["250", "250", "550"])}
        now = {}
        hop, gateway = self.start_pipelining(now)
        peer = greeted(gateway.port)
        for name, (answers, expected) in rows.items():
            with self.subTest(name):
                now.clear()
                now.update(answers)
                peer.send(ENVELOPE)
                self.assertEqual([peer.reply()[:3] for _ in range(3)], expected)
                peer.ask("RSET")
                heard = self.heard(hop)
                self.assertEqual(heard[0], ["MAIL FROM:<a@client.test>", "RCPT TO:<b@hop.test>", "DATA"])
                if "taken" in name:
                    self.assertEqual(heard[1], [], "an empty message to nobody")
                now.clear()
                peer.send(ENVELOPE)
                self.assertEqual([peer.reply()[:3] for _ in range(3)], ["250", "250", "354"])
                peer.send(stuffed(MESSAGE))
                self.assertEqual(peer.reply(), "250 2.0.0 taken")
                self.assertEqual([lines[-1] for lines in self.heard(hop) if "Subject: x" in lines], ["hello"])
        peer.close()

    def test_second_recipient_refused(self):
        """The first was taken, so DATA counts."""
        def script(hop, _number, _me):
            hop.send("220 hop.test\r\n")
            hop.answer("250-hop.test\r\n250 PIPELINING", "250 ok", "250 ok", "550 5.1.1 no", "354 go")
            hop.message()
            hop.send("250 2.0.0 taken\r\n")
            hop.answer("221 bye")

        gateway = self.start(self.start_script(script).port, hop_tls="none")
        peer = greeted(gateway.port)
        peer.send(ENVELOPE.replace("DATA", "RCPT TO:<c@hop.test>\r\nDATA"))
        self.assertEqual([peer.reply()[:3] for _ in range(4)], ["250", "250", "550", "354"])
        peer.send(stuffed(MESSAGE))
        self.assertEqual(peer.reply()[:3], "250")
        peer.close()

    def test_sender_leaves_while_data_is_unanswered(self):
        """The next hop's connection ends with it: its 354 must not be taken for the answer to something else."""
        ended = threading.Event()
        heard = threading.Event()

        def script(hop, _number, _me):
            hop.send("220 hop.test\r\n")
            hop.answer("250-hop.test\r\n250 PIPELINING")
            for _ in range(3):
                hop.line()
            heard.set()
            hop.until_closed()
            ended.set()

        gateway = self.start(self.start_script(script).port, hop_tls="none")
        peer = greeted(gateway.port)
        peer.send(ENVELOPE)
        self.assertTrue(heard.wait(PATIENCE))
        peer.reset()
        self.assertTrue(ended.wait(PATIENCE))

    def test_answers_are_not_held_back_long(self):
        """A next hop takes its time for each recipient: the sender hears of the first before the second is answered."""
        told = threading.Event()

        def script(hop, _number, _me):
            hop.send("220 hop.test\r\n")
            hop.answer("250-hop.test\r\n250 PIPELINING")
            hop.line()
            hop.line()
            time.sleep(1.1)  # longer than the gateway holds answers back
            hop.send("250 ok\r\n250 2.1.5 first\r\n")
            hop.line()
            if told.wait(PATIENCE):
                hop.send("250 2.1.5 second\r\n")
            hop.answer("250 reset", "221 bye")

        gateway = self.start(self.start_script(script).port, hop_tls="none")
        peer = greeted(gateway.port)
        peer.send(ENVELOPE.replace("DATA", "RCPT TO:<c@hop.test>"))
        self.assertEqual([peer.reply()[:9] for _ in range(2)], ["250 2.1.0", "250 2.1.5"])
        told.set()
        self.assertEqual(peer.reply(), "250 2.1.5 second")
        peer.close()


if __name__ == "__main__":
    main()
