#!/usr/bin/python3
"""What clients see of six events, again and again: the table of failover figures, as one command.

    scripts/failover-loop.sh [--runs N] [--events E,...] [--topology T]... [--seed N] [--report FILE]

Each cell of the table (an event on 1+1+1 or 2+2+1) has a cluster of its own, and each run in it:

  - an open load of single transfers at both sites (tally-bench --rate) at 50 % of the capacity, which
    is measured first: the transfers per second of a closed loop at both sites at once, 2 x 64
    requests in flight at each;
  - `tally observe`, 100 canaries a second at each site: the instrument. Its pause is the figure
    (docs/observe.md); clients of a lost site are reported apart;
  - the event at a random moment, then everything mended, all nodes ready, everything at rest;
  - the verdict: chaos/judge.py over every canary; every transfer of the load that was acknowledged
    is in the ledger, none is there twice, and the ledger's totals are their sum.

Every run is printed, none is discarded. Every second loss is silent: no packet of what is lost
arrives any more, nothing is refused and nothing reset. With the right to make network namespaces
the kernel drops the packets (chaos/packet_drop.py); otherwise a relay holds the bytes
(tests/e2e/proxy.py). The link between the sites is always cut silently.

  event         what happens                                     target
  leader-site   the site with the leader is lost                 p50 ≤ 700 ms, max ≤ 2 s
  other-site    the site without the leader is lost              max ≤ 1.5 s
  witness       the witness is lost                              no pause above 100 ms
  link          the sites do not hear each other, both hear the  one side serves within 2 s, the
                witness                                          other refuses within 1 s, saying why
  switchover    tally site switchover                            max ≤ 100 ms, nothing failed
  flapping      the link comes and goes for 60 s                 bounded changes, every outcome known

Exit status: 0 all targets hold, nothing lost, nothing doubled; 1 not so; 2 the loop itself failed.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("tests/e2e", "bench"):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), folder))
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import failover_report as report  # noqa: E402
import measure  # noqa: E402
import packet_drop  # noqa: E402
from failover_cell import Cell, Ground, Skipped  # noqa: E402
from failover_check import Lost  # noqa: E402
from failover_events import EVENTS, Event  # noqa: E402
from namespaces import NamespacesMissing  # noqa: E402
from network import NetworkFailure  # noqa: E402

CELL_SECONDS = 15           # making a cluster and measuring its capacity
FAILURES = (measure.cluster.Failure, NetworkFailure, NamespacesMissing, Lost, OSError)


def parse():
    parser = argparse.ArgumentParser(prog="scripts/failover-loop.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="of each cell (default 60)")
    parser.add_argument("--events", help="comma-separated, default all: " + ", ".join(EVENTS))
    parser.add_argument("--topology", choices=measure.TOPOLOGIES, action="append")
    parser.add_argument("--flap-seconds", type=float, default=60, help="of flapping (default 60)")
    parser.add_argument("--capacity", type=int,
                        help="single transfers per second of all sites, instead of measuring it")
    parser.add_argument("--load-percent", type=float, default=50, help="of the capacity (default 50)")
    parser.add_argument("--share-cluster", action="store_true",
                        help="one cluster for all events of a topology: for a short slice")
    parser.add_argument("--slack", type=float, default=1,
                        help="multiply limits of time by this (default 1): for machines under test")
    parser.add_argument("--attempts", type=int, default=1,
                        help="at a cell whose targets of time are missed (default 1): for machines "
                             "under test; what is lost or doubled ends it at once")
    parser.add_argument("--network", choices=("auto", "kernel", "relay"), default="auto",
                        help="who drops packets (default: the kernel, if it may be asked)")
    parser.add_argument("--seed", type=int, help="default: drawn; repeats moments, not interleavings")
    parser.add_argument("--build", default="build-bench")
    parser.add_argument("--directory", help="where the nodes' files go (default: under /var/tmp)")
    parser.add_argument("--report", default="failover-report",
                        help="writes FILE.html and FILE.json (default failover-report)")
    arguments = parser.parse_args()
    arguments.events = (arguments.events or ",".join(EVENTS)).split(",")
    for name in arguments.events:
        if name not in EVENTS:
            parser.error("--events: %r is none of %s" % (name, ", ".join(EVENTS)))
    for name in ("runs", "attempts"):
        if getattr(arguments, name) < 1:
            parser.error("--%s: at least 1" % name)
    arguments.topology = arguments.topology or list(measure.TOPOLOGIES)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().getrandbits(32)
    return arguments


def choose_network(wanted):
    why = None if wanted == "relay" else packet_drop.probe()
    if wanted == "kernel" and why:
        raise NamespacesMissing(why)
    if wanted == "relay" or why:
        return "relay", "a relay holds the bytes%s" % (" (no namespaces: %s)" % why if why else "")
    return "kernel", "the kernel drops the packets"


def expected_seconds(arguments):
    grounds = 1 if arguments.share_cluster else len(arguments.events)
    each = CELL_SECONDS - (5 if arguments.capacity else 0)
    return len(arguments.topology) * sum(
        [each * grounds] + [arguments.runs * EVENTS[name].seconds(arguments)
                            for name in arguments.events])


def command_line(arguments):
    words = ["scripts/failover-loop.sh", "--seed", str(arguments.seed), "--runs", str(arguments.runs),
             "--events", ",".join(arguments.events)]
    for topology in arguments.topology:
        words += ["--topology", topology]
    for flag, value, usual in (("--capacity", arguments.capacity, None),
                               ("--load-percent", arguments.load_percent, 50),
                               ("--slack", arguments.slack, 1),
                               ("--attempts", arguments.attempts, 1)):
        if value != usual:
            words += [flag, "%g" % value]
    if arguments.share_cluster:
        words.append("--share-cluster")
    if arguments.flap_seconds != 60:
        words += ["--flap-seconds", "%g" % arguments.flap_seconds]
    return " ".join(words)


def clock(seconds):
    return "%d:%02d:%02d" % (seconds // 3600, seconds % 3600 // 60, seconds % 60)


def run_cell(arguments, ground, result, directory, keep, began):
    cell = Cell(arguments, ground, EVENTS[result["event"]], result, directory)
    try:
        cell.open()
        result.update(capacity=ground.capacity, rate=ground.rate)
        for left in reversed(range(arguments.attempts)):
            for number in range(arguments.runs):
                run = cell.run(number)
                result["runs"].append(run)
                print("%s  %s" % (clock(time.monotonic() - began), report.line(result, run)), flush=True)
                keep(None)
            if not left or not report.may_be_repeated(result):
                break
            print("%s\nonce more: a target of time was missed" % report.cell_text(result), flush=True)
            result["set_aside"] = result.get("set_aside", []) + result["runs"]
            result["runs"] = []
    except Skipped as skipped:
        result["skipped"] = str(skipped)
    finally:
        cell.close()


def run_cells(arguments, network, keep, scratch):
    """Each cell on a ground of its own, or with --share-cluster all cells of a topology on one. After
    a failure of the loop itself the next cell begins on a new one."""
    began, ground = time.monotonic(), None
    for topology in arguments.topology:
        for name in arguments.events:
            result = {"event": name, "title": EVENTS[name].title, "target": EVENTS[name].target,
                      "topology": topology, "runs": []}
            directory = os.path.join(scratch, "%s-%s" % (topology, name))
            os.mkdir(directory)
            keep(result)
            try:
                if ground is None:
                    os.mkdir(os.path.join(directory, "cluster"))
                    ground = Ground(arguments, topology, network, os.path.join(directory, "cluster"))
                    ground.open()
                run_cell(arguments, ground, result, directory, keep, began)
            except FAILURES as failure:
                result["broken"] = str(failure)[:4000]
                print("%s %s: THE LOOP FAILED: %s" % (topology, name, failure), flush=True)
            finally:
                last = name == arguments.events[-1]
                if ground and (last or result.get("broken") or not arguments.share_cluster
                               or sys.exc_info()[0]):
                    ground.close()
                    ground = None
            if not arguments.share_cluster and not result.get("broken"):
                shutil.rmtree(directory, ignore_errors=True)
            print(report.cell_text(result), flush=True)
    print("took %s (expected %s)" % (clock(time.monotonic() - began),
                                     clock(expected_seconds(arguments))))


def main():
    arguments = parse()
    measure.cluster.end_on_terminate()
    Event.slack, Event.forgives = arguments.slack, arguments.attempts > 1
    network, words = choose_network(arguments.network)
    document = {"format": "tally-failover", "version": 1, "machine": measure.machine(),
                "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "command": command_line(arguments), "seed": arguments.seed, "silence": words,
                "load_percent": arguments.load_percent, "slack": arguments.slack, "cells": []}

    def keep(cell):
        """The report is whole after each run: whoever interrupts the loop has what there is."""
        if cell is not None:
            document["cells"].append(cell)
        report.write(document, arguments.report)

    print("seed %d; %s; silence: %s\nto repeat: %s\nexpected to take about %s" % (
        arguments.seed, document["machine"], words, document["command"],
        clock(expected_seconds(arguments))), flush=True)
    if arguments.directory:
        os.makedirs(arguments.directory, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix="tally-failover-", dir=arguments.directory or "/var/tmp")
    try:
        run_cells(arguments, network, keep, scratch)
    except KeyboardInterrupt:
        print("interrupted; the report holds the runs so far")
        document["interrupted"] = True
    report.write(document, arguments.report)
    broken = any(cell.get("broken") for cell in document["cells"])
    if broken:
        print("files kept in %s" % scratch)
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    print(report.text(document))
    print("report: %s.html, %s.json" % (arguments.report, arguments.report))
    if broken or document.get("interrupted"):
        return 2
    return 0 if all(report.holds(cell) for cell in document["cells"]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NamespacesMissing as missing:
        sys.exit("no network namespaces: %s" % missing)
