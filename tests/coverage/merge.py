#!/usr/bin/python3
"""Adds the counters of killed processes (tests/coverage/flush.c) to those of the build.

    tests/coverage/merge.py BUILD PROCESSES

PROCESSES holds one directory per process, each with a tree of .gcda files as gcc would have written it
below BUILD. A process that was killed while it wrote leaves one torn file: it is counted, and passed
over (gcov-tool, which is made for this, ends with an internal error at such a file). Everything that
was taken is removed, so that a second call adds nothing twice.

The format, as gcc 12 writes it: u32 magic, version, stamp, checksum; then records of u32 tag, i32
length in bytes and content; a tag of zero ends it. Of counters a negative length means that all are
zero. Only arcs are there in our builds.
"""
import array
import os
import shutil
import struct
import sys

MAGIC, FUNCTION, ARCS, SUMMARY = 0x67636461, 0x01000000, 0x01A10000, 0xA1000000


class Torn(Exception):
    """The file ends before its end."""


def parse(data):
    """(head, summary, [(function, counters)]) of one file."""
    if len(data) < 16:
        raise Torn
    head, at, summary, functions = struct.unpack_from("<4I", data), 16, b"", []
    if head[0] != MAGIC:
        raise Torn
    while True:
        if at + 4 > len(data):
            raise Torn
        tag, = struct.unpack_from("<I", data, at)
        if tag == 0:
            return head, summary, functions
        if at + 8 > len(data):
            raise Torn
        length, = struct.unpack_from("<i", data, at + 4)
        at += 8
        body = data[at:at + max(length, 0)]
        at += max(length, 0)
        if at > len(data):
            raise Torn
        if tag == SUMMARY:
            summary = body
        elif tag == FUNCTION:
            functions.append([body, array.array("q")])
        elif tag == ARCS and functions:
            functions[-1][1] = array.array("q", bytes(-length)) if length < 0 else \
                array.array("q", body)
        else:
            raise Torn


def print_file(head, summary, functions):
    parts = [struct.pack("<4I", *head), struct.pack("<Ii", SUMMARY, len(summary)), summary]
    for body, counters in functions:
        parts += [struct.pack("<Ii", FUNCTION, len(body)), body]
        if len(body) > 0:
            parts += [struct.pack("<Ii", ARCS, 8 * len(counters)), counters.tobytes()]
    return b"".join(parts) + struct.pack("<I", 0)


def add(into, more):
    """Two parsed files of one object; False when they are of different builds."""
    if into[0] != more[0] or len(into[2]) != len(more[2]):
        return False
    for mine, theirs in zip(into[2], more[2]):
        if mine[0] != theirs[0] or len(mine[1]) != len(theirs[1]):
            return False
    for mine, theirs in zip(into[2], more[2]):
        for k, count in enumerate(theirs[1]):
            if count:
                mine[1][k] += count
    return True


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    build, processes = (os.path.abspath(path) for path in sys.argv[1:])
    sums, torn, foreign, files = {}, 0, 0, 0
    names = sorted(os.listdir(processes)) if os.path.isdir(processes) else []
    for name in names:
        root = os.path.join(processes, name)
        for base, _, inside in os.walk(root):
            for file in inside:
                path = os.path.join(base, file)
                target = os.path.sep + os.path.relpath(path, root)
                if not file.endswith(".gcda") or not target.startswith(build + os.path.sep):
                    foreign += 1
                    continue
                files += 1
                try:
                    with open(path, "rb") as stream:
                        parsed = parse(stream.read())
                except Torn:
                    torn += 1
                    continue
                if target not in sums:
                    sums[target] = parsed
                elif not add(sums[target], parsed):
                    foreign += 1
        shutil.rmtree(root)
    for target, parsed in sums.items():
        try:
            with open(target, "rb") as stream:
                before = parse(stream.read())
            if not add(parsed, before):
                foreign += 1
                continue
        except FileNotFoundError:
            pass
        except Torn:
            torn += 1
        with open(target, "wb") as stream:
            stream.write(print_file(*parsed))
    print("counters of %d processes: %d files, %d torn, %d of another build" % (
        len(names), files, torn, foreign))
    return 0


if __name__ == "__main__":
    sys.exit(main())
