/* The memtables' rare and writing half. The index over requests points to the latest of several
 * with one (principal, nonce): in an epoch longer than the window a nonce may come back. */
#include "core/memtable.h"

#include "core/invariant.h"

const struct transfer_record *memtable_transfer_at(const struct memtable *memtable,
                                                   uint64_t sequence)
{
    if (sequence < memtable->transfer_first)
        return NULL;
    uint64_t i = sequence - memtable->transfer_first;
    return i < memtable->transfer_count ? &memtable->transfers[i] : NULL;
}

void memtable_transfer_add(struct memtable *memtable, const struct transfer_record *record,
                           uint64_t hash)
{
    invariant_values(memtable->transfer_count < memtable->transfer_count_max,
                     memtable->transfer_count, memtable->transfer_count_max);
    memtable->transfers[memtable->transfer_count] = *record;
    hash_index_add(&memtable->transfer_by_id, hash, memtable->transfer_count);
    memtable->transfer_count++;
}

static uint32_t memtable_request_probe(const struct memtable *memtable, uint32_t principal_name,
                                       const uint8_t nonce[16], struct hash_probe *probe)
{
    uint32_t i;
    while ((i = hash_index_next(&memtable->request_by_nonce, probe)) != HASH_INDEX_END) {
        const struct request_record *request = &memtable->requests[i];
        if (request->principal_name == principal_name &&
            memcmp(request->nonce, nonce, sizeof request->nonce) == 0)
            return i;
    }
    return MEMTABLE_NONE;
}

uint32_t memtable_request_find(const struct memtable *memtable, uint32_t principal_name,
                               const uint8_t nonce[16], uint64_t hash)
{
    struct hash_probe probe = hash_index_begin(&memtable->request_by_nonce, hash);
    return memtable_request_probe(memtable, principal_name, nonce, &probe);
}

void memtable_request_add(struct memtable *memtable, const struct request_record *record,
                          const uint8_t *answer, uint64_t hash)
{
    uint32_t i = memtable->request_count;
    invariant_values(i < memtable->request_count_max, i, memtable->request_count_max);
    uint32_t answer_room = memtable->answer_bytes_max - memtable->answer_bytes;
    invariant_values(record->answer_size <= answer_room, record->answer_size, answer_room);

    struct hash_probe probe = hash_index_begin(&memtable->request_by_nonce, hash);
    uint32_t hidden =
        memtable_request_probe(memtable, record->principal_name, record->nonce, &probe);
    memtable->requests[i] = *record;
    memtable->answer_offsets[i] = memtable->answer_bytes;
    if (record->answer_size > 0)
        memcpy(memtable->answers + memtable->answer_bytes, answer, record->answer_size);
    memtable->answer_bytes += record->answer_size;
    if (hidden == MEMTABLE_NONE)
        hash_index_add(&memtable->request_by_nonce, hash, i);
    else
        hash_index_replace(&memtable->request_by_nonce, &probe, i);
    memtable->request_count++;
}

void memtable_clear(struct memtable *memtable, uint64_t transfer_first, uint64_t request_first)
{
    hash_index_clear(&memtable->transfer_by_id);
    hash_index_clear(&memtable->request_by_nonce);
    memtable->transfer_first = transfer_first;
    memtable->transfer_count = 0;
    memtable->request_first = request_first;
    memtable->request_count = 0;
    memtable->answer_bytes = 0;
}
