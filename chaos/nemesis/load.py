"""Clients at both sites, crowds of them, and the outside observer.

Each site's clients are one process of chaos/workload.py, whose nearest nodes are that site's. A storm
is the same with more clients and no pauses. Every client settles what it has begun before it ends.
"""
import json
import os
import signal
import subprocess
import threading
import time

from clients import LoopFailure, Process

# A client's longest wait for a final outcome: longer than any time without a majority in a plan, and than
# what a run waits for its clients at the end.
PATIENCE_SECONDS = 300
# Small, so that a slow and obviously right oracle can follow.
BATCH_SIZES = ((0.85, 1, 3), (0.99, 3, 20), (1, 20, 60))
STORM_PAUSE_SECONDS = 0.002
OBSERVE_EVERY_MS = 50
CANARY_SECONDS = 5          # of one of its requests; a node that is gone for good is waited for so long
START_SECONDS = 60          # of a process of clients
OBSERVER_SECONDS = 60       # to begin, and to end


class Storm:
    """Started in the background: a crowd comes while other things happen."""

    def __init__(self, load, number, seconds, clients):
        self.load, self.stop, self.failure = load, threading.Event(), None
        self.processes, self.seconds = [], seconds
        self.paths = [load.config("storm-%d-%s" % (number, site), site, clients // 2,
                                  pause=STORM_PAUSE_SECONDS) for site in ("A", "B")]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            for path in self.paths:
                self.processes.append(Process(path))
        except LoopFailure as failure:
            self.failure = str(failure)
        self.stop.wait(self.seconds)
        for process in self.processes:
            process.process.stdin.close()

    def end(self):
        self.stop.set()
        self.thread.join(START_SECONDS)


class Load:
    def __init__(self, context, seed, clients):
        self.context, self.seed, self.clients = context, seed, clients
        self.sites, self.by_site, self.storms = context.sites, {}, []
        self.news, self.newcomers = os.path.join(context.scratch, "joined.json"), []
        for site in ("A", "B"):
            path = self.config("site-" + site, site, clients, business=site == "A")
            self.by_site[site] = Process(path)

    def config(self, name, site, clients, business=False, pause=0.02):
        security = self.sites.security
        nodes = self.sites.data(site) + [m for m in self.sites.data() if m.site != site]
        value = {short: {"certificate": security.by_name[short].certificate,
                         "key": security.by_name[short].key} for short in ("business", "channel")}
        value.update(ports=[m.grpc_port() for m in nodes], hosts=[m.host for m in nodes],
                     nodes=[m.node_id for m in nodes], site=site, name=name,
                     ca=security.authority.certificate, seed="%s/%s" % (self.seed, name),
                     logs=self.context.history.path("clients"), suffix=".jsonl", clients=clients,
                     business_client=business, accounts=48, accounts_max=200,
                     batch_sizes=BATCH_SIZES, pause_s=pause, read_share=0.25, reads_all=True,
                     patience_s=PATIENCE_SECONDS, joined=self.news)
        path = os.path.join(self.context.scratch, "workload-%s.json" % name)
        with open(path, "w") as file:
            json.dump(value, file)
        return path

    def joined(self, member):
        """Clients are told of a node that came in the place of another; those who only knew nodes that are
        gone would ask for ever."""
        self.newcomers.append({"node": member.node_id, "host": member.host, "port": member.grpc_port()})
        with open(self.news + ".new", "w") as file:
            json.dump(self.newcomers, file)
        os.rename(self.news + ".new", self.news)

    def processes(self):
        return list(self.by_site.values()) + [p for storm in self.storms for p in storm.processes]

    def answers(self, site=None):
        """So far, the storms' not counted."""
        return sum(p.answers for name, p in self.by_site.items() if site in (None, name))

    def storm(self, seconds, clients):
        self.storms.append(Storm(self, len(self.storms) + 1, seconds, clients))
        self.context.note("a storm of %d further clients for %.0f s" % (clients, seconds))

    def check(self):
        for process in self.by_site.values():
            process.check()

    def settle(self, seconds):
        """Every outcome becomes final; [what did not, in words]."""
        wrong, end = [], time.monotonic() + seconds
        for storm in self.storms:
            storm.end()
            if storm.failure:
                wrong.append(storm.failure)
        for process in self.by_site.values():
            process.process.stdin.close()
        for process in self.processes():
            try:
                process.settle(max(1, end - time.monotonic()))
            except LoopFailure as failure:
                wrong.append(str(failure))
        return wrong

    def close(self):
        for storm in self.storms:
            storm.stop.set()
        for process in self.processes():
            process.close()


class Observer:
    """tally observe, from the begin to the end of a run."""

    def __init__(self, context, number=1):
        self.path = context.history.path("observe-%d.json" % number)
        sites, self.marks = context.sites, os.path.join(context.scratch, "marks")
        security, channel = sites.security, sites.security.by_name["channel"]
        profile = os.path.join(context.scratch, "business.profile")
        with open(profile, "w") as file:
            file.write("ca = %s\ncert = %s\nkey = %s\nserver = %s\n" % (
                security.authority.certificate, security.by_name["business"].certificate,
                security.by_name["business"].key,
                ",".join("%s:%d" % (m.host, m.grpc_port()) for m in sites.data())))
        command = [sites.programs.tally, "observe", "--quiet", "--ca",
                   security.authority.certificate, "--cert", channel.certificate, "--key",
                   channel.key, "--create-with", profile, "--json", self.path, "--html",
                   context.history.path("observe-%d.html" % number), "--marks", self.marks,
                   "--every-ms", str(OBSERVE_EVERY_MS), "--deadline", str(CANARY_SECONDS)]
        for site in ("A", "B"):
            command += ["--site", "%s=%s" % (site, ",".join(
                "%s:%d" % (m.host, m.grpc_port()) for m in sites.data(site)))]
        self.process, self.stopped = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT), False

    def wait_begin(self):
        end = time.monotonic() + OBSERVER_SECONDS
        while not os.path.exists(self.marks):
            if self.process.poll() is not None or time.monotonic() > end:
                raise LoopFailure("tally observe does not begin: %s" % self.finish()[1])
            time.sleep(0.02)

    def stop(self):
        """No further canaries; what is under way has its deadline to end. A second word would cut that."""
        if not self.stopped and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.stopped = True

    def finish(self):
        """(exit status, output)"""
        self.stop()
        try:
            output, _ = self.process.communicate(timeout=OBSERVER_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            return None, output.decode(errors="replace")
        return self.process.returncode, output.decode(errors="replace")

    def unknown(self):
        """Sites with canaries whose outcome stayed unknown, by the report."""
        with open(self.path) as file:
            return {site["name"] for site in json.load(file)["sites"]
                    if site["summary"]["outcomes"]["unknown"]}

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
