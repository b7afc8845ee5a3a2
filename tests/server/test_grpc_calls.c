/* Calls between our client and our server, through TLS: what arrives, what is refused, what is
 * known when a call ends. */
#include "grpc_loopback.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct loopback bed;

static void setup(void)
{
    loopback_init(&bed, NULL, NULL);
}

static void teardown(void)
{
    loopback_deinit(&bed);
}

TestSuite(grpc_calls, .init = setup, .fini = teardown, .timeout = 60);

/* A message goes there and back, with the trailer, and the caller is known by its URI. */
Test(grpc_calls, answers_carry_message_status_and_trailers)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_run(&bed, client, &tracked, "/test/Echo", "hello", 5);
    cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED, "%s", tracked.call.grpc_message);
    cr_assert_eq(tracked.call.grpc_status, 0);
    cr_assert_eq(tracked.call.answer_size, 5);
    cr_assert_eq(memcmp(tracked.answer, "hello", 5), 0);
    cr_assert_str_eq(http2_call_trailer(&tracked.call, "tally-index"), "7");
    cr_assert_null(http2_call_trailer(&tracked.call, "tally-outcome"));
    cr_assert(http2_client_is_connected(client));
    tracked_free(&tracked);
    loopback_stop_client(&bed, client);
}

Test(grpc_calls, an_empty_message_is_a_message)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_run(&bed, client, &tracked, "/test/Echo", NULL, 0);
    cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED);
    cr_assert_eq(tracked.call.grpc_status, 0);
    cr_assert_eq(tracked.call.answer_size, 0);
    cr_assert_not_null(tracked.answer);
    tracked_free(&tracked);
    loopback_stop_client(&bed, client);
}

/* Sizes around every buffer class and window. */
Test(grpc_calls, messages_of_every_size_come_back_unchanged)
{
    static const size_t sizes[] = {1,     511,    512,    513,    4096,   16379,   16384,
                                   32769, 131066, 131067, 131072, 135169, 1048576, 1100000};
    struct http2_client *client = loopback_client(&bed, "client");
    uint8_t *request = malloc(1100000);
    for (size_t i = 0; i < 1100000; i++)
        request[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tracked_call tracked = {0};
        tracked_run(&bed, client, &tracked, "/test/Echo", request, sizes[i]);
        cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED, "size %zu: %s", sizes[i],
                     tracked.call.grpc_message);
        cr_assert_eq(tracked.call.answer_size, sizes[i]);
        cr_assert_eq(memcmp(tracked.answer, request, sizes[i]), 0, "size %zu", sizes[i]);
        tracked_free(&tracked);
    }
    free(request);
    loopback_stop_client(&bed, client);
}

/* 64 uploads of 1 MiB at once on one connection: more than its budget, so most wait for a grant. */
Test(grpc_calls, many_large_uploads_at_once_do_not_stop_each_other)
{
    enum { COUNT = 64, SIZE = 1024 * 1024 };
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call *tracked = calloc(COUNT, sizeof *tracked);
    uint8_t *request = calloc(1, SIZE);
    for (int i = 0; i < COUNT; i++)
        tracked_start(client, &tracked[i], "/test/Echo", request, SIZE);
    for (int i = 0; i < COUNT; i++) {
        loopback_wait(&bed, &tracked[i].done);
        cr_assert_eq(tracked[i].call.fate, HTTP2_ANSWERED);
        cr_assert_eq(tracked[i].call.grpc_status, 0, "%s", tracked[i].call.grpc_message);
        cr_assert_eq(tracked[i].call.answer_size, SIZE);
        tracked_free(&tracked[i]);
    }
    free(request);
    free(tracked);
    loopback_stop_client(&bed, client);
}

/* More calls than streams are allowed: the rest wait their turn. */
Test(grpc_calls, two_thousand_calls_in_flight_are_all_answered)
{
    enum { COUNT = 2000 };
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call *tracked = calloc(COUNT, sizeof *tracked);
    for (int i = 0; i < COUNT; i++)
        tracked_start(client, &tracked[i], "/test/Echo", "request", 7);
    for (int i = 0; i < COUNT; i++) {
        loopback_wait(&bed, &tracked[i].done);
        cr_assert_eq(tracked[i].call.grpc_status, 0, "%s", tracked[i].call.grpc_message);
        cr_assert_eq(tracked[i].done_count, 1);
        tracked_free(&tracked[i]);
    }
    free(tracked);
    struct grpc_server_stats stats;
    grpc_server_stats(bed.server, &stats);
    cr_assert_eq(stats.connections_total, 1);
    cr_assert_eq(stats.calls_total, COUNT);
    cr_assert_eq(stats.calls_in_flight, 0);
    loopback_stop_client(&bed, client);
}

/* Spaces, percent signs and bytes above 0x7e survive grpc-message. */
Test(grpc_calls, an_error_message_arrives_as_it_was_written)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    const char *text = "100 % of \xc3\xa4 ledger: \"no\"";
    tracked_run(&bed, client, &tracked, "/test/Fail", text, strlen(text));
    cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED);
    cr_assert_eq(tracked.call.grpc_status, GRPC_FAILED_PRECONDITION);
    cr_assert_str_eq(tracked.call.grpc_message, text);
    cr_assert_null(tracked.answer);
    loopback_stop_client(&bed, client);
}

Test(grpc_calls, an_unknown_method_is_unimplemented_and_not_accepted)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_run(&bed, client, &tracked, "/test/Nothing", "x", 1);
    cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED);
    cr_assert_eq(tracked.call.grpc_status, GRPC_UNIMPLEMENTED);
    cr_assert_str_eq(tracked.call.grpc_message, "unknown method /test/Nothing");
    cr_assert_str_eq(http2_call_trailer(&tracked.call, "tally-outcome"), "NOT_ACCEPTED");
    loopback_stop_client(&bed, client);
}

Test(grpc_calls, a_message_over_the_limit_names_both_sizes)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    uint8_t *request = calloc(1, 1100001);
    tracked_run(&bed, client, &tracked, "/test/Echo", request, 1100001);
    cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED);
    cr_assert_eq(tracked.call.grpc_status, GRPC_RESOURCE_EXHAUSTED);
    cr_assert_not_null(strstr(tracked.call.grpc_message, "1100001"));
    cr_assert_not_null(strstr(tracked.call.grpc_message, "1100000"));
    cr_assert_eq(bed.message_count, 0);
    /* The connection goes on. */
    tracked_run(&bed, client, &tracked, "/test/Echo", request, 1100000);
    cr_assert_eq(tracked.call.grpc_status, 0);
    tracked_free(&tracked);
    free(request);
    loopback_stop_client(&bed, client);
}

/* Our unary client against a streaming method that sends three: the answer is refused. */
Test(grpc_calls, more_than_one_message_is_no_unary_answer)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_run(&bed, client, &tracked, "/test/Watch", "x", 1);
    cr_assert_eq(tracked.call.fate, HTTP2_UNKNOWN);
    cr_assert_eq(tracked.call.grpc_status, GRPC_INTERNAL);
    cr_assert_null(tracked.answer);
    loopback_stop_client(&bed, client);
}

/* The handler holds the call; the client's deadline comes first. The work stays the handler's. The
 * deadline is longer than a machine stands still on the way to the handler. */
Test(grpc_calls, a_deadline_leaves_the_outcome_unknown_and_the_work_alive)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call warm = {0}, tracked = {.call.timeout_ns = 3000000000};
    tracked_run(&bed, client, &warm, "/test/Echo", "x", 1);
    tracked_free(&warm);
    tracked_run(&bed, client, &tracked, "/test/Hold", "work", 4);
    cr_assert_eq(tracked.call.grpc_status, GRPC_DEADLINE_EXCEEDED);
    /* Either side's clock may be first; neither claims that nothing was done. */
    cr_assert(tracked.call.fate == HTTP2_UNKNOWN || tracked.call.fate == HTTP2_ANSWERED);
    cr_assert_null(http2_call_trailer(&tracked.call, "tally-outcome"));
    loopback_wait_count(&bed, &bed.gone_count, 1);
    cr_assert_eq(bed.gone_count, 1);
    cr_assert(grpc_call_is_gone(bed.held));
    struct grpc_server_stats stats;
    grpc_server_stats(bed.server, &stats);
    cr_assert_eq(stats.calls_in_flight, 1, "the work counts until it is finished");
    cr_assert_null(grpc_call_reserve(bed.held, 10));
    cr_assert_str_eq(grpc_call_principal(bed.held), "spiffe://test/client");
    grpc_call_finish(bed.held, GRPC_OK, NULL);
    grpc_server_stats(bed.server, &stats);
    cr_assert_eq(stats.calls_in_flight, 0);
    loopback_stop_client(&bed, client);
}

Test(grpc_calls, a_cancelled_call_is_unknown_once_it_was_sent)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_start(client, &tracked, "/test/Hold", "work", 4);
    loopback_wait_count(&bed, &bed.held_count, 1);
    http2_client_cancel(client, &tracked.call);
    http2_client_cancel(client, &tracked.call); /* twice does nothing more */
    cr_assert(!tracked.done);
    loopback_wait(&bed, &tracked.done);
    cr_assert_eq(tracked.done_count, 1);
    cr_assert_eq(tracked.call.fate, HTTP2_UNKNOWN);
    cr_assert_eq(tracked.call.grpc_status, GRPC_CANCELLED);
    loopback_wait_count(&bed, &bed.gone_count, 1);
    grpc_call_finish(bed.held, GRPC_OK, NULL);
    loopback_stop_client(&bed, client);
}

Test(grpc_calls, a_call_cancelled_before_the_connection_was_not_sent)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_start(client, &tracked, "/test/Hold", "work", 4);
    http2_client_cancel(client, &tracked.call);
    loopback_wait(&bed, &tracked.done);
    cr_assert_eq(tracked.call.fate, HTTP2_NOT_SENT);
    loopback_stop_client(&bed, client);
    cr_assert_eq(bed.held_count, 0);
}

Test(grpc_calls, calls_over_the_clients_bound_are_refused_at_the_start)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call *tracked = calloc(4097, sizeof *tracked);
    for (int i = 0; i < 4096; i++)
        tracked_start(client, &tracked[i], "/test/Echo", NULL, 0);
    tracked[4096].call.path = "/test/Echo";
    cr_assert_eq(http2_client_call(client, &tracked[4096].call), STATUS_BUSY);
    for (int i = 0; i < 4096; i++) {
        loopback_wait(&bed, &tracked[i].done);
        tracked_free(&tracked[i]);
    }
    loopback_stop_client(&bed, client);
    free(tracked);
}

/* Stopping ends what waits and what is under way, each once. */
Test(grpc_calls, stopping_the_client_ends_every_call_once)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call sent = {0}, waiting = {0};
    tracked_start(client, &sent, "/test/Hold", "a", 1);
    loopback_wait_count(&bed, &bed.held_count, 1);
    tracked_start(client, &waiting, "/test/Hold", "b", 1);
    loopback_stop_client(&bed, client);
    cr_assert_eq(sent.done_count, 1);
    cr_assert_eq(sent.call.fate, HTTP2_UNKNOWN);
    cr_assert_eq(waiting.done_count, 1);
    cr_assert_neq(waiting.call.fate, HTTP2_ANSWERED);
    loopback_wait_count(&bed, &bed.gone_count, 1);
    for (uint32_t i = 0; i < bed.held_count; i++)
        grpc_call_finish(bed.all_held[i], GRPC_OK, NULL);
}

/* The server goes while a call is held: unknown, and the handler may finish after the server is
 * gone. */
Test(grpc_calls, a_handler_may_finish_after_the_server_is_destroyed)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_start(client, &tracked, "/test/Hold", "a", 1);
    loopback_wait_count(&bed, &bed.held_count, 1);
    loopback_drain(&bed, 100);
    loopback_wait(&bed, &bed.drained);
    loopback_wait(&bed, &tracked.done);
    cr_assert_eq(tracked.call.fate, HTTP2_UNKNOWN);
    cr_assert_eq(bed.gone_count, 1);
    grpc_call_finish(bed.held, GRPC_OK, NULL);
    loopback_stop_client(&bed, client);
}
