/* The engine's pure parts: buckets, request headers, buffers. */
#include "server/grpc_bucket.h"
#include "server/grpc_head.h"
#include "server/grpc_pool.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(grpc_parts, .timeout = 20);

Test(grpc_parts, a_bucket_gives_its_burst_then_its_rate)
{
    struct grpc_bucket bucket;
    grpc_bucket_init(&bucket, 3, 2, 1000);
    for (int i = 0; i < 3; i++)
        cr_assert(grpc_bucket_take(&bucket, 1000));
    cr_assert(!grpc_bucket_take(&bucket, 1000));
    cr_assert(!grpc_bucket_take(&bucket, 1499));
    cr_assert(grpc_bucket_take(&bucket, 1500), "two a second is one in 500 ms");
    cr_assert(!grpc_bucket_take(&bucket, 1500));
    cr_assert(!grpc_bucket_take(&bucket, 900), "a clock that goes back gives nothing");
}

/* Looked at every millisecond, one token per second still comes every second. */
Test(grpc_parts, a_bucket_loses_nothing_by_being_looked_at)
{
    struct grpc_bucket bucket;
    grpc_bucket_init(&bucket, 1, 1, 0);
    cr_assert(grpc_bucket_take(&bucket, 0));
    uint32_t taken = 0;
    for (uint64_t now_ms = 1; now_ms <= 10000; now_ms++)
        taken += grpc_bucket_take(&bucket, now_ms);
    cr_assert_eq(taken, 10);
}

Test(grpc_parts, a_bucket_is_never_fuller_than_its_burst)
{
    struct grpc_bucket bucket;
    grpc_bucket_init(&bucket, 5, 1000, 0);
    uint32_t taken = 0;
    while (grpc_bucket_take(&bucket, UINT64_MAX))
        taken++;
    cr_assert_eq(taken, 5);
}

static void add(struct grpc_head *head, const char *name, const char *value)
{
    grpc_head_field(head, (const uint8_t *)name, strlen(name), (const uint8_t *)value,
                    strlen(value));
}

Test(grpc_parts, a_good_head_is_understood)
{
    struct grpc_head head;
    grpc_head_init(&head);
    add(&head, ":method", "POST");
    add(&head, ":path", "/tally.v1.Ledger/CreateTransfers");
    add(&head, "te", "trailers");
    add(&head, "content-type", "application/grpc+proto");
    add(&head, "grpc-encoding", "identity");
    add(&head, "grpc-timeout", "250m");
    cr_assert(head.is_post && head.te_ok && head.content_type_ok);
    cr_assert(!head.encoding_refused && !head.timeout_malformed && !head.too_large);
    cr_assert(head.has_timeout);
    cr_assert_eq(head.timeout_ns, 250000000);
    cr_assert_str_eq(head.path, "/tally.v1.Ledger/CreateTransfers");
}

/* A caller says how old a state it will do with: a day at most, digits only. */
Test(grpc_parts, a_greatest_age_is_a_number_of_milliseconds)
{
    static const struct {
        const char *value;
        bool is_ok;
        uint32_t ms;
    } rows[] = {
        {"250", true, 250},         {"0", true, 0},   {"86400000", true, 86400000},
        {"86400001", false, 0},     {"", false, 0},   {"99999999999", false, 0},
        {"000000000250", false, 0}, {"-1", false, 0}, {"1s", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grpc_head head;
        grpc_head_init(&head);
        add(&head, "tally-max-age-ms", rows[i].value);
        cr_assert_eq(!head.max_age_malformed, rows[i].is_ok, "%s", rows[i].value);
        if (rows[i].is_ok)
            cr_assert_eq(head.max_age_ms, rows[i].ms, "%s", rows[i].value);
    }
}

Test(grpc_parts, content_types_that_only_begin_alike_are_refused)
{
    static const struct {
        const char *type;
        bool is_ok;
    } rows[] = {
        {"application/grpc", true},     {"application/grpc+json", true},
        {"application/grpc;x=y", true}, {"application/grpc-web", false},
        {"application/grpcx", false},   {"application/json", false},
        {"application/gr", false},      {"", false},
        {"APPLICATION/GRPC", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grpc_head head;
        grpc_head_init(&head);
        add(&head, "content-type", rows[i].type);
        cr_assert_eq(head.content_type_ok, rows[i].is_ok, "%s", rows[i].type);
    }
}

Test(grpc_parts, the_65th_field_and_the_byte_over_16_kib_are_too_many)
{
    struct grpc_head head;
    grpc_head_init(&head);
    for (int i = 0; i < GRPC_HEAD_FIELDS_MAX; i++)
        add(&head, "x", "y");
    cr_assert(!head.too_large);
    add(&head, "x", "y");
    cr_assert(head.too_large);

    static char value[GRPC_HEAD_SIZE_MAX];
    memset(value, 'v', sizeof value - 1);
    grpc_head_init(&head);
    value[GRPC_HEAD_SIZE_MAX - 32 - 1] = 0; /* name 1, value, 32: exactly the limit */
    add(&head, "x", value);
    cr_assert(!head.too_large);
    add(&head, "", "");
    cr_assert(head.too_large);
}

/* A path of 127 bytes fits; one of 128 is none of ours and must not write beyond the field. */
Test(grpc_parts, a_long_path_is_no_path)
{
    char path[129];
    memset(path, 'p', sizeof path);
    struct grpc_head head;
    grpc_head_init(&head);
    path[127] = 0;
    add(&head, ":path", path);
    cr_assert_eq(head.path_size, 127);
    grpc_head_init(&head);
    path[127] = 'p';
    path[128] = 0;
    add(&head, ":path", path);
    cr_assert_eq(head.path_size, 0);
}

Test(grpc_parts, buffers_are_reused_and_aligned)
{
    struct grpc_pool pool;
    grpc_pool_init(&pool);
    static const size_t sizes[] = {0, 1, 512, 513, 4096, 32768, 135168, 1100005, 2000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct grpc_buffer *buffer = grpc_pool_take(&pool, sizes[i]);
        cr_assert_not_null(buffer);
        cr_assert_geq(buffer->capacity, sizes[i]);
        cr_assert_eq(buffer->capacity, grpc_pool_capacity(sizes[i]));
        cr_assert_eq((uintptr_t)buffer->bytes % 8, 0);
        memset(buffer->bytes, 1, buffer->capacity);
        grpc_pool_give(&pool, buffer);
        struct grpc_buffer *again = grpc_pool_take(&pool, sizes[i]);
        if (sizes[i] <= 1152 * 1024)
            cr_assert_eq(again, buffer, "size %zu", sizes[i]);
        grpc_pool_give(&pool, again);
    }
    grpc_pool_deinit(&pool);
}

Test(grpc_parts, what_the_pool_keeps_is_bounded)
{
    struct grpc_pool pool;
    grpc_pool_init(&pool);
    struct grpc_buffer *taken[64];
    for (int i = 0; i < 64; i++)
        taken[i] = grpc_pool_take(&pool, 1100000);
    for (int i = 0; i < 64; i++)
        grpc_pool_give(&pool, taken[i]);
    cr_assert_leq(pool.kept_bytes, 32u * 1024 * 1024);
    cr_assert_gt(pool.kept_bytes, 0);
    grpc_pool_deinit(&pool);
}
