/* The list of requests in doubt: what gets on it, how it is bounded, and what a cluster that lost
 * its leader remembers. */
#include "replication/node/in_doubt.h"
#include "replication/node/node_internal.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(in_doubt, .timeout = 240);

static struct request_header request(uint64_t number)
{
    struct request_header header = {.issued_at_ns = number, .principal = 2, .operation = 3};
    memcpy(header.nonce, &number, sizeof number);
    return header;
}

/* A ring: the newest IN_DOUBT_ROWS are there, the older ones are counted as forgotten; pages and
 * times find their rows. */
Test(in_doubt, the_newest_are_kept_and_found_by_time)
{
    struct in_doubt doubt;
    cr_assert_eq(in_doubt_init(&doubt, 1), STATUS_OK);
    const uint64_t count = IN_DOUBT_ROWS + 100;
    for (uint64_t i = 0; i < count; i++) {
        const struct request_header header = request(i);
        in_doubt_note(&doubt, &header, 0, IN_DOUBT_UNANSWERED, 1000 + i);
    }
    cr_assert_eq(in_doubt_forgotten(&doubt), 100);
    uint64_t position = 0, expected = 100;
    const struct in_doubt_row *row;
    while ((row = in_doubt_next(&doubt, 0, &position)) != NULL)
        cr_assert_eq(row->issued_at_ns, expected++);
    cr_assert_eq(expected, count);
    position = 0;
    row = in_doubt_next(&doubt, 1000 + count - 5, &position);
    cr_assert_eq(row->issued_at_ns, count - 5);
    position = 50; /* of a page that was forgotten meanwhile */
    cr_assert_eq(in_doubt_next(&doubt, 0, &position)->issued_at_ns, 100);
    in_doubt_deinit(&doubt);
}

/* A client that goes away is nothing special, unless a leader was lost since its request came. */
Test(in_doubt, a_leader_that_was_lost_is_a_disturbance)
{
    struct in_doubt doubt;
    cr_assert_eq(in_doubt_init(&doubt, 1), STATUS_OK);
    in_doubt_follow(&doubt, 1, true, 10);
    for (uint64_t now = 11; now < 20; now++)
        in_doubt_follow(&doubt, 1, true, now);
    cr_assert_not(in_doubt_disturbed(&doubt, 11));
    in_doubt_follow(&doubt, 1, false, 20);
    cr_assert(in_doubt_disturbed(&doubt, 11));
    cr_assert(in_doubt_disturbed(&doubt, 20));
    cr_assert_not(in_doubt_disturbed(&doubt, 21));
    in_doubt_follow(&doubt, 2, true, 30);
    cr_assert(in_doubt_disturbed(&doubt, 25));
    in_doubt_deinit(&doubt);
}

static const struct in_doubt_row *find(uint64_t node, const struct test_request *wanted)
{
    const struct in_doubt *doubt = node_in_doubt(cluster_pump(&cluster, node)->node);
    const struct in_doubt_row *row;
    uint64_t position = 0;
    while ((row = in_doubt_next(doubt, 0, &position)) != NULL)
        if (memcmp(row->nonce, wanted->header->nonce, sizeof row->nonce) == 0 &&
            row->issued_at_ns == wanted->header->issued_at_ns)
            return row;
    return NULL;
}

struct other_than {
    uint64_t id;
};

static bool another_leads(void *context)
{
    const struct other_than *other = context;
    uint64_t leader = cluster_leader(&cluster);
    return leader != 0 && leader != other->id;
}

/* The leader has put a request into the log of the others, and dies before it can answer. The next
 * leader and every data node find it in an entry of a leader that is gone. What was answered long
 * before is not on the list, and a restart does not put it there. */
Test(in_doubt, what_a_dead_leader_left_in_the_log_is_listed)
{
    set_up(5);
    struct test_request *before = request_transfers(0, 5);
    struct test_request *last = request_transfers(100, 5);
    struct other_than leader = {.id = cluster_leader(&cluster)};
    run_well_at(leader.id, before);
    cluster_turn_ms(&cluster, 300);
    cr_assert_eq(request_propose(cluster_pump(&cluster, leader.id), last), STATUS_OK);
    struct node_status status;
    uint64_t follower = 0;
    const uint64_t index = before->answer.index;
    for (int ms = 0; ms < 1000 && follower == 0; ms++) {
        cluster_turn(&cluster);
        cr_assert_not(last->done, "it was answered before anybody else had it");
        for (uint64_t id = 1; id <= 5 && follower == 0; id++) {
            status = pump_status(cluster_pump(&cluster, id));
            if (id != leader.id && status.kind == MEMBER_DATA && status.synced_index > index &&
                status.last_index > index && status.commit_index < status.synced_index)
                follower = id;
        }
    }
    cr_assert_neq(follower, 0);
    cluster_kill(&cluster, leader.id);
    cr_assert(cluster_until(&cluster, another_leads, &leader));
    cluster_turn_ms(&cluster, 500);
    struct test_request *after = request_transfers(200, 5);
    uint64_t next = cluster_leader(&cluster);
    run_well_at(next, after);
    uint32_t listed = 0;
    for (uint64_t id = 1; id <= 5; id++) {
        if (id == leader.id || pump_status(cluster_pump(&cluster, id)).kind != MEMBER_DATA)
            continue;
        const struct in_doubt_row *row = find(id, last);
        cr_assert_null(find(id, before), "node %lu", id);
        cr_assert_null(find(id, after), "node %lu", id);
        if (row == NULL)
            continue;
        listed++;
        cr_assert_eq(row->how, IN_DOUBT_INHERITED);
        cr_assert_eq(row->event_count, 5);
        cr_assert_gt(row->index, index);
    }
    cr_assert_geq(listed, 3, "every surviving data node: %u", listed);
    cluster_kill(&cluster, next);
    cluster_start(&cluster, next);
    cluster_settle_majority(&cluster);
    cluster_turn_ms(&cluster, 1000);
    cr_assert_null(find(next, before));
    request_destroy(before);
    request_destroy(last);
    request_destroy(after);
    cluster_deinit(&cluster);
}
