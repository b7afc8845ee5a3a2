/* See cluster_client.h. */
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <string.h>

#define NS_PER_MS 1000000ull

struct cluster cluster;

void run_at(uint64_t id, struct test_request *request)
{
    struct pump *pump = cluster_pump(&cluster, id);
    enum status status = request_propose(pump, request);
    cr_assert_eq(status, STATUS_OK, "propose at %lu: %s", id, status_text(status));
    cr_assert(cluster_until(&cluster, request_is_done, request), "no end at %lu", id);
}

void run_well_at(uint64_t id, struct test_request *request)
{
    run_at(id, request);
    cr_assert_eq(request->status, STATUS_OK, "at %lu: %s", id, status_text(request->status));
}

/* What create_ledger_and_accounts does, asked of node `id`. */
static void create_accounts_at(uint64_t id)
{
    struct test_request *requests[2];
    request_ledger_and_accounts(requests);
    for (int i = 0; i < 2; i++) {
        run_well_at(id, requests[i]);
        cr_assert_eq(requests[i]->results[0], RESULT_OK);
        request_destroy(requests[i]);
    }
}

void set_up(uint32_t count)
{
    cluster_init(&cluster, count);
    create_accounts_at(cluster_leader(&cluster));
}

void assert_same_answer(const struct test_request *a, const struct test_request *b)
{
    cr_assert_eq(a->answer.index, b->answer.index);
    cr_assert_eq(a->answer.stamp, b->answer.stamp);
    cr_assert_eq(a->answer.outcome, b->answer.outcome);
    cr_assert_eq(a->answer.operation, b->answer.operation);
    cr_assert_eq(a->answer.encoding, b->answer.encoding);
    cr_assert_eq(a->answer.event_count, b->answer.event_count);
    cr_assert_arr_eq(a->results, b->results, a->answer.event_count);
}

void seen_read_cb(struct node_read *node, enum status status)
{
    struct seen_read *read = (struct seen_read *)node;
    cr_assert_not(read->done);
    read->done = true;
    read->status = status;
    if (status == STATUS_OK)
        read->transfers = machine_transfer_count(node_machine(read->pump->node));
}

bool read_is_done(void *context)
{
    return ((struct seen_read *)context)->done;
}

void begin_read(struct seen_read *read, uint64_t id, uint64_t max_age_ms)
{
    *read = (struct seen_read){.node = {.cb = seen_read_cb, .max_age_ns = max_age_ms * NS_PER_MS},
                               .pump = cluster_pump(&cluster, id)};
    cr_assert_eq(node_read(read->pump->node, &read->node), STATUS_OK);
}

struct seen_read read_at(uint64_t id)
{
    static struct seen_read read;
    begin_read(&read, id, 0);
    cr_assert(cluster_until(&cluster, read_is_done, &read), "no end at %lu", id);
    return read;
}
