# SPDX-License-Identifier: Apache-2.0
"""A TLS client of Python's whose records pass through the test's hands on their way to a socket."""
import ssl


class TlsByHand:
    def __init__(self, raw, context, name=None):
        self.raw = raw
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def do(self, action):
        """An operation of TLS to its end, with the socket; ConnectionError if that ends before."""
        while True:
            try:
                result = action()
                self.raw.sendall(self.outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.raw.sendall(self.outgoing.read())
                piece = self.raw.recv(65536)
                if not piece:
                    raise ConnectionError("the end without an alert") from None
                self.incoming.write(piece)

    def handshake(self):
        self.do(self.tls.do_handshake)

    def write(self, text):
        self.do(lambda: self.tls.write(text))

    def read(self, most=10000):
        return self.do(lambda: self.tls.read(most))

    def write_broken(self, text):
        """One record, with one bit of it changed."""
        self.tls.write(text)
        record = bytearray(self.outgoing.read())
        record[-1] ^= 1
        self.raw.sendall(record)
