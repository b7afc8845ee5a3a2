/*
 * Opening: walk all segments, decide about the last one, make durable what was found, build the
 * index in RAM.
 *
 * What the walk found sound need not be on the disk: after kill -9 it may sit in the page cache
 * unsynced, and after a failed sync it may sit there marked clean although it never reached the
 * disk. From the moment open returns, others will count on it. So everything in the last segment
 * that no synced_to vouches for is written again, byte for byte, and synced. Writing the same bytes
 * cannot tear.
 *
 * A torn tail is overwritten with zeros, durably, before anything is appended, so that no stale
 * record can ever be found behind a new one. A crash in the middle finds a torn tail again. For the
 * same reason as above this is done after every start that was not preceded by a clean stop, zeros
 * to be seen there or not: an earlier cut may have failed to reach the disk.
 *
 * The file after the last used segment is the spare: blank, or with a half written header (the
 * writer was about to begin it) and nothing behind. If the last segment is closed, the spare is
 * begun here, so that the writer always has an open segment.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "storage/journal_state.h"
#include "storage/journal_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recovery {
    const struct journal_options *options;
    const struct files *files;
    struct journal *journal;
    struct journal_walk walk;
    uint64_t *numbers;
    size_t count;      /* segments with a sound header: numbers[0 .. count) */
    bool spare_exists; /* numbers[count] is unused */
    bool spare_blank;
    uint64_t spare_size;
    enum journal_walk_end end; /* of the last used segment */
    uint64_t cut;
};

static enum status damage_at(struct recovery *recovery, uint64_t number, enum status status,
                             uint64_t offset, const char *what)
{
    journal_segment_name(number, recovery->walk.name);
    journal_walk_damage(&recovery->walk, status, offset, what);
    return status;
}

static enum status open_segment(struct recovery *recovery, uint64_t number, enum file_mode mode,
                                struct file **out_file, uint64_t *out_size)
{
    const struct files *files = recovery->files;
    char name[JOURNAL_NAME_SIZE];
    journal_segment_name(number, name);
    struct file *file = NULL;
    enum status status = files->open(files->context, name, mode, &file);
    if (status == STATUS_OK) {
        status = files->size(files->context, file, out_size);
        if (status != STATUS_OK)
            files->close(files->context, file);
    }
    if (status != STATUS_OK)
        return damage_at(recovery, number, status, 0, status_text(status));
    *out_file = file;
    return STATUS_OK;
}

/* ---- index, filled by the walk ---- */

static enum status record_each(void *context, const struct journal_record_header *record,
                               uint64_t offset)
{
    struct journal *journal = context;
    struct journal_shared *shared = journal->shared;
    struct journal_segment *segment = shared->segments[shared->segment_count - 1];
    if (record->type == JOURNAL_TRUNCATE) {
        journal_segments_trim(shared, record->index);
        journal_terms_trim(journal, record->index);
        return STATUS_OK;
    }
    if (!journal_record_is_entry(record->type))
        return STATUS_OK;
    invariant_values(segment->count < segment->capacity, segment->count, segment->capacity);
    invariant_values(segment->first_index + segment->count == record->index, segment->first_index,
                     record->index);
    segment->offsets[segment->count++] = (uint32_t)(offset / JOURNAL_RECORD_ALIGN);
    return journal_terms_add(journal, record->index, record->term);
}

/* ---- walking ---- */

/* Splits the files into used ones and the spare. */
static enum status sort_out(struct recovery *recovery)
{
    enum status status = journal_walk_list(recovery->files, &recovery->numbers, &recovery->count);
    if (status != STATUS_OK)
        return status;
    const uint64_t number = recovery->numbers[recovery->count - 1];
    struct file *file;
    uint64_t size;
    status = open_segment(recovery, number, FILE_READ, &file, &size);
    if (status != STATUS_OK)
        return status;
    enum journal_header_look look;
    status = journal_walk_look(&recovery->walk, number, file, size, &look);
    recovery->files->close(recovery->files->context, file);
    if (status != STATUS_OK)
        return damage_at(recovery, number, status, 0, status_text(status));
    if (look == JOURNAL_HEADER_DAMAGED ||
        (recovery->count == 1 && (look == JOURNAL_HEADER_BLANK || look == JOURNAL_HEADER_UNUSED)))
        return damage_at(recovery, number, STATUS_CORRUPT, 0,
                         "the header is damaged, the segment cannot be read without it");
    if (look == JOURNAL_HEADER_BLANK || look == JOURNAL_HEADER_UNUSED) {
        recovery->spare_exists = true;
        recovery->spare_blank = look == JOURNAL_HEADER_BLANK;
        recovery->spare_size = size;
        recovery->count--;
    }
    return STATUS_OK;
}

static enum status check_identity(struct recovery *recovery, uint64_t number,
                                  enum journal_header_look look)
{
    if (look == JOURNAL_HEADER_VERSION)
        return damage_at(recovery, number, STATUS_VERSION, 0,
                         "the segment's format is later than this build knows");
    if (look != JOURNAL_HEADER_SOUND)
        return damage_at(recovery, number, STATUS_CORRUPT, 0,
                         "the header is damaged, the segment cannot be read without it");
    if (memcmp(recovery->walk.header.cluster_id, recovery->options->cluster_id, 16) != 0)
        return damage_at(recovery, number, STATUS_WRONG_CLUSTER, 0,
                         "the segment belongs to another cluster");
    return STATUS_OK;
}

/* Numbers run without gap, the spare's included. */
static enum status check_number(struct recovery *recovery, size_t position)
{
    if (position == 0 || recovery->numbers[position] == recovery->numbers[position - 1] + 1)
        return STATUS_OK;
    return damage_at(recovery, recovery->numbers[position - 1] + 1, STATUS_CORRUPT, 0,
                     "the segment file is missing, those around it are there");
}

static enum status walk_one(struct recovery *recovery, size_t position)
{
    struct journal *journal = recovery->journal;
    struct journal_walk *walk = &recovery->walk;
    const uint64_t number = recovery->numbers[position];
    struct file *file;
    uint64_t size;
    enum status status = open_segment(recovery, number, FILE_READ, &file, &size);
    if (status != STATUS_OK)
        return status;
    enum journal_header_look look;
    status = journal_walk_look(walk, number, file, size, &look);
    if (status != STATUS_OK) {
        (void)damage_at(recovery, number, status, 0, status_text(status));
        goto out;
    }
    status = check_identity(recovery, number, look);
    if (status != STATUS_OK)
        goto out;
    struct journal_segment *segment = journal_segment_create(number, walk->header.size);
    if (segment == NULL || journal_segments_reserve(journal->shared) != STATUS_OK) {
        journal_segment_destroy(segment);
        status = damage_at(recovery, number, STATUS_NO_MEMORY, 0, status_text(STATUS_NO_MEMORY));
        goto out;
    }
    segment->first_index = walk->header.anchor_index + 1;
    journal_key_derive(walk->header.generation, &segment->key);
    journal_segments_push(journal->shared, segment);

    const bool last = position + 1 == recovery->count;
    recovery->end = journal_walk_segment(walk, number, size);
    status = walk->damage.status;
    if (recovery->end == JOURNAL_WALK_OPEN || recovery->end == JOURNAL_WALK_TORN) {
        if (!last)
            status = damage_at(recovery, number, STATUS_CORRUPT, walk->end_offset,
                               "the records end here, though a next segment was begun");
        else if (recovery->spare_exists && !recovery->spare_blank)
            status = damage_at(recovery, number, STATUS_CORRUPT, walk->end_offset,
                               "the records end here, though the next segment's page is not blank");
    }
    if (recovery->end == JOURNAL_WALK_CLOSED && last) {
        if (!recovery->spare_exists)
            status = damage_at(recovery, walk->next_number, STATUS_CORRUPT, 0,
                               "the segment file is missing, the one before was closed");
        else if (recovery->spare_size != walk->next_size)
            status = damage_at(recovery, walk->next_number, STATUS_CORRUPT, 0,
                               "the file does not have the size that the segment before names");
    }
out:
    recovery->files->close(recovery->files->context, file);
    return status;
}

/* ---- making it durable ---- */

static enum status rewrite(struct recovery *recovery, struct file *file, uint64_t from, uint64_t to)
{
    const struct files *files = recovery->files;
    while (from < to) {
        const uint64_t left = to - from;
        const size_t size = left < JOURNAL_PAGE_SIZE ? (size_t)left : JOURNAL_PAGE_SIZE;
        const uint8_t *bytes;
        enum status status = journal_window_get(&recovery->walk.window, from, size, &bytes);
        if (status == STATUS_OK)
            status = files->write(files->context, file, bytes, size, from);
        if (status != STATUS_OK)
            return status;
        from += size;
    }
    return STATUS_OK;
}

/* Zeros, whether or not zeros are read there: what is read may be in memory only. */
static enum status wipe(struct recovery *recovery, struct file *file, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[64 * 1024];
    const struct files *files = recovery->files;
    while (from < to) {
        const uint64_t left = to - from;
        const size_t size = left < sizeof zeros ? (size_t)left : sizeof zeros;
        const enum status status = files->write(files->context, file, zeros, size, from);
        if (status != STATUS_OK)
            return status;
        from += size;
    }
    return STATUS_OK;
}

/* The last used segment: header and unproven tail written again, everything behind it zeroed,
 * synced. Only a clean stop proves that zeros were there, and durable. */
static enum status settle_last(struct recovery *recovery)
{
    struct journal_walk *walk = &recovery->walk;
    struct journal_writer *writer = &recovery->journal->writer;
    const uint64_t number = recovery->numbers[recovery->count - 1];
    uint64_t size;
    enum status status = open_segment(recovery, number, FILE_WRITE, &writer->file, &size);
    if (status != STATUS_OK)
        return status;
    journal_window_set(&walk->window, writer->file, size);
    if (planted(PLANTED_RECOVERED_TAIL_NOT_SYNCED) && recovery->end != JOURNAL_WALK_TORN)
        return STATUS_OK;
    status = rewrite(recovery, writer->file, 0, JOURNAL_PAGE_SIZE);
    if (status == STATUS_OK)
        status = rewrite(recovery, writer->file, walk->unsynced_offset, walk->end_offset);
    if (status == STATUS_OK && recovery->end != JOURNAL_WALK_CLOSED &&
        walk->position.last_type != JOURNAL_STOP)
        status = wipe(recovery, writer->file, walk->end_offset, size);
    recovery->cut = walk->torn_bytes;
    if (status == STATUS_OK)
        status = recovery->files->sync(recovery->files->context, writer->file);
    if (status != STATUS_OK)
        return damage_at(recovery, number, status, walk->end_offset, status_text(status));
    return STATUS_OK;
}

/* Takes the spare over, or removes one that no longer fits. */
static enum status settle_spare(struct recovery *recovery)
{
    struct journal_shared *shared = recovery->journal->shared;
    const struct files *files = recovery->files;
    if (!recovery->spare_exists)
        return STATUS_OK;
    const uint64_t number = recovery->numbers[recovery->count];
    if (recovery->end != JOURNAL_WALK_CLOSED &&
        recovery->spare_size != recovery->options->segment_size) {
        /* Made by a start with another segment size; nothing was ever written to it. */
        char name[JOURNAL_NAME_SIZE];
        journal_segment_name(number, name);
        const enum status status = files->remove(files->context, name);
        return status == STATUS_OK ? STATUS_OK
                                   : damage_at(recovery, number, status, 0, status_text(status));
    }
    struct file *file;
    uint64_t size;
    enum status status = open_segment(recovery, number, FILE_WRITE, &file, &size);
    if (status != STATUS_OK)
        return status;
    status = wipe(recovery, file, 0, JOURNAL_PAGE_SIZE);
    if (status == STATUS_OK)
        status = files->sync(files->context, file);
    files->close(files->context, file);
    if (status == STATUS_OK)
        status = journal_segments_reserve(shared);
    if (status == STATUS_OK) {
        shared->spare = journal_segment_create(number, size);
        if (shared->spare == NULL)
            status = STATUS_NO_MEMORY;
    }
    if (status != STATUS_OK)
        return damage_at(recovery, number, status, 0, status_text(status));
    return STATUS_OK;
}

static enum status settle(struct recovery *recovery)
{
    enum status status = settle_last(recovery);
    if (status == STATUS_OK)
        status = settle_spare(recovery);
    if (status != STATUS_OK)
        return status;
    const struct files *files = recovery->files;
    status = files->remove(files->context, JOURNAL_SPARE_TEMPORARY);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        status = files->sync_directory(files->context);
    if (status != STATUS_OK)
        return damage_at(recovery, recovery->numbers[0], status, 0, status_text(status));
    return STATUS_OK;
}

/* ---- handing over ---- */

static void hand_over(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    struct journal_shared *shared = journal->shared;
    struct journal_writer *writer = &journal->writer;
    const struct journal_walk *walk = &recovery->walk;
    const struct journal_walk_position *position = &walk->position;

    journal->first_index = position->first_index;
    journal->last_index = position->index;
    journal->last_term = position->term;
    journal->anchor_term = position->anchor_term;
    memcpy(journal->anchor_head, position->anchor_head, sizeof journal->anchor_head);

    shared->synced_index = position->index;
    memcpy(shared->synced_head, position->head, sizeof shared->synced_head);
    shared->remove_first = shared->remove_end = recovery->numbers[0];
    shared->configuration_size = walk->header.configuration_size;
    memcpy(shared->configuration, walk->header.configuration, sizeof shared->configuration);

    writer->segment = shared->segments[shared->segment_count - 1];
    writer->number = writer->segment->number;
    writer->size = writer->segment->size;
    writer->offset = walk->end_offset;
    writer->sequence = writer->synced_sequence = position->sequence;
    writer->index = position->index;
    writer->term = position->term;
    memcpy(writer->head, position->head, sizeof writer->head);
    memcpy(writer->generation, position->generation, sizeof writer->generation);
    writer->key = writer->segment->key;
    writer->count = writer->segment->count;
    writer->last_type = position->last_type;
    const uint64_t usable_end = writer->size - JOURNAL_RECORD_ALIGN;
    shared->room = writer->offset < usable_end ? usable_end - writer->offset : 0;
    writer->idle_from_ns = journal->options.clock_ns(journal->options.clock_context);
}

static enum status recover(struct recovery *recovery)
{
    enum status status = sort_out(recovery);
    for (size_t i = 0; status == STATUS_OK && i < recovery->count; i++) {
        status = check_number(recovery, i);
        if (status == STATUS_OK)
            status = walk_one(recovery, i);
    }
    if (status == STATUS_OK && recovery->spare_exists)
        status = check_number(recovery, recovery->count);
    if (status == STATUS_OK)
        status = settle(recovery);
    if (status != STATUS_OK)
        return status;
    hand_over(recovery);
    if (recovery->end == JOURNAL_WALK_CLOSED) {
        status = journal_writer_begin_segment(recovery->journal);
        if (status != STATUS_OK)
            return damage_at(recovery, recovery->numbers[recovery->count], status, 0,
                             status_text(status));
    }
    return STATUS_OK;
}

enum status journal_open(const struct journal_options *options, struct journal **out_journal,
                         struct journal_damage *out_damage, uint64_t *out_cut)
{
    struct recovery recovery = {.options = options, .files = options->files};
    memset(out_damage, 0, sizeof *out_damage);
    if (options->segment_size < JOURNAL_SEGMENT_SIZE_MIN ||
        options->segment_size > JOURNAL_SEGMENT_SIZE_MAX ||
        options->segment_size % JOURNAL_PAGE_SIZE != 0) {
        out_damage->status = STATUS_INVALID;
        (void)snprintf(out_damage->text, sizeof out_damage->text,
                       "the segment size must be 64 KiB to 1 GiB and a multiple of 4096; correct "
                       "the configuration");
        return STATUS_INVALID;
    }
    recovery.journal = journal_allocate(options);
    if (recovery.journal == NULL) {
        out_damage->status = STATUS_NO_MEMORY;
        return STATUS_NO_MEMORY;
    }
    journal_walk_init(&recovery.walk, options->files);
    recovery.walk.record_context = recovery.journal;
    recovery.walk.record = record_each;

    const enum status status = recover(&recovery);
    if (status == STATUS_OK) {
        *out_journal = recovery.journal;
        *out_cut = recovery.cut;
    } else {
        *out_damage = recovery.walk.damage;
        if (out_damage->status == STATUS_OK) { /* no segment to point at */
            out_damage->status = status;
            (void)snprintf(out_damage->text, sizeof out_damage->text,
                           status == STATUS_NOT_FOUND
                               ? "there is no journal in this directory; check the path, or make "
                                 "the node's directory first"
                               : "the journal's directory cannot be listed; check disk and rights");
        }
        journal_release(recovery.journal);
    }
    journal_walk_deinit(&recovery.walk);
    free(recovery.numbers);
    return status;
}
