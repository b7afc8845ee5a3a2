/* The small parts of core: packed answers, texts, hash index, digest, counting of the window. */
#include "core/answer.h"
#include "core/digest.h"
#include "core/hash_index.h"
#include "core/request_window.h"
#include "core/result.h"
#include "core/text.h"

#include <criterion/criterion.h>

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- packed answers ---- */

/* From no exception to all: what is packed comes back, in the smaller of the two forms. */
Test(answer, what_is_packed_comes_back_in_the_smaller_form)
{
    static const uint32_t counts[] = {0, 1, 2, 3, 4, 7, 100, REQUEST_EVENTS_MAX};
    uint8_t results[REQUEST_EVENTS_MAX];
    uint8_t packed[REQUEST_EVENTS_MAX];
    uint8_t again[REQUEST_EVENTS_MAX];
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        uint32_t count = counts[c];
        for (uint32_t step = 1; step <= count + 1; step = step * 2 + 1) {
            memset(results, RESULT_OK, sizeof results);
            uint32_t exceptions = 0;
            for (uint32_t i = step - 1; i < count; i += step, exceptions++)
                results[i] = RESULT_EXISTS;
            uint32_t size = answer_pack(results, count, packed);
            cr_expect_eq(size, 3 * exceptions < count ? 3 * exceptions : count);
            cr_expect_leq(size, answer_size_max(count));
            memset(again, 0xaa, sizeof again);
            cr_assert(answer_unpack(packed, size, count, again));
            cr_expect_arr_eq(again, results, count);
        }
    }
}

/* Bytes that packing cannot have made are told from those it can. */
Test(answer, bytes_that_are_no_packed_answer_are_refused)
{
    uint8_t results[REQUEST_EVENTS_MAX + 1];
    cr_expect(answer_unpack((const uint8_t[]){9, 0, RESULT_EXISTS}, 3, 10, results));
    cr_expect_not(answer_unpack((const uint8_t[]){10, 0, RESULT_EXISTS}, 3, 10, results),
                  "position");
    cr_expect_not(answer_unpack((const uint8_t[]){0, 1, RESULT_EXISTS}, 3, 10, results),
                  "position");
    cr_expect_not(answer_unpack((const uint8_t[]){9, 0, RESULT_OK}, 3, 10, results),
                  "no exception");
    cr_expect_not(answer_unpack((const uint8_t[]){2, 0, 1, 2, 0, 1}, 6, 10, results), "ascending");
    cr_expect_not(answer_unpack((const uint8_t[]){2, 0, 1, 1, 0, 1}, 6, 10, results), "ascending");
    cr_expect_not(answer_unpack((const uint8_t[]){2, 0, 1, 3}, 4, 10, results), "no multiple of 3");
    cr_expect_not(answer_unpack(results, 11, 10, results), "larger than dense");
    cr_expect_not(answer_unpack(results, 0, REQUEST_EVENTS_MAX + 1, results), "too many events");
}

/* ---- texts ---- */

static bool name_of(const char *text)
{
    return text_is_name(text, strlen(text), NAME_SIZE_MAX);
}

Test(text, names_are_utf8_without_control_characters)
{
    static const char *const good[] = {
        "a",
        "Mobile bank",
        "\xe9\x93\xb6\xe8\xa1\x8c",
        "caf\xc3\xa9",
        "\xf0\x9f\x8f\xa6",
        " ",
        "~",
        "\xc2\xa0",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_expect(name_of(good[i]), "good %zu", i);
    static const char *const bad[] = {
        "",
        "a\n",
        "\x1f",
        "\x7f",
        "\xc2\x80",
        "\xc2\x9f",
        "\x80",
        "\xc3",
        "\xc3(",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x80\xaf",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\xaf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_not(name_of(bad[i]), "bad %zu", i);
    cr_expect_not(text_is_name("a\0b", 3, NAME_SIZE_MAX), "a zero byte is a control character");

    char longest[NAME_SIZE_MAX + 1];
    memset(longest, 'x', sizeof longest);
    cr_expect(text_is_name(longest, NAME_SIZE_MAX, NAME_SIZE_MAX));
    cr_expect_not(text_is_name(longest, NAME_SIZE_MAX + 1, NAME_SIZE_MAX));
}

Test(text, uris_are_a_scheme_and_printable_ascii)
{
    static const char *const good[] = {"tally:a", "spiffe://bank.example/channel/mobile",
                                       "a+b-c.1:x"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_expect(text_is_uri(good[i], strlen(good[i]), URI_SIZE_MAX), "%s", good[i]);
    static const char *const bad[] = {"",      ":",     "a",      "a:",         ":a",    "1a:b",
                                      "a b:c", "a:b c", "a:\x7f", "a:\xc3\xa9", "a/b:c", "a:b\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_not(text_is_uri(bad[i], strlen(bad[i]), URI_SIZE_MAX), "%s", bad[i]);
    char longest[URI_SIZE_MAX + 1];
    memset(longest, 'x', sizeof longest);
    longest[1] = ':';
    cr_expect(text_is_uri(longest, URI_SIZE_MAX, URI_SIZE_MAX));
    cr_expect_not(text_is_uri(longest, URI_SIZE_MAX + 1, URI_SIZE_MAX));
}

Test(text, currencies_are_three_capital_letters)
{
    cr_expect(text_is_currency("CNY"));
    cr_expect_not(text_is_currency("CNy"));
    cr_expect_not(text_is_currency((const char[4]){'C', 'N'}));
    cr_expect_not(text_is_currency("C1Y"));
    cr_expect_not(text_is_currency((const char[4]){'C', 'N', 'Y', 'X'}));
}

/* ---- hash index ---- */

/* Filled to its bound with hashes that collide in one half or the other, everything is found. */
Test(hash_index, finds_everything_among_collisions)
{
    uint64_t slots[256];
    memset(slots, 0, sizeof slots);
    struct hash_index index = {.slots = slots, .capacity = hash_index_capacity(128)};
    cr_assert_eq(index.capacity, 256);
    for (uint32_t i = 0; i < 128; i++)
        hash_index_add(&index, (uint64_t)(i % 4) << 32 | 250, i);
    for (uint32_t tag = 0; tag < 5; tag++) {
        struct hash_probe probe = hash_index_begin(&index, (uint64_t)tag << 32 | 250);
        uint32_t found = 0;
        uint32_t ordinal;
        while ((ordinal = hash_index_next(&index, &probe)) != HASH_INDEX_END) {
            cr_expect_eq(ordinal % 4, tag);
            cr_expect_eq(ordinal / 4, found, "first added, first found");
            found++;
        }
        cr_expect_eq(found, tag < 4 ? 32 : 0);
    }
    hash_index_clear(&index);
    struct hash_probe probe = hash_index_begin(&index, 250);
    cr_expect_eq(hash_index_next(&index, &probe), HASH_INDEX_END);
}

/* Sequential ids, as a careless client makes them, spread over slots like random ones. */
Test(hash_index, sequential_ids_spread)
{
    enum { COUNT = 1 << 16 };
    uint8_t *used = calloc(COUNT, 1);
    uint32_t hit = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        struct id128 id = {{0}};
        memcpy(id.bytes, &i, sizeof i);
        uint64_t slot = hash_id(12345, &id) % COUNT;
        hit += !used[slot];
        used[slot] = 1;
    }
    free(used);
    /* Random choice leaves 1/e empty: 63.2 % hit. */
    cr_expect_gt(hit, COUNT * 62 / 100);
    cr_expect_lt(hit, COUNT * 64 / 100);
}

/* Ids chosen so that one factor of the multiplication is zero for seed 0: with a secret seed they
 * are ids like any other. */
Test(hash_index, ids_aimed_at_a_zero_factor_do_not_collide)
{
    enum { COUNT = 1 << 12 };
    static uint64_t hashes[COUNT];
    const uint64_t seed = 0x1234567890abcdefu;
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t word[2] = {i % 2 == 0 ? i : HASH_K0, i % 2 == 0 ? HASH_K1 : i};
        struct id128 id;
        memcpy(id.bytes, word, sizeof id.bytes);
        hashes[i] = hash_id(seed, &id);
        for (uint64_t j = 0; j < i; j++)
            cr_assert_neq(hashes[i], hashes[j]);
    }
}

/* ---- digest ---- */

/* Any single bit of any record changes its contribution, and about half of its bits. */
Test(digest, every_bit_of_a_record_counts)
{
    struct transfer_record record;
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof record / 8; i++) {
        uint64_t word = i % 3 == 0 ? 0 : random_next(&seed);
        memcpy((uint8_t *)&record + 8 * i, &word, sizeof word);
    }
    u128 before = digest_transfer(&record);
    uint64_t changed = 0;
    for (size_t bit = 0; bit < 8 * sizeof record; bit++) {
        uint8_t *byte = (uint8_t *)&record + bit / 8;
        *byte ^= (uint8_t)(1u << bit % 8);
        u128 difference = digest_transfer(&record) ^ before;
        *byte ^= (uint8_t)(1u << bit % 8);
        cr_expect(difference != 0, "bit %zu", bit);
        changed += (uint64_t)__builtin_popcountll(u128_low(difference)) +
                   (uint64_t)__builtin_popcountll(u128_high(difference));
    }
    uint64_t mean = changed / (8 * sizeof record);
    cr_expect_gt(mean, 60);
    cr_expect_lt(mean, 68);
}

/* The same bytes at another place, or as another kind of fact, contribute something else. */
Test(digest, place_and_kind_count)
{
    struct balance_record balance = {.transfer_count = 1};
    struct account_record account = {.code = 1};
    cr_expect(digest_balance(0, &balance) != digest_balance(1, &balance));
    cr_expect(digest_account(0, &account) != digest_account(1, &account));

    struct request_record request = {.answer_size = 2, .event_count = 2};
    u128 first = digest_request(&request, (const uint8_t[]){1, 2});
    cr_expect(first != digest_request(&request, (const uint8_t[]){2, 1}));
    request.answer_size = 1;
    cr_expect(first != digest_request(&request, (const uint8_t[]){1}));
}

/* Pinned for ever: nodes of different builds must agree. */
Test(digest, the_function_never_changes)
{
    struct transfer_record record;
    for (size_t i = 0; i < sizeof record; i++)
        ((uint8_t *)&record)[i] = (uint8_t)i;
    u128 digest = digest_transfer(&record);
    cr_expect_eq(u128_low(digest), 0x92f80bb9a3113065u, "%llx",
                 (unsigned long long)u128_low(digest));
    cr_expect_eq(u128_high(digest), 0xf4fc7290bfccc791u, "%llx",
                 (unsigned long long)u128_high(digest));
}

/* ---- the window's count ---- */

/* Requests leave the count with their minute and not before they are expired. */
Test(request_window, a_request_is_counted_until_its_minute_has_passed)
{
    static struct request_window_record window;
    memset(&window, 0, sizeof window);
    const uint64_t minute = REQUEST_BUCKET_NS;
    uint64_t now = 30000000 * minute + 17;
    request_window_advance(&window, now);
    request_window_add(&window, now, 100);
    request_window_add(&window, now + REQUEST_AHEAD_NS, 10);
    request_window_add(&window, now - REQUEST_WINDOW_NS, 1);
    cr_expect_eq(window.request_count, 3);
    cr_expect_eq(window.answer_bytes, 111);
    cr_expect(request_window_valid(&window, now));

    request_window_advance(&window, now + minute - 18);
    cr_expect_eq(window.request_count, 3, "still within the minute of the oldest");
    request_window_advance(&window, now + minute);
    cr_expect_eq(window.answer_bytes, 110);
    request_window_advance(&window, now + REQUEST_WINDOW_NS);
    cr_expect_eq(window.answer_bytes, 110, "not yet expired");
    cr_expect_not(request_expired(now, now + REQUEST_WINDOW_NS));
    cr_expect(request_expired(now, now + REQUEST_WINDOW_NS + 1));
    request_window_advance(&window, now + REQUEST_WINDOW_NS + minute);
    cr_expect_eq(window.answer_bytes, 10);
    request_window_advance(&window, now + 100 * REQUEST_WINDOW_NS);
    cr_expect_eq(window.request_count, 0, "a jump over more than the ring clears all of it");
    cr_expect_eq(window.answer_bytes, 0);
    cr_expect(request_window_valid(&window, now + 100 * REQUEST_WINDOW_NS));
}

/* Times at the ends of 64 bits neither wrap nor trap. */
Test(request_window, extreme_issue_times_are_judged_without_wrapping)
{
    cr_expect(request_expired(0, UINT64_MAX));
    cr_expect_not(request_expired(UINT64_MAX, 0));
    cr_expect_not(request_expired(UINT64_MAX, UINT64_MAX));
    cr_expect(request_too_far_ahead(UINT64_MAX, 0));
    cr_expect_not(request_too_far_ahead(0, UINT64_MAX));
    cr_expect_not(request_too_far_ahead(REQUEST_AHEAD_NS, 0));
    cr_expect(request_too_far_ahead(REQUEST_AHEAD_NS + 1, 0));
}
