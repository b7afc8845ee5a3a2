/*
 * A call is a message that is attempted until something final is known or its time is up.
 *
 *             call_start                      judge: again, time is left
 *      free ------------> ATTEMPTING <------------------------------+
 *                             | done          -------------------> PAUSING
 *                             | judge: final, or time is up
 *                             v
 *                           ENDED: outcome filled, slot free, then the user's callback
 *
 * Slots: in_flight_max for submitted calls and one for the call that blocks. All of them share one
 * loop and one timer, which fires at the earliest pause end or deadline. The channel below ends an
 * attempt by its own timeout; should it fail to, the timer cancels it a little later, so a defect
 * there cannot become a hang here.
 *
 * `in_doubt` is sticky: once an attempt left without a final answer, only an answer or a refusal
 * that speaks about every attempt can settle the call (judge.h).
 */
#include "client/call.h"

#include "client/judge.h"
#include "core/invariant.h"
#include "net/http2_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <uv.h>

#define SERVERS_MAX           16
#define GRPC_CODE_UNAVAILABLE 14
#define DEADLINE_DEFAULT_MS   10000u
#define DEADLINE_MAX_MS       (24u * 3600u * 1000u)
#define MAX_AGE_MAX_MS        (24u * 3600u * 1000u)
#define CANCEL_GRACE_NS       250000000ull
/* Of calls that take long: until a server that fell silent is given up for the next. */
#define LONG_ATTEMPT_MS 30000u
/* No attempt begins with less time left than this, or than a quarter of the whole: one that is cut
 * off by the deadline would turn "refused" or "not sent" into "unknown". */
#define ATTEMPT_TIME_MIN_NS 50000000ull

enum slot_state {
    SLOT_FREE,
    SLOT_ATTEMPTING,
    SLOT_PAUSING,
};

struct slot {
    enum slot_state state;
    struct tally_client *client;
    struct call_request request;
    tally_call_cb cb; /* NULL: the call that blocks */
    struct http2_call http2;
    uint64_t deadline_ns;
    uint64_t last_start_ns; /* no attempt begins after it */
    uint64_t wake_ns;       /* PAUSING: next attempt; ATTEMPTING: cancel */
    size_t server;          /* of the running attempt */
    uint32_t attempt_count;
    struct judgement last; /* of the newest finished attempt */
    bool in_doubt;
    bool was_sent;
    bool cancelled;
    enum tally_status ended_with;
};

struct server {
    struct http2_client *channel;
    char host[256];
    uint16_t port;
    bool stopped;
};

struct tally_client {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_timer_t wait_timer;
    bool loop_is_open;
    bool wait_is_over;
    struct server servers[SERVERS_MAX];
    size_t server_count;
    size_t server_current; /* where new attempts go */
    uint32_t deadline_ms, attempt_ms;
    uint32_t in_flight_max, in_flight;
    uint64_t random;
    bool in_callback, closing;
    size_t ended_count; /* submitted calls that ended, ever */
    struct slot slots[TALLY_IN_FLIGHT_MAX + 1];
};

/* ---- time ---- */

/* xorshift64*: for jitter only. */
static uint32_t next_random(struct tally_client *client)
{
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return (uint32_t)((client->random * 0x2545F4914F6CDD1Dull) >> 32);
}

static void timer_cb(uv_timer_t *timer);

static void timer_rearm(struct tally_client *client)
{
    uint64_t earliest = UINT64_MAX;
    for (uint32_t i = 0; i <= client->in_flight_max; i++)
        if (client->slots[i].state != SLOT_FREE && client->slots[i].wake_ns < earliest)
            earliest = client->slots[i].wake_ns;
    if (earliest == UINT64_MAX) {
        (void)uv_timer_stop(&client->timer); /* always zero for an initialized timer */
        return;
    }
    uint64_t now = uv_hrtime();
    uint64_t wait_ms = earliest > now ? (earliest - now) / 1000000 + 1 : 0;
    uv_update_time(&client->loop);
    invariant(uv_timer_start(&client->timer, timer_cb, wait_ms, 0) == 0);
}

/* ---- the life of a call ---- */

static void slot_step(struct slot *slot);
static void attempt_done(struct http2_call *http2);

static void slot_end(struct slot *slot, enum tally_status status)
{
    struct tally_client *client = slot->client;
    struct tally_call *call = slot->request.call;
    free(slot->request.message);
    slot->request.message = NULL;
    slot->ended_with = status;
    slot->state = SLOT_FREE;
    if (status == TALLY_OK) /* forget what earlier attempts met */
        call->error = (struct tally_error){.outcome = TALLY_OUTCOME_NONE};
    call->error.status = status;
    call->error.attempt_count = slot->attempt_count;
    if (slot->cb == NULL)
        return;
    tally_call_cb cb = slot->cb;
    client->in_flight--;
    client->ended_count++;
    client->in_callback = true;
    cb(call, status);
    client->in_callback = false;
}

/* Starts an attempt; the slot is ATTEMPTING afterwards, or PAUSING when the channel is full. */
static void attempt_start(struct slot *slot)
{
    struct tally_client *client = slot->client;
    uint64_t now = uv_hrtime();
    uint64_t left = slot->deadline_ns > now ? slot->deadline_ns - now : 1;
    bool takes_long = slot->request.unanswered != NULL && client->attempt_ms > 0;
    uint64_t limit = (uint64_t)(takes_long ? LONG_ATTEMPT_MS : client->attempt_ms) * 1000000;
    uint64_t timeout = limit > 0 && limit < left ? limit : left;

    slot->server = client->server_current;
    slot->http2 = (struct http2_call){
        .path = slot->request.path,
        .request = slot->request.message_size > 0 ? slot->request.message : NULL,
        .request_size = slot->request.message_size,
        .timeout_ns = timeout,
        .max_age_ms = slot->request.changes ? 0 : slot->request.call->max_age_ms,
        .context = slot,
        .done = attempt_done,
    };
    slot->attempt_count++;
    slot->cancelled = false;
    enum status status = http2_client_call(client->servers[slot->server].channel, &slot->http2);
    if (status == STATUS_OK) {
        slot->state = SLOT_ATTEMPTING;
        slot->wake_ns = now + timeout + CANCEL_GRACE_NS;
        return;
    }
    /* Refused locally, nothing sent: the call's end comes through the timer, never from here. */
    error_set(&slot->request.call->error, TALLY_NOT_SENT, "the client's own connection refused: %s",
              status_text(status));
    slot->state = SLOT_PAUSING;
    slot->wake_ns = now + 20000000;
}

/* Says in one text what the last attempt saw and what that means for the request. */
static void describe(struct slot *slot, const struct judgement *j, enum tally_status status)
{
    const struct server *server = &slot->client->servers[slot->server];
    const struct http2_call *http2 = &slot->http2;
    struct tally_error *error = &slot->request.call->error;
    const char *next = "";

    switch (status) {
    case TALLY_UNKNOWN:
        next = "; the request may have been executed: repeat it with the same identity, or ask "
               "\"tally request show\"";
        break;
    case TALLY_NOT_SENT:
        next = "; nothing was executed: check address, certificates and \"tally status\", then "
               "repeat";
        break;
    case TALLY_NO_ANSWER:
        next = slot->request.unanswered != NULL ? slot->request.unanswered
                                                : "; a question changes nothing: ask again";
        break;
    default:
        break;
    }
    int code = http2->fate == HTTP2_ANSWERED ? http2->grpc_status : -1;
    if (j->outcome != TALLY_OUTCOME_NONE)
        error_set(error, status, "%s:%u: %s: %s%s", server->host, server->port,
                  tally_outcome_name(j->outcome),
                  http2->grpc_message[0] != '\0' ? http2->grpc_message
                                                 : tally_outcome_explanation(j->outcome),
                  next);
    else
        error_set(error, status, "%s:%u: %s%s", server->host, server->port,
                  http2->grpc_message[0] != '\0' ? http2->grpc_message : "no reason given", next);
    error->outcome = j->outcome;
    error->grpc_code = code;
    error->retryable = j->verdict == VERDICT_AGAIN;
}

static void answer_take(struct slot *slot)
{
    struct tally_call *call = slot->request.call;
    const struct server *server = &slot->client->servers[slot->server];
    const char *index = http2_call_trailer(&slot->http2, "tally-index");
    struct tally_error error;

    call->index = index != NULL ? strtoull(index, NULL, 10) : 0;
    enum tally_status status =
        slot->request.decode(&slot->request, slot->http2.answer, slot->http2.answer_size, &error);
    if (status == TALLY_OK) {
        slot_end(slot, TALLY_OK);
        return;
    }
    /* The server executed something and we cannot read what: that is unknown, not failed. */
    bool lost = status != TALLY_NO_MEMORY || slot->request.changes;
    enum tally_status end = !lost                   ? status
                            : slot->request.changes ? TALLY_UNKNOWN
                                                    : TALLY_NO_ANSWER;
    error_set(&call->error, end, "%s:%u: answer not understood: %s%s", server->host, server->port,
              error.text,
              slot->request.changes ? "; the request was executed: ask \"tally request show\""
                                    : "; is this tally older than the node?");
    call->error.grpc_code = 0;
    slot_end(slot, end);
}

static void attempt_done(struct http2_call *http2)
{
    struct slot *slot = http2->context;
    struct tally_client *client = slot->client;
    struct judgement j =
        judge(http2->fate, http2->grpc_status, http2_call_trailer(http2, "tally-outcome"),
              http2_call_trailer(http2, "tally-retry-ms"));

    invariant(slot->state == SLOT_ATTEMPTING);
    if (http2->fate != HTTP2_NOT_SENT)
        slot->was_sent = true;
    slot->in_doubt |= j.doubt;
    slot->last = j;
    /* Several calls may fail at one server: only the first of them moves away from it. */
    if (j.leave && client->server_current == slot->server)
        client->server_current = (client->server_current + 1) % client->server_count;

    if (j.verdict == VERDICT_ANSWER) {
        answer_take(slot);
        timer_rearm(client);
        return;
    }
    uint64_t now = uv_hrtime();
    uint64_t pause_ns =
        (uint64_t)judge_pause_ms(slot->attempt_count, j.retry_ms, next_random(client)) * 1000000;
    /* Other servers have not been asked yet: no reason to wait, and the hint was about this one.
     * One that is busy may be so for all of them. */
    bool out_of_reach = j.retry_ms == 0 || http2->grpc_status == GRPC_CODE_UNAVAILABLE;
    if (j.leave && out_of_reach && slot->attempt_count < client->server_count)
        pause_ns = 0;
    enum tally_status end = judge_end(&j, slot->request.changes, slot->in_doubt, slot->was_sent);
    const uint32_t attempts_max = slot->request.call->attempts_max;
    const bool was_last = attempts_max > 0 && slot->attempt_count >= attempts_max;
    describe(slot, &j, end);
    if (j.verdict == VERDICT_REFUSED || was_last || client->closing ||
        now + pause_ns >= slot->last_start_ns) {
        slot_end(slot, end);
    } else {
        slot->state = SLOT_PAUSING;
        slot->wake_ns = now + pause_ns;
    }
    timer_rearm(client);
}

/* The slot's time has come. */
static void slot_step(struct slot *slot)
{
    struct tally_client *client = slot->client;
    uint64_t now = uv_hrtime();
    switch (slot->state) {
    case SLOT_ATTEMPTING:
        if (!slot->cancelled) {
            slot->cancelled = true;
            slot->wake_ns = now + CANCEL_GRACE_NS;
            http2_client_cancel(client->servers[slot->server].channel, &slot->http2);
        } else {
            slot->wake_ns = now + CANCEL_GRACE_NS;
        }
        break;
    case SLOT_PAUSING:
        if (client->closing || now >= slot->last_start_ns) {
            slot_end(slot,
                     judge_end(&slot->last, slot->request.changes, slot->in_doubt, slot->was_sent));
        } else {
            attempt_start(slot);
        }
        break;
    case SLOT_FREE:
        break;
    }
}

static void timer_cb(uv_timer_t *timer)
{
    struct tally_client *client = timer->data;
    uint64_t now = uv_hrtime();
    for (uint32_t i = 0; i <= client->in_flight_max; i++)
        if (client->slots[i].state != SLOT_FREE && client->slots[i].wake_ns <= now)
            slot_step(&client->slots[i]);
    timer_rearm(client);
}

/* ---- starting calls ---- */

enum tally_status call_check(struct tally_client *client, struct tally_call *call, bool changes,
                             bool submit)
{
    static const uint8_t zero[16];
    call->index = 0;
    call->timestamp_ns = 0;
    call->error = (struct tally_error){.outcome = TALLY_OUTCOME_NONE, .grpc_code = -1};
    if (client->closing)
        return error_set(&call->error, TALLY_INVALID, "the client is being destroyed");
    if (client->in_callback && !submit)
        return error_set(&call->error, TALLY_INVALID,
                         "a call that blocks may not be made from a callback");
    if (call->deadline_ms > DEADLINE_MAX_MS)
        return error_set(&call->error, TALLY_INVALID, "deadline of %u ms is above one day",
                         call->deadline_ms);
    if (call->max_age_ms > MAX_AGE_MAX_MS)
        return error_set(&call->error, TALLY_INVALID, "max_age of %u ms is above one day",
                         call->max_age_ms);
    if (changes &&
        (memcmp(call->identity.nonce, zero, sizeof zero) == 0 || call->identity.issued_at_ns == 0))
        return error_set(&call->error, TALLY_INVALID,
                         "the call has no identity: fill it with tally_identity_new()");
    if (submit && client->in_flight >= client->in_flight_max)
        return error_set(&call->error, TALLY_BUSY, "%u calls are in flight: tally_wait() first",
                         client->in_flight);
    return TALLY_OK;
}

enum tally_status call_no_memory(struct tally_call *call, size_t size)
{
    return error_set(&call->error, TALLY_NO_MEMORY, "no memory for %zu bytes; nothing was sent",
                     size);
}

static void slot_start(struct slot *slot, struct tally_client *client,
                       const struct call_request *request, tally_call_cb cb)
{
    uint32_t deadline_ms = request->call->deadline_ms;
    if (deadline_ms == 0)
        deadline_ms = client->deadline_ms;
    uint64_t length_ns = (uint64_t)deadline_ms * 1000000;
    uint64_t kept_ns = length_ns / 4 < ATTEMPT_TIME_MIN_NS ? length_ns / 4 : ATTEMPT_TIME_MIN_NS;
    uint64_t now = uv_hrtime();
    *slot = (struct slot){
        .client = client,
        .request = *request,
        .cb = cb,
        .deadline_ns = now + length_ns,
        .last_start_ns = now + length_ns - kept_ns,
        .last = {.verdict = VERDICT_AGAIN},
    };
    if (cb != NULL)
        client->in_flight++;
    attempt_start(slot);
    timer_rearm(client);
}

enum tally_status call_run(struct tally_client *client, const struct call_request *request)
{
    struct slot *slot = &client->slots[client->in_flight_max];
    invariant(slot->state == SLOT_FREE);
    slot_start(slot, client, request, NULL);
    while (slot->state != SLOT_FREE)
        (void)uv_run(&client->loop, UV_RUN_ONCE); /* the timer keeps the loop alive until then */
    return slot->ended_with;
}

enum tally_status call_submit(struct tally_client *client, const struct call_request *request,
                              tally_call_cb cb)
{
    uint32_t i = 0;
    while (i < client->in_flight_max && client->slots[i].state != SLOT_FREE)
        i++;
    invariant_values(i < client->in_flight_max, i, client->in_flight); /* call_check() counted */
    slot_start(&client->slots[i], client, request, cb);
    return TALLY_OK;
}

size_t tally_in_flight(const struct tally_client *client)
{
    return client->in_flight;
}

static void wait_cb(uv_timer_t *timer)
{
    struct tally_client *client = timer->data;
    client->wait_is_over = true;
}

size_t tally_wait(struct tally_client *client, uint32_t timeout_ms)
{
    size_t before = client->ended_count;
    if (client->in_flight == 0 || client->in_callback)
        return 0;
    client->wait_is_over = false;
    uv_update_time(&client->loop);
    invariant(uv_timer_start(&client->wait_timer, wait_cb, timeout_ms, 0) == 0);
    while (client->ended_count == before && !client->wait_is_over)
        (void)uv_run(&client->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&client->wait_timer); /* always zero for an initialized timer */
    return client->ended_count - before;
}

/* ---- the client ---- */

/* "host:port" or "[v6]:port". */
static bool server_parse(const char *text, size_t size, struct server *out)
{
    const char *colon = memrchr(text, ':', size);
    if (colon == NULL || colon == text)
        return false;
    const char *host = text;
    size_t host_size = (size_t)(colon - text);
    if (*host == '[') {
        if (host_size < 3 || host[host_size - 1] != ']')
            return false;
        host++;
        host_size -= 2;
    } else if (memchr(host, ':', host_size) != NULL) {
        return false; /* an IPv6 address without brackets */
    }
    uint32_t port = 0;
    size_t digits = size - (size_t)(colon - text) - 1;
    for (size_t i = 0; i < digits; i++) {
        if (colon[1 + i] < '0' || colon[1 + i] > '9' || i > 4)
            return false;
        port = port * 10 + (uint32_t)(colon[1 + i] - '0');
    }
    if (digits == 0 || port == 0 || port > 65535 || host_size >= sizeof out->host)
        return false;
    memcpy(out->host, host, host_size);
    out->host[host_size] = '\0';
    out->port = (uint16_t)port;
    return true;
}

static enum tally_status servers_parse(struct tally_client *client, const char *servers,
                                       struct tally_error *out_error)
{
    char shown[EXCERPT_SIZE];
    for (const char *at = servers;;) {
        size_t size = strcspn(at, ",");
        if (client->server_count == SERVERS_MAX)
            return error_set(out_error, TALLY_INVALID, "more than %d servers", SERVERS_MAX);
        if (!server_parse(at, size, &client->servers[client->server_count]))
            return error_set(out_error, TALLY_INVALID,
                             "server \"%s\": expected host:port (IPv6 as [address]:port)",
                             excerpt(at, size, shown));
        client->server_count++;
        if (at[size] == '\0')
            return TALLY_OK;
        at += size + 1;
    }
}

static enum tally_status options_check(const struct tally_options *options,
                                       struct tally_error *out_error)
{
    const struct {
        const char *value, *name;
    } needed[] = {{options->servers, "servers"},
                  {options->ca_file, "ca_file"},
                  {options->certificate_file, "certificate_file"},
                  {options->key_file, "key_file"}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (needed[i].value == NULL || needed[i].value[0] == '\0')
            return error_set(out_error, TALLY_INVALID, "option %s is not set", needed[i].name);
    if (options->in_flight_max > TALLY_IN_FLIGHT_MAX)
        return error_set(out_error, TALLY_INVALID, "in_flight_max %u is above %d",
                         options->in_flight_max, TALLY_IN_FLIGHT_MAX);
    if (options->deadline_ms > DEADLINE_MAX_MS)
        return error_set(out_error, TALLY_INVALID, "deadline of %u ms is above one day",
                         options->deadline_ms);
    return TALLY_OK;
}

enum tally_status tally_client_create(const struct tally_options *options,
                                      struct tally_client **out_client,
                                      struct tally_error *out_error)
{
    enum tally_status status = options_check(options, out_error);
    if (status != TALLY_OK)
        return status;
    struct tally_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return error_set(out_error, TALLY_NO_MEMORY, "no memory for a client");
    status = servers_parse(client, options->servers, out_error);
    if (status != TALLY_OK)
        goto fail;
    if (getrandom(&client->random, sizeof client->random, 0) != sizeof client->random)
        client->random = uv_hrtime(); /* jitter only */
    client->random |= 1;
    client->deadline_ms = options->deadline_ms > 0 ? options->deadline_ms : DEADLINE_DEFAULT_MS;
    client->attempt_ms = options->attempt_ms > 0    ? options->attempt_ms
                         : client->server_count > 1 ? 3000
                                                    : 0;
    client->in_flight_max = options->in_flight_max > 0 ? options->in_flight_max : 8;

    int code = uv_loop_init(&client->loop);
    if (code != 0) {
        status =
            error_set(out_error, TALLY_SYSTEM, "cannot make an event loop: %s", uv_strerror(code));
        goto fail;
    }
    client->loop_is_open = true;
    invariant(uv_timer_init(&client->loop, &client->timer) == 0);
    invariant(uv_timer_init(&client->loop, &client->wait_timer) == 0);
    client->timer.data = client;
    client->wait_timer.data = client;
    for (size_t i = 0; i < client->server_count; i++) {
        const struct http2_client_options channel = {
            .loop = &client->loop,
            .host = client->servers[i].host,
            .port = client->servers[i].port,
            .certificate_file = options->certificate_file,
            .key_file = options->key_file,
            .ca_file = options->ca_file,
            .connect_timeout_ms = options->connect_ms > 0 ? options->connect_ms : 3000,
            .calls_max = TALLY_IN_FLIGHT_MAX + 1,
        };
        struct net_error error;
        enum status made = http2_client_create(&channel, &client->servers[i].channel, &error);
        if (made != STATUS_OK) {
            status = error_set(out_error,
                               made == STATUS_INVALID || made == STATUS_IO ? TALLY_INVALID
                               : made == STATUS_NO_MEMORY                  ? TALLY_NO_MEMORY
                                                                           : TALLY_SYSTEM,
                               "%s", made == STATUS_NO_MEMORY ? "out of memory" : error.text);
            goto fail;
        }
    }
    *out_client = client;
    return TALLY_OK;
fail:
    tally_client_destroy(client);
    return status;
}

static void server_stop_cb(void *context)
{
    ((struct server *)context)->stopped = true;
}

void tally_client_destroy(struct tally_client *client)
{
    if (client == NULL)
        return;
    invariant(!client->in_callback);
    client->closing = true;
    if (client->loop_is_open) {
        for (uint32_t i = 0; i <= client->in_flight_max; i++)
            if (client->slots[i].state == SLOT_PAUSING)
                slot_step(&client->slots[i]);
        for (size_t i = 0; i < client->server_count; i++) {
            struct server *server = &client->servers[i];
            if (server->channel == NULL)
                continue;
            http2_client_stop(server->channel, server_stop_cb, server);
            while (!server->stopped)
                (void)uv_run(&client->loop, UV_RUN_ONCE);
            http2_client_destroy(server->channel);
        }
        uv_close((uv_handle_t *)&client->timer, NULL);
        uv_close((uv_handle_t *)&client->wait_timer, NULL);
        (void)uv_run(&client->loop, UV_RUN_DEFAULT); /* the close callbacks */
        invariant(uv_loop_close(&client->loop) == 0);
    }
    free(client);
}
