/*
 * The members of the cluster: what is known of each, who is behind, changes, hand-over.
 *
 * A member is a server of libraft's configuration; its record (member.h) is the server's address.
 *
 * Changes. Each step is an entry of its own, and the guard says when it is safe. libraft replicates
 * nothing to a spare; one that is fed (a standby) gets entries, or is said to be behind (below),
 * and has no vote. A promotion waits for it to keep pace, in rounds (Raft, section 4.2.1).
 *
 * Behind. When libraft wants to send a snapshot, the peer needs entries that are not in memory any
 * more. The sink hears of it, and again every second, until catch-up says that the peer's journal
 * reaches `index`. libraft is then told to probe from there: the peer's own answer, and nothing
 * else, confirms what it has.
 *
 *     replicating ──needs more than memory has──► behind ──caught_up(index)──► probing ──► ...
 *
 * The watermark is what every site holds for certain: the least, over the sites, of the most that
 * one of the site's data nodes has acknowledged; never more than is committed. A witness's journal
 * keeps what is above it. A site that was lost and released does not count. The leader computes it
 * and tells the others.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A peer that was heard within this time can be handed the leadership. */
#define HEARD_NS (500 * NS_PER_MS)
/* A peer whose catch-up gave up is offered another one after this pause. */
#define RESUME_NS       (3000 * NS_PER_MS)
#define BEHIND_EVENT_NS (10000 * NS_PER_MS)

/* ---- peers ---- */

const struct consensus_raft_peer *consensus_find_peer(const struct consensus_raft *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        if (c->peers[i].id == id)
            return &c->peers[i];
    }
    return NULL;
}

/* Who makes place: nobody that is a member; rather one without a link, then who was silent longest.
 */
static bool goes_before(const struct consensus_raft_peer *a, const struct consensus_raft_peer *b)
{
    return a->linked != b->linked ? !a->linked : a->heard_ns < b->heard_ns;
}

struct consensus_raft_peer *consensus_peer(struct consensus_raft *c, uint64_t id)
{
    struct consensus_raft_peer *place = NULL;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct consensus_raft_peer *peer = &c->peers[i];
        if (peer->id == id)
            return peer;
        bool is_member = c->started && raft_layout_knows(&c->raft, peer->id);
        if (!is_member && (place == NULL || goes_before(peer, place)))
            place = peer;
    }
    if (c->peer_count < CONSENSUS_PEERS_MAX)
        place = &c->peers[c->peer_count++];
    invariant_values(place != NULL, id, c->raft.configuration.n); /* more places than members */
    *place = (struct consensus_raft_peer){.id = id};
    return place;
}

bool consensus_member(const struct consensus_raft *c, unsigned i, struct member *out)
{
    const struct raft_server *server = &c->raft.configuration.servers[i];
    return member_parse(server->id, server->address, out) == STATUS_OK;
}

/* What it acknowledged, as far as it still has it. */
static uint64_t match_of(const struct consensus_raft *c, uint64_t id)
{
    const struct consensus_raft_peer *peer = consensus_find_peer(c, id);
    if (peer != NULL && peer->lost)
        return 0;
    return c->raft.state == RAFT_LEADER ? raft_layout_match(&c->raft, id) : 0;
}

uint32_t consensus_members_peers(const struct consensus_raft *c, struct consensus_peer *out,
                                 uint32_t capacity)
{
    if (!c->started)
        return 0;
    uint32_t count = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        struct member member;
        if (!consensus_member(c, i, &member))
            continue;
        const uint32_t place = count++;
        if (place >= capacity)
            continue;
        const struct raft_server *server = &c->raft.configuration.servers[i];
        const struct consensus_raft_peer *peer = consensus_find_peer(c, server->id);
        const bool self = server->id == c->options.self.node_id;
        out[place] = (struct consensus_peer){
            .member = member,
            .vote = server->role == RAFT_VOTER     ? CONSENSUS_VOTER
                    : server->role == RAFT_STANDBY ? CONSENSUS_STANDBY
                                                   : CONSENSUS_SPARE,
            .match_index = match_of(c, server->id),
            .linked = self,
        };
        if (peer != NULL && !self) {
            out[place].heard_ns = peer->heard_ns;
            out[place].linked = peer->linked;
            out[place].clock_known = peer->clock_known;
            out[place].clock_offset_ns = peer->clock_offset_ns;
        }
    }
    return count;
}

/* ---- configuration ---- */

void consensus_agreed(const struct consensus_raft *c, struct agreed *out)
{
    agreed_init(out);
    out->configuration_index = c->guard.committed_index;
    if (out->configuration_index != 0) {
        size_t size = raft_layout_encode_configuration(&c->guard.committed, out->configuration,
                                                       sizeof out->configuration);
        invariant_values(size > 0, out->configuration_index, c->guard.committed.n);
        out->configuration_size = (uint32_t)size;
    }
    out->durability_index = c->durability_log.committed.index;
    if (out->durability_index != 0)
        out->durability = c->durability_log.committed.entry;
}

void consensus_publish_configuration(struct consensus_raft *c)
{
    const uint64_t configuration = c->guard.committed_index;
    const uint64_t durability = c->durability_log.committed.index;
    if (configuration == 0 ||
        (configuration <= c->published_configuration && durability <= c->published_durability))
        return;
    struct agreed agreed;
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX];
    consensus_agreed(c, &agreed);
    journal_set_configuration(c->options.journal, bytes, agreed_encode(&agreed, bytes));
    uint64_t later = configuration > durability ? configuration : durability;
    /* A configuration may be known to be committed long before what lies below it is, and only of
     * that it is known which durability entry is agreed. */
    if (later > c->raft.commit_index)
        later = c->raft.commit_index;
    if (planted(PLANTED_WITNESS_NOTES_UNCOMMITTED))
        later = consensus_last_index(c);
    if (c->is_witness && !raft_io_note_witness(c, later))
        return; /* again after the next event */
    c->published_configuration = configuration;
    c->published_durability = durability;
    c->news = true;
}

/* ---- behind ---- */

/* From send(), inside libraft. A peer that falls behind again and again is not told of more often.
 */
void consensus_members_fell_behind(struct consensus_raft *c, uint64_t id)
{
    struct consensus_raft_peer *peer = consensus_peer(c, id);
    const uint64_t now = consensus_now_ns(c);
    if (peer->behind)
        return;
    peer->behind = true;
    if (peer->behind_told_ns != 0 && now - peer->behind_told_ns < BEHIND_EVENT_NS)
        return;
    peer->behind_told_ns = now;
    consensus_event(c, "peer_behind",
                    "a member needs entries that are not in memory any more: it is caught up from "
                    "journal and store",
                    id, match_of(c, id));
}

void consensus_members_caught_up(struct consensus_raft *c, uint64_t id, uint64_t index)
{
    if (!consensus_leads(c))
        return;
    struct consensus_raft_peer *peer = consensus_peer(c, id);
    if (index == 0) {
        peer->resume_ns = consensus_now_ns(c) + RESUME_NS;
        return;
    }
    const struct raft_layout_peer progress = raft_layout_peer(&c->raft, id);
    if (!progress.known)
        return;
    if (index > consensus_last_index(c))
        index = consensus_last_index(c);
    if (index < progress.match)
        index = progress.match;
    if (raft_layout_term_at(&c->raft, index) == 0)
        return; /* the log in memory has moved on since it was offered: it is behind once more */
    peer->behind = false;
    raft_layout_probe_from(&c->raft, id, index + 1);
    raft_layout_wake_peer(&c->raft, id);
    c->tick_wanted = true;
    c->news = true;
}

/* Says who is behind: at most once a second each. */
static void offer(struct consensus_raft *c)
{
    const uint64_t now = consensus_now_ns(c);
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct consensus_raft_peer *peer = &c->peers[i];
        if (!peer->behind)
            continue;
        const struct raft_layout_peer progress = raft_layout_peer(&c->raft, peer->id);
        if (!progress.known || !progress.snapshots) {
            peer->behind = false; /* removed; or libraft found it fit */
            continue;
        }
        if (!peer->linked || now < peer->resume_ns ||
            (peer->offered_ns != 0 && now - peer->offered_ns < CONSENSUS_OFFER_MS * NS_PER_MS))
            continue;
        peer->offered_ns = now;
        c->behind_ns = now;
        if (c->options.sink.falls_behind != NULL)
            c->options.sink.falls_behind(c->options.sink.context, peer->id);
    }
}

/* ---- watermark ---- */

struct site {
    char name[MEMBER_SITE_SIZE_MAX + 1];
    uint64_t best;
};

static struct site *site_of(struct site *sites, uint32_t *count, const char *name)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (strcmp(sites[i].name, name) == 0)
            return &sites[i];
    }
    struct site *site = &sites[(*count)++];
    *site = (struct site){0};
    memcpy(site->name, name, sizeof site->name);
    return site;
}

/* A site that was given up, and released by an entry that is committed: nothing is kept for it. */
static bool is_released(const struct consensus_raft *c, const char *site)
{
    const struct durability_entry *committed = &c->durability_log.committed.entry;
    return committed->mode == DURABILITY_DEGRADED && strcmp(committed->released_site, site) == 0;
}

static uint64_t compute_watermark(const struct consensus_raft *c)
{
    struct site sites[MEMBERS_MAX];
    uint32_t count = 0;
    for (unsigned i = 0; i < c->raft.configuration.n && i < MEMBERS_MAX; i++) {
        const struct raft_server *server = &c->raft.configuration.servers[i];
        struct member member;
        if (server->role != RAFT_VOTER || !consensus_member(c, i, &member) ||
            member.kind != MEMBER_DATA)
            continue;
        if (is_released(c, member.site))
            continue;
        const bool self = server->id == c->options.self.node_id;
        uint64_t match = self ? c->synced_index : match_of(c, server->id);
        struct site *site = site_of(sites, &count, member.site);
        if (match > site->best)
            site->best = match;
    }
    uint64_t watermark = count == 0 ? 0 : c->raft.commit_index;
    for (uint32_t i = 0; i < count; i++) {
        if (sites[i].best < watermark)
            watermark = sites[i].best;
    }
    return watermark;
}

static void tell_watermark(struct consensus_raft *c)
{
    const uint64_t now = consensus_now_ns(c);
    if (now - c->watermark_ns < CONSENSUS_WATERMARK_MS * NS_PER_MS)
        return;
    c->watermark_ns = now;
    const uint64_t watermark = compute_watermark(c);
    if (watermark > c->watermark_index)
        c->watermark_index = watermark;
    /* Told again at times, for whom it did not reach. */
    const uint64_t both = consensus_both_index(c);
    if (c->watermark_index + both == 0 ||
        (c->watermark_index == c->told_watermark && both == c->told_both_index &&
         now - c->watermark_told_ns < CONSENSUS_WATERMARK_AGAIN_MS * NS_PER_MS))
        return;
    c->told_watermark = c->watermark_index;
    c->told_both_index = both;
    c->watermark_told_ns = now;
    const struct raft_message_view view = {
        .type = MESSAGE_WATERMARK,
        .watermark = {.term = c->raft.current_term, .index = c->watermark_index, .both = both}};
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        uint64_t id = c->raft.configuration.servers[i].id;
        if (id != c->options.self.node_id)
            raft_io_say(c, id, &view);
    }
}

static uint64_t watermark_next_ns(const struct consensus_raft *c)
{
    const uint64_t look = c->watermark_ns + CONSENSUS_WATERMARK_MS * NS_PER_MS;
    if (c->watermark_index < c->raft.commit_index ||
        (c->sites.data_site_count == 2 && c->told_both_index < c->raft.commit_index))
        return look; /* it may move */
    const uint64_t again = c->watermark_told_ns + CONSENSUS_WATERMARK_AGAIN_MS * NS_PER_MS;
    return again > look ? again : look;
}

/* ---- changes ---- */

void consensus_members_end_change(struct consensus_raft *c, enum status status)
{
    if (!c->change_runs || c->change_done)
        return;
    c->change_done = true;
    c->change_status = status;
}

static void changed(struct raft_change *change, int code)
{
    struct consensus_raft *c = change->data;
    /* libraft gives a promotion up that does not keep pace: nothing was changed. */
    enum status status = code == 0                   ? STATUS_OK
                         : code == RAFT_NOCONNECTION ? STATUS_BUSY
                                                     : STATUS_UNKNOWN_OUTCOME;
    consensus_members_end_change(c, status);
}

void consensus_members_tell_change(struct consensus_raft *c)
{
    if (!c->change_done)
        return;
    consensus_change_cb cb = c->change_cb;
    c->change_done = c->change_runs = false;
    c->change_cb = NULL;
    if (cb != NULL)
        cb(c->change_context, c->change_status);
}

static enum status refuse_code(int code)
{
    switch (code) {
    case RAFT_NOTLEADER:
        return STATUS_NOT_READY;
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
    case RAFT_BADROLE:
        return STATUS_EXISTS;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return STATUS_NOT_FOUND;
    case RAFT_NOMEM:
        return STATUS_NO_MEMORY;
    default:
        return STATUS_BUSY;
    }
}

/* The table as it is in force; false: a record is none. */
static bool take_table(const struct consensus_raft *c, struct member_table *out)
{
    *out = (struct member_table){0};
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (out->count == MEMBERS_MAX || !consensus_member(c, i, &out->members[out->count]))
            return false;
        out->votes[out->count++] = c->raft.configuration.servers[i].role == RAFT_VOTER;
    }
    return true;
}

/* [safety] Under policy "never" the two sites stay two: with one, or with a third, a commit would
 * not imply both, and no durability entry would say so. */
static bool breaks_policy(const struct consensus_raft *c, const struct member_table *after)
{
    return consensus_durability_may_decide(c, DURABILITY_NEVER) && c->sites.data_site_count == 2 &&
           member_table_data_sites(after) != 2;
}

static enum status judge_change(const struct consensus_raft *c,
                                const struct consensus_change *change)
{
    struct member_table table;
    char site[MEMBER_SITE_SIZE_MAX + 1];
    if (!take_table(c, &table))
        return STATUS_INVALID;
    uint32_t place = 0;
    while (place < table.count && table.members[place].node_id != change->member.node_id)
        place++;
    const bool known = place < table.count;
    const bool was_allowed = member_table_is_allowed(&table, site);
    switch (change->kind) {
    case CONSENSUS_ADD:
        if (known)
            return STATUS_EXISTS;
        return table.count == MEMBERS_MAX ? STATUS_INVALID : STATUS_OK;
    case CONSENSUS_FEED:
        if (!known)
            return STATUS_NOT_FOUND;
        return raft_layout_role(&c->raft, change->member.node_id) == RAFT_SPARE ? STATUS_OK
                                                                                : STATUS_EXISTS;
    case CONSENSUS_PROMOTE:
        if (!known)
            return STATUS_NOT_FOUND;
        if (table.votes[place])
            return STATUS_EXISTS;
        table.votes[place] = true;
        break;
    case CONSENSUS_REMOVE:
        if (!known)
            return STATUS_NOT_FOUND;
        memmove(&table.members[place], &table.members[place + 1],
                (table.count - place - 1) * sizeof table.members[0]);
        memmove(&table.votes[place], &table.votes[place + 1],
                (table.count - place - 1) * sizeof table.votes[0]);
        table.count--;
        break;
    default:
        return STATUS_INVALID;
    }
    uint32_t voters = 0;
    for (uint32_t i = 0; i < table.count; i++)
        voters += table.votes[i];
    if (breaks_policy(c, &table))
        return STATUS_INVALID;
    if (planted(PLANTED_REPLACE_STEP_NOT_JUDGED) && voters > 0)
        return STATUS_OK;
    /* A table that is against the rule may be changed, or nobody could mend it. */
    return voters > 0 && (member_table_is_allowed(&table, site) || !was_allowed) ? STATUS_OK
                                                                                 : STATUS_INVALID;
}

static int begin_change(struct consensus_raft *c, const struct consensus_change *change,
                        const char *text)
{
    const raft_id id = change->member.node_id;
    memset(&c->change, 0, sizeof c->change);
    c->change.data = c;
    switch (change->kind) {
    case CONSENSUS_ADD:
        return raft_add(&c->raft, &c->change, id, text, changed);
    case CONSENSUS_FEED:
        return raft_assign(&c->raft, &c->change, id, RAFT_STANDBY, changed);
    case CONSENSUS_PROMOTE:
        return raft_assign(&c->raft, &c->change, id, RAFT_VOTER, changed);
    default:
        return raft_remove(&c->raft, &c->change, id, changed);
    }
}

static int role_after(enum consensus_change_kind kind)
{
    switch (kind) {
    case CONSENSUS_ADD:
        return RAFT_SPARE;
    case CONSENSUS_FEED:
        return RAFT_STANDBY;
    case CONSENSUS_PROMOTE:
        return RAFT_VOTER;
    default:
        return -1;
    }
}

enum status consensus_members_change(struct consensus_raft *c,
                                     const struct consensus_change *change, consensus_change_cb cb,
                                     void *context)
{
    if (!consensus_leads(c) || !raft_guard_ready(&c->guard))
        return STATUS_NOT_READY;
    char text[MEMBER_TEXT_SIZE];
    if (change->kind == CONSENSUS_ADD && member_print(&change->member, text) != STATUS_OK)
        return STATUS_INVALID;
    enum status status = judge_change(c, change);
    if (status != STATUS_OK)
        return status;
    if (c->change_runs || consensus_is_transferring(c) ||
        !raft_guard_may_change(&c->guard, change->member.node_id, role_after(change->kind)))
        return STATUS_BUSY;
    c->change_runs = true;
    c->change_done = false;
    c->change_cb = cb;
    c->change_context = context;
    int code = begin_change(c, change, text);
    if (code != 0) {
        c->change_runs = false;
        c->change_cb = NULL;
        return c->failure != STATUS_OK ? c->failure : refuse_code(code);
    }
    consensus_settle(c);
    return STATUS_OK;
}

/* ---- hand-over ---- */

static bool is_fit(const struct consensus_raft *c, unsigned i, struct member *out)
{
    const struct raft_server *server = &c->raft.configuration.servers[i];
    if (server->role != RAFT_VOTER || server->id == c->options.self.node_id ||
        !consensus_member(c, i, out) || out->kind != MEMBER_DATA)
        return false;
    const struct consensus_raft_peer *peer = consensus_find_peer(c, server->id);
    return peer != NULL && peer->linked && !peer->behind && peer->heard_ns != 0 &&
           consensus_now_ns(c) - peer->heard_ns < HEARD_NS;
}

uint64_t consensus_best_successor(const struct consensus_raft *c)
{
    uint64_t best = 0, best_match = 0;
    bool best_elsewhere = false;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        struct member member;
        if (!is_fit(c, i, &member))
            continue;
        const bool elsewhere = strcmp(member.site, c->options.self.site) != 0;
        const uint64_t match = match_of(c, member.node_id);
        if (best == 0 || (elsewhere && !best_elsewhere) ||
            (elsewhere == best_elsewhere && match > best_match)) {
            best = member.node_id;
            best_match = match;
            best_elsewhere = elsewhere;
        }
    }
    return best;
}

static void transferred(void *context)
{
    struct consensus_raft *c = context;
    c->news = true;
}

enum status consensus_members_hand_over(struct consensus_raft *c, uint64_t to)
{
    if (!consensus_leads(c))
        return STATUS_NOT_READY;
    if (consensus_is_transferring(c))
        return STATUS_BUSY;
    if (to == 0)
        to = consensus_best_successor(c);
    if (to == 0)
        return STATUS_NOT_FOUND;
    int code = raft_guard_transfer(&c->guard, to, transferred, c);
    if (code != 0)
        return code == RAFT_BADID ? STATUS_NOT_FOUND : STATUS_BUSY;
    c->news = true;
    consensus_event(c, "leader_transfer", "leadership is handed over", to, c->raft.current_term);
    consensus_tick(c, true);
    return STATUS_OK;
}

enum status consensus_members_transfer(struct consensus_raft *c, uint64_t to)
{
    if (consensus_leads(c) && c->change_runs)
        return STATUS_BUSY;
    return consensus_members_hand_over(c, to);
}

/* ---- turn ---- */

/* Nothing was sent to a follower since the commit moved: an empty message tells it. A read at the
 * other site waits for this. */
static bool wants_commit(const struct consensus_raft *c, const struct consensus_raft_peer *peer)
{
    if (!peer->linked || peer->told_commit >= c->raft.commit_index)
        return false;
    return raft_layout_peer(&c->raft, peer->id).pipelines;
}

static void tell_commit(struct consensus_raft *c)
{
    const uint64_t now = consensus_now_ns(c);
    bool wanted = false;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct consensus_raft_peer *peer = &c->peers[i];
        if (!wants_commit(c, peer) || now - peer->told_ns < CONSENSUS_COMMIT_WORD_NS)
            continue;
        raft_layout_wake_peer(&c->raft, peer->id);
        wanted = true;
    }
    if (wanted)
        consensus_tick(c, true);
}

void consensus_members_process(struct consensus_raft *c)
{
    if (!consensus_leads(c))
        return;
    tell_commit(c);
    if (!consensus_leads(c))
        return;
    offer(c);
    tell_watermark(c);
}

uint64_t consensus_members_next_ns(const struct consensus_raft *c)
{
    if (!consensus_leads(c) || c->peer_count == 0)
        return UINT64_MAX;
    uint64_t next = watermark_next_ns(c);
    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct consensus_raft_peer *peer = &c->peers[i];
        uint64_t at = UINT64_MAX;
        if (wants_commit(c, peer))
            at = peer->told_ns + CONSENSUS_COMMIT_WORD_NS;
        if (peer->behind && peer->linked) {
            uint64_t again = peer->offered_ns + CONSENSUS_OFFER_MS * NS_PER_MS;
            again = again > peer->resume_ns ? again : peer->resume_ns;
            at = again < at ? again : at;
        }
        next = at < next ? at : next;
    }
    return next;
}
