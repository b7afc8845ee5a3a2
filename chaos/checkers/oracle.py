"""The ledger once more: slow, and obviously correct.

Dictionaries, python's integers, and one event at a time in commit order. Written from what the
contract says (docs/formats/command.md, "what becomes of an event"), not from the ledger's code, and
with none of its cleverness: no batches, no tables, no epochs, no digests. Whoever doubts a result
reads the ladder below beside that page.

Only what a client can see is modelled: fields that requests of these histories never set are zero.
"""
from . import wire

ZERO, MAX = "00" * 16, "ff" * 16
AMOUNT_MAX = 2 ** 128 - 1

FAILED = "failed"       # in place of a transfer whose id was spent by a refusal


class Account:
    __slots__ = ("ledger", "code", "flags", "debits", "credits", "count")

    def __init__(self, ledger, code, flags):
        self.ledger, self.code, self.flags = ledger, code, flags
        self.debits = self.credits = self.count = 0

    def within_limits(self):
        """Whether it may stand as it is."""
        if self.flags & wire.DEBITS_MUST_NOT_EXCEED_CREDITS and self.debits > self.credits:
            return False
        return not (self.flags & wire.CREDITS_MUST_NOT_EXCEED_DEBITS
                    and self.credits > self.debits)


class Oracle:
    def __init__(self):
        self.ledgers = {}       # id -> total posted (debits, which are the credits)
        self.accounts = {}      # id -> Account
        self.transfers = {}     # id -> the event that was posted, or FAILED

    # ---- judging: nothing changes ----

    def judge_ledger(self, event):
        """A ledger's number decides between new and taken; its texts are not in the logs."""
        if event[0] == 0:
            return wire.ID_ZERO
        return wire.EXISTS if event[0] in self.ledgers else wire.OK

    def judge_account(self, event):
        id, ledger, code, flags = event
        both = wire.DEBITS_MUST_NOT_EXCEED_CREDITS | wire.CREDITS_MUST_NOT_EXCEED_DEBITS
        if id == ZERO:
            return wire.ID_ZERO
        if id == MAX:
            return wire.ID_MAX
        if flags & ~both:
            return wire.RESERVED_FLAG
        if flags == both:
            return wire.FLAGS_MUTUALLY_EXCLUSIVE
        if ledger == 0:
            return wire.LEDGER_ZERO
        if code == 0:
            return wire.CODE_ZERO
        old = self.accounts.get(id)
        if old is not None:
            if flags != old.flags:
                return wire.EXISTS_WITH_DIFFERENT_FLAGS
            if ledger != old.ledger:
                return wire.EXISTS_WITH_DIFFERENT_LEDGER
            if code != old.code:
                return wire.EXISTS_WITH_DIFFERENT_CODE
            return wire.EXISTS
        if ledger not in self.ledgers:
            return wire.LEDGER_NOT_FOUND
        return wire.OK

    def judge_transfer(self, event):
        id, debit, credit, amount, ledger, code, user_data = event
        # The event alone.
        if id == ZERO:
            return wire.ID_ZERO
        if id == MAX:
            return wire.ID_MAX
        if ledger == 0:
            return wire.LEDGER_ZERO
        if code == 0:
            return wire.CODE_ZERO
        if debit == ZERO:
            return wire.DEBIT_ID_ZERO
        if debit == MAX:
            return wire.DEBIT_ID_MAX
        if credit == ZERO:
            return wire.CREDIT_ID_ZERO
        if credit == MAX:
            return wire.CREDIT_ID_MAX
        if debit == credit:
            return wire.ACCOUNTS_SAME
        if amount == 0:
            return wire.AMOUNT_ZERO
        # The id.
        old = self.transfers.get(id)
        if old is FAILED:
            return wire.ID_ALREADY_FAILED
        if old is not None:
            if ledger != old[4]:
                return wire.EXISTS_WITH_DIFFERENT_LEDGER
            if code != old[5]:
                return wire.EXISTS_WITH_DIFFERENT_CODE
            if debit != old[1]:
                return wire.EXISTS_WITH_DIFFERENT_DEBIT
            if credit != old[2]:
                return wire.EXISTS_WITH_DIFFERENT_CREDIT
            if amount != old[3]:
                return wire.EXISTS_WITH_DIFFERENT_AMOUNT
            if user_data != old[6]:
                return wire.EXISTS_WITH_DIFFERENT_USER_DATA_64
            return wire.EXISTS
        # The state.
        if ledger not in self.ledgers:
            return wire.LEDGER_NOT_FOUND
        from_account = self.accounts.get(debit)
        if from_account is None:
            return wire.DEBIT_NOT_FOUND
        to_account = self.accounts.get(credit)
        if to_account is None:
            return wire.CREDIT_NOT_FOUND
        if from_account.ledger != to_account.ledger:
            return wire.ACCOUNTS_ON_DIFFERENT_LEDGERS
        if from_account.ledger != ledger:
            return wire.TRANSFER_ON_OTHER_LEDGER
        if from_account.debits + amount > AMOUNT_MAX:
            return wire.OVERFLOWS_DEBITS
        if to_account.credits + amount > AMOUNT_MAX:
            return wire.OVERFLOWS_CREDITS
        if from_account.flags & wire.DEBITS_MUST_NOT_EXCEED_CREDITS \
                and from_account.debits + amount > from_account.credits:
            return wire.EXCEEDS_CREDITS
        if to_account.flags & wire.CREDITS_MUST_NOT_EXCEED_DEBITS \
                and to_account.credits + amount > to_account.debits:
            return wire.EXCEEDS_DEBITS
        if self.ledgers[ledger] + amount > AMOUNT_MAX:
            return wire.OVERFLOWS_LEDGER
        return wire.OK

    # ---- taking effect: whatever the ledger did, right or wrong ----

    def make_ledger(self, id):
        self.ledgers.setdefault(id, 0)

    def make_account(self, id, ledger, code, flags):
        self.accounts.setdefault(id, Account(ledger, code, flags))

    def post(self, event):
        """Both sides at once. False when one of the accounts is not there."""
        self.transfers[event[0]] = event
        debit, credit = self.accounts.get(event[1]), self.accounts.get(event[2])
        if debit is None or credit is None:
            return False
        debit.debits += event[3]
        credit.credits += event[3]
        debit.count += 1
        credit.count += 1
        if event[4] in self.ledgers:
            self.ledgers[event[4]] += event[3]
        return True

    def fail(self, id):
        """The transfer was refused by the state: its id is spent."""
        self.transfers.setdefault(id, FAILED)
