#!/usr/bin/python3
"""The nemesis itself, without a cluster: plans follow from the seed, faults that overlap do not end each
other, nothing that a fault began is left behind, and an exit status says what was found."""
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "chaos"))
sys.dont_write_bytecode = True
from nemesis import campaign, links, main, random_mode, verdict  # noqa: E402
from nemesis.chain import chain  # noqa: E402
from nemesis.context import Context, Found, RunFailure  # noqa: E402
from nemesis.engine import Run  # noqa: E402
from nemesis.fault import Fault, Passed, all_faults  # noqa: E402
from nemesis.faults import disk_images  # noqa: E402
from nemesis.faults.disk_errors import FailingSync  # noqa: E402
from nemesis.faults.operators import Switchover  # noqa: E402
from nemesis.findings import Findings  # noqa: E402
from nemesis.history import History, read  # noqa: E402
from nemesis.pulse import Pulse  # noqa: E402
from nemesis.scenario import Scenario, all_scenarios  # noqa: E402


class Process:
    def __init__(self, returncode=None):
        self.returncode = returncode

    def poll(self):
        return self.returncode


class Member:
    def __init__(self, node_id, site, kind="data"):
        self.node_id, self.site, self.kind, self.is_data = node_id, site, kind, kind == "data"
        self.process, self.stopped, self.spawned = Process(), False, 0
        self.told = {"ready": True, "role": "leader" if node_id == 1 else "follower", "mode": "sync",
                     "mode_committed": "sync", "survives_loss": {"A": True, "B": True}}

    def brief(self, timeout=2):
        del timeout
        return self.told

    def spawn(self):
        self.process, self.spawned = Process(), self.spawned + 1

    def log_tail(self):
        return ""


class Sites:
    def __init__(self):
        self.members = [Member(1, "A"), Member(2, "B"), Member(3, "C", "witness")]

    def __getitem__(self, node_id):
        return next(m for m in self.members if m.node_id == node_id)

    def data(self, site=None):
        return [m for m in self.members if m.is_data and site in (None, m.site)]

    def site(self, name):
        return [m for m in self.members if m.site == name]

    @property
    def witness(self):
        return self.members[2]

    def leader_now(self):
        return self.members[0]


class Quiet:
    """The pulse of a machine that never stands still; nobody waits."""

    @staticmethod
    def told():
        return {"worst_ms": 0}

    @staticmethod
    def deadline(seconds):
        del seconds
        return types.SimpleNamespace(over=lambda: True)


class World(unittest.TestCase):
    """A context whose cluster is made of nothing."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = os.path.join(scratch.name, "history")
        self.history = History(self.directory)
        self.addCleanup(self.history.close)
        self.history.spoken = None
        run = types.SimpleNamespace(scratch=scratch.name, build="", preload=(), check=lambda: None,
                                    pulse=Quiet)
        self.context = Context(run, self.history, random.Random(1))
        self.context.sites = Sites()
        self.context.links = types.SimpleNamespace(clear=lambda: None)

    def events(self):
        with open(os.path.join(self.directory, "events.jsonl")) as file:
            return [json.loads(line) for line in file]


class Held(Fault):
    """Takes its victims and remembers what was done to it."""
    name = ""

    def __init__(self, whom="any", raises=None):
        super().__init__(whom)
        self.raises, self.ended = raises, 0

    def begin(self, context):
        self.take(context)
        if self.raises:
            raise self.raises

    def end(self, context):
        self.ended += 1


class Faults(World):
    # Two faults of processes never hold one node: the second passes, and the end of it frees nothing.
    def test_a_node_is_held_by_one_fault(self):
        first, second = Held("leader"), Held("leader")
        self.assertIs(self.context.begin(first), first)
        self.assertIsNone(self.context.begin(second, may_pass=True))
        self.context.end(second)
        self.assertEqual(self.context.held, {1: first})
        self.context.end(first)
        self.assertEqual(self.context.held, {})
        self.assertEqual([e["what"] for e in self.events()], ["fault-begin", "note", "fault-end"])

    # A story whose fault struck nobody was not told; random mode draws on.
    def test_a_fault_that_passes_breaks_a_story_and_no_plan(self):
        self.context.begin(Held("leader"))
        self.assertIsNone(self.context.begin(Held("leader"), may_pass=True))
        with self.context.during(Held("leader"), may_pass=True) as begun:
            self.assertIsNone(begun)
        self.context.may_pass = True
        self.assertIsNone(self.context.begin(Held("leader")))
        self.assertEqual(self.context.broken, [])
        self.context.may_pass = False
        self.assertIsNone(self.context.begin(Held("leader")))
        self.context.sites.leader_now = lambda: None
        with self.context.during(Held("leader")):
            pass
        self.assertEqual(self.context.broken, [])
        self.assertEqual(self.context.missed, ["the fault strikes:  (leader): nobody to strike",
                                               "the fault strikes:  (leader): nobody leads"])
        self.assertTrue(random_mode.RandomScenario.faults_may_pass)

    # A disk that no call came upon, a command that was refused: begun, and nothing was struck.
    def test_a_fault_that_knows_what_it_hit_counts_when_it_hit(self):
        for hits in (None, 0, 3):
            fault = Held("leader")
            fault.name, fault.hits = str(hits), hits
            with self.context.during(fault):
                pass
        self.context.begin(Held("leader", raises=Passed("nobody")), may_pass=True)
        self.assertEqual(self.context.begun, {"None": 1, "0": 1, "3": 1})
        self.assertEqual(self.context.counts, {"None": 1, "3": 1})

    def test_a_disk_fault_and_a_command_know_what_they_hit(self):
        disk, command = FailingSync("leader"), Switchover("site-A")
        self.context.start = lambda member: None
        disk.taken = [self.context.sites[1], self.context.sites[2]]
        for calls, hits in (((0, 0), 0), ((2, 3), 5)):
            with mock.patch("nemesis.faults.preload.mend_disk", side_effect=calls):
                disk.end(self.context)
            self.assertEqual(disk.hits, hits)
        for status, hits in ((5, 0), (0, 1)):
            command.deadline = time.monotonic()
            command.command = types.SimpleNamespace(
                returncode=status, communicate=lambda timeout: (b"", None))
            command.end(self.context)
            self.assertEqual(command.hits, hits)

    def test_all_that_is_open_is_ended_last_first_and_once(self):
        faults, order = [Held("node-1"), Held("node-2"), Held("node-3")], []
        for fault in faults:
            self.context.begin(fault)
            fault.end = lambda context, fault=fault: order.append(fault)
        self.context.end(faults[1])
        self.context.end_all()
        self.context.end_all()
        self.assertEqual(order, [faults[1], faults[2], faults[0]])

    # One that cannot be ended keeps no other from its end, nor a node stopped; the run hears of it.
    def test_an_end_that_fails_stops_no_other_end(self):
        first, second = Held("node-1"), Held("node-2")
        self.context.begin(first)
        self.context.begin(second)
        second.end = mock.Mock(side_effect=OSError("stuck"))
        self.context.sites[1].process = None
        with self.assertRaisesRegex(OSError, "stuck"):
            self.context.mend()
        self.assertEqual((first.ended, self.context.held, self.context.open), (1, {}, []))
        self.assertEqual(self.context.sites[1].spawned, 1)

    # What begin() did before it failed is put right with everything else.
    def test_a_fault_that_fails_in_its_beginning_is_ended_too(self):
        fault = Held("leader", raises=OSError("no disk"))
        with self.assertRaises(OSError):
            self.context.begin(fault)
        self.context.end_all()
        self.assertEqual((fault.ended, self.context.held), (1, {}))

    def test_nobody_strikes_who_is_given_up(self):
        self.context.give_up(self.context.sites[1], "wiped")
        self.assertIsNone(self.context.begin(Held("leader"), may_pass=True))
        self.assertEqual({m.node_id for _ in range(30) for m in self.context.members("data")}, {2})

    def test_a_missing_preload_is_an_error_and_no_quiet_nothing(self):
        fault = Held("leader")
        fault.preload = ("disk",)
        with self.assertRaisesRegex(RunFailure, "preload \"disk\""):
            self.context.begin(fault)

    # The history must not say that the consequence was before the cause.
    def test_a_beginning_is_dated_before_it_strikes(self):
        class Slow(Held):
            def begin(self, context):
                self.take(context)
                self.at = time.monotonic_ns()

        fault = Slow("leader")
        self.context.begin(fault)
        self.assertLessEqual(self.events()[0]["t"], fault.at)
        self.assertEqual(self.events()[0]["nodes"], [1])

    def test_every_fault_says_what_it_is_and_draws_itself_from_the_seed(self):
        found = all_faults()
        self.assertGreater(len(found), 20)
        for name, kind in found.items():
            self.assertTrue((kind.__doc__ or "").strip(), name)
            self.assertTrue(kind.kind, "%s: of no family" % name)
            if kind.weight > 0:
                told = {str(kind.draw(random.Random(7), "2+2+1").describe()) for _ in range(3)}
                self.assertEqual(len(told), 1, "%s: the same seed, another fault" % name)

    def test_every_scenario_tells_its_story(self):
        for name, kind in all_scenarios().items():
            self.assertGreater(len(kind.story()), 60, name)
            self.assertTrue(kind.answers, name)


class Supervision(World):
    def make_run(self):
        run = Run.__new__(Run)
        run.context, run.history, run.ended, run.load = self.context, self.history, set(), None
        return run

    def test_a_node_that_ends_by_itself_is_found(self):
        run = self.make_run()
        run.check()
        self.context.sites[2].process.returncode = 6
        with self.assertRaisesRegex(Found, "processes: node 2 ended by itself with 6"):
            run.check()

    # A disk fault may end its node, also a little after the fault; then a supervisor starts it again.
    def test_a_node_that_may_end_is_started_again_when_the_fault_is_over(self):
        run, fault, member = self.make_run(), Held("node-2"), self.context.sites[2]
        fault.may_exit = True
        self.context.begin(fault)
        member.process.returncode = 74
        run.check()
        self.assertEqual(member.spawned, 0, "started while its disk fails")
        self.context.end(fault)
        member.process = Process(74)
        run.check()
        self.assertEqual(member.spawned, 1)
        self.context.forgiven[2] = time.monotonic() - 1
        member.process = Process(74)
        with self.assertRaises(Found):
            run.check()

    # Whatever the words, a finding is a finding.
    def test_what_is_found_is_kept_under_its_claim_or_the_timelines(self):
        run = self.make_run()
        run.findings = Findings(self.history)
        for text in ("liveness: nobody answers", "strange: words", "no claim at all"):
            run.find(Found(text))
        self.assertEqual([(v["claim"], v["text"]) for v in run.findings.violations],
                         [("liveness", "nobody answers"), ("timeline", "strange: words"),
                          ("timeline", "no claim at all")])

    def test_mending_starts_everybody_but_those_given_up(self):
        for member in self.context.sites.members:
            member.process = None
        self.context.give_up(self.context.sites[2], "wiped")
        self.context.mend()
        self.assertEqual([m.spawned for m in self.context.sites.members], [1, 0, 1])


class RecordingNetwork:
    def __init__(self):
        self.nodes, self.rules, self.bent = [1, 2, 3], {}, {}

    @staticmethod
    def host(node):
        return "10.0.0.%d" % node

    def rule_in(self, node, lines):
        self.rules[node] = lines

    def bend(self, source, sink, mode, how):
        self.bent[(source, sink)] = (mode, how)


class Links(unittest.TestCase):
    # A partition within a partition: the end of one leaves what the other one does.
    def test_overlapping_rules_are_lifted_one_by_one(self):
        for kind, look in ((links.KernelLinks, lambda n: n.rules[2]),
                           (links.RelayLinks, lambda n: n.bent[(1, 2)][0])):
            network = RecordingNetwork()
            made = kind(network)
            one = made.add([(1, 2), (2, 1)], "drop")
            two = made.add([(1, 2)], "drop")
            dropped = look(network)
            made.remove(one)
            made.remove(one)
            self.assertIn("drop" if kind is links.KernelLinks else "hole", str(look(network)))
            made.remove(two)
            self.assertNotEqual(look(network), dropped)
            self.assertIn(look(network), ([], "pass"))

    def test_a_rule_is_about_what_arrives_at_the_far_end(self):
        network = RecordingNetwork()
        made = links.KernelLinks(network)
        made.add([(1, 3)], "loss", percent=12.5)
        self.assertEqual(network.rules, {3: ["ip saddr 10.0.0.1 numgen random mod 1000 < 125 drop"]})
        made.clear()
        self.assertEqual(network.rules, {3: []})

    def test_what_a_network_cannot_do_is_refused_in_words(self):
        made = links.KernelLinks(RecordingNetwork())
        with self.assertRaisesRegex(ValueError, "kernel network cannot delay"):
            made.add([(1, 2)], "delay", ms=5)

    def test_the_relay_gets_the_sum_of_all_rules(self):
        self.assertEqual(links.RelayLinks.sum([]), ("pass", {}))
        self.assertEqual(links.RelayLinks.sum([("delay", {"ms": 5}), ("drop", {})])[0], "hole")
        mode, how = links.RelayLinks.sum([("delay", {"ms": 5}), ("delay", {"ms": 7}),
                                          ("rate", {"bytes_per_s": 9}),
                                          ("rate", {"bytes_per_s": 4}), ("loss", {"percent": 3})])
        self.assertEqual((mode, how), ("slow", {"delay_ms": 12, "loss_percent": 3,
                                                "bytes_per_s": 4}))


@unittest.skipIf(links.kernel_lacks(), links.kernel_lacks())
class KernelNetwork(unittest.TestCase):
    """The kernel's own: rules that did nothing would let every scenario pass."""

    ECHO = "import socket\ns = socket.create_server(('0.0.0.0', 7)); print('up', flush=True)\n" \
           "while True:\n c, _ = s.accept(); c.close()"
    DIAL = "import socket, sys\ntry: socket.create_connection((sys.argv[1], 7), 1.5); print('in')\n" \
           "except TimeoutError: print('silence')\nexcept OSError as e: print(type(e).__name__)"

    def test_drops_are_silent_resets_are_not_and_one_way_is_enough(self):
        network = links.KernelNetwork()
        self.addCleanup(network.close)
        for node in (1, 2):
            network.add(node, None, 7)
        server = subprocess.Popen(network.prefix(2) + [sys.executable, "-c", self.ECHO],
                                  stdout=subprocess.PIPE)
        self.addCleanup(lambda: (server.kill(), server.wait(10), server.stdout.close()))
        self.assertEqual(server.stdout.readline(), b"up\n")

        def dial():
            return subprocess.run(network.prefix(1) + [sys.executable, "-c", self.DIAL,
                                                       network.host(2)], stdout=subprocess.PIPE,
                                  timeout=120).stdout.decode().strip()

        made = links.KernelLinks(network)
        self.assertEqual(dial(), "in")
        for ways, kind, seen in (([(1, 2)], "drop", "silence"), ([(2, 1)], "drop", "silence"),
                                 ([(1, 2)], "reset", "ConnectionRefusedError")):
            rule = made.add(ways, kind)
            self.assertEqual(dial(), seen, "%s %s" % (kind, ways))
            made.remove(rule)
            self.assertEqual(dial(), "in", "after %s %s" % (kind, ways))


class Plans(unittest.TestCase):
    def plan(self, seed, **options):
        made = random_mode.RandomScenario(seed, 2, "1+1+1", "relay", **options)
        return made, [str(occurrence) for occurrence in made.plan]

    def test_the_same_seed_is_the_same_plan_and_another_seed_another(self):
        self.assertEqual(self.plan(5)[1], self.plan(5)[1])
        self.assertNotEqual(self.plan(5)[1], self.plan(6)[1])

    def test_plans_hold_only_what_can_be_here(self):
        for seed in range(40):
            made, _ = self.plan(seed, without=["kill", "pause"])
            for occurrence in made.plan:
                fault = occurrence.fault
                self.assertGreater(fault.weight, 0)
                self.assertNotIn(fault.name, ("kill", "pause"))
                self.assertTrue(set(fault.preload) <= set(made.preload), fault.name)
                self.assertIn("relay", fault.networks)
            self.assertFalse({"disk", "power"} <= set(made.preload))

    def test_every_fault_that_can_be_drawn_is_drawn_by_some_seed(self):
        drawn = {o.fault.name for seed in range(60) for o in self.plan(seed)[0].plan}
        wanted = {name for name, kind in all_faults().items()
                  if kind.weight > 0 and kind.needs() is None and "relay" in kind.networks
                  and "1+1+1" in kind.topologies}
        self.assertEqual(wanted - drawn, set())

    def test_only_means_only(self):
        self.assertEqual({o.fault.name for o in self.plan(3, only=["kill"])[0].plan}, {"kill"})


class Timeline(World):
    class Short(Held):
        name = ""

        def describe(self):
            return "%s %s" % (type(self).__name__, self.whom)

    def run_plan(self, occurrences):
        made = random_mode.RandomScenario.__new__(random_mode.RandomScenario)
        made.plan, made.minutes = occurrences, 0.4 / 60
        self.context.settle = lambda seconds=None: self.context.note("barrier")
        self.context.wait_answers = lambda *arguments, **options: None
        self.context.run.wait_sync = lambda seconds: None
        made.timeline(self.context)
        return [(e["what"], e.get("text")) for e in self.events()]

    # One that takes a disk away begins and ends with nothing else under way.
    def test_a_fault_that_is_alone_stands_between_barriers(self):
        first, alone, last = (self.Short("node-%d" % n) for n in (1, 2, 3))
        alone.alone = True
        occurrences = [random_mode.Occurrence(*what) for what in (
            (0.0, first, 30.0), (0.05, alone, 0.05), (0.1, last, 0.05))]
        told = self.run_plan(occurrences)
        self.assertEqual(told, [
            ("fault-begin", "Short node-1"), ("fault-end", "Short node-1"), ("note", "barrier"),
            ("fault-begin", "Short node-2"), ("fault-end", "Short node-2"), ("note", "barrier"),
            ("fault-begin", "Short node-3"), ("fault-end", "Short node-3")])

    def test_faults_overlap_and_end_when_they_are_due(self):
        one, two = self.Short("node-1"), self.Short("node-2")
        told = self.run_plan([random_mode.Occurrence(0.0, one, 0.2),
                              random_mode.Occurrence(0.05, two, 0.05)])
        self.assertEqual([text for what, text in told],
                         ["Short node-1", "Short node-2", "Short node-2", "Short node-1"])


class Pulses(World):
    # A machine that stands still makes bounds wait, and only then; what it did is written down.
    def test_a_bound_waits_while_the_machine_stands_still(self):
        pulse = Pulse(self.history)
        pulse.end()
        pulse.fair = 0.0
        deadline = pulse.deadline(1.0)
        for _ in range(45):
            pulse.took(0.021)
        self.assertFalse(deadline.over())
        pulse.took(5.0)
        self.assertFalse(deadline.over(), "a stall counted")
        for _ in range(5):
            pulse.took(0.021)
        self.assertTrue(deadline.over())
        self.assertEqual(pulse.told()["count"], 1)
        self.assertEqual([e["ms"] for e in self.events() if e["what"] == "stall"], [4980])

    def test_a_machine_that_stands_still_for_good_stretches_no_bound_for_ever(self):
        pulse = Pulse(self.history)
        pulse.end()
        deadline = pulse.deadline(1.0)
        deadline.real -= 9.0
        self.assertTrue(deadline.over())
        pulse.began, pulse.fair = time.monotonic() - 1000, 1.0
        self.assertAlmostEqual(pulse.stretch(), 8.0, 1)

    # A claim about elections is not judged on a machine that stood still for longer than one takes;
    # every other claim is, and a quiet machine excuses nothing.
    def test_only_timed_expectations_are_excused_and_only_by_a_stall(self):
        self.context.run.pulse = pulse = Pulse(self.history)
        pulse.end()
        pulse.count, pulse.worst = 0, 0.0
        self.context.expect("terms", False, "9 further terms", timed=True)
        pulse.took(0.4)
        self.context.expect("terms", False, "9 further terms", timed=True)
        self.context.expect("money", False, "lost")
        self.context.expect("money", True, "there")
        self.assertEqual(self.context.broken, [("terms", "9 further terms"), ("money", "lost")])
        self.assertEqual([e["what"] for e in self.events()],
                         ["expectation", "stall", "note", "expectation", "expectation"])

    def test_bounds_are_widened_by_stalls_and_by_nothing_else(self):
        pulse = Pulse(self.history)
        pulse.end()
        pulse.count, pulse.worst = 0, 0.0
        self.assertEqual(pulse.widen({"pause_ms": 700}, 1500), {"pause_ms": 700, "late_ms": 1500})
        self.assertEqual(pulse.widen({}, 1500), {"late_ms": 1500})
        pulse.took(0.52)
        self.assertEqual(pulse.widen({"pause_ms": {"B": 700}}, 1500),
                         {"pause_ms": {"B": 1700}, "late_ms": 2500})
        self.assertEqual(pulse.widen({"pause_ms": 700, "late_ms": 1}, 1500),
                         {"pause_ms": 1700, "late_ms": 1001})
        self.assertEqual(pulse.widen({"pauses": [{"ms": 5, "why": "x"}]}, 1500)["pauses"],
                         [{"ms": 1005, "why": "x"}])


class Verdicts(World):
    def write(self, claims, must_break=()):
        self.history.put_meta(scenario="s", seed=1, must_break=list(must_break))
        return {"claims": [{"name": n, "verdict": v, "checked": 1, "text": ""} for n, v in claims],
                "violations": []}

    def test_the_exit_status_follows_from_the_claims(self):
        for claims, wanted, status in (
                ([("money", "holds"), ("pauses", "unchecked")], (), 0),
                ([("money", "broken")], (), 1),
                ([("money", "broken")], ("money",), 0),
                ([("money", "broken"), ("stamps", "broken")], ("money",), 1),
                ([("money", "holds")], ("money",), 1)):
            self.assertEqual(verdict.status_of(self.write(claims), wanted)[0], status, claims)

    def with_checkers(self, text):
        with open(os.path.join(self.directory, "clients", "one.jsonl"), "w") as file:
            file.write("{}\n")
        path = os.path.join(self.directory, "checkers.py")
        with open(path, "w") as file:
            file.write(text)
        return mock.patch.object(verdict, "program", lambda name: path)

    CHECKERS = ("import json, sys\nwith open(sys.argv[1] + '/verdicts.json', 'w') as f:\n"
                " json.dump({'claims': [{'name': 'money', 'verdict': 'holds', 'checked': 3,"
                " 'text': ''}], 'violations': []}, f)\n")

    # What the run saw is joined to what the checkers say, by its own name, and once.
    def test_the_runs_own_findings_are_part_of_the_verdict(self):
        self.write([])
        findings = Findings(self.history)
        findings.look("journals", 3)
        findings.add("liveness", "nobody answers")
        lines = []
        with self.with_checkers(self.CHECKERS):
            for _ in range(2):
                self.assertEqual(verdict.check(self.directory, lines.append), 1)
        with open(os.path.join(self.directory, "verdicts.json")) as file:
            told = {c["name"]: c["verdict"] for c in json.load(file)["claims"]}
        self.assertEqual(told["money"], "holds")
        self.assertEqual(told["run: liveness"], "broken")
        self.assertEqual(told["run: journals"], "holds")
        self.assertEqual(told["run: timeline"], "unchecked")
        self.assertEqual(sum(1 for line in lines if "nobody answers" in line and
                             line.startswith("VIOLATION")), 2)

    def test_checkers_that_fail_or_lack_are_no_good_verdict(self):
        self.write([])
        with self.with_checkers("import sys; print('what is this'); sys.exit(2)"):
            self.assertEqual(verdict.check(self.directory, lambda text: None), 2)
        with self.with_checkers("import nonesuch"):     # python's own status for it says "broken"
            self.assertEqual(verdict.check(self.directory, lambda text: None), 2)
        lines = []
        with mock.patch.object(verdict, "program", lambda name: "/nonexistent"):
            self.assertEqual(verdict.check(self.directory, lines.append), 2)
        self.assertTrue(any("unchecked" in line for line in lines), lines)

    # A history in which nothing was looked at has shown nothing.
    def test_what_was_not_checked_is_no_good_verdict(self):
        self.write([])
        Findings(self.history).look("liveness")
        lines = []
        with mock.patch.object(verdict, "program", lambda name: self.fail("no client, no checkers")):
            self.assertEqual(verdict.check(self.directory, lines.append), 2)
        self.assertIn("s, seed 1: the checkers did not run", lines)
        with self.with_checkers(self.CHECKERS.replace("'holds'", "'unchecked'")):
            self.assertEqual(verdict.check(self.directory, lines.append), 2)
        self.assertIn("s, seed 1: the checkers found nothing to check", lines)
        Findings(self.history).add("liveness", "nobody answers")
        with self.with_checkers(self.CHECKERS.replace("'holds'", "'unchecked'")):
            self.assertEqual(verdict.check(self.directory, lambda text: None), 1)

    # The real ones, on what a run leaves whose client did not come to say anything.
    def test_a_client_without_a_word_is_no_good_verdict(self):
        self.write([])
        with open(os.path.join(self.directory, "clients", "one.jsonl"), "w") as file:
            file.write('{"event":"end","t":1}\n')
        lines = []
        self.assertEqual(verdict.check(self.directory, lines.append), 2, lines)
        self.assertIn("s, seed 1: the checkers found nothing to check", lines)

    def judged(self, body, **options):
        """The exit status of a run whose engine does just this."""
        class Stub:
            def __init__(self, options, scenario, history):
                self.findings = Findings(history)

            def go(self):
                body(self.findings)

        self.history.put_meta(scenario="s", seed=1, must_break=[])
        options = types.SimpleNamespace(no_report=True, planted_expected=False, **options)
        with self.with_checkers(self.CHECKERS), mock.patch.object(main, "Run", Stub), \
                contextlib.redirect_stdout(io.StringIO()):
            found = [main.judged(options, None, self.history)]
            options.planted_expected = True
            found.append(main.judged(options, None, self.history))
        return found

    def test_planted_expected_changes_good_and_bad_but_not_failed(self):
        def fails(findings):
            findings.add("liveness", "clients were cut off")
            raise RunFailure("no network")

        self.assertEqual(self.judged(fails), [2, 2])
        self.history.put_meta(failed=None)
        self.assertEqual(self.judged(lambda findings: findings.nonesuch()), [2, 2])
        self.history.put_meta(failed=None)
        os.unlink(os.path.join(self.directory, "findings.json"))
        self.assertEqual(self.judged(lambda findings: findings.look("liveness")), [0, 1])
        self.history.put_meta(missed=["the fault struck: 0 calls"])
        self.assertEqual(self.judged(lambda findings: findings.look("liveness")), [2, 2])
        self.assertTrue(read(self.directory, "verdicts.json")["only_missed"])
        self.assertEqual(self.judged(lambda findings: findings.add("liveness", "stuck")), [1, 0])
        self.assertFalse(read(self.directory, "verdicts.json")["only_missed"])

    # What a scenario wants broken is not there when its fault did not strike: nothing was tried.
    def test_a_missed_attack_breaks_nothing_and_excuses_nothing(self):
        claims = {"claims": [{"name": "money", "verdict": "holds"}]}
        missed = ["the fault strikes: nobody leads"]
        self.assertEqual(verdict.status_of(claims, ["money"])[0], 1)
        self.assertEqual(verdict.status_of(claims, ["money"], (), missed)[0], 2)
        claims["claims"].append({"name": "stamps", "verdict": "broken"})
        self.assertEqual(verdict.status_of(claims, ["money"], (), missed)[0], 1)
        self.assertEqual(verdict.status_of(claims, ["stamps"], (), missed)[0], 2)


class Alone(Scenario):
    """A scenario that needs a cluster of its own, for a test of what may share one."""
    answers = "nothing"

    def __init__(self, name, shares=True, **fields):
        self.name, self.shares = name, shares
        for field, value in fields.items():
            setattr(self, field, value)


class Padding(unittest.TestCase):
    """Which bits may turn: none of a payload, and none of a record that nobody counts on."""

    @staticmethod
    def record(sequence, synced_to, kind, payload):
        body = b""
        if kind == 1:
            body = payload + bytes(-(len(payload) + 32) % 64) + b"h" * 32
        return disk_images.RECORD.pack(1, sequence, synced_to, 1, 1, len(payload), kind).ljust(
            64, b"\1") + body

    def places(self, *records, of="record"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"H" * 4096 + b"".join(records) + bytes(4096))
            file.flush()
            return disk_images.padding_places(file.name, random.Random(1), 500, of)

    def test_of_what_is_durable(self):
        # Behind 64 bytes of a record and 20 of a payload, up to a chain head at the end of 64.
        records = (self.record(1, 0, 1, b"p" * 20), self.record(2, 1, 0x100, b""),
                   self.record(3, 1, 1, b"p" * 10))
        self.assertEqual(set(self.places(*records)), set(range(4096 + 64 + 20, 4096 + 64 + 32)))

    def test_of_the_header(self):
        found = self.places(of="header")
        self.assertTrue(156 <= min(found) and max(found) < 1536, found)

    def test_there_may_be_none(self):
        self.assertEqual(self.places(self.record(1, 0, 1, b"p" * 20)), [])
        self.assertEqual(self.places(self.record(1, 1, 1, b"p" * 32)), [])


class Chains(unittest.TestCase):
    def test_only_what_fits_together_shares_a_cluster(self):
        made = chain([Alone("a", preload=("clock",)), Alone("b", network="relay")])
        self.assertEqual((made.name, made.preload, made.network), ("a,b", ("clock",), "relay"))
        for parts, words in (
                ([Alone("a"), Alone("b", shares=False)], "b: needs a cluster of its own"),
                ([Alone("a"), Alone("b", must_break=("money",))], "b: wants a claim broken"),
                ([Alone("a"), Alone("b", topology="2+2+1")], "different topology"),
                ([Alone("a"), Alone("b", settings={"x": {}})], "different settings"),
                ([Alone("a", network="relay"), Alone("b", network="kernel")], "network"),
                ([Alone("a", preload=("disk",)), Alone("b", preload=("power",))], "\"power\"")):
            with self.assertRaisesRegex(ValueError, words):
                chain(parts)

    # Behind relays that take every node for a stranger no rule bends anything: a scenario that passes
    # then has shown nothing.
    def test_what_this_machine_cannot_do_is_named_and_not_run(self):
        def kind(**fields):
            return type("Kind", (Scenario,), fields)

        known = {"a": kind(bends=True), "b": kind(), "c": kind(network="kernel"),
                 "d": kind(needs=classmethod(lambda cls: "no such disk"))}
        made = campaign.Search.__new__(campaign.Search)
        made.draw, made.skipped, made.numbered, made.output = random.Random(1), [], 0, "/x"
        made.options = types.SimpleNamespace(scenarios="all")
        with mock.patch.object(campaign, "all_scenarios", lambda: known), \
                mock.patch.object(links, "kernel_lacks", lambda: "no rights"), \
                mock.patch.object(links, "relay_lacks", lambda: "strangers"):
            self.assertEqual([job.name for job in made.scenarios()], ["b"])
            self.assertEqual({row["scenario"]: row["why"] for row in made.skipped},
                             {"a": "strangers", "c": "no rights", "d": "no such disk"})
            _, missing = random_mode.usable((), "1+1+1", "relay")
            self.assertEqual((missing["isolate"], missing.get("kill")), ("strangers", None))
            with mock.patch.object(main, "all_scenarios", lambda: known), \
                    self.assertRaisesRegex(RunFailure, "cannot run here: strangers"):
                main.choose(None, types.SimpleNamespace(network=None, topology=None, seed=1,
                                                        random=False, scenario="a"))

    def test_a_relay_that_may_not_look_says_so(self):
        links.relay_lacks.cache_clear()
        with mock.patch.object(links.os, "listdir", side_effect=PermissionError(13, "Not you")):
            self.assertIn("cannot see who dials (Not you)", links.relay_lacks())
        links.relay_lacks.cache_clear()
        if os.geteuid() != 0:
            self.assertIsNotNone(links.relay_lacks())

    def test_a_search_groups_what_may_share_and_a_slice_leaves_the_rest_out(self):
        def kind(shares, **fields):
            return type("Kind", (Scenario,), dict(fields, shares=shares))

        known = {"a": kind(True), "b": kind(True), "c": kind(False), "d": kind(True, topology="2+2+1")}
        made = campaign.Search.__new__(campaign.Search)
        made.draw, made.skipped = random.Random(1), []
        made.options = types.SimpleNamespace(scenarios="all")
        self.assertEqual(sorted(made.groups(known, list(known))), [["a", "b"], ["c"], ["d"]])
        known["e"] = kind(False, long=True)
        for _ in range(5):
            self.assertEqual(made.groups(known, list(known))[2], ["e"])
        del known["e"]
        made.options.scenarios = "shared"
        self.assertEqual(made.groups(known, list(known)), [["a", "b"]])
        self.assertEqual({row["scenario"] for row in made.skipped}, {"c", "d"})


class Searches(unittest.TestCase):
    """A search whose runs and simulator are made of nothing."""

    SIMULATOR = """#!/usr/bin/python3
import sys
if "--shrink" in sys.argv:
    seed = sys.argv[sys.argv.index("--shrink") + 1]
    print("seed %s: 1 of 9 faults are enough\\n   1.0  fault 1" % seed)
else:
    print("VIOLATION seed 50003: lost\\n    replay: tally-sim --verbose-seed 50003   (commit x)\\n"
          "1+1+1: 6 seeds, 0.1 virtual hours in 1 s (9 a s), 1 failed, commit x")
sys.exit(1)
"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.text = folder.name, ""
        self.pages = os.path.join(folder.name, "out", "report.html")

    def search(self, *words, run=None):
        """The exit status; what stands for a run is `run(job)`."""
        def go(lanes, jobs, count):
            del count
            lanes.waiting.extend(jobs)
            while lanes.waiting:
                job = lanes.waiting.popleft()
                if lanes.begins(job):
                    status = run(job) if run else 0
                    lanes.done(job, status, 1.0)

        with mock.patch.object(campaign.Lanes, "go", go), \
                contextlib.redirect_stdout(io.StringIO()) as text:
            status = main.main(["search", "--seed", "5", "--build", self.folder, "--output",
                                os.path.join(self.folder, "out"), *words])
        self.text = text.getvalue()
        with open(os.path.join(self.folder, "out", "summary.json")) as file:
            self.summary = json.load(file)
        return status

    @staticmethod
    def leave(job, claims, status=0):
        """A run's directory, with so many facts checked of each claim."""
        history = History(job.where)
        history.spoken = None
        history.put_meta(scenario=job.name, seed=job.seed, faults={"kill": 1}, begun={"kill": 2})
        history.put("verdicts.json", {"violations": [], "claims": [
            {"name": name, "checked": count, "text": "",
             "verdict": "holds" if count else "unchecked"} for name, count in claims.items()]})
        history.close()
        with open(job.where + ".log", "w") as log:
            log.write("%s, seed 1: fine\n" % job.name)
        return status

    def test_a_slice_in_which_a_claim_was_never_judged_is_no_good_one(self):
        for pauses, status in ((0, 2), (3, 0)):
            self.assertEqual(self.search("--ci", "--no-simulator", run=lambda job: self.leave(
                job, {"money": 5, "pauses": pauses, "run: timeline": 0})), status, self.text)
            self.assertEqual("NOT FINE: claim pauses: judged in no run" in self.text, status == 2)
            self.assertEqual(self.summary["failures"],
                             ["claim pauses: judged in no run"] if status else [])
            shutil.rmtree(os.path.join(self.folder, "out"))
        self.assertEqual(self.search("--ci", "--no-simulator", run=lambda job: self.leave(
            job, {verdict.NOT_RUN: 0})), 2)
        self.assertEqual(self.summary["failures"], ["no run was judged"])

    # An attack that did not come about is made again at once, with another seed and for a while; the
    # runs behind it stay what they are. A run that failed for another reason as well is not, and one
    # for whose second try no time was left stands as it was.
    def test_an_attack_that_did_not_come_about_is_made_again(self):
        def run(job):
            status = self.leave(job, {"money": 5})
            ran.append(job)
            if job.name != "quiet" or len([j for j in ran if j.name == "quiet"]) > misses:
                return status
            with open(os.path.join(job.where, "verdicts.json")) as file:
                verdicts = json.load(file)
            with open(os.path.join(job.where, "verdicts.json"), "w") as file:
                json.dump(dict(verdicts, only_missed=not other), file)
            return 2

        others = None
        for misses, other, begun, seeds, status in (
                (0, False, 9, 1, 0), (1, False, 9, 2, 0), (2, False, 9, 3, 0), (3, False, 9, 3, 2),
                (1, True, 9, 1, 2), (1, False, 1, 1, 2)):
            ran = []
            with mock.patch.object(campaign.time, "monotonic",
                                   lambda: 10000.0 if len(ran) >= begun else 1.0):
                self.assertEqual(self.search("--minutes", "60", "--no-simulator", "--no-random",
                                             "--scenarios", "quiet,overload", run=run),
                                 status, self.text)
            self.assertEqual([job.name for job in ran], ["quiet"] * seeds + ["overload"] * (begun > 1),
                             self.text)
            self.assertEqual(len({job.seed for job in ran} | {job.where for job in ran}), 2 * len(ran))
            if begun > 1:
                self.assertEqual(others or ran[-1], ran[-1], "another's run is not what it was")
                others = ran[-1]
            self.assertEqual("NOT FINE: quiet" in self.text, status == 2, self.text)
            self.assertEqual(self.summary["checked"]["money"], 5 * (1 if begun == 1 else 2))
            shutil.rmtree(os.path.join(self.folder, "out"))

    # What is known is told, on the way and by a search that is told to end.
    def test_an_interrupted_search_leaves_its_report(self):
        ran = []

        def run(job):
            ran.append(job)
            if len(ran) == 3:
                self.assertTrue(os.path.exists(self.pages), "no report on the way")
                os.unlink(self.pages)
                raise SystemExit(143)
            return self.leave(job, {"money": 5})

        with mock.patch.object(campaign, "REPORT_SECONDS", 0), \
                mock.patch.object(campaign, "PAGES_MAX", 1):
            self.assertEqual(self.search("--ci", "--no-simulator", run=run), 2)
        with open(self.pages) as file:
            self.assertIn("the search was interrupted", file.read())
        self.assertEqual((len(self.summary["runs"]), self.summary["begun"]), (2, {"kill": 4}))
        self.assertIn("== the search was interrupted; some of it", self.text)
        self.assertEqual([os.path.exists(os.path.join(job.where, "clients")) for job in ran[:2]],
                         [False, True], "histories pile up")

    def test_a_failing_seed_is_made_short_and_told(self):
        os.makedirs(os.path.join(self.folder, "chaos", "sim"))
        program = os.path.join(self.folder, "chaos", "sim", "tally-sim")
        with open(program, "w") as file:
            file.write(self.SIMULATOR)
        os.chmod(program, 0o755)
        with mock.patch.object(campaign, "CI_SIMULATOR_SECONDS", 0.01):
            self.assertEqual(self.search("--ci", "--no-random", "--scenarios", "none"), 1, self.text)
        self.assertIn("  seed 50003: 1 of 9 faults are enough\n     1.0  fault 1\n", self.text)
        with open(self.pages) as file:
            self.assertIn("seed 50003: 1 of 9 faults are enough\n   1.0  fault 1</pre>", file.read())


class Words(unittest.TestCase):
    def setUp(self):
        for word in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, word, signal.getsignal(word))

    def told(self, *words):
        text = io.StringIO()
        with contextlib.redirect_stderr(text), contextlib.redirect_stdout(text), \
                self.assertRaises(SystemExit) as ended:
            main.main(list(words))
        return ended.exception.code, text.getvalue()

    def test_bad_words_are_refused_in_words(self):
        for words, said in ((["run"], "either names of scenarios or --random"),
                            (["run", "quiet", "--random"], "either names"),
                            (["run", "--random", "--minutes", "0"], "more than 0"),
                            (["run", "--random", "--only", "kil"], "no fault is called kil"),
                            (["run", "nonesuch"], "no scenario is called nonesuch"),
                            (["run", "quiet", "--directory", "/"], "is there already"),
                            (["search", "--scenarios", "x"], "no scenario is called x")):
            code, text = self.told(*words)
            self.assertEqual(code, 2, words)
            self.assertIn(said, text)

    # timeout(1) tells the whole group, and a search its run once more: processes and namespaces would
    # be left behind if the second word interrupted what the first began.
    def test_a_second_sigterm_does_not_interrupt_the_cleaning_up(self):
        code = ("import sys, time; sys.path.insert(0, sys.argv[1]); import nemesis, cluster\n"
                "cluster.end_on_terminate(2)\n"
                "try:\n print('up', flush=True); time.sleep(60)\n"
                "finally:\n print('cleaning', flush=True); time.sleep(1.0); print('clean', flush=True)")
        process = subprocess.Popen([sys.executable, "-c", code, os.path.join(ROOT, "chaos")],
                                   stdout=subprocess.PIPE)
        try:
            self.assertEqual(process.stdout.readline(), b"up\n")
            process.terminate()
            self.assertEqual(process.stdout.readline(), b"cleaning\n")
            process.terminate()
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.communicate(timeout=60)[0], b"clean\n")
            self.assertEqual(process.returncode, 143)
        finally:
            process.kill()
            process.wait(10)

    # And whoever finds its directory is told, too.
    def test_an_interrupted_run_says_so(self):
        for word in (signal.SIGINT, signal.SIGTERM):
            def end(options, scenario, history):
                history.close()
                os.kill(os.getpid(), word)

            for number in (signal.SIGINT, signal.SIGTERM):      # the one before has them ignored
                signal.signal(number, signal.SIG_DFL)
            with tempfile.TemporaryDirectory() as folder, \
                    mock.patch.object(main, "Run", end), \
                    mock.patch.object(main.tempfile, "mkdtemp", lambda prefix: folder), \
                    contextlib.redirect_stdout(io.StringIO()) as text:
                directory = os.path.join(folder, "history")
                self.assertEqual(main.main(["run", "quiet", "--directory", directory]), 2)
                self.assertIn("interrupted: the run did not come to its end", text.getvalue())
                lines = []
                self.assertEqual(verdict.check(directory, lines.append), 2)
                self.assertIn("the run itself failed: interrupted", lines[-1])

    def test_checking_what_is_no_history_says_so(self):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            self.assertEqual(main.main(["check", "/nonexistent"]), 2)
        self.assertIn("no meta.json", text.getvalue())


if __name__ == "__main__":
    unittest.main()
