#!/usr/bin/python3
"""A data node has lost its disk and comes back under load: what that costs the others.

    scripts/rejoin.sh [--transfers N] [--rate N] [--build DIR] [--directory DIR]

The cluster 1+1+1 holds N transfers. The data node of the other site is killed and its files are
removed. Under steady load a new node takes its place (tally member replace), with a copy of the
store and the journal behind it. Said at the end: transfers per second with all nodes, without the
node, and while it catches up; the growth of the leader's memory meanwhile, sampled; how long it
took until the new node voted, and until it stood beside the leader.

Leader, witness, the new node and the generator share this machine's cores and disk, so what the
copy takes from them counts here as a loss of throughput; with --rate the load is a fixed number of
transfers per second, which shows whether the cluster keeps up.
"""
import argparse
import os
import sys
import threading
import time

import measure

STEADY_SECONDS = 10
PROGRESS_SECONDS = 5
BATCH = 1000


def cpu_ticks(process):
    """User and system time of a process so far; 0 when it is gone."""
    try:
        with open("/proc/%d/stat" % process) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    except (OSError, IndexError):
        return 0


def machine_ticks():
    """What all processors of the machine did so far."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return sum(fields[:3]) + sum(fields[5:8])    # all but idle and waiting for the disk


class Watch:
    """Samples the leader ten times a second: transfers held, memory; of all that run, processor
    time."""

    def __init__(self, member, running):
        self.member, self.samples = member, []
        self.running, self.work_done = running, []    # running(): {name: process id}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stop.wait(0.1):
            status = self.member.brief()
            if status:
                self.samples.append((time.monotonic(), status["count"]["transfers"])
                                    + measure.resident_bytes(self.member.process.pid))
                used = {name: cpu_ticks(process) for name, process in self.running().items()}
                self.work_done.append((time.monotonic(), dict(used, machine=machine_ticks())))

    def rate(self, begin, end):
        """Transfers per second between two moments."""
        inside = [s for s in self.samples if begin <= s[0] <= end]
        if len(inside) < 2:
            raise measure.cluster.Failure("no samples between two moments")
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])

    def processors(self, begin, end):
        """Processors that each was using, on average, between two moments."""
        inside = [s for s in self.work_done if begin <= s[0] <= end]
        if len(inside) < 2:
            return {}
        seconds = inside[-1][0] - inside[0][0]
        used = {name: (ticks - inside[0][1].get(name, 0)) / measure.TICK / seconds
                for name, ticks in inside[-1][1].items() if ticks >= inside[0][1].get(name, 0)}
        used["others"] = max(0.0, 2 * used["machine"] - sum(used.values()))
        del used["machine"]
        return used

    def slowest_second(self, begin, end):
        whole = int(end - begin)
        return min(self.rate(begin + k, begin + k + 1.2) for k in range(max(1, whole)))

    def memory(self, begin, end, column):
        return [s[column] for s in self.samples if begin <= s[0] <= end]

    def end(self):
        self.stop.set()
        self.thread.join(10)


class Progress:
    """Says every few seconds how far the new node is, as the leader and it see it; keeps the moments
    at which it went from one phase to the next."""

    def __init__(self, watch, leader, new):
        self.watch, self.leader, self.new = watch, leader, new
        self.begin, self.phases = time.monotonic(), []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def phase_of(self, mine):
        if mine is None:
            return "opens itself", ""
        copy = mine.get("catch_up") or {}
        if copy.get("active") and copy.get("bytes_total"):
            return "store", "%.0f of %.0f MiB" % (copy["bytes_done"] / 2 ** 20,
                                                  copy["bytes_total"] / 2 ** 20)
        return ("entries" if copy.get("active") else "from memory"), ""

    def look(self):
        first, mine = self.leader.brief(), self.new.brief()
        phase, text = self.phase_of(mine)
        now = time.monotonic()
        if not self.phases or self.phases[-1][0] != phase:
            self.phases.append((phase, now))
        lacking = first["index"]["commit"] - (mine["index"]["applied"] if mine else 0) \
            if first else 0
        return phase, text, lacking, now

    def work(self):
        told = 0
        while not self.stop.wait(0.2):
            try:
                phase, text, lacking, now = self.look()
                if now - told < PROGRESS_SECONDS:
                    continue
                told = now
                print("  %5.0f s: %-12s %-22s %7d entries behind, leader takes %.0f transfers/s" % (
                    now - self.begin, phase, text, lacking,
                    self.watch.rate(now - PROGRESS_SECONDS, now)), flush=True)
            except (OSError, KeyError, ValueError, measure.cluster.Failure):
                continue  # it is about to begin, or opens itself again

    def end(self):
        self.stop.set()
        self.thread.join(10)


def rejoin(made, generator, arguments):
    leader = made.wait_leader()
    generator.prepare([leader])
    generator.run([leader], "--batch", 8190, "--count", arguments.transfers, seconds=3600)
    made.settle()
    print("%d transfers are held; load begins" % arguments.transfers, flush=True)
    held = leader.status()["count"]["transfers"]
    lost = next(m for m in made.data() if m is not leader)
    new = load = None

    def running():
        found = {"leader": leader.process.pid, "witness": made.witness.process.pid}
        follower = new or lost
        if follower.process is not None:
            found["follower" if new is None else "new node"] = follower.process.pid
        if load is not None:
            found["generator"] = load.pid
        return found

    watch = Watch(leader, running)
    rate = ("--rate", arguments.rate) if arguments.rate else ()
    load = generator.start("run", [leader], "--batch", BATCH, "--connections", 2, "--in-flight", 2,
                           "--duration", 86400, "--deadline", 60000, *rate)
    progress = None
    try:
        time.sleep(2)
        moments = {"all": time.monotonic()}
        time.sleep(STEADY_SECONDS)
        moments["killed"] = time.monotonic()
        lost.remove()
        time.sleep(2)
        moments["without"] = time.monotonic()
        time.sleep(STEADY_SECONDS)
        moments["rejoin"] = time.monotonic()
        print("node %d is gone, with its disk; a new node takes its place" % lost.node_id,
              flush=True)
        new = made.new_member(lost.site)
        made.prepare_joiner(new)
        progress = Progress(watch, leader, new)
        made.tally("member", "replace", lost.node_id, "--member-file", new.member_file,
                   seconds=arguments.seconds)
        moments["voter"] = time.monotonic()
        made.members.remove(lost)
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end:
            mine, first = new.brief(), leader.brief()
            if mine and first and mine["ready"] \
                    and first["index"]["commit"] - mine["index"]["applied"] < 200:
                break
            time.sleep(0.05)
        else:
            raise measure.cluster.Failure("the new node does not catch up\n" + made.describe())
        moments["beside"] = time.monotonic()
        if load.poll() is not None:
            raise measure.cluster.Failure("the load ended by itself")
    finally:
        load.kill()
        load.communicate()
        if progress:
            progress.end()
        watch.end()
    print("the new node stands beside the leader; the load has ended, all nodes settle", flush=True)
    made.settle(300)
    return watch, moments, progress.phases, held, leader


def say_processors(watch, name, begin, end):
    used = watch.processors(begin, end)
    print("  processors used, %-22s %s" % (name, ", ".join(
        "%s %.2f" % item for item in sorted(used.items()) if item[1] >= 0.005)))


def report(watch, moments, phases, held, leader):
    """Prints the figures; False when a bound of the design is missed."""
    everybody = watch.rate(moments["all"], moments["killed"])
    without = watch.rate(moments["without"], moments["rejoin"])
    during = watch.rate(moments["rejoin"], moments["beside"])
    slowest = watch.slowest_second(moments["rejoin"], moments["beside"])
    print("transfers held when the node was lost     %12d" % held)
    print("transfers/s with all nodes                %12.0f" % everybody)
    print("transfers/s without the node              %12.0f" % without)
    print("transfers/s while it catches up           %12.0f   %.0f %% of without, %.0f %% of all"
          % (during, 100 * during / without, 100 * during / everybody))
    print("  the slowest second of it                %12.0f" % slowest)
    ends = [begin for _, begin in phases[1:]] + [moments["beside"]]
    for (name, begin), end in zip(phases, ends):
        if end - begin >= 0.5:
            print("  %-14s %6.1f s                   %12.0f   %.0f %% of without" % (
                name, end - begin, watch.rate(begin, end), 100 * watch.rate(begin, end) / without))
    print("until it voted / stood beside the leader  %12.1f / %.1f s" % (
        moments["voter"] - moments["rejoin"], moments["beside"] - moments["rejoin"]))
    growths = []
    for name, column in (("anonymous", 2), ("resident", 3)):
        before = max(watch.memory(moments["without"], moments["rejoin"], column))
        peak = max(watch.memory(moments["rejoin"], moments["beside"], column))
        growths.append((peak - before) / 2 ** 20)
        print("memory of the leader (node %d), %-9s  %12.0f MiB before, peak %.0f, growth %.0f" % (
            leader.node_id, name, before / 2 ** 20, peak / 2 ** 20, growths[-1]))
    print("(resident counts mapped pages of the store, too)")
    print("(of %d processors; what others use is taken from all of these, too)" % os.cpu_count())
    say_processors(watch, "with all nodes", moments["all"], moments["killed"])
    say_processors(watch, "without the node", moments["without"], moments["rejoin"])
    for (name, begin), end in zip(phases, ends):
        if end - begin >= 2:
            say_processors(watch, name, begin, end)
    good = during >= 0.7 * everybody and max(growths) < 300
    print("throughput above 70 %% of what it was before the node was lost, and growth of either\n"
          "memory below 300 MiB: %s" % ("yes" if good else "NO"))
    return good


def main():
    parser = argparse.ArgumentParser(prog="scripts/rejoin.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=5000000, help="default 5 000 000")
    parser.add_argument("--rate", type=int, help="transfers per second (default: closed loop)")
    parser.add_argument("--seconds", type=int, default=600, help="bound on the catch-up")
    parser.add_argument("--directory", help="where the nodes' files go (default: under /var/tmp)")
    parser.add_argument("--build", default="build-bench")
    arguments = parser.parse_args()
    print(measure.machine(), flush=True)
    with measure.Scratch(arguments.directory) as scratch:
        made = measure.make_cluster(arguments.build, scratch, "1+1+1")
        try:
            made.make(accounts=False).settle()
            generator = measure.Generator(made, arguments.build, scratch)
            figures = rejoin(made, generator, arguments)
            good = report(*figures)
        finally:
            made.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
