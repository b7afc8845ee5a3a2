#!/usr/bin/python3
"""The failover loop's own arithmetic: pauses over a window, refusals, verdicts on certificates, and
that the judge, fed with what the observer recorded, finds what was lost, doubled or invented."""
import contextlib
import io
import json
import os
import sys
import tempfile
import types
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
for folder in ("chaos", "bench", "tests/e2e"):
    sys.path.insert(0, os.path.join(ROOT, folder))
sys.dont_write_bytecode = True
import failover_certificate  # noqa: E402
import failover_check  # noqa: E402
import failover_report  # noqa: E402
import judge as judge_of  # noqa: E402
from failover_cell import Cell  # noqa: E402
from failover_events import EVENTS, Event  # noqa: E402

OUTCOMES = ["waiting", "unknown", "acknowledged", "refused", "not executed", "not sent",
            "found posted", "found refused", "found never"]
COLUMNS = ["intended_ms", "sent_ms", "refused_ms", "answered_ms", "resolved_ms", "outcome", "result",
           "attempts", "server", "leader", "durability", "nonce", "issued_at_ns", "answered_wall_ns",
           "index", "timestamp_ns"]
DEBIT, CREDIT = "%032x" % 1, "%032x" % 2


def record(number, outcome="acknowledged", answered=None, refused=None, resolved=None, index=None):
    """Canary `number`, due at number * 10 ms; answered after 2 ms unless said."""
    intended = number * 10.0
    if outcome == "acknowledged" and answered is None:
        answered = intended + 2
    executed = outcome in ("acknowledged", "found posted")
    return [intended, intended + 0.1, refused, answered, resolved, OUTCOMES.index(outcome), 0, 1, 0,
            "1", 0, "%032x" % (1000 + number), "1", str(int((answered or 0) * 1e6)),
            str(index or number + 1) if executed else "0",
            str(10 ** 6 + number) if executed else "0"]


def document(records, events=(), other=()):
    return {"outcomes": OUTCOMES, "ledger": 7, "ended_ms": 10.0 * len(records),
            "events": list(events),
            "sites": [{"name": "A", "columns": COLUMNS, "records": records},
                      {"name": "B", "columns": COLUMNS, "records": list(other)}]}


class Pauses(unittest.TestCase):
    # Held from 50 ms to 300 ms; a window that begins later sees only what is left of it.
    def test_a_window_counts_canaries_intended_in_it(self):
        told = document([record(n, answered=300.0 if 5 <= n < 30 else None) for n in range(60)])
        self.assertEqual(Cell.pause(told, "A", 0, 1000), 250.0)
        self.assertEqual(Cell.pause(told, "A", 200, 1000), 100.0)
        self.assertEqual(Cell.pause(told, "A", 400, 1000), 2.0)

    def test_a_pause_without_an_end_lasts_until_the_end_of_sending(self):
        told = document([record(n, "acknowledged" if n < 10 else "unknown") for n in range(50)])
        self.assertEqual(Cell.pause(told, "A", 0, 1000), 400.0)

    # A late answer to an older request is no answer to those that were due later.
    def test_an_old_answer_ends_no_pause(self):
        told = document([record(n, answered=320.0 if n == 4 else None)
                         if n < 5 or n >= 40 else record(n, "not executed") for n in range(50)])
        self.assertEqual(Cell.pause(told, "A", 0, 1000), 352.0)


class Links(unittest.TestCase):
    def measured(self, refused_after, words="site B: site A is not reached"):
        """A serves all the while; B's canaries are refused so many ms after they were due."""
        other = [record(n) if n < 20 or n >= 400 else
                 record(n, "acknowledged", answered=4010.0,
                        refused=n * 10 + refused_after if refused_after is not None else None)
                 for n in range(450)]
        told = document([record(n) for n in range(450)], [
            {"kind": "mark", "at_ms": 200.0, "text": "event: the link"},
            {"kind": "refusal", "at_ms": 300.0, "text": words},
            {"kind": "mark", "at_ms": 4000.0, "text": "mended"}], other)
        run = {"wrong": [], "number": 0}
        cell = types.SimpleNamespace(at=Cell.at, rows=failover_check.rows_of, pause=Cell.pause)
        EVENTS["link"].measure(cell, run, told)
        return run

    def test_the_serving_side_and_the_refusal_are_found(self):
        run = self.measured(30)
        self.assertEqual((run["serving"], run["wrong"]), (["A"], []))
        self.assertEqual(run["pause_ms"], 2.0)
        self.assertAlmostEqual(run["refusal_ms"], 50)    # the first one, from 20 ms before the mark
        self.assertTrue(all(good for _, _, good in EVENTS["link"].verdict([run])))

    def test_silence_is_no_refusal(self):
        run = self.measured(None)
        self.assertGreater(run["refusal_ms"], 3000)
        self.assertFalse(all(good for _, _, good in EVENTS["link"].verdict([run])))

    # Each is told only after 1.2 s: those of the first second are counted, the later ones measured.
    def test_refusals_that_come_late_do_not_do(self):
        run = self.measured(1200)
        self.assertAlmostEqual(run["refusal_ms"], 1220)
        self.assertGreater(run["told_late"], 90)
        self.assertFalse(all(good for _, _, good in EVENTS["link"].verdict([run])))

    def test_a_refusal_that_names_nothing_does_not_do(self):
        run = self.measured(30, "site B: try again")
        self.assertFalse(all(good for _, _, good in EVENTS["link"].verdict([run])))

    def test_two_sides_that_serve_are_wrong(self):
        both = [record(n) for n in range(450)]
        told = document(both, [{"kind": "mark", "at_ms": 200.0, "text": "event: the link"},
                               {"kind": "mark", "at_ms": 4000.0, "text": "mended"}], both)
        run = {"wrong": [], "number": 0}
        cell = types.SimpleNamespace(at=Cell.at, rows=failover_check.rows_of, pause=Cell.pause)
        EVENTS["link"].measure(cell, run, told)
        self.assertEqual(len(run["wrong"]), 1)


class Flaps(unittest.TestCase):
    def measured(self, changes, cuts_ms, hour=2, hour_before=0, stall_ms=0):
        """Cuts are (begin, end)."""
        told = document([record(n) for n in range(50)],
                        [{"kind": "mark", "at_ms": 100.0, "text": "event: the link"}],
                        [record(n) for n in range(50)])
        run = {"wrong": [], "number": 0, "stall_ms": stall_ms, "flaps": len(cuts_ms),
               "cuts_ms": [[begin, begin, end, end] for begin, end in cuts_ms],
               "before": {"term": 2, "number": 7, "changes_last_hour": hour_before},
               "after": {"term": 2, "number": 7 + changes, "changes_last_hour": hour},
               "sites": {name: {"outcomes": {"unknown": 0, "waiting": 0}} for name in "AB"}}
        EVENTS["flapping"].measure(types.SimpleNamespace(at=Cell.at, pause=Cell.pause), run, told)
        return run

    def holds(self, *told, **more):
        run = self.measured(*told, **more)
        return all(good for _, _, good in EVENTS["flapping"].verdict([run]))

    def test_the_times_of_each_cut_are_kept(self):
        done, site = [], lambda name: [types.SimpleNamespace(node_id=name)]
        network = types.SimpleNamespace(cut=done.append, heal=lambda: done.append("heal"))
        cell = types.SimpleNamespace(
            made=types.SimpleNamespace(network=network, site=site), mark=lambda text: None,
            arguments=types.SimpleNamespace(flap_seconds=0.05),
            draw=types.SimpleNamespace(uniform=lambda least, most: 0.01))
        run = {}
        EVENTS["flapping"].strike(cell, run, None)
        self.assertEqual(done, [[("A", "B")], "heal"] * run["flaps"])
        self.assertGreater(run["flaps"], 0)
        for times in run["cuts_ms"]:
            self.assertEqual(times, sorted(times))
            self.assertGreaterEqual(times[2] - times[1], 9)
        self.assertEqual(len(run["cuts_ms"]), run["flaps"])

    # Cuts of a second, a second apart: no return fits in between, whatever is the number of cuts.
    CLOSE = [(n * 2000, n * 2000 + 1000) for n in range(30)]

    def test_what_comes_back_before_its_dwell_is_found(self):
        self.assertTrue(self.holds(5, self.CLOSE))
        self.assertFalse(self.holds(6, self.CLOSE))

    def test_a_return_fits_in_where_the_link_was_up_for_the_dwell(self):
        for gap, allowed in ((2600, 5), (2700, 7), (6600, 7), (6700, 9)):
            cuts = [(0, 1000), (1000 + gap, 2000 + gap)]
            self.assertEqual(self.measured(1, cuts)["changes_allowed"], allowed, gap)

    # 599 ms: behind the 300 of lag_ms nobody may have looked before it was over.
    def test_a_short_cut_does_not_begin_the_dwell_anew(self):
        for cut, allowed in ((599, 7), (600, 5)):
            cuts = [(0, 1000), (2000, 2000 + cut), (3700, 4700)]
            self.assertEqual(self.measured(1, cuts)["changes_allowed"], allowed, cut)

    def test_a_stall_may_hide_a_cut_on_machines_under_test_only(self):
        cuts = [(0, 2000), (3000, 4000), (5000, 7000)]
        self.assertEqual(self.measured(1, cuts, stall_ms=250)["changes_allowed"], 5)
        Event.forgives = True
        try:
            self.assertEqual(self.measured(1, cuts, stall_ms=250)["changes_allowed"], 7)
        finally:
            Event.forgives = False

    # The last change below the cap is kept for a degrade; one that comes on top of others is not held back.
    def test_the_cap_holds_over_the_runs(self):
        self.assertTrue(self.holds(1, self.CLOSE, hour=60, hour_before=59))
        self.assertFalse(self.holds(2, self.CLOSE, hour=61, hour_before=59))
        self.assertTrue(self.holds(1, self.CLOSE, hour=121, hour_before=120))
        self.assertFalse(self.holds(2, self.CLOSE, hour=122, hour_before=120))


class Targets(unittest.TestCase):
    def runs(self, *values):
        return [{"pause_ms": v, "wrong": [], "number": n} for n, v in enumerate(values)]

    def test_the_limits_of_the_table(self):
        rows = (("leader-site", (700, 700, 2000), True), ("leader-site", (701, 701, 702), False),
                ("leader-site", (300, 300, 2001), False), ("other-site", (1500,), True),
                ("other-site", (1501,), False), ("witness", (100,), True), ("witness", (101,), False))
        for name, values, good in rows:
            cell = {"event": name, "runs": self.runs(*values)}
            self.assertEqual(failover_report.holds(cell), good, (name, values))

    def test_slack_multiplies_limits_and_forgives_no_loss(self):
        Event.slack = 2.0
        try:
            cell = {"event": "witness", "runs": self.runs(150)}
            self.assertTrue(failover_report.holds(cell))
            cell["runs"][0]["wrong"].append("lost")
            self.assertFalse(failover_report.holds(cell))
        finally:
            Event.slack = 1.0

    def test_a_stall_is_forgiven_to_machines_under_test_only(self):
        cell = {"event": "witness", "runs": [{"pause_ms": 250, "stall_ms": 100, "wrong": [], "number": 0}]}
        self.assertFalse(failover_report.holds(cell))
        Event.forgives = True
        try:
            self.assertTrue(failover_report.holds(cell))
            cell["runs"][0]["stall_ms"] = 70
            self.assertFalse(failover_report.holds(cell))
            cell["runs"][0].update(stall_ms=100, wrong=["lost"])
            self.assertFalse(failover_report.holds(cell))
        finally:
            Event.forgives = False

    def test_only_what_is_a_matter_of_time_may_be_repeated(self):
        cell = {"event": "witness", "runs": self.runs(150)}
        self.assertTrue(failover_report.may_be_repeated(cell))
        cell["runs"][0]["unmet"] = ["nobody serves"]
        self.assertTrue(failover_report.may_be_repeated(cell))
        cell["runs"][0]["pause_ms"] = 1
        self.assertFalse(failover_report.holds(cell))
        self.assertTrue(failover_report.may_be_repeated(cell))
        cell["runs"][0]["wrong"] = ["lost"]
        self.assertFalse(failover_report.may_be_repeated(cell))
        self.assertFalse(failover_report.may_be_repeated({"event": "witness", "runs": self.runs(1)}))
        self.assertFalse(failover_report.may_be_repeated({"event": "witness", "runs": [], "broken": "x"}))

    def test_a_cell_that_broke_or_has_no_run_does_not_hold(self):
        self.assertFalse(failover_report.holds({"event": "witness", "runs": []}))
        self.assertFalse(failover_report.holds({"event": "witness", "runs": self.runs(1),
                                                "broken": "x"}))
        self.assertTrue(failover_report.holds({"event": "switchover", "runs": [], "skipped": "x"}))


class Certificates(unittest.TestCase):
    def judged(self, **told):
        claim = dict({"survivors": [1], "verdict": "UNKNOWN", "basis": "nothing", "seconds": None,
                      "known_index": 0, "known_time_ns": 0, "last_index": 90}, **told)
        # 100 canaries at log indexes 1 to 100, answered at 2, 12, 22 ... 992 ms.
        return failover_certificate.judge({"stopped_ns": 10 ** 9, "told": [claim]},
                                          document([record(n) for n in range(100)]))

    def test_what_is_true_is_not_held_against_it(self):
        self.assertEqual(self.judged(), [])
        self.assertEqual(self.judged(verdict="PROVEN_ZERO", last_index=100), [])
        self.assertEqual(self.judged(verdict="BOUNDED_BY_TIME", seconds=0.2), [])
        self.assertEqual(self.judged(known_index=50, known_time_ns=495 * 10 ** 6), [])

    # The last entry of the survivors is 90, and canaries up to 100 were acknowledged.
    def test_zero_claimed_over_a_loss_is_found(self):
        self.assertIn("PROVEN_ZERO", self.judged(verdict="PROVEN_ZERO")[0])

    # The first lost one was answered at 902 ms; 0.05 s before the end is 950.
    def test_a_bound_that_is_too_short_is_found(self):
        self.assertIn("earlier", self.judged(verdict="BOUNDED_BY_TIME", seconds=0.05)[0])

    def test_a_known_index_below_what_was_acknowledged_is_found(self):
        self.assertIn("at or below", self.judged(known_index=49, known_time_ns=495 * 10 ** 6)[0])

    def test_answers_after_the_stop_do_not_count(self):
        taken = {"stopped_ns": 500 * 10 ** 6, "told": [
            {"survivors": [1], "verdict": "PROVEN_ZERO", "basis": "majority", "seconds": 0,
             "known_index": 0, "known_time_ns": 0, "last_index": 50}]}
        self.assertEqual(failover_certificate.judge(
            taken, document([record(n) for n in range(100)])), [])


class Judging(unittest.TestCase):
    """The observer's records as logs of the judge, against ledgers that are made up."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.logs = os.path.join(self.directory.name, "logs")
        os.mkdir(self.logs)

    def tearDown(self):
        self.directory.cleanup()

    def judged(self, records, ledger):
        """Kinds of violations, for a ledger with these (number, stamp) as posted canaries."""
        told = document(records)
        failover_check.canary_log(os.path.join(self.logs, "site-A.log"), told, told["sites"][0],
                                  DEBIT, CREDIT)
        rows, debits = [], {DEBIT: 0, CREDIT: 0}
        for place, (number, stamp) in enumerate(ledger):
            one, two = (CREDIT, DEBIT) if number % 2 else (DEBIT, CREDIT)
            debits[one] += 1
            rows.append(["transfer", place, "%032x" % (1000 + number), one, two, 1, 7, 1, 0, stamp, 0])
        accounts = [["account", i, 7, 1, 0, debits[i], len(ledger) - debits[i], 0, 0, len(ledger), stamp]
                    for stamp, i in enumerate((DEBIT, CREDIT), 1)]
        lines = [["ledger", 7, "XTS", 2]] + accounts + rows + [
            ["trial", 7, len(ledger), len(ledger), True], ["end", 2, len(ledger)]]
        export = os.path.join(self.directory.name, "export")
        with open(export, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        failover_check.write_log(os.path.join(self.logs, "setup.log"), "setup", [
            {"event": "send", "nonce": "00" * 16, "method": "CreateAccounts",
             "events": [[i, 7, 1, 0] for i in (DEBIT, CREDIT)]},
            {"event": "answer", "nonce": "00" * 16, "body": "0a020000" "11" + "00" * 8 + "19"
             + (1).to_bytes(8, "little").hex()}])
        judge = judge_of.Judge()
        for name in sorted(os.listdir(self.logs)):
            judge.read_log(os.path.join(self.logs, name))
        judge.read_export(export)
        judge.judge()
        return set(judge.violations)

    def ledger(self, count):
        return [(n, 10 ** 6 + n) for n in range(count)]

    def test_what_fits_passes(self):
        records = [record(n) for n in range(5)]
        records.append(record(5, "found posted", resolved=500.0))
        records.append(record(6, "found never", resolved=510.0))
        records.append(record(7, "not executed"))
        self.assertEqual(self.judged(records, self.ledger(6)), set())

    def test_a_lost_acknowledgement_is_found(self):
        self.assertIn("lost", self.judged([record(n) for n in range(5)], self.ledger(4)))

    def test_one_that_is_there_twice_is_found(self):
        twice = self.ledger(5) + [(4, 10 ** 6 + 9)]
        self.assertIn("id twice", self.judged([record(n) for n in range(5)], twice))

    def test_one_that_was_certainly_not_executed_is_found(self):
        records = [record(n) for n in range(4)] + [record(4, "not executed")]
        self.assertIn("invented", self.judged(records, self.ledger(5)))

    def test_a_fenced_one_that_was_posted_is_found(self):
        records = [record(n) for n in range(4)] + [record(4, "found never", resolved=500.0)]
        self.assertIn("refused but posted", self.judged(records, self.ledger(5)))

    def test_one_that_stayed_unknown_is_found(self):
        records = [record(n) for n in range(4)] + [record(4, "unknown")]
        self.assertIn("outcome unknown", self.judged(records, self.ledger(4)))


class LoadOfBench(unittest.TestCase):
    def judged(self, acknowledged, rows, totals):
        """rows: ids as posted, each of 5 minor units."""
        api = types.SimpleNamespace(ask=lambda *a, **k: types.SimpleNamespace(
            debits_posted=types.SimpleNamespace(low=totals[0], high=0),
            credits_posted=types.SimpleNamespace(low=totals[1], high=0)))
        text = "".join(json.dumps({"id": i, "result": "OK", "sequence": str(n),
                                   "amount": {"minor": "5"}}) + "\n" for n, i in enumerate(rows))
        made = types.SimpleNamespace(tool=lambda *a, **k: (0, text))
        node = types.SimpleNamespace(api=lambda name: api)
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(bytes.fromhex(i) for i in acknowledged))
            file.flush()
            return failover_check.LoadLedger().judge(made, node, [file.name])

    def test_a_load_is_judged_by_ids_and_totals(self):
        ids = ["%032x" % n for n in range(4)]
        self.assertEqual(self.judged(ids, ids, (20, 20)), ([], 4))
        self.assertIn("LOST", self.judged(ids, ids[:3], (15, 15))[0][0])
        self.assertIn("twice", self.judged(ids, ids + ids[:1], (25, 25))[0][0])
        self.assertIn("sum", self.judged(ids, ids, (25, 20))[0][0])
        self.assertEqual(self.judged(ids[:2], ids, (20, 20))[0], [])    # unknown ones may be there


class Report(unittest.TestCase):
    def test_words_from_outside_are_text_in_the_page(self):
        cell = {"event": "witness", "title": "<t>", "target": "<g>", "topology": "1+1+1",
                "runs": [], "broken": "<script>alert(1)</script>"}
        page = failover_report.page({"machine": "<m>", "began": "now", "command": "<c>", "seed": 1,
                                     "silence": "<s>", "load_percent": 50, "cells": [cell]})
        for foreign in ("<script>alert", "<t>", "<g>", "<m>", "<c>", "<s>"):
            self.assertNotIn(foreign, page)
        with contextlib.redirect_stdout(io.StringIO()):
            print(failover_report.text({"cells": [cell]}))

    def test_the_first_line_says_what_did_not_hold(self):
        def said(run=None, **of_document):
            run = dict({"number": 0, "pause_ms": 5, "wrong": [], "way": "kill", "leader": 1}, **run or {})
            return failover_report.headline(dict({"cells": [{
                "event": "witness", "title": "Witness lost", "topology": "1+1+1", "runs": [run]}]},
                **of_document))
        self.assertEqual(said()[0], "good")
        self.assertIn("witness lost on 1+1+1", said({"pause_ms": 101})[1])
        self.assertIn("lost, doubled", said({"wrong": ["x"]})[1])
        self.assertEqual(said(interrupted=True)[0], "warn")
        self.assertEqual(said(cells=[])[0], "warn")

    # Verdict and figure go by the same limit.
    def test_lines_of_limits_are_multiplied_as_the_limits_are(self):
        cell = {"event": "witness", "topology": "1+1+1", "runs": [
            {"number": 0, "pause_ms": 150, "wrong": [], "way": "kill", "leader": 1}]}
        self.assertIn("limit for each run: 100 ms", failover_report.panel(cell))
        self.assertIn("stroke:var(--bad)", failover_report.panel(cell))
        self.assertIn("limit for each run: 300 ms", failover_report.panel(cell, 3))
        self.assertNotIn("stroke:var(--bad)", failover_report.panel(cell, 3))

    def test_a_folder_that_is_not_there_is_made(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = os.path.join(scratch, "new", "report")
            failover_report.write({"machine": "m", "began": "now", "command": "c", "silence": "s",
                                   "load_percent": 50, "cells": []}, path)
            self.assertTrue(os.path.exists(path + ".html") and os.path.exists(path + ".json"))


if __name__ == "__main__":
    unittest.main()
