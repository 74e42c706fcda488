# SPDX-License-Identifier: Apache-2.0
"""Many sessions at once through the gateway: gateway_storm (storm.c) against its own sink.

Without arguments a short run for every day; `--sessions 200 --seconds 30` is the proof. --settings TEXT adds
lines to the settings file (an openssl_conf with keys in a token, say); --certificate CHAIN KEY replaces the
key files.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import support


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=3, help="per connection")
    parser.add_argument("--size", type=int, default=20000, help="of the largest message")
    parser.add_argument("--settings", default="", help="more lines for the settings file")
    parser.add_argument("--certificate", nargs=2, action="append", metavar=("CHAIN", "KEY"))
    parser.add_argument("--hop-tls", default="encrypt", choices=("none", "encrypt"))
    parser.add_argument("--log", default=os.devnull, help="where the gateway's log lines go")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="sealane-storm-") as folder:
        certificates = support.Certificates(folder)
        sink = ["--sink-chain", certificates.path("hop.pem"), "--sink-key", certificates.path("hop.key")]
        storm = subprocess.Popen(
            [os.environ["GATEWAY_STORM"], "--sessions", str(arguments.sessions), "--seconds",
             str(arguments.seconds),
             "--messages", str(arguments.messages), "--size", str(arguments.size),
             *(sink if arguments.hop_tls != "none" else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        sink_port = int(storm.stdout.readline().split()[1])
        if arguments.certificate:
            sections = "".join(f'certificate {{ chain = "{chain}" key = "{key}" }}\n'
                               for chain, key in arguments.certificate)
        else:
            sections = certificates.section("ec") + certificates.section("rsa")
        gateway = support.Gateway(folder, f"""
            hostname = "gateway.test"
            log = "json"
            timeouts {{ reuse = 1 }} # or the end waits for the kept connections
            {arguments.settings}
            receive "in" {{ address = "127.0.0.1" port = 0 tls = "encrypt" {sections} }}
            route "out" {{ next_hop = "127.0.0.1:{sink_port}" tls = "{arguments.hop_tls}" }}
            """)
        storm.stdin.write(f"{gateway.port}\n")
        storm.stdin.close()
        print(storm.stdout.read(), end="", flush=True)
        failed = storm.wait() != 0
        stopped = gateway.stop()
        with open(arguments.log, "w", encoding="utf-8") as f:
            f.write("\n".join(gateway.lines) + "\n")
        last = gateway.events("stopped")[-1]
        print("gateway:", {key: value for key, value in last.items() if key not in ("time", "event")},
              "exit", stopped)
        failed |= stopped != 0 or last["possible_duplicates"] != 0
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
