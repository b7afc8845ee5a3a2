/* See grpc_loopback.h. One loop runs both ends, so a test sees every step in order. */
#include "grpc_loopback.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- handlers ---- */

static void echo(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    struct loopback *loopback = context;
    loopback->message_count++;
    uint8_t *room = grpc_call_reserve(call, size);
    if (room && size > 0)
        memcpy(room, message, size);
    grpc_call_add_trailer(call, "tally-index", "7");
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void hold(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    struct loopback *loopback = context;
    (void)message;
    (void)size;
    loopback->held = call;
    loopback->all_held[loopback->held_count++ % 4096] = call;
}

static void hold_gone(void *context, struct grpc_call *call)
{
    struct loopback *loopback = context;
    cr_assert(grpc_call_is_gone(call));
    loopback->gone_count++;
}

static void fail(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    char text[256];
    (void)snprintf(text, sizeof text, "%.*s", (int)size, (const char *)message);
    grpc_call_finish(call, GRPC_FAILED_PRECONDITION, text);
}

static void watch(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    for (int i = 0; i < 3; i++) {
        uint8_t *room = grpc_call_reserve(call, size);
        if (room && size > 0)
            memcpy(room, message, size);
        grpc_call_send(call);
    }
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void event(void *context, const char *name, const char *principal, const char *text)
{
    struct loopback *loopback = context;
    size_t length = strlen(loopback->events);
    (void)snprintf(loopback->events + length, sizeof loopback->events - length, "%s|%s|%s\n", name,
                   principal, text);
}

/* ---- making ---- */

static const char *path_of(struct loopback *loopback, const char *name, const char *suffix,
                           char out[160])
{
    (void)snprintf(out, 160, "%s/%s%s", loopback->directory, name, suffix);
    return out;
}

static void make_certificates(struct loopback *loopback)
{
    loopback->pki = pki_create(loopback->directory, "ca");
    pki_issue(loopback->pki,
              &(struct pki_certificate){.file = "server",
                                        .alternative_names = "DNS:localhost,IP:127.0.0.1,"
                                                             "URI:spiffe://test/server"});
    pki_issue(loopback->pki,
              &(struct pki_certificate){.file = "client",
                                        .alternative_names = "URI:spiffe://test/client"});
}

static void guard_cb(uv_timer_t *timer)
{
    struct loopback *loopback = timer->data;
    loopback->guard_fired = true;
}

void loopback_init(struct loopback *loopback, const struct grpc_limits *limits, const char *crl)
{
    memset(loopback, 0, sizeof *loopback);
    signal(SIGPIPE, SIG_IGN);
    strcpy(loopback->directory, "/tmp/tally-grpc-XXXXXX");
    cr_assert_not_null(mkdtemp(loopback->directory));
    cr_assert_eq(uv_loop_init(&loopback->loop), 0);
    make_certificates(loopback);
    uv_timer_init(&loopback->loop, &loopback->guard);
    loopback->guard.data = loopback;
    char crl_file[160], files[3][160];
    if (crl)
        pki_revoke(loopback->pki, crl, NULL);
    struct grpc_server_options options = {
        .loop = &loopback->loop,
        .host = "127.0.0.1",
        .certificate_file = path_of(loopback, "server", ".pem", files[0]),
        .key_file = path_of(loopback, "server", ".key", files[1]),
        .ca_file = path_of(loopback, "ca", ".pem", files[2]),
        .crl_file = crl ? path_of(loopback, crl, ".pem", crl_file) : NULL,
        .event_context = loopback,
        .event = event,
    };
    if (limits)
        options.limits = *limits;
    struct grpc_error error;
    cr_assert_eq(grpc_server_create(&options, &loopback->server, &error), STATUS_OK, "%s",
                 error.text);
    const struct grpc_method methods[] = {
        {.path = "/test/Echo", .message = echo, .context = loopback},
        {.path = "/test/Hold", .message = hold, .gone = hold_gone, .context = loopback},
        {.path = "/test/Fail", .message = fail, .context = loopback},
        {.path = "/test/Watch", .message = watch, .server_streaming = true, .context = loopback},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        grpc_server_add(loopback->server, &methods[i]);
    cr_assert_eq(grpc_server_listen(loopback->server, &loopback->port, &error), STATUS_OK, "%s",
                 error.text);
}

static void drained_cb(void *context)
{
    struct loopback *loopback = context;
    loopback->drained = true;
    grpc_server_destroy(loopback->server);
    loopback->server = NULL;
}

void loopback_drain(struct loopback *loopback, uint32_t grace_ms)
{
    grpc_server_drain(loopback->server, grace_ms, drained_cb, loopback);
}

static void remove_directory(const char *directory)
{
    DIR *listing = opendir(directory);
    cr_assert_not_null(listing);
    struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    closedir(listing);
    (void)rmdir(directory);
}

void loopback_deinit(struct loopback *loopback)
{
    if (loopback->server) {
        loopback_drain(loopback, 0);
        loopback_wait(loopback, &loopback->drained);
    }
    uv_close((uv_handle_t *)&loopback->guard, NULL);
    uv_run(&loopback->loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loopback->loop), 0, "a handle was left open");
    pki_destroy(loopback->pki);
    remove_directory(loopback->directory);
}

/* ---- clients ---- */

struct http2_client *loopback_client_with(struct loopback *loopback, const char *certificate,
                                          const char *ca, const char *server_name,
                                          const char *server_uri)
{
    char files[3][160];
    struct http2_client_options options = {
        .loop = &loopback->loop,
        .host = "127.0.0.1",
        .port = loopback->port,
        .certificate_file = path_of(loopback, certificate, ".pem", files[0]),
        .key_file = path_of(loopback, certificate, ".key", files[1]),
        .ca_file = path_of(loopback, ca, ".pem", files[2]),
        .server_name = server_name,
        .server_uri = server_uri,
        .calls_max = 4096,
    };
    struct http2_client *client;
    struct net_error error;
    cr_assert_eq(http2_client_create(&options, &client, &error), STATUS_OK, "%s", error.text);
    return client;
}

struct http2_client *loopback_client(struct loopback *loopback, const char *certificate)
{
    return loopback_client_with(loopback, certificate, "ca", "localhost", "spiffe://test/server");
}

static void stopped_cb(void *context)
{
    *(bool *)context = true;
}

void loopback_stop_client(struct loopback *loopback, struct http2_client *client)
{
    bool stopped = false;
    http2_client_stop(client, stopped_cb, &stopped);
    loopback_wait(loopback, &stopped);
    http2_client_destroy(client);
}

/* ---- waiting ---- */

static void arm(struct loopback *loopback, uint64_t ms)
{
    loopback->guard_fired = false;
    uv_update_time(&loopback->loop);
    uv_timer_start(&loopback->guard, guard_cb, ms, 0);
}

void loopback_wait(struct loopback *loopback, const bool *flag)
{
    arm(loopback, WAIT_MS);
    while (!*flag && !loopback->guard_fired)
        uv_run(&loopback->loop, UV_RUN_ONCE);
    uv_timer_stop(&loopback->guard);
    cr_assert(*flag, "waited %d ms in vain; events:\n%s", WAIT_MS, loopback->events);
}

void loopback_wait_count(struct loopback *loopback, const uint32_t *count, uint32_t until)
{
    arm(loopback, WAIT_MS);
    while (*count < until && !loopback->guard_fired)
        uv_run(&loopback->loop, UV_RUN_ONCE);
    uv_timer_stop(&loopback->guard);
    cr_assert_geq(*count, until, "waited %d ms in vain; events:\n%s", WAIT_MS, loopback->events);
}

void loopback_run_ms(struct loopback *loopback, uint64_t ms)
{
    arm(loopback, ms);
    while (!loopback->guard_fired)
        uv_run(&loopback->loop, UV_RUN_ONCE);
}

/* ---- calls ---- */

static void tracked_done(struct http2_call *call)
{
    struct tracked_call *tracked = (struct tracked_call *)call;
    tracked->done = true;
    tracked->done_count++;
    tracked->answer = http2_call_take_answer(call);
}

void tracked_start(struct http2_client *client, struct tracked_call *tracked, const char *path,
                   const void *request, size_t size)
{
    tracked->call.path = path;
    tracked->call.request = request;
    tracked->call.request_size = size;
    tracked->call.done = tracked_done;
    tracked->done = false;
    enum status status = http2_client_call(client, &tracked->call);
    cr_assert_eq(status, STATUS_OK, "%s", status_text(status));
    cr_assert(!tracked->done, "done was called before the start returned");
}

void tracked_free(struct tracked_call *tracked)
{
    free(tracked->answer);
    tracked->answer = NULL;
}

void tracked_run(struct loopback *loopback, struct http2_client *client,
                 struct tracked_call *tracked, const char *path, const void *request, size_t size)
{
    tracked_start(client, tracked, path, request, size);
    loopback_wait(loopback, &tracked->done);
}
