/*
 * A server with nothing behind it, for tests/e2e/abuse.py and by hand:
 *
 *   grpc_echo_server DIR [--body-timeout-ms N] [--handshake-timeout-ms N]
 *
 * makes an authority and certificates in DIR (ca, server, client, rogue_ca, rogue), listens on a
 * free port of 127.0.0.1 and prints "port N". Methods, all of raw bytes: /echo.Echo/Unary   the
 * message back /echo.Echo/Slow    the message back after 300 ms, like work in the log
 *   /echo.Echo/Watch   the message back three times (server streaming)
 *   /echo.Echo/Chat    each message back (both streaming)
 *   /echo.Echo/Stats   the server's statistics as text
 * SIGTERM drains. Events go to standard error.
 */
#include "server/grpc.h"
#include "tests/net/pki.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct grpc_server *server;
static uv_signal_t terminate;
static uv_loop_t *loop;

static void answer(struct grpc_call *call, const uint8_t *message, size_t size)
{
    uint8_t *room = grpc_call_reserve(call, size);
    if (room)
        memcpy(room, message, size);
}

static void unary(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    answer(call, message, size);
    grpc_call_add_trailer(call, "tally-index", "42");
    grpc_call_finish(call, GRPC_OK, NULL);
}

struct slow {
    uv_timer_t timer;
    struct grpc_call *call;
    const uint8_t *message;
    size_t size;
};

static void slow_closed(uv_handle_t *timer)
{
    free(timer);
}

static void slow_done(uv_timer_t *timer)
{
    struct slow *slow = (struct slow *)timer;
    answer(slow->call, slow->message, slow->size);
    grpc_call_finish(slow->call, GRPC_OK, NULL);
    uv_close((uv_handle_t *)timer, slow_closed);
}

static void slow(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    struct slow *work = calloc(1, sizeof *work);
    if (!work) {
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    work->call = call;
    work->message = message;
    work->size = size;
    uv_timer_init(loop, &work->timer);
    uv_timer_start(&work->timer, slow_done, 300, 0);
}

static void watch(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    for (int i = 0; i < 3; i++) {
        answer(call, message, size);
        grpc_call_send(call);
    }
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void chat(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    answer(call, message, size);
    grpc_call_send(call);
}

static void chat_half_close(void *context, struct grpc_call *call)
{
    (void)context;
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void chat_gone(void *context, struct grpc_call *call)
{
    (void)context;
    grpc_call_finish(call, GRPC_CANCELLED, NULL);
}

static void stats(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    (void)message;
    (void)size;
    struct grpc_server_stats s;
    grpc_server_stats(server, &s);
    char text[512];
    int length =
        snprintf(text, sizeof text,
                 "connections %" PRIu64 "\nhandshake_failures %" PRIu64 "\ncalls_in_flight %" PRIu64
                 "\nresets %" PRIu64 "\nrefused %" PRIu64 "\ncalls %" PRIu64 "\n",
                 s.connections, s.handshake_failures_total, s.calls_in_flight, s.resets_total,
                 s.refused_limit_total, s.calls_total);
    answer(call, (const uint8_t *)text, (size_t)length);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void event(void *context, const char *name, const char *principal, const char *text)
{
    (void)context;
    fprintf(stderr, "event=%s principal=%s text=\"%s\"\n", name, principal, text);
}

static void drained(void *context)
{
    (void)context;
    grpc_server_destroy(server);
}

static void terminate_cb(uv_signal_t *handle, int number)
{
    (void)number;
    uv_close((uv_handle_t *)handle, NULL);
    grpc_server_drain(server, 2000, drained, NULL);
}

static void make_certificates(const char *directory)
{
    struct pki *pki = pki_create(directory, "ca");
    pki_issue(pki, &(struct pki_certificate){.file = "server",
                                             .alternative_names = "DNS:localhost,IP:127.0.0.1,"
                                                                  "URI:spiffe://test/server"});
    pki_issue(pki, &(struct pki_certificate){.file = "client",
                                             .alternative_names = "URI:spiffe://test/client"});
    pki_issue(pki, &(struct pki_certificate){.file = "other",
                                             .alternative_names = "URI:spiffe://test/other"});
    pki_issue(pki,
              &(struct pki_certificate){.file = "nameless", .alternative_names = "DNS:localhost"});
    pki_issue(pki, &(struct pki_certificate){.file = "expired",
                                             .alternative_names = "URI:spiffe://test/expired",
                                             .valid_from_s = -7200,
                                             .valid_to_s = -3600});
    pki_destroy(pki);
    struct pki *rogue = pki_create(directory, "rogue_ca");
    pki_issue(rogue, &(struct pki_certificate){.file = "rogue",
                                               .alternative_names = "URI:spiffe://test/client"});
    pki_destroy(rogue);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc % 2 != 0) {
        fprintf(stderr, "usage: %s DIR [--body-timeout-ms N] [--handshake-timeout-ms N]\n",
                argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    make_certificates(argv[1]);
    char files[3][300];
    const char *const names[] = {"server.pem", "server.key", "ca.pem"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", argv[1], names[i]);
    loop = uv_default_loop();
    struct grpc_server_options options = {
        .loop = loop,
        .host = "127.0.0.1",
        .certificate_file = files[0],
        .key_file = files[1],
        .ca_file = files[2],
        .event = event,
    };
    for (int i = 2; i + 1 < argc; i += 2) {
        uint32_t value = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--body-timeout-ms") == 0)
            options.limits.body_timeout_ms = value;
        else if (strcmp(argv[i], "--handshake-timeout-ms") == 0)
            options.limits.handshake_timeout_ms = value;
    }
    struct grpc_error error;
    uint16_t port;
    if (grpc_server_create(&options, &server, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    const struct grpc_method methods[] = {
        {.path = "/echo.Echo/Unary", .message = unary},
        {.path = "/echo.Echo/Slow", .message = slow},
        {.path = "/echo.Echo/Stats", .message = stats},
        {.path = "/echo.Echo/Watch", .message = watch, .server_streaming = true},
        {.path = "/echo.Echo/Chat",
         .message = chat,
         .half_close = chat_half_close,
         .gone = chat_gone,
         .client_streaming = true,
         .server_streaming = true},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        grpc_server_add(server, &methods[i]);
    if (grpc_server_listen(server, &port, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
    uv_signal_init(loop, &terminate);
    uv_signal_start(&terminate, terminate_cb, SIGTERM);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    return 0;
}
