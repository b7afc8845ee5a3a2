/*
 * Both questions of a node go out at once. The bound is a hundred times what they take at rest; a
 * node that is deaf for a moment, because its disk has something else to do, is within it.
 */
#include "chaos/sim/roll_call.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

#define BOUND_NS NS_PER_S
#define STEP_NS  (10 * NS_PER_MS)

struct called {
    struct node_request request; /* first */
    struct node_read read;
    const struct roll_call *roll_call;
    struct host *host;
    struct fact *fact;
    uint64_t floor_index;
    bool wrote, has_read;
};

static void wrote(struct node_request *request, enum status status, const struct answer *answer)
{
    struct called *called = (struct called *)(void *)request;
    if (called->host->dying)
        return;
    if (status != STATUS_OK || answer->outcome != OUTCOME_EXECUTED) {
        world_violate(called->roll_call->world,
                      "all is well again, and host %u does not take a write: %s",
                      called->host->number,
                      status != STATUS_OK ? status_text(status) : outcome_name(answer->outcome));
        return;
    }
    oracle_answered(called->roll_call->oracle, called->fact, answer, called->host->number);
    called->wrote = true;
}

static void was_read(struct node_read *read, enum status status)
{
    struct called *called = (struct called *)(void *)((char *)read - offsetof(struct called, read));
    if (called->host->dying)
        return;
    if (status != STATUS_OK) {
        world_violate(called->roll_call->world,
                      "all is well again, and host %u answers no read: %s", called->host->number,
                      status_text(status));
        return;
    }
    oracle_read(called->roll_call->oracle, node_machine(called->host->node), called->floor_index,
                true, called->host->number);
    called->has_read = true;
}

static void call(struct called *called)
{
    const struct roll_call *roll_call = called->roll_call;
    struct host *host = called->host;
    called->fact = oracle_transfers(roll_call->oracle, world_wall_ns(roll_call->world));
    called->request = (struct node_request){.request = called->fact->bytes, .cb = wrote};
    called->floor_index = roll_call->oracle->acknowledged_index;
    called->read = (struct node_read){.cb = was_read};
    oracle_sent(roll_call->oracle, called->fact, false);
    enum status status = node_propose(host->node, &called->request);
    if (status == STATUS_OK)
        status = node_read(host->node, &called->read);
    host_left(host);
    if (status != STATUS_OK)
        world_violate(roll_call->world, "all is well again, and host %u takes no call: %s",
                      host->number, status_text(status));
}

bool roll_call(const struct roll_call *roll_call)
{
    /* A node that does not answer may call back until its process has ended, which it does when the
     * run is over: so these stay where they are. */
    static struct called called[HOSTS_MAX];
    struct world *world = roll_call->world;
    uint32_t count = 0, left = 0;
    memset(called, 0, sizeof called);
    for (uint32_t i = 0; i < roll_call->host_count && !world->violated; i++) {
        if (roll_call->hosts[i].kind != MEMBER_DATA || roll_call->hosts[i].node == NULL)
            continue;
        called[count] = (struct called){.roll_call = roll_call, .host = &roll_call->hosts[i]};
        call(&called[count++]);
    }
    const uint64_t end = world->now_ns + BOUND_NS;
    do {
        if (!world_run_until(world, world->now_ns + STEP_NS))
            return false;
        left = count;
        for (uint32_t i = 0; i < count; i++)
            left -= called[i].wrote && called[i].has_read;
    } while (left > 0 && world->now_ns < end);
    for (uint32_t i = 0; i < count; i++)
        if (!called[i].wrote || !called[i].has_read)
            world_violate(
                world, "all is well again, and host %u has not answered a %s within %.0f s",
                called[i].host->number, called[i].wrote ? "read" : "write", (double)BOUND_NS / 1e9);
    return !world->violated;
}
