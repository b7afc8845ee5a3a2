/*
 * Names in a data directory, its identity file and the file that names the generation in use.
 *
 * Both are text, so that an engineer can read them with `cat` when nothing else works:
 *
 *     tallystick data directory 2
 *     cluster 0f1e...            32 hexadecimal digits
 *     node 1
 *     site A
 *     kind data                  or witness
 *     address a1.bank.example:7001
 *     incarnation 9a8b...        32 hexadecimal digits
 *     epoch 1
 *     reserve_bytes 268435456
 *     checksum 4c5d...           SHA-256 of every byte above, 64 hexadecimal digits
 *
 * The identity is written last by node_init and never changed by a node: a directory without it is
 * not a data directory. `current` is replaced by a node only, at the one moment when a finished
 * catch-up takes the place of the generation before it:
 *
 *     tallystick generation 2
 *     journal 7
 *     store 6
 *     committed 41000            known to be committed when the journal was installed, ...
 *     term 9                     ... and the term of that entry; both 0: nothing was known
 *     checksum 4c5d...
 *
 * The parsers accept exactly what the writers write.
 *
 * Making and removing directories is not part of `struct files`, which works inside one; those few
 * calls are here and nowhere else in replication.
 */
#include "replication/directory.h"

#include "core/invariant.h"
#include "storage/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDENTITY_SIZE_MAX 1024
#define IDENTITY_TITLE    "tallystick data directory "
#define CURRENT_TITLE     "tallystick generation "
#define CURRENT_FORMAT    2

/* ---- identity ---- */

static void hexadecimal(const uint8_t *bytes, size_t size, char *out)
{
    for (size_t i = 0; i < size; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

static void checksum_text(const char *text, size_t size, char out[2 * HASH_SIZE + 1])
{
    uint8_t hash[HASH_SIZE];
    const struct hash_part part = {text, size};
    hash_parts(&part, 1, hash);
    hexadecimal(hash, sizeof hash, out);
}

/* Closes the text of `size` bytes with its checksum; bytes of all. */
static size_t print_checksum(char out[IDENTITY_SIZE_MAX], int size)
{
    char checksum[2 * HASH_SIZE + 1];
    invariant(size > 0 && size < IDENTITY_SIZE_MAX);
    checksum_text(out, (size_t)size, checksum);
    int more = snprintf(out + size, (size_t)(IDENTITY_SIZE_MAX - size), "checksum %s\n", checksum);
    invariant(more > 0 && more < IDENTITY_SIZE_MAX - size);
    return (size_t)(size + more);
}

static const char *kind_word(enum member_kind kind)
{
    return kind == MEMBER_WITNESS ? "witness" : "data";
}

/* Bytes of text; the buffer is larger than any identity. */
static size_t identity_print(const struct identity *identity, char out[IDENTITY_SIZE_MAX])
{
    char cluster[33], incarnation[33];
    hexadecimal(identity->cluster_id, sizeof identity->cluster_id, cluster);
    hexadecimal(identity->incarnation, sizeof identity->incarnation, incarnation);
    int size = snprintf(out, IDENTITY_SIZE_MAX,
                        IDENTITY_TITLE "%d\n"
                                       "cluster %s\n"
                                       "node %" PRIu64 "\n"
                                       "site %s\n"
                                       "kind %s\n"
                                       "address %s\n"
                                       "incarnation %s\n"
                                       "epoch %" PRIu64 "\n"
                                       "reserve_bytes %" PRIu64 "\n",
                        DIRECTORY_FORMAT, cluster, identity->node_id, identity->site,
                        kind_word(identity->kind), identity->address, incarnation,
                        identity->cluster_epoch, identity->reserve_bytes);
    return print_checksum(out, size);
}

enum status identity_write(const struct files *files, const struct identity *identity)
{
    char text[IDENTITY_SIZE_MAX];
    size_t size = identity_print(identity, text);
    return files_replace(files, DIRECTORY_IDENTITY, text, size);
}

/* The value of line "name value\n" at *at, which moves behind it; NULL when it is not that line. */
static const char *take_line(char **at, const char *name)
{
    size_t name_size = strlen(name);
    char *line = *at;
    char *end = strchr(line, '\n');
    if (end == NULL || strncmp(line, name, name_size) != 0)
        return NULL;
    *end = 0;
    *at = end + 1;
    return line + name_size;
}

static bool parse_bytes(const char *text, uint8_t *out, size_t size)
{
    if (text == NULL || strlen(text) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static bool parse_number(const char *text, uint64_t *out)
{
    if (text == NULL || *text == 0 || strlen(text) > 19)
        return false;
    uint64_t value = 0;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *out = value;
    return true;
}

static bool parse_word(const char *text, char *out, size_t capacity)
{
    size_t size = text == NULL ? 0 : strlen(text);
    if (size == 0 || size >= capacity)
        return false;
    memcpy(out, text, size + 1);
    return true;
}

static bool parse_kind(const char *text, enum member_kind *out)
{
    if (text == NULL)
        return false;
    *out = strcmp(text, kind_word(MEMBER_WITNESS)) == 0 ? MEMBER_WITNESS : MEMBER_DATA;
    return strcmp(text, kind_word(*out)) == 0;
}

static bool member_is_valid(const struct identity *identity)
{
    struct member member;
    char text[MEMBER_TEXT_SIZE];
    identity_member(identity, &member);
    return member_print(&member, text) == STATUS_OK;
}

static enum status identity_parse(char *text, struct identity *out)
{
    struct identity identity = {0};
    uint64_t format = 0;
    char *at = text;
    if (!parse_number(take_line(&at, IDENTITY_TITLE), &format))
        return STATUS_CORRUPT;
    if (format != DIRECTORY_FORMAT)
        return STATUS_VERSION;
    bool good = parse_bytes(take_line(&at, "cluster "), identity.cluster_id, 16) &&
                parse_number(take_line(&at, "node "), &identity.node_id) &&
                parse_word(take_line(&at, "site "), identity.site, sizeof identity.site) &&
                parse_kind(take_line(&at, "kind "), &identity.kind) &&
                parse_word(take_line(&at, "address "), identity.address, sizeof identity.address) &&
                parse_bytes(take_line(&at, "incarnation "), identity.incarnation, 16) &&
                parse_number(take_line(&at, "epoch "), &identity.cluster_epoch) &&
                parse_number(take_line(&at, "reserve_bytes "), &identity.reserve_bytes) &&
                member_is_valid(&identity);
    if (!good)
        return STATUS_CORRUPT;
    *out = identity;
    return STATUS_OK;
}

/* A small text file as a whole, closed with a zero byte. */
static enum status read_text(const struct files *files, const char *name,
                             char out[IDENTITY_SIZE_MAX + 1], uint64_t *out_size)
{
    struct file *file = NULL;
    enum status status = files->open(files->context, name, FILE_READ, &file);
    if (status != STATUS_OK)
        return status;
    memset(out, 0, IDENTITY_SIZE_MAX + 1);
    status = files->size(files->context, file, out_size);
    if (status == STATUS_OK && (*out_size == 0 || *out_size > IDENTITY_SIZE_MAX))
        status = STATUS_CORRUPT;
    if (status == STATUS_OK)
        status = files->read(files->context, file, out, (size_t)*out_size, 0);
    files->close(files->context, file);
    return status;
}

enum status identity_read(const struct files *files, struct identity *out)
{
    char text[IDENTITY_SIZE_MAX + 1];
    uint64_t size = 0;
    enum status status = read_text(files, DIRECTORY_IDENTITY, text, &size);
    if (status != STATUS_OK)
        return status;

    char parsed[IDENTITY_SIZE_MAX + 1];
    memcpy(parsed, text, sizeof parsed);
    struct identity identity;
    status = identity_parse(parsed, &identity);
    if (status != STATUS_OK)
        return status;
    /* What we read must be what we would write, to the last byte, checksum included. */
    char expected[IDENTITY_SIZE_MAX];
    size_t expected_size = identity_print(&identity, expected);
    if (expected_size != size || memcmp(expected, text, expected_size) != 0)
        return STATUS_CORRUPT;
    *out = identity;
    return STATUS_OK;
}

void identity_member(const struct identity *identity, struct member *out)
{
    *out = (struct member){.node_id = identity->node_id, .kind = identity->kind};
    memcpy(out->incarnation, identity->incarnation, sizeof out->incarnation);
    memcpy(out->site, identity->site, sizeof out->site);
    memcpy(out->address, identity->address, sizeof out->address);
}

void identity_member_line(const struct identity *identity, char out[IDENTITY_MEMBER_LINE_SIZE])
{
    char incarnation[33];
    hexadecimal(identity->incarnation, sizeof identity->incarnation, incarnation);
    int size = snprintf(out, IDENTITY_MEMBER_LINE_SIZE,
                        "--node-id %" PRIu64 " --site %s --kind %s --address %s --incarnation %s",
                        identity->node_id, identity->site, kind_word(identity->kind),
                        identity->address, incarnation);
    invariant(size > 0 && size < IDENTITY_MEMBER_LINE_SIZE);
}

/* ---- the generation in use ---- */

static size_t current_print(const struct generation *generation, char out[IDENTITY_SIZE_MAX])
{
    int size = snprintf(out, IDENTITY_SIZE_MAX,
                        CURRENT_TITLE "%d\n"
                                      "journal %" PRIu64 "\n"
                                      "store %" PRIu64 "\n"
                                      "committed %" PRIu64 "\n"
                                      "term %" PRIu64 "\n",
                        CURRENT_FORMAT, generation->journal, generation->store,
                        generation->committed_index, generation->committed_term);
    return print_checksum(out, size);
}

enum status current_write(const struct files *files, const struct generation *generation)
{
    char text[IDENTITY_SIZE_MAX];
    size_t size = current_print(generation, text);
    return files_replace(files, DIRECTORY_CURRENT, text, size);
}

enum status current_read(const struct files *files, struct generation *out)
{
    char text[IDENTITY_SIZE_MAX + 1];
    uint64_t size = 0;
    enum status status = read_text(files, DIRECTORY_CURRENT, text, &size);
    if (status != STATUS_OK)
        return status;
    char parsed[IDENTITY_SIZE_MAX + 1];
    memcpy(parsed, text, sizeof parsed);
    char *at = parsed;
    uint64_t format = 0;
    struct generation generation = {0};
    if (!parse_number(take_line(&at, CURRENT_TITLE), &format))
        return STATUS_CORRUPT;
    if (format != CURRENT_FORMAT)
        return STATUS_VERSION;
    if (!parse_number(take_line(&at, "journal "), &generation.journal) ||
        !parse_number(take_line(&at, "store "), &generation.store) ||
        !parse_number(take_line(&at, "committed "), &generation.committed_index) ||
        !parse_number(take_line(&at, "term "), &generation.committed_term) ||
        generation.journal == 0 || generation.store == 0 ||
        (generation.committed_index == 0) != (generation.committed_term == 0))
        return STATUS_CORRUPT;
    char expected[IDENTITY_SIZE_MAX];
    size_t expected_size = current_print(&generation, expected);
    if (expected_size != size || memcmp(expected, text, expected_size) != 0)
        return STATUS_CORRUPT;
    *out = generation;
    return STATUS_OK;
}

void directory_generation_name(const char *what, uint64_t number, char out_name[DIRECTORY_NAME_MAX])
{
    int size = snprintf(out_name, DIRECTORY_NAME_MAX, "%s-%" PRIu64, what, number);
    invariant(size > 0 && size < DIRECTORY_NAME_MAX);
}

bool directory_generation_parse(const char *what, const char *name, uint64_t *out_number)
{
    size_t size = strlen(what);
    char again[DIRECTORY_NAME_MAX];
    uint64_t number = 0;
    if (strncmp(name, what, size) != 0 || name[size] != '-' ||
        !parse_number(name + size + 1, &number))
        return false;
    directory_generation_name(what, number, again);
    if (strcmp(again, name) != 0)
        return false; /* leading zeros: not ours */
    *out_number = number;
    return true;
}

/* ---- directories ---- */

static enum status status_from_errno(int error)
{
    switch (error) {
    case EEXIST:
    case ENOTEMPTY:
        return STATUS_EXISTS;
    case ENOENT:
        return STATUS_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_PERMISSION;
    case ENOSPC:
    case EDQUOT:
        return STATUS_DISK_FULL;
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
        return STATUS_INVALID;
    default:
        return STATUS_IO;
    }
}

enum status directory_join(const char *directory, const char *name,
                           char out_path[DIRECTORY_PATH_MAX])
{
    int size = snprintf(out_path, DIRECTORY_PATH_MAX, "%s/%s", directory, name);
    return size > 0 && size < DIRECTORY_PATH_MAX ? STATUS_OK : STATUS_INVALID;
}

enum status directory_make(const char *path)
{
    return mkdir(path, 0700) == 0 ? STATUS_OK : status_from_errno(errno);
}

enum status directory_exists(const char *path)
{
    struct stat stat_buffer;
    if (stat(path, &stat_buffer) != 0)
        return status_from_errno(errno);
    return S_ISDIR(stat_buffer.st_mode) ? STATUS_OK : STATUS_INVALID;
}

enum status directory_sync_parent(const char *path)
{
    char parent[DIRECTORY_PATH_MAX];
    int size = snprintf(parent, sizeof parent, "%s", path);
    if (size <= 0 || (size_t)size >= sizeof parent)
        return STATUS_INVALID;
    while (size > 1 && parent[size - 1] == '/')
        parent[--size] = 0;
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        snprintf(parent, sizeof parent, ".");
    else if (slash == parent)
        parent[1] = 0;
    else
        *slash = 0;
    int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return status_from_errno(errno);
    enum status status = fsync(descriptor) == 0 ? STATUS_OK : STATUS_IO;
    (void)close(descriptor); /* nothing was written through it */
    return status;
}

enum status directory_remove(const char *path)
{
    DIR *stream = opendir(path);
    if (stream == NULL)
        return status_from_errno(errno);
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        /* What cannot be removed makes rmdir fail below, and that is reported. */
        (void)unlinkat(dirfd(stream), entry->d_name, 0);
    }
    (void)closedir(stream); /* read only */
    return rmdir(path) == 0 ? STATUS_OK : status_from_errno(errno);
}

enum status directory_rename(const char *from, const char *to)
{
    return rename(from, to) == 0 ? STATUS_OK : status_from_errno(errno);
}

/* ---- lock ---- */

#define PID_TEXT_SIZE 24

static uint64_t lock_holder(const struct files *files)
{
    struct file *file = NULL;
    if (files->open(files->context, DIRECTORY_LOCK, FILE_READ, &file) != STATUS_OK)
        return 0;
    char text[PID_TEXT_SIZE + 1] = {0};
    uint64_t pid = 0;
    uint64_t size = 0;
    if (files->size(files->context, file, &size) == STATUS_OK && size == PID_TEXT_SIZE &&
        files->read(files->context, file, text, PID_TEXT_SIZE, 0) == STATUS_OK)
        pid = strtoull(text, NULL, 10); /* 0 when it is no number: only words for people */
    files->close(files->context, file);
    return pid;
}

enum status directory_lock(const struct files *files, struct file **out_lock, uint64_t *out_pid)
{
    *out_pid = 0;
    struct file *lock = NULL;
    enum status status = files->lock(files->context, DIRECTORY_LOCK, &lock);
    if (status == STATUS_LOCKED)
        *out_pid = lock_holder(files);
    if (status != STATUS_OK)
        return status;
    char text[PID_TEXT_SIZE + 1];
    snprintf(text, sizeof text, "%-*" PRIu64 "\n", PID_TEXT_SIZE - 1, (uint64_t)getpid());
    /* The lock holds without it: the number is for people, and on a full disk it may be missing. */
    (void)files->write(files->context, lock, text, PID_TEXT_SIZE, 0);
    *out_lock = lock;
    return STATUS_OK;
}
