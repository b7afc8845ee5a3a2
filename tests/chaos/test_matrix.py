#!/usr/bin/python3
"""The matrix of planted bugs, by what it is told: nothing is planted and nothing is run here."""
import glob
import os
import re
import sys
import types
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "chaos"))
from matrix import bugs, checkers, matrix, render  # noqa: E402
from matrix.bug import (Bug, FaultLoop, GuardSearch, Nemesis, Simulator, Tests,  # noqa: E402
                        guard_parts)
from matrix.finders import (Find, Finders, Outcome, read_guard_search, read_row,  # noqa: E402
                            read_violation)
from planted_build import names  # noqa: E402

README = os.path.join(ROOT, "chaos", "matrix", "README.md")
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


def listed(heading):
    """The names in backquotes below a heading of the matrix's README, up to the first empty line
    behind the list."""
    with open(README) as file:
        text = file.read().split("\n### %s\n" % heading, 1)[1].lstrip("\n")
    return sorted(re.findall(r"`([a-z0-9 -]+)`", text.split("\n\n", 1)[0]))


def claims():
    """What the checkers of chaos/checkers claim."""
    for path in glob.glob(os.path.join(ROOT, "chaos", "checkers", "*.py")):
        with open(path) as file:
            yield from re.findall(r'^CLAIM = "([a-z-]+)"', file.read(), re.M)


def finders():
    return [finder for bug in bugs.BUGS for finder in bug.finders]


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
                    self.assertLessEqual(set(finder.by), set(claims()), bug.name)
                if isinstance(finder, GuardSearch):
                    self.assertLessEqual(set(bug.guard_off), set(guard_parts()), bug.name)
            self.assertTrue(bug.finders, bug.name)

    def test_a_slice_has_no_real_processes(self):
        arguments = types.SimpleNamespace(only="", ci=True, fast=False, seed=1)
        for bug, told in matrix.chosen(arguments):
            self.assertNotIsInstance(told[0], (FaultLoop, Nemesis), bug.name)

    def test_the_readme_lists_what_no_row_demands(self):
        demanded = {claim for finder in finders() if isinstance(finder, Nemesis)
                    for claim in finder.by}
        self.assertEqual(listed("Claims that no row demands"), sorted(set(claims()) - demanded))
        with open(os.path.join(ROOT, "chaos", "sim", "planted.c")) as file:
            text = file.read()
        for name in re.findall(r"\.finder = ([A-Z]+)", text):
            text += re.search(r"#define %s +(.*)" % name, text).group(1)
        spoken = {checkers.simulator_checker(words) for words in re.findall(r'"([^"]+)"', text)}
        spoken |= {name for finder in finders() if isinstance(finder, Simulator)
                   for name in finder.by}
        self.assertEqual(listed("Checkers of the simulator that no row names"),
                         sorted({name for name, _, _ in checkers.SIMULATOR} - spoken))

    def test_the_readme_lists_what_only_directed_tests_find(self):
        self.assertEqual(listed("Bugs that only tests find"),
                         sorted(bug.name for bug in bugs.BUGS
                                if all(isinstance(finder, Tests) for finder in bug.finders)))

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

    def test_lines_of_the_guards_search_are_read(self):
        said = ("raft_search: seeds 3000 to 3019, 150 virtual seconds\n"
                "seed 3008: 2 violations; first: node 1 leads term 11 with another entry\n"
                "19 passed, 1 failed\n")
        find, = read_guard_search(said, 3000)
        self.assertEqual((find.by, find.seed, find.after), ("raft_checkers", 3008, 9))
        self.assertEqual(read_guard_search("20 passed, 0 failed\n", 1), [])

    def test_the_guards_search_is_told_the_numbers_of_the_repairs(self):
        bug = Bug("b", "s", (GuardSearch(),), guard_off=("S12", "RUN"))
        told = Finders("build", 7).guard_arguments(bug, bug.finders[0], 7, 20)
        self.assertEqual(told[1:], ["--from", "7", "--seeds", "20", "--seconds", "150",
                                    "--off", "12", "--off", "38"])

    def test_every_claim_of_a_nemesis_row_has_to_be_broken(self):
        wanted = Outcome("nemesis", "identity and stamps", "3 runs", "", every=("identity", "stamps"))
        self.assertFalse(wanted.found)
        wanted.finds = [Find("identity", "t", 1, 1), Find("money", "t", 1, 1, right=False)]
        self.assertFalse(wanted.found)
        wanted.finds.append(Find("stamps", "t", 2, 2))
        self.assertTrue(wanted.found)
        self.assertEqual(wanted.best.after, 2)

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
