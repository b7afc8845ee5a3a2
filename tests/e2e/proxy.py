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

What it cannot do: a hole is no lost packet to the sender's kernel. Connecting succeeds where with
dropped packets it would wait, sent bytes are acknowledged by the relay, and held bytes arrive after
the rule is lifted, in order, if both ends still wait. It neither reorders nor damages bytes (TLS
would find it), and it delays nothing but by a hole. Diallers that are no node of ours (a test's own
client) are node 0.

Commands, one JSON array a line, each answered by one: ["add", node, configuration, target port] ->
port; ["rule", from, to, mode]; ["pairs"] -> [[from, to, open connections, bytes passed], ...].
"""
import errno
import json
import os
import selectors
import socket
import struct
import sys

CHUNK = 256 * 1024
PASS, HOLE, CUT = "pass", "hole", "cut"


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

    def mode(self, pair):
        return self.rules.get(pair, PASS)

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
            if self.mode(way.pair) != PASS:
                continue
            if not way.held and not way.ended:
                wanted[way.source] |= selectors.EVENT_READ
            if way.held or (way.ended and not way.shut):
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
                if self.mode(way.pair) != PASS:
                    continue
                if way.source is sock and events & selectors.EVENT_READ and not way.held:
                    way.held = sock.recv(CHUNK)
                    way.ended = not way.held
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

    def flush(self, way):
        if way.held:
            try:
                count = way.sink.send(way.held)
            except BlockingIOError:
                return
            self.passed[way.pair] = self.passed.get(way.pair, 0) + count
            way.held = way.held[count:]
        if way.ended and not way.held and not way.shut:
            way.shut = True
            way.sink.shutdown(socket.SHUT_WR)

    def lose(self, connection):
        """One end is gone. The other learns of it, unless a hole is in between: then it is kept, as
        a machine that hears nothing keeps it, until the rule is lifted."""
        if all(self.mode(way.pair) == PASS for way in connection.ways):
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

    def rule(self, source, sink, mode):
        self.rules[(source, sink)] = mode
        for connection in list(self.connections):
            pairs = [way.pair for way in connection.ways]
            if (source, sink) in pairs:
                if CUT in (self.mode(pairs[0]), self.mode(pairs[1])):
                    self.drop(connection)
                else:
                    self.watch(connection)

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
            for key, events in self.selector.select():
                if key.data is None:
                    if not self.read_commands():
                        return
                elif isinstance(key.data, tuple):
                    self.accept(key.fileobj, *key.data)
                elif key.data.open:
                    self.move(key.data, key.fileobj, events)


if __name__ == "__main__":
    Relay().run()
