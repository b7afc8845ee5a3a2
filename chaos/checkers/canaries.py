"""Reports of `tally observe` as evidence: its canaries are further clients, its summary is the pause.

docs/observe.md describes the file. The observer counts milliseconds from its own begin; where the
history says how the wall clock and the monotonic one stood together, they become the same times as
those of the other clients, widened by what two clock readings may differ.
"""
import sys

from .client_logs import BadInput, document

CODE = 1
MARGIN_NS = 5_000_000       # began_wall_ns and meta.json read the clocks at different moments


def answer_body(result, index, stamp):
    """The canonical body of an answer with one result (docs/api.md)."""
    return (b"\x0a\x01" + bytes([result]) + b"\x11" + index.to_bytes(8, "little")
            + b"\x19" + stamp.to_bytes(8, "little")).hex()


class Report:
    def __init__(self, path):
        self.path = path
        self.document = document(path, dict)
        if self.document.get("format") != "tally-observe":
            raise BadInput("%s: no report of tally observe" % path)
        self.sites = self.document["sites"]
        self.ledger = self.document["ledger"]
        self.accounts = [sys.intern(site[side]) for site in self.sites
                         for side in ("debit", "credit")]

    def client(self, name):
        """What requests of a site's canaries have for a client."""
        return "%s/%s" % (self.path, name)

    def rows(self, site):
        for values in site["records"]:
            row = dict(zip(site["columns"], values))
            row["outcome"] = self.document["outcomes"][row["outcome"]]
            yield row

    def add_to(self, logs, mono_of_wall):
        """Each canary that may have been executed becomes a request of `logs`. What certainly was not
        is left out: should the ledger hold it, nobody sent it. mono_of_wall turns a wall time into
        a monotonic one, or is None."""
        began = None
        if mono_of_wall:
            began = mono_of_wall(int(self.document["began_wall_ns"]))
        for site in self.sites:
            name = self.client(site["name"])

            def moment(ms, margin):
                return None if began is None or ms is None else int(began + ms * 1e6 + margin)

            debit, credit = sys.intern(site["debit"]), sys.intern(site["credit"])
            for number, row in enumerate(self.rows(site)):
                if row["outcome"] in ("not sent", "not executed") or row["sent_ms"] is None:
                    continue
                nonce = sys.intern(row["nonce"])
                event = [nonce, credit if number % 2 else debit, debit if number % 2 else credit, 1,
                         self.ledger, CODE, 0]
                where = "%s canary %d" % (name, number)
                logs.take_send(name, where, {
                    "nonce": nonce, "method": "CreateTransfers", "events": [event],
                    "t": moment(row["sent_ms"], -MARGIN_NS)}, 0)
                self.add_outcome(logs, logs.requests[nonce], where, row, moment)

    @staticmethod
    def add_outcome(logs, request, where, row, moment):
        body = answer_body(row["result"], int(row["index"]), int(row["timestamp_ns"]))
        if row["outcome"] in ("acknowledged", "refused"):
            logs.take(request, "answer", where, {
                "body": body, "t": moment(row["answered_ms"] or row["refused_ms"], MARGIN_NS),
                "durability": "both-sites" if row["durability"] == 1 else "degraded"})
        elif row["outcome"] in ("found posted", "found refused"):
            logs.take(request, "told", where, {"event": "told", "outcome": "EXECUTED", "body": body,
                                               "t": moment(row["resolved_ms"], MARGIN_NS)})
        elif row["outcome"] == "found never":
            logs.take(request, "fence", where, {})
            logs.take(request, "told", where, {"event": "told", "outcome": "REQUEST_FENCED",
                                               "t": moment(row["resolved_ms"], MARGIN_NS)})
        else:
            logs.take(request, "unknown", where, {})
