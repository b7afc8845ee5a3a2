"""Certificates that end, are revoked and are renewed while the nodes run (tests/e2e/pki.py, SIGHUP).

Each node gets files of its own before the cluster is made, so that they can be exchanged one by one.
"""
import os
import shutil
import signal
import time

from nemesis.fault import Fault, Passed

RELOAD_SECONDS = 20
DAY = 86400.0


def own_files(context):
    """Copies of each node's certificate, key and revocation list beside its configuration."""
    for member in context.sites.members:
        for key in ("certificate", "key", "crl"):
            source = member.config["tls"][key]
            copy = os.path.join(member.directory, "own-" + os.path.basename(source))
            shutil.copy(source, copy)
            member.config["tls"][key] = copy


def issue(context, member, seconds):
    """A certificate for that node which ends so many seconds from now."""
    made = context.sites.security.authority.issue(
        "node-%d-%d" % (member.node_id, time.monotonic_ns()),
        [context.sites.security.node(member.node_id).uri], usage="serverAuth,clientAuth",
        extra_names=["DNS:localhost", "IP:127.0.0.1"]
        + (["IP:" + member.host] if member.host != "127.0.0.1" else []),
        days=(-1, seconds / DAY))
    return made


def reload(context, member, word="certificates_reloaded"):
    """SIGHUP, and the wait until the log says what came of it."""
    before = member.log_text().count(word)
    member.signal(signal.SIGHUP)
    return context.until(lambda: member.log_text().count(word) > before,
                         "node %d to say %s" % (member.node_id, word), RELOAD_SECONDS)


def give(context, member, made):
    """From its next connection on the node shows that certificate."""
    member.present = made
    shutil.copy(made.certificate, member.config["tls"]["certificate"])
    shutil.copy(made.key, member.config["tls"]["key"])
    return reload(context, member)


class CertificateExpires(Fault):
    """The node's certificate ends `after_s` from now. Connections that stand stay; nobody makes a new
    one with it, neither clients nor peers. At the end it is renewed, with a reload and no restart."""
    name, kind, seconds, weight = "certificate-expires", "security", (3.0, 8.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "any")), after_s=1.5)

    def prepare(self, context):
        prepare_once(context)

    def begin(self, context):
        for member in self.take(context):
            require_own(member)
            give(context, member, issue(context, member, self.parameters.get("after_s", 1.5)))

    def end(self, context):
        for member in self.taken:
            if member.alive and not member.stopped:
                give(context, member, issue(context, member, 90 * DAY))


class CertificateRevoked(Fault):
    """The node's certificate is on the list of revoked ones, and all others have read it: they end
    its connections and refuse it by name. At the end it gets a new one."""
    name, kind, seconds, weight = "certificate-revoked", "security", (2.0, 6.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("follower", "witness", "leader")))

    def prepare(self, context):
        prepare_once(context)

    def begin(self, context):
        security = context.sites.security
        for member in self.take(context):
            require_own(member)
            # The one that its connections stand on.
            security.authority.revoke(getattr(member, "present", security.node(member.node_id)))
            for other in context.others([member]):
                if other.config["tls"]["crl"] != security.authority.crl:    # one of its own
                    shutil.copy(security.authority.crl, other.config["tls"]["crl"])
                if other.alive and not other.stopped:
                    reload(context, other)

    def end(self, context):
        for member in self.taken:
            if member.alive and not member.stopped:
                give(context, member, issue(context, member, 90 * DAY))


def require_own(member):
    if "own-" not in member.config["tls"]["certificate"]:
        raise Passed("node %d has no certificate files of its own" % member.node_id)


def prepare_once(context):
    if "own-" not in context.sites.members[0].config["tls"]["certificate"]:
        own_files(context)
