/*
 * Counters and histograms of calls. A histogram has fixed bounds from half a millisecond to ten
 * seconds, since an alarm is about "slower than", not about the shape. Label values come from our
 * own tables: no principal, no id, nothing that a client could make many of.
 */
#include "server/metrics.h"

#include "core/invariant.h"
#include "core/result.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CODE_COUNT 17

static const uint64_t bounds_us[] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                     100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
#define BOUND_COUNT (sizeof bounds_us / sizeof bounds_us[0])

struct histogram {
    uint64_t below[BOUND_COUNT]; /* not cumulative; written cumulatively */
    uint64_t count;
    uint64_t sum_ns;
};

struct metrics {
    uint64_t calls[METHOD_COUNT][CODE_COUNT];
    struct histogram durations[METHOD_COUNT];
    uint64_t outcomes[OUTCOME_COUNT];
    uint64_t repeated;
    uint64_t results[128];
};

static const char *const code_names[CODE_COUNT] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *grpc_code_name(enum grpc_code code)
{
    invariant((unsigned)code < CODE_COUNT);
    return code_names[code];
}

struct metrics *metrics_create(void)
{
    return calloc(1, sizeof(struct metrics));
}

void metrics_destroy(struct metrics *metrics)
{
    free(metrics);
}

void metrics_refused(struct metrics *metrics, enum method method, enum grpc_code code)
{
    invariant(method < METHOD_COUNT);
    invariant((unsigned)code < CODE_COUNT);
    metrics->calls[method][code]++;
}

void metrics_call(struct metrics *metrics, enum method method, enum grpc_code code,
                  uint64_t duration_ns)
{
    metrics_refused(metrics, method, code);
    struct histogram *histogram = &metrics->durations[method];
    histogram->count++;
    histogram->sum_ns += duration_ns;
    for (size_t i = 0; i < BOUND_COUNT; i++)
        if (duration_ns <= bounds_us[i] * 1000) {
            histogram->below[i]++;
            break;
        }
}

void metrics_answer(struct metrics *metrics, const struct answer *answer)
{
    invariant(answer->outcome < OUTCOME_COUNT);
    metrics->outcomes[answer->outcome]++;
    if (answer->repeated) {
        metrics->repeated++;
        return; /* its results were counted when they happened */
    }
    if (answer->outcome != OUTCOME_EXECUTED)
        return;
    for (uint32_t i = 0; i < answer->event_count; i++)
        metrics->results[answer->results[i] & 127]++;
}

uint64_t metrics_calls(const struct metrics *metrics, enum method method, enum grpc_code code)
{
    return metrics->calls[method][code];
}

/* ---- the text format ---- */

void metrics_family(FILE *page, const char *name, enum metric_kind kind, const char *help)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    fprintf(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kinds[kind]);
}

void metrics_sample(FILE *page, const char *name, const char *labels, uint64_t value)
{
    if (labels)
        fprintf(page, "%s{%s} %" PRIu64 "\n", name, labels, value);
    else
        fprintf(page, "%s %" PRIu64 "\n", name, value);
}

void metrics_label(char *out, size_t capacity, const char *name, const char *value)
{
    invariant(capacity >= 8);
    int begun = snprintf(out, capacity, "%s=\"", name);
    invariant(begun > 0 && (size_t)begun + 4 < capacity);
    size_t size = (size_t)begun;
    /* Two bytes for an escape, one for the quote, one for the end. */
    for (; *value && size + 4 <= capacity; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n')
            out[size++] = '\\';
        out[size++] = *value == '\n' ? 'n' : *value;
    }
    out[size++] = '"';
    out[size] = '\0';
}

void metrics_counter(FILE *page, const char *name, const char *help, uint64_t value)
{
    metrics_family(page, name, METRIC_COUNTER, help);
    metrics_sample(page, name, NULL, value);
}

void metrics_gauge(FILE *page, const char *name, const char *help, uint64_t value)
{
    metrics_family(page, name, METRIC_GAUGE, help);
    metrics_sample(page, name, NULL, value);
}

void metrics_gauge_seconds(FILE *page, const char *name, const char *help, uint64_t value_ns)
{
    metrics_family(page, name, METRIC_GAUGE, help);
    fprintf(page, "%s %" PRIu64 ".%09" PRIu64 "\n", name, value_ns / 1000000000,
            value_ns % 1000000000);
}

static void write_histogram(FILE *page, const char *name, const char *method,
                            const struct histogram *histogram)
{
    uint64_t cumulative = 0;
    for (size_t i = 0; i < BOUND_COUNT; i++) {
        cumulative += histogram->below[i];
        fprintf(page, "%s_bucket{method=\"%s\",le=\"%" PRIu64 ".%04" PRIu64 "\"} %" PRIu64 "\n",
                name, method, bounds_us[i] / 1000000, bounds_us[i] % 1000000 / 100, cumulative);
    }
    fprintf(page, "%s_bucket{method=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, method,
            histogram->count);
    fprintf(page, "%s_sum{method=\"%s\"} %" PRIu64 ".%09" PRIu64 "\n", name, method,
            histogram->sum_ns / 1000000000, histogram->sum_ns % 1000000000);
    fprintf(page, "%s_count{method=\"%s\"} %" PRIu64 "\n", name, method, histogram->count);
}

void metrics_write(const struct metrics *metrics, FILE *page)
{
    metrics_family(page, "tally_calls_total", METRIC_COUNTER, "Calls by method and gRPC status.");
    for (int method = 0; method < METHOD_COUNT; method++)
        for (int code = 0; code < CODE_COUNT; code++)
            if (code == GRPC_OK || metrics->calls[method][code] > 0)
                fprintf(page, "tally_calls_total{method=\"%s\",code=\"%s\"} %" PRIu64 "\n",
                        method_name((enum method)method), code_names[code],
                        metrics->calls[method][code]);

    metrics_family(page, "tally_call_seconds", METRIC_HISTOGRAM,
                   "From the whole request message to its answer.");
    for (int method = 0; method < METHOD_COUNT; method++)
        if (metrics->durations[method].count > 0)
            write_histogram(page, "tally_call_seconds", method_name((enum method)method),
                            &metrics->durations[method]);

    metrics_family(page, "tally_requests_total", METRIC_COUNTER,
                   "Requests answered from the log, by outcome.");
    for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
        if (outcome == OUTCOME_EXECUTED || metrics->outcomes[outcome] > 0)
            fprintf(page, "tally_requests_total{outcome=\"%s\"} %" PRIu64 "\n",
                    outcome_name((uint8_t)outcome), metrics->outcomes[outcome]);
    metrics_counter(page, "tally_requests_repeated_total",
                    "Requests answered with the stored answer of an identical earlier one.",
                    metrics->repeated);

    metrics_family(page, "tally_results_total", METRIC_COUNTER,
                   "Events of executed requests, by result.");
    for (int result = 0; result < 128; result++)
        if (result == RESULT_OK || metrics->results[result] > 0)
            fprintf(page, "tally_results_total{result=\"%s\"} %" PRIu64 "\n",
                    result_name((uint8_t)result), metrics->results[result]);
}
