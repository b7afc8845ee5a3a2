/*
 * `tally trial-balance`: totals of one ledger by account code, whether debits equal credits, and
 * the digest of the whole state at that log index, which two nodes or two days can compare.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>

struct balance_options {
    struct cli *cli;
    uint32_t ledger;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct balance_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'l':
        options->ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case ARGP_KEY_END:
        if (options->ledger == 0)
            argp_error(state, "--ledger is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_table(const struct tally_trial_balance *balance)
{
    const struct tally_ledger *ledger = &balance->ledger;
    char code[OUTPUT_NUMBER_SIZE];
    char accounts[OUTPUT_NUMBER_SIZE];
    char debits[OUTPUT_MONEY_SIZE];
    char credits[OUTPUT_MONEY_SIZE];
    char net[OUTPUT_MONEY_SIZE];
    uint64_t account_count = 0;
    struct table *table = table_create((const struct table_column[]){{"CODE", true},
                                                                     {"ACCOUNTS", true},
                                                                     {"DEBITS", true},
                                                                     {"CREDITS", true},
                                                                     {"BALANCE", true}},
                                       5);
    for (size_t i = 0; i < balance->row_count; i++) {
        const struct tally_trial_balance_row *row = &balance->rows[i];
        account_count += row->account_count;
        table_row(table,
                  (const char *[]){
                      output_number(row->code, code), output_number(row->account_count, accounts),
                      output_money(&row->debits_posted, ledger, debits),
                      output_money(&row->credits_posted, ledger, credits),
                      output_balance(&row->debits_posted, &row->credits_posted, ledger, net)});
    }
    table_row(table, (const char *[]){"total", output_number(account_count, accounts),
                                      output_money(&balance->debits_posted, ledger, debits),
                                      output_money(&balance->credits_posted, ledger, credits),
                                      output_balance(&balance->debits_posted,
                                                     &balance->credits_posted, ledger, net)});
    printf("ledger %u, %s, %s\n\n", ledger->id, ledger->currency, ledger->name);
    table_print(table);
}

static void print_json(const struct tally_trial_balance *balance)
{
    const struct tally_ledger *ledger = &balance->ledger;
    json_t *rows = json_array();
    for (size_t i = 0; i < balance->row_count; i++) {
        const struct tally_trial_balance_row *row = &balance->rows[i];
        json_array_append_new(
            rows, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "code", (json_int_t)row->code,
                            "account_count", output_u64(row->account_count), "debits_posted",
                            output_amount(&row->debits_posted, ledger), "credits_posted",
                            output_amount(&row->credits_posted, ledger), "debits_pending",
                            output_amount(&row->debits_pending, ledger), "credits_pending",
                            output_amount(&row->credits_pending, ledger)));
    }
    output_json(json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o}", "ledger", output_ledger(ledger),
        "rows", rows, "debits_posted", output_amount(&balance->debits_posted, ledger),
        "credits_posted", output_amount(&balance->credits_posted, ledger), "debits_pending",
        output_amount(&balance->debits_pending, ledger), "credits_pending",
        output_amount(&balance->credits_pending, ledger), "balanced", balance->balanced, "index",
        output_u64(balance->index), "timestamp_ns", output_u64(balance->timestamp_ns), "digest",
        output_bytes(balance->digest, balance->digest_size)));
}

int trial_balance_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"ledger", 'l', "N", 0, "The ledger (required)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Totals by account code. Exit code 1 when debits and credits do not balance: that must "
        "never happen; keep the node's files and ask for help.",
        cli_children,
        NULL,
        NULL};
    struct balance_options options = {.cli = cli};
    struct tally_trial_balance balance;
    char time[OUTPUT_TIME_SIZE];

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    if (tally_trial_balance(cli->client, &call, options.ledger, &balance) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (cli->json) {
        print_json(&balance);
    } else {
        print_table(&balance);
        output_time(balance.timestamp_ns, time);
        printf("\nbalanced   %s\n", balance.balanced ? "yes" : "NO");
        printf("log index  %" PRIu64 "\n", balance.index);
        printf("time       %s\n", time);
        printf("digest     ");
        for (size_t i = 0; i < balance.digest_size; i++)
            printf("%02x", balance.digest[i]);
        printf("\n");
    }
    code = balance.balanced ? EXIT_OK : EXIT_SOME_REFUSED;
    tally_trial_balance_deinit(&balance);
    return code;
}
