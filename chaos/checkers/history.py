"""A history directory, read: what everybody outside saw of a cluster that was attacked.

    meta.json           who and where the nodes are, both clocks at begin and end, bounds of the scenario
    clients/*.jsonl     what each client did and was told (docs/testing.md; *.log as well)
    events.jsonl        faults, kills, starts
    observations.jsonl  /status of each node, about five times a second
    observe-*.json      reports of `tally observe`
    exports/NODE.csv    the ledger of each data node at rest (chaos/export.py)
    heads.json          index, digest and chain head of each node at rest
    logs/NODE.log       what nodes logged

Everything may be missing except the clients' logs; a claim that lacks its evidence is "unchecked".
What is there and cannot be read ends the whole check: a verdict over half a history is none.
"""
import functools
import glob
import os
import re

from .canaries import Report
from .client_logs import BadInput, ClientLogs, document, objects
from .export import ACCOUNT_STAMP, STAMP, Export
from .replay import Replay

# What of /status the claims read; the rest of an observation is dropped as soon as it is parsed.
STATUS_FIELDS = ("phase", "kind", "site", "incarnation", "epoch", "term", "leads", "digest",
                 "digest_at", "index", "rule", "mode", "mode_committed", "durability_entry", "both",
                 "certificate")
EVER = 1 << 70          # later than every stamp
DAMAGING = re.compile("wipe|roll-?back|bit-?rot|misdirect|damage|replace")
LEADER_ELECTED = re.compile(r"event=leader_elected node=(\d+) .*\bnew_term=(\d+)")


def shows_rest(rows):
    """Whether all nodes stood at one index: "index" is what is committed, "head" is of what is synced, and
    "digest" of what is applied. A single node shows it only by saying these two as well."""
    if len(rows) == 1 and "synced" not in rows[0]:
        return False
    for row in rows:
        of_digest = row["index"] if row["digest"] is None else row.get("applied", row["index"])
        if not row.get("synced", row["index"]) == of_digest == row["index"]:
            return False
    return len({row["index"] for row in rows}) == 1


def event(line):
    """A line of events.jsonl, of which every one has its moment."""
    line["t"] + 0, [int(node) for node in line.get("nodes") or ()]
    return line


class Observation:
    """One look at one node."""
    __slots__ = ("t", "began_t", "node", "status", "head")

    def __init__(self, line):
        self.t, self.node, self.status, self.head = line["t"], int(line["node"]), None, None
        self.began_t = line.get("began")    # before it was asked; t is after the answer
        status = line.get("status")
        if line.get("reachable", True) and status:
            self.status = {key: status[key] for key in STATUS_FIELDS if key in status}
            self.head = (status.get("journal") or {}).get("head")

    def index(self, name):
        return (self.status.get("index") or {}).get(name, 0)


class History:
    def __init__(self):
        self.directory = None
        self.meta, self.events, self.reports = {}, [], []
        self.heads = None
        self.at_rest = True     # when heads and exports were written down; see shows_rest()
        self.logs = ClientLogs()
        self.export, self.exports = None, {}    # of the first node; node or number -> path
        self.observations = []                  # in order of time
        self.elections = []                     # (node, term), by their own logs
        self.foreign_accounts, self.foreign_ledgers = set(), set()

    @classmethod
    def read(cls, directory):
        history = cls()
        history.directory = directory
        if not os.path.isdir(directory):
            raise BadInput("%s: no such directory" % directory)
        try:
            history.read_parts()
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise BadInput("%s: %s: %s" % (directory, type(error).__name__, error)) from None
        return history

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def read_parts(self):
        if os.path.exists(self.path("meta.json")):
            self.meta = document(self.path("meta.json"), dict)
        late_ms = self.bound("late_ms")
        if late_ms is not None:
            self.logs.late_ms = late_ms
        if os.path.exists(self.path("events.jsonl")):
            self.events = objects(self.path("events.jsonl"), event)
        names = sorted(glob.glob(self.path("clients", "*.jsonl"))
                       + glob.glob(self.path("clients", "*.log")))
        if not names:
            raise BadInput("%s: no client log" % self.path("clients"))
        for name in names:
            self.logs.add(name, strict=False)
        for name in sorted(glob.glob(self.path("observe-*.json"))):
            self.add_report(name)
        self.logs.finish()
        if os.path.exists(self.path("heads.json")):
            self.add_heads(self.path("heads.json"), must=False)
        self.read_exports()
        if os.path.exists(self.path("observations.jsonl")):
            self.observations = objects(self.path("observations.jsonl"), Observation)
            self.observations.sort(key=lambda seen: seen.t)
        for name in sorted(glob.glob(self.path("logs", "*.log"))):
            self.add_node_log(name)

    # ---- parts ----

    def read_exports(self):
        """That of the node that is furthest comes first: where a node was left behind, its ledger is
        shorter and no less right."""
        reaches = {int(row["node"]): row["index"] for row in self.heads or ()}
        paths = []
        for path in sorted(glob.glob(self.path("exports", "*"))):
            number = re.match(r"\d*", os.path.basename(path)).group()
            node = int(number) if number else os.path.basename(path)
            paths.append((-reaches.get(node, 0), path, node))
        for _, path, node in sorted(paths, key=lambda row: row[:2]):
            self.add_export(path, node)

    def add_report(self, path):
        report = Report(path)
        self.reports.append(report)
        self.foreign_accounts.update(report.accounts)
        self.foreign_ledgers.add(report.ledger)
        report.add_to(self.logs, self.mono_of_wall)

    def canaries_at(self, sites):
        """Clients that the observer's canaries of these sites are."""
        return {report.client(site) for report in self.reports for site in sites}

    def add_export(self, path, node=None):
        """The first is read whole; the others are compared with it, byte by byte."""
        if self.export is None:
            self.export = Export(path)
        self.exports[path if node is None else node] = path

    def add_heads(self, path, must=True):
        """With `must` the nodes are known to be at rest; otherwise they may have been written down while
        one of them was still behind or the load went on, and the rows have to show what they were."""
        rows = document(path, list)
        if not rows and must:
            raise BadInput("%s: no node" % path)
        for row in rows:
            if not isinstance(row, dict) or {"node", "index", "digest", "head"} - set(row):
                raise BadInput("%s: a row without node, index, digest or head: %.80r" % (path, row))
        self.heads, self.at_rest = rows or None, must or shows_rest(rows)

    def add_node_log(self, path):
        with open(path, errors="replace") as file:
            for line in file:
                if "leader_elected" in line:
                    found = LEADER_ELECTED.search(line)
                    if found:
                        self.elections.append((int(found.group(1)), int(found.group(2))))

    # ---- questions ----

    @functools.cached_property
    def reach(self):
        """(stamp up to which the export has every transfer, stamp up to which it has every account).
        An export that was made under load has a beginning of the ledger, since records are only ever
        added: accounts first, then transfers, each as of its own moment."""
        if self.export is None:
            return -1, -1
        if self.at_rest:
            return EVER, EVER
        return (max((row[STAMP] for row in self.export.transfers), default=-1),
                max((row[ACCOUNT_STAMP] for row in self.export.accounts.values()), default=-1))

    @functools.cached_property
    def known_ledgers(self):
        """Ledgers of this history's clients. Of others (an observer whose report is missing) nothing can
        be said."""
        known = set(self.foreign_ledgers)
        for request in self.requests.values():
            place = {"CreateLedgers": 0, "CreateAccounts": 1, "CreateTransfers": 4}.get(request.method)
            if place is not None:
                known.update(event[place] for event in request.events)
        return known

    @property
    def requests(self):
        return self.logs.requests

    @functools.cached_property
    def executed(self):
        """Requests that took effect and whose answer can be read, in the order of their stamps."""
        return sorted((r for r in self.requests.values() if r.decoded),
                      key=lambda r: (r.decoded[2], r.decoded[1]))

    @functools.cached_property
    def sent(self):
        """id -> [(request, place)] over all transfers ever sent."""
        sent = {}
        for request in self.requests.values():
            if request.method == "CreateTransfers":
                for k, event in enumerate(request.events):
                    sent.setdefault(event[0], []).append((request, k))
        return sent

    @functools.cached_property
    def replay(self):
        """The whole history in commit order, once, against the oracle."""
        return Replay(self)

    def bound(self, name):
        return (self.meta.get("bounds") or {}).get(name)

    @property
    def clocks(self):
        """[(wall, monotonic)] read together at begin and end, where the history has them."""
        pairs = []
        for name in ("begin", "end"):
            moment = self.meta.get(name)
            if isinstance(moment, dict) and "wall_ns" in moment and "mono_ns" in moment:
                pairs.append((int(moment["wall_ns"]), int(moment["mono_ns"])))
        return pairs

    @property
    def mono_of_wall(self):
        """A function from wall to monotonic time, or None. Between two readings the wall clock may
        have been slewed: a straight line."""
        pairs = self.clocks
        if not pairs:
            return None
        (wall, mono), (last_wall, last_mono) = pairs[0], pairs[-1]
        rate = (last_mono - mono) / (last_wall - wall) if last_wall > wall else 1.0
        if not 0.999 < rate < 1.001:
            rate = 1.0          # the clock was set meanwhile: the first reading is as good as any
        return lambda at: mono + int((at - wall) * rate)

    @functools.cached_property
    def members(self):
        """node -> (site, kind), by meta.json, else by what the nodes said themselves."""
        members = {}
        for seen in self.observations:
            if seen.status and seen.status.get("kind") and seen.node not in members:
                members[seen.node] = (seen.status.get("site", ""), seen.status["kind"])
        for row in self.meta.get("nodes") or ():
            members[int(row["node"])] = (row["site"], row["kind"])
        return members

    @functools.cached_property
    def damaged(self):
        """[(t, nodes)] of faults that took something away that a disk had kept."""
        return [(event["t"], {int(node) for node in event.get("nodes") or ()})
                for event in self.events if DAMAGING.search(str(event.get("kind", "")))]
