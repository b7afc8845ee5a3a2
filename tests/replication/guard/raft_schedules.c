/* What the directed schedules share: begin and end. */
#include "raft_schedules.h"
#include "replication/guard/raft_layout.h"

#include <stdio.h>

struct world *schedule_lead(const struct world_options *options, unsigned count)
{
    struct world *world = world_create(options);
    (void)world_run_until(world, world_leads, 0, 10000);
    world_run(world, 300);
    (void)world_propose(world, 0, count);
    world_run(world, 500);
    return world;
}

enum schedule_result schedule_end(struct world *world, bool way, bool promise)
{
    checkers_finish(&world->checkers);
    uint64_t violations = world->checkers.violation_count;
    enum schedule_result result = !way                     ? SCHEDULE_ASTRAY
                                  : promise && !violations ? SCHEDULE_HELD
                                                           : SCHEDULE_BROKEN;
    if (result != SCHEDULE_HELD)
        fprintf(stderr, "schedule %s; promise %s; %llu violations%s%s\n",
                way ? "went its way" : "went astray", promise ? "held" : "broken",
                (unsigned long long)violations, violations ? ": " : "", world->checkers.first);
    world_destroy(world);
    return result;
}

static void added(struct raft_change *change, int status)
{
    (void)status;
    raft_free(change);
}

void schedule_add_member(struct world_node *node, void *context)
{
    raft_id id = context == NULL ? 4 : *(const raft_id *)context;
    char address[24];
    snprintf(address, sizeof address, "%llu", id);
    struct raft_change *change = raft_malloc(sizeof *change);
    if (raft_add(&node->raft, change, id, address, added) != 0)
        raft_free(change);
}

void schedule_change_member(struct world_node *node, void *context)
{
    struct schedule_change *wanted = context;
    struct raft *raft = &node->raft;
    int role = raft_layout_role(raft, wanted->id), code;
    if (wanted->ask && !raft_guard_may_change(&node->guard, wanted->id, wanted->role))
        return;
    char address[24];
    snprintf(address, sizeof address, "%llu", wanted->id);
    struct raft_change *change = raft_malloc(sizeof *change);
    if (role < 0)
        code = raft_add(raft, change, wanted->id, address, added);
    else if (wanted->role < 0)
        code = raft_remove(raft, change, wanted->id, added);
    else
        code = raft_assign(raft, change, wanted->id, wanted->role, added);
    wanted->allowed = code == 0;
    if (code != 0)
        raft_free(change);
}
