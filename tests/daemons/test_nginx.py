# SPDX-License-Identifier: Apache-2.0
"""nginx: keys are read by the master as root, used by workers as another user; reload, dead workers, a token that is lost."""
import hashlib
import os
import signal

from support import DaemonTest, Storm, children, curl, free_port, main, program, wait_until

NGINX = program("nginx")
BIG = bytes(range(256)) * 8192  # 2 MB


class Nginx(DaemonTest):
    user = "www-data"

    def serve(self, listen="", workers=2, env=None):
        port, site = free_port(), self.site
        root = site.base / "www"
        root.mkdir(exist_ok=True)
        (root / "index.html").write_bytes(self.body)
        (root / "big").write_bytes(BIG)
        for path in (root, *root.iterdir()):
            path.chmod(0o755)
        temporary = "".join(f"{kind}_temp_path {site.base}/tmp-{kind};\n"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        file = site.base / "nginx.conf"
        file.write_text(f"""
daemon off;
{f"user {site.user};" if site.user else ""}
worker_processes {workers};
pid {site.base}/nginx.pid;
error_log stderr notice;
env SOFTHSM2_CONF;
env P11_KIT_SERVER_ADDRESS;
events {{ worker_connections 256; }}
http {{
    access_log off;
    {temporary}
    server {{
        listen 127.0.0.1:{port} ssl {listen};
        ssl_certificate {site.path("ec.pem")};
        ssl_certificate_key {site.path("ec.key")};
        ssl_certificate {site.path("rsa.pem")};
        ssl_certificate_key {site.path("rsa.key")};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {root};
    }}
}}
""")
        return self.start([NGINX, "-p", site.base, "-c", file, "-e", "stderr"], port, env=env)

    def test_every_client_version_and_key(self):
        nginx = self.serve()
        self.check_all_clients(nginx.port, self.body.decode().strip())
        self.assertEqual(nginx.stop(signal.SIGQUIT), 0)
        self.assertNotIn("[alert]", nginx.log())

    def test_big_answers_arrive_whole_and_by_the_engine(self):
        nginx = self.serve()
        for version in ("1.2", "1.3"):
            before = self.site.records()[0]
            with self.proves(version):
                got = curl(self.site, nginx.port, version, path="/big")
                self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(BIG).digest())
            wait_until("all records", lambda: self.site.records()[0] - before >= len(BIG) // 16384)
        self.assertEqual(nginx.stop(signal.SIGQUIT), 0)

    def test_reload_under_load_fails_no_connection(self):
        nginx, before = self.serve(), self.site.signatures()

        def reload(_):
            old = set(children(nginx.pid))
            nginx.send(signal.SIGHUP)
            wait_until("the new workers alone", lambda: len(set(children(nginx.pid)) - old) >= 2 and not old & set(children(nginx.pid)))
        good = self.check_reload(nginx.port, reload)
        self.assertGreaterEqual(self.site.signatures() - before, good)
        self.assertEqual(nginx.stop(signal.SIGQUIT), 0)
        self.assertNotIn("[alert]", nginx.log())

    def test_killed_worker_is_replaced_and_the_new_one_signs(self):
        nginx = self.serve(workers=1)
        self.assertTrue(curl(self.site, nginx.port, "1.3"))
        for _ in range(3):
            worker, = children(nginx.pid)
            os.kill(worker, signal.SIGKILL)
            wait_until("a new worker", lambda: [c for c in children(nginx.pid) if c != worker])
            with self.proves("after the worker's death"):
                self.assertEqual(curl(self.site, nginx.port, "1.3"), self.body)
        self.assertEqual(nginx.stop(signal.SIGQUIT), 0)

    def test_worker_killed_under_load_fails_only_what_it_held(self):
        nginx = self.serve()
        with Storm(self.site, self.talk(nginx.port)) as storm:
            storm.wait_more(20)
            os.kill(children(nginx.pid)[0], signal.SIGKILL)
            storm.wait_more(60)
            storm.stop()
        self.assertLessEqual(len(storm.failures), len(storm.threads), storm.failures)
        self.assertEqual(nginx.stop(signal.SIGQUIT), 0)

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        nginx = self.serve(env=server.environment, listen="reuseport")  # so that both workers get connections
        self.check_lost_token(server, self.talk(nginx.port))
        self.assertEqual(nginx.stop(signal.SIGQUIT), 0)

    def test_wrong_pin_stops_the_start_with_the_reason(self):
        (self.site.dir / "wrongpin").write_text("7391846205\n")
        cnf = self.site.configure("wrongpin.cnf", {"/pin\n": "/wrongpin\n"})
        with self.assertRaises(AssertionError) as raised:
            self.serve(env={"OPENSSL_CONF": cnf})
        self.assertIn("PIN", str(raised.exception))
        self.assertNotIn("7391846205", str(raised.exception))


if __name__ == "__main__":
    main()
