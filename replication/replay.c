/*
 * One slice reads on from the first entry not yet applied. It stops for one of four reasons: the
 * slice's time is over, the memtable has no room for the next entry (which is then read again in a
 * later slice), all is applied, or something is wrong. Where replay stands is the machine's applied
 * index; nothing else is remembered between slices.
 *
 * Applying the same entries from the same state gives the same state (core is deterministic), so a
 * crash during replay costs nothing but its time.
 */
#include "replication/replay.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000ull

static uint64_t now_ns(const struct replay *replay)
{
    return replay->environment->monotonic_ns(replay->environment->context);
}

enum status replay_init(struct replay *replay)
{
    replay->aligned = aligned_alloc(64, ENTRY_SIZE_MAX);
    return replay->aligned == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

void replay_deinit(struct replay *replay)
{
    free(replay->aligned);
    replay->aligned = NULL;
}

static bool apply_one(void *context, const struct journal_entry *entry)
{
    struct replay *replay = context;
    uint64_t applied = machine_applied_index(replay->fsm->machine);
    invariant_values(entry->index == applied + 1, entry->index, applied);
    invariant_values(entry->size <= ENTRY_SIZE_MAX, entry->size, entry->index);
    struct journal_entry aligned = *entry;
    if ((uintptr_t)entry->payload % 8 != 0) {
        memcpy(replay->aligned, entry->payload, entry->size);
        aligned.payload = replay->aligned;
    }
    if (!fsm_has_room(replay->fsm, &aligned)) {
        replay->state = REPLAY_WAITS;
        return false;
    }
    if (!fsm_apply(replay->fsm, &aligned)) {
        replay->state = REPLAY_FAILED;
        return false;
    }
    return now_ns(replay) < replay->slice_end_ns;
}

enum replay_state replay_process(struct replay *replay)
{
    uint64_t next = machine_applied_index(replay->fsm->machine) + 1;
    replay->state = REPLAY_MORE;
    replay->slice_end_ns = now_ns(replay) + REPLAY_SLICE_MS * NS_PER_MS;
    if (next <= replay->last) {
        enum status status = journal_read(replay->journal, next, replay->last, apply_one, replay);
        if (status != STATUS_OK) {
            char text[256];
            snprintf(text, sizeof text,
                     "the journal cannot be read at or after entry %" PRIu64
                     " (%s); run `tally journal verify` on it, repair it from a backup or a peer",
                     machine_applied_index(replay->fsm->machine) + 1, status_text(status));
            notify_fail(replay->notify, status, text);
            return REPLAY_FAILED;
        }
    }
    if (replay->state == REPLAY_MORE && machine_applied_index(replay->fsm->machine) >= replay->last)
        replay->state = REPLAY_DONE;
    return replay->state;
}
