/* See cluster.h. */
#include "tests/replication/cluster.h"

#include <string.h>

#define NS_PER_MS 1000000ull

struct pump *cluster_pump(struct cluster *cluster, uint64_t id)
{
    return &cluster->pumps[id - 1];
}

static bool is_up(const struct cluster *cluster, uint64_t id)
{
    return cluster->pumps[id - 1].node != NULL;
}

void cluster_turn(struct cluster *cluster)
{
    cluster->now_ms++;
    for (uint64_t id = 1; id <= cluster->count; id++)
        cluster->pumps[id - 1].monotonic_ns = cluster->now_ms * NS_PER_MS;
    (void)loopback_turn(&cluster->net);
    for (uint64_t id = 1; id <= cluster->count; id++)
        if (is_up(cluster, id) && (cluster->clock_hold & 1u << (id - 1)) == 0)
            pump_turn(cluster_pump(cluster, id));
}

void cluster_turn_ms(struct cluster *cluster, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++)
        cluster_turn(cluster);
}

bool cluster_until(struct cluster *cluster, bool (*done)(void *context), void *context)
{
    for (uint64_t ms = 0; ms < CLUSTER_WAIT_MS; ms++) {
        if (done(context))
            return true;
        cluster_turn(cluster);
    }
    return done(context);
}

/* ---- one node ---- */

void cluster_start(struct cluster *cluster, uint64_t id)
{
    struct pump *pump = cluster_pump(cluster, id);
    pump->monotonic_ns = cluster->now_ms * NS_PER_MS;
    enum status status = pump_open(pump);
    require(status == STATUS_OK, "node %lu: %s", id, pump->error.text);
    status = node_start(pump->node, &pump->error);
    require(status == STATUS_OK, "node %lu: %s", id, pump->error.text);
}

void cluster_kill(struct cluster *cluster, uint64_t id)
{
    struct pump *pump = cluster_pump(cluster, id);
    loopback_kill(&cluster->net, id);
    pump_kill(pump);
}

uint64_t cluster_leader(struct cluster *cluster)
{
    uint64_t leader = 0, term = 0;
    for (uint64_t id = 1; id <= cluster->count; id++) {
        if (!is_up(cluster, id))
            continue;
        struct node_cluster view;
        node_cluster(cluster_pump(cluster, id)->node, &view);
        if (view.consensus.ready && view.consensus.term > term) {
            leader = id;
            term = view.consensus.term;
        }
    }
    return leader;
}

static bool is_isolated(const struct cluster *cluster, uint64_t id)
{
    for (uint64_t other = 1; other <= cluster->count; other++)
        if (other != id && !cluster->net.cut[id - 1][other - 1])
            return false;
    return true;
}

static bool is_settled(void *context)
{
    struct cluster *cluster = context;
    if (cluster_leader(cluster) == 0)
        return false;
    for (uint64_t id = 1; id <= cluster->count; id++) {
        if (!is_up(cluster, id) || is_isolated(cluster, id))
            continue;
        struct node_status status = pump_status(cluster_pump(cluster, id));
        require(status.phase != NODE_FAILED, "node %lu: %s", id, status.error.text);
        if (status.phase != NODE_SERVING || status.leader_id != cluster_leader(cluster))
            return false;
    }
    return true;
}

uint64_t cluster_settle(struct cluster *cluster)
{
    if (!cluster_until(cluster, is_settled, cluster)) {
        for (uint64_t id = 1; id <= cluster->count; id++) {
            if (!is_up(cluster, id))
                continue;
            struct node_status s = pump_status(cluster_pump(cluster, id));
            fprintf(stderr,
                    "node %lu: phase %d role %s term %lu leader %lu commit %lu applied %lu\n", id,
                    s.phase, s.role, s.term, s.leader_id, s.commit_index, s.applied_index);
        }
        require(false, "nobody leads, or somebody does not serve");
    }
    return cluster_leader(cluster);
}

static bool somebody_leads(void *context)
{
    return cluster_leader(context) != 0;
}

uint64_t cluster_settle_majority(struct cluster *cluster)
{
    require(cluster_until(cluster, somebody_leads, cluster), "nobody leads");
    return cluster_leader(cluster);
}

uint64_t cluster_follower(struct cluster *cluster)
{
    uint64_t leader = cluster_leader(cluster);
    for (uint64_t id = 1; id <= cluster->count; id++)
        if (id != leader && is_up(cluster, id) &&
            pump_status(cluster_pump(cluster, id)).kind == MEMBER_DATA)
            return id;
    require(false, "no data node follows");
    return 0;
}

static bool has_converged(void *context)
{
    struct cluster *cluster = context;
    uint64_t leader = cluster_leader(cluster);
    if (leader == 0)
        return false;
    struct node_status expected = pump_status(cluster_pump(cluster, leader));
    for (uint64_t id = 1; id <= cluster->count; id++) {
        if (!is_up(cluster, id))
            continue;
        struct node_status status = pump_status(cluster_pump(cluster, id));
        if (status.applied_index != expected.last_index)
            return false;
    }
    return true;
}

void cluster_converge(struct cluster *cluster)
{
    require(cluster_until(cluster, has_converged, cluster), "not everything is applied everywhere");
    struct node_status expected = pump_status(cluster_pump(cluster, cluster_leader(cluster)));
    for (uint64_t id = 1; id <= cluster->count; id++) {
        if (!is_up(cluster, id))
            continue;
        struct node_status status = pump_status(cluster_pump(cluster, id));
        require(status.kind == MEMBER_WITNESS ||
                    memcmp(status.digest, expected.digest, sizeof status.digest) == 0,
                "node %lu differs", id);
    }
}

/* ---- all of them ---- */

struct test_change {
    struct node_change node; /* first */
    bool done;
    enum status status;
    char text[512];
};

static void change_cb(struct node_change *node, enum status status, const char *text)
{
    struct test_change *change = (struct test_change *)node;
    require(!change->done, "called back twice");
    change->done = true;
    change->status = status;
    snprintf(change->text, sizeof change->text, "%s", text != NULL ? text : "");
}

static bool change_is_done(void *context)
{
    return ((struct test_change *)context)->done;
}

static void add_member(struct cluster *cluster, const struct member *member)
{
    struct test_change change = {.node = {.kind = NODE_MEMBER_ADD,
                                          .member = *member,
                                          .force = true,
                                          .deadline_ns = UINT64_MAX,
                                          .cb = change_cb}};
    uint64_t leader = cluster_settle_majority(cluster);
    struct node_error error;
    enum status status =
        node_change_members(cluster_pump(cluster, leader)->node, &change.node, &error);
    require(status == STATUS_OK, "member %lu: %s", member->node_id, error.text);
    require(cluster_until(cluster, change_is_done, &change), "member %lu: no end (%s)",
            member->node_id, node_change_step(cluster_pump(cluster, leader)->node));
    require(change.status == STATUS_OK, "member %lu: %s", member->node_id, change.text);
}

static void attach(struct cluster *cluster, uint64_t id)
{
    struct pump *pump = cluster_pump(cluster, id);
    pump->options.transport = loopback_transport(&cluster->net, id);
    /* Nobody is behind what memory holds: the log is kept whole. */
    pump->options.journal_keep_entries = 1000000;
}

void cluster_init(struct cluster *cluster, uint32_t count)
{
    static const char *const sites[] = {"A", "B", "W", "A", "B"};
    require(count == 1 || count == 3 || count == 5, "1+1+1 or 2+2+1");
    memset(cluster, 0, sizeof *cluster);
    loopback_init(&cluster->net);
    cluster->now_ms = 1000000;
    for (uint64_t id = 1; id <= count; id++) {
        struct pump *pump = cluster_pump(cluster, id);
        struct member member;
        if (id == 1) {
            pump_init(pump, true);
        } else {
            char address[32];
            snprintf(address, sizeof address, "127.0.0.1:%lu", 7500 + id);
            struct node_status founder = pump_status(cluster_pump(cluster, 1));
            const struct node_init_options join = {
                .journal_segment_size = PUMP_SEGMENT_BYTES,
                .reserve_bytes = 1u << 20,
                .node_id = id,
                .kind = id == 3 ? MEMBER_WITNESS : MEMBER_DATA,
                .site = sites[id - 1],
                .peer_address = address,
                .join = true,
                .out_member = &member,
            };
            pump_init_joiner(pump, &join, founder.cluster_id);
        }
        cluster->count = (uint32_t)id;
        attach(cluster, id);
        cluster_start(cluster, id);
        if (id == 1)
            (void)cluster_settle(cluster);
        else
            add_member(cluster, &member);
    }
    (void)cluster_settle(cluster);
}

static bool is_over(void *context)
{
    struct cluster *cluster = context;
    for (uint64_t id = 1; id <= cluster->count; id++) {
        if (!is_up(cluster, id))
            continue;
        enum node_phase phase = pump_status(cluster_pump(cluster, id)).phase;
        if (phase != NODE_STOPPED && phase != NODE_FAILED)
            return false;
    }
    return true;
}

void cluster_deinit(struct cluster *cluster)
{
    cluster->clock_hold = 0;
    for (uint64_t id = 1; id <= cluster->count; id++)
        if (is_up(cluster, id) && pump_status(cluster_pump(cluster, id)).phase != NODE_FAILED)
            node_drain(cluster_pump(cluster, id)->node);
    require(cluster_until(cluster, is_over, cluster), "a node does not stop");
    for (uint64_t id = 1; id <= cluster->count; id++)
        pump_deinit(cluster_pump(cluster, id));
    loopback_deinit(&cluster->net);
}
