/*
 * Between what is seen and what the disk has lies one dirty flag a page. A range of dirty pages is
 * kept beside the flags, so that a sync costs what was written and not what the file holds.
 *
 * Pages of zeros are not stored, since most of a prepared segment is that; a page that the disk has
 * as it is seen is stored once, and twice from the second time it is written on, when it is likely
 * to be written and synced again and again.
 */
#include "chaos/sim/disk_inode.h"

#include "chaos/sim/world.h"

#include <stdlib.h>
#include <string.h>

struct page {
    uint8_t bytes[DISK_PAGE];
};

static const struct page zeros;

struct inode *inode_create(bool is_directory)
{
    struct inode *inode = sim_allocate(sizeof *inode);
    inode->is_directory = is_directory;
    inode->dirty_low = UINT64_MAX;
    return inode;
}

static uint64_t pages_of(uint64_t size)
{
    return (size + DISK_PAGE - 1) / DISK_PAGE;
}

/* ---- one page ---- */

static void page_set_seen(struct inode *inode, uint64_t page, struct page *to)
{
    struct page *before = inode->seen[page];
    if (before != inode->disk[page])
        free(before);
    inode->seen[page] = to;
}

static void page_set_disk(struct inode *inode, uint64_t page, struct page *to)
{
    struct page *before = inode->disk[page];
    if (before != inode->seen[page])
        free(before);
    inode->disk[page] = to;
}

static struct page *page_copy(const struct page *page)
{
    struct page *copy = sim_resize(NULL, sizeof *copy);
    *copy = page != NULL ? *page : zeros;
    return copy;
}

/* The seen page as one that may be changed. */
static struct page *page_open(struct inode *inode, uint64_t page)
{
    /* No page is one of zeros, also above one that is not: those were written and not synced. */
    if (inode->seen[page] == inode->disk[page] || inode->seen[page] == NULL)
        inode->seen[page] = page_copy(inode->seen[page]);
    return inode->seen[page];
}

static void page_sync(struct inode *inode, uint64_t page)
{
    struct page *seen = inode->seen[page], *disk = inode->disk[page];
    if (seen == disk)
        return;
    if (seen != NULL && disk != NULL)
        *disk = *seen;
    else
        page_set_disk(inode, page, seen);
}

static void page_lose(struct inode *inode, uint64_t page, struct draw *draw, uint64_t piece)
{
    const struct page *seen = inode->seen[page];
    for (uint64_t at = 0; at < DISK_PAGE; at += piece) {
        if (!draw_chance(draw, 1, 2) || seen == inode->disk[page])
            continue;
        if (inode->disk[page] == NULL)
            inode->disk[page] = page_copy(NULL);
        memcpy(inode->disk[page]->bytes + at, (seen != NULL ? seen : &zeros)->bytes + at, piece);
    }
    page_set_seen(inode, page, inode->disk[page]);
}

/* ---- life ---- */

static void inode_release(struct inode *inode)
{
    if (inode == NULL || --inode->references > 0)
        return;
    for (uint64_t page = 0; page < inode->capacity / DISK_PAGE; page++) {
        page_set_seen(inode, page, inode->disk[page]);
        free(inode->disk[page]);
    }
    free(inode->seen);
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
    uint64_t count = pages_of(size);
    const uint64_t before = inode->capacity / DISK_PAGE;
    if (count < before * 2)
        count = before * 2;
    inode->seen = sim_resize(inode->seen, count * sizeof(struct page *));
    inode->disk = sim_resize(inode->disk, count * sizeof(struct page *));
    inode->dirty = sim_resize(inode->dirty, count);
    for (uint64_t page = before; page < count; page++)
        inode->seen[page] = inode->disk[page] = NULL;
    memset(inode->dirty + before, 0, count - before);
    inode->capacity = count * DISK_PAGE;
}

/* ---- contents ---- */

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
        const uint64_t page = size / DISK_PAGE, at = size % DISK_PAGE;
        if (at > 0 && inode->seen[page] != NULL)
            memset(page_open(inode, page)->bytes + at, 0, DISK_PAGE - at);
        for (uint64_t i = pages_of(size); i < pages_of(inode->size); i++)
            page_set_seen(inode, i, NULL);
        mark(inode, page, pages_of(inode->size));
    }
    inode->size_dirty = true;
    inode->size = size;
}

void inode_read(const struct inode *inode, void *out_bytes, uint64_t size, uint64_t offset)
{
    uint8_t *out = out_bytes;
    while (size > 0) {
        const uint64_t at = offset % DISK_PAGE;
        const uint64_t part = size < DISK_PAGE - at ? size : DISK_PAGE - at;
        const struct page *page = inode->seen[offset / DISK_PAGE];
        if (page != NULL)
            memcpy(out, page->bytes + at, part);
        else
            memset(out, 0, part);
        out += part;
        offset += part;
        size -= part;
    }
}

void inode_write(struct inode *inode, const void *bytes, uint64_t size, uint64_t offset)
{
    if (size == 0)
        return;
    if (offset + size > inode->size)
        inode_set_size(inode, offset + size);
    mark(inode, offset / DISK_PAGE, pages_of(offset + size));
    const uint8_t *from = bytes;
    while (size > 0) {
        const uint64_t page = offset / DISK_PAGE, at = offset % DISK_PAGE;
        const uint64_t part = size < DISK_PAGE - at ? size : DISK_PAGE - at;
        if (part == DISK_PAGE && memcmp(from, zeros.bytes, DISK_PAGE) == 0)
            page_set_seen(inode, page, NULL);
        else
            memcpy(page_open(inode, page)->bytes + at, from, part);
        from += part;
        offset += part;
        size -= part;
    }
}

void inode_sync(struct inode *inode)
{
    for (uint64_t page = inode->dirty_low; page < inode->dirty_high; page++) {
        if (!inode->dirty[page])
            continue;
        page_sync(inode, page);
        inode->dirty[page] = 0;
    }
    inode->disk_size = inode->size;
    clean(inode);
}

void inode_lose(struct inode *inode, struct draw *draw, bool whole_pages)
{
    for (uint64_t page = inode->dirty_low; page < inode->dirty_high; page++) {
        if (!inode->dirty[page])
            continue;
        page_lose(inode, page, draw, whole_pages ? DISK_PAGE : DISK_SECTOR);
        inode->dirty[page] = 0;
    }
    if (inode->size_dirty && draw_chance(draw, 1, 2))
        inode->disk_size = inode->size;
    clean(inode);
    inode->size = inode->disk_size;
    /* Behind the size nothing is kept. */
    const uint64_t last = inode->size / DISK_PAGE, at = inode->size % DISK_PAGE;
    if (at > 0 && inode->disk[last] != NULL) {
        page_set_seen(inode, last, inode->disk[last]);
        memset(inode->disk[last]->bytes + at, 0, DISK_PAGE - at);
    }
    for (uint64_t page = pages_of(inode->size); page < inode->capacity / DISK_PAGE; page++) {
        page_set_seen(inode, page, NULL);
        page_set_disk(inode, page, NULL);
    }
}

/* ---- damage ---- */

static bool is_settled(const struct inode *inode, uint64_t page)
{
    return !inode->dirty[page] && inode->disk[page] != NULL;
}

/* Pages below the durable size. */
static uint64_t durable_pages(const struct inode *inode)
{
    const uint64_t size = inode->disk_size < inode->size ? inode->disk_size : inode->size;
    return pages_of(size);
}

uint64_t inode_settled_pages(const struct inode *inode)
{
    uint64_t count = 0;
    for (uint64_t page = 0; page < durable_pages(inode); page++)
        count += is_settled(inode, page);
    return count;
}

uint64_t inode_flip(struct inode *inode, uint64_t page_number, uint32_t bit)
{
    for (uint64_t page = 0; page < durable_pages(inode); page++) {
        if (!is_settled(inode, page) || page_number-- > 0)
            continue;
        uint64_t at = bit / 8 % DISK_PAGE;
        /* Zeros behind what was written are mostly room that nobody reads. */
        while (at > 0 && inode->disk[page]->bytes[at] == 0)
            at--;
        inode->disk[page]->bytes[at] ^= (uint8_t)(1u << bit % 8);
        if (inode->seen[page] != inode->disk[page] && inode->seen[page] != NULL)
            inode->seen[page]->bytes[at] = inode->disk[page]->bytes[at];
        return page * DISK_PAGE + at;
    }
    return UINT64_MAX;
}

struct inode *inode_copy_durable(const struct inode *inode)
{
    struct inode *copy = inode_create(inode->is_directory);
    reserve(copy, inode->disk_size);
    copy->size = copy->disk_size = inode->disk_size;
    for (uint64_t page = 0; page < pages_of(inode->disk_size); page++)
        if (page < inode->capacity / DISK_PAGE && inode->disk[page] != NULL)
            copy->seen[page] = copy->disk[page] = page_copy(inode->disk[page]);
    return copy;
}
