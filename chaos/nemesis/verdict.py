"""From a history to a verdict: calls the checkers and the report, each a program of its own that gets a
directory, and says what they said. Without checkers, or with nothing for them to look at, there is no
verdict: "unchecked" is never good."""
import os
import subprocess
import sys

from nemesis import CHAOS
from nemesis.history import History, read

CHECK_SECONDS = 3600
REPORT_SECONDS = 600
HOLDS, BROKEN, FAILED = 0, 1, 2
OWN = "run: "               # before the names of claims in findings.json
NOT_RUN = "checkers"        # the claim that stands for all of theirs, when they did not run


def program(name):
    return os.path.join(CHAOS, name, "run.py")


def call(path, arguments, seconds):
    """(exit status, output) of a program of python; status None: it did not end."""
    try:
        done = subprocess.run([sys.executable, path] + arguments, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, "%s: still running after %d s" % (path, seconds)
    return done.returncode, done.stdout.decode(errors="replace")


def judge(directory, say=print):
    """Writes verdicts.json; (what it says, why that is no judgement, or "" when it is one). Checkers
    that had nothing to look at have shown nothing: a history like that is no good one."""
    verdicts, failed = None, "the checkers did not run"
    try:
        os.unlink(os.path.join(directory, "verdicts.json"))
    except FileNotFoundError:
        pass
    if not os.listdir(os.path.join(directory, "clients")):
        say("unchecked: no client wrote anything")
    elif not os.path.exists(program("checkers")):
        say("unchecked: %s is not there" % program("checkers"))
    else:
        status, output = call(program("checkers"), [directory], CHECK_SECONDS)
        verdicts = read(directory, "verdicts.json")
        if status not in (HOLDS, BROKEN) or verdicts is None:   # python ends with 1 as well
            failed = "the checkers could not check"
            say("%s: exit %s\n%s" % (failed, status, output[-2000:]))
        elif all(claim["verdict"] == "unchecked" for claim in verdicts["claims"]):
            failed = "the checkers found nothing to check"
        else:
            failed = ""
    if verdicts is None:
        verdicts = {"claims": [{"name": NOT_RUN, "verdict": "unchecked", "checked": 0,
                                "text": "the checkers did not run"}], "violations": []}
    findings = read(directory, "findings.json") or {"claims": [], "violations": []}
    for claim in findings["claims"]:
        verdicts["claims"].append(dict(claim, name=OWN + claim["name"]))
    for violation in findings["violations"]:
        verdicts["violations"].append(dict(violation, claim=OWN + violation["claim"]))
    put(directory, "verdicts.json", verdicts)
    return verdicts, failed


def put(directory, name, value):
    shelf = History.__new__(History)            # only its way to write a file whole
    shelf.directory = directory
    shelf.put(name, value)


def tell(verdicts, say=print):
    for claim in verdicts["claims"]:
        say("  %-9s %-34s %8s  %s" % (claim["verdict"], claim["name"], claim.get("checked", ""),
                                     (claim.get("text") or "").split("\n")[0][:90]))
    for violation in verdicts["violations"][:20]:
        say("VIOLATION %s: %s" % (violation["claim"], violation["text"][:1500]))
    if len(verdicts["violations"]) > 20:
        say("... and %d more, in verdicts.json" % (len(verdicts["violations"]) - 20))


def status_of(verdicts, must_break, may_break=(), missed=()):
    """(exit status, why) by the claims, by those that a scenario wants broken, and by those that break
    with them, or not, as the moment has it; and by attacks that did not come about."""
    broken = {claim["name"] for claim in verdicts["claims"] if claim["verdict"] == "broken"}
    lacking, more = sorted(set(must_break) - broken), sorted(broken - set(must_break) - set(may_break))
    if more:
        return BROKEN, "broken: %s" % ", ".join(more)
    if missed:
        return FAILED, "the attack did not come about, so nothing was tried (another seed may): %s" % (
            "; ".join(missed))
    if lacking:
        return BROKEN, "the scenario wants these found broken, and they were not: %s" % (
            ", ".join(lacking))
    held = sum(1 for claim in verdicts["claims"] if claim["verdict"] == "holds")
    if broken:
        return HOLDS, "broken as the scenario wants: %s" % ", ".join(sorted(broken))
    return HOLDS, "%d claims hold, %d unchecked" % (held, len(verdicts["claims"]) - held)


def check(directory, say=print):
    """The exit status of `tally-chaos check`."""
    meta = read(directory, "meta.json")
    if meta is None:
        say("%s: no meta.json; a history directory of `tally-chaos run` is needed" % directory)
        return FAILED
    verdicts, failed = judge(directory, say)
    tell(verdicts, say)
    status, why = status_of(verdicts, meta.get("must_break", ()), meta.get("may_break", ()),
                            meta.get("missed", ()))
    # Said here, where it is known: nothing else is wrong with this run.
    verdicts["only_missed"] = status == FAILED and not failed and not meta.get("failed")
    put(directory, "verdicts.json", verdicts)
    if status != BROKEN and failed:
        status, why = FAILED, failed
    if meta.get("failed"):
        # Clients that were cut off left requests without an end: what is broken by that says nothing.
        status, why = FAILED, "the run itself failed: %s" % meta["failed"].splitlines()[0]
    say("%s, seed %s: %s" % (meta.get("scenario"), meta.get("seed"), why))
    return status


def report(directories, say=print, more=()):
    """The exit status of `tally-chaos report`: of writing the page, not of what it says."""
    if not os.path.exists(program("report")):
        say("no report: %s is not there" % program("report"))
        return FAILED
    status, output = call(program("report"), list(directories) + list(more), REPORT_SECONDS)
    if output.strip():
        say(output.strip())
    return FAILED if status not in (HOLDS, BROKEN) else HOLDS
