/*
 * `tally ledger`: creating and listing ledgers.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <stdio.h>
#include <stdlib.h>

struct create_options {
    struct cli *cli;
    struct tally_new_ledger ledger;
    const char *identity;
    bool has_exponent;
};

static error_t parse_create(int key, char *argument, struct argp_state *state)
{
    struct create_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'i':
        options->ledger.id = (uint32_t)cli_number(state, "--id", argument, 1, UINT32_MAX);
        return 0;
    case 'c':
        options->ledger.currency = argument;
        return 0;
    case 'e':
        options->ledger.exponent =
            (uint32_t)cli_number(state, "--exponent", argument, 0, TALLY_EXPONENT_MAX);
        options->has_exponent = true;
        return 0;
    case 'n':
        options->ledger.name = argument;
        return 0;
    case 'I':
        options->identity = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->ledger.id == 0 || options->ledger.currency == NULL ||
            options->ledger.name == NULL || !options->has_exponent)
            argp_error(state, "--id, --currency, --exponent and --name are all needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int ledger_create_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"id", 'i', "N", 0, "Number of the ledger, 1 to 4294967295", 0},
        {"currency", 'c', "CODE", 0, "ISO 4217 alphabetic code", 0},
        {"exponent", 'e', "N", 0, "Decimal digits of the minor unit, 0 to 18 (EUR: 2, JPY: 0)", 0},
        {"name", 'n', "NAME", 0, "1 to 64 bytes", 0},
        {"identity", 'I', "NONCE:NS", 0, "Repeat an earlier request of this kind", 0},
        {0},
    };
    static const struct argp argp = {
        flags,        parse_create, NULL, "Creates a ledger. Role business_operator.",
        cli_children, NULL,         NULL};
    struct create_options options = {.cli = cli};
    struct tally_call call;
    char name[OUTPUT_NUMBER_SIZE];
    uint8_t result;

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_call(cli, options.identity, &call);
    if (code != EXIT_OK)
        return code;
    if (tally_create_ledgers(cli->client, &call, &options.ledger, 1, &result) != TALLY_OK)
        return cli_fail(cli, &call, true);
    return cli_result(cli, &call, result, "ledger", output_number(options.ledger.id, name));
}

int ledger_list_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {NULL,         cli_parse_none, NULL, "Lists all ledgers.",
                                     cli_children, NULL,           NULL};
    struct tally_ledger *ledgers;
    size_t count;
    char id[OUTPUT_NUMBER_SIZE];
    char exponent[OUTPUT_NUMBER_SIZE];
    char accounts[OUTPUT_NUMBER_SIZE];
    char time[OUTPUT_TIME_SIZE];

    cli_parse(&argp, argc, argv, cli);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_ledgers(cli, &ledgers, &count);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list, output_ledger(&ledgers[i]));
        output_json(json_pack("{s:o}", "ledgers", list));
    } else {
        struct table *table = table_create((const struct table_column[]){{"LEDGER", true},
                                                                         {"CURRENCY", false},
                                                                         {"EXPONENT", true},
                                                                         {"ACCOUNTS", true},
                                                                         {"CREATED", false},
                                                                         {"NAME", false}},
                                           6);
        for (size_t i = 0; i < count; i++) {
            output_time(ledgers[i].timestamp_ns, time);
            table_row(table, (const char *[]){output_number(ledgers[i].id, id), ledgers[i].currency,
                                              output_number(ledgers[i].exponent, exponent),
                                              output_number(ledgers[i].account_count, accounts),
                                              time, ledgers[i].name});
        }
        table_print(table);
    }
    free(ledgers);
    return EXIT_OK;
}
