/*
 * What all streams of one uv loop share: scratch buffers and the turn-wise admission of TLS
 * handshakes. One per server or client channel; the loop thread only.
 */
#ifndef TALLY_NET_LOOP_H
#define TALLY_NET_LOOP_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define TLS_RECORD_SIZE 16384 /* plaintext of one TLS record, its maximum */

struct stream;

struct net_loop {
    uv_loop_t *uv;
    uint8_t *input;  /* NET_INPUT_SIZE: what one read from a socket yields */
    uint8_t *plain;  /* TLS_RECORD_SIZE: one record decrypted */
    uint8_t *output; /* TLS_RECORD_SIZE: frames gathered into one record */

    /* Server handshakes cost 1.3 to 2 ms of CPU each: those with something to do stand in a queue,
     * and one turn of the loop takes at most handshakes_per_turn of them. */
    uint32_t handshakes_per_turn;
    struct stream *handshake_first, *handshake_last;
    uv_idle_t handshake_turn;

    void (*stopped)(void *context);
    void *stopped_context;
};

#define NET_INPUT_SIZE (64 * 1024)

/* STATUS_NO_MEMORY. After STATUS_OK, net_loop_stop is needed before the memory goes. */
enum status net_loop_init(struct net_loop *loop, uv_loop_t *uv);

/* All its streams are closed. cb fires once, from the loop. */
void net_loop_stop(struct net_loop *loop, void (*cb)(void *context), void *context);

#endif
