"""Cut networks: one way, silently, for good; who has a majority goes on, and nobody else answers."""
import time

from client import transfer
from sites import COMMIT_SECONDS, CREDIT, DEBIT, TWO_TWO_ONE, Load, lookup


# Each way of each pair alone becomes a hole, under load from both sites: commits go on (perhaps
# after an election), and after the hole everybody agrees.
def test_one_way_holes(t):
    sites = t.sites
    load = Load(sites, call_seconds=3).wait_more(20)
    for one in sites.members:
        for other in sites.members:
            if one is other:
                continue
            sites.network.one_way(one.node_id, other.node_id, "hole")
            time.sleep(0.6)                 # longer than an election takes to begin
            load.wait_more(30, COMMIT_SECONDS)
            sites.network.heal()
    t.at_rest(sites, load)


# The leader's site is cut off, once silently and once with resets. The other site commits; the old
# leader acknowledges nothing, neither in the moment when it still believes to lead nor later, and
# serves no linearizable read meanwhile.
def test_leaders_site_cut_off(t):
    sites = t.sites
    for mode in ("hole", "cut"):
        old = sites.lead_at("A")
        api = old.api("channel")
        api.ask("ListLedgers")
        load = Load(sites, nodes=sites.data("B")).wait_more(20)
        sites.network.isolate([old.node_id], mode)
        early = []
        for _ in range(20):
            event = transfer(DEBIT, CREDIT, 1)
            early.append((event["id"], api.start("CreateTransfers", api.write_body(
                "CreateTransfers", "transfers", [event]), timeout=15, wait=False)))
            time.sleep(0.005)
        new = sites.wait_leader([m for m in sites.members if m is not old])
        load.wait_more(50, COMMIT_SECONDS)
        seen = load.acknowledged[-1]
        event = transfer(DEBIT, CREDIT, 1)
        write = api.start("CreateTransfers", api.write_body("CreateTransfers", "transfers",
                                                            [event]), timeout=3, wait=False)
        read = api.raw("LookupTransfers", api.message("LookupTransfers", ids=[seen])
                       .SerializeToString(), timeout=3, wait=False)
        t.true(read.code.name != "OK", "a read at a node that was cut off (%s): %r" % (mode, read))
        answer = api.outcome(write)
        t.true(answer.code.name != "OK", "a write at a node that was cut off (%s)" % mode)
        t.true(new.status()["term"] > 0, "the new leader answers")
        t.at_rest(sites, load)
        # Who was answered after all (a cut lets the node give up and pass the request on when it is
        # mended) was answered with the truth.
        told = [event for event, call in early if api.outcome(call).code.name == "OK"]
        t.equal(lookup(new, told), told, "acknowledged by the leader that was cut off (%s)" % mode)
        api.close()


# The link between the sites fails while both see the witness: whoever leads, commits go on, and
# leadership does not go back and forth.
def test_link_between_the_sites_is_lost(t):
    sites = t.sites
    load = Load(sites, call_seconds=3).wait_more(20)
    sites.network.between(1, 2, "hole")
    load.wait_more(50, COMMIT_SECONDS)
    time.sleep(1)

    def three_seconds():
        """An election that the machine makes by standing still ends; a link that makes them does not."""
        term = sites.wait_leader().status()["term"]
        time.sleep(3)
        after = sites.wait_leader().status()["term"]
        t.undisturbed(after - term <= 2, "terms keep rising: %d, then %d" % (term, after))

    t.attempts(three_seconds)
    load.wait_more(50, COMMIT_SECONDS)
    t.at_rest(sites, load)


# A link that comes and goes every few hundred milliseconds.
def test_flapping_link(t):
    sites = t.sites
    load = Load(sites, call_seconds=3).wait_more(20)
    leader = sites.wait_leader()
    for _ in range(8):
        sites.network.isolate([leader.node_id], "hole")
        time.sleep(0.3)
        sites.network.heal()
        time.sleep(0.2)
    load.wait_more(50, COMMIT_SECONDS)
    t.at_rest(sites, load)


# The leader's site of two nodes is lost, killed and silently; the other site commits.
def test_site_of_two_nodes_lost(t):
    sites = t.fresh_sites(TWO_TWO_ONE)
    for way in ("kill", "hole"):
        leader = sites.wait_leader()
        lost = sites.site(leader.site)
        load = Load(sites, nodes=[m for m in sites.data() if m.site != leader.site],
                    threads=2).wait_more(20)
        if way == "kill":
            for member in lost:
                member.kill()
        else:
            sites.network.isolate([m.node_id for m in lost], "hole")
        load.wait_more(50, COMMIT_SECONDS)
        t.at_rest(sites, load)
