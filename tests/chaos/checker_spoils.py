"""Ways of spoiling the consistent history (checker_world.py), each with the claim that has to notice.

One fact is changed, as a fault of the ledger, of the cluster or of a client's wait would change it. Where
a ledger is wrong it is wrong at every node, and its sums are fitted, unless it is about the sums.
"""
from checker_world import answer, begin, digest, head, line, read, t, told, wall, window


def find(rows, event, nonce=None, place=0):
    return [x for x in rows if x["event"] == event and x.get("nonce") == nonce][place]


def first_of(it, client, event, nonce=None, place=0):
    return find(it["clients"][client], event, nonce, place)


def insert(it, client, *rows):
    """Lines of a client before its end, in the order of time."""
    lines = it["clients"][client]
    lines[-1:-1] = rows
    lines[:-1] = sorted(lines[:-1], key=lambda row: row["t"])
    lines[-1]["t"] = max(row["t"] for row in lines)


def status(it, node, place):
    """/status of a node at the place-th look."""
    return it["observations"][3 * place + node - 1]["status"]


def rows_of(it, kind, node="1"):
    return [row for row in it["exports"][node] if row[0] == kind]


def transfer(it, id, node="1"):
    return next(row for row in rows_of(it, "transfer", node) if row[2] == id)


def account(it, id, node="1"):
    return next(row for row in rows_of(it, "account", node) if row[1] == id)


def put(target, **fields):
    target.update(fields)


def at_all(it, change):
    """A change of every export: the nodes agree, and are all wrong."""
    for node in it["exports"]:
        change(node)


def drop(it, id, node, side=1):
    """A posted transfer vanishes, sums fitted, so that only the clients' logs can tell."""
    rows, row = it["exports"][node], transfer(it, id, node)
    rows.remove(row)
    for place, later in enumerate(rows_of(it, "transfer", node)):
        later[1] = place
    for name, column in ((row[3], 5), (row[4], 6)):
        account(it, name, node)[column] -= row[5]
        account(it, name, node)[9] -= 1
    trial = next(r for r in rows_of(it, "trial", node) if r[1] == row[6])
    trial[2] -= row[5]
    trial[3] -= row[5]
    rows[-1][2] -= 1


def post(it, node, row):
    """A further posted transfer at the end, sums fitted."""
    rows = it["exports"][node]
    rows.insert(rows.index(rows_of(it, "trial", node)[0]),
                ["transfer", len(rows_of(it, "transfer", node))] + row)
    for name, column in ((row[1], 5), (row[2], 6)):
        account(it, name, node)[column] += row[3]
        account(it, name, node)[9] += 1
    trial = next(r for r in rows_of(it, "trial", node) if r[1] == row[4])
    trial[2] += row[3]
    trial[3] += row[3]
    rows[-1][2] += 1


def hole(it, client, begin_ms, end_ms):
    """No answers of a client for a while: it waits."""
    it["clients"][client] = [row for row in it["clients"][client]
                             if not t(begin_ms) < row["t"] < t(end_ms)]


def every_certificate(it, change):
    for seen in it["observations"]:
        change(seen["status"]["certificate"])


def synced(it, node, place, index):
    """A look finds less, or more, on the disk; the chain is the cluster's."""
    status(it, node, place)["index"]["synced"] = index
    status(it, node, place)["journal"] = {"head": head(index)}


def bounded(it, **fields):
    """The bounded read of client two."""
    put(find(it["clients"]["two"], "read"), **fields)


def put_row(row, column, value):
    row[column] = value


def refuse(it, id, result, node):
    """A posted transfer is on record as refused, sums fitted."""
    row = transfer(it, id, node)
    drop(it, id, node)
    row[10] = result
    put_before(it, "k0", row, node)


def put_before(it, id, row, node):
    """A further record, in front of another."""
    rows = it["exports"][node]
    rows.insert(rows.index(transfer(it, id, node)), row)
    rows[-1][2] += 1
    for place, later in enumerate(rows_of(it, "transfer", node)):
        later[1] = place


def accept(it, id, node):
    """A refused transfer is on record as posted, sums fitted."""
    row = transfer(it, id, node)
    row[10] = 0
    for name, column in ((row[3], 5), (row[4], 6)):
        account(it, name, node)[column] += row[5]
        account(it, name, node)[9] += 1
    trial = next(r for r in rows_of(it, "trial", node) if r[1] == row[6])
    trial[2] += row[5]
    trial[3] += row[5]


# (what is spoiled, the claim that must be broken, how)
SPOILED = [
    # -- acknowledged
    ("an acknowledged transfer is lost at all nodes", "acknowledged",
     lambda w: at_all(w, lambda n: drop(w, "t4", n))),
    ("all logs end before what was answered, and nobody gave an export", "acknowledged",
     lambda w: (w["exports"].clear(), [put(row, index=7) for row in w["heads"]])),
    ("a canary that was acknowledged is lost", "acknowledged",
     lambda w: at_all(w, lambda n: drop(w, "k0", n))),
    ("a canary that was not sent is there", "acknowledged",
     lambda w: at_all(w, lambda n: post(w, n, ["k3", "f", "e", 1, 9, 1, 0, 90, 0]))),
    ("a refusal that spends its id is lost", "acknowledged",
     lambda w: at_all(w, lambda n: put_row(transfer(w, "t5", n), 10, 61))),
    ("a refusal that spends nothing is on record", "acknowledged",
     lambda w: at_all(w, lambda n: put_before(w, "t5", [
         "transfer", 0, "t3", "a", "b", 0, 1, 1, 0, 32, 67], n))),
    ("a transfer with another amount", "acknowledged",
     lambda w: at_all(w, lambda n: put_row(transfer(w, "t8", n), 5, 6))),
    ("a transfer that nobody sent", "acknowledged",
     lambda w: at_all(w, lambda n: post(w, n, ["t9", "a", "b", 5, 1, 1, 0, 90, 0]))),
    ("an acknowledged ledger is lost", "acknowledged",
     lambda w: at_all(w, lambda n: (w["exports"][n].remove(rows_of(w, "ledger", n)[0])))),
    # -- identity
    ("another node answers a repeat otherwise", "identity",
     lambda w: put(first_of(w, "one", "answer", "n2", 1), body=answer([0, 67, 31], 3, 30))),
    ("a repeat is executed again after a failover", "identity",
     lambda w: put(first_of(w, "one", "answer", "n2", 1), body=answer([1, 17, 32], 9, 90))),
    ("another client is told another answer", "identity",
     lambda w: put(first_of(w, "steady", "answer", "n4", 3), body=answer([62], 4, 41))),
    ("GetRequest tells another answer", "identity",
     lambda w: put(first_of(w, "two", "told", "n4", 1), body=answer([0], 4, 40))),
    ("the only answer tells of a second execution", "identity",
     lambda w: insert(w, "two", begin(820, "send", "n6", 2, method="CreateTransfers",
                                      events=[["t1b", "a", "b", 1, 1, 1, 0]]),
                      told(830, "n6", [1], 9, 90, 2)) or at_all(
                          w, lambda n: post(w, n, ["t1b", "a", "b", 1, 1, 1, 0, 89, 0]))),
    ("an id is there twice", "identity",
     lambda w: at_all(w, lambda n: post(w, n, ["t8", "d", "b", 5, 1, 1, 0, 90, 0]))),
    # -- unknown
    ("a fenced request took effect", "unknown",
     lambda w: at_all(w, lambda n: post(w, n, ["t6", "a", "b", 9, 1, 1, 0, 60, 0]))),
    ("a request stayed unknown", "unknown",
     lambda w: w["clients"]["two"].remove(first_of(w, "two", "told", "n5"))),
    ("a canary stayed unknown", "unknown",
     lambda w: put_row(w["observed"]["sites"][0]["records"][1], 5, 1)),
    ("a canary stayed unknown, and the nodes of another site were all replaced", "unknown",
     lambda w: (put_row(w["observed"]["sites"][0]["records"][1], 5, 1),
                put(w["meta"], unwatched=["B"]))),
    ("a client's request stayed unknown, and all nodes were replaced", "unknown",
     lambda w: (w["clients"]["two"].remove(first_of(w, "two", "told", "n5")),
                put(w["meta"], unwatched=["A", "B"]))),
    ("an executed request is not seen any more", "unknown",
     lambda w: put(first_of(w, "two", "told", "n4", 1), outcome="NOT_YET_SEEN")),
    ("an answered request is fenced", "unknown",
     lambda w: put(first_of(w, "two", "told", "n4", 1), outcome="REQUEST_FENCED")),
    ("a fenced request is answered", "unknown",
     lambda w: insert(w, "two", begin(800, "again", "n5", 2), told(805, "n5", [0], 6, 60, 2))),
    # -- linearizable
    ("a write is placed before one that had ended", "linearizable",
     lambda w: put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 68, 0], 4, 25))),
    ("a read is from before a write that had ended at another node", "linearizable",
     lambda w: put(find(w["clients"]["one"], "read"), index=3, found=["t1"])),
    ("a read is from before an earlier read", "linearizable",
     lambda w: insert(w, "two", read("read", 790, 795, 5, 2, ids=["t1"], found=["t1"]))),
    ("a read saw a write that began after it had ended", "linearizable",
     lambda w: insert(w, "one", read("read", 420, 430, 6, 1, ids=["t1"], found=["t1"]))),
    ("a read of its index misses a transfer", "linearizable",
     lambda w: put(find(w["clients"]["one"], "read"), found=["t1"])),
    ("a bounded read is older than its bound", "linearizable",
     lambda w: bounded(w, index=2, found=[], max_age_ms=100)),
    ("a bounded read shows what its index does not have", "linearizable",
     lambda w: bounded(w, found=["t1", "t4"])),
    ("an index was asked for and not reached", "linearizable",
     lambda w: put(find(w["clients"]["two"], "read", place=1), min_index=7)),
    ("a balance is not that of its index", "linearizable",
     lambda w: put(find(w["clients"]["two"], "balances"),
                   rows=[["a", 50, 0, 1], ["c", 49, 50, 2]])),
    ("an account is not there yet", "linearizable",
     lambda w: put(find(w["clients"]["two"], "balances"), rows=[["c", 50, 50, 2]])),
    ("a read without an index misses what was acknowledged", "linearizable",
     lambda w: (find(w["clients"]["one"], "read").pop("index"),
                put(find(w["clients"]["one"], "read"), found=["t1"]))),
    # -- outcomes
    ("a transfer was refused although its limit allows it", "outcomes",
     lambda w: (put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 68, 67], 5, 50)),
                at_all(w, lambda n: refuse(w, "t8", 67, n)))),
    ("a transfer was accepted although its limit forbids it", "outcomes",
     lambda w: (put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 0, 0], 5, 50)),
                at_all(w, lambda n: accept(w, "t7", n)))),
    ("another reason of refusal, told and on record", "outcomes",
     lambda w: (put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 67, 0], 5, 50)),
                at_all(w, lambda n: put_row(transfer(w, "t7", n), 10, 67)))),
    ("exists, and it differs in another field first", "outcomes",
     lambda w: put(first_of(w, "one", "answer", "n3"), body=answer([1, 6, 17, 0, 68, 0], 5, 50))),
    ("an account is made twice", "outcomes",
     lambda w: insert(w, "business", begin(840, "send", "n7", method="CreateAccounts",
                                           events=[["a", 1, 10, 0]]), told(845, "n7", [0], 9, 90))),
    ("a spent id is accepted", "outcomes",
     lambda w: put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 0, 0, 68, 0], 5, 50))),
    # -- money
    ("debits and credits of a ledger differ", "money",
     lambda w: at_all(w, lambda n: put_row(account(w, "b", n), 6, 54))),
    ("a balance changed without a transfer", "money",
     lambda w: at_all(w, lambda n: (put_row(account(w, "a", n), 5, 51),
                                    put_row(account(w, "b", n), 6, 56)))),
    ("a trial balance read on the way does not balance", "money",
     lambda w: put(find(w["clients"]["two"], "totals"), debits=104)),
    ("a trial balance read on the way is that of another state", "money",
     lambda w: put(find(w["clients"]["two"], "totals"), debits=100, credits=100)),
    ("a trial balance read on the way says unbalanced", "money",
     lambda w: put(find(w["clients"]["two"], "totals"), balanced=False)),
    # -- limits
    ("debits exceed credits for a moment", "limits",
     lambda w: at_all(w, lambda n: (put_row(transfer(w, "t4", n), 5, 51),
                                    put_row(transfer(w, "t8", n), 4, "c")))),
    ("credits exceed debits", "limits", lambda w: at_all(w, lambda n: accept(w, "t7", n))),
    ("a refused transfer of a limited account is posted", "limits",
     lambda w: at_all(w, lambda n: put_row(transfer(w, "t2", n), 10, 0))),
    # -- stamps
    ("stamps stand still", "stamps",
     lambda w: at_all(w, lambda n: put_row(transfer(w, "t7", n), 9, 53))),
    ("a gap in the sequence", "stamps",
     lambda w: at_all(w, lambda n: put_row(transfer(w, "k1", n), 1, 8))),
    ("two requests share a stamp", "stamps",
     lambda w: put(first_of(w, "two", "told", "n4", 1), body=answer([62], 4, 40)) or put(
         first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 68, 0], 5, 40))),
    ("a greater index with a smaller stamp", "stamps",
     lambda w: put(first_of(w, "one", "answer", "n3"), body=answer([1, 7, 17, 0, 68, 0], 9, 35))),
    # -- digests
    ("two nodes differ at one index, on the way", "digests",
     lambda w: put(status(w, 2, 2), digest=digest(99))),
    ("a node noted another digest", "digests",
     lambda w: put(status(w, 2, 5), digest_at={"index": 6, "digest": digest(99)})),
    ("a trial balance was read from another state", "digests",
     lambda w: put(find(w["clients"]["two"], "totals"), digest=digest(99))),
    ("a node differs at rest", "digests", lambda w: put(w["heads"][1], digest=digest(99))),
    ("an export has a transfer less", "digests", lambda w: drop(w, "t8", "2")),
    # -- chains
    ("the witness has another past", "chains", lambda w: put(w["heads"][2], head=head(99))),
    ("two nodes have other heads at one index", "chains",
     lambda w: status(w, 2, 3)["journal"].update(head=head(99))),
    ("a certificate names another head", "chains",
     lambda w: status(w, 2, 4)["certificate"].update(head=head(99))),
    # -- leaders
    ("two nodes lead in one term", "leaders", lambda w: put(status(w, 2, 4), leads=True)),
    ("a log tells of another leader of that term", "leaders",
     lambda w: put(w["logs"], **{"2": ["event=leader_elected node=2 term=2 new_term=2"]})),
    ("a certificate was made by nobody who led", "leaders",
     lambda w: put(status(w, 3, 5)["certificate"], node=2)),
    # -- both sites
    ("told to be on both sites, and not at one at rest", "both-sites",
     lambda w: put(w["heads"][1], index=4, synced=4, applied=4)),
    ("the other site's export lacks what was on both", "both-sites", lambda w: drop(w, "t4", "2")),
    ("a leader under SYNC committed what one site lacks", "both-sites",
     lambda w: [synced(w, 2, place, 2) for place in range(1, 7)] and [
         put(seen["status"], both=None) for seen in w["observations"]]),
    ("a follower says on both sites what is at one", "both-sites",
     lambda w: (put(status(w, 3, 3), both=9), put(status(w, 2, 5)["index"], synced=8))),
    ("a certificate says on both sites what is at one", "both-sites",
     lambda w: (put(status(w, 3, 3)["certificate"], both_index=9),
                put(status(w, 1, 5)["index"], synced=8))),
    ("a node that lost its disk is behind what was promised afterwards", "both-sites",
     lambda w: (synced(w, 2, 5, 3), synced(w, 2, 6, 8), w["events"].append(
         {"t": t(900), "what": "fault-begin", "kind": "wipe", "nodes": [2]}))),
    ("a disk lost what it had acknowledged", "both-sites", lambda w: synced(w, 2, 6, 7)),
    # -- certificates
    ("a certificate names less than was answered by its time", "certificates",
     lambda w: [put(status(w, node, 3)["certificate"], index=4, head=head(4), both_index=4)
                for node in (1, 2, 3)]),
    ("a certificate's time is later than what it covers", "certificates",
     lambda w: [put(status(w, node, 2)["certificate"], time_ns=wall(600)) for node in (1, 2, 3)]),
    ("a leader's certificate names what it has not committed", "certificates",
     lambda w: put(status(w, 1, 4)["index"], commit=7)),
    ("a certificate is beyond the log", "certificates",
     lambda w: [put(status(w, node, 6)["certificate"], index=10, head=head(10))
                for node in (1, 2, 3)]),
    ("a certificate names another head than the log", "certificates",
     lambda w: [put(status(w, node, 3)["certificate"], head=head(99)) for node in (1, 2, 3)]),
    ("two certificates have one number", "certificates",
     lambda w: put(status(w, 2, 4)["certificate"], index=7, head=head(7))),
    ("certificates go back within a term", "certificates",
     lambda w: [put(status(w, node, 5)["certificate"], index=7, head=head(7), both_index=7,
                    time_ns=wall(700)) for node in (1, 2, 3)]),
    ("both sites have more than a certificate covers", "certificates",
     lambda w: every_certificate(w, lambda c: put(c, both_index=c["index"] + 1))),
    # -- pauses
    ("the observer saw a pause beyond the bound", "pauses",
     lambda w: w["observed"]["sites"][0]["summary"]["pause"].update(ms=501)),
    ("clients of a site were not answered for too long", "pauses",
     lambda w: hole(w, "steady", 440, 850)),
    ("a bound for all sites is broken", "pauses",
     lambda w: put(w["meta"], bounds={"pause_ms": 29})),
    ("a canary of a window was answered too late", "pauses",
     lambda w: put(w["meta"], bounds={"pauses": [window(755, 790, 29)]})),
    ("canaries of a window were not answered until its end", "pauses",
     lambda w: put(w["meta"], bounds={"pauses": [window(790, 900, 100)]})),
    # -- deadlines
    ("an answer came long after the limit", "deadlines",
     lambda w: put(first_of(w, "one", "answer", "n3"), t=t(1701))),
    ("a read took longer than its limit", "deadlines",
     lambda w: put(find(w["clients"]["two"], "totals"), began=t(-600))),
    ("a question without an answer came late", "deadlines",
     lambda w: insert(w, "two", begin(800, "ask", "n4", 1), line(2100, "untold", nonce="n4"))),
    ("a call never ended", "deadlines",
     lambda w: w["clients"]["two"].append(begin(950, "again", "n4", 2))),
    ("a client never finished", "deadlines", lambda w: w["clients"]["one"].pop()),
]
