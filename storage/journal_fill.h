/*
 * A journal filled by somebody who is not consensus: the first entries of a new directory, or the
 * entries that a peer sent. One thread does all of it, there is no loop: the calls step the
 * journal's jobs themselves and return when the disk has answered.
 */
#ifndef TALLY_STORAGE_JOURNAL_FILL_H
#define TALLY_STORAGE_JOURNAL_FILL_H

#include "storage/journal.h"

struct journal_fill;

/* Opens a journal made by journal_create() or journal_create_at(). The wake functions of `options`
 * are not used; its files, clock and random source stay borrowed until the close. As
 * journal_open(). */
enum status journal_fill_open(const struct journal_options *options, struct journal_fill **out_fill,
                              struct journal_damage *out_damage);
/* Appends and syncs; indexes go on from the last one. STATUS_DISK_FULL: no room for a further
 * segment, nothing was appended. STATUS_INVALID: larger than a segment. Others: the journal has
 * failed. */
enum status journal_fill_append(struct journal_fill *fill, const struct journal_entry *entries,
                                uint32_t count);
/* To read and to ask it; the same thread. */
struct journal *journal_fill_journal(struct journal_fill *fill);
/* Seals, syncs, closes. STATUS_OK, or the failure that kept it from doing so; closed in any case.
 * `out_position` (may be NULL) is the end's. */
enum status journal_fill_close(struct journal_fill *fill, struct journal_position *out_position);

#endif
