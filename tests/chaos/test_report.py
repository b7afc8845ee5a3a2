#!/usr/bin/python3
"""The report says what a history holds, in words first, and never more than was checked."""
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import history_maker  # noqa: E402
from report_rig import SEARCH, OnDisk, Tags  # noqa: E402
from nemesis import findings  # noqa: E402
from nemesis.fault import all_faults  # noqa: E402
from report import figures, look, page, run, simulated, words  # noqa: E402
from report.history import History  # noqa: E402


class Verdicts(OnDisk):
    def verdict(self, made):
        return words.verdict(History(made.write(self.at)))

    def test_what_was_checked_and_held_holds(self):
        made = history_maker.quiet()
        self.assertEqual(self.verdict(made), "holds")
        self.assertIn("Everything that was checked held. 2 claims, none broken.", self.text(made))

    def test_a_violation_breaks_and_is_told_with_its_evidence(self):
        made = history_maker.quiet()
        made.verdicts["violations"] = [{"claim": "money", "text": "5 appeared", "evidence": {
            "t": history_maker.ns(3.5), "account": "ab12"}}]
        self.assertEqual(self.verdict(made), "broken")
        said = self.text(made)
        for words_of in ("A promise was broken: money.", "5 appeared", "ab12"):
            self.assertIn(words_of, said)
        self.assertIn("limit dashed", self.page(made))      # marked on the timeline

    def test_what_the_run_claims_of_itself_is_told_in_words(self):
        for name in findings.CLAIMS:
            self.assertIn("run: " + name, words.OWN)
        made = history_maker.quiet()
        made.verdicts["claims"].append({"name": "run: journals", "verdict": "holds", "checked": 3,
                                        "text": ""})
        self.assertIn(words.OWN["run: journals"], self.text(made))

    def test_each_part_of_a_story_is_a_paragraph(self):
        made = history_maker.quiet()
        made.meta["story"] = "one: The first.\n\ntwo: The\nsecond."
        said = self.page(made)
        self.assertIn("<p>one: The first.</p><p>two: The\nsecond.</p>", said)

    def test_a_broken_claim_without_a_violation_breaks_as_well(self):
        made = history_maker.quiet()
        made.verdicts["claims"][0]["verdict"] = "broken"
        self.assertEqual(self.verdict(made), "broken")
        self.assertIn("A promise was broken: acknowledged.", self.text(made))

    # A report without checkers, without a claim that was looked at, or of a run without an end must
    # not read like a good one.
    def test_what_nobody_checked_is_not_called_good(self):
        for change in (lambda m: setattr(m, "verdicts", None),
                       lambda m: m.verdicts.update(claims=[]),
                       lambda m: [c.update(verdict="unchecked") for c in m.verdicts["claims"]],
                       lambda m: [c.update(name="run: " + c["name"]) for c in m.verdicts["claims"]],
                       lambda m: m.meta.update(failed="a client did not settle"),
                       lambda m: m.meta.pop("end")):
            made = history_maker.quiet()
            change(made)
            with tempfile.TemporaryDirectory() as self.at:
                self.assertEqual(self.verdict(made), "unjudged")
                self.assertIn("Not judged", self.text(made))
                self.assertNotIn("Everything that was checked held", self.text(made))

    # What the run itself cut off leaves requests without an end, and a checker calls that broken.
    def test_of_a_run_that_failed_nothing_is_claimed(self):
        made = history_maker.quiet()
        made.meta["failed"] = "a client did not settle\nmore"
        made.verdicts["violations"] = [{"claim": "money", "text": "5 appeared", "evidence": None}]
        self.assertEqual(self.verdict(made), "unjudged")
        said = self.text(made)
        for part in ("the run itself failed: a client did not settle", "5 appeared",
                     "may be a consequence"):
            self.assertIn(part, said)

    def test_what_was_not_checked_is_listed(self):
        made = history_maker.quiet()
        made.verdicts["claims"].append({"name": "linearizable", "verdict": "unchecked", "checked": 0,
                                        "text": "no read told its index"})
        made.meta["skipped"] = ["disk-full: no loop devices here"]
        made.observed = {}
        said = self.text(made)
        for part in ("linearizable: no read told its index", "no loop devices here",
                     "no report of tally observe"):
            self.assertIn(part, said.split("What was not checked")[1].split("To repeat it")[0])

    # All disks rolled back: the loss is what a checker has to find.
    def test_what_a_scenario_wants_broken_has_to_be_found(self):
        made = history_maker.quiet()
        made.meta["must_break"] = ["money"]
        self.assertEqual(self.verdict(made), "broken")
        self.assertIn("demands a finding", self.text(made))
        made.verdicts["claims"][1]["verdict"] = "broken"
        made.verdicts["violations"] = [{"claim": "money", "text": "lost", "evidence": None}]
        self.assertEqual(self.verdict(made), "holds")
        self.assertIn("broken, as the scenario demands", self.text(made))
        made.verdicts["violations"].append({"claim": "acknowledged", "text": "x", "evidence": None})
        self.assertEqual(self.verdict(made), "broken")
        made.meta["may_break"] = ["acknowledged", "stamps"]    # stamps hold, and need not break
        self.assertEqual(self.verdict(made), "holds")


class Seen(OnDisk):
    def test_leaders_rule_and_what_a_site_lacked_are_as_nodes_told(self):
        told = self.figures(history_maker.quiet())
        self.assertEqual([(row["node"], row["term"]) for row in told.leaders], [(1, 1), (2, 2)])
        self.assertAlmostEqual(told.leaders[1]["from"], 4.4)
        self.assertEqual([mode for _, _, (mode, _) in told.rule], ["sync", "degraded", "sync"])
        self.assertAlmostEqual(max(s[2] for s in told.lacking["B"]), 2.6)
        self.assertEqual([(a, s) for a, _, s in told.processes[1]], [(4.0, "down"), (6.0, "starts")])

    def test_a_deposed_leader_does_not_tell_the_rule(self):
        made = history_maker.Made()
        made.poll(1.0, 2, leads=True, term=5, mode="degraded", number=3)
        made.poll(1.1, 1, leads=True, term=4, mode="sync")
        self.assertEqual([mode for _, _, (mode, _) in self.figures(made).rule], ["degraded"])

    # An observation counts for HOLD seconds; behind that nobody looked.
    def test_where_nobody_looked_nothing_is_claimed(self):
        made = history_maker.Made()
        made.poll(1.0, 1, leads=True)
        made.poll(8.0, 1, leads=True)
        spans = self.figures(made).nodes[1]
        self.assertEqual([(a, b) for a, b, _ in spans], [(1.0, 1.0 + figures.HOLD),
                                                       (8.0, 8.0 + figures.HOLD)])

    def test_a_machine_that_stood_still_is_told(self):
        self.assertNotIn("The machine was slow", self.text(history_maker.quiet()))
        made = history_maker.quiet()
        made.polls = [row for row in made.polls if not 2e9 < row["t"] - history_maker.BEGIN < 5e9]
        self.assertIn("1 time nobody looked at any node for more than 1 s, at most for 3.0 s",
                      self.text(made))

    def test_what_is_not_known_of_a_site_is_no_zero(self):
        made = history_maker.quiet()
        for row in made.polls:
            if row["reachable"] and row["status"]["leads"]:
                row["status"]["rpo"] = [{"site": "B", "entries": None, "seconds": None}]
        said = self.page(made)
        self.assertIn("What site B lacks", said)
        self.assertIn("not known, 0.00 s", said)
        self.assertNotIn("nothing, as often", said)

    def test_faults_are_told_with_begin_end_and_place(self):
        made = history_maker.Made()
        made.fault(1.0, 3.0, "cut", [1, 2], text="both ways")
        made.fault(2.0, 2.5, "cut", [1, 3])
        made.fault(4.0, None, "site-loss", [2], "B")
        told = self.figures(made)
        self.assertEqual([(f["from"], f["to"], figures.place(f)) for f in told.faults], [
            (1.0, 3.0, "nodes 1, 2"), (2.0, 2.5, "nodes 1, 3"), (4.0, None, "site B, node 2")])
        self.assertEqual(told.kinds, {"cut": 2, "site-loss": 1})
        said = self.text(made)
        self.assertIn("3 faults, from 1.0 s to 10 s: 2 cut, 1 site-loss.", said)
        self.assertIn("no end told", said)

    def test_kinds_of_faults_have_their_family(self):
        for kind, name in (("kill", "processes and sites"), ("site-loss", "processes and sites"),
                           ("packet-loss", "network"), ("one-way", "network"), ("disk full", "disk"),
                           ("power-loss", "power"), ("clock-jump", "clock"), ("die-in-write", "disk"),
                           ("storm", "load and memory"),
                           ("certificate-revoked", "operators"), ("pause", "processes and sites")):
            self.assertEqual(figures.family(kind)[0], name, kind)

    def test_each_fault_of_the_nemesis_has_the_family_that_it_names_itself(self):
        families = {"process": "processes and sites", "network": "network", "disk": "disk",
                    "clock": "clock", "memory": "load and memory", "clients": "load and memory",
                    "operator": "operators", "security": "operators"}
        for name, kind in all_faults().items():
            wanted = "power" if name == "power-loss" else families[kind.kind]
            self.assertEqual(figures.family(name)[0], wanted, name)


class Clients(OnDisk):
    def clients(self, made):
        return History(made.write(self.at)).clients

    def test_a_request_takes_until_its_outcome_repeats_included(self):
        clients = self.clients(history_maker.quiet())
        self.assertEqual((clients.counts["in doubt"], clients.resolutions["a repeat was answered"]), (1, 1))
        doubt = clients.doubts[0]
        self.assertEqual((doubt["doubt_s"], doubt["until_s"], doubt["why"]), (4.02, 4.5, "UNAVAILABLE"))
        self.assertAlmostEqual(max(clients.by_site["A"].took), 0.51, places=3)

    def test_each_way_out_of_doubt_has_its_words(self):
        made = history_maker.Made()
        for number, outcome in enumerate(("EXECUTED", "REQUEST_FENCED")):
            made.request("site-A-0", "n%d" % number, 1.0, None)
            made.line("site-A-0", 1.5, "unknown", nonce="n%d" % number, why="DEADLINE_EXCEEDED")
            made.line("site-A-0", 1.6, "told", nonce="n%d" % number, outcome="NOT_YET_SEEN")
            made.line("site-A-0", 2.0, "told", nonce="n%d" % number, outcome=outcome)
        made.request("site-A-0", "never", 3.0, None)
        clients = self.clients(made)
        self.assertEqual(clients.resolutions, {"asked: it was executed": 1, "open at the end": 1,
                                               "fenced: it never was and never will be": 1})
        self.assertEqual((clients.counts["acknowledged"], clients.counts["refused"],
                          clients.counts["open"]), (1, 1, 1))

    def test_doubt_begins_with_the_first_call_without_an_answer(self):
        made = history_maker.Made()
        made.request("site-A-0", "n", 1.0, None)
        for at in (1.5, 2.5):
            made.line("site-A-0", at, "unknown", nonce="n", why="UNAVAILABLE")
            made.line("site-A-0", at + 0.1, "again", nonce="n")
        made.line("site-A-0", 3.0, "answer", nonce="n", body="")
        doubt, = self.clients(made).doubts
        self.assertEqual((doubt["doubt_s"], doubt["until_s"], doubt["calls"]), (1.5, 3.0, 3))

    def test_a_repeat_of_what_is_known_puts_nothing_in_doubt(self):
        made = history_maker.Made()
        made.request("site-A-0", "n", 1.0, 0.1)
        made.line("site-A-0", 2.0, "again", nonce="n")
        made.line("site-A-0", 2.1, "unknown", nonce="n", why="UNAVAILABLE")
        clients = self.clients(made)
        self.assertEqual((clients.counts["in doubt"], clients.counts["acknowledged"]), (0, 1))

    def test_buckets_count_rates_and_percentiles(self):
        made = history_maker.Made()
        for number in range(100):
            made.request("site-A-0", "n%d" % number, 2.0 + number / 200, 0.001 * (number + 1))
        series = self.clients(made).by_site["A"]
        (rate, half, most_of, slowest), = figures.buckets(series, 0, 10, 1)
        self.assertEqual((rate, round(half, 3), round(most_of, 3), round(slowest, 3)),
                         (10.0, 0.050, 0.099, 0.100))
        self.assertEqual(figures.gaps(series, 0, 10)[0][0], 0)

    def test_requests_in_doubt_are_counted_at_once(self):
        made = history_maker.Made()
        for number, (begin, end) in enumerate(((1, 5), (2, 4), (6, 7))):
            made.request("site-A-%d" % number, "n", begin - 0.1, None)
            made.line("site-A-%d" % number, begin, "unknown", nonce="n", why="")
            made.line("site-A-%d" % number, end, "answer", nonce="n", body="")
        clients = self.clients(made)
        self.assertEqual(figures.doubt_series(clients, 0, 10, 10), [0, 1, 2, 2, 2, 1, 1, 1, 0, 0])
        self.assertEqual(figures.doubt_series(clients, 3, 10, 7), [2, 2, 1, 1, 1, 0, 0])


class Pages(OnDisk):
    def test_a_page_is_whole_needs_no_network_and_its_json_says_the_same(self):
        made = history_maker.quiet(200.0)       # long enough for parts
        made.write(self.at)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(run.main([self.at]), 0)
        with open(os.path.join(self.at, "report.html")) as file:
            text = file.read()
        tags = Tags()
        tags.feed(text)
        self.assertEqual((tags.open, tags.wrong, tags.addresses), ([], [], []))
        self.assertEqual(re.findall(r"https?:", text), [])
        self.assertEqual({t[1:] for t in tags.targets} - tags.ids, set())
        self.assertIn("<details><summary>from", text)
        with open(os.path.join(self.at, "report.json")) as file:
            told = json.load(file)
        self.assertEqual((told["verdict"], told["runs"][0]["faults_by_kind"],
                          told["runs"][0]["in_doubt"]["resolved"]),
                         ("holds", {"kill": 1}, {"a repeat was answered": 1}))

    def test_words_from_outside_are_text_in_the_page(self):
        evil = "<script>alert(1)</script>"
        made = history_maker.quiet()
        for key in ("scenario", "story", "commit", "machine", "command", "seed", "topology"):
            made.meta[key] = evil
        made.meta["skipped"] = [evil]
        made.fault(1, 2, evil, [1], evil, evil)
        made.request("site-A-2", evil, 5.0, None)
        made.line("site-A-2", 5.1, "unknown", nonce=evil, why=evil)
        made.event(3, "note", text=evil)
        made.verdicts["claims"].append({"name": evil, "verdict": "broken", "checked": 1, "text": evil})
        made.verdicts["violations"].append({"claim": evil, "text": evil, "evidence": {"t": 1, "x": evil}})
        text = page.page([self.figures(made)] * 2, simulated.searches(self.file(
            "search", SEARCH.replace("entry 7", evil))), [])
        self.assertEqual(text.count("<script>"), 1)     # the page's own
        self.assertNotIn("alert(1)</script>", text)

    def test_a_violation_of_any_run_is_in_the_first_line(self):
        good, bad = history_maker.quiet(), history_maker.quiet()
        bad.verdicts["violations"] = [{"claim": "money", "text": "x", "evidence": None}]
        paths = [good.write(self.at + "-1"), bad.write(self.at + "-2")]
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(run.main(paths + ["--out", os.path.join(self.scratch.name, "all")]), 1)
        with open(os.path.join(self.scratch.name, "all.html")) as file:
            self.assertIn("Broken: 1 of 2 runs on real processes", file.read().split("<h2")[0])

    def test_text_keeps_its_size_and_colours_follow_the_reader(self):
        text = self.page(history_maker.quiet())
        self.assertIn("prefers-color-scheme: dark", text)
        self.assertIn("@media print", text)
        self.assertEqual(set(re.findall(r"var\(--([a-z]+)\)", text)) - set(look.LIGHT), set())
        self.assertEqual(set(look.LIGHT), set(look.DARK))
        self.assertEqual(re.findall(r"(?:fill|stroke)='#", text), [])


if __name__ == "__main__":
    unittest.main()
