"""Clocks, memory, processes that stand still: the machine under a node is not what it was."""
from client import Api
from nemesis import asks
from nemesis.faults.clocks import ClockDrift, ClockJump
from nemesis.faults.guests import Strangers
from nemesis.faults.memory import MemoryShort
from nemesis.faults.process import Pause
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
READS, READ_SECONDS = 12, 20
SHORT_KIB = -16384          # less than it has: no piece that is given back can be had again
TRACE_SECONDS = 10
# In the node's words, TLS's and the kernel's.
NO_MEMORY = ("out of memory", "malloc failure", "Cannot allocate memory")
HANDS_OVER_NS = 500 * 10 ** 6    # by which a leader's clock may differ from the others'


class PausedLeader(Scenario):
    """The leader is stopped (SIGSTOP) with reads of clients in its sockets; the others elect another one
    and acknowledge more. When it goes on it believes what was true before: each read that it answers
    shows at least what was acknowledged before the read was sent, or it is refused."""
    name, answers = "paused-leader", "stale read after a paused leader (etcd #20418)"
    long = True

    def timeline(self, context):
        sites = context.sites
        for _ in range(2):
            old = sites.wait_leader()
            security = sites.security
            apis = [Api(old.grpc_port(), sites.schema, security.authority,
                        security.by_name["auditor"], host=old.host) for _ in range(READS)]
            for api in apis:
                api.ask("ListLedgers")              # connected, handshake done
            with context.during(Pause("node-%d" % old.node_id)):
                new = sites.wait_leader([m for m in sites.members if m is not old])
                context.wait_answers(40, SERVE_SECONDS)
                told = asks.write(new, 10)
                if not context.expect("the others go on", asks.ok(told), repr(told)):
                    return
                seen = int(told.trailers["tally-index"])
                body = apis[0].message("LookupAccounts", ids=[asks.ALIEN]).SerializeToString()
                calls = [api.start("LookupAccounts", body, timeout=READ_SECONDS, wait=False)
                         for api in apis]
                context.wait(0.2)
            stale, codes, by_itself = [], [], 0
            for api, call in zip(apis, calls):
                answer = Api.outcome(call)
                codes.append(answer.code.name)
                by_itself += answer.trailers.get("tally-node") == str(old.node_id)
                if asks.ok(answer) and int(answer.trailers["tally-index"]) < seen:
                    stale.append(answer.trailers["tally-index"])
                api.close()
            # A read that only its sender gave up, or a connection that broke, would show nothing.
            context.expect("it answers what waited in its sockets", by_itself > 0,
                           "%d of %d reads: %s" % (by_itself, len(codes), sorted(set(codes))))
            context.expect("no read is stale", not stale, "%d was acknowledged before; reads show %s" % (
                seen, stale or "no less"))
            context.wait_answers(30, SERVE_SECONDS)


class WrongClocks(Scenario):
    """The leader's clock jumps an hour ahead, then another leader's an hour back; then all clocks drift
    apart. Leadership goes to a node whose clock agrees with the others; no request is called too old
    for it, stamps still increase, nothing is lost."""
    name, answers = "wrong-clocks", "clock jumps and drift (no entry of its own)"
    preload = ("clock",)

    def timeline(self, context):
        sites = context.sites
        for by in (3600.0, -3600.0):
            old = sites.wait_leader()
            with context.during(ClockJump("node-%d" % old.node_id, by_s=by)):
                context.expect("who has the wrong clock hands over", context.until(
                    lambda: sites.leader_now() not in (None, old), "another leader", SERVE_SECONDS),
                               "node %d is %+d s off" % (old.node_id, by))
                context.wait_answers(40, SERVE_SECONDS)
            context.wait_answers(20, SERVE_SECONDS)
        with context.during(ClockDrift("node-1", rate=0.05)), \
                context.during(ClockDrift("node-2", rate=-0.3)):
            context.wait(4)
            context.expect("a leader with a better clock knows whose drifts away", context.until(
                lambda: self.far_off(context, 2), "it to be known", SERVE_SECONDS),
                           "node 2 is 1 s behind and more")
            context.wait_answers(20, SERVE_SECONDS)

    @staticmethod
    def far_off(context, node_id):
        """Whether another node leads and finds that one further off than a leader may be."""
        leader = context.sites.leader_now()
        if leader is None or leader.node_id == node_id:
            return False
        return any(abs(row.get("clock_offset_ns") or 0) > HANDS_OVER_NS
                   for row in asks.status_of(leader).get("members", ()) if row["node"] == node_id)


class MemoryRunsOut(Scenario):
    """No further memory for a follower, then for the leader, then for the witness, while a crowd of
    clients comes and strangers begin handshakes, which need some. The process pushes back and says
    so, or ends and is started again; it answers nothing false and does not hang, and the others go
    on."""
    name, answers = "memory-runs-out", "memory pressure (no entry of its own)"
    long = True

    def timeline(self, context):
        felt = [self.strike(context, whom) for whom in ("follower", "leader", "witness")]
        # What a process has and does not use, from a catch-up say, may be enough for one of them.
        context.attack("memory did run out", sum(felt) >= len(felt) - 1,
                       "%d of %d times a log or an end says so" % (sum(felt), len(felt)))

    @staticmethod
    def strike(context, whom):
        context.sites.wait_leader()
        short = MemoryShort(whom, slack_kib=SHORT_KIB)
        with context.during(short):
            victim, = short.taken
            process, before = victim.process, len(victim.log_text())

            def trace():
                if process.poll() is not None:
                    return "it ended with %d" % process.returncode
                return next((line for line in victim.log_text()[before:].splitlines()
                             if any(word in line for word in NO_MEMORY)), None)
            # A witness has room for 64 of them, and would turn others away for that.
            with context.during(Strangers("node-%d" % victim.node_id,
                                          count=100 if victim.is_data else 50)):
                context.storm(2, 16)
                context.wait(2.5)
                told = context.until(trace, "memory to run out", TRACE_SECONDS)
            context.note("node %d has no more memory: %s" % (victim.node_id, told or "not felt"))
            context.wait_answers(15, SERVE_SECONDS)
        context.wait_answers(15, SERVE_SECONDS)
        return bool(told)
