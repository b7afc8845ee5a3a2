/*
 * Printing. A table collects its rows to know their widths; it is meant for a page, not for an
 * export. Widths count UTF-8 characters, so names in other scripts line up unless they are
 * double-width.
 */
#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__extension__ typedef unsigned __int128 u128;

static bool output_failed;

/* ---- tables ---- */

struct table {
    struct table_column columns[TABLE_COLUMNS_MAX];
    size_t widths[TABLE_COLUMNS_MAX];
    size_t column_count;
    char **cells; /* row by row */
    size_t cell_count, capacity;
    bool incomplete; /* memory ran out */
};

static size_t character_count(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

struct table *table_create(const struct table_column *columns, size_t count)
{
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    table->column_count = count < TABLE_COLUMNS_MAX ? count : TABLE_COLUMNS_MAX;
    for (size_t i = 0; i < table->column_count; i++) {
        table->columns[i] = columns[i];
        table->widths[i] = character_count(columns[i].heading);
    }
    return table;
}

void table_row(struct table *table, const char *const *cells)
{
    if (table == NULL || table->incomplete)
        return;
    if (table->cell_count + table->column_count > table->capacity) {
        size_t capacity = table->capacity * 2 + 16 * table->column_count;
        char **grown = realloc(table->cells, capacity * sizeof *grown);
        if (grown == NULL) {
            table->incomplete = true;
            return;
        }
        table->cells = grown;
        table->capacity = capacity;
    }
    for (size_t i = 0; i < table->column_count; i++) {
        char *cell = strdup(cells[i]);
        if (cell == NULL) {
            table->incomplete = true;
            table->cell_count -= i;
            for (size_t j = 0; j < i; j++)
                free(table->cells[table->cell_count + j]);
            return;
        }
        for (char *at = cell; *at != '\0'; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7f)
                *at = '?';
        size_t width = character_count(cell);
        if (width > table->widths[i])
            table->widths[i] = width;
        table->cells[table->cell_count++] = cell;
    }
}

static void print_cell(const struct table *table, size_t column, const char *text)
{
    size_t pad = table->widths[column] - character_count(text);
    bool right = table->columns[column].right;
    bool last = column + 1 == table->column_count;
    if (right)
        printf("%*s", (int)pad, "");
    fputs(text, stdout);
    if (!right && !last)
        printf("%*s", (int)pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

void table_print(struct table *table)
{
    if (table == NULL || table->incomplete) {
        fputs("tally: out of memory while printing a table\n", stderr);
        output_failed = true;
    }
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->column_count; i++)
        print_cell(table, i, table->columns[i].heading);
    for (size_t i = 0; i < table->cell_count; i++) {
        print_cell(table, i % table->column_count, table->cells[i]);
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}

/* ---- documents ---- */

/* A stream that failed is reported once, at the end (output_finish): a reader that has seen enough
 * closes the pipe, and must not be answered with one message per row. */
static void print_json(json_t *document, size_t flags)
{
    if (document == NULL)
        fputs("tally: out of memory for a JSON document\n", stderr);
    if (document == NULL || (!ferror(stdout) && json_dumpf(document, stdout, flags) != 0))
        output_failed = true;
    putchar('\n');
    json_decref(document);
}

void output_json(json_t *document)
{
    print_json(document, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
}

void output_json_line(json_t *document)
{
    print_json(document, JSON_COMPACT);
}

bool output_finish(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) && !output_failed;
}

/* ---- values ---- */

void output_time(uint64_t timestamp_ns, char out[OUTPUT_TIME_SIZE])
{
    time_t seconds = (time_t)(timestamp_ns / 1000000000u);
    struct tm when;
    if (timestamp_ns == 0 || gmtime_r(&seconds, &when) == NULL) {
        snprintf(out, OUTPUT_TIME_SIZE, "-");
        return;
    }
    size_t used = strftime(out, OUTPUT_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &when);
    snprintf(out + used, OUTPUT_TIME_SIZE - used, ".%09" PRIu64 "Z", timestamp_ns % 1000000000u);
}

const char *output_number(uint64_t value, char out[OUTPUT_NUMBER_SIZE])
{
    snprintf(out, OUTPUT_NUMBER_SIZE, "%" PRIu64, value);
    return out;
}

const char *output_money(const struct tally_amount *amount, const struct tally_ledger *ledger,
                         char out[OUTPUT_MONEY_SIZE])
{
    char number[TALLY_AMOUNT_SIZE];
    tally_amount_format(amount, ledger != NULL ? ledger->exponent : 0, number);
    snprintf(out, OUTPUT_MONEY_SIZE, "%s %s", number, ledger != NULL ? ledger->currency : "minor");
    return out;
}

const char *output_balance(const struct tally_amount *debits, const struct tally_amount *credits,
                           const struct tally_ledger *ledger, char out[OUTPUT_MONEY_SIZE])
{
    u128 debit = (u128)debits->high << 64 | debits->low;
    u128 credit = (u128)credits->high << 64 | credits->low;
    u128 difference = debit > credit ? debit - credit : credit - debit;
    struct tally_amount amount = {(uint64_t)difference, (uint64_t)(difference >> 64)};
    char number[TALLY_AMOUNT_SIZE];
    tally_amount_format(&amount, ledger != NULL ? ledger->exponent : 0, number);
    snprintf(out, OUTPUT_MONEY_SIZE, "%s %s", number,
             debit > credit   ? "DR"
             : debit < credit ? "CR"
                              : "  ");
    return out;
}

const char *output_date(uint32_t value_date, char out[16])
{
    if (value_date == 0)
        snprintf(out, 16, "-");
    else
        snprintf(out, 16, "%04u-%02u-%02u", value_date / 10000 % 10000, value_date / 100 % 100,
                 value_date % 100);
    return out;
}

const char *output_flags(uint32_t flags, char out[OUTPUT_FLAGS_SIZE])
{
    uint32_t others =
        flags & ~(TALLY_DEBITS_MUST_NOT_EXCEED_CREDITS | TALLY_CREDITS_MUST_NOT_EXCEED_DEBITS);
    char rest[16] = "";
    if (others != 0)
        snprintf(rest, sizeof rest, "|0x%x", others);
    snprintf(out, OUTPUT_FLAGS_SIZE, "%s%s%s",
             (flags & TALLY_DEBITS_MUST_NOT_EXCEED_CREDITS) != 0 ? "|debits_must_not_exceed_credits"
                                                                 : "",
             (flags & TALLY_CREDITS_MUST_NOT_EXCEED_DEBITS) != 0 ? "|credits_must_not_exceed_debits"
                                                                 : "",
             rest);
    if (out[0] == '|')
        memmove(out, out + 1, strlen(out));
    else
        memcpy(out, "-", 2);
    return out;
}

json_t *output_u64(uint64_t value)
{
    char text[OUTPUT_NUMBER_SIZE];
    return json_string(output_number(value, text));
}

json_t *output_id(const struct tally_id *id)
{
    char text[TALLY_ID_TEXT_SIZE];
    tally_id_format(id, text);
    return json_string(text);
}

json_t *output_bytes(const uint8_t *bytes, size_t size)
{
    char text[2 * 64 + 1] = "";
    for (size_t i = 0; i < size && i < 64; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

json_t *output_amount(const struct tally_amount *amount, const struct tally_ledger *ledger)
{
    char minor[TALLY_AMOUNT_SIZE];
    char major[TALLY_AMOUNT_SIZE];
    tally_amount_format(amount, 0, minor);
    if (ledger == NULL)
        return json_pack("{s:s}", "minor", minor);
    tally_amount_format(amount, ledger->exponent, major);
    return json_pack("{s:s, s:s}", "amount", major, "minor", minor);
}

json_t *output_ledger(const struct tally_ledger *ledger)
{
    return json_pack("{s:I, s:s, s:I, s:s, s:I, s:o}", "id", (json_int_t)ledger->id, "currency",
                     ledger->currency, "exponent", (json_int_t)ledger->exponent, "name",
                     ledger->name, "account_count", (json_int_t)ledger->account_count,
                     "timestamp_ns", output_u64(ledger->timestamp_ns));
}
