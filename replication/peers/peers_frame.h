/*
 * Frames on a connection between peers, and taking them out of a stream of bytes. Pure: no I/O, no
 * clock. Drawn in docs/formats/peer.md.
 *
 *   0  u32 size   of the body
 *   4  u16 kind   enum peers_frame_kind
 *   6  u16 zero
 *   8  body
 */
#ifndef TALLY_REPLICATION_PEERS_FRAME_H
#define TALLY_REPLICATION_PEERS_FRAME_H

#include "core/status.h"
#include "net/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum peers_frame_kind {
    PEERS_FRAME_HELLO = 1, /* dialler's first */
    PEERS_FRAME_WELCOME,   /* acceptor's answer */
    PEERS_FRAME_REFUSAL,   /* either side's last */
    PEERS_FRAME_MESSAGE,   /* dialler to acceptor */
    PEERS_FRAME_PING,      /* either way, without body */
    PEERS_FRAME_KIND_END
};

#define PEERS_FRAME_HEADER_SIZE 8

struct peers_frame {
    enum peers_frame_kind kind;
    uint32_t size;
    const uint8_t *body; /* 8-aligned; borrowed until the next call for its reader */
};

struct peers_frame_reader {
    /* Bodies above this are refused: small until the peer is known. */
    uint32_t body_size_max;
    /* ---- ours ---- */
    uint8_t *buffer; /* one frame */
    size_t capacity, used;
    bool taken; /* the frame in the buffer was given out */
};

void peers_frame_reader_init(struct peers_frame_reader *reader, uint32_t body_size_max);
void peers_frame_reader_deinit(struct peers_frame_reader *reader);

/* Takes bytes up to the end of one frame and advances *bytes and *size behind them. *out_complete:
 * `out_frame` is one; call again for as long as bytes are left. STATUS_INVALID with the reason: no
 * frame of ours, the connection is of no use any more. STATUS_NO_MEMORY likewise. */
enum status peers_frame_read(struct peers_frame_reader *reader, const uint8_t **bytes, size_t *size,
                             struct peers_frame *out_frame, bool *out_complete,
                             struct net_error *out_error);

void peers_frame_header(uint8_t out[PEERS_FRAME_HEADER_SIZE], enum peers_frame_kind kind,
                        uint32_t size);

#endif
