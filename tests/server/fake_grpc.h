/*
 * The gRPC engine without a network: the functions of server/grpc.h that services call, on calls
 * that a test makes and looks at. Linked instead of the engine.
 */
#ifndef TALLY_TESTS_SERVER_FAKE_GRPC_H
#define TALLY_TESTS_SERVER_FAKE_GRPC_H

#include "server/grpc.h"

#define FAKE_METHODS_MAX  32
#define FAKE_MESSAGES_MAX 16

struct grpc_server {
    struct grpc_method methods[FAKE_METHODS_MAX];
    uint32_t method_count;
};

struct fake_message {
    uint8_t *bytes;
    size_t size;
};

struct grpc_call {
    const char *principal;
    uint64_t deadline_ns, max_age_ns;
    bool wants_both_sites;
    bool gone, finished;
    enum grpc_code code;
    char text[512];
    void *data;
    char trailer_names[8][32], trailer_values[8][128];
    uint32_t trailer_count;
    struct fake_message
        messages[FAKE_MESSAGES_MAX]; /* the answer; of streams, all that were sent */
    uint32_t message_count;
    bool reserved; /* messages[message_count] is being written */
};

/* The method of that path; ends the test when nobody added it. */
const struct grpc_method *fake_method(const struct grpc_server *server, const char *path);
/* Value of a trailer, or NULL. */
const char *fake_trailer(const struct grpc_call *call, const char *name);
/* Frees the messages; the call must be finished. */
void fake_call_done(struct grpc_call *call);
/* The client goes away: as the engine does it. */
void fake_call_gone(const struct grpc_method *method, struct grpc_call *call);

#endif
