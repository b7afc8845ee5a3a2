/*
 * A set of new files: written all or none, never over anything that exists.
 */
#ifndef TALLY_CLIENT_CLI_NEW_FILES_H
#define TALLY_CLIENT_CLI_NEW_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define NEW_FILES_MAX 48

struct new_file {
    char path[4096];
    mode_t mode;
    char *text; /* malloc'ed; wiped and freed by new_files_deinit() */
};

struct new_files {
    struct new_file files[NEW_FILES_MAX];
    size_t count;
    char error[512];
    bool exists; /* that was the error: a file stands where one would be made */
};

/* Takes `text` (NULL = out of memory, which is an error). False when there is no room. */
bool new_files_add(struct new_files *files, const char *directory, const char *name, mode_t mode,
                   char *text);
/* Makes the directory when it is missing (mode 0700), refuses when any file exists, writes and
 * syncs each, and removes what it made when one fails. False with files->error. */
bool new_files_write(struct new_files *files, const char *directory);
void new_files_deinit(struct new_files *files);

#endif
