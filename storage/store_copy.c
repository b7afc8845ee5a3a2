/*
 * The newest epoch as a stream of bytes, while later epochs are written.
 *
 * LMDB never writes to a page that an open read transaction can reach, so the pages of the epoch
 * that ours sees stay what they are for as long as we keep it. Everything else in the file may
 * change under our eyes and does not matter: in the copy those pages are free, or reached by
 * nobody. What must fit are the two meta pages at the beginning. They are read at a moment when no
 * commit is being written (commit_mutex), together with the begin of the transaction: so the newer
 * of the two describes exactly what the transaction sees, and the other one the epoch before it,
 * which is whole as well. This is what mdb_env_copy() does, with two differences that count here:
 * the place to read from is the caller's choice, so a copy goes on where a connection broke; and
 * the file is read by pread(), not through the map, so the process does not grow by what it copies.
 *
 * Pages behind the end of the file were allocated and never written; they read as zeros.
 *
 * The price is LMDB's: pages that later epochs free are not used again before the copy ends.
 */
#include "storage/store_internal.h"

#include "core/invariant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define META_PAGES 2

struct checkpoint_copy {
    struct store_txn t;
    mdb_filehandle_t file;
    uint64_t size;
    uint64_t meta_size;
    uint8_t *meta; /* the file's first bytes, as they were when it began */
};

static struct store *store_of(struct checkpoint *checkpoint)
{
    return (struct store *)(void *)checkpoint; /* first member */
}

static void hold(pthread_mutex_t *mutex)
{
    int code = pthread_mutex_lock(mutex);
    invariant_values(code == 0, code, 0);
}

static void release(pthread_mutex_t *mutex)
{
    int code = pthread_mutex_unlock(mutex);
    invariant_values(code == 0, code, 0);
}

/* Exactly `size` bytes; zeros behind the end of the file. */
static enum status read_at(int file, uint64_t offset, uint8_t *buffer, size_t size)
{
    while (size > 0) {
        ssize_t got = pread(file, buffer, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return STATUS_IO;
        if (got == 0) {
            memset(buffer, 0, size);
            return STATUS_OK;
        }
        buffer += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return STATUS_OK;
}

/* commit_mutex is held: transaction, meta pages and size are of one moment. */
static enum status begin(struct store *store, struct checkpoint_copy *copy)
{
    MDB_envinfo info;
    MDB_stat s;
    int code = mdb_env_stat(store->env, &s);
    if (code == 0)
        code = mdb_env_get_fd(store->env, &copy->file);
    if (code == 0)
        code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &copy->t.txn);
    if (code == 0)
        code = mdb_env_info(store->env, &info);
    if (code != 0)
        return store_status_of(code);
    copy->meta_size = (uint64_t)META_PAGES * s.ms_psize;
    copy->size = (info.me_last_pgno + 1) * (uint64_t)s.ms_psize;
    invariant_values(copy->size >= copy->meta_size, copy->size, copy->meta_size);
    invariant_values(info.me_last_txnid == mdb_txn_id(copy->t.txn), info.me_last_txnid,
                     mdb_txn_id(copy->t.txn));
    copy->meta = malloc((size_t)copy->meta_size);
    if (copy->meta == NULL)
        return STATUS_NO_MEMORY;
    return read_at(copy->file, 0, copy->meta, (size_t)copy->meta_size);
}

static enum status read_meta(struct checkpoint_copy *copy, struct checkpoint_meta *out)
{
    struct store_head head;
    enum status status = store_get_small(&copy->t, STORE_META, STORE_META_HEAD, &head, sizeof head);
    if (status != STATUS_OK)
        return status;
    if (head.configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX)
        return STATUS_CORRUPT;
    if (head.epoch_count == 0)
        return STATUS_NOT_FOUND;
    memset(out, 0, sizeof *out);
    out->index = head.applied_index;
    out->term = head.applied_term;
    memcpy(out->head, head.head, sizeof out->head);
    out->configuration_size = head.configuration_size;
    memcpy(out->configuration, head.configuration, head.configuration_size);
    return STATUS_OK;
}

static void copy_free(struct checkpoint_copy *copy)
{
    if (copy->t.txn != NULL)
        mdb_txn_abort(copy->t.txn);
    free(copy->meta);
    free(copy);
}

enum status store_copy_begin(struct checkpoint *checkpoint, struct checkpoint_copy **out,
                             struct checkpoint_copy_info *out_info)
{
    struct store *store = store_of(checkpoint);
    struct checkpoint_copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    copy->t.env = store->env;
    memcpy(copy->t.dbi, store->read.dbi, sizeof copy->t.dbi); /* the same since the open */
    hold(&store->commit_mutex);
    enum status status = begin(store, copy);
    release(&store->commit_mutex);
    if (status == STATUS_OK)
        status = read_meta(copy, &out_info->meta);
    if (status != STATUS_OK) {
        copy_free(copy);
        return status;
    }
    out_info->size = copy->size;
    hold(&store->mutex);
    store->copy_count++;
    release(&store->mutex);
    *out = copy;
    return STATUS_OK;
}

enum status store_copy_read(struct checkpoint *checkpoint, struct checkpoint_copy *copy,
                            uint64_t offset, void *buffer, size_t size)
{
    (void)checkpoint;
    uint8_t *bytes = buffer;
    invariant_values(offset <= copy->size && size <= copy->size - offset, offset, size);
    if (offset < copy->meta_size && size > 0) {
        uint64_t left = copy->meta_size - offset;
        size_t part = size < left ? size : (size_t)left;
        memcpy(bytes, copy->meta + offset, part);
        bytes += part;
        offset += part;
        size -= part;
    }
    return read_at(copy->file, offset, bytes, size);
}

void store_copy_end(struct checkpoint *checkpoint, struct checkpoint_copy *copy)
{
    struct store *store = store_of(checkpoint);
    copy_free(copy);
    hold(&store->mutex);
    invariant(store->copy_count > 0);
    store->copy_count--;
    release(&store->mutex);
}
