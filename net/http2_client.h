/*
 * A gRPC channel to one endpoint: unary calls over HTTP/2 and mutual TLS, on one uv loop.
 *
 * The channel connects when the first call needs it, keeps one connection for new calls, and leaves
 * a connection that the server asked to leave (GOAWAY) while its last calls finish there. It never
 * repeats a call: retrying is the caller's decision, and `fate` below is what it rests on.
 *
 * Everything here runs on the loop thread. Bounds: calls_max calls of the caller's memory,
 * answer_size_max bytes per answer, 1 MiB of unsent bytes per connection, 4 connections being left.
 */
#ifndef TALLY_NET_HTTP2_CLIENT_H
#define TALLY_NET_HTTP2_CLIENT_H

#include "core/status.h"
#include "net/deadline.h"
#include "net/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http2_client;
struct http2_client_connection;

struct http2_client_options {
    uv_loop_t *loop;
    const char *host; /* DNS name or IP address; every address it resolves to is tried in turn */
    uint16_t port;
    const char *certificate_file, *key_file, *ca_file; /* PEM: who we are, whom we trust */
    /* Name (or IP address) that the server's certificate must carry; NULL = host. */
    const char *server_name;
    /* The one URI SAN that the server's certificate must carry; NULL = not looked at. */
    const char *server_uri;
    /* Zero = the default in brackets. */
    uint32_t connect_timeout_ms; /* resolving, TCP, TLS, the server's SETTINGS; together (5000) */
    uint32_t ping_interval_ms;   /* nothing heard while calls wait: PING, answer in 10 s (30000) */
    uint32_t calls_max;          /* at once, waiting ones included (1024) */
    uint32_t answer_size_max;    /* bytes of one answer (8 MiB) */
};

/* What is certain about a call that is over. */
enum http2_fate {
    /* The server's own word: grpc_status, grpc_message, trailers and, for status 0, the answer. */
    HTTP2_ANSWERED,
    /* The whole request never left: not connected, refused locally, cancelled or timed out before
     * its last byte was handed to the connection. The server cannot have acted on it. */
    HTTP2_NOT_SENT,
    /* It left, and the server says it did not and will not act on it: RST_STREAM(REFUSED_STREAM),
     * or a stream above the last one of a GOAWAY. */
    HTTP2_NOT_PROCESSED,
    /* It left and the answer did not come: the server may or may not have acted on it. */
    HTTP2_UNKNOWN,
};

#define HTTP2_TRAILERS_MAX 8

struct http2_trailer {
    char name[32];
    char value[128];
};

/* One call; embedded by the caller, who zeroes it before its first use and keeps it in place from
 * http2_client_call until `done`. */
struct http2_call {
    /* Filled in by the caller. All borrowed until `done`. */
    const char *path;       /* "/tally.v1.Ledger/CreateTransfers" */
    const uint8_t *request; /* the message, without gRPC's prefix; NULL when size is 0 */
    size_t request_size;
    uint64_t timeout_ns; /* 0 = none; sent as grpc-timeout and kept here as well */
    uint32_t max_age_ms; /* 0 = none; sent as tally-max-age-ms (docs/api.md) */
    void *context;       /* the caller's own */
    /* Exactly once, on the loop, never before http2_client_call returned. May start other calls
     * (this one again, too), cancel, or stop the client. */
    void (*done)(struct http2_call *call);

    /* The outcome, valid in `done`. */
    enum http2_fate fate;
    /* ANSWERED: as received, 0..16 (other numbers read as 2, UNKNOWN). Otherwise what gRPC would
     * say: 14 UNAVAILABLE, 4 DEADLINE_EXCEEDED, 1 CANCELLED, 8 RESOURCE_EXHAUSTED, 13 INTERNAL. */
    int grpc_status;
    char grpc_message[640]; /* decoded, cut to fit; or our own words saying what failed where */
    /* ANSWERED with status 0: the one message, without prefix. Freed when `done` returns, unless
     * taken with http2_call_take_answer. */
    uint8_t *answer;
    size_t answer_size;
    struct http2_trailer trailers[HTTP2_TRAILERS_MAX]; /* those named tally-*, in order */
    uint32_t trailer_count;

    /* ------ ours ------ */
    struct http2_client *client;
    struct http2_client_connection *connection;
    struct http2_call *previous, *next;
    struct deadline deadline;
    int32_t stream_id;
    uint8_t state;
    bool status_seen, ended;
    uint16_t http_status;
    uint8_t prefix[5];
    uint8_t prefix_size;
    uint64_t started_ns;
    size_t request_sent; /* of prefix and message */
    size_t answer_expected;
    char content_type_wrong[48];
};

/* Loads the files, connects nothing yet. STATUS_INVALID or STATUS_IO (files; error says which and
 * why), STATUS_NO_MEMORY. The strings of options are copied. */
enum status http2_client_create(const struct http2_client_options *options,
                                struct http2_client **out_client, struct net_error *out_error);

/* Starts a call, connecting first when needed. STATUS_OK: `done` will fire. STATUS_BUSY: calls_max
 * are under way. STATUS_STOPPING: after http2_client_stop. STATUS_NO_MEMORY. STATUS_INVALID: no
 * path or over 255 bytes, or a request over 2^31. In these cases nothing was sent and `done` never
 * fires. */
enum status http2_client_call(struct http2_client *client, struct http2_call *call);

/* Gives a call up: `done` fires soon with fate NOT_SENT or UNKNOWN (or ANSWERED, if the answer was
 * there already). Harmless on a call that is ending. Cancelling never means "not committed". */
void http2_client_cancel(struct http2_client *client, struct http2_call *call);

/* In `done`: keeps the answer; free() it later. NULL when there is none. */
uint8_t *http2_call_take_answer(struct http2_call *call);

/* Value of the trailer, or NULL; valid in `done`. */
const char *http2_call_trailer(const struct http2_call *call, const char *name);

/* True when a new call would need no connecting. */
bool http2_client_is_connected(const struct http2_client *client);

/* Starts connecting now, without a call. Harmless when connecting or connected. */
void http2_client_connect(struct http2_client *client);

/* Ends all calls (as if cancelled) and closes the connections; then cb, once, after which the
 * client may be destroyed. May be called in `done`. */
void http2_client_stop(struct http2_client *client, void (*cb)(void *context), void *context);

/* After stop's cb (in it is early enough). NULL is allowed. */
void http2_client_destroy(struct http2_client *client);

#endif
