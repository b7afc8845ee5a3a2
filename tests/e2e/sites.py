"""Clusters under test: two sites and a witness as real processes, behind a network that can be cut.

    sites = Sites(programs, security, schema, directory, ONE_ONE_ONE).make()

Node ids are positions in the topology, from 1. Each node's address for its peers is a relay of its
own (network.py), so that every pair of nodes can be cut, each way by itself; clients reach the
nodes directly. Every wait is bounded, and a cluster that does not come to rest after its faults is
a failure: settle() waits until all nodes stand at the same index with the same digest.
"""
import json
import os
import signal
import subprocess
import threading
import time

import grpc

import cluster
from client import Api, account, ledger, new_id, transfer
from cluster import Failure, Node, free_port
from network import Network

ONE_ONE_ONE = (("A", "data"), ("B", "data"), ("C", "witness"))
TWO_TWO_ONE = (("A", "data"), ("B", "data"), ("C", "witness"), ("A", "data"), ("B", "data"))

ATTEMPTS = 5                # at what an election or a degrade of its own may come between
ELECTION_SECONDS = 60       # generous: machines under test are busy
SETTLE_SECONDS = 180        # catch-up included
TOOL_SECONDS = 120
COMMIT_SECONDS = 60         # bound on "goes on"; how fast it is has a program of its own
PATIENCE_SECONDS = 60       # of a client that only wants its answer
REPEAT_SECONDS = 1.5        # a client's wait for a connection before it goes on to the next node
DIVERGED = "two nodes at the same index DIFFER in digest or chain head"
DEBIT, CREDIT = (n.to_bytes(16, "big") for n in (1, 2))


class Member(Node):
    """A node of a cluster: site, kind, and its address for the others."""

    def __init__(self, sites, node_id, site, kind, directory=None, at=None):
        """`at`: another node whose address this one has, instead of one of its own."""
        self.sites, self.node_id, self.site, self.kind = sites, node_id, site, kind
        self.founder = node_id == 1
        self.cluster_id = None          # of the cluster to join
        certificate = sites.security.node(node_id)
        super().__init__(sites.programs, sites.security, sites.schema,
                         directory or os.path.join(sites.directory, "node-%d" % node_id))
        self.peer_port = at.peer_port if at else free_port()
        self.address = sites.network.add(node_id, self.config_path, self.peer_port)
        if at:
            self.address = at.address
        self.host, self.prefix = sites.network.host(node_id), sites.network.prefix(node_id)
        self.config["listen"] = {"grpc": "%s:%d" % (self.host, free_port()), "ops": self.host + ":0"}
        self.config["peer"] = {"listen": "%s:%d" % (self.host, self.peer_port)}
        self.config["tls"].update(certificate=certificate.certificate, key=certificate.key)
        for section, values in sites.settings.items():
            self.config.setdefault(section, {}).update(values)
        self.stopped = False            # by SIGSTOP
        self.environment.update(sites.environment_of(self))

    @property
    def is_data(self):
        return self.kind == "data"

    @property
    def member_file(self):
        return os.path.join(self.data, "member")

    def init_command(self):
        command = super().init_command() + ["--node-id", str(self.node_id), "--site", self.site,
                                            "--peer-address", self.address]
        if not self.founder:
            command += ["--join", "--cluster-id", self.cluster_id, "--kind", self.kind]
        return command

    def spawn(self):
        self.sites.before_spawn(self)
        return super().spawn()

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.stopped = False
        super().kill()

    def pause(self):
        """SIGSTOP; returns when the kernel has stopped it."""
        self.signal(signal.SIGSTOP)
        self.stopped = True
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with open("/proc/%d/stat" % self.process.pid) as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "T":
                    return
            time.sleep(0.001)
        raise Failure("node %d did not stop" % self.node_id)

    def resume(self):
        self.signal(signal.SIGCONT)
        self.stopped = False

    def brief(self, timeout=2):
        """/status, or None when there is no answer: stopped, starting, gone."""
        if not self.alive or self.stopped:
            return None
        self.ports = self.ports or self.read_ports()
        try:
            return json.loads(self.get("/status", timeout)[1]) if self.ports else None
        except (OSError, ValueError):
            return None

    def api(self, name="channel", **options):
        """Of a node of a cluster: ask() and write() have patience."""
        return super().api(name, **dict({"patience": PATIENCE_SECONDS}, **options))

    def grpc_port(self):
        return int(self.config["listen"]["grpc"].rsplit(":", 1)[1])


class Sites:
    def __init__(self, programs, security, schema, directory, topology=ONE_ONE_ONE, settings=None,
                 environment=None, network=None):
        self.programs, self.security, self.schema = programs, security, schema
        self.directory, self.topology = directory, topology
        self.settings = settings or {}
        self.environment_of = environment or (lambda member: {})    # member -> variables
        self.before_spawn = lambda member: None
        os.makedirs(directory, exist_ok=True)
        self.network = network or Network()
        self.members = [Member(self, number, site, kind)
                        for number, (site, kind) in enumerate(topology, 1)]
        self.last_id = len(topology)
        self.cluster_id = None

    # ---- making ----

    def make(self, accounts=True):
        """A founder that runs already stays as it is."""
        founder = self.members[0] if self.members[0].alive else self.members[0].init().start()
        self.cluster_id = founder.status()["cluster"]
        for member in self.members[1:]:
            self.join(member)
        if accounts:
            business = founder.api("business")
            results = (business.create_ledgers([ledger(1)]),
                       business.create_accounts([account(DEBIT), account(CREDIT)]))
            if results != ([0], [0, 0]):
                raise Failure("ledger and accounts: %r" % (results,))
        return self

    def prepare_joiner(self, member):
        member.cluster_id = self.cluster_id
        return member.init().spawn()

    def join(self, member):
        """A new node becomes a voter."""
        self.prepare_joiner(member)
        # On the way from three voters to five the loss of a site is survived by fewer: --force.
        self.tally("member", "add", "--member-file", member.member_file,
                   *(["--force"] if len(self.topology) > 3 else []))
        return member.wait_ready()

    def new_member(self, site, kind="data"):
        """One more node, with the next free id; neither initialised nor started."""
        self.last_id += 1
        member = Member(self, self.last_id, site, kind)
        self.members.append(member)
        return member

    def tool_start(self, *arguments, role="site", nodes=None):
        """Starts tally with a role's certificate, to be asked at these nodes (all that are up)."""
        nodes = nodes or [m for m in self.data() if m.alive and not m.stopped]
        certificate = self.security.by_name[role]
        return subprocess.Popen(
            [self.programs.tally, "--server",
             ",".join("%s:%d" % (m.host, m.grpc_port()) for m in nodes),
             "--ca", self.security.authority.certificate, "--cert", certificate.certificate,
             "--key", certificate.key] + [str(a) for a in arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def tool(self, *arguments, seconds=TOOL_SECONDS, **options):
        """(exit status, output) of tally."""
        with self.tool_start(*arguments, **options) as command:
            try:
                output, _ = command.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                command.kill()
                output, _ = command.communicate()
                raise Failure("tally %s: still running after %d s\n%s" % (
                    " ".join(map(str, arguments)), seconds,
                    output.decode(errors="replace"))) from None
        return command.returncode, output.decode(errors="replace")

    def tally(self, *arguments, **options):
        """tally, which has to succeed: its output."""
        status, output = self.tool(*arguments, **options)
        if status != 0:
            raise Failure("tally %s: exit %d\n%s" % (" ".join(map(str, arguments)), status, output))
        return output

    # ---- who is who ----

    def __getitem__(self, node_id):
        return next(m for m in self.members if m.node_id == node_id)

    def data(self, site=None):
        return [m for m in self.members if m.is_data and site in (None, m.site)]

    def site(self, name):
        return [m for m in self.members if m.site == name]

    @property
    def witness(self):
        return next(m for m in self.members if not m.is_data)

    def leader_now(self, among=None):
        """The node that leads in the newest term anybody knows, or None."""
        known = [(s["term"], m) for m in (among or self.members) for s in [m.brief()]
                 if s and s["role"] == "leader"]
        return max(known, key=lambda item: item[0])[1] if known else None

    def wait_leader(self, among=None, seconds=ELECTION_SECONDS):
        """A data node that leads and is ready for clients."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            leader = self.leader_now(among)
            try:
                if leader and leader.is_data and leader.get("/readyz", 2)[0] == 200:
                    return leader
            except OSError:
                pass                    # it stands still, or has ended since
            time.sleep(0.01)
        raise Failure("no leader after %d s\n%s" % (seconds, self.describe()))

    def followers(self):
        leader = self.wait_leader()
        return [m for m in self.data() if m is not leader]

    def lead_at(self, site):
        """Leadership moves to a data node of that site; returns it. A machine that stands still for a
        quarter of a second makes an election, whose winner is anybody: then it is moved once more."""
        status, output = 0, ""
        for _ in range(ATTEMPTS):
            leader = self.wait_leader()
            if leader.site == site:
                return leader
            status, output = self.tool("leader", "transfer", "--to", self.data(site)[0].node_id)
            leader = self.wait_leader()
            if status == 0 and leader.site == site:
                return leader
        raise Failure("leadership did not move to site %s: exit %d\n%s\n%s" % (
            site, status, output, self.describe()))

    # ---- coming to rest ----

    def mend(self):
        """Ends all faults: the network is whole, every node runs."""
        self.network.heal()
        for member in self.members:
            if member.stopped:
                member.resume()
            if not member.alive:
                member.process = None
                member.spawn()

    def rest(self):
        """What keeps the cluster from being at rest, in words; None when nothing does."""
        seen = {}
        for member in self.members:
            status = member.brief()
            if status is None:
                return "node %d does not answer" % member.node_id
            if not status["ready"]:
                return "node %d is not ready" % member.node_id
            seen[member] = status
        if len({s["index"]["commit"] for s in seen.values()}) != 1:
            return "commit indexes differ"
        data = [s for m, s in seen.items() if m.is_data]
        if any(s["index"]["applied"] != s["index"]["commit"] for s in data):
            return "not everything is applied"
        if len({s["digest"] for s in data}) != 1:
            return DIVERGED
        heads = {s["journal"]["head"] for s in seen.values()
                 if s["journal"]["last_index"] == s["index"]["commit"]}
        if len(heads) > 1:
            return DIVERGED
        if not heads:
            return "no journal ends at the commit index"
        return None

    def settle(self, seconds=SETTLE_SECONDS):
        """Waits until every node stands at the same index with the same state and chain."""
        end = time.monotonic() + seconds
        why = ""
        while time.monotonic() < end:
            for member in self.members:
                if member.process is not None and member.process.poll() is not None:
                    raise Failure("node %d ended by itself with %d\n%s" % (
                        member.node_id, member.process.returncode, member.log_tail()))
            why = self.rest()
            if why is None:
                return self
            if why == DIVERGED:
                break
            time.sleep(0.05)
        raise Failure("not at rest after %d s: %s\n%s" % (seconds, why, self.describe()))

    def wait_sync(self, seconds=SETTLE_SECONDS):
        """Waits until whoever leads says that both sites count."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            leader = self.leader_now()
            if leader and (leader.brief() or {}).get("mode") == "sync":
                return self
            time.sleep(0.02)
        raise Failure("not in SYNC after %d s\n%s" % (seconds, self.describe()))

    def describe(self):
        """One line per node, and the ends of the logs."""
        lines = []
        for member in self.members:
            status = member.brief()
            lines.append("node %d %s %s: %s" % (
                member.node_id, member.site, member.kind,
                "stopped" if member.stopped else "not running" if not member.alive else
                "no answer" if status is None else
                "%s term %s leader %s ready %s %s digest %s" % tuple(
                    status.get(key) for key in ("role", "term", "leader", "ready", "index",
                                                "digest"))))
        return "\n".join(lines + [m.log_tail(12) for m in self.members])

    def close(self):
        for member in self.members:
            member.close()
        self.network.close()


class Load:
    """Clients that post transfers until told to stop; each sequential, at one node at a time.

    A request is repeated under its identity until its outcome is final, at the next node of the
    list after each failure; so what is acknowledged at the end is exactly what must be there.
    """

    def __init__(self, sites, nodes=None, threads=2, size=5, patience=60, call_seconds=10):
        self.sites, self.size = sites, size
        self.patience, self.call_seconds = patience, call_seconds
        self.acknowledged, self.moments, self.odd, self.repeats = [], [], [], 0
        self.sent_last = 0.0            # of what was acknowledged: when the newest was sent first
        self.stop, self.lock = threading.Event(), threading.Lock()
        nodes = nodes or sites.data()
        self.apis = [[Api(m.grpc_port(), sites.schema, sites.security.authority,
                          sites.security.by_name["channel"], host=m.host)
                      for m in nodes[k % len(nodes):] + nodes[:k % len(nodes)]]
                     for k in range(threads)]
        self.threads = [threading.Thread(target=self.work, args=(apis,), daemon=True)
                        for apis in self.apis]
        for thread in self.threads:
            thread.start()

    def work(self, apis):
        at = 0
        while not self.stop.is_set():
            batch = [transfer(DEBIT, CREDIT, 1) for _ in range(self.size)]
            body = apis[0].write_body("CreateTransfers", "transfers", batch)
            sent = time.monotonic()
            end = sent + self.patience
            seconds = self.call_seconds
            while True:
                # The library attends to a connection that is being made only while a call waits for
                # it (client.py): at first no call waits, so that a node that is gone is passed by
                # at once; a repeat waits, briefly.
                answer = apis[at].raw("CreateTransfers", body, seconds,
                                      wait=seconds == REPEAT_SECONDS)
                seconds = REPEAT_SECONDS
                if answer.code == grpc.StatusCode.OK:
                    break
                with self.lock:
                    self.repeats += 1
                    if answer.code.name not in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED",
                                                "RESOURCE_EXHAUSTED", "UNKNOWN"):
                        self.odd.append(repr(answer))
                        return
                    if time.monotonic() > end:
                        self.odd.append("no outcome in %d s, last: %r" % (self.patience, answer))
                        return
                at = (at + 1) % len(apis)
                time.sleep(0.02)
            results = apis[at].methods["CreateTransfers"][2].FromString(answer.body).results
            with self.lock:
                if set(results) != {0}:
                    self.odd.append("results %s" % list(results))
                self.moments.append(time.monotonic())
                self.sent_last = max(self.sent_last, sent)
                self.acknowledged += [event["id"] for event in batch]

    def count(self):
        with self.lock:
            return len(self.acknowledged)

    def wait_more(self, count=50, seconds=60):
        """Until so many further transfers are acknowledged."""
        goal, end = self.count() + count, time.monotonic() + seconds
        while self.count() < goal:
            if self.odd:
                raise Failure("a client: %s" % self.odd[0])
            if time.monotonic() > end:
                raise Failure("%d of %d further transfers in %d s\n%s" % (
                    count - goal + self.count(), count, seconds, self.sites.describe()))
            time.sleep(0.01)
        return self

    def stands_still(self, since, seconds):
        """Whether nothing that was sent after that moment is acknowledged, looked at for so long. What
        was sent before may be answered as late as the machine likes."""
        time.sleep(seconds)
        with self.lock:
            return self.sent_last <= since

    def longest_gap(self, since=0.0):
        """Longest time between two neighbouring acknowledgements after a moment."""
        moments = sorted(m for m in self.moments if m >= since)
        return max((b - a for a, b in zip(moments, moments[1:])), default=float("inf"))

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(self.patience + self.call_seconds + 10)
            if thread.is_alive():
                raise Failure("a client hangs")
        for apis in self.apis:
            for api in apis:
                api.close()
        if self.odd:
            raise Failure("a client: %s" % self.odd[0])
        return self.acknowledged


def lookup(member, ids):
    """Which of these transfers a node holds as posted, in the order asked for."""
    api = member.api("auditor")
    found = []
    for first in range(0, len(ids), 8000):
        found += [t.id for t in api.transfers(*ids[first:first + 8000]) if not t.refused]
    return found


__all__ = ["Sites", "Member", "Load", "lookup", "COMMIT_SECONDS", "ATTEMPTS", "ONE_ONE_ONE", "TWO_TWO_ONE", "DEBIT", "CREDIT",
           "Failure", "new_id", "cluster"]
