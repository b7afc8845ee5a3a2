/*
 * The cluster as one node sees it, and the calls that change it: members and leadership. Loop
 * thread.
 */
#ifndef TALLY_REPLICATION_NODE_CLUSTER_H
#define TALLY_REPLICATION_NODE_CLUSTER_H

#include "replication/consensus/consensus.h"
#include "replication/consensus/durability.h"
#include "replication/node/node.h"

/* One that is being brought up to date by copies (catch_up.h). */
struct node_peer_catch_up {
    bool active;
    const char *phase;                /* static: catch_up.h, struct catch_up_progress */
    uint64_t bytes_done, bytes_total; /* total 0: not known yet */
    uint64_t index;                   /* its journal is there */
};

#define NODE_REFUSAL_SIZE 320

struct node_cluster {
    struct consensus_status consensus;
    uint32_t peer_count;
    struct consensus_peer peers[MEMBERS_MAX];        /* ourselves included */
    struct node_peer_catch_up catch_up[MEMBERS_MAX]; /* same order: what we serve that peer */
    struct node_peer_catch_up own_catch_up;
    /* Leader: less is admitted, because a member that catches up does not come nearer (pacing.h).
     */
    struct node_pacing {
        bool limited;
        uint64_t limit, floor; /* bytes of entries per second; 0 when not limited */
        uint64_t usual;        /* the same, what goes through when nobody catches up */
        uint64_t read_rate;    /* bytes per second that members may be read */
    } pacing;
    /* Digest of the state at the newest multiple of DIGEST_INTERVAL that was applied here; 0: none
     * since the start. */
    uint64_t digest_index;
    uint8_t digest[16];
    /* Since the start. */
    uint64_t elections_total;       /* times we became candidate */
    uint64_t leader_changes_total;  /* times another leader was seen than before */
    uint64_t forwarded_total;       /* requests sent on to a leader, repetitions included */
    uint64_t forwards_served_total; /* requests of other nodes taken here */
    uint64_t read_rounds_total;     /* confirmations begun here */
    uint64_t bounded_reads_total;   /* answered by max_age_ns without a confirmation */
    /* What replies follow: "site": a commit implies both sites, or the log says otherwise;
     * "majority": there are not two sites and a witness. */
    const char *rule;
    struct consensus_durability durability;
    /* How long and for how much it has run with one site alone, and the policy's word on that. */
    struct durability_run degraded;
    enum durability_bound degraded_bound;
    char degraded_why[DURABILITY_WHY_SIZE];
    char write_refusal[NODE_REFUSAL_SIZE]; /* why no write is taken at this moment; "" = they are
                                            */
};
void node_cluster(const struct node *node, struct node_cluster *out);
/* Only write_refusal of it. */
void node_write_refusal(const struct node *node, char *out, size_t size);

/* ---- changes of the members (membership.h), at the leader ---- */

struct node_change;
/* STATUS_OK: done, and `text` is NULL. Otherwise `text` (borrowed) says what stands in the way and
 * what to do: STATUS_NOT_READY (this node does not lead any more: repeat it at the leader),
 * STATUS_DEADLINE (not finished; what is done stays, and repeating it goes on), STATUS_INVALID,
 * STATUS_EXISTS, STATUS_NOT_FOUND, STATUS_STOPPING. */
typedef void (*node_change_cb)(struct node_change *change, enum status status, const char *text);
struct node_change {
    enum node_change_kind {
        NODE_MEMBER_ADD,     /* `member`, up to a voter */
        NODE_MEMBER_REPLACE, /* the same, then `old_id` is removed; it may be dead, or gone already
                              */
        NODE_MEMBER_REMOVE,  /* `old_id`; the leader itself hands over first: STATUS_NOT_READY */
    } kind;
    struct member member;
    uint64_t old_id;
    bool force;           /* although the loss of some site would not be survived any more */
    uint64_t deadline_ns; /* monotonic; 0 = MEMBERSHIP_LASTS_MS from now */
    node_change_cb cb;    /* exactly once, never inside node_change_members */
    /* ---- ours ---- */
    struct node *node;
};
/* Not STATUS_OK: refused at once with words in *out_error, and cb never fires. One at a time:
 * STATUS_BUSY. */
enum status node_change_members(struct node *node, struct node_change *change,
                                struct node_error *out_error);
/* Who asked went away: cb will not fire. What is committed stays, and repeating it goes on. No
 * effect after the callback. */
void node_change_cancel(struct node *node, struct node_change *change);
/* What is under way, in words; "" when nothing is. Static. */
const char *node_change_step(const struct node *node);

/* Leader: begins to hand over to voter `to`; 0 = the best data node, of the other site if there is
 * one. Progress is seen in consensus_status (transferring, leader_id). STATUS_NOT_READY (does not
 * lead), STATUS_BUSY, STATUS_NOT_FOUND, STATUS_INVALID (a witness, or no voter), words in
 * *out_error. */
enum status node_transfer_leadership(struct node *node, uint64_t to, struct node_error *out_error);

#endif
