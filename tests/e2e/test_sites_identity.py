"""Who is let in: a node is its id, its incarnation and its cluster, proved by a certificate, in one
process at a time. Whatever else comes is refused in words, on both sides, and disturbs nobody."""
import os
import secrets
import shutil
import socket
import ssl

import peer
from sites import Load, Member

REFUSE_SECONDS = 60


def logged(member, *words):
    """Whether one line of a node's log has all these words."""
    return any(all(word in line for word in words) for line in member.log_text().splitlines())


def newcomer(sites, member, at=None):
    """A node with that one's id, site and kind, and files of its own."""
    return Member(sites, member.node_id, member.site, member.kind,
                  os.path.join(sites.directory, "newcomer-" + secrets.token_hex(4)), at)


# A data node lost its disk. Made anew under its old id it is refused by everybody, votes for nobody
# and serves nobody; under a new id it takes the old one's place with everything in it.
def test_wiped_node_is_refused_and_comes_back_by_replace(t):
    sites = t.fresh_sites()
    load = Load(sites, nodes=sites.data("A")).wait_more(50)
    lost, = sites.data("B")
    sites.lead_at("A")
    lost.kill()
    shutil.rmtree(lost.data)
    again = newcomer(sites, lost, at=lost)
    t.fresh.append(again)
    sites.prepare_joiner(again)
    t.eventually(lambda: any(logged(m, "peer_refused", "is incarnation") for m in sites.data("A")),
                 REFUSE_SECONDS, "the others refuse the old id with another incarnation")
    load.wait_more(50)
    status = again.brief()
    t.true(status is None or not status["ready"], "the wiped node serves")
    t.true(status is None or status["index"]["commit"] == 0, "the wiped node was given entries")
    again.kill()
    new = sites.new_member("B")
    sites.prepare_joiner(new)
    sites.tally("member", "replace", lost.node_id, "--member-file", new.member_file)
    sites.members.remove(lost)
    new.wait_ready()
    sites.lead_at("B")
    load.wait_more(50)
    t.at_rest(sites, load)


# A node of another cluster, added by mistake: refused in words, and the members stay as they were.
def test_node_of_another_cluster_is_refused(t):
    sites = t.fresh_sites()
    load = Load(sites).wait_more(20)
    stranger = sites.new_member("B")
    sites.members.remove(stranger)
    t.fresh.append(stranger)
    stranger.cluster_id = secrets.token_hex(16)
    stranger.init().spawn()
    status, output = sites.tool("--deadline", 5, "member", "add", "--force", "--member-file",
                                stranger.member_file)
    t.true(status != 0, "a node of another cluster became a member: " + output)
    for member in (stranger, sites.wait_leader()):
        t.eventually(lambda: logged(member, "belongs to cluster"), REFUSE_SECONDS,
                     "node %d says why" % member.node_id)
    load.wait_more(20)
    sites.tally("member", "remove", stranger.node_id)
    t.at_rest(sites, load)


# The directory of a node was copied and both are started. The second process is refused for as long
# as the first lives, and takes part in nothing.
def test_two_processes_with_one_id(t):
    sites = t.fresh_sites()
    load = Load(sites).wait_more(20)
    first, = sites.data("B")
    sites.lead_at("A")
    first.terminate()
    second = newcomer(sites, first)
    t.fresh.append(second)
    shutil.copytree(first.data, second.data)
    first.start()
    second.spawn()
    t.eventually(lambda: any(logged(m, "another process with the id") for m in sites.members), REFUSE_SECONDS,
                 "the second process is refused")
    load.wait_more(50)
    status = second.brief()
    t.true(status is None or status["role"] != "leader", "the second process leads")
    second.kill()
    t.at_rest(sites, load)


# What is no peer at all: plain text, TLS without a certificate, a client's certificate, and after a
# good handshake random bytes, frames out of place and too large. Each is ended, nobody is disturbed.
def test_garbage_from_peers(t):
    sites = t.sites
    load = Load(sites).wait_more(20)
    security, target = sites.security, sites.wait_leader()
    for content in (b"GET / HTTP/1.0\r\n\r\n", secrets.token_bytes(5000), b"\x16\x03\x01" * 200):
        with socket.create_connection(("127.0.0.1", target.peer_port), 10) as plain:
            plain.settimeout(20)
            try:
                plain.sendall(content)
                while plain.recv(4096):
                    pass
            except ConnectionError:
                pass                    # reset is an end, too; a timeout fails the test
    for certificate in (None, security.by_name["channel"], security.by_name["peer"]):
        try:
            guest = peer.Peer(target.peer_port, security.authority, certificate)
            guest.send(peer.frame(peer.HELLO, peer.hello(sites.cluster_id, 2, "00" * 16, 1)))
            answer = guest.answer()
            t.true(answer is None or answer[0] == peer.REFUSAL,
                   "let in without a node's certificate: %r" % (answer,))
            guest.close()
        except (ssl.SSLError, ConnectionError):
            pass                        # refused within the handshake
    other = next(m for m in sites.data() if m is not target)
    certificate = security.node(other.node_id)
    for content in (secrets.token_bytes(4000), peer.frame(peer.MESSAGE, b"\0" * 64),
                    peer.frame(peer.WELCOME, b"\0" * 224), b"\xff" * 8,
                    peer.frame(peer.HELLO, secrets.token_bytes(224)),
                    peer.frame(peer.HELLO, b"")):
        guest = peer.Peer(target.peer_port, security.authority, certificate)
        guest.tls.settimeout(20)
        guest.send(content)
        answer = guest.answer()
        t.true(answer is None or answer[0] == peer.REFUSAL, "%r was answered with %r" % (
            content[:16], answer))
        guest.close()
    load.wait_more(50)
    t.at_rest(sites, load)


# With a node's certificate and a good hello but for one field: refused with the number and the words
# for it.
def test_hellos_with_one_wrong_field(t):
    sites = t.sites
    load = Load(sites).wait_more(20)
    target = sites.wait_leader()
    other = next(m for m in sites.data() if m is not target)
    certificate = sites.security.node(other.node_id)
    incarnation = other.status()["incarnation"]
    good = (sites.cluster_id, other.node_id, incarnation, target.node_id)
    for what, arguments, fields in (
            ("version", good, {"version": peer.VERSION + 1}),
            ("version", good, {"version": 0}),
            ("certificate", (good[0], target.node_id + 100) + good[2:], {}),
            ("cluster", ("00" * 16,) + good[1:], {}),
            ("older epoch", good, {"epoch": 0}),
            ("newer epoch", good, {"epoch": 2}),
            ("wrong node", good[:3] + (77,), {}),
            ("incarnation", good[:2] + ("ab" * 16, good[3]), {}),
            ("kind", good, {"kind": 1}),
            ("two processes", good, {})):
        def once():
            guest = peer.Peer(target.peer_port, sites.security.authority, certificate)
            guest.tls.settimeout(20)
            guest.send(peer.frame(peer.HELLO, peer.hello(*arguments, **fields)))
            refusal = guest.refusal()
            guest.close()
            # While the real one's link is down (a machine that stood still ends it) there are no two.
            t.undisturbed(refusal is not None or what != "two processes", "the guest came first")
            t.true(refusal is not None, "%s: no refusal" % what)
            t.equal(refusal[0], peer.REFUSED[what], "%s: %s" % (what, refusal[1]))
            t.true(len(refusal[1]) > 10, "%s: says nothing" % what)

        t.attempts(once)
    load.wait_more(50)
    t.at_rest(sites, load)
