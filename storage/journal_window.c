/* Chunks of 64 KiB keep a walk that stops early cheap and a long one at few calls; a record longer
 * than that grows the buffer once. */
#include "storage/journal_window.h"

#include <stdlib.h>

#define CHUNK_SIZE (64u * 1024)

void journal_window_init(struct journal_window *window, const struct files *files)
{
    *window = (struct journal_window){.files = files};
}

void journal_window_deinit(struct journal_window *window)
{
    free(window->buffer);
    *window = (struct journal_window){0};
}

void journal_window_set(struct journal_window *window, struct file *file, uint64_t file_size)
{
    window->file = file;
    window->file_size = file_size;
    window->start = 0;
    window->filled = 0;
}

enum status journal_window_get(struct journal_window *window, uint64_t offset, size_t size,
                               const uint8_t **out)
{
    if (offset > window->file_size || size > window->file_size - offset)
        return STATUS_CORRUPT;
    const uint64_t end = window->start + window->filled;
    if (offset < window->start || offset + size > end) {
        size_t want = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        if (want > window->capacity) {
            uint8_t *buffer = realloc(window->buffer, want);
            if (buffer == NULL)
                return STATUS_NO_MEMORY;
            window->buffer = buffer;
            window->capacity = want;
        }
        if (want > window->file_size - offset)
            want = (size_t)(window->file_size - offset);
        window->filled = 0; /* nothing to be trusted if the read fails */
        const enum status status =
            window->files->read(window->files->context, window->file, window->buffer, want, offset);
        if (status != STATUS_OK)
            return status;
        window->start = offset;
        window->filled = want;
    }
    *out = window->buffer + (offset - window->start);
    return STATUS_OK;
}
