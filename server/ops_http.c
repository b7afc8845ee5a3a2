/*
 * libmicrohttpd without a thread: its epoll descriptor is one poll handle of our loop, its timeout
 * one timer, asked again before each wait. Everything it does happens on the loop thread, so probes
 * read plain memory, and a loop that hangs stops answering /livez, which is the point of it.
 *
 * Bounded: 64 connections, 32 of one address, 10 s of silence, 16 KiB of headers.
 */
#include "server/ops_http.h"

#include "core/invariant.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX             64u
#define CONNECTIONS_PER_ADDRESS_MAX 32u
#define SILENCE_SECONDS_MAX         10u
#define CONNECTION_MEMORY           ((size_t)16384)

struct ops_http {
    struct MHD_Daemon *daemon;
    const struct probe *probe;
    struct log *log;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uint32_t open_handles;
};

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type,
                              char *text, size_t size)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code,
                                   const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return MHD_NO;
    return answer(connection, code, "text/plain; charset=utf-8", copy, strlen(copy));
}

static enum MHD_Result answer_ready(const struct ops_http *http, struct MHD_Connection *connection)
{
    struct probe_check checks[PROBE_CHECK_COUNT];
    bool ready = probe_ready(http->probe, checks);
    /* "?verbose" has a key without a value, which the simpler lookup cannot tell from none. */
    const char *value = NULL;
    bool verbose = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "verbose",
                                                 strlen("verbose"), &value, NULL) == MHD_YES;
    char text[PROBE_CHECK_COUNT * (sizeof checks[0].text + 64) + 64];
    size_t size = 0;
    text[0] = '\0';
    for (int i = 0; i < PROBE_CHECK_COUNT; i++) {
        if (checks[i].passed && !verbose)
            continue;
        int added = snprintf(text + size, sizeof text - size, "%s%s%s%s\n",
                             !verbose           ? ""
                             : checks[i].passed ? "[+] "
                                                : "[-] ",
                             checks[i].name, checks[i].text[0] ? ": " : " ok", checks[i].text);
        invariant(added > 0 && (size_t)added < sizeof text - size);
        size += (size_t)added;
    }
    if (ready)
        snprintf(text + size, sizeof text - size, "ok\n");
    return answer_text(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result route(struct ops_http *http, struct MHD_Connection *connection,
                             const char *path)
{
    if (strcmp(path, "/livez") == 0)
        return answer_text(connection, MHD_HTTP_OK, "ok\n");
    if (strcmp(path, "/readyz") == 0)
        return answer_ready(http, connection);
    if (strcmp(path, "/metrics") == 0) {
        size_t size;
        char *text = probe_metrics(http->probe, &size);
        return text ? answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                             text, size)
                    : answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    }
    if (strcmp(path, "/status") == 0) {
        char *text = probe_status_json(http->probe);
        return text ? answer(connection, MHD_HTTP_OK, "application/json", text, strlen(text))
                    : answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND,
                       "not found; there are /livez, /readyz, /metrics and /status\n");
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    static char begun;
    (void)version;
    (void)upload;
    /* First call: headers only; the answer waits for the whole request, so that a body that nobody
     * wants does not end the connection. */
    if (!*state) {
        *state = &begun;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                           "only GET and HEAD are allowed here\n");
    return route(context, connection, path);
}

/* ---- life on the loop ---- */

__attribute__((format(printf, 2, 0))) static void report(void *context, const char *format,
                                                         va_list arguments)
{
    struct ops_http *http = context;
    char text[256];
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    struct log_line line;
    log_begin(&line, EVENT_OPS_HTTP_FAILED);
    log_text(&line, "text", text);
    log_end(http->log, &line);
}

static void run(struct ops_http *http)
{
    if (MHD_run(http->daemon) != MHD_YES) {
        struct log_line line;
        log_begin(&line, EVENT_OPS_HTTP_FAILED);
        log_text(&line, "text", "the server could not run a turn");
        log_end(http->log, &line);
    }
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    (void)status; /* an error on the epoll descriptor shows in the run */
    (void)events;
    run(poll->data);
}

static void timer_cb(uv_timer_t *timer)
{
    run(timer->data);
}

static void prepare_cb(uv_prepare_t *prepare)
{
    struct ops_http *http = prepare->data;
    MHD_UNSIGNED_LONG_LONG wait_ms;
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&http->timer, timer_cb, wait_ms, 0);
    else
        uv_timer_stop(&http->timer);
}

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool make_address(const struct config_address *address, union socket_address *out,
                         socklen_t *out_size)
{
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, address->host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(address->port);
        *out_size = sizeof out->v4;
        return true;
    }
    if (inet_pton(AF_INET6, address->host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(address->port);
        *out_size = sizeof out->v6;
        return true;
    }
    return false;
}

static enum status socket_status(int error)
{
    switch (error) {
    case EADDRINUSE:
    case EADDRNOTAVAIL:
        return STATUS_UNAVAILABLE;
    case EACCES:
    case EPERM:
        return STATUS_PERMISSION;
    default:
        return STATUS_IO;
    }
}

/* Bound here rather than by the library, whose errors have no reason. -1 with *out_error. */
static int bind_socket(const struct config_address *address, uint16_t *out_port,
                       enum status *out_status, struct ops_error *out_error)
{
    union socket_address where;
    socklen_t size;
    if (!make_address(address, &where, &size)) {
        *out_status = STATUS_INVALID;
        snprintf(out_error->text, sizeof out_error->text, "listen.ops: %s is no numeric address",
                 address->host);
        return -1;
    }
    int one = 1;
    int fd = socket(where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, &where.any, size) == 0 && listen(fd, 128) == 0 &&
        getsockname(fd, &where.any, &size) == 0) {
        *out_port = ntohs(where.any.sa_family == AF_INET ? where.v4.sin_port : where.v6.sin6_port);
        return fd;
    }
    int error = errno;
    *out_status = socket_status(error);
    snprintf(out_error->text, sizeof out_error->text,
             "listen.ops: cannot listen on %s port %u: %s; give another address, or stop the "
             "process that has it",
             address->host, address->port, strerror(error));
    if (fd >= 0)
        close(fd);
    return -1;
}

enum status ops_http_start(uv_loop_t *loop, const struct config_address *address,
                           const struct probe *probe, struct log *log, struct ops_http **out_http,
                           uint16_t *out_port, struct ops_error *out_error)
{
    enum status status = STATUS_NO_MEMORY;
    struct ops_http *http = calloc(1, sizeof *http);
    snprintf(out_error->text, sizeof out_error->text, "listen.ops: out of memory");
    if (!http)
        return STATUS_NO_MEMORY;
    http->probe = probe;
    http->log = log;
    int fd = bind_socket(address, out_port, &status, out_error);
    if (fd < 0)
        goto free_http;
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER,
        report, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, CONNECTIONS_PER_ADDRESS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_SECONDS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_MEMORY, MHD_OPTION_END);
    if (!http->daemon) {
        close(fd);
        goto free_http;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(loop, &http->poll, info->epoll_fd) != 0)
        goto stop_daemon;
    /* These cannot fail: they only link handles into the loop. */
    (void)uv_timer_init(loop, &http->timer);
    (void)uv_prepare_init(loop, &http->prepare);
    http->poll.data = http->timer.data = http->prepare.data = http;
    http->open_handles = 3;
    (void)uv_poll_start(&http->poll, UV_READABLE, poll_cb);
    (void)uv_prepare_start(&http->prepare, prepare_cb);
    *out_http = http;
    return STATUS_OK;

stop_daemon:
    MHD_stop_daemon(http->daemon);
free_http:
    free(http);
    return status;
}

static void close_cb(uv_handle_t *handle)
{
    struct ops_http *http = handle->data;
    if (--http->open_handles == 0)
        free(http);
}

void ops_http_stop(struct ops_http *http)
{
    if (!http)
        return;
    uv_poll_stop(&http->poll);
    MHD_stop_daemon(http->daemon);
    uv_close((uv_handle_t *)&http->poll, close_cb);
    uv_close((uv_handle_t *)&http->timer, close_cb);
    uv_close((uv_handle_t *)&http->prepare, close_cb);
}
