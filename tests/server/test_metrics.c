/* The Prometheus text format, as a scraper reads it. */
#include "server/metrics.h"

#include <criterion/criterion.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *page_of(const struct metrics *metrics)
{
    char *text = NULL;
    size_t size = 0;
    FILE *page = open_memstream(&text, &size);
    metrics_write(metrics, page);
    cr_assert_eq(fclose(page), 0);
    return text;
}

/* Value of the sample that begins with `name`; fails the test when there is none. */
static double sample(const char *page, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = page; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, name, size) == 0 && line[size] == ' ')
            return strtod(line + size + 1, NULL);
    cr_assert_fail("no sample %s", name);
    return 0;
}

/* Calls are counted by method and status; the histogram's buckets are cumulative and end at the
 * count. */
Test(metrics, calls_are_counted_and_timed)
{
    struct metrics *metrics = metrics_create();
    metrics_call(metrics, METHOD_CREATE_TRANSFERS, GRPC_OK, 400000); /* 0.4 ms */
    metrics_call(metrics, METHOD_CREATE_TRANSFERS, GRPC_OK, 500000); /* on the bound */
    metrics_call(metrics, METHOD_CREATE_TRANSFERS, GRPC_UNAVAILABLE, 3000000);
    metrics_call(metrics, METHOD_CREATE_TRANSFERS, GRPC_OK, 60000000000ull); /* a minute */
    cr_expect_eq(metrics_calls(metrics, METHOD_CREATE_TRANSFERS, GRPC_OK), 3);
    char *page = page_of(metrics);
    cr_expect_eq(sample(page, "tally_calls_total{method=\"CreateTransfers\",code=\"OK\"}"), 3);
    cr_expect_eq(sample(page, "tally_calls_total{method=\"CreateTransfers\",code=\"UNAVAILABLE\"}"),
                 1);
    cr_expect_eq(sample(page, "tally_calls_total{method=\"CreateLedgers\",code=\"OK\"}"), 0);
    static const struct {
        const char *bound;
        double count;
    } buckets[] = {{"0.0005", 2}, {"0.0010", 2},  {"0.0025", 2},
                   {"0.0050", 3}, {"10.0000", 3}, {"+Inf", 4}};
    for (size_t i = 0; i < sizeof buckets / sizeof buckets[0]; i++) {
        char name[128];
        snprintf(name, sizeof name,
                 "tally_call_seconds_bucket{method=\"CreateTransfers\",le=\"%s\"}",
                 buckets[i].bound);
        cr_expect_eq(sample(page, name), buckets[i].count, "%s", name);
    }
    cr_expect_eq(sample(page, "tally_call_seconds_count{method=\"CreateTransfers\"}"), 4);
    cr_expect_float_eq(sample(page, "tally_call_seconds_sum{method=\"CreateTransfers\"}"), 60.0039,
                       1e-9);
    free(page);
    metrics_destroy(metrics);
}

/* A repeat is a request, but its events were counted when they happened. */
Test(metrics, results_of_repeats_are_counted_once)
{
    struct metrics *metrics = metrics_create();
    uint8_t results[3] = {RESULT_OK, RESULT_EXCEEDS_CREDITS, RESULT_OK};
    struct answer answer = {.outcome = OUTCOME_EXECUTED, .event_count = 3, .results = results};
    metrics_answer(metrics, &answer);
    answer.repeated = true;
    metrics_answer(metrics, &answer);
    metrics_answer(metrics, &(struct answer){.outcome = OUTCOME_NONCE_REUSED});
    char *page = page_of(metrics);
    cr_expect_eq(sample(page, "tally_requests_total{outcome=\"EXECUTED\"}"), 2);
    cr_expect_eq(sample(page, "tally_requests_total{outcome=\"NONCE_REUSED\"}"), 1);
    cr_expect_eq(sample(page, "tally_requests_repeated_total"), 1);
    cr_expect_eq(sample(page, "tally_results_total{result=\"OK\"}"), 2);
    cr_expect_eq(sample(page, "tally_results_total{result=\"EXCEEDS_CREDITS\"}"), 1);
    free(page);
    metrics_destroy(metrics);
}

/* Every line is a comment or a sample, every sample has its family before it. */
Test(metrics, page_is_well_formed)
{
    struct metrics *metrics = metrics_create();
    for (int method = 0; method < METHOD_COUNT; method++)
        for (int code = 0; code < 17; code++)
            metrics_call(metrics, (enum method)method, (enum grpc_code)code, 1234567);
    char *page = page_of(metrics);
    regex_t form;
    cr_assert_eq(regcomp(&form,
                         "^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\\{[a-z_]+=\"[^\"\\\\]*\"(,[a-z_]+="
                         "\"[^\"\\\\]*\")*\\})? [0-9]+(\\.[0-9]+)?)$",
                         REG_EXTENDED | REG_NOSUB),
                 0);
    char family[64] = "", *rest = NULL;
    for (char *line = strtok_r(page, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        cr_expect_eq(regexec(&form, line, 0, NULL, 0), 0, "%s", line);
        if (strncmp(line, "# TYPE ", 7) == 0)
            cr_assert_eq(sscanf(line, "# TYPE %63s", family), 1);
        else if (line[0] != '#')
            cr_expect_eq(strncmp(line, family, strlen(family)), 0, "%s is not of %s", line, family);
    }
    regfree(&form);
    free(page);
    metrics_destroy(metrics);
}

/* Label values are escaped as the format asks, and never longer than their room. */
Test(metrics, labels_are_escaped)
{
    char label[64], small[12];
    metrics_label(label, sizeof label, "text", "a\\b\"c\nd");
    cr_expect_str_eq(label, "text=\"a\\\\b\\\"c\\nd\"");
    metrics_label(small, sizeof small, "x", "\"\"\"\"\"\"\"\"");
    /* Cut between two escapes, never inside one. */
    cr_expect_str_eq(small, "x=\"\\\"\\\"\\\"\"");
}
