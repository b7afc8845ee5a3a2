/*
 * One operation, from the first call to the report. Two of them take more than one call: a drain of
 * the leader's own site goes on at the new leader, and a resume waits for the site, for minutes
 * perhaps. So a resume is asked for in turns of some seconds, each of which ends with the leader's
 * words on what it waits for; the same call goes on from what is in the log.
 */
#include "client/cli/site_run.h"

#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Bounds of the leader's steps together, and some way. */
#define OPERATION_DEADLINE_MS 30000u
#define RESUME_DEADLINE_MS    600000u
/* How long the operator hears nothing of a resume that waits. */
#define TURN_MS 10000u
/* A drain goes from leader to leader at most so often. */
#define LEGS_MAX 4

const char *site_reason(struct argp_state *state, const char *argument)
{
    if (argument[0] == '\0' || strlen(argument) > SITE_REASON_SIZE_MAX)
        argp_error(state, "--reason: 1 to %d bytes", SITE_REASON_SIZE_MAX);
    return argument;
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
    return json_pack("{s:b, s:b, s:I, s:I, s:I, s:o, s:o, s:o}", "done_before", report->done_before,
                     "passes", passes(report), "leader", (json_int_t)report->leader_id, "held_us",
                     (json_int_t)report->held_us, "number", (json_int_t)report->number, "checks",
                     checks, "steps", steps, "pauses", pauses);
}

/* ---- the calls ---- */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static enum tally_status operate(const struct cli *cli, const struct tally_site_request *request,
                                 struct tally_call *out_call, struct tally_site_report *out)
{
    const bool waits = request->operation == TALLY_SITE_RESUME && !request->dry_run;
    const uint64_t limit_ms = cli->deadline_ms != 0 ? cli->deadline_ms
                              : waits               ? RESUME_DEADLINE_MS
                                                    : OPERATION_DEADLINE_MS;
    const uint64_t start_ms = now_ms();
    for (;;) {
        const uint64_t spent_ms = now_ms() - start_ms;
        const uint64_t left_ms = limit_ms > spent_ms ? limit_ms - spent_ms : 1;
        const bool last = !waits || left_ms < 2 * TURN_MS;
        *out_call = (struct tally_call){.deadline_ms = (uint32_t)(last ? left_ms : TURN_MS)};
        const enum tally_status status = tally_operate_site(cli->client, out_call, request, out);
        const struct tally_error *error = &out_call->error;
        if (status == TALLY_OK || last || (status != TALLY_NO_ANSWER && !error->retryable))
            return status;
        fprintf(stderr, "tally: still waiting, for %" PRIu64 " s: %s\n",
                (now_ms() - start_ms) / 1000, error->text);
    }
}

static void show(const struct cli *cli, const struct tally_site_report *report)
{
    if (cli->json)
        output_json(report_json(report));
    else
        print_report(report);
}

/* The leader that a drain moved leadership to refuses the rest: that is not "nothing was changed".
 */
static int fail_half_way(const struct cli *cli, const struct tally_site_request *request,
                         const struct tally_call *call)
{
    int code = cli_exit_code(call->error.status, call->error.retryable);
    if (code == EXIT_REFUSED)
        code = EXIT_UNREACHABLE;
    code = cli_fail_with(cli, call, false, code);
    fprintf(stderr,
            "tally: leadership has left site %s, the drain itself is not written: mend what is "
            "said above, then repeat the command, it goes on\n",
            request->site);
    return code;
}

int site_run(struct cli *cli, const struct tally_site_request *request)
{
    struct tally_site_report report;
    struct tally_call call;
    int code = cli->client == NULL ? cli_connect(cli, 1) : EXIT_OK;
    if (code != EXIT_OK)
        return code;
    for (int leg = 0; leg < LEGS_MAX; leg++) {
        if (operate(cli, request, &call, &report) != TALLY_OK)
            return leg == 0 ? cli_fail(cli, &call, false) : fail_half_way(cli, request, &call);
        if (!report.again)
            break;
        if (!cli->json)
            print_report(&report); /* the switchover; what follows is the new leader's */
    }
    show(cli, &report);
    if (report.again)
        return cli_error(EXIT_UNREACHABLE, "leadership keeps coming back to the site; see \"tally "
                                           "status\", then repeat the command, it goes on");
    if (!passes(&report))
        return cli_error(EXIT_REFUSED,
                         "something stands in the way; nothing was changed (--dry-run)");
    if (request->dry_run && !cli->json && !report.done_before)
        puts("nothing stands in the way; nothing was changed (--dry-run)");
    return EXIT_OK;
}
