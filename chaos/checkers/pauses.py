"""The pause that clients see is within the bound of the scenario.

meta.json says the bound, in ms, for both sites or for each by itself; without one this claim has nothing
to say. Two witnesses: the reports of `tally observe` (an open loop, docs/observe.md says what its pause is)
and the clients' own answers: the longest time in which no client of a site was answered. The second
one is coarser: clients that had nothing to ask look like a pause, so only sites where at least ten
answers a second came on average are judged by it.

A bound may also be one of a window ("pauses": from, to, the sites of which one has to keep it, ms, why):
the longest pause among canaries that were intended in it, an end of the window ending it as well.
A window that is shorter than its bound has something to say only where an answer ended that pause.
Clients, who wait long for a node that is silent, are no witnesses there.
"""
from .findings import Findings

CLAIM = "pauses"
ANSWERS_PER_SECOND = 10


def bound_of(bounds, site):
    return bounds.get(site) if isinstance(bounds, dict) else bounds


def longest(canaries, begin, end):
    """(ms, ms of its begin, whether an answer ended it) of the longest pause among canaries [(intended,
    answered or None)] of that window, in ms: from the intended moment until it, or any intended
    later, is answered."""
    answered, worst = end, (-1.0, begin, False)
    for intended, at in sorted(canaries, reverse=True, key=lambda canary: canary[0]):
        if at is not None:
            answered = min(answered, at)
        if begin <= intended <= end:
            worst = max(worst, (answered - intended, intended, answered < end))
    return worst


def check_windows(history, found):
    for report in history.reports if history.mono_of_wall else ():
        began = history.mono_of_wall(int(report.document["began_wall_ns"]))
        canaries = {site["name"]: [(row["intended_ms"], row["answered_ms"]
                                    if row["outcome"] == "acknowledged" else None)
                                   for row in report.rows(site)] for site in report.sites}
        for window in history.bound("pauses") or ():
            begin, end = ((window[key] - began) / 1e6 for key in ("from", "to"))
            told = [longest(canaries.get(site, ()), begin, end) + (site,) for site in window["sites"]]
            pause, at, ended, site = min(told)
            if min(told)[0] < 0 or not ended and end - begin <= window["ms"]:
                continue                        # nobody asked; or it was over too soon
            found.checked += 1
            if pause > window["ms"]:
                found.add("pause", "clients of site %s waited %.0f ms from %.0f ms of %s on; %d ms are "
                          "allowed: %s", site, pause, at, report.path, window["ms"], window["why"],
                          t=int(began + at * 1e6))


def check(history):
    found = Findings(CLAIM)
    bounds = history.bound("pause_ms")
    if bounds is None and not history.bound("pauses"):
        found.lacks = "the scenario sets no bound"
        return found
    check_windows(history, found)
    for report in history.reports:
        for site in report.sites:
            limit = bound_of(bounds, site["name"])
            pause = site["summary"]["pause"]
            if limit is None or not site["summary"]["intended"]:
                continue
            found.checked += 1
            if pause["ms"] > limit:
                found.add("pause", "clients of site %s waited %.0f ms from %.0f ms of %s on; %d ms are "
                          "allowed", site["name"], pause["ms"], pause["from_ms"], report.path, limit)
    for site, times in history.logs.answers.items():
        limit = bound_of(bounds, site)
        times.sort()
        seconds = (times[-1] - times[0]) / 1e9
        if limit is None or len(times) < ANSWERS_PER_SECOND * max(1, seconds):
            continue
        found.checked += 1
        gap, begin = max((after - before, before) for before, after in zip(times, times[1:]))
        if gap / 1e6 > limit:
            found.add("pause", "no client of site %s was answered for %.0f ms from %d on; %d ms are "
                      "allowed", site or "-", gap / 1e6, begin, limit, t=begin)
    if not found.checked:
        found.lacks = "bounds, and no report of the observer or answers that could be held to them"
    return found
