"""The verdict in sentences: what was attacked, what held, what did not, and what was not checked.

`verdict()` is one of three words. "broken": a checker found a violation that nobody wanted, or one
that the scenario demands was not found. "unjudged": nothing was checked, the run has no end, or it
failed by itself.
"holds": everything that was checked holds, something was, and the run itself did what it was to do.
"""
from .figures import STALL_SECONDS, family
from .look import count, escape, mark, ms, plural, span

HEADLINES = {"holds": ("good", "Everything that was checked held."),
             "broken": ("bad", "A promise was broken."),
             "unjudged": ("warn", "Not judged: nothing is claimed.")}


def demanded(history):
    """Claims that the scenario breaks on purpose: they have to be found broken."""
    return set(history.meta.get("must_break") or ())


def wanted(history):
    """These, and those that may break with them."""
    return demanded(history) | set(history.meta.get("may_break") or ())


def unexpected(history):
    """Violations that the scenario did not ask for."""
    verdicts = history.verdicts or {"violations": []}
    return [v for v in verdicts["violations"] if v["claim"] not in wanted(history)]


def broken_claims(history):
    verdicts = history.verdicts or {"claims": []}
    return [c for c in verdicts["claims"] if c["verdict"] == "broken"
            and c["name"] not in wanted(history)]


def not_broken(history):
    """Claims that the scenario wants broken, and that are not."""
    verdicts = history.verdicts or {"claims": [], "violations": []}
    broken = {c["name"] for c in verdicts["claims"] if c["verdict"] == "broken"}
    broken |= {v["claim"] for v in verdicts["violations"]}
    return sorted(demanded(history) - broken)


def verdict(history):
    # Of a run that failed by itself what is broken may be broken by that.
    if history.verdicts is None or history.meta.get("failed"):
        return "unjudged"
    if unexpected(history) or broken_claims(history) or not_broken(history):
        return "broken"
    # What the engine says of its own run ("run: ...") is no checker's word.
    if not any(c["verdict"] != "unchecked" and not c["name"].startswith("run:")
               for c in history.verdicts["claims"]):
        return "unjudged"
    return "unjudged" if history.clock("end", "mono") is None else "holds"


# What the engine claims of its own run: it says these names and no more.
OWN = {"run: liveness": "When the faults are over everything answers, agrees and settles within a bounded time",
       "run: processes": "No node ends by itself, and each ends well when it is asked to",
       "run: journals": "tally journal verify finds nothing in any journal, and the journals agree",
       "run: timeline": "What the scenario does could be done",
       "run: scenario": "What the scenario itself expects came about"}


def title(history, name):
    """A claim in its own words."""
    claims = history.verdicts["claims"] if history.verdicts else []
    return next((c["title"] for c in claims if c["name"] == name and c.get("title")),
                OWN.get(name, name))


def headline(history):
    """(class, text)"""
    kind, text = HEADLINES[verdict(history)]
    claims = history.verdicts["claims"] if history.verdicts else []
    broken = {c["name"] for c in broken_claims(history)} | {v["claim"] for v in unexpected(history)}
    if verdict(history) == "broken" and broken:
        text = "%s: %s." % ("A promise was broken" if len(broken) == 1 else
                            "%d promises were broken" % len(broken),
                            ", ".join(sorted(broken)) if len(broken) > 1 else
                            title(history, min(broken)))
    elif verdict(history) == "broken":
        text = "The scenario demands a finding, and it was not made: %s." % ", ".join(
            not_broken(history))
    elif verdict(history) == "unjudged" and history.meta.get("failed"):
        text = "Not judged: the run itself failed: %s" % str(history.meta["failed"]).splitlines()[0]
    elif verdict(history) == "holds":
        held = sum(c["verdict"] == "holds" for c in claims)
        text = "%s %s, none broken%s." % (
            text, plural(held, "claim"), " but what the scenario demands" if wanted(history) else "")
    return kind, text


def attacked(figures):
    """Sentences, HTML."""
    history, meta, nodes = figures.history, figures.history.meta, figures.history.nodes()
    by_site = {}
    for number, node in nodes.items():
        by_site.setdefault(node["site"], []).append(
            "node %s%s" % (number, " (witness)" if node["kind"] == "witness" else ""))
    where = "; ".join("site %s: %s" % (site, ", ".join(names)) if site else ", ".join(names)
                      for site, names in sorted(by_site.items()))
    out = ["A cluster of real processes%s, for %s%s." % (
        " (%s)" % escape(str(meta["topology"])) if meta.get("topology") else "",
        span(history.seconds), ": " + escape(where) if where else "")]
    if meta.get("planted"):
        out.append("<b class=warn>An error is planted on purpose</b> in this build: %s. What did not hold "
                   "is how it shows itself." % escape(str(meta["planted"])))
    clients = history.clients
    if clients.names:
        out.append("%s sent %s with %s; %s were acknowledged, %s refused for good; %s on purpose or "
                   "after a lost answer, %s." % (
                       plural(len(clients.names), "client"),
                       plural(clients.counts["requests"], "request"),
                       plural(clients.counts["events"], "transfer or account",
                              "transfers and accounts"),
                       count(clients.counts["acknowledged"]), count(clients.counts["refused"]),
                       plural(clients.counts["repeats"], "repeat"),
                       plural(clients.counts["reads"], "read")))
    if figures.faults:
        out.append("%s, from %s to %s: %s." % (
            plural(len(figures.faults), "fault"), span(figures.faults[0]["from"]),
            span(max(f["to"] or history.seconds for f in figures.faults)), ", ".join(
                "%s %s" % (count(n), escape(kind)) for kind, n in figures.kinds.most_common())))
    else:
        out.append("No fault is recorded.")
    return out


def seen(figures):
    """What happened besides, HTML sentences."""
    history, out = figures.history, []
    terms = {row["term"] for row in figures.leaders}
    if figures.leaders:
        nodes = len({row["node"] for row in figures.leaders})
        out.append("%s led, in %s." % (plural(nodes, "node"), plural(len(terms), "term")))
    modes = figures.modes()
    if modes:
        begin, end = figures.window()
        alone = end - begin - sum(modes.values())
        out.append("Rule as the leader told it: %s%s." % (
            ", ".join("%s for %s" % (escape(str(mode).upper()), span(seconds))
                      for mode, seconds in modes.most_common()),
            "; nobody was seen leading for %s" % span(alone) if alone >= 0.2 else ""))
    pauses = figures.longest_pauses()
    if pauses:
        out.append("Longest pause as clients saw it from outside (<code>tally observe</code>): %s." %
                   ", ".join("site %s %s%s ms%s" % (
                       escape(site), "at least " if is_open else "", ms(longest),
                       "" if begin is None else " at %s" % span(begin))
                       for site, (longest, begin, is_open) in pauses.items()))
    stalls = figures.stalls()
    if stalls:
        out.append("<b class=warn>The machine was slow</b>: %s nobody looked at any node for more than %g s, "
                   "at most for %s. Pauses of those moments may be the machine's." % (
                       plural(len(stalls), "time"), STALL_SECONDS, span(max(stalls))))
    clients = history.clients
    if clients.counts["in doubt"]:
        out.append("%s in doubt for a while: %s." % (
            plural(clients.counts["in doubt"], "request was", "requests were"),
            ", ".join("%s %s" % (count(n), escape(words))
                      for words, n in clients.resolutions.most_common())))
    elif clients.names:
        out.append("No request was ever in doubt.")
    return out


def unchecked(history):
    """What nobody looked at, as text."""
    out = []
    if history.verdicts is None:
        out.append("verdicts.json is missing: no checker looked at this run (chaos/checkers/run.py %s)"
                   % history.directory)
    else:
        out += ["%s: %s" % (c["name"], c.get("text") or "not checked")
                for c in history.verdicts["claims"] if c["verdict"] == "unchecked"]
    if history.meta.get("failed"):
        out.append("what the run was to show behind the point where it failed: %s" %
                   str(history.meta["failed"])[:2000])
    out += ["a fault that was not tried: %s" % text for text in history.meta.get("skipped") or ()]
    return out + history.missing


def claim_row(claim, history):
    """(class, mark and word, HTML)"""
    if claim["verdict"] == "broken" and claim["name"] in wanted(history):
        return "good", mark("good") + " broken, as the scenario demands"
    kind, word = {"holds": ("good", "holds"), "broken": ("bad", "broken"),
                  "unchecked": ("warn", "not checked")}[claim["verdict"]]
    return kind, "%s <span class=%s>%s</span>" % (mark(kind), kind, word)


def families(figures):
    """The families of faults of a run: [(name, colour)]"""
    found = []
    for fault in figures.faults:
        if family(fault["kind"]) not in found:
            found.append(family(fault["kind"]))
    return found
