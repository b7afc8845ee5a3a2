/*
 * A new journal, and perhaps a new store, built beside the ones in use. Synchronous; one thread at
 * a time, the job's. Nothing counts before catch_up_switch().
 */
#ifndef TALLY_REPLICATION_CATCH_UP_BUILD_H
#define TALLY_REPLICATION_CATCH_UP_BUILD_H

#include "replication/catch_up/catch_up.h"
#include "replication/catch_up/catch_up_message.h"

#include "storage/journal_fill.h"

struct catch_up_build_options {
    const struct environment *environment;
    const char *directory;     /* data directory; borrowed */
    const struct files *files; /* the same; borrowed */
    struct generation in_use;
    uint64_t segment_size;
    uint8_t cluster_id[16];
};

struct catch_up_build {
    struct catch_up_build_options options;
    struct generation to;
    /* store */
    bool store_made, store_files_open;
    struct files store_files;
    struct file *store_file;
    uint64_t store_size, store_done, store_synced;
    uint8_t store_check[CATCH_UP_CHECK_SIZE]; /* chain over the pieces written */
    /* journal */
    bool journal_made, journal_files_open;
    struct files journal_files;
    struct journal_options journal_options;
    struct journal_fill *fill;
    uint64_t last_index, last_term;
    uint8_t last_head[JOURNAL_HASH_SIZE];
    struct journal_entry entries[CATCH_UP_ENTRIES_MAX];
    /* what went wrong, for people */
    char text[200];
};

void catch_up_build_init(struct catch_up_build *build,
                         const struct catch_up_build_options *options);
/* Closes; keeps what was written. */
void catch_up_build_close(struct catch_up_build *build);
/* Closes, and removes what was written. */
void catch_up_build_discard(struct catch_up_build *build);

/* An empty store directory and its file of `size` bytes. STATUS_DISK_FULL: no room for it. */
enum status catch_up_build_store_begin(struct catch_up_build *build, uint64_t size);
/* The next piece. STATUS_CORRUPT: it is not the bytes that `check` vouches for. */
enum status catch_up_build_store_add(struct catch_up_build *build, const uint8_t *bytes,
                                     size_t size, const uint8_t check[CATCH_UP_CHECK_SIZE]);
/* Synced, and looked at from one end to the other. Invariant: all of it was added. */
enum status catch_up_build_store_end(struct catch_up_build *build);

/* An empty journal behind `anchor`. */
enum status catch_up_build_journal_begin(struct catch_up_build *build,
                                         const struct journal_anchor *anchor);
/* Entries of a DATA: appended and synced. STATUS_CORRUPT: they do not follow, or the chain does not
 * end in `check`. */
enum status catch_up_build_journal_add(struct catch_up_build *build, const uint8_t *bytes,
                                       size_t size, const uint8_t check[JOURNAL_HASH_SIZE]);
/* Sealed and closed, and every name durable: ready to be switched to. */
enum status catch_up_build_end(struct catch_up_build *build);

/* Removes every journal and store that `current` does not name. */
enum status catch_up_clean(const struct environment *environment, const struct files *files,
                           const char *directory, const struct generation *in_use);

/* Chain over pieces: out = SHA-256(before, bytes). `out` may be `before`. */
void catch_up_chain(const uint8_t before[CATCH_UP_CHECK_SIZE], const void *bytes, size_t size,
                    uint8_t out[CATCH_UP_CHECK_SIZE]);

#endif
