/*
 * CSV: bytes come in pieces of the source's choice into one buffer of two line lengths; a line is
 * split where it lies, quotes removed in place.
 *
 * A line longer than the limit is skipped without being kept, so a file of one line of a gigabyte
 * costs one bad row and no memory. What a bad row means for the rest is nothing: the next newline
 * begins a new row. That is why quoted newlines, which RFC 4180 allows, are not: with them a single
 * stray quote would swallow rows silently, and rows are money.
 */
#include "client/cli/csv.h"

#include <stdio.h>
#include <string.h>

void csv_init(struct csv_reader *reader)
{
    reader->line = 0;
    reader->offset = 0;
    reader->start = 0;
    reader->end = 0;
    reader->at_end = false;
    reader->failed = false;
}

/* More bytes behind those kept; false at the end and on failure. */
static bool fill(struct csv_reader *reader)
{
    if (reader->at_end || reader->failed)
        return false;
    if (reader->start > 0) {
        memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    ssize_t got = reader->read(reader->context, reader->buffer + reader->end,
                               sizeof reader->buffer - reader->end);
    if (got < 0)
        reader->failed = true;
    else if (got == 0)
        reader->at_end = true;
    else
        reader->end += (size_t)got;
    return got > 0;
}

/* Finds the end of the line that begins at `start`: *out_size bytes without its newline. Bytes of a
 * line above the limit (CR included) are dropped as they come; *out_size then counts them. False at
 * the end of the file, or on failure. */
static bool take_line(struct csv_reader *reader, char **out_line, uint64_t *out_size,
                      bool *out_kept)
{
    uint64_t dropped = 0;
    size_t searched = 0;
    for (;;) {
        char *from = reader->buffer + reader->start;
        size_t have = reader->end - reader->start;
        char *newline = memchr(from + searched, '\n', have - searched);
        if (newline != NULL || reader->at_end) {
            size_t size = newline != NULL ? (size_t)(newline - from) : have;
            if (newline == NULL && size == 0 && dropped == 0)
                return false;
            *out_line = from;
            *out_size = dropped + size;
            *out_kept = dropped == 0;
            reader->start += size + (newline != NULL);
            reader->offset += dropped + size + (newline != NULL);
            return true;
        }
        if (have > CSV_LINE_MAX + 1) {
            dropped += have;
            reader->start = 0;
            reader->end = 0;
            have = 0;
        }
        searched = have;
        (void)fill(reader); /* the end and failure are seen above and below */
        if (reader->failed)
            return false;
    }
}

static bool bad(struct csv_row *row, const char *reason)
{
    snprintf(row->reason, sizeof row->reason, "%s", reason);
    return false;
}

/* The field that begins at *at (quotes are removed in place); *at moves to the comma or the end. */
static bool split_field(char **at, char *end, struct csv_row *row)
{
    char *from = *at;
    char *to = from;
    char *next = from;
    if (from < end && *from == '"') {
        next++;
        for (;;) {
            if (next == end)
                return bad(row, "a quote is not closed on its line");
            if (*next == '"' && (next + 1 == end || next[1] != '"'))
                break;
            if (*next == '"')
                next++;
            *to++ = *next++;
        }
        next++;
        if (next < end && *next != ',')
            return bad(row, "text behind a closing quote");
    } else {
        while (next < end && *next != ',') {
            if (*next == '"')
                return bad(row, "a quote inside a field that is not quoted");
            next++;
        }
        to = next;
    }
    if (row->field_count == CSV_FIELDS_MAX)
        return bad(row, "more than 32 fields");
    row->fields[row->field_count++] = (struct csv_field){from, (size_t)(to - from)};
    *at = next;
    return true;
}

static bool split_line(char *line, size_t size, uint32_t field_count, struct csv_row *row)
{
    if (memchr(line, '\0', size) != NULL)
        return bad(row, "a NUL byte (is the file UTF-16? save it as UTF-8)");
    if (memchr(line, '\r', size) != NULL)
        return bad(row, "a carriage return that does not end the line");
    char *end = line + size;
    char *at = line;
    for (;;) {
        if (!split_field(&at, end, row))
            return false;
        if (at == end)
            break;
        at++; /* the comma */
    }
    if (field_count > 0 && row->field_count != field_count) {
        snprintf(row->reason, sizeof row->reason, "%u fields where the header names %u",
                 row->field_count, field_count);
        return false;
    }
    return true;
}

enum csv_kind csv_next(struct csv_reader *reader, struct csv_row *out_row)
{
    for (;;) {
        char *line;
        uint64_t size;
        bool kept;
        uint64_t offset = reader->offset;
        if (!take_line(reader, &line, &size, &kept))
            return reader->failed ? CSV_IO : CSV_END;
        reader->line++;
        out_row->line = reader->line;
        out_row->offset = offset;
        out_row->field_count = 0;
        out_row->reason[0] = '\0';
        if (kept && offset == 0 && size >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            line += 3;
            size -= 3;
            out_row->offset += 3;
        }
        if (kept && size > 0 && line[size - 1] == '\r')
            size--;
        out_row->size = size;
        if (!kept || size > CSV_LINE_MAX) {
            (void)bad(out_row, "the line is longer than 65536 bytes");
            return CSV_BAD;
        }
        if (size == 0)
            continue;
        return split_line(line, size, reader->field_count, out_row) ? CSV_ROW : CSV_BAD;
    }
}

size_t csv_quote(const char *text, size_t size, char *out)
{
    bool needed = false;
    for (size_t i = 0; i < size && !needed; i++)
        needed = text[i] == ',' || text[i] == '"' || text[i] == '\r' || text[i] == '\n' ||
                 text[i] == '\0';
    size_t used = 0;
    if (needed)
        out[used++] = '"';
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            out[used++] = '"';
        bool control = text[i] == '\0' || text[i] == '\r' || text[i] == '\n';
        out[used++] = control ? '?' : text[i];
    }
    if (needed)
        out[used++] = '"';
    return used;
}
