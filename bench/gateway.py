#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares sealane-gateway with its peers: starts each with the settings in bench/peers/, sends the same load through them in
turn with bench-gateway, and reports rates, delays and the processor time that each of them took per message. Peers: Postfix and
Exim (where root has them; $EXIM names another program), Haraka (npm install Haraka; $HARAKA names bin/haraka).

A ratio is always of two measurements of the same round (A B A B ...), and the median of the rounds is given with its spread.
What was sent is compared when it arrives: a line that says lost or twice is not zero is a failure."""
import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
SIGN_DELAY = 16  # field of struct count_file behind its magic, tests/modules/count.h
TICKS = os.sysconf("SC_CLK_TCK")

WAYS = {"full": [], "resumed": ["--resume"], "ten": ["--messages", "10"]}  # how connections are used
SIZES = {"4k": 4096, "64k": 65536, "100k": 102400, "1m": 1048576}
OTHERS = ["postfix-proxy", "postfix-queue", "exim", "haraka"]
# All of them by name: options of bench-gateway load, and the subjects that are compared with sealane.
SCENARIOS = {f"{way}-{size}": (["--size", str(count), *options], OTHERS if (way, size) in (("full", "4k"), ("ten", "64k")) else OTHERS[:1])
             for way, options in WAYS.items() for size, count in SIZES.items()}
# Against itself with records = "libssl": what taking connections over brings; and without TLS: more than that it cannot be.
SCENARIOS["records-1m"] = (["--size", "1048576", "--messages", "100"], ["sealane-libssl", "sealane-clear"])
SCENARIOS["records-4k"] = (["--size", "4096", "--messages", "100"], ["sealane-libssl", "sealane-clear"])
USUAL = ["full-4k", "resumed-4k", "ten-64k", "ten-4k", "ten-1m", "records-1m", "records-4k"]


def die(text):
    sys.exit(f"bench-gateway: {text}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process):
    for _ in range(500):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    die(f"nobody listens on port {port}")


def processor_seconds(root):
    """Of a process and all that it has started: the living ones, and what the root's children have left behind."""
    parents, times = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(entry)] = int(fields[1])
        times[int(entry)] = [int(value) for value in fields[11:15]]  # utime stime cutime cstime
    family = {root}
    grown = True
    while grown:
        grown = False
        for pid, parent in parents.items():
            if parent in family and pid not in family:
                family.add(pid)
                grown = True
    return sum(sum(times[pid]) for pid in family if pid in times) / TICKS


def resident_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


class Subject:
    def __init__(self, name, folder):
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.process = None

    def start(self, command, **kwargs):
        self.log = open(self.folder / "log.txt", "w", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, **kwargs)
        wait_for_port(self.port, self.process)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Sealane(Subject):
    def __init__(self, folder, bench, name="sealane", key=None, chain=None, tls="encrypt", extra="", env=None):
        super().__init__(name, folder)
        (self.folder / "gateway.conf").write_text(f'''hostname = "sealane.bench"
{extra}
records = "{"libssl" if name == "sealane-libssl" else "engine"}"
receive "in" {{
  address = "127.0.0.1"
  port = {self.port}
  limits {{ connections_per_address = 30000 connections = 30000 handshakes_per_second = 100000 }}
  certificate {{ chain = "{chain or bench.chain}" key = "{key or bench.key}" }}
}}
route "out" {{ next_hop = "127.0.0.1:{bench.sink_port}" tls = "{"none" if name == "sealane-clear" else tls}" messages = 1000 }}
''')
        self.start([bench.program("gateway/sealane-gateway"), "run", "-c", str(self.folder / "gateway.conf")],
                   env=dict(os.environ, **(env or {})))


class Peer(Subject):
    """Somebody else's program, with the settings in bench/peers/NAME."""

    def __init__(self, folder, bench, name):
        super().__init__(name, folder)
        for part in [self.folder, *self.folder.parents][:3]:
            os.chmod(part, 0o755)
        for file in (path for path in (TOP / "bench/peers" / name).rglob("*") if path.is_file()):
            text = file.read_text()
            for key, value in (("DIR", self.folder), ("PORT", self.port), ("SINK", bench.sink_port), ("KEY", bench.key),
                               ("CHAIN", bench.chain)):
                text = text.replace(f"@{key}@", str(value))
            to = self.folder / "etc" / file.relative_to(TOP / "bench/peers" / name)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(text)


class Haraka(Peer):
    def __init__(self, folder, bench, name):
        super().__init__(folder, bench, name)
        # As `haraka -i` does: without it no connection is served.
        shutil.copy(pathlib.Path(haraka()).resolve().parent.parent / "config/connection.ini", self.folder / "etc/config")
        self.start([haraka(), "-c", str(self.folder / "etc")])


class Exim(Peer):
    def __init__(self, folder, bench, name):
        super().__init__(folder, bench, name)
        key = shutil.copy(bench.key, self.folder / "key.pem")
        for part in ("spool", "log"):
            (self.folder / part).mkdir()
            shutil.chown(self.folder / part, "mail", "mail")
        shutil.chown(key, "mail", "mail")
        self.start([exim(), "-bdf", "-C", str(self.folder / "etc/exim.conf")])


class Postfix(Peer):
    """Needs root, as Postfix does."""

    def __init__(self, folder, bench, name):
        super().__init__(folder, bench, name)
        for part in ("queue", "data", "log"):
            (self.folder / part).mkdir()
        shutil.chown(self.folder / "data", "postfix", "postfix")
        etc = str(self.folder / "etc")
        subprocess.run(["postfix", "-c", etc, "check"], check=False, capture_output=True)
        self.start(["/usr/lib/postfix/sbin/master", "-c", etc, "-d"])


PEERS = {"postfix-proxy": Postfix, "postfix-queue": Postfix, "exim": Exim, "haraka": Haraka}


def exim():
    return os.environ.get("EXIM") or shutil.which("exim4")


def haraka():
    return os.environ.get("HARAKA") or shutil.which("haraka")


def find_peers():
    root = os.geteuid() == 0
    there = {"postfix-proxy": os.path.exists("/usr/lib/postfix/sbin/master") and root, "exim": exim() and root,
             "haraka": haraka()}
    there["postfix-queue"] = there["postfix-proxy"]
    return [name for name in PEERS if there[name]]


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-gateway-"))
        self.ledger = self.folder / "ledger"
        self.key, self.chain = self.folder / "key.pem", self.folder / "chain.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", *options.key_type, "-nodes", "-days", "30", "-subj", "/CN=bench",
                        "-addext", "subjectAltName=DNS:bench", "-keyout", self.key, "-out", self.chain], check=True,
                       capture_output=True)
        self.sink = subprocess.Popen([self.program("bench/bench-gateway"), "sink", "--ledger", self.ledger, "--chain",
                                      self.chain, "--key", self.key], stdout=subprocess.PIPE, text=True)
        self.sink_port = int(self.sink.stdout.readline().split()[1])
        self.subjects = {}

    def program(self, name):
        return str(TOP / "build/release" / name)

    def subject(self, name):
        if name not in self.subjects:
            self.subjects[name] = (Sealane(self.folder, self, name, **self.token()) if name.startswith("sealane")
                                   else PEERS[name](self.folder, self, name))
        return self.subjects[name]

    def token(self):
        """What the gateway needs to have its key in the token of --token; the peers have theirs in a file."""
        folder = self.options.token
        if not folder:
            return {}
        kind = "rsa" if self.options.rsa else "ec"
        return {"key": f"{folder}/{kind}.key", "chain": f"{folder}/{kind}.pem",
                "extra": f'openssl_conf = "{folder}/openssl.cnf"', "env": {"SOFTHSM2_CONF": f"{folder}/softhsm2.conf"}}

    def load(self, subject, arguments, seconds=None, senders=None):
        watched = {"cpu_ms": subject.process.pid, "sink_cpu_ms": self.sink.pid}
        before = {name: processor_seconds(pid) for name, pid in watched.items()}
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([self.program("bench/bench-gateway"), "load", "--ledger", self.ledger, "--port",
                               str(subject.port), "--senders", str(senders or self.options.senders), "--seconds",
                               str(seconds or self.options.seconds), *arguments,
                               *(["--clear"] if subject.name == "sealane-clear" else [])], capture_output=True, text=True,
                              check=False)
        if not done.stdout:
            die(f"{subject.name}: {done.stderr}")
        result = json.loads(done.stdout)
        if not result["messages"]:
            die(f"{subject.name}: no message went through: {result}")
        each = 1000 / result["messages"]
        for name, pid in watched.items():
            result[name] = (processor_seconds(pid) - before[name]) * each
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        result["load_cpu_ms"] = (used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime) * each
        if result["corrupted"] or result["twice"] or (result["lost"] and subject.name != "postfix-queue"):
            print(f"{subject.name}: NOT ALL WELL: {result}", file=sys.stderr)
            self.failed = True
        return result

    failed = False

    def close(self):
        for subject in self.subjects.values():
            subject.stop()
        self.sink.kill()
        os.environ.get("KEEP") or shutil.rmtree(self.folder, ignore_errors=True)


FIGURES = ("rate", "p50_ms", "p99_ms", "p999_ms", "cpu_ms", "load_cpu_ms", "sink_cpu_ms")


def spread(values):
    values = sorted(values)
    return statistics.median(values), values[0], values[-1]


def compare(bench, name, rows):
    arguments, peers = SCENARIOS[name]
    peers = [peer for peer in peers if peer in bench.options.peers or peer.startswith("sealane-")]
    rounds = {subject: [] for subject in ["sealane", *peers]}
    for subject in rounds:  # once to warm up
        bench.load(bench.subject(subject), arguments, seconds=1)
    for _ in range(bench.options.rounds):
        for subject in rounds:
            rounds[subject].append(bench.load(bench.subject(subject), arguments))
    print(f"\n{name}: {' '.join(arguments)}, {bench.options.senders} senders, {bench.options.rounds} rounds of "
          f"{bench.options.seconds} s")
    print(f"{'':16} {'messages/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>9} {'CPU ms':>8} {'sender':>7} {'sink':>6}   "
          f"compared (CPU: of one message, of the subject and of what measures it)")
    for subject, results in rounds.items():
        middle = {key: statistics.median(r[key] for r in results) for key in FIGURES}
        text = ""
        row = {"scenario": name, "subject": subject, **middle}
        if subject != "sealane":
            dearer = spread(a["cpu_ms"] / max(b["cpu_ms"], 1e-6) for a, b in zip(rounds["sealane"], results))
            faster = spread(a["rate"] / b["rate"] for a, b in zip(rounds["sealane"], results))
            cheaper = spread(b["cpu_ms"] / max(a["cpu_ms"], 1e-6) for a, b in zip(rounds["sealane"], results))
            text = (f"sealane {faster[0]:.2f} x its rate ({faster[1]:.2f} to {faster[2]:.2f}), "
                    f"{dearer[0]:.2f} of its CPU ({dearer[1]:.2f} to {dearer[2]:.2f})")
            row.update(rate_ratio=faster, cpu_ratio=cheaper)
        print(f"{subject:16} {middle['rate']:11.1f} {middle['p50_ms']:8.2f} {middle['p99_ms']:8.2f} {middle['p999_ms']:9.2f} "
              f"{middle['cpu_ms']:8.3f} {middle['load_cpu_ms']:7.3f} {middle['sink_cpu_ms']:6.3f}   {text}", flush=True)
        rows.append(row)


def half_load(bench, rows):
    """p99 of the gateway at half of what it can do, beside the p50 of Postfix proxying at full load and at that rate."""
    full = bench.load(bench.subject("sealane"), ["--size", "4096"])
    postfix = bench.load(bench.subject("postfix-proxy"), ["--size", "4096"])
    half = bench.load(bench.subject("sealane"), ["--size", "4096", "--rate", str(full["rate"] / 2)], senders=500)
    postfix_half = bench.load(bench.subject("postfix-proxy"), ["--size", "4096", "--rate", str(postfix["rate"] / 2)],
                              senders=500)
    print(f"\nhalf load: sealane {half['rate']:.0f}/s, p99 {half['p99_ms']:.2f} ms; postfix-proxy at its half "
          f"({postfix_half['rate']:.0f}/s) p50 {postfix_half['p50_ms']:.2f} ms, at full load p50 {postfix['p50_ms']:.2f} ms")
    rows.append({"scenario": "half-load", "sealane_p99_ms": half["p99_ms"], "postfix_half_p50_ms": postfix_half["p50_ms"],
                 "postfix_full_p50_ms": postfix["p50_ms"]})


def slow_token(bench, rows):
    """Messages on connections that are there, while others make handshakes: with a token as it is, and one that takes 20 ms."""
    orders = bench.folder / "token.count"
    token = bench.token()
    module = next(line.split("=")[1].strip() for line in pathlib.Path(bench.options.token, "openssl.cnf").read_text().splitlines()
                  if line.startswith("pkcs11-module-path"))
    token["env"].update(PKCS11_PROVIDER_MODULE=bench.program("tests/modules/sealane-count.so"), SEALANE_COUNT_MODULE=module,
                        SEALANE_COUNT_FILE=str(orders))
    subject = bench.subjects["slow"] = Sealane(bench.folder, bench, name="slow", **token)
    rates, waits = {0: [], 20: []}, {0: [], 20: []}
    for _ in range(bench.options.rounds):
        for delay, found in rates.items():
            with open(orders, "r+b") as file:
                file.seek(8 + 8 * SIGN_DELAY)
                file.write(struct.pack("=Q", delay * 1000))
            handshakes = subprocess.Popen([bench.program("bench/bench-gateway"), "load", "--ledger", bench.ledger, "--port",
                                           str(subject.port), "--senders", "100", "--rate", "50", "--size", "4096", "--seconds",
                                           str(bench.options.seconds)], stdout=subprocess.PIPE, text=True)
            found.append(bench.load(subject, ["--size", "4096", "--messages", "1000000"], senders=16)["rate"])
            waits[delay].append(json.loads(handshakes.communicate()[0])["p50_ms"])
    ratio = spread(slow / fast for slow, fast in zip(rates[20], rates[0]))
    print(f"\nslow token: {ratio[0]:.2f} of the rate on established connections when signatures take 20 ms ({ratio[1]:.2f} to "
          f"{ratio[2]:.2f}; {statistics.median(rates[20]):.0f}/s); a new connection's message then takes "
          f"{statistics.median(waits[20]):.1f} ms instead of {statistics.median(waits[0]):.1f}")
    rows.append({"scenario": "slow-token", "rate_ratio": ratio, "p50_ms": statistics.median(waits[20])})


def idle(bench, rows, name="sealane"):
    """The rate with many idle connections open, beside the rate with none; and what one takes in memory."""
    count = bench.options.idle
    ratios, empty, most = [], None, 0
    sealane = bench.subject(name)
    for _ in range(bench.options.rounds):
        without = bench.load(sealane, ["--size", "4096", "--messages", "10"])
        # Once only: what the first round's connections have given back, the allocator keeps.
        empty = empty or resident_kb(sealane.process.pid)
        load = subprocess.Popen([bench.program("bench/bench-gateway"), "load", "--ledger", bench.ledger, "--port",
                                 str(sealane.port), "--senders", str(bench.options.senders), "--seconds",
                                 str(bench.options.seconds), "--size", "4096", "--messages", "10", "--idle", str(count)],
                                stdout=subprocess.PIPE, text=True)
        while load.poll() is None:
            most = max(most, resident_kb(sealane.process.pid))
            time.sleep(0.2)
        with_idle = json.loads(load.stdout.read())
        ratios.append(with_idle["rate"] / without["rate"])
    middle = spread(ratios)
    print(f"\n{name}, {count} idle connections under TLS: {middle[0]:.2f} of the rate without ({middle[1]:.2f} to {middle[2]:.2f}), "
          f"{(most - empty) / count:.1f} KB each, {most / 1024:.0f} MB in all, {with_idle['idle']} still open at the end")
    rows.append({"scenario": "idle", "subject": name, "connections": count, "rate_ratio": middle, "kb_each": (most - empty) / count, "mb_in_all": most / 1024})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--senders", type=int, default=32)
    parser.add_argument("--idle", type=int, default=5000, help="idle connections; 0: leave it out")
    parser.add_argument("--rsa", action="store_true", help="RSA-2048 instead of P-256")
    parser.add_argument("--token", metavar="DIR", help="the gateway's key is in the token that tests/support/make_token made in DIR")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}, half-load, idle, idle-libssl, slow-token (with --token); without any: "
                        f"{', '.join(USUAL)} and what can be done of the others")
    options = parser.parse_args()
    for name in options.scenarios:
        if name not in (*SCENARIOS, "half-load", "idle", "idle-libssl", "slow-token"):
            parser.error(f"there is no scenario {name}")
    options.key_type = ["rsa:2048"] if options.rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    options.peers = find_peers()
    postfix = "postfix-proxy" in options.peers
    print(f"peers: {', '.join(options.peers) or 'none'}; left out, as they are not installed or need root: "
          f"{', '.join(name for name in PEERS if name not in options.peers) or 'none'}")
    bench, rows = Bench(options), []
    try:
        for name in options.scenarios or [*USUAL, *(["half-load"] if postfix else []), *(["idle"] if options.idle else []),
                                            *(["slow-token"] if options.token else [])]:
            if name == "half-load":
                half_load(bench, rows)
            elif name == "idle":
                idle(bench, rows)
            elif name == "slow-token":
                slow_token(bench, rows)
            elif name == "idle-libssl":
                idle(bench, rows, "sealane-libssl")
            else:
                compare(bench, name, rows)
    finally:
        bench.close()
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
