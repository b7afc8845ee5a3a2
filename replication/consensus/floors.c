/*
 * The table of floors: small, sorted, and never lowered. It has room for as many members as a
 * cluster may have; whoever leaves makes room by floors_keep().
 */
#include "replication/consensus/floors.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are copied as they are");

static bool is_incarnation(const struct floor *floor, const uint8_t incarnation[16])
{
    return memcmp(floor->incarnation, incarnation, sizeof floor->incarnation) == 0;
}

const struct floor *floors_find(const struct floors *floors, uint64_t node_id,
                                const uint8_t incarnation[16])
{
    for (uint32_t i = 0; i < floors->count; i++)
        if (floors->floors[i].node_id == node_id && is_incarnation(&floors->floors[i], incarnation))
            return &floors->floors[i];
    return NULL;
}

bool floors_raise(struct floors *floors, const struct floor *floor)
{
    uint32_t place = 0;
    while (place < floors->count && floors->floors[place].node_id < floor->node_id)
        place++;
    struct floor *known = &floors->floors[place];
    if (place < floors->count && known->node_id == floor->node_id) {
        if (is_incarnation(known, floor->incarnation) && floor->index <= known->index)
            return false;
    } else {
        if (floors->count == MEMBERS_MAX)
            return false;
        memmove(known + 1, known, (floors->count - place) * sizeof *known);
        floors->count++;
    }
    *known = *floor;
    floors->changes++;
    return true;
}

static bool is_listed(const struct floor *floor, const struct member *members, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (members[i].node_id == floor->node_id && is_incarnation(floor, members[i].incarnation))
            return true;
    return false;
}

void floors_keep(struct floors *floors, const struct member *members, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < floors->count; i++)
        if (is_listed(&floors->floors[i], members, count))
            floors->floors[kept++] = floors->floors[i];
    if (kept == floors->count)
        return;
    floors->count = kept;
    floors->changes++;
}

/* ---- bytes ---- */

void floors_at(const void *bytes, uint32_t place, struct floor *out)
{
    memcpy(out, (const uint8_t *)bytes + place * sizeof *out, sizeof *out);
}

bool floors_are_sound(const void *bytes, uint32_t count)
{
    if (count > MEMBERS_MAX)
        return false;
    struct floor floor;
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++, before = floor.node_id) {
        floors_at(bytes, i, &floor);
        if (floor.node_id <= before || floor.node_id > (uint64_t)INT64_MAX || floor.index == 0 ||
            floor.index > UINT64_MAX / 2 || floor.term == 0 || floor.term > UINT64_MAX / 2)
            return false;
    }
    return true;
}
