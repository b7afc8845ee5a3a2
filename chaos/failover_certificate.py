"""After a loss everything else is stopped too, at once, and each half is asked what it proves:
tally certificate verify, over the directories of one site alone, and with the witness's beside them.
What it claims is held against what clients were told: the canaries' answers name the log index.

    PROVEN_ZERO       no canary was acknowledged at an index that no survivor's journal reaches
    BOUNDED_BY_TIME   those that were, were acknowledged within the stated seconds before the end
    UNKNOWN           claims nothing

A verdict that claims less than it could is no error here; one that claims too much is.
"""
import json
import time

from failover_check import Lost, rows_of

VERIFY_SECONDS = 120
EXPECTED_CODES = (0, 1, 5)          # proven, bounded, unknown; 6: something is damaged or forged


def moment(wall_ns):
    return "%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall_ns // 10 ** 9)),
                         wall_ns % 10 ** 9)


def stop_all(made):
    """kill -9 of every node at once; the moment after it."""
    for member in made.members:
        if member.alive:
            member.signal(9)
    stopped_ns = time.time_ns()
    for member in made.members:
        member.kill()
    return stopped_ns


def verify(made, survivors, lost_site, lost_at_ns):
    words = ["--json", "certificate", "verify", "--lost-site", lost_site, "--lost-at",
             moment(lost_at_ns)]
    for member in survivors:
        words += ["--data", member.data]
    status, text = made.tool(*words, nodes=[made.members[0]], seconds=VERIFY_SECONDS)
    if status not in EXPECTED_CODES:
        raise Lost("tally certificate verify: exit %d\n%s" % (status, text[-2000:]))
    document = json.loads(text[text.index("{"):])
    return {"survivors": [m.node_id for m in survivors], "lost_site": lost_site,
            "verdict": document["verdict"], "basis": document["basis"],
            "seconds": document["seconds"], "known_index": int(document["known_index"] or 0),
            "known_time_ns": int(document["known_time_ns"] or 0),
            "last_index": max(int(s["last_index"]) for s in document["survivors"]),
            "explanation": document["explanation"]}


def take(made):
    """Stops all nodes and asks each half."""
    stopped_ns = stop_all(made)
    told = []
    for site, other in (("A", "B"), ("B", "A")):
        for more in ([], [made.witness]):
            told.append(verify(made, made.data(site) + more, other, stopped_ns))
    return {"stopped_ns": stopped_ns, "told": told}


def acknowledged(document, until_ns):
    """[(log index, moment by the wall clock)] of canaries answered until then."""
    return [(int(row["index"]), int(row["answered_wall_ns"])) for site in document["sites"]
            for row in rows_of(document, site)
            if row["outcome"] == "acknowledged" and int(row["answered_wall_ns"]) <= until_ns]


def judge(taken, document):
    """[] or what the verdicts claimed too much."""
    wrong = []
    answers = acknowledged(document, taken["stopped_ns"])
    for told in taken["told"]:
        lost = [(index, at) for index, at in answers if index > told["last_index"]]
        told["lost"] = len(lost)
        who = "nodes %s" % told["survivors"]
        if told["verdict"] == "PROVEN_ZERO" and lost:
            wrong.append("certificate of %s claims PROVEN_ZERO (%s), and %d canaries acknowledged up "
                         "to entry %d are beyond its last entry %d" % (
                             who, told["basis"], len(lost), max(lost)[0], told["last_index"]))
        if told["verdict"] == "BOUNDED_BY_TIME":
            begin = taken["stopped_ns"] - int(float(told["seconds"]) * 10 ** 9)
            early = [at for _, at in lost if at < begin]
            if early:
                wrong.append("certificate of %s bounds the loss to %s s, and %d lost canaries were "
                             "acknowledged up to %.3f s earlier" % (
                                 who, told["seconds"], len(early), (begin - min(early)) / 1e9))
        beyond = [index for index, at in answers
                  if at <= told["known_time_ns"] and index > told["known_index"]]
        if told["known_index"] and beyond:
            wrong.append("certificate of %s says that all acknowledged by its time is at or below "
                         "entry %d; a canary was at %d" % (who, told["known_index"], max(beyond)))
    return wrong
