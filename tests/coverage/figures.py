#!/usr/bin/python3
"""Coverage by layer out of lcov's file, as a table; with --missing the largest stretches of lines that
nothing ran.

    tests/coverage/figures.py COVERAGE.info ROOT [--missing N]

Branches of a line that begins an invariant() are left out (scripts/coverage.sh): its other way is the
end of the process. A branch counts as run when it was taken at least once.
"""
import os
import sys

LAYERS = ("core", "storage", "net", "replication", "server", "client")


def load(path, root):
    """{file: ({line: count}, [branch counts])}, of the layers only."""
    found, name, lines, branches = {}, None, {}, []
    with open(path) as stream:
        for text in stream:
            key, _, value = text.rstrip("\n").partition(":")
            if key == "SF":
                name, lines, branches = os.path.relpath(value, root), {}, []
            elif key == "DA":
                line, count = value.split(",")[:2]
                lines[int(line)] = lines.get(int(line), 0) + int(count)
            elif key == "BRDA":
                count = value.split(",")[3]
                branches.append(0 if count == "-" else int(count))
            elif key == "end_of_record" and name.split(os.sep)[0] in LAYERS:
                found[name] = (lines, branches)
    return found


def share(hit, count):
    return "%6.1f %%" % (100.0 * hit / count) if count else "     - "


def sums(files):
    lines = [count for lines, _ in files for count in lines.values()]
    branches = [count for _, counts in files for count in counts]
    return (sum(1 for c in lines if c), len(lines), sum(1 for c in branches if c), len(branches))


def stretches(found):
    """Runs of lines that nothing ran, lines in between that hold no code not counted."""
    result = []
    for name, (lines, _) in found.items():
        begin = last = None
        size = 0
        for line in sorted(lines) + [None]:
            if line is not None and lines[line] == 0:
                begin, last, size = (begin or line), line, size + 1
                continue
            if begin:
                result.append((size, name, begin, last))
            begin, size = None, 0
    return sorted(result, reverse=True)


def main():
    if len(sys.argv) not in (3, 5):
        print(__doc__, file=sys.stderr)
        return 2
    found = load(sys.argv[1], os.path.abspath(sys.argv[2]))
    if not found:
        print("error: %s names no file of %s" % (sys.argv[1], ", ".join(LAYERS)), file=sys.stderr)
        return 1
    print("%-14s %8s %8s %9s  %8s %8s %9s" % ("layer", "lines", "run", "", "branches", "run", ""))
    for layer in LAYERS + ("all",):
        files = [value for name, value in found.items()
                 if layer == "all" or name.split(os.sep)[0] == layer]
        hit, count, taken, ways = sums(files)
        print("%-14s %8d %8d %9s  %8d %8d %9s" % (layer, count, hit, share(hit, count), ways, taken,
                                                  share(taken, ways)))
    if len(sys.argv) == 5:
        print()
        for size, name, begin, last in stretches(found)[:int(sys.argv[4])]:
            print("%4d lines  %s:%d-%d" % (size, name, begin, last))
    return 0


if __name__ == "__main__":
    sys.exit(main())
