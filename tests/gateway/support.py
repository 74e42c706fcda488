# SPDX-License-Identifier: Apache-2.0
"""What the gateway's whole-process tests share: certificates, a running gateway, next hops good and bad.

Nothing here waits for a time to pass: everything waits for an event (a log line, a reply, a connection). The
one number, PATIENCE, only ends a test whose event never comes.
"""
import asyncio
import atexit
import json
import os
import queue
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from ports import free_port  # noqa: E402 (of the tests of all rooms)

PATIENCE = int(os.environ.get("PATIENCE", 60))

GATEWAY = os.environ.get("SEALANE_GATEWAY")


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    """A CA and certificates of both kinds of key, made once per test program."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "365", "-subj", "/CN=Test CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout", self.path("ca.key"), "-out", self.ca)
        self.make("ec", "gateway.test", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        self.make("rsa", "gateway.test", ["rsa:2048"])
        self.make("hop", "hop.test", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, name, host, key, days="365"):
        openssl("req", "-newkey", *key, "-nodes", "-subj", f"/CN={host}", "-addext",
                f"subjectAltName=DNS:{host}", "-keyout", self.path(name + ".key"),
                "-out", self.path(name + ".csr"))
        openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.ca, "-CAkey",
                self.path("ca.key"), "-CAcreateserial", "-days", days, "-copy_extensions", "copyall",
                "-out", self.path(name + ".pem"))

    def make_own(self, name, host):
        """Signed by nobody but itself."""
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}", "-addext",
                f"subjectAltName=DNS:{host}", "-keyout", self.path(name + ".key"), "-out", self.path(name + ".pem"))

    def section(self, name):
        return f'certificate {{ chain = "{self.path(name)}.pem" key = "{self.path(name)}.key" }}\n'


class Gateway:
    """`sealane-gateway run` with its log lines as they come."""

    def __init__(self, folder, settings, env=None):
        self.file = os.path.join(folder, "gateway.conf")
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(settings)
        self.process = subprocess.Popen([GATEWAY, "run", "-c", self.file], stderr=subprocess.PIPE,
                                        env=dict(os.environ, **(env or {})))
        self.lines = []
        self.told = threading.Condition()
        self.ended = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.ports = {}
        line = self.wait_line("listening")
        self.ports[line["connector"]] = int(line["port"])
        self.port = int(line["port"])

    def _read(self):
        for raw in self.process.stderr:
            text = raw.decode("utf-8", "replace").rstrip("\n")
            with self.told:
                self.lines.append(text)
                self.told.notify_all()
            if not text.startswith("{") or os.environ.get("GATEWAY_LOG"):
                sys.stderr.write("    gateway: " + text + "\n")
        with self.told:
            self.ended = True
            self.told.notify_all()

    def events(self, event):
        found = []
        for text in list(self.lines):
            if text.startswith("{"):
                line = json.loads(text)
                if line["event"] == event:
                    found.append(line)
        return found

    def wait_line(self, event, count=1, **wanted):
        """The `count`th line of that event with those values, waiting for it."""
        def find():
            good = [line for line in self.events(event)
                    if all(str(line.get(key)) == str(value) for key, value in wanted.items())]
            return good[count - 1] if len(good) >= count else None

        with self.told:
            if not self.told.wait_for(lambda: find() is not None or self.ended, PATIENCE) or find() is None:
                raise AssertionError(f"no line {event} {wanted}; lines were:\n" + "\n".join(self.lines))
            return find()

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stderr.close()
        return status


class Keeper:
    """An aiosmtpd handler that keeps what it was given, and answers as told."""

    def __init__(self):
        self.messages = queue.Queue()
        self.replies = {}  # command -> reply line instead of the usual one
        self.arrived = threading.Event()
        self.gate = None  # an Event that the answer to the final dot waits for

    async def handle_MAIL(self, server, session, envelope, address, options):
        if "MAIL" in self.replies:
            return self.replies["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "RCPT" in self.replies:
            return self.replies["RCPT"]
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        self.arrived.set()
        while self.gate is not None and not self.gate.is_set():
            await asyncio.sleep(0.01)
        if "DATA" in self.replies:
            return self.replies["DATA"]
        self.messages.put(dict(sender=envelope.mail_from, recipients=list(envelope.rcpt_tos),
                               content=envelope.content, options=list(envelope.mail_options),
                               tls=session.ssl is not None, utf8=envelope.smtp_utf8))
        return "250 2.0.0 taken"

    def take(self):
        return self.messages.get(timeout=PATIENCE)


class _Server(SMTP):
    """aiosmtpd's server, which knows CRLF only and takes lines as long as they come."""
    line_length_limit = 4096
    command_size_limit = 4096


class NextHop(Controller):
    """A next hop that behaves: aiosmtpd, with STARTTLS if it has a certificate."""

    def __init__(self, handler, certificates=None, name="hop", limit=64 * 1024 * 1024, **kwargs):
        self.tls = None
        self.limit = limit
        if certificates is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificates.path(name + ".pem"), certificates.path(name + ".key"))
        super().__init__(handler, hostname="127.0.0.1", port=free_port(), **kwargs)

    def factory(self):
        return _Server(self.handler, tls_context=self.tls, data_size_limit=self.limit, hostname="hop.test",
                       enable_SMTPUTF8=True)


class ScriptedHop:
    """A next hop that does what a function says: `script(hop, lines)` runs on a thread per connection."""

    def __init__(self, script):
        self.script = script
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.failures = queue.Queue()
        self.seen = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(s, self.connections), daemon=True).start()

    def _serve(self, s, number):
        with s:
            s.settimeout(PATIENCE)
            try:
                self.script(Peer(s), number, self)
            except (OSError, EOFError) as e:
                self.failures.put(e)

    def close(self):
        self.listener.close()


class Bench:
    """bench-gateway's sink, and its load with a number for each message: what was answered must be there, once and whole."""
    PROGRAM = os.environ.get("BENCH_GATEWAY")

    def __init__(self, folder, certificates):
        self.ledger = os.path.join(folder, "ledger")
        self.certificates = certificates
        self.sink_port = free_port()
        self.load = None
        self.start_sink()

    def start_sink(self):
        self.sink = subprocess.Popen([self.PROGRAM, "sink", "--ledger", self.ledger, "--port", str(self.sink_port), "--chain",
                                      self.certificates.path("hop.pem"), "--key", self.certificates.path("hop.key")],
                                     stdout=subprocess.PIPE)
        self.sink.stdout.readline()

    def kill_sink(self):
        self.sink.kill()
        self.sink.wait(PATIENCE)
        self.sink.stdout.close()

    def start_load(self, port, *options):
        self.load = subprocess.Popen([self.PROGRAM, "load", "--ledger", self.ledger, "--port", str(port), *options],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def wait_for_messages(self, count):
        """Until that many more were begun: the ledger begins with the number of the next one."""
        def number():
            with open(self.ledger, "rb") as f:
                return struct.unpack("=I", f.read(4))[0]

        wanted = number() + count
        for _ in range(PATIENCE * 100):
            if number() >= wanted:
                return
            time.sleep(0.01)
        raise AssertionError("no mail goes through")

    def end_load(self):
        """As if its time was over; what it has counted."""
        self.load.terminate()
        return json.loads(self.load.communicate(timeout=PATIENCE)[0])

    def close(self):
        for process in (self.load, self.sink):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(PATIENCE)


class Peer:
    """A socket with lines, from either side."""

    def __init__(self, s):
        self.socket = s
        self.held = b""

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\n" not in self.held:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError("closed")
            self.held += more
        line, self.held = self.held.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def reply(self):
        """A whole SMTP reply, lines joined by newlines."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def ask(self, command):
        self.send(command + "\r\n")
        return self.reply()

    def until_closed(self):
        """Everything until the other side closes; also the end by reset."""
        data, self.held = self.held, b""
        while True:
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                return data
            if not more:
                return data
            data += more

    def answer(self, *replies):
        """As a next hop: a line comes for each, and gets it."""
        for reply in replies:
            self.line()
            self.send(reply + "\r\n")

    def answer_envelope(self):
        """As a next hop: from the banner to 354."""
        self.send("220 hop.test\r\n")
        self.answer("250 hop.test", "250 ok", "250 ok", "354 go")

    def message(self):
        """The lines of a message up to its final dot."""
        lines = []
        while (line := self.line()) != ".":
            lines.append(line)
        return lines

    def start_tls(self, context, name="gateway.test"):
        assert not self.held, self.held
        self.socket = context.wrap_socket(self.socket, server_hostname=name)

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def client_context(certificates, version=None, key=None, client=None):
    context = ssl.create_default_context(cafile=certificates.ca)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if key is not None:  # TLS 1.2 chooses the kind of certificate by suite
        context.set_ciphers({"rsa": "ECDHE-RSA-AES128-GCM-SHA256",
                             "ec": "ECDHE-ECDSA-AES128-GCM-SHA256"}[key])
    if client is not None:
        context.load_cert_chain(certificates.path(client + ".pem"), certificates.path(client + ".key"))
    return context


def raw_connect(port):
    return Peer(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))


def greeted(port):
    """A connection that has had its banner and EHLO."""
    peer = raw_connect(port)
    banner = peer.reply()
    assert banner.startswith("220 "), banner
    ehlo = peer.ask("EHLO client.test")
    assert ehlo.startswith("250"), ehlo
    return peer


def secured(port, certificates, **kwargs):
    peer = greeted(port)
    answer = peer.ask("STARTTLS")
    assert answer.startswith("220 "), answer
    peer.start_tls(client_context(certificates, **kwargs))
    assert peer.ask("EHLO client.test").startswith("250")
    return peer


def der_of(file):
    """The first certificate of a PEM file."""
    end = "-----END CERTIFICATE-----\n"
    with open(file, encoding="ascii") as f:
        return ssl.PEM_cert_to_DER_cert(f.read().partition(end)[0] + end)


def demanding_script(certificates, ca, seen):
    """A next hop that demands a certificate of ours, signed by `ca`: each that it gets goes into `seen`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path("hop.pem"), certificates.path("hop.key"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca)

    def script(hop, _number, _me):
        hop.send("220 hop.test\r\n")
        hop.answer("250-hop.test\r\n250 STARTTLS", "220 go")
        hop.socket = context.wrap_socket(hop.socket, server_side=True)
        seen.append(hop.socket.getpeercert(binary_form=True))
        hop.answer("250 hop.test", "250 ok", "250 ok", "354 go")
        hop.message()
        hop.send("250 2.0.0 taken\r\n")
        hop.answer("221 2.0.0 bye")

    return script


def stuffed(message):
    """A message as it goes over the wire, final dot included."""
    return b"".join(b"." + line if line.startswith(b".") else line
                    for line in message.splitlines(keepends=True)) + b".\r\n"


def without_received(content):
    """What arrived without the Received field on top, which it also returns."""
    match = re.match(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", content)
    assert match, content[:300]
    return content[match.end():], match.group(0).decode()


def thread_states(pid):
    """One letter for each thread, as proc(5) has them."""
    def state(task):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0]

    return [state(task) for task in os.listdir(f"/proc/{pid}/task")]


def wait_for_stop(pid):
    """Until every thread of the process is stopped: kill returns before that."""
    while set(thread_states(pid)) != {"T"}:
        os.sched_yield()


class GatewayTest(unittest.TestCase):
    """A test with a folder and certificates; what it starts is stopped after it, its exit status looked at."""

    @classmethod
    def setUpClass(cls):
        if not hasattr(GatewayTest, "shared"):  # once for all classes of a program
            GatewayTest.shared = tempfile.mkdtemp(prefix="sealane-gateway-")
            atexit.register(shutil.rmtree, GatewayTest.shared)
            GatewayTest.certificates = Certificates(GatewayTest.shared)

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="test-", dir=self.shared)

    def settings(self, hop_port, tls="may", hop_tls="may", names=("ec", "rsa"), extra="", receive="",
                 route=""):
        sections = "".join(self.certificates.section(name) for name in names)
        return (f'hostname = "gateway.test"\nlog = "json"\n{extra}\n'
                f'receive "in" {{\n address = "127.0.0.1"\n port = 0\n tls = "{tls}"\n'
                f'{receive}\n{sections}}}\n'
                f'route "out" {{\n next_hop = "127.0.0.1:{hop_port}"\n tls = "{hop_tls}"\n{route}\n}}\n')

    def start(self, hop_port, expected_status=0, **kwargs):
        gateway = Gateway(self.folder, self.settings(hop_port, **kwargs))

        def stop():
            self.assertEqual(gateway.stop(), expected_status, "exit status of the gateway")
        self.addCleanup(stop)
        return gateway

    def start_hop(self, certificates=None, **kwargs):
        keeper = Keeper()
        hop = NextHop(keeper, certificates, **kwargs)
        hop.start()
        self.addCleanup(hop.stop)
        return keeper, hop.port

    def start_script(self, script):
        hop = ScriptedHop(script)
        self.addCleanup(hop.close)
        return hop


class _Timed(unittest.TextTestResult):
    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln(f"ok ({time.monotonic() - self.began:.1f} s)")


def main():
    if GATEWAY is None:
        sys.exit("SEALANE_GATEWAY must name the program to test")
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=_Timed, verbosity=2, warnings="ignore"))
