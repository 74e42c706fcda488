# SPDX-License-Identifier: Apache-2.0
"""Apache httpd (mod_ssl, event MPM): key files with a URI and URIs in its settings; graceful restarts."""
import signal
from pathlib import Path

from support import DaemonTest, free_port, main, program

APACHE = program("apache2", "httpd")
MODULES = next((folder for folder in ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules") if Path(folder).exists()), None)


class Apache(DaemonTest):
    user = "www-data"

    def serve(self, keys=None, env=None):
        port, site = free_port(), self.site
        root = site.base / "www"
        root.mkdir(exist_ok=True)
        (root / "index.html").write_bytes(self.body)
        for path in (root, root / "index.html"):
            path.chmod(0o755)
        wanted = ("mpm_event", "authz_core", "dir", "ssl", "socache_shmcb")
        modules = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in wanted
                          if Path(f"{MODULES}/mod_{name}.so").exists())
        pairs = "".join(f'SSLCertificateFile "{site.path(kind)}.pem"\nSSLCertificateKeyFile "{key}"\n'
                        for kind, key in (keys or {kind: site.path(kind) + ".key" for kind in ("ec", "rsa")}).items())
        file = site.base / "apache.conf"
        file.write_text(f"""
ServerRoot {site.base}
ServerName localhost
PidFile {site.base}/apache.pid
DefaultRuntimeDir {site.base}
ErrorLog /dev/stderr
LogLevel warn ssl:info
Listen 127.0.0.1:{port}
{modules}
{f"User {site.user}{chr(10)}Group {site.user}" if site.user else ""}
StartServers 1
ServerLimit 4
ThreadsPerChild 8
MaxRequestWorkers 32
DocumentRoot {root}
<Directory {root}>
    Require all granted
</Directory>
DirectoryIndex index.html
SSLSessionCache none
SSLEngine on
SSLProtocol +TLSv1.2 +TLSv1.3
{pairs}
""")
        return self.start([APACHE, "-D", "FOREGROUND", "-d", site.base, "-f", file], port, env=env)

    def test_every_client_version_and_key(self):
        apache = self.serve()
        self.check_all_clients(apache.port, self.body.decode().strip())
        apache.stop()
        self.assertNotIn("AH00052", apache.log())  # child exit signal

    def test_keys_named_by_uri(self):
        apache = self.serve({kind: f"pkcs11:token=sealane;object={kind};type=private" for kind in ("ec", "rsa")})
        self.check_all_clients(apache.port, self.body.decode().strip())
        apache.stop()

    def test_graceful_restart_under_load_fails_no_connection(self):
        apache = self.serve()

        def reload(n):
            apache.send(signal.SIGUSR1)
            apache.wait_log("resuming normal operations", n + 2)
        self.check_reload(apache.port, reload)
        apache.stop()
        self.assertNotIn("AH00052", apache.log())

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        apache = self.serve(env=server.environment)
        self.check_lost_token(server, self.talk(apache.port))
        apache.stop()


if __name__ == "__main__":
    main()
