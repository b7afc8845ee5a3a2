/*
 * powerloss-apply LOG DIR SEED: the power comes back.
 *
 * Run after the process under libpowerloss.so was killed. Takes back a random suffix of each
 * directory's unsynced name changes, then gives a random subset of every file's unsynced pages one
 * of the contents they had since the last sync (whole pages, or single sectors of 512 bytes), cuts
 * unsynced growth at a random place or not at all, empties the log and says what it did. Equal
 * seeds on equal logs do the same.
 */
#include "chaos/power_loss/undo_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

static uint64_t random_state;
static const char *log_directory;
static struct {
    unsigned files, pages_lost, pages_kept, pages_torn, cuts, names_lost, names_kept;
} counts;
static bool lose_all;
static unsigned loss_percent; /* drawn per run: little, half or everything is lost */

static _Noreturn void fail(const char *what, const char *path)
{
    fprintf(stderr, "powerloss-apply: %s: %s: %s\n", path, what, strerror(errno));
    exit(2);
}

static uint64_t draw(void)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static bool chance(unsigned percent)
{
    return draw() % 100 < percent;
}

struct bytes {
    uint8_t *data;
    size_t size;
};

static struct bytes read_whole(const char *path)
{
    struct bytes all = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 && errno == ENOENT)
        return all;
    if (fd < 0 || fstat(fd, &info) != 0)
        fail("cannot be read", path);
    all.data = malloc((size_t)info.st_size + 1);
    if (all.data == NULL)
        fail("no memory", path);
    while (all.size < (size_t)info.st_size) {
        ssize_t n = read(fd, all.data + all.size, (size_t)info.st_size - all.size);
        if (n <= 0)
            fail("cannot be read", path);
        all.size += (size_t)n;
    }
    (void)close(fd);
    return all;
}

/* The next whole record, or false at the end or at a record cut off by the kill. */
static bool next_record(const struct bytes *log, size_t *at, struct undo_record *record,
                        const uint8_t **data)
{
    if (log->size - *at < sizeof *record)
        return false;
    memcpy(record, log->data + *at, sizeof *record);
    if (record->magic != UNDO_MAGIC) {
        fprintf(stderr, "powerloss-apply: the log is damaged at %zu\n", *at);
        exit(2);
    }
    if (log->size - *at - sizeof *record < record->size)
        return false;
    *data = log->data + *at + sizeof *record;
    *at += sizeof *record + record->size;
    return true;
}

/* ---- names ---- */

struct name_op {
    uint32_t kind;
    struct undo_name name;
    bool pending, lost;
};

static uint64_t inode_of(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 ? info.st_ino : 0;
}

/* Paths that went away with their directory cannot be restored, and need not be: whoever removed
 * the directory could do so only when it was empty. */
static void undo_name(const struct name_op *op)
{
    const struct undo_name *n = &op->name;
    char stash[2200];
    snprintf(stash, sizeof stash, "%s/stash-%" PRIu64, log_directory, n->stash);
    switch (op->kind) {
    case UNDO_CREATE:
    case UNDO_LINK:
        if (inode_of(n->to) == n->inode)
            (void)unlink(n->to);
        break;
    case UNDO_RENAME:
        if (inode_of(n->to) != n->inode || rename(n->to, n->from) != 0)
            break; /* not carried out before the kill */
        if (n->stash != 0)
            (void)rename(stash, n->to);
        break;
    case UNDO_UNLINK:
        if (n->stash != 0 && inode_of(n->to) == 0)
            (void)rename(stash, n->to);
        break;
    default:
        break;
    }
}

static void apply_names(void)
{
    char path[2200];
    snprintf(path, sizeof path, "%s/names.undo", log_directory);
    struct bytes log = read_whole(path);
    struct name_op *ops = calloc(log.size / sizeof(struct undo_record) + 1, sizeof *ops);
    size_t count = 0, at = 0;
    struct undo_record record;
    const uint8_t *data;
    if (ops == NULL)
        fail("no memory", path);
    while (next_record(&log, &at, &record, &data)) {
        struct undo_name name;
        memcpy(&name, data, sizeof name);
        if (record.kind == UNDO_SYNC_DIRECTORY) {
            for (size_t i = 0; i < count; i++)
                if (strcmp(ops[i].name.directory, name.to) == 0)
                    ops[i].pending = false;
        } else {
            ops[count].kind = record.kind;
            ops[count].name = name;
            ops[count++].pending = true;
        }
    }
    /* From the newest backwards: once one operation of a directory was kept, all before it are. */
    for (size_t i = count; i-- > 0;) {
        if (!ops[i].pending)
            continue;
        bool kept_newer = false;
        for (size_t j = i + 1; j < count && !kept_newer; j++)
            kept_newer = ops[j].pending && !ops[j].lost &&
                         strcmp(ops[j].name.directory, ops[i].name.directory) == 0;
        ops[i].lost = !kept_newer && chance(loss_percent);
        if (ops[i].lost)
            undo_name(&ops[i]);
        counts.names_lost += ops[i].lost;
        counts.names_kept += !ops[i].lost;
    }
    free(ops);
    free(log.data);
}

/* ---- pages ---- */

struct version {
    uint64_t page;
    uint32_t size;
    uint32_t order;
    const uint8_t *data;
};

static int by_page(const void *a, const void *b)
{
    const struct version *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void restore_page(int fd, const char *path, const struct version *version, uint64_t size)
{
    uint8_t page[UNDO_PAGE] = {0};
    uint64_t offset = version->page * UNDO_PAGE;
    if (offset >= size)
        return;
    size_t length = size - offset < UNDO_PAGE ? (size_t)(size - offset) : UNDO_PAGE;
    memcpy(page, version->data, version->size);
    bool torn = !lose_all && chance(25);
    counts.pages_torn += torn;
    for (size_t from = 0; from < length; from += SECTOR) {
        size_t part = length - from < SECTOR ? length - from : SECTOR;
        if (torn && chance(50))
            continue; /* this sector made it */
        if (pwrite(fd, page + from, part, (off_t)(offset + from)) != (ssize_t)part)
            fail("cannot be written", path);
    }
}

static void apply_file(const char *path, const struct stat *info)
{
    char log_path[2200];
    snprintf(log_path, sizeof log_path, "%s/%lu-%lu.undo", log_directory,
             (unsigned long)info->st_dev, (unsigned long)info->st_ino);
    struct bytes log = read_whole(log_path);
    if (log.size == 0) {
        free(log.data);
        return;
    }
    struct version *versions = calloc(log.size / sizeof(struct undo_record) + 1, sizeof *versions);
    if (versions == NULL)
        fail("no memory", path);
    size_t count = 0, at = 0;
    uint64_t durable = 0, size = (uint64_t)info->st_size;
    struct undo_record record;
    const uint8_t *data;
    while (next_record(&log, &at, &record, &data)) {
        if (record.kind == UNDO_BEGIN) {
            durable = record.a;
            count = 0;
        } else if (record.kind == UNDO_OLD) {
            versions[count] = (struct version){
                .page = record.a, .size = record.size, .order = (uint32_t)count, .data = data};
            count++;
        } else if (record.kind == UNDO_DURABLE) {
            size_t kept = 0;
            for (size_t i = 0; i < count; i++)
                if (versions[i].page != record.a)
                    versions[kept++] = versions[i];
            count = kept;
            if (record.b > durable)
                durable = record.b;
        }
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fail("cannot be opened", path);
    counts.files++;
    bool grow_back = size < durable && chance(loss_percent);
    if (grow_back || (size > durable && chance(loss_percent))) {
        if (!grow_back && !lose_all && chance(50)) { /* part of the growth made it */
            uint64_t pages = (size - durable) / UNDO_PAGE + 1;
            uint64_t end = durable / UNDO_PAGE * UNDO_PAGE + draw() % pages * UNDO_PAGE;
            durable = end > durable ? end : durable;
        }
        if (ftruncate(fd, (off_t)durable) != 0)
            fail("cannot be cut", path);
        size = durable;
        counts.cuts++;
    }
    qsort(versions, count, sizeof *versions, by_page);
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        while (end < count && versions[end].page == versions[i].page)
            end++;
        if (grow_back) {
            restore_page(fd, path, &versions[i], size); /* what was cut off is there again */
        } else if (chance(loss_percent)) {
            restore_page(fd, path, &versions[lose_all ? i : i + draw() % (end - i)], size);
            counts.pages_lost++;
        } else {
            counts.pages_kept++;
        }
        i = end;
    }
    (void)close(fd); /* nothing was buffered by us */
    free(versions);
    free(log.data);
}

static int visit(const char *path, const struct stat *info, int type, struct FTW *position)
{
    (void)position;
    if (type == FTW_F && S_ISREG(info->st_mode))
        apply_file(path, info);
    return 0;
}

static void empty_log(void)
{
    DIR *directory = opendir(log_directory);
    char path[2400];
    struct dirent *entry;
    if (directory == NULL)
        fail("cannot be opened", log_directory);
    while ((entry = readdir(directory)) != NULL) {
        const char *dot = strrchr(entry->d_name, '.');
        if (strncmp(entry->d_name, "stash-", 6) != 0 && (dot == NULL || strcmp(dot, ".undo") != 0))
            continue;
        snprintf(path, sizeof path, "%s/%s", log_directory, entry->d_name);
        if (unlink(path) != 0)
            fail("cannot be removed", path);
    }
    closedir(directory);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: powerloss-apply LOG DIR SEED\n");
        return 2;
    }
    static const unsigned percents[] = {10, 50, 90, 100};
    log_directory = argv[1];
    random_state = strtoull(argv[3], NULL, 10);
    lose_all = strcmp(argv[3], "ALL") == 0;
    loss_percent = lose_all ? 100 : percents[draw() % 4];
    apply_names();
    if (nftw(argv[2], visit, 16, FTW_PHYS) != 0)
        fail("cannot be walked", argv[2]);
    empty_log();
    printf("loss %u%%: %u files, pages lost %u (torn %u) kept %u, cuts %u, names lost %u kept %u\n",
           loss_percent, counts.files, counts.pages_lost, counts.pages_torn, counts.pages_kept,
           counts.cuts, counts.names_lost, counts.names_kept);
    return 0;
}
