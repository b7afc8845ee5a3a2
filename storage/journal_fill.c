/*
 * Stepping a journal's jobs by hand.
 *
 * The journal is built for a loop, a writer and a preparer that run beside each other. Here one
 * caller plays all three in turn: append, let the writer write and sync, let the preparer prepare,
 * collect the callback. Each of these steps waits for nothing but the disk, so the number of steps
 * to the end of one append is small and known; the bound below only keeps a mistake of ours from
 * becoming an endless loop.
 *
 * STATUS_BUSY of an append means "not before the next segment is prepared" and is answered by
 * another step; STATUS_READ_ONLY means that the disk has no room for a segment, which is the
 * caller's to report.
 */
#include "storage/journal_fill.h"

#include "core/invariant.h"

#include <stdlib.h>

#define FILL_STEPS_MAX 10000

struct journal_fill {
    struct journal_append append; /* first: the callback finds the rest by it */
    struct journal *journal;
    bool done;
    enum status status;
    bool writer_ended, preparer_ended;
};

static void no_wake(void *context)
{
    (void)context; /* we step the jobs ourselves */
}

static void fill_append_cb(struct journal_append *append, enum status status)
{
    struct journal_fill *fill = (struct journal_fill *)append;
    fill->done = true;
    fill->status = status;
}

static void step_jobs(struct journal_fill *fill)
{
    uint64_t wait_ns;
    if (!fill->writer_ended)
        fill->writer_ended = journal_writer_step(fill->journal, &wait_ns) >= JOB_FAILED;
    if (!fill->preparer_ended)
        fill->preparer_ended = journal_preparer_step(fill->journal, &wait_ns) >= JOB_FAILED;
    journal_process(fill->journal);
}

enum status journal_fill_open(const struct journal_options *options, struct journal_fill **out_fill,
                              struct journal_damage *out_damage)
{
    struct journal_fill *fill = calloc(1, sizeof *fill);
    if (fill == NULL)
        return STATUS_NO_MEMORY;
    struct journal_options own = *options;
    own.wake_context = NULL;
    own.wake_writer = no_wake;
    own.wake_preparer = no_wake;
    own.wake_loop = no_wake;
    uint64_t cut = 0;
    enum status status = journal_open(&own, &fill->journal, out_damage, &cut);
    if (status != STATUS_OK) {
        free(fill);
        return status;
    }
    *out_fill = fill;
    return STATUS_OK;
}

enum status journal_fill_append(struct journal_fill *fill, const struct journal_entry *entries,
                                uint32_t count)
{
    invariant(count > 0);
    fill->append = (struct journal_append){
        .entries = entries,
        .entry_count = count,
        .cb = fill_append_cb,
    };
    fill->done = false;
    enum status status = STATUS_BUSY;
    for (int i = 0; i < FILL_STEPS_MAX; i++) {
        if (status == STATUS_BUSY)
            status = journal_append(fill->journal, &fill->append);
        if (status == STATUS_READ_ONLY)
            return STATUS_DISK_FULL;
        if (status != STATUS_OK && status != STATUS_BUSY)
            return status;
        step_jobs(fill);
        if (fill->done)
            return fill->status;
        if (journal_failure(fill->journal) != STATUS_OK)
            return journal_failure(fill->journal);
    }
    invariant_values(false, status, count); /* the jobs make no headway: our mistake */
    return STATUS_IO;
}

struct journal *journal_fill_journal(struct journal_fill *fill)
{
    return fill->journal;
}

enum status journal_fill_close(struct journal_fill *fill, struct journal_position *out_position)
{
    journal_stop(fill->journal);
    for (int i = 0; i < FILL_STEPS_MAX && !(fill->writer_ended && fill->preparer_ended); i++)
        step_jobs(fill);
    invariant(fill->writer_ended && fill->preparer_ended);
    enum status status = journal_failure(fill->journal);
    if (out_position != NULL)
        journal_position(fill->journal, out_position);
    journal_close(fill->journal);
    free(fill);
    return status;
}
