"""The look of all reports of chaos/: one self-contained page, by day, by night and on paper.

Nothing is fetched and no script is needed. Colours are variables of the page, so that figures
(inline SVG) follow the reader's choice of light or dark; on paper the light ones count. Wide
figures scroll sideways in their card on a narrow screen, and are never scaled to unreadable text.
"""
import html
import json
import math
import os

LIGHT = {"ink": "#1c2733", "soft": "#566272", "line": "#d8dee6", "paper": "#ffffff",
         "back": "#f4f6f9", "grid": "#e6eaf0", "code": "#e9edf2", "good": "#1b7f5c",
         "bad": "#b3261e", "warn": "#b26a00", "blue": "#2563ab", "pale": "#d9e4f1",
         "shade": "#fbe3df", "violet": "#7b4fb5", "teal": "#0f7a8a", "grey": "#8a94a3",
         "on": "#ffffff"}
DARK = {"ink": "#e6ebf1", "soft": "#a3afbc", "line": "#36424f", "paper": "#1b232c",
        "back": "#12181f", "grid": "#2a3541", "code": "#28323d", "good": "#4cc38a",
        "bad": "#ff8379", "warn": "#f0a94b", "blue": "#6aa9f0", "pale": "#27384c",
        "shade": "#4a2723", "violet": "#b795ea", "teal": "#4fc3d1", "grey": "#7d8794",
        "on": "#12181f"}

STYLE = """
:root { color-scheme: light dark; %s }
@media screen and (prefers-color-scheme: dark) { :root { %s } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.45 system-ui, "Segoe UI",
       "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; } h2 { font-size: 19px; margin: 32px 0 2px; }
h3 { font-size: 15px; margin: 18px 0 2px; } p { margin: 4px 0; }
a { color: var(--blue); } .soft { color: var(--soft); } .small { font-size: 13px; }
code { background: var(--code); padding: 1px 5px; border-radius: 3px; overflow-wrap: anywhere;
       font: 13px/1.5 "DejaVu Sans Mono", ui-monospace, monospace; }
pre { background: var(--code); padding: 8px 10px; border-radius: 5px; margin: 6px 0; overflow-x: auto;
      white-space: pre-wrap; overflow-wrap: anywhere;
      font: 12.5px/1.5 "DejaVu Sans Mono", ui-monospace, monospace; }
ul { margin: 4px 0; padding-left: 20px; } li { margin: 2px 0; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
        padding: 12px 16px; margin-top: 10px; overflow-x: auto; }
.verdict { border-left: 6px solid var(--grey); } .verdict.good { border-left-color: var(--good); }
.verdict.bad { border-left-color: var(--bad); } .verdict.warn { border-left-color: var(--warn); }
.verdict .first { font-size: 19px; font-weight: 600; margin-bottom: 4px; }
table { border-collapse: collapse; width: 100%%; font-variant-numeric: tabular-nums; }
th { text-align: right; color: var(--soft); font-size: 13px; padding: 4px 9px; vertical-align: bottom;
     border-bottom: 1px solid var(--line); }
td { text-align: right; padding: 5px 9px; border-bottom: 1px solid var(--grid); vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; } th.l, td.l { text-align: left; }
td.nowrap { white-space: nowrap; }
b.good, span.good, td.good { color: var(--good); font-weight: 600; }
b.bad, span.bad, td.bad, p.bad { color: var(--bad); font-weight: 600; }
b.warn, span.warn, td.warn { color: var(--warn); font-weight: 600; }
details { margin-top: 8px; } summary { cursor: pointer; color: var(--soft); font-size: 14px; }
details td, details th { font-size: 13px; padding: 3px 8px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 13px; color: var(--soft);
          margin-top: 6px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px;
            vertical-align: -1px; }
svg { display: block; } svg text { fill: var(--ink); font: 12px system-ui, "DejaVu Sans", sans-serif; }
svg text.soft { fill: var(--soft); } svg text.bad { fill: var(--bad); font-weight: 600; }
svg text.head { font-size: 14px; font-weight: 600; } svg text.on { fill: var(--on); }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--line); }
svg .limit { stroke: var(--bad); stroke-width: 1.5; } svg .dashed { stroke-dasharray: 7 4; }
svg .half { stroke: var(--soft); stroke-dasharray: 2 4; }
@media (max-width: 640px) { main { padding: 14px 10px 32px; } .card { padding: 10px 11px; }
  h1 { font-size: 21px; } body { font-size: 14px; }
  table.stack tr:first-child { display: none; } table.stack tr { display: block; padding: 7px 0;
    border-bottom: 1px solid var(--line); }
  table.stack td, table.stack td.nowrap { display: block; text-align: left; padding: 1px 0; border: 0;
    white-space: normal; }
  table.stack td:not(:first-child)::before { content: attr(data-name) ": "; color: var(--soft);
    font-weight: 400; }
  table.stack td:first-child { font-weight: 600; } }
@media print { body { background: none; font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .card { border-color: #bbb; overflow: visible; break-inside: auto; }
  h2, h3 { break-after: avoid; } tr, svg, .lane { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
""" % tuple(" ".join("--%s: %s;" % pair for pair in colours.items()) for colours in (LIGHT, DARK))

# The one script of a page: what is folded away is printed, too.
SCRIPT = """addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(
  d => { d.open = true; }));"""

escape = html.escape
MARKS = {"good": "&#10003;", "bad": "&#10007;", "warn": "?"}


def page(title, body, style=""):
    """A whole page; `title` is text, `body` is HTML."""
    return ("<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            "<title>%s</title><style>%s%s</style></head><body><main>%s</main><script>%s</script>"
            "</body></html>\n" % (escape(title), STYLE, style, body, SCRIPT))


def table(head, rows, stack=False):
    """`head`: names, "<" before one that stands left. `rows`: lists of (HTML, class) or HTML. With
    `stack` a row's cells stand one below the other, with their names, on a narrow screen."""
    left = ["l" if name.startswith("<") else "" for name in head]
    names = [escape(name.lstrip("<")) for name in head]
    out = ["<table%s><tr>%s</tr>" % (" class=stack" if stack else "", "".join(
        "<th%s>%s</th>" % (" class=l" if l else "", name) for name, l in zip(names, left)))]
    for row in rows:
        cells = [cell if isinstance(cell, tuple) else (cell, "") for cell in row]
        out.append("<tr>%s</tr>" % "".join(
            "<td class='%s'%s>%s</td>" % (" ".join(filter(None, (l, kind))),
                                          " data-name='%s'" % name if stack else "", text)
            for (text, kind), l, name in zip(cells, left, names)))
    return "".join(out) + "</table>"


def mark(kind):
    return "<span class=%s>%s</span>" % (kind, MARKS[kind])


def legend(entries):
    """[(colour's name, text)]"""
    return "<div class=legend>%s</div>" % "".join(
        "<span><i style='background:var(--%s)'></i>%s</span>" % (colour, escape(text))
        for colour, text in entries)


def nice(value):
    """The next number of the form 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= value * (1 - 1e-9))


def ms(value):
    return "-" if value is None else "never" if math.isinf(value) else "%.0f" % value


def count(value):
    """1 234 567"""
    return "{:,}".format(value).replace(",", "\u202f")


def plural(number, one, many=None):
    return "%s %s" % (count(number), one if number == 1 else many or one + "s")


def span(seconds):
    """A length of time for people."""
    if seconds < 10:
        return "%.1f s" % seconds
    if seconds < 120:
        return "%.0f s" % seconds
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return "%d min %d s" % (minutes, rest) if rest else "%d min" % minutes
    return "%d h %d min" % divmod(minutes, 60)


def write(path, document, text):
    """PATH.json and PATH.html, each whole or as it was."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    for name, content in ((path + ".json", json.dumps(document, indent=1, ensure_ascii=False)),
                          (path + ".html", text)):
        with open(name + ".part", "w", encoding="utf-8") as file:
            file.write(content)
        os.replace(name + ".part", name)
