#!/usr/bin/python3
"""Kills a node at random moments under load, and has the ledger judged afterwards.

    scripts/kill-loop.sh [--rounds N] [--seed N] [--build DIR] [--power-loss] [--no-sync]
                         [--expect-failure] [--keep]

Each round: tallyd starts, several client processes go on writing (chaos/workload.py), and at a
random moment, now and then while it still replays its journal, it gets kill -9. Epochs and segments
are small, so that checkpoints, prunes and segment changes are hit. After the last round the clients
settle every open outcome, the ledger is exported (chaos/export.py) and judged by a separate program
that reads only the clients' logs and the export (chaos/judge.py). Then the node stops gracefully,
its journal is verified offline, and a restart must export the same ledger again.

  --power-loss      tallyd runs under a library that records writes and syncs; after each kill a
                    random subset of what was not synced is taken away, as by a loss of power
  --no-sync         with --power-loss: syncs are swallowed, so that acknowledged data is lost
  --expect-failure  exit status 0 only if the judge found acknowledged transfers missing. With
                    --no-sync this shows that the loop can fail

The seed decides the moments and the load; it is printed first. Processes and disks are not
deterministic, so a seed repeats the plan of a run, not each interleaving.

Exit status: 0 as expected; 1 the judge found violations (or, expecting failure, none); 2 the loop
itself could not go on: a node that does not start, a client without an outcome, a bad option.
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
from clients import LoopFailure, Process  # noqa: E402

PROCESSES, CLIENTS_PER_PROCESS = 2, 6
READY_SECONDS = 120         # a start, replay included
PATIENCE_SECONDS = 120      # a client's longest wait for a final outcome
SETTLE_SECONDS = 150        # all clients' end after the last round
REPLAY_KILL_SHARE = 0.15    # rounds in which the kill comes before the node is ready
SETTINGS = {"journal": {"segment_bytes": 2 << 20},
            "checkpoint": {"transfers": 20000, "interval_ms": 300}}
# (share of batches up to here, least size, greatest size)
BATCH_SIZES = ((0.7, 1, 10), (0.95, 10, 60), (0.995, 60, 400), (1, 400, 8190))


class PowerLoss:
    """tallyd under the recording library, and the loss of power after a kill.

    Normally a random part of what was not synced is lost. With syncs swallowed all of it goes:
    files that fit each other and are old, as a disk leaves them that lied about every sync. Any
    part of it would fit less, and the node would notice and refuse to start.
    """

    def __init__(self, build, node, scratch, no_sync):
        self.node, self.no_sync = node, no_sync
        directory = os.path.join(os.path.abspath(build), "chaos", "power_loss")
        self.apply = os.path.join(directory, "powerloss-apply")
        library = os.path.join(directory, "libpowerloss.so")
        for file in (self.apply, library):
            if not os.path.exists(file):
                raise LoopFailure("%s is not there: build it first" % file)
        self.log = os.path.join(scratch, "power-loss")
        os.mkdir(self.log)
        node.environment.update(LD_PRELOAD=library, TALLY_POWERLOSS_DIR=node.data,
                                TALLY_POWERLOSS_LOG=self.log, TALLY_POWERLOSS_FAST="1")
        if no_sync:
            node.environment["TALLY_POWERLOSS_NO_SYNC"] = "1"

    def strike(self, seed):
        """The power goes and comes back."""
        which = "ALL" if self.no_sync else str(seed)
        done = subprocess.run([self.apply, self.log, self.node.data, which],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if done.returncode != 0:
            raise LoopFailure("powerloss-apply: %s" % done.stdout.decode(errors="replace"))


class Loop:
    def __init__(self, arguments, scratch):
        self.arguments = arguments
        self.scratch = scratch
        self.random = random.Random(arguments.seed)
        self.programs = cluster.Programs(arguments.build)
        self.security = cluster.Security(scratch)
        self.logs = os.path.join(scratch, "logs")
        os.mkdir(self.logs)
        self.port = cluster.free_port()
        settings = dict(SETTINGS, listen={"grpc": "127.0.0.1:%d" % self.port})
        self.node = cluster.Node(self.programs, self.security, schema.compile_project(),
                                 os.path.join(scratch, "node"), settings)
        self.clients = []
        self.power = None

    # ---- clients ----

    def start_clients(self):
        names = {name: {"certificate": self.security.by_name[name].certificate,
                        "key": self.security.by_name[name].key}
                 for name in ("business", "channel")}
        for number in range(PROCESSES):
            path = os.path.join(self.scratch, "workload-%d.json" % number)
            with open(path, "w") as file:
                json.dump(dict(names, ports=[self.port], ca=self.security.authority.certificate,
                               logs=self.logs, seed="%d/%d" % (self.arguments.seed, number),
                               name="channel-%d" % number, clients=CLIENTS_PER_PROCESS,
                               business_client=number == 0, accounts=64, accounts_max=2000,
                               batch_sizes=BATCH_SIZES, pause_s=0.05, read_share=0.05,
                               patience_s=PATIENCE_SECONDS), file)
            self.clients.append(Process(path))

    def check_clients(self):
        for client in self.clients:
            client.check()

    def settle_clients(self):
        end = time.monotonic() + SETTLE_SECONDS
        for client in self.clients:
            client.process.stdin.close()
        for client in self.clients:
            client.settle(max(1, end - time.monotonic()))

    def logged_bytes(self):
        return sum(os.path.getsize(os.path.join(self.logs, n)) for n in os.listdir(self.logs))

    # ---- rounds ----

    def start_node(self):
        try:
            self.node.spawn().wait_ready(READY_SECONDS)
        except cluster.Failure as failure:
            raise LoopFailure(str(failure)) from None

    def kill_node(self):
        self.node.kill()
        if self.power:
            self.power.strike(self.random.getrandbits(62))

    def round(self, number):
        """Starts the node, unless it runs, and kills it."""
        draw = self.random
        if self.node.process is None:
            if draw.random() < REPLAY_KILL_SHARE and not self.arguments.no_sync:
                self.node.spawn()
                time.sleep(draw.uniform(0, 0.15))
                self.kill_node()
                self.killed_early += 1
                return
            self.start_node()
        time.sleep(draw.uniform(0.05, 1.5))
        self.check_clients()
        if self.node.process.poll() is not None:
            raise LoopFailure("tallyd ended by itself\n" + self.node.log_tail())
        applied = self.node.status()["index"]["applied"] if self.arguments.no_sync else 0
        self.kill_node()
        if self.arguments.no_sync:
            self.start_node()
            self.went_back = self.node.status()["index"]["applied"] < applied

    def run(self):
        self.node.init()
        self.node.start()
        self.start_clients()
        if self.arguments.power_loss:
            # What was made so far is safe: the recording begins with a clean stop and start.
            if self.node.terminate() != 0:
                raise LoopFailure("no clean stop before the power-loss rounds")
            self.power = PowerLoss(self.arguments.build, self.node, self.scratch,
                                   self.arguments.no_sync)
            self.start_node()
        self.killed_early, self.went_back = 0, False
        began = time.monotonic()
        for number in range(self.arguments.rounds):
            self.round(number)
            last = number + 1 == self.arguments.rounds or self.went_back
            if (number + 1) % 10 == 0 or last:
                print("round %d of %d, %d killed before ready, client logs %.1f MB, %.0f s"
                      % (number + 1, self.arguments.rounds, self.killed_early,
                         self.logged_bytes() / 1e6, time.monotonic() - began), flush=True)
            if self.went_back:
                print("the ledger went back in time: that is enough for the judge")
                break
        if self.node.process is None:
            self.start_node()
        self.settle_clients()

    # ---- verdict ----

    def export(self, name):
        path = os.path.join(self.scratch, name)
        auditor = self.security.by_name["auditor"]
        done = subprocess.run([os.path.join(HERE, "export.py"), "--port", str(self.port), "--ca",
                               self.security.authority.certificate, "--certificate",
                               auditor.certificate, "--key", auditor.key, "--out", path],
                              timeout=600)
        if done.returncode != 0:
            raise LoopFailure("the export failed with %d" % done.returncode)
        return path

    def judge(self, export):
        done = subprocess.run([os.path.join(HERE, "judge.py"), "--logs", self.logs, "--export",
                               export], stdout=subprocess.PIPE, timeout=1800)
        text = done.stdout.decode()
        print(text, end="", flush=True)
        if done.returncode not in (0, 1):
            raise LoopFailure("the judge could not judge")
        return done.returncode, "VIOLATION lost" in text

    def check_clean_restart(self, export):
        """A graceful stop, the journal verified offline, and the same ledger after a start."""
        status = self.node.terminate()
        if status != 0:
            raise LoopFailure("tallyd ended with %d on SIGTERM\n%s" % (status,
                                                                      self.node.log_tail()))
        status, output = self.node.verify_journal()
        if status != 0:
            raise LoopFailure("tally journal verify: exit %d\n%s" % (status, output))
        self.start_node()
        if not filecmp.cmp(export, self.export("export-after-restart"), shallow=False):
            raise LoopFailure("the ledger differs after a graceful restart: %s" % export)

    def close(self):
        for client in self.clients:
            client.close()
        self.node.close()


def parse():
    parser = argparse.ArgumentParser(prog="scripts/kill-loop.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="kills (default 300)")
    parser.add_argument("--seed", type=int, help="default: drawn")
    parser.add_argument("--build", default=os.path.join(schema.ROOT, "build"))
    parser.add_argument("--power-loss", action="store_true")
    parser.add_argument("--no-sync", action="store_true")
    parser.add_argument("--expect-failure", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the files of a good run, too")
    arguments = parser.parse_args()
    if arguments.no_sync and not arguments.power_loss:
        parser.error("--no-sync needs --power-loss: without a loss of power nothing is lost")
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().getrandbits(32)
    return arguments


def main():
    arguments = parse()
    cluster.end_on_terminate()
    print("seed %d" % arguments.seed, flush=True)
    scratch = tempfile.mkdtemp(prefix="tally-kill-loop-")
    status, loop = 2, None
    try:
        loop = Loop(arguments, scratch)
        loop.run()
        export = loop.export("export")
        verdict, lost = loop.judge(export)
        if arguments.expect_failure:
            status = 0 if lost else 1
            print("expected a loss: %s" % ("found" if lost else "NOT found"))
        else:
            status = verdict
            if status == 0:
                loop.check_clean_restart(export)
    except (LoopFailure, cluster.Failure, subprocess.TimeoutExpired) as failure:
        print("the loop failed: %s" % failure)
        status = 2
    finally:
        if loop:
            loop.close()
        if status == 0 and not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            print("files kept in %s (client logs, export, node's log and data)" % scratch)
    print("kill loop, seed %d, %d rounds: %s" % (arguments.seed, arguments.rounds,
                                                 "PASSED" if status == 0 else "FAILED"))
    return status


if __name__ == "__main__":
    sys.exit(main())
