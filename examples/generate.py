#!/usr/bin/env python3
"""Writes accounts.csv and transfers.csv for `tally account create --file` and `tally transfer import`.

The same arguments give the same bytes on every machine. A fixed share of the transfers is wrong on
purpose; expected.json says how many rows of each kind there are and what the ledger must answer, so
that a demo or a test can compare. Ledgers 1 (EUR, exponent 2) and 2 (JPY, exponent 0) must exist.

Balances are kept while generating: every row that is not wrong on purpose can be posted, in file
order. Python 3, standard library only.
"""
import argparse
import hashlib
import json
import os
import random
import sys

# Rows per thousand, what they are, and what an import must say about them.
WRONG = [
    ("unknown_account", 4, "CREDIT_ACCOUNT_NOT_FOUND"),
    ("zero_amount", 3, "AMOUNT_ZERO"),
    ("same_account", 3, "ACCOUNTS_SAME"),
    ("too_many_decimals", 3, "ROW_INVALID"),
    ("other_ledger", 3, "TRANSFER_ON_OTHER_LEDGER"),
    ("duplicate_id", 3, "EXISTS_WITH_DIFFERENT_AMOUNT"),
    ("overdraft", 4, "EXCEEDS_CREDITS"),
    ("malformed", 3, "ROW_INVALID"),
]

TREASURY = "1"  # the bank's own account: no limit
FUNDING_MINOR = 1_000_000  # 10 000.00 to each customer


def identifier(seed, kind, number):
    """32 hex digits that look random and are the same for the same seed."""
    text = f"{seed}/{kind}/{number}".encode()
    return hashlib.sha256(text).hexdigest()[:32]


def money(minor):
    return f"{minor // 100}.{minor % 100:02d}"


class Generator:
    def __init__(self, seed, account_count, transfer_count):
        self.seed = seed
        self.random = random.Random(seed)
        self.transfer_count = transfer_count
        self.customers = [identifier(seed, "customer", i) for i in range(account_count)]
        self.savers = [identifier(seed, "saver", i) for i in range(max(1, account_count // 100))]
        self.balance = [0] * account_count
        self.row_count = 0
        self.with_id = []  # (id, debit, credit, minor) of posted rows that have one
        self.counts = {"posted": 0}
        self.malformed_count = 0

    def accounts(self):
        yield "id,ledger,code,flags"
        yield f"{TREASURY},1,1000,"
        for customer in self.customers:
            yield f"{customer},1,2000,debits_must_not_exceed_credits"
        for saver in self.savers:  # never credited, so never able to pay
            yield f"{saver},1,2100,debits_must_not_exceed_credits"

    def transfers(self):
        yield "id,debit_account_id,credit_account_id,amount,code,ledger,value_date"
        for place, customer in enumerate(self.customers):
            if self.row_count == self.transfer_count:
                return
            self.balance[place] += FUNDING_MINOR
            yield self.row("", TREASURY, customer, money(FUNDING_MINOR), code=1)
            self.counts["posted"] += 1
        while self.row_count < self.transfer_count:
            yield self.wrong_or_good()

    def row(self, id, debit, credit, amount, code=2, ledger="1", date="2026-11-23"):
        self.row_count += 1
        return f"{id},{debit},{credit},{amount},{code},{ledger},{date}"

    def wrong_or_good(self):
        draw = self.random.randrange(1000)
        for name, share, _ in WRONG:
            if draw < share:
                line = getattr(self, name)()
                if line is not None:
                    self.counts[name] = self.counts.get(name, 0) + 1
                    return line
                break
            draw -= share
        self.counts["posted"] += 1
        return self.good()

    def two_customers(self):
        debit = self.random.randrange(len(self.customers))
        credit = self.random.randrange(len(self.customers) - 1)
        return debit, credit + (credit >= debit)

    def good(self):
        debit, credit = self.two_customers()
        minor = self.random.randint(1, 50_000)
        if minor > self.balance[debit]:  # rare: the treasury helps out
            self.balance[credit] += minor
            return self.row("", TREASURY, self.customers[credit], money(minor))
        self.balance[debit] -= minor
        self.balance[credit] += minor
        id = ""
        if self.random.randrange(10) == 0:
            id = identifier(self.seed, "transfer", self.row_count)
            self.with_id.append((id, debit, credit, minor))
            if len(self.with_id) > 1000:
                self.with_id.pop(0)
        return self.row(id, self.customers[debit], self.customers[credit], money(minor))

    # ---- wrong on purpose ----

    def unknown_account(self):
        debit, _ = self.two_customers()
        nobody = identifier(self.seed, "nobody", self.row_count)
        return self.row("", self.customers[debit], nobody, "1.00")

    def zero_amount(self):
        debit, credit = self.two_customers()
        return self.row("", self.customers[debit], self.customers[credit], "0.00")

    def same_account(self):
        debit, _ = self.two_customers()
        return self.row("", self.customers[debit], self.customers[debit], "1.00")

    def too_many_decimals(self):
        debit, credit = self.two_customers()
        return self.row("", self.customers[debit], self.customers[credit], "1.005")

    def other_ledger(self):
        debit, credit = self.two_customers()
        return self.row("", self.customers[debit], self.customers[credit], "1", ledger="2")

    def duplicate_id(self):
        if not self.with_id:
            return None
        id, debit, credit, minor = self.random.choice(self.with_id)
        return self.row(id, self.customers[debit], self.customers[credit], money(minor + 1))

    def overdraft(self):
        saver = self.random.choice(self.savers)
        credit = self.random.randrange(len(self.customers))
        return self.row("", saver, self.customers[credit], "0.01")

    def malformed(self):
        debit, credit = (self.customers[i] for i in self.two_customers())
        forms = [
            f"{debit},{credit},1.00",  # too few fields
            f",{debit},{credit},1.00,2,1,2026-11-23,extra",
            f',"{debit},{credit},1.00,2,1,2026-11-23',  # a quote that is not closed
            f",{debit},{credit},-1.00,2,1,2026-11-23",
            f',{debit},{credit},"1,000.00",2,1,2026-11-23',
            f",{debit},{credit},,2,1,2026-11-23",
            f",no-account,{credit},1.00,2,1,2026-11-23",
            f",{debit},{credit},1.00,two,1,2026-11-23",
        ]
        self.row_count += 1
        self.malformed_count += 1
        return forms[self.malformed_count % len(forms)]


def write_lines(path, lines):
    with open(path, "w", encoding="ascii", newline="\n") as out:
        for line in lines:
            out.write(line + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accounts", type=int, default=1000, help="customers, at least 2")
    parser.add_argument("--transfers", type=int, default=100_000, help="rows of transfers.csv")
    parser.add_argument("--out", default=".", help="directory, made when missing")
    arguments = parser.parse_args()
    if arguments.accounts < 2 or arguments.transfers < 0:
        parser.error("at least 2 accounts and 0 transfers")

    os.makedirs(arguments.out, exist_ok=True)
    generator = Generator(arguments.seed, arguments.accounts, arguments.transfers)
    write_lines(os.path.join(arguments.out, "accounts.csv"), generator.accounts())
    write_lines(os.path.join(arguments.out, "transfers.csv"), generator.transfers())
    results = {}
    for name, _, result in WRONG:
        results[result] = results.get(result, 0) + generator.counts.get(name, 0)
    expected = {
        "seed": arguments.seed,
        "accounts": 1 + len(generator.customers) + len(generator.savers),
        "rows": generator.row_count,
        "posted": generator.counts["posted"],
        "rejected": sum(results.values()),
        "results": results,
    }
    with open(os.path.join(arguments.out, "expected.json"), "w", encoding="ascii") as out:
        json.dump(expected, out, indent=2, sort_keys=True)
        out.write("\n")
    json.dump(expected, sys.stdout, indent=2, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
