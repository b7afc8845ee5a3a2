"""The matrix for people and for programs: a line as it comes, JSON, Markdown, one page of HTML."""
import html as escape_of

NOTHING = "(nothing)"       # the row in which none is planted
COLUMNS = ("simulator", "guard search", "tests", "fault loop", "nemesis")


def moment(find, outcome):
    """When it was found."""
    return "seed %d" % find.after if find.after is not None else "%.0f s" % outcome.seconds


def line(bug, outcome):
    if bug.name == NOTHING and not outcome.finds:
        return "%-24s %-10s nobody spoke in %s (%.0f s)" % (bug.name, outcome.finder, outcome.budget,
                                                            outcome.seconds)
    if not outcome.found:
        others = "; others saw: " + outcome.finds[0].text[:90] if outcome.finds else ""
        return "%-24s %-10s NOT FOUND by %s within %s%s" % (bug.name, outcome.finder, outcome.wanted,
                                                            outcome.budget, others)
    return "%-24s %-10s %s after %s (%.0f s): %s" % (
        bug.name, outcome.finder, " and ".join(outcome.every) or outcome.best.by,
        moment(outcome.best, outcome), outcome.seconds, outcome.best.text[:90])


def row_of(bug, outcomes):
    first = outcomes[0]
    missed = [outcome for outcome in outcomes if not outcome.found]
    best = (missed or outcomes)[0].best
    note = "; ".join("not found by %s (%s)" % (outcome.finder, outcome.wanted) for outcome in missed)
    return {
        "bug": bug.name, "what": bug.story, "where": bug.where(),
        "planted": "TALLY_PLANTED=" + bug.fault if bug.fault else
                   "--guard-off " + " ".join(bug.guard_off) if bug.guard_off else
                   "in the %s" % outcomes[0].finder,
        "by": ", ".join(outcome.finder for outcome in outcomes), "found": not missed,
        "checker": best.by if best else "", "seed": best.seed if best else None,
        "seeds": best.after if best else None, "seconds": round(first.seconds, 1),
        "budget": first.budget, "command": first.command, "note": note,
        "finders": [{
            "finder": outcome.finder, "wanted": outcome.wanted, "found": outcome.found,
            "every": list(outcome.every),
            "budget": outcome.budget, "command": outcome.command,
            "seconds": round(outcome.seconds, 1),
            "finds": [{"by": find.by, "seed": find.seed, "after": find.after,
                       "right": find.right, "text": find.text} for find in outcome.finds],
        } for outcome in outcomes],
    }


def document(facts, results, alarms):
    rows = [row_of(bug, outcomes) for bug, outcomes in results]
    seen = []
    for row in rows:
        for outcome in row["finders"]:
            seen += ["%s: %s" % (outcome["finder"], find["by"]) for find in outcome["finds"]]
    checkers = sorted(set(seen), key=lambda name: (COLUMNS.index(name.split(":")[0]), name))
    return dict(facts, checkers=checkers, rows=rows, alarms=alarms)


def cells(told, row):
    """One per checker: when it first spoke, and whether it is one of those who have to."""
    found = {}
    for outcome in row["finders"]:
        for find in outcome["finds"]:
            name = "%s: %s" % (outcome["finder"], find["by"])
            text = "%d" % find["after"] if find["after"] is not None else "x"
            if name not in found or (find["right"] and not found[name][1]):
                found[name] = (text, find["right"])
    return [found.get(name, ("", False)) for name in told["checkers"]]


def how(outcome):
    """One finder's word."""
    if not outcome["found"]:
        return "NOT FOUND by %s (%s) within %s" % (outcome["finder"], outcome["wanted"],
                                                   outcome["budget"])
    right = [find for find in outcome["finds"] if find["right"]]
    best = right[-1 if outcome["every"] else 0]
    when = "%d of %s" % (best["after"], outcome["budget"]) if best["after"] is not None else \
        "%.0f s" % outcome["seconds"]
    return "%s: %s, after %s" % (outcome["finder"], " and ".join(outcome["every"]) or best["by"],
                                 when)


def others(row):
    """Checkers that saw it and did not have to."""
    said = {(find["right"], "%s: %s" % (outcome["finder"], find["by"]))
            for outcome in row["finders"] for find in outcome["finds"]}
    return sorted(name for right, name in said if not right and (True, name) not in said)


def markdown(told):
    out = ["# Planted bugs and who found them", "",
           "Commit %s, seed %d, %s, %.0f s. `%s`" % (told["commit"], told["seed"], told["machine"],
                                                     told["seconds"], told["command"]), "",
           "| bug | what was done wrong | found by, after | also seen by |", "|---|---|---|---|"]
    for row in told["rows"]:
        out.append("| %s | %s | %s | %s |" % (row["bug"], row["what"], "; ".join(
            how(outcome) for outcome in row["finders"]), ", ".join(others(row))))
    out += ["", "## Bug by checker", "",
            "Numbers are seeds until the checker spoke (x: one run); in bold those of checkers who "
            "have to see the bug.", "",
            "| bug | " + " | ".join(told["checkers"]) + " |",
            "|---|" + "---|" * len(told["checkers"])]
    for row in told["rows"]:
        out.append("| %s | %s |" % (row["bug"], " | ".join(
            "**%s**" % text if text and right else text for text, right in cells(told, row))))
    out += [""] + ["Found with nothing planted: " + text for text in told["alarms"]]
    return "\n".join(out).rstrip() + "\n"


STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.25em .5em;
text-align:left;vertical-align:top}th{background:#f3f3f3}.missed{background:#f8d4d0}
.right{background:#d4ecd4;font-weight:bold}.also{background:#f3f6e4}
.matrix th.turn{writing-mode:vertical-rl;white-space:nowrap}code{background:#f3f3f3}
details{margin:.2em 0}"""


def html(told):
    e = escape_of.escape
    missed = [row["bug"] for row in told["rows"] if not row["found"]]
    out = ["<!doctype html><html lang=en><meta charset=utf-8><title>Planted bugs</title>",
           "<style>%s</style>" % STYLE, "<h1>Planted bugs and who found them</h1>",
           "<p><strong>%s</strong> Commit %s, seed %d, %s, %.0f s. <code>%s</code></p>" % (
               e("Not found: " + ", ".join(missed) + "." if missed else
                 "Each of %d bugs was found by all who have to." % len(told["rows"])),
               e(told["commit"]), told["seed"], e(told["machine"]), told["seconds"],
               e(told["command"]))]
    out += ["<p class=missed>Found with nothing planted: %s</p>" % e(text) for text in told["alarms"]]
    out.append("<table><tr><th>bug<th>what was done wrong<th>how it is planted<th>found</tr>")
    for row in told["rows"]:
        said = "".join(
            "<details%s><summary>%s</summary><code>%s</code><ul>%s</ul></details>" % (
                "" if outcome["found"] else " class=missed open", e(how(outcome)),
                e(outcome["command"]), "".join("<li>%s%s: %s" % (
                    e(find["by"]), " (seed %d)" % find["seed"] if find["seed"] is not None else "",
                    e(find["text"])) for find in outcome["finds"])) for outcome in row["finders"])
        out.append("<tr%s><td>%s<td>%s<td><code>%s</code><br>%s<td>%s</tr>" % (
            "" if row["found"] else " class=missed", e(row["bug"]), e(row["what"]),
            e(row["planted"]), e(", ".join(row["where"])), said))
    out.append("</table><h2>Bug by checker</h2><p>Numbers are seeds until the checker spoke (x: one "
               "run); green are those of checkers who have to see the bug.</p>")
    out.append("<table class=matrix><tr><th>bug" + "".join(
        "<th class=turn>%s" % e(name) for name in told["checkers"]) + "</tr>")
    for row in told["rows"]:
        out.append("<tr><td>%s%s</tr>" % (e(row["bug"]), "".join(
            "<td%s>%s" % (" class=right" if text and right else " class=also" if text else "", text)
            for text, right in cells(told, row))))
    out.append("</table></html>\n")
    return "\n".join(out)
