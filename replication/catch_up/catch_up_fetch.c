/*
 * The peer's half of catch-up on the loop: what comes in, what is asked for next, how it ends.
 * Where it begins is catch_up_open.c.
 *
 * Entries that follow our own are catch_up_feed.c's. Where they cannot, files are made in two
 * parts, a store, and a journal that need not hold more than what it begins with. `part` says which
 * one, and with it how to go on after a cut: half a store belongs to the session that it was read
 * from (CATCH_UP_RESUME); a journal can be continued by anybody who has our last entry with the
 * same chain head (CATCH_UP_FROM), so a new leader takes over without anything being thrown away. A
 * store and a journal of different servers fit, too: both are committed history, and the chain says
 * that it is the same one.
 *
 * At most FETCH_WINDOW pieces are on their way or being written; each is asked for when one before
 * it is on disk. Every wait has its end: without headway for CATCH_UP_SILENCE_NS, not counting our
 * own disk's time, all of it is thrown away, and the next offer begins anew.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void control_done(struct catch_up_task *task);
static void piece_done(struct catch_up_task *task);

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
        free(fetch->pieces[i].entries);
        fetch->pieces[i].bytes = NULL;
        fetch->pieces[i].entries = NULL;
        fetch->pieces[i].used = false;
    }
    hash_stream_destroy(fetch->hash);
    fetch->hash = NULL;
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

static bool pieces_are_checked(const struct fetch *fetch)
{
    bool any = false;
    for (uint32_t i = 0; i < FETCH_WINDOW; i++)
        any = any || fetch->pieces[i].task.queued;
    return any;
}

bool fetch_disk_works(const struct fetch *fetch)
{
    return fetch->control.queued || pieces_used(fetch) > 0;
}

void fetch_headway(struct catch_up *c)
{
    c->fetch.progress_ns = catch_up_now_ns(c);
}

void fetch_add_control(struct catch_up *c, enum fetch_work work)
{
    c->fetch.work = work;
    catch_up_job_add(&c->job, &c->fetch.control);
}

void fetch_send_done(struct catch_up *c, uint64_t to, uint64_t term, uint64_t index)
{
    const struct catch_up_done done = {.term = term, .index = index};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_done_encode(&done, message);
    (void)catch_up_send(c, to, TRANSPORT_CALLS, message, size); /* the offer is repeated */
}

void fetch_send_close(struct catch_up *c, enum status status)
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

void fetch_begin_discard(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_DISCARDING;
    fetch->discard_asked = fetch->control.queued;
    if (!fetch->discard_asked && !c->stopping)
        fetch_add_control(c, FETCH_WORK_DISCARD); /* behind the pieces in the queue */
}

void fetch_fail(struct catch_up *c, enum status status, const char *text)
{
    struct fetch *fetch = &c->fetch;
    catch_up_event(c, "catch_up_failed", text, fetch->server, status);
    fetch_send_close(c, status);
    fetch_send_done(c, fetch->server, fetch->offer_term, 0);
    fetch_begin_discard(c);
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
    if (position.last_index <= fetch->index || planted(PLANTED_COPY_REPLACES_TAIL))
        return true;
    if (journal_term(c->options.journal, fetch->index, &term) != STATUS_OK)
        return false;           /* the whole copy lies before our anchor */
    return term != fetch->term; /* our tail belongs to a history that was not committed */
}

static void finished(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch_send_close(c, STATUS_OK);
    if (!fetch_may_replace(c)) {
        catch_up_event(c, "catch_up_done", "the journal in use holds more than the copy: it stays",
                       fetch->index, (catch_up_now_ns(c) - fetch->started_ns) / CATCH_UP_NS_PER_MS);
        fetch_send_done(c, fetch->server, fetch->offer_term, fetch->index);
        fetch_begin_discard(c);
        return;
    }
    fetch->phase = FETCH_READY;
    /* [safety] Servers pass on committed entries only, and our own were compared with theirs. */
    fetch->build.to.committed_index = fetch->index;
    fetch->build.to.committed_term = fetch->term;
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

static enum status send_read(struct catch_up *c, enum catch_up_what what, uint64_t position)
{
    const struct catch_up_read read = {
        .session = c->fetch.session, .what = what, .position = position};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_read_encode(&read, message);
    c->fetch.alive_ns = catch_up_now_ns(c) + FETCH_ALIVE_NS;
    return catch_up_send(c, c->fetch.server, TRANSPORT_BULK, message, size);
}

/* What came is as much as is to be in memory at once. (A witness takes no state from it, and drops
 * from memory what it noted as committed.) */
static bool is_full(const struct fetch *fetch)
{
    return fetch->part == FETCH_PART_JOURNAL && fetch->owner->options.store != NULL &&
           fetch->ahead_bytes >= fetch->owner->options.ahead_bytes_max;
}

/* The new journal can take its place. It need not hold more than what it begins behind: what
 * follows is taken when it counts, without being read once more. (Behind nothing the same would
 * begin again.) */
static bool is_complete(const struct catch_up *c)
{
    const struct fetch *fetch = &c->fetch;
    if (fetch->phase != FETCH_JOURNAL || pieces_used(fetch) > 0)
        return false;
    return (fetch->anchor.index > 0 && fetch_may_replace(c)) || is_full(fetch) ||
           (fetch->at_end && fetch->index >= fetch->needed_index);
}

/* As many pieces as the window allows. */
void fetch_ask(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    if (is_full(fetch))
        return;
    const uint32_t window = fetch->phase != FETCH_STORE && fetch->at_end ? 1 : FETCH_WINDOW;
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

/* ---- pieces ---- */

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
    const bool in_hand =
        fetch->phase == FETCH_STORE || fetch->phase == FETCH_JOURNAL || fetch->phase == FETCH_FEED;
    const bool expected = (fetch->phase == FETCH_STORE && data->what == CATCH_UP_STORE) ||
                          (fetch->phase != FETCH_STORE && data->what == CATCH_UP_JOURNAL);
    if (!in_hand || !expected || from != fetch->server || !fetch->connected ||
        data->session != fetch->session || fetch->asked == 0 || c->stopping)
        return; /* of a session or a part that is over */
    struct fetch_piece *piece = free_piece(fetch);
    invariant(piece != NULL); /* the window: asked + used is at most FETCH_WINDOW */
    fetch->asked--;
    piece->used = true;
    piece->feeds = fetch->phase == FETCH_FEED;
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
        fetch_fail(c, (enum status)close->status, "the leader ended it");
        return;
    case FETCH_FEED:
    case FETCH_VERIFYING:
    case FETCH_JOURNAL:
        fetch->connected = false; /* asked for anew, behind what we have */
        fetch_go_on(c);
        return;
    default:
        return;
    }
}

/* ---- going on ---- */

void fetch_report_progress(struct catch_up *c)
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

void fetch_go_on(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    if (c->stopping || fetch->control.queued)
        return;
    if (fetch->phase == FETCH_STORE && fetch->bytes_done == fetch->bytes_total) {
        fetch->phase = FETCH_VERIFYING;
        fetch_add_control(c, FETCH_WORK_STORE_END);
    } else if (is_complete(c)) {
        fetch->phase = FETCH_ENDING;
        fetch_add_control(c, FETCH_WORK_END);
    } else if (fetch->phase == FETCH_FEED) {
        feed_go_on(c);
    } else if (fetch->phase == FETCH_STORE || fetch->phase == FETCH_JOURNAL) {
        if (fetch->connected)
            fetch_ask(c);
        else if (pieces_used(fetch) == 0)
            fetch_reopen(c);
    }
}

static void piece_done(struct catch_up_task *task)
{
    struct fetch_piece *piece = (struct fetch_piece *)(void *)task; /* first member */
    struct catch_up *c = piece->owner;
    struct fetch *fetch = &c->fetch;
    const struct catch_up_data *data = &piece->data;
    piece->used = false;
    if (fetch->phase == FETCH_FEED) {
        feed_piece_done(c, piece);
        return;
    }
    if (fetch->phase != FETCH_STORE && fetch->phase != FETCH_JOURNAL)
        return; /* failed meanwhile */
    if (piece->status != STATUS_OK) {
        fetch_fail(c, piece->status,
                   fetch->build.text[0] != '\0' ? fetch->build.text : "a piece came out of order");
        return;
    }
    memcpy(fetch->check, piece->check, sizeof fetch->check);
    if (data->what == CATCH_UP_STORE) {
        fetch->bytes_done += data->size;
        fetch_headway(c);
    } else {
        if (piece->last_index > fetch->index)
            fetch_headway(c);
        fetch->ahead_bytes += data->size;
        fetch->index = piece->last_index;
        fetch->term = piece->last_term;
        if (fetch->needed_index < data->needed_index)
            fetch->needed_index = data->needed_index;
        fetch->at_end = data->at_end != 0;
        if (fetch->at_end)
            fetch->poll_ns = catch_up_now_ns(c) + FETCH_POLL_NS;
    }
    fetch_report_progress(c);
    fetch_go_on(c);
}

void fetch_begin_journal(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_JOURNAL;
    fetch->part = FETCH_PART_JOURNAL;
    fetch->index = fetch->anchor.index;
    fetch->term = fetch->anchor.term;
    memcpy(fetch->check, fetch->anchor.head, sizeof fetch->check);
    fetch_add_control(c, FETCH_WORK_JOURNAL_BEGIN);
}

static void control_done(struct catch_up_task *task)
{
    struct fetch *fetch = (struct fetch *)(void *)task; /* first member */
    struct catch_up *c = fetch->owner;
    if (fetch->phase == FETCH_DISCARDING) {
        if (fetch->work == FETCH_WORK_DISCARD)
            discarded(c);
        else
            fetch_begin_discard(c);
        return;
    }
    fetch_headway(c);
    if (fetch->status != STATUS_OK) {
        fetch_fail(c, fetch->status, fetch->build.text);
        return;
    }
    switch (fetch->work) {
    case FETCH_WORK_STORE_BEGIN:
    case FETCH_WORK_JOURNAL_BEGIN:
        fetch_go_on(c);
        return;
    case FETCH_WORK_STORE_END:
        fetch_begin_journal(c);
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
    } else if (fetch->phase == FETCH_OPENING && !fetch_disk_works(fetch)) {
        fetch_send_open(c);
    }
    fetch_go_on(c);
}

/* ---- time ---- */

/* Or, in FEED, for room: what is taken then is not our disk's work either. */
static bool waits_for_server(const struct fetch *fetch)
{
    if (fetch->phase == FETCH_FEED)
        return !pieces_are_checked(fetch);
    return (fetch->phase == FETCH_OPENING || fetch->phase == FETCH_STORE ||
            fetch->phase == FETCH_JOURNAL) &&
           !fetch_disk_works(fetch);
}

void fetch_process(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    const uint64_t now = catch_up_now_ns(c);
    if (c->stopping)
        return;
    if (waits_for_server(fetch) && now - fetch->progress_ns >= CATCH_UP_SILENCE_NS) {
        fetch_fail(c, STATUS_DEADLINE, "no headway for 30 s");
        return;
    }
    if (fetch->phase == FETCH_OPENING && !fetch_disk_works(fetch) && now >= fetch->retry_ns)
        fetch_send_open(c);
    if (fetch->connected && now >= fetch->alive_ns)
        (void)send_read(c, CATCH_UP_NOTHING, 0); /* a cut will be told */
    fetch_go_on(c);
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
    if (fetch->phase == FETCH_OPENING && !fetch_disk_works(fetch))
        next = sooner(next, fetch->retry_ns);
    if (fetch->connected)
        next = sooner(next, fetch->alive_ns);
    if (fetch->phase == FETCH_FEED && fetch->feed_count > 0)
        next = sooner(next, fetch->retry_ns);
    if ((fetch->phase == FETCH_JOURNAL || fetch->phase == FETCH_FEED) && fetch->connected &&
        fetch->asked == 0 && !fetch_disk_works(fetch))
        next = sooner(next, is_full(fetch)  ? catch_up_now_ns(c) + FETCH_POLL_NS
                            : fetch->at_end ? fetch->poll_ns
                                            : fetch->retry_ns);
    if (fetch->phase == FETCH_STORE && fetch->connected && fetch->asked == 0 &&
        !fetch_disk_works(fetch))
        next = sooner(next, fetch->retry_ns);
    return next;
}
