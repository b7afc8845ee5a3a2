/* What one principal may have in flight, and what a connection may take. */
#include "grpc_loopback.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct loopback bed;

static void make(uint32_t idle_timeout_ms)
{
    struct grpc_limits limits = {
        .calls_per_principal_max = 4,
        .connections_per_principal_max = 2,
        .connections_max = 5,
        .bytes_per_principal_max = 3 * 1152 * 1024,
        .body_timeout_ms = 20000,
        .idle_timeout_ms = idle_timeout_ms,
    };
    loopback_init(&bed, &limits, NULL);
    pki_issue(bed.pki, &(struct pki_certificate){.file = "other",
                                                 .alternative_names = "URI:spiffe://test/other"});
}

/* No connection of a test ends because the machine stood still. */
static void setup(void)
{
    make(20000);
}

static void setup_hasty(void)
{
    make(600);
}

static void teardown(void)
{
    loopback_deinit(&bed);
}

TestSuite(grpc_limits, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(grpc_limits_idle, .init = setup_hasty, .fini = teardown, .timeout = 60);

static void finish_all(void)
{
    for (uint32_t i = 0; i < bed.held_count; i++)
        grpc_call_finish(bed.all_held[i], GRPC_ABORTED, "test");
}

/* Four calls are held, cancelled, and still count: the fifth is refused, another principal's is
 * not. */
Test(grpc_limits, cancelled_work_counts_until_it_is_finished)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct http2_client *other = loopback_client(&bed, "other");
    struct tracked_call held[4] = {0}, fifth = {0}, others = {0}, after = {0};
    for (int i = 0; i < 4; i++)
        tracked_start(client, &held[i], "/test/Hold", "w", 1);
    loopback_wait_count(&bed, &bed.held_count, 4);
    for (int i = 0; i < 4; i++)
        http2_client_cancel(client, &held[i].call);
    loopback_wait_count(&bed, &bed.gone_count, 4);
    tracked_run(&bed, client, &fifth, "/test/Echo", "x", 1);
    cr_assert_eq(fifth.call.grpc_status, GRPC_RESOURCE_EXHAUSTED);
    cr_assert_str_eq(http2_call_trailer(&fifth.call, "tally-outcome"), "NOT_ACCEPTED");
    cr_assert_str_eq(http2_call_trailer(&fifth.call, "tally-retry-ms"), "100");
    tracked_run(&bed, other, &others, "/test/Echo", "x", 1);
    cr_assert_eq(others.call.grpc_status, 0);
    finish_all();
    tracked_run(&bed, client, &after, "/test/Echo", "x", 1);
    cr_assert_eq(after.call.grpc_status, 0);
    tracked_free(&others);
    tracked_free(&after);
    loopback_stop_client(&bed, client);
    loopback_stop_client(&bed, other);
}

/* Two messages of 1 MiB are held: the bytes are the principal's, a fourth does not fit. */
Test(grpc_limits, message_bytes_held_by_handlers_count)
{
    enum { SIZE = 1024 * 1024 };
    struct http2_client *client = loopback_client(&bed, "client");
    uint8_t *request = calloc(1, SIZE);
    struct tracked_call held[3] = {0}, fourth = {0}, after = {0};
    for (int i = 0; i < 3; i++)
        tracked_start(client, &held[i], "/test/Hold", request, SIZE);
    loopback_wait_count(&bed, &bed.held_count, 3);
    tracked_run(&bed, client, &fourth, "/test/Echo", request, SIZE);
    cr_assert_eq(fourth.call.grpc_status, GRPC_RESOURCE_EXHAUSTED);
    cr_assert_not_null(strstr(fourth.call.grpc_message, "1048576"));
    finish_all();
    for (int i = 0; i < 3; i++)
        loopback_wait(&bed, &held[i].done);
    tracked_run(&bed, client, &after, "/test/Echo", request, SIZE);
    cr_assert_eq(after.call.grpc_status, 0, "%s", after.call.grpc_message);
    tracked_free(&after);
    free(request);
    loopback_stop_client(&bed, client);
}

/* Four answers of 2 MiB before any is read: twice the principal's bytes hold three. The fourth says
 * that its outcome stands, and does not say that nothing was done. */
Test(grpc_limits, an_answer_without_room_is_unavailable_and_not_refused)
{
    enum { SIZE = 2 * 1024 * 1024 };
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call held[4] = {0};
    for (int i = 0; i < 4; i++)
        tracked_start(client, &held[i], "/test/Hold", "w", 1);
    loopback_wait_count(&bed, &bed.held_count, 4);
    int room_count = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t *room = grpc_call_reserve(bed.all_held[i], SIZE);
        room_count += room != NULL;
        if (room)
            memset(room, i, SIZE);
        grpc_call_finish(bed.all_held[i], GRPC_OK, NULL);
    }
    cr_assert_eq(room_count, 3);
    int lost_count = 0;
    for (int i = 0; i < 4; i++) {
        loopback_wait(&bed, &held[i].done);
        cr_assert_eq(held[i].call.fate, HTTP2_ANSWERED);
        lost_count += held[i].call.grpc_status == GRPC_UNAVAILABLE;
        cr_assert_null(http2_call_trailer(&held[i].call, "tally-outcome"));
        tracked_free(&held[i]);
    }
    cr_assert_eq(lost_count, 1);
    loopback_stop_client(&bed, client);
}

Test(grpc_limits, a_third_connection_of_a_principal_is_told_why)
{
    struct http2_client *clients[3];
    struct tracked_call calls[3] = {0};
    for (int i = 0; i < 3; i++) {
        clients[i] = loopback_client(&bed, "client");
        tracked_run(&bed, clients[i], &calls[i], "/test/Echo", "x", 1);
        tracked_free(&calls[i]);
    }
    cr_assert_eq(calls[1].call.grpc_status, 0);
    cr_assert_neq(calls[2].call.fate, HTTP2_ANSWERED);
    cr_assert_neq(calls[2].call.fate, HTTP2_UNKNOWN);
    cr_assert_not_null(strstr(bed.events, "too_many_connections"));
    for (int i = 0; i < 3; i++)
        loopback_stop_client(&bed, clients[i]);
}

/* A connection without calls is asked to leave and leaves; the next call makes a new one. */
Test(grpc_limits_idle, an_idle_connection_is_closed_and_the_next_call_reconnects)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call first = {0}, second = {0};
    tracked_run(&bed, client, &first, "/test/Echo", "x", 1);
    tracked_free(&first);
    loopback_run_ms(&bed, 1800);
    cr_assert(!http2_client_is_connected(client));
    tracked_run(&bed, client, &second, "/test/Echo", "x", 1);
    cr_assert_eq(second.call.grpc_status, 0, "%s", second.call.grpc_message);
    tracked_free(&second);
    struct grpc_server_stats stats;
    grpc_server_stats(bed.server, &stats);
    cr_assert_eq(stats.connections_total, 2);
    cr_assert_eq(stats.connections, 1);
    loopback_stop_client(&bed, client);
}

/* The options themselves are judged. */
Test(grpc_limits, impossible_limits_are_refused_at_the_start)
{
    struct grpc_server_options options = {
        .loop = &bed.loop, .host = "127.0.0.1", .limits = {.message_size_max = 1u << 30}};
    struct grpc_server *server;
    struct grpc_error error;
    cr_assert_eq(grpc_server_create(&options, &server, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "message_size_max"));
    options.limits.message_size_max = 0;
    options.limits.bytes_per_principal_max = 1000;
    cr_assert_eq(grpc_server_create(&options, &server, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "bytes_per_principal_max"));
}
