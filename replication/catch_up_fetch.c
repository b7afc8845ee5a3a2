/*
 * The peer's half of catch-up on the loop: what to ask for next, and from whom.
 *
 * First the cheapest: if our journal holds the entry that the leader's log in memory begins behind,
 * there is nothing to do but to say so. Otherwise a new journal behind the index of our own store
 * will do, when the server's journal reaches back that far (CATCH_UP_FROM). Otherwise all of it.
 *
 * Two parts are built, the store and the journal. `part` says which one, and with it how to go on
 * after a cut: half a store belongs to the session that it was read from (CATCH_UP_RESUME); a
 * journal can be continued by anybody who has our last entry with the same chain head
 * (CATCH_UP_FROM), so a new leader takes over without anything being thrown away. A store and a
 * journal of different servers fit, too: both are committed history, and the chain says that it is
 * the same one.
 *
 * At most FETCH_WINDOW pieces are on their way or being written; each is asked for when one before
 * it is on disk. Every wait has its end: without headway for CATCH_UP_SILENCE_NS, not counting our
 * own disk's time, all of it is thrown away, and the next offer begins anew.
 */
#include "replication/catch_up_internal.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void control_done(struct catch_up_task *task);
static void piece_done(struct catch_up_task *task);
static void go_on(struct catch_up *c);

void fetch_init(struct catch_up *c)
{
    c->fetch.control = (struct catch_up_task){.run = fetch_run_control, .done = control_done};
    c->fetch.owner = c;
    for (uint32_t i = 0; i < FETCH_WINDOW; i++) {
        c->fetch.pieces[i].task =
            (struct catch_up_task){.run = fetch_run_piece, .done = piece_done};
        c->fetch.pieces[i].owner = c;
    }
}

static void free_pieces(struct fetch *fetch)
{
    for (uint32_t i = 0; i < FETCH_WINDOW; i++) {
        free(fetch->pieces[i].bytes);
        fetch->pieces[i].bytes = NULL;
    }
}

void fetch_deinit(struct catch_up *c)
{
    if (c->fetch.phase != FETCH_IDLE)
        catch_up_build_close(&c->fetch.build); /* what is left is removed at the next start */
    free_pieces(&c->fetch);
}

/* ---- what is in hand ---- */

static uint32_t pieces_used(const struct fetch *fetch)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < FETCH_WINDOW; i++)
        used += fetch->pieces[i].used;
    return used;
}

static bool disk_works(const struct fetch *fetch)
{
    return fetch->control.queued || pieces_used(fetch) > 0;
}

static void headway(struct catch_up *c)
{
    c->fetch.progress_ns = catch_up_now_ns(c);
}

static void add_control(struct catch_up *c, enum fetch_work work)
{
    c->fetch.work = work;
    catch_up_job_add(&c->job, &c->fetch.control);
}

static void send_done(struct catch_up *c, uint64_t to, uint64_t term, uint64_t index)
{
    const struct catch_up_done done = {.term = term, .index = index};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_done_encode(&done, message);
    (void)catch_up_send(c, to, TRANSPORT_CALLS, message, size); /* the offer is repeated */
}

static void send_close(struct catch_up *c, enum status status)
{
    const struct catch_up_close close = {.session = c->fetch.session, .status = (uint32_t)status};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    if (!c->fetch.connected)
        return;
    const size_t size = catch_up_close_encode(&close, message);
    (void)catch_up_send(c, c->fetch.server, TRANSPORT_BULK, message, size); /* or silence ends it */
    c->fetch.connected = false;
}

/* ---- ends ---- */

static void begin_discard(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_DISCARDING;
    fetch->discard_asked = fetch->control.queued;
    if (!fetch->discard_asked && !c->stopping)
        add_control(c, FETCH_WORK_DISCARD); /* behind the pieces in the queue */
}

static void fail(struct catch_up *c, enum status status, const char *text)
{
    struct fetch *fetch = &c->fetch;
    catch_up_event(c, "catch_up_failed", text, fetch->server, status);
    send_close(c, status);
    send_done(c, fetch->server, fetch->offer_term, 0);
    begin_discard(c);
}

static void discarded(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    free_pieces(fetch);
    fetch->phase = FETCH_IDLE;
    fetch->part = FETCH_PART_NONE;
}

/* The rule about what our journal holds beyond the copy. */
bool fetch_may_replace(const struct catch_up *c)
{
    const struct fetch *fetch = &c->fetch;
    struct journal_position position;
    uint64_t term = 0;
    journal_position(c->options.journal, &position);
    if (position.last_index <= fetch->index)
        return true;
    if (journal_term(c->options.journal, fetch->index, &term) != STATUS_OK)
        return false;           /* the whole copy lies before our anchor */
    return term != fetch->term; /* our tail belongs to a history that was not committed */
}

static void finished(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    send_close(c, STATUS_OK);
    if (!fetch_may_replace(c)) {
        catch_up_event(c, "catch_up_done", "the journal in use holds more than the copy: it stays",
                       fetch->index, (catch_up_now_ns(c) - fetch->started_ns) / CATCH_UP_NS_PER_MS);
        send_done(c, fetch->server, fetch->offer_term, fetch->index);
        begin_discard(c);
        return;
    }
    fetch->phase = FETCH_READY;
    fetch->install = (struct catch_up_install){
        .from = c->options.generation,
        .to = fetch->build.to,
        .with_store = fetch->build.store_made,
        .index = fetch->index,
        .term = fetch->term,
        .leader = fetch->server,
    };
    catch_up_event(c, "catch_up_done", "a new journal, and perhaps a new store, is ready",
                   fetch->index, (catch_up_now_ns(c) - fetch->started_ns) / CATCH_UP_NS_PER_MS);
    c->options.ready(c->options.context);
}

/* ---- asking ---- */

/* Where our own store stands; zero when it holds nothing. */
static void own_place(const struct catch_up *c, struct checkpoint_meta *out)
{
    if (c->options.store == NULL || checkpoint_meta(c->options.store, out) != STATUS_OK)
        memset(out, 0, sizeof *out);
}

static void send_open(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    struct catch_up_open open = {
        .want = fetch->want,
        .kind = c->options.store == NULL ? MEMBER_WITNESS : MEMBER_DATA,
    };
    if (fetch->part == FETCH_PART_STORE) {
        open.want = CATCH_UP_RESUME;
        open.session = fetch->session;
        open.offset = fetch->bytes_done;
        memcpy(open.check, fetch->check, sizeof open.check);
    } else if (fetch->part == FETCH_PART_JOURNAL) {
        open.want = CATCH_UP_FROM;
        open.index = fetch->index;
        open.term = fetch->term;
        memcpy(open.check, fetch->check, sizeof open.check);
    } else if (fetch->want == CATCH_UP_FROM) {
        struct checkpoint_meta meta;
        own_place(c, &meta);
        open.index = meta.index;
        open.term = meta.term;
        memcpy(open.check, meta.head, sizeof open.check);
    }
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_open_encode(&open, message);
    const enum status status = catch_up_send(c, fetch->server, TRANSPORT_BULK, message, size);
    fetch->retry_ns = catch_up_now_ns(c) + (status == STATUS_OK ? FETCH_REPLY_NS : FETCH_RETRY_NS);
}

/* The connection to the session is gone, or there was none yet. Our disk has finished its work. */
static void reopen(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_OPENING;
    fetch->connected = false;
    fetch->asked = 0;
    fetch->at_end = false;
    send_open(c);
}

static enum status send_read(struct catch_up *c, enum catch_up_what what, uint64_t position)
{
    const struct catch_up_read read = {
        .session = c->fetch.session, .what = what, .position = position};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_read_encode(&read, message);
    c->fetch.alive_ns = catch_up_now_ns(c) + FETCH_ALIVE_NS;
    return catch_up_send(c, c->fetch.server, TRANSPORT_BULK, message, size);
}

/* As many pieces as the window allows. */
static void ask(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    const uint32_t window = fetch->phase == FETCH_JOURNAL && fetch->at_end ? 1 : FETCH_WINDOW;
    while (fetch->connected && fetch->asked + pieces_used(fetch) < window) {
        enum status status;
        if (fetch->phase == FETCH_STORE) {
            if (fetch->asked_offset >= fetch->bytes_total)
                return;
            status = send_read(c, CATCH_UP_STORE, fetch->asked_offset);
        } else {
            if (fetch->at_end && catch_up_now_ns(c) < fetch->poll_ns)
                return;
            status = send_read(c, CATCH_UP_JOURNAL, fetch->index);
        }
        if (status != STATUS_OK) {
            fetch->retry_ns = catch_up_now_ns(c) + FETCH_RETRY_NS; /* full, or a cut to be told */
            return;
        }
        fetch->asked++;
        fetch->asked_offset += CATCH_UP_PIECE_SIZE;
    }
}

/* ---- offers ---- */

static bool has_entry(const struct catch_up *c, const struct catch_up_offer *offer,
                      uint64_t *out_index)
{
    struct journal_position position;
    uint64_t term;
    journal_position(c->options.journal, &position);
    *out_index = offer->log_index;
    if (position.anchor_index >= offer->log_index && position.anchor_index > 0) {
        *out_index = position.anchor_index; /* all before it is committed, and was the same */
        return true;
    }
    return offer->log_index <= position.synced_index &&
           journal_term(c->options.journal, offer->log_index, &term) == STATUS_OK &&
           term == offer->log_term;
}

static void begin(struct catch_up *c, uint64_t from, const struct catch_up_offer *offer)
{
    struct fetch *fetch = &c->fetch;
    const struct catch_up_build_options options = {
        .environment = c->options.environment,
        .directory = c->options.directory,
        .files = c->options.files,
        .in_use = c->options.generation,
        .segment_size = c->options.segment_size,
    };
    for (uint32_t i = 0; i < FETCH_WINDOW; i++) {
        fetch->pieces[i].bytes = aligned_alloc(64, CATCH_UP_DATA_MAX);
        if (fetch->pieces[i].bytes == NULL) {
            free_pieces(fetch);
            return; /* the offer is repeated */
        }
    }
    catch_up_build_init(&fetch->build, &options);
    memcpy(fetch->build.options.cluster_id, c->options.cluster_id, 16);
    fetch->part = FETCH_PART_NONE;
    fetch->server = from;
    fetch->offer_term = offer->term;
    fetch->needed_index = offer->log_index;
    fetch->want = c->options.store != NULL ? CATCH_UP_FROM : CATCH_UP_WHOLE;
    fetch->bytes_done = fetch->bytes_total = 0;
    fetch->index = fetch->term = 0;
    fetch->discard_asked = false;
    memset(fetch->check, 0, sizeof fetch->check);
    fetch->started_ns = fetch->told_ns = catch_up_now_ns(c);
    fetch->lost_ns = 0;
    headway(c);
    catch_up_event(c, "catch_up_started",
                   "this node lacks entries that its leader holds in files only", from,
                   offer->log_index);
    reopen(c);
}

void fetch_receive_offer(struct catch_up *c, uint64_t from, const struct catch_up_offer *offer)
{
    struct fetch *fetch = &c->fetch;
    struct catch_up_facts facts;
    uint64_t index;
    c->options.facts(c->options.context, &facts);
    if (c->stopping || offer->term < facts.term || (facts.leads && offer->term == facts.term))
        return; /* of a leader that was */
    if (fetch->phase == FETCH_READY || fetch->phase == FETCH_TAKEN)
        return;
    if (has_entry(c, offer, &index)) {
        send_done(c, from, offer->term, index);
        return;
    }
    if (fetch->phase == FETCH_IDLE) {
        begin(c, from, offer);
        return;
    }
    if (fetch->phase == FETCH_DISCARDING)
        return;
    fetch->offer_term = offer->term;
    if (fetch->needed_index < offer->log_index)
        fetch->needed_index = offer->log_index;
    if (from == fetch->server || fetch->connected)
        return;
    /* Another leads, and the one we read from is away. */
    const uint64_t now = catch_up_now_ns(c);
    if (fetch->part != FETCH_PART_STORE) {
        fetch->server = from;
        fetch->lost_ns = 0;
        if (fetch->phase == FETCH_OPENING)
            send_open(c);
    } else if (fetch->lost_ns != 0 && now - fetch->lost_ns >= FETCH_GIVE_UP_NS) {
        fail(c, STATUS_UNAVAILABLE, "whose store was being copied is away: begun anew elsewhere");
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

/* From here on a cut is mended by going on behind the journal's last entry. */
static void begin_journal(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_JOURNAL;
    fetch->part = FETCH_PART_JOURNAL;
    fetch->index = fetch->anchor.index;
    fetch->term = fetch->anchor.term;
    memcpy(fetch->check, fetch->anchor.head, sizeof fetch->check);
    add_control(c, FETCH_WORK_JOURNAL_BEGIN);
}

static void opened_new(struct catch_up *c, const struct catch_up_opened *opened)
{
    struct fetch *fetch = &c->fetch;
    struct checkpoint_meta meta;
    own_place(c, &meta);
    if (fetch->want == CATCH_UP_FROM) {
        if (opened->index != meta.index) { /* a later epoch was written since we asked */
            reopen(c);
            return;
        }
        keep_anchor(fetch, meta.index, meta.term, meta.head, meta.configuration,
                    meta.configuration_size);
        begin_journal(c);
        return;
    }
    if (opened->store_size == 0 && meta.index > opened->index) {
        fail(c, STATUS_STORE_AHEAD, "our store is ahead of what the leader could give");
        return;
    }
    keep_anchor(fetch, opened->index, opened->term, opened->head, opened->configuration,
                opened->configuration_size);
    if (opened->store_size == 0) {
        begin_journal(c);
        return;
    }
    fetch->phase = FETCH_STORE;
    fetch->part = FETCH_PART_STORE;
    fetch->bytes_total = opened->store_size;
    fetch->asked_offset = 0;
    add_control(c, FETCH_WORK_STORE_BEGIN);
}

static void refused(struct catch_up *c, enum status status)
{
    struct fetch *fetch = &c->fetch;
    if (status == STATUS_BUSY) {
        fetch->retry_ns = catch_up_now_ns(c) + FETCH_RETRY_NS;
    } else if (status == STATUS_NOT_FOUND && fetch->part == FETCH_PART_NONE &&
               fetch->want == CATCH_UP_FROM) {
        fetch->want = CATCH_UP_WHOLE;
        send_open(c);
    } else if (status == STATUS_WRONG_CLUSTER) {
        fail(c, status,
             "this node and its leader tell two histories of the same entries (their chain heads "
             "differ); nothing was changed; keep the files for examination and rebuild the node "
             "with `tally node repair`");
    } else {
        fail(c, status, "the leader cannot give what is lacking");
    }
}

void fetch_receive_opened(struct catch_up *c, uint64_t from, const struct catch_up_opened *opened)
{
    struct fetch *fetch = &c->fetch;
    if (fetch->phase != FETCH_OPENING || from != fetch->server || c->stopping || disk_works(fetch))
        return;
    headway(c);
    if (opened->status != STATUS_OK) {
        refused(c, (enum status)opened->status);
        return;
    }
    fetch->session = opened->session;
    fetch->connected = true;
    fetch->lost_ns = 0;
    fetch->alive_ns = catch_up_now_ns(c) + FETCH_ALIVE_NS;
    switch (fetch->part) {
    case FETCH_PART_NONE:
        opened_new(c, opened);
        return;
    case FETCH_PART_STORE:
        fetch->phase = FETCH_STORE;
        fetch->asked_offset = fetch->bytes_done;
        break;
    case FETCH_PART_JOURNAL:
        fetch->phase = FETCH_JOURNAL;
        break;
    }
    go_on(c);
}

static struct fetch_piece *free_piece(struct fetch *fetch)
{
    for (uint32_t i = 0; i < FETCH_WINDOW; i++)
        if (!fetch->pieces[i].used)
            return &fetch->pieces[i];
    return NULL;
}

void fetch_receive_data(struct catch_up *c, uint64_t from, const struct catch_up_data *data,
                        const uint8_t *bytes)
{
    struct fetch *fetch = &c->fetch;
    const bool expected = (fetch->phase == FETCH_STORE && data->what == CATCH_UP_STORE) ||
                          (fetch->phase == FETCH_JOURNAL && data->what == CATCH_UP_JOURNAL);
    if (!expected || from != fetch->server || !fetch->connected ||
        data->session != fetch->session || fetch->asked == 0 || c->stopping)
        return; /* of a session or a part that is over */
    struct fetch_piece *piece = free_piece(fetch);
    invariant(piece != NULL); /* the window: asked + used is at most FETCH_WINDOW */
    fetch->asked--;
    piece->used = true;
    piece->data = *data;
    memcpy(piece->bytes, bytes, data->size);
    catch_up_job_add(&c->job, &piece->task);
}

void fetch_receive_close(struct catch_up *c, uint64_t from, const struct catch_up_close *close)
{
    struct fetch *fetch = &c->fetch;
    if (from != fetch->server || !fetch->connected || close->session != fetch->session)
        return;
    switch (fetch->phase) {
    case FETCH_STORE:
        fetch->connected = false;
        fail(c, (enum status)close->status, "the leader ended it");
        return;
    case FETCH_VERIFYING:
    case FETCH_JOURNAL:
        fetch->connected = false; /* asked for anew, behind what we have */
        go_on(c);
        return;
    default:
        return;
    }
}

/* ---- going on ---- */

static void report_progress(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    const uint64_t now = catch_up_now_ns(c);
    if (now - fetch->told_ns < FETCH_PROGRESS_NS)
        return;
    fetch->told_ns = now;
    catch_up_event(c, "catch_up_progress",
                   fetch->part == FETCH_PART_STORE ? "bytes of the store" : "entries",
                   fetch->part == FETCH_PART_STORE ? fetch->bytes_done : fetch->index,
                   fetch->part == FETCH_PART_STORE ? fetch->bytes_total : fetch->needed_index);
}

/* The next step of STORE and JOURNAL, with nothing of ours in the job but pieces. */
static void go_on(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    if (c->stopping || fetch->control.queued)
        return;
    if (fetch->phase == FETCH_STORE && fetch->bytes_done == fetch->bytes_total) {
        fetch->phase = FETCH_VERIFYING;
        add_control(c, FETCH_WORK_STORE_END);
    } else if (fetch->phase == FETCH_JOURNAL && fetch->at_end &&
               fetch->index >= fetch->needed_index && pieces_used(fetch) == 0) {
        fetch->phase = FETCH_ENDING;
        add_control(c, FETCH_WORK_END);
    } else if (fetch->phase == FETCH_STORE || fetch->phase == FETCH_JOURNAL) {
        if (fetch->connected)
            ask(c);
        else if (pieces_used(fetch) == 0)
            reopen(c);
    }
}

static void piece_done(struct catch_up_task *task)
{
    struct fetch_piece *piece = (struct fetch_piece *)(void *)task; /* first member */
    struct catch_up *c = piece->owner;
    struct fetch *fetch = &c->fetch;
    const struct catch_up_data *data = &piece->data;
    piece->used = false;
    if (fetch->phase != FETCH_STORE && fetch->phase != FETCH_JOURNAL)
        return; /* failed meanwhile */
    if (piece->status != STATUS_OK) {
        fail(c, piece->status,
             fetch->build.text[0] != '\0' ? fetch->build.text : "a piece came out of order");
        return;
    }
    memcpy(fetch->check, piece->check, sizeof fetch->check);
    if (data->what == CATCH_UP_STORE) {
        fetch->bytes_done += data->size;
        headway(c);
    } else {
        if (piece->last_index > fetch->index)
            headway(c);
        fetch->index = piece->last_index;
        fetch->term = piece->last_term;
        if (fetch->needed_index < data->needed_index)
            fetch->needed_index = data->needed_index;
        fetch->at_end = data->at_end != 0;
        if (fetch->at_end)
            fetch->poll_ns = catch_up_now_ns(c) + FETCH_POLL_NS;
    }
    report_progress(c);
    go_on(c);
}

static void control_done(struct catch_up_task *task)
{
    struct fetch *fetch = (struct fetch *)(void *)task; /* first member */
    struct catch_up *c = fetch->owner;
    if (fetch->phase == FETCH_DISCARDING) {
        if (fetch->work == FETCH_WORK_DISCARD)
            discarded(c);
        else
            begin_discard(c);
        return;
    }
    headway(c);
    if (fetch->status != STATUS_OK) {
        fail(c, fetch->status, fetch->build.text);
        return;
    }
    switch (fetch->work) {
    case FETCH_WORK_STORE_BEGIN:
    case FETCH_WORK_JOURNAL_BEGIN:
        go_on(c);
        return;
    case FETCH_WORK_STORE_END:
        begin_journal(c);
        return;
    case FETCH_WORK_END:
        finished(c);
        return;
    case FETCH_WORK_DISCARD:
        invariant_values(false, fetch->work, fetch->phase);
        return;
    }
}

void fetch_link(struct catch_up *c, uint64_t peer, bool up)
{
    struct fetch *fetch = &c->fetch;
    if (fetch->phase == FETCH_IDLE || peer != fetch->server)
        return;
    if (!up) {
        fetch->connected = false;
        fetch->asked = 0;
        fetch->lost_ns = catch_up_now_ns(c);
    } else if (fetch->phase == FETCH_OPENING && !disk_works(fetch)) {
        send_open(c);
    }
    go_on(c);
}

/* ---- time ---- */

static bool waits_for_server(const struct fetch *fetch)
{
    return (fetch->phase == FETCH_OPENING || fetch->phase == FETCH_STORE ||
            fetch->phase == FETCH_JOURNAL) &&
           !disk_works(fetch);
}

void fetch_process(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    const uint64_t now = catch_up_now_ns(c);
    if (c->stopping)
        return;
    if (waits_for_server(fetch) && now - fetch->progress_ns >= CATCH_UP_SILENCE_NS) {
        fail(c, STATUS_DEADLINE, "no headway for 30 s");
        return;
    }
    if (fetch->phase == FETCH_OPENING && !disk_works(fetch) && now >= fetch->retry_ns)
        send_open(c);
    if (fetch->connected && now >= fetch->alive_ns)
        (void)send_read(c, CATCH_UP_NOTHING, 0); /* a cut will be told */
    go_on(c);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t fetch_next_ns(const struct catch_up *c)
{
    const struct fetch *fetch = &c->fetch;
    uint64_t next = UINT64_MAX;
    if (c->stopping)
        return next;
    if (waits_for_server(fetch))
        next = sooner(next, fetch->progress_ns + CATCH_UP_SILENCE_NS);
    if (fetch->phase == FETCH_OPENING && !disk_works(fetch))
        next = sooner(next, fetch->retry_ns);
    if (fetch->connected)
        next = sooner(next, fetch->alive_ns);
    if (fetch->phase == FETCH_JOURNAL && fetch->connected && fetch->asked == 0 &&
        !disk_works(fetch))
        next = sooner(next, fetch->at_end ? fetch->poll_ns : fetch->retry_ns);
    if (fetch->phase == FETCH_STORE && fetch->connected && fetch->asked == 0 && !disk_works(fetch))
        next = sooner(next, fetch->retry_ns);
    return next;
}
