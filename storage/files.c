/*
 * What can be said with the table of functions alone, so that every implementation shares it.
 *
 * files_replace() is the one way small files are rewritten: a reader after any crash finds the old
 * bytes or the new ones whole. When it fails after the rename (directory sync) the new bytes may
 * already be visible; both contents are whole, and the caller treats the error as fail-stop.
 */
#include "storage/files.h"

#include <stdio.h>

enum status files_replace(const struct files *files, const char *name, const void *bytes,
                          size_t size)
{
    char temporary[256];
    const int length = snprintf(temporary, sizeof temporary, "%s.new", name);
    if (length < 0 || (size_t)length >= sizeof temporary)
        return STATUS_INVALID;

    struct file *file = NULL;
    enum status status = files->open(files->context, temporary, FILE_CREATE, &file);
    if (status == STATUS_EXISTS) { /* left by a crash before its rename: never counted */
        status = files->remove(files->context, temporary);
        if (status == STATUS_OK)
            status = files->open(files->context, temporary, FILE_CREATE, &file);
    }
    if (status != STATUS_OK)
        return status;

    status = files->write(files->context, file, bytes, size, 0);
    if (status == STATUS_OK)
        status = files->sync(files->context, file);
    files->close(files->context, file);
    if (status == STATUS_OK)
        status = files->rename(files->context, temporary, name);
    if (status != STATUS_OK) {
        /* The first error is the one to report; a leftover is removed by the next attempt. */
        (void)files->remove(files->context, temporary);
        return status;
    }
    return files->sync_directory(files->context);
}
