"""What clients wrote down, gathered by request. docs/testing.md describes the lines.

Logs are read once, line by line; of repeats only what differs from the first answer is kept, so that
memory grows with the requests and not with how often they were asked about. Nothing is judged here:
what looks wrong is kept as a fact of the request, and the claims speak of it.
"""
import json
import os
import sys

from . import wire

COUNTED = {"again": "requests repeated", "unknown": "calls without an answer",
           "not_accepted": "calls not accepted", "fence": "fences sent",
           "ask": "questions asked", "untold": "questions without an answer"}
BEGINS = ("send", "again", "fence", "ask")
READS = ("read", "balances", "totals")
TRANSFER_FIELDS = 7     # id, debit, credit, amount, ledger, code, user data


class BadInput(Exception):
    """A file that cannot be judged; the text says where."""


def lines(path):
    """(number, object) of each line of a file of JSON lines."""
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                raise BadInput("%s:%d: the last line is cut" % (path, number))
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise BadInput("%s:%d: %s" % (path, number, error)) from None


def objects(path, of):
    """[of(object)] of each line of such a file; what is no object, or lacks something, is named."""
    found = []
    for number, line in lines(path):
        try:
            if line.__class__ is not dict:
                raise TypeError("no object")
            found.append(of(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput("%s:%d: %s: %s" % (path, number, type(error).__name__, error)) from None
    return found


def document(path, kind):
    """What a file of JSON holds: a dict or a list, as is said."""
    with open(path) as file:
        try:
            told = json.load(file)
        except ValueError as error:
            raise BadInput("%s: %s" % (path, error)) from None
    if told.__class__ is not kind:
        raise BadInput("%s: holds no %s" % (path, "object" if kind is dict else "list"))
    return told


class Request:
    """One identity: what was sent under it and all that came back."""
    __slots__ = ("nonce", "client", "method", "events", "body", "decoded", "unreadable", "others",
                 "repeats", "outcomes", "unseen", "floor", "fenced", "sent_t", "ended_t", "both_t",
                 "not_in_log")

    def __init__(self, nonce, client, method, events, floor, sent_t):
        self.nonce, self.client, self.method, self.events = nonce, client, method, events
        self.body = None            # hex, of the first final answer
        self.decoded = None         # (results as bytes, index, stamp) of it
        self.unreadable = None      # why it could not be decoded
        self.others = ()            # [(where, body)] that differ from it
        self.repeats = 0            # identical ones
        self.outcomes = ()          # final words about the whole request, each once, in order
        self.unseen = None          # where it was said to be unseen although it was final
        self.floor = floor          # stamp that the client had seen answered before it sent this
        self.fenced = False         # somebody sent a fence
        self.sent_t, self.ended_t = sent_t, None
        self.both_t = None          # when an answer first said that both sites have it
        self.not_in_log = False     # some call ended without a final word

    @property
    def open(self):
        return not self.outcomes

    @property
    def refused(self):
        """The outcome of a request that was refused as a whole, or None."""
        return self.outcomes[0] if self.outcomes and self.body is None else None


class Read:
    """One answered read."""
    __slots__ = ("kind", "where", "node", "began_t", "ended_t", "index", "max_age_ms", "min_index",
                 "line")

    def __init__(self, kind, where, line):
        self.kind, self.where, self.line = kind, where, line
        self.node = line.get("node")
        self.began_t, self.ended_t = line.get("began"), line.get("t")
        self.index = line.get("index")
        self.max_age_ms, self.min_index = line.get("max_age_ms"), line.get("min_index")


class ClientLogs:
    def __init__(self):
        self.requests = {}          # nonce -> Request
        self.reads = []
        self.late = []              # (ms it took, limit ms, where, begin), of the late ones only
        self.calls_checked = 0
        self.hung = []              # (log, event, nonce, t, limit ms): begun, never ended
        self.unfinished = []        # logs without an end
        self.principals = {}        # log -> its first line
        self.counts = {}
        self.early = []             # lines about requests of a log that is read later
        self.late_ms = 5000         # how late a call may end after its limit
        self.answers = {}           # site -> [t] of answers

    def count(self, name, number=1):
        self.counts[name] = self.counts.get(name, 0) + number

    # ---- one log ----

    def add(self, path, strict=True):
        """One client's log; it sends a request after the one before was final. With `strict` a log
        without an end cannot be judged; otherwise that is a fact for a claim."""
        begun, floor, ended, last_t = {}, 0, False, None
        site, times = "", []
        try:
            for number, line in lines(path):
                where = "%s:%d" % (os.path.basename(path), number)
                last_t = line.get("t", last_t)
                event = line["event"]
                if event == "end":
                    ended = True
                elif event == "client":
                    self.principals[path], site = line, line.get("site", "")
                elif event == "send":
                    self.take_send(path, where, line, floor)
                    begun[line["nonce"]] = line
                elif event in READS or event == "unread":
                    self.take_read(event, where, line)
                else:
                    floor = self.take_call(event, where, line, begun, floor, times)
        except KeyError as error:
            raise BadInput("%s:%d: lacks %s" % (path, number, error)) from None
        except (TypeError, AttributeError) as error:
            raise BadInput("%s:%d: %s" % (path, number, error)) from None
        except BadInput as error:
            if strict or "is cut" not in str(error):
                raise               # a client that was killed may leave half a line
        if times:
            self.answers.setdefault(site, []).extend(times)
        if not ended:
            if strict:
                raise BadInput("%s: has no end; the client did not finish" % path)
            self.unfinished.append((os.path.basename(path), last_t))
        for nonce, line in begun.items():
            if line.get("limit_ms") is not None:
                self.hung.append((os.path.basename(path), line["event"], nonce, line.get("t"),
                                  line["limit_ms"]))

    def take_send(self, path, where, line, floor):
        nonce = line["nonce"]
        if nonce in self.requests:
            raise BadInput("%s: nonce %s was sent before" % (where, nonce))
        events = tuple(tuple(sys.intern(x) if x.__class__ is str else x for x in event)
                       if event.__class__ is list else (event,) for event in line["events"])
        if line["method"] == "CreateTransfers" \
                and any(len(event) != TRANSFER_FIELDS for event in events):
            raise BadInput("%s: a transfer of other than %d fields" % (where, TRANSFER_FIELDS))
        self.requests[nonce] = Request(nonce, path, sys.intern(line["method"]), events, floor,
                                       line.get("t"))
        self.count("requests sent")
        self.count("events sent", len(events))

    def take_call(self, event, where, line, begun, floor, times):
        """A line about a request. Returns the highest stamp that this client has seen."""
        nonce = line["nonce"]
        if event not in BEGINS and event not in ("answer", "told", "refused", "unknown",
                                                 "not_accepted", "untold"):
            raise BadInput("%s: unknown event %r" % (where, event))
        before = begun.pop(nonce, None)
        if before is not None and before.get("limit_ms") is not None and "t" in line:
            # A new call of a sequential client shows that the one before had ended by then.
            self.take_duration(before, line["t"], "%s %s" % (where, before["event"]))
        if event in BEGINS:
            begun[nonce] = line
        if event == "answer" and "t" in line:
            times.append(line["t"])
        request = self.requests.get(nonce)
        if request is None:
            self.early.append((event, where, line))
            return floor
        self.take(request, event, where, line)
        if event in ("answer", "told") and request.decoded:
            return max(floor, request.decoded[2])
        return floor

    def take_duration(self, begin, ended_t, where):
        took_ms = (ended_t - begin["t"]) / 1e6
        self.calls_checked += 1
        if took_ms > begin["limit_ms"] + self.late_ms:
            self.late.append((took_ms, begin["limit_ms"], where, begin["t"]))

    # ---- what it says of a request ----

    def take(self, request, event, where, line):
        if event in COUNTED:
            self.count(COUNTED[event])
            request.fenced = request.fenced or event == "fence"
            request.not_in_log = request.not_in_log or event in ("unknown", "not_accepted")
        elif event == "answer":
            self.take_answer(request, where, line["body"], line.get("t"))
            if line.get("durability") == wire.BOTH_SITES and request.both_t is None:
                request.both_t = line.get("t", 0)
        elif event == "refused" or event == "told":
            self.take_outcome(request, where, line)

    def take_final(self, request, outcome, t):
        if outcome not in request.outcomes:
            request.outcomes += (outcome,)
        if request.ended_t is None:
            request.ended_t = t

    def take_answer(self, request, where, body, t):
        """A body that claims to be the answer of an executed request."""
        self.count("answers")
        self.take_final(request, "EXECUTED", t)
        if request.body is None:
            request.body = body
            try:
                request.decoded = wire.decode_answer(bytes.fromhex(body))
            except (ValueError, IndexError) as error:
                request.unreadable = str(error)
        elif request.body != body:
            if len(request.others) < 5:
                request.others += ((where, body),)
        else:
            request.repeats += 1
            self.count("identical repeats")

    def take_outcome(self, request, where, line):
        """What GetRequest, FenceRequest or a refusal said about a request."""
        outcome = line["outcome"]
        if outcome == "EXECUTED":
            self.take_answer(request, where, line["body"], line.get("t"))
        elif outcome == "NOT_YET_SEEN":
            if not request.open:
                request.unseen = where
        elif outcome in wire.FINAL:
            self.take_final(request, outcome, line.get("t"))
            self.count("requests refused as a whole")
        elif outcome not in wire.NOT_FINAL:
            raise BadInput("%s: request %s: unknown outcome %r" % (where, request.nonce, outcome))

    def take_read(self, event, where, line):
        if line.get("limit_ms") is not None and "began" in line and "t" in line:
            self.take_duration({"t": line["began"], "limit_ms": line["limit_ms"]}, line["t"],
                               "%s %s" % (where, event))
        if event == "unread":
            self.count("reads without an answer")
            return
        if event != "totals":
            line["ids"] = [sys.intern(id) for id in line["ids"]]
        if event == "read":
            line["found"] = [sys.intern(id) for id in line["found"]]
        elif event == "balances":
            line["rows"] = [[sys.intern(row[0])] + row[1:] for row in line["rows"]]
        else:
            line["ledger"], line["debits"], line["credits"], line["balanced"]
        self.count({"read": "reads of transfers", "balances": "reads of balances",
                    "totals": "reads of trial balances"}[event])
        self.reads.append(Read(event, where, line))

    def finish(self):
        """After the last log: lines of one client about another's request find it now."""
        for event, where, line in self.early:
            request = self.requests.get(line["nonce"])
            if request is None:
                raise BadInput("%s: nobody sent request %s" % (where, line["nonce"]))
            self.take(request, event, where, line)
        self.early = []
