/*
 * `tally account`: creating, showing and listing accounts. A file of accounts goes the way of
 * `transfer import` (import.h).
 */
#include "client/cli/cli.h"
#include "client/cli/columns.h"
#include "client/cli/import.h"
#include "client/cli/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- create ---- */

struct create_options {
    struct cli *cli;
    struct tally_new_account account;
    struct import_options import;
    const char *identity;
    bool has_id;
};

enum { KEY_USER_DATA_128 = 0x3000, KEY_USER_DATA_64, KEY_USER_DATA_32, KEY_FILE, KEY_REJECTS };

static error_t parse_create(int key, char *argument, struct argp_state *state)
{
    struct create_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'i':
        options->account.id = cli_id(state, "--id", argument);
        options->has_id = true;
        return 0;
    case 'l':
        options->account.ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case 'c':
        options->account.code = (uint32_t)cli_number(state, "--code", argument, 1, 65535);
        return 0;
    case 'f':
        if (!columns_parse_flags(argument, strlen(argument), &options->account.flags))
            argp_error(state,
                       "--flags: \"%s\" is neither a number nor names joined by '|' "
                       "(debits_must_not_exceed_credits, credits_must_not_exceed_debits)",
                       argument);
        return 0;
    case KEY_USER_DATA_128:
        options->account.user_data_128 = cli_id(state, "--user-data-128", argument);
        return 0;
    case KEY_USER_DATA_64:
        options->account.user_data_64 =
            cli_number(state, "--user-data-64", argument, 0, UINT64_MAX);
        return 0;
    case KEY_USER_DATA_32:
        options->account.user_data_32 =
            (uint32_t)cli_number(state, "--user-data-32", argument, 0, UINT32_MAX);
        return 0;
    case 'I':
        options->identity = argument;
        return 0;
    case KEY_FILE:
        options->import.path = argument;
        return 0;
    case KEY_REJECTS:
        options->import.rejects_path = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->import.path != NULL && (options->has_id || options->identity != NULL))
            argp_error(state, "--file goes without --id and --identity");
        if (options->import.path == NULL &&
            (!options->has_id || options->account.ledger == 0 || options->account.code == 0))
            argp_error(state, "--id, --ledger and --code are all needed, or --file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int account_create_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"id", 'i', "ID", 0, "32 hex digits, a UUID, a decimal number, or name:TEXT", 0},
        {"ledger", 'l', "N", 0, "Its ledger (with --file: where a row names none)", 0},
        {"code", 'c', "N", 0, "Kind of account, 1 to 65535 (with --file: likewise)", 0},
        {"flags", 'f', "FLAGS", 0,
         "debits_must_not_exceed_credits or credits_must_not_exceed_debits", 0},
        {"user-data-128", KEY_USER_DATA_128, "ID", 0, "Yours", 0},
        {"user-data-64", KEY_USER_DATA_64, "N", 0, "Yours", 0},
        {"user-data-32", KEY_USER_DATA_32, "N", 0, "Yours", 0},
        {"identity", 'I', "NONCE:NS", 0, "Repeat an earlier request of this kind", 0},
        {"file", KEY_FILE, "FILE.csv|-", 0,
         "Many accounts: columns id, code, ledger, flags, user_data_128, user_data_64, "
         "user_data_32",
         1},
        {"rejects", KEY_REJECTS, "FILE", 0, "With --file: rejected rows, as CSV", 1},
        {0},
    };
    static const struct argp argp = {
        flags,        parse_create, NULL, "Creates accounts. Role business_operator.",
        cli_children, NULL,         NULL};
    struct create_options options = {.cli = cli};
    struct tally_call call;
    char name[TALLY_ID_TEXT_SIZE];
    uint8_t result;

    cli_parse(&argp, argc, argv, &options);
    if (options.import.path != NULL) {
        options.import.ledger = options.account.ledger;
        options.import.code = options.account.code;
        return import_run(cli, &import_accounts, &options.import);
    }
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_call(cli, options.identity, &call);
    if (code != EXIT_OK)
        return code;
    if (tally_create_accounts(cli->client, &call, &options.account, 1, &result) != TALLY_OK)
        return cli_fail(cli, &call, true);
    tally_id_format(&options.account.id, name);
    return cli_result(cli, &call, result, "account", name);
}

/* ---- show and list ---- */

static json_t *account_json(const struct tally_account *account, const struct tally_ledger *ledger)
{
    char flags[OUTPUT_FLAGS_SIZE];
    return json_pack(
        "{s:o, s:I, s:s?, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "id",
        output_id(&account->id), "ledger", (json_int_t)account->ledger, "currency",
        ledger != NULL ? ledger->currency : NULL, "code", (json_int_t)account->code, "flags",
        account->flags != 0 ? output_flags(account->flags, flags) : "", "debits_posted",
        output_amount(&account->debits_posted, ledger), "credits_posted",
        output_amount(&account->credits_posted, ledger), "debits_pending",
        output_amount(&account->debits_pending, ledger), "credits_pending",
        output_amount(&account->credits_pending, ledger), "user_data_128",
        output_id(&account->user_data_128), "user_data_64", output_u64(account->user_data_64),
        "user_data_32", (json_int_t)account->user_data_32, "transfer_count",
        output_u64(account->transfer_count), "timestamp_ns", output_u64(account->timestamp_ns));
}

static void print_account(const struct tally_account *account, const struct tally_ledger *ledger)
{
    char id[TALLY_ID_TEXT_SIZE];
    char money[OUTPUT_MONEY_SIZE];
    char flags[OUTPUT_FLAGS_SIZE];
    char time[OUTPUT_TIME_SIZE];
    tally_id_format(&account->id, id);
    printf("account          %s\n", id);
    printf("ledger           %u %s\n", account->ledger, ledger != NULL ? ledger->name : "");
    printf("code             %u\n", account->code);
    printf("flags            %s\n", output_flags(account->flags, flags));
    printf("debits posted    %s\n", output_money(&account->debits_posted, ledger, money));
    printf("credits posted   %s\n", output_money(&account->credits_posted, ledger, money));
    printf("debits pending   %s\n", output_money(&account->debits_pending, ledger, money));
    printf("credits pending  %s\n", output_money(&account->credits_pending, ledger, money));
    printf("balance          %s\n",
           output_balance(&account->debits_posted, &account->credits_posted, ledger, money));
    printf("transfers        %llu\n", (unsigned long long)account->transfer_count);
    output_time(account->timestamp_ns, time);
    printf("created          %s\n", time);
}

struct show_options {
    struct cli *cli;
    struct tally_id id;
    bool has_id;
};

static error_t parse_show(int key, char *argument, struct argp_state *state)
{
    struct show_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case ARGP_KEY_ARG:
        if (options->has_id)
            return ARGP_ERR_UNKNOWN;
        options->id = cli_id(state, "ID", argument);
        options->has_id = true;
        return 0;
    case ARGP_KEY_END:
        if (!options->has_id)
            argp_error(state, "the id is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int account_show_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL,         parse_show, "ID", "Shows one account. Exit code 1 when there is none.",
        cli_children, NULL,       NULL};
    struct show_options options = {.cli = cli};
    struct tally_account account;
    struct tally_ledger *ledgers;
    size_t ledger_count;
    size_t found;
    char id[TALLY_ID_TEXT_SIZE];

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    if (tally_lookup_accounts(cli->client, &call, &options.id, 1, &account, &found) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (found == 0) {
        tally_id_format(&options.id, id);
        return cli_error(EXIT_SOME_REFUSED, "there is no account %s", id);
    }
    code = cli_ledgers(cli, &ledgers, &ledger_count);
    if (code != EXIT_OK)
        return code;
    const struct tally_ledger *ledger = cli_find_ledger(ledgers, ledger_count, account.ledger);
    if (cli->json)
        output_json(account_json(&account, ledger));
    else
        print_account(&account, ledger);
    free(ledgers);
    return EXIT_OK;
}

struct list_options {
    struct cli *cli;
    uint32_t ledger, first, limit;
};

static error_t parse_list(int key, char *argument, struct argp_state *state)
{
    struct list_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'l':
        options->ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case 'f':
        options->first = (uint32_t)cli_number(state, "--first", argument, 0, UINT32_MAX);
        return 0;
    case 'n':
        options->limit = (uint32_t)cli_number(state, "--limit", argument, 1, TALLY_PAGE_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_page(const struct tally_account *rows, size_t count,
                       const struct tally_ledger *ledgers, size_t ledger_count)
{
    char id[TALLY_ID_TEXT_SIZE];
    char ledger_id[OUTPUT_NUMBER_SIZE];
    char code[OUTPUT_NUMBER_SIZE];
    char transfers[OUTPUT_NUMBER_SIZE];
    char debits[OUTPUT_MONEY_SIZE];
    char credits[OUTPUT_MONEY_SIZE];
    char balance[OUTPUT_MONEY_SIZE];
    struct table *table = table_create((const struct table_column[]){{"ACCOUNT", false},
                                                                     {"LEDGER", true},
                                                                     {"CODE", true},
                                                                     {"DEBITS", true},
                                                                     {"CREDITS", true},
                                                                     {"BALANCE", true},
                                                                     {"TRANSFERS", true}},
                                       7);
    for (size_t i = 0; i < count; i++) {
        const struct tally_ledger *ledger = cli_find_ledger(ledgers, ledger_count, rows[i].ledger);
        tally_id_format(&rows[i].id, id);
        table_row(table, (const char *[]){id, output_number(rows[i].ledger, ledger_id),
                                          output_number(rows[i].code, code),
                                          output_money(&rows[i].debits_posted, ledger, debits),
                                          output_money(&rows[i].credits_posted, ledger, credits),
                                          output_balance(&rows[i].debits_posted,
                                                         &rows[i].credits_posted, ledger, balance),
                                          output_number(rows[i].transfer_count, transfers)});
    }
    table_print(table);
}

int account_list_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"ledger", 'l', "N", 0, "Only this ledger", 0},
        {"first", 'f', "N", 0, "Where to begin: the previous page says", 0},
        {"limit", 'n', "N", 0, "Rows of the page, 1 to 4000 (default 1000)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,        parse_list, NULL, "Lists accounts in order of creation, a page at a time.",
        cli_children, NULL,       NULL};
    struct list_options options = {.cli = cli, .limit = 1000};
    struct tally_ledger *ledgers;
    size_t ledger_count;
    size_t count;
    uint32_t next;

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_ledgers(cli, &ledgers, &ledger_count);
    if (code != EXIT_OK)
        return code;
    if (options.ledger != 0 && cli_find_ledger(ledgers, ledger_count, options.ledger) == NULL) {
        free(ledgers);
        return cli_error(EXIT_SOME_REFUSED,
                         "there is no ledger %u: \"tally ledger list\" shows those that exist",
                         options.ledger);
    }
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    struct tally_account *rows = calloc(options.limit, sizeof *rows);
    if (rows == NULL) {
        code = cli_error(EXIT_LOCAL, "out of memory");
    } else if (tally_list_accounts(cli->client, &call, options.ledger, options.first, options.limit,
                                   rows, &count, &next) != TALLY_OK) {
        code = cli_fail(cli, &call, false);
    } else if (cli->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(
                list,
                account_json(&rows[i], cli_find_ledger(ledgers, ledger_count, rows[i].ledger)));
        output_json(json_pack("{s:o, s:I}", "accounts", list, "next_first", (json_int_t)next));
    } else {
        print_page(rows, count, ledgers, ledger_count);
        if (next != 0)
            printf("more: --first %u\n", next);
    }
    free(rows);
    free(ledgers);
    return code;
}
