"""The process: start, refusal to start, reload, drain, and the configuration check."""
import os
import shutil
import signal
import subprocess
import threading
import time

import grpc

import client
from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))


def with_accounts(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1)]) == [0]
    assert business.create_accounts([account(A), account(B)]) == [0, 0]
    return node


class Load:
    """Threads that send transfers until told to stop, and remember what was acknowledged."""

    def __init__(self, node, threads=4, size=20):
        self.acknowledged, self.codes, self.odd = [], {}, []
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(node.api("channel"), size),
                                         daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, api, size):
        while not self.stop.is_set():
            batch = [transfer(A, B, 1) for _ in range(size)]
            answer = api.raw("CreateTransfers", api.write_body(
                "CreateTransfers", "transfers", batch), timeout=20, wait=False)
            with self.lock:
                name = answer.code.name
                self.codes[name] = self.codes.get(name, 0) + 1
                if name == "OK":
                    results = api.methods["CreateTransfers"][2].FromString(answer.body).results
                    self.acknowledged += [b["id"] for b, r in zip(batch, results) if r == 0]
                elif name not in ("UNAVAILABLE", "CANCELLED"):
                    self.odd.append(repr(answer))
            if name != "OK":
                time.sleep(0.02)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(40)


# SIGTERM under load: exit status 0 within bounds; whatever was acknowledged is there after the
# restart, balances say the same, and no request was answered with an invented failure.
def test_sigterm_drains_under_load(t):
    node = with_accounts(t.fresh_node())
    load = Load(node)
    t.eventually(lambda: len(load.acknowledged) > 200, text="load runs")
    began = time.monotonic()
    t.equal(node.terminate(), 0, "exit status")
    t.true(time.monotonic() - began < 40, "drained in time")
    time.sleep(0.2)
    load.end()
    t.equal(load.odd, [], "answers other than OK and UNAVAILABLE")
    node.start()
    channel = node.api("channel")
    for first in range(0, len(load.acknowledged), 8000):
        part = load.acknowledged[first:first + 8000]
        t.equal([x.id for x in channel.transfers(*part) if not x.refused], part, "acknowledged")
    trial = channel.ask("TrialBalance", ledger=1)
    t.true(trial.balanced and client.amount(trial.debits_posted) >= len(load.acknowledged),
           "posted at least what was acknowledged")


# Ready again after a graceful stop and after kill -9, with nothing lost either way and the same
# digest.
def test_restart_keeps_the_digest(t):
    node = with_accounts(t.fresh_node())
    channel = node.api("channel")
    for _ in range(20):
        channel.create_transfers([transfer(A, B, 1) for _ in range(100)])
    before = channel.ask("TrialBalance", ledger=1).digest
    for stop in (node.kill, node.terminate, node.kill):
        stop()
        node.start()
        trial = node.api("channel").ask("TrialBalance", ledger=1)
        t.equal(trial.digest, before, "digest after restart")
        t.true(trial.balanced, "balanced")


# A second process on the same directory is refused in words; the first is not disturbed.
def test_second_process_is_refused(t):
    node = with_accounts(t.fresh_node())
    status, output = node.run_to_exit()
    t.true(status > 0, "exit status %d" % status)
    t.contains(output, node.data, "the directory is named")
    t.equal(node.api("channel").create_transfers([transfer(A, B, 1)]), [0], "first one")


# Directories that cannot be used: missing, not made by node init, a plain file.
def test_unusable_directories_are_refused(t):
    for what in ("missing", "empty", "file"):
        node = t.new_node()
        if what == "empty":
            os.mkdir(node.data)
        elif what == "file":
            with open(node.data, "w"):
                pass
        status, output = node.run_to_exit()
        t.true(status > 0, "%s: exit status %d" % (what, status))
        t.contains(output, node.data, "%s: the directory is named" % what)
        if what != "file":
            t.contains(output, "node init", "%s: the next step" % what)


# A directory whose files the user may not write: refused, and left as it was.
def test_unwritable_directory_is_refused(t):
    if os.geteuid() != 0:
        t.skip("needs root to run tallyd as another user")
    node = t.new_node()
    node.init()
    for directory in (t.run.scratch, node.directory):
        os.chmod(directory, 0o755)
    # The certificate files belong to that user, so that it is the directory that is refused.
    readable = os.path.join(node.directory, "tls")
    os.mkdir(readable)
    for key in ("certificate", "key", "ca", "crl"):
        copy = os.path.join(readable, key)
        shutil.copy(node.config["tls"][key], copy)
        os.chown(copy, 65534, 65534)
        os.chmod(copy, 0o600)
        node.config["tls"][key] = copy
    node.write_config()
    program = shutil.copy(node.programs.tallyd, node.directory)  # the build may be out of reach
    subprocess.run(["chmod", "-R", "a+rX", node.data], check=True)
    before = sorted(os.listdir(node.data))
    done = subprocess.run([program, "--config", node.config_path], user=65534,
                          group=65534, extra_groups=[], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    t.true(done.returncode > 0, "exit status %d" % done.returncode)
    t.contains(done.stdout.decode(), node.data, "the directory is named")
    t.equal(sorted(os.listdir(node.data)), before, "files")


# Root without a user to change to, and without allow_root, is refused.
def test_root_needs_a_user_or_a_word(t):
    if os.geteuid() != 0:
        t.skip("needs root")
    node = t.new_node()
    node.init()
    node.config["node"]["allow_root"] = False
    status, output = node.run_to_exit()
    t.true(status > 0, "exit status %d" % status)
    t.contains(output, "root")


# SIGHUP takes a new list of revoked certificates and a new server certificate; broken files change
# nothing, with a line in the log; calls in flight go on.
def test_sighup_reloads_certificates(t):
    node = t.new_node()
    for key, source in (("certificate", node.security.server.certificate),
                        ("key", node.security.server.key),
                        ("crl", node.security.authority.crl)):
        copy = os.path.join(node.directory, os.path.basename(source))
        shutil.copy(source, copy)
        node.config["tls"][key] = copy
    with_accounts(node.init().start())
    authority = node.security.authority
    leaver = authority.issue("leaver%d" % os.getpid(), ["tally://test/channel"])
    open_before = node.api("channel")
    t.code(node.api(leaver).raw("ListLedgers", b""), "OK", "before it is revoked")
    authority.revoke(leaver)
    shutil.copy(authority.crl, node.config["tls"]["crl"])
    renewed = authority.issue_server("renewed%d" % os.getpid(), "tally://test/node/1")
    shutil.copy(renewed.certificate, node.config["tls"]["certificate"])
    shutil.copy(renewed.key, node.config["tls"]["key"])
    node.signal(signal.SIGHUP)

    def leaver_is_refused():
        api = node.api(leaver)
        answer = api.raw("ListLedgers", b"", timeout=5, wait=False)
        api.close()
        return answer.code == grpc.StatusCode.UNAVAILABLE

    t.eventually(leaver_is_refused, text="the revoked certificate is refused")
    shown = subprocess.run(["openssl", "s_client", "-connect",
                            "127.0.0.1:%d" % node.ports["grpc"], "-alpn", "h2"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, timeout=30).stdout.decode()
    t.contains(shown, "CN = renewed", "the certificate shown")
    t.equal(open_before.create_transfers([transfer(A, B, 1)]), [0], "open connection")

    with open(node.config["tls"]["certificate"], "w") as file:
        file.write("no certificate\n")
    lines = len(node.log_text().splitlines())
    node.signal(signal.SIGHUP)
    t.eventually(lambda: node.config["tls"]["certificate"] in
                 "\n".join(node.log_text().splitlines()[lines:]),
                 text="the log names the broken file")
    t.equal(node.api("channel").create_transfers([transfer(A, B, 1)]), [0], "old ones serve on")


# --check-config: silent consent, and for each kind of mistake the place of it. Nothing is opened.
def test_check_config(t):
    node = t.new_node()
    node.init()
    status, output = node.run_to_exit(["--check-config"])
    t.equal(status, 0, output)
    t.true(node.read_ports() is None, "it did not listen")
    for section, key, value, named in (
            ("node", "directroy", "x", "directroy"),
            ("listen", "grpc", "127.0.0.1", "grpc"),
            ("listen", "grpc", "127.0.0.1:99999", "grpc"),
            ("listen", "ops", "no address", "ops"),
            ("checkpoint", "transfers", "many", "transfers"),
            ("checkpoint", "transfers", 1, "transfers"),
            ("journal", "segment_bytes", 12345, "segment_bytes"),
            ("tls", "key", "/no/such.key", "/no/such.key"),
            ("log", "level", "chatty", "level")):
        bad = t.new_node()
        bad.config["node"]["directory"] = node.data
        bad.config.setdefault(section, {})[key] = value
        status, output = bad.run_to_exit(["--check-config"])
        t.true(status > 0, "%s.%s: %r passed: %s" % (section, key, value, output))
        t.contains(output, named, "%s.%s: %r" % (section, key, value))
    missing = t.new_node()
    del missing.config["tls"]["key"]
    status, output = missing.run_to_exit(["--check-config"])
    t.true(status > 0, "no key passed")
    t.contains(output, "key")
    t.true(not os.path.exists(missing.data), "nothing was created")


# --check-config sees what the start would: a missing directory and user, a key of another
# certificate, files that only root can read.
def test_check_config_looks_as_the_start_does(t):
    node = t.new_node()
    node.init()
    other = node.security.authority.issue("other-server", ["tally://test/node/9"],
                                          usage="serverAuth,clientAuth")
    expired = node.security.authority.issue("old-server", ["tally://test/node/1"],
                                            usage="serverAuth,clientAuth", days=(-3, -1))
    rows = [("node", {"directory": "/no/such/data"}, "/no/such/data"),
            ("tls", {"key": other.key}, "key"),
            ("tls", {"certificate": expired.certificate, "key": expired.key}, "has expired")]
    if os.geteuid() == 0:
        rows += [("node", {"user": "no-such-user"}, "no-such-user"),
                 ("node", {"user": "nobody"}, "Permission denied")]
    for section, values, named in rows:
        bad = t.new_node()
        bad.config["node"]["directory"] = node.data
        bad.config[section].update(values)
        status, output = bad.run_to_exit(["--check-config"])
        t.true(status > 0, "%s: %r passed: %s" % (section, values, output))
        t.contains(output, named, "%s: %r" % (section, values))


# A certificate that has expired stops the start in words, not at the first client.
def test_expired_server_certificate_is_refused(t):
    node = t.new_node()
    expired = node.security.authority.issue("old-server", ["tally://test/node/1"],
                                            usage="serverAuth,clientAuth", days=(-3, -1))
    node.config["tls"].update(certificate=expired.certificate, key=expired.key)
    node.init()
    status, output = node.run_to_exit()
    t.true(status > 0, "exit status %d" % status)
    t.contains(output, expired.certificate, "the file is named")
    t.contains(output, "expired")
