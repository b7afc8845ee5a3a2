/* <data directory>/ports.json: where tools find a node whose ports the system has chosen. */
#ifndef TALLY_SERVER_PORTS_FILE_H
#define TALLY_SERVER_PORTS_FILE_H

#include "core/status.h"

#include <stdint.h>

struct ports_file_error {
    char text[1280];
};

/* {"pid": N, "grpc": PORT, "ops": PORT}, and "peer": PORT unless that is 0; replaces an earlier
 * file whole, or overwrites it where it is when the disk is full. Only for who holds the
 * directory's lock. Not synced: after a crash the ports mean nothing. STATUS_DISK_FULL (there is no
 * file now), STATUS_PERMISSION, STATUS_IO. */
struct ports {
    uint16_t grpc, ops, peer;
};
enum status ports_file_write(const char *directory, const struct ports *ports,
                             struct ports_file_error *out_error);

#endif
