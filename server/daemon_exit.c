/* What the process says with its exit status; the words are in main.c and docs/operations-node.md.
 */
#include "server/daemon.h"

int daemon_exit_of_status(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return EXIT_STOPPED;
    case STATUS_CORRUPT:
    case STATUS_STORE_AHEAD:
    case STATUS_WRONG_CLUSTER:
        return EXIT_WRONG_DATA;
    case STATUS_NOT_FOUND:
        return EXIT_NO_DATA;
    case STATUS_UNAVAILABLE:
        return EXIT_NO_ADDRESS;
    case STATUS_NO_MEMORY:
        return EXIT_NO_RESOURCE;
    case STATUS_DISK_FULL:
        return EXIT_DISK_FULL;
    case STATUS_IO:
        return EXIT_DISK_FAILED;
    case STATUS_LOCKED:
        return EXIT_TRY_AGAIN;
    case STATUS_VERSION:
        return EXIT_VERSION;
    case STATUS_PERMISSION:
        return EXIT_NO_PERMISSION;
    case STATUS_INVALID:
        return EXIT_WRONG_CONFIG;
    default:
        return EXIT_INTERNAL;
    }
}
