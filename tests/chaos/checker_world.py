"""A history that is consistent, small enough to be read, and has something for every claim to look at.

Two data nodes and a witness, two sites. Log: 1 a ledger, 2 four accounts (c may not have more debits
than credits, d the reverse), 3 and 5 transfers of client `one`, 4 of client `two`, 6 a fence, 7 and 8
canaries of the observer, 9 the end. Stamps are ten times the index, and one more for each event.
Times are ms after the begin. Tests change one fact of it and see who notices.
"""
import json
import os

BASE, WALL = 5_000_000_000_000, 1_800_000_000_000_000_000
END_MS = 6000
CANARY_LEDGER = 9


def t(ms):
    return BASE + int(ms * 1e6)


def wall(ms):
    return WALL + int(ms * 1e6)


def answer(results, index, stamp):
    """The body of a Create...Response, in hexadecimal."""
    body = b"\x0a" + bytes([len(results)]) + bytes(results) + b"\x11" + index.to_bytes(8, "little")
    return (body + b"\x19" + stamp.to_bytes(8, "little")).hex()


def line(at, event, node=1, **fields):
    return dict(fields, t=t(at), event=event, node=node)


def begin(at, event, nonce, node=1, **fields):
    return line(at, event, node, nonce=nonce, limit_ms=1000, **fields)


def told(at, nonce, results, index, stamp, node=1, durability="both-sites"):
    return line(at, "answer", node, nonce=nonce, body=answer(results, index, stamp),
                durability=durability)


def read(kind, began, ended, index, node=1, **fields):
    return line(ended, kind, node, began=t(began), limit_ms=1000, index=index, **fields)


def digest(index):
    return "%032x" % (0xd0 + index)


def head(index):
    return "%064x" % (0xe0 + index)


def clients():
    return {
        "business": [
            line(0, "client", site="A"),
            begin(1, "send", "n0", method="CreateLedgers", events=[1]),
            told(10, "n0", [0], 1, 10),
            begin(20, "send", "n1", method="CreateAccounts", events=[
                ["a", 1, 10, 0], ["b", 1, 10, 0], ["c", 1, 20, 1], ["d", 1, 30, 2]]),
            told(30, "n1", [0, 0, 0, 0], 2, 20), line(900, "end")],
        "one": [
            line(0, "client", site="A"),
            begin(100, "send", "n2", method="CreateTransfers", events=[
                ["t1", "a", "c", 50, 1, 1, 0], ["t2", "c", "a", 51, 1, 1, 0],
                ["t3", "a", "b", 0, 1, 1, 0]]),
            line(200, "unknown", nonce="n2", why="UNAVAILABLE"),
            begin(210, "again", "n2", 2), told(220, "n2", [0, 67, 32], 3, 30, 2),
            begin(230, "again", "n2", 1), told(240, "n2", [0, 67, 32], 3, 30, 1),
            begin(500, "send", "n3", method="CreateTransfers", events=[
                ["t1", "a", "c", 50, 1, 1, 0], ["t1", "a", "c", 49, 1, 1, 0],
                ["t2", "a", "b", 1, 1, 1, 0], ["t4", "c", "b", 50, 1, 1, 7],
                ["t7", "b", "d", 1, 1, 1, 0], ["t8", "d", "b", 5, 1, 1, 0]]),
            told(520, "n3", [1, 7, 17, 0, 68, 0], 5, 50),
            read("read", 530, 540, 5, ids=["t1", "t4"], found=["t4", "t1"]),
            line(900, "end")],
        "two": [
            line(0, "client", site="B"),
            begin(300, "send", "n4", 2, method="CreateTransfers",
                  events=[["t5", "a", "x", 1, 1, 1, 0]]),
            line(305, "not_accepted", 2, nonce="n4", why="NOT_ACCEPTED"),
            begin(306, "ask", "n4", 2), line(310, "told", 2, nonce="n4", outcome="NOT_YET_SEEN"),
            begin(330, "again", "n4", 2), told(350, "n4", [62], 4, 40, 2),
            begin(360, "ask", "n4", 1),
            line(370, "told", 1, nonce="n4", outcome="EXECUTED", body=answer([62], 4, 40)),
            read("read", 400, 410, 3, 2, max_age_ms=500, ids=["t1", "t4"], found=["t1"]),
            begin(600, "send", "n5", 2, method="CreateTransfers",
                  events=[["t6", "a", "b", 9, 1, 1, 0]]),
            line(605, "unknown", 2, nonce="n5", why="DEADLINE_EXCEEDED"),
            begin(610, "fence", "n5", 2),
            line(620, "told", 2, nonce="n5", outcome="REQUEST_FENCED"),
            read("balances", 700, 710, 6, 2, ids=["a", "c", "z"],
                 rows=[["a", 50, 0, 1], ["c", 50, 50, 2]]),
            read("totals", 720, 730, 6, 1, ledger=1, debits=105, credits=105, balanced=True,
                 digest=digest(6)),
            read("read", 740, 750, 6, 2, min_index=5, ids=["t4"], found=["t4"]),
            line(900, "end")],
        # A client that does nothing but ask for the same again: its answers come every 10 ms.
        "steady": [line(0, "client", site="B")] + [
            made for at in range(380, 900, 10)
            for made in (begin(at, "again", "n4", 2), told(at + 5, "n4", [62], 4, 40, 2))] + [
                line(900, "end")]}


def export():
    return [
        ["ledger", 1, "EUR", 2], ["ledger", CANARY_LEDGER, "XTS", 2],
        ["account", "e", CANARY_LEDGER, 1, 0, 1, 1, 0, 0, 2, 5],
        ["account", "f", CANARY_LEDGER, 1, 0, 1, 1, 0, 0, 2, 6],
        ["account", "a", 1, 10, 0, 50, 0, 0, 0, 1, 20],
        ["account", "b", 1, 10, 0, 0, 55, 0, 0, 2, 21],
        ["account", "c", 1, 20, 1, 50, 50, 0, 0, 2, 22],
        ["account", "d", 1, 30, 2, 5, 0, 0, 0, 1, 23],
        ["transfer", 0, "t1", "a", "c", 50, 1, 1, 0, 30, 0],
        ["transfer", 1, "t2", "c", "a", 51, 1, 1, 0, 31, 67],
        ["transfer", 2, "t5", "a", "", 1, 1, 1, 0, 40, 62],
        ["transfer", 3, "t4", "c", "b", 50, 1, 1, 7, 53, 0],
        ["transfer", 4, "t7", "b", "d", 1, 1, 1, 0, 54, 68],
        ["transfer", 5, "t8", "d", "b", 5, 1, 1, 0, 55, 0],
        ["transfer", 6, "k0", "e", "f", 1, CANARY_LEDGER, 1, 0, 70, 0],
        ["transfer", 7, "k1", "f", "e", 1, CANARY_LEDGER, 1, 0, 80, 0],
        ["trial", 1, 105, 105, True], ["trial", CANARY_LEDGER, 2, 2, True], ["end", 6, 8]]


def observation(at, node, index, sequence):
    site, kind = {1: ("A", "data"), 2: ("B", "data"), 3: ("C", "witness")}[node]
    return {"t": t(at), "began": t(at - 1), "node": node, "reachable": True, "status": {
        "phase": "serving", "kind": kind, "site": site, "incarnation": "i%d" % node, "epoch": 1,
        "term": 2, "leader": 1, "leads": node == 1,
        "digest": digest(index) if kind == "data" else "0" * 32,
        "digest_at": {"index": 0, "digest": "0" * 32},
        "index": {"last": index, "synced": index, "commit": index, "applied": index},
        "journal": {"head": head(index)}, "rule": "site", "mode": "sync", "mode_committed": "sync",
        "both": index, "certificate": {
            "node": 1, "term": 2, "sequence": sequence, "time_ns": wall(at - 20), "index": index,
            "head": head(index), "both_index": index}}}


LOOKS = ((150, 2), (280, 3), (450, 4), (640, 6), (850, 8), (3000, 9), (5000, 9))


def observations():
    return [observation(at + node, node, index, number)
            for number, (at, index) in enumerate(LOOKS, 1) for node in (1, 2, 3)]


COLUMNS = ("intended_ms sent_ms refused_ms answered_ms resolved_ms outcome result attempts server "
           "leader durability nonce issued_at_ns answered_wall_ns index timestamp_ns").split()
OUTCOMES = ["waiting", "unknown", "acknowledged", "refused", "not executed", "not sent",
            "found posted", "found refused", "found never"]


def canary(nonce, sent, answered, resolved, outcome, index, durability=1):
    return [sent, sent, None, answered, resolved, OUTCOMES.index(outcome), 0, 1, 0, "1", durability,
            nonce, str(wall(sent)), str(wall(answered or 0)), str(index), str(10 * index)]


def observed():
    return {"format": "tally-observe", "version": 1, "began_wall_ns": str(wall(755)), "every_ms": 10,
            "ledger": CANARY_LEDGER, "outcomes": OUTCOMES, "servers": ["s"], "events": [], "sites": [
                {"name": "A", "debit": "e", "credit": "f", "columns": COLUMNS,
                 "summary": {"pause": {"from_ms": 0, "to_ms": 30, "ms": 30}, "intended": 4},
                 "records": [canary("k0", 0, 30, None, "acknowledged", 7),
                             canary("k1", 40, None, 90, "found posted", 8, 0),
                             canary("k2", 100, None, 150, "found never", 0, 0),
                             canary("k3", 110, None, None, "not sent", 0, 0)]}]}


def window(begin, end, ms, *sites):
    return {"from": t(begin), "to": t(end), "ms": ms, "why": "of a fault", "sites": sites or ("A",)}


def world():
    """Everything that is in the directory."""
    looks = observations()
    # A certificate is the same wherever it is seen.
    for place in range(0, len(looks), 3):
        for seen in looks[place + 1:place + 3]:
            seen["status"]["certificate"] = dict(looks[place]["status"]["certificate"])
    return {
        "meta": {"scenario": "made-up", "seed": 1, "begin": {"wall_ns": WALL, "mono_ns": BASE},
                 "end": {"wall_ns": wall(END_MS), "mono_ns": t(END_MS)},
                 "nodes": [{"node": 1, "site": "A", "kind": "data"},
                           {"node": 2, "site": "B", "kind": "data"},
                           {"node": 3, "site": "C", "kind": "witness"}],
                 "bounds": {"pause_ms": {"A": 500, "B": 400}, "late_ms": 200,
                            "pauses": [window(755, 790, 30)]}},
        "clients": clients(), "events": [], "observations": looks,
        "exports": {"1": export(), "2": export()}, "observed": observed(),
        "heads": [{"node": 1, "index": 9, "digest": digest(9), "head": head(9)},
                  {"node": 2, "index": 9, "digest": digest(9), "head": head(9)},
                  {"node": 3, "index": 9, "digest": None, "head": head(9)}],
        "logs": {"1": ["time=x level=info event=leader_elected node=1 term=2 index=0 text=\"y\" "
                       "new_term=2 last_index=0"]}}


def write_lines(path, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write(it, directory):
    """What is None is not written."""
    for name in ("meta", "heads"):
        if it[name] is not None:
            with open(os.path.join(directory, name + ".json"), "w") as file:
                json.dump(it[name], file)
    for name, rows in it["clients"].items():
        write_lines(os.path.join(directory, "clients", name + ".jsonl"), rows)
    for name in ("events", "observations"):
        if it[name] is not None:
            write_lines(os.path.join(directory, name + ".jsonl"), it[name])
    for node, rows in it["exports"].items():
        write_lines(os.path.join(directory, "exports", node + ".csv"), rows)
    if it["observed"] is not None:
        with open(os.path.join(directory, "observe-1.json"), "w") as file:
            json.dump(it["observed"], file)
    for node, rows in it["logs"].items():
        os.makedirs(os.path.join(directory, "logs"), exist_ok=True)
        with open(os.path.join(directory, "logs", "node-%s.log" % node), "w") as file:
            file.writelines(row + "\n" for row in rows)
