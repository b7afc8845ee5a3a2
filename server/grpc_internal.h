/*
 * The gRPC engine's own structures, private to server/grpc_*.c:
 *
 *   grpc_server.c      the server: options, accepting, reload, statistics
 *   grpc_drain.c       its end: drain, destroy
 *   grpc_connection.c  one connection: states, timers, flushing
 *   grpc_session.c     nghttp2's callbacks and the answers to floods
 *   grpc_head.c        request headers
 *   grpc_receive.c     request bytes to messages; who may send how much
 *   grpc_call.c        a call's life, admission, and what handlers see
 *   grpc_answer.c      messages and trailers out
 *   grpc_principal.c   what each caller has in flight
 *   grpc_deadline.c    deadlines of calls
 *   grpc_expiry.c      warnings before certificates and revocation lists end
 *   grpc_pool.c, grpc_bucket.c
 *
 * Two rules keep nghttp2 safe: inside its callbacks nothing is sent and no connection is closed (a
 * connection is marked dirty and flushed later), and what a handler does there only submits.
 */
#ifndef TALLY_SERVER_GRPC_INTERNAL_H
#define TALLY_SERVER_GRPC_INTERNAL_H

#include "net/deadline.h"
#include "net/http2.h"
#include "net/identity.h"
#include "net/loop.h"
#include "net/stream.h"
#include "server/grpc.h"
#include "server/grpc_bucket.h"
#include "server/grpc_head.h"
#include "server/grpc_pool.h"

#include <nghttp2/nghttp2.h>

/* --- limits that are nobody's to configure --- */

#define STREAM_WINDOW          (128 * 1024)
#define CONNECTION_WINDOW      (8 * 1024 * 1024)
#define UNFINISHED_BYTES_MAX   (16u * 1024 * 1024) /* granted, not yet whole; per connection */
#define ANSWER_QUEUE_BYTES_MAX (4u * 1024 * 1024)  /* one server stream's unread messages */
#define RESETS_BURST           4000 /* honest clients reset much when deadlines end in a failover */
#define RESETS_PER_SECOND      1000
#define PROVOKED_BURST         1000 /* resets we are made to send: CVE-2025-8671 */
#define PROVOKED_PER_SECOND    100
#define SETTINGS_BURST         32
#define SETTINGS_PER_SECOND    1
#define IDLE_FRAMES_BURST      1000 /* empty DATA, PRIORITY: frames that move nothing */
#define IDLE_FRAMES_PER_SECOND 100
#define CONTINUATIONS_MAX      4
#define SETTINGS_ENTRIES_MAX   32
#define OUTBOUND_ACKS_MAX      256
#define CLIENT_PING_MS         5000 /* closer together, with nothing sent between, is a strike */
#define PING_STRIKES_MAX       2
#define PING_TIMEOUT_MS        10000
#define LINGER_MS              1000 /* for the client's goodbye after ours */
#define NOTICE_MS              1000 /* for the round trip of a drain, if its PING is not answered */
#define AGE_GRACE_MS           20000 /* for calls on a connection that has reached its age */
#define EVICT_AGE_MS           500   /* handshakes older than this make room for waiting ones */
#define TICK_MS                250
#define METHODS_MAX            64
#define SMALL_MESSAGE_SIZE     512
#define TRAILERS_MAX           10 /* 8 of the service, 2 of ours */
#define TRAILER_NAME_MAX       31
#define TRAILER_VALUE_MAX      127
#define TRAILERS_SIZE_MAX      1408       /* 8 x (32 + 128) and twice 32 + 32 */
#define DRAIN_PING             "tallydrn" /* 8 bytes */
#define EVENTS_BURST           100
#define EVENTS_PER_SECOND      10

struct grpc_principal {
    struct grpc_principal *next; /* in its hash chain */
    uint32_t references;         /* connections and calls */
    uint32_t connections;
    uint32_t calls; /* admitted and not yet over, whether or not their streams live */
    uint64_t bytes; /* capacity of the buffers held for them */
    struct identity identity;
};

#define PRINCIPAL_CHAINS 256

enum grpc_connection_state {
    GRPC_CONNECTION_HANDSHAKE, /* TLS */
    GRPC_CONNECTION_GREETING,  /* TLS is done; the client's SETTINGS are not here yet */
    GRPC_CONNECTION_OPEN,
    GRPC_CONNECTION_NOTICED, /* shutdown notice and PING sent */
    GRPC_CONNECTION_LEAVING, /* final GOAWAY sent: no new calls */
    GRPC_CONNECTION_LINGER,  /* goodbye said, waiting for the peer's */
    GRPC_CONNECTION_CLOSED,
    GRPC_CONNECTION_STATE_COUNT
};

struct grpc_call_list {
    struct grpc_call *first, *last;
};

struct grpc_connection {
    struct stream stream;
    struct grpc_server *server;
    struct grpc_connection *previous, *next;
    struct grpc_connection *dirty_previous, *dirty_next;
    bool is_dirty;
    enum grpc_connection_state state;
    nghttp2_session *session;
    struct grpc_principal *principal; /* once TLS is done */
    struct net_error identity_error;  /* why it has no identity; "" = it has one */

    bool counted;         /* in principal->connections */
    bool cut;             /* for abuse: what it still sends is thrown away */
    bool input_was_fatal; /* the session takes no more input */
    uint32_t goaway_code; /* of the last GOAWAY sent */

    struct grpc_call *calls; /* whose streams live */
    uint32_t call_count;
    struct grpc_call_list receiving; /* unfinished messages, least recent progress first */
    struct grpc_call_list waiting;   /* for a grant, oldest first */
    uint64_t unfinished_bytes;

    uint64_t accepted_ms, heard_ms, busy_ms; /* busy: last time it had a call */
    uint64_t age_limit_ms, left_ms, linger_ms, grace_ms;
    uint64_t ping_ms;
    bool ping_waiting;

    uint64_t client_ping_ms;
    uint32_t ping_strikes;
    bool sent_since_ping;
    struct grpc_bucket resets, provoked, settings, idle_frames;
};

struct grpc_call {
    struct grpc_server *server;
    struct grpc_connection *connection; /* NULL once its stream is gone */
    struct grpc_principal *principal;
    const struct grpc_method *method; /* NULL until admitted */
    uint32_t references;              /* the stream's, and the handler's */
    int32_t stream_id;
    struct grpc_call *previous, *next;           /* connection->calls */
    struct grpc_call *link_previous, *link_next; /* receiving or waiting */
    bool in_receiving, in_waiting;
    bool counted;     /* in principal->calls */
    bool handler_has; /* from the first message (or half close) until finish */
    bool half_closed; /* the client has sent all */
    bool decided;     /* the status is settled: by the handler, or by us */
    bool started;     /* response headers are submitted */
    bool deferred;    /* nghttp2 waits for more of the answer */
    bool answer_lost; /* no room for the answer: finish must not say OK */
    struct grpc_head head;
    struct deadline deadline;
    uint64_t deadline_ns;

    /* The message being received, or being handled. */
    uint8_t prefix[GRPC_PREFIX_SIZE];
    uint8_t prefix_size;
    uint32_t message_size, message_received, message_count;
    uint32_t granted_bytes; /* its part of connection->unfinished_bytes */
    struct grpc_buffer *message;
    uint64_t body_began_ms, body_progress_ms, body_bytes;

    /* The answer. */
    struct grpc_buffer *reserved;
    struct grpc_buffer *answer_first, *answer_last;
    uint32_t answer_offset; /* in answer_first */
    uint64_t answer_bytes;
    enum grpc_code code;
    uint32_t trailer_count, trailers_size;
    void *data;
    char text[640];
    char trailers[TRAILERS_SIZE_MAX]; /* name, zero, value, zero, ... */
    _Alignas(16) uint8_t small_message[SMALL_MESSAGE_SIZE];
};

enum grpc_server_state {
    GRPC_SERVER_MADE,
    GRPC_SERVER_LISTENING,
    GRPC_SERVER_DRAINING,
    GRPC_SERVER_DRAINED
};

struct grpc_server {
    uv_loop_t *uv;
    char host[64];
    uint16_t port;
    struct grpc_limits limits;
    void *event_context;
    void (*event)(void *context, const char *name, const char *principal, const char *text);
    struct grpc_bucket events;
    uint64_t events_suppressed;

    struct tls_context *tls;
    struct net_loop loop;
    uv_tcp_t listener;
    uv_timer_t tick_timer, deadline_timer;
    uv_idle_t flush_turn; /* active while a connection is dirty */
    uint32_t handles_open;
    enum grpc_server_state state;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;

    struct grpc_method methods[METHODS_MAX];
    char paths[METHODS_MAX][GRPC_PATH_SIZE_MAX + 1];
    uint32_t method_count;

    struct grpc_connection *connections, *dirty_first, *dirty_last;
    uint32_t connection_count, handshake_count, dirty_count;
    bool accept_waiting; /* a connection waits in the listener for room */
    struct grpc_principal *principals[PRINCIPAL_CHAINS];
    struct deadline_heap deadlines;
    struct grpc_pool pool;
    struct grpc_call *free_calls;
    uint32_t free_call_count;
    uint32_t calls_alive; /* whose memory is out, handlers' included */
    bool destroyed;       /* freed when calls_alive falls to zero */

    uint64_t jitter;
    uint64_t expiry_checked_ms;
    int certificate_warned_days, crl_warned_days;

    uint64_t drain_ms, drain_grace_ms;
    void (*drained)(void *context);
    void *drained_context;
    struct grpc_server_stats stats;
};

/* grpc_server.c */
__attribute__((format(printf, 4, 5))) void grpc_server_event(struct grpc_server *server,
                                                             const char *name,
                                                             const char *principal,
                                                             const char *format, ...);
void grpc_server_tick_cb(uv_timer_t *timer);
void grpc_server_accept_waiting(struct grpc_server *server);
void grpc_server_free(struct grpc_server *server);

/* grpc_drain.c */
void grpc_drain_step(struct grpc_server *server);

/* grpc_connection.c */
void grpc_connection_accept(struct grpc_server *server);
void grpc_connection_dirty(struct grpc_connection *connection);
void grpc_connection_flush_turn(uv_idle_t *idle);
void grpc_connection_close(struct grpc_connection *connection);
void grpc_connection_tick(struct grpc_connection *connection, uint64_t now_ms);
/* Notice, round trip, final GOAWAY; calls get grace_ms. Harmless when it is leaving already. */
void grpc_connection_drain(struct grpc_connection *connection, uint64_t grace_ms);
void grpc_connection_round_trip(
    struct grpc_connection *connection); /* the drain's PING came back */
/* Abuse: GOAWAY(error_code) with `text`, then the end; more input is thrown away. */
void grpc_connection_cut(struct grpc_connection *connection, uint32_t error_code, const char *text);
void grpc_connection_greeted(struct grpc_connection *connection); /* the client's SETTINGS */
const char *grpc_connection_principal(const struct grpc_connection *connection);

/* grpc_session.c */
enum status grpc_session_prepare(struct grpc_server *server);
enum status grpc_session_create(struct grpc_connection *connection);

/* grpc_receive.c */
void grpc_receive_headers(struct grpc_call *call); /* complete, admitted */
void grpc_receive_data(struct grpc_call *call, const uint8_t *bytes, size_t size);
void grpc_receive_end(struct grpc_call *call);  /* the client half-closed */
void grpc_receive_stop(struct grpc_call *call); /* leaves the lists, gives the grant back */
void grpc_receive_tick(struct grpc_connection *connection, uint64_t now_ms);

/* grpc_call.c */
struct grpc_call *grpc_call_create(struct grpc_connection *connection, int32_t stream_id);
void grpc_call_admit(struct grpc_call *call); /* its headers are complete */
void grpc_call_deliver(struct grpc_call *call, const uint8_t *message, size_t size);
void grpc_call_deliver_half_close(struct grpc_call *call);
/* We refuse: no handler has seen it, and the trailers say so. */
__attribute__((format(printf, 3, 4))) void
grpc_call_refuse(struct grpc_call *call, enum grpc_code code, const char *format, ...);
/* RESOURCE_EXHAUSTED that passes: the trailers say when to try again. */
__attribute__((format(printf, 2, 3))) void grpc_call_refuse_for_now(struct grpc_call *call,
                                                                    const char *format, ...);
void grpc_call_expire(struct grpc_call *call); /* its deadline has come */
void grpc_call_detach(struct grpc_call *call); /* its stream is gone */
void grpc_call_give_message(struct grpc_call *call);
void grpc_call_cache_free(struct grpc_server *server);

/* grpc_answer.c */
void grpc_answer_http_error(struct grpc_call *call, const char *status);
void grpc_answer_decide(struct grpc_call *call, enum grpc_code code, const char *text);
void grpc_answer_give_buffers(struct grpc_call *call);
void grpc_answer_trailer(struct grpc_call *call, const char *name, const char *value);

/* grpc_principal.c */
struct grpc_principal *grpc_principal_take(struct grpc_server *server,
                                           const struct identity *identity);
void grpc_principal_give(struct grpc_server *server, struct grpc_principal *principal);
/* A buffer charged to the principal, if its account stays within limit_bytes; else NULL. */
struct grpc_buffer *grpc_principal_buffer(struct grpc_server *server,
                                          struct grpc_principal *principal, size_t size,
                                          uint64_t limit_bytes);
void grpc_principal_give_buffer(struct grpc_server *server, struct grpc_principal *principal,
                                struct grpc_buffer *buffer);

/* grpc_deadline.c */
enum status grpc_deadline_set(struct grpc_call *call, uint64_t at_ns);
void grpc_deadline_clear(struct grpc_call *call);
void grpc_deadline_timer_cb(uv_timer_t *timer);

/* grpc_expiry.c */
void grpc_expiry_check(struct grpc_server *server);

#endif
