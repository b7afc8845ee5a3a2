/* What commands print, and the codes they end with. */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct tally_ledger euro = {.id = 1, .exponent = 2, .currency = "EUR", .name = "euro"};

/* Scripts rely on these numbers: docs/cli.md. */
Test(output, every_status_has_its_documented_exit_code)
{
    static const struct {
        enum tally_status status;
        int code;
    } rows[] = {
        {TALLY_OK, 0},       {TALLY_REFUSED, 3},   {TALLY_UNKNOWN, 5},
        {TALLY_NOT_SENT, 4}, {TALLY_NO_ANSWER, 4}, {TALLY_INVALID, 2},
        {TALLY_BUSY, 7},     {TALLY_NO_MEMORY, 7}, {TALLY_SYSTEM, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(cli_exit_code(rows[i].status, false), rows[i].code, "status %d",
                     rows[i].status);
    /* "Send it again later" is no reason to correct anything. */
    cr_assert_eq(cli_exit_code(TALLY_REFUSED, true), EXIT_UNREACHABLE);
    cr_assert_eq(cli_exit_code(TALLY_UNKNOWN, true), EXIT_UNKNOWN);
}

Test(output, amounts_are_exact_strings_in_json)
{
    struct tally_amount largest = {UINT64_MAX, UINT64_MAX};
    json_t *json = output_amount(&largest, &euro);
    cr_assert_str_eq(json_string_value(json_object_get(json, "minor")),
                     "340282366920938463463374607431768211455");
    cr_assert_str_eq(json_string_value(json_object_get(json, "amount")),
                     "3402823669209384634633746074317682114.55");
    json_decref(json);
    json = output_u64(UINT64_MAX);
    cr_assert_str_eq(json_string_value(json), "18446744073709551615");
    json_decref(json);
}

Test(output, a_balance_names_its_side)
{
    char text[OUTPUT_MONEY_SIZE];
    struct tally_amount small = {100, 0};
    struct tally_amount large = {0, 1};
    cr_assert_str_eq(output_balance(&small, &large, &euro, text), "184467440737095515.16 CR");
    cr_assert_str_eq(output_balance(&large, &small, &euro, text), "184467440737095515.16 DR");
    cr_assert_str_eq(output_balance(&small, &small, &euro, text), "0.00   ");
}

Test(output, times_dates_and_flags_are_readable)
{
    char text[OUTPUT_FLAGS_SIZE];
    output_time(0, text);
    cr_assert_str_eq(text, "-");
    output_time(1795312200123456789ull, text);
    cr_assert_str_eq(text, "2026-11-22T01:50:00.123456789Z");
    cr_assert_str_eq(output_date(20261122, text), "2026-11-22");
    cr_assert_str_eq(output_date(0, text), "-");
    cr_assert_str_eq(output_flags(0, text), "-");
    cr_assert_str_eq(output_flags(3, text),
                     "debits_must_not_exceed_credits|credits_must_not_exceed_debits");
    cr_assert_str_eq(output_flags(0x8001, text), "debits_must_not_exceed_credits|0x8000");
}

/* Numbers to the right, text to the left, no spaces at the end of lines, no control characters. */
Test(output, a_table_lines_up)
{
    static const char expected[] = "NAME      AMOUNT  NOTE\n"
                                   "a           1.00  x\n"
                                   "b\xc3\xa4r?ger  1234.56  y\n";
    char printed[256] = "";
    cr_redirect_stdout();
    struct table *table = table_create(
        (const struct table_column[]){{"NAME", false}, {"AMOUNT", true}, {"NOTE", false}}, 3);
    table_row(table, (const char *[]){"a", "1.00", "x"});
    table_row(table, (const char *[]){"b\xc3\xa4r\033ger", "1234.56", "y"});
    table_print(table);
    cr_assert(output_finish());
    FILE *out = cr_get_redirected_stdout();
    size_t size = fread(printed, 1, sizeof expected - 1, out);
    printed[size] = '\0';
    cr_assert_str_eq(printed, expected);
}

/* A profile's paths count from its own directory; flags win over it, it wins over the environment.
 */
Test(output, settings_come_from_flag_then_profile_then_environment)
{
    char path[] = "/tmp/tally-profile-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fputs("# comment\n\n server = one:1,two:2 \r\nca = ca.pem\nkey=/abs/me.key\ndeadline = 2.5\n",
          file);
    fclose(file);
    setenv("TALLY_SERVER", "env:1", 1);
    setenv("TALLY_CERT", "env.pem", 1);
    struct cli cli = {.profile = path, .key = "flag.key"};
    cr_assert_eq(cli_resolve(&cli), EXIT_OK);
    cr_assert_str_eq(cli.server, "one:1,two:2");
    cr_assert_str_eq(cli.ca, "/tmp/ca.pem");
    cr_assert_str_eq(cli.key, "flag.key");
    cr_assert_str_eq(cli.certificate, "env.pem");
    cr_assert_eq(cli.deadline_ms, 2500);
    cli_deinit(&cli);
    unlink(path);
}

Test(output, a_profile_that_is_wrong_is_refused_with_its_line)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"server = a:1\nserver\n", ":2: expected key = value"},
        {"servre = a:1\n", ":1: key \"servre\" is not known"},
        {"ca =\n", ":1: ca has no value"},
        {"deadline = soon\n", ":1: deadline: \"soon\" is not a number"},
    };
    cr_redirect_stderr();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[] = "/tmp/tally-profile-XXXXXX";
        int fd = mkstemp(path);
        FILE *file = fdopen(fd, "w");
        fputs(rows[i].text, file);
        fclose(file);
        struct cli cli = {.profile = path};
        cr_assert_eq(cli_resolve(&cli), EXIT_USAGE);
        cli_deinit(&cli);
        unlink(path);
    }
    char said[2048] = "";
    fflush(stderr);
    FILE *err = cr_get_redirected_stderr();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_not_null(fgets(said, sizeof said, err));
        cr_assert(strstr(said, rows[i].words) != NULL, "%s", said);
    }
}
