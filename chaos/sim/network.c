/*
 * Channels, and who may speak with whom.
 *
 * A lane is up in both directions or in none, as with the real transport; when one side notices its
 * end, the other one hears of it a little later, or by its own pings.
 *
 * A dial succeeds when both sides run, neither direction is cut, the sender's table names the
 * receiver by the id and incarnation that it has, and the receiver's table is empty or names the
 * sender likewise. Exactly what the handshake of the real transport checks.
 *
 * Events carry the channel's generation; a break makes everything posted before it stale.
 */
#include "chaos/sim/network_internal.h"
#include "chaos/sim/network_weather.h"
#include "core/invariant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIAL_PAUSE_MIN_NS (20 * NS_PER_MS)
#define DIAL_PAUSE_MAX_NS (500 * NS_PER_MS)
#define RESEND_MAX_NS     (200 * NS_PER_MS)
#define LOOK_AGAIN_NS     (50 * NS_PER_MS)

static struct network_host *host_of(struct transport *transport)
{
    return (struct network_host *)(void *)transport;
}

static const struct network_host *const_host_of(const struct transport *transport)
{
    return (const struct network_host *)(const void *)transport;
}

void network_address(uint32_t host, char out[MEMBER_ADDRESS_SIZE_MAX + 1])
{
    snprintf(out, MEMBER_ADDRESS_SIZE_MAX + 1, "10.0.0.%u:7402", host + 1);
}

static uint32_t host_at(const struct network *network, const char *address)
{
    unsigned host = 0;
    if (sscanf(address, "10.0.0.%u:", &host) != 1 || host == 0 || host > network->host_count)
        return HOSTS_MAX;
    return host - 1;
}

static bool is_cut(const struct network *network, uint32_t a, uint32_t b)
{
    return network->cut[a][b] || network->cut[b][a];
}

uint64_t network_latency(struct network *network, uint32_t from, uint32_t to)
{
    const uint64_t base = network->latency_ns[from][to];
    return base + draw_below(&network->draw, base * network->jitter_percent / 100 + 1);
}

/* ---- members ---- */

static const struct member *member_at(const struct network_host *host, uint32_t number)
{
    for (uint32_t i = 0; i < host->member_count; i++)
        if (host->members[i].node_id != host->self.node_id &&
            host_at(host->network, host->members[i].address) == number)
            return &host->members[i];
    return NULL;
}

static const struct member *member_with_id(const struct network_host *host, uint64_t node_id)
{
    for (uint32_t i = 0; i < host->member_count; i++)
        if (host->members[i].node_id == node_id)
            return &host->members[i];
    return NULL;
}

static bool accepts(const struct network_host *host, const struct transport_self *peer)
{
    if (memcmp(host->self.cluster_id, peer->cluster_id, sizeof peer->cluster_id) != 0)
        return false;
    if (host->self.cluster_epoch != peer->cluster_epoch || host->self.node_id == peer->node_id)
        return false;
    const struct member *member = member_with_id(host, peer->node_id);
    return member == NULL ||
           memcmp(member->incarnation, peer->incarnation, sizeof peer->incarnation) == 0;
}

/* Whether `from` would dial `to` at all. A host that was never added waits to be dialled. */
static bool wants(const struct network *network, const struct channel *channel)
{
    const struct network_host *from = &network->hosts[channel->from];
    return from->running && member_at(from, channel->to) != NULL;
}

static bool may_speak(const struct network *network, const struct channel *channel)
{
    const struct network_host *from = &network->hosts[channel->from];
    const struct network_host *to = &network->hosts[channel->to];
    if (!wants(network, channel) || !to->running || to->silent ||
        is_cut(network, channel->from, channel->to))
        return false;
    return accepts(from, &to->self) && accepts(to, &from->self);
}

/* ---- breaking and dialling ---- */

static void dial_later(struct channel *channel);
static void hang_up(struct channel *channel);

static void drop_messages(struct message *message)
{
    while (message != NULL) {
        struct message *next = message->next;
        free(message);
        message = next;
    }
}

static void drop_queue(struct channel *channel)
{
    drop_messages(channel->first);
    channel->first = channel->last = NULL;
    channel->queued_bytes = 0;
    channel->refused = false;
    channel->delivering = false;
}

/* `told`: the sender lives and is told. */
void network_break(struct channel *channel, bool told)
{
    struct network *network = channel->network;
    struct network_host *from = &network->hosts[channel->from];
    const bool was_up = channel->up;
    channel->generation++;
    channel->up = false;
    channel->dialing = false;
    drop_queue(channel);
    if (!was_up)
        return;
    network->break_total++;
    channel->pause_ns = DIAL_PAUSE_MIN_NS;
    world_note(network->world, "link down", channel->from, channel->to, channel->lane);
    struct channel *back = &network->channels[channel->to][channel->from][channel->lane];
    if (back->up && channel->late == NULL)
        hang_up(back);
    if (told && from->running) {
        from->sink.link(from->sink.context, network->hosts[channel->to].self.node_id, channel->lane,
                        false);
        from->left(from->left_context);
        dial_later(channel);
    }
}

/* When to look again at a host that is deaf: it may hear again sooner than it seems. */
static uint64_t look_again(const struct network *network, uint64_t busy_until_ns)
{
    const uint64_t now = network->world->now_ns;
    if (busy_until_ns < now + NS_PER_MS)
        return busy_until_ns > now ? busy_until_ns : now + NS_PER_MS;
    return busy_until_ns < now + LOOK_AGAIN_NS ? busy_until_ns : now + LOOK_AGAIN_NS;
}

/* Up for both at once: a lane that is up speaks in both directions. */
static void bring_up(struct channel *channel)
{
    struct network *network = channel->network;
    struct network_host *from = &network->hosts[channel->from];
    channel->up = true;
    drop_messages(channel->late); /* the new connection has taken the place of the old one */
    channel->late = NULL;
    channel->pause_ns = DIAL_PAUSE_MIN_NS;
    channel->free_ns = network->world->now_ns;
    world_note(network->world, "link up", channel->from, channel->to, channel->lane);
    from->sink.link(from->sink.context, network->hosts[channel->to].self.node_id, channel->lane,
                    true);
    from->left(from->left_context);
}

static void dialled(void *context, uint64_t generation, uint64_t unused)
{
    (void)unused;
    struct channel *channel = context;
    struct network *network = channel->network;
    if (generation != channel->generation || channel->up)
        return;
    channel->dialing = false;
    if (!may_speak(network, channel) || network_weather_refuses(channel)) {
        dial_later(channel);
        return;
    }
    struct channel *back = &network->channels[channel->to][channel->from][channel->lane];
    uint64_t busy_until_ns = network->hosts[channel->from].busy_until_ns;
    if (network->hosts[channel->to].busy_until_ns > busy_until_ns)
        busy_until_ns = network->hosts[channel->to].busy_until_ns;
    if (network->world->now_ns < busy_until_ns || back->up) { /* deaf, or its end is not told yet */
        channel->dialing = true;
        world_post(network->world, look_again(network, busy_until_ns), dialled, channel, generation,
                   0);
        return;
    }
    bring_up(channel);
    bring_up(back);
}

static void dial_later(struct channel *channel)
{
    struct network *network = channel->network;
    if (channel->up || channel->dialing || !wants(network, channel))
        return;
    if (channel->pause_ns == 0)
        channel->pause_ns = DIAL_PAUSE_MIN_NS;
    const uint64_t pause = draw_between(&network->draw, channel->pause_ns / 2, channel->pause_ns);
    channel->pause_ns =
        2 * channel->pause_ns > DIAL_PAUSE_MAX_NS ? DIAL_PAUSE_MAX_NS : 2 * channel->pause_ns;
    channel->dialing = true;
    world_post(network->world,
               network->world->now_ns + pause +
                   3 * network_latency(network, channel->from, channel->to),
               dialled, channel, channel->generation, 0);
}

static void dial_all(struct network *network, uint32_t from)
{
    for (uint32_t to = 0; to < network->host_count; to++)
        for (int lane = 0; lane < TRANSPORT_LANE_COUNT && to != from; lane++)
            dial_later(&network->channels[from][to][lane]);
}

/* Pings were not answered since `cut_generation`, or since `generation` of the channel. */
static void pings_failed(void *context, uint64_t generation, uint64_t unused)
{
    (void)unused;
    struct channel *channel = context;
    const struct network *network = channel->network;
    /* The other end has closed, and only the word of it was swallowed. */
    const bool half = !network->channels[channel->to][channel->from][channel->lane].up;
    const bool dark = half || is_cut(network, channel->from, channel->to) ||
                      network->hosts[channel->to].silent || !network->hosts[channel->to].running;
    if (generation == channel->generation && channel->up && dark)
        network_break(channel, true);
}

static void watch_pings(struct channel *channel)
{
    struct network *network = channel->network;
    if (channel->up)
        world_post(network->world,
                   network->world->now_ns + draw_between(&network->draw, PING_MIN_NS, PING_MAX_NS),
                   pings_failed, channel, channel->generation, 0);
}

void network_was_reset(void *context, uint64_t generation, uint64_t unused)
{
    (void)unused;
    struct channel *channel = context;
    if (generation == channel->generation && channel->up)
        network_break(channel, true);
}

/* ---- delivering ---- */

static void deliver(void *context, uint64_t generation, uint64_t unused);

static void deliver_later(struct channel *channel, uint64_t at_ns)
{
    channel->delivering = true;
    world_post(channel->network->world, at_ns, deliver, channel, channel->generation, 0);
}

static void deliver(void *context, uint64_t generation, uint64_t unused)
{
    (void)unused;
    struct channel *channel = context;
    struct network *network = channel->network;
    if (generation != channel->generation)
        return;
    channel->delivering = false;
    struct network_host *to = &network->hosts[channel->to];
    struct message *message = channel->first;
    if (message == NULL || network->cut[channel->from][channel->to] || to->silent || !to->running)
        return; /* kept until the cut heals or the channel breaks */
    if (network->world->now_ns < message->at_ns) {
        deliver_later(channel, message->at_ns);
        return;
    }
    if (network->world->now_ns < to->busy_until_ns) {
        deliver_later(channel, look_again(network, to->busy_until_ns));
        return;
    }
    channel->first = message->next;
    if (channel->first == NULL)
        channel->last = NULL;
    channel->queued_bytes -= message->size;
    network->message_total++;
    network->byte_total += message->size;
    world_note(network->world, "message", channel->from * 100u + channel->to, channel->lane,
               message->size);
    if (channel->first != NULL)
        deliver_later(channel, channel->first->at_ns);
    to->sink.message(to->sink.context, network->hosts[channel->from].self.node_id, channel->lane,
                     message + 1, message->size);
    to->left(to->left_context);
    free(message);
    struct network_host *from = &network->hosts[channel->from];
    if (generation == channel->generation && channel->refused &&
        channel->queued_bytes < TRANSPORT_QUEUE_BYTES_MAX / 2 && from->running) {
        channel->refused = false;
        from->sink.writable(from->sink.context, to->self.node_id, channel->lane);
        from->left(from->left_context);
    }
}

/* ---- the transport ---- */

static struct channel *channel_to(struct network_host *host, uint64_t node_id,
                                  enum transport_lane lane)
{
    struct network *network = host->network;
    for (uint32_t to = 0; to < network->host_count; to++)
        if (to != host->number && network->hosts[to].self.node_id == node_id &&
            (network->channels[host->number][to][lane].up || member_with_id(host, node_id) != NULL))
            return &network->channels[host->number][to][lane];
    return NULL;
}

static enum status transport_start_virtual(struct transport *transport,
                                           const struct transport_self *self,
                                           const struct transport_sink *sink)
{
    struct network_host *host = host_of(transport);
    invariant(!host->running);
    host->self = *self;
    host->sink = *sink;
    host->member_count = 0;
    host->running = true;
    host->silent = false;
    return STATUS_OK;
}

static void transport_members_virtual(struct transport *transport, const struct member *members,
                                      uint32_t count)
{
    struct network_host *host = host_of(transport);
    struct network *network = host->network;
    invariant(count <= MEMBERS_MAX);
    memcpy(host->members, members, count * sizeof *members);
    host->member_count = count;
    for (uint32_t other = 0; other < network->host_count; other++)
        for (int lane = 0; lane < TRANSPORT_LANE_COUNT && other != host->number; lane++) {
            struct channel *out = &network->channels[host->number][other][lane];
            struct channel *in = &network->channels[other][host->number][lane];
            /* Told by an event: never inside a call of the transport. */
            if (out->up && !accepts(host, &network->hosts[other].self))
                world_post(network->world, 0, network_was_reset, out, out->generation, 0);
            if (in->up && !accepts(host, &network->hosts[other].self))
                world_post(network->world, 0, network_was_reset, in, in->generation, 0);
        }
    dial_all(network, host->number);
}

static enum status transport_send_virtual(struct transport *transport, uint64_t to,
                                          enum transport_lane lane,
                                          const struct transport_part *parts, uint32_t count)
{
    struct network_host *host = host_of(transport);
    struct network *network = host->network;
    struct channel *channel = channel_to(host, to, lane);
    if (channel == NULL)
        return STATUS_NOT_FOUND;
    if (!channel->up)
        return STATUS_UNAVAILABLE;
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += parts[i].size;
    if (size > TRANSPORT_MESSAGE_SIZE_MAX)
        return STATUS_INVALID;
    if (channel->queued_bytes + size > TRANSPORT_QUEUE_BYTES_MAX) {
        channel->refused = true;
        network->refused_total++;
        return STATUS_BUSY;
    }
    struct message *message = malloc(sizeof *message + size + 8);
    invariant(message != NULL);
    uint8_t *at = (uint8_t *)(message + 1);
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].size > 0)
            memcpy(at, parts[i].bytes, parts[i].size);
        at += parts[i].size;
    }
    const uint64_t now = network->world->now_ns + *host->ahead_ns;
    if (channel->free_ns < now)
        channel->free_ns = now;
    channel->free_ns += size * network_ns_per_byte(channel);
    *message = (struct message){
        .at_ns = channel->free_ns + network_latency(network, channel->from, channel->to),
        .size = (uint32_t)size,
    };
    if (channel->twice)
        network_weather_duplicate(channel);
    if (network->rough[channel->from][channel->to])
        message->at_ns += network_weather_delay(channel, size);
    if (channel->last != NULL && message->at_ns < channel->last->at_ns)
        message->at_ns = channel->last->at_ns;
    if (channel->last != NULL)
        channel->last->next = message;
    else
        channel->first = message;
    channel->last = message;
    channel->queued_bytes += size;
    if (channel->queued_bytes > host->queued_bytes_max)
        host->queued_bytes_max = channel->queued_bytes;
    if (!channel->delivering)
        deliver_later(channel, message->at_ns);
    return STATUS_OK;
}

static size_t transport_room_virtual(const struct transport *transport, uint64_t to,
                                     enum transport_lane lane)
{
    const struct network_host *host = const_host_of(transport);
    const struct channel *channel = channel_to(&host->network->hosts[host->number], to, lane);
    if (channel == NULL || !channel->up)
        return 0;
    return TRANSPORT_QUEUE_BYTES_MAX - channel->queued_bytes;
}

/* The receiver's side of a channel is gone: the sender hears of it, unless nothing gets through. */
static void hang_up(struct channel *channel)
{
    struct network *network = channel->network;
    if (!channel->up)
        return;
    if (is_cut(network, channel->from, channel->to) || network->hosts[channel->to].silent)
        watch_pings(channel);
    else
        world_post(network->world,
                   network->world->now_ns + network_latency(network, channel->to, channel->from),
                   network_was_reset, channel, channel->generation, 0);
}

static void transport_stop_virtual(struct transport *transport)
{
    struct network_host *host = host_of(transport);
    struct network *network = host->network;
    host->running = false;
    host->member_count = 0;
    for (uint32_t other = 0; other < network->host_count; other++)
        for (int lane = 0; lane < TRANSPORT_LANE_COUNT && other != host->number; lane++) {
            network_break(&network->channels[host->number][other][lane], false);
            hang_up(&network->channels[other][host->number][lane]);
        }
}

/* ---- faults ---- */

void network_set_cut(struct network *network, uint32_t from, uint32_t to, bool cut)
{
    if (network->cut[from][to] == cut)
        return;
    network->cut[from][to] = cut;
    world_note(network->world, cut ? "cut" : "heal", from, to, 0);
    world_tell(network->world, "    %s from host %u to host %u",
               cut ? "no packets get through" : "packets get through again", from, to);
    for (int lane = 0; lane < TRANSPORT_LANE_COUNT; lane++) {
        struct channel *channels[2] = {&network->channels[from][to][lane],
                                       &network->channels[to][from][lane]};
        for (int i = 0; i < 2; i++) {
            if (cut) {
                watch_pings(channels[i]);
            } else if (channels[i]->first != NULL && !channels[i]->delivering) {
                deliver_later(channels[i],
                              network->world->now_ns + draw_below(&network->draw, RESEND_MAX_NS));
            }
        }
    }
}

void network_reset(struct network *network, uint32_t a, uint32_t b)
{
    for (int lane = 0; lane < TRANSPORT_LANE_COUNT; lane++) {
        struct channel *channels[2] = {&network->channels[a][b][lane],
                                       &network->channels[b][a][lane]};
        for (int i = 0; i < 2; i++)
            if (channels[i]->up)
                world_post(network->world, network->world->now_ns, network_was_reset, channels[i],
                           channels[i]->generation, 0);
    }
}

void network_host_down(struct network *network, uint32_t host, bool silent)
{
    network->hosts[host].silent = silent;
    if (network->hosts[host].running)
        transport_stop_virtual(&network->hosts[host].transport);
}

void network_channel_relieve(struct channel *channel)
{
    struct network *network = channel->network;
    const uint64_t now = network->world->now_ns;
    const uint64_t at_ns = now + network_latency(network, channel->from, channel->to);
    if (channel->free_ns > now)
        channel->free_ns = now;
    for (struct message *m = channel->first; m != NULL; m = m->next)
        if (m->at_ns > at_ns)
            m->at_ns = at_ns;
    if (channel->first != NULL)
        deliver_later(channel, channel->first->at_ns);
}

void network_host_relieved(struct network *network, uint32_t host)
{
    for (uint32_t to = 0; to < network->host_count; to++)
        for (int lane = 0; lane < TRANSPORT_LANE_COUNT && to != host; lane++)
            network_channel_relieve(&network->channels[host][to][lane]);
}

void network_host_powered(struct network *network, uint32_t host)
{
    if (!network->hosts[host].silent)
        return;
    network->hosts[host].silent = false;
    for (uint32_t other = 0; other < network->host_count; other++)
        for (int lane = 0; lane < TRANSPORT_LANE_COUNT && other != host; lane++)
            hang_up(&network->channels[other][host][lane]);
}

/* ---- life ---- */

void network_init(struct network *network, struct world *world, uint32_t host_count)
{
    static const struct transport_operations operations = {
        .start = transport_start_virtual,
        .members = transport_members_virtual,
        .send = transport_send_virtual,
        .room = transport_room_virtual,
        .stop = transport_stop_virtual,
    };
    memset(network, 0, sizeof *network);
    network->world = world;
    network->draw = draw_stream(world->seed, 2000);
    network->host_count = host_count;
    network->jitter_percent = 50;
    for (uint8_t from = 0; from < host_count; from++) {
        network->hosts[from].transport.operations = &operations;
        network->hosts[from].network = network;
        network->hosts[from].number = from;
        for (uint8_t to = 0; to < host_count; to++)
            for (uint8_t lane = 0; lane < TRANSPORT_LANE_COUNT; lane++)
                network->channels[from][to][lane] =
                    (struct channel){.network = network, .from = from, .to = to, .lane = lane};
    }
}

void network_deinit(struct network *network)
{
    for (uint32_t from = 0; from < network->host_count; from++)
        for (uint32_t to = 0; to < network->host_count; to++)
            for (int lane = 0; lane < TRANSPORT_LANE_COUNT; lane++) {
                drop_queue(&network->channels[from][to][lane]);
                drop_messages(network->channels[from][to][lane].late);
            }
}
