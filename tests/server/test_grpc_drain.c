/* How a server leaves: what is under way is finished, what comes late is told so, nothing hangs. */
#include "grpc_loopback.h"

#include <criterion/criterion.h>
#include <stdio.h>
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

TestSuite(grpc_drain, .init = setup, .fini = teardown, .timeout = 60);

Test(grpc_drain, without_connections_it_ends_at_once)
{
    loopback_drain(&bed, 60000);
    loopback_wait(&bed, &bed.drained);
}

/* Two calls are held; the drain waits for both answers, then for nothing. */
Test(grpc_drain, calls_under_way_are_answered)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call first = {0}, second = {0};
    tracked_start(client, &first, "/test/Hold", "a", 1);
    tracked_start(client, &second, "/test/Hold", "b", 1);
    loopback_wait_count(&bed, &bed.held_count, 2);
    loopback_drain(&bed, 60000);
    loopback_run_ms(&bed, 400);
    cr_assert(!bed.drained);
    cr_assert(!http2_client_is_connected(client), "GOAWAY must have come");
    grpc_call_finish(bed.all_held[0], GRPC_ABORTED, "one");
    loopback_wait(&bed, &first.done);
    cr_assert_eq(first.call.fate, HTTP2_ANSWERED);
    cr_assert(!bed.drained);
    grpc_call_finish(bed.all_held[1], GRPC_ABORTED, "two");
    loopback_wait(&bed, &second.done);
    cr_assert_str_eq(second.call.grpc_message, "two");
    loopback_wait(&bed, &bed.drained);
    loopback_stop_client(&bed, client);
}

/* Between the notice and the final GOAWAY calls are still taken: none is lost in the round trip. */
Test(grpc_drain, a_call_that_crosses_the_notice_is_served)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call warm = {0}, crossing = {0};
    tracked_run(&bed, client, &warm, "/test/Echo", "a", 1);
    tracked_free(&warm);
    tracked_start(client, &crossing, "/test/Echo", "b", 1);
    loopback_drain(&bed, 60000);
    loopback_wait(&bed, &crossing.done);
    cr_assert_eq(crossing.call.fate, HTTP2_ANSWERED, "%s", crossing.call.grpc_message);
    cr_assert_eq(crossing.call.grpc_status, 0);
    tracked_free(&crossing);
    loopback_wait(&bed, &bed.drained);
    loopback_stop_client(&bed, client);
}

/* A second drain with no grace cuts what the first would have waited for. */
Test(grpc_drain, a_second_drain_can_only_hurry)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked = {0};
    tracked_start(client, &tracked, "/test/Hold", "a", 1);
    loopback_wait_count(&bed, &bed.held_count, 1);
    loopback_drain(&bed, 60000);
    loopback_run_ms(&bed, 300);
    cr_assert(!bed.drained);
    loopback_drain(&bed, 0);
    loopback_wait(&bed, &bed.drained);
    loopback_wait(&bed, &tracked.done);
    cr_assert_eq(tracked.call.fate, HTTP2_UNKNOWN);
    cr_assert_eq(bed.gone_count, 1);
    grpc_call_finish(bed.held, GRPC_OK, NULL);
    loopback_stop_client(&bed, client);
}

static void set_flag(void *context)
{
    *(bool *)context = true;
}

/* Nobody listens on an address that is no address; the error says what to write. */
Test(grpc_drain, a_server_that_could_not_listen_can_be_drained)
{
    struct grpc_server_options options = {.loop = &bed.loop, .host = "localhost"};
    char files[3][160];
    const char *const names[] = {"server.pem", "server.key", "ca.pem"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", bed.directory, names[i]);
    options.certificate_file = files[0];
    options.key_file = files[1];
    options.ca_file = files[2];
    struct grpc_server *server;
    struct grpc_error error;
    cr_assert_eq(grpc_server_create(&options, &server, &error), STATUS_OK);
    cr_assert_eq(grpc_server_listen(server, NULL, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "IP address"));
    grpc_server_destroy(server);
    /* The port of the running server is taken. */
    options.host = "127.0.0.1";
    options.port = bed.port;
    cr_assert_eq(grpc_server_create(&options, &server, &error), STATUS_OK);
    cr_assert_eq(grpc_server_listen(server, NULL, &error), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(error.text, "address already in use"), "%s", error.text);
    bool drained = false;
    grpc_server_drain(server, 0, set_flag, &drained);
    loopback_wait(&bed, &drained);
    grpc_server_destroy(server);
}
