"""What a claim found: violations in words with their evidence, and how much there was to check.

A broken ledger may break one claim a million times over. The first few of each kind are kept, all
are counted. A claim that had nothing to check has not been shown: it is "unchecked", never "holds".
"""
import collections

KEPT_PER_KIND = 20

HOLDS, BROKEN, UNCHECKED = "holds", "broken", "unchecked"

Violation = collections.namedtuple("Violation", "claim text evidence")


class Findings(list):
    """The violations of one claim, a list as long as what is kept of them."""

    def __init__(self, claim):
        super().__init__()
        self.claim = claim
        self.checked = 0            # facts that were looked at
        self.lacks = ""             # what evidence was missing, in words
        self.kinds = {}             # kind -> how often

    def add(self, kind, text, *values, **evidence):
        """`values` go into the text. Evidence is what a program may want; `t` (monotonic, ns) is the moment
        that a report marks. What is None is left out."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] <= KEPT_PER_KIND:
            self.append(Violation(self.claim, text % values if values else text,
                                  dict({key: value for key, value in evidence.items()
                                        if value is not None}, kind=kind)))

    def absorb(self, other):
        """Takes over what another pass found for this claim; returns itself."""
        self.extend(other)
        self.checked += other.checked
        for kind, number in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + number
        return self

    @property
    def count(self):
        return sum(self.kinds.values())

    @property
    def verdict(self):
        if self.kinds:
            return BROKEN
        return HOLDS if self.checked else UNCHECKED

    def summary(self):
        """One sentence for people."""
        if self.kinds:
            return "; ".join("%s: %d times" % item for item in self.kinds.items())
        if not self.checked:
            return self.lacks or "nothing to check in this history"
        return self.lacks
