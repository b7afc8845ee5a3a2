/*
 * The file system as a table of functions, so that the same journal code runs on a real disk, on
 * one that fails its n-th call, on one that loses unsynced pages, and in the simulator.
 *
 * Every call returns an `enum status`: STATUS_OK, STATUS_NOT_FOUND, STATUS_EXISTS,
 * STATUS_DISK_FULL, STATUS_PERMISSION, STATUS_LOCKED, or STATUS_IO for everything else. Short reads
 * and writes are completed or turned into an error inside. Paths are relative to the directory
 * given at open. Thread-safe per file.
 */
#ifndef TALLY_STORAGE_FILES_H
#define TALLY_STORAGE_FILES_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file;

enum file_mode {
    FILE_READ,   /* existing, read only */
    FILE_WRITE,  /* existing, read and write */
    FILE_CREATE, /* must not exist, read and write, mode 0600 */
};

struct files {
    void *context;
    enum status (*open)(void *context, const char *name, enum file_mode mode, struct file **out);
    void (*close)(void *context, struct file *file);
    enum status (*size)(void *context, struct file *file, uint64_t *out_size);
    /* Exactly `size` bytes, or an error; reading past the end is STATUS_CORRUPT. */
    enum status (*read)(void *context, struct file *file, void *buffer, size_t size,
                        uint64_t offset);
    enum status (*write)(void *context, struct file *file, const void *buffer, size_t size,
                         uint64_t offset);
    enum status (*sync)(void *context, struct file *file); /* data and size are durable */
    enum status (*truncate)(void *context, struct file *file, uint64_t size);
    /* Reserves blocks and extends the file; STATUS_DISK_FULL leaves it as it was. */
    enum status (*allocate)(void *context, struct file *file, uint64_t size);
    enum status (*rename)(void *context, const char *from, const char *to); /* replaces `to` */
    enum status (*remove)(void *context, const char *name);
    enum status (*sync_directory)(void *context); /* names are durable */
    /* Names (no path) in no promised order; stops when `each` returns false. */
    enum status (*list)(void *context, bool (*each)(void *argument, const char *name),
                        void *argument);
    /* Exclusive for the life of the process: STATUS_LOCKED when another process holds it. */
    enum status (*lock)(void *context, const char *name, struct file **out);
    enum status (*free_space)(void *context, uint64_t *out_bytes);
};

/* The real directory `path`, which must exist (STATUS_NOT_FOUND, STATUS_PERMISSION). */
enum status files_posix_open(const char *path, struct files *out_files);
void files_posix_close(struct files *files);

/* Writes `name` whole and durably, or not at all: temporary file, sync, rename, directory sync. */
enum status files_replace(const struct files *files, const char *name, const void *bytes,
                          size_t size);

#endif
