"""Follows docs/operations.md: its ```sh blocks are run in order, as they stand, against a cluster.

The document's machines are a1.bank, b1.bank and w.bank; `ssh HOST systemctl VERB tallyd` is played by
a small program of that name, first in PATH, which asks the test to start, stop or kill that node. A
comment "# exit 3" behind a command says which exit code it has to have.
"""
import os
import re
import stat
import subprocess
import threading
import time

from sites import Failure

HOSTS = {"a1.bank": 1, "b1.bank": 2, "w.bank": 3}
COMMAND_SECONDS = 180

SSH = """#!/bin/sh
# Played for the runbook: ssh HOST systemctl start|stop|kill tallyd
ask="%s/ask.$$"
echo "$*" > "$ask.new" && mv "$ask.new" "$ask"
n=0
while [ ! -e "$ask.done" ]; do
    sleep 0.05
    n=$((n + 1))
    [ "$n" -lt 1200 ] || { echo "ssh: nobody answers" >&2; exit 255; }
done
cat "$ask.done" >&2
[ ! -s "$ask.done" ]
"""


def commands(document):
    """[(command, exit code)] of the document's sh blocks, in order; a backslash joins lines."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", document, re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            expected = re.search(r"#.*\bexit (\d+)", line)
            found.append((line, int(expected.group(1)) if expected else 0))
    return found


class Machines:
    """The machines behind ssh: each node of the cluster, by its host."""

    def __init__(self, sites, directory):
        self.sites, self.directory = sites, directory
        self.stop, self.thread = threading.Event(), threading.Thread(target=self.serve, daemon=True)
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, "ssh")
        with open(path, "w") as file:
            file.write(SSH % directory)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        self.thread.start()

    def serve(self):
        while not self.stop.is_set():
            for name in sorted(os.listdir(self.directory)):
                if not re.fullmatch(r"ask\.\d+", name):
                    continue
                path = os.path.join(self.directory, name)
                with open(path) as file:
                    words = file.read().split()
                os.unlink(path)
                try:
                    self.obey(words)
                    answer = ""
                except (Failure, OSError, KeyError, ValueError) as failure:
                    answer = "ssh %s: %s\n" % (" ".join(words), failure)
                with open(path + ".part", "w") as file:
                    file.write(answer)
                os.rename(path + ".part", path + ".done")
            time.sleep(0.02)

    def obey(self, words):
        host, program, *rest = words
        if program != "systemctl" or rest[-1] != "tallyd":
            raise ValueError("only systemctl of tallyd is played")
        member = self.sites[HOSTS[host]]
        if rest[0] == "stop":
            member.terminate()
        elif rest[0] == "kill":
            member.kill()
        elif rest[0] == "start":
            member.spawn()
        else:
            raise ValueError("verb %s is not played" % rest[0])

    def end(self):
        self.stop.set()
        self.thread.join(10)


def profile(sites, directory, role="site", nodes=None):
    """A profile file as `tally pki init` writes it; its servers: all data nodes, or these in this order."""
    certificate = sites.security.by_name[role]
    path = os.path.join(directory, role + ".profile")
    with open(path, "w") as file:
        file.write("server = %s\nca = %s\ncert = %s\nkey = %s\n" % (
            ",".join("%s:%d" % (m.host, m.grpc_port()) for m in nodes or sites.data()),
            sites.security.authority.certificate, certificate.certificate, certificate.key))
    return path


def follow(sites, root, directory, document, after=None, tell=None):
    """Runs every command; after(command, output) may look at what it left."""
    machines = Machines(sites, os.path.join(directory, "machines"))
    environment = dict(os.environ, TALLY=sites.programs.tally,
                       TALLY_PROFILE=profile(sites, directory),
                       PATH=os.pathsep.join([os.path.join(directory, "machines"),
                                             os.path.dirname(sites.programs.tally),
                                             os.environ["PATH"]]))
    count = 0
    try:
        for line, expected in commands(document):
            ran = subprocess.run(["bash", "-c", line], cwd=root, env=environment,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS, check=False)
            output = ran.stdout.decode(errors="replace")
            if tell:
                tell(line, ran.returncode, output)
            if ran.returncode != expected:
                raise Failure("%s\nexit %d, expected %d\n%s\n%s" % (
                    line, ran.returncode, expected, output, sites.describe()))
            if after:
                after(line, output)
            count += 1
    finally:
        machines.end()
    return count
