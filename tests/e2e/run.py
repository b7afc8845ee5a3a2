#!/usr/bin/python3
"""End-to-end tests: a real tallyd, asked by the stock gRPC client of python3-grpcio.

    tests/e2e/run.py [--build DIR] [-k PATTERN] [--skip PATTERN] [--list] [--keep]

Each test is a function `test_...(t)` in a file `test_*.py` beside this one; `t` is the Case below.
A file's tests share one node (t.node), made when the first of them asks; a test that kills,
damages or fills something makes its own with t.fresh_node(). Tests of clusters (test_sites_*.py)
share one of two sites and a witness (t.sites), which each of them leaves at rest; it is made anew
after a failure. The last line is
'N passed, N failed, N skipped'; exit status 1 when anything failed.
"""
import argparse
import fnmatch
import importlib
import inspect
import os
import shutil
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
# The client library's own complaints about refused connections are what many tests provoke.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402

import cluster  # noqa: E402
import schema  # noqa: E402
import sites  # noqa: E402
from sites import ATTEMPTS  # noqa: E402


# Small epochs, so that checkpoints and the trimming behind them happen while a test looks.
SITES_SETTINGS = {"checkpoint": {"transfers": 65536, "interval_ms": 500,
                                 "map_size_bytes": cluster.MAP_BYTES},
                  "cluster": {"log_tail_bytes": 256 << 10}}


class Skip(Exception):
    """This machine cannot run the test; the text says what is missing."""


class Disturbed(AssertionError):
    """What a test is about did not come about, and a machine that stood still may be why."""


class Run:
    """What all tests share: programs, certificates, message classes, a scratch directory."""

    def __init__(self, build, scratch):
        self.programs = cluster.Programs(build)
        self.scratch = scratch
        self.security = cluster.Security(scratch)
        self.schema = schema.compile_project()
        self.node_count = 0
        self.shared_sites = None

    def new_node(self, settings=None, **options):
        self.node_count += 1
        return cluster.Node(self.programs, self.security, self.schema,
                            os.path.join(self.scratch, "node%d" % self.node_count), settings,
                            **options)


    def new_sites(self, topology=None, settings=None, environment=None):
        self.node_count += 1
        return sites.Sites(self.programs, self.security, self.schema,
                           os.path.join(self.scratch, "sites%d" % self.node_count),
                           topology or sites.ONE_ONE_ONE, settings, environment)

    def close_sites(self):
        if self.shared_sites is not None:
            self.shared_sites.close()
            self.shared_sites = None


class Case:
    """One test: its nodes and its claims."""

    def __init__(self, run, module):
        self.run = run
        self.module = module
        self.fresh = []
        self.used_sites = None

    # ---- nodes ----

    @property
    def node(self):
        """The node shared by the tests of a file, with principals, and what prepare(node) adds."""
        shared = self.module.__dict__.get("_shared_node")
        if shared is None:
            shared = self.run.new_node(getattr(self.module, "SETTINGS", None))
            self.fresh.append(shared)       # until it serves, it is this test's to close
            shared.init().start()
            if hasattr(self.module, "prepare"):
                self.module.prepare(shared)
            self.fresh.remove(shared)
            self.module.__dict__["_shared_node"] = shared
        return shared

    def new_node(self, settings=None, **options):
        """A node of this test alone, neither initialised nor started."""
        node = self.run.new_node(settings, **options)
        self.fresh.append(node)
        return node

    def fresh_node(self, settings=None, **options):
        """A node of this test alone, ready, with principals."""
        return self.new_node(settings, **options).init().start()

    # ---- clusters ----

    @property
    def sites(self):
        """The cluster 1+1+1 that tests share: at rest, both sites in SYNC whatever the test before
        did to them, all nodes up, ledger 1 with two accounts."""
        if self.run.shared_sites is None:
            self.run.shared_sites = self.run.new_sites(settings=SITES_SETTINGS)
            self.run.shared_sites.make()
        if self.used_sites is None:
            self.used_sites = self.run.shared_sites
            self.used_sites.settle().wait_sync()
        return self.used_sites

    def new_sites(self, topology=None, settings=None, environment=None):
        """A cluster of this test alone, of which nothing runs yet."""
        made = self.run.new_sites(topology, dict(SITES_SETTINGS, **(settings or {})), environment)
        self.fresh.append(made)
        return made

    def fresh_sites(self, topology=None, settings=None, environment=None):
        """A cluster of this test alone, at rest."""
        return self.new_sites(topology, settings, environment).make().settle()

    def at_rest(self, cluster, load=None):
        """The end of a test of a cluster: faults end, the load too, all nodes agree, and every data
        node holds every acknowledged transfer."""
        cluster.mend()
        acknowledged = load.end() if load else []
        cluster.settle()
        for member in cluster.data():
            found = sites.lookup(member, acknowledged)
            if found != acknowledged:
                lost = [i.hex() for i in set(acknowledged) - set(found)]
                raise AssertionError("node %d lacks %d of %d acknowledged transfers: %s" % (
                    member.node_id, len(lost), len(acknowledged), lost[:5]))
        return len(acknowledged)

    # ---- claims ----

    def true(self, condition, text="not true"):
        if not condition:
            raise AssertionError(text)

    def equal(self, actual, expected, text=""):
        if actual != expected:
            raise AssertionError("%s: is %r, expected %r" % (text or "value", actual, expected))

    def undisturbed(self, condition, text):
        """What a sound product on a machine that stands still for a second may miss, too: within
        attempts(). Never said of money, of an answer or of a word."""
        if not condition:
            raise Disturbed(text)

    def unless(self, disturbance, attempt):
        """attempt(), in which a failure counts as disturbed if disturbance() says by what, in words. Not
        for what no stall excuses: acknowledged transfers are looked up outside of it."""
        try:
            return attempt()
        except (AssertionError, cluster.Failure) as failure:
            why = disturbance()
            if why is None:
                raise
            raise Disturbed("%s; %s" % (why, failure)) from failure

    def attempts(self, attempt, times=ATTEMPTS):
        """attempt() until it was not disturbed, and its result; every other failure stands at once.
        Elections, degrades and missed moments that come of the product come each time."""
        for left in reversed(range(times)):
            try:
                return attempt()
            except Disturbed as disturbed:
                if not left:
                    raise
                print("   again  %s" % disturbed, flush=True)

    def contains(self, text, part, what="text"):
        if part not in text:
            raise AssertionError("%s lacks %r: %s" % (what, part, text))

    def code(self, answer, name, text="answer"):
        """The gRPC status of an Answer; for a refusal also that it says why."""
        if answer.code != grpc.StatusCode[name]:
            raise AssertionError("%s: is %r, expected %s" % (text, answer, name))

    def skip(self, why):
        raise Skip(why)

    def eventually(self, question, seconds=60, text="condition"):
        """Asks until the answer is true, bounded; returns the answer."""
        end = time.monotonic() + seconds
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > end:
                raise AssertionError("%s: not within %d s" % (text, seconds))
            time.sleep(0.02)


def matches(pattern, name):
    return pattern in name or fnmatch.fnmatch(name, pattern)


def load(pattern, skipped):
    """[(module, name, function)] of the tests whose 'file.name' matches."""
    tests = []
    for file in sorted(os.listdir(HERE)):
        if not (file.startswith("test_") and file.endswith(".py")):
            continue
        module = importlib.import_module(file[:-3])
        for name, function in module.__dict__.items():
            full = "%s.%s" % (file[5:-3], name[5:])
            if name.startswith("test_") and inspect.isfunction(function):
                if (pattern is None or matches(pattern, full)) \
                        and not (skipped and matches(skipped, full)):
                    tests.append((module, full, function))
    return tests


def run_one(run, module, function):
    """'passed', 'skipped: ...' or 'failed' with the trace and the nodes' logs printed."""
    case = Case(run, module)
    try:
        function(case)
        return "passed"
    except Skip as skip:
        return "skipped: %s" % skip
    except Exception:  # a failing test must not end the others
        traceback.print_exc(file=sys.stdout)
        for node in case.fresh + [module.__dict__.get("_shared_node")]:
            if isinstance(node, cluster.Node):
                print(node.log_tail())
        for made in case.fresh + [case.used_sites]:
            if isinstance(made, sites.Sites):
                print(made.describe())
        if case.used_sites:
            run.close_sites()           # the next test gets a cluster that nothing happened to
        return "failed"
    finally:
        for node in case.fresh:
            node.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(schema.ROOT, "build"),
                        help="meson's build directory (default: build)")
    parser.add_argument("-k", metavar="PATTERN", help="only tests whose file.name contains this")
    parser.add_argument("--skip", metavar="PATTERN", help="not those whose file.name contains this")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--keep", action="store_true", help="keep the scratch directory")
    arguments = parser.parse_args()

    cluster.end_on_terminate()
    tests = load(arguments.k, arguments.skip)
    if arguments.list:
        print("\n".join(name for _, name, _ in tests))
        return 0
    scratch = tempfile.mkdtemp(prefix="tally-e2e-")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    run = None
    try:
        run = Run(arguments.build, scratch)
        for position, (module, name, function) in enumerate(tests):
            began = time.monotonic()
            verdict = run_one(run, module, function)
            counts[verdict.split(":")[0]] += 1
            print("%-8s %6.2f s  %s" % (verdict.split(":")[0], time.monotonic() - began, name)
                  + (verdict[len("skipped"):] if verdict.startswith("skipped") else ""),
                  flush=True)
            # The file's last test: its shared node is no longer needed.
            last = position + 1 == len(tests) or tests[position + 1][0] is not module
            if last and module.__dict__.get("_shared_node") is not None:
                module.__dict__.pop("_shared_node").close()
    finally:
        if run:
            run.close_sites()
        for module, _, _ in tests:
            if module.__dict__.get("_shared_node") is not None:
                module.__dict__.pop("_shared_node").close()
        if arguments.keep or counts["failed"]:
            print("files kept in %s" % scratch)
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    if not tests:
        print("no test matches %r" % arguments.k)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
