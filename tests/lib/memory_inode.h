/* A file's contents in memory, as the process sees them and as the disk has them. The caller keeps
 * other threads away. For files_memory.c only. */
#ifndef TALLY_TESTS_MEMORY_INODE_H
#define TALLY_TESTS_MEMORY_INODE_H

#include <stdbool.h>
#include <stdint.h>

#define MEMORY_PAGE   4096u
#define MEMORY_SECTOR 512u

struct inode {
    uint32_t references; /* names seen, names durable, open files */
    uint8_t *bytes;      /* as seen */
    uint8_t *disk;
    uint8_t *dirty; /* one flag a page */
    uint64_t size, disk_size;
    uint64_t capacity;
    bool size_dirty;
    bool locked;
};

uint64_t memory_draw(uint64_t *random); /* splitmix64 */
void *memory_must(void *pointer);       /* aborts on NULL: a test without memory tells nothing */

/* Lets *where point to `inode` (or NULL), counting references; the last one frees. */
void inode_point(struct inode **where, struct inode *inode);
struct inode *inode_copy(const struct inode *from); /* no references yet */
/* Reads as zeros where it grew. */
void inode_set_size(struct inode *inode, uint64_t size);
/* One page reaches the disk. */
void inode_write_back(struct inode *inode, uint64_t page);
/* All dirty pages and the size reach the disk. */
void inode_sync(struct inode *inode);
/* Power loss: each dirty sector and a new size reach the disk or not, by coins; then only what the
 * disk has is seen. */
void inode_lose(uint64_t *random, struct inode *inode);

#endif
