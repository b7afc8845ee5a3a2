/* Messages between nodes through real TLS: all lanes, both ways, in order, bounded. */
#include "peers_rig.h"
#include "replication/peers/peers_internal.h"

#include <stdlib.h>
#include <string.h>

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_deinit(&rig);
}

TestSuite(peers, .init = setup, .fini = teardown, .timeout = 60);

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

/* Three nodes find each other on every lane; each message arrives once, at whom it was meant for,
 * from whom it is, on its lane. */
Test(peers, messages_go_both_ways_on_three_lanes)
{
    struct rig_node *nodes[3] = {node(1), node(2), node(3)};
    rig_start_all(&rig);
    for (int i = 0; i < 3; i++)
        rig_wait(&rig, rig_all_up(nodes[i], nodes[(i + 1) % 3]));
    for (uint64_t from = 1; from <= 3; from++)
        for (uint64_t to = 1; to <= 3; to++)
            for (int lane = 0; lane < TRANSPORT_LANE_COUNT; lane++)
                cr_assert_eq(rig_send_number(nodes[from - 1], to, (enum transport_lane)lane,
                                             from * 100 + to * 10 + (uint64_t)lane),
                             from == to ? STATUS_NOT_FOUND : STATUS_OK);
    for (int i = 0; i < 3; i++) {
        rig_wait(&rig, nodes[i]->message_count == 6);
        rig_run_ms(&rig, 20);
        cr_assert_eq(nodes[i]->message_count, 6);
        for (int m = 0; m < 6; m++) {
            const struct rig_message *message = &nodes[i]->messages[m];
            cr_assert_eq(message->first, message->from * 100 + nodes[i]->id * 10 + message->lane);
            cr_assert_eq(message->size, 8);
        }
    }
    struct peers_status status[4];
    cr_assert_eq(peers_status(nodes[0]->peers, status, 4), 2);
    cr_assert(status[0].lanes[TRANSPORT_BULK].up);
    cr_assert_eq(status[0].lanes[TRANSPORT_BULK].messages_out, 1);
    cr_assert_eq(status[0].lanes[TRANSPORT_BULK].bytes_out, 16);
    cr_assert_eq(status[0].lanes[TRANSPORT_BULK].messages_in, 1);
    cr_assert_str_eq(status[0].lanes[TRANSPORT_BULK].why_down, "");
    cr_assert_eq(peers_refused_count(nodes[0]->peers), 0);
}

/* Messages of odd sizes, small ones and the largest allowed, mixed: nothing is lost, changed or
 * overtaken, and parts are one message. */
Test(peers, messages_keep_their_order_and_their_bytes)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    uint8_t *bytes = malloc(TRANSPORT_MESSAGE_SIZE_MAX);
    cr_assert_not_null(bytes);
    uint64_t sums[400];
    size_t sizes[400];
    uint32_t sent = 0;
    while (sent < 400) {
        size_t size = sent % 100 == 99 ? TRANSPORT_MESSAGE_SIZE_MAX : 8 + (sent * 7919u) % 40000u;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(i * 31 + sent);
        uint64_t number = sent;
        memcpy(bytes, &number, sizeof number);
        struct transport_part parts[3] = {{bytes, 3}, {bytes + 3, 0}, {bytes + 3, size - 3}};
        enum status status = transport_send(a->transport, 2, TRANSPORT_BULK, parts, 3);
        if (status == STATUS_BUSY) {
            rig_pump(&rig);
            continue;
        }
        cr_assert_eq(status, STATUS_OK);
        memset(bytes, 0, 8); /* borrowed until return only */
        sums[sent] = 0;
        memcpy(bytes, &number, sizeof number);
        for (size_t i = 0; i < size; i++)
            sums[sent] += bytes[i];
        sizes[sent++] = size;
    }
    rig_wait(&rig, b->message_count == 400);
    for (uint32_t i = 0; i < 400; i++) {
        cr_assert_eq(b->messages[i].first, i);
        cr_assert_eq(b->messages[i].size, sizes[i]);
        cr_assert_eq(b->messages[i].sum, sums[i]);
    }
    cr_assert_eq(rig_send(a, 2, TRANSPORT_BULK, bytes, TRANSPORT_MESSAGE_SIZE_MAX + 1),
                 STATUS_INVALID);
    cr_assert_eq(rig_send(a, 2, TRANSPORT_BULK, bytes, 0), STATUS_INVALID);
    free(bytes);
}

/* b's loop stands still: a's queue fills to its bound, then a is refused; once b goes on, a hears
 * that there is room, and nothing of what was accepted is lost. Other lanes do not notice. */
Test(peers, a_queue_is_bounded_and_says_when_there_is_room_again)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    static uint8_t bytes[512 * 1024];
    uint64_t sent = 0;
    enum status status = STATUS_OK;
    b->is_running = false;
    while (status == STATUS_OK) {
        memcpy(bytes, &sent, sizeof sent);
        status = rig_send(a, 2, TRANSPORT_BULK, bytes, sizeof bytes);
        sent += status == STATUS_OK;
        cr_assert_lt(sent, 100);
        rig_pump(&rig); /* a goes on; less than the silence that ends a connection */
    }
    cr_assert_eq(status, STATUS_BUSY);
    cr_assert_lt(transport_room(a->transport, 2, TRANSPORT_BULK), sizeof bytes);
    cr_assert_gt(transport_room(a->transport, 2, TRANSPORT_RAFT), 7 * 1024 * 1024);
    cr_assert_eq(a->writable_count, 0);
    cr_assert_eq(rig_send_number(a, 2, TRANSPORT_RAFT, 42), STATUS_OK);
    b->is_running = true;
    rig_wait(&rig, a->writable_count == 1);
    cr_assert_geq(transport_room(a->transport, 2, TRANSPORT_BULK),
                  TRANSPORT_QUEUE_BYTES_MAX / 2 - 8);
    rig_wait(&rig, b->message_count == sent + 1);
    uint64_t next = 0;
    for (uint32_t i = 0; i < b->message_count; i++)
        if (b->messages[i].lane == TRANSPORT_BULK)
            cr_assert_eq(b->messages[i].first, next++);
    cr_assert_eq(next, sent);
    cr_assert_eq(b->down_count[1][TRANSPORT_BULK], 0);
}

static void greet_peer(struct rig_node *from, uint64_t peer, enum transport_lane lane)
{
    cr_assert_eq(rig_send_number(from, peer, lane, from->id), STATUS_OK);
}

static void answer_peer(struct rig_node *to, const struct rig_message *message)
{
    if (message->first == message->from) /* a greeting */
        cr_assert_eq(rig_send_number(to, message->from, message->lane, 1000), STATUS_OK);
}

/* Whoever hears that a lane is up may ask at once, and whoever is asked can answer at once: no
 * question and no answer is lost between the two connections of a lane. */
Test(peers, what_is_sent_as_a_lane_comes_up_arrives_and_can_be_answered)
{
    struct rig_node *nodes[4];
    for (uint64_t i = 0; i < 4; i++) {
        nodes[i] = node(i + 1);
        nodes[i]->on_up = greet_peer;
        nodes[i]->on_message = answer_peer;
    }
    rig_start_all(&rig);
    /* From three peers on three lanes: a question, and an answer to ours. */
    for (int i = 0; i < 4; i++)
        rig_wait(&rig, nodes[i]->message_count == 18);
    rig_run_ms(&rig, 20);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(nodes[i]->message_count, 18);
}

/* Whoever stops is seen to go, comes back at the same port, and is found again. */
Test(peers, a_node_that_stops_and_starts_is_found_again)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    struct member members[2] = {rig_member(a), rig_member(b)};
    uint16_t port = peers_port(b->peers);
    for (uint32_t round = 1; round <= 3; round++) {
        rig_stop(b);
        cr_assert_eq(rig_send_number(b, 1, TRANSPORT_RAFT, 1), STATUS_NOT_FOUND);
        for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
            rig_wait(&rig, a->down_count[2][l] == round);
        cr_assert_eq(rig_send_number(a, 2, TRANSPORT_RAFT, 1), STATUS_UNAVAILABLE);
        rig_start(b);
        rig_members(b, members, 2);
        rig_wait(&rig, rig_all_up(a, b));
        cr_assert_eq(peers_port(b->peers), port);
        uint32_t before = b->message_count;
        cr_assert_eq(rig_send_number(a, 2, TRANSPORT_CALLS, round), STATUS_OK);
        rig_wait(&rig, b->message_count == before + 1);
        cr_assert_eq(b->messages[before].first, round);
    }
}

/* Either connection of a lane ends: the other goes with it at once, on both sides, and both are
 * made again. Otherwise what was queued before could arrive after the lane came up again. */
Test(peers, both_connections_of_a_lane_end_together)
{
    struct rig_node *a, *b;
    two_nodes(&a, &b);
    for (uint32_t round = 1; round <= 2; round++) {
        struct peers_lane *lane = &peers_table_find(a->peers, 2)->lanes[TRANSPORT_BULK];
        a->inside = true;
        peers_connection_drop(round == 1 ? lane->accepted : lane->dialled, "the test ended it");
        a->inside = false;
        cr_assert_null(lane->accepted);
        cr_assert_null(lane->dialled);
        rig_wait(&rig, a->down_count[2][TRANSPORT_BULK] == round);
        rig_wait(&rig, b->down_count[1][TRANSPORT_BULK] == round);
        rig_wait(&rig, rig_all_up(a, b));
    }
    cr_assert_eq(a->down_count[2][TRANSPORT_RAFT], 0);
}

/* A name with two addresses of which the first is dead. */
Test(peers, the_next_address_of_a_name_is_tried)
{
    struct rig_node *a = node(1), *b = node(2);
    struct member members[2] = {rig_member(a), rig_member(b)};
    struct lookup_addresses dead, good;
    cr_assert(lookup_literal("127.0.0.1", 9, &dead));
    cr_assert(lookup_literal("127.0.0.1", peers_port(b->peers), &good));
    memcpy(members[1].address, "nowhere.invalid:7001", 21);
    rig_start(a);
    rig_members(a, members, 2);
    rig_start(b);
    rig_members(b, members, 1); /* a dials b by the name alone */
    struct peers_lane *lane = &peers_table_find(a->peers, 2)->lanes[TRANSPORT_RAFT];
    lane->addresses.at[0] = dead.at[0];
    lane->addresses.at[1] = good.at[0];
    lane->addresses.count = 2;
    rig_wait(&rig, rig_is_up(a, 2, TRANSPORT_RAFT));
    cr_assert(!rig_is_up(a, 2, TRANSPORT_CALLS));
}

/* What a session is: the sender's count of `up` when it sent, as the receiver saw it while it was
 * up for the n-th time. */
static uint64_t session_seen[RIG_NODES_MAX + 1][RIG_NODES_MAX + 1][TRANSPORT_LANE_COUNT];
static uint32_t session_mine[RIG_NODES_MAX + 1][RIG_NODES_MAX + 1][TRANSPORT_LANE_COUNT];
static uint64_t last_number[RIG_NODES_MAX + 1][RIG_NODES_MAX + 1][TRANSPORT_LANE_COUNT];

static uint64_t next_number, sent_count;

static void send_next(struct rig_node *from, uint64_t to, enum transport_lane lane)
{
    uint64_t number = ++next_number | (uint64_t)from->up_count[to][lane] << 32;
    sent_count += rig_send_number(from, to, lane, number) == STATUS_OK;
}

static void check_session(struct rig_node *to, const struct rig_message *message)
{
    uint64_t session = message->first >> 32, number = message->first & UINT32_MAX;
    uint64_t *seen = &session_seen[to->id][message->from][message->lane];
    uint32_t *mine = &session_mine[to->id][message->from][message->lane];
    uint64_t *last = &last_number[to->id][message->from][message->lane];
    uint32_t now = to->up_count[message->from][message->lane];
    if (now == *mine)
        cr_assert_eq(session, *seen, "two of the sender's sessions in one of ours");
    else
        cr_assert_gt(session, *seen, "the sender's session came again in another of ours");
    cr_assert_gt(number, *last, "out of order, or twice");
    *mine = now;
    *seen = session;
    *last = number;
    /* What comes up elsewhere at this very moment is of no use before it is reported. */
    if (number % 4 == 0)
        for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
            send_next(to, to->id % 3 + 1, (enum transport_lane)l);
}

/* Connections of three nodes end at random, either direction, in any state, from either side, while
 * messages flow. No message comes twice or out of order, those of one time a lane was up never mix
 * with another's, and when it is over everything comes up again. */
Test(peers, lanes_survive_connections_that_end_at_random)
{
    struct rig_node *nodes[3] = {node(1), node(2), node(3)};
    uint64_t random = 0x9e3779b97f4a7c15;
    uint32_t ended = 0;
    rig_start_all(&rig);
    for (int i = 0; i < 3; i++)
        nodes[i]->on_message = check_session;
    while (ended < 300) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        struct rig_node *from = nodes[random % 3];
        uint64_t to = nodes[(random >> 8) % 3]->id;
        enum transport_lane lane = (enum transport_lane)((random >> 16) % TRANSPORT_LANE_COUNT);
        send_next(from, to, lane);
        if ((random >> 24) % 16 == 0) {
            uint32_t skip = (uint32_t)(random >> 32) % 16;
            struct peers_connection *c = from->peers->connections;
            while (c && skip-- > 0)
                c = c->next;
            if (c && c->state < PEERS_LEAVING) {
                from->inside = true;
                peers_connection_drop(c, "the test ended it");
                from->inside = false;
                ended++;
            }
        }
        if ((random >> 28) % 4 == 0)
            rig_pump(&rig);
    }
    cr_assert_gt(sent_count, 100);
    /* A connection that was being made when the last one ended may still take another's place. */
    bool stays_up = false;
    for (unsigned rounds = 0; !stays_up && rounds < 50; rounds++) {
        for (int i = 0; i < 3; i++)
            rig_wait(&rig, rig_all_up(nodes[i], nodes[(i + 1) % 3]));
        rig_run_ms(&rig, 100);
        stays_up = true;
        for (int i = 0; i < 3; i++)
            stays_up = stays_up && rig_all_up(nodes[i], nodes[(i + 1) % 3]);
    }
    cr_assert(stays_up, "it does not stay up");
    for (int i = 0; i < 3; i++) {
        cr_assert_gt(nodes[i]->message_count, 10);
        cr_assert_eq(peers_refused_count(nodes[i]->peers), 0, "%s", nodes[i]->events);
    }
}
