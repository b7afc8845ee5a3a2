#!/usr/bin/python3
"""Abuse of HTTP/2 and gRPC, one attack after the other, against tests/server/grpc_echo_server.

    tests/e2e/abuse.py PATH/grpc_echo_server [-k WORD]

Attackers speak through raw TLS sockets and hand-made frames. All the while an honest client (stock
python3-grpcio) calls; none of its calls may fail. Each attack must end as it should: with the right
GOAWAY, refusal or close. Afterwards the server's memory is looked at, no call may be left in flight,
and SIGTERM must end it with status 0 (under a sanitizer this also says that nothing leaked).
The last line is 'N passed, N failed'.
"""
import argparse
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import grpc  # noqa: E402

BODY_TIMEOUT_S = 3.0        # longer than a machine stands still, as the next one
HANDSHAKE_TIMEOUT_S = 5.0
END_S = 30                  # what has to end has ended by then, on a machine that stands still at times, too
RSS_MAX_MIB = 256
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CALM = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RAW = lambda message: message  # noqa: E731


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(value, bits, first):
    """HPACK's integer with a prefix of so many bits."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytes([first | limit]), value - limit
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(name, value, kind=0):
    """A literal field without indexing (kind 0) or with (kind 0x40)."""
    return bytes([kind]) + number(len(name), 7, 0) + name + number(len(value), 7, 0) + value


def head(path=b"/echo.Echo/Slow", method=b"POST", content_type=b"application/grpc", more=b""):
    return (field(b":method", method) + field(b":scheme", b"https") + field(b":path", path) +
            field(b":authority", b"localhost") + field(b"te", b"trailers") +
            field(b"content-type", content_type) + more)


def message(body=b"x"):
    return struct.pack(">BI", 0, len(body)) + body


class Attacker:
    """One TLS connection with frames of our making."""

    def __init__(self, server, certificate="other", greet=True, settings=b""):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(server.file("ca.pem"))
        if certificate:
            context.load_cert_chain(server.file(certificate + ".pem"), server.file(certificate + ".key"))
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=END_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self.buffer = b""
        self.frames = []
        self.over = False
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data, timeout=5):
        """False when the server does not take it (any more)."""
        self.socket.settimeout(timeout)
        try:
            self.socket.sendall(data)
            return True
        except (OSError, ssl.SSLError):
            return False

    def read(self, seconds, until=lambda frames: False):
        """Frames (kind, flags, stream, payload) until a condition, the end, or time is up."""
        end = time.monotonic() + seconds
        while not self.over and not until(self.frames) and time.monotonic() < end:
            self.socket.settimeout(max(0.05, min(0.5, end - time.monotonic())))
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, socket.timeout):
                continue
            except (OSError, ssl.SSLError):
                data = b""
            self.over = not data
            self.buffer += data
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                self.frames.append((self.buffer[3], self.buffer[4],
                                    int.from_bytes(self.buffer[5:9], "big") & 0x7fffffff,
                                    self.buffer[9:9 + size]))
                self.buffer = self.buffer[9 + size:]
        return self.frames

    def of_kind(self, kind):
        return [f for f in self.frames if f[0] == kind]

    def expect_goaway(self, code, words=b""):
        self.read(END_S, lambda frames: any(f[0] == GOAWAY for f in frames))
        last = self.of_kind(GOAWAY)
        assert last, "no GOAWAY came"
        got = int.from_bytes(last[-1][3][4:8], "big")
        assert got == code, "GOAWAY %d, expected %d" % (got, code)
        assert words in last[-1][3][8:], "GOAWAY says %r" % last[-1][3][8:]
        self.expect_end()

    def expect_end(self, seconds=END_S):
        self.read(seconds, lambda frames: False)
        assert self.over, "the connection was not closed"

    def expect_answer(self, stream, seconds=END_S):
        """HEADERS with END_STREAM on the stream: a refusal in the form of an answer."""
        done = lambda frames: any(f[0] == HEADERS and f[2] == stream and f[1] & END_STREAM for f in frames)  # noqa: E731
        self.read(seconds, done)
        assert done(self.frames), "no answer on stream %d" % stream
        return [f for f in self.frames if f[0] == HEADERS and f[2] == stream][-1][3]

    def close(self):
        self.socket.close()


class Server:
    def __init__(self, program):
        self.directory = tempfile.TemporaryDirectory(prefix="tally-abuse-")
        self.log = open(self.file("log"), "wb")
        self.process = subprocess.Popen(
            [program, self.directory.name, "--body-timeout-ms", str(int(BODY_TIMEOUT_S * 1000)),
             "--handshake-timeout-ms", str(int(HANDSHAKE_TIMEOUT_S * 1000))],
            stdout=subprocess.PIPE, stderr=self.log)
        self.port = int(self.process.stdout.readline().split()[1])

    def file(self, name):
        return os.path.join(self.directory.name, name)

    def channel(self, certificate="client"):
        read = lambda name: open(self.file(name), "rb").read()  # noqa: E731
        return grpc.secure_channel("127.0.0.1:%d" % self.port, grpc.ssl_channel_credentials(
            read("ca.pem"), read(certificate + ".key"), read(certificate + ".pem")),
            options=[("grpc.use_local_subchannel_pool", 1)])

    def rss_mib(self):
        for line in open("/proc/%d/status" % self.process.pid):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the server is gone")

    def stats(self, channel):
        text = channel.unary_unary("/echo.Echo/Stats", RAW, RAW)(b"", timeout=20).decode()
        return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()}

    def log_text(self):
        return open(self.file("log"), encoding="utf-8", errors="replace").read()


class Honest(threading.Thread):
    """Calls all the time; remembers every failure and the longest answer."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stopping, self.failures, self.count, self.slowest = server, False, [], 0, 0

    def run(self):
        channel = self.server.channel()
        call = channel.unary_unary("/echo.Echo/Unary", RAW, RAW)
        while not self.stopping:
            begin = time.monotonic()
            try:
                assert call(b"honest", timeout=20) == b"honest"
            except grpc.RpcError as error:
                self.failures.append("%s %s" % (error.code(), error.details()))
            self.count += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)
            time.sleep(0.005)
        channel.close()


# ---- the attacks ----

def rapid_reset(server):
    a = Attacker(server)
    batch, stream = b"", 1
    for _ in range(20000):
        batch += (frame(HEADERS, END_HEADERS, stream, head()) + frame(DATA, END_STREAM, stream, message()) +
                  frame(RST, 0, stream, struct.pack(">I", 8)))
        stream += 2
        if len(batch) > 60000:
            if not a.send(batch):
                break
            batch = b""
    a.expect_goaway(CALM, b"too_many_resets")


def made_you_reset(server):
    """Each stream is finished by us, because of its illegal WINDOW_UPDATE."""
    a = Attacker(server)
    stream = 1
    for _ in range(200):
        batch = b""
        for _ in range(20):
            batch += (frame(HEADERS, END_HEADERS, stream, head()) + frame(DATA, END_STREAM, stream, message()) +
                      frame(WINDOW, 0, stream, struct.pack(">I", 0x7fffffff)))
            stream += 2
        if not a.send(batch):
            break
    a.expect_goaway(CALM, b"too_many_resets_provoked")


def settings_flood(server):
    a = Attacker(server)
    a.send(frame(SETTINGS, 0, 0) * 200)
    a.expect_goaway(CALM, b"too_many_settings")


def settings_with_many_entries(server):
    a = Attacker(server)
    a.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100) * 40))
    a.expect_end()


def settings_flood_unread(server):
    """100 000 SETTINGS before the first answer is read: acknowledgements must not pile up."""
    a = Attacker(server)
    for _ in range(2000):
        if not a.send(frame(SETTINGS, 0, 0) * 50):
            break
    a.read(END_S)
    assert a.over, "the connection was not closed"
    assert len(a.of_kind(SETTINGS)) < 600, "%d were acknowledged" % len(a.of_kind(SETTINGS))


def ping_flood(server):
    a = Attacker(server)
    a.send(frame(PING, 0, 0, b"12345678") * 1000)
    a.expect_goaway(CALM, b"too_many_pings")


def continuation_flood(server):
    a = Attacker(server)
    a.send(frame(HEADERS, 0, 1, head()))
    for i in range(1000):
        if not a.send(frame(CONTINUATION, 0, 1, field(b"x-%d" % i, b"y" * 1000))):
            break
    a.expect_end()


def headers_without_end(server):
    """A header block that stops in the middle: the silent connection lives, and nothing waits on it."""
    a = Attacker(server)
    a.send(frame(HEADERS, 0, 1, head()))
    a.read(0.5)
    a.close()


def header_list_too_large(server):
    a = Attacker(server)
    a.send(frame(HEADERS, END_STREAM | END_HEADERS, 1,
                 head(more=b"".join(field(b"x-%d" % i, b"y" * 200) for i in range(70)))))
    a.expect_answer(1)
    a.send(frame(HEADERS, END_HEADERS, 3, head(b"/echo.Echo/Unary")) + frame(DATA, END_STREAM, 3, message()))
    a.expect_answer(3)
    a.close()


def hpack_bomb(server):
    """One field of 4 KiB in the table, named 12 000 times in one byte each: 48 MiB of headers."""
    a = Attacker(server)
    for stream in (1, 3, 5, 7, 9):
        block = head(more=field(b"x", b"b" * 4000, 0x40) + b"\xbe" * 12000)
        a.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, block))
        a.expect_answer(stream)
    a.close()


def empty_frames(server):
    a = Attacker(server)
    a.send(frame(HEADERS, END_HEADERS, 1, head()) + frame(DATA, 0, 1) * 5000)
    a.expect_goaway(CALM, b"too_many_empty_frames")
    a = Attacker(server)
    a.send(frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) * 5000)
    a.expect_goaway(CALM, b"too_many_empty_frames")


def slow_body(server):
    a = Attacker(server)
    a.send(frame(HEADERS, END_HEADERS, 1, head()) + frame(DATA, 0, 1, b"\0\0\x10\0\0" + b"x" * 10))
    begin = time.monotonic()
    a.expect_answer(1)
    took = time.monotonic() - begin
    assert took >= BODY_TIMEOUT_S * 0.8, "given up after %.2f s" % took
    a.read(END_S, lambda frames: any(f[0] == RST for f in frames))
    assert a.of_kind(RST) and a.of_kind(RST)[0][3] == b"\0\0\0\0", "RST_STREAM(NO_ERROR) must follow"
    a.close()


def dripping_body(server):
    """Always some progress, never enough: a byte each 100 ms."""
    a = Attacker(server)
    a.send(frame(HEADERS, END_HEADERS, 1, head()) + frame(DATA, 0, 1, b"\0\0\x10\0\0"))
    for _ in range(100):
        a.send(frame(DATA, 0, 1, b"x"))
        a.read(0.1)
        if a.of_kind(HEADERS):
            break
    assert a.of_kind(HEADERS), "a body that drips was borne for 10 s"
    a.close()


def half_handshake(server):
    start, sockets = time.monotonic(), []
    for begin in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"):
        sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=END_S))
        sockets[-1].sendall(begin)
    for s in sockets:
        try:
            while s.recv(1000):
                pass
        except ConnectionError:
            pass
    took = time.monotonic() - start
    assert took < HANDSHAKE_TIMEOUT_S + END_S, "a connection was kept for %.1f s" % took


def no_settings(server):
    """TLS is done; the HTTP/2 client says nothing, or half of its preface."""
    attackers = []
    for begin in (b"", PREFACE[:10], PREFACE):
        attackers.append(Attacker(server, greet=False))
        attackers[-1].send(begin)
    for a in attackers:
        a.expect_end(HANDSHAKE_TIMEOUT_S + END_S)


def wrong_preface(server):
    a = Attacker(server, greet=False)
    a.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    a.expect_end()


def giant_message(server):
    a = Attacker(server)
    for stream, prefix in ((1, b"\0\xff\xff\xff\xff"), (3, struct.pack(">BI", 0, 1100001))):
        a.send(frame(HEADERS, END_HEADERS, stream, head()) + frame(DATA, 0, stream, prefix + b"x" * 100))
        a.expect_answer(stream)
    a.close()


def wrong_messages(server):
    """Compressed, two of them, none, cut, wrong flag, and what is not gRPC at all."""
    bad = [b"\1\0\0\0\1x", message() + message(), b"", b"\0\0\0\0\5xx", b"\7\0\0\0\1x"]
    a = Attacker(server)
    stream = 1
    for body in bad:
        a.send(frame(HEADERS, END_HEADERS, stream, head()) + frame(DATA, END_STREAM, stream, body))
        a.expect_answer(stream)
        stream += 2
    for arguments, status in (({"content_type": b"application/json"}, b"415"), ({"method": b"GET"}, b"405")):
        a.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, head(**arguments)))
        assert status in a.expect_answer(stream), "HTTP status %r expected" % status
        stream += 2
    a.close()


def too_many_streams(server):
    a = Attacker(server)
    for i in range(1100):
        if not a.send(frame(HEADERS, END_HEADERS, 1 + 2 * i, head())):
            break
    a.read(END_S, lambda frames: sum(f[0] == RST for f in frames) >= 76)
    refused = [f for f in a.of_kind(RST) if f[3] == struct.pack(">I", 7)]
    assert len(refused) == 76, "%d streams were refused, expected 76" % len(refused)
    a.close()


def unread_answers(server):
    """1000 answers of 120 kB that the client's window of zero keeps in the server: it holds 64 MiB of
    them for one principal and refuses the rest."""
    with server.channel() as channel:
        before = server.stats(channel)["refused"]
        a = Attacker(server, settings=struct.pack(">HI", 4, 0))
        a.read(END_S, lambda frames: any(f[0] == SETTINGS for f in frames))
        a.send(frame(SETTINGS, ACK, 0))  # from now on 128 KiB may be sent on each stream
        body = message(os.urandom(120000))
        for i in range(1000):
            stream = 1 + 2 * i
            data = frame(HEADERS, END_HEADERS, stream, head(b"/echo.Echo/Unary"))
            for offset in range(0, len(body), 16384):
                last = offset + 16384 >= len(body)
                data += frame(DATA, END_STREAM if last else 0, stream, body[offset:offset + 16384])
            assert a.send(data, timeout=20), "the server does not read any more"
        end = time.monotonic() + END_S
        while server.stats(channel)["refused"] - before < 450 and time.monotonic() < end:
            time.sleep(0.02)
        refused, rss = server.stats(channel)["refused"] - before, server.rss_mib()
        assert 450 <= refused <= 550, "%d of 1000 were refused" % refused
        print("  resident memory %.0f MiB while it is so" % rss)
        a.close()


def wrong_tls(server):
    def refused(change):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(server.file("ca.pem"))
        context.set_alpn_protocols(["h2"])
        change(context)
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=END_S)
        try:
            with context.wrap_socket(raw, server_hostname="localhost") as s:
                s.sendall(PREFACE + frame(SETTINGS, 0, 0))
                while s.recv(1000):
                    pass
                return "closed without a word"
        except (ssl.SSLError, ConnectionError) as error:
            return str(error)

    def with_certificate(context, name="client"):
        context.load_cert_chain(server.file(name + ".pem"), server.file(name + ".key"))

    def old_version(context):
        with_certificate(context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def other_protocol(context):
        with_certificate(context)
        context.set_alpn_protocols(["http/1.1"])

    for change, words in ((lambda c: None, "required"), (old_version, "version"),
                          (other_protocol, "protocol"),
                          (lambda c: with_certificate(c, "expired"), "expired"),
                          (lambda c: with_certificate(c, "rogue"), "unknown ca")):
        said = refused(change)
        assert words in said.lower(), "expected %r, got %r" % (words, said)


def nameless_certificate(server):
    with server.channel("nameless") as channel:
        try:
            channel.unary_unary("/echo.Echo/Unary", RAW, RAW)(b"", timeout=END_S)
            raise AssertionError("was served")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error


def many_silent_connections(server):
    """400 connections that say nothing hold every place for handshakes; a new client gets in."""
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=END_S) for _ in range(400)]
    with server.channel() as channel:
        assert channel.unary_unary("/echo.Echo/Unary", RAW, RAW)(b"x", timeout=END_S) == b"x"
    for s in sockets:
        s.close()


def many_connections_of_one_principal(server):
    attackers = [Attacker(server) for _ in range(262)]
    attackers[-1].expect_goaway(CALM, b"too_many_connections")
    for a in attackers:
        a.close()


def work_without_waiting(server):
    """3000 calls whose streams are reset at once: the work stays counted, the rest is refused."""
    with server.channel() as channel:
        before = server.stats(channel)["refused"]
        a = Attacker(server)
        batch = b""
        for i in range(3000):
            stream = 1 + 2 * i
            batch += (frame(HEADERS, END_HEADERS, stream, head()) + frame(DATA, END_STREAM, stream, message()) +
                      frame(RST, 0, stream, struct.pack(">I", 8)))
        a.send(batch)
        end = time.monotonic() + END_S
        while server.stats(channel)["refused"] - before < 900 and time.monotonic() < end:
            time.sleep(0.02)
        refused = server.stats(channel)["refused"] - before
        assert refused >= 900, "%d of 3000 were refused, expected 3000 - 2048" % refused
        a.close()


ATTACKS = [rapid_reset, made_you_reset, settings_flood, settings_with_many_entries, settings_flood_unread,
           ping_flood, continuation_flood, headers_without_end, header_list_too_large, hpack_bomb,
           empty_frames, slow_body, dripping_body, half_handshake, no_settings, wrong_preface,
           giant_message, wrong_messages, too_many_streams, unread_answers, wrong_tls,
           nameless_certificate, many_silent_connections, many_connections_of_one_principal,
           work_without_waiting]


def check_after(server):
    """Nothing of the attacks is left in the server."""
    with server.channel() as channel:
        end = time.monotonic() + END_S
        while True:
            stats = server.stats(channel)
            # This one, the honest client's, and perhaps one that is leaving.
            if stats["connections"] <= 3 and stats["calls_in_flight"] <= 2:
                return
            assert time.monotonic() < end, "left behind: %r" % stats
            time.sleep(0.1)


def check_memory(server, is_sanitized):
    rss = server.rss_mib()
    print("  resident memory %.0f MiB" % rss)
    assert is_sanitized or rss < RSS_MAX_MIB, "%.0f MiB are resident" % rss


def check_end(server):
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(60)
    assert status == 0, "exit status %d; log:\n%s" % (status, server.log_text()[-3000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("-k", default="", help="only attacks whose name holds this")
    options = parser.parse_args()
    is_sanitized = b"__asan_init" in open(options.program, "rb").read()
    server = Server(options.program)
    honest = Honest(server)
    honest.start()
    passed = failed = 0

    def run(name, step):
        nonlocal passed, failed
        begin = time.monotonic()
        try:
            step()
            assert server.process.poll() is None or name == "ends_on_sigterm", "the server died"
            passed += 1
            print("ok   %-36s %5.2f s" % (name, time.monotonic() - begin), flush=True)
        except Exception as error:  # noqa: BLE001
            failed += 1
            print("FAIL %-36s %s: %s" % (name, type(error).__name__, error), flush=True)

    def honest_was_served():
        honest.stopping = True
        honest.join(30)
        print("  %d honest calls, slowest %.0f ms" % (honest.count, honest.slowest * 1000))
        assert honest.count > 0 and not honest.failures, honest.failures[:5]

    for attack in ATTACKS:
        if options.k in attack.__name__:
            run(attack.__name__, lambda attack=attack: attack(server))
    run("nothing_is_left_behind", lambda: check_after(server))
    run("memory_is_bounded", lambda: check_memory(server, is_sanitized))
    run("the_honest_client_was_always_served", honest_was_served)
    run("ends_on_sigterm", lambda: check_end(server))
    if failed:
        print(server.log_text()[-2000:])
    print("%d passed, %d failed" % (passed, failed))
    if server.process.poll() is None:
        server.process.kill()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
