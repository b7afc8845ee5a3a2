"""The record of a run: a directory that checkers and report read, and nothing else is shared.

    meta.json            what ran, where, from when to when, and the command that repeats it
    clients/*.jsonl      what each client sent and was told (docs/testing.md)
    events.jsonl         faults, starts and ends of processes, operators' commands, notes
    observations.jsonl   what each node said of itself, about five times a second
    observe-1.json       what clients saw, measured from outside (docs/observe.md)
    exports/N.csv        each data node's ledger at rest (chaos/export.py)
    heads.json           index, digest and chain head of every node at rest
    logs/N.log           what each node logged
    findings.json        what the run itself saw that must not be (findings.py)

Lines of one file are whole, each written with one call; moments are CLOCK_MONOTONIC ns. A line may
be written a little later than its moment: sort by "t".
"""
import functools
import json
import os
import threading
import time


def now():
    """Both clocks, read together."""
    return {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns()}


class History:
    def __init__(self, directory):
        self.directory = directory
        for folder in ("clients", "exports", "logs"):
            os.makedirs(os.path.join(directory, folder))
        self.lock = threading.Lock()
        self.files = {name: open(self.path(name + ".jsonl"), "w")
                      for name in ("events", "observations")}
        self.meta = {}
        self.spoken = functools.partial(print, flush=True)  # where events are told to a person; None: nowhere
        self.began = time.monotonic()

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def write(self, name, line):
        text = json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"
        with self.lock:
            if not self.files[name].closed:
                self.files[name].write(text)
                self.files[name].flush()

    def event(self, what, t=None, **fields):
        line = dict(t=time.monotonic_ns() if t is None else t, what=what,
                    **{key: value for key, value in fields.items() if value is not None})
        self.write("events", line)
        if self.spoken and what in ("fault-begin", "fault-end", "note", "expectation"):
            text = line.get("text", "")
            if what == "expectation":
                text = "%s: %s" % ("holds" if line["holds"] else "DOES NOT HOLD", text)
            self.spoken("%7.2f  %-11s %s" % (time.monotonic() - self.began, what,
                                             text.splitlines()[0] if text else ""))

    def observation(self, node, began, status, certificate):
        self.write("observations", {"t": time.monotonic_ns(), "began": began, "node": node,
                                    "reachable": status is not None, "status": status,
                                    "certificate": certificate})

    def put(self, name, value):
        """A JSON file, whole or not at all."""
        path = self.path(name)
        with open(path + ".new", "w") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
        os.rename(path + ".new", path)

    def put_meta(self, **fields):
        self.meta.update(fields)
        self.put("meta.json", self.meta)

    def close(self):
        with self.lock:
            for file in self.files.values():
                file.close()


def read(directory, name):
    """A JSON file of a history, or None when it is not there."""
    try:
        with open(os.path.join(directory, name)) as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
