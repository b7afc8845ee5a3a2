/*
 * Replicas compare their state: every DIGEST_INTERVAL entries each of them notes a digest, the
 * leader puts its own into the log, and whoever finds a different one under that index stops for
 * good and quarantines its files. Loop thread.
 */
#ifndef TALLY_REPLICATION_DIGESTS_H
#define TALLY_REPLICATION_DIGESTS_H

#include "core/machine.h"
#include "replication/consensus/consensus.h"
#include "replication/notify.h"
#include "storage/files.h"

/* A multiple of it is noted when it is applied; so many of them are remembered. */
#define DIGEST_INTERVAL 256
#define DIGESTS_KEPT    64

/* In the data directory: it says why these files must not be used. Repair moves it aside. */
#define QUARANTINE_FILE "quarantine"

/* Payload of a JOURNAL_DIGEST entry. */
struct digest_entry {
    uint64_t index;
    uint8_t digest[16];
};
_Static_assert(sizeof(struct digest_entry) == 24, "format");

struct digests {
    /* ---- filled in by the owner ---- */
    const struct notify *notify;
    const struct files *files; /* data directory */
    /* ---- ours ---- */
    struct digest_entry noted[DIGESTS_KEPT]; /* by index / DIGEST_INTERVAL, modulo; 0 = none */
    uint64_t newest;                         /* index; 0 = none since the start */
    uint64_t compared;                       /* newest index found equal; 0 = none */
    uint64_t in_log;                         /* newest index that the log holds a digest of */
    struct digest_entry payload;             /* of the proposal */
    struct consensus_proposal proposal;
    bool proposed; /* and not consumed yet */
};

/* After each applied entry. */
void digests_note(struct digests *digests, const struct machine *machine);
/* A JOURNAL_DIGEST entry was committed. False after a fail-stop: our state differs. */
bool digests_compare(struct digests *digests, const struct journal_entry *entry);
/* As the leader: proposes what is new, one at a time. */
void digests_propose(struct digests *digests, struct consensus *consensus);
/* Ready in a new term: a proposal of an earlier one is settled. */
void digests_begin_term(struct digests *digests);
/* The newest that was noted; NULL when none was. */
const struct digest_entry *digests_newest(const struct digests *digests);

/* Before a fail-stop: the directory is quarantined, durably, and that is told. `text`: why, and
 * what to do, in one line; `what` is the same in short. */
void quarantine_write(const struct files *files, const struct notify *notify, const char *what,
                      uint64_t index, const char *text);
/* STATUS_OK when the directory is quarantined; STATUS_NOT_FOUND when it is not. `out_text` holds
 * why, in one line. */
enum status quarantine_read(const struct files *files, char *out_text, size_t capacity);

#endif
