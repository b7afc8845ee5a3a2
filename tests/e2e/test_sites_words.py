"""What people read: the commands that others call with --json, as text."""
import os
import shutil
import subprocess
import time

from sites import Load
from test_sites_certificate import certified


def offline(sites, *arguments):
    """A command of tally that asks no node: (exit status, output)."""
    done = subprocess.run([sites.programs.tally] + list(arguments), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


# Accounts, transfers and one request: a table with a way on, then each by itself.
def test_ledger_in_words(t):
    sites = t.sites
    sites.lead_at("A")
    acknowledged = Load(sites).wait_more(20).end()
    page = sites.tally("transfer", "list", "--limit", "3", role="auditor")
    t.equal(page.splitlines()[0].split(), ["SEQUENCE", "TRANSFER", "DEBIT", "CREDIT", "AMOUNT", "CODE",
                                           "STATE"])
    t.equal(len(page.splitlines()), 5, "a head, three rows, a way on: %s" % page)
    t.contains(page, "posted")
    t.contains(page, "more: --first ")
    shown = sites.tally("transfer", "show", acknowledged[-1].hex(), role="auditor")
    for words in (acknowledged[-1].hex(), "state        posted", "amount       ", "committed    20"):
        t.contains(shown, words)
    page = sites.tally("account", "list", "--limit", "1", role="auditor")
    t.equal(page.splitlines()[0].split(), ["ACCOUNT", "LEDGER", "CODE", "DEBITS", "CREDITS", "BALANCE",
                                           "TRANSFERS"])
    t.contains(page, "more: --first 1")
    identity = "%s:%d" % ("5a" * 16, time.time_ns())
    t.contains(sites.tally("account", "create", "--id", os.urandom(16).hex(), "--ledger", "1", "--code", "7",
                           "--flags", "debits_must_not_exceed_credits", "--user-data-64", "9",
                           "--identity", identity, role="business"), "done at ")
    shown = sites.tally("request", "show", identity, role="business")
    for words in ("outcome    EXECUTED", "method     CreateAccounts", "results    1 OK"):
        t.contains(shown, words)


# What a site lacks, with both sites, without one, and where nobody knows; what the node can prove;
# and what the files of the survivors prove, by themselves and with the time of the loss.
def test_a_loss_in_words(t):
    sites = t.fresh_sites()
    leader = sites.lead_at("A")
    other, = sites.data("B")
    Load(sites).wait_more(40).end()
    sites.settle()
    rows = {row.split()[0]: row.split()[1:] for row in sites.tally("rpo").splitlines()}
    t.equal((rows["A"][:3], rows["B"][:3]), (["0", "0", "0.000"], ["0", "0", "0.000"]), "rpo at rest")
    for words in ("\nindex ", "\nhead ", "\nrule            site", "\nboth_index "):
        t.eventually(lambda: words in sites.tool("certificate", "show", nodes=[leader])[1], 30,
                     "a certificate with" + words)
    index = leader.status()["index"]["commit"]
    t.eventually(lambda: certified(other) >= index, 60, "the file follows by a second")
    other.kill()
    load = Load(sites, nodes=[leader]).wait_more(40)
    load.end()
    t.eventually(lambda: "ledger 1: " in sites.tally("rpo", nodes=[leader]), 30, "what B lacks")
    sites.witness.kill()
    t.eventually(lambda: "unknown: this node has not heard a leader lately" in sites.tool(
        "rpo", nodes=[leader])[1], 60, "nobody leads")
    copy = os.path.join(t.run.scratch, "words-evidence")
    shutil.copytree(other.data, copy)
    status, output = offline(sites, "certificate", "show", "--data", copy)
    t.equal(status, 0, output)
    for words in ("made         by node ", "everything acknowledged then", "rule         site, mode sync",
                  "both sites   ", "signature    not checked: that needs --ca"):
        t.contains(output, words)
    ca = sites.security.authority.certificate
    status, output = offline(sites, "certificate", "verify", "--ca", ca, "--data", copy)
    for words in ("verdict      UNKNOWN", "lost         entries unknown, money unknown, seconds unknown",
                  "journal sound up to entry "):
        t.contains(output, words)
    status, output = offline(sites, "certificate", "verify", "--ca", ca, "--data", copy, "--lost-site",
                             "A", "--lost-at", str(time.time_ns()))
    for words in ("verdict      BOUNDED_BY_TIME", ", of at most ", "asserted     site A was lost at "):
        t.contains(output, words)
    t.at_rest(sites)
