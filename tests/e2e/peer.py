"""A peer written by hand: TLS with a node's certificate, frames and hellos of the peers' protocol.

For what no node of ours would say: another version, another cluster, garbage. The layouts are those
of docs/formats/peer.md, written here once more.
"""
import secrets
import socket
import ssl
import struct

HELLO, WELCOME, REFUSAL, MESSAGE, PING = range(1, 6)
HELLO_LAYOUT = struct.Struct("<8sII16sQQ16sQQBBHI128s")
REFUSAL_LAYOUT = struct.Struct("<II256s")
VERSION = 2
PROTOCOL = "tallystick-peer/1"      # ALPN
REFUSED = {"garbage": 1, "version": 2, "certificate": 4, "cluster": 5, "older epoch": 6,
           "newer epoch": 7, "own id": 8, "wrong node": 9, "unknown": 10, "incarnation": 11,
           "kind": 12, "two processes": 13}


def hello(cluster, node, incarnation, to, **other):
    """The bytes of a hello; `other` replaces fields."""
    fields = dict({"magic": b"TSTKPEER", "version": VERSION, "epoch": 1, "kind": 0, "lane": 0,
                   "process": secrets.randbits(63) | 1, "address": b"127.0.0.1:9"}, **other)
    return HELLO_LAYOUT.pack(fields["magic"], fields["version"], 0, bytes.fromhex(cluster),
                             fields["epoch"], node, bytes.fromhex(incarnation), fields["process"],
                             to, fields["kind"], fields["lane"], len(fields["address"]), 0,
                             fields["address"])


def frame(kind, body):
    return struct.pack("<IHH", len(body), kind, 0) + body


class Peer:
    """One connection to a node's peer listener."""

    def __init__(self, port, authority, certificate, seconds=10):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.set_alpn_protocols([PROTOCOL])
        context.load_verify_locations(authority.certificate)
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        raw = socket.create_connection(("127.0.0.1", port), seconds)
        try:
            self.tls = context.wrap_socket(raw)
        except BaseException:
            raw.close()
            raise

    def send(self, content):
        self.tls.sendall(content)

    def read(self, size):
        """So many bytes, or fewer when the connection ends before."""
        content = b""
        while len(content) < size:
            try:
                part = self.tls.recv(size - len(content))
            except (ConnectionError, ssl.SSLError):
                break
            if not part:
                break
            content += part
        return content

    def answer(self):
        """The next frame but pings: (kind, body), or None when the connection ended."""
        while True:
            header = self.read(8)
            if len(header) < 8:
                return None
            size, kind, zero = struct.unpack("<IHH", header)
            if zero != 0 or size > 1 << 21:
                raise ValueError("no frame: %r" % header)
            body = self.read(size)
            if kind != PING:
                return kind, body

    def refusal(self):
        """(number, text) of a refusal; None when something else came or nothing."""
        answer = self.answer()
        if answer is None or answer[0] != REFUSAL:
            return None
        number, size, text = REFUSAL_LAYOUT.unpack(answer[1])
        return number, text[:size].decode()

    def close(self):
        self.tls.close()
