/* The certificate's bytes: the drawing in docs/formats/certificate.md, and what is refused. */
#include "replication/node/certificate_record.h"
#include "storage/hash.h"

#include <criterion/criterion.h>
#include <string.h>

static struct certificate_record sample(void)
{
    struct certificate_record record;
    certificate_record_begin(&record);
    record.mode = DURABILITY_DEGRADED;
    record.policy = DURABILITY_OPERATOR;
    record.rule = CERTIFICATE_SITE;
    for (unsigned i = 0; i < 16; i++) {
        record.cluster_id[i] = (uint8_t)(0x10 + i);
        record.incarnation[i] = (uint8_t)(0x30 + i);
    }
    for (unsigned i = 0; i < CERTIFICATE_HEAD_SIZE; i++)
        record.head[i] = (uint8_t)(0x80 + i);
    record.cluster_epoch = 2;
    record.node_id = 3;
    record.term = 0x1122;
    record.sequence = 5;
    record.wall_ns = 0x0102030405060708;
    record.stamp = 0x1112131415161718;
    record.index = 0x100;
    record.index_term = 0x1121;
    record.both_index = 0xff;
    record.number = 7;
    record.log_number = 8;
    return record;
}

static const uint8_t signature[5] = {1, 2, 3, 4, 5};
static const uint8_t chain[6] = {6, 7, 8, 9, 10, 11};

static size_t encode(uint8_t bytes[CERTIFICATE_SIZE_MAX])
{
    const struct certificate_view view = {.record = sample(),
                                          .signature = signature,
                                          .signature_size = sizeof signature,
                                          .chain = chain,
                                          .chain_size = sizeof chain};
    return certificate_encode(&view, bytes);
}

/* Written down by hand from the drawing: a change of the format must change this, and the version.
 */
Test(certificate_record, is_written_as_it_is_drawn)
{
    static const uint8_t golden[] = {
        'T',  'A',  'L',  'L',  'Y',  'C',  'R',  'T',  2,    0,    192,  0,    1,    2,    1,
        0,    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d,
        0x1e, 0x1f, 2,    0,    0,    0,    0,    0,    0,    0,    3,    0,    0,    0,    0,
        0,    0,    0,    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b,
        0x3c, 0x3d, 0x3e, 0x3f, 0x22, 0x11, 0,    0,    0,    0,    0,    0,    5,    0,    0,
        0,    0,    0,    0,    0,    8,    7,    6,    5,    4,    3,    2,    1,    0x18, 0x17,
        0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0,    1,    0,    0,    0,    0,    0,    0,    0x21,
        0x11, 0,    0,    0,    0,    0,    0,    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
        0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96,
        0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xff, 0,    0,    0,    0,    0,
        0,    0,    7,    0,    0,    0,    0,    0,    0,    0,    8,    0,    0,    0,    0,
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    5,    0,    0,
        0,    6,    0,    0,    0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,
        11,   0,    0,    0,    0,    0,
    };
    uint8_t bytes[CERTIFICATE_SIZE_MAX], digest[HASH_SIZE];
    cr_assert_eq(encode(bytes), sizeof golden + sizeof digest);
    cr_assert_arr_eq(bytes, golden, sizeof golden);
    hash_parts(&(struct hash_part){golden, sizeof golden}, 1, digest);
    cr_assert_arr_eq(bytes + sizeof golden, digest, sizeof digest);
}

/* What comes back is what went in, with and without a signature. */
Test(certificate_record, is_read_as_it_was_written)
{
    uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct certificate_view view;
    const struct certificate_record record = sample();
    size_t size = encode(bytes);
    cr_assert_eq(certificate_decode(bytes, size, &view), STATUS_OK);
    cr_assert_arr_eq(&view.record, &record, sizeof record);
    cr_assert_eq(view.signature_size, sizeof signature);
    cr_assert_arr_eq(view.signature, signature, sizeof signature);
    cr_assert_eq(view.chain_size, sizeof chain);
    cr_assert_arr_eq(view.chain, chain, sizeof chain);
    const struct certificate_view bare = {.record = record};
    size = certificate_encode(&bare, bytes);
    cr_assert_eq(size, CERTIFICATE_FIXED_SIZE);
    cr_assert_eq(certificate_decode(bytes, size, &view), STATUS_OK);
    cr_assert_eq(view.signature_size, 0);
}

static void seal(uint8_t *bytes, size_t size)
{
    const size_t sealed = size - CERTIFICATE_DIGEST_SIZE;
    hash_parts(&(struct hash_part){bytes, sealed}, 1, bytes + sealed);
}

/* What a disk does to a file: each bit, wherever it is, a field that may have any value included.
 */
Test(certificate_record, refuses_any_bit_that_changed)
{
    uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct certificate_view view;
    const size_t size = encode(bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_neq(certificate_decode(bytes, size, &view), STATUS_OK, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(certificate_decode(bytes, size, &view), STATUS_OK);
}

/* Files of another version have another size, and are called what they are; what is too short to
 * name its version is no certificate. */
Test(certificate_record, another_version_of_any_size_is_called_so)
{
    uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct certificate_view view;
    (void)encode(bytes);
    for (size_t size = 0; size < CERTIFICATE_FIXED_SIZE; size++)
        cr_expect_eq(certificate_decode(bytes, size, &view), STATUS_INVALID, "%zu bytes", size);
    bytes[8] = 1;
    for (size_t size = 0; size < CERTIFICATE_FIXED_SIZE; size++)
        cr_expect_eq(certificate_decode(bytes, size, &view),
                     size < 10 ? STATUS_INVALID : STATUS_VERSION, "%zu bytes", size);
}

/* Each field beyond its range, each byte that has to be zero, each length that is another one: with
 * the digest that fits to it. */
Test(certificate_record, refuses_what_no_leader_writes)
{
    static const struct {
        const char *what;
        size_t offset;
        uint8_t value;
        enum status status;
    } cases[] = {
        {"magic", 0, 't', STATUS_INVALID},
        {"a later version", 8, 3, STATUS_VERSION},
        {"the version before, without a digest", 8, 1, STATUS_VERSION},
        {"version 0", 8, 0, STATUS_INVALID},
        {"size of the record", 10, 184, STATUS_INVALID},
        {"mode", 12, 2, STATUS_INVALID},
        {"policy", 13, 3, STATUS_INVALID},
        {"rule", 14, 2, STATUS_INVALID},
        {"reserved", 15, 1, STATUS_INVALID},
        {"no epoch", 32, 0, STATUS_INVALID},
        {"no node", 40, 0, STATUS_INVALID},
        {"node beyond 2^63", 47, 0x80, STATUS_INVALID},
        {"no sequence", 72, 0, STATUS_INVALID},
        {"no index", 97, 0, STATUS_INVALID},
        {"entry of a later term", 104, 0x23, STATUS_INVALID},
        {"both above N", 145, 1, STATUS_INVALID},
        {"number above the log's", 152, 9, STATUS_INVALID},
        {"reserved at the end", 191, 1, STATUS_INVALID},
        {"signature of 0", 192, 0, STATUS_INVALID},
        {"signature too long", 193, 3, STATUS_INVALID},
        {"reserved size", 194, 1, STATUS_INVALID},
        {"chain longer than the rest", 197, 1, STATUS_INVALID},
        {"chain beyond all bounds", 199, 0xff, STATUS_INVALID},
        {"padding", 215, 1, STATUS_INVALID},
    };
    uint8_t bytes[CERTIFICATE_SIZE_MAX + 8] = {0};
    struct certificate_view view;
    size_t size = encode(bytes);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint8_t before = bytes[cases[i].offset];
        cr_assert_neq(before, cases[i].value, "%s", cases[i].what);
        bytes[cases[i].offset] = cases[i].value;
        seal(bytes, size);
        enum status status = certificate_decode(bytes, size, &view);
        cr_expect_eq(status, cases[i].status, "%s: %s", cases[i].what, status_text(status));
        bytes[cases[i].offset] = before;
        seal(bytes, size);
    }
    for (size_t other = 0; other < sizeof bytes; other++)
        if (other != size)
            cr_expect_eq(certificate_decode(bytes, other, &view), STATUS_INVALID, "%zu", other);
}

/* By epoch, then term, then number. */
Test(certificate_record, the_newest_is_told_by_epoch_term_and_sequence)
{
    struct certificate_record a = sample(), b = sample();
    cr_assert_not(certificate_is_newer(&a, &b));
    a.sequence++;
    cr_assert(certificate_is_newer(&a, &b));
    b.term++;
    cr_assert(certificate_is_newer(&b, &a));
    a.cluster_epoch++;
    cr_assert(certificate_is_newer(&a, &b));
    cr_assert_not(certificate_is_newer(&b, &a));
}
