/*
 * gRPC on HTTP/2 over mutual TLS: connections, streams, limits, deadlines. Services register
 * methods; the engine gives them whole messages and carries their answers back. All on the loop
 * thread.
 *
 * Limits and their reasons: see grpc_limits below and docs/api-transport.md.
 */
#ifndef TALLY_SERVER_GRPC_H
#define TALLY_SERVER_GRPC_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct grpc_server;
struct grpc_call;

enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

struct grpc_method {
    const char *path;      /* "/tally.v1.Ledger/CreateTransfers" */
    bool client_streaming; /* reflection; otherwise exactly one request message */
    bool server_streaming;
    /* A whole request message. Unary and server-streaming: once, after the client half-closed;
     * `message` is 8-byte aligned and borrowed until the call is finished (grpc_call_finish).
     * Client-streaming: borrowed until return. The call holds one reference for the handler from
     * here until finish; it may outlive its stream (client gone): replies are then dropped. */
    void (*message)(void *context, struct grpc_call *call, const uint8_t *message, size_t size);
    /* Client-streaming only: the client has no more messages. */
    void (*half_close)(void *context, struct grpc_call *call);
    /* The stream ended early (cancel, deadline, connection). Optional. Work in the log goes on; the
     * handler still has to call grpc_call_finish when it is done with the call. */
    void (*gone)(void *context, struct grpc_call *call);
    void *context;
};

struct grpc_limits {                        /* zero = default */
    uint32_t connections_max;               /* 1024 */
    uint32_t connections_per_principal_max; /* 256 */
    uint32_t handshakes_max;                /* unauthenticated connections at once, 128 */
    uint32_t streams_max;                   /* per connection, 1024 */
    uint32_t message_size_max;              /* 1 100 000 */
    uint32_t calls_per_principal_max;       /* work in flight, also of reset streams; 2048 */
    uint64_t bytes_per_principal_max;       /* message bytes held, 64 MiB */
    uint32_t handshake_timeout_ms;          /* accept to TLS done and client SETTINGS, 5000 */
    uint32_t body_timeout_ms;               /* body progress, 8000 */
    uint32_t idle_timeout_ms;               /* 300000 */
    uint32_t ping_interval_ms;              /* 30000; ack within 10000 */
    uint32_t connection_age_ms;             /* 2700000 with jitter, grace 20000 */
};

struct grpc_server_options {
    uv_loop_t *loop;
    const char *host; /* address to bind; port 0 = any free one */
    uint16_t port;
    const char *certificate_file, *key_file, *ca_file, *crl_file; /* PEM; crl may be NULL */
    struct grpc_limits limits;
    void *event_context; /* typed events for the log: connection refused and why, ... */
    void (*event)(void *context, const char *name, const char *principal, const char *text);
};

struct grpc_error {
    char text[256];
};

enum status grpc_server_create(const struct grpc_server_options *options,
                               struct grpc_server **out_server, struct grpc_error *out_error);
void grpc_server_add(struct grpc_server *server, const struct grpc_method *method); /* copied */
enum status grpc_server_listen(struct grpc_server *server, uint16_t *out_port,
                               struct grpc_error *out_error);
/* New certificates, key, CA, CRL from the same files; keeps the old ones when anything is wrong. */
enum status grpc_server_reload(struct grpc_server *server, struct grpc_error *out_error);
/* GOAWAY, round trip, final GOAWAY, close at zero streams or after grace; then cb once, from the
 * loop. After grpc_server_listen (failed or not) it is needed before destroy. Called again
 * meanwhile it only changes the grace; cb and context of the first call stay. */
void grpc_server_drain(struct grpc_server *server, uint32_t grace_ms, void (*cb)(void *context),
                       void *context);
/* After drain's cb (in it is early enough), or when listen was never called. NULL is allowed. Calls
 * that handlers still hold stay valid until they are finished. */
void grpc_server_destroy(struct grpc_server *server);

struct grpc_server_stats {
    uint64_t connections, connections_total, handshake_failures_total, calls_total, calls_in_flight,
        resets_total, deadline_exceeded_total, refused_limit_total, bytes_received_total,
        bytes_sent_total;
};
void grpc_server_stats(const struct grpc_server *server, struct grpc_server_stats *out);

/* ---- in a handler ---- */
/* The certificate's one URI SAN, zero-terminated; valid while the call is. */
const char *grpc_call_principal(const struct grpc_call *call);
uint64_t grpc_call_deadline_ns(const struct grpc_call *call); /* uv_hrtime(); UINT64_MAX = none */
/* The caller's tally-max-age-ms in nanoseconds; 0 = none. */
uint64_t grpc_call_max_age_ns(const struct grpc_call *call);
/* The caller's tally-durability: both-sites. */
bool grpc_call_wants_both_sites(const struct grpc_call *call);
bool grpc_call_is_gone(const struct grpc_call *call);
/* Per-call state of the service. */
void grpc_call_set_data(struct grpc_call *call, void *data);
void *grpc_call_data(const struct grpc_call *call);
/* Trailing metadata; copied. At most 8; names of at most 31 bytes, values of up to 127 bytes of
 * printable ASCII: longer ones are cut, other bytes become a question mark. Refusals by the engine
 * carry tally-outcome: NOT_ACCEPTED (no handler saw the call) and, when worth it, tally-retry-ms.
 */
void grpc_call_add_trailer(struct grpc_call *call, const char *name, const char *value);
/* Room for one answer message of exactly `size` bytes, to be filled before grpc_call_finish or the
 * next grpc_call_send; NULL when the client is gone, or there is no room for the answer (go on
 * without: finish then says UNAVAILABLE instead of OK). */
uint8_t *grpc_call_reserve(struct grpc_call *call, size_t size);
void grpc_call_send(struct grpc_call *call); /* server streaming: the reserved message may leave */
/* Ends the call, once; message may be NULL; percent-encoded by the engine. Drops the reference. */
void grpc_call_finish(struct grpc_call *call, enum grpc_code code, const char *message);

#endif
