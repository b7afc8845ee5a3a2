/* Between the files of a site operation (site_operation.c, site_move.c, site_write.c); nobody else
 * includes it. */
#ifndef TALLY_REPLICATION_SITE_WALK_H
#define TALLY_REPLICATION_SITE_WALK_H

#include "replication/node/site_operation.h"
#include "replication/node/site_rules.h"

/* ---- site_operation.c ---- */

/* The only function that changes the state. Invariant: the move is in the table. */
void site_walk_move(struct site_operation *operation, enum site_operation_state to);
uint64_t site_walk_in_state_ms(const struct site_operation *operation);
/* One more line of the report. */
__attribute__((format(printf, 2, 3))) void site_walk_note(struct site_operation *operation,
                                                          const char *format, ...);
/* Releases first, calls back last; nothing may be touched after. operation->error has the words
 * unless all is well. */
void site_walk_end(struct site_operation *operation, enum status status);
/* The same with words. Requests go on here; nobody was refused. */
__attribute__((format(printf, 3, 4))) void
site_walk_give_up(struct site_operation *operation, enum status status, const char *format, ...);
/* Asks all data nodes, and marks what is committed now. */
void site_walk_ask(struct site_operation *operation, const struct site_view *view,
                   uint32_t window_ms);
void site_walk_look(struct site_operation *operation, struct site_view *out);
const struct consensus_peer *site_walk_peer_of(const struct site_view *view, uint64_t node_id);
/* Its newest answer, or NULL. */
struct site_told *site_walk_told_by(struct site_operation *operation, uint64_t node_id);

/* ---- one look in each state: site_move.c, site_write.c ---- */

void site_walk_approaching(struct site_operation *operation, const struct site_view *view);
void site_walk_holding(struct site_operation *operation, const struct site_view *view);
void site_walk_moving(struct site_operation *operation, const struct site_view *view);
void site_walk_settling(struct site_operation *operation, const struct site_view *view);
void site_walk_measuring(struct site_operation *operation, const struct site_view *view);
void site_walk_waiting(struct site_operation *operation, const struct site_view *view);
void site_walk_writing(struct site_operation *operation, const struct site_view *view);
/* What the command still has to put into the log, as it is now; false: nothing.
 * STATUS_INVALID: its settings are not valid, operation->error has the words. */
enum status site_walk_next_entry(struct site_operation *operation, const struct site_view *view,
                                 struct consensus_durability_change *out, bool *out_wanted);

#endif
