/*
 * All disks are put back to images of one moment, as after a restore of every machine from the same
 * backup: nobody inside can know it, since all that would tell is older, too. Outside somebody can:
 * a client that names the index it has seen is not answered below it (L2 in docs/guarantees.md).
 */
#ifndef TALLY_CHAOS_SIM_OLD_IMAGES_H
#define TALLY_CHAOS_SIM_OLD_IMAGES_H

#include "chaos/sim/host.h"
#include "chaos/sim/oracle.h"

struct old_images {
    /* ---- filled in ---- */
    struct world *world;
    struct network *network;
    struct host *hosts;
    uint32_t host_count;
    const struct oracle *oracle;
    /* ---- ours ---- */
    struct disk_image *image[HOSTS_MAX];
    uint64_t seen_index; /* by clients, before the disks are put back */
    uint32_t asked, refused, answered, pending;
    bool restored;
    bool noticed; /* a node did not start, or stopped */
};

/* Now, while all is well. */
void old_images_take(struct old_images *images);
/* All hosts are dead: their disks are put back, they start, and clients ask. */
void old_images_restore(struct old_images *images);
void old_images_deinit(struct old_images *images);

#endif
