#!/usr/bin/python3
"""When a run promises how long clients wait, and when not: one loss in a cluster that is well, and
nothing else."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(HERE)), "chaos"), HERE]
sys.dont_write_bytecode = True
import test_nemesis  # noqa: E402
from nemesis import budgets  # noqa: E402
from nemesis.faults.network import SitesCut  # noqa: E402
from nemesis.faults.process import Kill  # noqa: E402


class Loss(Kill):
    """Takes its victims as a kill does, and leaves their processes alone."""

    def begin(self, context):
        self.take(context)

    def end(self, context):
        pass


class Cut(SitesCut):
    def begin(self, context):
        self.struck = context.sites.data()

    def end(self, context):
        pass


class Windows(test_nemesis.World):
    def windows(self):
        self.context.pauses.close()
        return [(window["sites"], window["ms"]) for window in self.context.pauses.windows]

    def promised(self, fault):
        with self.context.during(fault):
            pass
        return self.windows()

    def test_each_loss_of_the_table_has_its_time(self):
        for fault, windows in (
                (Loss("leader"), [(["B"], 6000)]), (Loss("node-2"), [(["A"], 4500)]),
                (Loss("witness"), [(["A"], 2000), (["B"], 2000)]),
                (Cut("sites", way="both"), [(["A", "B"], 6000)]),
                (Cut("sites", way="A→B"), []), (test_nemesis.Held("leader"), []),
                (Loss("all"), [])):
            self.context.pauses.windows = []
            self.assertEqual(self.promised(fault), windows, fault.describe())

    def test_nothing_is_promised_where_something_else_is_wrong(self):
        members = self.context.sites.members
        for spoil in (lambda: members[1].told.update(ready=False),
                      lambda: members[2].told.clear(),
                      lambda: members[0].told.update(mode="degraded"),
                      lambda: members[0].told.update(mode_committed="degraded"),
                      lambda: members[0].told.update(role="follower"),
                      lambda: members[1].told.update(role="leader"),
                      lambda: members[0].told.update(survives_loss={"A": False, "B": True}),
                      lambda: self.context.down.add(2),
                      lambda: self.context.begin(Loss("node-2"))):
            self.setUp()
            members = self.context.sites.members
            spoil()
            self.assertNotIn((["B"], 6000), self.promised(Loss("leader")))

    def test_a_window_ends_with_whatever_is_done_next(self):
        for act in (lambda: self.context.begin(test_nemesis.Held("node-2")),
                    lambda: self.context.kill([]), lambda: self.context.pauses.close(),
                    lambda: self.context.pauses.undisturbed("x")):
            self.setUp()
            with self.context.during(Loss("leader")):
                pass
            self.assertEqual(len(self.context.pauses.open), 1)
            act()
            window = self.context.pauses.windows[0]
            self.assertLess(window["from"], window["to"])
            self.assertNotIn(["B"], [w["sites"] for w in self.context.pauses.open if w["ms"] == 6000])

    def test_a_fault_that_kills_others_as_well_promises_nothing(self):
        fault, witness = Loss("leader"), self.context.sites.witness
        witness.process, witness.kill = None, lambda: None
        fault.begin = lambda context: (Loss.begin(fault, context), context.kill([witness]))
        self.assertEqual(self.promised(fault), [])

    def test_nothing_is_promised_where_nobody_asks(self):
        self.context.pauses.asked = {1}         # the other one came in the place of one that was asked
        self.assertEqual(self.promised(Loss("leader")), [])
        self.assertEqual(self.promised(Loss("node-2")), [(["A"], 4500)])
        self.context.pauses.windows = []
        self.assertEqual(self.promised(Cut("sites", way="both")), [])

    def test_undisturbed_means_both_sites(self):
        self.context.pauses.undisturbed("nothing")
        self.assertEqual(self.windows(), [(["A"], 2000), (["B"], 2000)])

    def test_times_are_those_of_the_guarantees(self):
        with open(os.path.join(os.path.dirname(os.path.dirname(HERE)), "docs", "guarantees.md")) as file:
            rows = [line for line in file if line.startswith("| the ")]
        for event, words, ms in (("the leader's site lost", "at most 2 s", budgets.LEADERS_SITE_MS),
                                 ("the other site lost", "at most 1.5 s", budgets.OTHER_SITE_MS),
                                 ("the link between", "one side serves within 2 s", budgets.LINK_MS),
                                 ("the witness lost", "100 ms", budgets.WITNESS_MS)):
            row = next(line for line in rows if line.startswith("| " + event))
            self.assertIn(words, row)
            number, unit = [word for word in words.split() if word[0].isdigit()][0], words.split()[-1]
            self.assertEqual(float(number) * (1000 if unit == "s" else 1), ms)


if __name__ == "__main__":
    unittest.main(verbosity=1)
