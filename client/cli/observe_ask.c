/*
 * What became of the unknown ones. A canary whose deadline passed while an attempt was in doubt is
 * asked about at all servers in turn, with GetRequest, until one tells:
 *
 *     executed       -> found posted, or found refused
 *     not yet seen   -> FenceRequest, with the same identity: from then on it cannot execute any
 *                       more. Its answer says which came first, the fence or the request
 *     no answer      -> to the end of the queue, and the next server
 *
 * Without the fence "not yet seen" would be no answer: the bytes may still wait in some buffer. The
 * queue has room for every record of the run; a few questions are under way at once, and they are
 * paced, so that a thousand unknown requests do not become a thousand questions to a cluster that
 * has just come back.
 */
#include "client/cli/observe_engine.h"

#include "core/invariant.h"

#include <stdlib.h>

#define ASK_PACE_NS    5000000ull
#define ASK_TIMEOUT_NS 1000000000ull

static void ask_send(struct observe_ask *ask);

void observe_ask_add(struct observe_engine *engine, struct observe_record *record)
{
    invariant_values(engine->unknown_count < engine->unknown_size, engine->unknown_count,
                     engine->unknown_size); /* a record is in it once */
    size_t place = (engine->unknown_first + engine->unknown_count) % engine->unknown_size;
    engine->unknown[place] = record;
    engine->unknown_count++;
    if (engine->ask.deadline.place == 0 && !engine->closing)
        observe_wake_at(engine, &engine->ask, observe_now(engine->run) + ASK_PACE_NS);
}

static void ask_end(struct observe_ask *ask, enum observe_outcome outcome)
{
    struct observe_engine *engine = ask->engine;
    struct observe_record *record = ask->record;
    ask->record = NULL;
    engine->ask_count--;
    if (outcome == OBSERVE_UNKNOWN) {
        observe_ask_add(engine, record);
    } else {
        record->outcome = (uint8_t)outcome;
        record->resolved_ns = observe_now(engine->run);
    }
    observe_engine_step(engine);
}

static void ask_done(struct http2_call *call)
{
    struct observe_ask *ask = call->context;
    struct observe_engine *engine = ask->engine;
    struct observe_record *record = ask->record;
    uint8_t outcome;
    if (call->fate != HTTP2_ANSWERED || call->grpc_status != 0 ||
        !observe_read_told(call->answer, call->answer_size, &outcome, &record->result,
                           &record->index, &record->timestamp_ns)) {
        engine->ask_server++;
        ask_end(ask, OBSERVE_UNKNOWN);
        return;
    }
    switch (outcome) {
    case TALLY_OUTCOME_EXECUTED:
        ask_end(ask,
                record->result == TALLY_RESULT_OK ? OBSERVE_FOUND_POSTED : OBSERVE_FOUND_REFUSED);
        break;
    case TALLY_OUTCOME_REQUEST_FENCED:
        ask_end(ask, OBSERVE_FOUND_NEVER);
        break;
    case TALLY_OUTCOME_NOT_YET_SEEN:
        if (engine->closing) {
            ask_end(ask, OBSERVE_UNKNOWN);
            break;
        }
        ask->fence = true;
        ask_send(ask);
        break;
    default: /* beyond the window, or a newer server's word: asked again until the run's end */
        ask_end(ask, OBSERVE_UNKNOWN);
        break;
    }
}

static void ask_send(struct observe_ask *ask)
{
    struct observe_engine *engine = ask->engine;
    const struct tally_identity *identity = &ask->record->identity;
    size_t size = ask->fence ? observe_pack_fence(identity, ask->message)
                             : observe_pack_question(identity, ask->message);
    ask->call = (struct http2_call){
        .path = ask->fence ? "/tally.v1.Ledger/FenceRequest" : "/tally.v1.Ledger/GetRequest",
        .request = ask->message,
        .request_size = size,
        .timeout_ns = ASK_TIMEOUT_NS,
        .context = ask,
        .done = ask_done,
    };
    uint32_t server = engine->ask_server % (uint32_t)engine->run->server_count;
    if (http2_client_call(engine->channels[server], &ask->call) != STATUS_OK)
        ask_end(ask, OBSERVE_UNKNOWN); /* the channel is full: later */
}

static void ask_due(struct observe_engine *engine, struct observe_wake *wake)
{
    for (size_t i = 0; i < OBSERVE_ASKS && engine->unknown_count > 0; i++) {
        struct observe_ask *ask = &engine->asks[i];
        if (ask->record != NULL)
            continue;
        ask->record = engine->unknown[engine->unknown_first];
        ask->fence = false;
        engine->unknown_first = (engine->unknown_first + 1) % engine->unknown_size;
        engine->unknown_count--;
        engine->ask_count++;
        ask_send(ask);
        break; /* one per pace: 200 a second */
    }
    if (engine->unknown_count > 0 && !engine->closing)
        observe_wake_at(engine, wake, observe_now(engine->run) + ASK_PACE_NS);
}

bool observe_ask_init(struct observe_engine *engine)
{
    engine->ask.fire = ask_due;
    for (size_t i = 0; i < OBSERVE_ASKS; i++)
        engine->asks[i].engine = engine;
    engine->unknown_size = engine->run->records_max * engine->run->site_count;
    engine->unknown = calloc(engine->unknown_size, sizeof *engine->unknown);
    return engine->unknown != NULL;
}

void observe_ask_deinit(struct observe_engine *engine)
{
    free(engine->unknown);
}
