/*
 * The node's side of a site operation: it lends the walk its clock, its links and its lists, and
 * answers the questions of a leader that has one under way. An answer is a statement about this
 * node at this moment; the leader decides what follows from it.
 */
#include "replication/node/node_site.h"

#include "replication/node/node_site.h"

#include "replication/node/node_cluster.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How often it is looked whether the site is drained: of the time it takes to begin serving again.
 */
#define DRAINED_LOOK_NS (20 * UINT64_C(1000000))

static uint32_t answer_flags(const struct node *node)
{
    uint32_t flags = 0;
    if (node->phase == NODE_SERVING)
        flags |= SITE_ANSWER_SERVES;
    if (disk_guard_read_only(&node->guard))
        flags |= SITE_ANSWER_READ_ONLY;
    if (node_is_stuck(node))
        flags |= SITE_ANSWER_STUCK;
    return flags;
}

static void answer(void *context, const struct site_question *question, struct site_answer *out)
{
    const struct node *node = context;
    struct pause pause;
    node_pause(node, question->window_ms * UINT64_C(1000000), &pause);
    *out = (struct site_answer){
        .sequence = question->sequence,
        .flags = answer_flags(node),
        .applied_index = node_applied_index(node),
        .wall_ns = node->environment->wall_ns(node->environment->context),
    };
    site_answer_seal(out, &pause);
}

static void ask(void *context, uint64_t to, const struct site_question *question)
{
    struct node *node = context;
    const struct transport_part part = {question, sizeof *question};
    if (node->transport_started) /* lost: asked again, or counted as silent */
        (void)transport_send(node->options.transport, to, TRANSPORT_CALLS, &part, 1);
}

static uint32_t in_flight(void *context)
{
    const struct node *node = context;
    return node->proposer.in_flight_entries;
}

static uint64_t wall_ns(void *context)
{
    const struct node *node = context;
    return node->environment->wall_ns(node->environment->context);
}

static const char *member_change(void *context)
{
    return node_change_step(context);
}

void node_site_init(struct node *node)
{
    const struct site_operation_world world = {
        .context = node,
        .ask = ask,
        .answer = answer,
        .wall_ns = wall_ns,
        .in_flight = in_flight,
        .member_change = member_change,
    };
    site_operation_init(&node->site_operation, node->consensus, node->identity.node_id, &world);
}

void node_site_receive(struct node *node, uint64_t from, uint16_t type, const void *bytes,
                       size_t size)
{
    struct site_question question;
    if (type == MESSAGE_SITE_ANSWER) {
        site_operation_receive(&node->site_operation, from, bytes, size, node_now_ns(node));
        return;
    }
    if (node_is_witness(node) || site_question_decode(bytes, size, &question) != STATUS_OK)
        return;
    struct site_answer reply;
    answer(node, &question, &reply);
    const struct transport_part part = {&reply, sizeof reply};
    /* Lost with its link or a full queue: then this node counts as silent, which it is. */
    (void)transport_send(node->options.transport, from, TRANSPORT_CALLS, &part, 1);
}

/* ---- drained ---- */

/* Where clients of a drained site find service: the leader, if it is elsewhere, or any other data
 * node of another site that is connected. */
static const struct consensus_peer *find_server(const struct consensus_peer *peers, uint32_t count,
                                                const char *drained, uint64_t leader_id)
{
    const struct consensus_peer *found = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct consensus_peer *peer = &peers[i];
        if (peer->member.kind != MEMBER_DATA || strcmp(peer->member.site, drained) == 0)
            continue;
        if (peer->member.node_id == leader_id)
            return peer;
        if (found == NULL || (peer->linked && !found->linked))
            found = peer;
    }
    return found;
}

static void look_whether_drained(struct node *node)
{
    struct consensus_durability durability;
    consensus_durability(node->consensus, &durability);
    const char *drained = durability.committed.policy.drained_site;
    if (drained[0] == '\0' || strcmp(drained, node->identity.site) != 0) {
        node->drained[0] = '\0';
        return;
    }
    struct consensus_peer peers[MEMBERS_MAX];
    struct consensus_status status;
    consensus_status(node->consensus, &status);
    const uint32_t count = consensus_peers(node->consensus, peers, MEMBERS_MAX);
    const struct consensus_peer *server = find_server(peers, count, drained, status.leader_id);
    const struct member nobody = {.site = "another site", .address = "see tally member list"};
    const struct member *member = server != NULL ? &server->member : &nobody;
    /* Its port for clients is not known here: the host is, from the address for its peers. */
    const char *port = strrchr(member->address, ':');
    const int host_size = server != NULL && port != NULL ? (int)(port - member->address)
                                                         : (int)strlen(member->address);
    snprintf(node->drained, sizeof node->drained,
             "site %s is drained and serves no clients; ask node %" PRIu64 " at site %s (%.*s)",
             drained, member->node_id, member->site, host_size, member->address);
}

void node_site_process(struct node *node)
{
    const uint64_t now = node_now_ns(node);
    if (!node_is_witness(node) && now - node->drained_looked_ns >= DRAINED_LOOK_NS) {
        node->drained_looked_ns = now;
        look_whether_drained(node);
    }
    site_operation_process(&node->site_operation, now);
}

const char *node_drained(const struct node *node)
{
    return node->drained;
}

/* ---- the operation ---- */

enum status node_site_begin(struct node *node, const struct site_operation_request *request,
                            struct node_error *out_error)
{
    *out_error = (struct node_error){0};
    if (node->phase != NODE_SERVING)
        return node_refuse(out_error, STATUS_NOT_READY, "this node does not serve; ask the leader");
    enum status status =
        site_operation_begin(&node->site_operation, request, node_now_ns(node), out_error);
    if (status == STATUS_OK)
        node_ask_wake(node);
    return status;
}

void node_site_cancel(struct node *node)
{
    site_operation_cancel(&node->site_operation);
    node_ask_wake(node);
}

void node_end_site(struct node *node, enum status status, const char *text)
{
    struct site_operation *operation = &node->site_operation;
    if (operation->state == SITE_IDLE)
        return;
    const struct site_operation_request request = operation->request;
    site_operation_cancel(operation);
    request.cb(request.context, status, &operation->report, text);
}

void node_site_progress(const struct node *node, struct site_operation_progress *out)
{
    site_operation_progress(&node->site_operation, out);
}

void node_note_ended(struct node *node, uint64_t accepted_ns, enum status status)
{
    pauses_note(&node->pauses, accepted_ns, node_now_ns(node), status);
}

void node_pause(const struct node *node, uint64_t window_ns, struct pause *out)
{
    pauses_since(&node->pauses, node_now_ns(node), window_ns, out);
}
