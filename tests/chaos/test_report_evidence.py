#!/usr/bin/python3
"""scripts/check-guarantees.py refuses what it is there to refuse, and the documents pass."""
import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
SPEC = importlib.util.spec_from_file_location(
    "check_guarantees", os.path.join(ROOT, "scripts", "check-guarantees.py"))
check = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check)

HEAD = "| no. | mended in | kept by |\n|---|---|---|\n"
GUARD = "| part off | schedule | kept by |\n|---|---|---|\n"
S1 = "`raft_guard.s1_acknowledges_only_what_this_leader_verified`"


class Documents(unittest.TestCase):
    def checked(self, text):
        """(exit status, what it printed) of a document."""
        with tempfile.NamedTemporaryFile("w", suffix=".md") as file:
            file.write(text)
            file.flush()
            with contextlib.redirect_stdout(io.StringIO()) as told:
                status = check.main([file.name])
        return status, told.getvalue()

    def refused(self, text, *parts):
        status, told = self.checked(text)
        self.assertEqual(status, 1, text)
        for part in parts:
            self.assertIn(part, told)

    def head(self):
        return check.ask_git("rev-parse", "--short=10", "HEAD") or "0123456789"

    def test_what_exists_passes(self):
        row = "| 1 | %s | `sim.seeds_differ`, `run:scripts/kill-loop.sh` |\n" % self.head()
        self.assertEqual(self.checked(HEAD + row)[0], 0)
        self.assertEqual(self.checked("| a | shown by |\n|---|---|\n| b | " + S1 + " |\n")[0], 0)

    def test_a_name_that_is_not_there_is_refused(self):
        for name in ("sim.no_such_test", "e2e:sites_kill.test_none", "run:scripts/none.sh",
                     "py:chaos/test_report.test_none", "fuzz:wire/none", "sim:none", "chaos:none",
                     "meson:none"):
            self.refused(HEAD + "| 1 | %s | `%s` |\n" % (self.head(), name), "there is no " + name)

    def test_a_row_without_evidence_and_a_document_without_any_are_refused(self):
        self.refused(HEAD + "| 1 | %s | |\n" % self.head(), "without evidence")
        self.refused(HEAD + "| 1 | %s | a test |\n" % self.head(), "not understood")
        self.refused("nothing here\n", "names no evidence at all")

    def test_a_mend_is_a_commit(self):
        row = "| 1 | %s | " + S1 + " |\n"
        self.refused(HEAD + row % "", "mended in no commit")
        self.refused(HEAD + row % "yesterday", "not a commit: yesterday")
        if check.Check().commits:
            self.refused(HEAD + row % "0123456789", "no commit of this repository")

    def test_a_row_that_points_elsewhere_points_to_something(self):
        told = "## Time\n| when | see |\n|---|---|\n| lost | %s |\n\n| | shown by |\n|---|---|\n| D1 | " + S1 + " |\n"
        self.assertEqual(self.checked(told % "D1, [Time](#time)")[0], 0)
        self.refused(told % "", "without evidence: lost")
        self.refused(told % "D1, D2", "no D2 in this document")
        self.refused(told % "[Times](#times)", "no #times in this document")
        self.refused(told % "D1 and more", "not understood")

    def test_what_is_not_promised_names_evidence_or_says_that_there_is_none(self):
        told = "| | shown by |\n|---|---|\n| D1 | " + S1 + " |\n## Not promised\n- **A.** %s\n## Next\n- b\n"
        for point in ("See D1.", "`sim.seeds_differ`", "b\n  c. Not tested."):
            self.assertEqual(self.checked(told % point)[0], 0, point)
        self.refused(told % "`grace_ms` is larger.", "neither evidence nor")
        self.refused(told % "See D2.", "no D2 in this document")
        self.refused(told % "`sim.no_such_test`, D1", "no sim.no_such_test")

    def test_each_table_of_the_guarantees_has_evidence(self):
        with tempfile.TemporaryDirectory() as scratch:
            os.mkdir(os.path.join(scratch, "docs"))
            path = os.path.join(scratch, check.ALL_OF)
            for head, status in (("| evidence | what |", 0), ("| when | what |", 1)):
                with open(path, "w") as file:
                    file.write(head + "\n|---|---|\n| a | b |\n\n| | shown by |\n|---|---|\n| D1 | " + S1 + " |\n")
                with contextlib.redirect_stdout(io.StringIO()):
                    self.assertEqual(check.main([path]), status, head)

    # The proof of a repair is a test that runs its schedule without it.
    def test_a_part_of_the_guard_names_the_test_that_switches_it_off(self):
        row = "| `%s` | `%s` | " + S1 + " |\n"
        self.assertEqual(self.checked(GUARD + row % ("S1", "stale_tail_is_acknowledged"))[0], 0)
        self.refused(GUARD + row % ("S2", "stale_tail_is_acknowledged"), "without S2")
        self.refused(GUARD + row % ("S1", "figure_8"), "runs figure_8")

    def test_the_documents_of_this_tree_pass(self):
        with contextlib.redirect_stdout(io.StringIO()) as told:
            self.assertEqual(check.main([]), 0, told.getvalue())


if __name__ == "__main__":
    unittest.main()
