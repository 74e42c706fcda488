# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the gateway and of the next hop in the middle of load: what was answered 250 is at the next hop, every time.

bench-gateway gives every message a number and compares every byte; a message answered and not arrived is lost."""
import os
import subprocess
import threading

from support import GATEWAY, PATIENCE, Bench, GatewayTest, free_port, main


class Kill(GatewayTest):
    def start_gateway(self):
        gateway = subprocess.Popen([GATEWAY, "run", "-c", self.file], stderr=subprocess.PIPE)
        for line in gateway.stderr:
            if b" listening " in line:
                break
        threading.Thread(target=gateway.stderr.read, daemon=True).start()
        return gateway

    def kill(self, process):
        process.kill()
        process.wait(PATIENCE)

    def test_nothing_that_was_answered_is_lost(self):
        bench, port = Bench(self.folder, self.certificates), free_port()
        self.addCleanup(bench.close)
        self.file = os.path.join(self.folder, "gateway.conf")
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(self.settings(bench.sink_port, hop_tls="encrypt").replace("port = 0", f"port = {port}")
                    .replace('log = "json"', ""))
        gateway = self.start_gateway()
        bench.start_load(port, "--senders", "20", "--messages", "5", "--size", "20000", "--seconds", "3600")
        for _ in range(4):
            bench.wait_for_messages(100)
            self.kill(gateway)
            gateway = self.start_gateway()
            bench.wait_for_messages(100)
            bench.kill_sink()
            bench.start_sink()
        bench.wait_for_messages(100)
        result = bench.end_load()
        self.kill(gateway)
        print(f"    {result['answered']} answered, {result['arrived']} arrived, {result['broken']} connections broken")
        self.assertGreater(result["answered"], 100)
        self.assertGreater(result["broken"], 0)
        self.assertEqual((result["lost"], result["twice"], result["corrupted"]), (0, 0, 0))


if __name__ == "__main__":
    main()
