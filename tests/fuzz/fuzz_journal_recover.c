/*
 * Recovery on hostile bytes. Whatever a segment holds, journal_open() and journal_verify() answer
 * with a status, never crash, agree with each other, and what opens can be read.
 *
 * The first byte of an input chooses:
 *   0  the rest becomes the only segment file, as it is
 *   1  the rest is a list of patches (offset u24, value u8) on a sound journal: a patch that
 * changes a byte of what was sealed must be refused 2  the same, then all checksums on the patched
 * segment are repaired, so that what lies behind them is reached
 */
#include "storage/journal_format.h"
#include "tests/lib/files_memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SEGMENT (64u * 1024)
#define ENTRIES 60u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t clock_ns(void *context)
{
    (void)context;
    return 1;
}

static void random_bytes(void *context, void *out, size_t size)
{
    (void)context;
    memset(out, 0x5a, size);
}

static void wake(void *context)
{
    (void)context;
}

static struct journal_options options_for(struct files_memory *memory)
{
    return (struct journal_options){.files = files_memory_table(memory),
                                    .segment_size = SEGMENT,
                                    .clock_ns = clock_ns,
                                    .random = random_bytes,
                                    .wake_writer = wake,
                                    .wake_preparer = wake,
                                    .wake_loop = wake};
}

static void require(bool truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "fuzz_journal_recover: %s\n", what);
        abort();
    }
}

static void done(struct journal_append *append, enum status status)
{
    (void)append;
    require(status == STATUS_OK, "an append failed");
}

static void run(struct journal *journal)
{
    uint64_t wait;
    while (journal_preparer_step(journal, &wait) == JOB_AGAIN)
        continue;
    while (journal_writer_step(journal, &wait) == JOB_AGAIN)
        continue;
    journal_process(journal);
}

/* Two segments; the second was stopped cleanly. */
static struct files_memory *sound_journal(void)
{
    struct files_memory *memory = files_memory_create(1);
    const struct journal_options options = options_for(memory);
    struct journal *journal;
    struct journal_damage damage;
    uint64_t cut;
    static uint8_t payload[3000];
    require(journal_create(&options) == STATUS_OK, "create");
    require(journal_open(&options, &journal, &damage, &cut) == STATUS_OK, "open");
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        const struct journal_entry entry = {.index = i,
                                            .term = 1 + i / 20,
                                            .type = JOURNAL_COMMAND,
                                            .size = (uint32_t)(i * 37 % sizeof payload),
                                            .payload = payload};
        struct journal_append append = {.entries = &entry, .entry_count = 1, .cb = done};
        run(journal);
        require(journal_append(journal, &append) == STATUS_OK, "append");
        run(journal);
    }
    require(journal_truncate_suffix(journal, ENTRIES - 3) == STATUS_OK, "truncate");
    journal_stop(journal);
    run(journal);
    journal_close(journal);
    files_memory_settle(memory);
    return memory;
}

static void repair(uint8_t *bytes)
{
    struct journal_segment_header header;
    memcpy(&header, bytes, sizeof header);
    memset(header.checksum, 0, sizeof header.checksum);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(&header, sizeof header));
    memcpy(bytes + offsetof(struct journal_segment_header, checksum), canonical.digest, 16);
    struct journal_key key;
    journal_key_derive(header.generation, &key);
    uint64_t offset = JOURNAL_PAGE_SIZE;
    while (offset + JOURNAL_RECORD_ALIGN <= SEGMENT) {
        struct journal_record_header record;
        memcpy(&record, bytes + offset, sizeof record);
        const uint64_t room = SEGMENT - offset - sizeof record;
        uint64_t body = journal_record_body_size(record.type, record.length);
        if (journal_is_zero(bytes + offset, sizeof record))
            break;
        if (body > room)
            body = 0;
        XXH128_canonicalFromHash(&canonical,
                                 XXH3_128bits_withSecret(bytes + offset + sizeof record, body,
                                                         key.secret, sizeof key.secret));
        memcpy(record.body_checksum, canonical.digest, 16);
        record.checksum = XXH3_64bits_withSecret((const uint8_t *)&record + 8, sizeof record - 8,
                                                 key.secret, sizeof key.secret);
        memcpy(bytes + offset, &record, sizeof record);
        offset += sizeof record + body;
    }
}

static bool sum_each(void *context, const struct journal_entry *entry)
{
    uint64_t *sum = context;
    for (uint32_t i = 0; i < entry->size; i++)
        *sum += ((const uint8_t *)entry->payload)[i];
    return true;
}

/* The end of the log, as somebody sees it who is shown record after record. */
struct surveyed {
    uint64_t last_index;
    uint8_t head[JOURNAL_HASH_SIZE];
};

static void survey_anchor(void *context, const struct journal_anchor *anchor)
{
    struct surveyed *seen = context;
    require(anchor->configuration_size <= JOURNAL_CONFIGURATION_SIZE_MAX, "an anchor's size");
    seen->last_index = anchor->index;
    memcpy(seen->head, anchor->head, sizeof seen->head);
}

static void survey_entry(void *context, const struct journal_entry *entry,
                         const uint8_t head[JOURNAL_HASH_SIZE])
{
    struct surveyed *seen = context;
    require(entry->index == seen->last_index + 1, "an entry is shown out of order");
    seen->last_index = entry->index;
    memcpy(seen->head, head, sizeof seen->head);
}

static void survey_truncated(void *context, uint64_t index, uint64_t term,
                             const uint8_t head[JOURNAL_HASH_SIZE])
{
    struct surveyed *seen = context;
    (void)term;
    require(index <= seen->last_index, "what is not there is cut off");
    seen->last_index = index;
    memcpy(seen->head, head, sizeof seen->head);
}

static void survey(const struct files *files, const struct journal_report *verified)
{
    struct surveyed seen = {.last_index = 0};
    const struct journal_visitor visitor = {.context = &seen,
                                            .anchor = survey_anchor,
                                            .entry = survey_entry,
                                            .truncated = survey_truncated};
    struct journal_report report;
    require(journal_survey(files, &visitor, &report) == STATUS_OK, "verified and not surveyed");
    require(report.damage.status == verified->damage.status &&
                report.last_index == verified->last_index &&
                memcmp(report.head, verified->head, sizeof report.head) == 0,
            "verification and survey see other ends");
    if (report.damage.status == STATUS_OK)
        require(seen.last_index == report.last_index &&
                    memcmp(seen.head, report.head, sizeof seen.head) == 0,
                "what was shown ends elsewhere");
}

/* For a peer: by the index, with the chain computed again. */
static void read_beside(struct journal *journal, uint64_t last, uint64_t expected)
{
    static uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
    struct journal_reader *reader;
    struct journal_anchor anchor;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint64_t sum = 0;
    require(journal_reader_create(journal, &reader) == STATUS_OK, "memory");
    require(journal_reader_anchor(reader, &anchor, configuration) == STATUS_OK, "an anchor");
    journal_reader_set(reader, anchor.index, anchor.head);
    require(journal_reader_read(reader, last, sum_each, &sum, head) == STATUS_OK,
            "what opened cannot be read for a peer");
    require(sum == expected, "two ways of reading give other entries");
    journal_reader_destroy(reader);
}

/* Verifies, surveys, opens, compares them, reads what opened. True when it opened. */
static bool examine(struct files_memory *memory)
{
    const struct journal_options options = options_for(memory);
    struct journal_report report;
    struct journal_damage damage;
    struct journal *journal;
    uint64_t cut;
    const enum status verified = journal_verify(options.files, &report, NULL, NULL);
    if (verified == STATUS_OK)
        survey(options.files, &report);
    const enum status opened = journal_open(&options, &journal, &damage, &cut);
    if (opened != STATUS_OK) {
        require(damage.status == opened, "the damage has another status than the call");
        require(damage.text[0] != 0, "damage without words");
        require(verified != STATUS_OK || report.damage.status != STATUS_OK ||
                    opened == STATUS_WRONG_CLUSTER,
                "it verifies and does not open");
        return false;
    }
    require(verified == STATUS_OK && report.damage.status == STATUS_OK,
            "it opens and does not verify");
    struct journal_position position;
    journal_position(journal, &position);
    require(position.last_index == report.last_index && position.first_index == report.first_index,
            "opening and verification see other entries");
    uint64_t sum = 0;
    require(journal_read(journal, position.first_index, position.last_index, sum_each, &sum) ==
                STATUS_OK,
            "what opened cannot be read");
    if (position.synced_index == position.last_index)
        read_beside(journal, position.last_index, sum);
    journal_close(journal);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct files_memory *original;
    if (size < 1)
        return 0;
    if (original == NULL)
        original = sound_journal();
    if (data[0] == 0) {
        struct files_memory *memory = files_memory_create(1);
        const struct files *files = files_memory_table(memory);
        struct file *file;
        require(files->open(files->context, "00000000000000000001.seg", FILE_CREATE, &file) ==
                    STATUS_OK,
                "create a file");
        require(files->write(files->context, file, data + 1, size - 1, 0) == STATUS_OK, "write");
        files->close(files->context, file);
        (void)examine(memory);
        files_memory_destroy(memory);
        return 0;
    }
    struct files_memory *memory = files_memory_clone(original, 1);
    uint64_t bytes_size;
    uint8_t *segments[2] = {files_memory_bytes(memory, "00000000000000000001.seg", &bytes_size),
                            files_memory_bytes(memory, "00000000000000000002.seg", NULL)};
    require(segments[0] != NULL && segments[1] != NULL && bytes_size == SEGMENT, "two segments");
    for (size_t at = 1; at + 4 <= size; at += 4) {
        const uint32_t offset =
            ((uint32_t)data[at] | (uint32_t)data[at + 1] << 8 | (uint32_t)data[at + 2] << 16) %
            (2 * SEGMENT);
        uint8_t *byte = &segments[offset / SEGMENT][offset % SEGMENT];
        *byte = data[at + 3];
    }
    if (data[0] == 2) {
        repair(segments[0]);
        repair(segments[1]);
        (void)examine(memory);
    } else {
        /* Compared as a whole: a later patch may have undone an earlier one. */
        const bool changed =
            memcmp(segments[0], files_memory_bytes(original, "00000000000000000001.seg", NULL),
                   SEGMENT) != 0 ||
            memcmp(segments[1], files_memory_bytes(original, "00000000000000000002.seg", NULL),
                   SEGMENT) != 0;
        const bool opened = examine(memory);
        require(opened == !changed,
                changed ? "damage to sealed bytes was not refused" : "a sound journal was refused");
    }
    files_memory_destroy(memory);
    return 0;
}
