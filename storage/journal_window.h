/* A reading window over one file: sequential parsers ask for (offset, size) and get a pointer,
 * while the file is read in chunks. One owner, one thread. */
#ifndef TALLY_STORAGE_JOURNAL_WINDOW_H
#define TALLY_STORAGE_JOURNAL_WINDOW_H

#include "storage/files.h"

struct journal_window {
    const struct files *files;
    struct file *file; /* borrowed */
    uint64_t file_size;
    uint8_t *buffer;
    size_t capacity;
    uint64_t start; /* file offset of buffer[0] */
    size_t filled;
};

/* No memory is taken before the first get. */
void journal_window_init(struct journal_window *window, const struct files *files);
void journal_window_deinit(struct journal_window *window);
/* Points the window at a file, forgetting what was read. `file_size` bytes may be asked for. */
void journal_window_set(struct journal_window *window, struct file *file, uint64_t file_size);
/* `size` bytes at `offset`, 8-byte aligned when offset is; valid until the next call.
 * STATUS_CORRUPT past file_size, STATUS_NO_MEMORY, or what reading says. */
enum status journal_window_get(struct journal_window *window, uint64_t offset, size_t size,
                               const uint8_t **out);

#endif
