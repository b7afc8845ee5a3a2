#!/usr/bin/python3
"""Writes the whole ledger of a running node as JSON lines, for chaos/judge.py.

    chaos/export.py [--host ADDRESS] --port N --ca FILE --certificate FILE --key FILE --out FILE

One array per line, the kind first:
  ledger    id, currency, exponent
  account   id, ledger, code, flags, debits posted, credits posted, debits pending, credits pending,
            transfer count, stamp
  transfer  sequence, id, debit account, credit account, amount, ledger, code, user data 64, stamp,
            refused (0 = posted)
  trial     ledger, debits posted, credits posted, balanced
  end       number of accounts, number of transfers
Ids are in hexadecimal. The node must be idle: pages are read one after another.
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "tests", "e2e"))
sys.dont_write_bytecode = True
import schema  # noqa: E402
from client import Api, amount  # noqa: E402

PAGE = 4000


class Files:
    """Certificate files by path, as the client wants them."""

    def __init__(self, certificate, key=None):
        self.certificate, self.key = certificate, key

    def certificate_bytes(self):
        with open(self.certificate, "rb") as file:
            return file.read()

    def key_bytes(self):
        with open(self.key, "rb") as file:
            return file.read()


def pages(api, method, field):
    first = 0
    while True:
        page = api.ask(method, timeout=60, first=first, limit=PAGE)
        yield from getattr(page, field)
        first = page.next_first
        if first == 0:
            return


def export(api, write):
    ledgers = list(api.ask("ListLedgers").ledgers)
    for ledger in ledgers:
        write(["ledger", ledger.id, ledger.currency, ledger.exponent])
    accounts = transfers = 0
    for row in pages(api, "ListAccounts", "accounts"):
        accounts += 1
        write(["account", row.id.hex(), row.ledger, row.code, row.flags, amount(row.debits_posted),
               amount(row.credits_posted), amount(row.debits_pending),
               amount(row.credits_pending), row.transfer_count, row.timestamp])
    for row in pages(api, "ListTransfers", "transfers"):
        transfers += 1
        write(["transfer", row.sequence, row.id.hex(), row.debit_account_id.hex(),
               row.credit_account_id.hex(), amount(row.amount), row.ledger, row.code,
               row.user_data_64, row.timestamp, row.refused])
    for ledger in ledgers:
        trial = api.ask("TrialBalance", ledger=ledger.id)
        write(["trial", ledger.id, amount(trial.debits_posted), amount(trial.credits_posted),
               trial.balanced])
    write(["end", accounts, transfers])
    return accounts, transfers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("port", "ca", "certificate", "key", "out"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    api = Api(int(arguments.port), schema.compile_project(), Files(arguments.ca),
              Files(arguments.certificate, arguments.key), host=arguments.host)
    with open(arguments.out, "w") as file:
        counts = export(api, lambda row: file.write(json.dumps(row, separators=(",", ":")) + "\n"))
    api.close()
    print("exported %d accounts and %d transfers" % counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
