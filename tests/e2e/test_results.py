"""Every numbered result that a client can provoke, through the wire.

Tables of attempts: what is sent, what must come back. The last test holds the tables against the
schema: a result that no table produces must be listed there with its reason.
"""
from client import account, amount, ledger, new_id, transfer
from cluster import PRINCIPALS

MAX128 = 2 ** 128 - 1
ZERO, MAX = bytes(16), b"\xff" * 16
SETTINGS = {}
PRODUCED = set()


def fixed(number):
    return number.to_bytes(16, "big")


A, B, C, OTHER, LIMITED_D, LIMITED_C = (fixed(n) for n in (0xA, 0xB, 0xC, 0xD, 0x10, 0x20))


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1, "EUR", 2, "One"), ledger(2, "JPY", 0, "Two")]) \
        == [0, 0]
    assert business.create_accounts([
        account(A), account(B), account(C), account(OTHER, ledger_id=2),
        account(fixed(0xE), ledger_id=2),
        account(LIMITED_D, flags=1), account(LIMITED_C, flags=2)]) == [0] * 7


def check(t, create, rows):
    """Sends each row's events as one batch and compares by name."""
    names = {number: name for name, number in t.run.schema.enum("tally.v1.Result").items()}
    for events, expected in rows:
        results = [names[r] for r in create(events)]
        t.equal(results, expected, "results of %s" % (events,))
        PRODUCED.update(results)


# Ledgers: field checks, and the first difference named in the documented order.
def test_ledger_results(t):
    make = t.node.api("business").create_ledgers
    check(t, make, [
        ([ledger(10, "USD", 2, "Ten")], ["OK"]),
        ([ledger(10, "USD", 2, "Ten")], ["EXISTS"]),
        ([ledger(10, "CHF", 3, "Other")], ["EXISTS_WITH_DIFFERENT_CURRENCY"]),
        ([ledger(10, "USD", 3, "Other")], ["EXISTS_WITH_DIFFERENT_EXPONENT"]),
        ([ledger(10, "USD", 2, "Other")], ["EXISTS_WITH_DIFFERENT_NAME"]),
        ([ledger(0)], ["ID_ZERO"]),
        ([ledger(11, "eur")], ["CURRENCY_INVALID"]),
        ([ledger(11, "EU")], ["CURRENCY_INVALID"]),
        ([ledger(11, "")], ["CURRENCY_INVALID"]),
        ([ledger(11, exponent=19)], ["EXPONENT_INVALID"]),
        ([ledger(11, exponent=255)], ["EXPONENT_INVALID"]),
        ([ledger(11, name="")], ["NAME_INVALID"]),
        ([ledger(11, name="line\nbreak")], ["NAME_INVALID"]),
        # Two of one id in one batch: the second meets the first.
        ([ledger(12), ledger(12), ledger(12, "USD")],
         ["OK", "EXISTS", "EXISTS_WITH_DIFFERENT_CURRENCY"]),
        ([ledger(2 ** 32 - 1, "BHD", 18, "x" * 64)], ["OK"]),
    ])


# Accounts, likewise.
def test_account_results(t):
    make = t.node.api("business").create_accounts
    taken = new_id()
    same = dict(user_data_128=fixed(5), user_data_64=6, user_data_32=7)
    check(t, make, [
        ([account(taken, **same)], ["OK"]),
        ([account(taken, **same)], ["EXISTS"]),
        ([account(taken, ledger_id=2, code=11, flags=1)], ["EXISTS_WITH_DIFFERENT_FLAGS"]),
        ([account(taken, ledger_id=2, code=11)], ["EXISTS_WITH_DIFFERENT_LEDGER"]),
        ([account(taken, code=11)], ["EXISTS_WITH_DIFFERENT_CODE"]),
        ([account(taken)], ["EXISTS_WITH_DIFFERENT_USER_DATA_128"]),
        ([account(taken, user_data_128=fixed(5))], ["EXISTS_WITH_DIFFERENT_USER_DATA_64"]),
        ([account(taken, user_data_128=fixed(5), user_data_64=6)],
         ["EXISTS_WITH_DIFFERENT_USER_DATA_32"]),
        ([account(ZERO)], ["ID_ZERO"]),
        ([account(MAX)], ["ID_MAX"]),
        ([account(new_id(), flags=4)], ["RESERVED_FLAG"]),
        ([account(new_id(), flags=0x8000)], ["RESERVED_FLAG"]),
        ([account(new_id(), flags=3)], ["FLAGS_MUTUALLY_EXCLUSIVE"]),
        ([account(new_id(), ledger_id=0)], ["LEDGER_ZERO"]),
        ([account(new_id(), code=0)], ["CODE_ZERO"]),
        ([account(new_id(), ledger_id=999)], ["LEDGER_NOT_FOUND"]),
        ([account(new_id(), code=65535)], ["OK"]),
    ])
    # A refused account leaves its id free.
    again = new_id()
    check(t, make, [([account(again, ledger_id=999)], ["LEDGER_NOT_FOUND"]),
                    ([account(again)], ["OK"])])


# Transfers refused by their own fields: nothing is burned.
def test_transfer_field_results(t):
    make = t.node.api("channel").create_transfers
    free = new_id()
    check(t, make, [
        ([transfer(A, B, 1, id=ZERO)], ["ID_ZERO"]),
        ([transfer(A, B, 1, id=MAX)], ["ID_MAX"]),
        ([transfer(A, B, 1, id=free, flags=1)], ["RESERVED_FLAG"]),
        ([transfer(A, B, 1, id=free, flags=2)], ["RESERVED_FLAG"]),
        ([transfer(A, B, 1, id=free, flags=0x8000)], ["RESERVED_FLAG"]),
        ([transfer(A, B, 1, id=free, ledger_id=0)], ["LEDGER_ZERO"]),
        ([transfer(A, B, 1, id=free, code=0)], ["CODE_ZERO"]),
        ([transfer(ZERO, B, 1, id=free)], ["DEBIT_ACCOUNT_ID_ZERO"]),
        ([transfer(MAX, B, 1, id=free)], ["DEBIT_ACCOUNT_ID_MAX"]),
        ([transfer(A, ZERO, 1, id=free)], ["CREDIT_ACCOUNT_ID_ZERO"]),
        ([transfer(A, MAX, 1, id=free)], ["CREDIT_ACCOUNT_ID_MAX"]),
        ([transfer(A, A, 1, id=free)], ["ACCOUNTS_SAME"]),
        ([transfer(A, B, 0, id=free)], ["AMOUNT_ZERO"]),
        ([transfer(A, B, 1, id=free, pending_id=fixed(1))], ["PENDING_ID_NOT_ZERO"]),
        ([transfer(A, B, 1, id=free, timeout_s=1)], ["TIMEOUT_NOT_ZERO"]),
        ([transfer(A, B, 1, id=free, value_date=20260230)], ["VALUE_DATE_INVALID"]),
        ([transfer(A, B, 1, id=free, value_date=1)], ["VALUE_DATE_INVALID"]),
        ([transfer(A, B, 1, id=free, value_date=18991231)], ["VALUE_DATE_INVALID"]),
        ([transfer(A, B, 1, id=free, value_date=20240229)], ["OK"]),
    ])


# Transfers whose id is taken: the first differing field in the order of the numbers.
def test_transfer_exists_results(t):
    make = t.node.api("channel").create_transfers
    taken = new_id()
    full = dict(id=taken, code=3, user_data_128=fixed(1), user_data_64=2, user_data_32=3,
                value_date=20260101)
    rows = [([transfer(A, B, 5, **full)], ["OK"]), ([transfer(A, B, 5, **full)], ["EXISTS"])]
    for name, change in (
            ("LEDGER", lambda f: transfer(A, B, 5, **dict(f, ledger_id=2))),
            ("CODE", lambda f: transfer(C, B, 5, **dict(f, code=4))),
            ("DEBIT_ACCOUNT_ID", lambda f: transfer(C, A, 5, **f)),
            ("CREDIT_ACCOUNT_ID", lambda f: transfer(A, C, 6, **f)),
            ("AMOUNT", lambda f: transfer(A, B, 6, **dict(f, user_data_64=9))),
            ("USER_DATA_128", lambda f: transfer(A, B, 5, **dict(f, user_data_128=fixed(9)))),
            ("USER_DATA_64", lambda f: transfer(A, B, 5, **dict(f, user_data_64=9))),
            ("USER_DATA_32", lambda f: transfer(A, B, 5, **dict(f, user_data_32=9))),
            ("VALUE_DATE", lambda f: transfer(A, B, 5, **dict(f, value_date=20260102)))):
        rows.append(([change(full)], ["EXISTS_WITH_DIFFERENT_" + name]))
    # Amounts that differ only above 64 bits differ.
    rows.append(([transfer(A, B, 5 + 2 ** 64, **full)], ["EXISTS_WITH_DIFFERENT_AMOUNT"]))
    check(t, make, rows)


# One id twice and thrice in a batch: the first wins, equal ones exist, others are told the field.
def test_duplicate_ids_inside_a_batch(t):
    channel = t.node.api("channel")
    twice = new_id()
    before = channel.posted(A)
    check(t, channel.create_transfers, [
        ([transfer(A, B, 7, id=twice), transfer(A, B, 7, id=twice), transfer(A, B, 8, id=twice)],
         ["OK", "EXISTS", "EXISTS_WITH_DIFFERENT_AMOUNT"])])
    t.equal(channel.posted(A), (before[0] + 7, before[1]), "posted once")


# Refused by the state of the ledger: the id is burned and stays on record with its reason.
def test_transfer_state_results_burn_the_id(t):
    channel = t.node.api("channel")
    numbers = t.run.schema.enum("tally.v1.Result")
    nobody = new_id()
    rows = [
        (transfer(A, B, 1, ledger_id=999), "LEDGER_NOT_FOUND"),
        (transfer(nobody, B, 1), "DEBIT_ACCOUNT_NOT_FOUND"),
        (transfer(A, nobody, 1), "CREDIT_ACCOUNT_NOT_FOUND"),
        (transfer(A, OTHER, 1), "ACCOUNTS_ON_DIFFERENT_LEDGERS"),
        (transfer(A, B, 1, ledger_id=2), "TRANSFER_ON_OTHER_LEDGER"),
        (transfer(LIMITED_D, A, 1), "EXCEEDS_CREDITS"),
        (transfer(A, LIMITED_C, 1), "EXCEEDS_DEBITS"),
    ]
    for event, name in rows:
        check(t, channel.create_transfers, [([event], [name]), ([event], ["ID_ALREADY_FAILED"])])
        kept, = channel.transfers(event["id"])
        t.equal(kept.refused, numbers[name], "refusal on record")
        # ... whatever else is sent under that id later.
        check(t, channel.create_transfers,
              [([transfer(A, B, 3, id=event["id"])], ["ID_ALREADY_FAILED"])])


# Limits: exactly up to the balance, one minor unit beyond it is refused, in order inside a batch.
def test_limits_are_exact(t):
    channel = t.node.api("channel")
    check(t, channel.create_transfers, [
        ([transfer(A, LIMITED_D, 100), transfer(LIMITED_D, A, 101), transfer(LIMITED_D, A, 100),
          transfer(LIMITED_D, A, 1)], ["OK", "EXCEEDS_CREDITS", "OK", "EXCEEDS_CREDITS"]),
        ([transfer(LIMITED_C, A, 100), transfer(A, LIMITED_C, 101), transfer(A, LIMITED_C, 100),
          transfer(A, LIMITED_C, 1)], ["OK", "EXCEEDS_DEBITS", "OK", "EXCEEDS_DEBITS"]),
    ])


# Sums are 128 bits: the largest amount fits once, one more unit on either side is refused. On a
# ledger of its own, since its total is then full for good.
def test_overflow_results(t):
    node = t.node
    business, channel = node.api("business"), node.api("channel")
    d, c, x, y = new_id(), new_id(), new_id(), new_id()
    check(t, business.create_ledgers, [([ledger(30)], ["OK"])])
    check(t, business.create_accounts,
          [([account(n, ledger_id=30) for n in (d, c, x, y)], ["OK"] * 4)])
    check(t, channel.create_transfers, [
        ([transfer(d, c, MAX128, ledger_id=30)], ["OK"]),
        ([transfer(d, x, 1, ledger_id=30)], ["OVERFLOWS_DEBITS"]),
        ([transfer(x, c, 1, ledger_id=30)], ["OVERFLOWS_CREDITS"]),
        # Neither account is full, the ledger's total is.
        ([transfer(x, y, 1, ledger_id=30)], ["OVERFLOWS_LEDGER"])])
    t.equal(channel.posted(d), (MAX128, 0), "debit side")
    t.equal(channel.posted(c), (0, MAX128), "credit side")
    trial = channel.ask("TrialBalance", ledger=30)
    t.true(trial.balanced, "balanced")
    t.equal(amount(trial.debits_posted), MAX128, "total")


# The table of ledgers is bounded; one beyond it is refused and may come later.
def test_ledger_table_full(t):
    node = t.fresh_node()
    business = node.api("business")
    results = business.create_ledgers([ledger(n) for n in range(1, 1026)])
    full = t.run.schema.enum("tally.v1.Result")["LEDGER_TABLE_FULL"]
    t.equal(results, [0] * 1024 + [full], "results")
    PRODUCED.add("LEDGER_TABLE_FULL")


# Rows of principals: what is wrong with each, and the bound of the table.
def test_principal_results(t):
    node = t.fresh_node()
    site = node.api("site")
    numbers = t.run.schema.enum("tally.v1.Result")
    names = {number: name for name, number in numbers.items()}

    def row(uri="tally://test/x", name="x", role="CHANNEL"):
        return {"uri": uri, "name": name, "role": role}

    def put(*rows):
        results = [names[r] for r in site.write("SetPrincipals", "principals", rows).results]
        PRODUCED.update(results)
        return results

    t.equal(put(row(), row(uri=""), row(name=""), row(role=6), row(uri="control\n")),
            ["OK", "URI_INVALID", "NAME_INVALID", "ROLE_INVALID", "URI_INVALID"])
    listed = len(site.ask("ListPrincipals").principals)
    many = [row(uri="tally://test/many/%d" % n, name="many") for n in range(4096 - listed)]
    for first in range(0, len(many), 3000):     # as many as one request may have, and the rest
        t.equal(set(put(*many[first:first + 3000])), {"OK"}, "up to the bound")
    t.equal(put(row(uri="tally://test/one/more")), ["PRINCIPAL_TABLE_FULL"])
    # A row that is there can still be changed, also to nothing; its name stays.
    t.equal(put(row(name="renamed")), ["EXISTS_WITH_DIFFERENT_NAME"])
    t.equal(put(row(role="NONE")), ["OK"])
    # Somebody must be left who can undo it.
    uri, name, _ = PRINCIPALS["site"]
    t.equal(put(row(uri=uri, name=name, role="NONE")), ["LAST_SITE_OPERATOR"])


# Results that cannot come through the wire of this version, with the reason.
UNREACHABLE = {
    "RESERVED_FIELD": "reserved bytes exist only inside a log entry; the wire has none",
    "EXISTS_WITH_DIFFERENT_PENDING_ID": "two-phase transfers are refused before the comparison",
    "EXISTS_WITH_DIFFERENT_TIMEOUT": "two-phase transfers are refused before the comparison",
    "ACCOUNT_TABLE_FULL": "16 Mi accounts; tests/core fills a small table",
}


# Must stay the last test of this file: the tables above against the schema.
def test_every_reachable_result_was_produced(t):
    if len(PRODUCED) < 10:
        t.skip("the tables of this file did not run")
    every = set(t.run.schema.enum("tally.v1.Result"))
    t.equal(sorted(every - PRODUCED - set(UNREACHABLE)), [], "results without a row")
    t.equal(sorted(PRODUCED & set(UNREACHABLE)), [], "results wrongly called unreachable")
