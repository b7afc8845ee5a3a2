"""The ledger as a node exported it (chaos/export.py describes the rows), and nodes side by side."""
import itertools
import sys

from .client_logs import BadInput, lines

# Columns of a transfer's row once the word "transfer" is gone; 1 to 7 are the event as it was sent.
SEQUENCE, ID, DEBIT, CREDIT, AMOUNT, LEDGER, CODE, USER_DATA, STAMP, REFUSED = range(10)
ACCOUNT_STAMP = 10      # column of an account's row, the word "account" included


class Export:
    def __init__(self, path):
        self.path = path
        self.ledgers, self.trials = {}, {}
        self.accounts = {}          # id -> row as exported, kind first
        self.twice = []             # ids of accounts that are there twice
        self.transfers = []         # tuples, columns as above
        ended = None
        for number, row in lines(path):
            try:
                kind = row[0]
                if kind == "transfer":
                    row = row[1:]
                    row[ID:AMOUNT] = map(sys.intern, row[ID:AMOUNT])
                    if len(row) != REFUSED + 1:
                        raise IndexError("a transfer of %d columns" % len(row))
                    self.transfers.append(tuple(row))
                elif kind == "account":
                    row[1] = sys.intern(row[1])
                    if row[1] in self.accounts:
                        self.twice.append(row[1])
                    self.accounts[row[1]] = row
                    row[10]
                elif kind == "ledger":
                    self.ledgers[row[1]] = row
                elif kind == "trial":
                    self.trials[row[1]] = row
                elif kind == "end":
                    ended = row
                elif kind != "export":
                    raise BadInput("%s:%d: unknown row %r" % (path, number, kind))
            except (IndexError, KeyError, TypeError) as error:
                raise BadInput("%s:%d: %s: %s" % (path, number, type(error).__name__, error)) from None
        if ended is None:
            raise BadInput("%s: has no end; the export did not finish" % path)
        if ended[1:] != [len(self.accounts), len(self.transfers)]:
            raise BadInput("%s: %s rows announced, %d accounts and %d transfers found"
                           % (path, ended[1:], len(self.accounts), len(self.transfers)))
        self.by_id = {row[ID]: row for row in self.transfers}


def first_difference(one, other):
    """(line number, line of one, line of the other), or None when the files are equal."""
    with open(one, "rb") as first, open(other, "rb") as second:
        for number, (a, b) in enumerate(itertools.zip_longest(first, second), 1):
            if a != b:
                return number, a, b
    return None
