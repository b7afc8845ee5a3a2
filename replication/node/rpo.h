/*
 * What would be lost with everything but one site: per site, how much was applied (so: may have
 * been answered) that is not known to be synced at any data node of that site. Measured, never
 * derived from a mode: under SYNC it is 0 because nothing is missing. The leader measures and tells
 * the others. Loop thread.
 */
#ifndef TALLY_REPLICATION_RPO_H
#define TALLY_REPLICATION_RPO_H

#include "core/machine.h"
#include "replication/consensus/consensus.h"
#include "replication/message.h"

#define RPO_LEDGERS 16   /* told one by one; those met later are only counted */
#define RPO_SITES   4    /* with data nodes: two by the rule, more while members change */
#define RPO_MARKS   1024 /* places of the log at which sums are remembered */
/* The leader tells the others so often, and after RPO_OLD_MS nobody believes what it said. */
#define RPO_TELL_MS 200
#define RPO_OLD_MS  1500

/* The layout is that of the message; little-endian, what is not used is zero. */
struct rpo_ledger {
    uint32_t ledger;
    uint32_t reserved;
    uint64_t amount_low, amount_high; /* minor units of transfers that took effect */
};
enum rpo_flag {
    RPO_KNOWN = 1,   /* entries are known */
    RPO_AMOUNTS = 2, /* bytes, money and ns, too */
    RPO_EXACT = 4,   /* and not only as upper bounds */
};
struct rpo_site {
    char site[MEMBER_SITE_SIZE_MAX + 8]; /* zero-terminated */
    uint32_t flags;
    uint32_t ledger_count;
    uint64_t entries;
    uint64_t bytes;                         /* of their payloads */
    uint64_t ns;                            /* since the oldest of them was applied */
    uint64_t other_transfers;               /* transfers of ledgers beyond RPO_LEDGERS */
    struct rpo_ledger ledgers[RPO_LEDGERS]; /* with an amount, by first appearance */
};
struct rpo_report {
    struct message_header message;
    uint64_t term;
    uint64_t index; /* applied at the leader */
    uint32_t site_count;
    uint32_t reserved;
    struct rpo_site sites[RPO_SITES];
};
_Static_assert(sizeof(struct rpo_ledger) == 24, "format");
_Static_assert(sizeof(struct rpo_site) == 448, "format");
_Static_assert(sizeof(struct rpo_report) == 32 + RPO_SITES * 448, "format");

struct rpo_time {
    uint64_t monotonic_ns, wall_ns;
};

struct rpo_mark {
    uint64_t index;       /* the sums count everything up to this entry */
    uint64_t since_ns;    /* when the oldest entry above the mark before was applied; monotonic */
    uint64_t since_stamp; /* and ledger time then: a restart does not make it younger */
    uint64_t bytes, other_transfers;
    struct {
        uint64_t low, high;
    } sums[RPO_LEDGERS];
};

struct rpo {
    struct rpo_mark base; /* nothing is known of the sums below it */
    uint32_t ledger_count;
    uint32_t ledgers[RPO_LEDGERS];
    struct rpo_mark now;    /* the sums of all that was applied */
    struct rpo_mark *marks; /* RPO_MARKS, ascending */
    uint32_t mark_count;
    uint32_t step;    /* entries that one mark stands for */
    uint32_t in_last; /* of these, in the last one */
    uint64_t next_tell_ns;
    /* On a follower: what the leader told, and when; 0: nothing. */
    struct rpo_report told;
    uint64_t told_ns;
};

/* STATUS_NO_MEMORY. */
enum status rpo_init(struct rpo *rpo);
void rpo_deinit(struct rpo *rpo);
/* Counting begins behind entry `index`: another generation of files. */
void rpo_begin(struct rpo *rpo, uint64_t index);

/* While an entry is applied: one answer, to the request `header` (its events behind it). */
void rpo_answer(struct rpo *rpo, const struct request_header *header, const struct answer *answer);
/* The entry is applied; `stamp`: ledger time with it. */
void rpo_applied(struct rpo *rpo, uint64_t index, uint64_t bytes, uint64_t now_ns, uint64_t stamp);

/* What is missing at a site that is known to hold everything up to `verified` (0: nothing is
 * known).
 */
void rpo_measure(const struct rpo *rpo, uint64_t verified, const struct rpo_time *now,
                 struct rpo_site *out);
/* Everything up to `index` is at every site: what is below is not needed any more. */
void rpo_forget(struct rpo *rpo, uint64_t index);

/* This node leads: all sites with data nodes. Otherwise what the leader told, or a report without
 * sites: unknown. */
void rpo_report(const struct rpo *rpo, const struct consensus *consensus,
                const struct rpo_time *now, struct rpo_report *out);
/* From a member: kept if it leads in `term`. False: malformed. */
bool rpo_receive(struct rpo *rpo, const void *bytes, size_t size, uint64_t term, uint64_t now_ns);

#endif
