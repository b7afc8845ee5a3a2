/*
 * Directed schedules: each leads a cluster, or one node among peers played by the test, to the
 * place where libraft 0.15.0 goes wrong, and tells whether a promise held. docs/raft-guard.md is
 * the table. `parts`: which repairs of the guard are on.
 *
 * With all parts on a schedule must end in SCHEDULE_HELD; without the part of its name in
 * SCHEDULE_BROKEN, or in a crash of libraft. SCHEDULE_ASTRAY proves nothing either way.
 */
#ifndef TALLY_TESTS_RAFT_SCHEDULES_H
#define TALLY_TESTS_RAFT_SCHEDULES_H

#include "raft_world.h"

#include <stdbool.h>
#include <stdint.h>

enum schedule_result {
    SCHEDULE_HELD,   /* it went its way, and the promise held */
    SCHEDULE_BROKEN, /* it went its way, and the promise or a checker's rule did not hold */
    SCHEDULE_ASTRAY, /* it did not come to the place it is about */
};

/* A cluster whose node 0 leads and in which `count` commands are everywhere. */
struct world *schedule_lead(const struct world_options *options, unsigned count);
/* Judges and destroys the world. Says on stderr why it is not SCHEDULE_HELD. */
enum schedule_result schedule_end(struct world *world, bool way, bool promise);
/* Proposes a new member, of the id at `context` or 4; for world_within(). */
void schedule_add_member(struct world_node *node, void *context);
/* A change without asking the guard, for world_within(). */
struct schedule_change {
    raft_id id;
    int role;     /* -1: is removed; RAFT_SPARE of an unknown id: is added */
    bool ask;     /* the guard first */
    bool allowed; /* set: it was proposed */
};
void schedule_change_member(struct world_node *node, void *context);

/* raft_schedules_log.c: what is replicated and committed */
enum schedule_result schedule_stale_tail_is_acknowledged(uint64_t parts);        /* S1 */
enum schedule_result schedule_stale_tail_is_committed(uint64_t parts);           /* S2 */
enum schedule_result schedule_entries_below_a_snapshot(uint64_t parts);          /* S3 */
enum schedule_result schedule_figure_8(uint64_t parts);                          /* S4 */
enum schedule_result schedule_steady_load(uint64_t parts);                       /* S5 */
enum schedule_result schedule_own_disk_is_last(uint64_t parts);                  /* S5 */
enum schedule_result schedule_inherited_entries_without_clients(uint64_t parts); /* BARRIER */
enum schedule_result schedule_append_fails(uint64_t parts);                      /* S8 */
enum schedule_result schedule_term_fails_at_a_hand_over(uint64_t parts);         /* S8 */
enum schedule_result schedule_term_fails_under_entries(uint64_t parts);          /* S8 */
enum schedule_result schedule_one_send_fails(uint64_t parts);                    /* S10 */
enum schedule_result schedule_close_under_load(uint64_t parts);                  /* S8 */
enum schedule_result schedule_probing_a_divergent_tail(uint64_t parts);          /* S18 */

/* raft_schedules_membership.c: which configuration is in force, and committed */
enum schedule_result schedule_snapshot_under_a_membership_change(uint64_t parts);   /* S13 */
enum schedule_result schedule_membership_after_a_restart(uint64_t parts);           /* ROLLBACK */
enum schedule_result schedule_membership_before_a_compacted_one(uint64_t parts);    /* ROLLBACK */
enum schedule_result schedule_membership_under_a_snapshot(uint64_t parts);          /* ROLLBACK */
enum schedule_result schedule_two_membership_changes_at_once(uint64_t parts);       /* ROLLBACK */
enum schedule_result schedule_two_membership_changes_and_a_restart(uint64_t parts); /* ROLLBACK */
enum schedule_result schedule_snapshot_before_its_configuration(uint64_t parts);    /* S13 */

/* raft_schedules_voters.c: who counts, while the number of voters changes */
enum schedule_result schedule_promoted_before_it_knows(uint64_t parts);     /* VOTE */
enum schedule_result schedule_promoted_beside_a_dead_voter(uint64_t parts); /* VOTE */
enum schedule_result schedule_sole_voter_restarts(uint64_t parts);          /* TERM */
enum schedule_result schedule_leader_leaves_one_voter(uint64_t parts);      /* TERM */
enum schedule_result schedule_sole_voter_is_asked_to_lead(uint64_t parts);  /* TERM */
enum schedule_result schedule_change_beside_a_dead_voter(uint64_t parts);   /* CHANGE */

/* raft_schedules_witness.c */
enum schedule_result schedule_witness_is_impatient(uint64_t parts);         /* QUIET */
enum schedule_result schedule_witness_is_asked_to_campaign(uint64_t parts); /* QUIET */
enum schedule_result schedule_witness_alone_has_the_end(uint64_t parts);    /* RESORT */
enum schedule_result schedule_witness_hands_over(uint64_t parts);           /* HAND_OVER */
enum schedule_result schedule_witness_is_behind_its_heir(uint64_t parts);   /* HAND_OVER */
enum schedule_result schedule_witness_appends_nothing(uint64_t parts);      /* SILENT */
enum schedule_result schedule_witness_is_no_target(uint64_t parts);         /* TARGET */
enum schedule_result schedule_witness_cannot_reach(uint64_t parts);         /* REACH */

/* raft_schedules_site.c: the durability rule */
enum schedule_result schedule_witness_gets_what_both_have(uint64_t parts); /* GATE */
enum schedule_result
schedule_gate_does_not_start_at_what_was_inherited(uint64_t parts);                 /* VERIFIED */
enum schedule_result schedule_own_copy_counts_when_synced(uint64_t parts);          /* SYNCED */
enum schedule_result schedule_mode_is_the_logs(uint64_t parts);                     /* MODE */
enum schedule_result schedule_witness_counts_up_to_the_gate(uint64_t parts);        /* CLAMP */
enum schedule_result schedule_degrade_counts_when_reached(uint64_t parts);          /* REACHED */
enum schedule_result schedule_answer_counts_again(uint64_t parts);                  /* AGAIN */
enum schedule_result schedule_witness_counts_to_the_end_of_the_run(uint64_t parts); /* RUN */
enum schedule_result schedule_both_is_what_both_verified(uint64_t parts);

/* raft_schedules_lead.c: who leads */
enum schedule_result schedule_longer_log_and_newer_term(uint64_t parts);     /* NEWER */
enum schedule_result schedule_result_without_a_leader(uint64_t parts);       /* S6 */
enum schedule_result schedule_campaign_before_the_disk(uint64_t parts);      /* S7 */
enum schedule_result schedule_vote_beside_a_stuck_disk(uint64_t parts);      /* LEADER */
enum schedule_result schedule_result_cannot_be_sent(uint64_t parts);         /* S11 */
enum schedule_result schedule_transfer_outlives_its_request(uint64_t parts); /* S12 */
enum schedule_result schedule_transfer_to_a_slow_disk(uint64_t parts);       /* S12 */

/* raft_schedules_node.c: one node, peers played by the test */
enum schedule_result schedule_snapshot_against_a_newer_term(uint64_t parts);  /* S1 */
enum schedule_result schedule_rejection_during_an_install(uint64_t parts);    /* S9 */
enum schedule_result schedule_entry_comes_back_in_flight(uint64_t parts);     /* S20 */
enum schedule_result schedule_vote_for_whom_it_hands_over_to(uint64_t parts); /* ONE_VOTE */

#endif
