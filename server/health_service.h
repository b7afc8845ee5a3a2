/*
 * grpc.health.v1.Health: Check and Watch. Serving only while the node answers requests. Asked by
 * load balancers and kubelets, so any certificate that the CA signed may ask, listed or not.
 */
#ifndef TALLY_SERVER_HEALTH_SERVICE_H
#define TALLY_SERVER_HEALTH_SERVICE_H

#include "server/grpc.h"

#include <stdbool.h>
#include <stdint.h>

/* Watchers at once; the next one is refused with RESOURCE_EXHAUSTED. */
#define HEALTH_WATCHERS_MAX 1024
/* Of one certificate name: one for each connection that it may have by default, so that nobody can
 * take the places of probes and load balancers. */
#define HEALTH_WATCHERS_OF_CALLER_MAX 256

struct health;

struct health *health_create(void);         /* NULL without memory; not serving */
void health_destroy(struct health *health); /* invariant: no watcher is left */
void health_register(struct health *health, struct grpc_server *server);

/* Tells every watcher when it differs from what it was. */
void health_set_serving(struct health *health, bool serving);
/* Ends every watch with UNAVAILABLE, after a last NOT_SERVING: the node stops. Further watches are
 * refused. */
void health_stop(struct health *health);

uint32_t health_watcher_count(const struct health *health);

#endif
