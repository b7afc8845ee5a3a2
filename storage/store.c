/*
 * The store: checkpoints of core's state in LMDB. This file hands an epoch from the loop to the
 * flusher and its outcome back; start reading here.
 *
 *   store_open.c        environment, creation, meta records
 *   store_pages.c       LMDB's own pages, before it believes them
 *   store_schema.c      values, checksums
 *   store_checkpoint.c  one epoch, one write transaction
 *   id_runs*.c          hash indexes
 *   store_read.c        ledger_past on the loop's read transaction
 *   store_filter.c      filters in front of the indexes (bloom.c)
 *   store_resident.c    the mapping, given back
 *   store_restore.c     an empty machine takes over
 *   store_verify.c      the scrub, and the walk before a start
 *   store_copy.c        the newest epoch as bytes, for a peer
 *
 * Invariants:
 * 1. Everything of an epoch, meta included, is one synced LMDB transaction: the store is always
 *    exactly at one applied index. Commit order in LMDB (pages, fdatasync, then the meta page
 * through O_DSYNC, two snapshots never reused) is what makes default durability enough; NOSYNC
 * modes lost data in simulated power cuts.
 * 2. An epoch becomes readable before its memtable goes: process() moves the read transaction and
 *    only then calls back. The other order accepted a duplicate once in 20 million.
 * 3. After any failure but a full disk nothing more is written: what a failed sync left behind is
 *    unknown, the journal still has everything.
 */
#include "storage/store.h"

#include "core/invariant.h"
#include "storage/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static struct store *store_of(struct checkpoint *checkpoint)
{
    return (struct store *)(void *)checkpoint; /* first member */
}

_Noreturn void store_stop_process(const char *what, const char *detail)
{
    fprintf(
        stderr,
        "store: %s: %s. The process stops rather than answer wrongly; run `tally store verify`, "
        "then restore from a peer or a backup.\n",
        what, detail);
    abort();
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock; only statistics */
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void lock(struct store *store)
{
    int code = pthread_mutex_lock(&store->mutex);
    invariant_values(code == 0, code, 0);
}

static void unlock(struct store *store)
{
    int code = pthread_mutex_unlock(&store->mutex);
    invariant_values(code == 0, code, 0);
}

/* ---- hand-over ---- */

static enum status store_submit(struct checkpoint *checkpoint, const struct epoch *epoch,
                                const struct checkpoint_meta *meta, checkpoint_cb cb, void *context)
{
    struct store *store = store_of(checkpoint);
    const struct store_head *head = &store->view->head;
    if (store->failed)
        return STATUS_IO;
    invariant_values(meta->index == epoch->applied_index, meta->index, epoch->applied_index);
    invariant_values(meta->term == epoch->applied_term, meta->term, epoch->applied_term);
    invariant(meta->configuration_size <= JOURNAL_CONFIGURATION_SIZE_MAX);
    enum status status = STATUS_OK;
    lock(store);
    if (store->phase != FLUSH_IDLE || store->stopping) {
        status = STATUS_BUSY;
    } else {
        if (head->epoch_count > 0)
            invariant_values(epoch->applied_index >= head->applied_index, epoch->applied_index,
                             head->applied_index);
        store->phase = FLUSH_SUBMITTED;
        store->epoch = epoch;
        store->meta = *meta;
        store->cb = cb;
        store->cb_context = context;
    }
    unlock(store);
    if (status == STATUS_OK && store->options.wake_flusher != NULL)
        store->options.wake_flusher(store->options.wake_context);
    return status;
}

static enum job_state store_step(struct checkpoint *checkpoint, uint64_t *out_wait_ns)
{
    struct store *store = store_of(checkpoint);
    const struct epoch *epoch = NULL;
    struct checkpoint_meta meta;
    enum job_state state = JOB_IDLE;
    *out_wait_ns = UINT64_MAX;
    lock(store);
    store->stepped = true;
    if (store->phase == FLUSH_SUBMITTED) {
        store->phase = FLUSH_WRITING;
        epoch = store->epoch;
        meta = store->meta;
    } else if (store->stopping) {
        store->done = true;
        state = JOB_DONE;
    }
    unlock(store);
    if (epoch == NULL)
        return state;

    uint64_t begin = monotonic_ns();
    enum status status = store_write_epoch(store, epoch, &meta);
    lock(store);
    store->phase = FLUSH_FINISHED;
    store->status = status;
    store->flush_ns = monotonic_ns() - begin;
    if (status != STATUS_OK)
        store->failure = store->write.error;
    if (status != STATUS_OK && status != STATUS_DISK_FULL) {
        store->done = true;
        state = JOB_FAILED;
    } else {
        state = JOB_AGAIN;
    }
    unlock(store);
    if (store->options.wake_loop != NULL)
        store->options.wake_loop(store->options.wake_context);
    return state;
}

static void store_stats_refresh(struct store *store)
{
    const struct store_head *head = &store->view->head;
    struct checkpoint_stats *stats = &store->stats;
    stats->durable_index = head->applied_index;
    stats->transfer_count = head->transfer_count;
    stats->account_count = head->account_count;
    stats->request_count = head->request_count;
    stats->id_run_count =
        store->view->transfer_runs.run_count + store->view->request_runs.run_count;
    uint64_t bytes = 0;
    for (int table = 0; table < STORE_TABLE_COUNT; table++) {
        MDB_stat s;
        int code = mdb_stat(store->read.txn, store->read.dbi[table], &s);
        if (code != 0)
            store_stop_process(store_table_name(table), mdb_strerror(code));
        bytes += (s.ms_branch_pages + s.ms_leaf_pages + s.ms_overflow_pages) * s.ms_psize;
    }
    stats->bytes_used = bytes;
    mdb_filehandle_t fd;
    struct stat file;
    if (mdb_env_get_fd(store->env, &fd) == 0 && fstat(fd, &file) == 0)
        stats->bytes_file = (uint64_t)file.st_size;
}

static void store_process(struct checkpoint *checkpoint)
{
    struct store *store = store_of(checkpoint);
    lock(store);
    bool finished = store->phase == FLUSH_FINISHED;
    enum status status = store->status;
    checkpoint_cb cb = store->cb;
    void *context = store->cb_context;
    uint64_t flush_ns = store->flush_ns;
    if (finished)
        store->phase = FLUSH_IDLE;
    unlock(store);
    if (!finished)
        return;
    if (status == STATUS_OK) {
        store_view_renew(store);
        store->stats.epoch_count++;
        store->stats.last_flush_ns = flush_ns;
        if (flush_ns > store->stats.longest_flush_ns)
            store->stats.longest_flush_ns = flush_ns;
        store_stats_refresh(store);
    } else if (status != STATUS_DISK_FULL) {
        store->failed = true;
    }
    cb(context, status, store->view->head.applied_index);
}

static void store_stop(struct checkpoint *checkpoint)
{
    struct store *store = store_of(checkpoint);
    lock(store);
    store->stopping = true;
    unlock(store);
    if (store->options.wake_flusher != NULL)
        store->options.wake_flusher(store->options.wake_context);
}

static enum status store_meta(struct checkpoint *checkpoint, struct checkpoint_meta *out)
{
    const struct store_head *head = &store_of(checkpoint)->view->head;
    if (head->epoch_count == 0)
        return STATUS_NOT_FOUND;
    memset(out, 0, sizeof *out);
    out->index = head->applied_index;
    out->term = head->applied_term;
    memcpy(out->head, head->head, sizeof out->head);
    out->configuration_size = head->configuration_size;
    memcpy(out->configuration, head->configuration, head->configuration_size);
    return STATUS_OK;
}

static void store_stats(const struct checkpoint *checkpoint, struct checkpoint_stats *out)
{
    *out = ((const struct store *)(const void *)checkpoint)->stats;
}

void store_failure(struct checkpoint *checkpoint, struct store_error *out)
{
    struct store *store = store_of(checkpoint);
    lock(store);
    *out = store->failure;
    unlock(store);
}

void store_note_failure(struct store *store, const struct store_error *error)
{
    lock(store);
    store->failure = *error;
    unlock(store);
}

/* ---- life ---- */

static void store_free(struct store *store)
{
    if (store->read.txn != NULL)
        mdb_txn_abort(store->read.txn);
    if (store->env != NULL)
        mdb_env_close(store->env);
    store_filters_deinit(store);
    free(store->entries);
    free(store->entries_scratch);
    free(store->buffer);
    free(store->committed);
    free(store->next);
    free(store->view);
    free(store->path);
    (void)pthread_mutex_destroy(&store->commit_mutex); /* nobody holds either */
    (void)pthread_mutex_destroy(&store->mutex);
    free(store);
}

static void store_close(struct checkpoint *checkpoint)
{
    struct store *store = store_of(checkpoint);
    lock(store);
    bool quiet = !store->stepped || store->done;
    uint32_t copies = store->copy_count;
    unlock(store);
    invariant(quiet);
    invariant_values(copies == 0, copies, 0);
    store_free(store);
}

static const struct checkpoint_operations store_operations = {
    .submit = store_submit,
    .step = store_step,
    .process = store_process,
    .stop = store_stop,
    .past = store_past,
    .meta = store_meta,
    .restore = store_restore,
    .stats = store_stats,
    .copy_begin = store_copy_begin,
    .copy_read = store_copy_read,
    .copy_end = store_copy_end,
    .close = store_close,
};

enum status store_open(const struct store_options *options, struct checkpoint **out_store,
                       struct store_error *out_error)
{
    enum status status = STATUS_NO_MEMORY;
    struct store *store = calloc(1, sizeof *store);
    snprintf(out_error->text, sizeof out_error->text, "store: %s: no memory", options->path);
    if (store == NULL)
        return status;
    if (pthread_mutex_init(&store->mutex, NULL) != 0) {
        free(store);
        return status;
    }
    if (pthread_mutex_init(&store->commit_mutex, NULL) != 0) {
        (void)pthread_mutex_destroy(&store->mutex); /* nobody holds it */
        free(store);
        return status;
    }
    store->checkpoint.operations = &store_operations;
    store->options = *options;
    store->path = strdup(options->path);
    store->options.path = store->path;
    store->committed = calloc(1, sizeof *store->committed);
    store->next = calloc(1, sizeof *store->next);
    store->view = calloc(1, sizeof *store->view);
    store->buffer = malloc(ID_RUNS_UPKEEP_BUFFER);
    if (store->path == NULL || store->committed == NULL || store->next == NULL ||
        store->view == NULL || store->buffer == NULL)
        goto fail;

    struct store_txn *t = &store->read;
    status = store_environment_open(&store->options, false, t);
    store->env = t->env;
    if (status == STATUS_OK)
        status = store_state_read(t, store->view);
    if (status == STATUS_OK &&
        memcmp(store->view->head.cluster_id, options->cluster_id, sizeof options->cluster_id) != 0)
        status = store_fail(t, STATUS_WRONG_CLUSTER, STORE_META, STORE_META_HEAD,
                            "written by another cluster; check the data directory");
    if (status == STATUS_OK)
        status = store_state_check(t, store->view);
    store->hash_seed = store->view->head.hash_seed;
    if (status == STATUS_OK)
        status = store_filters_init(store);
    if (status == STATUS_OK)
        status = store_filters_rebuild(store);
    if (status != STATUS_OK) {
        if (t->error.text[0] != '\0')
            snprintf(out_error->text, sizeof out_error->text, "%s", t->error.text);
        goto fail;
    }
    store_resident_find(store);
    store_resident_trim(store, STORE_RESIDENT_BYTES);
    *store->committed = *store->view;
    store_view_sort(store);
    store->write = store->read;
    store->write.txn = NULL;
    store_stats_refresh(store);
    out_error->text[0] = '\0';
    *out_store = &store->checkpoint;
    return STATUS_OK;

fail:
    store_free(store);
    return status;
}
