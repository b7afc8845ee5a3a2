"""Members that change, fall behind and catch up, in bad company."""
from client import transfer
from nemesis import asks
from nemesis.faults import preload
from nemesis.faults.disk_errors import SlowDisk
from nemesis.faults.operators import Switchover
from nemesis.faults.process import Kill
from nemesis.faults.storm import FailoverStorm
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
LEFT_BEHIND_SECONDS = 40
CATCH_UP_SECONDS = 60
ATTEMPTS = 4                    # at killing somebody in a step
STEPS_OF_ADD = ("adding", "catching up", "promoting")
STEP_MS, STEP_SECONDS = 400.0, 60
FILL_BATCHES, FILL_TRANSFERS = 6, 8190      # some segments of the journal
PRUNED_SECONDS = 30
STORM_SECONDS, STORMS_MAX = 12, 3
NARROW_BYTES = 128 << 10        # a second, to who is given a store


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
        context.attack("the leader was killed in the step", set(met) == set(wanted),
                       "killed while %s; wanted: %s" % (met, wanted))
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


def found_pruned(context):
    """The first node of a cluster, whose journal begins behind what it has in its store: a node without
    any state can only be brought up to date by a copy of that. A node that listens for no peers keeps
    no journal for them. What fills it is refused for its form, every transfer, and leaves nothing in
    the ledger that the judge would not know."""
    founder = context.sites.members[0].init()
    peer = founder.config.pop("peer")
    founder.start()
    api = founder.api("channel")
    for _ in range(FILL_BATCHES):
        api.create_transfers([transfer(asks.ALIEN, asks.ALIEN, 1) for _ in range(FILL_TRANSFERS)])
    pruned = context.until(lambda: asks.status_of(founder)["journal"]["first_index"] > 1,
                           "the journal to be pruned", PRUNED_SECONDS)
    founder.terminate()
    founder.config["peer"] = peer
    founder.start()
    context.expect("its journal begins behind its store", pruned, "node %d" % founder.node_id)


def copies_store(member):
    told = asks.status_of(member).get("catch_up", {})
    return told.get("active") and told.get("phase") == "store"


def reinstalled(member):
    """How often it changed over to files that it was given."""
    return member.log_text().count("event=node_reinstalling")


class TwoSnapshots(Scenario):
    """A data node is away; a new one joins, and what it needs no journal holds any more: the store is
    copied to it. It is killed in the middle of that, then the leader is. The new node leads, and right
    behind the first copy the next becomes due: its journal begins behind what the one that was away
    has, so that it gets a copy of the copy, in the place of its own store, and is killed in the
    middle of that and when it has changed over. What is installed is always one state of the ledger,
    whole, with the entries that belong behind it."""
    name, answers = "two-snapshots", "two snapshots in quick succession (etcd #18055)"
    long, bends = True, True
    clients = 5

    def prepare(self, context):
        found_pruned(context)

    def timeline(self, context):
        # Whoever has the journal may be elected meanwhile, and nothing is copied then.
        tries = []
        while len(tries) < ATTEMPTS and not (tries and all(tries[-1])):
            tries.append(self.once(context))
        context.attack("two copies of a store, and kills in the middle of both", all(tries[-1]),
                       "killed in the first, its leader killed in it, killed in the second, changed "
                       "over to that: %s" % tries)

    def once(self, context):
        """[whether a moment was met]"""
        sites, met = context.sites, []
        first, (late,) = sites.lead_at("A"), sites.data("B")
        away = context.begin(Kill("node-%d" % late.node_id))
        context.wait_answers(40, SERVE_SECONDS)
        added = sites.new_member("B")
        sites.prepare_joiner(added)
        words = ("member", "add", "--force", "--member-file", added.member_file)
        narrow = self.narrow(context, added)
        command = sites.tool_start(*words, nodes=[first])
        try:
            for victim in (added, first):
                met.append(self.kill_in_copy(context, added, victim))
        finally:
            command.kill()              # it is repeated below
            command.communicate()
        context.links.remove(narrow)
        context.expect("it becomes a member", context.until(
            lambda: context.tally(*words)[0] == 0, "tally member add", 60), "node %d" % added.node_id)
        self.ready(context, added)
        context.expect("it leads", context.until(lambda: self.leads(context, added), "node %d to lead" %
                                                 added.node_id, 60), "node %d" % added.node_id)
        before = reinstalled(late)
        narrow = self.narrow(context, late)
        context.end(away)
        met.append(self.kill_in_copy(context, late, late))
        context.links.remove(narrow)
        context.until(lambda: reinstalled(late) > before or asks.status_of(late).get("ready"),
                      "node %d to change over" % late.node_id, CATCH_UP_SECONDS)
        met.append(reinstalled(added) > 0 and reinstalled(late) > before)
        with context.during(Kill("node-%d" % late.node_id)):
            context.wait(0.2)
        self.ready(context, late)
        context.wait_answers(15, SERVE_SECONDS)
        self.take_away(context, added)
        return met

    @staticmethod
    def narrow(context, member):
        """What is said to it takes its time, so that a copy lasts."""
        return context.links.add(context.ways(context.others([member]), [member], both=False), "rate",
                                 bytes_per_s=NARROW_BYTES)

    @staticmethod
    def kill_in_copy(context, member, victim):
        """Kills a node while the store is copied to the member; whether it was."""
        before = reinstalled(member)
        met = context.until(lambda: copies_store(member) or asks.status_of(member).get("ready"),
                            "a store to be copied to node %d" % member.node_id, CATCH_UP_SECONDS)
        met = bool(met and copies_store(member))
        with context.during(Kill("node-%d" % victim.node_id)):
            met = met and reinstalled(member) == before     # it was not over before the kill
            context.wait(0.2)
        context.note("node %d was killed %s a store was copied to node %d" % (
            victim.node_id, "while" if met else "not while", member.node_id))
        return met

    @staticmethod
    def ready(context, member):
        context.expect("it is ready in the end", context.until(
            lambda: asks.status_of(member).get("ready"), "node %d" % member.node_id, CATCH_UP_SECONDS),
                       "node %d changed over %d times" % (member.node_id, reinstalled(member)))

    @staticmethod
    def leads(context, member):
        return context.sites.leader_now() is member or context.tally(
            "leader", "transfer", "--to", member.node_id)[0] == 0 and context.leader() is member

    @staticmethod
    def take_away(context, added):
        """The cluster is three again."""
        context.sites.lead_at("A")
        context.expect("the new node can be removed", context.until(
            lambda: context.tally("member", "remove", added.node_id, "--force")[0] == 0,
            "tally member remove", 60), "node %d" % added.node_id)
        context.kill([added])
        context.sites.members.remove(added)


def caught_up(member):
    """How often it fetched entries out of its leader's files."""
    return member.log_text().count("event=catch_up_started")


class LaggingNode(Scenario):
    """A data node that was away comes back with a slow disk while a crowd of clients writes: the leader
    admits less if it has to, the node comes nearer and is equal in the end, under load; SYNC comes
    back."""
    name, answers = "lagging-node", "a lagging node never catches up under load"
    preload = ("disk",)

    def timeline(self, context):
        late = context.members("follower")[0]
        before, reached = caught_up(late), asks.status_of(late).get("index", {}).get("last", 0)

        def left_behind():
            leader = context.sites.leader_now()
            return leader and asks.status_of(leader).get("log", {}).get("first_index", 0) > reached + 1
        with context.during(Kill("node-%d" % late.node_id)):
            context.wait_answers(40, SERVE_SECONDS)
            context.storm(4, 16)
            context.wait_answers(40, SERVE_SECONDS)
            context.wait(3)
            context.until(left_behind, "node %d to be left behind" % late.node_id, LEFT_BEHIND_SECONDS)
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
            context.attack("its disk was slow", preload.struck(late) > 0, "node %d" % late.node_id)
        context.attack("it lacked what its leader has in files only", caught_up(late) > before,
                       "%d catch-ups in its log" % (caught_up(late) - before))
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "with both sites")


class SwitchoverInStorm(Scenario):
    """The leader dies, and a crowd comes in the moment in which nobody leads. While it is there,
    and as soon as the dead node is back, an operator hands leadership back to its site; then to the
    other one again, while the leader is killed. The crowd is answered before and after, a command
    that is too early is refused and changes nothing, and one that says that it is done is."""
    name = "switchover-in-storm"
    answers = "a switchover in a storm of clients after a failover (no entry of its own)"

    def timeline(self, context):
        met = any(self.hand_back(context) for _ in range(STORMS_MAX))
        context.expect("leadership is handed over in a storm", met, "by tally site switchover", timed=True)
        leader = context.sites.wait_leader()
        other = next(m for m in context.sites.data() if m.site != leader.site)
        with context.during(Switchover("site-" + other.site)), \
                context.during(Kill("node-%d" % leader.node_id)):
            context.wait_answers(20, SERVE_SECONDS)
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "with both sites")
        context.wait_answers(20, SERVE_SECONDS)

    @staticmethod
    def hand_back(context):
        """Whether it was done while the crowd was there, and the crowd was answered afterwards."""
        sites = context.sites
        old = sites.wait_leader()
        with context.during(FailoverStorm("node-%d" % old.node_id, clients=24,
                                          seconds=STORM_SECONDS)):
            sites.wait_leader(context.others([old]))
        crowd = context.run.load.storms[-1]

        def answered():
            return sum(process.answers for process in crowd.processes)

        def handed_over():
            return not crowd.thread.is_alive() or context.tally(
                "site", "switchover", old.site, "--reason", "nemesis")[0] == 0
        before = context.until(answered, "the crowd to be answered", STORM_SECONDS)
        context.until(handed_over, "a switchover", STORM_SECONDS)
        leader, after = context.leader(), answered()
        met = bool(before and crowd.thread.is_alive() and leader and leader.site == old.site
                   and context.until(lambda: answered() > after, "answers after it", STORM_SECONDS))
        context.note("leadership is %s site %s, the crowd had %d answers by then and %d later" % (
            "back at" if met else "not at", old.site, after, answered()))
        return met
