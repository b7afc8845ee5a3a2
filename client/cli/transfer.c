/*
 * `tally transfer`: posting, showing, listing and exporting. Import is in import.c.
 */
#include "client/cli/cli.h"
#include "client/cli/columns.h"
#include "client/cli/import.h"
#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- create ---- */

struct create_options {
    struct cli *cli;
    struct tally_new_transfer transfer;
    const char *amount, *identity;
    bool has_id, has_debit, has_credit;
};

enum {
    KEY_DEBIT = 0x3000,
    KEY_CREDIT,
    KEY_VALUE_DATE,
    KEY_USER_DATA_128,
    KEY_USER_DATA_64,
    KEY_USER_DATA_32,
    KEY_REJECTS,
    KEY_BATCH,
    KEY_IN_FLIGHT,
    KEY_LAST_LINE,
    KEY_QUIET
};

static error_t parse_create(int key, char *argument, struct argp_state *state)
{
    struct create_options *options = state->input;
    struct tally_new_transfer *transfer = &options->transfer;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'i':
        transfer->id = cli_id(state, "--id", argument);
        options->has_id = true;
        return 0;
    case KEY_DEBIT:
        transfer->debit_account_id = cli_id(state, "--debit", argument);
        options->has_debit = true;
        return 0;
    case KEY_CREDIT:
        transfer->credit_account_id = cli_id(state, "--credit", argument);
        options->has_credit = true;
        return 0;
    case 'a':
        options->amount = argument;
        return 0;
    case 'l':
        transfer->ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case 'c':
        transfer->code = (uint32_t)cli_number(state, "--code", argument, 1, 65535);
        return 0;
    case KEY_VALUE_DATE:
        if (!columns_parse_date(argument, strlen(argument), &transfer->value_date))
            argp_error(state, "--value-date: \"%s\" is neither YYYYMMDD nor YYYY-MM-DD", argument);
        return 0;
    case KEY_USER_DATA_128:
        transfer->user_data_128 = cli_id(state, "--user-data-128", argument);
        return 0;
    case KEY_USER_DATA_64:
        transfer->user_data_64 = cli_number(state, "--user-data-64", argument, 0, UINT64_MAX);
        return 0;
    case KEY_USER_DATA_32:
        transfer->user_data_32 =
            (uint32_t)cli_number(state, "--user-data-32", argument, 0, UINT32_MAX);
        return 0;
    case 'I':
        options->identity = argument;
        return 0;
    case ARGP_KEY_END:
        if (!options->has_debit || !options->has_credit || options->amount == NULL ||
            transfer->ledger == 0 || transfer->code == 0)
            argp_error(state, "--debit, --credit, --amount, --ledger and --code are all needed");
        if (options->identity != NULL && !options->has_id)
            argp_error(state, "--identity repeats a request: give its --id too");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int transfer_create_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"id", 'i', "ID", 0, "Its id, for ever; scripts should give one (default: random)", 0},
        {"debit", KEY_DEBIT, "ID", 0, "Account that is debited", 0},
        {"credit", KEY_CREDIT, "ID", 0, "Account that is credited", 0},
        {"amount", 'a', "AMOUNT", 0, "In the ledger's currency, e.g. 12.34", 0},
        {"ledger", 'l', "N", 0, "The ledger of both accounts", 0},
        {"code", 'c', "N", 0, "Reason of the transfer, 1 to 65535", 0},
        {"value-date", KEY_VALUE_DATE, "DATE", 0, "YYYY-MM-DD", 0},
        {"user-data-128", KEY_USER_DATA_128, "ID", 0, "Yours", 0},
        {"user-data-64", KEY_USER_DATA_64, "N", 0, "Yours", 0},
        {"user-data-32", KEY_USER_DATA_32, "N", 0, "Yours", 0},
        {"identity", 'I', "NONCE:NS", 0, "Repeat an earlier request of this kind", 0},
        {0},
    };
    static const struct argp argp = {
        flags, parse_create, NULL, "Posts one transfer. Role channel.", cli_children, NULL, NULL};
    struct create_options options = {.cli = cli};
    struct tally_ledger ledger;
    struct tally_call call;
    struct tally_error error;
    char name[TALLY_ID_TEXT_SIZE];
    uint8_t result;

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_ledger(cli, options.transfer.ledger, &ledger);
    if (code == EXIT_OK)
        code = cli_call(cli, options.identity, &call);
    if (code != EXIT_OK)
        return code;
    if (tally_amount_parse(options.amount, strlen(options.amount), ledger.exponent,
                           &options.transfer.amount, &error) != TALLY_OK)
        return cli_error(EXIT_USAGE, "--amount: %s", error.text);
    if (!options.has_id) {
        struct tally_identity random;
        if (tally_identity_new(&random) != TALLY_OK)
            return cli_error(EXIT_LOCAL, "the operating system has no random numbers");
        memcpy(options.transfer.id.bytes, random.nonce, sizeof random.nonce);
    }
    tally_id_format(&options.transfer.id, name);
    if (tally_create_transfers(cli->client, &call, &options.transfer, 1, &result) != TALLY_OK) {
        if (!options.has_id && call.error.status == TALLY_UNKNOWN)
            fprintf(stderr, "tally: to repeat it give   --id %s   too\n", name);
        return cli_fail(cli, &call, true);
    }
    return cli_result(cli, &call, result, "transfer", name);
}

/* ---- show, list, export ---- */

static bool is_zero(const struct tally_id *id)
{
    static const struct tally_id zero;
    return memcmp(id, &zero, sizeof zero) == 0;
}

/* The account of a transfer; null when it was refused because there is no such account. */
static json_t *account_json(const struct tally_id *id)
{
    return is_zero(id) ? json_null() : output_id(id);
}

static const char *account_text(const struct tally_id *id, char out[TALLY_ID_TEXT_SIZE])
{
    if (is_zero(id))
        return "not found";
    tally_id_format(id, out);
    return out;
}

static json_t *transfer_json(const struct tally_transfer *transfer,
                             const struct tally_ledger *ledger)
{
    char date[16];
    return json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:I, s:s?, s:I, s:s?, s:o, s:o, s:I, s:o}", "id",
        output_id(&transfer->id), "result", tally_result_name(transfer->refused),
        "debit_account_id", account_json(&transfer->debit_account_id), "credit_account_id",
        account_json(&transfer->credit_account_id), "amount",
        output_amount(&transfer->amount, ledger), "ledger", (json_int_t)transfer->ledger,
        "currency", ledger != NULL ? ledger->currency : NULL, "code", (json_int_t)transfer->code,
        "value_date", transfer->value_date != 0 ? output_date(transfer->value_date, date) : NULL,
        "user_data_128", output_id(&transfer->user_data_128), "user_data_64",
        output_u64(transfer->user_data_64), "user_data_32", (json_int_t)transfer->user_data_32,
        "timestamp_ns", output_u64(transfer->timestamp_ns));
}

/* Only lists know a transfer's place in the sequence of all. */
static json_t *listed_json(const struct tally_transfer *transfer, const struct tally_ledger *ledger)
{
    json_t *json = transfer_json(transfer, ledger);
    if (json != NULL)
        json_object_set_new(json, "sequence", output_u64(transfer->sequence));
    return json;
}

static void print_transfer(const struct tally_transfer *transfer, const struct tally_ledger *ledger)
{
    char id[TALLY_ID_TEXT_SIZE];
    char money[OUTPUT_MONEY_SIZE];
    char text[OUTPUT_TIME_SIZE];
    tally_id_format(&transfer->id, id);
    printf("transfer     %s\n", id);
    if (transfer->refused == TALLY_RESULT_OK)
        printf("state        posted\n");
    else
        printf("state        refused: %s: %s\n", tally_result_name(transfer->refused),
               tally_result_explanation(transfer->refused));
    printf("debit        %s\n", account_text(&transfer->debit_account_id, id));
    printf("credit       %s\n", account_text(&transfer->credit_account_id, id));
    printf("amount       %s\n", output_money(&transfer->amount, ledger, money));
    printf("ledger       %u %s\n", transfer->ledger, ledger != NULL ? ledger->name : "");
    printf("code         %u\n", transfer->code);
    printf("value date   %s\n", output_date(transfer->value_date, text));
    output_time(transfer->timestamp_ns, text);
    printf("committed    %s\n", text);
}

struct read_options {
    struct cli *cli;
    struct tally_id id;
    bool has_id;
    uint32_t ledger, limit;
    uint64_t first;
    const char *output;
};

static error_t parse_show(int key, char *argument, struct argp_state *state)
{
    struct read_options *options = state->input;
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

int transfer_show_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL,         parse_show,
        "ID",         "Shows one transfer, posted or refused. Exit code 1 when there is none.",
        cli_children, NULL,
        NULL};
    struct read_options options = {.cli = cli};
    struct tally_transfer transfer;
    struct tally_ledger *ledgers;
    size_t ledger_count;
    size_t found;
    char id[TALLY_ID_TEXT_SIZE];

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    if (tally_lookup_transfers(cli->client, &call, &options.id, 1, &transfer, &found) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (found == 0) {
        tally_id_format(&options.id, id);
        return cli_error(EXIT_SOME_REFUSED, "there is no transfer %s", id);
    }
    code = cli_ledgers(cli, &ledgers, &ledger_count);
    if (code != EXIT_OK)
        return code;
    const struct tally_ledger *ledger = cli_find_ledger(ledgers, ledger_count, transfer.ledger);
    if (cli->json)
        output_json(transfer_json(&transfer, ledger));
    else
        print_transfer(&transfer, ledger);
    free(ledgers);
    return EXIT_OK;
}

static error_t parse_list(int key, char *argument, struct argp_state *state)
{
    struct read_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'l':
        options->ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case 'f':
        options->first = cli_number(state, "--first", argument, 0, UINT64_MAX);
        return 0;
    case 'n':
        options->limit = (uint32_t)cli_number(state, "--limit", argument, 1, TALLY_PAGE_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_page(const struct tally_transfer *rows, size_t count,
                       const struct tally_ledger *ledgers, size_t ledger_count)
{
    char id[TALLY_ID_TEXT_SIZE];
    char debit[TALLY_ID_TEXT_SIZE];
    char credit[TALLY_ID_TEXT_SIZE];
    char money[OUTPUT_MONEY_SIZE];
    char sequence[OUTPUT_NUMBER_SIZE];
    char code[OUTPUT_NUMBER_SIZE];
    struct table *table = table_create((const struct table_column[]){{"SEQUENCE", true},
                                                                     {"TRANSFER", false},
                                                                     {"DEBIT", false},
                                                                     {"CREDIT", false},
                                                                     {"AMOUNT", true},
                                                                     {"CODE", true},
                                                                     {"STATE", false}},
                                       7);
    for (size_t i = 0; i < count; i++) {
        tally_id_format(&rows[i].id, id);
        table_row(table,
                  (const char *[]){
                      output_number(rows[i].sequence, sequence), id,
                      account_text(&rows[i].debit_account_id, debit),
                      account_text(&rows[i].credit_account_id, credit),
                      output_money(&rows[i].amount,
                                   cli_find_ledger(ledgers, ledger_count, rows[i].ledger), money),
                      output_number(rows[i].code, code),
                      rows[i].refused == TALLY_RESULT_OK ? "posted"
                                                         : tally_result_name(rows[i].refused)});
    }
    table_print(table);
}

int transfer_list_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"ledger", 'l', "N", 0, "Only this ledger", 0},
        {"first", 'f', "N", 0, "Sequence number to begin with: the previous page says", 0},
        {"limit", 'n', "N", 0, "Rows of the page, 1 to 4000 (default 1000)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse_list,
        NULL,
        "Lists transfers in order of commit, refused ones included, a page at a time.",
        cli_children,
        NULL,
        NULL};
    struct read_options options = {.cli = cli, .limit = 1000};
    struct tally_ledger *ledgers;
    size_t ledger_count;
    size_t count;
    uint64_t next;

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_ledgers(cli, &ledgers, &ledger_count);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    struct tally_transfer *rows = calloc(options.limit, sizeof *rows);
    if (rows == NULL) {
        code = cli_error(EXIT_LOCAL, "out of memory");
    } else if (tally_list_transfers(cli->client, &call, options.ledger, options.first,
                                    options.limit, rows, &count, &next) != TALLY_OK) {
        code = cli_fail(cli, &call, false);
    } else if (cli->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list, listed_json(&rows[i], cli_find_ledger(ledgers, ledger_count,
                                                                              rows[i].ledger)));
        output_json(json_pack("{s:o, s:o}", "transfers", list, "next_first", output_u64(next)));
    } else {
        print_page(rows, count, ledgers, ledger_count);
        if (next != 0)
            printf("more: --first %" PRIu64 "\n", next);
    }
    free(rows);
    free(ledgers);
    return code;
}

int transfer_export_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"ledger", 'l', "N", 0, "Only this ledger", 0},
        {"first", 'f', "N", 0, "Sequence number to begin with (default 0)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse_list,
        NULL,
        "Writes all transfers in order of commit, refused ones included, one JSON object a line.",
        cli_children,
        NULL,
        NULL};
    struct read_options options = {.cli = cli, .limit = TALLY_PAGE_MAX};
    struct tally_ledger *ledgers;
    size_t ledger_count;
    uint64_t next = 0;
    uint64_t written = 0;

    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_ledgers(cli, &ledgers, &ledger_count);
    if (code != EXIT_OK)
        return code;
    struct tally_transfer *rows = calloc(TALLY_PAGE_MAX, sizeof *rows);
    if (rows == NULL)
        code = cli_error(EXIT_LOCAL, "out of memory");
    next = options.first;
    while (code == EXIT_OK) {
        struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
        size_t count;
        if (tally_list_transfers(cli->client, &call, options.ledger, next, TALLY_PAGE_MAX, rows,
                                 &count, &next) != TALLY_OK) {
            fprintf(stderr, "tally: the export is incomplete after %" PRIu64 " transfers\n",
                    written);
            code = cli_fail(&(struct cli){.json = false}, &call, false);
            break;
        }
        for (size_t i = 0; i < count && !ferror(stdout); i++)
            output_json_line(
                listed_json(&rows[i], cli_find_ledger(ledgers, ledger_count, rows[i].ledger)));
        written += count;
        if (ferror(stdout))
            code = cli_error(EXIT_LOCAL, "the output could not be written");
        if (next == 0)
            break;
    }
    free(rows);
    free(ledgers);
    return code;
}

/* ---- import ---- */

struct file_options {
    struct cli *cli;
    struct import_options import;
};

static error_t parse_import(int key, char *argument, struct argp_state *state)
{
    struct file_options *options = state->input;
    struct import_options *import = &options->import;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'l':
        import->ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case 'c':
        import->code = (uint32_t)cli_number(state, "--code", argument, 1, 65535);
        return 0;
    case KEY_REJECTS:
        import->rejects_path = argument;
        return 0;
    case KEY_BATCH:
        import->batch_count = (uint32_t)cli_number(state, "--batch", argument, 1, TALLY_EVENTS_MAX);
        return 0;
    case KEY_IN_FLIGHT:
        import->in_flight_max =
            (uint32_t)cli_number(state, "--in-flight", argument, 1, IMPORT_IN_FLIGHT_MAX);
        return 0;
    case KEY_LAST_LINE:
        import->last_line_is_complete = true;
        return 0;
    case KEY_QUIET:
        import->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (import->path != NULL)
            return ARGP_ERR_UNKNOWN;
        import->path = argument;
        return 0;
    case ARGP_KEY_END:
        if (import->path == NULL)
            argp_error(state, "the file is missing (\"-\" is standard input)");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int transfer_import_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"ledger", 'l', "N", 0, "Ledger of rows that name none", 0},
        {"code", 'c', "N", 0, "Code of rows that name none", 0},
        {"rejects", KEY_REJECTS, "FILE", 0, "Rejected rows, as CSV (default: on stderr)", 0},
        {"batch", KEY_BATCH, "N", 0, "Transfers of one request, 1 to 8190 (default 8190)", 0},
        {"in-flight", KEY_IN_FLIGHT, "N", 0, "Requests at once, 1 to 16 (default 1)", 0},
        {"last-line-is-complete", KEY_LAST_LINE, NULL, 0,
         "Accept a file whose last line does not end with a newline", 0},
        {"quiet", KEY_QUIET, NULL, 0, "No progress", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse_import,
        "FILE.csv|-",
        "Posts the transfers of a CSV file. Role channel. The first line names the columns: "
        "debit_account_id, credit_account_id, amount, and perhaps id, code, ledger, value_date, "
        "user_data_128, user_data_64, user_data_32. Rows without an id get one from the file's "
        "SHA-256 and their line number, so importing the same file again changes nothing.\v"
        "Never edit a file that was imported and import it again: its digest changes, and with it "
        "the ids of all rows without one. Put corrected rows into a new file.",
        cli_children,
        NULL,
        NULL};
    struct file_options options = {.cli = cli};
    cli_parse(&argp, argc, argv, &options);
    return import_run(cli, &import_transfers, &options.import);
}
