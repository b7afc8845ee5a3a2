/* The LMDB implementation of `struct checkpoint`: one environment, one large synced write
 * transaction per epoch. The format is drawn in docs/formats/store.md. */
#ifndef TALLY_STORAGE_STORE_H
#define TALLY_STORAGE_STORE_H

#include "storage/checkpoint.h"

struct store_options {
    const char *path; /* existing directory, LMDB's own */
    uint8_t cluster_id[16];
    uint64_t map_size_bytes; /* address space, e.g. 8 TiB; the file stays small */
    uint64_t bloom_bytes;    /* RAM for the filters over ids: half transfers', half requests' */
    void *wake_context;
    void (*wake_flusher)(void *context);
    void (*wake_loop)(void *context);
};

struct store_error {
    char text[256]; /* what, where, what to do */
};

/* Creates or opens. mdb_env_sync succeeds before the meta record is trusted. STATUS_CORRUPT,
 * STATUS_VERSION, STATUS_WRONG_CLUSTER, STATUS_PERMISSION, STATUS_DISK_FULL with *out_error. */
enum status store_open(const struct store_options *options, struct checkpoint **out_store,
                       struct store_error *out_error);

/* What made the last epoch fail: table, key, reason. Any thread; empty text when none did. */
void store_failure(struct checkpoint *store, struct store_error *out);

/* Offline or online scrub: every checksum of every value; names table and key of the first damage.
 */
enum status store_verify(const char *path, struct store_error *out_error,
                         void (*progress)(void *context, uint64_t done, uint64_t total),
                         void *context);

#endif
