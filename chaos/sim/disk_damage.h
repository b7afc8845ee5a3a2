/*
 * A disk that does not keep what it was given: bits that change at rest, a write that lands
 * somewhere else, a disk that is put back to an old image. It says OK to all of it.
 *
 * The store's files are left alone: their twin here finds its damage by checksums that LMDB does
 * not have, so what it would show proves nothing about the real ones.
 */
#ifndef TALLY_CHAOS_SIM_DISK_DAMAGE_H
#define TALLY_CHAOS_SIM_DISK_DAMAGE_H

#include "chaos/sim/disk.h"

struct disk_image;
struct inode;

/* Changes one to three bits of one page at rest; `out` says where. False: there is none. */
bool disk_rot(struct disk *disk, struct draw *draw, char out[DISK_DAMAGE_SIZE]);

/* Counts misdirect_in down; true: this was the one, and its bytes are somewhere else. */
bool disk_misdirect(struct disk *disk, struct inode *inode, const void *bytes, size_t size,
                    uint64_t offset);

/* What a power loss at this moment would leave if nothing unsynced survived. */
struct disk_image *disk_image_take(const struct disk *disk);
/* The disk is what it was then. The process must be dead. */
void disk_image_restore(struct disk *disk, const struct disk_image *image);
void disk_image_destroy(struct disk_image *image); /* NULL: nothing */

#endif
