"""The command tally-chaos: see --help."""
import argparse
import os
import platform
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

import cluster
from nemesis import CHAOS, ROOT, campaign, verdict
from nemesis.chain import chain
from nemesis.context import RunFailure
from nemesis.engine import TOPOLOGIES, Run
from nemesis.fault import all_faults
from nemesis.history import History, now
from nemesis.links import kernel_lacks, lacks, network_for
from nemesis.random_mode import RandomScenario
from nemesis.scenario import all_scenarios

DESCRIPTION = """Strikes real clusters with faults and has what clients saw checked.

  tally-chaos run SCENARIO[,SCENARIO...] [--seed S]      named scenarios; several share a cluster
  tally-chaos run --random --minutes N [--seed S]        faults drawn from the seed, overlapping
  tally-chaos list                                       scenarios, faults, and what this machine lacks
  tally-chaos check DIR                                  the checkers again, on a history directory
  tally-chaos report DIR                                 the page again
  tally-chaos search --minutes N|--hours N               simulator and nemesis until the time is over:
                                                         scripts/chaos.sh builds first, then calls it
"""
EPILOG = """Exit status: 0 fine; 1 a claim is broken; 2 the run, the checking or a word of the command
was wrong, or the attack did not come about. With --planted-expected 0 and 1 change places: the build, or TALLY_PLANTED in the
environment, has a fault planted that must be found."""


def commit():
    done = subprocess.run(["git", "-C", CHAOS, "describe", "--always", "--dirty", "--abbrev=10"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip() or "unknown"


def machine():
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) >> 20
    return "%d cores, %d GiB, Linux %s" % (os.cpu_count(), memory, platform.release())


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tally-chaos", description=DESCRIPTION, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    words = parser.add_subparsers(dest="word", required=True, metavar="run|list|check|report|search")
    run = words.add_parser("run", epilog=EPILOG)
    run.add_argument("scenario", nargs="?", help="names, separated by commas; see list")
    run.add_argument("--random", action="store_true", help="faults drawn from the seed")
    run.add_argument("--minutes", type=float, default=1.0, help="of faults in random mode (1)")
    run.add_argument("--seed", type=int, help="default: drawn")
    run.add_argument("--topology", choices=sorted(TOPOLOGIES),
                     help="default: the scenario's; drawn from the seed in random mode")
    run.add_argument("--network", choices=("kernel", "relay"),
                     help="default: kernel where the rights are there; drawn in random mode")
    run.add_argument("--build", default=os.path.join(ROOT, "build"))
    run.add_argument("--directory", help="of the history, must not exist; default: a temporary one,"
                     " gone after a good run")
    run.add_argument("--keep", action="store_true", help="keep everything of a good run, too")
    run.add_argument("--without", default="", help="faults that random mode leaves out")
    run.add_argument("--only", default="", help="faults that random mode draws from")
    run.add_argument("--plan", action="store_true", help="print the plan of random mode and stop")
    run.add_argument("--planted-expected", action="store_true",
                     help="a fault is planted: succeed only if something is found broken")
    run.add_argument("--no-report", action="store_true")
    words.add_parser("list")
    for word in ("check", "report"):
        words.add_parser(word).add_argument("directory")
    campaign.add_options(words.add_parser("search", epilog=EPILOG))
    options = parser.parse_args(arguments)
    if options.word == "run":
        if bool(options.scenario) == options.random:
            parser.error("run: either names of scenarios or --random")
        if options.minutes <= 0:
            parser.error("--minutes: more than 0")
        if options.directory and os.path.exists(options.directory):
            parser.error("--directory %s is there already: name one that is not" % options.directory)
        for name in filter(None, (options.without + "," + options.only).split(",")):
            if name not in all_faults():
                parser.error("no fault is called %s: see tally-chaos list" % name)
    return parser, options


# ---- list ----

def show(rows):
    for name, text, why in rows:
        print("  %-24s %s%s" % (name, text, "\n  %-24s NOT HERE: %s" % ("", why) if why else ""))


def first_line(text):
    return (text or "").strip().splitlines()[0] if text and text.strip() else ""


def list_all():
    missing = kernel_lacks()
    print("network: %s" % ("packets dropped by the kernel, or relays" if not missing else
                           "relays; packets cannot be dropped by the kernel: " + missing))
    print("scenarios:")
    show((name, "%s, answers: %s" % (kind.topology, kind.answers),
          kind.needs() or lacks(kind.network, kind.bends))
         for name, kind in sorted(all_scenarios().items()))
    print("faults (weight in random mode):")
    show(("%s (%d)" % (name, kind.weight), first_line(kind.__doc__),
          kind.needs() or lacks("any", kind.kind == "network"))
         for name, kind in sorted(all_faults().items()))
    return 0


# ---- run ----

def choose(parser, options):
    """The scenario of the options, which get what the seed decides."""
    missing = kernel_lacks()
    if options.network == "kernel" and missing:
        parser.error("--network kernel: %s" % missing)
    draw = random.Random("%s/world" % options.seed)
    drawn = {"topology": draw.choices(sorted(TOPOLOGIES), (2, 1))[0],
             "network": draw.choices(("kernel", "relay"), (3, 2))[0]}
    if options.random:
        options.topology = options.topology or drawn["topology"]
        options.network = options.network or ("relay" if missing else drawn["network"])
        return RandomScenario(options.seed, options.minutes, options.topology, options.network,
                              [w for w in options.without.split(",") if w],
                              [w for w in options.only.split(",") if w])
    known, names = all_scenarios(), options.scenario.split(",")
    for name in names:
        if name not in known:
            parser.error("no scenario is called %s: see tally-chaos list" % name)
    try:
        scenario = known[names[0]]() if len(names) == 1 else chain([known[n]() for n in names])
    except ValueError as error:
        parser.error(str(error))
    options.topology = options.topology or scenario.topology
    options.network = options.network or network_for(scenario.network)
    why = scenario.needs() or lacks(options.network, scenario.bends)
    if scenario.network == "kernel" and options.network == "relay":
        why = why or "it needs packets dropped by the kernel"
    if why:
        raise RunFailure("%s cannot run here: %s" % (scenario.name, why))
    return scenario


def command(options):
    """What repeats this run."""
    words = ["chaos/tally-chaos", "run"]
    words += ["--random", "--minutes", "%g" % options.minutes] if options.random else [
        options.scenario]
    words += ["--seed", str(options.seed), "--topology", options.topology, "--network",
              options.network]
    for name in ("without", "only"):
        if getattr(options, name):
            words += ["--" + name, getattr(options, name)]
    planted = os.environ.get("TALLY_PLANTED")
    return ("TALLY_PLANTED=%s " % shlex.quote(planted) if planted else "") + shlex.join(words)


def print_plan(scenario):
    print("plan: %d faults; nodes are started with: %s" % (
        len(scenario.plan), ", ".join(scenario.preload) or "nothing special"))
    for occurrence in scenario.plan:
        print("  %s" % occurrence)
    for name, why in sorted(scenario.missing.items()):
        print("  not drawn: %s: %s" % (name, why))


def run(parser, options):
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    print("seed %d" % options.seed, flush=True)
    scenario = choose(parser, options)
    repeat = command(options)
    print("commit %s; to repeat: %s" % (commit(), repeat), flush=True)
    if options.random:
        print_plan(scenario)
        if options.plan:
            return 0
    options.scratch = tempfile.mkdtemp(prefix="tally-chaos-")
    directory = os.path.abspath(options.directory or os.path.join(options.scratch, "history"))
    history = History(directory)
    history.put_meta(commit=commit(), seed=options.seed, topology=options.topology,
                     network=options.network, scenario=scenario.name, story=scenario.story(),
                     answers=scenario.answers, machine=machine(), command=repeat, begin=now(),
                     bounds=scenario.bounds, must_break=list(scenario.must_break),
                     may_break=list(scenario.may_break),
                     planted=os.environ.get("TALLY_PLANTED"),
                     skipped=["%s: %s" % item for item in
                              sorted(getattr(scenario, "missing", {}).items())])
    status = verdict.FAILED
    try:
        status = judged(options, scenario, history)
    except SystemExit:                  # by a signal: nothing in a run ends it otherwise
        print("interrupted: the run did not come to its end, and nothing was judged", flush=True)
        history.put_meta(failed="interrupted")
    finally:
        clean(options, directory, status)
    return status


def judged(options, scenario, history):
    """The exit status of a run and of what was found in it."""
    try:
        Run(options, scenario, history).go()
    except RunFailure as failure:
        print("the run itself failed: %s" % failure)
        history.put_meta(failed=str(failure))
    except Exception as error:                  # our own mistake is no finding about the cluster
        traceback.print_exc(file=sys.stdout)
        history.put_meta(failed="%s: %s" % (type(error).__name__, error))
    status = verdict.check(history.directory)
    if not options.no_report:
        written = verdict.report([history.directory])
        if written:
            history.put_meta(failed="its report could not be written")
        status = status or written
    if options.planted_expected and status != verdict.FAILED:
        print("expected a finding: %s" % ("found" if status else "NOT found"))
        status = verdict.HOLDS if status == verdict.BROKEN else verdict.BROKEN
    return status


def clean(options, directory, status):
    """Of a good run only a history that was asked for stays; of another one everything."""
    if status == 0 and not options.keep:
        shutil.rmtree(options.scratch, ignore_errors=True)
        if options.directory:
            print("history: %s" % directory)
    else:
        print("history: %s\nnodes' files: %s" % (directory, options.scratch))


def main(arguments=None):
    parser, options = parse(arguments)
    cluster.end_on_terminate(signal.SIGINT)
    if options.word == "list":
        return list_all()
    if options.word == "check":
        return verdict.check(options.directory)
    if options.word == "report":
        return verdict.report([options.directory])
    if options.word == "search":
        return campaign.search(parser, options, commit(), machine())
    try:
        return run(parser, options)
    except (RunFailure, cluster.Failure) as failure:
        print("the run itself failed: %s" % failure, file=sys.stderr)
        return verdict.FAILED
