#!/usr/bin/env python3
"""`tally` and a cluster: nodes that join, members, leadership, status, and an import that goes on
while the leader is killed.

Usage: test_cluster.py TALLY TALLYD. Real nodes on free ports, in a directory of their own. Every
wait is bounded. What clusters survive is tested in tests/e2e; here it is the command line.
"""
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

TALLY, TALLYD = (os.path.abspath(path) for path in sys.argv[1:3])
SITES = {1: ("A", "data"), 2: ("B", "data"), 3: ("W", "witness"), 4: ("A", "data"), 5: ("B", "data")}


DRAWN = set()


def free_port():
    """Below the range that the system takes for outgoing connections: a node that is killed and
    started again must find its port free. Each is drawn once."""
    while True:
        with socket.socket() as probe:
            port = random.randrange(12000, 32000)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in DRAWN:
                DRAWN.add(port)
                return port


class Cluster:
    def __init__(self):
        self.keeper = tempfile.TemporaryDirectory(prefix="tally-cluster-")
        self.directory = self.keeper.name
        self.pki = os.path.join(self.directory, "pki")
        self.grpc = {n: f"127.0.0.1:{free_port()}" for n in SITES}
        self.ops = {n: f"127.0.0.1:{free_port()}" for n in SITES}
        self.peer = {n: f"127.0.0.1:{free_port()}" for n in SITES}
        self.running = {}

    def tally(self, *arguments, role=None, server=None, timeout=90, input=None):
        command = [TALLY, *map(str, arguments)]
        if role is not None:
            command += ["--profile", os.path.join(self.pki, role + ".profile")]
        if server is not None:
            command += ["--server", server]
        return subprocess.run(command, capture_output=True, timeout=timeout, encoding="utf-8",
                              cwd=self.directory, input=input)

    def home(self, n):
        return os.path.join(self.directory, f"node-{n}")

    def member_file(self, n):
        return os.path.join(self.home(n), "data", "member")

    def init(self, n, *more):
        site, kind = SITES[n]
        made = self.tally("node", "init", self.home(n), "--pki", self.pki, "--node-id", n, "--site",
                          site, "--kind", kind, "--listen", self.grpc[n], "--ops", self.ops[n],
                          "--peer-address", self.peer[n], "--segment-bytes", 4 << 20,
                          "--reserve-bytes", 1 << 20, "--json", *more,
                          *(["--allow-root"] if os.geteuid() == 0 else []))
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout)

    def start(self, n):
        with open(os.path.join(self.home(n), "log"), "ab") as log:
            self.running[n] = subprocess.Popen(
                [TALLYD, "--config", os.path.join(self.home(n), "tallyd.yaml")], stdout=log,
                stderr=log)

    def stop(self, n, how=signal.SIGTERM):
        process = self.running.pop(n)
        process.send_signal(how)
        process.wait(timeout=60)
        return process.returncode

    def ready(self, n):
        try:
            with urllib.request.urlopen(f"http://{self.ops[n]}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait_ready(self, n):
        end = time.monotonic() + 90
        while not self.ready(n):
            assert self.running[n].poll() is None, f"node {n} ended: {self.log(n)}"
            assert time.monotonic() < end, f"node {n} is not ready: {self.log(n)}"
            time.sleep(0.05)

    def log(self, n):
        with open(os.path.join(self.home(n), "log"), encoding="utf-8") as log:
            return log.read()[-3000:]

    def make(self):
        """1+1+1, as docs/operations-cluster.md has it."""
        servers = ",".join(self.grpc[n] for n in (1, 2))
        made = self.tally("pki", "init", self.pki, "--nodes", 6, "--server", servers)
        assert made.returncode == 0, made.stderr
        self.id = self.init(1)["cluster_id"]
        self.start(1)
        self.wait_ready(1)
        for n in (2, 3):
            self.join(n)

    def join(self, n, *more):
        self.init(n, "--join", "--cluster-id", self.id)
        self.start(n)
        added = self.tally("member", "add", "--member-file", self.member_file(n), *more,
                           role="site_operator")
        assert added.returncode == 0, added.stderr + self.log(n) + self.log(1)
        self.wait_ready(n)


CLUSTER = Cluster()


def setUpModule():
    CLUSTER.make()
    for command in (("ledger", "create", "--id", 1, "--currency", "EUR", "--exponent", 2, "--name",
                     "EUR"),
                    ("account", "create", "--id", 1, "--ledger", 1, "--code", 10),
                    ("account", "create", "--id", 2, "--ledger", 1, "--code", 10)):
        made = CLUSTER.tally(*command, role="business_operator")
        assert made.returncode == 0, made.stderr


def tearDownModule():
    for n in list(CLUSTER.running):
        CLUSTER.stop(n, signal.SIGKILL)
    CLUSTER.keeper.cleanup()


class Case(unittest.TestCase):
    maxDiff = None

    def tally(self, *arguments, code=0, **more):
        done = CLUSTER.tally(*arguments, **more)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def json(self, *arguments, **more):
        return json.loads(self.tally(*arguments, "--json", **more).stdout)

    def members(self):
        return {m["node_id"]: m for m in self.json("member", "list", role="auditor")["members"]}

    def leader(self):
        """Node id of the leader, waited for."""
        end = time.monotonic() + 90
        while True:
            status = json.loads(CLUSTER.tally("status", "--json", role="auditor").stdout)
            leads = [n["status"]["node"] for n in status["nodes"] if n.get("status", {}).get("leads")]
            if leads:
                return leads[0]
            self.assertLess(time.monotonic(), end, status)
            time.sleep(0.1)


class Members(Case):
    def test_three_voters_are_listed_with_their_sites(self):
        listed = self.members()
        self.assertEqual({n: (m["site"], m["kind"]) for n, m in listed.items()},
                         {n: SITES[n] for n in (1, 2, 3)})
        self.assertEqual({m["vote"] for m in listed.values()}, {"voter"})
        self.assertEqual(sum(m["leader"] for m in listed.values()), 1)
        text = self.tally("member", "list", role="channel").stdout
        self.assertIn("witness", text)

    def test_a_member_that_is_one_already_is_no_error(self):
        added = self.tally("member", "add", "--member-file", CLUSTER.member_file(2),
                           role="site_operator")
        self.assertIn("member 2: is a voting member", added.stdout)

    def test_only_a_site_operator_changes_members(self):
        for role in ("channel", "auditor", "business_operator"):
            refused = self.tally("member", "remove", 3, role=role, code=3)
            self.assertIn("site_operator", refused.stderr)
            self.tally("leader", "transfer", role=role, code=3)
        self.assertEqual(len(self.members()), 3)

    def test_what_is_wrong_with_a_description_is_said_before_anything_is_sent(self):
        operator = {"role": "site_operator", "code": 2}
        self.assertIn("--member-file", self.tally("member", "add", **operator).stderr)
        self.assertIn("HOST:PORT", self.tally(
            "member", "add", "--node-id", 9, "--site", "A", "--address", "nowhere",
            "--incarnation", "ab" * 16, **operator).stderr)
        self.assertIn("cannot open", self.tally("member", "add", "--member-file", "none",
                                                **operator).stderr)
        wrong = os.path.join(CLUSTER.directory, "wrong")
        with open(wrong, "w", encoding="utf-8") as out:
            out.write("--node-id 9 --site A\n")
        self.assertIn("misses", self.tally("member", "add", "--member-file", wrong,
                                           **operator).stderr)
        self.assertIn("node id is missing", self.tally("member", "remove", **operator).stderr)

    def test_removing_nobody_is_done(self):
        self.assertIn("is no member", self.tally("member", "remove", 77,
                                                 role="site_operator").stdout)

    def test_an_incarnation_that_is_not_ours_is_refused_in_words(self):
        with open(CLUSTER.member_file(2), encoding="utf-8") as file:
            line = re.sub(r"--incarnation \w+", "--incarnation " + "ab" * 16, file.read())
        refused = self.tally("member", "add", *line.split(), role="site_operator", code=3)
        self.assertRegex(refused.stderr, r"incarnation|member 2|id")

    # The founder's defaults (1, A) are another node's number and perhaps the wrong site: a node that
    # joins says both itself.
    def test_a_join_needs_its_number_and_its_site(self):
        base = ("node", "init", os.path.join(CLUSTER.directory, "y"), "--pki", CLUSTER.pki, "--join",
                "--cluster-id", "ab" * 16, "--peer-address", "a:1")
        self.assertIn("--node-id", self.tally(*base, "--site", "B", code=2).stderr)
        self.assertIn("--site", self.tally(*base, "--node-id", "2", code=2).stderr)
        self.assertFalse(os.path.exists(os.path.join(CLUSTER.directory, "y")))

    def test_a_join_needs_its_cluster_and_its_address(self):
        base = ("node", "init", os.path.join(CLUSTER.directory, "x"), "--pki", CLUSTER.pki)
        self.assertIn("--cluster-id", self.tally(*base, "--join", "--peer-address", "a:1",
                                                 code=2).stderr)
        self.assertIn("--peer-address", self.tally(*base, "--join", "--cluster-id", "ab" * 16,
                                                   code=2).stderr)
        self.assertIn("32 hex", self.tally(*base, "--join", "--cluster-id", "ab", code=2).stderr)
        self.assertIn("witness", self.tally(*base, "--kind", "witness", code=2).stderr)
        self.assertFalse(os.path.exists(os.path.join(CLUSTER.directory, "x")))

    def test_a_group_of_commands_tells_its_members(self):
        told = self.tally("member", "--help").stdout
        for command in ("list", "add", "replace", "remove"):
            self.assertIn("member " + command, told)
        self.assertNotIn("ledger", told)
        self.assertIn("member add", self.tally("member", code=2).stderr)
        self.assertIn("no command", self.tally("members", "--help", code=2).stderr)


class Leadership(Case):
    def test_leadership_goes_where_it_is_sent(self):
        for to in (2, 1):
            for left in reversed(range(5)):     # elections come of machines that stand still, too
                moved = self.tally("leader", "transfer", "--to", to, role="site_operator")
                self.assertEqual(moved.stdout, f"node {to} leads\n")
                if self.leader() == to:
                    break
                self.assertTrue(left, f"node {to} leads five times, and another one does")
        self.tally("leader", "transfer", "--to", 1, role="site_operator")  # it does already

    def test_a_witness_is_not_sent_to_lead(self):
        refused = self.tally("leader", "transfer", "--to", 3, role="site_operator", code=3)
        self.assertIn("witness", refused.stderr)
        self.assertIn("member 77", self.tally("leader", "transfer", "--to", 77,
                                              role="site_operator", code=3).stderr)


class Certificates(Case):
    # Two files mixed up by whoever renews them: certificate and key fit each other, and belong to
    # another node. The one that is in use stays, so that the node is not lost to its peers.
    def test_another_nodes_certificate_is_not_reloaded(self):
        kept = {}
        for name in ("pem", "key"):
            own = os.path.join(CLUSTER.pki, f"node-2.{name}")
            with open(own, encoding="ascii") as file:
                kept[own] = file.read()
            with open(os.path.join(CLUSTER.pki, f"node-4.{name}"), encoding="ascii") as file:
                others = file.read()
            with open(own, "w", encoding="ascii") as file:
                file.write(others)
        try:
            self.reload(2, "event=certificates_refused")
            self.assertIn("spiffe://tallystick/node/2 of this node", CLUSTER.log(2))
        finally:
            for path, content in kept.items():
                with open(path, "w", encoding="ascii") as file:
                    file.write(content)
        self.reload(2, "event=certificates_reloaded")

    def reload(self, n, event):
        before = CLUSTER.log(n).count("event=certificates_")
        CLUSTER.running[n].send_signal(signal.SIGHUP)
        end = time.monotonic() + 20
        while CLUSTER.log(n).count("event=certificates_") == before:
            self.assertLess(time.monotonic(), end, CLUSTER.log(n))
            time.sleep(0.05)
        lines = [line for line in CLUSTER.log(n).splitlines() if "event=certificates_" in line]
        self.assertIn(event, lines[-1])


class Status(Case):
    def test_the_cluster_is_shown_with_every_node(self):
        # A site that was given up, since the machine stood still, comes back by itself.
        end = time.monotonic() + 60
        while not all(self.json("status", role="auditor")["survives_loss"].values()) \
                and time.monotonic() < end:
            time.sleep(0.1)
        text = self.tally("status", role="auditor").stdout
        self.assertIn(f"cluster {CLUSTER.id}: node", text)
        self.assertIn("2 of 2 servers answered; rule=site", text)
        for word in ("leader", "follower", "witness"):
            self.assertIn(word, text)
        self.assertEqual(text.count("its loss would be survived"), 3, text)
        document = self.json("status", role="auditor")
        self.assertEqual(document["survives_loss"], {"A": True, "B": True, "W": True})
        self.assertEqual(len(document["nodes"]), 2)

    def test_one_server_is_shown_as_a_node(self):
        text = self.tally("status", role="auditor", server=CLUSTER.grpc[2]).stdout
        self.assertIn("node 2 is serving and takes requests", text)
        document = self.json("status", role="auditor", server=CLUSTER.grpc[2])
        self.assertEqual((document["node"], document["site"], document["kind"]), (2, "B", "data"))

    def test_the_witness_says_that_it_serves_nobody(self):
        refused = self.tally("status", "--deadline", "1", role="auditor", server=CLUSTER.grpc[3],
                             code=4)
        self.assertIn("witness", refused.stderr)

    def test_watching_goes_on_until_it_is_interrupted(self):
        with subprocess.Popen([TALLY, "status", "--watch=1", "--profile",
                               os.path.join(CLUSTER.pki, "auditor.profile")],
                              stdout=subprocess.PIPE, encoding="utf-8") as watch:
            seen = 0
            while seen < 2:
                line = watch.stdout.readline()
                self.assertTrue(line, "it ended by itself")
                seen += line.startswith("cluster ")
            watch.send_signal(signal.SIGINT)
            watch.wait(timeout=10)
            watch.stdout.read()


class Failover(Case):
    def test_an_import_goes_on_while_the_leader_is_killed(self):
        before = 0
        for rows in (60000, 120000, 240000):    # as many as are not over when the leader is killed
            path = os.path.join(CLUSTER.directory, f"payments-{rows}.csv")
            with open(path, "w", encoding="utf-8") as out:
                out.write("debit_account_id,credit_account_id,amount,ledger,code\n")
                out.writelines(f"1,2,0.01,1,{rows // 60000}\n" for _ in range(rows))
            leader = self.leader()
            importing = subprocess.Popen(
                [TALLY, "transfer", "import", path, "--batch", "50", "--json", "--quiet", "--profile",
                 os.path.join(CLUSTER.pki, "channel.profile")], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, encoding="utf-8")
            time.sleep(0.5)
            if importing.poll() is None:
                break
            importing.communicate(timeout=120)
            before += rows
        else:
            self.fail("it was too quick to be disturbed")
        CLUSTER.stop(leader, signal.SIGKILL)
        output, errors = importing.communicate(timeout=120)
        self.assertEqual(importing.returncode, 0, output + errors)
        report = json.loads(output)
        self.assertEqual((report["posted"], report["rejected"], report["unknown"]), (rows, 0, 0))
        self.assertNotEqual(self.leader(), leader)
        text = self.tally("status", role="auditor").stdout
        CLUSTER.start(leader)
        self.assertIn("needs attention", text)
        self.assertIn("NOT LINKED", text)
        self.assertIn("WOULD NOT BE SURVIVED", text)
        CLUSTER.wait_ready(leader)
        totals = [self.json("trial-balance", "--ledger", 1, role="auditor", server=CLUSTER.grpc[n])
                  for n in (1, 2)]
        for total in totals:
            self.assertTrue(total["balanced"])
            self.assertEqual(int(total["debits_posted"]["minor"]), before + rows, total)
        self.assertEqual(totals[0]["debits_posted"], totals[1]["debits_posted"])


class Growth(Case):
    """2+2+1 and back; last, since it changes who is there (the names sort by class)."""

    def test_members_come_and_go_while_transfers_are_posted(self):
        CLUSTER.init(4, "--join", "--cluster-id", CLUSTER.id)
        add = ("member", "add", "--member-file", CLUSTER.member_file(4))
        refused = self.tally(*add, role="site_operator", code=3)
        self.assertIn("--force", refused.stderr)  # 2+1+1: site A could not be lost
        # Nobody has started node 4: whoever waits is told so, long before the deadline.
        waiting = subprocess.Popen(
            [TALLY, *add, "--force", "--profile",
             os.path.join(CLUSTER.pki, "site_operator.profile")], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8")
        try:
            end = time.monotonic() + 60
            line = ""
            while "no connection to it at " + CLUSTER.peer[4] not in line:
                self.assertLess(time.monotonic(), end)
                self.assertTrue(select.select([waiting.stderr], [], [], 60)[0], "not a word")
                line = waiting.stderr.readline()
                self.assertIn("still waiting, for ", line)
            CLUSTER.start(4)
            self.assertEqual(waiting.communicate(timeout=60)[0], "member 4: is a voting member\n")
        finally:
            waiting.kill()
            waiting.wait()
        CLUSTER.wait_ready(4)
        CLUSTER.join(5)
        listed = self.members()
        self.assertEqual(sorted(listed), [1, 2, 3, 4, 5])
        self.assertEqual({m["vote"] for m in listed.values()}, {"voter"})
        posted = self.tally("transfer", "create", "--debit", 1, "--credit", 2, "--amount", 1,
                            "--ledger", 1, "--code", 1, role="channel", server=CLUSTER.grpc[5])
        self.assertIn("done", posted.stdout)
        for n in (5, 4):
            self.tally("member", "remove", n, "--force", role="site_operator")
            CLUSTER.stop(n, signal.SIGKILL)
        self.assertEqual(sorted(self.members()), [1, 2, 3])
        self.leader()


class Wiped(Case):
    """Last of all: node 2 becomes node 6."""

    def test_a_damaged_node_is_repaired_by_one_command(self):
        home = CLUSTER.home(2)
        repair = ("node", "repair", home, "--node-id", 6)
        operator = {"role": "site_operator"}
        self.assertIn("stop tallyd", self.tally(*repair, **operator, code=2).stderr)
        CLUSTER.stop(2, signal.SIGKILL)
        journal = os.path.join(home, "data", "journal-1")
        for name in os.listdir(journal):
            with open(os.path.join(journal, name), "r+b") as file:
                file.seek(8192)
                file.write(b"\xff" * 64)
        CLUSTER.start(2)
        self.assertEqual(CLUSTER.running.pop(2).wait(timeout=60), 65, "it refuses to start")
        self.assertIn("is node 2 already", self.tally("node", "repair", home, "--node-id", 2,
                                                      **operator, code=2).stderr)
        self.assertIn("node-77.pem", self.tally("node", "repair", home, "--node-id", 77,
                                                **operator, code=2).stderr)
        self.assertTrue(os.path.exists(os.path.join(home, "data", "identity")), "nothing was moved")

        # The cluster cannot be asked in time: what is done stays, the same command goes on.
        self.tally(*repair, "--deadline", 1, **operator, code=4)
        self.assertTrue(os.path.isdir(os.path.join(home, "data.damaged-2")))
        self.assertIn("--node-id 6", self.tally("node", "repair", home, "--node-id", 5, **operator,
                                                code=2).stderr)
        CLUSTER.start(2)
        self.tally(*repair, **operator)
        self.assertEqual(sorted(self.members()), [1, 3, 6])
        CLUSTER.wait_ready(2)
        status = self.json("status", role="auditor", server=CLUSTER.grpc[2])
        self.assertEqual((status["node"], status["site"]), (6, "B"))
        self.assertFalse(os.path.exists(os.path.join(home, "repair")))
        self.tally("leader", "transfer", "--to", 6, **operator)
        posted = self.tally("transfer", "create", "--debit", 1, "--credit", 2, "--amount", 1,
                            "--ledger", 1, "--code", 1, role="channel", server=CLUSTER.grpc[2])
        self.assertIn("done", posted.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=2)
