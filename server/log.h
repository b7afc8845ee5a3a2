/*
 * The log: one line per event on stderr, `time level event key=value ...` in logfmt. No secrets and
 * no payload: callers put names, numbers and reasons in it, never amounts, ids or bodies.
 *
 *     struct log_line line;
 *     log_begin(&line, EVENT_LISTENING);
 *     log_text(&line, "address", "127.0.0.1:7400");
 *     log_end(log, &line);
 *
 * Any thread may write lines; each is one write(2), so lines never mix.
 */
#ifndef TALLY_SERVER_LOG_H
#define TALLY_SERVER_LOG_H

#include "server/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;

#define LOG_LINE_SIZE 1280

/* One line being written; on the stack. What does not fit is cut and marked with "...". */
struct log_line {
    enum event event;
    bool cut;
    size_t size;
    char text[LOG_LINE_SIZE];
};

/* Lines below `level` are counted and not written. `descriptor` stays the caller's. NULL without
 * memory. */
struct log *log_create(int descriptor, enum log_level level);
void log_destroy(struct log *log);

void log_begin(struct log_line *line, enum event event);
/* Quoted as logfmt when needed: control bytes and broken UTF-8 leave as \xNN. NULL reads "". */
void log_text(struct log_line *line, const char *key, const char *value);
void log_number(struct log_line *line, const char *key, uint64_t value);
/* Counts the event, and writes the line unless its level or its rate says otherwise. After a
 * suppressed stretch the next line carries suppressed=<count>. */
void log_end(struct log *log, struct log_line *line);

/* From now on every line says where the node stands: node=, term=, index= (applied). Any thread. */
struct log_position {
    uint64_t node_id, term, index;
};
void log_set_position(struct log *log, const struct log_position *position);

/* How often the event happened since start, written or not. */
uint64_t log_event_count(const struct log *log, enum event event);

/* For tests: time in ns since 1970 that the next lines show; 0 = the real clock. */
void log_set_clock(struct log *log, uint64_t now_ns);

#endif
