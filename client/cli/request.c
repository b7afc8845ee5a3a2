/*
 * `tally request`: what became of a request, by its identity; and making "never" final.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>

struct request_options {
    struct cli *cli;
    const char *identity, *principal;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct request_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'p':
        options->principal = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->identity != NULL)
            return ARGP_ERR_UNKNOWN;
        options->identity = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->identity == NULL)
            argp_error(state, "the identity is missing: NONCE:ISSUED_AT_NS");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* How many events had each result, as "8000 OK, 190 EXISTS". */
static void print_results(const struct tally_request *request)
{
    uint64_t counts[256] = {0};
    bool first = true;
    for (size_t i = 0; i < request->result_count; i++)
        counts[request->results[i]]++;
    printf("results    ");
    for (unsigned i = 0; i < 256; i++) {
        if (counts[i] == 0)
            continue;
        printf("%s%" PRIu64 " %s", first ? "" : ", ", counts[i], tally_result_name((uint8_t)i));
        first = false;
    }
    puts(first ? "none" : "");
}

static void print_json(const char *identity, const struct tally_request *request)
{
    json_t *results = json_array();
    for (size_t i = 0; i < request->result_count; i++)
        json_array_append_new(results, json_string(tally_result_name(request->results[i])));
    output_json(json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "identity", identity, "outcome",
                          tally_outcome_name(request->outcome), "explanation",
                          tally_outcome_explanation(request->outcome), "method", request->method,
                          "index", output_u64(request->index), "timestamp_ns",
                          output_u64(request->timestamp_ns), "results", results));
}

static int print(const struct cli *cli, const char *identity, struct tally_request *request)
{
    char time[OUTPUT_TIME_SIZE];
    if (cli->json) {
        print_json(identity, request);
    } else {
        printf("request    %s\n", identity);
        printf("outcome    %s: %s\n", tally_outcome_name(request->outcome),
               tally_outcome_explanation(request->outcome));
        if (request->outcome == TALLY_OUTCOME_EXECUTED) {
            output_time(request->timestamp_ns, time);
            printf("method     %s\n", request->method);
            printf("log index  %" PRIu64 "\n", request->index);
            printf("committed  %s\n", time);
            print_results(request);
        }
    }
    bool known = request->outcome == TALLY_OUTCOME_EXECUTED ||
                 request->outcome == TALLY_OUTCOME_REQUEST_FENCED;
    tally_request_deinit(request);
    return known ? EXIT_OK : EXIT_SOME_REFUSED;
}

int request_show_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"principal", 'p', "NAME", 0, "Whose request; another's only for auditors", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        "NONCE:ISSUED_AT_NS",
        "Says what became of a request. Exit code 0 when it was executed or fenced, 1 when it was "
        "never seen or lies beyond the window.",
        cli_children,
        NULL,
        NULL};
    struct request_options options = {.cli = cli};
    struct tally_identity identity;
    struct tally_request request;
    struct tally_error error;

    cli_parse(&argp, argc, argv, &options);
    if (tally_identity_parse(options.identity, &identity, &error) != TALLY_OK)
        return cli_error(EXIT_USAGE, "%s", error.text);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
    if (tally_get_request(cli->client, &call, &identity, options.principal, &request) != TALLY_OK)
        return cli_fail(cli, &call, false);
    return print(cli, options.identity, &request);
}

int request_fence_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL,
        parse,
        "NONCE:ISSUED_AT_NS",
        "Makes sure that a request which was not executed never will be; says what became of it "
        "otherwise. Safe to repeat.",
        cli_children,
        NULL,
        NULL};
    struct request_options options = {.cli = cli};
    struct tally_identity identity;
    struct tally_request request;
    struct tally_error error;

    cli_parse(&argp, argc, argv, &options);
    if (tally_identity_parse(options.identity, &identity, &error) != TALLY_OK)
        return cli_error(EXIT_USAGE, "%s", error.text);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .identity = identity};
    if (tally_fence_request(cli->client, &call, &identity, &request) != TALLY_OK)
        return cli_fail(cli, &call, true);
    return print(cli, options.identity, &request);
}
