"""docs/operations.md and the scripts in ops/, followed literally. What the document tells people to
type is taken from it, so the two cannot drift apart."""
import json
import os
import subprocess
import sys

import runbook
import schema
from sites import Load

sys.path.insert(0, os.path.join(schema.ROOT, "chaos"))
from nemesis.context import STALL_MS_MAX  # noqa: E402
from nemesis.pulse import Pulse  # noqa: E402


def document():
    with open(os.path.join(schema.ROOT, "docs", "operations.md"), encoding="utf-8") as file:
        return file.read()


# Every command of the runbook in order, while clients at both sites write: each exits as the document
# says, nothing that was acknowledged is lost, and at its end the cluster is as at its beginning.
def test_runbook_followed_literally(t):
    """People look before they go on where a machine stood still; this does not, and begins anew."""
    def once():
        sites = t.fresh_sites()
        sites.lead_at("A")
        load = Load(sites).wait_more(20)
        pulse = Pulse(Nobody())
        try:
            t.unless(lambda: stalled(pulse), lambda: follow(t, sites, load))
        finally:
            pulse.end()
            load.stop.set()
        t.at_rest(sites, load)

    t.attempts(once, 3)


class Nobody:
    """Who need not be told of each stall."""

    def event(self, *told, **more):
        pass


def stalled(pulse):
    """In words, when it was for long enough to make an election; None when it was not."""
    worst_ms = pulse.told()["worst_ms"]
    return "the machine stood still for %d ms" % worst_ms if worst_ms > STALL_MS_MAX else None


def follow(t, sites, load):
    before = json.loads(sites.tally("--json", "durability", "show"))
    count = runbook.follow(sites, schema.ROOT, sites.directory, document(),
                           after=lambda line, output: load.wait_more(1))
    t.true(count >= 30, "only %d commands in the document" % count)
    after = json.loads(sites.tally("--json", "durability", "show"))
    t.equal(after["mode"], "sync")
    t.equal(after["policy"], before["policy"], "policy at the end")
    t.equal(sites.wait_leader().site, "A", "site of the leader at the end")


STEADY_MAX = 6          # runs of a script, until nobody is elected meanwhile


def script(sites, name, *arguments, answer=b"", nodes=None):
    """(exit status, output); `nodes`: the servers of the profile, in this order."""
    environment = dict(os.environ, TALLY=sites.programs.tally,
                       TALLY_PROFILE=runbook.profile(sites, sites.directory, nodes=nodes))
    ran = subprocess.run([os.path.join(schema.ROOT, "ops", name)] + list(arguments), env=environment,
                         input=answer, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=180, check=False)
    return ran.returncode, ran.stdout.decode(errors="replace")


# Wrong usage, a site that is not lost, and a second run: nothing changes, and it is said.
def test_scripts_change_nothing_that_need_not_change(t):
    sites = t.sites
    sites.lead_at("A")
    number = json.loads(sites.tally("--json", "durability", "show"))["number"]
    for name in ("switchover.sh", "failover.sh", "failback.sh"):
        t.equal(script(sites, name)[0], 2, name + " without a site")
        t.equal(script(sites, name, "A", "B")[0], 2, name + " with two sites")
        t.equal(script(sites, name, "--nonsense", "A")[0], 2, name + " with an unknown option")
        status, output = script(sites, name, "--help")
        t.equal(status, 0)
        t.contains(output, "Exit codes:")
    t.contains(script(sites, "switchover.sh", "A")[1], "leads already")
    t.equal(script(sites, "switchover.sh", "X")[0], 3, "an unknown site")
    status, output = script(sites, "failover.sh", "B")
    t.contains(output, "is connected: it is not lost")
    t.equal(status, 0, output)
    status, output = script(sites, "failover.sh", "X")
    t.contains(output, "no data node that votes is at a site X")
    t.equal(status, 3, output)
    status, output = script(sites, "failback.sh", "B")
    t.equal(status, 0, output)
    t.contains(output, "it is so already")
    t.equal(json.loads(sites.tally("--json", "durability", "show"))["number"], number, "entries")
    sites.settle()


# Policy operator: a site is lost, writes wait; asked and answered no, nothing changes; yes, they go on.
def test_failover_under_policy_operator(t):
    sites = t.sites
    leader = sites.lead_at("A")
    other, = sites.data("B")
    sites.tally("durability", "policy", "operator", "--reason", "test")
    other.kill()
    t.eventually(lambda: "it is not lost" not in script(sites, "failover.sh", "B", "--dry-run")[1], 60,
                 "the loss is noticed")
    status, output = script(sites, "failover.sh", "B", answer=b"no\n")
    t.equal(status, 1, output)
    t.contains(output, "nothing was changed")
    t.equal(json.loads(sites.tally("--json", "durability", "show", nodes=[leader]))["mode"], "sync")
    status, output = script(sites, "failover.sh", "B", "--reason", "fire", answer=b"yes\n")
    t.equal(status, 0, output)
    shown = json.loads(sites.tally("--json", "durability", "show", nodes=[leader]))
    t.equal((shown["mode"], shown["durability_entry"]["why"]), ("degraded", "fire"))
    load = Load(sites, nodes=[leader]).wait_more(20)
    status, output = script(sites, "failover.sh", "B")
    t.equal(status, 0, output)
    t.contains(output, "serves without site B")
    other.start()
    status, output = script(sites, "failback.sh", "B")
    t.equal(status, 0, output)
    sites.tally("durability", "policy", "auto", "--reason", "test")
    t.at_rest(sites, load)


def told(leader):
    return leader.brief() or {}


def still_leads(t, leader):
    """What it says, {} when it says nothing now. On a machine that stands still somebody else may be
    elected; and itself again, which is all the same."""
    status = told(leader)
    t.undisturbed(status.get("leads") or t.sites.leader_now() in (None, leader), "another node was elected")
    return status


def gives_up(t, leader, site):
    """Until that leader has committed that the cluster goes on without the site. A machine that stands
    still may give another site up."""
    def done():
        status = still_leads(t, leader)
        return status if status.get("mode") == status.get("mode_committed") == "degraded" else None

    status = t.eventually(done, 60, "site %s is given up" % site)
    t.undisturbed(status["durability_entry"]["site"] == site, "another site was given up")


def steady(t, leader, *words, changes=False, **options):
    """script(), and again when `leader` did not lead in one and the same term from its begin to its
    end: what it says is of several moments. Once, where it changes something: the next one would find
    that done."""
    for _ in range(1 if changes else STEADY_MAX):
        before = t.eventually(lambda: still_leads(t, leader).get("leads") and told(leader), 60, "it leads")
        result = script(t.sites, *words, **options)
        after = still_leads(t, leader)
        if after.get("leads") and after["term"] == before.get("term"):
            return result
        print("   %s said, while somebody was elected: exit %d, %s" % (
            words[0], result[0], result[1].strip().splitlines()[-1:]), flush=True)
    t.undisturbed(False, "somebody was elected while %s ran" % words[0])


def whole(sites):
    """As the next attempt, or test, wants it: both sites count, whoever has to decide that."""
    sites.mend()
    for site in ("A", "B"):
        sites.tally("site", "resume", site, "--reason", "the attempt is over")
    sites.settle().wait_sync()
    if sites.wait_leader().status()["policy"]["decision"] != "auto":
        sites.tally("durability", "policy", "auto", "--reason", "the attempt is over")


# A site is given up, and then the witness is lost: the mode still says DEGRADED, but nobody leads.
def test_failover_after_a_second_loss(t):
    sites = t.sites

    def once():
        whole(sites)
        leader = sites.lead_at("B")
        lost, = sites.data("A")
        lost.kill()
        gives_up(t, leader, "A")
        status, output = steady(t, leader, "failover.sh", "A", "--dry-run")
        t.equal(status, 0, output)
        t.contains(output, "the cluster serves without site A")
        sites.witness.kill()
        t.eventually(lambda: told(leader).get("leads") is False, 60, "node 2 leads no more")
        t.equal(told(leader)["mode"], "degraded", "mode")
        status, output = script(sites, "failover.sh", "A")
        t.equal(status, 1, output)
        for words in ("nobody leads", "site A is not reached; site C is not reached",
                      "== next: start whoever is missing"):
            t.contains(output, words)
        sites.witness.start()
        sites.wait_leader()
        status, output = script(sites, "failover.sh", "A")
        t.equal(status, 0, output)
        whole(sites)

    t.attempts(once)


# Policy operator, and only the link between the sites is cut. The profile begins with the site that
# is cut off from the leader, whose node says that it is there: that does not count.
def test_failover_when_only_the_link_is_cut(t):
    sites = t.sites

    def once():
        whole(sites)
        sites.tally("durability", "policy", "operator", "--reason", "test")
        leader = sites.lead_at("B")
        sites.network.between(1, 2, "cut")

        def noticed():
            return "site A" in still_leads(t, leader).get("held_up", "")

        t.eventually(noticed, 60, "the leader misses site A")
        status, output = steady(t, leader, "failover.sh", "A", "--dry-run")
        t.equal(status, 1, output)
        t.contains(output, "has no data node of site A connected")
        t.equal(told(leader)["mode"], "sync", "mode after a dry run")
        status, output = steady(t, leader, "failover.sh", "B")
        t.equal(status, 1, output)
        t.contains(output, "the leader is at site B: it is not lost, but writes stand still")
        status, output = steady(t, leader, "failover.sh", "A", "--reason", "the link", answer=b"yes\n",
                                changes=True)
        t.equal(status, 0, output)
        t.contains(output, "the cluster serves without site A")
        entry = told(leader)["durability_entry"]
        t.equal((entry["kind"], entry["site"], entry["why"]), ("degrade", "A", "the link"), "entry")
        load = Load(sites, nodes=[leader]).wait_more(20)
        t.at_rest(sites, load)
        whole(sites)

    t.attempts(once)


# Site B is given up, and somebody names site A, asking either node first: A is what the cluster runs on.
def test_failover_of_another_site_than_the_one_given_up(t):
    sites = t.sites

    def once():
        whole(sites)
        leader = sites.lead_at("A")
        sites.network.between(1, 2, "cut")
        gives_up(t, leader, "B")
        for nodes in (sites.data(), sites.data()[::-1]):
            status, output = steady(t, leader, "failover.sh", "A", "--yes", nodes=nodes)
            t.equal(status, 1, output)
            t.contains(output, "it is site B that the cluster goes on without, not site A")
            t.contains(output, "== next: bring site B back, then ops/failback.sh B")
            status, output = steady(t, leader, "failover.sh", "B", "--yes", nodes=nodes)
            t.equal(status, 0, output)
        whole(sites)

    t.attempts(once)


# The policy bounds how long one site may be alone, and writes are refused from then on.
def test_failover_when_the_bound_is_reached(t):
    sites = t.sites

    def once():
        whole(sites)
        sites.tally("durability", "policy", "degraded_seconds_max=2", "on_bound=refuse",
                    "--reason", "test")
        leader = sites.lead_at("A")
        lost, = sites.data("B")
        lost.kill()
        gives_up(t, leader, "B")
        t.eventually(lambda: told(leader).get("degraded_bound"), 60, "the bound")
        status, output = steady(t, leader, "failover.sh", "B")
        t.equal(status, 1, output)
        t.contains(output, "writes are refused: one site alone for")
        t.contains(output, "== next: bring site B back")

    try:
        t.attempts(once)
    finally:
        whole(sites)
        sites.tally("durability", "policy", "degraded_seconds_max=0", "on_bound=alarm", "--reason",
                    "test")
        # A node looks at the bound every 50 ms; who writes next is to be refused by none.
        t.eventually(lambda: all(m.status()["write_refusal"] == "" for m in sites.data()), 60,
                     "writes are taken again")
