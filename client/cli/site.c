/*
 * `tally site`: what an operator does with a whole site. The leader does the work and reports it
 * step by step; here it is printed for people, or as JSON. docs/operations.md is the runbook.
 *
 * Exit codes: 0 done, or it was so already; 3 something stands in the way, nothing was changed (of
 * a dry run too, so that a script can ask first); 4 nobody could be asked.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Bounds of the leader's steps together, and some way. */
#define OPERATION_DEADLINE_MS 30000u
#define REASON_SIZE_MAX       120

struct site_options {
    struct cli *cli;
    struct tally_site_request request;
};

enum { KEY_REASON = 0x2000, KEY_DRY_RUN, KEY_FORCE };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct site_options *options = state->input;
    struct tally_site_request *request = &options->request;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_REASON:
        if (strlen(argument) > REASON_SIZE_MAX)
            argp_error(state, "--reason: longer than %d bytes", REASON_SIZE_MAX);
        request->reason = argument;
        return 0;
    case KEY_DRY_RUN:
        request->dry_run = true;
        return 0;
    case KEY_FORCE:
        request->force = true;
        return 0;
    case ARGP_KEY_ARG:
        if (request->site != NULL)
            return ARGP_ERR_UNKNOWN;
        request->site = argument;
        return 0;
    case ARGP_KEY_END:
        if (request->site == NULL)
            argp_error(state, "the site is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define SITE_FLAGS                                                                                   \
    {"reason", KEY_REASON, "TEXT", 0, "Why, for the audit log", 0},                                  \
        {"dry-run", KEY_DRY_RUN, NULL, 0, "Only say what stands in the way; exit code 3 if any", 0}, \
    {                                                                                                \
        "force", KEY_FORCE, NULL, 0, "Although a voter is down already", 0                           \
    }

/* ---- the report ---- */

static const char *verdict_name(uint8_t verdict)
{
    return verdict == TALLY_SITE_FINE     ? "fine"
           : verdict == TALLY_SITE_FORCED ? "forced"
                                          : "in the way";
}

static bool passes(const struct tally_site_report *report)
{
    for (size_t i = 0; i < report->check_count; i++)
        if (report->checks[i].verdict == TALLY_SITE_IN_THE_WAY)
            return false;
    return true;
}

static void print_pause(const struct tally_site_pause *pause)
{
    if (!pause->known)
        printf("  node %-3" PRIu64 " did not tell\n", pause->node_id);
    else if (pause->answered + pause->refused + pause->unknown == 0)
        printf("  node %-3" PRIu64 " had no requests of clients\n", pause->node_id);
    else
        printf("  node %-3" PRIu64 " longest wait of a request %.1f ms, longest gap between two "
               "answers %.1f ms; %" PRIu64 " answered, %" PRIu64 " refused, %" PRIu64 " unknown\n",
               pause->node_id, (double)pause->longest_wait_us / 1000,
               (double)pause->longest_gap_us / 1000, pause->answered, pause->refused,
               pause->unknown);
}

static void print_report(const struct tally_site_report *report)
{
    for (size_t i = 0; i < report->check_count; i++)
        printf("%-10s  %s\n", verdict_name(report->checks[i].verdict), report->checks[i].text);
    for (size_t i = 0; i < report->step_count; i++)
        printf("%7.1f ms  %s\n", (double)report->steps[i].at_us / 1000, report->steps[i].text);
    if (report->pause_count > 0)
        printf("clients, while requests were held for %.1f ms:\n", (double)report->held_us / 1000);
    for (size_t i = 0; i < report->pause_count; i++)
        print_pause(&report->pauses[i]);
}

static json_t *report_json(const struct tally_site_report *report)
{
    json_t *checks = json_array(), *steps = json_array(), *pauses = json_array();
    for (size_t i = 0; i < report->check_count; i++)
        json_array_append_new(checks, json_pack("{s:s, s:s}", "verdict",
                                                verdict_name(report->checks[i].verdict), "text",
                                                report->checks[i].text));
    for (size_t i = 0; i < report->step_count; i++)
        json_array_append_new(steps,
                              json_pack("{s:I, s:s}", "at_us", (json_int_t)report->steps[i].at_us,
                                        "text", report->steps[i].text));
    for (size_t i = 0; i < report->pause_count; i++) {
        const struct tally_site_pause *pause = &report->pauses[i];
        json_t *row =
            json_pack("{s:I, s:b}", "node", (json_int_t)pause->node_id, "known", pause->known);
        if (pause->known)
            json_object_update_new(
                row, json_pack("{s:I, s:I, s:I, s:I, s:I}", "longest_wait_us",
                               (json_int_t)pause->longest_wait_us, "longest_gap_us",
                               (json_int_t)pause->longest_gap_us, "answered",
                               (json_int_t)pause->answered, "refused", (json_int_t)pause->refused,
                               "unknown", (json_int_t)pause->unknown));
        json_array_append_new(pauses, row);
    }
    return json_pack("{s:b, s:b, s:I, s:I, s:o, s:o, s:o}", "done_before", report->done_before,
                     "passes", passes(report), "leader", (json_int_t)report->leader_id, "held_us",
                     (json_int_t)report->held_us, "checks", checks, "steps", steps, "pauses",
                     pauses);
}

/* ---- the command ---- */

static int operate(struct site_options *options)
{
    struct cli *cli = options->cli;
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_site_report report;
    struct tally_call call = {.deadline_ms =
                                  cli->deadline_ms != 0 ? cli->deadline_ms : OPERATION_DEADLINE_MS};
    if (tally_operate_site(cli->client, &call, &options->request, &report) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (cli->json)
        output_json(report_json(&report));
    else
        print_report(&report);
    if (passes(&report)) {
        if (options->request.dry_run && !cli->json && !report.done_before)
            puts("nothing stands in the way; nothing was changed (--dry-run)");
        return EXIT_OK;
    }
    return cli_error(EXIT_REFUSED, "something stands in the way; nothing was changed (--dry-run)");
}

int site_switchover_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {SITE_FLAGS, {0}};
    static const struct argp argp = {
        flags,
        parse,
        "SITE",
        "Leadership goes to a data node of SITE. It is checked first that nothing stands in the "
        "way; then new requests wait for a moment, and none is refused. Safe to repeat. Role "
        "site_operator.\vExit codes: 0 done, or SITE led already; 3 refused, nothing was changed.",
        cli_children,
        NULL,
        NULL};
    struct site_options options = {.cli = cli, .request = {.operation = TALLY_SITE_SWITCHOVER}};
    cli_parse(&argp, argc, argv, &options);
    return operate(&options);
}
