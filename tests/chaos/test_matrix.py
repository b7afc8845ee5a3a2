#!/usr/bin/python3
"""The matrix of planted bugs, by what it is told: nothing is planted and nothing is run here."""
import glob
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "chaos"))
from matrix import bugs, checkers, render  # noqa: E402
from matrix.bug import Bug, Nemesis, Simulator  # noqa: E402
from matrix.finders import Find, Outcome, read_row, read_violation  # noqa: E402
from planted_build import names  # noqa: E402

CALL = re.compile(r'(?:world_violate|violate)\(\s*[^,"()]*,\s*((?:"(?:[^"\\]|\\.)*"|PRI\w+|\s)+)')


def sentences():
    """All that the simulator can say is broken, with something in place of what it fills in."""
    for path in sorted(glob.glob(os.path.join(ROOT, "chaos", "sim", "*.c"))):
        with open(path) as file:
            text = file.read()
        for call in CALL.finditer(text):
            joined = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', re.sub(r'PRI\w+', '"d"',
                                                                     call.group(1))))
            filled = re.sub(r"%[-.*0-9]*(?:l|ll)?([a-z])", lambda m: "X" if m.group(1) == "s" else "1",
                            joined)
            yield os.path.basename(path), filled


class Matrix(unittest.TestCase):
    def test_every_sentence_of_the_simulator_has_a_checker(self):
        unknown = ["%s: %s" % (path, text) for path, text in sentences()
                   if text.strip("X1 ") and checkers.simulator_checker(text) == checkers.OTHER]
        self.assertEqual(unknown, [], "chaos/matrix/checkers.py does not know these")
        self.assertGreater(len(list(sentences())), 50)

    def test_rows_name_checkers_that_there_are(self):
        known = {name for name, _, _ in checkers.SIMULATOR}
        for bug in bugs.BUGS:
            for finder in bug.finders:
                if isinstance(finder, Simulator):
                    self.assertLessEqual(set(finder.by), known, bug.name)
                if isinstance(finder, Nemesis):
                    self.assertTrue(finder.by, bug.name + ": a claim has to be named")
            self.assertTrue(bug.finders, bug.name)

    def test_every_fault_has_a_row_and_every_row_its_fault(self):
        self.assertEqual(sorted({bug.fault for bug in bugs.BUGS if bug.fault}), sorted(names()))

    def test_every_fault_is_somewhere_in_the_product(self):
        for bug in bugs.BUGS:
            self.assertTrue(bug.where(), bug.name)

    def test_rows_of_the_simulator_are_in_its_table(self):
        with open(os.path.join(ROOT, "chaos", "sim", "planted.c")) as file:
            there = set(re.findall(r'\.name = "([a-z-]+)"', file.read()))
        told = {finder.row for bug in bugs.BUGS for finder in bug.finders
                if isinstance(finder, Simulator) and finder.row}
        self.assertEqual(told, there)

    def test_lines_of_a_search_are_read(self):
        find = read_violation("VIOLATION seed 42: at 18.6 s: two leaders in term 8: node 2 and node 1",
                              40)
        self.assertEqual((find.by, find.seed, find.after), ("leaders", 42, 3))
        self.assertIsNone(read_violation("    replay: tally-sim --verbose-seed 42", 40))

    def test_lines_of_the_simulators_own_matrix_are_read(self):
        told = "%-22s %s  seed %d (of %d): at 1.0 s: digests differ"
        find = read_row(told % ("clamp-off", "found", 7, 3))
        self.assertEqual((find.by, find.seed, find.after, find.right), ("replicas", 7, 3, True))
        self.assertFalse(read_row(told % ("", "    also", 7, 3)).right)
        self.assertFalse(read_row(told % ("clamp-off", "FOUND BY ANOTHER CHECKER", 7, 3)).right)
        self.assertIsNone(read_row("clamp-off              NOT FOUND in 20 seeds"))

    def outcome(self, *finds):
        return Outcome("simulator", "leaders", "20 seeds", "tally-sim", 1.0, list(finds))

    def test_what_another_checker_says_is_no_find(self):
        bug = Bug("b", "s", (Simulator(("leaders",)),), guard_off=("S1",))
        other = Find("reads", "stale read", 1, 1, right=False)
        right = Find("leaders", "two leaders", 2, 2)
        self.assertFalse(render.row_of(bug, [self.outcome(other)])["found"])
        self.assertTrue(render.row_of(bug, [self.outcome(other, right)])["found"])
        self.assertFalse(render.row_of(bug, [self.outcome(right), self.outcome()])["found"])

    def test_the_page_shows_what_was_missed(self):
        bug = Bug("b", "a < b", (Simulator(("leaders",)),), guard_off=("S1",))
        facts = {"commit": "c", "seed": 1, "machine": "m", "command": "x", "seconds": 1.0}
        told = render.document(facts, [(bug, [self.outcome(Find("reads", "t", 1, 1, right=False))])],
                               ["an alarm"])
        page, text = render.html(told), render.markdown(told)
        for out in (page, text):
            self.assertIn("NOT FOUND by simulator", out)
            self.assertIn("an alarm", out)
        self.assertIn("a &lt; b", page)


if __name__ == "__main__":
    unittest.main()
