/* What twin.c and twin_record.c share: the one value that is a twin, and its records. */
#ifndef TALLY_CHAOS_SIM_TWIN_INTERNAL_H
#define TALLY_CHAOS_SIM_TWIN_INTERNAL_H

#include "chaos/sim/twin.h"

#include <pthread.h>

#define TWIN_MAGIC   0x4e49575459c4c4c1ull
#define RECORD_MAGIC 0x44524f4345524e54ull
#define TWIN_NONE    UINT32_MAX

struct twin_header {
    uint64_t magic;
    uint8_t cluster_id[16];
    uint64_t reserved[5];
};

struct twin_record {
    uint64_t magic;
    uint64_t size; /* of the whole record */
    uint64_t checksum;
    uint64_t number; /* of the epoch, from 0 */
    uint64_t applied_index, applied_term, stamp;
    uint8_t digest[16];
    uint64_t transfer_first, request_first;
    uint32_t transfer_count, account_first, account_count, balance_count;
    uint32_t request_count, answer_bytes, ledger_count, principal_count;
    uint64_t window_first_bucket, window_request_count, window_answer_bytes;
    uint32_t window_bucket_count, reserved;
};

struct window_bucket {
    uint64_t position;
    uint64_t request_count;
    uint64_t answer_bytes;
};

/* From a hash to the newest number with it; chains go back through `previous`. */
struct table {
    uint32_t *slots;
    uint64_t capacity; /* a power of two */
    uint64_t count;
};

struct array {
    uint8_t *bytes;
    size_t size, capacity;
};

enum flush_state { FLUSH_IDLE, FLUSH_SUBMITTED, FLUSH_DONE };

struct twin {
    struct checkpoint base; /* first */
    struct files files;
    void (*close_files)(struct files *files);
    struct file *file;
    uint64_t file_size;
    struct store_options options;
    pthread_mutex_t mutex;
    bool stopping;
    bool forgets_requests;
    char failure[256];

    /* the epoch in flight */
    enum flush_state state;
    const struct epoch *epoch;
    struct checkpoint_meta meta_in_flight;
    checkpoint_cb cb;
    void *cb_context;
    enum status flushed;

    /* contents */
    uint64_t epoch_count, epochs_since_open;
    struct array transfers, accounts, balances, requests, offsets, answers;
    struct array previous_transfer, previous_request; /* u32 chains */
    struct table by_id, by_nonce;
    struct array ledgers, principals;
    struct request_window_record window;
    struct checkpoint_meta meta;
    struct twin_record last;
    uint64_t visible_transfers, visible_requests;
};

static inline uint64_t twin_transfer_total(const struct twin *twin)
{
    return twin->transfers.size / sizeof(struct transfer_record);
}

static inline uint64_t twin_request_total(const struct twin *twin)
{
    return twin->requests.size / sizeof(struct request_record);
}

static inline const struct transfer_record *twin_transfer_at(const struct twin *twin,
                                                             uint64_t number)
{
    return (const struct transfer_record *)(const void *)twin->transfers.bytes + number;
}

static inline const struct request_record *twin_request_at(const struct twin *twin, uint64_t number)
{
    return (const struct request_record *)(const void *)twin->requests.bytes + number;
}

/* Numbers of what has this id, or this nonce: the newest, then the one before; TWIN_NONE ends. */
uint32_t twin_transfer_first(const struct twin *twin, const struct id128 *id);
uint32_t twin_transfer_next(const struct twin *twin, uint32_t number);
uint32_t twin_request_first(const struct twin *twin, uint32_t principal_name,
                            const uint8_t nonce[16]);
uint32_t twin_request_next(const struct twin *twin, uint32_t number);

/* The record of the epoch in flight; the caller frees its bytes. */
void twin_build_record(const struct twin *twin, const struct epoch *epoch, struct array *out);
/* Whether `bytes` begin with the record that is next; they are as before afterwards. */
bool twin_record_is_sound(uint8_t *bytes, uint64_t size, uint64_t number);
/* A sound record becomes part of the contents. */
void twin_absorb(struct twin *twin, const uint8_t *bytes);

#endif
