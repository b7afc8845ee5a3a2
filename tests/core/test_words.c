/* Words for people and programs: results, outcomes, statuses, roles, and the policy table. */
#include "core/policy.h"
#include "core/result.h"
#include "core/status.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* The wire enums must carry the same numbers and names: the .proto file is read and compared. */
static int number_in_proto(const char *proto, const char *enum_name, const char *name)
{
    char opening[64];
    snprintf(opening, sizeof opening, "enum %s {", enum_name);
    const char *begin = strstr(proto, opening);
    cr_assert_not_null(begin);
    const char *end = strchr(begin, '}');
    char pattern[96];
    snprintf(pattern, sizeof pattern, "\n  %s = ", name);
    const char *found = strstr(begin, pattern);
    if (found == NULL || found > end)
        return -1;
    return (int)strtol(found + strlen(pattern), NULL, 10);
}

static char *proto_text(void)
{
    FILE *file = fopen(PROTO_PATH, "r");
    cr_assert_not_null(file, "%s", PROTO_PATH);
    char *text = calloc(1, 1 << 20);
    cr_assert_gt(fread(text, 1, (1 << 20) - 1, file), 0);
    fclose(file);
    return text;
}

Test(words, results_have_the_names_and_numbers_of_the_wire)
{
    char *proto = proto_text();
    int named = 0;
    for (int result = 0; result < 256; result++) {
        const char *name = result_name((uint8_t)result);
        if (strcmp(name, "UNKNOWN") == 0)
            continue;
        named++;
        cr_expect_lt(result, 128, "fits one byte of a packed enum");
        cr_expect_eq(number_in_proto(proto, "Result", name), result, "%s", name);
    }
    cr_expect_eq(named, 53, "%d", named);
    free(proto);
}

Test(words, outcomes_have_the_names_and_numbers_of_the_wire)
{
    char *proto = proto_text();
    for (int outcome = 0; outcome < 256; outcome++) {
        const char *name = outcome_name((uint8_t)outcome);
        cr_expect_eq(strcmp(name, "UNKNOWN") == 0, outcome >= OUTCOME_COUNT, "%d", outcome);
        if (outcome < OUTCOME_COUNT)
            cr_expect_eq(number_in_proto(proto, "Outcome", name), outcome, "%s", name);
    }
    free(proto);
}

Test(words, every_number_has_a_sentence)
{
    for (int number = 0; number < 256; number++) {
        const char *sentences[] = {result_explanation((uint8_t)number),
                                   outcome_explanation((uint8_t)number)};
        for (size_t i = 0; i < 2; i++) {
            size_t size = strlen(sentences[i]);
            cr_expect_gt(size, 4);
            cr_expect_eq(sentences[i][size - 1], '.');
        }
    }
}

Test(words, every_status_has_words_of_its_own)
{
    for (int i = 0; i < STATUS_COUNT; i++) {
        cr_expect_str_neq(status_text((enum status)i), "unknown status", "%d", i);
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(status_text((enum status)i), status_text((enum status)j));
    }
    cr_expect_str_eq(status_text(STATUS_COUNT), "unknown status");
    cr_expect_str_eq(status_text((enum status)(-1)), "unknown status");
    cr_expect_str_eq(status_text(STATUS_DISK_FULL), "disk full");
}

Test(words, roles_are_named_and_found_by_name)
{
    for (uint8_t role = ROLE_NONE + 1; role < ROLE_COUNT; role++)
        cr_expect_eq(role_by_name(role_name(role)), role);
    cr_expect_str_eq(role_name(ROLE_NONE), "none");
    cr_expect_str_eq(role_name(ROLE_COUNT), "none");
    cr_expect_str_eq(role_name(255), "none");
    cr_expect_eq(role_by_name("none"), ROLE_NONE);
    cr_expect_eq(role_by_name("channels"), ROLE_NONE);
    cr_expect_eq(role_by_name("Channel"), ROLE_NONE);
    cr_expect_eq(role_by_name(""), ROLE_NONE);
}

/* The table of policy.h, spelled out once more: x = allowed, by role from none to node. */
Test(words, the_policy_is_the_table_of_its_header)
{
    static const struct {
        uint16_t operation;
        const char *allowed;
    } writes[] = {
        {0, "------"},
        {OPERATION_CREATE_LEDGERS, "--x---"},
        {OPERATION_CREATE_ACCOUNTS, "--x---"},
        {OPERATION_CREATE_TRANSFERS, "-x----"},
        {OPERATION_FENCE_REQUEST, "-xxx--"},
        {OPERATION_SET_PRINCIPALS, "---x--"},
        {6, "------"},
        {32 + OPERATION_CREATE_TRANSFERS, "------"},
        {UINT16_MAX, "------"},
    };
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        for (uint8_t role = 0; role < ROLE_COUNT; role++)
            cr_expect_eq(policy_may_write(role, writes[i].operation),
                         writes[i].allowed[role] == 'x', "operation %u, role %u",
                         writes[i].operation, role);
        cr_expect_not(policy_may_write(ROLE_COUNT, writes[i].operation));
        cr_expect_not(policy_may_write(255, writes[i].operation));
    }
    static const struct {
        enum permission_read what;
        const char *allowed;
    } reads[] = {
        {READ_MONEY, "-xx-x-"},  {READ_OWN_REQUEST, "-xxxx-"}, {READ_ANY_REQUEST, "----x-"},
        {READ_STATUS, "-xxxxx"}, {READ_PRINCIPALS, "---xx-"},  {CHANGE_MEMBERS, "---x--"},
    };
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        for (uint8_t role = 0; role < ROLE_COUNT; role++)
            cr_expect_eq(policy_may_read(role, reads[i].what), reads[i].allowed[role] == 'x');
        cr_expect_not(policy_may_read(ROLE_COUNT, reads[i].what));
    }
}
