"""What survived a run of the failover loop: the canaries are judged by chaos/judge.py, one identity
each; the load beside them by the ids that tally-bench kept of what was acknowledged.

Every run has a ledger of its own for its canaries, so what the judge sees is small and whole. The
load's ledger grows; of it the part that came since the run before is looked at.
"""
import json
import os
import subprocess
import sys

from checkers.canaries import answer_body
from client import amount

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD_LEDGER = 1
PAGE = 4000


class Lost(Exception):
    """The check itself could not be made."""


def rows_of(document, site):
    """The records of a site as dictionaries, outcomes and servers by name."""
    rows = []
    for values in site["records"]:
        row = dict(zip(site["columns"], values))
        row["outcome"] = document["outcomes"][row["outcome"]]
        rows.append(row)
    return rows


def write_log(path, name, lines):
    with open(path, "w") as file:
        for line in [{"event": "client", "name": name}] + lines + [{"event": "end"}]:
            file.write(json.dumps(line) + "\n")


def canary_log(path, document, site, debit, credit):
    """What clients of a site saw, in the order of time, as the judge reads it. Canaries that were
    certainly not executed are left out: should the ledger hold one, nobody sent it."""
    lines = []
    for number, row in enumerate(rows_of(document, site)):
        if row["outcome"] in ("not sent", "not executed") or row["sent_ms"] is None:
            continue
        nonce = row["nonce"]
        back = number % 2 == 1
        event = [nonce, credit if back else debit, debit if back else credit, 1,
                 document["ledger"], 1, 0]
        body = answer_body(row["result"], int(row["index"]), int(row["timestamp_ns"]))
        lines.append((row["sent_ms"], {"event": "send", "nonce": nonce,
                                       "method": "CreateTransfers", "events": [event]}))
        for _ in range(row["attempts"] - 1):
            lines.append((row["sent_ms"], {"event": "again", "nonce": nonce}))
        if row["outcome"] in ("acknowledged", "refused"):
            lines.append((row["answered_ms"] or row["refused_ms"],
                          {"event": "answer", "nonce": nonce, "body": body}))
        elif row["outcome"] in ("found posted", "found refused"):
            lines.append((row["resolved_ms"], {"event": "told", "nonce": nonce,
                                               "outcome": "EXECUTED", "body": body}))
        elif row["outcome"] == "found never":
            lines += [(row["resolved_ms"], {"event": "fence", "nonce": nonce}),
                      (row["resolved_ms"], {"event": "told", "nonce": nonce,
                                            "outcome": "REQUEST_FENCED"})]
        else:
            lines.append((row["sent_ms"], {"event": "unknown", "nonce": nonce}))
    lines.sort(key=lambda line: line[0])
    write_log(path, "site-" + site["name"], [line for _, line in lines])


class Canaries:
    """The ledger of one run: two accounts, made here, with a log for the judge."""

    def __init__(self, api, ledger, directory):
        self.ledger, self.directory = ledger, directory
        self.debit, self.credit = ("%032x" % (ledger << 64 | k) for k in (1, 2))
        os.makedirs(os.path.join(directory, "logs"))
        lines = []
        events = {"CreateLedgers": ("ledgers", [{"id": ledger, "currency": "XTS", "exponent": 2,
                                                 "name": "run"}], [[ledger]]),
                  "CreateAccounts": ("accounts", [{"id": bytes.fromhex(i), "ledger": ledger,
                                                   "code": 1} for i in (self.debit, self.credit)],
                                     [[i, ledger, 1, 0] for i in (self.debit, self.credit)])}
        for method, (field, messages, logged) in events.items():
            identity = api.identity()
            answer = api.insist(method, api.write_body(method, field, messages, identity))
            if answer.body is None:
                raise Lost("%s: %r" % (method, answer))
            lines += [{"event": "send", "nonce": identity["nonce"].hex(), "method": method,
                       "events": logged},
                      {"event": "answer", "nonce": identity["nonce"].hex(),
                       "body": answer.body.hex()}]
        write_log(os.path.join(directory, "logs", "setup.log"), "setup", lines)

    def export(self, api, first):
        """The ledger as chaos/export.py writes it, with places counted within this ledger."""
        out = [["ledger", self.ledger, "XTS", 2]]
        ids = [bytes.fromhex(i) for i in (self.debit, self.credit)]
        for row in api.ask("LookupAccounts", ids=ids).accounts:
            out.append(["account", row.id.hex(), row.ledger, row.code, row.flags,
                        amount(row.debits_posted), amount(row.credits_posted),
                        amount(row.debits_pending), amount(row.credits_pending),
                        row.transfer_count, row.timestamp])
        transfers = 0
        while True:
            page = api.ask("ListTransfers", timeout=60, ledger=self.ledger, first=first, limit=PAGE)
            for row in page.transfers:
                out.append(["transfer", transfers, row.id.hex(), row.debit_account_id.hex(),
                            row.credit_account_id.hex(), amount(row.amount), row.ledger, row.code,
                            row.user_data_64, row.timestamp, row.refused])
                transfers += 1
            first = page.next_first
            if first == 0:
                break
        trial = api.ask("TrialBalance", ledger=self.ledger)
        out.append(["trial", self.ledger, amount(trial.debits_posted),
                    amount(trial.credits_posted), trial.balanced])
        out.append(["end", len(ids), transfers])
        path = os.path.join(self.directory, "export")
        with open(path, "w") as file:
            for row in out:
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
        return path, {row[2] for row in out if row[0] == "transfer"}

    def judge(self, document, api, first):
        """[] or what is wrong, in words."""
        for site in document["sites"]:
            canary_log(os.path.join(self.directory, "logs", "site-%s.log" % site["name"]), document,
                       site, self.debit, self.credit)
        export, ids = self.export(api, first)
        wrong = ["canary %s was not executed, says its client, and is in the ledger" % row["nonce"]
                 for site in document["sites"] for row in rows_of(document, site)
                 if row["outcome"] in ("not sent", "not executed") and row["nonce"] in ids]
        done = subprocess.run([sys.executable, os.path.join(HERE, "judge.py"), "--logs",
                               os.path.join(self.directory, "logs"), "--export", export],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        if done.returncode not in (0, 1):
            raise Lost("the judge could not judge: %s" % done.stdout.decode(errors="replace"))
        if done.returncode == 1:
            wrong += [line.strip() for line in done.stdout.decode().splitlines()
                      if line.startswith(("VIOLATION", "    "))]
        return wrong


class LoadLedger:
    """The load's transfers: what was acknowledged is there once, and the totals fit."""

    def __init__(self):
        self.first, self.total = 0, 0

    def export(self, tool, node):
        status, text = tool("transfer", "export", "--ledger", LOAD_LEDGER, "--first", self.first,
                            role="auditor", nodes=[node])
        if status != 0:
            raise Lost("tally transfer export: exit %d\n%s" % (status, text[-2000:]))
        return [json.loads(line) for line in text.splitlines() if line]

    def judge(self, made, node, files):
        """[] or what is wrong; moves on to what comes after."""
        rows = self.export(made.tool, node)
        acknowledged = set()
        for path in files:
            if os.path.exists(path):
                with open(path, "rb") as file:
                    ids = file.read()
                if len(ids) % 16 != 0:
                    raise Lost("%s has %d bytes" % (path, len(ids)))
                acknowledged.update(ids[i:i + 16].hex() for i in range(0, len(ids), 16))
        posted = [row["id"] for row in rows if row["result"] == "OK"]
        wrong = []
        there = set(posted)
        if len(there) != len(posted):
            wrong.append("load: %d transfers are there twice" % (len(posted) - len(there)))
        if acknowledged - there:
            wrong.append("load: %d of %d acknowledged transfers are LOST, e.g. %s" % (
                len(acknowledged - there), len(acknowledged), min(acknowledged - there)))
        self.total += sum(int(row["amount"]["minor"]) for row in rows if row["result"] == "OK")
        trial = node.api("auditor").ask("TrialBalance", ledger=LOAD_LEDGER)
        if (amount(trial.debits_posted), amount(trial.credits_posted)) != (self.total, self.total):
            wrong.append("load: debits %d, credits %d, but its transfers sum to %d" % (
                amount(trial.debits_posted), amount(trial.credits_posted), self.total))
        if rows:
            self.first = int(rows[-1]["sequence"]) + 1
        return wrong, len(acknowledged)
