/*
 * Contents are kept twice: as the process sees them and as the disk has them, with one dirty flag a
 * page between the two.
 */
#include "tests/lib/memory_inode.h"

#include <stdlib.h>
#include <string.h>

uint64_t memory_draw(uint64_t *random)
{
    uint64_t z = (*random += 0x9e3779b97f4a7c15ull); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void *memory_must(void *pointer)
{
    if (pointer == NULL)
        abort();
    return pointer;
}

static void inode_reserve(struct inode *inode, uint64_t size)
{
    if (size <= inode->capacity)
        return;
    uint64_t capacity = (size + MEMORY_PAGE - 1) / MEMORY_PAGE * MEMORY_PAGE;
    if (capacity < inode->capacity * 2)
        capacity = inode->capacity * 2;
    inode->bytes = memory_must(realloc(inode->bytes, capacity));
    inode->disk = memory_must(realloc(inode->disk, capacity));
    inode->dirty = memory_must(realloc(inode->dirty, capacity / MEMORY_PAGE));
    memset(inode->bytes + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->disk + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->dirty + inode->capacity / MEMORY_PAGE, 0,
           (capacity - inode->capacity) / MEMORY_PAGE);
    inode->capacity = capacity;
}

struct inode *inode_copy(const struct inode *from)
{
    struct inode *inode = memory_must(calloc(1, sizeof *inode));
    *inode = (struct inode){.size = from->size,
                            .disk_size = from->disk_size,
                            .capacity = from->capacity,
                            .size_dirty = from->size_dirty};
    inode->bytes = memory_must(malloc(from->capacity + 1));
    inode->disk = memory_must(malloc(from->capacity + 1));
    inode->dirty = memory_must(malloc(from->capacity / MEMORY_PAGE + 1));
    if (from->capacity > 0) {
        memcpy(inode->bytes, from->bytes, from->capacity);
        memcpy(inode->disk, from->disk, from->capacity);
        memcpy(inode->dirty, from->dirty, from->capacity / MEMORY_PAGE);
    }
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

void inode_write_back(struct inode *inode, uint64_t page)
{
    memcpy(inode->disk + page * MEMORY_PAGE, inode->bytes + page * MEMORY_PAGE, MEMORY_PAGE);
    inode->dirty[page] = 0;
}

void inode_sync(struct inode *inode)
{
    for (uint64_t page = 0; page < inode->capacity / MEMORY_PAGE; page++)
        if (inode->dirty[page])
            inode_write_back(inode, page);
    inode->disk_size = inode->size;
    inode->size_dirty = false;
}

void inode_set_size(struct inode *inode, uint64_t size)
{
    inode_reserve(inode, size);
    if (size < inode->size) { /* what lies behind reads as zeros if the file grows again */
        memset(inode->bytes + size, 0, inode->size - size);
        for (uint64_t page = size / MEMORY_PAGE; page < inode->capacity / MEMORY_PAGE; page++)
            inode->dirty[page] = 1;
    }
    if (size != inode->size)
        inode->size_dirty = true;
    inode->size = size;
}

void inode_lose(uint64_t *random, struct inode *inode)
{
    for (uint64_t page = 0; page < inode->capacity / MEMORY_PAGE; page++) {
        if (!inode->dirty[page])
            continue;
        for (uint64_t sector = 0; sector < MEMORY_PAGE / MEMORY_SECTOR; sector++) {
            const uint64_t at = page * MEMORY_PAGE + sector * MEMORY_SECTOR;
            if (memory_draw(random) & 1)
                memcpy(inode->disk + at, inode->bytes + at, MEMORY_SECTOR);
        }
    }
    if (inode->size_dirty && (memory_draw(random) & 1))
        inode->disk_size = inode->size;
    /* Behind the size nothing is kept. */
    if (inode->disk_size < inode->capacity)
        memset(inode->disk + inode->disk_size, 0, inode->capacity - inode->disk_size);
    if (inode->capacity > 0) {
        memcpy(inode->bytes, inode->disk, inode->capacity);
        memset(inode->dirty, 0, inode->capacity / MEMORY_PAGE);
    }
    inode->size = inode->disk_size;
    inode->size_dirty = false;
}
