"""What clients see of two sites: one ledger, at whichever node they ask."""
import base64
import time

import grpc

from client import new_id, transfer
from sites import CREDIT, DEBIT, Load
from stock_client import StockClient

LEDGER = "tally.v1.Ledger"


# A request is sent at site A; A is lost before or after the answer; the repeat at site B gets the
# byte-identical answer, refusals included, and so does one at A when it is back.
def test_repeat_at_the_other_site_is_identical(t):
    sites = t.sites
    first = sites.lead_at("A")
    other, = sites.data("B")
    api = first.api("channel")
    bodies = []
    for events in ([transfer(DEBIT, CREDIT, 5)], [transfer(DEBIT, b"\x07" * 16, 5)],
                   [transfer(DEBIT, CREDIT, 1), transfer(DEBIT, CREDIT, 0)]):
        body = api.write_body("CreateTransfers", "transfers", events)
        answer = api.insist("CreateTransfers", body)
        t.code(answer, "OK")
        bodies.append((body, answer.body))
    first.kill()
    sites.wait_leader([m for m in sites.members if m is not first])
    for body, answer in bodies:
        repeat = other.api("channel").insist("CreateTransfers", body)
        t.code(repeat, "OK", "repeat at the other site")
        t.equal(repeat.body, answer, "answer to a repeat at the other site")
    first.start()
    for body, answer in bodies:
        t.equal(first.api("channel").insist("CreateTransfers", body).body, answer,
                "answer to a repeat after the failover, at the first site")
    t.at_rest(sites)


# Requests whose answer was lost with their leader: repeated at the other site, each is executed
# once, whichever way it went.
def test_answers_lost_with_the_leader(t):
    sites = t.sites
    first = sites.lead_at("A")
    other, = sites.data("B")
    apis = [first.api("channel") for _ in range(8)]
    for api in apis:
        api.ask("ListLedgers")
    events = [transfer(DEBIT, CREDIT, 1) for _ in apis]
    bodies = [a.write_body("CreateTransfers", "transfers", [e]) for a, e in zip(apis, events)]
    before, _ = other.api("auditor").posted(DEBIT)
    calls = [a.start("CreateTransfers", b, wait=False) for a, b in zip(apis, bodies)]
    first.kill()
    answers = [api.outcome(call) for api, call in zip(apis, calls)]
    sites.wait_leader([m for m in sites.members if m is not first])
    again = other.api("channel")
    for answer, body in zip(answers, bodies):
        repeat = again.insist("CreateTransfers", body)
        t.code(repeat, "OK", "repeat")
        if answer.code == grpc.StatusCode.OK:
            t.equal(repeat.body, answer.body, "answered before")
    t.equal(other.api("auditor").posted(DEBIT)[0], before + len(events), "each executed once")
    t.at_rest(sites)


# A write at one site is seen at once by a linearizable read at the other, in both directions.
def test_reads_at_the_other_site_are_linearizable(t):
    sites = t.sites
    apis = [m.api("channel") for m in sites.data()]
    for number in range(60):
        writer, reader = apis[number % 2], apis[(number + 1) % 2]
        event = transfer(DEBIT, CREDIT, 1)
        t.equal(writer.create_transfers([event]), [0])
        t.equal([x.id for x in reader.transfers(event["id"])], [event["id"]],
                "read %d at the other site" % number)
    t.at_rest(sites)


# The stock client of grpcio, which knows only the reflection protocol, does its work at a follower.
def test_stock_client_at_a_follower(t):
    sites = t.sites

    def text(content):
        return base64.b64encode(content).decode()

    def call(stock, method, request):
        """This client repeats nothing; that the machine stood still across an election is no answer."""
        try:
            return stock.call(LEDGER, method, request)
        except grpc.RpcError as error:
            t.equal(error.code(), grpc.StatusCode.UNAVAILABLE, "%s: %s" % (method, error.details()))
            return t.undisturbed(False, error.details())

    def once():
        follower = sites.followers()[0]
        stock = StockClient(follower.api("channel").channel)
        event = new_id()
        answer = call(stock, "CreateTransfers", {
            "identity": {"nonce": text(new_id()), "issued_at_ns": str(time.time_ns())},
            "transfers": [{"id": text(event), "debit_account_id": text(DEBIT),
                           "credit_account_id": text(CREDIT), "amount": "7", "ledger": 1, "code": 1}]})
        t.equal(answer["results"], ["OK"], "posted through a follower")
        found = call(stock, "LookupTransfers", {"ids": [text(event)]})
        t.equal([x["id"] for x in found["transfers"]], [text(event)], "and read there")
        t.undisturbed(follower.status()["role"] == "follower", "it was no follower any more")

    t.attempts(once)
    t.at_rest(sites)


# Load at both sites at once, leadership moved by the operator meanwhile: no request is lost or
# doubled, and none fails.
def test_leadership_moves_under_load(t):
    sites = t.sites
    load = Load(sites).wait_more(50)
    for site in ("A", "B", "A", "B"):
        t.equal(sites.lead_at(site).site, site)
        load.wait_more(50)
    t.at_rest(sites, load)
