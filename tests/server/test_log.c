/* Lines of the log: their shape, their quoting, their bounds, and what is counted all the same. */
#include "server/log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int ends[2];
static struct log *the_log;
static char written[64 * 1024];

static void setup(void)
{
    cr_assert_eq(pipe(ends), 0);
    the_log = log_create(ends[1], LOG_LEVEL_INFO);
    log_set_clock(the_log, 1790000000123456789ull);
}

static void teardown(void)
{
    log_destroy(the_log);
    close(ends[0]);
}

TestSuite(log, .init = setup, .fini = teardown);

static const char *all_written(void)
{
    size_t size = 0;
    ssize_t got;
    close(ends[1]);
    while ((got = read(ends[0], written + size, sizeof written - 1 - size)) > 0)
        size += (size_t)got;
    written[size] = '\0';
    return written;
}

static void log_value(const char *value)
{
    struct log_line line;
    log_begin(&line, EVENT_LISTENING);
    log_text(&line, "k", value);
    log_end(the_log, &line);
}

Test(log, line_has_time_level_event_and_fields)
{
    struct log_line line;
    log_begin(&line, EVENT_LISTENING);
    log_text(&line, "service", "grpc");
    log_number(&line, "port", UINT64_MAX);
    log_end(the_log, &line);
    cr_assert_str_eq(all_written(), "time=2026-09-21T14:13:20.123456Z level=info event=listening "
                                    "service=grpc port=18446744073709551615\n");
}

/* Once the node is known every line says which one it is and where it stands. */
Test(log, line_has_node_term_and_index_once_they_are_known)
{
    log_set_position(the_log, &(struct log_position){.node_id = 1, .term = UINT64_MAX, .index = 9});
    log_value("v");
    log_set_position(the_log, &(struct log_position){.node_id = 1, .term = 3, .index = 10});
    log_value("w");
    const char *text = all_written();
    cr_expect(strstr(text, " event=listening node=1 term=18446744073709551615 index=9 k=v\n"), "%s",
              text);
    cr_expect(strstr(text, " event=listening node=1 term=3 index=10 k=w\n"), "%s", text);
}

/* What a client can put into a name must not be able to write a second line or another key. */
Test(log, values_are_quoted_as_logfmt)
{
    static const struct {
        const char *value, *shown;
    } rows[] = {
        {"plain/word:1", "k=plain/word:1\n"},
        {"", "k=\"\"\n"},
        {"two words", "k=\"two words\"\n"},
        {"a=b", "k=\"a=b\"\n"},
        {"say \"hi\"", "k=\"say \\\"hi\\\"\"\n"},
        {"back\\slash", "k=\"back\\\\slash\"\n"},
        {"line\nevent=forged", "k=\"line\\nevent=forged\"\n"},
        {"\x01\x7f", "k=\"\\x01\\x7f\"\n"},
        {"gr\xc3\xbc\xc3\x9f", "k=\"gr\xc3\xbc\xc3\x9f\"\n"},
        {"\xff\xc3", "k=\"\\xff\\xc3\"\n"},
        {"\xc0\x80\xed\xa0\x80", "k=\"\\xc0\\x80\\xed\\xa0\\x80\"\n"},
        {NULL, "k=\"\"\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        log_value(rows[i].value);
    const char *at = all_written();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *field = strstr(at, "k=");
        cr_assert_not_null(field);
        cr_expect_eq(strncmp(field, rows[i].shown, strlen(rows[i].shown)), 0, "row %zu: %.60s", i,
                     field);
        at = strchr(field, '\n') + 1;
    }
}

/* A value longer than a line: cut, marked, the quote closed, one newline. */
Test(log, long_line_is_cut_and_says_so)
{
    char value[4 * LOG_LINE_SIZE];
    memset(value, ' ', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    log_value(value);
    const char *text = all_written();
    size_t size = strlen(text);
    cr_expect_leq(size, LOG_LINE_SIZE + 192);
    cr_expect_str_eq(text + size - strlen("\" cut=...\n"), "\" cut=...\n");
    cr_expect_eq(strchr(text, '\n'), text + size - 1);
}

Test(log, lines_below_the_level_are_counted_only)
{
    struct log_line line;
    log_begin(&line, EVENT_CHECKPOINT_DONE);
    log_end(the_log, &line);
    cr_expect_eq(log_event_count(the_log, EVENT_CHECKPOINT_DONE), 1);
    cr_expect_str_eq(all_written(), "");
}

/* Ten thousand refused connections in a minute: 60 lines, a count, and the rest told afterwards. */
Test(log, flood_of_one_event_is_bounded_and_told)
{
    uint32_t allowed = event_lines_per_minute(EVENT_ACCESS_DENIED);
    cr_assert_gt(allowed, 0);
    struct log_line line;
    for (int i = 0; i < 10000; i++) {
        log_begin(&line, EVENT_ACCESS_DENIED);
        log_end(the_log, &line);
    }
    log_begin(&line, EVENT_LISTENING); /* another event has a rate of its own */
    log_end(the_log, &line);
    log_set_clock(the_log, 1790000060123456789ull);
    log_begin(&line, EVENT_ACCESS_DENIED);
    log_end(the_log, &line);
    const char *text = all_written();
    uint32_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    char suppressed[64];
    snprintf(suppressed, sizeof suppressed, "event=access_denied suppressed=%u\n", 10000 - allowed);
    cr_expect_eq(lines, allowed + 2);
    cr_expect(strstr(text, suppressed), "%.200s", text + strlen(text) - 200);
    cr_expect_eq(log_event_count(the_log, EVENT_ACCESS_DENIED), 10001);
}

/* Names are how alarms find events: unique, and found again. */
Test(log, event_names_are_unique_and_found)
{
    for (int event = 0; event < EVENT_COUNT; event++) {
        const char *name = event_name((enum event)event);
        cr_assert_not_null(name, "event %d has no row", event);
        cr_expect_gt(strlen(event_meaning((enum event)event)), 10, "%s", name);
        cr_expect_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name), "%s", name);
        cr_expect_eq(event_by_name(name, EVENT_COUNT), (enum event)event, "%s", name);
    }
    cr_expect_eq(event_by_name("no_such_event", EVENT_NODE), EVENT_NODE);
    cr_expect_eq(log_level_by_name("warning"), LOG_LEVEL_WARNING);
    cr_expect_eq(log_level_by_name("Warning"), LOG_LEVEL_COUNT);
}

/* Every event that the node reports has words for its numbers: node.h has them as a and b. */
Test(log, numbers_of_the_nodes_events_have_names)
{
    for (int event = EVENT_JOURNAL_TORN_TAIL_CUT; event <= EVENT_QUARANTINED; event++) {
        const char *first = event_number_name((enum event)event, 0);
        const char *second = event_number_name((enum event)event, 1);
        cr_expect(first || second, "%s", event_name((enum event)event));
        cr_expect(!first || strlen(first) > 1);
        cr_expect(!second || strlen(second) > 1);
    }
    cr_expect_str_eq(event_number_name(EVENT_DISK_LOW, 0), "free_bytes");
    cr_expect_null(event_number_name(EVENT_LISTENING, 0));
}

/* The operator's table lists every event with its level and the names of its numbers. */
Test(log, every_event_is_documented)
{
    static char text[64 * 1024];
    FILE *in = fopen(TALLY_SOURCE_ROOT "/docs/operations-node.md", "r");
    cr_assert_not_null(in);
    cr_assert_lt(fread(text, 1, sizeof text - 1, in), sizeof text - 1);
    cr_assert_eq(fclose(in), 0);
    for (int event = 0; event < EVENT_COUNT; event++) {
        if (event == EVENT_NODE || event == EVENT_GRPC)
            continue; /* explained below the table */
        char row[128];
        snprintf(row, sizeof row, "| `%s` | %s |", event_name((enum event)event),
                 log_level_name(event_level((enum event)event)));
        const char *found = strstr(text, row);
        cr_assert(found, "%s", row);
        const char *end = strchr(found, '\n');
        for (unsigned i = 0; i < EVENT_NUMBER_COUNT; i++) {
            const char *number = event_number_name((enum event)event, i);
            snprintf(row, sizeof row, "`%s`", number ? number : event_name((enum event)event));
            const char *at = strstr(found, row);
            cr_expect(at && at < end, "%s: %s", event_name((enum event)event), row);
        }
    }
}
