"""Histories for tests of the report: made up, small, and as the contract has them.

`quiet()` is a run of ten seconds on 1+1+1: clients at both sites, a fault, a degraded stretch, one
request in doubt that is answered later. What a test is about it changes before `write()`.
"""
import json
import os

BEGIN = 5_000_000_000_000       # CLOCK_MONOTONIC of the begin, ns
WALL = 1_800_000_000_000_000_000
NODES = ((1, "A", "data"), (2, "B", "data"), (3, "C", "witness"))


def ns(seconds):
    return BEGIN + int(seconds * 1e9)


class Made:
    def __init__(self, seconds=10.0):
        self.meta = {"commit": "abc1234", "seed": 7, "topology": "1+1+1", "scenario": "made-up",
                     "story": "A story.", "machine": "a machine", "command": "tally-chaos run made-up",
                     "nodes": [{"node": n, "site": s, "kind": k} for n, s, k in NODES],
                     "begin": {"wall_ns": WALL, "mono_ns": BEGIN},
                     "end": {"wall_ns": WALL + int(seconds * 1e9), "mono_ns": ns(seconds)}}
        self.seconds, self.clients, self.events, self.polls, self.observed = seconds, {}, [], [], {}
        self.verdicts = {"claims": [
            {"name": "acknowledged", "verdict": "holds", "checked": 40, "text": "nothing is lost"},
            {"name": "money", "verdict": "holds", "checked": 9, "text": "sums are zero"}],
            "violations": []}

    # ---- parts ----

    def event(self, at, what, kind="", nodes=(), site=None, text=""):
        self.events.append({"t": ns(at), "what": what, "kind": kind, "nodes": list(nodes),
                            "site": site, "text": text})

    def fault(self, begin, end, kind, nodes=(), site=None, text=""):
        self.event(begin, "fault-begin", kind, nodes, site, text)
        if end is not None:
            self.event(end, "fault-end", kind, nodes, site, text)

    def poll(self, at, node, leads=False, term=1, mode="sync", number=1, rpo=0.0, ready=True):
        site, kind = next((s, k) for n, s, k in NODES if n == node)
        self.polls.append({"t": ns(at), "node": node, "reachable": True, "status": {
            "node": node, "site": site, "kind": kind, "leads": leads, "term": term, "ready": ready,
            "rule": "sites", "mode": mode, "number": number, "rpo": None if rpo == "unknown" else [
                {"site": "A", "entries": 0, "seconds": 0.0},
                {"site": "B", "entries": int(rpo * 100), "seconds": rpo}]}})

    def silent(self, at, node):
        self.polls.append({"t": ns(at), "node": node, "reachable": False})

    def line(self, client, at, event, **fields):
        rows = self.clients.setdefault(client, [
            {"t": ns(0), "event": "client", "principal": client,
             "site": client.split("-")[1] if client.startswith("site-") else "A"}])
        rows.append(dict(fields, t=ns(at), event=event))

    def request(self, client, nonce, sent, took, node=1):
        self.line(client, sent, "send", nonce=nonce, node=node, method="CreateTransfers",
                  events=[["00" * 16, "01", "02", 5, 1, 1, 0]])
        if took is not None:
            self.line(client, sent + took, "answer", nonce=nonce, node=node, body="0a0100")

    def observe(self, name, pauses, every=10):
        self.observed[name] = {
            "began_wall_ns": str(WALL), "ended_ms": self.seconds * 1e3, "every_ms": every, "sites": [
                {"name": site, "summary": {"pause": {"ms": max([p[1] - p[0] for p in found] or [3])}},
                 "pauses": [{"from_ms": a, "to_ms": b, "ms": b - a, "open": False}
                            for a, b in found]} for site, found in pauses.items()]}

    # ---- on the disk ----

    def lines(self, path, rows):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def write(self, directory):
        os.makedirs(directory, exist_ok=True)
        documents = {"meta.json": self.meta, "verdicts.json": self.verdicts}
        documents.update(("observe-%s.json" % name, told) for name, told in self.observed.items())
        for name, document in documents.items():
            if document is not None:
                with open(os.path.join(directory, name), "w") as file:
                    json.dump(document, file)
        self.lines(os.path.join(directory, "events.jsonl"), self.events)
        self.lines(os.path.join(directory, "observations.jsonl"), self.polls)
        for name, rows in self.clients.items():
            self.lines(os.path.join(directory, "clients", name + ".jsonl"), rows)
        return directory


def quiet(seconds=10.0):
    """Node 1 leads term 1 until it is killed at 4 s; node 2 leads term 2, degraded until 7 s."""
    made = Made(seconds)
    made.fault(4.0, 6.0, "kill", [1], "A", "kill -9")
    made.event(4.0, "kill", nodes=[1])
    made.event(6.0, "start", nodes=[1])
    made.event(6.4, "ready", nodes=[1])
    for step in range(int(seconds * 5)):
        at = step / 5
        if at < 4 or at >= 6.2:
            made.poll(at, 1, leads=at < 4, term=1 if at < 4 else 2)
        else:
            made.silent(at, 1)
        made.poll(at, 2, leads=at >= 4.4, term=1 if at < 4.4 else 2,
                  mode="degraded" if 4.4 <= at < 7 else "sync", number=2 if at >= 4.4 else 1,
                  rpo=at - 4.2 if 4.4 <= at < 7 else 0.0)
        made.poll(at, 3, term=1 if at < 4.4 else 2)
    for number in range(int(seconds * 10)):
        at = number / 10 + 0.01
        if not 4.0 <= at < 4.4:
            made.request("site-A-0", "a%d" % number, at, 0.004 + number % 7 / 1000)
            made.request("site-B-0", "b%d" % number, at + 0.005, 0.006, 2)
    made.request("site-A-1", "doubt", 3.99, None)
    made.line("site-A-1", 4.02, "unknown", nonce="doubt", node=1, why="UNAVAILABLE")
    made.line("site-A-1", 4.05, "again", nonce="doubt", node=2)
    made.line("site-A-1", 4.5, "answer", nonce="doubt", node=2, body="0a0100")
    made.observe("A", {"A": [(4000, 4420)], "B": [(4005, 4421)]})
    return made
