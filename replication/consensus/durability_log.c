/*
 * The durability entries of the log: the newest one, which says what is in force for what is
 * appended next, and the newest one that is known to be committed, which says what was agreed.
 *
 *     committed record ........ newest record ...... scanned = last
 *        <= commit index          in the log
 *
 * Entries are found where they are, in the log in memory, after each event; nothing is kept of them
 * that a truncation could leave behind. What is not committed is always in memory, so when the
 * newest one is cut off the one before it is either there as well or the committed record. (That
 * one may lie beyond the end of this log: a copy of the ledger knows what is committed, and the
 * journal that came with it may end earlier, or have an end that is cut off still.)
 *
 * [safety] "Known to be committed" lags behind what is: a node that starts again knows what its
 * store noted, and it leads, and has to be able to degrade, before anything of its own is
 * committed. So between the two records each entry of the log may be the one that was agreed, and a
 * policy among them that forbids something forbids it: consensus_durability_may_decide().
 *
 * While at it, the stamps: commands and durability entries carry them, and the next entry's has to
 * be later than all of them, uncommitted ones included. A truncation does not take the greatest one
 * back. That is on the safe side, and the clock catches up with it soon.
 */
#include "core/command.h"
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <string.h>

static void note_stamp(struct durability_log *log, uint64_t stamp)
{
    if (stamp > log->stamp && stamp <= STAMP_MAX)
        log->stamp = stamp;
}

/* An entry that leaves the mode as it is does not say who degraded. */
static void note_degrade(struct durability_record *record, const struct durability_record *before)
{
    const struct durability_entry *entry = &record->entry;
    if (entry->mode != DURABILITY_DEGRADED)
        return;
    const bool is_new = entry->kind == DURABILITY_DEGRADE || before == NULL;
    memcpy(record->lost_site, is_new ? entry->site : before->lost_site, sizeof record->lost_site);
    record->by_operator = is_new ? !entry->automatic : before->by_operator;
}

static uint32_t bit_of(const struct durability_record *record)
{
    return 1u << record->entry.policy.decision;
}

void consensus_durability_log_begin(struct consensus_raft *c, uint64_t index,
                                    const struct durability_entry *entry)
{
    struct durability_log *log = &c->durability_log;
    invariant(!log->begun);
    log->begun = true;
    if (index != 0) {
        log->committed = (struct durability_record){.index = index, .entry = *entry};
        note_degrade(&log->committed, NULL);
        note_stamp(log, entry->stamp);
    } else {
        durability_entry_default(&log->committed.entry);
    }
    log->committed.decisions = bit_of(&log->committed);
    log->newest = log->committed;
    note_stamp(log, c->options.stamp);
}

/* For bytes that cannot be read: they change what the guard, which looks at their first three,
 * takes them to change, the mode. It is an entry that can be written, as all that is agreed will
 * be. */
static void stand_in(const struct journal_entry *journal, const struct durability_record *before,
                     struct durability_entry *out)
{
    enum durability_mode mode;
    *out = before->entry;
    out->kind = DURABILITY_POLICY;
    out->number++;
    if (journal->size > DURABILITY_ENTRY_SIZE - 8 &&
        durability_entry_sets_mode(journal->payload, journal->size, &mode)) {
        out->kind = mode == DURABILITY_DEGRADED ? DURABILITY_DEGRADE : DURABILITY_RETURN;
        out->mode = mode;
        if (out->site[0] == 0)
            strcpy(out->site, "unknown");
    }
    strcpy(out->who, "unknown");
    strcpy(out->why, "a durability entry that this version cannot read");
}

/* The entry at `index` is one of ours: what it says, after `before`. */
static bool read_record(const struct consensus_raft *c, uint64_t index,
                        const struct durability_record *before, struct durability_record *out)
{
    const struct raft_entry *entry = raft_layout_entry(&c->raft, index);
    if (entry == NULL || entry->type != RAFT_COMMAND)
        return false;
    struct journal_entry journal;
    raft_io_entry(entry, index, &journal);
    if (journal.type != JOURNAL_DURABILITY)
        return false;
    struct durability_record record = {.index = index};
    if (durability_entry_decode(journal.payload, journal.size, &record.entry) != STATUS_OK)
        stand_in(&journal, before, &record.entry);
    note_degrade(&record, before);
    record.decisions = before->decisions | bit_of(&record);
    *out = record;
    return true;
}

static void scan_stamp(struct consensus_raft *c, uint64_t index)
{
    const struct raft_entry *entry = raft_layout_entry(&c->raft, index);
    if (entry == NULL || entry->type != RAFT_COMMAND)
        return;
    struct journal_entry journal;
    struct command_cursor cursor;
    raft_io_entry(entry, index, &journal);
    if (journal.type == JOURNAL_COMMAND &&
        command_cursor_init(&cursor, journal.payload, journal.size) == STATUS_OK)
        note_stamp(&c->durability_log,
                   cursor.stamp + (cursor.stamps_left > 0 ? cursor.stamps_left - 1 : 0));
}

static void scan_new(struct consensus_raft *c)
{
    struct durability_log *log = &c->durability_log;
    const uint64_t last = consensus_last_index(c);
    const uint64_t first = raft_layout_first_index(&c->raft);
    uint64_t index = log->scanned_index + 1 > first ? log->scanned_index + 1 : first;
    for (; index <= last; index++) {
        scan_stamp(c, index);
        struct durability_record record;
        if (index <= log->newest.index || !read_record(c, index, &log->newest, &record))
            continue;
        log->newest = record;
        note_stamp(log, record.entry.stamp);
    }
    log->scanned_index = last;
}

static void scan_committed(struct consensus_raft *c)
{
    struct durability_log *log = &c->durability_log;
    const uint64_t commit = c->raft.commit_index;
    if (log->newest.index <= commit) {
        log->newest.decisions = bit_of(&log->newest);
        log->committed = log->newest;
    }
    struct durability_record record;
    /* A later one is not committed: what was committed just now may hold an earlier one. */
    for (uint64_t index = log->committed_scan + 1; log->newest.index > commit && index <= commit;
         index++) {
        if (index <= log->committed.index || !read_record(c, index, &log->committed, &record))
            continue;
        record.decisions = bit_of(&record);
        log->committed = record;
    }
    log->committed_scan = commit;
}

void consensus_durability_log_settle(struct consensus_raft *c)
{
    if (!c->durability_log.begun)
        consensus_durability_log_begin(c, 0, NULL);
    scan_new(c);
    scan_committed(c);
}

void consensus_durability_log_cut(struct consensus_raft *c, uint64_t from)
{
    struct durability_log *log = &c->durability_log;
    if (log->scanned_index >= from)
        log->scanned_index = from - 1;
    if (log->newest.index < from)
        return;
    const uint64_t cut = log->newest.index;
    uint32_t decisions = log->committed.decisions;
    log->newest = log->committed;
    for (uint64_t index = from - 1; index > log->committed.index; index--) {
        struct durability_record record;
        if (raft_layout_entry(&c->raft, index) == NULL)
            break;
        if (!read_record(c, index, &log->committed, &record))
            continue;
        invariant_values(index < cut, index, cut);
        decisions |= record.decisions;
        if (log->newest.index < index)
            log->newest = record;
    }
    log->newest.decisions = decisions;
}

bool consensus_durability_may_decide(const struct consensus_raft *c,
                                     enum durability_decision decision)
{
    return (c->durability_log.newest.decisions & 1u << decision) != 0;
}
