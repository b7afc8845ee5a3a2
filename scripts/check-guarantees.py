#!/usr/bin/python3
"""Checks that docs/guarantees.md and chaos/FINDINGS.md name evidence that exists, and that each promise and
each finding names some.

usage: scripts/check-guarantees.py [DOCUMENT...]

Evidence is the last cell of a row in a table whose last column is "shown by" or "kept by". Where that is
"see", it names rows of the document that have evidence (D1), or a heading of it ([Time](#time)). In
docs/guarantees.md all tables but the one of kinds of evidence have one of these columns, and each point
of "Not promised" names evidence or such rows, or says "not tested". Commits in a
column "mended in" have to be commits of this repository, where that can be asked (no archive, no
shallow clone). A row that names a part of the guard and a schedule ("part off", "schedule") has to name a
test that runs just that schedule without just that part.

Exit status 1: something named is not there, or a row has no evidence; each is printed.
"""
import functools
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENTS = ("docs/guarantees.md", "chaos/FINDINGS.md")
EVIDENCE = ("shown by", "kept by")
SEE, UNTESTED = "see", "not tested"
ALL_OF = "docs/guarantees.md"       # each of its tables has evidence
POINTS = "## Not promised"
KINDS = r"(?:e2e|model|sim|matrix|run|py|fuzz|chaos|meson):"
NAMES = r"`(%s[\w./-]+|\w+\.\w+)`" % KINDS
LABEL = r"\b[A-Z]\d+\b"
LINK = r"\[[^]]*\]\((#[\w-]+)\)"


def read(pattern):
    texts = []
    for path in sorted(glob.glob(os.path.join(ROOT, pattern), recursive=True)):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(texts)


@functools.lru_cache(maxsize=None)
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
    for name in re.findall(r'Bug\("([a-z0-9-]+)"', read("chaos/matrix/bugs.py")):
        found.add("matrix:" + name)
    for path in glob.glob(os.path.join(ROOT, "scripts/*.sh")):
        found.add("run:scripts/" + os.path.basename(path))
    for path in glob.glob(os.path.join(ROOT, "tests/*/test_*.py")):
        module = os.path.relpath(path, os.path.join(ROOT, "tests"))[:-len(".py")]
        with open(path, encoding="utf-8") as file:
            for name in re.findall(r"^    def (test_\w+)\(self", file.read(), re.M):
                found.add("py:%s.%s" % (module, name))
    for name in re.findall(r"^ *test\('([\w-]+)',", read("tests/**/meson.build"), re.M):
        found.add("meson:" + name)
    for path in glob.glob(os.path.join(ROOT, "tests/fuzz/corpus/*/*")):
        found.add("fuzz:" + os.path.relpath(path, os.path.join(ROOT, "tests/fuzz/corpus")))
    for name in re.findall(r'^    name(?:, \w+)* = "([\w-]+)"', read("chaos/nemesis/scenarios/*.py"), re.M):
        found.add("chaos:" + name)
    return found


@functools.lru_cache(maxsize=None)
def guard_tests():
    """{test: {(part, schedule)}} of the tests that switch one part of the guard off."""
    found = {}
    text = read("tests/replication/guard/test_raft_guard.c")
    for name, body in re.findall(r"^Test\((raft_guard, \w+).*?\)\n\{(.*?)^\}", text, re.M | re.S):
        found[name.replace(", ", ".")] = {(part, schedule) for schedule, part in re.findall(
            r"expect_needed\(schedule_(\w+),\s*RAFT_GUARD_(\w+)\)", body)}
    return found


def ask_git(*words):
    """What git says; None when it cannot be asked."""
    try:
        done = subprocess.run(["git", "-C", ROOT, "-c", "safe.directory=*"] + list(words),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except OSError:
        return None
    return done.stdout.decode().strip() if done.returncode == 0 else None


class Table:
    """The columns of the table that is being read."""

    def __init__(self, cells):
        self.columns = {name: place for place, name in enumerate(cells)}

    def has(self, *names):
        return all(name in self.columns for name in names)

    def cell(self, cells, name):
        place = self.columns[name]
        return cells[place] if place < len(cells) else ""


class Check:
    def __init__(self):
        self.found, self.guard = known(), guard_tests()
        # A shallow clone has no history to look into, an archive no git at all.
        self.commits = ask_git("rev-parse", "--is-shallow-repository") == "false"
        self.named = self.wrong = 0

    def complain(self, where, text):
        print("%s: %s" % (where, text))
        self.wrong += 1

    def row(self, where, table, cells):
        evidence = cells[-1]
        names = re.findall(NAMES, evidence)
        self.named += len(names)
        if not names:
            self.complain(where, "a row without evidence: %s" % cells[0])
        for piece in re.sub(r"`[^`]*`", "", evidence).replace(",", "").split():
            self.complain(where, "not understood: %s" % piece)
        for name in re.findall(r"`([^`]*)`", evidence):
            if name not in self.found:
                self.complain(where, "there is no %s" % name)
        if table.has("mended in"):
            self.mends(where, table.cell(cells, "mended in"))
        if table.has("part off", "schedule"):
            wanted = (table.cell(cells, "part off").strip("`"), table.cell(cells, "schedule").strip("`"))
            if not any(wanted in self.guard.get(name, ()) for name in names):
                self.complain(where, "no test that is named runs %s without %s" % wanted[::-1])

    def mends(self, where, cell):
        hashes = cell.replace(",", " ").split()
        if not hashes:
            self.complain(where, "mended in no commit")
        for name in hashes:
            if not re.fullmatch(r"[0-9a-f]{7,40}", name):
                self.complain(where, "not a commit: %s" % name)
            elif self.commits and ask_git("cat-file", "-t", name) != "commit":
                self.complain(where, "no commit of this repository: %s" % name)

    def see(self, where, text):
        """Rows and headings of the same document; how many there are."""
        named = re.findall(LABEL, text) + re.findall(LINK, text)
        for name in named:
            if name not in self.places:
                self.complain(where, "there is no %s in this document" % name)
        return len(named)

    def point(self, where, text):
        """One of what is not promised. Other words in backticks (settings, methods) are let be."""
        names = re.findall(NAMES, text)
        for name in names:
            if name not in self.found:
                self.complain(where, "there is no %s" % name)
        self.named += len(names)
        if not self.see(where, text) + len(names) and UNTESTED not in text.lower():
            self.complain(where, "neither evidence nor \"%s\": %s" % (UNTESTED, text[:60]))

    def points(self, path, lines):
        """The points of the section, each joined into one line."""
        begin = lines.index(POINTS) + 1 if POINTS in lines else len(lines)
        found = []
        for number, line in enumerate(lines[begin:], begin + 1):
            if line.startswith("#"):
                break
            if line.startswith("- "):
                found.append([number, line])
            elif found:
                found[-1][1] += " " + line.strip()
        for number, text in found:
            self.point("%s:%d" % (path, number), text)

    def begins_table(self, where, cells, path):
        """The table whose first line this is; None: one without evidence."""
        if cells[-1] in EVIDENCE + (SEE,):
            return Table(cells)
        if path.endswith(ALL_OF) and cells[0] != "evidence":
            self.complain(where, "a table without evidence")
        return None

    def document(self, path):
        before = self.named
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        self.places = set(re.findall(r"^\| ([A-Z]\d+) \|", "\n".join(lines), re.M)) | {
            "#" + re.sub(r"[^\w-]", "", line.lstrip("# ").lower().replace(" ", "-"))
            for line in lines if line.startswith("#")}
        table, last = None, ""      # with evidence in its last column
        for number, line in enumerate(lines, 1):
            where, begins, last = "%s:%d" % (path, number), not last.startswith("|"), line
            if not line.startswith("|"):
                continue
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if begins:
                table = self.begins_table(where, cells, path)
            elif table and not set(line) <= set("|-"):
                if not table.has(SEE):
                    self.row(where, table, cells)
                elif not self.see(where, cells[-1]):
                    self.complain(where, "a row without evidence: %s" % cells[0])
                elif re.sub("%s|%s" % (LINK, LABEL), "", cells[-1]).strip(", "):
                    self.complain(where, "not understood: %s" % cells[-1])
        self.points(path, lines)
        if self.named == before:
            self.complain(path, "names no evidence at all")


def main(arguments):
    check = Check()
    for path in arguments or [os.path.join(ROOT, name) for name in DOCUMENTS]:
        check.document(path)
    print("%d names, %d wrong" % (check.named, check.wrong))
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
