/* From rows to transfers and accounts: headers, defaults, derived ids and every reason to refuse.
 */
#include "client/cli/columns.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tally_ledger ledgers[] = {
    {.id = 1, .exponent = 2, .currency = "EUR", .name = "euro"},
    {.id = 7, .exponent = 0, .currency = "JPY", .name = "yen"},
};
static const uint8_t digest[32] = {1, 2, 3};

struct text_source {
    const char *text;
    bool done;
};

static ssize_t text_read(void *context, void *buffer, size_t size)
{
    struct text_source *source = context;
    if (source->done)
        return 0;
    source->done = true;
    cr_assert_leq(strlen(source->text), size);
    memcpy(buffer, source->text, strlen(source->text));
    return (ssize_t)strlen(source->text);
}

/* Reads "header\nrow\n"; the reader keeps the row's bytes and is freed by the caller. */
static struct csv_reader *read_two(const char *text, struct csv_row *header, struct csv_row *row)
{
    struct text_source source = {.text = text};
    struct csv_reader *reader = calloc(1, sizeof *reader);
    reader->read = text_read;
    reader->context = &source;
    csv_init(reader);
    cr_assert_eq(csv_next(reader, header), CSV_ROW);
    if (row != NULL)
        cr_assert_eq(csv_next(reader, row), CSV_ROW);
    return reader;
}

static bool transfer(const char *text, const struct row_defaults *defaults,
                     struct tally_new_transfer *out, char *reason)
{
    struct csv_row header, row;
    struct column_map map;
    struct columns_error error;
    struct csv_reader *reader = read_two(text, &header, NULL);
    cr_assert(columns_read_header(&transfer_columns, &header, &map, &error), "%s", error.text);
    cr_assert_eq(csv_next(reader, &row), CSV_ROW);
    bool good = transfer_from_row(&map, defaults, &row, out, reason);
    free(reader);
    return good;
}

static bool account(const char *text, const struct row_defaults *defaults,
                    struct tally_new_account *out, char *reason)
{
    struct csv_row header, row;
    struct column_map map;
    struct columns_error error;
    struct csv_reader *reader = read_two(text, &header, NULL);
    cr_assert(columns_read_header(&account_columns, &header, &map, &error), "%s", error.text);
    cr_assert_eq(csv_next(reader, &row), CSV_ROW);
    bool good = account_from_row(&map, defaults, &row, out, reason);
    free(reader);
    return good;
}

static struct row_defaults defaults_with(uint32_t ledger, uint32_t code)
{
    return (struct row_defaults){
        .ledgers = ledgers, .ledger_count = 2, .ledger = ledger, .code = code, .digest = digest};
}

Test(columns, headers_that_cannot_be_trusted_are_refused)
{
    static const struct {
        const char *header, *words;
    } rows[] = {
        {"debit_account_id,credit_account_id,amount,colour\n", "\"colour\" is not known"},
        {"debit_account_id,credit_account_id,Amount\n", "\"Amount\" is not known"},
        {"debit_account_id,credit_account_id\n", "\"amount\" is missing"},
        {"amount,debit_account_id,credit_account_id,amount\n", "\"amount\" appears twice"},
        {"debit_account_id,credit_account_id,amount,\n", "\"\" is not known"},
        {"1,2,3.00\n", "\"1\" is not known"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct csv_row header;
        struct column_map map;
        struct columns_error error;
        struct csv_reader *reader = read_two(rows[i].header, &header, NULL);
        cr_assert_not(columns_read_header(&transfer_columns, &header, &map, &error));
        cr_assert(strstr(error.text, rows[i].words) != NULL, "%s", error.text);
        free(reader);
    }
}

Test(columns, every_column_reaches_its_field_in_any_order)
{
    struct tally_new_transfer t;
    char reason[COLUMNS_REASON_SIZE] = "";
    struct row_defaults defaults = defaults_with(0, 0);
    cr_assert(
        transfer("user_data_32, amount ,user_data_64,code,ledger,value_date,credit_account_id,"
                 "user_data_128,debit_account_id,id\n"
                 "32,12.3,64,9,1,2026-11-22,4,128,3,5\n",
                 &defaults, &t, reason),
        "%s", reason);
    cr_assert_eq(t.id.bytes[15], 5);
    cr_assert_eq(t.debit_account_id.bytes[15], 3);
    cr_assert_eq(t.credit_account_id.bytes[15], 4);
    cr_assert_eq(t.amount.low, 1230);
    cr_assert_eq(t.code, 9);
    cr_assert_eq(t.ledger, 1);
    cr_assert_eq(t.value_date, 20261122);
    cr_assert_eq(t.user_data_128.bytes[15], 128);
    cr_assert_eq(t.user_data_64, 64);
    cr_assert_eq(t.user_data_32, 32);
    cr_assert_eq(t.flags, 0);
}

Test(columns, an_id_is_derived_from_file_and_line_alone)
{
    static const char text[] = "debit_account_id,credit_account_id,amount\n1,2,3\n";
    struct tally_new_transfer one, two;
    struct tally_id other_line, other_file;
    uint8_t other_digest[32] = {9};
    char reason[COLUMNS_REASON_SIZE] = "";
    struct row_defaults defaults = defaults_with(1, 5);
    cr_assert(transfer(text, &defaults, &one, reason), "%s", reason);
    cr_assert(transfer(text, &defaults, &two, reason), "%s", reason);
    cr_assert_eq(memcmp(&one.id, &two.id, sizeof one.id), 0);
    columns_derive_id(digest, 3, &other_line);
    columns_derive_id(other_digest, 2, &other_file);
    cr_assert_neq(memcmp(&one.id, &other_line, sizeof one.id), 0);
    cr_assert_neq(memcmp(&one.id, &other_file, sizeof one.id), 0);
    cr_assert_eq(one.ledger, 1);
    cr_assert_eq(one.code, 5);
    /* for ever: a file imported by an older build must derive the same ids today */
    char hex[TALLY_ID_TEXT_SIZE];
    tally_id_format(&one.id, hex);
    cr_assert_str_eq(hex, "73352ad9e4e51ead88ee3c91835a3049");
}

Test(columns, every_bad_value_names_its_column_and_reason)
{
    static const struct {
        const char *row, *words;
    } rows[] = {
        {"x,1,2,3.00,4,1,,,,", "id: id \"x\""},
        {",,2,3.00,4,1,,,,", "debit_account_id: id is empty"},
        {",1,y,3.00,4,1,,,,", "credit_account_id: id \"y\""},
        {",1,2,,4,1,,,,", "amount: amount is empty"},
        {",1,2,3.001,4,1,,,,", "amount: amount \"3.001\" has too many decimals"},
        {",1,2,3.0,4,7,,,,", "has too many decimals: the ledger's currency has 0"},
        {",1,2,-3,4,1,,,,", "a sign"},
        {",1,2,3.00,,1,,,,", "code: empty or 0"},
        {",1,2,3.00,0,1,,,,", "code: empty or 0"},
        {",1,2,3.00,65536,1,,,,", "code: \"65536\" is not a whole number of 0 to 65535"},
        {",1,2,3.00,4,,,,,", "ledger: empty"},
        {",1,2,3.00,4,8,,,,", "ledger: ledger 8 does not exist"},
        {",1,2,3.00,4,4294967296,,,,", "ledger: \"4294967296\" is not"},
        {",1,2,3.00,4,1,22.11.2026,,,", "value_date: \"22.11.2026\""},
        {",1,2,3.00,4,1,2026-1-22,,,", "value_date"},
        {",1,2,3.00,4,1,,z,,", "user_data_128: id \"z\""},
        {",1,2,3.00,4,1,,,18446744073709551616,", "user_data_64"},
        {",1,2,3.00,4,1,,,,4294967296", "user_data_32"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_new_transfer t;
        struct row_defaults defaults = defaults_with(0, 0);
        char reason[COLUMNS_REASON_SIZE] = "";
        char text[400];
        snprintf(text, sizeof text,
                 "id,debit_account_id,credit_account_id,amount,code,ledger,value_date,"
                 "user_data_128,user_data_64,user_data_32\n%s\n",
                 rows[i].row);
        cr_assert_not(transfer(text, &defaults, &t, reason), "%s", rows[i].row);
        cr_assert(strstr(reason, rows[i].words) != NULL, "%s: %s", rows[i].row, reason);
    }
}

Test(columns, accounts_take_flags_by_name_and_by_number)
{
    static const struct {
        const char *flags;
        bool good;
        uint32_t value;
    } rows[] = {
        {"", true, 0},
        {"0", true, 0},
        {"2", true, 2},
        {"debits_must_not_exceed_credits", true, 1},
        {"credits_must_not_exceed_debits", true, 2},
        {"debits_must_not_exceed_credits|credits_must_not_exceed_debits", true, 3},
        {"debits", false, 0},
        {"debits_must_not_exceed_credits|", false, 0},
        {"|", false, 0},
        {"-1", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_new_account a;
        struct row_defaults defaults = defaults_with(0, 0);
        char reason[COLUMNS_REASON_SIZE] = "";
        char text[200];
        snprintf(text, sizeof text, "id,ledger,code,flags\n42,7,3,%s\n", rows[i].flags);
        cr_assert_eq(account(text, &defaults, &a, reason), rows[i].good, "%s: %s", rows[i].flags,
                     reason);
        if (rows[i].good) {
            cr_assert_eq(a.flags, rows[i].value);
            cr_assert_eq(a.id.bytes[15], 42);
            cr_assert_eq(a.ledger, 7);
            cr_assert_eq(a.code, 3);
        } else {
            cr_assert(strstr(reason, "flags: ") == reason, "%s", reason);
        }
    }
}

Test(columns, dates_are_read_in_two_forms)
{
    uint32_t date = 0;
    cr_assert(columns_parse_date("20261122", 8, &date) && date == 20261122);
    cr_assert(columns_parse_date("2026-01-02", 10, &date) && date == 20260102);
    cr_assert_not(columns_parse_date("2026/01/02", 10, &date));
    cr_assert_not(columns_parse_date("260102", 6, &date));
    cr_assert_not(columns_parse_date("2026010x", 8, &date));
}
