"""The report of the failover loop: lines while it runs, a table, JSON, and a page with one figure per
event. The page looks like those of chaos/report, whose style it takes: self-contained, no script
needed, by day, by night and on paper."""
import math

from failover_events import EVENTS
from measure import percentile
from report import look
from report.look import escape, ms, nice, plural

COLOURS = {"kill": "blue", "silent": "warn", "planned": "good"}
WAYS = {"kill": "processes killed", "silent": "silent: packets dropped", "planned": "planned"}
LIMITS = {"leader-site": 2000, "other-site": 1500, "link": 2000, "witness": 100, "switchover": 100}
P50_LIMITS = {"leader-site": 700}
STORIES = {
    "leader-site": "Everything at the site that leads is lost at once. The clients of the other site go "
                   "on sending; the pause is how long they wait until somebody leads there.",
    "other-site": "Everything at the site that does not lead is lost at once. The leader waits for it, "
                  "then gives it up; the pause is how long its own clients wait for that.",
    "witness": "The witness is lost. Both sites are there, so nothing has to wait for it.",
    "link": "The sites do not hear each other any more; both hear the witness. One of them has to go on "
            "serving, and the other one has to say quickly that it cannot, and why.",
    "switchover": "An operator moves leadership to the other site. Requests are held for a moment, and "
                  "none may fail.",
    "flapping": "The link between the sites comes and goes, again and again. It must not cost an "
                "election or a change of the rule each time.",
}
# Of one panel, in pixels.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 520, 250, 58, 34, 34, 16
STYLE = """
.panels { display: flex; flex-wrap: wrap; gap: 6px 20px; } .panels svg { max-width: 100%; height: auto; }
.legend i.dot { border-radius: 6px; } .legend i.ring { border: 2px solid var(--bad); }
"""


# ---- verdicts ----

def verdicts(cell):
    """[(target, value, holds)] of a cell with runs."""
    if not cell["runs"]:
        return []
    wrong = sum(1 for run in cell["runs"] if run["wrong"])
    unmet = [text for run in cell["runs"] for text in run.get("unmet", [])]
    return EVENTS[cell["event"]].verdict(cell["runs"]) + [
        ("the event went as planned", "%d times not, e.g. %s" % (len(unmet), text), False)
        for text in unmet[:1]] + [
        ("nothing lost, nothing doubled", "all %d runs" % len(cell["runs"]) if wrong == 0
         else "%d of %d runs" % (wrong, len(cell["runs"])), wrong == 0)]


def may_be_repeated(cell):
    """Whether all that its runs lack is a matter of time: then a machine that stood still is a reason."""
    return not cell.get("broken") and not holds(cell) and not any(run["wrong"] for run in cell["runs"])


def holds(cell):
    if cell.get("broken"):
        return False
    return bool(cell.get("skipped")) or bool(cell["runs"]) and all(v[2] for v in verdicts(cell))


# ---- text ----

def line(cell, run):
    more = ""
    if "refusal_ms" in run:
        more = ", other side refused after %s ms (%d in doubt told later)" % (
            ms(run["refusal_ms"]), run["told_late"])
    if "mended_pause_ms" in run:
        more = ", %s ms when mended" % ms(run["mended_pause_ms"])
    if "terms" in run:
        more = ", %d flaps, %d terms, %d changes of the rule" % (run["flaps"], run["terms"],
                                                               run["changes"])
    return "%s %-11s %3d  %-7s node %d led  pause %5s ms%s%s" % (
        cell["topology"], cell["event"], run["number"] + 1, run["way"], run["leader"],
        ms(run["pause_ms"]), more, "  WRONG: " + "; ".join(run["wrong"]) if run["wrong"] else "")


def cell_text(cell):
    if cell.get("skipped"):
        return "== %s %s: skipped: %s" % (cell["topology"], cell["event"], cell["skipped"])
    return "\n".join("== %s %s: %s: %s, %s" % (
        cell["topology"], cell["event"], target, value, "holds" if good else "DOES NOT HOLD")
        for target, value, good in verdicts(cell))


def figures(cell):
    values = [run["pause_ms"] for run in cell["runs"]]
    return [percentile(values, p) for p in (50, 90, 99)] + [max(values)] if values else [None] * 4


def text(document):
    out = ["%-8s %-12s %5s %7s %7s %7s %7s   %s" % ("topology", "event", "runs", "p50", "p90", "p99",
                                                    "max", "pause in ms; targets")]
    for cell in document["cells"]:
        failed = [v for v in verdicts(cell) if not v[2]]
        out.append("%-8s %-12s %5d %7s %7s %7s %7s   %s" % (
            (cell["topology"], cell["event"], len(cell["runs"])) + tuple(map(ms, figures(cell)))
            + ("the loop failed" if cell.get("broken") else
               "skipped: " + cell["skipped"] if cell.get("skipped") else
               "; ".join("%s DOES NOT HOLD (%s)" % v[:2] for v in failed) or "hold",)))
    return "\n".join(out)


# ---- the figure of a cell ----

def scale(top, y):
    """The lines and figures of a scale from 0 to top."""
    step, value, out = nice(top / 5), 0, []
    while value <= top:
        out.append("<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class=grid /><text x='%d' y='%.1f' "
                   "text-anchor=end class=soft>%g</text>" % (
                       LEFT, WIDTH - RIGHT, y(value), y(value), LEFT - 8, y(value) + 4, value))
        value += step
    return "".join(out)


def panel(cell, slack=1):
    runs = cell["runs"]
    limit, p50_limit = (limits.get(cell["event"]) and limits[cell["event"]] * slack
                        for limits in (LIMITS, P50_LIMITS))
    values = [run["pause_ms"] for run in runs if not math.isinf(run["pause_ms"])] or [1]
    top = max(values + ([limit] if limit else [])) * 1.12
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x = lambda number: LEFT + plot_width * (number + 0.5) / max(len(runs), 1)
    y = lambda value: HEIGHT - BOTTOM - plot_height * min(value, top) / top
    p50, most = figures(cell)[0], figures(cell)[3]
    out = ["<svg viewBox='0 0 %d %d' width=%d height=%d role=img aria-label='pauses of each run'>" % (
        WIDTH, HEIGHT, WIDTH, HEIGHT)]
    add = out.append
    add("<text x='%d' y=18 class=head>%s</text>" % (LEFT, escape(cell["topology"])))
    add("<text x='%d' y=18 text-anchor=end class=soft>%s</text>" % (
        WIDTH - RIGHT, "one run: %s ms" % ms(most) if len(runs) == 1 else
        "%d runs: half within %s ms, longest %s ms" % (len(runs), ms(p50), ms(most))))
    add(scale(top, y))
    middle = TOP + plot_height / 2
    add("<text x=14 y='%.1f' class=soft transform='rotate(-90 14 %.1f)' text-anchor=middle>pause, ms"
        "</text>" % (middle, middle))
    add("<text x='%.1f' y='%d' class=soft text-anchor=middle>run</text>" % (
        LEFT + plot_width / 2, HEIGHT - 6))
    for number in sorted({0, len(runs) // 2, len(runs) - 1} if runs else ()):
        add("<text x='%.1f' y='%d' class=soft text-anchor=middle>%d</text>" % (
            x(number), HEIGHT - BOTTOM + 15, number + 1))
    if p50 is not None and not math.isinf(p50) and len(runs) > 1:
        add("<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class=half />" % (
            LEFT, WIDTH - RIGHT, y(p50), y(p50)))
    for word, value, kind in (("each run", limit, "limit"), ("half of the runs", p50_limit,
                                                             "'limit dashed'")):
        if value:
            add("<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class=%s />" % (
                LEFT, WIDTH - RIGHT, y(value), y(value), kind))
            add("<text x='%d' y='%.1f' text-anchor=end class=bad>limit for %s: %d ms</text>" % (
                WIDTH - RIGHT, y(value) - 5, word, value))
    for run in runs:
        bad = bool(run["wrong"]) or limit is not None and run["pause_ms"] > limit
        title = "run %d, %s, node %d led: %s ms" % (run["number"] + 1, run["way"], run["leader"],
                                                    ms(run["pause_ms"]))
        add("<circle cx='%.1f' cy='%.1f' r=4 style='fill:var(--%s)%s' fill-opacity=0.85><title>%s"
            "</title></circle>" % (
                x(run["number"]), y(run["pause_ms"]), COLOURS.get(run["way"], "grey"),
                ";stroke:var(--bad);stroke-width:2.5" if bad else "", escape(title)))
    add("</svg>")
    return "".join(out)


# ---- the page ----

def headline(document):
    """(class, text): what the loop says in one sentence."""
    cells = document["cells"]
    runs = sum(len(cell["runs"]) for cell in cells)
    failed = ["%s on %s" % (cell["title"].lower(), cell["topology"]) for cell in cells
              if not holds(cell)]
    wrong = sum(bool(run["wrong"]) for cell in cells for run in cell["runs"])
    if wrong:
        return "bad", "In %d of %s something was lost, doubled or left open." % (
            wrong, plural(runs, "run"))
    if failed:
        return "bad", "Not everything held: %s." % "; ".join(failed)
    if not runs or document.get("interrupted"):
        return "warn", "Interrupted: %s so far, and nothing is claimed of the rest." % plural(runs,
                                                                                           "run")
    skipped = sum(bool(cell.get("skipped")) for cell in cells)
    return "good", "Every target held in %s of %s%s: nothing lost, nothing doubled." % (
        plural(runs, "run"), plural(len(cells) - skipped, "event"),
        ", %d skipped" % skipped if skipped else "")


def table(cells):
    several = any(len(cell["runs"]) > 1 for cell in cells)
    rows = []
    for cell in cells:
        if cell.get("skipped"):
            said = "<span class=soft>skipped: %s</span>" % escape(cell["skipped"])
        elif cell.get("broken"):
            said = "<span class=bad>the loop failed: %s</span>" % escape(
                cell["broken"].splitlines()[0][:200])
        else:
            said = "<br>".join("%s %s: %s" % (look.mark("good" if good else "bad"), escape(target),
                                              escape(value)) for target, value, good in verdicts(cell))
        told = figures(cell)
        rows.append([escape(cell["title"]), escape(cell["topology"])]
                    + ([str(len(cell["runs"]))] + [ms(v) for v in told] if several else [ms(told[3])])
                    + [str(cell.get("rate", "-")), said])
    return look.table(["<event", "<topology"] + (
        ["runs", "half within, ms (p50)", "90 %", "99 %", "longest"] if several else ["pause, ms"])
        + ["load, transfers/s", "<targets, and what was measured"], rows, stack=True)


def runs_table(cells):
    rows = []
    for cell in cells:
        for run in cell["runs"]:
            rows.append([escape(cell["topology"]), str(run["number"] + 1), escape(run["way"]),
                         "node %d" % run["leader"], ms(run["pause_ms"]), ms(run.get("mended_pause_ms")),
                         ms(run.get("refusal_ms")), ms(run["sites"]["A"]["longest_pause_ms"]),
                         ms(run["sites"]["B"]["longest_pause_ms"]),
                         str(sum(s["in_doubt"] for s in run["sites"].values())),
                         look.count(run["load_acknowledged"]),
                         (escape("; ".join(run["wrong"])), "bad")])
    return look.table(["<topology", "run", "<way", "<who led", "pause, ms", "when mended",
                       "other side refused after", "longest at A, all the run", "longest at B",
                       "canaries in doubt", "load acknowledged", "<wrong"], rows)


def section(cells, slack):
    """One event: what it is, its figures, each run."""
    out = ["<h2>%s</h2><p>%s</p><p class=soft>Target: %s.</p><div class=card>" % (
        escape(cells[0]["title"]), escape(STORIES.get(cells[0]["event"], "")),
        escape(cells[0]["target"]))]
    if any(cell["runs"] for cell in cells):
        out.append("<div class=panels>%s</div>" % "".join(panel(c, slack) for c in cells if c["runs"]))
        ways = sorted({run["way"] for cell in cells for run in cell["runs"]})
        out.append("<div class=legend>%s<span><i class='dot ring'></i>above the limit, or something "
                   "wrong</span>%s</div>" % ("".join(
                       "<span><i class=dot style='background:var(--%s)'></i>%s</span>" % (
                           COLOURS.get(way, "grey"), WAYS.get(way, way)) for way in ways),
                       "<span>dotted: half of the runs are below</span>" if any(
                           len(cell["runs"]) > 1 for cell in cells) else ""))
        out.append("<p>%s</p>" % ", ".join(
            "<a href='%s'>timeline of the worst run on %s</a> (run %d)" % (
                escape(cell["worst"]["page"]), cell["topology"], cell["worst"]["run"] + 1)
            for cell in cells if cell.get("worst")))
        out.append("<details><summary>every run</summary>%s</details>" % runs_table(cells))
    for cell in cells:
        for key in ("skipped", "broken"):
            if cell.get(key):
                out.append("<p>%s: %s: %s</p>" % (escape(cell["topology"]), key,
                                                  escape(cell[key][:1000])))
    return "".join(out) + "</div>"


def page(document):
    names = list(dict.fromkeys(cell["event"] for cell in document["cells"]))
    slack = document.get("slack", 1)
    kind, text = headline(document)
    out = ["<h1>Failover: what clients see when a part is lost</h1><div class='card verdict %s'>"
           "<p class=first>%s %s</p>" % (kind, look.mark(kind), escape(text))]
    if slack != 1:
        out.append("<p class=warn><b class=warn>Limits of time are multiplied by %g</b> (--slack), for a "
                   "machine under test; what is lost or doubled is forgiven nowhere.</p>" % slack)
    out.append(
        "<p>A <b>pause</b> is how long clients waited at worst: 100 small transfers a second are sent at "
        "each site whatever happens (canaries of <code>tally observe</code>), and it runs from the "
        "intended moment of one until it, or a later one, was acknowledged; counted over those intended "
        "between the event and its mending, at the site that is judged.</p>")
    out.append("<p>Beside them runs a load of %g %% of the measured capacity, at both sites, open loop. "
               "Silence: %s. 1+1+1 and 2+2+1: data nodes at site A, at site B, and the witness.</p>" % (
                   document["load_percent"], escape(document["silence"])))
    out.append("<h3>To repeat it</h3><pre>%s</pre><p class='soft small'>%s; %s</p>" % (
        escape(document["command"]), escape(document["began"]), escape(document["machine"])))
    if document.get("interrupted"):
        out.append("<p class=bad>Interrupted: some runs are missing.</p>")
    out.append("</div><div class=card>%s</div>" % table(document["cells"]))
    out += [section([cell for cell in document["cells"] if cell["event"] == name], slack)
            for name in names]
    out.append("<h2>How it was checked</h2><div class=card><p>Nodes, load and observer share one "
               "machine, its cores and its disk. No run is left out. After each run every canary's "
               "outcome is compared with the ledger by a separate program (chaos/judge.py), and every "
               "transfer of the load that was acknowledged is looked for.</p></div>")
    return look.page("Failover figures", "".join(out), STYLE)


def write(document, path):
    """PATH.json and PATH.html, whole or as they were."""
    look.write(path, document, page(document))
