/*
 * A request may ask for more than the cluster's policy gives: "on both sites, or do not do it while
 * one is missing". Refusing it at proposal is not enough, since the leader may degrade between
 * proposal and commit, and then its entry commits with the degrade entry. What is committed cannot
 * be taken back; so the answer waits until the entry is on both sites after all, and when the
 * caller's time is up it says "committed, degraded". Both are answers to a request that took
 * effect.
 *
 * The wait is at the node that the client asked, for what that node knows to be on both sites: its
 * own measurement as a leader, what the leader told otherwise. It never ends in a claim that is not
 * measured (rule 9).
 *
 * The list is bounded by the calls in progress, which are; each wait by its request's deadline.
 */
#include "replication/node/durability_wait.h"

void durability_waits_init(struct durability_waits *waits)
{
    *waits = (struct durability_waits){.next_deadline_ns = UINT64_MAX};
}

void durability_waits_add(struct durability_waits *waits, struct node_both_wait *wait)
{
    wait->next = waits->first;
    waits->first = wait;
    if (wait->deadline_ns < waits->next_deadline_ns)
        waits->next_deadline_ns = wait->deadline_ns;
}

void durability_waits_process(struct durability_waits *waits, uint64_t both_index, uint64_t now_ns)
{
    struct node_both_wait **link = &waits->first, *over = NULL;
    waits->next_deadline_ns = UINT64_MAX;
    while (*link != NULL) {
        struct node_both_wait *wait = *link;
        if (wait->index > both_index && wait->deadline_ns > now_ns) {
            if (wait->deadline_ns < waits->next_deadline_ns)
                waits->next_deadline_ns = wait->deadline_ns;
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        wait->next = over;
        over = wait;
    }
    while (over != NULL) { /* callbacks may add further ones: none of these is touched by that */
        struct node_both_wait *wait = over;
        over = wait->next;
        wait->cb(wait, wait->index <= both_index);
    }
}

void durability_waits_end(struct durability_waits *waits)
{
    durability_waits_process(waits, 0, UINT64_MAX);
}
