"""Draining a site and resuming it, with its machines on and off, under open-loop clients at the other
site: nobody there notices more than a moment, and nobody at the drained one gets a wrong answer."""
import json
import time

import grpc

from canary import Canaries
from client import transfer
from sites import CREDIT, DEBIT, TOOL_SECONDS

PAUSE_SECONDS = 2.0


def durability(sites, nodes=None):
    return json.loads(sites.tally("--json", "durability", "show", nodes=nodes))


def in_force(sites):
    """The rule is in force and nothing is on its way: (mode, policy, number)."""
    shown = durability(sites)
    return shown["mode"], shown["policy"], shown["number"]


def attempt(member, name="channel"):
    """One transfer at that node, without patience."""
    api = member.api(name)
    body = api.write_body("CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)])
    return api.raw("CreateTransfers", body, 10)


def refuses_clients(t, member, words):
    answer = attempt(member)
    t.code(answer, "UNAVAILABLE")
    t.equal(answer.trailers.get("tally-outcome"), "NOT_ACCEPTED", "outcome at a drained node")
    for word in words:
        t.contains(answer.details, word, "refusal at a drained node")
    code, body = member.get("/readyz")
    t.equal(code, 503, "readiness of a drained node")
    t.contains(body if isinstance(body, str) else body.decode(), "is drained")


def canaries_at(sites, site):
    return Canaries(sites, nodes=sites.data(site)).run(0.3)


def as_before(sites):
    """Whatever an attempt left: nothing is drained, both sites count, and the policy is the default."""
    sites.mend()
    sites.wait_leader()
    shown = durability(sites)
    if shown["policy"]["drained_site"]:
        sites.tally("site", "resume", shown["policy"]["drained_site"])
    sites.settle()
    if shown["policy"]["decision"] != "auto":
        if durability(sites)["mode"] == "degraded":
            sites.tally("durability", "return", "--reason", "the attempt is over")
        sites.tally("durability", "policy", "auto", "degraded_seconds_max=0", "--reason", "over")
    sites.wait_sync()


def again_if_disturbed(t, moves, entries, test):
    """A drain from the beginning, under canaries at site B, with so many planned moves of the leader and
    durability entries. A machine that stands still makes others: then once more."""
    sites = t.sites

    def once():
        as_before(sites)
        sites.lead_at("A")
        canaries = canaries_at(sites, "B")
        try:
            t.unless(lambda: canaries.disturbance(moves, entries), lambda: test(canaries))
        finally:
            canaries.end()

    t.attempts(once)
    sites.settle()


def fine(t, canaries, began):
    canaries.end()
    t.equal(canaries.failed, [], "requests that failed at the other site")
    t.true(canaries.worst_wait(began) < PAUSE_SECONDS,
           "a client waited %.0f ms" % (canaries.worst_wait(began) * 1000))


# Drained while it leads, and resumed: its nodes refuse clients and name the other node, operators are
# still heard there; both commands given twice change nothing.
def test_drain_and_resume(t):
    again_if_disturbed(t, 1, 2, lambda canaries: drain_and_resume(t, t.sites, canaries))


def drain_and_resume(t, sites, canaries):
    a, = sites.data("A")
    b, = sites.data("B")
    began, number = time.monotonic(), canaries.before["number"]
    output = sites.tally("site", "drain", "A", "--reason", "new switch")
    t.contains(output, "drained site: A")
    shown = durability(sites, [b])
    t.equal((shown["mode"], shown["policy"]["drained_site"], shown["number"]),
            ("sync", "A", number + 1))
    t.equal(shown["durability_entry"]["why"], "new switch")
    t.equal(sites.wait_leader([b, sites.witness]), b, "leader")
    t.eventually(lambda: attempt(a).code == grpc.StatusCode.UNAVAILABLE, 60, "node 1 refuses")
    refuses_clients(t, a, ["site A is drained", "node 2 at site B"])
    t.contains(sites.tally("site", "drain", "A", "--reason", "again"), "it is so already")
    t.contains(sites.tally("site", "drain", "A", "--reason", "again", nodes=[a, b]),
               "it is so already")
    t.contains(sites.tally("member", "list", nodes=[a]), "voter")
    refused(t, sites, ["site A is drained", "resume"], "site", "switchover", "A")
    refused(t, sites, ["site A is drained already"], "site", "drain", "B", "--reason", "both")
    output = sites.tally("site", "resume", "A")
    t.contains(output, "drained site: none")
    t.eventually(lambda: attempt(a).code == grpc.StatusCode.OK, 60, "node 1 serves")
    a.wait_ready()
    t.contains(sites.tally("site", "resume", "A"), "it is so already")
    fine(t, canaries, began)
    t.equal(durability(sites)["number"], number + 2, "entries written")


def refused(t, sites, words, *arguments, code=3, **options):
    status, output = sites.tool(*arguments, **options)
    t.equal(status, code, output)
    for word in words:
        t.contains(output, word, "refusal")


# With --power-off the machines of the site may be stopped at once, nobody at the other site pauses;
# the drain outlives the site's restart, and resume waits for it and returns to SYNC.
def test_drain_with_power_off(t):
    again_if_disturbed(t, 1, 4, lambda canaries: drain_with_power_off(t, t.sites, canaries))


def drain_with_power_off(t, sites, canaries):
    a, = sites.data("A")
    b, = sites.data("B")
    began = time.monotonic()
    output = sites.tally("site", "drain", "A", "--power-off", "--reason", "power work")
    t.contains(output, "degrade, without site A")
    t.equal(durability(sites, [b])["mode"], "degraded")
    a.terminate()
    canaries.run(1.0)
    fine(t, canaries, began)
    refused(t, sites, ["site A is drained already"], "site", "drain", "B", "--reason", "x",
            nodes=[b])
    refused(t, sites, ["degraded"], "durability", "policy", "never", "--reason", "x", nodes=[b])
    t.contains(sites.tally("site", "resume", "A", "--dry-run", nodes=[b]), "to be waited for")
    begun = b.log_text().count("event=site_operation_begun")
    resume = sites.tool_start("site", "resume", "A", nodes=[b])
    t.eventually(lambda: b.log_text().count("event=site_operation_begun") > begun, 60,
                 "resume begins")
    time.sleep(0.5)
    t.true(resume.poll() is None, "resume does not wait for the site")
    a.process = None
    a.spawn()
    output = resume.communicate(timeout=TOOL_SECONDS)[0].decode()
    t.equal(resume.returncode, 0, output)
    t.contains(output, "return, both sites")
    shown = durability(sites, [b])
    t.equal((shown["mode"], shown["policy"]["drained_site"]), ("sync", ""))
    a.wait_ready()
    t.eventually(lambda: attempt(a).code == grpc.StatusCode.OK, 60, "node 1 serves")


# What stands in the way of a drain is said, and nothing changes.
def test_drain_that_cannot_be_is_refused(t):
    t.attempts(lambda: drains_that_cannot_be(t, t.sites))


def drains_that_cannot_be(t, sites):
    as_before(sites)
    leader = sites.lead_at("A")
    number = durability(sites)["number"]
    refused(t, sites, ["no data node that votes is at site \"X\""],
            "site", "drain", "X", "--reason", "x")
    refused(t, sites, ["--reason is missing"], "site", "drain", "A", code=2)
    refused(t, sites, ["which may not call OperateSite"], "site", "drain", "A", "--reason", "x",
            role="channel")
    sites.witness.kill()
    t.eventually(lambda: sites.tool("site", "drain", "A", "--reason", "x", "--dry-run",
                                    nodes=[leader])[0] == 3, 60, "the witness is missed")
    refused(t, sites, ["would not go on without site A", "--force"],
            "site", "drain", "A", "--reason", "x", nodes=[leader])
    sites.witness.start()
    sites.settle()
    output = sites.tally("site", "drain", "A", "--reason", "x", "--dry-run", nodes=[leader])
    t.contains(output, "nothing was changed")
    # Under "never" the site cannot be given up: not even leadership moves.
    sites.tally("durability", "policy", "never", "--reason", "x", nodes=[leader])
    number += 1
    for more in ((), ("--dry-run",), ("--force",)):
        refused(t, sites, ["by policy \"never\" writes stop when site A is stopped",
                           "drain it without --power-off"],
                "site", "drain", "A", "--power-off", "--reason", "x", *more, nodes=[leader])
    t.contains(sites.tally("site", "drain", "A", "--reason", "x", "--dry-run", nodes=[leader]),
               "writes stop until it is back")
    sites.tally("durability", "policy", "auto", "--reason", "x", nodes=[leader])
    number += 1
    t.undisturbed((durability(sites)["number"], sites.wait_leader()) == (number, leader),
                  "a durability entry was written, or somebody was elected")


# The policy by hand: against the number that was seen, once, and said when it is so already.
def test_policy_degrade_and_return_by_hand(t):
    sites = t.sites

    def once():
        as_before(sites)
        leader = sites.lead_at("A")
        term = leader.status()["term"]

        def elected():
            after = sites.wait_leader().status()["term"]
            return None if after == term else "term %d became %d" % (term, after)

        t.unless(elected, lambda: by_hand(t, sites, leader))

    t.attempts(once)
    sites.settle()


def by_hand(t, sites, leader):
    number = durability(sites)["number"]
    t.contains(sites.tally("durability", "policy", "operator", "degraded_seconds_max=3600",
                           "--reason", "drill"), "policy operator")
    shown = durability(sites)
    t.equal((shown["number"], shown["policy"]["decision"], shown["policy"]["degraded_seconds_max"]),
            (number + 1, "operator", 3600))
    t.contains(sites.tally("durability", "policy", "operator", "--reason", "again"),
               "it is so already")
    refused(t, sites, ["is the newest, not %d" % number, "drill"], "durability", "policy", "auto",
            "--number", number, "--reason", "late")
    refused(t, sites, ["is no setting KEY=VALUE; keys are decision"], "durability", "policy",
            "hold_ms=3", "--reason", "x")
    refused(t, sites, ["auto, never or operator is needed"], "durability", "policy", "sometimes",
            "--reason", "x")
    refused(t, sites, ["degrade_after_ms"], "durability", "policy", "degrade_after_ms=1",
            "--reason", "x")
    refused(t, sites, ["--reason is missing"], "durability", "policy", "auto", code=2)
    refused(t, sites, ["which may not call"], "durability", "policy", "auto", "--reason", "x",
            role="business")
    refused(t, sites, ["the leader is at site A"], "durability", "degrade", "A", "--reason", "x")
    t.contains(sites.tally("durability", "degrade", "B", "--reason", "x", "--dry-run"),
               "it can be written as entry %d" % (number + 2))
    sites.tally("durability", "degrade", "B", "--reason", "drill")
    shown = durability(sites, [leader])
    t.equal((shown["mode"], shown["number"]), ("degraded", number + 2))
    t.contains(sites.tally("durability", "degrade", "B", "--reason", "again"), "it is so already")
    refused(t, sites, ["degraded"], "durability", "policy", "auto", "--reason", "x")
    refused(t, sites, ["the cluster is degraded"], "site", "switchover", "B")
    refused(t, sites, ["the cluster is degraded"], "site", "drain", "B", "--reason", "x")
    sites.tally("durability", "return", "--reason", "end of drill")
    t.contains(sites.tally("durability", "return", "--reason", "again"), "it is so already")
    sites.tally("durability", "policy", "auto", "degraded_seconds_max=0", "--reason", "end")
    t.contains(sites.tally("durability", "show"), "SYNC")
    t.equal(durability(sites)["number"], number + 4)
