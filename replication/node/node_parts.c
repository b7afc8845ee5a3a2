/*
 * The parts of a node above its files: the machine with its checkpoint restored, consensus, and
 * what drives them. Only wiring; each part's rules are in its own file.
 */
#include "replication/node/node_internal.h"

#include "core/invariant.h"
#include "replication/consensus/consensus_raft.h"
#include "replication/memory.h"

#include <inttypes.h>
#include <string.h>

static uint32_t at_least(uint32_t value, uint32_t least)
{
    return value > least ? value : least;
}

/* Requests and answers of an epoch in the proportions of the defaults in bounds.h. */
static uint32_t epoch_request_count_max(uint32_t transfers)
{
    return at_least(transfers / 2, 2 * ENTRY_REQUESTS_MAX);
}

static uint32_t epoch_answer_bytes_max(uint32_t transfers)
{
    return at_least(transfers, 16384) * 64;
}

static enum status make_machine(struct node *node, uint64_t durable_index, struct node_error *error)
{
    if (node_is_witness(node)) {
        node->opened = OPENED_MACHINE; /* it has none */
        return STATUS_OK;
    }
    const uint32_t transfers = node->options.epoch_transfer_count_max;
    uint64_t seed;
    node->environment->random(node->environment->context, &seed, sizeof seed);
    const struct machine_options options = {
        .memory = memory_pages(),
        .account_count_max = node->options.account_count_max,
        .epoch_transfer_count_max = transfers,
        .epoch_request_count_max = epoch_request_count_max(transfers),
        .epoch_answer_bytes_max = epoch_answer_bytes_max(transfers),
        .hash_seed = seed,
    };
    struct ledger_past past = {0};
    checkpoint_past(node->store, &past);
    enum status status = machine_create(&options, &past, &node->machine);
    if (status == STATUS_INVALID)
        return node_refuse(error, status,
                           "an epoch of %" PRIu32 " transfers or %" PRIu32
                           " accounts is too small: at least %d transfers and 1 account",
                           transfers, node->options.account_count_max, REQUEST_EVENTS_MAX);
    if (status != STATUS_OK)
        return node_refuse(error, status,
                           "not enough memory for %" PRIu32 " accounts and epochs of %" PRIu32
                           " transfers",
                           node->options.account_count_max, transfers);
    node->opened = OPENED_MACHINE;
    if (durable_index == 0)
        return STATUS_OK;
    status = checkpoint_restore(node->store, node->machine);
    if (status != STATUS_OK)
        return node_refuse(error, status,
                           "%s/" DIRECTORY_STORE ": the checkpoint at entry %" PRIu64
                           " cannot be restored: %s; restore the store from a backup or a peer",
                           node->options.directory, durable_index, status_text(status));
    invariant_values(machine_applied_index(node->machine) == durable_index,
                     machine_applied_index(node->machine), durable_index);
    return STATUS_OK;
}

static void consensus_news(void *context)
{
    struct node *node = context;
    node->news = true;
    node_ask_wake(node);
}

static void consensus_falls_behind(void *context, uint64_t peer)
{
    struct node *node = context;
    if (node->catch_up != NULL)
        catch_up_offer(node->catch_up, peer);
}

static void consensus_condemned(void *context, uint64_t index, const char *text)
{
    struct node *node = context;
    quarantine_write(&node->files, &node->notify, "entries are lost that were acknowledged", index,
                     text);
}

static void consensus_failed(void *context, enum status status, const char *text)
{
    struct node *node = context;
    notify_fail(&node->notify, status, text);
}

static enum status make_consensus(struct node *node, struct node_error *error)
{
    struct consensus_raft_options options = {
        .environment = node->environment,
        .notify = &node->notify,
        .files = &node->files,
        .journal = node->journal,
        .durable_index = node->meta.index,
        .durable_term = node->meta.term,
        .committed_index = node->generation.committed_index,
        .committed_term = node->generation.committed_term,
        .configuration = node->meta.configuration,
        .configuration_size = node->meta.configuration_size,
        .stamp = node->machine != NULL ? machine_stamp(node->machine) : 0,
        .transport = node->options.transport,
        .floors = &node->floors.floors,
        .sink = {.context = node,
                 .news = consensus_news,
                 .falls_behind = consensus_falls_behind,
                 .condemned = consensus_condemned,
                 .failed = consensus_failed},
        .election_ms = node->options.election_ms,
        .heartbeat_ms = node->options.heartbeat_ms,
        .log_bytes_max = node->options.log_bytes_max,
        .tail_bytes = node->options.log_tail_bytes,
    };
    identity_member(&node->identity, &options.self);
    enum status status = consensus_raft_create(&options, &node->consensus);
    if (status == STATUS_NO_MEMORY)
        return node_refuse(error, status, "out of memory");
    if (status != STATUS_OK)
        return node_refuse(
            error, status,
            "%s/hard_state: %s: the record of term and vote is damaged, missing or older "
            "than the journal; restore it from this node's backup or rebuild the node "
            "from its peers with `tally node repair`",
            node->options.directory, status_text(status));
    node->opened = OPENED_CONSENSUS;
    return STATUS_OK;
}

static void certificate_wake_job(void *context)
{
    struct node *node = context;
    worker_wake(&node->workers[NODE_JOB_CERTIFICATE]);
}

enum status node_make_queues(struct node *node, struct node_error *error)
{
    const struct proposer_options options = {
        .environment = node->environment,
        .notify = &node->notify,
        /* A witness takes no requests: the least there can be. */
        .in_flight_entries_max = node_is_witness(node) ? 1 : node->options.in_flight_entries_max,
        .waiting_requests_max = node->options.waiting_requests_max,
        .waiting_bytes_max = node->options.waiting_bytes_max,
    };
    if (proposer_init(&node->proposer, &options) != STATUS_OK)
        return node_refuse(error, STATUS_NO_MEMORY,
                           "not enough memory for %" PRIu32 " entry buffers",
                           node->options.in_flight_entries_max);
    const struct forward_options forward = {
        .environment = node->environment,
        .proposer = &node->proposer,
        .transport = node->options.transport,
        .served_max = FORWARD_SERVED_MAX,
        .served_bytes_max = FORWARD_SERVED_BYTES_MAX,
    };
    forward_init(&node->forward, &forward);
    linear_reads_init(&node->reads, node->environment, node->options.waiting_requests_max);
    node->certificates = (struct certificates){
        .environment = node->environment,
        .notify = &node->notify,
        .files = &node->files,
        .signer = node->options.signer,
        .transport = node->options.transport,
        .identity = &node->identity,
        .wake_context = node,
        .wake_job = certificate_wake_job,
    };
    certificates_load(&node->certificates);
    node->floors = (struct floor_file){
        .environment = node->environment,
        .notify = &node->notify,
        .files = &node->files,
        .identity = &node->identity,
        .wake_context = node,
        .wake_job = certificate_wake_job,
    };
    floor_file_load(&node->floors);
    durability_waits_init(&node->both_waits);
    if (rpo_init(&node->rpo) != STATUS_OK ||
        in_doubt_init(&node->in_doubt, node_wall_ns(node)) != STATUS_OK) {
        rpo_deinit(&node->rpo);
        forward_deinit(&node->forward);
        proposer_deinit(&node->proposer);
        return node_refuse(error, STATUS_NO_MEMORY, "out of memory");
    }
    node->opened = OPENED_QUEUES;
    return STATUS_OK;
}

/* ---- copies between nodes ---- */

static void catch_up_wake_job(void *context)
{
    struct node *node = context;
    worker_wake(&node->workers[NODE_JOB_CATCH_UP]);
}

static void catch_up_wake_loop(void *context)
{
    struct node *node = context;
    node->options.wake_loop(node->options.wake_context);
}

static void catch_up_ask(void *context, struct catch_up_facts *out)
{
    struct node *node = context;
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    *out = (struct catch_up_facts){
        .term = consensus.term,
        .leader_id = consensus.leader_id,
        .leads = consensus.leads,
        .commit_index = consensus.commit_index,
        .log_first_index = consensus.log_first_index,
        .watermark_index = consensus.watermark_index,
    };
}

static void catch_up_reached(void *context, uint64_t peer, uint64_t index)
{
    struct node *node = context;
    consensus_caught_up(node->consensus, peer, index);
}

static enum status catch_up_take_entries(void *context, const struct catch_up_feed *feed)
{
    struct node *node = context;
    const struct consensus_feed entries = {
        .from = feed->from,
        .term = feed->term,
        .previous_index = feed->previous_index,
        .previous_term = feed->previous_term,
        .entries = feed->entries,
        .count = feed->count,
    };
    return consensus_feed(node->consensus, &entries);
}

static void catch_up_ready(void *context)
{
    struct node *node = context;
    node->reinstall_wanted = true;
    node_ask_wake(node);
}

static enum status make_catch_up(struct node *node, struct node_error *error)
{
    if (node->options.transport == NULL) {
        node->opened = OPENED_CATCH_UP; /* nobody to copy from, or for */
        return STATUS_OK;
    }
    struct catch_up_options options = {
        .environment = node->environment,
        .notify = &node->notify,
        .transport = node->options.transport,
        .directory = node->options.directory,
        .files = &node->files,
        .generation = node->generation,
        .journal = node->journal,
        .store = node->store,
        .segment_size = node->options.journal_segment_size,
        .context = node,
        .wake_job = catch_up_wake_job,
        .wake_loop = catch_up_wake_loop,
        .facts = catch_up_ask,
        .caught_up = catch_up_reached,
        .feed = catch_up_take_entries,
        .ready = catch_up_ready,
    };
    memcpy(options.cluster_id, node->identity.cluster_id, sizeof options.cluster_id);
    enum status status = catch_up_create(&options, &node->catch_up);
    if (status != STATUS_OK)
        return node_refuse(error, status,
                           "%s: what an interrupted copy left behind cannot be removed: %s",
                           node->options.directory, status_text(status));
    node->opened = OPENED_CATCH_UP;
    return STATUS_OK;
}

/* What drives a generation; the queues are attached to it. */
static void make_parts(struct node *node, uint64_t durable_index)
{
    node->digests = (struct digests){.notify = &node->notify, .files = &node->files};
    node->fsm = (struct fsm){.machine = node->machine,
                             .proposer = &node->proposer,
                             .digests = &node->digests,
                             .rpo = &node->rpo,
                             .environment = node->environment,
                             .notify = &node->notify,
                             .transfers_total = node->fsm.transfers_total};
    proposer_attach(&node->proposer, node->machine, node->consensus);
    linear_reads_attach(&node->reads, node->consensus);
    rpo_begin(&node->rpo, durable_index);
    certificates_attach(&node->certificates, node->consensus, node->journal);
    membership_init(&node->membership, node->consensus, node->identity.node_id);
    node_site_init(node);
    node->guard = (struct disk_guard){
        .environment = node->environment,
        .notify = &node->notify,
        .files = &node->files,
        .journal = node->journal,
        .watermark_bytes = node->options.disk_watermark_bytes,
        .reserve_bytes = node->identity.reserve_bytes,
        .segment_bytes = node->options.journal_segment_size,
    };
    node->epochs = (struct epochs){
        .environment = node->environment,
        .notify = &node->notify,
        .machine = node->machine,
        .journal = node->journal,
        .store = node->store,
        .consensus = node->consensus,
        .guard = &node->guard,
        .interval_ms = node->options.checkpoint_interval_ms,
        .keep_entries = node->options.journal_keep_entries,
        .keep_bytes = node->options.journal_keep_bytes,
        .hold_index = UINT64_MAX,
        .full =
            {
                .transfer_count = node->options.epoch_transfer_count_max,
                .request_count = epoch_request_count_max(node->options.epoch_transfer_count_max),
                .answer_bytes = epoch_answer_bytes_max(node->options.epoch_transfer_count_max),
                .balance_count = 2ull * node->options.epoch_transfer_count_max,
                .ledger_count = LEDGERS_MAX,
                .principal_count = PRINCIPALS_MAX,
                .transfer_merge_count = 1,
                .request_merge_count = 1,
            },
        .durable_index = durable_index,
    };
    struct journal_position position;
    journal_position(node->journal, &position);
    node->replay_first = durable_index + 1;
    node->replay_last = position.last_index;
    node->replay_reported = false;
    node->forgotten_index = node_is_witness(node) ? durable_index : 0;
}

enum status node_make_parts(struct node *node, uint64_t durable_index, struct node_error *error)
{
    enum status status = make_machine(node, durable_index, error);
    if (status == STATUS_OK)
        status = make_consensus(node, error);
    if (status == STATUS_OK)
        status = make_catch_up(node, error);
    if (status == STATUS_OK)
        make_parts(node, durable_index);
    return status;
}
