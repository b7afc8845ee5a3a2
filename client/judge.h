/*
 * What one attempt of a call means. Pure; the table that "may be repeated" and "is unknown" rest
 * on.
 *
 *   what came back                                    verdict   doubt
 *   answer, grpc status 0                             ANSWER    -
 *   nothing left this machine, or the server says
 *     it did not look at it                           AGAIN     no
 *   left, no answer                                   AGAIN     yes
 *   UNAVAILABLE, trailer tally-outcome=NOT_ACCEPTED   AGAIN     no
 *   ISSUED_TOO_FAR_AHEAD, WINDOW_FULL                 AGAIN     no
 *   RESOURCE_EXHAUSTED with tally-retry-ms            AGAIN     no
 *   UNAVAILABLE, CANCELLED, DEADLINE_EXCEEDED,
 *     UNKNOWN, ABORTED, INTERNAL, DATA_LOSS           AGAIN     yes
 *   INTERNAL with outcome MALFORMED; others           REFUSED   no
 *
 * A refusal speaks about its own attempt. When an earlier attempt is in doubt it settles the
 * request only if it says something about every attempt: NONCE_REUSED (the nonce belongs to another
 * request, so ours never executed) and REQUEST_FENCED (will never execute). BEYOND_WINDOW does not:
 * the earlier attempt may have executed inside the window.
 */
#ifndef TALLY_CLIENT_JUDGE_H
#define TALLY_CLIENT_JUDGE_H

#include "client/tally.h"
#include "net/http2_client.h"

enum verdict {
    VERDICT_ANSWER,
    VERDICT_REFUSED, /* repeating the same request is of no use */
    VERDICT_AGAIN,
};

struct judgement {
    enum verdict verdict;
    bool doubt;        /* this attempt may have taken effect, or may yet */
    bool settles;      /* REFUSED: holds for all earlier attempts too */
    bool said_no;      /* AGAIN: the server refused for now, rather than being out of reach */
    bool leave;        /* AGAIN: try another server */
    uint8_t outcome;   /* enum tally_outcome, from the trailer */
    uint32_t retry_ms; /* the server's hint, at most 60 000; 0 = none */
};

/* `fate`, `grpc_status` as of a finished call; the trailers' values or NULL. */
struct judgement judge(enum http2_fate fate, int grpc_status, const char *trailer_outcome,
                       const char *trailer_retry_ms);

/* How the whole call ends when no further attempt is made. `changes`: the call may change
 * something. `in_doubt`: some attempt had `doubt`, this one included. `was_sent`: some attempt
 * left. */
enum tally_status judge_end(const struct judgement *last, bool changes, bool in_doubt,
                            bool was_sent);

/* Pause before attempt number `attempt` (1 = first repetition), ms: from 20 doubling to 1000,
 * between half and whole of it by `random`; the server's hint instead when there is one, and up to
 * a quarter more. */
uint32_t judge_pause_ms(uint32_t attempt, uint32_t hint_ms, uint32_t random);

#endif
