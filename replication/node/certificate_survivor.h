/*
 * What is left of one node, read offline for a verdict (certificate_verdict.h): who it was, its
 * certificate, and what its journal proves. Changes nothing on disk. `tally` links this.
 */
#ifndef TALLY_REPLICATION_CERTIFICATE_SURVIVOR_H
#define TALLY_REPLICATION_CERTIFICATE_SURVIVOR_H

#include "replication/directory.h"
#include "replication/durability_entry.h"
#include "replication/node/certificate_record.h"
#include "storage/journal.h"

/* Every member of a cluster may be there. */
#define SURVIVORS_MAX MEMBERS_MAX
/* Changes of members or durability at the end of a journal that truncations may take back. */
#define SURVIVOR_CHANGES_MAX 64

enum survivor_certificate {
    SURVIVOR_NO_CERTIFICATE,
    SURVIVOR_CERTIFICATE_REFUSED, /* unreadable, not signed, or its signature is not the leader's */
    SURVIVOR_CERTIFICATE_GOOD,
};

/* Whether whoever holds the key behind `view` may sign for the cluster: STATUS_OK, or another
 * status with the reason in `out_reason`. */
struct survivor_judge {
    void *context;
    enum status (*signature)(void *context, const struct certificate_view *view, char *out_reason,
                             size_t capacity);
};

/* The chain of a journal at one index. */
struct survivor_head {
    uint64_t index;
    enum { SURVIVOR_HEAD_ABSENT, SURVIVOR_HEAD_PRUNED, SURVIVOR_HEAD_THERE } state;
    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
};

struct survivor {
    /* ---- filled in by the owner ---- */
    const char *path; /* for people */
    struct files files;
    /* ---- survivor_read ---- */
    struct identity identity;
    enum survivor_certificate certificate_state;
    struct certificate_record certificate; /* GOOD, and REFUSED for its signature */
    char certificate_text[320];            /* why it is refused */
    bool quarantined;
    char quarantine_text[320];
    /* ---- survivor_survey ---- */
    bool sound; /* journal whole, not quarantined: it counts */
    struct journal_report report;
    uint64_t last_index, last_term;
    bool members_known;
    struct member_table members; /* as of the end of the journal */
    /* Newest durability entry of the journal; number 0: none. */
    struct durability_entry durability;
    uint64_t durability_index;
    /* Heads at the indexes that were asked for. */
    struct survivor_head heads[SURVIVORS_MAX];
    uint32_t head_count;
    /* The journal's own, weaker word. Entries up to proven_index are known to be committed, and one
     * of them, proven_entry, was given the clock's own time as its stamp. 0: nothing is known. */
    uint64_t proven_index, proven_entry, proven_stamp;
};

/* Identity, quarantine, certificate. STATUS_NOT_FOUND, STATUS_CORRUPT, STATUS_VERSION or what the
 * disk says, with words in out_error: this is no data directory that can be read. */
enum status survivor_read(struct survivor *survivor, const struct survivor_judge *judge,
                          char *out_error, size_t capacity);
/* Walks the journal, whose directory is open as `journal`; heads[0 .. head_count) carry the indexes
 * that are asked for. STATUS_OK also when it is damaged (then not `sound`). */
enum status survivor_survey(struct survivor *survivor, const struct files *journal);
/* At `index`, as asked for; NULL: it was not. */
const struct survivor_head *survivor_head(const struct survivor *survivor, uint64_t index);

#endif
