"""The six events of the failover table: how each is brought about, what is measured, what must hold.

strike() returns when the fault has lasted; the cell mends afterwards. measure() fills run["pause_ms"],
the figure of the run, and adds to run["unmet"] what the event was to bring about and did not; verdict()
says which targets hold over all runs of a cell. run["wrong"] is what no run may show on any machine.
"""
import re
import time

from measure import percentile

ELECTION_SECONDS = 20
CHANGES_PER_HOUR, DWELL_MS = 3600, 500
EARLY_MS = 20           # a canary intended so shortly before the mark may already be the event's


class Event:
    name = title = target = ""
    needs = ()          # commands of tally
    # Hundreds of losses an hour are the loop's doing, and nobody waits for the dwell of a real return.
    policy = ("changes_per_hour_max=%d" % CHANGES_PER_HOUR, "resync_dwell_ms=%d" % DWELL_MS)
    begins_in_sync = True
    is_site_loss = False    # certificates are taken while it lasts
    hold_seconds = 0.0  # how long the fault lasts
    slack = 1.0         # limits of time are multiplied by it
    forgives = False    # what the machine itself lost: for machines under test
    other_seconds = 5.5 # of a run besides: load before, mending, coming to rest, judging

    def seconds(self, arguments):
        del arguments
        return self.hold_seconds + self.other_seconds

    def strike(self, cell, run, leader):
        raise NotImplementedError

    def measure(self, cell, run, document):
        raise NotImplementedError

    def verdict(self, runs):
        """[(target in words, value in words, whether it holds)]"""
        raise NotImplementedError

    @staticmethod
    def pauses(runs):
        return [run["pause_ms"] for run in runs]

    @classmethod
    def stall(cls, run):
        """By what a run may be longer than its limit, in ms: twice the longest time for which the machine
        stood still in it, once for who asks and once for who answers (nemesis/pulse.py)."""
        return 2 * run.get("stall_ms", 0) if cls.forgives else 0

    def limit(self, runs, p50=None, most=None):
        out = []
        for name, limit, of in (("p50", p50, lambda values: percentile(values, 50)),
                                ("max", most, max)):
            if limit is not None:
                fair = of([run["pause_ms"] - self.stall(run) for run in runs])
                value, words = of(self.pauses(runs)), "%.0f ms"
                if fair != value:
                    words = "%%.0f ms, of which %.0f may be the machine's" % (value - fair)
                out.append(("%s ≤ %d ms" % (name, limit * self.slack), words % value,
                            fair <= limit * self.slack))
        return out


class Loss(Event):
    """Members are lost, by kill -9 or silently in turn."""

    def victims(self, cell, leader):
        raise NotImplementedError

    def observed(self, cell, run):
        """Sites whose clients make the figure."""
        return [s for s in ("A", "B") if s != run["lost"]]

    def strike(self, cell, run, leader):
        made, victims = cell.made, self.victims(cell, leader)
        # In turn; neighbours in the table begin differently, so that one run of each has both.
        turn = run["number"] + list(EVENTS).index(self.name)
        run["way"] = "silent" if turn % 2 else "kill"
        run["lost"] = victims[0].site
        cell.mark("event: site %s is lost (%s), node %d led" % (run["lost"], run["way"],
                                                               leader.node_id))
        if run["way"] == "kill":
            for member in victims:
                member.signal(9)
        else:
            made.network.isolate([m.node_id for m in victims], "hole")
        time.sleep(self.hold_seconds)
        # Should it last longer than the target allows, then it is measured as long as it lasts.
        made.wait_leader([m for m in made.members if m not in victims], ELECTION_SECONDS)
        if run["way"] == "kill":
            for member in victims:
                member.kill()

    def measure(self, cell, run, document):
        begin, end = cell.at(document, "event") - EARLY_MS, cell.at(document, "mended")
        run["pause_ms"] = max(cell.pause(document, s, begin, end) for s in self.observed(cell, run))
        if not any(e["text"].startswith("all nodes were stopped") for e in document["events"]):
            run["mended_pause_ms"] = max(cell.pause(document, s, end, document["ended_ms"])
                                         for s in self.observed(cell, run))


class LeaderSite(Loss):
    name, title = "leader-site", "Site with the leader lost"
    is_site_loss = True
    target = "pause of the other site's clients: p50 ≤ 700 ms, max ≤ 2 s"
    hold_seconds = 2.5

    def victims(self, cell, leader):
        return cell.made.site(leader.site)

    def verdict(self, runs):
        return self.limit(runs, 700, 2000)


class OtherSite(Loss):
    name, title = "other-site", "Site without the leader lost"
    is_site_loss = True
    target = "pause of the leader's site's clients: max ≤ 1.5 s"
    hold_seconds = 2.5

    def victims(self, cell, leader):
        return cell.made.site("B" if leader.site == "A" else "A")

    def verdict(self, runs):
        return self.limit(runs, most=1500)


class Witness(Loss):
    name, title = "witness", "Witness lost"
    target = "no pause above 100 ms at either site"
    hold_seconds = 1.5

    def victims(self, cell, leader):
        return [cell.made.witness]

    def verdict(self, runs):
        return self.limit(runs, most=100)


def cut(cell):
    """The link between the sites is silent; both hear the witness."""
    pairs = [(a.node_id, b.node_id) for a in cell.made.site("A") for b in cell.made.site("B")]
    if hasattr(cell.made.network, "cut"):
        cell.made.network.cut(pairs)
    else:
        for one, other in pairs:
            cell.made.network.between(one, other, "hole")


class Link(Event):
    name, title = "link", "Link between the sites lost, both hear the witness"
    target = "one side serves within 2 s; the other refuses within 1 s, saying why"
    hold_seconds = 4.0
    serves_ms = 600         # before the mending: who is answered then is served

    def strike(self, cell, run, leader):
        run["way"] = "silent"
        cell.mark("event: the link between the sites is lost")
        cut(cell)
        time.sleep(self.hold_seconds)

    def served(self, cell, document, name, end):
        site = next(s for s in document["sites"] if s["name"] == name)
        rows = [r for r in cell.rows(document, site)
                if end - self.serves_ms <= r["intended_ms"] < end - self.serves_ms / 2]
        done = [r for r in rows if r["outcome"] == "acknowledged" and r["answered_ms"] < end]
        return len(done) > len(rows) / 2

    def refusal_ms(self, cell, document, name, begin, end):
        """How long the side that does not serve leaves its clients without a word: (ms, how many were
        told late). From the event until the first is turned away; then, for each canary intended a
        second after the event or later, from its moment. What left for the leader just before the
        link was lost is in doubt and cannot be refused: it is told so at its attempt's end, and
        counted."""
        site = next(s for s in document["sites"] if s["name"] == name)
        first, longest, late = document["ended_ms"], 0.0, 0
        for row in cell.rows(document, site):
            if not begin <= row["intended_ms"] < end - 1000:
                continue
            told = row["refused_ms"]
            if row["outcome"] == "acknowledged" and (told is None or row["answered_ms"] < told):
                told = row["answered_ms"]
            elif told is not None:
                first = min(first, told)
            waited = (document["ended_ms"] if told is None else told) - row["intended_ms"]
            if row["intended_ms"] >= begin + 1000:
                longest = max(longest, waited)
            elif waited > 1000:
                late += 1
        return max(first - begin, longest), late

    def measure(self, cell, run, document):
        begin, end = cell.at(document, "event") - EARLY_MS, cell.at(document, "mended")
        serving = [s for s in ("A", "B") if self.served(cell, document, s, end)]
        run["serving"] = serving
        run["pause_ms"] = min(cell.pause(document, s, begin, end) for s in serving or ("A", "B"))
        if len(serving) != 1:
            run["wrong" if serving else "unmet"].append("sites that serve while the link is lost: %s" % (serving or "none"))
            run["refusal_ms"], run["told_late"], run["words"] = float("inf"), 0, ""
            return
        other = "B" if serving == ["A"] else "A"
        run["refusal_ms"], run["told_late"] = self.refusal_ms(cell, document, other, begin, end)
        words = [e["text"] for e in document["events"] if e["kind"] == "refusal"
                 and begin <= e["at_ms"] < end and e["text"].startswith("site %s: " % other)]
        run["words"] = words[-1] if words else ""

    def verdict(self, runs):
        said = [run for run in runs if re.search(r"site|link|leader|majority", run["words"][8:])]
        slowest = max(run["refusal_ms"] for run in runs)
        # Never as long as an attempt: an answer at the attempt's own end is no refusal.
        limit = min(1000 * self.slack, 2500)
        return self.limit(runs, most=2000) + [
            ("the other side refuses within %d ms" % limit, "max %.0f ms" % slowest,
             slowest <= limit),
            ("and says why", "%d of %d, e.g. \"%s\"" % (len(said), len(runs), runs[0]["words"]),
             len(said) == len(runs))]


class Switchover(Event):
    name, title = "switchover", "Planned switchover"
    target = "pause at either site max ≤ 100 ms, nothing failed"
    needs = ("site switchover",)
    hold_seconds = 1.0

    def strike(self, cell, run, leader):
        to = "B" if leader.site == "A" else "A"
        run["way"] = "planned"
        cell.mark("event: tally site switchover %s" % to)
        status, text = cell.made.tool("site", "switchover", to)
        run["told"] = text[-1000:]
        if status != 0:
            run["unmet"].append("tally site switchover %s: exit %d: %s" % (to, status, text[-300:]))
        elif cell.made.wait_leader().site != to:
            run["unmet"].append("the leader is not at site %s" % to)
        time.sleep(self.hold_seconds)

    def measure(self, cell, run, document):
        begin, end = cell.at(document, "event") - EARLY_MS, document["ended_ms"]
        run["pause_ms"] = max(cell.pause(document, s, begin, end) for s in ("A", "B"))
        run["failed"] = sum(
            site["intended"] - site["outcomes"]["acknowledged"] for site in run["sites"].values()
        ) + sum(load["requests_refused"] + load["requests_unknown"] + load["requests_not_sent"]
                for load in run["load"].values())

    def verdict(self, runs):
        failed = sum(run["failed"] for run in runs)
        return self.limit(runs, most=100) + [("nothing failed", "%d requests" % failed, failed == 0)]


class Flapping(Event):
    name, title = "flapping", "Flapping link"
    target = "changes as dwell and cap allow, no request without a final answer"
    other_seconds = 9.0
    # As delivered: its dwell and its cap are what bounds the changes. At the cap the cluster stays
    # degraded, and the next run begins so.
    cap, dwell_ms, dwell_min_ms, lag_ms = 60, 3000, 1000, 300
    policy = ("changes_per_hour_max=%d" % cap, "resync_dwell_ms=%d" % dwell_ms,
              "dwell_min_ms=%d" % dwell_min_ms, "lag_ms=%d" % lag_ms)
    begins_in_sync = False
    noticed_ms = 300        # so long after lag_ms the leader saw that the site does not keep pace

    def seconds(self, arguments):
        return arguments.flap_seconds + self.other_seconds

    def strike(self, cell, run, leader):
        run["way"], run["cuts_ms"] = "silent", []
        begin = time.monotonic()
        end = begin + cell.arguments.flap_seconds
        since = lambda: round((time.monotonic() - begin) * 1000)
        cell.mark("event: the link between the sites begins to flap")
        while time.monotonic() < end:
            times = [since()]
            cut(cell)
            times.append(since())
            time.sleep(cell.draw.uniform(0.05, 1.5))
            times.append(since())
            cell.made.network.heal()
            run["cuts_ms"].append(times + [since()])
            time.sleep(cell.draw.uniform(0.05, 1.5))
        run["flaps"] = len(run["cuts_ms"])

    def changes_allowed(self, run):
        """By the dwell. A return follows dwell_ms of keeping pace; a cut that is longer than lag_ms begins
        them anew, so returns fit in only between two of them. Each may have a degrade before and behind."""
        long_ms = self.lag_ms + self.noticed_ms + self.stall(run)
        cuts = [times for times in run["cuts_ms"] if times[2] - times[1] >= long_ms]
        # A site keeps pace until lag_ms behind the begin of a cut. Of begin and end one return each.
        between = [later[1] + self.lag_ms - earlier[2] for earlier, later in zip(cuts, cuts[1:])]
        each_ms = self.dwell_ms + self.dwell_min_ms
        return 2 * (2 + sum((ms + self.dwell_min_ms) // each_ms for ms in between)) + 1

    def measure(self, cell, run, document):
        begin, end = cell.at(document, "event") - EARLY_MS, document["ended_ms"]
        # The site that is served better; the other's clients may wait all the while.
        run["pause_ms"] = min(cell.pause(document, s, begin, end) for s in ("A", "B"))
        run["terms"] = run["after"]["term"] - run["before"]["term"]
        run["changes"] = (run["after"]["number"] or 0) - (run["before"]["number"] or 0)
        run["changes_allowed"] = self.changes_allowed(run)
        # A degrade is never held back: what came before on a shared cluster may have passed the cap.
        run["changes_last_hour"] = run["after"]["changes_last_hour"] or 0
        run["changes_last_hour_allowed"] = max(self.cap, (run["before"]["changes_last_hour"] or 0) + 1)
        run["unsettled"] = sum(site["outcomes"]["unknown"] + site["outcomes"]["waiting"]
                               for site in run["sites"].values())

    def verdict(self, runs):
        # Each flap may cost an election on both of its edges.
        terms = max(run["terms"] - 2 * run["flaps"] for run in runs)
        nearest = max(runs, key=lambda run: run["changes"] - run["changes_allowed"])
        fullest = max(runs, key=lambda run: run["changes_last_hour"] - run["changes_last_hour_allowed"])
        return [("at most two elections per flap", "max %d in %d flaps" % (
                    max(run["terms"] for run in runs), max(run["flaps"] for run in runs)),
                 terms <= 0),
                ("no more changes of the rule than the dwell allows",
                 "max %d; nearest %d, %d allowed" % (max(r["changes"] for r in runs),
                                                     nearest["changes"], nearest["changes_allowed"]),
                 nearest["changes"] <= nearest["changes_allowed"]),
                ("nor within an hour than the cap", "max %d, %d allowed" % (
                    fullest["changes_last_hour"], fullest["changes_last_hour_allowed"]),
                 fullest["changes_last_hour"] <= fullest["changes_last_hour_allowed"]),
                ("every outcome known", "%d unknown" % sum(r["unsettled"] for r in runs),
                 all(r["unsettled"] == 0 for r in runs))]


EVENTS = {event.name: event for event in (LeaderSite(), OtherSite(), Witness(), Link(),
                                          Switchover(), Flapping())}
