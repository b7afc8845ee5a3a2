/*
 * `tally rpo`: what would be lost with everything but one site, as the leader measures it. Any node
 * tells; one that has not heard the leader lately says "unknown".
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_WATCH       0x100
#define WATCH_S_DEFAULT 2

struct rpo_options {
    struct cli *cli;
    uint64_t watch_s;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct rpo_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_WATCH:
        options->watch_s =
            argument != NULL ? cli_number(state, "--watch", argument, 1, 3600) : WATCH_S_DEFAULT;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* "12", "at most 12", "unknown". */
static const char *words(const json_t *value, bool exact, char *out, size_t size)
{
    const char *most = exact ? "" : "at most ";
    if (json_is_integer(value))
        snprintf(out, size, "%s%" JSON_INTEGER_FORMAT, json_integer_value(value) == 0 ? "" : most,
                 json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, size, "%s%.3f", most, json_real_value(value));
    else
        snprintf(out, size, "unknown");
    return out;
}

static const char *money(const json_t *site, char *out, size_t size)
{
    const json_t *ledgers = json_object_get(site, "ledgers");
    json_t *ledger;
    size_t i, used = 0;
    if (!json_is_array(ledgers)) {
        snprintf(out, size, "unknown");
        return out;
    }
    snprintf(out, size, "0");
    json_array_foreach((json_t *)(uintptr_t)ledgers, i, ledger)
    {
        const char *minor = json_string_value(json_object_get(ledger, "minor"));
        int added = snprintf(
            out + used, size - used, "%sledger %" JSON_INTEGER_FORMAT ": %s", used > 0 ? ", " : "",
            json_integer_value(json_object_get(ledger, "ledger")), minor != NULL ? minor : "?");
        if (added > 0 && (size_t)added < size - used)
            used += (size_t)added;
    }
    json_int_t others = json_integer_value(json_object_get(site, "other_transfers"));
    if (others > 0)
        (void)snprintf(out + used, size - used, "%s%" JSON_INTEGER_FORMAT " in other ledgers",
                       used > 0 ? ", and transfers: " : "transfers: ", others);
    return out;
}

static void print(const json_t *rpo)
{
    static const struct table_column columns[] = {{"site", false},
                                                  {"entries", true},
                                                  {"bytes", true},
                                                  {"seconds", true},
                                                  {"minor units", false}};
    if (!json_is_array(rpo)) {
        puts("unknown: this node has not heard a leader lately");
        return;
    }
    struct table *table = table_create(columns, sizeof columns / sizeof columns[0]);
    json_t *site;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)rpo, i, site)
    {
        char entries[48], bytes[48], seconds[48], amounts[1024];
        const bool exact = json_is_true(json_object_get(site, "exact"));
        const char *name = json_string_value(json_object_get(site, "site"));
        const char *cells[] = {
            name != NULL ? name : "?",
            words(json_object_get(site, "entries"), true, entries, sizeof entries),
            words(json_object_get(site, "bytes"), exact, bytes, sizeof bytes),
            words(json_object_get(site, "seconds"), exact, seconds, sizeof seconds),
            money(site, amounts, sizeof amounts)};
        table_row(table, cells);
    }
    table_print(table);
}

static int show(struct cli *cli)
{
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
    json_error_t error;
    char *text;
    if (tally_get_status(cli->client, &call, &text) != TALLY_OK)
        return cli_fail(cli, &call, false);
    json_t *status = json_loads(text, 0, &error);
    tally_free(text);
    if (status == NULL)
        return cli_error(EXIT_LOCAL, "the node's status is no JSON: %s", error.text);
    const json_t *rpo = json_object_get(status, "rpo");
    const bool known = json_is_array(rpo);
    if (cli->json)
        output_json(json_pack("{s:O?}", "rpo", rpo));
    else
        print(rpo);
    json_decref(status);
    return known ? EXIT_OK : EXIT_SOME_REFUSED;
}

int rpo_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"watch", KEY_WATCH, "SECONDS", OPTION_ARG_OPTIONAL,
         "Again and again, every 2 seconds or as said, until interrupted", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Shows, per site, what was applied and is not known to be synced there: what would be lost "
        "if only that site were left. Exit code 1 when it is unknown. Any role.",
        cli_children,
        NULL,
        NULL};
    struct rpo_options options = {.cli = cli};
    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    for (;;) {
        if (options.watch_s != 0 && !cli->json)
            fputs(isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n", stdout);
        code = show(cli);
        if (options.watch_s == 0 || code == EXIT_USAGE || code == EXIT_LOCAL || fflush(stdout) != 0)
            return code;
        sleep((unsigned)options.watch_s);
    }
}
