"""A thin gRPC client for tests: bytes in, bytes out, metadata visible.

Bodies stay bytes until a test asks for a message, so that "byte-identical" is compared on what came
over the wire and malformed bodies can be sent as they are.
"""
import secrets
import time

import grpc

SERVICES = ("tally.v1.Ledger", "tally.v1.Admin")


def nonce():
    return secrets.token_bytes(16)


def new_id():
    return secrets.token_bytes(16)


class Answer:
    """What came back from one call."""

    def __init__(self, code, details, body, trailers):
        self.code = code
        self.details = details
        self.body = body
        self.trailers = trailers

    def __repr__(self):
        return "%s %r %s" % (self.code.name, self.details, self.trailers)


class Refused(Exception):
    def __init__(self, method, answer):
        super().__init__("%s: %r" % (method, answer))
        self.answer = answer


def transport(port, authority=None, certificate=None, options=(), host="127.0.0.1"):
    """A channel of its own (never a pooled connection) to a node on this machine.

    The library polls an idle connection every 5 s only, so that without a waiting call (wait=False)
    a connection attempt may take that long: the "min" below, which is its time limit, allows it.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50),
               ("grpc.min_reconnect_backoff_ms", 8000), ("grpc.max_reconnect_backoff_ms", 500),
               ("grpc.max_send_message_length", -1),
               ("grpc.max_receive_message_length", -1)] + list(options)
    target = "%s:%d" % (host, port)
    if host != "127.0.0.1":             # certificates are for that name
        options.append(("grpc.ssl_target_name_override", "localhost"))
    if authority is None:
        return grpc.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(
        authority.certificate_bytes(), certificate.key_bytes() if certificate else None,
        certificate.certificate_bytes() if certificate else None)
    return grpc.secure_channel(target, credentials, options)


class Api:
    """Calls by method name with the message classes of the project's schema."""

    def __init__(self, port, schema, authority, certificate, options=(), host="127.0.0.1",
                 patience=0):
        """patience: for so many seconds ask() and write() repeat what was refused for now, as a good
        client of a cluster does: an election, or a site given up because the machine stood still, is
        no failure of the test that has nothing to do with it."""
        self.schema = schema
        self.patience = patience
        self.channel = transport(port, authority, certificate, options, host)
        self.methods = {}
        for service in SERVICES:
            for name, classes in schema.methods(service).items():
                self.methods[name] = ("/%s/%s" % (service, name),) + classes

    def close(self):
        self.channel.close()

    def start(self, method, body, timeout=30, metadata=None, wait=True):
        """Sends bytes and returns the call, whose outcome() may be asked later."""
        path = self.methods[method][0] if method in self.methods else method
        return self.channel.unary_unary(path).future(body, timeout=timeout, metadata=metadata,
                                                     wait_for_ready=wait)

    @staticmethod
    def outcome(call):
        """Waits for a call: Answer, whatever became of it."""
        code = call.code()
        body = call.result() if code == grpc.StatusCode.OK else None
        trailers = {key: value for key, value in (call.trailing_metadata() or ())}
        return Answer(code, call.details(), body, trailers)

    def raw(self, method, body, timeout=30, metadata=None, wait=True):
        return self.outcome(self.start(method, body, timeout, metadata, wait))

    def insist(self, method, body, timeout=30, metadata=None, patience=None):
        """raw(), and the same bytes again while the node says that it cannot now: whatever became of an
        earlier attempt, a request has one answer. The last answer, if nothing else comes in time."""
        end = time.monotonic() + (self.patience if patience is None else patience)
        while True:
            answer = self.raw(method, body, timeout, metadata)
            if answer.code != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                return answer
            time.sleep(0.05)

    def message(self, method, **fields):
        return self.methods[method][1](**fields)

    def ask(self, method, timeout=30, **fields):
        """One call that must succeed: the answer as a message."""
        answer = self.insist(method, self.message(method, **fields).SerializeToString(), timeout)
        if answer.code != grpc.StatusCode.OK:
            raise Refused(method, answer)
        return self.methods[method][2].FromString(answer.body)

    def identity(self, nonce_bytes=None, issued_at_ns=None):
        return {"nonce": nonce() if nonce_bytes is None else nonce_bytes,
                "issued_at_ns": time.time_ns() if issued_at_ns is None else issued_at_ns}

    def write_body(self, method, field, events, identity=None):
        """The bytes of a writing request, to be sent as often as one likes."""
        fields = {"identity": identity or self.identity(), field: events}
        return self.message(method, **fields).SerializeToString()

    def write(self, method, field, events, identity=None, timeout=30):
        answer = self.insist(method, self.write_body(method, field, events, identity), timeout)
        if answer.code != grpc.StatusCode.OK:
            raise Refused(method, answer)
        return self.methods[method][2].FromString(answer.body)

    def create_ledgers(self, ledgers, **options):
        return list(self.write("CreateLedgers", "ledgers", ledgers, **options).results)

    def create_accounts(self, accounts, **options):
        return list(self.write("CreateAccounts", "accounts", accounts, **options).results)

    def create_transfers(self, transfers, **options):
        return list(self.write("CreateTransfers", "transfers", transfers, **options).results)

    def accounts(self, *ids):
        return list(self.ask("LookupAccounts", ids=list(ids)).accounts)

    def transfers(self, *ids):
        return list(self.ask("LookupTransfers", ids=list(ids)).transfers)

    def posted(self, account_id):
        """(debits posted, credits posted) of one account."""
        account, = self.accounts(account_id)
        return amount(account.debits_posted), amount(account.credits_posted)


def amount(message):
    return message.high << 64 | message.low


def ledger(number, currency="EUR", exponent=2, name="Test"):
    return {"id": number, "currency": currency, "exponent": exponent, "name": name}


def account(number, ledger_id=1, code=10, flags=0, **more):
    return dict({"id": number, "ledger": ledger_id, "code": code, "flags": flags}, **more)


def transfer(debit, credit, value, ledger_id=1, code=1, id=None, **more):
    return dict({"id": id or new_id(), "debit_account_id": debit, "credit_account_id": credit,
                 "amount": value & (2 ** 64 - 1), "amount_high": value >> 64, "ledger": ledger_id,
                 "code": code}, **more)
