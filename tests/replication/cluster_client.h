/*
 * What clients of a cluster under test do: requests and reads at one of its nodes, waited for. The
 * cluster is one value that the tests of a file share. Criterion only.
 */
#ifndef TALLY_TESTS_REPLICATION_CLUSTER_CLIENT_H
#define TALLY_TESTS_REPLICATION_CLUSTER_CLIENT_H

#include "tests/replication/cluster.h"

extern struct cluster cluster;

/* A cluster of `count` nodes with a ledger and accounts. */
void set_up(uint32_t count);

/* Asked of node `id`, until it is called back; the second with STATUS_OK. */
void run_at(uint64_t id, struct test_request *request);
void run_well_at(uint64_t id, struct test_request *request);
void assert_same_answer(const struct test_request *a, const struct test_request *b);

struct seen_read {
    struct node_read node; /* first */
    struct pump *pump;
    bool done;
    enum status status;
    uint64_t transfers;
};

void seen_read_cb(struct node_read *node, enum status status);
bool read_is_done(void *context);
/* Linearizable when max_age_ms is 0. */
void begin_read(struct seen_read *read, uint64_t id, uint64_t max_age_ms);
/* A linearizable read, waited for. */
struct seen_read read_at(uint64_t id);

#endif
