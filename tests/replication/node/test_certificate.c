/* Certificates in a running cluster: who makes them, when, what they cover, and where they are. */
#include "replication/message.h"
#include "replication/node/node_internal.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(certificate, .timeout = 240);

#define NS_PER_MS 1000000ull

static struct certificates *of_node(uint64_t id)
{
    return &cluster_pump(&cluster, id)->node->certificates;
}

static struct certificate_record newest(uint64_t id)
{
    struct certificate_view view;
    cr_assert(node_certificate(cluster_pump(&cluster, id)->node, &view), "node %lu", id);
    return view.record;
}

static uint64_t wall(uint64_t id)
{
    const struct environment *environment = &cluster_pump(&cluster, id)->environment;
    return environment->wall_ns(environment->context);
}

static bool another_leads(void *context)
{
    const uint64_t *old = context;
    return cluster_leader(&cluster) != *old && cluster_leader(&cluster) != 0;
}

static uint64_t another_leader(uint64_t old)
{
    cr_assert(cluster_until(&cluster, another_leads, &old));
    return cluster_leader(&cluster);
}

static void write_at(uint64_t id, uint64_t first, uint64_t *out_index)
{
    struct test_request *request = request_transfers(first, 10);
    run_well_at(id, request);
    *out_index = request->answer.index;
    request_destroy(request);
}

/* Writes at a leader and at a follower; a moment later the leader has made a certificate that
 * covers the last answer, and every node holds it, the witness, too. Its head is that of every
 * journal. */
Test(certificate, covers_what_was_answered_and_every_member_holds_it)
{
    uint64_t index = 0;
    set_up(3);
    uint64_t leader = cluster_leader(&cluster);
    write_at(leader, 0, &index);
    write_at(cluster_follower(&cluster), 100, &index);
    uint64_t before_ns = wall(leader);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS + 50);
    for (uint64_t id = 1; id <= 3; id++) {
        const struct certificate_record record = newest(id);
        cr_assert_geq(record.index, index);
        cr_assert_eq(record.node_id, leader);
        cr_assert_geq(record.wall_ns, before_ns);
        cr_assert_leq(record.wall_ns, wall(leader));
        uint8_t head[JOURNAL_HASH_SIZE];
        cr_assert_eq(journal_head(cluster_pump(&cluster, id)->node->journal, record.index, head),
                     STATUS_OK);
        cr_assert_arr_eq(record.head, head, sizeof head);
        cr_assert_eq(record.stamp > 0, true);
    }
    cr_assert_arr_eq(of_node(1)->bytes, of_node(3)->bytes, of_node(1)->size);
    cluster_deinit(&cluster);
}

/* One per CERTIFICATE_MS, not more. */
Test(certificate, is_made_five_times_a_second)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster);
    uint64_t before = of_node(leader)->made_total;
    cluster_turn_ms(&cluster, 10 * CERTIFICATE_MS);
    uint64_t made = of_node(leader)->made_total - before;
    cr_assert_geq(made, 8);
    cr_assert_leq(made, 10);
    cluster_deinit(&cluster);
}

/* The leader is cut off and goes on believing to lead for a while: it makes no certificate for any
 * moment after the cut, since no majority answers its round. The next leader's has a later term and
 * covers what it answered. */
Test(certificate, a_leader_that_was_cut_off_makes_none)
{
    uint64_t index = 0;
    set_up(3);
    uint64_t old = cluster_leader(&cluster);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
    loopback_isolate(&cluster.net, old, true);
    uint64_t cut_ns = wall(old);
    for (int ms = 0; ms < 200; ms++) {
        cluster_turn(&cluster);
        cr_assert_leq(newest(old).wall_ns, cut_ns);
    }
    uint64_t next = another_leader(old);
    write_at(next, 0, &index);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
    cr_assert_leq(newest(old).wall_ns, cut_ns);
    cr_assert_lt(newest(old).index, index);
    cr_assert_geq(newest(next).index, index);
    cr_assert_gt(newest(next).term, newest(old).term);
    loopback_isolate(&cluster.net, old, false);
    cluster_settle(&cluster);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
    cr_assert_eq(newest(old).term, newest(next).term);
    cluster_deinit(&cluster);
}

/* SIGSTOP: the leader asks a majority, stands still while another one is elected and answers, and
 * goes on with the answers to its question in its queue. Its certificate may come, for the moment
 * before it stood still; never for a moment at which the other one had answered. */
Test(certificate, a_leader_that_stood_still_claims_nothing_for_the_time_between)
{
    set_up(3);
    uint64_t old = cluster_leader(&cluster);
    for (int offset = 0; offset < 12; offset++) {
        uint64_t index = 0;
        old = cluster_leader(&cluster);
        cluster_turn_ms(&cluster, 190 + (uint64_t)offset * 2);
        cluster.clock_hold = 1u << (old - 1);
        uint64_t stopped_ns = wall(old);
        uint64_t next = another_leader(old);
        write_at(next, 1000 + 100 * (uint64_t)offset, &index);
        uint64_t answered_ns = wall(next);
        cluster.clock_hold = 0;
        for (int ms = 0; ms < 100; ms++) {
            cluster_turn(&cluster);
            const struct certificate_record record = newest(old);
            if (record.index < index)
                cr_assert_leq(record.wall_ns, answered_ns);
            if (record.node_id == old && record.term < newest(next).term)
                cr_assert_leq(record.wall_ns, stopped_ns);
        }
        cluster_settle(&cluster);
    }
    cluster_deinit(&cluster);
}

/* T is not later than the moment at which the majority was asked. A round takes a while, and what a
 * later leader may have answered meanwhile is not covered. */
Test(certificate, names_the_moment_before_the_round)
{
    set_up(3);
    const uint64_t leader = cluster_settle(&cluster);
    const struct certificates *certificates = of_node(leader);
    uint64_t made = certificates->made_total, asked_ns = 0;
    uint32_t seen = 0;
    bool asks = true; /* the first one may be under way already */
    for (int turn = 0; turn < 20000 && seen < 5; turn++) {
        cluster_turn(&cluster);
        const bool asks_now = certificates->making == CERTIFICATE_ASKS;
        if (asks_now && !asks)
            asked_ns = wall(leader);
        asks = asks_now;
        if (certificates->made_total == made)
            continue;
        made = certificates->made_total;
        if (asked_ns == 0)
            continue;
        cr_assert_leq(newest(leader).wall_ns, asked_ns);
        asked_ns = 0;
        seen++;
    }
    cr_assert_eq(seen, 5, "no round took more than a turn: the test is pointless");
    cluster_deinit(&cluster);
}

/* The leader's clock is set ten seconds ahead: its certificates go on naming the time that the
 * others' clocks show. Set back it names its own, which is earlier and claims less. */
Test(certificate, a_clock_that_is_ahead_does_not_make_it_later)
{
    set_up(3);
    const int64_t ten_s = 10000 * (int64_t)NS_PER_MS;
    for (int turn = 0; turn < 2; turn++) {
        uint64_t leader = cluster_settle(&cluster);
        const uint64_t term = newest(leader).term;
        cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
        const uint64_t made = of_node(leader)->made_total;
        cluster_pump(&cluster, leader)->wall_shift_ns = turn == 0 ? ten_s : -ten_s;
        uint64_t other = leader % 3 + 1;
        for (int ms = 0; ms < 3000; ms++) {
            cluster_turn(&cluster);
            const struct certificate_record record = newest(leader);
            cr_assert_leq(record.wall_ns, wall(other) + 100 * NS_PER_MS, "%d ms", ms);
        }
        cr_assert(of_node(leader)->made_total > made || newest(leader).term > term);
        cluster_pump(&cluster, leader)->wall_shift_ns = 0;
        cluster_turn_ms(&cluster, 1000);
    }
    cluster_deinit(&cluster);
}

/* A commit that the leader's own disk has not got yet: N counts it, and the certificate waits. */
Test(certificate, waits_for_an_entry_that_only_others_have_synced)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
    struct certificates *certificates = of_node(leader);
    const uint64_t made = certificates->made_total;
    certificates->making = CERTIFICATE_WAITS;
    certificates->draft.index += 1; /* as if it were committed */
    cluster_turn_ms(&cluster, 3 * CERTIFICATE_MS);
    cr_assert_eq(certificates->made_total, made);
    uint64_t index = 0;
    write_at(leader, 0, &index);
    cluster_turn_ms(&cluster, 10);
    cr_assert_gt(certificates->made_total, made);
    cr_assert_leq(newest(leader).index, index);
    cluster_deinit(&cluster);
}

/* The file is there about a second later, is replaced at most so often, survives a restart, and is
 * what a node holds that hears no leader any more. One of which a bit has changed is not held. */
Test(certificate, is_in_a_file_and_comes_back_with_the_node)
{
    uint64_t index = 0;
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), follower = cluster_follower(&cluster);
    write_at(leader, 0, &index);
    cluster_turn_ms(&cluster, CERTIFICATE_FILE_MS + 2 * CERTIFICATE_MS);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != follower)
            cluster_kill(&cluster, id);
    struct pump *pump = cluster_pump(&cluster, follower);
    const struct certificate_record held = newest(follower);
    cr_assert_geq(held.index, index);
    cluster_kill(&cluster, follower);
    cluster_start(&cluster, follower);
    const struct certificate_record again = newest(follower);
    cr_assert_geq(again.index, index);
    cr_assert_eq(again.term, held.term);
    cr_assert_geq(again.sequence + 1 + CERTIFICATE_FILE_MS / CERTIFICATE_MS, held.sequence);
    cluster_kill(&cluster, follower);
    char path[PUMP_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/" CERTIFICATE_FILE, pump->directory);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file);
    /* A bit of the chain head: any value would be one. */
    cr_assert_eq(fseek(file, 113, SEEK_SET), 0);
    const int rotten = fgetc(file) ^ 4;
    cr_assert_eq(fseek(file, 113, SEEK_SET), 0);
    cr_assert_eq(fputc(rotten, file), rotten);
    cr_assert_eq(fclose(file), 0);
    for (uint64_t id = 1; id <= 3; id++)
        cluster_start(&cluster, id);
    cr_assert_eq(pump_event_count(pump, "certificate_unreadable"), 1);
    cluster_settle(&cluster);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
    cr_assert_gt(newest(follower).term, held.term);
    cluster_deinit(&cluster);
}

/* What a member sends that is no certificate, of another cluster, of an earlier moment, or made by
 * somebody else, is not taken. */
Test(certificate, only_a_newer_one_of_its_own_sender_is_taken)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), follower = cluster_follower(&cluster);
    cluster_turn_ms(&cluster, 2 * CERTIFICATE_MS);
    struct certificates *at = of_node(follower);
    const struct certificate_record held = at->record;
    struct {
        struct message_header header;
        uint8_t bytes[CERTIFICATE_SIZE_MAX];
    } message;
    const struct {
        const char *what;
        uint64_t from;
        uint64_t add_term, node_id;
        uint8_t cluster, epoch, cut;
        bool taken;
    } cases[] = {
        {"the sender is not who made it", 3, 1, leader, 0, 0, 0, false},
        {"another cluster", leader, 1, leader, 1, 0, 0, false},
        {"another epoch", leader, 1, leader, 0, 1, 0, false},
        {"cut", leader, 1, leader, 0, 0, 8, false},
        {"the same again", leader, 0, leader, 0, 0, 0, false},
        {"a newer one", leader, 1, leader, 0, 0, 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct certificate_view view = {.record = held};
        view.record.term += cases[i].add_term;
        view.record.node_id = cases[i].node_id;
        view.record.cluster_id[0] ^= cases[i].cluster;
        view.record.cluster_epoch += cases[i].epoch;
        const size_t size = certificate_encode(&view, message.bytes) - cases[i].cut;
        message.header = (struct message_header){.type = MESSAGE_CERTIFICATE,
                                                 .size = (uint32_t)(sizeof message.header + size)};
        certificates_receive(at, cases[i].from, &message, message.header.size);
        cr_expect_eq(at->record.term, held.term + (cases[i].taken ? 1 : 0), "%s", cases[i].what);
    }
    cluster_deinit(&cluster);
}
