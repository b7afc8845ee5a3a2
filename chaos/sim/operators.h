/*
 * People who operate the two sites: they degrade, return and change the policy at whoever leads,
 * wisely or not, and some of them look at an old screen. When the faults are over, somebody brings
 * everything back to automatic and SYNC, as far as the cluster does not do so by itself.
 */
#ifndef TALLY_CHAOS_SIM_OPERATORS_H
#define TALLY_CHAOS_SIM_OPERATORS_H

#include "chaos/sim/host.h"

struct operators_move; /* a command that a node has taken */

struct operators {
    /* ---- filled in before operators_start ---- */
    struct world *world;
    struct host *hosts;
    uint32_t host_count;
    /* ---- ours ---- */
    struct draw draw;
    bool asked_never; /* some policy said so */
    bool restoring;
    struct operators_move *move;
    uint64_t move_number, moved_total[2]; /* commands taken; ended well, refused on the way */
    uint64_t done_total, refused_total, restored_total;
    char last_refusal[256];
};

void operators_start(struct operators *operators);
void operators_deinit(struct operators *operators);
/* One of the things an operator may do, at random. */
void operators_act(struct operators *operators);
/* An operator asks the node of `host`, or who leads, for a switchover, a drain, a resume. */
void operators_move_site(struct operators *operators, struct draw *draw, struct host *host);
/* Whether a site that loses its disks could be done without: not while the policy is, or is about
 * to be, never to degrade. Such a loss is for recovery offline, which is not simulated. */
bool operators_may_lose_disk(const struct operators *operators);
/* From now on: back to automatic and SYNC. */
void operators_restore(struct operators *operators);
/* Nothing is left to restore, as the leader sees it; `why` says what is. */
bool operators_is_idle(const struct operators *operators, char *why, size_t size);

#endif
