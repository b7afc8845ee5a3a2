/*
 * What journal anchors, checkpoints and a witness's note keep of the cluster, because the log that
 * says it may be gone: the newest committed configuration, and the newest committed durability
 * entry. Storage holds these bytes and does not look into them ("configuration" there).
 *
 *      0 u64 index of the configuration's entry
 *      8 u64 index of the durability entry; 0: none was committed
 *     16 that entry, DURABILITY_ENTRY_SIZE bytes; absent where there is none
 *     .. the configuration, as in its entry
 *
 * Little-endian. No bytes at all: nothing is known.
 *
 * Pure: no I/O, any thread.
 */
#ifndef TALLY_REPLICATION_AGREED_H
#define TALLY_REPLICATION_AGREED_H

#include "replication/durability_entry.h"
#include "storage/journal.h"

struct agreed {
    uint64_t configuration_index; /* 0: not known */
    uint64_t durability_index;    /* 0: none */
    uint32_t configuration_size;
    uint8_t configuration[MEMBER_TABLE_BYTES_MAX];
    struct durability_entry durability; /* the default where there is none */
};

/* Nothing known. */
void agreed_init(struct agreed *out);
/* Into out_bytes; returns the size, 0 where nothing is known. Invariant: configuration and entry
 * are such as can be encoded. */
size_t agreed_encode(const struct agreed *agreed,
                     uint8_t out_bytes[JOURNAL_CONFIGURATION_SIZE_MAX]);
/* Any bytes. STATUS_INVALID, STATUS_VERSION: not what encode writes. The configuration itself is
 * not judged, but for its size. */
enum status agreed_decode(const void *bytes, size_t size, struct agreed *out);
/* Takes from a committed entry what is newer than what it has. True: something was. An entry that
 * cannot be read is passed over. */
bool agreed_take(struct agreed *agreed, const struct journal_entry *entry);
/* Takes from another one what is newer there. */
void agreed_merge(struct agreed *agreed, const struct agreed *other);

#endif
