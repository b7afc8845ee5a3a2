/*
 * What the durability rule promises, checked without asking the rule: at each commit step of a
 * leader, at each claim about both sites, against what the nodes have synced and what the committed
 * log says.
 */
#ifndef TALLY_CHAOS_SIM_RULE_CHECKS_H
#define TALLY_CHAOS_SIM_RULE_CHECKS_H

#include "chaos/sim/holdings.h"
#include "replication/consensus/consensus.h"

#define RULE_COMMITS 256

struct rule_note { /* a committed durability entry */
    uint64_t index, term;
    uint64_t seen_ns; /* when its commit was first seen */
    struct durability_entry entry;
};

struct rule_checks {
    struct world *world;
    const struct host *hosts;
    uint32_t host_count;
    struct holdings holdings;
    bool ignores_witness; /* may be ahead: to see what other checkers find */
    /* ---- the committed log, as far as leaders showed it ---- */
    uint64_t commit_index;
    struct rule_note *notes; /* ascending */
    uint32_t note_count, note_capacity;
    uint64_t both_seen[HOSTS_MAX]; /* claimed by this process so far */
    uint32_t looks[HOSTS_MAX];
    enum durability_mode mode_seen[HOSTS_MAX]; /* while it leads, of its log */
    uint64_t led_term[HOSTS_MAX];              /* that was seen in */
    struct {
        uint64_t at_ns, index;
    } commits[RULE_COMMITS]; /* a ring: what was committed when */
    uint64_t commits_count;
    uint64_t synced_seen[HOSTS_MAX]; /* of a witness, with its term */
    uint64_t synced_term_seen[HOSTS_MAX];
    /* What a witness had when it was first seen to vote: that was sent before it was gated. */
    bool votes[HOSTS_MAX];
    uint64_t voted_index[HOSTS_MAX];
    /* ---- counters ---- */
    uint64_t step_total, sync_step_total, one_sided_total; /* commit steps; the rule in force */
    uint64_t both_total;                                   /* claims checked */
    uint64_t mode_total;                                   /* modes of nodes checked */
    uint64_t witness_total;                                /* ends of a witness's log checked */
    uint64_t degrade_total, return_total, policy_total;
};

void rule_checks_init(struct rule_checks *checks, struct world *world, const struct host *hosts,
                      uint32_t host_count);
void rule_checks_deinit(struct rule_checks *checks);
/* After each turn of a living node and each message to it. */
void rule_checks_look(struct rule_checks *checks, const struct host *host);
void rule_checks_forget(struct rule_checks *checks, const struct host *host);

/* What is in force at `index` of the committed log; NULL: the defaults. */
const struct rule_note *rule_checks_at(const struct rule_checks *checks, uint64_t index);
enum durability_mode rule_checks_mode_at(const struct rule_checks *checks, uint64_t index);

#endif
