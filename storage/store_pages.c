/*
 * What LMDB believes of its own pages, looked at before LMDB does: it has no checksums of them.
 *
 * The two meta pages, by reading them from the file: page size, which LMDB divides by; size of the
 * map, which it asks the kernel for; last page. The newer one of the two is in force, by its
 * transaction. And the free pages, by walking through their lists: LMDB counts on their order, and
 * writes on them. A page that is listed and in use all the same is not seen here: what is written
 * over it has checksums, and is missed when it is read.
 *
 * Layout of a meta page, LMDB 0.9 on 64 bits: a page header of 16 bytes, magic and version u32,
 * address, size of the map, then two trees of 48 bytes (the free pages', whose first word is the
 * page size, and the main one), last page, transaction.
 */
#include "storage/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define META_PAGES     2
#define META_BYTES     152
#define MAGIC_AT       16
#define VERSION_AT     20
#define MAP_SIZE_AT    32
#define PAGE_SIZE_AT   40
#define LAST_PAGE_AT   136
#define TRANSACTION_AT 144
#define MAGIC          0xbeefc0deu
#define VERSION        1u
#define PAGE_SIZE_MIN  512u
#define PAGE_SIZE_MAX  65536u
#define MAP_SIZE_MAX   (1ull << 47) /* what a process can address */
#define FREE_LIST      0            /* LMDB's handle, as in its own tool mdb_stat */

struct meta {
    uint32_t magic, version, page_size;
    uint64_t map_size, last_page, transaction;
};

static enum status refuse(struct store_txn *t, enum status status, const char *path,
                          const char *what)
{
    snprintf(t->error.text, sizeof t->error.text, "store: %.140s: %s", path, what);
    return status;
}

static bool meta_read(int fd, off_t at, struct meta *out)
{
    uint8_t bytes[META_BYTES];
    if (pread(fd, bytes, sizeof bytes, at) != (ssize_t)sizeof bytes)
        return false;
    memcpy(&out->magic, bytes + MAGIC_AT, sizeof out->magic);
    memcpy(&out->version, bytes + VERSION_AT, sizeof out->version);
    memcpy(&out->map_size, bytes + MAP_SIZE_AT, sizeof out->map_size);
    memcpy(&out->page_size, bytes + PAGE_SIZE_AT, sizeof out->page_size);
    memcpy(&out->last_page, bytes + LAST_PAGE_AT, sizeof out->last_page);
    memcpy(&out->transaction, bytes + TRANSACTION_AT, sizeof out->transaction);
    return true;
}

static bool meta_is_sound(const struct meta *meta)
{
    return meta->magic == MAGIC && meta->page_size >= PAGE_SIZE_MIN &&
           meta->page_size <= PAGE_SIZE_MAX && (meta->page_size & (meta->page_size - 1)) == 0 &&
           meta->map_size <= MAP_SIZE_MAX && meta->last_page < MAP_SIZE_MAX / meta->page_size;
}

enum status store_meta_pages_check(struct store_txn *t, const char *path)
{
    static const char damaged[] = "a meta page is damaged; restore from a peer or a backup";
    struct meta metas[META_PAGES];
    struct stat file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &file) != 0) {
        const int code = errno;
        if (fd >= 0)
            (void)close(fd); /* only read */
        return refuse(t, store_status_of(code), path, strerror(code));
    }
    bool sound = meta_read(fd, 0, &metas[0]) && meta_is_sound(&metas[0]) &&
                 meta_read(fd, (off_t)metas[0].page_size, &metas[1]) && meta_is_sound(&metas[1]);
    (void)close(fd); /* only read */
    if (!sound || metas[0].version != metas[1].version || metas[0].page_size != metas[1].page_size)
        return refuse(t, STATUS_CORRUPT, path, damaged);
    if (metas[0].version != VERSION)
        return refuse(t, STATUS_VERSION, path, "written by another LMDB; upgrade tallyd");
    const struct meta *newest = &metas[metas[1].transaction > metas[0].transaction];
    if ((uint64_t)file.st_size / newest->page_size < newest->last_page + 1)
        return refuse(t, STATUS_CORRUPT, path,
                      "is shorter than its last page; restore from a peer or a backup");
    return STATUS_OK;
}

/* A list is its length, then pages, greatest first. `seen`: a bit for each page of the file. */
static bool list_check(const MDB_val *v, uint64_t last_page, uint8_t *seen)
{
    const uint8_t *bytes = v->mv_data;
    uint64_t count, before = last_page + 1, page;
    if (v->mv_size < sizeof count)
        return false;
    memcpy(&count, bytes, sizeof count);
    if (count > v->mv_size / sizeof page - 1)
        return false;
    for (uint64_t i = 0; i < count; i++, before = page) {
        memcpy(&page, bytes + (i + 1) * sizeof page, sizeof page);
        if (page >= before || page < META_PAGES || (seen[page / 8] >> page % 8 & 1) != 0)
            return false;
        seen[page / 8] |= (uint8_t)(1u << page % 8);
    }
    return true;
}

enum status store_free_pages_check(struct store_txn *t, const char *path)
{
    MDB_cursor *cursor;
    MDB_envinfo info;
    MDB_val k, v;
    int code = mdb_env_info(t->env, &info);
    if (code == 0)
        code = mdb_cursor_open(t->txn, FREE_LIST, &cursor);
    if (code != 0)
        return refuse(t, store_status_of(code), path, mdb_strerror(code));
    uint8_t *seen = calloc(info.me_last_pgno / 8 + 1, 1);
    bool sound = true;
    while (seen != NULL && sound && (code = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        sound = list_check(&v, info.me_last_pgno, seen);
    mdb_cursor_close(cursor);
    const bool has_memory = seen != NULL;
    free(seen);
    if (!has_memory)
        return refuse(t, STATUS_NO_MEMORY, path, "no memory to look at its free pages");
    if (sound && code == MDB_NOTFOUND)
        return STATUS_OK;
    return refuse(t, sound ? store_status_of(code) : STATUS_CORRUPT, path,
                  sound ? mdb_strerror(code)
                        : "the list of free pages is damaged; restore from a peer or a backup");
}
