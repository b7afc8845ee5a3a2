/*
 * Bad weather between hosts, as a transport over TCP and TLS has it: a lost packet is sent again
 * and everything behind it waits; where it is lost again and again, the connection breaks by its
 * pings. Bytes never come twice or in another order within a connection; but connections overtake
 * each other, and one may be made again while its predecessor still delivers.
 */
#ifndef TALLY_CHAOS_SIM_NETWORK_WEATHER_H
#define TALLY_CHAOS_SIM_NETWORK_WEATHER_H

#include "chaos/sim/network.h"

/* From now on, for what is sent; what the weather had before is gone. */
void network_weather_set(struct network *network, uint32_t from, uint32_t to,
                         const struct weather *weather);
void network_weather_clear(struct network *network, uint32_t from, uint32_t to);

/* How much later a message of that size arrives; may post the end of its connection. */
uint64_t network_weather_delay(struct channel *channel, size_t size);
/* Whether the packets that make a connection are lost, this time. */
bool network_weather_refuses(struct channel *channel);

/* With its next message the sender takes the connection for broken and makes a new one; what it had
 * sent is delivered nevertheless, until the other end hears of the new one. */
static inline void network_weather_arm(struct network *network, uint32_t from, uint32_t to,
                                       enum transport_lane lane)
{
    network->channels[from][to][lane].twice = true;
}
/* That message is being sent. */
void network_weather_duplicate(struct channel *channel);

#endif
