/* Members as text: what one node prints another command reads, and nothing else. */
#include "client/cli/member_text.h"

#include <criterion/criterion.h>
#include <string.h>

static struct member example(void)
{
    struct member member = {.node_id = 3, .kind = MEMBER_WITNESS};
    for (int i = 0; i < 16; i++)
        member.incarnation[i] = (uint8_t)(16 * i + 15 - i);
    strcpy(member.site, "W-1");
    strcpy(member.address, "[fe80::1]:7402");
    return member;
}

#define EXAMPLE                                                                                    \
    "--node-id 3 --site W-1 --kind witness --address [fe80::1]:7402 --incarnation "                \
    "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

/* The very words that a joining node's file holds, and back. */
Test(member_text, flags_and_member_are_each_others_inverse)
{
    struct member member = example(), again;
    const char *reason;
    char text[MEMBER_FLAGS_SIZE];
    member_flags(&member, text);
    cr_expect_str_eq(text, EXAMPLE);
    cr_assert(member_flags_parse(EXAMPLE "\n", &again, &reason), "%s", reason);
    cr_expect_eq(again.node_id, 3);
    cr_expect_eq(again.kind, MEMBER_WITNESS);
    cr_expect_str_eq(again.site, "W-1");
    cr_expect_str_eq(again.address, "[fe80::1]:7402");
    cr_expect_arr_eq(again.incarnation, member.incarnation, 16);
}

/* In any order; the longest of everything. */
Test(member_text, order_and_length_do_not_matter)
{
    struct member member;
    const char *reason;
    char text[MEMBER_FLAGS_SIZE], address[MEMBER_ADDRESS_SIZE_MAX + 1];
    cr_expect(member_flags_parse("  --address a:1 --incarnation 0f1e2d3c4b5a69788796a5b4c3d2e1f0\t"
                                 "--kind data --site B --node-id 9223372036854775807\r\n",
                                 &member, &reason),
              "%s", reason);
    cr_expect_eq(member.node_id, INT64_MAX);
    memset(address, 'a', sizeof address);
    strcpy(address + sizeof address - 7, ":65535");
    memcpy(member.address, address, sizeof address);
    memset(member.site, 'S', MEMBER_SITE_SIZE_MAX);
    member_flags(&member, text);
    cr_expect(member_flags_parse(text, &member, &reason), "%s: %s", text, reason);
    cr_expect_str_eq(member.address, address);
}

static const struct {
    const char *text, *word;
} wrong[] = {
    {"", "misses"},
    {"--node-id 3", "misses"},
    {EXAMPLE " --node-id 4", "each once"},
    {EXAMPLE " --force", "each once"},
    {EXAMPLE " --force yes", "each once"},
    {EXAMPLE " rest", "each once"},
    {"--node-id 0 --site A", "--node-id"},
    {"--node-id -1 --site A", "--node-id"},
    {"--node-id 9223372036854775808 --site A", "--node-id"},
    {"--site seventeen-letters", "--site"},
    {"--kind both", "--kind"},
    {"--incarnation 0f", "--incarnation"},
    {"--incarnation 0f1e2d3c4b5a69788796a5b4c3d2e1fg", "--incarnation"},
    {"--node-id 3 --site A --kind data --address nowhere --incarnation "
     "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
     "HOST:PORT"},
    {"--node-id 3 --site A/B --kind data --address a:1 --incarnation "
     "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
     "letters"},
};

Test(member_text, everything_else_is_refused_with_the_reason)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct member member = {.node_id = 77};
        const char *reason = "";
        cr_expect_not(member_flags_parse(wrong[i].text, &member, &reason), "%s", wrong[i].text);
        cr_expect(strstr(reason, wrong[i].word), "%s: %s", wrong[i].text, reason);
        cr_expect_eq(member.node_id, 77, "nothing may be written");
    }
    char text[2048];
    memset(text, ' ', sizeof text);
    text[sizeof text - 1] = '\0';
    struct member member;
    const char *reason;
    cr_expect_not(member_flags_parse(text, &member, &reason));
}
