# SPDX-License-Identifier: Apache-2.0
"""A key that takes its time holds nobody else up, and whatever ends while it signs ends well.

The key is slow_key.c's: each signature inside a handshake takes a byte out of a FIFO that the test holds.
"""
import os
import signal
import threading

from support import PATIENCE, Gateway, GatewayTest, client_context, greeted, main, stuffed

PROVIDER = os.environ.get("SLOW_KEY")

CONF = """openssl_conf = init
[init]
providers = provider_list
[provider_list]
default = default_provider
slow = slow_provider
[default_provider]
activate = 1
[slow_provider]
module = {module}
activate = 1
"""


class SlowKey(GatewayTest):
    def start_slow(self, hop_port, extra="", status=0, **env):
        conf = os.path.join(self.folder, "openssl.cnf")
        self.fifo = os.path.join(self.folder, "gate")
        os.mkfifo(self.fifo)
        with open(conf, "w", encoding="ascii") as f:
            f.write(CONF.format(module=PROVIDER))
        key = self.certificates.path("ec.key")
        text = self.settings(hop_port, names=("ec",), extra=f'openssl_conf = "{conf}"\n{extra}')
        gateway = Gateway(self.folder, text.replace(f'key = "{key}"', f'key = "slow:{key}"'),
                          env=dict(SLOW_KEY_GATE=self.fifo, **env))
        self.gate = os.open(self.fifo, os.O_WRONLY)
        self.addCleanup(os.close, self.gate)
        self.addCleanup(lambda: self.assertEqual(gateway.stop(), status, "exit status of the gateway"))
        self.assertEqual(gateway.wait_line("certificate")["key_held_by"], "slow")
        return gateway

    def allow(self, count, permission=b"y"):
        os.write(self.gate, permission * count)

    def start_handshake(self, gateway):
        """A client on a thread, in the middle of its handshake; the thread's result is what became of it."""
        peer = greeted(gateway.port)
        self.assertTrue(peer.ask("STARTTLS").startswith("220"))
        result = {}

        def work():
            try:
                peer.start_tls(client_context(self.certificates))
                result["reply"] = peer.ask("EHLO client.test")[:3]
            except (OSError, EOFError) as e:
                result["error"] = e

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return peer, thread, result

    def in_clear(self, gateway):
        peer = greeted(gateway.port)
        peer.ask("MAIL FROM:<a@client.test>")
        peer.ask("RCPT TO:<b@hop.test>")
        peer.ask("DATA")
        peer.send(stuffed(b"Subject: x\r\n\r\n"))
        answer = peer.reply()
        peer.ask("QUIT")
        peer.close()
        return answer

    def waiting(self, gateway, count):
        """Waits until that many handshakes are paused in the key: each has a thread named after it."""
        folder = f"/proc/{gateway.process.pid}/task"

        def signing():
            names = []
            for task in os.listdir(folder):
                try:
                    with open(f"{folder}/{task}/comm", encoding="ascii") as f:
                        names.append(f.read().strip())
                except OSError:
                    pass  # it has just ended
            return names.count("slow key")

        for _ in range(PATIENCE * 100):
            if signing() == count:
                return
            threading.Event().wait(0.01)
        self.fail(f"{signing()} signatures wait, not {count}")

    def test_loops_run_while_the_key_signs(self):
        keeper, port = self.start_hop()
        gateway = self.start_slow(port, extra="loops = 2")
        handshakes = [self.start_handshake(gateway) for _ in range(20)]
        self.waiting(gateway, 20)
        for _ in range(8):  # both loops, whatever the kernel chooses
            self.assertTrue(self.in_clear(gateway).startswith("250 "))
            keeper.take()
        self.assertFalse(any(result for _, _, result in handshakes))
        self.allow(20)
        for peer, thread, result in handshakes:
            thread.join(PATIENCE)
            self.assertEqual(result, {"reply": "250"})
            peer.ask("QUIT")
            peer.close()
        gateway.stop()
        last = gateway.events("stopped")[-1]
        self.assertEqual((last["handshakes"], last["signatures_waited"]), (20, 20))

    def test_peers_that_leave_while_the_key_signs(self):
        keeper, port = self.start_hop()
        gateway = self.start_slow(port, extra="loops = 2\ntimeouts { handshake = 1 }")
        handshakes = [self.start_handshake(gateway) for _ in range(10)]
        self.waiting(gateway, 10)
        for number in range(10):  # all of them: the gateway gives up first, the peers see it
            gateway.wait_line("handshake_failed", number + 1, reason="timed out")
        for peer, thread, result in handshakes:
            thread.join(PATIENCE)
            self.assertIn("error", result)
            peer.close()
        self.assertTrue(self.in_clear(gateway).startswith("250 "))
        keeper.take()
        self.allow(10)
        # Now that the signatures came, others get theirs.
        peer, thread, result = self.start_handshake(gateway)
        self.allow(1)
        thread.join(PATIENCE)
        self.assertEqual(result, {"reply": "250"})
        peer.close()

    def fail_once(self, key_retry):
        keeper, port = self.start_hop()
        gateway = self.start_slow(port, extra=f"loops = 1\ntimeouts {{ key_retry = {key_retry} }}")
        self.allow(1, b"n")
        peer, thread, result = self.start_handshake(gateway)
        thread.join(PATIENCE)
        self.assertIn("error", result)
        self.assertIn("our key does not sign", gateway.wait_line("handshake_failed")["reason"])
        peer.close()
        return keeper, gateway

    def test_a_key_that_fails_is_said_so(self):
        keeper, gateway = self.fail_once("1h")
        peer = greeted(gateway.port)
        self.assertTrue(peer.ask("STARTTLS").startswith("454 4.7.0"))
        peer.close()
        self.assertTrue(self.in_clear(gateway).startswith("250 "))
        keeper.take()

    def test_a_key_that_failed_is_tried_again(self):
        _, gateway = self.fail_once("1s")
        while True:
            peer = greeted(gateway.port)
            answer = peer.ask("STARTTLS")
            if answer.startswith("220"):
                break
            peer.close()
        self.allow(1)
        peer.start_tls(client_context(self.certificates))
        self.assertTrue(peer.ask("EHLO client.test").startswith("250"))
        peer.close()

    def test_no_more_handshakes_than_the_settings_allow(self):
        _, port = self.start_hop()
        gateway = self.start_slow(port, extra="loops = 1\nsigning_queue = 3")
        handshakes = [self.start_handshake(gateway) for _ in range(3)]
        self.waiting(gateway, 3)
        peer = greeted(gateway.port)
        self.assertTrue(peer.ask("STARTTLS").startswith("454 4.7.0"))
        self.allow(3)
        for other, thread, result in handshakes:
            thread.join(PATIENCE)
            self.assertEqual(result, {"reply": "250"})
            other.close()
        self.assertTrue(peer.ask("STARTTLS").startswith("220"))
        peer.close()

    def test_stopping_while_the_key_signs(self):
        """The drain timeout passes while signatures are under way that never come: the end all the same."""
        _, port = self.start_hop()
        gateway = self.start_slow(port, extra="loops = 2\ntimeouts { drain = 1 }")
        handshakes = [self.start_handshake(gateway) for _ in range(4)]
        self.waiting(gateway, 4)
        gateway.process.send_signal(signal.SIGTERM)
        self.assertEqual(gateway.process.wait(PATIENCE), 0)
        for peer, thread, _ in handshakes:
            thread.join(PATIENCE)
            peer.close()

    def test_stopping_waits_for_signatures_that_come(self):
        _, port = self.start_hop()
        gateway = self.start_slow(port, extra="loops = 2")
        handshakes = [self.start_handshake(gateway) for _ in range(4)]
        self.waiting(gateway, 4)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_line("stopping")
        self.allow(4)
        for peer, thread, result in handshakes:
            thread.join(PATIENCE)
            self.assertIn(result.get("reply"), ("421", None))
            peer.close()
        self.assertEqual(gateway.process.wait(PATIENCE), 0)

    def test_inline(self):
        _, port = self.start_hop()
        gateway = self.start_slow(port, extra='handshake = "inline"')
        peer, thread, result = self.start_handshake(gateway)
        thread.join(PATIENCE)
        self.assertEqual(result, {"reply": "250"})
        peer.close()
        gateway.stop()
        self.assertEqual(gateway.events("stopped")[-1]["signatures_waited"], 0)


if __name__ == "__main__":
    main()
