/*
 * The store's twin for the simulator: `struct checkpoint` in RAM, durable in one file of a virtual
 * disk, one record an epoch. What was flushed and synced survives a crash, nothing else.
 *
 * It passes tests/storage/checkpoint_suite together with the LMDB store.
 */
#ifndef TALLY_CHAOS_SIM_TWIN_H
#define TALLY_CHAOS_SIM_TWIN_H

#include "storage/store.h"

/* `files` is the store's directory; once opened, checkpoint_close() ends it with `close_files`
 * (NULL: the caller does). The rest as store_open(). */
enum status twin_open(const struct files *files, void (*close_files)(struct files *files),
                      const struct store_options *options, struct checkpoint **out_twin,
                      struct store_error *out_error);
void twin_failure(struct checkpoint *twin, struct store_error *out_error);

/* Planted fault: requests of earlier epochs are not known any more. */
void twin_forget_requests(struct checkpoint *twin);

#endif
