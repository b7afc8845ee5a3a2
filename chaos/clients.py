"""The clients of a loop of faults, seen from the loop: processes of chaos/workload.py."""
import os
import subprocess
import threading

HERE = os.path.dirname(os.path.abspath(__file__))


class LoopFailure(Exception):
    """The loop cannot go on; not the judge's business."""


class Process:
    """A process of clients, and how many answers they have had."""

    def __init__(self, config):
        self.process = subprocess.Popen([os.path.join(HERE, "workload.py"), "--config", config],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answers = 0
        # The one with the business operator makes ledger and accounts first.
        if self.process.stdout.readline() != b"started\n":
            raise LoopFailure("a client process did not start")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.answers = int(line)

    def check(self):
        if self.process.poll() is not None:
            raise LoopFailure("a client process ended with %d" % self.process.returncode)

    def settle(self, seconds):
        """Every outcome becomes final, or the loop has failed."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LoopFailure("a client did not settle its requests") from None
        if status != 0:
            raise LoopFailure("a client process ended with %d" % status)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
