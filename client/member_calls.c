/*
 * Members of the cluster and leadership. None of these calls has an identity: each describes a
 * state to be reached (this member votes, that one is gone, this one leads), so repeating it is as
 * safe as asking, and an unanswered attempt leaves nothing in doubt that a further one would not
 * settle.
 */
#include "client/message.h"

#include "tally/v1/admin.pb-c.h"

#include <string.h>

_Static_assert((int)TALLY_MEMBER_DATA == (int)TALLY__V1__MEMBER_KIND__DATA, "number of the kind");
_Static_assert((int)TALLY_MEMBER_WITNESS == (int)TALLY__V1__MEMBER_KIND__WITNESS,
               "number of the kind");
_Static_assert((int)TALLY_MEMBER_SPARE == (int)TALLY__V1__MEMBER_VOTE__SPARE, "number of the vote");
_Static_assert((int)TALLY_MEMBER_STANDBY == (int)TALLY__V1__MEMBER_VOTE__STANDBY,
               "number of the vote");
_Static_assert((int)TALLY_MEMBER_VOTER == (int)TALLY__V1__MEMBER_VOTE__VOTER, "number of the vote");

#define UNANSWERED                                                                                 \
    "; what was committed stays: \"tally member list\" shows how far it is, the same command "     \
    "goes on"

/* ---- the list ---- */

static bool read_state(const Tally__V1__MemberState *from, struct tally_member_state *out)
{
    const Tally__V1__Member *member = from->member;
    if (member == NULL || member->incarnation.len != sizeof out->member.incarnation)
        return false;
    *out = (struct tally_member_state){
        .member = {.node_id = member->node_id, .kind = (uint8_t)member->kind},
        .vote = (uint8_t)from->vote,
        .leader = from->leader,
        .asked = from->asked,
        .linked = from->linked,
        .heard = from->heard,
        .catching_up = from->catching_up,
        .heard_ms = from->heard_ms,
        .match_index = from->match_index,
        .catch_up_bytes = from->catch_up_bytes,
        .catch_up_bytes_total = from->catch_up_bytes_total,
    };
    memcpy(out->member.incarnation, member->incarnation.data, sizeof out->member.incarnation);
    return message_read_text(member->site, out->member.site, sizeof out->member.site) &&
           message_read_text(member->address, out->member.address, sizeof out->member.address);
}

static enum tally_status decode_members(const struct call_request *request, const uint8_t *answer,
                                        size_t size, struct tally_error *error)
{
    struct tally_members members = {.count = 0};
    Tally__V1__ListMembersResponse *response =
        tally__v1__list_members_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a list of members");
    bool fine = response->n_members <= TALLY_MEMBERS_MAX;
    for (size_t i = 0; fine && i < response->n_members; i++)
        fine = read_state(response->members[i], &members.rows[i]);
    members.count = response->n_members;
    members.leader_id = response->leader_id;
    members.term = response->term;
    members.commit_index = response->commit_index;
    members.changing = response->changing;
    members.transferring = response->transferring;
    tally__v1__list_members_response__free_unpacked(response, NULL);
    if (!fine)
        return message_malformed(error, "a list with a member that is none");
    *(struct tally_members *)request->out = members;
    return TALLY_OK;
}

enum tally_status tally_list_members(struct tally_client *client, struct tally_call *call,
                                     struct tally_members *out)
{
    struct call_request request = {
        .call = call, .path = "/tally.v1.Admin/ListMembers", .decode = decode_members, .out = out};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__ListMembersRequest message = TALLY__V1__LIST_MEMBERS_REQUEST__INIT;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

/* ---- changes ---- */

static enum tally_status decode_changed(const struct call_request *request, const uint8_t *answer,
                                        size_t size, struct tally_error *error)
{
    (void)request;
    Tally__V1__MemberChangeResponse *response =
        tally__v1__member_change_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not the end of a change");
    tally__v1__member_change_response__free_unpacked(response, NULL);
    return TALLY_OK;
}

/* Protobuf-C has no const; nothing is written through these. */
static void fill_member(const struct tally_member *member, Tally__V1__Member *out)
{
    tally__v1__member__init(out);
    out->node_id = member->node_id;
    out->kind = (Tally__V1__MemberKind)member->kind;
    out->site = (char *)(uintptr_t)member->site;
    out->address = (char *)(uintptr_t)member->address;
    out->incarnation = (ProtobufCBinaryData){.len = sizeof member->incarnation,
                                             .data = (uint8_t *)(uintptr_t)member->incarnation};
}

static enum tally_status change(struct tally_client *client, struct tally_call *call,
                                const char *path, const ProtobufCMessage *message)
{
    struct call_request request = {
        .call = call, .path = path, .unanswered = UNANSWERED, .decode = decode_changed};
    enum tally_status status = call_check(client, call, false, false);
    if (status == TALLY_OK)
        status = message_pack(message, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

enum tally_status tally_add_member(struct tally_client *client, struct tally_call *call,
                                   const struct tally_member *member, bool force)
{
    Tally__V1__Member part;
    Tally__V1__AddMemberRequest message = TALLY__V1__ADD_MEMBER_REQUEST__INIT;
    fill_member(member, &part);
    message.member = &part;
    message.force = force;
    return change(client, call, "/tally.v1.Admin/AddMember", &message.base);
}

enum tally_status tally_replace_member(struct tally_client *client, struct tally_call *call,
                                       uint64_t old_id, const struct tally_member *member,
                                       bool force)
{
    Tally__V1__Member part;
    Tally__V1__ReplaceMemberRequest message = TALLY__V1__REPLACE_MEMBER_REQUEST__INIT;
    fill_member(member, &part);
    message.old_node_id = old_id;
    message.member = &part;
    message.force = force;
    return change(client, call, "/tally.v1.Admin/ReplaceMember", &message.base);
}

enum tally_status tally_remove_member(struct tally_client *client, struct tally_call *call,
                                      uint64_t node_id, bool force)
{
    Tally__V1__RemoveMemberRequest message = TALLY__V1__REMOVE_MEMBER_REQUEST__INIT;
    message.node_id = node_id;
    message.force = force;
    return change(client, call, "/tally.v1.Admin/RemoveMember", &message.base);
}

/* ---- leadership ---- */

static enum tally_status decode_leader(const struct call_request *request, const uint8_t *answer,
                                       size_t size, struct tally_error *error)
{
    Tally__V1__TransferLeadershipResponse *response =
        tally__v1__transfer_leadership_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not the end of a change of leadership");
    *(uint64_t *)request->out = response->leader_id;
    tally__v1__transfer_leadership_response__free_unpacked(response, NULL);
    return TALLY_OK;
}

enum tally_status tally_transfer_leadership(struct tally_client *client, struct tally_call *call,
                                            uint64_t to, uint64_t *out_leader_id)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Admin/TransferLeadership",
                                   .unanswered = UNANSWERED,
                                   .decode = decode_leader,
                                   .out = out_leader_id};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__TransferLeadershipRequest message = TALLY__V1__TRANSFER_LEADERSHIP_REQUEST__INIT;
    message.node_id = to;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}
