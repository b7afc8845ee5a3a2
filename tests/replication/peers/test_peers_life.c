/* Nodes that stall, move, join, leave and get new certificates. */
#include "peers_rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_deinit(&rig);
}

TestSuite(peers_life, .init = setup, .fini = teardown, .timeout = 60);

static struct rig_node *node(uint64_t id)
{
    return rig_node(&rig, &(struct rig_node_options){.id = id});
}

static void two_nodes(struct rig_node **a, struct rig_node **b)
{
    *a = node(1);
    *b = node(2);
    rig_start_all(&rig);
    rig_wait(&rig, rig_all_up(*a, *b));
}

static struct peers_lane_status lane_of(const struct rig_node *node, uint32_t row,
                                        enum transport_lane lane)
{
    struct peers_status status[RIG_NODES_MAX];
    cr_assert_gt(peers_status(node->peers, status, RIG_NODES_MAX), row);
    return status[row].lanes[lane];
}

/* ---- silence ---- */

/* b stands still without closing anything, as a cut line or a stopped process looks like: the
 * others notice within about a second and a half, and find it again when it goes on. */
Test(peers_life, a_silent_peer_is_hung_up_on_and_found_again)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    rig_run_ms(&rig, 1600); /* idle, but alive */
    cr_assert_eq(a->down_count[2][TRANSPORT_RAFT], 0);
    b->is_running = false;
    uint64_t begun_ns = uv_hrtime();
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        rig_wait(&rig, a->down_count[2][l] == 1);
    uint64_t took_ms = (uv_hrtime() - begun_ns) / 1000000;
    cr_assert_geq(took_ms, 900, "%llu ms", (unsigned long long)took_ms);
    rig_expect_event(a, "peer_down", 2, TRANSPORT_RAFT, "was silent for");
    cr_assert_eq(rig_send_number(a, 2, TRANSPORT_RAFT, 1), STATUS_UNAVAILABLE);
    b->is_running = true;
    rig_wait(&rig, rig_all_up(a, b));
    cr_assert_eq(rig_send_number(a, 2, TRANSPORT_RAFT, 7), STATUS_OK);
    rig_wait(&rig, b->message_count == 1);
}

/* Both slept longer than the silence that ends a connection (a machine that was paused): nobody is
 * to blame, and nothing is torn down. */
Test(peers_life, our_own_sleep_is_not_the_peers_silence)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    a->ahead_ns = b->ahead_ns = 3000000000ull;
    rig_run_ms(&rig, 300);
    cr_assert(rig_all_up(a, b));
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        cr_assert_eq(a->down_count[2][l] + b->down_count[1][l], 0);
}

/* Somebody accepts connections at a member's address and never says a word. The node gives each up
 * after its time and tries again, and everything else goes on. */
Test(peers_life, an_address_that_never_answers_is_tried_again_and_again)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    cr_assert_eq(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 64), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    struct rig_node *a = node(1), *b = node(2);
    struct member members[3] = {rig_member(a), rig_member(b), {.node_id = 3, .site = "C"}};
    (void)snprintf(members[2].address, sizeof members[2].address, "127.0.0.1:%u",
                   ntohs(address.sin_port));
    rig_start(a);
    rig_members(a, members, 3);
    rig_start(b);
    rig_members(b, members, 3);
    rig_wait(&rig, rig_all_up(a, b));
    /* Two nodes, three lanes each: six attempts; a seventh is one that was made again. */
    int accepted[16];
    int count = 0;
    uint64_t until = uv_hrtime() + RIG_WAIT_MS * 1000000ull;
    while (count < 7) {
        cr_assert_lt(uv_hrtime(), until);
        rig_pump(&rig);
        int one = accept(fd, NULL, NULL);
        if (one >= 0)
            accepted[count++] = one;
    }
    cr_assert_not_null(strstr(lane_of(a, 1, TRANSPORT_RAFT).why_down, "within 1500 ms"));
    cr_assert(rig_all_up(a, b));
    for (int i = 0; i < count; i++)
        close(accepted[i]);
    close(fd);
}

/* ---- names and addresses ---- */

/* "127.1" is no address to us, and one that every machine's resolver knows: a minimal one has no
 * /etc/hosts, so no localhost. */
Test(peers_life, a_dns_name_is_looked_up)
{
    struct rig_node *a = node(1), *b = node(2);
    struct member members[2] = {rig_member(a), rig_member(b)};
    (void)snprintf(members[1].address, sizeof members[1].address, "127.1:%u", peers_port(b->peers));
    rig_start(a);
    rig_members(a, members, 2);
    rig_start(b);
    rig_members(b, members, 2);
    rig_wait(&rig, rig_all_up(a, b));
}

/* A name that does not exist is named as the reason; when the table gives another address, the node
 * dials that, and when it changes while connected, it moves. */
Test(peers_life, a_member_that_moves_is_dialled_at_its_new_address)
{
    struct rig_node *a = node(1), *b = node(2), *c = node(3);
    struct member members[2] = {rig_member(a), rig_member(b)};
    rig_start(a);
    rig_start(b);
    rig_members(b, members, 2);
    (void)snprintf(members[1].address, sizeof members[1].address, "nowhere.invalid:7001");
    rig_members(a, members, 2);
    rig_wait(&rig, strstr(lane_of(a, 0, TRANSPORT_RAFT).why_down, "host name nowhere.invalid"));
    members[1] = rig_member(b);
    rig_members(a, members, 2);
    rig_wait(&rig, rig_all_up(a, b));
    /* Its new address belongs to node 3, for the sake of seeing who is dialled. */
    (void)snprintf(members[1].address, sizeof members[1].address, "127.0.0.1:%u",
                   peers_port(c->peers));
    rig_start(c);
    rig_members(c, members, 2);
    rig_members(a, members, 2);
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        rig_wait(&rig, a->down_count[2][l] == 1);
    rig_expect_event(a, "peer_down", 2, TRANSPORT_RAFT, "its address has changed");
    rig_expect_event(c, "peer_refuses_us", 1, PEERS_REFUSED_CERTIFICATE, "node 1 dialled node 2");
    members[1] = rig_member(b);
    rig_members(a, members, 2);
    rig_wait(&rig, rig_all_up(a, b));
}

/* Node 2 does not find node 1, which is not its fault alone: the status says which half is missing.
 */
Test(peers_life, a_lane_that_is_half_up_says_so)
{
    struct rig_node *a = node(1), *b = node(2);
    struct member members[2] = {rig_member(a), rig_member(b)};
    rig_start(a);
    rig_members(a, members, 2);
    (void)snprintf(members[0].address, sizeof members[0].address, "nowhere.invalid:7001");
    rig_start(b);
    rig_members(b, members, 2);
    rig_wait(&rig, lane_of(a, 0, TRANSPORT_CALLS).dialled_up);
    struct peers_lane_status lane = lane_of(a, 0, TRANSPORT_CALLS);
    cr_assert(!lane.up && !lane.accepted_up);
    cr_assert_not_null(strstr(lane.why_down, "can it dial our address"), "%s", lane.why_down);
    cr_assert_eq(rig_send_number(a, 2, TRANSPORT_CALLS, 1), STATUS_UNAVAILABLE);
    cr_assert_eq(transport_room(a->transport, 2, TRANSPORT_CALLS), 0);
    rig_wait(&rig, lane_of(b, 0, TRANSPORT_CALLS).accepted_up);
    rig_wait(&rig, strstr(lane_of(b, 0, TRANSPORT_CALLS).why_down, "nowhere.invalid"));
    cr_assert_eq(a->up_count[2][TRANSPORT_CALLS] + b->up_count[1][TRANSPORT_CALLS], 0);
}

/* ---- members ---- */

/* The table of node 1 is old and does not name node 3, which names node 1: they talk, since node 3
 * may lead the cluster that node 1 has to catch up with. When the table comes, nothing breaks. */
Test(peers_life, a_node_that_the_table_does_not_name_is_answered)
{
    struct rig_node *a = node(1), *b = node(2), *c = node(3);
    struct member members[3] = {rig_member(a), rig_member(b), rig_member(c)};
    rig_start(a);
    rig_members(a, members, 2);
    rig_start(b);
    rig_members(b, members, 3);
    rig_start(c);
    rig_members(c, members, 3);
    rig_wait(&rig, rig_all_up(a, b) && rig_all_up(a, c) && rig_all_up(b, c));
    struct peers_status status[3];
    cr_assert_eq(peers_status(a->peers, status, 3), 2);
    cr_assert(!status[0].is_stranger && status[1].is_stranger);
    cr_assert_eq(rig_send_number(a, 3, TRANSPORT_RAFT, 1), STATUS_OK);
    cr_assert_eq(rig_send_number(c, 1, TRANSPORT_RAFT, 3), STATUS_OK);
    rig_wait(&rig, a->message_count == 1 && c->message_count == 1);
    rig_members(a, members, 3);
    rig_run_ms(&rig, 50);
    cr_assert_eq(peers_status(a->peers, status, 3), 2);
    cr_assert(!status[1].is_stranger);
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        cr_assert_eq(a->down_count[3][l] + c->down_count[1][l], 0);
}

/* A leader that removes itself must be heard until that is committed: whoever leaves the table
 * stays connected, as a stranger, and is forgotten once it has gone. */
Test(peers_life, a_removed_member_becomes_a_stranger)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    struct member members[2] = {rig_member(a), rig_member(b)};
    rig_members(a, members, 1);
    cr_assert_eq(rig_send_number(a, 2, TRANSPORT_RAFT, 1), STATUS_OK);
    rig_wait(&rig, b->message_count == 1);
    struct peers_status status;
    cr_assert_eq(peers_status(a->peers, &status, 1), 1);
    cr_assert(status.is_stranger);
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        cr_assert_eq(a->down_count[2][l] + b->down_count[1][l], 0);
    rig_stop(b);
    rig_wait(&rig, a->down_count[2][TRANSPORT_RAFT] == 1);
    a->ahead_ns = 11000000000ull;
    rig_wait(&rig, peers_status(a->peers, &status, 1) == 0);
    cr_assert_eq(rig_send_number(a, 2, TRANSPORT_RAFT, 1), STATUS_NOT_FOUND);
}

/* Removed and added again with another incarnation within one turn: the sink hears of the end. */
Test(peers_life, a_replaced_incarnation_is_another_node)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    struct member members[2] = {rig_member(a), rig_member(b)};
    members[1].incarnation[3] ^= 1;
    rig_members(a, members, 2);
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        rig_wait(&rig, a->down_count[2][l] == 1);
    rig_expect_event(b, "peer_refuses_us", 1, PEERS_REFUSED_INCARNATION,
                     "the member table of node 1");
    members[1] = rig_member(b);
    rig_members(a, members, 2);
    rig_wait(&rig, rig_all_up(a, b));
    cr_assert_eq(a->up_count[2][TRANSPORT_RAFT], 2);
}

/* Tables that change faster than the loop turns do not run out of rows. */
Test(peers_life, many_tables_in_one_turn)
{
    struct rig_node *a = node(1);
    struct member members[MEMBERS_MAX];
    memset(members, 0, sizeof members);
    rig_start(a);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
            members[i].node_id = 100 + round * MEMBERS_MAX + i;
            (void)snprintf(members[i].address, sizeof members[i].address, "localhost:9");
        }
        rig_members(a, members, MEMBERS_MAX);
        struct peers_status status[2 * MEMBERS_MAX];
        uint32_t count = peers_status(a->peers, status, 2 * MEMBERS_MAX), known = 0;
        for (uint32_t i = 0; i < count; i++)
            known += !status[i].is_stranger;
        cr_assert_eq(known, MEMBERS_MAX);
        cr_assert_leq(count, 2 * MEMBERS_MAX);
        if (round % 4 == 0)
            rig_pump(&rig);
    }
}

/* A node that was never added knows nobody: it lets in whoever shows a good certificate and our
 * cluster id, answers at the address it is told, and goes on without a break when it gets a table.
 */
Test(peers_life, a_joiner_answers_whoever_dials_it)
{
    struct rig_node *a = node(1), *c = node(3);
    struct member members[2] = {rig_member(a), rig_member(c)};
    rig_start(c);
    rig_members(c, NULL, 0);
    rig_start(a);
    rig_members(a, members, 2);
    rig_wait(&rig, rig_all_up(a, c));
    cr_assert_eq(rig_send_number(a, 3, TRANSPORT_CALLS, 31), STATUS_OK);
    cr_assert_eq(rig_send_number(c, 1, TRANSPORT_CALLS, 13), STATUS_OK);
    rig_wait(&rig, a->message_count == 1 && c->message_count == 1);
    struct peers_status status;
    cr_assert_eq(peers_status(c->peers, &status, 1), 1);
    cr_assert(status.is_stranger);
    rig_members(c, members, 2);
    rig_run_ms(&rig, 50);
    cr_assert_eq(peers_status(c->peers, &status, 1), 1);
    cr_assert(!status.is_stranger);
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        cr_assert_eq(a->down_count[3][l] + c->down_count[1][l], 0);
}

Test(peers_life, a_joiner_refuses_another_cluster_and_forgets_who_went)
{
    struct rig_node *a = node(1), *b = node(2), *c = node(3);
    struct member members[3] = {rig_member(a), rig_member(b), rig_member(c)};
    memset(b->self.cluster_id, 0xc2, sizeof b->self.cluster_id);
    rig_start(c);
    rig_members(c, NULL, 0);
    rig_start(a);
    rig_members(a, members, 3);
    rig_start(b);
    rig_members(b, members, 3);
    rig_wait(&rig, rig_all_up(a, c));
    rig_expect_event(c, "peer_refused", 2, PEERS_REFUSED_CLUSTER, "belongs to cluster");
    rig_stop(a);
    rig_wait(&rig, c->down_count[1][TRANSPORT_RAFT] == 1);
    c->ahead_ns = 11000000000ull;
    struct peers_status status;
    rig_wait(&rig, peers_status(c->peers, &status, 1) == 0);
}

/* ---- certificates ---- */

/* Node 2's certificate is revoked: node 1 drops it at the reload, with words on both sides, and
 * does not let it in again; node 3 does not notice. */
Test(peers_life, a_revoked_peer_is_disconnected_by_a_reload)
{
    pki_revoke(rig.pki, "crl", NULL);
    struct rig_node *a = rig_node(&rig, &(struct rig_node_options){.id = 1, .crl = "crl"});
    struct rig_node *b = node(2), *c = node(3);
    struct net_error error = {.text = ""};
    rig_start_all(&rig);
    rig_wait(&rig, rig_all_up(a, b) && rig_all_up(a, c));
    cr_assert_eq(peers_reload_tls(a->peers, &error), STATUS_OK, "%s", error.text);
    rig_run_ms(&rig, 50);
    cr_assert(rig_all_up(a, b) && rig_all_up(a, c));
    cr_assert_gt(peers_tls_expiry(a->peers).crl_s, 0);
    pki_revoke(rig.pki, "crl", "n2");
    a->inside = true;
    cr_assert_eq(peers_reload_tls(a->peers, &error), STATUS_OK, "%s", error.text);
    a->inside = false;
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        rig_wait(&rig, a->down_count[2][l] == 1);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_CERTIFICATE, "certificate revoked");
    rig_expect_event(b, "peer_refuses_us", 1, PEERS_REFUSED_CERTIFICATE, "certificate revoked");
    rig_expect_event(b, "peer_refuses_us", 1, PEERS_REFUSED_TLS, "certificate revoked");
    cr_assert(rig_all_up(a, c));
    cr_assert_eq(a->down_count[3][TRANSPORT_RAFT], 0);
}

/* Files that do not fit change nothing; good ones are what new connections show. */
Test(peers_life, a_reload_is_for_new_connections)
{
    struct rig_node *a, *b;
    struct net_error error = {.text = ""};
    two_nodes(&a, &b);
    cr_assert_eq(rename(rig_file(&rig, "n2.key"), rig_file(&rig, "n2.key.away")), 0);
    cr_assert_eq(peers_reload_tls(b->peers, &error), STATUS_IO);
    cr_assert_not_null(strstr(error.text, "n2.key"), "%s", error.text);
    /* Now node 2 shows node 4's certificate: nobody minds before it has to connect again. */
    cr_assert_eq(rename(rig_file(&rig, "n4.key"), rig_file(&rig, "n2.key")), 0);
    cr_assert_eq(rename(rig_file(&rig, "n4.pem"), rig_file(&rig, "n2.pem")), 0);
    cr_assert_eq(peers_reload_tls(b->peers, &error), STATUS_OK, "%s", error.text);
    rig_run_ms(&rig, 50);
    cr_assert(rig_all_up(a, b));
    struct member members[2] = {rig_member(a), rig_member(b)};
    rig_stop(b);
    rig_start(b);
    rig_members(b, members, 2);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_CERTIFICATE, "is of node 4");
    rig_expect_event(a, "peer_refused", 4, PEERS_REFUSED_CERTIFICATE, "is of node 4");
}

/* ---- making ---- */

static void expect_create(const struct peers_options *options, enum status expected,
                          const char *words)
{
    struct peers *peers = NULL;
    struct net_error error = {.text = ""};
    cr_assert_eq(peers_create(options, &peers, &error), expected, "%s", error.text);
    cr_assert_not_null(strstr(error.text, words), "%s", error.text);
    (void)uv_run(options->loop, UV_RUN_DEFAULT); /* what was begun is given back */
}

Test(peers_life, what_cannot_be_made_is_named)
{
    struct rig_node *a = node(1);
    uv_loop_t loop;
    char long_prefix[300];
    memset(long_prefix, 'x', sizeof long_prefix - 1);
    long_prefix[sizeof long_prefix - 1] = '\0';
    cr_assert_eq(uv_loop_init(&loop), 0);
    const struct peers_options good = {
        .loop = &loop,
        .listen_host = "127.0.0.1",
        .certificate_file = rig_file(&rig, "n2.pem"),
        .key_file = rig_file(&rig, "n2.key"),
        .ca_file = rig_file(&rig, "ca.pem"),
    };
    struct peers_options options = good;
    options.listen_port = peers_port(a->peers);
    expect_create(&options, STATUS_UNAVAILABLE, "address already in use");
    options = good;
    options.listen_host = "localhost";
    expect_create(&options, STATUS_INVALID, "an IP address is expected");
    options = good;
    options.advertised_address = "b1.bank.example";
    expect_create(&options, STATUS_INVALID, "b1.bank.example");
    options = good;
    options.advertised_address = "b1 .bank.example:7001";
    expect_create(&options, STATUS_INVALID, "printable");
    options = good;
    options.key_file = "/nowhere/n2.key";
    expect_create(&options, STATUS_IO, "/nowhere/n2.key");
    options = good;
    options.uri_prefix = long_prefix;
    expect_create(&options, STATUS_INVALID, "prefix");
    cr_assert_eq(uv_loop_close(&loop), 0);
}
