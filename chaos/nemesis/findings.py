"""What the run itself saw that must not be, as claims and violations of the form that checkers use:
the few things that a history cannot show afterwards, or that end a run. In findings.json, and joined
to the checkers' verdicts.json by `check`.

    liveness      within a bounded time after the last fault everything answers, agrees and settles
    processes     no node ends by itself, and each ends well when asked to
    journals      `tally journal verify` finds nothing in any of them, and they agree
    timeline      what the scenario does can be done
    scenario      the scenario's own expectations
"""
CLAIMS = ("liveness", "processes", "journals", "timeline", "scenario")


class Findings:
    def __init__(self, history):
        self.history = history
        self.checked = dict.fromkeys(CLAIMS, 0)
        self.violations = []

    def look(self, claim, count=1):
        """So many things were looked at."""
        self.checked[claim] += count
        self.put()

    def add(self, claim, text, **evidence):
        self.checked[claim] += 1
        self.violations.append({"claim": claim, "text": text, "evidence": evidence})
        self.history.event("note", text="FOUND %s: %s" % (claim, text))
        self.put()

    def put(self):
        broken = {violation["claim"] for violation in self.violations}
        self.history.put("findings.json", {
            "claims": [{"name": claim, "checked": count,
                        "verdict": "broken" if claim in broken else
                        "holds" if count else "unchecked",
                        "text": next((v["text"] for v in self.violations if v["claim"] == claim),
                                     "" if count else "not looked at in this run")}
                       for claim, count in self.checked.items()],
            "violations": self.violations})
