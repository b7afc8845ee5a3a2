/*
 * A run: found the cluster, let clients and faults loose, end the faults, and demand that
 * everything is as before: all nodes serve, every client knows its outcome, all replicas have
 * applied the same log, and what they hold is what was promised.
 *
 * The demand for progress has a bound in virtual time (SETTLE_NS); a cluster that does not make it
 * is stuck, and that is a violation like any other.
 */
#include "chaos/sim/sim.h"

#include "chaos/sim/roll_call.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN_NS  (30 * NS_PER_S)
#define AFTER_NS  (3 * NS_PER_S) /* of load after the last fault */
#define SETTLE_NS (30 * NS_PER_S)
#define STEP_NS   (50 * NS_PER_MS)

bool sim_topology(const char *text, struct sim_options *out)
{
    static const struct {
        const char *text;
        uint32_t a, b;
        bool witness;
    } known[] = {{"1", 1, 0, false}, {"1+1+1", 1, 1, true}, {"2+2+1", 2, 2, true}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(text, known[i].text) != 0)
            continue;
        out->site_nodes[0] = known[i].a;
        out->site_nodes[1] = known[i].b;
        out->witness = known[i].witness;
        return true;
    }
    return false;
}

/* ---- making the cluster ---- */

/* Whoever looks at a node from outside reads its disk without its troubles. */
static void host_turned(void *context, struct host *host)
{
    struct sim *sim = context;
    const uint32_t fail_per_mille = host->disk.fail_per_mille;
    if (sim->old_images.restored)
        return; /* another world than the one that was seen */
    host->disk.fail_per_mille = 0;
    invariants_check(&sim->invariants, host);
    rule_checks_look(&sim->rule_checks, host);
    certificate_checks_look(&sim->certificate_checks, host);
    witness_checks_look(&sim->witness_checks, host);
    commit_checks_look(&sim->commit_checks, host, true);
    host->disk.fail_per_mille = fail_per_mille;
}

static void host_heard(void *context, struct host *host)
{
    struct sim *sim = context;
    const uint32_t fail_per_mille = host->disk.fail_per_mille;
    if (sim->old_images.restored)
        return;
    host->disk.fail_per_mille = 0;
    rule_checks_look(&sim->rule_checks, host);
    commit_checks_look(&sim->commit_checks, host, false);
    host->disk.fail_per_mille = fail_per_mille;
}

static void host_changes_over(void *context, struct host *host)
{
    struct sim *sim = context;
    holdings_note(&sim->rule_checks.holdings, host);
}

static void host_dies(void *context, struct host *host)
{
    struct sim *sim = context;
    holdings_note(&sim->rule_checks.holdings, host);
    /* What it had it has had, whatever it finds when it starts. */
    if (host->damaged || host->disk.misdirected[0] != 0)
        holdings_note_wipe(&sim->rule_checks.holdings, host);
}

static void host_wiped(void *context, struct host *host)
{
    struct sim *sim = context;
    holdings_note_wipe(&sim->rule_checks.holdings, host);
}

static void host_died(void *context, struct host *host)
{
    struct sim *sim = context;
    invariants_forget(&sim->invariants, host);
    rule_checks_forget(&sim->rule_checks, host);
    commit_checks_forget(&sim->commit_checks, host);
}

static void add_host(struct sim *sim, const char *site, enum member_kind kind)
{
    static const uint64_t intervals_ms[] = {300, 2000, 10000};
    /* Of the log in memory: little of it makes followers fall behind all the time. */
    static const struct {
        uint64_t tail, bound; /* 0: as in production */
    } memories[] = {
        {0, 0}, {8u << 10, 0}, {64u << 10, 0}, {8u << 10, 256u << 10}, {64u << 10, 1u << 20}};
    struct draw draw = draw_stream(sim->options.seed, 6000);
    const uint64_t memory = draw_below(&draw, sizeof memories / sizeof memories[0]);
    uint64_t interval_ms = intervals_ms[draw_below(&draw, 3)];
    if (memories[memory].bound > 0 && interval_ms > 2000)
        interval_ms = 2000; /* a log that is full waits for a checkpoint */
    struct host *host = &sim->hosts[sim->host_count];
    *host = (struct host){
        .world = &sim->world,
        .network = &sim->network,
        .sink = {.context = sim,
                 .turned = host_turned,
                 .heard = host_heard,
                 .changes_over = host_changes_over,
                 .dies = host_dies,
                 .wiped = host_wiped,
                 .died = host_died},
        .number = sim->host_count,
        .site = site,
        .kind = kind,
        .options =
            {
                .journal_segment_size = 256u << draw_below(&draw, 3) << 10,
                .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
                .account_count_max = 1024,
                .bloom_bytes = 1u << 16,
                .store_map_size_bytes = 1ull << 30,
                .checkpoint_interval_ms = interval_ms,
                .disk_watermark_bytes = 1u << 20,
                .in_flight_entries_max = 4,
                .waiting_requests_max = 256,
                .waiting_bytes_max = 4u << 20,
                .journal_keep_entries = draw_chance(&draw, 1, 2) ? 0 : 200,
                .log_tail_bytes = memories[memory].tail,
                .log_bytes_max = memories[memory].bound,
            },
    };
    world_tell(&sim->world, "host %u is a %s at %s", host->number,
               kind == MEMBER_WITNESS ? "witness" : "data node", site);
    sim->host_count++;
}

static void set_network(struct sim *sim)
{
    struct draw draw = draw_stream(sim->options.seed, 7000);
    const uint64_t near = draw_between(&draw, 50, 400) * NS_PER_US;
    const uint64_t far = draw_between(&draw, 200, 8000) * NS_PER_US;
    for (uint32_t a = 0; a < sim->host_count; a++)
        for (uint32_t b = 0; b < sim->host_count; b++)
            sim->network.latency_ns[a][b] =
                strcmp(sim->hosts[a].site, sim->hosts[b].site) == 0 ? near : far;
}

/* The founder serves: the others join, one after the other. */
static void grow(struct sim *sim)
{
    struct node_status status;
    sim->members =
        (struct members){.world = &sim->world, .hosts = sim->hosts, .host_count = sim->host_count};
    node_status(sim->hosts[0].node, &status);
    memcpy(sim->members.cluster_id, status.cluster_id, sizeof status.cluster_id);
    members_start(&sim->members);
    for (uint32_t i = 1; i < sim->host_count; i++)
        members_add(&sim->members, i);
}

static void make_cluster(struct sim *sim)
{
    static const char *const sites[2] = {"A", "B"};
    const struct sim_options *options = &sim->options;
    /* In the order of joining: at no time may the data nodes of a site be a majority. */
    for (uint32_t i = 0; i < options->site_nodes[0] || i < options->site_nodes[1]; i++) {
        for (int site = 0; site < 2; site++)
            if (i < options->site_nodes[site])
                add_host(sim, sites[site], MEMBER_DATA);
        if (i == 0 && options->witness)
            add_host(sim, "W", MEMBER_WITNESS);
    }
    network_init(&sim->network, &sim->world, sim->host_count);
    rule_checks_init(&sim->rule_checks, &sim->world, sim->hosts, sim->host_count);
    sim->rule_checks.ignores_witness = options->ignore_witness;
    set_network(sim);
    for (uint32_t i = 0; i < sim->host_count; i++) {
        host_init(&sim->hosts[i], options->seed);
        sim->hosts[i].guard_off = options->guard_off;
        sim->hosts[i].reply_early = options->plant == PLANT_REPLY_BEFORE_COMMIT;
        sim->hosts[i].followers_mode = options->plant == PLANT_FOLLOWERS_MODE;
        sim->hosts[i].early_return = options->plant == PLANT_EARLY_RETURN;
        sim->hosts[i].certificate_high = options->plant == PLANT_CERTIFICATE_HIGH;
        sim->hosts[i].forget_requests = options->plant == PLANT_REQUEST_WINDOW_OFF;
    }
    host_found(&sim->hosts[0], NULL, 1, oracle_principals(), ORACLE_PRINCIPALS);
    host_start(&sim->hosts[0]);
    grow(sim);
}

static void make_nemesis(struct sim *sim)
{
    sim->nemesis = (struct nemesis){
        .world = &sim->world,
        .network = &sim->network,
        .hosts = sim->hosts,
        .host_count = sim->host_count,
        .members = &sim->members,
        .operators = &sim->operators,
        .clients = &sim->clients,
        .desks = &sim->desks,
        .chosen = sim->options.chosen,
        .chosen_count = sim->options.chosen_count,
    };
    nemesis_init(&sim->nemesis, sim->options.without);
}

static void make_clients(struct sim *sim)
{
    struct draw draw = draw_stream(sim->options.seed, 8000);
    static const uint64_t thinks_ms[] = {20, 200, 1000};
    sim->clients = (struct clients){
        .world = &sim->world,
        .oracle = &sim->oracle,
        .hosts = sim->hosts,
        .host_count = sim->host_count,
        .think_ns = thinks_ms[draw_below(&draw, 3)] * NS_PER_MS,
        .count = (uint32_t)draw_between(&draw, 2, 5),
    };
    if (sim->options.think_ms > 0)
        sim->clients.think_ns = sim->options.think_ms * NS_PER_MS;
    if (!sim->options.no_faults) {
        sim->clients.abandons = nemesis_has(&sim->nemesis, NEMESIS_ABANDON);
        sim->clients.skews = nemesis_has(&sim->nemesis, NEMESIS_SKEW);
    }
    clients_init(&sim->clients);
    sim->desks = (struct desks){
        .world = &sim->world,
        .oracle = &sim->oracle,
        .hosts = sim->hosts,
        .host_count = sim->host_count,
        .quiet = &sim->clients.quiet,
        .count = sim->options.no_faults ? 0 : DESKS_MAX,
        .think_ns = sim->clients.think_ns,
        .steady = nemesis_has(&sim->nemesis, NEMESIS_LIBRARY),
    };
}

/* ---- the end ---- */

static bool host_is_settled(const struct sim *sim, const struct host *host, char *why, size_t size)
{
    if (host->node == NULL) {
        snprintf(why, size, "host %u does not run: %s", host->number, host->last_failure);
        return false;
    }
    if (host->node->phase != NODE_SERVING) {
        snprintf(why, size, "host %u is in phase %d", host->number, host->node->phase);
        return false;
    }
    struct consensus_status status;
    consensus_status(host->node->consensus, &status);
    if (status.consumed_index < sim->invariants.commit_index) {
        snprintf(why, size,
                 "host %u (%s, term %" PRIu64 ", leader %" PRIu64 ") is at %" PRIu64 " of %" PRIu64,
                 host->number, status.role, status.term, status.leader_id, status.consumed_index,
                 sim->invariants.commit_index);
        return false;
    }
    return true;
}

static bool is_settled(const struct sim *sim, char *why, size_t size)
{
    if (!clients_are_set_up(&sim->clients) || !clients_are_idle(&sim->clients)) {
        snprintf(why, size, "clients wait for answers");
        for (uint32_t i = 0; i < sim->clients.count; i++) {
            const struct client *client = &sim->clients.client[i];
            if (client->doing != CLIENT_IDLE)
                snprintf(why, size, "client %u (doing %d) has waited %.1f s, %u tries", i,
                         client->doing, (double)(sim->world.now_ns - client->began_ns) / 1e9,
                         client->tries);
        }
        if (sim->clients.abandoned_count > 0 && strcmp(why, "clients wait for answers") == 0)
            snprintf(why, size, "%u abandoned requests are not settled",
                     sim->clients.abandoned_count);
        return false;
    }
    if (!desks_are_idle(&sim->desks)) {
        snprintf(why, size, "desks wait for an outcome");
        return false;
    }
    if (!members_are_idle(&sim->members)) {
        snprintf(why, size, "host %u is no voter yet: %s",
                 sim->members.tasks[sim->members.task_first].host, sim->members.last_refusal);
        return false;
    }
    for (uint32_t i = 0; i < sim->host_count; i++)
        if (!host_is_settled(sim, &sim->hosts[i], why, size))
            return false;
    return operators_is_idle(&sim->operators, why, size);
}

/* For people who look at a cluster that stands still. */
static void describe(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->host_count; i++) {
        const struct host *host = &sim->hosts[i];
        if (host->node == NULL) {
            world_say(&sim->world, "host %u: node %" PRIu64 " does not run", i, host->node_id);
            continue;
        }
        struct journal_position position;
        struct consensus_status status;
        struct consensus_peer peers[MEMBERS_MAX];
        journal_position(host->node->journal, &position);
        consensus_status(host->node->consensus, &status);
        const uint32_t count = consensus_peers(host->node->consensus, peers, MEMBERS_MAX);
        world_say(&sim->world,
                  "host %u: node %" PRIu64 " phase %d %s term %" PRIu64 " leader %" PRIu64
                  " journal %" PRIu64 "..%" PRIu64 " (term %" PRIu64 ") commit %" PRIu64
                  " consumed %" PRIu64,
                  i, host->node_id, host->node->phase, status.role, status.term, status.leader_id,
                  position.first_index, position.last_index, position.last_term,
                  status.commit_index, status.consumed_index);
        for (uint32_t j = 0; j < count; j++)
            world_say(&sim->world, "    member %" PRIu64 " at %s vote %d match %" PRIu64 " %s",
                      peers[j].member.node_id, peers[j].member.address, peers[j].vote,
                      peers[j].match_index, peers[j].linked ? "linked" : "");
    }
}

static bool settle(struct sim *sim)
{
    const uint64_t end = sim->world.now_ns + SETTLE_NS;
    char why[512] = "";
    sim->clients.quiet = true;
    while (sim->world.now_ns < end) {
        if (!world_run_until(&sim->world, sim->world.now_ns + STEP_NS))
            return false;
        if (is_settled(sim, why, sizeof why)) {
            const uint64_t took_ns = sim->world.now_ns + SETTLE_NS - end;
            if (took_ns > sim->settle_ns)
                sim->settle_ns = took_ns;
            return true;
        }
        if (sim->world.now_ns % NS_PER_S < STEP_NS)
            world_say(&sim->world, "not settled: %s", why);
    }
    describe(sim);
    world_violate(&sim->world, "stuck: %.0f s after the last fault %s", (double)SETTLE_NS / 1e9,
                  why);
    return false;
}

/* At rest everybody answers, and then has what was answered. */
static bool answer_and_settle(struct sim *sim)
{
    const struct roll_call all = {.world = &sim->world,
                                  .hosts = sim->hosts,
                                  .host_count = sim->host_count,
                                  .oracle = &sim->oracle};
    return settle(sim) && roll_call(&all) && settle(sim);
}

static void judge(struct sim *sim)
{
    const struct node *first = NULL;
    for (uint32_t i = 0; i < sim->host_count && !sim->world.violated; i++) {
        const struct host *host = &sim->hosts[i];
        if (host->kind == MEMBER_WITNESS)
            continue;
        oracle_judge(&sim->oracle, host->node->machine, i);
        if (first == NULL)
            first = host->node;
        uint8_t a[16], b[16];
        machine_digest(first->machine, a);
        machine_digest(host->node->machine, b);
        if (memcmp(a, b, sizeof a) != 0)
            world_violate(&sim->world, "host %u ends with another digest than the first", i);
    }
}

/* Its requests are judged before, as long as everybody remembers them, and after. */
static bool pass_to_next_day(struct sim *sim)
{
    if (sim->world.violated || !next_day_evening(&sim->next_day) || !answer_and_settle(sim))
        return false;
    judge(sim);
    if (sim->world.violated || !next_day_night(&sim->next_day) ||
        !next_day_morning(&sim->next_day) || !answer_and_settle(sim))
        return false;
    judge(sim);
    return !sim->world.violated;
}

static void note_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->host_count; i++) {
        const struct node *node = sim->hosts[i].node;
        uint8_t digest[16] = {0};
        uint64_t word;
        if (node == NULL || node->machine == NULL)
            continue;
        machine_digest(node->machine, digest);
        memcpy(&word, digest, sizeof word);
        world_note(&sim->world, "end", i, machine_applied_index(node->machine), word);
    }
}

/* ---- the run ---- */

static void begin(struct sim *sim)
{
    clients_start(&sim->clients);
    desks_start(&sim->desks);
    const uint64_t end = sim->world.now_ns + BEGIN_NS;
    while (!clients_are_set_up(&sim->clients) || !members_are_idle(&sim->members)) {
        if (!world_run_until(&sim->world, sim->world.now_ns + STEP_NS))
            return;
        if (sim->world.now_ns > end) {
            world_violate(
                &sim->world, "a new cluster does not stand after %.0f s: %u nodes left: %s",
                (double)BEGIN_NS / 1e9, sim->members.task_count, sim->members.last_refusal);
            return;
        }
    }
}

static void plant(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->host_count; i++)
        sim->hosts[i].disk.sync_off = sim->options.plant == PLANT_SYNC_OFF;
}

static void run(struct sim *sim)
{
    begin(sim);
    plant(sim);
    sim->began_ns = sim->world.now_ns;
    if (!sim->world.violated && !sim->options.no_faults)
        nemesis_start(&sim->nemesis);
    if (!world_run_until(&sim->world, sim->world.now_ns + sim->options.seconds * NS_PER_S))
        return;
    nemesis_end(&sim->nemesis);
    sim->aftermath.calm_ns = sim->world.now_ns;
    if (!world_run_until(&sim->world, sim->world.now_ns + AFTER_NS))
        return;
    if (!answer_and_settle(sim))
        return;
    const bool forgets =
        !sim->options.no_faults && nemesis_has(&sim->nemesis, NEMESIS_ROLLBACK_ALL);
    if (forgets)
        old_images_take(&sim->old_images);
    if (sim->host_count > 1) {
        if (!exam_run(&sim->exam))
            return;
        exam_end(&sim->exam);
        if (!world_run_until(&sim->world, sim->world.now_ns + AFTER_NS) || !answer_and_settle(sim))
            return;
    }
    judge(sim);
    if (!sim->options.no_faults && nemesis_has(&sim->nemesis, NEMESIS_NEXT_DAY) &&
        !pass_to_next_day(sim))
        return;
    note_end(sim);
    if (sim->host_count > 1 && !sim->world.violated)
        aftermath_run(&sim->aftermath);
    if (forgets && !sim->world.violated)
        old_images_restore(&sim->old_images);
}

static void fill_result(const struct sim *sim, struct sim_result *out)
{
    *out = (struct sim_result){
        .violated = sim->world.violated,
        .hash = sim->world.hash,
        .virtual_ns = sim->world.now_ns,
        .events = sim->world.event_total,
        .messages = sim->network.message_total,
        .commits = sim->invariants.commit_index,
        .elections = sim->invariants.election_total,
        .requests = sim->oracle.fact_count,
        .answers = sim->oracle.answer_total,
        .repeats = sim->oracle.repeat_total,
        .reads = sim->oracle.read_total,
        .lookups = sim->oracle.lookup_total,
        .unknown = sim->oracle.unknown_total,
        .transfers = sim->oracle.transfer_total,
        .longest_ns = sim->clients.longest_ns,
        .settle_ns = sim->settle_ns,
        .certificates = sim->certificate_checks.total,
        .commits_judged = sim->commit_checks.judged_total,
        .commits_waited = sim->commit_checks.waited_total,
        .commit_longest_ns = sim->commit_checks.longest_ns,
        .nights = sim->next_day.done,
        .steps = sim->rule_checks.step_total,
        .one_sided = sim->rule_checks.one_sided_total,
        .degrades = sim->rule_checks.degrade_total,
        .returns = sim->rule_checks.return_total,
        .policies = sim->rule_checks.policy_total,
        .pause_ns = sim->exam.pause_ns,
        .leader_lost = sim->exam.leader_lost,
    };
    if (sim->aftermath.done)
        out->verdicts[sim->aftermath.verdict] = 1;
    out->losses = sim->aftermath.done && sim->aftermath.lost;
    memcpy(out->violation, sim->world.violation, sizeof out->violation);
    for (uint32_t i = 0; i < sim->host_count; i++) {
        out->turns += sim->hosts[i].turn_total;
        out->starts += sim->hosts[i].start_total;
        out->kills += sim->hosts[i].crash_total;
        out->power_losses += sim->hosts[i].power_total;
        out->fail_stops += sim->hosts[i].fail_stop_total;
    }
    memcpy(out->faults, sim->nemesis.total, sizeof out->faults);
    out->put_back = sim->old_images.asked > 0 || sim->old_images.noticed;
    out->put_back_noticed = sim->old_images.noticed;
    out->fault_count = sim->nemesis.number;
    out->began_ns = sim->began_ns;
    out->violated_ns = sim->world.now_ns;
    out->late_messages = sim->network.late_total;
    for (uint32_t i = 0; i < sim->host_count; i++)
        out->failed_calls += sim->hosts[i].disk.fail_total;
    out->abandoned = sim->clients.abandoned_total;
    out->settled = sim->clients.settled_total;
    out->burst = sim->clients.burst_total;
    out->too_old = sim->oracle.too_old_total;
    out->library_calls = sim->desks.call_total;
    out->library_unknown = sim->desks.unknown_total;
    out->library_refused = sim->desks.refused_total + sim->desks.not_sent_total;
    out->moves = sim->operators.moved_total[0];
    out->moves_refused = sim->operators.moved_total[1];
    out->damages_found = sim->nemesis.damage.found_total;
    out->damages_unnoticed = sim->nemesis.damage.unnoticed_total;
    out->damages_left_out = sim->nemesis.damage.given_up_total;
}

void sim_run(const struct sim_options *options, struct sim_result *out)
{
    struct sim *sim = sim_allocate(sizeof *sim);
    sim->options = *options;
    world_init(&sim->world, options->seed, options->verbose, options->ring_count);
    oracle_init(&sim->oracle, &sim->world);
    invariants_init(&sim->invariants, &sim->world);
    sim->world.tells = options->story;
    make_cluster(sim);
    make_nemesis(sim);
    make_clients(sim);
    sim->commit_checks = (struct commit_checks){.world = &sim->world};
    sim->witness_checks = (struct witness_checks){.world = &sim->world,
                                                  .holdings = &sim->rule_checks.holdings,
                                                  .nemesis = &sim->nemesis,
                                                  .commit_index = &sim->invariants.commit_index};
    sim->certificate_checks = (struct certificate_checks){
        .world = &sim->world, .oracle = &sim->oracle, .rule = &sim->rule_checks};
    sim->operators = (struct operators){
        .world = &sim->world, .hosts = sim->hosts, .host_count = sim->host_count};
    operators_start(&sim->operators);
    sim->exam = (struct exam){
        .world = &sim->world,
        .network = &sim->network,
        .hosts = sim->hosts,
        .host_count = sim->host_count,
        .clients = &sim->clients,
        .oracle = &sim->oracle,
        .checks = &sim->rule_checks,
    };
    sim->next_day = (struct next_day){
        .world = &sim->world,
        .hosts = sim->hosts,
        .host_count = sim->host_count,
        .clients = &sim->clients,
        .oracle = &sim->oracle,
    };
    sim->aftermath = (struct aftermath){
        .world = &sim->world,
        .network = &sim->network,
        .hosts = sim->hosts,
        .host_count = sim->host_count,
        .clients = &sim->clients,
        .oracle = &sim->oracle,
        .checks = &sim->rule_checks,
    };
    sim->old_images = (struct old_images){.world = &sim->world,
                                          .network = &sim->network,
                                          .hosts = sim->hosts,
                                          .host_count = sim->host_count,
                                          .oracle = &sim->oracle};
    run(sim);
    fill_result(sim, out);
    if (sim->world.violated && options->ring_count > 0)
        world_print_ring(&sim->world);
    for (uint32_t i = 0; i < sim->host_count; i++)
        host_deinit(&sim->hosts[i]);
    members_deinit(&sim->members);
    operators_deinit(&sim->operators);
    nemesis_deinit(&sim->nemesis);
    old_images_deinit(&sim->old_images);
    desks_deinit(&sim->desks);
    clients_deinit(&sim->clients);
    network_deinit(&sim->network);
    oracle_deinit(&sim->oracle);
    invariants_deinit(&sim->invariants);
    rule_checks_deinit(&sim->rule_checks);
    world_deinit(&sim->world);
    free(sim);
}
