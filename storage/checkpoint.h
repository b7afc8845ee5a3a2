/*
 * Checkpoints of core's state: the interface. `store.h` (LMDB) implements it; a simulator may bring
 * an in-memory twin that passes the same tests (tests/storage/checkpoint_suite).
 *
 * One epoch at a time: checkpoint_submit() on the loop, checkpoint_step() on the flusher's thread,
 * checkpoint_process() on the loop, which calls back once the epoch is durable *and* readable
 * through ledger_past; then the caller releases the frozen memtable.
 */
#ifndef TALLY_STORAGE_CHECKPOINT_H
#define TALLY_STORAGE_CHECKPOINT_H

#include "core/machine.h"
#include "storage/journal.h"

struct checkpoint;

/* Chain head and raft configuration that belong to the epoch's applied index. */
struct checkpoint_meta {
    uint64_t index;
    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint32_t configuration_size;
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
};

struct checkpoint_stats {
    uint64_t durable_index;
    uint64_t epoch_count; /* since open */
    uint64_t last_flush_ns, longest_flush_ns;
    uint64_t transfer_count, account_count, request_count;
    uint64_t bytes_used, bytes_file;
    uint32_t id_run_count;
    /* Look-ups that the filters did not answer, since open, and those of them that found nothing:
     * filters that are too full let too many through. */
    struct checkpoint_lookups {
        uint64_t count, vain_count;
    } transfer_lookups, request_lookups;
};

/* An epoch's size, and what it meets in the store. */
struct checkpoint_growth {
    uint64_t transfer_count, request_count, answer_bytes; /* of the epoch */
    uint64_t new_account_count, balance_count;            /* of the epoch */
    uint64_t account_count;                               /* with the new ones */
    uint64_t ledger_count, principal_count;               /* all */
    uint32_t transfer_merge_count, request_merge_count;   /* merges in progress */
};
/* Bytes that such an epoch may add to the store's file at most, if nothing that is free in it could
 * be used again. A checkpoint is only begun when the disk has them. */
uint64_t checkpoint_growth_bytes(const struct checkpoint_growth *growth);

/*
 * A copy of the newest durable epoch, as bytes: written to a file CHECKPOINT_COPY_FILE in an empty
 * directory and synced, they are a store that can be opened there. While it lasts the epochs go on;
 * the bytes belong to the one epoch that `meta` tells. Reading one place twice may give other
 * bytes, where none of them matters to that epoch.
 */
#define CHECKPOINT_COPY_FILE "data.mdb"
struct checkpoint_copy;
struct checkpoint_copy_info {
    uint64_t size; /* bytes */
    struct checkpoint_meta meta;
};

typedef void (*checkpoint_cb)(void *context, enum status status, uint64_t durable_index);

struct checkpoint_operations {
    enum status (*submit)(struct checkpoint *, const struct epoch *, const struct checkpoint_meta *,
                          checkpoint_cb, void *context);
    enum job_state (*step)(struct checkpoint *, uint64_t *out_wait_ns);
    void (*process)(struct checkpoint *);
    void (*stop)(struct checkpoint *);
    void (*past)(struct checkpoint *, struct ledger_past *out);
    enum status (*meta)(struct checkpoint *, struct checkpoint_meta *out);
    enum status (*restore)(struct checkpoint *, struct machine *);
    void (*stats)(const struct checkpoint *, struct checkpoint_stats *out);
    enum status (*copy_begin)(struct checkpoint *, struct checkpoint_copy **out,
                              struct checkpoint_copy_info *out_info);
    enum status (*copy_read)(struct checkpoint *, struct checkpoint_copy *, uint64_t offset,
                             void *buffer, size_t size);
    void (*copy_end)(struct checkpoint *, struct checkpoint_copy *);
    void (*close)(struct checkpoint *);
};

/* First member of every implementation. */
struct checkpoint {
    const struct checkpoint_operations *operations;
};

/* Loop. Hands over a frozen epoch, borrowed until the callback. STATUS_BUSY while one is in flight.
 * The callback's status other than STATUS_OK is fail-stop, except STATUS_DISK_FULL: nothing was
 * written, the same epoch may be submitted again. */
static inline enum status checkpoint_submit(struct checkpoint *c, const struct epoch *epoch,
                                            const struct checkpoint_meta *meta, checkpoint_cb cb,
                                            void *context)
{
    return c->operations->submit(c, epoch, meta, cb, context);
}
/* Flusher thread: writes the submitted epoch in one transaction, synced. */
static inline enum job_state checkpoint_step(struct checkpoint *c, uint64_t *out_wait_ns)
{
    return c->operations->step(c, out_wait_ns);
}
/* Loop: runs the callback of a finished epoch. */
static inline void checkpoint_process(struct checkpoint *c)
{
    c->operations->process(c);
}
/* Ends the job after the epoch in flight: step returns JOB_DONE. */
static inline void checkpoint_stop(struct checkpoint *c)
{
    c->operations->stop(c);
}
/* The table core asks; loop thread only; context is the checkpoint. */
static inline void checkpoint_past(struct checkpoint *c, struct ledger_past *out)
{
    c->operations->past(c, out);
}
/* Meta of the newest durable epoch; STATUS_NOT_FOUND when none was ever written. */
static inline enum status checkpoint_meta(struct checkpoint *c, struct checkpoint_meta *out)
{
    return c->operations->meta(c, out);
}
/* Fills an empty machine from the newest epoch: STATUS_NOT_FOUND (machine untouched) or
 * STATUS_CORRUPT. */
static inline enum status checkpoint_restore(struct checkpoint *c, struct machine *machine)
{
    return c->operations->restore(c, machine);
}
static inline void checkpoint_stats(const struct checkpoint *c, struct checkpoint_stats *out)
{
    c->operations->stats(c, out);
}
/* Any thread, which may wait until an epoch is written; a copy is used by one thread at a time.
 * STATUS_NOT_FOUND when no epoch was ever written, STATUS_NO_MEMORY, STATUS_IO. What it keeps is
 * not used again by later epochs, so the file grows meanwhile. */
static inline enum status checkpoint_copy_begin(struct checkpoint *c, struct checkpoint_copy **out,
                                                struct checkpoint_copy_info *out_info)
{
    return c->operations->copy_begin(c, out, out_info);
}
/* Invariant: offset + size is within the copy's size. STATUS_IO. */
static inline enum status checkpoint_copy_read(struct checkpoint *c, struct checkpoint_copy *copy,
                                               uint64_t offset, void *buffer, size_t size)
{
    return c->operations->copy_read(c, copy, offset, buffer, size);
}
static inline void checkpoint_copy_end(struct checkpoint *c, struct checkpoint_copy *copy)
{
    c->operations->copy_end(c, copy);
}
/* Invariant: stopped, or never stepped; every copy has ended. */
static inline void checkpoint_close(struct checkpoint *c)
{
    c->operations->close(c);
}

#endif
