#!/usr/bin/python3
"""Judges a ledger by what its clients saw.

    chaos/judge.py --logs DIR --export FILE [--export FILE]... [--heads FILE]

Reads these only: the logs that clients wrote (each line before it acted on it: docs/testing.md
describes them), the ledger as it was exported afterwards, of a cluster once per data node, and what
each node said of its index, digest and chain head. The rules are those of chaos/checkers
(docs/checkers.md), which share no code with the ledger; here are the ones that this input can show.

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
  - a second ledger that executes everything in commit order gives every answer again; balances are
    the sums over posted transfers, limits hold after each of them, and each ledger's debits equal its
    credits.

Exit status: 0 passed, 1 violations found, 2 the input cannot be judged.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkers import run  # noqa: E402
from checkers.client_logs import BadInput  # noqa: E402
from checkers.history import History  # noqa: E402

SHOWN_PER_KIND = 5


class Judge:
    """A history of clients' logs and exports, without a directory of its own."""

    def __init__(self):
        self.history = History()
        self.violations = {}        # kind -> [text]
        self.kinds = {}             # kind -> how often

    def read_log(self, path):
        self.history.logs.add(path)

    def read_export(self, path):
        self.history.add_export(path)

    def read_heads(self, path):
        self.history.add_heads(path)

    @property
    def counts(self):
        counts = dict(self.history.logs.counts)
        export = self.history.export
        if export:
            counts["transfers in the ledger"] = len(export.transfers)
            counts["of these refused"] = sum(1 for row in export.transfers if row[-1])
        counts["requests executed"] = len(self.history.executed)
        return counts

    def judge(self):
        self.history.logs.finish()
        for found in run.check_history(self.history).values():
            for kind, number in found.kinds.items():
                self.kinds[kind] = self.kinds.get(kind, 0) + number
            for violation in found:
                self.violations.setdefault(violation.evidence["kind"], []).append(violation.text)
        return not self.violations

    def report(self, out=sys.stdout):
        for name, number in self.counts.items():
            print("%12d  %s" % (number, name), file=out)
        for kind, texts in self.violations.items():
            print("VIOLATION %s: %d times" % (kind, self.kinds[kind]), file=out)
            for text in texts[:SHOWN_PER_KIND]:
                print("    " + text, file=out)
        print("verdict: %s" % ("FAILED, %d violations of %d kinds" % (
            sum(self.kinds.values()), len(self.kinds)) if self.kinds else "PASSED"), file=out)


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
        for path in arguments.export:
            judge.read_export(path)
        if arguments.heads:
            judge.read_heads(arguments.heads)
        passed = judge.judge()
    except (BadInput, OSError, ValueError, KeyError) as error:
        print("cannot judge: %s" % error, file=sys.stderr)
        return 2
    judge.report()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
