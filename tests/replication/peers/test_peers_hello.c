/* Pure: the judge's ladder as a table, and what hello and refusal decode. */
#include "replication/message.h"
#include "replication/peers/peers_hello.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(peers_hello, .timeout = 10);

/* Node 2 greets node 1, and all is well. */
struct scene {
    struct peers_hello hello;
    struct transport_self self;
    struct member member;
    struct peers_expectation expectation;
};

static void set_scene(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->hello = (struct peers_hello){.version = MESSAGE_PROTOCOL_VERSION,
                                        .cluster_epoch = 5,
                                        .node_id = 2,
                                        .process = 99,
                                        .to = 1,
                                        .kind = MEMBER_DATA,
                                        .lane = TRANSPORT_CALLS,
                                        .address = "b1:7001"};
    scene->self = (struct transport_self){.node_id = 1, .cluster_epoch = 5, .kind = MEMBER_DATA};
    scene->member = (struct member){.node_id = 2, .kind = MEMBER_DATA};
    memset(scene->hello.cluster_id, 0xc1, 16);
    memset(scene->self.cluster_id, 0xc1, 16);
    memset(scene->hello.incarnation, 0x22, 16);
    memset(scene->member.incarnation, 0x22, 16);
    scene->expectation = (struct peers_expectation){
        .self = &scene->self, .certificate_node = 2, .member = &scene->member};
}

static void version(struct scene *s)
{
    s->hello.version = 7;
}
static void certificate(struct scene *s)
{
    s->expectation.certificate_node = 3;
}
static void cluster(struct scene *s)
{
    s->hello.cluster_id[15] ^= 1;
}
static void older(struct scene *s)
{
    s->hello.cluster_epoch = 4;
}
static void newer(struct scene *s)
{
    s->hello.cluster_epoch = 6;
}
static void own_id(struct scene *s)
{
    s->hello.node_id = s->expectation.certificate_node = 1;
}
static void wrong_node(struct scene *s)
{
    s->hello.to = 4;
}
static void incarnation(struct scene *s)
{
    s->member.incarnation[0] ^= 1;
}
static void kind(struct scene *s)
{
    s->hello.kind = MEMBER_WITNESS;
}
static void two_processes(struct scene *s)
{
    s->expectation.process = 98;
}

/* Each row's fault is judged before those of the rows below: with a fault of a lower row added the
 * answer stays the same. */
static const struct rung {
    void (*fault)(struct scene *scene);
    enum peers_refusal refusal;
    const char *words;
} ladder[] = {
    {version, PEERS_REFUSED_VERSION, "version 7"},
    {certificate, PEERS_REFUSED_CERTIFICATE, "certificate is of node 3"},
    {cluster, PEERS_REFUSED_CLUSTER, "c1c0"},
    {older, PEERS_REFUSED_OLDER_EPOCH, "epoch 4"},
    {newer, PEERS_REFUSED_NEWER_EPOCH, "epoch 6"},
    {own_id, PEERS_REFUSED_OWN_ID, "two nodes"},
    {wrong_node, PEERS_REFUSED_WRONG_NODE, "reached node 1"},
    {incarnation, PEERS_REFUSED_INCARNATION, "2322"},
    {kind, PEERS_REFUSED_KIND, "witness"},
    {two_processes, PEERS_REFUSED_TWO_PROCESSES, "another process with the id of node 2"},
};
#define RUNGS (sizeof ladder / sizeof ladder[0])

Test(peers_hello, each_fault_has_its_refusal_and_its_place)
{
    struct net_error text = {.text = ""};
    for (size_t i = 0; i < RUNGS; i++) {
        for (size_t j = i; j < RUNGS; j++) {
            bool both_epochs = ladder[i].fault == older && ladder[j].fault == newer;
            bool both_ids = ladder[i].fault == certificate && ladder[j].fault == own_id;
            if (both_epochs || both_ids)
                continue; /* one field cannot be both */
            struct scene scene;
            set_scene(&scene);
            ladder[i].fault(&scene);
            if (j != i)
                ladder[j].fault(&scene);
            cr_assert_eq(peers_hello_judge(&scene.hello, &scene.expectation, &text),
                         ladder[i].refusal, "%zu and %zu: %s", i, j, text.text);
            cr_assert_not_null(strstr(text.text, ladder[i].words), "%s", text.text);
            cr_assert_lt(strlen(text.text), sizeof text.text - 1, "the words were cut");
        }
    }
}

Test(peers_hello, a_good_hello_is_accepted)
{
    struct scene scene;
    struct net_error text;
    set_scene(&scene);
    cr_assert_eq(peers_hello_judge(&scene.hello, &scene.expectation, &text), PEERS_ACCEPTED);
    scene.expectation.process = scene.hello.process;
    cr_assert_eq(peers_hello_judge(&scene.hello, &scene.expectation, &text), PEERS_ACCEPTED);
}

/* Whom the table does not name is asked for certificate, cluster, epoch and ids; the rest is taken
 * as it comes. */
Test(peers_hello, a_stranger_is_accepted_if_it_is_of_our_cluster)
{
    struct net_error text;
    for (size_t i = 0; i < RUNGS; i++) {
        struct scene scene;
        set_scene(&scene);
        scene.expectation.member = NULL;
        ladder[i].fault(&scene);
        bool by_table = ladder[i].fault == incarnation || ladder[i].fault == kind;
        cr_assert_eq(peers_hello_judge(&scene.hello, &scene.expectation, &text),
                     by_table ? PEERS_ACCEPTED : ladder[i].refusal, "row %zu", i);
    }
}

/* The longest numbers there are still leave the words whole. */
Test(peers_hello, words_fit)
{
    struct net_error text;
    for (size_t i = 0; i < RUNGS; i++) {
        struct scene scene;
        set_scene(&scene);
        scene.hello.node_id = scene.expectation.certificate_node = INT64_MAX - 1;
        scene.self.node_id = scene.hello.to = INT64_MAX;
        scene.self.cluster_epoch = scene.hello.cluster_epoch = UINT64_MAX - 10;
        ladder[i].fault(&scene);
        if (peers_hello_judge(&scene.hello, &scene.expectation, &text) == PEERS_ACCEPTED)
            continue;
        cr_assert_lt(strlen(text.text), sizeof text.text - 1, "row %zu: %s", i, text.text);
    }
}

Test(peers_hello, each_byte_of_a_hello_counts)
{
    struct scene scene;
    struct peers_hello decoded;
    struct net_error text;
    uint8_t record[PEERS_HELLO_SIZE], again[PEERS_HELLO_SIZE];
    set_scene(&scene);
    peers_hello_encode(&scene.hello, record);
    cr_assert_eq(peers_hello_decode(record, sizeof record, &decoded, &text), STATUS_OK);
    cr_assert_str_eq(decoded.address, "b1:7001");
    cr_assert_eq(decoded.lane, TRANSPORT_CALLS);
    for (size_t i = 0; i < sizeof record; i++) {
        record[i] ^= 0x80;
        if (peers_hello_decode(record, sizeof record, &decoded, &text) == STATUS_OK) {
            peers_hello_encode(&decoded, again);
            cr_assert_arr_eq(again, record, sizeof record, "byte %zu is not kept", i);
        }
        record[i] ^= 0x80;
    }
    for (size_t size = 0; size < sizeof record; size++)
        cr_assert_eq(peers_hello_decode(record, size, &decoded, &text), STATUS_INVALID);
}

Test(peers_hello, a_uri_names_a_node_in_one_way_only)
{
    static const struct {
        const char *uri;
        uint64_t node_id;
    } rows[] = {
        {"x:node/1", 1},
        {"x:node/9223372036854775807", INT64_MAX},
        {"x:node/9223372036854775808", 0},
        {"x:node/18446744073709551617", 0},
        {"x:node/0", 0},
        {"x:node/01", 0},
        {"x:node/", 0},
        {"x:node", 0},
        {"x:node/1 ", 0},
        {"x:node/+1", 0},
        {"x:node/1a", 0},
        {"y:node/1", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(peers_uri_node(rows[i].uri, "x:node/"), rows[i].node_id, "%s", rows[i].uri);
}

Test(peers_hello, a_refusal_is_read_as_it_was_written)
{
    uint8_t record[PEERS_REFUSAL_SIZE];
    char long_text[400], text[PEERS_REFUSAL_TEXT_SIZE];
    uint32_t refusal = 0;
    memset(long_text, 'w', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    peers_refusal_encode(PEERS_REFUSED_KIND, long_text, record);
    cr_assert_eq(peers_refusal_decode(record, sizeof record, &refusal, text), STATUS_OK);
    cr_assert_eq(refusal, PEERS_REFUSED_KIND);
    cr_assert_eq(strlen(text), PEERS_REFUSAL_TEXT_SIZE - 1);
    memset(record + 4, 0xff, 4); /* a size that does not fit: no words, but the number */
    cr_assert_eq(peers_refusal_decode(record, sizeof record, &refusal, text), STATUS_OK);
    cr_assert_str_eq(text, "");
    cr_assert_eq(peers_refusal_decode(record, sizeof record - 1, &refusal, text), STATUS_INVALID);
    for (int i = -1; i < PEERS_REFUSAL_END + 2; i++)
        cr_assert_not_null(peers_refusal_text((enum peers_refusal)i));
}
