"""The pause that clients see is within the bound of the scenario.

meta.json says the bound, in ms, for both sites or for each by itself; without one this claim has nothing
to say. Two witnesses: the reports of `tally observe` (an open loop, docs/observe.md says what its pause is)
and the clients' own answers: the longest time in which no client of a site was answered. The second
one is coarser: clients that had nothing to ask look like a pause, so only sites where at least ten
answers a second came on average are judged by it.
"""
from .findings import Findings

CLAIM = "pauses"
ANSWERS_PER_SECOND = 10


def bound_of(bounds, site):
    return bounds.get(site) if isinstance(bounds, dict) else bounds


def check(history):
    found = Findings(CLAIM)
    bounds = history.bound("pause_ms")
    if bounds is None:
        found.lacks = "the scenario sets no bound"
        return found
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
        found.lacks = "a bound, and no report of the observer or times of answers"
    return found
