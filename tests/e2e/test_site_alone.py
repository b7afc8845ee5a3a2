"""What tally says when nobody can do what is asked, and what can still be read then."""


# Two of three gone: a command says what each server answers and what it means, not only the words of
# the last one it tried; a read that may be a little old is answered all the same.
def test_nobody_leads_is_said_and_an_older_state_is_read(t):
    sites = t.sites
    sites.lead_at("A")
    a, = sites.data("A")
    b, = sites.data("B")
    t.contains(sites.tally("ledger", "list", role="auditor"), "1")
    a.kill()
    sites.witness.kill()
    t.eventually(lambda: (b.brief() or {}).get("leader") == 0, 60, "node 2 misses its leader")
    status, output = sites.tool("ledger", "list", "--deadline", "6", nodes=[a, b], role="auditor")
    t.equal(status, 4, output)
    for words in ("what each server says", "connection refused", "it knows of no leader",
                  "nobody leads", "1 of the 2 servers", "tally status"):
        t.contains(output, words)
    status, output = sites.tool("site", "switchover", "A", "--deadline", "6", nodes=[a, b])
    t.equal(status, 4, output)
    t.contains(output, "nobody leads")
    t.contains(sites.tally("ledger", "list", "--max-age", "600", nodes=[b], role="auditor"), "1")
    status, output = sites.tool("ledger", "list", "--max-age", "never", nodes=[b], role="auditor")
    t.equal(status, 2, output)
    a.start()
    sites.witness.start()
    sites.settle()
