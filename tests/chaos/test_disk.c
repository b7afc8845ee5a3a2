/* The virtual disk owes what a disk owes, and no more. */
#include "chaos/sim/disk_damage.h"

#include <criterion/criterion.h>
#include <string.h>

struct rig {
    struct world world;
    struct disk disk;
    struct files files;
};

static void rig_init(struct rig *rig, uint64_t seed)
{
    world_init(&rig->world, seed, false, 0);
    disk_init(&rig->disk, &rig->world, seed, 0);
    cr_assert_eq(disk_make_directory(&rig->disk, "/d"), STATUS_OK);
    cr_assert_eq(disk_sync_parent(&rig->disk, "/d"), STATUS_OK);
    cr_assert_eq(disk_open_directory(&rig->disk, "/d", &rig->files), STATUS_OK);
}

static void rig_deinit(struct rig *rig)
{
    disk_close_directory(&rig->files);
    disk_deinit(&rig->disk);
    world_deinit(&rig->world);
}

static struct file *create(struct rig *rig, const char *name)
{
    struct file *file = NULL;
    cr_assert_eq(rig->files.open(rig->files.context, name, FILE_CREATE, &file), STATUS_OK);
    return file;
}

static uint64_t size_of(struct rig *rig, const char *name)
{
    struct file *file = NULL;
    uint64_t size = 0;
    if (rig->files.open(rig->files.context, name, FILE_READ, &file) != STATUS_OK)
        return UINT64_MAX;
    cr_assert_eq(rig->files.size(rig->files.context, file, &size), STATUS_OK);
    rig->files.close(rig->files.context, file);
    return size;
}

/* Bytes and name synced, then more written: the synced part survives every seed, of the rest each
 * sector is old or new, and over many seeds both happen, within one write as well. */
Test(disk, loses_what_was_not_synced_sector_by_sector)
{
    unsigned old_sectors = 0, new_sectors = 0, mixed = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rig rig;
        rig_init(&rig, seed);
        uint8_t bytes[8192], read[8192];
        struct file *file = create(&rig, "a");
        memset(bytes, 1, sizeof bytes);
        rig.files.write(rig.files.context, file, bytes, sizeof bytes, 0);
        cr_assert_eq(rig.files.sync(rig.files.context, file), STATUS_OK);
        cr_assert_eq(rig.files.sync_directory(rig.files.context), STATUS_OK);
        memset(bytes, 2, sizeof bytes);
        rig.files.write(rig.files.context, file, bytes, 4096, 4096);
        rig.files.close(rig.files.context, file);
        disk_power_loss(&rig.disk);
        cr_assert_eq(size_of(&rig, "a"), 8192);
        cr_assert_eq(rig.files.open(rig.files.context, "a", FILE_READ, &file), STATUS_OK);
        cr_assert_eq(rig.files.read(rig.files.context, file, read, sizeof read, 0), STATUS_OK);
        rig.files.close(rig.files.context, file);
        unsigned fresh = 0;
        for (unsigned i = 0; i < sizeof read; i++) {
            cr_assert_eq(read[i], i < 4096 ? 1 : read[i / 512 * 512]);
            fresh += read[i] == 2;
        }
        old_sectors += (4096 - fresh) / 512;
        new_sectors += fresh / 512;
        mixed += fresh > 0 && fresh < 4096;
        rig_deinit(&rig);
    }
    cr_assert_gt(old_sectors, 100);
    cr_assert_gt(new_sectors, 100);
    cr_assert_gt(mixed, 10);
}

/* A file was created and synced, its directory was not: its name may be gone. */
Test(disk, forgets_names_until_the_directory_is_synced)
{
    unsigned lost = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig rig;
        rig_init(&rig, seed);
        struct file *file = create(&rig, "a");
        rig.files.write(rig.files.context, file, "x", 1, 0);
        rig.files.sync(rig.files.context, file);
        rig.files.close(rig.files.context, file);
        disk_power_loss(&rig.disk);
        lost += size_of(&rig, "a") == UINT64_MAX;
        rig_deinit(&rig);
    }
    cr_assert_gt(lost, 5);
    cr_assert_lt(lost, 35);
}

/* A process dies: all it wrote is there; only faults and locks of that process are gone. */
Test(disk, keeps_everything_when_only_the_process_dies)
{
    struct rig rig;
    rig_init(&rig, 1);
    struct file *file = create(&rig, "a"), *lock = NULL, *second = NULL;
    rig.files.write(rig.files.context, file, "xyz", 3, 0);
    cr_assert_eq(rig.files.lock(rig.files.context, "lock", &lock), STATUS_OK);
    cr_assert_eq(rig.files.lock(rig.files.context, "lock", &second), STATUS_LOCKED);
    rig.disk.dead = true;
    cr_assert_eq(rig.files.write(rig.files.context, file, "abc", 3, 0), STATUS_IO);
    rig.files.close(rig.files.context, file);
    rig.files.close(rig.files.context, lock);
    disk_restart(&rig.disk);
    cr_assert_eq(size_of(&rig, "a"), 3);
    cr_assert_eq(rig.files.lock(rig.files.context, "lock", &lock), STATUS_OK);
    rig.files.close(rig.files.context, lock);
    rig_deinit(&rig);
}

/* Replacing a file by rename: after a power loss it is the old one or the new one, whole. */
Test(disk, a_replaced_file_is_old_or_new)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig rig;
        rig_init(&rig, seed);
        cr_assert_eq(files_replace(&rig.files, "a", "old", 3), STATUS_OK);
        rig.disk.halt_in = (uint32_t)(1 + seed % 6);
        (void)files_replace(&rig.files, "a", "newer", 5);
        disk_power_loss(&rig.disk);
        const uint64_t size = size_of(&rig, "a");
        cr_assert(size == 3 || size == 5, "seed %lu: %lu", (unsigned long)seed,
                  (unsigned long)size);
        rig_deinit(&rig);
    }
}

/* A full disk refuses what would grow it and takes what does not. */
Test(disk, is_full_at_its_capacity)
{
    struct rig rig;
    rig_init(&rig, 1);
    struct file *file = create(&rig, "a");
    uint64_t room = 0;
    rig.disk.capacity = 4096;
    cr_assert_eq(rig.files.allocate(rig.files.context, file, 4096), STATUS_OK);
    cr_assert_eq(rig.files.allocate(rig.files.context, file, 4097), STATUS_DISK_FULL);
    cr_assert_eq(rig.files.write(rig.files.context, file, "x", 1, 4096), STATUS_DISK_FULL);
    cr_assert_eq(rig.files.write(rig.files.context, file, "x", 1, 4095), STATUS_OK);
    cr_assert_eq(rig.files.free_space(rig.files.context, &room), STATUS_OK);
    cr_assert_eq(room, 0);
    rig.files.close(rig.files.context, file);
    rig_deinit(&rig);
}

/* A page of zeros over a synced one that is not, and a part of it written before the next sync: the
 * rest is zeros, not what the disk holds. */
Test(disk, writes_into_zeros_that_are_not_synced)
{
    struct rig rig;
    rig_init(&rig, 1);
    uint8_t bytes[4096];
    struct file *file = create(&rig, "a");
    memset(bytes, 1, sizeof bytes);
    cr_assert_eq(rig.files.write(rig.files.context, file, bytes, sizeof bytes, 0), STATUS_OK);
    cr_assert_eq(rig.files.sync(rig.files.context, file), STATUS_OK);
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(rig.files.write(rig.files.context, file, bytes, sizeof bytes, 0), STATUS_OK);
    bytes[0] = 7;
    cr_assert_eq(rig.files.write(rig.files.context, file, bytes, 1, 100), STATUS_OK);
    cr_assert_eq(rig.files.read(rig.files.context, file, bytes, sizeof bytes, 0), STATUS_OK);
    for (unsigned i = 0; i < sizeof bytes; i++)
        cr_assert_eq(bytes[i], i == 100 ? 7 : 0);
    rig.files.close(rig.files.context, file);
    rig_deinit(&rig);
}

/* ---- disks that lie ---- */

static struct file *create_filled(struct rig *rig, const char *name, uint8_t byte)
{
    static uint8_t bytes[16384];
    struct file *file = create(rig, name);
    memset(bytes, byte, sizeof bytes);
    cr_assert_eq(rig->files.write(rig->files.context, file, bytes, sizeof bytes, 0), STATUS_OK);
    cr_assert_eq(rig->files.sync(rig->files.context, file), STATUS_OK);
    cr_assert_eq(rig->files.sync_directory(rig->files.context), STATUS_OK);
    return file;
}

/* Bytes of `file` that are not `byte`. */
static unsigned count_others(struct rig *rig, struct file *file, uint8_t byte)
{
    static uint8_t bytes[16384];
    unsigned count = 0;
    cr_assert_eq(rig->files.read(rig->files.context, file, bytes, sizeof bytes, 0), STATUS_OK);
    for (unsigned i = 0; i < sizeof bytes; i++)
        count += bytes[i] != byte;
    return count;
}

/* Rot changes one to three bits, on the disk as well as in what is read, and survives power. */
Test(disk, rot_changes_a_few_bits_for_good)
{
    unsigned changed = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rig rig;
        char where[DISK_DAMAGE_SIZE];
        rig_init(&rig, seed);
        struct file *file = create_filled(&rig, "a", 5);
        struct draw draw = draw_stream(seed, 1);
        cr_assert(disk_rot(&rig.disk, &draw, where));
        cr_assert_not_null(strstr(where, "/d/a at "));
        const unsigned others = count_others(&rig, file, 5);
        cr_assert_leq(others, 3);
        changed += others > 0;
        rig.files.close(rig.files.context, file);
        disk_power_loss(&rig.disk);
        cr_assert_eq(rig.files.open(rig.files.context, "a", FILE_READ, &file), STATUS_OK);
        cr_assert_eq(count_others(&rig, file, 5), others);
        rig.files.close(rig.files.context, file);
        rig_deinit(&rig);
    }
    cr_assert_eq(changed, 20);
}

/* The write says OK, and its bytes are somewhere else: in this file or in another one. */
Test(disk, a_misdirected_write_lands_somewhere_else)
{
    static const uint8_t bytes[512] = {1};
    unsigned elsewhere = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rig rig;
        uint8_t read[512];
        rig_init(&rig, seed);
        struct file *a = create_filled(&rig, "a", 5), *b = create_filled(&rig, "b", 6);
        rig.disk.misdirect_in = 1;
        cr_assert_eq(rig.files.write(rig.files.context, a, bytes, sizeof bytes, 1024), STATUS_OK);
        cr_assert_neq(rig.disk.misdirected[0], 0);
        cr_assert_eq(rig.files.read(rig.files.context, a, read, sizeof read, 1024), STATUS_OK);
        cr_assert_eq(read[0], 5, "where it should be nothing has changed");
        const unsigned in_a = count_others(&rig, a, 5), in_b = count_others(&rig, b, 6);
        cr_assert_eq(in_a + in_b, 512);
        elsewhere += in_b > 0;
        rig.files.close(rig.files.context, a);
        rig.files.close(rig.files.context, b);
        rig_deinit(&rig);
    }
    cr_assert_gt(elsewhere, 0);
    cr_assert_lt(elsewhere, 20);
}

/* An image has what was durable when it was taken, whatever came later. */
Test(disk, an_image_is_the_past)
{
    struct rig rig;
    rig_init(&rig, 1);
    struct file *file = create_filled(&rig, "a", 5);
    rig.files.write(rig.files.context, file, "x", 1, 0); /* not synced */
    struct disk_image *image = disk_image_take(&rig.disk);
    rig.files.close(rig.files.context, file);
    rig.files.close(rig.files.context, create_filled(&rig, "b", 6));
    cr_assert_eq(rig.files.remove(rig.files.context, "a"), STATUS_OK);
    for (int i = 0; i < 2; i++) { /* it can be used again */
        disk_image_restore(&rig.disk, image);
        cr_assert_eq(size_of(&rig, "b"), UINT64_MAX);
        cr_assert_eq(rig.files.open(rig.files.context, "a", FILE_WRITE, &file), STATUS_OK);
        cr_assert_eq(count_others(&rig, file, 5), 0);
        cr_assert_eq(rig.files.write(rig.files.context, file, "x", 1, 0), STATUS_OK);
        cr_assert_eq(rig.files.sync(rig.files.context, file), STATUS_OK);
        rig.files.close(rig.files.context, file);
    }
    disk_image_destroy(image);
    rig_deinit(&rig);
}

/* At a rate of 10 % reads, writes and syncs fail, all three of them, about that often. */
Test(disk, calls_fail_at_the_rate_that_was_set)
{
    struct rig rig;
    unsigned failed[3] = {0};
    uint8_t byte;
    rig_init(&rig, 1);
    struct file *file = create_filled(&rig, "a", 5);
    rig.disk.fail_per_mille = 100;
    for (int i = 0; i < 1000; i++) {
        failed[0] += rig.files.read(rig.files.context, file, &byte, 1, 0) == STATUS_IO;
        failed[1] += rig.files.write(rig.files.context, file, "x", 1, 0) == STATUS_IO;
        failed[2] += rig.files.sync(rig.files.context, file) == STATUS_IO;
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_gt(failed[i], 60);
        cr_assert_lt(failed[i], 150);
    }
    rig.disk.fail_per_mille = 0;
    rig.files.close(rig.files.context, file);
    rig_deinit(&rig);
}
