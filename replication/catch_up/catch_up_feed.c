/*
 * Entries that follow our own last one: no files are built for them, they go into the log in use.
 *
 *     DATA ──► job: decoded, chain head compared ──► in order ──► consensus_feed() ──► journal,
 *                                                                                     ledger
 *
 * Our last entry was found in the server's history before the first piece was asked for, so all of
 * ours up to it are the server's, too, and what follows them can be taken like entries that the
 * leader sends from memory: the member appends, applies and acknowledges them while more comes, and
 * nothing has to be opened again.
 *
 * [safety] To libraft such a piece is a word of the leader of its term. So only a server that said
 * with this very piece that it leads, and which consensus follows in that term, may say it; see
 * consensus_feed.c. Whatever is in the way of that, a cut, another leader, a log that ends
 * elsewhere, ends the copy without a word of failure: what was taken is ours, the leader repeats
 * its offer every second, and the next copy begins behind what we then have.
 *
 * A piece for which there is no room waits, in order, and holds its place in the window: so nothing
 * more is asked for than can be taken. Room is made by the journal and the ledger; without any for
 * CATCH_UP_SILENCE_NS the copy is given up.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"
#include "storage/journal_format.h"

#include <string.h>

/* When there is room again nobody tells, but for the turns of the loop that make it. */
#define FEED_RETRY_NS (5 * CATCH_UP_NS_PER_MS)

/* ---- the job ---- */

enum status feed_check_piece(struct fetch_piece *piece)
{
    struct fetch *fetch = &piece->owner->fetch;
    struct feed_tail *tail = &fetch->tail;
    uint8_t head[JOURNAL_HASH_SIZE];
    if (piece->data.position != tail->index ||
        !catch_up_entries_decode(piece->bytes, piece->data.size, tail->index, tail->term,
                                 piece->entries, &piece->entry_count)) {
        fetch->feed_text = "entries do not follow each other";
        return STATUS_CORRUPT;
    }
    memcpy(head, tail->head, sizeof head);
    for (uint32_t i = 0; i < piece->entry_count; i++)
        journal_chain(fetch->hash, head, &piece->entries[i], head);
    if (memcmp(head, piece->data.check, sizeof head) != 0) {
        fetch->feed_text = "the chain of the entries is not the leader's";
        return STATUS_CORRUPT;
    }
    piece->last_index = tail->index;
    piece->last_term = tail->term;
    if (piece->entry_count > 0) {
        piece->last_index = piece->entries[piece->entry_count - 1].index;
        piece->last_term = piece->entries[piece->entry_count - 1].term;
    }
    tail->index = piece->last_index;
    tail->term = piece->last_term;
    memcpy(tail->head, head, sizeof head);
    return STATUS_OK;
}

/* ---- the loop ---- */

void feed_begin(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    fetch->phase = FETCH_FEED;
    fetch->index = fetch->own_index;
    fetch->term = fetch->own_term;
    fetch->at_end = false;
    fetch->feed_first = fetch->feed_count = 0;
    fetch->feed_text = "";
    fetch->tail.index = fetch->own_index;
    fetch->tail.term = fetch->own_term;
    memcpy(fetch->tail.head, fetch->own_head, sizeof fetch->tail.head);
    fetch_go_on(c);
}

void feed_end(struct catch_up *c, const char *why)
{
    catch_up_event(c, "catch_up_ended", why, c->fetch.server, STATUS_UNAVAILABLE);
    fetch_send_close(c, STATUS_UNAVAILABLE);
    fetch_begin_discard(c);
}

static enum status feed_piece(struct catch_up *c, const struct fetch_piece *piece)
{
    const struct catch_up_feed feed = {
        .from = c->fetch.server,
        .term = piece->data.leader_term,
        .previous_index = c->fetch.index,
        .previous_term = c->fetch.term,
        .entries = piece->entries,
        .count = piece->entry_count,
    };
    return piece->entry_count == 0 ? STATUS_OK : c->options.feed(c->options.context, &feed);
}

static void fed(struct catch_up *c, struct fetch_piece *piece)
{
    struct fetch *fetch = &c->fetch;
    const struct catch_up_data *data = &piece->data;
    if (piece->last_index > fetch->index)
        fetch_headway(c);
    fetch->index = piece->last_index;
    fetch->term = piece->last_term;
    if (fetch->needed_index < data->needed_index)
        fetch->needed_index = data->needed_index;
    fetch->at_end = data->at_end != 0;
    if (fetch->at_end)
        fetch->poll_ns = catch_up_now_ns(c) + FETCH_POLL_NS;
    fetch_report_progress(c);
    piece->used = false;
    fetch->feed_first = (fetch->feed_first + 1) % FETCH_WINDOW;
    fetch->feed_count--;
}

/* As many of those that wait as there is room for. False: the copy has ended. */
static bool feed_waiting(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    while (fetch->feed_count > 0) {
        struct fetch_piece *piece = &fetch->pieces[fetch->feed_order[fetch->feed_first]];
        switch (feed_piece(c, piece)) {
        case STATUS_OK:
            fed(c, piece);
            continue;
        case STATUS_BUSY:
        case STATUS_NO_MEMORY:
            fetch->retry_ns = catch_up_now_ns(c) + FEED_RETRY_NS;
            return true;
        case STATUS_NOT_READY:
            feed_end(c, "whose entries these are leads no more: it goes on with the next offer");
            return false;
        case STATUS_NOT_FOUND:
            feed_end(c, "our log changed at its end: it goes on with the next offer");
            return false;
        case STATUS_CORRUPT:
            fetch_fail(c, STATUS_CORRUPT, "these cannot be entries of the leader's log");
            return false;
        default:
            return false; /* this node has failed, and knows */
        }
    }
    return true;
}

void feed_piece_done(struct catch_up *c, struct fetch_piece *piece)
{
    struct fetch *fetch = &c->fetch;
    if (piece->status != STATUS_OK) {
        fetch_fail(c, piece->status, fetch->feed_text);
        return;
    }
    invariant_values(fetch->feed_count < FETCH_WINDOW, fetch->feed_count, piece->last_index);
    fetch->feed_order[(fetch->feed_first + fetch->feed_count) % FETCH_WINDOW] =
        (uint32_t)(piece - fetch->pieces);
    fetch->feed_count++;
    piece->used = true; /* until it was taken */
    fetch_go_on(c);
}

static void finished(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    catch_up_event(c, "catch_up_done", "what was lacking is in the log", fetch->index,
                   (catch_up_now_ns(c) - fetch->started_ns) / CATCH_UP_NS_PER_MS);
    fetch_send_close(c, STATUS_OK);
    fetch_send_done(c, fetch->server, fetch->offer_term, fetch->index);
    fetch_begin_discard(c);
}

void feed_go_on(struct catch_up *c)
{
    struct fetch *fetch = &c->fetch;
    if (!feed_waiting(c))
        return;
    if (!fetch->connected) { /* what has come is taken yet */
        if (!fetch_disk_works(fetch))
            feed_end(c, "the connection broke: it goes on with the next offer");
        return;
    }
    if (fetch->at_end && fetch->index >= fetch->needed_index && fetch->feed_count == 0)
        finished(c);
    else
        fetch_ask(c);
}
