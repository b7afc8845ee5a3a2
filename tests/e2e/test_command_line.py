"""`tally`, the command line, from certificates to a verified journal: its output for programs, its
exit codes, and imports that may be repeated."""
import json
import os
import subprocess
import threading
import time

DONE, SOME_REFUSED, USAGE, REFUSED, UNREACHABLE, DAMAGED = 0, 1, 2, 3, 4, 6
HEADER = "debit_account_id,credit_account_id,amount,code\n"


class CommandLine:
    """A node made by `tally pki init` and `tally node init`, and commands to it by role."""

    def __init__(self, t):
        self.node = t.new_node()
        self.programs = t.run.programs
        self.pki = os.path.join(self.node.directory, "own-pki")
        self.run_local("pki", "init", self.pki)
        self.run_local("node", "init", os.path.join(self.node.directory, "own"), "--pki", self.pki,
                       "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--segment-bytes",
                       str(4 << 20), "--reserve-bytes", str(1 << 20),
                       *(["--allow-root"] if os.geteuid() == 0 else []))
        self.node.data = os.path.join(self.node.directory, "own", "data")
        self.node.config_path = os.path.join(self.node.directory, "own", "tallyd.yaml")
        self.node.write_config = lambda: None       # what node init wrote is what is tested

    def run_local(self, *arguments, expect=DONE, **options):
        """(standard output, standard error) of a command that ends with the expected code."""
        done = subprocess.run([self.programs.tally] + list(arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120, **options)
        out, err = done.stdout.decode(), done.stderr.decode(errors="replace")
        if done.returncode != expect:
            raise AssertionError("tally %s: exit %d, expected %d\n%s%s" % (
                " ".join(arguments), done.returncode, expect, out, err))
        return out, err

    def arguments(self, role):
        return ["--profile", os.path.join(self.pki, role + ".profile"), "--server",
                "127.0.0.1:%d" % self.node.ports["grpc"]]

    def run(self, role, *arguments, **options):
        return self.run_local(*arguments, *self.arguments(role), **options)

    def ask(self, role, *arguments, **options):
        """The answer for programs."""
        return json.loads(self.run(role, *arguments, "--json", **options)[0])

    def trial(self):
        return self.ask("auditor", "trial-balance", "--ledger", "1")

    def write(self, name, content):
        path = os.path.join(self.node.directory, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path


def with_accounts(t):
    line = CommandLine(t)
    line.node.start()
    line.run("business_operator", "ledger", "create", "--id", "1", "--currency", "EUR",
             "--exponent", "2", "--name", "Main")
    for name in ("a", "b"):
        line.run("business_operator", "account", "create", "--id", "name:" + name, "--ledger", "1",
                 "--code", "10")
    return line


# From nothing to a verified journal with the tools alone; wrong roles, amounts and addresses end
# with their documented exit codes.
def test_from_certificates_to_a_verified_journal(t):
    line = with_accounts(t)
    create = ("transfer", "create", "--debit", "name:a", "--credit", "name:b", "--ledger", "1",
              "--code", "1", "--amount")
    made = line.ask("channel", *create, "12.34")
    t.equal(made["result"], "OK")
    out, _ = line.run("auditor", "account", "show", "name:a")
    t.contains(out, "12.34 EUR")
    shown = line.ask("channel", "request", "show", made["identity"])
    t.contains(json.dumps(shown), "EXECUTED")
    _, words = line.run("channel", *create, "1.005", expect=USAGE)
    t.contains(words, "decimals")
    line.run("auditor", *create, "1.00", expect=REFUSED)
    line.run("channel", "transfer", "create", "--debit", "name:a", "--credit", "name:nobody",
             "--ledger", "1", "--code", "1", "--amount", "1", expect=SOME_REFUSED)
    t.equal(line.ask("auditor", "status")["phase"], "serving")
    trial = line.trial()
    t.equal((trial["balanced"], trial["debits_posted"]["minor"]), (True, "1234"))

    t.equal(line.node.terminate(), 0, "exit status")
    line.run_local("journal", "verify", line.node.data)
    line.run_local("store", "verify", line.node.data)
    line.run("auditor", "status", "--deadline", "1", expect=UNREACHABLE)
    segment = sorted(n for n in os.listdir(os.path.join(line.node.data, "journal-1"))
                     if n.endswith(".seg"))[0]
    with open(os.path.join(line.node.data, "journal-1", segment), "r+b") as file:
        file.seek(4500)
        byte = file.read(1)
        file.seek(4500)
        file.write(bytes([byte[0] ^ 1]))
    out, words = line.run_local("journal", "verify", line.node.data, expect=DAMAGED)
    t.contains(out + words, segment)


# Good and bad rows in one file: the good ones are posted, each bad one is reported with its line;
# the second import changes nothing.
def test_import_reports_bad_rows_and_repeats(t):
    line = with_accounts(t)
    path = line.write("rows.csv", HEADER + "name:a,name:b,1.00,1\nname:a,name:nobody,1.00,1\n"
                      "name:a,name:b,1.001,1\nname:a,name:a,1.00,1\nname:b,name:a,0.50,1\n"
                      "name:a,name:b,-1,1\nname:a,name:b\n")
    rejects = os.path.join(line.node.directory, "rejects.csv")
    told = line.ask("channel", "transfer", "import", path, "--ledger", "1", "--rejects", rejects,
                    expect=SOME_REFUSED)
    t.equal((told["posted"], told["rejected"], told["unknown"]), (2, 5, 0))
    with open(rejects) as file:
        t.equal([row.split(",")[0] for row in file.read().splitlines()],
                ["line", "3", "4", "5", "7", "8"], "lines")
    before = line.trial()
    told = line.ask("channel", "transfer", "import", path, "--ledger", "1", "--rejects", rejects,
                    expect=SOME_REFUSED)
    t.equal((told["posted"], told["already_there"], told["rejected"]), (0, 2, 5))
    after = line.trial()
    t.equal(after["debits_posted"], before["debits_posted"])
    exported = [json.loads(row) for row in
                line.run("auditor", "transfer", "export")[0].splitlines()]
    t.equal([row["result"] for row in exported], ["OK", "CREDIT_ACCOUNT_NOT_FOUND", "OK"])


# kill -9 while an import runs: it goes on by itself once the node is back, each row is posted once,
# and importing again changes nothing.
def test_import_survives_kill(t):
    line = with_accounts(t)
    # The node comes back at the same address.
    with open(line.node.config_path) as file:
        text = file.read()
    with open(line.node.config_path, "w") as file:
        file.write(text.replace('grpc: "127.0.0.1:0"',
                                'grpc: "127.0.0.1:%d"' % line.node.ports["grpc"]))
    rows, imported = 20000, 0

    def once():
        """Another file each time: an import may be over before a test that stood still looks again."""
        nonlocal imported
        path = line.write("many-%d.csv" % imported,
                          HEADER + "name:a,name:b,0.01,%d\n" % (imported + 1) * rows)
        results = []
        import_arguments = ("transfer", "import", path, "--ledger", "1", "--batch", "50",
                            "--in-flight", "2", "--deadline", "60", "--quiet")
        thread = threading.Thread(target=lambda: results.append(line.ask("channel",
                                                                         *import_arguments)))
        thread.start()
        kills = 0
        for _ in range(3):
            goal = imported * rows + kills * 4000 + 1000
            t.eventually(lambda: not thread.is_alive()
                         or line.node.status()["count"]["transfers"] > goal,
                         120, "the import gets on")
            if thread.is_alive():
                line.node.kill()
                kills += 1
                time.sleep(0.1)
                line.node.start()
        thread.join(150)
        t.true(results, "the import ended in order")
        t.equal((results[0]["posted"] + results[0]["already_there"], results[0]["unknown"]),
                (rows, 0))
        imported += 1
        t.equal(line.trial()["debits_posted"]["minor"], str(imported * rows))
        again = line.ask("channel", *import_arguments)
        t.equal((again["posted"], again["already_there"]), (0, rows))
        t.undisturbed(kills > 0, "the import was over before the first kill")

    t.attempts(once)


# Files that are no proper CSV: each is refused or reported in words, and posts nothing it should not.
def test_bad_files(t):
    line = with_accounts(t)
    good = "name:a,name:b,1.00,1\n"
    for what, content, code in (
            ("empty", b"", USAGE),
            ("no such column", "debit,credit,sum\n" + good, USAGE),
            ("a column twice", HEADER.replace("code", "amount") + good, USAGE),
            ("no newline at the end", HEADER + good.rstrip("\n"), None),
            ("a NUL", (HEADER + good).encode() + b"name:a,na\0me:b,1.00,1\n", None),
            ("an open quote", HEADER + '"name:a,name:b,1.00,1\n', None),
            ("not UTF-8", HEADER.encode() + b"\xff\xfe,name:b,1.00,1\n", None),
            ("a line of 64 MiB", HEADER.encode() + b"9" * (64 << 20) + b"\n", None)):
        path = line.write("bad.csv", content)
        done = subprocess.run([line.programs.tally, "transfer", "import", path, "--ledger", "1"]
                              + line.arguments("channel"), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        words = done.stdout.decode(errors="replace")
        t.true(done.returncode in ((code,) if code else (SOME_REFUSED, USAGE)),
               "%s: exit %d: %s" % (what, done.returncode, words[-500:]))
        t.true(len(words) < 100000 and words.strip(), "%s: words" % what)
    posted = int(line.trial()["debits_posted"]["minor"])
    t.true(posted <= 100, "at most the good row before the NUL: %d" % posted)
    # A byte order mark, CRLF and quotes are fine.
    path = line.write("fine.csv", b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode()
                      + b'"name:a","name:b","2.50",1\r\n')
    line.run("channel", "transfer", "import", path, "--ledger", "1")
    t.equal(int(line.trial()["debits_posted"]["minor"]), posted + 250)
