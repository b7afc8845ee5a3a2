/*
 * The two sites and the durability rule, for the documents and pages of probe_cluster.h. Fields and
 * names are documented in docs/operations-cluster.md. Loop thread.
 */
#ifndef TALLY_SERVER_PROBE_CLUSTER_SITES_H
#define TALLY_SERVER_PROBE_CLUSTER_SITES_H

#include "replication/node/node_cluster.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* Adds "rule", "mode", "number", "policy", "both", "degraded", "sites", "survives_loss". */
void probe_sites_json(json_t *root, const struct node_cluster *cluster, uint64_t now_ns);
/* Appends the families of metrics. */
void probe_sites_metrics(FILE *page, const struct node_cluster *cluster, uint64_t now_ns);

#endif
