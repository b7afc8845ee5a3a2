"""A disk that is full: each node's data directory is a file system of its own, and somebody else's file
takes what is left of it.

The file system is ext4 in a sparse file, mounted by loop: syncs are real, "full" comes from the same
code as on a machine of its own (reserved blocks, metadata, statvfs), and a file that fills gigabytes
is allocated in a moment and written nowhere. tests/e2e/test_disk_full.py does the same with a tmpfs.
"""
import contextlib
import errno
import functools
import os
import shutil
import subprocess
import tempfile

from nemesis.fault import Fault, Passed

MIB = 1 << 20
DISK_BYTES = 1536 * MIB
PROBE_BYTES = 4 * MIB
WATERMARK_BYTES = 24 * MIB      # of the nodes' configuration: what counts as low
COMMAND_SECONDS = 30
TOOLS = ("mkfs.ext4", "mount", "umount")


def command(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=COMMAND_SECONDS)
    if done.returncode != 0:
        raise OSError("%s: exit %d: %s" % (" ".join(words), done.returncode,
                                           done.stdout.decode(errors="replace").strip()))


def find(tool):
    """These stand where an ordinary user's path does not look."""
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def mount(context, member, size=DISK_BYTES):
    """A disk of its own where the member's data directory will be; gone at the end of the run."""
    os.makedirs(member.data)
    mount_image(os.path.join(context.scratch, "disk-%d" % member.node_id), member.data, size)
    context.at_end(lambda: unmount(member.data))
    os.rmdir(os.path.join(member.data, "lost+found"))


def mount_image(image, path, size):
    """A new file system in a file, there."""
    with open(image, "wb") as file:
        file.truncate(size)
    command(find("mkfs.ext4"), "-q", "-m", "0", "-O", "^has_journal", "-E",
            "lazy_itable_init=1,root_owner=%d:%d" % (os.geteuid(), os.getegid()), image)
    command(find("mount"), "-o", "loop,noatime", image, path)


def unmount(path):
    if os.path.ismount(path):
        command(find("umount"), path)


@functools.lru_cache(maxsize=None)
def why_not():
    """Why no such disk can be mounted here, or None; by mounting one, since containers show devices
    that they do not let anybody use."""
    if os.geteuid() != 0:
        return "root is needed to mount a small disk"
    for tool in TOOLS:
        if find(tool) is None:
            return "%s is not there (Debian packages e2fsprogs, mount)" % tool
    if not os.path.exists("/dev/loop-control"):
        return "this kernel has no loop devices"
    with tempfile.TemporaryDirectory(prefix="tally-disk-") as folder:
        path = os.path.join(folder, "disk")
        os.mkdir(path)
        try:
            mount_image(os.path.join(folder, "image"), path, PROBE_BYTES)
            unmount(path)
        except (OSError, subprocess.TimeoutExpired) as failure:
            return "no small disk can be mounted: %s" % failure
    return None


def filler(member):
    return os.path.join(member.data, "somebody-elses-file")


def free_bytes(directory):
    told = os.statvfs(directory)
    return told.f_bavail * told.f_frsize


def fill(member, leave=0):
    """Somebody else's file takes everything but so many bytes, or everything there is."""
    with open(filler(member), "ab") as file:
        end, step = file.tell(), free_bytes(member.data)
        while step >= 4096 and free_bytes(member.data) > leave:
            step = min(step, max(4096, free_bytes(member.data) - leave))
            try:
                os.posix_fallocate(file.fileno(), end, step)
                end += step
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2


class DiskFull(Fault):
    """No byte is free, or (`leave_mib`) less than the watermark: the node turns read-only, says so,
    keeps serving reads, and writes again as soon as there is room."""
    name, kind, seconds, weight = "disk-full", "disk", (1.0, 6.0), 2
    # Not that it needs it: the record of unsynced writes has to be on the nodes' own file system.
    preload = ("disk",)

    @classmethod
    def needs(cls):
        return why_not()

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "any", "other-site", "all")),
                   leave_mib=draw.choice((0, 0, 16)))

    def prepare(self, context):
        for member in context.sites.members:
            if not os.path.ismount(member.data):
                mount(context, member)
                member.config.setdefault("disk", {})["watermark_bytes"] = WATERMARK_BYTES

    def begin(self, context):
        small = [m for m in context.members(self.whom) if os.path.ismount(m.data)]
        if not small:
            raise Passed("no node has a small disk")
        for member in self.take(context, small):
            fill(member, self.parameters.get("leave_mib", 0) * MIB)

    def end(self, context):
        for member in self.taken:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(filler(member))
            context.start(member)
