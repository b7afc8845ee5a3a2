/*
 * Loss: of a message's packets each is lost by its own coin. Where others follow it, the receiver's
 * duplicate acknowledgements have it sent again after about one round trip; a last one waits for
 * the timer, 200 ms and twice that each time (RFC 6298, Linux's minimum). A connection whose packet
 * was not through by when pings fail breaks. Acknowledgements are cumulative: losing them costs
 * nothing that matters here.
 *
 * Disorder: every lane wanders behind by a lag of its own, so that what was sent later on another
 * lane, or by somebody else, comes first. Within a lane the order stays.
 *
 * Two connections: `from` is told that its lane is down and dials again; messages under way are
 * kept as `late` and come out of the old connection for as long as the receiver takes it for the
 * lane's. So the sender may send again what the receiver gets as well.
 */
#include "chaos/sim/network_weather.h"

#include "chaos/sim/network_internal.h"

#include <stdlib.h>
#include <string.h>

#define PACKET_BYTES      1400
#define PACKETS_DRAWN_MAX 32
#define RETRANSMIT_NS     (200 * NS_PER_MS)
#define LINGER_NS         (80 * NS_PER_MS)

void network_weather_set(struct network *network, uint32_t from, uint32_t to,
                         const struct weather *weather)
{
    network->weather[from][to] = *weather;
    network->rough[from][to] = true;
    world_note(network->world, "weather", from * 100 + to, weather->loss_per_mille,
               weather->ns_per_byte);
}

void network_weather_clear(struct network *network, uint32_t from, uint32_t to)
{
    if (!network->rough[from][to])
        return;
    network->rough[from][to] = false;
    memset(&network->weather[from][to], 0, sizeof network->weather[from][to]);
    world_note(network->world, "fair", from * 100 + to, 0, 0);
    /* What a slow line had queued goes out at once. */
    for (int lane = 0; lane < TRANSPORT_LANE_COUNT; lane++)
        network_channel_relieve(&network->channels[from][to][lane]);
}

/* Of one packet, until it is through. */
static uint64_t loss_delay(struct channel *channel, uint32_t per_mille, bool others_follow)
{
    struct network *network = channel->network;
    uint64_t delay_ns = 0, timer_ns = RETRANSMIT_NS;
    while (delay_ns < PING_MAX_NS && draw_chance(&network->draw, per_mille, 1000)) {
        if (others_follow && delay_ns == 0) {
            delay_ns += network_latency(network, channel->from, channel->to) +
                        network_latency(network, channel->to, channel->from);
        } else {
            delay_ns += timer_ns;
            timer_ns *= 2;
        }
    }
    return delay_ns;
}

uint64_t network_weather_delay(struct channel *channel, size_t size)
{
    struct network *network = channel->network;
    const struct weather *weather = &network->weather[channel->from][channel->to];
    uint64_t delay_ns = 0;
    if (weather->disorder_ns > 0 && draw_chance(&network->draw, 1, 8))
        channel->lag_ns = draw_below(&network->draw, weather->disorder_ns);
    if (weather->loss_per_mille > 0) {
        uint64_t packets = 1 + size / PACKET_BYTES;
        if (packets > PACKETS_DRAWN_MAX)
            packets = PACKETS_DRAWN_MAX;
        for (uint64_t i = 0; i < packets; i++) {
            const uint64_t one = loss_delay(channel, weather->loss_per_mille, i + 1 < packets);
            if (one > delay_ns)
                delay_ns = one;
        }
        const uint64_t patience_ns = draw_between(&network->draw, PING_MIN_NS, PING_MAX_NS);
        if (delay_ns > patience_ns)
            world_post(network->world, network->world->now_ns + patience_ns, network_was_reset,
                       channel, channel->generation, 0);
    }
    return delay_ns + (weather->disorder_ns > 0 ? channel->lag_ns : 0);
}

bool network_weather_refuses(struct channel *channel)
{
    struct network *network = channel->network;
    const uint32_t loss = network->weather[channel->from][channel->to].loss_per_mille +
                          network->weather[channel->to][channel->from].loss_per_mille;
    /* Three round trips make a connection, and one packet lost on the way costs a second. */
    return loss > 0 && draw_chance(&network->draw, 3 * loss < 950 ? 3 * loss : 950, 1000);
}

/* ---- two connections at once ---- */

static void deliver_late(void *context, uint64_t generation, uint64_t unused)
{
    (void)unused;
    struct channel *channel = context;
    struct network *network = channel->network;
    struct network_host *to = &network->hosts[channel->to];
    const struct channel *back = &network->channels[channel->to][channel->from][channel->lane];
    struct message *message = channel->late;
    if (generation != channel->generation || channel->up || message == NULL)
        return; /* made again, or broken once more */
    const uint64_t now = network->world->now_ns;
    if (!back->up || !to->running || to->silent || network->cut[channel->from][channel->to]) {
        channel->late = NULL; /* the receiver has noticed, or nothing gets there any more */
        while (message != NULL) {
            struct message *next = message->next;
            free(message);
            message = next;
        }
        return;
    }
    uint64_t at_ns = message->at_ns;
    if (at_ns < to->busy_until_ns)
        at_ns = to->busy_until_ns;
    if (now < at_ns) {
        world_post(network->world, at_ns, deliver_late, channel, generation, 0);
        return;
    }
    channel->late = message->next;
    network->late_total++;
    world_note(network->world, "late message", channel->from * 100u + channel->to, channel->lane,
               message->size);
    if (channel->late != NULL)
        world_post(network->world, now, deliver_late, channel, generation, 0);
    to->sink.message(to->sink.context, channel->late_node_id, channel->lane, message + 1,
                     message->size);
    to->left(to->left_context);
    free(message);
}

/* What is on the way goes on by itself, and the sender makes a new connection. */
static void make_again(void *context, uint64_t generation, uint64_t unused)
{
    (void)unused;
    struct channel *channel = context;
    struct network *network = channel->network;
    const uint32_t from = channel->from, to = channel->to;
    struct channel *back = &network->channels[to][from][channel->lane];
    if (generation != channel->generation || !channel->up || !back->up || channel->first == NULL)
        return;
    channel->late = channel->first;
    channel->late_node_id = network->hosts[from].self.node_id;
    channel->first = channel->last = NULL;
    network_break(channel, true);
    if (channel->late == NULL)
        return; /* the sender has ended over it */
    world_post(network->world, channel->late->at_ns, deliver_late, channel, channel->generation, 0);
    world_post(network->world,
               network->world->now_ns + network_latency(network, from, to) +
                   draw_below(&network->draw, LINGER_NS),
               network_was_reset, back, back->generation, 0);
}

void network_weather_duplicate(struct channel *channel)
{
    struct network *network = channel->network;
    channel->twice = false;
    world_post(network->world,
               network->world->now_ns +
                   draw_below(&network->draw, network->latency_ns[channel->from][channel->to]),
               make_again, channel, channel->generation, 0);
}
