/*
 * How reads share the loop's time: they are put off when a turn's time is used up, principals take
 * turns, and long ones come in slices. Without a network and without a disk (fake_grpc.h,
 * fake_node.h).
 */
#include "fake_grpc.h"
#include "fake_node.h"
#include "server/dispatch.h"
#include "server/read_queue.h"
#include "tally/v1/ledger.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHANNEL "tally:mobile-1"
#define AUDITOR "tally:audit"

static struct node node;
static struct grpc_server server;
static struct log *the_log;
static struct metrics *metrics;
static struct dispatch *dispatch;
static uint8_t body[64 * 1024];

static void setup(void)
{
    fake_node_init(&node);
    test_bank_open_accounts(&node.bank, 3);
    memset(&server, 0, sizeof server);
    the_log = log_create(STDERR_FILENO, LOG_LEVEL_COUNT); /* counts, writes nothing */
    metrics = metrics_create();
    struct dispatch_options options = {
        .node = &node,
        .log = the_log,
        .metrics = metrics,
        .requests_per_principal = 8,
        .requests_max = 8,
        .request_bytes_max = 2 * 1024 * 1024,
        .read_wait_ms = 1000,
    };
    dispatch = dispatch_create(&options);
    cr_assert_not_null(dispatch);
    dispatch_register(dispatch, &server);
    dispatch_set_ready(dispatch, true, NULL);
}

/* Whatever happened: every call has ended. */
static void teardown(void)
{
    cr_expect_eq(dispatch_call_count(dispatch), 0);
    dispatch_destroy(dispatch);
    metrics_destroy(metrics);
    log_destroy(the_log);
    fake_node_deinit(&node);
}

TestSuite(reads, .init = setup, .fini = teardown);

static void begin(struct grpc_call *call, enum method method, const char *principal, size_t size)
{
    *call = (struct grpc_call){.principal = principal, .deadline_ns = UINT64_MAX};
    const struct grpc_method *row = fake_method(&server, method_path(method));
    row->message(row->context, call, body, size);
}

static void go_away(struct grpc_call *call, enum method method)
{
    fake_call_gone(fake_method(&server, method_path(method)), call);
}

/* A turn's time is used up by one slow read: the others stand in line, in order, one of them loses
 * its client while it does, and the next turn answers the rest. */
Test(reads, reads_beyond_a_turns_time_are_put_off)
{
    struct grpc_call calls[4];
    for (int i = 0; i < 3; i++)
        begin(&calls[i], METHOD_LIST_LEDGERS, i == 0 ? AUDITOR : CHANNEL, 0);
    dispatch_charge(dispatch, 1000000000);
    for (int i = 0; i < 3; i++)
        fake_node_read_done(&node, STATUS_OK);
    for (int i = 0; i < 3; i++)
        cr_expect_not(calls[i].finished);
    go_away(&calls[1], METHOD_LIST_LEDGERS);
    cr_expect_eq(calls[1].code, GRPC_CANCELLED);
    cr_expect_eq(node.cancelled_count, 0);
    cr_expect_not(dispatch_process(dispatch));
    cr_expect_eq(calls[0].code, GRPC_OK);
    cr_expect(calls[0].finished);
    cr_expect(calls[2].finished);
    for (int i = 0; i < 3; i++)
        fake_call_done(&calls[i]);
}

/* A long look-up and a long list come in slices. What is posted between two slices is not in the
 * answer, though it was asked for: the answer is the state at the beginning, and says which.
 * Another principal's short read is answered between the slices. */
Test(reads, long_reads_come_in_slices)
{
    enum { POSTED = 40 };
    struct grpc_call lookup, list, other;
    struct id128 ids[POSTED + 1];
    ProtobufCBinaryData wanted[POSTED + 1];
    for (uint64_t i = 0; i <= POSTED; i++) {
        struct transfer_event transfer = transfer_of(700 + i, 1, 2, 1, 1);
        if (i < POSTED)
            cr_assert_eq(test_bank_transfer(&node.bank, &transfer), RESULT_OK);
        ids[i] = id_of(700 + i);
        wanted[i] = (ProtobufCBinaryData){.len = 16, .data = ids[i].bytes};
    }
    char index[24];
    snprintf(index, sizeof index, "%llu",
             (unsigned long long)machine_applied_index(node.bank.machine));
    dispatch_set_slice(dispatch, 0);
    Tally__V1__LookupTransfersRequest about = TALLY__V1__LOOKUP_TRANSFERS_REQUEST__INIT;
    about.ids = wanted;
    about.n_ids = POSTED + 1;
    begin(&lookup, METHOD_LOOKUP_TRANSFERS, AUDITOR,
          tally__v1__lookup_transfers_request__pack(&about, body));
    fake_node_read_done(&node, STATUS_OK);
    cr_expect_not(lookup.finished, "one slice is not the whole");
    begin(&other, METHOD_LIST_LEDGERS, CHANNEL, 0);
    begin(&list, METHOD_LIST_TRANSFERS, AUDITOR, 0);
    fake_node_read_done(&node, STATUS_OK);
    fake_node_read_done(&node, STATUS_OK);
    struct transfer_event late = transfer_of(700 + POSTED, 1, 2, 1, 1);
    cr_assert_eq(test_bank_transfer(&node.bank, &late), RESULT_OK);
    cr_expect_not(dispatch_process(dispatch));

    cr_assert(other.finished);
    cr_assert_eq(lookup.code, GRPC_OK, "%s", lookup.text);
    Tally__V1__LookupTransfersResponse *found = tally__v1__lookup_transfers_response__unpack(
        NULL, lookup.messages[0].size, lookup.messages[0].bytes);
    cr_assert_not_null(found);
    cr_assert_eq(found->n_transfers, POSTED);
    for (size_t i = 0; i < POSTED; i++)
        cr_expect_eq(memcmp(found->transfers[i]->id.data, ids[i].bytes, 16), 0);
    tally__v1__lookup_transfers_response__free_unpacked(found, NULL);
    cr_expect_str_eq(fake_trailer(&lookup, "tally-index"), index);

    cr_assert_eq(list.code, GRPC_OK, "%s", list.text);
    Tally__V1__ListTransfersResponse *page = tally__v1__list_transfers_response__unpack(
        NULL, list.messages[0].size, list.messages[0].bytes);
    cr_assert_not_null(page);
    cr_expect_eq(page->n_transfers, POSTED + 1, "the list began later");
    cr_expect_eq(page->next_first, 0);
    tally__v1__list_transfers_response__free_unpacked(page, NULL);
    fake_call_done(&lookup);
    fake_call_done(&list);
    fake_call_done(&other);
}

/* The client of a long read leaves in the middle of it: the next one gets the page, empty. */
Test(reads, a_long_read_that_is_left_gives_its_page_back)
{
    struct grpc_call calls[2];
    for (uint64_t i = 0; i < 40; i++) {
        struct transfer_event transfer = transfer_of(700 + i, 1, 2, 1, 1);
        cr_assert_eq(test_bank_transfer(&node.bank, &transfer), RESULT_OK);
    }
    dispatch_set_slice(dispatch, 0);
    for (int i = 0; i < 2; i++)
        begin(&calls[i], METHOD_LIST_TRANSFERS, i == 0 ? AUDITOR : CHANNEL, 0);
    fake_node_read_done(&node, STATUS_OK);
    fake_node_read_done(&node, STATUS_OK);
    go_away(&calls[0], METHOD_LIST_TRANSFERS);
    cr_expect_eq(calls[0].code, GRPC_CANCELLED);
    cr_expect_not(dispatch_process(dispatch));
    cr_assert_eq(calls[1].code, GRPC_OK, "%s", calls[1].text);
    Tally__V1__ListTransfersResponse *page = tally__v1__list_transfers_response__unpack(
        NULL, calls[1].messages[0].size, calls[1].messages[0].bytes);
    cr_assert_not_null(page);
    cr_expect_eq(page->n_transfers, machine_transfer_count(node.bank.machine));
    tally__v1__list_transfers_response__free_unpacked(page, NULL);
    fake_call_done(&calls[0]);
    fake_call_done(&calls[1]);
}

/* The queue alone: three reads of one principal and one of each of two others come out in turns, in
 * order for each; one that is put back keeps its place; any of them may be taken out. */
Test(reads, principals_take_turns)
{
    static struct read_queue queue;
    struct work works[6];
    memset(works, 0, sizeof works);
    const uint32_t principals[6] = {5, 5, 5, 9, 0, 9};
    for (int i = 0; i < 6; i++) {
        works[i].caller.name_ordinal = principals[i];
        read_queue_add(&queue, &works[i]);
    }
    cr_expect_eq(read_queue_take(&queue), &works[0]);
    read_queue_put_back(&queue, &works[0]);
    cr_expect_eq(read_queue_take(&queue), &works[3]);
    cr_expect_eq(read_queue_take(&queue), &works[4]);
    read_queue_put_back(&queue, &works[4]);
    cr_expect_eq(read_queue_take(&queue), &works[0]);
    read_queue_remove(&queue, &works[2]);
    read_queue_remove(&queue, &works[5]);
    cr_expect_eq(read_queue_take(&queue), &works[4]);
    read_queue_put_back(&queue, &works[4]);
    cr_expect_eq(read_queue_take(&queue), &works[1]);
    read_queue_remove(&queue, &works[4]);
    cr_expect(read_queue_is_empty(&queue));
    cr_expect_null(read_queue_take(&queue));
}
