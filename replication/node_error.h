/* Fills struct node_error: what was found, where, what to do next. */
#ifndef TALLY_REPLICATION_NODE_ERROR_H
#define TALLY_REPLICATION_NODE_ERROR_H

#include "replication/node.h"

/* Returns `status`, so that a refusal is one statement. */
__attribute__((format(printf, 3, 4))) enum status
node_refuse(struct node_error *error, enum status status, const char *format, ...);

#endif
