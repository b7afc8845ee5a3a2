#!/usr/bin/python3
"""Measures two sites and a witness on this machine: throughput, latency, CPU per transfer by thread.

    bench/run.sh --topology 1+1+1|2+2+1 [--seconds N] [--directory DIR] [--build DIR] [--at leader|follower]

Closed loops of tally-bench over mutual TLS against the leader (or a follower, which forwards), each
answer after the commit: batches of 8190, 100 and 1. Nodes talk to each other directly over
loopback, each syncs its own journal to the same disk.
"""
import argparse
import sys

import measure

# name, arguments of tally-bench
RUNS = (("batch 8190, 1 in flight", (8190, 1, 1)), ("batch 8190, 2 x 4 in flight", (8190, 2, 4)),
        ("batch 100, 1 in flight", (100, 1, 1)), ("batch 100, 4 x 16 in flight", (100, 4, 16)),
        ("batch 1, 1 in flight", (1, 1, 1)), ("batch 1, 4 x 64 in flight", (1, 4, 64)))


def processes(made):
    return {member.node_id: member.process.pid for member in made.members}


def cpu_of(made):
    return {node: measure.thread_seconds(process) for node, process in processes(made).items()}


def role_of(made, member, leader):
    return "leader" if member is leader else member.kind if not member.is_data else "follower"


def print_cpu(made, leader, before, after, transfers):
    """Microseconds of CPU per transfer: a line per node, its threads in it."""
    for member in made.members:
        spent = {name: after[member.node_id][name] - before[member.node_id].get(name, 0)
                 for name in after[member.node_id]}
        parts = ["%s %.2f" % (name, seconds * 1e6 / transfers)
                 for name, seconds in sorted(spent.items(), key=lambda item: -item[1])
                 if seconds * 1e6 / transfers >= 0.005]
        print("    node %d %-9s %8.2f us of CPU per transfer: %s" % (
            member.node_id, role_of(made, member, leader),
            sum(spent.values()) * 1e6 / transfers, ", ".join(parts) or "-"))


def main():
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", choices=measure.TOPOLOGIES, default="1+1+1")
    parser.add_argument("--seconds", type=int, default=10, help="length of each run (default 10)")
    parser.add_argument("--directory", help="where the nodes' files go (default: under /var/tmp)")
    parser.add_argument("--build", default="build-bench")
    parser.add_argument("--at", choices=("leader", "follower"), default="leader",
                        help="whom the clients ask (default: the leader)")
    arguments = parser.parse_args()
    with measure.Scratch(arguments.directory) as scratch:
        made = measure.make_cluster(arguments.build, scratch, arguments.topology)
        try:
            made.make(accounts=False).settle()
            generator = measure.Generator(made, arguments.build, scratch)
            leader = made.wait_leader()
            generator.prepare([leader])
            print("== %s, clients at the %s\n%s" % (arguments.topology, arguments.at,
                                                    measure.machine()))
            print("%-28s %12s %12s %9s %9s %9s %9s" % ("latency of a request in ms", "transfers/s",
                                                       "requests/s", "p50", "p90", "p99", "max"))
            for name, (batch, connections, in_flight) in RUNS:
                leader = made.wait_leader()
                asked = leader if arguments.at == "leader" else made.followers()[0]
                term = leader.status()["term"]
                before = cpu_of(made)
                report = generator.run([asked], "--batch", batch, "--connections", connections,
                                       "--in-flight", in_flight, "--duration", arguments.seconds,
                                       "--warmup", 0)
                after = cpu_of(made)
                latency = report["latency_us"]
                print("%-28s %12.0f %12.0f %9.2f %9.2f %9.2f %9.2f" % (
                    (name, report["transfers_per_s"], report["requests_per_s"])
                    + tuple(latency[key] / 1000 for key in ("p50", "p90", "p99", "max"))))
                print_cpu(made, leader, before, after, report["transfers_posted"])
                if made.wait_leader().status()["term"] != term:
                    print("    (the leader changed during this run)")
            made.settle()
            print("all nodes agree; memory, anonymous / resident MiB: %s" % ", ".join(
                "node %d %.0f / %.0f" % ((node,) + tuple(
                    size / 2 ** 20 for size in measure.resident_bytes(process)))
                for node, process in processes(made).items()))
        finally:
            made.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
