"""What each site lacks, as every node tells it: measured, and unknown where nobody knows."""
import json
import time

from sites import Load


def told(sites, member):
    """None: it does not know, or was not asked in time."""
    status, output = sites.tool("--json", "rpo", nodes=[member])
    return json.loads(output)["rpo"] if status == 0 else None


def wait_rpo(t, sites, member, condition, what, seconds=60):
    end = time.monotonic() + seconds
    rpo = None
    while time.monotonic() < end:
        rpo = told(sites, member)
        if rpo and condition({row["site"]: row for row in rpo}):
            return {row["site"]: row for row in rpo}
        time.sleep(0.05)
    t.true(False, "%s: %r" % (what, rpo))


# At rest nothing is missing, at either node. With site B lost the leader counts what B lacks, in
# entries, bytes, seconds and money, and the metrics say the same; when B is back all is 0 again. A
# node that hears no leader knows nothing, and says so.
def test_what_a_lost_site_lacks(t):
    sites = t.sites
    leader = sites.lead_at("A")
    other, = sites.data("B")
    load = Load(sites, nodes=[leader]).wait_more(20)
    load.end()
    for member in (leader, other):
        rows = wait_rpo(t, sites, member, lambda rows: all(
            row["entries"] == 0 and row["bytes"] == 0 and row["seconds"] == 0 and
            row["ledgers"] == [] for row in rows.values()), "nothing is missing")
        t.equal(sorted(rows), ["A", "B"], "sites with data nodes")
    other.kill()
    before = leader.status()["index"]["applied"]
    load = Load(sites, nodes=[leader]).wait_more(50)
    acknowledged = load.end()
    rows = wait_rpo(t, sites, leader, lambda rows: rows["B"]["entries"] >= 2, "B lacks entries")
    t.equal(rows["A"]["entries"], 0, "A lacks nothing")
    row = rows["B"]
    t.true(row["entries"] <= leader.status()["index"]["applied"] - before + 20, "entries: %r" % row)
    t.true(row["bytes"] > 0 and row["seconds"] > 0, "bytes and age: %r" % row)
    money = int(row["ledgers"][0]["minor"])
    t.true(len(acknowledged) <= money <= len(acknowledged) + 200,
           "%d transfers of 1, %d minor units" % (len(acknowledged), money))
    metrics = leader.get("/metrics")[1]
    metrics = metrics.decode() if isinstance(metrics, bytes) else metrics
    t.true('tally_rpo_known{site="B"} 1' in metrics, "known")
    t.true('tally_rpo_entries{site="B"} 0\n' not in metrics, "not 0")
    other.start()
    wait_rpo(t, sites, leader, lambda rows: rows["B"]["entries"] == 0, "B is back", 60)
    # Nobody leads for B's node: it does not know, and does not say 0.
    leader.kill()
    sites.witness.kill()
    end = time.monotonic() + 60
    while time.monotonic() < end and (other.brief() or {}).get("rpo", 0) is not None:
        time.sleep(0.1)
    t.equal(other.brief()["rpo"], None, "unknown")
    t.true("tally_rpo_entries{" not in str(other.get("/metrics")[1]), "no sample")
    t.at_rest(sites)
