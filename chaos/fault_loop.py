#!/usr/bin/python3
"""Strikes a cluster of two sites and a witness with faults, and has the ledgers judged afterwards.

    scripts/fault-loop.sh [--faults N] [--topology 1+1+1|2+2+1] [--seed N] [--build DIR]
                          [--acknowledgements N] [--planted FAULT] [--keep]

Real processes behind a network that can be cut (tests/e2e/sites.py, proxy.py), clients at both
sites (chaos/workload.py). Between two faults at least --acknowledgements answers arrive. What the
faults are, how many of each and whom they hit is drawn from the seed (chaos/faults.py): kill -9,
loss of power (whatever was not synced is lost in part), SIGSTOP and SIGCONT, silent holes of both
ways or one, cuts; one node, two at once, all at once, and in the middle of a catch-up.

After the last fault the clients settle every open outcome, all nodes must come to rest at the same
index, each data node's ledger is exported (chaos/export.py), and a separate program judges them by
what the clients saw (chaos/judge.py). Then all nodes stop, `tally journal verify` walks each journal
from outside, heads must be equal, and after a restart the ledger must be the same again.

  --planted FAULT   the nodes have this fault planted (a build with meson -Dplanted_fault=any, names
                    in core/planted_fault.h): exit status 0 only if the loop finds it
  --seconds N       no further fault begins after so long; what was struck is judged (with --planted
                    120 unless told otherwise: nodes that differ may keep the load crawling)

The seed is printed first and repeats the plan; processes and disks are not deterministic, so it
does not repeat each interleaving.

Exit status: 0 as expected; 1 violations found (or, with a planted fault, none); 2 the loop itself
could not go on: a node that ends by itself or does not start, a cluster that does not come to rest,
a client without an outcome, a bad option.
"""
import argparse
import filecmp
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests", "e2e"))
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import cluster  # noqa: E402
import schema  # noqa: E402
import sites as sites_of  # noqa: E402
from clients import LoopFailure, Process  # noqa: E402
from faults import Power, Striker, plan  # noqa: E402
from network import NetworkFailure  # noqa: E402
from planted_build import names, refusal  # noqa: E402

TOPOLOGIES = {"1+1+1": sites_of.ONE_ONE_ONE, "2+2+1": sites_of.TWO_TWO_ONE}
CLIENTS_PER_SITE = 6
PATIENCE_SECONDS = 120      # a client's longest wait for a final outcome
SETTLE_SECONDS = 180        # all clients' end, and the cluster's rest
SETTLE_SECONDS_PLANTED = 60 # a cluster with a planted fault may never come to rest: then it is found
STALL_SECONDS = 90          # the longest time without the answers that are waited for
SECONDS_PLANTED = 300       # a bound: on a slow machine the faults that find it take their time
STALL_SECONDS_PLANTED = 30  # nodes that differ may keep the load crawling
SETTINGS = {"journal": {"segment_bytes": 2 << 20},
            "cluster": {"log_tail_bytes": 64 << 10},    # so that catch-ups happen
            "checkpoint": {"transfers": 20000, "interval_ms": 300,
                           "map_size_bytes": cluster.MAP_BYTES}}
# Mostly small, so that 500 faults with 1000 answers between them are a few million transfers.
BATCH_SIZES = ((0.9, 1, 3), (0.99, 3, 20), (0.999, 20, 200), (1, 200, 4000))


# What a node says that was refused a catch-up: its committed entries are not its leader's.
TWO_HISTORIES = "tell two histories of the same entries"


class Found(LoopFailure):
    """A node noticed by itself that something is wrong: it ended, or two of them differ."""


class Loop:
    def __init__(self, arguments, scratch):
        self.arguments, self.scratch = arguments, scratch
        self.logs = os.path.join(scratch, "logs")
        os.mkdir(self.logs)
        security = cluster.Security(scratch)
        self.power = Power(arguments.build, everything=arguments.planted == "sync_off")
        self.settle_seconds = SETTLE_SECONDS_PLANTED if arguments.planted else SETTLE_SECONDS
        self.stall_seconds = STALL_SECONDS_PLANTED if arguments.planted else STALL_SECONDS
        self.sites = sites_of.Sites(cluster.Programs(arguments.build), security,
                                    schema.compile_project(), os.path.join(scratch, "sites"),
                                    TOPOLOGIES[arguments.topology], SETTINGS)
        self.striker = Striker(self.sites, self.power)
        self.clients = []

    # ---- clients ----

    def start_clients(self):
        names = {name: {"certificate": self.sites.security.by_name[name].certificate,
                        "key": self.sites.security.by_name[name].key}
                 for name in ("business", "channel")}
        for site in ("A", "B"):
            nodes = self.sites.data(site) + [m for m in self.sites.data() if m.site != site]
            path = os.path.join(self.scratch, "workload-%s.json" % site)
            with open(path, "w") as file:
                json.dump(dict(names, ports=[m.grpc_port() for m in nodes],
                               ca=self.sites.security.authority.certificate, logs=self.logs,
                               seed="%d/%s" % (self.arguments.seed, site), name="site-%s" % site,
                               clients=CLIENTS_PER_SITE, business_client=site == "A", accounts=64,
                               accounts_max=2000, batch_sizes=BATCH_SIZES, pause_s=0.005,
                               read_share=0.1, patience_s=PATIENCE_SECONDS), file)
            self.clients.append(Process(path))

    def answers(self):
        return sum(client.answers for client in self.clients)

    def wait_answers(self, count):
        goal, end = self.answers() + count, time.monotonic() + self.stall_seconds
        while self.answers() < goal:
            self.check()
            if time.monotonic() > end:
                raise self.failure("%d of %d answers in %d s\n%s" % (
                    count - goal + self.answers(), count, self.stall_seconds,
                    self.sites.describe()))
            time.sleep(0.02)
        self.check_histories()

    def check(self):
        self.check_nodes()
        for client in self.clients:
            client.check()

    def failure(self, text):
        """A cluster that stands still: the loop's end, or what a planted fault was looked for with
        (the same load never stands still on nodes that are sound)."""
        return Found(text) if self.arguments.planted else LoopFailure(text)

    def check_nodes(self):
        for member in self.sites.members:
            if member.process is not None and member.process.poll() is not None:
                raise Found("node %d ended by itself with %d\n%s" % (
                    member.node_id, member.process.returncode, member.log_tail()))

    def check_histories(self):
        """With nodes that differ the load crawls on for long, and whatever is struck says no more."""
        for member in self.sites.members:
            if TWO_HISTORIES in member.log_text():
                raise Found("node %d and its leader have two histories\n%s" % (
                    member.node_id, self.sites.describe()))

    # ---- the run ----

    def begin(self):
        self.sites.make(accounts=False).settle()
        for member in self.sites.members:       # what was made so far is on the disk
            if member.terminate() != 0:
                raise LoopFailure("no clean stop before the first fault")
            member.environment.update(self.power.environment(member))
            if self.arguments.planted:
                member.environment["TALLY_PLANTED"] = self.arguments.planted
        self.sites.before_spawn = self.power.forget
        self.sites.mend()
        self.sites.wait_leader()
        self.start_clients()

    def run(self):
        self.begin()
        began = time.monotonic()
        faults = plan(self.arguments.seed, self.arguments.faults)
        for number, fault in enumerate(faults, 1):
            if self.arguments.seconds and time.monotonic() - began > self.arguments.seconds:
                print("%d s are over after %d faults" % (self.arguments.seconds, number - 1))
                break
            self.aim(fault, number)
            self.wait_answers(self.arguments.acknowledgements)
            self.striker.strike(fault)
            if number % 10 == 0 or number == len(faults):
                print("fault %d of %d (%s), %d answers, %.0f s" % (
                    number, len(faults), ", ".join(
                        "%d %s" % (count, name) for name, count in self.striker.counts.items()
                        if name != "faults"), self.answers(), time.monotonic() - began),
                      flush=True)
        self.wait_answers(self.arguments.acknowledgements)
        self.settle()

    def aim(self, fault, number):
        """Bends the plan towards a planted fault, so that a few faults are enough to find it."""
        if self.arguments.planted == "sync_off":
            fault.sort, fault.kind = "all", "power"
        elif self.arguments.planted == "reply_before_commit" and number % 2 == 1:
            # Its own clients are answered by a leader whom nobody hears any more.
            fault.sort, fault.kind, fault.at_leader, fault.seconds = "single", "hole", True, 2.0

    def settle(self):
        self.sites.mend()
        end = time.monotonic() + self.settle_seconds
        for client in self.clients:
            client.process.stdin.close()
        try:
            for client in self.clients:
                client.settle(max(1, end - time.monotonic()))
            self.sites.settle(self.settle_seconds)
        except (LoopFailure, cluster.Failure) as failure:
            self.check_nodes()
            if sites_of.DIVERGED in str(failure):
                raise Found(str(failure)) from None
            raise self.failure(str(failure)) from None

    # ---- verdict ----

    def export(self, member, name):
        path = os.path.join(self.scratch, name)
        security = self.sites.security
        auditor = security.by_name["auditor"]
        done = subprocess.run([os.path.join(HERE, "export.py"), "--port", str(member.grpc_port()),
                               "--ca", security.authority.certificate, "--certificate",
                               auditor.certificate, "--key", auditor.key, "--out", path],
                              timeout=1200)
        if done.returncode != 0:
            raise LoopFailure("the export of node %d failed with %d" % (member.node_id,
                                                                       done.returncode))
        return path

    def heads(self, name):
        """What each node says of itself, for the judge."""
        rows = []
        for member in self.sites.members:
            status = member.status()
            rows.append({"node": member.node_id, "index": status["index"]["commit"],
                         "digest": status["digest"] if member.is_data else None,
                         "head": status["journal"]["head"]})
        path = os.path.join(self.scratch, name)
        with open(path, "w") as file:
            json.dump(rows, file)
        return path

    def judge(self):
        """(exit status of the judge, export of the first node)."""
        heads = self.heads("heads")
        exports = [self.export(m, "export-%d" % m.node_id) for m in self.sites.data()]
        arguments = [os.path.join(HERE, "judge.py"), "--logs", self.logs, "--heads", heads]
        for export in exports:
            arguments += ["--export", export]
        done = subprocess.run(arguments, timeout=3600)
        if done.returncode not in (0, 1):
            raise LoopFailure("the judge could not judge")
        return done.returncode, exports[0]

    def check_clean_restart(self, export):
        """Graceful stops; each journal walked from outside, with one head; the same ledger again."""
        for member in self.sites.members:
            status = member.terminate()
            if status != 0:
                raise LoopFailure("node %d ended with %d on SIGTERM\n%s" % (
                    member.node_id, status, member.log_tail()))
        ends = {}
        for member in self.sites.members:
            done = subprocess.run([self.sites.programs.tally, "--json", "journal", "verify",
                                   member.data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=600)
            if done.returncode != 0:
                raise Found("tally journal verify of node %d: exit %d\n%s" % (
                    member.node_id, done.returncode, done.stdout.decode(errors="replace")))
            told = json.loads(done.stdout)
            ends.setdefault((told["last_index"], told["head"]), []).append(member.node_id)
        # The last nodes to stop may have written entries (an election's) that the first lack.
        if len({index for index, _ in ends}) != len(ends):
            raise Found("journals with different heads at the same index: %s" % ends)
        self.sites.mend()
        self.sites.settle()
        for member in self.sites.data():
            if not filecmp.cmp(export, self.export(member, "export-after-restart"), shallow=False):
                raise Found("node %d: the ledger differs after a graceful restart: %s" % (
                    member.node_id, export))

    def quota(self):
        """What the run was to show, or the lack of it in words."""
        counts, faults = self.striker.counts, self.striker.counts["faults"]
        wanted = {"at leader": faults * 0.3, "during catch-up": faults * 20 / 500,
                  "two at once": faults * 20 / 500}
        return ["%d %s, at least %d wanted" % (counts[name], name, least)
                for name, least in wanted.items() if counts[name] < int(least)]

    def close(self):
        for client in self.clients:
            client.close()
        self.sites.close()


def commit():
    done = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip() or "unknown"


def parse():
    parser = argparse.ArgumentParser(prog="scripts/fault-loop.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="1+1+1")
    parser.add_argument("--acknowledgements", type=int, default=1000,
                        help="answers between two faults (default 1000)")
    parser.add_argument("--seed", type=int, help="default: drawn")
    parser.add_argument("--build", default=os.path.join(schema.ROOT, "build"))
    parser.add_argument("--planted", choices=names(), metavar="FAULT")
    parser.add_argument("--seconds", type=int, help="at most; 0: no bound")
    parser.add_argument("--keep", action="store_true", help="keep the files of a good run, too")
    arguments = parser.parse_args()
    if arguments.faults < 1:
        parser.error("--faults: at least 1")
    if arguments.seconds is None:
        arguments.seconds = SECONDS_PLANTED if arguments.planted else 0
    if arguments.seconds < 0:
        parser.error("--seconds: a number of seconds, or 0 for no bound")
    refused = arguments.planted and refusal(arguments.build, arguments.planted)
    if refused:
        parser.error("--planted: " + refused)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().getrandbits(32)
    return arguments


def verdict(arguments, loop):
    """The exit status of a run."""
    try:
        loop.run()
        status, export = loop.judge()
        if status == 0:
            loop.check_clean_restart(export)
        lacking = [] if arguments.planted else loop.quota()
    except Found as found:
        print("found by the nodes themselves: %s" % found)
        status, lacking = (1 if arguments.planted else 2), []
    for text in lacking:
        print("the run shows less than it was to: %s" % text)
    if lacking:
        return 2
    if arguments.planted:
        print("expected a failure (%s): %s" % (arguments.planted,
                                               "found" if status == 1 else "NOT found"))
        return 0 if status == 1 else 1
    return status


def main():
    arguments = parse()
    cluster.end_on_terminate()
    print("seed %d, commit %s; to repeat this plan: scripts/fault-loop.sh --seed %d --faults %d "
          "--topology %s%s" % (arguments.seed, commit(), arguments.seed, arguments.faults,
                               arguments.topology,
                               " --planted " + arguments.planted if arguments.planted else ""),
          flush=True)
    scratch = tempfile.mkdtemp(prefix="tally-fault-loop-")
    status, loop = 2, None
    try:
        loop = Loop(arguments, scratch)
        status = verdict(arguments, loop)
    except (LoopFailure, cluster.Failure, NetworkFailure, subprocess.TimeoutExpired) as failure:
        print("the loop failed: %s" % failure)
    finally:
        if loop:
            loop.close()
        if status == 0 and not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            print("files kept in %s (client logs, exports, nodes' logs and data)" % scratch)
    print("fault loop on %s, seed %d, %d faults: %s" % (
        arguments.topology, arguments.seed, arguments.faults, "PASSED" if status == 0 else "FAILED"))
    return status


if __name__ == "__main__":
    sys.exit(main())
