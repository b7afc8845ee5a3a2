"""Nodes under test: certificates, a data directory, a running tallyd, and its end.

Every wait is bounded, every process started here is ended by its own process id, and a node's log
stays until its test has passed, so that a failure can show the tail of it.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import namespaces
import pki
import reserve
from client import Api

READY_SECONDS = 120     # start to ready, generous: the machine may be busy
STOP_SECONDS = 120      # SIGTERM to exit
TOOL_SECONDS = 180      # a command that asks no node
KILL_SECONDS = 60       # SIGKILL to reaped

# Small files, so that a test's node is made quickly.
SEGMENT_BYTES = 4 << 20
RESERVE_BYTES = 1 << 20
MAP_BYTES = 8 << 30         # the default of 1 TiB does not fit beside a thread sanitizer

# Certificates by short name: URI, name of the principal, role. "stranger" has a certificate of the
# right authority and no row in the table.
PRINCIPALS = {
    "site": ("tally://test/site-operator", "site-operator", "SITE_OPERATOR"),
    "business": ("tally://test/business", "business", "BUSINESS_OPERATOR"),
    "channel": ("tally://test/channel", "channel", "CHANNEL"),
    "channel_two": ("tally://test/channel/two", "channel", "CHANNEL"),
    "other": ("tally://test/other", "other", "CHANNEL"),
    "auditor": ("tally://test/auditor", "auditor", "AUDITOR"),
    "peer": ("tally://test/peer", "peer", "NODE"),
}
STRANGER = "tally://test/stranger"
NODE_URI = "spiffe://tallystick/node/%d"


class Failure(Exception):
    """A node did not do what was asked of it in time."""


def end_on_terminate(*more):
    """SIGTERM (a timeout's, say), or one of these, ends this program by the way of its finally clauses,
    which end the processes that it started. Once: a second one must not interrupt those clauses."""
    words = (signal.SIGTERM,) + more

    def end(number, frame):
        del frame
        for word in words:
            signal.signal(word, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    for word in more:
        if signal.getsignal(word) is not signal.SIG_IGN:    # as a shell has Ctrl-C, behind a "&"
            signal.signal(word, end)


def free_port():
    """A port that nothing listens on and that no other test took for a node that is down just now:
    below those that kernels give to whoever connects, since such a connection of another test could
    take it before its node is started."""
    draw = random.SystemRandom()
    for _ in range(1000):
        port = draw.randrange(10000, 32768)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if reserve.take("port-%d" % port):
            return port
    raise Failure("1000 ports of 127.0.0.1 are all taken")


class Programs:
    """Where the programs under test are."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.tallyd = os.path.join(self.build, "server", "tallyd")
        self.tally = os.path.join(self.build, "client", "cli", "tally")
        for program in (self.tallyd, self.tally):
            if not os.access(program, os.X_OK):
                raise Failure("%s is not there: build it first, or give --build" % program)


class Security:
    """Certificates of one test run, shared by all its nodes, and the directory of them that
    `tally node init` reads."""

    def __init__(self, directory):
        self.authority = pki.Authority(os.path.join(directory, "authority"))
        self.nodes = {}
        self.by_name = {name: self.authority.issue(name, [uri])
                        for name, (uri, _, _) in PRINCIPALS.items()}
        self.by_name["stranger"] = self.authority.issue("stranger", [STRANGER])
        self.directory = os.path.join(directory, "pki")
        os.mkdir(self.directory)
        os.symlink(self.authority.certificate, os.path.join(self.directory, "ca.pem"))
        self.server = self.node(1)
        with open(os.path.join(self.directory, "principals.json"), "w") as file:
            json.dump([{"uri": uri, "name": name, "role": role.lower()}
                       for uri, name, role in PRINCIPALS.values()], file)

    def node(self, node_id):
        """The certificate of a node, for its clients and its peers, made when it is first asked for."""
        if node_id not in self.nodes:
            made = self.authority.issue_server(
                "node-%d" % node_id, NODE_URI % node_id,
                ["IP:%s%d" % (namespaces.net(), node_id)])
            for suffix, source in ((".pem", made.certificate), (".key", made.key)):
                os.symlink(source, os.path.join(self.directory, "node-%d%s" % (node_id, suffix)))
            self.nodes[node_id] = made
        return self.nodes[node_id]


def yaml(value, indent=0):
    """Writes nested dicts of scalars as YAML."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines.append("%s%s:" % (" " * indent, key))
            lines.append(yaml(item, indent + 2))
        elif isinstance(item, bool):
            lines.append("%s%s: %s" % (" " * indent, key, "true" if item else "false"))
        elif isinstance(item, int):
            lines.append("%s%s: %d" % (" " * indent, key, item))
        else:
            lines.append("%s%s: %s" % (" " * indent, key, json.dumps(item)))
    return "\n".join(lines)


class Node:
    """One data directory and, at times, one tallyd serving it."""

    def __init__(self, programs, security, schema, directory, settings=None, environment=None,
                 crl=True):
        self.programs = programs
        self.security = security
        self.schema = schema
        self.directory = directory
        self.data = os.path.join(directory, "data")
        self.config_path = os.path.join(directory, "test.yaml")
        self.log_path = os.path.join(directory, "tallyd.log")
        self.environment = dict(environment or {})
        self.host, self.prefix = "127.0.0.1", []    # where it listens; what starts its program
        self.process = None
        self.ports = None
        self.apis = []
        os.makedirs(directory, exist_ok=True)
        self.config = {
            "node": {"directory": self.data, "allow_root": True},
            "listen": {"grpc": "127.0.0.1:0", "ops": "127.0.0.1:0"},
            "tls": {"certificate": security.server.certificate, "key": security.server.key,
                    "ca": security.authority.certificate},
            "journal": {"segment_bytes": SEGMENT_BYTES},
            "checkpoint": {"map_size_bytes": MAP_BYTES},
            "log": {"level": "info"},
        }
        if crl:
            self.config["tls"]["crl"] = security.authority.crl
        for section, values in (settings or {}).items():
            self.config.setdefault(section, {}).update(values)

    # ---- before the first start ----

    def write_config(self):
        with open(self.config_path, "w") as file:
            file.write(yaml(self.config) + "\n")

    def init_command(self):
        command = [self.programs.tally, "node", "init", os.path.dirname(self.data),
                   "--pki", self.security.directory, "--reserve-bytes", str(RESERVE_BYTES),
                   "--segment-bytes", str(self.config["journal"]["segment_bytes"])]
        if os.geteuid() == 0:
            command.append("--allow-root")
        return command

    def init(self):
        """tally node init; its configuration is replaced by the test's own."""
        command = self.init_command()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TOOL_SECONDS)
        if done.returncode != 0:
            raise Failure("%s: exit %d\n%s" % (" ".join(command), done.returncode,
                                               done.stdout.decode(errors="replace")))
        self.write_config()
        return self

    # ---- life ----

    def spawn(self):
        """Starts tallyd and returns at once."""
        if self.process is not None:
            raise Failure("already running")
        self.write_config()
        self.ports = None
        environment = dict(os.environ)
        environment.update(self.environment)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.prefix + [self.programs.tallyd, "--config", self.config_path], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment, start_new_session=True)
        return self

    def start(self):
        """Starts tallyd and waits until it is ready."""
        return self.spawn().wait_ready()

    def read_ports(self):
        """Those of this process; the file of the one before may still be there."""
        try:
            with open(os.path.join(self.data, "ports.json")) as file:
                ports = json.load(file)
            if ports["pid"] != self.process.pid:
                return None
            return {"grpc": int(ports["grpc"]), "ops": int(ports["ops"])}
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def wait_ready(self, seconds=READY_SECONDS):
        end = time.monotonic() + seconds
        why = "no ports.json"
        while time.monotonic() < end:
            if self.process.poll() is not None:
                status = self.process.returncode
                self.process = None
                raise Failure("tallyd ended with %d before it was ready\n%s" % (status,
                                                                               self.log_tail()))
            self.ports = self.ports or self.read_ports()
            if self.ports:
                try:
                    status, why = self.get("/readyz", timeout=2)
                    if status == 200:
                        return self
                except OSError as error:
                    why = str(error)
            time.sleep(0.01)
        raise Failure("not ready after %d s: %s\n%s" % (seconds, why, self.log_tail()))

    def wait_exit(self, seconds=STOP_SECONDS):
        """Waits until the process has ended by itself and returns its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("tallyd still runs after %d s\n%s" % (seconds, self.log_tail())) from None
        self.process = None
        return status

    def kill(self):
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(KILL_SECONDS)
            self.process = None

    def terminate(self):
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit()

    def restart_after_kill(self):
        self.kill()
        return self.start()

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        for api in self.apis:
            api.close()
        self.apis = []
        self.kill()

    def remove(self):
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- asking it ----

    def api(self, name="channel", **options):
        """A client with the certificate of that short name, or with a given one."""
        certificate = self.security.by_name[name] if isinstance(name, str) else name
        api = Api(self.ports["grpc"], self.schema, self.security.authority, certificate,
                  host=self.host, **options)
        self.apis.append(api)
        return api

    def get(self, path, timeout=10):
        """GET of the operations port: (status, text)."""
        url = "http://%s:%d%s" % (self.host, self.ports["ops"], path)
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def status(self):
        return json.loads(self.get("/status")[1])

    def log_text(self):
        try:
            with open(self.log_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=30):
        return "--- last lines of %s\n%s" % (self.log_path,
                                             "\n".join(self.log_text().splitlines()[-lines:]))

    def run_to_exit(self, arguments=(), seconds=READY_SECONDS):
        """Runs tallyd in the foreground until it ends: (exit status, its output)."""
        self.write_config()
        done = subprocess.run([self.programs.tallyd, "--config", self.config_path]
                              + list(arguments), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              env=dict(os.environ, **self.environment))
        return done.returncode, done.stdout.decode(errors="replace")

    def verify_journal(self):
        """tally journal verify: (exit status, output)."""
        done = subprocess.run([self.programs.tally, "journal", "verify",
                               os.path.join(self.data, "journal-1")], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120)
        return done.returncode, done.stdout.decode(errors="replace")
