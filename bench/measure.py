"""What the measurements of clusters share: making one, loading it with tally-bench, reading /proc.

Nodes, generator and everything else share the cores of one machine, and the nodes' disk: figures
say what this machine does, and what changed since the last time, not what three machines do.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import cluster  # noqa: E402
import schema  # noqa: E402
import sites  # noqa: E402
from network import Direct  # noqa: E402

TOPOLOGIES = {"1+1+1": sites.ONE_ONE_ONE, "2+2+1": sites.TWO_TWO_ONE}
TICK = os.sysconf("SC_CLK_TCK")
# As a node is delivered, but for the store's address space, which several nodes here have to share.
SETTINGS = {"journal": {"segment_bytes": 64 << 20}, "checkpoint": {"map_size_bytes": 64 << 30}}


class Scratch:
    """A directory for nodes' files on the disk to be measured, gone at the end."""

    def __init__(self, parent):
        cluster.end_on_terminate()
        if parent:
            os.makedirs(parent, exist_ok=True)
        self.path = tempfile.mkdtemp(prefix="tally-measure-", dir=parent or "/var/tmp")

    def __enter__(self):
        return self.path

    def __exit__(self, *exception):
        if exception[0] is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            print("files kept in %s" % self.path)


def make_cluster(build, directory, topology, network=None, settings=None):
    merged = {section: dict(values) for section, values in SETTINGS.items()}
    for section, values in (settings or {}).items():
        merged.setdefault(section, {}).update(values)
    return sites.Sites(cluster.Programs(build), cluster.Security(directory),
                       schema.compile_project(), os.path.join(directory, "sites"),
                       TOPOLOGIES[topology], merged, network=network or Direct())


class Generator:
    """tally-bench against a cluster."""

    def __init__(self, cluster_of, build, directory):
        self.cluster, self.directory = cluster_of, directory
        self.program = os.path.join(os.path.abspath(build), "bench", "tally-bench")
        if not os.access(self.program, os.X_OK):
            raise cluster.Failure("%s is not there: build it first" % self.program)

    def start(self, word, nodes, *arguments, role="channel"):
        certificate = self.cluster.security.by_name[role]
        return subprocess.Popen(
            [self.program, word, "--servers",
             ",".join("%s:%d" % (node.host, node.grpc_port()) for node in nodes),
             "--ca", self.cluster.security.authority.certificate, "--certificate",
             certificate.certificate, "--key", certificate.key] + [str(a) for a in arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def finish(self, command, seconds):
        try:
            output, _ = command.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            output, _ = command.communicate()
            raise cluster.Failure("tally-bench still ran after %d s\n%s" % (
                seconds, output.decode(errors="replace"))) from None
        if command.returncode != 0:
            raise cluster.Failure("tally-bench: exit %d\n%s" % (command.returncode,
                                                                output.decode(errors="replace")))

    def prepare(self, nodes, accounts=10000):
        self.finish(self.start("prepare", nodes, "--accounts", accounts, role="business"), 120)

    def run(self, nodes, *arguments, seconds=600):
        """The report of one run."""
        path = os.path.join(self.directory, "report.json")
        self.finish(self.start("run", nodes, "--json", path, *arguments), seconds)
        with open(path) as file:
            return json.load(file)


def percentile(values, per_cent):
    """The least value that is not exceeded by so many per cent of them."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * per_cent // 100) - 1)]


def thread_seconds(process):
    """CPU time of a process by the names of its threads, which several may share."""
    seconds = {}
    for task in os.listdir("/proc/%d/task" % process):
        try:
            with open("/proc/%d/task/%s/stat" % (process, task)) as file:
                head, rest = file.read().rsplit(")", 1)
        except OSError:
            continue                    # ended meanwhile
        fields = rest.split()
        name = head.split("(", 1)[1]
        seconds[name] = seconds.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICK
    return seconds


def resident_bytes(process):
    """(anonymous memory, all resident memory): the second counts pages of mapped files, too."""
    found = {}
    with open("/proc/%d/status" % process) as file:
        for line in file:
            key, value = line.split(":", 1)
            found[key] = value
    return tuple(int(found[key].split()[0]) * 1024 for key in ("RssAnon", "VmRSS"))


def machine():
    """One paragraph: what the figures were measured on."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file
                      if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2 ** 20
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    return "%s, %d cores, %.0f GiB, Linux %s; commit %s; all nodes, generator and disk shared" % (
        model, os.cpu_count(), memory, os.uname().release, commit.strip() or "unknown")
