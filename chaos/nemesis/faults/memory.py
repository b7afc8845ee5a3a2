"""Memory that runs out: the process may not have more than it has now.

RLIMIT_DATA is lowered for the running process (prlimit), to what it uses and `slack_kib` more, or
less: then malloc and mmap of further memory fail in it, as in a container whose limit is reached
and which is not killed for it. What the process has and does not use goes on serving it, so only a
demand that exceeds that is refused. A group of processes with a limit (cgroup) would need rights
over the machine's own groups, which a test has no business with.
"""
import resource

from nemesis.fault import Fault

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def data_kib(process):
    """What RLIMIT_DATA counts of a process."""
    with open("/proc/%d/status" % process) as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1])
    raise OSError("process %d has no VmData" % process)


class MemoryShort(Fault):
    """No further memory for the process. It may push back, refuse or end; it may not answer wrongly,
    and not hang."""
    name, kind, seconds, weight, may_exit = "memory-short", "memory", (0.5, 4.0), 1, True

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "any")), slack_kib=draw.choice((-16384, 0, 64, 4096)))

    def begin(self, context):
        for member in self.take(context):
            has = data_kib(member.process.pid)
            limit = max(0, has + self.parameters.get("slack_kib", 64)) * 1024
            resource.prlimit(member.process.pid, resource.RLIMIT_DATA, (limit, UNLIMITED[1]))

    def end(self, context):
        for member in self.taken:
            if member.alive:
                resource.prlimit(member.process.pid, resource.RLIMIT_DATA, UNLIMITED)
            else:
                context.start(member)
