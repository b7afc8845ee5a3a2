/*
 * A reader of CSV files (RFC 4180) of any size in bounded memory, one row at a time, which goes on
 * after every bad row.
 *
 * Rules beyond the RFC: a newline always ends a row, also inside quotes, so that one forgotten
 * quote costs one row and not the rest of the file. A line has at most CSV_LINE_MAX bytes, a row at
 * most CSV_FIELDS_MAX fields. A UTF-8 byte order mark and CR before LF are accepted. NUL, a CR
 * elsewhere, a quote inside an unquoted field and text behind a closing quote are refused. Empty
 * lines are skipped, but counted.
 */
#ifndef TALLY_CLIENT_CLI_CSV_H
#define TALLY_CLIENT_CLI_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CSV_LINE_MAX   65536
#define CSV_FIELDS_MAX 32

enum csv_kind {
    CSV_ROW, /* fields are set */
    CSV_BAD, /* reason is set */
    CSV_END,
    CSV_IO, /* the source failed, errno is set; no more rows */
};

struct csv_field {
    const char *text; /* not terminated; borrowed until the next csv_next() */
    size_t size;
};

struct csv_row {
    uint64_t line;   /* from 1, empty and bad lines included */
    uint64_t offset; /* of the line's first byte in the file */
    uint64_t size;   /* of the line, without its end */
    uint32_t field_count;
    struct csv_field fields[CSV_FIELDS_MAX];
    char reason[96];
};

struct csv_reader {
    /* As read(2): bytes read, 0 at the end, -1 with errno. */
    ssize_t (*read)(void *context, void *buffer, size_t size);
    void *context;
    uint32_t field_count; /* 0 = any; otherwise rows with another number of fields are bad */
    /* ---- ours ---- */
    uint64_t line, offset;
    size_t start, end;
    bool at_end, failed;
    char buffer[2 * CSV_LINE_MAX];
};

/* Sets everything but read, context and field_count. */
void csv_init(struct csv_reader *reader);
enum csv_kind csv_next(struct csv_reader *reader, struct csv_row *out_row);

/* Writes `text` as one field, quoted when it has to be, into `out`, which has room for
 * 2 * size + 2 bytes; returns the size. NUL, CR and LF become '?'. */
size_t csv_quote(const char *text, size_t size, char *out);

#endif
