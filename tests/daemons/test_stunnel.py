# SPDX-License-Identifier: Apache-2.0
"""stunnel as server and as client with a certificate: one process, many threads, another user after the start."""
import signal

from support import DaemonTest, curl, free_port, main, program

STUNNEL = program("stunnel4", "stunnel")


class Stunnel(DaemonTest):
    user = "stunnel4"

    def setUp(self):
        super().setUp()
        # After a reload stunnel reads everything again as its own user.
        for name in ("pin", "ec.key", "rsa.key"):
            self.site.give(self.site.dir / name)

    def run_stunnel(self, services, port, env=None):
        site = self.site
        file = site.base / "stunnel.conf"
        identity = f"setuid = {site.user}\nsetgid = {site.user}\n" if site.user else ""
        file.write_text(f"foreground = yes\npid =\ndebug = info\n{identity}\n{services}")
        return self.start([STUNNEL, file], port, env=env)

    def serve(self, env=None):
        # A service of stunnel has one certificate.
        backend, ports, services = self.backend(), {}, ""
        for kind in ("ec", "rsa"):
            ports[kind] = free_port()
            services += (f"[{kind}]\naccept = 127.0.0.1:{ports[kind]}\nconnect = 127.0.0.1:{backend.port}\n"
                         f"cert = {self.site.path(kind)}.pem\nkey = {self.site.path(kind)}.key\nsslVersionMin = TLSv1.2\n")
        daemon = self.run_stunnel(services, ports["rsa"], env)
        daemon.wait_port(ports["ec"])
        return daemon, ports

    def test_every_client_version_and_key(self):
        daemon, ports = self.serve()
        for kind, port in ports.items():
            self.check_all_clients(port, self.body.decode().strip(), kinds=(kind,))
        self.assertEqual(daemon.stop(), 0)

    def test_reload_under_load(self):
        # It closes its listening sockets and opens them anew: connections that wait in between are reset, with any key.
        daemon, ports = self.serve()

        def reload(n):
            daemon.send(signal.SIGHUP)
            daemon.wait_log("Configuration successful", n + 2)
        self.check_reload(ports["ec"], reload, lossless=False)
        self.assertEqual(daemon.stop(), 0)

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        daemon, ports = self.serve(server.environment)
        self.check_lost_token(server, self.talk(ports["rsa"]))
        self.assertEqual(daemon.stop(), 0)

    def test_client_certificate_from_the_token(self):
        server = self.demanding_server()
        port = free_port()
        daemon = self.run_stunnel(f"[client]\nclient = yes\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{server.port}\n"
                                  f"cert = {self.site.path('rsa.pem')}\nkey = {self.site.path('rsa.key')}\n"
                                  f"CAfile = {self.site.ca}\nverifyChain = yes\n", None)
        daemon.wait_log("Configuration successful")
        with self.proves("stunnel as client", "rsa"):
            self.assertEqual(curl(self.site, port, "1.3", scheme="http"), self.body)
        self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    main()
