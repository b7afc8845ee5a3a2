/* What a change of members may not do, judged by tables alone. Pure. */
#ifndef TALLY_REPLICATION_MEMBERSHIP_RULES_H
#define TALLY_REPLICATION_MEMBERSHIP_RULES_H

#include "replication/node/membership.h"

/* The members as the leader sees them. */
struct membership_view {
    struct member_table table;
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t up; /* bit i: peers[i] is connected, or this node itself */
    bool never;  /* the policy is that nothing is acknowledged which is not at both sites */
};

void membership_view(const struct membership *membership, struct membership_view *out);

/* Its place in the table, or -1. */
int membership_find(const struct membership_view *view, uint64_t node_id);

/* Whether the command may go on from here: STATUS_OK or a refusal as membership_begin() has them,
 * with words. */
enum status membership_check(const struct membership_view *view,
                             const struct membership_request *request,
                             struct node_error *out_error);

#endif
