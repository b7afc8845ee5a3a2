#!/usr/bin/python3
"""The oracle of the checkers, result by result: setup, attempt, what it says, and balances afterwards.

The numbers come from docs/formats/command.md. Every result that the oracle's source can give has a row
here that gives it; a result without one fails the test.
"""
import os
import re
import sys
import unittest

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "chaos"))
from checkers import wire  # noqa: E402
from checkers.oracle import AMOUNT_MAX, MAX, ZERO, Oracle  # noqa: E402

# A transfer that is accepted in the prepared ledger: id, debit, credit, amount, ledger, code, data.
GOOD = ("t", "a", "b", 10, 1, 5, 7)


def ledger():
    """Two ledgers. a and b are free; c may not have more debits than credits, d the reverse. c has
    been credited 100 by a, and b debited 40 for d; x and y are on the second ledger."""
    oracle = Oracle()
    for number in (1, 2):
        oracle.make_ledger(number)
    for id, of, flags in (("a", 1, 0), ("b", 1, 0), ("c", 1, 1), ("d", 1, 2), ("x", 2, 0),
                          ("y", 2, 0)):
        oracle.make_account(id, of, 9, flags)
    assert oracle.post(("t0", "a", "c", 100, 1, 5, 0))
    assert oracle.post(("t1", "d", "b", 40, 1, 5, 0))
    oracle.fail("burned")
    return oracle


def but(**fields):
    """GOOD with other fields."""
    names = ("id", "debit", "credit", "amount", "ledger", "code", "data")
    return tuple(fields.get(name, value) for name, value in zip(names, GOOD))


TRANSFERS = [
    ("ok", GOOD, wire.OK),
    ("ID_ZERO", but(id=ZERO), wire.ID_ZERO),
    ("ID_MAX", but(id=MAX), wire.ID_MAX),
    ("LEDGER_ZERO", but(ledger=0), wire.LEDGER_ZERO),
    ("CODE_ZERO", but(code=0), wire.CODE_ZERO),
    ("DEBIT_ID_ZERO", but(debit=ZERO), wire.DEBIT_ID_ZERO),
    ("DEBIT_ID_MAX", but(debit=MAX), wire.DEBIT_ID_MAX),
    ("CREDIT_ID_ZERO", but(credit=ZERO), wire.CREDIT_ID_ZERO),
    ("CREDIT_ID_MAX", but(credit=MAX), wire.CREDIT_ID_MAX),
    ("ACCOUNTS_SAME", but(credit="a"), wire.ACCOUNTS_SAME),
    ("AMOUNT_ZERO", but(amount=0), wire.AMOUNT_ZERO),
    ("ID_ALREADY_FAILED", but(id="burned"), wire.ID_ALREADY_FAILED),
    ("EXISTS", ("t0", "a", "c", 100, 1, 5, 0), wire.EXISTS),
    ("another ledger", ("t0", "a", "c", 100, 2, 5, 0), wire.EXISTS_WITH_DIFFERENT_LEDGER),
    ("another code", ("t0", "a", "c", 100, 1, 6, 0), wire.EXISTS_WITH_DIFFERENT_CODE),
    ("another debit", ("t0", "b", "c", 100, 1, 5, 0), wire.EXISTS_WITH_DIFFERENT_DEBIT),
    ("another credit", ("t0", "a", "b", 100, 1, 5, 0), wire.EXISTS_WITH_DIFFERENT_CREDIT),
    ("another amount", ("t0", "a", "c", 101, 1, 5, 0), wire.EXISTS_WITH_DIFFERENT_AMOUNT),
    ("other data", ("t0", "a", "c", 100, 1, 5, 1), wire.EXISTS_WITH_DIFFERENT_USER_DATA_64),
    ("LEDGER_NOT_FOUND", but(ledger=3), wire.LEDGER_NOT_FOUND),
    ("DEBIT_NOT_FOUND", but(debit="q"), wire.DEBIT_NOT_FOUND),
    ("CREDIT_NOT_FOUND", but(credit="q"), wire.CREDIT_NOT_FOUND),
    ("ACCOUNTS_ON_DIFFERENT_LEDGERS", but(credit="x"), wire.ACCOUNTS_ON_DIFFERENT_LEDGERS),
    ("TRANSFER_ON_OTHER_LEDGER", but(debit="x", credit="y"), wire.TRANSFER_ON_OTHER_LEDGER),
    ("OVERFLOWS_DEBITS", but(amount=AMOUNT_MAX - 99), wire.OVERFLOWS_DEBITS),
    ("OVERFLOWS_CREDITS", but(debit="b", credit="c", amount=AMOUNT_MAX - 99),
     wire.OVERFLOWS_CREDITS),
    ("debits may reach credits", but(debit="c", amount=100), wire.OK),
    ("EXCEEDS_CREDITS", but(debit="c", amount=101), wire.EXCEEDS_CREDITS),
    ("credits may reach debits", but(credit="d", amount=40), wire.OK),
    ("EXCEEDS_DEBITS", but(credit="d", amount=41), wire.EXCEEDS_DEBITS),
    ("OVERFLOWS_LEDGER", but(debit="b", credit="a", amount=AMOUNT_MAX - 139), wire.OVERFLOWS_LEDGER),
    # The first rung that applies: the event alone, then the id, then the state, by number.
    ("the event before the id", ("t0", "a", "c", 0, 1, 5, 0), wire.AMOUNT_ZERO),
    ("a spent id whatever else differs", ("burned", "q", "r", 1, 3, 5, 0), wire.ID_ALREADY_FAILED),
    ("the id before the state", ("t0", "q", "c", 100, 1, 5, 0), wire.EXISTS_WITH_DIFFERENT_DEBIT),
    ("the ledger before the accounts", but(ledger=3, debit="q"), wire.LEDGER_NOT_FOUND),
    ("the debit side before the credit side", but(debit="q", credit="r"), wire.DEBIT_NOT_FOUND),
    ("both limits: the debit side's", but(debit="c", credit="d", amount=101), wire.EXCEEDS_CREDITS),
]

ACCOUNTS = [
    ("ok", ("n", 1, 1, 0), wire.OK),
    ("ID_ZERO", (ZERO, 1, 1, 0), wire.ID_ZERO),
    ("ID_MAX", (MAX, 1, 1, 0), wire.ID_MAX),
    ("RESERVED_FLAG", ("n", 1, 1, 4), wire.RESERVED_FLAG),
    ("FLAGS_MUTUALLY_EXCLUSIVE", ("n", 1, 1, 3), wire.FLAGS_MUTUALLY_EXCLUSIVE),
    ("LEDGER_ZERO", ("n", 0, 1, 0), wire.LEDGER_ZERO),
    ("CODE_ZERO", ("n", 1, 0, 0), wire.CODE_ZERO),
    ("EXISTS", ("c", 1, 9, 1), wire.EXISTS),
    ("other flags", ("c", 1, 9, 0), wire.EXISTS_WITH_DIFFERENT_FLAGS),
    ("another ledger", ("c", 2, 9, 1), wire.EXISTS_WITH_DIFFERENT_LEDGER),
    ("another code", ("c", 1, 8, 1), wire.EXISTS_WITH_DIFFERENT_CODE),
    ("LEDGER_NOT_FOUND", ("n", 3, 1, 0), wire.LEDGER_NOT_FOUND),
]

LEDGERS = [("ok", (3,), wire.OK), ("ID_ZERO", (0,), wire.ID_ZERO), ("EXISTS", (1,), wire.EXISTS)]


class OracleOfTheCheckers(unittest.TestCase):
    def test_every_row_of_the_ladders(self):
        for rows, judge in ((TRANSFERS, "judge_transfer"), (ACCOUNTS, "judge_account"),
                            (LEDGERS, "judge_ledger")):
            for text, event, expected in rows:
                with self.subTest(judge=judge, row=text):
                    self.assertEqual(getattr(ledger(), judge)(event), expected)

    def test_every_result_that_the_source_names_has_a_row(self):
        with open(os.path.join(ROOT, "chaos", "checkers", "oracle.py")) as file:
            named = set(re.findall(r"return wire\.([A-Z_0-9]+)", file.read()))
            named |= {"EXISTS", "OK"}       # one line of its own gives one or the other
        given = {expected for rows in (TRANSFERS, ACCOUNTS, LEDGERS) for _, _, expected in rows}
        self.assertEqual({name for name in named if getattr(wire, name) not in given}, set())

    def test_judging_changes_nothing(self):
        for text, event, _ in TRANSFERS:
            oracle, untouched = ledger(), ledger()
            oracle.judge_transfer(event)
            self.assertEqual(vars_of(oracle), vars_of(untouched), text)

    def test_a_posting_moves_both_sides_and_the_ledger(self):
        oracle = ledger()
        self.assertTrue(oracle.post(GOOD))
        a, b = oracle.accounts["a"], oracle.accounts["b"]
        self.assertEqual((a.debits, a.credits, a.count), (110, 0, 2))
        self.assertEqual((b.debits, b.credits, b.count), (0, 50, 2))
        self.assertEqual(oracle.ledgers, {1: 150, 2: 0})
        self.assertEqual(oracle.judge_transfer(GOOD), wire.EXISTS)

    def test_a_failure_spends_the_id_and_moves_nothing(self):
        oracle, before = ledger(), vars_of(ledger())
        oracle.fail("t")
        self.assertEqual(vars_of(oracle)[1:], before[1:])
        self.assertEqual(oracle.judge_transfer(GOOD), wire.ID_ALREADY_FAILED)

    def test_limits_are_noticed_on_both_sides(self):
        oracle = ledger()
        for event, account in ((but(debit="c", amount=101), "c"), (but(credit="d", amount=41), "d")):
            self.assertTrue(oracle.accounts[account].within_limits())
            oracle.post(event)
            self.assertFalse(oracle.accounts[account].within_limits())


def vars_of(oracle):
    return (dict(oracle.transfers), dict(oracle.ledgers),
            {id: (a.debits, a.credits, a.count) for id, a in oracle.accounts.items()})


if __name__ == "__main__":
    unittest.main()
