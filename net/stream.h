/*
 * A byte stream: TCP and TLS on a uv loop, as server or as client. The owner embeds the struct,
 * gets its events, and writes plaintext; everything runs on the loop thread.
 *
 *   IDLE ──connect──► CONNECTING ──► HANDSHAKE ──► OPEN ──finish──► FINISHING
 *     └────accept───────────────────────┘             │               │
 *            any of these ──failure, end of the peer──► ENDED          │
 *            any of these ──stream_close──► CLOSING ──► CLOSED ◄───────┘ (by stream_close)
 *
 * Back-pressure: stream_write always takes its bytes, so that a TLS record is never lost; the owner
 * stops writing while stream_is_full() and goes on at `writable`.
 */
#ifndef TALLY_NET_STREAM_H
#define TALLY_NET_STREAM_H

#include "core/status.h"
#include "net/error.h"
#include "net/identity.h"
#include "net/loop.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum stream_state {
    STREAM_IDLE,
    STREAM_CONNECTING,
    STREAM_HANDSHAKE,
    STREAM_OPEN,
    STREAM_FINISHING, /* we have said goodbye; what arrives is thrown away */
    STREAM_ENDED,     /* `ended` was called; only stream_close is left */
    STREAM_CLOSING,
    STREAM_CLOSED,
    STREAM_STATE_COUNT
};

/* Unsent bytes at which the owner must stop writing, and go on again below half of it. */
#define STREAM_QUEUE_SIZE_MAX (1024 * 1024)

struct stream_handlers {
    /* TLS is done, ALPN is the context's, the peer's certificate is verified. */
    void (*open)(struct stream *stream);
    /* Plaintext arrived, up to TLS_RECORD_SIZE; borrowed. */
    void (*data)(struct stream *stream, const uint8_t *bytes, size_t size);
    /* After one read was handed over by `data`: the place to write answers. */
    void (*read_done)(struct stream *stream);
    /* The queue fell below its half. */
    void (*writable)(struct stream *stream);
    /* The stream is over, at most once and never after stream_close: STATUS_OK when the peer closed
     * in order, else STATUS_UNAVAILABLE, STATUS_DENIED (TLS refused one side), STATUS_NO_MEMORY.
     * `why` names the peer and the reason; borrowed. The owner calls stream_close, now or later. */
    void (*ended)(struct stream *stream, enum status status, const char *why);
    /* After stream_close: the memory is the owner's again. */
    void (*closed)(struct stream *stream);
};

struct stream {
    const struct stream_handlers *handlers;
    struct net_loop *loop;
    /* -- private; readable: state, peer, bytes_received, bytes_sent, refused_by_peer -- */
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    struct ssl_st *ssl;
    struct bio_st *incoming, *outgoing; /* ciphertext; owned by ssl */
    enum stream_state state;
    bool is_server, reading, paused, handshake_queued;
    bool refused_by_peer; /* ended with STATUS_DENIED, and it was the peer who refused */
    uint32_t key_updates, key_update_records;
    uint64_t records_sent, records_received;
    struct stream *handshake_next;
    size_t queue_size; /* ciphertext handed to libuv, not yet written */
    uint64_t bytes_received, bytes_sent;
    struct identity expected;
    char protocol[TLS_PROTOCOL_SIZE_MAX + 1];
    char peer[64];          /* "10.0.0.7:51234" */
    char verify_error[160]; /* why the peer's certificate was refused, "" = it was not */
};

/* Server: takes the connection waiting at `listener`. On STATUS_OK, STATUS_NO_MEMORY and
 * STATUS_UNAVAILABLE alike the stream is in use and must be closed with stream_close; only after
 * STATUS_OK does it send events. */
enum status stream_accept(struct stream *stream, struct net_loop *loop, uv_stream_t *listener,
                          const struct tls_context *tls, const struct stream_handlers *handlers);

struct stream_connect_options {
    const struct sockaddr *address;
    const char *server_name;  /* DNS name or IP address the certificate must carry; NULL = any, the
                               * owner judges stream_peer_identity() in `open` */
    const char *expected_uri; /* NULL = any; otherwise its one URI SAN */
};

/* Client: starts connecting; `open` or `ended` follows. Statuses and obligations as above. */
enum status stream_connect(struct stream *stream, struct net_loop *loop,
                           const struct stream_connect_options *options,
                           const struct tls_context *tls, const struct stream_handlers *handlers,
                           struct net_error *out_error);

/* OPEN only. Encrypts and queues; stream_flush sends. STATUS_NO_MEMORY or STATUS_UNAVAILABLE: bytes
 * are lost and the stream has to be closed; `ended` is not called. */
enum status stream_write(struct stream *stream, const uint8_t *bytes, size_t size);
enum status stream_flush(struct stream *stream);

static inline bool stream_is_full(const struct stream *stream)
{
    return stream->queue_size >= STREAM_QUEUE_SIZE_MAX;
}

/* The queue is empty: everything written has been handed to the kernel. */
static inline bool stream_is_flushed(const struct stream *stream)
{
    return stream->queue_size == 0;
}

/* Ends the stream when sent bytes stay unacknowledged for so long; where the system can do it. */
void stream_limit_silence(struct stream *stream, uint32_t ms);

/* Stops and restarts reading from the socket, so that TCP slows the peer down. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* Says goodbye after what is queued: close_notify and FIN. The peer's answer, its end, comes as
 * `ended`; the owner bounds the wait. */
void stream_finish(struct stream *stream);

/* In any state and inside any handler; more than once is harmless. `closed` follows from the loop,
 * no other event does. */
void stream_close(struct stream *stream);

/* The peer's identity from its certificate, once OPEN; as identity_of_certificate. */
enum status stream_peer_identity(const struct stream *stream, struct identity *out_identity,
                                 struct net_error *out_error);

/* Judges the peer's certificate again with other authorities and revocation lists, as a new
 * handshake would. STATUS_DENIED with the reason, STATUS_NO_MEMORY. */
enum status stream_verify_again(const struct stream *stream, const struct tls_context *tls,
                                struct net_error *out_error);

#endif
