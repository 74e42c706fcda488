# SPDX-License-Identifier: Apache-2.0
"""The soak's mail over a bad network: packets come late, out of order or not at all, between sender and gateway and between
gateway and next hop.

The network is a tun device in a namespace of our own. What the kernel sends to 10.9.0.2 is held back or dropped here, and then
goes back to it with source and destination exchanged (the checksums stay right), so it reaches whoever listens on 10.9.0.1.
"""
import argparse
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time

import soak

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
SKIPPED = 77


class Network:
    def __init__(self, delay, jitter, loss):
        self.delay, self.jitter, self.loss = delay, jitter, loss
        self.passed = self.dropped = 0
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"bad0", IFF_TUN | IFF_NO_PI))
        for command in ("addr add 10.9.0.1/24 dev bad0", "link set bad0 up", "link set lo up"):
            subprocess.run(["ip", *command.split()], check=True)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        waiting = []
        while True:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                os.write(self.tun, heapq.heappop(waiting)[2])
            if not select.select([self.tun], [], [], waiting[0][0] - now if waiting else None)[0]:
                continue
            packet = os.read(self.tun, 65536)
            if random.random() < self.loss:
                self.dropped += 1
            elif packet[0] >> 4 == 4:
                self.passed += 1
                back = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                heapq.heappush(waiting, (now + self.delay + random.uniform(0, self.jitter), self.passed, back))


def inside():
    network = Network(delay=0.02, jitter=0.01, loss=0.02)
    options = argparse.Namespace(minutes=float(os.environ.get("MINUTES", "0.7")), rate=5, senders=60, reload=15, sample=10, token=None,
                                 host="10.9.0.1", through="10.9.0.2")
    wrong, done = soak.run(options)
    print(f"network: {network.passed} packets passed, {network.dropped} dropped")
    if network.dropped < 20 or done.ledger.counts["answered"] < 20:
        wrong.append("that was no bad network")
    for line in wrong:
        print("FAILED:", line)
    return 1 if wrong else 0


def main():
    if sys.argv[1:] == ["inside"]:
        return inside()
    alone = ["unshare", "-n" if os.geteuid() == 0 else "-rn"]
    if not os.path.exists("/dev/net/tun") or subprocess.run([*alone, "ip", "tuntap", "add", "bad0", "mode", "tun"], check=False).returncode:
        print("no network namespace, or no tun device: skipped")
        return SKIPPED
    return subprocess.run([*alone, sys.executable, "-B", __file__, "inside"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
