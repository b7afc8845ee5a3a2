"""What happens to the files of a node while nobody looks: power goes, an old copy comes back, a bit
turns, the directory is gone, or there are two of it.

Promised: a node that does not have what it acknowledged does not take part as its old self, and says
so; damage is found and named, never served (docs/guarantees.md, D8 to D10). In random mode only the
loss of power is drawn: the others end with an operator's work, which named scenarios do.
"""
import os
import shutil
import struct
import time

import faults as loop_faults        # chaos/faults.py
from nemesis.fault import Fault

LOOK_SECONDS, REST_SECONDS, AMID_SECONDS = 0.2, 0.0005, 10


class PowerLoss(Fault):
    """The machine dies: of what was not synced a random part is gone. With `amid`, "store", it dies
    while pages of that are written and not synced, or after some time all the same; whether there
    were such pages when it died is `met`. (A journal is synced right behind each write.)"""
    met = False
    name, kind, seconds, weight, preload = "power-loss", "disk", (0.0, 2.0), 3, ("power",)

    @classmethod
    def draw(cls, draw, topology):
        whom = draw.choice(("leader", "any", "any", "leader-site", "other-site", "all"))
        return cls(whom, seed=draw.getrandbits(62))

    def describe(self):
        return "%s (%s)" % (self.name, self.whom)

    def begin(self, context):
        self.take(context)
        power, amid = loop_faults.Power(context.build), self.parameters.get("amid")

        if amid:
            self.met = bool(context.until(
                lambda: self.caught(lambda m: power.unsynced(m, amid + "-")),
                "writes to the %s" % amid, AMID_SECONDS))
        context.kill(self.taken)
        for number, member in enumerate(self.taken):
            power.strike(member, self.parameters.get("seed", 1) + number)

    def caught(self, unsynced):
        """True: everybody stands still (SIGSTOP), and of somebody there are such pages. A moment that
        was over before they stood still is none, and they go on."""
        first = self.seen(lambda: next((m for m in self.taken if m.alive and unsynced(m)), None))
        if first is None:
            return False
        stopped = [first] + [m for m in self.taken if m is not first and m.alive]
        for member in stopped:
            member.pause()
        if any(unsynced(m) for m in stopped):
            return True
        for member in stopped:
            member.resume()
        return False

    @staticmethod
    def seen(question):
        """Asked with hardly a rest: what is looked for lasts for milliseconds."""
        end = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < end:
            answer = question()
            if answer:
                return answer
            time.sleep(REST_SECONDS)
        return None

    def end(self, context):
        for member in self.taken:
            context.start(member)


# ---- images: a directory as it was at some moment ----

def image_path(context, member):
    return os.path.join(context.scratch, "image-%d" % member.node_id)


def take_images(context, members):
    """Copies of their directories, as a backup of all machines at once would make them: all of them
    are stopped first, so that no copy is torn."""
    context.note("nodes %s are stopped, copied and started again" % [m.node_id for m in members])
    context.kill(members)
    for member in members:
        shutil.rmtree(image_path(context, member), ignore_errors=True)
        shutil.copytree(member.data, image_path(context, member))
    for member in members:
        context.start(member)


def replace_directory(member, source, aside):
    """The member's (stopped) directory goes aside, and becomes a copy of another."""
    os.rename(member.data, aside)
    shutil.copytree(source, member.data)


class RollBack(Fault):
    """Their disks are put back to the images of take_images(), all at once. Nothing here puts them
    right again: what the cluster does about it is the scenario's question."""
    name, kind = "roll-back", "disk"
    may_exit = True
    meanwhile = None        # called while they are down

    def begin(self, context):
        self.take(context)
        context.kill(self.taken)
        if self.meanwhile:
            self.meanwhile()
        for member in self.taken:
            replace_directory(member, image_path(context, member), os.path.join(
                context.scratch, "newer-%d" % member.node_id))
        for member in self.taken:
            context.start(member)

    def end(self, context):
        """What the cluster does about it is for the scenario to see, and to put right."""


class WipedDisk(Fault):
    """A disk is lost, and somebody makes the node anew under its old number. end() does nothing about
    it: a lost node comes back by `tally member replace` only."""
    name, kind = "wiped-disk", "disk"
    may_exit = True

    def begin(self, context):
        self.take(context)
        context.kill(self.taken)
        for member in self.taken:
            shutil.rmtree(member.data)
            member.founder, member.cluster_id = False, context.sites.cluster_id
            os.unlink(os.path.join(os.path.dirname(member.data), "tallyd.yaml"))
            member.init()
            context.start(member)

    def end(self, context):
        """A lost node comes back by an operator's hand only."""


# ---- bits ----

def segments(member):
    """Journal files, oldest first."""
    journal = next(n for n in sorted(os.listdir(member.data)) if n.startswith("journal-"))
    folder = os.path.join(member.data, journal)
    return [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".seg")]


def store_file(member):
    store = next(n for n in sorted(os.listdir(member.data)) if n.startswith("store-"))
    folder = os.path.join(member.data, store)
    return max((os.path.join(folder, n) for n in os.listdir(folder)), key=os.path.getsize)


def flip(path, offset, mask=0x10):
    """Turns a bit; turning it again puts it right."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def used_places(path, draw, count):
    """Offsets of bytes that are not zero: what nobody wrote yet is no place for rot to matter."""
    size, found = os.path.getsize(path), []
    with open(path, "rb") as file:
        for _ in range(count * 2000):       # most of a store is not used yet
            offset = draw.randrange(size)
            file.seek(offset)
            if file.read(1) != b"\0":
                found.append(offset)
            if len(found) == count:
                break
    return found


# docs/formats/journal.md: what the header keeps for later, and how far it is between records.
HEADER_BYTES, HEADER_RESERVE, RECORD_STEP = 4096, (156, 1536), 64
RECORD = struct.Struct("<QQQQQIH")      # up to the type
ENTRY_TYPES, TRUNCATE, HEAD_BYTES = (1, 2, 3, 4), 0x103, 32


def bodies(segment):
    """(sequence, end of the payload, end of the body) of each record in a segment's bytes, and the
    last synced_to."""
    found, at, synced = [], HEADER_BYTES, 0
    while at + RECORD_STEP <= len(segment):
        checksum, sequence, synced_to, _, _, length, kind = RECORD.unpack_from(segment, at)
        if checksum == 0:
            break
        begin, body = at + RECORD_STEP, 0
        if kind in ENTRY_TYPES:
            body = -(-(length + HEAD_BYTES) // RECORD_STEP) * RECORD_STEP
        elif kind == TRUNCATE:
            length, body = 0, RECORD_STEP
        synced = max(synced, synced_to)
        found.append((sequence, begin + length, begin + body))
        at = begin + body
    return found, synced


def padding_places(path, draw, count, of):
    """Offsets of bytes that are zero and mean nothing, of the header or of records ("header",
    "record") that were durable: a record behind them says so."""
    if of == "header":
        return [draw.randrange(*HEADER_RESERVE) for _ in range(count)]
    with open(path, "rb") as file:
        records, synced = bodies(file.read())
    gaps = [range(end, last - HEAD_BYTES) for sequence, end, last in records
            if sequence <= synced and end < last - HEAD_BYTES]
    return [draw.choice(draw.choice(gaps)) for _ in range(count)] if gaps else []


class BitRot(Fault):
    """Bits of a stopped node's files turn (`part`: journal or store; `count` of them); the node is
    started on what is left of it. With `padding`, "header" or "record", they are a journal's that
    mean nothing. A journal's are turned back at the end, and it starts once more: whatever it did
    about the damage, it did not make it worse. A store is rewritten in place where a node runs on
    it, so there nothing is turned back, and an operator replaces the node."""
    name, kind = "bit-rot", "disk"
    may_exit = True

    def begin(self, context):
        self.turned = []
        self.take(context)
        context.kill(self.taken)
        part, count = self.parameters.get("part", "journal"), self.parameters.get("count", 1)
        padding = self.parameters.get("padding")
        for member in self.taken:
            path = segments(member)[0] if part == "journal" else store_file(member)
            places = (padding_places(path, context.chance, count, padding) if padding
                      else used_places(path, context.chance, count))
            for offset in places:
                flip(path, offset)
                self.turned.append((path, offset))
        for member in self.taken:
            context.start(member)

    def end(self, context):
        if self.parameters.get("part", "journal") != "journal":
            return
        for member in self.taken:
            member.kill()
        for path, offset in getattr(self, "turned", []):
            if os.path.exists(path):
                flip(path, offset)
        for member in self.taken:
            context.start(member)
