/*
 * `tally status`. Of one server: the node's status document, whole with --json and in words for
 * people. Of several: all are asked at once, each by itself, since a node that does not answer is
 * the most interesting line; what they say is put together (cluster_text.c). The documents are the
 * nodes': --json prints them as they came, so a newer node shows newer fields.
 */
#include "client/cli/cli.h"
#include "client/cli/cluster_text.h"
#include "client/cli/output.h"
#include "client/cli/status_text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERVERS_MAX 16
/* For the answer of one node of several; a question that takes longer is an answer in itself. */
#define NODE_DEADLINE_MS 3000u
#define WATCH_DEFAULT_S  2

struct status_options {
    struct cli *cli;
    uint64_t watch_s; /* 0: once */
};

enum { KEY_WATCH = 0x2000 };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct status_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_WATCH:
        options->watch_s =
            argument != NULL ? cli_number(state, "--watch", argument, 1, 3600) : WATCH_DEFAULT_S;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- asking ---- */

/* One server's part of the work; a thread of its own. */
struct question {
    const struct cli *cli;
    char server[300];
    struct cluster_answer answer;
    pthread_t thread;
    bool started;
};

/* The reason alone: what libtally adds for whom a single server's answer is all there is (to ask
 * "tally status", to repeat) is no help here. */
static void keep_reason(const struct question *question, const char *text,
                        char out[sizeof question->answer.error])
{
    size_t size = strlen(question->server);
    while (strncmp(text, question->server, size) == 0 && strncmp(text + size, ": ", 2) == 0)
        text += size + 2;
    snprintf(out, sizeof question->answer.error, "%s", text);
    char *advice = strstr(out, "; nothing was executed");
    if (advice == NULL)
        advice = strstr(out, "; a question changes nothing");
    if (advice != NULL)
        *advice = '\0';
}

static void ask(struct question *question)
{
    const struct cli *cli = question->cli;
    struct cluster_answer *answer = &question->answer;
    uint32_t deadline_ms = cli->deadline_ms != 0 ? cli->deadline_ms : NODE_DEADLINE_MS;
    const struct tally_options options = {.servers = question->server,
                                          .ca_file = cli->ca,
                                          .certificate_file = cli->certificate,
                                          .key_file = cli->key,
                                          .deadline_ms = deadline_ms,
                                          .connect_ms = deadline_ms};
    struct tally_client *client;
    struct tally_error error;
    json_error_t json_error;
    char *text;
    if (tally_client_create(&options, &client, &error) != TALLY_OK) {
        snprintf(answer->error, sizeof answer->error, "%s", error.text);
        return;
    }
    struct tally_call call = {.deadline_ms = deadline_ms};
    if (tally_get_status(client, &call, &text) != TALLY_OK) {
        keep_reason(question, call.error.text, answer->error);
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

/* Splits the list of servers; how many there are, 0 when one is too long or there are too many. */
static size_t split(const struct cli *cli, struct question questions[SERVERS_MAX])
{
    size_t count = 0;
    for (const char *at = cli->server; *at != '\0';) {
        size_t size = strcspn(at, ",");
        size_t spaces = strspn(at, " ");
        if (size > spaces) {
            if (count == SERVERS_MAX || size - spaces >= sizeof questions[0].server)
                return 0;
            struct question *question = &questions[count++];
            *question = (struct question){.cli = cli};
            memcpy(question->server, at + spaces, size - spaces);
            question->server[strcspn(question->server, " ")] = '\0';
            question->answer.server = question->server;
        }
        at += size + (at[size] == ',');
    }
    return count;
}

static void ask_all(struct question *questions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        questions[i].started =
            pthread_create(&questions[i].thread, NULL, ask_thread, &questions[i]) == 0;
        if (!questions[i].started)
            ask(&questions[i]); /* without a thread: one after the other */
    }
    for (size_t i = 0; i < count; i++)
        if (questions[i].started)
            (void)pthread_join(questions[i].thread, NULL); /* it was started and is joined once */
}

/* ---- showing ---- */

static int show_cluster(const struct cli *cli)
{
    struct question *questions = calloc(SERVERS_MAX, sizeof *questions);
    struct cluster_answer answers[SERVERS_MAX];
    size_t answered = 0;
    if (questions == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    size_t count = split(cli, questions);
    if (count == 0) {
        free(questions);
        return cli_error(EXIT_USAGE,
                         "--server names no server, more than %d, or one that is above "
                         "300 bytes",
                         SERVERS_MAX);
    }
    ask_all(questions, count);
    for (size_t i = 0; i < count; i++) {
        answers[i] = questions[i].answer;
        answered += answers[i].document != NULL;
    }
    if (cli->json)
        output_json(cluster_json(answers, count));
    else
        cluster_text_print(answers, count, stdout);
    for (size_t i = 0; i < count; i++)
        json_decref(answers[i].document);
    free(questions);
    return answered > 0 ? EXIT_OK : EXIT_UNREACHABLE;
}

static int show_node(struct cli *cli)
{
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
    json_error_t error;
    char *text;
    int code = cli->client == NULL ? cli_connect(cli, 1) : EXIT_OK;
    if (code != EXIT_OK)
        return code;
    if (tally_get_status(cli->client, &call, &text) != TALLY_OK)
        return cli_fail(cli, &call, false);
    json_t *json = json_loads(text, 0, &error);
    tally_free(text);
    if (json == NULL)
        return cli_error(EXIT_LOCAL, "the node's status is no JSON: %s", error.text);
    if (cli->json) {
        output_json(json);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        status_text_print(json, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, stdout);
        json_decref(json);
    }
    return EXIT_OK;
}

int status_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"watch", KEY_WATCH, "SECONDS", OPTION_ARG_OPTIONAL,
         "Again and again, every 2 seconds or as said, until interrupted", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Shows how the node is, or, when --server or the profile names "
        "several, the cluster at a glance. Any role.",
        cli_children,
        NULL,
        NULL};
    struct status_options options = {.cli = cli};
    cli_parse(&argp, argc, argv, &options);
    int code = cli_resolve_all(cli);
    if (code != EXIT_OK)
        return code;
    bool several = strchr(cli->server, ',') != NULL;
    for (;;) {
        if (options.watch_s != 0 && !cli->json)
            fputs(isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n", stdout);
        code = several ? show_cluster(cli) : show_node(cli);
        if (options.watch_s == 0 || code == EXIT_USAGE || code == EXIT_LOCAL || fflush(stdout) != 0)
            return code;
        sleep((unsigned)options.watch_s);
    }
}
