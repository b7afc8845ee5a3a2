/*
 * Names, faults and the table of functions; contents are in disk_inode.c.
 *
 * A name has two targets, what is seen and what is durable; a directory is an inode without bytes,
 * and a name whose directory does not survive is lost with it. Each name is decided by itself at a
 * power loss, which is harsher than a journaling file system (that one keeps the order of renames).
 *
 * Latency is only added up here: whoever makes the calls decides what the sum means. A change is a
 * call that leaves a trace: write, sync, truncate, allocate, create, rename, remove, directory
 * sync. `halt_in` lets a process die between any two of them, in the middle of a write included.
 */
#include "chaos/sim/disk.h"

#include "chaos/sim/disk_damage.h"
#include "chaos/sim/disk_internal.h"
#include "core/invariant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file {
    struct inode *inode;
    bool holds_lock;
};

struct directory {
    struct disk *disk;
    char path[DISK_NAME_SIZE];
};

void disk_init(struct disk *disk, struct world *world, uint64_t seed, uint64_t number)
{
    *disk = (struct disk){
        .world = world,
        .draw = draw_stream(seed, 1000 + number),
        .sync_ns = 200 * NS_PER_US,
        .slow_factor = 1,
        .capacity = UINT64_MAX,
    };
}

void disk_deinit(struct disk *disk)
{
    disk_wipe(disk);
    free(disk->names);
}

void disk_wipe(struct disk *disk)
{
    for (uint32_t i = 0; i < disk->name_count; i++) {
        inode_point(&disk->names[i].seen, NULL);
        inode_point(&disk->names[i].durable, NULL);
    }
    disk->name_count = 0;
    disk->used = 0;
    disk->fail_per_mille = 0; /* the old one's */
    disk->misdirect_in = 0;
    disk->misdirected[0] = 0;
}

/* ---- names ---- */

static struct disk_name *name_find(struct disk *disk, const char *path, bool make)
{
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (strcmp(disk->names[i].path, path) == 0)
            return &disk->names[i];
    if (!make)
        return NULL;
    struct disk_name *name = NULL;
    for (uint32_t i = 0; i < disk->name_count && name == NULL; i++)
        if (disk->names[i].seen == NULL && disk->names[i].durable == NULL)
            name = &disk->names[i]; /* a slot nobody uses any more */
    if (name == NULL) {
        if (disk->name_count == disk->name_capacity) {
            disk->name_capacity = disk->name_capacity == 0 ? 32 : disk->name_capacity * 2;
            disk->names = sim_resize(disk->names, disk->name_capacity * sizeof *disk->names);
        }
        name = &disk->names[disk->name_count++];
    }
    memset(name, 0, sizeof *name);
    snprintf(name->path, sizeof name->path, "%s", path);
    return name;
}

/* Whether `path` lies directly in `directory`. */
static bool is_in(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && path[size] == '/' &&
           strchr(path + size + 1, '/') == NULL;
}

static bool is_below(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && path[size] == '/';
}

static void join(const struct directory *directory, const char *name, char out[DISK_NAME_SIZE])
{
    int size = snprintf(out, DISK_NAME_SIZE, "%s/%s", directory->path, name);
    if (size < 0 || size >= DISK_NAME_SIZE) {
        fprintf(stderr, "tally-sim: a path is longer than the virtual disk takes: %s\n", name);
        abort();
    }
}

/* ---- latency and faults ---- */

static void charge(struct disk *disk, uint64_t base_ns)
{
    uint64_t ns = base_ns / 2 + draw_below(&disk->draw, base_ns + 1);
    if (draw_chance(&disk->draw, 1, 256))
        ns += 20 * base_ns; /* now and then a disk has something else to do */
    disk->cost_ns += ns * disk->slow_factor;
    const uint64_t now = disk->world->now_ns;
    if (now + disk->cost_ns < disk->stuck_until_ns)
        disk->cost_ns = disk->stuck_until_ns - now;
}

enum verdict { GO, FAIL, HALT };

static enum verdict change(struct disk *disk, uint64_t base_ns)
{
    if (disk->dead)
        return FAIL;
    charge(disk, base_ns);
    if (disk->fail_per_mille > 0 && draw_chance(&disk->draw, disk->fail_per_mille, 1000)) {
        disk->fail_total++;
        return FAIL;
    }
    if (disk->fail_in > 0 && --disk->fail_in == 0) {
        disk->failed = true;
        return FAIL;
    }
    if (disk->halt_in > 0 && --disk->halt_in == 0) {
        disk->dead = true;
        return HALT;
    }
    return GO;
}

static bool room_for(const struct disk *disk, const struct inode *inode, uint64_t size)
{
    return size <= inode->size || disk->used - inode->size + size <= disk->capacity;
}

static void resize(struct disk *disk, struct inode *inode, uint64_t size)
{
    disk->used = disk->used - inode->size + size;
    inode_set_size(inode, size);
}

/* ---- the table ---- */

static struct file *file_make(struct inode *inode)
{
    struct file *file = sim_allocate(sizeof *file);
    inode_point(&file->inode, inode);
    return file;
}

static enum status table_open(void *context, const char *text, enum file_mode mode,
                              struct file **out)
{
    struct directory *directory = context;
    struct disk *disk = directory->disk;
    char path[DISK_NAME_SIZE];
    join(directory, text, path);
    if (disk->dead)
        return STATUS_IO;
    struct disk_name *name = name_find(disk, path, mode == FILE_CREATE);
    if (mode != FILE_CREATE) {
        if (name == NULL || name->seen == NULL)
            return STATUS_NOT_FOUND;
        if (name->seen->is_directory)
            return STATUS_IO;
        *out = file_make(name->seen);
        return STATUS_OK;
    }
    if (name->seen != NULL)
        return STATUS_EXISTS;
    if (change(disk, disk->sync_ns / 10) == FAIL)
        return STATUS_IO;
    inode_point(&name->seen, inode_create(false));
    if (disk->dead)
        return STATUS_IO;
    *out = file_make(name->seen);
    return STATUS_OK;
}

static void table_close(void *context, struct file *file)
{
    (void)context;
    if (file->holds_lock)
        file->inode->locked = false;
    inode_point(&file->inode, NULL);
    free(file);
}

static enum status table_size(void *context, struct file *file, uint64_t *out_size)
{
    const struct directory *directory = context;
    if (directory->disk->dead)
        return STATUS_IO;
    *out_size = file->inode->size;
    return STATUS_OK;
}

static enum status table_read(void *context, struct file *file, void *buffer, size_t size,
                              uint64_t offset)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    if (disk->dead)
        return STATUS_IO;
    if (offset > file->inode->size || size > file->inode->size - offset)
        return STATUS_CORRUPT;
    if (disk->fail_per_mille > 0 && draw_chance(&disk->draw, disk->fail_per_mille, 1000)) {
        disk->fail_total++;
        return STATUS_IO;
    }
    if (size > 0)
        inode_read(file->inode, buffer, size, offset);
    disk->cost_ns += 2 * NS_PER_US + size / 4; /* page cache, or a fast disk */
    return STATUS_OK;
}

static enum status table_write(void *context, struct file *file, const void *buffer, size_t size,
                               uint64_t offset)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    struct inode *inode = file->inode;
    const uint64_t end = offset + size;
    disk->write_total++;
    if (!disk->dead && !room_for(disk, inode, end))
        return STATUS_DISK_FULL;
    const enum verdict verdict = change(disk, disk->sync_ns / 10 + size / 4);
    if (disk->dead && verdict == FAIL)
        return STATUS_IO;
    if (verdict == GO && disk->misdirect_in > 0 &&
        disk_misdirect(disk, inode, buffer, size, offset))
        return STATUS_OK;
    /* A write that fails, or in which the process dies, has written some of its sectors. */
    size_t written = size;
    if (verdict != GO)
        written = (size_t)draw_below(&disk->draw, size / DISK_SECTOR + 1) * DISK_SECTOR;
    if (written > 0) {
        if (offset + written > inode->size)
            resize(disk, inode, offset + written);
        inode_write(inode, buffer, written, offset);
    }
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

static enum status table_sync(void *context, struct file *file)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    disk->sync_total++;
    const enum verdict verdict = change(disk, disk->sync_ns);
    if (verdict == FAIL)
        return STATUS_IO;
    if (!disk->sync_off)
        inode_sync(file->inode);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

static enum status table_truncate(void *context, struct file *file, uint64_t size)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    if (!disk->dead && !room_for(disk, file->inode, size))
        return STATUS_DISK_FULL;
    const enum verdict verdict = change(disk, disk->sync_ns / 10);
    if (verdict == FAIL)
        return STATUS_IO;
    resize(disk, file->inode, size);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

static enum status table_allocate(void *context, struct file *file, uint64_t size)
{
    return size <= file->inode->size ? STATUS_OK : table_truncate(context, file, size);
}

static void forget_size(struct disk *disk, const struct disk_name *name)
{
    if (name->seen != NULL)
        disk->used -= name->seen->size;
}

static enum status table_rename(void *context, const char *from, const char *to)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    char path_from[DISK_NAME_SIZE], path_to[DISK_NAME_SIZE];
    join(directory, from, path_from);
    join(directory, to, path_to);
    struct disk_name *target = name_find(disk, path_to, true);
    struct disk_name *source = name_find(disk, path_from, false);
    if (source == NULL || source->seen == NULL)
        return disk->dead ? STATUS_IO : STATUS_NOT_FOUND;
    target = name_find(disk, path_to, true);
    const enum verdict verdict = change(disk, disk->sync_ns / 10);
    if (verdict == FAIL)
        return STATUS_IO;
    forget_size(disk, target);
    inode_point(&target->seen, source->seen);
    inode_point(&source->seen, NULL);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

static enum status table_remove(void *context, const char *text)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    char path[DISK_NAME_SIZE];
    join(directory, text, path);
    struct disk_name *name = name_find(disk, path, false);
    if (name == NULL || name->seen == NULL)
        return disk->dead ? STATUS_IO : STATUS_NOT_FOUND;
    if (name->seen->is_directory)
        return STATUS_IO;
    const enum verdict verdict = change(disk, disk->sync_ns / 10);
    if (verdict == FAIL)
        return STATUS_IO;
    forget_size(disk, name);
    inode_point(&name->seen, NULL);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

static void sync_names(struct disk *disk, const char *directory)
{
    for (uint32_t i = 0; i < disk->name_count && !disk->sync_off; i++)
        if (is_in(disk->names[i].path, directory))
            inode_point(&disk->names[i].durable, disk->names[i].seen);
}

static enum status table_sync_directory(void *context)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    const enum verdict verdict = change(disk, disk->sync_ns);
    if (verdict == FAIL)
        return STATUS_IO;
    sync_names(disk, directory->path);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

static enum status table_list(void *context, bool (*each)(void *argument, const char *name),
                              void *argument)
{
    const struct directory *directory = context;
    struct disk *disk = directory->disk;
    if (disk->dead)
        return STATUS_IO;
    /* `each` may remove names; the array may move when it makes some. */
    for (uint32_t i = 0; i < disk->name_count; i++) {
        if (disk->names[i].seen == NULL || !is_in(disk->names[i].path, directory->path))
            continue;
        char text[DISK_NAME_SIZE];
        snprintf(text, sizeof text, "%s", disk->names[i].path + strlen(directory->path) + 1);
        if (!each(argument, text))
            break;
    }
    return STATUS_OK;
}

static enum status table_lock(void *context, const char *text, struct file **out)
{
    struct directory *directory = context;
    struct disk *disk = directory->disk;
    char path[DISK_NAME_SIZE];
    join(directory, text, path);
    if (disk->dead)
        return STATUS_IO;
    struct disk_name *name = name_find(disk, path, true);
    if (name->seen == NULL)
        inode_point(&name->seen, inode_create(false));
    if (name->seen->locked)
        return STATUS_LOCKED;
    *out = file_make(name->seen);
    (*out)->holds_lock = true;
    name->seen->locked = true;
    return STATUS_OK;
}

static enum status table_free_space(void *context, uint64_t *out_bytes)
{
    const struct directory *directory = context;
    const struct disk *disk = directory->disk;
    if (disk->dead)
        return STATUS_IO;
    *out_bytes = disk->used < disk->capacity ? disk->capacity - disk->used : 0;
    return STATUS_OK;
}

/* ---- directories ---- */

enum status disk_open_directory(struct disk *disk, const char *path, struct files *out_files)
{
    if (disk->dead)
        return STATUS_IO;
    const enum status status = disk_find_directory(disk, path);
    if (status != STATUS_OK)
        return status;
    struct directory *directory = sim_allocate(sizeof *directory);
    directory->disk = disk;
    snprintf(directory->path, sizeof directory->path, "%s", path);
    *out_files = (struct files){
        .context = directory,
        .open = table_open,
        .close = table_close,
        .size = table_size,
        .read = table_read,
        .write = table_write,
        .sync = table_sync,
        .truncate = table_truncate,
        .allocate = table_allocate,
        .rename = table_rename,
        .remove = table_remove,
        .sync_directory = table_sync_directory,
        .list = table_list,
        .lock = table_lock,
        .free_space = table_free_space,
    };
    return STATUS_OK;
}

void disk_close_directory(struct files *files)
{
    free(files->context);
    *files = (struct files){0};
}

static bool parent_of(const char *path, char out[DISK_NAME_SIZE])
{
    snprintf(out, DISK_NAME_SIZE, "%s", path);
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        return false;
    *slash = 0;
    return out[0] != 0; /* the root is always there */
}

enum status disk_make_directory(struct disk *disk, const char *path)
{
    char parent[DISK_NAME_SIZE];
    if (disk->dead)
        return STATUS_IO;
    if (parent_of(path, parent) && disk_find_directory(disk, parent) != STATUS_OK)
        return STATUS_NOT_FOUND;
    struct disk_name *name = name_find(disk, path, true);
    if (name->seen != NULL)
        return STATUS_EXISTS;
    const enum verdict verdict = change(disk, disk->sync_ns / 10);
    if (verdict == FAIL)
        return STATUS_IO;
    inode_point(&name->seen, inode_create(true));
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

enum status disk_find_directory(struct disk *disk, const char *path)
{
    if (disk->dead)
        return STATUS_IO;
    const struct disk_name *name = name_find(disk, path, false);
    if (name == NULL || name->seen == NULL)
        return STATUS_NOT_FOUND;
    return name->seen->is_directory ? STATUS_OK : STATUS_INVALID;
}

enum status disk_remove_directory(struct disk *disk, const char *path)
{
    const enum status status = disk_find_directory(disk, path);
    if (status != STATUS_OK)
        return status;
    struct files files;
    struct directory directory = {.disk = disk};
    snprintf(directory.path, sizeof directory.path, "%s", path);
    files.context = &directory;
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (disk->names[i].seen != NULL && is_in(disk->names[i].path, path) &&
            !disk->names[i].seen->is_directory)
            (void)table_remove(files.context, disk->names[i].path + strlen(path) + 1);
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (disk->names[i].seen != NULL && is_in(disk->names[i].path, path))
            return disk->dead ? STATUS_IO : STATUS_EXISTS;
    const enum verdict verdict = change(disk, disk->sync_ns / 10);
    if (verdict == FAIL)
        return STATUS_IO;
    inode_point(&name_find(disk, path, false)->seen, NULL);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

/* At once and durably, with everything below: renaming a directory is no step of a running node. */
enum status disk_rename_directory(struct disk *disk, const char *from, const char *to)
{
    enum status status = disk_find_directory(disk, from);
    if (status != STATUS_OK)
        return status;
    if (disk_find_directory(disk, to) != STATUS_NOT_FOUND)
        return STATUS_EXISTS;
    const enum verdict verdict = change(disk, disk->sync_ns);
    if (verdict == FAIL)
        return STATUS_IO;
    const size_t size = strlen(from);
    for (uint32_t i = 0; i < disk->name_count; i++) {
        struct disk_name *name = &disk->names[i];
        if (strcmp(name->path, from) != 0 && !is_below(name->path, from))
            continue;
        char moved[2 * DISK_NAME_SIZE];
        const int length = snprintf(moved, sizeof moved, "%s%s", to, name->path + size);
        invariant(length > 0 && length < DISK_NAME_SIZE);
        memcpy(name->path, moved, (size_t)length + 1);
    }
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

enum status disk_sync_parent(struct disk *disk, const char *path)
{
    char parent[DISK_NAME_SIZE];
    const enum verdict verdict = change(disk, disk->sync_ns);
    if (verdict == FAIL)
        return STATUS_IO;
    (void)parent_of(path, parent); /* "" is the root */
    sync_names(disk, parent);
    return verdict == GO ? STATUS_OK : STATUS_IO;
}

/* ---- ends ---- */

void disk_restart(struct disk *disk)
{
    disk->dead = false;
    disk->failed = false;
    disk->halt_in = 0;
    disk->fail_in = 0;
    disk->cost_ns = 0;
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (disk->names[i].seen != NULL)
            disk->names[i].seen->locked = false;
}

/* Names below a directory that is not there any more. */
static void forget_orphans(struct disk *disk, const char *directory)
{
    for (uint32_t i = 0; i < disk->name_count; i++) {
        if (!is_below(disk->names[i].path, directory))
            continue;
        inode_point(&disk->names[i].seen, NULL);
        inode_point(&disk->names[i].durable, NULL);
    }
}

void disk_power_loss(struct disk *disk)
{
    const bool whole_pages = draw_chance(&disk->draw, 1, 2);
    for (uint32_t i = 0; i < disk->name_count; i++) {
        struct disk_name *name = &disk->names[i];
        if (name->seen == name->durable)
            continue;
        disk->lost_total++;
        if (draw_chance(&disk->draw, 1, 2))
            inode_point(&name->durable, name->seen);
        else
            inode_point(&name->seen, name->durable);
    }
    for (uint32_t i = 0; i < disk->name_count; i++)
        if (disk->names[i].seen == NULL)
            forget_orphans(disk, disk->names[i].path);
    disk->used = 0;
    for (uint32_t i = 0; i < disk->name_count; i++) {
        struct inode *inode = disk->names[i].seen;
        if (inode == NULL)
            continue;
        inode_lose(inode, &disk->draw, whole_pages);
        disk->used += inode->size;
    }
    disk_restart(disk);
}
