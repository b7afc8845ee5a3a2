/*
 * Between what is seen and what the disk has lies one dirty flag a page. A range of dirty pages is
 * kept beside the flags, so that a sync costs what was written and not what the file holds.
 */
#include "chaos/sim/disk_inode.h"

#include "chaos/sim/world.h"

#include <stdlib.h>
#include <string.h>

struct inode *inode_create(bool is_directory)
{
    struct inode *inode = sim_allocate(sizeof *inode);
    inode->is_directory = is_directory;
    inode->dirty_low = UINT64_MAX;
    return inode;
}

static void inode_release(struct inode *inode)
{
    if (inode == NULL || --inode->references > 0)
        return;
    free(inode->bytes);
    free(inode->disk);
    free(inode->dirty);
    free(inode);
}

void inode_point(struct inode **where, struct inode *inode)
{
    if (inode != NULL)
        inode->references++;
    inode_release(*where);
    *where = inode;
}

static void reserve(struct inode *inode, uint64_t size)
{
    if (size <= inode->capacity)
        return;
    uint64_t capacity = (size + DISK_PAGE - 1) / DISK_PAGE * DISK_PAGE;
    if (capacity < inode->capacity * 2)
        capacity = inode->capacity * 2;
    const uint64_t before = inode->capacity;
    inode->bytes = sim_resize(inode->bytes, capacity);
    inode->disk = sim_resize(inode->disk, capacity);
    inode->dirty = sim_resize(inode->dirty, capacity / DISK_PAGE);
    memset(inode->bytes + before, 0, capacity - before);
    memset(inode->disk + before, 0, capacity - before);
    memset(inode->dirty + before / DISK_PAGE, 0, (capacity - before) / DISK_PAGE);
    inode->capacity = capacity;
}

static void mark(struct inode *inode, uint64_t first_page, uint64_t end_page)
{
    if (first_page >= end_page)
        return;
    memset(inode->dirty + first_page, 1, end_page - first_page);
    if (first_page < inode->dirty_low)
        inode->dirty_low = first_page;
    if (end_page > inode->dirty_high)
        inode->dirty_high = end_page;
}

static void clean(struct inode *inode)
{
    inode->dirty_low = UINT64_MAX;
    inode->dirty_high = 0;
    inode->size_dirty = false;
}

void inode_set_size(struct inode *inode, uint64_t size)
{
    if (size == inode->size)
        return;
    reserve(inode, size);
    if (size < inode->size) { /* what lies behind reads as zeros if the file grows again */
        memset(inode->bytes + size, 0, inode->size - size);
        mark(inode, size / DISK_PAGE, (inode->size + DISK_PAGE - 1) / DISK_PAGE);
    }
    inode->size_dirty = true;
    inode->size = size;
}

void inode_write(struct inode *inode, const void *bytes, uint64_t size, uint64_t offset)
{
    if (size == 0)
        return;
    if (offset + size > inode->size)
        inode_set_size(inode, offset + size);
    memcpy(inode->bytes + offset, bytes, size);
    mark(inode, offset / DISK_PAGE, (offset + size + DISK_PAGE - 1) / DISK_PAGE);
}

void inode_sync(struct inode *inode)
{
    for (uint64_t page = inode->dirty_low; page < inode->dirty_high; page++) {
        if (!inode->dirty[page])
            continue;
        memcpy(inode->disk + page * DISK_PAGE, inode->bytes + page * DISK_PAGE, DISK_PAGE);
        inode->dirty[page] = 0;
    }
    inode->disk_size = inode->size;
    clean(inode);
}

void inode_lose(struct inode *inode, struct draw *draw, bool whole_pages)
{
    const uint64_t piece = whole_pages ? DISK_PAGE : DISK_SECTOR;
    for (uint64_t page = inode->dirty_low; page < inode->dirty_high; page++) {
        if (!inode->dirty[page])
            continue;
        for (uint64_t at = page * DISK_PAGE; at < (page + 1) * DISK_PAGE; at += piece)
            if (draw_chance(draw, 1, 2))
                memcpy(inode->disk + at, inode->bytes + at, piece);
        inode->dirty[page] = 0;
    }
    if (inode->size_dirty && draw_chance(draw, 1, 2))
        inode->disk_size = inode->size;
    clean(inode);
    /* Behind the size nothing is kept. */
    if (inode->disk_size < inode->capacity)
        memset(inode->disk + inode->disk_size, 0, inode->capacity - inode->disk_size);
    if (inode->capacity > 0)
        memcpy(inode->bytes, inode->disk, inode->capacity);
    inode->size = inode->disk_size;
}
