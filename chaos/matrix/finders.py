"""Runs the checkers against one bug. Each returns an Outcome; none raises for a bug unseen.

Every run is a process group of its own, bounded in time; only groups begun here are ended.
"""
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from .bug import ROOT, FaultLoop, GuardSearch, Nemesis, Simulator, Tests, guard_parts
from .checkers import simulator_checker

PYTHON = "/usr/bin/python3"
MORE_SEEDS = 10             # after the find that counts, to see who else speaks
SEED_SECONDS = 30           # real ones, for a seed on a very busy machine, at most
GUARD_SEARCH = os.path.join("replication", "raft_search")
CHUNK = 20                  # seeds of the guard's search at a time, since it tells at its end
CHUNK_SECONDS = 300
TESTS_SECONDS = 900        # a bound on a hang; on a slow machine the longest take minutes
LOOP_SECONDS = 240          # what the fault loop may take besides striking: making, settling, judging
NEMESIS_SECONDS = 280


class MatrixFailure(Exception):
    """The matrix cannot go on; says nothing about a checker."""


@dataclass
class Find:
    by: str
    text: str
    seed: int = None
    after: int = None           # seeds, this one included
    right: bool = True          # said by one who has to


@dataclass
class Outcome:
    finder: str                 # "simulator", ...
    wanted: str                 # by whom it has to be found, in words
    budget: str
    command: str
    seconds: float = 0.0
    finds: list = field(default_factory=list)
    every: tuple = ()           # each of these has to speak

    @property
    def best(self):
        right = [find for find in self.finds if find.right]
        return None if not right else right[-1] if self.every else right[0]

    @property
    def found(self):
        return self.best is not None and \
            set(self.every) <= {find.by for find in self.finds}


class Finders:
    def __init__(self, build, seed, factor=1.0):
        """`factor`: of the budgets in seeds, for a slice or a search."""
        self.build, self.seed, self.factor = build, seed, factor
        self.controls = {}      # tests that passed without a bug
        self.running = []       # process groups that were begun here

    def run(self, bug, finder):
        kind = {Simulator: self.simulator, GuardSearch: self.guard_search, Tests: self.tests,
                FaultLoop: self.fault_loop, Nemesis: self.nemesis}[type(finder)]
        began = time.monotonic()
        outcome = kind(bug, finder)
        outcome.seconds = time.monotonic() - began
        return outcome

    # ---- processes ----

    def start(self, arguments, bug, **more):
        environment = dict(os.environ)
        environment.pop("TALLY_PLANTED", None)
        if bug is not None and bug.fault:
            environment["TALLY_PLANTED"] = bug.fault
        try:
            process = subprocess.Popen(arguments, env=environment, cwd=ROOT, start_new_session=True,
                                       stdin=subprocess.DEVNULL, **more)
        except OSError as error:
            raise MatrixFailure("%s cannot be started: %s" % (arguments[0], error)) from None
        self.running = [other for other in self.running if other.poll() is None] + [process]
        return process

    def stop(self):
        """When the matrix itself is ended: nothing that it began goes on."""
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)

    def finish(self, arguments, bug, seconds):
        """(exit status or None when its time was up, what it said)."""
        with tempfile.TemporaryFile() as said:
            process = self.start(arguments, bug, stdout=said, stderr=subprocess.STDOUT)
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                end_group(process)
            said.seek(0)
            return status, said.read().decode(errors="replace")

    # ---- the simulator ----

    def simulator(self, bug, finder):
        seeds = max(1, int(finder.seeds * self.factor))
        outcome = Outcome("simulator", " or ".join(finder.by) or "any checker",
                          "%d seeds of %d s, %s" % (seeds, finder.seconds, finder.topology),
                          command(None if finder.row else bug,
                                  self.simulation(bug, finder, self.seed, seeds)))
        for find in self.violations(bug, finder, self.seed, seeds):
            outcome.finds.append(find)
            if find.right and not finder.row:
                break
        best = outcome.best
        if best is not None and not finder.row:     # who else sees it?
            outcome.finds += self.violations(bug, finder, best.seed + 1,
                                             min(best.after, MORE_SEEDS))
        outcome.finds.sort(key=lambda find: find.after)
        return outcome

    def simulation(self, bug, finder, first, seeds):
        arguments = [os.path.join(self.build, "chaos", "sim", "tally-sim"), "--topology",
                     finder.topology, "--seeds", "%d..%d" % (first, first + seeds - 1),
                     "--seconds", str(finder.seconds), "--jobs", "1"]
        for part in () if finder.row else bug.guard_off:
            arguments += ["--guard-off", part]
        return arguments + (["--planted", finder.row] if finder.row else list(finder.options))

    def violations(self, bug, finder, first, seeds):
        """Finds as they come; whoever has enough stops asking."""
        arguments = self.simulation(bug, finder, first, seeds)
        process = self.start(arguments, None if finder.row else bug, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60 + seeds * SEED_SECONDS
            for line in lines_until(process.stdout, end):
                find = read_row(line) if finder.row else read_violation(line, self.seed)
                if find is None:
                    continue
                if not finder.row:
                    find.right = not finder.by or find.by in finder.by
                yield find
            if time.monotonic() >= end: # no word about the checkers
                raise MatrixFailure("%s did not end within %d s" % (
                    command(bug, arguments), 60 + seeds * SEED_SECONDS))
        finally:
            end_group(process)
        # 0 and 1 are its own words; below 0 it was ended here.
        if process.returncode not in (0, 1) and process.returncode >= 0:
            raise MatrixFailure("%s ended with %d" % (command(bug, arguments), process.returncode))

    # ---- the search of the guard ----

    def guard_search(self, bug, finder):
        seeds = max(1, int(finder.seeds * self.factor))
        outcome = Outcome("guard search", "any of its checkers", "%d seeds of %d s%s" % (
            seeds, finder.seconds, "".join(" " + option for option in finder.options)),
            command(bug, self.guard_arguments(bug, finder, self.seed, seeds)))
        for first in range(self.seed, self.seed + seeds, CHUNK):
            arguments = self.guard_arguments(bug, finder, first,
                                             min(CHUNK, self.seed + seeds - first))
            status, said = self.finish(arguments, bug, CHUNK_SECONDS)
            if status is None or status > 1:
                raise MatrixFailure("%s ended with %s:\n%s" % (command(bug, arguments), status,
                                                               said[-1000:]))
            outcome.finds = read_guard_search(said, self.seed)[:MORE_SEEDS]
            if status < 0:      # a log that is not what libraft takes it for
                outcome.finds.append(Find("process", "it died of signal %d" % -status, first,
                                          first - self.seed + CHUNK))
            if outcome.finds:
                break
        return outcome

    def guard_arguments(self, bug, finder, first, seeds):
        arguments = [os.path.join(self.build, "tests", GUARD_SEARCH), "--from", str(first),
                     "--seeds", str(seeds), "--seconds", str(finder.seconds)]
        for part in bug.guard_off:
            arguments += ["--off", guard_parts()[part]]
        return arguments + list(finder.options)

    # ---- tests ----

    def tests(self, bug, finder):
        arguments = [os.path.join(self.build, "tests", finder.program), "-j1"]
        if finder.only:
            arguments.append("--filter=" + finder.only)
        name = os.path.basename(finder.program).removeprefix("test_")
        outcome = Outcome("tests", name, "one run", command(bug, arguments))
        if not finder.schedule and tuple(arguments) not in self.controls:
            status, said = self.finish(arguments, None, TESTS_SECONDS)
            self.controls[tuple(arguments)] = status == 0
            if status != 0:
                raise MatrixFailure("%s fails with nothing planted:\n%s" % (
                    command(None, arguments), said[-2000:]))
        status, said = self.finish(arguments, bug, TESTS_SECONDS)
        tested = re.search(r"Tested: .*?(\d+).*Failing: .*?(\d+).*Crashing: .*?(\d+)", plain(said))
        if tested is None or int(tested.group(1)) == 0:
            if status is None:
                outcome.finds.append(Find(name, "does not end within %d s" % TESTS_SECONDS))
                return outcome
            raise MatrixFailure("%s ran no test: %s" % (outcome.command, said[-500:]))
        failing = re.findall(r"\[FAIL\] ([\w:]+)", plain(said))
        if finder.schedule and status == 0:
            outcome.finds.append(Find(name, "%s: the promise breaks with only that part off" %
                                      finder.only))
        elif not finder.schedule and status != 0:
            outcome.finds += [Find(name, text) for text in failing or ["the program died"]]
        return outcome

    # ---- real processes ----

    def fault_loop(self, bug, finder):
        arguments = [PYTHON, "chaos/fault_loop.py", "--build", self.build, "--planted", bug.fault,
                     "--faults", str(finder.faults), "--seconds", str(finder.seconds),
                     "--topology", finder.topology, "--seed", str(self.seed)]
        outcome = Outcome("fault loop", "the judge, or nodes that notice",
                          "%d faults within %d s, %s" % (finder.faults, finder.seconds,
                                                         finder.topology), command(None, arguments))
        status, said = self.finish(arguments, None, finder.seconds + LOOP_SECONDS)
        kept = re.search(r"^files kept in (\S+)", said, re.M)
        if kept and os.path.basename(kept.group(1)).startswith("tally-fault-loop-"):
            shutil.rmtree(kept.group(1), ignore_errors=True)
        if status is None:
            raise MatrixFailure("%s did not end:\n%s" % (outcome.command, said[-1000:]))
        if status not in (0, 1):
            raise MatrixFailure("%s ended with %d:\n%s" % (outcome.command, status, said[-2000:]))
        if status == 0:
            for text in re.findall(r"^VIOLATION (.*)", said, re.M)[:8]:
                outcome.finds.append(Find("judge", text))
            for text in re.findall(r"^found by the nodes themselves: (.*)", said, re.M):
                outcome.finds.append(Find("nodes", text))
            if not outcome.finds:
                raise MatrixFailure("%s found it and does not say how" % outcome.command)
        return outcome

    def nemesis(self, bug, finder):
        outcome = Outcome("nemesis", " and ".join(finder.by),
                          "%d runs of %s" % (finder.runs, finder.scenario), "", every=finder.by)
        judged = 0
        for number in range(finder.runs):
            arguments = self.nemesis_arguments(finder, self.seed + number)
            outcome.command = command(bug, arguments)
            violations, said = self.nemesis_run(bug, arguments)
            judged += violations is not None    # a bug can be the end of the run itself
            for violation in violations or ():
                claim = violation["claim"]
                if claim not in [find.by for find in outcome.finds]:
                    outcome.finds.append(Find(claim, violation["text"], self.seed + number,
                                              number + 1, claim in finder.by))
            if outcome.found:
                break
        if not judged:
            raise MatrixFailure("%s judged nothing:\n%s" % (outcome.command, said[-2000:]))
        return outcome

    def nemesis_arguments(self, finder, seed):
        return [PYTHON, "chaos/tally-chaos", "run"] + finder.scenario.split() + [
            "--build", self.build, "--seed", str(seed), "--no-report",
            "--planted-expected"] + list(finder.options)

    def nemesis_run(self, bug, arguments):
        """(the violations of one run, or None when it judged nothing; what it said)"""
        scratch = tempfile.mkdtemp(prefix="tally-matrix-")
        directory = os.path.join(scratch, "history")
        try:
            _, said = self.finish(arguments + ["--directory", directory], bug, NEMESIS_SECONDS)
            kept = re.search(r"^nodes' files: (\S+)", said, re.M)
            if kept and os.path.basename(kept.group(1)).startswith("tally-chaos-"):
                shutil.rmtree(kept.group(1), ignore_errors=True)
            path = os.path.join(directory, "verdicts.json")
            if not os.path.exists(path):
                return None, said
            with open(path) as file:
                return json.load(file)["violations"], said
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


# ---- reading ----

def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def command(bug, arguments):
    """As a person would type it at the root of the repository."""
    planted = "TALLY_PLANTED=%s " % bug.fault if bug is not None and bug.fault else ""
    words = [word if word == PYTHON else os.path.relpath(word, ROOT)
             if word.startswith(ROOT + os.sep) else word for word in arguments]
    return planted + " ".join(shlex.quote(word) for word in words if word != PYTHON)


def read_violation(line, first):
    """A line of a plain search."""
    match = re.match(r"VIOLATION seed (\d+): (.*)", line)
    if not match:
        return None
    seed = int(match.group(1))
    return Find(simulator_checker(match.group(2)), match.group(2), seed, seed - first + 1)


def read_row(line):
    """A line of tally-sim --planted."""
    match = re.match(r"\S* +(found|also|FOUND BY ANOTHER CHECKER) +seed (\d+) \(of (\d+)\): (.*)",
                     line)
    if not match:
        return None
    how, seed, after, text = match.groups()
    return Find(simulator_checker(text), text, int(seed), int(after), right=how == "found")


def read_guard_search(said, first):
    """What raft_search says of its seeds."""
    return [Find("raft_checkers", text, int(seed), int(seed) - first + 1)
            for seed, text in re.findall(r"^seed (\d+): \d+ violations; first: (.*)", said, re.M)]


def lines_until(pipe, end):
    """Lines as they come; no more after `end`."""
    os.set_blocking(pipe.fileno(), False)
    rest = b""
    while time.monotonic() < end:
        ready, _, _ = select.select([pipe], [], [], max(0.1, end - time.monotonic()))
        if not ready:
            return
        part = os.read(pipe.fileno(), 1 << 16)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def end_group(process):
    """The process and what it began. Its group was made for it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
