/*
 * The gRPC engine on whatever a client may send once TLS stands: HTTP/2 frames, headers, gRPC's
 * five-byte prefix. The engine and nghttp2 are the real ones; the stream below them is not: this
 * file defines stream_...(), tls_...() and net_loop_...(), so that the linker has no need of
 * net/stream.c.
 *
 * The first byte chooses the size of pieces, and whether the client's greeting stands before the
 * rest. The same bytes are given twice, whole and in pieces, and:
 *   - the same messages reach the same methods in the same order, however the bytes were cut
 *     (unless the connection was cut for abuse, which may count what was sent in between);
 *   - a message that is delivered consists of bytes of the input, in their order;
 *   - what is sent are whole frames, none larger than the client allows;
 *   - at the end nothing is left: no call, no connection, no byte charged to the caller.
 *
 * Time stands still: uv_hrtime() is ours, so deadlines never depend on the machine.
 */
#include "fuzz.h"
#include "server/grpc_internal.h"

#define GREETING "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

uint64_t uv_hrtime(void)
{
    return 1000000000;
}

/* ---- the stream that is none ---- */

static struct stream *open_stream;
static uint8_t sent[1 << 20];
static size_t sent_size;

enum status stream_accept(struct stream *stream, struct net_loop *loop, uv_stream_t *listener,
                          const struct tls_context *tls, const struct stream_handlers *handlers)
{
    (void)listener;
    (void)tls;
    stream->handlers = handlers;
    stream->loop = loop;
    stream->state = STREAM_OPEN;
    snprintf(stream->peer, sizeof stream->peer, "fuzz");
    open_stream = stream;
    return STATUS_OK;
}

enum status stream_write(struct stream *stream, const uint8_t *bytes, size_t size)
{
    need(stream->state == STREAM_OPEN, "nothing is written after the goodbye");
    if (size <= sizeof sent - sent_size) {
        memcpy(sent + sent_size, bytes, size);
        sent_size += size;
    }
    return STATUS_OK;
}

enum status stream_flush(struct stream *stream)
{
    (void)stream;
    return STATUS_OK;
}

void stream_pause(struct stream *stream)
{
    stream->paused = true;
}

void stream_resume(struct stream *stream)
{
    stream->paused = false;
}

void stream_finish(struct stream *stream)
{
    stream->state = STREAM_FINISHING;
}

void stream_close(struct stream *stream)
{
    stream->state = STREAM_CLOSING;
}

enum status stream_peer_identity(const struct stream *stream, struct identity *out_identity,
                                 struct net_error *out_error)
{
    (void)stream;
    (void)out_error;
    *out_identity = (struct identity){.uri = "spiffe://bank/channel"};
    return STATUS_OK;
}

enum status stream_verify_again(const struct stream *stream, const struct tls_context *tls,
                                struct net_error *out_error)
{
    (void)stream;
    (void)tls;
    (void)out_error;
    return STATUS_OK;
}

enum status tls_context_create(const struct tls_options *options, struct tls_context **out_context,
                               struct net_error *out_error)
{
    (void)options;
    (void)out_error;
    *out_context = NULL;
    return STATUS_OK;
}

enum status tls_context_reload(struct tls_context **context, struct net_error *out_error)
{
    (void)context;
    (void)out_error;
    return STATUS_OK;
}

void tls_context_destroy(struct tls_context *context)
{
    (void)context;
}

struct tls_expiry tls_context_expiry(const struct tls_context *context)
{
    (void)context;
    return (struct tls_expiry){0};
}

/* The loop's part of TLS: whose handshake is next. There is none here. */
enum status net_loop_init(struct net_loop *loop, uv_loop_t *uv)
{
    static uint8_t output[TLS_RECORD_SIZE];
    memset(loop, 0, sizeof *loop);
    loop->uv = uv;
    loop->output = output;
    return STATUS_OK;
}

void net_loop_stop(struct net_loop *loop, void (*cb)(void *context), void *context)
{
    (void)loop;
    cb(context);
}

/* ---- the methods ---- */

struct run {
    uint64_t delivered, hash;
    bool cut;
};

static struct run *current;
static const uint8_t *input;
static size_t input_size;

/* In order, with perhaps heads of frames and padding between them: no more can be said without a
 * second parser, and no less would do. */
static bool every_byte_came(const uint8_t *message, size_t size)
{
    size_t matched = 0;
    for (size_t at = 0; at < input_size && matched < size; at++)
        matched += input[at] == message[matched] ? 1 : 0;
    return matched == size;
}

static void note(const char *word, const uint8_t *message, size_t size)
{
    current->delivered++;
    for (const char *at = word; *at != '\0'; at++)
        current->hash = current->hash * 31 + (uint8_t)*at;
    for (size_t i = 0; i < size; i++)
        current->hash = current->hash * 31 + message[i] + 1;
}

static void answer(struct grpc_call *call, const uint8_t *message, size_t size)
{
    uint8_t *room = grpc_call_reserve(call, size);
    if (room != NULL && size > 0)
        memcpy(room, message, size);
}

static void unary(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    need(every_byte_came(message, size), "a message is made of the input's bytes");
    note("unary", message, size);
    answer(call, message, size);
    grpc_call_add_trailer(call, "tally-index", "42");
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void chat(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    (void)context;
    need(every_byte_came(message, size), "a message is made of the input's bytes");
    note("chat", message, size);
    answer(call, message, size);
    grpc_call_send(call);
}

static void chat_half_close(void *context, struct grpc_call *call)
{
    (void)context;
    note("half close", NULL, 0);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void chat_gone(void *context, struct grpc_call *call)
{
    (void)context;
    grpc_call_finish(call, GRPC_CANCELLED, NULL);
}

static void event(void *context, const char *name, const char *principal, const char *text)
{
    (void)context;
    (void)principal;
    need(name[0] != '\0' && text[0] != '\0', "an event has a name and words");
}

static struct grpc_server *make_server(void)
{
    static struct grpc_server *server;
    struct grpc_error error;
    if (server != NULL)
        return server;
    const struct grpc_server_options options = {
        .loop = uv_default_loop(), .host = "127.0.0.1", .event = event};
    need(grpc_server_create(&options, &server, &error) == STATUS_OK, "a server");
    const struct grpc_method methods[] = {
        {.path = "/e/U", .message = unary},
        {.path = "/e/C",
         .client_streaming = true,
         .server_streaming = true,
         .message = chat,
         .half_close = chat_half_close,
         .gone = chat_gone},
    };
    for (size_t i = 0; i < 2; i++)
        grpc_server_add(server, &methods[i]);
    need(grpc_server_listen(server, NULL, &error) == STATUS_OK, "it listens, to nobody");
    return server;
}

/* ---- what was sent ---- */

static void check_sent(void)
{
    if (sent_size == sizeof sent)
        return; /* cut by our own room */
    size_t at = 0;
    while (at + 9 <= sent_size) {
        const size_t size = (size_t)sent[at] << 16 | (size_t)sent[at + 1] << 8 | sent[at + 2];
        const uint32_t stream = (uint32_t)(sent[at + 5] & 0x7f) << 24 |
                                (uint32_t)sent[at + 6] << 16 | (uint32_t)sent[at + 7] << 8 |
                                sent[at + 8];
        need(size <= 1 << 24, "a frame's size");
        need(stream % 2 == 0 || sent[at + 3] <= 8, "an answer is of a known type");
        at += 9 + size;
    }
    need(at == sent_size, "whole frames");
}

static void deliver(struct grpc_server *server, const uint8_t *bytes, size_t size, size_t piece,
                    struct run *run)
{
    current = run;
    sent_size = 0;
    open_stream = NULL;
    grpc_connection_accept(server);
    need(open_stream != NULL, "a connection");
    struct stream *stream = open_stream;
    const struct stream_handlers *handlers = stream->handlers;
    handlers->open(stream);
    for (size_t at = 0; at < size && stream->state == STREAM_OPEN; at += piece) {
        handlers->data(stream, bytes + at, size - at < piece ? size - at : piece);
        if (stream->state == STREAM_OPEN)
            handlers->read_done(stream);
    }
    (void)uv_run(uv_default_loop(), UV_RUN_NOWAIT); /* those that became dirty */
    check_sent();
    run->cut = ((const struct grpc_connection *)(const void *)stream)->cut;
    if (stream->state < STREAM_ENDED)
        handlers->ended(stream, STATUS_OK, "the client closed");
    need(stream->state == STREAM_CLOSING, "an ended stream is closed");
    handlers->closed(stream);
    (void)uv_run(uv_default_loop(), UV_RUN_NOWAIT);
    need(server->connections == NULL && server->connection_count == 0 &&
             server->handshake_count == 0 && server->dirty_count == 0,
         "no connection is left");
    need(server->calls_alive == 0, "no call is left");
    for (size_t i = 0; i < PRINCIPAL_CHAINS; i++)
        need(server->principals[i] == NULL, "nothing is charged to anybody");
    current = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 64 * 1024)
        return 0;
    struct grpc_server *server = make_server();
    const size_t greeting = (data[0] & 1) != 0 ? sizeof GREETING - 1 : 0;
    const size_t piece = 1 + (data[0] >> 1);
    uint8_t *bytes = malloc(greeting + size - 1);
    need(bytes != NULL, "memory");
    memcpy(bytes, GREETING, greeting);
    memcpy(bytes + greeting, data + 1, size - 1);
    input = bytes;
    input_size = greeting + size - 1;
    struct run whole = {0}, cut = {0};
    deliver(server, bytes, input_size, input_size, &whole);
    deliver(server, bytes, input_size, piece, &cut);
    if (!whole.cut && !cut.cut)
        need(whole.delivered == cut.delivered && whole.hash == cut.hash,
             "the same messages, however the bytes were cut");
    free(bytes);
    return 0;
}
