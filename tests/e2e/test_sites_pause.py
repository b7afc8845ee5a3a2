"""A node that is stopped and goes on later, believing what was true before: no stale read, no
answer that is not true."""
import grpc

from client import Api, transfer
from sites import CREDIT, DEBIT, Load, lookup

READS, WRITES = 20, 5


# The leader is stopped (SIGSTOP), the other site elects and acknowledges further transfers. Reads
# and writes were waiting in the old leader's socket all the time; when it goes on (SIGCONT) each
# read must show what was acknowledged before it was sent, or fail; each write that it answers with
# OK must be in the ledger once, and no other.
def test_leader_stopped_across_an_election(t):
    sites = t.sites
    old = sites.lead_at("A")
    rest = [m for m in sites.members if m is not old]
    apis = [Api(old.grpc_port(), sites.schema, sites.security.authority,
                sites.security.by_name["channel"]) for _ in range(READS + WRITES)]
    for api in apis:
        api.ask("ListLedgers")              # connected, handshake done
    load = Load(sites, nodes=sites.data("B")).wait_more(50)
    old.pause()
    new = sites.wait_leader(rest)
    t.true(new is not old, "another leader")
    load.wait_more(100)
    seen = load.acknowledged[-1]
    floor = len(load.acknowledged)
    query = apis[0].message("LookupTransfers", ids=[seen]).SerializeToString()
    reads = [api.start("LookupTransfers", query, timeout=20, wait=False) for api in apis[:READS]]
    events = [transfer(DEBIT, CREDIT, 1) for _ in range(WRITES)]
    writes = [api.start("CreateTransfers", api.write_body("CreateTransfers", "transfers", [event]),
                        timeout=20, wait=False) for api, event in zip(apis[READS:], events)]
    account = new.api("auditor")
    before, _ = account.posted(DEBIT)
    t.true(before >= floor, "posted at the new leader")
    old.resume()
    answered = 0
    for api, call in zip(apis, reads):
        answer = Api.outcome(call)
        if answer.code == grpc.StatusCode.OK:
            answered += 1
            found = api.methods["LookupTransfers"][2].FromString(answer.body).transfers
            t.equal([x.id for x in found], [seen], "a read after SIGCONT is stale")
    for api, call, event in zip(apis[READS:], writes, events):
        answer = Api.outcome(call)
        if answer.code == grpc.StatusCode.OK:
            answered += 1
            t.equal(list(api.methods["CreateTransfers"][2].FromString(answer.body).results), [0])
            t.equal(lookup(new, [event["id"]]), [event["id"]], "answered and not there")
    t.true(answered > 0, "the node that was stopped answered nothing at all")
    for api in apis:
        api.close()
    load.wait_more(20)
    t.at_rest(sites, load)


# Each node stopped for longer than an election, in turn, under load; then all of them at once.
def test_every_node_stopped_in_turn(t):
    sites = t.sites
    load = Load(sites).wait_more(20)
    for member in sites.members:
        member.pause()
        load.wait_more(50)
        member.resume()
    for member in sites.members:
        member.pause()
    for member in sites.members:
        member.resume()
    load.wait_more(50)
    t.at_rest(sites, load)
