/*
 * Turns, jobs, death and supervision of one process.
 *
 * Jobs: a step runs as one event at the moment when it ends, after a duration drawn ahead; a disk
 * that is stuck lets it end later. If the process dies in between, the step is carried out up to a
 * change drawn by chance, with the write under way torn there, and what it told the loop is lost
 * with the process. So a crash falls between any two calls of any job.
 *
 * Death: the disk refuses every call from then on and the node is closed as after a fail-stop. It
 * cannot tell anybody: callbacks are taken as a broken connection, sends find the transport
 * stopped.
 *
 * A node that fails by itself is started again as a supervisor would. Failing is allowed only while
 * or shortly after its world gave it a reason; any other fail-stop is a violation.
 */
#include "chaos/sim/host.h"

#include "chaos/sim/host_environment.h"
#include "core/invariant.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_NS            (5 * NS_PER_US)
#define RESTART_MIN_NS     (100 * NS_PER_MS)
#define RESTART_MAX_NS     (1500 * NS_PER_MS)
#define TURNS_A_SECOND_MAX 40000
#define NEVER              UINT64_MAX

void host_found(struct host *host, const uint8_t cluster_id[16], uint64_t node_id,
                const struct principal_event *principals, uint32_t principal_count)
{
    char address[MEMBER_ADDRESS_SIZE_MAX + 1];
    network_address(host->number, address);
    struct node_init_options init = {
        .directory = HOST_DIRECTORY,
        .journal_segment_size = host->options.journal_segment_size,
        .reserve_bytes = 1u << 20,
        .node_id = node_id,
        .kind = host->kind,
        .site = host->site,
        .peer_address = address,
        .join = cluster_id != NULL,
        .principals = principals,
        .principal_count = cluster_id != NULL ? 0 : principal_count,
        .out_member = &host->member,
        .environment = &host->environment,
    };
    if (cluster_id != NULL)
        memcpy(init.cluster_id, cluster_id, sizeof init.cluster_id);
    struct node_error error;
    const enum status status = node_init(&init, &error);
    if (status != STATUS_OK)
        world_violate(host->world, "host %u: node_init: %s", host->number, error.text);
    host->node_id = node_id;
    host->disk.cost_ns = 0;
}

bool host_is_up(const struct host *host)
{
    return host->node != NULL;
}

/* ---- jobs ---- */

static uint64_t job_duration(struct host *host, enum node_job job)
{
    /* Calls of a step on a good day, in syncs. */
    static const uint32_t syncs[] = {
        [NODE_JOB_WRITER] = 1, [NODE_JOB_PREPARER] = 6, [NODE_JOB_FLUSHER] = 8};
    const uint32_t count = (size_t)job < sizeof syncs / sizeof syncs[0] ? syncs[job] : 4;
    const uint64_t base = host->disk.sync_ns * host->disk.slow_factor * count;
    uint64_t ns = base / 2 + draw_below(&host->draw, base + 1);
    if (draw_chance(&host->draw, 1, 200))
        ns += 20 * base;
    return ns;
}

static void job_run(void *context, uint64_t life, uint64_t job);

static void job_plan(struct host *host, enum node_job job, uint64_t at_ns)
{
    if (at_ns >= host->job_at_ns[job])
        return;
    host->job_at_ns[job] = at_ns;
    world_post(host->world, at_ns, job_run, host, host->life, job);
}

static void jobs_plan(struct host *host)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++) {
        if (!node_job_is_woken(host->node, (enum node_job)job))
            continue;
        if (host->job_at_ns[job] > host->world->now_ns + NS_PER_S) /* asleep, or not planned */
            host->job_at_ns[job] = NEVER;
        if (host->job_at_ns[job] == NEVER)
            job_plan(host, (enum node_job)job,
                     host->world->now_ns + job_duration(host, (enum node_job)job));
    }
}

static void job_step(struct host *host, enum node_job job)
{
    uint64_t wait_ns = NEVER;
    const enum job_state state = node_job_step(host->node, job, &wait_ns);
    switch (state) {
    case JOB_AGAIN:
        job_plan(host, job, host->world->now_ns + job_duration(host, job));
        break;
    case JOB_IDLE:
        if (wait_ns != NEVER)
            job_plan(host, job, host->world->now_ns + wait_ns + job_duration(host, job) / 4);
        break;
    case JOB_FAILED:
    case JOB_DONE:
        break; /* a node that opens itself anew wakes new ones */
    }
}

static void check_halted(struct host *host)
{
    if (host->node != NULL && host->disk.dead)
        host_kill(host, draw_chance(&host->draw, 1, 2));
}

static void job_run(void *context, uint64_t life, uint64_t job)
{
    struct host *host = context;
    if (life != host->life || host->node == NULL || host->job_at_ns[job] != host->world->now_ns)
        return;
    host->job_at_ns[job] = NEVER;
    uint64_t later = host->disk.stuck_until_ns;
    if (host->paused_until_ns > later)
        later = host->paused_until_ns;
    if (later > host->world->now_ns) {
        job_plan(host, (enum node_job)job, later + job_duration(host, (enum node_job)job));
        return;
    }
    host->disk.cost_ns = 0;
    world_note(host->world, "job", host->number, job, 0);
    host->in_job = true;
    job_step(host, (enum node_job)job);
    host->in_job = false;
    host->disk.cost_ns = 0;
    check_halted(host);
    if (host->node != NULL)
        jobs_plan(host);
}

/* ---- turns ---- */

static void turn_run(void *context, uint64_t life, uint64_t unused);

static void turn_plan(struct host *host, uint64_t at_ns)
{
    if (at_ns < host->busy_until_ns)
        at_ns = host->busy_until_ns;
    if (at_ns < host->world->now_ns)
        at_ns = host->world->now_ns;
    if (at_ns >= host->turn_at_ns)
        return;
    host->turn_at_ns = at_ns;
    world_post(host->world, at_ns, turn_run, host, host->life, 0);
}

void host_wake(struct host *host)
{
    if (host->node != NULL)
        turn_plan(host, host->world->now_ns);
}

static void set_busy(struct host *host, uint64_t until_ns)
{
    host->busy_until_ns = until_ns;
    host->network->hosts[host->number].busy_until_ns = until_ns;
}

void host_left(struct host *host)
{
    if (host->turning || host->disk.cost_ns == 0)
        return;
    if (host->busy_until_ns < host->world->now_ns + host->disk.cost_ns)
        set_busy(host, host->world->now_ns + host->disk.cost_ns);
    host->disk.cost_ns = 0;
}

static void network_left(void *context)
{
    struct host *host = context;
    if (host->node != NULL && !host->dying && !host->turning)
        host->sink.heard(host->sink.context, host);
    host_left(host);
}

static void check_spinning(struct host *host)
{
    const uint64_t second = host->world->now_ns / NS_PER_S;
    if (second != host->second) {
        host->second = second;
        host->turns_this_second = 0;
    }
    if (++host->turns_this_second > TURNS_A_SECOND_MAX)
        world_violate(
            host->world,
            "host %u spins: more than %d turns within a second, phase %d, wait %" PRIu64 " ms",
            host->number, TURNS_A_SECOND_MAX, host->node->phase, node_wait_ms(host->node));
}

static void start_later(struct host *host);

/* Its world gave it a reason. A write that went astray is one from that moment on, before the
 * nemesis sees it. */
static bool may_fail(const struct host *host)
{
    return host->may_fail || host->world->now_ns <= host->excused_until_ns ||
           host->disk.misdirected[0] != 0;
}

static void collect_failed(struct host *host)
{
    struct node_status status;
    node_status(host->node, &status);
    snprintf(host->last_failure, sizeof host->last_failure, "%s", status.error.text);
    host->fail_stop_total++;
    if (!may_fail(host))
        world_violate(host->world, "host %u: fail-stop without a reason: %s", host->number,
                      status.error.text);
    host_kill(host, false);
}

static void collect_stopped(struct host *host)
{
    world_note(host->world, "stopped", host->number, host->life, 0);
    world_tell(host->world, "host %u has stopped in good order", host->number);
    host->sink.dies(host->sink.context, host);
    host->drain_total++;
    host->dying = true;
    if (!node_close(host->node))
        world_violate(host->world, "host %u: a job hangs after a drain", host->number);
    plant_deinit(&host->plant);
    network_host_down(host->network, host->number, false);
    host->node = NULL;
    host->life++;
    disk_restart(&host->disk);
    host->sink.died(host->sink.context, host);
    if (host->wanted)
        start_later(host);
}

void host_drain(struct host *host)
{
    if (host->node == NULL || host->draining)
        return;
    world_note(host->world, "drain", host->number, host->life, 0);
    world_tell(host->world, "host %u is told to stop", host->number);
    host->draining = true;
    host->drained_ns = host->world->now_ns;
    node_drain(host->node);
    host_left(host);
    host_wake(host);
}

static void turn_run(void *context, uint64_t life, uint64_t unused)
{
    (void)unused;
    struct host *host = context;
    if (life != host->life || host->node == NULL || host->turn_at_ns != host->world->now_ns)
        return;
    host->turn_at_ns = NEVER;
    if (host->world->now_ns < host->busy_until_ns) {
        turn_plan(host, host->busy_until_ns);
        return;
    }
    host->turn_total++;
    check_spinning(host);
    host->disk.cost_ns = 0;
    host->turning = true;
    host->wake_in_turn = false;
    host->wall_begin_ns = host_wall_ns(host);
    if (host->early_return)
        plant_early_return(host->node->consensus);
    if (host->node->reinstall_stops)
        host->sink.changes_over(host->sink.context, host);
    node_process(host->node);
    host->wall_end_ns = host_wall_ns(host);
    host->turning = false;
    if (host->reopened_seen != host->node->reopened_total)
        host->opened_ns = host->world->now_ns;
    host->reopened_seen = host->node->reopened_total;
    if (host->certificate_high)
        plant_certificate_high(host->node);
    set_busy(host, host->world->now_ns + host->disk.cost_ns + TURN_NS);
    host->disk.cost_ns = 0;
    check_halted(host);
    if (host->node == NULL)
        return;
    if (host->node->phase == NODE_FAILED) {
        collect_failed(host);
        return;
    }
    if (host->node->phase == NODE_STOPPED) {
        collect_stopped(host);
        return;
    }
    host->sink.turned(host->sink.context, host);
    host->disk.cost_ns = 0; /* looking at it takes it no time */
    const uint64_t wait_ms = host->wake_in_turn ? 0 : node_wait_ms(host->node);
    turn_plan(host, host->world->now_ns + wait_ms * NS_PER_MS);
    jobs_plan(host);
}

void host_pause(struct host *host, uint64_t until_ns)
{
    world_note(host->world, "pause", host->number, (until_ns - host->world->now_ns) / NS_PER_MS, 0);
    world_tell(host->world, "    host %u for %.2f s", host->number,
               (double)(until_ns - host->world->now_ns) / 1e9);
    host->paused_until_ns = until_ns;
    if (host->busy_until_ns < until_ns)
        set_busy(host, until_ns);
}

void host_relieve(struct host *host)
{
    host->disk.stuck_until_ns = 0;
    host->paused_until_ns = 0;
    if (host->node == NULL)
        return;
    /* What it has lived through it has lived through: its clock does not go back with the cost. */
    if (host->busy_until_ns > host->world->now_ns)
        host->monotonic_base_ns += host->busy_until_ns - host->world->now_ns;
    set_busy(host, host->world->now_ns);
    network_host_relieved(host->network, host->number);
    host_wake(host);
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        if (host->job_at_ns[job] != NEVER && host->job_at_ns[job] > host->world->now_ns)
            job_plan(host, (enum node_job)job,
                     host->world->now_ns + job_duration(host, (enum node_job)job));
}

/* ---- life ---- */

void host_init(struct host *host, uint64_t seed)
{
    host->draw = draw_stream(seed, 100 + host->number);
    disk_init(&host->disk, host->world, seed, host->number);
    host_environment_init(host);
    host->options.directory = HOST_DIRECTORY;
    if (host->network->host_count > 1)
        host->options.transport = &host->network->hosts[host->number].transport;
    host->monotonic_base_ns = draw_between(&host->draw, 1, 1000000) * NS_PER_S;
    host->turn_at_ns = NEVER;
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        host->job_at_ns[job] = NEVER;
    struct network_host *wire = &host->network->hosts[host->number];
    wire->ahead_ns = &host->disk.cost_ns;
    wire->left = network_left;
    wire->left_context = host;
}

static void start_run(void *context, uint64_t life, uint64_t unused)
{
    (void)unused;
    struct host *host = context;
    if (life == host->life && host->node == NULL && host->wanted)
        host_start(host);
}

static void start_later(struct host *host)
{
    world_post(host->world,
               host->world->now_ns + draw_between(&host->draw, RESTART_MIN_NS, RESTART_MAX_NS),
               start_run, host, host->life, 0);
}

static void refuse_start(struct host *host, const struct node_error *error)
{
    world_note(host->world, "refused to start", host->number, error->status, 0);
    world_tell(host->world, "host %u refuses to start: %s", host->number, error->text);
    snprintf(host->last_failure, sizeof host->last_failure, "%s", error->text);
    const bool halted = host->disk.dead;
    if (!halted && !may_fail(host))
        world_violate(host->world, "host %u refuses to start: %s", host->number, error->text);
    disk_restart(&host->disk);
    host->life++;
    start_later(host);
}

void host_start(struct host *host)
{
    host->wanted = true;
    if (host->node != NULL)
        return;
    host->life++;
    host->dying = false;
    host->draining = false;
    host->start_total++;
    host->disk.cost_ns = 0;
    host_clock_goes_on(host);
    network_host_powered(host->network, host->number);
    host->paused_until_ns = 0;
    world_note(host->world, "start", host->number, host->life, 0);
    world_tell(host->world, "host %u starts as node %" PRIu64, host->number, host->node_id);
    struct node_error error = {0};
    struct node *node = NULL;
    enum status status = node_open(&host->options, &node, &error);
    if (status != STATUS_OK) {
        refuse_start(host, &error);
        return;
    }
    host->node = node;
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        host->job_at_ns[job] = NEVER;
    host->turn_at_ns = NEVER;
    host->started_ns = host->opened_ns = host->world->now_ns;
    if (host->reply_early)
        plant_reply_before_commit(&host->plant, node->consensus);
    if (host->followers_mode)
        plant_followers_mode(&host->plant, node->consensus);
    status = node_start(node, &error);
    if (host->guard_off != 0)
        plant_guard_off(node->consensus, host->guard_off);
    set_busy(host, host->world->now_ns + host->disk.cost_ns + 5 * NS_PER_MS);
    host->disk.cost_ns = 0;
    check_halted(host);
    if (host->node != NULL && status != STATUS_OK)
        collect_failed(host);
    if (host->node == NULL)
        return;
    check_halted(host);
    if (host->node == NULL)
        return;
    host_wake(host);
    jobs_plan(host);
}

/* The steps under way reach some call and no further. */
static void tear_steps(struct host *host)
{
    for (int job = 0; job < NODE_JOB_COUNT && !host->disk.dead; job++) {
        if (host->job_at_ns[job] == NEVER || host->disk.stuck_until_ns > host->world->now_ns ||
            host->job_at_ns[job] > host->world->now_ns + NS_PER_S || draw_chance(&host->draw, 1, 3))
            continue;
        host->disk.halt_in = 1 + (uint32_t)draw_below(&host->draw, job == NODE_JOB_WRITER ? 3 : 12);
        uint64_t wait_ns;
        (void)node_job_step(host->node, (enum node_job)job, &wait_ns); /* nobody hears of it */
        host->disk.halt_in = 0;
    }
}

void host_kill(struct host *host, bool power_loss)
{
    if (host->node == NULL)
        return;
    world_note(host->world, power_loss ? "power loss" : "kill", host->number, host->life, 0);
    world_tell(host->world, "host %u %s", host->number, power_loss ? "loses power" : "dies");
    host->sink.dies(host->sink.context, host);
    host->dying = true;
    tear_steps(host);
    host->disk.dead = true;
    network_host_down(host->network, host->number, power_loss);
    struct node *node = host->node;
    if (node->phase != NODE_FAILED && node->phase != NODE_STOPPED)
        node_fail(node, STATUS_IO, "killed");
    if (!node_close(node))
        world_violate(host->world, "host %u: node_close() says that a job hangs", host->number);
    plant_deinit(&host->plant);
    host->node = NULL;
    host->life++;
    host->turning = false;
    if (power_loss) {
        host->power_total++;
        disk_power_loss(&host->disk);
    } else {
        host->crash_total++;
        disk_restart(&host->disk);
    }
    host->sink.died(host->sink.context, host);
    if (host->wanted)
        start_later(host);
}

void host_deinit(struct host *host)
{
    host->wanted = false;
    host_kill(host, false);
    disk_deinit(&host->disk);
}
