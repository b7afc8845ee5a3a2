"""From what a history holds to what is drawn: spans, series, counts. Plain data in seconds of the run.

An observation counts until the next one of its node, at most for HOLD seconds: behind that nobody
looked, and nothing is claimed.
"""
import collections
import math

HOLD = 1.5                  # seconds an observation counts for
PAUSE_MS = 100              # as tally observe names them
STALL_SECONDS = 1.0         # without a look at any node

# Faults by what they strike; the first family with a word of the kind's name counts.
FAMILIES = (
    ("network", "blue", ("cut", "hole", "drop", "link", "lossy", "packet", "latency", "delay", "reset",
                         "partition", "network", "flap", "one_way", "isolate", "narrow", "unseen")),
    ("disk", "warn", ("disk", "full", "sync", "stuck", "io", "write", "writes", "reads", "torn",
                      "rot", "rolled", "rollback", "roll_back", "no_space", "fiu", "quarantine")),
    ("power", "violet", ("power",)),
    ("clock", "teal", ("clock",)),
    ("operators", "good", ("switchover", "hand_over", "member", "drain", "resume", "policy", "certificate",
                           "revo", "transfer", "degrade", "return", "replace")),
    ("load and memory", "grey", ("storm", "memory", "reader", "pin", "load", "clients", "strangers")),
)
OTHER_FAMILY = ("processes and sites", "bad")


def family(kind):
    words = str(kind).lower().replace("-", "_").replace(" ", "_")
    for name, colour, parts in FAMILIES:
        if any(part in words.split("_") or len(part) > 3 and part in words for part in parts):
            return name, colour
    return OTHER_FAMILY


# ---- faults ----

def faults(history):
    """[{"kind","text","nodes","site","from","to"(None: it never ended)}], by begin."""
    found, opened = [], collections.defaultdict(list)
    for row in history.events:
        if row.get("what") not in ("fault-begin", "fault-end"):
            continue
        key = row.get("id", (row.get("kind"), tuple(row.get("nodes") or ()), row.get("site")))
        if row["what"] == "fault-begin":
            fault = {"kind": row.get("kind", "?"), "text": row.get("text", ""),
                     "nodes": row.get("nodes") or [], "site": row.get("site") or "",
                     "from": row["at"], "to": None}
            found.append(fault)
            opened[key].append(fault)
        elif opened[key]:
            opened[key].pop(0)["to"] = row["at"]
        else:
            # Not paired by its key: the newest of that kind that is still open.
            for fault in reversed(found):
                if fault["kind"] == row.get("kind") and fault["to"] is None:
                    fault["to"] = row["at"]
                    break
    return found


def place(fault):
    """Where a fault struck, in words."""
    words = []
    if fault["site"]:
        words.append("site %s" % fault["site"])
    if fault["nodes"]:
        words.append(("node " if len(fault["nodes"]) == 1 else "nodes ") +
                     ", ".join(str(node) for node in fault["nodes"]))
    return ", ".join(words)


# ---- spans of what nodes tell ----

def spans(samples, end, hold=HOLD):
    """[(from, to, value)] of [(at, value)] in order; equal neighbours are one span."""
    out = []
    for place_of, (at, value) in enumerate(samples):
        until = samples[place_of + 1][0] if place_of + 1 < len(samples) else end
        until = min(until, at + hold)
        if out and out[-1][2] == value and at - out[-1][1] < 1e-9:
            out[-1] = (out[-1][0], until, value)
        else:
            out.append((at, until, value))
    return out


def polls_of(history):
    found = collections.defaultdict(list)
    for row in history.polls:
        found[row["node"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row["at"])
    return found


def node_spans(history):
    """{node: [(from, to, (state, term))]}; state: leads, serves, starts, silent."""
    def state(row):
        status = row.get("status")
        if not row.get("reachable", status is not None) or not status:
            return "silent", 0
        if status.get("leads"):
            return "leads", status.get("term", 0)
        return ("serves" if status.get("ready") else "starts"), 0
    return {node: spans([(row["at"], state(row)) for row in rows], history.seconds)
            for node, rows in polls_of(history).items()}


def process_spans(history):
    """{node: [(from, to, "down" | "starts")]}, from the events of the engine."""
    out, since = collections.defaultdict(list), {}
    for row in history.events:
        what = row.get("what")
        after = {"kill": "down", "stop": "down", "exit": "down", "start": "starts", "ready": None}
        if what not in after:
            continue
        for node in row.get("nodes") or ():
            began, was = since.get(node, (row["at"], None))
            if was == after[what]:
                continue
            if was:
                out[node].append((began, row["at"], was))
            since[node] = (row["at"], after[what])
    for node, (began, was) in since.items():
        if was:
            out[node].append((began, history.seconds, was))
    return out


def leaders(nodes):
    """[{"term", "node", "from", "to"}] by begin: what nodes said of themselves."""
    out = []
    for node, found in nodes.items():
        for begin, end, (state, term) in found:
            if state == "leads":
                if out and (out[-1]["node"], out[-1]["term"]) == (node, term):
                    out[-1]["to"] = end
                else:
                    out.append({"term": term, "node": node, "from": begin, "to": end})
    return sorted(out, key=lambda row: row["from"])


def told_by_leader(history):
    """[(at, status)] of the node that led, the newest term where two say so."""
    out, term = [], 0
    for row in sorted(history.polls, key=lambda row: row["at"]):
        status = row.get("status") or {}
        if row.get("reachable", True) and status.get("leads") and status.get("term", 0) >= term:
            term = status.get("term", 0)
            out.append((row["at"], status))
    return out


def rule_spans(told, end):
    """[(from, to, (mode, policy's number))] as the leader told it; gaps: nobody led, or was asked."""
    return spans([(at, (status.get("mode") if status.get("rule", "sites") != "majority" else
                        "majority", status.get("number"))) for at, status in told], end)


def lacking(told):
    """{site: [(at, entries or None, seconds or None)]}: what a site lacks, None: not known."""
    out = collections.defaultdict(list)
    for at, status in told:
        for site in status.get("rpo") or ():
            out[site["site"]].append((at, site.get("entries"), site.get("seconds")))
    return dict(sorted(out.items()))


# ---- what clients saw ----

def percentile(values, part):
    """By nearest rank, of sorted values; None without any."""
    if not values:
        return None
    return values[max(0, math.ceil(part / 100 * len(values)) - 1)]


def buckets(series, begin, end, count):
    """[(rate per s, p50, p99, max)] of `count` equal parts of [begin, end); seconds, or None."""
    width = (end - begin) / count
    parts = [[] for _ in range(count)]
    for at, took in zip(series.done, series.took):
        if begin <= at < end:
            parts[min(count - 1, int((at - begin) / width))].append(took)
    out = []
    for part in parts:
        part.sort()
        out.append((len(part) / width, percentile(part, 50), percentile(part, 99),
                    part[-1] if part else None))
    return out


def gaps(series, begin, end):
    """[(from, to)] of PAUSE_MS and more in which no request of a site was acknowledged."""
    last, out = begin, []
    for at in sorted(series.done) + [end]:
        if at - last >= PAUSE_MS / 1e3:
            out.append((last, at))
        last = max(last, at)
    return out


def doubt_series(clients, begin, end, count):
    """The most requests that were in doubt at once, for `count` equal parts."""
    width = (end - begin) / count
    steps = []
    for place_of in range(0, len(clients.doubt_spans), 2):
        steps.append((clients.doubt_spans[place_of], 1))
        steps.append((clients.doubt_spans[place_of + 1], -1))
    steps.sort()
    out, now, at = [], 0, 0
    while at < len(steps) and steps[at][0] <= begin:
        now, at = now + steps[at][1], at + 1
    for part in range(count):
        most = now
        while at < len(steps) and steps[at][0] < begin + (part + 1) * width:
            now, at = now + steps[at][1], at + 1
            most = max(most, now)
        out.append(most)
    return out


def latencies(series):
    """{"count","p50_ms","p99_ms","max_ms"} of one site's acknowledged requests."""
    took = sorted(series.took)
    told = {"count": len(took)}
    for name, part in (("p50_ms", 50), ("p90_ms", 90), ("p99_ms", 99), ("max_ms", 100)):
        value = percentile(took, part)
        told[name] = None if value is None else round(value * 1e3, 2)
    return told


# ---- all of a run, for the JSON and the words ----

class Figures:
    def __init__(self, history):
        self.history = history
        self.faults = faults(history)
        self.nodes = node_spans(history)
        self.processes = process_spans(history)
        self.leaders = leaders(self.nodes)
        self.told = told_by_leader(history)
        self.rule = rule_spans(self.told, history.seconds)
        self.lacking = lacking(self.told)
        self.kinds = collections.Counter(fault["kind"] for fault in self.faults)

    def window(self):
        """(from, to) of the timeline: from the first thing that was seen to the last, without the
        making of the cluster before and the judging behind."""
        history = self.history
        times = [row["at"] for row in history.polls] + [f["from"] for f in self.faults]
        times += [history.seconds if f["to"] is None else f["to"] for f in self.faults]
        if history.clients.names and history.clients.timed:
            times += [history.clients.first, history.clients.last]
        if not times:
            return 0.0, history.seconds
        return max(0.0, min(times) - 0.5), max(max(times) + 0.5, 1.0)

    def longest_pauses(self):
        """{site: (ms, from, open)}, as tally observe measured it from outside."""
        longest = {}
        for document in self.history.observed:
            for site in document["sites"]:
                for begin, _, ms, is_open in site["pauses"]:
                    if ms > longest.get(site["name"], (0,))[0]:
                        longest[site["name"]] = (ms, begin, is_open)
                longest.setdefault(site["name"], (site["summary"]["pause"]["ms"], None, False))
        return dict(sorted(longest.items()))

    def stalls(self):
        """Seconds of each time in which nobody looked at any node though somebody looks five times a
        second: then the machine stood still, or was busy with something else."""
        times = sorted(row["at"] for row in self.history.polls)
        return [b - a for a, b in zip(times, times[1:]) if b - a > STALL_SECONDS]

    def modes(self):
        """Seconds seen in each mode."""
        seconds = collections.Counter()
        for begin, end, (mode, _) in self.rule:
            seconds[mode] += end - begin
        return seconds

    def document(self):
        history, clients = self.history, self.history.clients
        return {
            "seconds": round(history.seconds, 3),
            "faults_by_kind": dict(self.kinds),
            "faults": [dict(fault, **{"from": round(fault["from"], 3), "to": None if fault["to"]
                                      is None else round(fault["to"], 3)})
                       for fault in self.faults],
            "leaders": [dict(row, **{"from": round(row["from"], 3), "to": round(row["to"], 3)})
                        for row in self.leaders],
            "rule": [{"from": round(a, 3), "to": round(b, 3), "mode": mode, "number": number}
                     for a, b, (mode, number) in self.rule],
            "requests": dict(clients.counts),
            "latency_by_site": {site: latencies(series)
                                for site, series in sorted(clients.by_site.items())},
            "pauses_from_outside": [
                {"site": site["name"], "from": round(a, 3), "to": round(b, 3), "ms": ms,
                 "open": is_open} for document in history.observed for site in document["sites"]
                for a, b, ms, is_open in site["pauses"]],
            "in_doubt": {"resolved": dict(clients.resolutions), "requests": clients.doubts},
            "observations": len(history.polls)}
