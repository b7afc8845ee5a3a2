"""The rule about two sites: under SYNC what is acknowledged is at both; a site that is lost is given
up by the policy, with an entry that says who and why, and counted on again when it keeps pace."""
import time

from client import transfer
from sites import CREDIT, DEBIT, Load, TWO_TWO_ONE

COMMIT_SECONDS = 20     # bound on "goes on"; how fast it is has a program of its own
RETURN_SECONDS = 60


def view(sites):
    """What the leader says of the rule."""
    return sites.wait_leader().status()


def wait_mode(t, sites, mode, seconds, nodes=None):
    """Until the leader has committed that mode: its status."""
    seen = [None]

    def reached():
        leader = sites.leader_now(nodes)
        seen[0] = leader.brief() if leader else None
        return seen[0] is not None and seen[0]["mode_committed"] == seen[0]["mode"] == mode
    t.eventually(reached, seconds, "mode %s, last seen %s" % (mode, (seen[0] or {}).get("mode")))
    return seen[0]


def in_sync(t, sites):
    """SYNC, with every site's loss survived: where each test begins."""
    sites.settle()
    status = wait_mode(t, sites, "sync", RETURN_SECONDS)
    t.eventually(lambda: all(view(sites)["survives_loss"].values()), 10, "all there")
    return status


def all_of(sites, name):
    return [m.node_id for m in sites.site(name)]


def others(sites, member):
    """Data nodes of the other site."""
    return [m for m in sites.data() if m.site != member.site]


def policy(t, sites, *words):
    sites.tally("durability", "policy", *words, "--reason", "test")


# The site without the leader is lost, killed and silently: clients pause for about the second of
# the policy, go on with the leader's site alone, and the log says why. When it is back the cluster
# returns, and both sites have everything.
def test_followers_site_is_lost(t):
    sites = t.sites
    for way in ("kill", "hole"):
        number = in_sync(t, sites)["number"]
        leader = sites.wait_leader()
        lost = others(sites, leader)
        load = Load(sites, nodes=[leader], call_seconds=5).wait_more(20)
        if way == "kill":
            for member in lost:
                member.kill()
        else:
            sites.network.isolate([m.node_id for m in lost], "hole")
        load.wait_more(50, COMMIT_SECONDS)
        status = wait_mode(t, sites, "degraded", COMMIT_SECONDS, [leader])
        entry = status["durability_entry"]
        t.equal((status["number"], entry["kind"], entry["site"], entry["who"]),
                (number + 1, "degrade", lost[0].site, "policy"), "the entry (%s)" % way)
        t.true(lost[0].site in entry["why"], entry["why"])
        t.true(not status["survives_loss"][leader.site], "the site that works on may not be lost")
        t.true(status["degraded_run"]["value"] >= 0, "what runs at one site is counted")
        sites.mend()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        t.at_rest(sites, load)
        status = in_sync(t, sites)
        t.equal(status["number"], number + 2, "one entry each way")
        t.true(status["both"] >= status["index"]["commit"], "both have all of it")


# The site with the leader is lost: the other one elects, degrades, serves; what was acknowledged is
# there.
def test_leaders_site_is_lost(t):
    sites = t.sites
    for way in ("kill", "hole"):
        in_sync(t, sites)
        old = sites.wait_leader()
        rest = others(sites, old)
        load = Load(sites, nodes=rest + [old], call_seconds=3).wait_more(20)
        if way == "kill":
            old.kill()
        else:
            sites.network.isolate([old.node_id], "hole")
        load.wait_more(50, COMMIT_SECONDS)
        status = wait_mode(t, sites, "degraded", COMMIT_SECONDS, rest)
        t.equal(status["durability_entry"]["site"], old.site, "given up (%s)" % way)
        sites.mend()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        t.at_rest(sites, load)


# Two nodes at each site: one of them alone is no loss of a site and changes nothing; both are.
def test_a_site_of_two(t):
    sites = t.fresh_sites(TWO_TWO_ONE)
    number = in_sync(t, sites)["number"]
    leader = sites.wait_leader()
    one, other = others(sites, leader)
    load = Load(sites, nodes=[leader], call_seconds=5).wait_more(20)
    one.kill()
    load.wait_more(200, COMMIT_SECONDS)
    time.sleep(2)
    status = view(sites)
    t.equal((status["mode"], status["number"]), ("sync", number), "one of two is enough")
    t.true(not status["survives_loss"][leader.site], "but the other site could not be lost now")
    other.kill()
    load.wait_more(50, COMMIT_SECONDS)
    wait_mode(t, sites, "degraded", COMMIT_SECONDS)
    one.start()
    wait_mode(t, sites, "sync", RETURN_SECONDS)
    other.start()
    t.at_rest(sites, load)


# Without the witness nothing pauses and nothing changes.
def test_witness_is_lost(t):
    sites = t.sites
    number = in_sync(t, sites)["number"]
    load = Load(sites).wait_more(50)
    sites.witness.kill()
    load.wait_more(300, COMMIT_SECONDS)
    time.sleep(2)
    status = view(sites)
    t.equal((status["mode"], status["number"]), ("sync", number), "nothing was decided")
    t.equal(status["survives_loss"], {"A": False, "B": False, "C": True}, "what may be lost now")
    sites.witness.start()
    t.at_rest(sites, load)
    in_sync(t, sites)


# Policy operator: writes stop with the site, /status and tally say so, and an operator releases
# them. Nothing returns by itself after that.
def test_policy_operator(t):
    sites = t.sites
    in_sync(t, sites)
    policy(t, sites, "operator")
    try:
        leader = sites.wait_leader()
        lost = others(sites, leader)[0]
        load = Load(sites, nodes=[leader], call_seconds=5).wait_more(20)
        lost.kill()
        t.eventually(lambda: leader.status()["held_up"], COMMIT_SECONDS, "it says what holds it up")
        before = load.count()
        time.sleep(2)
        t.true(load.count() - before <= 4, "nothing more is acknowledged")
        t.equal(leader.status()["mode"], "sync", "nobody decided")
        t.contains(sites.tool("status", nodes=sites.data())[1], "STAND STILL", "tally status")
        sites.tally("durability", "degrade", lost.site, "--reason", "site is on fire")
        load.wait_more(50, COMMIT_SECONDS)
        entry = wait_mode(t, sites, "degraded", COMMIT_SECONDS)["durability_entry"]
        t.equal(entry["why"], "site is on fire", "the reason")
        t.true(entry["who"] not in ("", "policy"), "who: %s" % entry["who"])
        lost.start()
        time.sleep(6)
        t.equal(view(sites)["mode"], "degraded", "what a person degraded a person returns")
        sites.tally("durability", "return", "--reason", "it is back")
        wait_mode(t, sites, "sync", COMMIT_SECONDS)
        t.at_rest(sites, load)
    finally:
        sites.mend()
        if view(sites)["policy"]["decision"] != "auto":
            policy(t, sites, "auto")


# Policy never: writes stop, also for an operator, until the site is back; it is told what stands in
# the way, and nothing is changed.
def test_policy_never(t):
    sites = t.sites
    in_sync(t, sites)
    policy(t, sites, "never")
    try:
        leader = sites.wait_leader()
        lost = others(sites, leader)[0]
        load = Load(sites, nodes=[leader], call_seconds=5).wait_more(20)
        number = view(sites)["number"]
        lost.kill()
        t.eventually(lambda: leader.status()["held_up"], COMMIT_SECONDS, "it says what holds it up")
        status, output = sites.tool("durability", "degrade", lost.site, "--reason", "please")
        t.true(status != 0 and "never" in output, "refused: %d %s" % (status, output))
        t.equal((view(sites)["mode"], view(sites)["number"]), ("sync", number), "nothing changed")
        before = load.count()
        time.sleep(2)
        t.true(load.count() - before <= 4, "nothing more is acknowledged")
        lost.start()
        load.wait_more(50, COMMIT_SECONDS)
        t.at_rest(sites, load)
        t.equal(view(sites)["number"], number, "and nobody decided anything")
    finally:
        sites.mend()
        policy(t, sites, "auto")


# A link between the sites that comes and goes for a quarter of a minute: a bounded number of
# changes, every request ends.
def test_flapping_link_changes_are_bounded(t):
    sites = t.sites
    number = in_sync(t, sites)["number"]
    load = Load(sites, call_seconds=3).wait_more(20)
    end = time.monotonic() + 16
    while time.monotonic() < end:
        sites.network.between(1, 2, "hole")
        time.sleep(1.6)
        sites.network.heal()
        time.sleep(0.9)
    load.wait_more(50, COMMIT_SECONDS)
    changes = view(sites)["number"] - number
    # The dwells allow no more than one way and back in five seconds.
    t.true(0 < changes <= 8, "%d changes in 16 s" % changes)
    wait_mode(t, sites, "sync", RETURN_SECONDS)
    t.at_rest(sites, load)


# A bound on the seconds at one site alone: then writes are refused, for a reason that is told, until
# the site is back. While degraded the policy itself cannot be changed.
def test_degraded_bound_refuses(t):
    sites = t.sites
    in_sync(t, sites)
    policy(t, sites, "degraded_seconds_max=4", "on_bound=refuse")
    try:
        leader = sites.wait_leader()
        lost = others(sites, leader)[0]
        api = leader.api("channel")
        lost.kill()
        wait_mode(t, sites, "degraded", COMMIT_SECONDS, [leader])
        t.equal(api.create_transfers([transfer(DEBIT, CREDIT, 1)]), [0], "within the bound")
        t.eventually(lambda: leader.status()["degraded_bound"], COMMIT_SECONDS, "the bound")
        call = api.start("CreateTransfers", api.write_body(
            "CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)]), timeout=2, wait=False)
        outcome = api.outcome(call)
        t.equal(outcome.code.name, "UNAVAILABLE", "refused, to be tried again")
        t.true("policy allows 4" in outcome.details, outcome.details)
        t.true("4" in leader.status()["write_refusal"], leader.status()["write_refusal"])
        status, output = sites.tool("durability", "policy", "degraded_seconds_max=0",
                                    "--reason", "raise it")
        t.true(status != 0 and "degraded" in output, "no policy while degraded: %s" % output)
        lost.start()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        # The mode is the log's, the bound goes by what is applied: that is a moment later.
        t.eventually(lambda: not sites.wait_leader().status()["degraded_bound"], COMMIT_SECONDS,
                     "the end of the bound")
        t.equal(sites.wait_leader().api("channel").create_transfers(
            [transfer(DEBIT, CREDIT, 1)]), [0], "with both sites")
        api.close()
    finally:
        sites.mend()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        policy(t, sites, "degraded_seconds_max=0", "on_bound=alarm")
