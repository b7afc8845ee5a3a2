/* See fake_server.h. The library's own streams below, nghttp2 above, and no manners. */
#include "fake_server.h"

#include "net/http2.h"

#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_connection {
    struct stream stream;
    struct fake_server *server;
    struct fake_connection *next;
    nghttp2_session *session;
    struct fake_request *requests; /* all, until the connection goes */
    bool close_wanted;
};

struct fake_request {
    struct fake_request *next;
    char path[64];
    uint8_t body[32];
    size_t body_size, body_sent;
    const char *status; /* of the trailers; NULL = none */
};

static struct fake_connection *connection_of(struct stream *stream)
{
    return (struct fake_connection *)((char *)stream - offsetof(struct fake_connection, stream));
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t capacity,
                         uint32_t *flags, nghttp2_data_source *source, void *context)
{
    (void)context;
    struct fake_request *request = source->ptr;
    size_t part = request->body_size - request->body_sent;
    cr_assert_leq(part, capacity);
    memcpy(out, request->body + request->body_sent, part);
    request->body_sent += part;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (request->status) {
        nghttp2_nv trailers[12] = {field("grpc-status", request->status),
                                   field("grpc-message", "so it%20is%")};
        size_t count = 2;
        if (strcmp(request->status, "7") == 0)
            while (count < 12)
                trailers[count++] = field("tally-x", "y");
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, trailers, count);
    }
    return (ssize_t)part;
}

static void respond(nghttp2_session *session, int32_t id, struct fake_request *request,
                    const char *http_status, const char *content_type, const void *body,
                    size_t body_size, const char *status)
{
    nghttp2_nv fields[] = {field(":status", http_status), field("content-type", content_type)};
    nghttp2_data_provider provider = {.source.ptr = request, .read_callback = read_body};
    if (body_size > 0)
        memcpy(request->body, body, body_size);
    request->body_size = body_size;
    request->status = status;
    nghttp2_submit_response(session, id, fields, 2, &provider);
}

static void misbehave(struct fake_connection *connection, int32_t id, struct fake_request *request)
{
    static const char grpc[] = "application/grpc";
    nghttp2_session *session = connection->session;
    const char *path = request->path;
    if (strcmp(path, "/ok") == 0)
        respond(session, id, request, "200", grpc, "\0\0\0\0\4pong", 9, "0");
    else if (strcmp(path, "/refused") == 0)
        nghttp2_submit_rst_stream(session, 0, id, NGHTTP2_REFUSED_STREAM);
    else if (strcmp(path, "/reset") == 0)
        nghttp2_submit_rst_stream(session, 0, id, NGHTTP2_INTERNAL_ERROR);
    else if (strcmp(path, "/goaway-below") == 0)
        nghttp2_submit_goaway(session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
    else if (strcmp(path, "/http-503") == 0)
        respond(session, id, request, "503", "text/plain", "busy", 4, NULL);
    else if (strcmp(path, "/html") == 0)
        respond(session, id, request, "200", "text/html", "<html>", 6, "0");
    else if (strcmp(path, "/no-status") == 0)
        respond(session, id, request, "200", grpc, "\0\0\0\0\4pong", 9, NULL);
    else if (strcmp(path, "/bad-status") == 0)
        respond(session, id, request, "200", grpc, NULL, 0, "77");
    else if (strcmp(path, "/cut") == 0)
        respond(session, id, request, "200", grpc, "\0\0\0\0\4po", 7, "0");
    else if (strcmp(path, "/huge") == 0)
        respond(session, id, request, "200", grpc, "\0\x80\0\0\0po", 7, "0");
    else if (strcmp(path, "/compressed") == 0)
        respond(session, id, request, "200", grpc, "\1\0\0\0\4pong", 9, "0");
    else if (strcmp(path, "/empty") == 0)
        respond(session, id, request, "200", grpc, NULL, 0, "0");
    else if (strcmp(path, "/denied") == 0)
        respond(session, id, request, "200", grpc, "\0\0\0\0\4pong", 9, "7");
    else if (strcmp(path, "/goaway-at") == 0) {
        nghttp2_submit_goaway(session, 0, id, NGHTTP2_NO_ERROR, NULL, 0);
        respond(session, id, request, "200", grpc, "\0\0\0\0\4pong", 9, "0");
    } else if (strcmp(path, "/goaway-close") == 0) {
        nghttp2_submit_goaway(session, 0, id, NGHTTP2_NO_ERROR, NULL, 0);
        connection->close_wanted = true;
    } else if (strcmp(path, "/close") == 0) {
        connection->close_wanted = true;
    }
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct fake_connection *connection = context;
    struct fake_request *request = calloc(1, sizeof *request);
    cr_assert_not_null(request);
    request->next = connection->requests;
    connection->requests = request;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, request);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *context)
{
    (void)flags;
    struct fake_connection *connection = context;
    struct fake_request *request =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (name_size == 5 && memcmp(name, ":path", 5) == 0)
        (void)snprintf(request->path, sizeof request->path, "%.*s", (int)value_size,
                       (const char *)value);
    if (name_size == 12 && memcmp(name, "grpc-timeout", 12) == 0)
        (void)snprintf(connection->server->timeout, sizeof connection->server->timeout, "%.*s",
                       (int)value_size, (const char *)value);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct fake_connection *connection = context;
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        connection->server->request_count++;
        misbehave(connection, frame->hd.stream_id,
                  nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
    }
    return 0;
}

static void stream_open(struct stream *stream)
{
    struct fake_connection *connection = connection_of(stream);
    nghttp2_session_callbacks *callbacks;
    connection->server->connection_count++;
    cr_assert_eq(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    cr_assert_eq(nghttp2_session_server_new(&connection->session, callbacks, connection), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(connection->session, 0, NULL, 0);
}

static void stream_data(struct stream *stream, const uint8_t *bytes, size_t size)
{
    struct fake_connection *connection = connection_of(stream);
    nghttp2_session_mem_recv(connection->session, bytes, size);
}

static void stream_read_done(struct stream *stream)
{
    struct fake_connection *connection = connection_of(stream);
    bool more;
    if (connection->server->is_mute)
        return;
    (void)http2_pump(connection->session, stream, &more);
    if (connection->close_wanted)
        stream_close(stream);
}

static void stream_ended(struct stream *stream, enum status status, const char *why)
{
    (void)status;
    (void)why;
    stream_close(stream);
}

static void finish_stop(struct fake_server *server);

static void stream_closed(struct stream *stream)
{
    struct fake_connection *connection = connection_of(stream);
    struct fake_server *server = connection->server;
    struct fake_connection **link = &server->connections;
    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    nghttp2_session_del(connection->session);
    while (connection->requests) {
        struct fake_request *request = connection->requests;
        connection->requests = request->next;
        free(request);
    }
    free(connection);
    finish_stop(server);
}

static const struct stream_handlers handlers = {
    .open = stream_open,
    .data = stream_data,
    .read_done = stream_read_done,
    .writable = stream_read_done,
    .ended = stream_ended,
    .closed = stream_closed,
};

static void accept_cb(uv_stream_t *listener, int result)
{
    struct fake_server *server = listener->data;
    cr_assert_eq(result, 0);
    struct fake_connection *connection = calloc(1, sizeof *connection);
    connection->server = server;
    connection->next = server->connections;
    server->connections = connection;
    cr_assert_eq(
        stream_accept(&connection->stream, &server->loop, listener, server->tls, &handlers),
        STATUS_OK);
}

void fake_server_start(struct fake_server *server, uv_loop_t *uv, const char *directory)
{
    char files[3][160];
    const char *const names[] = {"server.pem", "server.key", "ca.pem"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", directory, names[i]);
    struct tls_options options = {.side = TLS_SERVER,
                                  .certificate_file = files[0],
                                  .key_file = files[1],
                                  .ca_file = files[2]};
    struct net_error error;
    memset(server, 0, sizeof *server);
    cr_assert_eq(net_loop_init(&server->loop, uv), STATUS_OK);
    cr_assert_eq(tls_context_create(&options, &server->tls, &error), STATUS_OK, "%s", error.text);
    struct sockaddr_in address;
    int size = sizeof address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(uv, &server->listener);
    server->listener.data = server;
    cr_assert_eq(uv_tcp_bind(&server->listener, (struct sockaddr *)&address, 0), 0);
    cr_assert_eq(uv_listen((uv_stream_t *)&server->listener, 16, accept_cb), 0);
    uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &size);
    server->port = ntohs(address.sin_port);
}

static void loop_stopped(void *context)
{
    struct fake_server *server = context;
    tls_context_destroy(server->tls);
    server->stopped = true;
}

static void finish_stop(struct fake_server *server)
{
    if (server->listener_closed && !server->connections)
        net_loop_stop(&server->loop, loop_stopped, server);
}

static void listener_closed(uv_handle_t *listener)
{
    struct fake_server *server = listener->data;
    server->listener_closed = true;
    finish_stop(server);
}

void fake_server_stop(struct fake_server *server)
{
    for (struct fake_connection *c = server->connections; c; c = c->next)
        stream_close(&c->stream);
    uv_close((uv_handle_t *)&server->listener, listener_closed);
}
