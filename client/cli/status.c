/*
 * `tally status`: the node's status document, whole with --json and in words for people. The
 * document is the node's; --json prints it as it came, so a newer node shows newer fields.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "client/cli/status_text.h"

#include <time.h>

int status_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL, cli_parse_none, NULL, "Shows how the node is. Any role.", cli_children, NULL, NULL};
    json_error_t error;
    char *text;

    cli_parse(&argp, argc, argv, cli);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
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
