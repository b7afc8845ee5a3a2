/*
 * The cluster as one node sees it, and the calls that change it: members and leadership. Loop
 * thread.
 */
#ifndef TALLY_REPLICATION_NODE_CLUSTER_H
#define TALLY_REPLICATION_NODE_CLUSTER_H

#include "replication/consensus.h"
#include "replication/node.h"

/* One that is being brought up to date by copies (catch_up.h). */
struct node_peer_catch_up {
    bool active;
    uint64_t bytes_done, bytes_total; /* total 0: not known yet */
    uint64_t index;                   /* its journal is there */
};

struct node_cluster {
    struct consensus_status consensus;
    uint32_t peer_count;
    struct consensus_peer peers[MEMBERS_MAX];        /* ourselves included */
    struct node_peer_catch_up catch_up[MEMBERS_MAX]; /* same order: what we serve that peer */
    struct node_peer_catch_up own_catch_up;
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
    const char *rule;               /* what replies follow: "majority" */
};
void node_cluster(const struct node *node, struct node_cluster *out);

/* Leader: begins to hand over to voter `to`; 0 = the best data node, of the other site if there is
 * one. Progress is seen in consensus_status (transferring, leader_id). STATUS_NOT_READY (does not
 * lead), STATUS_BUSY, STATUS_NOT_FOUND, STATUS_INVALID (a witness, or no voter), words in
 * *out_error. */
enum status node_transfer_leadership(struct node *node, uint64_t to, struct node_error *out_error);

#endif
