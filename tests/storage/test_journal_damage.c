/* Damage is found, named and never cut; a torn tail is cut, and only that. */
#include "storage/journal_format.h"
#include "tests/storage/journal_flips.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SEGMENT (64u * 1024)

TestSuite(journal_damage, .timeout = 500);

static void flip_bits(struct journal_flips *flips, uint64_t from, uint64_t to, uint64_t step)
{
    for (uint64_t bit = from; bit < to; bit += step) {
        const char *wrong = journal_flips_try(flips, bit);
        cr_assert_null(wrong, "bit %lu, byte %lu of %s: %s; padding from %lu", (unsigned long)bit,
                       (unsigned long)(bit / 8), flips->name, wrong, (unsigned long)flips->padding);
    }
}

/* Header, records, chains, padding: each bit of a closed segment. (flip_all does it for 1 MiB.) */
Test(journal_damage, every_bit_of_a_closed_segment_is_vouched_for)
{
    struct journal_flips flips;
    journal_flips_init(&flips, SEGMENT, 3000, false);
    cr_assert(flips.padding < flips.size, "there is padding to flip");
    flip_bits(&flips, 0, flips.size * 8, RIG_UNDER_SANITIZER ? 7 : 1); /* 7: still every byte */
    journal_flips_deinit(&flips);
}

/* The same for the last segment after a clean stop: nothing there is ever taken for torn. */
Test(journal_damage, every_bit_of_a_cleanly_stopped_segment_is_vouched_for)
{
    struct journal_flips flips;
    journal_flips_init(&flips, SEGMENT, 3000, true);
    flip_bits(&flips, 0, (flips.padding + 256) * 8, RIG_UNDER_SANITIZER ? 7 : 1);
    flip_bits(&flips, (flips.padding + 256) * 8, flips.size * 8, 61);
    journal_flips_deinit(&flips);
}

/* What verification finds, opening refuses with the same words. */
Test(journal_damage, opening_refuses_what_verification_finds)
{
    struct journal_flips flips;
    journal_flips_init(&flips, SEGMENT, 3000, false);
    for (uint64_t bit = 3; bit < flips.size * 8; bit += 1499) {
        flips.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        struct journal_report report;
        cr_assert_eq(journal_verify(flips.rig.options.files, &report, NULL, NULL), STATUS_OK);
        cr_assert_eq(rig_open(&flips.rig), STATUS_CORRUPT, "bit %lu", (unsigned long)bit);
        cr_assert_str_eq(flips.rig.damage.text, report.damage.text);
        cr_assert(strstr(flips.rig.damage.text, "repair this node") != NULL);
        flips.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    cr_assert_eq(rig_open(&flips.rig), STATUS_OK);
    journal_flips_deinit(&flips);
}

/* ---- files missing, cut, exchanged ---- */

static struct rig rig;

static const char *name_of(uint64_t number)
{
    static char names[4][JOURNAL_NAME_SIZE];
    static unsigned turn;
    char *name = names[turn++ % 4];
    journal_segment_name(number, name);
    return name;
}

/* Five or more segments, stopped cleanly. */
static uint64_t several_segments(uint64_t seed)
{
    rig_init(&rig, seed, SEGMENT, 4000);
    rig_start(&rig);
    rig_fill(&rig, 150);
    struct journal_position position;
    journal_position(rig.journal, &position);
    cr_assert(position.segment_count >= 5);
    rig_stop(&rig);
    return position.segment_count;
}

static void refused(uint64_t number, const char *word)
{
    cr_assert_eq(rig_open(&rig), STATUS_CORRUPT);
    cr_assert_str_eq(rig.damage.segment, name_of(number), "%s", rig.damage.text);
    cr_assert(strstr(rig.damage.text, word) != NULL, "%s", rig.damage.text);
    struct journal_report report;
    cr_assert_eq(journal_verify(rig.options.files, &report, NULL, NULL), STATUS_OK);
    cr_assert_str_eq(report.damage.text, rig.damage.text);
}

Test(journal_damage, a_missing_middle_segment_is_named)
{
    (void)several_segments(1);
    files_memory_remove(rig.memory, name_of(3));
    refused(3, "missing");
    rig_deinit(&rig);
}

Test(journal_damage, a_missing_last_segment_is_named)
{
    const uint64_t count = several_segments(2);
    files_memory_remove(rig.memory, name_of(count + 1)); /* the spare */
    files_memory_remove(rig.memory, name_of(count));
    refused(count, "missing");
    rig_deinit(&rig);
}

Test(journal_damage, a_cut_off_file_is_named)
{
    const uint64_t count = several_segments(3);
    for (uint64_t number = 1; number <= count; number++) {
        for (uint64_t size = 0; size < SEGMENT; size += SEGMENT / 4) {
            struct files_memory *twin = files_memory_clone(rig.memory, 1);
            struct files_memory *original = rig.memory;
            rig.memory = twin;
            rig.options.files = files_memory_table(twin);
            files_memory_resize(twin, name_of(number), size);
            cr_assert_eq(rig_open(&rig), STATUS_CORRUPT, "segment %lu of %lu bytes",
                         (unsigned long)number, (unsigned long)size);
            struct journal_report report;
            cr_assert_eq(journal_verify(rig.options.files, &report, NULL, NULL), STATUS_OK);
            cr_assert_eq(report.damage.status, STATUS_CORRUPT);
            rig.memory = original;
            rig.options.files = files_memory_table(original);
            files_memory_destroy(twin);
        }
    }
    cr_assert_eq(rig_open(&rig), STATUS_OK);
    rig_deinit(&rig);
}

Test(journal_damage, exchanged_segments_are_named)
{
    (void)several_segments(4);
    uint8_t *two = files_memory_bytes(rig.memory, name_of(2), NULL);
    uint8_t *three = files_memory_bytes(rig.memory, name_of(3), NULL);
    for (uint64_t i = 0; i < SEGMENT; i++) {
        const uint8_t byte = two[i];
        two[i] = three[i];
        three[i] = byte;
    }
    refused(2, "another segment's number");
    rig_deinit(&rig);
}

/* A segment of another journal of the same cluster with the same contents: generations tell. */
Test(journal_damage, a_segment_of_a_sister_journal_is_named)
{
    (void)several_segments(5);
    uint8_t *copy = malloc(SEGMENT);
    memcpy(copy, files_memory_bytes(rig.memory, name_of(2), NULL), SEGMENT);
    rig_deinit(&rig);
    (void)several_segments(6);
    memcpy(files_memory_bytes(rig.memory, name_of(2), NULL), copy, SEGMENT);
    free(copy);
    refused(2, "does not follow");
    rig_deinit(&rig);
}

/* ---- records exchanged, repeated, forged ---- */

static struct journal_record_header header_at(const uint8_t *bytes, uint64_t offset)
{
    struct journal_record_header header;
    memcpy(&header, bytes + offset, sizeof header);
    return header;
}

/* Offset of the n-th entry record of a segment. */
static uint64_t nth_entry(const uint8_t *bytes, unsigned n)
{
    uint64_t offset = JOURNAL_PAGE_SIZE;
    for (;;) {
        const struct journal_record_header header = header_at(bytes, offset);
        cr_assert_neq(header.type, 0);
        if (journal_record_is_entry(header.type) && n-- == 0)
            return offset;
        offset += journal_record_size(header.type, header.length);
    }
}

static uint64_t end_of_records(const uint8_t *bytes)
{
    uint64_t offset = JOURNAL_PAGE_SIZE;
    while (offset < SEGMENT && header_at(bytes, offset).type != 0) {
        const struct journal_record_header header = header_at(bytes, offset);
        offset += journal_record_size(header.type, header.length);
    }
    return offset;
}

/* Changes one bit of an entry's payload and repairs all checksums, as a forger would. */
static void forge(uint8_t *bytes, uint64_t offset)
{
    struct journal_segment_header segment;
    memcpy(&segment, bytes, sizeof segment);
    struct journal_key key;
    journal_key_derive(segment.generation, &key);
    const struct journal_record_header header = header_at(bytes, offset);
    const uint64_t size = journal_record_size(header.type, header.length);
    cr_assert(header.length > 0);
    uint8_t *payload = malloc(header.length);
    memcpy(payload, bytes + offset + sizeof header, header.length);
    payload[header.length / 2] ^= 1;
    uint8_t head[JOURNAL_HASH_SIZE];
    memcpy(head, bytes + offset + size - sizeof head, sizeof head);
    uint8_t *record = malloc(size);
    journal_record_encode(&key, &header, payload, head, record);
    memcpy(bytes + offset, record, size);
    free(record);
    free(payload);
}

/* Somebody changes an amount and repairs all checksums: the chain tells. */
Test(journal_damage, a_forged_entry_with_repaired_checksums_breaks_the_chain)
{
    (void)several_segments(7);
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(2), NULL);
    const uint64_t offset = nth_entry(bytes, 3);
    forge(bytes, offset);
    refused(2, "chain hash");
    cr_assert_eq(rig.damage.offset, offset);
    cr_assert_eq(rig.damage.index, header_at(bytes, offset).index);
    rig_deinit(&rig);
}

/* A record of the same segment, written again at the end: its checksums pass, its number does not.
 */
Test(journal_damage, a_misplaced_record_is_named)
{
    const uint64_t count = several_segments(8);
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(count), NULL);
    const uint64_t from = nth_entry(bytes, 0);
    const struct journal_record_header header = header_at(bytes, from);
    const uint64_t end = end_of_records(bytes);
    memmove(bytes + end, bytes + from, journal_record_size(header.type, header.length));
    refused(count, "another sequence number");
    cr_assert_eq(rig.damage.offset, end);
    rig_deinit(&rig);
}

/* A record behind a gap, in a journal that was not stopped: a misdirected write, not a torn one. */
Test(journal_damage, an_old_record_behind_the_end_is_named)
{
    rig_init(&rig, 9, SEGMENT, 1000);
    rig_start(&rig);
    rig_fill(&rig, 5);
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(1), NULL);
    const uint64_t from = nth_entry(bytes, 0);
    const struct journal_record_header header = header_at(bytes, from);
    memmove(bytes + end_of_records(bytes) + 640, bytes + from,
            journal_record_size(header.type, header.length));
    rig_abandon(&rig);
    refused(1, "misplaced");
    rig_deinit(&rig);
}

Test(journal_damage, a_later_format_asks_for_an_upgrade)
{
    (void)several_segments(10);
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(1), NULL);
    struct journal_segment_header header;
    memcpy(&header, bytes, sizeof header);
    journal_segment_header_seal(&header);
    cr_assert_eq(memcmp(&header, bytes, sizeof header), 0);
    header.version = JOURNAL_FORMAT_VERSION + 1;
    /* The checksum's place and method are the same in every version. */
    memset(header.checksum, 0, sizeof header.checksum);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(&header, sizeof header));
    memcpy(header.checksum, canonical.digest, sizeof header.checksum);
    memcpy(bytes, &header, sizeof header);
    cr_assert_eq(rig_open(&rig), STATUS_VERSION);
    cr_assert(strstr(rig.damage.text, "build that knows") != NULL);
    rig_deinit(&rig);
}

/* ---- torn or damaged ---- */

/* The last group was never sealed: its body damaged is a torn write, cut, and appending goes on.
 * The entries before it stay. */
Test(journal_damage, a_torn_tail_is_cut_and_appending_goes_on)
{
    rig_init(&rig, 11, SEGMENT, 1000);
    rig_start(&rig);
    rig_fill(&rig, 10);
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(1), NULL);
    const uint64_t last = nth_entry(bytes, 9);
    rig_abandon(&rig);
    bytes[last + 70] ^= 4;
    cr_assert_eq(rig_open(&rig), STATUS_OK);
    cr_assert(rig.cut > 0);
    cr_assert(journal_is_zero(bytes + last, SEGMENT - last), "nothing stale is left");
    rig.acknowledged = 9; /* the model: the tenth was torn before anybody was told */
    cr_assert_null(rig_check(&rig));
    cr_assert_eq(rig.appended, 9);
    rig_fill(&rig, 5);
    rig_stop(&rig);
    cr_assert_eq(rig_open(&rig), STATUS_OK);
    cr_assert_eq(rig.cut, 0);
    cr_assert_null(rig_check(&rig));
    cr_assert_eq(rig.appended, 14);
    rig_deinit(&rig);
}

/* One seal later the same damage is refused; the seal's own damage too. */
Test(journal_damage, after_a_seal_the_tail_is_never_cut)
{
    rig_init(&rig, 12, SEGMENT, 1000);
    rig_start(&rig);
    rig_fill(&rig, 10);
    cr_assert(rig_idle(&rig));
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(1), NULL);
    const uint64_t last = nth_entry(bytes, 9);
    const uint64_t end = end_of_records(bytes);
    rig_abandon(&rig);
    for (uint64_t bit = last * 8; bit < end * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert_eq(rig_open(&rig), STATUS_CORRUPT, "bit %lu", (unsigned long)bit);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    /* Whole sectors gone, header and all: the seal still says what was durable. */
    uint8_t *copy = malloc(SEGMENT);
    memcpy(copy, bytes, SEGMENT);
    memset(bytes + last, 0, end - JOURNAL_RECORD_ALIGN - last);
    cr_assert_eq(rig_open(&rig), STATUS_CORRUPT);
    cr_assert_eq(rig.damage.offset, last);
    cr_assert_eq(rig.damage.index, 10);
    memcpy(bytes, copy, SEGMENT);
    free(copy);
    cr_assert_eq(rig_open(&rig), STATUS_OK);
    rig_deinit(&rig);
}

/* Entries in the middle of a running journal: what follows them says that they were durable. */
Test(journal_damage, damage_below_synced_to_is_refused_without_any_seal)
{
    rig_init(&rig, 13, SEGMENT, 1000);
    rig_start(&rig);
    for (int i = 0; i < 10; i++)
        rig_fill(&rig, 1); /* a group each */
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(1), NULL);
    rig_abandon(&rig);
    for (unsigned n = 0; n < 9; n++) {
        const uint64_t offset = nth_entry(bytes, n);
        bytes[offset + 64] ^= 1;
        cr_assert_eq(rig_open(&rig), STATUS_CORRUPT);
        cr_assert_eq(rig.damage.index, n + 1);
        cr_assert_eq(rig.damage.offset, offset);
        bytes[offset + 64] ^= 1;
    }
    rig_deinit(&rig);
}

static bool any(void *context, const struct journal_entry *entry)
{
    (void)context;
    (void)entry;
    return true;
}

/* A bit that goes bad while the journal is open is found when it is read. */
Test(journal_damage, reading_verifies_again)
{
    rig_init(&rig, 14, SEGMENT, 4000);
    rig_start(&rig);
    rig_fill(&rig, 40);
    uint8_t *bytes = files_memory_bytes(rig.memory, name_of(1), NULL);
    const uint64_t offset = nth_entry(bytes, 4);
    for (uint64_t at = offset; at < offset + 128; at += 8) {
        bytes[at] ^= 1;
        cr_assert_eq(journal_read(rig.journal, 1, 40, any, NULL), STATUS_CORRUPT);
        uint8_t head[JOURNAL_HASH_SIZE];
        cr_assert_eq(journal_head(rig.journal, 5, head), STATUS_CORRUPT);
        bytes[at] ^= 1;
    }
    cr_assert_eq(journal_read(rig.journal, 1, 40, any, NULL), STATUS_OK);
    forge(bytes, offset);
    cr_assert_eq(journal_read(rig.journal, 1, 40, any, NULL), STATUS_CORRUPT);
    cr_assert_eq(journal_read(rig.journal, 6, 40, any, NULL), STATUS_OK);
    rig_deinit(&rig);
}
