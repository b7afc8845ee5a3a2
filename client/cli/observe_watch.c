/*
 * What happens around the canaries, as events of the timeline:
 *
 *   leader   the trailer tally-leader of answers, per site, so to the canary exactly
 *   refusal  the words with which a site's servers turn canaries away, when they change (numbers in
 *            them do not count), and at most once a second
 *   rule     what each node's status says of the durability rule, when it changes; and what answers
 *            promise (tally-durability), at most once a second
 *   server   a server that does not tell its status any more, or does again
 *   mark     lines that anybody writes to a fifo (--marks): "cut the link", "site A powered off"
 *
 * Statuses are asked twice a second, each server by itself; a question that is not over is not
 * asked again. An unknown field of a status is no event: a newer node may say more.
 */
#include "client/cli/observe_engine.h"

#include "core/invariant.h"

#include "tally/v1/admin.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCH_PACE_NS    500000000ull
#define WATCH_TIMEOUT_NS 1000000000ull
#define ANSWERS_PACE_NS  1000000000ull
#define SILENT_AFTER     2 /* failures in a row */

/* ---- from answers ---- */

/* Equal but for digits: "entry 17 waits for 300 ms" is no news after "entry 16 waits for 290 ms".
 */
static bool is_news(const char *text, const char *before)
{
    for (;; text++, before++) {
        text += strspn(text, "0123456789");
        before += strspn(before, "0123456789");
        if (*text != *before)
            return true;
        if (*text == '\0')
            return false;
    }
}

static void note_refusal(struct observe_engine *engine, uint8_t site, const struct http2_call *call,
                         struct observe_record *record)
{
    struct observe *run = engine->run;
    uint64_t now = observe_now(run);
    char words[OBSERVE_TEXT_SIZE];
    if (record->refused_ns == 0)
        record->refused_ns = now;
    (void)snprintf(words, sizeof words, "%.*s", OBSERVE_TEXT_SIZE - 1, call->grpc_message);
    if (!is_news(words, engine->refusal[site]) ||
        (engine->refusal_ns[site] != 0 && now - engine->refusal_ns[site] < ANSWERS_PACE_NS))
        return;
    memcpy(engine->refusal[site], words, sizeof words);
    engine->refusal_ns[site] = now;
    observe_event(run, OBSERVE_EVENT_REFUSAL, "site %s: %.160s", run->sites[site].name, words);
}

void observe_watch_answer(struct observe_engine *engine, uint8_t site,
                          const struct http2_call *call, struct observe_record *record)
{
    struct observe *run = engine->run;
    const char *name = run->sites[site].name;
    const char *text = http2_call_trailer(call, "tally-leader");
    if (call->grpc_status != 0)
        note_refusal(engine, site, call, record);
    record->leader = text != NULL ? strtoull(text, NULL, 10) : 0;
    if (record->leader != 0 && record->leader != engine->leader[site]) {
        if (engine->leader[site] == 0)
            observe_event(run, OBSERVE_EVENT_LEADER, "site %s: node %" PRIu64 " leads", name,
                          record->leader);
        else
            observe_event(run, OBSERVE_EVENT_LEADER,
                          "site %s: node %" PRIu64 " leads, was node %" PRIu64, name,
                          record->leader, engine->leader[site]);
        engine->leader[site] = record->leader;
    }
    text = http2_call_trailer(call, "tally-durability");
    record->durability = text == NULL                      ? OBSERVE_DURABILITY_UNSAID
                         : strcmp(text, "both-sites") == 0 ? OBSERVE_BOTH_SITES
                                                           : OBSERVE_DEGRADED;
    if (text == NULL || record->durability == engine->durability[site])
        return;
    /* On the way back answers say now one thing, now the other, a hundred times a second. */
    uint64_t now = observe_now(run);
    if (engine->durability_ns[site] != 0 && now - engine->durability_ns[site] < ANSWERS_PACE_NS)
        return;
    engine->durability_ns[site] = now;
    if (engine->durability[site] != OBSERVE_DURABILITY_UNSAID ||
        record->durability == OBSERVE_DEGRADED)
        observe_event(run, OBSERVE_EVENT_RULE, "site %s: answers say %s", name, text);
    engine->durability[site] = record->durability;
}

/* ---- from statuses ---- */

/* "degraded, number 3, rule site, policy auto": what a status says of the rule, in its own words.
 */
static void describe_rule(const json_t *status, char out[OBSERVE_TEXT_SIZE])
{
    const char *rule = json_string_value(json_object_get(status, "rule"));
    const char *mode = json_string_value(json_object_get(status, "mode"));
    const char *decision =
        json_string_value(json_object_get(json_object_get(status, "policy"), "decision"));
    const json_t *number = json_object_get(status, "number");
    size_t size = 0;
    if (mode != NULL)
        size = (size_t)snprintf(out, OBSERVE_TEXT_SIZE, "%.30s, ", mode);
    if (json_is_integer(number))
        size += (size_t)snprintf(out + size, OBSERVE_TEXT_SIZE - size,
                                 "number %" JSON_INTEGER_FORMAT ", ", json_integer_value(number));
    size += (size_t)snprintf(out + size, OBSERVE_TEXT_SIZE - size, "rule %.30s",
                             rule != NULL ? rule : "-");
    if (decision != NULL)
        (void)snprintf(out + size, OBSERVE_TEXT_SIZE - size, ", policy %.30s", decision);
}

static void view_take(struct observe_view *view, const struct http2_call *call)
{
    struct observe *run = view->engine->run;
    const char *name = run->servers[view->server].name;
    char rule[OBSERVE_TEXT_SIZE];
    Tally__V1__GetStatusResponse *answer =
        tally__v1__get_status_response__unpack(NULL, call->answer_size, call->answer);
    json_error_t error;
    json_t *status = answer != NULL ? json_loads(answer->json, 0, &error) : NULL;
    if (answer != NULL)
        tally__v1__get_status_response__free_unpacked(answer, NULL);
    if (status == NULL)
        return; /* no document: nothing to tell from */
    describe_rule(status, rule);
    json_decref(status);
    if (strcmp(rule, view->rule) == 0)
        return;
    /* What holds at the begin is no change. */
    if (view->rule[0] != '\0')
        observe_event(run, OBSERVE_EVENT_RULE, "%.110s (%.80s)", rule, name);
    memcpy(view->rule, rule, sizeof view->rule);
}

static void view_done(struct http2_call *call)
{
    struct observe_view *view = call->context;
    struct observe_engine *engine = view->engine;
    const char *name = engine->run->servers[view->server].name;
    view->asking = false;
    if (engine->closing)
        return;
    if (call->fate == HTTP2_ANSWERED && call->grpc_status == 0) {
        if (view->silent)
            observe_event(engine->run, OBSERVE_EVENT_SERVER, "%s answers again", name);
        view->silent = false;
        view->failures = 0;
        view_take(view, call);
    } else if (++view->failures == SILENT_AFTER) {
        view->silent = true;
        observe_event(engine->run, OBSERVE_EVENT_SERVER, "%s does not tell its status: %s", name,
                      call->grpc_message);
    }
}

static void watch_due(struct observe_engine *engine, struct observe_wake *wake)
{
    for (size_t i = 0; i < engine->run->server_count; i++) {
        struct observe_view *view = &engine->views[i];
        if (view->asking)
            continue;
        view->call = (struct http2_call){
            .path = "/tally.v1.Admin/GetStatus", /* its request has no fields */
            .timeout_ns = WATCH_TIMEOUT_NS,
            .context = view,
            .done = view_done,
        };
        view->asking = http2_client_call(engine->channels[i], &view->call) == STATUS_OK;
    }
    observe_wake_at(engine, wake, observe_now(engine->run) + WATCH_PACE_NS);
}

/* ---- marks ---- */

static void mark_take(struct observe_engine *engine, char byte)
{
    if (byte != '\n') {
        engine->mark_cut |= engine->mark_size == sizeof engine->mark - 1;
        if (!engine->mark_cut && byte != '\0')
            engine->mark[engine->mark_size++] = byte;
        return;
    }
    engine->mark[engine->mark_size] = '\0';
    if (engine->mark_size > 0)
        observe_event(engine->run, OBSERVE_EVENT_MARK, "%s%s", engine->mark,
                      engine->mark_cut ? "..." : "");
    engine->mark_size = 0;
    engine->mark_cut = false;
}

static void marks_cb(uv_poll_t *poll, int status, int events)
{
    struct observe_engine *engine = poll->data;
    char bytes[1024];
    (void)status;
    (void)events;
    ssize_t size = read(engine->marks_fd, bytes, sizeof bytes); /* nothing yet: later */
    for (ssize_t i = 0; i < size; i++)
        mark_take(engine, bytes[i]);
}

bool observe_watch_init(struct observe_engine *engine)
{
    struct observe *run = engine->run;
    struct stat about;
    engine->watch.fire = watch_due;
    for (size_t i = 0; i < run->server_count; i++)
        engine->views[i] = (struct observe_view){.engine = engine, .server = (uint8_t)i};
    if (run->marks == NULL)
        return true;
    engine->marks_made = mkfifo(run->marks, 0600) == 0;
    if (!engine->marks_made && errno != EEXIST) {
        snprintf(run->error, sizeof run->error, "cannot make the fifo %s: %s", run->marks,
                 strerror(errno));
        return false;
    }
    /* Both ends are ours, so that it never ends when a writer leaves. */
    engine->marks_fd = open(run->marks, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (engine->marks_fd < 0 || fstat(engine->marks_fd, &about) != 0 || !S_ISFIFO(about.st_mode)) {
        snprintf(run->error, sizeof run->error, "%s: %s", run->marks,
                 engine->marks_fd < 0 ? strerror(errno)
                                      : "is there and no fifo; name a path that is free");
        return false;
    }
    return true;
}

void observe_watch_start(struct observe_engine *engine)
{
    if (engine->run->watch)
        observe_wake_at(engine, &engine->watch, 0);
    if (engine->marks_fd < 0)
        return;
    invariant(uv_poll_init(&engine->loop, &engine->marks, engine->marks_fd) == 0);
    engine->marks.data = engine;
    invariant(uv_poll_start(&engine->marks, UV_READABLE, marks_cb) == 0);
    engine->handles_open++;
}

static void marks_closed_cb(uv_handle_t *handle)
{
    struct observe_engine *engine = handle->data;
    engine->handles_open--;
}

void observe_watch_stop(struct observe_engine *engine)
{
    if (engine->marks_fd >= 0)
        uv_close((uv_handle_t *)&engine->marks, marks_closed_cb);
}

void observe_watch_deinit(struct observe_engine *engine)
{
    if (engine->marks_fd >= 0)
        (void)close(engine->marks_fd); /* was only read */
    if (engine->marks_made)
        (void)unlink(engine->run->marks); /* what cannot be removed does no harm */
}
