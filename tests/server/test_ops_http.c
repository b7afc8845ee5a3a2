/* Probes, metrics and status over real sockets: a client in a thread, the server on a loop here. */
#include "fake_node.h"
#include "server/ops_http.h"
#include "server/probe_cluster.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uv_loop_t loop;
static uv_async_t done;
static struct ops_http *http;
static uint16_t port;
static struct log *the_log;
static struct metrics *metrics;
static struct node node;
static struct probe probe;

static void done_cb(uv_async_t *handle)
{
    uv_stop(handle->loop);
}

static void setup(void)
{
    struct config_address address = {.host = "127.0.0.1", .port = 0};
    struct ops_error error;
    the_log = log_create(STDERR_FILENO, LOG_LEVEL_COUNT);
    metrics = metrics_create();
    fake_node_init(&node);
    probe = (struct probe){.log = the_log, .metrics = metrics, .started_ns = uv_hrtime()};
    cr_assert_eq(uv_loop_init(&loop), 0);
    cr_assert_eq(uv_async_init(&loop, &done, done_cb), 0);
    cr_assert_eq(ops_http_start(&loop, &address, &probe, the_log, &http, &port, &error), STATUS_OK,
                 "%s", error.text);
}

static void teardown(void)
{
    ops_http_stop(http);
    uv_close((uv_handle_t *)&done, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
    fake_node_deinit(&node);
    metrics_destroy(metrics);
    log_destroy(the_log);
}

TestSuite(ops_http, .init = setup, .fini = teardown, .timeout = 30);

struct exchange {
    const char *request;
    char answer[256 * 1024];
    int status;
    const char *body;
};

static int connect_to(uint16_t to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(to)};
    struct timeval limit = {.tv_sec = 20};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void *client(void *argument)
{
    struct exchange *exchange = argument;
    size_t size = 0;
    ssize_t got = 0;
    int fd = connect_to(port);
    size_t length = strlen(exchange->request);
    if (fd >= 0 && send(fd, exchange->request, length, MSG_NOSIGNAL) == (ssize_t)length)
        while ((got = read(fd, exchange->answer + size, sizeof exchange->answer - 1 - size)) > 0)
            size += (size_t)got;
    exchange->answer[size] = '\0';
    close(fd);
    uv_async_send(&done);
    return NULL;
}

/* Sends the bytes and reads until the server closes. */
static struct exchange *exchange(const char *request)
{
    static struct exchange it;
    pthread_t thread;
    memset(&it, 0, sizeof it);
    it.request = request;
    cr_assert_eq(pthread_create(&thread, NULL, client, &it), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    if (sscanf(it.answer, "HTTP/1.1 %d", &it.status) != 1)
        it.status = 0;
    char *end = strstr(it.answer, "\r\n\r\n");
    it.body = end ? end + 4 : "";
    return &it;
}

static struct exchange *get(const char *path)
{
    char request[256];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             path);
    return exchange(request);
}

/* Alive at once; not ready while files are opened, with the reason. */
Test(ops_http, alive_is_not_ready)
{
    cr_expect_eq(get("/livez")->status, 200);
    struct exchange *ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect_str_eq(ready->body, "node: opening journal and store\n");
    cr_expect_eq(get("/metrics")->status, 200);
    cr_expect_eq(get("/status")->status, 200);
}

/* A replay tells how far it is; serving is ready; read-only is ready with a remark; stopping not.
 */
Test(ops_http, readiness_has_reasons)
{
    probe.node = &node;
    node.phase = NODE_REPLAYING;
    node.shown.replay_first = 101;
    node.shown.replay_last = 300;
    node.shown.applied_index = 190;
    struct exchange *ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect_str_eq(ready->body, "node: replaying 45 % (entry 190 of 101 to 300)\n");
    node.phase = NODE_SERVING;
    ready = get("/readyz");
    cr_expect_eq(ready->status, 200);
    cr_expect_str_eq(ready->body, "ok\n");
    node.shown.read_only = true;
    strcpy(node.shown.read_only_reason, "12 MiB are free");
    ready = get("/readyz?verbose");
    cr_expect_eq(ready->status, 200);
    cr_expect_str_eq(ready->body, "[+] process ok\n[+] node ok\n[+] leader ok\n"
                                  "[+] writes: writes are refused: 12 MiB are free\n"
                                  "[+] site ok\nok\n");
    node.drained = "site A is drained; ask node 2";
    ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect_str_eq(ready->body, "site: site A is drained; ask node 2\n");
    node.drained = NULL;
    probe.stopping = true;
    ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect(strstr(ready->body, "process: stopping"), "%s", ready->body);
    probe.stopping = false;
    node.phase = NODE_FAILED;
    strcpy(node.shown.error.text, "the disk said no");
    ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect(strstr(ready->body, "the disk said no"), "%s", ready->body);
}

/* An election is no reason to be taken out of service; longer without a leader is. */
Test(ops_http, readiness_needs_a_leader_now_and_then)
{
    probe.node = &node;
    node.cluster.consensus.leads = false;
    node.cluster.consensus.leader_id = 2;
    cr_expect_eq(get("/readyz")->status, 200, "it follows");
    node.cluster.consensus.leader_id = 0;
    node.cluster.consensus.heard_ns = uv_hrtime();
    cr_expect_eq(get("/readyz")->status, 200, "an election");
    node.cluster.consensus.heard_ns = uv_hrtime() - 60000000000ull;
    node.cluster.peer_count = 3;
    struct exchange *ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect(strstr(ready->body, "no leader was heard for 6"), "%s", ready->body);
    node.cluster.consensus.heard_ns = 0;
    node.cluster.peer_count = 0;
    ready = get("/readyz");
    cr_expect_eq(ready->status, 503);
    cr_expect(strstr(ready->body, "tally member add"), "%s", ready->body);
}

/* The witness has no state: everything else is told all the same. */
Test(ops_http, witness_tells_all_but_the_state)
{
    probe.node = &node;
    node.witness = true;
    node.shown.kind = MEMBER_WITNESS;
    strcpy(node.shown.site, "W");
    struct exchange *status = get("/status");
    json_t *root = json_loads(status->body, 0, NULL);
    cr_assert_not_null(root, "%s", status->body);
    cr_expect_str_eq(json_string_value(json_object_get(root, "kind")), "witness");
    cr_expect_str_eq(json_string_value(json_object_get(root, "site")), "W");
    cr_expect_null(json_object_get(root, "count"));
    cr_expect(json_is_true(json_object_get(root, "ready")));
    json_decref(root);
    struct exchange *page = get("/metrics");
    cr_expect(strstr(page->body, "tally_witness 1\n"));
    cr_expect_null(strstr(page->body, "tally_accounts"));
}

/* Three voters at three sites: each may be lost while the other two are linked. The leader knows
 * how far each is, a follower does not and says nothing rather than 0. */
Test(ops_http, cluster_is_told_as_this_node_sees_it)
{
    struct node_cluster *cluster = &node.cluster;
    static const char *const sites[] = {"A", "B", "W"};
    cluster->peer_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        cluster->peers[i] = (struct consensus_peer){
            .member = {.node_id = 6 + i, .kind = i == 2 ? MEMBER_WITNESS : MEMBER_DATA},
            .vote = CONSENSUS_VOTER,
            .match_index = 90,
            .linked = i != 1,
            .heard_ns = i == 0 ? uv_hrtime() : 0,
            .clock_known = i == 0,
            .clock_offset_ns = -1500000};
        strcpy(cluster->peers[i].member.site, sites[i]);
        strcpy(cluster->peers[i].member.address, "a.bank:7402");
    }
    cluster->rule = "site";
    struct consensus_durability *durability = &cluster->durability;
    *durability =
        (struct consensus_durability){.in_force = true, .both_index = 95, .site_count = 3};
    durability_entry_default(&durability->committed);
    durability->newest = durability->committed;
    for (uint32_t i = 0; i < 3; i++) {
        durability->sites[i] = (struct consensus_site){.has_data = i != 2,
                                                       .known = true,
                                                       .verified_index = 100 - 5 * i,
                                                       .survives_loss = true};
        strcpy(durability->sites[i].name, sites[i]);
    }
    cluster->catch_up[0] = (struct node_peer_catch_up){.active = true, .bytes_done = 5};
    cluster->consensus.commit_index = 100;
    node.shown.synced_index = 101;
    probe.node = &node; /* node 7, at site B */
    json_t *root = json_loads(get("/status")->body, 0, NULL);
    cr_assert_not_null(root);
    cr_expect_str_eq(json_string_value(json_object_get(root, "rule")), "site");
    cr_expect_str_eq(json_string_value(json_object_get(root, "mode")), "sync");
    cr_expect_eq(json_integer_value(json_object_get(root, "both")), 95);
    cr_expect(json_is_null(json_object_get(root, "durability_entry")));
    cr_expect_str_eq(
        json_string_value(json_object_get(json_object_get(root, "policy"), "decision")), "auto");
    json_t *site = json_array_get(json_object_get(root, "sites"), 1);
    cr_expect_eq(json_integer_value(json_object_get(site, "lag")), 5);
    cr_expect(
        json_is_null(json_object_get(json_array_get(json_object_get(root, "sites"), 2), "lag")));
    cr_expect_str_eq(json_string_value(json_object_get(root, "change_step")), "");
    json_t *members = json_object_get(root, "members"), *first = json_array_get(members, 0);
    cr_assert_eq(json_array_size(members), 3);
    cr_expect_eq(json_integer_value(json_object_get(first, "node")), 6);
    cr_expect_eq(json_integer_value(json_object_get(first, "match_index")), 90);
    cr_expect_eq(json_integer_value(json_object_get(first, "lag")), 10);
    cr_expect_eq(json_integer_value(json_object_get(first, "clock_offset_ns")), -1500000);
    cr_expect_eq(
        json_integer_value(json_object_get(json_object_get(first, "catch_up"), "bytes_done")), 5);
    json_t *self = json_array_get(members, 1);
    cr_expect(json_is_true(json_object_get(self, "self")));
    cr_expect(json_is_true(json_object_get(self, "linked")));
    cr_expect_eq(json_integer_value(json_object_get(self, "match_index")), 101);
    cr_expect_eq(json_integer_value(json_object_get(self, "lag")), 0);
    cr_expect(json_is_null(json_object_get(json_array_get(members, 2), "heard_ms")));
    json_t *losses = json_object_get(root, "survives_loss");
    cr_expect(json_is_true(json_object_get(losses, "A")));
    cr_expect(json_is_true(json_object_get(losses, "W")));
    json_decref(root);
    struct exchange *page = get("/metrics");
    cr_expect(strstr(page->body, "tally_survives_loss{site=\"B\"} 1\n"), "%s", page->body);
    cr_expect(strstr(page->body, "tally_peer_lag_entries{peer=\"6\",site=\"A\"} 10\n"));
    cr_expect(strstr(page->body, "tally_peer_clock_offset_seconds{peer=\"6\",site=\"A\"} -0.0015"));
    cr_expect_null(strstr(page->body, "tally_peer_linked{peer=\"7\""), "not of itself");

    cr_expect(strstr(page->body, "tally_site_lag_entries{site=\"B\"} 5\n"));
    cr_expect(strstr(page->body, "tally_degraded 0\n"));

    cluster->peers[2].linked = false;
    cluster->consensus.leads = false;
    durability->newest = (struct durability_entry){.kind = DURABILITY_DEGRADE,
                                                   .mode = DURABILITY_DEGRADED,
                                                   .number = 3,
                                                   .site = "B",
                                                   .who = "policy",
                                                   .why = "silence"};
    for (uint32_t i = 0; i < 3; i++)
        durability->sites[i].known = false;
    for (uint32_t i = 0; i < 2; i++) {
        durability->sites[i].survives_loss = false;
        strcpy(durability->sites[i].why_not, "7 would be alone");
    }
    root = json_loads(get("/status")->body, 0, NULL);
    cr_assert_not_null(root);
    losses = json_object_get(root, "survives_loss");
    cr_expect(json_is_false(json_object_get(losses, "A")), "7 would be alone");
    cr_expect(json_is_false(json_object_get(losses, "B")));
    cr_expect(json_is_true(json_object_get(losses, "W")));
    first = json_array_get(json_object_get(root, "members"), 0);
    cr_expect(json_is_null(json_object_get(first, "lag")));
    cr_expect_str_eq(json_string_value(json_object_get(root, "mode")), "degraded");
    json_t *entry = json_object_get(root, "durability_entry");
    cr_expect_str_eq(json_string_value(json_object_get(entry, "why")), "silence");
    site = json_array_get(json_object_get(root, "sites"), 1);
    cr_expect(json_is_null(json_object_get(site, "lag")), "a follower does not know");
    cr_expect_str_eq(json_string_value(json_object_get(site, "reason")), "7 would be alone");
    json_decref(root);
    page = get("/metrics");
    cr_expect(strstr(page->body, "tally_degraded 1\n"));
    cr_expect(strstr(page->body, "tally_durability_number 3\n"));
    cr_expect(strstr(page->body, "tally_survives_loss{site=\"A\"} 0\n"));
    cr_expect_null(strstr(page->body, "tally_peer_lag_entries{"));
}

/* Every lane by itself, and only of one that is down the reason. */
Test(ops_http, links_say_why_they_are_down)
{
    struct peers_status link = {.node_id = 2, .address = "b.bank:7402"};
    link.lanes[TRANSPORT_RAFT] =
        (struct peers_lane_status){.up = true, .since_ns = 1, .up_count = 3};
    strcpy(link.lanes[TRANSPORT_BULK].why_down, "connection refused");
    json_t *root = json_object();
    probe_links_json(root, &link, 1, 5000001);
    json_t *first = json_array_get(json_object_get(root, "links"), 0);
    json_t *raft = json_object_get(first, "raft"), *bulk = json_object_get(first, "bulk");
    cr_expect_eq(json_integer_value(json_object_get(first, "node")), 2);
    cr_expect(json_is_true(json_object_get(raft, "up")));
    cr_expect_eq(json_integer_value(json_object_get(raft, "since_ms")), 5);
    cr_expect_eq(json_integer_value(json_object_get(raft, "times_up")), 3);
    cr_expect_null(json_object_get(raft, "why_down"));
    cr_expect(json_is_false(json_object_get(bulk, "up")));
    cr_expect_str_eq(json_string_value(json_object_get(bulk, "why_down")), "connection refused");
    json_decref(root);
}

/* An empty journal behind the checkpoint must not divide by zero; when all of it is applied the
 * node still waits to hear that this is recent. A node that is to join has nothing to replay. */
Test(ops_http, replay_percentage_at_its_ends)
{
    static const struct {
        uint64_t first, last, applied;
        const char *shown;
    } rows[] = {
        {5, 4, 4, "waiting for a leader"}, {5, 5, 4, "replaying 0 %"},
        {5, 5, 5, "waiting for a leader"}, {1, 3, 2, "replaying 66 %"},
        {1, 1000, 999, "replaying 99 %"},  {1, 0, 0, "waiting for a leader"},
    };
    probe.node = &node;
    node.phase = NODE_REPLAYING;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        node.shown.replay_first = rows[i].first;
        node.shown.replay_last = rows[i].last;
        node.shown.applied_index = rows[i].applied;
        struct exchange *ready = get("/readyz");
        cr_expect(strstr(ready->body, rows[i].shown), "row %zu: %s", i, ready->body);
    }
}

Test(ops_http, status_is_json)
{
    probe.node = &node;
    struct exchange *status = get("/status");
    json_error_t error;
    json_t *root = json_loads(status->body, 0, &error);
    cr_assert_not_null(root, "%s", error.text);
    cr_expect_str_eq(json_string_value(json_object_get(root, "phase")), "serving");
    cr_expect(json_is_true(json_object_get(root, "ready")));
    cr_expect_eq(json_integer_value(json_object_get(root, "node")), 7);
    json_t *count = json_object_get(root, "count");
    cr_expect_eq(json_integer_value(json_object_get(count, "principals")), TEST_PRINCIPAL_COUNT);
    json_decref(root);
}

Test(ops_http, metrics_name_their_type)
{
    probe.node = &node;
    log_set_clock(the_log, 1);
    struct exchange *metrics_page = get("/metrics");
    cr_expect(strstr(metrics_page->answer, "Content-Type: text/plain; version=0.0.4"));
    cr_expect(strstr(metrics_page->body, "# TYPE tally_ready gauge\ntally_ready 1\n"));
    cr_expect(strstr(metrics_page->body, "tally_events_total{event=\"starting\"} 0\n"));
}

/* HEAD has headers and no body; other methods and paths are refused, bodies and all. */
Test(ops_http, only_get_and_head_of_known_paths)
{
    struct exchange *head =
        exchange("HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    cr_expect_eq(head->status, 200);
    cr_expect_str_eq(head->body, "");
    cr_expect(strstr(head->answer, "Content-Length: 3"), "%s", head->answer);
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS"};
    for (int i = 0; i < 4; i++) {
        char request[256];
        snprintf(request, sizeof request,
                 "%s /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
                 "hello",
                 methods[i]);
        struct exchange *refused = exchange(request);
        cr_expect_eq(refused->status, 405, "%s", methods[i]);
        cr_expect(strstr(refused->answer, "Allow: GET, HEAD"), "%s", refused->answer);
    }
    cr_expect_eq(get("/")->status, 404);
    cr_expect_eq(get("/livez/")->status, 404);
    cr_expect_eq(get("/../etc/passwd")->status, 404);
}

/* Nonsense and endless headers end in an error or a closed connection, and the server lives on. */
Test(ops_http, nonsense_is_survived)
{
    char *large = malloc(64 * 1024);
    memset(large, 'a', 64 * 1024 - 1);
    memcpy(large, "GET /livez HTTP/1.1\r\nX: ", 24);
    large[64 * 1024 - 1] = '\0';
    (void)exchange(large);
    free(large);
    (void)exchange("\x16\x03\x01\x02\r\n\r\n");
    cr_expect_eq(get("/livez")->status, 200);
}

Test(ops_http, taken_port_is_told)
{
    struct config_address address = {.host = "127.0.0.1", .port = port};
    struct ops_http *second;
    struct ops_error error;
    uint16_t second_port;
    cr_expect_eq(ops_http_start(&loop, &address, &probe, the_log, &second, &second_port, &error),
                 STATUS_UNAVAILABLE);
    cr_expect(strstr(error.text, "listen.ops"), "%s", error.text);
    cr_expect(strstr(error.text, "in use"), "%s", error.text);
}
