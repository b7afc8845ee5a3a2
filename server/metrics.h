/*
 * Numbers about calls, and the Prometheus text format (0.0.4). Gauges that others own are read when
 * somebody asks (probe.c); what only happens once is counted here. Loop thread.
 */
#ifndef TALLY_SERVER_METRICS_H
#define TALLY_SERVER_METRICS_H

#include "core/machine.h"
#include "server/authorize.h"
#include "server/grpc.h"

#include <stdint.h>
#include <stdio.h>

struct metrics;

struct metrics *metrics_create(void); /* NULL without memory */
void metrics_destroy(struct metrics *metrics);

/* A call of `method` ended with `code` after `duration_ns`. */
void metrics_call(struct metrics *metrics, enum method method, enum grpc_code code,
                  uint64_t duration_ns);
/* A call was refused before anything was done for it: counted, not timed. */
void metrics_refused(struct metrics *metrics, enum method method, enum grpc_code code);
/* A request was answered from the log, with an outcome and, if executed, results. */
void metrics_answer(struct metrics *metrics, const struct answer *answer);

uint64_t metrics_calls(const struct metrics *metrics, enum method method, enum grpc_code code);

/* ---- the text format; `page` is any stream ---- */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* # HELP and # TYPE of a family, once before its samples. */
void metrics_family(FILE *page, const char *name, enum metric_kind kind, const char *help);
/* `labels` as they stand between the braces, or NULL. Values of labels are ours: no quoting needed
 * unless metrics_label() wrote them. */
void metrics_sample(FILE *page, const char *name, const char *labels, uint64_t value);
/* Writes name="value" with backslash, quote and newline escaped; cut to `capacity`. */
void metrics_label(char *out, size_t capacity, const char *name, const char *value);
/* Family with one sample without labels. */
void metrics_counter(FILE *page, const char *name, const char *help, uint64_t value);
void metrics_gauge(FILE *page, const char *name, const char *help, uint64_t value);
void metrics_gauge_seconds(FILE *page, const char *name, const char *help, uint64_t value_ns);

/* tally_calls_total, tally_call_seconds, tally_requests_total, tally_results_total. */
void metrics_write(const struct metrics *metrics, FILE *page);

/* "OK", "INVALID_ARGUMENT", ... */
const char *grpc_code_name(enum grpc_code code);

#endif
