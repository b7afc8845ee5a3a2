/* Percent-encoding and timeouts: both read what strangers write. */
#include "net/grpc_text.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(grpc_text, .timeout = 20);

static bool parse(const char *text, uint64_t *out_ns)
{
    return grpc_timeout_parse((const uint8_t *)text, strlen(text), out_ns);
}

Test(grpc_text, timeouts_of_every_unit_are_understood)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } rows[] = {
        {"1n", 1},
        {"1u", 1000},
        {"1m", 1000000},
        {"1S", 1000000000},
        {"1M", 60000000000},
        {"1H", 3600000000000},
        {"0n", 0},
        {"00000001S", 1000000000},
        {"99999999n", 99999999},
        {"99999999H", UINT64_MAX}, /* more than 2^64 ns */
        {"5124095H", 5124095ull * 3600000000000ull},
        {"5124096H", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t ns = 12345;
        cr_assert(parse(rows[i].text, &ns), "%s", rows[i].text);
        cr_assert_eq(ns, rows[i].ns, "%s", rows[i].text);
    }
}

Test(grpc_text, malformed_timeouts_are_refused_and_change_nothing)
{
    static const char *const rows[] = {"",     "1",   "n",          "m1",   "1s",  "1h",
                                       "-1S",  "+1S", " 1S",        "1S ",  "1 S", "0x1S",
                                       "1.5S", "1SS", "100000000n", "1\xff"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t ns = 12345;
        cr_assert(!parse(rows[i], &ns), "%s", rows[i]);
        cr_assert_eq(ns, 12345);
    }
}

/* What we send is never longer than what was meant, close to it, and understood again. */
Test(grpc_text, formatted_timeouts_are_tight_and_legal)
{
    for (uint64_t ns = 1; ns < UINT64_MAX / 3; ns = ns * 3 + 1) {
        char text[GRPC_TIMEOUT_TEXT_SIZE];
        uint64_t back = 0;
        grpc_timeout_format(ns, text);
        cr_assert_leq(strlen(text), 9);
        cr_assert(parse(text, &back), "%s", text);
        cr_assert_leq(back, ns);
        cr_assert_leq(ns - back, ns / 100000, "%s for %llu", text, (unsigned long long)ns);
    }
    char text[GRPC_TIMEOUT_TEXT_SIZE];
    grpc_timeout_format(0, text);
    cr_assert_str_eq(text, "1n");
    grpc_timeout_format(UINT64_MAX, text);
    uint64_t back;
    cr_assert(parse(text, &back));
}

Test(grpc_text, messages_are_encoded_as_grpc_asks)
{
    char out[64];
    size_t size = grpc_percent_encode("a b%\n\x7f\xc3\xa4~", out, sizeof out);
    out[size] = 0;
    cr_assert_str_eq(out, "a b%25%0A%7F%C3%A4~");
}

/* Cut at every length: never half an escape, never beyond the room. */
Test(grpc_text, encoding_that_does_not_fit_is_cut_between_escapes)
{
    char out[32];
    for (size_t capacity = 0; capacity <= 13; capacity++) {
        memset(out, '#', sizeof out);
        size_t size = grpc_percent_encode("a\n\nb\n", out, capacity);
        cr_assert_leq(size, capacity);
        for (size_t i = 0; i < size; i++)
            if (out[i] == '%')
                cr_assert_leq(i + 3, size);
        for (size_t i = size; i < sizeof out; i++)
            cr_assert_eq(out[i], '#');
    }
}

/* A header value may not end or begin with a space: nghttp2 refuses the whole frame. */
Test(grpc_text, spaces_at_either_end_are_left_out)
{
    char out[32];
    size_t size = grpc_percent_encode("  wait for the end", out, 9); /* "wait for " */
    cr_assert_eq(size, strlen("wait for"));
    cr_assert_eq(memcmp(out, "wait for", size), 0);
    cr_assert_eq(grpc_percent_encode("   ", out, sizeof out), 0);
}

static void expect_decoded(const char *text, size_t size, size_t capacity, const char *expected)
{
    char out[64];
    memset(out, '#', sizeof out);
    grpc_percent_decode((const uint8_t *)text, size, out, capacity);
    cr_assert_str_eq(out, expected);
}

Test(grpc_text, decoding_undoes_encoding_and_survives_nonsense)
{
    expect_decoded("a b%25%C3%A4", 12, 64, "a b%\xc3\xa4");
    expect_decoded("%", 1, 64, "%");
    expect_decoded("%4", 2, 64, "%4");
    expect_decoded("%zz%41", 6, 64, "%zzA");
    expect_decoded("%00%0a%7fx", 10, 64, "???x"); /* nothing that could forge a log line */
    expect_decoded("abcdef", 6, 4, "abc");
    expect_decoded("abc", 3, 1, "");
    expect_decoded("", 0, 64, "");
}
