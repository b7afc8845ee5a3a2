"""What the tests of the report share: histories on the disk, and a reader of the page's tags."""
import html.parser
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "chaos"))
from report import figures, page  # noqa: E402
from report.history import History  # noqa: E402

SEARCH = """VIOLATION seed 12: commit implies both sites: entry 7 is at one
    replay: tally-sim --topology 1+1+1 --seconds 60 --verbose-seed 12   (commit abc)
1+1+1: 20 seeds, 0.37 virtual hours in 12.5 s (53 virtual s per s and job), 1 failed, commit abc
  10 commits, 2 elections, 3 starts (1 kills, 1 power losses, 0 fail-stops)
  5 events, 6 turns, 7 messages; faults: kill 12 cut_host 3
"""
VOID = {"meta", "br"}
UNCLOSED = ("li", "p", "td", "th", "tr", "html")   # need no end in HTML


class Tags(html.parser.HTMLParser):
    """Elements that are opened and never closed, or closed and not open; addresses; scripts."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.addresses, self.text = [], [], [], []
        self.ids, self.targets = set(), []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "srcset", "data") or name == "href" and not value.startswith("#"):
                self.addresses.append(value)
            if name == "id":
                self.ids.add(value)
            if name == "href":
                self.targets.append(value)
        if tag not in VOID and tag not in UNCLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        if tag not in ("rect", "line", "circle", "path"):
            self.wrong.append("%s closes itself" % tag)

    def handle_endtag(self, tag):
        if tag in UNCLOSED:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append("</%s>" % tag)

    def handle_data(self, data):
        self.text.append(data)


class OnDisk(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.at = os.path.join(self.scratch.name, "history")

    def tearDown(self):
        self.scratch.cleanup()

    def figures(self, made):
        return figures.Figures(History(made.write(self.at)))

    def page(self, made):
        return page.page([self.figures(made)], [], [])

    def text(self, made):
        tags = Tags()
        tags.feed(self.page(made))
        return " ".join("".join(tags.text).split())

    def file(self, name, text):
        path = os.path.join(self.scratch.name, name)
        with open(path, "w") as file:
            file.write(text)
        return path
