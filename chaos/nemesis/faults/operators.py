"""What operators do, at bad moments: a switchover, a site drained and resumed, a node replaced. Each is
`tally` itself, as a person would call it; that it is refused or fails under other faults is no
finding, that it does harm would be. Only a replacement takes a disk away, so it waits for its turn
(`alone`): with every node up and the mode SYNC, whatever was acknowledged is elsewhere too."""
import shutil
import subprocess
import time

from cluster import Failure
from nemesis.fault import Fault, Passed

COMMAND_SECONDS = 60
RESUME_SECONDS = 90
READY_SECONDS = 90


class Command(Fault):
    """A command of tally that goes on while the timeline does."""
    kind, seconds = "operator", (1.0, 5.0)
    hits = 0                # what is refused does nothing

    def words(self, context):
        raise NotImplementedError

    def begin(self, context):
        nodes = [m for m in context.sites.data() if m.alive and not m.stopped]
        if not nodes:
            raise Passed("no data node is up")
        self.command = context.sites.tool_start(*self.words(context), nodes=nodes)
        self.deadline = time.monotonic() + COMMAND_SECONDS

    def end(self, context):
        if not hasattr(self, "command"):
            return
        try:
            output, _ = self.command.communicate(timeout=max(0.1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.command.kill()
            output, _ = self.command.communicate()
        self.hits = int(self.command.returncode == 0)
        context.note("%s: exit %s: %s" % (self.name, self.command.returncode, " ".join(
            output.decode(errors="replace").split())[:300]), kind="operator")


class Switchover(Command):
    """Leadership is handed to the other site, or to the one that has it."""
    name, weight = "switchover", 3

    @classmethod
    def draw(cls, draw, topology):
        return cls("site-" + draw.choice("AB"))

    def words(self, context):
        return "site", "switchover", self.whom[5:], "--reason", "nemesis"


class HandOver(Command):
    """Leadership is handed to a node, whoever it is."""
    name, weight = "hand-over", 1

    @classmethod
    def draw(cls, draw, topology):
        return cls("data")

    def words(self, context):
        return "leader", "transfer", "--to", context.members(self.whom)[0].node_id


class Degrade(Command):
    """An operator gives the other site up, and takes it back at the end."""
    name, weight = "degrade-by-hand", 1

    @classmethod
    def draw(cls, draw, topology):
        return cls("site-" + draw.choice("AB"))

    def words(self, context):
        return "durability", "degrade", self.whom[5:], "--reason", "nemesis"

    def end(self, context):
        super().end(context)
        if hasattr(self, "command"):
            context.tally("durability", "return", "--reason", "nemesis", seconds=COMMAND_SECONDS)


class Drain(Fault):
    """A site is drained, its machines are perhaps switched off, and resumed."""
    name, kind, seconds, weight, alone = "drain", "operator", (1.0, 5.0), 1, True
    hits = 0

    @classmethod
    def draw(cls, draw, topology):
        return cls("site-" + draw.choice("AB"), power=draw.random() < 0.5)

    def begin(self, context):
        self.drained = False
        members = self.take(context)
        words = ["site", "drain", self.whom[5:], "--reason", "nemesis"]
        power = self.parameters.get("power")
        status, output = context.tally(*(words + (["--power-off"] if power else [])))
        self.drained, self.hits = status != 2, int(status == 0)
        if status == 0 and power:
            for member in members:
                if member.alive:
                    context.history.event("stop", nodes=[member.node_id], site=member.site)
                    member.terminate()

    def end(self, context):
        for member in self.taken:
            context.start(member)
        if not getattr(self, "drained", False):
            return
        end = time.monotonic() + RESUME_SECONDS
        while True:
            status, output = context.tally("site", "resume", self.whom[5:],
                                           seconds=max(5, end - time.monotonic()))
            if status == 0:
                return
            if time.monotonic() > end:
                raise Failure("site %s cannot be resumed: exit %s\n%s" % (self.whom[5:], status,
                                                                         output))
            time.sleep(0.5)


class Replace(Fault):
    """A data node loses its disk for good and another one takes its place, under load."""
    name, kind, seconds, weight, alone = "replace-member", "operator", (0.0, 0.0), 1, True
    hits = 0

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "follower")))

    def begin(self, context):
        sites = context.sites
        lost, = self.take(context)
        self.lost, self.new = lost, None
        context.kill([lost])
        shutil.rmtree(lost.data, ignore_errors=True)
        context.give_up(lost, "its disk is lost; it will be replaced")
        self.new = sites.new_member(lost.site, lost.kind)
        self.taken.append(self.new)
        context.take(self.new, self)
        sites.prepare_joiner(self.new)
        context.history.event("start", nodes=[self.new.node_id], site=self.new.site,
                              text="in the place of node %d" % lost.node_id)

    def end(self, context):
        """The replacement itself: until it is done, the cluster is one node short."""
        if getattr(self, "new", None) is None:
            return
        status, output = context.tally("member", "replace", self.lost.node_id, "--member-file",
                                       self.new.member_file, seconds=READY_SECONDS)
        if status != 0:
            raise Failure("member replace: exit %s\n%s" % (status, output))
        self.hits = 1
        context.sites.members.remove(self.lost)
        self.lost.close()
        context.down.discard(self.lost.node_id)     # it is no member any more
        context.joined(self.new)
        self.new.wait_ready(READY_SECONDS)
        self.new = None
