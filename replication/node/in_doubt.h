/*
 * Requests in doubt: accepted here or found in the log, and perhaps never answered, because a
 * leader was lost around them. In memory, bounded; what became of each is asked of the ledger when
 * somebody looks. Loop thread.
 */
#ifndef TALLY_REPLICATION_IN_DOUBT_H
#define TALLY_REPLICATION_IN_DOUBT_H

#include "core/command.h"
#include "storage/journal.h"

#include <stdbool.h>

/* The newest so many are remembered: half a MiB. */
#define IN_DOUBT_ROWS 8192

enum in_doubt_how {
    IN_DOUBT_UNANSWERED = 1, /* this node told its client that the outcome is unknown */
    IN_DOUBT_CLIENT_GONE =
        2,                  /* the client did not wait for the end, and a leader was lost meanwhile
                             */
    IN_DOUBT_INHERITED = 4, /* in an entry of a leader that is gone; it may or may not have answered
                             */
};

struct in_doubt_row {
    uint8_t nonce[16];
    uint64_t issued_at_ns;
    uint64_t seen_ns;   /* the wall clock when it was noted */
    uint64_t index;     /* of its entry; 0: not known */
    uint32_t principal; /* ordinal of the caller's row */
    uint32_t event_count;
    uint16_t operation;
    uint16_t how; /* enum in_doubt_how */
};

struct in_doubt {
    struct in_doubt_row *rows; /* IN_DOUBT_ROWS; row k at k % IN_DOUBT_ROWS */
    uint64_t count;            /* ever noted */
    uint64_t since_ns;         /* nothing is known from before: the wall clock at the start */
    /* When nobody led, or another leader was seen, for the last time; monotonic, 0 = never. */
    uint64_t disturbed_ns;
    uint64_t seen_term;
};

/* STATUS_NO_MEMORY. */
enum status in_doubt_init(struct in_doubt *doubt, uint64_t wall_ns);
void in_doubt_deinit(struct in_doubt *doubt);

/* Once per turn. */
void in_doubt_follow(struct in_doubt *doubt, uint64_t term, bool led, uint64_t now_ns);
/* Whether a leader was lost after `since_ns` (monotonic). */
bool in_doubt_disturbed(const struct in_doubt *doubt, uint64_t since_ns);

void in_doubt_note(struct in_doubt *doubt, const struct request_header *request, uint64_t index,
                   enum in_doubt_how how, uint64_t wall_ns);
/* All requests of a committed entry (a JOURNAL_COMMAND; others are ignored). */
void in_doubt_inherit(struct in_doubt *doubt, const struct journal_entry *entry, uint64_t wall_ns);

/* The first row at or behind number *position that was noted at or after `since_ns` (wall clock),
 * and its number behind it in *position. NULL: no more. */
const struct in_doubt_row *in_doubt_next(const struct in_doubt *doubt, uint64_t since_ns,
                                         uint64_t *position);
/* How many were forgotten for want of room. */
uint64_t in_doubt_forgotten(const struct in_doubt *doubt);

#endif
