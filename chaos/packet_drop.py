"""Kernel network namespaces (tests/e2e/namespaces.py) in which also a *pair* of nodes can be cut.

A pair is cut by a wrong neighbour: each of the two gets a permanent entry that gives the other's
address a MAC that nobody has. Frames leave, the bridge finds no port for them, and nobody is told:
no reset, no refused connection, no acknowledgement by a relay in between; TCP repeats what was lost
once the entry is gone. Clients, which come from the bridge itself, reach both nodes all the while.
"""
import subprocess

from namespaces import Namespaces, NamespacesMissing

NOBODY = "02:00:00:00:00:00"


class PacketDrop(Namespaces):
    def __init__(self):
        super().__init__()
        self.cut_pairs = set()          # (from, to)

    def batch(self, node, lines):
        """Several changes in one node's place, by one process."""
        done = subprocess.run(["ip", "-n", self.name(node), "-force", "-batch", "-"],
                              input="\n".join(lines).encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30)
        return done.returncode, done.stdout.decode(errors="replace")

    def cut(self, pairs):
        """Cuts pairs of nodes, both ways."""
        ways = {(a, b) for a, b in pairs} | {(b, a) for a, b in pairs}
        for node in sorted({a for a, _ in ways}):
            code, text = self.batch(node, ["neigh replace %s lladdr %s dev eth0 nud permanent" % (
                self.host(b), NOBODY) for a, b in sorted(ways) if a == node])
            if code != 0:
                raise NamespacesMissing("ip neigh: %s" % text.strip())
        self.cut_pairs |= ways

    def heal(self):
        super().heal()
        for node in sorted({a for a, _ in self.cut_pairs}):
            self.batch(node, ["neigh del %s dev eth0" % self.host(b)
                              for a, b in sorted(self.cut_pairs) if a == node])
        self.cut_pairs = set()


def probe():
    """None, or why this machine cannot do it."""
    try:
        network = PacketDrop()
    except NamespacesMissing as missing:
        return str(missing)
    try:
        network.add(1, None, 1)
        network.add(2, None, 1)
        network.cut([(1, 2)])
        network.heal()
    except (NamespacesMissing, OSError, subprocess.SubprocessError) as missing:
        return str(missing)
    finally:
        network.close()
    return None
