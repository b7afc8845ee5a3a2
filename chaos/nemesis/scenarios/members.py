"""Members that change, fall behind and catch up, in bad company."""
from nemesis import asks
from nemesis.faults.disk_errors import SlowDisk
from nemesis.faults.process import Kill
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
LEFT_BEHIND_SECONDS = 40
CATCH_UP_SECONDS = 60


class KillInChange(Scenario):
    """A member is added, and later removed; in the middle of both the leader is killed. The operator
    repeats the command until it says that it is done. There is one configuration at each moment: no
    two majorities, no member that half of them know."""
    name = "kill-in-change"
    answers = "kill during a configuration change (raft #323, #250)"

    def timeline(self, context):
        sites = context.sites
        added = sites.new_member("B")
        sites.prepare_joiner(added)
        for pause, words in ((0.05, ("member", "add", "--force", "--member-file", added.member_file)),
                             (0.02, ("member", "remove", added.node_id, "--force"))):
            command = sites.tool_start(*words)
            context.wait(pause)
            with context.during(Kill("leader")):
                command.communicate(timeout=300)
                context.wait(0.3)
            done = context.until(lambda: context.tally(*words)[0] == 0, "tally %s" % words[1], 60)
            context.expect("the change can be finished", done, "tally member %s" % words[1])
            context.wait_answers(20, SERVE_SECONDS)
        context.kill([added])
        sites.members.remove(added)
        status, output = context.tally("--json", "member", "list")
        context.expect("three members vote, as before", status == 0 and output.count('"voter"') == 3,
                       output[-600:])


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
