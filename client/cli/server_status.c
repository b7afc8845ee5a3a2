/*
 * Asking every server how it is, all at once and each by itself. libtally goes from one to the next
 * until somebody can do what is asked, and reports the last one's words: with a majority gone that
 * is "connection refused" by a machine that is known to be down, while the reason is what the
 * others say: nobody leads. So when a call found nobody, each server is asked how it is, briefly,
 * and the answers are put together.
 */
#include "client/cli/server_status.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most answer, or refuse the connection, at once. */
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

/* ---- asking ---- */

/* One server's part of the work; a thread of its own. */
struct question {
    const struct cli *cli;
    struct cluster_answer *answer;
    uint32_t deadline_ms;
    pthread_t thread;
    bool started;
};

/* The reason alone: neither the server's name, nor what libtally adds for whom a single server's
 * answer is all there is (to ask "tally status", to repeat). */
static void keep_reason(struct cluster_answer *answer, const char *text)
{
    const size_t size = strlen(answer->server);
    while (strncmp(text, answer->server, size) == 0 && strncmp(text + size, ": ", 2) == 0)
        text += size + 2;
    snprintf(answer->error, sizeof answer->error, "%s", text);
    char *advice = strstr(answer->error, "; nothing was executed");
    if (advice == NULL)
        advice = strstr(answer->error, "; a question changes nothing");
    if (advice != NULL)
        *advice = '\0';
}

static void ask(struct question *question)
{
    const struct cli *cli = question->cli;
    struct cluster_answer *answer = question->answer;
    const struct tally_options options = {.servers = answer->server,
                                          .ca_file = cli->ca,
                                          .certificate_file = cli->certificate,
                                          .key_file = cli->key,
                                          .deadline_ms = question->deadline_ms,
                                          .connect_ms = question->deadline_ms};
    struct tally_client *client;
    struct tally_error error;
    json_error_t json_error;
    char *text;
    if (tally_client_create(&options, &client, &error) != TALLY_OK) {
        snprintf(answer->error, sizeof answer->error, "%s", error.text);
        return;
    }
    struct tally_call call = {.deadline_ms = question->deadline_ms, .attempts_max = 1};
    if (tally_get_status(client, &call, &text) != TALLY_OK) {
        keep_reason(answer, call.error.text);
    } else {
        answer->document = json_loads(text, 0, &json_error);
        if (answer->document == NULL)
            snprintf(answer->error, sizeof answer->error, "its status is no JSON: %s",
                     json_error.text);
        tally_free(text);
    }
    tally_client_destroy(client);
}

static void *ask_thread(void *argument)
{
    ask(argument);
    return NULL;
}

/* False when there are none or too many, or one is too long. */
static bool name_servers(struct servers *servers, const char *list)
{
    char server[SERVER_NAME_SIZE];
    while (server_next(&list, server)) {
        if (servers->count == SERVERS_MAX || strlen(server) == SERVER_NAME_SIZE - 1)
            return false;
        char *name = servers->names[servers->count];
        memcpy(name, server, sizeof server);
        servers->answers[servers->count++].server = name;
    }
    return servers->count > 0;
}

int servers_ask(const struct cli *cli, uint32_t deadline_ms, struct servers **out_servers)
{
    struct question questions[SERVERS_MAX];
    struct servers *servers = calloc(1, sizeof *servers);
    *out_servers = NULL;
    if (servers == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    if (!name_servers(servers, cli->server)) {
        free(servers);
        return cli_error(EXIT_USAGE,
                         "--server names no server, more than %d, or one of %d bytes or more",
                         SERVERS_MAX, SERVER_NAME_SIZE - 1);
    }
    for (size_t i = 0; i < servers->count; i++) {
        struct question *question = &questions[i];
        *question = (struct question){
            .cli = cli, .answer = &servers->answers[i], .deadline_ms = deadline_ms};
        question->started = pthread_create(&question->thread, NULL, ask_thread, question) == 0;
        if (!question->started)
            ask(question); /* without a thread: one after the other */
    }
    for (size_t i = 0; i < servers->count; i++)
        if (questions[i].started)
            (void)pthread_join(questions[i].thread, NULL); /* it was started and is joined once */
    *out_servers = servers;
    return EXIT_OK;
}

void servers_release(struct servers *servers)
{
    if (servers == NULL)
        return;
    for (size_t i = 0; i < servers->count; i++)
        json_decref(servers->answers[i].document);
    free(servers);
}

/* ---- explaining ---- */

void server_explain(const struct cli *cli)
{
    struct servers *servers;
    size_t answered = 0;
    uint64_t leader = 0;
    if (cli->server == NULL || strchr(cli->server, ',') == NULL ||
        servers_ask(cli, EXPLAIN_DEADLINE_MS, &servers) != EXIT_OK)
        return;
    fputs("tally: what each server says:\n", stderr);
    for (size_t i = 0; i < servers->count; i++) {
        const struct cluster_answer *answer = &servers->answers[i];
        if (answer->document == NULL) {
            fprintf(stderr, "tally:   %-24s %.*s\n", answer->server,
                    (int)strcspn(answer->error, ";"), answer->error);
            continue;
        }
        const uint64_t knows =
            (uint64_t)json_integer_value(json_object_get(answer->document, "leader"));
        const char *role = json_string_value(json_object_get(answer->document, "role"));
        answered++;
        leader = knows != 0 ? knows : leader;
        if (knows != 0)
            fprintf(stderr, "tally:   %-24s node %" PRIu64 " leads, it says (it is a %s)\n",
                    answer->server, knows, role != NULL ? role : "?");
        else
            fprintf(stderr, "tally:   %-24s it knows of no leader (it is a %s)\n", answer->server,
                    role != NULL ? role : "?");
    }
    if (answered == 0)
        fputs(
            "tally: no server answers: are they running, and is the network between here and them "
            "whole?\n",
            stderr);
    else if (leader == 0)
        fprintf(stderr,
                "tally: nobody leads: a majority of the voters has to run and to reach each other, "
                "and %zu of the %zu servers named here answered. Start the others, mend the links; "
                "\"tally status\" names who is missing\n",
                answered, servers->count);
    else
        fputs("tally: there is a leader: try again; if this lasts, the link to it is missing\n",
              stderr);
    servers_release(servers);
}
