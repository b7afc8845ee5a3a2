/*
 * A journal on a directory in memory, a clock that moves on command, and a model of what was
 * promised: which entries were acknowledged and what each must contain. Entries are functions of
 * (index, term), so the model needs only the term of each index.
 */
#ifndef TALLY_TESTS_JOURNAL_RIG_H
#define TALLY_TESTS_JOURNAL_RIG_H

#include "storage/journal.h"
#include "tests/lib/files_memory.h"

#define RIG_ENTRIES_MAX 4096

/* Long searches take fewer steps under sanitizers, which make each several times slower. */
#if defined(__SANITIZE_ADDRESS__)
#define RIG_UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RIG_UNDER_SANITIZER 1
#endif
#endif
#ifndef RIG_UNDER_SANITIZER
#define RIG_UNDER_SANITIZER 0
#endif

struct rig_request;

struct rig {
    struct files_memory *memory;
    struct journal_options options;
    struct journal *journal; /* NULL when not open */
    uint64_t clock;
    uint64_t random;
    uint32_t payload_max;         /* sizes are 0 .. this, by (index, term) */
    uint32_t payload_fixed;       /* unless this is set: then it is the size */
    struct rig_request *requests; /* not yet called back */
    /* the model */
    uint64_t appended; /* highest index handed over */
    uint64_t acknowledged;
    uint64_t pruned; /* entries up to here may be gone */
    uint64_t term;
    uint64_t terms[RIG_ENTRIES_MAX + 1];
    enum status failure; /* first status other than OK that a callback brought */
    uint32_t callbacks;
    struct journal_damage damage; /* of the last open */
    uint64_t cut;
};

void rig_init(struct rig *rig, uint64_t seed, uint64_t segment_size, uint32_t payload_max);
void rig_deinit(struct rig *rig);
uint64_t rig_draw(struct rig *rig); /* splitmix64 */

/* Makes an empty journal and opens it; both must succeed. */
void rig_start(struct rig *rig);
enum status rig_open(struct rig *rig);
/* Clean stop and close; must succeed. */
void rig_stop(struct rig *rig);
/* The process is gone: memory is freed, files stay as files_memory says. */
void rig_abandon(struct rig *rig);

/* One request of `count` entries at rig->term. Status of journal_append. */
enum status rig_append(struct rig *rig, uint32_t count);
/* Steps writer and preparer and processes, until nothing is left to do; false after a failure. */
bool rig_run(struct rig *rig);
enum job_state rig_step_writer(struct rig *rig);
enum job_state rig_step_preparer(struct rig *rig);
/* Appends `count` requests of one entry each and runs. */
void rig_fill(struct rig *rig, uint32_t count);
/* Lets the idle time pass and runs, so that a seal is written. */
bool rig_idle(struct rig *rig);
enum status rig_truncate(struct rig *rig, uint64_t index);
enum status rig_prune(struct rig *rig, uint64_t index);

/* Payload of an entry: size, and bytes into `out` (payload_max). */
uint32_t rig_payload(const struct rig *rig, uint64_t index, uint64_t term, uint8_t *out);
/* Compares the open journal with the model: every acknowledged entry, the content of each entry,
 * the chain. NULL, or words. When entries beyond the acknowledged ones were found the model takes
 * them over. */
const char *rig_check(struct rig *rig);

/* A life of some 30 actions drawn from the rig's seed: appends, groups, idle times, truncations,
 * prunes, configurations, restarts, preparer steps now and then. Ends early when the journal fails
 * or the disk is dead. */
void rig_live(struct rig *rig, int actions);

#endif
