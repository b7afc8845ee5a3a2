/* The servers of --server one by one, and what each says of itself. */
#ifndef TALLY_CLIENT_CLI_SERVER_STATUS_H
#define TALLY_CLIENT_CLI_SERVER_STATUS_H

#include "client/cli/cli.h"

#define SERVER_NAME_SIZE 300

/* The next name of a list that *at points into; false at its end. */
bool server_next(const char **at, char out_server[SERVER_NAME_SIZE]);

/* Its status document, to be released; NULL, and *out_error the reason, when it does not answer in
 * `deadline_ms`. The identity of `cli` has been resolved. */
json_t *server_status(const struct cli *cli, const char *server, uint32_t deadline_ms,
                      struct tally_error *out_error);

/* A call found nobody to do it. When several servers are named: says on stderr what each of them
 * answers, and what that means. */
void server_explain(const struct cli *cli);

#endif
