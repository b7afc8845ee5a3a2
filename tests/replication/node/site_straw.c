#include "site_straw.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct straw straw;

static void straw_status(const struct consensus *consensus, struct consensus_status *out)
{
    (void)consensus;
    *out = (struct consensus_status){.leader_id = straw.leader,
                                     .term = straw.term,
                                     .leads = straw.leader == SELF,
                                     .ready = straw.leader == SELF && !straw.unready,
                                     .changing = straw.changing,
                                     .transferring = straw.transferring,
                                     .commit_index = straw.commit_index};
}

static uint32_t straw_peers(const struct consensus *consensus, struct consensus_peer *out,
                            uint32_t capacity)
{
    (void)consensus;
    cr_assert_leq(straw.count, capacity);
    memcpy(out, straw.peers, straw.count * sizeof out[0]);
    for (uint32_t i = 0; i < straw.count; i++)
        out[i].heard_ns = out[i].heard_ns != 0 ? out[i].heard_ns : straw.now_ns;
    return straw.count;
}

static enum status straw_transfer(struct consensus *consensus, uint64_t to)
{
    (void)consensus;
    straw.transfers++;
    straw.transferred_to = to;
    straw.transferring = straw.transfer_status == STATUS_OK;
    return straw.transfer_status;
}

void straw_commit(void)
{
    straw.durability.committed = straw.durability.newest;
    straw.durability.committed_index = straw.durability.newest_index;
}

static void straw_durability(const struct consensus *consensus, struct consensus_durability *out)
{
    (void)consensus;
    *out = straw.durability;
}

static enum status straw_change(struct consensus *consensus,
                                const struct consensus_durability_change *change,
                                uint64_t *out_number, char *out_text)
{
    (void)consensus;
    struct durability_entry *newest = &straw.durability.newest;
    if (change->number != newest->number) {
        snprintf(out_text, CONSENSUS_DURABILITY_TEXT_SIZE, "entry %lu is the newest",
                 (unsigned long)newest->number);
        return STATUS_EXISTS;
    }
    if (straw.propose_status != STATUS_OK) {
        snprintf(out_text, CONSENSUS_DURABILITY_TEXT_SIZE, "%s", straw.propose_text);
        return straw.propose_status;
    }
    *out_number = newest->number + 1;
    if (change->dry_run)
        return STATUS_OK;
    straw.proposals++;
    newest->number++;
    newest->kind = change->kind;
    if (change->kind == DURABILITY_POLICY)
        newest->policy = change->policy;
    else
        newest->mode = change->kind == DURABILITY_DEGRADE ? DURABILITY_DEGRADED : DURABILITY_SYNC;
    memcpy(newest->site, change->site, sizeof newest->site);
    memcpy(newest->who, change->who, sizeof newest->who);
    memcpy(newest->why, change->why, sizeof newest->why);
    straw.durability.newest_index++;
    if (straw.commits)
        straw_commit();
    return STATUS_OK;
}

static const struct consensus_operations straw_operations = {.transfer = straw_transfer,
                                                             .peers = straw_peers,
                                                             .status = straw_status,
                                                             .durability = straw_durability,
                                                             .change_durability = straw_change};

static uint64_t straw_wall_ns(void *context)
{
    (void)context;
    return UINT64_C(1700000000000) * MS + straw.now_ns;
}

static void answer_of(uint64_t node_id, const struct site_question *question,
                      struct site_answer *out)
{
    const struct pause pause = {.longest_wait_ns = node_id * MS, .answered = 10 * node_id};
    uint64_t applied = straw.applied[node_id] != 0 ? straw.applied[node_id] : straw.commit_index;
    *out = (struct site_answer){.sequence = question->sequence,
                                .flags = straw.flags[node_id],
                                .applied_index = applied,
                                .wall_ns = straw_wall_ns(NULL) + (uint64_t)straw.clock_ns[node_id]};
    site_answer_seal(out, &pause);
}

static void straw_ask(void *context, uint64_t to, const struct site_question *question)
{
    (void)context;
    straw.asked++;
    if (straw.silent[to])
        return;
    struct site_answer answer;
    answer_of(to, question, &answer);
    site_operation_receive(&straw.operation, to, &answer, sizeof answer, straw.now_ns);
}

static void straw_answer(void *context, const struct site_question *question,
                         struct site_answer *out)
{
    (void)context;
    answer_of(SELF, question, out);
}

static uint32_t straw_in_flight(void *context)
{
    (void)context;
    return straw.in_flight;
}

static const char *straw_member_change(void *context)
{
    (void)context;
    return straw.member_change;
}

void straw_set_up(const char *sites)
{
    straw = (struct straw){.consensus.operations = &straw_operations,
                           .leader = SELF,
                           .term = 5,
                           .commit_index = 1000,
                           .now_ns = 1000000 * MS,
                           .member_change = "",
                           .commits = true};
    durability_entry_default(&straw.durability.newest);
    durability_entry_default(&straw.durability.committed);
    straw.durability.in_force = true;
    for (const char *at = sites; *at != '\0'; at++) {
        struct consensus_peer *peer = &straw.peers[straw.count++];
        *peer = (struct consensus_peer){
            .member = {.node_id = straw.count,
                       .kind = *at == 'W' ? MEMBER_WITNESS : MEMBER_DATA,
                       .site = {*at}},
            .vote = CONSENSUS_VOTER,
            .match_index = 1000,
            .linked = true,
        };
        straw.flags[straw.count] = SITE_ANSWER_SERVES;
    }
    for (const char *site = "ABW"; *site != '\0'; site++)
        straw.durability.sites[straw.durability.site_count++] = (struct consensus_site){
            .name = {*site}, .has_data = *site != 'W', .survives_loss = true};
    const struct site_operation_world world = {.ask = straw_ask,
                                               .answer = straw_answer,
                                               .wall_ns = straw_wall_ns,
                                               .in_flight = straw_in_flight,
                                               .member_change = straw_member_change};
    site_operation_init(&straw.operation, &straw.consensus, SELF, &world);
}

static void ended(void *context, enum status status, const struct site_report *report,
                  const char *text)
{
    (void)context;
    cr_assert_not(site_operation_holds(&straw.operation), "released before it is told");
    cr_assert_eq(text == NULL, status == STATUS_OK);
    straw.ends++;
    straw.status = status;
    straw.report = *report;
    snprintf(straw.text, sizeof straw.text, "%s", text != NULL ? text : "");
}

struct site_operation_request straw_request(const char *site)
{
    struct site_operation_request request = {
        .kind = SITE_SWITCHOVER, .who = "urn:ops:ann", .why = "patch", .cb = ended};
    snprintf(request.site, sizeof request.site, "%s", site);
    return request;
}

enum status straw_begin(const struct site_operation_request *request)
{
    struct node_error error;
    enum status status = site_operation_begin(&straw.operation, request, straw.now_ns, &error);
    if (status != STATUS_OK)
        snprintf(straw.text, sizeof straw.text, "%s", error.text);
    return status;
}

void straw_turn(uint64_t ms)
{
    straw.now_ns += ms * MS;
    site_operation_process(&straw.operation, straw.now_ns);
}
