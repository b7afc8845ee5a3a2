/*
 * Both sides of catch-up put together: creation, messages to whom they concern, time.
 *
 *   catch_up_serve.c, catch_up_serve_job.c    what is read from here, on the loop and in the job
 *   catch_up_fetch.c, catch_up_fetch_job.c    what is copied to here
 *   catch_up_feed.c                           entries that go into the log in use
 *   catch_up_open.c                           where that begins, and goes on after a cut
 *   catch_up_build.c                          the files that a copy makes
 *   catch_up_switch.c                         the moment when they count
 *   catch_up_message.c                        bytes
 */
#include "replication/catch_up/catch_up_internal.h"
#include "replication/catch_up/pacing.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

uint64_t catch_up_now_ns(const struct catch_up *c)
{
    return c->options.environment->monotonic_ns(c->options.environment->context);
}

void catch_up_event(struct catch_up *c, const char *name, const char *text, uint64_t a, uint64_t b)
{
    notify_event(c->options.notify, name, text, a, b);
}

enum status catch_up_send(struct catch_up *c, uint64_t to, enum transport_lane lane,
                          const void *bytes, size_t size)
{
    const struct transport_part part = {.bytes = bytes, .size = size};
    return transport_send(c->options.transport, to, lane, &part, 1);
}

/* ---- life ---- */

enum status catch_up_create(const struct catch_up_options *options, struct catch_up **out)
{
    enum status status = catch_up_clean(options->environment, options->files, options->directory,
                                        &options->generation);
    if (status != STATUS_OK)
        return status;
    struct catch_up *c = calloc(1, sizeof *c);
    if (c == NULL)
        return STATUS_NO_MEMORY;
    c->options = *options;
    if (c->options.tail_bytes_max == 0)
        c->options.tail_bytes_max = SERVE_TAIL_BYTES_MAX;
    if (c->options.ahead_bytes_max == 0)
        c->options.ahead_bytes_max = FETCH_AHEAD_BYTES_MAX;
    c->job = (struct catch_up_job){
        .context = options->context,
        .wake_job = options->wake_job,
        .wake_loop = options->wake_loop,
    };
    status = catch_up_job_init(&c->job);
    if (status != STATUS_OK) {
        free(c);
        return status;
    }
    c->serve_rate = PACING_READ_MAX;
    serve_init(c);
    fetch_init(c);
    *out = c;
    return STATUS_OK;
}

void catch_up_destroy(struct catch_up *c)
{
    if (c == NULL)
        return;
    serve_deinit(c);
    fetch_deinit(c);
    catch_up_job_deinit(&c->job);
    free(c);
}

void catch_up_stop(struct catch_up *c)
{
    c->stopping = true;
    catch_up_job_stop(&c->job);
}

enum job_state catch_up_job_step(struct catch_up *c, uint64_t *out_wait_ns)
{
    return catch_up_job_run(&c->job, out_wait_ns);
}

/* ---- the leader's first and last word ---- */

/* libraft goes on behind an entry whose term it knows: one in memory. (Of the entry before the
 * first it knows none, and entry 1 it never sends behind a snapshot, even with it in memory: an
 * empty journal is always behind.) Nothing in memory: the last one is what its snapshot stands for.
 */
uint64_t catch_up_needed_index(const struct catch_up *c, const struct catch_up_facts *facts)
{
    struct journal_position position;
    journal_position(c->options.journal, &position);
    const uint64_t first = facts->log_first_index > 0 ? facts->log_first_index : 1;
    return first <= position.last_index ? first : position.last_index;
}

void catch_up_offer(struct catch_up *c, uint64_t peer)
{
    struct catch_up_facts facts;
    struct journal_position position;
    struct checkpoint_stats stats = {0};
    if (c->stopping)
        return;
    c->options.facts(c->options.context, &facts);
    journal_position(c->options.journal, &position);
    if (c->options.store != NULL)
        checkpoint_stats(c->options.store, &stats);
    struct catch_up_offer offer = {
        .term = facts.term,
        .log_index = catch_up_needed_index(c, &facts),
        .durable_index = stats.durable_index,
    };
    /* The log in memory may reach back further than the journal. */
    if (offer.log_index < position.anchor_index)
        offer.log_index = position.anchor_index;
    if (journal_term(c->options.journal, offer.log_index, &offer.log_term) != STATUS_OK)
        return; /* not in the journal yet; consensus asks again */
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_offer_encode(&offer, message);
    serve_offered(c, peer);
    (void)catch_up_send(c, peer, TRANSPORT_CALLS, message, size); /* consensus asks again */
}

static void tell_installed(struct catch_up *c)
{
    if (c->installed.leader == 0)
        return;
    const struct catch_up_done done = {.index = c->installed.index};
    uint8_t message[CATCH_UP_MESSAGE_SIZE];
    const size_t size = catch_up_done_encode(&done, message);
    if (catch_up_send(c, c->installed.leader, TRANSPORT_CALLS, message, size) == STATUS_OK)
        c->installed.leader = 0;
}

void catch_up_installed(struct catch_up *c, const struct catch_up_install *install)
{
    c->installed = *install;
    tell_installed(c);
}

/* ---- messages ---- */

static void receive_calls(struct catch_up *c, uint64_t from, uint16_t type, const uint8_t *bytes,
                          size_t size)
{
    struct catch_up_offer offer;
    struct catch_up_done done;
    if (type == MESSAGE_CATCH_UP_OFFER && catch_up_offer_decode(bytes, size, &offer))
        fetch_receive_offer(c, from, &offer);
    if (type == MESSAGE_CATCH_UP_DONE && catch_up_done_decode(bytes, size, &done)) {
        serve_peer_done(c, from, done.index);
        c->options.caught_up(c->options.context, from, done.index);
    }
}

static void receive_bulk(struct catch_up *c, uint64_t from, uint16_t type, const uint8_t *bytes,
                         size_t size)
{
    struct catch_up_open open;
    struct catch_up_opened opened;
    struct catch_up_read read;
    struct catch_up_data data;
    struct catch_up_close close;
    const uint8_t *piece;
    if (type == MESSAGE_CATCH_UP_OPEN && catch_up_open_decode(bytes, size, &open))
        serve_receive_open(c, from, &open);
    if (type == MESSAGE_CATCH_UP_OPENED && catch_up_opened_decode(bytes, size, &opened))
        fetch_receive_opened(c, from, &opened);
    if (type == MESSAGE_CATCH_UP_READ && catch_up_read_decode(bytes, size, &read))
        serve_receive_read(c, from, &read);
    if (type == MESSAGE_CATCH_UP_DATA && catch_up_data_decode(bytes, size, &data, &piece))
        fetch_receive_data(c, from, &data, piece);
    if (type == MESSAGE_CATCH_UP_CLOSE && catch_up_close_decode(bytes, size, &close)) {
        serve_receive_close(c, from, &close);
        fetch_receive_close(c, from, &close);
    }
}

void catch_up_receive(struct catch_up *c, uint64_t from, enum transport_lane lane,
                      const void *bytes, size_t size)
{
    struct message_header header;
    if (size < sizeof header)
        return;
    memcpy(&header, bytes, sizeof header);
    if (header.size != size || header.reserved_0 != 0)
        return;
    if (lane == TRANSPORT_CALLS)
        receive_calls(c, from, header.type, bytes, size);
    else if (lane == TRANSPORT_BULK)
        receive_bulk(c, from, header.type, bytes, size);
}

void catch_up_link(struct catch_up *c, uint64_t peer, enum transport_lane lane, bool up)
{
    if (lane == TRANSPORT_CALLS && up && peer == c->installed.leader)
        tell_installed(c);
    if (lane != TRANSPORT_BULK)
        return;
    if (!up)
        serve_link_lost(c, peer);
    fetch_link(c, peer, up);
}

void catch_up_writable(struct catch_up *c, uint64_t peer, enum transport_lane lane)
{
    if (lane != TRANSPORT_BULK)
        return;
    serve_writable(c, peer);
    fetch_process(c);
}

/* ---- time ---- */

void catch_up_process(struct catch_up *c)
{
    if (c->stopping)
        return;
    catch_up_job_process(&c->job);
    serve_process(c);
    fetch_process(c);
}

uint64_t catch_up_next_ns(const struct catch_up *c)
{
    if (c->stopping)
        return UINT64_MAX;
    const uint64_t a = serve_next_ns(c);
    const uint64_t b = fetch_next_ns(c);
    return a < b ? a : b;
}

uint64_t catch_up_hold_index(const struct catch_up *c)
{
    uint64_t hold = UINT64_MAX;
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        const struct serve_session *session = &c->sessions[i];
        if (session->phase != SERVE_FREE && session->hold_index < hold)
            hold = session->hold_index;
    }
    return hold;
}

void catch_up_read_rate(struct catch_up *c, uint64_t bytes_per_second)
{
    invariant(bytes_per_second > 0);
    c->serve_rate = bytes_per_second;
}

/* ---- changing over ---- */

bool catch_up_is_ready(const struct catch_up *c)
{
    return c->fetch.phase == FETCH_READY;
}

bool catch_up_take(struct catch_up *c, struct catch_up_install *out)
{
    if (!catch_up_is_ready(c) || !fetch_may_replace(c))
        return false;
    c->fetch.phase = FETCH_TAKEN;
    *out = c->fetch.install;
    return true;
}

/* ---- watching ---- */

void catch_up_own(const struct catch_up *c, struct catch_up_progress *out)
{
    static const char *const phases[] = {
        [FETCH_IDLE] = "waiting",        [FETCH_OPENING] = "waiting",
        [FETCH_FEED] = "journal",        [FETCH_STORE] = "store",
        [FETCH_VERIFYING] = "verifying", [FETCH_JOURNAL] = "journal",
        [FETCH_ENDING] = "journal",      [FETCH_READY] = "ready",
        [FETCH_TAKEN] = "ready",         [FETCH_DISCARDING] = "waiting",
    };
    const struct fetch *fetch = &c->fetch;
    *out = (struct catch_up_progress){.phase = phases[fetch->phase]};
    if (fetch->phase == FETCH_IDLE)
        return;
    out->active = true;
    out->peer = fetch->server;
    out->bytes_done = fetch->bytes_done;
    out->bytes_total = fetch->bytes_total;
    out->index = fetch->index;
}

void catch_up_served(const struct catch_up *c, uint64_t peer, struct catch_up_progress *out)
{
    *out = (struct catch_up_progress){.phase = "waiting"};
    for (uint32_t i = 0; i < CATCH_UP_SERVED_MAX; i++) {
        const struct serve_session *session = &c->sessions[i];
        if (session->peer != peer || session->phase != SERVE_OPEN)
            continue;
        out->active = true;
        out->peer = peer;
        out->bytes_done = session->bytes_done;
        out->bytes_total = session->store_size;
        out->index = session->index;
        out->phase = session->bytes_done < session->store_size ? "store" : "journal";
    }
}
