/*
 * A directory in memory that fails and loses power on command.
 *
 * It knows what a disk owes: bytes are durable after sync of their file, names after sync of the
 * directory, and nothing else is. Between two syncs the kernel may write back any page at any time,
 * so at a power loss every 512-byte sector not synced is old or new, each by its own coin; a file's
 * new size and each new name likewise. A failed sync drops its dirty pages: they read as written
 * and are never written again, as on Linux.
 *
 * One seed decides all coins. Thread-safe.
 */
#ifndef TALLY_TESTS_FILES_MEMORY_H
#define TALLY_TESTS_FILES_MEMORY_H

#include "storage/files.h"

struct files_memory;

struct files_memory *files_memory_create(uint64_t seed);
void files_memory_destroy(struct files_memory *memory);
/* The table; valid until destroy. */
const struct files *files_memory_table(struct files_memory *memory);
/* A twin with the same contents, durable and not, without faults set; open files belong to the
 * original. */
struct files_memory *files_memory_clone(struct files_memory *memory, uint64_t seed);

/* ---- faults ---- */
enum files_call {
    FILES_CALL_OPEN = 1 << 0,
    FILES_CALL_READ = 1 << 1,
    FILES_CALL_WRITE = 1 << 2,
    FILES_CALL_SYNC = 1 << 3,
    FILES_CALL_TRUNCATE = 1 << 4,
    FILES_CALL_ALLOCATE = 1 << 5,
    FILES_CALL_RENAME = 1 << 6,
    FILES_CALL_REMOVE = 1 << 7,
    FILES_CALL_SYNC_DIRECTORY = 1 << 8,
    FILES_CALL_LIST = 1 << 9,
    FILES_CALL_CHANGES = FILES_CALL_WRITE | FILES_CALL_SYNC | FILES_CALL_TRUNCATE |
                         FILES_CALL_ALLOCATE | FILES_CALL_RENAME | FILES_CALL_REMOVE |
                         FILES_CALL_SYNC_DIRECTORY | FILES_CALL_OPEN,
};
/* The n-th call (from 1, counted from now) of the kinds in `mask` fails with `status`; n = 0: none.
 * A failing write has written some of its sectors; a failing sync has synced a part and dropped the
 * rest. */
void files_memory_fail(struct files_memory *memory, uint32_t mask, uint64_t n, enum status status);
/* After the n-th call of `mask` the process is dead: all calls fail with STATUS_IO. That call
 * itself is still carried out, or, when it is a write and sectors >= 0, only its first `sectors`
 * sectors (512-byte boundaries of the file). */
void files_memory_halt(struct files_memory *memory, uint32_t mask, uint64_t n, int64_t sectors);
/* Calls of these kinds seen since the last fail or halt was set. */
uint64_t files_memory_calls(struct files_memory *memory, uint32_t mask);
/* Bytes of the last write's extent in sectors, for choosing where to tear. */
uint64_t files_memory_last_write_sectors(struct files_memory *memory);
bool files_memory_failed(const struct files_memory *memory); /* the fault has struck */
/* Room for all file contents; allocate and growing writes beyond say STATUS_DISK_FULL. */
void files_memory_set_capacity(struct files_memory *memory, uint64_t bytes);
/* With false, sync and sync_directory say OK and do nothing: what the tests must notice. */
void files_memory_set_sync(struct files_memory *memory, bool on);

/* ---- ends ---- */
/* The process died (kill -9): faults are cleared, what was written stays readable; open files are
 * gone. */
void files_memory_restart(struct files_memory *memory);
/* The power failed: unsynced sectors, sizes and names are lost by coins; then as restart. */
void files_memory_power_loss(struct files_memory *memory);

/* ---- hands on the contents ---- */
/* Current bytes of a file; NULL when there is none. Valid until the next change. */
uint8_t *files_memory_bytes(struct files_memory *memory, const char *name, uint64_t *out_size);
void files_memory_remove(struct files_memory *memory, const char *name);
void files_memory_resize(struct files_memory *memory, const char *name, uint64_t size);
/* Everything counts as synced. */
void files_memory_settle(struct files_memory *memory);

#endif
