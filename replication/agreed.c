/*
 * The codec of what is kept beside the log. Sizes are checked against what fits, contents where
 * somebody can tell what to do about it: the configuration at the start (raft_io_load.c), with
 * words for the operator; the durability entry here, because it has one encoding.
 */
#include "replication/agreed.h"

#include "core/invariant.h"

#include <assert.h>
#include <string.h>

enum { AT_CONFIGURATION_INDEX = 0, AT_DURABILITY_INDEX = 8, AT_DURABILITY = 16 };
static_assert(AT_DURABILITY + DURABILITY_ENTRY_SIZE + MEMBER_TABLE_BYTES_MAX <=
                  JOURNAL_CONFIGURATION_SIZE_MAX,
              "the longest table and an entry fit into an anchor");

static void put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

void agreed_init(struct agreed *out)
{
    memset(out, 0, sizeof *out);
    durability_entry_default(&out->durability);
}

size_t agreed_encode(const struct agreed *agreed, uint8_t out_bytes[JOURNAL_CONFIGURATION_SIZE_MAX])
{
    if (agreed->configuration_index == 0 && agreed->durability_index == 0)
        return 0;
    invariant_values(agreed->configuration_size <= MEMBER_TABLE_BYTES_MAX,
                     agreed->configuration_size, agreed->configuration_index);
    uint8_t *out = out_bytes;
    put_u64(out + AT_CONFIGURATION_INDEX, agreed->configuration_index);
    put_u64(out + AT_DURABILITY_INDEX, agreed->durability_index);
    out += AT_DURABILITY;
    if (agreed->durability_index != 0) {
        enum status status = durability_entry_encode(&agreed->durability, out);
        invariant_values(status == STATUS_OK, status, agreed->durability_index);
        out += DURABILITY_ENTRY_SIZE;
    }
    memcpy(out, agreed->configuration, agreed->configuration_size);
    return (size_t)(out - out_bytes) + agreed->configuration_size;
}

enum status agreed_decode(const void *bytes, size_t size, struct agreed *out)
{
    struct agreed agreed;
    const uint8_t *in = bytes;
    agreed_init(&agreed);
    if (size == 0) {
        *out = agreed;
        return STATUS_OK;
    }
    if (size < AT_DURABILITY)
        return STATUS_INVALID;
    agreed.configuration_index = get_u64(in + AT_CONFIGURATION_INDEX);
    agreed.durability_index = get_u64(in + AT_DURABILITY_INDEX);
    in += AT_DURABILITY;
    size -= AT_DURABILITY;
    if (agreed.durability_index != 0) {
        if (size < DURABILITY_ENTRY_SIZE)
            return STATUS_INVALID;
        enum status status = durability_entry_decode(in, DURABILITY_ENTRY_SIZE, &agreed.durability);
        if (status != STATUS_OK)
            return status;
        in += DURABILITY_ENTRY_SIZE;
        size -= DURABILITY_ENTRY_SIZE;
    }
    if (agreed.configuration_index == 0 && agreed.durability_index == 0)
        return STATUS_INVALID; /* nothing known is no bytes at all */
    if (size > MEMBER_TABLE_BYTES_MAX || (size == 0) != (agreed.configuration_index == 0))
        return STATUS_INVALID;
    agreed.configuration_size = (uint32_t)size;
    memcpy(agreed.configuration, in, size);
    *out = agreed;
    return STATUS_OK;
}

bool agreed_take(struct agreed *agreed, const struct journal_entry *entry)
{
    if (entry->type == JOURNAL_CONFIGURATION && entry->index > agreed->configuration_index &&
        entry->size > 0 && entry->size <= MEMBER_TABLE_BYTES_MAX) {
        agreed->configuration_index = entry->index;
        agreed->configuration_size = entry->size;
        memcpy(agreed->configuration, entry->payload, entry->size);
        return true;
    }
    if (entry->type == JOURNAL_DURABILITY && entry->index > agreed->durability_index &&
        durability_entry_decode(entry->payload, entry->size, &agreed->durability) == STATUS_OK) {
        agreed->durability_index = entry->index;
        return true;
    }
    return false;
}

void agreed_merge(struct agreed *agreed, const struct agreed *other)
{
    if (other->configuration_index > agreed->configuration_index) {
        agreed->configuration_index = other->configuration_index;
        agreed->configuration_size = other->configuration_size;
        memcpy(agreed->configuration, other->configuration, other->configuration_size);
    }
    if (other->durability_index > agreed->durability_index) {
        agreed->durability_index = other->durability_index;
        agreed->durability = other->durability;
    }
}
