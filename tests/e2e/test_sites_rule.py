"""The rule about two sites: under SYNC what is acknowledged is at both; a site that is lost is given
up by the policy, with an entry that says who and why, and counted on again when it keeps pace."""
import time

from client import transfer
from sites import COMMIT_SECONDS, CREDIT, DEBIT, TWO_TWO_ONE, Load

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
    t.eventually(lambda: all(view(sites)["survives_loss"].values()), RETURN_SECONDS, "all there")
    return status


def all_of(sites, name):
    return [m.node_id for m in sites.site(name)]


def others(sites, member):
    """Data nodes of the other site."""
    return [m for m in sites.data() if m.site != member.site]


def policy(t, sites, *words):
    """Of a cluster in SYNC: no policy is changed while degraded, and on a machine that stands still for
    a second a site is given up at any time."""
    def once():
        sites.wait_sync()
        status, output = sites.tool("durability", "policy", *words, "--reason", "test")
        if status != 0:
            t.undisturbed("degraded" not in output and "is the newest" not in output, output)
            t.equal(status, 0, output)

    t.attempts(once)


# The site without the leader is lost, killed and silently: clients pause for about the second of
# the policy, go on with the leader's site alone, and the log says why. When it is back the cluster
# returns, and both sites have everything.
def test_followers_site_is_lost(t):
    sites = t.sites

    def once(way):
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
        t.equal((entry["kind"], entry["who"]), ("degrade", "policy"), "the entry (%s)" % way)
        t.undisturbed((status["number"], entry["site"]) == (number + 1, lost[0].site),
                      "entry %d of site %s after entry %d (%s)" % (status["number"], entry["site"],
                                                                   number, way))
        t.true(lost[0].site in entry["why"], entry["why"])
        t.true(not status["survives_loss"][leader.site], "the site that works on may not be lost")
        t.true(status["degraded_run"]["value"] >= 0, "what runs at one site is counted")
        sites.mend()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        t.at_rest(sites, load)
        status = in_sync(t, sites)
        t.true(status["both"] >= status["index"]["commit"], "both have all of it")
        t.undisturbed(status["number"] == number + 2, "entries %d to %d, not one each way (%s)" % (
            number + 1, status["number"], way))

    for way in ("kill", "hole"):
        t.attempts(lambda: once(way))


# The site with the leader is lost: the other one elects, degrades, serves; what was acknowledged is
# there.
def test_leaders_site_is_lost(t):
    sites = t.sites

    def once(way):
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
        given_up = status["durability_entry"]["site"]
        sites.mend()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        t.at_rest(sites, load)
        t.undisturbed(given_up == old.site, "site %s was given up (%s)" % (given_up, way))

    for way in ("kill", "hole"):
        t.attempts(lambda: once(way))


# Two nodes at each site: one of them alone is no loss of a site and changes nothing; both are.
def test_a_site_of_two(t):
    sites = t.fresh_sites(TWO_TWO_ONE)

    def once():
        number = in_sync(t, sites)["number"]
        leader = sites.wait_leader()
        one, other = others(sites, leader)
        load = Load(sites, nodes=[leader], call_seconds=5).wait_more(20)
        one.kill()
        load.wait_more(200, COMMIT_SECONDS)
        time.sleep(2)
        status = view(sites)
        unchanged = (status["mode"], status["number"]) == ("sync", number)
        same = sites.wait_leader() is leader
        if unchanged and same:
            t.true(not status["survives_loss"][leader.site], "but the leader's site could not be lost now")
        other.kill()
        load.wait_more(50, COMMIT_SECONDS)
        wait_mode(t, sites, "degraded", COMMIT_SECONDS)
        one.start()
        wait_mode(t, sites, "sync", RETURN_SECONDS)
        other.start()
        t.at_rest(sites, load)
        t.undisturbed(unchanged and same, "one of two is enough: %s, entry %d after %d" % (
            status["mode"], status["number"], number))

    t.attempts(once)


# Without the witness nothing pauses and nothing changes.
def test_witness_is_lost(t):
    sites = t.sites

    def once():
        number = in_sync(t, sites)["number"]
        load = Load(sites).wait_more(50)
        sites.witness.kill()
        load.wait_more(300, COMMIT_SECONDS)
        time.sleep(2)
        status = view(sites)
        sites.witness.start()
        t.at_rest(sites, load)
        in_sync(t, sites)
        t.undisturbed((status["mode"], status["number"]) == ("sync", number),
                      "nothing to decide, and %s, entry %d after %d" % (
                          status["mode"], status["number"], number))
        t.undisturbed(status["survives_loss"] == {"A": False, "B": False, "C": True},
                      "what may be lost now: %s" % status["survives_loss"])

    t.attempts(once)


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
        killed = time.monotonic()
        t.eventually(lambda: leader.status()["held_up"], COMMIT_SECONDS, "it says what holds it up")
        t.true(load.stands_still(killed, 2), "nothing more is acknowledged")
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
        killed = time.monotonic()
        t.eventually(lambda: leader.status()["held_up"], COMMIT_SECONDS, "it says what holds it up")
        status, output = sites.tool("durability", "degrade", lost.site, "--reason", "please")
        t.true(status != 0 and "never" in output, "refused: %d %s" % (status, output))
        t.equal((view(sites)["mode"], view(sites)["number"]), ("sync", number), "nothing changed")
        t.true(load.stands_still(killed, 2), "nothing more is acknowledged")
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
    began = time.monotonic()
    while time.monotonic() < began + 16:
        sites.network.between(1, 2, "hole")
        time.sleep(1.6)
        sites.network.heal()
        time.sleep(0.9)
    load.wait_more(50, COMMIT_SECONDS)
    changes = view(sites)["number"] - number
    # The dwells allow no more than one way and back in five seconds.
    seconds = time.monotonic() - began
    t.true(0 < changes <= 2 * (seconds / 5 + 1), "%d changes in %.1f s" % (changes, seconds))
    wait_mode(t, sites, "sync", RETURN_SECONDS)
    t.at_rest(sites, load)


# A bound on the seconds at one site alone: then writes are refused, for a reason that is told, until
# the site is back. While degraded the policy itself cannot be changed.
def test_degraded_bound_refuses(t):
    sites = t.sites
    in_sync(t, sites)
    policy(t, sites, "degraded_seconds_max=4", "on_bound=refuse")

    def within_the_bound():
        """The other site's node is lost, and a transfer is made before the four seconds are over."""
        in_sync(t, sites)
        leader = sites.wait_leader()
        lost = others(sites, leader)[0]
        api = leader.api("channel")
        lost.kill()
        wait_mode(t, sites, "degraded", COMMIT_SECONDS, [leader])
        body = api.write_body("CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)])
        answer = api.raw("CreateTransfers", body)
        if answer.code.name != "OK":
            late = leader.status()["degraded_bound"]
            lost.start()
            wait_mode(t, sites, "sync", RETURN_SECONDS)
            t.undisturbed(not late, "the bound had passed before the transfer came")
        t.code(answer, "OK", "within the bound")
        return leader, lost, api

    try:
        leader, lost, api = t.attempts(within_the_bound)
        t.eventually(lambda: leader.status()["degraded_bound"], COMMIT_SECONDS, "the bound")

        def refused_for_that():
            outcome = api.raw("CreateTransfers", api.write_body(
                "CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)]), timeout=20, wait=False)
            t.equal(outcome.code.name, "UNAVAILABLE", "refused, to be tried again")
            return "policy allows 4" in outcome.details

        t.eventually(refused_for_that, COMMIT_SECONDS, "the refusal says why")
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
