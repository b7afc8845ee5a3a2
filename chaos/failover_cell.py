"""One cell of the table of failover figures: a cluster, its load, its observer, and runs in it."""
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import failover_certificate
import measure
import packet_drop
from failover_check import Canaries, LoadLedger, rows_of
from network import Network
from nemesis.pulse import Pulse
from sites import Failure

CANARY_LEDGER = 1000        # the first; each run has the next one
CONNECTIONS, IN_FLIGHT = 2, 64
CAPACITY_SECONDS = 3
READY_SECONDS = 120         # until all nodes are ready again after a run
POLICY_ATTEMPTS = 5
SYNC_SECONDS = 120          # until a degraded cluster has returned
END_SECONDS = 120           # of load and observer
BEFORE_SECONDS = (0.7, 1.2) # of load before the event
AFTER_SECONDS = 0.3
# As libtally's with several servers. Longer than any refusal may take: a server answers shortly
# before an attempt's own deadline, and that is no refusal of its own accord.
ATTEMPT_MS = 3000
# Load and canaries wait this long for anything, so that outcomes are settled within the run.
DEADLINE_SECONDS = 10


class Skipped(Exception):
    """This build or machine cannot do what the cell is about; the text says why."""


class Observer:
    """tally observe, with its marks."""

    def __init__(self, made, canaries, directory):
        self.path = os.path.join(directory, "observe.json")
        self.fifo = os.path.join(directory, "marks")
        channel = made.security.by_name["channel"]
        command = [made.programs.tally, "observe", "--quiet", "--ca",
                   made.security.authority.certificate, "--cert", channel.certificate, "--key",
                   channel.key, "--ledger", canaries.ledger, "--debit", canaries.debit, "--credit",
                   canaries.credit, "--deadline", DEADLINE_SECONDS, "--resolve", 20,
                   "--attempt-ms", ATTEMPT_MS, "--json", self.path, "--html",
                   os.path.join(directory, "observe.html"), "--marks", self.fifo]
        for site in ("A", "B"):
            command += ["--site", "%s=%s" % (site, ",".join(
                "%s:%d" % (m.host, m.grpc_port()) for m in made.data(site)))]
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = time.monotonic() + END_SECONDS
        while not self.mark("begin"):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failure("tally observe does not begin: %s" % self.finish())
            time.sleep(0.01)

    def mark(self, text):
        """False: it does not listen yet."""
        try:
            fifo = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        os.write(fifo, (text + "\n").encode())
        os.close(fifo)
        return True

    def finish(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            output, _ = self.process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            raise Failure("tally observe did not end: %s" % output.decode()) from None
        return output.decode(errors="replace")

    def end(self):
        """Its document; and how it ended."""
        output = self.finish()
        if not os.path.exists(self.path):
            raise Failure("tally observe left no report: exit %d\n%s" % (self.process.returncode,
                                                                         output))
        with open(self.path) as file:
            return json.load(file), self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Load:
    """An open loop of single transfers at each site."""

    def __init__(self, made, generator, directory, rate):
        self.directory, self.commands = directory, {}
        for site in ("A", "B"):
            self.commands[site] = generator.start(
                "run", made.data(site), "--batch", 1, "--connections", CONNECTIONS, "--in-flight",
                IN_FLIGHT, "--rate", max(1, rate // 2), "--warmup", 0, "--duration", 86400,
                "--deadline", DEADLINE_SECONDS * 1000, "--acknowledged", self.ids(site), "--json",
                self.report(site))

    def ids(self, site):
        return os.path.join(self.directory, "acknowledged-" + site)

    def report(self, site):
        return os.path.join(self.directory, "load-%s.json" % site)

    def end(self):
        """What came of it, by site."""
        for command in self.commands.values():
            if command.poll() is None:
                command.send_signal(signal.SIGINT)
        told = {}
        for site, command in self.commands.items():
            try:
                output, _ = command.communicate(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                raise Failure("the load at site %s does not end" % site) from None
            if not os.path.exists(self.report(site)):
                raise Failure("the load at site %s: exit %d\n%s" % (
                    site, command.returncode, output.decode(errors="replace")))
            with open(self.report(site)) as file:
                told[site] = json.load(file)
        return told

    def close(self):
        for command in self.commands.values():
            if command.poll() is None:
                command.kill()
                command.communicate()


class Untold:
    """Takes word of each stall, and tells nobody: the worst one is in the run."""

    def event(self, *told, **more):
        pass


class Ground:
    """A cluster with what outlives a run in it: the load's ledger, and how far the log was read."""

    def __init__(self, arguments, topology, network, directory):
        self.arguments, self.topology, self.directory = arguments, topology, directory
        self.load_ledger = LoadLedger()
        self.ledger_next, self.made = CANARY_LEDGER, None
        network = packet_drop.PacketDrop() if network == "kernel" else Network()
        try:
            self.made = measure.make_cluster(arguments.build, directory, topology, network)
        except BaseException:
            network.close()
            raise

    def open(self):
        self.made.make(accounts=False).settle()
        self.generator = measure.Generator(self.made, self.arguments.build, self.directory)
        self.generator.prepare([self.made.wait_leader()])
        self.known_commands = self.commands()
        self.capacity = self.arguments.capacity or self.measure_capacity()
        self.rate = int(self.capacity * self.arguments.load_percent / 100)
        print("%s: capacity %d transfers/s, load %d/s" % (self.topology, self.capacity, self.rate),
              flush=True)

    def measure_capacity(self):
        """A closed loop at both sites at once."""
        commands = {}
        for site in ("A", "B"):
            path = os.path.join(self.directory, "capacity-%s.json" % site)
            commands[path] = self.generator.start(
                "run", self.made.data(site), "--batch", 1, "--connections", CONNECTIONS,
                "--in-flight", IN_FLIGHT, "--warmup", 1, "--duration", CAPACITY_SECONDS, "--json",
                path)
        total = 0
        for path, command in commands.items():
            self.generator.finish(command, END_SECONDS)
            with open(path) as file:
                total += json.load(file)["transfers_per_s"]
        self.made.settle()
        self.load_ledger.judge(self.made, self.made.wait_leader(), [])  # begins behind these
        return int(total)

    def commands(self):
        """The names of tally's commands."""
        told = subprocess.run([self.made.programs.tally, "--help"], stdout=subprocess.PIPE,
                              timeout=20).stdout.decode()
        return set(re.findall(r"^  ([a-z][a-z-]*(?: [a-z][a-z-]*)?)  ", told, re.MULTILINE))

    def close(self):
        if self.made:
            self.made.close()


class Cell:
    def __init__(self, arguments, ground, event, result, directory):
        self.arguments, self.ground, self.event = arguments, ground, event
        self.made, self.generator = ground.made, ground.generator
        self.load_ledger, self.directory = ground.load_ledger, directory
        self.draw = random.Random("%d/%s/%s" % (arguments.seed, ground.topology, event.name))
        self.result, self.worst = result, None
        self.observer = self.load = None

    def open(self):
        missing = set(self.event.needs) - self.ground.known_commands
        if missing:
            raise Skipped("this tally has no command \"%s\"" % min(missing))
        if "durability policy" in self.ground.known_commands:
            self.set_policy()

    def set_policy(self):
        """Of a cluster in SYNC, which a machine that stands still may leave in between."""
        for left in reversed(range(POLICY_ATTEMPTS)):
            self.wait_sync()
            status, text = self.made.tool("durability", "policy", *self.event.policy, "--reason",
                                          "failover loop: %s" % self.event.name)
            if status == 0:
                return
            if not left:
                raise Failure("tally durability policy: exit %d\n%s" % (status, text))

    # ---- a run ----

    def run(self, number):
        """The figures of one run; the cluster is at rest before and after."""
        directory = os.path.join(self.directory, "run-%d" % number)
        leader = self.made.wait_leader()
        if self.event.begins_in_sync:
            self.wait_sync()
        canaries = Canaries(leader.api("business"), self.ground.ledger_next, directory)
        self.ground.ledger_next += 1
        run = {"number": number, "leader": leader.node_id, "leader_site": leader.site, "wrong": [],
               "unmet": [],
               "before": self.rule_now(leader)}
        pulse = Pulse(Untold())
        try:
            self.observer = Observer(self.made, canaries, directory)
            self.load = Load(self.made, self.generator, directory, self.ground.rate)
            time.sleep(self.draw.uniform(*BEFORE_SECONDS))
            # It may have moved by itself, or by the load's begin; what is struck is what is now.
            leader = self.made.wait_leader()
            run.update(leader=leader.node_id, leader_site=leader.site)
            self.event.strike(self, run, leader)
            self.mark("mended")
            evidence = None
            if self.event.is_site_loss and "certificate verify" in self.ground.known_commands:
                time.sleep(AFTER_SECONDS)   # what was sent before the mark is answered by now
                evidence = failover_certificate.take(self.made)
                self.mark("all nodes were stopped at once, and asked what they prove")
            self.made.mend()
            self.wait_ready()
            time.sleep(AFTER_SECONDS)
            run["load"] = self.load.end()
            document, status = self.observer.end()
        finally:
            pulse.end()
            for part in (self.observer, self.load):
                if part:
                    part.close()
        run["stall_ms"] = pulse.told()["worst_ms"]
        self.made.settle()
        run["after"] = self.rule_now(self.made.wait_leader())
        self.judge(run, document, status, canaries)
        if evidence:
            run["certificate"] = evidence
            run["wrong"] += failover_certificate.judge(evidence, document)
        self.event.measure(self, run, document)
        self.keep_worst(run, directory)
        return run

    def keep_worst(self, run, directory):
        """The timeline of the cell's worst run stays, beside the report."""
        badness = (bool(run["wrong"]), run.get("refusal_ms", 0), run["pause_ms"])
        if self.worst is None or badness > self.worst:
            self.worst = badness
            path = "%s-%s-%s.html" % (self.arguments.report, self.ground.topology, self.event.name)
            shutil.copyfile(os.path.join(directory, "observe.html"), path)
            self.result["worst"] = {"run": run["number"], "page": os.path.basename(path)}
        shutil.rmtree(directory, ignore_errors=True)

    def mark(self, text):
        self.observer.mark(text)

    def wait_ready(self):
        end = time.monotonic() + READY_SECONDS
        while True:
            late = [m.node_id for m in self.made.members
                    for s in [m.brief()] if s is None or not s["ready"]]
            if not late:
                return
            if time.monotonic() > end:
                raise Failure("nodes %s are not ready %d s after the event\n%s" % (
                    late, READY_SECONDS, self.made.describe()))
            time.sleep(0.02)

    def wait_sync(self):
        """A cluster that degraded in the run before has returned."""
        end = time.monotonic() + SYNC_SECONDS
        while True:
            mode = self.rule_now(self.made.wait_leader()).get("mode")
            if mode in (None, "sync"):
                return
            if time.monotonic() > end:
                raise Failure("still %s after %d s of rest\n%s" % (mode, SYNC_SECONDS,
                                                                   self.made.describe()))
            time.sleep(0.05)

    @staticmethod
    def rule_now(member):
        status = member.status()
        return {key: status.get(key) for key in ("term", "rule", "mode", "number",
                                                 "changes_last_hour")}

    def judge(self, run, document, status, canaries):
        """Nothing acknowledged is lost, nothing doubled, every outcome known."""
        node, first = self.draw.choice(self.made.data()), self.load_ledger.first
        run["wrong"] += canaries.judge(document, node.api("auditor"), first)
        wrong, acknowledged = self.load_ledger.judge(
            self.made, node, [self.load.ids(site) for site in ("A", "B")])
        run["wrong"] += wrong
        run["load_acknowledged"] = acknowledged
        if status != 0:
            run["wrong"].append("tally observe ended with %d" % status)
        run["sites"] = {}
        for site in document["sites"]:
            summary = site["summary"]
            run["sites"][site["name"]] = {
                "intended": summary["intended"], "outcomes": summary["outcomes"],
                "in_doubt": summary["in_doubt"], "repeated": summary["repeated"],
                "latency_ms": summary["latency_ms"], "longest_pause_ms": summary["pause"]["ms"]}
            if summary["outcomes"]["unknown"] + summary["outcomes"]["waiting"] > 0:
                run["wrong"].append("site %s: canaries without a final outcome" % site["name"])
            if summary["outcomes"]["not sent"] > 0:
                run["unmet"].append("site %s: %d canaries were not sent: the instrument was full" % (
                    site["name"], summary["outcomes"]["not sent"]))
        run["events"] = [e for e in document["events"] if e["kind"] != "server"]

    # ---- figures ----

    rows = staticmethod(rows_of)

    @staticmethod
    def at(document, text):
        """The moment of a mark."""
        return next(e["at_ms"] for e in document["events"]
                    if e["kind"] == "mark" and e["text"].startswith(text))

    @staticmethod
    def pause(document, site_name, begin, end):
        """The pause (docs/observe.md) over canaries of a site intended in [begin, end): ms."""
        site = next(s for s in document["sites"] if s["name"] == site_name)
        longest, earliest = 0.0, None
        for row in reversed(rows_of(document, site)):
            if row["outcome"] == "acknowledged" and (earliest is None
                                                     or row["answered_ms"] < earliest):
                earliest = row["answered_ms"]
            if begin <= row["intended_ms"] < end:
                until = document["ended_ms"] if earliest is None else earliest
                longest = max(longest, until - row["intended_ms"])
        return longest

    def close(self):
        for part in (self.observer, self.load):
            if part:
                part.close()
