# SPDX-License-Identifier: Apache-2.0
"""10,000 connections under TLS that do nothing, and load beside them: none is dropped, none costs much, no message is lost."""
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from support import PATIENCE, Bench, GatewayTest, main

IDLE = 10000
KB_EACH = 32  # with libssl's own; buffers of ours are held only while something is in them


def resident_kb(process):
    return int(re.search(r"^Rss: +(\d+) kB", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.M)[1])


class Many(GatewayTest):
    def test_idle_connections_beside_load(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < IDLE + 500:
            self.skipTest(f"only {hard} descriptors are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        bench = Bench(self.folder, self.certificates)
        self.addCleanup(bench.close)
        gateway = self.start(bench.sink_port, hop_tls="encrypt", extra="limits { connections = 20000 connections_per_address = 20000 "
                             "handshakes_per_second = 100000 }")
        common = ["--size", "4096", "--messages", "10", "--seconds", "5"]
        bench.start_load(gateway.port, *common)
        alone = json.loads(bench.load.communicate(timeout=PATIENCE)[0])
        before = resident_kb(gateway.process)
        bench.start_load(gateway.port, *common, "--idle", str(IDLE))
        most = before
        while bench.load.poll() is None:
            most = max(most, resident_kb(gateway.process))
            try:
                bench.load.wait(0.5)
            except subprocess.TimeoutExpired:
                pass
        beside = json.loads(bench.load.stdout.read())
        print(f"\n    {beside['rate']:.0f} messages/s beside {beside['idle']} idle connections, {alone['rate']:.0f} without; "
              f"{(most - before) / IDLE:.1f} KB each", file=sys.stderr)
        for result in (alone, beside):
            self.assertGreater(result["answered"], 0)
            self.assertEqual((result["lost"], result["twice"], result["corrupted"], result["broken"], result["refused"]), (0,) * 5)
        self.assertEqual(beside["idle"], IDLE)
        self.assertLess(most - before, KB_EACH * IDLE)
        # When they are gone, so is what they took.
        for _ in range(PATIENCE):
            if resident_kb(gateway.process) - before < (most - before) / 4:
                break
            time.sleep(1)
        else:
            self.fail(f"{before} KB before, {most} at most, {resident_kb(gateway.process)} long after")


if __name__ == "__main__":
    main()
