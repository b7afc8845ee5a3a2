"""A clock that is wrong, a disk that does not answer: the leader hands over, nothing is lost."""
import os
import struct

from sites import COMMIT_SECONDS, Load

HOUR_NS = 3600 * 10 ** 9


class Clocks:
    """Each node's wall clock, to be moved while it runs (chaos/clock)."""

    def __init__(self, run):
        self.library = os.path.join(run.programs.build, "chaos", "clock", "libwallclock.so")
        if not os.path.exists(self.library):
            raise AssertionError("%s is not there: build it first" % self.library)

    @staticmethod
    def file(member):
        return os.path.join(member.directory, "clock")

    def environment(self, member):
        self.move(member, 0)
        return {"LD_PRELOAD": self.library, "TALLY_WALLCLOCK_FILE": self.file(member)}

    def move(self, member, offset_ns):
        with open(self.file(member), "r+b" if os.path.exists(self.file(member)) else "wb") as file:
            file.write(struct.pack("<q", offset_ns))


# The leader's clock jumps one hour ahead, then back by two: each time it hands over to the other
# site, no request fails for good, stamps still increase, and no request is called too old.
def test_leaders_clock_is_an_hour_off(t):
    clocks = Clocks(t.run)
    sites = t.fresh_sites(environment=clocks.environment)
    load = Load(sites).wait_more(20)
    for offset in (HOUR_NS, -HOUR_NS):
        leader = sites.wait_leader()
        clocks.move(leader, offset)
        t.eventually(lambda: sites.leader_now() not in (None, leader), COMMIT_SECONDS,
                     "the leader with the wrong clock hands over")
        load.wait_more(100, COMMIT_SECONDS)
        clocks.move(leader, 0)
        load.wait_more(20, COMMIT_SECONDS)
        # It may have put one stamp into the log before it noticed: time goes on from there.
        ahead = max(m.status()["clock_behind_ns"] for m in sites.data())
        t.true(ahead <= HOUR_NS + 60 * 10 ** 9, "ledger time is %d ns ahead" % ahead)
    stamps = [x.timestamp for x in sites.data()[0].api("auditor").ask(
        "ListTransfers", first=0, limit=4000).transfers]
    t.equal(stamps, sorted(set(stamps)), "stamps increase")
    t.at_rest(sites, load)


class Disks:
    """Each node's disk, to be made silent while it runs (chaos/power_loss/disk_fault.c)."""

    def __init__(self, run):
        self.library = os.path.join(run.programs.build, "chaos", "power_loss", "libdiskfault.so")
        if not os.path.exists(self.library):
            raise AssertionError("%s is not there: build it first" % self.library)

    @staticmethod
    def file(member):
        return os.path.join(member.directory, "disk-hangs")

    def environment(self, member):
        return {"LD_PRELOAD": self.library, "TALLY_DISKFAULT_DIR": member.data,
                "TALLY_DISKFAULT_CALL": "sync", "TALLY_DISKFAULT_N": "1",
                "TALLY_DISKFAULT_ERROR": "HANG", "TALLY_DISKFAULT_STICKY": "1",
                "TALLY_DISKFAULT_WHILE": self.file(member)}

    def hang(self, member):
        with open(self.file(member), "w"):
            pass

    def answer(self, member):
        os.unlink(self.file(member))


# The leader's disk does not answer: leadership goes to the other site (or the process ends, which
# is allowed), commits go on there; the disk answers again and the node is a follower like any.
def test_leaders_disk_is_stuck(t):
    disks = Disks(t.run)
    sites = t.fresh_sites(environment=disks.environment)
    leader = sites.wait_leader()
    load = Load(sites).wait_more(20)
    disks.hang(leader)
    t.eventually(lambda: sites.leader_now([m for m in sites.members if m is not leader]),
                 COMMIT_SECONDS, "another leader")
    load.wait_more(100, COMMIT_SECONDS)
    disks.answer(leader)
    load.wait_more(20, COMMIT_SECONDS)
    t.at_rest(sites, load)


# A follower's disk does not answer: nobody waits for it, and it catches up afterwards.
def test_followers_disk_is_stuck(t):
    disks = Disks(t.run)
    sites = t.fresh_sites(environment=disks.environment)
    leader = sites.wait_leader()
    for member in [m for m in sites.members if m is not leader]:
        load = Load(sites, nodes=[leader]).wait_more(20)

        def reached():
            """What the node is known to have on its disk."""
            return next(m["match_index"] for m in sites.wait_leader().status()["members"]
                        if m["node"] == member.node_id)

        def stands_still():
            before = reached()
            load.wait_more(100, COMMIT_SECONDS)
            return before is not None and reached() == before

        disks.hang(member)
        t.eventually(stands_still, COMMIT_SECONDS, "clients go on while the disk stands still")
        disks.answer(member)
        t.at_rest(sites, load)
