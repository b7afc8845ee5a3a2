/* Members: one text for one member, any other text is refused; which tables the site rule allows.
 */
#include "replication/member.h"

#include "replication/guard/raft_layout.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(member, .timeout = 30);

static struct member example(void)
{
    struct member member = {.node_id = 7, .kind = MEMBER_DATA};
    for (uint8_t i = 0; i < 16; i++)
        member.incarnation[i] = (uint8_t)(i * 17);
    strcpy(member.site, "A");
    strcpy(member.address, "a1.bank.example:7001");
    return member;
}

static const char example_text[] = "A data 00112233445566778899aabbccddeeff a1.bank.example:7001";

Test(member, is_printed_as_documented)
{
    struct member member = example();
    char text[MEMBER_TEXT_SIZE];
    cr_assert_eq(member_print(&member, text), STATUS_OK);
    cr_assert_str_eq(text, example_text);
}

static void round_trip(const struct member *member)
{
    char text[MEMBER_TEXT_SIZE], again[MEMBER_TEXT_SIZE];
    cr_assert_eq(member_print(member, text), STATUS_OK, "%s", member->address);
    struct member parsed;
    cr_assert_eq(member_parse(member->node_id, text, &parsed), STATUS_OK, "%s", text);
    cr_assert_eq(parsed.node_id, member->node_id);
    cr_assert_eq(parsed.kind, member->kind);
    cr_assert_arr_eq(parsed.incarnation, member->incarnation, 16);
    cr_assert_str_eq(parsed.site, member->site);
    cr_assert_str_eq(parsed.address, member->address);
    cr_assert_eq(member_print(&parsed, again), STATUS_OK);
    cr_assert_str_eq(again, text);
}

/* Both kinds, the longest site and address, each form of an address, the greatest id. */
Test(member, that_is_parsed_is_the_one_that_was_printed)
{
    struct member member = example();
    round_trip(&member);
    member.kind = MEMBER_WITNESS;
    member.node_id = INT64_MAX;
    memset(member.site, 'Z', MEMBER_SITE_SIZE_MAX);
    memset(member.address, 'x', MEMBER_ADDRESS_SIZE_MAX);
    memcpy(member.address + MEMBER_ADDRESS_SIZE_MAX - 6, ":65535", 6);
    round_trip(&member);

    static const char *const addresses[] = {"127.0.0.1:1", "[::1]:7001", "[fe80::1%eth0]:7001",
                                            "n_1:7001",    "a-b.c:9",    "[2001:db8::7]:443"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        member = example();
        strcpy(member.address, addresses[i]);
        strcpy(member.site, "site_B-2");
        round_trip(&member);
    }
}

Test(member, with_a_field_outside_of_its_alphabet_is_not_printed)
{
    static const char *const sites[] = {"", "A B", "A/", "\xc3\xa9", "A\n", "A.B"};
    static const char *const addresses[] = {
        "",      "host",     ":7001",     "host:",      "host:0",    "host:07001", "host:65536",
        "::1:7", "[]:7001",  "[::1:7",    "ho st:7001", "host:70 1", "host:-1",    "host:123456",
        "h:7\n", "a/b:7001", "\x7f:7001", "[a]b:7001",  "h%1:7001",  "[::1]7001",  "[:7001"};
    char text[MEMBER_TEXT_SIZE];
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        struct member member = example();
        strcpy(member.site, sites[i]);
        cr_assert_eq(member_print(&member, text), STATUS_INVALID, "site '%s'", sites[i]);
    }
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct member member = example();
        strcpy(member.address, addresses[i]);
        cr_assert_eq(member_print(&member, text), STATUS_INVALID, "address '%s'", addresses[i]);
    }
    struct member member = example();
    member.node_id = 0;
    cr_assert_eq(member_print(&member, text), STATUS_INVALID);
    member.node_id = (uint64_t)INT64_MAX + 1;
    cr_assert_eq(member_print(&member, text), STATUS_INVALID);
    member = example();
    member.kind = (enum member_kind)2;
    cr_assert_eq(member_print(&member, text), STATUS_INVALID);
    member = example();
    memset(member.site, 'A', sizeof member.site); /* no zero byte */
    cr_assert_eq(member_print(&member, text), STATUS_INVALID);
    member = example();
    memset(member.address, '1', sizeof member.address);
    cr_assert_eq(member_print(&member, text), STATUS_INVALID);
}

/* Each is the example but for one thing. */
Test(member, text_that_printing_would_not_give_is_refused)
{
    static const char *const texts[] = {
        "",
        " ",
        "A",
        "A data",
        "A data 00112233445566778899aabbccddeeff",
        "A data 00112233445566778899aabbccddeeff ",
        " A data 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A  data 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A data 00112233445566778899aabbccddeeff a1.bank.example:7001 ",
        "A data 00112233445566778899aabbccddeeff a1.bank.example:7001\n",
        "A data 00112233445566778899aabbccddeeff a1.bank.example:7001 more",
        "A data 00112233445566778899AABBCCDDEEFF a1.bank.example:7001",
        "A data 00112233445566778899aabbccddeef a1.bank.example:7001",
        "A data 00112233445566778899aabbccddeefff a1.bank.example:7001",
        "A data 00112233445566778899aabbccddeefg a1.bank.example:7001",
        "A dat 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A witnes 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A witnesses 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A Data 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A\tdata 00112233445566778899aabbccddeeff a1.bank.example:7001",
        "A data 00112233445566778899aabbccddeeff a1.bank.example:07001",
        "A_site_too_long__ data 00112233445566778899aabbccddeeff a1.bank.example:7001",
    };
    struct member parsed;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cr_assert_eq(member_parse(7, texts[i], &parsed), STATUS_INVALID, "'%s'", texts[i]);
    cr_assert_eq(member_parse(0, example_text, &parsed), STATUS_INVALID);
    cr_assert_eq(member_parse(UINT64_MAX, example_text, &parsed), STATUS_INVALID);
    cr_assert_eq(member_parse(7, example_text, &parsed), STATUS_OK);

    char longer[4096];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    cr_assert_eq(member_parse(7, longer, &parsed), STATUS_INVALID);
}

/* Every text that differs from a good one in one byte, and every beginning of it: refused, or again
 * the text of what was parsed. */
Test(member, parser_is_total_and_canonical)
{
    for (size_t size = 0; size < sizeof example_text; size++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[sizeof example_text + 1] = {0};
            memcpy(text, example_text, sizeof example_text);
            text[size] = (char)byte;
            struct member parsed;
            if (member_parse(7, text, &parsed) != STATUS_OK)
                continue;
            char again[MEMBER_TEXT_SIZE];
            cr_assert_eq(member_print(&parsed, again), STATUS_OK);
            cr_assert_str_eq(again, text);
        }
    }
}

/* --------------------------------------------------------------------- table */

/* "A+ B+ W+": voters; "A": a spare data node; 'w' at site W is the witness. */
static struct member_table table_of(const char *words)
{
    struct member_table table = {0};
    char copy[128];
    snprintf(copy, sizeof copy, "%s", words);
    char *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        struct member *member = &table.members[table.count];
        *member = example();
        member->node_id = table.count + 1;
        table.votes[table.count] = word[1] == '+';
        member->kind = word[0] == 'W' ? MEMBER_WITNESS : MEMBER_DATA;
        member->site[0] = word[0];
        snprintf(member->address, sizeof member->address, "host-%u:7001", table.count);
        table.count++;
    }
    return table;
}

Test(member, tables_that_the_site_rule_allows)
{
    static const struct {
        const char *words;
        bool allowed;
        char site;
    } rows[] = {
        {"A+", true, 0},
        {"A+ A+", true, 0}, /* development: one site */
        {"A+ A+ A+", true, 0},
        {"A+ B+", true, 0},
        {"A+ B+ W+", true, 0},
        {"A+ A+ B+ B+ W+", true, 0},
        {"A+ A+ B+ B+", true, 0},
        {"A+ W+", true, 0},
        {"A+ A+ B+", false, 'A'},
        {"B+ A+ B+", false, 'B'},
        {"A+ A+ W+", false, 'A'},
        {"A+ A+ A+ B+ W+", false, 'A'},
        {"A+ A+ A+ B+ B+ W+", true, 0}, /* a replacement under way: three of six */
        {"A+ A+ A+ A+ B+ B+ W+", false, 'A'},
        {"A+ A A B+ W+", true, 0}, /* spares do not count */
        {"A+ B+ C+", true, 0},     /* three data sites */
        {"A+ W+ W+", true, 0},     /* witnesses are no data nodes */
        {"W+ W+ W+", true, 0},
        {"", true, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct member_table table = table_of(rows[i].words);
        char site[MEMBER_SITE_SIZE_MAX + 1] = "";
        cr_assert_eq(member_table_is_allowed(&table, site), rows[i].allowed, "%s", rows[i].words);
        cr_assert_eq(site[0], rows[i].site, "%s: '%s'", rows[i].words, site);
    }
}

/* One node grows to 2+2+1 by allowed tables only, and the two forms of replacing keep to them. */
Test(member, every_step_of_growing_and_replacing_is_allowed)
{
    static const char *const steps[] = {
        "A+",
        "A+ B",
        "A+ B+",
        "A+ B+ W",
        "A+ B+ W+",
        "A+ B+ W+ A",
        "A+ B+ W+ A+",
        "A+ B+ W+ A+ B",
        "A+ B+ W+ A+ B+",
        /* A2 is replaced */
        "A+ B+ W+ A+ B+ A+",
        "A+ B+ W+ B+ A+",
        /* the witness is replaced */
        "A+ B+ W+ B+ A+ W+",
        "A+ B+ B+ A+ W+",
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct member_table table = table_of(steps[i]);
        char site[MEMBER_SITE_SIZE_MAX + 1];
        cr_assert(member_table_is_allowed(&table, site), "%s", steps[i]);
    }
}

Test(member, tables_that_survive_the_loss_of_a_site)
{
    static const struct {
        const char *words;
        uint32_t up;
        char site;
        bool survives;
    } rows[] = {
        {"A+", 1, 'A', false},
        {"A+", 1, 'B', true},
        {"A+ B+", 3, 'A', false},
        {"A+ B+ W+", 7, 'A', true},
        {"A+ B+ W+", 7, 'B', true},
        {"A+ B+ W+", 7, 'W', true},
        {"A+ B+ W+", 5, 'A', false}, /* B is down */
        {"A+ B+ W+", 6, 'A', true},  /* A is down already */
        {"A+ A+ B+ B+ W+", 31, 'A', true},
        {"A+ A+ B+ B+ W+", 23, 'A', false}, /* one of B is down */
        {"A+ A+ B+ B+ W+", 23, 'B', true},
        {"A+ A+ B+ B+ W+", 15, 'W', true},
        {"A+ A+ B+ B+", 15, 'A', false},
        {"A+ B W+", 7, 'A', false}, /* a spare does not vote */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct member_table table = table_of(rows[i].words);
        char site[2] = {rows[i].site, 0};
        cr_assert_eq(member_table_survives_loss(&table, rows[i].up, site), rows[i].survives,
                     "%s, up %x, without %s", rows[i].words, rows[i].up, site);
    }
}

/* Sites where data nodes vote: neither spares nor witnesses count. */
Test(member, data_sites_are_counted_by_their_voters)
{
    static const struct {
        const char *words;
        uint32_t sites;
    } rows[] = {{"A+", 1}, {"A+ B+ W+", 2}, {"A+ A+ B+ B+ W+", 2}, {"A+ B W+", 1}, {"A+ B+ C+", 3}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct member_table table = table_of(rows[i].words);
        cr_assert_eq(member_table_data_sites(&table), rows[i].sites, "%s", rows[i].words);
    }
}

/* ------------------------------------------------------------------ encoding */

/* The table of an entry is what libraft writes for the same servers, and is read back by both. */
Test(member, table_is_encoded_as_libraft_does)
{
    struct member_table table = table_of("A+ B+ W+ A B");
    uint8_t bytes[MEMBER_TABLE_BYTES_MAX], again[MEMBER_TABLE_BYTES_MAX];
    size_t size = member_table_encode(&table, bytes);
    cr_assert_gt(size, 0);
    cr_assert_eq(size % 8, 0);

    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    size_t unpadded = 9;
    for (uint32_t i = 0; i < table.count; i++) {
        char text[MEMBER_TEXT_SIZE];
        cr_assert_eq(member_print(&table.members[i], text), STATUS_OK);
        cr_assert_eq(raft_configuration_add(&configuration, table.members[i].node_id, text,
                                            table.votes[i] ? RAFT_VOTER : RAFT_SPARE),
                     0);
        unpadded += 8 + strlen(text) + 2;
    }
    struct raft_buffer of_raft;
    cr_assert_eq(raft_configuration_encode(&configuration, &of_raft), 0);
    cr_assert_eq(of_raft.len, size);
    cr_assert_arr_eq(of_raft.base, bytes, unpadded);
    raft_free(of_raft.base);
    cr_assert_eq(raft_layout_encode_configuration(&configuration, again, sizeof again), size);
    cr_assert_arr_eq(again, bytes, size);
    cr_assert_eq(raft_layout_encode_configuration(&configuration, again, size - 1), 0);
    raft_configuration_close(&configuration);

    raft_configuration_init(&configuration);
    struct raft_buffer buffer = {.base = bytes, .len = size};
    cr_assert_eq(raft_layout_decode_configuration(&buffer, &configuration), 0);
    cr_assert_eq(configuration.n, table.count);
    raft_configuration_close(&configuration);

    struct member_table parsed;
    cr_assert_eq(member_table_decode(bytes, size, &parsed), STATUS_OK);
    cr_assert_eq(parsed.count, table.count);
    for (uint32_t i = 0; i < table.count; i++)
        cr_assert_eq(parsed.votes[i], table.votes[i]);
    cr_assert_eq(member_table_encode(&parsed, again), size);
    cr_assert_arr_eq(again, bytes, size);
}

/* As many and as long members as there can be. */
Test(member, greatest_table_fits)
{
    struct member_table table = {.count = MEMBERS_MAX};
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct member *member = &table.members[i];
        *member = example();
        member->kind = MEMBER_WITNESS;
        member->node_id = INT64_MAX - i;
        memset(member->site, 'A', MEMBER_SITE_SIZE_MAX);
        memset(member->address, 'x', MEMBER_ADDRESS_SIZE_MAX);
        memcpy(member->address + MEMBER_ADDRESS_SIZE_MAX - 6, ":65535", 6);
    }
    uint8_t bytes[MEMBER_TABLE_BYTES_MAX];
    size_t size = member_table_encode(&table, bytes);
    cr_assert_gt(size, 0);
    struct member_table parsed;
    cr_assert_eq(member_table_decode(bytes, size, &parsed), STATUS_OK);
    cr_assert_eq(parsed.count, MEMBERS_MAX);
}

/* Every beginning and every change of one byte: refused, or a table that can be encoded again. */
Test(member, table_decoder_is_total)
{
    struct member_table table = table_of("A+ W");
    uint8_t bytes[MEMBER_TABLE_BYTES_MAX], changed[MEMBER_TABLE_BYTES_MAX];
    size_t size = member_table_encode(&table, bytes);
    struct member_table parsed;
    for (size_t i = 0; i + 8 < size; i++) {
        uint8_t *exact = malloc(i + 1); /* so that a sanitizer sees a byte too many */
        cr_assert_not_null(exact);
        memcpy(exact, bytes, i);
        cr_assert_eq(member_table_decode(exact, i, &parsed), STATUS_INVALID, "%zu bytes", i);
        free(exact);
    }
    size_t accepted = 0;
    for (size_t i = 0; i < size; i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            memcpy(changed, bytes, size);
            changed[i] = (uint8_t)byte;
            if (member_table_decode(changed, size, &parsed) != STATUS_OK)
                continue;
            accepted++;
            uint8_t again[MEMBER_TABLE_BYTES_MAX];
            cr_assert_gt(member_table_encode(&parsed, again), 0);
        }
    }
    cr_assert_gt(accepted, size);
    memcpy(changed, bytes, size);
    changed[1] = MEMBERS_MAX + 1;
    cr_assert_eq(member_table_decode(changed, size, &parsed), STATUS_INVALID);
    struct member_table twice = table_of("A+ W");
    twice.members[1].node_id = twice.members[0].node_id;
    size = member_table_encode(&twice, bytes);
    cr_assert_eq(member_table_decode(bytes, size, &parsed), STATUS_INVALID);
}
