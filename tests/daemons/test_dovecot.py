# SPDX-License-Identifier: Apache-2.0
"""Dovecot's IMAP login processes, which do the TLS handshakes as a user of their own; STARTTLS and IMAPS, reload.

Needs root: Dovecot starts its processes as three users. Nothing of the machine's own Dovecot is touched.
"""
import imaplib
import os
import re
import signal
import sys

from support import PATIENCE, SKIPPED, DaemonTest, free_port, main, program, version_of

DOVECOT = program("dovecot")
if os.getuid() != 0:
    print("skipped: Dovecot starts its processes as several users, which takes root")
    sys.exit(SKIPPED)
VERSION = tuple(map(int, re.match(r"(\d+)\.(\d+)", version_of([DOVECOT, "--version"])).groups()))
# RFC 3501; the answer to LOGOUT comes inside TLS.
TALK = b"a LOGOUT\r\n"

SETTINGS_2_3 = """
ssl_cert = <{site}/ec.pem
ssl_key = <{site}/ec.key
ssl_alt_cert = <{site}/rsa.pem
ssl_alt_key = <{site}/rsa.key
disable_plaintext_auth = yes
mail_location = maildir:{base}/mail
"""
SETTINGS_2_4 = """
dovecot_config_version = {version}
dovecot_storage_version = {version}
ssl_server_cert_file = {site}/ec.pem
ssl_server_key_file = {site}/ec.key
ssl_server_alt_cert_file = {site}/rsa.pem
ssl_server_alt_key_file = {site}/rsa.key
auth_allow_cleartext = no
mail_driver = maildir
mail_path = {base}/mail
"""


class Dovecot(DaemonTest):
    user = "dovenull"

    def serve(self, env=None):
        site, self.imaps, starttls = self.site, free_port(), free_port()
        # The login process reads the PIN and opens the token as its own user.
        site.give(site.dir / "pin")
        base = site.base / f"dovecot-{starttls}"
        base.mkdir(mode=0o755)
        settings = {**site.environment, **(env or {})}
        names = [k for k in settings if k in ("OPENSSL_CONF", "SOFTHSM2_CONF", "PKCS11_PROVIDER_MODULE", "P11_KIT_SERVER_ADDRESS")
                 or k.startswith("SEALANE_")]
        newer = VERSION >= (2, 4)
        version = ".".join(map(str, VERSION)) + ".0"
        lines = (SETTINGS_2_4 if newer else SETTINGS_2_3).format(site=site.dir, base=base, version=version)
        environment = ("import_environment {\n" + "".join(f"  {k} = {settings[k]}\n" for k in names) + "}\n" if newer else
                       "import_environment = TZ " + " ".join(names) + "\n")
        file = base / "dovecot.conf"
        file.write_text(f"""{lines if newer else ""}
base_dir = {base}/run
log_path = /dev/stderr
protocols = imap
ssl = required
ssl_min_protocol = TLSv1.2
{"" if newer else lines}
{environment}
passdb {"static" if newer else ""} {{
  {"" if newer else "driver = static"}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    {"listen" if newer else "address"} = 127.0.0.1
    port = {starttls}
  }}
  inet_listener imaps {{
    {"listen" if newer else "address"} = 127.0.0.1
    port = {self.imaps}
    ssl = yes
  }}
}}
""")
        file.chmod(0o644)
        daemon = self.start([DOVECOT, "-F", "-c", file], starttls, env=env)
        daemon.wait_port(self.imaps)
        return daemon

    def talk_to(self, port):
        def talk(context):
            try:
                with imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=PATIENCE) as client:
                    return client.noop()[0] == "OK"
            except imaplib.IMAP4.error as e:
                raise OSError(e) from e
        return talk

    talk = talk_to


    def test_every_client_version_and_key(self):
        daemon = self.serve()
        with self.subTest("STARTTLS"):
            self.check_all_clients(daemon.port, "a OK ", stdin=TALK, web=False, s_options=("-starttls", "imap"),
                                   gnutls_options=("--starttls-proto", "imap"))
        with self.subTest("IMAPS"):
            self.check_all_clients(self.imaps, "a OK ", stdin=TALK, web=False)
        self.assertEqual(daemon.stop(), 0)
        self.assertNotRegex(daemon.log(), "Fatal|Panic|killed with signal")

    def test_many_sessions_and_reload_under_load(self):
        daemon = self.serve()

        def reload(n):
            daemon.send(signal.SIGHUP)
            daemon.wait_log("SIGHUP received", n + 1)
        self.check_reload(self.imaps, reload, lossless=False)
        daemon.stop()
        self.assertNotRegex(daemon.log(), "Panic|killed with signal")

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        daemon = self.serve(server.environment)
        self.check_lost_token(server, self.talk_to(self.imaps))
        daemon.stop()



if __name__ == "__main__":
    main()
