/*
 * A command lives at the node that took it. If that process dies its callback fires while it goes,
 * and means nothing; the command is given again to whoever leads then. Commands are safe to repeat:
 * each goes on where the table of members stands.
 */
#include "chaos/sim/members.h"

#include "core/planted_fault.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_NS      (150 * NS_PER_MS)
#define PATIENCE_NS (20 * NS_PER_S) /* of one command; then it is given again */

struct members_call {
    struct node_change change; /* first */
    struct members *members;
    struct host *host;
};

static struct members_task *first_task(struct members *members)
{
    return &members->tasks[members->task_first];
}

static void finish_task(struct members *members)
{
    members->task_first = (members->task_first + 1) % MEMBERS_TASKS_MAX;
    members->task_count--;
    members->done_total++;
}

static void changed(struct node_change *change, enum status status, const char *text)
{
    struct members_call *call = (struct members_call *)(void *)change;
    struct members *members = call->members;
    if (!call->host->dying) {
        world_note(members->world, "members changed", call->host->number, status,
                   first_task(members)->host);
        world_tell(members->world, "the operator's change of members for host %u: %s",
                   first_task(members)->host, status == STATUS_OK ? "done" : text);
        if (status == STATUS_OK)
            finish_task(members);
        else
            snprintf(members->last_refusal, sizeof members->last_refusal, "%.255s",
                     text != NULL ? text : "");
    }
    members->call = NULL;
    free(call);
}

static struct host *leader_of(const struct members *members)
{
    for (uint32_t i = 0; i < members->host_count; i++) {
        struct host *host = &members->hosts[i];
        struct consensus_status status;
        if (host->node == NULL || host->node->phase != NODE_SERVING)
            continue;
        consensus_status(host->node->consensus, &status);
        if (status.leads)
            return host;
    }
    return NULL;
}

static void ask(void *context, uint64_t a, uint64_t b)
{
    (void)a, (void)b;
    struct members *members = context;
    world_post(members->world, members->world->now_ns + ASK_NS, ask, members, 0, 0);
    if (members->call != NULL || members->task_count == 0)
        return;
    struct host *leader = leader_of(members);
    if (leader == NULL)
        return;
    const struct members_task *task = first_task(members);
    struct members_call *call = sim_allocate(sizeof *call);
    call->members = members;
    call->host = leader;
    call->change = (struct node_change){
        .kind = task->old_id != 0 ? NODE_MEMBER_REPLACE : NODE_MEMBER_ADD,
        .member = members->hosts[task->host].member,
        .old_id = task->old_id,
        .force = true,
        .deadline_ns = host_monotonic_ns(leader) + PATIENCE_NS,
        .cb = changed,
    };
    struct node_error error = {0};
    members->call = call;
    const enum status status = node_change_members(leader->node, &call->change, &error);
    host_left(leader);
    if (status == STATUS_OK)
        return;
    members->call = NULL;
    members->refused_total++;
    snprintf(members->last_refusal, sizeof members->last_refusal, "%.255s", error.text);
    world_note(members->world, "members refused", leader->number, status, task->host);
    free(call);
}

static void make_joiner(struct members *members, uint32_t number, uint64_t old_id)
{
    struct host *host = &members->hosts[number];
    host_found(host, members->cluster_id, members->next_node_id++, NULL, 0);
    members->tasks[(members->task_first + members->task_count++) % MEMBERS_TASKS_MAX] =
        (struct members_task){.host = number, .old_id = old_id};
    host_start(host);
}

void members_add(struct members *members, uint32_t host)
{
    make_joiner(members, host, 0);
}

bool members_replace(struct members *members, uint32_t number)
{
    struct host *host = &members->hosts[number];
    if (members->task_count > 0)
        return false;
    const uint64_t old_id = host->node_id;
    world_tell(members->world, "host %u gets a new disk, and node %" PRIu64 " is to be replaced",
               number, old_id);
    host->wanted = false;
    host_kill(host, true);
    host->life++; /* no start that was planned */
    host->sink.wiped(host->sink.context, host);
    disk_wipe(&host->disk);
    host->damaged = false;
    disk_restart(&host->disk);                  /* a new one, without the old one's faults */
    if (planted(PLANTED_WIPED_NODE_KEEPS_ID)) { /* nobody is told that its disk is new */
        host_found(host, members->cluster_id, old_id, NULL, 0);
        host_start(host);
        return true;
    }
    make_joiner(members, number, old_id);
    return true;
}

bool members_are_idle(const struct members *members)
{
    return members->task_count == 0;
}

void members_start(struct members *members)
{
    members->draw = draw_stream(members->world->seed, 9000);
    members->next_node_id = 2;
    world_post(members->world, members->world->now_ns + ASK_NS, ask, members, 0, 0);
}

void members_deinit(struct members *members)
{
    free(members->call);
}
