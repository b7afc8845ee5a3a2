/* What the files of the virtual disk share. */
#ifndef TALLY_CHAOS_SIM_DISK_INTERNAL_H
#define TALLY_CHAOS_SIM_DISK_INTERNAL_H

#include "chaos/sim/disk.h"
#include "chaos/sim/disk_inode.h"

struct disk_name {
    char path[DISK_NAME_SIZE];
    struct inode *seen;
    struct inode *durable;
};

#endif
