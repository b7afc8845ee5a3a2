/*
 * Keeps, for each file and for the names, what a power loss would bring back.
 *
 * Rules. The content found when a file is first opened is durable. A page's old content is logged
 * before the first write to it after a sync; the sync empties the file's log. Writes to and syncs
 * of one file exclude each other here, so a sync covers exactly the writes that had returned. A
 * name is durable after a sync of its directory, not before: stricter than ext4, as POSIX allows.
 *
 * Only system calls are made from here, never the interposed functions.
 */
#include "chaos/power_loss/undo.h"

#include "chaos/power_loss/undo_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX   4096
#define PENDING_MAX 65536
#define BATCH_PAGES 256u

struct undo_file {
    uint64_t device, inode; /* inode 0: free */
    unsigned references;
    int read_fd, log_fd;
    pthread_mutex_t mutex;
    uint64_t generation;       /* grows with each sync */
    uint64_t *page_generation; /* of the page's last record; 0 = none */
    uint64_t page_count;       /* entries of page_generation */
    struct undo_record header[BATCH_PAGES];
    struct iovec parts[2 * BATCH_PAGES];
    uint8_t *old; /* BATCH_PAGES pages */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char watched[1024], log_directory[1024];
static bool enabled, ignore_syncs;

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct undo_file *files[FILES_MAX];

static pthread_mutex_t names_mutex = PTHREAD_MUTEX_INITIALIZER;
static int names_fd = -1;
static uint64_t stash_next = 1;
static struct pending {
    char *directory;
    uint64_t stash;
} * pending;
static unsigned pending_count;

static _Noreturn void give_up(const char *what, const char *where)
{
    fprintf(stderr, "powerloss: %s: %s: %s\n", where, what, strerror(errno));
    abort();
}

static void setup(void)
{
    const char *directory = getenv("TALLY_POWERLOSS_DIR"), *log = getenv("TALLY_POWERLOSS_LOG");
    const char *no_sync = getenv("TALLY_POWERLOSS_NO_SYNC");
    if (directory == NULL)
        return;
    char real[PATH_MAX];
    if (realpath(directory, real) == NULL || strlen(real) >= sizeof watched)
        give_up("TALLY_POWERLOSS_DIR must be an existing directory", directory);
    memcpy(watched, real, strlen(real) + 1);
    if (log == NULL || realpath(log, real) == NULL || strlen(real) >= sizeof log_directory)
        give_up("TALLY_POWERLOSS_LOG must be an existing directory", log == NULL ? "" : log);
    memcpy(log_directory, real, strlen(real) + 1);
    ignore_syncs = no_sync != NULL && strcmp(no_sync, "1") == 0;
    pending = calloc(PENDING_MAX, sizeof *pending);
    if (pending == NULL)
        give_up("no memory", "start");
    enabled = true;
}

bool undo_enabled(void)
{
    pthread_once(&once, setup);
    return enabled;
}

bool undo_syncs_are_ignored(void)
{
    return undo_enabled() && ignore_syncs;
}

bool undo_watches(const char *path)
{
    size_t size = strlen(watched);
    return undo_enabled() && strncmp(path, watched, size) == 0 &&
           (path[size] == '/' || path[size] == '\0');
}

static int open_log(const char *name)
{
    char path[2200];
    snprintf(path, sizeof path, "%s/%s", log_directory, name);
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        give_up("cannot open the log", path);
    return (int)fd;
}

static void append(int fd, struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    if (syscall(SYS_writev, fd, parts, count) != (long)size)
        give_up("cannot append", "log");
}

static void append_one(int fd, uint32_t kind, uint64_t a, uint64_t b, const void *data,
                       uint32_t size)
{
    struct undo_record record = {.magic = UNDO_MAGIC, .kind = kind, .a = a, .b = b, .size = size};
    union {
        const void *in;
        void *out;
    } bytes = {.in = data};
    struct iovec parts[2] = {{&record, sizeof record}, {bytes.out, size}};
    append(fd, parts, size > 0 ? 2 : 1);
}

/* ---- files ---- */

static uint64_t size_of(const struct undo_file *file)
{
    struct stat info;
    if (fstat(file->read_fd, &info) != 0)
        give_up("fstat", "file");
    return (uint64_t)info.st_size;
}

static void log_restart(struct undo_file *file, uint64_t durable_size)
{
    if (syscall(SYS_ftruncate, file->log_fd, 0) != 0)
        give_up("cannot truncate", "log");
    append_one(file->log_fd, UNDO_BEGIN, durable_size, 0, NULL, 0);
    file->generation++;
}

struct undo_file *undo_file_open(int fd, bool created)
{
    struct stat info;
    char name[64], self[64];
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return NULL;
    pthread_mutex_lock(&table_mutex);
    struct undo_file *file = NULL;
    unsigned slot = FILES_MAX;
    for (unsigned i = 0; i < FILES_MAX && file == NULL; i++) {
        if (files[i] != NULL && files[i]->inode == info.st_ino && files[i]->device == info.st_dev)
            file = files[i];
        if (slot == FILES_MAX && (files[i] == NULL || files[i]->inode == 0))
            slot = i;
    }
    bool is_new = file == NULL;
    if (is_new) {
        if (slot == FILES_MAX)
            give_up("too many files", "table");
        if (files[slot] == NULL) {
            files[slot] = calloc(1, sizeof *file);
            if (files[slot] == NULL || pthread_mutex_init(&files[slot]->mutex, NULL) != 0)
                give_up("no memory", "table");
        }
        file = files[slot];
        file->device = info.st_dev;
        file->inode = info.st_ino;
    }
    if (file->references++ == 0) {
        snprintf(name, sizeof name, "%lu-%lu.undo", (unsigned long)info.st_dev,
                 (unsigned long)info.st_ino);
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        file->log_fd = open_log(name);
        file->read_fd = (int)syscall(SYS_openat, AT_FDCWD, self, O_RDONLY | O_CLOEXEC, 0);
        if (file->read_fd < 0)
            give_up("cannot reopen", self);
    }
    if (is_new) {
        if (file->page_count > 0)
            memset(file->page_generation, 0, file->page_count * sizeof *file->page_generation);
        file->generation = 0;
        log_restart(file, created ? 0 : (uint64_t)info.st_size);
    }
    pthread_mutex_unlock(&table_mutex);
    return file;
}

void undo_file_close(struct undo_file *file)
{
    pthread_mutex_lock(&table_mutex);
    if (--file->references == 0) {
        (void)syscall(SYS_close, file->read_fd);
        (void)syscall(SYS_close, file->log_fd);
    }
    pthread_mutex_unlock(&table_mutex);
}

/* The inode is gone for good: another file may get its number. */
static void file_forget(uint64_t inode)
{
    char path[1200];
    pthread_mutex_lock(&table_mutex);
    for (unsigned i = 0; i < FILES_MAX; i++)
        if (files[i] != NULL && files[i]->inode == inode && inode != 0) {
            snprintf(path, sizeof path, "%s/%lu-%lu.undo", log_directory,
                     (unsigned long)files[i]->device, (unsigned long)inode);
            (void)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
            if (files[i]->references == 0)
                files[i]->inode = 0;
        }
    pthread_mutex_unlock(&table_mutex);
}

void undo_file_begin(struct undo_file *file)
{
    pthread_mutex_lock(&file->mutex);
}

void undo_file_end(struct undo_file *file)
{
    pthread_mutex_unlock(&file->mutex);
}

static void pages_ensure(struct undo_file *file, uint64_t count)
{
    if (count <= file->page_count)
        return;
    uint64_t room = count + count / 2 + 64;
    uint64_t *pages = realloc(file->page_generation, room * sizeof *pages);
    if (pages == NULL)
        give_up("no memory", "pages");
    memset(pages + file->page_count, 0, (room - file->page_count) * sizeof *pages);
    file->page_generation = pages;
    file->page_count = room;
}

static void log_pages(struct undo_file *file, uint64_t first, uint64_t end)
{
    pages_ensure(file, end);
    if (file->old == NULL && (file->old = malloc((size_t)BATCH_PAGES * UNDO_PAGE)) == NULL)
        give_up("no memory", "buffer");
    unsigned count = 0;
    int parts = 0;
    for (uint64_t page = first; page <= end; page++) {
        if (parts > 0 && (page == end || count == BATCH_PAGES)) {
            append(file->log_fd, file->parts, parts);
            count = 0;
            parts = 0;
        }
        if (page == end || file->page_generation[page] == file->generation)
            continue;
        file->page_generation[page] = file->generation;
        uint8_t *old = file->old + (size_t)count * UNDO_PAGE;
        long n = syscall(SYS_pread64, file->read_fd, old, (size_t)UNDO_PAGE, page * UNDO_PAGE);
        if (n < 0)
            give_up("cannot read", "old page");
        file->header[count] = (struct undo_record){
            .magic = UNDO_MAGIC, .kind = UNDO_OLD, .a = page, .size = (uint32_t)n};
        file->parts[parts++] = (struct iovec){&file->header[count], sizeof file->header[count]};
        if (n > 0)
            file->parts[parts++] = (struct iovec){old, (size_t)n};
        count++;
    }
}

void undo_before_write(struct undo_file *file, uint64_t offset, uint64_t size)
{
    if (size > 0)
        log_pages(file, offset / UNDO_PAGE, (offset + size - 1) / UNDO_PAGE + 1);
}

void undo_before_truncate(struct undo_file *file, uint64_t size)
{
    uint64_t now = size_of(file);
    if (size < now)
        log_pages(file, size / UNDO_PAGE, (now - 1) / UNDO_PAGE + 1);
}

void undo_durable_range(struct undo_file *file, uint64_t offset, uint64_t size)
{
    if (size == 0)
        return;
    for (uint64_t page = offset / UNDO_PAGE; page <= (offset + size - 1) / UNDO_PAGE; page++) {
        append_one(file->log_fd, UNDO_DURABLE, page, offset + size, NULL, 0);
        pages_ensure(file, page + 1);
        file->page_generation[page] = 0;
    }
}

void undo_durable_all(struct undo_file *file)
{
    log_restart(file, size_of(file));
}

/* ---- names ---- */

static void directory_of(const char *path, char out[1024])
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path);
    if (size >= 1024)
        give_up("path is too long", path);
    memcpy(out, path, size);
    out[size] = '\0';
}

static void copy_path(char out[1024], const char *path)
{
    if (strlen(path) >= 1024)
        give_up("path is too long", path);
    memcpy(out, path, strlen(path) + 1);
}

static void stash_path(uint64_t number, char out[1100])
{
    snprintf(out, 1100, "%s/stash-%lu", log_directory, (unsigned long)number);
}

/* A second name for a file that is about to lose its own; 0 when there is no such file. */
static uint64_t stash(const char *path)
{
    char to[1100];
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return 0;
    stash_path(stash_next, to);
    (void)syscall(SYS_unlinkat, AT_FDCWD, to, 0); /* of an earlier process */
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, to, 0) != 0)
        give_up("cannot keep a removed file (is the log on the same file system?)", path);
    return stash_next++;
}

static void name_append(enum undo_kind kind, const char *from, const char *to, uint64_t inode,
                        uint64_t stash_number)
{
    struct undo_name name;
    memset(&name, 0, sizeof name);
    name.inode = inode;
    name.stash = stash_number;
    directory_of(to, name.directory);
    copy_path(name.from, from);
    copy_path(name.to, to);
    if (names_fd < 0)
        names_fd = open_log("names.undo");
    append_one(names_fd, kind, 0, 0, &name, sizeof name);
    if (pending_count == PENDING_MAX)
        give_up("too many unsynced names", "names");
    pending[pending_count].directory = strdup(name.directory);
    pending[pending_count].stash = stash_number;
    if (pending[pending_count].directory == NULL)
        give_up("no memory", "names");
    pending_count++;
}

static uint64_t inode_of(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 ? info.st_ino : 0;
}

void undo_after_create(const char *path, uint64_t inode)
{
    pthread_mutex_lock(&names_mutex);
    name_append(UNDO_CREATE, "", path, inode, 0);
    pthread_mutex_unlock(&names_mutex);
}

void undo_before_rename(const char *from, const char *to)
{
    pthread_mutex_lock(&names_mutex);
    name_append(UNDO_RENAME, from, to, inode_of(from), stash(to));
    pthread_mutex_unlock(&names_mutex);
}

void undo_before_unlink(const char *path)
{
    pthread_mutex_lock(&names_mutex);
    name_append(UNDO_UNLINK, "", path, inode_of(path), stash(path));
    pthread_mutex_unlock(&names_mutex);
}

void undo_before_link(const char *from, const char *to)
{
    pthread_mutex_lock(&names_mutex);
    name_append(UNDO_LINK, from, to, inode_of(from), 0);
    pthread_mutex_unlock(&names_mutex);
}

void undo_directory_synced(const char *path)
{
    char stashed[1100];
    pthread_mutex_lock(&names_mutex);
    unsigned kept = 0;
    struct undo_name name;
    memset(&name, 0, sizeof name);
    copy_path(name.to, path);
    if (names_fd >= 0)
        append_one(names_fd, UNDO_SYNC_DIRECTORY, 0, 0, &name, sizeof name);
    for (unsigned i = 0; i < pending_count; i++) {
        if (strcmp(pending[i].directory, path) != 0) {
            pending[kept++] = pending[i];
            continue;
        }
        if (pending[i].stash != 0) {
            struct stat info;
            stash_path(pending[i].stash, stashed);
            bool last = lstat(stashed, &info) == 0 && info.st_nlink == 1;
            (void)syscall(SYS_unlinkat, AT_FDCWD, stashed, 0);
            if (last)
                file_forget(info.st_ino);
        }
        free(pending[i].directory);
    }
    pending_count = kept;
    if (kept == 0 && names_fd >= 0 && syscall(SYS_ftruncate, names_fd, 0) != 0)
        give_up("cannot truncate", "names");
    pthread_mutex_unlock(&names_mutex);
}
