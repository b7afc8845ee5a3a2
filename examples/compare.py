#!/usr/bin/env python3
"""Compares an import with what generate.py said about its file: expected.json, what `tally transfer
import` printed (table or JSON), and its --rejects file. Says what agrees; exits 1 when anything differs.

With --again the file was imported before: nothing may be new. Python 3, standard library only.
"""
import argparse
import collections
import csv
import json
import sys


def summary(path):
    """The numbers of an import by their names in JSON."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.lstrip().startswith("{"):
        return json.loads(text)
    rows = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    return {name.strip().replace(" ", "_"): value.strip() for name, value in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("expected", help="expected.json of generate.py")
    parser.add_argument("printed", help="standard output of the import")
    parser.add_argument("rejects", help="its --rejects file")
    parser.add_argument("--again", action="store_true", help="everything was there already")
    arguments = parser.parse_args()

    with open(arguments.expected, encoding="ascii") as file:
        expected = json.load(file)
    with open(arguments.rejects, encoding="utf-8", newline="") as file:
        results = collections.Counter(row["result"] for row in csv.DictReader(file))
    printed = summary(arguments.printed)
    old, new = ("already_there", "posted") if arguments.again else ("posted", "already_there")
    wanted = {"rows": expected["rows"], old: expected["posted"], new: 0,
              "rejected": expected["rejected"]}
    different = [f"{name}: {printed.get(name)}, expected {count}"
                 for name, count in wanted.items() if str(printed.get(name)) != str(count)]
    for result in sorted(set(results) | set(expected["results"])):
        if results[result] != expected["results"].get(result, 0):
            different.append(f"rows refused with {result}: {results[result]}, "
                             f"expected {expected['results'].get(result, 0)}")
    for line in different:
        print("DIFFERENT " + line)
    if different:
        sys.exit(1)
    print(f"as the generator expected: {expected['posted']} {old.replace('_', ' ')}, "
          f"{expected['rejected']} refused, each of {len(expected['results'])} reasons as often as it "
          "was built in")


if __name__ == "__main__":
    main()
