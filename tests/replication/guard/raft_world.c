/*
 * Clock, lives of nodes, clients. Events are ordered by (time, number of their making), so that a
 * seed has one order. Whatever reaches a node enters its heap first and is looked at afterwards: a
 * new leader is reported to the checkers, a node that stopped itself is crashed.
 */
#include "raft_world.h"
#include "replication/guard/raft_layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELECTION_MS  1000
#define HEARTBEAT_MS 100
/* When a snapshot is lost, or its receiver crashes with it, the leader knows only by this time. */
#define INSTALL_MS 5000

struct world_event {
    uint64_t at_ms, sequence;
    enum world_event_type type;
    struct world_node *node; /* NULL for WORLD_CALL */
    unsigned life;
    void *payload;
};

struct call {
    void (*function)(struct world *, void *);
    void *context;
};

struct proposal {
    struct raft_apply request;
    struct world_node *node;
    uint64_t command;
};

/* ------------------------------------------------------------- chance and trace */

static uint64_t next_random(struct world *world)
{
    uint64_t z = world->random_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t world_draw(struct world *world, uint64_t low, uint64_t high)
{
    return low + next_random(world) % (high - low + 1);
}

bool world_chance(struct world *world, double share)
{
    return (double)(next_random(world) >> 11) < share * 9007199254740992.0;
}

void world_mix(struct world *world, uint64_t value)
{
    world->trace = (world->trace ^ value) * UINT64_C(0x100000001b3);
    world->trace ^= world->trace >> 29;
}

/* ----------------------------------------------------------------------- events */

static bool is_before(const struct world_event *a, const struct world_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->sequence < b->sequence);
}

void world_push(struct world *world, uint64_t at_ms, enum world_event_type type,
                struct world_node *node, void *payload)
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity * 2 + 256;
        world->heap = realloc(world->heap, world->heap_capacity * sizeof *world->heap);
        if (world->heap == NULL)
            abort();
    }
    struct world_event event = {at_ms, world->sequence++,     type,
                                node,  node ? node->life : 0, payload};
    size_t place = world->heap_count++;
    while (place > 0 && is_before(&event, &world->heap[(place - 1) / 2])) {
        world->heap[place] = world->heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    world->heap[place] = event;
}

static struct world_event pop(struct world *world)
{
    struct world_event first = world->heap[0], last = world->heap[--world->heap_count];
    size_t place = 0, child;
    while ((child = 2 * place + 1) < world->heap_count) {
        if (child + 1 < world->heap_count &&
            is_before(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!is_before(&world->heap[child], &last))
            break;
        world->heap[place] = world->heap[child];
        place = child;
    }
    world->heap[place] = last;
    return first;
}

static bool log_lookup(void *context, uint64_t index, uint64_t *out_command)
{
    const struct raft_log *log = &((struct world_node *)context)->raft.log;
    return world_command_of(&log->entries[(log->front + (index - log->offset - 1)) % log->size],
                            out_command);
}

/* A tick when the guard has something to do; one that was to come later is void. */
static void schedule_tick(struct world_node *node)
{
    raft_time next = raft_guard_next_tick(&node->guard);
    if (next == UINT64_MAX || (node->tick_at > node->world->now_ms && node->tick_at <= next))
        return;
    node->tick_at = next > node->world->now_ms ? next : node->world->now_ms + 1;
    world_push(node->world, node->tick_at, WORLD_TICK, node, NULL);
}

/* After anything that a node did. */
static void observe(struct world_node *node)
{
    struct world *world = node->world;
    world_heap_enter(WORLD_NODES_MAX);
    if (world_heap_faults() != 0)
        checkers_violation(&world->checkers, "node %u frees memory twice", node->number + 1);
    if (!node->alive)
        return;
    if (node->closing)
        return;
    if (node->stopped_by != NULL && world->options.close_stopped) {
        node->closing = true;
        size_t left = world_close(world, node->number);
        node->closing = false;
        if (left != 0)
            checkers_violation(&world->checkers,
                               "node %u, closed after a fail-stop, leaves %zu bytes",
                               node->number + 1, left);
        return;
    }
    if (node->stopped_by != NULL) {
        world_crash(world, node->number);
        return;
    }
    if (world->options.exact)
        schedule_tick(node);
    if (node->raft.state == RAFT_LEADER && node->led_term != node->raft.current_term) {
        node->led_term = node->raft.current_term;
        world->elections++;
        world->witness_elections += node->guard.options.witness ? 1 : 0;
        struct checked_leader leader = {
            .node = node->number,
            .term = node->led_term,
            .first_index = node->raft.log.offset + 1,
            .last_index = raft_last_index(&node->raft),
            .lookup = log_lookup,
            .context = node,
        };
        checkers_elected(&world->checkers, &leader);
    }
    world_check_sites(node);
}

void world_within(struct world *world, unsigned number,
                  void (*function)(struct world_node *node, void *context), void *context)
{
    struct world_node *node = &world->nodes[number];
    if (!node->alive)
        return;
    world_heap_enter(number);
    function(node, context);
    observe(node);
}

static void tick(struct world_node *node, void *context)
{
    (void)context;
    node->tick(&node->io);
}

static void step(struct world *world)
{
    struct world_event event = pop(world);
    struct world_node *node = event.node;
    world->now_ms = event.at_ms;
    world->events++;
    world_mix(world, event.at_ms << 8 | (uint64_t)event.type);
    if (event.type == WORLD_CALL) {
        struct call call = *(struct call *)event.payload;
        free(event.payload);
        call.function(world, call.context);
        return;
    }
    /* A message reaches whoever lives at the address; everything else belonged to a life. */
    if (!node->alive || (event.type != WORLD_MESSAGE && event.life != node->life)) {
        world_io_drop(event.type, event.payload);
        return;
    }
    if (event.type == WORLD_TICK) {
        if (!world->options.exact)
            world_push(world, world->now_ms + HEARTBEAT_MS, WORLD_TICK, node, NULL);
        else if (event.at_ms != node->tick_at)
            return;
        world_within(world, node->number, tick, NULL);
        return;
    }
    world_heap_enter(node->number);
    world_io_event(node, event.type, event.payload);
    observe(node);
}

void world_run(struct world *world, uint64_t ms)
{
    uint64_t end = world->now_ms + ms;
    while (world->heap_count > 0 && world->heap[0].at_ms <= end)
        step(world);
    world->now_ms = end;
}

bool world_run_until(struct world *world, world_condition holds, unsigned node, uint64_t limit_ms)
{
    uint64_t end = world->now_ms + limit_ms;
    while (!holds(world, node)) {
        if (world->heap_count == 0 || world->heap[0].at_ms > end)
            return false;
        step(world);
    }
    return true;
}

void world_at(struct world *world, uint64_t in_ms, void (*function)(struct world *, void *),
              void *context)
{
    struct call *call = malloc(sizeof *call);
    if (call == NULL)
        abort();
    *call = (struct call){function, context};
    world_push(world, world->now_ms + in_ms, WORLD_CALL, NULL, call);
}

bool world_leads(struct world *world, unsigned number)
{
    struct world_node *node = &world->nodes[number];
    return node->alive && node->raft.state == RAFT_LEADER;
}

bool world_campaigns(struct world *world, unsigned number)
{
    struct world_node *node = &world->nodes[number];
    return node->alive && node->raft.state == RAFT_CANDIDATE &&
           !node->raft.candidate_state.in_pre_vote;
}

bool world_asks_for_pre_votes(struct world *world, unsigned number)
{
    struct world_node *node = &world->nodes[number];
    return node->alive && raft_layout_in_pre_vote(&node->raft);
}

int world_leader(const struct world *world)
{
    int leader = -1;
    raft_term term = 0;
    for (unsigned i = 0; i < world->options.nodes; i++) {
        const struct world_node *node = &world->nodes[i];
        if (node->alive && node->raft.state == RAFT_LEADER && node->raft.current_term > term) {
            leader = (int)i;
            term = node->raft.current_term;
        }
    }
    return leader;
}

/* ------------------------------------------------------------------ state machine */

static int apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **out_result)
{
    struct world_node *node = fsm->data;
    struct world *world = node->world;
    struct raft_entry entry = {.type = RAFT_COMMAND, .buf = *buffer};
    uint64_t command = 0, index = raft_last_applied(&node->raft) + 1;
    if (!world_command_of(&entry, &command))
        checkers_violation(&world->checkers,
                           "node %u applies memory in use by others at index %llu",
                           node->number + 1, (unsigned long long)index);
    node->state = (node->state ^ (command * 31 + index)) * UINT64_C(0x100000001b3);
    node->applied = index;
    struct checked_apply applied = {.node = node->number,
                                    .index = index,
                                    .command = command,
                                    .state = node->state,
                                    .term = node->raft.current_term};
    checkers_applied(&world->checkers, &applied);
    (void)world_mode_of(command, &node->mode);
    world_mix(world, node->state);
    *out_result = NULL;
    return 0;
}

static int take_snapshot(struct raft_fsm *fsm, struct raft_buffer *buffers[], unsigned *count)
{
    struct world_node *node = fsm->data;
    uint64_t content[WORLD_CONTENT] = {raft_last_applied(&node->raft), node->state, node->mode};
    *count = 1;
    *buffers = raft_malloc(sizeof **buffers);
    (*buffers)->len = sizeof content;
    (*buffers)->base = memcpy(raft_malloc(sizeof content), content, sizeof content);
    return 0;
}

static int restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    struct world_node *node = fsm->data;
    uint64_t content[WORLD_CONTENT];
    memcpy(content, buffer->base, sizeof content);
    node->applied = content[0];
    node->state = content[1];
    node->mode = (enum durability_mode)content[2];
    if (node->raft.state != RAFT_UNAVAILABLE) /* at a start load has said it */
        raft_guard_set_mode(&node->guard, content[0], node->mode);
    raft_free(buffer->base);
    return 0;
}

/* ------------------------------------------------------------------- lives of nodes */

static void fail_stop(void *context, const char *operation, int code)
{
    struct world_node *node = context;
    (void)code;
    node->stopped_by = operation;
}

static bool is_witness(const struct world_node *node)
{
    return (node->world->options.witnesses >> node->number & 1) != 0;
}

static raft_index first_kept(void *context)
{
    const struct world_node *node = context;
    return node->first_kept != 0 ? node->first_kept : raft_layout_first_index(&node->raft) + 1;
}

void world_start(struct world *world, unsigned number)
{
    struct world_node *node = &world->nodes[number];
    if (node->alive)
        abort();
    node->life++;
    node->alive = true;
    node->stopped_by = NULL;
    node->state = 0;
    node->mode = DURABILITY_SYNC;
    node->commit_seen = node->both_seen = 0;
    node->applied = 0;
    node->led_term = 0;
    node->disk_ready_at = 0;
    node->disk_event = false;
    node->tick_at = 0;
    node->operations_end = &node->operations;
    node->io = world_io();
    node->io.impl = node;
    node->fsm = (struct raft_fsm){
        .version = 1, .data = node, .apply = apply, .snapshot = take_snapshot, .restore = restore};
    memset(&node->raft, 0, sizeof node->raft);

    world_heap_enter(number);
    struct raft_guard_options options = {.raft = &node->raft,
                                         .inner = &node->io,
                                         .fsm = &node->fsm,
                                         .fail_stop = fail_stop,
                                         .first_kept = first_kept,
                                         .witness = is_witness(node),
                                         .context = node,
                                         .parts = world->options.parts};
    world_site_options(&options);
    raft_guard_init(&node->guard, &options);
    char address[24];
    snprintf(address, sizeof address, "%u", number + 1);
    if (raft_init(&node->raft, &node->guard.io, &node->guard.fsm, number + 1, address) != 0)
        abort();
    raft_set_election_timeout(&node->raft, ELECTION_MS);
    raft_set_heartbeat_timeout(&node->raft, HEARTBEAT_MS);
    raft_set_install_snapshot_timeout(&node->raft, INSTALL_MS);
    raft_set_pre_vote(&node->raft, true);
    raft_set_snapshot_threshold(&node->raft, world->options.snapshot_threshold);
    raft_set_snapshot_trailing(&node->raft, world->options.snapshot_trailing);
    if (options.witness && !node->forgetful)
        raft_set_snapshot_threshold(&node->raft, UINT32_MAX);
    if (raft_start(&node->raft) != 0)
        abort();
    observe(node);
}

void *world_take_sent(struct world *world, size_t i, const struct world_node *node)
{
    struct world_event *event = &world->heap[i];
    if (event->type != WORLD_SENT || event->node != node || event->life != node->life)
        return NULL;
    void *payload = event->payload;
    event->payload = NULL;
    event->life = node->life - 1;
    return payload;
}

static void closed(struct raft *raft)
{
    *(bool *)raft->data = true;
}

static void close_raft(struct world_node *node, void *context)
{
    node->raft.data = context;
    raft_close(&node->raft, closed);
}

size_t world_close(struct world *world, unsigned number)
{
    struct world_node *node = &world->nodes[number];
    bool is_closed = false;
    world_within(world, number, close_raft, &is_closed);
    if (!is_closed)
        checkers_violation(&world->checkers, "node %u does not close", number + 1);
    size_t left = world_heap_bytes(number);
    node->alive = false;
    node->life++;
    world_heap_clear(number);
    return left;
}

void world_crash(struct world *world, unsigned number)
{
    struct world_node *node = &world->nodes[number];
    if (!node->alive)
        return;
    world_io_crash(node);
    site_modes_deinit(&node->guard.modes); /* not from the node's heap */
    node->alive = false;
    node->life++;
    world_heap_clear(number);
}

struct world *world_create(const struct world_options *given)
{
    struct world *world = calloc(1, sizeof *world);
    if (world == NULL)
        abort();
    world->options = *given;
    struct world_options *options = &world->options;
    if (options->network_ms == 0)
        options->network_ms = 5;
    if (options->disk_ms == 0)
        options->disk_ms = 1;
    if (options->snapshot_threshold == 0)
        options->snapshot_threshold = 200;
    if (options->snapshot_trailing == 0)
        options->snapshot_trailing = 50;
    world->random_state = options->seed * 7919 + 1;
    world->trace = options->seed;
    world->next_command = 1;
    checkers_init(&world->checkers);
    world_heap_install(options->quarantine);
    world_heap_enter(WORLD_NODES_MAX);

    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (unsigned i = 0; i < options->nodes; i++) {
        char address[24];
        snprintf(address, sizeof address, "%u", i + 1);
        if ((options->outsiders & 1u << i) == 0 &&
            raft_configuration_add(&configuration, i + 1, address, RAFT_VOTER) != 0)
            abort();
    }
    struct raft_buffer encoded;
    if (raft_configuration_encode(&configuration, &encoded) != 0)
        abort();
    raft_configuration_close(&configuration);
    for (unsigned i = 0; i < options->nodes; i++) {
        struct world_node *node = &world->nodes[i];
        node->world = world;
        node->number = i;
        node->patience_ms = 150 * i;
        struct world_disk *disk = &node->disk;
        *disk = (struct world_disk){.term = 1, .start = 1, .count = 1, .capacity = 64};
        disk->entries = calloc(disk->capacity, sizeof *disk->entries);
        if (disk->entries == NULL || encoded.len > WORLD_PAYLOAD_MAX)
            abort();
        if (options->outsiders & 1u << i)
            disk->term = disk->count = 0;
        disk->entries[0].term = 1;
        disk->entries[0].type = RAFT_CHANGE;
        disk->entries[0].size = (unsigned short)encoded.len;
        memcpy(disk->entries[0].data, encoded.base, encoded.len);
    }
    raft_free(encoded.base);
    for (unsigned i = 0; i < options->nodes; i++) {
        if ((options->puppets & 1u << i) == 0)
            world_start(world, i);
    }
    return world;
}

void world_destroy(struct world *world)
{
    for (unsigned i = 0; i < world->options.nodes; i++) {
        world_crash(world, i);
        free(world->nodes[i].disk.entries);
    }
    while (world->heap_count > 0) {
        struct world_event event = pop(world);
        if (event.type == WORLD_CALL)
            free(event.payload);
        else
            world_io_drop(event.type, event.payload);
    }
    world_heap_clear(WORLD_NODES_MAX);
    raft_heap_set_default();
    checkers_deinit(&world->checkers);
    free(world->heap);
    free(world);
}

/* ------------------------------------------------------------------------ network */

void world_cut(struct world *world, unsigned a, unsigned b)
{
    world->cut[a][b] = world->cut[b][a] = true;
}

void world_isolate(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->options.nodes; i++) {
        if (i != node)
            world_cut(world, node, i);
    }
}

void world_heal(struct world *world)
{
    memset(world->cut, 0, sizeof world->cut);
}

void world_forbid(struct world *world, const void *memory, size_t size)
{
    world->forbidden.begin = memory;
    world->forbidden.end = world->forbidden.begin + size;
}

/* ------------------------------------------------------------------------ clients */

static void answered(struct raft_apply *request, int status, void *result)
{
    struct proposal *proposal = (struct proposal *)request;
    (void)result;
    if (status == 0)
        checkers_acknowledged(&proposal->node->world->checkers, request->index, proposal->command,
                              proposal->node->raft.current_term);
    raft_free(proposal);
}

bool world_propose_commands(struct world_node *node, const uint64_t *commands, unsigned count)
{
    struct raft_buffer buffers[16];
    if (count > sizeof buffers / sizeof buffers[0])
        abort();
    struct proposal *proposal = raft_malloc(sizeof *proposal);
    *proposal = (struct proposal){.node = node, .command = commands[0]};
    for (unsigned i = 0; i < count; i++)
        world_encode_command(commands[i], &buffers[i]);
    if (raft_apply(&node->raft, &proposal->request, buffers, count, answered) == 0)
        return true;
    for (unsigned i = 0; i < count; i++)
        raft_free(buffers[i].base);
    raft_free(proposal);
    return false;
}

struct proposing {
    unsigned count;
    bool accepted;
};

static void propose(struct world_node *node, void *context)
{
    struct proposing *proposing = context;
    uint64_t commands[16];
    if (proposing->count > sizeof commands / sizeof commands[0])
        abort();
    for (unsigned i = 0; i < proposing->count; i++)
        commands[i] = node->world->next_command++;
    proposing->accepted = world_propose_commands(node, commands, proposing->count);
}

bool world_propose_batch(struct world *world, unsigned node, unsigned count)
{
    struct proposing proposing = {.count = count};
    world_within(world, node, propose, &proposing);
    return proposing.accepted;
}

bool world_propose(struct world *world, unsigned node, unsigned count)
{
    bool accepted = true;
    for (unsigned i = 0; i < count; i++)
        accepted = world_propose_batch(world, node, 1) && accepted;
    return accepted;
}
