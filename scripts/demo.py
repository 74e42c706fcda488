# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind scripts/demo: next hop, gateway, real messages, and the proof of what happened.

Nothing shown here is taken from the gateway's word alone where somebody else can tell: the signatures are counted by
a PKCS#11 module between the provider and SoftHSM2 (tests/modules/count.c), and whether a message arrived
as it was sent is seen by comparing the file that the next hop wrote with the file that swaks was given.
"""

import glob
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

from aiosmtpd.controller import Controller

TEN_MB = 10 * 1024 * 1024

# What the client asks for, in turn: both versions, both key lengths, both kinds of certificate.
WISHES = [
    ("tlsv1_3", "TLS_AES_256_GCM_SHA384", None),
    ("tlsv1_2", None, "ECDHE-RSA-AES128-GCM-SHA256"),
    ("tlsv1_3", "TLS_AES_128_GCM_SHA256", None),
    ("tlsv1_2", None, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("tlsv1_3-rsa", "TLS_AES_128_GCM_SHA256", None),
    ("tlsv1_2", None, "ECDHE-RSA-AES256-GCM-SHA384"),
]


def die(text):
    print(f"demo: {text}", file=sys.stderr)
    sys.exit(1)


class Maildir:
    """The next hop's handler: every message becomes a file in new/, exactly as it came (RFC 5321 4.1.1.4)."""

    def __init__(self, path):
        self.path = path
        for part in ("tmp", "new", "cur"):
            (path / part).mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, server, session, envelope):
        name = envelope.rcpt_tos[0].split("@")[0]
        if not re.fullmatch(r"[a-z0-9-]+", name) or (self.path / "new" / name).exists():
            return "554 5.6.0 unexpected or repeated recipient"
        temporary = self.path / "tmp" / name
        temporary.write_bytes(envelope.original_content)
        temporary.rename(self.path / "new" / name)
        return "250 2.0.0 stored"


class NextHop:
    def __init__(self, folder, token):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(token / "nexthop.pem", token / "nexthop.key")
        self.maildir = Maildir(folder / "maildir")
        self.port = free_port()
        self.controller = Controller(
            self.maildir, hostname="127.0.0.1", port=self.port, tls_context=context, require_starttls=True,
            data_size_limit=64 * 1024 * 1024)
        self.controller.start()

    def stop(self):
        self.controller.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nexthop_certificate(token):
    """An ordinary software key, made once, signed by the demo's CA."""
    if (token / "nexthop.pem").exists():
        return
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = dict(os.environ, OPENSSL_CONF=str(token / "ca.cnf"))
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    token / "nexthop.key", "-out", token / "nexthop.csr", "-subj", "/CN=nexthop"], env=environment, **quiet)
    subprocess.run(["openssl", "x509", "-req", "-in", token / "nexthop.csr", "-CA", token / "ca.pem", "-CAkey",
                    token / "ca.key", "-CAcreateserial", "-days", "90", "-extfile", token / "ca.cnf", "-extensions",
                    "server", "-out", token / "nexthop.pem"], env=environment, **quiet)


class TokenCount:
    """The counters of tests/modules/count.h, read from outside the gateway."""

    FIELDS = ("logins", "sessions", "sign_inits", "rsa_pkcs", "rsa_pss", "ecdsa", "other")

    def __init__(self, path):
        self.path = path

    def read(self):
        data = self.path.read_bytes()
        if data[:8] != b"SLCOUNT1":
            die(f"{self.path} is not a counter file: the gateway does not use the token")
        return dict(zip(self.FIELDS, struct.unpack_from(f"={len(self.FIELDS)}Q", data, 8)))


class Gateway:
    def __init__(self, top, folder, token, next_hop_port):
        self.log_path = folder / "gateway.log"
        self.settings = folder / "gateway.conf"
        self.settings.write_text(f"""\
hostname = "mx.demo.example"
openssl_conf = "{token}/openssl.cnf"
log = json
limits {{ message_size = {64 * 1024 * 1024} }}

receive demo {{
    address = "127.0.0.1"
    port = 0
    tls = encrypt
    certificate {{ chain = "{token}/ec.pem"  key = "{token}/ec.key" }}
    certificate {{ chain = "{token}/rsa.pem"  key = "{token}/rsa.key" }}
}}

route default {{
    next_hop = "127.0.0.1:{next_hop_port}"
    tls = verify
    ca = "{token}/ca.pem"
    server_name = "localhost"
}}
""")
        self.program = top / "build/release/gateway/sealane-gateway"
        self.environment = dict(
            os.environ, SOFTHSM2_CONF=str(token / "softhsm2.conf"),
            PKCS11_PROVIDER_MODULE=str(top / "build/release/tests/modules/sealane-count.so"),
            SEALANE_COUNT_MODULE=module_path(token), SEALANE_COUNT_FILE=str(folder / "token.count"))
        self.seen = 0

    def start(self):
        check = subprocess.run([self.program, "check", "-c", self.settings], env=self.environment, capture_output=True,
                               text=True)
        if check.returncode != 0:
            die("sealane-gateway check says:\n" + check.stdout + check.stderr)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([self.program, "run", "-c", self.settings], env=self.environment, stderr=log,
                                            stdout=log, start_new_session=True)
        self.port = self.wait(lambda line: line.get("event") == "listening")["port"]

    def lines(self):
        """Complete lines that were not read yet."""
        with open(self.log_path, "rb") as log:
            log.seek(self.seen)
            data = log.read()
        whole = data.rfind(b"\n") + 1
        self.seen += whole
        for line in data[:whole].splitlines():
            if line.startswith(b"{"):
                yield json.loads(line)

    def wait(self, wanted):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.lines():
                if wanted(line):
                    return line
            if self.process.poll() is not None:
                die(f"the gateway has ended: {self.log_path}")
            time.sleep(0.01)
        die(f"the gateway did not say what was expected; its log is {self.log_path}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)
        return self.process.returncode


def module_path(token):
    for line in (token / "openssl.cnf").read_text().splitlines():
        if line.startswith("pkcs11-module-path"):
            return line.split("=", 1)[1].strip()
    die(f"no pkcs11-module-path in {token}/openssl.cnf")


def why_not_mail(data):
    """A reason why RFC 5321 and 5322 would not let this travel, or None."""
    if not re.match(rb"[!-9;-~]+:", data):
        return "begins with no header field"
    if b"\0" in data or re.search(rb"\r(?!\n)", data):
        return "NUL or bare CR"
    if max(map(len, data.split(b"\r\n"))) > 998:
        return "a line of more than 998 bytes"
    return None


def corpus():
    """(name, bytes) of the messages that Python's own mail tests use, with the line ends that mail has, and a large one."""
    found = sorted(glob.glob("/usr/lib/python3*/test/test_email/data/msg_*.txt"))
    if not found:
        die("the messages of Python's test suite are not installed; scripts/deps demo installs them")
    mails, skipped = [], []
    for path in found:
        data = re.sub(rb"\r?\n", b"\r\n", Path(path).read_bytes())
        if not data.endswith(b"\r\n"):
            data += b"\r\n"
        name = Path(path).stem.replace("_", "-")
        reason = why_not_mail(data)
        if reason:
            skipped.append(f"{name}: {reason}")
        else:
            mails.append((name, data))
    line = b"0123456789abcdef" * 4 + b"\r\n"
    head = b"From: big@demo.example\r\nTo: big@demo.example\r\nSubject: ten megabytes\r\n\r\n"
    mails.append(("ten-megabytes", head + line * ((TEN_MB - len(head)) // len(line) + 1)))
    return mails, skipped


def swaks(gateway, token, folder, name, data, wish):
    """Sends one message exactly as it is; returns None or what went wrong."""
    protocol, suite, cipher = wish
    stuffed = re.sub(rb"(?m)^\.", b"..", data)
    file = folder / "sent" / name
    file.write_bytes(stuffed + b".\r\n")
    command = ["swaks", "--server", "127.0.0.1", "--port", str(gateway.port), "--ehlo", "client.demo.example",
               "--from", f"{name}@demo.example", "--to", f"{name}@demo.example", "--tls", "--tls-verify",
               "--tls-ca-path", str(token / "ca.pem"), "--tls-protocol", protocol.split("-")[0], "--no-data-fixup",
               "--data", f"@{file}", "--silent", "2"]
    if cipher:
        command += ["--tls-cipher", cipher]
    # TLS 1.3 suites and signature algorithms are not swaks' to choose; libssl reads them from its own settings.
    settings = folder / "client.cnf"
    settings.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                        + (f"Ciphersuites = {suite}\n" if suite else "")
                        + ("SignatureAlgorithms = rsa_pss_rsae_sha256\n" if protocol.endswith("-rsa") else ""))
    result = subprocess.run(command, env=dict(os.environ, OPENSSL_CONF=str(settings)), capture_output=True, text=True)
    return None if result.returncode == 0 else (result.stdout + result.stderr).strip()[-2000:]


def without_received(data):
    """Takes the gateway's own Received field, the first one, off (RFC 5321 4.4)."""
    field = re.match(rb"Received:.*?\r\n(?![ \t])", data, re.S)
    return data[field.end():] if field else data


def relay(gateway, hop, counts, token, folder, name, data, wish):
    """Sends one message and gathers what everybody says about it."""
    before = counts.read()
    error = swaks(gateway, token, folder, name, data, wish)
    if error:
        return {"message": name, "ok": False, "error": error}
    said = gateway.wait(lambda line: line.get("event") == "transaction" and line.get("from") == f"{name}@demo.example")
    after = counts.read()
    signed = {field: after[field] - before[field] for field in ("rsa_pkcs", "rsa_pss", "ecdsa", "other")}
    arrived = hop.maildir.path / "new" / name
    same = arrived.exists() and without_received(arrived.read_bytes()) == data
    row = {"message": name, "bytes": len(data), "tls": said.get("tls"), "suite": said.get("cipher"),
           "key": said.get("key"), "token_signatures": signed, "sealed_by": said.get("sealed_by"),
           "next_hop_tls": said.get("next_hop_tls"), "identical": same}
    expected = {"RSA": ("rsa_pkcs", "rsa_pss"), "EC": ("ecdsa",)}.get(row["key"], ())
    row["token_signed"] = sum(signed.values()) == 1 and any(signed[field] == 1 for field in expected)
    row["ok"] = bool(same and row["token_signed"] and row["sealed_by"] not in (None, "none", "libcrypto"))
    return row


HEADER = f"{'message':15} {'bytes':>9}  {'TLS':8} {'suite':39} {'key':4} {'signed by token':15} {'sealed by':9} arrived"


def show(row):
    if "error" in row:
        print(f"{row['message']:15} FAILED\n{row['error']}")
        return
    kinds = [f"{count} {field}" for field, count in row["token_signatures"].items() if count]
    print(f"{row['message']:15} {row['bytes']:9}  {row['tls']:8} {row['suite']:39} {row['key']:4} "
          f"{', '.join(kinds) or 'no':15} {row['sealed_by']:9} {'identical' if row['identical'] else 'DIFFERENT'}",
          flush=True)


def main():
    top, options = Path(sys.argv[1]), sys.argv[2:]
    folder = top / "demo-run"
    token = folder / "token"
    for leftover in ("maildir", "sent", "token.count"):
        path = folder / leftover
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (folder / "sent").mkdir()
    nexthop_certificate(token)

    hop = NextHop(folder, token)
    gateway = Gateway(top, folder, token, hop.port)
    rows = []
    try:
        gateway.start()
        counts = TokenCount(folder / "token.count")
        mails, skipped = corpus()
        as_json = "--json" in options
        if not as_json:
            print(f"\ngateway on 127.0.0.1:{gateway.port}, next hop on 127.0.0.1:{hop.port}, {len(mails)} messages\n\n{HEADER}")
        for number, (name, data) in enumerate(mails):
            row = relay(gateway, hop, counts, token, folder, name, data, WISHES[number % len(WISHES)])
            rows.append(row)
            print(json.dumps(row)) if as_json else show(row)
        good = sum(row["ok"] for row in rows)
        if not as_json:
            for reason in skipped:
                print(f"not sent: {reason}")
            print(f"\n{good} of {len(rows)} messages arrived byte for byte, each handshake signed once in the token")
        if "--stay" in options and good == len(rows):
            stay(gateway, hop, token)
    except KeyboardInterrupt:
        print()
    finally:
        status = gateway.stop() if hasattr(gateway, "process") else 1
        hop.stop()
    if status != 0:
        die(f"the gateway ended with status {status}; its log is {gateway.log_path}")
    sys.exit(0 if rows and all(row["ok"] for row in rows) else 1)


def stay(gateway, hop, token):
    print(f"""
gateway      127.0.0.1:{gateway.port}   (STARTTLS, log in {gateway.log_path})
next hop     127.0.0.1:{hop.port}   (Maildir in {hop.maildir.path})
certificate  {token}/ec.pem and rsa.pem, CA {token}/ca.pem

try it:      swaks --server 127.0.0.1 --port {gateway.port} --tls --tls-verify --tls-ca-path {token}/ca.pem \\
                 --from me@demo.example --to you@demo.example

Ctrl-C ends both.""", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
