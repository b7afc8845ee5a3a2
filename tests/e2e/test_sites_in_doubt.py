"""Requests in doubt: the leader is killed under load, and the list of the survivors names what the
clients could not know, with what became of it."""
import json
import time

import grpc

from client import transfer
from sites import CREDIT, DEBIT


def listed(t, sites, since_ns, role="auditor", nodes=None):
    status, output = sites.tool("--json", "request", "in-doubt", "--since", since_ns, role=role,
                                nodes=nodes)
    t.true(status in (0, 4), output)
    return status, json.loads(output[output.index("{"):])


# Clients at both sites with little patience; the leader is killed in the middle of it. Whoever was
# answered "unknown" by the other site's node is on the list; what the list says about a request is
# what GetRequest says; and what was executed was executed whole.
def test_leader_killed_under_load(t):
    t.attempts(lambda: leader_killed_under_load(t, t.sites))
    t.at_rest(t.sites)


def leader_killed_under_load(t, sites):
    sites.mend()
    sites.settle().wait_sync()
    leader = sites.lead_at("A")
    other, = sites.data("B")
    apis = [member.api("channel") for member in (leader, other)]
    for api in apis:
        api.ask("ListLedgers")
    since_ns = time.time_ns()
    sent = []                           # api, identity, call

    def send(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for number, api in enumerate(apis):
                identity = api.identity()
                body = api.write_body("CreateTransfers", "transfers",
                                      [transfer(DEBIT, CREDIT, 1) for _ in range(3)], identity)
                sent.append((number, identity,
                             api.start("CreateTransfers", body, timeout=0.25, wait=False)))
            time.sleep(0.002)

    send(0.3)
    leader.kill()
    send(0.5)
    answers = [(number, identity, apis[number].outcome(call)) for number, identity, call in sent]
    sites.wait_leader([m for m in sites.members if m is not leader])
    status, document = listed(t, sites, since_ns, nodes=[other])
    t.equal(status, 0, "the one server that was asked answered")
    rows = {(row["nonce"], int(row["issued_at_ns"])): row for row in document["requests"]}
    t.undisturbed(rows, "nothing was in doubt")
    told_unknown = [identity for number, identity, answer in answers
                    if number == 1 and answer.trailers.get("tally-outcome") == "UNKNOWN"]
    for identity in told_unknown:
        t.true((identity["nonce"].hex(), identity["issued_at_ns"]) in rows,
               "answered unknown and not on the list: %s" % identity["nonce"].hex())
    # Executed, and its client does not know: at whichever node, unless the answer was on its way.
    auditor = other.api("auditor")
    unknown_executed = missing = 0
    for number, identity, answer in answers:
        if answer.code == grpc.StatusCode.OK:
            continue
        if answer.trailers.get("tally-outcome") == "NOT_ACCEPTED":
            continue
        found = auditor.ask("GetRequest", identity=identity, principal="channel")
        if found.outcome == 0:
            unknown_executed += 1
            missing += (identity["nonce"].hex(), identity["issued_at_ns"]) not in rows
    # Answers to clients that stood still are all on their way: then another attempt.
    t.undisturbed(missing <= unknown_executed // 2 + 5,
                  "%d of %d executed and unknown to their clients are not listed" % (
                      missing, unknown_executed))
    for (nonce, issued), row in rows.items():
        t.equal(row["principal"], "channel", "principal")
        found = auditor.ask("GetRequest", identity={"nonce": bytes.fromhex(nonce),
                                                    "issued_at_ns": issued},
                            principal=row["principal"])
        name = {0: "EXECUTED", 8: "NOT_YET_SEEN"}[found.outcome]
        t.equal(row["outcome"], name, "outcome of %s" % nonce)
        if found.outcome == 0:
            t.equal((row["ok"], row["refused"]), (3, 0), "whole")
            t.equal(int(row["index"]), found.index, "index")
    # FenceRequest makes "never seen" final.
    never = [key for key, row in rows.items() if row["outcome"] == "NOT_YET_SEEN"]
    for nonce, issued in never[:3]:
        apis[1].ask("FenceRequest", identity={"nonce": bytes.fromhex(nonce),
                                              "issued_at_ns": issued})
    again = {(row["nonce"], int(row["issued_at_ns"])): row
             for row in listed(t, sites, since_ns, role="site", nodes=[other])[1]["requests"]}
    for key in never[:3]:
        t.equal(again[key]["outcome"], "REQUEST_FENCED", "final")
    # A server that is away makes the list incomplete, and that is said.
    status, document = listed(t, sites, since_ns, nodes=sites.data())
    t.equal((status, document["servers_answered"]), (4, 1), "one of two answered")


# Who may see other channels' identities: site operators and auditors.
def test_a_channel_is_refused(t):
    status, output = t.sites.tool("request", "in-doubt", "--since", time.time_ns(), role="channel")
    t.equal(status, 3, output)
    t.true("ListInDoubt" in output, output)
    status, output = t.sites.tool("request", "in-doubt", "--since", "yesterday")
    t.equal(status, 2, output)
