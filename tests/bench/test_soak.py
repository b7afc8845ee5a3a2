#!/usr/bin/python3
"""The soak's rule sees what grows, and lets pass what does not: series made by hand."""
import os
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import soak_page  # noqa: E402
import soak_verdict  # noqa: E402
from soak_verdict import Rule, judge  # noqa: E402

MIB = 2 ** 20
MEMORY = Rule("memory", "bytes", 0.05, 8 * MIB)
DISK = Rule("disk", "bytes", 0.05, 8 * MIB, price=300)
RATE = 20000


def series(value, seconds=1200, step=2):
    """value(second) sampled; transfers arrive at a steady rate."""
    return [(float(at), value(at), at * RATE) for at in range(0, seconds, step)]


def verdict(rule, samples, warmup=120):
    return judge(rule, samples, warmup)["verdict"]


class Soak(unittest.TestCase):
    def setUp(self):
        self.draw = random.Random(7)

    def noise(self, size):
        return self.draw.uniform(-size, size)

    def test_noise_and_a_saw_are_flat(self):
        self.assertEqual(verdict(MEMORY, series(lambda at: 500 * MIB + self.noise(20 * MIB))), "flat")
        self.assertEqual(verdict(MEMORY, series(lambda at: 500 * MIB + at % 10 * 8 * MIB)), "flat")

    def test_growth_of_the_warm_up_is_not_held_against_it(self):
        self.assertEqual(verdict(MEMORY, series(lambda at: min(at, 110) * 5 * MIB)), "flat")

    def test_a_slow_leak_grows(self):
        """100 KiB a second are 105 MiB in the judged part."""
        self.assertEqual(verdict(MEMORY, series(lambda at: 500 * MIB + at * 100 * 1024)), "grows")

    def test_a_slow_leak_below_noise_grows(self):
        self.assertEqual(verdict(MEMORY, series(
            lambda at: 500 * MIB + at * 100 * 1024 + self.noise(60 * MIB))), "grows")

    def test_a_step_that_stays_grows(self):
        self.assertEqual(verdict(MEMORY, series(
            lambda at: 500 * MIB + (60 * MIB if at > 900 else 0))), "grows")

    def test_one_spike_is_no_growth(self):
        self.assertEqual(verdict(MEMORY, series(
            lambda at: 5000 * MIB if at == 1000 else 500 * MIB)), "flat")

    def test_falling_is_flat(self):
        self.assertEqual(verdict(MEMORY, series(lambda at: 900 * MIB - at * 100 * 1024)), "flat")

    def test_what_transfers_explain_is_held_apart(self):
        """Disk that grows by less than its price per transfer, and by more."""
        self.assertEqual(verdict(DISK, series(lambda at: at * RATE * 280)), "flat")
        self.assertEqual(verdict(DISK, series(lambda at: at * RATE * 330)), "grows")
        self.assertEqual(verdict(MEMORY, series(lambda at: at * RATE * 280)), "grows")

    def test_one_descriptor_a_minute_grows(self):
        rule = Rule("descriptors", "", 0.0, 3)
        self.assertEqual(verdict(rule, series(lambda at: 40 + at // 60)), "grows")
        self.assertEqual(verdict(rule, series(lambda at: 40 + at % 3)), "flat")

    def test_latency_by_the_minute(self):
        rule = Rule("p99", "ms", 0.5, 2)
        minutes = [(60.0 * k, 5 + self.noise(1), k) for k in range(20)]
        self.assertEqual(verdict(rule, minutes), "flat")
        slower = [(60.0 * k, 5 + k * 0.4, k) for k in range(20)]
        self.assertEqual(verdict(rule, slower), "grows")

    def test_too_few_samples_do_not_pass(self):
        result = judge(MEMORY, series(lambda at: 1, seconds=8), 0)
        self.assertEqual(result["verdict"], "not judged")
        self.assertFalse(soak_verdict.passes([result]))
        self.assertFalse(soak_verdict.passes([]))

    def test_the_page_says_what_grows(self):
        grows = judge(MEMORY, series(lambda at: 500 * MIB + at * 200 * 1024), 120)
        flat = judge(DISK, series(lambda at: at * RATE * 100), 120)
        page = soak_page.page({
            "machine": "<a machine>", "command": "x", "verdict": "NOT FLAT", "notes": ["a note"],
            "minutes": [{"minute": 1, "p50": 1.0, "p99": 2.0, "max": 3.0, "transfers_per_s": 4.0,
                         "unknown": 0}],
            "results": [grows, flat],
            "plots": [("memory", "MiB", {"node 1": [(0.0, 1.0), (1.0, 2.0)]})]})
        self.assertIn("grows", page)
        self.assertIn("NOT FLAT", page)
        self.assertIn("&lt;a machine&gt;", page)
        self.assertIn("<polyline", page)
        self.assertNotIn("http", page.replace("http://www.w3.org/2000/svg", ""))


if __name__ == "__main__":
    unittest.main()
