/*
 * From memtable to checkpoint to pruned journal:
 *
 *     filling ──freeze──> frozen ──submit──> with the flusher ──durable──> released, journal pruned
 *                           ^                      │
 *                           └── disk full: reserve given back, again after a pause
 *
 * At most one epoch is frozen; meanwhile apply goes on into the other memtable. If that fills too,
 * nothing more is proposed (or replayed) until the flusher is done: the loop itself never waits.
 *
 * Rules kept here:
 *  - The freeze is at exactly the last applied entry; its meta carries index, term, chain head and
 *    configuration of that entry, for the check at the next start and for snapshots.
 *  - The journal is pruned only to an index that the store has durable, after the callback said so.
 *  - Only entries that are committed, so synced in the journal, were applied: the store is never
 *    ahead of the journal.
 *
 * How often: a checkpoint is one burst of writes and one sync, and the journal's syncs on the same
 * disk wait for it. So epochs are small, closed by the interval long before the memtable is full.
 * But a page that changes in each of them is written each time: where that makes the flusher busy,
 * for millions of accounts or on a slow disk, the next epoch waits until it has rested. Nobody
 * rests while something waits for room: in the memtable; in the log in memory, which forgets only
 * what the store has; or on the disk of the journal, which is pruned up to there.
 */
#include "replication/node/epochs.h"

#include "core/invariant.h"
#include "replication/consensus/consensus.h"
#include "replication/node/disk_guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull

static uint64_t now_ns(const struct epochs *epochs)
{
    return epochs->environment->monotonic_ns(epochs->environment->context);
}

static void fail(struct epochs *epochs, enum status status, const char *what)
{
    epochs->ended = true;
    char text[480];
    snprintf(text, sizeof text, "%s after index %" PRIu64 ": %s", what, epochs->durable_index,
             status_text(status));
    notify_fail(epochs->notify, status, text);
}

static void fail_flush(struct epochs *epochs, enum status status)
{
    struct store_error reason = {0};
    epochs->environment->store_failure(epochs->environment->context, epochs->store, &reason);
    char text[384];
    snprintf(text, sizeof text, "the store could not write the checkpoint%s%s",
             reason.text[0] != 0 ? ": " : "", reason.text);
    fail(epochs, status, text);
}

/* Grows with the accounts, whose balances may all have changed. */
static void expect_room(struct epochs *epochs)
{
    struct checkpoint_stats stats;
    checkpoint_stats(epochs->store, &stats);
    epochs->full.account_count = stats.account_count;
    disk_guard_expect(epochs->guard, checkpoint_growth_bytes(&epochs->full));
}

void epochs_start(struct epochs *epochs)
{
    expect_room(epochs);
    epochs->frozen_ns = now_ns(epochs);
}

/* ---- after the flush ---- */

static void prune(struct epochs *epochs)
{
    struct journal_position position;
    journal_position(epochs->journal, &position);
    uint64_t to = epochs->durable_index;
    if (epochs->keep_entries > 0) {
        uint64_t kept_from = position.last_index > epochs->keep_entries
                                 ? position.last_index - epochs->keep_entries
                                 : 0;
        if (kept_from < to)
            to = kept_from;
    }
    if (epochs->keep_bytes > 0) {
        uint64_t kept_from =
            journal_tail(epochs->journal, position.synced_index, epochs->keep_bytes);
        if (kept_from <= to)
            to = kept_from - 1;
    }
    if (epochs->hold_index < to)
        to = epochs->hold_index;
    if (to < position.first_index)
        return;
    enum status status = journal_prune_prefix(epochs->journal, to);
    if (status != STATUS_OK)
        fail(epochs, status, "the journal could not be pruned");
}

static void rest(struct epochs *epochs, uint64_t now)
{
    const uint64_t most_ns = EPOCH_REST_MS_MAX * NS_PER_MS;
    const uint64_t rest_ns = EPOCH_REST * (now - epochs->submitted_ns);
    epochs->rested_ns = now + (rest_ns < most_ns ? rest_ns : most_ns);
}

static void flushed_cb(void *context, enum status status, uint64_t durable_index)
{
    struct epochs *epochs = context;
    invariant(epochs->submitted);
    epochs->submitted = false;
    if (epochs->ended)
        return;
    uint64_t now = now_ns(epochs);
    rest(epochs, now);
    if (status == STATUS_DISK_FULL) {
        epochs->full_count++;
        epochs->retry_ns = now + EPOCH_RETRY_MS * NS_PER_MS;
        notify_event(epochs->notify, "checkpoint_disk_full",
                     "the checkpoint found no room: read-only, the reserve is given back",
                     epochs->meta.index, 0);
        disk_guard_checkpoint_full(epochs->guard);
        return;
    }
    if (status != STATUS_OK) {
        fail_flush(epochs, status);
        return;
    }
    invariant_values(durable_index == epochs->meta.index, durable_index, epochs->meta.index);
    machine_release_epoch(epochs->machine);
    epochs->frozen = NULL;
    epochs->full_count = 0;
    epochs->durable_index = durable_index;
    disk_guard_checkpoint_done(epochs->guard);
    if (epochs->consensus != NULL)
        consensus_durable(epochs->consensus, durable_index);
    notify_event(epochs->notify, "checkpoint_done", "an epoch is durable in the store",
                 durable_index, (now - epochs->frozen_ns) / NS_PER_MS);
    expect_room(epochs);
    prune(epochs);
}

/* ---- freeze and submit ---- */

static bool fill_meta(struct epochs *epochs)
{
    struct checkpoint_meta *meta = &epochs->meta;
    memset(meta, 0, sizeof *meta);
    meta->index = machine_applied_index(epochs->machine);
    meta->term = machine_applied_term(epochs->machine);
    enum status status = journal_head(epochs->journal, meta->index, meta->head);
    if (status != STATUS_OK) {
        fail(epochs, status,
             "the chain head cannot be read from the journal (look at the disk; `tally journal "
             "verify` says where it is damaged, `tally node repair` rebuilds the node)");
        return false;
    }
    size_t size = 0;
    status = journal_configuration(epochs->journal, meta->configuration, sizeof meta->configuration,
                                   &size);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        fail(epochs, status, "the journal does not give its configuration");
        return false;
    }
    meta->configuration_size = (uint32_t)size;
    return true;
}

static void submit(struct epochs *epochs)
{
    enum status status =
        checkpoint_submit(epochs->store, epochs->frozen, &epochs->meta, flushed_cb, epochs);
    if (status == STATUS_BUSY) {
        epochs->retry_ns = now_ns(epochs) + EPOCH_RETRY_MS * NS_PER_MS;
        return;
    }
    if (status != STATUS_OK) {
        fail(epochs, status, "the store refused an epoch");
        return;
    }
    epochs->submitted = true;
    epochs->submitted_ns = now_ns(epochs);
}

static void freeze(struct epochs *epochs)
{
    if (!fill_meta(epochs))
        return;
    epochs->frozen = machine_freeze(epochs->machine);
    invariant_values(epochs->frozen->applied_index == epochs->meta.index,
                     epochs->frozen->applied_index, epochs->meta.index);
    epochs->frozen_ns = now_ns(epochs);
    epochs->retry_ns = 0;
    epochs->full_count = 0;
    epochs->slow_reported = false;
    submit(epochs);
}

static bool has_news(const struct epochs *epochs)
{
    uint64_t last = epochs->frozen != NULL ? epochs->meta.index : epochs->durable_index;
    return machine_applied_index(epochs->machine) > last;
}

/* When the memtable is frozen at the latest, where there is something in it. */
static uint64_t due_ns(const struct epochs *epochs)
{
    const uint64_t over_ns = epochs->frozen_ns + epochs->interval_ms * NS_PER_MS;
    return over_ns > epochs->rested_ns ? over_ns : epochs->rested_ns;
}

static void report_slow(struct epochs *epochs, uint64_t now)
{
    uint64_t ms = (now - epochs->frozen_ns) / NS_PER_MS;
    if (epochs->slow_reported || ms < EPOCH_SLOW_MS)
        return;
    epochs->slow_reported = true;
    notify_event(epochs->notify, "checkpoint_slow",
                 "a checkpoint takes unusually long: look at the disk", epochs->meta.index, ms);
}

void epochs_process(struct epochs *epochs, bool room_wanted)
{
    checkpoint_process(epochs->store);
    if (epochs->ended)
        return;
    uint64_t now = now_ns(epochs);
    if (epochs->frozen != NULL) {
        report_slow(epochs, now);
        if (!epochs->submitted && now >= epochs->retry_ns)
            submit(epochs);
        return;
    }
    if (has_news(epochs) && (room_wanted || now >= due_ns(epochs)))
        freeze(epochs);
}

void epochs_stop(struct epochs *epochs)
{
    epochs->ended = true;
}

bool epochs_are_settled(const struct epochs *epochs)
{
    return epochs->frozen == NULL && !has_news(epochs);
}

uint64_t epochs_full_count(const struct epochs *epochs)
{
    return epochs->full_count;
}

bool epochs_are_flushing(const struct epochs *epochs)
{
    return epochs->submitted;
}

uint64_t epochs_next_ns(const struct epochs *epochs)
{
    if (epochs->frozen != NULL)
        return epochs->submitted ? UINT64_MAX : epochs->retry_ns;
    if (!has_news(epochs))
        return UINT64_MAX;
    return due_ns(epochs);
}
