/*
 * The life of one call: encoded once, attempted until it is answered or its deadline passes. Files
 * that encode and decode messages (ledger_calls.c, query_calls.c, admin_calls.c) fill a
 * call_request and give it to call_run() or call_submit(). Internal to libtally.
 */
#ifndef TALLY_CLIENT_CALL_H
#define TALLY_CLIENT_CALL_H

#include "client/internal.h"

struct call_request {
    struct tally_call *call; /* the user's */
    const char *path;        /* static: "/tally.v1.Ledger/CreateTransfers" */
    bool changes;            /* something, that is: an unanswered attempt leaves a doubt */
    /* Takes long by its nature and may be repeated at any time (members, leadership): an attempt
     * has more time, and when it ends unanswered these words say what that means. NULL: no such. */
    const char *unanswered;
    uint8_t *message; /* encoded; malloc'ed; belongs to call_run/call_submit from then on */
    size_t message_size;
    /* Turns the answer into what the user asked for. Anything but TALLY_OK: the answer is not one
     * (*error says why), or TALLY_NO_MEMORY. */
    enum tally_status (*decode)(const struct call_request *request, const uint8_t *answer,
                                size_t size, struct tally_error *error);
    /* For decode: where to put what, and how much was asked for. */
    void *out;
    size_t *out_count;
    void *out_next;
    size_t count;
};

/* Runs the loop until the call is over; fills request->call. */
enum tally_status call_run(struct tally_client *client, const struct call_request *request);
/* Only starts it. */
enum tally_status call_submit(struct tally_client *client, const struct call_request *request,
                              tally_call_cb cb);
/* TALLY_OK, or TALLY_INVALID/TALLY_BUSY with call->error: what can be said before encoding. */
enum tally_status call_check(struct tally_client *client, struct tally_call *call, bool changes,
                             bool submit);
/* Frees the message when encoding failed halfway, fills the error: TALLY_NO_MEMORY. */
enum tally_status call_no_memory(struct tally_call *call, size_t size);

#endif
