/* The shim's memory of files and names; see undo.c. All functions are thread-safe and stop the
 * process when the log cannot be written: a simulation that lies is worse than none. */
#ifndef TALLY_CHAOS_POWER_LOSS_UNDO_H
#define TALLY_CHAOS_POWER_LOSS_UNDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct undo_file; /* one inode below the watched directory */

/* False when nothing is watched. */
bool undo_enabled(void);
bool undo_syncs_are_ignored(void);
bool undo_watches(const char *absolute_path);

/* Of an open descriptor; NULL when it is not a regular file below the watched directory. */
struct undo_file *undo_file_open(int fd, bool created);
void undo_file_close(struct undo_file *file);

/* Between begin and end no other write to, or sync of, the file happens. */
void undo_file_begin(struct undo_file *file);
void undo_file_end(struct undo_file *file);
void undo_before_write(struct undo_file *file, uint64_t offset, uint64_t size);
void undo_before_truncate(struct undo_file *file, uint64_t size);
void undo_durable_range(struct undo_file *file, uint64_t offset, uint64_t size);
void undo_durable_all(struct undo_file *file);

/* Names: absolute paths. `before_` is called ahead of the operation. */
void undo_after_create(const char *path, uint64_t inode);
void undo_before_rename(const char *from, const char *to);
void undo_before_unlink(const char *path);
void undo_before_link(const char *from, const char *to);
void undo_directory_synced(const char *path);

#endif
