/*
 * What an operator does with a whole site, and with the rule about both, as a walk at the leader,
 * one at a time:
 *
 *   switchover   leadership goes to a data node of the site, and no request is refused for it:
 *                new ones wait while what is in flight ends and the other node has everything
 *   drain        the site's nodes go on following, voting and syncing, but neither lead nor serve
 *                clients: leadership leaves the site, then a policy entry says so; with
 *                `power_off` also a degrade entry, so that stopping them pauses nobody
 *   resume       the reverse, once the site is current
 *   policy, degrade, return   one durability entry
 *
 *     IDLE ─begin─► ASKING ─checks─► APPROACHING ─close behind─► HOLDING ─has everything─► MOVING
 *                    │ │ │                │                         │                        │
 *                    │ │ └── refused ─────┴──── too slow: released ─┴── nobody took over ────┤
 *                    │ └─ resume ─► WAITING ─current─┐                                       │
 *                    └── the others ─────────────────┴► WRITING ─committed─┐                 │
 *     IDLE ◄─────────────────────────── called back ─────────── MEASURING ◄┴─ SETTLING ◄─────┘
 *                                                                               (another leads)
 *
 * Every step is bounded; while it holds, requests wait in the proposer's list and in those of the
 * other nodes, as they do between two leaders. Nothing is kept but here and in the log: each turn
 * looks what the log says and takes the next step. So if the leader dies in the middle there is
 * nothing to undo, and the command, given again to whoever leads then, goes on.
 *
 * Embedded in the node; loop thread.
 */
#ifndef TALLY_REPLICATION_SITE_OPERATION_H
#define TALLY_REPLICATION_SITE_OPERATION_H

#include "replication/consensus/consensus.h"
#include "replication/node/node.h"
#include "replication/node/pauses.h"
#include "replication/node/site_message.h"

#include <stdbool.h>
#include <stdint.h>

#define SITE_WHO_SIZE 256 /* a certificate's URI with its zero byte */
#define SITE_WHY_SIZE 128 /* the operator's reason with its zero byte */

/* Bounds of the steps, in this order. */
#define SITE_ASK_MS      500  /* the data nodes answer */
#define SITE_APPROACH_MS 5000 /* the target comes close behind */
#define SITE_HOLD_MS     500  /* it has everything */
#define SITE_MOVE_MS     5000 /* somebody leads again */
#define SITE_SETTLE_MS   300  /* requests that waited are answered */
#define SITE_MEASURE_MS  500  /* the data nodes tell how it was */

#define SITE_WRITE_MS 5000 /* an entry is committed */

enum site_operation_kind {
    SITE_SWITCHOVER,
    SITE_DRAIN,
    SITE_RESUME,
    SITE_POLICY,  /* `settings`, for all sites */
    SITE_DEGRADE, /* without the site, until somebody returns */
    SITE_RETURN,  /* both sites again */
    SITE_OPERATION_KIND_COUNT
};
#define SITE_SETTINGS_SIZE 256

#define SITE_CHECKS_MAX 16
#define SITE_STEPS_MAX  16 /* of more the first one and the newest are kept */

/* How it went; what is not set did not happen. */
struct site_report {
    bool done_before; /* nothing was to be done */
    bool again;       /* leadership left the site: the new leader goes on, with the same command */
    uint64_t number;  /* of the newest durability entry, at the end */
    uint64_t leader_id;
    uint64_t held_ns; /* how long this node held new requests */
    uint32_t check_count;
    struct site_check {
        enum site_verdict { SITE_FINE, SITE_IN_THE_WAY, SITE_FORCED } verdict;
        char text[224]; /* what was found; in the way: also what to do */
    } checks[SITE_CHECKS_MAX];
    uint32_t step_count;
    struct site_step {
        uint64_t at_ns; /* since the command began */
        char text[128];
    } steps[SITE_STEPS_MAX];
    uint32_t pause_count;
    struct site_pause {
        uint64_t node_id;
        bool known; /* it told */
        struct pause pause;
    } pauses[MEMBERS_MAX];
};

/* The end; `report` and `text` are borrowed until return. STATUS_OK: done, or a dry run's checks
 * are made, whatever they say. Otherwise nothing is held any more, and `text` says what stands in
 * the way and what to do: STATUS_INVALID         a check stands in the way, nothing was changed
 *   STATUS_NOT_FOUND       there is no such site
 *   STATUS_NOT_READY       this node does not lead any more: repeat it at the leader
 *   STATUS_UNAVAILABLE     given up on the way; leadership stayed here, no request was refused
 *   STATUS_UNKNOWN_OUTCOME leadership was given up, and nobody leads yet
 *   STATUS_DEADLINE        the caller's time was up; as UNAVAILABLE, what is written stays */
typedef void (*site_operation_cb)(void *context, enum status status,
                                  const struct site_report *report, const char *text);

struct site_operation_request {
    enum site_operation_kind kind;
    char site[MEMBER_SITE_SIZE_MAX + 1];
    char who[SITE_WHO_SIZE];
    char why[SITE_WHY_SIZE]; /* may be empty for a switchover */
    bool dry_run;            /* the checks only */
    bool force;              /* although some checks stand in the way; not those about safety */
    bool power_off;          /* SITE_DRAIN: the site's nodes are going to be stopped */
    char settings[SITE_SETTINGS_SIZE]; /* SITE_POLICY: policy_settings.h */
    /* The newest durability entry that the operator looked at: with a later one it is refused.
     * Without: whichever it is now. */
    bool has_number;
    uint64_t number;
    uint64_t deadline_ns; /* monotonic; 0 = as long as the steps' bounds */
    site_operation_cb cb;
    void *context;
};

/* What it needs of the node. */
struct site_operation_world {
    void *context;
    /* Lane CALLS; lost when the link is down. */
    void (*ask)(void *context, uint64_t to, const struct site_question *question);
    /* What this node would answer itself. */
    void (*answer)(void *context, const struct site_question *question, struct site_answer *out);
    uint64_t (*wall_ns)(void *context);          /* ns since 1970 */
    uint32_t (*in_flight)(void *context);        /* entries proposed and not applied */
    const char *(*member_change)(void *context); /* under way, in words; "" = none */
};

/* Fields are ours. */
struct site_operation {
    struct consensus *consensus;
    struct site_operation_world world;
    uint64_t node_id;
    enum site_operation_state {
        SITE_IDLE,
        SITE_ASKING,
        SITE_APPROACHING,
        SITE_HOLDING,
        SITE_MOVING,
        SITE_SETTLING,
        SITE_MEASURING,
        SITE_WAITING,
        SITE_WRITING,
        SITE_STATE_COUNT,
    } state;
    struct site_operation_request request;
    struct site_report report;
    struct node_error error;
    uint64_t now_ns, began_ns, state_ns, hold_ns;
    uint64_t term;                          /* in which we led when it began */
    char to_site[MEMBER_SITE_SIZE_MAX + 1]; /* where leadership is to go; "" = it stays */
    uint64_t target_id;                     /* the node that is to lead */
    uint32_t written;                       /* entries of ours in the log */
    char waits_for[256];                    /* WAITING, WRITING: what for */
    uint64_t sequence;                      /* of the newest round of questions */
    uint64_t asked_ns, mark_index;          /* when, and what was committed then */
    struct site_told {
        uint64_t node_id;
        uint64_t sequence; /* of the round it answered; 0 = none yet */
        struct site_answer answer;
        struct pause pause;
        int64_t clock_offset_ns; /* its clock minus ours, */
        uint64_t clock_error_ns; /* give or take this: half of the time the answer took */
    } told[MEMBERS_MAX];
};

struct site_operation_progress {
    bool active;
    enum site_operation_kind kind;
    const char *site, *who, *why; /* borrowed until the next turn */
    const char *step;             /* static */
    uint64_t since_ns;            /* monotonic */
};

/* `consensus` is borrowed for as long as it is used. */
void site_operation_init(struct site_operation *operation, struct consensus *consensus,
                         uint64_t node_id, const struct site_operation_world *world);

/* STATUS_OK: request->cb comes once, from site_operation_process(), unless it is cancelled.
 * Otherwise nothing was done, and out_error has the words: STATUS_NOT_READY (this node does not
 * lead), STATUS_BUSY (another one is under way: who, what, since when). */
enum status site_operation_begin(struct site_operation *operation,
                                 const struct site_operation_request *request, uint64_t now_ns,
                                 struct node_error *out_error);
/* In each turn of the loop, after the members' and before entries are proposed; at
 * site_operation_next_ns() at the latest. */
void site_operation_process(struct site_operation *operation, uint64_t now_ns);
/* UINT64_MAX: nothing to do by itself. */
uint64_t site_operation_next_ns(const struct site_operation *operation);
/* Nothing new may be proposed in this turn. */
bool site_operation_holds(const struct site_operation *operation);
/* A MESSAGE_SITE_ANSWER of a member. */
void site_operation_receive(struct site_operation *operation, uint64_t from, const void *bytes,
                            size_t size, uint64_t now_ns);
/* cb will not fire; nothing is held. A leader that was asked to take over still may. */
void site_operation_cancel(struct site_operation *operation);
void site_operation_progress(const struct site_operation *operation,
                             struct site_operation_progress *out);

/* "switchover", "drain", ... */
const char *site_operation_name(enum site_operation_kind kind);

#endif
