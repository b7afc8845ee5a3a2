"""What tally-sim and the matrix of planted errors said, read from their own words.

A search's summary is a line `TOPOLOGY: N seeds, ... virtual hours ... N failed, commit ...` with
lines of figures under it; each violation is a line `VIOLATION seed ...` with the command that
replays it. What `--shrink` said of a seed may follow, between "-- seed N made short" and "--". The
matrix is the text of `tally-sim --planted`, or JSON: {"commit", "command", "checkers", "rows":
[{"bug", "what", "by", "found", "checker", "seed", "seconds", "budget", "command"}]}. A file with neither is an error, never an empty success.
"""
import json
import re

from .history import BadInput

SUMMARY = re.compile(r"^(?P<topology>[0-9+]+): (?P<seeds>\d+) seeds, (?P<hours>[\d.]+) virtual hours in "
                     r"(?P<seconds>[\d.]+) s .*?(?P<failed>\d+) failed, commit (?P<commit>\S+)")
VIOLATION = re.compile(r"^VIOLATION seed (?P<seed>\d+): (?P<text>.*)$")
SHORT = re.compile(r"^-- seed (?P<seed>\d+) made short$")
REPLAY = re.compile(r"^\s+replay: (?P<command>.*)$")
PLANTED_HEAD = re.compile(r"^(?P<topology>[0-9+]+), at most (?P<seeds>\d+) seeds of (?P<seconds>\d+) s per "
                          r"error, from (?P<first>\d+), commit (?P<commit>\S+)")
PLANTED = re.compile(r"^(?P<bug>[a-z0-9][a-z0-9-]*)\s+(?:(?P<none>NOT FOUND) in (?P<budget>\d+) seeds|"
                     r"(?P<how>found|FOUND BY ANOTHER CHECKER)\s+seed (?P<seed>\d+) \(of (?P<of>\d+)\): "
                     r"(?P<text>.*))$")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise BadInput("%s: %s" % (path, error.strerror)) from None


def searches(path):
    """[{"topology", "seeds", "hours", "failed", "commit", "figures": [..], "faults", "violations"}]"""
    found, violations = [], []
    current = story = None
    for line in read(path).split("\n"):
        if story is not None:
            if line == "--":
                story = None
            else:
                story.append(line)
            continue
        match = SHORT.match(line)
        if match:
            story = story_of(int(match.group("seed")), found)
            continue
        match = SUMMARY.match(line)
        if match:
            told = match.groupdict()
            current = {"topology": told["topology"], "commit": told["commit"],
                       "seeds": int(told["seeds"]), "hours": float(told["hours"]),
                       "failed": int(told["failed"]), "took_s": float(told["seconds"]),
                       "figures": [], "faults": {}, "violations": violations}
            # The script that runs both topologies repeats the first lines at its end.
            if not any((s["topology"], s["commit"], s["seeds"], s["took_s"]) == (
                    current["topology"], current["commit"], current["seeds"], current["took_s"])
                    for s in found):
                found.append(current)
            violations = []
            continue
        match = VIOLATION.match(line)
        if match:
            violations.append({"seed": int(match.group("seed")), "text": match.group("text"),
                               "command": "", "story": []})
            continue
        match = REPLAY.match(line)
        if match and violations and not violations[-1]["command"]:
            violations[-1]["command"] = match.group("command")
        elif current is not None and line.startswith("  ") and line.strip():
            figures, _, faults = line.strip().partition("faults:")
            current["figures"].append(figures.strip(" ;"))
            for name, number in re.findall(r"([a-z_]+) (\d+)", faults):
                current["faults"][name] = current["faults"].get(name, 0) + int(number)
        else:
            current = None
    if not found:
        raise BadInput("%s: has no summary of tally-sim (\"1+1+1: N seeds, ... failed, commit ...\"): "
                       "the search did not end, or this is another file" % path)
    if violations:      # of a search that did not come to its summary
        found[-1]["violations"] = found[-1]["violations"] + violations
    return found


def story_of(seed, found):
    """Where the lines of its story go: to the violation that was told last of that seed."""
    return next((violation["story"] for search in reversed(found)
                 for violation in search["violations"] if violation["seed"] == seed), [])


def planted(path):
    """{"commit", "command", "rows": [...]}, one form of both."""
    text = read(path)
    if text.lstrip().startswith("{"):
        return planted_json(path, text)
    commit, rows, budget = "", [], ""
    for line in text.split("\n"):
        head = PLANTED_HEAD.match(line)
        if head:
            commit = head.group("commit")
            budget = "%s seeds of %s s, %s" % (head.group("seeds"), head.group("seconds"),
                                              head.group("topology"))
        match = PLANTED.match(line)
        if not match:
            continue
        told = match.groupdict()
        rows.append({"bug": told["bug"], "what": "", "by": "simulator", "found": told["how"] == "found",
                     "checker": told["text"] or "", "seed": told["seed"], "seeds": told["of"],
                     "budget": budget, "command": "",
                     "note": "found by another checker than its own" if told["how"] not in (
                         None, "found") else ""})
    if not rows:
        raise BadInput("%s: is neither JSON nor what tally-sim --planted prints" % path)
    return {"commit": commit, "command": "", "alarms": [], "rows": rows}


def planted_json(path, text):
    try:
        told = json.loads(text)
        rows = [{"bug": str(row["bug"]), "what": str(row.get("what") or ""),
                 "by": str(row.get("by") or ""), "found": row["found"] is True,
                 "checker": str(row.get("checker") or ""), "seed": row.get("seed"),
                 "seeds": row.get("seeds"), "seconds": row.get("seconds"),
                 "budget": str(row.get("budget") or ""), "command": str(row.get("command") or ""),
                 "note": str(row.get("note") or "")} for row in told["rows"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput("%s: is no matrix of planted errors: %r" % (path, error)) from None
    if not rows:
        raise BadInput("%s: a matrix without a row" % path)
    return {"commit": str(told.get("commit") or ""), "command": str(told.get("command") or ""),
            "alarms": [str(text) for text in told.get("alarms") or ()], "rows": rows}


def skipped(row):
    """What a search did not run, and why, in words."""
    return "%s: %s" % (row["scenario"], row["why"]) if isinstance(row, dict) else str(row)


def summary(path):
    """Of a whole search on real processes: {"runs", "held", "broken", "failed", "faults", "begun",
    "checked", "skipped", "command", "commit", "machine"}. "failed": in words, each run that did not
    work and may have left no history to show, and what is wrong with the search as a whole."""
    try:
        told = json.loads(read(path))
        # One that did not meet its moment was made again.
        runs = [run for run in told["runs"] if not run.get("missed")]
        statuses = [run["status"] for run in runs]
        return {"runs": len(statuses), "held": statuses.count(0), "broken": statuses.count(1),
                "failed": ["%s, seed %s" % (run.get("name", "a run"), run.get("seed", "not told"))
                           for run in runs if run["status"] not in (0, 1)] + [
                               str(text) for text in told.get("failures") or ()],
                "seconds": sum(run.get("seconds") or 0 for run in told["runs"]),
                "faults": {str(name): int(count) for name, count in told["faults"].items()},
                "begun": {str(name): int(count) for name, count in told.get("begun", {}).items()},
                "checked": {str(name): int(count) for name, count in told["checked"].items()},
                "skipped": [skipped(row) for row in told.get("skipped") or ()],
                **{key: str(told.get(key) or "") for key in ("command", "commit", "machine")}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput("%s: is no summary of a search: %r" % (path, error)) from None
