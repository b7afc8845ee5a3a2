#include "tests/storage/journal_flips.h"

#include "storage/journal_format.h"

#include <stdlib.h>
#include <string.h>

static uint64_t sealed_records(struct journal_flips *flips)
{
    uint64_t offset = JOURNAL_PAGE_SIZE;
    struct journal_segment_header header;
    memcpy(&header, flips->bytes, sizeof header);
    uint64_t next = header.anchor_index + 1;
    while (offset + JOURNAL_RECORD_ALIGN <= flips->size) {
        struct journal_record_header record;
        memcpy(&record, flips->bytes + offset, sizeof record);
        if (record.type == 0)
            break;
        const uint64_t end = offset + journal_record_size(record.type, record.length);
        for (uint64_t at = offset; at < end; at += JOURNAL_RECORD_ALIGN) {
            flips->offsets[at / JOURNAL_RECORD_ALIGN] = offset;
            flips->indexes[at / JOURNAL_RECORD_ALIGN] = next;
        }
        if (journal_record_is_entry(record.type))
            next++;
        offset = end;
    }
    for (uint64_t at = offset; at < flips->size; at += JOURNAL_RECORD_ALIGN) {
        flips->offsets[at / JOURNAL_RECORD_ALIGN] = at;
        flips->indexes[at / JOURNAL_RECORD_ALIGN] = next;
    }
    /* Damage to the first header leaves nothing to count from. */
    for (uint64_t at = 0; at < JOURNAL_PAGE_SIZE; at += JOURNAL_RECORD_ALIGN) {
        flips->offsets[at / JOURNAL_RECORD_ALIGN] = 0;
        flips->indexes[at / JOURNAL_RECORD_ALIGN] =
            header.anchor_index == 0 ? 0 : header.anchor_index + 1;
    }
    return offset;
}

void journal_flips_init(struct journal_flips *flips, uint64_t segment_size, uint32_t payload_max,
                        bool second)
{
    memset(flips, 0, sizeof *flips);
    rig_init(&flips->rig, 7, segment_size, payload_max);
    rig_start(&flips->rig);
    struct journal_position position;
    uint32_t since_seal = 0;
    do {
        rig_fill(&flips->rig, 1);
        if (++since_seal % 7 == 0)
            (void)rig_idle(&flips->rig); /* seals between, too */
        journal_position(flips->rig.journal, &position);
    } while (position.segment_count < 2);
    rig_fill(&flips->rig, 5);
    rig_stop(&flips->rig);
    flips->name = second ? "00000000000000000002.seg" : "00000000000000000001.seg";
    flips->bytes = files_memory_bytes(flips->rig.memory, flips->name, &flips->size);
    flips->offsets = calloc(flips->size / JOURNAL_RECORD_ALIGN, sizeof *flips->offsets);
    flips->indexes = calloc(flips->size / JOURNAL_RECORD_ALIGN, sizeof *flips->indexes);
    flips->padding = sealed_records(flips);
}

void journal_flips_deinit(struct journal_flips *flips)
{
    free(flips->offsets);
    free(flips->indexes);
    rig_deinit(&flips->rig);
}

const char *journal_flips_try(struct journal_flips *flips, uint64_t bit)
{
    const uint64_t at = bit / 8;
    struct journal_report report;
    flips->bytes[at] ^= (uint8_t)(1u << (bit % 8));
    const enum status status = journal_verify(flips->rig.options.files, &report, NULL, NULL);
    flips->bytes[at] ^= (uint8_t)(1u << (bit % 8));
    if (status != STATUS_OK)
        return "the walk could not be done";
    if (report.damage.status != STATUS_CORRUPT)
        return "the flip was not found";
    if (strcmp(report.damage.segment, flips->name) != 0)
        return "another segment was named";
    const uint64_t place = flips->offsets[at / JOURNAL_RECORD_ALIGN];
    if (at < flips->padding ? report.damage.offset != place
                            : report.damage.offset != at && report.damage.offset != flips->padding)
        return "another offset was named";
    if (report.damage.index != flips->indexes[at / JOURNAL_RECORD_ALIGN])
        return "another index was named";
    return NULL;
}
