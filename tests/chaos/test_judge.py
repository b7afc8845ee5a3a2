#!/usr/bin/python3
"""The judge is judged: a consistent world passes, and every way of spoiling it is named.

The world is written by hand: two accounts free, one limited, three clients' worth of requests with
a repeat, a refusal, a burned id, a fence and an unknown outcome that was resolved. Each mutation
changes one fact, in a log or in the export, as a fault in the ledger would.
"""
import copy
import io
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "chaos"))
import judge  # noqa: E402


def answer(results, index, stamp):
    """The body of a Create...Response, in hexadecimal."""
    body = b"\x0a" + bytes([len(results)]) + bytes(results) + b"\x11" + index.to_bytes(8, "little")
    return (body + b"\x19" + stamp.to_bytes(8, "little")).hex()


def send(nonce, method, *events):
    return {"event": "send", "nonce": nonce, "method": method, "events": [list(e) for e in events]}


def answered(nonce, *arguments):
    return {"event": "answer", "nonce": nonce, "body": answer(*arguments)}


def world():
    """{"logs": {name: [lines]}, "export": [rows]}: consistent."""
    free_a, free_b, limited = ("a", 1, 10, 0), ("b", 1, 10, 0), ("c", 1, 20, 1)
    return {
        "logs": {
            "business": [
                {"event": "client", "principal": "business"},
                send("n0", "CreateLedgers", [1]), answered("n0", [0], 1, 10),
                send("n1", "CreateAccounts", free_a, free_b, limited),
                answered("n1", [0, 0, 0], 2, 20), {"event": "end"}],
            "one": [
                send("n2", "CreateTransfers", ("t1", "a", "c", 50, 1, 1, 0),
                     ("t2", "c", "a", 51, 1, 1, 0), ("t3", "a", "b", 0, 1, 1, 0)),
                {"event": "unknown", "nonce": "n2", "why": "UNAVAILABLE"},
                {"event": "again", "nonce": "n2"}, answered("n2", [0, 67, 32], 3, 30),
                {"event": "again", "nonce": "n2"}, answered("n2", [0, 67, 32], 3, 30),
                send("n3", "CreateTransfers", ("t1", "a", "c", 50, 1, 1, 0),
                     ("t1", "a", "c", 49, 1, 1, 0), ("t2", "a", "b", 1, 1, 1, 0),
                     ("t4", "c", "b", 50, 1, 1, 7)),
                answered("n3", [1, 7, 17, 0], 5, 50),
                {"event": "read", "node": 7400, "ids": ["t1", "t4"], "found": ["t4", "t1"]},
                {"event": "end"}],
            "two": [
                send("n4", "CreateTransfers", ("t5", "a", "x", 1, 1, 1, 0)),
                {"event": "told", "nonce": "n4", "outcome": "NOT_YET_SEEN"},
                {"event": "not_accepted", "nonce": "n4", "why": "NOT_READY"},
                {"event": "again", "nonce": "n4"}, answered("n4", [62], 4, 40),
                {"event": "told", "nonce": "n4", "outcome": "EXECUTED",
                 "body": answer([62], 4, 40)},
                send("n5", "CreateTransfers", ("t6", "a", "b", 9, 1, 1, 0)),
                {"event": "fence", "nonce": "n5"},
                {"event": "told", "nonce": "n5", "outcome": "REQUEST_FENCED"},
                {"event": "end"}]},
        "export": [
            ["ledger", 1, "EUR", 2],
            ["account", "a", 1, 10, 0, 50, 0, 0, 0, 1, 20],
            ["account", "b", 1, 10, 0, 0, 50, 0, 0, 1, 21],
            ["account", "c", 1, 20, 1, 50, 50, 0, 0, 2, 22],
            ["transfer", 0, "t1", "a", "c", 50, 1, 1, 0, 30, 0],
            ["transfer", 1, "t2", "c", "a", 51, 1, 1, 0, 31, 67],
            ["transfer", 2, "t5", "", "", 1, 1, 1, 0, 40, 62],
            ["transfer", 3, "t4", "c", "b", 50, 1, 1, 7, 53, 0],
            ["trial", 1, 100, 100, True],
            ["end", 3, 4]]}


def write(place, it):
    logs = os.path.join(place, "logs")
    os.mkdir(logs)
    for name, lines in it["logs"].items():
        with open(os.path.join(logs, name + ".log"), "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    export = os.path.join(place, "export")
    with open(export, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in it["export"])
    return logs, export


def judged(it):
    """The kinds of violation the judge finds."""
    with tempfile.TemporaryDirectory() as place:
        logs, export = write(place, it)
        a_judge = judge.Judge()
        for name in sorted(os.listdir(logs)):
            a_judge.read_log(os.path.join(logs, name))
        a_judge.read_export(export)
        a_judge.judge()
        a_judge.report(io.StringIO())
        return set(a_judge.violations)


def rows(it, kind):
    return [row for row in it["export"] if row[0] == kind]


def transfer(it, id):
    row, = [row for row in rows(it, "transfer") if row[2] == id]
    return row


def account(it, id):
    row, = [row for row in rows(it, "account") if row[1] == id]
    return row


def line(it, log, event, nonce, place=0):
    return [x for x in it["logs"][log] if x["event"] == event and x["nonce"] == nonce][place]


def remove_transfer(it, id):
    """As if it had never been posted: sums fitted, so that only the clients' logs can tell."""
    row = transfer(it, id)
    it["export"].remove(row)
    rows(it, "end")[0][2] -= 1
    for place, later in enumerate(rows(it, "transfer")):
        later[1] = place
    if row[10] == 0:
        for name, column in ((row[3], 5), (row[4], 6)):
            account(it, name)[column] -= row[5]
            account(it, name)[9] -= 1
        rows(it, "trial")[0][2] -= row[5]
        rows(it, "trial")[0][3] -= row[5]


def post(it, row):
    """Adds a posted transfer at the end, sums fitted."""
    end = it["export"].index(rows(it, "trial")[0])
    it["export"].insert(end, ["transfer", len(rows(it, "transfer"))] + row)
    rows(it, "end")[0][2] += 1
    if row[8] == 0:
        for name, column in ((row[1], 5), (row[2], 6)):
            account(it, name)[column] += row[3]
            account(it, name)[9] += 1
        rows(it, "trial")[0][2] += row[3]
        rows(it, "trial")[0][3] += row[3]


def put(target, key, value):
    target[key] = value


# What is spoiled, and a kind of violation that must be among those found.
MUTATIONS = [
    ("an acknowledged transfer is missing", "lost", lambda w: remove_transfer(w, "t4")),
    ("a refusal that burned its id is missing", "refusal lost", lambda w: remove_transfer(w, "t5")),
    ("a transfer is there twice", "id twice",
     lambda w: post(w, ["t4", "c", "b", 0, 1, 1, 7, 60, 0])),
    ("a transfer that nobody sent", "invented",
     lambda w: post(w, ["t9", "a", "b", 5, 1, 1, 0, 60, 0])),
    ("a transfer of a fenced request", "refused but posted",
     lambda w: post(w, ["t6", "a", "b", 9, 1, 1, 0, 60, 0])),
    ("a refused transfer was posted", "refused but posted",
     lambda w: (put(transfer(w, "t2"), 10, 0))),
    ("a transfer refused by its fields was posted", "senseless",
     lambda w: post(w, ["t3", "a", "b", 0, 1, 1, 0, 60, 0])),
    ("a transfer refused by its fields is on record", "refused wrongly",
     lambda w: post(w, ["t3", "a", "b", 0, 1, 1, 0, 60, 32])),
    ("another amount", "changed", lambda w: put(transfer(w, "t1"), 5, 49)),
    ("another debit account", "changed", lambda w: put(transfer(w, "t4"), 3, "a")),
    ("another credit account", "changed", lambda w: put(transfer(w, "t1"), 4, "b")),
    ("another ledger", "changed", lambda w: put(transfer(w, "t1"), 6, 2)),
    ("another code", "changed", lambda w: put(transfer(w, "t1"), 7, 2)),
    ("other user data", "changed", lambda w: put(transfer(w, "t4"), 8, 8)),
    ("another stamp", "changed", lambda w: put(transfer(w, "t4"), 9, 54)),
    ("an acknowledged transfer is on record as refused", "changed",
     lambda w: put(transfer(w, "t4"), 10, 67)),
    ("another reason of refusal", "refusal lost", lambda w: put(transfer(w, "t2"), 10, 65)),
    ("a refusal for a limit that was not reached", "refused wrongly",
     lambda w: put(transfer(w, "t2"), 5, 1)),
    ("a refusal for an account that was there", "refused wrongly",
     lambda w: put(line(w, "two", "send", "n4")["events"][0], 2, "b")),
    ("stamps do not increase", "stamps", lambda w: put(transfer(w, "t5"), 9, 31)),
    ("a gap in the sequence", "sequence", lambda w: put(transfer(w, "t4"), 1, 4)),
    ("debits of an account", "balance", lambda w: put(account(w, "a"), 5, 51)),
    ("credits of an account", "balance", lambda w: put(account(w, "b"), 6, 51)),
    ("an account's number of transfers", "balance", lambda w: put(account(w, "c"), 9, 3)),
    ("pending amounts from nowhere", "balance", lambda w: put(account(w, "c"), 7, 1)),
    ("debits and credits differ", "zero sum", lambda w: put(account(w, "b"), 6, 49)),
    ("a limit is broken", "limit broken", lambda w: put(transfer(w, "t4"), 5, 51)),
    ("the trial balance differs", "trial balance", lambda w: put(rows(w, "trial")[0], 2, 99)),
    ("the trial balance says unbalanced", "trial balance",
     lambda w: put(rows(w, "trial")[0], 4, False)),
    ("an account is missing", "lost", lambda w: (w["export"].remove(account(w, "b")),
                                                 put(rows(w, "end")[0], 1, 2))),
    ("an account nobody made", "invented",
     lambda w: (w["export"].insert(1, ["account", "z", 1, 1, 0, 0, 0, 0, 0, 0, 5]),
                put(rows(w, "end")[0], 1, 4))),
    ("an account with other flags", "changed", lambda w: put(account(w, "b"), 4, 2)),
    ("the same account twice", "account twice",
     lambda w: w["export"].insert(1, list(account(w, "b")))),
    ("a repeat is answered otherwise", "repeat differs",
     lambda w: put(line(w, "one", "answer", "n2", 1), "body", answer([0, 67, 31], 3, 30))),
    ("a repeat is executed again", "repeat differs",
     lambda w: put(line(w, "one", "answer", "n2", 1), "body", answer([0, 67, 32], 6, 60))),
    ("GetRequest tells another answer", "repeat differs",
     lambda w: put(line(w, "two", "told", "n4", 1), "body", answer([0], 4, 40))),
    ("an answered request is not seen any more", "outcome lost",
     lambda w: put(line(w, "two", "told", "n4", 1), "outcome", "NOT_YET_SEEN")),
    ("an answered request is fenced", "outcome changed",
     lambda w: put(line(w, "two", "told", "n4", 1), "outcome", "REQUEST_FENCED")),
    ("a fenced request is answered", "outcome changed",
     lambda w: w["logs"]["two"].insert(-1, answered("n5", [0], 6, 60))),
    ("fenced, and nobody fenced it", "fenced by nobody",
     lambda w: w["logs"]["two"].remove(line(w, "two", "fence", "n5"))),
    ("no final answer", "outcome unknown",
     lambda w: w["logs"]["two"].remove(line(w, "two", "told", "n5"))),
    ("a result is missing in the answer", "results",
     lambda w: put(line(w, "two", "answer", "n4"), "body", answer([], 4, 40))),
    ("an answer that is no answer", "unreadable answer",
     lambda w: put(line(w, "one", "answer", "n3"), "body", "0aff")),
    ("a later request with an earlier stamp", "real time",
     lambda w: put(line(w, "one", "answer", "n3"), "body", answer([1, 7, 17, 0], 5, 25))),
    ("two requests share stamps", "stamps",
     lambda w: put(line(w, "two", "answer", "n4"), "body", answer([62], 4, 31))),
    ("index and stamp order cross", "stamps",
     lambda w: put(line(w, "two", "answer", "n4"), "body", answer([62], 9, 40))),
    ("exists, and it differs", "wrong refusal",
     lambda w: put(line(w, "one", "send", "n3")["events"][0], 3, 48)),
    ("differs, and it is equal", "wrong refusal",
     lambda w: put(line(w, "one", "send", "n3")["events"][1], 3, 50)),
    ("a read misses what was acknowledged", "stale read",
     lambda w: w["logs"]["one"][-2]["found"].remove("t4")),
    ("already failed, and it was posted", "wrong refusal",
     lambda w: put(line(w, "one", "send", "n3")["events"][2], 0, "t1")),
]

# What cannot be judged at all: refused with words, not passed.
UNREADABLE = [
    ("a client did not finish", lambda w: w["logs"]["one"].pop()),
    ("the export did not finish", lambda w: w["export"].pop()),
    ("the export is shorter than announced", lambda w: w["export"].remove(transfer(w, "t5"))),
    ("a nonce was drawn twice",
     lambda w: w["logs"]["two"].insert(0, copy.deepcopy(line(w, "one", "send", "n2")))),
    ("an event that is none", lambda w: w["logs"]["one"].insert(0, {"event": "shrug"})),
]


# What nodes say at the end; the third is a witness, which has no state.
HEADS = [{"node": 1, "index": 9, "digest": "d", "head": "h"},
         {"node": 2, "index": 9, "digest": "d", "head": "h"},
         {"node": 3, "index": 9, "digest": None, "head": "h"}]

# A cluster: what the second node's export and the nodes' heads are, and the exit status.
CLUSTERS = [
    ("equal nodes", lambda export, heads: None, 0),
    ("another stamp at the second node", lambda export, heads: put(export[4], 9, 29), 1),
    ("a transfer more at the second node", lambda export, heads: export.append(export[4]), 1),
    ("a transfer less at the second node", lambda export, heads: export.pop(4), 1),
    ("another order at the second node", lambda export, heads: export.insert(4, export.pop(5)), 1),
    ("another digest", lambda export, heads: put(heads[1], "digest", "e"), 1),
    ("another chain head at the witness", lambda export, heads: put(heads[2], "head", "i"), 1),
    ("another index", lambda export, heads: put(heads[0], "index", 8), 1),
    ("nobody has a digest", lambda export, heads: [put(h, "digest", None) for h in heads], 1),
    ("no node at all", lambda export, heads: heads.clear(), 2),
]


def command(it, more=()):
    """Exit status of the program itself; `more` are changes to a second node."""
    with tempfile.TemporaryDirectory() as place:
        logs, export = write(place, it)
        arguments = [os.path.join(ROOT, "chaos", "judge.py"), "--logs", logs, "--export", export]
        for change in more:
            rows_of_second, heads = copy.deepcopy(it["export"]), copy.deepcopy(HEADS)
            change(rows_of_second, heads)
            with open(os.path.join(place, "export-2"), "w") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows_of_second)
            with open(os.path.join(place, "heads"), "w") as file:
                json.dump(heads, file)
            arguments += ["--export", file.name.replace("heads", "export-2"), "--heads", file.name]
        return subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=600).returncode


def main():
    passed, failed = 0, []

    def claim(text, condition, seen=""):
        nonlocal passed
        if condition:
            passed += 1
        else:
            failed.append("%s %s" % (text, seen))

    claim("the consistent world passes", judged(world()) == set(), judged(world()))
    claim("exit status 0 when all is well", command(world()) == 0)
    for text, kind, mutate in MUTATIONS:
        it = world()
        mutate(it)
        claim("it is world() that changed: " + text, it != world())
        found = judged(it)
        claim("%s: %s" % (text, kind), kind in found, "found: %s" % (found or "nothing"))
    it = world()
    MUTATIONS[0][2](it)
    claim("exit status 1 for a loss", command(it) == 1)
    for text, mutate in UNREADABLE:
        it = world()
        mutate(it)
        claim("exit status 2: " + text, command(it) == 2)
    for text, change, expected in CLUSTERS:
        status = command(world(), [change])
        claim("a cluster, %s: exit status %d" % (text, expected), status == expected, status)
    for text in failed:
        print("FAILED: " + text)
    print("%d passed, %d failed" % (passed, len(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
