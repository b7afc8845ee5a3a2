"""Open-loop clients: one transfer every so many milliseconds at each data node, sent at its moment
whether earlier ones are answered or not, and not one of them repeated. So what they see is what a
client sees that nobody protects: how long each waited from the moment it was due, the longest gap
between answers, and every request that was not answered with success.

    canaries = Canaries(sites).run(1.0); ...; canaries.end()
    canaries.worst_wait(since), canaries.longest_gap(since), canaries.failed
"""
import threading
import time

import grpc

from client import Api, transfer
from sites import CREDIT, DEBIT, Failure

INTERVAL_SECONDS = 0.01
STALL_SECONDS = 0.1         # a client that comes later than this to its moment was held up by the machine
CALL_SECONDS = 20


class Canaries:
    def __init__(self, sites, nodes=None, interval=INTERVAL_SECONDS):
        self.sites, self.interval = sites, interval
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.answers = {}               # node id -> [(due, answered)]
        self.failed = []                # (node id, due, code, words)
        self.ids = []                   # of the transfers that were acknowledged
        self.open = 0
        self.late = 0.0                 # the machine let a client come to its moment so late, at worst
        self.before = sites.wait_leader().status()
        self.apis, self.threads = [], []
        for node in nodes or sites.data():
            api = Api(node.grpc_port(), sites.schema, sites.security.authority,
                      sites.security.by_name["channel"], host=node.host)
            self.apis.append(api)
            self.answers[node.node_id] = []
            self.threads.append(threading.Thread(target=self.work, args=(node.node_id, api),
                                                 daemon=True))
        for thread in self.threads:
            thread.start()

    def work(self, node_id, api):
        due = time.monotonic()
        while not self.stop.is_set():
            event = transfer(DEBIT, CREDIT, 1)
            body = api.write_body("CreateTransfers", "transfers", [event])
            with self.lock:
                self.open += 1
                self.late = max(self.late, time.monotonic() - due)
            call = api.start("CreateTransfers", body, CALL_SECONDS)
            call.add_done_callback(
                lambda call, due=due, event=event: self.done(node_id, due, event, call))
            due += self.interval
            time.sleep(max(0, due - time.monotonic()))

    def done(self, node_id, due, event, call):
        now = time.monotonic()
        code = call.code()
        with self.lock:
            self.open -= 1
            if code == grpc.StatusCode.OK:
                self.answers[node_id].append((due, now))
                self.ids.append(event["id"])
            else:
                self.failed.append((node_id, due, code.name, call.details()))

    def run(self, seconds):
        time.sleep(seconds)
        return self

    def disturbance(self, moves, entries):
        """What came between since the clients began, other than so many planned moves of the leader and
        durability entries: a machine that stood still, and what nodes made of it. Or None."""
        after = self.sites.wait_leader().status()
        if self.late > STALL_SECONDS:
            return "the machine stood still for %.0f ms" % (self.late * 1000)
        if after["term"] > self.before["term"] + moves:
            return "term %d became %d" % (self.before["term"], after["term"])
        if after["number"] > self.before["number"] + entries:
            return "durability entry %d became %d" % (self.before["number"], after["number"])
        return None

    def end(self):
        """Until the last request has its answer."""
        self.stop.set()
        for thread in self.threads:
            thread.join(CALL_SECONDS)
        end = time.monotonic() + CALL_SECONDS + 10
        while time.monotonic() < end:
            with self.lock:
                if self.open == 0:
                    break
            time.sleep(0.01)
        else:
            raise Failure("%d requests have no end" % self.open)
        for api in self.apis:
            api.close()
        return self

    def worst_wait(self, since=0.0, node_id=None):
        """Seconds from the moment a request was due to its answer."""
        return max((done - due for node, rows in self.answers.items() if node_id in (None, node)
                    for due, done in rows if due >= since), default=float("inf"))

    def longest_gap(self, since=0.0, node_id=None):
        """Seconds between the due moments of two answered requests, one after the other, plus what
        the second waited: nothing came back at that node for so long."""
        worst = 0.0
        for node, rows in self.answers.items():
            if node_id not in (None, node):
                continue
            moments = sorted(done for due, done in rows if due >= since)
            worst = max([worst] + [b - a for a, b in zip(moments, moments[1:])])
        return worst
