"""A cluster at rest, written down: every data node's ledger, what each node says of itself, and its
journal, walked from outside after a stop in good order."""
import json
import os
import signal
import subprocess
import time

from nemesis import CHAOS

EXPORT_SECONDS = 300
VERIFY_SECONDS = 300
EQUAL_SECONDS = 20


def members(run):
    return [m for m in run.context.sites.members if m.node_id not in run.context.down]


def write(run):
    """heads.json and exports/, of whoever answers."""
    run.history.put("heads.json", heads(run))
    for member in members(run):
        if member.is_data and member.brief() is not None:
            export(run, member)


def heads(run):
    """What each node says of itself at one moment at which all are equal, as long as there is one:
    the log goes on a little when nobody writes, by a digest entry or an election."""
    end = time.monotonic() + EQUAL_SECONDS
    while True:
        rows = []
        for member in members(run):
            status = member.brief()
            if status is not None:
                rows.append({"node": member.node_id, "index": status["index"]["commit"],
                             "synced": status["index"]["synced"],
                             "applied": status["index"]["applied"], "digest": status["digest"] if member.is_data else None,
                             "head": status["journal"]["head"]})
        equal = len({(row["index"], row["head"]) for row in rows}) == 1 and all(
            row["index"] == row["synced"] == row["applied"] for row in rows)
        if equal or time.monotonic() > end:
            return rows
        time.sleep(0.05)


def export(run, member):
    security = run.context.sites.security
    auditor = security.by_name["auditor"]
    path = run.history.path("exports", "%d.csv" % member.node_id)
    try:
        done = subprocess.run(
            [os.path.join(CHAOS, "export.py"), "--port", str(member.grpc_port()), "--host",
             member.host, "--ca", security.authority.certificate, "--certificate",
             auditor.certificate, "--key", auditor.key, "--out", path], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=EXPORT_SECONDS)
        wrong = done.stdout.decode(errors="replace")[-600:] if done.returncode else None
    except subprocess.TimeoutExpired:
        wrong = "still running after %d s" % EXPORT_SECONDS
    if wrong is not None:
        run.findings.add("liveness", "node %d gives no export: %s" % (member.node_id, wrong))
        if os.path.exists(path):
            os.unlink(path)


def stop(run):
    """Everybody ends well when asked to, and no journal has a flaw."""
    asked = [member for member in members(run) if member.alive]
    for member in asked:
        member.signal(signal.SIGTERM)       # all at once: the last one would wait for an heir
    for member in asked:
        status = member.wait_exit()
        run.history.event("stop", nodes=[member.node_id], site=member.site, text="exit %d" % status)
        if status != 0:
            run.findings.add("processes", "node %d ended with %d on SIGTERM\n%s" % (
                member.node_id, status, member.log_tail()))
        run.findings.look("processes")
    ends = {}
    for member in members(run):
        told = verify(run, member)
        if told:
            ends.setdefault((told["last_index"], told["head"]), []).append(member.node_id)
    # Who stops last may write an election's entry that the others lack.
    if len({index for index, _ in ends}) != len(ends):
        run.findings.add("journals", "different heads at the same index: %s" % sorted(ends.items()))


def verify(run, member):
    """What `tally journal verify` says of a stopped node's journal; None when that is a finding."""
    try:
        done = subprocess.run([run.context.sites.programs.tally, "--json", "journal", "verify",
                               member.data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=VERIFY_SECONDS)
        status, text = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        status, text = None, "still running after %d s" % VERIFY_SECONDS
    if status != 0:
        run.findings.add("journals", "tally journal verify of node %d: exit %s\n%s" % (
            member.node_id, status, text[-1000:]), node=member.node_id)
        return None
    run.findings.look("journals")
    return json.loads(text)
