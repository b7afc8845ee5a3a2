"""What clients saw: their logs (docs/testing.md), one pass, memory bounded by what is shown.

Of a request counts the time from its first sending to its final outcome, repeats included: that is
how long whoever asked had to wait. A request is *in doubt* from the first call that ended without
an answer until its outcome is known, by an answer to a repeat or by asking (GetRequest,
FenceRequest). What happens to a request that already has its outcome (repeats on purpose) counts as
a repeat and changes nothing.
"""
import array
import collections
import re

KEPT = 2000                 # requests in doubt that are told one by one
FINAL = ("EXECUTED", "REQUEST_FENCED", "NONCE_REUSED", "BEYOND_WINDOW", "NOT_PERMITTED")
RESOLVED = {"answer": "a repeat was answered", "EXECUTED": "asked: it was executed",
            "REQUEST_FENCED": "fenced: it never was and never will be", "refused": "refused for good",
            "BEYOND_WINDOW": "asked: too old to be known", "open": "open at the end"}


class Series:
    """Final outcomes at a site: moments, and how long each took; seconds."""

    def __init__(self):
        self.done, self.took = array.array("d"), array.array("d")


class Clients:
    def __init__(self, begin_ns):
        self.begin_ns, self.last, self.timed = begin_ns, 0.0, True
        self.first = float("inf")
        self.counts = collections.Counter()
        self.by_site = collections.defaultdict(Series)  # acknowledged
        self.refused = collections.defaultdict(Series)
        self.doubts, self.resolutions = [], collections.Counter()
        self.doubt_spans = array.array("d")             # begin, end, begin, end, ...
        self.names = []

    def read(self, name, rows, site_of):
        opened, site = {}, None
        named = re.search(r"site-([A-Za-z0-9]+)", name)
        self.names.append(name)
        for row in rows:
            event = row["event"]
            now = self.moment(row)
            self.first, self.last = min(self.first, now), max(self.last, now)
            if event == "client":
                site = row.get("site")
                continue
            if site is None:
                site = named.group(1) if named else site_of.get(row.get("node")) or "?"
            self.take(row, event, now, opened, name, site)
        for nonce, request in opened.items():
            self.counts["open"] += 1
            if request["doubt"] is None:
                request["doubt"] = request["sent"]
            self.settle(nonce, request, self.last, "open")

    def moment(self, row):
        if "t" not in row:
            self.timed = False
            return 0.0
        return (row["t"] - self.begin_ns) / 1e9

    def take(self, row, event, now, opened, name, site):
        nonce = row.get("nonce")
        request = opened.get(nonce)
        if event == "send":
            self.counts["requests"] += 1
            self.counts["events"] += len(row.get("events") or ())
            opened[nonce] = {"sent": now, "doubt": None, "why": "", "calls": 1, "site": site,
                             "client": name, "method": row.get("method", ""), "node": row.get("node")}
            return
        if event in ("again", "fence"):
            self.counts["repeats" if event == "again" else "fences"] += 1
            if request:
                request["calls"] += 1
            return
        if event in ("read", "balances", "totals"):
            self.counts["reads"] += 1
            return
        if event in ("unread", "untold"):
            self.counts["questions without an answer"] += 1
            return
        if event in ("unknown", "not_accepted"):
            self.counts[event] += 1
            if event == "unknown" and request and request["doubt"] is None:
                request["doubt"], request["why"] = now, row.get("why", "")
            return
        if event == "answer":
            self.counts["answers"] += 1
        if request is None:     # its outcome was known before
            return
        if event == "answer":
            self.finish(opened, nonce, now, "answer", self.by_site[site], "acknowledged")
        elif event == "refused":
            self.finish(opened, nonce, now, "refused", self.refused[site], "refused")
        elif event == "told" and row["outcome"] in FINAL:
            executed = row["outcome"] == "EXECUTED"
            self.finish(opened, nonce, now, row["outcome"],
                        self.by_site[site] if executed else self.refused[site],
                        "acknowledged" if executed else "refused")

    def finish(self, opened, nonce, now, how, series, counted):
        request = opened.pop(nonce)
        self.counts[counted] += 1
        series.done.append(now)
        series.took.append(now - request["sent"])
        if request["doubt"] is not None:
            self.settle(nonce, request, now, how)

    def settle(self, nonce, request, now, how):
        words = RESOLVED.get(how, "asked: %s" % how)
        self.counts["in doubt"] += 1
        self.resolutions[words] += 1
        self.doubt_spans.extend((request["doubt"], now))
        self.doubts.append({
            "nonce": nonce, "client": request["client"], "site": request["site"],
            "node": request["node"], "method": request["method"], "calls": request["calls"],
            "why": request["why"], "sent_s": round(request["sent"], 3),
            "doubt_s": round(request["doubt"], 3),
            "until_s": None if how == "open" else round(now, 3), "resolved": words})
        if len(self.doubts) > 2 * KEPT:
            self.keep_longest()

    def keep_longest(self):
        """Open ones first, then those that were in doubt for longest."""
        self.doubts.sort(key=lambda d: (d["until_s"] is not None,
                                        d["doubt_s"] - (d["until_s"] or 0)))
        del self.doubts[KEPT:]
