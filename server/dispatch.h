/*
 * The way of a call through the server, the same for every method of tally.v1:
 *
 *   message -> ready? -> who, and may they -> room? -> decode -> propose | read -> answer
 *
 * Refusals before the log carry what a client needs to go on: a status, words, and the trailers
 * tally-outcome and tally-retry-ms. A call whose client is gone goes through all the same: what is
 * in the log happens. All on the loop thread.
 */
#ifndef TALLY_SERVER_DISPATCH_H
#define TALLY_SERVER_DISPATCH_H

#include "replication/node/node.h"
#include "replication/node/node_cluster.h"
#include "server/authorize.h"
#include "server/grpc.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/wire.h"

struct dispatch;
struct buffer_pool;

struct dispatch_options {
    struct node *node;
    struct log *log;
    struct metrics *metrics;
    uint32_t requests_per_principal; /* where the principal's row says 0 */
    uint32_t requests_max;
    uint64_t request_bytes_max;
    uint32_t read_wait_ms;
    bool alone; /* no connections to peers: a further member could never be reached */
    /* Admin.GetStatus: a JSON document, to be freed by the caller; NULL without memory. */
    char *(*status_json)(void *context);
    void *status_context;
};

/* Copies the options; node, log and metrics must outlive it. NULL without memory. */
struct dispatch *dispatch_create(const struct dispatch_options *options);
/* Invariant: no call is left. */
void dispatch_destroy(struct dispatch *dispatch);
/* Adds all methods of tally.v1 to the server. */
void dispatch_register(struct dispatch *dispatch, struct grpc_server *server);
/* The daemon tells when requests may come; before, they are refused with `reason`. Borrowed. */
void dispatch_set_ready(struct dispatch *dispatch, bool ready, const char *reason);
/* The node's site is drained: `text` refuses what clients ask, what operators ask goes on. NULL or
 * "": it is not. Borrowed. The daemon tells once per turn. */
void dispatch_set_drained(struct dispatch *dispatch, const char *text);
/* Who leads, for the trailer tally-leader; 0 = unknown. The daemon tells once per turn. */
void dispatch_set_leader(struct dispatch *dispatch, uint64_t leader_id);
/* The node has other files now, and another node_machine(): reads that were put off, or are under
 * way in slices, are refused and may be asked again. */
void dispatch_reopened(struct dispatch *dispatch);
/* Once per turn of the loop: answers reads that were put off because earlier ones had used up the
 * turn's time. True when some are left: come again at once. */
bool dispatch_process(struct dispatch *dispatch);
/* Counts time that was spent on reads in this turn; for tests that cannot be slow on purpose. */
void dispatch_charge(struct dispatch *dispatch, uint64_t duration_ns);
/* Length of a slice of a long read, for tests: 0 makes slices as short as they can be. */
void dispatch_set_slice(struct dispatch *dispatch, uint64_t slice_ns);
/* Calls that are not finished yet, and the memory they hold. */
uint32_t dispatch_call_count(const struct dispatch *dispatch);
uint64_t dispatch_bytes(const struct dispatch *dispatch);

/* ---- for the services (ledger_service.c, ledger_read_service.c, admin_service.c,
 * member_service.c, site_service.c) ---- */

/* One call on its way. From a pool; ends with work_finish() or one of its relatives. */
struct work {
    struct dispatch *dispatch;
    struct grpc_call *call;
    enum method method;
    struct caller caller;
    uint64_t started_ns;
    bool gone;              /* its client does not wait any more */
    const uint8_t *message; /* borrowed from the call until it is finished */
    size_t message_size;
    struct request_header *buffer; /* a request's header and events */
    size_t buffer_size;
    struct node_request request;
    struct answer held; /* waits until it is on both sites; its results are in `buffer` */
    struct node_both_wait both_wait;
    struct node_read read;
    enum work_changing {
        WORK_NOT_CHANGING,
        WORK_CHANGING_MEMBERS, /* `change` is with the node */
        WORK_CHANGING_LEADER,  /* waits for another leader; the dispatcher knows it */
        WORK_OPERATING_SITE,   /* the node has it */
    } changing;
    struct node_change change;
    enum work_reading {
        WORK_NOT_READING,
        WORK_WAITING, /* `read` is with the node: may be cancelled there */
        WORK_PUT_OFF, /* may be answered; stands in the dispatcher's queue */
    } reading;
    void (*read_done)(struct work *work);
    union {
        struct wire_query query;
        struct wire_lookup lookup;
        struct wire_get_request get_request;
    };
    /* A read in slices: where it stands, and the state that it tells about. */
    struct {
        bool begun;
        size_t offset;            /* of LookupTransfers: into the message */
        uint64_t sequence, count; /* of ListTransfers: the next one, and how many there are */
        uint32_t listed, scanned; /* of ListTransfers */
        uint64_t index, stamp;    /* at the beginning */
    } progress;
    struct work *next;
};

/* Decodes, seals and proposes; answers. */
void ledger_service_begin(struct work *work);
/* Decodes a question and asks the node; answers. */
void ledger_read_service_begin(struct work *work);
void admin_service_begin(struct work *work);
void member_service_begin(struct work *work);
void site_service_begin(struct work *work);
/* Once per turn: whether a change of leadership that was asked for is over. */
void member_service_process(struct work *work);
/* The client of a member change or a change of leadership went away. */
void member_service_gone(struct work *work);
/* Of a site operation. */
void site_service_gone(struct work *work);

/* Waits until the state is right to answer (min_index, or linearizable now), then calls `cb`, or
 * finishes the work with the reason why not. In `cb` the state may be later than that, never
 * earlier. */
void work_read(struct work *work, uint64_t min_index, void (*cb)(struct work *work));

/* Ends: an answer that was written into grpc_call_reserve's room (or none, the client being gone).
 * `index`: log index the answer reflects. */
void work_finish(struct work *work, uint64_t index);
/* Ends with a refusal of the whole request by the log: trailers and words from the outcome. */
void work_finish_outcome(struct work *work, const struct answer *answer);
/* Ends with an operating error: trailers and words from the status. */
void work_finish_status(struct work *work, enum status status);
/* Ends with a refusal in words of its own. `message` is copied. */
struct refusal;
void work_finish_refusal(struct work *work, const struct refusal *refusal);
/* Ends with INVALID_ARGUMENT and the decoder's words. */
void work_finish_malformed(struct work *work, const struct wire_error *error);
/* Ends with any other code. */
void work_finish_code(struct work *work, enum grpc_code code, const char *message);

/* When the node should have answered, so that its words still reach the client in time: a little
 * before the call's deadline; `otherwise` when it has none. */
uint64_t work_deadline_ns(const struct work *work, uint64_t otherwise);
/* Registers the one work that waits for another leader (NULL: none); false when there is one. */
bool dispatch_wait_for_leader(struct dispatch *dispatch, struct work *work);

const struct dispatch_options *dispatch_options(const struct dispatch *dispatch);
struct buffer_pool *dispatch_buffers(struct dispatch *dispatch);
/* For the one answer that is being written just now; `size` 0. */
struct wire_writer *dispatch_page(struct dispatch *dispatch);
/* The page of a read in slices, empty at first and kept until the work ends. NULL while another
 * read has it: work_read_again(). */
struct wire_writer *work_long_page(struct work *work);
/* To be asked now and then by a read in slices; when true, it calls work_read_again() and returns,
 * and is called again in this turn of the loop or a later one. */
bool work_slice_is_over(const struct work *work);
void work_read_again(struct work *work);
/* Copies the page (the long one if the work has it) into the call's answer and ends the work. */
void work_finish_page(struct work *work, uint64_t index);

/* How an operating error is told to a client; the table is in dispatch_status.c. */
struct refusal {
    enum grpc_code code;
    const char *outcome; /* value of tally-outcome, or NULL */
    uint32_t retry_ms;   /* 0: no hint */
    const char *message;
};
struct refusal refusal_of_status(enum status status);
struct refusal refusal_of_change(enum status status);
struct refusal refusal_of_outcome(uint8_t outcome);

#endif
