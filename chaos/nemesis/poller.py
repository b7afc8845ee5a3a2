"""Asks every node for /status about five times a second and writes down what it says, with the bytes
of its certificate file when they changed. One thread for each node, so that one that does not answer
keeps no other waiting; nodes that join in the middle are asked as well."""
import os
import threading
import time

EVERY_SECONDS = 0.2
ANSWER_SECONDS = 1.0
JOIN_SECONDS = 10


class Poller:
    def __init__(self, context):
        self.context, self.stop = context, threading.Event()
        self.threads, self.known = [], set()
        self.keeper = threading.Thread(target=self.keep, daemon=True)
        self.keeper.start()

    def keep(self):
        """A thread for each member that there is."""
        while True:
            for member in list(self.context.sites.members):
                if member not in self.known:
                    self.known.add(member)
                    thread = threading.Thread(target=self.ask, args=(member,), daemon=True)
                    self.threads.append(thread)
                    thread.start()
            if self.stop.wait(EVERY_SECONDS):
                return

    def ask(self, member):
        told, was = None, (None, False)
        while not self.stop.is_set():
            began = time.monotonic()
            if member.node_id in self.context.down or member not in self.context.sites.members:
                return
            certificate = self.certificate(member)
            asked = time.monotonic_ns()
            status = self.status(member)
            self.context.history.observation(member.node_id, asked, status,
                                             certificate if certificate != told else None)
            told = certificate
            was = self.told_ready(member, status, was)
            self.stop.wait(max(0.01, EVERY_SECONDS - (time.monotonic() - began)))

    def told_ready(self, member, status, was):
        """Says when a process is seen ready for the first time; (process id, ready)."""
        if status is None:
            return was
        now = (status.get("pid"), bool(status.get("ready")))
        if now[1] and now != was:
            self.context.history.event("ready", nodes=[member.node_id], site=member.site)
        return now if now[1] or now[0] != was[0] else was

    @staticmethod
    def status(member):
        try:
            return member.brief(ANSWER_SECONDS)
        except (AttributeError, TypeError, KeyError):
            return None                 # its process was replaced just now

    @staticmethod
    def certificate(member):
        try:
            with open(os.path.join(member.data, "certificate"), "rb") as file:
                return file.read(1 << 16).hex()
        except OSError:
            return None

    def end(self):
        self.stop.set()
        for thread in [self.keeper] + self.threads:
            thread.join(JOIN_SECONDS)
