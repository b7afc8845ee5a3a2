/* What a loss would cost, and what could be proven then: RPO and certificate, for GET /status,
 * Admin.GetStatus and the metrics. docs/rpo.md names the fields. Loop thread. */
#ifndef TALLY_SERVER_PROBE_EVIDENCE_H
#define TALLY_SERVER_PROBE_EVIDENCE_H

#include "replication/node/node.h"

#include <jansson.h>
#include <stdio.h>

/* Adds "rpo" (an array, or null: unknown) and "certificate" (an object, or null: none is held). */
void probe_evidence_json(json_t *root, const struct node *node);
/* What is unknown has no sample. */
void probe_evidence_metrics(FILE *page, const struct node *node);

#endif
