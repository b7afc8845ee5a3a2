/*
 * A node's disk.
 *
 * It does one operation after the other; a crash loses those that have not ended (in random worlds
 * some prefix of them is found on the disk all the same, also a part of an append). Term and vote
 * are synchronous. As with a real journal the entries of an append are used until its callback, not
 * copied: freed too early they show.
 */
#include "raft_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct disk_operation {
    struct disk_operation *next;
    enum world_operation type;
    uint64_t ready_at;
    int status; /* what its callback gets */
    union {
        struct {
            struct raft_io_append *request;
            raft_io_append_cb cb;
            const struct raft_entry *entries;
            unsigned count;
            uint64_t hash; /* of the entries when they were given to us */
        } append;
        raft_index truncate_from;
        struct {
            struct raft_io_snapshot_put *request;
            raft_io_snapshot_put_cb cb;
            const struct raft_snapshot *snapshot;
            unsigned trailing;
        } put;
    };
};

struct getting {
    struct raft_io_snapshot_get *request;
    raft_io_snapshot_get_cb cb;
};

void *world_take(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}

struct world_node *world_node_of(const struct raft_io *io)
{
    return io->impl;
}

/* A command is its number and the number's complement, so that other bytes are not taken for one.
 */
void world_encode_command(uint64_t command, struct raft_buffer *out)
{
    uint64_t words[2] = {command, ~command};
    out->len = sizeof words;
    out->base = memcpy(raft_malloc(sizeof words), words, sizeof words);
}

bool world_command_of(const struct raft_entry *entry, uint64_t *out_command)
{
    uint64_t words[2];
    if (entry->type != RAFT_COMMAND || entry->buf.len != sizeof words)
        return false;
    memcpy(words, entry->buf.base, sizeof words);
    *out_command = words[0];
    return words[0] == ~words[1];
}

static uint64_t payload_of(const struct raft_entry *entry)
{
    uint64_t command = 0;
    if (entry->type == RAFT_BARRIER) /* libraft leaves its bytes to chance */
        return 1;
    if (entry->type == RAFT_COMMAND) {
        (void)world_command_of(entry, &command);
        return command << 2 | 2;
    }
    uint64_t hash = 0;
    for (size_t i = 0; i < entry->buf.len; i++)
        hash = hash * 31 + ((const uint8_t *)entry->buf.base)[i];
    return hash << 2 | 3;
}

static uint64_t hash_entries(const struct raft_entry *entries, unsigned count)
{
    uint64_t hash = count;
    for (unsigned i = 0; i < count; i++)
        hash = (hash ^ payload_of(&entries[i]) ^ entries[i].term) * UINT64_C(0x100000001b3);
    return hash;
}

void world_pack_entry(struct world_entry *out, const struct raft_entry *entry)
{
    if (entry->buf.len > WORLD_PAYLOAD_MAX)
        abort();
    *out = (struct world_entry){
        .term = entry->term, .type = entry->type, .size = (unsigned short)entry->buf.len};
    if (entry->type != RAFT_BARRIER)
        memcpy(out->data, entry->buf.base, entry->buf.len);
}

/* An array with one block of payloads, as libraft wants it. NULL for none. */
struct raft_entry *world_unpack_entries(const struct world_entry *entries, size_t count)
{
    if (count == 0)
        return NULL;
    struct raft_entry *unpacked = raft_malloc(count * sizeof *unpacked);
    uint8_t *batch = raft_malloc(count * WORLD_PAYLOAD_MAX);
    for (size_t i = 0; i < count; i++) {
        uint8_t *place = batch + i * WORLD_PAYLOAD_MAX;
        memcpy(place, entries[i].data, entries[i].size);
        unpacked[i] = (struct raft_entry){.term = entries[i].term,
                                          .type = entries[i].type,
                                          .buf = {place, entries[i].size},
                                          .batch = batch};
    }
    return unpacked;
}

void world_build_configuration(struct raft_configuration *out, unsigned count, const raft_id *ids,
                               const int *roles)
{
    raft_configuration_init(out);
    for (unsigned i = 0; i < count; i++) {
        char address[24];
        snprintf(address, sizeof address, "%llu", ids[i]);
        if (raft_configuration_add(out, ids[i], address, roles[i]) != 0)
            abort();
    }
}

static void disk_append(struct world_disk *disk, const struct raft_entry *entry)
{
    if (disk->count == disk->capacity) {
        disk->capacity *= 2;
        disk->entries = realloc(disk->entries, disk->capacity * sizeof *disk->entries);
        if (disk->entries == NULL)
            abort();
    }
    world_pack_entry(&disk->entries[disk->count++], entry);
}

static void disk_truncate(struct world_disk *disk, raft_index from)
{
    if (from >= disk->start && from < disk->start + disk->count)
        disk->count = from - disk->start;
}

static void disk_put(struct world_disk *disk, const struct raft_snapshot *snapshot,
                     unsigned trailing)
{
    const struct raft_configuration *configuration = &snapshot->configuration;
    uint64_t content[WORLD_CONTENT];
    memcpy(content, snapshot->bufs[0].base, sizeof content);
    disk->snapshot.index = snapshot->index;
    disk->snapshot.term = snapshot->term;
    disk->snapshot.configuration_index = snapshot->configuration_index;
    disk->snapshot.applied = content[0];
    disk->snapshot.state = content[1];
    disk->snapshot.mode = content[2];
    disk->snapshot.servers = configuration->n;
    for (unsigned i = 0; i < configuration->n; i++) {
        disk->snapshot.ids[i] = configuration->servers[i].id;
        disk->snapshot.roles[i] = configuration->servers[i].role;
    }
    raft_index start = trailing == 0                ? snapshot->index + 1
                       : snapshot->index > trailing ? snapshot->index - trailing + 1
                                                    : 1;
    if (trailing != 0 && start <= disk->start)
        return;
    size_t drop = trailing == 0 ? disk->count : start - disk->start;
    if (drop > disk->count)
        drop = disk->count;
    memmove(disk->entries, disk->entries + drop, (disk->count - drop) * sizeof *disk->entries);
    disk->count -= drop;
    disk->start = start;
}

static void schedule_disk(struct world_node *node)
{
    if (node->disk_held || node->disk_event || node->operations == NULL)
        return;
    uint64_t at = node->operations->ready_at;
    node->disk_event = true;
    world_push(node->world, at > node->world->now_ms ? at : node->world->now_ms, WORLD_DISK, node,
               NULL);
}

static struct disk_operation *add_operation(struct world_node *node, enum world_operation type)
{
    struct world *world = node->world;
    uint64_t takes = world->options.disk_ms;
    if (world->options.random)
        takes = node->slow_disk             ? world_draw(world, 100, 1500)
                : world_chance(world, 0.02) ? world_draw(world, 20, 200)
                                            : world_draw(world, 0, 3);
    if (world->options.random && type == WORLD_SNAPSHOT)
        takes += world_draw(world, 0, 300);
    struct disk_operation *operation = world_take(sizeof *operation);
    operation->type = type;
    operation->ready_at = world->now_ms + takes;
    if (operation->ready_at < node->disk_ready_at)
        operation->ready_at = node->disk_ready_at; /* operations overlap, and end in order */
    node->disk_ready_at = operation->ready_at;
    operation->status = node->fail_next[type];
    node->fail_next[type] = 0;
    *node->operations_end = operation;
    node->operations_end = &operation->next;
    return operation;
}

static struct disk_operation *pop_operation(struct world_node *node)
{
    struct disk_operation *operation = node->operations;
    node->operations = operation->next;
    if (node->operations == NULL)
        node->operations_end = &node->operations;
    return operation;
}

static void finish_operation(struct world_node *node)
{
    struct disk_operation *operation = pop_operation(node);
    struct world_disk *disk = &node->disk;
    switch (operation->type) {
    case WORLD_APPEND:
        if (hash_entries(operation->append.entries, operation->append.count) !=
            operation->append.hash)
            checkers_violation(&node->world->checkers,
                               "node %u frees entries while their append is in flight",
                               node->number + 1);
        for (unsigned i = 0; i < operation->append.count && operation->status == 0; i++)
            disk_append(disk, &operation->append.entries[i]);
        operation->append.cb(operation->append.request, operation->status);
        break;
    case WORLD_TRUNCATE:
        disk_truncate(disk, operation->truncate_from);
        break;
    default:
        if (operation->status == 0)
            disk_put(disk, operation->put.snapshot, operation->put.trailing);
        operation->put.cb(operation->put.request, operation->status);
        break;
    }
    free(operation);
}

void world_io_crash(struct world_node *node)
{
    struct world *world = node->world;
    bool survives = world->options.random && node->stopped_by == NULL;
    while (node->operations != NULL) {
        struct disk_operation *operation = pop_operation(node);
        survives = survives && world_chance(world, 0.5);
        if (survives && operation->type == WORLD_APPEND) {
            unsigned count = (unsigned)world_draw(world, 0, operation->append.count);
            for (unsigned i = 0; i < count; i++)
                disk_append(&node->disk, &operation->append.entries[i]);
            survives = count == operation->append.count;
        } else if (survives && operation->type == WORLD_TRUNCATE) {
            disk_truncate(&node->disk, operation->truncate_from);
        } else {
            survives = false; /* a snapshot is there when it has ended, not before */
        }
        free(operation);
    }
}

void world_cancel_operations(struct world_node *node)
{
    while (node->operations != NULL) {
        struct disk_operation *operation = pop_operation(node);
        if (operation->type == WORLD_APPEND)
            operation->append.cb(operation->append.request, RAFT_CANCELED);
        else if (operation->type == WORLD_SNAPSHOT)
            operation->put.cb(operation->put.request, RAFT_CANCELED);
        free(operation);
    }
}

void world_release_disk(struct world *world, unsigned node)
{
    world->nodes[node].disk_held = false;
    schedule_disk(&world->nodes[node]);
}

static void finish_some(struct world_node *node, void *context)
{
    for (unsigned count = *(unsigned *)context; count > 0 && node->operations != NULL; count--)
        finish_operation(node);
}

void world_finish_disk(struct world *world, unsigned node, unsigned count)
{
    world_within(world, node, finish_some, &count);
}

static int io_append(struct raft_io *io, struct raft_io_append *request,
                     const struct raft_entry entries[], unsigned count, raft_io_append_cb cb)
{
    struct world_node *node = world_node_of(io);
    struct disk_operation *operation = add_operation(node, WORLD_APPEND);
    node->appends++;
    operation->append.request = request;
    operation->append.cb = cb;
    operation->append.entries = entries;
    operation->append.count = count;
    operation->append.hash = hash_entries(entries, count);

    raft_index first =
        raft_last_index(&node->raft) - count + 1; /* libraft's log has them already */
    const struct raft_log *log = &node->raft.log;
    raft_term previous = 0;
    if (first - 1 == log->snapshot.last_index)
        previous = log->snapshot.last_term;
    else if (first - 1 > log->offset)
        previous = log->entries[(log->front + (first - 2 - log->offset)) % log->size].term;
    for (unsigned i = 0; i < count; i++) {
        struct checked_entry entry = {.node = node->number,
                                      .index = first + i,
                                      .term = entries[i].term,
                                      .previous_term = previous,
                                      .payload = payload_of(&entries[i])};
        checkers_appended(&node->world->checkers, &entry);
        previous = entries[i].term;
    }
    world_mix(node->world, operation->append.hash);
    schedule_disk(node);
    return 0;
}

static int fail_now(struct world_node *node, enum world_operation type)
{
    int code = node->fail_next[type];
    node->fail_next[type] = 0;
    return code;
}

static int io_truncate(struct raft_io *io, raft_index from)
{
    struct world_node *node = world_node_of(io);
    int code = fail_now(node, WORLD_TRUNCATE);
    if (code != 0)
        return code;
    add_operation(node, WORLD_TRUNCATE)->truncate_from = from;
    schedule_disk(node);
    return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing,
                           struct raft_io_snapshot_put *request,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct world_node *node = world_node_of(io);
    struct disk_operation *operation = add_operation(node, WORLD_SNAPSHOT);
    operation->put.request = request;
    operation->put.cb = cb;
    operation->put.snapshot = snapshot;
    operation->put.trailing = trailing;
    schedule_disk(node);
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct world_node *node = world_node_of(io);
    int code = fail_now(node, WORLD_SET_TERM);
    if (code != 0)
        return code;
    node->disk.term = term;
    node->disk.vote = 0;
    world_mix(node->world, term);
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct world_node *node = world_node_of(io);
    int code = fail_now(node, WORLD_SET_VOTE);
    if (code != 0)
        return code;
    node->disk.vote = id;
    world_mix(node->world, id);
    return 0;
}

static struct raft_snapshot *load_snapshot(const struct world_disk *disk)
{
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof *snapshot);
    uint64_t content[WORLD_CONTENT] = {disk->snapshot.applied, disk->snapshot.state,
                                       disk->snapshot.mode};
    snapshot->index = disk->snapshot.index;
    snapshot->term = disk->snapshot.term;
    snapshot->configuration_index = disk->snapshot.configuration_index;
    world_build_configuration(&snapshot->configuration, disk->snapshot.servers, disk->snapshot.ids,
                              disk->snapshot.roles);
    snapshot->n_bufs = 1;
    snapshot->bufs = raft_malloc(sizeof *snapshot->bufs);
    snapshot->bufs[0].len = sizeof content;
    snapshot->bufs[0].base = memcpy(raft_malloc(sizeof content), content, sizeof content);
    return snapshot;
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                   size_t *count)
{
    struct world_node *node = world_node_of(io);
    const struct world_disk *disk = &node->disk;
    if (disk->snapshot.index != 0)
        raft_guard_set_mode(&node->guard, disk->snapshot.index,
                            (enum durability_mode)disk->snapshot.mode);
    *term = disk->term;
    *vote = disk->vote;
    *snapshot = disk->snapshot.index == 0 ? NULL : load_snapshot(disk);
    *start = disk->start;
    *count = disk->count;
    *entries = world_unpack_entries(disk->entries, disk->count);
    return 0;
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                           raft_io_snapshot_get_cb cb)
{
    struct world_node *node = world_node_of(io);
    struct getting *getting = world_take(sizeof *getting);
    *getting = (struct getting){request, cb};
    uint64_t takes = node->world->options.random ? world_draw(node->world, 0, 50) : 1;
    world_push(node->world, node->world->now_ms + takes, WORLD_SNAPSHOT_GET, node, getting);
    return 0;
}

void world_disk_event(struct world_node *node)
{
    node->disk_event = false;
    if (!node->disk_held && node->operations != NULL)
        finish_operation(node);
    schedule_disk(node);
}

void world_snapshot_event(struct world_node *node, void *payload)
{
    const struct getting *getting = payload;
    if (node->guard.options.witness) /* it has no ledger to send */
        getting->cb(getting->request, NULL, RAFT_NOTFOUND);
    else
        getting->cb(getting->request, load_snapshot(&node->disk), 0);
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io, (void)configuration;
    return RAFT_CANTBOOTSTRAP; /* disks are made with a configuration */
}

static int io_recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io, (void)configuration;
    return RAFT_INVALID;
}

void world_disk_io(struct raft_io *out)
{
    out->load = io_load;
    out->bootstrap = io_bootstrap;
    out->recover = io_recover;
    out->set_term = io_set_term;
    out->set_vote = io_set_vote;
    out->append = io_append;
    out->truncate = io_truncate;
    out->snapshot_put = io_snapshot_put;
    out->snapshot_get = io_snapshot_get;
}
