/* Written beside and renamed, so that a reader sees the old ports or the new ones. */
#include "server/ports_file.h"

#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum status ports_file_write(const char *directory, uint16_t grpc_port, uint16_t ops_port,
                             struct ports_file_error *out_error)
{
    char path[CONFIG_PATH_SIZE + 32], temporary[CONFIG_PATH_SIZE + 32], text[128];
    snprintf(path, sizeof path, "%s/ports.json", directory);
    snprintf(temporary, sizeof temporary, "%s/ports.json.new", directory);
    int size = snprintf(text, sizeof text, "{\"pid\": %ld, \"grpc\": %u, \"ops\": %u}\n",
                        (long)getpid(), grpc_port, ops_port);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        goto failed;
    ssize_t written = write(fd, text, (size_t)size);
    if (close(fd) == 0 && written == size && rename(temporary, path) == 0)
        return STATUS_OK;
failed:
    snprintf(out_error->text, sizeof out_error->text,
             "%s cannot be written: %s; look at the directory's owner and free space", path,
             strerror(errno));
    return STATUS_IO;
}
