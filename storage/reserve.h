/*
 * The disk reserve: a file of fixed size allocated at init, and a watermark of free space. When
 * free space falls below the watermark the node goes read-only with an alarm, while the reserve
 * still lets the journal close and the last checkpoint be written.
 */
#ifndef TALLY_STORAGE_RESERVE_H
#define TALLY_STORAGE_RESERVE_H

#include "storage/files.h"

/* Makes sure file "reserve" has `size` bytes; STATUS_DISK_FULL when it cannot be (re)built. */
enum status reserve_ensure(const struct files *files, uint64_t size);
/* Gives the space back to the file system, for a last checkpoint. */
enum status reserve_release(const struct files *files);
/* True in *out_low when free space is below `watermark_bytes`. */
enum status reserve_check(const struct files *files, uint64_t watermark_bytes, bool *out_low,
                          uint64_t *out_free);

#endif
