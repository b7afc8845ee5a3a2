"""The harness' hand on the network between nodes: rules for proxy.py, which says what they can do.

Directions are pairs of node ids. Node 0 is whoever dials and is no node.
"""
import json
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ANSWER_SECONDS = 20


class NetworkFailure(Exception):
    """The relay process did not answer, or is gone."""


class Direct:
    """No network to speak of: nodes reach each other by loopback. For measurements."""

    host = staticmethod(lambda node: "127.0.0.1")
    prefix = staticmethod(lambda node: [])

    @staticmethod
    def add(node, configuration, target):
        del node, configuration
        return "127.0.0.1:%d" % target

    def heal(self):
        pass

    def close(self):
        pass


class Network:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "proxy.py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        start_new_session=True)
        self.lock = threading.Lock()
        self.nodes = []
        self.rules = {}

    def ask(self, *words):
        with self.lock:
            timer = threading.Timer(ANSWER_SECONDS, self.process.kill)
            timer.start()
            try:
                self.process.stdin.write((json.dumps(words) + "\n").encode())
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            except OSError:
                line = b""
            finally:
                timer.cancel()
        if not line:
            raise NetworkFailure("the relay is gone, at %r" % (words,))
        return json.loads(line)

    @staticmethod
    def host(node):
        del node                        # all nodes share this machine's loopback
        return "127.0.0.1"

    @staticmethod
    def prefix(node):
        del node
        return []

    def add(self, node, configuration, target):
        """Puts a relay before a node's peer listener; returns the address that others dial."""
        self.nodes.append(node)
        return "127.0.0.1:%d" % self.ask("add", node, configuration, target)

    def one_way(self, source, sink, mode):
        """A rule for what `source` says to `sink`."""
        if self.rules.get((source, sink), "pass") != mode:
            self.rules[(source, sink)] = mode
            self.ask("rule", source, sink, mode)

    def bend(self, source, sink, mode, how):
        """A rule with parameters (proxy.py: slow) for one way."""
        self.rules[(source, sink)] = mode
        self.ask("rule", source, sink, mode, how)

    def between(self, one, other, mode):
        """A rule for both ways of a pair."""
        self.one_way(one, other, mode)
        self.one_way(other, one, mode)

    def isolate(self, nodes, mode):
        """Both ways between these nodes and all others."""
        for inside in nodes:
            for outside in [n for n in self.nodes if n not in nodes]:
                self.between(inside, outside, mode)

    def heal(self):
        for source, sink in list(self.rules):
            self.one_way(source, sink, "pass")

    def pairs(self):
        """{(from, to): (open connections, bytes passed)}, the first being who dialled."""
        return {(a, b): (count, size) for a, b, count, size in self.ask("pairs")}

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process.stdout.close()
