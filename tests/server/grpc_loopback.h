/*
 * A gRPC server and clients of ours on one loop, through real TLS, with certificates of the test's
 * own directory. Every wait is bounded by WAIT_MS and fails the test when it is over.
 */
#ifndef TALLY_TESTS_SERVER_GRPC_LOOPBACK_H
#define TALLY_TESTS_SERVER_GRPC_LOOPBACK_H

#include "net/http2_client.h"
#include "server/grpc.h"
#include "tests/net/pki.h"

#include <stdbool.h>

#define WAIT_MS 20000

struct loopback {
    uv_loop_t loop;
    char directory[64];
    struct pki *pki;
    struct grpc_server *server;
    uint16_t port;
    uv_timer_t guard;
    bool guard_fired, drained;
    char events[8192]; /* "name|principal|text\n" ... */

    /* What the handlers saw. */
    struct grpc_call *held; /* by /test/Hold, until the test finishes it */
    uint32_t held_count, gone_count, message_count;
    struct grpc_call *all_held[4096];
};

/* The server is made and listens. Methods:
 *   /test/Echo    the message back; trailer tally-index: 7
 *   /test/Hold    kept in `held` (and all_held) until the test finishes it
 *   /test/Fail    FAILED_PRECONDITION with the message as grpc-message
 *   /test/Watch   the message back three times, each a message of its own */
void loopback_init(struct loopback *loopback, const struct grpc_limits *limits, const char *crl);
/* Drains, destroys, removes the directory, and checks that the loop has nothing left. */
void loopback_deinit(struct loopback *loopback);
void loopback_drain(struct loopback *loopback, uint32_t grace_ms);

/* A client with DIR/<certificate>.pem, made now. */
struct http2_client *loopback_client(struct loopback *loopback, const char *certificate);
struct http2_client *loopback_client_with(struct loopback *loopback, const char *certificate,
                                          const char *ca, const char *server_name,
                                          const char *server_uri);
void loopback_stop_client(struct loopback *loopback, struct http2_client *client);

/* Runs the loop until *flag, or until `call` is done. */
void loopback_wait(struct loopback *loopback, const bool *flag);
void loopback_wait_count(struct loopback *loopback, const uint32_t *count, uint32_t until);
void loopback_run_ms(struct loopback *loopback, uint64_t ms);

/* A call and what became of it. */
struct tracked_call {
    struct http2_call call;
    bool done;
    uint32_t done_count;
    uint8_t *answer; /* taken */
};
void tracked_start(struct http2_client *client, struct tracked_call *tracked, const char *path,
                   const void *request, size_t size);
void tracked_free(struct tracked_call *tracked);
/* Starts, and waits for the end. */
void tracked_run(struct loopback *loopback, struct http2_client *client,
                 struct tracked_call *tracked, const char *path, const void *request, size_t size);

#endif
