"""A search: simulator and nemesis one after another until the time is over, and one report of it all.

Each run is a process of its own with its own seed, drawn from the search's; so one that hangs or dies
ends nothing but itself, and repeats by one command (lanes.py). Named scenarios come first (those that
may share a cluster in one run), then random runs take what is left; the simulator gets a third of the
time. For continuous integration: all named scenarios and one random run, two at a time. A run
that found something does not end the search; one whose attack did not come about (a moment that it did
not meet) is made again with another seed. What stays: the whole directory of each run that was not
good, of the others their verdicts and reports, and the clients' logs of the newest few. The report
is written every few minutes, and by a search that is interrupted as well.
"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import time

from nemesis import ROOT, verdict
from nemesis.history import read
from nemesis.lanes import Job, Lanes
from nemesis.links import lacks
from nemesis.scenario import all_scenarios

CHUNK_SECONDS = 900         # a chunk of the simulator, beyond a second for each virtual one
SCENARIO_SECONDS = 75       # what a scenario is taken to cost, when time is short
AROUND_SECONDS = 50         # of a random run: making the cluster, settling, checking
SIMULATOR_SHARE = 0.33
SIMULATOR_CHUNK_SECONDS = 20
SIMULATED_SECONDS = 60      # virtual seconds of faults a seed
FIRST_SEEDS = 6             # of the first chunk, to see how fast it is
SHORTEN_SECONDS = 120       # for a failing seed
SHORTENED_MAX = 3           # seeds of a search: what breaks every one needs no more
STORY_LINES = 60            # of each that are printed
RANDOM_MINUTES_MIN, RANDOM_MINUTES_MAX = 0.4, 5.0
PAGES_MAX = 20              # good runs in the report, the newest
REPORT_SECONDS = 300        # between two reports on the way, and ten times what one takes
MINUTES = 6                 # of a search whose length nobody names
TOPOLOGIES = ("1+1+1", "2+2+1")
CI_RANDOM_MINUTES, CI_SIMULATOR_SECONDS, CI_LANES = 0.4, 15, 2
LANES_MAX = 16
MISSES_MAX = 2              # of one scenario: then it never comes about, and that is no good search
VIOLATION = re.compile(r"VIOLATION seed (\d+): ")


def add_options(parser):
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="of the whole search (default %d)" % MINUTES)
    length.add_argument("--hours", type=float)
    length.add_argument("--ci", action="store_true", help="a slice: all scenarios that this machine can"
                        " do and a short random run, two at a time; about five minutes on two cores")
    parser.add_argument("--seed", type=int, help="default: drawn")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--output", help="a directory that does not exist yet; default: chaos-SEED")
    parser.add_argument("--scenarios", default="all", help="names separated by commas, \"all\" (those for"
                        " which there is time; the default), \"shared\" (those of one cluster only) or"
                        " \"none\"")
    parser.add_argument("--lanes", type=int, help="runs at a time (1, with --ci 2); with more than there"
                        " are cores the machine becomes what is tested")
    parser.add_argument("--no-simulator", action="store_true")
    parser.add_argument("--no-random", action="store_true")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def repeats(options):
    """The command that draws the same again: whatever differs from what is taken without it."""
    words = ["scripts/chaos.sh", "--seed %d" % options.seed]
    if options.ci:
        words.append("--ci")
    elif options.hours:
        words.append("--hours %g" % options.hours)
    else:
        words.append("--minutes %g" % (options.minutes or MINUTES))
    if options.scenarios != "all":
        words.append("--scenarios " + options.scenarios)
    if options.lanes != (CI_LANES if options.ci else 1):
        words.append("--lanes %d" % options.lanes)
    return " ".join(words + ["--no-simulator"] * options.no_simulator +
                    ["--no-random"] * options.no_random)


class Search:
    def __init__(self, options, output, commit, machine):
        self.options, self.output = options, output
        self.commit, self.machine = commit, machine
        self.draw = random.Random("%d/search" % options.seed)
        self.runs, self.skipped, self.numbered = [], [], 0
        self.shortened = 0          # failing seeds of the simulator
        self.misses = collections.Counter()     # attacks that did not come about, by the run's name
        self.again = {}             # directory of a run that is made again -> the row of the first
        self.lanes = None
        self.failures = []          # in words: why the search as a whole is no good one
        self.next_report = time.monotonic() + REPORT_SECONDS
        self.simulated = {topology: {"seeds": 0, "hours": 0.0, "failures": 0, "ended": 0,
                                     "file": None} for topology in TOPOLOGIES}
        self.next_seed = options.seed * 10000

    def go(self):
        options, began = self.options, time.monotonic()
        seconds = (options.hours or 0) * 3600 or (options.minutes or MINUTES) * 60
        if not options.no_simulator:
            self.simulate(CI_SIMULATOR_SECONDS if options.ci else seconds * SIMULATOR_SHARE)
        if options.ci:
            # The longest first, so that no lane is left with it alone at the end.
            randomly = [] if options.no_random else [self.random_job(CI_RANDOM_MINUTES)]
            self.run(randomly + self.scenarios())
            self.judge_slice()
        else:
            self.run(self.scenarios(),
                     began + seconds - (0 if options.no_random else AROUND_SECONDS + 60))
            if not options.no_random:
                self.randomly(began + seconds)

    # ---- the nemesis ----

    def job(self, name, words, minutes=0.0):
        """A run to come; what its number and seed are does not hang on how the others go."""
        self.numbered += 1
        return Job(name, tuple(words), self.draw.getrandbits(32), os.path.join(
            self.output, "run-%03d-%s" % (self.numbered, name[:40].replace(",", "+"))), minutes)

    def run(self, jobs, until=None):
        """Jobs, as many at a time as was asked for, as long as there is time to begin one."""
        def begins(job):
            if until is None or time.monotonic() + SCENARIO_SECONDS <= until:
                return True
            self.skip(job.name, "no time left for it")
            if job.where in self.again:         # then the first one stands
                self.again.pop(job.where)["missed"] = False
            return False
        self.lanes = Lanes(self.options.build, self.ran, begins)
        self.lanes.go(jobs, self.options.lanes)

    def ran(self, job, status, seconds):
        meta = read(job.where, "meta.json") or {}
        verdicts = read(job.where, "verdicts.json") or {}
        claims = verdicts.get("claims", [])
        again = self.make_again(job) if (status == verdict.FAILED and verdicts.get("only_missed")
                                         and not meta.get("failed")) else None
        self.runs.append({"name": job.name, "seed": job.seed, "status": status, "missed": again is not None,
                          "directory": job.where, "seconds": seconds,
                          "command": meta.get("command"), "faults": meta.get("faults", {}),
                          "begun": meta.get("begun", {}),
                          "checked": {claim["name"]: claim["checked"] for claim in claims}})
        if again:
            self.again[again.where] = self.runs[-1]
            self.lanes.add(again)
        print("%-44s seed %-10d %-7s %4.0f s  %s" % (
            job.name[:44], job.seed, "MISSED" if again else ("fine", "BROKEN", "FAILED")[status], seconds,
            last_words(job.where + ".log")), flush=True)
        self.thin()
        self.put()
        self.report_along()

    def make_again(self, job):
        """The job again, with a seed of its own, so that the runs to come are what they would have
        been; None: it has missed often enough."""
        if self.misses[job.name] == MISSES_MAX:
            return None
        self.misses[job.name] += 1
        return job._replace(seed=random.Random("%d/again" % job.seed).getrandbits(32),
                            where=job.where + "-again")

    def counted(self):
        """The runs that stand: all but those that missed and were made again."""
        return [run for run in self.runs if not run["missed"]]

    def scenarios(self):
        """Jobs of the named ones that this machine can do; those that share a cluster are one."""
        known = all_scenarios()
        names = sorted(known) if self.options.scenarios in ("all", "shared") else [
            n for n in self.options.scenarios.split(",") if n and n != "none"]
        possible = []
        for name in names:
            why = known[name].needs() or lacks(known[name].network, known[name].bends)
            if why:
                self.skip(name, why)
            else:
                possible.append(name)
        return [self.job(",".join(group), [",".join(group)])
                for group in self.groups(known, possible)]

    def groups(self, known, names):
        """Scenarios of one cluster together, the largest group first; of "shared" no others."""
        shared = {}
        for name in names:
            kind = known[name]
            if kind.shares and not kind.settings:
                shared.setdefault((kind.topology, "relay" if kind.network == "relay" else "any",
                                   "power" in kind.preload, kind.policy), []).append(name)
        groups = sorted(shared.values(), key=len, reverse=True)
        alone = [[name] for name in names if not any(name in group for group in groups)]
        if self.options.scenarios == "shared":
            for group in groups[1:] + alone:
                self.skip(",".join(group), "only the scenarios of one cluster are run")
            return groups[:1]
        self.draw.shuffle(alone)
        alone.sort(key=lambda names: not known[names[0]].long)
        return groups + alone

    def skip(self, name, why):
        self.skipped.append({"scenario": name, "why": why})

    def randomly(self, until):
        """Until the time is over, and once however short the search is."""
        first = True
        while True:
            left = (until - time.monotonic() - AROUND_SECONDS) / 60
            if left < RANDOM_MINUTES_MIN and not first:
                return
            minutes = min(RANDOM_MINUTES_MAX, max(RANDOM_MINUTES_MIN, left))
            self.run([self.random_job(minutes)])
            first = False

    def random_job(self, minutes):
        return self.job("random", ["--random", "--minutes", "%.2f" % minutes], minutes)

    def judge_slice(self):
        """Each claim of the checkers has to be judged by some run of a whole slice: nobody would
        miss one that all of them leave unchecked."""
        if self.options.scenarios != "all" or self.options.no_random:
            return
        claims = {name: count for name, count in self.sum("checked").items()
                  if not name.startswith(verdict.OWN) and name != verdict.NOT_RUN}
        if not any(claims.values()):
            self.failures.append("no run was judged")
        for name in sorted(name for name, count in claims.items() if count == 0):
            self.failures.append("claim %s: judged in no run" % name)

    # ---- the simulator ----

    def simulate(self, seconds):
        """Chunks of fresh seeds, topologies in turn, until the time is over."""
        program = os.path.join(os.path.abspath(self.options.build), "chaos", "sim", "tally-sim")
        if not os.access(program, os.X_OK):
            self.skip("simulator", "%s is not there: build it first" % program)
            self.simulator_failed(self.next_seed, program)
            return
        end, counts = time.monotonic() + seconds, dict.fromkeys(TOPOLOGIES, FIRST_SEEDS)
        while time.monotonic() < end:
            for topology in TOPOLOGIES:
                began = time.monotonic()
                self.simulate_chunk(program, topology, counts[topology])
                took = max(0.5, time.monotonic() - began)
                wanted = min(SIMULATOR_CHUNK_SECONDS, max(2.0, (end - time.monotonic()) / 2))
                counts[topology] = max(2, int(counts[topology] * wanted / took))

    def simulate_chunk(self, program, topology, count):
        first, last = self.next_seed, self.next_seed + count - 1
        self.next_seed += count
        words = ["--topology", topology, "--seeds", "%d..%d" % (first, last), "--seconds",
                 str(SIMULATED_SECONDS)]
        told = self.simulated[topology]
        told["file"] = os.path.join(self.output, "simulator-%s.txt" % topology)
        print("simulator: tally-sim %s" % " ".join(words), flush=True)
        with open(told["file"], "a") as file:
            at = file.tell()
            try:
                status = subprocess.run([program] + words, stdin=subprocess.DEVNULL, stdout=file,
                                        stderr=subprocess.DEVNULL,
                                        timeout=CHUNK_SECONDS + count * SIMULATED_SECONDS).returncode
            except subprocess.TimeoutExpired:
                status = verdict.FAILED
                file.write("error: seeds %d..%d did not end\n" % (first, last))
        told["seeds"] += count
        told["hours"] += count * SIMULATED_SECONDS / 3600
        told["ended"] += status in (verdict.HOLDS, verdict.BROKEN)
        if status == verdict.BROKEN:
            told["failures"] += 1
        elif status != verdict.HOLDS:
            self.simulator_failed(first, told["file"])
        if status != verdict.HOLDS:
            print("simulator, %s, seeds %d..%d: FAILED with %s; see %s" % (
                topology, first, last, status, told["file"]), flush=True)
        if status == verdict.BROKEN:
            self.shorten(program, topology, told["file"], at)
        self.put()
        self.report_along()

    def shorten(self, program, topology, path, at):
        """The first failing seed of a chunk, whose words begin there, is made short; its story is
        told and put behind them, where the report finds it (simulated.py)."""
        seed = failing_seed(path, at)
        if seed is None or self.shortened == SHORTENED_MAX:
            return
        self.shortened += 1
        words = [program, "--topology", topology, "--seconds", str(SIMULATED_SECONDS), "--shrink",
                 str(seed), "--shrink-seconds", str(SHORTEN_SECONDS)]
        print("simulator: %s" % " ".join(["tally-sim"] + words[1:]), flush=True)
        began = time.monotonic()
        try:
            story = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, timeout=2 * SHORTEN_SECONDS
                                   ).stdout.decode(errors="replace").splitlines()
        except subprocess.TimeoutExpired:
            story = ["not made short: it did not end"]
        if time.monotonic() - began >= SHORTEN_SECONDS:
            story.append("the %d s for this were used up: there may be a shorter one" % (
                SHORTEN_SECONDS))
        with open(path, "a") as file:
            file.write("-- seed %d made short\n%s\n--\n" % (seed, "\n".join(story)))
        for line in story[:STORY_LINES]:
            print("  " + line)
        if len(story) > STORY_LINES:
            print("  ... and %d lines more, in %s" % (len(story) - STORY_LINES, path))

    def simulator_failed(self, seed, where):
        self.runs.append({"name": "simulator", "status": verdict.FAILED, "seed": seed,
                          "directory": where, "seconds": 0.0, "faults": {}, "begun": {},
                          "checked": {}, "missed": False})

    # ---- the end ----

    def sum(self, what):
        """Of all runs, by name."""
        total = collections.Counter()
        for run in self.counted():
            total.update(run[what])
        return dict(total)

    def put(self):
        """What is known so far, whole after each run."""
        self.summary = {"seed": self.options.seed, "commit": self.commit, "machine": self.machine,
                        "command": repeats(self.options), "runs": self.runs,
                        "faults": self.sum("faults"), "begun": self.sum("begun"),
                        "checked": self.sum("checked"), "skipped": self.skipped,
                        "failures": self.failures, "simulated": self.simulated}
        path = os.path.join(self.output, "summary.json")
        with open(path + ".new", "w") as file:
            json.dump(self.summary, file, indent=1)
        os.replace(path + ".new", path)

    def thin(self):
        """Of good runs that are not among the newest few only the verdicts and pages stay."""
        good = [run for run in self.runs if run["status"] == 0]
        for run in good[:-PAGES_MAX]:
            for name in ("clients", "exports", "logs"):
                shutil.rmtree(os.path.join(run["directory"], name), ignore_errors=True)

    def report_along(self):
        """The page so far, so that a search of hours that is killed leaves one."""
        began = time.monotonic()
        if began >= self.next_report:
            self.report(say=lambda text: None)
            now = time.monotonic()
            self.next_report = now + max(REPORT_SECONDS, 10 * (now - began))

    def report(self, say=print):
        """The page of the whole search: every run that was not good, and the newest good ones."""
        good = [run for run in self.runs if run["status"] == 0][-PAGES_MAX:]
        pages = [run["directory"] for run in self.counted() if (run["status"] != 0 or run in good)
                 and os.path.exists(os.path.join(run["directory"], "meta.json"))]
        more = ["--out", os.path.join(self.output, "report"), "--summary",
                os.path.join(self.output, "summary.json")]
        for told in self.simulated.values():
            if told["ended"]:
                more += ["--simulator", told["file"]]
        return verdict.report(pages, say, more)

    def status(self):
        worst = [run["status"] for run in self.counted()]
        if verdict.BROKEN in worst or any(s["failures"] for s in self.simulated.values()):
            return verdict.BROKEN
        return verdict.FAILED if any(worst) or self.failures else verdict.HOLDS

    def words(self, status):
        if status == verdict.HOLDS and not self.runs and not any(
                told["seeds"] for told in self.simulated.values()):
            return "nothing was run"
        return "; ".join(self.failures + [("nothing found", "FOUND: a promise was broken",
                                           "some of it did not run as it should")[status]])

    def tell(self):
        print("== in all")
        for topology, told in self.simulated.items():
            if told["seeds"]:
                print("simulator %s: %d seeds, %.1f virtual hours, %s" % (
                    topology, told["seeds"], told["hours"], "%d chunks FAILED" % told["failures"]
                    if told["failures"] else "no promise broken"))
        bad = [run for run in self.counted() if run["status"] != 0]
        print("nemesis: %d runs in %.1f minutes, %d not fine; %d faults, %d of them struck: %s" % (
            len(self.counted()), sum(run["seconds"] for run in self.runs) / 60, len(bad),
            sum(self.summary["begun"].values()), sum(self.summary["faults"].values()),
            ", ".join("%d %s" % (count, name) for name, count in
                      sorted(self.summary["faults"].items(), key=lambda item: -item[1]))))
        print("checked: %s" % ", ".join("%s %d" % item for item in
                                        sorted(self.summary["checked"].items())))
        for name, count in sorted(self.misses.items()):
            print("the attack did not come about: %s, %d times" % (name, count))
        for row in self.skipped:
            print("not run: %s: %s" % (row["scenario"], row["why"]))
        for text in self.failures:
            print("NOT FINE: %s" % text)
        for run in bad:
            print("NOT FINE: %s, seed %d: %s\n  %s" % (run["name"], run["seed"], run["directory"],
                                                       run.get("command") or ""))


def failing_seed(path, at):
    """The first seed that the words of tally-sim from there on call a violation, or None."""
    with open(path, errors="replace") as file:
        file.seek(at)
        return next((int(found.group(1)) for found in map(VIOLATION.match, file) if found), None)


def last_words(path):
    """What a run said last about itself."""
    with open(path, errors="replace") as file:
        lines = [line.strip() for line in file
                 if any(word in line for word in (", seed ", "failed", "interrupted: "))]
    return lines[-1][:100] if lines else ""


def search(parser, options, commit, machine):
    """The exit status of `tally-chaos search`."""
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    if options.lanes is None:
        options.lanes = CI_LANES if options.ci else 1
    if not 1 <= options.lanes <= LANES_MAX:
        parser.error("--lanes: from 1 to %d" % LANES_MAX)
    for name in options.scenarios.split(","):
        if name not in ("all", "shared", "none") and name not in all_scenarios():
            parser.error("no scenario is called %s: see tally-chaos list" % name)
    output = os.path.abspath(options.output or "chaos-%d" % options.seed)
    try:
        os.makedirs(output)
    except OSError as error:
        parser.error("--output: %s: name a directory that can be made" % error)
    print("== seed %d, commit %s, %s; to repeat: %s" % (
        options.seed, commit, machine, repeats(options)), flush=True)
    made = Search(options, output, commit, machine)
    try:
        made.go()
    except SystemExit:                  # a signal (cluster.end_on_terminate): what is known is told
        made.failures.append("the search was interrupted")
    made.put()
    made.tell()
    written = made.report()
    status = made.status() or written
    print("== %s; everything is in %s" % (made.words(status), output))
    return status
