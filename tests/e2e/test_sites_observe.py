"""tally observe against two sites and a witness: its figures follow from its own records, its
outcomes are the ledger's, and a lost leader shows as the pause that it was."""
import json
import os
import signal
import subprocess
import tempfile
import time

from sites import lookup

END_SECONDS = 60


class Observer:
    """A running tally observe."""

    def __init__(self, t, *arguments, every_ms=10):
        sites, self.directory = t.sites, tempfile.mkdtemp(dir=t.run.scratch)
        security = sites.security
        profile = os.path.join(self.directory, "business.profile")
        with open(profile, "w") as file:
            file.write("ca = %s\ncert = %s\nkey = %s\nserver = %s:%d\n" % (
                security.authority.certificate, security.by_name["business"].certificate,
                security.by_name["business"].key, sites.data()[0].host,
                sites.data()[0].grpc_port()))
        self.json, self.html = (os.path.join(self.directory, "o." + end) for end in ("json", "html"))
        self.marks = os.path.join(self.directory, "marks")
        self.tally = sites.programs.tally
        command = [self.tally, "observe", "--ca", security.authority.certificate, "--cert",
                   security.by_name["channel"].certificate, "--key", security.by_name["channel"].key,
                   "--create-with", profile, "--json", self.json, "--html", self.html, "--marks",
                   self.marks, "--every-ms", str(every_ms)] + [str(a) for a in arguments]
        for site in ("A", "B"):
            command += ["--site", "%s=%s" % (site, ",".join(
                "%s:%d" % (m.host, m.grpc_port()) for m in sites.data(site)))]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def mark(self, text):
        done = subprocess.run([self.tally, "observe", "--marks", self.marks, "--mark", text],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return done.returncode, done.stdout.decode()

    def listens(self):
        """Waits until it takes marks: from then on it sends."""
        end = time.monotonic() + END_SECONDS
        while self.mark("hello")[0] != 0 and time.monotonic() < end:
            time.sleep(0.05)

    def end(self):
        """(exit status, output, document)."""
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=END_SECONDS)
        with open(self.json) as file:
            return self.process.returncode, output.decode(), json.load(file)


def rows(document, site):
    return [dict(zip(site["columns"], row), outcome=document["outcomes"][row[site["columns"].index("outcome")]])
            for row in site["records"]]


def pause_of(records, ended_ms):
    """docs/observe.md, computed again: the longest wait from an intended moment until that canary
    or a later one was acknowledged."""
    longest, next_ms = 0, None
    for row in reversed(records):
        if row["outcome"] == "acknowledged" and (next_ms is None or row["answered_ms"] < next_ms):
            next_ms = row["answered_ms"]
        end = ended_ms if next_ms is None else next_ms
        longest = max(longest, end - row["intended_ms"])
    return longest


def gap_of(records, ended_ms):
    moments = ([records[0]["intended_ms"]] + [r["intended_ms"] for r in records
                                              if r["outcome"] == "acknowledged"] + [ended_ms])
    return max(b - a for a, b in zip(moments, moments[1:]))


def check_figures(t, document):
    """Each figure of the report follows from its records."""
    for site in document["sites"]:
        records, summary = rows(document, site), site["summary"]
        near = lambda a, b: abs(a - b) < 0.01
        t.true(near(summary["pause"]["ms"], pause_of(records, document["ended_ms"])),
               "pause of site %s: %s, by its records %s" % (
                   site["name"], summary["pause"], pause_of(records, document["ended_ms"])))
        t.true(near(summary["gap_ms"], gap_of(records, document["ended_ms"])),
               "gap of site %s" % site["name"])
        latencies = sorted(r["answered_ms"] - r["intended_ms"] for r in records
                           if r["outcome"] == "acknowledged")
        for per_cent, name in ((50, "p50"), (99, "p99"), (100, "max")):
            rank = max(1, -(-len(latencies) * per_cent // 100))
            t.true(near(summary["latency_ms"][name], latencies[rank - 1]),
                   "%s of site %s" % (name, site["name"]))
        every = document["every_ms"]
        steps = {round(b["intended_ms"] - a["intended_ms"], 3)
                 for a, b in zip(records, records[1:])}
        t.equal(steps, {every}, "distances between intended moments")


def check_ledger(t, document):
    """Posted is what was acknowledged or found posted, and nothing else, at every node."""
    every = [r for site in document["sites"] for r in rows(document, site) if r["sent_ms"] is not None]
    posted = [bytes.fromhex(r["nonce"]) for r in every
              if r["outcome"] in ("acknowledged", "found posted")]
    others = [bytes.fromhex(r["nonce"]) for r in every
              if r["outcome"] not in ("acknowledged", "found posted")]
    for member in t.sites.data():
        t.equal(lookup(member, posted), posted, "posted canaries at node %d" % member.node_id)
        t.equal(lookup(member, others) if others else [], [],
                "canaries that were not posted, at node %d" % member.node_id)
    return len(posted), len(others)


# Nothing happens: every canary is acknowledged, at its moment.
def test_observe_a_quiet_cluster(t):
    t.attempts(lambda: quiet_cluster(t))


def quiet_cluster(t):
    t.sites.wait_sync()
    with Observer(t, "--duration", 2) as observer:
        output, _ = observer.process.communicate(timeout=END_SECONDS)
    t.equal(observer.process.returncode, 0, output.decode())
    with open(observer.json) as file:
        document = json.load(file)
    check_figures(t, document)
    check_ledger(t, document)
    t.true(not os.path.exists(observer.marks), "the fifo is gone")
    for site in document["sites"]:
        t.equal(site["summary"]["intended"], 200, "canaries of site %s" % site["name"])
        t.undisturbed(site["summary"]["outcomes"]["acknowledged"] == 200, "nothing happens, and of "
                      "200 canaries %s" % site["summary"]["outcomes"])


# The leader is killed under it: the other site's pause ends with the new leader, the unknown ones
# are found out, and the ledger agrees with every outcome.
def test_observe_the_leader_killed(t):
    t.attempts(lambda: leader_killed(t, t.sites), 10)
    t.sites.settle()


def leader_killed(t, sites):
    sites.mend()
    sites.settle().wait_sync()
    leader = sites.wait_leader()
    with Observer(t, "--deadline", 2) as observer:
        observer.listens()
        time.sleep(1)
        t.equal(observer.mark("kill -9 <of> node %d" % leader.node_id), (0, ""), "the mark")
        leader.kill()
        sites.wait_leader([m for m in sites.members if m is not leader])
        time.sleep(3)                       # canaries of the dead site run into their deadline
        leader.start()
        sites.wait_leader()
        time.sleep(1)
        status, output, document = observer.end()
    t.equal(status, 0, output)
    check_figures(t, document)
    posted, others = check_ledger(t, document)
    t.undisturbed(posted > 500, "%d canaries posted" % posted)
    lost, = [s for s in document["sites"] if s["name"] == leader.site]
    other, = [s for s in document["sites"] if s["name"] != leader.site]
    for site in (lost, other):
        t.equal(site["summary"]["outcomes"]["unknown"], 0, "unknown at the end")
        t.equal(site["summary"]["outcomes"]["waiting"], 0, "without any outcome")
    t.true(lost["summary"]["pause"]["ms"] > 2500, "the lost site's clients waited until it was back")
    t.undisturbed(others > 0, "none of the lost site's canaries ended at its deadline")
    t.true(other["summary"]["pause"]["ms"] > 50, "the other site's clients waited for an election")
    mark, = [e for e in document["events"] if e["text"].startswith("kill -9")]
    # The longest pause is the one of the kill, unless the machine makes a longer one.
    t.undisturbed(other["summary"]["pause"]["ms"] < lost["summary"]["pause"]["ms"],
                  "the other site waited as long")
    t.undisturbed(abs(other["summary"]["pause"]["from_ms"] - mark["at_ms"]) < 500,
                  "the pause began at the kill: %s, %s" % (other["summary"]["pause"], mark))
    t.undisturbed(any(e["kind"] == "leader" and e["at_ms"] > mark["at_ms"] for e in document["events"]),
           "the new leader was seen")
    with open(observer.html) as file:
        page = file.read()
    t.true("<of>" not in page and "\\u003cof\\u003e" in page, "the mark stands in the page as text")


# Nobody listens at a fifo: --mark says so.
def test_observe_a_mark_without_an_observer(t):
    done = subprocess.run([t.sites.programs.tally, "observe", "--marks",
                           os.path.join(t.run.scratch, "no-fifo"), "--mark", "x"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    t.equal(done.returncode, 4, done.stdout.decode())
    t.true(b"no observer listens" in done.stdout, done.stdout.decode())


# Without accounts, and without a profile that may make them, it says what to do.
def test_observe_without_accounts(t):
    sites = t.sites
    channel = sites.security.by_name["channel"]
    node = sites.data()[0]
    done = subprocess.run([sites.programs.tally, "observe", "--ca",
                           sites.security.authority.certificate, "--cert", channel.certificate,
                           "--key", channel.key, "--ledger", "77",
                           "--site", "A=%s:%d" % (node.host, node.grpc_port())],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    t.equal(done.returncode, 1, done.stdout.decode())
    t.true(b"--create-with" in done.stdout, done.stdout.decode())
