"""Every method called well: what it answers, in which order, with which metadata."""
import grpc

from client import account, amount, ledger, new_id, transfer

ACCOUNTS = [n.to_bytes(16, "big") for n in range(1, 11)]


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1, "EUR", 2, "Main"),
                                    ledger(2, "JPY", 0, "Yen ¥")]) == [0, 0]
    assert business.create_accounts([account(a, code=10 + i % 2) for i, a in enumerate(ACCOUNTS)]) \
        == [0] * 10


# Fields go in and come out unchanged; ids that do not exist are left out; order is the asker's.
def test_lookup_gives_back_what_was_created(t):
    business, channel = t.node.api("business"), t.node.api("channel")
    one = account(new_id(), ledger_id=2, code=77, flags=2, user_data_128=b"\x01" * 16,
                  user_data_64=2 ** 64 - 1, user_data_32=2 ** 32 - 1)
    two = account(new_id(), ledger_id=2)
    t.equal(business.create_accounts([one, two]), [0, 0])
    found = channel.accounts(two["id"], new_id(), one["id"], two["id"])
    t.equal([a.id for a in found], [two["id"], one["id"], two["id"]], "order asked")
    for field, value in one.items():
        t.equal(getattr(found[1], field), value, field)
    t.true(found[1].timestamp > 0, "has a stamp")

    made = transfer(one["id"], two["id"], 2 ** 100 + 5, ledger_id=2, code=9, value_date=20251231,
                    user_data_128=b"\x02" * 16, user_data_64=3, user_data_32=4)
    written = channel.write("CreateTransfers", "transfers", [made])
    t.equal(list(written.results), [0])
    got, = channel.transfers(new_id(), made["id"])
    for field in ("id", "debit_account_id", "credit_account_id", "ledger", "code", "value_date",
                  "user_data_128", "user_data_64", "user_data_32"):
        t.equal(getattr(got, field), made[field], field)
    t.equal(amount(got.amount), 2 ** 100 + 5, "amount")
    t.equal((got.timestamp, got.refused), (written.timestamp, 0), "stamp and state")
    after = channel.accounts(one["id"], two["id"])
    t.equal([(amount(a.debits_posted), amount(a.credits_posted), a.transfer_count)
             for a in after], [(2 ** 100 + 5, 0, 1), (0, 2 ** 100 + 5, 1)], "balances")


# Event k of a request has stamp + k, requests follow each other, sequence numbers have no gap.
def test_stamps_and_sequences_increase(t):
    channel = t.node.api("channel")
    sent = []
    for _ in range(3):
        batch = [transfer(ACCOUNTS[0], ACCOUNTS[1], 1) for _ in range(5)]
        written = channel.write("CreateTransfers", "transfers", batch)
        sent += [(b["id"], written.timestamp + k) for k, b in enumerate(batch)]
    every = channel.ask("ListTransfers", limit=4000).transfers
    t.equal([(x.id, x.timestamp) for x in every[-15:]], sent, "order and stamps")
    t.equal([x.sequence for x in every], list(range(len(every))), "sequence")
    t.true(all(a < b for (_, a), (_, b) in zip(sent, sent[1:])), "stamps increase")


# The largest batch: 8190 transfers, results aligned with events, refused ones in their places.
def test_largest_batch(t):
    channel = t.node.api("channel")
    before = channel.posted(ACCOUNTS[2])
    batch = [transfer(ACCOUNTS[2], ACCOUNTS[3], 1) for _ in range(8190)]
    for place in (0, 4000, 8189):
        batch[place]["amount"] = 0
    results = channel.create_transfers(batch, timeout=60)
    zero = t.run.schema.enum("tally.v1.Result")["AMOUNT_ZERO"]
    t.equal([i for i, r in enumerate(results) if r], [0, 4000, 8189], "places")
    t.equal({r for r in results if r}, {zero})
    t.equal(channel.posted(ACCOUNTS[2])[0] - before[0], 8187, "posted")
    # All of them in one lookup, too.
    t.equal(len(channel.ask("LookupTransfers", ids=[b["id"] for b in batch]).transfers), 8187,
            "found")


# Pages: every ledger, account and transfer exactly once, in order, whatever the page size.
def test_lists_by_pages(t):
    channel = t.node.api("channel")
    channel.create_transfers([transfer(ACCOUNTS[4], ACCOUNTS[5], 1) for _ in range(25)])
    channel.create_transfers([transfer(ACCOUNTS[4], new_id(), 1)])  # a refused one is listed too

    ledgers = channel.ask("ListLedgers").ledgers
    t.equal([(g.id, g.currency, g.exponent, g.name) for g in ledgers],
            [(1, "EUR", 2, "Main"), (2, "JPY", 0, "Yen ¥")], "ledgers")

    def pages(method, field, limit, **more):
        first, rows = 0, []
        while True:
            page = channel.ask(method, first=first, limit=limit, **more)
            t.true(len(getattr(page, field)) <= (limit or 1000), "page size")
            rows += getattr(page, field)
            if page.next_first == 0:
                return rows
            t.true(page.next_first > first, "pages advance")
            first = page.next_first

    every = pages("ListAccounts", "accounts", 0)
    t.equal([a.id for a in every][:10], ACCOUNTS, "accounts in order of creation")
    for limit in (1, 3, 4000):
        t.equal([a.id for a in pages("ListAccounts", "accounts", limit)], [a.id for a in every],
                "accounts by %d" % limit)
    t.equal({a.ledger for a in pages("ListAccounts", "accounts", 3, ledger=1)}, {1}, "one ledger")
    t.equal(sum(g.account_count for g in ledgers), len(every), "account counts")

    every = pages("ListTransfers", "transfers", 4000)
    t.equal([x.sequence for x in every], list(range(len(every))), "sequence from 0")
    t.equal([x.id for x in pages("ListTransfers", "transfers", 999)], [x.id for x in every],
            "by 999")
    t.true(any(x.refused for x in every), "refused ones are listed")
    t.true(all(a.timestamp < b.timestamp for a, b in zip(every, every[1:])), "commit order")


# The trial balance by account code: debits equal credits, and rows add up to the totals.
def test_trial_balance(t):
    channel = t.node.api("channel")
    channel.create_transfers([transfer(ACCOUNTS[6], ACCOUNTS[7], 123)])
    trial = channel.ask("TrialBalance", ledger=1)
    t.equal([r.code for r in trial.rows], [10, 11], "rows by code")
    t.equal(sum(amount(r.debits_posted) for r in trial.rows), amount(trial.debits_posted))
    t.equal(sum(amount(r.credits_posted) for r in trial.rows), amount(trial.credits_posted))
    t.equal(amount(trial.debits_posted), amount(trial.credits_posted), "zero sum")
    t.true(trial.balanced and len(trial.digest) == 16 and trial.index > 0, "balanced, digest")
    t.equal(trial.ledger.name, "Main")
    again = channel.ask("TrialBalance", ledger=1)
    t.equal(again.digest, trial.digest, "reading changes nothing")
    answer = channel.raw("TrialBalance", channel.message("TrialBalance",
                                                         ledger=4711).SerializeToString())
    t.code(answer, "NOT_FOUND")
    t.contains(answer.details, "4711", "what was not found")


# Every answer carries epoch, index and node; a writing one the index of its own body.
def test_answers_carry_position(t):
    channel = t.node.api("channel")
    answer = channel.raw("CreateTransfers", channel.write_body(
        "CreateTransfers", "transfers", [transfer(ACCOUNTS[0], ACCOUNTS[1], 1)]))
    t.code(answer, "OK")
    body = channel.methods["CreateTransfers"][2].FromString(answer.body)
    t.equal(int(answer.trailers["tally-epoch"]), 1, "epoch")
    t.equal(int(answer.trailers["tally-index"]), body.index, "index")
    t.true(answer.trailers["tally-node"], "node")
    read = channel.raw("ListLedgers", b"")
    t.true(int(read.trailers["tally-index"]) >= body.index, "reads are not older than writes")


# min_index that is already applied answers at once; one far ahead waits, and ends at the deadline.
def test_min_index(t):
    channel = t.node.api("channel")
    written = channel.write("CreateTransfers", "transfers",
                            [transfer(ACCOUNTS[0], ACCOUNTS[1], 1)])
    t.true(channel.ask("ListLedgers", min_index=written.index).ledgers, "answered")
    body = channel.message("ListLedgers", min_index=written.index + 10 ** 9).SerializeToString()
    answer = channel.raw("ListLedgers", body, timeout=0.5)
    t.code(answer, "DEADLINE_EXCEEDED")


# Limits of the reading calls.
def test_reads_out_of_bounds_are_refused(t):
    channel = t.node.api("channel")
    for method, fields in (("LookupAccounts", {"ids": [ACCOUNTS[0]] * 8191}),
                           ("LookupTransfers", {"ids": [ACCOUNTS[0]] * 8191}),
                           ("LookupAccounts", {"ids": [b"short"]}),
                           ("LookupTransfers", {"ids": [b"x" * 17]}),
                           ("LookupAccounts", {"ids": []}),
                           ("ListAccounts", {"limit": 4001}),
                           ("ListTransfers", {"limit": 4001})):
        answer = channel.raw(method, channel.message(method, **fields).SerializeToString())
        t.code(answer, "INVALID_ARGUMENT", method)
        t.true(answer.details, "%s says what is wrong" % method)
    t.equal(len(channel.ask("LookupAccounts", ids=[ACCOUNTS[0]] * 8190).accounts), 8190, "bound")


# The node's status, as JSON, through gRPC and through the operations port.
def test_status(t):
    import json
    told = json.loads(t.node.api("auditor").ask("GetStatus").json)
    other = t.node.status()
    t.equal(sorted(told), sorted(other), "same document")


# Principals are listed to site operators and auditors, with what was set.
def test_list_principals(t):
    rows = t.node.api("auditor").ask("ListPrincipals").principals
    roles = t.run.schema.enum("tally.v1.Role")
    told = {r.uri: (r.name, r.role) for r in rows}
    t.equal(told["tally://test/channel"], ("channel", roles["CHANNEL"]))
    t.equal(told["tally://test/site-operator"], ("site-operator", roles["SITE_OPERATOR"]))


# gzip is not offered; a compressed request is refused by name, and identity still works.
def test_compressed_request_is_unimplemented(t):
    channel = t.node.api("channel")
    call = channel.channel.unary_unary(channel.methods["ListLedgers"][0])
    try:
        call(b"\x20\x00" * 1000, timeout=10, compression=grpc.Compression.Gzip)
        t.true(False, "answered")
    except grpc.RpcError as error:
        t.equal(error.code().name, "UNIMPLEMENTED")
