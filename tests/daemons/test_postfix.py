# SPDX-License-Identifier: Apache-2.0
"""Postfix: smtpd with its key in the token (key file and chain file), smtp client with a client certificate, reload.

Needs root: Postfix's master insists on it. Nothing of the machine's own Postfix is touched; this instance has its own
configuration, queue and data in the test's folder.
"""
import os
import queue
import smtplib
import subprocess
import sys
from pathlib import Path

from aiosmtpd.controller import Controller

from support import PATIENCE, SKIPPED, DaemonTest, client_context, free_port, main, program, run

POSTFIX = program("postfix")
if os.getuid() != 0:
    print("skipped: Postfix's master runs as root only")
    sys.exit(SKIPPED)
DAEMONS = next(p for p in ("/usr/lib/postfix/sbin", "/usr/libexec/postfix") if Path(p, "master").exists())
TALK = b"QUIT\r\n"
MESSAGE = "From: a@client.test\r\nTo: b@hop.test\r\nSubject: by way of Postfix\r\n\r\nbody\r\n"


class Keeper:
    """aiosmtpd's handler: keeps what arrives."""

    def __init__(self):
        self.arrived = queue.Queue()

    async def handle_DATA(self, server, session, envelope):
        self.arrived.put((envelope.content, session.ssl is not None))
        return "250 taken"


class Postfix(DaemonTest):
    user = "postfix"

    def next_hop(self):
        """Takes mail only over STARTTLS and from a client with a certificate of our CA."""
        keeper, port = Keeper(), free_port()
        controller = Controller(keeper, hostname="127.0.0.1", port=port, tls_context=self.demanding_context(), require_starttls=True)
        controller.start()
        self.addCleanup(controller.stop)
        return keeper, port

    def serve(self, smtpd_keys, hop=None, env=None):
        site, port = self.site, free_port()
        base = Path(site.base, f"postfix-{port}")
        for name in ("etc", "queue", "data"):
            (base / name).mkdir(parents=True)
        base.chmod(0o755)
        site.give(base / "data")
        settings = {**site.environment, **(env or {})}
        names = ("OPENSSL_CONF", "SOFTHSM2_CONF", "PKCS11_PROVIDER_MODULE", "P11_KIT_SERVER_ADDRESS")
        handed = " ".join(f"{k}={v}" for k, v in settings.items() if k in names or k.startswith("SEALANE_"))
        (base / "etc/main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = {DAEMONS}
mail_owner = postfix
setgid_group = postdrop
myhostname = localhost
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = /dev/stdout
maillog_file_prefixes = /dev
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C {handed}
relay_domains = hop.test
transport_maps = inline:{{ hop.test=smtp:[127.0.0.1]:{hop or 9} }}
smtpd_recipient_restrictions = permit_auth_destination reject
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_tls_mandatory_protocols = >=TLSv1.2
{smtpd_keys}
smtp_tls_security_level = verify
smtp_tls_loglevel = 1
smtp_tls_CAfile = {site.ca}
smtp_tls_verify_cert_match = hostname
smtp_tls_cert_file = {site.path("rsa.pem")}
smtp_tls_key_file = {site.path("rsa.key")}
""")
        services = ["cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "tlsmgr unix - - n 1000? 1 tlsmgr",
                    "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce",
                    "trace unix - - n - 0 bounce", "smtp unix - - n - - smtp", "error unix - - n - - error",
                    "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "proxymap unix - - n - - proxymap",
                    "postlog unix-dgram n - n - 1 postlogd", "retry unix - - n - - error"]
        (base / "etc/master.cf").write_text("\n".join([f"127.0.0.1:{port} inet n - n - - smtpd", *services]) + "\n")
        (base / "etc/dynamicmaps.cf").write_text("")
        postfix = self.start([POSTFIX, "-c", base / "etc", "start-fg"], port, env=env)
        self.addCleanup(run, [POSTFIX, "-c", base / "etc", "abort"])
        postfix.etc = base / "etc"
        return postfix

    def key_files(self):
        site = self.site
        return (f"smtpd_tls_cert_file = {site.path('rsa.pem')}\nsmtpd_tls_key_file = {site.path('rsa.key')}\n"
                f"smtpd_tls_eccert_file = {site.path('ec.pem')}\nsmtpd_tls_eckey_file = {site.path('ec.key')}\n")

    def check_smtp_clients(self, port):
        self.check_all_clients(port, "221 2.0.0 Bye", stdin=TALK, web=False, s_options=("-starttls", "smtp"),
                               gnutls_options=("--starttls-proto", "smtp"))

    def test_smtpd_with_key_files(self):
        postfix = self.serve(self.key_files())
        self.check_smtp_clients(postfix.port)
        postfix.stop()
        self.assertNotRegex(postfix.log(), "fatal|panic|signal 11|TLS library problem")

    def send(self, port, version, count=1):
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.starttls(context=client_context(self.site, version))
            for _ in range(count):
                client.sendmail("a@client.test", ["b@hop.test"], MESSAGE)

    def test_mail_goes_in_and_out_signed_by_the_token_on_both_sides(self):
        keeper, hop = self.next_hop()
        postfix = self.serve(self.key_files(), hop)
        for version in ("1.2", "1.3"):
            with self.proves(f"smtpd and smtp, TLS {version}", count=2, records=8):
                self.send(postfix.port, version)
                content, secured = keeper.arrived.get(timeout=PATIENCE)
            self.assertIn(b"by way of Postfix", content)
            self.assertTrue(secured)
        postfix.stop()
        self.assertNotRegex(postfix.log(), "fatal|panic|signal 11|TLS library problem")

    def test_many_sessions_and_reload_under_load(self):
        postfix = self.serve(self.key_files())

        def talk(context):
            with smtplib.SMTP("127.0.0.1", postfix.port, timeout=PATIENCE) as client:
                client.starttls(context=context)
                return client.ehlo()[0] == 250
        self.talk = lambda port: talk

        def reload(_):
            self.assertEqual(run([POSTFIX, "-c", postfix.etc, "reload"])[0], 0)
        self.check_reload(postfix.port, reload)
        postfix.stop()
        self.assertNotRegex(postfix.log(), "fatal|panic|signal 11|TLS library problem")

    def test_token_lost_and_found_again(self):
        server = self.token_server()
        postfix = self.serve(self.key_files(), env=server.environment)

        def talk(context):
            try:
                with smtplib.SMTP("127.0.0.1", postfix.port, timeout=PATIENCE) as client:
                    client.starttls(context=context)
                    return client.ehlo()[0] == 250
            except smtplib.SMTPException as e:
                raise OSError(e) from e
        self.check_lost_token(server, talk)
        postfix.stop()

    def test_smtpd_with_chain_files(self):
        # Postfix looks at the labels of a chain file itself and takes PRIVATE KEY; a PKCS#8 file can hold a URI too.
        for kind in ("ec", "rsa"):
            done = run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", self.site.path(f"{kind}.key"), "-out",
                        self.site.path(f"{kind}.p8")], env=self.site.environment)
            self.assertEqual(done[0], 0, done[1])
        chains = ", ".join(self.site.bundle(kind, f"{kind}.p8", key_first=True) for kind in ("ec", "rsa"))
        postfix = self.serve(f"smtpd_tls_chain_files = {chains}\n")
        self.check_smtp_clients(postfix.port)
        postfix.stop()

    def test_smtpd_with_chain_files_that_look_like_any_other(self):
        """The URI in PKCS#8, label PRIVATE KEY; the key comes first."""
        postfix = self.serve(f"smtpd_tls_chain_files = {self.chain_in_pkcs8('ec')}, {self.chain_in_pkcs8('rsa')}\n")
        self.check_smtp_clients(postfix.port)
        postfix.stop()

    def chain_in_pkcs8(self, kind):
        wrapped = subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", self.site.path(f"{kind}.key")], check=True,
                                 env=self.site.environment, capture_output=True, text=True).stdout
        self.assertTrue(wrapped.startswith("-----BEGIN PRIVATE KEY-----"))
        chain = self.site.dir / f"{kind}.chain"
        chain.write_text(wrapped + (self.site.dir / f"{kind}.pem").read_text())
        chain.chmod(0o600)
        return str(chain)


if __name__ == "__main__":
    main()
