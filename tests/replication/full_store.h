/* The real store, except that epochs may be refused: `status` is what the next flush ends with
 * (STATUS_OK: it is really written). Single-threaded. */
#ifndef TALLY_TESTS_REPLICATION_FULL_STORE_H
#define TALLY_TESTS_REPLICATION_FULL_STORE_H

#include "replication/environment.h"

struct full_store {
    struct checkpoint base;
    struct checkpoint *inner;
    enum status status;
    checkpoint_cb waiting; /* of an epoch that will be refused */
    void *waiting_context;
};

/* From now on the environment opens its store through `full`. */
void full_store_install(struct full_store *full, struct environment *environment);

#endif
