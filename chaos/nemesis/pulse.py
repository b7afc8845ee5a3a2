"""How much of the time this machine lets us run: a thread that wants to wake every 20 ms.

Nodes, clients and whatever else is busy share the cores. A node that gets no processor for a second
is no node that hangs, and on a starved machine a run must not say so. So every bound of a run counts
*fair* time, which stands still while the pulse does; the worst stall is written down (meta.json,
`stalls`), and bounds in milliseconds that checkers hold the history to are widened by it. On a quiet
machine fair time is time, and nothing is widened.
"""
import threading
import time

TICK_SECONDS = 0.02
STALL_SECONDS = 0.1         # what is later than this is a stall
TOLD_MAX = 200              # stalls that are told one by one
STRETCH_MAX = 8.0           # no bound is stretched beyond this: a run ends, come what may


class Pulse:
    def __init__(self, history):
        self.history, self.stop = history, threading.Event()
        self.began, self.fair, self.worst, self.stalled, self.count = time.monotonic(), 0.0, 0.0, 0.0, 0
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def beat(self):
        before = time.monotonic()
        while not self.stop.wait(TICK_SECONDS):
            now = time.monotonic()
            self.took(now - before)
            before = now

    def took(self, seconds):
        """A tick was so long."""
        late = seconds - TICK_SECONDS
        if late <= STALL_SECONDS:
            self.fair += seconds        # a little late is the machine's ordinary way
            return
        self.fair += TICK_SECONDS
        self.worst, self.stalled = max(self.worst, late), self.stalled + late
        self.count += 1
        if self.count <= TOLD_MAX:
            self.history.event("stall", ms=int(late * 1000),
                               text="this machine stood still for %d ms" % (late * 1000))

    def deadline(self, seconds):
        return Deadline(self, seconds)

    def stretch(self):
        """By how much time has to be longer to be fair, as it was so far."""
        real = time.monotonic() - self.began
        return min(STRETCH_MAX, max(1.0, real / max(self.fair, real / STRETCH_MAX, 0.001)))

    def told(self):
        return {"count": self.count, "worst_ms": int(self.worst * 1000),
                "stalled_ms": int(self.stalled * 1000),
                "share": round(self.stalled / max(0.001, time.monotonic() - self.began), 4)}

    def widen(self, bounds, late_ms):
        """Bounds for the checkers, by twice the worst stall: once for who asks, once for who answers.
        How late a call may end is always said: what the checkers take otherwise allows for stalls."""
        more, wider = int(2 * self.worst * 1000), dict(bounds)
        wider["late_ms"] = bounds.get("late_ms", late_ms) + more
        pause = bounds.get("pause_ms")
        if isinstance(pause, dict):
            wider["pause_ms"] = {site: limit + more for site, limit in pause.items()}
        elif pause is not None:
            wider["pause_ms"] = pause + more
        if "pauses" in bounds:
            wider["pauses"] = [dict(window, ms=window["ms"] + more) for window in bounds["pauses"]]
        return wider

    def end(self):
        self.stop.set()
        self.thread.join(10)


class Deadline:
    """So many seconds of fair time."""

    def __init__(self, pulse, seconds):
        self.pulse, self.seconds = pulse, seconds
        self.fair, self.real = pulse.fair, time.monotonic()

    def over(self):
        return (self.pulse.fair - self.fair > self.seconds
                or time.monotonic() - self.real > self.seconds * STRETCH_MAX)

    def half(self):
        return self.pulse.fair - self.fair > self.seconds / 2
