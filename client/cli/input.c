/*
 * Reading a file twice. The second pass hashes again: ids were derived from the first digest, so a
 * file that somebody changes in between would be posted under ids that its next import does not
 * repeat. That cannot be prevented here, only noticed, and it is said loudly.
 *
 * The second pass ends where the first one did. What was added meanwhile was not vouched for: its
 * last row may be half written, and half a row may be a whole transfer of another amount. For the
 * same reason a file that became shorter is an error of the read and not an end.
 */
#include "client/cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_SIZE (256 * 1024)

static int open_spool(struct input_error *out_error)
{
    const char *directory = getenv("TMPDIR");
    if (directory == NULL || directory[0] == '\0')
        directory = "/var/tmp";
    char path[4096];
    out_error->local = true;
    snprintf(path, sizeof path, "%s/tally-import-XXXXXX", directory);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        snprintf(out_error->text, sizeof out_error->text,
                 "cannot make a temporary file in %s: %s; set TMPDIR to a directory with room",
                 directory, strerror(errno));
        return -1;
    }
    (void)unlink(path); /* failing only leaves a file behind */
    out_error->local = false;
    return fd;
}

static bool write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, bytes, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        bytes += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static ssize_t read_some(int fd, void *buffer, size_t size)
{
    ssize_t got;
    do
        got = read(fd, buffer, size);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Hashes all of `from`, copying it to `to` unless that is -1. */
static bool first_pass(struct input *input, int from, int to, uint64_t total,
                       void (*progress)(void *context, uint64_t done, uint64_t total),
                       void *context, struct input_error *out_error)
{
    bool done = false;
    struct hash_stream *stream = hash_stream_create();
    uint8_t *piece = malloc(PIECE_SIZE);
    if (stream == NULL || piece == NULL) {
        out_error->local = true;
        snprintf(out_error->text, sizeof out_error->text, "out of memory");
        goto out;
    }
    input->ends_with_newline = true;
    for (;;) {
        ssize_t got = read_some(from, piece, PIECE_SIZE);
        if (got < 0) {
            snprintf(out_error->text, sizeof out_error->text, "cannot read %s: %s", input->name,
                     strerror(errno));
            goto out;
        }
        if (got == 0)
            break;
        hash_stream_add(stream, piece, (size_t)got);
        input->size += (uint64_t)got;
        input->ends_with_newline = piece[got - 1] == '\n';
        if (to >= 0 && !write_all(to, piece, (size_t)got)) {
            out_error->local = true;
            snprintf(out_error->text, sizeof out_error->text,
                     "cannot keep a copy of %s: %s; set TMPDIR to a directory with room",
                     input->name, strerror(errno));
            goto out;
        }
        if (progress != NULL)
            progress(context, input->size, total);
    }
    hash_stream_finish(stream, input->digest);
    done = true;
out:
    free(piece);
    hash_stream_destroy(stream);
    return done;
}

bool input_open(const char *path, struct input *out_input,
                void (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                struct input_error *out_error)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct input input = {.name = is_stdin ? "standard input" : path, .fd = -1};
    struct stat about;
    int spool = -1;
    out_error->local = false;
    int from = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

    if (from < 0 || fstat(from, &about) != 0) {
        snprintf(out_error->text, sizeof out_error->text, "cannot open %s: %s", input.name,
                 strerror(errno));
        goto fail;
    }
    if (S_ISDIR(about.st_mode)) {
        snprintf(out_error->text, sizeof out_error->text, "%s is a directory", input.name);
        goto fail;
    }
    bool seekable = S_ISREG(about.st_mode) && !is_stdin;
    if (!seekable && (spool = open_spool(out_error)) < 0)
        goto fail;
    if (!first_pass(&input, from, spool, seekable ? (uint64_t)about.st_size : 0, progress, context,
                    out_error))
        goto fail;
    input.second = hash_stream_create();
    if (input.second == NULL) {
        out_error->local = true;
        snprintf(out_error->text, sizeof out_error->text, "out of memory");
        goto fail;
    }
    if (!seekable && !is_stdin)
        (void)close(from); /* was only read */
    input.fd = seekable ? from : spool;
    *out_input = input;
    return true;
fail:
    if (spool >= 0)
        (void)close(spool); /* unlinked, nothing to keep */
    if (from >= 0 && !is_stdin)
        (void)close(from); /* was only read */
    return false;
}

ssize_t input_read(void *context, void *buffer, size_t size)
{
    struct input *input = context;
    ssize_t got;
    if (size > input->size - input->offset)
        size = (size_t)(input->size - input->offset);
    if (size == 0)
        return 0;
    do
        got = pread(input->fd, buffer, size, (off_t)input->offset);
    while (got < 0 && errno == EINTR);
    if (got == 0) {
        input->is_shorter = true;
        errno = ENODATA;
        return -1;
    }
    if (got > 0) {
        input->offset += (uint64_t)got;
        hash_stream_add(input->second, buffer, (size_t)got);
    }
    return got;
}

bool input_is_unchanged(struct input *input)
{
    uint8_t digest[HASH_SIZE];
    struct stat about;
    hash_stream_finish(input->second, digest);
    return memcmp(digest, input->digest, sizeof digest) == 0 && fstat(input->fd, &about) == 0 &&
           (uint64_t)about.st_size == input->size;
}

bool input_read_at(const struct input *input, uint64_t offset, void *buffer, size_t size)
{
    uint8_t *to = buffer;
    while (size > 0) {
        ssize_t got = pread(input->fd, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return true;
}

void input_close(struct input *input)
{
    hash_stream_destroy(input->second);
    (void)close(input->fd); /* was only read */
}
