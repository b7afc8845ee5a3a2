"""Damaged or mismatched files: the node refuses to start in words, with index and offset, and does
not make it worse. An undamaged copy starts again with everything in it."""
import os
import re
import shutil
import subprocess

from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))
SMALL = {"journal": {"segment_bytes": 2 << 20}}


def filled_node(t, batches=8):
    """A node with about 1 MB in its journal, stopped with kill -9."""
    node = t.fresh_node(SMALL)
    business = node.api("business")
    t.equal(business.create_ledgers([ledger(1)]), [0])
    t.equal(business.create_accounts([account(A), account(B)]), [0, 0])
    add(t, node, batches)
    return node


def add(t, node, batches):
    channel = node.api("channel")
    for _ in range(batches):
        t.equal(set(channel.create_transfers([transfer(A, B, 1) for _ in range(1000)])), {0})


def segments(node):
    """Journal files by size of content, names ascending."""
    directory = os.path.join(node.data, "journal-1")
    return [os.path.join(directory, n) for n in sorted(os.listdir(directory))
            if os.path.getsize(os.path.join(directory, n)) >= 1 << 20]


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


# One flipped bit in a record that is followed by others: refused with file, index and offset, by
# the node and by the offline verification; the bit flipped back, all is there.
def test_flipped_bit_is_found_and_named(t):
    node = filled_node(t)
    expected = node.api("channel").posted(A)
    node.kill()
    path = segments(node)[0]
    for offset in (300_000, 100_001, 64):
        flip(path, offset)
        status, output = node.run_to_exit()
        t.true(status > 0, "started with a flipped bit at %d" % offset)
        t.contains(output, os.path.basename(path), "file at %d" % offset)
        told = re.search(r"offset (\d+)", output)
        t.true(told and int(told.group(1)) <= offset, "offset at %d: %s" % (offset, output))
        t.true(re.search(r"(index|entry)[a-z ]* \d+", output), "index at %d: %s" % (offset, output))
        status, output = node.verify_journal()
        t.true(status > 0, "verified with a flipped bit at %d" % offset)
        t.contains(output, os.path.basename(path), "verify: file at %d" % offset)
        flip(path, offset)
    status, output = node.verify_journal()
    t.equal(status, 0, output)
    node.start()
    t.equal(node.api("channel").posted(A), expected, "balances")


# The journal is rolled back to an old copy under a newer checkpoint: refused as "store is newer".
def test_store_newer_than_journal_is_refused(t):
    node = filled_node(t, 1)
    t.equal(node.terminate(), 0)
    journal = os.path.join(node.data, "journal-1")
    old = os.path.join(node.directory, "old-journal")
    shutil.copytree(journal, old)
    node.start()
    add(t, node, 3)
    t.equal(node.terminate(), 0)
    new = os.path.join(node.directory, "new-journal")
    os.rename(journal, new)
    os.rename(old, journal)
    status, output = node.run_to_exit()
    t.true(status > 0, "started with an old journal")
    t.contains(output, "journal")
    t.true("ahead" in output or "newer" in output, output)
    # The right one back, and all is well.
    shutil.rmtree(journal)
    os.rename(new, journal)
    node.start()
    t.equal(node.api("channel").posted(A), (4000, 0))


# The journal of another cluster in this directory.
def test_journal_of_another_cluster_is_refused(t):
    one, two = filled_node(t, 1), filled_node(t, 1)
    one.kill()
    two.kill()
    journals = [os.path.join(n.data, "journal-1") for n in (one, two)]
    shutil.rmtree(journals[0])
    shutil.copytree(journals[1], journals[0])
    status, output = one.run_to_exit()
    t.true(status > 0, "started with a foreign journal")
    t.contains(output, "cluster")


def walked(told):
    """How many walks have found the journal sound by now."""
    try:
        with open(told) as file:
            return file.read().count("state        sound")
    except FileNotFoundError:
        return 0


# The journal of a node under load, whose segments are begun and removed meanwhile: never called
# damaged or unreadable. The walks run in a process of their own until the file "go" is gone.
def test_running_journal_is_not_called_damaged(t):
    node = t.new_node({"journal": {"segment_bytes": 2 << 20}, "checkpoint": {"interval_ms": 20}})
    node.init().start()
    go, told = (os.path.join(node.directory, n) for n in ("go", "told"))
    open(go, "w").close()
    walks = subprocess.Popen(
        ["sh", "-c", 'while [ -e "$2" ]; do "$0" journal verify "$1" 2>&1 || echo "exit $?"; done '
                     '> "$3"', t.run.programs.tally, node.data, go, told])
    try:
        business = node.api("business")
        t.equal(business.create_ledgers([ledger(1)]), [0])
        t.equal(business.create_accounts([account(A), account(B)]), [0, 0])
        for _ in range(20):             # as many walks as are to say something, on any machine
            add(t, node, 500)
            if walked(told) >= 10:
                break
    finally:
        os.unlink(go)
        walks.wait(120)
    t.true(walked(told) >= 10, "only %d walks" % walked(told))
    with open(told) as file:
        output = file.read()
    t.true("exit" not in output, output[-2000:])
    t.equal(node.terminate(), 0)


# A whole segment is missing in the middle.
def test_missing_segment_is_refused(t):
    node = filled_node(t, 40)
    node.kill()
    found = segments(node)
    t.true(len(found) >= 3, "segments: %s" % found)
    victim = found[1]
    moved = os.path.join(node.directory, "moved")
    shutil.move(victim, moved)
    status, output = node.run_to_exit()
    t.true(status > 0, "started without %s" % victim)
    t.contains(output, "journal")
    shutil.move(moved, victim)
    node.start()
    t.equal(node.api("channel").posted(A), (40000, 0))
