"""What an answer says about both sites, asked by the stock gRPC client: every answer of a write tells,
a request may ask for it, and none may ask for less."""
import threading
import time

from client import transfer
from sites import CREDIT, DEBIT

BOTH = (("tally-durability", "both-sites"),)


def write(api, metadata=None, timeout=10):
    body = api.write_body("CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)])
    return api.raw("CreateTransfers", body, timeout=timeout, metadata=metadata), body


def wait_mode(t, member, mode, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (member.brief() or {}).get("mode") == mode:
            return
        time.sleep(0.02)
    t.true(False, "the mode is not %s after %d s" % (mode, seconds))


# Both sites are there: at either node an answer says so, asked for or not.
def test_answers_say_both_sites(t):
    sites = t.sites
    sites.lead_at("A")
    for member in sites.data():
        for metadata in (None, BOTH):
            answer, _ = write(member.api("channel"), metadata)
            t.code(answer, "OK")
            t.equal(answer.trailers.get("tally-durability"), "both-sites", "trailer")


# Anything but "both-sites" is refused before anything is done, whatever it is.
def test_less_cannot_be_asked_for(t):
    api = t.sites.data()[0].api("channel")
    for value in ("one-site", "majority", "Both-Sites", "", "both-sites,degraded"):
        answer, body = write(api, (("tally-durability", value),))
        t.code(answer, "INVALID_ARGUMENT", "tally-durability: %r" % value)
        t.true("both-sites" in answer.details, answer.details)


# The other site is lost. What was asked for both sites and is in the log waits, and is answered as
# committed and degraded when its time is up; what comes later is refused, and may be sent again;
# what did not ask is answered, and told the truth. When the site is back all is as before, and a
# request that waits until then is answered with both sites.
def test_a_site_is_lost_and_comes_back(t):
    sites = t.sites
    leader = sites.lead_at("A")
    other, = sites.data("B")
    api = leader.api("channel")
    api.ask("ListLedgers")
    other.kill()
    began = time.monotonic()
    hasty, hasty_body = write(api, BOTH, timeout=4)
    t.code(hasty, "OK")
    t.equal(hasty.trailers.get("tally-durability"), "degraded", "committed with the degrade entry")
    t.true(time.monotonic() - began > 3, "it waited for the other site")
    wait_mode(t, leader, "degraded")
    refused, refused_body = write(api, BOTH)
    t.code(refused, "UNAVAILABLE")
    t.equal(refused.trailers.get("tally-outcome"), "NOT_ACCEPTED", "outcome")
    t.true(int(refused.trailers["tally-retry-ms"]) > 0, "retryable")
    plain, _ = write(api)
    t.code(plain, "OK")
    t.equal(plain.trailers.get("tally-durability"), "degraded", "without asking")
    # The same request again, without asking: the same answer.
    again = api.raw("CreateTransfers", hasty_body)
    t.code(again, "OK")
    t.equal(again.body, hasty.body, "the answer to a repeat")
    other.start()
    wait_mode(t, leader, "sync", 60)
    for metadata in (None, BOTH):
        answer = api.raw("CreateTransfers", refused_body, metadata=metadata)
        t.code(answer, "OK", "sent again")
        t.equal(answer.trailers.get("tally-durability"), "both-sites", "after the return")
    # Also what was committed degraded is on both sites by now.
    again = api.raw("CreateTransfers", hasty_body, metadata=BOTH)
    t.equal(again.trailers.get("tally-durability"), "both-sites", "the early one")
    t.at_rest(sites)


# A request in the log when the site is lost, with patience: its answer comes when the site is back.
def test_a_patient_request_waits_for_the_site(t):
    sites = t.sites
    leader = sites.lead_at("A")
    other, = sites.data("B")
    api = leader.api("channel")
    api.ask("ListLedgers")
    other.kill()
    results = []

    def ask():
        results.append(write(api, BOTH, timeout=50)[0])

    thread = threading.Thread(target=ask)
    thread.start()
    wait_mode(t, leader, "degraded")
    time.sleep(0.5)
    t.equal(results, [], "it waits")
    other.start()
    thread.join(60)
    t.code(results[0], "OK")
    t.equal(results[0].trailers.get("tally-durability"), "both-sites", "after the return")
    t.at_rest(sites)
