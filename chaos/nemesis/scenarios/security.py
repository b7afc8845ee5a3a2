"""Certificates that end or are revoked in the middle of the day, roles that change, and peers of another
version."""
import random
import time

import peer
from nemesis import asks
from nemesis.faults.certificates import CertificateExpires, CertificateRevoked
from nemesis.faults.network import Resets
from nemesis.faults.process import Kill
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
CHANGES = 30


class CertificatesExpire(Scenario):
    """The leader's certificate ends while it leads. Connections that stand go on; then they are reset,
    and nobody accepts it any more: the others say that it has expired, elect another leader and
    serve. A new certificate and a SIGHUP bring it back, without a restart."""
    name, answers = "certificate-expires", "certificate expiry in the middle of a run (no entry of its own)"
    bends = True

    def prepare(self, context):
        CertificateExpires("leader").prepare(context)

    def timeline(self, context):
        sites = context.sites
        old = sites.wait_leader()
        whom = "node-%d" % old.node_id
        with context.during(CertificateExpires(whom, after_s=2.0)):
            context.wait(2.5)
            context.wait_answers(15, SERVE_SECONDS)
            with context.during(Resets(whom)):
                context.wait(1)
            context.expect("the others go on without it", context.until(
                lambda: sites.leader_now([m for m in sites.members if m is not old]),
                "another leader", SERVE_SECONDS), "node %d is refused" % old.node_id)
            context.expect("somebody says why", context.until(
                lambda: any("expired" in m.log_text() for m in sites.members), "the word", 20),
                           "a log names the end of the certificate")
            context.wait_answers(20, SERVE_SECONDS)
        asks.serves(context, "a renewed one is back", old, SERVE_SECONDS)
        context.wait_answers(20, SERVE_SECONDS)


class CertificateIsRevoked(Scenario):
    """A follower's certificate is put on the list of revoked ones, and all others read the list: they
    end the connections that stand and refuse new ones, saying so; the other site goes on alone. With
    a new certificate the node is a follower like any."""
    name, answers = "certificate-revoked", "certificate revocation in the middle of a run (no entry of its own)"

    def prepare(self, context):
        CertificateRevoked("follower").prepare(context)

    def timeline(self, context):
        sites = context.sites
        fault = CertificateRevoked("follower")
        with context.during(fault):
            victim = fault.taken[0]
            context.expect("a revoked node is refused in words", context.until(
                lambda: any("revoked" in m.log_text() for m in sites.members), "the word", 20),
                           "a log names the revocation")
            context.expect("it is cut off", context.until(
                lambda: not linked(sites.leader_now(), victim), "the link to end", 20),
                           "the leader has no link to node %d" % victim.node_id)
            context.wait_answers(20, SERVE_SECONDS)
        context.expect("with a new one it is back", context.until(
            lambda: linked(sites.leader_now(), victim), "the link", SERVE_SECONDS),
                       "the leader has a link to node %d" % victim.node_id)
        context.wait_answers(20, SERVE_SECONDS)


def linked(leader, member):
    rows = asks.status_of(leader).get("members", []) if leader else []
    return any(row["node"] == member.node_id and row.get("linked") for row in rows)


class RolesChange(Scenario):
    """An operator changes a principal's role dozens of times, at any node, while nodes are killed and
    catch up. Who may do what is decided from the log: every replica has the same table at the same
    index, whatever it had missed, and the role of the last change is in force everywhere."""
    name, answers = "roles-change", "policy makes replicas diverge (etcd #14571)"

    def timeline(self, context):
        draw = random.Random(context.draw.getrandbits(62))
        context.pauses.undisturbed("roles are changed")
        done = self.change(context, draw, CHANGES // 3)
        for whom in ("follower", "leader"):
            with context.during(Kill(whom)):
                meanwhile = self.change(context, draw, CHANGES // 3)
            context.expect("roles were changed while a node was away", meanwhile > 0,
                           "%d changes without the %s" % (meanwhile, whom), timed=True)
            done += meanwhile
            context.wait_answers(15, SERVE_SECONDS)
        context.expect("roles were changed", done >= CHANGES // 2, "%d of %d changes" % (done, CHANGES),
                       timed=True)
        context.expect("the last role is set", context.until(
            lambda: self.set_role(context, "NONE", 20), "the last role to be set", 60), "NONE")

    @staticmethod
    def set_role(context, role, seconds):
        row = {"uri": "tally://test/other", "name": "other", "role": role}
        member = context.chance.choice([m for m in context.sites.data() if m.alive])
        return asks.ok(asks.ask(member, "SetPrincipals", seconds, role="site", principals=[row]))

    def change(self, context, draw, count):
        done = 0
        for _ in range(count):
            done += self.set_role(context, draw.choice(("NONE", "CHANNEL", "AUDITOR")), 3)
            context.wait(0.05)
        return done

    def verify(self, context):
        for member in context.sites.data():
            answers = []

            def told():
                """Who was served or turned away, and not only asked to come again."""
                answers.append(asks.ask(member, "ListLedgers", 10))
                return answers[-1].code.name in ("OK", "PERMISSION_DENIED")
            context.until(told, "node %d to say who may ask" % member.node_id)
            context.expect("the last role is in force at every node",
                           answers[-1].code.name == "PERMISSION_DENIED", "node %d: %r" % (
                               member.node_id, answers[-1]))


class OtherVersion(Scenario):
    """A peer of the next version, of version 0, of a newer and an older cluster epoch and with a wrong
    incarnation says hello to every node, again and again, under load. Each is refused with a number
    and words, nobody crashes, nobody is disturbed: what a rolling upgrade begins with."""
    name, answers = "other-version", "mixed versions crash"
    network = "relay"           # the peer that is none comes from this machine's loopback

    def timeline(self, context):
        sites, counts = context.sites, {}
        context.pauses.undisturbed("who is refused disturbs nobody")
        end = time.monotonic() + 8
        while time.monotonic() < end:
            for target in sites.members:
                other = next(m for m in sites.members if m is not target)
                incarnation = asks.status_of(other).get("incarnation")
                if not incarnation:
                    continue
                for what, fields in (("version", {"version": peer.VERSION + 1}),
                                     ("version", {"version": 0}), ("older epoch", {"epoch": 0}),
                                     ("newer epoch", {"epoch": 2}), ("garbage", {"magic": b"NOTAPEER"})):
                    refusal = self.knock(sites, target, other, incarnation, fields)
                    told = refusal and refusal[0] == peer.REFUSED[what] and len(refusal[1]) > 10
                    if what != "garbage" and not told:
                        context.expect("refused in words", False, "%s at node %d: %r" % (
                            fields, target.node_id, refusal))
                    counts[what] = counts.get(what, 0) + 1
            context.wait(0.2)
        context.attack("they did knock", min(counts.values(), default=0) >= 3, repr(counts))
        context.wait_answers(40, SERVE_SECONDS)

    @staticmethod
    def knock(sites, target, other, incarnation, fields):
        guest = peer.Peer(target.peer_port, sites.security.authority,
                          sites.security.node(other.node_id))
        try:
            guest.send(peer.frame(peer.HELLO, peer.hello(
                sites.cluster_id, other.node_id, incarnation, target.node_id, **fields)))
            return guest.refusal()
        finally:
            guest.close()
