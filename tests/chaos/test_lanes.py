#!/usr/bin/python3
"""Runs beside each other: so many at a time and no more, each once, none forgotten, none left behind,
and nothing of one that another could take for its own."""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "chaos"))
sys.dont_write_bytecode = True
from nemesis import lanes  # noqa: E402
import cluster  # noqa: E402
import namespaces  # noqa: E402
import reserve  # noqa: E402

UP_SECONDS = 50

# Stands for tally-chaos: writes down that it runs, does what the first word says, cleans up when told.
RUN = """
import os, signal, sys, time
word, where = sys.argv[2], sys.argv[sys.argv.index("--directory") + 1]
def end(number, frame):
    print("cleaned up", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
os.mkdir(where)
print("up", flush=True)
time.sleep({"long": 90}.get(word, 0.3))
if word == "signal":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(word) if word.isdigit() else 0)
"""
HOLD = ("import sys; sys.path.insert(0, sys.argv[1]); import nemesis, namespaces, reserve\n"
        "print(namespaces.net(), reserve.take('port-1'), flush=True); sys.stdin.read()")


class Beside(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.rows = folder.name, []
        with open(os.path.join(folder.name, "tally-chaos"), "w") as file:
            file.write(RUN)
        patch = mock.patch.object(lanes, "CHAOS", folder.name)
        patch.start()
        self.addCleanup(patch.stop)

    def jobs(self, *words):
        return [lanes.Job(word, (word,), number, os.path.join(self.folder, "run-%d" % number), 0.0)
                for number, word in enumerate(words)]

    def done(self, job, status, seconds):
        self.rows.append((job.seed, status, time.monotonic() - seconds, time.monotonic()))

    def says(self, number, word):
        """Whether a run has said so."""
        try:
            with open(os.path.join(self.folder, "run-%d.log" % number)) as log:
                return word in log.read()
        except FileNotFoundError:
            return False

    def test_each_runs_once_and_only_so_many_at_a_time(self):
        for count in (1, 2):
            self.rows = []
            with tempfile.TemporaryDirectory(dir=self.folder) as self.inner:
                jobs = [job._replace(where=os.path.join(self.inner, str(job.seed)))
                        for job in self.jobs(*"0000")]
                lanes.Lanes("build", self.done).go(jobs, count)
            self.assertEqual(sorted(row[0] for row in self.rows), [0, 1, 2, 3])
            most = max(sum(1 for other in self.rows if other[2] <= row[2] < other[3])
                       for row in self.rows)
            self.assertEqual(most, count)

    def test_what_is_no_verdict_is_a_failure(self):
        lanes.Lanes("build", self.done).go(self.jobs("0", "1", "2", "7", "signal"), 2)
        self.assertEqual([row[1] for row in sorted(self.rows)], [0, 1, 2, 2, 2])

    def test_a_run_that_does_not_end_is_told_to(self):
        with mock.patch.object(lanes, "RUN_SECONDS", 15.0):    # the other one is over long before
            lanes.Lanes("build", self.done).go(self.jobs("long", "0"), 2)
        self.assertEqual([row[1] for row in sorted(self.rows)], [2, 0])
        with open(os.path.join(self.folder, "run-0.log")) as log:
            self.assertIn("cleaned up", log.read())

    def test_what_goes_wrong_in_a_lane_is_told(self):
        def done(job, status, seconds):
            raise ValueError("row %d" % job.seed)
        with self.assertRaisesRegex(ValueError, "row 0"):
            lanes.Lanes("build", done).go(self.jobs("0"), 1)

    def test_none_begins_that_may_not(self):
        lanes.Lanes("build", self.done, lambda job: job.seed != 1).go(self.jobs("0", "0", "0"), 2)
        self.assertEqual(sorted(row[0] for row in self.rows), [0, 2])

    def test_an_end_from_outside_ends_all_of_them_and_begins_no_further(self):
        made = lanes.Lanes("build", self.done)

        def once_both_are_up():
            end = time.monotonic() + UP_SECONDS
            while not all(self.says(number, "up") for number in (0, 1)) and time.monotonic() < end:
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGALRM)
        threading.Thread(target=once_both_are_up, daemon=True).start()

        def alarm(number, frame):
            raise KeyboardInterrupt
        before = signal.signal(signal.SIGALRM, alarm)
        try:
            with self.assertRaises(KeyboardInterrupt):
                made.go(self.jobs("long", "long", "0"), 2)
        finally:
            signal.signal(signal.SIGALRM, before)
        self.assertEqual(made.under_way, set())
        self.assertFalse(os.path.exists(os.path.join(self.folder, "run-2")))
        for number in (0, 1):
            with open(os.path.join(self.folder, "run-%d.log" % number)) as log:
                self.assertIn("cleaned up", log.read())


class Names(unittest.TestCase):
    def test_a_name_is_one_process_s_until_it_is_gone(self):
        process = subprocess.Popen([sys.executable, "-c", HOLD, os.path.join(ROOT, "chaos")],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            net, taken = process.stdout.readline().decode().split()
            self.assertEqual(taken, "True")
            self.assertFalse(reserve.take("port-1"))
            self.assertNotEqual(namespaces.net(), net)
            self.assertEqual(namespaces.net(), namespaces.net())
        finally:
            process.kill()
            process.communicate()
        self.assertTrue(reserve.take("port-1"))

    def test_a_network_that_somebody_has_is_passed_by(self):
        number = int(namespaces.net().split(".")[2])
        namespaces.net.cache_clear()
        with mock.patch.object(os, "getpid", lambda: number):
            other = namespaces.net()
        self.assertNotEqual(other, "10.77.%d." % number)
        with mock.patch.object(namespaces, "routed", lambda number: True), \
                self.assertRaisesRegex(namespaces.NamespacesMissing, "are taken"):
            namespaces.net.cache_clear()
            namespaces.net()
        namespaces.net.cache_clear()

    def test_no_port_is_given_twice(self):
        with mock.patch.object(cluster.random, "SystemRandom") as draw:
            draw.return_value.randrange.side_effect = [20001, 20001, 20003] * 20
            self.assertNotEqual(cluster.free_port(), cluster.free_port())


if __name__ == "__main__":
    unittest.main(verbosity=1)
