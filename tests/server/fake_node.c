#include "fake_node.h"

#include "replication/node/certificate_record.h"
#include "replication/node/rpo.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fake_node_init(struct node *node)
{
    memset(node, 0, sizeof *node);
    test_bank_init(&node->bank);
    node->phase = NODE_SERVING;
    node->shown = (struct node_status){.node_id = 7, .epoch = 3, .role = "leader"};
    node->cluster.consensus = (struct consensus_status){
        .term = 4, .leader_id = 7, .role = "leader", .leads = true, .ready = true};
}

void fake_node_deinit(struct node *node)
{
    cr_assert_eq(node->request_count + node->read_count, 0, "somebody still waits");
    cr_assert_null(node->change, "somebody still waits for a change of members");
    test_bank_deinit(&node->bank);
}

static struct node_request *next_request(struct node *node)
{
    cr_assert_gt(node->request_count, 0, "nothing was proposed");
    struct node_request *request = node->requests[0];
    node->request_count--;
    memmove(node->requests, node->requests + 1, node->request_count * sizeof node->requests[0]);
    return request;
}

void fake_node_commit(struct node *node)
{
    struct node_request *request = next_request(node);
    size_t size = sizeof(struct entry_header) + request->request->size;
    struct entry_header *entry = calloc(1, size);
    entry->version = COMMAND_VERSION;
    entry->size = (uint32_t)size;
    entry->stamp = node->bank.stamp;
    entry->request_count = 1;
    entry->event_count = request_stamp_count(request->request);
    memcpy(entry + 1, request->request, request->request->size);
    cr_assert_eq(command_check(entry, size), STATUS_OK);
    test_bank_apply(&node->bank, entry, size);
    free(entry);
    request->cb(request, STATUS_OK, &node->bank.answers[0].answer);
}

void fake_node_refuse(struct node *node, enum status status)
{
    struct node_request *request = next_request(node);
    request->cb(request, status, NULL);
}

void fake_node_read_done(struct node *node, enum status status)
{
    cr_assert_gt(node->read_count, 0, "nothing is asked");
    struct node_read *read = node->reads[0];
    node->read_count--;
    memmove(node->reads, node->reads + 1, node->read_count * sizeof node->reads[0]);
    read->cb(read, status);
}

enum status node_propose(struct node *node, struct node_request *request)
{
    if (node->propose_status != STATUS_OK)
        return node->propose_status;
    cr_assert_lt(node->request_count, FAKE_WAITING_MAX);
    node->requests[node->request_count++] = request;
    return STATUS_OK;
}

enum status node_read(struct node *node, struct node_read *read)
{
    if (node->read_status != STATUS_OK)
        return node->read_status;
    cr_assert_lt(node->read_count, FAKE_WAITING_MAX);
    node->reads[node->read_count++] = read;
    return STATUS_OK;
}

void node_read_cancel(struct node *node, struct node_read *read)
{
    for (uint32_t i = 0; i < node->read_count; i++) {
        if (node->reads[i] != read)
            continue;
        node->read_count--;
        memmove(node->reads + i, node->reads + i + 1,
                (node->read_count - i) * sizeof node->reads[0]);
        node->cancelled_count++;
        return;
    }
    cr_assert_fail("a read was cancelled that does not wait");
}

const struct machine *node_machine(const struct node *node)
{
    return node->witness ? NULL : node->bank.machine;
}

void node_write_refusal(const struct node *node, char *out, size_t size)
{
    (void)node;
    (void)size;
    out[0] = 0;
}

void node_cluster(const struct node *node, struct node_cluster *out)
{
    *out = node->cluster;
}

const char *node_change_step(const struct node *node)
{
    return node->change ? "catching up" : "";
}

static enum status refuse(struct node *node, struct node_error *out_error)
{
    out_error->status = node->change_status;
    snprintf(out_error->text, sizeof out_error->text, "%s", node->words ? node->words : "");
    return node->change_status;
}

enum status node_change_members(struct node *node, struct node_change *change,
                                struct node_error *out_error)
{
    if (node->change_status != STATUS_OK)
        return refuse(node, out_error);
    cr_assert_null(node->change);
    node->change = change;
    return STATUS_OK;
}

void node_change_cancel(struct node *node, struct node_change *change)
{
    cr_assert_eq(node->change, change, "a change was cancelled that is not under way");
    node->change = NULL;
    node->cancelled_count++;
}

enum status node_site_begin(struct node *node, const struct site_operation_request *request,
                            struct node_error *out_error)
{
    if (node->change_status != STATUS_OK)
        return refuse(node, out_error);
    cr_assert_not(node->site_operates);
    node->site_operates = true;
    node->site = *request;
    return STATUS_OK;
}

const char *node_drained(const struct node *node)
{
    return node->drained ? node->drained : "";
}

void node_site_cancel(struct node *node)
{
    cr_assert(node->site_operates, "an operation was cancelled that is not under way");
    node->site_operates = false;
    node->cancelled_count++;
}

void node_note_ended(struct node *node, uint64_t accepted_ns, enum status status)
{
    (void)status;
    cr_assert_neq(accepted_ns, 0);
    node->ended_count++;
}

void fake_node_site_done(struct node *node, enum status status, const struct site_report *report,
                         const char *text)
{
    cr_assert(node->site_operates);
    node->site_operates = false;
    node->site.cb(node->site.context, status, report, text);
}

enum status node_transfer_leadership(struct node *node, uint64_t to, struct node_error *out_error)
{
    if (node->change_status != STATUS_OK)
        return refuse(node, out_error);
    node->transfer_to = to;
    node->transfer_count++;
    node->cluster.consensus.transferring = true;
    return STATUS_OK;
}

void fake_node_change_done(struct node *node, enum status status, const char *text)
{
    cr_assert_not_null(node->change);
    struct node_change *change = node->change;
    node->change = NULL;
    change->cb(change, status, text);
}

void node_status(const struct node *node, struct node_status *out)
{
    *out = node->shown;
    out->phase = node->phase;
    if (out->applied_index == 0 && !node->witness)
        out->applied_index = machine_applied_index(node->bank.machine);
}

/* ---- evidence: this node holds none ---- */

bool node_certificate(const struct node *node, struct certificate_view *out)
{
    (void)node, (void)out;
    return false;
}

void node_rpo(const struct node *node, struct rpo_report *out)
{
    (void)node;
    memset(out, 0, sizeof *out);
}

/* ---- requests in doubt ---- */

void node_note_unanswered(struct node *node, const struct node_request *request)
{
    (void)request;
    node->unanswered_count++;
}

void node_note_gone(struct node *node, const struct node_request *request)
{
    (void)request;
    node->gone_count++;
}

const struct in_doubt *node_in_doubt(const struct node *node)
{
    return node->in_doubt;
}

/* ---- on both sites ---- */

enum node_durability node_durability(const struct node *node, const struct node_request *request,
                                     uint64_t index)
{
    (void)request, (void)index;
    return node->durability;
}

void node_wait_both(struct node *node, struct node_both_wait *wait)
{
    cr_assert_null(node->both_wait);
    node->both_wait = wait;
}
