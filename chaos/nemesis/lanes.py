"""Runs of tally-chaos beside each other, each a process of its own: jobs in, one row each out.

Every job is bounded: one that does not end is told to, and it ends the processes that it started and
takes its network away; one that does not do that either is killed. So is everything under way when
this program is told to end. Two runs share nothing but the machine: directories, networks and ports
are each run's own (tests/e2e/reserve.py).
"""
import collections
import os
import subprocess
import sys
import threading
import time

from nemesis import CHAOS, verdict

RUN_SECONDS = 900           # of a run beyond its minutes: making, settling, checking
END_SECONDS = 180           # for it to end its processes and to take its network away
LOOK_SECONDS = 0.2

# name: what people are told; words: the command's, behind "run"; where: the history, its .log beside it.
Job = collections.namedtuple("Job", "name words seed where minutes")


class Lanes:
    def __init__(self, build, done, begins=lambda job: True):
        """begins(job) before each: whether it is run at all; done(job, status, seconds) after it. Both
        are called by one thread at a time."""
        self.build, self.done, self.begins = build, done, begins
        self.lock, self.waiting, self.under_way = threading.Lock(), collections.deque(), set()
        self.open, self.ending, self.failures = 0, False, []

    def go(self, jobs, count=1):
        """All of them, so many at a time; returns when the last one has ended."""
        self.waiting = collections.deque(jobs)
        self.open = min(count, len(jobs))
        for _ in range(self.open):
            threading.Thread(target=self.lane).start()
        try:
            # No join(): a signal's exception in the middle of one takes the thread for ended.
            while self.open:
                time.sleep(LOOK_SECONDS)
        except BaseException:
            self.end()
            until = time.monotonic() + 3 * END_SECONDS
            while self.open and time.monotonic() < until:
                time.sleep(LOOK_SECONDS)
            raise
        if self.failures:
            raise self.failures[0]

    def add(self, job):
        """One more, by done(): the lane that calls that has it next."""
        self.waiting.appendleft(job)

    def end(self):
        """No further job, and those under way are told to end."""
        self.waiting.clear()
        with self.lock:
            self.ending = True
            for process in self.under_way:
                process.terminate()

    def lane(self):
        try:
            while not self.ending and self.waiting:
                self.next()
        except BaseException as failure:        # told by go(): a lane never ends without a word
            self.failures.append(failure)
        finally:
            with self.lock:
                self.open -= 1

    def next(self):
        try:
            job = self.waiting.popleft()
        except IndexError:
            return                              # the other lane was faster
        with self.lock:
            if not self.begins(job):
                return
        began = time.monotonic()
        status = self.carry_out(job)
        with self.lock:
            self.done(job, status, time.monotonic() - began)

    def carry_out(self, job):
        """The exit status of one run: HOLDS, BROKEN, or FAILED for everything else, signals too."""
        words = ([sys.executable, os.path.join(CHAOS, "tally-chaos"), "run"] + list(job.words)
                 + ["--seed", str(job.seed), "--build", self.build, "--directory", job.where])
        with open(job.where + ".log", "w") as log:
            try:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=subprocess.STDOUT)
            except OSError as failure:
                log.write("the run itself failed: %s\n" % failure)
                return verdict.FAILED
            with self.lock:
                self.under_way.add(process)
                if self.ending:
                    process.terminate()
            try:
                status = self.wait(process, job.minutes * 60 + RUN_SECONDS)
            finally:
                with self.lock:
                    self.under_way.discard(process)
        return status if status in (verdict.HOLDS, verdict.BROKEN) else verdict.FAILED

    @staticmethod
    def wait(process, seconds):
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()         # it ends the processes that it started
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)
        return verdict.FAILED
