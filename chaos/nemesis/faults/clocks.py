"""Wall clocks that jump and drift (preload.py, chaos/clock). Zero loss does not rest on clocks; stamps
still increase, a leader far from the others hands over, and requests are not called too old."""
import threading
import time

from nemesis.fault import Fault
from nemesis.faults import preload

SECOND_NS = 10 ** 9
STEP_SECONDS = 0.05


class ClockFault(Fault):
    kind, preload = "clock", ("clock",)

    def end(self, context):
        for member in self.taken:
            preload.move_clock(member, 0)


class ClockJump(ClockFault):
    """The wall clock jumps by `by_s` seconds, and back at the end."""
    name, seconds, weight = "clock-jump", (0.5, 5.0), 2

    @classmethod
    def draw(cls, draw, topology):
        by = draw.choice((0.3, 2.0, 60.0, 3600.0)) * draw.choice((1, -1))
        return cls(draw.choice(("leader", "any", "all")), by_s=by)

    def begin(self, context):
        for member in self.take(context):
            preload.move_clock(member, int(self.parameters.get("by_s", 3600.0) * SECOND_NS))


class ClockDrift(ClockFault):
    """The wall clock runs faster or slower, by `rate` (0.1: a second in ten)."""
    name, seconds, weight = "clock-drift", (2.0, 8.0), 1

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "any", "leader-site")),
                   rate=draw.choice((0.001, 0.05, 0.5, -0.05, -0.3)))

    def begin(self, context):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.drift, args=(list(self.take(context)),),
                                       daemon=True)
        self.thread.start()

    def drift(self, members):
        began = time.monotonic()
        while not self.stop.wait(STEP_SECONDS):
            gone = time.monotonic() - began
            for member in members:
                preload.move_clock(member, int(gone * self.parameters.get("rate", 0.05) * SECOND_NS))

    def end(self, context):
        if self.taken:
            self.stop.set()
            self.thread.join(10)
        super().end(context)
