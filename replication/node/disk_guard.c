/*
 * A full disk must not be met by a write that fails, since a failed journal write stops the node.
 * So there are lines in front of it, each making the node read-only while everything already
 * accepted can still be finished:
 *
 *   free space < watermark        looked at once a second; nothing has failed yet
 *   no room for another segment   the journal's preparer met the end first; the current segment
 *                                 still takes what is in flight
 *   checkpoint found no room      the reserve file is given back and the epoch tried again; the
 *                                 reserve is rebuilt when there is room, and only then is the node
 *                                 writable again
 *
 * A file system that does not even tell its free space counts as low: writing on blindly could end
 * in fail-stop.
 */
#include "replication/node/disk_guard.h"

#include "storage/reserve.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS 1000000ull

static bool space_is_low(const struct disk_guard *guard)
{
    return guard->low || guard->unknown || guard->reserve_missing;
}

static void rebuild_reserve(struct disk_guard *guard)
{
    if (guard->low || guard->unknown || guard->checkpoint_full)
        return;
    guard->reserve_status = reserve_ensure(guard->files, guard->reserve_bytes);
    guard->reserve_missing = guard->reserve_status != STATUS_OK;
}

static void look(struct disk_guard *guard)
{
    bool low = true;
    uint64_t free_bytes = 0;
    enum status status = reserve_check(guard->files, guard->watermark_bytes, &low, &free_bytes);
    guard->unknown = status != STATUS_OK;
    guard->low = status == STATUS_OK && low;
    guard->free_bytes = status == STATUS_OK ? free_bytes : 0;
}

void disk_guard_start(struct disk_guard *guard)
{
    look(guard);
    guard->reserve_missing = true;
    rebuild_reserve(guard);
    if (space_is_low(guard))
        notify_event(guard->notify, "disk_low",
                     "too little free space, or no reserve: starting read-only", guard->free_bytes,
                     guard->watermark_bytes);
    guard->next_check_ns = guard->environment->monotonic_ns(guard->environment->context) +
                           DISK_CHECK_INTERVAL_MS * NS_PER_MS;
}

static void watch_space(struct disk_guard *guard)
{
    uint64_t now = guard->environment->monotonic_ns(guard->environment->context);
    if (now < guard->next_check_ns)
        return;
    guard->next_check_ns = now + DISK_CHECK_INTERVAL_MS * NS_PER_MS;
    bool was_low = space_is_low(guard);
    look(guard);
    if (guard->reserve_missing)
        rebuild_reserve(guard);
    bool is_low = space_is_low(guard);
    if (is_low && !was_low)
        notify_event(guard->notify, "disk_low",
                     "free space fell below the watermark: read-only until there is more",
                     guard->free_bytes, guard->watermark_bytes);
    if (!is_low && was_low)
        notify_event(guard->notify, "disk_recovered", "there is free space again: writable",
                     guard->free_bytes, guard->watermark_bytes);
}

static void watch_journal(struct disk_guard *guard)
{
    bool full = journal_is_read_only(guard->journal);
    if (full == guard->journal_full)
        return;
    guard->journal_full = full;
    struct journal_position position;
    journal_position(guard->journal, &position);
    notify_event(guard->notify, full ? "journal_read_only" : "journal_writable",
                 full ? "no room to prepare a further journal segment: read-only"
                      : "a journal segment could be prepared: writable",
                 position.segment_count, position.bytes);
}

void disk_guard_process(struct disk_guard *guard)
{
    watch_space(guard);
    watch_journal(guard);
}

void disk_guard_checkpoint_full(struct disk_guard *guard)
{
    guard->checkpoint_full = true;
    if (guard->reserve_missing)
        return;
    guard->reserve_missing = true;
    /* If it cannot be released the next try fails like this one: the node stays read-only. */
    (void)reserve_release(guard->files);
}

void disk_guard_checkpoint_done(struct disk_guard *guard)
{
    guard->checkpoint_full = false;
}

void disk_guard_expect(struct disk_guard *guard, uint64_t checkpoint_bytes)
{
    uint64_t room = guard->reserve_bytes + guard->watermark_bytes;
    uint64_t wanted = checkpoint_bytes + guard->segment_bytes;
    if (room >= wanted || guard->room_reported)
        return;
    guard->room_reported = true;
    notify_event(guard->notify, "disk_room_small",
                 "reserve and watermark together are less than a full checkpoint and a journal "
                 "segment may need: on a full disk the last checkpoint could be left out; raise "
                 "disk.watermark_bytes by the difference",
                 room, wanted);
}

bool disk_guard_read_only(const struct disk_guard *guard)
{
    return space_is_low(guard) || guard->checkpoint_full || guard->journal_full;
}

void disk_guard_reason(const struct disk_guard *guard, char *out, size_t size)
{
    const uint64_t mib = 1024 * 1024;
    if (guard->checkpoint_full)
        snprintf(out, size, "the checkpoint found no room on disk: free some space");
    else if (guard->unknown)
        snprintf(out, size, "the file system does not tell its free space: look at the disk");
    else if (guard->low)
        snprintf(out, size,
                 "free space %" PRIu64 " MiB is below the watermark of %" PRIu64
                 " MiB: free some space",
                 guard->free_bytes / mib, guard->watermark_bytes / mib);
    else if (guard->reserve_missing && guard->reserve_status != STATUS_OK &&
             guard->reserve_status != STATUS_DISK_FULL)
        snprintf(
            out, size,
            "the file \"reserve\" of the data directory cannot be written (%s): look at it and "
            "at the disk",
            status_text(guard->reserve_status));
    else if (guard->reserve_missing)
        snprintf(out, size,
                 "the disk reserve of %" PRIu64 " MiB cannot be rebuilt: free some space",
                 guard->reserve_bytes / mib);
    else if (guard->journal_full)
        snprintf(out, size, "no room for a further journal segment: free some space");
    else
        snprintf(out, size, "%s", "");
}
