# SPDX-License-Identifier: Apache-2.0
"""The gateway with mail software and scanners that are not ours: gnutls-cli, sslscan, testssl.sh, posttls-finger, Postfix in
front, behind and as the queue. What is not installed is left out, and said so."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from support import PATIENCE, free_port, greeted, main, stuffed
from test_routes import RoutesTest, content, envelope

EXIM = os.environ.get("EXIM") or shutil.which("exim4")
POSTFIX = "/usr/lib/postfix/sbin/master"


def needs(program):
    found = shutil.which(program) or os.path.exists(program)
    return unittest.skipUnless(found, f"{program} is not installed")


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, **kwargs)


class Postfix:
    """An instance of its own, as root, in a folder of its own."""

    def __init__(self, folder, main_cf, services=""):
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        for part in ("queue", "data", "log", "etc"):
            (self.folder / part).mkdir(parents=True)
        for part in [self.folder, *self.folder.parents][:4]:
            os.chmod(part, 0o755)
        shutil.chown(self.folder / "data", "postfix", "postfix")
        self.etc = str(self.folder / "etc")
        (self.folder / "etc/main.cf").write_text(f"""compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {self.folder}/log/postfix.log
maillog_file_prefixes = {self.folder}
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
smtputf8_enable = no
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
{main_cf}
""")
        rows = "".join(f"{name} unix {private} - n {wakeup} {limit} {program}\n" for name, private, wakeup, limit, program in (
            ("cleanup", "n", "-", "0", "cleanup"), ("qmgr", "n", "1", "1", "qmgr"), ("tlsmgr", "-", "1000?", "1", "tlsmgr"),
            ("rewrite", "-", "-", "-", "trivial-rewrite"), ("bounce", "-", "-", "0", "bounce"), ("defer", "-", "-", "0", "bounce"),
            ("trace", "-", "-", "0", "bounce"), ("proxymap", "-", "-", "-", "proxymap"), ("anvil", "-", "-", "1", "anvil"),
            ("scache", "-", "-", "1", "scache"), ("smtp", "-", "-", "-", "smtp"), ("error", "-", "-", "-", "error"),
            ("retry", "-", "-", "-", "error"), ("discard", "-", "-", "-", "discard")))
        (self.folder / "etc/master.cf").write_text(f"{self.port} inet n - n - - smtpd\n{rows}"
                                                   f"postlog unix-dgram n - n - 1 postlogd\n{services}\n")
        run("postfix", "-c", self.etc, "check")
        self.process = subprocess.Popen([POSTFIX, "-c", self.etc, "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(PATIENCE * 50):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("Postfix does not start: " + self.log())

    def log(self):
        file = self.folder / "log/postfix.log"
        return file.read_text() if file.exists() else "no log"

    def flush(self):
        run("postqueue", "-c", self.etc, "-f")

    def waiting(self):
        """How many messages are in the queue."""
        return sum(len(files) for part in ("incoming", "active", "deferred") for _, _, files in
                   os.walk(self.folder / "queue" / part))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)


@unittest.skipUnless(os.path.exists(POSTFIX) and os.geteuid() == 0, "Postfix is not installed, or this is not root")
class WithPostfix(RoutesTest):
    def start_postfix(self, main_cf, name="postfix", **kwargs):
        postfix = Postfix(os.path.join(self.folder, name), main_cf, **kwargs)
        self.addCleanup(postfix.stop)
        return postfix

    def send(self, port, recipients, number=0):
        peer = greeted(port)
        answers = envelope(peer, recipients)
        self.assertEqual({a[:3] for a in answers}, {"250"}, answers)
        answer = content(peer, b"Subject: %d\r\n\r\nHallo\r\n.\r\n..\r\n" % number)
        peer.ask("QUIT")
        return answer

    def test_in_front_and_behind(self):
        """Postfix sends through the gateway to Postfix, under TLS on both sides with certificates checked."""
        keeper, port = self.start_hop()
        path = self.certificates.path
        behind = self.start_postfix(f"relayhost = [127.0.0.1]:{port}\nsmtpd_tls_chain_files = {path('hop.key')}, {path('hop.pem')}\n"
                                    "smtpd_tls_security_level = encrypt\n", "behind")
        gateway = self.start_with(f'''route "out" {{ next_hop = "127.0.0.1:{behind.port}" tls = "verify"
                                      ca = "{self.certificates.ca}" server_name = "hop.test" }}''', tls="encrypt")
        front = self.start_postfix(f"relayhost = [127.0.0.1]:{gateway.port}\nsmtp_tls_security_level = secure\n"
                                   f"smtp_tls_CAfile = {self.certificates.ca}\nsmtp_tls_secure_cert_match = gateway.test\n"
                                   "smtp_tls_loglevel = 1\n", "front")
        for number in range(5):
            self.assertTrue(self.send(front.port, ["b@x.test", "c@y.test"], number).startswith("250 "))
        subjects = {re.search(rb"Subject: (\d)", keeper.take()["content"]).group(1) for _ in range(5)}
        self.assertEqual(len(subjects), 5)
        self.assertIn("Verified TLS connection established to 127.0.0.1", front.log())
        line = gateway.wait_line("transaction")
        self.assertEqual((line["result"], line["tls_achieved"], line["next_hop_tls_achieved"]),
                         ("delivered", "encrypt", "verify"))
        gateway.stop()
        stopped = gateway.events("stopped")[-1]  # Postfix as peer of the engine's sessions, as client and as server
        self.assertEqual(stopped["takeovers"], stopped["handshakes"] + stopped["hop_handshakes"])
        self.assertGreaterEqual(stopped["hop_handshakes"], 1)

    def start_queue(self, routes):
        """A gateway whose queue is a Postfix that sends everything back through it."""
        back = free_port()
        queue = self.start_postfix(f"relayhost = [127.0.0.1]:{back}\n", "queue")
        gateway = self.start_with(f'''
            queue = "spool"
            send "spool" {{ next_hop = "127.0.0.1:{queue.port}" tls = "none" }}
            receive "back" {{ address = "127.0.0.1" port = {back} from_queue = yes {self.certificates.section("ec")} }}
            {routes}''')
        return queue, gateway

    def test_as_the_queue_for_several_routes(self):
        one, one_port = self.start_hop()
        two, two_port = self.start_hop()
        _, gateway = self.start_queue(f'''
            route "one" {{ recipients = {{"one.test"}} next_hop = "127.0.0.1:{one_port}" }}
            route "two" {{ recipients = {{"two.test"}} next_hop = "127.0.0.1:{two_port}" }}''')
        self.assertTrue(self.send(gateway.port, ["a@one.test", "b@two.test", "c@one.test"]).startswith("250 "))
        got = [one.take()["recipients"] for _ in range(1)] + [two.take()["recipients"]]
        self.assertEqual(sorted(sum(got, [])), ["a@one.test", "b@two.test", "c@one.test"])
        self.assertTrue(one.messages.empty() and two.messages.empty())

    def test_as_the_queue_while_the_next_hop_is_down(self):
        """Five messages wait in Postfix; when the next hop is back each arrives once, and nothing went in a circle."""
        from support import Keeper, NextHop
        port = free_port()
        queue, gateway = self.start_queue(f'route "one" {{ next_hop = "127.0.0.1:{port}" }}')
        for number in range(5):
            self.assertTrue(self.send(gateway.port, ["a@one.test"], number).startswith("250 "))
        gateway.wait_line("transaction", connector="back", result="deferred")  # Postfix has tried, and may not give it back
        self.assertEqual(queue.waiting(), 5)
        keeper = Keeper()
        hop = NextHop(keeper)
        hop._port = hop.port = port
        hop.start()
        self.addCleanup(hop.stop)
        queue.flush()
        messages = [keeper.take()["content"] for _ in range(5)]
        self.assertEqual({re.search(rb"Subject: (\d)", m).group(1) for m in messages}, {b"0", b"1", b"2", b"3", b"4"})
        for message in messages:
            self.assertEqual(message.count(b"(Sealane, to the queue)"), 1)
        self.assertTrue(keeper.messages.empty())


@unittest.skipUnless(EXIM and os.geteuid() == 0, "Exim is not installed, or this is not root")
class WithExim(RoutesTest):
    def test_behind(self):
        """The gateway sends to Exim under TLS, which has the settings of bench/peers/ and delivers while it receives."""
        keeper, port = self.start_hop(self.certificates)
        folder, exim_port = pathlib.Path(self.folder), free_port()
        for part in [folder, *folder.parents][:3]:
            os.chmod(part, 0o755)
        for part in ("spool", "log"):
            (folder / part).mkdir()
            shutil.chown(folder / part, "mail", "mail")
        shutil.chown(shutil.copy(self.certificates.path("hop.key"), folder / "key.pem"), "mail", "mail")
        text = (pathlib.Path(__file__).parents[2] / "bench/peers/exim/exim.conf").read_text()
        for name, value in (("DIR", folder), ("PORT", exim_port), ("SINK", port), ("CHAIN", self.certificates.path("hop.pem"))):
            text = text.replace(f"@{name}@", str(value))
        (folder / "exim.conf").write_text(text)
        exim = subprocess.Popen([EXIM, "-bdf", "-C", str(folder / "exim.conf")], stderr=subprocess.DEVNULL)
        self.addCleanup(exim.wait, PATIENCE)
        self.addCleanup(exim.terminate)
        with socket.socket() as s:
            while s.connect_ex(("127.0.0.1", exim_port)) != 0:
                self.assertIsNone(exim.poll(), "Exim does not start")
                time.sleep(0.02)
        gateway = self.start_with(f'route "out" {{ next_hop = "127.0.0.1:{exim_port}" tls = "verify" server_name = "hop.test" '
                                  f'ca = "{self.certificates.ca}" }}')
        peer = greeted(gateway.port)
        for pipelined in (False, True):
            for number in range(3):
                message = b"Subject: %d\r\n\r\nHallo\r\n.\r\n..\r\n" % number + b"x" * 70 + b"\r\n"
                if pipelined:
                    peer.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@hop.test>\r\nDATA\r\n")
                    self.assertEqual([peer.reply()[:3] for _ in range(3)], ["250", "250", "354"])
                    peer.send(stuffed(message))
                    answer = peer.reply()
                else:
                    envelope(peer, ["b@hop.test"])
                    answer = content(peer, message)
                self.assertEqual(answer[:3], "250", answer)
                self.assertTrue(keeper.take()["content"].endswith(message))
        peer.close()
        line = gateway.wait_line("transaction", 6)
        self.assertEqual((line["result"], line["next_hop_tls_achieved"]), ("delivered", "verify"))


class Scanners(RoutesTest):
    def start_open(self):
        self.keeper, port = self.start_hop()
        return self.start_with(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}', receive=self.certificates.section("rsa"))

    @needs("gnutls-cli")
    def test_gnutls(self):
        gateway = self.start_open()
        for priority in ("NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2",
                         "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA"):
            with self.subTest(priority):
                done = run("gnutls-cli", "--starttls-proto=smtp", "--x509cafile", self.certificates.ca, "--priority", priority,
                           "--sni-hostname", "gateway.test", "--verify-hostname", "gateway.test", "-p", str(gateway.port),
                           "127.0.0.1", input="QUIT\r\n")
                self.assertIn("Handshake was completed", done.stdout)
                self.assertIn("The certificate is trusted", done.stdout)

    @needs("swaks")
    def test_swaks(self):
        """Both versions of TLS, with and without pipelining; and in the clear where nothing else is said."""
        gateway = self.start_open()
        message = "Subject: swaks\n\n.dot\n..\nHallo\n"
        for options in (["--tls", "--tls-protocol", "tlsv1_2"], ["--tls", "--tls-protocol", "tlsv1_3", "--pipeline"], []):
            with self.subTest(options):
                done = run("swaks", "--server", f"127.0.0.1:{gateway.port}", "--from", "a@client.test", "--to", "b@hop.test,c@hop.test",
                           "--helo", "client.test", "--data", message, *options)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                taken = self.keeper.take()
                self.assertEqual(taken["recipients"], ["b@hop.test", "c@hop.test"])
                self.assertTrue(taken["content"].endswith(b"Subject: swaks\r\n\r\n.dot\r\n..\r\nHallo\r\n\r\n"), taken["content"])
                self.assertEqual(b"with ESMTPS" in taken["content"], "--tls" in options)

    @needs("posttls-finger")
    def test_posttls_finger(self):
        gateway = self.start_open()
        done = run("posttls-finger", "-c", "-l", "secure", "-F", self.certificates.ca, "-o", "inet_protocols=ipv4",
                   f"[127.0.0.1]:{gateway.port}", "gateway.test")
        self.assertIn("Verified TLS connection established", done.stdout + done.stderr)

    @needs("sslscan")
    def test_sslscan(self):
        gateway = self.start_open()
        text = run("sslscan", "--no-colour", "--starttls-smtp", f"127.0.0.1:{gateway.port}").stdout
        for protocol, state in (("SSLv2", "disabled"), ("SSLv3", "disabled"), ("TLSv1.0", "disabled"), ("TLSv1.1", "disabled"),
                                ("TLSv1.2", "enabled"), ("TLSv1.3", "enabled")):
            self.assertRegex(text, rf"{re.escape(protocol)} +{state}")
        self.assertIn("Session renegotiation not supported", text)
        self.assertNotIn("Compression enabled", text)
        self.assertNotRegex(text, r"(?m)^(Accepted|Preferred) .* (AES|DES|CAMELLIA|SEED|RC4)[0-9A-Z-]+ *$")  # no ECDHE

    @needs("testssl")
    def test_testssl(self):
        """All vulnerabilities that it knows, and nothing worse than a remark."""
        gateway = self.start_open()
        report = os.path.join(self.folder, "testssl.csv")
        run("testssl", "--quiet", "--color", "0", "--warnings", "batch", "--starttls", "smtp", "-p", "-U", "--csvfile", report,
            f"127.0.0.1:{gateway.port}")
        with open(report, encoding="utf-8") as f:
            rows = [line.strip().split('","') for line in f.read().splitlines()[1:]]
        found = [row for row in rows if len(row) > 4 and row[3] in ("MEDIUM", "HIGH", "CRITICAL")]
        self.assertGreater(len(rows), 20)
        self.assertEqual(found, [])


if __name__ == "__main__":
    main()
