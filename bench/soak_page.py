"""The soak's report as one page: verdict first, then each series with its rule, then plots. No
script and nothing from elsewhere, so that it can be mailed and kept."""
import html

COLOURS = ("#0b6", "#06c", "#c60", "#909", "#333")
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 190, 70, 24
STYLE = """body{font:15px/1.45 sans-serif;margin:2em auto;max-width:60em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}.grows,.bad{color:#b00;font-weight:bold}.flat,.good{color:#070}
svg{background:#fafafa;border:1px solid #ddd}small{color:#666}"""


def figure(value, unit):
    """A number for people."""
    if value is None:
        return "-"
    if unit == "bytes":
        return "%.1f MiB" % (value / 2 ** 20)
    return ("%.0f" if abs(value) >= 100 else "%.2f") % value + (" " + unit if unit else "")


def plot(title, unit, lines):
    """One SVG: {name: [(seconds, value)]}."""
    points = [p for line in lines.values() for p in line]
    if not points:
        return ""
    end = max(p[0] for p in points) or 1.0
    top = max(p[1] for p in points) * 1.05 or 1.0

    def place(point):
        return "%.1f,%.1f" % (LEFT + point[0] / end * (WIDTH - LEFT - 10),
                              HEIGHT - BOTTOM - point[1] / top * (HEIGHT - BOTTOM - 12))

    parts = ['<h3>%s</h3><svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">' % (
        html.escape(title), WIDTH, HEIGHT)]
    for share in (0, 0.5, 1):
        y = HEIGHT - BOTTOM - share / 1.05 * (HEIGHT - BOTTOM - 12)
        parts.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>'
                     '<text x="%d" y="%.1f" font-size="11" text-anchor="end">%s</text>' % (
                         LEFT, WIDTH - 10, y, y, LEFT - 5, y + 4,
                         html.escape(figure(share * top / 1.05, unit))))
    parts.append('<text x="%d" y="%d" font-size="11">0</text><text x="%d" y="%d" font-size="11" '
                 'text-anchor="end">%.1f min</text>' % (LEFT, HEIGHT - 6, WIDTH - 10, HEIGHT - 6,
                                                        end / 60))
    for place_in_list, (name, line) in enumerate(lines.items()):
        colour = COLOURS[place_in_list % len(COLOURS)]
        step = max(1, len(line) // 600)
        parts.append('<polyline fill="none" stroke="%s" stroke-width="1.4" points="%s"/>' % (
            colour, " ".join(place(p) for p in line[::step])))
        parts.append('<text x="%d" y="14" font-size="12" fill="%s">%s</text>' % (
            LEFT + 8 + 130 * place_in_list, colour, html.escape(name)))
    return "".join(parts) + "</svg>"


def row(result):
    unit = result["unit"]
    rule = "at most %s or %.0f %% of the level" % (figure(result["allowance"], unit),
                                                   100 * result["share"])
    if result["price"]:
        rule += ", beside %.0f B per transfer" % result["price"]
    return ("<tr><td>%s<br><small>%s</small></td><td>%s</td><td>%s</td><td>%s</td><td>%s</td>"
            "<td class=\"%s\">%s</td></tr>") % (
        html.escape(result["name"]), html.escape(rule + (". " + result["why"] if result["why"] else "")),
        figure(result.get("level"), unit), figure(result.get("growth"), unit),
        figure(result.get("allowed"), unit),
        "%.0f B" % result["per_transfer"] if "per_transfer" in result else "-",
        "flat" if result["verdict"] == "flat" else "grows",
        html.escape(result["verdict"] + (": " + result["text"] if "text" in result else "")))


def page(report):
    """The whole document as text."""
    minutes = "".join(
        "<tr><td>%d</td><td>%.0f</td><td>%.2f</td><td>%.2f</td><td>%.2f</td><td>%d</td></tr>" % (
            m["minute"], m["transfers_per_s"], m["p50"], m["p99"], m["max"], m["unknown"])
        for m in report["minutes"])
    return ("<!doctype html><meta charset=\"utf-8\"><title>soak: %s</title><style>%s</style>"
            "<h1>Soak: <span class=\"%s\">%s</span></h1><p>%s</p><p><code>%s</code></p>%s"
            "<h2>Series</h2><table><tr><th>series and rule</th><th>level</th><th>growth</th>"
            "<th>allowed</th><th>per transfer</th><th>verdict</th></tr>%s</table>"
            "<h2>By the minute</h2><table><tr><th>minute</th><th>transfers/s</th><th>p50 ms</th>"
            "<th>p99 ms</th><th>max ms</th><th>unknown</th></tr>%s</table><h2>Plots</h2>%s") % (
        html.escape(report["verdict"]), STYLE, "good" if report["verdict"] == "FLAT" else "bad",
        html.escape(report["verdict"]), html.escape(report["machine"]),
        html.escape(report["command"]),
        "".join("<p>%s</p>" % html.escape(note) for note in report["notes"]),
        "".join(row(result) for result in report["results"]), minutes,
        "".join(plot(*one) for one in report["plots"]))
