#!/usr/bin/python3
"""Does a cluster stay as it is? Half of what it can do, for a long time, and nothing may grow.

    scripts/soak.sh [--minutes 20] [--topology 1+1+1|2+2+1] [--report FILE.html]

First the capacity is measured (closed loop, the same requests); then requests are due at half of it,
whether or not earlier ones have ended. Each second, of every node: anonymous memory, memory that maps
files, descriptors, threads, bytes of the journal and of the store on disk. Each minute: latency from
the moment a request was due. In the end the rule of bench/soak_verdict.py judges each series; what
is kept for each transfer is held apart, at a stated price. All nodes must agree at the end.

One page FILE.html and all samples in FILE.json. Exit status 0: everything flat; 1: something grows, or
was not judged, or a request was lost; 2: the run could not be made.

Epochs and segments are small, so that checkpoints, merges and releases of the journal happen hundreds
of times rather than a few. Generator, nodes and disk share the machine.
"""
import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time

import measure
import soak_page
import soak_verdict
from soak_verdict import Rule

MIB = 2 ** 20
SEGMENT = 16 * MIB
SETTINGS = {"journal": {"segment_bytes": SEGMENT},
            "checkpoint": {"map_size_bytes": 64 << 30}}
SAMPLE_SECONDS = 1.0
SLICE_SECONDS = 60          # of the load: one report each
# What one transfer may leave in the store (its record of 128 B, ids of it and of its request, the
# request and its answer, and pages that LMDB keeps free): measured 170 to 205 B when requests are
# large, 257 B over 47 million transfers when each is a request of its own.
PRICE_BATCHED, PRICE_SINGLE = 300.0, 450.0


def rules(batch):
    price = PRICE_SINGLE if batch < 10 else PRICE_BATCHED
    return {
        "anonymous": Rule("anonymous memory", "bytes", 0.05, 24 * MIB),
        "mapped": Rule("mapped memory", "bytes", 0.05, 96 * MIB,
                       why="pages of the store; above 64 MiB a node gives them back"),
        "descriptors": Rule("descriptors", "", 0.0, 6),
        "threads": Rule("threads", "", 0.0, 1),
        "journal": Rule("journal on disk", "bytes", 0.15, 4 * SEGMENT,
                        why="what a checkpoint holds is released, segment by segment"),
        "store": Rule("store on disk", "bytes", 0.05, 64 * MIB, price=price),
        "rest": Rule("other files", "bytes", 0.0, 16 * MIB),
        "p50": Rule("latency p50 by the minute", "ms", 0.5, 1.0),
        "p99": Rule("latency p99 by the minute", "ms", 1.0, 20.0),
    }


def tree_bytes(path):
    """Allocated bytes of the files in a directory; what vanishes meanwhile counts nothing."""
    total = 0
    for base, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except OSError:
                continue
    return total


def disk_of(member):
    """(journal, store, rest) of a node's data directory. The log of the test is beside it."""
    journal = store = 0
    for name in os.listdir(member.data):
        path = os.path.join(member.data, name)
        if name.startswith("journal-"):
            journal += tree_bytes(path)
        elif name.startswith("store-"):
            store += tree_bytes(path)
    return journal, store, tree_bytes(member.data) - journal - store


def process_of(member):
    """(anonymous, mapped, descriptors, threads)."""
    found = {}
    with open("/proc/%d/status" % member.process.pid) as file:
        for line in file:
            key, value = line.split(":", 1)
            found[key] = value
    size = {key: int(found[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile", "RssShmem")}
    return (size["RssAnon"], size["RssFile"] + size["RssShmem"],
            len(os.listdir("/proc/%d/fd" % member.process.pid)), int(found["Threads"]))


class Watch:
    """Samples all nodes until it is told to stop; an error is kept and ends the run."""

    def __init__(self, made, leader):
        self.made, self.leader = made, leader
        self.begin, self.samples, self.error = time.monotonic(), [], None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def look(self):
        status = self.leader.brief()
        if not status:
            return                      # busy: the next one will do
        sample = {"at": time.monotonic() - self.begin, "transfers": status["count"]["transfers"],
                  "journal_first": status["journal"]["first_index"],
                  "epochs": status["checkpoint"]["epochs"], "nodes": {}}
        for member in self.made.members:
            anonymous, mapped, descriptors, threads = process_of(member)
            journal, store, rest = disk_of(member)
            sample["nodes"][member.node_id] = {
                "anonymous": anonymous, "mapped": mapped, "descriptors": descriptors,
                "threads": threads, "journal": journal, "store": store, "rest": rest}
        self.samples.append(sample)

    def work(self):
        while not self.stop.wait(SAMPLE_SECONDS):
            try:
                self.look()
            except (OSError, KeyError, ValueError) as error:
                self.error = error      # a node is gone, or no longer says what it said
                return

    def end(self):
        self.stop.set()
        self.thread.join(30)
        if self.error:
            raise measure.cluster.Failure("sampling ended: %r\n%s" % (self.error,
                                                                      self.made.describe()))


def load_arguments(arguments):
    return ("--batch", arguments.batch, "--connections", 4, "--in-flight", 64 if arguments.batch < 10
            else 8, "--warmup", 0, "--deadline", 30000)


def run_minutes(generator, leader, rate, arguments):
    """One report per slice. The generator is begun anew for each, which takes a moment without load."""
    minutes, left = [], arguments.minutes * 60
    while left > 0:
        seconds = min(SLICE_SECONDS, left)
        left -= seconds
        began = time.monotonic()
        report = generator.run([leader], *load_arguments(arguments), "--rate", rate, "--duration",
                               seconds, "--seed", len(minutes) + 1, seconds=seconds + 120)
        latency = report["latency_us"]
        minutes.append({
            "minute": len(minutes) + 1, "began": began, "seconds": seconds,
            "transfers_per_s": report["transfers_per_s"],
            "unknown": report["requests_unknown"] + report["requests_not_sent"],
            "refused": report["requests_refused"] + report["transfers_refused"],
            **{key: latency[key] / 1000 for key in ("p50", "p90", "p99", "p99.9", "max")}})
        print("  minute %2d: %8.0f transfers/s, p50 %7.2f  p99 %7.2f  max %8.2f ms" % tuple(
            minutes[-1][key] for key in ("minute", "transfers_per_s", "p50", "p99", "max")),
            flush=True)
    return minutes


def judge_all(samples, minutes, begin, warmup_s, batch):
    """The results of all series of all nodes, and of the latencies."""
    known, results = rules(batch), []
    for node in samples[0]["nodes"] if samples else ():
        for key in ("anonymous", "mapped", "descriptors", "threads", "journal", "store", "rest"):
            series = [(s["at"], s["nodes"][node][key], s["transfers"]) for s in samples]
            if key == "store" and max(value for _, value, _ in series) == 0:
                continue                # a witness has none
            result = soak_verdict.judge(known[key], series, warmup_s)
            results.append(dict(result, name="node %s: %s" % (node, result["name"])))
    for key in ("p50", "p99"):
        series = [(m["began"] - begin, m[key], 0) for m in minutes]
        # The first minute warms up; in a run of a few minutes there are too few to be judged.
        result = soak_verdict.judge(known[key], series, min(warmup_s, SLICE_SECONDS))
        if len(minutes) > soak_verdict.MIN_SAMPLES or result["verdict"] != "not judged":
            results.append(result)
    return results


def released(samples, warmup_s):
    """Whether the journal's beginning moved after the warm-up, in words for the report."""
    judged = [s for s in samples if s["at"] >= warmup_s]
    moved = bool(judged) and judged[-1]["journal_first"] > judged[0]["journal_first"]
    epochs = judged[-1]["epochs"] - judged[0]["epochs"] if judged else 0
    return moved and epochs > 0, "%d checkpoints after the warm-up; the leader's journal began at " \
        "entry %d, then at %d (a segment of %d MiB has to be full before one is released)" % (
            epochs, judged[0]["journal_first"] if judged else 0,
            judged[-1]["journal_first"] if judged else 0, SEGMENT // MIB)


def plots(samples, minutes, begin):
    lines = []
    for key, title in (("anonymous", "anonymous memory"), ("mapped", "mapped memory"),
                       ("journal", "journal on disk"), ("store", "store on disk"),
                       ("descriptors", "descriptors"), ("threads", "threads")):
        unit = "" if key in ("descriptors", "threads") else "bytes"
        lines.append((title, unit, {
            "node %s" % node: [(s["at"], s["nodes"][node][key]) for s in samples]
            for node in samples[0]["nodes"]}))
    lines.append(("latency by the minute", "ms", {
        key: [(m["began"] - begin, m[key]) for m in minutes] for key in ("p50", "p99", "max")}))
    lines.append(("transfers held", "", {"leader": [(s["at"], s["transfers"]) for s in samples]}))
    return lines


def room_needed(rate, arguments):
    """Bytes on disk, generously: each data node's store, and what journals hold meanwhile."""
    price = PRICE_SINGLE if arguments.batch < 10 else PRICE_BATCHED
    nodes = sum(1 for _, kind in measure.TOPOLOGIES[arguments.topology] if kind == "data")
    return int(rate * arguments.minutes * 60 * price * nodes) + 6 * 2 ** 30


def soak(made, scratch, arguments):
    generator = measure.Generator(made, arguments.build, scratch)
    leader = made.wait_leader()
    generator.prepare([leader])
    rate = arguments.rate
    capacity = None
    if not rate:
        capacity = generator.run([leader], *load_arguments(arguments), "--duration",
                                 arguments.capacity_seconds)["transfers_per_s"]
        rate = max(1, int(capacity / 2))
        print("capacity %.0f transfers/s (closed loop, %d s); load: %d/s for %g minutes" % (
            capacity, arguments.capacity_seconds, rate, arguments.minutes), flush=True)
    free = shutil.disk_usage(scratch).free
    if free < room_needed(rate, arguments):
        raise measure.cluster.Failure(
            "%d transfers/s for %g minutes may take %.1f GiB of disk, and %s has %.1f GiB free; "
            "give --directory on a larger disk, --minutes or --rate" % (
                rate, arguments.minutes, room_needed(rate, arguments) / 2 ** 30, scratch,
                free / 2 ** 30))
    term = leader.status()["term"]
    watch = Watch(made, leader)
    try:
        minutes = run_minutes(generator, leader, rate, arguments)
    finally:
        watch.end()
    notes = []
    if made.wait_leader().status()["term"] != term:
        notes.append("The leader changed meanwhile: not what a quiet cluster does.")
    made.settle(300)
    return capacity, rate, watch, minutes, notes


def conclude(arguments, capacity, rate, watch, minutes, notes):
    """The report; its verdict is FLAT only if every claim was judged and holds."""
    warmup_s = min(180.0, arguments.minutes * 60 / 4)
    results = judge_all(watch.samples, minutes, watch.begin, warmup_s, arguments.batch)
    good, words = released(watch.samples, warmup_s)
    held = notes == [] and good and soak_verdict.passes(results)
    notes = list(notes)
    notes.append(words + ("." if good else ": NOT RELEASED."))
    unknown = sum(m["unknown"] + m["refused"] for m in minutes)
    short = [m["minute"] for m in minutes if m["transfers_per_s"] < 0.97 * rate]
    if unknown:
        notes.append("%d requests were refused or have no known outcome." % unknown)
    if short:
        notes.append("Minutes %s took less than was due: the load was not half of what the cluster "
                     "could do then." % ", ".join(map(str, short)))
    notes.append("Load: %d transfers/s due in requests of %d, %s. Warm-up of %.0f s left out." % (
        rate, arguments.batch, "half of the %.0f/s measured before" % capacity if capacity
        else "as told by --rate", warmup_s))
    if len(minutes) <= soak_verdict.MIN_SAMPLES:
        notes.append("Latency by the minute is shown, and not judged in so short a run.")
    return {"verdict": "FLAT" if held and not unknown and not short else "NOT FLAT",
            "machine": measure.machine(), "command": shlex.join(["scripts/soak.sh"] + sys.argv[1:]),
            "notes": notes, "capacity": capacity, "rate": rate, "warmup_s": warmup_s,
            "minutes": minutes, "results": results, "samples": watch.samples,
            "plots": plots(watch.samples, minutes, watch.begin) if watch.samples else []}


def write_report(report, path):
    with open(path, "w") as file:
        file.write(soak_page.page(report))
    base = path[:-5] if path.endswith(".html") else path
    with open(base + ".json", "w") as file:
        json.dump({key: value for key, value in report.items() if key != "plots"}, file, indent=1)
    return base + ".json"


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="default 20")
    parser.add_argument("--topology", choices=measure.TOPOLOGIES, default="1+1+1")
    parser.add_argument("--batch", type=int, default=1, help="transfers per request (default 1: the "
                        "most requests, and a third of the disk that batches fill in that time)")
    parser.add_argument("--rate", type=int, help="transfers per second, instead of half the capacity")
    parser.add_argument("--capacity-seconds", type=int, default=20)
    parser.add_argument("--report", default="soak.html", help="default soak.html, and soak.json")
    parser.add_argument("--directory", help="where the nodes' files go (default: under /var/tmp)")
    parser.add_argument("--build", default="build-bench")
    arguments = parser.parse_args()
    if arguments.minutes <= 0 or not 1 <= arguments.batch <= 8190:
        parser.error("--minutes is above 0, and --batch 1 to 8190")
    print(measure.machine(), flush=True)
    try:
        with measure.Scratch(arguments.directory) as scratch:
            made = measure.make_cluster(arguments.build, scratch, arguments.topology,
                                        settings=SETTINGS)
            try:
                made.make(accounts=False).settle()
                report = conclude(arguments, *soak(made, scratch, arguments))
            finally:
                made.close()
    except (measure.cluster.Failure, OSError, subprocess.SubprocessError) as error:
        print("error: %s" % error, file=sys.stderr)
        return 2
    beside = write_report(report, arguments.report)
    for result in report["results"]:
        print("%-42s %-10s level %12s  growth %12s  allowed %12s%s" % (
            (result["name"], result["verdict"]) + tuple(
                soak_page.figure(result.get(key), result["unit"])
                for key in ("level", "growth", "allowed"))
            + ("  (%.0f B per transfer)" % result["per_transfer"] if "per_transfer" in result
               else "",)))
    for note in report["notes"]:
        print(note)
    print("%s; %s and %s" % (report["verdict"], arguments.report, beside))
    return 0 if report["verdict"] == "FLAT" else 1


if __name__ == "__main__":
    sys.exit(main())
