# SPDX-License-Identifier: Apache-2.0
"""Mail of all kinds through the gateway for a long time at a modest rate: nothing is lost, changed or doubled, and memory
and descriptors stay where they are.

Behaved senders, senders that break off wherever they are, readers and writers that are slow on both sides, next hops that
refuse and hang up, and a reload with changed settings every few minutes. Each message has a number from which its content
can be made again, so every byte that arrives is compared.

The end is judged against the middle: after a warm-up, memory may grow by what one hour of a real leak would exceed by far.
"""
import argparse
import base64
import json
import os
import random
import re
import signal
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from pathlib import Path

import support

PATIENCE = 300  # ends what hangs; a slow peer here takes seconds
RECEIVED = re.compile(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
NUMBER = re.compile(rb"X-Soak: (\d+) (\d+)\r\n")
SIZES = (300, 2000, 4096, 16000, 17000, 65536, 300000, 1 << 20)
SHARES = (20, 25, 25, 10, 8, 8, 3, 1)


def message(number, size):
    """Always the same for a number: lines of 76 bytes, some with dots in front."""
    text = base64.b64encode(random.Random(number).randbytes(size * 3 // 4)).decode()
    lines = [("." if i % 7 == 3 else "") + text[at:at + 76] for i, at in enumerate(range(0, len(text), 76))]
    return f"X-Soak: {number} {size}\r\nSubject: soak\r\n\r\n".encode() + "".join(line + "\r\n" for line in lines).encode()


def stuffed(content):
    return content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class Ledger:
    """What the senders were told and what has arrived."""

    def __init__(self):
        self.lock = threading.Lock()
        self.arrived = bytearray()  # of each number: how often
        self.counts = Counter()

    def begin(self):
        with self.lock:
            self.arrived.append(0)
            return len(self.arrived) - 1

    def arrive(self, number):
        with self.lock:
            self.counts["arrived"] += 1
            self.counts["twice"] += self.arrived[number] > 0
            self.arrived[number] = 1

    def answer(self, number, code):
        """The sender has its answer, so what was taken has arrived already. code None: it did not wait for one."""
        with self.lock:
            if code == 250:
                self.counts["answered"] += 1
                self.counts["lost"] += not self.arrived[number]
            elif code is not None:
                self.counts["refused"] += 1
                self.counts["refused but arrived"] += self.arrived[number]
            else:
                self.counts["left unanswered"] += 1


class Wire:
    """A blocking socket with lines and messages."""

    def __init__(self, s):
        s.settimeout(PATIENCE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.held = s, bytearray()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.held += data

    def until(self, mark):
        at = 0
        while (found := self.held.find(mark, at)) < 0:
            at = max(0, len(self.held) - len(mark))
            self.more()
        data = bytes(self.held[:found + len(mark)])
        del self.held[:found + len(mark)]
        return data

    def reply(self):
        while True:
            line = self.until(b"\r\n")
            if line[3:4] != b"-":
                return int(line[:3])

    def ask(self, command):
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def reset(self):
        """Gone at once, as a machine that loses its power is."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class Sink:
    """The next hop: compares what comes; now and then slow, refusing or gone."""

    def __init__(self, ledger, certificates, host):
        self.ledger = ledger
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates.path("hop.pem"), certificates.path("hop.key"))
        self.listener = socket.create_server((host, 0), backlog=200)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        wire = Wire(s)
        try:
            self.converse(wire)
        except (OSError, EOFError):
            pass
        finally:
            wire.socket.close()

    def converse(self, wire):
        wire.send(b"220 sink\r\n")
        while True:
            verb = wire.until(b"\r\n")[:4].upper()
            if verb == b"EHLO":
                tls = isinstance(wire.socket, ssl.SSLSocket)
                wire.send(b"250-sink\r\n250-PIPELINING\r\n250-SIZE 9999999\r\n" + (b"" if tls else b"250-STARTTLS\r\n") +
                          b"250 8BITMIME\r\n")
            elif verb == b"STAR":
                wire.send(b"220 go\r\n")
                wire.socket = self.context.wrap_socket(wire.socket, server_side=True)
            elif verb == b"DATA":
                self.take(wire, random.random())
            elif verb == b"QUIT":
                wire.send(b"221 bye\r\n")
                return
            else:
                wire.send(b"250 2.0.0 ok\r\n")

    def take(self, wire, mood):
        if mood < 0.01:
            wire.send(b"451 4.3.0 not now\r\n")
            return
        wire.send(b"354 go\r\n")
        if mood < 0.02:  # gone in the middle
            wire.more()
            raise EOFError
        if mood < 0.05:  # takes nothing for a while
            time.sleep(random.uniform(0.5, 5))
        content = wire.until(b"\r\n.\r\n")[:-3].replace(b"\r\n..", b"\r\n.")
        if mood < 0.06:
            wire.send(b"550 5.7.1 not this one\r\n")
            return
        self.judge(content)
        if mood < 0.09:
            time.sleep(random.uniform(0.5, 5))
        wire.send(b"250 2.0.0 taken\r\n")

    def judge(self, content):
        received = RECEIVED.match(content)
        body = content[received.end():] if received else content
        found = NUMBER.match(body)
        if not found or body != message(int(found[1]), int(found[2])):
            with self.ledger.lock:
                self.ledger.counts["corrupted"] += 1
        else:
            self.ledger.arrive(int(found[1]))


class Senders:
    KINDS = {"well behaved": 70, "breaks off": 14, "slow writer": 8, "slow reader": 8}

    def __init__(self, options, port, ledger, ca):
        self.address, self.ledger = (options.through, port), ledger
        self.token = options.token
        self.free = threading.Semaphore(options.senders)
        self.contexts = []
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=ca)
            context.maximum_version = version
            self.contexts.append(context)

    def begin(self):
        self.free.acquire()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        kind = random.choices(*zip(*self.KINDS.items()))[0]
        unsettled = []
        try:
            with socket.create_connection(self.address, timeout=PATIENCE) as s:
                self.send(Wire(s), kind, unsettled)
        except (OSError, EOFError) as e:
            with self.ledger.lock:
                self.ledger.counts["broken connections" if kind == "breaks off" else f"unexpected {type(e).__name__}"] += 1
        finally:
            for number in unsettled:
                self.ledger.answer(number, None)
            self.free.release()

    def send(self, wire, kind, unsettled):
        breaks = random.randrange(8) if kind == "breaks off" else None

        def here(place):
            if breaks == place:
                wire.reset()
                raise ConnectionAbortedError

        wire.reply()
        here(0)
        wire.ask("EHLO soak.test")
        wire.ask("STARTTLS")
        here(1)
        if breaks == 2:  # nonsense in the place of a ClientHello, or half of one
            wire.send(random.choice((b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")))
            here(2)
        context = random.choice(self.contexts)
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost" if self.token else "gateway.test")
        here(3)
        wire.ask("EHLO soak.test")
        for _ in range(random.choice((1, 1, 1, 2, 3, 10))):
            self.message(wire, kind, here, unsettled)
        wire.ask("QUIT")
        wire.socket.close()

    def message(self, wire, kind, here, unsettled):
        number, size = self.ledger.begin(), random.choices(SIZES, SHARES)[0]
        content = stuffed(message(number, size))
        unsettled.append(number)
        wire.send(b"MAIL FROM:<a@soak.test>\r\nRCPT TO:<b@soak.test>\r\nDATA\r\n")
        here(4)
        if kind == "slow reader":
            time.sleep(random.uniform(0.5, 5))
        codes = [wire.reply(), wire.reply(), wire.reply()]
        if codes[2] == 354:
            half = len(content) // 2
            if kind == "slow writer":
                for at in range(0, half, half // 5 + 1):
                    wire.send(content[at:min(half, at + half // 5 + 1)])
                    time.sleep(random.uniform(0.1, 1))
            else:
                wire.send(content[:half])
            here(5)
            wire.send(content[half:-3])
            here(6)
            wire.send(content[-3:])
            here(7)
            if kind == "slow reader":
                time.sleep(random.uniform(0.5, 5))
            code = wire.reply()
        else:
            code = codes[2]
        unsettled.remove(number)
        self.ledger.answer(number, code)


def look_at(pid):
    rollup = dict(re.findall(r"^(\w+): +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M))
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return {"rss_kb": int(rollup["Rss"]), "own_kb": int(rollup["Anonymous"]),
            "fds": len(os.listdir(f"/proc/{pid}/fd")), "threads": len(os.listdir(f"/proc/{pid}/task")),
            "cpu_s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")}


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.ledger = Ledger()
        self.certificates = support.Certificates(folder)
        self.sink = Sink(self.ledger, self.certificates, options.host)
        self.reloads = 0
        self.file = Path(folder) / "gateway.conf"
        self.gateway = support.Gateway(folder, self.settings())
        self.gateway.lines = deque(maxlen=1000)  # or its log would be what grows here
        self.senders = Senders(options, self.gateway.port, self.ledger, f"{options.token}/ca.pem" if options.token else self.certificates.ca)
        self.samples = []

    def settings(self):
        """Each reload finds other settings: kinds of certificate in turn, levels and limits."""
        kinds = [("ec", "rsa"), ("rsa",), ("ec",)][self.reloads % 3]
        folder = self.options.token or self.folder
        sections = "".join(f'certificate {{ chain = "{folder}/{kind}.pem" key = "{folder}/{kind}.key" }}\n' for kind in kinds)
        conf = f'openssl_conf = "{folder}/openssl.cnf"\n' if self.options.token else ""
        return (f'hostname = "gateway.test"\nlog = "json"\n{conf}'
                f'receive "in" {{ address = "{self.options.host}" port = {self.gateway.port if self.reloads else 0}\n'
                f'  limits {{ recipients = {100 + self.reloads} }}\n{sections} }}\n'
                f'route "out" {{ next_hop = "{self.options.through}:{self.sink.port}" '
                f'tls = "{"may" if self.reloads % 2 else "encrypt"}" messages = {20 + self.reloads % 5} }}\n')

    def reload(self):
        self.reloads += 1
        self.file.write_text(self.settings())
        self.gateway.process.send_signal(signal.SIGHUP)

    def sample(self, elapsed):
        now = {"minute": round(elapsed / 60, 2), **look_at(self.gateway.process.pid),
               "senders": self.options.senders - self.senders.free._value, **self.ledger.counts}
        self.samples.append(now)
        print(f"{elapsed / 60:6.1f} min  {now['rss_kb']} KB, its own {now['own_kb']} KB, {now['fds']} fds, "
              f"{now['threads']} threads, {now['cpu_s']:.0f} s of CPU; {dict(self.ledger.counts)}, {self.reloads} reloads", flush=True)

    def run(self):
        began = time.monotonic()
        end, reload_at, sample_at, due = began + self.options.minutes * 60, began + self.options.reload, began, began
        while (now := time.monotonic()) < end:
            if self.gateway.process.poll() is not None:
                return
            if now >= sample_at:
                self.sample(now - began)
                sample_at += self.options.sample
            if now >= reload_at:
                self.reload()
                reload_at += self.options.reload
            due += random.expovariate(self.options.rate)
            time.sleep(max(0.0, due - time.monotonic()))
            self.senders.begin()
        for _ in range(self.options.senders):  # all of them have come back
            self.senders.free.acquire(timeout=PATIENCE)
        time.sleep(15)  # next hops that are kept for another message end after 10 s, and so do closing connections
        self.sample(time.monotonic() - began)

    def verdict(self):
        """None, or what is wrong."""
        status = self.gateway.process.poll()
        if status is not None:
            return [f"the gateway ended by itself, status {status}"]
        status = self.gateway.stop()
        counts = self.ledger.counts
        wrong = [f"{counts[name]} {name}" for name in ("lost", "corrupted", "twice", "refused but arrived") if counts[name]]
        wrong += [f"{count} {name}" for name, count in counts.items() if name.startswith("unexpected")]
        if status != 0:
            wrong.append(f"exit status {status}")
        if counts["answered"] == 0:
            wrong.append("no mail went through")
        third = len(self.samples[:-1]) // 3
        if third >= 3:
            middle = statistics.median(s["own_kb"] for s in self.samples[third:2 * third])
            late = statistics.median(s["own_kb"] for s in self.samples[2 * third:-1])
            print(f"its own memory: {middle:.0f} KB in the middle third, {late:.0f} KB in the last")
            if late > middle * 1.05 + 512:
                wrong.append(f"memory grew from {middle:.0f} to {late:.0f} KB")
            quiet, first = self.samples[-1], self.samples[0]
            print(f"descriptors: {first['fds']} before, {quiet['fds']} after; at most {max(s['fds'] for s in self.samples)}")
            if quiet["fds"] > first["fds"] + 16:  # the token's sessions and workers have come meanwhile
                wrong.append(f"descriptors left open: {quiet['fds']}, {first['fds']} at the beginning")
        return wrong


def run(options):
    """What is wrong, and the soak itself."""
    with tempfile.TemporaryDirectory(prefix="sealane-soak-") as folder:
        soak = Soak(options, folder)
        soak.run()
        return soak.verdict(), soak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=4, help="connections per second")
    parser.add_argument("--senders", type=int, default=60, help="at once, at most")
    parser.add_argument("--reload", type=float, default=180, metavar="SECONDS", help="between two reloads")
    parser.add_argument("--sample", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--token", metavar="DIR", help="made by tests/support/make_token; without: keys in files")
    parser.add_argument("--json", metavar="FILE")
    parser.set_defaults(host="127.0.0.1", through="127.0.0.1")
    options = parser.parse_args()
    if options.token:
        options.token = os.path.abspath(options.token)
        os.environ["SOFTHSM2_CONF"] = f"{options.token}/softhsm2.conf"
    wrong, soak = run(options)
    if options.json:
        Path(options.json).write_text(json.dumps({"wrong": wrong, "counts": soak.ledger.counts, "reloads": soak.reloads,
                                                  "minutes": options.minutes, "rate": options.rate, "samples": soak.samples},
                                                 indent=1))
    for line in wrong:
        print("FAILED:", line)
    print("soak:", "FAILED" if wrong else "nothing lost, changed or doubled; memory and descriptors stayed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
