/* What the files of the network share. */
#ifndef TALLY_CHAOS_SIM_NETWORK_INTERNAL_H
#define TALLY_CHAOS_SIM_NETWORK_INTERNAL_H

#include "chaos/sim/network.h"

#define PING_MIN_NS (1000 * NS_PER_MS)
#define PING_MAX_NS (1500 * NS_PER_MS)
#define NS_PER_BYTE 10 /* 100 MB/s */

uint64_t network_latency(struct network *network, uint32_t from, uint32_t to);
/* `told`: the sender lives and is told. With `late` messages the other end is not. */
void network_break(struct channel *channel, bool told);
/* What waits for a slow line or a host that was deaf goes out now. */
void network_channel_relieve(struct channel *channel);
/* An event: the channel of that generation breaks. */
void network_was_reset(void *context, uint64_t generation, uint64_t unused);

static inline uint64_t network_ns_per_byte(const struct channel *channel)
{
    const struct network *network = channel->network;
    const uint32_t slow = network->weather[channel->from][channel->to].ns_per_byte;
    return slow == 0 ? NS_PER_BYTE : slow;
}

#endif
