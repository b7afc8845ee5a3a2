/*
 * Consensus by libraft: its life, the order of a turn, what libraft and the guard see of us.
 *
 *     node ──propose──► raft_apply ──► guard ──► raft_io ──► journal, peers
 *     node ◄──next───── the log in libraft's memory, up to min(commit, own synced index)
 *
 * libraft applies nothing: fsm->apply only counts. What is committed is pulled by the node, at its
 * pace, straight out of the log in memory (consensus_log.c), which therefore begins at or below
 * what the store holds (raft_io_trim.c). So libraft's last_applied runs ahead of the ledger;
 * nothing here mistakes it for what is applied.
 *
 * The other files: consensus_raft_internal.h. Everything happens on the loop thread; libraft is
 * entered from receive(), process(), propose() and the like, never from within itself.
 */
#include "replication/consensus/consensus_raft_internal.h"

#include "core/invariant.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct consensus_raft *raft_of(struct consensus *consensus)
{
    return (struct consensus_raft *)consensus;
}

static const struct consensus_raft *raft_of_const(const struct consensus *consensus)
{
    return (const struct consensus_raft *)consensus;
}

struct consensus_raft *consensus_of_io(struct raft_io *io)
{
    return io->impl;
}

uint64_t consensus_now_ns(const struct consensus_raft *c)
{
    return c->options.environment->monotonic_ns(c->options.environment->context);
}

uint64_t consensus_random(const struct consensus_raft *c, uint64_t below)
{
    uint64_t value;
    c->options.environment->random(c->options.environment->context, &value, sizeof value);
    return value % below;
}

uint64_t consensus_last_index(const struct consensus_raft *c)
{
    return raft_layout_last_index(&c->raft);
}

bool consensus_is_live(const struct consensus_raft *c)
{
    return c->started && !c->stopped && c->failure == STATUS_OK;
}

bool consensus_leads(const struct consensus_raft *c)
{
    return consensus_is_live(c) && c->raft.state == RAFT_LEADER;
}

bool consensus_is_transferring(const struct consensus_raft *c)
{
    return consensus_leads(c) && c->guard.transfer_state != RAFT_GUARD_NO_TRANSFER;
}

void consensus_event(const struct consensus_raft *c, const char *name, const char *text, uint64_t a,
                     uint64_t b)
{
    if (c->options.notify != NULL)
        notify_event(c->options.notify, name, text, a, b);
}

/* ---- fail-stop ---- */

void consensus_fail(struct consensus_raft *c, enum status status, const char *text)
{
    invariant(status != STATUS_OK);
    if (c->failure != STATUS_OK)
        return;
    c->failure = status;
    snprintf(c->failure_text, sizeof c->failure_text, "%s", text);
}

/* The guard's; where the reason was known better it has been told already. */
static void fail_stop(void *context, const char *operation, int code)
{
    struct consensus_raft *c = context;
    char text[256];
    snprintf(text, sizeof text,
             "consensus gave up in \"%s\" at term %" PRIu64 ", index %" PRIu64
             " (%s); report this with the log around it, the node can be started again",
             operation, (uint64_t)c->raft.current_term, consensus_last_index(c),
             raft_strerror(code));
    consensus_fail(c, code == RAFT_NOMEM ? STATUS_NO_MEMORY : STATUS_IO, text);
}

static void tell_failure(struct consensus_raft *c)
{
    if (c->failure == STATUS_OK || c->failure_told)
        return;
    if (c->condemned_index != 0 && !c->condemned_told && c->options.sink.condemned != NULL)
        c->options.sink.condemned(c->options.sink.context, c->condemned_index, c->failure_text);
    c->condemned_told = true;
    if (consensus_now_ns(c) < c->condemned_until_ns)
        return; /* its peers are told meanwhile */
    c->failure_told = true;
    c->options.sink.failed(c->options.sink.context, c->failure, c->failure_text);
}

/* ---- libraft's view of us ---- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result)
{
    (void)fsm;
    (void)buffer;
    *result = NULL;
    return 0;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static int io_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    (void)ms; /* ticks come when there is something to do: raft_layout_next_tick() */
    struct consensus_raft *c = consensus_of_io(io);
    c->tick = tick;
    c->recv = recv;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct consensus_raft *c = consensus_of_io(io);
    raft_io_cancel(c);
    if (c->put != NULL) {
        struct raft_io_snapshot_put *put = c->put;
        c->put = NULL;
        put->cb(put, RAFT_CANCELED);
    }
    while (c->get_count > 0) {
        struct raft_io_snapshot_get *get = c->gets[--c->get_count];
        get->cb(get, NULL, RAFT_CANCELED);
    }
    raft_io_complete_sends(c);
    cb(io);
}

static int io_refuse(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io;
    (void)configuration;
    return RAFT_INVALID; /* a cluster is founded by its first journal */
}

static raft_time io_time(struct raft_io *io)
{
    return consensus_now_ns(consensus_of_io(io)) / NS_PER_MS;
}

/* What a witness that leads can bring a data node up to date from: its journal, by catch-up. */
static raft_index first_kept(void *context)
{
    const struct consensus_raft *c = context;
    struct journal_position position;
    journal_position(c->options.journal, &position);
    return position.first_index;
}

static void wire(struct consensus_raft *c)
{
    c->io = (struct raft_io){
        .version = 1,
        .impl = c,
        .init = io_init,
        .close = io_close,
        .load = raft_io_load,
        .start = io_start,
        .bootstrap = io_refuse,
        .recover = io_refuse,
        .set_term = raft_io_set_term,
        .set_vote = raft_io_set_vote,
        .send = raft_io_send,
        .append = raft_io_append,
        .truncate = raft_io_truncate,
        .snapshot_put = raft_io_snapshot_put,
        .snapshot_get = raft_io_snapshot_get,
        .time = io_time,
        .random = consensus_lead_random,
    };
    c->fsm = (struct raft_fsm){
        .version = 1,
        .data = c,
        .apply = fsm_apply,
        .snapshot = raft_io_fsm_snapshot,
        .restore = raft_io_fsm_restore,
    };
    const struct raft_guard_options options = {
        .raft = &c->raft,
        .inner = &c->io,
        .fsm = &c->fsm,
        .fail_stop = fail_stop,
        .places = raft_io_places,
        .sets_mode = raft_io_sets_mode,
        .room = raft_io_room,
        .first_kept = first_kept,
        .witness = c->is_witness,
        .context = c,
        .parts = RAFT_GUARD_ALL,
    };
    raft_guard_init(&c->guard, &options);
}

/* ---- time ---- */

void consensus_tick(struct consensus_raft *c, bool wanted)
{
    if (!consensus_is_live(c))
        return;
    consensus_lead_before_tick(c);
    if (!wanted && consensus_now_ns(c) / NS_PER_MS < raft_guard_next_tick(&c->guard))
        return;
    c->tick_wanted = false;
    c->tick(&c->io);
    consensus_settle(c);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t raft_next_ns(const struct consensus *consensus)
{
    const struct consensus_raft *c = raft_of_const(consensus);
    if (c->failure != STATUS_OK)
        return c->failure_told ? UINT64_MAX : c->condemned_told ? c->condemned_until_ns : 0;
    if (c->news || c->reads.process_asked || c->change_done)
        return 0;
    if (!consensus_is_live(c))
        return UINT64_MAX;
    if (c->tick_wanted)
        return 0;
    const raft_time tick = raft_guard_next_tick(&c->guard);
    uint64_t next = tick == UINT64_MAX ? UINT64_MAX : tick * NS_PER_MS;
    next = earlier(next, consensus_reads_next_ns(c));
    next = earlier(next, consensus_members_next_ns(c));
    next = earlier(next, consensus_durability_next_ns(c));
    next = earlier(next, consensus_floors_next_ns(c));
    return earlier(next, consensus_lead_next_ns(c));
}

static void tell_news(struct consensus_raft *c)
{
    if (!c->news)
        return;
    c->news = false;
    if (c->options.sink.news != NULL)
        c->options.sink.news(c->options.sink.context);
}

static void raft_process(struct consensus *consensus)
{
    struct consensus_raft *c = raft_of(consensus);
    journal_process(c->options.journal);
    if (consensus_is_live(c) && !c->own_floor_judged) {
        c->own_floor_judged = true;
        consensus_floors_judge_own(c);
    }
    if (consensus_is_live(c)) {
        raft_io_pump(c);
        consensus_tick(c, c->tick_wanted);
        consensus_members_process(c);
        consensus_lead_process(c);
        consensus_durability_process(c);
        consensus_floors_process(c);
        consensus_settle(c);
    }
    consensus_reads_process(c);
    consensus_members_tell_change(c);
    tell_failure(c);
    tell_news(c);
}

static void receive(struct consensus *consensus, uint64_t from, const void *bytes, size_t size)
{
    struct consensus_raft *c = raft_of(consensus);
    consensus_raft_receive(c, from, bytes, size);
    consensus_reads_process(c);
    consensus_members_tell_change(c);
    tell_failure(c);
    tell_news(c);
}

/* ---- the rest of the table ---- */

static enum status raft_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    return consensus_log_propose(raft_of(consensus), proposal);
}

static const struct journal_entry *raft_next(struct consensus *consensus)
{
    return consensus_log_next(raft_of(consensus));
}

static void raft_consumed(struct consensus *consensus)
{
    consensus_log_consumed(raft_of(consensus));
}

static void raft_durable(struct consensus *consensus, uint64_t index)
{
    consensus_log_durable(raft_of(consensus), index);
}

static void raft_confirm(struct consensus *consensus, struct consensus_confirmation *confirmation)
{
    consensus_reads_confirm(raft_of(consensus), confirmation);
}

static void raft_linked(struct consensus *consensus, uint64_t id, bool up)
{
    struct consensus_raft *c = raft_of(consensus);
    struct consensus_raft_peer *peer = consensus_peer(c, id);
    peer->linked = up;
    c->news = true;
    consensus_floors_linked(c, peer, up);
    if (up)
        peer->offered_ns = 0;
}

static void raft_caught_up(struct consensus *consensus, uint64_t peer, uint64_t index)
{
    consensus_members_caught_up(raft_of(consensus), peer, index);
}

static enum status raft_feed(struct consensus *consensus, const struct consensus_feed *feed)
{
    return consensus_feed_receive(raft_of(consensus), feed);
}

static enum status raft_change_members(struct consensus *consensus,
                                       const struct consensus_change *change,
                                       consensus_change_cb cb, void *context)
{
    return consensus_members_change(raft_of(consensus), change, cb, context);
}

static enum status raft_hand_over(struct consensus *consensus, uint64_t to)
{
    return consensus_members_transfer(raft_of(consensus), to);
}

static uint64_t raft_stamp(const struct consensus *consensus)
{
    return raft_of_const(consensus)->durability_log.stamp;
}

static void raft_durability(const struct consensus *consensus, struct consensus_durability *out)
{
    consensus_durability_fill(raft_of_const(consensus), out);
}

static enum status raft_change_durability(struct consensus *consensus,
                                          const struct consensus_durability_change *change,
                                          uint64_t *out_number, char *out_text)
{
    return consensus_durability_change(raft_of(consensus), change, out_number, out_text);
}

static uint32_t raft_peers(const struct consensus *consensus, struct consensus_peer *out,
                           uint32_t capacity)
{
    return consensus_members_peers(raft_of_const(consensus), out, capacity);
}

static const char *role_of(const struct consensus_raft *c)
{
    if (!c->started || c->failure != STATUS_OK)
        return "none";
    switch (c->raft.state) {
    case RAFT_LEADER:
        return "leader";
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_FOLLOWER:
        return "follower";
    default:
        return "none";
    }
}

static void raft_status(const struct consensus *consensus, struct consensus_status *out)
{
    const struct consensus_raft *c = raft_of_const(consensus);
    *out = (struct consensus_status){
        .term = c->started ? c->raft.current_term : c->hard_state.term,
        .leader_id = consensus_leader(c),
        .commit_index = c->started ? c->raft.commit_index : 0,
        .consumed_index = c->consumed_index,
        .log_first_index = c->started ? raft_layout_first_index(&c->raft) : 0,
        .log_bytes = c->payload_bytes,
        .role = role_of(c),
        .ready = consensus_is_ready(c),
        .leads = consensus_leads(c),
        .heard_ns = c->heard_leader_ns,
        .changing = c->started && c->raft.state == RAFT_LEADER ? raft_layout_changing(&c->raft)
                    : c->started ? raft_layout_configuration_pending(&c->raft)
                                 : false,
        .transferring = consensus_is_transferring(c),
        .watermark_index = c->watermark_index,
        .site_rule = c->sites.in_force,
        .mode = c->durability_log.newest.entry.mode,
        .durability_number = c->durability_log.newest.entry.number,
        .both_index = c->started ? consensus_both_index(c) : 0,
    };
}

static bool raft_is_full(const struct consensus *consensus)
{
    const struct consensus_raft *c = raft_of_const(consensus);
    return c->started && raft_io_log_is_full(c) && !raft_io_log_can_shrink(c);
}

/* ---- life ---- */

static enum status raft_begin(struct consensus *consensus)
{
    struct consensus_raft *c = raft_of(consensus);
    invariant(!c->initialized);
    raft_io_use_heap();
    wire(c);
    if (raft_init(&c->raft, &c->guard.io, &c->guard.fsm, c->options.self.node_id, "") != 0)
        return STATUS_NO_MEMORY;
    c->initialized = true;
    raft_set_election_timeout(&c->raft, c->options.election_ms);
    raft_set_heartbeat_timeout(&c->raft, c->options.heartbeat_ms);
    raft_set_install_snapshot_timeout(&c->raft, 3600 * 1000);
    raft_set_max_catch_up_rounds(&c->raft, 1000);
    raft_set_max_catch_up_round_duration(&c->raft, 10 * 1000);
    raft_set_snapshot_threshold(&c->raft, UINT_MAX);
    raft_set_pre_vote(&c->raft, true);
    consensus_durability_log_begin(c, c->loaded.durability_index, &c->loaded.durability);
    if (raft_start(&c->raft) != 0) {
        consensus_fail(c, STATUS_IO, "consensus could not start");
        return c->failure;
    }
    c->started = true;
    c->told_commit = UINT64_MAX;
    consensus_tick(c, true); /* the only voter leads already: its barrier */
    return c->failure;
}

static void raft_end(struct consensus *consensus)
{
    struct consensus_raft *c = raft_of(consensus);
    if (c->started && c->failure == STATUS_OK && c->raft.state == RAFT_LEADER)
        consensus_members_end_change(c, STATUS_UNKNOWN_OUTCOME);
    c->stopped = true;
}

static void raft_destroy(struct consensus *consensus)
{
    struct consensus_raft *c = raft_of(consensus);
    if (c->initialized) {
        c->stopped = true;
        c->change_cb = NULL;
        raft_close(&c->raft, NULL);
    }
    invariant(c->operations == NULL);
    free(c->sends);
    free(c);
}

static const struct consensus_operations raft_operations = {
    .start = raft_begin,
    .propose = raft_propose,
    .next = raft_next,
    .consumed = raft_consumed,
    .durable = raft_durable,
    .confirm = raft_confirm,
    .receive = receive,
    .linked = raft_linked,
    .caught_up = raft_caught_up,
    .feed = raft_feed,
    .process = raft_process,
    .next_ns = raft_next_ns,
    .change = raft_change_members,
    .transfer = raft_hand_over,
    .is_full = raft_is_full,
    .stamp = raft_stamp,
    .durability = raft_durability,
    .change_durability = raft_change_durability,
    .peers = raft_peers,
    .stop = raft_end,
    .status = raft_status,
    .destroy = raft_destroy,
};

static void fill_defaults(struct consensus_raft_options *options)
{
    if (options->election_ms == 0)
        options->election_ms = CONSENSUS_ELECTION_MS;
    if (options->heartbeat_ms == 0)
        options->heartbeat_ms = CONSENSUS_HEARTBEAT_MS;
    if (options->log_bytes_max == 0)
        options->log_bytes_max = CONSENSUS_LOG_BYTES_MAX;
    if (options->tail_bytes == 0)
        options->tail_bytes = CONSENSUS_TAIL_BYTES;
    /* A tail that fills the bound would leave nothing to drop: the log would stay full for ever. */
    if (options->tail_bytes > options->log_bytes_max / 2)
        options->tail_bytes = options->log_bytes_max / 2;
}

/* [safety] What was committed stays so: the word counts as long as the journal has that entry with
 * that term. Where it has not (damage, another journal put in its place), only the store counts. */
static void note_committed(struct consensus_raft *c)
{
    struct journal_position position;
    uint64_t term = 0;
    journal_position(c->options.journal, &position);
    c->loaded_index = c->options.durable_index;
    c->loaded_term = c->options.durable_term;
    if (c->options.committed_index <= c->loaded_index ||
        c->options.committed_index > position.synced_index ||
        journal_term(c->options.journal, c->options.committed_index, &term) != STATUS_OK ||
        term == 0 || term != c->options.committed_term)
        return;
    c->loaded_index = c->options.committed_index;
    c->loaded_term = term;
}

enum status consensus_raft_create(const struct consensus_raft_options *options,
                                  struct consensus **out_consensus)
{
    struct hard_state hard_state;
    enum status status = hard_state_read(options->files, &hard_state);
    if (status != STATUS_OK)
        return status;
    struct journal_position position;
    journal_position(options->journal, &position);
    /* A term is durable before its first entry: a journal above the hard state means that the hard
     * state was lost or rolled back, and a vote with it. */
    if (position.last_term > hard_state.term)
        return STATUS_CORRUPT;
    struct consensus_raft *c = calloc(1, sizeof *c);
    if (c == NULL)
        return STATUS_NO_MEMORY;
    c->base.operations = &raft_operations;
    c->options = *options;
    c->hard_state = hard_state;
    c->is_witness = options->self.kind == MEMBER_WITNESS;
    if (c->options.floors == NULL)
        c->options.floors = &c->own_floors;
    c->operations_end = &c->operations;
    fill_defaults(&c->options);
    c->options.configuration = NULL; /* the caller's */
    if (c->is_witness) {
        status = raft_io_recall_witness(c);
        if (status != STATUS_OK) {
            free(c);
            return status;
        }
    } else if (agreed_decode(options->configuration, options->configuration_size, &c->loaded) !=
               STATUS_OK) {
        agreed_init(&c->loaded); /* a start that needs the members will say so */
    }
    c->durable_index = c->options.durable_index;
    note_committed(c);
    c->consumed_index = c->durable_index;
    c->consumed_term = c->options.durable_term;
    c->reads.asked_sequence = consensus_random(c, UINT64_MAX / 4);
    *out_consensus = &c->base;
    return STATUS_OK;
}
