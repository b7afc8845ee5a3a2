/*
 * Where a copy begins: offers, what is asked of the server, what it answers.
 *
 * The cheapest first. If our journal holds the entry that the leader's log in memory begins behind,
 * there is nothing to do but to say so. Otherwise our own files are of use as far as they are a
 * part of the server's history, which the chain head of one entry proves for all before it: what
 * follows that one is read to us, and goes into the log that we have (catch_up_feed.c). We ask
 * about our last entry; if it is not committed there, or the server's journal does not reach back
 * to it, about the last one that we know to be committed. Only when the server cannot go on from
 * there, either, it is all of it: a store, and a new journal behind it. That is how a node that was
 * away for a minute is read a minute, and how a witness, who has no store, can bring a data node up
 * to date.
 *
 * An offer counts only from the leader that consensus follows, in its term. Any member could name a
 * high term, and have us replace our files by what it says is committed; a leader that we do not
 * know yet is known with its next heartbeat, and repeats the offer every second.
 *
 * An entry that we know to be committed and that the server has otherwise means two histories in
 * one cluster: nothing is replaced then.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

/* ---- asking ---- */

/* Where our own files begin to count: the store's entry, or a witness's anchor. */
static uint64_t own_base(const struct catch_up *c, struct checkpoint_meta *out_meta)
{
    memset(out_meta, 0, sizeof *out_meta);
    if (c->options.store != NULL)
        return checkpoint_meta(c->options.store, out_meta) == STATUS_OK ? out_meta->index : 0;
    struct journal_position position;
    journal_position(c->options.journal, &position);
    return position.anchor_index;
}

/* The entry of our journal to ask about. False: none can be, begin from nothing. */
static bool choose_entry(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    struct catch_up_facts facts;
    struct journal_position position;
    struct checkpoint_meta meta;
    c->options.facts(c->options.context, &facts);
    journal_position(c->options.journal, &position);
    const uint64_t base = own_base(c, &meta);
    uint64_t index = position.synced_index;
    if (fetch->try == FETCH_TRY_COMMITTED && facts.commit_index < index)
        index = facts.commit_index;
    if (index < base)
        index = base;
    fetch->own_index = index;
    fetch->reach_index =
        facts.commit_index < position.synced_index ? facts.commit_index : position.synced_index;
    if (fetch->reach_index < base)
        fetch->reach_index = base;
    return journal_term(c->options.journal, index, &fetch->own_term) == STATUS_OK &&
           journal_head(c->options.journal, index, fetch->own_head) == STATUS_OK;
}

static void fill_open(struct catch_up *c, struct catch_up_open *open)
{
    struct fetch *fetch = &c->fetch;
    open->kind = c->options.store == NULL ? MEMBER_WITNESS : MEMBER_DATA;
    open->want = CATCH_UP_FROM;
    if (fetch->part == FETCH_PART_STORE) {
        open->want = CATCH_UP_RESUME;
        open->session = fetch->session;
        open->offset = fetch->bytes_done;
        memcpy(open->check, fetch->check, sizeof open->check);
    } else if (fetch->part == FETCH_PART_JOURNAL) {
        open->index = open->offset = fetch->index;
        open->term = fetch->term;
        memcpy(open->check, fetch->check, sizeof open->check);
    } else if (fetch->try != FETCH_TRY_WHOLE && choose_entry(c)) {
        open->index = fetch->own_index;
        open->offset = fetch->reach_index;
        open->term = fetch->own_term;
        memcpy(open->check, fetch->own_head, sizeof open->check);
    } else {
        fetch->try = FETCH_TRY_WHOLE;
        open->want = CATCH_UP_WHOLE;
    }
}

void fetch_send_open(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    struct catch_up_open open = {0};
    fill_open(c, &open);
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_open_encode(&open, message);
    const enum status status = catch_up_send(c, fetch->server, TRANSPORT_BULK, message, size);
    fetch->retry_ns = catch_up_now_ns(c) + (status == STATUS_OK ? FETCH_REPLY_NS : FETCH_RETRY_NS);
}

/* The connection to the session is gone, or there was none yet. Our disk has finished its work. */
void fetch_reopen(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_OPENING;
    fetch->connected = false;
    fetch->asked = 0;
    fetch->at_end = false;
    fetch_send_open(c);
}

/* ---- offers ---- */

/* *out_index: what we have for certain, as far as we know. */
static bool has_entry(const struct catch_up *c, const struct catch_up_offer *offer,
                      uint64_t *out_index)
{
    struct catch_up_facts facts;
    struct journal_position position;
    uint64_t term;
    c->options.facts(c->options.context, &facts);
    journal_position(c->options.journal, &position);
    *out_index = offer->log_index;
    /* What is committed the leader has, too: it need not begin further back. */
    if (*out_index < facts.commit_index)
        *out_index = facts.commit_index;
    if (*out_index < c->installed.index)
        *out_index = c->installed.index;
    if (*out_index > position.synced_index)
        *out_index = position.synced_index;
    if (position.anchor_index >= offer->log_index && position.anchor_index > 0) {
        if (*out_index < position.anchor_index)
            *out_index = position.anchor_index;
        return true; /* all before the anchor is committed, and was the same */
    }
    return offer->log_index <= position.synced_index &&
           journal_term(c->options.journal, offer->log_index, &term) == STATUS_OK &&
           term == offer->log_term;
}

static bool take_memory(struct fetch *fetch)
{
    for (uint32_t i = 0; i < FETCH_WINDOW; i++) {
        struct fetch_piece *piece = &fetch->pieces[i];
        if (piece->bytes == NULL)
            piece->bytes = aligned_alloc(64, CATCH_UP_DATA_MAX);
        if (piece->entries == NULL)
            piece->entries = calloc(CATCH_UP_ENTRIES_MAX, sizeof *piece->entries);
        if (piece->bytes == NULL || piece->entries == NULL)
            return false; /* what was taken goes with the next try, or at the end */
    }
    if (fetch->hash == NULL)
        fetch->hash = hash_stream_create();
    return fetch->hash != NULL;
}

static void begin(struct catch_up *c, uint64_t from, const struct catch_up_offer *offer)
{
    struct fetch *fetch = &c->fetch;
    struct catch_up_build_options options = {
        .environment = c->options.environment,
        .directory = c->options.directory,
        .files = c->options.files,
        .in_use = c->options.generation,
        .segment_size = c->options.segment_size,
    };
    if (!take_memory(fetch))
        return; /* the offer is repeated */
    memcpy(options.cluster_id, c->options.cluster_id, sizeof options.cluster_id);
    catch_up_build_init(&fetch->build, &options);
    fetch->part = FETCH_PART_NONE;
    fetch->server = from;
    fetch->offer_term = offer->term;
    fetch->needed_index = offer->log_index;
    fetch->try = FETCH_TRY_LAST;
    fetch->bytes_done = fetch->bytes_total = fetch->ahead_bytes = 0;
    fetch->index = fetch->term = 0;
    fetch->discard_asked = false;
    memset(fetch->check, 0, sizeof fetch->check);
    fetch->started_ns = fetch->told_ns = catch_up_now_ns(c);
    fetch->lost_ns = 0;
    fetch_headway(c);
    catch_up_event(c, "catch_up_started",
                   "this node lacks entries that its leader holds in files only", from,
                   offer->log_index);
    fetch_reopen(c);
}

/* Another one leads, and the one that we read from is away. */
static void change_server(struct catch_up *c, uint64_t to)
{
    struct fetch *fetch = &c->fetch;
    const uint64_t now = catch_up_now_ns(c);
    if (fetch->part != FETCH_PART_STORE) {
        fetch->server = to;
        fetch->lost_ns = 0;
        if (fetch->phase == FETCH_OPENING)
            fetch_send_open(c);
    } else if (fetch->lost_ns != 0 && now - fetch->lost_ns >= FETCH_GIVE_UP_NS) {
        fetch_fail(c, STATUS_UNAVAILABLE,
                   "whose store was being copied is away: begun anew elsewhere");
    }
}

void fetch_receive_offer(struct catch_up *c, uint64_t from, const struct catch_up_offer *offer)
{
    struct fetch *fetch = &c->fetch;
    struct catch_up_facts facts;
    uint64_t index;
    c->options.facts(c->options.context, &facts);
    if (c->stopping || facts.leads || offer->term != facts.term || from != facts.leader_id)
        return; /* of a leader that was, or that is not known yet: it is repeated */
    switch (fetch->phase) {
    case FETCH_READY:
    case FETCH_TAKEN:
    case FETCH_DISCARDING:
        return;
    case FETCH_IDLE:
        if (has_entry(c, offer, &index))
            fetch_send_done(c, from, offer->term, index);
        else
            begin(c, from, offer);
        return;
    case FETCH_FEED:
        fetch->offer_term = offer->term;
        if (from != fetch->server)
            feed_end(c, "another one leads: it goes on with its next offer");
        return;
    default:
        fetch->offer_term = offer->term;
        if (fetch->needed_index < offer->log_index)
            fetch->needed_index = offer->log_index;
        if (from != fetch->server && !fetch->connected)
            change_server(c, from);
        return;
    }
}

/* ---- answers ---- */

static void keep_anchor(struct fetch *fetch, uint64_t index, uint64_t term, const uint8_t *head,
                        const void *configuration, uint32_t size)
{
    invariant_values(size <= sizeof fetch->configuration, size, index);
    if (size > 0)
        memcpy(fetch->configuration, configuration, size);
    fetch->anchor = (struct journal_anchor){
        .index = index,
        .term = term,
        .configuration = fetch->configuration,
        .configuration_size = size,
    };
    memcpy(fetch->anchor.head, head, sizeof fetch->anchor.head);
}

/* The server goes on behind an entry of ours. */
static void opened_from(struct catch_up *c, const struct catch_up_opened *opened)
{
    if (opened->index != c->fetch.own_index)
        fetch_reopen(c); /* an answer to an earlier question */
    else
        feed_begin(c);
}

static void opened_whole(struct catch_up *c, const struct catch_up_opened *opened)
{
    struct fetch *fetch = &c->fetch;
    struct checkpoint_meta meta;
    const uint64_t base = own_base(c, &meta);
    keep_anchor(fetch, opened->index, opened->term, opened->head, opened->configuration,
                opened->configuration_size);
    if (opened->store_size > 0) {
        fetch->phase = FETCH_STORE;
        fetch->part = FETCH_PART_STORE;
        fetch->bytes_total = opened->store_size;
        fetch->asked_offset = 0;
        fetch_add_control(c, FETCH_WORK_STORE_BEGIN);
    } else if (c->options.store != NULL && base > 0) {
        fetch_fail(c, STATUS_STORE_AHEAD, "our store is ahead of all that the leader can give");
    } else {
        fetch_begin_journal(c);
    }
}

static void refused(struct catch_up *c, enum status status)
{
    struct fetch *fetch = &c->fetch;
    const bool later = status == STATUS_BUSY ||
                       (status == STATUS_STORE_AHEAD &&
                        (fetch->part == FETCH_PART_JOURNAL || fetch->try == FETCH_TRY_COMMITTED));
    if (later) {
        fetch->retry_ns = catch_up_now_ns(c) + FETCH_RETRY_NS;
    } else if (fetch->part == FETCH_PART_NONE && fetch->try == FETCH_TRY_LAST &&
               (status == STATUS_STORE_AHEAD || status == STATUS_NOT_FOUND ||
                status == STATUS_WRONG_CLUSTER)) {
        fetch->try = FETCH_TRY_COMMITTED;
        fetch_send_open(c);
    } else if (fetch->part == FETCH_PART_NONE && fetch->try == FETCH_TRY_COMMITTED &&
               status == STATUS_NOT_FOUND) {
        fetch->try = FETCH_TRY_WHOLE;
        fetch_send_open(c);
    } else if (status == STATUS_WRONG_CLUSTER) {
        fetch_fail(c, status,
                   "this node and its leader tell two histories of the same entries (their chain "
                   "heads differ); nothing was changed; keep the files for examination and rebuild "
                   "the node with `tally node repair`");
    } else {
        fetch_fail(c, status, "the leader cannot give what is lacking");
    }
}

void fetch_receive_opened(struct catch_up *c, uint64_t from, const struct catch_up_opened *opened)
{
    struct fetch *fetch = &c->fetch;
    if (fetch->phase != FETCH_OPENING || from != fetch->server || c->stopping ||
        fetch_disk_works(fetch))
        return;
    if (opened->status != STATUS_OK) {
        refused(c, (enum status)opened->status);
        return;
    }
    fetch_headway(c);
    fetch->session = opened->session;
    fetch->connected = true;
    fetch->lost_ns = 0;
    fetch->alive_ns = catch_up_now_ns(c) + FETCH_ALIVE_NS;
    switch (fetch->part) {
    case FETCH_PART_NONE:
        if (fetch->try == FETCH_TRY_WHOLE)
            opened_whole(c, opened);
        else
            opened_from(c, opened);
        return;
    case FETCH_PART_STORE:
        fetch->phase = FETCH_STORE;
        fetch->asked_offset = fetch->bytes_done;
        break;
    case FETCH_PART_JOURNAL:
        fetch->phase = FETCH_JOURNAL;
        break;
    }
    fetch_go_on(c);
}
