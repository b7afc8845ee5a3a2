"""Crowds: after a failover everybody who was turned away comes back at once."""
from nemesis.fault import Fault


class Storm(Fault):
    """Many further clients at both sites, without a pause between their requests."""
    name, kind, seconds, weight = "client-storm", "clients", (1.0, 4.0), 2

    @classmethod
    def draw(cls, draw, topology):
        return cls("clients", clients=draw.choice((12, 24, 40)), seconds=draw.uniform(1, 4))

    def begin(self, context):
        context.storm(self.parameters.get("seconds", 3), self.parameters.get("clients", 24))

    def end(self, context):
        """It ends by itself, and its clients settle with all others."""


class FailoverStorm(Storm):
    """The leader dies, and in the moment in which nobody leads a crowd comes."""
    name, weight = "failover-storm", 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "leader-site")), clients=draw.choice((24, 40)),
                   seconds=draw.uniform(2, 4))

    def begin(self, context):
        context.kill(self.take(context))
        super().begin(context)

    def end(self, context):
        for member in self.taken:
            context.start(member)
