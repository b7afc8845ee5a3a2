/*
 * An HTTP/2 server that misbehaves on demand, for what a client may see of a dying or broken
 * server. What it does with a request is in the request's path:
 *
 *   /ok             answers "pong"                       /silent        never answers
 *   /refused        RST_STREAM(REFUSED_STREAM)           /reset         RST_STREAM(INTERNAL_ERROR)
 *   /goaway-below   GOAWAY, last stream 0                /goaway-at     GOAWAY, this one last;
 * answers /goaway-close   GOAWAY, this one last; closes        /close         closes the connection
 *   /http-503       :status 503                          /html          content-type text/html
 *   /no-status      a message and no grpc-status         /bad-status    grpc-status 77
 *   /cut            ends inside the message, status 0    /huge          a prefix of 2 GiB
 *   /compressed     the message's flag is 1              /empty         status 0, no message
 *   /denied         status 7, with a message and ten trailers
 */
#ifndef TALLY_TESTS_NET_FAKE_SERVER_H
#define TALLY_TESTS_NET_FAKE_SERVER_H

#include "net/stream.h"

#include <stdbool.h>
#include <stdint.h>

struct fake_server {
    struct net_loop loop;
    struct tls_context *tls;
    uv_tcp_t listener;
    uint16_t port;
    bool is_mute; /* finishes TLS and says nothing */
    uint32_t connection_count, request_count;
    char timeout[16]; /* the last grpc-timeout received */
    struct fake_connection *connections;
    bool stopped, listener_closed;
};

void fake_server_start(struct fake_server *server, uv_loop_t *uv, const char *directory);
void fake_server_stop(struct fake_server *server); /* `stopped` follows */

#endif
