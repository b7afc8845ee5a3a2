/*
 * What a leader sends to a witness, and counts of it, while the rule is in force.
 *
 * libraft sends everybody everything, and what it believes of a peer's log follows from that. So
 * the witness is taken out of its hands: its AppendEntries for the witness are a clock and go
 * nowhere, its progress is kept at "has been sent everything", and a lane of ours does the sending:
 *
 *     verified ........ next ........ limit ....... last
 *     └ by its answers  └ sent next   └ rule 4
 *
 *  - It is sent what is new up to the limit, as soon as there is something, in messages of bounded
 *    size, as far as its connection has room; what has none goes with one of the next events.
 *  - A rejection means that its log is shorter or another one than we thought: then we probe, with
 *    one entry at a time, from the place that it names, until it takes one.
 *  - With nothing to send, an empty message whenever libraft sends a heartbeat, or wants to say
 *    something (the commit index, perhaps). Only then: a leader whose clock stands still must not
 *    go on as one because messages still come in.
 *  - What it needs and memory has no more is libraft's matter: it is told to probe there, and sends
 *    its snapshot, which ours turns into a catch-up. What it is told to probe from outside
 *    afterwards (raft_layout_probe_from) the lane takes for its own.
 *
 * Answers. libraft learns min(verified, cap), by a result that never rejects, so that the witness
 * counts as heard; what it was told never goes back. The answer counts again when the cap rises:
 * after each event, as if it had come once more.
 *
 * A lane begins with the leadership, at the commit index: that much the witness has, or will say.
 */
#include "core/invariant.h"
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

#include <string.h>

/* Of one message; the transport's own bounds are not below. */
#define ENTRIES_COUNT_MAX 128u
#define ENTRIES_SIZE_MAX  (1024u * 1024)

static raft_time now_ms(const struct raft_guard *guard)
{
    return guard->options.inner->time(guard->options.inner);
}

/* A witness that is sent entries; not by another witness, which sends all it has to everybody. */
static bool is_laned(const struct raft_guard *guard, raft_id id)
{
    const struct raft *raft = guard->options.raft;
    int role = raft_layout_role(raft, id);
    return guard_place(guard, id) == SITE_PLACE_WITNESS && id != raft->id &&
           !guard->options.witness && (role == RAFT_VOTER || role == RAFT_STANDBY);
}

struct guard_lane *guard_lane(struct raft_guard *guard, raft_id id)
{
    const struct raft *raft = guard->options.raft;
    if (!guard_keeps_rule(guard) || guard->lanes_term != raft->current_term)
        return NULL;
    for (unsigned i = 0; i < RAFT_GUARD_PEERS_MAX; i++) {
        if (guard->lanes[i].id == id)
            return &guard->lanes[i];
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ sending */

static void say(struct raft_guard *guard, struct guard_lane *lane, const struct raft_server *server,
                raft_index previous, struct raft_entry *entries, unsigned count)
{
    const struct raft *raft = guard->options.raft;
    struct raft_message message = {
        .type = RAFT_IO_APPEND_ENTRIES, .server_id = server->id, .server_address = server->address};
    message.append_entries = (struct raft_append_entries){
        .term = raft->current_term,
        .prev_log_index = previous,
        .prev_log_term = previous == 0 ? 0 : raft_layout_term_at(raft, previous),
        .leader_commit = raft->commit_index,
        .entries = entries,
        .n_entries = count,
    };
    lane->sent_at = now_ms(guard);
    guard_send_own(guard, &message);
}

/* What comes after `previous` is in memory, or there is nothing. */
static bool is_reachable(const struct raft *raft, raft_index previous)
{
    if (previous == 0)
        return raft_layout_snapshot_index(raft) == 0;
    return raft_layout_term_at(raft, previous) != 0;
}

/* Entries [next, limit] that go into one message and have room now. */
static unsigned gather(const struct raft_guard *guard, const struct guard_lane *lane,
                       raft_index limit, struct raft_entry out[ENTRIES_COUNT_MAX])
{
    const struct raft_guard_options *options = &guard->options;
    uint64_t room = options->room == NULL ? UINT64_MAX : options->room(options->context, lane->id);
    if (room > ENTRIES_SIZE_MAX && options->room != NULL)
        room = ENTRIES_SIZE_MAX;
    unsigned most = lane->probing ? 1 : ENTRIES_COUNT_MAX, count = 0;
    uint64_t size = 0;
    while (count < most && lane->next + count <= limit) {
        const struct raft_entry *entry = raft_layout_entry(options->raft, lane->next + count);
        invariant_values(entry != NULL, lane->next + count, limit);
        size += entry->buf.len + 16;
        /* One alone may be as large as an entry can be. */
        if (size > room && (count > 0 || room < ENTRIES_SIZE_MAX))
            break;
        out[count++] = *entry;
    }
    return count;
}

/* Catch-up ended, or a send was cut: somebody outside knows where to go on, and told libraft. What
 * we told it ourselves, to have it send its snapshot, is not meant. */
static void adopt(const struct raft_guard *guard, struct guard_lane *lane)
{
    const struct raft *raft = guard->options.raft;
    if (raft_layout_in_snapshot(raft, lane->id))
        lane->wants_snapshot = false;
    if (!raft_layout_is_probing(raft, lane->id))
        return;
    const raft_index next = raft_layout_next(raft, lane->id);
    if (lane->wants_snapshot && next == lane->next)
        return;
    lane->next = next;
    lane->probing = true;
    lane->asked = false;
    lane->wants_snapshot = false;
}

/* Sends what there is to send. `clock`: something has to be said. */
static void pump(struct raft_guard *guard, struct guard_lane *lane,
                 const struct raft_server *server)
{
    struct raft *raft = guard->options.raft;
    const bool clock = lane->clock;
    if (raft_layout_in_snapshot(raft, lane->id)) {
        /* It needs to hear that somebody leads, and nothing else now. */
        if (clock)
            say(guard, lane, server, raft_last_index(raft), NULL, 0);
        lane->clock = false;
        return;
    }
    const raft_index limit = guard_witness_limit(guard);
    if (lane->next > limit + 1)
        lane->next = limit + 1;
    if (lane->probing && !clock && lane->asked)
        return; /* one at a time */
    bool said = false;
    while (is_reachable(raft, lane->next - 1) && (lane->next <= limit || (clock && !said))) {
        struct raft_entry entries[ENTRIES_COUNT_MAX];
        unsigned count = gather(guard, lane, limit, entries);
        if (count == 0 && (said || !clock))
            break;
        said = true;
        say(guard, lane, server, lane->next - 1, count == 0 ? NULL : entries, count);
        if (lane->probing) {
            lane->asked = true;
            lane->carried = count > 0;
            break;
        }
        lane->next += count;
        if (count == 0)
            break;
    }
    if (!is_reachable(raft, lane->next - 1)) {
        lane->wants_snapshot = true; /* guard_settle_lanes() sees to it, outside of libraft */
        if (clock)
            say(guard, lane, server, raft_last_index(raft), NULL, 0);
    }
    lane->clock = false;
}

bool guard_lane_takes(struct raft_guard *guard, const struct raft_message *message)
{
    const struct raft *raft = guard->options.raft;
    if (!guard_keeps_rule(guard) || !is_laned(guard, message->server_id))
        return false;
    struct guard_lane *lane = guard_lane(guard, message->server_id);
    if (lane == NULL)
        return true; /* just elected: it begins at the end of this event */
    adopt(guard, lane);
    /* With entries it is no heartbeat for libraft, but counts as one; so it must be one for us,
     * too. */
    if (message->append_entries.n_entries == 0 ||
        now_ms(guard) - lane->sent_at >= raft->heartbeat_timeout)
        lane->clock = true;
    if (guard->delivering)
        return true; /* at the end of the event */
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == lane->id)
            pump(guard, lane, &raft->configuration.servers[i]);
    }
    return true;
}

/* ------------------------------------------------------------------------------ answers */

/* A rejection: what comes next is at most one after the end of its log, or what is known. */
static void go_back(struct guard_lane *lane, const struct raft_append_entries_result *result)
{
    raft_index next = result->rejected < result->last_log_index + 1 ? result->rejected
                                                                    : result->last_log_index + 1;
    if (next <= lane->verified)
        next = lane->verified + 1;
    if (lane->probing && next >= lane->next)
        return; /* an answer to something older */
    lane->next = next;
    lane->probing = true;
    lane->asked = false;
}

void guard_lane_hear(struct raft_guard *guard, struct guard_lane *lane,
                     struct raft_append_entries_result *result)
{
    struct raft *raft = guard->options.raft;
    const bool installs = raft_layout_in_snapshot(raft, lane->id);
    if (result->rejected != 0) {
        if (installs)
            return; /* libraft waits for just this one, or knows it for an older one */
        if (result->rejected > lane->verified)
            go_back(lane, result);
        result->rejected = 0;
    } else {
        raft_index last = raft_last_index(raft);
        raft_index verified = result->last_log_index < last ? result->last_log_index : last;
        /* Who has no room takes the heartbeat and leaves the entry: then one a heartbeat is enough.
         */
        if (verified > lane->verified || !lane->carried)
            lane->probing = false;
        if (verified > lane->verified)
            lane->verified = verified;
        if (lane->next <= lane->verified)
            lane->next = lane->verified + 1;
    }
    raft_index cap = guard_witness_cap(guard);
    result->last_log_index = lane->verified < cap ? lane->verified : cap;
}

/* ---------------------------------------------------------------------- after an event */

static struct guard_lane *begin(struct raft_guard *guard, raft_id id)
{
    struct raft *raft = guard->options.raft;
    for (unsigned i = 0; i < RAFT_GUARD_PEERS_MAX; i++) {
        struct guard_lane *lane = &guard->lanes[i];
        if (lane->id != 0)
            continue;
        *lane = (struct guard_lane){.id = id, .verified = raft_layout_match(raft, id)};
        lane->next =
            (lane->verified > raft->commit_index ? lane->verified : raft->commit_index) + 1;
        lane->clock = true;
        /* It was libraft's until now, perhaps, and counted in full. */
        raft_index cap = guard_witness_cap(guard);
        if (lane->verified > cap)
            raft_layout_set_match(raft, id, cap);
        raft_layout_set_sent(raft, id);
        return lane;
    }
    invariant(false); /* there are as many as servers */
    return NULL;
}

/* The lanes of who is no witness of this configuration any more; libraft goes on with them. */
static void end_lanes(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    const bool in_force = guard_keeps_rule(guard);
    for (unsigned i = 0; i < RAFT_GUARD_PEERS_MAX; i++) {
        struct guard_lane *lane = &guard->lanes[i];
        if (lane->id == 0)
            continue;
        if (in_force && is_laned(guard, lane->id))
            continue;
        if (raft_layout_knows(raft, lane->id))
            raft_layout_resume_from(raft, lane->id, lane->verified + 1);
        *lane = (struct guard_lane){0};
    }
}

static void settle_lane(struct raft_guard *guard, raft_id id)
{
    struct raft *raft = guard->options.raft;
    struct guard_lane *lane = guard_lane(guard, id);
    if (lane == NULL)
        lane = begin(guard, id);
    adopt(guard, lane);
    if (guard_has(guard, RAFT_GUARD_AGAIN) && !raft_layout_in_snapshot(raft, id)) {
        raft_index cap = guard_witness_cap(guard);
        raft_index counts = lane->verified < cap ? lane->verified : cap;
        if (counts > raft_layout_match(raft, id))
            guard_repeat_answer(guard, id, counts);
        lane = guard_lane(guard, id); /* a commit may have changed the members, or who leads */
    }
    if (lane == NULL || raft->state != RAFT_LEADER)
        return;
    if (!raft_layout_in_snapshot(raft, id) && !lane->wants_snapshot)
        raft_layout_set_sent(raft, id);
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == id)
            pump(guard, lane, &raft->configuration.servers[i]);
    }
    if (lane->wants_snapshot && !raft_layout_in_snapshot(raft, id)) {
        if (is_reachable(raft, lane->next - 1))
            lane->wants_snapshot = false;
        else
            raft_layout_want_snapshot(raft, id, lane->next);
    }
}

void guard_settle_lanes(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    if (raft->state != RAFT_LEADER) {
        if (guard->lanes_term != 0)
            memset(guard->lanes, 0, sizeof guard->lanes);
        guard->lanes_term = 0;
        return;
    }
    if (guard->lanes_term != raft->current_term) {
        memset(guard->lanes, 0, sizeof guard->lanes);
        guard->lanes_term = raft->current_term;
    }
    end_lanes(guard);
    if (!guard_keeps_rule(guard))
        return;
    raft_id witnesses[RAFT_GUARD_PEERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        raft_id id = raft->configuration.servers[i].id;
        if (is_laned(guard, id))
            witnesses[count++] = id;
    }
    for (unsigned i = 0; i < count && guard_keeps_rule(guard); i++)
        settle_lane(guard, witnesses[i]);
}
