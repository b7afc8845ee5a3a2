#include "consensus_cluster.h"

#include "core/invariant.h"
#include "storage/hard_state.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_BYTES TRANSPORT_QUEUE_BYTES_MAX

static struct cluster_node *node_of(const struct transport *transport)
{
    return (struct cluster_node *)((char *)(uintptr_t)transport -
                                   offsetof(struct cluster_node, transport));
}

/* ---- the world ---- */

static uint64_t world_monotonic(void *context)
{
    return ((struct cluster_node *)context)->cluster->now_ns;
}

static uint64_t world_wall(void *context)
{
    struct cluster_node *node = context;
    return 1700000000000000000ull + node->cluster->now_ns + (uint64_t)node->wall_offset_ns;
}

static uint64_t draw(struct cluster *cluster)
{
    uint64_t z = cluster->seed += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static void world_random(void *context, void *out, size_t size)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)draw(((struct cluster_node *)context)->cluster);
}

static void nothing(void *context)
{
    (void)context;
}

/* ---- network ---- */

static bool reaches(const struct cluster *cluster, uint32_t from, uint32_t to)
{
    return to < cluster->count && !cluster->cut[from][to] && cluster->nodes[to].alive;
}

static size_t net_room(const struct transport *transport, uint64_t to, enum transport_lane lane)
{
    (void)lane;
    const struct cluster_node *node = node_of(transport);
    const struct cluster *cluster = node->cluster;
    uint32_t place = (uint32_t)to - 1;
    if (to == 0 || place >= cluster->count || !cluster->linked[node->place][place])
        return 0;
    uint64_t queued = cluster->queued_bytes[node->place][place];
    return queued < QUEUE_BYTES ? QUEUE_BYTES - queued : 0;
}

static enum status net_send(struct transport *transport, uint64_t to, enum transport_lane lane,
                            const struct transport_part *parts, uint32_t count)
{
    cr_assert_eq(lane, TRANSPORT_RAFT);
    struct cluster_node *node = node_of(transport);
    struct cluster *cluster = node->cluster;
    uint32_t place = (uint32_t)to - 1;
    if (to == 0 || place >= cluster->count || !cluster->linked[node->place][place])
        return STATUS_UNAVAILABLE;
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += parts[i].size;
    cr_assert_leq(size, (size_t)TRANSPORT_MESSAGE_SIZE_MAX);
    if (net_room(transport, to, lane) < size)
        return STATUS_BUSY;
    struct cluster_message *message = calloc(1, sizeof *message + (size + 7) / 8 * 8);
    cr_assert_not_null(message);
    uint8_t *cursor = (uint8_t *)message->bytes;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(cursor, parts[i].bytes, parts[i].size);
        cursor += parts[i].size;
    }
    message->size = size;
    message->from = node->place;
    message->to = place;
    message->at_ns = cluster->now_ns + cluster->delay_ns;
    cluster->queued_bytes[node->place][place] += size;
    *cluster->messages_end = message;
    cluster->messages_end = &message->next;
    cluster->message_count++;
    cluster->byte_count += size;
    return STATUS_OK;
}

static const struct transport_operations net_operations = {.send = net_send, .room = net_room};

/* Tells both ends whether they are linked. */
static void settle_links(struct cluster *cluster)
{
    for (uint32_t a = 0; a < cluster->count; a++) {
        for (uint32_t b = 0; b < cluster->count; b++) {
            if (a == b || !cluster->nodes[a].alive)
                continue;
            bool up = reaches(cluster, a, b);
            if (up == cluster->linked[a][b])
                continue;
            cluster->linked[a][b] = up;
            consensus_linked(cluster->nodes[a].consensus, b + 1, up);
        }
    }
}

/* Messages whose time has come; those of a cut are lost. Returns whether there were any. */
static bool deliver(struct cluster *cluster)
{
    bool any = false;
    struct cluster_message **link = &cluster->messages;
    while (*link != NULL) {
        struct cluster_message *message = *link;
        if (message->at_ns > cluster->now_ns) {
            link = &message->next;
            continue;
        }
        *link = message->next;
        if (message->next == NULL)
            cluster->messages_end = link;
        cluster->queued_bytes[message->from][message->to] -= message->size;
        if (cluster->nodes[message->from].alive && reaches(cluster, message->from, message->to)) {
            consensus_receive(cluster->nodes[message->to].consensus, message->from + 1,
                              message->bytes, message->size);
            any = true;
        }
        free(message);
    }
    return any;
}

void cluster_cut(struct cluster *cluster, uint32_t from, uint32_t to, bool cut)
{
    cluster->cut[from][to] = cut;
    settle_links(cluster);
}

void cluster_isolate(struct cluster *cluster, uint32_t place, bool isolated)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (i != place)
            cluster->cut[place][i] = cluster->cut[i][place] = isolated;
    }
    settle_links(cluster);
}

/* ---- nodes ---- */

static void sink_news(void *context)
{
    ((struct cluster_node *)context)->news++;
}

static void sink_falls_behind(void *context, uint64_t peer)
{
    ((struct cluster_node *)context)->behind_count[peer - 1]++;
}

static void sink_condemned(void *context, uint64_t index, const char *text)
{
    (void)text;
    ((struct cluster_node *)context)->condemned = index;
}

static void sink_failed(void *context, enum status status, const char *text)
{
    struct cluster_node *node = context;
    node->failed = true;
    snprintf(node->failure, sizeof node->failure, "%s: %s", status_text(status), text);
}

static void notify_event_cb(void *context, const char *name, const char *text, uint64_t a,
                            uint64_t b)
{
    struct cluster_node *node = context;
    node->events++;
    node->lost_told += strcmp(name, "peer_lost_entries") == 0;
    if (getenv("CLUSTER_TRACE") != NULL)
        fprintf(stderr, "%8.3f node %u: %s a=%lu b=%lu (%s)\n", (double)node->cluster->now_ns / 1e9,
                node->place + 1, name, a, b, text);
}

static void notify_fail_cb(void *context, enum status status, const char *text)
{
    sink_failed(context, status, text);
}

static struct journal_options journal_options_of(struct cluster_node *node)
{
    return (struct journal_options){
        .files = &node->files,
        .segment_size = CLUSTER_SEGMENT,
        .cluster_id = {7},
        .clock_context = node,
        .clock_ns = world_monotonic,
        .random_context = node,
        .random = world_random,
        .wake_writer = nothing,
        .wake_preparer = nothing,
        .wake_loop = nothing,
    };
}

struct journal_options cluster_journal_options(struct cluster *cluster, uint32_t place)
{
    return journal_options_of(&cluster->nodes[place]);
}

static void step_journal(struct cluster_node *node)
{
    uint64_t wait;
    for (int i = 0; i < 1000 && journal_writer_step(node->journal, &wait) == JOB_AGAIN; i++)
        ;
    for (int i = 0; i < 1000 && journal_preparer_step(node->journal, &wait) == JOB_AGAIN; i++)
        ;
}

static void first_cb(struct journal_append *append, enum status status)
{
    (void)append;
    cr_assert_eq(status, STATUS_OK);
}

/* Journal with the founding entry, hard state of its term; or nothing but an empty journal. */
static void found(struct cluster_node *node, const struct member_table *table)
{
    struct journal_options options = journal_options_of(node);
    cr_assert_eq(journal_create(&options), STATUS_OK);
    cr_assert_eq(hard_state_create(&node->files), STATUS_OK);
    if (table == NULL)
        return;
    struct hard_state state = {.term = 1};
    cr_assert_eq(hard_state_write(&node->files, &state), STATUS_OK);
    uint8_t bytes[MEMBER_TABLE_BYTES_MAX];
    size_t size = member_table_encode(table, bytes);
    cr_assert_gt(size, 0);
    struct journal_damage damage;
    uint64_t cut;
    cr_assert_eq(journal_open(&options, &node->journal, &damage, &cut), STATUS_OK);
    struct journal_entry entry = {.index = 1,
                                  .term = 1,
                                  .type = JOURNAL_CONFIGURATION,
                                  .size = (uint32_t)size,
                                  .payload = bytes};
    struct journal_append append = {.entries = &entry, .entry_count = 1, .cb = first_cb};
    step_journal(node);
    cr_assert_eq(journal_append(node->journal, &append), STATUS_OK);
    step_journal(node);
    journal_process(node->journal);
    journal_stop(node->journal);
    step_journal(node);
    journal_close(node->journal);
    node->journal = NULL;
}

static void name_member(struct cluster_node *node, const char *site, enum member_kind kind)
{
    node->member = (struct member){.node_id = node->place + 1, .kind = kind};
    memset(node->member.incarnation, (int)node->place + 1, sizeof node->member.incarnation);
    snprintf(node->member.site, sizeof node->member.site, "%s", site);
    snprintf(node->member.address, sizeof node->member.address, "node%u.example:7001",
             node->place + 1);
}

struct cluster *cluster_create(uint32_t count, uint32_t voters, bool all_data)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    cr_assert_not_null(cluster);
    cluster->count = count;
    cluster->now_ns = 1000 * CLUSTER_MS;
    cluster->delay_ns = CLUSTER_MS / 5;
    cluster->seed = count;
    cluster->messages_end = &cluster->messages;
    struct member_table table = {.count = voters};
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        node->cluster = cluster;
        node->place = i;
        node->transport.operations = &net_operations;
        node->environment = (struct environment){
            .context = node,
            .monotonic_ns = world_monotonic,
            .wall_ns = world_wall,
            .random = world_random,
            .manual_jobs = true,
        };
        node->notify =
            (struct notify){.context = node, .event = notify_event_cb, .fail = notify_fail_cb};
        bool witness = !all_data && voters > 1 && voters % 2 == 1 && i == voters - 1;
        name_member(node,
                    witness      ? "W"
                    : i % 2 == 0 ? "A"
                                 : "B",
                    witness ? MEMBER_WITNESS : MEMBER_DATA);
        snprintf(node->directory, sizeof node->directory, "/tmp/consensus_cluster_XXXXXX");
        cr_assert_not_null(mkdtemp(node->directory));
        faulty_disk_init(&node->disk);
        cr_assert_eq(faulty_disk_open(&node->disk, node->directory, &node->files), STATUS_OK);
        if (i < voters) {
            table.members[i] = node->member;
            table.votes[i] = true;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        found(&cluster->nodes[i], i < voters ? &table : NULL);
    return cluster;
}

void cluster_start(struct cluster *cluster, uint32_t place)
{
    struct cluster_node *node = &cluster->nodes[place];
    invariant(!node->alive);
    struct journal_options options = journal_options_of(node);
    struct journal_damage damage;
    uint64_t cut;
    cr_assert_eq(journal_open(&options, &node->journal, &damage, &cut), STATUS_OK, "%s",
                 damage.text);
    step_journal(node);
    const struct consensus_raft_options raft = {
        .environment = &node->environment,
        .notify = &node->notify,
        .files = &node->files,
        .journal = node->journal,
        .self = node->member,
        .durable_index = node->durable_index,
        .durable_term = node->durable_term,
        .committed_index = node->committed_index,
        .committed_term = node->committed_term,
        .configuration = node->configuration,
        .configuration_size = node->configuration_size,
        .transport = cluster->count > 1 ? &node->transport : NULL,
        .floors = &node->floors,
        .sink = {.context = node,
                 .news = sink_news,
                 .falls_behind = sink_falls_behind,
                 .condemned = sink_condemned,
                 .failed = sink_failed},
        .log_bytes_max = cluster->log_bytes_max,
        .tail_bytes = cluster->tail_bytes,
    };
    cr_assert_eq(consensus_raft_create(&raft, &node->consensus), STATUS_OK);
    enum status status = consensus_start(node->consensus);
    consensus_process(node->consensus);
    cr_assert_eq(status, STATUS_OK, "%s", node->failure);
    node->alive = true;
    node->failed = false;
    node->condemned = 0;
    struct consensus_status now;
    consensus_status(node->consensus, &now);
    node->pulled = now.consumed_index;
    settle_links(cluster);
}

static void end(struct cluster *cluster, uint32_t place)
{
    struct cluster_node *node = &cluster->nodes[place];
    consensus_destroy(node->consensus);
    node->consensus = NULL;
    journal_close(node->journal);
    node->journal = NULL;
    node->alive = false;
    for (uint32_t i = 0; i < cluster->count; i++)
        cluster->linked[place][i] = false;
    settle_links(cluster);
}

void cluster_stop(struct cluster *cluster, uint32_t place)
{
    struct cluster_node *node = &cluster->nodes[place];
    consensus_stop(node->consensus);
    journal_stop(node->journal);
    step_journal(node);
    consensus_process(node->consensus);
    end(cluster, place);
}

void cluster_crash(struct cluster *cluster, uint32_t place)
{
    /* The journal's jobs end without anybody hearing of it. */
    struct cluster_node *node = &cluster->nodes[place];
    journal_stop(node->journal);
    step_journal(node);
    end(cluster, place);
}

static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    cr_assert_not_null(directory);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
    cr_assert_eq(rmdir(path), 0);
}

struct cluster *cluster_started(uint32_t count)
{
    struct cluster *cluster = cluster_create(count, count, false);
    for (uint32_t i = 0; i < count; i++)
        cluster_start(cluster, i);
    return cluster;
}

void cluster_destroy(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].alive)
            cluster_stop(cluster, i);
        faulty_disk_close(&cluster->nodes[i].files);
        remove_directory(cluster->nodes[i].directory);
    }
    while (cluster->messages != NULL) {
        struct cluster_message *message = cluster->messages;
        cluster->messages = message->next;
        free(message);
    }
    free(cluster);
}

/* ---- time ---- */

static uint64_t hash_of(const struct journal_entry *entry)
{
    uint64_t hash = 14695981039346656037ull;
    for (uint32_t i = 0; i < entry->size; i++)
        hash = (hash ^ ((const uint8_t *)entry->payload)[i]) * 1099511628211ull;
    return hash;
}

static bool pull(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    bool any = false;
    const struct journal_entry *entry;
    while (!node->hungry && (entry = consensus_next(node->consensus)) != NULL) {
        cr_assert_eq(entry->index, node->pulled + 1);
        cr_assert_eq((uintptr_t)entry->payload % 8, 0);
        cr_assert_leq(entry->index, CLUSTER_PULLED_MAX);
        struct journal_position position;
        journal_position(node->journal, &position);
        cr_assert_leq(entry->index, position.synced_index, "pulled before it was synced here");
        struct cluster_pulled *all = &cluster->pulled[entry->index - 1];
        const struct cluster_pulled mine = {
            .term = entry->term, .hash = hash_of(entry), .type = entry->type, .size = entry->size};
        if (all->type == 0)
            *all = mine;
        cr_assert_eq(all->term, mine.term, "entry %lu differs", entry->index);
        cr_assert_eq(all->hash, mine.hash, "entry %lu differs", entry->index);
        cr_assert_eq(all->type, mine.type, "entry %lu differs", entry->index);
        cr_assert_eq(all->size, mine.size, "entry %lu differs", entry->index);
        node->pulled = entry->index;
        consensus_consumed(node->consensus);
        any = true;
    }
    return any;
}

/* One turn of everybody; returns whether there is more to do at this moment. */
static bool turn(struct cluster *cluster)
{
    bool more = deliver(cluster);
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!node->alive)
            continue;
        if (!node->journal_stuck)
            step_journal(node);
        node->turns++;
        consensus_process(node->consensus);
        if (!node->failed)
            more = pull(node) || more;
        if (!node->journal_stuck && !node->failed && journal_write_age_ns(node->journal) > 0)
            more = true;
        if (consensus_next_ns(node->consensus) <= cluster->now_ns)
            more = true;
    }
    for (const struct cluster_message *m = cluster->messages; m != NULL; m = m->next)
        more = more || m->at_ns <= cluster->now_ns;
    return more;
}

static uint64_t next_event(const struct cluster *cluster, uint64_t end_ns)
{
    uint64_t next = end_ns;
    for (uint32_t i = 0; i < cluster->count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (!node->alive)
            continue;
        uint64_t at = consensus_next_ns(node->consensus);
        next = at < next ? at : next;
    }
    for (const struct cluster_message *m = cluster->messages; m != NULL; m = m->next)
        next = m->at_ns < next ? m->at_ns : next;
    return next > cluster->now_ns ? next : cluster->now_ns;
}

static bool never(struct cluster *cluster, void *context)
{
    (void)cluster;
    (void)context;
    return false;
}

bool cluster_run_until(struct cluster *cluster, uint64_t ms,
                       bool (*reached)(struct cluster *cluster, void *context), void *context)
{
    const uint64_t end_ns = cluster->now_ns + ms * CLUSTER_MS;
    while (true) {
        int turns = 0;
        while (turn(cluster)) {
            cr_assert_lt(++turns, 100000, "the cluster does not come to rest");
            if (reached(cluster, context))
                return true;
        }
        if (reached(cluster, context))
            return true;
        if (cluster->now_ns >= end_ns)
            return false;
        cluster->now_ns = next_event(cluster, end_ns);
    }
}

void cluster_run(struct cluster *cluster, uint64_t ms)
{
    (void)cluster_run_until(cluster, ms, never, NULL);
}

struct consensus_status cluster_status(struct cluster *cluster, uint32_t place)
{
    struct consensus_status status;
    consensus_status(cluster->nodes[place].consensus, &status);
    return status;
}

static bool somebody_leads(struct cluster *cluster, void *context)
{
    uint32_t *place = context;
    uint64_t term = 0;
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (!cluster->nodes[i].alive || cluster->nodes[i].failed)
            continue;
        struct consensus_status status = cluster_status(cluster, i);
        if (status.ready && status.term > term) {
            *place = i;
            term = status.term;
        }
    }
    return term > 0;
}

uint32_t cluster_leader(struct cluster *cluster)
{
    uint32_t place = 0;
    cr_assert(cluster_run_until(cluster, 5000, somebody_leads, &place), "nobody leads");
    return place;
}

enum status cluster_propose(struct cluster *cluster, uint32_t place, uint32_t size,
                            uint64_t *out_index)
{
    static uint64_t payload[1024 * 1024 / 8];
    payload[0] = draw(cluster);
    struct consensus_proposal proposal = {
        .type = JOURNAL_COMMAND, .size = size, .payload = payload};
    enum status status = consensus_propose(cluster->nodes[place].consensus, &proposal);
    if (status == STATUS_OK && out_index != NULL)
        *out_index = proposal.index;
    return status;
}

static bool all_pulled(struct cluster *cluster, void *context)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].alive && cluster->nodes[i].pulled < *(uint64_t *)context)
            return false;
    }
    return true;
}

void cluster_expect_pulled(struct cluster *cluster, uint64_t index)
{
    bool reached = cluster_run_until(cluster, 10000, all_pulled, &index);
    for (uint32_t i = 0; i < cluster->count && !reached; i++) {
        if (cluster->nodes[i].alive)
            cr_log_error("node %u pulled %lu of %lu %s", i + 1, cluster->nodes[i].pulled, index,
                         cluster->nodes[i].failure);
    }
    cr_assert(reached, "not everybody pulled entry %lu", index);
}

uint64_t cluster_commit(struct cluster *cluster, uint32_t size)
{
    uint64_t index = 0;
    enum status status = STATUS_BUSY;
    for (int i = 0; i < 1000 && status != STATUS_OK; i++) {
        status = cluster_propose(cluster, cluster_leader(cluster), size, &index);
        if (status != STATUS_OK)
            cluster_run(cluster, 10);
    }
    cr_assert_eq(status, STATUS_OK);
    cluster_expect_pulled(cluster, index);
    return index;
}

void cluster_flush(struct cluster *cluster, uint32_t place)
{
    struct cluster_node *node = &cluster->nodes[place];
    if (node->pulled == 0)
        return;
    node->durable_index = node->pulled;
    node->durable_term = cluster->pulled[node->pulled - 1].term;
    cr_assert_eq(journal_configuration(node->journal, node->configuration,
                                       sizeof node->configuration, &node->configuration_size),
                 STATUS_OK);
    consensus_durable(node->consensus, node->durable_index);
}
