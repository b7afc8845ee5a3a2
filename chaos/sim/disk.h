/*
 * A virtual disk: one per host, with directories by path, behind `struct files`.
 *
 * It knows what a disk owes: bytes are durable after sync of their file, names after sync of their
 * directory, nothing else. Between two syncs the kernel may write back anything at any time, so at
 * a power loss each unsynced sector, or page, each new size and each new name is kept or lost by a
 * coin of its own. A process that dies loses nothing that it had written.
 *
 * Faults are fields: the nemesis sets them, the host looks at `stuck_until_ns` before it lets a
 * job step, and at `cost_ns` for what the loop's own calls took.
 */
#ifndef TALLY_CHAOS_SIM_DISK_H
#define TALLY_CHAOS_SIM_DISK_H

#include "chaos/sim/draw.h"
#include "chaos/sim/world.h"
#include "storage/files.h"

#define DISK_NAME_SIZE   160
#define DISK_DAMAGE_SIZE 256

struct disk_name;
struct file;

struct disk {
    struct world *world;
    struct draw draw;
    struct disk_name *names;
    uint32_t name_count, name_capacity;
    /* ---- latency ---- */
    uint64_t sync_ns;        /* of a sync on a good day; other calls take a tenth of it */
    uint64_t cost_ns;        /* of the calls since the host set it to 0 */
    uint64_t stuck_until_ns; /* calls answer only then */
    uint32_t slow_factor;    /* latencies times this; 1 */
    /* ---- faults ---- */
    bool dead;               /* the process is dead: every call fails */
    uint32_t halt_in;        /* > 0: after so many further changes the process is dead */
    uint32_t fail_in;        /* > 0: the n-th further change fails with STATUS_IO */
    bool failed;             /* a call has failed because of fail_in */
    uint32_t fail_per_mille; /* > 0: of changes and reads */
    uint32_t misdirect_in;   /* > 0: the n-th further write lands somewhere else, and says OK */
    char misdirected[DISK_DAMAGE_SIZE]; /* what did, in words; "" = nothing */
    bool sync_off;                      /* planted fault: sync says OK and does nothing */
    uint64_t capacity;                  /* bytes of all files */
    uint64_t used;                      /* by names seen */
    /* ---- counters ---- */
    uint64_t sync_total, write_total, lost_total, fail_total;
};

void disk_init(struct disk *disk, struct world *world, uint64_t seed, uint64_t number);
void disk_deinit(struct disk *disk);

/* As in struct environment. */
enum status disk_open_directory(struct disk *disk, const char *path, struct files *out_files);
void disk_close_directory(struct files *files);
enum status disk_make_directory(struct disk *disk, const char *path);
enum status disk_find_directory(struct disk *disk, const char *path);
enum status disk_remove_directory(struct disk *disk, const char *path);
enum status disk_rename_directory(struct disk *disk, const char *from, const char *to);
enum status disk_sync_parent(struct disk *disk, const char *path);

/* The process has ended and closed its files: faults of that process are over. */
void disk_restart(struct disk *disk);
/* The power failed, too. */
void disk_power_loss(struct disk *disk);
/* A new disk. */
void disk_wipe(struct disk *disk);

#endif
