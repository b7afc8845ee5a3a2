/*
 * Inside of the store: shared by store*.c only.
 *
 * Who owns what. The flusher owns `write` and `committed` from store_open on (nobody else writes
 * the environment). The loop owns `view` and `past`. `mutex` guards the hand-over below it. The
 * filters are added to by the flusher and asked by the loop (bloom.h).
 */
#ifndef TALLY_STORAGE_STORE_INTERNAL_H
#define TALLY_STORAGE_STORE_INTERNAL_H

#include "storage/bloom.h"
#include "storage/id_runs.h"

#include <pthread.h>
#include <string.h>

/* What one committed epoch says about itself. */
struct store_state {
    struct store_head head;
    struct id_run_list transfer_runs;
    struct id_run_list request_runs;
};

/*
 * Nonces are forgotten, Bloom filters cannot forget. So there are two: one being filled, one with
 * what came before it. Once everything in the older one is forgotten it is cleared and becomes the
 * one being filled. Questions ask both.
 */
struct request_filter {
    struct bloom half[2];
    uint32_t filling;     /* flusher only */
    bool filling_used;    /* flusher only */
    uint64_t older_until; /* flusher only: locators in the older half are below */
};

/* A submitted epoch on its way:  IDLE -> SUBMITTED -> WRITING -> FINISHED -> IDLE. */
enum flush_phase { FLUSH_IDLE, FLUSH_SUBMITTED, FLUSH_WRITING, FLUSH_FINISHED };

struct store {
    struct checkpoint checkpoint; /* first */
    struct store_options options;
    char *path;
    MDB_env *env;
    void *map; /* the environment's mapping; NULL: not known */
    size_t map_size;
    uint64_t hash_seed; /* the head's; never changes after open */

    /* flusher */
    struct store_txn write;
    struct store_state *committed, *next;
    struct id_entry *entries, *entries_scratch; /* to sort an epoch's ids */
    size_t entry_capacity;
    uint8_t *buffer; /* ID_RUNS_UPKEEP_BUFFER; also holds a partial chunk while it is rewritten */
    uint64_t file_reserved; /* bytes of data.mdb known to have blocks */
    /* Held while a commit writes: who holds it finds both meta pages whole. */
    pthread_mutex_t commit_mutex;

    /* loop */
    struct store_txn read;
    struct store_state *view;
    struct checkpoint_stats stats;
    uint32_t reads; /* look-ups in the mapping since it was looked at */
    bool failed;    /* fail-stop was reported: nothing is accepted any more */

    struct bloom transfer_filter;
    struct request_filter request_filter;

    pthread_mutex_t mutex; /* guards all below */
    enum flush_phase phase;
    uint32_t copy_count; /* begun and not ended */
    bool stopping;
    bool stepped, done;
    const struct epoch *epoch;
    struct checkpoint_meta meta;
    checkpoint_cb cb;
    void *cb_context;
    enum status status;
    uint64_t flush_ns;
    struct store_error failure;
};

/* What store_failure() will tell. Any thread. */
void store_note_failure(struct store *store, const struct store_error *error);

uint64_t store_transfer_hash(const struct store *store, const struct id128 *id);
uint64_t store_request_hash(const struct store *store, uint32_t principal_name,
                            const uint8_t nonce[16]);

/* store_open.c: the environment and its meta records. */
enum status store_environment_open(const struct store_options *options, bool read_only,
                                   struct store_txn *t);
enum status store_state_read(struct store_txn *t, struct store_state *out);
/* The tables have as many rows as the head says. */
enum status store_state_check(struct store_txn *t, const struct store_state *state);

/* store_pages.c. The file's meta pages, and the lists of free pages, are what LMDB may believe;
 * STATUS_CORRUPT, STATUS_VERSION with t->error. */
enum status store_meta_pages_check(struct store_txn *t, const char *path);
enum status store_free_pages_check(struct store_txn *t, const char *path);

/* store_verify.c. Walks through all keys and the free pages, in a process of its own: what LMDB
 * does not survive is STATUS_CORRUPT here. STATUS_NO_MEMORY: it was ended from outside. */
enum status store_check_trees(const struct store_options *options, struct store_error *out_error);

/* store_checkpoint.c: flusher. Writes the epoch and on STATUS_OK `committed` is the new state. */
enum status store_write_epoch(struct store *store, const struct epoch *epoch,
                              const struct checkpoint_meta *meta);

/* store_filter.c */
enum status store_filters_init(struct store *store);
void store_filters_deinit(struct store *store);
/* Fills empty filters from the id chunks, verifying each. */
enum status store_filters_rebuild(struct store *store);
void request_filter_add(struct request_filter *filter, uint64_t hash);
bool request_filter_may_contain(const struct request_filter *filter, uint64_t hash);
/* Entries below `live` are gone, those from `next` on are yet to come. */
void request_filter_turn(struct request_filter *filter, uint64_t live, uint64_t next);

/* store_resident.c: mapped pages beyond this many bytes are given back. The first finds the
 * mapping, once, before there are threads; the second looks, and is called by any thread; the third
 * is called by the loop before each look-up, and looks now and then. */
#define STORE_RESIDENT_BYTES (64ull << 20)
void store_resident_find(struct store *store);
void store_resident_trim(struct store *store, uint64_t limit_bytes);
void store_resident_read(struct store *store);

/* store_read.c: loop. */
void store_past(struct checkpoint *checkpoint, struct ledger_past *out);
/* Moves the read transaction to the newest epoch; stops the process when it cannot. */
void store_view_renew(struct store *store);
/* Look-ups go from the newest run to the oldest. */
void store_view_sort(struct store *store);

/* store_copy.c: any thread. */
enum status store_copy_begin(struct checkpoint *checkpoint, struct checkpoint_copy **out,
                             struct checkpoint_copy_info *out_info);
enum status store_copy_read(struct checkpoint *checkpoint, struct checkpoint_copy *copy,
                            uint64_t offset, void *buffer, size_t size);
void store_copy_end(struct checkpoint *checkpoint, struct checkpoint_copy *copy);

/* store_restore.c: loop. */
enum status store_restore(struct checkpoint *checkpoint, struct machine *machine);

/* An invariant of the disk is broken where no answer may be wrong: says so and stops the process.
 */
_Noreturn void store_stop_process(const char *what, const char *detail);

#define REQUEST_LOCATOR(chunk, offset) ((uint64_t)(chunk) << 16 | (offset))

#endif
