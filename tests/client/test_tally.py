#!/usr/bin/env python3
"""`tally` against a real `tallyd`: commands, exit codes, JSON, and imports that are interrupted.

Usage: test_tally.py TALLY TALLYD GENERATOR. One node for the whole file, on free ports, in a
directory of its own. Every wait is bounded.
"""
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

TALLY, TALLYD, GENERATOR = (os.path.abspath(path) for path in sys.argv[1:4])


def free_port():
    """Below the range that the system takes for outgoing connections, which would take it before
    the node is started."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("1000 ports of 127.0.0.1 are all taken")


class Node:
    """A data directory, certificates, and perhaps a running tallyd."""

    def __init__(self):
        self.keeper = tempfile.TemporaryDirectory(prefix="tally-test-")
        self.directory = self.keeper.name
        self.address = f"127.0.0.1:{free_port()}"
        self.pki = os.path.join(self.directory, "pki")
        self.node = os.path.join(self.directory, "node")
        self.process = None

    def tally(self, *arguments, role=None, input=None, timeout=60):
        command = [TALLY, *arguments]
        if role is not None:
            command += ["--profile", os.path.join(self.pki, role + ".profile")]
        return subprocess.run(command, input=input, capture_output=True, timeout=timeout,
                              encoding="utf-8", cwd=self.directory)

    def make(self):
        made = self.tally("pki", "init", self.pki, "--server", self.address)
        assert made.returncode == 0, made.stderr
        made = self.tally("node", "init", self.node, "--pki", self.pki, "--listen", self.address,
                          "--ops", f"127.0.0.1:{free_port()}", "--segment-bytes", str(4 << 20),
                          "--reserve-bytes", str(1 << 20),
                          *(["--allow-root"] if os.geteuid() == 0 else []))
        assert made.returncode == 0, made.stderr

    def start(self):
        log = open(os.path.join(self.directory, "tallyd.log"), "ab")
        self.process = subprocess.Popen(
            [TALLYD, "--config", os.path.join(self.node, "tallyd.yaml")], stdout=log, stderr=log)
        log.close()
        for _ in range(300):
            asked = self.tally("status", "--deadline", "1", role="auditor")
            if asked.returncode == 0:
                return
            assert asked.returncode == 4, asked.stderr  # not there yet
            assert self.process.poll() is None, "tallyd ended: " + self.log()
            time.sleep(0.1)
        raise AssertionError("tallyd does not answer: " + self.log())

    def log(self):
        with open(os.path.join(self.directory, "tallyd.log"), encoding="utf-8") as log:
            return log.read()[-2000:]

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=60)
        self.process = None

    def path(self, name, text=None):
        path = os.path.join(self.directory, name)
        if text is not None:
            with open(path, "wb") as out:
                out.write(text if isinstance(text, bytes) else text.encode())
        return path


NODE = Node()


def setUpModule():
    NODE.make()
    NODE.start()
    for id, currency, exponent in (("1", "EUR", "2"), ("2", "JPY", "0")):
        made = NODE.tally("ledger", "create", "--id", id, "--currency", currency, "--exponent",
                          exponent, "--name", currency, role="business_operator")
        assert made.returncode == 0, made.stderr
    made = NODE.tally("account", "create", "--file", "-", role="business_operator",
                      input="id,ledger,code,flags\n1,1,10,\n2,1,20,\n"
                            "3,1,30,debits_must_not_exceed_credits\n4,2,10,\n")
    assert made.returncode == 0, made.stderr


def tearDownModule():
    if NODE.process is not None:
        NODE.stop(signal.SIGKILL)
    NODE.keeper.cleanup()


class Case(unittest.TestCase):
    maxDiff = None

    def run_tally(self, *arguments, code=0, **more):
        done = NODE.tally(*arguments, **more)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def json(self, *arguments, **more):
        return json.loads(self.run_tally("--json", *arguments, **more).stdout)

    def posted(self, account):
        shown = self.json("account", "show", account, role="auditor")
        return (int(shown["debits_posted"]["minor"]), int(shown["credits_posted"]["minor"]))

    def import_(self, text, *arguments, code, name="import.csv"):
        path = NODE.path(name, text)
        return self.json("transfer", "import", path, *arguments, role="channel", code=code)


class Commands(Case):
    def test_an_unknown_command_and_wrong_options_are_usage_errors(self):
        for arguments in ([], ["ledger"], ["ledger", "erase"], ["ledger", "create"],
                          ["account", "show"], ["account", "show", "x"], ["transfer", "import"],
                          ["request", "show", "1"], ["status", "--deadline", "0"], ["--nonsense"],
                          ["trial-balance", "--ledger", "0"], ["account", "list", "--limit", "0"]):
            done = self.run_tally(*arguments, code=2)
            self.assertNotEqual(done.stderr, "")

    def test_help_is_help_for_every_command(self):
        names = [line.split("  ")[1] for line in self.run_tally("--help").stdout.splitlines()
                 if line.startswith("  ")]
        self.assertGreater(len(names), 18)
        for name in names:
            self.assertIn("Usage: tally " + name, self.run_tally(*name.split(), "--help").stdout)

    def test_a_server_is_needed_and_named(self):
        self.assertIn("--server is not given", self.run_tally("status", code=2).stderr)

    def test_creating_again_changes_nothing(self):
        again = ("ledger", "create", "--id", "1", "--currency", "EUR", "--exponent", "2", "--name",
                 "EUR")
        self.assertIn("was there already",
                      self.run_tally(*again, role="business_operator").stdout)
        other = self.json(*again[:-1], "other", role="business_operator", code=1)
        self.assertEqual(other["result"], "EXISTS_WITH_DIFFERENT_NAME")

    def test_the_wrong_role_is_refused(self):
        done = self.json("ledger", "create", "--id", "9", "--currency", "EUR", "--exponent", "2",
                         "--name", "x", role="channel", code=3)
        self.assertEqual(done["error"]["exit_code"], 3)
        self.assertEqual(done["error"]["status"], "refused")

    def test_a_profile_that_says_two_things_is_refused(self):
        path = NODE.path("twice.profile", f"server = {NODE.address}\nserver = 127.0.0.1:1\n")
        self.assertIn("twice.profile:2: server appears twice",
                      self.run_tally("status", "--profile", path, code=2).stderr)

    def test_what_is_missing_is_null_or_empty_in_json(self):
        shown = []
        for more in (["--value-date", "2026-11-23"], []):
            made = self.json("transfer", "create", "--debit", "1", "--credit", "2", "--amount",
                             "0.01", "--ledger", "1", "--code", "7", *more, role="channel")
            shown.append(self.json("transfer", "show", made["transfer"], role="auditor"))
        self.assertEqual(list(shown[0]), list(shown[1]))
        self.assertEqual([each["value_date"] for each in shown], ["2026-11-23", None])
        self.assertEqual(self.json("account", "show", "1", role="auditor")["flags"], "")

    def test_a_transfer_is_shown_as_it_was_made(self):
        id = "00000000-0000-0000-0000-00000000abcd"
        before = self.posted("2")
        made = self.json("transfer", "create", "--id", id, "--debit", "1", "--credit", "2",
                         "--amount", "12.34", "--ledger", "1", "--code", "7", "--value-date",
                         "2026-11-23", "--user-data-64", "18446744073709551615", role="channel")
        self.run_tally("transfer", "create", "--debit", "1", "--credit", "2", "--amount", "1",
                       "--ledger", "1", "--code", "7", "--user-data-64", "18446744073709551616",
                       role="channel", code=2)
        self.assertEqual(made["result"], "OK")
        self.assertEqual(self.posted("2"), (before[0], before[1] + 1234))
        shown = self.json("transfer", "show", id, role="auditor")
        self.assertEqual(shown["amount"], {"amount": "12.34", "minor": "1234"})
        self.assertEqual(shown["value_date"], "2026-11-23")
        self.assertEqual(shown["user_data_64"], "18446744073709551615")
        self.assertEqual(shown["result"], "OK")
        self.assertEqual(shown["credit_account_id"], "0" * 31 + "2")

        request = self.json("request", "show", made["identity"], role="channel")
        self.assertEqual(request["outcome"], "EXECUTED")
        self.assertEqual(request["results"], ["OK"])
        # the same identity and content again: the original answer, nothing changes
        again = self.json("transfer", "create", "--id", id, "--debit", "1", "--credit", "2",
                          "--amount", "12.34", "--ledger", "1", "--code", "7", "--value-date",
                          "2026-11-23", "--user-data-64", "18446744073709551615", "--identity",
                          made["identity"], role="channel")
        self.assertEqual(again, made)
        # the same identity with other content
        other = self.json("transfer", "create", "--id", id, "--debit", "1", "--credit", "2",
                          "--amount", "99", "--ledger", "1", "--code", "7", "--identity",
                          made["identity"], role="channel", code=3)
        self.assertEqual(other["error"]["outcome"], "NONCE_REUSED")
        self.assertEqual(self.posted("2"), (before[0], before[1] + 1234))

    def test_amounts_that_do_not_fit_are_refused_before_sending(self):
        for amount in ("1.234", "-1", "1,000", "1e3", ""):
            done = self.run_tally("transfer", "create", "--debit", "1", "--credit", "2",
                                  "--amount=" + amount, "--ledger", "1", "--code", "7",
                                  role="channel", code=2)
            self.assertIn("--amount", done.stderr)

    def test_a_fenced_request_never_executes(self):
        identity = f"{os.urandom(16).hex()}:{time.time_ns()}"
        self.assertEqual(self.json("request", "show", identity, role="channel",
                                   code=1)["outcome"], "NOT_YET_SEEN")
        self.assertEqual(self.json("request", "fence", identity, role="channel")["outcome"],
                         "REQUEST_FENCED")
        refused = self.json("transfer", "create", "--id", "4711", "--debit", "1", "--credit", "2",
                            "--amount", "1", "--ledger", "1", "--code", "7", "--identity", identity,
                            role="channel", code=3)
        self.assertEqual(refused["error"]["outcome"], "REQUEST_FENCED")
        self.run_tally("transfer", "show", "4711", role="channel", code=1)

    def test_principals_are_listed_and_changed(self):
        self.run_tally("principal", "set", "--uri", "spiffe://tallystick/channel/two", "--name",
                       "channel/two", "--role", "channel", role="site_operator")
        listed = self.json("principal", "list", role="site_operator")["principals"]
        self.assertIn({"uri": "spiffe://tallystick/channel/two", "name": "channel/two",
                       "role": "channel", "in_flight_max": 0}, listed)

    def test_issued_certificates_work_once_they_are_listed(self):
        issued = self.run_tally("pki", "issue", NODE.pki, "--role", "auditor", "--name", "second",
                                "--server", NODE.address)
        self.assertIn("principal set", issued.stderr)
        self.run_tally("trial-balance", "--ledger", "1", role="auditor-second", code=3)
        self.run_tally("principal", "set", "--uri", "spiffe://tallystick/auditor/second", "--name",
                       "auditor/second", "--role", "auditor", role="site_operator")
        self.run_tally("trial-balance", "--ledger", "1", role="auditor-second")

    def make_ended_certificate(self, directory):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)
        with open(os.path.join(directory, "ca.conf"), "w", encoding="ascii") as file:
            file.write("[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nserial=serial\n"
                       "policy=p\ndefault_md=sha256\n[p]\ncommonName=supplied\n")
        for name, text in (("index", ""), ("serial", "01\n")):
            with open(os.path.join(directory, name), "w", encoding="ascii") as file:
                file.write(text)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=gone", "-keyout", "gone.key", "-out", "gone.csr")
        openssl("ca", "-batch", "-config", "ca.conf", "-selfsign", "-keyfile", "gone.key", "-in",
                "gone.csr", "-out", "gone.pem", "-startdate", "20250101000000Z", "-enddate",
                "20250102000000Z", "-notext")

    def test_pki_show_names_the_certificate_that_ends_first(self):
        with tempfile.TemporaryDirectory() as directory:
            pki = os.path.join(directory, "pki")
            self.run_tally("pki", "init", pki)
            self.run_tally("pki", "issue", pki, "--role", "auditor", "--name", "brief", "--days", "2")
            rows = self.json("pki", "show", pki)["certificates"]
            self.assertEqual((rows[0]["file"], rows[0]["name"]),
                             ("auditor-brief.pem", "spiffe://tallystick/auditor/brief"))
            self.assertIn(rows[0]["days_left"], (1, 2))
            self.assertEqual((rows[-1]["file"], rows[-1]["name"]), ("ca.pem", "Tallystick CA"))
            self.assertIn("days", self.run_tally("pki", "show", pki).stdout)
            self.make_ended_certificate(directory)
            self.assertIn("ENDED", self.run_tally("pki", "show", directory, code=1).stdout)
            with open(os.path.join(directory, "no.pem"), "w", encoding="ascii") as file:
                file.write("nothing")
            self.assertIn("no.pem", self.run_tally("pki", "show", directory, code=2).stderr)
            self.run_tally("pki", "show", os.path.join(directory, "none"), code=2)

    def test_what_is_not_there_is_named_with_the_next_step(self):
        listed = NODE.tally("account", "list", "--ledger", "77", role="auditor")
        self.assertEqual(listed.returncode, 1)
        self.assertIn("no ledger 77", listed.stderr)
        issued = NODE.tally("pki", "issue", "nowhere", "--role", "channel", "--name", "x")
        self.assertEqual(issued.returncode, 2)
        self.assertIn("tally pki init nowhere", issued.stderr)

    def test_a_directory_is_never_made_twice(self):
        self.assertIn("not overwritten",
                      self.run_tally("pki", "init", NODE.pki, code=2).stderr)
        self.assertIn("is a node already",
                      self.run_tally("node", "init", NODE.node, "--pki", NODE.pki, "--allow-root",
                                     code=2).stderr)

    @unittest.skipIf(os.geteuid() != 0, "only root gives a directory to another user")
    def test_a_node_made_for_a_user_starts_as_that_user(self):
        # what a package does: root makes certificates and node, nobody runs it; --check-config
        # looks with the eyes of that user
        os.chmod(NODE.directory, 0o755)
        node = os.path.join(NODE.directory, "for-nobody")
        self.run_tally("node", "init", node, "--pki", NODE.pki, "--user", "nobody", "--listen",
                       "127.0.0.1:0", "--ops", "127.0.0.1:0", "--segment-bytes", str(4 << 20),
                       "--reserve-bytes", "0")
        self.assertEqual(os.stat(os.path.join(node, "tls", "node-1.key")).st_mode & 0o777, 0o600)
        config = os.path.join(node, "tallyd.yaml")
        checked = subprocess.run([TALLYD, "--check-config", "--config", config],
                                 capture_output=True, timeout=60, encoding="utf-8")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        started = subprocess.Popen([TALLYD, "--config", config], stderr=subprocess.PIPE,
                                   encoding="utf-8")
        try:
            seen = ""
            for line in started.stderr:
                seen += line
                if "event=node_serving" in line or "event=start_failed" in line:
                    break
            self.assertIn("event=privileges_dropped user=nobody", seen)
            self.assertIn("event=node_serving", seen)
            started.send_signal(signal.SIGHUP)
            self.assertIn("event=certificates_reloaded", started.stderr.readline())
        finally:
            started.terminate()
            started.stderr.read()
            started.stderr.close()
            self.assertEqual(started.wait(timeout=60), 0)

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([TALLY, "ledger", "list", "--profile",
                                   os.path.join(NODE.pki, "auditor.profile")], stdout=full,
                                  stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 7)


HEADER = "debit_account_id,credit_account_id,amount,code,ledger\n"


class Import(Case):
    def test_rows_are_posted_once_however_often_they_are_imported(self):
        before = self.posted("1")
        text = HEADER + "1,2,1.00,5,1\n1,2,1.00,5,1\n"  # two equal payments are two payments
        first = self.import_(text, code=0)
        self.assertEqual((first["posted"], first["already_there"]), (2, 0))
        second = self.import_(text, code=0)
        self.assertEqual((second["posted"], second["already_there"]), (0, 2))
        piped = json.loads(self.run_tally("--json", "transfer", "import", "-", role="channel",
                                          input=text).stdout)
        self.assertEqual(piped["already_there"], 2)
        self.assertEqual(piped["sha256"], first["sha256"])
        self.assertEqual(self.posted("1"), (before[0] + 200, before[1]))

    def test_bad_rows_are_rejected_with_line_and_reason_and_stop_nothing(self):
        rejects = NODE.path("rejects.csv")
        lines = [
            "1,2,0.01,5,1",            # 2: good
            "1,2,0.011,5,1",           # 3
            '"1,2,0.01,5,1',           # 4: costs itself only
            "1,2,0.01,5",              # 5
            "1,99,0.01,5,1",           # 6
            "1,1,0.01,5,1",            # 7
            "1,2,0.00,5,1",            # 8
            "3,1,0.01,5,1",            # 9: limited, no credits
            "1,2,1,5,2",               # 10
            "1,4,0.01,5,1",            # 11
            "1,2,0.01,5,3",            # 12
            "1,2," + "9" * 70000 + ",5,1",  # 13
            "1,2,0.0\0001,5,1",        # 14
            "1,2,0.01,5,1",            # 15: good
        ]
        text = HEADER + "\r\n".join(lines) + "\n"
        done = self.import_("\ufeff" + text, "--rejects", rejects, code=1)
        self.assertEqual((done["posted"], done["rejected"], done["rows"]), (2, 12, 14))
        with open(rejects, encoding="utf-8") as file:
            rows = file.read().splitlines()
        self.assertEqual(rows[0], "line,result,reason,row")
        self.assertEqual([row.split(",")[:2] for row in rows[1:]], [
            ["3", "ROW_INVALID"], ["4", "ROW_INVALID"], ["5", "ROW_INVALID"],
            ["6", "CREDIT_ACCOUNT_NOT_FOUND"], ["7", "ACCOUNTS_SAME"], ["8", "AMOUNT_ZERO"],
            ["9", "EXCEEDS_CREDITS"], ["10", "TRANSFER_ON_OTHER_LEDGER"],
            ["11", "ACCOUNTS_ON_DIFFERENT_LEDGERS"], ["12", "ROW_INVALID"], ["13", "ROW_INVALID"],
            ["14", "ROW_INVALID"]])
        # again: the same rows for the same reasons, although their ids are burned by now
        again = self.import_("\ufeff" + text, "--rejects", rejects, code=1)
        self.assertEqual((again["posted"], again["already_there"], again["rejected"]), (0, 2, 12))
        with open(rejects, encoding="utf-8") as file:
            second = file.read().splitlines()
        self.assertEqual([row.split(",")[:2] for row in rows], [row.split(",")[:2] for row in second])
        self.assertIn("refused before", second[4])

    def test_rejects_go_to_stderr_by_default(self):
        path = NODE.path("import.csv", HEADER + "1,1,0.01,5,1\n")
        done = self.run_tally("transfer", "import", path, role="channel", code=1)
        self.assertIn("line 2: ACCOUNTS_SAME: ", done.stderr)

    def test_files_that_cannot_be_meant_are_refused_whole(self):
        before = self.posted("1")
        for text, words in (
                ("", "is empty"),
                ("1,2,3.00,5,1\n", "column 1 \"1\" is not known"),
                ("debit_account_id,amount\n1,2\n", "\"credit_account_id\" is missing"),
                (HEADER + "1,2,3.00,5,1", "does not end with a newline"),
                (HEADER.encode("utf-16-be"), "NUL")):
            path = NODE.path("import.csv", text)
            done = self.run_tally("transfer", "import", path, role="channel", code=2)
            self.assertIn(words, done.stderr)
        self.assertIn("cannot open", self.run_tally("transfer", "import", "/nowhere", role="channel",
                                                    code=2).stderr)
        self.assertEqual(self.posted("1"), before)

    def test_a_last_line_without_newline_can_be_vouched_for(self):
        done = self.import_(HEADER + "1,2,0.01,5,1", "--last-line-is-complete", code=0)
        self.assertEqual(done["posted"], 1)

    def test_the_input_is_never_taken_for_the_rejects(self):
        path = NODE.path("import.csv", HEADER + "1,1,0.01,5,1\n")
        done = self.run_tally("transfer", "import", path, "--rejects", path, role="channel", code=7)
        self.assertIn("names the input itself", done.stderr)
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), HEADER + "1,1,0.01,5,1\n")

    def test_ids_of_the_file_are_taken_and_clashes_are_named(self):
        text = "id," + HEADER + "name:clash,1,2,1.00,5,1\nname:clash,1,2,2.00,5,1\n"
        done = self.import_(text, code=1)
        self.assertEqual((done["posted"], done["rejected"]), (1, 1))

    def test_many_requests_in_flight_count_the_same(self):
        text = HEADER + "".join(f"1,2,0.{n % 99 + 1:02d},5,1\n" for n in range(3000))
        before = self.posted("2")
        done = self.import_(text, "--batch", "100", "--in-flight", "8", code=0)
        self.assertEqual(done["posted"], 3000)
        again = self.import_(text, "--batch", "77", "--in-flight", "3", code=0)
        self.assertEqual(again["already_there"], 3000)
        total = sum(n % 99 + 1 for n in range(3000))
        self.assertEqual(self.posted("2"), (before[0], before[1] + total))


class Interrupted(Case):
    def start_import(self, path, *arguments):
        return subprocess.Popen(
            [TALLY, "--json", "transfer", "import", path, "--profile",
             os.path.join(NODE.pki, "channel.profile"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")

    def rows_posted(self):
        return int(self.json("status", role="auditor")["count"]["transfers"])

    def big_file(self, name, count):
        # the name makes the content, and with it the ids of the rows, this file's own
        code = 10000 + zlib.crc32(name.encode()) % 50000
        return NODE.path(name, HEADER + f"1,2,0.01,{code},1\n" * count)

    def strike_in_the_middle(self, name, strike, margin, counts, *arguments):
        """Imports a file and calls strike(path) while at least `margin` of its rows are not posted:
        the import is stopped for the moment, and a file that was too small for this machine's speed
        gives way to a larger one. Returns (path, count, balance before, exit code, stdout, stderr).
        """
        for count in counts:
            path = self.big_file(f"{count}-{name}", count)
            balance = self.posted("2")
            first = self.rows_posted()
            running = self.start_import(path, *arguments)
            while running.poll() is None and self.rows_posted() < first + 100:
                time.sleep(0.01)
            running.send_signal(signal.SIGSTOP)
            self.importing = running
            struck = self.rows_posted() - first < count - margin
            if struck:
                strike(path)
            running.send_signal(signal.SIGCONT)
            if not struck:
                running.communicate(timeout=120)
                continue
            yield running
            out, err = running.communicate(timeout=120)
            return path, count, balance, running.returncode, out, err
        self.fail("every import was over before it could be interrupted")

    def test_a_killed_node_costs_an_import_nothing(self):
        steps = self.strike_in_the_middle("killed.csv", lambda _: NODE.stop(signal.SIGKILL), 500,
                                          (3000, 12000, 48000), "--batch", "20")
        next(steps)
        NODE.start()
        _, count, before, code, out, err = self.rest_of(steps)
        self.assertEqual(code, 0, err)
        done = json.loads(out)
        self.assertEqual(done["posted"] + done["already_there"], count)
        self.assertEqual(self.posted("2"), (before[0], before[1] + count))

    def test_an_interrupted_import_says_what_to_do_and_is_run_again(self):
        steps = self.strike_in_the_middle(
            "interrupted.csv", lambda _: self.importing.send_signal(signal.SIGINT), 500,
            (3000, 12000, 48000), "--batch", "20")
        next(steps)
        path, count, before, code, _, err = self.rest_of(steps)
        self.assertEqual(code, -signal.SIGINT, err)
        self.assertIn("interrupted", err)
        self.assertIn("Run the same import again", err)
        again = self.json("transfer", "import", path, role="channel")
        self.assertEqual(again["posted"] + again["already_there"], count)
        self.assertGreater(again["posted"], 0)
        self.assertGreater(again["already_there"], 0)
        self.assertEqual(self.posted("2"), (before[0], before[1] + count))

    def rest_of(self, steps):
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        raise AssertionError("one step too many")

    def test_a_node_that_hangs_leaves_the_outcome_unknown_and_the_next_run_settles_it(self):
        steps = self.strike_in_the_middle(
            "hangs.csv", lambda _: NODE.process.send_signal(signal.SIGSTOP), 500,
            (3000, 12000, 48000), "--batch", "20", "--deadline", "2")
        next(steps)
        try:
            path, count, before, code, out, err = self.rest_of(steps)
        finally:
            NODE.process.send_signal(signal.SIGCONT)
        self.assertEqual(code, 5, out + err)
        self.assertIn("run the same import again", err)
        first = json.loads(out)
        self.assertEqual(first["unknown"], 20)
        self.assertGreater(first["undecided_first_line"], 1)
        second = self.json("transfer", "import", path, role="channel")
        self.assertGreaterEqual(second["already_there"], first["posted"])
        self.assertEqual(second["posted"] + second["already_there"], count)
        self.assertEqual(self.posted("2"), (before[0], before[1] + count))

    def test_without_a_node_nothing_is_sent(self):
        NODE.stop()
        try:
            path = NODE.path("import.csv", HEADER + "1,2,0.01,5,1\n")
            done = self.json("transfer", "create", "--debit", "1", "--credit", "2", "--amount", "1",
                             "--ledger", "1", "--code", "7", "--deadline", "1", role="channel",
                             code=4)
            self.assertEqual(done["error"]["status"], "not sent")
            self.run_tally("transfer", "import", path, "--deadline", "1", role="channel", code=4)
        finally:
            NODE.start()

    def test_a_file_that_changes_during_its_import_is_noticed(self):
        def change(path):  # the last row, same size
            with open(path, "r+", encoding="ascii") as file:
                file.seek(os.path.getsize(path) - len("1,2,0.01,12345,1\n"))
                file.write("1,2,0.02")

        # reading is ahead of posting by about 8 000 of these rows
        steps = self.strike_in_the_middle("changes.csv", change, 30000, (60000, 240000), "--batch",
                                          "50")
        next(steps)
        _, _, _, code, _, err = self.rest_of(steps)
        self.assertEqual(code, 6, err)
        self.assertIn("changed while it was imported", err)

    def test_what_a_file_grows_or_loses_during_its_import_is_not_posted(self):
        # Somebody still writes: half a row, "0.01" as far as "0", stands at the end. Or the file is
        # cut in the middle of a row. Neither half may become a transfer.
        def grow(path):
            with open(path, "a", encoding="ascii") as file:
                file.write("1,2,7777,12345,1")

        def cut(path):
            os.truncate(path, os.path.getsize(path) - len(",12345,1\n") - 1)

        for name, change, lost in (("grows.csv", grow, 0), ("shrinks.csv", cut, 1)):
            steps = self.strike_in_the_middle(name, change, 30000, (60000, 240000), "--batch", "50",
                                              "--ledger", "1", "--code", "7")
            next(steps)
            _, count, before, code, out, err = self.rest_of(steps)
            self.assertEqual(code, 6, out + err)
            self.assertIn("changed while it was imported", err)
            done = json.loads(out)
            self.assertEqual((done["posted"], done["rejected"]), (count - lost, 0))
            self.assertEqual(self.posted("2"), (before[0], before[1] + count - lost))


class Demo(Case):
    def test_the_generators_file_gives_exactly_what_it_promises(self):
        examples = NODE.path("examples")
        subprocess.run([sys.executable, GENERATOR, "--seed", "7", "--accounts", "200",
                        "--transfers", "20000", "--out", examples], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        with open(os.path.join(examples, "expected.json"), encoding="ascii") as file:
            expected = json.load(file)
        # its treasury is account 1, which this file made with another code: use a name of its own
        for name in ("accounts.csv", "transfers.csv"):
            path = os.path.join(examples, name)
            with open(path, encoding="ascii") as file:
                text = file.read()
            with open(path, "w", encoding="ascii") as file:
                file.write(text.replace("\n1,1,1000,", "\nname:treasury,1,1000,")
                           .replace("\n,1,", "\n,name:treasury,"))
        accounts = self.json("account", "create", "--file", os.path.join(examples, "accounts.csv"),
                             role="business_operator")
        self.assertEqual(accounts["posted"], expected["accounts"])
        rejects = NODE.path("rejects.csv")
        done = self.json("transfer", "import", os.path.join(examples, "transfers.csv"), "--rejects",
                         rejects, role="channel", code=1)
        self.assertEqual((done["rows"], done["posted"], done["rejected"]),
                         (expected["rows"], expected["posted"], expected["rejected"]))
        counts = {}
        with open(rejects, encoding="ascii") as file:
            for line in file.read().splitlines()[1:]:
                result = line.split(",")[1]
                counts[result] = counts.get(result, 0) + 1
        self.assertEqual(counts, expected["results"])
        balance = self.json("trial-balance", "--ledger", "1", role="auditor")
        self.assertTrue(balance["balanced"])
        self.assertEqual(balance["debits_posted"], balance["credits_posted"])

    def test_the_export_is_every_transfer_in_order(self):
        lines = self.run_tally("transfer", "export", role="auditor").stdout.splitlines()
        sequences = [int(json.loads(line)["sequence"]) for line in lines]
        self.assertEqual(sequences, list(range(len(sequences))))
        self.assertEqual(len(lines), self.json("status", role="auditor")["count"]["transfers"])

    def test_a_reader_that_has_seen_enough_is_told_once(self):
        # more than a pipe holds, so that the export is not over when its reader goes
        self.import_(HEADER + "1,2,0.01,1,1\n" * 2000, code=0, name="enough.csv")
        export = subprocess.Popen([TALLY, "transfer", "export", "--profile",
                                   os.path.join(NODE.pki, "auditor.profile")],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        self.assertIn("sequence", export.stdout.readline())
        export.stdout.close()  # as "| head -n 1" does
        messages = export.stderr.read()
        export.stderr.close()
        self.assertEqual(export.wait(timeout=60), 7)
        self.assertEqual(messages, "tally: the output could not be written\n")


class Verify(Case):
    def test_a_stopped_nodes_files_are_sound_and_a_flipped_bit_is_found(self):
        NODE.stop()
        try:
            journal = self.json("journal", "verify", NODE.node)
            self.assertTrue(journal["sound"])
            self.assertGreater(journal["entries"], 10)
            self.run_tally("store", "verify", NODE.node)
            directory = os.path.join(NODE.node, "data", "journal-1")
            name = sorted(name for name in os.listdir(directory)
                          if os.path.getsize(os.path.join(directory, name)) > 4096)[0]
            with open(os.path.join(directory, name), "r+b") as segment:
                segment.seek(100000)
                byte = segment.read(1)[0]
                segment.seek(100000)
                segment.write(bytes([byte ^ 4]))
                segment.flush()
                damaged = self.json("journal", "verify", NODE.node, code=6)
                segment.seek(100000)
                segment.write(bytes([byte]))
            self.assertFalse(damaged["sound"])
            self.assertEqual(damaged["damage"]["segment"], name)
            self.run_tally("journal", "verify", NODE.node)
        finally:
            NODE.start()

    def test_a_directory_that_is_no_node_is_a_usage_error(self):
        self.run_tally("journal", "verify", "/nowhere", code=2)
        self.run_tally("store", "verify", NODE.pki, code=2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
