/*
 * Who is not let in, and that both sides say why in the same words: `peer_refused` where it was
 * decided, `peer_refuses_us` at the other end.
 */
#include "peers_rig.h"
#include "replication/message.h"

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

TestSuite(peers_refusals, .init = setup, .fini = teardown, .timeout = 60);

static struct rig_node *node(uint64_t id)
{
    return rig_node(&rig, &(struct rig_node_options){.id = id});
}

static void expect_never_up(const struct rig_node *a, const struct rig_node *b)
{
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++) {
        cr_assert_eq(a->up_count[b->id][l], 0);
        cr_assert_eq(b->up_count[a->id][l], 0);
    }
}

/* a refuses b for one reason, b refuses a for its own; everybody hears everything. */
static void expect_mutual(struct rig_node *a, enum peers_refusal a_says, struct rig_node *b,
                          enum peers_refusal b_says, const char *words)
{
    rig_expect_event(a, "peer_refused", b->id, a_says, words);
    rig_expect_event(b, "peer_refused", a->id, b_says, words);
    rig_expect_event(a, "peer_refuses_us", b->id, b_says, words);
    rig_expect_event(b, "peer_refuses_us", a->id, a_says, words);
    expect_never_up(a, b);
}

/* The raw end hears a refusal with this number and these words, then the end. */
static void expect_raw(struct rig_raw *raw, enum peers_refusal refusal, const char *words)
{
    char text[PEERS_REFUSAL_TEXT_SIZE];
    rig_wait(&rig, raw->is_ended);
    cr_assert_eq(rig_raw_refusal(raw, text), refusal, "%s (%s)", text, raw->end_text);
    cr_assert_not_null(strstr(text, words), "%s", text);
}

/* Node 1 with node 2 in its table, which is a raw end. */
static struct rig_node *node_with_raw(uint16_t raw_port)
{
    struct rig_node *a = node(1);
    struct member members[2] = {rig_member(a), {.node_id = 2, .kind = MEMBER_DATA, .site = "B"}};
    memset(members[1].incarnation, 2, sizeof members[1].incarnation);
    (void)snprintf(members[1].address, sizeof members[1].address, "127.0.0.1:%u", raw_port);
    rig_start(a);
    rig_members(a, members, 2);
    rig_raw_certificate(&rig, "n2");
    return a;
}

/* What node 2 would say to node 1. */
static struct peers_hello hello_of_2(const struct rig_node *a, enum transport_lane lane)
{
    struct transport_self self = a->self;
    self.node_id = 2;
    memset(self.incarnation, 2, sizeof self.incarnation);
    return rig_hello(&self, 1, lane);
}

static struct rig_raw *dial(const struct rig_node *a)
{
    struct rig_raw *raw = rig_raw_dial(&rig, peers_port(a->peers));
    rig_wait(&rig, raw->is_open || raw->is_ended);
    cr_assert(raw->is_open, "%s", raw->end_text);
    return raw;
}

Test(peers_refusals, another_cluster)
{
    struct rig_node *a = node(1), *b = node(2);
    memset(b->self.cluster_id, 0xc2, sizeof b->self.cluster_id);
    rig_start_all(&rig);
    expect_mutual(a, PEERS_REFUSED_CLUSTER, b, PEERS_REFUSED_CLUSTER,
                  "cluster c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2");
    struct peers_status status;
    cr_assert_eq(peers_status(a->peers, &status, 1), 1);
    cr_assert_not_null(strstr(status.lanes[0].why_down, "belongs to cluster"), "%s",
                       status.lanes[0].why_down);
    cr_assert_geq(peers_refused_count(a->peers), 1);
}

/* After a recovery the left-behind node and the recovered ones name each other rightly. */
Test(peers_refusals, an_older_and_a_newer_cluster_epoch)
{
    struct rig_node *a = node(1), *b = node(2);
    b->self.cluster_epoch = 2;
    rig_start_all(&rig);
    expect_mutual(a, PEERS_REFUSED_NEWER_EPOCH, b, PEERS_REFUSED_OLDER_EPOCH, "cluster epoch");
}

/* Nodes of our cluster that no table names are let in, but not without end. */
Test(peers_refusals, strangers_are_bounded)
{
    struct rig_node *a = node_with_raw(9);
    struct rig_raw *raw = NULL;
    for (int id = 10; id <= 10 + MEMBERS_MAX; id++) {
        char file[16], names[64];
        (void)snprintf(file, sizeof file, "n%d", id);
        (void)snprintf(names, sizeof names, "URI:spiffe://tallystick/node/%d", id);
        pki_issue(rig.pki, &(struct pki_certificate){.file = file, .alternative_names = names});
        rig_raw_certificate(&rig, file);
        raw = dial(a);
        struct transport_self self = a->self;
        self.node_id = (uint64_t)id;
        struct peers_hello hello = rig_hello(&self, 1, TRANSPORT_RAFT);
        rig_raw_hello(raw, PEERS_FRAME_HELLO, &hello);
        if (id < 10 + MEMBERS_MAX)
            rig_wait(&rig, rig_raw_has_frame(raw, PEERS_FRAME_WELCOME));
    }
    expect_raw(raw, PEERS_REFUSED_BUSY, "too many nodes that the member table does not know");
    rig_expect_event(a, "peer_refused", 10 + MEMBERS_MAX, PEERS_REFUSED_BUSY, "too many nodes");
    struct peers_status status[2 * MEMBERS_MAX];
    cr_assert_eq(peers_status(a->peers, status, 2 * MEMBERS_MAX), 1 + MEMBERS_MAX);
}

/* A node that lost its disk and was made anew under its old id. */
Test(peers_refusals, another_incarnation_than_the_table_says)
{
    struct rig_node *a = node(1), *b = node(2);
    struct member members[2] = {rig_member(a), rig_member(b)};
    memset(b->self.incarnation, 0xbb, sizeof b->self.incarnation);
    rig_start(a);
    rig_members(a, members, 2);
    rig_start(b);
    rig_members(b, members, 2);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_INCARNATION, "tally member replace");
    rig_expect_event(b, "peer_refuses_us", 1, PEERS_REFUSED_INCARNATION,
                     "is incarnation bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    expect_never_up(a, b);
}

/* The table says data node, the node is a witness: it would vote without holding what it should. */
Test(peers_refusals, another_kind_than_the_table_says)
{
    struct rig_node *a = node(1), *b = node(2);
    struct member members[2] = {rig_member(a), rig_member(b)};
    b->self.kind = MEMBER_WITNESS;
    rig_start(a);
    rig_members(a, members, 2);
    rig_start(b);
    rig_members(b, members, 2);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_KIND, "is a witness node");
    rig_expect_event(b, "peer_refuses_us", 1, PEERS_REFUSED_KIND, "is a witness node");
    expect_never_up(a, b);
}

/* A copied directory: same id, incarnation and certificate, started a second time elsewhere. The
 * first goes on undisturbed; when it dies, the other is let in. */
Test(peers_refusals, two_processes_with_one_id)
{
    struct rig_node *a = node(1), *b = node(2);
    rig_start_all(&rig);
    rig_wait(&rig, rig_all_up(a, b));
    struct rig_node *copy =
        rig_node(&rig, &(struct rig_node_options){.id = 3, .certificate = "n2"});
    struct member members[2] = {rig_member(a), rig_member(b)};
    copy->self = b->self;
    rig_start(copy);
    rig_members(copy, members, 2);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_TWO_PROCESSES, "another process");
    rig_expect_event(copy, "peer_refuses_us", 1, PEERS_REFUSED_TWO_PROCESSES, "another process");
    rig_run_ms(&rig, 300);
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++) {
        cr_assert_eq(a->down_count[2][l], 0);
        cr_assert_eq(copy->up_count[1][l], 0);
    }
    rig_close(b);
    (void)snprintf(members[1].address, sizeof members[1].address, "127.0.0.1:%u",
                   peers_port(copy->peers));
    rig_members(a, members, 2);
    rig_wait(&rig, rig_is_up(copy, 1, TRANSPORT_RAFT));
}

/* Somebody else was given our id, and dials us. */
Test(peers_refusals, our_own_id)
{
    struct rig_node *a = node_with_raw(9);
    rig_raw_certificate(&rig, "n1");
    struct rig_raw *raw = dial(a);
    struct peers_hello hello = rig_hello(&a->self, 1, TRANSPORT_RAFT);
    memset(hello.incarnation, 0xee, sizeof hello.incarnation);
    rig_raw_hello(raw, PEERS_FRAME_HELLO, &hello);
    expect_raw(raw, PEERS_REFUSED_OWN_ID, "two nodes say they are node 1");
    rig_expect_event(a, "peer_refused", 1, PEERS_REFUSED_OWN_ID,
                     "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
}

/* Member 2's address leads to node 3. */
Test(peers_refusals, a_certificate_of_another_id_at_the_address_dialled)
{
    struct rig_node *a = node(1), *c = node(3);
    struct member members[2] = {rig_member(a), rig_member(c)};
    members[1].node_id = 2;
    rig_start(a);
    rig_members(a, members, 2);
    rig_start(c);
    rig_members(c, &members[1], 1);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_CERTIFICATE,
                     "the certificate there is of node 3");
    rig_expect_event(c, "peer_refuses_us", 1, PEERS_REFUSED_CERTIFICATE,
                     "node 1 dialled node 2 at 127.0.0.1:");
}

/* Node 3's certificate with node 2's hello; and a certificate of no node at all. */
Test(peers_refusals, a_certificate_of_another_id_that_dials)
{
    struct rig_node *a = node_with_raw(9);
    rig_raw_certificate(&rig, "n3");
    struct rig_raw *raw = dial(a);
    struct peers_hello hello = hello_of_2(a, TRANSPORT_RAFT);
    rig_raw_hello(raw, PEERS_FRAME_HELLO, &hello);
    expect_raw(raw, PEERS_REFUSED_CERTIFICATE, "says it is node 2, its certificate is of node 3");
    rig_expect_event(a, "peer_refused", 3, PEERS_REFUSED_CERTIFICATE, "says it is node 2");

    rig_raw_certificate(&rig, "channel");
    raw = dial(a);
    expect_raw(raw, PEERS_REFUSED_CERTIFICATE, "spiffe://tallystick/channel/1");
    rig_expect_event(a, "peer_refused", 0, PEERS_REFUSED_CERTIFICATE,
                     "spiffe://tallystick/channel/1");
}

Test(peers_refusals, a_certificate_of_another_authority)
{
    struct rig_node *a = node(1);
    struct rig_node *b =
        rig_node(&rig, &(struct rig_node_options){.id = 2, .certificate = "n2_of_other"});
    rig_start_all(&rig);
    rig_expect_event(a, "peer_refused", 0, PEERS_REFUSED_TLS, "certificate is refused");
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_TLS, "certificate is refused");
    rig_expect_event(b, "peer_refuses_us", 1, PEERS_REFUSED_TLS, "unknown ca");
    rig_expect_event(b, "peer_refuses_us", 0, PEERS_REFUSED_TLS, "unknown ca");
    expect_never_up(a, b);
}

/* A newer version dials us, and one answers us: its hello may be longer than ours. */
Test(peers_refusals, another_protocol_version)
{
    uint16_t port = rig_raw_listen(&rig);
    struct rig_node *a = node_with_raw(port);
    struct peers_hello hello = hello_of_2(a, TRANSPORT_RAFT);
    uint8_t record[PEERS_HELLO_SIZE + 40] = {0};
    hello.version = MESSAGE_PROTOCOL_VERSION + 1;
    peers_hello_encode(&hello, record);
    char words[96];
    snprintf(words, sizeof words,
             "node 2 speaks version %d of the peers' protocol, node 1 version %d",
             MESSAGE_PROTOCOL_VERSION + 1, MESSAGE_PROTOCOL_VERSION);

    struct rig_raw *raw = dial(a);
    rig_raw_frame(raw, PEERS_FRAME_HELLO, record, sizeof record);
    expect_raw(raw, PEERS_REFUSED_VERSION, words);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_VERSION, "upgrade the older");

    rig_wait(&rig, rig.raw_accepted && rig.raw_accepted->is_open);
    raw = rig.raw_accepted;
    rig_wait(&rig, rig_raw_has_frame(raw, PEERS_FRAME_HELLO));
    rig_raw_frame(raw, PEERS_FRAME_WELCOME, record, sizeof record);
    expect_raw(raw, PEERS_REFUSED_VERSION, words);
}

/* A refusal's words are the peer's: what is not printable is shown as '?', its number is kept even
 * if we do not know it. */
Test(peers_refusals, a_refusal_of_a_newer_version_is_understood)
{
    uint16_t port = rig_raw_listen(&rig);
    struct rig_node *a = node_with_raw(port);
    rig_wait(&rig, rig.raw_accepted && rig.raw_accepted->is_open);
    struct rig_raw *raw = rig.raw_accepted;
    rig_wait(&rig, rig_raw_has_frame(raw, PEERS_FRAME_HELLO));
    uint8_t record[PEERS_REFUSAL_SIZE];
    peers_refusal_encode((enum peers_refusal)4711, "not\ntoday\x1b[2J", record);
    rig_raw_frame(raw, PEERS_FRAME_REFUSAL, record, sizeof record);
    rig_expect_event(a, "peer_refuses_us", 2, 4711, "not?today?[2J");
}

Test(peers_refusals, a_dialler_that_meant_another_node)
{
    struct rig_node *a = node_with_raw(9);
    struct rig_raw *raw = dial(a);
    struct peers_hello hello = hello_of_2(a, TRANSPORT_RAFT);
    hello.to = 4;
    rig_raw_hello(raw, PEERS_FRAME_HELLO, &hello);
    expect_raw(raw, PEERS_REFUSED_WRONG_NODE, "node 2 wanted node 4 and reached node 1");
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_WRONG_NODE, "wanted node 4");
}

/* Not even TLS. */
Test(peers_refusals, garbage_instead_of_tls)
{
    struct rig_node *a = node_with_raw(9);
    struct sockaddr_in address;
    cr_assert_eq(uv_ip4_addr("127.0.0.1", peers_port(a->peers), &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    rig_expect_event(a, "peer_refused", 0, PEERS_REFUSED_TLS, "http request");
    char byte[64];
    rig_wait(&rig, recv(fd, byte, sizeof byte, MSG_DONTWAIT) == 0); /* closed after the alert */
    close(fd);
}

/* A good certificate, but a program that wants to speak HTTP/2 (a client at the wrong port). */
Test(peers_refusals, another_application_protocol)
{
    struct rig_node *a = node_with_raw(9);
    struct tls_options options = {.side = TLS_CLIENT,
                                  .certificate_file = rig_file(&rig, "n2.pem"),
                                  .key_file = rig_file(&rig, "n2.key"),
                                  .ca_file = rig_file(&rig, "ca.pem")};
    struct net_error error = {.text = ""};
    tls_context_destroy(rig.raw_tls[TLS_CLIENT]);
    rig.raw_tls[TLS_CLIENT] = NULL;
    cr_assert_eq(tls_context_create(&options, &rig.raw_tls[TLS_CLIENT], &error), STATUS_OK);
    struct rig_raw *raw = rig_raw_dial(&rig, peers_port(a->peers));
    rig_wait(&rig, raw->is_ended);
    cr_assert(!raw->is_open);
    cr_assert_eq(raw->end_status, STATUS_DENIED, "%s", raw->end_text);
    rig_expect_event(a, "peer_refused", 0, PEERS_REFUSED_TLS, "protocol");
}

/* Behind good TLS: each frame that has no place where it comes is refused with words. */
Test(peers_refusals, garbage_after_tls)
{
    struct rig_node *a = node_with_raw(9);
    struct peers_hello hello = hello_of_2(a, TRANSPORT_RAFT);
    uint8_t record[PEERS_HELLO_SIZE], big[2048] = {0};
    static const uint8_t noise[64] = "\x01\x02\x03 this is no frame of anybody's protocol, it is";

    struct rig_raw *raw = dial(a);
    rig_raw_write(raw, noise, sizeof noise);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "not a frame between peers");
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_GARBAGE, "not a frame");

    raw = dial(a);
    rig_raw_frame(raw, PEERS_FRAME_HELLO, big, sizeof big);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "a frame of 2048 bytes, at most 1024");

    raw = dial(a);
    rig_raw_frame(raw, PEERS_FRAME_HELLO, big, 100);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "not a peer's hello");

    raw = dial(a);
    peers_hello_encode(&hello, record);
    record[81] = TRANSPORT_LANE_COUNT;
    rig_raw_frame(raw, PEERS_FRAME_HELLO, record, sizeof record);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "out of its range");

    raw = dial(a);
    rig_raw_frame(raw, PEERS_FRAME_MESSAGE, noise, 16);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "kind 4 has no place here");

    /* A message before the dialler took the welcome. */
    raw = dial(a);
    rig_raw_hello(raw, PEERS_FRAME_HELLO, &hello);
    rig_wait(&rig, rig_raw_has_frame(raw, PEERS_FRAME_WELCOME));
    rig_raw_frame(raw, PEERS_FRAME_MESSAGE, noise, 16);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "kind 4 has no place here");
    cr_assert_eq(a->message_count, 0);
}

static struct rig_raw *dial_up(struct rig_node *a, enum transport_lane lane)
{
    struct rig_raw *raw = dial(a);
    struct peers_hello hello = hello_of_2(a, lane);
    rig_raw_hello(raw, PEERS_FRAME_HELLO, &hello);
    rig_wait(&rig, rig_raw_has_frame(raw, PEERS_FRAME_WELCOME));
    rig_raw_frame(raw, PEERS_FRAME_PING, NULL, 0);
    return raw;
}

static bool accepted_is_up(const struct rig_node *a, enum transport_lane lane)
{
    struct peers_status status;
    (void)peers_status(a->peers, &status, 1);
    return status.lanes[lane].accepted_up;
}

Test(peers_refusals, a_frame_larger_than_a_message)
{
    struct rig_node *a = node_with_raw(9);
    struct rig_raw *raw = dial_up(a, TRANSPORT_BULK);
    rig_wait(&rig, accepted_is_up(a, TRANSPORT_BULK));
    uint8_t header[PEERS_FRAME_HEADER_SIZE];
    peers_frame_header(header, PEERS_FRAME_MESSAGE, TRANSPORT_MESSAGE_SIZE_MAX + 1);
    rig_raw_write(raw, header, sizeof header);
    expect_raw(raw, PEERS_REFUSED_GARBAGE, "at most 1114112 are allowed");
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_GARBAGE, "a frame of 1114113 bytes");
    cr_assert(!accepted_is_up(a, TRANSPORT_BULK));
}

/* A message by a lane of which only the peer's half is up could not be answered, and no node sends
 * one: it is lost, as the sender learns from the lane's end. */
Test(peers_refusals, a_message_by_half_a_lane_is_not_delivered)
{
    struct rig_node *a = node_with_raw(9);
    struct rig_raw *raw = dial_up(a, TRANSPORT_CALLS);
    uint64_t message[2] = {1, 2};
    struct peers_status status = {.node_id = 0};
    rig_raw_frame(raw, PEERS_FRAME_MESSAGE, message, sizeof message);
    rig_wait(&rig, peers_status(a->peers, &status, 1) == 1 &&
                       status.lanes[TRANSPORT_CALLS].bytes_in == 24);
    cr_assert_eq(a->message_count, 0);
    cr_assert_eq(status.lanes[TRANSPORT_CALLS].messages_in, 0);
    cr_assert(accepted_is_up(a, TRANSPORT_CALLS));
}

/* A peer that renews its keys now and then is understood; one that does nothing else is not, since
 * each renewal costs us more than it. */
Test(peers_refusals, key_updates_are_taken_and_bounded)
{
    struct rig_node *a = node_with_raw(9);
    struct rig_raw *raw = dial_up(a, TRANSPORT_RAFT);
    rig_wait(&rig, accepted_is_up(a, TRANSPORT_RAFT));
    raw->stream.key_update_records = 2;
    for (int i = 0; i < 60; i++)
        rig_raw_frame(raw, PEERS_FRAME_PING, NULL, 0);
    struct peers_status status = {.node_id = 0};
    /* The one that confirmed is not counted. */
    rig_wait(&rig, peers_status(a->peers, &status, 1) == 1 &&
                       status.lanes[TRANSPORT_RAFT].bytes_in == 60 * PEERS_FRAME_HEADER_SIZE);
    cr_assert(accepted_is_up(a, TRANSPORT_RAFT));
    raw->stream.key_update_records = 1;
    for (int i = 0; i < 60; i++)
        rig_raw_frame(raw, PEERS_FRAME_PING, NULL, 0);
    rig_expect_event(a, "peer_refused", 2, PEERS_REFUSED_TLS, "key updates within");
    rig_wait(&rig, raw->is_ended);
}

/* The same process dials again: once the new connection is confirmed the old one goes, not before.
 */
Test(peers_refusals, the_newer_connection_of_a_lane_wins)
{
    struct rig_node *a = node_with_raw(9);
    struct rig_raw *old = dial_up(a, TRANSPORT_RAFT);
    struct rig_raw *other_lane = dial_up(a, TRANSPORT_CALLS);
    rig_wait(&rig, accepted_is_up(a, TRANSPORT_RAFT) && accepted_is_up(a, TRANSPORT_CALLS));
    struct rig_raw *half = dial(a);
    struct peers_hello hello = hello_of_2(a, TRANSPORT_RAFT);
    rig_raw_hello(half, PEERS_FRAME_HELLO, &hello);
    rig_wait(&rig, rig_raw_has_frame(half, PEERS_FRAME_WELCOME));
    rig_run_ms(&rig, 50);
    cr_assert(!old->is_ended);
    rig_raw_frame(half, PEERS_FRAME_PING, NULL, 0);
    rig_wait(&rig, old->is_ended);
    cr_assert(!half->is_ended && !other_lane->is_ended);
    cr_assert(accepted_is_up(a, TRANSPORT_RAFT));
}

/* More connections than there are places, which never greet: an honest node comes through all the
 * same, and none of them stays for long. */
Test(peers_refusals, half_open_connections_are_bounded_in_number_and_time)
{
    struct rig_node *a = node(1), *b = node(2);
    struct member members[2] = {rig_member(a), rig_member(b)};
    rig_raw_certificate(&rig, "n3");
    rig_start(a);
    rig_members(a, members, 2);
    struct rig_raw *raws[72];
    for (int i = 0; i < 72; i++)
        raws[i] = rig_raw_dial(&rig, peers_port(a->peers));
    rig_expect_event(a, "peer_refused", 0, PEERS_REFUSED_BUSY, "too many connections");
    rig_start(b);
    rig_members(b, members, 2);
    rig_wait(&rig, rig_all_up(a, b));
    for (int i = 0; i < 72; i++)
        rig_wait(&rig, raws[i]->is_ended);
    cr_assert(rig_all_up(a, b));
}
