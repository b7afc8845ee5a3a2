/* The servers of --server, and what each says of itself. */
#ifndef TALLY_CLIENT_CLI_SERVER_STATUS_H
#define TALLY_CLIENT_CLI_SERVER_STATUS_H

#include "client/cli/cli.h"
#include "client/cli/cluster_text.h"

#define SERVER_NAME_SIZE 300
#define SERVERS_MAX      16
/* For the answer of one node of several, in ms; one that takes longer is an answer in itself. */
#define SERVERS_DEADLINE_MS 3000u

/* The next name of a list that *at points into; false at its end. */
bool server_next(const char **at, char out_server[SERVER_NAME_SIZE]);

/* Each server of --server, in its order, and what it said. */
struct servers {
    size_t count;
    struct cluster_answer answers[SERVERS_MAX]; /* their names are those below */
    char names[SERVERS_MAX][SERVER_NAME_SIZE];
};

/* Asks all of them at once, so that it takes `deadline_ms` however many are dead. The identity of
 * `cli` has been resolved. EXIT_OK, even if none answers: released by servers_release(). EXIT_USAGE
 * or EXIT_LOCAL, and NULL, after a message: too many or too long names, or no memory. */
int servers_ask(const struct cli *cli, uint32_t deadline_ms, struct servers **out_servers);

/* With the documents that are still in it. */
void servers_release(struct servers *servers);

/* A call found nobody to do it. When several servers are named: says on stderr what each of them
 * answers, and what that means. */
void server_explain(const struct cli *cli);

#endif
