"""Rules between nodes, counted: two faults may bend the same link, and the end of one leaves the other.

A way is a pair (from, to) of node ids. What a rule does to it:

  drop                nothing arrives, nobody is told
  reset               connections are reset, new ones too
  loss percent=P      of what is sent P % is lost on the way (TCP sends it again, later)
  rate bytes_per_s=N  a narrow link
  delay ms=N          a long one

Two networks can carry this out. KernelLinks: nodes stand in network namespaces, nftables in the
receiving one drops, so nothing is acknowledged and TCP repeats (no delay: kernels may lack netem).
RelayLinks: proxies between the nodes (tests/e2e/proxy.py), for machines without those rights, and
for delay; there a dropped way holds the bytes, and loss is the stall that it would cause.
"""
import functools
import os
import subprocess
import sys
import threading

from namespaces import Namespaces, NamespacesMissing
from network import Network

KINDS = ("drop", "reset", "loss", "rate", "delay")
NFT_SECONDS = 30
# A process that hides its open files, as tallyd does (server/privilege.c).
SHY = "import ctypes, sys; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print(flush=True); sys.stdin.read()"


class Rule:
    def __init__(self, ways, kind, how):
        self.ways, self.kind, self.how = sorted(set(ways)), kind, how

    def __str__(self):
        more = "".join(" %s=%s" % item for item in sorted(self.how.items()))
        return "%s%s: %s" % (self.kind, more, ", ".join("%d→%d" % way for way in self.ways))


class Links:
    """What faults ask; a subclass applies the sum of all rules."""

    kind = ""
    can = ()

    def __init__(self, network):
        self.network, self.rules, self.lock = network, [], threading.Lock()

    def lacks(self, kind):
        """Why this network cannot do that, or None."""
        return None if kind in self.can else "the %s network cannot %s" % (self.kind, kind)

    def add(self, ways, kind, **how):
        if kind not in KINDS or self.lacks(kind):
            raise ValueError(self.lacks(kind) or "no such rule: %s" % kind)
        rule = Rule(ways, kind, how)
        with self.lock:
            self.rules.append(rule)
            self.apply({way for way in rule.ways})
        return rule

    def remove(self, rule):
        with self.lock:
            if rule in self.rules:
                self.rules.remove(rule)
                self.apply(set(rule.ways))

    def clear(self):
        with self.lock:
            changed = {way for rule in self.rules for way in rule.ways}
            self.rules = []
            self.apply(changed)

    def on(self, way):
        """[(kind, how)] of everything that bends this way."""
        return [(rule.kind, rule.how) for rule in self.rules if way in rule.ways]

    def apply(self, ways):
        raise NotImplementedError


class KernelLinks(Links):
    kind, can = "kernel", ("drop", "reset", "loss", "rate")

    def apply(self, ways):
        for node in sorted({sink for _, sink in ways}):
            self.network.rule_in(node, self.ruleset(node))

    def ruleset(self, node):
        """What a node's own place says about packets that arrive from the others."""
        lines = []
        for source in self.network.nodes:
            address = self.network.host(source)
            for kind, how in self.on((source, node)):
                lines.append("ip saddr %s %s" % (address, self.verdict(kind, how)))
        return lines

    @staticmethod
    def verdict(kind, how):
        if kind == "drop":
            return "drop"
        if kind == "reset":
            # Never a reset for a reset: the other end's word has to get through.
            return "tcp flags & rst != rst reject with tcp reset"
        if kind == "loss":
            return "numgen random mod 1000 < %d drop" % int(how["percent"] * 10)
        return "limit rate over %d bytes/second burst %d bytes drop" % (
            how["bytes_per_s"], max(4096, how["bytes_per_s"] // 10))


class KernelNetwork(Namespaces):
    """Namespaces on a bridge (tests/e2e/namespaces.py), with a table of nftables in each."""

    def rule_in(self, node, lines):
        text = "table inet nemesis\ndelete table inet nemesis\n"
        if lines:
            text += ("table inet nemesis {\n chain input {\n"
                     "  type filter hook input priority 0; policy accept;\n  %s\n }\n}\n"
                     % "\n  ".join(lines))
        try:
            done = subprocess.run(self.prefix(node) + ["nft", "-f", "-"], input=text.encode(),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=NFT_SECONDS)
        except FileNotFoundError:
            raise NamespacesMissing("nft is not there (Debian package nftables)") from None
        if done.returncode != 0:
            raise NamespacesMissing("nft: %s" % done.stdout.decode(errors="replace").strip())


class RelayLinks(Links):
    kind, can = "relay", ("drop", "reset", "loss", "rate", "delay")

    def apply(self, ways):
        for way in sorted(ways):
            mode, how = self.sum(self.on(way))
            self.network.bend(*way, mode, how)

    @staticmethod
    def sum(rules):
        """(mode, parameters) of the relay for all of them together."""
        kinds = {kind for kind, _ in rules}
        if "reset" in kinds:
            return "cut", {}
        if "drop" in kinds:
            return "hole", {}
        how = {"delay_ms": sum(h["ms"] for k, h in rules if k == "delay"),
               "loss_percent": max([h["percent"] for k, h in rules if k == "loss"], default=0),
               "bytes_per_s": min([h["bytes_per_s"] for k, h in rules if k == "rate"], default=0)}
        return ("slow", how) if kinds else ("pass", {})


@functools.lru_cache(maxsize=None)
def kernel_lacks():
    """Why this machine, or this user, has no kernel network; None when it has."""
    try:
        network = KernelNetwork()
    except NamespacesMissing as missing:
        return str(missing)
    try:
        network.add(1, None, 1)
        network.add(2, None, 1)
        links = KernelLinks(network)
        for kind, how in (("drop", {}), ("reset", {}), ("loss", {"percent": 5}),
                          ("rate", {"bytes_per_s": 1 << 16})):
            links.add([(1, 2)], kind, **how)
        links.clear()
    except (NamespacesMissing, OSError, subprocess.SubprocessError) as missing:
        return str(missing)
    finally:
        network.close()
    return None


@functools.lru_cache(maxsize=None)
def relay_lacks():
    """Why rules would bend nothing behind relays here, None when they do. A relay finds out who dials by
    the open files of the nodes' processes (tests/e2e/proxy.py), and a node lets nobody look at them
    who may not look at everything; to a relay that may not everybody is a stranger."""
    with subprocess.Popen([sys.executable, "-c", SHY], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            os.listdir("/proc/%d/fd" % process.pid)
        except OSError as failure:
            return "a relay cannot see who dials (%s): root and the right to trace are needed" % (
                failure.strerror)
        finally:
            process.stdin.close()
    return None


def network_for(wanted):
    """The network ("kernel", "relay") of who wants that one, or "any"."""
    return wanted if wanted != "any" else "relay" if kernel_lacks() else "kernel"


def lacks(wanted, bends):
    """Why a run that bends links, or does not, cannot be on that network ("kernel", "relay", "any") here,
    None when it can."""
    if network_for(wanted) == "kernel":
        return kernel_lacks()
    return relay_lacks() if bends else None


def make_links(kind):
    """The network of that kind ("kernel" or "relay")."""
    return KernelLinks(KernelNetwork()) if kind == "kernel" else RelayLinks(Network())
