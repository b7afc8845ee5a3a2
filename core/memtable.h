/*
 * What one epoch gathers in RAM: transfers and requests in the order they were made, each with a
 * hash index. There are two; see epoch.c. Append only until cleared as a whole.
 */
#ifndef TALLY_CORE_MEMTABLE_H
#define TALLY_CORE_MEMTABLE_H

#include "core/hash_index.h"
#include "core/record.h"

#include <stdbool.h>

#define MEMTABLE_NONE UINT32_MAX

struct memtable {
    uint64_t transfer_first; /* sequence number of transfers[0] */
    uint32_t transfer_count;
    uint32_t transfer_count_max;
    struct transfer_record *transfers;
    struct hash_index transfer_by_id;

    uint64_t request_first;
    uint32_t request_count;
    uint32_t request_count_max;
    struct request_record *requests;
    struct hash_index request_by_nonce;
    uint32_t *answer_offsets;
    uint8_t *answers;
    uint32_t answer_bytes;
    uint32_t answer_bytes_max;
};

static inline const struct transfer_record *
memtable_transfer_find(const struct memtable *memtable, const struct id128 *id, uint64_t hash)
{
    struct hash_probe probe = hash_index_begin(&memtable->transfer_by_id, hash);
    uint32_t i;
    while ((i = hash_index_next(&memtable->transfer_by_id, &probe)) != HASH_INDEX_END) {
        if (id128_equal(&memtable->transfers[i].id, id))
            return &memtable->transfers[i];
    }
    return NULL;
}

/* Transfer by sequence number, or NULL when it is not in this memtable. */
const struct transfer_record *memtable_transfer_at(const struct memtable *memtable,
                                                   uint64_t sequence);

/* Appends and indexes a transfer whose id is in no memtable and not in the past. Invariant: room.
 */
void memtable_transfer_add(struct memtable *memtable, const struct transfer_record *record,
                           uint64_t hash);

/* Position of the latest request with this (principal, nonce), or MEMTABLE_NONE. */
uint32_t memtable_request_find(const struct memtable *memtable, uint32_t principal_name,
                               const uint8_t nonce[16], uint64_t hash);

/* Appends and indexes a request; it hides an earlier one with its (principal, nonce), which must
 * have expired. `answer` has record->answer_size bytes. Invariant: room. */
void memtable_request_add(struct memtable *memtable, const struct request_record *record,
                          const uint8_t *answer, uint64_t hash);

/* Forgets everything and begins anew at these sequence numbers. */
void memtable_clear(struct memtable *memtable, uint64_t transfer_first, uint64_t request_first);

#endif
