#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Connections that were taken over, with other people's software at the other end: openssl s_client and s_server with
their KeyUpdate orders, GnuTLS's tools with theirs, curl, and Python's ssl, which is libssl again but reads and writes as
applications do. As a server it is engine/examples/echo.c that is tested, as a client takeover_client.c."""
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from ports import free_port  # noqa: E402 (of the tests of all rooms)
from tls_by_hand import TlsByHand  # noqa: E402

ECHO, CLIENT = sys.argv[1:3]
LONG = "long" in sys.argv[3:]
SUITES13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256",
            "TLS_AES_128_CCM_8_SHA256"]
SUITES12 = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-CCM8"]
PATIENCE = int(os.environ.get("PATIENCE", "120"))  # seconds: only for what never comes


def expect(stream, wanted):
    """Reads until `wanted` has come."""
    seen = b""
    while wanted not in seen:
        piece = stream.read1(65536) if hasattr(stream, "read1") else stream.read(1)
        if not piece:
            raise AssertionError(f"{wanted!r} never came, but {seen[-2000:]!r}")
        seen += piece
    return seen


class Program:
    """A program under a talk: its standard input and what it prints."""

    def __init__(self, *command, merge=True):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT if merge else subprocess.PIPE)
        self.timer = threading.Timer(PATIENCE, self.process.kill)
        self.timer.start()

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def expect(self, text):
        return expect(self.process.stdout, text.encode()).decode(errors="replace")

    def close_input(self):
        self.process.stdin.close()

    def end(self):
        """What it printed still, and its status."""
        if self.process.stdout.closed:
            return "", self.process.returncode
        if not self.process.stdin.closed:
            self.process.stdin.close()
        rest = self.process.stdout.read().decode(errors="replace")
        if self.process.stderr is not None:
            rest += self.process.stderr.read().decode(errors="replace")
            self.process.stderr.close()
        self.process.stdout.close()
        status = self.process.wait()
        self.timer.cancel()
        return rest, status

    def kill(self):
        self.process.kill()
        return self.end()


class Peers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.chain, cls.key = (os.path.join(cls.folder.name, name) for name in ("chain.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        cls.key, "-out", cls.chain, "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost"], check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.running = []

    def tearDown(self):
        for program in self.running:
            program.kill()

    def echo(self):
        """The port of a new echo server."""
        self.server = Program(ECHO, "0", self.chain, self.key)
        self.running.append(self.server)
        line = self.server.expect("\n")
        return int(line.split()[-1])


class Server(Peers):
    """The echo server against others' clients."""

    def test_s_client_with_key_updates(self):
        port = self.echo()
        for version, suites, option in (("-tls1_3", SUITES13, "-ciphersuites"), ("-tls1_2", SUITES12, "-cipher")):
            for suite in suites[:3]:  # CCM is nothing that a server has by default
                with self.subTest(suite=suite):
                    client = Program("openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, option, suite, "-quiet",
                                     "-no_ign_eof")
                    client.say("first line\n")
                    client.expect("first line\n")
                    if version == "-tls1_3":
                        for order in "Kk":
                            client.say(order + "\n")
                            client.expect("KEYUPDATE")
                            client.say("after " + order + " once\n")
                            client.expect("after " + order + " once\n")
                    client.say("Q\n")
                    self.assertNotIn("error", client.end()[0])

    def test_s_client_renegotiation_is_refused(self):
        client = Program("openssl", "s_client", "-connect", f"127.0.0.1:{self.echo()}", "-tls1_2", "-quiet", "-no_ign_eof")
        client.say("first\n")
        client.expect("first\n")
        client.say("R\n")
        self.assertIn("no renegotiation", client.end()[0])

    @unittest.skipUnless(shutil.which("gnutls-cli"), "no gnutls-cli")
    def test_gnutls_cli_with_rekey(self):
        port = self.echo()
        for priority in ("NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM",
                         "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CHACHA20-POLY1305"):
            with self.subTest(priority=priority):
                client = Program("gnutls-cli", "--insecure", "--inline-commands", "--priority", priority, "--port", str(port),
                                 "localhost")
                client.expect("Simple Client Mode")
                client.say("first line\n")
                client.expect("first line")
                if "TLS1.3" in priority:
                    client.say("^rekey^\n")
                    client.say("after the rekey\n")
                    client.expect("after the rekey")
                rest, status = client.end()
                self.assertEqual(status, 0, rest)

    @unittest.skipUnless(shutil.which("curl"), "no curl")
    def test_curl(self):
        port = self.echo()
        for version in ("1.2", "1.3"):
            # The server sends back the request, which curl takes for an answer of HTTP 0.9. Without an end of its own:
            # the server's close_notify comes when curl has heard enough.
            with self.subTest(version=version):
                client = Program("curl", "--silent", "--insecure", "--http0.9", "--max-filesize", "100000", "--tlsv" + version,
                                 "--tls-max", version, "--no-buffer", f"https://localhost:{port}/asked-by-curl")
                client.expect("GET /asked-by-curl HTTP/1.1")
                client.kill()

    def python_talk(self, port, version, total, chunk):
        """Sends in pieces and takes what comes back meanwhile, on one thread: an SSL is not for two at once."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        data, got, sent = os.urandom(total), bytearray(), 0
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw, context.wrap_socket(raw) as s:
            s.setblocking(False)
            while len(got) < total:
                wants = []
                try:
                    if sent < total:
                        sent += s.send(data[sent:sent + chunk])
                        wants = [s]
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    wants = [s]
                try:
                    piece = s.recv(65536)
                    self.assertTrue(piece, f"{len(got)} of {total} bytes came back")
                    got += piece
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    self.assertTrue(any(select.select([s], wants, [], PATIENCE)), "nothing comes back")
            self.assertEqual(bytes(got), data)
            s.settimeout(PATIENCE)
            s.unwrap()  # fails unless the server says goodbye, too

    def test_python_with_all_sizes_of_writes(self):
        port = self.echo()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for total, chunk in ((1, 1), (3000, 1), (100000, 16384), (200000, 16385), (1 << 20, 1 << 20)):
                with self.subTest(version=version, chunk=chunk):
                    self.python_talk(port, version, total, chunk)

    def test_many_connections_at_once(self):
        port = self.echo()
        threads = [threading.Thread(target=self.python_talk, args=(port, ssl.TLSVersion.TLSv1_3, 20000, 1 + i * 37))
                   for i in range(100 if LONG else 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def test_bytes_cut_anywhere(self):
        """A proxy that passes the client's bytes on in pieces of one to seven."""
        port = self.echo()
        listener = socket.create_server(("127.0.0.1", 0))

        def pass_on():
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def back():
                with near:
                    while piece := far.recv(65536):
                        near.sendall(piece)

            threading.Thread(target=back, daemon=True).start()
            size = 0
            while piece := near.recv(65536):
                while piece:
                    size = size % 7 + 1
                    far.sendall(piece[:size])
                    piece = piece[size:]
            far.shutdown(socket.SHUT_WR)

        passing = threading.Thread(target=pass_on, daemon=True)
        passing.start()
        self.python_talk(listener.getsockname()[1], ssl.TLSVersion.TLSv1_3, 3000, 100)
        listener.close()

    def test_a_broken_record_is_answered_with_an_alert(self):
        """What a changed bit on the wire comes to, as a client sees it."""
        port = self.echo()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
            peer = TlsByHand(raw, context)
            peer.handshake()
            peer.write(b"good")
            self.assertEqual(peer.read(), b"good")
            peer.write_broken(b"broken on its way")
            with self.assertRaisesRegex(ssl.SSLError, "(?i)bad.record.mac"):
                peer.read()


class Client(Peers):
    """The client against others' servers."""

    def serve(self, port, *command):
        """Until the port answers: gnutls-serv keeps what it prints in a buffer."""
        server = Program(*command)
        self.running.append(server)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return server
            except ConnectionRefusedError:
                self.assertIsNone(server.process.poll(), "the server ended at once")
                time.sleep(0.01)

    def port(self):
        return free_port()

    def client(self, port, version, suite="-"):
        return Program(CLIENT, str(port), version, suite, "must", merge=False)

    def outcome(self, client):
        text, status = client.end()
        self.assertEqual(status, 0, text)
        self.assertIn("taken status=1 reason= alert=-1", text)
        return re.search(r"tickets=(\d+) renewed=(\d+)/(\d+)", text).groups()

    def test_s_server_with_key_updates(self):
        for version, suites, option in (("1.3", SUITES13, "-ciphersuites"), ("1.2", SUITES12, "-cipher")):
            for suite in suites:
                with self.subTest(suite=suite):
                    port = self.port()
                    more = ["-cipher", "ALL:@SECLEVEL=0"] if version == "1.3" else []
                    server = self.serve(port, "openssl", "s_server", "-accept", str(port), "-cert", self.chain, "-key",
                                        self.key, option, suite if version == "1.3" else suite + ":@SECLEVEL=0", *more)
                    client = self.client(port, version, suite)
                    client.say("from the client\n")
                    server.expect("from the client\n")
                    server.say("from the server\n")
                    client.expect("from the server\n")
                    if version == "1.3":
                        # What the server reads together with an order is lost: the order must have come to something. The
                        # second renewal of the server's keys is the one that the client asks for.
                        for order, renewals in (("K", 1), ("k", 3)):
                            server.say(order + "\n")
                            client.expect(f"[renewed {renewals}]")
                            server.say("after the server's " + order + "\n")
                            client.expect("after the server's " + order + "\n")
                            client.say("." + order + "\n")
                            client.say("after the client's " + order + "\n")
                            server.expect("after the client's " + order + "\n")
                            server.say("and back\n")
                            client.expect("and back\n")
                    client.close_input()
                    tickets, sealed, opened = self.outcome(client)
                    self.assertEqual(tickets, "2" if version == "1.3" else "1")
                    if version == "1.3":
                        self.assertGreaterEqual(int(sealed), 3)
                        self.assertGreaterEqual(int(opened), 3)

    @unittest.skipUnless(shutil.which("gnutls-serv"), "no gnutls-serv")
    def test_gnutls_serv(self):
        for version in ("1.3", "1.2"):
            with self.subTest(version=version):
                port = self.port()
                server = self.serve(port, "gnutls-serv", "--echo", "--disable-client-cert", "--port", str(port),
                                    "--x509certfile", self.chain, "--x509keyfile", self.key)
                client = self.client(port, version)
                for text in ("one\n", "two\n", ".K\n", "three\n", "x" * 5000 + "\n"):
                    client.say(text)
                    if text[0] != ".":
                        client.expect(text[:-1][-1000:])
                client.close_input()
                self.outcome(client)
                server.kill()

    def test_python(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                raw, _ = listener.accept()
                with context.wrap_socket(raw, server_side=True) as s:
                    while piece := s.recv(65536):
                        s.sendall(piece)
                    s.unwrap()

            for version in ("1.3", "1.2"):
                with self.subTest(version=version):
                    serving = threading.Thread(target=serve, daemon=True)
                    serving.start()
                    client = self.client(listener.getsockname()[1], version)
                    for size in (1, 100, 16383, 16384):
                        client.say("y" * (size - 1) + "\n")
                        got = 0
                        while got < size:
                            got += len(client.process.stdout.read1(65536))
                    client.close_input()
                    self.outcome(client)
                    serving.join()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
