# SPDX-License-Identifier: Apache-2.0
"""curl with a client certificate whose key is in the token (mutual TLS), against servers that know nothing of it."""
import subprocess

from support import PATIENCE, DaemonTest, main, program

CURL = program("curl")


class Curl(DaemonTest):
    def curl(self, port, kind, *options):
        site = self.site
        return subprocess.run(
            [CURL, "-sS", "--fail", "--cacert", site.ca, "--connect-to", f"localhost::127.0.0.1:{port}",
             "--cert", site.path(f"{kind}.pem"), *options, f"https://localhost:{port}/"],
            capture_output=True, env=site.environment, timeout=PATIENCE, check=False)

    def test_client_certificate(self):
        server = self.demanding_server()
        for version in ("1.2", "1.3"):
            for kind in ("ec", "rsa"):
                with self.subTest(version=version, kind=kind), self.proves(f"curl, TLS {version}, {kind}", kind):
                    done = self.curl(server.port, kind, "--key", self.site.path(f"{kind}.key"), f"--tlsv{version}", "--tls-max", version)
                    self.assertEqual((done.returncode, done.stdout), (0, self.body), done.stderr)

    def test_many_connections_side_by_side(self):
        server = self.demanding_server()
        config = "".join(f'url = "https://localhost:{server.port}/?{n}"\n' for n in range(40))
        (self.site.base / "many").write_text(config)
        with self.proves("curl, 41 connections", "ec", count=41, records=41):
            done = self.curl(server.port, "ec", "--key", self.site.path("ec.key"), "--parallel", "--parallel-immediate", "--no-sessionid",
                             "--config", str(self.site.base / "many"), "-H", "Connection: close", "--no-keepalive")
            self.assertEqual((done.returncode, done.stdout), (0, self.body * 41), done.stderr)


if __name__ == "__main__":
    main()
