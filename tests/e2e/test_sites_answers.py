"""What an answer says about both sites, asked by the stock gRPC client: every answer of a write tells,
a request may ask for it, and none may ask for less."""
import threading
import time

from client import transfer
from sites import CREDIT, DEBIT

BOTH = (("tally-durability", "both-sites"),)


def write_body(api):
    return api.write_body("CreateTransfers", "transfers", [transfer(DEBIT, CREDIT, 1)])


def write(api, metadata=None, timeout=30):
    body = write_body(api)
    return api.raw("CreateTransfers", body, timeout=timeout, metadata=metadata), body


def wait_mode(t, member, mode, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (member.brief() or {}).get("mode") == mode:
            return
        time.sleep(0.02)
    t.true(False, "the mode is not %s after %d s" % (mode, seconds))


def at_both(t, sites, member, body=None, metadata=None):
    """The answer to a write of a cluster whose sites are both there: it says both sites. A machine that
    stands still for a second gives a site up; then the log says so, and it is asked once more when
    both count again."""
    api = member.api("channel")

    def once():
        sites.wait_sync()
        number = sites.wait_leader().status()["number"]
        answer = api.raw("CreateTransfers", body or write_body(api), timeout=30, metadata=metadata)
        if answer.code.name == "UNAVAILABLE":
            t.equal(answer.trailers.get("tally-outcome"), "NOT_ACCEPTED", "a refusal for now")
            t.undisturbed(False, repr(answer))
        t.code(answer, "OK")
        told = answer.trailers.get("tally-durability")
        if told == "degraded":
            t.undisturbed(sites.wait_leader().status()["number"] == number, "a site was given up")
        t.equal(told, "both-sites", "trailer")
        return answer

    answer = t.attempts(once)
    api.close()
    return answer


# Both sites are there: at either node an answer says so, asked for or not.
def test_answers_say_both_sites(t):
    sites = t.sites
    sites.lead_at("A")
    for member in sites.data():
        for metadata in (None, BOTH):
            at_both(t, sites, member, metadata=metadata)


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
# request that waits until then is answered with both sites. A request that the machine lets into the
# log only when the site was given up already is one that came later: the site is lost once more.
def test_a_site_is_lost_and_comes_back(t):
    sites = t.sites

    def asked_just_before():
        sites.settle().wait_sync()
        leader = sites.lead_at("A")
        other, = sites.data("B")
        api = leader.api("channel")
        api.ask("ListLedgers")
        other.kill()
        began = time.monotonic()
        hasty, hasty_body = write(api, BOTH, timeout=4)
        waited = time.monotonic() - began
        if hasty.code.name != "OK":
            t.true(hasty.code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"), repr(hasty))
            other.start()
            t.undisturbed(False, "the request was not in the log in time: %r" % hasty)
        t.equal(hasty.trailers.get("tally-durability"), "degraded", "committed with the degrade entry")
        t.true(waited > 3, "it waited for the other site")
        return leader, other, api, hasty, hasty_body

    leader, other, api, hasty, hasty_body = t.attempts(asked_just_before)
    wait_mode(t, leader, "degraded")
    refused, refused_body = write(api, BOTH)
    t.code(refused, "UNAVAILABLE")
    t.equal(refused.trailers.get("tally-outcome"), "NOT_ACCEPTED", "outcome")
    t.true(int(refused.trailers["tally-retry-ms"]) > 0, "retryable")
    plain = api.insist("CreateTransfers", write_body(api))
    t.code(plain, "OK")
    t.equal(plain.trailers.get("tally-durability"), "degraded", "without asking")
    # The same request again, without asking: the same answer.
    again = api.insist("CreateTransfers", hasty_body)
    t.code(again, "OK")
    t.equal(again.body, hasty.body, "the answer to a repeat")
    other.start()
    wait_mode(t, leader, "sync")
    for metadata in (None, BOTH):
        at_both(t, sites, leader, refused_body, metadata)
    # Also what was committed degraded is on both sites by now.
    at_both(t, sites, leader, hasty_body, BOTH)
    t.at_rest(sites)


# A request in the log when the site is lost, with patience: its answer comes when the site is back.
def test_a_patient_request_waits_for_the_site(t):
    sites = t.sites

    def once():
        sites.settle().wait_sync()
        leader = sites.lead_at("A")
        other, = sites.data("B")
        api = leader.api("channel")
        api.ask("ListLedgers")
        other.kill()
        results = []
        thread = threading.Thread(target=lambda: results.append(write(api, BOTH, timeout=120)[0]))
        thread.start()
        wait_mode(t, leader, "degraded")
        time.sleep(0.5)
        early = list(results)
        other.start()
        thread.join(130)
        t.true(results, "it ends")
        if early and early[0].code.name == "UNAVAILABLE":
            t.undisturbed(False, "the request came when the site was given up: %r" % early[0])
        t.equal(early, [], "it waits")
        t.code(results[0], "OK")
        t.equal(results[0].trailers.get("tally-durability"), "both-sites", "after the return")

    t.attempts(once)
    t.at_rest(sites)
