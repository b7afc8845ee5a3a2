/*
 * The bodies of catch-up's messages (message.h), as bytes and as values. Decoders are total: any
 * bytes give a value or `false`. docs/formats/peer.md draws them.
 */
#ifndef TALLY_REPLICATION_CATCH_UP_MESSAGE_H
#define TALLY_REPLICATION_CATCH_UP_MESSAGE_H

#include "replication/message.h"
#include "replication/transport.h"

#include "storage/journal.h"

#include <stdbool.h>

/* Pieces of a store are of this size, but for the last; what one DATA carries at most. */
#define CATCH_UP_PIECE_SIZE   (1024u * 1024)
#define CATCH_UP_DATA_MAX     (CATCH_UP_PIECE_SIZE + 32u * 1024)
#define CATCH_UP_ENTRIES_MAX  2048 /* of the journal in one DATA */
#define CATCH_UP_CHECK_SIZE   32
#define CATCH_UP_MESSAGE_SIZE 4096 /* all but DATA fit */

/* Leader: whoever has entry log_index, of log_term, gets all that follows from memory. */
struct catch_up_offer {
    uint64_t term;
    uint64_t log_index, log_term;
    uint64_t durable_index;
};

/* Peer: the journal is synced up to `index`; 0: gave up. `term`: of the offer it answers, or 0. */
struct catch_up_done {
    uint64_t term;
    uint64_t index;
};

enum catch_up_want {
    CATCH_UP_WHOLE = 1,  /* a store (a witness: none) and the journal behind it */
    CATCH_UP_FROM = 2,   /* the journal behind (index, term, check = chain head); offset: where
                          * the member's state gets by itself */
    CATCH_UP_RESUME = 3, /* go on with `session` at `offset` of the store, check = chain there */
};
struct catch_up_open {
    uint32_t want;
    uint32_t kind; /* enum member_kind of who asks */
    uint64_t session;
    uint64_t offset;
    uint64_t index, term;
    uint8_t check[CATCH_UP_CHECK_SIZE];
};

/* status other than STATUS_OK: nothing was opened, the rest is zero. BUSY: too many already;
 * NOT_FOUND: what was asked for is not there (any more); STORE_AHEAD: it lies above what the server
 * knows to be committed; WRONG_CLUSTER: another history; PERMISSION: nothing was offered; others:
 * it could not be read. */
struct catch_up_opened {
    uint32_t status;
    uint64_t session;
    uint64_t store_size; /* 0: no store follows */
    uint64_t index, term;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint32_t configuration_size;
    const void *configuration; /* decoded: into the message */
};

enum catch_up_what {
    CATCH_UP_NOTHING = 0, /* only: I am still here */
    CATCH_UP_STORE = 1,
    CATCH_UP_JOURNAL = 2,
};
/* One piece, the next in order; `position` of the store is told to catch mistakes. */
struct catch_up_read {
    uint64_t session;
    uint32_t what;
    uint64_t position;
};

struct catch_up_data {
    uint64_t session;
    uint32_t what;
    uint32_t size; /* of the bytes that follow */
    /* Store: offset, and chain over all pieces up to this one. Journal: index before the first
     * entry, and chain head after the last one. */
    uint64_t position;
    uint8_t check[CATCH_UP_CHECK_SIZE];
    uint64_t commit_index; /* the server's, now */
    uint64_t needed_index; /* behind this entry its log in memory goes on */
    uint32_t at_end;       /* there was nothing more when this was read */
    uint64_t leader_term;  /* the server leads in this term, and has it all in its log; 0: it does
                              not lead */
};

struct catch_up_close {
    uint64_t session;
    uint32_t status;
};

/* Each returns the message's size; `out` has room for CATCH_UP_MESSAGE_SIZE. */
size_t catch_up_offer_encode(const struct catch_up_offer *offer, uint8_t *out);
size_t catch_up_done_encode(const struct catch_up_done *done, uint8_t *out);
size_t catch_up_open_encode(const struct catch_up_open *open, uint8_t *out);
size_t catch_up_opened_encode(const struct catch_up_opened *opened, uint8_t *out);
size_t catch_up_read_encode(const struct catch_up_read *read, uint8_t *out);
size_t catch_up_close_encode(const struct catch_up_close *close, uint8_t *out);
/* Writes CATCH_UP_DATA_HEAD_SIZE bytes before the data->size bytes that are in place already, and
 * zeros behind them; the whole message's size is returned. */
#define CATCH_UP_DATA_HEAD_SIZE    96
#define CATCH_UP_DATA_MESSAGE_SIZE (CATCH_UP_DATA_HEAD_SIZE + CATCH_UP_DATA_MAX)
size_t catch_up_data_encode(const struct catch_up_data *data, uint8_t *out);

/* `bytes` begin with a message_header whose size is `size`. Pointers lie in `bytes`. */
bool catch_up_offer_decode(const uint8_t *bytes, size_t size, struct catch_up_offer *out);
bool catch_up_done_decode(const uint8_t *bytes, size_t size, struct catch_up_done *out);
bool catch_up_open_decode(const uint8_t *bytes, size_t size, struct catch_up_open *out);
bool catch_up_opened_decode(const uint8_t *bytes, size_t size, struct catch_up_opened *out);
bool catch_up_read_decode(const uint8_t *bytes, size_t size, struct catch_up_read *out);
bool catch_up_data_decode(const uint8_t *bytes, size_t size, struct catch_up_data *out,
                          const uint8_t **out_bytes);
bool catch_up_close_decode(const uint8_t *bytes, size_t size, struct catch_up_close *out);

/* ---- entries inside of a DATA of the journal ---- */

/* Bytes that an entry takes. */
size_t catch_up_entry_size(uint32_t payload_size);
void catch_up_entry_encode(const struct journal_entry *entry, uint8_t *out);
/* All of them, borrowed from `bytes` (8-aligned); they follow each other from `after` + 1 on, terms
 * never fall below `term`. False: they do not, or something else is wrong. */
bool catch_up_entries_decode(const uint8_t *bytes, size_t size, uint64_t after, uint64_t term,
                             struct journal_entry out[CATCH_UP_ENTRIES_MAX], uint32_t *out_count);

#endif
