/*
 * Written beside and renamed, so that a reader sees the old ports or the new ones. On a full disk
 * there is no room for a second file; a node must start there all the same, to answer reads, so the
 * old file is overwritten where it is (a reader in that moment finds words that are no JSON, or
 * another process's number).
 */
#include "server/ports_file.h"

#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 0, or errno. */
static int write_file(const char *path, int flags, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        return errno;
    errno = ENOSPC; /* what a short write means here */
    int error = write(fd, text, size) == (ssize_t)size ? 0 : errno;
    if (error == 0 && (flags & O_TRUNC) == 0 && ftruncate(fd, (off_t)size) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    return error;
}

enum status ports_file_write(const char *directory, const struct ports *ports,
                             struct ports_file_error *out_error)
{
    char path[CONFIG_PATH_SIZE + 32], temporary[CONFIG_PATH_SIZE + 32], text[128], peer[32] = "";
    snprintf(path, sizeof path, "%s/ports.json", directory);
    snprintf(temporary, sizeof temporary, "%s/ports.json.new", directory);
    if (ports->peer != 0)
        snprintf(peer, sizeof peer, ", \"peer\": %u", ports->peer);
    int size = snprintf(text, sizeof text, "{\"pid\": %ld, \"grpc\": %u, \"ops\": %u%s}\n",
                        (long)getpid(), ports->grpc, ports->ops, peer);
    int error = write_file(temporary, O_CREAT | O_TRUNC, text, (size_t)size);
    if (error == 0 && rename(temporary, path) != 0)
        error = errno;
    if (error == 0)
        return STATUS_OK;
    (void)unlink(temporary); /* it counts for nothing; the error that led here is told */
    bool full = error == ENOSPC || error == EDQUOT;
    if (full && write_file(path, 0, text, (size_t)size) == 0)
        return STATUS_OK;
    if (full)
        (void)unlink(path); /* none is better than those of a process that is gone */
    snprintf(out_error->text, sizeof out_error->text,
             "%s cannot be written: %s; look at the directory's owner and free space", path,
             strerror(error));
    return full                                ? STATUS_DISK_FULL
           : error == EACCES || error == EROFS ? STATUS_PERMISSION
                                               : STATUS_IO;
}
