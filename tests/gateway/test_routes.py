# SPDX-License-Identifier: Apache-2.0
"""Which mail goes where: routes, several hosts, MX records, fallback and queue, partners' demands, reuse."""
import hashlib
import signal
import subprocess

from dns import Dns
from support import GatewayTest, Gateway, Keeper, NextHop, demanding_script, der_of, free_port, greeted, main, secured, stuffed

MESSAGE = b"Subject: x\r\n\r\nHallo\r\n"


def pin_of(file, kind="certificate"):
    """The pin as openssl computes it."""
    pem = subprocess.run(["openssl", "x509", "-in", file, "-outform", "DER"], capture_output=True, check=True).stdout
    if kind == "key":
        public = subprocess.run(["openssl", "x509", "-in", file, "-pubkey", "-noout"], capture_output=True,
                                check=True).stdout
        pem = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, capture_output=True,
                             check=True).stdout
    return f"{kind}:{hashlib.sha256(pem).hexdigest()}"


def envelope(peer, recipients, sender="a@client.test"):
    """The answers to MAIL and each RCPT."""
    answers = [peer.ask(f"MAIL FROM:<{sender}>")]
    return answers + [peer.ask(f"RCPT TO:<{recipient}>") for recipient in recipients]


def content(peer, message=MESSAGE):
    answer = peer.ask("DATA")
    if not answer.startswith("354"):
        return answer
    peer.send(stuffed(message))
    return peer.reply()


class RoutesTest(GatewayTest):
    def settings_with(self, routes, extra="", receive="", tls="may"):
        return (f'hostname = "gateway.test"\nlog = "json"\n{extra}\n'
                f'receive "in" {{\n address = "127.0.0.1"\n port = 0\n tls = "{tls}"\n{receive}\n'
                f'{self.certificates.section("ec")}}}\n{routes}\n')

    def start_with(self, routes, **kwargs):
        gateway = Gateway(self.folder, self.settings_with(routes, **kwargs))
        self.addCleanup(lambda: self.assertEqual(gateway.stop(), 0, "exit status of the gateway"))
        return gateway

    def mail(self, gateway, recipient, sender="a@client.test", peer=None):
        peer = peer or greeted(gateway.port)
        answers = envelope(peer, [recipient], sender)
        if not answers[-1].startswith("250"):
            peer.ask("RSET")
            return answers[-1]
        return content(peer)


class Choice(RoutesTest):
    def test_recipient_sender_and_order(self):
        one, one_port = self.start_hop()
        two, two_port = self.start_hop()
        three, three_port = self.start_hop()
        gateway = self.start_with(f'''
            route "boss" {{ recipients = {{"boss@one.test"}} next_hop = "127.0.0.1:{three_port}" }}
            route "one" {{ recipients = {{"one.test", "*.one.test"}} next_hop = "127.0.0.1:{one_port}" }}
            route "from" {{ senders = {{"special.test", "<>"}} recipients = {{"*"}}
                            next_hop = "127.0.0.1:{two_port}" }}''')
        for recipient, sender, keeper in (("b@one.test", "a@client.test", one), ("b@ONE.Test", "a@special.test", one),
                                          ("b@deep.sub.one.test", "a@client.test", one),
                                          ("Boss@one.test", "a@client.test", three),
                                          ("b@else.test", "a@special.test", two), ("b@else.test", "", two)):
            with self.subTest(recipient=recipient, sender=sender):
                self.assertTrue(self.mail(gateway, recipient, sender).startswith("250 "))
                self.assertEqual(keeper.take()["recipients"], [recipient])
        self.assertEqual(gateway.wait_line("transaction", 4)["route"], "boss")
        self.assertTrue(self.mail(gateway, "b@else.test", "a@client.test").startswith("550 5.7.1"))

    def test_connector_chooses(self):
        """What comes in by the inner door may go anywhere, by the outer one it may not."""
        keeper, port = self.start_hop()
        gateway = self.start_with(f'''
            receive "inner" {{ address = "127.0.0.1" port = 0 {self.certificates.section("ec")} }}
            route "out" {{ connectors = {{"inner"}} next_hop = "127.0.0.1:{port}" }}''')
        inner = int(gateway.wait_line("listening", connector="inner")["port"])
        self.assertTrue(self.mail(gateway, "b@x.test").startswith("550 5.7.1"))
        self.assertTrue(self.mail(gateway, "b@x.test", peer=greeted(inner)).startswith("250 "))
        self.assertEqual(keeper.take()["recipients"], ["b@x.test"])

    def test_no_open_relay(self):
        keeper, port = self.start_hop()
        gateway = self.start_with(f'route "in" {{ recipients = {{"one.test"}} next_hop = "127.0.0.1:{port}" }}')
        for recipient in ("b@else.test", "b@one.test.else.test", "b@xone.test", "b@sub.one.test", "postmaster",
                          "b%one.test@else.test", "@one.test:b@else.test", '"b@one.test"@else.test', "b@[127.0.0.1]"):
            with self.subTest(recipient):
                self.assertTrue(self.mail(gateway, recipient).startswith("550 5.7.1"))
        self.assertTrue(keeper.messages.empty())

    def test_recipients_of_two_routes_without_a_queue(self):
        one, one_port = self.start_hop()
        two, two_port = self.start_hop()
        gateway = self.start_with(f'''
            route "one" {{ recipients = {{"one.test"}} next_hop = "127.0.0.1:{one_port}" }}
            route "two" {{ recipients = {{"two.test"}} next_hop = "127.0.0.1:{two_port}" }}''')
        peer = greeted(gateway.port)
        self.assertIn("LIMITS RCPTMAX=1000 RCPTDOMAINMAX=1", peer.ask("EHLO client.test"))
        answers = envelope(peer, ["a@one.test", "b@two.test", "c@one.test"])
        self.assertEqual([a[:9] for a in answers[1:]], ["250 2.1.5", "452 4.5.3", "250 2.1.5"])
        self.assertTrue(content(peer).startswith("250 "))
        self.assertEqual(one.take()["recipients"], ["a@one.test", "c@one.test"])
        self.assertTrue(self.mail(gateway, "b@two.test", peer=peer).startswith("250 "))
        two.take()

    def test_first_recipient_refused_then_another_route(self):
        one, one_port = self.start_hop()
        one.replies["a@one.test"] = "550 5.1.1 nobody"
        two, two_port = self.start_hop()
        gateway = self.start_with(f'''
            route "one" {{ recipients = {{"one.test"}} next_hop = "127.0.0.1:{one_port}" }}
            route "two" {{ recipients = {{"two.test"}} next_hop = "127.0.0.1:{two_port}" }}''')
        peer = greeted(gateway.port)
        answers = envelope(peer, ["a@one.test", "b@two.test"])
        self.assertEqual([a[:3] for a in answers[1:]], ["550", "250"])
        self.assertTrue(content(peer).startswith("250 "))
        self.assertEqual(two.take()["recipients"], ["b@two.test"])
        self.assertTrue(one.messages.empty())

    def test_client_certificate_chooses(self):
        one, one_port = self.start_hop()
        pin = pin_of(self.certificates.path("hop.pem"), "key")
        gateway = self.start_with(f'''
            route "known" {{ clients = {{"{pin}"}} next_hop = "127.0.0.1:{one_port}" }}''',
                                  receive=' client_certificates = "ask"')
        for client, answer in (("hop", "250"), (None, "550")):
            with self.subTest(client=client):
                peer = secured(gateway.port, self.certificates, client=client)
                self.assertEqual(self.mail(gateway, "b@x.test", peer=peer)[:3], answer)
        self.assertEqual(gateway.wait_line("transaction")["client_certificate"], "hop.test")
        one.take()


class Hosts(RoutesTest):
    def test_priority_and_the_next_when_one_is_down(self):
        keeper, port = self.start_hop()
        dead, silent = free_port(), free_port()
        gateway = self.start_with(f'''
            route "out" {{
              hop "127.0.0.1:{port}" {{ priority = 20 }}
              hop "127.0.0.1:{dead}" {{ priority = 10 }}
              hop "127.0.0.2:{silent}" {{ priority = 10 weight = 5 }} }}''')
        self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
        keeper.take()
        self.assertEqual(gateway.wait_line("transaction")["next_hop"], f"127.0.0.1:{port}")

    def test_weights(self):
        keepers = [self.start_hop() for _ in range(2)]
        gateway = self.start_with(f'''
            route "out" {{
              messages = 1
              hop "127.0.0.1:{keepers[0][1]}" {{ weight = 20 }}
              hop "127.0.0.1:{keepers[1][1]}" {{ weight = 1 }} }}''', extra="loops = 1")
        for _ in range(25):
            self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
        counts = [k.messages.qsize() for k, _ in keepers]
        self.assertEqual(sum(counts), 25)
        self.assertGreater(counts[0], counts[1])  # fails by chance less than once in 10^12 runs

    def test_host_that_refuses_or_speaks_something_else(self):
        """The next one gets the mail."""
        keeper, port = self.start_hop()
        words = []

        def script(peer, number, hop):
            peer.send(words[-1])
            peer.until_closed()

        bad = self.start_script(script)
        gateway = self.start_with(f'''
            route "out" {{
              messages = 1
              hop "127.0.0.1:{bad.port}" {{ priority = 1 }}
              hop "127.0.0.1:{port}" {{ priority = 2 }} }}''')
        for count, word in enumerate(("554 5.3.2 go away\r\n", "HTTP/1.1 400 Bad Request\r\n", "220 hop.test\n", b"\x15\x03\x01\0\x02\x02\x28",
                                      "220 " + "x" * 5000, "220-x\r\n" * 2000)):
            with self.subTest(word[:20]):
                words.append(word)
                self.restart_choice(gateway)
                for _ in range(2):  # the second time it is not even asked
                    self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
                    keeper.take()
                    self.assertEqual(bad.connections, count + 1)

    def restart_choice(self, gateway):
        """Settings anew: which hosts have failed is forgotten."""
        loaded = len(gateway.events("reloaded"))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_line("reloaded", loaded + 1)

    def test_connection_is_shared_by_senders_and_tls_resumed(self):
        keeper, port = self.start_hop(self.certificates)
        gateway = self.start_with(f'''
            route "out" {{ next_hop = "127.0.0.1:{port}" tls = "encrypt" messages = 2 }}''', extra="loops = 1")
        for _ in range(4):
            self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
            keeper.take()
        lines = [gateway.wait_line("transaction", n + 1)["next_hop_resumed"] for n in range(4)]
        self.assertEqual(lines, ["no", "no", "yes", "yes"])
        gateway.stop()
        ended = gateway.wait_line("stopped")
        self.assertEqual((ended["hop_connections"], ended["hop_reused"], ended["hop_resumed"]), (2, 2, 1))


class Mx(RoutesTest):
    def start_mx(self, zone, port, tls="may", extra=""):
        self.dns = Dns(zone)
        self.addCleanup(self.dns.close)
        return self.start_with(f'''
            route "out" {{ connectors = {{"in"}} mx = yes port = {port} tls = "{tls}" }}
            {extra}''', extra=f'resolvers = {{"127.0.0.1@{self.dns.port}"}}')

    def test_hosts_in_order_of_preference(self):
        keeper, port = self.start_hop()
        gateway = self.start_mx({"x.test": {"MX": [(20, "good.x.test"), (10, "down.x.test"), (5, "none.x.test")]},
                                 "good.x.test": {"A": ["127.0.0.1"]}, "down.x.test": {"A": ["127.0.0.3"]}}, port)
        self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
        keeper.take()
        self.assertEqual(gateway.wait_line("transaction")["next_hop"], f"good.x.test:{port}")

    def test_domain_without_mx_is_its_own(self):
        keeper, port = self.start_hop()
        gateway = self.start_mx({"x.test": {"A": ["127.0.0.1"]}}, port)
        self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
        keeper.take()

    def test_domains_that_take_no_mail(self):
        keeper, port = self.start_hop()
        gateway = self.start_mx({"null.test": {"MX": [(0, ".")]}, "x.test": {"A": ["127.0.0.1"]},
                                 "empty.test": {}, "broken.test": {"A": ["127.0.0.1"]}}, port)
        self.dns.failing.add("broken.test")
        for recipient, answer in (("b@null.test", "556 5.1.10"), ("b@gone.test", "550 5.1.2"),
                                  ("b@empty.test", "550 5.1.2"), ("b@broken.test", "451 4.4.3"),
                                  ("b@[127.0.0.1]", "550 5.1.2"), ("postmaster", "550 5.1.2")):
            with self.subTest(recipient):
                self.assertEqual(self.mail(gateway, recipient)[:len(answer)], answer)
        # One that takes none does not spoil the transaction for another.
        peer = greeted(gateway.port)
        self.assertEqual([a[:3] for a in envelope(peer, ["b@gone.test", "b@x.test"])], ["250", "550", "250"])
        self.assertTrue(content(peer).startswith("250 "))
        keeper.take()

    def test_two_domains_need_two_transactions(self):
        keeper, port = self.start_hop()
        gateway = self.start_mx({name: {"A": ["127.0.0.1"]} for name in ("x.test", "y.test")}, port)
        peer = greeted(gateway.port)
        self.assertEqual([a[:3] for a in envelope(peer, ["b@x.test", "b@y.test"])], ["250", "250", "452"])

    def test_verify_names_the_host_and_secure_the_domain(self):
        """A forged MX record leads to a host with a good certificate: verify is content, secure is not."""
        keeper, port = self.start_hop(self.certificates)  # its certificate says hop.test
        zone = {"x.test": {"MX": [(1, "hop.test")]}, "hop.test": {"A": ["127.0.0.1"]}}
        for level, answer in (("verify", "250"), ("secure", "451")):
            with self.subTest(level):
                gateway = self.start_mx(zone, port, level)
                text = open(gateway.file, encoding="utf-8").read()
                self.assertEqual(gateway.stop(), 0)
                gateway = Gateway(self.folder, text.replace("mx = yes", f'mx = yes ca = "{self.certificates.ca}"'))
                self.assertEqual(self.mail(gateway, "b@x.test")[:3], answer)
                line = gateway.wait_line("transaction" if answer == "250" else "transaction")
                self.assertEqual(line["next_hop_tls_wanted"], level)
                # The domain's own host: its certificate names the domain itself.
                if level == "secure":
                    self.assertEqual(self.mail(gateway, "b@hop.test")[:3], "250")
                self.assertEqual(gateway.stop(), 0)


class Resorts(RoutesTest):
    """The fallback and the queue."""

    def settings_of_queue(self, queue_port, routes, extra=""):
        return (f'queue = "spool"\nsend "spool" {{ next_hop = "127.0.0.1:{queue_port}" tls = "none" }}\n{routes}\n'
                f'receive "back" {{\n address = "127.0.0.1"\n port = 0\n from_queue = yes\n'
                f'{self.certificates.section("ec")}}}\n{extra}')

    def test_fallback_when_the_next_hop_is_down(self):
        keeper, port = self.start_hop()
        dead = free_port()
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{port}" }}
            route "out" {{ next_hop = "127.0.0.1:{dead}" fallback = "spare" }}''')
        peer = greeted(gateway.port)
        answers = envelope(peer, ["b@x.test", "c@x.test"])
        self.assertEqual([a[:3] for a in answers], ["250", "250", "250"])
        self.assertTrue(content(peer).startswith("250 "))
        self.assertEqual(keeper.take()["recipients"], ["b@x.test", "c@x.test"])
        self.assertEqual(gateway.wait_line("transaction")["instead"], "fallback")

    def test_next_hop_that_leaves_in_the_envelope_is_replaced_by_the_fallback(self):
        def script(peer, number, hop):
            peer.send("220 hop\r\n")
            if number > 1:
                return
            for answer in ("250 hop", "250 ok", "250 ok"):
                peer.line()
                peer.send(answer + "\r\n")
            peer.line()  # and no word to the second recipient

        keeper, port = self.start_hop()
        hop = self.start_script(script)
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{port}" }}
            route "out" {{ next_hop = "127.0.0.1:{hop.port}" fallback = "spare" }}''')
        peer = greeted(gateway.port)
        self.assertEqual([a[:3] for a in envelope(peer, ["b@x.test", "c@x.test"])], ["250", "250", "250"])
        self.assertTrue(content(peer).startswith("250 "))
        self.assertEqual(keeper.take()["recipients"], ["b@x.test", "c@x.test"])

    def test_next_hop_that_leaves_before_data(self):
        def script(peer, number, hop):
            peer.send("220 hop\r\n")
            for answer in ("250 hop", "250 ok", "250 ok"):
                peer.line()
                peer.send(answer + "\r\n")
            peer.line()  # DATA, and no answer

        keeper, port = self.start_hop()
        hop = self.start_script(script)
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{port}" }}
            route "out" {{ next_hop = "127.0.0.1:{hop.port}" fallback = "spare" }}''')
        peer = greeted(gateway.port)
        envelope(peer, ["b@x.test"])
        self.assertTrue(content(peer).startswith("250 "))
        self.assertEqual(keeper.take()["recipients"], ["b@x.test"])
        self.assertTrue(keeper.messages.empty())

    def test_both_down(self):
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{free_port()}" }}
            route "out" {{ next_hop = "127.0.0.1:{free_port()}" fallback = "spare" }}''')
        self.assertEqual(self.mail(gateway, "b@x.test")[:9], "451 4.4.1")

    def test_fallback_that_refuses_what_was_promised(self):
        def script(peer, number, hop):
            peer.send("220 hop\r\n")
            for answer in ("250 hop", "250 ok", "250 ok"):
                peer.line()
                peer.send(answer + "\r\n")

        keeper, port = self.start_hop()
        keeper.replies["b@x.test"] = "550 5.1.1 nobody"
        hop = self.start_script(script)
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{port}" }}
            route "out" {{ next_hop = "127.0.0.1:{hop.port}" fallback = "spare" }}''')
        peer = greeted(gateway.port)
        self.assertEqual([a[:3] for a in envelope(peer, ["b@x.test", "c@x.test"])], ["250", "250", "451"])
        self.assertTrue(content(peer).startswith("451"))
        self.assertTrue(keeper.messages.empty())

    def test_enforced_tls_has_no_fallback(self):
        keeper, port = self.start_hop()
        clear, clear_port = self.start_hop()
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{port}" }}
            route "out" {{ next_hop = "127.0.0.1:{clear_port}" tls = "encrypt" fallback = "spare" }}''')
        self.assertEqual(self.mail(gateway, "b@x.test")[:9], "451 4.7.4")
        self.assertTrue(keeper.messages.empty() and clear.messages.empty())

    def test_enforced_tls_has_no_fallback_even_if_the_host_after_it_is_down(self):
        keeper, port = self.start_hop()
        clear, clear_port = self.start_hop()
        gateway = self.start_with(f'''
            send "spare" {{ next_hop = "127.0.0.1:{port}" }}
            route "out" {{ tls = "encrypt" fallback = "spare"
                hop "127.0.0.1:{clear_port}" {{ priority = 1 }}
                hop "127.0.0.1:{free_port()}" {{ priority = 2 }} }}''')
        self.assertEqual(self.mail(gateway, "b@x.test")[:4], "451 ")
        self.assertTrue(keeper.messages.empty() and clear.messages.empty())

    def test_queue_takes_recipients_of_several_routes(self):
        queue, queue_port = self.start_hop()
        one, one_port = self.start_hop()
        two, two_port = self.start_hop()
        gateway = self.start_with(self.settings_of_queue(queue_port, f'''
            route "one" {{ recipients = {{"one.test"}} next_hop = "127.0.0.1:{one_port}" }}
            route "two" {{ recipients = {{"two.test"}} next_hop = "127.0.0.1:{two_port}" }}'''))
        back = int(gateway.wait_line("listening", connector="back")["port"])
        peer = greeted(gateway.port)
        self.assertNotIn("RCPTDOMAINMAX", peer.ask("EHLO client.test"))
        recipients = ["a@one.test", "b@one.test", "c@two.test", "d@one.test"]
        self.assertEqual([a[:3] for a in envelope(peer, recipients)], ["250"] * 5)
        self.assertTrue(content(peer).startswith("250 "))
        got = queue.take()
        self.assertEqual(got["recipients"], recipients)
        self.assertIn(b"(Sealane, to the queue)", got["content"])
        self.assertTrue(one.messages.empty() and two.messages.empty())
        # The queue sends each copy back, and it goes its way.
        for recipient, keeper in (("a@one.test", one), ("c@two.test", two)):
            peer = greeted(back)
            envelope(peer, [recipient])
            self.assertTrue(content(peer, got["content"]).startswith("250 "))
            self.assertEqual(keeper.take()["recipients"], [recipient])

    def test_queue_takes_what_cannot_be_delivered_now(self):
        queue, queue_port = self.start_hop()
        gateway = self.start_with(self.settings_of_queue(
            queue_port, f'route "one" {{ next_hop = "127.0.0.1:{free_port()}" }}'))
        self.assertTrue(self.mail(gateway, "a@one.test").startswith("250 "))
        self.assertEqual(queue.take()["recipients"], ["a@one.test"])
        self.assertEqual(gateway.wait_line("transaction")["instead"], "queue")

    def test_what_comes_from_the_queue_never_goes_to_it(self):
        queue, queue_port = self.start_hop()
        one, one_port = self.start_hop()
        gateway = self.start_with(self.settings_of_queue(queue_port, f'''
            route "down" {{ recipients = {{"down.test"}} next_hop = "127.0.0.1:{free_port()}" }}
            route "one" {{ recipients = {{"one.test"}} next_hop = "127.0.0.1:{one_port}" }}'''))
        back = int(gateway.wait_line("listening", connector="back")["port"])
        peer = greeted(back)
        self.assertEqual([a[:3] for a in envelope(peer, ["a@down.test"])], ["250", "451"])
        peer.ask("RSET")
        self.assertEqual([a[:3] for a in envelope(peer, ["a@one.test", "a@down.test"])], ["250", "250", "452"])
        self.assertTrue(queue.messages.empty())

    def test_no_loop_even_if_the_queue_comes_back_through_the_front_door(self):
        queue, queue_port = self.start_hop()
        gateway = self.start_with(self.settings_of_queue(
            queue_port, f'route "one" {{ next_hop = "127.0.0.1:{free_port()}" }}'))
        self.assertTrue(self.mail(gateway, "a@one.test").startswith("250 "))
        got = queue.take()
        peer = greeted(gateway.port)
        envelope(peer, ["a@one.test"])
        self.assertEqual(content(peer, got["content"])[:9], "451 4.4.6")
        self.assertTrue(queue.messages.empty())


class Partners(RoutesTest):
    def start_hop_with(self, name):
        keeper = Keeper()
        hop = NextHop(keeper, self.certificates, name=name)
        hop.start()
        self.addCleanup(hop.stop)
        return keeper, hop.port

    def test_pins_of_certificate_and_key(self):
        keeper, port = self.start_hop_with("hop")
        good, key = (pin_of(self.certificates.path("hop.pem"), kind) for kind in ("certificate", "key"))
        other = pin_of(self.certificates.path("ec.pem"))
        for pins, answer in ((f'"{good}"', "250"), (f'"{key}"', "250"), (f'"{other}", "{key}"', "250"),
                             (f'"{good.upper().replace("CERTIFICATE", "certificate")}"', "250"),
                             (f'"{other}"', "451 4.7.5")):
            with self.subTest(pins):
                gateway = self.start_with(f'''route "out" {{ next_hop = "127.0.0.1:{port}" tls = "fingerprint"
                                                          pins = {{{pins}}} }}''')
                for _ in range(2):  # the second may resume
                    self.assertEqual(self.mail(gateway, "b@x.test")[:len(answer)], answer)
                line = gateway.wait_line("transaction")
                self.assertEqual((line["next_hop_tls_wanted"], line.get("result")),
                                 ("fingerprint", "delivered" if answer == "250" else "deferred"))
                self.assertEqual(gateway.stop(), 0)
        self.assertEqual(keeper.messages.qsize(), 8)

    def test_partner_of_a_domain_never_gets_clear_text(self):
        clear, clear_port = self.start_hop()
        good, good_port = self.start_hop_with("hop")
        gateway = self.start_with(f'''
            partner "strict.test" {{ tls = "encrypt" }}
            partner "*.strict.test" {{ tls = "fingerprint" pins = {{"{pin_of(self.certificates.path("hop.pem"))}"}} }}
            route "clear" {{ recipients = {{"strict.test", "lax.test"}} next_hop = "127.0.0.1:{clear_port}" }}
            route "tls" {{ recipients = {{"*"}} next_hop = "127.0.0.1:{good_port}" }}''')
        self.assertEqual(self.mail(gateway, "b@lax.test")[:3], "250")
        clear.take()
        self.assertEqual(self.mail(gateway, "b@STRICT.test")[:9], "451 4.7.4")
        self.assertTrue(clear.messages.empty())
        self.assertEqual(self.mail(gateway, "b@sub.strict.test")[:3], "250")
        self.assertTrue(good.take()["tls"])
        line = gateway.wait_line("transaction", 3)
        self.assertEqual((line["partner"], line["next_hop_tls_achieved"]), ("*.strict.test", "fingerprint"))

    def test_partner_named_by_host(self):
        clear, clear_port = self.start_hop()
        gateway = self.start_with(f'''
            partner "localhost" {{ tls = "encrypt" }}
            route "clear" {{ next_hop = "localhost:{clear_port}" }}''')
        self.assertEqual(self.mail(gateway, "b@any.test")[:9], "451 4.7.4")
        self.assertTrue(clear.messages.empty())

    def test_inbound_policy(self):
        keeper, port = self.start_hop()
        pin = pin_of(self.certificates.path("hop.pem"), "key")
        gateway = self.start_with(f'''
            partner "tls.test" {{ inbound = "encrypt" }}
            partner "pinned.test" {{ inbound = "fingerprint" inbound_pins = {{"{pin}"}} }}
            partner "hop.test" {{ inbound = "verify" }}
            partner "gateway.test" {{ inbound = "verify" }}
            route "in" {{ next_hop = "127.0.0.1:{port}" }}''',
                                  receive=f' client_certificates = "ask"\n client_ca = "{self.certificates.ca}"')
        for sender, clear, tls, certificate in (("a@other.test", "250", "250", "250"), ("a@tls.test", "530", "250", "250"),
                                                ("a@pinned.test", "530", "451", "250"),
                                                ("a@hop.test", "530", "451", "250"),
                                                ("a@gateway.test", "530", "451", "451"), ("", "250", "250", "250")):
            with self.subTest(sender):
                self.assertEqual(greeted(gateway.port).ask(f"MAIL FROM:<{sender}>")[:3], clear)
                self.assertEqual(secured(gateway.port, self.certificates).ask(f"MAIL FROM:<{sender}>")[:3], tls)
                peer = secured(gateway.port, self.certificates, client="hop")
                self.assertEqual(peer.ask(f"MAIL FROM:<{sender}>")[:3], certificate)
        self.assertTrue(gateway.wait_line("policy_failure", partner="pinned.test"))
        self.certificates.make_own("own", "hop.test")  # the right name proves nothing without a signature
        peer = secured(gateway.port, self.certificates, client="own")
        self.assertEqual(peer.ask("MAIL FROM:<a@hop.test>")[:9], "451 4.7.5")

    def test_our_own_client_certificate(self):
        """The next hop wants a certificate of ours and sees the right one."""
        seen = []
        hop = self.start_script(demanding_script(self.certificates, self.certificates.ca, seen))
        certificate = self.certificates.section("rsa")
        gateway = self.start_with(f'route "out" {{ next_hop = "127.0.0.1:{hop.port}" tls = "encrypt" {certificate} }}')
        self.assertEqual(self.mail(gateway, "b@x.test")[:3], "250")
        self.assertEqual(seen, [der_of(self.certificates.path("rsa.pem"))])


class Dsn(RoutesTest):
    def test_offered_when_the_next_hop_has_it_and_passed_on(self):
        seen = []

        def script(peer, number, hop):
            peer.send("220 hop\r\n")
            peer.line()
            peer.send("250-hop\r\n250 DSN\r\n")
            while True:
                line = peer.line()
                seen.append(line)
                if line == "QUIT":
                    return
                if line != "DATA":
                    peer.send("250 2.0.0 ok\r\n")
                    continue
                peer.send("354 go\r\n")
                peer.message()
                peer.send("250 2.0.0 ok\r\n")

        hop = self.start_script(script)
        gateway = self.start_with(f'route "out" {{ next_hop = "127.0.0.1:{hop.port}" }}')
        peer = greeted(gateway.port)
        self.assertNotIn("DSN", peer.ask("EHLO client.test"))
        self.assertEqual(peer.ask("MAIL FROM:<a@b.test> RET=HDRS")[:3], "555")
        self.assertEqual(self.mail(gateway, "b@x.test", peer=peer)[:3], "250")
        self.assertIn("250-DSN", peer.ask("EHLO client.test"))
        self.assertEqual(peer.ask("MAIL FROM:<a@b.test> RET=HDRS ENVID=QQ+2B1")[:3], "250")
        self.assertEqual(peer.ask("RCPT TO:<b@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@x.test")[:3], "250")
        for bad in ("NOTIFY=NEVER,DELAY", "NOTIFY=", "NOTIFY=X", "ORCPT=x", "ORCPT=rfc822;a+zz", "NOTIFY=DELAY,DELAY",
                    "NOTIFY=DELAY,", "ORCPT=rfc822;a ORCPT=rfc822;a"):
            self.assertIn(peer.ask(f"RCPT TO:<c@x.test> {bad}")[:3], ("501", "555"), bad)
        self.assertTrue(content(peer).startswith("250 "))
        self.assertIn("MAIL FROM:<a@b.test> RET=HDRS ENVID=QQ+2B1", seen)
        self.assertIn("RCPT TO:<b@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@x.test", seen)
        peer.ask("HELO client.test")  # offers nothing, whatever was offered before
        self.assertEqual(peer.ask("MAIL FROM:<a@b.test>")[:3], "250")
        self.assertEqual(peer.ask("RCPT TO:<b@x.test> NOTIFY=NEVER")[:3], "555")


if __name__ == "__main__":
    main()
