"""Clocks, memory, processes that stand still: the machine under a node is not what it was."""
from client import Api
from nemesis import asks
from nemesis.faults.clocks import ClockDrift, ClockJump
from nemesis.faults.memory import MemoryShort
from nemesis.faults.process import Pause
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
READS, READ_SECONDS = 12, 20


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
            stale = []
            for api, call in zip(apis, calls):
                answer = Api.outcome(call)
                if asks.ok(answer) and int(answer.trailers["tally-index"]) < seen:
                    stale.append(answer.trailers["tally-index"])
                api.close()
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
            context.wait_answers(20, SERVE_SECONDS)


class MemoryRunsOut(Scenario):
    """No further memory for a follower, then for the leader, while a crowd of clients comes. The process
    pushes back, or ends and is started again; it answers nothing false and does not hang, and the
    others go on."""
    name, answers = "memory-runs-out", "memory pressure (no entry of its own)"
    long = True

    def timeline(self, context):
        for whom, slack in (("follower", 0), ("leader", 64), ("witness", 0), ("leader", 0)):
            with context.during(MemoryShort(whom, slack_kib=slack)):
                context.storm(2, 16)
                context.wait(2.5)
                context.wait_answers(15, SERVE_SECONDS)
            context.wait_answers(15, SERVE_SECONDS)
