/*
 * Writing keys and configuration: a half-written set is worse than none, and an overwritten CA key
 * cannot be had back. So: look first, create exclusively, sync, and undo on failure.
 */
#include "client/cli/new_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool new_files_add(struct new_files *files, const char *directory, const char *name, mode_t mode,
                   char *text)
{
    if (text == NULL || files->count == NEW_FILES_MAX) {
        snprintf(files->error, sizeof files->error, "out of memory");
        free(text);
        return false;
    }
    struct new_file *file = &files->files[files->count++];
    file->mode = mode;
    file->text = text;
    if (snprintf(file->path, sizeof file->path, "%s/%s", directory, name) >=
        (int)sizeof file->path) {
        snprintf(files->error, sizeof files->error, "the path of %s is too long", name);
        return false;
    }
    return true;
}

static bool write_text(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t wrote = write(fd, text, left);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        text += wrote;
        left -= (size_t)wrote;
    }
    return fsync(fd) == 0;
}

static bool write_file(const struct new_file *file)
{
    int fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);
    if (fd < 0)
        return false;
    bool written = fchmod(fd, file->mode) == 0 && write_text(fd, file->text);
    int reason = errno;
    if (close(fd) != 0 && written) {
        written = false;
        reason = errno;
    }
    if (!written)
        (void)unlink(file->path); /* nothing worth keeping */
    errno = reason;
    return written;
}

static bool sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool synced = fsync(fd) == 0;
    (void)close(fd); /* was only synced */
    return synced;
}

bool new_files_write(struct new_files *files, const char *directory)
{
    size_t written = 0;
    struct stat about;

    if (mkdir(directory, 0700) != 0 && errno != EEXIST) {
        snprintf(files->error, sizeof files->error, "cannot make directory %.300s: %s", directory,
                 strerror(errno));
        return false;
    }
    for (size_t i = 0; i < files->count; i++) {
        if (lstat(files->files[i].path, &about) == 0) {
            files->exists = true;
            snprintf(files->error, sizeof files->error,
                     "%.300s exists and is not overwritten: choose another directory, or move it "
                     "away",
                     files->files[i].path);
            return false;
        }
    }
    while (written < files->count && write_file(&files->files[written]))
        written++;
    if (written == files->count && sync_directory(directory))
        return true;
    snprintf(files->error, sizeof files->error, "cannot write %.300s: %s",
             written < files->count ? files->files[written].path : directory, strerror(errno));
    while (written > 0)
        (void)unlink(files->files[--written].path); /* all or none */
    return false;
}

void new_files_deinit(struct new_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        explicit_bzero(files->files[i].text, strlen(files->files[i].text)); /* may be a key */
        free(files->files[i].text);
    }
    files->count = 0;
}
