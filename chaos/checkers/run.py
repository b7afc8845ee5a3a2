#!/usr/bin/python3
"""Checks a history directory: every claim, a table, and verdicts.json beside the history.

    chaos/checkers/run.py DIR [--out FILE] [--claims NAME,NAME] [--show N]

docs/checkers.md says what each claim means and what it reads. A claim with nothing to check says
"unchecked", which is neither good nor bad.

Exit status: 0 nothing is broken; 1 a claim is broken; 2 the history cannot be judged.
"""
import argparse
import json
import os
import sys
import time
import traceback

if __package__ in (None, ""):       # run as a program: the package is the folder that this file is in
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = "checkers"
    import checkers  # noqa: F401

from . import (acknowledged, both_sites, certificates, chains, deadlines,  # noqa: E402
               digests, identity, leaders, limits, linearizable, money, outcomes, pauses, stamps,
               unknown)
from .client_logs import BadInput  # noqa: E402
from .findings import BROKEN  # noqa: E402
from .history import History  # noqa: E402

CLAIMS = {module.CLAIM: module for module in (
    acknowledged, identity, unknown, linearizable, outcomes, money, limits, stamps, digests, chains,
    leaders, both_sites, certificates, pauses, deadlines)}
SHOWN = 5


def check_history(history, names=None):
    """Findings of each claim, by name. A claim that was not asked for is not there."""
    return {name: module.check(history) for name, module in CLAIMS.items()
            if names is None or name in names}


def document(history, findings, seconds):
    """What verdicts.json says."""
    claims, violations = [], []
    for name, found in findings.items():
        claims.append({"name": name, "title": CLAIMS[name].__doc__.split("\n", 1)[0].rstrip("."),
                       "verdict": found.verdict, "checked": found.checked,
                       "violations": found.count, "text": found.summary()})
        violations += [violation._asdict() for violation in found]
    return {"claims": claims, "violations": violations, "counts": history.logs.counts,
            "broken": sum(claim["verdict"] == BROKEN for claim in claims),
            "seconds": round(seconds, 2)}


def check(directory, names=None):
    """Reads a history directory and checks it: a document as in verdicts.json."""
    began = time.monotonic()
    history = History.read(directory)
    findings = check_history(history, names)
    return document(history, findings, time.monotonic() - began)


def write(told, path):
    """Whole or not at all: a report may be reading the one before."""
    with open(path + ".new", "w") as file:
        json.dump(told, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def show(told, shown, out=sys.stdout):
    """The table for people."""
    for name, number in sorted(told["counts"].items()):
        print("%12d  %s" % (number, name), file=out)
    print("\n%-13s %-10s %10s  %s" % ("claim", "verdict", "checked", ""), file=out)
    for claim in told["claims"]:
        print("%-13s %-10s %10d  %s" % (claim["name"], claim["verdict"].upper()
                                       if claim["verdict"] == BROKEN else claim["verdict"],
                                       claim["checked"], claim["text"]), file=out)
        for violation in [v for v in told["violations"] if v["claim"] == claim["name"]][:shown]:
            print("    %s: %s" % (violation["evidence"]["kind"], violation["text"]), file=out)
    unchecked = sum(claim["verdict"] == "unchecked" for claim in told["claims"])
    print("\n%s in %.1f s: %d claims, %d broken, %d unchecked" % (
        "BROKEN" if told["broken"] else "nothing is broken", told["seconds"], len(told["claims"]),
        told["broken"], unchecked), file=out)


def parse():
    parser = argparse.ArgumentParser(prog="chaos/checkers/run.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", help="the history")
    parser.add_argument("--out", help="where the verdicts go (default DIR/verdicts.json)")
    parser.add_argument("--claims", help="check these only, separated by commas")
    parser.add_argument("--show", type=int, default=SHOWN,
                        help="violations shown of each claim (default %d)" % SHOWN)
    arguments = parser.parse_args()
    if arguments.claims is not None:
        arguments.claims = arguments.claims.split(",")
        for name in arguments.claims:
            if name not in CLAIMS:
                parser.error("--claims: no claim %r; there are %s" % (name, ", ".join(CLAIMS)))
    return arguments


def main():
    arguments = parse()
    try:
        told = check(arguments.directory, arguments.claims)
        write(told, arguments.out or os.path.join(arguments.directory, "verdicts.json"))
    except (BadInput, OSError) as error:
        print("cannot judge: %s" % error, file=sys.stderr)
        return 2
    except Exception:               # not 1, which python ends with: that would be a finding
        traceback.print_exc()
        print("cannot judge: the checkers failed; this is an error of theirs, or of the history",
              file=sys.stderr)
        return 2
    show(told, arguments.show)
    return 1 if told["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
