#!/usr/bin/python3
"""tally-sim refuses words that it does not understand, by name, and searches nothing then.

    tests/chaos/test_sim_flags.py BUILD

A search of no seeds, or of a number that a sign made very large, would look like one that found nothing,
or never end.
"""
import os
import subprocess
import sys
import unittest

REFUSED = (
    (("--bogus",), 'there is no option "--bogus"'),
    (("--seeds", "5..1"), '--seeds "1": a whole number from 5'),
    (("--seeds", "5"), "--seeds wants FROM..TO"),
    (("--seed", "-1"), '--seed "-1": a whole number'),
    (("--seed", ""), '--seed "": a whole number'),
    (("--story", "7x"), '--story "7x": a whole number'),
    (("--seed",), "--seed wants a value"),
    (("--seconds", "-3"), '--seconds "-3": a whole number'),
    (("--seconds", "99999999999999999999"), "a whole number from 0 to 1000000"),
    (("--jobs", "0"), '--jobs "0": a whole number from 1 to 64'),
    (("--shrink", "1", "--shrink-seconds", "0"), '--shrink-seconds "0"'),
    (("--faults", "-3"), "--faults wants rising numbers"),
    (("--faults", "1--3"), "--faults wants rising numbers"),
    (("--faults", "5,3"), "--faults wants rising numbers"),
    (("--without", "sunshine"), 'there is no kind of fault "sunshine"'),
    (("--plant", "roses"), 'there is no fault "roses" to plant'),
    (("--planted", "roses"), 'there is no planted error "roses"'),
    (("--guard-off", "S99"), 'the guard has no repair "S99"'),
    (("--topology", "3"), "the topologies are 1, 1+1+1 and 2+2+1"),
)


class Flags(unittest.TestCase):
    def run_with(self, words):
        return subprocess.run([PROGRAM] + list(words), stdin=subprocess.DEVNULL, timeout=600,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def test_what_is_not_understood_is_named_and_nothing_runs(self):
        for words, said in REFUSED:
            with self.subTest(words=words):
                done = self.run_with(words)
                self.assertEqual((done.returncode, done.stdout), (2, b""))
                self.assertIn(said, done.stderr.decode())

    def test_help_is_no_error(self):
        done = self.run_with(["--help"])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"usage: tally-sim", done.stdout)


if __name__ == "__main__":
    PROGRAM = os.path.join(sys.argv.pop(1), "chaos", "sim", "tally-sim")
    unittest.main()
