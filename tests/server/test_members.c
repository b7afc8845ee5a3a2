/*
 * Members and leadership on the wire: who may ask, what the node is asked to do, and in which words
 * each end reaches the operator. Without a network and without a cluster (fake_grpc.h,
 * fake_node.h).
 */
#include "fake_grpc.h"
#include "fake_node.h"
#include "server/dispatch.h"
#include "tally/v1/admin.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHANNEL  "tally:mobile-1"
#define OPERATOR "tally:ops"
#define AUDITOR  "tally:audit"

static struct node node;
static struct grpc_server server;
static struct log *the_log;
static struct metrics *metrics;
static struct dispatch *dispatch;
static uint8_t body[4096];
static uint8_t incarnation[16];

static void make_dispatch(bool alone)
{
    struct dispatch_options options = {
        .node = &node,
        .log = the_log,
        .metrics = metrics,
        .requests_per_principal = 3,
        .requests_max = 4,
        .request_bytes_max = 2 * 1024 * 1024,
        .read_wait_ms = 1000,
        .alone = alone,
    };
    dispatch = dispatch_create(&options);
    cr_assert_not_null(dispatch);
    dispatch_register(dispatch, &server);
    dispatch_set_ready(dispatch, true, NULL);
}

static void setup(void)
{
    fake_node_init(&node);
    memset(&server, 0, sizeof server);
    memset(incarnation, 0xab, sizeof incarnation);
    the_log = log_create(STDERR_FILENO, LOG_LEVEL_COUNT);
    metrics = metrics_create();
    make_dispatch(false);
    node.cluster.consensus.commit_index = 50;
}

static void teardown(void)
{
    cr_expect_eq(dispatch_call_count(dispatch), 0);
    dispatch_destroy(dispatch);
    metrics_destroy(metrics);
    log_destroy(the_log);
    fake_node_deinit(&node);
}

TestSuite(members, .init = setup, .fini = teardown);

static void begin(struct grpc_call *call, enum method method, const char *principal, size_t size)
{
    *call = (struct grpc_call){.principal = principal, .deadline_ns = UINT64_MAX};
    const struct grpc_method *row = fake_method(&server, method_path(method));
    row->message(row->context, call, body, size);
}

static size_t add_body(uint64_t id, const char *site, const char *address, bool force)
{
    Tally__V1__Member member = TALLY__V1__MEMBER__INIT;
    member.node_id = id;
    member.site = (char *)(uintptr_t)site;
    member.address = (char *)(uintptr_t)address;
    member.kind = TALLY__V1__MEMBER_KIND__WITNESS;
    member.incarnation = (ProtobufCBinaryData){.len = sizeof incarnation, .data = incarnation};
    Tally__V1__AddMemberRequest request = TALLY__V1__ADD_MEMBER_REQUEST__INIT;
    request.member = &member;
    request.force = force;
    return tally__v1__add_member_request__pack(&request, body);
}

/* What is asked for reaches the node field by field; the call lasts as long as the change. */
Test(members, member_is_added_when_the_node_says_so)
{
    struct grpc_call call;
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, add_body(3, "W", "w.bank.example:7402", true));
    cr_assert_not(call.finished);
    cr_assert_not_null(node.change);
    cr_expect_eq(node.change->kind, NODE_MEMBER_ADD);
    cr_expect_eq(node.change->member.node_id, 3);
    cr_expect_eq(node.change->member.kind, MEMBER_WITNESS);
    cr_expect_str_eq(node.change->member.site, "W");
    cr_expect_str_eq(node.change->member.address, "w.bank.example:7402");
    cr_expect_arr_eq(node.change->member.incarnation, incarnation, 16);
    cr_expect(node.change->force);
    cr_expect_lt(node.change->deadline_ns, UINT64_MAX, "no change may be waited for without end");
    fake_node_change_done(&node, STATUS_OK, NULL);
    cr_expect_eq(call.code, GRPC_OK, "%s", call.text);
    cr_expect_eq(call.message_count, 1);
    fake_call_done(&call);
}

Test(members, replace_and_remove_name_the_old_member)
{
    struct grpc_call call;
    Tally__V1__Member member = TALLY__V1__MEMBER__INIT;
    member.node_id = 6;
    member.site = (char *)(uintptr_t) "B";
    member.address = (char *)(uintptr_t) "[::1]:7402";
    member.incarnation = (ProtobufCBinaryData){.len = sizeof incarnation, .data = incarnation};
    Tally__V1__ReplaceMemberRequest replace = TALLY__V1__REPLACE_MEMBER_REQUEST__INIT;
    replace.old_node_id = 2;
    replace.member = &member;
    begin(&call, METHOD_REPLACE_MEMBER, OPERATOR,
          tally__v1__replace_member_request__pack(&replace, body));
    cr_assert_not_null(node.change);
    cr_expect_eq(node.change->kind, NODE_MEMBER_REPLACE);
    cr_expect_eq(node.change->old_id, 2);
    cr_expect_eq(node.change->member.node_id, 6);
    cr_expect_eq(node.change->member.kind, MEMBER_DATA);
    cr_expect_not(node.change->force);
    fake_node_change_done(&node, STATUS_OK, NULL);
    fake_call_done(&call);

    Tally__V1__RemoveMemberRequest removal = TALLY__V1__REMOVE_MEMBER_REQUEST__INIT;
    removal.node_id = 2;
    begin(&call, METHOD_REMOVE_MEMBER, OPERATOR,
          tally__v1__remove_member_request__pack(&removal, body));
    cr_assert_not_null(node.change);
    cr_expect_eq(node.change->kind, NODE_MEMBER_REMOVE);
    cr_expect_eq(node.change->old_id, 2);
    fake_node_change_done(&node, STATUS_OK, NULL);
    fake_call_done(&call);
}

/* A node without peer.listen would wait for the new member for ever. */
Test(members, node_without_peers_adds_nobody)
{
    struct grpc_call call;
    dispatch_destroy(dispatch);
    memset(&server, 0, sizeof server);
    make_dispatch(true);
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, add_body(3, "W", "w:1", false));
    cr_assert(call.finished);
    cr_expect_eq(call.code, GRPC_FAILED_PRECONDITION);
    cr_expect(strstr(call.text, "peer.listen"), "%s", call.text);
    cr_expect_null(node.change);
    fake_call_done(&call);
}

/* Each refusal has its code, and the node's words; those that pass elsewhere or later are told
 * apart from those that do not. */
Test(members, every_refusal_has_its_code_and_the_nodes_words)
{
    static const struct {
        enum status status;
        enum grpc_code code;
        const char *outcome;
    } rows[] = {
        {STATUS_NOT_READY, GRPC_UNAVAILABLE, "NOT_ACCEPTED"},
        {STATUS_BUSY, GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED"},
        {STATUS_INVALID, GRPC_FAILED_PRECONDITION, NULL},
        {STATUS_DENIED, GRPC_FAILED_PRECONDITION, NULL},
        {STATUS_EXISTS, GRPC_ALREADY_EXISTS, NULL},
        {STATUS_NOT_FOUND, GRPC_NOT_FOUND, NULL},
        {STATUS_DEADLINE, GRPC_DEADLINE_EXCEEDED, NULL},
        {STATUS_UNKNOWN_OUTCOME, GRPC_UNAVAILABLE, "UNKNOWN"},
    };
    dispatch_set_leader(dispatch, 9);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int later = 0; later < 2; later++) {
            struct grpc_call call;
            node.change_status = later ? STATUS_OK : rows[i].status;
            node.words = "site A would be alone";
            begin(&call, METHOD_ADD_MEMBER, OPERATOR, add_body(3, "A", "a:1", false));
            if (later)
                fake_node_change_done(&node, rows[i].status, node.words);
            cr_assert(call.finished);
            cr_expect_eq(call.code, rows[i].code, "%d: %d", rows[i].status, call.code);
            cr_expect_str_eq(call.text, "site A would be alone");
            const char *outcome = fake_trailer(&call, "tally-outcome");
            cr_expect(rows[i].outcome ? outcome && strcmp(outcome, rows[i].outcome) == 0
                                      : !outcome);
            cr_expect_str_eq(fake_trailer(&call, "tally-leader"), "9");
            fake_call_done(&call);
        }
}

Test(members, only_site_operators_change_members)
{
    static const enum method methods[] = {METHOD_ADD_MEMBER, METHOD_REPLACE_MEMBER,
                                          METHOD_REMOVE_MEMBER, METHOD_TRANSFER_LEADERSHIP};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct grpc_call call;
        begin(&call, methods[i], i % 2 ? AUDITOR : CHANNEL, add_body(3, "A", "a:1", false));
        cr_assert(call.finished);
        cr_expect_eq(call.code, GRPC_PERMISSION_DENIED);
        cr_expect(strstr(call.text, "site_operator"), "%s", call.text);
        fake_call_done(&call);
    }
    cr_expect_null(node.change);
    cr_expect_eq(node.transfer_count, 0);
}

/* What is no member is refused before the node sees it. */
Test(members, nonsense_never_reaches_the_node)
{
    static const struct {
        uint64_t id;
        const char *site, *address;
        const char *word;
    } rows[] = {
        {0, "A", "a:1", "node_id"},
        {UINT64_MAX, "A", "a:1", "node_id"},
        {3, "", "a:1", "site"},
        {3, "A B", "a:1", "site"},
        {3, "seventeen-letters", "a:1", "site"},
        {3, "A", "", "address"},
        {3, "A", "no port", "address"},
    };
    struct grpc_call call;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(&call, METHOD_ADD_MEMBER, OPERATOR,
              add_body(rows[i].id, rows[i].site, rows[i].address, false));
        cr_assert(call.finished, "row %zu", i);
        cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
        cr_expect(strstr(call.text, rows[i].word), "row %zu: %s", i, call.text);
        fake_call_done(&call);
    }
    memset(incarnation, 0, sizeof incarnation);
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, add_body(3, "A", "a:1", false));
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    cr_expect(strstr(call.text, "incarnation"), "%s", call.text);
    fake_call_done(&call);
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, 0);
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    cr_expect(strstr(call.text, "member"), "%s", call.text);
    fake_call_done(&call);
    begin(&call, METHOD_REMOVE_MEMBER, OPERATOR, 0);
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    fake_call_done(&call);
    /* The one member, given twice. */
    memset(incarnation, 1, sizeof incarnation);
    size_t size = add_body(3, "A", "a:1", false);
    memcpy(body + size, body, size);
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, 2 * size);
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    cr_expect(strstr(call.text, "twice"), "%s", call.text);
    fake_call_done(&call);
    cr_expect_null(node.change);
}

/* The client leaves: the node stops telling, what is committed stays. */
Test(members, a_client_that_leaves_ends_the_waiting_only)
{
    struct grpc_call call;
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, add_body(3, "A", "a:1", false));
    fake_call_gone(fake_method(&server, method_path(METHOD_ADD_MEMBER)), &call);
    cr_expect_eq(node.cancelled_count, 1);
    cr_expect_eq(call.code, GRPC_CANCELLED);
    fake_call_done(&call);

    begin(&call, METHOD_TRANSFER_LEADERSHIP, OPERATOR, 0);
    fake_call_gone(fake_method(&server, method_path(METHOD_TRANSFER_LEADERSHIP)), &call);
    cr_expect_eq(call.code, GRPC_CANCELLED);
    fake_call_done(&call);
    dispatch_process(dispatch); /* nobody waits: nothing is touched */
}

static size_t transfer_body(uint64_t to)
{
    Tally__V1__TransferLeadershipRequest request = TALLY__V1__TRANSFER_LEADERSHIP_REQUEST__INIT;
    request.node_id = to;
    return tally__v1__transfer_leadership_request__pack(&request, body);
}

/* The answer comes once another member leads, and names it. */
Test(members, leadership_moves_and_the_answer_names_the_new_leader)
{
    struct grpc_call call, second;
    begin(&call, METHOD_TRANSFER_LEADERSHIP, OPERATOR, transfer_body(8));
    cr_expect_eq(node.transfer_to, 8);
    dispatch_process(dispatch);
    cr_assert_not(call.finished, "still under way");
    begin(&second, METHOD_TRANSFER_LEADERSHIP, OPERATOR, transfer_body(9));
    cr_expect_eq(second.code, GRPC_RESOURCE_EXHAUSTED);
    cr_expect_eq(node.transfer_count, 1);
    fake_call_done(&second);
    node.cluster.consensus.leads = node.cluster.consensus.transferring = false;
    node.cluster.consensus.leader_id = 0;
    dispatch_process(dispatch);
    cr_assert_not(call.finished, "nobody leads yet");
    node.cluster.consensus.leader_id = 8;
    dispatch_process(dispatch);
    cr_assert(call.finished);
    cr_expect_eq(call.code, GRPC_OK, "%s", call.text);
    Tally__V1__TransferLeadershipResponse *response =
        tally__v1__transfer_leadership_response__unpack(NULL, call.messages[0].size,
                                                        call.messages[0].bytes);
    cr_assert_not_null(response);
    cr_expect_eq(response->leader_id, 8);
    tally__v1__transfer_leadership_response__free_unpacked(response, NULL);
    fake_call_done(&call);
}

/* Nobody took over: leadership stays, and the operator hears so. The leader asked to lead itself
 * has nothing to do. */
Test(members, leadership_that_stays_is_told)
{
    struct grpc_call call;
    begin(&call, METHOD_TRANSFER_LEADERSHIP, OPERATOR, transfer_body(8));
    node.cluster.consensus.transferring = false;
    dispatch_process(dispatch);
    cr_assert(call.finished);
    cr_expect_eq(call.code, GRPC_FAILED_PRECONDITION);
    cr_expect(strstr(call.text, "stays here"), "%s", call.text);
    fake_call_done(&call);
    begin(&call, METHOD_TRANSFER_LEADERSHIP, OPERATOR, transfer_body(7));
    cr_expect_eq(call.code, GRPC_OK);
    cr_expect_eq(node.transfer_count, 1);
    fake_call_done(&call);
    node.change_status = STATUS_NOT_READY;
    begin(&call, METHOD_TRANSFER_LEADERSHIP, OPERATOR, transfer_body(8));
    cr_expect_eq(call.code, GRPC_UNAVAILABLE);
    fake_call_done(&call);
    node.change_status = STATUS_OK;
    begin(&call, METHOD_TRANSFER_LEADERSHIP, OPERATOR, transfer_body(8));
    cr_expect_not(call.finished, "an earlier one left nothing behind");
    node.cluster.consensus.leader_id = 8;
    dispatch_process(dispatch);
    fake_call_done(&call);
}

/* The node replays, or has no leader: who is listed may look all the same, others hear that it is
 * not ready, and nothing else is done. */
Test(members, members_can_be_seen_before_the_node_serves)
{
    struct grpc_call call;
    dispatch_set_ready(dispatch, false, "replaying");
    begin(&call, METHOD_LIST_MEMBERS, AUDITOR, 0);
    cr_expect_eq(call.code, GRPC_OK, "%s", call.text);
    fake_call_done(&call);
    begin(&call, METHOD_LIST_MEMBERS, "tally:stranger", 0);
    cr_expect_eq(call.code, GRPC_UNAVAILABLE);
    fake_call_done(&call);
    begin(&call, METHOD_ADD_MEMBER, OPERATOR, add_body(3, "A", "a:1", false));
    cr_expect_eq(call.code, GRPC_UNAVAILABLE);
    fake_call_done(&call);
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    cr_expect_eq(call.code, GRPC_UNAVAILABLE);
    fake_call_done(&call);
    cr_expect_null(node.change);
}

/* Everybody who is listed may see the members, also while nobody leads. */
Test(members, list_shows_what_this_node_knows)
{
    struct grpc_call call;
    struct node_cluster *cluster = &node.cluster;
    cluster->consensus.leads = false;
    cluster->consensus.leader_id = 8;
    cluster->peer_count = 2;
    cluster->peers[0] = (struct consensus_peer){
        .member = {.node_id = 7, .site = "A", .address = "a:1"}, .vote = CONSENSUS_VOTER};
    cluster->peers[1] = (struct consensus_peer){
        .member = {.node_id = 8, .kind = MEMBER_WITNESS, .site = "W", .address = "w:1"},
        .vote = CONSENSUS_SPARE,
        .linked = true,
        .heard_ns = 1,
        .match_index = 49};
    memcpy(cluster->peers[1].member.incarnation, incarnation, 16);
    cluster->catch_up[1] =
        (struct node_peer_catch_up){.active = true, .bytes_done = 5, .bytes_total = 10};
    node.shown.synced_index = 51;
    begin(&call, METHOD_LIST_MEMBERS, CHANNEL, 0);
    cr_assert(call.finished);
    cr_assert_eq(call.code, GRPC_OK, "%s", call.text);
    Tally__V1__ListMembersResponse *response = tally__v1__list_members_response__unpack(
        NULL, call.messages[0].size, call.messages[0].bytes);
    cr_assert_not_null(response);
    cr_expect_eq(response->leader_id, 8);
    cr_expect_eq(response->term, 4);
    cr_expect_eq(response->commit_index, 50);
    cr_assert_eq(response->n_members, 2);
    const Tally__V1__MemberState *self = response->members[0], *other = response->members[1];
    cr_expect(self->asked && self->linked && self->heard && !self->leader);
    cr_expect_eq(self->vote, TALLY__V1__MEMBER_VOTE__VOTER);
    cr_expect_eq(self->match_index, 51);
    cr_expect_eq(self->member->node_id, 7);
    cr_expect_str_eq(self->member->site, "A");
    cr_expect(other->leader && !other->asked && other->linked && other->heard);
    cr_expect_eq(other->vote, TALLY__V1__MEMBER_VOTE__SPARE);
    cr_expect_eq(other->match_index, 49);
    cr_expect_eq(other->member->kind, TALLY__V1__MEMBER_KIND__WITNESS);
    cr_expect_arr_eq(other->member->incarnation.data, incarnation, 16);
    cr_expect(other->catching_up);
    cr_expect_eq(other->catch_up_bytes, 5);
    cr_expect_eq(other->catch_up_bytes_total, 10);
    tally__v1__list_members_response__free_unpacked(response, NULL);
    fake_call_done(&call);
}
