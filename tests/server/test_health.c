/* Health as balancers use it: Check, Watch, and the end of a node. */
#include "fake_grpc.h"
#include "server/health_service.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct health *health;
static struct grpc_server server;

static void setup(void)
{
    memset(&server, 0, sizeof server);
    health = health_create();
    health_register(health, &server);
}

static void teardown(void)
{
    health_destroy(health); /* an invariant says that no watcher is left */
}

TestSuite(health, .init = setup, .fini = teardown);

static void call_method_as(struct grpc_call *call, const char *principal, const char *name,
                           const char *service)
{
    static uint8_t message[128];
    const struct grpc_method *method = fake_method(&server, name);
    size_t size = strlen(service);
    message[0] = 0x0a;
    message[1] = (uint8_t)size;
    memcpy(message + 2, service, size);
    *call = (struct grpc_call){.principal = principal};
    method->message(method->context, call, message, size ? size + 2 : 0);
}

static void call_method(struct grpc_call *call, const char *name, const char *service)
{
    call_method_as(call, "tally:anybody", name, service);
}

#define CHECK "/grpc.health.v1.Health/Check"
#define WATCH "/grpc.health.v1.Health/Watch"

static void expect_status(const struct grpc_call *call, uint32_t message, uint8_t status)
{
    cr_assert_gt(call->message_count, message);
    cr_expect_eq(call->messages[message].size, 2);
    cr_expect_eq(call->messages[message].bytes[0], 0x08);
    cr_expect_eq(call->messages[message].bytes[1], status);
}

Test(health, check_follows_the_node)
{
    static const char *const known[] = {"", "tally.v1.Ledger", "tally.v1.Admin",
                                        "grpc.health.v1.Health"};
    struct grpc_call call;
    for (int serving = 0; serving < 2; serving++) {
        health_set_serving(health, serving);
        for (int i = 0; i < 4; i++) {
            call_method(&call, CHECK, known[i]);
            cr_expect_eq(call.code, GRPC_OK);
            expect_status(&call, 0, serving ? 1 : 2);
            fake_call_done(&call);
        }
        call_method(&call, CHECK, "tally.v1.Ledgers");
        cr_expect_eq(call.code, GRPC_NOT_FOUND);
        fake_call_done(&call);
    }
}

/* The state now, every change once, no change twice; an unknown service may appear one day. */
Test(health, watchers_hear_every_change)
{
    struct grpc_call known, unknown;
    call_method(&known, WATCH, "tally.v1.Ledger");
    call_method(&unknown, WATCH, "other");
    health_set_serving(health, true);
    health_set_serving(health, true);
    health_set_serving(health, false);
    cr_expect_eq(known.message_count, 3);
    expect_status(&known, 0, 2);
    expect_status(&known, 1, 1);
    expect_status(&known, 2, 2);
    expect_status(&unknown, 0, 3);
    cr_expect_not(known.finished);
    fake_call_gone(fake_method(&server, WATCH), &known);
    fake_call_gone(fake_method(&server, WATCH), &unknown);
    cr_expect_eq(health_watcher_count(health), 0);
    cr_expect_eq(known.code, GRPC_CANCELLED);
    fake_call_done(&known);
    fake_call_done(&unknown);
}

/* At the end: NOT_SERVING first, then the stream, and no new ones. */
Test(health, stop_tells_watchers_before_it_ends_them)
{
    struct grpc_call watch, late;
    health_set_serving(health, true);
    call_method(&watch, WATCH, "");
    health_stop(health);
    cr_assert(watch.finished);
    cr_expect_eq(watch.code, GRPC_UNAVAILABLE);
    cr_expect_eq(watch.message_count, 2);
    expect_status(&watch, 1, 2);
    call_method(&late, WATCH, "");
    cr_expect_eq(late.code, GRPC_UNAVAILABLE);
    fake_call_done(&watch);
    fake_call_done(&late);
    call_method(&late, CHECK, "");
    expect_status(&late, 0, 2);
    fake_call_done(&late);
}

/* One certificate may not take all places; all of them together may not have more than there are.
 */
Test(health, watchers_are_bounded_and_places_come_back)
{
    enum { EACH = HEALTH_WATCHERS_OF_CALLER_MAX, CALLERS = HEALTH_WATCHERS_MAX / EACH };
    static const char *const callers[CALLERS + 1] = {"tally:a", "tally:b", "tally:c", "tally:d",
                                                     "tally:e"};
    struct grpc_call *calls = calloc(HEALTH_WATCHERS_MAX, sizeof *calls), refused;
    for (int i = 0; i < HEALTH_WATCHERS_MAX; i++) {
        if (i == EACH) {
            call_method_as(&refused, callers[0], WATCH, "");
            cr_expect_eq(refused.code, GRPC_RESOURCE_EXHAUSTED);
            fake_call_done(&refused);
        }
        call_method_as(&calls[i], callers[i / EACH], WATCH, "");
        cr_expect_not(calls[i].finished);
    }
    call_method_as(&refused, callers[CALLERS], WATCH, "");
    cr_expect_eq(refused.code, GRPC_RESOURCE_EXHAUSTED);
    fake_call_done(&refused);
    fake_call_gone(fake_method(&server, WATCH), &calls[100]);
    fake_call_done(&calls[100]);
    call_method_as(&calls[100], callers[0], WATCH, "");
    cr_expect_not(calls[100].finished);
    health_stop(health);
    for (int i = 0; i < HEALTH_WATCHERS_MAX; i++)
        fake_call_done(&calls[i]);
    free(calls);
}

Test(health, malformed_question_is_refused)
{
    struct grpc_call call = {.principal = "tally:anybody"};
    const struct grpc_method *method = fake_method(&server, CHECK);
    method->message(method->context, &call, (const uint8_t *)"\x10\x01", 2);
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    fake_call_done(&call);
}
