/*
 * A call: attempts, one at a time, until an answer, a refusal for good, or the end of its time. An
 * attempt ends when the node calls back, or by its own limit; then the node may still call back,
 * and nobody listens, as with a connection that was given up.
 *
 * No call of the library is repeated by anybody else, so "nothing of it is in the log" is a plain
 * question at the end (oracle_judge.c, facts that were denied).
 */
#include "chaos/sim/desks.h"

#include "client/judge.h"
#include "server/dispatch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ATTEMPT_NS          (1500 * NS_PER_MS)
#define ATTEMPT_TIME_MIN_NS (50 * NS_PER_MS)
#define LATENCY_NS          (300 * NS_PER_US)
#define HURRY_NS            (20 * NS_PER_MS)

struct desks_attempt {
    struct node_request request; /* first */
    struct desk *desk;
    struct host *host;
    struct fact *fact;
    uint64_t round;
    struct desks_attempt *next, *previous;
};

/* What came back, as the library would get it from the wire. */
struct reply {
    enum http2_fate fate;
    struct refusal refusal; /* ANSWERED, code not 0 */
};

static void call_begin(void *context, uint64_t number, uint64_t round);
static void attempt_begin(void *context, uint64_t number, uint64_t round);

static uint64_t now(const struct desks *desks)
{
    return desks->world->now_ns;
}

static bool may_be_asked(const struct host *host)
{
    return host->kind == MEMBER_DATA;
}

/* ---- the end of a call ---- */

static void call_end(struct desk *desk, enum tally_status status)
{
    struct desks *desks = desk->desks;
    struct fact *fact = desk->fact;
    world_note(desks->world, "call ended", desk->number, fact->number, status);
    desks->call_total++;
    switch (status) {
    case TALLY_UNKNOWN:
        desks->unknown_total++;
        break;
    case TALLY_REFUSED:
    case TALLY_NOT_SENT:
        desks->refused_total += status == TALLY_REFUSED;
        desks->not_sent_total += status == TALLY_NOT_SENT;
        fact->denied = true;
        if (fact->answered && fact->outcome == OUTCOME_EXECUTED)
            world_violate(desks->world,
                          "the library tells a desk that request %" PRIu64
                          " was %s, and it was executed at index %" PRIu64,
                          fact->number, status == TALLY_REFUSED ? "refused" : "not sent",
                          fact->index);
        break;
    default:
        break;
    }
    desk->fact = NULL;
    desk->round++;
    if (desks->steady)
        world_post(desks->world, now(desks) + draw_below(&desks->draw, 2 * desks->think_ns + 1),
                   call_begin, desks, desk->number, desk->round);
}

static void move_on(struct desk *desk)
{
    const struct desks *desks = desk->desks;
    do {
        desk->server = (desk->server + 1) % desks->host_count;
    } while (!may_be_asked(&desks->hosts[desk->server]));
}

static uint32_t server_count(const struct desks *desks)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < desks->host_count; i++)
        count += may_be_asked(&desks->hosts[i]);
    return count;
}

/* As attempt_done() in client/call.c. */
static void attempt_ended(struct desk *desk, const struct reply *reply)
{
    struct desks *desks = desk->desks;
    char retry_text[16];
    snprintf(retry_text, sizeof retry_text, "%u", reply->refusal.retry_ms);
    const struct judgement j = judge(reply->fate, reply->refusal.code, reply->refusal.outcome,
                                     reply->refusal.retry_ms > 0 ? retry_text : NULL);
    desk->round++;
    if (reply->fate != HTTP2_NOT_SENT)
        desk->was_sent = true;
    desk->in_doubt |= j.doubt;
    if (j.leave)
        move_on(desk);
    if (j.verdict == VERDICT_ANSWER) {
        call_end(desk, TALLY_OK);
        return;
    }
    uint64_t pause_ns =
        judge_pause_ms(desk->attempt_count, j.retry_ms, (uint32_t)draw_u64(&desks->draw)) *
        NS_PER_MS;
    const bool out_of_reach = j.retry_ms == 0 || reply->refusal.code == GRPC_UNAVAILABLE;
    if (j.leave && out_of_reach && desk->attempt_count < server_count(desks))
        pause_ns = 0;
    if (j.verdict == VERDICT_REFUSED || now(desks) + pause_ns >= desk->last_start_ns)
        call_end(desk, judge_end(&j, true, desk->in_doubt, desk->was_sent));
    else
        world_post(desks->world, now(desks) + pause_ns + LATENCY_NS, attempt_begin, desks,
                   desk->number, desk->round);
}

/* ---- attempts ---- */

static void attempt_destroy(struct desks *desks, struct desks_attempt *attempt)
{
    if (attempt->previous != NULL)
        attempt->previous->next = attempt->next;
    else
        desks->attempts = attempt->next;
    if (attempt->next != NULL)
        attempt->next->previous = attempt->previous;
    free(attempt);
}

static struct reply reply_of(enum status status, const struct answer *answer)
{
    if (status != STATUS_OK)
        return (struct reply){.fate = HTTP2_ANSWERED, .refusal = refusal_of_status(status)};
    if (answer->outcome == OUTCOME_EXECUTED)
        return (struct reply){.fate = HTTP2_ANSWERED};
    return (struct reply){.fate = HTTP2_ANSWERED, .refusal = refusal_of_outcome(answer->outcome)};
}

static void called_back(struct node_request *request, enum status status,
                        const struct answer *answer)
{
    struct desks_attempt *attempt = (struct desks_attempt *)(void *)request;
    struct desk *desk = attempt->desk;
    struct desks *desks = desk->desks;
    const bool current = attempt->round == desk->round;
    if (attempt->host->dying) { /* its process has gone, and the connection with it */
        const struct reply reply = {.fate = HTTP2_UNKNOWN};
        if (current)
            attempt_ended(desk, &reply);
    } else {
        if (status == STATUS_OK)
            oracle_answered(desks->oracle, attempt->fact, answer, attempt->host->number);
        const struct reply reply = reply_of(status, answer);
        if (current)
            attempt_ended(desk, &reply);
    }
    attempt_destroy(desks, attempt);
}

static void timed_out(void *context, uint64_t number, uint64_t round)
{
    struct desks *desks = context;
    struct desk *desk = &desks->desk[number];
    const struct reply reply = {.fate = HTTP2_UNKNOWN};
    if (desk->round == round && desk->fact != NULL)
        attempt_ended(desk, &reply);
}

static void attempt_begin(void *context, uint64_t number, uint64_t round)
{
    struct desks *desks = context;
    struct desk *desk = &desks->desk[number];
    if (desk->round != round || desk->fact == NULL)
        return;
    struct host *host = &desks->hosts[desk->server];
    const struct reply not_sent = {.fate = HTTP2_NOT_SENT};
    desk->attempt_count++;
    if (!host_is_up(host) || host->unreachable || host->paused_until_ns > now(desks)) {
        attempt_ended(desk, &not_sent);
        return;
    }
    if (host->busy_until_ns > now(desks)) { /* it reads no calls now: the attempt's time runs */
        if (host->busy_until_ns > now(desks) + ATTEMPT_NS) {
            const struct reply reply = {.fate = HTTP2_UNKNOWN};
            attempt_ended(desk, &reply);
        } else {
            desk->attempt_count--;
            world_post(desks->world, host->busy_until_ns, attempt_begin, desks, number, round);
        }
        return;
    }
    uint64_t left_ns = desk->deadline_ns > now(desks) ? desk->deadline_ns - now(desks) : 1;
    if (left_ns > ATTEMPT_NS)
        left_ns = ATTEMPT_NS;
    struct desks_attempt *attempt = sim_allocate(sizeof *attempt);
    attempt->request.request = desk->fact->bytes;
    attempt->request.deadline_ns = host_monotonic_ns(host) + left_ns;
    attempt->request.cb = called_back;
    attempt->desk = desk;
    attempt->host = host;
    attempt->fact = desk->fact;
    attempt->round = desk->round;
    attempt->next = desks->attempts;
    if (desks->attempts != NULL)
        desks->attempts->previous = attempt;
    desks->attempts = attempt;
    oracle_sent(desks->oracle, desk->fact, false);
    const enum status status = node_propose(host->node, &attempt->request);
    host_left(host);
    if (status != STATUS_OK) {
        attempt_destroy(desks, attempt);
        const struct reply reply = {.fate = HTTP2_ANSWERED, .refusal = refusal_of_status(status)};
        attempt_ended(desk, &reply);
        return;
    }
    world_post(desks->world, now(desks) + left_ns, timed_out, desks, number, desk->round);
}

/* ---- calls ---- */

static void call_begin(void *context, uint64_t number, uint64_t round)
{
    static const uint64_t times_ms[] = {300, 1000, 3000, 10000};
    struct desks *desks = context;
    struct desk *desk = &desks->desk[number];
    if (desk->round != round || desk->fact != NULL)
        return;
    desk->round++;
    if (*desks->quiet || desks->oracle->fact_count < 2 ||
        !desks->oracle->facts[1]->answered) { /* no accounts yet */
        if (!desks->steady)
            return;
        world_post(desks->world, now(desks) + 50 * NS_PER_MS, call_begin, desks, number,
                   desk->round);
        return;
    }
    const uint64_t length_ns = times_ms[draw_below(&desks->draw, 4)] * NS_PER_MS;
    const uint64_t kept_ns =
        length_ns / 4 < ATTEMPT_TIME_MIN_NS ? length_ns / 4 : ATTEMPT_TIME_MIN_NS;
    desk->fact = oracle_transfers(desks->oracle, world_wall_ns(desks->world));
    desk->fact->only_once = true;
    desk->deadline_ns = now(desks) + length_ns;
    desk->last_start_ns = desk->deadline_ns - kept_ns;
    desk->attempt_count = 0;
    desk->in_doubt = desk->was_sent = false;
    attempt_begin(desks, number, desk->round);
}

void desks_start(struct desks *desks)
{
    desks->draw = draw_stream(desks->world->seed, 4200);
    for (uint32_t i = 0; i < desks->count; i++) {
        desks->desk[i] = (struct desk){.desks = desks, .number = i};
        if (desks->steady)
            world_post(desks->world, now(desks) + i * NS_PER_MS, call_begin, desks, i, 0);
    }
}

void desks_hurry(struct desks *desks)
{
    for (uint32_t i = 0; i < desks->count; i++) {
        struct desk *desk = &desks->desk[i];
        if (desk->fact != NULL)
            continue;
        desk->round++; /* instead of the next one */
        world_post(desks->world, now(desks) + draw_below(&desks->draw, HURRY_NS), call_begin, desks,
                   i, desk->round);
    }
}

bool desks_are_idle(const struct desks *desks)
{
    for (uint32_t i = 0; i < desks->count; i++)
        if (desks->desk[i].fact != NULL)
            return false;
    return true;
}

void desks_deinit(struct desks *desks)
{
    while (desks->attempts != NULL)
        attempt_destroy(desks, desks->attempts);
}
