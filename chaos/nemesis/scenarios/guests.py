"""Clients that harm by what they are: crowds, the greedy, those that hang, those that never read, those
that say one thing twice."""
import json
import os

from nemesis import asks
from nemesis.faults.disk_errors import data_bytes
from nemesis.faults.guests import GreedyClients, HangingClients, StoppedReaders
from nemesis.faults.process import Kill
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
DOOR_SECONDS = 30           # handshakes may take five (server/grpc.h)
GROWTH_BYTES_MAX = 64 << 20


class HangingGuests(Scenario):
    """Sixty clients at each data node connect and say nothing, stop in the middle of a handshake,
    or ask and leave half a message. Nobody else waits for them, every call of everybody ends by its
    deadline, and each node shows those the door in time that never end their handshake. Others
    come, and the leader is killed with them."""
    name, answers = "hanging-clients", "user pain: clients that hang for ever"

    def timeline(self, context):
        data = context.sites.data()
        with context.during(HangingClients("all", count=60)) as guests:
            hanging = len(guests.unfinished), guests.halves
            context.attack("clients hang", hanging[0] >= 60 and hanging[1] >= 30,
                           "%d in a handshake, %d in a message" % hanging)
            context.pauses.undisturbed("clients that hang disturb nobody")
            context.wait(1)
            context.expect("they hang, and are not turned away", guests.shown_out() == 0,
                           "%d of %d have ended" % (guests.shown_out(), hanging[0]))
            context.wait_answers(40, SERVE_SECONDS)
            # Every node lives all the while: what ends a connection here is a door, and no death.
            context.expect("they are shown the door", context.until(
                lambda: guests.shown_out() == hanging[0], "the door", DOOR_SECONDS),
                           "%d of %d handshakes that never end" % (guests.shown_out(), hanging[0]))
        for member in data:
            asks.says(context, "the node says why", member,
                      ("handshake_timeout", "no TLS handshake"))
        with context.during(HangingClients("all", count=60)):
            with context.during(Kill("leader")):
                context.wait_answers(20, SERVE_SECONDS)
            context.wait_answers(20, SERVE_SECONDS)
            for member in data:
                asks.serves(context, "others are served", member, SERVE_SECONDS)
        context.wait_answers(20, SERVE_SECONDS)


class PinnedPages(Scenario):
    """Programs that export the whole ledger stop in the middle, with the answers unread, while clients
    write and checkpoints are made. A reader that pins pages would make the store grow by each
    checkpoint: it does not, nobody waits for them, and when they go on they end."""
    name, answers = "stopped-readers", "a reader pins pages (LMDB)"

    def timeline(self, context):
        context.storm(3, 16)
        context.wait_answers(40, SERVE_SECONDS)
        before = {m: data_bytes(m) for m in context.sites.data()}
        readers = StoppedReaders("all", count=4)
        epochs = self.checkpoints(context)
        with context.during(readers):
            context.attack("they stand in the middle", readers.stopped > 0, "%d of %d" % (
                readers.stopped, len(readers.open)))
            context.storm(6, 16)
            context.pauses.undisturbed("readers that stand still disturb nobody")
            context.wait(8)
            context.wait_answers(40, SERVE_SECONDS)
            for member, bytes_before in before.items():
                grown = data_bytes(member) - bytes_before
                context.expect("the store does not grow by what is pinned", grown < GROWTH_BYTES_MAX,
                               "node %d grew by %d KiB" % (member.node_id, grown >> 10))
            made = self.checkpoints(context)
            context.expect("checkpoints were made meanwhile", all(
                made[m] > epochs[m] for m in epochs), "%s" % [made[m] - epochs[m] for m in epochs])
            statuses = readers.go_on(20)
            context.expect("who goes on comes to an end", None not in statuses and statuses,
                           "exit statuses %s" % statuses)
        context.wait_answers(20, SERVE_SECONDS)

    @staticmethod
    def checkpoints(context):
        return {m: asks.status_of(m).get("checkpoint", {}).get("epochs", 0) for m in context.sites.data()}


class GreedyGuests(Scenario):
    """One principal may have ten requests under way and sends hundreds at once, at every node, and a
    crowd of others comes as well. The greedy one is pushed back in words, the others are served all
    the while, and nobody is told anything but what became of his request."""
    name, answers = "overload", "full overload by clients (no entry of its own)"

    def timeline(self, context):
        row = {"uri": "tally://test/other", "name": "other", "role": "CHANNEL", "in_flight_max": 10}
        bound = []

        def set_bound():
            bound[:] = [asks.ask(context.sites.wait_leader(), "SetPrincipals", 10, role="site",
                                 principals=[row])]
            return asks.ok(bound[0])
        context.expect("its bound is set", context.until(set_bound, "the bound to be set"), repr(bound))
        greedy = GreedyClients("all", depth=300)
        with context.during(greedy):
            context.storm(5, 30)
            context.pauses.undisturbed("the greedy are pushed back, the others are served")
            context.wait(6)
            context.wait_answers(40, SERVE_SECONDS)
            counts = dict(greedy.counts)
        context.expect("the greedy are pushed back", counts.get("RESOURCE_EXHAUSTED", 0) > 0,
                       "outcomes of the greedy: %s" % counts)
        context.expect("no answer is an internal error", not set(counts) & {"INTERNAL", "UNKNOWN"},
                       "outcomes of the greedy: %s" % counts)
        context.wait_answers(40, SERVE_SECONDS)


class SameIdTwice(Scenario):
    """Clients send the same transfer id twice in one batch, and the same request again at other nodes,
    while leaders die. The first of the two is posted, the second is told that it exists, the same in
    every repeat, and the ledger has it once."""
    name, answers = "same-id-twice", "the same key twice in one batch (Formance)"
    clients = 5

    def timeline(self, context):
        for _ in range(4):
            with context.during(Kill("leader")):
                context.wait_answers(40, SERVE_SECONDS)
            context.wait_answers(40, SERVE_SECONDS)

    def verify(self, context):
        """It did happen: batches with an id twice were answered."""
        doubled, answered = set(), 0
        folder = context.history.path("clients")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name)) as file:
                for line in file:
                    event = json.loads(line)
                    if event["event"] == "send" and event.get("method") == "CreateTransfers":
                        ids = [transfer[0] for transfer in event["events"]]
                        if len(set(ids)) < len(ids):
                            doubled.add(event["nonce"])
                    elif event["event"] == "answer" and event["nonce"] in doubled:
                        answered += 1
        context.attack("ids came twice in a batch", len(doubled) >= 3 and answered >= 3,
                       "%d batches, %d answers to them" % (len(doubled), answered))
