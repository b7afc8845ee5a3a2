/* The figures of `tally observe`, computed from records that each test writes down, and its text on
 * the way into files. */
#include "client/cli/observe.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull

/* A canary every 10 ms from 10 ms on; `answered` in ms, 0: it ended as `outcome` says. */
struct row {
    uint64_t answered_ms;
    uint8_t outcome;
};

static struct observe run;
static struct observe_record records[64];

static struct observe_summary summary_of(const struct row *rows, size_t count)
{
    struct observe_summary summary;
    run = (struct observe){.site_count = 1, .ended_ns = (count + 1) * 10 * MS};
    run.sites[0].records = records;
    run.sites[0].count = count;
    for (size_t i = 0; i < count; i++)
        records[i] = (struct observe_record){.intended_ns = (i + 1) * 10 * MS,
                                             .answered_ns = rows[i].answered_ms * MS,
                                             .outcome = rows[i].outcome,
                                             .attempts = 1};
    cr_assert(observe_summarize(&run, &run.sites[0], &summary));
    return summary;
}

static uint64_t pause_ms(const struct observe_summary *summary)
{
    return (summary->pause.to_ns - summary->pause.from_ns) / MS;
}

#define A OBSERVE_ACKNOWLEDGED

/* Each is answered 2 ms after its moment: the pause is that latency, the gap the interval. */
Test(observe, without_any_trouble_the_pause_is_the_latency)
{
    struct observe_summary s =
        summary_of((struct row[]){{12, A}, {22, A}, {32, A}, {42, A}, {52, A}}, 5);
    cr_expect_eq(pause_ms(&s), 2);
    cr_expect_eq(s.gap_ns, 10 * MS);
    cr_expect_eq(s.pause_count, 0);
    cr_expect_eq(s.latency.p50_ns, 2 * MS);
    cr_expect_eq(s.counts[A], 5);
    observe_summary_deinit(&s);
}

/* From 20 ms on the system holds what comes and answers all of it at 300 ms: no acknowledged send
 * is missing, so the gap sees nothing; the pause does. */
Test(observe, requests_that_are_held_are_a_pause)
{
    struct observe_summary s =
        summary_of((struct row[]){{12, A}, {300, A}, {300, A}, {300, A}, {52, A}}, 4);
    cr_expect_eq(pause_ms(&s), 280);
    cr_expect_eq(s.pause.from_ns, 20 * MS);
    cr_expect_eq(s.gap_ns, 10 * MS);
    cr_assert_eq(s.pause_count, 1);
    cr_expect_eq(s.pauses[0].to_ns, 300 * MS);
    cr_expect_eq(s.latency.max_ns, 280 * MS);
    observe_summary_deinit(&s);
}

/* Three in a row get nothing, in three ways; the fourth is served. */
Test(observe, requests_that_are_lost_refused_or_not_sent_are_a_pause)
{
    struct observe_summary s = summary_of((struct row[]){{12, A},
                                                         {0, OBSERVE_UNKNOWN},
                                                         {0, OBSERVE_REFUSED},
                                                         {0, OBSERVE_NOT_SENT},
                                                         {53, A},
                                                         {62, A}},
                                          6);
    cr_expect_eq(pause_ms(&s), 33);
    cr_expect_eq(s.gap_ns, 40 * MS); /* from 10 to 50 */
    cr_expect_eq(s.in_doubt, 1);
    observe_summary_deinit(&s);
}

/* What was found posted later was not acknowledged to its client: it ends no pause. */
Test(observe, what_was_only_found_posted_ends_no_pause)
{
    struct observe_summary s =
        summary_of((struct row[]){{12, A}, {0, OBSERVE_FOUND_POSTED}, {32, A}, {42, A}}, 4);
    cr_expect_eq(pause_ms(&s), 12);
    cr_expect_eq(s.in_doubt, 1);
    cr_expect_eq(s.counts[OBSERVE_FOUND_POSTED], 1);
    observe_summary_deinit(&s);
}

/* The second waits for long while all others are served: no pause of the site. It shows as the
 * largest latency. */
Test(observe, one_request_alone_that_waits_is_no_pause)
{
    struct observe_summary s =
        summary_of((struct row[]){{12, A}, {900, A}, {32, A}, {42, A}, {52, A}}, 5);
    cr_expect_eq(pause_ms(&s), 12); /* 20 until 32 */
    cr_expect_eq(s.latency.max_ns, 880 * MS);
    observe_summary_deinit(&s);
}

/* Late answers to the first two trickle in while nothing newer is served. */
Test(observe, late_answers_to_old_requests_hide_no_pause)
{
    struct observe_summary s = summary_of((struct row[]){{200, A},
                                                         {250, A},
                                                         {0, OBSERVE_NOT_EXECUTED},
                                                         {0, OBSERVE_NOT_EXECUTED},
                                                         {400, A},
                                                         {401, A}},
                                          6);
    cr_expect_eq(pause_ms(&s), 370); /* 30 until 400 */
    cr_assert_eq(s.pause_count, 1, "%zu", s.pause_count);
    observe_summary_deinit(&s);
}

/* Two cuts with service between them are two pauses. */
Test(observe, pauses_with_service_between_them_are_counted_apart)
{
    struct row rows[50];
    for (size_t i = 0; i < 50; i++)
        rows[i] = (struct row){(i + 1) * 10 + 1, A};
    for (size_t i = 4; i < 20; i++)
        rows[i] = (struct row){0, OBSERVE_NOT_EXECUTED};
    for (size_t i = 30; i < 45; i++)
        rows[i].answered_ms = 461;
    struct observe_summary s = summary_of(rows, 50);
    cr_assert_eq(s.pause_count, 2, "%zu", s.pause_count);
    cr_expect_eq(s.pauses[0].from_ns, 50 * MS);
    cr_expect_eq(s.pauses[0].to_ns, 211 * MS);
    cr_expect_eq(s.pauses[1].from_ns, 310 * MS);
    cr_expect_eq(s.pauses[1].to_ns, 461 * MS);
    cr_expect_eq(pause_ms(&s), 161);
    observe_summary_deinit(&s);
}

/* Nothing is acknowledged any more from 30 ms on: the pause is open, and as long as was sent. */
Test(observe, a_pause_that_does_not_end_says_so)
{
    struct observe_summary s = summary_of(
        (struct row[]){
            {12, A}, {22, A}, {0, OBSERVE_UNKNOWN}, {0, OBSERVE_UNKNOWN}, {0, OBSERVE_UNKNOWN}},
        5);
    cr_expect(s.pause.open);
    cr_expect_eq(pause_ms(&s), 30); /* until 60, the end of sending */
    cr_expect_eq(s.gap_ns, 40 * MS);
    observe_summary_deinit(&s);
}

Test(observe, a_run_without_canaries_has_no_figures)
{
    struct observe_summary s = summary_of(NULL, 0);
    cr_expect_eq(pause_ms(&s), 0);
    cr_expect_eq(s.gap_ns, 0);
    cr_expect_eq(s.latency.max_ns, 0);
    observe_summary_deinit(&s);
}

/* Nearest rank over 1 .. 50 ms. */
Test(observe, percentiles_are_values_that_occurred)
{
    struct row rows[50];
    for (size_t i = 0; i < 50; i++)
        rows[i] = (struct row){(i + 1) * 10 + (i * 7) % 50 + 1, A};
    struct observe_summary s = summary_of(rows, 50);
    cr_expect_eq(s.latency.p50_ns, 25 * MS);
    cr_expect_eq(s.latency.p99_ns, 50 * MS);
    cr_expect_eq(s.latency.max_ns, 50 * MS);
    observe_summary_deinit(&s);
}

/* ---- text on its way into files ---- */

static char *json_of(const char *text)
{
    char *out = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&out, &size);
    observe_json_string(file, text);
    fclose(file);
    return out;
}

/* Whatever stands in an event can neither end the page's script nor the JSON string it is in. */
Test(observe, no_text_can_leave_its_string_or_its_script)
{
    static const struct {
        const char *text, *json;
    } rows[] = {
        {"plain", "\"plain\""},
        {"</script><b>", "\"\\u003c/script\\u003e\\u003cb\\u003e\""},
        {"a\"b\\c", "\"a\\u0022b\\u005cc\""},
        {"&'", "\"\\u0026\\u0027\""},
        {"line\nend\x7f", "\"line\\u000aend\\u007f\""},
        {"Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x98\x80",
         "\"Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"\xe2\x80\xa8\xe2\x80\xa9", "\"\\u2028\\u2029\""},
        {"\xff\xc3", "\"\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""}, /* half a surrogate pair */
        {"\xc0\xbc", "\"\\ufffd\\ufffd\""},            /* '<' in two bytes */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *json = json_of(rows[i].text);
        cr_expect_str_eq(json, rows[i].json, "row %zu: %s", i, json);
        json_t *read = json_loads(json, JSON_DECODE_ANY, NULL);
        cr_expect_not_null(read, "row %zu is no JSON: %s", i, json);
        json_decref(read);
        free(json);
    }
}

/* A mark with foreign bytes becomes printable; a list that is full counts what it loses. */
Test(observe, events_are_printable_and_bounded)
{
    run = (struct observe){0};
    cr_assert(observe_records_init(&run));
    observe_event(&run, OBSERVE_EVENT_MARK, "%s", "cut\tthe link\xff");
    cr_expect_str_eq(run.events[0].text, "cut?the link?");
    observe_event(&run, OBSERVE_EVENT_MARK, "%s", "Z\xc3\xbcrich is off");
    cr_expect_str_eq(run.events[1].text, "Z\xc3\xbcrich is off");
    for (size_t i = 0; i < OBSERVE_EVENTS_MAX; i++)
        observe_event(&run, OBSERVE_EVENT_MARK, "more");
    cr_expect_eq(run.event_count, OBSERVE_EVENTS_MAX);
    cr_expect_eq(run.events_lost, 2);
    observe_records_deinit(&run);
}

/* The JSON file and the page's data are JSON whatever the names say, and hold every request. */
Test(observe, files_hold_every_request)
{
    char path[] = "/tmp/tally-observe-XXXXXX";
    struct row rows[] = {{12, A}, {0, OBSERVE_UNKNOWN}, {33, A}};
    struct observe_summary s = summary_of(rows, 3);
    cr_assert_not_null(mkdtemp(path));
    char json[64], html[64];
    snprintf(json, sizeof json, "%s/o.json", path);
    snprintf(html, sizeof html, "%s/o.html", path);
    strcpy(run.sites[0].name, "A\"</script>");
    cr_assert_eq(observe_write_json(&run, &s, json), 0);
    cr_assert_eq(observe_write_html(&run, &s, html), 0);
    json_error_t error;
    json_t *read = json_load_file(json, 0, &error);
    cr_assert_not_null(read, "%s", error.text);
    json_t *site = json_array_get(json_object_get(read, "sites"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(site, "name")), "A\"</script>");
    cr_expect_eq(json_array_size(json_object_get(site, "records")), 3);
    cr_expect_eq(json_array_size(json_array_get(json_object_get(site, "records"), 0)),
                 json_array_size(json_object_get(site, "columns")));
    json_decref(read);

    FILE *file = fopen(html, "r");
    static char page[1 << 20];
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    char *data = strstr(page, "id=\"data\">");
    cr_assert_not_null(data);
    data += strlen("id=\"data\">");
    char *end = strstr(data, "</script>");
    cr_assert_not_null(end);
    *end = '\0';
    read = json_loads(data, 0, &error);
    cr_assert_not_null(read, "%s", error.text);
    site = json_array_get(json_object_get(read, "sites"), 0);
    cr_expect_eq(json_array_size(json_object_get(site, "points")), 3);
    json_decref(read);
    observe_summary_deinit(&s);
    remove(json);
    remove(html);
    remove(path);
}

/* ---- --site ---- */

Test(observe, sites_are_read_or_refused_with_the_reason)
{
    char error[OBSERVE_TEXT_SIZE];
    run = (struct observe){0};
    cr_assert(observe_site_parse(&run, "A=one:7400,[::1]:7401", error), "%s", error);
    cr_assert(observe_site_parse(&run, "B=10.0.0.2:65535", error), "%s", error);
    cr_expect_eq(run.site_count, 2);
    cr_expect_eq(run.server_count, 3);
    cr_expect_str_eq(run.servers[1].host, "::1");
    cr_expect_eq(run.servers[1].port, 7401);
    cr_expect_eq(run.sites[1].first_server, 2);
    static const char *const refused[] = {
        "A=two:7400",  "C",        "=one:1",
        "C=",          "C=one",    "C=one:0",
        "C=one:65536", "C=one:1,", "C=one:99999999999999999999",
        "C=::1:74",    "C=[]:74",  "ABCDEFGHIJKLMNOPQ=one:1",
        "C=one:74x",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        error[0] = '\0';
        struct observe copy = run;
        cr_expect_not(observe_site_parse(&copy, refused[i], error), "%s", refused[i]);
        cr_expect(error[0] != '\0');
    }
}
