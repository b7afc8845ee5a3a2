#!/usr/bin/python3
"""The network between the nodes under test: one relay before each node's peer port.

    tests/e2e/proxy.py        (started by network.py; speaks JSON lines on its standard streams)

A node's address in the member table is a port of this process; what arrives there is passed on to
the node's own listener. Both ends of each connection are known: the listener's node is the relay's,
and the dialler is found by asking the kernel which process holds the other socket (/proc/net/tcp
gives its inode, /proc/PID/fd its owner, the owner's command line names a node's configuration).
So a rule is about a *pair*, and one way of it:

  pass   bytes go through
  hole   nothing goes through and nobody is told: sockets stay open, new connections are accepted
         and starve, a full send buffer blocks its writer, the end of a connection is not passed on
  cut    existing connections of the pair are reset, new ones too (both ways, whichever is asked)
  slow   bytes arrive later: all by delay_ms, at most bytes_per_s of them, and of the portions
         loss_percent wait STALL_SECONDS more (again and again with that chance), as TCP would make
         the reader wait for a packet that has to be sent again; at most LATE_BYTES are under way

What it cannot do: a hole is no lost packet to the sender's kernel. Connecting succeeds where with
dropped packets it would wait, sent bytes are acknowledged by the relay, and held bytes arrive after
the rule is lifted, in order, if both ends still wait. It neither reorders nor damages bytes (TLS
would find it), and it delays nothing but by hole and slow. Diallers that are no node of ours (a test's own
client) are node 0.

Commands, one JSON array a line, each answered by one: ["add", node, configuration, target port] ->
port; ["rule", from, to, mode, parameters of slow]; ["pairs"] -> [[from, to, open connections, bytes passed], ...].
"""
import collections
import errno
import heapq
import json
import os
import random
import selectors
import socket
import struct
import sys
import time

CHUNK = 256 * 1024
PASS, HOLE, CUT, SLOW = "pass", "hole", "cut", "slow"
STALL_SECONDS = 0.2         # the least time after which Linux sends again
STALLS_MAX = 20             # of one portion
LATE_BYTES = 1 << 20        # of one way, read and not yet due: then nothing more is read
PORTION_SECONDS = 0.05      # of a narrow link, carried at a time


def reset(sock):
    """Closes with RST, as a machine that forgot the connection would answer."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


def inode_of(local_port, remote_port):
    """The inode of the socket on this machine that connects local_port to remote_port; 0: none."""
    near, far = "0100007F:%04X" % local_port, "0100007F:%04X" % remote_port
    with open("/proc/net/tcp") as table:
        for line in table:
            field = line.split(None, 10)
            if field[1] == near and field[2] == far:
                return int(field[9])
    return 0


class Way:
    """One direction of a connection: from one socket into the other."""

    def __init__(self, source, sink, pair):
        self.source, self.sink, self.pair = source, sink, pair
        self.held = b""         # read and not yet written
        self.ended = False      # the source has sent its end
        self.shut = False       # and the sink was told
        self.late = collections.deque()     # (due, bytes): under way on a slow link
        self.late_bytes = 0
        self.free_at = 0.0      # when a narrow link has carried what it was given

    def delay(self, part, how, now):
        """Puts bytes under way; the moment at which they arrive."""
        due = now
        if how.get("bytes_per_s"):
            due = self.free_at = max(now, self.free_at) + len(part) / how["bytes_per_s"]
        due += how.get("delay_ms", 0) / 1000
        for _ in range(STALLS_MAX):
            if random.random() * 100 >= how.get("loss_percent", 0):
                break
            due += STALL_SECONDS
        if self.late:
            due = max(due, self.late[-1][0])        # in order
        self.late.append((due, part))
        self.late_bytes += len(part)
        return due


class Connection:
    def __init__(self, dialler, listener, outer, inner):
        self.dialler, self.listener = dialler, listener
        self.outer, self.inner = outer, inner
        self.ways = (Way(outer, inner, (dialler, listener)), Way(inner, outer, (listener, dialler)))
        self.open = True


class Relay:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.nodes = {}         # configuration path -> node
        self.owners = {}        # process -> node
        self.rules = {}         # (from, to) -> mode
        self.passed = {}        # (from, to) -> bytes
        self.connections = set()
        self.commands = b""
        self.how = {}           # (from, to) -> parameters of slow
        self.alarms = []        # (moment, number, connection): when something late arrives
        self.number = 0

    def mode(self, pair):
        return self.rules.get(pair, PASS)

    def flows(self, way):
        return self.mode(way.pair) in (PASS, SLOW)

    # ---- who dials ----

    def owner(self, inode):
        """The node whose process holds a socket; 0 when it is none of ours."""
        wanted = "socket:[%d]" % inode
        for process in [p for p in os.listdir("/proc") if p.isdigit()]:
            node = self.node_of(process)
            if node == 0:
                continue
            try:
                for name in os.listdir("/proc/%s/fd" % process):
                    try:
                        if os.readlink("/proc/%s/fd/%s" % (process, name)) == wanted:
                            return node
                    except OSError:
                        pass            # closed meanwhile
            except OSError:
                pass                    # ended meanwhile
        return 0

    def node_of(self, process):
        try:
            with open("/proc/%s/cmdline" % process, "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            return 0
        for argument in arguments[1:]:
            if argument in self.nodes:
                return self.nodes[argument]
        return 0

    # ---- connections ----

    def accept(self, listening, node, target):
        try:
            outer, address = listening.accept()
        except OSError:
            return
        inode = inode_of(address[1], listening.getsockname()[1])
        dialler = self.owner(inode) if inode else 0
        if CUT in (self.mode((dialler, node)), self.mode((node, dialler))):
            reset(outer)
            return
        inner = socket.socket()
        inner.setblocking(False)
        result = inner.connect_ex(("127.0.0.1", target))
        if result not in (0, errno.EINPROGRESS):
            inner.close()
            reset(outer)
            return
        outer.setblocking(False)
        for sock in (outer, inner):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(dialler, node, outer, inner)
        self.connections.add(connection)
        self.watch(connection)

    def watch(self, connection):
        """Registers each socket for what it is waited for, by the rules of now."""
        wanted = {connection.outer: 0, connection.inner: 0}
        for way in connection.ways:
            if not self.flows(way):
                continue
            if not way.held and not way.ended and way.late_bytes < LATE_BYTES:
                wanted[way.source] |= selectors.EVENT_READ
            if way.held or (way.ended and not way.shut and not way.late):
                wanted[way.sink] |= selectors.EVENT_WRITE
        for sock, events in wanted.items():
            try:
                known = self.selector.get_key(sock).events
            except KeyError:
                known = 0
            if events == known:
                continue
            if known and events:
                self.selector.modify(sock, events, connection)
            elif events:
                self.selector.register(sock, events, connection)
            else:
                self.selector.unregister(sock)

    def drop(self, connection, how=reset):
        if not connection.open:
            return
        connection.open = False
        for sock in (connection.outer, connection.inner):
            try:
                self.selector.unregister(sock)
            except KeyError:
                pass
            how(sock)
        self.connections.discard(connection)

    def move(self, connection, sock, events):
        """Carries what can be carried now."""
        try:
            for way in connection.ways:
                if not self.flows(way):
                    continue
                if way.source is sock and events & selectors.EVENT_READ and not way.held:
                    self.take_in(connection, way, sock)
                self.flush(way)
        except BlockingIOError:
            pass
        except OSError:
            self.lose(connection)
            return
        if all(way.shut for way in connection.ways):
            self.drop(connection, socket.socket.close)
        else:
            self.watch(connection)

    def take_in(self, connection, way, sock):
        slow = self.mode(way.pair) == SLOW
        how, size = self.how.get(way.pair, {}) if slow else {}, CHUNK
        if how.get("bytes_per_s"):
            size = max(1024, int(how["bytes_per_s"] * PORTION_SECONDS))
        part = sock.recv(min(size, CHUNK))
        way.ended = not part
        if not part:
            return
        if slow or way.late:
            self.wake(way.delay(part, how, time.monotonic()), connection)
        else:
            way.held = part

    def wake(self, moment, connection):
        self.number += 1
        heapq.heappush(self.alarms, (moment, self.number, connection))

    def arrive(self):
        """Carries on what is due; seconds until the next, None: nothing is under way."""
        now = time.monotonic()
        while self.alarms and self.alarms[0][0] <= now:
            connection = heapq.heappop(self.alarms)[2]
            if connection.open:
                self.move(connection, None, 0)
        return max(0.0, self.alarms[0][0] - time.monotonic()) if self.alarms else None

    def flush(self, way):
        while way.held or (way.late and way.late[0][0] <= time.monotonic()):
            if not way.held:
                way.held = way.late.popleft()[1]
                way.late_bytes -= len(way.held)
            try:
                count = way.sink.send(way.held)
            except BlockingIOError:
                return
            self.passed[way.pair] = self.passed.get(way.pair, 0) + count
            way.held = way.held[count:]
        if way.ended and not way.held and not way.late and not way.shut:
            way.shut = True
            way.sink.shutdown(socket.SHUT_WR)

    def lose(self, connection):
        """One end is gone. The other learns of it, unless a hole is in between: then it is kept, as
        a machine that hears nothing keeps it, until the rule is lifted."""
        if all(self.flows(way) for way in connection.ways):
            self.drop(connection)
            return
        for sock in (connection.outer, connection.inner):
            try:
                self.selector.unregister(sock)
            except KeyError:
                pass

    # ---- commands ----

    def add(self, node, configuration, target):
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        listening.setblocking(False)
        self.nodes[configuration.encode()] = node
        self.selector.register(listening, selectors.EVENT_READ, (node, target))
        return listening.getsockname()[1]

    def rule(self, source, sink, mode, how=None):
        self.rules[(source, sink)] = mode
        self.how[(source, sink)] = how or {}
        for connection in list(self.connections):
            pairs = [way.pair for way in connection.ways]
            if (source, sink) in pairs:
                if CUT in (self.mode(pairs[0]), self.mode(pairs[1])):
                    self.drop(connection)
                else:
                    self.hasten(connection)
                    self.watch(connection)

    def hasten(self, connection):
        """Rules changed: what is under way on a way that is not slow any more is due now."""
        for way in connection.ways:
            if way.late and self.mode(way.pair) != SLOW:
                way.late = collections.deque((0.0, part) for _, part in way.late)
            if way.late:
                self.wake(way.late[0][0], connection)

    def pairs(self):
        count = {}
        for connection in self.connections:
            pair = (connection.dialler, connection.listener)
            count[pair] = count.get(pair, 0) + 1
        return [[a, b, count.get((a, b), 0), self.passed.get((a, b), 0)]
                for a, b in sorted(set(count) | set(self.passed))]

    def command(self, line):
        words = json.loads(line)
        answer = getattr(self, {"add": "add", "rule": "rule", "pairs": "pairs"}[words[0]])(*words[1:])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    def read_commands(self):
        """False when the harness is gone."""
        part = os.read(0, 65536)
        self.commands += part
        while b"\n" in self.commands:
            line, self.commands = self.commands.split(b"\n", 1)
            self.command(line)
        return bool(part)

    def run(self):
        self.selector.register(0, selectors.EVENT_READ, None)
        while True:
            for key, events in self.selector.select(self.arrive()):
                if key.data is None:
                    if not self.read_commands():
                        return
                elif isinstance(key.data, tuple):
                    self.accept(key.fileobj, *key.data)
                elif key.data.open:
                    self.move(key.data, key.fileobj, events)


if __name__ == "__main__":
    Relay().run()
