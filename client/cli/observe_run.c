/*
 * The engine of `tally observe`: an open loop. When a canary is sent depends on the clock alone.
 *
 * Canary n of the run is due at n * every / sites and belongs to site n modulo sites. At its moment
 * it gets a record, whatever else happens, and a slot, if its site has one free; a full house is
 * noted as "not sent" in the record. When this program itself was late (a busy machine), all that
 * is overdue is sent at once, with the intended times that it had: latency counts from there.
 *
 *            due            attempt over: again               the wake fires
 *     free -------> attempting <-----------------> backing off ------------> attempting
 *                     |  answered, refused, or no time left
 *                     v
 *                   record filled, slot free; unknown ones go to observe_ask.c
 *
 * A canary asks its site's servers in turn, a different one first each time; with --cross-site the
 * others' servers when its own have been asked. What an attempt means is libtally's judgement, and
 * so is the back-off: what the observer sees is what a channel sees. All attempts carry one
 * identity, so repeating is without risk.
 *
 *     sending --(duration, signal, records full)--> draining --(nothing under way, nothing unknown)
 *        |                                             |            --> closing --> the loop ends
 *        +-----------------(second signal, or resolve_ns over)----------^
 */
#include "client/cli/observe_engine.h"

#include "client/judge.h"
#include "core/invariant.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define GRPC_CODE_UNAVAILABLE 14
#define SECOND_NS             1000000000ull
/* As in libtally: an attempt that the deadline cuts off would turn "refused" into "unknown". */
#define ATTEMPT_TIME_MIN_NS 50000000ull

static uint64_t wall_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* fails for unknown clocks only */
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- wakes ---- */

static void timer_arm(struct observe_engine *engine)
{
    const struct deadline *first = deadline_heap_first(&engine->wakes);
    uint64_t at = first != NULL ? first->at_ns : UINT64_MAX;
    if (at == engine->armed_ns)
        return;
    engine->armed_ns = at;
    uint64_t absolute = at == UINT64_MAX ? 0 : engine->run->origin_ns + at; /* 0 disarms */
    const struct itimerspec when = {.it_value = {.tv_sec = (time_t)(absolute / SECOND_NS),
                                                 .tv_nsec = (long)(absolute % SECOND_NS)}};
    invariant(timerfd_settime(engine->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

void observe_wake_at(struct observe_engine *engine, struct observe_wake *wake, uint64_t at_ns)
{
    deadline_heap_remove(&engine->wakes, &wake->deadline);
    wake->deadline.at_ns = at_ns;
    /* The heap has had room for all wakes at once since engine_init(). */
    invariant(deadline_heap_add(&engine->wakes, &wake->deadline) == STATUS_OK);
    timer_arm(engine);
}

static void timer_cb(uv_poll_t *poll, int status, int events)
{
    struct observe_engine *engine = poll->data;
    uint64_t count;
    (void)status;
    (void)events;
    (void)!read(engine->timer_fd, &count, sizeof count); /* only to make it quiet again */
    engine->armed_ns = UINT64_MAX;                       /* it fires once */
    uint64_t now = observe_now(engine->run);
    for (struct deadline *first;
         (first = deadline_heap_first(&engine->wakes)) != NULL && first->at_ns <= now;) {
        struct observe_wake *wake = (struct observe_wake *)first;
        deadline_heap_remove(&engine->wakes, first);
        wake->fire(engine, wake);
    }
    timer_arm(engine);
}

/* ---- one canary ---- */

static void attempt_done(struct http2_call *call);

static void slot_end(struct observe_slot *slot, enum observe_outcome outcome)
{
    struct observe_engine *engine = slot->engine;
    slot->record->outcome = (uint8_t)outcome;
    if (outcome == OBSERVE_UNKNOWN)
        observe_ask_add(engine, slot->record);
    deadline_heap_remove(&engine->wakes, &slot->wake.deadline);
    slot->record = NULL;
    slot->busy = false;
    slot->next_free = engine->free_slots[slot->site];
    engine->free_slots[slot->site] = slot;
    engine->busy_count--;
    observe_engine_step(engine);
}

/* Servers that this canary may ask. */
static uint32_t reachable(const struct observe_slot *slot)
{
    const struct observe *run = slot->engine->run;
    return run->cross_site ? (uint32_t)run->server_count : run->sites[slot->site].server_count;
}

/* Its own site's servers in turn, from a different one each time, then the others'. */
static uint8_t server_of(const struct observe_slot *slot)
{
    const struct observe *run = slot->engine->run;
    const struct observe_site *site = &run->sites[slot->site];
    uint32_t place = slot->step % reachable(slot);
    if (place < site->server_count) {
        uint32_t number = (uint32_t)(slot->record - site->records);
        return (uint8_t)(site->first_server + (number + place) % site->server_count);
    }
    place -= site->server_count; /* among the others, in the order given */
    return (uint8_t)(place < site->first_server ? place : place + site->server_count);
}

static void attempt_start(struct observe_slot *slot)
{
    struct observe_engine *engine = slot->engine;
    const struct observe *run = engine->run;
    uint64_t now = observe_now(run);
    uint64_t left = slot->deadline_ns > now ? slot->deadline_ns - now : 1;
    slot->server = server_of(slot);
    slot->call = (struct http2_call){
        .path = "/tally.v1.Ledger/CreateTransfers",
        .request = slot->message,
        .request_size = slot->message_size,
        .timeout_ns = left < run->attempt_ns ? left : run->attempt_ns,
        .context = slot,
        .done = attempt_done,
    };
    if (slot->record->attempts < UINT16_MAX)
        slot->record->attempts++;
    slot->record->server = slot->server;
    if (http2_client_call(engine->channels[slot->server], &slot->call) == STATUS_OK)
        return;
    observe_wake_at(engine, &slot->wake,
                    now + 20000000); /* the channel is full: nothing was sent */
}

/* No further attempt will be made. */
static void give_up(struct observe_slot *slot, const struct judgement *last)
{
    enum tally_status status = judge_end(last, true, slot->in_doubt, slot->was_sent);
    if (status != TALLY_UNKNOWN)
        observe_note_failure(slot->engine->run, slot->site, slot->server, slot->call.grpc_message);
    slot_end(slot, status == TALLY_UNKNOWN            ? OBSERVE_UNKNOWN
                   : last->verdict == VERDICT_REFUSED ? OBSERVE_REFUSED
                                                      : OBSERVE_NOT_EXECUTED);
}

static void answer_take(struct observe_slot *slot)
{
    struct observe_record *record = slot->record;
    if (!observe_read_answer(slot->call.answer, slot->call.answer_size, &record->result,
                             &record->index, &record->timestamp_ns)) {
        slot_end(slot, OBSERVE_UNKNOWN); /* executed, and we cannot read what */
        return;
    }
    record->answered_ns = observe_now(slot->engine->run);
    record->answered_wall_ns = wall_ns();
    slot_end(slot, record->result == TALLY_RESULT_OK ? OBSERVE_ACKNOWLEDGED : OBSERVE_REFUSED);
}

static void attempt_done(struct http2_call *call)
{
    struct observe_slot *slot = call->context;
    struct observe_engine *engine = slot->engine;
    const struct judgement j =
        judge(call->fate, call->grpc_status, http2_call_trailer(call, "tally-outcome"),
              http2_call_trailer(call, "tally-retry-ms"));
    slot->was_sent |= call->fate != HTTP2_NOT_SENT;
    slot->in_doubt |= j.doubt;
    if (call->fate == HTTP2_ANSWERED)
        observe_watch_answer(engine, slot->site, call, slot->record);
    if (j.verdict == VERDICT_ANSWER) {
        answer_take(slot);
        return;
    }
    engine->random = engine->random * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t pause_ns = (uint64_t)judge_pause_ms(slot->record->attempts, j.retry_ms,
                                                 (uint32_t)(engine->random >> 32)) *
                        1000000;
    bool out_of_reach = j.retry_ms == 0 || call->grpc_status == GRPC_CODE_UNAVAILABLE;
    if (j.leave)
        slot->step++;
    if (j.leave && out_of_reach && slot->record->attempts < reachable(slot))
        pause_ns = 0; /* another server has not been asked yet */
    uint64_t next = observe_now(engine->run) + pause_ns;
    if (j.verdict == VERDICT_REFUSED || engine->closing ||
        next + ATTEMPT_TIME_MIN_NS >= slot->deadline_ns)
        give_up(slot, &j);
    else
        observe_wake_at(engine, &slot->wake, next); /* never from inside `done`: one way to start */
}

static void back_off_over(struct observe_engine *engine, struct observe_wake *wake)
{
    struct observe_slot *slot = (struct observe_slot *)wake;
    const struct judgement nothing = {.verdict = VERDICT_AGAIN};
    if (engine->closing || observe_now(engine->run) + ATTEMPT_TIME_MIN_NS / 2 >= slot->deadline_ns)
        give_up(slot, &nothing);
    else
        attempt_start(slot);
}

/* ---- pacing ---- */

static void stop_sending(struct observe_engine *engine, uint64_t at_ns)
{
    struct observe *run = engine->run;
    if (run->stopping)
        return;
    run->stopping = true;
    run->ended_ns = at_ns;
    deadline_heap_remove(&engine->wakes, &engine->send.deadline);
    observe_wake_at(engine, &engine->end, observe_now(run) + run->deadline_ns + run->resolve_ns);
    observe_engine_step(engine);
}

static void send_one(struct observe_engine *engine, uint8_t site_number, uint64_t due_ns)
{
    struct observe *run = engine->run;
    struct observe_site *site = &run->sites[site_number];
    struct observe_record *record = &site->records[site->count++];
    struct observe_slot *slot = engine->free_slots[site_number];
    *record = (struct observe_record){.intended_ns = due_ns, .outcome = OBSERVE_NOT_SENT};
    if (slot == NULL || tally_identity_new(&record->identity) != TALLY_OK)
        return;
    engine->free_slots[site_number] = slot->next_free;
    engine->busy_count++;
    record->outcome = OBSERVE_WAITING;
    record->sent_ns = observe_now(run);
    slot->record = record;
    slot->busy = true;
    slot->in_doubt = slot->was_sent = false;
    slot->step = 0;
    slot->deadline_ns = due_ns + run->deadline_ns;
    /* To and fro, so that the canaries' balances stay near zero for ever. */
    bool back = site->count % 2 == 0;
    slot->message_size =
        observe_pack_transfer(&record->identity, run->ledger, back ? &site->credit : &site->debit,
                              back ? &site->debit : &site->credit, slot->message);
    attempt_start(slot);
}

static void send_due(struct observe_engine *engine, struct observe_wake *wake)
{
    struct observe *run = engine->run;
    uint64_t now = observe_now(run);
    for (;;) {
        uint64_t due = engine->sent_count * run->every_ns / run->site_count;
        uint8_t site = (uint8_t)(engine->sent_count % run->site_count);
        if (run->duration_ns > 0 && due >= run->duration_ns) {
            stop_sending(engine, due);
            return;
        }
        if (run->sites[site].count == run->records_max) {
            run->records_full = true;
            stop_sending(engine, due);
            return;
        }
        if (due > now) {
            observe_wake_at(engine, wake, due);
            return;
        }
        send_one(engine, site, due);
        engine->sent_count++;
    }
}

static void live_due(struct observe_engine *engine, struct observe_wake *wake)
{
    observe_text_live(engine->run, stderr);
    observe_wake_at(engine, wake, wake->deadline.at_ns + SECOND_NS);
}

/* ---- the end ---- */

static void closed_cb(uv_handle_t *handle)
{
    struct observe_engine *engine = handle->data;
    engine->handles_open--;
}

static void channel_stopped(void *context)
{
    struct observe_engine *engine = context;
    if (--engine->channels_open > 0)
        return;
    observe_watch_stop(engine);
    uv_close((uv_handle_t *)&engine->timer, closed_cb);
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&engine->signals[i], closed_cb);
}

static void close_all(struct observe_engine *engine)
{
    if (engine->closing)
        return;
    engine->closing = true;
    for (size_t i = 0; i < engine->slot_count;
         i++) /* those that back off; others end by the stop */
        if (engine->slots[i].busy && engine->slots[i].wake.deadline.place > 0)
            back_off_over(engine, &engine->slots[i].wake);
    for (size_t i = 0; i < engine->run->server_count; i++)
        http2_client_stop(engine->channels[i], channel_stopped, engine);
}

void observe_engine_step(struct observe_engine *engine)
{
    if (engine->run->stopping && engine->busy_count == 0 && engine->unknown_count == 0 &&
        engine->ask_count == 0)
        close_all(engine);
}

static void end_due(struct observe_engine *engine, struct observe_wake *wake)
{
    (void)wake;
    close_all(engine);
}

static void signal_cb(uv_signal_t *handle, int number)
{
    struct observe_engine *engine = handle->data;
    (void)number;
    if (engine->run->stopping)
        close_all(engine);
    else
        stop_sending(engine, observe_now(engine->run));
}

/* ---- making and running ---- */

static bool channels_make(struct observe_engine *engine)
{
    struct observe *run = engine->run;
    for (size_t i = 0; i < run->server_count; i++) {
        const struct http2_client_options options = {
            .loop = &engine->loop,
            .host = run->servers[i].host,
            .port = run->servers[i].port,
            .certificate_file = run->certificate,
            .key_file = run->key,
            .ca_file = run->ca,
            .connect_timeout_ms = 1000,
            .ping_interval_ms = 5000, /* the least that the server allows */
            .calls_max = (uint32_t)(run->site_count * run->in_flight_max) + OBSERVE_ASKS + 1,
        };
        struct net_error error = {""};
        enum status status = http2_client_create(&options, &engine->channels[i], &error);
        if (status != STATUS_OK) {
            snprintf(run->error, sizeof run->error, "%s: %s", run->servers[i].name,
                     error.text[0] != '\0' ? error.text : status_text(status));
            return false;
        }
    }
    return true;
}

static bool slots_make(struct observe_engine *engine)
{
    struct observe *run = engine->run;
    size_t count = run->in_flight_max * run->site_count;
    engine->slots = calloc(count, sizeof *engine->slots);
    if (engine->slots == NULL)
        return false;
    engine->slot_count = count;
    for (size_t i = 0; i < count; i++) {
        struct observe_slot *slot = &engine->slots[i];
        slot->engine = engine;
        slot->site = (uint8_t)(i % run->site_count);
        slot->wake.fire = back_off_over;
        slot->next_free = engine->free_slots[slot->site];
        engine->free_slots[slot->site] = slot;
        /* All at once for a moment: from here on the heap has room. */
        if (deadline_heap_add(&engine->wakes, &slot->wake.deadline) != STATUS_OK)
            return false;
    }
    engine->send.fire = send_due;
    engine->live.fire = live_due;
    engine->end.fire = end_due;
    struct observe_wake *others[] = {&engine->send, &engine->live, &engine->end, &engine->ask,
                                     &engine->watch};
    bool good = true;
    for (size_t i = 0; good && i < sizeof others / sizeof others[0]; i++)
        good = deadline_heap_add(&engine->wakes, &others[i]->deadline) == STATUS_OK;
    while (deadline_heap_first(&engine->wakes) != NULL)
        deadline_heap_remove(&engine->wakes, deadline_heap_first(&engine->wakes));
    return good;
}

static void handles_make(struct observe_engine *engine)
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    invariant(uv_poll_init(&engine->loop, &engine->timer, engine->timer_fd) == 0);
    engine->timer.data = engine;
    invariant(uv_poll_start(&engine->timer, UV_READABLE, timer_cb) == 0);
    engine->handles_open++;
    for (size_t i = 0; i < 2; i++) {
        invariant(uv_signal_init(&engine->loop, &engine->signals[i]) == 0);
        engine->signals[i].data = engine;
        invariant(uv_signal_start(&engine->signals[i], signal_cb, numbers[i]) == 0);
        engine->handles_open++;
    }
}

/* From here on only uv_loop's own failures are possible, which are invariants. */
static void work(struct observe_engine *engine)
{
    struct observe *run = engine->run;
    handles_make(engine);
    engine->channels_open = (uint32_t)run->server_count;
    for (size_t i = 0; i < run->server_count; i++)
        http2_client_connect(engine->channels[i]);
    run->origin_ns = 0;
    run->origin_ns = observe_now(run);
    run->origin_wall_ns = wall_ns();
    observe_watch_start(engine);
    if (!run->quiet)
        observe_wake_at(engine, &engine->live, SECOND_NS);
    observe_wake_at(engine, &engine->send, 0);
    (void)uv_run(&engine->loop, UV_RUN_DEFAULT); /* ends when every handle is closed */
    invariant_values(engine->handles_open == 0, engine->handles_open, 0);
    if (!run->quiet)
        observe_text_live(run, NULL);
}

bool observe_run(struct observe *run)
{
    struct observe_engine *engine = calloc(1, sizeof *engine);
    bool loop_is_open = false, good = false;
    if (engine == NULL) {
        snprintf(run->error, sizeof run->error, "out of memory");
        return false;
    }
    engine->run = run;
    engine->marks_fd = -1;
    engine->armed_ns = UINT64_MAX;
    deadline_heap_init(&engine->wakes);
    if (getrandom(&engine->random, sizeof engine->random, 0) != sizeof engine->random)
        engine->random = wall_ns(); /* jitter only */
    engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (engine->timer_fd < 0 || uv_loop_init(&engine->loop) != 0) {
        snprintf(run->error, sizeof run->error, "no event loop: %s", strerror(errno));
        goto out;
    }
    loop_is_open = true;
    if (!slots_make(engine) || !observe_ask_init(engine)) {
        snprintf(run->error, sizeof run->error, "out of memory");
        goto out;
    }
    good = channels_make(engine) && observe_watch_init(engine);
    if (good)
        work(engine);
out:
    for (size_t i = 0; i < run->server_count && engine->channels[i] != NULL; i++) {
        if (!good) {
            engine->channels_open = UINT32_MAX; /* never reaches zero: no handles were made */
            http2_client_stop(engine->channels[i], channel_stopped, engine);
            (void)uv_run(&engine->loop, UV_RUN_DEFAULT);
        }
        http2_client_destroy(engine->channels[i]);
    }
    observe_watch_deinit(engine);
    observe_ask_deinit(engine);
    free(engine->slots);
    deadline_heap_deinit(&engine->wakes);
    if (loop_is_open)
        invariant(uv_loop_close(&engine->loop) == 0);
    if (engine->timer_fd >= 0)
        (void)close(engine->timer_fd); /* nothing was written to it */
    free(engine);
    return good;
}
