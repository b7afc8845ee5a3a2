/*
 * Operations on a whole site (site_operation.h), and how long this node's clients waited lately.
 * Loop thread.
 */
#ifndef TALLY_REPLICATION_NODE_SITE_H
#define TALLY_REPLICATION_NODE_SITE_H

#include "replication/node/node.h"
#include "replication/node/site_operation.h"

/* STATUS_OK: request->cb comes once, never inside. Otherwise refused at once with words, and it
 * never comes: as site_operation_begin(), and STATUS_NOT_READY when this node does not serve. */
enum status node_site_begin(struct node *node, const struct site_operation_request *request,
                            struct node_error *out_error);
/* Who asked went away: cb will not fire, and nothing is held. No effect when none is under way. */
void node_site_cancel(struct node *node);
void node_site_progress(const struct node *node, struct site_operation_progress *out);

/* Whether this node's site is drained: it serves no clients then. In words for them, with the node
 * that does; "" = it is not. Borrowed until the next turn. */
const char *node_drained(const struct node *node);

/* The server tells how each request of its own clients ended (node_request_cb's status), and when
 * it came (monotonic). */
void node_note_ended(struct node *node, uint64_t accepted_ns, enum status status);
/* How long they waited over the last `window_ns`. */
void node_pause(const struct node *node, uint64_t window_ns, struct pause *out);

#endif
