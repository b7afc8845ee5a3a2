#!/usr/bin/python3
"""What the report is given: files that are damaged or missing, searches of the simulator, matrices of planted
errors; and what its lanes do with unusual histories."""
import contextlib
import io
import json
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import history_maker  # noqa: E402
from report_rig import SEARCH, OnDisk, Tags  # noqa: E402
from report import figures, lanes, page, run, simulated, words  # noqa: E402
from report.history import BadInput, History  # noqa: E402

PLANTED = """1+1+1, at most 20 seeds of 40 s per error, from 1, commit abc
gate-open              found  seed 1 (of 1): the witness is ahead
clamp-off              NOT FOUND in 20 seeds
degrade-early          FOUND BY ANOTHER CHECKER  seed 3 (of 3): no progress
1 of 3 planted errors found by their checkers
"""


class Inputs(OnDisk):
    def refused(self, change, *expected):
        made = history_maker.quiet()
        made.write(self.at)
        change(self.at)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(run.main([self.at]), 2)
        for part in expected:
            self.assertIn(part, errors.getvalue())

    def append(self, name, text):
        def change(directory):
            with open(os.path.join(directory, name), "a") as file:
                file.write(text)
        return change

    def test_what_cannot_be_read_is_named_with_its_place(self):
        self.refused(lambda d: os.unlink(os.path.join(d, "meta.json")), "meta.json")
        self.refused(self.append("meta.json", "}"), "meta.json", "JSON")
        self.refused(self.append("events.jsonl", "not json\n{}\n"), "events.jsonl:6")
        self.refused(self.append("events.jsonl", '{"what": "note"}\n'), "events.jsonl", '"t"')
        self.refused(self.append("observations.jsonl", '{"t": 5000000000000}\n'), "observations.jsonl", "node")
        self.refused(self.append("verdicts.json", "x"), "verdicts.json")
        self.refused(self.append("observe-A.json", "x"), "observe-A.json")
        self.refused(self.append("clients/site-A-0.jsonl", '{"t": 5000000000000}\n'), "site-A-0", "event")
        self.refused(lambda d: None if os.rename(d, d + "-") else None, "no directory")

    # Whoever wrote it was killed in the middle of a line.
    def test_a_last_line_that_is_cut_off_is_told_and_no_error(self):
        made = history_maker.quiet()
        made.write(self.at)
        self.append("observations.jsonl", '{"t": 50')(self.at)
        history = History(self.at)
        self.assertTrue(any("observations.jsonl" in text and "cut off" in text
                            for text in history.missing))

    def test_a_run_without_clients_faults_or_polls_is_told_as_such(self):
        made = history_maker.Made()
        made.write(self.at)
        for name in ("events.jsonl", "observations.jsonl"):
            os.unlink(os.path.join(self.at, name))
        told = figures.Figures(History(self.at))
        said = " ".join(words.unchecked(told.history))
        for part in ("events.jsonl is missing", "observations.jsonl is missing", "clients/ has no logs"):
            self.assertIn(part, said)
        self.assertIn("</html>", page.page([told], [], []))


class Searches(OnDisk):
    def test_a_search_is_told_with_its_violations_and_their_command(self):
        search, = simulated.searches(self.file("search", SEARCH + SEARCH.split("\n")[2] + "\n"))
        self.assertEqual((search["topology"], search["seeds"], search["hours"], search["failed"]),
                         ("1+1+1", 20, 0.37, 1))
        self.assertEqual(search["faults"], {"kill": 12, "cut_host": 3})
        self.assertEqual(search["violations"][0]["seed"], 12)
        self.assertIn("--verbose-seed 12", search["violations"][0]["command"])
        text = page.page([], [search], [])
        self.assertIn("1 broke a promise", text)
        # What it was stands in the first lines, with the way there.
        self.assertIn("#simulator'>simulator, 1+1+1, seed 12</a>: commit implies both sites",
                      page.page([], [search, search], []).partition("<h2")[0])
        self.assertIn("id=simulator", text)
        self.assertEqual(page.total([], [search], []), "broken")

    def test_a_planted_error_that_was_missed_breaks_the_report(self):
        matrix = simulated.planted(self.file("planted", PLANTED))
        self.assertEqual([row["found"] for row in matrix["rows"]], [True, False, False])
        self.assertEqual(page.total([], [], [matrix]), "broken")
        self.assertIn("2 of 3 planted errors were not found: clamp-off, degrade-early",
                      page.page([], [], [matrix]))
        as_json = {"rows": [{"bug": "a", "found": True, "checker": "c", "seed": 1}]}
        matrix = simulated.planted(self.file("json", json.dumps(as_json)))
        self.assertEqual(page.total([], [], [matrix]), "holds")

    def test_an_alarm_with_nothing_planted_breaks_the_report(self):
        told = {"rows": [{"bug": "a", "found": True}], "alarms": ["seed 3: two leaders"]}
        matrix = simulated.planted(self.file("json", json.dumps(told)))
        self.assertEqual(page.total([], [], [matrix]), "broken")
        self.assertIn("seed 3: two leaders", page.page([], [], [matrix]))

    def test_totals_of_a_search_are_shown_and_good_runs_are_folded(self):
        path = self.file("summary", json.dumps({"runs": [{"status": 0}, {"status": 1}], "faults": {
            "kill": 12345}, "checked": {"money": 7}, "skipped": [
                "slow-link: no netem", {"scenario": "disk-full", "why": "no small disk"}],
            "commit": "a1b2c3d", "machine": "2 cores",
            "command": "scripts/chaos.sh --seed 7 --no-random"}))
        told = figures.Figures(History(history_maker.quiet().write(self.at)))
        text = page.page([told] * 5, [], [], simulated.summary(path))
        for part in ("2 runs on real processes, 1 of them without a find", "12\u202f345", "slow-link: no",
                     "<li>disk-full: no small disk</li>", "a1b2c3d, 2 cores",
                     "<code>scripts/chaos.sh --seed 7 --no-random</code>"):
            self.assertIn(part, text)
        self.assertEqual(text.count("seed 7: held</summary>"), 5)
        tags = Tags()
        tags.feed(text)
        self.assertEqual((tags.open, tags.wrong), ([], []))
        with self.assertRaises(BadInput):
            simulated.summary(self.file("summary", '{"runs": 5}'))

    def test_a_run_of_the_search_that_left_no_history_counts(self):
        told = figures.Figures(History(history_maker.quiet().write(self.at)))
        for status, verdict, said in ((0, "holds", "Everything that was checked held"),
                                      (1, "broken", "Broken: 1 of 2 runs of the search"),
                                      (2, "unjudged", "<li>link-cut, seed 9</li>")):
            told_summary = simulated.summary(self.file("summary", json.dumps({"runs": [
                {"status": 0}, {"status": status, "name": "link-cut", "seed": 9}],
                "faults": {}, "checked": {}})))
            self.assertEqual(page.total([told], [], [], told_summary), verdict)
            self.assertIn(said, page.page([told], [], [], told_summary))
            self.assertEqual(page.document([told], [], [], told_summary)["verdict"], verdict)

    def test_a_search_that_ran_nothing_claims_nothing(self):
        nothing = simulated.summary(self.file("summary", '{"runs": [], "faults": {}, "checked": {}}'))
        self.assertEqual(page.total([], [], [], nothing), "unjudged")
        text = page.page([], [], [], nothing)
        self.assertIn("Not judged: nothing is claimed", text)
        self.assertNotIn("held</p>", text)

    def test_the_story_of_a_seed_made_short_stands_with_its_violation(self):
        story = "seed 12: 1 of 9 faults and 3 s are enough\n   1.0  fault 1 <kill>"
        path = self.file("search", SEARCH + "-- seed 12 made short\n%s\n--\n" % story + SEARCH.replace(
            "seed 12", "seed 13").replace("12.5 s", "12.6 s"))
        first, second = simulated.searches(path)
        self.assertEqual(first["violations"][0]["story"], story.split("\n"))
        self.assertEqual((second["violations"][0]["seed"], second["violations"][0]["story"]), (13, []))
        text = page.page([], [first, second], [])
        self.assertIn("are enough\n   1.0  fault 1 &lt;kill&gt;</pre>", text)
        self.assertEqual(text.count("its story"), 1)

    def test_faults_that_began_and_hit_nothing_are_told_apart(self):
        told = simulated.summary(self.file("summary", json.dumps({
            "runs": [{"status": 0}], "faults": {"kill": 4}, "begun": {"kill": 5, "slow-reads": 2},
            "checked": {}, "failures": ["the search was interrupted"]})))
        text = page.page([], [], [], told)
        self.assertRegex(text, "kill</td><td[^>]*>4</td><td[^>]*>5</td>")
        self.assertRegex(text, "slow-reads</td><td[^>]*>0</td><td[^>]*>2</td>")
        self.assertIn("<li>the search was interrupted</li>", text)
        self.assertEqual(page.total([], [], [], told), "unjudged")

    def test_a_file_with_no_summary_is_no_success(self):
        for reader, text in ((simulated.searches, "no progress\n"), (simulated.planted, "hello\n"),
                             (simulated.planted, '{"rows": []}'), (simulated.planted, '{"rows": [1]}')):
            with self.assertRaises(BadInput):
                reader(self.file("x", text))


class Lanes(OnDisk):
    # Making the cluster and judging it take longer than many a run.
    def test_the_timeline_is_of_what_was_seen(self):
        made = history_maker.Made(100.0)
        made.poll(30.0, 1)
        made.request("site-A-0", "n", 40.0, 1.0)
        self.assertEqual([round(at, 3) for at in self.figures(made).window()], [0.0, 41.5])
        made.clients["site-A-0"][0]["t"] = history_maker.ns(30)
        made.fault(50.0, None, "kill", [1])
        self.assertEqual([round(at, 3) for at in self.figures(made).window()], [29.5, 100.5])

    def test_a_pause_is_named_where_that_covers_no_other(self):
        made = history_maker.quiet()
        made.observed = {}
        made.observe("A", {"A": [(1000, 1420), (1450, 1600), (5000, 5150)], "B": []})
        text = lanes.Timeline(self.figures(made), 0, 10).html()
        self.assertEqual(re.findall(r"class='(?:on|bad)' pointer-events=none>(\d+ ms)<", text),
                         ["150 ms", "150 ms"])

    def test_names_of_faults_do_not_cover_each_other(self):
        made = history_maker.Made()
        made.fault(6.5, 7.0, "failing-sync", [1], "A")
        made.fault(8.6, 9.0, "failing-writes", [2], "B")    # its name ends at the edge
        text = lanes.Timeline(self.figures(made), 0, 10).html()
        drawn = re.findall(r"<text x='([\d.]+)' y='([\d.]+)' pointer-events=none( text-anchor=end)?>"
                           r"(\d failing[^<]*)<", text)
        self.assertEqual([(end != "", name.split()[0]) for _, _, end, name in drawn],
                         [(False, "1"), (True, "2")])
        self.assertNotEqual(drawn[0][1], drawn[1][1])

    def test_many_faults_at_once_are_drawn_without_their_names(self):
        made = history_maker.Made()
        for number in range(40):
            made.fault(1 + number / 100, 8, "pause-%d" % number, [1])
        text = lanes.Timeline(self.figures(made), 0, 10).faults()
        self.assertIn("too many at once", text)
        self.assertNotIn(">1 pause-0", text)
        self.assertIn("fault 40: pause-39", text)   # as a title

    def test_nothing_is_drawn_outside_of_the_figure(self):
        made = history_maker.quiet()
        made.fault(-3, 99, "kill", [1])
        text = lanes.Timeline(self.figures(made), 2, 5).html()
        for left, width in re.findall(r"<rect x='([\d.-]+)' y='[\d.-]+' width='([\d.-]+)'", text):
            self.assertGreaterEqual(float(left), lanes.LEFT)
            self.assertLessEqual(float(left) + float(width), lanes.WIDTH)
        for circle in re.findall(r"cy='([\d.-]+)'", text):
            self.assertGreaterEqual(float(circle), 0)


if __name__ == "__main__":
    unittest.main()
