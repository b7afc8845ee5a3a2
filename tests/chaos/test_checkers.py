#!/usr/bin/python3
"""The claims are claimed about: a consistent history passes all of them, each way of spoiling it is named
by the claim that has to notice, and a claim whose evidence is taken away says that it checked nothing.

Spoiling changes one fact, as a fault of the ledger, of the cluster or of a client's wait would. The
judge of the loops is tested by sixty further ways (test_judge.py), which go through the same claims.
"""
import contextlib
import glob
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest.mock

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "chaos"), HERE]
import checker_world  # noqa: E402
import test_judge  # noqa: E402
from checker_spoils import (SPOILED, at_all, bounded, drop, find, first_of, hole,  # noqa: E402
                            insert, post, put, put_row, status, synced, transfer)
from checker_world import answer, begin, digest, head, line, t, wall, window  # noqa: E402
from checkers import run  # noqa: E402


def no_evidence(w, *names):
    for name in names:
        w[name] = {} if name in ("exports", "logs") else [] if name == "events" else None


def no_client_reads(w):
    for name, rows in w["clients"].items():
        w["clients"][name] = [r for r in rows if r["event"] not in ("read", "balances", "totals")]


def no_limits_of_calls(w):
    for rows in w["clients"].values():
        for row in rows:
            row.pop("limit_ms", None)


def never_both(w):
    """Nobody says that anything is on both sites."""
    for row in w["observed"]["sites"][0]["records"]:
        row[10] = 2
    for rows in w["clients"].values():
        for row in rows:
            row.pop("durability", None)
    for seen in w["observations"]:
        seen["status"].update(both=None, mode="degraded")
        seen["status"]["certificate"]["both_index"] = None


def one_request(w):
    """A client that made the ledger, and nothing else."""
    no_evidence(w, "exports", "observed", "heads", "observations", "logs")
    w["clients"] = {"business": [r for r in w["clients"]["business"] if r.get("nonce") != "n1"]}


# (what is taken away, the claims that have nothing left to look at)
STRIPPED = [
    ("no observation, no heads, no logs", ("leaders", "chains", "certificates"),
     lambda w: no_evidence(w, "observations", "heads", "logs")),
    ("one export, no reads, nobody seen twice", ("digests",),
     lambda w: (no_evidence(w, "observations", "heads"), w["exports"].pop("2"), no_client_reads(w))),
    ("nobody says both", ("both-sites",), never_both),
    ("no bound", ("pauses",), lambda w: w["meta"].pop("bounds")),
    ("a bound, and nobody whose pause is known", ("pauses",),
     lambda w: w["meta"].update(bounds={"pause_ms": {"C": 500}})),
    ("windows that are shorter than their bound, or of whom nobody asked", ("pauses",),
     lambda w: w["meta"].update(bounds={"pauses": [window(790, 900, 110), window(755, 790, 5, "B"),
                                                   window(755, 784, 29),
                                                   window(755, 790, 5, "A", "B")]})),
    ("no limits of calls", ("deadlines",), no_limits_of_calls),
    ("one request alone", ("acknowledged", "unknown", "money", "limits", "stamps", "digests", "chains",
                           "leaders", "both-sites", "certificates"), one_request),
]


def under_load(w):
    """Written down while clients went on: a witness alone tells its head, the export ends after t5 and
    knows no balance, the report of the observer is missing, one request has no outcome yet."""
    w["heads"] = [{"node": 3, "index": 8, "digest": None, "head": head(9)}]
    w["exports"].pop("2")
    rows = w["exports"]["1"]
    for id in ("t4", "t7", "t8", "k0", "k1"):
        rows.remove(next(row for row in rows if row[2] == id))
    rows.insert(-3, ["transfer", 3, "k9", "e", "f", 1, checker_world.CANARY_LEDGER, 1, 0, 41, 0])
    rows[-1][2] = 4
    w["observed"] = None


# What looks odd and is right: (what, how).
TOLERATED = [
    ("a pause of one site within its bound", lambda w: hole(w, "steady", 440, 800)),
    ("a pause outside of the window", lambda w: w["meta"]["bounds"].update(
        pauses=[window(700, 794, 31)])),
    ("a follower takes the leader before for the leader",
     lambda w: put(status(w, 2, 3), leader=3)),
    ("a tail that is not committed has another head",
     lambda w: (put(status(w, 2, 3)["index"], synced=8),
                status(w, 2, 3)["journal"].update(head=head(99)))),
    ("under DEGRADED the leader commits what one site lacks",
     lambda w: (never_both(w), [synced(w, 2, place, 2) for place in range(1, 7)])),
    ("a canary stayed unknown, whose nodes were all replaced",
     lambda w: (put_row(w["observed"]["sites"][0]["records"][1], 5, 1),
                w["meta"].update(unwatched=["A"]))),
    ("a node whose disk was wiped has less",
     lambda w: (synced(w, 2, 5, 3), w["events"].append(
         {"t": t(2000), "what": "fault-begin", "kind": "wipe", "nodes": [2]}))),
    ("what was promised before a disk was rolled back is seen a moment later",
     lambda w: (synced(w, 2, 5, 3), synced(w, 2, 6, 3), w["events"].append(
         {"t": t(830), "what": "fault-begin", "kind": "roll-back", "nodes": [2]}),
                [put(status(w, node, place), both=None) for node in (1, 3) for place in (5, 6)],
                [put(status(w, 1, place), mode="degraded") for place in (5, 6)],
                [status(w, node, place)["certificate"].update(both_index=None)
                 for node in (1, 2, 3) for place in (5, 6)],
                put(status(w, 2, 5), both=None), put(status(w, 2, 6), both=None))),
    ("a node that has no journal open",
     lambda w: put(status(w, 2, 5), index={"last": 0, "synced": 0, "commit": 0, "applied": 0},
                   journal={}, digest="")),
    ("a replaced disk has another incarnation and less",
     lambda w: (synced(w, 2, 5, 3), put(status(w, 2, 5), incarnation="other"),
                put(status(w, 2, 6), incarnation="other"))),
    ("a look that was asked before the promise",
     lambda w: (synced(w, 2, 3, 4), put(w["observations"][10], began=t(455)))),
    ("a certificate by a clock that was set ahead",
     lambda w: (w["events"].append({"t": t(400), "what": "fault-begin", "kind": "clock-jump",
                                    "nodes": [1]}),
                [put(status(w, n, 2)["certificate"], time_ns=wall(600)) for n in (1, 2, 3)])),
    ("a bounded read as old as it may be", lambda w: bounded(w, max_age_ms=181, index=2, found=[])),
    ("nodes written down at different indexes",
     lambda w: (never_both(w), put(w["heads"][0], index=10, digest=digest(10), head=head(10)))),
    ("a node that was left behind has a shorter ledger",
     lambda w: (never_both(w), put(w["heads"][0], index=7, digest=digest(7), head=head(7)),
                drop(w, "k1", "1"))),
    ("a history that ends under load", under_load),
    ("an answered request that a client cannot tell of, and a read beside it",
     lambda w: (insert(w, "two", begin(850, "send", "n8", 2, method="CreateTransfers",
                                       events=[["u1", "a", "b", 2, 1, 1, 0]]),
                       line(855, "told", 2, nonce="n8", outcome="EXECUTED",
                            body=answer([0], 9, 90))),
                at_all(w, lambda n: post(w, n, ["u1", "a", "b", 2, 1, 1, 0, 90, 0])))),
]


# What is wrong even so: (what, the claim that must be broken, how).
UNDER_LOAD = [
    ("a transfer below the end of the export is lost", "acknowledged",
     lambda w: put_row(transfer(w, "t1"), 2, "t1x")),
    ("a transfer that nobody sent", "acknowledged",
     lambda w: put_row(transfer(w, "k9"), 6, 1)),
    ("a limit is broken", "limits", lambda w: put_row(transfer(w, "t2"), 10, 0)),
    ("a result behind the end is wrong", "outcomes",
     lambda w: put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 0, 0], 5, 50))),
    ("a read behind the end differs", "linearizable",
     lambda w: put(find(w["clients"]["two"], "balances"),
                   rows=[["a", 50, 0, 1], ["c", 49, 50, 2]])),
]


def nobody_was_told(w):
    """Without an export, and without the answer about the accounts: nobody can know what they hold."""
    no_evidence(w, "exports")
    w["clients"]["business"].remove(first_of(w, "business", "answer", "n1"))


def judged(it, kinds=None):
    """Verdict by claim; `kinds` gathers what was found."""
    with tempfile.TemporaryDirectory() as place:
        checker_world.write(it, place)
        told_by = run.check(place)
    if kinds is not None:
        kinds.update(violation["evidence"]["kind"] for violation in told_by["violations"])
    return {claim["name"]: claim["verdict"] for claim in told_by["claims"]}


def broken(verdicts):
    return {name for name, verdict in verdicts.items() if verdict == "broken"}


def program(it, *arguments, spoil=None):
    """(exit status, verdicts.json or None) of the program itself."""
    with tempfile.TemporaryDirectory() as place:
        checker_world.write(it, place)
        if spoil:
            spoil(place)
        status_of = subprocess.run(
            [sys.executable, os.path.join(ROOT, "chaos", "checkers", "run.py"), place, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600).returncode
        path = os.path.join(place, "verdicts.json")
        if not os.path.exists(path):
            return status_of, None
        with open(path) as file:
            return status_of, json.load(file)


def cut(name):
    """The last line of a file is half."""
    def spoil(place):
        path = os.path.join(place, name)
        with open(path, "rb+") as file:
            file.seek(-5, os.SEEK_END)
            file.truncate()
    return spoil


def nonsense(name):
    def spoil(place):
        with open(os.path.join(place, name), "a") as file:
            file.write("nonsense\n")
    return spoil


def only(name, text):
    """The file holds this and nothing else."""
    def spoil(place):
        with open(os.path.join(place, name), "w") as file:
            file.write(text + "\n")
    return spoil


# Sound JSON that is not what the file is to hold; python's own exit status would be that of a finding.
NO_HISTORY = (("meta.json", "[]"), ("heads.json", '{"a": 1}'), ("heads.json", '[{"node": 1}]'),
              ("heads.json", "[7]"), ("events.jsonl", "5"), ("events.jsonl", '{"what": "note"}'),
              ("events.jsonl", '{"t": "soon"}'), ("observations.jsonl", '{"t": 1}'),
              ("observations.jsonl", '{"t": 1, "node": 1, "status": [7]}'),
              ("clients/one.jsonl", "[]"), ("observe-1.json", "[]"), ("exports/1.csv", "{}"))


def status_of_a_checker_that_fails():
    """The program's exit status, and whether it left a verdict."""
    class Failing:
        CLAIM, __doc__ = "money", "Fails."

        @staticmethod
        def check(history):
            raise ZeroDivisionError(history.directory)

    with tempfile.TemporaryDirectory() as place, \
            unittest.mock.patch.dict(run.CLAIMS, money=Failing), \
            unittest.mock.patch.object(sys, "argv", ["run.py", place]), \
            contextlib.redirect_stderr(io.StringIO()):
        checker_world.write(checker_world.world(), place)
        return run.main(), os.path.exists(os.path.join(place, "verdicts.json"))


class Claims:
    def __init__(self):
        self.passed, self.failed = 0, []

    def __call__(self, text, condition, seen=""):
        if condition:
            self.passed += 1
        else:
            self.failed.append("%s %s" % (text, seen))


def check_spoiled(claim):
    named, kinds = {name: 0 for name in run.CLAIMS}, set()
    for text, name, mutate in SPOILED:
        it = checker_world.world()
        mutate(it)
        claim("it is a world that changed: " + text, it != checker_world.world())
        found = broken(judged(it, kinds))
        claim("%s: %s" % (name, text), name in found, "found: %s" % (sorted(found) or "nothing"))
        named[name] += 1
    for name, number in named.items():
        claim("%s has three spoiled worlds" % name, number >= 3, number)
    for _, _, mutate in test_judge.MUTATIONS:
        it = test_judge.world()
        mutate(it)
        kinds |= test_judge.judged(it)
    written = set()
    for path in glob.glob(os.path.join(ROOT, "chaos", "checkers", "*.py")):
        with open(path) as file:
            written.update(re.findall(r"""\.add\(\s*"([a-z ]+)"|Meeting\(found, "([a-z ]+)\"""",
                                      file.read()))
    written = {one or other for one, other in written} | {"accepted wrongly", "wrong refusal"}
    claim("every kind of violation is shown by some spoiled world", kinds == written,
          "never: %s; unwritten: %s" % (sorted(written - kinds), sorted(kinds - written)))


def check_programs(claim):
    status_of, told_by = program(checker_world.world())
    claim("exit status 0 when all is well", status_of == 0, status_of)
    claim("verdicts.json has every claim", {c["name"] for c in told_by["claims"]} == set(run.CLAIMS))
    it = checker_world.world()
    SPOILED[0][2](it)
    status_of, told_by = program(it)
    claim("exit status 1 for a loss", status_of == 1, status_of)
    claim("a violation has claim, text and evidence",
          all(set(v) == {"claim", "text", "evidence"} for v in told_by["violations"]))
    claim("a loss tells when it was answered", any(
        v["claim"] == "acknowledged" and v["evidence"].get("t") == t(520)
        for v in told_by["violations"]), told_by["violations"])
    claim("some claims only", [c["name"] for c in program(
        checker_world.world(), "--claims", "money")[1]["claims"]] == ["money"])
    claim("exit status 2 for a claim that is none",
          program(checker_world.world(), "--claims", "virtue")[0] == 2)
    for name in ("clients/one.jsonl", "observations.jsonl", "exports/1.csv", "heads.json",
                 "meta.json", "observe-1.json"):
        claim("exit status 2 and no verdict: nonsense in " + name,
              program(checker_world.world(), spoil=nonsense(name)) == (2, None))
    for name, text in NO_HISTORY:
        found = program(checker_world.world(), spoil=only(name, text))
        claim("exit status 2 and no verdict: %s is %s" % (name, text), found == (2, None), found[0])
    claim("exit status 2 and no verdict when a checker fails",
          status_of_a_checker_that_fails() == (2, False))
    claim("exit status 2: half an export",
          program(checker_world.world(), spoil=cut("exports/2.csv"))[0] in (1, 2))
    status_of, told_by = program(checker_world.world(), spoil=cut("clients/one.jsonl"))
    claim("a client that left half a line did not finish, and is judged", status_of == 1 and [
        c["name"] for c in told_by["claims"] if c["verdict"] == "broken"] == ["deadlines"], status_of)
    it = checker_world.world()
    it["clients"] = {}
    claim("exit status 2 without clients", program(it)[0] == 2)


def main():
    claim = Claims()
    verdicts = judged(checker_world.world())
    for name, verdict in verdicts.items():
        claim("the consistent world: " + name, verdict == "holds", verdict)
    check_spoiled(claim)
    for text, names, strip in STRIPPED:
        it = checker_world.world()
        strip(it)
        verdicts = judged(it)
        for name in names:
            claim("%s: %s is unchecked" % (text, name), verdicts[name] == "unchecked", verdicts[name])
        claim("%s: nothing is broken" % text, not broken(verdicts), broken(verdicts))
    for text, change in TOLERATED:
        it = checker_world.world()
        change(it)
        claim("nothing is broken: " + text, not broken(judged(it)), broken(judged(it)))
    for text, name, spoil in UNDER_LOAD:
        it = checker_world.world()
        under_load(it)
        spoil(it)
        claim("under load, %s: %s" % (name, text), name in broken(judged(it)), broken(judged(it)))
    it = checker_world.world()
    nobody_was_told(it)
    claim("what an unknown outcome may have changed is not held against anybody",
          broken(judged(it)) == {"unknown", "deadlines"}, broken(judged(it)))
    check_programs(claim)
    for text in claim.failed:
        print("FAILED: " + text)
    print("%d passed, %d failed" % (claim.passed, len(claim.failed)))
    return 1 if claim.failed else 0


if __name__ == "__main__":
    sys.exit(main())
