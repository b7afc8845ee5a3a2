/*
 * A node without journal and store: the functions of replication/node/node.h that services call,
 * over a machine of its own (tests/lib/test_bank.h). What is proposed waits until the test says
 * what becomes of it. Linked instead of replication/node/node.c.
 */
#ifndef TALLY_TESTS_SERVER_FAKE_NODE_H
#define TALLY_TESTS_SERVER_FAKE_NODE_H

#include "replication/node/node.h"
#include "replication/node/node_cluster.h"
#include "replication/node/node_site.h"
#include "test_bank.h"

#define FAKE_WAITING_MAX 64

struct node {
    struct test_bank bank;
    enum node_phase phase;
    enum status propose_status, read_status; /* other than OK: refused at once */
    struct node_request *requests[FAKE_WAITING_MAX];
    struct node_read *reads[FAKE_WAITING_MAX];
    uint32_t request_count, read_count, cancelled_count;
    enum status change_status; /* other than OK: a change is refused at once, in `words` */
    const char *words;
    struct node_change *change;         /* that waits */
    const char *drained;                /* NULL: it is not */
    bool site_operates;                 /* what was asked for waits: */
    struct site_operation_request site; /* or was the last one */
    uint32_t ended_count;               /* requests whose end was told */
    uint64_t transfer_to;
    uint32_t transfer_count;
    uint32_t unanswered_count, gone_count;
    const struct in_doubt *in_doubt;
    enum node_durability durability; /* what node_durability() says */
    struct node_both_wait *both_wait;
    struct node_cluster cluster; /* what node_cluster() gives */
    bool witness;                /* node_machine() is NULL */
    struct node_status shown;    /* what node_status() gives, but for phase and applied index */
};

void fake_node_init(struct node *node);
void fake_node_deinit(struct node *node);
/* Commits and applies the oldest waiting request and answers it. */
void fake_node_commit(struct node *node);
/* Answers the oldest waiting request with a status. */
void fake_node_refuse(struct node *node, enum status status);
/* Ends the change that waits. */
void fake_node_change_done(struct node *node, enum status status, const char *text);
/* Ends the site operation that waits. */
void fake_node_site_done(struct node *node, enum status status, const struct site_report *report,
                         const char *text);
/* Calls back the oldest waiting read. */
void fake_node_read_done(struct node *node, enum status status);

#endif
