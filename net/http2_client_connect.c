/*
 * Getting a connection: resolve the host, then try its addresses one after the other until one of
 * them sends SETTINGS. Each gets an equal share of the time, so that a dead first address leaves
 * time for a living second; the whole attempt ends after connect_timeout_ms.
 *
 *   NONE ──call──► RESOLVING ──addresses──► TRYING ──SETTINGS──► NONE (client->current is ready)
 *                     └─────no address, time is up, all tried──► NONE (waiting calls fail:
 * NOT_SENT)
 *
 * A lookup cannot be stopped once it runs. An attempt that runs out of time forgets it; the next
 * attempt takes over its answer instead of starting a second one.
 */
#include "net/http2_client_internal.h"

#include <stddef.h>

static void try_next_address(struct http2_client *client);

static void attempt_over(struct http2_client *client, const char *why)
{
    client->addresses.count = client->addresses.next = 0;
    client->attempt = ATTEMPT_NONE;
    if (why)
        http2_client_fail_waiting(client, why);
}

static void lookup_done_cb(struct lookup *lookup, const struct lookup_addresses *addresses,
                           const char *why)
{
    struct http2_client *client =
        (struct http2_client *)((char *)lookup - offsetof(struct http2_client, lookup));
    client->lookup_busy = false;
    if (client->attempt != ATTEMPT_RESOLVING || !addresses) {
        if (client->attempt == ATTEMPT_RESOLVING) {
            net_error_set(&client->last_error, "%s", why);
            attempt_over(client, client->last_error.text);
        }
        http2_client_wake(client); /* a stop may wait for this */
        return;
    }
    client->addresses = *addresses;
    client->attempt = ATTEMPT_TRYING;
    try_next_address(client);
}

static void resolve(struct http2_client *client)
{
    client->attempt = ATTEMPT_RESOLVING;
    if (client->lookup_busy)
        return;
    if (lookup_start(&client->lookup, client->loop.uv, client->host, client->port, lookup_done_cb,
                     &client->last_error) != STATUS_OK) {
        attempt_over(client, client->last_error.text);
        return;
    }
    client->lookup_busy = true;
}

static void try_next_address(struct http2_client *client)
{
    const struct sockaddr *address;
    while ((address = lookup_next(&client->addresses)) != NULL) {
        enum status status =
            http2_client_connection_create(client, address, &client->current, &client->last_error);
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
    if (!lookup_literal(client->host, client->port, &client->addresses)) {
        resolve(client);
        return;
    }
    client->attempt = ATTEMPT_TRYING;
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
    uint32_t left = client->addresses.count - client->addresses.next;
    if (connection && left > 0 && now_ns - connection->started_ns >= timeout_ns / (left + 1)) {
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
    if (client->lookup_busy)
        lookup_cancel(&client->lookup);
    attempt_over(client, NULL);
}
