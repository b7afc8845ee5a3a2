"""Processes that die, stand still, and whole sites that do: what was written stays on the disk, so any
number of them may go together and whatever was acknowledged has to be there afterwards."""
import time

from nemesis.fault import Fault


def spread(draw, *choices):
    """One of (share, value)."""
    return draw.choices([value for _, value in choices], [share for share, _ in choices])[0]


class Kill(Fault):
    """kill -9 of one node; it comes back after a while."""
    name, kind, seconds, weight = "kill", "process", (0.0, 2.5), 5

    @classmethod
    def draw(cls, draw, topology):
        return cls(spread(draw, (5, "leader"), (3, "any"), (1, "witness"), (1, "follower")))

    def begin(self, context):
        context.kill(self.take(context))

    def end(self, context):
        for member in self.taken:
            context.start(member)


class KillTwo(Kill):
    """Two at once, any of them: no majority of 1+1+1 is left."""
    name, seconds, weight = "kill-two", (0.0, 2.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls("two")

    def begin(self, context):
        first = context.members(context.draw_word(("leader", "any")))
        rest = [m for m in context.others(first) if m.node_id not in context.held]
        context.kill(self.take(context, first + context.chance.sample(rest, min(1, len(rest)))))


class KillAll(Kill):
    """Every process at once: what is on the disks has to be enough."""
    name, seconds, weight = "kill-all", (0.0, 1.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls("all")


class SiteLoss(Kill):
    """All data nodes of a site at once."""
    name, seconds, weight = "site-loss", (1.0, 6.0), 3

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader-site", "other-site")))


class Restarts(Fault):
    """A node that its supervisor starts again and again, killed each time before it is well."""
    name, kind, seconds, weight = "restarts", "process", (0.0, 0.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(spread(draw, (2, "leader"), (2, "any")), times=draw.randint(2, 4),
                   pause=draw.uniform(0.05, 0.6))

    def begin(self, context):
        self.take(context)
        for number in range(self.parameters.get("times", 3)):
            if number:
                for member in self.taken:
                    context.start(member)
                time.sleep(self.parameters.get("pause", 0.3))
            context.kill(self.taken)

    def end(self, context):
        for member in self.taken:
            context.start(member)


class Pause(Fault):
    """SIGSTOP: sockets stay open, nobody answers; after SIGCONT it knows nothing of the time between."""
    name, kind, seconds, weight = "pause", "process", (0.05, 4.0), 4

    @classmethod
    def draw(cls, draw, topology):
        return cls(spread(draw, (5, "leader"), (2, "any"), (1, "leader-site"), (1, "witness")))

    def begin(self, context):
        for member in self.take(context):
            if member.alive:
                member.pause()

    def end(self, context):
        for member in self.taken:
            if member.alive and member.stopped:
                member.resume()
            context.start(member)
