#include "fake_node.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

void fake_node_init(struct node *node)
{
    memset(node, 0, sizeof *node);
    test_bank_init(&node->bank);
    node->phase = NODE_SERVING;
    node->shown = (struct node_status){.node_id = 7, .epoch = 3, .role = "leader"};
}

void fake_node_deinit(struct node *node)
{
    cr_assert_eq(node->request_count + node->read_count, 0, "somebody still waits");
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
    return node->bank.machine;
}

void node_status(const struct node *node, struct node_status *out)
{
    *out = node->shown;
    out->phase = node->phase;
    if (out->applied_index == 0)
        out->applied_index = machine_applied_index(node->bank.machine);
}
