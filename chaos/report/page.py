"""The page: the verdict first, in words; then the evidence, one section per run."""
import datetime
import json

from . import figures as figures_of
from . import lanes, words
from .look import (count, escape, legend, mark, ms, page as whole_page, plural, span, table)

UNFOLDED_RUNS = 3
SHOWN_DOUBTS, SHOWN_FAULTS, SHOWN_EVIDENCE = 200, 1000, 4000
SHOWN_FIRST = 10            # of what did not hold, in the first lines
HEADS = {"holds": ("good", "Everything that was checked held"),
         "broken": ("bad", "Broken"),
         "unjudged": ("warn", "Not judged: nothing is claimed")}


def items(sentences):
    return "<ul>%s</ul>" % "".join("<li>%s</li>" % text for text in sentences)


# ---- a run ----

def verdict_card(figures):
    history = figures.history
    kind, text = words.headline(history)
    out = ["<div class='card verdict %s'><p class=first>%s %s</p>" % (kind, mark(kind), escape(text))]
    out.append("<h3>What was attacked</h3>" + items(words.attacked(figures)))
    said = words.seen(figures)
    if said:
        out.append("<h3>What was seen</h3>" + items(said))
    wrong = violations(history)
    if wrong:
        out.append("<h3>What did not hold</h3>%s%s" % (
            "<p>The run failed by itself, and this may be a consequence of that.</p>"
            if history.meta.get("failed") else "", wrong))
    missing = words.unchecked(history)
    if missing:
        out.append("<h3>What was not checked</h3>" + items(map(escape, missing)))
    command = history.meta.get("command")
    out.append("<h3>To repeat it</h3>" + (
        "<pre>%s</pre>" % escape(str(command)) if command else
        "<p class=soft>meta.json names no command.</p>"))
    out.append("<p class='soft small'>Commit %s, seed %s%s. %s The seed repeats the plan; processes and "
               "disks are not deterministic, so it does not repeat each interleaving.</p></div>" % (
                   escape(str(history.meta.get("commit", "not told"))),
                   escape(str(history.meta.get("seed", "not told"))),
                   ", begun " + moment(history) if history.clock("begin", "wall") else "",
                   machine(history)))
    return "".join(out)


def machine(history):
    told = history.meta.get("machine")
    if isinstance(told, dict):
        told = ", ".join("%s %s" % pair for pair in told.items())
    return "Machine: %s." % escape(str(told)) if told else "The machine is not told."


def moment(history):
    wall = history.clock("begin", "wall")
    return datetime.datetime.fromtimestamp(wall / 1e9, datetime.timezone.utc).strftime(
        "%Y-%m-%d %H:%M:%S UTC")


def violations(history):
    out = []
    for violation in words.unexpected(history):
        evidence = violation.get("evidence")
        shown = evidence if isinstance(evidence, str) else json.dumps(evidence, indent=1,
                                                                      ensure_ascii=False)
        out.append("<p><b class=bad>%s</b>: %s</p>%s" % (
            escape(words.title(history, str(violation["claim"]))), escape(str(violation["text"])),
            "<details><summary>evidence</summary><pre>%s</pre></details>" % escape(
                shown[:SHOWN_EVIDENCE] + (" ..." if len(shown) > SHOWN_EVIDENCE else ""))
            if evidence not in (None, "", [], {}) else ""))
    named = {v["claim"] for v in words.unexpected(history)}
    for claim in words.broken_claims(history):
        if claim["name"] not in named:
            out.append("<p><b class=bad>%s</b>: %s</p>" % (
                escape(str(claim["name"])), escape(str(claim.get("text") or "broken"))))
    for name in words.not_broken(history):
        out.append("<p><b class=bad>%s</b>: the scenario breaks this on purpose, and no checker "
                   "noticed</p>" % escape(name))
    return "".join(out)


def marks(history):
    """Where violations are on the timeline: [(seconds, text)]"""
    found = []
    for violation in words.unexpected(history):
        evidence = violation.get("evidence")
        at = evidence.get("t") if isinstance(evidence, dict) else None
        if isinstance(at, int):
            found.append(((at - history.begin_ns) / 1e9, "%s: %s" % (violation["claim"],
                                                                     violation["text"])))
    return found


def claims_table(history):
    if history.verdicts is None or not history.verdicts["claims"]:
        return ""
    rows = []
    for claim in history.verdicts["claims"]:
        kind, said = words.claim_row(claim, history)
        rows.append([(escape(str(claim["name"])), "l nowrap"), (said, "l nowrap"),
                     "-" if claim.get("checked") is None else count(int(claim["checked"])),
                     "<br>".join(escape(str(text)) for text in (
                         claim.get("title") or words.OWN.get(claim["name"]), claim.get("text"))
                                 if text)])
    return "<h3>Each claim</h3><div class=card>%s</div>" % table(
        ["<claim", "<verdict", "checked", "<what it says"], rows, stack=True)


def faults_table(figures):
    if not figures.faults:
        return ""
    rows = []
    for number, fault in enumerate(figures.faults[:SHOWN_FAULTS], 1):
        colour = figures_of.family(fault["kind"])[1]
        rows.append([str(number), "%.2f" % fault["from"],
                     "no end told" if fault["to"] is None else "%.2f" % (fault["to"] - fault["from"]),
                     "<span style='color:var(--%s)'>&#9632;</span> %s" % (colour,
                                                                         escape(fault["kind"])),
                     escape(figures_of.place(fault)), escape(fault["text"])])
    more = len(figures.faults) - SHOWN_FAULTS
    return ("<details%s><summary>%s, numbered as in the timeline</summary><div class=card>%s%s</div>"
            "</details>" % (
                " open" if len(figures.faults) <= 12 else "",
                plural(len(figures.faults), "fault"),
                table(["no.", "begins, s", "lasts, s", "<kind", "<where", "<what"], rows),
                "<p class=soft>%s more in the JSON.</p>" % count(more) if more > 0 else ""))


def notes_table(history):
    rows = [["%.2f" % row["at"], escape(str(row.get("what"))),
             escape(", ".join(str(n) for n in row.get("nodes") or ())), escape(str(row.get("text") or ""))]
            for row in history.events if row.get("what") not in ("fault-begin", "fault-end")]
    if not rows:
        return ""
    return ("<details><summary>%s of processes, and notes</summary><div class=card>%s</div></details>" % (
        plural(len(rows), "event"), table(["at, s", "<what", "<node", "<text"], rows[:2000])))


def clients_table(figures):
    clients = figures.history.clients
    if not clients.names:
        return ""
    pauses, rows = figures.longest_pauses(), []
    for site in sorted(set(clients.by_site) | set(clients.refused) | set(pauses)):
        told = figures_of.latencies(clients.by_site[site])
        longest = pauses.get(site)
        rows.append([escape(str(site)), count(told["count"]), count(len(clients.refused[site].done))] + [
            "-" if told[key] is None else "%.1f" % told[key]
            for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms")] + [
                ms(longest[0]) if longest else "-"])
    return "<h3>As clients saw it</h3><div class=card>%s<p class='soft small'>%s</p></div>" % (
        table(["<site of the clients", "acknowledged", "refused for good", "half within, ms",
               "90 % within", "99 % within", "slowest", "longest pause from outside, ms"], rows, stack=True),
        "A request's time runs from its first sending to its final outcome, repeats included. The pause "
        "is measured by <code>tally observe</code>, which keeps sending whatever happens: the longest "
        "time from the intended moment of a transfer until it, or a later one, was acknowledged.")


def doubts_table(history):
    clients = history.clients
    if not clients.counts["in doubt"]:
        return ""
    clients.keep_longest()
    rows = []
    for doubt in clients.doubts[:SHOWN_DOUBTS]:
        still = doubt["until_s"] is None
        rows.append([("<code>%s</code>" % escape(str(doubt["nonce"])), "l"), escape(doubt["client"]),
                     escape(str(doubt["node"])), escape(doubt["why"]), "%.2f" % doubt["doubt_s"],
                     ("still" if still else "%.2f" % (doubt["until_s"] - doubt["doubt_s"]),
                      "bad" if still else ""), str(doubt["calls"]), escape(doubt["resolved"])])
    return ("<h3>Requests in doubt</h3><div class=card>%s<details%s><summary>%s</summary>%s</details>"
            "</div>" % (
                table(["<how it was resolved", "requests"], [
                    [(escape(name), "bad" if name == "open at the end" else ""), count(number)]
                    for name, number in clients.resolutions.most_common()]),
                " open" if len(rows) <= 10 else "",
                "each" if len(rows) == clients.counts["in doubt"] else
                "the %d that were in doubt for longest, of %s" % (
                    len(rows), count(clients.counts["in doubt"])),
                table(["<request", "<client", "<node asked first", "<why", "since, s", "for, s", "calls",
                       "<resolved"], rows)))


def run_section(figures, several):
    history, meta = figures.history, figures.history.meta
    name = str(meta.get("scenario") or "a run")
    out = ["<h2 id='%s'>%s</h2>" % (escape(history.directory), escape(name))] if several else []
    story = str(meta.get("story") or "").strip()
    out += ["<p>%s</p>" % escape(part) for part in story.split("\n\n") if part.strip()]
    if meta.get("answers"):
        out.append("<p class=soft>It answers: %s</p>" % escape(str(meta["answers"])))
    out.append(verdict_card(figures))
    out.append("<h3>Timeline</h3>")
    found = words.families(figures)
    if found:
        out.append(legend([(colour, "fault: " + family) for family, colour in found]))
    if figures.nodes:
        out.append(legend([(colour, "node: " + text) for colour, text in lanes.LEGEND]))
    out.append(lanes.strips(figures, marks(history)))
    out += [faults_table(figures), notes_table(history), claims_table(history),
            clients_table(figures), doubts_table(history)]
    return "".join(out)


# ---- simulator and planted errors ----

def simulator_section(found):
    hours = sum(search["hours"] for search in found)
    failed = sum(search["failed"] for search in found)
    kind = "bad" if failed or any(s["violations"] for s in found) else "good"
    out = ["<h2 id=simulator>The simulator</h2><div class='card verdict %s'><p class=first>%s %s virtual hours, %s, "
           "%s.</p><p class=soft>Whole clusters of the real node's code on a virtual clock, network and "
           "disk; every promise is checked at every step (docs/simulator.md).</p>%s" % (
               kind, mark(kind), "%.1f" % hours, plural(sum(s["seeds"] for s in found), "seed"),
               "none broke a promise" if kind == "good" else "%d broke a promise" % max(
                   failed, sum(len(s["violations"]) for s in found)),
               table(["<topology", "seeds", "virtual hours", "took", "failed", "<commit"], [
                   [escape(s["topology"]), count(s["seeds"]), "%.2f" % s["hours"], span(s["took_s"]),
                    (str(s["failed"]), "bad" if s["failed"] else ""), escape(s["commit"])]
                   for s in found]))]
    for search in found:
        for violation in search["violations"]:
            out.append("<p><b class=bad>seed %d</b>: %s</p><pre>%s</pre>" % (
                violation["seed"], escape(violation["text"]), escape(violation["command"])))
            if violation["story"]:
                out.append("<p>Made short, its story:</p><pre>%s</pre>" % escape(
                    "\n".join(violation["story"])))
    for search in found:
        out.append("<details><summary>figures of %s</summary>%s%s</details>" % (
            escape(search["topology"]), items(map(escape, search["figures"])),
            table(["<fault", "times"], [[escape(name), count(number)] for name, number in sorted(
                search["faults"].items(), key=lambda pair: -pair[1])]) if search["faults"] else ""))
    return "".join(out) + "</div>"


def planted_section(matrix):
    rows = matrix["rows"]
    missed = [row for row in rows if not row["found"]]
    kind = "bad" if missed or matrix["alarms"] else "good"
    head = ("each of %s was found" % plural(len(rows), "planted error") if not missed else
            "%d of %s not found: %s" % (len(missed), plural(len(rows), "planted error was",
                                                            "planted errors were"),
                                       ", ".join(row["bug"] for row in missed)))
    body = []
    for row in rows:
        seed = "" if row["seed"] is None else str(row["seed"])
        body.append([(escape(row["bug"]), "l nowrap"), escape(row["what"]), escape(row["by"]),
                     ("found" if row["found"] else row.get("note") or "NOT FOUND",
                      "good" if row["found"] else "bad"),
                     escape(row["checker"]), seed, escape(row["budget"])])
    return ("<h2>Planted errors</h2><div class='card verdict %s'><p class=first>%s %s</p><p class=soft>A "
            "checker that has never failed is not trusted: each of these errors is built in on purpose, "
            "and its checker has to find it within the budget.</p>%s%s%s%s</div>" % (
                kind, mark(kind), escape(head[:1].upper() + head[1:]),
                "".join("<p><b class=bad>found with nothing planted</b>: %s</p>" % escape(text)
                        for text in matrix["alarms"]),
                "<pre>%s</pre>" % escape(matrix["command"]) if matrix["command"] else "",
                table(["<planted", "<what is wrong then", "<searched by", "<outcome",
                       "<checker, and its words", "seed", "<budget"], body, stack=True),
                "<p class='soft small'>Commit %s</p>" % escape(matrix["commit"])
                if matrix["commit"] else ""))


# ---- the whole ----

def overview(runs):
    rows = []
    for figures in runs:
        history = figures.history
        kind, _ = words.headline(history)
        held = words.verdict(history)
        claims = history.verdicts["claims"] if history.verdicts else []
        longest = figures.longest_pauses()
        rows.append([
            "<a href='#%s'>%s</a>" % (escape(history.directory),
                                     escape(str(history.meta.get("scenario") or "a run"))),
            ("%s %s" % (mark(kind), {"holds": "held", "broken": "broken",
                                     "unjudged": "not judged"}[held]), kind),
            escape(str(history.meta.get("topology", ""))), escape(str(history.meta.get("seed", ""))),
            span(history.seconds), count(len(figures.faults)),
            count(history.clients.counts["requests"]), count(history.clients.counts["in doubt"]),
            str(sum(c["verdict"] == "unchecked" for c in claims)),
            ms(max((v[0] for v in longest.values()), default=None))])
    return "<div class=card>%s</div>" % table(
        ["<run", "<verdict", "<topology", "seed", "lasted", "faults", "requests", "in doubt",
         "claims not checked", "longest pause, ms"], rows, stack=True)


def not_held(runs, searches):
    """Where to look first: each run that did not hold, and what seeds of the simulator broke."""
    rows = ["<a href='#%s'>%s, seed %s</a>: %s" % (
        escape(f.history.directory), escape(str(f.history.meta.get("scenario") or "a run")),
        escape(str(f.history.meta.get("seed", ""))), escape(words.headline(f.history)[1]))
            for f in runs if words.verdict(f.history) != "holds"]
    rows += ["<a href='#simulator'>simulator, %s, seed %d</a>: %s" % (
        escape(s["topology"]), v["seed"], escape(v["text"]))
             for s in searches for v in s["violations"]]
    more = len(rows) - SHOWN_FIRST
    rows[SHOWN_FIRST:] = ["and %d more" % more] if more > 0 else []
    return items(rows) if rows else ""


def broken_parts(runs, searches, matrices, summary=None):
    """In words."""
    out = []
    broken = sum(words.verdict(f.history) == "broken" for f in runs)
    if summary and summary["broken"] > broken:      # some left no history that can be shown
        out.append("%d of %s of the search" % (summary["broken"], plural(summary["runs"], "run")))
        broken = 0
    if broken:
        out.append("%d of %s on real processes" % (broken, plural(len(runs), "run")))
    seeds = sum(max(s["failed"], len(s["violations"])) for s in searches)
    if seeds:
        out.append("%s of the simulator" % plural(seeds, "seed"))
    missed = sum(not row["found"] for m in matrices for row in m["rows"])
    if missed:
        out.append(plural(missed, "planted error was not found", "planted errors were not found"))
    if any(m["alarms"] for m in matrices):
        out.append("a checker spoke with nothing planted")
    return out


def total(runs, searches, matrices, summary=None):
    """The verdict of all of it. Where nothing was looked at nothing held."""
    if broken_parts(runs, searches, matrices, summary):
        return "broken"
    if any(words.verdict(f.history) != "holds" for f in runs) or summary and summary["failed"]:
        return "unjudged"
    return "holds" if runs or any(s["seeds"] for s in searches) or matrices else "unjudged"


def struck_table(struck, begun):
    """Faults by kind; those that began and hit nothing, too."""
    rows = sorted({**dict.fromkeys(begun, 0), **struck}.items(), key=lambda pair: -pair[1])
    return table(["<fault", "struck"] + ["begun"] * bool(begun), [
        [escape(name), count(number)] + [count(begun.get(name, number))] * bool(begun)
        for name, number in rows])


def summary_section(told):
    again = ("<p>Commit %s, %s; to repeat: <code>%s</code></p>" % tuple(
        escape(told[key]) for key in ("commit", "machine", "command")) if told["command"] else "")
    return ("<h2>All of the search</h2><div class=card><p>%s on real processes, %d of them without a find"
            "%s; below are those with one and the newest.</p>%s<h3>Faults by kind</h3>%s<h3>Facts checked, "
            "by claim</h3>%s%s</div>" % (
                plural(told["runs"], "run"), told["held"],
                ", %s in all" % span(told["seconds"]) if told["seconds"] else "", again,
                struck_table(told["faults"], told["begun"]),
                table(["<claim", "times"], [[escape(key), count(number)] for key, number in sorted(
                    told["checked"].items(), key=lambda pair: -pair[1])]),
                ("<h3>Did not run as it should</h3>" + items(map(escape, told["failed"]))
                 if told["failed"] else "") +
                ("<h3>Not done</h3>" + items(map(escape, told["skipped"])) if told["skipped"] else "")))


def page(runs, searches, matrices, summary=None):
    several = len(runs) + len(searches) + len(matrices) > 1 or summary is not None
    title = "Chaos report" if several or not runs else "Chaos: %s" % (
        runs[0].history.meta.get("scenario") or "a run")
    out = [lanes.PATTERNS, "<h1>%s</h1>" % escape(title)]
    if several:
        kind, text = HEADS[total(runs, searches, matrices, summary)]
        found = broken_parts(runs, searches, matrices, summary)
        if found:
            text = "Broken: %s" % "; ".join(found)
        parts = [plural(len(runs), "run") + " on real processes"] if runs else []
        if searches:
            parts.append("%.2f virtual hours of the simulator" % sum(s["hours"] for s in searches))
        if matrices:
            parts.append(plural(sum(len(m["rows"]) for m in matrices), "planted error"))
        out.append("<div class='card verdict %s'><p class=first>%s %s</p><p>%s.</p>%s</div>" % (
            kind, mark(kind), escape(text), escape(", ".join(parts) or "Nothing was run"),
            not_held(runs, searches)))
        if len(runs) > 1:
            out.append(overview(runs))
    if summary:
        out.append(summary_section(summary))
    for figures in runs:
        # Of many runs the good ones are folded: a link to one opens it.
        folded = len(runs) > UNFOLDED_RUNS and words.verdict(figures.history) == "holds"
        out.append("<details><summary>%s, seed %s: held</summary>%s</details>" % (
            escape(str(figures.history.meta.get("scenario") or "a run")),
            escape(str(figures.history.meta.get("seed", ""))), run_section(figures, several))
            if folded else run_section(figures, several))
    if searches:
        out.append(simulator_section(searches))
    out += [planted_section(matrix) for matrix in matrices]
    out.append("<h2>Words</h2><div class=card>%s</div>" % items((
        "<b>1+1+1</b>, <b>2+2+1</b>: data nodes at site A, at site B, and the witness, which votes and "
        "keeps the journal, and has no ledger.",
        "<b>SYNC</b>: a write is acknowledged when it is on the disks of both sites. <b>DEGRADED</b>: "
        "one site was given up, and a write is acknowledged when the other site and the witness have it.",
        "<b>In doubt</b>: a call ended without an answer, so its client cannot know yet whether it "
        "counts. Each must be resolved, the same way whoever asks.",
        "<b>Checked</b>: how many facts a claim was held against. A claim with nothing to look at is "
        "not checked, and says so.",
        "The JSON beside this page has the same figures for programs.")))
    return whole_page(title, "".join(out), lanes.STYLE)


def document(runs, searches, matrices, summary=None):
    return {"format": "tally-chaos-report", "version": 1, "summary": summary,
            "verdict": total(runs, searches, matrices, summary),
            "runs": [{"directory": f.history.directory, "meta": f.history.meta,
                      "verdict": words.verdict(f.history), "words": words.headline(f.history)[1],
                      "claims": f.history.verdicts["claims"] if f.history.verdicts else None,
                      "violations": f.history.verdicts["violations"] if f.history.verdicts else None,
                      "not_checked": words.unchecked(f.history), **f.document()} for f in runs],
            "simulator": searches, "planted": matrices}
