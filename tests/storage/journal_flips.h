/* Flipping single bits of a journal in memory and asking the real journal_verify() each time. */
#ifndef TALLY_TESTS_JOURNAL_FLIPS_H
#define TALLY_TESTS_JOURNAL_FLIPS_H

#include "tests/storage/journal_rig.h"

struct journal_flips {
    struct rig rig;
    const char *name; /* segment that is flipped */
    uint8_t *bytes;
    uint64_t size;
    /* Per 64 bytes of the file: offset of the record that they belong to, and the first entry that
     * is not proven when that record is damaged. */
    uint64_t *offsets;
    uint64_t *indexes;
    uint64_t padding; /* offset behind the last record */
};

/* A journal whose first segment is full and closed and whose second one was stopped cleanly.
 * `second`: flip that one instead. Entries of 0 .. payload_max bytes. */
void journal_flips_init(struct journal_flips *flips, uint64_t segment_size, uint32_t payload_max,
                        bool second);
void journal_flips_deinit(struct journal_flips *flips);

/* Flips bit `bit` (counted from the file's first byte), verifies, flips it back. NULL when it was
 * found in the right segment at the right record with the right index; words otherwise. */
const char *journal_flips_try(struct journal_flips *flips, uint64_t bit);

#endif
