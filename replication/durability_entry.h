/*
 * Durability entries: what a payload of JOURNAL_DURABILITY says. They decide, at their place in the
 * log, whether a commit implies both sites (docs/durability-rule.md):
 *
 *     degrade   from here on a majority is enough; `site` is the one that is given up for now
 *     return    from here on both sites again; `site` is the one that came back
 *     policy    other rules for degrading and returning; the mode stays as it is
 *     release   `site` was away for too long: the witness keeps no journal for it any more, and it
 *               must be seeded anew; the mode stays as it is
 *
 * Each carries everything that is in force after it: the mode, its number, the whole policy. So the
 * newest one at or below an index tells all there is to know at that index, and nothing else has to
 * be kept. Where there is none, durability_entry_default() is in force.
 *
 * `number` counts all of them, 1, 2, 3, ... : who wants to change something names the number that
 * it looked at, and is refused when there is a later one.
 *
 * Layout, version 1, little-endian, DURABILITY_ENTRY_SIZE bytes; texts end with zeros:
 *
 *       0 u8 version   1 u8 kind   2 u8 mode   3 u8 decision   4 u8 on_bound   5 u8 automatic
 *       6 zeros, 2
 *       8 u64 number  16 u64 stamp
 *      24 u32 degrade_after_ms  28 u32 grace_ms  32 u32 lag_ms  36 u32 resync_dwell_ms
 *      40 u32 dwell_min_ms  44 u32 changes_per_hour_max  48 u32 degraded_seconds_max  52 zeros, 4
 *      56 u64 degraded_value_max
 *      64 site, 16   80 preferred_site, 16   96 drained_site, 16   112 released_site, 16
 *     128 who, 128   256 why, 192
 *
 * One entry has one encoding: what is decoded encodes to the same bytes. The size is fixed and well
 * below what is left beside the members in the blob that journal anchors and checkpoints keep.
 *
 * Pure: no I/O, any thread.
 */
#ifndef TALLY_REPLICATION_DURABILITY_ENTRY_H
#define TALLY_REPLICATION_DURABILITY_ENTRY_H

#include "core/status.h"
#include "replication/member.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DURABILITY_ENTRY_SIZE    448
#define DURABILITY_ENTRY_VERSION 1
#define DURABILITY_WHO_SIZE_MAX  128 /* bytes of UTF-8: a person's certificate name, or "policy" */
#define DURABILITY_WHY_SIZE_MAX  192 /* bytes of UTF-8 */

/* The numbers of these are the format's. */
enum durability_mode { DURABILITY_SYNC = 0, DURABILITY_DEGRADED = 1 };
enum durability_kind {
    DURABILITY_NONE = 0, /* in no entry: what is in force without one */
    DURABILITY_DEGRADE = 1,
    DURABILITY_RETURN = 2,
    DURABILITY_POLICY = 3,
    DURABILITY_RELEASE = 4,
};
/* Who may degrade. */
enum durability_decision {
    DURABILITY_AUTO = 0,     /* the leader, by the rules below */
    DURABILITY_NEVER = 1,    /* nobody */
    DURABILITY_OPERATOR = 2, /* a person */
};
/* What happens when a bound on running degraded is reached. */
enum durability_on_bound { DURABILITY_ALARM = 0, DURABILITY_REFUSE = 1 };

struct durability_policy {
    enum durability_decision decision;
    uint32_t degrade_after_ms;     /* oldest entry not verified there, or silence; 200 .. 600 000 */
    uint32_t grace_ms;             /* a new leader waits for a word of the site; 0 .. 10 000 */
    uint32_t lag_ms;               /* back: it has what was committed so long ago; 1 .. 60 000 */
    uint32_t resync_dwell_ms;      /* ... for so long without interruption; 0 .. 3 600 000 */
    uint32_t dwell_min_ms;         /* least time in a mode; 0 .. 3 600 000 */
    uint32_t changes_per_hour_max; /* then it stays degraded; 2 .. 3600 */
    uint32_t degraded_seconds_max; /* bound on time in degraded mode; 0 = none */
    uint64_t degraded_value_max;   /* minor units committed degraded, per ledger; 0 = none */
    enum durability_on_bound on_bound;
    char preferred_site[MEMBER_SITE_SIZE_MAX + 1]; /* where the leader should be; "" = anywhere */
    char drained_site[MEMBER_SITE_SIZE_MAX + 1];   /* neither leads nor serves; "" = none */
};

struct durability_entry {
    enum durability_kind kind;
    enum durability_mode mode; /* after it */
    uint64_t number;           /* from 1; 0: DURABILITY_NONE */
    uint64_t stamp; /* ns since 1970, as stamps of commands: greater than all before in the log */
    bool automatic; /* the leader by its policy, not a person; RELEASE: as the degrade before it */
    char site[MEMBER_SITE_SIZE_MAX + 1];          /* which; POLICY: as its author likes */
    struct durability_policy policy;              /* after it */
    char released_site[MEMBER_SITE_SIZE_MAX + 1]; /* after it; "" = none; RELEASE: `site` */
    char who[DURABILITY_WHO_SIZE_MAX + 1];
    char why[DURABILITY_WHY_SIZE_MAX + 1];
};

/* What is in force without an entry: number 0, SYNC, automatic, the defaults. */
void durability_entry_default(struct durability_entry *out);

/* STATUS_INVALID: a field is out of its range, a text is empty (who, why; site, but of a
 * POLICY), too long, no UTF-8 or has control characters; the mode does not fit the kind. */
enum status durability_entry_encode(const struct durability_entry *entry,
                                    uint8_t out_bytes[DURABILITY_ENTRY_SIZE]);
/* Any bytes. STATUS_VERSION: a newer build wrote it; STATUS_INVALID: not what encode writes. */
enum status durability_entry_decode(const void *bytes, size_t size, struct durability_entry *out);

/* STATUS_INVALID: out_reason (static; unchanged when all is well) says which field, and its range.
 */
enum status durability_policy_check(const struct durability_policy *policy,
                                    const char **out_reason);

/* What the mode of the log needs to know of a payload, without judging the rest. False: it changes
 * no mode (a policy, or not understood). */
static inline bool durability_entry_sets_mode(const void *bytes, size_t size,
                                              enum durability_mode *out_mode)
{
    const uint8_t *payload = (const uint8_t *)bytes;
    if (size < 3 || payload[0] != DURABILITY_ENTRY_VERSION ||
        (payload[1] != DURABILITY_DEGRADE && payload[1] != DURABILITY_RETURN))
        return false;
    *out_mode = payload[1] == DURABILITY_DEGRADE ? DURABILITY_DEGRADED : DURABILITY_SYNC;
    return true;
}

/* "sync", "degraded"; "none", "degrade", "return", "policy", "release"; "auto", "never",
 * "operator"; "alarm", "refuse". Static, never NULL; "?" for unknown values. */
const char *durability_mode_text(enum durability_mode mode);
const char *durability_kind_text(enum durability_kind kind);
const char *durability_decision_text(enum durability_decision decision);
const char *durability_on_bound_text(enum durability_on_bound on_bound);
/* The inverse of the last two. False: no such word. */
bool durability_decision_parse(const char *text, enum durability_decision *out);
bool durability_on_bound_parse(const char *text, enum durability_on_bound *out);

#endif
