"""The whole history in commit order, once, against the oracle: several claims are made from it.

Two streams are walked side by side by commit stamp: the events of answered requests, and what the
exported ledger has on record. For each stamp three opinions are compared: what the oracle would have
said, what the client was told, and what is on record. The state then follows the *record*, right or
wrong, so that one mistake is one violation and the end can be compared with the exported balances.
Reads that named the log index of their state are compared when the walk passes that index.

Without an exported ledger, or behind the end of one that was exported under load, the state follows what
clients were told, and nobody knows whether a request without a final word took effect: whatever touches
an account or a transfer of one is left out.

A record whose request nobody got an answer for (a client that was killed) has a stamp but no known
index; reads that may or may not include it are right when either state fits.
"""
from . import export as rows_of
from . import wire
from .findings import Findings
from .oracle import Oracle


def merged(row, event):
    """The event that a row tells of; what a refusal does not name is taken from what was sent."""
    told = row[rows_of.ID:rows_of.STAMP]
    if event is None or told == event:
        return told
    return tuple(ours if ours != "" else sent for ours, sent in zip(told, event))


def ids_of(event):
    """The ids in an event: its own, and of a transfer those of its accounts."""
    return [id for id in event[:3] if id.__class__ is str]


class Replay:
    def __init__(self, history):
        self.history, self.oracle = history, Oracle()
        self.outcomes = Findings("outcomes")
        self.limits = Findings("limits")
        self.money = Findings("money")
        self.reads = Findings("linearizable")
        self.pending = sorted((r for r in history.logs.reads
                               if r.index is not None and r.kind != "read"), key=lambda r: r.index)
        self.next_read, self.satisfied = 0, set()
        self.limited = set()        # accounts that have a limit
        self.unsure = set()         # ids that a request of unknown outcome may have changed
        if history.export is None:
            self.unsure.update(history.foreign_accounts)
        if history.export is None or not history.at_rest:
            for request in history.requests.values():
                if request.open:
                    for event in request.events:
                        self.unsure.update(ids_of(event))
        self.run()
        if history.export is not None and history.at_rest:
            self.compare_balances(history.export)
            self.compare_trials(history.export)
        del self.pending, self.satisfied

    # ---- the walk ----

    def rows(self):
        """Accounts and transfers on record, by stamp."""
        export = self.history.export
        if export is None:
            return
        accounts = sorted(export.accounts.values(), key=lambda row: row[rows_of.ACCOUNT_STAMP])
        transfers = sorted(export.transfers, key=lambda row: row[rows_of.STAMP])
        at = 0
        for row in transfers:
            while at < len(accounts) and accounts[at][rows_of.ACCOUNT_STAMP] <= row[rows_of.STAMP]:
                yield accounts[at][rows_of.ACCOUNT_STAMP], None, accounts[at]
                at += 1
            yield row[rows_of.STAMP], row, None
        for row in accounts[at:]:
            yield row[rows_of.ACCOUNT_STAMP], None, row

    def known_from_the_start(self):
        """Ledgers that were there before any client of this history."""
        export, history = self.history.export, self.history
        made = {event[0] for request in history.executed if request.method == "CreateLedgers"
                for event, result in zip(request.events, request.decoded[0]) if result == wire.OK}
        there = set(history.foreign_ledgers) | set(export.ledgers if export else ())
        for ledger in there - made:
            self.oracle.make_ledger(ledger)

    def run(self):
        self.known_from_the_start()
        rows = self.rows()
        ahead = next(rows, None)
        for request in self.history.executed:
            results, index, stamp = request.decoded
            while ahead is not None and ahead[0] < stamp:
                self.unsent(ahead, index)
                ahead = next(rows, None)
            self.reads_before(index)
            complete = len(results) == len(request.events)
            for k, event in enumerate(request.events):
                while ahead is not None and ahead[0] < stamp + k:
                    self.unsent(ahead, index)
                    ahead = next(rows, None)
                told = results[k] if complete else None
                row = None
                if ahead is not None and ahead[0] == stamp + k:
                    on_record = (ahead[1] or ahead[2])[1]
                    if on_record == event[0]:
                        row, ahead = ahead, next(rows, None)
                self.step(request, stamp + k, event, told, row)
        while ahead is not None:
            self.unsent(ahead, None)
            ahead = next(rows, None)
        self.reads_before(None)

    def step(self, request, stamp, event, told, row):
        of_transfers, of_accounts = self.history.reach
        if request.method == "CreateTransfers":
            self.transfer(request, event, told, row[1] if row else None, stamp <= of_transfers)
        elif request.method == "CreateAccounts":
            self.account(request, event, told, row[2] if row else None, stamp <= of_accounts)
        elif request.method == "CreateLedgers":
            predicted = self.oracle.judge_ledger(event)
            wrong = told in wire.EXISTS_WITH_DIFFERENT and predicted == wire.EXISTS
            self.compare(request, event, told, told if wrong else predicted)
            if told == wire.OK:
                self.oracle.make_ledger(event[0])

    def compare(self, request, event, told, predicted):
        if told is None or self.unsure and not self.unsure.isdisjoint(ids_of(event)):
            return
        self.outcomes.checked += 1
        if told == predicted or told in wire.TABLE_FULL:
            return
        self.outcomes.add("accepted wrongly" if told == wire.OK else "wrong refusal",
                          "%s %s of request %s: the answer says %d, the oracle %d", request.method,
                          event[0], request.nonce, told, predicted, event=event, t=request.ended_t)

    def account(self, request, event, told, row, exported):
        """`exported`: were it made, the export would have it."""
        self.compare(request, event, told, self.oracle.judge_account(event))
        if row is not None:
            self.make_account(row)
        elif not exported and told == wire.OK:
            self.oracle.make_account(*event)
            if event[3]:
                self.limited.add(event[0])

    def make_account(self, row):
        self.oracle.make_account(row[1], row[2], row[3], row[4])
        if row[4]:
            self.limited.add(row[1])

    def transfer(self, request, event, told, row, exported):
        predicted = self.oracle.judge_transfer(event)
        self.compare(request, event, told, predicted)
        if row is not None:
            self.record(row, event, predicted)
        elif not exported:
            if told == wire.OK:
                self.post(event)
            elif told in wire.REFUSED_BY_STATE:
                self.oracle.fail(event[0])

    def unsent(self, ahead, next_index):
        """On record, and no answered request has this stamp: made before, or never answered."""
        _, row, account = ahead
        if account is not None:
            self.make_account(account)
            return
        for place in range(self.next_read, len(self.pending)):
            read = self.pending[place]
            if next_index is not None and read.index >= next_index:
                break
            if self.differs(read) is None:
                self.satisfied.add(id(read))
        sent = [request.events[k] for request, k in self.history.sent.get(row[rows_of.ID], ())
                if request.decoded is None]
        self.record(row, sent[0] if sent else None, None)

    def record(self, row, sent, predicted):
        """Judges what is on record, and lets it take effect."""
        event = merged(row, sent)
        refused = row[rows_of.REFUSED]
        if event != sent or predicted is None:
            predicted = None if "" in event else self.oracle.judge_transfer(event)
        if self.unsure and not self.unsure.isdisjoint(ids_of(event)):
            predicted = refused         # nobody can say otherwise
        self.outcomes.checked += 1
        if refused:
            if refused not in wire.REFUSED_BY_STATE or predicted not in (None, refused):
                self.outcomes.add("refused wrongly", "transfer %s is on record as refused with %d, the "
                                  "oracle says %s", event[0], refused, predicted, row=row)
            self.oracle.fail(event[0])
            return
        if predicted in wire.REFUSED_BY_FIELDS:
            self.outcomes.add("senseless", "transfer %s of %d from %s to %s is posted (%d)", event[0],
                              event[3], event[1], event[2], predicted, row=row)
        elif predicted != wire.OK:
            self.outcomes.add("posted wrongly", "transfer %s is posted, the oracle says %s", event[0],
                              predicted, row=row)
        self.post(event)

    def post(self, event):
        if not self.oracle.post(event):
            if not self.unsure.isdisjoint(ids_of(event)):
                return
            self.outcomes.add("account missing", "transfer %s is posted between %s and %s", event[0],
                              event[1], event[2])
            return
        for side in (event[1], event[2]):
            if side not in self.limited or side in self.unsure:
                continue
            self.limits.checked += 1
            account = self.oracle.accounts[side]
            if not account.within_limits():
                self.limits.add("limit broken", "transfer %s of %d takes %s beyond its limit: debits %d, "
                                "credits %d", event[0], event[3], side, account.debits,
                                account.credits)

    # ---- reads on the way ----

    def reads_before(self, index):
        """Compares the reads of states below `index` with the state now."""
        while self.next_read < len(self.pending):
            read = self.pending[self.next_read]
            if index is not None and read.index >= index:
                break
            self.next_read += 1
            self.check_read(read)

    def check_read(self, read):
        target = self.money if read.kind == "totals" else self.reads
        target.checked += 1
        if id(read) in self.satisfied:
            return
        wrong = self.differs(read)
        if wrong:
            target.add("read differs", "%s: node %s said at index %d %s", read.where, read.node,
                       read.index, wrong, t=read.ended_t)

    def differs(self, read):
        """In words how a read differs from the state now, or None."""
        line, oracle = read.line, self.oracle
        if read.kind == "totals":
            total = oracle.ledgers.get(line["ledger"])
            if total is None or self.unsure:
                return None
            if (line["debits"], line["credits"]) != (total, total):
                return "debits %d and credits %d of ledger %s; its transfers say %d" % (
                    line["debits"], line["credits"], line["ledger"], total)
            return None
        told = {row[0]: row[1:4] for row in line["rows"]}
        for account_id in line["ids"]:
            account, row = oracle.accounts.get(account_id), told.get(account_id)
            if (account is None and row is None) or account_id in self.unsure:
                continue
            if account is None:
                if self.history.export is None:
                    continue        # made by nobody in this history
                return "account %s, which was not there yet" % account_id
            if row is None:
                return "nothing of account %s, which was there" % account_id
            if row != [account.debits, account.credits, account.count]:
                return "debits %d, credits %d, %d transfers of account %s; it had %d, %d and %d" % (
                    *row, account_id, account.debits, account.credits, account.count)
        return None

    # ---- the end ----

    def compare_balances(self, export):
        for id, row in export.accounts.items():
            account = self.oracle.accounts[id]
            self.money.checked += 1
            if (row[5], row[6], row[9]) != (account.debits, account.credits, account.count):
                self.money.add("balance", "account %s says debits %d credits %d transfers %d, its "
                               "transfers say %d %d %d", id, row[5], row[6], row[9], account.debits,
                               account.credits, account.count)
            if row[7] or row[8]:
                self.money.add("balance", "account %s has pending amounts", id)

    def compare_trials(self, export):
        """Each ledger sums to zero: over its accounts, and in the trial balance it gave."""
        sums = {ledger: [0, 0] for ledger in export.ledgers}
        for row in export.accounts.values():
            if row[2] in sums:
                sums[row[2]][0] += row[5]
                sums[row[2]][1] += row[6]
        for ledger, (debits, credits) in sums.items():
            self.money.checked += 1
            if debits != credits:
                self.money.add("zero sum", "ledger %d: debits %d, credits %d", ledger, debits,
                               credits)
            trial, total = export.trials.get(ledger), self.oracle.ledgers.get(ledger, 0)
            if trial is None:
                self.money.add("trial balance", "ledger %d has none", ledger)
            elif trial[2:] != [total, total, True]:
                self.money.add("trial balance", "ledger %d says %s, its transfers say %d", ledger,
                               trial[2:], total)
