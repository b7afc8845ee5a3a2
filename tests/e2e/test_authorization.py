"""Who may do what: certificates at the door, roles at each call."""
import subprocess

import grpc

import client
import pki
from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))
ROLES = ("channel", "business", "site", "auditor", "peer")

# Method -> roles that may call it, as in core/policy.h. Everybody listed may ask for the status.
TABLE = {
    "CreateLedgers": ("business",),
    "CreateAccounts": ("business",),
    "CreateTransfers": ("channel",),
    "FenceRequest": ("channel", "business", "site"),
    "SetPrincipals": ("site",),
    "LookupAccounts": ("channel", "business", "auditor"),
    "LookupTransfers": ("channel", "business", "auditor"),
    "ListLedgers": ("channel", "business", "auditor"),
    "ListAccounts": ("channel", "business", "auditor"),
    "ListTransfers": ("channel", "business", "auditor"),
    "TrialBalance": ("channel", "business", "auditor"),
    "GetRequest": ("channel", "business", "site", "auditor"),
    "ListPrincipals": ("site", "auditor"),
    "GetStatus": ROLES,
    "ListMembers": ROLES,
    "AddMember": ("site",),
    "ReplaceMember": ("site",),
    "RemoveMember": ("site",),
    "TransferLeadership": ("site",),
    "OperateSite": ("site",),
    "ListInDoubt": ("site", "auditor"),
}
# A node alone has nobody to add, remove or hand over to: who may ask is refused for that.
REFUSED_ALONE = {"AddMember": "INVALID_ARGUMENT", "ReplaceMember": "INVALID_ARGUMENT",
                 "RemoveMember": "INVALID_ARGUMENT", "TransferLeadership": "NOT_FOUND",
                 "OperateSite": "INVALID_ARGUMENT"}


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1)]) == [0]
    assert business.create_accounts([account(A), account(B)]) == [0, 0]


def good_body(api, method):
    """A request that succeeds when the caller may make it."""
    events = {
        "CreateLedgers": ("ledgers", lambda: [ledger(1)]),
        "CreateAccounts": ("accounts", lambda: [account(A)]),
        "CreateTransfers": ("transfers", lambda: [transfer(A, B, 1)]),
        "SetPrincipals": ("principals", lambda: [
            {"uri": "tally://test/extra", "name": "extra", "role": "NONE"}]),
    }
    if method in events:
        field, make = events[method]
        return api.write_body(method, field, make())
    fields = {"FenceRequest": {"identity": api.identity()}, "GetRequest": {
        "identity": api.identity()}, "LookupAccounts": {"ids": [A]},
        "LookupTransfers": {"ids": [A]}, "TrialBalance": {"ledger": 1}}.get(method, {})
    return api.message(method, **fields).SerializeToString()


# Every method by every role, listed or not: allowed exactly where the table says so.
def test_every_method_by_every_role(t):
    apis = {name: t.node.api(name) for name in ROLES + ("stranger",)}
    t.equal(sorted(apis["channel"].methods), sorted(TABLE), "the table names every method")
    wrong = []
    for method, allowed in TABLE.items():
        for name, api in apis.items():
            answer = api.raw(method, good_body(api, method))
            expected = "PERMISSION_DENIED"
            if name in allowed:
                expected = REFUSED_ALONE.get(method, "OK")
            if answer.code.name != expected:
                wrong.append("%s by %s: %r, expected %s" % (method, name, answer, expected))
            elif expected != "OK" and not answer.details:
                wrong.append("%s by %s: refused without words" % (method, name))
    t.equal(wrong, [])


# A refusal by role changes nothing, and does not take the nonce.
def test_denied_request_leaves_no_trace(t):
    auditor, channel = t.node.api("auditor"), t.node.api("channel")
    before = auditor.ask("TrialBalance", ledger=1).digest
    body = auditor.write_body("CreateTransfers", "transfers", [transfer(A, B, 1)])
    t.code(auditor.raw("CreateTransfers", body), "PERMISSION_DENIED")
    t.equal(auditor.ask("TrialBalance", ledger=1).digest, before, "digest")
    t.code(channel.raw("CreateTransfers", body), "OK", "by one who may")


# A row set to NONE denies at once, on a connection that is already open; another role, likewise.
def test_change_of_role_acts_on_open_connections(t):
    other, site = t.node.api("other"), t.node.api("site")
    body = good_body(other, "ListLedgers")
    t.code(other.raw("ListLedgers", body), "OK")
    row = {"uri": "tally://test/other", "name": "other", "role": "NONE"}
    t.equal(list(site.write("SetPrincipals", "principals", [row]).results), [0])
    t.code(other.raw("ListLedgers", body), "PERMISSION_DENIED")
    t.equal(list(site.write("SetPrincipals", "principals",
                            [dict(row, role="CHANNEL")]).results), [0])
    t.code(other.raw("ListLedgers", body), "OK")


def refused_at_the_door(t, certificate, authority=None, tls=True):
    """No call succeeds and none is answered: the connection is not accepted."""
    node = t.node
    channel = client.transport(node.ports["grpc"],
                               (authority or node.security.authority) if tls else None,
                               certificate)
    try:
        channel.unary_unary("/tally.v1.Ledger/ListLedgers")(b"", timeout=60)
        t.true(False, "was answered")
    except grpc.RpcError as error:
        t.equal(error.code().name, "UNAVAILABLE")
    finally:
        channel.close()


# No certificate; plain text; expired; not yet valid; another authority; revoked.
def test_bad_certificates_are_refused(t):
    authority = t.node.security.authority
    refused_at_the_door(t, None)
    refused_at_the_door(t, None, tls=False)
    uri = "tally://test/channel"
    refused_at_the_door(t, authority.issue("expired", [uri], days=(-3, -1)))
    refused_at_the_door(t, authority.issue("early", [uri], days=(2, 3)))
    refused_at_the_door(t, authority.issue("serveronly", [uri], usage="serverAuth"))
    import os
    stranger = pki.Authority(os.path.join(t.run.scratch, "stranger-authority"))
    refused_at_the_door(t, stranger.issue("foreign", [uri]), authority)
    t.code(t.node.api("channel").raw("ListLedgers", b""), "OK", "others are served")
    t.eventually(lambda: "expired" in t.node.log_text(), text="the log says why")


# Exactly one URI name: none and two are refused, at the door or at the call, and never served.
def test_uri_names(t):
    authority = t.node.security.authority
    for name, uris in (("nouri", []), ("twouris", ["tally://test/channel",
                                                  "tally://test/business"])):
        certificate = authority.issue(name, uris, extra_names=["DNS:localhost"])
        api = t.node.api(certificate)
        answer = api.raw("ListLedgers", b"", timeout=60, wait=False)
        t.true(answer.code.name in ("UNAVAILABLE", "UNAUTHENTICATED", "PERMISSION_DENIED"),
               "%s: %r" % (name, answer))


# TLS 1.2 is not spoken, and a client that offers no h2 is refused.
def test_only_tls_13_and_h2(t):
    certificate = t.node.security.by_name["channel"]

    def handshake(*options):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", "127.0.0.1:%d" % t.node.ports["grpc"], "-brief",
             "-CAfile", t.node.security.authority.certificate, "-cert", certificate.certificate,
             "-key", certificate.key] + list(options), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        return done.stdout.decode(errors="replace")

    t.contains(handshake("-alpn", "h2"), "CONNECTION ESTABLISHED", "the control")
    t.true("CONNECTION ESTABLISHED" not in handshake("-alpn", "h2", "-tls1_2"), "TLS 1.2")
    t.true("CONNECTION ESTABLISHED" not in handshake("-alpn", "http/1.1"), "http/1.1")
