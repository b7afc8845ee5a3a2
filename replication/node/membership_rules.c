/*
 * The refusals, in their order: what the member says of itself, whom it collides with, whom the
 * command is about, and then what the cluster would be like.
 *
 * Two tables are judged. The one at the end of the command, for the site rule and for which losses
 * are survived; and, of a replacement, also the one on the way, with both the old and the new
 * member, for the site rule, which is about safety. That less is survived for the moment between
 * the two steps of a replacement is accepted.
 *
 * Ids are not used again: another node under the id of one that was removed could vote a second
 * time in a term in which the old one did. Only the ids of present members can be refused here: the
 * table is libraft's configuration, which has no place for who was removed, and what history the
 * journal has of it is pruned. The rest is the operator's list.
 *
 * "Survived" counts who is connected at this moment, so that a command is not refused for a loss
 * that would be the end already today.
 *
 * [safety] Under policy "never" the two sites stay two, whatever is forced: with the last data
 * voter of one gone, or one at a third site, a commit would not imply both, and no entry about
 * durability would say so. What a certificate promised under that policy would become untrue. Under
 * the other policies a certificate promises less.
 */
#include "replication/node/membership_rules.h"

#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/node/node_error.h"

#include <inttypes.h>
#include <string.h>

void membership_view(const struct membership *membership, struct membership_view *out)
{
    *out = (struct membership_view){0};
    out->table.count = consensus_peers(membership->consensus, out->peers, MEMBERS_MAX);
    invariant_values(out->table.count <= MEMBERS_MAX, out->table.count, MEMBERS_MAX);
    struct consensus_durability durability;
    consensus_durability(membership->consensus, &durability);
    out->never = durability.newest.policy.decision == DURABILITY_NEVER ||
                 durability.committed.policy.decision == DURABILITY_NEVER;
    for (uint32_t i = 0; i < out->table.count; i++) {
        const struct consensus_peer *peer = &out->peers[i];
        out->table.members[i] = peer->member;
        out->table.votes[i] = peer->vote == CONSENSUS_VOTER;
        if (peer->linked || peer->member.node_id == membership->node_id)
            out->up |= 1u << i;
    }
}

int membership_find(const struct membership_view *view, uint64_t node_id)
{
    for (uint32_t i = 0; i < view->table.count; i++) {
        if (view->table.members[i].node_id == node_id)
            return (int)i;
    }
    return -1;
}

static bool is_same(const struct member *a, const struct member *b)
{
    return a->node_id == b->node_id && a->kind == b->kind &&
           memcmp(a->incarnation, b->incarnation, sizeof a->incarnation) == 0 &&
           strcmp(a->site, b->site) == 0 && strcmp(a->address, b->address) == 0;
}

/* The new member against itself and against all others. */
static enum status check_member(const struct membership_view *view,
                                const struct membership_request *request, struct node_error *error)
{
    const struct member *member = &request->member;
    char text[MEMBER_TEXT_SIZE];
    if (member_print(member, text) != STATUS_OK)
        return node_refuse(error, STATUS_INVALID,
                           "node id, site or address of the new member is not valid: an id is 1 to "
                           "2^63 - 1, a site up to %d letters, digits, '-' and '_', an address "
                           "HOST:PORT or [IPV6]:PORT",
                           MEMBER_SITE_SIZE_MAX);
    int place = membership_find(view, member->node_id);
    if (place >= 0) {
        const struct member *present = &view->table.members[place];
        if (memcmp(present->incarnation, member->incarnation, sizeof member->incarnation) != 0)
            return node_refuse(error, STATUS_EXISTS,
                               "id %" PRIu64 " belongs to another node, at %s: make the new "
                               "directory with an id that was never used",
                               member->node_id, present->address);
        if (!is_same(present, member))
            return node_refuse(error, STATUS_EXISTS,
                               "node %" PRIu64 " is a member already, with another site, kind or "
                               "address (%s, %s), which do not change: make a new directory with "
                               "an id that was never used, and replace node %" PRIu64 " by it",
                               member->node_id, present->site, present->address, member->node_id);
        return STATUS_OK;
    }
    if (view->table.count == MEMBERS_MAX)
        return node_refuse(error, STATUS_INVALID,
                           "there are %d members, and more there cannot be: remove one first",
                           MEMBERS_MAX);
    for (uint32_t i = 0; i < view->table.count; i++) {
        const struct member *other = &view->table.members[i];
        if (memcmp(other->incarnation, member->incarnation, sizeof member->incarnation) == 0)
            return node_refuse(error, STATUS_EXISTS,
                               "node %" PRIu64 " has the same incarnation: the new node's "
                               "directory is a copy; make it with `tally node init --join`",
                               other->node_id);
        /* The replacement may well stand where the old one stood. */
        bool is_replaced = request->kind == MEMBERSHIP_REPLACE && other->node_id == request->old_id;
        if (!is_replaced && strcmp(other->address, member->address) == 0)
            return node_refuse(error, STATUS_EXISTS, "node %" PRIu64 " has the address %s",
                               other->node_id, member->address);
    }
    return STATUS_OK;
}

static enum status check_old(const struct membership_view *view,
                             const struct membership_request *request, struct node_error *error)
{
    if (request->kind == MEMBERSHIP_REPLACE && request->old_id == request->member.node_id)
        return node_refuse(error, STATUS_INVALID,
                           "node %" PRIu64 " cannot replace itself: a new node has a new id",
                           request->old_id);
    if (membership_find(view, request->old_id) >= 0)
        return STATUS_OK;
    /* A replacement whose second half is done. */
    if (request->kind == MEMBERSHIP_REPLACE && membership_find(view, request->member.node_id) >= 0)
        return STATUS_OK;
    return node_refuse(error, STATUS_NOT_FOUND, "no member has the id %" PRIu64, request->old_id);
}

/* ----------------------------------------------------------------------- what will be */

static void put_voter(struct membership_view *view, const struct member *member)
{
    int place = membership_find(view, member->node_id);
    if (place < 0) {
        place = (int)view->table.count++;
        view->table.members[place] = *member;
    }
    view->table.votes[place] = true;
    view->up |= 1u << place; /* or it would not become one */
}

static void take_vote(struct membership_view *view, uint64_t node_id)
{
    int place = membership_find(view, node_id);
    if (place >= 0)
        view->table.votes[place] = false;
}

static enum status check_site_rule(const struct membership_view *after, struct node_error *error)
{
    char site[MEMBER_SITE_SIZE_MAX + 1];
    if (member_table_is_allowed(&after->table, site))
        return STATUS_OK;
    return node_refuse(error, STATUS_INVALID,
                       "the data nodes of site %s alone would be a majority: a node at another "
                       "site, or a witness, has to be a voter first",
                       site);
}

static enum status check_voters_left(const struct membership_view *after, struct node_error *error)
{
    uint32_t data = 0;
    for (uint32_t i = 0; i < after->table.count; i++)
        data += after->table.votes[i] && after->table.members[i].kind == MEMBER_DATA ? 1 : 0;
    if (data > 0)
        return STATUS_OK;
    return node_refuse(error, STATUS_INVALID,
                       "no data node that votes would be left: add another one first");
}

static enum status check_policy(const struct membership_view *before,
                                const struct membership_view *after, struct node_error *error)
{
    const uint32_t sites = member_table_data_sites(&after->table);
    if (!before->never || member_table_data_sites(&before->table) != 2 || sites == 2)
        return STATUS_OK;
    return node_refuse(error, STATUS_INVALID,
                       "data nodes would vote at %" PRIu32 " sites instead of two, and the policy "
                       "is \"never\": what is acknowledged is at both. Change the policy first: "
                       "tally durability policy operator",
                       sites);
}

/* Sites that have no voter yet cannot be lost. */
static enum status check_losses(const struct membership_view *before,
                                const struct membership_view *after, struct node_error *error)
{
    for (uint32_t i = 0; i < before->table.count; i++) {
        const char *site = before->table.members[i].site;
        if (before->table.votes[i] &&
            member_table_survives_loss(&before->table, before->up, site) &&
            !member_table_survives_loss(&after->table, after->up, site))
            return node_refuse(error, STATUS_INVALID,
                               "the loss of site %s is survived now, and would not be any more "
                               "until another member is added or connected; use --force if that "
                               "is meant",
                               site);
    }
    return STATUS_OK;
}

enum status membership_check(const struct membership_view *view,
                             const struct membership_request *request, struct node_error *out_error)
{
    enum status status = STATUS_OK;
    struct membership_view after = *view;
    if (request->kind != MEMBERSHIP_REMOVE) {
        status = check_member(view, request, out_error);
        if (status == STATUS_OK && request->kind == MEMBERSHIP_REPLACE)
            status = check_old(view, request, out_error);
        if (status != STATUS_OK)
            return status;
        put_voter(&after, &request->member);
        if (!planted(PLANTED_REPLACE_STEP_NOT_JUDGED))
            status = check_site_rule(&after, out_error);
    } else {
        status = check_old(view, request, out_error);
    }
    if (status != STATUS_OK)
        return status;
    if (request->kind != MEMBERSHIP_ADD)
        take_vote(&after, request->old_id);
    status = check_voters_left(&after, out_error);
    if (status == STATUS_OK)
        status = check_site_rule(&after, out_error);
    if (status == STATUS_OK)
        status = check_policy(view, &after, out_error);
    if (status == STATUS_OK && !request->force)
        status = check_losses(view, &after, out_error);
    return status;
}
