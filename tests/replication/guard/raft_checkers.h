/*
 * Judges of a replicated log, fed by the world with what nodes do. They know no libraft and no
 * guard: only terms, indexes and the numbers that commands carry.
 *
 *   one leader per term      checkers_elected
 *   leader completeness      checkers_elected: it has every entry that was acknowledged, or applied
 *                            anywhere, in an older term
 *   log matching             checkers_appended: (index, term) names one entry and one predecessor
 *   state machine agreement  checkers_applied: equal command and equal state at equal index
 *   nothing acknowledged is lost   checkers_acknowledged, checkers_applied, checkers_finish
 */
#ifndef TALLY_TESTS_RAFT_CHECKERS_H
#define TALLY_TESTS_RAFT_CHECKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct checked_index;

struct checkers {
    uint64_t violation_count;
    char first[256]; /* the first violation, for people */
    /* ---- ours ---- */
    struct checked_index *indexes;
    size_t index_capacity;
    uint64_t acknowledged_count;
    uint64_t last_acknowledged, last_applied;
    unsigned *leader_of_term; /* node + 1 */
    size_t term_capacity;
};

void checkers_init(struct checkers *checkers);
void checkers_deinit(struct checkers *checkers);

/* Any other fault that the world sees. */
void checkers_violation(struct checkers *checkers, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The command in the new leader's log at `index`. False: not a command, or behind its snapshot. */
typedef bool (*checkers_log_lookup)(void *context, uint64_t index, uint64_t *out_command);

struct checked_leader {
    unsigned node;
    uint64_t term;
    uint64_t first_index, last_index; /* of the log in memory */
    checkers_log_lookup lookup;
    void *context;
};
void checkers_elected(struct checkers *checkers, const struct checked_leader *leader);

struct checked_entry {
    unsigned node;
    uint64_t index, term, previous_term; /* previous_term 0: unknown */
    uint64_t payload;
};
void checkers_appended(struct checkers *checkers, const struct checked_entry *entry);

struct checked_apply {
    unsigned node;
    uint64_t index, command, state; /* `state` after it */
    uint64_t term;                  /* the node's */
};
void checkers_applied(struct checkers *checkers, const struct checked_apply *apply);

/* `term` is the leader's at that moment. */
void checkers_acknowledged(struct checkers *checkers, uint64_t index, uint64_t command,
                           uint64_t term);

/* Everything acknowledged was applied. Call when all nodes run and agree. */
void checkers_finish(struct checkers *checkers);

#endif
