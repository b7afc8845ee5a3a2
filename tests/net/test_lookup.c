/* Addresses as people write them, and names as the system resolves them. */
#include "net/lookup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(lookup, .timeout = 30);

Test(lookup, an_address_is_split_in_one_way_only)
{
    static const struct {
        const char *text, *host;
        uint16_t port; /* 0: refused */
    } rows[] = {
        {"a1.bank.example:7001", "a1.bank.example", 7001},
        {"10.0.0.7:1", "10.0.0.7", 1},
        {"[fd00::7]:65535", "fd00::7", 65535},
        {"[::1]:7", "::1", 7},
        {"host:65536", NULL, 0},
        {"host:0", NULL, 0},
        {"host:", NULL, 0},
        {"host", NULL, 0},
        {":7001", NULL, 0},
        {"", NULL, 0},
        {"host:70 01", NULL, 0},
        {"host:+7", NULL, 0},
        {"host:99999999999999999999", NULL, 0},
        {"fd00::7:7001", NULL, 0},
        {"[fd00::7:7001", NULL, 0},
        {"[]:7001", NULL, 0},
        {"]:7001", "]", 7001}, /* a name nobody has: the lookup says so */
        {"[:7001", NULL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char host[LOOKUP_HOST_SIZE_MAX + 1] = "";
        uint16_t port = 0;
        struct net_error error = {.text = ""};
        enum status status = lookup_split(rows[i].text, host, &port, &error);
        cr_assert_eq(status, rows[i].port ? STATUS_OK : STATUS_INVALID, "%s", rows[i].text);
        cr_assert_eq(port, rows[i].port);
        if (rows[i].port)
            cr_assert_str_eq(host, rows[i].host);
        else
            cr_assert_not_null(strstr(error.text, "host:port"), "%s", error.text);
    }
    char long_text[LOOKUP_HOST_SIZE_MAX + 20], host[LOOKUP_HOST_SIZE_MAX + 1];
    uint16_t port;
    struct net_error error;
    memset(long_text, 'h', LOOKUP_HOST_SIZE_MAX);
    memcpy(long_text + LOOKUP_HOST_SIZE_MAX, ":7", 3);
    cr_assert_eq(lookup_split(long_text, host, &port, &error), STATUS_OK);
    memcpy(long_text + LOOKUP_HOST_SIZE_MAX, "h:7", 4);
    cr_assert_eq(lookup_split(long_text, host, &port, &error), STATUS_INVALID);
}

Test(lookup, literals_need_no_lookup_and_are_given_once)
{
    struct lookup_addresses addresses;
    cr_assert(!lookup_literal("localhost", 7, &addresses));
    cr_assert(lookup_literal("127.0.0.1", 7, &addresses));
    cr_assert_eq(addresses.count, 1);
    cr_assert_eq(lookup_next(&addresses)->sa_family, AF_INET);
    cr_assert_null(lookup_next(&addresses));
    cr_assert(lookup_literal("::1", 7, &addresses));
    cr_assert_eq(lookup_next(&addresses)->sa_family, AF_INET6);
}

struct asked {
    struct lookup lookup; /* first */
    int called;
    uint32_t count;
    char why[256];
};

static void asked_cb(struct lookup *lookup, const struct lookup_addresses *addresses,
                     const char *why)
{
    struct asked *asked = (struct asked *)lookup;
    asked->called++;
    asked->count = addresses ? addresses->count : 0;
    (void)snprintf(asked->why, sizeof asked->why, "%s", why ? why : "");
}

Test(lookup, a_name_is_answered_once_with_addresses_or_a_reason)
{
    struct asked good = {.called = 0}, bad = {.called = 0}, refused = {.called = 0};
    struct net_error error = {.text = ""};
    char long_name[LOOKUP_HOST_SIZE_MAX + 2];
    uv_loop_t loop;
    cr_assert_eq(uv_loop_init(&loop), 0);
    memset(long_name, 'h', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    cr_assert_eq(lookup_start(&good.lookup, &loop, "127.1", 7, asked_cb, &error), STATUS_OK);
    cr_assert_eq(lookup_start(&bad.lookup, &loop, "nowhere.invalid", 7, asked_cb, &error),
                 STATUS_OK);
    cr_assert_eq(lookup_start(&refused.lookup, &loop, long_name, 7, asked_cb, &error),
                 STATUS_UNAVAILABLE);
    cr_assert_eq(good.called + bad.called, 0, "never inside");
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(good.called, 1);
    cr_assert_geq(good.count, 1, "%s", good.why);
    cr_assert_eq(bad.called, 1);
    cr_assert_eq(bad.count, 0);
    cr_assert_not_null(strstr(bad.why, "host name nowhere.invalid"), "%s", bad.why);
    cr_assert_eq(refused.called, 0);
    cr_assert_eq(uv_loop_close(&loop), 0);
}
