"""grpc.health.v1.Health: Check and Watch, as load balancers and kubelets use them."""
import signal

import grpc

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


def classes(t):
    return (t.run.schema.message("grpc.health.v1.HealthCheckRequest"),
            t.run.schema.message("grpc.health.v1.HealthCheckResponse"))


# The whole server and the ledger service are SERVING; a service that is not there is NOT_FOUND.
def test_check(t):
    request, response = classes(t)
    api = t.node.api("channel")
    for service in ("", "tally.v1.Ledger"):
        answer = api.raw(CHECK, request(service=service).SerializeToString())
        t.code(answer, "OK", service)
        t.equal(response.FromString(answer.body).status, 1, "SERVING")
    t.code(api.raw(CHECK, request(service="no.such").SerializeToString()), "NOT_FOUND")


# Watch answers at once, also for an unknown service (SERVICE_UNKNOWN), and the stream stays open.
def test_watch_answers_at_once(t):
    request, response = classes(t)
    api = t.node.api("channel")
    for service, expected in (("", 1), ("tally.v1.Ledger", 1), ("no.such", 3)):
        call = api.channel.unary_stream(WATCH)(request(service=service).SerializeToString(),
                                               timeout=20)
        t.equal(response.FromString(next(call)).status, expected, service)
        t.true(call.is_active(), "open")
        call.cancel()


# On SIGTERM the watcher is told NOT_SERVING before the connection goes.
def test_watch_tells_of_the_drain(t):
    request, response = classes(t)
    node = t.fresh_node()
    call = node.api("channel").channel.unary_stream(WATCH)(
        request(service="tally.v1.Ledger").SerializeToString(), timeout=30)
    t.equal(response.FromString(next(call)).status, 1, "before")
    node.signal(signal.SIGTERM)
    told = []
    try:
        for message in call:
            told.append(response.FromString(message).status)
    except grpc.RpcError as error:
        t.true(error.code().name in ("UNAVAILABLE", "CANCELLED"), repr(error.code()))
    t.equal(node.wait_exit(), 0, "exit status")
    t.equal(told, [2], "NOT_SERVING was said")
