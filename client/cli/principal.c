/*
 * `tally principal`: the table that maps certificates to principals and roles.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "client/cli/principals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- principals.json ---- */

bool principal_fill(const char *uri, const char *name, const char *role, uint32_t in_flight_max,
                    struct tally_principal *out, const char **out_reason)
{
    *out = (struct tally_principal){.in_flight_max = in_flight_max};
    *out_reason = "uri is missing, empty or above 255 bytes";
    if (uri == NULL || uri[0] == '\0' || strlen(uri) >= sizeof out->uri)
        return false;
    *out_reason = "name is missing, empty or above 64 bytes";
    if (name == NULL || name[0] == '\0' || strlen(name) >= sizeof out->name)
        return false;
    *out_reason = "role is none of channel, business_operator, site_operator, auditor, node, none";
    if (role == NULL || !tally_role_parse(role, &out->role))
        return false;
    memcpy(out->uri, uri, strlen(uri) + 1);
    memcpy(out->name, name, strlen(name) + 1);
    return true;
}

static int load_row(const char *path, size_t index, json_t *row, struct tally_principal *out)
{
    const char *reason;
    json_t *limit = json_object_get(row, "in_flight_max");
    const char *key;
    json_t *value;
    json_object_foreach(row, key, value)
    {
        if (strcmp(key, "uri") != 0 && strcmp(key, "name") != 0 && strcmp(key, "role") != 0 &&
            strcmp(key, "in_flight_max") != 0)
            return cli_error(EXIT_USAGE, "%s: row %zu: key \"%s\" is not known", path, index, key);
    }
    if (limit != NULL && (!json_is_integer(limit) || json_integer_value(limit) < 0 ||
                          json_integer_value(limit) > UINT32_MAX))
        return cli_error(EXIT_USAGE, "%s: row %zu: in_flight_max is no number", path, index);
    if (!principal_fill(json_string_value(json_object_get(row, "uri")),
                        json_string_value(json_object_get(row, "name")),
                        json_string_value(json_object_get(row, "role")),
                        (uint32_t)json_integer_value(limit), out, &reason))
        return cli_error(EXIT_USAGE, "%s: row %zu: %s", path, index, reason);
    return EXIT_OK;
}

int principals_load(const char *path, struct principal_list *out_list)
{
    json_error_t error;
    json_t *rows = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (rows == NULL && error.line < 0)
        return cli_error(EXIT_USAGE, "%s", error.text); /* cannot be opened: names the file */
    if (rows == NULL)
        return cli_error(EXIT_USAGE, "%s: line %d: %s", path, error.line, error.text);
    int code = EXIT_OK;
    bool has_operator = false;
    struct principal_list list = {.count = json_array_size(rows)};
    if (list.count == 0 || list.count > 4096) {
        code = cli_error(EXIT_USAGE, "%s: expected an array of 1 to 4096 principals", path);
        goto out;
    }
    list.rows = calloc(list.count, sizeof *list.rows);
    if (list.rows == NULL) {
        code = cli_error(EXIT_LOCAL, "out of memory");
        goto out;
    }
    for (size_t i = 0; i < list.count && code == EXIT_OK; i++) {
        code = load_row(path, i, json_array_get(rows, i), &list.rows[i]);
        has_operator |= list.rows[i].role == TALLY_ROLE_SITE_OPERATOR;
    }
    if (code == EXIT_OK && !has_operator)
        code = cli_error(EXIT_USAGE, "%s: no row is a site_operator: nobody could change the table",
                         path);
    if (code == EXIT_OK) {
        *out_list = list;
        list.rows = NULL;
    }
out:
    free(list.rows);
    json_decref(rows);
    return code;
}

void principals_deinit(struct principal_list *list)
{
    free(list->rows);
    list->rows = NULL;
}

/* ---- list ---- */

int principal_list_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL, cli_parse_none, NULL, "Who may call, and as what.", cli_children, NULL, NULL};
    struct tally_principal *rows;
    size_t count;
    char limit[OUTPUT_NUMBER_SIZE];

    cli_parse(&argp, argc, argv, cli);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    if (tally_list_principals(cli->client, &call, &rows, &count) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (cli->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s, s:I}", "uri", rows[i].uri, "name",
                                            rows[i].name, "role", tally_role_name(rows[i].role),
                                            "in_flight_max", (json_int_t)rows[i].in_flight_max));
        output_json(json_pack("{s:o}", "principals", list));
    } else {
        struct table *table = table_create(
            (const struct table_column[]){
                {"NAME", false}, {"ROLE", false}, {"IN FLIGHT", true}, {"CERTIFICATE URI", false}},
            4);
        for (size_t i = 0; i < count; i++)
            table_row(table, (const char *[]){rows[i].name, tally_role_name(rows[i].role),
                                              rows[i].in_flight_max > 0
                                                  ? output_number(rows[i].in_flight_max, limit)
                                                  : "default",
                                              rows[i].uri});
        table_print(table);
    }
    tally_free(rows);
    return EXIT_OK;
}

/* ---- set ---- */

struct set_options {
    struct cli *cli;
    const char *uri, *name, *role, *identity;
    uint32_t in_flight_max;
};

static error_t parse_set(int key, char *argument, struct argp_state *state)
{
    struct set_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'u':
        options->uri = argument;
        return 0;
    case 'n':
        options->name = argument;
        return 0;
    case 'r':
        options->role = argument;
        return 0;
    case 'f':
        options->in_flight_max =
            (uint32_t)cli_number(state, "--in-flight-max", argument, 0, UINT32_MAX);
        return 0;
    case 'i':
        options->identity = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int principal_set_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"uri", 'u', "URI", 0, "The certificate's one URI SAN (required)", 0},
        {"name", 'n', "NAME", 0, "The principal; instances of a channel share it (required)", 0},
        {"role", 'r', "ROLE", 0,
         "channel, business_operator, site_operator, auditor, node, or none to disable (required)",
         0},
        {"in-flight-max", 'f', "N", 0, "Requests in flight (0: the node's default)", 0},
        {"identity", 'i', "NONCE:NS", 0, "Repeat an earlier request of this kind", 0},
        {0},
    };
    static const struct argp argp = {
        flags,        parse_set, NULL, "Adds or changes one row. Role site_operator.",
        cli_children, NULL,      NULL};
    struct set_options options = {.cli = cli};
    struct tally_principal row;
    struct tally_call call;
    const char *reason;
    uint8_t result;

    cli_parse(&argp, argc, argv, &options);
    if (!principal_fill(options.uri, options.name, options.role, options.in_flight_max, &row,
                        &reason))
        return cli_error(EXIT_USAGE, "%s", reason);
    int code = cli_connect(cli, 1);
    if (code == EXIT_OK)
        code = cli_call(cli, options.identity, &call);
    if (code != EXIT_OK)
        return code;
    if (tally_set_principals(cli->client, &call, &row, 1, &result) != TALLY_OK)
        return cli_fail(cli, &call, true);
    return cli_result(cli, &call, result, "principal", row.name);
}
