/*
 * The names, the faults and the table of functions; the contents of a file are in memory_inode.c.
 * There are two tables of names, what is seen and what is durable, each name on its own (harsher
 * than a journaling file system, which keeps the order of renames).
 */
#include "tests/lib/files_memory.h"

#include "tests/lib/memory_inode.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 256

struct name {
    char text[64];
    struct inode *seen;
    struct inode *durable;
};

struct file {
    struct inode *inode;
    bool holds_lock;
    struct file *next;
};

struct files_memory {
    struct files table;
    pthread_mutex_t lock;
    uint64_t random;
    struct name names[NAMES_MAX];
    size_t name_count;
    struct file *open_files;
    struct file *stale_files; /* of dead processes: their owners may still close them */
    uint32_t fault_mask;
    uint64_t fault_at, fault_calls;
    enum status fault_status;
    bool fault_halts, fault_struck, dead;
    int64_t fault_sectors;
    uint64_t calls[16];
    uint64_t last_write_sectors;
    uint64_t capacity;
    bool sync_on;
};

static uint64_t draw(struct files_memory *memory)
{
    return memory_draw(&memory->random);
}

/* ---- names ---- */

static struct name *name_find(struct files_memory *memory, const char *text, bool make)
{
    for (size_t i = 0; i < memory->name_count; i++)
        if (strcmp(memory->names[i].text, text) == 0)
            return &memory->names[i];
    if (!make)
        return NULL;
    for (size_t i = 0; i < memory->name_count; i++) { /* a slot nobody uses any more */
        struct name *name = &memory->names[i];
        if (name->seen == NULL && name->durable == NULL) {
            (void)snprintf(name->text, sizeof name->text, "%s", text);
            return name;
        }
    }
    if (memory->name_count == NAMES_MAX)
        abort();
    struct name *name = &memory->names[memory->name_count++];
    (void)snprintf(name->text, sizeof name->text, "%s", text);
    return name;
}

static uint64_t used_bytes(const struct files_memory *memory)
{
    uint64_t used = 0;
    for (size_t i = 0; i < memory->name_count; i++)
        if (memory->names[i].seen != NULL)
            used += memory->names[i].seen->size;
    return used;
}

static bool room_for(const struct files_memory *memory, const struct inode *inode, uint64_t size)
{
    return size <= inode->size || used_bytes(memory) - inode->size + size <= memory->capacity;
}

/* ---- faults ---- */

enum verdict { GO, FAIL, LAST };

static unsigned call_number(enum files_call call)
{
    unsigned number = 0;
    while ((1u << number) != (unsigned)call)
        number++;
    return number;
}

/* Lock held. LAST: carry it out (perhaps in part), then be dead. */
static enum verdict judge(struct files_memory *memory, enum files_call call)
{
    if (memory->dead)
        return FAIL;
    memory->calls[call_number(call)]++;
    if (memory->fault_at == 0 || (memory->fault_mask & (uint32_t)call) == 0)
        return GO;
    if (++memory->fault_calls != memory->fault_at)
        return GO;
    memory->fault_struck = true;
    return memory->fault_halts ? LAST : FAIL;
}

static enum status refuse(const struct files_memory *memory)
{
    return memory->dead ? STATUS_IO : memory->fault_status;
}

static enum status finish(struct files_memory *memory, enum verdict verdict, enum status status)
{
    if (verdict == LAST) {
        memory->dead = true;
        status = STATUS_IO; /* the process does not live to see what became of it */
    }
    pthread_mutex_unlock(&memory->lock);
    return status;
}

static enum verdict begin(struct files_memory *memory, enum files_call call)
{
    pthread_mutex_lock(&memory->lock);
    return judge(memory, call);
}

/* ---- the table ---- */

static struct file *file_make(struct files_memory *memory, struct inode *inode)
{
    struct file *file = memory_must(calloc(1, sizeof *file));
    inode_point(&file->inode, inode);
    file->next = memory->open_files;
    memory->open_files = file;
    return file;
}

static enum status memory_open(void *context, const char *text, enum file_mode mode,
                               struct file **out)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_OPEN);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    struct name *name = name_find(memory, text, mode == FILE_CREATE);
    const bool there = name != NULL && name->seen != NULL;
    if (mode == FILE_CREATE && there)
        status = STATUS_EXISTS;
    else if (mode == FILE_CREATE)
        inode_point(&name->seen, memory_must(calloc(1, sizeof(struct inode))));
    else if (!there)
        status = STATUS_NOT_FOUND;
    if (status == STATUS_OK && verdict != LAST)
        *out = file_make(memory, name->seen);
    return finish(memory, verdict, status);
}

static bool unlink_file(struct file **list, struct file *file)
{
    for (struct file **at = list; *at != NULL; at = &(*at)->next) {
        if (*at == file) {
            *at = file->next;
            return true;
        }
    }
    return false;
}

static void memory_close(void *context, struct file *file)
{
    struct files_memory *memory = context;
    pthread_mutex_lock(&memory->lock);
    if (unlink_file(&memory->open_files, file)) {
        if (file->holds_lock)
            file->inode->locked = false;
        inode_point(&file->inode, NULL);
    } else if (!unlink_file(&memory->stale_files, file)) {
        abort(); /* closed twice */
    }
    free(file);
    pthread_mutex_unlock(&memory->lock);
}

static enum status memory_size(void *context, struct file *file, uint64_t *out_size)
{
    struct files_memory *memory = context;
    pthread_mutex_lock(&memory->lock);
    const bool dead = memory->dead || file->inode == NULL;
    if (!dead)
        *out_size = file->inode->size;
    pthread_mutex_unlock(&memory->lock);
    return dead ? STATUS_IO : STATUS_OK;
}

static enum status memory_read(void *context, struct file *file, void *buffer, size_t size,
                               uint64_t offset)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_READ);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    const struct inode *inode = file->inode;
    if (offset > inode->size || size > inode->size - offset)
        status = STATUS_CORRUPT;
    else
        memcpy(buffer, inode->bytes + offset, size);
    return finish(memory, verdict, status);
}

static void put(struct files_memory *memory, struct inode *inode, const void *buffer, uint64_t size,
                uint64_t offset)
{
    if (size == 0)
        return;
    if (offset + size > inode->size)
        inode_set_size(inode, offset + size);
    memcpy(inode->bytes + offset, buffer, size);
    for (uint64_t page = offset / MEMORY_PAGE; page <= (offset + size - 1) / MEMORY_PAGE; page++)
        inode->dirty[page] = 1;
    /* The kernel may write back at any moment, and what it wrote is then overwritten. */
    if ((draw(memory) & 15) == 0)
        inode_write_back(inode,
                         offset / MEMORY_PAGE +
                             draw(memory) % ((offset % MEMORY_PAGE + size - 1) / MEMORY_PAGE + 1));
}

/* Bytes of a write that lie before its `sectors`-th sector boundary. */
static uint64_t cut_at_sector(uint64_t offset, uint64_t size, uint64_t sectors)
{
    const uint64_t end = (offset / MEMORY_SECTOR + sectors) * MEMORY_SECTOR;
    if (end <= offset)
        return 0;
    return end - offset < size ? end - offset : size;
}

static enum status memory_write(void *context, struct file *file, const void *buffer, size_t size,
                                uint64_t offset)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_WRITE);
    enum status status = STATUS_OK;
    if (memory->dead)
        return finish(memory, verdict, STATUS_IO);
    const uint64_t sectors =
        size == 0 ? 0 : (offset % MEMORY_SECTOR + size + MEMORY_SECTOR - 1) / MEMORY_SECTOR;
    memory->last_write_sectors = sectors;
    uint64_t written = size;
    if (verdict == FAIL) {
        status = memory->fault_status;
        written = cut_at_sector(offset, size, draw(memory) % (sectors + 1));
    }
    if (verdict == LAST && memory->fault_sectors >= 0)
        written = cut_at_sector(offset, size, (uint64_t)memory->fault_sectors);
    if (!room_for(memory, file->inode, offset + size)) {
        status = STATUS_DISK_FULL;
        written = 0;
    }
    put(memory, file->inode, buffer, written, offset);
    return finish(memory, verdict, status);
}

static enum status memory_sync(void *context, struct file *file)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_SYNC);
    enum status status = STATUS_OK;
    if (verdict == FAIL) {
        for (uint64_t page = 0; !memory->dead && page < file->inode->capacity / MEMORY_PAGE;
             page++) {
            if (file->inode->dirty[page] && (draw(memory) & 1))
                inode_write_back(file->inode, page);
            file->inode->dirty[page] = 0; /* dropped: never tried again */
        }
        return finish(memory, verdict, refuse(memory));
    }
    if (memory->sync_on)
        inode_sync(file->inode);
    return finish(memory, verdict, status);
}

static enum status memory_truncate(void *context, struct file *file, uint64_t size)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_TRUNCATE);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    inode_set_size(file->inode, size);
    return finish(memory, verdict, status);
}

static enum status memory_allocate(void *context, struct file *file, uint64_t size)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_ALLOCATE);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    if (!room_for(memory, file->inode, size))
        status = STATUS_DISK_FULL;
    else if (size > file->inode->size)
        inode_set_size(file->inode, size);
    return finish(memory, verdict, status);
}

static enum status memory_rename(void *context, const char *from, const char *to)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_RENAME);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    struct name *source = name_find(memory, from, false);
    if (source == NULL || source->seen == NULL)
        return finish(memory, verdict, STATUS_NOT_FOUND);
    struct name *target = name_find(memory, to, true);
    inode_point(&target->seen, source->seen);
    inode_point(&source->seen, NULL);
    return finish(memory, verdict, status);
}

static enum status memory_remove(void *context, const char *text)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_REMOVE);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    struct name *name = name_find(memory, text, false);
    if (name == NULL || name->seen == NULL)
        status = STATUS_NOT_FOUND;
    else
        inode_point(&name->seen, NULL);
    return finish(memory, verdict, status);
}

static enum status memory_sync_directory(void *context)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_SYNC_DIRECTORY);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    for (size_t i = 0; memory->sync_on && i < memory->name_count; i++)
        inode_point(&memory->names[i].durable, memory->names[i].seen);
    return finish(memory, verdict, status);
}

static enum status memory_list(void *context, bool (*each)(void *argument, const char *name),
                               void *argument)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_LIST);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    for (size_t i = 0; i < memory->name_count; i++)
        if (memory->names[i].seen != NULL && !each(argument, memory->names[i].text))
            break;
    return finish(memory, verdict, status);
}

static enum status memory_lock(void *context, const char *text, struct file **out)
{
    struct files_memory *memory = context;
    const enum verdict verdict = begin(memory, FILES_CALL_OPEN);
    enum status status = STATUS_OK;
    if (verdict == FAIL)
        return finish(memory, verdict, refuse(memory));
    struct name *name = name_find(memory, text, true);
    if (name->seen == NULL)
        inode_point(&name->seen, memory_must(calloc(1, sizeof(struct inode))));
    if (name->seen->locked) {
        status = STATUS_LOCKED;
    } else if (verdict != LAST) {
        name->seen->locked = true;
        *out = file_make(memory, name->seen);
        (*out)->holds_lock = true;
    }
    return finish(memory, verdict, status);
}

static enum status memory_free_space(void *context, uint64_t *out_bytes)
{
    struct files_memory *memory = context;
    pthread_mutex_lock(&memory->lock);
    const uint64_t used = used_bytes(memory);
    *out_bytes = used < memory->capacity ? memory->capacity - used : 0;
    const bool dead = memory->dead;
    pthread_mutex_unlock(&memory->lock);
    return dead ? STATUS_IO : STATUS_OK;
}

/* ---- making and setting ---- */

struct files_memory *files_memory_create(uint64_t seed)
{
    struct files_memory *memory = memory_must(calloc(1, sizeof *memory));
    if (pthread_mutex_init(&memory->lock, NULL) != 0)
        abort();
    memory->random = seed;
    memory->capacity = UINT64_MAX;
    memory->sync_on = true;
    memory->table = (struct files){
        .context = memory,
        .open = memory_open,
        .close = memory_close,
        .size = memory_size,
        .read = memory_read,
        .write = memory_write,
        .sync = memory_sync,
        .truncate = memory_truncate,
        .allocate = memory_allocate,
        .rename = memory_rename,
        .remove = memory_remove,
        .sync_directory = memory_sync_directory,
        .list = memory_list,
        .lock = memory_lock,
        .free_space = memory_free_space,
    };
    return memory;
}

void files_memory_destroy(struct files_memory *memory)
{
    files_memory_restart(memory);
    for (size_t i = 0; i < memory->name_count; i++) {
        inode_point(&memory->names[i].seen, NULL);
        inode_point(&memory->names[i].durable, NULL);
    }
    if (memory->stale_files != NULL)
        abort(); /* somebody forgot to close */
    (void)pthread_mutex_destroy(&memory->lock);
    free(memory);
}

const struct files *files_memory_table(struct files_memory *memory)
{
    return &memory->table;
}

struct files_memory *files_memory_clone(struct files_memory *memory, uint64_t seed)
{
    struct files_memory *twin = files_memory_create(seed);
    pthread_mutex_lock(&memory->lock);
    twin->name_count = memory->name_count;
    twin->capacity = memory->capacity;
    twin->sync_on = memory->sync_on;
    for (size_t i = 0; i < memory->name_count; i++)
        memcpy(twin->names[i].text, memory->names[i].text, sizeof twin->names[i].text);
    for (size_t i = 0; i < 2 * memory->name_count; i++) {
        /* Each inode once, wherever its names are. */
        const struct name *name = &memory->names[i / 2];
        const struct inode *original = i % 2 == 0 ? name->seen : name->durable;
        if (original == NULL)
            continue;
        struct inode *copy = NULL;
        for (size_t j = 0; j < i && copy == NULL; j++) {
            const struct name *earlier = &memory->names[j / 2];
            if ((j % 2 == 0 ? earlier->seen : earlier->durable) == original)
                copy = j % 2 == 0 ? twin->names[j / 2].seen : twin->names[j / 2].durable;
        }
        if (copy == NULL)
            copy = inode_copy(original);
        inode_point(i % 2 == 0 ? &twin->names[i / 2].seen : &twin->names[i / 2].durable, copy);
    }
    pthread_mutex_unlock(&memory->lock);
    return twin;
}

static void set_fault(struct files_memory *memory, uint32_t mask, uint64_t n, enum status status,
                      bool halts, int64_t sectors)
{
    pthread_mutex_lock(&memory->lock);
    memory->fault_mask = mask;
    memory->fault_at = n;
    memory->fault_calls = 0;
    memory->fault_status = status;
    memory->fault_halts = halts;
    memory->fault_struck = false;
    memory->fault_sectors = sectors;
    memset(memory->calls, 0, sizeof memory->calls);
    pthread_mutex_unlock(&memory->lock);
}

void files_memory_fail(struct files_memory *memory, uint32_t mask, uint64_t n, enum status status)
{
    set_fault(memory, mask, n, status, false, -1);
}

void files_memory_halt(struct files_memory *memory, uint32_t mask, uint64_t n, int64_t sectors)
{
    set_fault(memory, mask, n, STATUS_IO, true, sectors);
}

uint64_t files_memory_calls(struct files_memory *memory, uint32_t mask)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 16; i++)
        if (mask & (1u << i))
            sum += memory->calls[i];
    return sum;
}

uint64_t files_memory_last_write_sectors(struct files_memory *memory)
{
    return memory->last_write_sectors;
}

bool files_memory_failed(const struct files_memory *memory)
{
    return memory->fault_struck;
}

void files_memory_set_capacity(struct files_memory *memory, uint64_t bytes)
{
    pthread_mutex_lock(&memory->lock);
    memory->capacity = bytes;
    pthread_mutex_unlock(&memory->lock);
}

void files_memory_set_sync(struct files_memory *memory, bool on)
{
    memory->sync_on = on;
}

/* ---- ends ---- */

void files_memory_restart(struct files_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    while (memory->open_files != NULL) {
        struct file *file = memory->open_files;
        memory->open_files = file->next;
        file->inode->locked = false;
        inode_point(&file->inode, NULL);
        file->next = memory->stale_files;
        memory->stale_files = file;
    }
    memory->dead = false;
    memory->fault_at = 0;
    pthread_mutex_unlock(&memory->lock);
}

void files_memory_power_loss(struct files_memory *memory)
{
    files_memory_restart(memory);
    pthread_mutex_lock(&memory->lock);
    for (size_t i = 0; i < memory->name_count; i++) {
        struct name *name = &memory->names[i];
        if (name->seen != name->durable && (draw(memory) & 1))
            inode_point(&name->durable, name->seen);
    }
    for (size_t i = 0; i < memory->name_count; i++) {
        struct name *name = &memory->names[i];
        inode_point(&name->seen, name->durable);
    }
    for (size_t i = 0; i < memory->name_count; i++)
        if (memory->names[i].seen != NULL)
            inode_lose(&memory->random, memory->names[i].seen);
    pthread_mutex_unlock(&memory->lock);
}

/* ---- hands on the contents ---- */

static struct inode *inode_named(struct files_memory *memory, const char *text)
{
    struct name *name = name_find(memory, text, false);
    return name == NULL ? NULL : name->seen;
}

uint8_t *files_memory_bytes(struct files_memory *memory, const char *name, uint64_t *out_size)
{
    struct inode *inode = inode_named(memory, name);
    if (inode == NULL)
        return NULL;
    if (out_size != NULL)
        *out_size = inode->size;
    return inode->bytes;
}

void files_memory_remove(struct files_memory *memory, const char *text)
{
    struct name *name = name_find(memory, text, false);
    if (name != NULL) {
        inode_point(&name->seen, NULL);
        inode_point(&name->durable, NULL);
    }
}

void files_memory_resize(struct files_memory *memory, const char *name, uint64_t size)
{
    struct inode *inode = inode_named(memory, name);
    if (inode == NULL)
        abort();
    inode_set_size(inode, size);
    inode_sync(inode);
}

void files_memory_settle(struct files_memory *memory)
{
    for (size_t i = 0; i < memory->name_count; i++) {
        inode_point(&memory->names[i].durable, memory->names[i].seen);
        if (memory->names[i].seen != NULL)
            inode_sync(memory->names[i].seen);
    }
}
