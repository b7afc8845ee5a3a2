/*
 * The socket half of a stream, and its states.
 *
 * What has to hold:
 * - Every byte OpenSSL produced reaches the socket or the stream ends: ciphertext may not be
 * dropped, so a failed allocation or write ends the stream rather than losing a record.
 * - One read hands at most NET_INPUT_SIZE bytes on, so no peer holds the loop.
 * - The socket is read only in the states that can use it, while the owner has not paused it, and
 * not while its handshake waits for its turn (the queue would grow without bound otherwise).
 * - The owner may close the stream inside any event; after each event the state is looked at again.
 *
 * Bytes are tried on the socket at once and copied only when the kernel does not take them all.
 */
#include "net/stream.h"

#include "core/invariant.h"
#include "net/stream_handshake.h"
#include "net/stream_tls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Ciphertext gathered before it is handed to the socket. */
#define FLUSH_SIZE (32 * 1024)

struct queued_write {
    uv_write_t request;
    struct stream *stream;
    size_t size;
    uint8_t bytes[];
};

static struct stream *stream_of(void *tcp)
{
    return (struct stream *)((char *)tcp - offsetof(struct stream, tcp));
}

static void move(struct stream *stream, enum stream_state to)
{
    /* From each state (row) to which states (bits). */
    static const uint16_t allowed[STREAM_STATE_COUNT] = {
        [STREAM_IDLE] = 1 << STREAM_CONNECTING | 1 << STREAM_HANDSHAKE | 1 << STREAM_CLOSING,
        [STREAM_CONNECTING] = 1 << STREAM_HANDSHAKE | 1 << STREAM_ENDED | 1 << STREAM_CLOSING,
        [STREAM_HANDSHAKE] = 1 << STREAM_OPEN | 1 << STREAM_ENDED | 1 << STREAM_CLOSING,
        [STREAM_OPEN] = 1 << STREAM_FINISHING | 1 << STREAM_ENDED | 1 << STREAM_CLOSING,
        [STREAM_FINISHING] = 1 << STREAM_ENDED | 1 << STREAM_CLOSING,
        [STREAM_ENDED] = 1 << STREAM_CLOSING,
        [STREAM_CLOSING] = 1 << STREAM_CLOSED,
        [STREAM_CLOSED] = 0,
    };
    invariant_values(allowed[stream->state] & 1 << to, stream->state, to);
    stream->state = to;
}

static void input_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void stream_read_cb(uv_stream_t *tcp, ssize_t size, const uv_buf_t *buffer);

static void update_reading(struct stream *stream)
{
    bool wanted = (stream->state == STREAM_HANDSHAKE && !stream->handshake_queued) ||
                  (stream->state == STREAM_OPEN && !stream->paused) ||
                  stream->state == STREAM_FINISHING;
    if (wanted == stream->reading)
        return;
    stream->reading = wanted;
    /* Both fail only on a handle that is closing, which is in none of the states above. */
    if (wanted)
        (void)uv_read_start((uv_stream_t *)&stream->tcp, input_alloc_cb, stream_read_cb);
    else
        (void)uv_read_stop((uv_stream_t *)&stream->tcp);
}

static bool is_over(const struct stream *stream)
{
    return stream->state >= STREAM_ENDED;
}

static void stream_end(struct stream *stream, enum status status, const char *why)
{
    if (is_over(stream))
        return;
    net_loop_forget_handshake(stream->loop, stream);
    move(stream, STREAM_ENDED);
    update_reading(stream);
    stream->handlers->ended(stream, status, why);
}

/* ---- out ---- */

static void queued_write_cb(uv_write_t *request, int result)
{
    struct queued_write *queued = (struct queued_write *)request;
    struct stream *stream = queued->stream;
    stream->queue_size -= queued->size;
    stream->bytes_sent += result == 0 ? queued->size : 0;
    free(queued);
    if (is_over(stream))
        return;
    if (result != 0) {
        struct net_error why;
        net_error_set(&why, "writing to %s: %s", stream->peer, uv_strerror(result));
        stream_end(stream, STATUS_UNAVAILABLE, why.text);
        return;
    }
    if (stream->state == STREAM_OPEN && stream->queue_size < STREAM_QUEUE_SIZE_MAX / 2)
        stream->handlers->writable(stream);
}

static enum status send_bytes(struct stream *stream, const uint8_t *bytes, size_t size)
{
    if (stream->queue_size == 0) {
        uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)size);
        int sent = uv_try_write((uv_stream_t *)&stream->tcp, &buffer, 1);
        if (sent < 0 && sent != UV_EAGAIN)
            return STATUS_UNAVAILABLE;
        if (sent > 0) {
            stream->bytes_sent += (uint64_t)sent;
            bytes += sent;
            size -= (size_t)sent;
        }
    }
    if (size == 0)
        return STATUS_OK;
    struct queued_write *queued = malloc(sizeof *queued + size);
    if (!queued)
        return STATUS_NO_MEMORY;
    queued->stream = stream;
    queued->size = size;
    memcpy(queued->bytes, bytes, size);
    uv_buf_t buffer = uv_buf_init((char *)queued->bytes, (unsigned)size);
    if (uv_write(&queued->request, (uv_stream_t *)&stream->tcp, &buffer, 1, queued_write_cb) != 0) {
        free(queued);
        return STATUS_UNAVAILABLE;
    }
    stream->queue_size += size;
    return STATUS_OK;
}

enum status stream_flush(struct stream *stream)
{
    const uint8_t *bytes;
    size_t size = stream_tls_output(stream, &bytes);
    if (size == 0)
        return STATUS_OK;
    enum status status = send_bytes(stream, bytes, size);
    stream_tls_output_sent(stream);
    return status;
}

enum status stream_write(struct stream *stream, const uint8_t *bytes, size_t size)
{
    invariant_values(stream->state == STREAM_OPEN, stream->state, size);
    while (size > 0) {
        size_t part = size < TLS_RECORD_SIZE ? size : TLS_RECORD_SIZE;
        enum status status = stream_tls_write(stream, bytes, part);
        const uint8_t *ignored;
        if (status == STATUS_OK && stream_tls_output(stream, &ignored) >= FLUSH_SIZE)
            status = stream_flush(stream);
        if (status != STATUS_OK)
            return status;
        bytes += part;
        size -= part;
    }
    return STATUS_OK;
}

/* ---- in ---- */

static void read_plaintext(struct stream *stream)
{
    struct net_error why;
    while (stream->state == STREAM_OPEN || stream->state == STREAM_FINISHING) {
        size_t size = 0;
        switch (stream_tls_read(stream, stream->loop->plain, TLS_RECORD_SIZE, &size, &why)) {
        case TLS_STEP_DONE:
            if (stream->state == STREAM_OPEN)
                stream->handlers->data(stream, stream->loop->plain, size);
            break;
        case TLS_STEP_WANT_INPUT:
            return;
        case TLS_STEP_END:
            net_error_set(&why, "%s closed the connection", stream->peer);
            stream_end(stream, STATUS_OK, why.text);
            return;
        case TLS_STEP_FAILED:
            (void)stream_flush(stream); /* the alert; the stream ends either way */
            stream_end(stream, STATUS_DENIED, why.text);
            return;
        }
    }
}

/* Everything that can be done with the ciphertext fed so far. */
static void stream_step(struct stream *stream)
{
    struct net_error why;
    if (stream->state == STREAM_HANDSHAKE) {
        enum tls_step step = stream_tls_handshake(stream, &why);
        if (stream_flush(stream) != STATUS_OK && step != TLS_STEP_FAILED) {
            net_error_set(&why, "TLS handshake with %s: the connection broke", stream->peer);
            stream_end(stream, STATUS_UNAVAILABLE, why.text);
            return;
        }
        if (step == TLS_STEP_WANT_INPUT)
            return;
        if (step != TLS_STEP_DONE) {
            stream_end(stream, STATUS_DENIED, why.text);
            return;
        }
        move(stream, STREAM_OPEN);
        stream->handlers->open(stream);
    }
    read_plaintext(stream);
}

static void input_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct stream *stream = stream_of(handle);
    *buffer = uv_buf_init((char *)stream->loop->input, NET_INPUT_SIZE);
}

static void stream_read_cb(uv_stream_t *tcp, ssize_t size, const uv_buf_t *buffer)
{
    struct stream *stream = stream_of(tcp);
    struct net_error why;
    if (size == 0)
        return;
    if (size < 0) {
        net_error_set(&why, "%s closed the connection%s%s", stream->peer,
                      size == UV_EOF ? "" : ": ", size == UV_EOF ? "" : uv_strerror((int)size));
        stream_end(stream, stream->state == STREAM_FINISHING ? STATUS_OK : STATUS_UNAVAILABLE,
                   why.text);
        return;
    }
    stream->bytes_received += (uint64_t)size;
    const uint8_t *bytes = (const uint8_t *)buffer->base;
    size_t left = (size_t)size;
    while (left > 0 && !is_over(stream)) {
        /* Record by record, so that OpenSSL's input buffer stays near one record. */
        size_t part = left < TLS_RECORD_SIZE ? left : TLS_RECORD_SIZE;
        if (stream_tls_feed(stream, bytes, part) != STATUS_OK) {
            net_error_set(&why, "out of memory while reading from %s", stream->peer);
            stream_end(stream, STATUS_NO_MEMORY, why.text);
            return;
        }
        bytes += part;
        left -= part;
        if (stream->state == STREAM_HANDSHAKE && stream->is_server)
            continue;
        stream_step(stream);
    }
    if (stream->state == STREAM_HANDSHAKE && stream->is_server) {
        net_loop_queue_handshake(stream->loop, stream);
        update_reading(stream);
    } else if (stream->state == STREAM_OPEN) {
        stream->handlers->read_done(stream);
    }
}

void stream_handshake_turn(struct stream *stream)
{
    stream_step(stream);
    if (stream->state == STREAM_OPEN)
        stream->handlers->read_done(stream);
    if (!is_over(stream))
        update_reading(stream);
}

void stream_limit_silence(struct stream *stream, uint32_t ms)
{
#ifdef TCP_USER_TIMEOUT
    uv_os_fd_t fd;
    unsigned value = ms;
    /* Noticed later without, not wrong. */
    if (uv_fileno((const uv_handle_t *)&stream->tcp, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value);
#else
    (void)stream;
    (void)ms;
#endif
}

void stream_pause(struct stream *stream)
{
    stream->paused = true;
    update_reading(stream);
}

void stream_resume(struct stream *stream)
{
    stream->paused = false;
    update_reading(stream);
}

/* ---- beginning ---- */

static void name_peer(struct stream *stream, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        (void)uv_ip4_name(in, text, sizeof text); /* "?" is good enough */
        port = ntohs(in->sin_port);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        (void)uv_ip6_name(in, text, sizeof text);
        port = ntohs(in->sin6_port);
    }
    (void)snprintf(stream->peer, sizeof stream->peer,
                   address->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

static void stream_begin(struct stream *stream, struct net_loop *loop,
                         const struct stream_handlers *handlers)
{
    memset(stream, 0, sizeof *stream);
    stream->loop = loop;
    stream->handlers = handlers;
    int result = uv_tcp_init(loop->uv, &stream->tcp); /* makes no socket yet */
    invariant_values(result == 0, -result, 0);
}

enum status stream_accept(struct stream *stream, struct net_loop *loop, uv_stream_t *listener,
                          const struct tls_context *tls, const struct stream_handlers *handlers)
{
    stream_begin(stream, loop, handlers);
    if (uv_accept(listener, (uv_stream_t *)&stream->tcp) != 0)
        return STATUS_UNAVAILABLE;
    struct sockaddr_storage address;
    int size = sizeof address;
    memset(&address, 0, sizeof address);
    if (uv_tcp_getpeername(&stream->tcp, (struct sockaddr *)&address, &size) != 0)
        return STATUS_UNAVAILABLE; /* it has gone already */
    name_peer(stream, (const struct sockaddr *)&address);
    (void)uv_tcp_nodelay(&stream->tcp, 1); /* slower without, not wrong */
    enum status status = stream_tls_init(stream, tls);
    if (status != STATUS_OK)
        return status;
    move(stream, STREAM_HANDSHAKE);
    update_reading(stream);
    return STATUS_OK;
}

static void stream_connect_cb(uv_connect_t *request, int result)
{
    struct stream *stream = (struct stream *)((char *)request - offsetof(struct stream, connect));
    if (is_over(stream))
        return;
    if (result != 0) {
        struct net_error why;
        net_error_set(&why, "connecting to %s: %s", stream->peer, uv_strerror(result));
        stream_end(stream, STATUS_UNAVAILABLE, why.text);
        return;
    }
    (void)uv_tcp_nodelay(&stream->tcp, 1);
    move(stream, STREAM_HANDSHAKE);
    update_reading(stream);
    stream_step(stream);
}

enum status stream_connect(struct stream *stream, struct net_loop *loop,
                           const struct stream_connect_options *options,
                           const struct tls_context *tls, const struct stream_handlers *handlers,
                           struct net_error *out_error)
{
    stream_begin(stream, loop, handlers);
    name_peer(stream, options->address);
    enum status status = stream_tls_init(stream, tls);
    if (status != STATUS_OK) {
        net_error_set(out_error, "out of memory while connecting to %s", stream->peer);
        return status;
    }
    status = stream_tls_expect(stream, options->server_name, options->expected_uri, out_error);
    if (status != STATUS_OK)
        return status;
    int result =
        uv_tcp_connect(&stream->connect, &stream->tcp, options->address, stream_connect_cb);
    if (result != 0) {
        net_error_set(out_error, "connecting to %s: %s", stream->peer, uv_strerror(result));
        return STATUS_UNAVAILABLE;
    }
    move(stream, STREAM_CONNECTING);
    return STATUS_OK;
}

/* ---- end ---- */

static void shutdown_cb(uv_shutdown_t *request, int result)
{
    (void)request;
    (void)result; /* the peer's end or the owner's patience comes next, whatever this says */
}

void stream_finish(struct stream *stream)
{
    if (stream->state != STREAM_OPEN)
        return;
    stream_tls_say_goodbye(stream);
    (void)stream_flush(stream); /* when it fails, the peer sees the end without goodbye */
    move(stream, STREAM_FINISHING);
    /* Sent by libuv after what is queued. When refused, the socket is broken: the read tells. */
    (void)uv_shutdown(&stream->shutdown, (uv_stream_t *)&stream->tcp, shutdown_cb);
    update_reading(stream);
}

static void stream_close_cb(uv_handle_t *tcp)
{
    struct stream *stream = stream_of(tcp);
    stream_tls_deinit(stream); /* not earlier: close may be called inside its own read */
    move(stream, STREAM_CLOSED);
    stream->handlers->closed(stream);
}

void stream_close(struct stream *stream)
{
    if (stream->state >= STREAM_CLOSING)
        return;
    net_loop_forget_handshake(stream->loop, stream);
    move(stream, STREAM_CLOSING);
    uv_close((uv_handle_t *)&stream->tcp, stream_close_cb);
}
