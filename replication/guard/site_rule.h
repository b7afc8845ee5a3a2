/*
 * The durability rule, as arithmetic: what a leader may count, send and commit, so that under SYNC
 * a commit implies both sites. docs/durability-rule.md is the specification; the numbers in
 * comments are its lines. docs/raft-guard.md argues.
 *
 * Two things go in. The *modes of the log*, a function of the log alone (1): it grows with appends
 * and is cut with truncations. And the *votes*: what each voter verified in this leader's term (2).
 *
 *     indexes    ... commit ........ gate ...................... q ............ last
 *     both sites hold this ─────────────┘    a majority with the witness ┘
 *     under SYNC the witness is sent, and counted, up to the gate; inside of a degraded run fully
 *
 * Pure: no I/O, no clock, no libraft. The modes allocate as they grow.
 */
#ifndef TALLY_REPLICATION_SITE_RULE_H
#define TALLY_REPLICATION_SITE_RULE_H

#include "replication/durability_entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ modes of the log */

struct site_mode_change {
    uint64_t index;
    enum durability_mode mode; /* of this index and those above, up to the next change */
};

/* The mode of every index that is not known to be committed, and of some below. Zeroed: an empty
 * log, SYNC. Grows with the uncommitted changes of the log; there is no other bound, because a
 * follower must take what a leader has, but the log's own in memory. */
struct site_modes {
    struct site_mode_change base; /* at or below the lowest index that is asked for */
    struct site_mode_change
        *changes; /* above the base, ascending; each differs from the one before */
    size_t count, capacity;
};

void site_modes_deinit(struct site_modes *modes);
/* Forgets everything: from `index` on, mode is `mode`, until more is appended. */
void site_modes_reset(struct site_modes *modes, uint64_t index, enum durability_mode mode);
/* The log's entry at `index` sets the mode. Invariant: above all before. False: no memory. */
bool site_modes_append(struct site_modes *modes, uint64_t index, enum durability_mode mode);
/* The log ends before `from` now. What is at or below the base stays: it is committed. */
void site_modes_truncate(struct site_modes *modes, uint64_t from);
/* Everything up to `commit` is committed, and modes below it are asked for no more. */
void site_modes_forget(struct site_modes *modes, uint64_t commit);
/* 1: the mode at `index`, also beyond the end of the log. Below the base: the base's. */
enum durability_mode site_modes_at(const struct site_modes *modes, uint64_t index);
/* Of the whole log. */
enum durability_mode site_modes_last(const struct site_modes *modes);
/* mode(index) = DEGRADED: the last index of that run, the one before the next return; UINT64_MAX
 * when none follows. Invariant: it is degraded. */
uint64_t site_modes_run_end(const struct site_modes *modes, uint64_t index);
/* The greatest index <= last that is degraded, or 0. Not below the base. */
uint64_t site_modes_last_degraded(const struct site_modes *modes, uint64_t last);

/* ------------------------------------------------------------------------- votes */

#define SITE_VOTES_MAX 16

enum site_place {
    SITE_PLACE_0,       /* a data node of one site */
    SITE_PLACE_1,       /* of the other */
    SITE_PLACE_WITNESS, /* stores the log, is at neither */
    SITE_PLACE_OTHER,   /* anything else: the rule is not in force */
};

/* As a leader sees it. */
struct site_votes {
    uint64_t commit;
    uint64_t stored;    /* the leader's own synced index: libraft commits no further */
    uint64_t last;      /* of the log */
    uint64_t first_own; /* first index of its own term; UINT64_MAX: none yet */
    uint32_t count;     /* voters, itself included if it is one */
    struct site_vote {
        enum site_place place;
        /* 2: verified in this term; the leader's own is its *synced* index. */
        uint64_t verified;
    } votes[SITE_VOTES_MAX];
};

/* The rule holds for clusters with data voters at two sites and a witness among the voters.
 * Otherwise a majority is all there is: the functions below then allow what plain Raft does. */
bool site_votes_in_force(const struct site_votes *votes);

/* What both sites hold: the least over the sites of the greatest that one of its data nodes
 * verified. Not in force: UINT64_MAX. */
uint64_t site_both_verified(const struct site_votes *votes);
/* 3: max(commit, the above). Not in force: UINT64_MAX. */
uint64_t site_gate(const struct site_votes *votes);
/* 9: what is committed and known to be on both sites: min(commit, site_both_verified). Not in
 * force: 0, nothing is known. */
uint64_t site_both(const struct site_votes *votes);
/* The greatest index that a majority verified, every witness counting up to `witness_cap` only. */
uint64_t site_quorum(const struct site_votes *votes, uint64_t witness_cap);
/* 4: entries up to here may be sent to a witness; at most `last`. */
uint64_t site_witness_limit(const struct site_modes *modes, const struct site_votes *votes);
/* 10: a witness counts as min(verified, this). UINT64_MAX: in full. */
uint64_t site_witness_cap(const struct site_modes *modes, const struct site_votes *votes);
/* 5, 6, 10: what a leader may commit to now, `witness_cap` being the above: `commit` itself, or an
 * index above it of its own term. Never more than rule 6 allows, and each step of it is the
 * quorum's own index. */
uint64_t site_commit(const struct site_votes *votes, uint64_t witness_cap);
/* 7: a return may be appended: the last mode is DEGRADED, and each site's best reached commit. */
bool site_may_return(const struct site_modes *modes, const struct site_votes *votes);

#endif
