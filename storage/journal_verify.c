/*
 * The offline walk, for auditors and for repair: reads, never writes.
 *
 * Each segment is walked twice: first its structure and checksums, which is as fast as the disk,
 * then its hash chain. Damage by accident shows in the first pass, so it is found early; tampering
 * that repaired the checksums shows in the second. A visitor is shown what the second pass accepts.
 */
#include "storage/journal_walk.h"

#include <stdlib.h>
#include <string.h>

struct verification {
    const struct files *files;
    struct journal_walk walk;
    uint64_t *numbers;
    size_t count;
    struct journal_report *report;
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    bool closed;                           /* the segment before ended with CLOSE */
    const struct journal_visitor *visitor; /* NULL: nobody looks */
};

/* ---- the visitor ---- */

static enum status show_record(void *context, const struct journal_record_header *header,
                               uint64_t offset)
{
    struct verification *v = context;
    const struct journal_visitor *visitor = v->visitor;
    const struct journal_walk_position *position = &v->walk.position;
    if (!v->walk.check_chain)
        return STATUS_OK; /* the first pass */
    if (header->type == JOURNAL_TRUNCATE && visitor->truncated != NULL)
        visitor->truncated(visitor->context, position->index, position->term, position->head);
    if (!journal_record_is_entry(header->type) || visitor->entry == NULL)
        return STATUS_OK;
    const uint8_t *bytes;
    const enum status status =
        journal_window_get(&v->walk.window, offset + sizeof *header,
                           (size_t)journal_record_body_size(header->type, header->length), &bytes);
    if (status != STATUS_OK)
        return status;
    const struct journal_entry entry = {.index = header->index,
                                        .term = header->term,
                                        .type = header->type,
                                        .size = header->length,
                                        .payload = bytes};
    visitor->entry(visitor->context, &entry, position->head);
    return STATUS_OK;
}

static void show_anchor(const struct verification *v)
{
    const struct journal_segment_header *header = &v->walk.header;
    if (v->visitor == NULL || v->visitor->anchor == NULL ||
        header->configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX)
        return;
    struct journal_anchor anchor = {.index = header->anchor_index,
                                    .term = header->anchor_term,
                                    .configuration_size = header->configuration_size,
                                    .configuration = header->configuration};
    memcpy(anchor.head, header->anchor_head, sizeof anchor.head);
    v->visitor->anchor(v->visitor->context, &anchor);
}

static void show_configuration(const struct verification *v)
{
    const struct journal_segment_header *header = &v->walk.header;
    if (v->visitor != NULL && v->visitor->configuration != NULL &&
        header->configuration_size <= JOURNAL_CONFIGURATION_SIZE_MAX)
        v->visitor->configuration(v->visitor->context, header->configuration,
                                  header->configuration_size);
}

/* ---- the walk ---- */

static void damage_at(struct verification *v, uint64_t number, enum status status, uint64_t offset,
                      const char *what)
{
    journal_segment_name(number, v->walk.name);
    journal_walk_damage(&v->walk, status, offset, what);
    v->report->damage = v->walk.damage;
}

/* A file that is not a segment in use: right only as the last one. */
static void judge_unused(struct verification *v, size_t at, uint64_t size, bool blank)
{
    const uint64_t number = v->numbers[at];
    if (at == 0)
        damage_at(v, number, STATUS_CORRUPT, 0,
                  "the header is damaged, the segment cannot be read without it");
    else if (at + 1 < v->count)
        damage_at(v, number, STATUS_CORRUPT, 0, "an unused segment stands before others");
    else if (v->closed && size != v->walk.next_size)
        damage_at(v, number, STATUS_CORRUPT, 0,
                  "the file does not have the size that the segment before names");
    else if (!v->closed && !blank)
        damage_at(v, number, STATUS_CORRUPT, 0,
                  "the spare's page is not blank, though the segment before is not closed");
    else
        v->closed = false; /* what the closing record promised is there */
}

static void judge_used(struct verification *v, size_t at, uint64_t size)
{
    struct journal_walk *walk = &v->walk;
    const uint64_t number = v->numbers[at];
    if (at > 0 && !v->closed) {
        damage_at(v, v->numbers[at - 1], STATUS_CORRUPT, walk->end_offset,
                  "the records end here, though a next segment was begun");
        return;
    }
    const struct journal_walk_position before = walk->position;
    walk->check_chain = false;
    enum journal_walk_end end = journal_walk_segment(walk, number, size);
    if (end != JOURNAL_WALK_DAMAGED && end != JOURNAL_WALK_FAILED) {
        walk->position = before;
        walk->check_chain = true;
        end = journal_walk_segment(walk, number, size);
    }
    v->closed = end == JOURNAL_WALK_CLOSED;
    v->report->torn_bytes = end == JOURNAL_WALK_TORN ? walk->torn_bytes : 0;
    v->report->segment_count++;
    if (end == JOURNAL_WALK_DAMAGED || end == JOURNAL_WALK_FAILED)
        v->report->damage = walk->damage;
}

static enum status verify_one(struct verification *v, size_t at)
{
    const struct files *files = v->files;
    const uint64_t number = v->numbers[at];
    if (at > 0 && number != v->numbers[at - 1] + 1) {
        damage_at(v, v->numbers[at - 1] + 1, STATUS_CORRUPT, 0,
                  "the segment file is missing, those around it are there");
        return STATUS_OK;
    }
    char name[JOURNAL_NAME_SIZE];
    journal_segment_name(number, name);
    struct file *file = NULL;
    enum status status = files->open(files->context, name, FILE_READ, &file);
    if (status != STATUS_OK)
        return status;
    uint64_t size;
    status = files->size(files->context, file, &size);
    enum journal_header_look look = JOURNAL_HEADER_DAMAGED;
    if (status == STATUS_OK)
        status = journal_walk_look(&v->walk, number, file, size, &look);
    if (status == STATUS_OK) {
        v->report->bytes += size;
        switch (look) {
        case JOURNAL_HEADER_SOUND:
            if (at == 0)
                show_anchor(v);
            else
                show_configuration(v);
            judge_used(v, at, size);
            break;
        case JOURNAL_HEADER_VERSION:
            damage_at(v, number, STATUS_VERSION, 0,
                      "the segment's format is later than this build knows");
            break;
        case JOURNAL_HEADER_BLANK:
        case JOURNAL_HEADER_UNUSED:
            judge_unused(v, at, size, look == JOURNAL_HEADER_BLANK);
            break;
        case JOURNAL_HEADER_DAMAGED:
            damage_at(v, number, STATUS_CORRUPT, 0,
                      "the header is damaged, the segment cannot be read without it");
            break;
        }
    }
    files->close(files->context, file);
    return status;
}

static enum status verify_all(struct verification *v)
{
    struct journal_report *report = v->report;
    for (size_t i = 0; i < v->count; i++) {
        const enum status status = verify_one(v, i);
        if (status != STATUS_OK)
            return status;
        if (report->damage.status != STATUS_OK)
            break;
        if (v->progress != NULL)
            v->progress(v->context, i + 1, v->count);
    }
    if (report->damage.status == STATUS_OK && v->closed)
        damage_at(v, v->walk.next_number, STATUS_CORRUPT, 0,
                  "the segment file is missing, the one before was closed");
    const struct journal_walk_position *position = &v->walk.position;
    report->record_count = position->record_count;
    report->entry_count = position->entry_count;
    report->first_index = position->first_index;
    report->last_index = position->index;
    memcpy(report->head, position->head, sizeof report->head);
    return STATUS_OK;
}

static enum status run(struct verification *v, struct journal_report *out)
{
    struct journal_report report;
    memset(&report, 0, sizeof report);
    v->report = &report;
    enum status status = journal_walk_list(v->files, &v->numbers, &v->count);
    if (status != STATUS_OK)
        return status;
    journal_walk_init(&v->walk, v->files);
    if (v->visitor != NULL) {
        v->walk.record_context = v;
        v->walk.record = show_record;
    }
    status = verify_all(v);
    journal_walk_deinit(&v->walk);
    free(v->numbers);
    if (status == STATUS_OK)
        *out = report;
    return status;
}

enum status journal_verify(const struct files *files, struct journal_report *out,
                           void (*progress)(void *context, uint64_t done, uint64_t total),
                           void *context)
{
    struct verification v = {.files = files, .progress = progress, .context = context};
    return run(&v, out);
}

enum status journal_survey(const struct files *files, const struct journal_visitor *visitor,
                           struct journal_report *out)
{
    struct verification v = {.files = files, .visitor = visitor};
    return run(&v, out);
}
