/*
 * The log in memory: how large it is, and what of it may go.
 *
 *     offset          trim_index        D           consumed          last
 *       ├─── may go ──────┼─── tail ────┼──────────────┼────────────────┤
 *
 * libraft drops the begin of its log only when it takes a snapshot, and believes that a snapshot
 * holds all that it applied. Ours are statements without bytes: what really holds the ledger is the
 * store, up to D. So a snapshot is refused (RAFT_BUSY) unless D has advanced by enough to be worth
 * it, and `trailing` is set so that everything above trim_index <= D stays. Two invariants follow:
 * every entry above D is in memory, to be pulled or sent; and what is not in memory is in the
 * store, for catch-up.
 *
 * libraft looks at that only after a commit. A log that is full of entries that could go must not
 * wait for one: see raft_io_log_can_shrink().
 *
 * A witness has no store: D is what it has pulled, and is noted (raft_io_witness.c).
 *
 * To a peer that needs what is gone libraft wants to send its snapshot: raft_io_send.c turns that
 * into a word to catch-up, and no bytes go anywhere.
 */
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <limits.h>

/* A snapshot is asked for when this much can go. */
#define STEP_BYTES_MAX (8ull * 1024 * 1024)
#define STEP_COUNT     4096u

static uint64_t cost(const struct raft_entry *entry)
{
    return raft_io_payload_size(entry) + CONSENSUS_ENTRY_COST;
}

void raft_io_log_grows(struct consensus_raft *c, const struct raft_entry entries[], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        c->log_bytes += cost(&entries[i]);
        c->payload_bytes += raft_io_payload_size(&entries[i]);
    }
}

static void forget(struct consensus_raft *c, raft_index first, raft_index last)
{
    for (raft_index i = first; i <= last; i++) {
        const struct raft_entry *entry = raft_layout_entry(&c->raft, i);
        if (entry == NULL)
            continue;
        c->log_bytes -= cost(entry);
        c->payload_bytes -= raft_io_payload_size(entry);
    }
}

void raft_io_log_shrinks(struct consensus_raft *c, raft_index from)
{
    invariant_values(from > c->trim_index, from, c->trim_index);
    forget(c, from, consensus_last_index(c));
    consensus_durability_log_cut(c, from);
}

/* What memory need not hold. A witness's journal keeps what a site lacks; its memory, which must
 * not grow as long as that site is away, does not. */
static uint64_t durable_index(const struct consensus_raft *c)
{
    return c->is_witness || c->durable_index > c->consumed_index ? c->consumed_index
                                                                 : c->durable_index;
}

/* What is kept below D: more of it while a member catches up, and until it had the time to open
 * itself again, so that the gap to our memory can be closed under load. Less than the bound: with
 * entries above D it must not be full for ever. */
static uint64_t tail_bytes(const struct consensus_raft *c)
{
    const bool feeds = c->raft.state == RAFT_LEADER && c->behind_ns != 0 &&
                       consensus_now_ns(c) - c->behind_ns < CONSENSUS_FEED_MS * NS_PER_MS;
    const uint64_t most = c->options.log_bytes_max / 4 * 3;
    return feeds && most > c->options.tail_bytes ? most : c->options.tail_bytes;
}

void raft_io_note_durable(struct consensus_raft *c)
{
    const uint64_t tail = tail_bytes(c);
    const uint64_t durable = durable_index(c);
    const uint64_t last = consensus_last_index(c);
    while (c->trim_index < durable) {
        const struct raft_entry *entry = raft_layout_entry(&c->raft, c->trim_index + 1);
        if (entry == NULL)
            break;
        bool tail_is_long = c->log_bytes - c->trim_bytes - cost(entry) >= tail ||
                            last - c->trim_index > CONSENSUS_TAIL_COUNT;
        /* One large entry may be all that is above the tail. */
        bool is_full = c->log_bytes - c->trim_bytes >= c->options.log_bytes_max;
        if (!tail_is_long && !is_full)
            break;
        c->trim_index++;
        c->trim_bytes += cost(entry);
    }
    uint64_t step = c->options.tail_bytes / 8;
    if (step > STEP_BYTES_MAX)
        step = STEP_BYTES_MAX;
    bool worth_it = c->trim_bytes > step || (c->trim_bytes > 0 && raft_io_log_is_full(c)) ||
                    c->trim_index + 1 - raft_layout_first_index(&c->raft) > STEP_COUNT;
    if (worth_it != c->shrink_wanted)
        raft_set_snapshot_threshold(&c->raft, worth_it ? 1 : UINT_MAX);
    c->shrink_wanted = worth_it;
}

bool raft_io_log_is_full(const struct consensus_raft *c)
{
    return c->log_bytes >= c->options.log_bytes_max ||
           consensus_last_index(c) + 1 - raft_layout_first_index(&c->raft) >=
               CONSENSUS_LOG_COUNT_MAX;
}

bool raft_io_log_can_shrink(const struct consensus_raft *c)
{
    return c->shrink_wanted;
}

/* ---- what libraft calls ---- */

int raft_io_fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *buffers[], unsigned *count)
{
    struct consensus_raft *c = fsm->data;
    if (c->trim_index < raft_layout_first_index(&c->raft))
        return RAFT_BUSY;
    const uint64_t applied = raft_last_applied(&c->raft);
    invariant_values(c->trim_index <= applied, c->trim_index, applied);
    const uint64_t trailing = applied - c->trim_index;
    if (trailing > UINT_MAX)
        return RAFT_BUSY;
    raft_set_snapshot_trailing(&c->raft, (unsigned)trailing);
    c->put_trim_index = c->trim_index;
    struct raft_buffer *buffer = raft_calloc(1, sizeof *buffer);
    buffer->len = 8;
    buffer->base = raft_calloc(1, buffer->len);
    *buffers = buffer;
    *count = 1;
    return 0;
}

/* At the start only: the store has restored itself. */
int raft_io_fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    (void)fsm;
    raft_free(buffer->base);
    return 0;
}

int raft_io_snapshot_put(struct raft_io *io, unsigned trailing,
                         struct raft_io_snapshot_put *request, const struct raft_snapshot *snapshot,
                         raft_io_snapshot_put_cb cb)
{
    (void)snapshot;
    struct consensus_raft *c = consensus_of_io(io);
    invariant(c->put == NULL);
    invariant(trailing > 0 || c->put_trim_index > 0); /* no install ever comes here */
    request->cb = cb;
    c->put = request;
    return 0;
}

int raft_io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                         raft_io_snapshot_get_cb cb)
{
    struct consensus_raft *c = consensus_of_io(io);
    if (c->get_count == CONSENSUS_PEERS_MAX)
        return RAFT_BUSY; /* libraft tries again with a heartbeat */
    request->cb = cb;
    c->gets[c->get_count++] = request;
    return 0;
}

/* The newest snapshot; its configuration is sent to nobody. */
static struct raft_snapshot *describe(struct consensus_raft *c)
{
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof *snapshot);
    snapshot->index = raft_layout_snapshot_index(&c->raft);
    snapshot->term = raft_layout_snapshot_term(&c->raft);
    snapshot->configuration_index = raft_layout_committed_configuration(&c->raft);
    raft_configuration_init(&snapshot->configuration);
    snapshot->bufs = raft_calloc(1, sizeof *snapshot->bufs);
    snapshot->bufs[0].len = 8;
    snapshot->bufs[0].base = raft_calloc(1, 8);
    snapshot->n_bufs = 1;
    return snapshot;
}

void raft_io_complete_snapshots(struct consensus_raft *c)
{
    if (c->put != NULL) {
        struct raft_io_snapshot_put *put = c->put;
        c->put = NULL;
        /* What was committed in this very event is agreed, too, and is about to be forgotten. */
        consensus_durability_log_settle(c);
        /* Where that cannot be written more is read at the next start. */
        if (c->is_witness)
            (void)raft_io_note_witness(c, c->put_trim_index);
        /* Now libraft drops the entries. */
        forget(c, raft_layout_first_index(&c->raft), c->put_trim_index);
        put->cb(put, 0);
        const uint64_t first = raft_layout_first_index(&c->raft);
        invariant_values(first == c->put_trim_index + 1, first, c->put_trim_index);
        c->trim_bytes = 0;
        for (uint64_t i = first; i <= c->trim_index; i++)
            c->trim_bytes += cost(raft_layout_entry(&c->raft, i));
    }
    while (c->get_count > 0) {
        struct raft_io_snapshot_get *get = c->gets[--c->get_count];
        get->cb(get, describe(c), 0);
    }
}
