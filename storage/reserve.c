/*
 * A file that only takes room, and the question how much room there is.
 *
 * The blocks are allocated, not written: nobody ever reads them. The journal has a reserve of its
 * own (its spare segment); this one is what a last checkpoint and an operator's rescue can count
 * on.
 */
#include "storage/reserve.h"

#define NAME "reserve"

static enum status resize(const struct files *files, struct file *file, uint64_t size)
{
    uint64_t present;
    enum status status = files->size(files->context, file, &present);
    if (status == STATUS_OK && present > size)
        status = files->truncate(files->context, file, size);
    if (status == STATUS_OK && present < size)
        status = files->allocate(files->context, file, size);
    if (status == STATUS_OK && present != size)
        status = files->sync(files->context, file);
    return status;
}

enum status reserve_ensure(const struct files *files, uint64_t size)
{
    struct file *file = NULL;
    enum status status = files->open(files->context, NAME, FILE_WRITE, &file);
    bool made = false;
    if (status == STATUS_NOT_FOUND) {
        made = true;
        status = files->open(files->context, NAME, FILE_CREATE, &file);
    }
    if (status != STATUS_OK)
        return status;
    status = resize(files, file, size);
    files->close(files->context, file);
    if (status == STATUS_OK && made)
        status = files->sync_directory(files->context);
    return status;
}

enum status reserve_release(const struct files *files)
{
    const enum status status = files->remove(files->context, NAME);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    return status == STATUS_OK ? files->sync_directory(files->context) : status;
}

enum status reserve_check(const struct files *files, uint64_t watermark_bytes, bool *out_low,
                          uint64_t *out_free)
{
    uint64_t free_bytes;
    const enum status status = files->free_space(files->context, &free_bytes);
    if (status != STATUS_OK)
        return status;
    *out_low = free_bytes < watermark_bytes;
    *out_free = free_bytes;
    return STATUS_OK;
}
