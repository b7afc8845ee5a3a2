/*
 * The inside of a run, shared by observe_run.c, observe_ask.c and observe_watch.c. One thread, one
 * uv loop, one timer (a timerfd, because uv's timers count whole milliseconds) that serves a heap
 * of wakes.
 */
#ifndef TALLY_CLIENT_CLI_OBSERVE_ENGINE_H
#define TALLY_CLIENT_CLI_OBSERVE_ENGINE_H

#include "client/cli/observe.h"
#include "client/cli/observe_message.h"
#include "net/deadline.h"
#include "net/http2_client.h"

#include <uv.h>

#define OBSERVE_ASKS      16 /* questions about unknown requests at once */
#define OBSERVE_MARK_LINE 256

struct observe_engine;

/* Something due at a moment. `fire` may set it again. */
struct observe_wake {
    struct deadline deadline; /* first; at_ns counts from the run's origin */
    void (*fire)(struct observe_engine *engine, struct observe_wake *wake);
};

/* A canary under way. */
struct observe_slot {
    struct observe_wake wake; /* first: end of a back-off */
    struct http2_call call;
    struct observe_engine *engine;
    struct observe_slot *next_free;
    struct observe_record *record;
    uint8_t site;
    bool busy, in_doubt, was_sent;
    uint8_t server; /* of the running attempt */
    uint32_t step;  /* how many servers were left behind */
    uint64_t deadline_ns;
    size_t message_size;
    uint8_t message[OBSERVE_MESSAGE_SIZE];
};

/* A question about an unknown one. */
struct observe_ask {
    struct http2_call call;
    struct observe_engine *engine;
    struct observe_record *record; /* NULL: idle */
    bool fence;
    uint8_t message[OBSERVE_MESSAGE_SIZE];
};

/* What one server says of itself, asked again and again. */
struct observe_view {
    struct http2_call call;
    struct observe_engine *engine;
    uint8_t server;
    bool asking, silent;
    uint32_t failures; /* in a row */
    char rule[OBSERVE_TEXT_SIZE];
};

struct observe_engine {
    struct observe *run;
    uv_loop_t loop;
    int timer_fd;
    uv_poll_t timer;
    uint64_t armed_ns; /* what timer_fd is set to; UINT64_MAX = nothing */
    struct deadline_heap wakes;
    uv_signal_t signals[2];
    uint32_t handles_open;
    struct http2_client *channels[OBSERVE_SERVERS_MAX];
    uint32_t channels_open;
    bool closing;
    uint64_t random;

    struct observe_wake send;
    uint64_t sent_count; /* canaries so far, all sites */
    struct observe_slot *slots;
    struct observe_slot *free_slots[OBSERVE_SITES_MAX];
    size_t slot_count, busy_count;
    uint64_t leader[OBSERVE_SITES_MAX]; /* as the last answer at this site said */
    uint8_t durability[OBSERVE_SITES_MAX];
    uint64_t durability_ns[OBSERVE_SITES_MAX];          /* when a change of it was noted */
    char refusal[OBSERVE_SITES_MAX][OBSERVE_TEXT_SIZE]; /* the last words that turned one away */
    uint64_t refusal_ns[OBSERVE_SITES_MAX];             /* when that was noted */

    struct observe_wake ask;
    struct observe_ask asks[OBSERVE_ASKS];
    struct observe_record **unknown; /* a ring with room for every record */
    size_t unknown_size, unknown_first, unknown_count;
    size_t ask_count; /* asks that are not idle */
    uint32_t ask_server;

    struct observe_wake watch, live, end;
    struct observe_view views[OBSERVE_SERVERS_MAX];
    int marks_fd;
    uv_poll_t marks;
    bool marks_made;
    size_t mark_size;
    bool mark_cut;
    char mark[OBSERVE_MARK_LINE];
};

/* observe_run.c */
void observe_wake_at(struct observe_engine *engine, struct observe_wake *wake, uint64_t at_ns);
/* Whatever hangs on "the run is over" has changed. */
void observe_engine_step(struct observe_engine *engine);

/* observe_ask.c */
bool observe_ask_init(struct observe_engine *engine); /* false: no memory */
void observe_ask_deinit(struct observe_engine *engine);
/* The outcome of this record is unknown: finds out. */
void observe_ask_add(struct observe_engine *engine, struct observe_record *record);

/* observe_watch.c */
/* Opens the fifo of marks, if one is wanted. False with run->error. */
bool observe_watch_init(struct observe_engine *engine);
void observe_watch_start(struct observe_engine *engine);
void observe_watch_stop(struct observe_engine *engine); /* closes handles */
void observe_watch_deinit(struct observe_engine *engine);
/* What the trailers of an answer told at a site. */
void observe_watch_answer(struct observe_engine *engine, uint8_t site,
                          const struct http2_call *call, struct observe_record *record);

#endif
