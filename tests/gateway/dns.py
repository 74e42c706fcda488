# SPDX-License-Identifier: Apache-2.0
"""A DNS server of our own for tests: it knows what it is told and says NXDOMAIN to the rest (RFC 1035)."""
import socket
import struct
import threading

TYPES = {"A": 1, "MX": 15, "AAAA": 28}


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def wire_data(kind, value):
    if kind == "MX":
        return struct.pack("!H", value[0]) + wire_name(value[1])
    return socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, value)


class Dns:
    """`zone` is {name: {type: [values]}}; a value of MX is (preference, host). `failing` names get SERVFAIL."""

    def __init__(self, zone):
        self.zone = zone
        self.failing = set()
        self.asked = []
        self.sockets = []
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self.port = udp.getsockname()[1]
        self.udp = udp
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                question, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            answer = self.answer(question)
            if answer:
                self.udp.sendto(answer, peer)

    def answer(self, question):
        ident, _, _, _, _, _ = struct.unpack_from("!6H", question)
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack_from("!H", question, at + 1)[0]
        asked = question[12:at + 5]
        name = ".".join(labels).lower()
        self.asked.append((name, kind))
        records = self.zone.get(name)
        known = {number: word for word, number in TYPES.items()}
        values = (records or {}).get(known.get(kind), [])
        code = 2 if name in self.failing else 3 if records is None else 0
        if code:
            values = []
        body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
                        for data in (wire_data(known[kind], value) for value in values))
        return struct.pack("!6H", ident, 0x8180 | code, 1, len(values), 0, 0) + asked + body

    def close(self):
        self.udp.close()
