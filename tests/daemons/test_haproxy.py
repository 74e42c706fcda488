# SPDX-License-Identifier: Apache-2.0
"""HAProxy with its keys in a token, blocking and with ssl-mode-async: every client, reload, dead workers, a lost token."""
import hashlib
import os
import re
import signal
import socket
import subprocess
import time

from support import CLIENT_ENV, DaemonTest, children, curl, free_port, main, program, wait_until

HAPROXY = program("haproxy")
BIG = bytes(range(256)) * 40  # fits a buffer of HAProxy, which answers by itself


class Blocking(DaemonTest):
    user, mode = "haproxy", ""

    def serve(self, env=None):
        port, site = free_port(), self.site
        body, big = site.base / "body", site.base / "big"
        body.write_bytes(self.body)
        big.write_bytes(BIG)
        file = site.base / "haproxy.cfg"
        file.write_text(f"""
global
    {f"user {site.user}" if site.user else ""}
    {self.mode}
    nbthread 2
    stats socket {site.base}/haproxy.sock mode 600 expose-fd listeners level admin
    ssl-default-bind-options ssl-min-ver TLSv1.2
    log stderr format raw local0 info
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
frontend tls
    log global
    log-format "%ci %ST %ts err=%[fc_err_str] ssl=%[ssl_fc_err_str] %sslv %sslc"
    error-log-format "%ci err=%[fc_err_str] ssl=%[ssl_fc_err_str]"
    bind 127.0.0.1:{port} ssl crt {site.bundle("ec")} crt {site.bundle("rsa")}
    http-request return status 200 content-type text/plain file {big} if {{ path /big }}
    http-request return status 200 content-type text/plain file {body}
""")
        haproxy = self.start([HAPROXY, "-W", "-db", "-f", file], port, env=env)
        haproxy.wait_log("Loading success")
        return haproxy

    def worker(self, haproxy):
        return children(haproxy.pid)

    def stop(self, haproxy):
        # The master hands the signal on to its worker and ends with the worker's status; while it re-executes
        # itself the signal ends the master at once.
        self.assertIn(haproxy.stop(), (0, 128 + signal.SIGTERM, -signal.SIGTERM))
        self.assertNotRegex(haproxy.log(), "code 139|SIGSEGV")

    def test_every_client_version_and_key(self):
        haproxy = self.serve()
        self.check_all_clients(haproxy.port, self.body.decode().strip())
        self.stop(haproxy)

    def test_many_requests_on_one_connection(self):
        haproxy = self.serve()
        for version in ("1.2", "1.3"):
            with self.proves(version, records=50):
                url = f"https://localhost:{haproxy.port}/big"
                done = subprocess.run(
                    ["curl", "-sS", "--fail", "--cacert", self.site.ca, "--http1.1", "--connect-to",
                     f"localhost::127.0.0.1:{haproxy.port}", f"--tlsv{version}", "--tls-max", version, *[url] * 50],
                    capture_output=True, env=CLIENT_ENV, timeout=60, check=True)
                self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(BIG * 50).digest())
        self.stop(haproxy)

    def test_reload_under_load_fails_no_connection(self):
        haproxy, before = self.serve(), self.site.signatures()

        def reload(_):
            old, asked = set(children(haproxy.pid)), 0.0

            def alone():
                # The master executes itself anew at a reload, and a signal that comes too early for it is lost.
                nonlocal asked
                now = set(children(haproxy.pid))
                if not now - old and time.monotonic() - asked > 5:
                    asked = time.monotonic()
                    haproxy.send(signal.SIGUSR2)
                return now and not old & now
            wait_until("the new worker alone", alone)
        good = self.check_reload(haproxy.port, reload)
        self.assertGreaterEqual(self.site.signatures() - before, good)
        self.stop(haproxy)

    def test_dead_worker_is_not_survived_but_a_restart_is_clean(self):
        # HAProxy's master ends with its worker; that is its rule, and systemd starts it anew.
        haproxy = self.serve()
        worker, = children(haproxy.pid)
        os.kill(worker, signal.SIGKILL)
        self.assertNotEqual(haproxy.process.wait(60), 0)
        again = self.serve()
        with self.proves("after the restart"):
            self.assertEqual(curl(self.site, again.port, "1.3"), self.body)
        self.stop(again)

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        haproxy = self.serve(env=server.environment)
        self.check_lost_token(server, self.talk(haproxy.port))
        self.stop(haproxy)

    def test_certificate_replaced_at_run_time(self):
        haproxy = self.serve()
        bundle = self.site.bundle("ec")
        control = str(self.site.base / "haproxy.sock")
        def ask(text):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(control)
                s.sendall(text.encode())
                s.shutdown(socket.SHUT_WR)
                answer = b""
                while more := s.recv(65536):
                    answer += more
                return answer.decode()
        text = re.sub(r"\n\n+", "\n", open(bundle).read()).strip()
        self.assertIn("Transaction created", ask(f"set ssl cert {bundle} <<\n{text}\n\n"))
        self.assertIn("Success", ask(f"commit ssl cert {bundle}\n"))
        with self.proves("with the new certificate"):
            self.assertEqual(curl(self.site, haproxy.port, "1.3"), self.body)
        self.stop(haproxy)


class Asynchronous(Blocking):
    mode = "ssl-mode-async"


if __name__ == "__main__":
    main()
