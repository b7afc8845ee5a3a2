/*
 * Entries of a journal as the bytes of one DATA, as many as fit.
 *
 * Whether an entry fits is known only once it was read; one too many makes the reader go back
 * behind the last that did.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"

struct packing {
    uint8_t *out;
    uint32_t used, count;
    uint64_t last_index;
    bool one_too_many; /* the last one read did not fit */
};

static bool pack_entry(void *context, const struct journal_entry *entry)
{
    struct packing *packing = context;
    const size_t size = catch_up_entry_size(entry->size);
    if (size > CATCH_UP_DATA_MAX - packing->used) {
        invariant_values(packing->count > 0, size, entry->index);
        packing->one_too_many = true;
        return false;
    }
    catch_up_entry_encode(entry, packing->out + packing->used);
    packing->used += (uint32_t)size;
    packing->last_index = entry->index;
    packing->count++;
    return packing->count < CATCH_UP_ENTRIES_MAX;
}

enum status catch_up_pack(struct journal_reader *reader, uint64_t after, uint64_t last,
                          uint8_t *out, uint32_t *out_size, uint64_t *out_last,
                          uint8_t out_head[JOURNAL_HASH_SIZE])
{
    struct packing packing = {.out = out, .last_index = after};
    enum status status = STATUS_OK;
    if (after < last)
        status = journal_reader_read(reader, last, pack_entry, &packing, out_head);
    if (status == STATUS_OK && packing.one_too_many) {
        uint64_t term;
        status = journal_reader_seek(reader, packing.last_index, &term, out_head);
    }
    if (status != STATUS_OK)
        return status;
    *out_size = packing.used;
    *out_last = packing.last_index;
    return STATUS_OK;
}
