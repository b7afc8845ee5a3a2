/*
 * When a leader gives up on the other site, and when it counts on it again.
 *
 * Under SYNC nothing commits without both sites; a leader that has lost the other one can only
 * stand still, or put a *degrade* entry into the log, after which a majority is enough. This is the
 * judgement of when; the entry, who proposes it and what it means are elsewhere
 * (durability_drive.c, durability_entry.h, guard/site_rule.h). docs/durability-rule.md.
 *
 *     SYNC ── degrade_after_ms without the site, or nothing of it around an election ──► DEGRADED
 *     SYNC ◄── the site has kept pace for resync_dwell_ms, and few enough changes ── DEGRADED
 *
 * Pure: it has no clock, draws no random number and keeps no pointer. What it decides is a function
 * of the inputs of its steps, so that the same steps give the same decisions. Times are monotonic
 * nanoseconds of one node, 0 = never; steps go forward in time. Any thread, one at a time.
 */
#ifndef TALLY_REPLICATION_DURABILITY_H
#define TALLY_REPLICATION_DURABILITY_H

#include "replication/durability_entry.h"
#include "replication/member.h"

#include <stdbool.h>
#include <stdint.h>

/* Changes of the mode that are remembered: the greatest cap that a policy may have. */
#define DURABILITY_CHANGES_MAX 3600
/* Commits that are remembered, to know what was committed lag_ms ago. */
#define DURABILITY_SAMPLES  32
#define DURABILITY_WHY_SIZE (DURABILITY_WHY_SIZE_MAX + 1)

/* One site of the voters' data nodes, as the leader sees it. */
struct durability_site {
    char name[MEMBER_SITE_SIZE_MAX + 1];
    bool own;               /* the leader's */
    uint64_t verified;      /* best index that a data node of it is known to hold synced */
    uint64_t unverified_ns; /* when the oldest entry above that was appended; 0: there is none */
    uint64_t heard_ns;      /* last word of any data node of it */
};

struct durability_inputs {
    uint64_t now_ns;
    bool in_force; /* the rule about both sites: otherwise nothing is ever decided */
    struct durability_site sites[2];
    uint64_t commit_index;
    bool ready; /* an entry of this leader's own term is committed: commit_index misses nothing */
    uint64_t campaign_ns, elected_ns; /* of this leadership */
    /* From the log, its uncommitted end included: */
    bool degraded;
    bool settled;     /* its newest durability entry is committed */
    bool by_operator; /* who degraded: what an operator degraded an operator returns */
    struct durability_policy policy;
    /* The newest *committed* policy; where that is not known, the strictest that it may be. A
     * change of policy that is on its way lets nobody decide by himself who may not under both. */
    enum durability_decision committed_decision;
};

struct durability_verdict {
    enum {
        DURABILITY_STAY,
        DURABILITY_DEGRADE_NOW,
        DURABILITY_RETURN_NOW,
    } action;
    uint32_t site;                 /* which of the inputs' it is about */
    char why[DURABILITY_WHY_SIZE]; /* of the action, or of what holds it up; "" = neither */
    bool wanted;                   /* a degrade is due, but for the policy or the dwell */
    bool capped;                   /* a return is due, but for the cap on changes */
};

/* Embedded; all of it ours. */
struct durability {
    uint64_t led_ns;     /* when this leadership began; 0: none */
    uint64_t awake_ns;   /* steps have followed each other closely since then */
    uint64_t stepped_ns; /* the last step */
    uint64_t current_ns; /* every site has kept pace since then, 0: not now */
    struct {
        uint64_t ns, index;
    } samples[DURABILITY_SAMPLES];
    uint32_t sample_first, sample_count;
    uint64_t changes_ns[DURABILITY_CHANGES_MAX];
    uint32_t change_first, change_count;
    uint64_t changed_ns; /* newest of them */
};

/* The mode in the log changed at `ns`, by whomever: counts for the dwell and the cap. At every
 * node, so that the next leader knows. */
void durability_note_change(struct durability *durability, uint64_t ns);
/* A leadership begins: nothing of an earlier one counts, but for the changes. */
void durability_begin(struct durability *durability, uint64_t now_ns);
/* Changes in the hour before `now_ns`. */
uint32_t durability_changes_last_hour(const struct durability *durability, uint64_t now_ns);
/* One look. Steps should be at most DURABILITY_STEP_MS apart: a longer gap is a pause of our own,
 * in which nobody can have been heard, and begins all waits anew. */
#define DURABILITY_STEP_MS 50
void durability_step(struct durability *durability, const struct durability_inputs *inputs,
                     struct durability_verdict *out);

/* How long, and for how much, the cluster has run degraded, against the policy's bounds. */
struct durability_run {
    bool degraded;
    uint64_t seconds;
    uint64_t value_low, value_high; /* the ledger where it is most, in its minor units */
    uint32_t ledger;                /* that one */
};
enum durability_bound {
    DURABILITY_WITHIN,
    DURABILITY_BOUND_TOLD,    /* a bound is reached; the policy says to go on, with an alarm */
    DURABILITY_BOUND_REFUSES, /* a bound is reached; no request is taken */
};
/* `out_why` (DURABILITY_WHY_SIZE bytes) is "" within the bounds. */
enum durability_bound durability_judge_run(const struct durability_policy *policy,
                                           const struct durability_run *run, char *out_why);

#endif
