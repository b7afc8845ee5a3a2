"""Clients that take and do not give: they hang in the middle of a call, never read what they asked for,
or read an export for ever. None of them writes into the ledger, so no judge needs to hear of them.

Promised: everything a client holds is bounded in size and time, and nobody else notices it.
"""
import signal
import socket
import ssl
import subprocess
import threading

from abuse import DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, head
from client import Api
from nemesis.fault import Fault, Passed

CONNECT_SECONDS, CALL_SECONDS = 5, 5
END_SECONDS = 20


class Guests(Fault):
    """Connections of ours to the nodes that are meant; they are no fault of the node's process, so
    nodes are looked up and not held."""
    kind = "clients"

    def begin(self, context):
        self.open, self.struck = [], []
        for member in context.members(self.whom):
            if member.is_data and member.alive and not member.stopped:
                self.struck.append(member)
                for number in range(self.parameters.get("count", 30)):
                    self.visit(context, member, number)
        if not self.open:
            raise Passed("nobody let a guest in")

    def nodes(self):
        return [member.node_id for member in getattr(self, "struck", [])]

    def visit(self, context, member, number):
        raise NotImplementedError


def is_over(connection):
    """Whether the other end has ended a connection that does not wait."""
    try:
        while connection.recv(4096):
            pass                        # an alert before the end
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


class HangingClients(Guests):
    """A third of them connect and say nothing, a third stop in the middle of the handshake's first
    bytes, a third ask and leave half a message."""
    name, seconds, weight = "hanging-clients", (1.0, 8.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "data")), count=draw.choice((10, 60)))

    def begin(self, context):
        self.halves, self.unfinished = 0, []
        super().begin(context)

    def visit(self, context, member, number):
        try:
            plain = socket.create_connection((member.host, member.grpc_port()), CONNECT_SECONDS)
        except OSError:
            return
        self.open.append(plain)
        try:
            if number % 3 == 2:
                self.half_a_message(context, plain)
                self.halves += 1
                return
            if number % 3 == 1:
                plain.sendall(b"\x16\x03\x01\x02\x00\x01")
            plain.setblocking(False)
            self.unfinished.append(plain)
        except (OSError, ssl.SSLError):
            pass                        # it was shown the door: that is what doors are for

    def shown_out(self):
        """How many of those that never finish a handshake the node has ended."""
        return sum(is_over(connection) for connection in self.unfinished)

    def half_a_message(self, context, plain):
        security = context.sites.security
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(security.authority.certificate)
        tls.load_cert_chain(security.by_name["other"].certificate, security.by_name["other"].key)
        tls.set_alpn_protocols(["h2"])
        secure = tls.wrap_socket(plain, server_hostname="localhost")
        self.open[-1] = secure
        secure.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(
            HEADERS, END_HEADERS, 1, head(b"/tally.v1.Ledger/CreateTransfers"))
            + frame(DATA, 0, 1, b"\0\0\1\0\0half of it"))

    def end(self, context):
        for connection in getattr(self, "open", []):
            connection.close()
        self.open = []


class Strangers(Guests):
    """They say hello as TLS does and nothing more, at a data node's door for clients, or at the
    witness's for peers: each costs the node what a handshake takes."""
    name, seconds = "strangers", (1.0, 4.0)

    def begin(self, context):
        self.open, self.struck = [], context.members(self.whom)
        for member in self.struck:
            for number in range(self.parameters.get("count", 50)):
                self.visit(context, member, number)

    def visit(self, context, member, number):
        port = member.grpc_port() if member.is_data else member.peer_port
        out = ssl.MemoryBIO()
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
            ssl.MemoryBIO(), out, server_hostname="localhost")
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            pass                        # its hello is in `out`
        try:
            plain = socket.create_connection((member.host, port), CONNECT_SECONDS)
        except OSError:
            return                      # a node without memory lets nobody in
        self.open.append(plain)
        try:
            plain.sendall(out.read())
        except OSError:
            pass                        # or ends it at once

    def end(self, context):
        for connection in getattr(self, "open", []):
            connection.close()
        self.open = []


class StoppedReaders(Guests):
    """Exports of the whole ledger whose programs are stopped in the middle (SIGSTOP) with the answers
    unread. What they hold must neither pin the store's pages nor anybody's memory."""
    name, seconds, weight = "stopped-readers", (2.0, 10.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "data")), count=draw.choice((3, 8)))

    def visit(self, context, member, number):
        del number
        sites, who = context.sites, context.sites.security.by_name["auditor"]
        # Its output goes into a pipe that nobody reads: it stops by itself when that is full.
        self.open.append(subprocess.Popen(
            [sites.programs.tally, "--server", "%s:%d" % (member.host, member.grpc_port()), "--ca",
             sites.security.authority.certificate, "--cert", who.certificate, "--key", who.key,
             "--deadline", "60", "transfer", "export"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))

    def begin(self, context):
        super().begin(context)
        context.wait(0.3)               # in the middle of it
        self.stopped = 0
        for reader in self.open:
            if reader.poll() is None:
                reader.send_signal(signal.SIGSTOP)
                self.stopped += 1

    def go_on(self, seconds):
        """They read on: exit statuses, None for who does not come to an end."""
        statuses = []
        for reader in self.open:
            reader.send_signal(signal.SIGCONT)
            try:
                reader.communicate(timeout=seconds)
                statuses.append(reader.returncode)
            except subprocess.TimeoutExpired:
                statuses.append(None)
        return statuses

    def end(self, context):
        for reader in getattr(self, "open", []):
            if reader.poll() is None:
                reader.kill()           # also ends one that is stopped
            reader.communicate(timeout=END_SECONDS)
        self.open = []


class GreedyClients(Fault):
    """One principal keeps `depth` requests under way at each data node, more than it may. They are
    fences of identities that nobody uses: they go through the log and change no balance."""
    name, kind, seconds, weight = "greedy-clients", "clients", (1.0, 5.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "data")), depth=draw.choice((300, 1500)))

    def begin(self, context):
        self.struck = [m for m in context.members(self.whom) if m.is_data and m.alive and not m.stopped]
        if not self.struck:
            raise Passed("no data node is up")
        self.stop, self.lock, self.counts = threading.Event(), threading.Lock(), {}
        self.threads = [threading.Thread(target=self.press, args=(member,), daemon=True)
                        for member in self.struck]
        for thread in self.threads:
            thread.start()

    def nodes(self):
        return [member.node_id for member in getattr(self, "struck", [])]

    def press(self, member):
        security = member.sites.security
        api = Api(member.grpc_port(), member.schema, security.authority, security.by_name["other"],
                  host=member.host)
        calls = []
        try:
            while not self.stop.is_set():
                while len(calls) < self.parameters.get("depth", 300) and not self.stop.is_set():
                    body = api.message("FenceRequest", identity=api.identity()).SerializeToString()
                    calls.append(api.start("FenceRequest", body, timeout=CALL_SECONDS, wait=False))
                over = [call for call in calls if call.done()]
                calls = [call for call in calls if not call.done()]
                self.count(over)
                self.stop.wait(0.01)
            for call in calls:
                call.cancel()
        finally:
            api.close()

    def count(self, calls):
        with self.lock:
            for call in calls:
                name = call.code().name
                self.counts[name] = self.counts.get(name, 0) + 1

    def end(self, context):
        if not hasattr(self, "threads"):
            return
        self.stop.set()
        for thread in self.threads:
            thread.join(END_SECONDS)
        context.note("%s: %s" % (self.name, self.counts))
