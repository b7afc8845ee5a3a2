"""The network between nodes as the kernel's: each node in a network namespace, joined by a bridge.

The same interface as Network (network.py) for one kind of fault, a node that is cut off, with the
real thing: the bridge drops each packet from and to the node's port, so nothing is acknowledged,
new connections wait for an answer, and TCP repeats what was lost when the port forwards again. It
needs root and the right to make namespaces. What it cannot do: rules for pairs or for one way;
clients reach a node through the same port, so they are cut off together with it.
"""
import functools
import os
import shutil
import subprocess

import reserve

NETS = 250                          # 10.77.0 to 10.77.249
FORWARDING, DISABLED = "3", "0"     # states of a bridge's port


class NamespacesMissing(Exception):
    """This machine, or this user, cannot make network namespaces; the text says what failed."""


def routed(number):
    """Whether this machine has a route to that network: of a process that could not clean up."""
    try:
        with open("/proc/net/route") as file:
            there = [line.split()[1] for line in file if len(line.split()) > 1]
    except FileNotFoundError:
        return False
    return "00%02X4D0A" % number in there


@functools.lru_cache(maxsize=None)
def net():
    """The first three bytes of every address of this process' namespaces, which no other process has
    as long as this one lives."""
    for step in range(NETS):
        number = (os.getpid() + step) % NETS
        if not routed(number) and reserve.take("net-%d" % number):
            return "10.77.%d." % number
    raise NamespacesMissing("all networks from 10.77.0 to 10.77.%d are taken" % (NETS - 1))


def run(*arguments):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    if done.returncode != 0:
        raise NamespacesMissing("%s: %s" % (" ".join(arguments),
                                            done.stdout.decode(errors="replace").strip()))


class Namespaces:
    def __init__(self):
        if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "bridge"))):
            raise NamespacesMissing("root and the Debian package iproute2 are needed")
        self.mark = "%04x" % os.getpid()
        self.bridge = "tb" + self.mark
        self.net = net()
        self.nodes, self.cut_off = [], set()
        try:
            run("ip", "link", "add", "name", self.bridge, "type", "bridge")
            run("ip", "address", "add", self.net + "254/24", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
        except NamespacesMissing:
            self.close()
            raise

    def name(self, node):
        return "tally-%s-%d" % (self.mark, node)

    def port(self, node):
        return "tv%s.%d" % (self.mark, node)

    def host(self, node):
        return self.net + str(node)

    def prefix(self, node):
        """What a node's program is started with."""
        return ["ip", "netns", "exec", self.name(node)]

    def add(self, node, configuration, target):
        """Makes a node's place; returns the address that others dial."""
        del configuration               # a relay would need it
        name, port = self.name(node), self.port(node)
        run("ip", "netns", "add", name)
        self.nodes.append(node)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", port, "master", self.bridge)
        run("ip", "link", "set", port, "up")
        run("ip", "-n", name, "address", "add", self.host(node) + "/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run("ip", "-n", name, "link", "set", device, "up")
        return "%s:%d" % (self.host(node), target)

    def isolate(self, nodes, mode):
        if mode != "hole":
            raise ValueError("only holes: %r" % mode)
        for node in nodes:
            run("bridge", "link", "set", "dev", self.port(node), "state", DISABLED)
            self.cut_off.add(node)

    def heal(self):
        for node in list(self.cut_off):
            run("bridge", "link", "set", "dev", self.port(node), "state", FORWARDING)
            self.cut_off.discard(node)

    def close(self):
        for node in self.nodes:
            subprocess.run(["ip", "netns", "delete", self.name(node)], stderr=subprocess.DEVNULL,
                           timeout=30)
        subprocess.run(["ip", "link", "delete", self.bridge], stderr=subprocess.DEVNULL, timeout=30)
        self.nodes = []
