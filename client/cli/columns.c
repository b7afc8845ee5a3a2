/*
 * Columns. What only the ledger can know (does the account exist, is the date real, is the id
 * taken) is left to the ledger; what cannot even be written into a request (an amount with too many
 * decimals, a ledger whose exponent nobody knows) is refused here, with the column's name.
 *
 * Derived ids: SHA-256 over a version word, the file's digest and the line number. Importing the
 * same file again derives the same ids, and the ledger answers EXISTS. Two equal payments on two
 * lines get two ids, as they must.
 */
#include "client/cli/columns.h"

#include "storage/hash.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum transfer_column {
    TRANSFER_ID,
    TRANSFER_DEBIT_ACCOUNT_ID,
    TRANSFER_CREDIT_ACCOUNT_ID,
    TRANSFER_AMOUNT,
    TRANSFER_CODE,
    TRANSFER_LEDGER,
    TRANSFER_VALUE_DATE,
    TRANSFER_USER_DATA_128,
    TRANSFER_USER_DATA_64,
    TRANSFER_USER_DATA_32,
};

const struct column_set transfer_columns = {
    .noun = "transfers",
    .names = {"id", "debit_account_id", "credit_account_id", "amount", "code", "ledger",
              "value_date", "user_data_128", "user_data_64", "user_data_32", NULL},
    .required =
        1u << TRANSFER_DEBIT_ACCOUNT_ID | 1u << TRANSFER_CREDIT_ACCOUNT_ID | 1u << TRANSFER_AMOUNT,
};

enum account_column {
    ACCOUNT_ID,
    ACCOUNT_CODE,
    ACCOUNT_LEDGER,
    ACCOUNT_FLAGS,
    ACCOUNT_USER_DATA_128,
    ACCOUNT_USER_DATA_64,
    ACCOUNT_USER_DATA_32,
};

const struct column_set account_columns = {
    .noun = "accounts",
    .names = {"id", "code", "ledger", "flags", "user_data_128", "user_data_64", "user_data_32",
              NULL},
    .required = 1u << ACCOUNT_ID,
};

/* ---- header ---- */

static void list_names(const struct column_set *set, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; set->names[i] != NULL && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", set->names[i]);
}

static struct csv_field trim(struct csv_field field)
{
    while (field.size > 0 && (field.text[0] == ' ' || field.text[0] == '\t')) {
        field.text++;
        field.size--;
    }
    while (field.size > 0 &&
           (field.text[field.size - 1] == ' ' || field.text[field.size - 1] == '\t'))
        field.size--;
    return field;
}

static int find_name(const struct column_set *set, struct csv_field field)
{
    for (int i = 0; set->names[i] != NULL; i++)
        if (strlen(set->names[i]) == field.size &&
            memcmp(set->names[i], field.text, field.size) == 0)
            return i;
    return -1;
}

bool columns_read_header(const struct column_set *set, const struct csv_row *header,
                         struct column_map *out_map, struct columns_error *out_error)
{
    char known[300];
    struct column_map map = {.count = header->field_count};
    for (size_t i = 0; i < COLUMNS_MAX; i++)
        map.place[i] = -1;
    list_names(set, known, sizeof known);
    for (uint32_t i = 0; i < header->field_count; i++) {
        struct csv_field field = trim(header->fields[i]);
        int column = find_name(set, field);
        if (column < 0) {
            snprintf(out_error->text, sizeof out_error->text,
                     "line %" PRIu64 ": column %u \"%.*s\" is not known; columns of %s are %s",
                     header->line, i + 1, (int)(field.size < 60 ? field.size : 60), field.text,
                     set->noun, known);
            return false;
        }
        if (map.place[column] >= 0) {
            snprintf(out_error->text, sizeof out_error->text,
                     "line %" PRIu64 ": column \"%s\" appears twice", header->line,
                     set->names[column]);
            return false;
        }
        map.place[column] = (int)i;
    }
    for (size_t i = 0; set->names[i] != NULL; i++) {
        if ((set->required & 1u << i) != 0 && map.place[i] < 0) {
            snprintf(out_error->text, sizeof out_error->text,
                     "line %" PRIu64 ": column \"%s\" is missing; the first line must name the "
                     "columns, of %s",
                     header->line, set->names[i], known);
            return false;
        }
    }
    *out_map = map;
    return true;
}

/* ---- values ---- */

struct row_reader {
    const struct column_set *set;
    const struct column_map *map;
    const struct csv_row *row;
    char *reason;
};

__attribute__((format(printf, 3, 4))) static bool refuse(const struct row_reader *r, int column,
                                                         const char *format, ...)
{
    va_list list;
    int used = snprintf(r->reason, COLUMNS_REASON_SIZE, "%s: ", r->set->names[column]);
    va_start(list, format);
    vsnprintf(r->reason + used, COLUMNS_REASON_SIZE - (size_t)used, format, list);
    va_end(list);
    return false;
}

/* The field, or an empty one when the file has no such column. */
static struct csv_field field_of(const struct row_reader *r, int column)
{
    if (r->map->place[column] < 0)
        return (struct csv_field){"", 0};
    return r->row->fields[r->map->place[column]];
}

static bool parse_number(const char *text, size_t size, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (size == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* An empty field is `standard`. */
static bool read_number(const struct row_reader *r, int column, uint64_t max, uint64_t standard,
                        uint64_t *out)
{
    struct csv_field field = field_of(r, column);
    *out = standard;
    if (field.size == 0)
        return true;
    if (parse_number(field.text, field.size, max, out))
        return true;
    return refuse(r, column, "\"%.*s\" is not a whole number of 0 to %" PRIu64,
                  (int)(field.size < 40 ? field.size : 40), field.text, max);
}

static bool read_id(const struct row_reader *r, int column, struct tally_id *out)
{
    struct tally_error error;
    struct csv_field field = field_of(r, column);
    if (tally_id_parse(field.text, field.size, out, &error) == TALLY_OK)
        return true;
    return refuse(r, column, "%.150s", error.text);
}

static bool read_optional_id(const struct row_reader *r, int column, struct tally_id *out)
{
    *out = (struct tally_id){{0}};
    return field_of(r, column).size == 0 || read_id(r, column, out);
}

static bool read_ledger(const struct row_reader *r, int column, const struct row_defaults *defaults,
                        uint32_t *out, const struct tally_ledger **out_ledger)
{
    uint64_t id;
    if (!read_number(r, column, UINT32_MAX, defaults->ledger, &id))
        return false;
    if (id == 0)
        return refuse(r, column, "empty; name the ledger here or with --ledger");
    for (size_t i = 0; i < defaults->ledger_count; i++) {
        if (defaults->ledgers[i].id == id) {
            *out = (uint32_t)id;
            *out_ledger = &defaults->ledgers[i];
            return true;
        }
    }
    return refuse(r, column, "ledger %" PRIu64 " does not exist", id);
}

static bool read_code(const struct row_reader *r, int column, const struct row_defaults *defaults,
                      uint32_t *out)
{
    uint64_t code;
    if (!read_number(r, column, 65535, defaults->code, &code))
        return false;
    if (code == 0)
        return refuse(r, column, "empty or 0; give 1 to 65535 here or with --code");
    *out = (uint32_t)code;
    return true;
}

bool columns_parse_date(const char *text, size_t size, uint32_t *out)
{
    char digits[8];
    uint64_t value;
    if (size == 10 && text[4] == '-' && text[7] == '-') {
        memcpy(digits, text, 4);
        memcpy(digits + 4, text + 5, 2);
        memcpy(digits + 6, text + 8, 2);
    } else if (size == 8) {
        memcpy(digits, text, 8);
    } else {
        return false;
    }
    if (!parse_number(digits, sizeof digits, 99999999, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

bool columns_parse_flags(const char *text, size_t size, uint32_t *out)
{
    static const char *const names[] = {"debits_must_not_exceed_credits",
                                        "credits_must_not_exceed_debits"};
    uint64_t number;
    if (parse_number(text, size, UINT16_MAX, &number)) {
        *out = (uint32_t)number;
        return true;
    }
    uint32_t flags = 0;
    for (;;) {
        const char *bar = memchr(text, '|', size);
        size_t word = bar != NULL ? (size_t)(bar - text) : size;
        uint32_t found = 0;
        for (uint32_t i = 0; i < 2; i++)
            if (strlen(names[i]) == word && memcmp(names[i], text, word) == 0)
                found = 1u << i;
        if (found == 0)
            return false;
        flags |= found;
        if (bar == NULL)
            break;
        text += word + 1;
        size -= word + 1;
    }
    *out = flags;
    return true;
}

void columns_derive_id(const uint8_t digest[32], uint64_t line, struct tally_id *out)
{
    static const char version[] = "tally import 1";
    uint8_t number[8];
    uint8_t hash[HASH_SIZE];
    for (size_t i = 0; i < sizeof number; i++)
        number[i] = (uint8_t)(line >> (8 * i));
    const struct hash_part parts[] = {{version, sizeof version}, {digest, 32}, {number, 8}};
    hash_parts(parts, 3, hash);
    memcpy(out->bytes, hash, sizeof out->bytes);
}

/* ---- rows ---- */

bool transfer_from_row(const struct column_map *map, const struct row_defaults *defaults,
                       const struct csv_row *row, struct tally_new_transfer *out,
                       char out_reason[COLUMNS_REASON_SIZE])
{
    const struct row_reader r = {&transfer_columns, map, row, out_reason};
    const struct tally_ledger *ledger;
    struct tally_error error;
    uint64_t number;

    *out = (struct tally_new_transfer){0};
    if (field_of(&r, TRANSFER_ID).size == 0)
        columns_derive_id(defaults->digest, row->line, &out->id);
    else if (!read_id(&r, TRANSFER_ID, &out->id))
        return false;
    if (!read_id(&r, TRANSFER_DEBIT_ACCOUNT_ID, &out->debit_account_id) ||
        !read_id(&r, TRANSFER_CREDIT_ACCOUNT_ID, &out->credit_account_id) ||
        !read_ledger(&r, TRANSFER_LEDGER, defaults, &out->ledger, &ledger) ||
        !read_code(&r, TRANSFER_CODE, defaults, &out->code))
        return false;
    struct csv_field amount = field_of(&r, TRANSFER_AMOUNT);
    if (tally_amount_parse(amount.text, amount.size, ledger->exponent, &out->amount, &error) !=
        TALLY_OK)
        return refuse(&r, TRANSFER_AMOUNT, "%.150s", error.text);
    struct csv_field date = field_of(&r, TRANSFER_VALUE_DATE);
    if (date.size > 0 && !columns_parse_date(date.text, date.size, &out->value_date))
        return refuse(&r, TRANSFER_VALUE_DATE, "\"%.*s\" is neither YYYYMMDD nor YYYY-MM-DD",
                      (int)(date.size < 40 ? date.size : 40), date.text);
    if (!read_optional_id(&r, TRANSFER_USER_DATA_128, &out->user_data_128) ||
        !read_number(&r, TRANSFER_USER_DATA_64, UINT64_MAX, 0, &out->user_data_64) ||
        !read_number(&r, TRANSFER_USER_DATA_32, UINT32_MAX, 0, &number))
        return false;
    out->user_data_32 = (uint32_t)number;
    return true;
}

bool account_from_row(const struct column_map *map, const struct row_defaults *defaults,
                      const struct csv_row *row, struct tally_new_account *out,
                      char out_reason[COLUMNS_REASON_SIZE])
{
    const struct row_reader r = {&account_columns, map, row, out_reason};
    const struct tally_ledger *ledger;
    uint64_t number;

    *out = (struct tally_new_account){0};
    if (!read_id(&r, ACCOUNT_ID, &out->id) ||
        !read_ledger(&r, ACCOUNT_LEDGER, defaults, &out->ledger, &ledger) ||
        !read_code(&r, ACCOUNT_CODE, defaults, &out->code))
        return false;
    struct csv_field flags = field_of(&r, ACCOUNT_FLAGS);
    if (flags.size > 0 && !columns_parse_flags(flags.text, flags.size, &out->flags))
        return refuse(&r, ACCOUNT_FLAGS,
                      "\"%.*s\" is neither a number nor names joined by '|' "
                      "(debits_must_not_exceed_credits, credits_must_not_exceed_debits)",
                      (int)(flags.size < 40 ? flags.size : 40), flags.text);
    if (!read_optional_id(&r, ACCOUNT_USER_DATA_128, &out->user_data_128) ||
        !read_number(&r, ACCOUNT_USER_DATA_64, UINT64_MAX, 0, &out->user_data_64) ||
        !read_number(&r, ACCOUNT_USER_DATA_32, UINT32_MAX, 0, &number))
        return false;
    out->user_data_32 = (uint32_t)number;
    return true;
}
