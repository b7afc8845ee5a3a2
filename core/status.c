/* Words for operating errors. A table by number, so that a status added without words shows as
 * "unknown status" in a test rather than as a wrong word. */
#include "core/status.h"

#include <stddef.h>

static const char *const status_words[STATUS_COUNT] = {
    [STATUS_OK] = "ok",
    [STATUS_NO_MEMORY] = "out of memory",
    [STATUS_IO] = "input/output error",
    [STATUS_DISK_FULL] = "disk full",
    [STATUS_CORRUPT] = "corrupt data",
    [STATUS_NOT_FOUND] = "not found",
    [STATUS_EXISTS] = "already exists",
    [STATUS_INVALID] = "invalid",
    [STATUS_PERMISSION] = "permission denied",
    [STATUS_LOCKED] = "locked by another process",
    [STATUS_VERSION] = "unknown version",
    [STATUS_STORE_AHEAD] = "store newer than journal",
    [STATUS_WRONG_CLUSTER] = "wrong cluster",
    [STATUS_BUSY] = "busy",
    [STATUS_READ_ONLY] = "read only",
    [STATUS_NOT_READY] = "not ready",
    [STATUS_STOPPING] = "stopping",
    [STATUS_UNKNOWN_OUTCOME] = "outcome unknown",
    [STATUS_DEADLINE] = "deadline passed",
    [STATUS_UNAVAILABLE] = "unavailable",
    [STATUS_DENIED] = "not allowed",
    [STATUS_UNSUPPORTED] = "not supported",
    [STATUS_DEGRADED] = "degraded",
};

const char *status_text(enum status status)
{
    if ((unsigned)status >= STATUS_COUNT || status_words[status] == NULL)
        return "unknown status";
    return status_words[status];
}
