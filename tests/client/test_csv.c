/* The CSV reader: what is read, and that every bad row costs exactly itself. */
#include "client/cli/csv.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const char *bytes;
    size_t size, offset, piece;
    bool fail_at_end;
};

static ssize_t source_read(void *context, void *buffer, size_t size)
{
    struct source *source = context;
    size_t left = source->size - source->offset;
    if (left == 0 && source->fail_at_end) {
        errno = EIO;
        return -1;
    }
    if (size > left)
        size = left;
    if (size > source->piece)
        size = source->piece;
    memcpy(buffer, source->bytes + source->offset, size);
    source->offset += size;
    return (ssize_t)size;
}

static struct csv_reader *reader_create(struct source *source)
{
    struct csv_reader *reader = calloc(1, sizeof *reader);
    reader->read = source_read;
    reader->context = source;
    csv_init(reader);
    return reader;
}

/* Reads everything and writes it down: rows as "3:[a|b]", bad ones as "3!reason". */
static void transcript(const char *bytes, size_t size, size_t piece, uint32_t field_count,
                       char *out, size_t capacity)
{
    struct source source = {.bytes = bytes, .size = size, .piece = piece};
    struct csv_reader *reader = reader_create(&source);
    struct csv_row row;
    size_t used = 0;
    reader->field_count = field_count;
    out[0] = '\0';
    for (;;) {
        enum csv_kind kind = csv_next(reader, &row);
        if (kind == CSV_END)
            break;
        cr_assert_neq(kind, CSV_IO);
        used += (size_t)snprintf(out + used, capacity - used, "%u%c", (unsigned)row.line,
                                 kind == CSV_ROW ? ':' : '!');
        if (kind == CSV_BAD)
            used += (size_t)snprintf(out + used, capacity - used, "%s ", row.reason);
        for (uint32_t i = 0; kind == CSV_ROW && i < row.field_count; i++)
            used += (size_t)snprintf(out + used, capacity - used, "%c%.*s%s", i == 0 ? '[' : '|',
                                     (int)row.fields[i].size, row.fields[i].text,
                                     i + 1 == row.field_count ? "] " : "");
        cr_assert_lt(used, capacity);
    }
    free(reader);
}

#define BYTES(text) text, sizeof(text) - 1

Test(csv, each_form_of_input_gives_its_rows_and_reasons)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint32_t field_count;
        const char *expected;
    } rows[] = {
        {BYTES(""), 0, ""},
        {BYTES("\n"), 0, ""},
        {BYTES("\n\n\r\n"), 0, ""},
        {BYTES("a"), 0, "1:[a] "},
        {BYTES("a,b\nc,d\n"), 2, "1:[a|b] 2:[c|d] "},
        {BYTES("a,b\r\nc,d\r\n"), 2, "1:[a|b] 2:[c|d] "},
        {BYTES("a,b\n\nc,d"), 2, "1:[a|b] 3:[c|d] "},
        {BYTES("\xef\xbb\xbf"
               "a,b\n"),
         2, "1:[a|b] "},
        {BYTES("\xef\xbb\xbf"
               "\"a\",b\n"),
         2, "1:[a|b] "},
        /* a mark elsewhere is text */
        {BYTES("a,b\n\xef\xbb\xbf"
               "c,d\n"),
         2,
         "1:[a|b] 2:[\xef\xbb\xbf"
         "c|d] "},
        {BYTES(",\n"), 2, "1:[|] "},
        {BYTES("a,\n,b\n"), 2, "1:[a|] 2:[|b] "},
        {BYTES("\"a,b\",c\n"), 2, "1:[a,b|c] "},
        {BYTES("\"a\"\"b\",\"\"\n"), 2, "1:[a\"b|] "},
        {BYTES("\"\"\"\"\n"), 1, "1:[\"] "},
        {BYTES(" a , b \n"), 2, "1:[ a | b ] "},
        /* each of these costs its own line and no other */
        {BYTES("a,b,c\nd,e\n"), 2, "1!3 fields where the header names 2 2:[d|e] "},
        {BYTES("a\nd,e\n"), 2, "1!1 fields where the header names 2 2:[d|e] "},
        {BYTES("\"a,b\nc,d\n"), 2, "1!a quote is not closed on its line 2:[c|d] "},
        {BYTES("a,\"b\nc,d\n"), 2, "1!a quote is not closed on its line 2:[c|d] "},
        {BYTES("\"a\nb\",c\nd,e\n"), 2,
         "1!a quote is not closed on its line 2!a quote inside a field that is not quoted "
         "3:[d|e] "},
        {BYTES("a\"b,c\nd,e\n"), 2, "1!a quote inside a field that is not quoted 2:[d|e] "},
        {BYTES("\"a\"b,c\nd,e\n"), 2, "1!text behind a closing quote 2:[d|e] "},
        {BYTES("\"a\" ,c\nd,e\n"), 2, "1!text behind a closing quote 2:[d|e] "},
        {BYTES("a\0b,c\nd,e\n"), 2, "1!a NUL byte (is the file UTF-16? save it as UTF-8) 2:[d|e] "},
        {BYTES("a\rb,c\nd,e\n"), 2, "1!a carriage return that does not end the line 2:[d|e] "},
        {BYTES("a,b\r\r\nd,e\n"), 2, "1!a carriage return that does not end the line 2:[d|e] "},
        {BYTES("1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2\n"), 0,
         "1:[1|2|3|4|5|6|7|8|9|0|1|2|3|4|5|6|7|8|9|0|1|2|3|4|5|6|7|8|9|0|1|2] "},
        {BYTES("1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3\na\n"), 0,
         "1!more than 32 fields 2:[a] "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        /* the same whatever pieces the source gives */
        for (size_t piece = 1; piece <= 64; piece = piece * 4 - 1) {
            char out[1024];
            transcript(rows[i].bytes, rows[i].size, piece, rows[i].field_count, out, sizeof out);
            cr_assert_str_eq(out, rows[i].expected, "row %zu in pieces of %zu", i, piece);
        }
    }
}

/* A line of the longest allowed size, one byte more, and the same with CRLF. */
Test(csv, a_line_may_have_64_kib_and_no_byte_more)
{
    for (int crlf = 0; crlf <= 1; crlf++) {
        for (size_t extra = 0; extra <= 1; extra++) {
            size_t size = CSV_LINE_MAX + extra;
            char *bytes = malloc(size + 16);
            memset(bytes, 'x', size);
            size_t used = size;
            if (crlf)
                bytes[used++] = '\r';
            bytes[used++] = '\n';
            bytes[used++] = 'a';
            bytes[used++] = '\n';
            struct source source = {.bytes = bytes, .size = used, .piece = 5000};
            struct csv_reader *reader = reader_create(&source);
            struct csv_row row;
            enum csv_kind kind = csv_next(reader, &row);
            cr_assert_eq(kind, extra == 0 ? CSV_ROW : CSV_BAD);
            cr_assert_eq(row.size, size);
            if (extra == 0)
                cr_assert_eq(row.fields[0].size, size);
            cr_assert_eq(csv_next(reader, &row), CSV_ROW);
            cr_assert_eq(row.line, 2);
            cr_assert_eq(csv_next(reader, &row), CSV_END);
            free(reader);
            free(bytes);
        }
    }
}

struct endless {
    uint64_t left;
    bool tail;
};

/* A line of `left` bytes made on the fly, then "\na,b\n". */
static ssize_t endless_read(void *context, void *buffer, size_t size)
{
    struct endless *endless = context;
    if (endless->left > 0) {
        if (size > endless->left)
            size = (size_t)endless->left;
        memset(buffer, '"', size);
        endless->left -= size;
        return (ssize_t)size;
    }
    if (endless->tail)
        return 0;
    endless->tail = true;
    memcpy(buffer, "\na,b\n", 5);
    return 5;
}

/* One line of a gibibyte of quotes: one bad row, no memory, and the next row is read. */
Test(csv, a_line_of_a_gibibyte_costs_one_row_and_no_memory)
{
    struct endless endless = {.left = 1ull << 30};
    struct csv_reader *reader = calloc(1, sizeof *reader);
    struct csv_row row;
    reader->read = endless_read;
    reader->context = &endless;
    csv_init(reader);
    cr_assert_eq(csv_next(reader, &row), CSV_BAD);
    cr_assert_eq(row.line, 1);
    cr_assert_eq(row.size, 1ull << 30);
    cr_assert(strstr(row.reason, "longer than 65536") != NULL);
    cr_assert_eq(csv_next(reader, &row), CSV_ROW);
    cr_assert_eq(row.line, 2);
    cr_assert_eq(row.offset, (1ull << 30) + 1);
    cr_assert_eq(row.field_count, 2);
    cr_assert_eq(csv_next(reader, &row), CSV_END);
    free(reader);
}

Test(csv, a_row_can_be_found_again_by_offset_and_size)
{
    static const char bytes[] = "\xef\xbb\xbfone,1\r\n\n\"two\",2\nbad\"\nthree,3";
    struct source source = {.bytes = bytes, .size = sizeof bytes - 1, .piece = 3};
    struct csv_reader *reader = reader_create(&source);
    static const char *const lines[] = {"one,1", "\"two\",2", "bad\"", "three,3"};
    struct csv_row row;
    for (size_t i = 0; i < 4; i++) {
        cr_assert_neq(csv_next(reader, &row), CSV_END);
        cr_assert_eq(row.size, strlen(lines[i]));
        cr_assert_eq(memcmp(bytes + row.offset, lines[i], row.size), 0, "line %s", lines[i]);
    }
    cr_assert_eq(csv_next(reader, &row), CSV_END);
    free(reader);
}

Test(csv, a_source_that_fails_ends_the_rows_with_its_error)
{
    struct source source = {.bytes = "a,b\nc", .size = 5, .piece = 100, .fail_at_end = true};
    struct csv_reader *reader = reader_create(&source);
    struct csv_row row;
    cr_assert_eq(csv_next(reader, &row), CSV_ROW);
    cr_assert_eq(csv_next(reader, &row), CSV_IO); /* "c" may be half a row: not given out */
    cr_assert_eq(errno, EIO);
    cr_assert_eq(csv_next(reader, &row), CSV_IO);
    free(reader);
}

/* What is quoted is read back as it was. */
Test(csv, quoting_is_the_inverse_of_reading)
{
    static const char *const texts[] = {"", "plain", "a,b", "say \"hi\"", "\"", ",", " x "};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char line[64];
        size_t size = csv_quote(texts[i], strlen(texts[i]), line);
        cr_assert_leq(size, 2 * strlen(texts[i]) + 2);
        line[size++] = ',';
        line[size++] = '\n';
        struct source source = {.bytes = line, .size = size, .piece = 100};
        struct csv_reader *reader = reader_create(&source);
        struct csv_row row;
        cr_assert_eq(csv_next(reader, &row), CSV_ROW);
        cr_assert_eq(row.field_count, 2);
        cr_assert_eq(row.fields[0].size, strlen(texts[i]));
        cr_assert_eq(memcmp(row.fields[0].text, texts[i], row.fields[0].size), 0);
        free(reader);
    }
    char line[16];
    cr_assert_eq(csv_quote("a\0\n", 3, line), 5);
    cr_assert_eq(memcmp(line, "\"a??\"", 5), 0);
}
