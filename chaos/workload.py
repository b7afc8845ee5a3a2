#!/usr/bin/python3
"""One client process of a loop of faults: sends random requests, writes down what it does.

    chaos/workload.py --config FILE        (made by chaos/kill_loop.py, chaos/fault_loop.py)

Several threads, each a client of its own with a log of its own, each sequential: a request is
repeated under the same identity until its outcome is final. Lines are written *before* the call
they announce and directly after its answer. When standard input ends, each client finishes what it
has begun and ends its log. Exit status 3: an outcome stayed open longer than the bound.

What a channel does, by random choice:
  a batch of transfers, most of them good; some to accounts that are missing, over a limit, of
  amount 0, with an id of an earlier transfer, with the same id twice
  a repeat of one of its last answered requests, or a question about it
  after a lost answer: a repeat at once, a question first, or a fence
The business operator creates further accounts in small batches all the time.

With several nodes ("ports", the nearest first) a client stays at one until an answer is lost or
refused; then it often goes on at another, after three lost in a row for certain, so that repeats
and questions arrive at other nodes than their requests. Now and then a channel reads back, at any
node, transfers that were acknowledged to
this or another client before the read began: a linearizable read must find them. With "reads_all"
it also reads balances, totals and states of bounded age (client_reads.py).

Each line has the moment at which it was written ("t", CLOCK_MONOTONIC, ns) and the node that was
asked ("node": its number in "nodes", or its port).

While it runs, the number of answers so far is a line on standard output, five times a second.
"""
import argparse
import collections
import json
import os
import random
import select
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests", "e2e"))
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import schema  # noqa: E402
from client import Api  # noqa: E402
from client_reads import Reads  # noqa: E402
from export import Files  # noqa: E402

CALL_SECONDS = 5
REPEAT_SECONDS = 1.5
MOVE_AFTER = 3              # attempts in a row without an answer at one node
OUTCOMES = ("EXECUTED", "NONCE_REUSED", "REQUEST_FENCED", "BEYOND_WINDOW", "ISSUED_TOO_FAR_AHEAD",
            "WINDOW_FULL", "NOT_PERMITTED", "MALFORMED", "NOT_YET_SEEN")
FINAL_REFUSALS = ("NONCE_REUSED", "REQUEST_FENCED", "BEYOND_WINDOW", "NOT_PERMITTED")
RETRYABLE = ("NOT_ACCEPTED", "ISSUED_TOO_FAR_AHEAD", "WINDOW_FULL")


class GaveUp(Exception):
    """No final outcome within the bound: somebody hangs."""


def account_id(number):
    return number.to_bytes(16, "big")


class Shared:
    """What the clients of this process know of each other."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answers = 0
        self.index = 1              # the greatest that an answer named
        self.posted = collections.deque(maxlen=400)     # ids, acknowledged

    def answered(self, ids, index):
        with self.lock:
            self.answers += 1
            self.index = max(self.index, index)
            self.posted.extend(ids)

    def sample(self, draw, count):
        with self.lock:
            known = list(self.posted)
        return draw.sample(known, min(count, len(known)))


class Client(Reads):
    """One sequential client."""

    call_seconds = CALL_SECONDS

    def __init__(self, config, schema_of, name, certificate, seed, stop, shared):
        self.random = random.Random(seed)
        self.config = config
        self.stop = stop
        self.shared = shared
        self.name = name
        self.schema = schema_of
        self.certificate = Files(certificate["certificate"], certificate["key"])
        self.apis, self.at = {}, 0      # connections by position in the list of nodes
        self.log = open(os.path.join(config["logs"], name + config.get("suffix", ".log")), "w")
        self.recent = []            # (nonce, identity, method, body), answered
        self.used = []              # events of earlier transfers
        self.write("client", principal=name, site=config.get("site"))

    def write(self, event, position=None, **fields):
        """`position` in the list of nodes: whom the line is about."""
        if position is not None:
            fields["node"] = self.config.get("nodes", self.config["ports"])[position]
        line = dict(event=event, t=time.monotonic_ns(), **fields)
        self.log.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.log.flush()

    # ---- nodes ----

    @property
    def api(self):
        return self.api_at(self.at)

    def api_at(self, position):
        if position not in self.apis:
            hosts = self.config.get("hosts")
            self.apis[position] = Api(self.config["ports"][position], self.schema,
                                      Files(self.config["ca"]), self.certificate,
                                      host=hosts[position] if hosts else "127.0.0.1")
        return self.apis[position]

    def learn_nodes(self):
        """Nodes that came in the place of others: their operators tell the clients' of them, in a file."""
        try:
            with open(self.config["joined"]) as file:
                rows = json.load(file)
        except (KeyError, FileNotFoundError):
            return
        with self.shared.lock:
            for row in rows:
                if row["node"] not in self.config["nodes"]:
                    self.config["nodes"].append(row["node"])
                    self.config["hosts"].append(row["host"])
                    self.config["ports"].append(row["port"])    # last: others count these

    def perhaps_move(self, failed=0):
        """`failed`: so many attempts in a row; a person would not ask a node that is gone for ever."""
        if failed:
            self.learn_nodes()
        nodes = len(self.config["ports"])
        if failed >= MOVE_AFTER and nodes > 1:
            self.at = (self.at + self.random.randrange(1, nodes)) % nodes
        elif self.random.random() < 0.5:
            self.at = self.random.randrange(nodes)

    # ---- one request to its final outcome ----

    def finish(self, nonce, identity, method, body, announce):
        """Repeats until the outcome is final; True when it was an answer. `announce`: the event of
        the first line, and its fields."""
        end = time.monotonic() + self.config["patience_s"]
        alone = len(self.config["ports"]) == 1
        seconds, wait = CALL_SECONDS, alone
        event, fields = announce
        failed, last = 0, None
        while True:
            if time.monotonic() > end:
                raise GaveUp("%s: request %s has no outcome" % (self.name, nonce))
            at = self.at
            self.write(event, at, nonce=nonce, limit_ms=int(seconds * 1000), **fields)
            # Where several nodes are, the first attempt does not wait for a connection, so that a
            # node that is gone is passed by at once; a repeat does, or the library would hardly
            # attend to the connection that it is making.
            answer = self.api.raw(method, body, timeout=seconds, wait=wait)
            if not alone:
                seconds, wait = REPEAT_SECONDS, True
            outcome = answer.trailers.get("tally-outcome", "")
            if answer.code.name == "OK":
                self.write("answer", at, nonce=nonce, body=answer.body.hex(),
                           durability=answer.trailers.get("tally-durability"))
                self.learn(method, body, answer.body)
                return True
            if outcome in FINAL_REFUSALS:
                self.write("refused", at, nonce=nonce, outcome=outcome)
                return False
            if outcome in RETRYABLE:
                self.write("not_accepted", at, nonce=nonce, why=outcome)
                time.sleep(self.random.uniform(0.001, 0.03))
                self.perhaps_move()
            elif answer.code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"):
                self.write("unknown", at, nonce=nonce, why=answer.code.name)
                time.sleep(self.random.uniform(0.005, 0.05))
                failed, last = failed + 1 if at == last else 1, at
                self.perhaps_move(failed)
                final = self.after_loss(nonce, identity)
                if final is not None:
                    return final
            else:
                raise GaveUp("%s: request %s: %r" % (self.name, nonce, answer))
            event, fields = "again", {}

    def learn(self, method, body, answer):
        """Which transfers are posted, for reads to come."""
        request, response = self.api.methods[method][1:]
        told, ids = response.FromString(answer), []
        if method == "CreateTransfers":
            ids = [event.id for event, result in zip(request.FromString(body).transfers,
                                                     told.results) if result == 0]
        self.shared.answered(ids, told.index)

    def after_loss(self, nonce, identity):
        """Sometimes asks or fences instead of repeating. True or False when that was final."""
        choice = self.random.random()
        if choice < 0.10:
            self.question(nonce, identity)
        elif choice < 0.16:
            return self.question(nonce, identity, "FenceRequest")
        return None

    def question(self, nonce, identity, method="GetRequest"):
        """What became of it? Writes down what it was told; None when nothing final was said."""
        body, at = self.api.message(method, identity=identity).SerializeToString(), self.at
        self.write("fence" if method == "FenceRequest" else "ask", at, nonce=nonce,
                   limit_ms=int(CALL_SECONDS * 1000))
        answer = self.api.raw(method, body, timeout=CALL_SECONDS)
        if answer.code.name != "OK":
            self.write("untold", at, nonce=nonce, why=answer.code.name)
            return None
        told = self.api.methods[method][2].FromString(answer.body)
        outcome = OUTCOMES[told.outcome]
        fields = {"body": told.answer.hex()} if outcome == "EXECUTED" else {}
        self.write("told", at, nonce=nonce, outcome=outcome, **fields)
        if outcome == "EXECUTED":
            return True
        return False if outcome in FINAL_REFUSALS else None

    def request(self, method, field, logged, events):
        """A new request, written down, to its end."""
        identity = {"nonce": self.random.randbytes(16), "issued_at_ns": time.time_ns()}
        nonce = identity["nonce"].hex()
        body = self.api.write_body(method, field, events, identity)
        if self.finish(nonce, identity, method, body,
                       ("send", {"method": method, "events": logged})):
            self.recent = self.recent[-99:] + [(nonce, identity, method, body)]

    def revisit(self):
        """A repeat of an old request, or a question about it."""
        nonce, identity, method, body = self.random.choice(self.recent)
        if self.random.random() < 0.3:
            self.question(nonce, identity)
        else:
            self.finish(nonce, identity, method, body, ("again", {}))

    # ---- what to send ----

    def batch_size(self):
        choice = self.random.random()
        for share, low, high in self.config["batch_sizes"]:
            if choice < share:
                break
        return self.random.randint(low, high)

    def transfer(self):
        """[id, debit, credit, amount, ledger, code, user data], numbers as they are."""
        draw = self.random
        if self.used and draw.random() < 0.02:
            event = list(draw.choice(self.used))        # an earlier id, equal or changed
            if draw.random() < 0.5:
                event[draw.choice((3, 5, 6))] += 1
            return event
        few, many = self.config["accounts"], self.config["accounts_max"]
        debit, credit = draw.sample(range(1, (few if draw.random() < 0.9 else many) + 1), 2)
        # Small amounts meet limits exactly, large ones jump over them.
        amount = draw.randint(1, 3) if draw.random() < 0.5 else int(draw.expovariate(0.001)) + 1
        event = [draw.randbytes(16), debit, credit, amount, 1,
                 draw.randint(1, 9), draw.getrandbits(32)]
        if draw.random() < 0.01:
            event[3] = 0
        self.used.append(event)
        if len(self.used) > 5000:
            self.used = self.used[2500:]
        return event

    def transfers(self):
        events = [self.transfer() for _ in range(self.batch_size())]
        if len(events) > 1 and self.random.random() < 0.05:
            events[-1] = list(events[0])                # the same id twice in a batch
        self.request("CreateTransfers", "transfers", [
            [e[0].hex(), account_id(e[1]).hex(), account_id(e[2]).hex()] + e[3:] for e in events], [
            {"id": e[0], "debit_account_id": account_id(e[1]), "credit_account_id":
             account_id(e[2]), "amount": e[3], "ledger": e[4], "code": e[5],
             "user_data_64": e[6]} for e in events])

    def accounts(self, first, count):
        events = [account_event(number) for number in range(first, first + count)]
        self.request("CreateAccounts", "accounts",
                     [[e["id"].hex(), e["ledger"], e["code"], e["flags"]] for e in events], events)

    # ---- lives ----

    def run_channel(self):
        # The pauses keep 300 rounds at a few million transfers, which can still be judged.
        while not self.stop.wait(self.random.uniform(0, self.config["pause_s"])):
            choice = self.random.random()
            if self.recent and choice < 0.1:
                self.revisit()
            elif choice > 1 - self.config["read_share"]:
                self.look()
            else:
                self.transfers()

    def run_business(self):
        self.request("CreateLedgers", "ledgers", [[1]], [
            {"id": 1, "currency": "EUR", "exponent": 2, "name": "Kill loop"}])
        self.accounts(1, self.config["accounts"])
        self.config["ready"].set()
        following = self.config["accounts"] + 1
        while not self.stop.wait(self.random.uniform(0.05, 0.5)):
            count = min(self.random.randint(1, 20), self.config["accounts_max"] + 1 - following)
            if count > 0:
                self.accounts(following, count)
                following += count
            else:
                self.revisit()

    def run(self, life, failures):
        try:
            life()
            self.write("end")
        except Exception as error:  # told to the parent through the exit status
            failures.append("%s: %s: %s" % (self.name, type(error).__name__, error))
            self.stop.set()
        finally:
            self.config["ready"].set()
            self.log.close()
            for api in self.apis.values():
                api.close()


def account_event(number):
    """Every fourth account may not have more debits than credits, every seventh the reverse."""
    flags = 1 if number % 4 == 0 else 2 if number % 7 == 0 else 0
    return {"id": account_id(number), "ledger": 1, "code": 10 + flags, "flags": flags}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    with open(parser.parse_args().config) as file:
        config = json.load(file)
    config["ready"] = threading.Event()
    stop, failures, threads, shared = threading.Event(), [], [], Shared()
    schema_of = schema.compile_project()

    def start(name, certificate, life):
        client = Client(config, schema_of, name, config[certificate],
                        "%s/%s" % (config["seed"], name), stop, shared)
        threads.append(threading.Thread(target=client.run, args=(getattr(client, life), failures)))
        threads[-1].start()

    if config["business_client"]:
        start("business", "business", "run_business")
        config["ready"].wait()
    for number in range(config["clients"]):
        start("%s-%d" % (config["name"], number), "channel", "run_channel")
    print("started", flush=True)
    # Standard input ends when the parent is done, or gone.
    while not stop.is_set() and not select.select([sys.stdin], [], [], 0.2)[0]:
        print(shared.answers, flush=True)
    stop.set()
    for thread in threads:
        thread.join()
    for failure in failures:
        print(failure, file=sys.stderr)
    return 3 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
