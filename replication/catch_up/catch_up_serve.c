/*
 * The leader's half of catch-up on the loop: sessions, what they are asked, how fast they answer.
 *
 * The peer pulls: nothing is sent that was not asked for, one piece at a time is in memory per
 * session, and all sessions together read no faster than catch_up_read_rate() says, because the
 * same loop encrypts what leaves and serves the clients. A session outlives its connection by
 * CATCH_UP_SILENCE_NS, so that a cut costs only what was on its way: the peer comes back with the
 * place and the chain that it verified, and we look for both among the places passed lately.
 *
 * A session's fields change hands with its task (see the header): while the task is queued the loop
 * only notes what is to happen next (end_asked, resume_asked, reads).
 *
 * What is passed on is committed and synced here: it stays true whoever leads, so a session goes on
 * when we lose the leadership.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

static void serve_go(struct serve_session *session);
static void serve_done(struct catch_up_task *task);

void serve_init(struct catch_up *c)
{
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        c->sessions[i].task = (struct catch_up_task){.run = serve_run, .done = serve_done};
        c->sessions[i].owner = c;
    }
}

void serve_deinit(struct catch_up *c)
{
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        serve_close_files(&c->sessions[i]);
        free(c->sessions[i].message);
        c->sessions[i].message = NULL;
    }
}

/* ---- sending ---- */

static void send_opened(struct serve_session *session)
{
    const struct checkpoint_meta *meta = &session->info.meta;
    const bool whole = session->work != SERVE_WORK_FROM;
    struct catch_up_opened opened = {
        .status = STATUS_OK,
        .session = session->id,
        .store_size = session->info.size,
        .index = meta->index,
        .term = meta->term,
        .configuration_size = whole ? meta->configuration_size : 0,
        .configuration = meta->configuration,
    };
    memcpy(opened.head, meta->head, sizeof opened.head);
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_opened_encode(&opened, message);
    /* Lost with its connection: the peer asks again. */
    (void)catch_up_send(session->owner, session->peer, TRANSPORT_BULK, message, size);
}

static void refuse(struct catch_up *c, uint64_t peer, enum status status)
{
    const struct catch_up_opened opened = {.status = (uint32_t)status};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_opened_encode(&opened, message);
    (void)catch_up_send(c, peer, TRANSPORT_BULK, message, size); /* as above */
}

static void send_close(struct serve_session *session, enum status status)
{
    const struct catch_up_close close = {.session = session->id, .status = (uint32_t)status};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_close_encode(&close, message);
    (void)catch_up_send(session->owner, session->peer, TRANSPORT_BULK, message,
                        size); /* as above */
}

/* The piece in `message`; it waits there when the connection has no room. */
static void send_piece(struct serve_session *session)
{
    const enum status status = catch_up_send(session->owner, session->peer, TRANSPORT_BULK,
                                             session->message, session->unsent);
    if (status != STATUS_BUSY)
        session->unsent = 0; /* sent; or there is no connection, and the peer will resume */
}

/* ---- the life of a session ---- */

static void forget(struct serve_session *session)
{
    free(session->message);
    session->message = NULL;
    session->phase = session->linger ? SERVE_LINGERING : SERVE_FREE;
    session->heard_ns = catch_up_now_ns(session->owner);
}

static void add_work(struct serve_session *session, enum serve_work work)
{
    session->work = work;
    catch_up_job_add(&session->owner->job, &session->task);
}

/* Everything it holds is given back; at once, or after the work in hand. */
static void end_session(struct serve_session *session, bool linger)
{
    if (session->phase != SERVE_OPENING && session->phase != SERVE_OPEN)
        return;
    session->linger = linger;
    session->read_count = 0;
    session->unsent = 0;
    if (session->task.queued) {
        session->end_asked = true;
        return;
    }
    session->phase = SERVE_ENDING;
    if (!session->owner->stopping)
        add_work(session, SERVE_WORK_END);
}

static struct serve_session *find_peer(struct catch_up *c, uint64_t peer)
{
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++)
        if (c->sessions[i].phase != SERVE_FREE && c->sessions[i].peer == peer)
            return &c->sessions[i];
    return NULL;
}

static struct serve_session *find_session(struct catch_up *c, uint64_t peer, uint64_t id)
{
    struct serve_session *session = find_peer(c, peer);
    return session != NULL && session->id == id && session->phase == SERVE_OPEN &&
                   !session->end_asked
               ? session
               : NULL;
}

/* A free place, or one whose only use is to keep journal for a peer that has gone on. */
static struct serve_session *find_place(struct catch_up *c)
{
    struct serve_session *place = NULL;
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        struct serve_session *session = &c->sessions[i];
        if (session->phase == SERVE_FREE)
            return session;
        if (session->phase == SERVE_LINGERING &&
            (place == NULL || session->heard_ns < place->heard_ns))
            place = session;
    }
    return place;
}

static uint64_t draw_id(struct catch_up *c)
{
    uint64_t id = 0;
    while (id == 0)
        c->options.environment->random(c->options.environment->context, &id, sizeof id);
    return id;
}

static uint64_t choose_hold(struct catch_up *c, const struct catch_up_open *open,
                            uint64_t watermark)
{
    if (open->want == CATCH_UP_FROM)
        return open->index;
    if (c->options.store == NULL)
        return UINT64_MAX; /* it will be refused */
    struct checkpoint_stats stats;
    checkpoint_stats(c->options.store, &stats);
    if (open->kind == MEMBER_WITNESS && watermark < stats.durable_index)
        return watermark;
    return stats.durable_index;
}

/* A data node has to apply what it lacks: with more of it than there is in our store, it is better
 * served with a copy of that, and one without any state sooner. open->offset is the index that it
 * gets to by itself. But one that has just got a copy goes on behind it, however much was written
 * meanwhile: the next copy would end no better. */
static bool is_too_far(struct catch_up *c, uint64_t from, const struct catch_up_open *open,
                       uint64_t last)
{
    if (open->want != CATCH_UP_FROM || open->kind != MEMBER_DATA || c->options.store == NULL)
        return false;
    const struct serve_session *before = find_peer(c, from);
    if (before != NULL && before->phase == SERVE_LINGERING && before->hold_index <= open->index)
        return false;
    struct checkpoint_stats stats;
    checkpoint_stats(c->options.store, &stats);
    uint64_t most =
        stats.bytes_used > c->options.tail_bytes_max ? stats.bytes_used : c->options.tail_bytes_max;
    if (open->offset == 0)
        most = c->options.tail_bytes_max / SERVE_TAIL_SHARE_EMPTY;
    return open->offset + 1 < journal_tail(c->options.journal, last, most);
}

static void begin_session(struct serve_session *session, uint64_t from,
                          const struct catch_up_open *open)
{
    struct catch_up *c = session->owner;
    struct catch_up_facts facts;
    struct journal_position position;
    c->options.facts(c->options.context, &facts);
    journal_position(c->options.journal, &position);
    if (open->want == CATCH_UP_FROM && open->index > facts.commit_index) {
        refuse(c, from, STATUS_STORE_AHEAD); /* not known to be of our history, or not yet */
        return;
    }
    if (open->want == CATCH_UP_FROM && open->index > position.synced_index) {
        refuse(c, from, STATUS_BUSY); /* soon */
        return;
    }
    if (is_too_far(c, from, open,
                   facts.commit_index < position.synced_index ? facts.commit_index
                                                              : position.synced_index)) {
        refuse(c, from, STATUS_NOT_FOUND);
        return;
    }
    *session = (struct serve_session){
        .task = {.run = serve_run, .done = serve_done},
        .owner = c,
        .phase = SERVE_OPENING,
        .id = draw_id(c),
        .peer = from,
        .kind = (enum member_kind)open->kind,
        .hold_index = choose_hold(c, open, facts.watermark_index),
        .heard_ns = catch_up_now_ns(c),
        .open = *open,
        .watermark_index = facts.watermark_index,
        .journal_anchor = {.index = position.anchor_index, .term = position.anchor_term},
    };
    session->message = malloc(CATCH_UP_DATA_MESSAGE_SIZE);
    /* Of the anchor nothing is read: its head is in memory. */
    if (session->message == NULL || journal_head(c->options.journal, position.anchor_index,
                                                 session->journal_anchor.head) != STATUS_OK) {
        refuse(c, from, STATUS_NO_MEMORY);
        forget(session);
        return;
    }
    add_work(session, open->want == CATCH_UP_FROM ? SERVE_WORK_FROM : SERVE_WORK_WHOLE);
}

/* Back to a place that the peer has verified. The task is not queued. */
static void resume(struct serve_session *session)
{
    const struct catch_up_open *open = &session->open;
    session->resume_asked = false;
    const uint32_t kept =
        session->mark_count < SERVE_MARKS_MAX ? session->mark_count : SERVE_MARKS_MAX;
    for (uint32_t i = 1; session->copy != NULL && i <= kept; i++) {
        const struct serve_mark *mark =
            &session->marks[(session->mark_count - i) % SERVE_MARKS_MAX];
        if (mark->offset != open->offset ||
            memcmp(mark->check, open->check, sizeof mark->check) != 0)
            continue;
        session->position = mark->offset;
        memcpy(session->check, mark->check, sizeof session->check);
        session->mark_count -= i - 1; /* what came behind it is read again, perhaps differently */
        session->bytes_done = session->position;
        send_opened(session);
        return;
    }
    refuse(session->owner, session->peer, STATUS_NOT_FOUND);
    end_session(session, false);
}

/* An offer holds for so long: more than a copy may be silent. */
#define OFFER_HOLDS_NS (2 * CATCH_UP_SILENCE_NS)

void serve_offered(struct catch_up *c, uint64_t peer)
{
    struct catch_up_offered *place = &c->offered[0];
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (c->offered[i].peer == peer) {
            place = &c->offered[i];
            break;
        }
        if (c->offered[i].at_ns < place->at_ns)
            place = &c->offered[i]; /* the oldest, or one never used */
    }
    *place = (struct catch_up_offered){.peer = peer, .at_ns = catch_up_now_ns(c)};
}

static bool was_offered(const struct catch_up *c, uint64_t peer)
{
    const uint64_t now = catch_up_now_ns(c);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (c->offered[i].peer == peer && now - c->offered[i].at_ns < OFFER_HOLDS_NS)
            return true;
    return false;
}

void serve_receive_open(struct catch_up *c, uint64_t from, const struct catch_up_open *open)
{
    if (c->stopping)
        return;
    if (find_peer(c, from) == NULL && !was_offered(c, from)) {
        refuse(c, from, STATUS_PERMISSION);
        return;
    }
    struct serve_session *session = find_peer(c, from);
    if (open->want == CATCH_UP_RESUME) {
        session = find_session(c, from, open->session);
        if (session == NULL) {
            refuse(c, from, STATUS_NOT_FOUND);
            return;
        }
        session->heard_ns = catch_up_now_ns(c);
        session->read_count = 0;
        session->unsent = 0;
        if (session->task.queued) {
            session->resume_asked = true;
            session->open_next = *open;
            return;
        }
        session->open = *open;
        resume(session);
        return;
    }
    if (session != NULL && session->phase == SERVE_OPENING && !session->end_asked &&
        memcmp(&session->open, open, sizeof *open) == 0)
        return; /* asked twice: its answer is on the way */
    if (session != NULL && session->phase != SERVE_LINGERING) {
        end_session(session, false); /* the peer has begun anew */
        refuse(c, from, STATUS_BUSY);
        return;
    }
    if (session == NULL)
        session = find_place(c);
    if (session == NULL)
        refuse(c, from, STATUS_BUSY);
    else
        begin_session(session, from, open);
}

/* ---- reading ---- */

void serve_receive_read(struct catch_up *c, uint64_t from, const struct catch_up_read *read)
{
    struct serve_session *session = find_session(c, from, read->session);
    if (session == NULL || c->stopping) {
        const struct catch_up_close close = {.session = read->session, .status = STATUS_NOT_FOUND};
        uint8_t message[CATCH_UP_MESSAGE_SIZE];
        const size_t size = catch_up_close_encode(&close, message);
        (void)catch_up_send(c, from, TRANSPORT_BULK, message, size); /* its silence ends it, too */
        return;
    }
    session->heard_ns = catch_up_now_ns(c);
    if (read->what == CATCH_UP_NOTHING || session->resume_asked)
        return;
    if (session->read_count == SERVE_READS_MAX) { /* more than any of ours asks for */
        send_close(session, STATUS_INVALID);
        end_session(session, false);
        return;
    }
    session->reads[session->read_count++] = *read;
    serve_go(session);
}

/* The next piece, if there is nothing in the way. */
static void serve_go(struct serve_session *session)
{
    struct catch_up *c = session->owner;
    if (session->phase != SERVE_OPEN || session->task.queued || session->unsent > 0 ||
        session->read_count == 0 || c->stopping || catch_up_now_ns(c) < c->serve_next_ns)
        return;
    struct catch_up_facts facts;
    struct journal_position position;
    c->options.facts(c->options.context, &facts);
    journal_position(c->options.journal, &position);
    session->read = session->reads[0];
    session->read_count--;
    memmove(session->reads, session->reads + 1, session->read_count * sizeof session->reads[0]);
    session->limit_index =
        facts.commit_index < position.synced_index ? facts.commit_index : position.synced_index;
    session->data = (struct catch_up_data){
        .commit_index = facts.commit_index,
        .needed_index = catch_up_needed_index(c, &facts),
    };
    add_work(session, SERVE_WORK_READ);
}

static void opened(struct serve_session *session)
{
    struct catch_up *c = session->owner;
    if (session->status != STATUS_OK) {
        refuse(c, session->peer, session->status);
        session->phase = SERVE_OPEN;
        end_session(session, false);
        return;
    }
    session->phase = SERVE_OPEN;
    session->index = session->info.meta.index;
    session->store_size = session->info.size;
    if (session->info.meta.index < session->hold_index)
        session->hold_index = session->info.meta.index;
    catch_up_event(c, "catch_up_serving", "a member that fell behind is brought up to date",
                   session->peer, session->info.size);
    send_opened(session);
}

static void piece_read(struct serve_session *session)
{
    struct catch_up *c = session->owner;
    if (session->status != STATUS_OK) {
        catch_up_event(c, "catch_up_ended",
                       "it cannot be served any more: what it needs is gone, "
                       "cannot be read, or was asked for out of order",
                       session->peer, session->status);
        send_close(session, session->status);
        end_session(session, false);
        return;
    }
    const uint64_t now = catch_up_now_ns(c);
    if (c->serve_next_ns < now)
        c->serve_next_ns = now;
    c->serve_next_ns += session->data.size * 1000000000ull / c->serve_rate;
    if (session->data.what == CATCH_UP_STORE)
        session->bytes_done = session->position;
    else
        session->index = session->read_index;
    struct catch_up_facts facts;
    c->options.facts(c->options.context, &facts);
    session->data.leader_term = facts.leads ? facts.term : 0;
    session->unsent = catch_up_data_encode(&session->data, session->message);
    if (session->resume_asked)
        session->unsent = 0; /* asked for on a connection that is gone */
    else
        send_piece(session);
    serve_go(session);
}

static void serve_done(struct catch_up_task *task)
{
    struct serve_session *session = (struct serve_session *)(void *)task; /* first member */
    if (session->work == SERVE_WORK_END) {
        forget(session);
        return;
    }
    if (session->end_asked) {
        session->end_asked = false;
        end_session(session, session->linger);
        return;
    }
    if (session->work == SERVE_WORK_READ)
        piece_read(session);
    else
        opened(session);
    if (session->resume_asked && session->phase == SERVE_OPEN && !session->task.queued) {
        session->open = session->open_next;
        resume(session);
    }
}

/* ---- ends and time ---- */

void serve_receive_close(struct catch_up *c, uint64_t from, const struct catch_up_close *close)
{
    struct serve_session *session = find_session(c, from, close->session);
    if (session == NULL)
        return;
    const bool good = close->status == STATUS_OK;
    catch_up_event(c, good ? "catch_up_served" : "catch_up_ended",
                   good ? "the member has what it lacked" : "the member gave up", from,
                   good ? session->index : close->status);
    end_session(session, good);
}

void serve_peer_done(struct catch_up *c, uint64_t peer, uint64_t index)
{
    struct serve_session *session = find_peer(c, peer);
    if (session != NULL && session->phase != SERVE_LINGERING)
        end_session(session, index > 0);
}

void serve_link_lost(struct catch_up *c, uint64_t peer)
{
    struct serve_session *session = find_peer(c, peer);
    if (session == NULL || session->phase != SERVE_OPEN)
        return;
    session->read_count = 0; /* asked for on a connection that is gone */
    session->unsent = 0;
}

void serve_writable(struct catch_up *c, uint64_t peer)
{
    struct serve_session *session = find_peer(c, peer);
    if (session == NULL || session->unsent == 0)
        return;
    send_piece(session);
    serve_go(session);
}

void serve_process(struct catch_up *c)
{
    const uint64_t now = catch_up_now_ns(c);
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        struct serve_session *session = &c->sessions[i];
        if (session->phase == SERVE_OPEN && !session->end_asked &&
            now - session->heard_ns >= CATCH_UP_SILENCE_NS) {
            catch_up_event(c, "catch_up_ended", "the member was not heard of for 30 s",
                           session->peer, STATUS_DEADLINE);
            end_session(session, false);
        }
        if (session->phase == SERVE_LINGERING && now - session->heard_ns >= SERVE_LINGER_NS)
            session->phase = SERVE_FREE;
        serve_go(session);
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t serve_next_ns(const struct catch_up *c)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        const struct serve_session *session = &c->sessions[i];
        if (session->phase == SERVE_OPEN && !session->end_asked)
            next = sooner(next, session->heard_ns + CATCH_UP_SILENCE_NS);
        if (session->phase == SERVE_LINGERING)
            next = sooner(next, session->heard_ns + SERVE_LINGER_NS);
        if (session->phase == SERVE_OPEN && session->read_count > 0 && session->unsent == 0 &&
            !session->task.queued)
            next = sooner(next, c->serve_next_ns);
    }
    return next;
}
