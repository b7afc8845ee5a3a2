/*
 * `tally site`: what an operator does with a whole site. The leader does the work and reports it
 * step by step (site_run.c); docs/operations.md is the runbook.
 *
 * Exit codes: 0 done, or it was so already; 3 something stands in the way, nothing was changed (of
 * a dry run too, so that a script can ask first); 4 nobody could be asked, or not done in time.
 */
#include "client/cli/site_run.h"

#include <stdio.h>

struct site_options {
    struct cli *cli;
    struct tally_site_request request;
};

enum { KEY_REASON = 0x2000, KEY_DRY_RUN, KEY_FORCE, KEY_POWER_OFF };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct site_options *options = state->input;
    struct tally_site_request *request = &options->request;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_REASON:
        request->reason = site_reason(state, argument);
        return 0;
    case KEY_DRY_RUN:
        request->dry_run = true;
        return 0;
    case KEY_FORCE:
        request->force = true;
        return 0;
    case KEY_POWER_OFF:
        request->power_off = true;
        return 0;
    case ARGP_KEY_ARG:
        if (request->site != NULL)
            return ARGP_ERR_UNKNOWN;
        request->site = argument;
        return 0;
    case ARGP_KEY_END:
        if (request->site == NULL)
            argp_error(state, "the site is missing");
        if (request->operation == TALLY_SITE_DRAIN && request->reason == NULL)
            argp_error(state, "--reason is missing: it is kept in the log, and shown to everybody");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define REASON_FLAG                                                                                \
    {                                                                                              \
        "reason", KEY_REASON, "TEXT", 0, "Why; is kept with your name", 0                          \
    }
#define REASON_FLAG_REQUIRED                                                                       \
    {                                                                                              \
        "reason", KEY_REASON, "TEXT", 0, "Why; is kept with your name (required)", 0               \
    }
#define DRY_RUN_FLAG                                                                               \
    {                                                                                              \
        "dry-run", KEY_DRY_RUN, NULL, 0, "Only say what stands in the way", 0                      \
    }
#define FORCE_FLAG                                                                                 \
    {                                                                                              \
        "force", KEY_FORCE, NULL, 0, "Although a voter is down already", 0                         \
    }
#define EXIT_CODES                                                                                 \
    "\vExit codes: 0 done, or it was so already; 3 refused, nothing was changed (of a dry run "    \
    "too); 4 nobody could be asked, or it was not done in time."

static int run(struct cli *cli, int argc, char **argv, const struct argp *argp,
               enum tally_site_operation operation)
{
    struct site_options options = {.cli = cli, .request = {.operation = (uint8_t)operation}};
    cli_parse(argp, argc, argv, &options);
    if (operation == TALLY_SITE_RESUME && options.request.reason == NULL)
        options.request.reason = "site resumed";
    return site_run(cli, &options.request);
}

int site_switchover_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {REASON_FLAG, DRY_RUN_FLAG, FORCE_FLAG, {0}};
    static const struct argp argp = {
        flags,
        parse,
        "SITE",
        "Leadership goes to a data node of SITE. It is checked first that nothing stands in the "
        "way; then new requests wait for a moment, and none is refused. Safe to repeat. Role "
        "site_operator." EXIT_CODES,
        cli_children,
        NULL,
        NULL};
    return run(cli, argc, argv, &argp, TALLY_SITE_SWITCHOVER);
}

int site_drain_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        REASON_FLAG_REQUIRED,
        {"power-off", KEY_POWER_OFF, NULL, 0,
         "Its nodes are going to be stopped: go on without it from now on", 0},
        DRY_RUN_FLAG,
        FORCE_FLAG,
        {0}};
    static const struct argp argp = {
        flags,
        parse,
        "SITE",
        "SITE's nodes go on following, voting and syncing, but neither lead nor serve clients; "
        "leadership leaves the site first, without a refused request. Safe to repeat. Role "
        "site_operator." EXIT_CODES,
        cli_children,
        NULL,
        NULL};
    return run(cli, argc, argv, &argp, TALLY_SITE_DRAIN);
}

int site_resume_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {REASON_FLAG, DRY_RUN_FLAG, {0}};
    static const struct argp argp = {
        flags,
        parse,
        "SITE",
        "SITE, drained or lost, counts and serves again: waits until it is current (10 minutes "
        "unless --deadline), returns to SYNC, and ends its drain. Safe to repeat and to interrupt. "
        "Role "
        "site_operator." EXIT_CODES,
        cli_children,
        NULL,
        NULL};
    return run(cli, argc, argv, &argp, TALLY_SITE_RESUME);
}
