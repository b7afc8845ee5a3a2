"""What a fault is: a class per kind, an object per occurrence.

    class Kill(Fault):
        name, seconds, weight = "kill", (0.0, 2.0), 3

        def begin(self, context):
            for member in self.take(context): ...
        def end(self, context):
            for member in self.taken: ...

The timeline draws objects from the seed before the run begins, so an object names its victims by
what they *are* ("leader", "site-B": WHOM below), and who that is is looked up when it begins.
Whatever changes a process *takes* the node first; two faults never hold one node at a time, so that
the end of one is not the end of the other. Rules of the network overlap freely (links.py counts).
"""
import importlib
import pkgutil

# Who may be struck, by what they are at that moment.
NODES = ("leader", "follower", "data", "witness", "any")
PLACES = ("leader-site", "other-site", "site-A", "site-B", "all")
WHOM = NODES + PLACES


class Passed(Exception):
    """It could not strike at this moment (everybody it means is struck already, nobody leads, ...).
    Said in the history; the run goes on."""


class Fault:
    name = ""               # as in `tally-chaos list`, in plans and in the history
    kind = ""               # its family: process, network, disk, clock, security, memory, operator
    seconds = (0.1, 3.0)    # how long it lasts in random mode
    weight = 0              # how often random mode draws it; 0: named scenarios only
    preload = ()            # of "disk", "clock", "power": what nodes are started with (preload.py)
    networks = ("kernel", "relay")      # where it can be: packets dropped by the kernel; relays
    may_exit = False        # a node that it holds may end by itself; end() starts it again
    alone = False           # random mode begins it with every node up and nothing else under way
    topologies = ("1+1+1", "2+2+1")
    # How often it hit, of a fault that knows that at its end only: one that hit nothing did not
    # strike. None: with its beginning it has struck.
    hits = None

    def __init__(self, whom="any", **parameters):
        self.whom, self.parameters = whom, parameters
        self.taken = []     # members that it holds
        self.began = False

    @classmethod
    def needs(cls):
        """Why this machine cannot do it, or None."""
        return None

    @classmethod
    def draw(cls, draw, topology):
        """One for random mode, everything from `draw` (random.Random)."""
        del topology
        return cls(draw.choice(("leader", "leader", "any")))

    def prepare(self, context):
        """Before the cluster is made: what has to be there from the beginning (small disks, say)."""

    def begin(self, context):
        raise NotImplementedError

    def end(self, context):
        """Puts right what begin() did, as far as it got; also after begin() has raised."""
        raise NotImplementedError

    def describe(self):
        """In words, for plan and history."""
        more = ", ".join("%s %s" % (key, "%.2f" % value if isinstance(value, float) else value)
                         for key, value in self.parameters.items())
        return "%s (%s%s)" % (self.name, self.whom, "; " + more if more else "")

    def nodes(self):
        """Ids for the history: whom it struck."""
        return [member.node_id for member in self.taken]

    # ---- for subclasses ----

    def take(self, context, members=None):
        """Holds the members that are meant, without those that another fault holds."""
        members = context.members(self.whom) if members is None else members
        self.taken = [m for m in members if context.take(m, self)]
        if not self.taken:
            raise Passed("nobody to strike")
        return self.taken

    def release(self, context):
        for member in self.taken:
            context.release(member, self)


def all_faults():
    """{name: class} of every module in faults/; two of one name are an error."""
    from nemesis import faults
    return discover(faults, Fault)


def discover(package, base):
    found = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        loaded = importlib.import_module("%s.%s" % (package.__name__, module))
        for value in vars(loaded).values():
            if isinstance(value, type) and issubclass(value, base) and value.name \
                    and value.__module__ == loaded.__name__:
                if value.name in found:
                    raise ValueError("two of the name %s: %s and %s" % (
                        value.name, found[value.name].__module__, value.__module__))
                found[value.name] = value
    return found
