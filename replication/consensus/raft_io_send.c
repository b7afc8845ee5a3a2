/*
 * Messages out.
 *
 * libraft sends *everything* that a peer lacks in one message (S18). Here that becomes messages of
 * at most 1 MiB and 4096 entries, as many as the connection has room for. What had no room is not
 * sent; once libraft is out of the way it is told to probe from there, so that the peer's answers
 * draw the rest, and not every proposal and heartbeat tries again:
 *
 *   pipelining   what is new leaves at once
 *   probing      one message with one entry (the guard's S18); its answer makes it pipelining again
 *   cut          a send was cut short: probing, from where it was cut
 *
 * A message that cannot be sent is a lost message. Sending never fails for libraft, nothing is
 * borrowed beyond the call, and its callback comes from consensus_settle(), never inside.
 *
 * InstallSnapshot reaches no peer: there are no bytes in a snapshot. It means that the peer needs
 * what only journal and store have, which is said to catch-up; for libraft it was sent.
 */
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout_drive.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of entries for one call, so that what libraft says to others does not wait. */
#define BURST_BYTES (4u * 1024 * 1024)
#define PARTS_MAX   (1 + 3 * RAFT_MESSAGE_ENTRIES_COUNT)

static enum status send_parts(struct consensus_raft *c, uint64_t to,
                              const struct transport_part *parts, uint32_t count)
{
    if (c->options.transport == NULL || c->stopped)
        return STATUS_UNAVAILABLE;
    return transport_send(c->options.transport, to, TRANSPORT_RAFT, parts, count);
}

static enum status say(struct consensus_raft *c, uint64_t to, const struct raft_message_view *view)
{
    uint64_t bytes[RAFT_MESSAGE_FIXED_SIZE / 8];
    struct transport_part part = {.bytes = bytes};
    part.size = raft_message_encode(view, (uint8_t *)bytes);
    return send_parts(c, to, &part, 1);
}

void raft_io_say(struct consensus_raft *c, uint64_t to, const struct raft_message_view *view)
{
    (void)say(c, to, view); /* a lost message */
}

enum status raft_io_say_with(struct consensus_raft *c, uint64_t to,
                             const struct raft_message_view *view, const void *bytes, size_t size)
{
    uint64_t head[RAFT_MESSAGE_FIXED_SIZE / 8];
    const struct transport_part parts[] = {
        {.bytes = head, .size = raft_message_encode(view, (uint8_t *)head)},
        {.bytes = bytes, .size = size},
    };
    return send_parts(c, to, parts, size > 0 ? 2 : 1);
}

static void complete_later(struct consensus_raft *c, struct raft_io_send *request)
{
    if (c->send_count == c->send_capacity) {
        uint32_t capacity = c->send_capacity == 0 ? 64 : 2 * c->send_capacity;
        struct raft_io_send **sends = realloc(c->sends, capacity * sizeof *sends);
        invariant(sends != NULL);
        c->sends = sends;
        c->send_capacity = capacity;
    }
    c->sends[c->send_count++] = request;
}

void raft_io_complete_sends(struct consensus_raft *c)
{
    /* Callbacks may send again, which appends behind. */
    for (uint32_t i = 0; i < c->send_count; i++)
        c->sends[i]->cb(c->sends[i], 0);
    c->send_count = 0;
}

/* ---- entries ---- */

/* In eight bytes, as a message has it before the payload; what libraft keeps of a command begins
 * with that already. */
static uint64_t prefix_of(const struct raft_entry *entry)
{
    if (entry->type == RAFT_BARRIER)
        return JOURNAL_BARRIER;
    return JOURNAL_CONFIGURATION | (uint64_t)entry->buf.len << 32;
}

static uint32_t region_size(const struct raft_entry *entry)
{
    switch (entry->type) {
    case RAFT_BARRIER:
        return RAFT_MESSAGE_ENTRY_HEADER_SIZE;
    case RAFT_CHANGE:
        return RAFT_MESSAGE_ENTRY_HEADER_SIZE + (uint32_t)entry->buf.len;
    default:
        return RAFT_MESSAGE_ENTRY_HEADER_SIZE - 8 + (uint32_t)entry->buf.len;
    }
}

/* Scratch of one message: the loop thread's, so one for the process would do; one per consensus
 * would be 200 KiB of which nearly all is never touched. */
struct parts {
    struct transport_part parts[PARTS_MAX];
    uint64_t prefixes[RAFT_MESSAGE_ENTRIES_COUNT];
    uint32_t count;
};

static void add_part(struct parts *parts, const void *bytes, size_t size)
{
    parts->parts[parts->count++] = (struct transport_part){.bytes = bytes, .size = size};
}

static void add_entry(struct parts *parts, uint32_t place, const struct raft_entry *entry)
{
    add_part(parts, &entry->term, sizeof entry->term);
    if (entry->type != RAFT_COMMAND) {
        parts->prefixes[place] = prefix_of(entry);
        add_part(parts, &parts->prefixes[place], sizeof parts->prefixes[place]);
    }
    if (entry->type != RAFT_BARRIER)
        add_part(parts, entry->buf.base, entry->buf.len);
}

/* One message with entries [from, ...); returns how many it took, 0: no room for it. */
static uint32_t send_some(struct consensus_raft *c, uint64_t to,
                          const struct raft_append_entries *append, uint32_t from)
{
    static _Thread_local struct parts parts;
    uint64_t head[RAFT_MESSAGE_FIXED_SIZE / 8];
    uint32_t count = 0, size = 0;
    parts.count = 0;
    add_part(&parts, head, sizeof head);
    while (from + count < append->n_entries && count < RAFT_MESSAGE_ENTRIES_COUNT) {
        const struct raft_entry *entry = &append->entries[from + count];
        uint32_t more = region_size(entry);
        if (count > 0 && size + more > RAFT_MESSAGE_ENTRIES_SIZE)
            break;
        add_entry(&parts, count, entry);
        size += more;
        count++;
    }
    const struct raft_message_view view = {
        .type = MESSAGE_APPEND_ENTRIES,
        .append =
            {
                .term = append->term,
                .previous_index = append->prev_log_index + from,
                .previous_term = from == 0 ? append->prev_log_term : append->entries[from - 1].term,
                .commit = append->leader_commit,
                .count = count,
                .region_size = size,
            },
    };
    (void)raft_message_encode(&view, (uint8_t *)head);
    if (transport_room(c->options.transport, to, TRANSPORT_RAFT) < size + sizeof head)
        return 0;
    return send_parts(c, to, parts.parts, parts.count) == STATUS_OK ? count : 0;
}

static void send_empty(struct consensus_raft *c, uint64_t to,
                       const struct raft_append_entries *append)
{
    const struct raft_message_view view = {
        .type = MESSAGE_APPEND_ENTRIES,
        .append =
            {
                .term = append->term,
                .previous_index = append->prev_log_index,
                .previous_term = append->prev_log_term,
                .commit = append->leader_commit,
            },
    };
    raft_io_say(c, to, &view);
}

static void send_append_entries(struct consensus_raft *c, uint64_t to,
                                const struct raft_append_entries *append)
{
    struct consensus_raft_peer *peer = consensus_peer(c, to);
    peer->told_commit = append->leader_commit;
    peer->told_ns = consensus_now_ns(c);
    if (append->n_entries == 0 || c->options.transport == NULL || c->stopped) {
        send_empty(c, to, append);
        return;
    }
    uint32_t sent = 0;
    uint64_t bytes = 0;
    while (sent < append->n_entries && bytes < BURST_BYTES) {
        uint32_t count = send_some(c, to, append, sent);
        if (count == 0)
            break;
        for (uint32_t i = 0; i < count; i++)
            bytes += append->entries[sent + i].buf.len;
        sent += count;
    }
    if (sent == 0)
        send_empty(c, to, append); /* at least a heartbeat */
    if (sent < append->n_entries && raft_layout_peer(&c->raft, to).pipelines) {
        peer->cut = true;
        peer->cut_at = append->prev_log_index + sent + 1;
    }
}

/* ---- everything else ---- */

static void send_vote(struct consensus_raft *c, uint64_t to, const struct raft_request_vote *vote)
{
    const struct raft_message_view view = {
        .type = MESSAGE_REQUEST_VOTE,
        .vote =
            {
                .term = vote->term,
                .candidate_id = vote->candidate_id,
                .last_index = vote->last_log_index,
                .last_term = vote->last_log_term,
                .disrupts_leader = vote->disrupt_leader,
                .is_pre_vote = vote->pre_vote,
            },
    };
    raft_io_say(c, to, &view);
}

static void send_vote_result(struct consensus_raft *c, uint64_t to,
                             const struct raft_request_vote_result *result)
{
    const struct raft_message_view view = {
        .type = MESSAGE_REQUEST_VOTE_RESULT,
        .vote_result =
            {
                .term = result->term,
                .granted = result->vote_granted,
                .of_pre_vote = result->pre_vote == raft_tribool_true,
            },
    };
    raft_io_say(c, to, &view);
}

static void send_append_result(struct consensus_raft *c, uint64_t to,
                               const struct raft_append_entries_result *result)
{
    const struct raft_message_view view = {
        .type = MESSAGE_APPEND_ENTRIES_RESULT,
        .append_result =
            {
                .term = result->term,
                .rejected = result->rejected,
                .last_index = result->last_log_index,
            },
    };
    raft_io_say(c, to, &view);
}

static void send_timeout_now(struct consensus_raft *c, uint64_t to,
                             const struct raft_timeout_now *now)
{
    const struct raft_message_view view = {
        .type = MESSAGE_TIMEOUT_NOW,
        .timeout_now =
            {
                .term = now->term,
                .last_index = now->last_log_index,
                .last_term = now->last_log_term,
            },
    };
    raft_io_say(c, to, &view);
}

int raft_io_send(struct raft_io *io, struct raft_io_send *request,
                 const struct raft_message *message, raft_io_send_cb cb)
{
    struct consensus_raft *c = consensus_of_io(io);
    const uint64_t to = message->server_id;
    invariant(cb != NULL); /* the guard always wants to know (S12) */
    request->cb = cb;
    if (to != c->options.self.node_id) {
        switch (message->type) {
        case RAFT_IO_REQUEST_VOTE:
            send_vote(c, to, &message->request_vote);
            break;
        case RAFT_IO_REQUEST_VOTE_RESULT:
            send_vote_result(c, to, &message->request_vote_result);
            break;
        case RAFT_IO_APPEND_ENTRIES:
            send_append_entries(c, to, &message->append_entries);
            break;
        case RAFT_IO_APPEND_ENTRIES_RESULT:
            send_append_result(c, to, &message->append_entries_result);
            break;
        case RAFT_IO_TIMEOUT_NOW:
            send_timeout_now(c, to, &message->timeout_now);
            break;
        case RAFT_IO_INSTALL_SNAPSHOT:
            consensus_members_fell_behind(c, to);
            break;
        default:
            invariant_values(false, message->type, to);
        }
    }
    complete_later(c, request);
    return 0;
}
