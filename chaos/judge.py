#!/usr/bin/python3
"""Judges a ledger by what its clients saw.

    chaos/judge.py --logs DIR --export FILE [--export FILE]... [--heads FILE]

Reads these only: the logs that clients wrote (each line before it acted on it: docs/testing.md
describes them), the ledger as it was exported afterwards, of a cluster once per data node, and what
each node said of its index, digest and chain head. It shares no code with the ledger: the
few rules it knows are written here again, so that a mistake in one place shows against the other.

What it claims when it says PASSED:
  - every transfer acknowledged as posted is in the ledger exactly once, with the same fields and
    with the stamp that the answer gave; every refused one is not posted;
  - nothing is in the ledger that no client sent, no id is there twice, sequence numbers have no gap
    and commit stamps strictly increase;
  - answers to repeats of a request are byte-identical, and what GetRequest or FenceRequest said is
    consistent with them; a fenced request executed nothing; no outcome stayed unknown;
  - a request sent after another one's answer has a later stamp, and a read that began after an
    acknowledgement found the transfer;
  - every node's export is the first one's, byte for byte; every node stands at the same index with
    the same digest and the same chain head;
  - balances are the sums over posted transfers, limits hold after each of them in commit order, a
    refusal for a limit or a missing account was right, and each ledger's debits equal its credits.

Exit status: 0 passed, 1 violations found, 2 the input cannot be judged.
"""
import argparse
import itertools
import json
import os
import sys

# The numbers of the wire contract (proto/tally/v1/ledger.proto) that the rules below need.
OK, EXISTS = 0, 1
EXISTS_WITH_DIFFERENT = range(2, 17)
ID_ALREADY_FAILED = 17
REFUSED_BY_FIELDS = range(20, 60)
REFUSED_BY_STATE = range(60, 70)
DEBIT_ACCOUNT_NOT_FOUND, CREDIT_ACCOUNT_NOT_FOUND = 61, 62
EXCEEDS_CREDITS, EXCEEDS_DEBITS = 67, 68
DEBITS_MUST_NOT_EXCEED_CREDITS, CREDITS_MUST_NOT_EXCEED_DEBITS = 1, 2

SHOWN_PER_KIND = 5
COUNTED = {"again": "requests repeated", "unknown": "calls without an answer",
           "not_accepted": "calls not accepted", "fence": "fences sent"}
FINAL = ("EXECUTED", "REQUEST_FENCED", "NONCE_REUSED", "BEYOND_WINDOW", "NOT_PERMITTED")


class BadInput(Exception):
    """A log or an export that cannot be judged; the text says where."""


def read_varint(body, place):
    value = shift = 0
    while True:
        if place >= len(body) or shift > 63:
            raise ValueError("varint")
        value |= (body[place] & 0x7F) << shift
        place += 1
        if body[place - 1] < 0x80:
            return value, place
        shift += 7


def decode_answer(body):
    """(results, index, timestamp) of a Create...Response: packed enum 1, fixed64 2, fixed64 3."""
    results, index, stamp, place = [], 0, 0, 0
    while place < len(body):
        tag, place = read_varint(body, place)
        if tag == 0x0A:
            size, place = read_varint(body, place)
            end = place + size
            if end > len(body):
                raise ValueError("results beyond the end")
            while place < end:
                result, place = read_varint(body, place)
                results.append(result)
        elif tag in (0x11, 0x19) and place + 8 <= len(body):
            number = int.from_bytes(body[place:place + 8], "little")
            index, stamp = (number, stamp) if tag == 0x11 else (index, number)
            place += 8
        else:
            raise ValueError("tag %#x" % tag)
    return results, index, stamp


class Request:
    """One identity: what was sent under it and all that came back."""
    __slots__ = ("nonce", "client", "method", "events", "answer", "decoded", "refused", "open",
                 "floor", "fenced")

    def __init__(self, nonce, client, method, events, floor):
        self.nonce = nonce
        self.client = client
        self.method = method
        self.events = events
        self.answer = None      # body, hex, of the first final answer
        self.decoded = None     # (results, index, stamp)
        self.refused = None     # outcome of the whole request, final
        self.open = True        # no final answer yet
        self.floor = floor      # stamp that the client had seen answered before it sent this
        self.fenced = False


class Judge:
    def __init__(self):
        self.violations = {}
        self.counts = {}
        self.requests = {}
        # Rows as exported: [kind, id, ...] by id. A transfer is a tuple without the kind: sequence,
        # id, debit, credit, amount, ledger, code, user data, stamp, refused.
        self.ledgers, self.accounts, self.transfers, self.trials = {}, {}, [], {}

    def violation(self, kind, text, *values):
        self.violations.setdefault(kind, []).append(text % values)

    def count(self, name, number=1):
        self.counts[name] = self.counts.get(name, 0) + number

    # ---- reading ----

    @staticmethod
    def lines(path):
        with open(path) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith("\n"):
                    raise BadInput("%s:%d: the last line is cut" % (path, number))
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise BadInput("%s:%d: %s" % (path, number, error)) from None

    def read_log(self, path):
        """One client's log. A client is sequential: it sends a request after the last was final."""
        ended, floor = False, 0
        for number, line in self.lines(path):
            try:
                event = line["event"]
                if event == "end":
                    ended = True
                elif event == "send":
                    nonce = line["nonce"]
                    if nonce in self.requests:
                        raise BadInput("%s:%d: nonce %s was sent before" % (path, number, nonce))
                    self.requests[nonce] = Request(nonce, path, line["method"], line["events"],
                                                   floor)
                    self.count("requests sent")
                    self.count("events sent", len(line["events"]))
                elif event in ("again", "unknown", "not_accepted", "fence"):
                    request = self.requests[line["nonce"]]
                    request.fenced = request.fenced or event == "fence"
                    self.count(COUNTED[event])
                elif event == "answer":
                    self.take_answer(self.requests[line["nonce"]], line["body"], "answer")
                elif event == "refused":
                    self.take_outcome(self.requests[line["nonce"]], line["outcome"], None)
                elif event == "told":
                    self.take_outcome(self.requests[line["nonce"]], line["outcome"],
                                      line.get("body"))
                elif event == "read":
                    self.count("reads of acknowledged transfers")
                    missing = set(line["ids"]) - set(line["found"])
                    if missing:
                        self.violation("stale read", "%s:%d: node at port %s did not show %d of %d "
                                       "acknowledged transfers, e.g. %s", path, number,
                                       line["node"], len(missing), len(line["ids"]),
                                       min(missing))
                elif event != "client":
                    raise BadInput("%s:%d: unknown event %r" % (path, number, event))
                if event in ("answer", "told"):
                    decoded = self.requests[line["nonce"]].decoded
                    floor = max(floor, decoded[2] if decoded else 0)
            except KeyError as error:
                raise BadInput("%s:%d: lacks %s" % (path, number, error)) from None
        if not ended:
            raise BadInput("%s: has no end; the client did not finish" % path)

    def take_answer(self, request, body, source):
        """A body that claims to be the answer of an executed request."""
        self.count("answers")
        if request.refused:
            self.violation("outcome changed", "request %s was %s, then answered", request.nonce,
                           request.refused)
        if request.answer is None:
            request.answer, request.open = body, False
            try:
                request.decoded = decode_answer(bytes.fromhex(body))
            except ValueError as error:
                self.violation("unreadable answer", "request %s: %s", request.nonce, error)
        elif request.answer != body:
            self.violation("repeat differs", "request %s: %s %s..., first answer %s...",
                           request.nonce, source, body[:80], request.answer[:80])
        else:
            self.count("identical repeats")

    def take_outcome(self, request, outcome, body):
        """What GetRequest, FenceRequest or a refusal said about a request."""
        if outcome == "EXECUTED":
            self.take_answer(request, body, "told")
        elif outcome == "NOT_YET_SEEN":
            if not request.open:
                self.violation("outcome lost", "request %s was final and is not seen any more",
                               request.nonce)
        elif outcome in FINAL:
            if request.answer is not None:
                self.violation("outcome changed", "request %s was answered, then %s", request.nonce,
                               outcome)
            elif request.refused not in (None, outcome):
                self.violation("outcome changed", "request %s was %s, then %s", request.nonce,
                               request.refused, outcome)
            if outcome == "REQUEST_FENCED" and not request.fenced:
                self.violation("fenced by nobody", "request %s", request.nonce)
            request.refused, request.open = outcome, False
            self.count("requests refused as a whole")
        else:
            raise BadInput("request %s: unknown outcome %r" % (request.nonce, outcome))

    def read_export(self, path):
        ended = None
        for number, line in self.lines(path):
            try:
                kind = line[0]
                if kind == "ledger":
                    self.ledgers[line[1]] = line
                elif kind == "account":
                    if line[1] in self.accounts:
                        self.violation("account twice", "account %s", line[1])
                    self.accounts[line[1]] = line
                elif kind == "transfer":
                    self.transfers.append(tuple(line[1:]))
                elif kind == "trial":
                    self.trials[line[1]] = line
                elif kind == "end":
                    ended = line
                elif kind != "export":
                    raise BadInput("%s:%d: unknown row %r" % (path, number, kind))
            except (IndexError, TypeError) as error:
                raise BadInput("%s:%d: %s" % (path, number, error)) from None
        if ended is None:
            raise BadInput("%s: has no end; the export did not finish" % path)
        if ended[1:] != [len(self.accounts), len(self.transfers)]:
            raise BadInput("%s: %s rows announced, %d accounts and %d transfers found"
                           % (path, ended[1:], len(self.accounts), len(self.transfers)))

    # ---- the ledger by itself ----

    def judge_order(self):
        """Sequence without gaps, stamps strictly increasing, no id twice."""
        self.by_id = {}
        previous = -1
        for place, row in enumerate(self.transfers):
            sequence, id, stamp = row[0], row[1], row[8]
            if sequence != place:
                self.violation("sequence", "transfer %s at place %d has sequence %d", id, place,
                               sequence)
            if stamp <= previous:
                self.violation("stamps", "transfer %s has stamp %d after %d", id, stamp, previous)
            previous = stamp
            if id in self.by_id:
                self.violation("id twice", "transfer %s", id)
            self.by_id[id] = row
        self.count("transfers in the ledger", len(self.transfers))
        self.count("of these refused", sum(1 for row in self.transfers if row[9]))

    def judge_balances(self):
        """Replays posted transfers in commit order; holds limits, sums, and reasons of refusal."""
        debits = dict.fromkeys(self.accounts, 0)
        credits, touched = dict(debits), dict(debits)
        totals = {ledger: [0, 0] for ledger in self.ledgers}
        limited = {id: row[4] for id, row in self.accounts.items() if row[4]}

        def breaks_limit(id, debit, credit):
            flags = limited.get(id, 0)
            return (flags & DEBITS_MUST_NOT_EXCEED_CREDITS
                    and debits[id] + debit > credits[id]
                    or flags & CREDITS_MUST_NOT_EXCEED_DEBITS
                    and credits[id] + credit > debits[id])

        for _, id, debit, credit, amount, ledger, _, _, stamp, refused in self.transfers:
            if refused:
                self.judge_refusal(id, debit, credit, amount, stamp, refused, breaks_limit)
                continue
            if debit not in debits or credit not in debits:
                self.violation("account missing", "transfer %s posted between %s and %s", id, debit,
                               credit)
                continue
            if self.accounts[debit][2] != ledger or self.accounts[credit][2] != ledger:
                self.violation("wrong ledger", "transfer %s posted across ledgers", id)
            if amount <= 0 or debit == credit:
                self.violation("senseless", "transfer %s of %d from %s to %s", id, amount, debit,
                               credit)
            if breaks_limit(debit, amount, 0):
                self.violation("limit broken", "transfer %s of %d takes %s beyond its limit", id,
                               amount, debit)
            if breaks_limit(credit, 0, amount):
                self.violation("limit broken", "transfer %s of %d takes %s beyond its limit", id,
                               amount, credit)
            debits[debit] += amount
            credits[credit] += amount
            touched[debit] += 1
            touched[credit] += 1
            if ledger in totals:
                totals[ledger][0] += amount
                totals[ledger][1] += amount
        for id, row in self.accounts.items():
            if (row[5], row[6], row[9]) != (debits[id], credits[id], touched[id]):
                self.violation("balance", "account %s says debits %d credits %d transfers %d, its "
                               "transfers say %d %d %d", id, row[5], row[6], row[9], debits[id],
                               credits[id], touched[id])
            if row[7] or row[8]:
                self.violation("balance", "account %s has pending amounts", id)
        self.judge_totals(totals)

    def judge_totals(self, totals):
        """Each ledger sums to zero: over its accounts, and in the trial balance it gave."""
        for ledger, (debit, credit) in totals.items():
            rows = [row for row in self.accounts.values() if row[2] == ledger]
            if sum(row[5] for row in rows) != sum(row[6] for row in rows):
                self.violation("zero sum", "ledger %d: debits %d, credits %d", ledger,
                               sum(row[5] for row in rows), sum(row[6] for row in rows))
            trial = self.trials.get(ledger)
            if trial is None:
                self.violation("trial balance", "ledger %d has none", ledger)
            elif trial[2:] != [debit, credit, True]:
                self.violation("trial balance", "ledger %d says %s, its transfers say %d %d",
                               ledger, trial[2:], debit, credit)

    def judge_refusal(self, id, debit, credit, amount, stamp, refused, breaks_limit):
        """A refusal on record for a reason that can be checked was right at that moment."""
        wrong = False
        if refused not in REFUSED_BY_STATE:
            wrong = True
        elif refused in (EXCEEDS_CREDITS, EXCEEDS_DEBITS):
            side = debit if refused == EXCEEDS_CREDITS else credit
            wrong = side not in self.accounts or not breaks_limit(
                side, amount if side == debit else 0, amount if side == credit else 0)
        elif refused in (DEBIT_ACCOUNT_NOT_FOUND, CREDIT_ACCOUNT_NOT_FOUND):
            sent = self.sent.get(id, ())
            place = 1 if refused == DEBIT_ACCOUNT_NOT_FOUND else 2
            named = [request.events[k][place] for request, k in sent
                     if request.decoded is None or request.decoded[2] + k == stamp]
            # Created before this stamp: then it was there.
            wrong = bool(named) and all(n in self.accounts and self.accounts[n][10] < stamp
                                        for n in named)
        if wrong:
            self.violation("refused wrongly", "transfer %s with %d", id, refused)

    # ---- the clients against the ledger ----

    def index_events(self):
        """id -> [(request, place)] over all transfers ever sent."""
        self.sent = {}
        for request in self.requests.values():
            if request.method == "CreateTransfers":
                for k, event in enumerate(request.events):
                    self.sent.setdefault(event[0], []).append((request, k))

    def judge_requests(self):
        executed = []
        for request in self.requests.values():
            if request.open:
                self.violation("outcome unknown", "request %s of %s has no final answer",
                               request.nonce, os.path.basename(request.client))
            if request.decoded is None:
                continue
            results, index, stamp = request.decoded
            executed.append((index, stamp, request))
            if stamp <= request.floor:
                self.violation("real time", "request %s has stamp %d, its client had seen %d "
                               "before it sent it", request.nonce, stamp, request.floor)
            if len(results) != len(request.events):
                self.violation("results", "request %s: %d events, %d results", request.nonce,
                               len(request.events), len(results))
                continue
            judge_event = {"CreateTransfers": self.judge_transfer,
                           "CreateAccounts": self.judge_account}.get(request.method)
            if judge_event:
                for k, (event, result) in enumerate(zip(request.events, results)):
                    judge_event(request, event, result, stamp + k)
        # Log order and stamps agree, and no two requests share a stamp.
        executed.sort(key=lambda item: item[1])
        for before, after in zip(executed, executed[1:]):
            if before[0] > after[0] or before[1] + len(before[2].events) > after[1]:
                self.violation("stamps", "requests %s (index %d, stamp %d) and %s (index %d, stamp "
                               "%d) overlap or cross", before[2].nonce, before[0], before[1],
                               after[2].nonce, after[0], after[1])
        self.count("requests executed", len(executed))

    def judge_transfer(self, request, event, result, stamp):
        row = self.by_id.get(event[0])
        mine = row is not None and row[8] == stamp
        same = row is not None and list(row[1:8]) == event
        if result == OK:
            self.count("transfers acknowledged as posted")
            if row is None:
                self.violation("lost", "transfer %s was acknowledged (request %s) and is not in "
                               "the ledger", event[0], request.nonce)
            elif row[9] or not same:
                self.violation("changed", "transfer %s was acknowledged as %s and is %s", event[0],
                               event, row)
            elif not mine:
                self.violation("changed", "transfer %s was acknowledged with stamp %d and has %d",
                               event[0], stamp, row[8])
            return
        self.count("transfers acknowledged as refused")
        if mine and not row[9]:
            self.violation("refused but posted", "transfer %s was refused with %d", event[0],
                           result)
        elif result in REFUSED_BY_STATE:
            if not mine or row[9] != result:
                self.violation("refusal lost", "transfer %s was refused with %d, on record is %s",
                               event[0], result, row)
        elif mine:
            self.violation("refusal on record", "transfer %s was refused with %d, which burns "
                           "nothing, and is on record", event[0], result)
        elif result == EXISTS and (not same or row[9]) \
                or result in EXISTS_WITH_DIFFERENT and (row is None or row[9] or same) \
                or result == ID_ALREADY_FAILED and (row is None or not row[9]):
            self.violation("wrong refusal", "transfer %s was refused with %d, on record is %s",
                           event[0], result, row)
        elif result not in REFUSED_BY_FIELDS and result > ID_ALREADY_FAILED:
            self.violation("wrong refusal", "transfer %s has unknown result %d", event[0], result)

    def judge_account(self, request, event, result, stamp):
        row = self.accounts.get(event[0])
        same = row is not None and row[1:5] == event
        if result == OK:
            self.count("accounts acknowledged")
            if row is None:
                self.violation("lost", "account %s was acknowledged and is not in the ledger",
                               event[0])
            elif not same or row[10] != stamp:
                self.violation("changed", "account %s was acknowledged as %s at %d and is %s",
                               event[0], event, stamp, row)
        elif row is not None and row[10] == stamp:
            self.violation("refused but posted", "account %s was refused with %d", event[0], result)

    def judge_origins(self):
        """Everything in the ledger was sent, and by a request that may have executed."""
        for row in self.transfers:
            id, stamp = row[1], row[8]
            origins = [(request, k) for request, k in self.sent.get(id, ())
                       if request.events[k] == list(row[1:8]) or row[9]]
            if not origins:
                self.violation("invented", "transfer %s: nobody sent %s", id, row)
            elif all(request.refused for request, _ in origins):
                self.violation("refused but posted", "transfer %s: its request %s was %s", id,
                               origins[0][0].nonce, origins[0][0].refused)
            elif not any(request.decoded is None or request.decoded[2] + k == stamp
                         for request, k in origins):
                self.violation("invented", "transfer %s has stamp %d, which no answer gave", id,
                               stamp)
        made = {event[0] for request in self.requests.values()
                if request.method == "CreateAccounts" and not request.refused
                for event in request.events}
        for id in self.accounts:
            if id not in made:
                self.violation("invented", "account %s: nobody sent it", id)

    # ---- the nodes against each other ----

    def compare_exports(self, paths):
        """Every further export is the first, byte by byte."""
        for path in paths[1:]:
            self.count("further nodes compared")
            with open(paths[0], "rb") as first, open(path, "rb") as other:
                for number, (one, two) in enumerate(itertools.zip_longest(first, other), 1):
                    if one != two:
                        self.violation("nodes differ", "line %d is %r in %s and %r in %s", number,
                                       (one or b"missing")[:200], paths[0],
                                       (two or b"missing")[:200], path)
                        break

    def compare_heads(self, path):
        """[{"node": ..., "index": ..., "digest": ..., "head": ...}]; null: it keeps none."""
        with open(path) as file:
            rows = json.load(file)
        if not rows:
            raise BadInput("%s: no node" % path)
        for key in ("index", "digest", "head"):
            values = {}
            for row in rows:
                if row[key] is not None:
                    values.setdefault(row[key], []).append(row["node"])
            if len(values) != 1:
                self.violation("nodes differ", "%s: %s", key, ", ".join(
                    "%s at nodes %s" % (value, nodes) for value, nodes in values.items()) or "none")
            self.count("nodes with equal %s" % key, max(map(len, values.values()), default=0))

    def judge(self):
        self.index_events()
        self.judge_order()
        self.judge_balances()
        self.judge_requests()
        self.judge_origins()
        return not self.violations

    def report(self, out=sys.stdout):
        for name, number in self.counts.items():
            print("%12d  %s" % (number, name), file=out)
        for kind, texts in self.violations.items():
            print("VIOLATION %s: %d times" % (kind, len(texts)), file=out)
            for text in texts[:SHOWN_PER_KIND]:
                print("    " + text, file=out)
        print("verdict: %s" % ("FAILED, %d violations of %d kinds" % (
            sum(len(texts) for texts in self.violations.values()), len(self.violations))
            if self.violations else "PASSED"), file=out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", required=True, help="directory of client logs (*.log)")
    parser.add_argument("--export", required=True, action="append",
                        help="the exported ledger; again for each further node")
    parser.add_argument("--heads", help="index, digest and chain head of every node")
    arguments = parser.parse_args()
    judge = Judge()
    try:
        names = sorted(n for n in os.listdir(arguments.logs) if n.endswith(".log"))
        if not names:
            raise BadInput("%s: no client log" % arguments.logs)
        for name in names:
            judge.read_log(os.path.join(arguments.logs, name))
        judge.read_export(arguments.export[0])
        judge.compare_exports(arguments.export)
        if arguments.heads:
            judge.compare_heads(arguments.heads)
    except (BadInput, OSError, ValueError, KeyError) as error:
        print("cannot judge: %s" % error, file=sys.stderr)
        return 2
    passed = judge.judge()
    judge.report()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
