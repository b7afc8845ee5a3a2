"""What survivors prove after a loss: `tally certificate verify` on real directories, of real nodes
that were killed under load. It never claims more than what is there."""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import time

import pki
from sites import Load

PROVEN, BOUNDED, UNPROVEN, DAMAGED = 0, 1, 5, 6


def copies(t, sites, *node_ids):
    """The data directories of killed nodes, copied so that the nodes may run on."""
    out = []
    for node_id in node_ids:
        target = os.path.join(t.run.scratch, "evidence-%d-%d" % (node_id, time.monotonic_ns()))
        shutil.copytree(sites[node_id].data, target)
        out.append(target)
    return out


def verify(sites, directories, *more, ca=None):
    """(exit status, document) of the verdict."""
    command = [sites.programs.tally, "certificate", "verify", "--ca",
               ca or sites.security.authority.certificate, "--json"]
    for directory in directories:
        command += ["--data", directory]
    done = subprocess.run(command + list(more), stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"error": done.stderr.decode()}


def wait_certificate(t, member, index):
    """Until the node's certificate covers `index`."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        held = (member.brief() or {}).get("certificate")
        if held and int(held["index"]) >= index:
            return held
        time.sleep(0.05)
    t.true(False, "node %d holds no certificate for %d" % (member.node_id, index))


def proven_until_ns(directory):
    """The moment up to which the certificate in a directory proves all (docs/formats/certificate.md)."""
    with open(os.path.join(directory, "certificate"), "rb") as file:
        return struct.unpack_from("<Q", file.read(), 80)[0]


def certified(member):
    """The index of the certificate in a node's directory; its file follows what the node holds."""
    try:
        with open(os.path.join(member.data, "certificate"), "rb") as file:
            return struct.unpack_from("<Q", file.read(), 96)[0]
    except (FileNotFoundError, struct.error):
        return 0


def expect(t, result, code, verdict, basis=None):
    status, document = result
    t.equal((status, document.get("verdict")), (code, verdict), json.dumps(document)[:2000])
    if basis:
        t.equal(document["basis"], basis, "basis")
    if verdict == "PROVEN_ZERO":
        t.equal((document["entries"], document["money"], document["seconds"]), (0, 0, 0), "zero")
    else:
        t.equal((document["entries"], document["money"]), (None, None), "unknown is no number")
    if verdict == "UNKNOWN":
        t.equal(document["seconds"], None, "unknown seconds")
    return document


# The leader's whole site is killed under load. The other site and the witness prove that nothing is
# lost; the other site alone bounds it by the time since the last contact, and says nothing without
# the time of the loss.
def test_leader_site_lost_under_load(t):
    sites = t.fresh_sites()
    leader = sites.lead_at("A")
    other, = sites.data("B")
    load = Load(sites).wait_more(200)
    index = sites.wait_leader().status()["index"]["commit"]
    t.eventually(lambda: certified(other) > index, 60, "the file follows by a second")
    lost_at = time.time_ns()
    leader.kill()
    for member in (other, sites.witness):
        member.kill()
    acknowledged = load.count()
    t.true(acknowledged > 200, "acknowledged before")
    both = copies(t, sites, other.node_id, sites.witness.node_id)
    document = expect(t, verify(sites, both, "--lost-site", "A", "--lost-at", str(lost_at)),
                      PROVEN, "PROVEN_ZERO", "majority")
    t.equal(document["damaged"], False, "nothing is damaged")
    alone = [both[0]]
    document = expect(t, verify(sites, alone, "--lost-at", str(lost_at)), BOUNDED,
                      "BOUNDED_BY_TIME", "certificate")
    # From T to the loss, and half a second by which two clocks may differ.
    seconds = 0.5 + (lost_at - proven_until_ns(both[0])) / 1e9
    t.true(abs(document["seconds"] - seconds) < 0.1, "seconds: %s, by the certificate %.3f" % (
        document["seconds"], seconds))
    expect(t, verify(sites, alone), UNPROVEN, "UNKNOWN")
    # A loss before the last contact is a contradiction.
    expect(t, verify(sites, alone, "--lost-at", str(lost_at - 3600 * 10**9)), UNPROVEN, "UNKNOWN")
    # The witness alone: the same bound, its journal has all that is committed under a majority.
    status, document = verify(sites, [both[1]], "--lost-at", str(lost_at))
    t.true(status in (BOUNDED, UNPROVEN), "the witness alone: %s" % document)

    # ---- forged and damaged evidence, on copies ----
    def changed(name, change):
        directory = copies(t, sites, other.node_id)[0]
        path = os.path.join(directory, name)
        with open(path, "r+b") as file:
            content = bytearray(file.read())
            change(content)
            file.seek(0)
            file.write(content)
        return directory

    def flip(offset):
        def change(content):
            content[offset] ^= 1
        return change

    def forge(offset):
        def change(content):
            content[offset] ^= 1
            content[-32:] = hashlib.sha256(content[:-32]).digest()
        return change

    # Each field: time, index, head, policy; and the signature itself. By a disk, and by a forger,
    # who makes the digest fit.
    for spoil in (flip, forge):
        for offset in (80, 96, 112, 13, 210):
            spoiled = changed("certificate", spoil(offset))
            document = expect(t, verify(sites, [spoiled], "--lost-at", str(lost_at)), DAMAGED,
                              "UNKNOWN")
            t.equal(document["survivors"][0]["certificate_state"], "REFUSED",
                    "%s at %d" % (spoil.__name__, offset))
    # Beside a good one the forged certificate does no harm, and is told.
    document = expect(t, verify(sites, [changed("certificate", forge(96)), both[1]]), PROVEN,
                      "PROVEN_ZERO")
    t.equal(document["damaged"], True, "told")
    # Another authority signs for nobody here.
    stranger = pki.Authority(os.path.join(t.run.scratch, "stranger"))
    status, document = verify(sites, both, ca=stranger.certificate)
    t.equal((status, document["verdict"]), (DAMAGED, "UNKNOWN"), "wrong CA")
    # A journal with one byte changed does not count, however good its certificate.
    journal = next(n for n in os.listdir(both[0]) if n.startswith("journal-"))
    segment = sorted(n for n in os.listdir(os.path.join(both[0], journal)) if n.endswith(".seg"))[0]
    broken = changed(os.path.join(journal, segment), flip(4096 + 100))
    status, document = verify(sites, [broken, both[1]])
    t.true(document["verdict"] != "PROVEN_ZERO", "a damaged journal is no majority: %s" % document)
    # An older copy of the journal under a newer certificate: committed entries are missing.
    for member in (leader, other, sites.witness):
        member.spawn()
    load.end()
    sites.settle()
    index = sites.wait_leader().status()["index"]["commit"]
    Load(sites).wait_more(100).end()
    newest = wait_certificate(t, other, index + 1)
    t.eventually(lambda: certified(other) >= int(newest["index"]), 60, "the file follows by a second")
    other.kill()
    shutil.copyfile(os.path.join(other.data, "certificate"), os.path.join(both[0], "certificate"))
    status, document = verify(sites, both, "--lost-at", str(time.time_ns()))
    t.equal((status, document["verdict"]), (UNPROVEN, "UNKNOWN"), json.dumps(document))
    t.true(int(document["missing_at_least"]) > 0, "missing, up to %s" % newest["index"])
    other.spawn()
    sites.settle()


# Of a node that runs nothing is believed; directories of two clusters are not judged together.
def test_what_is_no_evidence_is_refused(t):
    sites = t.sites
    member = sites.data()[0]
    status, document = verify(sites, [member.data])
    t.equal(status, 2, document)
    t.true("running" in document["error"], document)
    status, document = verify(sites, [t.run.scratch])
    t.equal(status, 2, document)
    sites.settle()
