/*
 * Where each entry lies, in RAM: per segment an array of offsets, per change of term one run.
 *
 * Four bytes an entry; an entry takes at least 128 bytes of its file, so the index is bounded by a
 * thirty-second of the journal on disk and shrinks with every prune. Segments whose entries were
 * all truncated stay in the list with no entries: their files still hold records that the walk
 * needs.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "storage/journal_state.h"

#include <stdlib.h>
#include <string.h>

struct journal_segment *journal_segment_create(uint64_t number, uint64_t size)
{
    struct journal_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        return NULL;
    segment->number = number;
    segment->size = size;
    segment->capacity =
        (uint32_t)(journal_usable_size(size) / journal_record_size(JOURNAL_COMMAND, 0));
    segment->offsets = malloc((size_t)segment->capacity * sizeof *segment->offsets);
    if (segment->offsets == NULL) {
        free(segment);
        return NULL;
    }
    return segment;
}

void journal_segment_destroy(struct journal_segment *segment)
{
    if (segment == NULL)
        return;
    free(segment->offsets);
    free(segment);
}

enum status journal_segments_reserve(struct journal_shared *shared)
{
    if (shared->segment_count < shared->segment_capacity)
        return STATUS_OK;
    const size_t capacity = shared->segment_capacity == 0 ? 16 : shared->segment_capacity * 2;
    struct journal_segment **segments =
        realloc(shared->segments, capacity * sizeof *shared->segments);
    if (segments == NULL)
        return STATUS_NO_MEMORY;
    shared->segments = segments;
    shared->segment_capacity = capacity;
    return STATUS_OK;
}

void journal_segments_push(struct journal_shared *shared, struct journal_segment *segment)
{
    invariant_values(shared->segment_count < shared->segment_capacity, shared->segment_count,
                     shared->segment_capacity);
    shared->segments[shared->segment_count++] = segment;
}

const struct journal_segment *journal_segments_find(const struct journal_shared *shared,
                                                    uint64_t index, uint64_t *out_offset)
{
    /* first_index never falls from one segment to the next; the last one at or below counts, or an
     * earlier one when that is empty. */
    size_t low = 0;
    size_t high = shared->segment_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (shared->segments[middle]->first_index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0) {
        const struct journal_segment *segment = shared->segments[--low];
        if (segment->count == 0)
            continue;
        if (index - segment->first_index >= segment->count)
            return NULL;
        *out_offset =
            (uint64_t)segment->offsets[index - segment->first_index] * JOURNAL_RECORD_ALIGN;
        return segment;
    }
    return NULL;
}

void journal_segments_trim(struct journal_shared *shared, uint64_t index)
{
    for (size_t i = shared->segment_count; i > 0; i--) {
        struct journal_segment *segment = shared->segments[i - 1];
        if (segment->first_index + segment->count <= index + 1)
            break;
        if (segment->first_index > index + 1)
            segment->first_index = index + 1;
        segment->count = (uint32_t)(index + 1 - segment->first_index);
    }
}

enum status journal_terms_add(struct journal *journal, uint64_t index, uint64_t term)
{
    if (journal->term_count > 0) {
        const struct journal_term_run *last = &journal->terms[journal->term_count - 1];
        invariant_values(index > last->first_index, index, last->first_index);
        invariant_values(term >= last->term, term, last->term);
        if (term == last->term)
            return STATUS_OK;
    }
    if (journal->term_count == journal->term_capacity) {
        const size_t capacity = journal->term_capacity == 0 ? 16 : journal->term_capacity * 2;
        struct journal_term_run *terms = realloc(journal->terms, capacity * sizeof *terms);
        if (terms == NULL)
            return STATUS_NO_MEMORY;
        journal->terms = terms;
        journal->term_capacity = capacity;
    }
    journal->terms[journal->term_count++] =
        (struct journal_term_run){.first_index = index, .term = term};
    return STATUS_OK;
}

void journal_terms_trim(struct journal *journal, uint64_t index)
{
    const uint64_t kept = planted(PLANTED_TERM_RUN_TRIMMED_EARLY) ? index - 1 : index;
    while (journal->term_count > 0 && journal->terms[journal->term_count - 1].first_index > kept)
        journal->term_count--;
}

void journal_terms_prune(struct journal *journal, uint64_t first)
{
    if (first > journal->last_index) {
        journal->term_count = 0;
        return;
    }
    size_t gone = 0; /* runs that end below `first` */
    while (gone + 1 < journal->term_count && journal->terms[gone + 1].first_index <= first)
        gone++;
    memmove(journal->terms, journal->terms + gone,
            (journal->term_count - gone) * sizeof *journal->terms);
    journal->term_count -= gone;
    if (journal->term_count > 0 && journal->terms[0].first_index < first)
        journal->terms[0].first_index = first;
}

uint64_t journal_terms_find(const struct journal *journal, uint64_t index)
{
    invariant_values(index >= journal->first_index, index, journal->first_index);
    invariant_values(index <= journal->last_index, index, journal->last_index);
    size_t low = 0;
    size_t high = journal->term_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (journal->terms[middle].first_index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    invariant_values(low > 0, index, journal->term_count);
    return journal->terms[low - 1].term;
}
