/*
 * The cluster at a glance, put together from what each node says of itself (GET /status). Each
 * document is one node's view; only side by side do they show a cluster that is cut in two, a state
 * that differs, or a node that nobody can ask.
 */
#ifndef TALLY_CLIENT_CLI_CLUSTER_TEXT_H
#define TALLY_CLIENT_CLI_CLUSTER_TEXT_H

#include "client/tally.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* What one of the asked servers said. */
struct cluster_answer {
    const char *server;           /* "host:port" as asked */
    json_t *document;             /* NULL: none came, */
    char error[TALLY_ERROR_SIZE]; /* and why */
};

/* What is wrong first, then the nodes, then the sites. Errors of the stream stay in the stream. */
void cluster_text_print(const struct cluster_answer *answers, size_t count, FILE *out);

/* The same for programs; the documents go into it unchanged. NULL without memory. */
json_t *cluster_json(const struct cluster_answer *answers, size_t count);

#endif
