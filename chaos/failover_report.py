"""The report of the failover loop: lines while it runs, a table, JSON, and a page with one figure per
event. The page is self-contained and needs no script."""
import html
import json
import math
import os

from failover_events import EVENTS
from measure import percentile

COLOURS = {"kill": "#2563ab", "silent": "#c77700", "planned": "#1b7f5c"}
WAYS = {"kill": "processes killed", "silent": "silent: packets dropped", "planned": "planned"}
LIMITS = {"leader-site": 2000, "other-site": 1500, "link": 2000, "witness": 100, "switchover": 100}
P50_LIMITS = {"leader-site": 700}
# Of one panel, in pixels.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 520, 250, 58, 34, 34, 16

STYLE = """
body { margin: 0; background: #f4f6f9; color: #1c2733; font: 15px/1.45 system-ui, "Segoe UI",
       "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 30px 0 2px; }
p { margin: 3px 0; color: #5f6b7a; } code { background: #e9edf2; padding: 1px 5px; border-radius: 3px; }
.card { background: #fff; border: 1px solid #d8dee6; border-radius: 8px; padding: 12px 16px;
        margin-top: 10px; overflow-x: auto; }
.panels { display: flex; flex-wrap: wrap; gap: 6px 20px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; color: #5f6b7a; font-size: 13px; padding: 4px 9px; vertical-align: bottom;
     border-bottom: 1px solid #d8dee6; }
td { text-align: right; padding: 5px 9px; border-bottom: 1px solid #eef1f5; }
th:first-child, td:first-child { padding-left: 0; }
th.l, td.l { text-align: left; }
.good { color: #1b7f5c; font-weight: 600; } .bad { color: #b3261e; font-weight: 600; }
.soft { color: #5f6b7a; } .legend { font-size: 13px; color: #5f6b7a; margin-top: 4px; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin: 0 5px 0 14px; }
details { margin-top: 6px; } summary { cursor: pointer; color: #5f6b7a; font-size: 14px; }
details td, details th { font-size: 13px; padding: 2px 8px; }
"""


# ---- verdicts ----

def verdicts(cell):
    """[(target, value, holds)] of a cell with runs."""
    if not cell["runs"]:
        return []
    wrong = sum(1 for run in cell["runs"] if run["wrong"])
    return EVENTS[cell["event"]].verdict(cell["runs"]) + [
        ("nothing lost, nothing doubled", "all %d runs" % len(cell["runs"]) if wrong == 0
         else "%d of %d runs" % (wrong, len(cell["runs"])), wrong == 0)]


def holds(cell):
    if cell.get("broken"):
        return False
    return bool(cell.get("skipped")) or bool(cell["runs"]) and all(v[2] for v in verdicts(cell))


# ---- text ----

def ms(value):
    return "-" if value is None else "never" if math.isinf(value) else "%.0f" % value


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

def nice(value):
    """The next number of the form 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= value)


def panel(cell):
    runs = cell["runs"]
    limit, p50_limit = LIMITS.get(cell["event"]), P50_LIMITS.get(cell["event"])
    values = [run["pause_ms"] for run in runs if not math.isinf(run["pause_ms"])] or [1]
    top = max(values + ([limit] if limit else [])) * 1.12
    step = nice(top / 5)
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x = lambda number: LEFT + plot_width * (number + 0.5) / max(len(runs), 1)
    y = lambda value: HEIGHT - BOTTOM - plot_height * min(value, top) / top
    out = ['<svg viewBox="0 0 %d %d" width="%d" height="%d" font-size="12" '
           'font-family="system-ui, \'DejaVu Sans\', sans-serif" role="img">' % (
               WIDTH, HEIGHT, WIDTH, HEIGHT)]
    add = out.append
    add('<text x="%d" y="18" font-size="14" font-weight="600">%s</text>' % (
        LEFT, html.escape(cell["topology"])))
    add('<text x="%d" y="18" text-anchor="end" fill="#5f6b7a">%d runs, p50 %s ms, max %s ms</text>' % (
        WIDTH - RIGHT, len(runs), ms(figures(cell)[0]), ms(figures(cell)[3])))
    value = 0
    while value <= top:
        add('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#e6eaf0"/>' % (
            LEFT, WIDTH - RIGHT, y(value), y(value)))
        add('<text x="%d" y="%.1f" text-anchor="end" fill="#5f6b7a">%g</text>' % (
            LEFT - 8, y(value) + 4, value))
        value += step
    add('<text x="14" y="%.1f" fill="#5f6b7a" transform="rotate(-90 14 %.1f)" '
        'text-anchor="middle">pause, ms</text>' % (TOP + plot_height / 2, TOP + plot_height / 2))
    add('<text x="%.1f" y="%d" fill="#5f6b7a" text-anchor="middle">run</text>' % (
        LEFT + plot_width / 2, HEIGHT - 6))
    for number in sorted({0, len(runs) // 2, len(runs) - 1} if runs else ()):
        add('<text x="%.1f" y="%d" fill="#5f6b7a" text-anchor="middle">%d</text>' % (
            x(number), HEIGHT - BOTTOM + 15, number + 1))
    p50 = figures(cell)[0]
    if p50 is not None and not math.isinf(p50):
        add('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#5f6b7a" stroke-dasharray="2 4"/>' % (
            LEFT, WIDTH - RIGHT, y(p50), y(p50)))
    for word, value, dashes in (("max", limit, ""), ("p50", p50_limit, ' stroke-dasharray="7 4"')):
        if value:
            add('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#b3261e" stroke-width="1.5"%s/>' % (
                LEFT, WIDTH - RIGHT, y(value), y(value), dashes))
            add('<text x="%d" y="%.1f" text-anchor="end" fill="#b3261e">target: %s %d ms</text>' % (
                WIDTH - RIGHT, y(value) - 5, word, value))
    for run in runs:
        bad = bool(run["wrong"]) or limit is not None and run["pause_ms"] > limit
        title = "run %d, %s, node %d led: %s ms" % (run["number"] + 1, run["way"], run["leader"],
                                                    ms(run["pause_ms"]))
        add('<circle cx="%.1f" cy="%.1f" r="4" fill="%s" fill-opacity="0.8"%s><title>%s</title>'
            '</circle>' % (x(run["number"]), y(run["pause_ms"]), COLOURS.get(run["way"], "#5f6b7a"),
                           ' stroke="#b3261e" stroke-width="2.5"' if bad else "",
                           html.escape(title)))
    add("</svg>")
    return "".join(out)


# ---- the page ----

def table(cells):
    rows = ["<table><tr><th class=l>event</th><th class=l>topology</th><th>runs</th><th>p50</th>"
            "<th>p90</th><th>p99</th><th>max, ms</th><th>load, transfers/s</th>"
            "<th class=l>targets</th></tr>"]
    for cell in cells:
        if cell.get("skipped"):
            said = '<span class=soft>skipped: %s</span>' % html.escape(cell["skipped"])
        elif cell.get("broken"):
            said = '<span class=bad>the loop failed: %s</span>' % html.escape(
                cell["broken"].splitlines()[0][:200])
        else:
            said = "<br>".join('<span class=%s>%s</span> %s: %s' % (
                "good" if good else "bad", "&#10003;" if good else "&#10007;", html.escape(target),
                html.escape(value)) for target, value, good in verdicts(cell))
        rows.append("<tr><td class=l>%s</td><td class=l>%s</td><td>%d</td>%s<td>%s</td>"
                    "<td class=l>%s</td></tr>" % (
                        html.escape(cell["title"]), cell["topology"], len(cell["runs"]),
                        "".join("<td>%s</td>" % ms(v) for v in figures(cell)),
                        cell.get("rate", "-"), said))
    return "".join(rows) + "</table>"


def runs_table(cells):
    rows = ["<table><tr><th class=l>topology</th><th>run</th><th class=l>way</th><th>leader</th>"
            "<th>pause</th><th>when mended</th><th>other side refused</th><th>A: longest</th>"
            "<th>B: longest</th><th>in doubt</th><th>load acknowledged</th><th class=l>wrong</th></tr>"]
    for cell in cells:
        for run in cell["runs"]:
            rows.append("<tr><td class=l>%s</td><td>%d</td><td class=l>%s</td><td>node %d</td>"
                        "<td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%d</td>"
                        "<td>%d</td><td class='l bad'>%s</td></tr>" % (
                            cell["topology"], run["number"] + 1, run["way"], run["leader"],
                            ms(run["pause_ms"]), ms(run.get("mended_pause_ms")),
                            ms(run.get("refusal_ms")), ms(run["sites"]["A"]["longest_pause_ms"]),
                            ms(run["sites"]["B"]["longest_pause_ms"]),
                            sum(s["in_doubt"] for s in run["sites"].values()),
                            run["load_acknowledged"], html.escape("; ".join(run["wrong"]))))
    return "".join(rows) + "</table>"


def page(document):
    names = list(dict.fromkeys(cell["event"] for cell in document["cells"]))
    out = ["<!doctype html><html lang=en><head><meta charset=utf-8><title>Failover figures</title>"
           "<style>%s</style></head><body><main><h1>Failover figures</h1>" % STYLE]
    for words in ("%s; %s" % (document["began"], document["machine"]),
                  "Load: %g %% of the measured capacity, open loop, at both sites; 100 canaries a "
                  "second at each. Silence: %s." % (document["load_percent"], document["silence"])):
        out.append("<p>%s</p>" % html.escape(words))
    out.append("<p>To repeat: <code>%s</code></p>" % html.escape(document["command"]))
    if document.get("interrupted"):
        out.append("<p class=bad>Interrupted: some runs are missing.</p>")
    out.append("<div class=card>%s</div>" % table(document["cells"]))
    for name in names:
        cells = [cell for cell in document["cells"] if cell["event"] == name]
        out.append("<h2>%s</h2><p>%s</p><div class=card>" % (html.escape(cells[0]["title"]),
                                                            html.escape(cells[0]["target"])))
        if any(cell["runs"] for cell in cells):
            out.append("<div class=panels>%s</div>" % "".join(panel(c) for c in cells if c["runs"]))
            ways = sorted({run["way"] for cell in cells for run in cell["runs"]})
            out.append("<div class=legend>%s<span class=dot style='border:2px solid #b3261e'></span>"
                       "above the target, or something wrong &nbsp; dotted: p50</div>" % "".join(
                           "<span class=dot style='background:%s'></span>%s" % (
                               COLOURS.get(way, "#5f6b7a"), WAYS.get(way, way)) for way in ways))
            out.append("<p>%s</p>" % ", ".join(
                "<a href='%s'>timeline of the worst run on %s</a> (run %d)" % (
                    html.escape(cell["worst"]["page"]), cell["topology"], cell["worst"]["run"] + 1)
                for cell in cells if cell.get("worst")))
            out.append("<details><summary>every run</summary>%s</details>" % runs_table(cells))
        for cell in cells:
            for key in ("skipped", "broken"):
                if cell.get(key):
                    out.append("<p>%s: %s: %s</p>" % (cell["topology"], key,
                                                      html.escape(cell[key][:1000])))
        out.append("</div>")
    out.append("<h2>What the figures mean</h2><div class=card><p>A run's pause is the longest time "
               "from the intended moment of a canary until it, or a later one, was acknowledged, "
               "over the canaries intended between the event and its mending, at the site that is "
               "judged (docs/observe.md). Nodes, load and observer share one machine, its cores "
               "and its disk.</p><p>After each run every canary's outcome is compared with the "
               "ledger by a separate program (chaos/judge.py), and every transfer of the load that "
               "was acknowledged is looked for.</p></div></main></body></html>")
    return "".join(out)


def write(document, path):
    """PATH.json and PATH.html, whole or as they were."""
    for name, content in ((path + ".json", json.dumps(document, indent=1)),
                          (path + ".html", page(document))):
        with open(name + ".part", "w") as file:
            file.write(content)
        os.replace(name + ".part", name)
