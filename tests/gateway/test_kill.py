# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the gateway and of the next hop in the middle of load: what was answered 250 is at the next hop, every time.

bench-gateway gives every message a number and compares every byte; a message answered and not arrived is lost."""
import json
import os
import struct
import subprocess
import threading

from support import GATEWAY, PATIENCE, GatewayTest, free_port, main

BENCH = os.environ.get("BENCH_GATEWAY")


class Kill(GatewayTest):
    def start_sink(self):
        sink = subprocess.Popen([BENCH, "sink", "--ledger", self.ledger, "--port", str(self.sink_port), "--chain",
                                 self.certificates.path("hop.pem"), "--key", self.certificates.path("hop.key")],
                                stdout=subprocess.PIPE)
        sink.stdout.readline()
        return sink

    def start_gateway(self):
        gateway = subprocess.Popen([GATEWAY, "run", "-c", self.file], stderr=subprocess.PIPE)
        for line in gateway.stderr:
            if b" listening " in line:
                break
        threading.Thread(target=gateway.stderr.read, daemon=True).start()
        return gateway

    def wait_for_messages(self, count):
        """Until that many more were begun: the ledger begins with the number of the next one."""
        def number():
            with open(self.ledger, "rb") as f:
                return struct.unpack("=I", f.read(4))[0]

        wanted = number() + count
        for _ in range(PATIENCE * 100):
            if number() >= wanted:
                return
            threading.Event().wait(0.01)
        self.fail("no mail goes through")

    def kill(self, process):
        process.kill()
        process.wait(PATIENCE)

    def test_nothing_that_was_answered_is_lost(self):
        self.ledger = os.path.join(self.folder, "ledger")
        self.sink_port, port = free_port(), free_port()
        self.file = os.path.join(self.folder, "gateway.conf")
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(self.settings(self.sink_port, hop_tls="encrypt").replace("port = 0", f"port = {port}")
                    .replace('log = "json"', ""))
        sink, gateway = self.start_sink(), self.start_gateway()
        load = subprocess.Popen([BENCH, "load", "--ledger", self.ledger, "--port", str(port), "--senders", "20", "--messages",
                                 "5", "--size", "20000", "--seconds", "3600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(4):
            self.wait_for_messages(100)
            self.kill(gateway)
            gateway = self.start_gateway()
            self.wait_for_messages(100)
            self.kill(sink)
            sink = self.start_sink()
        self.wait_for_messages(100)
        load.terminate()  # it ends as if its time was over
        result = json.loads(load.communicate(timeout=PATIENCE)[0])
        self.kill(gateway)
        self.kill(sink)
        print(f"    {result['answered']} answered, {result['arrived']} arrived, {result['broken']} connections broken")
        self.assertGreater(result["answered"], 100)
        self.assertGreater(result["broken"], 0)
        self.assertEqual((result["lost"], result["twice"], result["corrupted"]), (0, 0, 0))


if __name__ == "__main__":
    main()
