"""kill -9 of any node, at any moment: what was acknowledged is at every node afterwards, and
clients go on as soon as a majority is there. Every test leaves the shared cluster at rest."""
import time

from client import transfer
from sites import ATTEMPTS, COMMIT_SECONDS, CREDIT, DEBIT, TOOL_SECONDS, Load



# Leader killed under load from both sites: the other site goes on, the old leader follows when it
# is back.
def test_leader_killed_under_load(t):
    sites = t.sites
    old = sites.wait_leader()
    load = Load(sites).wait_more(100)
    old.kill()
    new = sites.wait_leader([m for m in sites.members if m is not old])
    t.true(new is not old and new.site != old.site, "the other site leads")
    load.wait_more(100, COMMIT_SECONDS)
    old.start()
    load.wait_more(100, COMMIT_SECONDS)
    t.at_rest(sites, load)


# Followers killed: commits never stop, with the data node of the other site gone or the witness, and
# nobody is elected for it. A leader that the machine stops for as long as an election takes makes one,
# too: hence several attempts.
def test_follower_and_witness_killed_in_turn(t):
    sites = t.sites

    def once(witness):
        leader = sites.wait_leader()
        victim, = [m for m in sites.members if m is not leader and m.is_data != witness]
        load = Load(sites, nodes=[leader]).wait_more(50)
        term = leader.status()["term"]
        victim.kill()
        load.wait_more(200, COMMIT_SECONDS)
        victim.start()
        load.wait_more(50, COMMIT_SECONDS)
        after = leader.status()["term"]
        t.at_rest(sites, load)
        t.undisturbed(after == term, "term %d became %d: somebody was elected" % (term, after))

    for witness in (False, True):
        t.attempts(lambda: once(witness), 2 * ATTEMPTS)


# Two of three killed at once, in every combination: what is left acknowledges nothing, and goes on
# when one of them is back.
def test_two_killed_at_once(t):
    sites = t.sites
    for pair in ((1, 2), (1, 3), (2, 3)):
        for left in [m for m in sites.data() if m.node_id not in pair]:
            sites.lead_at(left.site)            # who would have to know that it leads no more
        load = Load(sites).wait_more(20)
        victims = [sites[n] for n in pair]
        for victim in victims:
            victim.kill()
        killed = time.monotonic()
        t.true(load.stands_still(killed, 1.5), "acknowledged without a majority, %s killed" % (pair,))
        victims[0].spawn()
        load.wait_more(50, COMMIT_SECONDS)
        victims[1].spawn()
        t.at_rest(sites, load)


# All at once, as by a loss of power of everything, twice.
def test_all_killed_at_once(t):
    sites = t.sites
    load = Load(sites).wait_more(50)
    for _ in range(2):
        for member in sites.members:
            member.kill()
        for member in sites.members:
            member.spawn()
        load.wait_more(50, COMMIT_SECONDS)
    t.at_rest(sites, load)


def fill(t, member, batches):
    """Full requests until the log in memory has long forgotten its beginning."""
    api = member.api("channel")
    for _ in range(batches):
        t.equal(set(api.create_transfers([transfer(DEBIT, CREDIT, 1) for _ in range(8190)])), {0})


# A data node returns so late that only a copy of the store helps. It is killed again and again while
# it catches up, then the leader is killed in the middle of it: with the one node gone that has
# everything, nothing is acknowledged, and nothing is lost.
def test_killed_during_catch_up(t):
    sites = t.fresh_sites()
    leader = sites.wait_leader()
    late = next(m for m in sites.data() if m is not leader)
    late.kill()
    fill(t, leader, 30)
    before = leader.status()["index"]["commit"]
    # Restarted, the leader holds in memory only what its store has not: no need for more load.
    leader.terminate()
    leader.start()
    leader = sites.wait_leader()
    load = Load(sites, nodes=[leader]).wait_more(50)
    for pause in (0.02, 0.1, 0.2, 0.4):
        late.spawn()
        time.sleep(pause)
        late.kill()
    late.spawn()
    time.sleep(0.15)
    leader.kill()
    time.sleep(1)
    leader.spawn()
    load.wait_more(100, 60)
    late.wait_ready()
    count = t.at_rest(sites, load)
    t.true(count > 0 and late.status()["index"]["commit"] > before, "caught up")


# The leader is killed while a member is being added, at several moments; the command is repeated
# until it says that it is done. Then the member is removed again, with the same violence.
def test_killed_during_membership_change(t):
    sites = t.fresh_sites()
    load = Load(sites).wait_more(20)
    for site, pause in (("A", 0.0), ("B", 0.15)):
        added = sites.new_member(site)
        sites.prepare_joiner(added)
        # With four voters the loss of a site is not survived: the operator has to insist.
        for arguments in (("member", "add", "--force", "--member-file", added.member_file),
                          ("member", "remove", added.node_id)):
            command = sites.tool_start(*arguments)
            time.sleep(pause)
            victim = sites.leader_now()
            if victim:
                victim.kill()
            command.communicate(timeout=TOOL_SECONDS)
            if victim:
                victim.start()
            t.eventually(lambda: sites.tool(*arguments)[0] == 0, TOOL_SECONDS, " ".join(map(str, arguments)))
            load.wait_more(20)
        added.kill()
        sites.members.remove(added)
    listed = sites.tally("--json", "member", "list")
    t.equal(listed.count('"voter"'), 3, listed)
    t.at_rest(sites, load)
