/*
 * Verdicts on attempts; the table is in the header, a row per line in tests/client/test_judge.c.
 *
 * Why repeating is always allowed: the bytes of every attempt are the same, identity included, and
 * the ledger executes an identity at most once. So the question is never "is it dangerous to
 * repeat" but only "what may we claim when we stop": refused, not sent, or unknown.
 */
#include "client/judge.h"

#include "core/planted_fault.h"
#include "core/result.h"

#include <stdlib.h>
#include <string.h>

enum {
    CODE_OK = 0,
    CODE_CANCELLED = 1,
    CODE_UNKNOWN = 2,
    CODE_DEADLINE_EXCEEDED = 4,
    CODE_RESOURCE_EXHAUSTED = 8,
    CODE_ABORTED = 10,
    CODE_INTERNAL = 13,
    CODE_UNAVAILABLE = 14,
    CODE_DATA_LOSS = 15,
};

#define RETRY_HINT_MAX_MS 60000u

static uint8_t outcome_of(const char *name)
{
    if (name == NULL)
        return TALLY_OUTCOME_NONE;
    if (strcmp(name, "NOT_ACCEPTED") == 0)
        return TALLY_OUTCOME_NOT_ACCEPTED;
    for (uint8_t outcome = 0; outcome < OUTCOME_COUNT; outcome++)
        if (strcmp(name, outcome_name(outcome)) == 0)
            return outcome;
    return TALLY_OUTCOME_NONE;
}

/* A hint that is no number is no hint: it only delays. */
static uint32_t hint_of(const char *text)
{
    if (text == NULL || *text == '\0')
        return 0;
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0')
        return 0;
    return value < RETRY_HINT_MAX_MS ? (uint32_t)value : RETRY_HINT_MAX_MS;
}

static void judge_answer(struct judgement *j, int grpc_status)
{
    switch (j->outcome) {
    case TALLY_OUTCOME_ISSUED_TOO_FAR_AHEAD:
    case TALLY_OUTCOME_WINDOW_FULL:
    case TALLY_OUTCOME_NOT_ACCEPTED:
        j->verdict = VERDICT_AGAIN;
        j->said_no = true;
        j->leave = j->outcome == TALLY_OUTCOME_NOT_ACCEPTED;
        return;
    case TALLY_OUTCOME_NONCE_REUSED:
    case TALLY_OUTCOME_REQUEST_FENCED:
        j->verdict = VERDICT_REFUSED;
        j->settles = true;
        return;
    case TALLY_OUTCOME_BEYOND_WINDOW:
    case TALLY_OUTCOME_NOT_PERMITTED:
    case TALLY_OUTCOME_MALFORMED:
        j->verdict = VERDICT_REFUSED;
        j->settles = planted(PLANTED_DENIAL_SETTLES) && j->outcome == TALLY_OUTCOME_NOT_PERMITTED;
        return;
    default:
        break;
    }
    switch (grpc_status) {
    case CODE_RESOURCE_EXHAUSTED:
        j->verdict = j->retry_ms > 0 ? VERDICT_AGAIN : VERDICT_REFUSED;
        j->said_no = true;
        return;
    case CODE_CANCELLED:
    case CODE_UNKNOWN:
    case CODE_DEADLINE_EXCEEDED:
    case CODE_ABORTED:
    case CODE_INTERNAL:
    case CODE_UNAVAILABLE:
    case CODE_DATA_LOSS:
        j->verdict = VERDICT_AGAIN;
        j->doubt = true;
        j->leave = true;
        return;
    default:
        j->verdict = VERDICT_REFUSED;
        return;
    }
}

struct judgement judge(enum http2_fate fate, int grpc_status, const char *trailer_outcome,
                       const char *trailer_retry_ms)
{
    struct judgement j = {.verdict = VERDICT_AGAIN, .outcome = TALLY_OUTCOME_NONE, .leave = true};
    switch (fate) {
    case HTTP2_NOT_SENT:
    case HTTP2_NOT_PROCESSED:
        return j;
    case HTTP2_UNKNOWN:
        j.doubt = true;
        return j;
    case HTTP2_ANSWERED:
        break;
    }
    j.leave = false;
    if (grpc_status == CODE_OK) {
        j.verdict = VERDICT_ANSWER;
        return j;
    }
    j.outcome = outcome_of(trailer_outcome);
    j.retry_ms = hint_of(trailer_retry_ms);
    judge_answer(&j, grpc_status);
    return j;
}

enum tally_status judge_end(const struct judgement *last, bool changes, bool in_doubt,
                            bool was_sent)
{
    bool refused =
        last->verdict == VERDICT_REFUSED || (last->verdict == VERDICT_AGAIN && last->said_no);
    if (!changes) {
        if (refused)
            return TALLY_REFUSED;
        return was_sent ? TALLY_NO_ANSWER : TALLY_NOT_SENT;
    }
    if (planted(PLANTED_DOUBT_FORGOTTEN) && refused)
        return TALLY_REFUSED;
    if (in_doubt && !last->settles)
        return TALLY_UNKNOWN;
    return refused ? TALLY_REFUSED : TALLY_NOT_SENT;
}

uint32_t judge_pause_ms(uint32_t attempt, uint32_t hint_ms, uint32_t random)
{
    if (hint_ms > 0)
        return hint_ms + random % (hint_ms / 4 + 1);
    uint32_t whole = attempt <= 6 ? 10u << attempt : 1000;
    if (whole > 1000)
        whole = 1000;
    return whole / 2 + random % (whole / 2 + 1);
}
