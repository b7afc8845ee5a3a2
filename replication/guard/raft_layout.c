/*
 * One of the two files that depend on libraft's version: what the guard reads and writes. The other
 * is raft_layout_drive.c, what drives libraft; all that is said here holds for it.
 *
 * The guard repairs faults of libraft 0.15.0 as Debian 12 ships it, and some of its repairs would
 * themselves be faults against a library that works differently. So both pin the layout: each
 * field that is read or written below is asserted with its place, and so are the sizes of what
 * crosses the interface. Another version fails here, at compile time. What to do then: read the
 * library's changes against docs/raft-guard.md, run its directed schedules against the new library
 * with each part off (a schedule that now passes tells that its fault is gone), and only then move
 * the numbers.
 */
#include "replication/guard/raft_layout.h"

#include "core/invariant.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LAYOUT(type, field, place)                                                                 \
    _Static_assert(offsetof(type, field) == (place),                                               \
                   "libraft is not 0.15.0: " #type "." #field                                      \
                   " moved; review replication/guard/raft_layout.c and docs/raft-guard.md")
#define SIZE(type, size)                                                                           \
    _Static_assert(sizeof(type) == (size),                                                         \
                   "libraft is not 0.15.0: the size of " #type                                     \
                   " changed; review replication/guard/raft_layout.c and docs/raft-guard.md")

_Static_assert(sizeof(void *) == 8, "the guard pins libraft's layout on 64-bit machines only");

SIZE(struct raft, 656);
SIZE(struct raft_io, 408);
SIZE(struct raft_fsm, 56);
SIZE(struct raft_message, 88);
SIZE(struct raft_entry, 40);
SIZE(struct raft_log, 72);
SIZE(struct raft_progress, 56);
SIZE(struct raft_io_send, 16);
SIZE(struct raft_io_append, 16);
SIZE(struct raft_io_snapshot_put, 16);
SIZE(struct raft_transfer, 48);
SIZE(struct raft_barrier, 48);

LAYOUT(struct raft, io, 16);
LAYOUT(struct raft, id, 32);
LAYOUT(struct raft, current_term, 48);
LAYOUT(struct raft, voted_for, 56);
LAYOUT(struct raft, log, 64);
LAYOUT(struct raft, configuration, 136);
LAYOUT(struct raft, configuration_index, 152);
LAYOUT(struct raft, configuration_uncommitted_index, 160);
LAYOUT(struct raft, election_timeout, 168);
LAYOUT(struct raft, heartbeat_timeout, 172);
LAYOUT(struct raft, install_snapshot_timeout, 176);
LAYOUT(struct raft, commit_index, 184);
LAYOUT(struct raft, last_applied, 192);
LAYOUT(struct raft, last_stored, 200);
LAYOUT(struct raft, state, 208);
LAYOUT(struct raft, leader_state.progress, 216);
LAYOUT(struct raft, leader_state.change, 224);
LAYOUT(struct raft, leader_state.promotee_id, 232);
LAYOUT(struct raft, leader_state.round_number, 240);
LAYOUT(struct raft, leader_state.round_start, 256);
LAYOUT(struct raft, follower_state.randomized_election_timeout, 216);
LAYOUT(struct raft, candidate_state.randomized_election_timeout, 216);
LAYOUT(struct raft, candidate_state.in_pre_vote, 233);
LAYOUT(struct raft, follower_state.current_leader.id, 224);
LAYOUT(struct raft, follower_state.current_leader.address, 232);
LAYOUT(struct raft, election_timer_start, 280);
LAYOUT(struct raft, transfer, 288);
LAYOUT(struct raft, snapshot.put.data, 360);
LAYOUT(struct raft, max_catch_up_rounds, 644);
LAYOUT(struct raft, max_catch_up_round_duration, 648);
LAYOUT(struct raft_log, entries, 0);
LAYOUT(struct raft_log, size, 8);
LAYOUT(struct raft_log, front, 16);
LAYOUT(struct raft_log, back, 24);
LAYOUT(struct raft_log, offset, 32);
LAYOUT(struct raft_log, snapshot.last_index, 56);
LAYOUT(struct raft_log, snapshot.last_term, 64);
LAYOUT(struct raft_progress, state, 0);
LAYOUT(struct raft_progress, next_index, 8);
LAYOUT(struct raft_progress, match_index, 16);
LAYOUT(struct raft_progress, snapshot_index, 24);
LAYOUT(struct raft_progress, last_send, 32);
LAYOUT(struct raft_progress, snapshot_last_send, 40);
LAYOUT(struct raft_progress, recent_recv, 48);
LAYOUT(struct raft_server, role, 16);
LAYOUT(struct raft_transfer, start, 16);

/* raft_progress.state; libraft's own header keeps these to itself. */
enum { PROBE = 0, PIPELINE = 1, SNAPSHOT = 2 };

static struct raft_progress *progress_of(const struct raft *raft, raft_id id)
{
    invariant(raft->state == RAFT_LEADER);
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == id)
            return &raft->leader_state.progress[i];
    }
    return NULL;
}

const struct raft_entry *raft_layout_entry(const struct raft *raft, raft_index index)
{
    const struct raft_log *log = &raft->log;
    size_t count =
        log->front <= log->back ? log->back - log->front : log->size - log->front + log->back;
    if (index <= log->offset || index - log->offset > count)
        return NULL;
    return &log->entries[(log->front + (index - log->offset - 1)) % log->size];
}

raft_index raft_layout_first_index(const struct raft *raft)
{
    return raft->log.offset + 1;
}

uint64_t raft_layout_log_bytes(const struct raft *raft, raft_index from, raft_index to)
{
    uint64_t bytes = 0;
    if (from <= raft->log.offset)
        from = raft->log.offset + 1;
    for (raft_index i = from; i <= to; i++) {
        const struct raft_entry *entry = raft_layout_entry(raft, i);
        if (entry == NULL)
            break;
        bytes += entry->buf.len;
    }
    return bytes;
}

raft_term raft_layout_term_at(const struct raft *raft, raft_index index)
{
    if (index != 0 && index == raft->log.snapshot.last_index)
        return raft->log.snapshot.last_term;
    const struct raft_entry *entry = raft_layout_entry(raft, index);
    return entry == NULL ? 0 : entry->term;
}

raft_index raft_layout_snapshot_index(const struct raft *raft)
{
    return raft->log.snapshot.last_index;
}

raft_term raft_layout_snapshot_term(const struct raft *raft)
{
    return raft->log.snapshot.last_term;
}

bool raft_layout_installing(const struct raft *raft)
{
    /* The put request also serves for snapshots of our own; those leave last_stored alone. */
    return raft->snapshot.put.data != NULL && raft->last_stored == 0;
}

bool raft_layout_knows(const struct raft *raft, raft_id id)
{
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == id)
            return true;
    }
    return false;
}

int raft_layout_role(const struct raft *raft, raft_id id)
{
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == id)
            return raft->configuration.servers[i].role;
    }
    return -1;
}

bool raft_layout_may_vote_for(const struct raft *raft, raft_id id)
{
    return raft->voted_for == 0 || raft->voted_for == id;
}

bool raft_layout_is_sole_voter(const struct raft *raft)
{
    unsigned voters = 0;
    for (unsigned i = 0; i < raft->configuration.n; i++)
        voters += raft->configuration.servers[i].role == RAFT_VOTER ? 1 : 0;
    return voters == 1 && raft_layout_role(raft, raft->id) == RAFT_VOTER;
}

void raft_layout_set_term(struct raft *raft, raft_term term)
{
    invariant(raft->state == RAFT_FOLLOWER || raft->state == RAFT_UNAVAILABLE); /* before start */
    invariant_values(term > raft->current_term, term, raft->current_term);
    raft->current_term = term;
    raft->voted_for = raft->id;
}

int raft_layout_exchange_own_role(struct raft *raft, int role)
{
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        struct raft_server *server = &raft->configuration.servers[i];
        if (server->id != raft->id)
            continue;
        int before = server->role;
        server->role = role;
        return before;
    }
    return -1;
}

raft_id raft_layout_leader(const struct raft *raft)
{
    return raft->state == RAFT_FOLLOWER ? raft->follower_state.current_leader.id : 0;
}

bool raft_layout_configuration_pending(const struct raft *raft)
{
    return raft->configuration_uncommitted_index != 0;
}

raft_index raft_layout_uncommitted_configuration(const struct raft *raft)
{
    return raft->configuration_uncommitted_index;
}

raft_index raft_layout_committed_configuration(const struct raft *raft)
{
    return raft->configuration_index;
}

void raft_layout_set_configuration_indexes(struct raft *raft, raft_index committed,
                                           raft_index uncommitted)
{
    invariant_values(uncommitted == 0 || committed < uncommitted, committed, uncommitted);
    raft->configuration_index = committed;
    raft->configuration_uncommitted_index = uncommitted;
}

void raft_layout_put_configuration_back(struct raft *raft,
                                        const struct raft_configuration *configuration,
                                        raft_index committed, raft_index uncommitted)
{
    /* A leader or candidate has arrays of the configuration's size. */
    invariant(raft->state == RAFT_FOLLOWER);
    raft_configuration_close(&raft->configuration);
    raft->configuration = *configuration;
    raft_layout_set_configuration_indexes(raft, committed, uncommitted);
}

/* Little-endian. */
static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static uint8_t *write_u64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

/* Format 1: u8 format, u64 count; for each server u64 id, address with its NUL, u8 role; zeros up
 * to a multiple of eight. */
int raft_layout_decode_configuration(const struct raft_buffer *buffer,
                                     struct raft_configuration *out)
{
    const uint8_t *cursor = buffer->base, *end = cursor + buffer->len;
    if (buffer->len < 9 || cursor[0] != 1)
        return RAFT_MALFORMED;
    uint64_t count = read_u64(cursor + 1);
    cursor += 9;
    for (uint64_t i = 0; i < count; i++) {
        if (end - cursor < 8)
            return RAFT_MALFORMED;
        raft_id id = read_u64(cursor);
        const char *address = (const char *)cursor + 8;
        const uint8_t *nul = memchr(address, 0, (size_t)(end - cursor - 8));
        if (nul == NULL || end - nul < 2)
            return RAFT_MALFORMED;
        int code = raft_configuration_add(out, id, address, nul[1]);
        if (code != 0)
            return code == RAFT_NOMEM ? RAFT_NOMEM : RAFT_MALFORMED;
        cursor = nul + 2;
    }
    return 0;
}

size_t raft_layout_encode_configuration(const struct raft_configuration *configuration,
                                        void *out_bytes, size_t capacity)
{
    size_t size = 1 + 8;
    for (unsigned i = 0; i < configuration->n; i++)
        size += 8 + strlen(configuration->servers[i].address) + 1 + 1;
    size_t padded = (size + 7) / 8 * 8;
    if (configuration->n == 0 || padded > capacity)
        return 0;
    uint8_t *cursor = out_bytes;
    *cursor++ = 1;
    cursor = write_u64(cursor, configuration->n);
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        cursor = write_u64(cursor, server->id);
        size_t text_size = strlen(server->address) + 1;
        memcpy(cursor, server->address, text_size);
        cursor += text_size;
        *cursor++ = (uint8_t)server->role;
    }
    memset(cursor, 0, padded - size);
    return padded;
}

bool raft_layout_changing(const struct raft *raft)
{
    invariant(raft->state == RAFT_LEADER);
    return raft->leader_state.change != NULL || raft->leader_state.promotee_id != 0 ||
           raft_layout_configuration_pending(raft);
}

void raft_layout_postpone_election(struct raft *raft, raft_time now)
{
    invariant(raft->state == RAFT_FOLLOWER || raft->state == RAFT_CANDIDATE);
    raft->election_timer_start = now;
}

void raft_layout_expire_election(struct raft *raft)
{
    invariant(raft->state == RAFT_FOLLOWER || raft->state == RAFT_CANDIDATE);
    raft->election_timer_start = 0; /* the clock is past any timeout, or soon will be */
    /* libraft's second campaign would begin with real votes, and a new term. */
    if (raft->state == RAFT_CANDIDATE)
        raft->candidate_state.in_pre_vote = true;
}

bool raft_layout_in_pre_vote(const struct raft *raft)
{
    return raft->state == RAFT_CANDIDATE && raft->candidate_state.in_pre_vote;
}

bool raft_layout_election_is_due(const struct raft *raft, raft_time now)
{
    invariant(raft->state == RAFT_FOLLOWER);
    return now - raft->election_timer_start >= raft->follower_state.randomized_election_timeout;
}

static raft_time sooner(raft_time a, raft_time b)
{
    return a < b ? a : b;
}

static raft_time next_tick_of_leader(const struct raft *raft)
{
    raft_time next = raft->election_timer_start + raft->election_timeout;
    raft_id promotee = raft->leader_state.promotee_id;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        const struct raft_server *server = &raft->configuration.servers[i];
        const struct raft_progress *progress = &raft->leader_state.progress[i];
        if (server->id == raft->id || (server->role == RAFT_SPARE && server->id != promotee))
            continue;
        next = sooner(next, progress->last_send + raft->heartbeat_timeout);
        if (progress->state == SNAPSHOT)
            next = sooner(next, progress->snapshot_last_send + raft->install_snapshot_timeout);
    }
    if (promotee == 0)
        return next;
    /* Both are compared with "longer than". */
    raft_time round = raft->leader_state.round_start + 1;
    if (raft->leader_state.round_number == raft->max_catch_up_rounds)
        next = sooner(next, round + raft->election_timeout);
    return sooner(next, round + raft->max_catch_up_round_duration);
}

raft_time raft_layout_next_tick(const struct raft *raft)
{
    raft_time next = UINT64_MAX;
    if (raft->state == RAFT_LEADER)
        next = next_tick_of_leader(raft);
    else if (raft->state == RAFT_CANDIDATE)
        next = raft->election_timer_start + raft->candidate_state.randomized_election_timeout;
    else if (raft->state == RAFT_FOLLOWER && raft_layout_role(raft, raft->id) == RAFT_VOTER)
        next = raft->election_timer_start + raft->follower_state.randomized_election_timeout;
    if (raft->transfer != NULL)
        next = sooner(next, raft->transfer->start + raft->election_timeout);
    return next;
}

void raft_layout_forget_leader(struct raft *raft)
{
    invariant(raft->state == RAFT_FOLLOWER);
    raft->follower_state.current_leader.id = 0;
    if (raft->follower_state.current_leader.address != NULL)
        raft_free(raft->follower_state.current_leader.address);
    raft->follower_state.current_leader.address = NULL;
}

raft_index raft_layout_match(const struct raft *raft, raft_id id)
{
    const struct raft_progress *progress = progress_of(raft, id);
    return progress == NULL ? 0 : progress->match_index;
}

raft_index raft_layout_quorum_index(const struct raft *raft, raft_id acking, raft_index acked)
{
    invariant(raft->state == RAFT_LEADER);
    raft_index sorted[RAFT_LAYOUT_VOTERS_MAX]; /* descending */
    unsigned count = 0;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        const struct raft_server *server = &raft->configuration.servers[i];
        if (server->role != RAFT_VOTER)
            continue;
        raft_index match = raft->leader_state.progress[i].match_index;
        if (server->id == acking && acked > match)
            match = acked;
        invariant_values(count < RAFT_LAYOUT_VOTERS_MAX, count, raft->configuration.n);
        unsigned place = count++;
        for (; place > 0 && sorted[place - 1] < match; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = match;
    }
    /* n / 2 + 1 voters are a majority, and hold what the last of them holds. */
    return count == 0 ? 0 : sorted[count / 2];
}

bool raft_layout_all_voters_have(const struct raft *raft, raft_index index)
{
    invariant(raft->state == RAFT_LEADER);
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].role == RAFT_VOTER &&
            raft->leader_state.progress[i].match_index < index)
            return false;
    }
    return true;
}

raft_id raft_layout_take_back_match(struct raft *raft, raft_index index, raft_index *out_match)
{
    invariant(raft->state == RAFT_LEADER);
    invariant(index > 0);
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        const struct raft_server *server = &raft->configuration.servers[i];
        struct raft_progress *progress = &raft->leader_state.progress[i];
        if (server->role != RAFT_VOTER || server->id == raft->id || progress->match_index < index)
            continue;
        *out_match = progress->match_index;
        progress->match_index = index - 1;
        return server->id;
    }
    return 0;
}

bool raft_layout_recently_heard(const struct raft *raft, raft_id id)
{
    const struct raft_progress *progress = progress_of(raft, id);
    return progress != NULL && progress->recent_recv;
}

void raft_layout_set_recently_heard(struct raft *raft, raft_id id, bool heard)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress != NULL)
        progress->recent_recv = heard;
}

bool raft_layout_is_probing(const struct raft *raft, raft_id id)
{
    const struct raft_progress *progress = progress_of(raft, id);
    return progress != NULL && progress->state == PROBE;
}

bool raft_layout_in_snapshot(const struct raft *raft, raft_id id)
{
    const struct raft_progress *progress = progress_of(raft, id);
    return progress != NULL && progress->state == SNAPSHOT;
}

void raft_layout_leave_snapshot(struct raft *raft, raft_id id, raft_index next)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress == NULL || progress->state != SNAPSHOT)
        return;
    invariant_values(next >= 1 && next <= raft_last_index(raft) + 1, next, id);
    progress->state = PROBE;
    progress->snapshot_index = 0;
    progress->next_index = next > progress->match_index ? next : progress->match_index + 1;
    progress->last_send = 0;
}

void raft_layout_hasten_probe(struct raft *raft, raft_id id, raft_index rejected)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress == NULL)
        return;
    bool goes_back = (progress->state == PROBE && rejected == progress->next_index - 1) ||
                     (progress->state == PIPELINE && rejected > progress->match_index);
    if (goes_back)
        progress->last_send = 0;
}

raft_index raft_layout_next(const struct raft *raft, raft_id id)
{
    const struct raft_progress *progress = progress_of(raft, id);
    return progress == NULL ? 0 : progress->next_index;
}

void raft_layout_set_match(struct raft *raft, raft_id id, raft_index match)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress != NULL)
        progress->match_index = match;
}

void raft_layout_set_sent(struct raft *raft, raft_id id)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress == NULL)
        return;
    progress->state = PIPELINE;
    progress->snapshot_index = 0;
    progress->next_index = raft_last_index(raft) + 1;
}

static void probe_at_once(struct raft *raft, raft_id id, raft_index next)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress == NULL)
        return;
    invariant_values(next >= 1 && next <= raft_last_index(raft) + 1, next, id);
    progress->state = PROBE;
    progress->snapshot_index = 0;
    progress->next_index = next;
    progress->last_send = 0;
}

void raft_layout_resume_from(struct raft *raft, raft_id id, raft_index next)
{
    probe_at_once(raft, id, next);
}

void raft_layout_want_snapshot(struct raft *raft, raft_id id, raft_index next)
{
    probe_at_once(raft, id, next);
    raft_layout_set_recently_heard(raft, id, true); /* or it waits for a word first */
}
