/*
 * The file that an import reads twice: first for its SHA-256, from which transfer ids are derived,
 * then for its rows. What cannot be read twice (standard input, a pipe) is copied to an unlinked
 * temporary file in $TMPDIR or /var/tmp.
 */
#ifndef TALLY_CLIENT_CLI_INPUT_H
#define TALLY_CLIENT_CLI_INPUT_H

#include "storage/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct input {
    const char *name; /* for messages */
    int fd;
    uint64_t size;
    uint8_t digest[HASH_SIZE]; /* of the first pass */
    bool ends_with_newline;    /* or is empty */
    /* ---- ours ---- */
    uint64_t offset; /* of the second pass */
    bool is_shorter; /* than at the first pass: input_read() failed for that */
    struct hash_stream *second;
};

struct input_error {
    char text[512];
    bool local; /* not the file's fault: no memory, no room for the copy */
};

/* "-" is standard input. Reads everything once. `progress` may be NULL; total 0 = not known. False
 * with *out_error. */
bool input_open(const char *path, struct input *out_input,
                void (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                struct input_error *out_error);
/* The second pass; as read(2), `context` is the input. Ends where the first pass ended; -1 with
 * ENODATA when the file does so earlier. */
ssize_t input_read(void *context, void *buffer, size_t size);
/* After input_read() returned 0 or -1: were both passes over the same bytes, and is that all? */
bool input_is_unchanged(struct input *input);
/* Bytes [offset, offset + size), for showing a row again. False when they cannot be read. */
bool input_read_at(const struct input *input, uint64_t offset, void *buffer, size_t size);
void input_close(struct input *input);

#endif
