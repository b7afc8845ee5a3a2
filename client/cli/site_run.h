/* Runs an operation on a site or on the rule about both (site.c, durability.c) and reports it. */
#ifndef TALLY_CLIENT_CLI_SITE_RUN_H
#define TALLY_CLIENT_CLI_SITE_RUN_H

#include "client/cli/cli.h"

#define SITE_REASON_SIZE_MAX 120

/* Connects, asks the leader until it is done, prints what happened, and returns the exit code:
 * EXIT_OK done, or it was so; EXIT_REFUSED something stands in the way, nothing was changed;
 * EXIT_UNREACHABLE not done, or not in time: repeat it. */
int site_run(struct cli *cli, const struct tally_site_request *request);

/* Argument of --reason, or argp_error(). */
const char *site_reason(struct argp_state *state, const char *argument);

#endif
