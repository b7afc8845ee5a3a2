/*
 * tallyd: the command line. Everything else begins in daemon.c.
 */
#include "server/config.h"
#include "server/daemon.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef TALLY_VERSION
#define TALLY_VERSION "unversioned"
#endif

const char *argp_program_version = "tallyd " TALLY_VERSION;

static const char description[] =
    "A node of Tallystick, the journaled transaction core: serves tally.v1 over gRPC with mutual "
    "TLS, "
    "and probes and metrics over HTTP."
    "\v"
    "The data directory is made by `tally node init`, the certificates by `tally pki init`. Every "
    "key "
    "of the configuration file is explained in tallyd.yaml.sample.\n"
    "\n"
    "Signals: TERM or INT stops (connections are drained, the last checkpoint and a seal are "
    "written); "
    "a second one does not wait for clients. HUP loads new certificates.\n"
    "\n"
    "Exit status:\n"
    "  0   stopped as asked; everything is durable\n"
    "  64  wrong command line\n"
    "  65  the data directory is damaged, of another cluster, or its store is ahead of its "
    "journal\n"
    "  66  the data directory or the configuration file is missing\n"
    "  69  an address is in use\n"
    "  70  internal error\n"
    "  71  memory, threads or descriptors refused\n"
    "  73  no disk space to start\n"
    "  74  a read, write or sync failed: stopped at once rather than go on\n"
    "  75  another process has the data directory\n"
    "  76  files of a newer version: upgrade\n"
    "  77  the operating system refused\n"
    "  78  configuration or certificates refused\n"
    "An abort (SIGABRT) is a broken invariant: please report the line on stderr.";

enum { OPTION_CHECK_CONFIG = 1 };

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "Configuration file (YAML); needed", 0},
    {"check-config", OPTION_CHECK_CONFIG, NULL, 0,
     "Check the file and what it names as the node's user, say so, and exit", 0},
    {0},
};

struct arguments {
    const char *config_file;
    bool check;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'c':
        arguments->config_file = argument;
        return 0;
    case OPTION_CHECK_CONFIG:
        arguments->check = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state,
                   "unexpected argument \"%s\"; the configuration file is given with --config",
                   argument);
        return 0;
    case ARGP_KEY_END:
        if (!arguments->config_file)
            argp_error(state, "no configuration file; give it with --config FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int count, char **values)
{
    struct arguments arguments = {.config_file = NULL};
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = description,
    };
    argp_err_exit_status = EXIT_WRONG_USAGE;
    argp_parse(&argp, count, values, 0, NULL, &arguments);

    static struct config config;
    struct config_error error;
    enum status status = config_load(arguments.config_file, &config, &error);
    if (status == STATUS_OK && arguments.check)
        status = daemon_check(&config, &error);
    if (status != STATUS_OK) {
        fprintf(stderr, "tallyd: %s\n", error.text);
        return daemon_exit_of_status(status);
    }
    if (arguments.check) {
        printf("%s: the configuration is valid\n", arguments.config_file);
        return EXIT_STOPPED;
    }
    return daemon_run(&config, arguments.config_file);
}
