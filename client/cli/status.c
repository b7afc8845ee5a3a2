/*
 * `tally status`. Of one server: the node's status document, whole with --json and in words for
 * people. Of several: all are asked (server_status.c), since a node that does not answer is the
 * most interesting line; what they say is put together (cluster_text.c). The documents are the
 * nodes': --json prints them as they came, so a newer node shows newer fields.
 */
#include "client/cli/cli.h"
#include "client/cli/cluster_text.h"
#include "client/cli/output.h"
#include "client/cli/server_status.h"
#include "client/cli/status_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WATCH_DEFAULT_S 2

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

/* ---- showing ---- */

static int show_cluster(const struct cli *cli)
{
    struct servers *servers;
    size_t answered = 0;
    const int code =
        servers_ask(cli, cli->deadline_ms != 0 ? cli->deadline_ms : SERVERS_DEADLINE_MS, &servers);
    if (code != EXIT_OK)
        return code;
    for (size_t i = 0; i < servers->count; i++)
        answered += servers->answers[i].document != NULL;
    if (cli->json)
        output_json(cluster_json(servers->answers, servers->count));
    else
        cluster_text_print(servers->answers, servers->count, stdout);
    servers_release(servers);
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
