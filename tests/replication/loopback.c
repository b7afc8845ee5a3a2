/* See loopback.h. A link is up while both ends run, no cut is between them, and neither knows the
 * other's id under another incarnation: what the handshake of the real transport decides. */
#include "tests/replication/loopback.h"

#include "tests/replication/pump.h"

#include <stdlib.h>
#include <string.h>

static struct loopback_end *end_of(struct transport *transport)
{
    return (struct loopback_end *)transport;
}

static void drop_queue(struct loopback_end *end, uint64_t to)
{
    struct loopback_message **link = &end->first;
    while (*link != NULL) {
        struct loopback_message *message = *link;
        if (to != 0 && message->to != to) {
            link = &message->next;
            continue;
        }
        *link = message->next;
        end->queued[message->to - 1][message->lane] -= message->size;
        free(message);
    }
    end->end = link;
}

static enum status loopback_start(struct transport *transport, const struct transport_self *self,
                                  const struct transport_sink *sink)
{
    struct loopback_end *end = end_of(transport);
    require(!end->started, "started twice");
    require(self->node_id == end->id, "another node's transport");
    end->self = *self;
    end->sink = *sink;
    end->member_count = 0;
    end->started = true;
    return STATUS_OK;
}

static void loopback_members(struct transport *transport, const struct member *members,
                             uint32_t count)
{
    struct loopback_end *end = end_of(transport);
    require(end->started, "members of a stopped transport");
    require(count <= MEMBERS_MAX, "too many");
    memcpy(end->members, members, count * sizeof *members);
    end->member_count = count;
}

static size_t loopback_room(const struct transport *transport, uint64_t to,
                            enum transport_lane lane)
{
    const struct loopback_end *end = (const struct loopback_end *)transport;
    if (to == 0 || to > LOOPBACK_NODES_MAX || !end->up[to - 1])
        return 0;
    size_t queued = end->queued[to - 1][lane];
    return queued < TRANSPORT_QUEUE_BYTES_MAX ? TRANSPORT_QUEUE_BYTES_MAX - queued : 0;
}

static enum status loopback_send(struct transport *transport, uint64_t to, enum transport_lane lane,
                                 const struct transport_part *parts, uint32_t count)
{
    struct loopback_end *end = end_of(transport);
    if (to == 0 || to > LOOPBACK_NODES_MAX)
        return STATUS_NOT_FOUND;
    if (!end->started || !end->up[to - 1])
        return STATUS_UNAVAILABLE;
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += parts[i].size;
    if (size == 0 || size > TRANSPORT_MESSAGE_SIZE_MAX)
        return STATUS_INVALID;
    if (loopback_room(transport, to, lane) < size)
        return STATUS_BUSY;
    struct loopback_message *message = malloc(sizeof *message + size);
    require(message != NULL, "no memory");
    *message = (struct loopback_message){.to = to, .lane = lane, .size = size};
    uint8_t *out = (uint8_t *)message->bytes;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(out, parts[i].bytes, parts[i].size);
        out += parts[i].size;
    }
    *end->end = message;
    end->end = &message->next;
    end->queued[to - 1][lane] += size;
    return STATUS_OK;
}

static void loopback_stop(struct transport *transport)
{
    struct loopback_end *end = end_of(transport);
    end->started = false;
    drop_queue(end, 0);
    memset(end->up, 0, sizeof end->up);
    for (int i = 0; i < LOOPBACK_NODES_MAX; i++)
        end->net->ends[i].ended[end->id - 1] = true;
}

static const struct transport_operations loopback_operations = {
    .start = loopback_start,
    .members = loopback_members,
    .send = loopback_send,
    .room = loopback_room,
    .stop = loopback_stop,
};

void loopback_init(struct loopback *net)
{
    memset(net, 0, sizeof *net);
    for (uint64_t i = 0; i < LOOPBACK_NODES_MAX; i++) {
        struct loopback_end *end = &net->ends[i];
        end->base.operations = &loopback_operations;
        end->net = net;
        end->id = i + 1;
        end->end = &end->first;
    }
}

void loopback_deinit(struct loopback *net)
{
    for (int i = 0; i < LOOPBACK_NODES_MAX; i++)
        drop_queue(&net->ends[i], 0);
}

struct transport *loopback_transport(struct loopback *net, uint64_t id)
{
    return &net->ends[id - 1].base;
}

void loopback_cut(struct loopback *net, uint64_t a, uint64_t b, bool cut)
{
    net->cut[a - 1][b - 1] = net->cut[b - 1][a - 1] = cut;
}

void loopback_isolate(struct loopback *net, uint64_t id, bool cut)
{
    for (uint64_t other = 1; other <= LOOPBACK_NODES_MAX; other++)
        if (other != id)
            loopback_cut(net, id, other, cut);
}

void loopback_kill(struct loopback *net, uint64_t id)
{
    loopback_stop(&net->ends[id - 1].base);
}

static bool accepts(const struct loopback_end *end, const struct loopback_end *peer)
{
    if (memcmp(end->self.cluster_id, peer->self.cluster_id, sizeof end->self.cluster_id) != 0)
        return false;
    for (uint32_t i = 0; i < end->member_count; i++)
        if (end->members[i].node_id == peer->id)
            return memcmp(end->members[i].incarnation, peer->self.incarnation, 16) == 0;
    return true; /* a stranger */
}

static bool should_be_up(const struct loopback *net, const struct loopback_end *a,
                         const struct loopback_end *b)
{
    if (!a->started || !b->started || net->cut[a->id - 1][b->id - 1])
        return false;
    return accepts(a, b) && accepts(b, a);
}

/* Both ends learn of a change before anything is delivered over the link. */
static bool turn_links(struct loopback *net)
{
    bool changed = false;
    for (int i = 0; i < LOOPBACK_NODES_MAX; i++) {
        for (int j = 0; j < LOOPBACK_NODES_MAX; j++) {
            struct loopback_end *a = &net->ends[i], *b = &net->ends[j];
            bool up = i != j && should_be_up(net, a, b) && !a->ended[j];
            a->ended[j] = false;
            if (!a->started || a->up[j] == up)
                continue;
            changed = true;
            if (!up)
                drop_queue(a, b->id);
            a->up[j] = up;
            for (int lane = 0; lane < TRANSPORT_LANE_COUNT && a->started; lane++)
                a->sink.link(a->sink.context, b->id, (enum transport_lane)lane, up);
        }
    }
    return changed;
}

static bool turn_messages(struct loopback *net, struct loopback_end *end)
{
    struct loopback_message *queue = end->first;
    end->first = NULL;
    end->end = &end->first;
    bool some = queue != NULL;
    while (queue != NULL) {
        struct loopback_message *message = queue;
        queue = message->next;
        end->queued[message->to - 1][message->lane] -= message->size;
        struct loopback_end *to = &net->ends[message->to - 1];
        if (to->started && to->up[end->id - 1] && !net->cut[end->id - 1][to->id - 1]) {
            net->carried[message->lane]++;
            to->sink.message(to->sink.context, end->id, message->lane, message->bytes,
                             message->size);
        }
        free(message);
    }
    return some;
}

bool loopback_turn(struct loopback *net)
{
    bool some = turn_links(net);
    for (int i = 0; i < LOOPBACK_NODES_MAX; i++)
        some |= turn_messages(net, &net->ends[i]);
    return some;
}
