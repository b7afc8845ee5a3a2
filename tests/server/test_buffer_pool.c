/* Buffers: two sizes, a bound on what is lent, and reuse. */
#include "server/buffer_pool.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(buffer_pool, lent_bytes_are_bounded_by_class)
{
    struct buffer_pool *pool = buffer_pool_create(BUFFER_LARGE_SIZE + 2 * BUFFER_SMALL_SIZE);
    void *large = buffer_pool_take(pool, BUFFER_SMALL_SIZE + 1);
    cr_assert_not_null(large);
    cr_expect_null(buffer_pool_take(pool, BUFFER_LARGE_SIZE));
    void *a = buffer_pool_take(pool, 1), *b = buffer_pool_take(pool, BUFFER_SMALL_SIZE);
    cr_assert(a && b && a != b);
    cr_expect_null(buffer_pool_take(pool, 1));
    cr_expect_eq(buffer_pool_bytes(pool), BUFFER_LARGE_SIZE + 2 * BUFFER_SMALL_SIZE);
    memset(large, 1, BUFFER_LARGE_SIZE);
    memset(a, 1, BUFFER_SMALL_SIZE);
    cr_expect_eq((uintptr_t)a % 64, 0);
    buffer_pool_give(pool, large, BUFFER_SMALL_SIZE + 1);
    cr_expect_eq(buffer_pool_take(pool, BUFFER_LARGE_SIZE), large, "a returned buffer is reused");
    buffer_pool_give(pool, large, BUFFER_LARGE_SIZE);
    buffer_pool_give(pool, a, 1);
    buffer_pool_give(pool, b, BUFFER_SMALL_SIZE);
    cr_expect_eq(buffer_pool_bytes(pool), 0);
    buffer_pool_destroy(pool);
}

/* After a burst only some buffers are kept; the sanitizer sees to it that none is lost. */
Test(buffer_pool, burst_is_given_back)
{
    enum { COUNT = 600 };
    static void *buffers[COUNT];
    struct buffer_pool *pool = buffer_pool_create((uint64_t)COUNT * BUFFER_SMALL_SIZE);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            cr_assert_not_null(buffers[i] = buffer_pool_take(pool, 100));
        for (int i = 0; i < COUNT; i++)
            buffer_pool_give(pool, buffers[i], 100);
    }
    cr_expect_eq(buffer_pool_bytes(pool), 0);
    buffer_pool_destroy(pool);
}
