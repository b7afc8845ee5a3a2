#!/usr/bin/python3
"""Plants one bug after the other and has the checkers look for it: the matrix bug x checker.

    scripts/planted.sh [--ci] [--only NAME,NAME] [--seed N] [--out NAME]

Each bug has to be found by each of its finders (chaos/matrix/bugs.py): the simulator's checkers,
the search of the guard, a test, the fault loop's judge, the claims over a history of tally-chaos.
What is found by somebody else only counts as a miss: that checker was there for another bug. With
nothing planted nobody may speak.

  --ci         a slice that ends within 90 s: first finders only, all quick bugs, one of the rare
               ones drawn by the seed
  --fast       no real processes
  --jobs N     bugs at a time (default: processors)
  --out NAME   writes NAME.json, NAME.md and NAME.html

Exit status: 0 each bug was found; 1 one was not, or something was found with nothing planted;
2 the matrix could not be made.
"""
import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
from matrix.bug import (ROOT, Bug, FaultLoop, GuardSearch, Nemesis, Simulator,  # noqa: E402
                        Tests)
from matrix.bugs import BUGS  # noqa: E402
from matrix.finders import GUARD_SEARCH, Finders, MatrixFailure  # noqa: E402
from matrix.render import NOTHING, document, html, line, markdown  # noqa: E402
from planted_build import names, refusal  # noqa: E402

CORES = ("--jobs", str(os.cpu_count()))   # nothing else runs beside the control
CONTROL = Bug(NOTHING, "with nothing planted nobody speaks",
              (Simulator(seeds=400, options=CORES),
               Simulator(seeds=100, topology="2+2+1", options=CORES),
               GuardSearch(seeds=200)))
CONTROL_CI = Bug(NOTHING, CONTROL.story, (Simulator(seeds=60, options=CORES),))
REAL_TARGETS = ["server/tallyd", "client/cli/tally", "chaos/power_loss/powerloss-apply",
                "chaos/power_loss/libpowerloss.so", "chaos/power_loss/libdiskfault.so",
                "chaos/clock/libwallclock.so"]
CI_RARE = 1
CI_SEEDS_MAX = 2000         # of a rare one's first finder: who needs more takes minutes


def parse():
    parser = argparse.ArgumentParser(prog="scripts/planted.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build-planted"))
    parser.add_argument("--ci", action="store_true")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--only", default="", help="names of bugs, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the bugs and stop")
    parser.add_argument("--targets", action="store_true", help="print what has to be built and stop")
    parser.add_argument("--seed", type=int, help="first seed (default: drawn)")
    parser.add_argument("--budget", type=float, default=1.0, help="times the seeds of each row (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", help="NAME.json, NAME.md, NAME.html")
    arguments = parser.parse_args()
    known = {bug.name for bug in BUGS}
    for name in filter(None, arguments.only.split(",")):
        if name not in known:
            parser.error("--only: there is no bug \"%s\"; --list shows them" % name)
    if arguments.jobs < 1 or arguments.budget <= 0:
        parser.error("--jobs and --budget: more than 0")
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1, 1 << 31)
    return arguments


def check_table(build):
    """Rows that are none, faults without a row, a build that plants nothing."""
    twice = {bug.name for bug in BUGS if [b.name for b in BUGS].count(bug.name) > 1}
    if twice:
        raise MatrixFailure("two rows are called %s" % ", ".join(sorted(twice)))
    without = set(names()) - {bug.fault for bug in BUGS}
    if without:
        raise MatrixFailure("core/planted_fault.h has faults that no row of chaos/matrix/bugs.py "
                            "looks for: %s" % ", ".join(sorted(without)))
    for bug in BUGS:
        if bug.fault and bug.fault not in names():
            raise MatrixFailure("%s: core/planted_fault.h has no fault \"%s\"" % (bug.name, bug.fault))
        if bug.fault and not bug.where():
            raise MatrixFailure("%s: nothing in the product asks for %s" % (bug.name, bug.fault))
    refused = refusal(build, names()[0], os.path.join("chaos", "sim", "tally-sim"))
    if refused:
        raise MatrixFailure(refused)


def chosen(arguments):
    """[(bug, its finders)]"""
    wanted = set(filter(None, arguments.only.split(",")))
    bugs = [bug for bug in BUGS if not wanted or bug.name in wanted]
    if arguments.ci:
        rare = [bug for bug in bugs if bug.rare
                and getattr(bug.finders[0], "seeds", 0) <= CI_SEEDS_MAX]
        drawn = random.Random(arguments.seed).sample(rare, min(CI_RARE, len(rare)))
        bugs = [bug for bug in bugs if not bug.rare or bug in drawn]
    real = () if not (arguments.ci or arguments.fast) else (FaultLoop, Nemesis)
    rows = [(bug, [f for f in bug.finders if not isinstance(f, real)]) for bug in bugs]
    if arguments.ci:
        rows = [(bug, finders[:1]) for bug, finders in rows]
    return [(bug, finders) for bug, finders in rows if finders]


def targets(rows):
    """What ninja has to build for these rows."""
    wanted = [os.path.join("chaos", "sim", "tally-sim")]    # for the control, too
    for _, finders in rows:
        for finder in finders:
            if isinstance(finder, Tests):
                wanted.append(os.path.join("tests", finder.program))
            elif isinstance(finder, GuardSearch):
                wanted.append(os.path.join("tests", GUARD_SEARCH))
            elif isinstance(finder, (FaultLoop, Nemesis)):
                wanted += REAL_TARGETS
    return sorted(set(wanted))


class Run:
    """Bugs at a time; real processes one at a time, since two clusters disturb each other."""

    def __init__(self, finders, rows):
        self.finders, self.rows = finders, rows
        self.outcomes = [[] for _ in rows]
        self.lock, self.one_cluster = threading.Lock(), threading.Lock()
        self.failure = None

    def tasks(self):
        """The quick ones first, clusters last."""
        order = {Simulator: 0, GuardSearch: 0, Tests: 0, FaultLoop: 1, Nemesis: 1}
        every = [(row, number) for row, (_, finders) in enumerate(self.rows)
                 for number in range(len(finders))]
        return sorted(every, key=lambda t: order[type(self.rows[t[0]][1][t[1]])])

    def work(self, tasks):
        while self.failure is None:
            with self.lock:
                if not tasks:
                    return
                row, number = tasks.pop(0)
            bug, finders = self.rows[row]
            try:
                if isinstance(finders[number], (FaultLoop, Nemesis)):
                    with self.one_cluster:
                        outcome = self.finders.run(bug, finders[number])
                else:
                    outcome = self.finders.run(bug, finders[number])
            except Exception as error:  # told by the main thread, whatever it was
                self.failure = error
                return
            with self.lock:
                self.outcomes[row].append((number, outcome))
                print(line(bug, outcome), flush=True)

    def go(self, jobs):
        tasks = self.tasks()
        threads = [threading.Thread(target=self.work, args=(tasks,)) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure
        return [(bug, [outcome for _, outcome in sorted(told, key=lambda t: t[0])])
                for (bug, _), told in zip(self.rows, self.outcomes)]


def control(finders, arguments):
    """What speaks with nothing planted: a list of words, empty when all is well."""
    said = []
    for finder in CONTROL.finders if not arguments.ci else CONTROL_CI.finders:
        outcome = finders.run(CONTROL, finder)
        print(line(CONTROL, outcome), flush=True)
        said += ["%s: %s" % (outcome.command, find.text) for find in outcome.finds]
    return said


def commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=10"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip() or "unknown"


def main():
    arguments = parse()
    if arguments.list:
        for bug in BUGS:
            print("%-24s %s" % (bug.name, bug.story))
        return 0
    if arguments.targets:
        print("\n".join(targets(chosen(arguments))))
        return 0
    began = time.monotonic()
    facts = {"commit": commit(), "seed": arguments.seed,
             "machine": "%d cores, %s" % (os.cpu_count(), platform.release()),
             "command": "scripts/planted.sh --seed %d%s%s%s" % (
                 arguments.seed, " --ci" if arguments.ci else "",
                 " --fast" if arguments.fast else "",
                 " --only " + arguments.only if arguments.only else "")}
    print("seed %(seed)d, commit %(commit)s; to repeat: %(command)s" % facts, flush=True)
    finders = Finders(os.path.abspath(arguments.build), arguments.seed, arguments.budget)

    def ended(number, _):
        finders.stop()
        os._exit(128 + number)  # threads wait for what was just ended
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)
    try:
        check_table(arguments.build)
        alarms = [] if arguments.only else control(finders, arguments)
        results = Run(finders, chosen(arguments)).go(arguments.jobs)
    except MatrixFailure as failure:
        print("the matrix could not be made: %s" % failure, file=sys.stderr)
        return 2
    facts["seconds"] = round(time.monotonic() - began, 1)
    told = document(facts, results, alarms)
    print("\n" + markdown(told))
    if arguments.out:
        for suffix, text in ((".json", json.dumps(told, indent=1) + "\n"),
                             (".md", markdown(told)), (".html", html(told))):
            with open(arguments.out + suffix, "w") as file:
                file.write(text)
    missed = [row["bug"] for row in told["rows"] if not row["found"]]
    for text in alarms:
        print("found with nothing planted: %s" % text)
    print("%d bugs, %d found by all who have to, %.0f s%s" % (
        len(told["rows"]), len(told["rows"]) - len(missed), facts["seconds"],
        "; NOT FOUND: " + ", ".join(missed) if missed else ""))
    return 1 if missed or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
