#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What asynchronous signing gains in an unmodified HAProxy: one thread, and a token that takes its time.

Each round starts HAProxy with ssl-mode-async and without, in turn, on a SoftHSM2 token behind tests/modules/count.c, which makes
every signature take --delay milliseconds longer, as a network HSM does. It measures

  rate      full TLS handshakes per second, from --clients connections that are always under way
  latency   of small requests on one connection that is already there, while those handshakes are going on, and on the idle
            proxy

and says the ratios: median over the rounds, with least and greatest.

The clients stand for other machines. So HAProxy has the first processor for itself and they have the others (--shared leaves that
to the kernel: the idle proxy and its only client then hand one processor to each other and nobody is woken from idleness, which no
client across a network has), and those that make the load run at the lowest priority.

Two limits are measured beside it. For the rate: sessions / delay (here 16 / 20 ms = 800/s) or the CPU, whichever comes first. For
the latency: HAProxy with a key in a file, no token and no provider, that is given the rate of handshakes that the token has just
made: what is left there is what handshakes cost by themselves.
"""
import argparse
import json
import os
import re
import shutil
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIGN_DELAY = 8 + 8 * 16  # offset of sign_delay_us in struct count_file (tests/modules/count.h)
SIGNATURES = 8 + 8 * 3   # rsa_pkcs, rsa_pss, ecdsa, other

# One client process: `connections` handshakes under way at a time, or begun at a given rate if that is less, without Python's lock
# in the way of the others.
CLIENT = """
import selectors, socket, ssl, sys, time
port, ca, connections, seconds, rate = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
context = ssl.create_default_context(cafile=ca)
select, done, failed, under_way, begun = selectors.DefaultSelector(), 0, 0, 0, 0
def begin():
    global under_way, begun
    begun += 1
    s = socket.socket()
    s.connect(("127.0.0.1", port))
    s.setblocking(False)
    under_way += 1
    step(context.wrap_socket(s, server_hostname="localhost", do_handshake_on_connect=False), 0)
def step(s, mask):
    global done, failed, under_way
    if mask:
        select.unregister(s)
    try:
        s.do_handshake()
        done += 1
    except ssl.SSLWantReadError:
        select.register(s, selectors.EVENT_READ)
        return
    except ssl.SSLWantWriteError:
        select.register(s, selectors.EVENT_WRITE)
        return
    except OSError:
        failed += 1
    under_way -= 1
    s.close()
start = time.monotonic()
while time.monotonic() - start < seconds:
    while under_way < connections and begun < (time.monotonic() - start) * rate:
        begin()
    for key, mask in select.select(1 if under_way == connections else max(0, begun / rate - (time.monotonic() - start))):
        step(key.fileobj, mask)
print(done / (time.monotonic() - start), failed)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    def __init__(self, options):
        self.dir = Path(tempfile.mkdtemp(prefix="sealane-bench-"))
        made = subprocess.run([TOP / "tests/support/make_token", "--provider", options.build / "provider/sealane.so", self.dir],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            sys.exit(f"haproxy_async: {made.stderr or made.stdout}")
        self.bundle(options.key)
        self.key_in_file(options.key)
        settings = (self.dir / "openssl.cnf").read_text()
        (self.dir / "openssl.cnf").write_text(settings.replace("pkcs11-module-path", f"sealane-sessions = {options.sessions}\npkcs11-module-path"))
        self.count = self.dir / "count"
        self.environment = dict(
            os.environ, OPENSSL_CONF=str(self.dir / "openssl.cnf"), SOFTHSM2_CONF=str(self.dir / "softhsm2.conf"),
            PKCS11_PROVIDER_MODULE=str(options.build / "tests/modules/sealane-count.so"), SEALANE_COUNT_FILE=str(self.count),
            SEALANE_COUNT_MODULE=re.search(r"pkcs11-module-path = (.*)", settings).group(1))
        self.plain = {k: v for k, v in os.environ.items() if k != "OPENSSL_CONF"}

    def bundle(self, name):
        (self.dir / f"{name}.bundle").write_text((self.dir / f"{name}.pem").read_text() + (self.dir / f"{name}.key").read_text())

    def key_in_file(self, kind):
        """A key of the same kind, in a file, with a certificate of the same CA."""
        new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        for command in (["req", "-new", *new, "-nodes", "-keyout", "file.key", "-subj", "/CN=localhost", "-out", "file.csr"],
                        ["x509", "-req", "-in", "file.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9",
                         "-extfile", "ca.cnf", "-extensions", "server", "-out", "file.pem"]):
            subprocess.run(["openssl", *command], cwd=self.dir, check=True, capture_output=True)
        self.bundle("file")

    def order_delay(self, milliseconds):
        with open(self.count, "r+b") as file:
            file.seek(SIGN_DELAY)
            file.write(struct.pack("=Q", int(milliseconds * 1000)))

    def signatures(self):
        return sum(struct.unpack_from("=4Q", self.count.read_bytes(), SIGNATURES))


class HAProxy:
    def __init__(self, site, options, key, asynchronous):
        self.port = free_port()
        file = site.dir / "haproxy.cfg"
        file.write_text(f"""
global
    nbthread 1
    maxconn 2000
    {"ssl-mode-async" if asynchronous else ""}
    insecure-fork-wanted
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
frontend tls
    bind 127.0.0.1:{self.port} ssl crt {site.dir}/{key}.bundle
    http-request return status 200 content-type text/plain string ok
""")
        self.process = subprocess.Popen(["haproxy", "-db", "-f", file], env=site.plain if key == "file" else site.environment,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        preexec_fn=lambda: os.sched_setaffinity(0, options.proxy_cpus))
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                sys.exit("haproxy_async: haproxy does not start")
            time.sleep(0.01)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Steady:
    """One TLS connection that asks again as soon as it has been answered, with a pause in between."""

    def __init__(self, port, ca):
        context = ssl.create_default_context(cafile=ca)
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=60), server_hostname="localhost")

    def ask(self):
        began = time.monotonic()
        self.socket.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"ok"):
            more = self.socket.recv(4096)
            if not more:
                sys.exit("haproxy_async: HAProxy closed the steady connection")
            answer += more
        return time.monotonic() - began

    def measure(self, until):
        times = []
        while not until():
            times.append(self.ask())
            time.sleep(0.005)
        return times


def percentile(times, share):
    return sorted(times)[int(len(times) * share)]


def stretch(site, options, key, asynchronous, rate=1e9):
    """One HAProxy: latency when idle, then rate and latency under load."""
    haproxy, ca = HAProxy(site, options, key, asynchronous), str(site.dir / "ca.pem")
    try:
        if key != "file":
            site.order_delay(options.delay)
        steady = Steady(haproxy.port, ca)
        steady.ask()
        end = time.monotonic() + min(1.0, options.seconds)
        idle = steady.measure(lambda: time.monotonic() > end)
        before = site.signatures()
        load = subprocess.Popen([sys.executable, "-c", CLIENT, str(haproxy.port), ca, str(options.clients), str(options.seconds), str(rate)],
                                env=site.plain, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.nice(19))
        busy = steady.measure(lambda: load.poll() is not None)
        done, failed = load.communicate()[0].split()
        signed = site.signatures() - before
        if int(failed) or (key != "file" and signed < float(done) * options.seconds * 0.9):
            sys.exit(f"haproxy_async: {failed} handshakes failed, {signed} signatures by the token")
        return {"rate": float(done), "idle": statistics.median(idle), "busy": statistics.median(busy),
                "busy_p99": percentile(busy, 0.99), "idle_p99": percentile(idle, 0.99)}
    finally:
        haproxy.stop()


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=TOP / "build/release")
    parser.add_argument("--key", choices=("ec", "rsa"), default="ec")
    parser.add_argument("--delay", type=float, default=20, help="milliseconds per signature (default 20)")
    parser.add_argument("--sessions", type=int, default=16, help="sessions of the token (default 16)")
    parser.add_argument("--clients", type=int, default=64, help="handshakes under way at a time (default 64)")
    parser.add_argument("--seconds", type=float, default=3, help="of load per stretch (default 3)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shared", action="store_true", help="let HAProxy and the clients run on any processor")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--check", action="store_true", help="exit status 1 if the rate is not 10 times, or the latency more than twice")
    options = parser.parse_args()
    options.build = options.build.resolve()
    if not shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"):
        sys.exit("haproxy_async: haproxy is not installed")
    os.environ["PATH"] += ":/usr/sbin"
    cpus = sorted(os.sched_getaffinity(0))
    options.shared = options.shared or len(cpus) == 1
    options.proxy_cpus = set(cpus if options.shared else cpus[:1])
    os.sched_setaffinity(0, cpus if options.shared else cpus[1:])
    site = Site(options)
    try:
        rounds = []
        for n in range(options.rounds):
            row = {"blocking": stretch(site, options, options.key, False), "async": stretch(site, options, options.key, True)}
            row["file"] = stretch(site, options, "file", True, row["async"]["rate"])
            rounds.append(row)
            print(f"round {n + 1}: blocking {row['blocking']['rate']:.0f}/s, async {row['async']['rate']:.0f}/s; a request on a connection that is there: "
                  f"idle {row['async']['idle'] * 1e3:.2f} ms, under load {row['async']['busy'] * 1e3:.2f} ms (blocking {row['blocking']['busy'] * 1e3:.1f} ms; "
                  f"key in a file {row['file']['idle'] * 1e3:.2f} and {row['file']['busy'] * 1e3:.2f} ms at {row['file']['rate']:.0f}/s)",
                  flush=True)
    finally:
        shutil.rmtree(site.dir, ignore_errors=True)
    result = {
        "haproxy": subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout.splitlines()[0],
        "openssl": subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.strip(),
        "delay_ms": options.delay, "sessions": options.sessions, "clients": options.clients, "key": options.key, "shared": options.shared,
        "rate_ratio": spread([r["async"]["rate"] / r["blocking"]["rate"] for r in rounds]),
        "latency_ratio": spread([r["async"]["busy"] / r["async"]["idle"] for r in rounds]),
        "latency_ratio_file": spread([r["file"]["busy"] / r["file"]["idle"] for r in rounds]),
        "latency_p99_ms": spread([r["async"]["busy_p99"] * 1e3 for r in rounds]),
        "latency_p99_ms_file": spread([r["file"]["busy_p99"] * 1e3 for r in rounds]),
        "latency_ratio_blocking": spread([r["blocking"]["busy"] / r["blocking"]["idle"] for r in rounds]), "rounds": rounds}
    for name, what in (("rate_ratio", "handshakes per second, async : blocking"), ("latency_ratio", "latency under load : idle, async"),
                       ("latency_ratio_file", "latency under load : idle, key in a file"),
                       ("latency_ratio_blocking", "latency under load : idle, blocking"),
                       ("latency_p99_ms", "99th percentile under load, ms, async"),
                       ("latency_p99_ms_file", "the same, key in a file")):
        print(f"{what:42} {result[name]['median']:8.2f}   ({result[name]['least']:.2f} - {result[name]['greatest']:.2f})")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    if options.check and (result["rate_ratio"]["median"] < 10 or result["latency_ratio"]["median"] > 2):
        sys.exit(1)


if __name__ == "__main__":
    main()
