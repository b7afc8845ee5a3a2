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

/* Verifies, opens, compares the two, reads what opened. True when it opened. */
static bool examine(struct files_memory *memory)
{
    const struct journal_options options = options_for(memory);
    struct journal_report report;
    struct journal_damage damage;
    struct journal *journal;
    uint64_t cut;
    const enum status verified = journal_verify(options.files, &report, NULL, NULL);
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
