/*
 * What each caller has: connections, calls, bytes of buffers. It is kept by the certificate's name
 * and outlives connections, because work does: a client that resets its streams, or reconnects,
 * still owns what it put in the log. A caller without identity is one like any other, named "".
 *
 * At most one entry per connection and per call exists, so the chains stay short.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

static uint32_t chain_of(const char *uri)
{
    uint32_t hash = 2166136261u; /* FNV-1a; a bad spread costs time only, and names are certified */
    for (; *uri; uri++)
        hash = (hash ^ (uint8_t)*uri) * 16777619u;
    return hash % PRINCIPAL_CHAINS;
}

struct grpc_principal *grpc_principal_take(struct grpc_server *server,
                                           const struct identity *identity)
{
    struct grpc_principal **chain = &server->principals[chain_of(identity->uri)];
    for (struct grpc_principal *principal = *chain; principal; principal = principal->next) {
        if (strcmp(principal->identity.uri, identity->uri) == 0) {
            principal->references++;
            return principal;
        }
    }
    struct grpc_principal *principal = calloc(1, sizeof *principal);
    if (!principal)
        return NULL;
    principal->identity = *identity;
    principal->references = 1;
    principal->next = *chain;
    *chain = principal;
    return principal;
}

void grpc_principal_give(struct grpc_server *server, struct grpc_principal *principal)
{
    invariant(principal->references > 0);
    if (--principal->references > 0)
        return;
    invariant_values(principal->calls == 0, principal->calls, principal->bytes);
    invariant_values(principal->bytes == 0, principal->bytes, principal->connections);
    struct grpc_principal **link = &server->principals[chain_of(principal->identity.uri)];
    while (*link != principal)
        link = &(*link)->next;
    *link = principal->next;
    free(principal);
}

struct grpc_buffer *grpc_principal_buffer(struct grpc_server *server,
                                          struct grpc_principal *principal, size_t size,
                                          uint64_t limit_bytes)
{
    if (principal->bytes + grpc_pool_capacity(size) > limit_bytes)
        return NULL;
    struct grpc_buffer *buffer = grpc_pool_take(&server->pool, size);
    if (buffer)
        principal->bytes += buffer->capacity;
    return buffer;
}

void grpc_principal_give_buffer(struct grpc_server *server, struct grpc_principal *principal,
                                struct grpc_buffer *buffer)
{
    if (!buffer)
        return;
    invariant_values(principal->bytes >= buffer->capacity, principal->bytes, buffer->capacity);
    principal->bytes -= buffer->capacity;
    grpc_pool_give(&server->pool, buffer);
}
