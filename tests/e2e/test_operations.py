"""Probes, metrics and status on the operations port."""
import http.client
import json
import re
import signal
import time

from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1)]) == [0]
    assert business.create_accounts([account(A), account(B)]) == [0, 0]


# Alive and ready, each with a word; unknown paths are 404, other methods 405.
def test_probes(t):
    for path in ("/livez", "/readyz"):
        status, text = t.node.get(path)
        t.equal(status, 200, path)
        t.true(text.strip(), "%s says something" % path)
    t.equal(t.node.get("/nosuch")[0], 404)
    connection = http.client.HTTPConnection("127.0.0.1", t.node.ports["ops"], timeout=10)
    for method in ("POST", "PUT", "DELETE"):
        connection.request(method, "/livez")
        answer = connection.getresponse()
        answer.read()
        t.equal(answer.status, 405, method)
    connection.close()


def watch_the_start(t, node):
    """(status, text) of /readyz from the start of the process until it is ready; alive all the while."""
    node.spawn()
    told = []
    while not told or told[-1][0] != 200:
        t.true(node.process.poll() is None, "tallyd ended\n" + node.log_tail())
        t.true(len(told) < 20000, "not ready: %s" % told[-1:])
        node.ports = node.ports or node.read_ports()
        if node.ports:
            told.append(node.get("/readyz"))
            t.equal(node.get("/livez")[0], 200, "alive")
        time.sleep(0.002)
    return told


# While the journal is replayed the node is alive and not ready, and says why and how far it is:
# probes are answered in the middle of it, not when it is over. Once ready it stays so. Whether a probe
# gets its turn in the half second that a replay takes is the machine's affair: hence several starts.
def test_readiness_during_replay(t):
    node = t.fresh_node({"checkpoint": {"interval_ms": 3600000, "transfers": 1 << 20}})
    prepare(node)
    channel = node.api("channel")
    for _ in range(40):
        channel.create_transfers([transfer(A, B, 1) for _ in range(8190)], timeout=60)
    parts = set()
    for _ in range(10):
        node.kill()
        told = watch_the_start(t, node)
        for status, text in told[:-1]:
            t.equal(status, 503, "before it is ready")
            t.true(any(reason in text for reason in ("opening", "replaying", "waiting for a leader")),
                   "the reason: %s" % text)
        t.equal(node.get("/readyz")[0], 200, "afterwards")
        parts |= {int(part) for _, text in told for part in re.findall(r"replaying (\d+) %", text)}
        if any(0 < part < 100 for part in parts):
            break
    else:
        t.true(False, "never asked in the middle of it: %s" % sorted(parts))
    t.equal(node.api("channel").posted(A)[0], 40 * 8190, "replayed")


# Asked to stop, with a call still in flight: not ready, with the reason; nothing new is taken; the
# call in flight ends in order, and so does the process.
def test_readiness_during_drain(t):
    node = t.fresh_node()
    prepare(node)
    channel = node.api("channel")
    far = channel.message("ListLedgers", min_index=10 ** 12).SerializeToString()
    waiting = channel.start("ListLedgers", far, timeout=15)     # longer than what follows takes
    t.eventually(lambda: node.status()["load"]["calls"] >= 1, text="the call is there")
    node.signal(signal.SIGTERM)
    status, text = t.eventually(lambda: [a for a in [node.get("/readyz")] if a[0] != 200],
                                text="not ready")[0]
    t.equal(status, 503)
    t.contains(text, "stopping")
    t.equal(node.get("/livez")[0], 200, "alive")
    late = node.api("channel")
    answer = late.raw("CreateTransfers", late.write_body(
        "CreateTransfers", "transfers", [transfer(A, B, 1)]), timeout=30, wait=False)
    t.code(answer, "UNAVAILABLE", "a new request")
    t.true(channel.outcome(waiting).code.name in ("DEADLINE_EXCEEDED", "UNAVAILABLE"), "the call")
    t.equal(node.wait_exit(), 0, "exit status")


# Metrics are Prometheus text: every sample belongs to a declared family, counters count what was
# done, and no label carries an id.
def test_metrics(t):
    def samples():
        status, text = t.node.get("/metrics")
        t.equal(status, 200)
        families, found = set(), {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                families.add(line.split()[2])
            elif line and not line.startswith("#"):
                match = re.fullmatch(r"([a-z_:][a-z0-9_:]*)(\{[^}]*\})? ([0-9.eE+-]+|NaN|\+Inf)",
                                     line)
                t.true(match, "not a sample: %r" % line)
                name = match.group(1)
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                t.true(name in families or base in families, "%s has no TYPE" % name)
                found[name + (match.group(2) or "")] = float(match.group(3))
        return found

    before = samples()
    counters = [n for n in before if "transfers" in n and "total" in n]
    t.true(counters, "no counter of transfers among %s" % sorted(before))
    t.equal(t.node.api("channel").create_transfers([transfer(A, B, 1) for _ in range(10)]),
            [0] * 10)
    after = samples()
    t.true(any(after[n] - before[n] == 10 for n in counters), "10 more transfers")
    t.true(not any(A.hex() in name for name in after), "ids in labels")


# Status is one JSON document with position, phase and version.
def test_status_document(t):
    written = t.node.api("channel").write("CreateTransfers", "transfers", [transfer(A, B, 1)])
    status, text = t.node.get("/status")
    t.equal(status, 200)
    document = json.loads(text)
    for key in ("version", "phase", "ready", "node", "cluster", "epoch", "read_only", "digest"):
        t.true(key in document, "status lacks %s: %s" % (key, sorted(document)))
    index = document["index"]
    t.true(index["durable"] <= index["applied"] <= index["commit"] <= index["synced"]
           <= index["last"], "positions are in order: %s" % index)
    t.true(index["applied"] >= written.index, "what was answered is applied")


# The log is one event per line, key=value, and says what the node is and where it listens.
def test_log_lines(t):
    lines = [line for line in t.node.log_text().splitlines() if line.strip()]
    t.true(lines, "the log is empty")
    for line in lines:
        t.true(re.search(r"\b[a-z_]+=", line), "no key=value in %r" % line)
    t.true(any(str(t.node.ports["grpc"]) in line for line in lines), "the port is logged")
