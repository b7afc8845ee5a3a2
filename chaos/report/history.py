"""A history directory, read: what the nemesis wrote of one run (docs/nemesis.md has the contract).

What is not there is not made up. A file that is missing becomes a sentence in `missing`, which the
page shows under what was not checked; a file that is there and cannot be understood is an error
that names file and line. Only the last line of a file may be cut off: whoever wrote it was killed.

Times are seconds since the run's begin, from CLOCK_MONOTONIC; moments by the wall clock (those of
`tally observe`) are brought there by the pair of clocks in meta.json.
"""
import glob
import json
import os

from .outcomes import Clients


# What is kept of a node's /status.
TOLD = ("site", "kind", "leads", "term", "ready", "rule", "mode", "number")


class BadInput(Exception):
    """Something that is there and cannot be read: what, where."""


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise BadInput("%s: %s" % (path, error.strerror)) from None
    except ValueError as error:
        raise BadInput("%s: is not JSON: %s" % (path, error)) from None


def read_lines(path, cut):
    """The objects of a file of lines; `cut` is told the path when its last line is cut off."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("no object")
            except ValueError as error:
                if not line.endswith("\n"):
                    cut(path)
                    return
                raise BadInput("%s:%d: is not a JSON object: %s" % (path, number, error)) from None
            yield row


def brief(row):
    """What is drawn of an observation: of an hour's the whole would be gigabytes."""
    status = row.get("status")
    if status:
        kept = {key: status[key] for key in TOLD if key in status}
        kept["rpo"] = [{key: site.get(key) for key in ("site", "entries", "seconds")}
                       for site in status.get("rpo") or ()]
        status = kept
    return {"t": row.get("t"), "node": row["node"], "status": status,
            "reachable": row.get("reachable", status is not None)}


class History:
    def __init__(self, directory):
        if not os.path.isdir(directory):
            raise BadInput("%s: is no directory; a history is what tally-chaos run leaves behind"
                           % directory)
        self.directory, self.missing = directory, []
        self.meta = read_json(self.path("meta.json"))
        if not isinstance(self.meta, dict):
            raise BadInput("%s: is no object" % self.path("meta.json"))
        self.events = self.lines("events.jsonl", "when which fault struck is not known")
        self.polls = self.lines("observations.jsonl",
                                "who led, which rule was in force and what a site lacked is not known",
                                brief)
        self.begin_ns = self.begin()
        for row in self.events:
            row["at"] = self.at(row, "events.jsonl")
        self.events.sort(key=lambda row: row["at"])
        for row in self.polls:
            row["at"] = self.at(row, "observations.jsonl")
        self.clients = self.read_clients()
        self.observed = [self.observe(path) for path in sorted(
            glob.glob(self.path("observe-*.json")))]
        if not self.observed:
            self.missing.append("no report of tally observe: pauses are told by the clients' logs only")
        self.verdicts = self.read_verdicts()
        self.seconds = self.length()

    def path(self, name):
        return os.path.join(self.directory, name)

    def lines(self, name, without, of=lambda row: row):
        if not os.path.exists(self.path(name)):
            self.missing.append("%s is missing: %s" % (name, without))
            return []
        try:
            return [of(row) for row in read_lines(self.path(name), self.cut)]
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput("%s: a line is not as docs/nemesis.md has it: %r" % (self.path(name), error)
                           ) from None

    def cut(self, path):
        self.missing.append("%s: its last line is cut off: whoever wrote it was ended" %
                            os.path.relpath(path, self.directory))

    # ---- time ----

    def clock(self, moment, clock):
        """meta.json's time `moment` ("begin", "end") by `clock` ("wall", "mono"), or None."""
        inner = self.meta.get(moment)
        value = inner.get(clock + "_ns") if isinstance(inner, dict) else None
        return value if isinstance(value, int) else None

    def begin(self):
        begin = self.clock("begin", "mono")
        if begin is None:
            begin = min((row["t"] for row in self.events + self.polls
                         if isinstance(row.get("t"), int)), default=0)
        return begin

    def at(self, row, name):
        if not isinstance(row.get("t"), int):
            raise BadInput("%s: a line without \"t\" (CLOCK_MONOTONIC, ns): %.120s" % (
                self.path(name), json.dumps(row)))
        return (row["t"] - self.begin_ns) / 1e9

    def length(self):
        end = self.clock("end", "mono")
        if end is None:
            self.missing.append("meta.json tells no end: the run was interrupted, or is under way")
        times = [row["at"] for row in self.events] + [row["at"] for row in self.polls]
        times += [self.clients.last, 1.0] + ([] if end is None else [(end - self.begin_ns) / 1e9])
        return max(times)

    # ---- parts ----

    def read_clients(self):
        paths = sorted(glob.glob(self.path("clients/*.jsonl")))
        clients = Clients(self.begin_ns)
        for path in paths:
            try:
                clients.read(os.path.basename(path)[:-len(".jsonl")], read_lines(path, self.cut),
                             self.site_of())
            except (KeyError, TypeError) as error:
                raise BadInput("%s: a line is not as docs/testing.md has it: %r" % (path, error)
                               ) from None
        if not paths:
            self.missing.append("clients/ has no logs: what clients saw is not known")
        return clients

    def site_of(self):
        """Node to site, by what the nodes said of themselves."""
        return {number: node["site"] for number, node in self.nodes().items()}

    def nodes(self):
        """{node id: {"site", "kind"}} of all that were founded, seen or struck."""
        found = {node["node"]: {"site": node.get("site", ""), "kind": node.get("kind", "")}
                 for node in self.meta.get("nodes") or ()}
        for row in self.polls:
            status = row.get("status") or {}
            if row["node"] not in found or status.get("site") and not found[row["node"]]["site"]:
                found[row["node"]] = {"site": status.get("site", ""), "kind": status.get("kind", "")}
        for row in self.events:
            for node in row.get("nodes") or ():
                found.setdefault(node, {"site": "", "kind": ""})
        return dict(sorted(found.items(), key=lambda pair: str(pair[0]).zfill(9)))

    def observe(self, path):
        """{"sites": [{"name", "pauses": [(from, to, ms, open)], "summary"}]} in seconds of the run."""
        document = read_json(path)
        wall = self.clock("begin", "wall")
        try:
            shift = (int(document["began_wall_ns"]) - wall) / 1e9 if wall is not None else 0.0
            sites = [{"name": site["name"], "summary": site["summary"],
                      "pauses": [(shift + p["from_ms"] / 1e3, shift + p["to_ms"] / 1e3, p["ms"],
                                  bool(p.get("open"))) for p in site["pauses"]]}
                     for site in document["sites"]]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("%s: is no report of tally observe: %r" % (path, error)) from None
        return {"file": os.path.basename(path), "sites": sites}

    def read_verdicts(self):
        path = self.path("verdicts.json")
        if not os.path.exists(path):
            return None
        verdicts = read_json(path)
        try:
            for claim in verdicts["claims"]:
                if claim["verdict"] not in ("holds", "broken", "unchecked"):
                    raise ValueError("verdict %r" % claim["verdict"])
                str(claim["name"]), claim.get("checked"), claim.get("text")
            for violation in verdicts["violations"]:
                str(violation["claim"]), str(violation["text"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("%s: is not what the checkers write: %r" % (path, error)) from None
        return verdicts
