/*
 * Health. The node is one unit: all services serve or none does, so a watcher is a call and whether
 * the service it named exists. Statuses are few and only the newest counts, so nothing is queued: a
 * change sends one small message per watcher.
 */
#include "server/health_service.h"

#include "core/invariant.h"
#include "server/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* HealthCheckResponse.ServingStatus */
enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

static const char *const services[] = {
    "",
    "tally.v1.Ledger",
    "tally.v1.Admin",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
};

struct watcher {
    struct grpc_call *call; /* NULL: free */
    bool known;
};

struct health {
    bool serving, stopped;
    uint32_t count;
    struct watcher watchers[HEALTH_WATCHERS_MAX];
};

struct health *health_create(void)
{
    return calloc(1, sizeof(struct health));
}

void health_destroy(struct health *health)
{
    if (!health)
        return;
    invariant_values(health->count == 0, health->count, 0);
    free(health);
}

uint32_t health_watcher_count(const struct health *health)
{
    return health->count;
}

static bool service_is_known(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++)
        if (strlen(services[i]) == size && memcmp(services[i], name, size) == 0)
            return true;
    return false;
}

/* Writes the one field into the call's next message; false when the client is gone. */
static bool write_status(struct grpc_call *call, uint8_t status)
{
    uint8_t *room = grpc_call_reserve(call, 2);
    if (!room)
        return false;
    room[0] = 0x08;
    room[1] = status;
    return true;
}

static uint8_t current_status(const struct health *health)
{
    return health->serving ? SERVING : NOT_SERVING;
}

static bool read_service(struct grpc_call *call, const uint8_t *message, size_t size,
                         bool *out_known)
{
    const char *name;
    size_t name_size;
    struct wire_error error;
    if (wire_decode_health(message, size, &name, &name_size, &error) != STATUS_OK) {
        grpc_call_finish(call, GRPC_INVALID_ARGUMENT, error.text);
        return false;
    }
    *out_known = service_is_known(name, name_size);
    return true;
}

static void check_message(void *context, struct grpc_call *call, const uint8_t *message,
                          size_t size)
{
    struct health *health = context;
    bool known;
    if (!read_service(call, message, size, &known))
        return;
    if (!known) {
        grpc_call_finish(call, GRPC_NOT_FOUND,
                         "this node has no such service; reflection lists those it has");
        return;
    }
    (void)write_status(call, current_status(health)); /* gone: the finish is all that is left */
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void watcher_tell(const struct health *health, const struct watcher *watcher)
{
    uint8_t status = watcher->known ? current_status(health) : SERVICE_UNKNOWN;
    if (write_status(watcher->call, status))
        grpc_call_send(watcher->call);
}

static void watcher_end(struct health *health, struct watcher *watcher, enum grpc_code code,
                        const char *message)
{
    struct grpc_call *call = watcher->call;
    watcher->call = NULL;
    invariant(health->count > 0);
    health->count--;
    grpc_call_set_data(call, NULL);
    grpc_call_finish(call, code, message);
}

static uint32_t watchers_of(const struct health *health, const char *uri)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < HEALTH_WATCHERS_MAX; i++) {
        const struct watcher *watcher = &health->watchers[i];
        if (watcher->call && strcmp(grpc_call_principal(watcher->call), uri) == 0)
            count++;
    }
    return count;
}

static void watch_message(void *context, struct grpc_call *call, const uint8_t *message,
                          size_t size)
{
    struct health *health = context;
    bool known;
    if (!read_service(call, message, size, &known))
        return;
    if (health->stopped) {
        grpc_call_finish(call, GRPC_UNAVAILABLE, "the node is stopping");
        return;
    }
    if (watchers_of(health, grpc_call_principal(call)) == HEALTH_WATCHERS_OF_CALLER_MAX) {
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED,
                         "as many watchers as one certificate may have; use Check, or end some");
        return;
    }
    for (uint32_t i = 0; i < HEALTH_WATCHERS_MAX; i++) {
        struct watcher *watcher = &health->watchers[i];
        if (watcher->call)
            continue;
        *watcher = (struct watcher){.call = call, .known = known};
        health->count++;
        grpc_call_set_data(call, watcher);
        watcher_tell(health, watcher);
        return;
    }
    grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED,
                     "as many watchers as the node allows; use Check, or come again later");
}

static void watch_gone(void *context, struct grpc_call *call)
{
    struct watcher *watcher = grpc_call_data(call);
    if (watcher)
        watcher_end(context, watcher, GRPC_CANCELLED, "the client went away");
}

void health_register(struct health *health, struct grpc_server *server)
{
    struct grpc_method check = {
        .path = "/grpc.health.v1.Health/Check",
        .message = check_message,
        .context = health,
    };
    struct grpc_method watch = {
        .path = "/grpc.health.v1.Health/Watch",
        .server_streaming = true,
        .message = watch_message,
        .gone = watch_gone,
        .context = health,
    };
    grpc_server_add(server, &check);
    grpc_server_add(server, &watch);
}

void health_set_serving(struct health *health, bool serving)
{
    if (health->serving == serving)
        return;
    health->serving = serving;
    for (uint32_t i = 0; i < HEALTH_WATCHERS_MAX; i++)
        if (health->watchers[i].call)
            watcher_tell(health, &health->watchers[i]);
}

void health_stop(struct health *health)
{
    health_set_serving(health, false);
    health->stopped = true;
    for (uint32_t i = 0; i < HEALTH_WATCHERS_MAX; i++)
        if (health->watchers[i].call)
            watcher_end(health, &health->watchers[i], GRPC_UNAVAILABLE, "the node is stopping");
}
