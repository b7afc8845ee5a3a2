/* The cluster put together from its nodes' documents: what is wrong, and that nothing is invented.
 */
#include "client/cli/cluster_text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER(id, site, kind, linked, match, lag)                                                 \
    "{\"node\": " id ", \"site\": \"" site "\", \"kind\": \"" kind "\", \"vote\": \"voter\","      \
    " \"linked\": " linked ", \"match_index\": " match ", \"lag\": " lag                           \
    ", \"clock_offset_ns\": 1500000, \"heard_ms\": 12, \"self\": false}"
#define MEMBERS                                                                                    \
    "\"members\": [" MEMBER("1", "A", "data", "true", "100", "0") ", " MEMBER(                     \
        "2", "B", "data", "true", "98", "2") ", " MEMBER("3", "W", "witness", "true", "97",        \
                                                         "3") "]"
#define SITE(name, lag, survives, reason)                                                          \
    "{\"site\": \"" name "\", \"lag\": " lag ", \"survives_loss\": " survives                      \
    ", \"reason\": \"" reason "\"}"
#define SURVIVES                                                                                   \
    "\"mode\": \"sync\", \"number\": 0, \"both\": 98, \"policy\": {\"decision\": \"auto\"},"       \
    " \"sites\": [" SITE("A", "0", "true", "") ", " SITE("B", "2", "true", "") ", " SITE(          \
        "W", "null", "true", "") "]"
#define COMMON                                                                                     \
    "\"cluster\": \"c1\", \"phase\": \"serving\", \"ready\": true, \"kind\": \"data\","            \
    " \"rule\": \"site\", \"term\": 4, \"leader\": 1, " MEMBERS ", " SURVIVES
#define LEADER                                                                                     \
    "{" COMMON                                                                                     \
    ", \"node\": 1, \"role\": \"leader\", \"leads\": true, \"index\": {\"synced\": 100,"           \
    " \"commit\": 100, \"applied\": 100, \"durable\": 90},"                                        \
    " \"digest\": \"dd\", \"digest_at\": {\"index\": 64, \"digest\": \"d64\"}}"
#define FOLLOWER(digest, mark)                                                                     \
    "{" COMMON ", \"node\": 2, \"role\": \"follower\", \"leads\": false, \"index\": {\"synced\":"  \
    " 98, \"commit\": 98, \"applied\": 98, \"durable\": 60},"                                      \
    " \"digest\": \"" digest "\", \"digest_at\": {\"index\": 64, \"digest\": \"" mark "\"}}"

static struct cluster_answer answers[4];
static size_t count;

static void answer(const char *server, const char *json)
{
    json_error_t error;
    answers[count] = (struct cluster_answer){.server = server};
    if (json[0] == '{') {
        answers[count].document = json_loads(json, 0, &error);
        cr_assert_not_null(answers[count].document, "%s: %s", error.text, json);
    } else {
        strcpy(answers[count].error, json);
    }
    count++;
}

static void forget(void)
{
    for (size_t i = 0; i < count; i++)
        json_decref(answers[i].document);
    count = 0;
}

static char *printed(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert_not_null(out);
    cluster_text_print(answers, count, out);
    cr_assert_eq(fclose(out), 0);
    return text;
}

static void assert_has(const char *text, const char *part)
{
    cr_assert_not_null(strstr(text, part), "\"%s\" is missing in:\n%s", part, text);
}

static void assert_lacks(const char *text, const char *part)
{
    cr_assert_null(strstr(text, part), "\"%s\" should not be in:\n%s", part, text);
}

/* Two data nodes answer, the witness is known from the leader: nothing to attend to, and what the
 * witness did not say itself is the leader's knowledge. */
Test(cluster_text, a_healthy_cluster_needs_no_attention)
{
    answer("a:1", FOLLOWER("other index", "d64"));
    answer("b:1", LEADER);
    char *text = printed();
    assert_has(text, "cluster c1: node 1 leads in term 4; 2 of 2 servers answered; rule=site");
    assert_has(text, "mode sync, policy auto, entry 0, both have 98");
    assert_has(text, "B        its loss would be survived; it lacks 2 entries");
    assert_lacks(text, "needs attention");
    assert_has(text, "leader");
    assert_has(text, "follower");
    assert_has(text, "(linked)");
    assert_has(text, "97");
    assert_has(text, "A        its loss would be survived");
    assert_lacks(text, "NOT ");
    assert_has(text, "index 64");
    free(text);
    forget();
}

/* A node that does not answer, one that is not linked, a site that must not be lost now. */
Test(cluster_text, silence_and_broken_links_come_first)
{
    answer("a:1", "connection refused");
    answer("b:1",
           "{"
           "\"cluster\": \"c1\", \"phase\": \"serving\", \"ready\": true, \"node\": 1,"
           " \"rule\": \"majority\", \"term\": 4, \"leader\": 1, \"role\": \"leader\","
           " \"leads\": true, \"index\": {\"commit\": 9, \"applied\": 9},"
           " \"members\": [" MEMBER("1", "A", "data", "true", "9", "0") ", " MEMBER(
               "2", "B", "data", "false", "5",
               "4") "],"
                    " \"mode\": \"degraded\", \"number\": 3, \"durability_entry\": {\"number\": 3, "
                    "\"site\": \"B\","
                    " \"who\": \"policy\", \"why\": \"silence\"}, \"degraded_bound\": \"60 s\","
                    " \"sites\": [" SITE("A", "0", "false", "4 entries are not at B") ", " SITE(
                        "B", "4", "true", "") ", " SITE("W", "null", "false",
                                                        "") "],"
                                                            " \"links\": [{\"node\": 2, \"raft\": "
                                                            "{\"up\": false, \"why_down\": "
                                                            "\"no route\"}}]}");
    char *text = printed();
    assert_has(text, "needs attention");
    assert_has(text, "a:1: connection refused");
    assert_has(text, "node 2 at site B is NOT LINKED to the leader: no route");
    assert_has(text, "the LOSS OF SITE A WOULD NOT BE SURVIVED now: 4 entries are not at B");
    assert_has(text, "DEGRADED since entry 3 (B)");
    assert_has(text, "silence, by policy");
    assert_has(text, "bound on running degraded is reached: 60 s");
    assert_lacks(text, "SITE B WOULD NOT");
    assert_has(text, "no answer");
    assert_has(text, "1 of 2 servers answered");
    free(text);
    forget();
}

/* The worst there is, found two ways: at the marks, and at the same applied index. */
Test(cluster_text, states_that_differ_are_told)
{
    answer("a:1", LEADER);
    answer("b:1", FOLLOWER("x", "other"));
    char *text = printed();
    assert_has(text, "nodes 1 and 2 DIFFER in their state");
    free(text);
    forget();
    answer("a:1", FOLLOWER("x", "d64"));
    json_t *twin = json_deep_copy(answers[0].document);
    json_object_set_new(twin, "node", json_integer(1));
    json_object_set_new(twin, "digest", json_string("y"));
    answers[count] = (struct cluster_answer){.server = "b:1", .document = twin};
    count++;
    text = printed();
    assert_has(text, "DIFFER");
    free(text);
    forget();
}

/* A member that was removed while it ran: it hears nobody and does not know why, the leader's table
 * does. A follower's table is no proof. */
Test(cluster_text, a_node_that_is_no_member_any_more_is_told_of)
{
    static const char removed[] =
        "{\"cluster\": \"c1\", \"node\": 9, \"term\": 4, \"leader\": 0, \"ready\": false,"
        " \"phase\": \"serving\", \"members\": []}";
    answer("a:1", removed);
    answer("b:1", LEADER);
    char *text = printed();
    assert_has(text, "node 9 runs and is NO MEMBER of the cluster");
    assert_lacks(text, "node 9 is not ready");
    assert_lacks(text, "node 1 runs and is NO MEMBER");
    free(text);
    forget();
    answer("a:1", removed);
    answer("b:1", FOLLOWER("x", "d64"));
    text = printed();
    assert_lacks(text, "NO MEMBER");
    free(text);
    forget();
}

Test(cluster_text, no_leader_and_too_many_leaders_are_told_apart)
{
    answer("a:1", "{\"cluster\": \"c1\", \"node\": 1, \"term\": 7, \"leader\": 0, \"ready\": false,"
                  " \"phase\": \"replaying\", \"members\": []}");
    char *text = printed();
    assert_has(text, "nobody leads");
    assert_has(text, "NOBODY LEADS");
    assert_has(text, "node 1 is not ready: replaying");
    free(text);
    forget();
    /* The leader's server was not asked: that is no alarm about the cluster. */
    answer("a:1", FOLLOWER("x", "d64"));
    text = printed();
    assert_lacks(text, "NOBODY");
    assert_has(text, "node 1, is not among the servers that answered");
    free(text);
    forget();
    /* One that was cut off believes in its old term; the newer one's word counts. */
    answer("a:1", "{\"cluster\": \"c1\", \"node\": 2, \"term\": 3, \"leader\": 2, \"leads\": true,"
                  " \"ready\": true, \"phase\": \"serving\", \"members\": []}");
    answer("b:1", LEADER);
    text = printed();
    assert_has(text, "node 1 leads in term 4");
    assert_has(text, "2 nodes say that they lead");
    free(text);
    forget();
}

Test(cluster_text, another_clusters_node_is_told)
{
    answer("a:1", LEADER);
    answer("b:1", "{\"cluster\": \"c2\", \"node\": 1, \"term\": 1, \"leads\": true, \"leader\": 1,"
                  " \"ready\": true, \"phase\": \"serving\", \"members\": []}");
    char *text = printed();
    assert_has(text, "b:1 belongs to ANOTHER CLUSTER, c2");
    free(text);
    forget();
}

/* Nothing at all came back. */
Test(cluster_text, silence_is_no_cluster)
{
    answer("a:1", "timed out");
    char *text = printed();
    assert_has(text, "none of 1 servers told about a cluster");
    assert_has(text, "a:1: timed out");
    free(text);
    json_t *json = cluster_json(answers, count);
    cr_assert_not_null(json);
    cr_expect_eq(json_array_size(json_object_get(json, "attention")), 1);
    json_decref(json);
    forget();
}

/* For programs: the nodes' documents as they came, and the same findings. */
Test(cluster_text, json_holds_the_documents_and_the_findings)
{
    answer("a:1", LEADER);
    answer("b:1", "no route");
    json_t *json = cluster_json(answers, count);
    cr_assert_not_null(json);
    cr_expect_str_eq(json_string_value(json_object_get(json, "cluster")), "c1");
    cr_expect_eq(json_integer_value(json_object_get(json, "leader")), 1);
    json_t *nodes = json_object_get(json, "nodes");
    cr_assert_eq(json_array_size(nodes), 2);
    cr_expect(json_equal(json_object_get(json_array_get(nodes, 0), "status"), answers[0].document));
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(nodes, 1), "error")),
                     "no route");
    cr_expect_eq(json_array_size(json_object_get(json, "attention")), 1);
    cr_expect_eq(json_array_size(json_object_get(json, "members")), 3);
    json_decref(json);
    forget();
}
