/*
 * Which page rots is drawn among all pages that hold something and have been synced, so that large
 * files are hit as often as they are large, and every byte that the node relies on may be the one.
 *
 * A misdirected write goes to the same file at another sector, or to another file that is at least
 * as long, as a drive that seeks wrongly does it; where it should have gone stays as it was.
 */
#include "chaos/sim/disk_damage.h"

#include "chaos/sim/disk_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which files ---- */

static bool is_victim(const struct disk_name *name)
{
    return name->seen != NULL && name->seen == name->durable && !name->seen->is_directory &&
           !name->seen->locked && strstr(name->path, "/store") == NULL &&
           strstr(name->path, "/reserve") == NULL;
}

static struct disk_name *name_of(struct disk *disk, const struct inode *inode)
{
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (disk->names[i].seen == inode)
            return &disk->names[i];
    return NULL;
}

/* ---- rot ---- */

bool disk_rot(struct disk *disk, struct draw *draw, char out[DISK_DAMAGE_SIZE])
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (is_victim(&disk->names[i]))
            count += inode_settled_pages(disk->names[i].seen);
    if (count == 0)
        return false;
    uint64_t number = draw_below(draw, count);
    const uint64_t bits = draw_between(draw, 1, 3);
    for (uint32_t i = 0; i < disk->name_count; i++) {
        const struct disk_name *name = &disk->names[i];
        if (!is_victim(name))
            continue;
        const uint64_t pages = inode_settled_pages(name->seen);
        if (number >= pages) {
            number -= pages;
            continue;
        }
        /* In bytes of their own: no bit is turned back by the next one. */
        const uint32_t first = (uint32_t)draw_below(draw, DISK_PAGE * 8);
        int length = snprintf(out, DISK_DAMAGE_SIZE, "%s at", name->path);
        for (uint64_t bit = 0; bit < bits; bit++)
            length +=
                snprintf(out + length, DISK_DAMAGE_SIZE - (size_t)length, " %" PRIu64,
                         inode_flip(name->seen, number,
                                    first + (uint32_t)bit * DISK_PAGE / 4 * 8 + (uint32_t)bit));
        return true;
    }
    return false;
}

/* ---- misdirected writes ---- */

bool disk_misdirect(struct disk *disk, struct inode *inode, const void *bytes, size_t size,
                    uint64_t offset)
{
    const struct disk_name *from = name_of(disk, inode);
    if (from == NULL || strstr(from->path, "/store") != NULL || offset + size > inode->size)
        return false; /* a file that grows is another matter: nothing there would be missed */
    if (--disk->misdirect_in > 0)
        return false;
    struct disk_name *to = NULL;
    if (draw_chance(&disk->draw, 1, 3)) { /* another file */
        const uint32_t first = (uint32_t)draw_below(&disk->draw, disk->name_count);
        for (uint32_t i = 0; i < disk->name_count && to == NULL; i++) {
            struct disk_name *name = &disk->names[(first + i) % disk->name_count];
            if (is_victim(name) && name->seen != inode && name->seen->size >= size)
                to = name;
        }
    }
    struct inode *target = to != NULL ? to->seen : inode;
    if (target->size < size)
        return false;
    const uint64_t sectors = (target->size - size) / DISK_SECTOR + 1;
    uint64_t at = draw_below(&disk->draw, sectors) * DISK_SECTOR;
    if (draw_chance(&disk->draw, 1, 2) && target == inode) { /* not far from where it should be */
        at = offset + DISK_SECTOR * draw_between(&disk->draw, 1, 16);
        if (at + size > target->size)
            at = 0;
    }
    snprintf(disk->misdirected, sizeof disk->misdirected,
             "%zu bytes for %.80s at %" PRIu64 " are in %.80s at %" PRIu64, size, from->path,
             offset, to != NULL ? to->path : from->path, at);
    inode_write(target, bytes, size, at);
    return true;
}

/* ---- images ---- */

struct disk_image {
    struct disk_name *names;
    uint32_t count;
};

struct disk_image *disk_image_take(const struct disk *disk)
{
    struct disk_image *image = sim_allocate(sizeof *image);
    image->names = sim_allocate(disk->name_count * sizeof *image->names);
    for (uint32_t i = 0; i < disk->name_count; i++) {
        if (disk->names[i].durable == NULL)
            continue;
        struct disk_name *name = &image->names[image->count++];
        memcpy(name->path, disk->names[i].path, sizeof name->path);
        inode_point(&name->durable, inode_copy_durable(disk->names[i].durable));
    }
    return image;
}

void disk_image_restore(struct disk *disk, const struct disk_image *image)
{
    disk_wipe(disk);
    if (disk->name_capacity < image->count) {
        disk->name_capacity = image->count;
        disk->names = sim_resize(disk->names, disk->name_capacity * sizeof *disk->names);
    }
    for (uint32_t i = 0; i < image->count; i++) {
        struct disk_name *name = &disk->names[disk->name_count++];
        memset(name, 0, sizeof *name);
        memcpy(name->path, image->names[i].path, sizeof name->path);
        inode_point(&name->durable, inode_copy_durable(image->names[i].durable));
        inode_point(&name->seen, name->durable);
        disk->used += name->seen->size;
    }
    disk_restart(disk);
}

void disk_image_destroy(struct disk_image *image)
{
    if (image == NULL)
        return;
    for (uint32_t i = 0; i < image->count; i++)
        inode_point(&image->names[i].durable, NULL);
    free(image->names);
    free(image);
}
