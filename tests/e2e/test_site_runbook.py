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


def script(sites, name, *arguments, answer=b""):
    environment = dict(os.environ, TALLY=sites.programs.tally,
                       TALLY_PROFILE=runbook.profile(sites, sites.directory))
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
    t.eventually(lambda: "is connected" not in script(sites, "failover.sh", "B", "--dry-run")[1], 60,
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
    t.contains(output, "serves without a site")
    other.start()
    status, output = script(sites, "failback.sh", "B")
    t.equal(status, 0, output)
    sites.tally("durability", "policy", "auto", "--reason", "test")
    t.at_rest(sites, load)
