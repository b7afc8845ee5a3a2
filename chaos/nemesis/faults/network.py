"""The network between nodes, bent: nothing arrives, or one way only, or not always, or slowly. Clients
reach every node all the while, so that whoever is cut off is asked for what he must not promise."""
import itertools
import threading

from nemesis.fault import Fault

FLAP_JOIN_SECONDS = 20


def pairs(context, some, others, both=True):
    return context.ways(some, others, both)


class LinkFault(Fault):
    """Rules between nodes (links.py), lifted at the end. Overlaps with everything."""
    kind, how, rule_kind = "network", {}, "drop"

    def ways(self, context):
        """[(from, to)] by node id; sets self.struck."""
        raise NotImplementedError

    def begin(self, context):
        self.rules, self.struck = [], []
        ways = self.ways(context)
        how = {key: value for key, value in self.parameters.items() if key in self.how}
        self.rules.append(context.links.add(ways, self.rule_kind, **how))

    def end(self, context):
        for rule in getattr(self, "rules", []):
            context.links.remove(rule)

    def nodes(self):
        return sorted(m.node_id for m in getattr(self, "struck", []))


class Isolate(LinkFault):
    """Nodes that hear nobody and are heard by nobody."""
    name, seconds, weight = "isolate", (0.2, 5.0), 4

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "leader", "any", "witness", "leader-site",
                                "other-site")))

    def ways(self, context):
        self.struck = context.members(self.whom)
        return pairs(context, self.struck, context.others(self.struck))


class OneWay(LinkFault):
    """Nodes that hear the others and are not heard ("out"), or the reverse ("in")."""
    name, seconds, weight = "one-way", (0.2, 4.0), 3

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "leader", "any", "witness")),
                   way=draw.choice(("in", "out")))

    def ways(self, context):
        self.struck = context.members(self.whom)
        ways = pairs(context, self.struck, context.others(self.struck), both=False)
        return [(b, a) for a, b in ways] if self.parameters.get("way") == "in" else ways


class OneWayPair(LinkFault):
    """One node is not heard by one other."""
    name, seconds, weight = "one-way-pair", (0.2, 4.0), 2

    def ways(self, context):
        one = context.members(self.whom)[0]
        other = context.chance.choice(context.others([one]))
        self.struck = [one, other]
        return [context.chance.choice(((one.node_id, other.node_id),
                                       (other.node_id, one.node_id)))]


class SitesCut(LinkFault):
    """The link between the sites is lost; both see the witness. `way`: "both", "A→B" or "B→A"."""
    name, seconds, weight = "sites-cut", (0.5, 6.0), 4

    @classmethod
    def draw(cls, draw, topology):
        return cls("sites", way=draw.choice(("both", "both", "A→B", "B→A")))

    def ways(self, context):
        sites, way = context.sites, self.parameters.get("way", "both")
        self.struck = sites.data()
        source, sink = (sites.site("B"), sites.site("A")) if way == "B→A" else (
            sites.site("A"), sites.site("B"))
        return pairs(context, source, sink, both=way == "both")


class WitnessUnseen(LinkFault):
    """A site does not reach the witness, or neither does."""
    name, seconds, weight = "witness-unseen", (0.5, 5.0), 2

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader-site", "other-site", "all")))

    def ways(self, context):
        members = context.sites.data() if self.whom == "all" else context.members(self.whom)
        self.struck = [context.sites.witness]
        return pairs(context, self.struck, members)


class PartialPartition(LinkFault):
    """Some pairs do not reach each other, though a third reaches both."""
    name, seconds, weight = "partial-partition", (0.5, 5.0), 2

    @classmethod
    def draw(cls, draw, topology):
        return cls("pairs", count=1 if topology == "1+1+1" else draw.randint(1, 4))

    def ways(self, context):
        every = list(itertools.combinations(context.sites.members, 2))
        chosen = context.chance.sample(every, min(self.parameters.get("count", 1), len(every)))
        self.struck = list({m for pair in chosen for m in pair})
        return [way for a, b in chosen for way in pairs(context, [a], [b])]


class Flapping(SitesCut):
    """The link between the sites, or a node's, goes and comes."""
    name, seconds, weight = "flapping", (2.0, 8.0), 2

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("sites", "sites", "leader", "any")), way="both",
                   down=draw.uniform(0.05, 0.8), up=draw.uniform(0.05, 0.8))

    def begin(self, context):
        self.rules, self.struck, self.stop = [], [], threading.Event()
        if self.whom == "sites":
            ways = SitesCut.ways(self, context)
        else:
            self.struck = context.members(self.whom)
            ways = pairs(context, self.struck, context.others(self.struck))
        self.failure = None
        self.thread = threading.Thread(target=self.flap, args=(context, ways), daemon=True)
        self.thread.start()

    def flap(self, context, ways):
        try:
            while not self.stop.is_set():
                rule = context.links.add(ways, "drop")
                self.stop.wait(self.parameters.get("down", 0.4))
                context.links.remove(rule)
                self.stop.wait(self.parameters.get("up", 0.4))
        except Exception as error:              # told by end(), in the run's own thread
            self.failure = error

    def end(self, context):
        if not hasattr(self, "thread"):
            return
        self.stop.set()
        self.thread.join(FLAP_JOIN_SECONDS)
        if self.failure:
            raise self.failure


class Resets(LinkFault):
    """Connections between nodes are reset, again and again; a new one may live for a moment."""
    name, seconds, weight = "resets", (0.5, 4.0), 2
    rule_kind = "reset"

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "any", "all")))

    def ways(self, context):
        self.struck = context.members(self.whom)
        others = context.others(self.struck) or self.struck
        return pairs(context, self.struck, others)


class Lossy(LinkFault):
    """A share of what the sites send each other is lost on the way."""
    name, seconds, weight, rule_kind, how = "lossy", (1.0, 8.0), 3, "loss", ("percent",)

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("sites", "sites", "leader")), percent=draw.choice((1, 5, 15, 30)))

    def ways(self, context):
        if self.whom == "sites":
            self.struck = context.sites.data()
            return pairs(context, context.sites.site("A"), context.sites.site("B"))
        self.struck = context.members(self.whom)
        return pairs(context, self.struck, context.others(self.struck))


class Narrow(Lossy):
    """A link that carries only so many bytes a second."""
    name, weight, rule_kind, how = "narrow", 2, "rate", ("bytes_per_s",)

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("sites", "sites", "leader")),
                   bytes_per_s=draw.choice((16 << 10, 64 << 10, 256 << 10)))


class SlowLink(Lossy):
    """A long link: everything arrives later. By the relay only; kernels may lack netem."""
    name, weight, rule_kind, how, networks = "slow-link", 3, "delay", ("ms",), ("relay",)

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("sites", "sites", "leader")), ms=draw.choice((5, 20, 60, 150)))
