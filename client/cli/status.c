/*
 * `tally status`: the node's status document, for people as "path value" lines in its own order.
 * The document is the node's; nothing here knows its fields, so a newer node shows newer ones.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <stdio.h>
#include <string.h>

#define PATH_SIZE 200

static void print_value(const char *path, const json_t *value);

static void print_members(const char *path, const json_t *object)
{
    const char *key;
    json_t *value;
    char below[PATH_SIZE];
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "." : "", key);
        print_value(below, value);
    }
}

static void print_value(const char *path, const json_t *value)
{
    char below[PATH_SIZE];
    if (json_is_object(value)) {
        print_members(path, value);
        return;
    }
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            snprintf(below, sizeof below, "%s[%zu]", path, i);
            print_value(below, json_array_get(value, i));
        }
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    bool is_string = json_is_string(value);
    printf("%-36s %s\n", path, text == NULL ? "?" : is_string ? json_string_value(value) : text);
    tally_free(text);
}

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
        print_members("", json);
        json_decref(json);
    }
    return EXIT_OK;
}
