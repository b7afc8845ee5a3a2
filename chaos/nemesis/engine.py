"""A run: a cluster is made, clients and instruments start, a scenario's timeline strikes it, everything
has to come to rest again, and what is left is written down for the checkers.

    Run(options, scenario, history).go()      -> nothing; findings.json and the history say it all

What stops a run (RunFailure: no cluster, no network) is told apart from what a run finds. A finding
never ends it early: what can still be mended, settled and exported is, so that the checkers see as
much as there is.
"""
import copy
import os
import random
import shutil
import subprocess
import time

import cluster
import schema
import sites as sites_of
from clients import LoopFailure
from faults import Power
from namespaces import NamespacesMissing
from nemesis import rest
from nemesis.context import Context, Found, RunFailure
from nemesis.findings import CLAIMS, Findings
from nemesis.history import now
from nemesis.links import make_links
from nemesis.load import Load, Observer
from nemesis.poller import Poller
from nemesis.pulse import Pulse
from network import NetworkFailure

TOPOLOGIES = {"1+1+1": sites_of.ONE_ONE_ONE, "2+2+1": sites_of.TWO_TWO_ONE}
SETTINGS = {"journal": {"segment_bytes": 2 << 20},
            "cluster": {"log_tail_bytes": 64 << 10},    # so that catch-ups happen
            "checkpoint": {"transfers": 16384, "interval_ms": 300,
                           "map_size_bytes": cluster.MAP_BYTES}}
WARM_UP_ANSWERS = 40        # before the first fault
AFTERWARDS_ANSWERS = 40     # after the last one: service is back
LATE_MS = 1500              # how much later than its limit a call may end (docs/checkers.md)
SYNC_SECONDS = 60           # and the mode as well, where the policy returns by itself


class Run:
    def __init__(self, options, scenario, history):
        """`options`: seed, build, topology, network ("kernel" or "relay"), scratch."""
        self.options, self.scenario, self.history = options, scenario, history
        self.scratch, self.build = options.scratch, options.build
        self.preload = tuple(scenario.preload)
        self.findings = Findings(history)
        self.context = Context(self, history, random.Random("%s/%s" % (options.seed,
                                                                       scenario.name)))
        self.context.may_pass = scenario.faults_may_pass
        self.load = self.observer = self.poller = None
        self.pulse = Pulse(history)
        self.ended = set()          # processes whose end was looked at

    # ---- the cluster ----

    def make(self):
        settings = {section: dict(values) for section, values in SETTINGS.items()}
        for section, values in self.scenario.settings.items():
            settings.setdefault(section, {}).update(values)
        self.context.links = make_links(self.options.network)
        try:
            security = cluster.Security(self.scratch)
            self.context.sites = sites = sites_of.Sites(
                cluster.Programs(self.build), security, schema.compile_project(),
                os.path.join(self.scratch, "sites"), TOPOLOGIES[self.options.topology], settings,
                environment=self.environment, network=self.context.links.network)
        except BaseException:
            self.context.links.network.close()
            raise
        if "power" in self.preload:
            # What a plain kill left behind is on the disk before the next start.
            sites.before_spawn = Power(self.build).forget
        self.scenario.prepare(self.context)
        sites.make(accounts=False).settle()
        for member in sites.members:
            self.history.event("start", nodes=[member.node_id], site=member.site)
        if self.scenario.policy:
            self.found_policy(sites)

    def found_policy(self, sites):
        """The scenario's policy, before anything is attacked. It commits under SYNC only, which a
        starved machine may leave in the very moment."""
        deadline = self.pulse.deadline(SYNC_SECONDS)
        while True:
            sites.wait_sync()
            status, output = sites.tool("durability", "policy", *self.scenario.policy, "--reason",
                                        "nemesis")
            if status == 0:
                return
            if deadline.over():
                raise LoopFailure("tally durability policy: exit %d\n%s" % (status, output))

    def environment(self, member):
        if not self.preload:
            return {}
        from nemesis.faults import preload
        return preload.environment(self.build, member, self.preload)

    # ---- while it runs ----

    def check(self):
        """Nobody ends by itself: neither nodes nor clients."""
        self.check_nodes()
        if self.load:
            try:
                self.load.check()
            except LoopFailure as failure:
                raise Found("liveness: %s: a request without a final outcome" % failure) from None

    def check_nodes(self):
        for member in list(self.context.sites.members):
            process = member.process
            if process is None or process.poll() is None or process in self.ended:
                continue
            self.ended.add(process)
            self.history.event("exit", nodes=[member.node_id], site=member.site,
                               text="exit %d" % process.returncode)
            tail, forgiven = member.log_tail(), self.context.may_exit(member)
            if member.node_id not in self.context.held and member.node_id not in self.context.down:
                self.context.start(member)      # as its supervisor would
            if not forgiven:
                raise Found("processes: node %d ended by itself with %d\n%s" % (
                    member.node_id, process.returncode, tail))

    def find(self, error):
        """A finding out of what was raised: "claim: text"; without a claim it is the timeline's."""
        claim, _, text = str(error).partition(": ")
        if claim in CLAIMS and text:
            self.findings.add(claim, text)
        else:
            self.findings.add("timeline", str(error))

    # ---- the run ----

    def go(self):
        try:
            self.begin()
            self.strike()
            self.finish()
        except (NetworkFailure, NamespacesMissing, subprocess.SubprocessError, OSError) as failure:
            raise RunFailure("%s: %s" % (type(failure).__name__, failure)) from failure
        finally:
            self.history.put_meta(end=now(), faults=self.context.counts,
                                  begun=self.context.begun, stalls=self.pulse.told(),
                                  bounds=self.pulse.widen(self.bounds(), LATE_MS),
                                  unwatched=sorted(self.context.pauses.unwatched()))
            self.close()

    def bounds(self):
        """What the checkers hold this run to: the scenario's own, and the windows of what it did."""
        windows = self.context.pauses.windows
        return dict(self.scenario.bounds, **({"pauses": windows} if windows else {}))

    def begin(self):
        try:
            self.make()
            self.history.put_meta(nodes=[{"node": m.node_id, "site": m.site, "kind": m.kind}
                                         for m in self.context.sites.members])
            self.poller = Poller(self.context)
            self.load = Load(self.context, self.options.seed, self.scenario.clients)
            if self.scenario.observe:
                self.observer = Observer(self.context)
                self.context.pauses.asked = {m.node_id for m in self.context.sites.data()}
                self.observer.wait_begin()
        except (cluster.Failure, LoopFailure) as failure:
            raise RunFailure("before the first fault: %s" % failure) from failure

    def strike(self):
        """The scenario's timeline; what it finds, or cannot do, is a finding."""
        try:
            self.context.wait_answers(WARM_UP_ANSWERS)
            self.history.event("note", text="clients write at both sites: the timeline begins")
            self.scenario.timeline(self.context)
            self.findings.look("timeline")
        except Found as found:
            self.find(found)
        except cluster.Failure as failure:
            self.findings.add("timeline", str(failure))

    def finish(self):
        """Everything is put right, comes to rest and is written down; what does not is a finding, and
        the next step is tried all the same: checkers see as much as there is."""
        self.history.event("note", text="the timeline has ended: everything is put right")
        for step in (self.context.mend, self.wait_service, self.settle_clients, self.wait_rest):
            self.attempt(step)
        self.poller.end()
        self.history.put_meta(nodes=[{"node": m.node_id, "site": m.site, "kind": m.kind}
                                     for m in self.context.sites.members])
        rest.write(self)
        rest.stop(self)
        self.history.put_meta(missed=self.context.missed)
        for claim, text in self.context.broken:
            self.findings.add("scenario", "%s: %s" % (claim, text))
        if not self.context.broken:
            self.findings.look("scenario")

    def attempt(self, step):
        try:
            step()
        except Found as found:
            self.find(found)
        except cluster.Failure as failure:
            diverged = sites_of.DIVERGED in str(failure)
            self.findings.add("journals" if diverged else "liveness", str(failure))

    def view(self):
        """The cluster without those that are meant to be gone."""
        view = copy.copy(self.context.sites)
        view.members = [m for m in view.members if m.node_id not in self.context.down]
        return view

    def wait_service(self):
        """Answers and mode come back within the bound."""
        seconds, began = self.scenario.rest_seconds, time.monotonic()
        self.context.wait_answers(AFTERWARDS_ANSWERS, seconds)
        self.history.event("note", text="service is back after %.2f s" % (
            time.monotonic() - began))
        self.wait_sync(min(seconds, SYNC_SECONDS))

    def settle_clients(self):
        """Every client's last request ends, and the observer's."""
        self.context.pauses.close()
        if self.observer:
            self.observer.stop()
        for text in self.load.settle(self.scenario.rest_seconds * self.pulse.stretch()):
            self.findings.add("liveness", text)
        if self.observer:
            status, output = self.observer.finish()
            nobody_to_ask = status == 5 and self.observer.unknown() <= self.context.pauses.unwatched()
            if status not in (0, 4) and not nobody_to_ask:
                self.findings.add("liveness", "tally observe: exit %s: %s" % (status, output[-400:]))

    def wait_rest(self):
        """All nodes stand at one index, with one digest and one chain head."""
        view = self.view()
        view.settle(self.scenario.rest_seconds * self.pulse.stretch())
        self.findings.look("liveness")
        self.findings.look("processes", len(view.members))
        self.scenario.verify(self.context)

    def wait_sync(self, seconds):
        """Under policy "auto" a cluster whose sites are both up returns to SYNC by itself."""
        deadline, asked = self.pulse.deadline(seconds), False
        while True:
            self.check()
            leader = self.view().leader_now()
            status = leader.brief() if leader else None
            policy = (status or {}).get("policy") or {}
            if status and (status.get("mode") in (None, "sync") or policy.get("decision") != "auto"
                           or self.context.down):
                return
            if (self.context.begun.get("degrade-by-hand") and not asked
                    and deadline.half()):
                # What a person gave up no policy takes back, and his own command may have failed.
                asked = True
                self.context.tally("durability", "return", "--reason", "the run ends")
            if deadline.over():
                raise Found("liveness: not back under SYNC %d s after the last fault\n%s" % (
                    seconds, self.context.sites.describe()))
            time.sleep(0.1)

    def settle(self, seconds=None):
        """In the middle of a timeline: all nodes are equal, under load as far as it goes."""
        deadline = self.pulse.deadline(seconds or self.scenario.rest_seconds)
        while True:
            self.check()
            late = [m.node_id for m in self.view().members
                    for status in [m.brief()] if status is None or not status["ready"]]
            if not late:
                return
            if deadline.over():
                raise Found("liveness: nodes %s are not ready again\n%s" % (
                    late, self.context.sites.describe()))
            time.sleep(0.05)

    # ---- the end ----

    def close(self):
        """Every process of this run is gone afterwards; then what faults left on the machine."""
        self.pulse.end()
        for part in (self.poller, self.load, self.observer):
            if part:
                (part.end if part is self.poller else part.close)()
        if self.context.sites:
            self.keep_logs()
            self.context.sites.close()
        for ending in reversed(self.context.endings):
            try:
                ending()
            except (OSError, subprocess.SubprocessError) as failure:
                self.history.event("note", text="cleaning up: %s" % failure)
        self.history.close()

    def keep_logs(self):
        for member in self.context.sites.members:
            if os.path.exists(member.log_path):
                shutil.copyfile(member.log_path, self.history.path("logs",
                                                                   "%d.log" % member.node_id))
