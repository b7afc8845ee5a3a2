/*
 * The parts of a client channel, private to net/http2_client*.c:
 *
 *   http2_client.c             the channel: options, calls waiting, deadlines, completions, stop
 *   http2_client_connect.c     resolving and trying addresses
 *   http2_client_connection.c  one connection's life: events of its stream, ticks, leaving
 *   http2_client_session.c     nghttp2's callbacks: requests out, answers in, fates
 */
#ifndef TALLY_NET_HTTP2_CLIENT_INTERNAL_H
#define TALLY_NET_HTTP2_CLIENT_INTERNAL_H

#include "net/http2_client.h"
#include "net/lookup.h"
#include "net/stream.h"

struct nghttp2_session;

#define LEAVING_MAX 4

enum call_state {
    CALL_OVER,     /* not ours: before http2_client_call and once `done` is called */
    CALL_WAITING,  /* for a connection */
    CALL_ACTIVE,   /* a stream of call->connection */
    CALL_FINISHED, /* the outcome is set, `done` is due */
};

struct http2_call_list {
    struct http2_call *first, *last;
};

enum connection_state {
    CONNECTION_CONNECTING, /* TCP and TLS */
    CONNECTION_GREETING, /* waiting for the server's SETTINGS: before them nothing is sent, because
                          * a TLS 1.3 server refuses our certificate only after our handshake */
    CONNECTION_READY,
    CONNECTION_LEAVING, /* GOAWAY or stop: finishes its calls, takes no new ones */
    CONNECTION_CLOSED,
};

struct http2_client_connection {
    struct stream stream;
    struct http2_client *client;
    struct nghttp2_session *session;
    enum connection_state state;
    struct http2_client_connection *next; /* in client->connections */
    struct http2_call_list calls;
    uint32_t call_count;
    bool pump_wanted, ping_waiting;
    uint64_t started_ns, heard_ns, ping_ns;
};

enum attempt { ATTEMPT_NONE, ATTEMPT_RESOLVING, ATTEMPT_TRYING };

struct http2_client {
    char *host, *server_name, *server_uri, *authority;
    uint16_t port;
    uint32_t connect_timeout_ms, ping_interval_ms, calls_max, answer_size_max;
    struct tls_context *tls;
    struct net_loop loop;
    uv_timer_t deadline_timer, tick_timer;
    uv_idle_t turn; /* active while something waits for the next turn of the loop */
    struct deadline_heap deadlines;

    struct http2_call_list waiting, finished;
    uint32_t call_count, finished_count;
    uint8_t *taken; /* the answer that the `done` being called has kept */

    struct http2_client_connection *connections; /* all, until closed */
    struct http2_client_connection *current;     /* takes new calls, or is being made */
    uint32_t connection_count;

    enum attempt attempt;
    uint64_t attempt_started_ns;
    bool lookup_busy;
    struct lookup lookup;
    struct lookup_addresses addresses;
    struct net_error last_error;

    bool stopping, handles_closing;
    uint32_t handles_open;
    void (*stopped)(void *context);
    void *stopped_context;
};

/* http2_client.c */
void http2_client_list_add(struct http2_call_list *list, struct http2_call *call);
void http2_client_list_remove(struct http2_call_list *list, struct http2_call *call);
/* Sets the outcome and queues `done`. The call's stream, if any, is the caller's to reset. */
void http2_client_finish_call(struct http2_call *call, enum http2_fate fate, int grpc_status,
                              const char *message);
void http2_client_wake(struct http2_client *client); /* run the turn */
void http2_client_fail_waiting(struct http2_client *client, const char *why);
void http2_client_start_ticking(struct http2_client *client);
void http2_client_stop_step(struct http2_client *client);

/* http2_client_connect.c */
void http2_client_connect_start(struct http2_client *client);
void http2_client_connect_failed(struct http2_client *client, const char *why); /* this address */
void http2_client_connect_tick(struct http2_client *client, uint64_t now_ns);
void http2_client_connect_done(struct http2_client *client); /* the server has greeted */
void http2_client_connect_give_up(struct http2_client *client);

/* http2_client_connection.c */
enum status http2_client_connection_create(struct http2_client *client,
                                           const struct sockaddr *address,
                                           struct http2_client_connection **out_connection,
                                           struct net_error *out_error);
void http2_client_connection_ready(struct http2_client_connection *connection);
void http2_client_connection_leave(struct http2_client_connection *connection);
void http2_client_connection_fail(struct http2_client_connection *connection, const char *why);
void http2_client_connection_pump(struct http2_client_connection *connection);
void http2_client_connection_tick(struct http2_client_connection *connection, uint64_t now_ns);

/* http2_client_session.c */
enum status http2_client_session_create(struct http2_client_connection *connection);
enum status http2_client_session_submit(struct http2_client_connection *connection,
                                        struct http2_call *call);
void http2_client_session_reset(struct http2_client_connection *connection,
                                struct http2_call *call);
/* The fate of a call that ends without the server's word. */
enum http2_fate http2_client_session_fate(const struct http2_call *call);

#endif
