/*
 * Asking the servers one by one. libtally goes from one to the next until somebody can do what is
 * asked, and reports the last one's words: with a majority gone that is "connection refused" by a
 * machine that is known to be down, while the reason is what the others say: nobody leads. So when
 * a call found nobody, each server is asked how it is, briefly, and the answers are put together.
 */
#include "client/cli/server_status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Each; they are few, and most answer, or refuse the connection, at once. */
#define EXPLAIN_DEADLINE_MS 1500u

bool server_next(const char **at, char out_server[SERVER_NAME_SIZE])
{
    while (**at != '\0') {
        *at += strspn(*at, " ,");
        const size_t size = strcspn(*at, " ,");
        if (size == 0)
            continue;
        snprintf(out_server, SERVER_NAME_SIZE, "%.*s",
                 (int)(size < SERVER_NAME_SIZE ? size : SERVER_NAME_SIZE - 1), *at);
        *at += size;
        return true;
    }
    return false;
}

json_t *server_status(const struct cli *cli, const char *server, uint32_t deadline_ms,
                      struct tally_error *out_error)
{
    const struct tally_options options = {.servers = server,
                                          .ca_file = cli->ca,
                                          .certificate_file = cli->certificate,
                                          .key_file = cli->key,
                                          .deadline_ms = deadline_ms,
                                          .connect_ms = deadline_ms};
    struct tally_client *client;
    struct tally_call call = {.deadline_ms = deadline_ms};
    json_t *document = NULL;
    char *text;
    if (tally_client_create(&options, &client, out_error) != TALLY_OK)
        return NULL;
    if (tally_get_status(client, &call, &text) == TALLY_OK) {
        document = json_loads(text, 0, NULL);
        tally_free(text);
        *out_error = (struct tally_error){.text = "its status is no JSON"};
    } else {
        *out_error = call.error;
    }
    tally_client_destroy(client);
    return document;
}

/* The reason alone, without the server's name and without advice. */
static void print_failure(const char *server, const char *text)
{
    const size_t size = strlen(server);
    while (strncmp(text, server, size) == 0 && strncmp(text + size, ": ", 2) == 0)
        text += size + 2;
    fprintf(stderr, "tally:   %-24s %.*s\n", server, (int)strcspn(text, ";"), text);
}

void server_explain(const struct cli *cli)
{
    char server[SERVER_NAME_SIZE];
    struct tally_error error;
    unsigned asked = 0, answered = 0;
    uint64_t leader = 0;
    const char *at = cli->server;
    if (at == NULL || strchr(at, ',') == NULL)
        return;
    fputs("tally: what each server says:\n", stderr);
    while (server_next(&at, server)) {
        json_t *document = server_status(cli, server, EXPLAIN_DEADLINE_MS, &error);
        asked++;
        if (document == NULL) {
            print_failure(server, error.text);
            continue;
        }
        const uint64_t knows = (uint64_t)json_integer_value(json_object_get(document, "leader"));
        const char *role = json_string_value(json_object_get(document, "role"));
        answered++;
        leader = knows != 0 ? knows : leader;
        if (knows != 0)
            fprintf(stderr, "tally:   %-24s node %" PRIu64 " leads, it says (it is a %s)\n", server,
                    knows, role != NULL ? role : "?");
        else
            fprintf(stderr, "tally:   %-24s it knows of no leader (it is a %s)\n", server,
                    role != NULL ? role : "?");
        json_decref(document);
    }
    if (answered == 0)
        fputs(
            "tally: no server answers: are they running, and is the network between here and them "
            "whole?\n",
            stderr);
    else if (leader == 0)
        fprintf(stderr,
                "tally: nobody leads: a majority of the voters has to run and to reach each other, "
                "and %u of the %u servers named here answered. Start the others, mend the links; "
                "\"tally status\" names who is missing\n",
                answered, asked);
    else
        fputs("tally: there is a leader: try again; if this lasts, the link to it is missing\n",
              stderr);
}
