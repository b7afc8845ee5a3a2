"""The harness' network itself: rules that silently did nothing would let every other test pass."""
import os
import select
import socket
import subprocess
import sys
import time

from cluster import free_port
from network import Network

HEAR_SECONDS = 60           # what has to arrive has arrived by then

# A stand-in for a node: its second argument is the "configuration" by which the relay knows it.
# It connects to the port that it reads, echoes everything that its peers send, and says on its
# output what arrived on its own connection.
STAND_IN = r"""
import os, selectors, socket, sys
port = int(sys.argv[2])
listening = socket.create_server(("127.0.0.1", port))
selector = selectors.DefaultSelector()
selector.register(listening, selectors.EVENT_READ, "listening")
selector.register(0, selectors.EVENT_READ, "commands")
dialled = None
def say(text):
    os.write(1, text.encode() + b"\n")     # whole lines, whatever python's buffering is
say("up")
while True:
    for key, _ in selector.select():
        if key.data == "listening":
            selector.register(listening.accept()[0], selectors.EVENT_READ, "peer")
        elif key.data == "commands":
            line = os.read(0, 4096).decode()
            if not line:
                sys.exit(0)
            for word in line.split():
                if word.isdigit():
                    dialled = socket.create_connection(("127.0.0.1", int(word)), 5)
                    selector.register(dialled, selectors.EVENT_READ, "dialled")
                else:
                    dialled.sendall(word.encode())
        else:
            try:
                part = key.fileobj.recv(4096)
            except OSError:
                part = b""
            if not part:
                selector.unregister(key.fileobj)
                say("end")
            elif key.data == "peer":
                key.fileobj.sendall(part)
            else:
                say(part.decode())
"""


class StandIn:
    def __init__(self, directory, network, node):
        self.configuration = os.path.join(directory, "stand-in-%d" % node)
        port = free_port()
        self.port = int(network.add(node, self.configuration, port).rsplit(":", 1)[1])
        self.process = subprocess.Popen([sys.executable, "-c", STAND_IN, self.configuration,
                                         str(port)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.hears(HEAR_SECONDS) == "up"

    def says(self, word):
        self.process.stdin.write(("%s\n" % word).encode())
        self.process.stdin.flush()

    def hears(self, seconds):
        """What arrived within so many seconds, or None."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        return os.read(self.process.stdout.fileno(), 4096).decode().strip()

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


# Both nodes dial the other, so that a rule meets connections of either origin: bytes pass, a hole
# of one way stops exactly that way and keeps what was sent, a cut ends connections, healing heals.
def test_rules_hold_for_one_way_of_a_pair(t):
    network = Network()
    one = two = None
    try:
        one, two = (StandIn(t.run.scratch, network, n) for n in (1, 2))
        one.says(two.port)
        one.says("hello")
        t.equal(one.hears(HEAR_SECONDS), "hello", "through the relay and back")
        t.equal(set(network.pairs()), {(1, 2), (2, 1)}, "who dialled was found out")
        two.says(one.port)
        two.says("ho")
        t.equal(two.hears(HEAR_SECONDS), "ho", "the other way round")

        network.one_way(2, 1, "hole")       # 1 is heard by 2, and hears nothing of it
        before = network.pairs()[(1, 2)][1]
        one.says("lost")
        t.equal(one.hears(0.3), None, "the echo is held")
        t.eventually(lambda: network.pairs()[(1, 2)][1] == before + 4, HEAR_SECONDS,
                     "2 was reached")
        two.says("held")
        t.equal(two.hears(0.3), None, "what 2 says is held")
        network.heal()
        t.equal((one.hears(HEAR_SECONDS), two.hears(HEAR_SECONDS)), ("lost", "held"), "arrives after the hole")

        network.isolate([1], "hole")
        one.says(two.port)               # a further connection starves as well
        one.says("starved")
        t.equal(one.hears(0.3), None, "nothing comes through a new connection")
        network.heal()
        t.equal(one.hears(HEAR_SECONDS), "starved", "after the hole")

        network.one_way(1, 2, "cut")
        t.equal(one.hears(HEAR_SECONDS).split()[0], "end", "cut")
        t.equal(two.hears(HEAR_SECONDS).split()[0], "end", "cut at the other end")
        network.heal()
        two.says(one.port)
        two.says("again")
        t.eventually(lambda: "again" in (two.hears(1) or ""), HEAR_SECONDS, "healed")
    finally:
        for node in (one, two):
            if node:
                node.close()
        network.close()


# A slow way: all that passes is late by the delay and in order, a narrow one carries so many bytes a
# second, one that loses everything stalls; what is under way when the rule ends arrives at once.
def test_slow_way_delays_and_narrows_and_loses_nothing(t):
    network = Network()
    one = two = None
    try:
        one, two = (StandIn(t.run.scratch, network, n) for n in (1, 2))
        one.says(two.port)
        one.says("hello")
        t.equal(one.hears(HEAR_SECONDS), "hello", "through the relay and back")
        network.bend(2, 1, "slow", {"delay_ms": 400})
        began = time.monotonic()
        one.says("late")
        t.equal(one.hears(HEAR_SECONDS), "late", "after the delay")
        took = time.monotonic() - began
        t.true(0.4 <= took < HEAR_SECONDS, "a delay of 400 ms took %.3f s" % took)
        words = "".join(chr(ord("a") + k % 26) for k in range(20))
        for letter in words:
            one.says(letter)
            time.sleep(0.03)
        heard, end = "", time.monotonic() + HEAR_SECONDS
        while len(heard) < len(words) and time.monotonic() < end:
            heard += (one.hears(1) or "").replace("\n", "")
        t.equal(heard, words, "all of it, in order")
        network.bend(1, 2, "slow", {"bytes_per_s": 4000})
        network.bend(2, 1, "pass", {})
        began = time.monotonic()
        one.says("x" * 2000)
        heard = ""
        while len(heard) < 2000 and time.monotonic() < began + HEAR_SECONDS:
            heard += (one.hears(1) or "").replace("\n", "")
        took = time.monotonic() - began
        t.true(0.4 <= took < HEAR_SECONDS, "2000 bytes at 4000 a second took %.3f s" % took)
        network.bend(1, 2, "slow", {"loss_percent": 100})
        one.says("stalled")
        t.equal(one.hears(1.0), None, "a link that loses everything stalls")
        network.heal()
        t.equal(one.hears(HEAR_SECONDS), "stalled", "nothing is lost in the end")
    finally:
        for node in (one, two):
            if node:
                node.close()
        network.close()


# A client that is no node is node 0, and rules between nodes do not touch it.
def test_a_stranger_is_node_zero(t):
    network = Network()
    node = None
    try:
        node = StandIn(t.run.scratch, network, 1)
        network.one_way(1, 2, "hole")
        with socket.create_connection(("127.0.0.1", node.port), 10) as stranger:
            stranger.sendall(b"who am I")
            t.equal(stranger.recv(64), b"who am I", "echo")
            t.equal(network.pairs()[(0, 1)], (1, 8), "node 0")
    finally:
        if node:
            node.close()
        network.close()
