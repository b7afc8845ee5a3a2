/* What somebody reads who is woken at night: the first lines say what is wrong. */
#include "client/cli/status_text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define NOW_NS 1795316760000000000ull

static char *printed(const char *json)
{
    char *text = NULL;
    size_t size = 0;
    json_error_t error;
    json_t *document = json_loads(json, 0, &error);
    cr_assert_not_null(document, "%s", error.text);
    FILE *out = open_memstream(&text, &size);
    cr_assert_not_null(out);
    status_text_print(document, NOW_NS, out);
    cr_assert_eq(fclose(out), 0);
    json_decref(document);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    cr_assert_not_null(strstr(text, part), "\"%s\" is missing in:\n%s", part, text);
}

Test(status_text, bytes_and_durations_have_units)
{
    static const struct {
        uint64_t value;
        const char *bytes;
    } sizes[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1.0 KiB"},
                 {64 << 20, "64.0 MiB"},
                 {UINT64_MAX, "16.0 EiB"}};
    static const struct {
        uint64_t value;
        const char *duration;
    } times[] = {{0, "0 s"},
                 {5773240, "5.8 ms"},
                 {12000000000ull, "12.0 s"},
                 {200000000000ull, "3 min 20 s"},
                 {7500000000000ull, "2 h 5 min"},
                 {792000000000000ull, "9 d 4 h"}};
    char text[STATUS_TEXT_SIZE];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        cr_assert_str_eq(status_text_bytes(sizes[i].value, text), sizes[i].bytes);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        cr_assert_str_eq(status_text_duration(times[i].value, text), times[i].duration);
}

/* A node that is well: no section of what is wrong, ages against our clock, units everywhere. */
Test(status_text, a_healthy_node_has_nothing_to_attend_to)
{
    char *text = printed("{\"version\": \"0.1.0\", \"pid\": 7, \"uptime_ms\": 200000,"
                         " \"phase\": \"serving\", \"ready\": true, \"node\": 1,"
                         " \"role\": \"leader\", \"term\": 2, \"epoch\": 1,"
                         " \"stamp_ns\": 1795316748000000000, \"clock_behind_ns\": 0,"
                         " \"read_only\": false, \"read_only_reason\": \"\","
                         " \"free_bytes\": 1073741824,"
                         " \"index\": {\"last\": 42, \"synced\": 42, \"commit\": 42,"
                         " \"applied\": 42, \"durable\": 31},"
                         " \"journal\": {\"first_index\": 1, \"segments\": 1,"
                         " \"bytes\": 134217728},"
                         " \"checkpoint\": {\"epochs\": 0},"
                         " \"count\": {\"transfers\": 22}, \"load\": {\"connections\": 3}}");
    cr_assert_eq(strncmp(text, "node 1 is serving and takes requests\n", 37), 0, "%s", text);
    cr_assert_null(strstr(text, "needs attention"), "%s", text);
    assert_contains(text, "up 3 min 20 s");
    assert_contains(text, "12.0 s ago");
    assert_contains(text, "11 to replay after a crash");
    assert_contains(text, "128.0 MiB on disk");
    assert_contains(text, "none since start");
    assert_contains(text, "1.0 GiB");
    assert_contains(text, "3 connections");
    free(text);
}

/* Each fault with the words that must be there, and before any group of numbers. */
Test(status_text, what_is_wrong_comes_first)
{
    static const struct {
        const char *json;
        const char *first, *words;
    } rows[] = {
        {"{\"phase\": \"serving\", \"ready\": true, \"node\": 1, \"mode\": \"degraded\","
         " \"durability_entry\": {\"site\": \"B\", \"why\": \"silence\", \"who\": \"policy\"}}",
         "node 1 is serving and takes requests", "DEGRADED, without site B: silence, by policy"},
        {"{\"phase\": \"serving\", \"ready\": true, \"node\": 1, \"mode\": \"sync\","
         " \"held_up\": \"site B is silent\"}",
         "node 1 is serving and takes requests", "THE POLICY ABOUT THE SITES: site B is silent"},
        {"{\"phase\": \"serving\", \"ready\": true, \"node\": 1, \"read_only\": true,"
         " \"read_only_reason\": \"free disk space\"}",
         "node 1 is serving and takes reads only\n",
         "READ-ONLY, writes are refused: free disk space"},
        {"{\"phase\": \"replaying\", \"ready\": false, \"node\": 1, \"index\": {\"applied\": 45},"
         " \"replay\": {\"first\": 1, \"last\": 100, \"percent\": 45}}",
         "node 1 is replaying and does NOT take requests\n", "45 %, entry 45 of 1 to 100"},
        {"{\"phase\": \"serving\", \"ready\": true, \"node\": 1,"
         " \"index\": {\"commit\": 500, \"applied\": 100}}",
         "node 1 is serving and takes requests\n", "BEHIND: 400 agreed entries"},
        {"{\"phase\": \"serving\", \"ready\": true, \"node\": 1, \"clock_behind_ns\": 3200000000}",
         "node 1 is serving and takes requests\n", "3.2 s ahead of the node's clock"},
        {"{\"phase\": \"failed\", \"ready\": false, \"node\": 1, \"error\": \"disk sda\"}",
         "node 1 is failed and does NOT take requests\n", "the node has failed: disk sda"},
        {"{\"phase\": \"draining\", \"ready\": false, \"node\": 1}",
         "node 1 is draining and does NOT take requests\n", "not ready: draining"},
        {"{\"phase\": \"serving\", \"ready\": false, \"node\": 1}",
         "node 1 is serving and does NOT take requests\n", "not ready: stopping"},
        {"{\"phase\": \"opening\", \"ready\": false, \"version\": \"0.1.0\"}",
         "the node is opening and does NOT take requests\n", "not ready: opening"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = printed(rows[i].json);
        cr_assert_eq(strncmp(text, rows[i].first, strlen(rows[i].first)), 0, "row %zu:\n%s", i,
                     text);
        assert_contains(text, "needs attention");
        assert_contains(text, rows[i].words);
        cr_assert_lt((void *)strstr(text, rows[i].words), (void *)strstr(text, "\nnode\n"));
        free(text);
    }
}

/* A document of another version, or of no object at all, is printed as far as it is known. */
Test(status_text, what_is_missing_is_left_out)
{
    char *text = printed("{}");
    assert_contains(text, "does NOT take requests");
    free(text);
    text = printed("[]");
    assert_contains(text, "does NOT take requests");
    free(text);
}

/* One of a cluster: who the others are, in a line each; alone there is no such group. */
Test(status_text, a_node_of_a_cluster_names_the_others)
{
    char *text =
        printed("{\"phase\": \"serving\", \"ready\": true, \"node\": 2, \"leader\": 1,"
                " \"index\": {}, \"members\": ["
                "{\"node\": 1, \"site\": \"A\", \"kind\": \"data\", \"vote\": \"voter\","
                " \"linked\": true, \"lag\": null},"
                "{\"node\": 2, \"site\": \"B\", \"kind\": \"data\", \"vote\": \"voter\","
                " \"linked\": true, \"self\": true, \"lag\": 7},"
                "{\"node\": 3, \"site\": \"W\", \"kind\": \"witness\", \"vote\": \"voter\","
                " \"linked\": false}]}");
    assert_contains(text, "node 1         site A, data, voter, leads\n");
    assert_contains(text, "node 2         site B, data, voter, this one, 7 entries behind\n");
    assert_contains(text, "node 3         site W, witness, voter, NOT LINKED\n");
    free(text);
    text = printed("{\"phase\": \"serving\", \"ready\": true, \"node\": 2, \"index\": {},"
                   " \"members\": [{\"node\": 2}]}");
    cr_assert_null(strstr(text, "members"), "%s", text);
    free(text);
}
