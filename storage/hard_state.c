/*
 * Raft's term and vote in two slots of one file.
 *
 *   file "hard_state", 8192 bytes        slot, 4096 bytes, little-endian
 *   0     slot of even numbers           0   magic "TALLYHST"
 *   4096  slot of odd numbers            8   version u32 = 1, reserved u32 = 0
 *                                        16  number u64, +1 with every write
 *                                        24  term u64
 *                                        32  vote u64
 *                                        40  reserved u64 = 0
 *                                        48  checksum, XXH3-128 over the slot with this field zero
 *                                        64  zeros
 *
 * A write goes into the slot of the older number and is synced. What changes lies within the first
 * 512 bytes, so after a power loss the slot holds the old number or the new one whole. Hence both
 * slots are valid, with numbers one apart, at every moment; anything else is damage, and which of
 * the two is newer can no longer be told from the valid one alone. Falling back to the older slot
 * could forget a vote that was given, and two leaders in one term lose money. So it refuses.
 *
 * Reading writes the newer slot again and syncs: the process before may have died between its write
 * and its sync, or after a sync that failed, and its bytes may be in memory only.
 */
#include "storage/hard_state.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <stddef.h>
#include <string.h>
#include <xxhash.h>

#define NAME      "hard_state"
#define SLOT_SIZE 4096u
#define VERSION   1u

static const uint8_t magic[8] = {'T', 'A', 'L', 'L', 'Y', 'H', 'S', 'T'};

struct slot {
    uint8_t magic[8];
    uint32_t version;
    uint32_t reserved_0;
    uint64_t number;
    uint64_t term;
    uint64_t vote;
    uint64_t reserved_1;
    uint8_t checksum[16];
    uint8_t zeros[SLOT_SIZE - 64];
};

_Static_assert(sizeof(struct slot) == SLOT_SIZE, "format");
_Static_assert(offsetof(struct slot, checksum) == 48, "format");

static void slot_checksum(const struct slot *slot, uint8_t out[16])
{
    struct slot copy = *slot;
    memset(copy.checksum, 0, sizeof copy.checksum);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(&copy, sizeof copy));
    memcpy(out, canonical.digest, sizeof canonical.digest);
}

static void slot_make(struct slot *slot, uint64_t number, const struct hard_state *state)
{
    memset(slot, 0, sizeof *slot);
    memcpy(slot->magic, magic, sizeof magic);
    slot->version = VERSION;
    slot->number = number;
    slot->term = state->term;
    slot->vote = state->vote;
    slot_checksum(slot, slot->checksum);
}

static enum status slot_check(const struct slot *slot, size_t place)
{
    uint8_t checksum[16];
    slot_checksum(slot, checksum);
    if (memcmp(slot->magic, magic, sizeof magic) != 0 ||
        memcmp(slot->checksum, checksum, sizeof checksum) != 0)
        return STATUS_CORRUPT;
    if (slot->version != VERSION)
        return STATUS_VERSION;
    return slot->number % 2 == place ? STATUS_OK : STATUS_CORRUPT;
}

/* Reads both slots; *out_newer is the one that counts. */
static enum status read_slots(const struct files *files, struct file *file, struct slot *out_newer)
{
    struct slot slots[2];
    uint64_t size;
    enum status status = files->size(files->context, file, &size);
    if (status != STATUS_OK)
        return status;
    if (size != sizeof slots)
        return STATUS_CORRUPT;
    status = files->read(files->context, file, slots, sizeof slots, 0);
    for (size_t i = 0; status == STATUS_OK && i < 2; i++)
        status = slot_check(&slots[i], i);
    if (status != STATUS_OK)
        return status;
    const struct slot *newer = slots[0].number > slots[1].number ? &slots[0] : &slots[1];
    const struct slot *older = newer == &slots[0] ? &slots[1] : &slots[0];
    if (newer->number != older->number + 1 || newer->term < older->term)
        return STATUS_CORRUPT;
    *out_newer = *newer;
    return STATUS_OK;
}

static enum status write_slot(const struct files *files, struct file *file, const struct slot *slot)
{
    const enum status status =
        files->write(files->context, file, slot, sizeof *slot, slot->number % 2 * SLOT_SIZE);
    if (planted(PLANTED_VOTE_NOT_SYNCED) && slot->vote != 0)
        return status;
    return status == STATUS_OK ? files->sync(files->context, file) : status;
}

enum status hard_state_create(const struct files *files)
{
    struct file *file = NULL;
    const enum status exists = files->open(files->context, NAME, FILE_READ, &file);
    if (exists == STATUS_OK) {
        files->close(files->context, file);
        return STATUS_EXISTS;
    }
    if (exists != STATUS_NOT_FOUND)
        return exists;
    const struct hard_state state = {0};
    struct slot slots[2];
    slot_make(&slots[0], 2, &state);
    slot_make(&slots[1], 1, &state);
    return files_replace(files, NAME, slots, sizeof slots);
}

enum status hard_state_read(const struct files *files, struct hard_state *out)
{
    struct file *file = NULL;
    enum status status = files->open(files->context, NAME, FILE_WRITE, &file);
    if (status != STATUS_OK)
        return status;
    struct slot newer;
    status = read_slots(files, file, &newer);
    if (status == STATUS_OK)
        status = write_slot(files, file, &newer);
    files->close(files->context, file);
    if (status == STATUS_OK)
        *out = (struct hard_state){.term = newer.term, .vote = newer.vote};
    return status;
}

enum status hard_state_write(const struct files *files, const struct hard_state *state)
{
    struct file *file = NULL;
    enum status status = files->open(files->context, NAME, FILE_WRITE, &file);
    if (status != STATUS_OK)
        return status;
    struct slot newer;
    status = read_slots(files, file, &newer);
    if (status == STATUS_OK) {
        invariant_values(state->term >= newer.term, state->term, newer.term);
        if (state->term == newer.term && newer.vote != 0)
            invariant_values(state->vote == newer.vote, state->vote, newer.vote);
        struct slot slot;
        slot_make(&slot, newer.number + 1, state);
        status = write_slot(files, file, &slot);
    }
    files->close(files->context, file);
    return status;
}
