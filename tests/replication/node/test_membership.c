/*
 * Changes of the members over a consensus of straw: it has a table, a leader and a switch for each
 * thing that can stand in the way. Members are "data@A"-like: site A, B or W; W's are witnesses.
 */
#include "replication/node/membership.h"
#include "replication/node/membership_rules.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(membership, .timeout = 30);

#define MS   UINT64_C(1000000)
#define SELF 1

struct straw {
    struct consensus consensus; /* first */
    struct consensus_peer peers[MEMBERS_MAX + 1];
    uint32_t count;
    uint64_t leader, commit_index;
    bool ready, changing, transferring, catches_up, hands_over;
    /* The change under way. */
    bool in_flight;
    struct consensus_change wanted;
    consensus_change_cb cb;
    void *context;
    /* In the way. */
    uint32_t busy;          /* times that a change is refused for the moment */
    enum status refusal;    /* of every change, unless STATUS_OK */
    uint32_t aborts;        /* times that a promotion is given up */
    uint32_t loses_lead_in; /* turns; 0: never */
    enum status transfer_status;
    uint32_t changes, transfers;
    enum durability_decision decision; /* of the policy about two sites */
};

static struct straw *straw_of(const struct consensus *consensus)
{
    return (struct straw *)(uintptr_t)consensus;
}

static enum status straw_change(struct consensus *consensus, const struct consensus_change *change,
                                consensus_change_cb cb, void *context)
{
    struct straw *straw = straw_of(consensus);
    cr_assert_not(straw->in_flight, "one at a time");
    if (straw->leader != SELF)
        return STATUS_NOT_READY;
    if (straw->refusal != STATUS_OK)
        return straw->refusal;
    if (straw->busy > 0) {
        straw->busy--;
        return STATUS_BUSY;
    }
    straw->in_flight = true;
    straw->wanted = *change;
    straw->cb = cb;
    straw->context = context;
    return STATUS_OK;
}

static enum status straw_transfer(struct consensus *consensus, uint64_t to)
{
    struct straw *straw = straw_of(consensus);
    cr_assert_eq(to, 0);
    straw->transfers++;
    if (straw->transfer_status == STATUS_OK && straw->hands_over)
        straw->leader = 2;
    return straw->transfer_status;
}

static uint32_t straw_peers(const struct consensus *consensus, struct consensus_peer *out,
                            uint32_t capacity)
{
    const struct straw *straw = straw_of(consensus);
    cr_assert_leq(straw->count, capacity);
    memcpy(out, straw->peers, straw->count * sizeof out[0]);
    return straw->count;
}

static void straw_status(const struct consensus *consensus, struct consensus_status *out)
{
    const struct straw *straw = straw_of(consensus);
    *out = (struct consensus_status){.leader_id = straw->leader,
                                     .leads = straw->leader == SELF,
                                     .ready = straw->leader == SELF && straw->ready,
                                     .changing = straw->changing,
                                     .transferring = straw->transferring,
                                     .commit_index = straw->commit_index};
}

static void straw_durability(const struct consensus *consensus, struct consensus_durability *out)
{
    *out = (struct consensus_durability){0};
    out->newest.policy.decision = out->committed.policy.decision = straw_of(consensus)->decision;
}

static const struct consensus_operations straw_operations = {.durability = straw_durability,
                                                             .change = straw_change,
                                                             .transfer = straw_transfer,
                                                             .peers = straw_peers,
                                                             .status = straw_status};

static struct member member_of(uint64_t node_id, char site)
{
    struct member member = {
        .node_id = node_id, .kind = site == 'W' ? MEMBER_WITNESS : MEMBER_DATA, .site = {site}};
    memset(member.incarnation, (int)node_id, sizeof member.incarnation);
    snprintf(member.address, sizeof member.address, "node-%d:7001", (int)node_id);
    return member;
}

/* "A B W": voters with ids from 1, all connected. "B-": it is not. "A?": a spare, "A~": standby. */
static struct straw straw_with(const char *words)
{
    struct straw straw = {.consensus.operations = &straw_operations,
                          .leader = SELF,
                          .ready = true,
                          .catches_up = true,
                          .hands_over = true,
                          .commit_index = 1000};
    for (; *words != 0; words++) {
        if (*words == ' ')
            continue;
        if (*words == '-') {
            straw.peers[straw.count - 1].linked = false;
        } else if (*words == '?' || *words == '~') {
            straw.peers[straw.count - 1].vote = *words == '?' ? CONSENSUS_SPARE : CONSENSUS_STANDBY;
        } else {
            struct consensus_peer *peer = &straw.peers[straw.count++];
            *peer = (struct consensus_peer){.member = member_of(straw.count, *words),
                                            .vote = CONSENSUS_VOTER,
                                            .match_index = 1000,
                                            .linked = true};
        }
    }
    return straw;
}

static struct consensus_peer *peer_of(struct straw *straw, uint64_t node_id)
{
    for (uint32_t i = 0; i < straw->count; i++) {
        if (straw->peers[i].member.node_id == node_id)
            return &straw->peers[i];
    }
    return NULL;
}

static struct consensus_peer *present(struct straw *straw, uint64_t node_id)
{
    struct consensus_peer *peer = peer_of(straw, node_id);
    if (peer == NULL)
        abort();
    return peer;
}

/* The change under way is committed, or given up. */
static void straw_finish(struct straw *straw)
{
    if (!straw->in_flight)
        return;
    uint64_t node_id = straw->wanted.member.node_id;
    struct consensus_peer *peer =
        straw->wanted.kind == CONSENSUS_ADD ? NULL : present(straw, node_id);
    enum status status = STATUS_OK;
    switch (straw->wanted.kind) {
    case CONSENSUS_ADD:
        cr_assert_null(peer_of(straw, node_id));
        straw->peers[straw->count++] =
            (struct consensus_peer){.member = straw->wanted.member, .linked = true};
        break;
    case CONSENSUS_FEED:
        cr_assert_eq(peer->vote, CONSENSUS_SPARE);
        peer->vote = CONSENSUS_STANDBY;
        break;
    case CONSENSUS_PROMOTE:
        cr_assert_eq(peer->vote, CONSENSUS_STANDBY);
        if (straw->aborts > 0) {
            straw->aborts--;
            status = STATUS_UNAVAILABLE;
        } else {
            peer->vote = CONSENSUS_VOTER;
        }
        break;
    case CONSENSUS_REMOVE:
        *peer = straw->peers[--straw->count];
        break;
    }
    straw->changes++;
    straw->in_flight = false;
    straw->cb(straw->context, status);
}

struct ending {
    uint32_t times;
    enum status status;
    char text[512];
};

static void ended(void *context, enum status status, const char *text)
{
    struct ending *ending = context;
    ending->times++;
    ending->status = status;
    cr_assert_eq(status == STATUS_OK, text == NULL);
    snprintf(ending->text, sizeof ending->text, "%s", text == NULL ? "" : text);
}

/* One turn of the loop, 20 ms. */
static void turn(struct straw *straw, struct membership *membership, uint64_t *now)
{
    *now += 20 * MS;
    straw->commit_index += 7;
    for (uint32_t i = 0; i < straw->count; i++) {
        struct consensus_peer *peer = &straw->peers[i];
        if (peer->linked && peer->vote != CONSENSUS_SPARE && straw->catches_up)
            peer->match_index = straw->commit_index - 3; /* never quite there */
    }
    if (straw->loses_lead_in > 0 && --straw->loses_lead_in == 0) {
        straw->leader = 2;
        if (straw->in_flight) {
            straw->in_flight = false;
            straw->cb(straw->context, STATUS_UNKNOWN_OUTCOME);
        }
    }
    membership_process(membership, *now);
}

/* Begins, and turns until the end; each change commits one turn later. */
static struct ending run(struct straw *straw, struct membership *membership,
                         struct membership_request request)
{
    struct ending ending = {0};
    struct node_error error;
    uint64_t now = 5000 * MS;
    request.cb = ended;
    request.context = &ending;
    cr_assert_eq(membership_begin(membership, &request, now, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(ending.times, 0, "never inside");
    for (int i = 0; i < 2000 && ending.times == 0; i++) {
        cr_assert_leq(membership_next_ns(membership), now + 20 * MS, "it sleeps for ever");
        turn(straw, membership, &now);
        if (i % 2 == 1)
            straw_finish(straw);
    }
    for (int i = 0; i < 10; i++)
        turn(straw, membership, &now);
    cr_assert_eq(ending.times, 1, "once");
    if (!straw->in_flight)
        cr_assert_eq(membership_next_ns(membership), UINT64_MAX);
    return ending;
}

/* The table in words, in order of ids: "A1 B2 W3~". */
static const char *table(struct straw *straw)
{
    static char words[128];
    words[0] = 0;
    for (uint64_t id = 1; id < 20; id++) {
        const struct consensus_peer *peer = peer_of(straw, id);
        size_t size = strlen(words);
        if (peer != NULL)
            snprintf(words + size, sizeof words - size, "%s%s%d%s", size == 0 ? "" : " ",
                     peer->member.site, (int)id,
                     peer->vote == CONSENSUS_SPARE     ? "?"
                     : peer->vote == CONSENSUS_STANDBY ? "~"
                                                       : "");
    }
    return words;
}

static struct membership_request add(uint64_t node_id, char site)
{
    return (struct membership_request){.kind = MEMBERSHIP_ADD, .member = member_of(node_id, site)};
}

static struct membership_request replace(uint64_t old_id, uint64_t node_id, char site)
{
    return (struct membership_request){
        .kind = MEMBERSHIP_REPLACE, .member = member_of(node_id, site), .old_id = old_id};
}

static struct membership_request take_out(uint64_t old_id)
{
    return (struct membership_request){.kind = MEMBERSHIP_REMOVE, .old_id = old_id};
}

/* Each row: the table before, a command, the end and the table after. */
Test(membership, commands_walk_to_their_end)
{
    static const struct {
        const char *before;
        char kind; /* a, r, d */
        uint64_t old_id, new_id;
        char site;
        const char *after;
        uint32_t changes;
    } rows[] = {
        {"A", 'a', 0, 2, 'B', "A1 B2", 3},
        {"A B", 'a', 0, 3, 'W', "A1 B2 W3", 3},
        {"A B W", 'a', 0, 3, 'W', "A1 B2 W3", 0}, /* it is one */
        {"A B W?", 'a', 0, 3, 'W', "A1 B2 W3", 2},
        {"A B W~", 'a', 0, 3, 'W', "A1 B2 W3", 1},
        {"A B W", 'r', 2, 4, 'B', "A1 W3 B4", 4},
        {"A B- W", 'r', 2, 4, 'B', "A1 W3 B4", 4}, /* the dead one */
        {"A B W-", 'r', 3, 4, 'W', "A1 B2 W4", 4},
        {"A B- W B", 'r', 2, 4, 'B', "A1 W3 B4", 1}, /* half is done */
        {"A B- W B~", 'r', 2, 4, 'B', "A1 W3 B4", 2},
        {"A A B- B W", 'r', 3, 6, 'B', "A1 A2 B4 W5 B6", 4},
        {"A B W", 'd', 3, 0, 0, "A1 B2", 1},
        {"A B W A?", 'd', 4, 0, 0, "A1 B2 W3", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct straw straw = straw_with(rows[i].before);
        struct membership membership;
        membership_init(&membership, &straw.consensus, SELF);
        struct membership_request request =
            rows[i].kind == 'a'   ? add(rows[i].new_id, rows[i].site)
            : rows[i].kind == 'r' ? replace(rows[i].old_id, rows[i].new_id, rows[i].site)
                                  : take_out(rows[i].old_id);
        request.force = rows[i].kind == 'd';
        struct ending ending = run(&straw, &membership, request);
        cr_expect_eq(ending.status, STATUS_OK, "%s: %s", rows[i].before, ending.text);
        cr_expect_str_eq(table(&straw), rows[i].after, "%s", rows[i].before);
        cr_expect_eq(straw.changes, rows[i].changes, "%s", rows[i].before);
    }
}

/* From one node to 2 + 2 + 1, and each member replaced once after that. */
Test(membership, a_cluster_grows_and_is_renewed)
{
    struct straw straw = straw_with("A");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    static const char sites[] = "BWAB";
    for (uint64_t i = 0; i < 4; i++) {
        struct membership_request request = add(i + 2, sites[i]);
        request.force = i == 2; /* with four the loss of a site is not survived */
        cr_assert_eq(run(&straw, &membership, request).status, STATUS_OK);
    }
    cr_assert_str_eq(table(&straw), "A1 B2 W3 A4 B5");
    for (uint64_t id = 2; id <= 5; id++) {
        char site = present(&straw, id)->member.site[0];
        cr_assert_eq(run(&straw, &membership, replace(id, id + 10, site)).status, STATUS_OK);
    }
    cr_assert_str_eq(table(&straw), "A1 B12 W13 A14 B15");
}

Test(membership, refusals_tell_what_stands_in_the_way)
{
    static const struct {
        const char *before;
        char kind;
        uint64_t old_id, new_id;
        char site;
        enum status status;
        const char *words;
    } rows[] = {
        {"A B W", 'd', 9, 0, 0, STATUS_NOT_FOUND, "no member has the id 9"},
        {"A B W", 'r', 9, 4, 'B', STATUS_NOT_FOUND, "no member has the id 9"},
        {"A B W", 'r', 3, 3, 'W', STATUS_INVALID, "cannot replace itself"},
        {"A", 'd', 1, 0, 0, STATUS_INVALID, "no data node that votes"},
        {"A W", 'd', 1, 0, 0, STATUS_INVALID, "no data node that votes"},
        {"A B", 'a', 0, 3, 'A', STATUS_INVALID, "site A alone"},
        {"A B W", 'd', 3, 0, 0, STATUS_INVALID, "loss of site"},
        {"A A B B W", 'd', 3, 0, 0, STATUS_INVALID, "loss of site A"},
        {"A B W", 'a', 0, 4, 'A', STATUS_INVALID, "loss of site A"},
        {"A B W A", 'd', 2, 0, 0, STATUS_INVALID, "site A alone"},
        {"A B", 'r', 2, 3, 'A', STATUS_INVALID, "site A alone"},
        {"A B W", 'a', 0, 2, 'A', STATUS_EXISTS, "another site"},
        {"A B W", 'a', 0, 2, 'A', STATUS_EXISTS, "id that was never used, and replace node 2"},
        {"A B W", 'a', 0, 0, 'A', STATUS_INVALID, "not valid"},
        {"A B W", 'a', 0, 4, '/', STATUS_INVALID, "not valid"},
        {"A? A? A? A? A? A? A? A? A", 'a', 0, 10, 'B', STATUS_INVALID, "there are 9 members"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct straw straw = straw_with(rows[i].before);
        struct membership membership;
        membership_init(&membership, &straw.consensus, SELF);
        struct membership_request request =
            rows[i].kind == 'a'   ? add(rows[i].new_id, rows[i].site)
            : rows[i].kind == 'r' ? replace(rows[i].old_id, rows[i].new_id, rows[i].site)
                                  : take_out(rows[i].old_id);
        request.cb = ended;
        struct node_error error = {0};
        cr_expect_eq(membership_begin(&membership, &request, 0, &error), rows[i].status,
                     "row %zu: %s", i, error.text);
        cr_expect_eq(error.status, rows[i].status);
        cr_expect(strstr(error.text, rows[i].words) != NULL, "row %zu: %s", i, error.text);
        membership_process(&membership, 1000 * MS);
        cr_expect_eq(straw.in_flight, false, "row %zu", i);
    }
}

/* The same id, incarnation or address at somebody else. The address of the one that is replaced may
 * come again. */
Test(membership, members_do_not_collide)
{
    struct straw straw = straw_with("A B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    struct node_error error;
    struct membership_request request = add(2, 'B');
    request.cb = ended;
    request.member.incarnation[3]++; /* a wiped node under its old id */
    cr_expect_eq(membership_begin(&membership, &request, 0, &error), STATUS_EXISTS);
    cr_expect(strstr(error.text, "never used") != NULL, "%s", error.text);
    request = replace(2, 4, 'B');
    request.cb = ended;
    memset(request.member.incarnation, 2, 16); /* a copied directory */
    cr_expect_eq(membership_begin(&membership, &request, 0, &error), STATUS_EXISTS);
    cr_expect(strstr(error.text, "copy") != NULL, "%s", error.text);
    request = replace(2, 4, 'B');
    request.cb = ended;
    strcpy(request.member.address, "node-1:7001");
    cr_expect_eq(membership_begin(&membership, &request, 0, &error), STATUS_EXISTS);
    cr_expect(strstr(error.text, "node-1:7001") != NULL, "%s", error.text);
    request = replace(2, 4, 'B');
    strcpy(request.member.address, "node-2:7001");
    cr_expect_eq(run(&straw, &membership, request).status, STATUS_OK);
}

/* What the policy promises of both sites is not taken back by a change of members, forced or not.
 */
Test(membership, under_policy_never_the_two_sites_stay_two)
{
    struct straw straw = straw_with("A B W");
    struct membership_view view;
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    struct node_error error;
    struct membership_request request = {.kind = MEMBERSHIP_REMOVE, .old_id = 2, .force = true};
    membership_view(&membership, &view);
    cr_assert_eq(membership_check(&view, &request, &error), STATUS_OK);
    straw.decision = DURABILITY_NEVER;
    membership_view(&membership, &view);
    cr_assert_eq(membership_check(&view, &request, &error), STATUS_INVALID);
    cr_assert(strstr(error.text, "never") != NULL, "%s", error.text);
    struct membership_request third = {
        .kind = MEMBERSHIP_ADD, .member = member_of(4, 'C'), .force = true};
    cr_assert_eq(membership_check(&view, &third, &error), STATUS_INVALID, "a third site");
    third.member = member_of(4, 'B');
    cr_assert_eq(membership_check(&view, &third, &error), STATUS_OK, "another node of a site");
    request.old_id = 3;
    cr_assert_eq(membership_check(&view, &request, &error), STATUS_OK,
                 "two data nodes are both sites");
    straw = straw_with("A B W A B");
    straw.decision = DURABILITY_NEVER;
    membership_view(&membership, &view);
    request.old_id = 2;
    cr_assert_eq(membership_check(&view, &request, &error), STATUS_OK, "another one is left");
}

/* Losing a site is survived now and would not be any more: only on request. */
Test(membership, less_is_survived_only_by_force)
{
    struct straw straw = straw_with("A A B B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    struct membership_request request = take_out(2);
    request.force = true;
    cr_expect_eq(run(&straw, &membership, request).status, STATUS_OK);
    cr_expect_str_eq(table(&straw), "A1 B3 B4 W5");
    /* The loss of either site is the end already while one is away: nothing is lowered. */
    straw = straw_with("A A B B- W");
    straw.peers[1].linked = false;
    membership_init(&membership, &straw.consensus, SELF);
    cr_expect_eq(run(&straw, &membership, take_out(4)).status, STATUS_OK);
}

/* The leader is to go: leadership goes first, and the command ends with where to repeat it. */
Test(membership, the_leader_hands_over_before_it_is_removed)
{
    struct straw straw = straw_with("A B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    struct ending ending = run(&straw, &membership, replace(SELF, 4, 'A'));
    cr_expect_eq(ending.status, STATUS_NOT_READY);
    cr_expect(strstr(ending.text, "node 2 does") != NULL, "%s", ending.text);
    cr_expect_eq(straw.transfers, 1);
    cr_expect_str_eq(table(&straw), "A1 B2 W3 A4");
    /* Repeated at node 2. */
    struct straw other = straw;
    other.leader = SELF;
    membership_init(&membership, &other.consensus, 2);
    cr_expect_eq(run(&other, &membership, replace(1, 4, 'A')).status, STATUS_OK);
    cr_expect_str_eq(table(&other), "B2 W3 A4");

    straw = straw_with("A B W");
    straw.transfer_status = STATUS_NOT_FOUND;
    membership_init(&membership, &straw.consensus, SELF);
    struct membership_request request = take_out(SELF);
    request.force = true;
    ending = run(&straw, &membership, request);
    cr_expect_eq(ending.status, STATUS_INVALID, "%s", ending.text);

    straw = straw_with("A B W"); /* it does not work, and is asked again, but not all the time */
    straw.hands_over = false;
    membership_init(&membership, &straw.consensus, SELF);
    request.deadline_ns = 15000 * MS;
    ending = run(&straw, &membership, request);
    cr_expect_eq(ending.status, STATUS_DEADLINE, "%s", ending.text);
    cr_expect(straw.transfers >= 4 && straw.transfers <= 6, "%u", straw.transfers);
}

/* Leadership is lost after every number of turns: the command, repeated at the next leader as often
 * as it needs, ends with the table that was meant. */
Test(membership, a_command_goes_on_at_the_next_leader)
{
    uint32_t longest = 0;
    for (uint32_t turns = 1; turns < 120; turns++) {
        struct straw straw = straw_with("A B- W");
        enum status status = STATUS_NOT_READY;
        uint32_t leaders = 0;
        for (; status == STATUS_NOT_READY && leaders < 100; leaders++) {
            struct membership membership;
            straw.leader = SELF;
            straw.loses_lead_in = turns + leaders; /* a little further each time */
            membership_init(&membership, &straw.consensus, SELF);
            status = run(&straw, &membership, replace(2, 4, 'B')).status;
        }
        cr_assert_eq(status, STATUS_OK, "turns %u", turns);
        cr_assert_str_eq(table(&straw), "A1 W3 B4");
        longest = leaders > longest ? leaders : longest;
    }
    cr_expect_gt(longest, 3);
}

Test(membership, what_is_in_the_way_for_a_moment_is_waited_for)
{
    struct straw straw = straw_with("A B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    straw.busy = 9;
    straw.aborts = 2;
    cr_expect_eq(run(&straw, &membership, replace(2, 4, 'B')).status, STATUS_OK);
    cr_expect_eq(straw.changes, 6);

    bool *const flags[] = {&straw.changing, &straw.transferring};
    for (size_t i = 0; i < 2; i++) {
        straw = straw_with("A B W");
        *flags[i] = true;
        membership_init(&membership, &straw.consensus, SELF);
        struct membership_request request = replace(2, 4, 'B');
        request.deadline_ns = 7000 * MS;
        cr_expect_eq(run(&straw, &membership, request).status, STATUS_DEADLINE);
        cr_expect_eq(straw.changes, 0);
        *flags[i] = false;
        request.deadline_ns = 0;
        cr_expect_eq(run(&straw, &membership, request).status, STATUS_OK);
    }
    straw = straw_with("A B W"); /* it leads, and its barrier is not committed yet */
    straw.ready = false;
    membership_init(&membership, &straw.consensus, SELF);
    struct membership_request request = replace(2, 4, 'B');
    request.deadline_ns = 7000 * MS;
    cr_expect_eq(run(&straw, &membership, request).status, STATUS_DEADLINE);
}

Test(membership, a_refusal_by_consensus_is_the_end)
{
    static const enum status refusals[] = {STATUS_INVALID, STATUS_EXISTS, STATUS_NOT_FOUND};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct straw straw = straw_with("A B W");
        struct membership membership;
        membership_init(&membership, &straw.consensus, SELF);
        straw.refusal = refusals[i];
        cr_expect_eq(run(&straw, &membership, replace(2, 4, 'B')).status, refusals[i]);
    }
}

/* The new member never comes, or never catches up: told as what it is; and the command goes on when
 * it is repeated. */
Test(membership, a_member_that_does_not_come_is_told)
{
    struct straw straw = straw_with("A B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    straw.catches_up = false;
    struct membership_request request = replace(2, 4, 'B');
    request.deadline_ns = 9000 * MS;
    struct ending ending = run(&straw, &membership, request);
    cr_expect_eq(ending.status, STATUS_DEADLINE);
    cr_expect(strstr(ending.text, "catching up node 4") != NULL, "%s", ending.text);
    present(&straw, 4)->linked = false;
    ending = run(&straw, &membership, request);
    cr_expect(strstr(ending.text, "no connection to it at node-4:7001") != NULL, "%s", ending.text);
    cr_expect_str_eq(table(&straw), "A1 B2 W3 B4~", "no vote before it has caught up");
    present(&straw, 4)->linked = true;
    straw.catches_up = true;
    request.deadline_ns = 0;
    cr_expect_eq(run(&straw, &membership, request).status, STATUS_OK);
}

/* A step outlives its command, by a deadline or because it was cancelled: nobody is called, and the
 * next command waits for it. */
Test(membership, a_step_under_way_outlives_its_command)
{
    struct straw straw = straw_with("A B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    struct ending ending = {0}, next = {0};
    struct node_error error;
    uint64_t now = 1000 * MS;
    struct membership_request request = replace(2, 4, 'B');
    request.cb = ended;
    request.context = &ending;
    request.deadline_ns = now + 100 * MS;
    cr_assert_eq(membership_begin(&membership, &request, now, &error), STATUS_OK);
    struct membership_progress progress;
    for (int i = 0; i < 20; i++) {
        turn(&straw, &membership, &now);
        membership_progress(&membership, &progress);
        cr_expect_eq(progress.active, ending.times == 0);
    }
    cr_expect_eq(ending.times, 1);
    cr_expect_eq(ending.status, STATUS_DEADLINE);
    cr_assert(straw.in_flight);
    request.context = &next;
    request.deadline_ns = 0;
    cr_expect_eq(membership_begin(&membership, &request, now, &error), STATUS_BUSY);
    straw_finish(&straw);
    cr_expect_str_eq(table(&straw), "A1 B2 W3 B4?");
    cr_assert_eq(membership_begin(&membership, &request, now, &error), STATUS_OK);
    cr_expect_eq(membership_begin(&membership, &request, now, &error), STATUS_BUSY);
    turn(&straw, &membership, &now);
    membership_progress(&membership, &progress);
    cr_expect(progress.active);
    cr_expect_eq(progress.node_id, 4);
    cr_assert(straw.in_flight);
    membership_cancel(&membership);
    straw_finish(&straw);
    for (int i = 0; i < 20; i++)
        turn(&straw, &membership, &now);
    cr_expect_eq(ending.times + next.times, 1);
    cr_assert_eq(membership_begin(&membership, &request, now, &error), STATUS_OK);
    membership_cancel(&membership); /* before its first step */
    cr_expect_eq(membership_next_ns(&membership), UINT64_MAX);
    cr_expect_eq(run(&straw, &membership, replace(2, 4, 'B')).status, STATUS_OK);
}

Test(membership, who_does_not_lead_says_who_does)
{
    struct straw straw = straw_with("A B W");
    struct membership membership;
    membership_init(&membership, &straw.consensus, SELF);
    struct node_error error;
    struct membership_request request = replace(2, 4, 'B');
    request.cb = ended;
    straw.leader = 3;
    cr_expect_eq(membership_begin(&membership, &request, 0, &error), STATUS_NOT_READY);
    cr_expect(strstr(error.text, "node 3 does") != NULL, "%s", error.text);
    straw.leader = 0;
    cr_expect_eq(membership_begin(&membership, &request, 0, &error), STATUS_NOT_READY);
    cr_expect(strstr(error.text, "no leader") != NULL, "%s", error.text);
}
