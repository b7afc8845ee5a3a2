/* Wraps the POSIX table function by function; what is not made to fail goes through unchanged. */
#include "tests/replication/faulty_disk.h"

#include "core/invariant.h"

#include <stdio.h>
#include <stdlib.h>

/* Of the files that are open for writing, so that an unsynced one can be named. */
#define OPEN_MAX 16

struct faulty_directory {
    struct faulty_disk *disk;
    struct files real;
    struct {
        const struct file *file;
        char name[FAULTY_NAME_SIZE];
    } open[OPEN_MAX];
};

void faulty_disk_init(struct faulty_disk *disk)
{
    *disk = (struct faulty_disk){.free_bytes = UINT64_MAX};
    pthread_mutex_init(&disk->mutex, NULL);
    pthread_cond_init(&disk->changed, NULL);
}

void faulty_disk_set_hang(struct faulty_disk *disk, bool hang)
{
    pthread_mutex_lock(&disk->mutex);
    disk->hang = hang;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->mutex);
}

uint32_t faulty_disk_hung_count(struct faulty_disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    uint32_t count = disk->hung_count;
    pthread_mutex_unlock(&disk->mutex);
    return count;
}

static void wait_while_hanging(struct faulty_disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    disk->hung_count++;
    while (disk->hang)
        pthread_cond_wait(&disk->changed, &disk->mutex);
    disk->hung_count--;
    pthread_mutex_unlock(&disk->mutex);
}

void faulty_disk_set(struct faulty_disk *disk, enum status *which, enum status status)
{
    pthread_mutex_lock(&disk->mutex);
    *which = status;
    pthread_mutex_unlock(&disk->mutex);
}

void faulty_disk_set_free(struct faulty_disk *disk, uint64_t free_bytes)
{
    pthread_mutex_lock(&disk->mutex);
    disk->free_bytes = free_bytes;
    pthread_mutex_unlock(&disk->mutex);
}

/* The verdict over one changing call. */
static enum status judge(struct faulty_disk *disk, const enum status *which)
{
    pthread_mutex_lock(&disk->mutex);
    enum status status = *which;
    disk->call_count++;
    if (disk->fail_at != 0 && --disk->fail_at == 0) {
        status = disk->fail_status;
        disk->dead = disk->dies;
    }
    if (disk->dead)
        status = disk->fail_status;
    pthread_mutex_unlock(&disk->mutex);
    return status;
}

static struct faulty_directory *of(void *context)
{
    return context;
}

/* ---- what is not synced ---- */

static void note_open(struct faulty_directory *d, const struct file *file, const char *name)
{
    pthread_mutex_lock(&d->disk->mutex);
    uint32_t i = 0;
    while (i < OPEN_MAX && d->open[i].file != NULL)
        i++;
    invariant_values(i < OPEN_MAX, i, OPEN_MAX);
    d->open[i].file = file;
    snprintf(d->open[i].name, sizeof d->open[i].name, "%s", name);
    pthread_mutex_unlock(&d->disk->mutex);
}

static const char *name_of(const struct faulty_directory *d, const struct file *file)
{
    for (uint32_t i = 0; i < OPEN_MAX; i++)
        if (d->open[i].file == file)
            return d->open[i].name;
    return "";
}

static void note_written(struct faulty_directory *d, const struct file *file)
{
    struct faulty_disk *disk = d->disk;
    pthread_mutex_lock(&disk->mutex);
    uint32_t i = 0;
    while (i < disk->unsynced_count && disk->unsynced[i].file != file)
        i++;
    if (i == disk->unsynced_count) {
        invariant_values(i < FAULTY_UNSYNCED_MAX, i, FAULTY_UNSYNCED_MAX);
        disk->unsynced[disk->unsynced_count++].file = file;
        snprintf(disk->unsynced[i].name, sizeof disk->unsynced[i].name, "%s", name_of(d, file));
    }
    pthread_mutex_unlock(&disk->mutex);
}

/* Under the mutex. */
static void forget_written(struct faulty_disk *disk, uint32_t i)
{
    disk->unsynced[i] = disk->unsynced[--disk->unsynced_count];
}

static void note_synced(struct faulty_directory *d, const struct file *file)
{
    struct faulty_disk *disk = d->disk;
    pthread_mutex_lock(&disk->mutex);
    for (uint32_t i = 0; i < disk->unsynced_count; i++)
        if (disk->unsynced[i].file == file) {
            forget_written(disk, i);
            break;
        }
    pthread_mutex_unlock(&disk->mutex);
}

static void note_closed(struct faulty_directory *d, const struct file *file)
{
    struct faulty_disk *disk = d->disk;
    pthread_mutex_lock(&disk->mutex);
    for (uint32_t i = 0; i < disk->unsynced_count; i++)
        if (disk->unsynced[i].file == file) {
            snprintf(disk->closed_unsynced, sizeof disk->closed_unsynced, "%s",
                     disk->unsynced[i].name);
            forget_written(disk, i);
            break;
        }
    for (uint32_t i = 0; i < OPEN_MAX; i++)
        if (d->open[i].file == file)
            d->open[i].file = NULL;
    pthread_mutex_unlock(&disk->mutex);
}

/* ---- the table ---- */

static enum status faulty_open(void *context, const char *name, enum file_mode mode,
                               struct file **out)
{
    struct faulty_directory *d = of(context);
    if (mode == FILE_CREATE) {
        enum status status = judge(d->disk, &d->disk->create_status);
        if (status != STATUS_OK)
            return status;
    }
    enum status status = d->real.open(d->real.context, name, mode, out);
    if (status == STATUS_OK && mode != FILE_READ)
        note_open(d, *out, name);
    return status;
}

static void faulty_close(void *context, struct file *file)
{
    note_closed(of(context), file);
    of(context)->real.close(of(context)->real.context, file);
}

static enum status faulty_size(void *context, struct file *file, uint64_t *out_size)
{
    return of(context)->real.size(of(context)->real.context, file, out_size);
}

static enum status faulty_read(void *context, struct file *file, void *buffer, size_t size,
                               uint64_t offset)
{
    return of(context)->real.read(of(context)->real.context, file, buffer, size, offset);
}

static enum status faulty_write(void *context, struct file *file, const void *buffer, size_t size,
                                uint64_t offset)
{
    struct faulty_directory *d = of(context);
    wait_while_hanging(d->disk);
    enum status status = judge(d->disk, &d->disk->write_status);
    if (status != STATUS_OK)
        return status;
    note_written(d, file);
    return d->real.write(d->real.context, file, buffer, size, offset);
}

static enum status faulty_sync(void *context, struct file *file)
{
    struct faulty_directory *d = of(context);
    enum status status = judge(d->disk, &d->disk->sync_status);
    if (status == STATUS_OK)
        status = d->real.sync(d->real.context, file);
    if (status == STATUS_OK)
        note_synced(d, file);
    return status;
}

static enum status faulty_truncate(void *context, struct file *file, uint64_t size)
{
    return of(context)->real.truncate(of(context)->real.context, file, size);
}

static enum status faulty_allocate(void *context, struct file *file, uint64_t size)
{
    struct faulty_directory *d = of(context);
    enum status status = judge(d->disk, &d->disk->allocate_status);
    return status != STATUS_OK ? status : d->real.allocate(d->real.context, file, size);
}

static enum status faulty_rename(void *context, const char *from, const char *to)
{
    struct faulty_directory *d = of(context);
    enum status status = judge(d->disk, &d->disk->write_status);
    return status != STATUS_OK ? status : d->real.rename(d->real.context, from, to);
}

static enum status faulty_remove(void *context, const char *name)
{
    struct faulty_directory *d = of(context);
    return d->real.remove(d->real.context, name);
}

static enum status faulty_sync_directory(void *context)
{
    struct faulty_directory *d = of(context);
    enum status status = judge(d->disk, &d->disk->sync_status);
    return status != STATUS_OK ? status : d->real.sync_directory(d->real.context);
}

static enum status faulty_list(void *context, bool (*each)(void *argument, const char *name),
                               void *argument)
{
    return of(context)->real.list(of(context)->real.context, each, argument);
}

static enum status faulty_lock(void *context, const char *name, struct file **out)
{
    return of(context)->real.lock(of(context)->real.context, name, out);
}

static enum status faulty_free_space(void *context, uint64_t *out_bytes)
{
    struct faulty_directory *d = of(context);
    pthread_mutex_lock(&d->disk->mutex);
    uint64_t pretended = d->disk->free_bytes;
    pthread_mutex_unlock(&d->disk->mutex);
    if (pretended == UINT64_MAX)
        return d->real.free_space(d->real.context, out_bytes);
    *out_bytes = pretended;
    return STATUS_OK;
}

enum status faulty_disk_open(struct faulty_disk *disk, const char *path, struct files *out_files)
{
    struct faulty_directory *directory = calloc(1, sizeof *directory);
    if (directory == NULL)
        return STATUS_NO_MEMORY;
    directory->disk = disk;
    enum status status = files_posix_open(path, &directory->real);
    if (status != STATUS_OK) {
        free(directory);
        return status;
    }
    *out_files = (struct files){
        .context = directory,
        .open = faulty_open,
        .close = faulty_close,
        .size = faulty_size,
        .read = faulty_read,
        .write = faulty_write,
        .sync = faulty_sync,
        .truncate = faulty_truncate,
        .allocate = faulty_allocate,
        .rename = faulty_rename,
        .remove = faulty_remove,
        .sync_directory = faulty_sync_directory,
        .list = faulty_list,
        .lock = faulty_lock,
        .free_space = faulty_free_space,
    };
    return STATUS_OK;
}

void faulty_disk_close(struct files *files)
{
    struct faulty_directory *directory = files->context;
    files_posix_close(&directory->real);
    free(directory);
    *files = (struct files){0};
}
