/*
 * The store's mapping, given back.
 *
 * LMDB reads through a mapping of the whole file, and the kernel takes mapped pages away from a
 * process only when the machine runs short. Upkeep walks through all id runs in time, so a node
 * would seem to grow by the size of its store: an operator cannot tell that from a leak, and a
 * limit of a control group counts it. So in an epoch and after it, after the walk through all
 * chunks at open, and now and then between look-ups, mappings above STORE_RESIDENT_BYTES are
 * dropped. The bytes stay in the page cache, where a next read finds them for a minor fault;
 * nothing is written, nothing is lost, and a transaction that reads meanwhile faults its page in
 * again.
 *
 * Look-ups by id touch pages all over the file. Where the page cache holds it in large folios the
 * kernel would map up to 2 MiB for each of them (seen: 400 MiB within a second, half of it in such
 * pieces), so the mapping is kept to small pages.
 *
 * LMDB does not tell where its map is. The kernel does (/proc/self/maps, by device and inode).
 * Without /proc nothing is dropped: this is a convenience.
 */
#include "storage/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void store_resident_find(struct store *store)
{
    mdb_filehandle_t fd;
    struct stat file;
    if (mdb_env_get_fd(store->env, &fd) != 0 || fstat(fd, &file) != 0)
        return;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return;
    char line[512];
    while (store->map == NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t begin, end;
        unsigned major_number, minor_number;
        uint64_t inode;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %x:%x %" SCNu64, &begin, &end,
                   &major_number, &minor_number, &inode) == 5 &&
            inode == file.st_ino && makedev(major_number, minor_number) == file.st_dev) {
            store->map = (void *)begin;
            store->map_size = end - begin;
            (void)madvise(store->map, store->map_size, MADV_NOHUGEPAGE); /* kernels may lack it */
        }
    }
    (void)fclose(maps); /* only read */
}

/* Of all files of the process; other mappings are programs and libraries, a few MiB. */
static uint64_t resident_file_bytes(void)
{
    uint64_t shared = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*s %*s %" SCNu64, &shared) != 1)
        shared = 0;
    (void)fclose(statm); /* only read */
    return shared * (uint64_t)sysconf(_SC_PAGESIZE);
}

void store_resident_trim(struct store *store, uint64_t limit_bytes)
{
    if (store->map != NULL && resident_file_bytes() > limit_bytes)
        (void)madvise(store->map, store->map_size, MADV_DONTNEED); /* a convenience */
}

/* A look-up touches a chunk of 64 KiB in each of up to some twenty runs: 40 MiB in all. */
#define READS_BETWEEN_LOOKS 16

void store_resident_read(struct store *store)
{
    if (++store->reads < READS_BETWEEN_LOOKS)
        return;
    store->reads = 0;
    store_resident_trim(store, STORE_RESIDENT_BYTES);
}
