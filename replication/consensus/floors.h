/*
 * What each member is known to have had: for its id and incarnation an entry that it had synced and
 * that is committed. Such an entry is never truncated, so the member's journal has it for ever; one
 * that ends below its floor, or has an entry of another term there, has lost entries. An older
 * floor says less and is as true as a newer one.
 *
 * Pure: no I/O, no libraft, any thread. consensus_floors.c measures, tells and judges;
 * node/floor_file.c keeps them over a restart.
 */
#ifndef TALLY_REPLICATION_FLOORS_H
#define TALLY_REPLICATION_FLOORS_H

#include "core/status.h"
#include "replication/member.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The layout is the format, of the message FLOORS and of the file (peer.md, directory.md). */
struct floor {
    uint64_t node_id;
    uint8_t incarnation[16];
    uint64_t index;
    uint64_t term; /* of that entry */
};

_Static_assert(sizeof(struct floor) == 40, "format");
_Static_assert(offsetof(struct floor, index) == 24, "format");

struct floors {
    struct floor floors[MEMBERS_MAX]; /* by node_id, each once */
    uint32_t count;
    uint64_t changes; /* +1 whenever something here is another than before */
};

/* The floor of this member, or NULL. Borrowed until the next change. */
const struct floor *floors_find(const struct floors *floors, uint64_t node_id,
                                const uint8_t incarnation[16]);
/* The highest that was heard is kept. True: it says more than what was known. A floor of another
 * incarnation of the same id is replaced: the caller knows which one is the member. False as well
 * where there is no place for a further member. */
bool floors_raise(struct floors *floors, const struct floor *floor);
/* Forgets whoever is not one of these. */
void floors_keep(struct floors *floors, const struct member *members, uint32_t count);

/* Any `count` times 40 bytes. False: an id of 0 or beyond a node's, ids not ascending, an index or
 * term that is 0 or near the end of its type, or more than there are members. */
bool floors_are_sound(const void *bytes, uint32_t count);
/* The floor at `place` of such bytes. */
void floors_at(const void *bytes, uint32_t place, struct floor *out);

#endif
