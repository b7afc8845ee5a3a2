/* Who may call what: every method by every role, and how much at once. */
#include "server/authorize.h"
#include "test_bank.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* The table of core/policy.h once more, by method: a change there has to be meant here as well. */
static const struct {
    enum method method;
    const char *roles; /* c channel, b business_operator, s site_operator, a auditor, n node */
} allowed[METHOD_COUNT] = {
    {METHOD_CREATE_LEDGERS, "b"},      {METHOD_CREATE_ACCOUNTS, "b"},
    {METHOD_CREATE_TRANSFERS, "c"},    {METHOD_FENCE_REQUEST, "cbs"},
    {METHOD_SET_PRINCIPALS, "s"},      {METHOD_GET_REQUEST, "cbsa"},
    {METHOD_LOOKUP_ACCOUNTS, "cba"},   {METHOD_LOOKUP_TRANSFERS, "cba"},
    {METHOD_LIST_LEDGERS, "cba"},      {METHOD_LIST_ACCOUNTS, "cba"},
    {METHOD_LIST_TRANSFERS, "cba"},    {METHOD_TRIAL_BALANCE, "cba"},
    {METHOD_LIST_PRINCIPALS, "sa"},    {METHOD_GET_STATUS, "cbsan"},
    {METHOD_LIST_MEMBERS, "cbsan"},    {METHOD_ADD_MEMBER, "s"},
    {METHOD_REPLACE_MEMBER, "s"},      {METHOD_REMOVE_MEMBER, "s"},
    {METHOD_TRANSFER_LEADERSHIP, "s"}, {METHOD_OPERATE_SITE, "s"},
    {METHOD_LIST_IN_DOUBT, "sa"},
};

static const struct {
    uint8_t role;
    char letter;
    const char *uri;
} callers[] = {
    {ROLE_CHANNEL, 'c', "tally:mobile-1"},  {ROLE_BUSINESS_OPERATOR, 'b', "tally:desk"},
    {ROLE_SITE_OPERATOR, 's', "tally:ops"}, {ROLE_AUDITOR, 'a', "tally:audit"},
    {ROLE_NODE, 'n', "tally:node"},         {ROLE_NONE, '-', "tally:former"},
};

static struct test_bank bank;

static void setup(void)
{
    test_bank_init(&bank);
}

static void teardown(void)
{
    test_bank_deinit(&bank);
}

TestSuite(authorize, .init = setup, .fini = teardown);

Test(authorize, every_method_by_every_role)
{
    for (int i = 0; i < METHOD_COUNT; i++) {
        cr_assert_eq(allowed[i].method, (enum method)i);
        for (size_t k = 0; k < sizeof callers / sizeof callers[0]; k++) {
            bool expected = strchr(allowed[i].roles, callers[k].letter) != NULL;
            struct caller caller;
            struct denial denial = {.text = ""};
            enum grpc_code code =
                authorize_call(bank.machine, allowed[i].method, callers[k].uri, &caller, &denial);
            cr_expect_eq(code, expected ? GRPC_OK : GRPC_PERMISSION_DENIED, "%s by %s",
                         method_name(allowed[i].method), callers[k].uri);
            if (expected) {
                cr_expect_eq(caller.role, callers[k].role);
                continue;
            }
            cr_expect(strstr(denial.text, callers[k].uri), "%s", denial.text);
            cr_expect(strstr(denial.text, method_name(allowed[i].method)), "%s", denial.text);
        }
    }
}

/* A certificate that nobody listed: told its own name and what to do, for every method. */
Test(authorize, unlisted_uri_is_named_with_the_next_step)
{
    struct caller caller;
    struct denial denial;
    cr_expect_eq(authorize_call(bank.machine, METHOD_GET_STATUS, "tally:mobile", &caller, &denial),
                 GRPC_PERMISSION_DENIED);
    cr_expect(strstr(denial.text, "tally:mobile is not in the table of principals"), "%s",
              denial.text);
    cr_expect(strstr(denial.text, "tally.v1.Admin/SetPrincipals"), "%s", denial.text);
    cr_expect_eq(authorize_call(bank.machine, METHOD_GET_STATUS, "", &caller, &denial),
                 GRPC_PERMISSION_DENIED);
}

Test(authorize, refusal_names_the_roles_that_may)
{
    struct caller caller;
    struct denial denial;
    cr_expect_eq(
        authorize_call(bank.machine, METHOD_LIST_PRINCIPALS, "tally:desk", &caller, &denial),
        GRPC_PERMISSION_DENIED);
    cr_expect_str_eq(denial.text, "tally:desk has the role business_operator, which may not call "
                                  "ListPrincipals; it needs site_operator or auditor");
}

/* A longest possible URI must not cut the sentence's end off. */
Test(authorize, long_uri_leaves_room_for_the_words)
{
    char uri[URI_SIZE_MAX + 1];
    memset(uri, 'u', URI_SIZE_MAX);
    uri[URI_SIZE_MAX] = '\0';
    struct caller caller;
    struct denial denial;
    cr_expect_eq(authorize_call(bank.machine, METHOD_GET_STATUS, uri, &caller, &denial),
                 GRPC_PERMISSION_DENIED);
    cr_expect(strstr(denial.text, "SetPrincipals"), "%s", denial.text);
}

/* Rows of one name are one principal: two instances share the cap; another principal has its own.
 */
Test(authorize, instances_share_the_cap_of_their_principal)
{
    struct in_flight in_flight = {.default_max = 3};
    struct caller one, twin, other;
    struct denial denial;
    cr_assert_eq(
        authorize_call(bank.machine, METHOD_CREATE_TRANSFERS, "tally:mobile-1", &one, &denial),
        GRPC_OK);
    cr_assert_eq(
        authorize_call(bank.machine, METHOD_CREATE_TRANSFERS, "tally:mobile-2", &twin, &denial),
        GRPC_OK);
    cr_assert_eq(
        authorize_call(bank.machine, METHOD_CREATE_TRANSFERS, "tally:counter", &other, &denial),
        GRPC_OK);
    cr_expect_neq(one.ordinal, twin.ordinal);
    cr_expect_eq(one.name_ordinal, twin.name_ordinal);
    cr_expect(in_flight_enter(&in_flight, &one));
    cr_expect(in_flight_enter(&in_flight, &twin));
    cr_expect(in_flight_enter(&in_flight, &one));
    cr_expect_not(in_flight_enter(&in_flight, &twin));
    cr_expect(in_flight_enter(&in_flight, &other));
    in_flight_leave(&in_flight, &twin);
    cr_expect(in_flight_enter(&in_flight, &one));
    cr_expect_not(in_flight_enter(&in_flight, &one));
}

/* The row's own number goes before the node's default, up and down. */
Test(authorize, row_sets_its_own_cap)
{
    struct in_flight in_flight = {.default_max = 2};
    struct principal_event event = principal_of("mobile", "tally:mobile-1", ROLE_CHANNEL);
    event.in_flight_max = 1;
    cr_assert_eq(test_bank_principal(&bank, &event), RESULT_OK);
    struct caller caller;
    struct denial denial;
    cr_assert_eq(
        authorize_call(bank.machine, METHOD_CREATE_TRANSFERS, "tally:mobile-1", &caller, &denial),
        GRPC_OK);
    cr_expect_eq(in_flight_max(&in_flight, &caller), 1);
    cr_expect(in_flight_enter(&in_flight, &caller));
    cr_expect_not(in_flight_enter(&in_flight, &caller));
}

/* A row that is disabled counts from the next call on. */
Test(authorize, disabled_row_is_refused_at_once)
{
    struct caller caller;
    struct denial denial;
    struct principal_event event = principal_of("counter", "tally:counter", ROLE_NONE);
    cr_assert_eq(
        authorize_call(bank.machine, METHOD_CREATE_TRANSFERS, "tally:counter", &caller, &denial),
        GRPC_OK);
    cr_assert_eq(test_bank_principal(&bank, &event), RESULT_OK);
    cr_expect_eq(
        authorize_call(bank.machine, METHOD_CREATE_TRANSFERS, "tally:counter", &caller, &denial),
        GRPC_PERMISSION_DENIED);
}

Test(authorize, paths_are_those_of_the_contract)
{
    for (int method = 0; method < METHOD_COUNT; method++) {
        const char *path = method_path((enum method)method);
        bool admin = method == METHOD_SET_PRINCIPALS || method >= METHOD_LIST_PRINCIPALS;
        char expected[96];
        snprintf(expected, sizeof expected, "/tally.v1.%s/%s", admin ? "Admin" : "Ledger",
                 method_name((enum method)method));
        cr_expect_str_eq(path, expected);
        for (int other = 0; other < method; other++)
            cr_expect_str_neq(path, method_path((enum method)other));
    }
}
