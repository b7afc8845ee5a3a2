"""Leadership moves to the other site and no client notices more than a moment: open-loop clients at
every data node, none of whose requests is repeated or refused. And what stands in the way is said."""
import json
import time

from canary import Canaries
from sites import TOOL_SECONDS, TWO_TWO_ONE

# What a busy machine under test is allowed; docs/operations.md has the figures of a quiet one.
PAUSE_SECONDS = 2.0


def switch(t, sites, to, *arguments):
    """Switches over under open-loop clients at all data nodes: what they were acknowledged. A machine
    that stands still makes elections and degrades of its own, in which requests are refused: then
    there and once more."""
    ids = []

    def once():
        sites.settle().wait_sync()
        sites.lead_at({"A": "B", "B": "A"}[to])
        canaries = Canaries(sites)
        try:
            t.unless(lambda: canaries.disturbance(1, 0), lambda: under(t, sites, canaries, to, arguments))
        finally:
            ids.extend(canaries.end().ids)

    t.attempts(once)
    return ids


def under(t, sites, canaries, to, arguments):
    canaries.run(0.5)
    began = time.monotonic()
    report = json.loads(sites.tally("--json", "site", "switchover", to, *arguments))
    canaries.run(0.5).end()
    t.equal(canaries.failed, [], "requests that failed")
    t.true(canaries.worst_wait(began) < PAUSE_SECONDS, "a client waited %.0f ms" % (
        canaries.worst_wait(began) * 1000))
    leader = sites.wait_leader()
    t.equal(leader.site, to, "site of the leader")
    t.equal(report["leader"], leader.node_id, "leader in the report")
    t.equal({p["node"]: p["known"] for p in report["pauses"]},
            {m.node_id: True for m in sites.data()}, "every data node told of its clients")
    for pause in report["pauses"]:
        t.equal((pause["refused"], pause["unknown"]), (0, 0), "node %d" % pause["node"])
        t.true(pause["answered"] > 0, "node %d answered nobody" % pause["node"])


# There and back, twice; afterwards every acknowledged transfer is at every node.
def test_switchover_there_and_back_refuses_nobody(t):
    sites = t.sites
    sites.lead_at("A")
    ids = []
    for to in ("B", "A", "B", "A"):
        ids += switch(t, sites, to, "--reason", "drill")
    ended = [line for m in sites.data() for line in m.log_text().splitlines()
             if "site_operation_ended" in line and "operation=switchover" in line
             and "reason=drill" in line and "principal=" in line]
    t.true(len(ended) >= 4, "audit events: %s" % ended)
    sites.settle()
    for member in sites.data():
        t.equal(len(found(member, ids)), len(ids), "transfers at node %d" % member.node_id)


def found(member, ids):
    api = member.api("auditor")
    return [one.id for first in range(0, len(ids), 8000)
            for one in api.transfers(*ids[first:first + 8000])]


# The same with two data nodes at each site.
def test_switchover_of_two_and_two_refuses_nobody(t):
    sites = t.fresh_sites(TWO_TWO_ONE)
    first = sites.wait_leader().site
    for to in ({"A": "B", "B": "A"}[first], first):
        switch(t, sites, to)
    sites.settle()


# Given where the leader is already, it says so and succeeds; a dry run changes nothing.
def test_switchover_to_where_the_leader_is_and_dry_run(t):
    t.attempts(lambda: nothing_to_do(t, t.sites))


def nothing_to_do(t, sites):
    leader = sites.lead_at("A")
    term = leader.status()["term"]
    t.contains(sites.tally("site", "switchover", "A"), "leads already")
    output = sites.tally("site", "switchover", "B", "--dry-run")
    t.contains(output, "nothing was changed")
    t.contains(output, "can lead")
    t.undisturbed((sites.wait_leader(), leader.status()["term"]) == (leader, term),
                  "somebody was elected meanwhile")


# Each is refused with the reason and the next step, and leadership stays where it was.
def test_switchover_that_cannot_be_is_refused(t):
    t.attempts(lambda: refusals(t, t.sites))


def refusals(t, sites):
    sites.mend()
    sites.settle().wait_sync()
    leader = sites.lead_at("A")
    other, = sites.data("B")

    def refused(words, *arguments, code=3, role="site"):
        term = leader.status()["term"]
        status, output = sites.tool("site", "switchover", *arguments, nodes=[leader], role=role)
        t.equal(status, code, output)
        for word in words:
            t.contains(output, word, "refusal")
        t.undisturbed(leader.status()["term"] == term, "somebody was elected meanwhile")

    refused(["no data node that votes is at site \"X\"", "A, B"], "X")
    refused(["no data node that votes is at site \"C\""], "C")      # the witness's
    refused(["the site is missing"], code=2)
    refused(["--reason: 1 to 120 bytes"], "B", "--reason", "x" * 121, code=2)
    refused(["which may not call OperateSite", "site_operator"], "B", role="channel")
    refused(["which may not call OperateSite"], "B", role="auditor")
    sites.witness.kill()
    t.eventually(lambda: not linked(leader, sites.witness), 60, "the leader misses the witness")
    refused(["not all voters are up: node 3 (site C)", "--force"], "B")
    refused(["something stands in the way"], "B", "--dry-run")
    sites.witness.start()
    sites.settle()
    other.pause()
    t.eventually(lambda: sites.tool("site", "switchover", "B", nodes=[leader])[0] == 3, 60,
                 "a stopped node is refused")
    refused(["node 2", "nothing was changed"], "B")
    other.resume()
    other.kill()
    t.eventually(lambda: not linked(leader, other), 60, "the leader misses node 2")
    refused(["node 2 is not connected"], "B")
    other.start()
    sites.settle()


def linked(member, to):
    rows = json.loads(member.sites.tally("--json", "member", "list", nodes=[member]))["members"]
    return next(row["linked"] for row in rows if row["node_id"] == to.node_id)


# While one operator's command waits for the answer of a node that is stopped, another one comes: he
# hears who does what, since when.
def test_two_operators_at_once(t):
    sites = t.sites
    leader = sites.lead_at("A")
    other, = sites.data("B")
    told = None
    for _ in range(30):
        other.pause()
        first = sites.tool_start("site", "switchover", "B", "--reason", "first", nodes=[leader])
        time.sleep(0.15)
        status, output = sites.tool("site", "switchover", "B", nodes=[leader])
        first.communicate(timeout=TOOL_SECONDS)
        other.resume()
        sites.settle()
        if "another site operation is under way" in output:
            told = (status, output)
            break
        sites.lead_at("A")
    t.true(told, "the second operator never came while the first was at work")
    t.equal(told[0], 3, told[1])
    t.contains(told[1], "switchover B by ")
    t.contains(told[1], "since")
