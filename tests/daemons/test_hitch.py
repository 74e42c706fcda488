# SPDX-License-Identifier: Apache-2.0
"""hitch: certificate and key in one file, workers as another user, reload."""
import signal

from support import DaemonTest, children, free_port, main, program, wait_until

HITCH = program("hitch")


class Hitch(DaemonTest):
    user = "_hitch"

    def serve(self, env=None):
        # hitch chooses between certificates by name only, so each kind of key has a port of its own.
        site, backend, self.ports = self.site, self.backend(), {kind: free_port() for kind in ("ec", "rsa")}
        frontends = "".join(f'frontend = {{ host = "127.0.0.1" port = "{port}" pem-file = "{site.bundle(kind)}" }}\n'
                            for kind, port in self.ports.items())
        file = site.base / "hitch.conf"
        file.write_text(f"""
{frontends}
backend = "[127.0.0.1]:{backend.port}"
workers = 2
{f'user = "{site.user}"' if site.user else ""}
daemon = off
tls-protos = TLSv1.2 TLSv1.3
""")
        return self.start([HITCH, "--config", file], self.ports["rsa"], env=env)

    def test_every_client_version_and_key(self):
        hitch = self.serve()
        for kind, port in self.ports.items():
            self.check_all_clients(port, self.body.decode().strip(), kinds=(kind,))
        self.assertEqual(hitch.stop(), 0)

    def test_reload_under_load(self):
        # New workers take over while old ones still accept: some of their connections are reset, with any key.
        hitch = self.serve()

        def reload(_):
            old = set(children(hitch.pid))
            hitch.send(signal.SIGHUP)
            wait_until("the new workers alone", lambda: len(set(children(hitch.pid)) - old) >= 2 and not old & set(children(hitch.pid)))
        self.check_reload(self.ports["rsa"], reload, lossless=False)
        hitch.stop()

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        hitch = self.serve(env=server.environment)
        self.check_lost_token(server, self.talk(self.ports["ec"]))
        hitch.stop()


if __name__ == "__main__":
    main()
