/*
 * Getting a connection: resolve the host, then try its addresses one after the other until one of
 * them sends SETTINGS. Each gets an equal share of the time, so that a dead first address leaves
 * time for a living second; the whole attempt ends after connect_timeout_ms.
 *
 *   NONE ──call──► RESOLVING ──addresses──► TRYING ──SETTINGS──► NONE (client->current is ready)
 *                     └─────no address, time is up, all tried──► NONE (waiting calls fail:
 * NOT_SENT)
 *
 * getaddrinfo runs on a thread of libuv and cannot be stopped once it does. An attempt that runs
 * out of time forgets it; the next attempt takes over its answer instead of starting a second one.
 */
#include "net/http2_client_internal.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 16

static void try_next_address(struct http2_client *client);

static void forget_addresses(struct http2_client *client)
{
    if (client->addresses)
        uv_freeaddrinfo(client->addresses);
    client->addresses = client->address_next = NULL;
}

static void attempt_over(struct http2_client *client, const char *why)
{
    forget_addresses(client);
    client->attempt = ATTEMPT_NONE;
    if (why)
        http2_client_fail_waiting(client, why);
}

static void resolver_cb(uv_getaddrinfo_t *request, int result, struct addrinfo *addresses)
{
    struct http2_client *client =
        (struct http2_client *)((char *)request - offsetof(struct http2_client, resolver));
    client->resolver_busy = false;
    if (client->attempt != ATTEMPT_RESOLVING || result != 0) {
        uv_freeaddrinfo(addresses); /* NULL is allowed */
        if (client->attempt == ATTEMPT_RESOLVING) {
            net_error_set(&client->last_error, "host name %.100s: %s", client->host,
                          uv_strerror(result));
            attempt_over(client, client->last_error.text);
        }
        http2_client_wake(client); /* a stop may wait for this */
        return;
    }
    client->addresses = client->address_next = addresses;
    client->address_count = 0;
    for (struct addrinfo *a = addresses; a && client->address_count < ADDRESSES_MAX; a = a->ai_next)
        client->address_count++;
    client->attempt = ATTEMPT_TRYING;
    try_next_address(client);
}

static void resolve(struct http2_client *client)
{
    client->attempt = ATTEMPT_RESOLVING;
    if (client->resolver_busy)
        return;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)client->port);
    int result =
        uv_getaddrinfo(client->loop.uv, &client->resolver, resolver_cb, client->host, port, &hints);
    if (result != 0) {
        net_error_set(&client->last_error, "host name %.100s: %s", client->host,
                      uv_strerror(result));
        attempt_over(client, client->last_error.text);
        return;
    }
    client->resolver_busy = true;
}

/* True when the host is an address and needs no resolving. */
static bool parse_literal(struct http2_client *client)
{
    memset(&client->literal, 0, sizeof client->literal);
    void *address = &client->literal;
    return uv_ip4_addr(client->host, client->port, address) == 0 ||
           uv_ip6_addr(client->host, client->port, address) == 0;
}

static bool take_address(struct http2_client *client, struct sockaddr_storage *out_address)
{
    memset(out_address, 0, sizeof *out_address);
    if (client->address_count == 0)
        return false;
    client->address_count--;
    if (!client->addresses) {
        *out_address = client->literal;
        return true;
    }
    struct addrinfo *address = client->address_next;
    client->address_next = address->ai_next;
    memcpy(out_address, address->ai_addr, address->ai_addrlen);
    return true;
}

static void try_next_address(struct http2_client *client)
{
    struct sockaddr_storage address;
    while (take_address(client, &address)) {
        enum status status = http2_client_connection_create(
            client, (const struct sockaddr *)&address, &client->current, &client->last_error);
        if (status == STATUS_OK)
            return;
        client->current = NULL;
    }
    attempt_over(client, client->last_error.text);
}

void http2_client_connect_start(struct http2_client *client)
{
    if (client->attempt != ATTEMPT_NONE)
        return;
    if (client->connection_count > LEAVING_MAX) {
        http2_client_fail_waiting(client, "still leaving too many connections; try again later");
        return;
    }
    http2_client_start_ticking(client);
    client->attempt_started_ns = uv_hrtime();
    net_error_set(&client->last_error, "%.100s did not answer", client->authority);
    if (!parse_literal(client)) {
        resolve(client);
        return;
    }
    client->attempt = ATTEMPT_TRYING;
    client->address_count = 1;
    try_next_address(client);
}

void http2_client_connect_failed(struct http2_client *client, const char *why)
{
    client->current = NULL;
    if (why != client->last_error.text)
        net_error_set(&client->last_error, "%s", why);
    if (client->attempt == ATTEMPT_TRYING)
        try_next_address(client);
}

void http2_client_connect_tick(struct http2_client *client, uint64_t now_ns)
{
    if (client->attempt == ATTEMPT_NONE)
        return;
    uint64_t timeout_ns = (uint64_t)client->connect_timeout_ms * 1000000;
    if (now_ns - client->attempt_started_ns >= timeout_ns) {
        struct net_error why;
        net_error_set(&why, "no connection to %.80s within %u ms: %.120s", client->authority,
                      client->connect_timeout_ms, client->last_error.text);
        struct http2_client_connection *connection = client->current;
        client->current = NULL;
        attempt_over(client, why.text);
        if (connection)
            http2_client_connection_fail(connection, why.text);
        return;
    }
    /* Its share of the time is over, and others are left to try. */
    struct http2_client_connection *connection = client->current;
    if (connection && client->address_count > 0 &&
        now_ns - connection->started_ns >= timeout_ns / (client->address_count + 1)) {
        net_error_set(&client->last_error, "%s did not answer in its share of the time",
                      connection->stream.peer);
        http2_client_connection_fail(connection, client->last_error.text);
    }
}

void http2_client_connect_done(struct http2_client *client)
{
    attempt_over(client, NULL);
}

/* Stopping: nothing is wanted any more. */
void http2_client_connect_give_up(struct http2_client *client)
{
    if (client->resolver_busy)
        (void)uv_cancel((uv_req_t *)&client->resolver); /* refused when it runs: its end comes */
    attempt_over(client, NULL);
}
