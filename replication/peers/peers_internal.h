/*
 * The parts of the peers' transport, private to replication/peers*.c:
 *
 *   peers.c             life: create, start, stop, close; the turn, the tick, sending, TLS reload
 *   peers_table.c       whom we know: members, strangers, lanes; what is up, and telling it
 *   peers_dial.c        our connection of a lane: look up, try, back off
 *   peers_accept.c      the listener, and how many unknown connections there may be
 *   peers_connection.c  one connection, either way: greeting, frames, pings, refusals, its end
 *   peers_hello.c       pure: greeting, refusals, who is let in
 *   peers_frame.c       pure: frames
 */
#ifndef TALLY_REPLICATION_PEERS_INTERNAL_H
#define TALLY_REPLICATION_PEERS_INTERNAL_H

#include "net/lookup.h"
#include "net/stream.h"
#include "replication/peers/peers.h"
#include "replication/peers/peers_frame.h"
#include "replication/peers/peers_hello.h"

#define MS_NS 1000000ull

/* ALPN; its number is that of frames, first hello bytes and refusals, which never change. */
#define PEERS_ALPN "tallystick-peer/1"

#define TICK_MS 20
/* Each side pings when it has said nothing for PING_MS, and gives the other up after SILENCE_MS
 * without a byte: a cut line is noticed within 1.25 s + one tick. */
#define PING_MS    250
#define SILENCE_MS 1250
/* TCP and TLS and greeting; the other site may be 100 ms away, which makes 300 ms. */
#define GREETING_MS 1500
/* A refusal's last bytes may take so long. */
#define LEAVING_MS 500
/* Redialling: from, up to; half of it is random. */
#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 500
/* A lane that was up for so long is dialled again without back-off. */
#define STEADY_MS 1000
/* Accepted connections that are not up yet. Honest ones: eight members, three lanes. */
#define UNKNOWN_CONNECTIONS_MAX 64
/* A stranger without connection is forgotten after this. */
#define STRANGER_MS 10000
/* Members, strangers, and as many that are going. */
#define PEERS_ROWS_MAX (3 * MEMBERS_MAX)
/* Names being looked up, forgotten ones included. */
#define LOOKUPS_MAX 64
/* What repeats is reported again after this. */
#define REPEAT_MS  30000
#define RECENT_MAX 32

enum peers_connection_state {
    PEERS_OPENING,    /* TCP and TLS */
    PEERS_GREETING,   /* dialled: our hello is out; accepted: theirs has not come */
    PEERS_CONFIRMING, /* accepted: our welcome is out, the dialler has not taken it yet */
    PEERS_UP,
    PEERS_LEAVING, /* it is over; our last bytes are on their way */
    PEERS_CLOSED,  /* stream_close was called */
    PEERS_CONNECTION_STATE_COUNT
};

struct peers_connection {
    struct stream stream;
    struct peers *peers;
    struct peers_connection *next, *previous; /* in peers->connections */
    struct peers_lane *lane; /* dialled: from the start; accepted: from PEERS_CONFIRMING on; NULL
                              * again once it is leaving or closed */
    enum peers_connection_state state;
    bool is_dialled, unflushed;
    uint64_t certificate_node; /* once TLS is done */
    uint64_t process;          /* once greeted */
    uint32_t tls_generation;
    uint64_t begun_ns, said_ns;    /* begun: of opening, of up, of leaving */
    uint64_t heard_ns, bytes_seen; /* when bytes were last seen to have come, and how many */
    struct peers_frame_reader reader;
};

enum peers_dial_state {
    PEERS_DIAL_WAITING,    /* until retry_ns */
    PEERS_DIAL_LOOKING_UP, /* the lane's lookup is under way */
    PEERS_DIAL_TRYING,     /* `dialled` is on its way to PEERS_UP */
    PEERS_DIAL_DONE,       /* `dialled` is PEERS_UP */
};

struct peers_lookup;

struct peers_lane {
    struct peers_peer *peer;
    enum transport_lane lane;

    enum peers_dial_state dial;
    struct peers_lookup *lookup;
    struct lookup_addresses addresses;
    struct peers_connection *dialled;
    uint64_t retry_ns;
    uint32_t backoff_ms;
    bool was_refused; /* the last attempt ended so */

    struct peers_connection *accepted; /* CONFIRMING ones are not here yet */

    /* Counts how often the lane came up; reported: what the sink knows, 0 = down. */
    uint64_t session, reported_session;
    bool refused_send; /* `writable` is owed */
    uint64_t since_ns, up_count;
    uint64_t bytes_out, bytes_in, messages_out, messages_in;
    struct net_error why_down;
};

enum peers_row {
    PEERS_ROW_FREE,
    PEERS_ROW_MEMBER,
    PEERS_ROW_STRANGER, /* not in our table, and it greeted us or was a member before */
    PEERS_ROW_GOING,    /* no connection any more; the sink is not told yet */
};

struct peers_peer {
    struct peers *peers;
    enum peers_row row;
    struct member member; /* of a stranger: what its hello says */
    uint64_t seen_ns;     /* stranger: last accepted hello */
    struct peers_lane lanes[TRANSPORT_LANE_COUNT];
};

/* The name may be slow, and the lane may go meanwhile. */
struct peers_lookup {
    struct lookup lookup;
    struct peers *peers;
    struct peers_lane *lane; /* NULL: nobody wants it any more */
};

struct peers_recent {
    const char *name;
    uint64_t node_id;
    uint32_t refusal;
    uint64_t at_ns;
};

enum peers_state { PEERS_STOPPED, PEERS_STARTED, PEERS_CLOSING, PEERS_GONE };

struct peers {
    struct transport transport; /* first */
    uv_loop_t *uv;
    struct net_loop loop;
    char advertised_address[MEMBER_ADDRESS_SIZE_MAX + 1];
    char uri_prefix[URI_SIZE_MAX + 1];
    struct tls_context *tls_server, *tls_client;
    uint32_t tls_generation;
    void (*event)(void *context, const char *name, const char *text, uint64_t a, uint64_t b);
    void *event_context;
    uint64_t (*monotonic_ns)(void *context);
    void *clock_context;
    uint64_t process;
    uint64_t jitter;

    enum peers_state state;
    struct transport_self self;
    struct transport_sink sink;

    struct peers_peer table[PEERS_ROWS_MAX];

    struct peers_connection *connections; /* all, until closed */
    uint32_t unknown_count;               /* accepted, not UP, not CLOSED */
    uint32_t lookup_count;
    bool unflushed, changed; /* something for the turn; peers_wake() goes with them */
    bool accept_waiting;
    uint64_t refused_count;
    struct peers_recent recent[RECENT_MAX];
    uint32_t recent_next;

    uv_tcp_t listener;
    uint16_t port;
    uv_timer_t tick;
    uint64_t ticked_ns;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_idle_t no_sleep; /* active while the turn has something to do */
    uint32_t handles_open;
    void (*closed)(void *context);
    void *closed_context;
};

/* Nanoseconds from `at` to `now`; 0 when `at` is later. */
static inline uint64_t peers_age(uint64_t now_ns, uint64_t at_ns)
{
    return now_ns > at_ns ? now_ns - at_ns : 0;
}

/* peers.c */
uint64_t peers_now(const struct peers *peers);
/* The loop does not sleep before the turn. */
void peers_wake(struct peers *peers);
/* The sink has to be told something. */
void peers_changed(struct peers *peers);
uint32_t peers_random(struct peers *peers, uint32_t below);
/* For the log; `refusal` is b for what is not up or down. */
void peers_event(struct peers *peers, const char *name, uint64_t node_id, uint64_t b,
                 const char *text);
/* The same, unless it was said a moment ago. */
void peers_event_once(struct peers *peers, const char *name, uint64_t node_id,
                      enum peers_refusal refusal, const char *text);
void peers_forget_events(struct peers *peers, uint64_t node_id);
void peers_close_step(struct peers *peers);

/* peers_table.c */
void peers_table_set(struct peers *peers, const struct member *members, uint32_t count);
void peers_table_clear(struct peers *peers);
/* Members and strangers, by id; NULL: none. */
struct peers_peer *peers_table_find(struct peers *peers, uint64_t node_id);
const struct peers_peer *peers_table_look(const struct peers *peers, uint64_t node_id);
/* For a stranger that was accepted: its row, made or changed. NULL: the table is full. */
struct peers_peer *peers_table_stranger(struct peers *peers, const struct peers_hello *hello);
void peers_table_tick(struct peers *peers, uint64_t now_ns);
/* The process that this peer's authenticated connections belong to; 0: there is none. */
uint64_t peers_peer_process(const struct peers_peer *peer);
bool peers_lane_is_linked(const struct peers_lane *lane);
/* Linked, and the sink knows: messages may be sent. */
bool peers_lane_is_usable(const struct peers_lane *lane);
/* A connection of the lane came up. */
void peers_lane_came_up(struct peers_lane *lane);
/* Tells the sink what has changed on this lane. */
void peers_lane_report(struct peers_lane *lane);
/* Tells the sink what has changed anywhere. */
void peers_report(struct peers *peers);
const char *peers_lane_name(enum transport_lane lane);

/* peers_dial.c */
void peers_dial_tick(struct peers_lane *lane, uint64_t now_ns);
/* The lane's dialled connection is about to go; lane->why_down says why. */
void peers_dial_over(struct peers_lane *lane, const struct peers_connection *connection,
                     bool was_refused);
/* The peer gives a sign of life: do not wait any longer. */
void peers_dial_hurry(struct peers_lane *lane);
/* Forgets connection, lookup and addresses; dials again at once if the tick comes. */
void peers_dial_reset(struct peers_lane *lane, const char *why);

/* peers_accept.c */
void peers_accept_cb(uv_stream_t *listener, int result);
void peers_accept_waiting(struct peers *peers);

/* peers_connection.c */
struct peers_connection *peers_connection_create(struct peers *peers);
enum status peers_connection_dial(struct peers_lane *lane, const struct sockaddr *address,
                                  struct net_error *out_error);
/* Takes the connection that waits at the listener. */
void peers_connection_accept(struct peers *peers, struct peers_connection *connection);
/* One frame whose body is made of parts; flushed in the turn. Not STATUS_OK: the connection is
 * dropped already. */
enum status peers_connection_write(struct peers_connection *connection, enum peers_frame_kind kind,
                                   const struct transport_part *parts, uint32_t count, size_t size);
enum status peers_connection_flush(struct peers_connection *connection);
/* Over at once; its lane learns why. */
void peers_connection_drop(struct peers_connection *connection, const char *why);
/* Says why first. */
void peers_connection_refuse(struct peers_connection *connection, enum peers_refusal refusal,
                             const char *text);
void peers_connection_tick(struct peers_connection *connection, uint64_t now_ns);

#endif
