/*
 * Raft's term and vote: tiny, written often, so apart from the big environment. Two slots written
 * in turn, each with a checksum and a number; the newer valid one counts. A write error is
 * fail-stop.
 */
#ifndef TALLY_STORAGE_HARD_STATE_H
#define TALLY_STORAGE_HARD_STATE_H

#include "storage/files.h"

struct hard_state {
    uint64_t term;
    uint64_t vote; /* node id, 0 = none */
};

/* File "hard_state". create: term 0 and no vote; STATUS_EXISTS. read: STATUS_NOT_FOUND,
 * STATUS_VERSION, STATUS_CORRUPT when either slot is damaged (no torn write leaves one invalid, and
 * the other alone cannot tell whether a vote is missing). What it returns is durable: it writes,
 * too. */
enum status hard_state_create(const struct files *files);
enum status hard_state_read(const struct files *files, struct hard_state *out);
/* Durable when it returns. Invariant: the term never goes back, and a vote given in a term stays.
 * Any other status than STATUS_OK is fail-stop. */
enum status hard_state_write(const struct files *files, const struct hard_state *state);

#endif
