"""When is a series flat? The rule of the soak, apart from the cluster that it judges.

A node that runs for months must not grow in anything but what it is asked to keep. So each series
is either expected to stay, or to grow with the transfers that are held, by a stated number of
bytes each; what is beyond that is held against it.

The rule. Samples of the warm-up are left out: caches and tables fill for the first time. Of the
rest, `level` is the median of the first third. `growth` is the larger of two figures, each blind
to single outliers: the slope by Theil and Sen (the median of the slopes between pairs of samples)
over the whole span, and the median of the last third less `level`. The first sees a slow leak, the
second a step that stays. Flat means growth <= max(share * level, allowance). A series with a price
per transfer is judged after price * (transfers held - transfers held at the first judged sample) has
been taken off. Falling is never held against a series.

A series with fewer than MIN_SAMPLES judged samples is not judged, and a run in which anything was not
judged does not pass: a rule that cannot fail says nothing.
"""
import statistics

MIN_SAMPLES = 6
PAIRS_MAX = 20000       # pairs of samples that are looked at, evenly chosen


class Rule:
    """What is allowed of one series; `unit` is for people."""

    def __init__(self, name, unit, share, allowance, price=0.0, why=""):
        self.name, self.unit, self.why = name, unit, why
        self.share, self.allowance, self.price = share, allowance, price


def theil_sen(points):
    """The median slope of the pairs of [(x, y)]; 0 when all x are the same."""
    pairs = [(a, b) for b in range(len(points)) for a in range(b) if points[a][0] != points[b][0]]
    step = max(1, len(pairs) // PAIRS_MAX)
    slopes = [(points[b][1] - points[a][1]) / (points[b][0] - points[a][0])
              for a, b in pairs[::step]]
    return statistics.median(slopes) if slopes else 0.0


def thin(points, most=200):
    """Evenly chosen; Theil and Sen's pairs grow with the square."""
    if len(points) <= most:
        return points
    return [points[k * (len(points) - 1) // (most - 1)] for k in range(most)]


def judge(rule, samples, warmup_s):
    """`samples`: [(seconds since the begin, value, transfers held)]. A dictionary for the report."""
    judged = [s for s in samples if s[0] >= warmup_s]
    result = {"name": rule.name, "unit": rule.unit, "why": rule.why, "samples": len(judged),
              "price": rule.price, "share": rule.share, "allowance": rule.allowance}
    if len(judged) < MIN_SAMPLES:
        result.update(verdict="not judged", text="only %d samples after the warm-up of %.0f s" % (
            len(judged), warmup_s))
        return result
    held = judged[0][2]
    points = [(at, value - rule.price * (transfers - held)) for at, value, transfers in judged]
    third = max(1, len(points) // 3)
    level = statistics.median(value for _, value in points[:third])
    last = statistics.median(value for _, value in points[-third:])
    slope = theil_sen(thin(points))
    growth = max(slope * (points[-1][0] - points[0][0]), last - level)
    allowed = max(rule.share * abs(level), rule.allowance)
    result.update(level=level, last=last, slope_per_s=slope, growth=growth, allowed=allowed,
                  first_value=judged[0][1], last_value=judged[-1][1],
                  transfers=judged[-1][2] - held,
                  verdict="flat" if growth <= allowed else "grows")
    if rule.price and judged[-1][2] > held:
        result["per_transfer"] = (judged[-1][1] - judged[0][1]) / (judged[-1][2] - held)
    return result


def passes(results):
    return bool(results) and all(r["verdict"] == "flat" for r in results)
