/*
 * The CSV reader and the columns behind it, on any bytes in pieces of any size. Beyond "no crash":
 *   - lines are counted like newlines, and each row's bytes lie where it says;
 *   - pieces do not matter: two different ways of reading give the same rows;
 *   - a field that is quoted again is read back as it was;
 *   - a transfer that is accepted has ids and an amount that survive being formatted.
 * The first byte chooses the size of the pieces.
 */
#include "client/cli/columns.h"
#include "client/cli/csv.h"
#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
    const uint8_t *bytes;
    size_t size, offset, piece;
};

static ssize_t source_read(void *context, void *buffer, size_t size)
{
    struct source *source = context;
    size_t left = source->size - source->offset;
    if (size > left)
        size = left;
    if (size > source->piece)
        size = source->piece;
    if (size > 0)
        memcpy(buffer, source->bytes + source->offset, size);
    source->offset += size;
    return (ssize_t)size;
}

/* Static: clearing their buffers would take most of the time. */
static struct csv_reader readers[3];

static struct csv_reader *reader_begin(struct csv_reader *reader, struct source *source)
{
    reader->read = source_read;
    reader->context = source;
    reader->field_count = 0;
    csv_init(reader);
    return reader;
}

static void check_transfer(const struct column_map *map, const struct csv_row *row)
{
    static const struct tally_ledger ledgers[] = {{.id = 1, .exponent = 2, .currency = "EUR"},
                                                  {.id = 2, .exponent = 0, .currency = "JPY"}};
    static const uint8_t digest[32];
    const struct row_defaults defaults = {
        .ledgers = ledgers, .ledger_count = 2, .ledger = 1, .code = 1, .digest = digest};
    struct tally_new_transfer transfer;
    struct tally_amount amount;
    struct tally_id id;
    char reason[COLUMNS_REASON_SIZE];
    char text[TALLY_AMOUNT_SIZE];

    reason[0] = '\0';
    if (!transfer_from_row(map, &defaults, row, &transfer, reason)) {
        invariant(reason[0] != '\0');
        return;
    }
    uint32_t exponent = transfer.ledger == 1 ? 2 : 0;
    tally_amount_format(&transfer.amount, exponent, text);
    invariant(tally_amount_parse(text, strlen(text), exponent, &amount, NULL) == TALLY_OK);
    invariant(amount.low == transfer.amount.low && amount.high == transfer.amount.high);
    tally_id_format(&transfer.debit_account_id, text);
    invariant(tally_id_parse(text, strlen(text), &id, NULL) == TALLY_OK);
    invariant(memcmp(&id, &transfer.debit_account_id, sizeof id) == 0);
    invariant(transfer.code >= 1 && transfer.code <= 65535);
}

static void check_quoting(const struct csv_field *field)
{
    char *line = malloc(2 * field->size + 3);
    invariant(line != NULL);
    size_t size = csv_quote(field->text, field->size, line);
    invariant_values(size <= 2 * field->size + 2, size, field->size);
    line[size++] = ',';
    struct source source = {(const uint8_t *)line, size, 0, 4096};
    struct csv_reader *reader = reader_begin(&readers[2], &source);
    struct csv_row row;
    enum csv_kind kind = csv_next(reader, &row);
    if (size - 1 <= CSV_LINE_MAX - 1) {
        /* a mark of byte order in front is taken off as such: not a field's business */
        bool marked = field->size >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0;
        invariant(kind == CSV_ROW || marked);
        if (!marked) {
            invariant(row.field_count == 2 && row.fields[0].size == field->size);
            invariant(memcmp(row.fields[0].text, field->text, field->size) == 0);
        }
    }
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct source one = {data + 1, size - 1, 0, (size_t)data[0] * 37 + 1};
    struct source two = {data + 1, size - 1, 0, 65536};
    struct csv_reader *reader = reader_begin(&readers[0], &one);
    struct csv_reader *other = reader_begin(&readers[1], &two);
    struct column_map map;
    struct columns_error error;
    struct csv_row row, same;
    bool has_header = false;
    uint64_t line = 0;
    uint64_t offset = 0;

    for (;;) {
        enum csv_kind kind = csv_next(reader, &row);
        invariant(kind == csv_next(other, &same));
        invariant(kind != CSV_IO);
        if (kind == CSV_END)
            break;
        invariant_values(row.line > line, row.line, line);
        invariant_values(row.line == 1 || row.offset > offset, row.offset, offset);
        invariant(row.line == same.line && row.offset == same.offset && row.size == same.size);
        invariant_values(row.offset + row.size <= size - 1, row.offset, row.size);
        invariant(memchr(data + 1 + row.offset, '\n', row.size) == NULL);
        invariant(strcmp(row.reason, same.reason) == 0);
        line = row.line;
        offset = row.offset;
        if (kind == CSV_BAD) {
            invariant(row.reason[0] != '\0');
            continue;
        }
        invariant(row.field_count >= 1 && row.field_count == same.field_count);
        for (uint32_t i = 0; i < row.field_count; i++) {
            invariant(row.fields[i].size == same.fields[i].size);
            invariant(memcmp(row.fields[i].text, same.fields[i].text, row.fields[i].size) == 0);
            check_quoting(&row.fields[i]);
        }
        if (has_header)
            check_transfer(&map, &row);
        else if (columns_read_header(&transfer_columns, &row, &map, &error)) {
            has_header = true;
            reader->field_count = map.count;
            other->field_count = map.count;
        }
    }
    return 0;
}
