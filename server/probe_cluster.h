/*
 * The cluster as one node sees it, for GET /status, Admin.GetStatus and the metrics. Fields and
 * names are documented in docs/operations-cluster.md. Loop thread.
 */
#ifndef TALLY_SERVER_PROBE_CLUSTER_H
#define TALLY_SERVER_PROBE_CLUSTER_H

#include "replication/node/node_cluster.h"
#include "replication/peers/peers.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Longest time without a leader that an election explains: until then a node counts as ready. */
#define PROBE_LEADERLESS_MS 2000

/* Adds the cluster's fields to the status document. `change_step`: node_change_step(). */
void probe_cluster_json(json_t *root, const struct node_cluster *cluster, const char *change_step,
                        const struct node_status *status, uint64_t now_ns);
/* Adds "links": every lane to every peer, and why one is down. */
void probe_links_json(json_t *root, const struct peers_status *links, uint32_t count,
                      uint64_t now_ns);
/* Appends the cluster's families of metrics. */
void probe_cluster_metrics(FILE *page, const struct node_cluster *cluster,
                           const struct node_status *status, uint64_t now_ns);
/* False when the node knows of no leader for longer than PROBE_LEADERLESS_MS, with the reason. */
bool probe_cluster_led(const struct node_cluster *cluster, uint64_t now_ns, char *out,
                       size_t capacity);

#endif
