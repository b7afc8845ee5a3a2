/* Ids, amounts and identities as text: what is read, what is refused and with which words. */
#include "client/tally.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Every spelling of an id, and what it is as 32 hex digits. */
Test(values, ids_are_read_in_every_documented_spelling)
{
    static const struct {
        const char *text, *hex;
    } rows[] = {
        {"00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff"},
        {"00112233445566778899AABBCCDDEEFF", "00112233445566778899aabbccddeeff"},
        {"00112233-4455-6677-8899-aabbccddeeff", "00112233445566778899aabbccddeeff"},
        {"0", "00000000000000000000000000000000"},
        {"1", "00000000000000000000000000000001"},
        {"255", "000000000000000000000000000000ff"},
        {"000255", "000000000000000000000000000000ff"},
        {"340282366920938463463374607431768211455", "ffffffffffffffffffffffffffffffff"},
        /* exactly 32 digits are hex, even if all are decimal */
        {"00000000000000000000000000000255", "00000000000000000000000000000255"},
        /* SHA-256("abc"), first half */
        {"name:abc", "ba7816bf8f01cfea414140de5dae2223"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_id id;
        struct tally_error error;
        char hex[TALLY_ID_TEXT_SIZE];
        cr_assert_eq(tally_id_parse(rows[i].text, strlen(rows[i].text), &id, &error), TALLY_OK,
                     "%s: %s", rows[i].text, error.text);
        tally_id_format(&id, hex);
        cr_assert_str_eq(hex, rows[i].hex, "%s", rows[i].text);
    }
}

Test(values, ids_that_are_none_are_refused_with_the_reason)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "empty"},
        {"12x", "neither"},
        {"-1", "neither"},
        {" 1", "neither"},
        {"name:", "neither"},
        {"00112233445566778899aabbccddeef", "neither"},
        {"00112233445566778899aabbccddeefg", "neither"},
        {"00112233-4455-6677-8899aabb-ccddeeff", "neither"},
        {"340282366920938463463374607431768211456", "above 2^128"},
        {"99999999999999999999999999999999999999999", "above 2^128"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_id id;
        struct tally_error error;
        cr_assert_eq(tally_id_parse(rows[i].text, strlen(rows[i].text), &id, &error), TALLY_INVALID,
                     "\"%s\"", rows[i].text);
        cr_assert(strstr(error.text, rows[i].words) != NULL, "\"%s\": %s", rows[i].text,
                  error.text);
    }
}

/* text with an exponent, as minor units, and back. */
Test(values, amounts_are_exact_in_both_directions)
{
    static const struct {
        const char *text;
        uint32_t exponent;
        uint64_t high, low;
        const char *shown;
    } rows[] = {
        {"0", 2, 0, 0, "0.00"},
        {"0.01", 2, 0, 1, "0.01"},
        {"12", 2, 0, 1200, "12.00"},
        {"12.3", 2, 0, 1230, "12.30"},
        {"12.34", 2, 0, 1234, "12.34"},
        {"0012.34", 2, 0, 1234, "12.34"},
        {"7", 0, 0, 7, "7"},
        {"0.000000000000000001", 18, 0, 1, "0.000000000000000001"},
        {"184467440737095516.16", 2, 1, 0, "184467440737095516.16"},
        {"3402823669209384634633746074317682114.55", 2, UINT64_MAX, UINT64_MAX,
         "3402823669209384634633746074317682114.55"},
        {"340282366920938463463374607431768211455", 0, UINT64_MAX, UINT64_MAX,
         "340282366920938463463374607431768211455"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_amount amount;
        struct tally_error error;
        char shown[TALLY_AMOUNT_SIZE];
        cr_assert_eq(tally_amount_parse(rows[i].text, strlen(rows[i].text), rows[i].exponent,
                                        &amount, &error),
                     TALLY_OK, "%s: %s", rows[i].text, error.text);
        cr_assert_eq(amount.high, rows[i].high, "%s", rows[i].text);
        cr_assert_eq(amount.low, rows[i].low, "%s", rows[i].text);
        tally_amount_format(&amount, rows[i].exponent, shown);
        cr_assert_str_eq(shown, rows[i].shown);
    }
}

Test(values, amounts_that_cannot_be_meant_are_refused_with_the_reason)
{
    static const struct {
        const char *text;
        uint32_t exponent;
        const char *words;
    } rows[] = {
        {"", 2, "empty"},
        {"12.345", 2, "too many decimals: the ledger's currency has 2"},
        {"12.0", 0, "too many decimals"},
        {"1.000", 2, "too many decimals"},
        {"-1", 2, "a sign"},
        {"+1", 2, "a sign"},
        {"1,000.00", 2, "a separator"},
        {"1'000", 2, "a separator"},
        {"1 000", 2, "a space"},
        {" 1", 2, "a space"},
        {"1e3", 2, "an exponent"},
        {".50", 2, "no digit before the point"},
        {"1.", 2, "no digit after the point"},
        {".", 2, "no digit before the point"},
        {"1.2.3", 2, "two points"},
        {"EUR 1", 2, "an exponent"},
        {"x", 2, "no digit"},
        {"3402823669209384634633746074317682114.56", 2, "passes 2^128 - 1"},
        {"340282366920938463463374607431768211456", 0, "passes 2^128 - 1"},
        /* fits as digits, not any more after scaling */
        {"340282366920938463463374607431768211455", 2, "passes 2^128 - 1"},
        {"1", 19, "exponent 19"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_amount amount = {7, 7};
        struct tally_error error;
        cr_assert_eq(tally_amount_parse(rows[i].text, strlen(rows[i].text), rows[i].exponent,
                                        &amount, &error),
                     TALLY_INVALID, "\"%s\"", rows[i].text);
        cr_assert(strstr(error.text, rows[i].words) != NULL, "\"%s\": %s", rows[i].text,
                  error.text);
        cr_assert(amount.low == 7 && amount.high == 7, "written although refused");
    }
}

/* A text with a NUL inside is judged by its size, not by its terminator. */
Test(values, a_nul_inside_is_seen)
{
    struct tally_amount amount;
    struct tally_id id;
    struct tally_error error;
    cr_assert_eq(tally_amount_parse("1\0", 2, 2, &amount, &error), TALLY_INVALID);
    cr_assert_eq(tally_id_parse("1\0", 2, &id, &error), TALLY_INVALID);
}

Test(values, two_identities_differ_and_survive_their_text)
{
    struct tally_identity one, two, back;
    struct tally_error error;
    char text[TALLY_IDENTITY_SIZE];
    cr_assert_eq(tally_identity_new(&one), TALLY_OK);
    cr_assert_eq(tally_identity_new(&two), TALLY_OK);
    cr_assert_neq(memcmp(one.nonce, two.nonce, sizeof one.nonce), 0);
    cr_assert_gt(one.issued_at_ns, 1700000000ull * 1000000000ull);
    tally_identity_format(&one, text);
    cr_assert_eq(tally_identity_parse(text, &back, &error), TALLY_OK, "%s", error.text);
    cr_assert_eq(memcmp(one.nonce, back.nonce, sizeof one.nonce), 0);
    cr_assert_eq(one.issued_at_ns, back.issued_at_ns);
    one.issued_at_ns = UINT64_MAX; /* the longest text fits */
    tally_identity_format(&one, text);
    cr_assert_eq(tally_identity_parse(text, &back, &error), TALLY_OK);
    cr_assert_eq(back.issued_at_ns, UINT64_MAX);
}

Test(values, identities_that_are_none_are_refused)
{
    static const char *const rows[] = {
        "",
        "00112233445566778899aabbccddeeff",
        "00112233445566778899aabbccddeeff:",
        "00112233445566778899aabbccddeef:12",
        "00112233445566778899aabbccddeeff:12x",
        "00112233445566778899aabbccddeeff:-1",
        "00112233445566778899aabbccddeeff:18446744073709551616",
        "0011223344556677889_aabbccddeeff:12",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_identity identity;
        struct tally_error error;
        cr_assert_eq(tally_identity_parse(rows[i], &identity, &error), TALLY_INVALID, "%s",
                     rows[i]);
        cr_assert(strstr(error.text, "NONCE:ISSUED_AT_NS") != NULL);
    }
}

Test(values, roles_have_one_name_each)
{
    for (uint8_t role = TALLY_ROLE_NONE; role <= TALLY_ROLE_NODE; role++) {
        uint8_t back = 99;
        cr_assert(tally_role_parse(tally_role_name(role), &back), "%u", role);
        cr_assert_eq(back, role);
    }
    uint8_t none = 99;
    cr_assert_not(tally_role_parse("root", &none));
    cr_assert_eq(none, 99);
}
