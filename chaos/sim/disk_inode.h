/* A file's contents twice: as processes see them and as the disk has them. For disk.c only. */
#ifndef TALLY_CHAOS_SIM_DISK_INODE_H
#define TALLY_CHAOS_SIM_DISK_INODE_H

#include "chaos/sim/draw.h"

#include <stdbool.h>
#include <stdint.h>

#define DISK_PAGE   4096u
#define DISK_SECTOR 512u

struct page;

struct inode {
    uint32_t references; /* names seen, names durable, open files */
    bool is_directory;
    bool locked;
    bool size_dirty;
    struct page **seen; /* by page number; NULL: zeros */
    struct page **disk; /* the same page where the two are equal and were never different */
    uint8_t *dirty;     /* one flag a page */
    uint64_t dirty_low, dirty_high; /* pages; low >= high: none */
    uint64_t size, disk_size;
    uint64_t capacity; /* bytes */
};

struct inode *inode_create(bool is_directory);
/* Lets *where point to `inode` (or NULL), counting references; the last one frees. */
void inode_point(struct inode **where, struct inode *inode);
/* Reads as zeros where it grew. */
void inode_set_size(struct inode *inode, uint64_t size);
/* offset + size is at most the file's size. */
void inode_read(const struct inode *inode, void *out_bytes, uint64_t size, uint64_t offset);
void inode_write(struct inode *inode, const void *bytes, uint64_t size, uint64_t offset);
/* All dirty pages and the size reach the disk. */
void inode_sync(struct inode *inode);
/* Power loss: what is dirty reaches the disk or not, by coins for each sector or (whole_pages) for
 * each page; likewise a new size. Then only what the disk has is seen. */
void inode_lose(struct inode *inode, struct draw *draw, bool whole_pages);

/* Pages that hold something, and are as the disk has them. */
uint64_t inode_settled_pages(const struct inode *inode);
/* Turns a bit of the n-th of these, on the disk and in what is seen; returns where, in bytes. */
uint64_t inode_flip(struct inode *inode, uint64_t page_number, uint32_t bit);
/* A file of its own with what the disk has. */
struct inode *inode_copy_durable(const struct inode *inode);

#endif
