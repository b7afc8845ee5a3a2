"""A client that we did not write, through reflection alone."""
import base64
import secrets
import time

import client
from stock_client import ReflectionError, StockClient, status_of

LEDGER = "tally.v1.Ledger"


def text(number):
    return base64.b64encode(number).decode()


def fresh_identity():
    return {"nonce": text(secrets.token_bytes(16)), "issued_at_ns": str(time.time_ns())}


def amount_of(account, side):
    """An amount that is zero need not be on the wire."""
    told = account.get(side, {})
    return int(told.get("low", 0)) + (int(told.get("high", 0)) << 64)


def connect(node, name):
    return StockClient(node.api(name).channel)


# Ledger and accounts by the business operator, transfers by the channel, a repeat of the very same
# bytes after kill -9 and restart: the answer is the very same bytes, and nothing moved twice.
def test_repeat_after_kill_is_byte_identical(t):
    node = t.fresh_node()
    business = connect(node, "business")
    t.true(LEDGER in business.services(), "the ledger service is listed")
    made = business.call(LEDGER, "CreateLedgers", {
        "identity": fresh_identity(),
        "ledgers": [{"id": 7, "currency": "CHF", "exponent": 2, "name": "Stock"}]})
    t.equal(made["results"], ["OK"], "ledger")
    free, limited = secrets.token_bytes(16), secrets.token_bytes(16)
    made = business.call(LEDGER, "CreateAccounts", {
        "identity": fresh_identity(),
        "accounts": [{"id": text(free), "ledger": 7, "code": 1},
                     {"id": text(limited), "ledger": 7, "code": 2,
                      "flags": 2}]})
    t.equal(made["results"], ["OK", "OK"], "accounts")

    channel = connect(node, "channel")
    good, refused = secrets.token_bytes(16), secrets.token_bytes(16)
    # The second one credits an account that must not have more credits than debits.
    body = channel.request(LEDGER, "CreateTransfers", {
        "identity": fresh_identity(),
        "transfers": [{"id": text(good), "debit_account_id": text(limited),
                       "credit_account_id": text(free), "amount": "250", "ledger": 7, "code": 1},
                      {"id": text(refused), "debit_account_id": text(free),
                       "credit_account_id": text(limited), "amount": "251", "ledger": 7,
                       "code": 1}]})
    first = channel.send(LEDGER, "CreateTransfers", body)
    answer = channel.read(LEDGER, "CreateTransfers", first)
    t.equal(answer["results"], ["OK", "EXCEEDS_DEBITS"], "results")
    t.true(int(answer["index"]) > 0 and int(answer["timestamp"]) > 0, "index and stamp are set")
    t.equal(channel.send(LEDGER, "CreateTransfers", body), first, "repeat before the kill")

    node.restart_after_kill()
    again = connect(node, "channel")
    t.equal(again.send(LEDGER, "CreateTransfers", body), first, "repeat after kill -9 and restart")
    found = again.call(LEDGER, "LookupAccounts", {"ids": [text(free), text(limited)]})["accounts"]
    t.equal([amount_of(a, "credits_posted") for a in found], [250, 0], "credits")
    t.equal([amount_of(a, "debits_posted") for a in found], [0, 250], "debits")
    # ... and a graceful stop, which ends in a checkpoint, keeps it too.
    t.equal(node.terminate(), 0, "exit status")
    node.start()
    third = connect(node, "channel")
    t.equal(third.send(LEDGER, "CreateTransfers", body), first, "repeat after a graceful restart")


# Every service in the list can be described with all that it imports, in both protocol versions.
def test_every_listed_service_can_be_described(t):
    api = t.node.api("channel")
    for version in ("v1", "v1alpha"):
        stock = StockClient(api.channel, version)
        names = stock.services()
        for expected in (LEDGER, "tally.v1.Admin", "grpc.health.v1.Health"):
            t.true(expected in names, "%s lacks %s" % (names, expected))
        for name in names:
            t.true(stock.service(name).methods, "%s has methods" % name)


# What does not exist is answered with NOT_FOUND (5) on the stream; the stream goes on.
def test_reflection_of_an_unknown_symbol_is_an_error_answer(t):
    stock = StockClient(t.node.api("channel").channel)
    for question in ({"file_containing_symbol": "no.such.Service"},
                     {"file_by_filename": "no/such.proto"}):
        try:
            stock.reflect(question)
            t.true(False, "%s was answered" % question)
        except ReflectionError as error:
            t.true(str(error).startswith("5 "), "error is NOT_FOUND: %s" % error)


# A question, its mistake, and another question on the same stream.
def test_reflection_stream_survives_a_mistake(t):
    stock = StockClient(t.node.api("channel").channel)
    call = stock.channel.stream_stream(stock.path,
                                       request_serializer=stock.Request.SerializeToString,
                                       response_deserializer=stock.Response.FromString)
    answers = list(call(iter([stock.Request(file_containing_symbol="no.such"),
                              stock.Request(list_services="")]), timeout=20))
    t.equal([a.WhichOneof("response") for a in answers],
            ["error_response", "list_services_response"], "answers")


# An unknown method and an unknown service are UNIMPLEMENTED, not a broken connection.
def test_unknown_method_is_unimplemented(t):
    stock = StockClient(t.node.api("channel").channel)
    for service, method in ((LEDGER, "Embezzle"), ("no.such.Service", "Call"), ("", "")):
        t.equal(status_of(lambda: stock.send(service, method, b"")), "UNIMPLEMENTED",
                "%s/%s" % (service, method))
    t.true(stock.services(), "the connection lives")


# The server speaks the project's own schema: what reflection says is what proto/ says.
def test_reflection_equals_the_schema_of_the_source(t):
    stock = StockClient(t.node.api("channel").channel)
    for service in client.SERVICES:
        told = {m.name: (m.input_type.full_name, m.output_type.full_name)
                for m in stock.service(service).methods}
        written = {name: (request.DESCRIPTOR.full_name, response.DESCRIPTOR.full_name)
                   for name, (request, response) in t.run.schema.methods(service).items()}
        t.equal(told, written, service)
