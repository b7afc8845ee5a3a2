"""No hang: every call ended by its deadline, and every client came to its end.

A line that begins a call says how long it may take ("limit_ms"), the line that ends it when it had; what
a slow machine may add is "late_ms" in the bounds of meta.json. A client without an end hangs, or was
stopped in the middle of a call that had not overrun its time: then nothing is held against it but
its missing end.
"""
from .findings import Findings

CLAIM = "deadlines"


def check(history):
    found, logs = Findings(CLAIM), history.logs
    found.checked = logs.calls_checked
    for took_ms, limit_ms, where, begun_t in logs.late:
        found.add("late", "%s: the call took %.0f ms, its limit was %d ms", where, took_ms, limit_ms,
                  t=begun_t)
    ended = history.meta.get("end")
    ended_t = ended.get("mono_ns") if isinstance(ended, dict) else None
    for name, event, nonce, begun_t, limit_ms in logs.hung:
        found.checked += 1
        if ended_t is None or begun_t is None or \
                (ended_t - begun_t) / 1e6 > limit_ms + logs.late_ms:
            found.add("hang", "%s: the call of request %s (%s) never ended", name, nonce, event,
                      t=begun_t)
    for name, last_t in logs.unfinished:
        found.add("no end", "%s: the client did not finish; its last line was at %s", name, last_t,
                  t=last_t)
    if not found.checked:
        found.lacks = "no call tells its limit"
    return found
