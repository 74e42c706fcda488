# SPDX-License-Identifier: Apache-2.0
"""Operating the gateway: reload, drain, sealanectl, metrics, systemd's words and sockets, probe."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import unittest
import urllib.request
from pathlib import Path

from dns import Dns
from support import GATEWAY, PATIENCE, Gateway, Keeper, NextHop, free_port, greeted, main, raw_connect, secured, wait_for_stop
from test_routes import RoutesTest, content, envelope, pin_of

SEALANECTL = os.environ.get("SEALANECTL")


class OperateTest(RoutesTest):
    def setUp(self):
        super().setUp()
        self.control = os.path.join(self.folder, "control")

    def start_controlled(self, routes, extra="", **kwargs):
        return self.start_with(routes, extra=f'control = "{self.control}"\n{extra}', **kwargs)

    def ctl(self, *arguments, status=0):
        done = subprocess.run([SEALANECTL, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stderr

    def ask(self, *arguments, **kwargs):
        return self.ctl("-s", self.control, *arguments, **kwargs)

    def rewrite(self, gateway, old, new):
        with open(gateway.file, encoding="utf-8") as f:
            text = f.read()
        self.assertIn(old, text)
        with open(gateway.file, "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))


class Reload(OperateTest):
    def test_new_connections_get_the_new_settings_and_old_ones_keep_theirs(self):
        one, one_port = self.start_hop()
        two, two_port = self.start_hop()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{one_port}" }}')
        old = greeted(gateway.port)
        envelope(old, ["b@x.test"])
        between = greeted(gateway.port)
        self.rewrite(gateway, str(one_port), str(two_port))
        self.assertIn("settings 2 are in force", self.ask("reload"))
        self.assertTrue(content(old).startswith("250 "))
        self.assertTrue(self.mail(gateway, "c@x.test", peer=between).startswith("250 "))
        self.assertEqual([one.take()["recipients"] for _ in range(2)], [["b@x.test"], ["c@x.test"]])
        self.assertTrue(self.mail(gateway, "d@x.test").startswith("250 "))
        self.assertEqual(two.take()["recipients"], ["d@x.test"])

    def test_all_or_nothing(self):
        keeper, port = self.start_hop()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}')
        with open(gateway.file, encoding="utf-8") as f:
            good = f.read()
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        more = good[good.index("receive"):good.index("route")].replace('"in"', '"more"')
        for bad, words in ((good.replace("hostname", "hustname"), ["gateway.conf:1", "hustname"]),
                           (good.replace("ec.pem", "gone.pem"), ["gone.pem"]),
                           (good.replace("ec.key", "hop.key"), ["does not fit"]),
                           (good + more.replace("port = 0", f"port = {taken.getsockname()[1]}"), ["already in use"])):
            with self.subTest(words):
                with open(gateway.file, "w", encoding="utf-8") as f:
                    f.write(bad)
                said = self.ask("reload", status=1)
                for word in words:
                    self.assertIn(word, said)
                self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
                keeper.take()
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_line("reload_failed")
        self.assertEqual(json.loads(self.ask("status", "--json"))["reloads_failed"], 5)

    def test_certificate_is_changed_without_dropping_a_connection(self):
        keeper, port = self.start_hop()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}')
        old = secured(gateway.port, self.certificates)
        before = old.socket.getpeercert(True)
        self.rewrite(gateway, "/ec.", "/rsa.")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_line("reloaded")
        new = secured(gateway.port, self.certificates)
        self.assertNotEqual(new.socket.getpeercert(True), before)
        self.assertTrue(self.mail(gateway, "b@x.test", peer=old).startswith("250 "))
        self.assertTrue(self.mail(gateway, "b@x.test", peer=new).startswith("250 "))

    def test_connectors_come_and_go(self):
        keeper, port = self.start_hop()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}')
        with open(gateway.file, encoding="utf-8") as f:
            first = f.read()
        section = first[first.index("receive"):first.index("route")]
        with open(gateway.file, "w", encoding="utf-8") as f:
            f.write(first + section.replace('"in"', '"second"'))
        self.ask("reload")
        second = int(gateway.wait_line("listening", connector="second")["port"])
        self.assertEqual(gateway.wait_line("listening", 2, connector="in")["port"], gateway.port)
        stays = greeted(second)
        with open(gateway.file, "w", encoding="utf-8") as f:
            f.write(first)
        self.ask("reload")
        self.assertTrue(self.mail(gateway, "b@x.test", peer=stays).startswith("250 "))
        self.assertTrue(self.mail(gateway, "b@x.test").startswith("250 "))
        for _ in range(PATIENCE * 100):  # each loop closes its own when it comes to it
            try:
                raw_connect(second).close()
            except ConnectionRefusedError:
                return
            threading.Event().wait(0.01)
        self.fail("the connector still listens")

    def test_under_load(self):
        """Reloads all the time; not a message is lost or refused."""
        keeper, port = self.start_hop()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}')
        failures, done = [], threading.Event()

        def send():
            try:
                while not done.is_set():
                    peer = secured(gateway.port, self.certificates)
                    for _ in range(3):
                        answer = self.mail(gateway, "b@x.test", peer=peer)
                        if not answer.startswith("250 "):
                            failures.append(answer)
                    peer.ask("QUIT")
                    peer.close()
            except Exception as e:  # noqa: whatever it is, the test must hear of it
                failures.append(repr(e))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(15):
            self.ask("reload")
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


class Log(OperateTest):
    def test_nobody_takes_it(self):
        """Standard error is full, a pipe without a reader, or closed as all three are: mail goes on, and no line goes elsewhere."""
        keeper, hop = self.start_hop()
        port = free_port()
        file = os.path.join(self.folder, "gateway.conf")
        with open(file, "w", encoding="utf-8") as f:
            f.write(self.settings_with(f'route "out" {{ next_hop = "127.0.0.1:{hop}" }}').replace("port = 0", f"port = {port}"))
        reader, writer = os.pipe()
        os.close(reader)
        with open("/dev/full", "wb") as full, open(writer, "wb") as broken:
            for name, options in (("full", {"stderr": full}), ("broken", {"stderr": broken}),
                                  ("closed", {"preexec_fn": lambda: os.closerange(0, 3)})):
                with self.subTest(name):
                    process = subprocess.Popen([GATEWAY, "run", "-c", file], **options)
                    self.addCleanup(process.wait, PATIENCE)
                    self.addCleanup(process.kill)
                    peer = None
                    while peer is None:
                        self.assertIsNone(process.poll(), "it has ended by itself")
                        with contextlib.suppress(ConnectionRefusedError):
                            peer = secured(port, self.certificates)
                    for _ in range(3):
                        self.assertTrue(self.mail(None, "b@x.test", peer=peer).startswith("250 "))
                        keeper.take()
                    self.assertEqual(peer.ask("QUIT")[:3], "221")
                    self.assertEqual(peer.until_closed(), b"")
                    peer.close()
                    process.terminate()
                    self.assertEqual(process.wait(PATIENCE), 0)


class Control(OperateTest):
    def test_status_and_sessions(self):
        keeper, port = self.start_hop()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}')
        peer = secured(gateway.port, self.certificates)
        envelope(peer, ["b@x.test"])
        status = json.loads(self.ctl("-c", gateway.file, "--json", "status"))
        self.assertEqual((status["state"], status["sessions"], status["handshakes"], status["settings_generation"]),
                         ("running", 1, 1, 1))
        self.assertEqual(status["certificates"][0]["key"], "EC")
        sessions = json.loads(self.ask("sessions", "--json"))
        self.assertEqual([(s["connector"], s["helo"], s["doing"], s["tls"]) for s in sessions],
                         [("in", "client.test", "envelope", "TLSv1.3")])
        self.assertEqual(sessions[0]["next_hop"], f"127.0.0.1:{port}")
        self.assertIn("sessions ", self.ask("status"))
        self.assertIn("helo=client.test", self.ask("sessions"))
        self.assertEqual(os.stat(self.control).st_mode & 0o777, 0o600)

    def test_drain_finishes_what_is_in_flight(self):
        keeper, port = self.start_hop()
        keeper.gate = threading.Event()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}')
        idle, busy = greeted(gateway.port), greeted(gateway.port)
        envelope(busy, ["b@x.test"])
        self.assertTrue(busy.ask("DATA").startswith("354"))
        busy.send(b"Subject: x\r\n\r\n.\r\n")
        self.assertTrue(keeper.arrived.wait(PATIENCE))
        self.ask("drain")
        self.assertTrue(idle.reply().startswith("421 "))
        keeper.gate.set()
        self.assertTrue(busy.reply().startswith("250 "))
        self.assertTrue(busy.reply().startswith("421 "))
        idle.close()
        busy.close()
        self.assertEqual(gateway.process.wait(PATIENCE), 0)
        self.assertFalse(os.path.exists(self.control))

    def test_wrong_questions(self):
        self.assertIn("is sealane-gateway running", self.ctl("-s", self.control, "status", status=1))
        self.assertIn("sealanectl: say", self.ctl("dance", status=1))
        self.assertIn("Usage", self.ctl("--help"))
        gateway = self.start_controlled('route "out" { next_hop = "127.0.0.1:1" }')
        for rubbish in (b"\n", b"rubbish\n", b"x" * 5000, b""):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.control)
                s.sendall(rubbish)
                s.shutdown(socket.SHUT_WR)
                s.settimeout(PATIENCE)
                try:
                    self.assertNotIn(b"ok", s.recv(100))
                except ConnectionError:
                    pass
        self.assertIn("running", self.ask("status"))
        self.assertIsNone(gateway.process.poll())

    def test_socket_file_of_a_dead_gateway_is_replaced_and_of_a_living_one_not(self):
        gateway = self.start_controlled('route "out" { next_hop = "127.0.0.1:1" }')
        done = subprocess.run([GATEWAY, "run", "-c", gateway.file], capture_output=True, text=True, timeout=PATIENCE,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("control", done.stderr)
        gateway.process.kill()
        gateway.process.wait()
        again = Gateway(self.folder, open(gateway.file, encoding="utf-8").read())
        self.assertIn("running", self.ask("status"))
        self.assertEqual(again.stop(), 0)
        gateway.stop = lambda: 0


class Metrics(OperateTest):
    def test_prometheus_can_read_them(self):
        keeper, port = self.start_hop()
        metrics = free_port()
        gateway = self.start_controlled(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}',
                                        extra=f'metrics = "127.0.0.1:{metrics}"')
        self.assertTrue(self.mail(gateway, "b@x.test", peer=secured(gateway.port, self.certificates)).startswith("250"))
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=PATIENCE) as answer:
            self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4")
            text = answer.read().decode()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        self.assertEqual((values["sealane_delivered_total"], values["sealane_handshakes_total"]), ("1", "1"))
        self.assertGreater(float(values['sealane_certificate_days_left{connector="in",key="EC"}']), 360)
        for name in values:
            self.assertIn(f"# TYPE {name.split('{')[0]} ", text)

    def test_unix_socket_and_nothing_but_get(self):
        path = os.path.join(self.folder, "metrics")
        self.start_controlled('route "out" { next_hop = "127.0.0.1:1" }', extra=f'metrics = "{path}"')
        for question, answer in ((b"GET /metrics HTTP/1.1\r\n\r\n", b"200"), (b"GET /else HTTP/1.1\r\n\r\n", b"404"),
                                 (b"POST / HTTP/1.1\r\n\r\n", b"404")):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                s.sendall(question)
                self.assertIn(answer, s.recv(100).split(b"\r\n")[0])


class Systemd(OperateTest):
    def test_it_says_when_it_is_ready_and_when_it_stops(self):
        path = os.path.join(self.folder, "notify")
        words = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(words.close)
        words.bind(path)
        words.settimeout(PATIENCE)
        text = self.settings_with('route "out" { next_hop = "127.0.0.1:1" }')
        gateway = Gateway(self.folder, text, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "50000"})
        said = b""
        while b"WATCHDOG=1" not in said:
            said += words.recv(4096) + b"\n"
        self.assertTrue(said.startswith(b"READY=1\n"))
        gateway.process.send_signal(signal.SIGHUP)
        said = b""
        while b"READY=1" not in said:
            said += words.recv(4096) + b"\n"
        self.assertIn(b"RELOADING=1\nMONOTONIC_USEC=", said)
        self.assertEqual(gateway.stop(), 0)
        while b"STOPPING=1" not in said:
            said += words.recv(4096) + b"\n"

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_units_are_understood_and_the_sandbox_is_tight(self):
        top = Path(__file__).resolve().parents[2]
        built = Path(SEALANECTL).parent / "sealane-gateway.service"
        text = re.sub(r"(?m)/\S+/(sealane-gateway|sealanectl)(?= )", lambda m: {"sealanectl": SEALANECTL}.get(m[1], GATEWAY),
                      built.read_text(encoding="utf-8"))
        self.assertIn(f"ExecStart={GATEWAY} run -c ", text)
        units = Path(self.folder)
        (units / built.name).write_text(text, encoding="utf-8")
        shutil.copy(top / "gateway/systemd/sealane-gateway.socket", units)

        def analyze(*arguments):
            return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)

        for unit in units.glob("sealane-gateway.*"):
            said = analyze("verify", "--man=no", str(unit))
            self.assertEqual([line for line in said.stderr.splitlines() if "sealane-gateway" in line], [])
        said = analyze("security", "--offline=true", "--threshold=20", str(units / built.name))
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_socket_that_is_handed_in(self):
        keeper, port = self.start_hop()
        listener = socket.create_server(("127.0.0.1", 0))
        handed = listener.getsockname()[1]
        text = self.settings_with(f'route "out" {{ next_hop = "127.0.0.1:{port}" }}').replace("port = 0", f"port = {handed}")
        file = os.path.join(self.folder, "gateway.conf")
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
        # The descriptor must be number 3 and LISTEN_PID its own: what systemd does between fork and exec.
        start = ("import os, sys\nos.dup2(int(sys.argv[1]), 3)\nos.environ.update(LISTEN_PID=str(os.getpid()), "
                 "LISTEN_FDS='1', LISTEN_FDNAMES='in')\nos.execv(sys.argv[2], sys.argv[2:])\n")
        with subprocess.Popen([sys.executable, "-c", start, str(listener.fileno()), GATEWAY, "run", "-c", file],
                              pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL) as process:
            listener.close()
            try:
                self.assertTrue(self.mail(None, "b@x.test", peer=greeted(handed)).startswith("250 "))
            finally:
                process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(PATIENCE), 0)


class Probe(OperateTest):
    def test_what_a_partner_offers(self):
        hop = NextHop(Keeper(), self.certificates)
        hop.start()
        self.addCleanup(hop.stop)
        dns = Dns({"x.test": {"MX": [(1, "hop.test")]}, "hop.test": {"A": ["127.0.0.1"]},
                   "pinned.test": {"MX": [(1, "hop.test")]}, "null.test": {"MX": [(0, ".")]}})
        self.addCleanup(dns.close)
        file = os.path.join(self.folder, "probe.conf")
        pin = pin_of(self.certificates.path("hop.pem"))
        key = pin_of(self.certificates.path("hop.pem"), "key")
        text = (f'resolvers = {{"127.0.0.1@{dns.port}"}}\nreceive "in" {{ address = "127.0.0.1" port = 25\n'
                f'certificate {{ chain = "/nonexistent" key = "pkcs11:token=none" }} }}\n'
                f'route "out" {{ connectors = {{"in"}} mx = yes port = {hop.port} tls = "verify" '
                f'ca = "{self.certificates.ca}" }}\npartner "pinned.test" {{ tls = "fingerprint" pins = {{"PIN"}} }}\n'
                f'partner "null.test" {{ tls = "secure" ca = "{self.certificates.ca}" }}\n')
        with open(file, "w", encoding="utf-8") as f:
            f.write(text.replace("PIN", pin))
        said = self.ctl("-c", file, "probe", "x.test")
        for word in ("hop.test (127.0.0.1)", "TLSv1.3", f'"{pin}"', f'"{key}"', "verify of out: satisfied"):
            self.assertIn(word, said)
        found = json.loads(self.ctl("-c", file, "--json", "probe", "pinned.test"))["hosts"][0]
        self.assertEqual((found["satisfies"], found["tls_wanted"], found["policy_of"], found["certificate_pin"]),
                         (True, "fingerprint", "pinned.test", pin))
        with open(file, "w", encoding="utf-8") as f:
            f.write(text.replace("PIN", "key:" + "00" * 32))
        self.assertFalse(json.loads(subprocess.run([SEALANECTL, "-c", file, "-j", "probe", "pinned.test"], check=False,
                                                   capture_output=True).stdout)["hosts"][0]["satisfies"])
        self.assertIn("no host takes mail", self.ctl("-c", file, "probe", "null.test", status=1))

    def probe_of(self, port, route):
        """Settings of one next hop, and what is run to probe it."""
        file = os.path.join(self.folder, "probe.conf")
        with open(file, "w", encoding="utf-8") as f:
            f.write(f'receive "in" {{ address = "127.0.0.1" port = 25\ncertificate {{ chain = "/nonexistent" key = "/nonexistent" }} }}\n'
                    f'route "out" {{ next_hop = "127.0.0.1:{port}" {route} }}\n')
        return [SEALANECTL, "-c", file, "--json", "probe", "x.test"]

    def probed(self, command, status):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)["hosts"][0]

    def test_it_wants_what_the_gateway_would(self):
        """The send connector's own versions and suites, not what OpenSSL could do; TLS that nobody asked for may fail."""
        hop = NextHop(Keeper(), self.certificates)
        hop.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        hop.start()
        self.addCleanup(hop.stop)
        found = self.probed(self.probe_of(hop.port, 'tls = "encrypt"'), 0)
        self.assertEqual((found["tls"], found["satisfies"]), ("TLSv1.2", True))
        found = self.probed(self.probe_of(hop.port, 'tls = "encrypt" min_version = "TLSv1.3"'), 1)
        self.assertIn("TLS: ", found["error"])
        self.assertFalse(found["satisfies"])
        found = self.probed(self.probe_of(hop.port, 'tls = "may" min_version = "TLSv1.3"'), 0)
        self.assertIn("TLS: ", found["error"])

    def test_a_host_that_is_no_mail_server(self):
        """What it says is shown without its control characters."""
        hop = self.start_script(lambda peer, _number, _me: peer.send(b"HTTP/1.1 \x1b[31m\xff\r\n"))
        found = self.probed(self.probe_of(hop.port, 'tls = "may"'), 1)
        self.assertEqual(found["error"], "no SMTP reply: HTTP/1.1 ?[31m?")

    def test_an_interrupted_wait_goes_on(self):
        accepted, go_on = threading.Event(), threading.Event()

        def script(peer, _number, _me):
            accepted.set()
            go_on.wait(PATIENCE)
            peer.send("220 hop.test\r\n")
            peer.line()
            peer.send("250 hop.test\r\n")
            peer.line()

        hop = self.start_script(script)
        with subprocess.Popen(self.probe_of(hop.port, 'tls = "may"'), stdout=subprocess.PIPE) as process:
            self.assertTrue(accepted.wait(PATIENCE))
            process.send_signal(signal.SIGSTOP)
            wait_for_stop(process.pid)
            process.send_signal(signal.SIGCONT)
            go_on.set()
            found = json.loads(process.communicate(timeout=PATIENCE)[0])["hosts"][0]
        self.assertEqual((found["error"], found["satisfies"]), ("", True))


if __name__ == "__main__":
    main()
