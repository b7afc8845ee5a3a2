/*
 * Calls of tally.v1. Owns the pool of works (one per call in progress), the buffers of requests,
 * the page on which long answers are written, and the counts per principal.
 *
 * A work lives from the call's message to its end. The engine keeps the call alive until it is
 * finished, whether the client still listens or not, so a work never looks at a stream: a client
 * that went away costs a dropped answer. Only a read that waits for min_index is cut short then,
 * since nobody needs it any more.
 *
 * Reads that are ready run at once while the turn's time lasts and are put off otherwise,
 * principals taking turns. That keeps them linearizable: the state only moves on, and the answer
 * has not left yet. A read that may take long (thousands of records, some of them on disk) works in
 * slices and comes again; its answer grows on a page of its own, so one such read is under way at a
 * time.
 *
 * Everything here is bounded: works by requests_max, bytes by request_bytes_max, each principal by
 * its row; beyond any of them the call is pushed back with NOT_ACCEPTED and a retry hint.
 */
#include "server/dispatch.h"

#include "core/invariant.h"
#include "replication/node/node_cluster.h"
#include "server/buffer_pool.h"
#include "server/in_doubt_service.h"
#include "server/read_queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for the longest answer: 8190 transfers of 208 bytes, 1.7 MB, and what surrounds them. */
#define PAGE_SIZE_MAX (REQUEST_EVENTS_MAX * WIRE_TRANSFER_SIZE_MAX + 4096)

/* Reads of one turn may take this long together; then the loop has its way first, since a node that
 * looks up ids for a second acknowledges nothing for a second. A request needs about three turns.
 */
#define READ_TURN_NS (2ull * 1000 * 1000)

/* And one slice of a long read this long. */
#define READ_SLICE_NS (1ull * 1000 * 1000)

struct dispatch_method {
    struct dispatch *dispatch;
    enum method method;
};

struct dispatch {
    struct dispatch_options options;
    struct in_flight in_flight;
    struct buffer_pool *buffers;
    struct wire_writer page;
    struct wire_writer long_page;
    struct work *long_page_owner; /* the read in slices that is under way, or NULL */
    struct work *works;           /* requests_max of them */
    struct work *free_works;
    uint32_t work_count;
    struct read_queue put_off;
    uint64_t read_ns;      /* spent on reads in this turn */
    uint64_t slice_ns;     /* length of a slice */
    uint64_t slice_end_ns; /* of the read that runs just now */
    bool ready;
    const char *not_ready_reason;
    const char *drained;                                 /* NULL: it is not */
    char node_text[24], epoch_text[24], leader_text[24]; /* "" = no leader known */
    struct work *leader_waiter; /* TransferLeadership that waits for its end, or NULL */
    struct dispatch_method methods[METHOD_COUNT];
};

struct dispatch *dispatch_create(const struct dispatch_options *options)
{
    struct dispatch *dispatch = calloc(1, sizeof *dispatch);
    if (!dispatch)
        return NULL;
    dispatch->options = *options;
    dispatch->in_flight.default_max = options->requests_per_principal;
    dispatch->buffers = buffer_pool_create(options->request_bytes_max);
    dispatch->page.bytes = malloc(PAGE_SIZE_MAX);
    dispatch->page.capacity = PAGE_SIZE_MAX;
    dispatch->long_page.bytes = malloc(PAGE_SIZE_MAX);
    dispatch->long_page.capacity = PAGE_SIZE_MAX;
    dispatch->slice_ns = READ_SLICE_NS;
    dispatch->works = calloc(options->requests_max, sizeof *dispatch->works);
    if (!dispatch->buffers || !dispatch->page.bytes || !dispatch->long_page.bytes ||
        !dispatch->works) {
        dispatch_destroy(dispatch);
        return NULL;
    }
    for (uint32_t i = 0; i < options->requests_max; i++) {
        dispatch->works[i].next = dispatch->free_works;
        dispatch->free_works = &dispatch->works[i];
    }
    for (int method = 0; method < METHOD_COUNT; method++)
        dispatch->methods[method] = (struct dispatch_method){dispatch, (enum method)method};
    struct node_status status;
    node_status(options->node, &status);
    snprintf(dispatch->node_text, sizeof dispatch->node_text, "%" PRIu64, status.node_id);
    snprintf(dispatch->epoch_text, sizeof dispatch->epoch_text, "%" PRIu64, status.epoch);
    dispatch->not_ready_reason = "starting";
    return dispatch;
}

void dispatch_destroy(struct dispatch *dispatch)
{
    if (!dispatch)
        return;
    invariant_values(dispatch->work_count == 0, dispatch->work_count, 0);
    buffer_pool_destroy(dispatch->buffers);
    free(dispatch->page.bytes);
    free(dispatch->long_page.bytes);
    free(dispatch->works);
    free(dispatch);
}

void dispatch_set_ready(struct dispatch *dispatch, bool ready, const char *reason)
{
    dispatch->ready = ready;
    dispatch->not_ready_reason = reason;
}

void dispatch_set_drained(struct dispatch *dispatch, const char *text)
{
    dispatch->drained = text && *text ? text : NULL;
}

void dispatch_set_leader(struct dispatch *dispatch, uint64_t leader_id)
{
    dispatch->leader_text[0] = '\0';
    if (leader_id != 0)
        snprintf(dispatch->leader_text, sizeof dispatch->leader_text, "%" PRIu64, leader_id);
}

bool dispatch_wait_for_leader(struct dispatch *dispatch, struct work *work)
{
    if (work && dispatch->leader_waiter)
        return false;
    dispatch->leader_waiter = work;
    return true;
}

uint32_t dispatch_call_count(const struct dispatch *dispatch)
{
    return dispatch->work_count;
}

uint64_t dispatch_bytes(const struct dispatch *dispatch)
{
    return buffer_pool_bytes(dispatch->buffers);
}

const struct dispatch_options *dispatch_options(const struct dispatch *dispatch)
{
    return &dispatch->options;
}

struct buffer_pool *dispatch_buffers(struct dispatch *dispatch)
{
    return dispatch->buffers;
}

struct wire_writer *dispatch_page(struct dispatch *dispatch)
{
    dispatch->page.size = 0;
    dispatch->page.full = false;
    return &dispatch->page;
}

/* ---- the end of a call ---- */

static void add_trailers(struct dispatch *dispatch, struct grpc_call *call, uint64_t index,
                         const char *outcome, uint32_t retry_ms)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, index);
    grpc_call_add_trailer(call, "tally-epoch", dispatch->epoch_text);
    grpc_call_add_trailer(call, "tally-index", number);
    grpc_call_add_trailer(call, "tally-node", dispatch->node_text);
    if (dispatch->leader_text[0])
        grpc_call_add_trailer(call, "tally-leader", dispatch->leader_text);
    if (outcome)
        grpc_call_add_trailer(call, "tally-outcome", outcome);
    if (retry_ms != 0) {
        snprintf(number, sizeof number, "%" PRIu32, retry_ms);
        grpc_call_add_trailer(call, "tally-retry-ms", number);
    }
}

/* 0 at a witness, which has no state. */
static uint64_t applied_index(const struct dispatch *dispatch)
{
    const struct machine *machine = node_machine(dispatch->options.node);
    return machine ? machine_applied_index(machine) : 0;
}

/* Gives everything back; the call is the last to go, and nothing of the work is used after. */
static void work_end(struct work *work, enum grpc_code code, const char *message)
{
    struct dispatch *dispatch = work->dispatch;
    struct grpc_call *call = work->call;
    metrics_call(dispatch->options.metrics, work->method, code, uv_hrtime() - work->started_ns);
    in_flight_leave(&dispatch->in_flight, &work->caller);
    if (work->buffer)
        buffer_pool_give(dispatch->buffers, work->buffer, work->buffer_size);
    grpc_call_set_data(call, NULL);
    if (dispatch->long_page_owner == work)
        dispatch->long_page_owner = NULL;
    invariant(dispatch->work_count > 0);
    dispatch->work_count--;
    work->next = dispatch->free_works;
    dispatch->free_works = work;
    grpc_call_finish(call, code, message);
}

void work_finish(struct work *work, uint64_t index)
{
    add_trailers(work->dispatch, work->call, index, NULL, 0);
    work_end(work, GRPC_OK, NULL);
}

void work_finish_page(struct work *work, uint64_t index)
{
    struct dispatch *dispatch = work->dispatch;
    bool is_long = dispatch->long_page_owner == work;
    const struct wire_writer *page = is_long ? &dispatch->long_page : &dispatch->page;
    invariant_values(!page->full, page->size, page->capacity);
    uint8_t *room = grpc_call_reserve(work->call, page->size);
    if (room)
        memcpy(room, page->bytes, page->size);
    work_finish(work, index);
}

static void finish_refusal(struct work *work, const struct refusal *refusal, uint64_t index)
{
    add_trailers(work->dispatch, work->call, index, refusal->outcome, refusal->retry_ms);
    work_end(work, refusal->code, refusal->message);
}

void work_finish_refusal(struct work *work, const struct refusal *refusal)
{
    finish_refusal(work, refusal, applied_index(work->dispatch));
}

void work_finish_outcome(struct work *work, const struct answer *answer)
{
    struct refusal refusal = refusal_of_outcome(answer->outcome);
    finish_refusal(work, &refusal, answer->index);
}

static void log_busy(struct dispatch *dispatch, const char *principal, const char *reason)
{
    struct log_line line;
    log_begin(&line, EVENT_BUSY);
    log_text(&line, "principal", principal);
    log_text(&line, "reason", reason);
    log_end(dispatch->options.log, &line);
}

/* Nothing was put into the log: in the node's own words, where it has some, so that a client is
 * told whom it misses. */
static void explain(const struct dispatch *dispatch, enum status status, struct refusal *refusal,
                    char *text, size_t size)
{
    char why[NODE_REFUSAL_SIZE];
    if (status != STATUS_NOT_READY && status != STATUS_READ_ONLY && status != STATUS_BUSY)
        return;
    node_write_refusal(dispatch->options.node, why, sizeof why);
    if (why[0] == 0)
        return;
    snprintf(
        text, size,
        "%s; this attempt put nothing into the log: send the same request again, or to another "
        "node; GetRequest tells of earlier attempts",
        why);
    refusal->message = text;
}

void work_finish_status(struct work *work, enum status status)
{
    struct refusal refusal = refusal_of_status(status);
    char text[NODE_REFUSAL_SIZE + 160];
    explain(work->dispatch, status, &refusal, text, sizeof text);
    if (status == STATUS_BUSY)
        log_busy(work->dispatch, grpc_call_principal(work->call), "node");
    work_finish_refusal(work, &refusal);
}

void work_finish_malformed(struct work *work, const struct wire_error *error)
{
    struct log_line line;
    log_begin(&line, EVENT_REQUEST_MALFORMED);
    log_text(&line, "principal", grpc_call_principal(work->call));
    log_text(&line, "method", method_name(work->method));
    log_number(&line, "offset", error->offset);
    log_number(&line, "fault", error->fault);
    log_end(work->dispatch->options.log, &line);
    work_finish_code(work, GRPC_INVALID_ARGUMENT, error->text);
}

void work_finish_code(struct work *work, enum grpc_code code, const char *message)
{
    add_trailers(work->dispatch, work->call, applied_index(work->dispatch), NULL, 0);
    work_end(work, code, message);
}

/* ---- reading ---- */

/* Runs a read, or a slice of it, and charges it to the turn. The caller is judged once more: when
 * the call came, the table of principals of a node that follows may have been behind the state that
 * the answer is about. */
static void read_now(struct work *work)
{
    struct dispatch *dispatch = work->dispatch;
    uint64_t begun = uv_hrtime();
    struct denial denial;
    struct caller now;
    dispatch->slice_end_ns = begun + dispatch->slice_ns;
    work->reading = WORK_NOT_READING;
    enum grpc_code code = authorize_call(node_machine(dispatch->options.node), work->method,
                                         grpc_call_principal(work->call), &now, &denial);
    if (code != GRPC_OK)
        work_finish_code(work, code, denial.text);
    else
        work->read_done(work);
    dispatch_charge(dispatch, uv_hrtime() - begun);
}

void dispatch_reopened(struct dispatch *dispatch)
{
    while (!read_queue_is_empty(&dispatch->put_off)) {
        struct work *work = read_queue_take(&dispatch->put_off);
        work->reading = WORK_NOT_READING;
        work_finish_status(work, STATUS_NOT_READY);
    }
}

void dispatch_charge(struct dispatch *dispatch, uint64_t duration_ns)
{
    dispatch->read_ns += duration_ns;
}

void dispatch_set_slice(struct dispatch *dispatch, uint64_t slice_ns)
{
    dispatch->slice_ns = slice_ns;
}

struct wire_writer *work_long_page(struct work *work)
{
    struct dispatch *dispatch = work->dispatch;
    if (!dispatch->long_page_owner) {
        dispatch->long_page_owner = work;
        dispatch->long_page.size = 0;
        dispatch->long_page.full = false;
    }
    return dispatch->long_page_owner == work ? &dispatch->long_page : NULL;
}

bool work_slice_is_over(const struct work *work)
{
    return uv_hrtime() >= work->dispatch->slice_end_ns;
}

void work_read_again(struct work *work)
{
    work->reading = WORK_PUT_OFF;
    read_queue_put_back(&work->dispatch->put_off, work);
}

static void work_read_cb(struct node_read *read, enum status status)
{
    struct work *work = (struct work *)(void *)((char *)read - offsetof(struct work, read));
    struct dispatch *dispatch = work->dispatch;
    work->reading = WORK_NOT_READING;
    if (status != STATUS_OK) {
        work_finish_status(work, status);
    } else if (dispatch->read_ns < READ_TURN_NS && read_queue_is_empty(&dispatch->put_off)) {
        read_now(work);
    } else {
        work->reading = WORK_PUT_OFF;
        read_queue_add(&dispatch->put_off, work);
    }
}

bool dispatch_process(struct dispatch *dispatch)
{
    dispatch->read_ns = 0;
    if (dispatch->leader_waiter)
        member_service_process(dispatch->leader_waiter);
    while (!read_queue_is_empty(&dispatch->put_off) && dispatch->read_ns < READ_TURN_NS)
        read_now(read_queue_take(&dispatch->put_off));
    return !read_queue_is_empty(&dispatch->put_off);
}

/* An eighth of what is left, at most this, is kept for the way back. */
#define ANSWER_WAY_NS (50ull * 1000 * 1000)

uint64_t work_deadline_ns(const struct work *work, uint64_t otherwise)
{
    uint64_t deadline = grpc_call_deadline_ns(work->call);
    uint64_t now = uv_hrtime();
    if (deadline == UINT64_MAX)
        return otherwise;
    uint64_t way = deadline > now ? (deadline - now) / 8 : 0;
    return deadline - (way < ANSWER_WAY_NS ? way : ANSWER_WAY_NS);
}

void work_read(struct work *work, uint64_t min_index, void (*cb)(struct work *work))
{
    struct dispatch *dispatch = work->dispatch;
    uint64_t latest = uv_hrtime() + (uint64_t)dispatch->options.read_wait_ms * 1000000;
    uint64_t deadline = grpc_call_deadline_ns(work->call);
    work->read_done = cb;
    work->read = (struct node_read){
        .min_index = min_index,
        .deadline_ns = deadline < latest ? deadline : latest,
        .max_age_ns = grpc_call_max_age_ns(work->call),
        .cb = work_read_cb,
    };
    work->reading = WORK_WAITING;
    enum status status = node_read(dispatch->options.node, &work->read);
    if (status != STATUS_OK) {
        work->reading = WORK_NOT_READING;
        work_finish_status(work, status);
    }
}

/* ---- the beginning of a call ---- */

/* Ends a call that never became a work. */
static void refuse_call(struct dispatch *dispatch, enum method method, struct grpc_call *call,
                        enum grpc_code code, const char *outcome, uint32_t retry_ms,
                        const char *message)
{
    metrics_refused(dispatch->options.metrics, method, code);
    add_trailers(dispatch, call, applied_index(dispatch), outcome, retry_ms);
    grpc_call_finish(call, code, message);
}

static void refuse_busy(struct dispatch *dispatch, enum method method, struct grpc_call *call,
                        const char *reason)
{
    log_busy(dispatch, grpc_call_principal(call), reason);
    refuse_call(dispatch, method, call, GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED", 50, reason);
}

static bool caller_of(struct dispatch *dispatch, enum method method, struct grpc_call *call,
                      struct caller *out)
{
    struct denial denial;
    const char *uri = grpc_call_principal(call);
    enum grpc_code code =
        authorize_call(node_machine(dispatch->options.node), method, uri, out, &denial);
    if (code == GRPC_OK)
        return true;
    struct log_line line;
    log_begin(&line, EVENT_ACCESS_DENIED);
    log_text(&line, "principal", uri);
    log_text(&line, "method", method_name(method));
    log_end(dispatch->options.log, &line);
    refuse_call(dispatch, method, call, code, NULL, 0, denial.text);
    return false;
}

/* How the node and its cluster are can be asked before it serves, or when it does not get so far:
 * that is when an operator needs to know. Of who may ask it knows what it has applied; somebody who
 * is not in that table hears that the node is not ready, not that he is refused. */
static bool answers_before_ready(const struct dispatch *dispatch, enum method method,
                                 struct grpc_call *call)
{
    const struct machine *machine = node_machine(dispatch->options.node);
    struct caller caller;
    struct denial denial;
    return (method == METHOD_GET_STATUS || method == METHOD_LIST_MEMBERS) && machine &&
           authorize_call(machine, method, grpc_call_principal(call), &caller, &denial) == GRPC_OK;
}

static bool is_about_members(enum method method)
{
    return method == METHOD_LIST_MEMBERS || method == METHOD_ADD_MEMBER ||
           method == METHOD_REPLACE_MEMBER || method == METHOD_REMOVE_MEMBER ||
           method == METHOD_TRANSFER_LEADERSHIP;
}

/* What clients ask, and not operators. */
static bool is_about_the_ledger(enum method method)
{
    return strncmp(method_path(method), "/tally.v1.Ledger/", strlen("/tally.v1.Ledger/")) == 0;
}

static void dispatch_message(void *context, struct grpc_call *call, const uint8_t *message,
                             size_t size)
{
    struct dispatch_method *entry = context;
    struct dispatch *dispatch = entry->dispatch;
    enum method method = entry->method;
    struct caller caller;

    if (!dispatch->ready && !answers_before_ready(dispatch, method, call)) {
        char text[160];
        snprintf(text, sizeof text,
                 "the node is not ready: %s; this attempt put nothing into the log: send the same "
                 "request again",
                 dispatch->not_ready_reason);
        refuse_call(dispatch, method, call, GRPC_UNAVAILABLE, "NOT_ACCEPTED", 200, text);
        return;
    }
    if (!caller_of(dispatch, method, call, &caller))
        return;
    if (dispatch->drained && is_about_the_ledger(method)) {
        char text[448];
        snprintf(text, sizeof text,
                 "%s; this attempt put nothing into the log: send the same request there",
                 dispatch->drained);
        refuse_call(dispatch, method, call, GRPC_UNAVAILABLE, "NOT_ACCEPTED", 200, text);
        return;
    }
    struct work *work = dispatch->free_works;
    if (!work) {
        refuse_busy(dispatch, method, call,
                    "as many calls are in progress as the node allows (limits.requests); send the "
                    "same request again later");
        return;
    }
    if (!in_flight_enter(&dispatch->in_flight, &caller)) {
        char text[160];
        snprintf(text, sizeof text,
                 "this principal has the %" PRIu32 " calls in progress that it may have; send the "
                 "same request again later",
                 in_flight_max(&dispatch->in_flight, &caller));
        refuse_busy(dispatch, method, call, text);
        return;
    }
    dispatch->free_works = work->next;
    dispatch->work_count++;
    *work = (struct work){
        .dispatch = dispatch,
        .call = call,
        .method = method,
        .caller = caller,
        .started_ns = uv_hrtime(),
        .message = message,
        .message_size = size,
    };
    grpc_call_set_data(call, work);
    if (method_operation(method) != 0)
        ledger_service_begin(work);
    else if (method == METHOD_LIST_PRINCIPALS || method == METHOD_GET_STATUS)
        admin_service_begin(work);
    else if (is_about_members(method))
        member_service_begin(work);
    else if (method == METHOD_OPERATE_SITE)
        site_service_begin(work);
    else if (method == METHOD_LIST_IN_DOUBT)
        in_doubt_service_begin(work);
    else
        ledger_read_service_begin(work);
}

/* The client went away. A request goes on; a read that waits need not, nor need somebody wait for
 * the end of a change of members or leadership. */
static void dispatch_gone(void *context, struct grpc_call *call)
{
    (void)context;
    struct work *work = grpc_call_data(call);
    if (work)
        work->gone = true;
    if (work && work->changing != WORK_NOT_CHANGING) {
        if (work->changing == WORK_OPERATING_SITE)
            site_service_gone(work);
        else
            member_service_gone(work);
        work_finish_code(work, GRPC_CANCELLED, "the client went away");
        return;
    }
    if (!work || work->reading == WORK_NOT_READING)
        return;
    if (work->reading == WORK_WAITING)
        node_read_cancel(work->dispatch->options.node, &work->read);
    else
        read_queue_remove(&work->dispatch->put_off, work);
    work->reading = WORK_NOT_READING;
    work_finish_code(work, GRPC_CANCELLED, "the client went away");
}

void dispatch_register(struct dispatch *dispatch, struct grpc_server *server)
{
    for (int method = 0; method < METHOD_COUNT; method++) {
        struct grpc_method row = {
            .path = method_path((enum method)method),
            .message = dispatch_message,
            .gone = dispatch_gone,
            .context = &dispatch->methods[method],
        };
        grpc_server_add(server, &row);
    }
}
