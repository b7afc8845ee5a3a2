#!/usr/bin/python3
"""Checks that docs/guarantees.md names evidence that exists, and that each promise names some.

usage: scripts/check-guarantees.py [DOCUMENT]

Exit status 1: something named is not there, or a row of promises has no evidence; each is printed.
"""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = "docs/guarantees.md"


def read(pattern):
    texts = []
    for path in sorted(glob.glob(os.path.join(ROOT, pattern), recursive=True)):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(texts)


def known():
    """Everything that may be named."""
    found = set()
    tests = read("tests/**/*.c") + read("tests/**/*.h")
    for suite, name in re.findall(r"\bTest\(\s*(\w+),\s*(\w+)", tests):
        found.add("%s.%s" % (suite, name))
    for path in glob.glob(os.path.join(ROOT, "tests/e2e/test_*.py")):
        module = os.path.basename(path)[len("test_"):-len(".py")]
        with open(path, encoding="utf-8") as file:
            for name in re.findall(r"^def (test_\w+)\(", file.read(), re.M):
                found.add("e2e:%s.%s" % (module, name))
    model = read("model/*.pml")
    searched = read("model/check.sh")
    for name in re.findall(r"\bassert\((\w+)\)", model):
        found.add("model:" + name)
    for name in re.findall(r"\b(PLANT_\w+)", model):
        # Planted is not enough: it has to be looked for.
        if re.search(r"^planted .*\b%s\b" % name[len("PLANT_"):], searched, re.M):
            found.add("model:" + name)
    for words in re.findall(r"^holds \d \S+ \S+ (.*)$", searched, re.M):
        for name in words.split():
            found.add("model:" + name)
    for name in re.findall(r'^\s*\{(?:\.name = )?"([a-z-]+)",', read("chaos/sim/planted.c"), re.M):
        found.add("sim:" + name)
    for path in glob.glob(os.path.join(ROOT, "scripts/*.sh")):
        found.add("run:scripts/" + os.path.basename(path))
    return found


def main(arguments):
    document = arguments[0] if arguments else os.path.join(ROOT, DOCUMENT)
    found = known()
    wrong = 0
    named = 0
    evidence = re.compile(r"`((?:e2e:|model:|sim:|run:)[\w./-]+|\w+\.\w+)`")
    with open(document, encoding="utf-8") as file:
        lines = file.read().split("\n")
    shown = False   # inside of a table with a column "shown by"
    for number, line in enumerate(lines, 1):
        if not line.startswith("|"):
            shown = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[-1] == "shown by":
            shown = True
            continue
        if not shown or set(line) <= set("|-"):
            continue
        names = evidence.findall(cells[-1])
        named += len(names)
        if not names:
            print("%s:%d: a promise without evidence: %s" % (document, number, cells[0]))
            wrong += 1
        for piece in re.sub(r"`[^`]*`", "", cells[-1]).replace(",", "").split():
            print("%s:%d: not understood: %s" % (document, number, piece))
            wrong += 1
        for name in re.findall(r"`([^`]*)`", cells[-1]):
            if name not in found:
                print("%s:%d: there is no %s" % (document, number, name))
                wrong += 1
    if named == 0:
        print("%s: names no evidence at all" % document)
        wrong += 1
    print("%d names, %d wrong" % (named, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
