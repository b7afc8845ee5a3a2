#!/usr/bin/python3
"""How long clients at the other site wait when the leader's site is lost.

    scripts/failover-times.sh [--runs N] [--topology T]... [--way kill|silence]... [--seed N] [--build DIR]

Per run: the cluster is at rest, sequential clients at each data node of the other site commit one
transfer after another, and at a random moment the leader's whole site is lost: its processes are
killed (kill), or nothing it says arrives any more and nothing reaches it, while its sockets stay
open and no connection is refused (silence). Measured per client: the time between its last answer
before and its first answer after the loss, both as the client sees them. The figure of a run is the
worst of its clients. Then everything is mended, and the next run begins at rest, with all nodes in
agreement.

Silence is made by a relay in user space (tests/e2e/proxy.py), or with --drop by network namespaces
in which the kernel drops each packet of that site's nodes (needs root).
"""
import argparse
import random
import sys
import threading
import time

import grpc

import measure
from client import Api, transfer
from namespaces import Namespaces, NamespacesMissing
from network import Network
from sites import CREDIT, DEBIT

CLIENTS_PER_NODE = 2
ON_THE_WAY_SECONDS = 0.1    # an answer takes less
AFTER_SECONDS = 30          # bound on the first answer after the loss


class Clients:
    """Sequential clients that note when each of their answers came."""

    def __init__(self, made, nodes, per_node=CLIENTS_PER_NODE):
        self.made, self.stop = made, threading.Event()
        self.moments, self.failures, self.odd = [], 0, []
        self.threads = []
        for node in nodes:
            for _ in range(per_node):
                moments = []
                self.moments.append(moments)
                self.threads.append(threading.Thread(target=self.work, args=(node, moments),
                                                     daemon=True))
        for thread in self.threads:
            thread.start()

    def work(self, node, moments):
        api = Api(node.grpc_port(), self.made.schema, self.made.security.authority,
                  self.made.security.by_name["channel"], host=node.host)
        while not self.stop.is_set():
            body = api.write_body("CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)])
            while True:
                answer = api.raw("CreateTransfers", body, 10)
                if answer.code == grpc.StatusCode.OK or self.stop.is_set():
                    break
                self.failures += 1
            if answer.code == grpc.StatusCode.OK:
                moments.append(time.monotonic())
        api.close()

    def wait(self, condition, seconds, text):
        end = time.monotonic() + seconds
        while not all(condition(moments) for moments in self.moments):
            if time.monotonic() > end:
                raise measure.cluster.Failure("%s: not within %d s\n%s" % (text, seconds,
                                                                           self.made.describe()))
            time.sleep(0.005)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)

    def worst_gap(self, lost):
        """Longest time between two answers around the moment, of the worst client. One that was on
        its way may still come in after the moment: the pause may begin behind it."""
        return max(after - before for moments in self.moments
                   for before, after in zip(moments, moments[1:])
                   if after > lost and before <= lost + ON_THE_WAY_SECONDS)


def one_run(made, way, draw):
    """Seconds of one loss; the cluster is at rest before and after."""
    leader = made.wait_leader()
    lost_site = made.site(leader.site)
    clients = Clients(made, [m for m in made.data() if m.site != leader.site])
    try:
        clients.wait(lambda moments: len(moments) > 20, 30, "clients commit before the loss")
        time.sleep(draw.uniform(0, 0.3))
        if made.leader_now() is not leader:     # it moved by itself meanwhile: no such loss
            return None, 0
        if way == "kill":
            for member in lost_site:
                member.signal(9)
            lost = time.monotonic()
        else:
            made.network.isolate([m.node_id for m in lost_site], "hole")
            lost = time.monotonic()
        # Answers that were on their way when the site was lost belong to the time before.
        clients.wait(lambda moments: any(m > lost + ON_THE_WAY_SECONDS
                                         for m in moments), AFTER_SECONDS,
                     "the first answers after the loss")
        time.sleep(0.2)
    finally:
        clients.end()
    for member in lost_site:
        if way == "kill":
            member.kill()
    gap = clients.worst_gap(lost)
    made.mend()
    made.settle()
    return gap, clients.failures


def measure_way(made, topology, way, runs, draw):
    gaps, failures = [], 0
    moved = 0
    while len(gaps) < runs:
        gap, failed = one_run(made, way, draw)
        if gap is None:
            moved += 1
            if moved > runs:
                raise measure.cluster.Failure("the leader moves by itself all the time")
            continue
        number = len(gaps)
        gaps.append(gap * 1000)
        failures += failed
        if (number + 1) % 10 == 0:
            print("   %s, %s: %d of %d runs, worst so far %.0f ms" % (topology, way, number + 1,
                                                                    runs, max(gaps)), flush=True)
    return gaps, failures


def main():
    parser = argparse.ArgumentParser(prog="scripts/failover-times.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="of each kind (default 50)")
    parser.add_argument("--topology", choices=measure.TOPOLOGIES, action="append")
    parser.add_argument("--way", choices=("kill", "silence"), action="append")
    parser.add_argument("--seed", type=int, help="default: drawn")
    parser.add_argument("--build", default="build-bench")
    parser.add_argument("--directory", help="where the nodes' files go (default: under /var/tmp)")
    parser.add_argument("--drop", action="store_true",
                        help="silence by packets that the kernel drops, not by a relay (root)")
    parser.add_argument("--limits", metavar="P50,MAX", help="fail above these milliseconds")
    arguments = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    print("seed %d; %s" % (seed, measure.machine()), flush=True)
    draw = random.Random(seed)
    rows, status = [], 0
    for topology in arguments.topology or list(measure.TOPOLOGIES):
        with measure.Scratch(arguments.directory) as scratch:
            made = measure.make_cluster(arguments.build, scratch, topology,
                                        Namespaces() if arguments.drop else Network())
            try:
                made.make().settle()
                for way in arguments.way or ("kill", "silence"):
                    rows.append((topology, way) + measure_way(made, topology, way, arguments.runs,
                                                              draw))
            finally:
                made.close()
    print("\n== the leader's site is lost: pause of clients at the other site, ms")
    print("%-10s %-9s %6s %8s %8s %8s %8s   %s" % ("topology", "way", "runs", "p50", "p90", "p99",
                                                   "max", "calls that failed meanwhile"))
    for topology, way, gaps, failures in rows:
        values = [measure.percentile(gaps, p) for p in (50, 90, 99)] + [max(gaps)]
        print("%-10s %-9s %6d %8.0f %8.0f %8.0f %8.0f   %d" % ((topology, way, len(gaps))
                                                              + tuple(values) + (failures,)))
        if arguments.limits:
            limits = [float(x) for x in arguments.limits.split(",")]
            if values[0] > limits[0] or values[-1] > limits[1]:
                status = 1
    if status:
        print("above the limits of %s ms (p50, max)" % arguments.limits)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NamespacesMissing as missing:
        sys.exit("no network namespaces: %s" % missing)
