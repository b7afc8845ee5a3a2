#!/usr/bin/python3
"""What chaos/README.md promises is there: every accident of others has a scenario, every scenario that it
names exists, and every scenario that exists is told of, with a story, in the list.

    tests/chaos/test_scenarios.py
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "chaos"))
import nemesis  # noqa: E402,F401
from nemesis.fault import all_faults  # noqa: E402
from nemesis.faults import preload  # noqa: E402
from nemesis.scenario import Scenario, all_scenarios  # noqa: E402

TABLE = "| what broke others | scenario | simulator | directed |"
ENTRIES = 21
UNTOLD = {"quiet"}          # nothing happens in it


def rows(text):
    """[cells] of the table of accidents."""
    found, inside = [], False
    for line in text.splitlines():
        if line.strip() == TABLE:
            inside = True
        elif inside and not line.startswith("|"):
            break
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def wrong(text, scenarios, faults):
    """What does not fit, in words."""
    told = rows(text)
    known = set(scenarios) | set(faults)
    if len(told) != ENTRIES:
        yield "the table has %d entries, %d are known" % (len(told), ENTRIES)
    for row in told:
        if len(row) != 4:
            yield "four columns are needed: %s" % " | ".join(row)
            continue
        accident, scenario, _, directed = row
        names = re.findall(r"`([^`]+)`", scenario)
        if not set(names) & set(scenarios):
            yield "%s: no scenario" % accident
        for name in sorted(set(names) - known):
            yield "%s: there is no scenario and no fault %s" % (accident, name)
        if "`" not in directed:
            yield "%s: no directed test" % accident
        if re.search(r"\blater\b", " ".join((scenario, directed))):
            yield "%s: later is no answer" % accident
    for name, kind in sorted(scenarios.items()):
        if name not in UNTOLD and "`%s`" % name not in text:
            yield "scenario %s is not told of in chaos/README.md" % name
        if not kind.answers or len(kind.story()) < 80 or kind.timeline is Scenario.timeline:
            yield "scenario %s lacks a story, a timeline or what it answers" % name
        if preload.conflict(kind.preload):
            yield "scenario %s: %s" % (name, preload.conflict(kind.preload))
    for name, kind in sorted(faults.items()):
        if not kind.kind or not kind.__doc__:
            yield "fault %s says nothing of itself" % name


def main():
    with open(os.path.join(ROOT, "chaos", "README.md")) as file:
        text = file.read()
    scenarios, faults = all_scenarios(), all_faults()
    found = list(wrong(text, scenarios, faults))
    # A check that finds nothing wrong anywhere is none.
    for old, new, words in (("`link-cut`", "`link-cat`", "there is no scenario and no fault link-cat"),
                            ("`wiped-node`", "", "wiped-node is not told of"),
                            ("`flapping-link`; random: `flapping`", "-", "flapping links: no scenario"),
                            ("| one-way cuts |", "| one-way | cuts |", "four columns")):
        if not any(words in line for line in wrong(text.replace(old, new), scenarios, faults)):
            found.append("a spoiled table is not noticed: %s" % words)
    for line in found:
        print(line)
    print("%d scenarios, %d faults: %s" % (len(scenarios), len(faults), "%d things are wrong" % len(
        found) if found else "all told of, all there"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
