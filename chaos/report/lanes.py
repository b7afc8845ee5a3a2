"""The timeline: lanes one below the other over one axis of time, each a small SVG of fixed size.

On a screen narrower than the lanes they scroll sideways together, and their names stay; on paper
they are scaled to its width. Everything drawn has its words as a title (shown by a pointer) and, as
far as it matters, in the tables below. Where nobody looked nothing is drawn: a gap is no claim.
"""
import math

from . import figures as figures_of
from .look import count, escape, ms, nice, span

WIDTH, LEFT, RIGHT = 1100, 56, 10
CHARACTER = 6.6             # widest guess of a letter's width at 12 px
BUCKET_SECONDS = 0.25       # the shortest
SITE_COLOURS = ("blue", "violet", "teal", "warn")
GAP_SECONDS = 0.4           # without an acknowledgement, that are shaded
ROWS_WITH_LABELS = 9        # of faults; with more of them at once only bars are drawn

STYLE = """
.timeline { overflow-x: auto; padding: 8px 12px 10px; }
.lane { width: %dpx; } .lane + .lane { border-top: 1px solid var(--grid); }
.lane .name { position: sticky; left: 0; width: max-content; max-width: 86vw; font-size: 13px;
              padding: 3px 0 0; } .lane .name b { font-weight: 600; }
@media print { .timeline { padding: 4px 0; } .lane { width: 100%%; } .lane svg { width: 100%%;
  height: auto; } }
""" % WIDTH

# Hatched: not known. One for the page; figures refer to it.
PATTERNS = ("<svg width=0 height=0 style='position:absolute' aria-hidden=true><defs><pattern id=hatch "
            "width=7 height=7 patternUnits=userSpaceOnUse patternTransform='rotate(45)'><line x1=0 "
            "y1=0 x2=0 y2=7 style='stroke:var(--grey)' stroke-width=2 opacity=0.55 /></pattern>"
            "</defs></svg>")


class Timeline:
    """The lanes of [begin, end) of a run, in seconds."""

    def __init__(self, figures, begin, end, marks=()):
        self.figures, self.begin, self.end, self.marks = figures, begin, end, marks
        self.parts = max(8, min(345, int((end - begin) / BUCKET_SECONDS)))
        self.sites = sorted(set(figures.history.clients.by_site)
                            | set(figures.history.clients.refused))

    def x(self, at):
        at = min(max(at, self.begin), self.end)
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.begin) / (self.end - self.begin)

    def seen(self, begin, end):
        return end > self.begin and begin < self.end

    # ---- pieces ----

    def lane(self, name, height, body, note=""):
        struck = "".join(
            "<line x1='%.1f' x2='%.1f' y1=0 y2='%d' style='stroke:var(--%s)' opacity=0.28 />" % (
                self.x(f["from"]), self.x(f["from"]), height, figures_of.family(f["kind"])[1])
            for f in self.figures.faults if self.begin <= f["from"] < self.end)
        wrong = "".join(
            "<line x1='%.1f' x2='%.1f' y1=0 y2='%d' class='limit dashed'><title>%s</title></line>" % (
                self.x(at), self.x(at), height, escape(text))
            for at, text in self.marks if self.begin <= at < self.end)
        return ("<div class=lane><div class=name><b>%s</b>%s</div><svg width=%d height=%d viewBox='0 0 "
                "%d %d' role=img aria-label='%s'>%s%s%s</svg></div>" % (
                    escape(name), " <span class=soft>%s</span>" % escape(note) if note else "", WIDTH,
                    height, WIDTH, height, escape(name), struck, body, wrong))

    def bar(self, begin, end, y, height, colour, title, opacity=1.0, text="", text_class=""):
        left, right = self.x(begin), self.x(end)
        width = max(2.0, right - left)
        out = ("<rect x='%.1f' y='%g' width='%.1f' height='%g' rx=1.5 style='fill:%s' "
               "opacity='%g'><title>%s</title></rect>" % (
                   left, y, width, height, "url(#hatch)" if colour == "hatch" else
                   "var(--%s)" % colour, opacity, escape(title)))
        if text and len(text) * CHARACTER + 6 < width:
            out += "<text x='%.1f' y='%.1f' class='%s' pointer-events=none>%s</text>" % (
                left + 4, y + height / 2 + 4.3, text_class, escape(text))
        return out

    @staticmethod
    def between(begin, end):
        return "%.2f s to %.2f s" % (begin, end)

    def axis(self):
        step = nice((self.end - self.begin) / 12)
        out, at = [], math.ceil(self.begin / step) * step
        while at <= self.end + 1e-9:
            out.append("<line x1='%.1f' x2='%.1f' y1=0 y2=5 class=axis /><text x='%.1f' y=18 "
                       "text-anchor=middle class=soft>%s</text>" % (
                           self.x(at), self.x(at), min(self.x(at), WIDTH - 22), self.clock(at, step)))
            at += step
        return self.lane("Time", 24, "<line x1='%d' x2='%d' y1=0.5 y2=0.5 class=axis />%s" % (
            LEFT, WIDTH - RIGHT, "".join(out)), "since the run began")

    @staticmethod
    def clock(at, step):
        if step < 1:
            return "%.1f s" % at
        return "%d s" % at if at < 120 else "%d:%02d" % divmod(round(at), 60)

    def scale(self, top, y, unit):
        """Two to four lines of a linear scale from 0 to top."""
        step, value, out = nice(top / 3), 0, []
        while value <= top * 1.0001:
            out.append("<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class=grid /><text x='%d' "
                       "y='%.1f' text-anchor=end class=soft>%g%s</text>" % (
                           LEFT, WIDTH - RIGHT, y(value), y(value), LEFT - 6, y(value) + 4, value,
                           unit if value else ""))
            value += step
        return "".join(out)

    def line(self, values, y, colour, style=""):
        """A line through the middles of the buckets; None is a gap."""
        width, paths, pen = (self.end - self.begin) / len(values), [], "M"
        for place, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            paths.append("%s%.1f %.1f" % (pen, self.x(self.begin + (place + 0.5) * width), y(value)))
            pen = "L"
        return "<path d='%s' fill=none style='stroke:var(--%s)' stroke-width=1.5 %s/>" % (
            "".join(paths), colour, style) if paths else ""

    # ---- lanes ----

    def faults(self):
        shown = [(n, f) for n, f in enumerate(self.figures.faults, 1)
                 if self.seen(f["from"], self.figures.history.seconds if f["to"] is None
                              else max(f["to"], f["from"] + 1e-3))]
        if not shown:
            return self.lane("Faults", 16, "", "none")
        for labels in (True, False):
            ends, rows = [], []
            for number, fault in shown:
                text = ("%d %s %s" % (number, fault["kind"], figures_of.place(fault))).rstrip()
                left = self.x(fault["from"])
                end = self.end if fault["to"] is None else fault["to"]
                right = max(self.x(end), left + 2) + 3
                if labels:      # one that does not fit ends at the edge, and begins further left
                    right = max(right, left + len(text) * CHARACTER + 8)
                    left = min(left, WIDTH - 4 - len(text) * CHARACTER)
                row = next((r for r, e in enumerate(ends) if e <= left), len(ends))
                ends[row:row + 1] = [right]
                rows.append((row, text, end))
            if len(ends) <= ROWS_WITH_LABELS:
                break
        pitch = 19 if labels else max(4, min(12, 160 // len(ends)))
        out = []
        for (number, fault), (row, text, end) in zip(shown, rows):
            colour, y = figures_of.family(fault["kind"])[1], row * pitch + 1
            title = "fault %d: %s; %s%s" % (
                number, ", ".join(filter(None, (fault["kind"], figures_of.place(fault),
                                                fault["text"]))),
                self.between(fault["from"], end), " (no end is recorded)" if fault["to"] is None else "")
            out.append(self.bar(fault["from"], end, y, pitch - 3, colour, title, 0.32 if labels else 0.8))
            if labels:
                at = self.x(fault["from"])
                out.append("<rect x='%.1f' y='%g' width=3 height='%g' style='fill:var(--%s)'/>" % (
                    at, y, pitch - 3, colour))
                anchor = at + len(text) * CHARACTER + 8 > WIDTH
                out.append("<text x='%.1f' y='%.1f' pointer-events=none%s>%s</text>" % (
                    WIDTH - 4 if anchor else at + 6, y + 12.5, " text-anchor=end" if anchor else "",
                    escape(text)))
        return self.lane("Faults", len(ends) * pitch + 3, "".join(out),
                         "numbered as in the table below" if labels else
                         "too many at once for their names: see the table and the parts below")

    def node(self, number, node):
        looks = {"leads": ("blue", 1.0, "on"), "serves": ("pale", 1.0, ""), "starts": ("warn", 0.45, ""),
                 "silent": ("hatch", 1.0, "")}
        words = {"leads": "leads", "serves": "serves", "starts": "runs, does not serve yet",
                 "silent": "did not answer"}
        out = []
        for begin, end, (state, term) in self.figures.nodes.get(number, ()):
            if self.seen(begin, end):
                colour, opacity, kind = looks[state]
                out.append(self.bar(begin, end, 2, 16, colour, "node %s %s%s, %s" % (
                    number, words[state], " in term %s" % term if term else "",
                    self.between(begin, end)), opacity, "term %s" % term if term else "", kind))
        for begin, end, state in self.figures.processes.get(number, ()):
            if self.seen(begin, end):
                out.append(self.bar(begin, end, 14 if state == "starts" else 2,
                                    4 if state == "starts" else 16,
                                    "bad" if state == "down" else "warn", "node %s: %s, %s" % (
                                        number, "its process is ended" if state == "down" else
                                        "started, not ready yet", self.between(begin, end)),
                                    0.75, "down" if state == "down" else "", "on"))
        return self.lane("Node %s" % number, 20, "".join(out), ", ".join(
            filter(None, ("site %s" % node["site"] if node["site"] else "", node["kind"]))))

    def rule(self):
        out = []
        for begin, end, (mode, number) in self.figures.rule:
            if self.seen(begin, end):
                colour = {"sync": "good", "degraded": "warn"}.get(str(mode).lower(), "grey")
                word = str(mode).upper()
                out.append(self.bar(begin, end, 2, 16, colour, "%s, entry number %s of the rule, %s" % (
                    word, number, self.between(begin, end)), 0.85, word, "on"))
        return self.lane("Rule", 20, "".join(out), "as the leader told it: SYNC = a commit is at both "
                         "sites; DEGRADED = one site was given up; empty = nobody led")

    def lacking(self, site, samples):
        seen = [s for s in samples if self.begin <= s[0] < self.end]
        known = [s[2] for s in seen if s[2] is not None]
        most, height = max(known, default=0), 40
        if most == 0 and len(known) == len(seen):
            return self.lane("What site %s lacks" % site, 4, "", "nothing, as often as it was asked"
                             if seen else "nobody was asked")
        top = max(most * 1.1, 1.0)
        y = lambda value: height - 4 - (height - 10) * min(value, top) / top
        out = [self.scale(top, y, " s")]
        for begin, end, known_now in figures_of.spans([(s[0], s[2] is not None) for s in seen],
                                                      self.end):
            if not known_now:
                out.append(self.bar(begin, end, height - 14, 10, "hatch", "not known, %s" %
                                    self.between(begin, end)))
        for begin, end, value in figures_of.spans([(s[0], s[2]) for s in seen], self.end):
            if value:
                out.append("<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' style='fill:"
                           "var(--warn)' opacity=0.8><title>%.2f s, %s</title></rect>" % (
                               self.x(begin), y(value), max(1.0, self.x(end) - self.x(begin)),
                               height - 4 - y(value), value, self.between(begin, end)))
        entries = max((s[1] for s in seen if s[1] is not None), default=None)
        return self.lane("What site %s lacks" % site, height, "".join(out),
                         "age of the oldest entry that it has not: at most %.1f s, %s; hatched = not "
                         "known" % (most, "no entry count" if entries is None else
                                    "%s entries" % count(entries)))

    def throughput(self):
        clients = self.figures.history.clients
        rates = {site: [b[0] for b in figures_of.buckets(clients.by_site[site], self.begin, self.end,
                                                         self.parts)] for site in self.sites}
        top = max([max(values) for values in rates.values()] + [1]) * 1.05
        height = 74
        y = lambda value: height - 6 - (height - 16) * value / top
        out = [self.scale(top, y, "")]
        for place, (site, values) in enumerate(rates.items()):
            out.append(self.line(values, y, SITE_COLOURS[place % 4]))
        return self.lane("Requests acknowledged per second", height, "".join(out),
                         ", ".join("site %s's clients %s" % (site, SITE_WORDS[place % 4])
                                   for place, site in enumerate(rates)))

    def latency(self, place, site):
        height, series = 96, self.figures.history.clients.by_site[site]
        parts = figures_of.buckets(series, self.begin, self.end, self.parts)
        worst = max([p[3] for p in parts if p[3]] + [0.02])
        low, high = -3.0, math.log10(worst * 1.4)
        y = lambda value: height - 6 - (height - 14) * max(
            0.0, math.log10(max(value, 1e-3)) - low) / (high - low)
        out, value = [], 0.001
        while value <= worst * 1.4:
            out.append("<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class=grid /><text x='%d' y='%.1f' "
                       "text-anchor=end class=soft>%s</text>" % (
                           LEFT, WIDTH - RIGHT, y(value), y(value), LEFT - 6, y(value) + 4,
                           "%g ms" % round(value * 1e3) if value < 0.9 else "%g s" % round(value)))
            value *= 10
        for begin, end in figures_of.gaps(series, self.begin, self.end):
            if end - begin >= GAP_SECONDS:
                out.append(self.bar(begin, end, 2, height - 8, "shade",
                                    "nothing acknowledged for %s ms, %s" % (
                                        ms((end - begin) * 1e3), self.between(begin, end))))
        width = (self.end - self.begin) / len(parts)
        for part, (_, _, _, most) in enumerate(parts):
            if most is not None:
                out.append("<circle cx='%.1f' cy='%.1f' r=1.7 style='fill:var(--grey)'/>" % (
                    self.x(self.begin + (part + 0.5) * width), y(most)))
        out.append(self.line([p[1] for p in parts], y, SITE_COLOURS[place % 4]))
        out.append(self.line([p[2] for p in parts], y, SITE_COLOURS[place % 4],
                             "stroke-dasharray='3 2'"))
        return self.lane("Waiting time of site %s's clients" % site, height, "".join(out),
                         "line: half of the requests, dashed: 99 %%, dots: the slowest; red: nothing was "
                         "acknowledged for %g s and more" % GAP_SECONDS)

    def pauses(self, site, found):
        """Each with its length, inside or behind it, unless that would cover the next one."""
        out, free = [], LEFT
        found = sorted(pause for pause in found if self.seen(*pause[:2]))
        behind = [self.x(pause[0]) for pause in found[1:]] + [WIDTH]
        for (begin, end, length, is_open), following in zip(found, behind):
            text = "%s%s ms" % ("\u2265 " if is_open else "", ms(length))
            out.append(self.bar(begin, end, 2, 14, "bad", "%s, %s" % (text, self.between(begin, end)),
                                0.8))
            left, wide = self.x(begin), len(text) * CHARACTER + 6
            inside = self.x(end) - left > wide
            at = left + 4 if inside else max(self.x(end), left + 2) + 4
            if inside or at > free and at + wide < following:
                out.append("<text x='%.1f' y=13.5 class='%s' pointer-events=none>%s</text>" % (
                    at, "on" if inside else "bad", escape(text)))
                free = at + wide
        return self.lane("Pauses at site %s" % site, 18, "".join(out),
                         "of 100 ms and more, measured from outside by tally observe")

    def doubts(self):
        values = figures_of.doubt_series(self.figures.history.clients, self.begin, self.end, self.parts)
        most, height = max(values), 34
        y = lambda value: height - 4 - (height - 10) * value / max(most, 1)
        width = (self.end - self.begin) / len(values)
        out = ["<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' style='fill:var(--violet)'><title>"
               "%d in doubt at %.2f s</title></rect>" % (
                   self.x(self.begin + n * width), y(value),
                   self.x(self.begin + width) - LEFT + 0.2, height - 4 - y(value), value,
                   self.begin + n * width) for n, value in enumerate(values) if value]
        out.append("<line x1='%d' x2='%d' y1='%d' y2='%d' class=axis />" % (
            LEFT, WIDTH - RIGHT, height - 4, height - 4))
        return self.lane("Requests in doubt", height, "".join(out), "at once, at most %d: a call ended "
                         "without an answer, and the outcome was not known yet" % most)

    def html(self):
        history, out = self.figures.history, [self.faults()]
        out += [self.node(number, node) for number, node in history.nodes().items()]
        if self.figures.rule:
            out.append(self.rule())
        out += [self.lacking(site, samples) for site, samples in self.figures.lacking.items()]
        if self.sites and history.clients.timed:
            out.append(self.throughput())
            out += [self.latency(place, site) for place, site in enumerate(self.sites)
                    if history.clients.by_site[site].done]
        observed = {}
        for document in history.observed:
            for site in document["sites"]:
                observed.setdefault(site["name"], []).extend(site["pauses"])
        out += [self.pauses(site, found) for site, found in sorted(observed.items())]
        if history.clients.counts["in doubt"]:
            out.append(self.doubts())
        out.append(self.axis())
        return "<div class='card timeline'>%s</div>" % "".join(out)


SITE_WORDS = ("blue", "violet", "turquoise", "orange")
LEGEND = (("blue", "leads (with its term)"), ("pale", "serves"), ("warn", "runs, does not serve yet"),
          ("bad", "process ended"), ("grey", "hatched: did not answer"))


def strips(figures, marks=()):
    """The whole run; of a longer one also its parts, folded."""
    begin, last = figures.window()
    out = [Timeline(figures, begin, last, marks).html()]
    if last - begin > 150:
        length = max(60.0, nice((last - begin) / 24))
        while begin < last:
            end = min(begin + length, last)
            struck = sum(begin <= f["from"] < end for f in figures.faults)
            out.append("<details><summary>from %s to %s: %d faults begin</summary>%s</details>" % (
                span(begin), span(end), struck, Timeline(figures, begin, end, marks).html()))
            begin = end
    return "".join(out)
