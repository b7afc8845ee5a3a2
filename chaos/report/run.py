#!/usr/bin/python3
"""Writes the report of one or several runs: a page for people, a JSON for programs.

    chaos/report/run.py DIRECTORY... [--simulator FILE]... [--planted FILE]...
                        [--summary FILE] [--out NAME]

DIRECTORY is a history as `tally-chaos run` leaves it, its verdicts.json (chaos/checkers/run.py)
included. --simulator takes what `scripts/simulate.sh` or tally-sim printed, --planted what
`tally-sim --planted` printed or the matrix as JSON (scripts/planted.sh --out), --summary the
summary.json of a search, whose totals are shown. Written are NAME.html and NAME.json; for one
directory NAME is DIRECTORY/report unless given, otherwise chaos-report.

Exit status: 0 everything that was checked held; 1 something is broken, or a run was not judged;
2 something that was named cannot be read.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
from report import look, page, simulated  # noqa: E402
from report.figures import Figures  # noqa: E402
from report.history import BadInput, History  # noqa: E402


def parse(words):
    parser = argparse.ArgumentParser(prog="chaos/report/run.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="*", metavar="DIRECTORY")
    parser.add_argument("--simulator", action="append", default=[], metavar="FILE")
    parser.add_argument("--planted", action="append", default=[], metavar="FILE")
    parser.add_argument("--summary", metavar="FILE")
    parser.add_argument("--out", metavar="NAME", help="default: DIRECTORY/report, or chaos-report")
    arguments = parser.parse_args(words)
    if not arguments.directories + arguments.simulator + arguments.planted and not arguments.summary:
        parser.error("name at least one history directory, --simulator, --planted or --summary file")
    if arguments.out is None:
        arguments.out = (os.path.join(arguments.directories[0], "report")
                         if len(arguments.directories) == 1 else "chaos-report")
    return arguments


def main(words):
    arguments = parse(words)
    try:
        runs = [Figures(History(os.path.normpath(d))) for d in arguments.directories]
        searches = [search for path in arguments.simulator for search in simulated.searches(path)]
        matrices = [simulated.planted(path) for path in arguments.planted]
        summary = simulated.summary(arguments.summary) if arguments.summary else None
        document = page.document(runs, searches, matrices, summary)
        look.write(arguments.out, document, page.page(runs, searches, matrices, summary))
    except (BadInput, OSError) as error:
        print("error: %s" % error, file=sys.stderr)
        return 2
    for run in document["runs"]:
        print("%s: %s" % (run["directory"], run["words"]))
    print("report: %s.html, %s.json" % (arguments.out, arguments.out))
    return 0 if document["verdict"] == "holds" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
