"""Members that change, fall behind and catch up, in bad company."""
from nemesis import asks
from nemesis.faults.disk_errors import SlowDisk
from nemesis.faults.process import Kill
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
LEFT_BEHIND_SECONDS = 40
CATCH_UP_SECONDS = 60
ATTEMPTS = 4                    # at killing somebody in a step
STEPS_OF_ADD = ("adding", "catching up", "promoting")
STEP_MS, STEP_SECONDS = 400.0, 60


class KillInChange(Scenario):
    """A member is added, and later removed; in the middle of both the leader is killed: while it says
    that the step is under way, which the slow disks of all others make last. The operator repeats the
    command until it says that it is done. There is one configuration at each moment: no two
    majorities, no member that half of them know."""
    name = "kill-in-change"
    answers = "kill during a configuration change (raft #323, #250)"
    preload = ("disk",)

    def timeline(self, context):
        sites, met = context.sites, []
        wanted = [context.draw.choice(STEPS_OF_ADD), "removing"]
        for _ in range(ATTEMPTS):
            added = sites.new_member("B")
            sites.prepare_joiner(added)
            for step, words in zip(wanted, (
                    ("member", "add", "--force", "--member-file", added.member_file),
                    ("member", "remove", added.node_id, "--force"))):
                # Who is removed must not lead: it would hand over first, and the command with it.
                if self.strike(context, sites.lead_at("A"), step, *words):
                    met.append(step)
                done = context.until(lambda: context.tally(*words)[0] == 0, "tally %s" % words[1], 60)
                if not context.expect("the change can be finished", done, "tally member %s" % words[1]):
                    return
                context.wait_answers(20, SERVE_SECONDS)
            context.kill([added])
            sites.members.remove(added)
            if set(met) == set(wanted):
                break
        context.expect("the leader was killed in the step", set(met) == set(wanted),
                       "killed while %s; wanted: %s" % (met, wanted), timed=True)
        status, output = context.tally("--json", "member", "list")
        context.expect("three members vote, as before", status == 0 and output.count('"voter"') == 3,
                       output[-600:])

    @staticmethod
    def strike(context, leader, step, *words):
        """Kills the leader in this step of a command; whether it was in it when it was killed."""
        slow = [context.begin(SlowDisk("node-%d" % m.node_id, delay_ms=STEP_MS))
                for m in context.others([leader])]
        command = context.sites.tool_start(*words, nodes=[leader])

        def told():
            """The step, or what it is too late for."""
            status = leader.brief() or {}
            return step if status.get("change_step") == step else \
                "over" if command.poll() is not None or status.get("leads") is False else None
        met = context.until(told, "the step \"%s\"" % step, STEP_SECONDS) == step
        with context.during(Kill("node-%d" % leader.node_id)):
            met = met and command.poll() is None
            for fault in slow:
                context.end(fault)
            command.kill()              # it would wait for that leader
            command.communicate()
            context.wait(0.3)
        context.note("node %d was killed %s \"%s\"" % (leader.node_id, "while" if met else "not while",
                                                      step))
        return met


def leave_behind(context, late):
    """The node is down until the leader's memory no longer reaches back to it."""
    reached = asks.status_of(late).get("index", {}).get("last", 0)
    with context.during(Kill("node-%d" % late.node_id)):
        def behind():
            leader = context.sites.leader_now()
            return leader and asks.status_of(leader).get("log", {}).get("first_index", 0) > reached + 1
        return context.until(behind, "node %d to be left behind" % late.node_id, LEFT_BEHIND_SECONDS)


def catching_up(member):
    return asks.status_of(member).get("catch_up", {}).get("active")


class TwoSnapshots(Scenario):
    """A data node falls behind what the leader has in memory, and has to be brought up to date from
    files; in the middle of that it is killed, then the leader, and right behind one catch-up the next
    becomes due. What is installed is always one state of the ledger, whole, with the entries that
    belong behind it."""
    name, answers = "two-snapshots", "two snapshots in quick succession (etcd #18055)"
    long = True
    clients = 5

    def timeline(self, context):
        sites, caught = context.sites, 0
        late = context.members("follower")[0]
        for strike in ("late", "late", "late", "leader"):
            if not context.expect("it can be left behind", leave_behind(context, late),
                                  "node %d" % late.node_id):
                return
            if context.until(lambda: catching_up(late), "a catch-up to be seen", 3):
                caught += 1
                context.note("it catches up: now the %s is killed" % (
                    "same node" if strike == "late" else strike))
            whom = "node-%d" % late.node_id if strike == "late" else "leader"
            with context.during(Kill(whom)):
                context.wait(0.2)
            context.wait_answers(15, SERVE_SECONDS)
        # It may be too quick to be seen in the act, and a leader that starts again has more in memory
        # than the one before; that it had to be caught up is in its log.
        said = late.log_text().count("event=catch_up_started")
        context.expect("it was caught up from files, more than once", said >= 2,
                       "%d catch-ups in its log, %d seen" % (said, caught))
        context.expect("it is ready in the end", context.until(
            lambda: asks.status_of(late).get("ready"), "node %d" % late.node_id, CATCH_UP_SECONDS),
                       "node %d" % late.node_id)


class LaggingNode(Scenario):
    """A data node that was away comes back with a slow disk while a crowd of clients writes: the leader
    admits less if it has to, the node comes nearer and is equal in the end, under load; SYNC comes
    back."""
    name, answers = "lagging-node", "a lagging node never catches up under load"
    preload = ("disk",)

    def timeline(self, context):
        late = context.members("follower")[0]
        with context.during(Kill("node-%d" % late.node_id)):
            context.wait_answers(40, SERVE_SECONDS)
            context.storm(4, 16)
            context.wait_answers(40, SERVE_SECONDS)
            context.wait(3)
        with context.during(SlowDisk("node-%d" % late.node_id, delay_ms=5.0)):
            context.storm(8, 16)

            def level():
                leader = context.sites.leader_now()
                there = asks.status_of(leader).get("index", {}).get("commit") if leader else None
                here = asks.status_of(late).get("index", {}).get("applied")
                return there is not None and here is not None and here >= there - 50
            context.expect("it catches up under load", context.until(level, "node %d to be level" %
                                                                     late.node_id, CATCH_UP_SECONDS),
                           "node %d" % late.node_id)
            context.wait_answers(20, SERVE_SECONDS)
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "with both sites")
