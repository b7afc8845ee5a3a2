/*
 * The durability rule between the files of consensus_raft; nobody else includes it.
 *
 *     durability_log.c     the entries about it: newest in the log, newest committed; stamps
 *     durability_sites.c   the members by site; what both have; which losses are survived
 *     durability_drive.c   the leader's judgement (durability.h) turned into entries, events
 *     durability_change.c  what operators ask for
 *     durability_prefer.c  where the leader should be
 */
#ifndef TALLY_REPLICATION_DURABILITY_DRIVE_H
#define TALLY_REPLICATION_DURABILITY_DRIVE_H

#include "replication/consensus/consensus.h"
#include "replication/consensus/durability.h"

struct consensus_raft;

/* ---- durability_log.c ---- */

struct durability_record {
    uint64_t index; /* 0: no entry, the defaults */
    struct durability_entry entry;
    /* Degraded: which site is done without, and whether a person said so. */
    char lost_site[MEMBER_SITE_SIZE_MAX + 1];
    bool by_operator;
    /* Who decides, by the newest committed entry: one of these, a bit each. That entry may be this
     * one, or any before it down to the newest one that is *known* to be committed. */
    uint32_t decisions;
};

struct durability_log {
    bool begun;
    uint64_t scanned_index;             /* the log was looked at up to here, */
    uint64_t committed_scan;            /* and what is committed up to here */
    struct durability_record committed; /* the newest known to be committed, ... */
    struct durability_record newest;    /* ... and the newest in the log */
    uint64_t stamp;                     /* greatest in the log; never falls */
};

/* Before libraft starts: the newest entry that is known to be committed, of `index`; 0: none, and
 * `entry` is not looked at. Without this call: none. */
void consensus_durability_log_begin(struct consensus_raft *c, uint64_t index,
                                    const struct durability_entry *entry);
/* After each event: what is new in the log, and newly committed. */
void consensus_durability_log_settle(struct consensus_raft *c);
/* By the newest entry that is committed, known to be or not, `decision` may be in force; or it is
 * by the newest entry of the log. */
bool consensus_durability_may_decide(const struct consensus_raft *c,
                                     enum durability_decision decision);
/* The log ends before `from` now. */
void consensus_durability_log_cut(struct consensus_raft *c, uint64_t from);

/* ---- durability_sites.c ---- */

/* The members in force, by site; kept as long as they are the same. */
struct site_table {
    const void *servers; /* what it was made of */
    unsigned server_count;
    uint64_t committed, uncommitted, term; /* indexes of configuration entries */
    uint32_t site_count;                   /* of voters */
    struct {
        char name[MEMBER_SITE_SIZE_MAX + 1];
        uint32_t voters, data_voters;
    } sites[MEMBERS_MAX];
    uint32_t member_count;
    struct site_member {
        uint64_t id;
        uint32_t site; /* place above; MEMBERS_MAX: of no voter */
        bool is_data, votes;
    } members[MEMBERS_MAX];
    uint32_t data_site_count;
    bool in_force;
};

void consensus_sites_settle(struct consensus_raft *c);
/* Best verified index of the site's data nodes, and the last word of any of them. Leader. */
uint64_t consensus_site_verified(const struct consensus_raft *c, uint32_t site);
uint64_t consensus_site_heard_ns(const struct consensus_raft *c, uint32_t site);
/* Place in the table, or MEMBERS_MAX. */
uint32_t consensus_site_find(const struct consensus_raft *c, const char *name);
/* Where `id` is in the table, or NULL. */
const struct site_member *consensus_site_member(const struct consensus_raft *c, uint64_t id);
/* Whether the cluster goes on without the site; fills survives_loss and why_not. */
void consensus_site_judge_loss(const struct consensus_raft *c, uint32_t site,
                               struct consensus_site *out);

/* ---- durability_drive.c ---- */

struct durability_drive {
    struct durability driver;
    struct durability_verdict verdict;
    uint64_t stepped_ns;
    uint64_t campaign_ns, elected_ns, led_term;
    enum durability_mode mode; /* of the log, as it was noted last */
    bool mode_noted;
    uint64_t noted_index; /* of the newest durability entry then; 0: none */
    uint64_t told_index;  /* newest committed entry that the log of the node heard of */
    uint64_t held_up_told_ns;
    uint64_t both_index;
    uint64_t behind_since_ns[MEMBERS_MAX]; /* by place in the table */
    /* durability_prefer.c */
    uint64_t fit_since_ns, moved_ns;
};

void consensus_durability_settle(struct consensus_raft *c);
/* Leader: judges, and appends what was decided. */
void consensus_durability_process(struct consensus_raft *c);
uint64_t consensus_durability_next_ns(const struct consensus_raft *c);
void consensus_durability_fill(const struct consensus_raft *c, struct consensus_durability *out);
/* Appends `entry` with the next number, the mode that its kind leads to, and a stamp; policy, site,
 * who and why are its maker's. STATUS_BUSY, STATUS_NOT_READY, STATUS_READ_ONLY: not now;
 * STATUS_INVALID: it cannot be encoded. */
enum status consensus_durability_append(struct consensus_raft *c, struct durability_entry *entry);
/* Committed and on both sites, as far as this node knows. */
uint64_t consensus_both_index(const struct consensus_raft *c);

/* ---- durability_change.c ---- */
enum status consensus_durability_change(struct consensus_raft *c,
                                        const struct consensus_durability_change *change,
                                        uint64_t *out_number, char *out_text);

/* ---- durability_prefer.c ---- */
/* This node is at the drained site. */
bool consensus_is_drained(const struct consensus_raft *c);
/* Leader: hands over to where the policy wants the leader. */
void consensus_prefer_process(struct consensus_raft *c);

#endif
