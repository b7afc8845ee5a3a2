/*
 * A node's share of the network, and its raft_io as a whole. Each link keeps its order, and loses
 * what a cut lies upon when it is sent or when it would arrive.
 */
#include "raft_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* On the wire: fields, and entries by value. */
struct packet {
    unsigned from;
    struct raft_message message; /* no pointer in it is valid */
    unsigned servers;            /* of a snapshot's configuration */
    raft_id ids[2 * WORLD_NODES_MAX];
    int roles[2 * WORLD_NODES_MAX];
    uint64_t content[WORLD_CONTENT];
    unsigned count;
    struct world_entry entries[];
};

struct sent {
    struct raft_io_send *request;
    raft_io_send_cb cb;
    int status;
};

static struct packet *pack(unsigned from, const struct raft_message *message, unsigned skip,
                           unsigned count)
{
    struct packet *packet = world_take(sizeof *packet + count * sizeof packet->entries[0]);
    packet->from = from;
    packet->message = *message;
    packet->count = count;
    for (unsigned i = 0; i < count; i++)
        world_pack_entry(&packet->entries[i], &message->append_entries.entries[skip + i]);
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        const struct raft_configuration *configuration = &message->install_snapshot.conf;
        packet->servers = configuration->n;
        for (unsigned i = 0; i < configuration->n; i++) {
            packet->ids[i] = configuration->servers[i].id;
            packet->roles[i] = configuration->servers[i].role;
        }
        memcpy(packet->content, message->install_snapshot.data.base, sizeof packet->content);
    }
    return packet;
}

static void post(struct world *world, unsigned to, struct packet *packet)
{
    unsigned from = packet->from;
    if (world->cut[from][to] ||
        (world->options.random && world->loss > 0 && world_chance(world, world->loss))) {
        free(packet);
        return;
    }
    uint64_t takes = world->options.network_ms;
    if (world->options.random)
        takes = world_chance(world, 0.02) ? world_draw(world, 20, 400) : world_draw(world, 1, 10);
    uint64_t at = world->now_ms + takes;
    if (at < world->arrives_at[from][to])
        at = world->arrives_at[from][to];
    world->arrives_at[from][to] = at;
    if (world->options.puppets & 1u << to) {
        world->to_puppet[packet->message.type] = packet->message;
        world->to_puppet_count[packet->message.type]++;
        free(packet);
        return;
    }
    world_push(world, at, WORLD_MESSAGE, &world->nodes[to], packet);
}

static void post_entries(struct world_node *node, unsigned to, const struct raft_message *message)
{
    unsigned count = message->append_entries.n_entries;
    if (!node->world->options.split || count <= 1) {
        post(node->world, to, pack(node->number, message, 0, count));
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        struct packet *packet = pack(node->number, message, i, 1);
        packet->message.append_entries.prev_log_index += i;
        if (i > 0)
            packet->message.append_entries.prev_log_term =
                message->append_entries.entries[i - 1].term;
        post(node->world, to, packet);
    }
}

static int io_send(struct raft_io *io, struct raft_io_send *request,
                   const struct raft_message *message, raft_io_send_cb cb)
{
    struct world_node *node = world_node_of(io);
    struct world *world = node->world;
    unsigned to = (unsigned)message->server_id - 1;
    if (node->send_fails != 0) {
        int code = node->send_fails;
        node->send_fails = 0;
        return code;
    }
    struct sent *sent = world_take(sizeof *sent);
    *sent = (struct sent){request, cb, 0};
    world_push(world, world->now_ms + world->options.sent_ms, WORLD_SENT, node, sent);
    if (message->server_id == 0 || message->server_address == NULL) {
        checkers_violation(&world->checkers, "node %u sends a message of type %u to nobody",
                           node->number + 1, message->type);
        return 0;
    }
    if (to >= world->options.nodes)
        return 0; /* a member that does not exist yet */
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        if (node->send_status == 0) {
            post_entries(node, to, message);
        } else {
            sent->status = node->send_status;
            node->send_status = 0;
        }
    } else {
        post(world, to, pack(node->number, message, 0, 0));
    }
    return 0;
}

static void deliver(struct world_node *node, const struct packet *packet)
{
    struct world *world = node->world;
    struct raft_message message = packet->message;
    char address[24];
    snprintf(address, sizeof address, "%u", packet->from + 1);
    message.server_id = packet->from + 1;
    message.server_address = address;
    world_mix(world, (uint64_t)packet->from << 16 | (uint64_t)node->number << 8 | message.type);
    if (message.type == RAFT_IO_APPEND_ENTRIES) {
        unsigned count = node->strip_entries ? 0 : packet->count;
        message.append_entries.n_entries = count;
        message.append_entries.entries = world_unpack_entries(packet->entries, count);
        node->entries_received += count;
        world_mix(world, message.append_entries.prev_log_index << 8 | count);
    }
    if (message.type == RAFT_IO_APPEND_ENTRIES_RESULT)
        world_mix(world, message.append_entries_result.last_log_index);
    if (message.type == RAFT_IO_INSTALL_SNAPSHOT) {
        struct raft_install_snapshot *install = &message.install_snapshot;
        world_build_configuration(&install->conf, packet->servers, packet->ids, packet->roles);
        install->data.len = sizeof packet->content;
        install->data.base =
            memcpy(raft_malloc(sizeof packet->content), packet->content, sizeof packet->content);
        node->snapshots_received++;
    }
    node->recv(&node->io, &message);
}

/* ---------------------------------------------------------------- messages of puppets */

static void deliver_context(struct world_node *node, void *context)
{
    deliver(node, context);
}

static void deliver_now(struct world *world, unsigned to, struct packet *packet)
{
    world_within(world, to, deliver_context, packet);
    free(packet);
}

void world_deliver_append(struct world *world, unsigned from, unsigned to,
                          const struct world_append *append)
{
    struct packet *packet = world_take(sizeof *packet + append->count * sizeof packet->entries[0]);
    packet->from = from;
    packet->count = append->count;
    packet->message.type = RAFT_IO_APPEND_ENTRIES;
    packet->message.append_entries =
        (struct raft_append_entries){.term = append->term,
                                     .prev_log_index = append->previous_index,
                                     .prev_log_term = append->previous_term,
                                     .leader_commit = append->commit};
    for (unsigned i = 0; i < append->count; i++) {
        struct world_entry *entry = &packet->entries[i];
        uint64_t command = 1000 * append->terms[i] + append->previous_index + 1 + i;
        uint64_t words[2] = {command, ~command};
        *entry = (struct world_entry){
            .term = append->terms[i], .type = RAFT_COMMAND, .size = sizeof words};
        memcpy(entry->data, words, sizeof words);
    }
    deliver_now(world, to, packet);
}

void world_deliver_snapshot(struct world *world, unsigned from, unsigned to, raft_term term,
                            raft_index last_index, raft_term last_term)
{
    struct packet *packet = world_take(sizeof *packet);
    packet->from = from;
    packet->message.type = RAFT_IO_INSTALL_SNAPSHOT;
    packet->message.install_snapshot = (struct raft_install_snapshot){
        .term = term, .last_index = last_index, .last_term = last_term, .conf_index = 1};
    packet->servers = world->options.nodes;
    for (unsigned i = 0; i < packet->servers; i++) {
        packet->ids[i] = i + 1;
        packet->roles[i] = RAFT_VOTER;
    }
    packet->content[0] = last_index;
    deliver_now(world, to, packet);
}

void world_deliver_vote_request(struct world *world, unsigned from, unsigned to,
                                const struct world_vote *vote)
{
    struct packet *packet = world_take(sizeof *packet);
    packet->from = from;
    packet->message.type = RAFT_IO_REQUEST_VOTE;
    packet->message.request_vote = (struct raft_request_vote){.term = vote->term,
                                                              .candidate_id = from + 1,
                                                              .last_log_index = vote->last_index,
                                                              .last_log_term = vote->last_term,
                                                              .disrupt_leader = vote->disrupts,
                                                              .pre_vote = vote->pre_vote};
    deliver_now(world, to, packet);
}

void world_deliver_vote(struct world *world, unsigned from, unsigned to, raft_term term,
                        bool pre_vote)
{
    struct packet *packet = world_take(sizeof *packet);
    packet->from = from;
    packet->message.type = RAFT_IO_REQUEST_VOTE_RESULT;
    packet->message.request_vote_result = (struct raft_request_vote_result){
        .term = term,
        .vote_granted = true,
        .pre_vote = pre_vote ? raft_tribool_true : raft_tribool_false};
    deliver_now(world, to, packet);
}

void world_deliver_result(struct world *world, unsigned from, unsigned to, raft_term term,
                          raft_index rejected, raft_index last_index)
{
    struct packet *packet = world_take(sizeof *packet);
    packet->from = from;
    packet->message.type = RAFT_IO_APPEND_ENTRIES_RESULT;
    packet->message.append_entries_result = (struct raft_append_entries_result){
        .term = term, .rejected = rejected, .last_log_index = last_index};
    deliver_now(world, to, packet);
}

/* ------------------------------------------------------------------------- events */

void world_io_event(struct world_node *node, enum world_event_type type, void *payload)
{
    struct world *world = node->world;
    if (type == WORLD_MESSAGE) {
        struct packet *packet = payload;
        if (!world->cut[packet->from][node->number])
            deliver(node, packet);
    } else if (type == WORLD_SENT) {
        struct sent *sent = payload;
        const char *request = (const char *)sent->request;
        if (request >= world->forbidden.begin && request < world->forbidden.end)
            checkers_violation(&world->checkers, "node %u gave away memory that is freed",
                               node->number + 1);
        else if (sent->cb != NULL)
            sent->cb(sent->request, sent->status);
    } else if (type == WORLD_DISK) {
        world_disk_event(node);
    } else if (type == WORLD_SNAPSHOT_GET) {
        world_snapshot_event(node, payload);
    }
    free(payload);
}

void world_io_drop(enum world_event_type type, void *payload)
{
    (void)type;
    free(payload);
}

static void cancel_sent(struct sent *sent)
{
    if (sent->cb != NULL)
        sent->cb(sent->request, RAFT_CANCELED);
    free(sent);
}

static void cancel_sends(struct world_node *node)
{
    struct world *world = node->world;
    for (size_t i = 0; i < world->heap_count; i++) {
        void *sent = world_take_sent(world, i, node);
        if (sent != NULL)
            cancel_sent(sent);
    }
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io, (void)id, (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    world_cancel_operations(world_node_of(io));
    cancel_sends(world_node_of(io));
    cb(io);
}

static int io_start(struct raft_io *io, unsigned tick_ms, raft_io_tick_cb tick,
                    raft_io_recv_cb recv)
{
    struct world_node *node = world_node_of(io);
    node->tick = tick;
    node->recv = recv;
    if (!node->world->options.exact)
        world_push(node->world, node->world->now_ms + tick_ms, WORLD_TICK, node, NULL);
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return world_node_of(io)->world->now_ms;
}

static int io_random(struct raft_io *io, int low, int high)
{
    struct world_node *node = world_node_of(io);
    if (node->world->options.random)
        return (int)world_draw(node->world, (uint64_t)low, (uint64_t)high);
    return low + (int)node->patience_ms < high ? low + (int)node->patience_ms : high;
}

struct raft_io world_io(void)
{
    struct raft_io io = {.version = 1,
                         .init = io_init,
                         .close = io_close,
                         .start = io_start,
                         .send = io_send,
                         .time = io_time,
                         .random = io_random};
    world_disk_io(&io);
    return io;
}
