/* What the client claims to know when a server breaks off: the claims that unknown outcomes rest
 * on. */
#include "fake_server.h"
#include "net/http2_client.h"
#include "pki.h"

#include <criterion/criterion.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 30000

static char directory[64];
static uv_loop_t loop;
static uv_timer_t guard;
static bool guard_fired;
static struct fake_server server;
static struct http2_client *client;
static struct pki *pki;

static struct http2_client *make_client(const char *host, uint16_t port, uint32_t connect_ms)
{
    char files[3][160];
    const char *const names[] = {"client.pem", "client.key", "ca.pem"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", directory, names[i]);
    struct http2_client_options options = {
        .loop = &loop,
        .host = host,
        .port = port,
        .certificate_file = files[0],
        .key_file = files[1],
        .ca_file = files[2],
        .server_name = "localhost",
        .connect_timeout_ms = connect_ms,
    };
    struct net_error error;
    struct http2_client *made;
    cr_assert_eq(http2_client_create(&options, &made, &error), STATUS_OK, "%s", error.text);
    return made;
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    strcpy(directory, "/tmp/tally-client-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    pki = pki_create(directory, "ca");
    pki_issue(pki,
              &(struct pki_certificate){.file = "server", .alternative_names = "DNS:localhost"});
    pki_issue(pki,
              &(struct pki_certificate){.file = "client", .alternative_names = "URI:x:client"});
    uv_loop_init(&loop);
    uv_timer_init(&loop, &guard);
    fake_server_start(&server, &loop, directory);
    client = make_client("127.0.0.1", server.port, 0);
}

static void guard_cb(uv_timer_t *timer)
{
    (void)timer;
    guard_fired = true;
}

static void wait_for(const bool *flag)
{
    guard_fired = false;
    uv_timer_start(&guard, guard_cb, WAIT_MS, 0);
    while (!*flag && !guard_fired)
        uv_run(&loop, UV_RUN_ONCE);
    uv_timer_stop(&guard);
    cr_assert(*flag, "waited in vain");
}

static void set_flag(void *context)
{
    *(bool *)context = true;
}

static void stop(struct http2_client *which)
{
    bool stopped = false;
    http2_client_stop(which, set_flag, &stopped);
    wait_for(&stopped);
    http2_client_destroy(which);
}

static void teardown(void)
{
    char command[100];
    stop(client);
    if (!server.listener_closed)
        fake_server_stop(&server);
    wait_for(&server.stopped);
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
    pki_destroy(pki);
    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(http2_client, .init = setup, .fini = teardown, .timeout = 60);

struct probe {
    struct http2_call call;
    bool done;
    int done_count;
};

static void probe_done(struct http2_call *call)
{
    struct probe *probe = (struct probe *)call;
    probe->done = true;
    probe->done_count++;
}

static void start(struct http2_client *which, struct probe *probe, const char *path)
{
    probe->call.path = path;
    probe->call.request = (const uint8_t *)"ping";
    probe->call.request_size = 4;
    probe->call.done = probe_done;
    probe->done = false;
    cr_assert_eq(http2_client_call(which, &probe->call), STATUS_OK);
}

static void run(struct probe *probe, const char *path)
{
    start(client, probe, path);
    wait_for(&probe->done);
    cr_assert_eq(probe->done_count, 1);
}

/* One row for everything a server can do to a request. */
Test(http2_client, each_end_of_a_call_has_its_fate)
{
    static const struct {
        const char *path;
        enum http2_fate fate;
        int status;
        const char *words;
    } rows[] = {
        {"/ok", HTTP2_ANSWERED, 0, ""},
        {"/refused", HTTP2_NOT_PROCESSED, 14, "REFUSED_STREAM"},
        {"/reset", HTTP2_UNKNOWN, 13, "INTERNAL_ERROR"},
        {"/goaway-below", HTTP2_NOT_PROCESSED, 14, ""},
        {"/goaway-at", HTTP2_ANSWERED, 0, ""},
        {"/goaway-close", HTTP2_UNKNOWN, 14, "closed the connection"},
        {"/close", HTTP2_UNKNOWN, 14, "closed the connection"},
        {"/http-503", HTTP2_UNKNOWN, 2, "503"},
        {"/html", HTTP2_UNKNOWN, 2, "text/html"},
        {"/no-status", HTTP2_UNKNOWN, 2, "without grpc-status"},
        {"/bad-status", HTTP2_ANSWERED, 2, "so it is%"},
        {"/cut", HTTP2_UNKNOWN, 13, "missing or cut"},
        {"/huge", HTTP2_UNKNOWN, 8, "2147483648"},
        {"/compressed", HTTP2_UNKNOWN, 13, "compressed"},
        {"/empty", HTTP2_UNKNOWN, 13, "missing or cut"},
        {"/denied", HTTP2_ANSWERED, 7, "so it is%"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct probe probe = {0};
        run(&probe, rows[i].path);
        cr_assert_eq(probe.call.fate, rows[i].fate, "%s: fate %d, %s", rows[i].path,
                     probe.call.fate, probe.call.grpc_message);
        cr_assert_eq(probe.call.grpc_status, rows[i].status, "%s: status %d, %s", rows[i].path,
                     probe.call.grpc_status, probe.call.grpc_message);
        cr_assert_not_null(strstr(probe.call.grpc_message, rows[i].words), "%s: %s", rows[i].path,
                           probe.call.grpc_message);
        cr_assert_leq(probe.call.trailer_count, HTTP2_TRAILERS_MAX);
    }
}

/* A silent server: the deadline was told to it, ends the call here, and nothing is claimed. The
 * connection is there before, and the deadline longer than a machine stands still: a call that did
 * not leave in time would rightly be one that was not sent. */
Test(http2_client, a_deadline_is_sent_and_kept)
{
    struct probe warm = {0}, probe = {.call.timeout_ns = 3000000000};
    run(&warm, "/ok");
    run(&probe, "/silent");
    cr_assert_eq(probe.call.fate, HTTP2_UNKNOWN);
    cr_assert_eq(probe.call.grpc_status, 4);
    /* What is left of 3 s when it is sent: in nanoseconds no more than 8 digits, so
     * microseconds. */
    size_t length = strlen(server.timeout);
    cr_assert(length >= 2 && server.timeout[length - 1] == 'u', "%s", server.timeout);
    cr_assert_leq(atol(server.timeout), 3000000);
}

/* The server finishes TLS and never sends SETTINGS: nothing was sent to it, and that is said. */
Test(http2_client, a_server_that_does_not_greet_gets_nothing)
{
    server.is_mute = true;
    struct http2_client *hasty = make_client("127.0.0.1", server.port, 600);
    struct probe probe = {0};
    start(hasty, &probe, "/ok");
    wait_for(&probe.done);
    cr_assert_eq(probe.call.fate, HTTP2_NOT_SENT);
    cr_assert_eq(probe.call.grpc_status, 14);
    cr_assert_not_null(strstr(probe.call.grpc_message, "600 ms"), "%s", probe.call.grpc_message);
    cr_assert_eq(server.request_count, 0);
    stop(hasty);
}

/* A deadline shorter than connecting: not sent, not unknown. */
Test(http2_client, a_deadline_before_the_connection_is_not_sent)
{
    server.is_mute = true;
    struct probe probe = {.call.timeout_ns = 100000000};
    run(&probe, "/ok");
    cr_assert_eq(probe.call.fate, HTTP2_NOT_SENT);
    cr_assert_eq(probe.call.grpc_status, 4);
}

/* The server stops reading in the middle of a request of 300 kB: nobody can act on a part of it. */
Test(http2_client, a_request_that_left_in_part_is_not_sent)
{
    static uint8_t request[300000];
    struct probe warm = {0}, part = {.call.timeout_ns = 200000000};
    run(&warm, "/ok");
    server.is_mute = true; /* gives no window any more */
    part.call.path = "/ok";
    part.call.request = request;
    part.call.request_size = sizeof request;
    part.call.done = probe_done;
    cr_assert_eq(http2_client_call(client, &part.call), STATUS_OK);
    wait_for(&part.done);
    cr_assert_eq(part.call.fate, HTTP2_NOT_SENT);
    cr_assert_eq(part.call.grpc_status, 4);
    cr_assert_eq(server.request_count, 1);
}

/* localhost may resolve to ::1 first, where nobody listens: the next address is tried. */
Test(http2_client, a_name_is_resolved_and_its_addresses_tried)
{
    struct addrinfo *known = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &known) != 0)
        cr_skip_test("this machine cannot resolve localhost: has it no /etc/hosts?");
    freeaddrinfo(known);
    struct http2_client *named = make_client("localhost", server.port, 0);
    struct probe probe = {0};
    start(named, &probe, "/ok");
    wait_for(&probe.done);
    cr_assert_eq(probe.call.fate, HTTP2_ANSWERED, "%s", probe.call.grpc_message);
    /* And again, after the server asked to leave. */
    struct probe leaver = {0}, next = {0};
    start(named, &leaver, "/goaway-at");
    wait_for(&leaver.done);
    start(named, &next, "/ok");
    wait_for(&next.done);
    cr_assert_eq(next.call.fate, HTTP2_ANSWERED, "%s", next.call.grpc_message);
    stop(named);
}

Test(http2_client, a_name_that_does_not_exist_is_not_sent)
{
    struct http2_client *lost = make_client("no-such-host.invalid", server.port, 0);
    struct probe probe = {0};
    start(lost, &probe, "/ok");
    wait_for(&probe.done);
    cr_assert_eq(probe.call.fate, HTTP2_NOT_SENT);
    cr_assert_not_null(strstr(probe.call.grpc_message, "no-such-host.invalid"), "%s",
                       probe.call.grpc_message);
    stop(lost);
}

/* 30 calls wait in silence; one makes the server close: each ends once, as unknown. */
Test(http2_client, a_broken_connection_ends_every_call_on_it_once)
{
    enum { COUNT = 30 };
    struct probe *probes = calloc(COUNT + 1, sizeof *probes);
    for (int i = 0; i < COUNT; i++)
        start(client, &probes[i], "/silent");
    start(client, &probes[COUNT], "/close");
    for (int i = 0; i <= COUNT; i++) {
        wait_for(&probes[i].done);
        cr_assert_eq(probes[i].call.fate, HTTP2_UNKNOWN);
        cr_assert_eq(probes[i].done_count, 1);
    }
    free(probes);
}

/* After GOAWAY the old connection ends its call while a new one serves the next. */
Test(http2_client, a_call_after_goaway_goes_to_a_new_connection)
{
    struct probe silent = {0}, leaver = {0}, next = {0};
    start(client, &silent, "/silent");
    run(&leaver, "/goaway-at");
    cr_assert_eq(leaver.call.fate, HTTP2_ANSWERED);
    cr_assert(!http2_client_is_connected(client));
    run(&next, "/ok");
    cr_assert_eq(next.call.fate, HTTP2_ANSWERED);
    cr_assert_eq(server.connection_count, 2);
    cr_assert(!silent.done);
    http2_client_cancel(client, &silent.call);
    wait_for(&silent.done);
    cr_assert_eq(silent.call.fate, HTTP2_UNKNOWN);
}

/* done() starts the same call again, ten times. */
static int rounds_left;

static void again_done(struct http2_call *call)
{
    struct probe *probe = (struct probe *)call;
    if (--rounds_left > 0)
        cr_assert_eq(http2_client_call(client, call), STATUS_OK);
    else
        probe->done = true;
}

Test(http2_client, a_call_may_be_started_again_in_its_done)
{
    struct probe probe = {0};
    rounds_left = 10;
    probe.call.path = "/ok";
    probe.call.done = again_done;
    cr_assert_eq(http2_client_call(client, &probe.call), STATUS_OK);
    wait_for(&probe.done);
    cr_assert_eq(server.request_count, 10);
}

Test(http2_client, malformed_calls_are_refused_at_the_start)
{
    struct probe probe = {.call.done = probe_done};
    char path[300];
    memset(path, '/', sizeof path);
    path[256] = 0;
    cr_assert_eq(http2_client_call(client, &probe.call), STATUS_INVALID, "no path");
    probe.call.path = "nothing";
    cr_assert_eq(http2_client_call(client, &probe.call), STATUS_INVALID, "no slash");
    probe.call.path = path;
    cr_assert_eq(http2_client_call(client, &probe.call), STATUS_INVALID, "256 bytes");
    probe.call.path = "/ok";
    probe.call.request_size = 5;
    cr_assert_eq(http2_client_call(client, &probe.call), STATUS_INVALID, "no request");
}
