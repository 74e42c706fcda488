# SPDX-License-Identifier: Apache-2.0
"""What the tests of real daemons share: a token that the daemon's user may use, the daemon as a child process, clients
that are not ours, and the proof of who signed and who sealed.

Proof. Between the provider and SoftHSM2 stands tests/modules/count.c, which counts what the token was asked for, and
between libcrypto and the provider tests/modules/witness.c, which tells how many records the engine has sealed and
opened in all processes of the daemon. Neither is in the clients: they run with the system's openssl.cnf.

SEALANE_BASELINE=1 runs the same tests with ordinary key files and without the provider: what the daemon does by itself.

Nothing waits for a time to pass; PATIENCE only ends a test whose event never comes.
"""
import os
import pwd
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

TOP = Path(__file__).resolve().parents[2]
sys.path.append(str(TOP / "tests/support"))
from ports import free_port  # noqa: E402 (of the tests of all rooms)
PROVIDER, COUNT, WITNESS = (os.environ.get(name) for name in ("SEALANE_PROVIDER", "SEALANE_COUNT", "SEALANE_WITNESS"))
PATIENCE = int(os.environ.get("SEALANE_PATIENCE", "60"))
SKIPPED = 77
BASELINE = "SEALANE_BASELINE" in os.environ

OURS = ("OPENSSL_CONF", "SOFTHSM2_CONF", "PKCS11_PROVIDER_MODULE", "LD_PRELOAD")
CLIENT_ENV = {k: v for k, v in os.environ.items() if k not in OURS and not k.startswith("SEALANE_")}
# Daemons live in /usr/sbin, which is not in every user's PATH.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])


def program(*names):
    """Path of the first of these programs that is installed; ends the test program as skipped if none is."""
    for name in names:
        found = shutil.which(name, path=SEARCH)
        if found:
            return found
    print(f"skipped: {' or '.join(names)} is not installed (scripts/test-daemons installs it)")
    sys.exit(SKIPPED)


def wait_until(what, condition):
    """Waits until `condition` returns something true, and returns that; `what` is for the failure."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"never came: {what}")


def children(pid):
    """Process ids of the children of `pid`."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def version_of(argv):
    done = subprocess.run(argv, capture_output=True, text=True, env=CLIENT_ENV, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


# ---- The token ----

COUNT_FIELDS = ("logins", "sessions", "sign_inits", "rsa_pkcs", "rsa_pss", "ecdsa", "other")
ROW = struct.Struct("=4Q")  # struct witness_row
WITNESS_ROWS = 1023


class Site:
    """A folder with a SoftHSM2 token, certificates and openssl.cnf, for a daemon that runs as `user`.

    As root the token's files are given to that user, as an administrator would, while PIN and everything else stay
    root's: a daemon reads them before it gives its privileges up. Anybody else runs the daemon as himself.
    """

    def __init__(self, user=None):
        self.base = Path(tempfile.mkdtemp(prefix="sealane-daemon-"))
        self.dir = self.base / "token"
        made = subprocess.run([TOP / "tests/support/make_token", "--provider", PROVIDER, self.dir], env=CLIENT_ENV,
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise RuntimeError(made.stdout + made.stderr)
        self.module = re.search(r"pkcs11-module-path = (.*)", (self.dir / "openssl.cnf").read_text()).group(1)
        self.pin = (self.dir / "pin").read_text().strip()
        self.ca = str(self.dir / "ca.pem")
        self.counters, self.witnessed = self.base / "count", self.base / "witness"
        self.counters.write_bytes(b"")
        self.witnessed.write_bytes(bytes(ROW.size * (WITNESS_ROWS + 1)))
        self.configure("openssl.cnf", {f"module = {PROVIDER}": f"module = {WITNESS}"})
        self.environment = dict(
            CLIENT_ENV, PATH=SEARCH, OPENSSL_CONF=str(self.dir / "openssl.cnf"),
            SOFTHSM2_CONF=str(self.dir / "softhsm2.conf"), PKCS11_PROVIDER_MODULE=COUNT, SEALANE_COUNT_MODULE=self.module,
            SEALANE_COUNT_FILE=str(self.counters), SEALANE_WITNESS_PROVIDER=PROVIDER,
            SEALANE_WITNESS_FILE=str(self.witnessed))
        for file in (self.counters, self.witnessed):
            file.chmod(0o666)
        if BASELINE:
            self.make_baseline()
        # Not every release's package makes the user that its daemon is meant to run as.
        known = user in {entry.pw_name for entry in pwd.getpwall()}
        self.user = user if os.getuid() == 0 and known else None
        for folder in (self.base, self.dir):
            folder.chmod(0o755)
        for file in self.dir.glob("*.pem"):
            file.chmod(0o644)
        for name in ("openssl.cnf", "softhsm2.conf"):
            (self.dir / name).chmod(0o644)
        if self.user:
            self.give(self.dir / "tokens")

    def make_baseline(self):
        shutil.copy(self.software_certificate(), self.dir / "ec.pem")
        shutil.copy(self.dir / "software.key", self.dir / "ec.key")
        (self.dir / "software.pem").unlink()
        shutil.copy(self.software_certificate("rsa:2048"), self.dir / "rsa.pem")
        shutil.copy(self.dir / "software.key", self.dir / "rsa.key")
        self.environment = dict(CLIENT_ENV, PATH=SEARCH)

    def give(self, path):
        """Makes a file or a folder with all that is in it the daemon's user's, if that is somebody else."""
        if not self.user:
            return
        who = pwd.getpwnam(self.user)
        for place in [path, *(path.rglob("*") if path.is_dir() else ())]:
            os.chown(place, who.pw_uid, who.pw_gid)

    def configure(self, name, changes, source="openssl.cnf"):
        """A changed copy of openssl.cnf; its path."""
        text = (self.dir / source).read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.dir / name).write_text(text)
        (self.dir / name).chmod(0o644)
        return str(self.dir / name)

    def path(self, name):
        return str(self.dir / name)

    def bundle(self, kind, key=None, key_first=False):
        """Certificate and key in one file, as HAProxy and hitch have them; the key first, as Postfix's chain files have it."""
        file = self.dir / f"{kind}.bundle"
        parts = [(self.dir / f"{kind}.pem").read_text(), (self.dir / (key or f"{kind}.key")).read_text()]
        file.write_text("".join(reversed(parts) if key_first else parts))
        file.chmod(0o600)
        return str(file)

    def software_certificate(self, kind="ec"):
        """A certificate of the same CA whose key is a file, software.key, for peers that are not the subject of a test."""
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.dir, check=True, capture_output=True,
                           env=dict(CLIENT_ENV, OPENSSL_CONF=self.path("ca.cnf")))
        if not (self.dir / "software.pem").exists():
            openssl("req", "-new", "-newkey", kind, *(("-pkeyopt", "ec_paramgen_curve:P-256") if kind == "ec" else ()), "-nodes",
                    "-subj", "/CN=localhost", "-keyout", "software.key", "-out", "software.csr")
            openssl("x509", "-req", "-in", "software.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                    "-extfile", "ca.cnf", "-extensions", "server", "-out", "software.pem")
        return self.path("software.pem")

    def signed(self):
        """Signatures that the token has made, by mechanism."""
        data = self.counters.read_bytes()
        values = struct.unpack_from(f"={len(COUNT_FIELDS)}Q", data, 8) if len(data) >= 64 else (0,) * len(COUNT_FIELDS)
        return dict(zip(COUNT_FIELDS[3:], values[3:]))

    def logins(self):
        data = self.counters.read_bytes()
        return struct.unpack_from("=Q", data, 8)[0] if len(data) >= 16 else 0

    def signatures(self):
        return sum(self.signed().values())

    def records(self):
        """(sealed, opened, refused) by the engine, in all processes that have had the provider."""
        data = self.witnessed.read_bytes()
        rows = min(struct.unpack_from("=Q", data)[0], WITNESS_ROWS)
        columns = zip(*(ROW.unpack_from(data, ROW.size * (i + 1)) for i in range(rows)))
        return tuple(sum(column) for column in list(columns)[1:]) if rows else (0, 0, 0)

    def close(self):
        shutil.rmtree(self.base, ignore_errors=True)


class TokenServer:
    """The same token in another process, behind `p11-kit server`: one that can vanish and come back.

    `environment` makes a daemon reach the token through it.
    """

    def __init__(self, site):
        self.site, self.socket, self.process = site, site.base / "p11-kit.sock", None
        client = next(iter(sorted(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"))), None)
        if client is None:
            print("skipped: p11-kit-client.so is not installed (package p11-kit-modules)")
            sys.exit(SKIPPED)
        self.environment = {"SEALANE_COUNT_MODULE": str(client), "P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [program("p11-kit"), "server", "--foreground", "--provider", self.site.module, "--name", self.socket, "pkcs11:"],
            env=dict(CLIENT_ENV, SOFTHSM2_CONF=str(self.site.dir / "softhsm2.conf"), XDG_RUNTIME_DIR=str(self.site.base)),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until("the token server", self.socket.exists)
        self.socket.chmod(0o777)

    def kill(self):
        """Server and the process behind every connection die at once, as a token does that is pulled out."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.socket.unlink(missing_ok=True)


# ---- The daemon ----

class Daemon:
    """A daemon in the foreground, with its log; `port` is waited for. Its environment holds the site's settings."""

    def __init__(self, site, argv, port=None, env=None):
        self.site, self.port, self.argv = site, port, [str(a) for a in argv]
        self.log_path = Path(tempfile.mkstemp(prefix="log-", dir=site.base)[1])
        with open(self.log_path, "ab") as output:
            self.process = subprocess.Popen(self.argv, env=dict(site.environment, **(env or {})), cwd=site.base,
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        if port:
            try:
                self.wait_port(port)
            except AssertionError as e:
                self.kill()
                raise AssertionError(f"{e}\n{self.log()}") from None

    @property
    def pid(self):
        return self.process.pid

    def wait_port(self, port):
        def listening():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.argv[0]} has ended with status {self.process.returncode}")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_until(f"port {port} of {self.argv[0]}", listening)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, count=1):
        return wait_until(f"{pattern} in the log", lambda: len(re.findall(pattern, self.log())) >= count)

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        """Ends what is left of the daemon's process group, whatever state it is in."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()


# ---- Clients ----

HTTP = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
# With PSS goes PKCS#1: HAProxy's choice between its certificates knows RSA by the latter alone. PSS comes first and is used.
SIGNATURES = {"ec": "ECDSA+SHA256", "rsa": "RSA-PSS+SHA256:RSA+SHA256"}
GNUTLS = {"ec": "-SIGN-ALL:+SIGN-ECDSA-SHA256:+SIGN-ECDSA-SECP256R1-SHA256", "rsa": "-SIGN-ALL:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256"}
# Which of the counters moves when that key signs a handshake as asked above.
COUNTER = {"ec": "ecdsa", "rsa": "rsa_pss"}


def run(argv, stdin=b"", env=None):
    """Status and output. The program's input stays open until it ends: at an end of input clients hang up, and some
    daemons then drop the answer."""
    reading, writing = os.pipe()
    try:
        os.write(writing, stdin)
        done = subprocess.run([str(a) for a in argv], stdin=reading, capture_output=True, env=env or CLIENT_ENV, timeout=PATIENCE,
                              check=False)
    finally:
        os.close(reading)
        os.close(writing)
    return done.returncode, done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def s_client(site, port, version, kind, *options, stdin=HTTP):
    """OpenSSL's client; its output."""
    flag = {"1.2": "-tls1_2", "1.3": "-tls1_3"}[version]
    status, out = run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-CAfile", site.ca,
                       "-verify_return_error", "-verify_hostname", "localhost", "-ign_eof", flag, "-sigalgs",
                       SIGNATURES[kind], *options], stdin)
    assert "Verify return code: 0 (ok)" in out, f"s_client {version} {kind}, status {status}\n{out}"
    assert f"TLSv{version}" in out, out
    return out


def gnutls_cli(site, port, version, kind, *options, stdin=HTTP):
    """GnuTLS's client: nothing of OpenSSL's is in it. Its output."""
    status, out = run(["gnutls-cli", "--x509cafile", site.ca, "--sni-hostname", "localhost", "--verify-hostname", "localhost",
                       "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}:{GNUTLS[kind]}", "--port", str(port), *options,
                       "127.0.0.1"], stdin)
    assert "Status: The certificate is trusted" in out, f"gnutls-cli {version} {kind}, status {status}\n{out}"
    assert f"(TLS{version}" in out, out
    return out


def curl(site, port, version, *options, path="/", scheme="https"):
    """(body, error text) of a request by curl."""
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", site.ca, "--connect-to", f"localhost::127.0.0.1:{port}",
         f"--tlsv{version}", "--tls-max", version, *map(str, options), f"{scheme}://localhost:{port}{path}"],
        capture_output=True, env=CLIENT_ENV, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"curl {version}: status {done.returncode}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def client_context(site, version=None):
    context = ssl.create_default_context(cafile=site.ca)
    if version:
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, "TLSv" + version.replace(".", "_"))
    return context


def fetch(port, context, request=HTTP):
    """One connection of its own: a full handshake, the request, all of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(request)
            answer = b""
            while True:
                more = secure.recv(65536)
                if not more:
                    return answer
                answer += more


class Storm:
    """Connections without end, each with a full handshake, from several threads, until it is stopped.

    `talk(context)` does one connection and returns whether the answer was right. `good` and `failures` tell what
    became of them.
    """

    def __init__(self, site, talk, threads=4):
        self.talk, self.good, self.in_a_row, self.failures, self.lock = talk, 0, 0, [], threading.Lock()
        self.ending, self.running, self.busy = threading.Event(), threading.Event(), 0
        self.running.set()
        contexts = [client_context(site, version) for version in ("1.2", "1.3")]
        self.threads = [threading.Thread(target=self._work, args=(contexts[i % 2],), daemon=True) for i in range(threads)]

    def _work(self, context):
        while not self.ending.is_set():
            self.running.wait()
            with self.lock:
                if not self.running.is_set():
                    continue
                self.busy += 1
            try:
                problem = None if self.talk(context) else "wrong answer"
            except OSError as e:
                problem = repr(e)
            with self.lock:
                self.busy -= 1
                if problem is None:
                    self.good += 1
                    self.in_a_row += 1
                else:
                    self.in_a_row = 0
                    self.failures.append(problem)

    def wait_more(self, count):
        """Waits for that many more connections that succeed."""
        target = self.good + count
        wait_until(f"{count} more good connections; failures: {self.failures[-3:]}", lambda: self.good >= target)

    def pause(self):
        """No new connection; returns when there is none."""
        with self.lock:
            self.running.clear()
        wait_until("quiet", lambda: self.busy == 0)

    def resume(self):
        self.running.set()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.ending.set()
        self.running.set()
        for thread in self.threads:
            thread.join(PATIENCE)

    def __exit__(self, *unused):
        self.stop()


class Backend:
    """What stands behind a TLS proxy: answers every request with the same body."""

    def __init__(self, body, context=None):
        self.context = context  # of TLS, if it speaks that
        self.answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(PATIENCE)
            request = b""
            try:
                if self.context:
                    connection = self.context.wrap_socket(connection, server_side=True)
                while b"\r\n\r\n" not in request:
                    more = connection.recv(65536)
                    if not more:
                        return
                    request += more
                connection.sendall(self.answer)
                if self.context:
                    connection.unwrap()
            except OSError:
                pass

    def close(self):
        self.listener.close()


# ---- The tests' base ----

class DaemonTest(unittest.TestCase):
    """Has a Site; what it starts is ended after the test, and its log shown if the test failed."""

    user = None
    body = b"served from behind the token\n"

    @classmethod
    def setUpClass(cls):
        cls.site = Site(cls.user)
        cls.addClassCleanup(cls.site.close)

    def start(self, argv, port=None, **kwargs):
        daemon = Daemon(self.site, argv, port, **kwargs)

        def end():
            result = self._outcome.result
            failed = any(getattr(case, "test_case", case) is self for case, _ in result.failures + result.errors)
            daemon.kill()
            if failed:
                print(f"---- log of {daemon.argv[0]}\n{daemon.log()[-6000:]}", file=sys.stderr)
        self.addCleanup(end)
        return daemon

    def check_reload(self, port, reload, times=3, lossless=True):
        """Reloads under load. `reload(n)` does the nth and returns when the new settings serve. Where the daemon by itself
        resets connections at a reload (lossless=False), all is well again after it."""
        with Storm(self.site, self.talk(port)) as storm:
            for n in range(times):
                storm.wait_more(20)
                reload(n)
                if not lossless:
                    wait_until("good connections after the reload", lambda: storm.in_a_row >= 60)
                    storm.pause()
                    storm.failures.clear()
                    storm.resume()
                storm.wait_more(20)
                storm.pause()
                self.assertEqual(storm.failures, [], f"reload {n + 1}")
                storm.resume()
            storm.stop()
        return storm.good

    def backend(self):
        backend = Backend(self.body)
        self.addCleanup(backend.close)
        return backend

    def demanding_context(self):
        """For a TLS server with a software key that wants a certificate of its client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.site.software_certificate(), self.site.path("software.key"))
        context.load_verify_locations(self.site.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def demanding_server(self):
        server = Backend(self.body, self.demanding_context())
        self.addCleanup(server.close)
        return server

    def talk(self, port):
        """For a Storm: one HTTP request over a connection of its own."""
        return lambda context: fetch(port, context).endswith(self.body)

    def token_server(self):
        server = TokenServer(self.site)
        self.addCleanup(server.kill)
        return server

    def check_lost_token(self, server, talk, threads=4):
        """The token vanishes under load and comes back: handshakes fail meanwhile, and only then."""
        with Storm(self.site, talk, threads) as storm:
            storm.wait_more(20)
            storm.pause()
            self.assertEqual(storm.failures, [])
            server.kill()
            storm.resume()
            wait_until("failing handshakes", lambda: len(storm.failures) >= 4)
            server.start()
            wait_until("all workers' recovery", lambda: storm.in_a_row >= 50)
            storm.pause()
            storm.failures.clear()
            storm.resume()
            storm.wait_more(60)
            storm.stop()
        self.assertEqual(storm.failures, [])

    def proves(self, what, kind=None, count=1, records=1):
        """A block in which the token signs exactly `count` times (with that kind of key), and the engine seals and opens
        at least so many records."""
        return Proof(self, what, kind, count, records)

    def check_all_clients(self, port, expect, stdin=HTTP, s_options=(), gnutls_options=(), web=True, kinds=("ec", "rsa")):
        """Both keys, both versions, three clients; each handshake is signed once, and by the token."""
        for version in ("1.2", "1.3"):
            for kind in kinds:
                with self.subTest(version=version, kind=kind):
                    with self.proves(f"s_client, TLS {version}, {kind}", kind):
                        self.assertIn(expect, s_client(self.site, port, version, kind, *s_options, stdin=stdin))
                    with self.proves(f"gnutls-cli, TLS {version}, {kind}", kind):
                        self.assertIn(expect, gnutls_cli(self.site, port, version, kind, *gnutls_options, stdin=stdin))
            if web:
                with self.subTest(version=version), self.proves(f"curl, TLS {version}"):
                    self.assertIn(expect, curl(self.site, port, version).decode())


class Proof:
    def __init__(self, test, what, kind, count, records):
        self.test, self.what, self.kind, self.count, self.least = test, what, kind, count, records

    def __enter__(self):
        self.signed, self.records = self.test.site.signed(), self.test.site.records()
        return self

    def __exit__(self, kind, *unused):
        if kind is not None or BASELINE:
            return
        site, test = self.test.site, self.test
        signed = {name: value - self.signed[name] for name, value in site.signed().items()}
        test.assertEqual(sum(signed.values()), self.count, f"{self.what}: signatures of the token: {signed}")
        if self.kind:
            test.assertEqual(signed[COUNTER[self.kind]], self.count, f"{self.what}: {signed}")
        # The witness looks every few milliseconds; what it saw can only be late, never too much.
        wait_until(f"{self.what}: records by the engine; {self.records} before, {site.records()} at the end",
                   lambda: all(now - before >= self.least for now, before in zip(site.records()[:2], self.records)))
        test.assertEqual(site.records()[2], self.records[2], f"{self.what}: records refused")


def main():
    for name, value in (("SEALANE_PROVIDER", PROVIDER), ("SEALANE_COUNT", COUNT), ("SEALANE_WITNESS", WITNESS)):
        if not value:
            sys.exit(f"{name} must name the file; ctest -L daemons sets it")
    unittest.main(verbosity=2, warnings="ignore")
