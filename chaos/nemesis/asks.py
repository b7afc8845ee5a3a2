"""What scenarios ask of single nodes: do you serve, do you refuse and in what words, what do you hold.

Everything here leaves the ledger as it is, so that the judge, who knows the logged clients only, finds
nothing that nobody sent: the "write" is a fence for an identity that nobody uses, which goes through
the log like any other and changes no balance; reads are linearizable.
"""
import json
import os
import shutil
import struct
import subprocess

import grpc

from client import Api

PROBE_SECONDS = 3
VERIFY_SECONDS = 60
WRITES = ("FenceRequest", "SetPrincipals")      # what of them scenarios send: no balance changes
ALIEN = b"\xfe" * 16            # an account that nobody has
FLOORS_BYTES, FLOORS_AT, FLOOR = 432, 40, struct.Struct("<Q16sQQ")


def ask(member, method, seconds=PROBE_SECONDS, role="other", **fields):
    """One call at that node alone, on a connection of its own: an Answer, whatever became of it."""
    security = member.sites.security
    api = Api(member.grpc_port(), member.schema, security.authority, security.by_name[role],
              host=member.host)
    try:
        if method in WRITES:
            fields["identity"] = api.identity()
        answer = api.raw(method, api.message(method, **fields).SerializeToString(), timeout=seconds)
        if answer.code == grpc.StatusCode.OK:
            answer.message = api.methods[method][2].FromString(answer.body)
        return answer
    finally:
        api.close()


def write(member, seconds=PROBE_SECONDS):
    return ask(member, "FenceRequest", seconds)


def read(member, seconds=PROBE_SECONDS, **fields):
    return ask(member, "LookupAccounts", seconds, role="auditor", ids=[ALIEN], **fields)


def ok(answer):
    return answer.code == grpc.StatusCode.OK


def serves(context, claim, member, seconds=10):
    """Within the time that node has a write agreed on and answers a newest read."""
    last = []

    def both():
        last[:] = [write(member), read(member)]
        return all(map(ok, last))
    context.until(both, "node %d to serve" % member.node_id, seconds)
    return context.expect(claim, last and all(map(ok, last)), "node %d serves within %d s: %r" % (
        member.node_id, seconds, last))


def refuses(context, claim, member, words=(), seconds=20):
    """That node takes no write and answers no newest read from now on until it says why in these words,
    which is at once, unless it stands still or has just voted."""
    answers = []

    def said():
        told = " ".join(str(a.details) for a in answers)
        return all(word in told for word in words)

    def over():
        answers[:] = [write(member), read(member)]
        return any(map(ok, answers)) or said()
    context.until(over, "node %d to refuse" % member.node_id, seconds)
    context.expect(claim, not any(map(ok, answers)), "node %d refuses: %r" % (
        member.node_id, answers))
    if words:
        context.expect(claim + " in words", said(), "node %d says %s: %r" % (
            member.node_id, " and ".join(words), answers))


def refuses_with(context, claim, member, words, seconds=20):
    """Within the time that node refuses a write in one of these words, as not in the log, and before it
    does so it takes none. (Around an election a write may be refused for want of a leader.)"""
    answers = []

    def told():
        answers.append(write(member))
        return ok(answers[-1]) or any(word in str(answers[-1].details) for word in words)
    context.until(told, "node %d to refuse in the words" % member.node_id, seconds)
    last = answers[-1]
    context.expect(claim, not ok(last) and any(word in str(last.details) for word in words)
                   and last.trailers.get("tally-outcome") == "NOT_ACCEPTED",
                   "node %d, asked %d times: %r" % (member.node_id, len(answers), last))


def says(context, claim, member, words, seconds=20):
    """One line of the node's log has all these words, within the time."""
    def found():
        return any(all(word in line for word in words) for line in member.log_text().splitlines())
    return context.expect(claim, context.until(found, "node %d to say %s" % (
        member.node_id, words), seconds), "node %d says %s" % (member.node_id, " ... ".join(words)))


def ended(context, member, seconds=20):
    """The exit status of a node that ends by itself, or None: it goes on."""
    def over():
        return member.process is None or member.process.poll() is not None
    if not context.until(over, "node %d to end" % member.node_id, seconds):
        return None
    status = member.process.returncode if member.process else None
    context.note("node %d ended by itself with %s" % (member.node_id, status))
    return status


def status_of(member):
    """{} of one that is gone; who only stands still is asked again."""
    return member.brief() or member.brief(5) or {}


def certified(member):
    """The index of the certificate in a node's directory (docs/formats/certificate.md); 0: none."""
    try:
        with open(os.path.join(member.data, "certificate"), "rb") as file:
            return struct.unpack_from("<Q", file.read(), 96)[0]
    except (FileNotFoundError, struct.error):
        return 0


def mode_is(context, mode, seconds=30):
    """Until the leader has committed that mode; its status, or None."""
    def reached():
        leader = context.sites.leader_now()
        told = status_of(leader) if leader else {}
        return told if told.get("mode_committed") == told.get("mode") == mode else None
    return context.until(reached, "mode %s" % mode, seconds)


def floor_of(member, node_id):
    """The index up to which that member remembers that a node had synced what is committed, by its file
    (docs/formats/directory.md, floors); 0: it knows of none."""
    try:
        with open(os.path.join(member.data, "floors"), "rb") as file:
            bytes_of = file.read()
    except OSError:
        return 0
    if len(bytes_of) != FLOORS_BYTES or bytes_of[:8] != b"TLYFLOR1":
        return 0
    rows = [FLOOR.unpack_from(bytes_of, FLOORS_AT + row * FLOOR.size)
            for row in range(struct.unpack_from("<Q", bytes_of, FLOORS_AT - 8)[0])]
    return max([index for node, _, index, _ in rows if node == node_id], default=0)


# ---- files of nodes that stand still ----

def run_tally(context, *words, seconds=VERIFY_SECONDS):
    """(exit status, output) of a command of tally that asks no node."""
    done = subprocess.run([context.sites.programs.tally] + [str(word) for word in words],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=seconds)
    output = done.stdout.decode(errors="replace")
    context.note("tally %s: exit %d" % (" ".join(str(w) for w in words), done.returncode),
                 output=output[-1500:])
    return done.returncode, output


def verify_journal(context, directory):
    return run_tally(context, "journal", "verify", directory)


def verify_certificate(context, directories, *more):
    """(exit status, document) of `tally certificate verify` over directories of stopped nodes."""
    words = ["certificate", "verify", "--ca", context.sites.security.authority.certificate, "--json"]
    for directory in directories:
        words += ["--data", directory]
    status, output = run_tally(context, *words, *more)
    try:
        return status, json.loads(output[output.index("{"):])
    except ValueError:
        return status, {"verdict": None, "error": output}


def copy_files(context, member, name):
    """A copy of a stopped node's directory, to be looked at later."""
    target = os.path.join(context.scratch, name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(member.data, target)
    return target
