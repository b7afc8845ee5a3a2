/*
 * Judging one segment.
 *
 * The walk goes from record to record. Where it ends there is one question: did a power loss tear a
 * write that nobody was told about (cut it), or was something lost that had been synced (refuse)?
 * Three facts decide:
 *   1. Sequence numbers run without gap over all records for ever, and each record names the
 *      highest sequence that was durable when it was written. If any record behind the end names
 *      the missing one, it was durable: damage.
 *   2. A record header lies within one 512-byte sector of a file that was zero before, so after a
 *      torn write it is all there or all zero. Half a header is damage, wherever it lies.
 *   3. After a clean stop the next record (START or CLOSE) is synced alone before anything follows.
 *      As long as it is missing all must be zero.
 * Segments before the last need no such question: the next one's header is only written once
 * everything before it is durable.
 */
#include "storage/journal_walk.h"

#include "core/bounds.h"
#include "core/invariant.h"
#include "core/planted_fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void journal_walk_init(struct journal_walk *walk, const struct files *files)
{
    memset(walk, 0, sizeof *walk);
    journal_window_init(&walk->window, files);
    walk->hash = hash_stream_create();
    walk->check_chain = true;
}

void journal_walk_deinit(struct journal_walk *walk)
{
    journal_window_deinit(&walk->window);
    hash_stream_destroy(walk->hash);
    walk->hash = NULL;
}

void journal_walk_damage(struct journal_walk *walk, enum status status, uint64_t offset,
                         const char *what)
{
    struct journal_damage *damage = &walk->damage;
    memset(damage, 0, sizeof *damage);
    damage->status = status;
    memcpy(damage->segment, walk->name, sizeof walk->name);
    damage->offset = offset;
    damage->index = walk->position.begun ? walk->position.index + 1 : 0;
    damage->sequence = walk->position.begun ? walk->position.sequence + 1 : 0;
    const char *next = "keep the files as they are and repair this node from a peer or a backup";
    if (status == STATUS_VERSION)
        next = "start a build that knows this format";
    if (status == STATUS_WRONG_CLUSTER)
        next = "put this node's own journal in its place";
    if (status == STATUS_NO_MEMORY)
        next = "free memory and start again";
    if (status != STATUS_CORRUPT && status != STATUS_VERSION && status != STATUS_WRONG_CLUSTER &&
        status != STATUS_NO_MEMORY)
        next = "check the disk and the kernel log, then start again";
    (void)snprintf(damage->text, sizeof damage->text,
                   "%s, offset %" PRIu64 ", first entry not proven %" PRIu64 ": %s; %s", walk->name,
                   offset, damage->index, what, next);
}

static enum journal_walk_end damaged(struct journal_walk *walk, uint64_t offset, const char *what)
{
    journal_walk_damage(walk, STATUS_CORRUPT, offset, what);
    return JOURNAL_WALK_DAMAGED;
}

static enum journal_walk_end failed(struct journal_walk *walk, enum status status, uint64_t offset)
{
    journal_walk_damage(walk, status, offset, status_text(status));
    return JOURNAL_WALK_FAILED;
}

/* ---- the header page ---- */

static enum status is_zero_between(struct journal_walk *walk, uint64_t from, uint64_t to,
                                   bool *out_zero, uint64_t *out_last)
{
    *out_zero = true;
    *out_last = from;
    while (from < to) {
        const uint64_t left = to - from;
        const size_t size = left < JOURNAL_PAGE_SIZE ? (size_t)left : JOURNAL_PAGE_SIZE;
        const uint8_t *bytes;
        const enum status status = journal_window_get(&walk->window, from, size, &bytes);
        if (status != STATUS_OK)
            return status;
        if (!journal_is_zero(bytes, size)) {
            *out_zero = false;
            size_t last = size;
            while (bytes[last - 1] == 0)
                last--;
            *out_last = from + last;
        }
        from += size;
    }
    return STATUS_OK;
}

enum status journal_walk_look(struct journal_walk *walk, uint64_t number, struct file *file,
                              uint64_t file_size, enum journal_header_look *out_look)
{
    journal_segment_name(number, walk->name);
    journal_window_set(&walk->window, file, file_size);
    memset(&walk->header, 0, sizeof walk->header);
    const uint64_t page_end = file_size < JOURNAL_PAGE_SIZE ? file_size : JOURNAL_PAGE_SIZE;
    enum status status = STATUS_OK;
    if (page_end > 0) {
        const uint8_t *page;
        status = journal_window_get(&walk->window, 0, (size_t)page_end, &page);
        if (status != STATUS_OK)
            return status;
        memcpy(&walk->header, page, (size_t)page_end);
    }
    const enum status sound = journal_segment_header_check(&walk->header);
    if (sound != STATUS_CORRUPT) {
        *out_look = sound == STATUS_OK ? JOURNAL_HEADER_SOUND : JOURNAL_HEADER_VERSION;
        return STATUS_OK;
    }
    const bool blank = journal_is_zero((const uint8_t *)&walk->header, sizeof walk->header);
    bool zero;
    uint64_t last;
    status = is_zero_between(walk, page_end, file_size, &zero, &last);
    if (status != STATUS_OK)
        return status;
    if (!zero)
        *out_look = JOURNAL_HEADER_DAMAGED;
    else
        *out_look = blank ? JOURNAL_HEADER_BLANK : JOURNAL_HEADER_UNUSED;
    return STATUS_OK;
}

/* The header must continue what was walked before; the first one begins it. */
static enum journal_walk_end accept_header(struct journal_walk *walk, uint64_t number,
                                           uint64_t file_size)
{
    const struct journal_segment_header *header = &walk->header;
    struct journal_walk_position *position = &walk->position;
    if (header->number != number)
        return damaged(walk, 0, "the header carries another segment's number (renamed or copied)");
    if (header->size != file_size)
        return damaged(walk, 0, "the file does not have the size its header names (cut off?)");
    if (position->begun) {
        if (memcmp(header->cluster_id, position->cluster_id, 16) != 0 ||
            memcmp(header->previous_generation, position->generation, 16) != 0)
            return damaged(walk, 0, "the header does not follow the segment before (exchanged?)");
        if (header->first_sequence != position->sequence + 1 ||
            header->anchor_index != position->index || header->anchor_term != position->term ||
            memcmp(header->anchor_head, position->head, JOURNAL_HASH_SIZE) != 0)
            return damaged(walk, 0, "the anchor differs from where the segment before ended");
    } else {
        position->begun = true;
        position->sequence = header->first_sequence - 1;
        position->index = header->anchor_index;
        position->term = header->anchor_term;
        memcpy(position->head, header->anchor_head, JOURNAL_HASH_SIZE);
        position->first_index = header->anchor_index + 1;
        position->anchor_term = header->anchor_term;
        memcpy(position->anchor_head, header->anchor_head, JOURNAL_HASH_SIZE);
        memcpy(position->cluster_id, header->cluster_id, 16);
    }
    memcpy(position->generation, header->generation, 16);
    /* A header is written only when everything before it is durable. */
    position->synced_to = position->sequence;
    position->last_type = 0;
    return JOURNAL_WALK_OPEN;
}

/* ---- records ---- */

/* What a header with a valid checksum may still get wrong: then it was written to the wrong place,
 * or by a writer with an error. NULL when it is the record that belongs here. */
static const char *record_misfit(const struct journal_walk *walk,
                                 const struct journal_record_header *record, uint64_t offset)
{
    const struct journal_walk_position *position = &walk->position;
    if (record->sequence != position->sequence + 1)
        return "a record with another sequence number stands here (lost or misplaced write)";
    if (record->synced_to >= record->sequence)
        return "the record claims to be durable before it was written";
    const bool entry = journal_record_is_entry(record->type);
    if (!entry && (record->type < JOURNAL_SEAL || record->type > JOURNAL_CLOSE))
        return "the record's type is unknown";
    if (record->reserved != 0 || record->length > (entry ? ENTRY_SIZE_MAX : 0u))
        return "the record's length is out of range";
    if (journal_record_size(record->type, record->length) > walk->header.size - offset)
        return "the record goes beyond the end of the segment";
    if (position->last_type == JOURNAL_STOP && record->type != JOURNAL_START &&
        record->type != JOURNAL_CLOSE)
        return "a clean stop is not followed by a start";
    if (record->type == JOURNAL_START && position->last_type != JOURNAL_STOP)
        return "a start does not follow a stop";
    if (record->type >= JOURNAL_SEAL && record->type <= JOURNAL_START &&
        (record->index != position->index || record->term != position->term))
        return "a mark names another last entry";
    if (entry && (record->index != position->index + 1 || record->term < position->term))
        return "the entry's index or term does not follow the entry before";
    if (record->type == JOURNAL_TRUNCATE && record->index > position->index)
        return "the truncation mark names an entry that was never written";
    return NULL;
}

/* Moves the position over a sound record; `body` as in the file. */
static const char *accept_record(struct journal_walk *walk,
                                 const struct journal_record_header *record, const uint8_t *body,
                                 uint64_t offset)
{
    struct journal_walk_position *position = &walk->position;
    if (journal_record_is_entry(record->type)) {
        const uint64_t body_size = journal_record_body_size(record->type, record->length);
        const uint8_t *stored = body + body_size - JOURNAL_HASH_SIZE;
        if (walk->check_chain) {
            const struct journal_entry entry = {.index = record->index,
                                                .term = record->term,
                                                .type = record->type,
                                                .size = record->length,
                                                .payload = body};
            uint8_t head[JOURNAL_HASH_SIZE];
            journal_chain(walk->hash, position->head, &entry, head);
            if (memcmp(head, stored, JOURNAL_HASH_SIZE) != 0)
                return "the entry's chain hash does not follow from the entries before";
        }
        memcpy(position->head, stored, JOURNAL_HASH_SIZE);
        position->index = record->index;
        position->term = record->term;
        position->entry_count++;
    } else if (record->type == JOURNAL_TRUNCATE) {
        const uint8_t *stored =
            body + journal_record_body_size(record->type, 0) - JOURNAL_HASH_SIZE;
        memcpy(position->head, stored, JOURNAL_HASH_SIZE);
        position->index = record->index;
        position->term = record->term;
        if (record->index + 1 < position->first_index) {
            /* Goes back behind the oldest kept header: the mark is the anchor now. */
            position->first_index = record->index + 1;
            position->anchor_term = record->term;
            memcpy(position->anchor_head, stored, JOURNAL_HASH_SIZE);
        }
    }
    if (record->synced_to > position->synced_to) {
        position->synced_to = record->synced_to;
        if (record->synced_to + 1 == record->sequence)
            walk->unsynced_offset = offset;
    }
    position->sequence = record->sequence;
    position->last_type = record->type;
    position->record_count++;
    return NULL;
}

/* The place `offset` holds no sound record. Looks at all that lies behind it for proof that one
 * was durable there; a valid header alone is proof, whatever became of its body. */
static enum journal_walk_end judge_end(struct journal_walk *walk, uint64_t offset)
{
    const struct journal_walk_position *position = &walk->position;
    const uint64_t expected = position->sequence + 1;
    uint64_t proven = position->synced_to;
    uint64_t last = offset;
    for (uint64_t at = offset; at < walk->header.size && proven < expected;
         at += JOURNAL_RECORD_ALIGN) {
        const uint8_t *bytes;
        const enum status status =
            journal_window_get(&walk->window, at, JOURNAL_RECORD_ALIGN, &bytes);
        if (status != STATUS_OK)
            return failed(walk, status, at);
        if (journal_is_zero(bytes, JOURNAL_RECORD_ALIGN))
            continue;
        last = at + JOURNAL_RECORD_ALIGN;
        struct journal_record_header record;
        memcpy(&record, bytes, sizeof record);
        if (!journal_record_header_valid(&walk->key, &record))
            continue;
        if (at > offset && record.sequence <= expected)
            return damaged(walk, at, "a record stands behind its place (misplaced write)");
        if (record.synced_to > proven)
            proven = record.synced_to;
    }
    walk->end_offset = offset;
    if (proven >= expected)
        return damaged(walk, offset,
                       "the record here is missing or damaged, and a later one says that it was "
                       "durable");
    if (last == offset)
        return JOURNAL_WALK_OPEN;
    if (position->last_type == JOURNAL_STOP)
        return damaged(walk, offset, "something stands behind a clean stop");
    walk->torn_bytes = last - offset;
    return JOURNAL_WALK_TORN;
}

/* For a planted fault: nothing was written at this place. */
static bool is_last(struct journal_walk *walk, uint64_t offset)
{
    const uint8_t *bytes;
    const size_t size = sizeof(struct journal_record_header);
    return offset + size <= walk->header.size &&
           journal_window_get(&walk->window, offset, size, &bytes) == STATUS_OK &&
           journal_is_zero(bytes, size);
}

static enum journal_walk_end walk_records(struct journal_walk *walk)
{
    uint64_t offset = JOURNAL_PAGE_SIZE;
    walk->unsynced_offset = offset;
    for (;;) {
        struct journal_record_header record;
        const uint8_t *bytes;
        if (offset + sizeof record > walk->header.size)
            return damaged(walk, offset, "the segment is full and was not closed");
        enum status status = journal_window_get(&walk->window, offset, sizeof record, &bytes);
        if (status != STATUS_OK)
            return failed(walk, status, offset);
        memcpy(&record, bytes, sizeof record);
        if (journal_is_zero(bytes, sizeof record))
            return judge_end(walk, offset);
        if (!journal_record_header_valid(&walk->key, &record))
            return damaged(walk, offset,
                           "the record's header is damaged (a torn write leaves it whole or zero)");
        const char *misfit = record_misfit(walk, &record, offset);
        if (misfit != NULL)
            return damaged(walk, offset, misfit);

        const uint64_t size = journal_record_size(record.type, record.length);
        if (planted(PLANTED_SYNCED_TAIL_CUT) && journal_record_is_entry(record.type) &&
            is_last(walk, offset + size))
            return judge_end(walk, offset);
        status = journal_window_get(&walk->window, offset, (size_t)size, &bytes);
        if (status != STATUS_OK)
            return failed(walk, status, offset);
        const uint8_t *body = bytes + sizeof record;
        if (!journal_record_body_valid(&walk->key, &record, body)) {
            if (size == sizeof record)
                return damaged(walk, offset, "the checksum of an empty body is wrong");
            return judge_end(walk, offset);
        }
        misfit = accept_record(walk, &record, body, offset);
        if (misfit != NULL)
            return damaged(walk, offset, misfit);
        if (walk->record != NULL) {
            status = walk->record(walk->record_context, &record, offset);
            if (status != STATUS_OK)
                return failed(walk, status, offset);
        }
        offset += size;
        walk->end_offset = offset;
        if (record.type == JOURNAL_CLOSE) {
            walk->next_number = record.index;
            walk->next_size = record.term;
            break;
        }
    }
    bool zero;
    uint64_t last;
    const enum status status = is_zero_between(walk, offset, walk->header.size, &zero, &last);
    if (status != STATUS_OK)
        return failed(walk, status, offset);
    if (!zero)
        return damaged(walk, last - 1, "the padding of a closed segment is not zero");
    if (walk->next_number != walk->header.number + 1)
        return damaged(walk, offset, "the closing record names a wrong segment");
    return JOURNAL_WALK_CLOSED;
}

enum journal_walk_end journal_walk_segment(struct journal_walk *walk, uint64_t number,
                                           uint64_t file_size)
{
    walk->end_offset = 0;
    walk->torn_bytes = 0;
    memset(&walk->damage, 0, sizeof walk->damage);
    const enum journal_walk_end accepted = accept_header(walk, number, file_size);
    if (accepted != JOURNAL_WALK_OPEN)
        return accepted;
    journal_key_derive(walk->header.generation, &walk->key);
    return walk_records(walk);
}

/* ---- names ---- */

struct listing {
    uint64_t *numbers;
    size_t count;
    size_t capacity;
    bool out_of_memory;
};

static bool list_each(void *argument, const char *name)
{
    struct listing *listing = argument;
    uint64_t number;
    if (!journal_segment_name_parse(name, &number))
        return true;
    if (listing->count == listing->capacity) {
        const size_t capacity = listing->capacity == 0 ? 64 : listing->capacity * 2;
        uint64_t *numbers = realloc(listing->numbers, capacity * sizeof *numbers);
        if (numbers == NULL) {
            listing->out_of_memory = true;
            return false;
        }
        listing->numbers = numbers;
        listing->capacity = capacity;
    }
    listing->numbers[listing->count++] = number;
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

enum status journal_walk_list(const struct files *files, uint64_t **out_numbers, size_t *out_count)
{
    struct listing listing = {0};
    enum status status = files->list(files->context, list_each, &listing);
    if (status == STATUS_OK && listing.out_of_memory)
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK && listing.count == 0)
        status = STATUS_NOT_FOUND;
    if (status != STATUS_OK) {
        free(listing.numbers);
        return status;
    }
    qsort(listing.numbers, listing.count, sizeof *listing.numbers, compare_numbers);
    *out_numbers = listing.numbers;
    *out_count = listing.count;
    return STATUS_OK;
}
