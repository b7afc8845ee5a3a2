/* The node as a process: everything it consists of, from its start to its exit. */
#ifndef TALLY_SERVER_DAEMON_H
#define TALLY_SERVER_DAEMON_H

#include "server/config.h"

/* Exit statuses; the numbers of sysexits.h where one fits. Listed in --help and in
 * docs/operations-node.md. */
enum daemon_exit {
    EXIT_STOPPED = 0,        /* asked to stop, everything durable */
    EXIT_WRONG_USAGE = 64,   /* wrong command line */
    EXIT_WRONG_DATA = 65,    /* data directory corrupt, of another cluster, or store ahead */
    EXIT_NO_DATA = 66,       /* data directory missing or not initialized */
    EXIT_NO_ADDRESS = 69,    /* address in use */
    EXIT_INTERNAL = 70,      /* something that should not happen; please report */
    EXIT_NO_RESOURCE = 71,   /* memory, threads or descriptors refused */
    EXIT_DISK_FULL = 73,     /* no room to start */
    EXIT_DISK_FAILED = 74,   /* read, write or sync failed: fail-stop */
    EXIT_TRY_AGAIN = 75,     /* another process has the data directory */
    EXIT_VERSION = 76,       /* files of a newer version: upgrade */
    EXIT_NO_PERMISSION = 77, /* the operating system refused */
    EXIT_WRONG_CONFIG = 78,  /* configuration or certificates refused */
};

/* Runs the node until it has stopped; returns what the process should exit with. Errors of the
 * start are on stderr as plain text and in the log. */
int daemon_run(const struct config *config, const char *config_file);

/* What would refuse the start, without starting: user, files, certificates, data directory. Gives
 * up the process's rights as a start does, so nothing but an exit should follow. The status of the
 * first fault, with its words in *out_error. */
enum status daemon_check(const struct config *config, struct config_error *out_error);

int daemon_exit_of_status(enum status status);

#endif
