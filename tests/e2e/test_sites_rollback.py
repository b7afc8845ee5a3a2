"""A node whose files were put back from an older copy: found by its peers, whoever leads by now, and
stopped before it votes or acknowledges anything as its old self."""
import os
import shutil
import time

from sites import Load

FIND_SECONDS = 60
# The leader tells what each member has once a second, and each writes it down once a second: longer than
# a machine stands still.
REMEMBERED_SECONDS = 8
DAMAGED_EXIT = 65


def logged(member, *words):
    """Whether one line of a node's log has all these words."""
    return any(all(word in line for word in words) for line in member.log_text().splitlines())


def ended(t, member):
    t.eventually(lambda: not member.alive, FIND_SECONDS, "node %d ends" % member.node_id)
    status, member.process = member.process.returncode, None
    return status


# Site B's node is copied while it stands still, and runs on. The leader that counted on it is killed
# and comes back in another term, with nothing of the old one in memory, and so does the witness;
# then the copy is put back. Both refuse the node in words, it stops for good, and a new one takes
# its place.
def test_older_copy_is_found_whoever_leads(t):
    sites = t.fresh_sites()
    load = Load(sites, nodes=sites.data("A")).wait_more(20)
    lost, = sites.data("B")
    sites.lead_at("A")
    lost.terminate()
    copy = os.path.join(sites.directory, "copy")
    shutil.copytree(lost.data, copy)
    lost.start()
    load.wait_more(50)
    end = lost.status()["index"]["commit"]
    time.sleep(REMEMBERED_SECONDS)
    acknowledged = load.end()
    lost.kill()
    term = sites.wait_leader().status()["term"]
    others = sites.data("A") + [sites.witness]
    for member in others:
        member.kill()
    shutil.rmtree(lost.data)
    shutil.copytree(copy, lost.data)
    for member in others:
        member.spawn()
    t.true(sites.wait_leader().status()["term"] > term, "another term")
    lost.spawn()
    t.equal(ended(t, lost), DAMAGED_EXIT, "exit status")
    t.true(logged(lost, "was acknowledged by this node and is committed", "but the journal ends at",
                  "tally node repair"), "it does not say why:\n" + lost.log_tail())
    for member in others:
        t.true(logged(member, "peer_lost_entries", "node %d acknowledged entry" % lost.node_id,
                      "its journal ends at", "tally node repair"),
               "node %d does not refuse it in words:\n%s" % (member.node_id, member.log_tail()))
    lost.spawn()
    t.equal(ended(t, lost), DAMAGED_EXIT, "it starts no more")
    t.true(logged(lost, "quarantined"), lost.log_tail())
    load = Load(sites, nodes=sites.data("A")).wait_more(20)
    load.acknowledged += acknowledged   # has to be there at the end, too
    t.true(sites.wait_leader().status()["index"]["commit"] > end, "the others go on")
    new = sites.new_member("B")
    sites.prepare_joiner(new)
    sites.tally("member", "replace", lost.node_id, "--member-file", new.member_file)
    sites.members.remove(lost)
    new.wait_ready()
    load.wait_more(20)
    t.at_rest(sites, load)
