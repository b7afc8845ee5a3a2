/*
 * principals.json: an array of {"uri": ..., "name": ..., "role": ..., "in_flight_max": N}.
 */
#ifndef TALLY_CLIENT_CLI_PRINCIPALS_H
#define TALLY_CLIENT_CLI_PRINCIPALS_H

#include "client/tally.h"

#include <jansson.h>

struct principal_list {
    struct tally_principal *rows;
    size_t count;
};

/* At least one row, one of them a site_operator (or nobody could ever change the table). An exit
 * code, after a message naming the row. */
int principals_load(const char *path, struct principal_list *out_list);
void principals_deinit(struct principal_list *list);

/* One row; false with a reason. Lengths are checked, everything else is the ledger's to say. */
bool principal_fill(const char *uri, const char *name, const char *role, uint32_t in_flight_max,
                    struct tally_principal *out, const char **out_reason);

#endif
