/*
 * `tally pki`: a private CA for a bank that has none at hand, for tests and demos. Nothing else in
 * Tallystick depends on it: certificates of any CA work, as long as each carries exactly one URI
 * SAN that the table of principals lists.
 *
 *   DIR/ca.pem ca.key                            the CA; take ca.key off the machine afterwards
 *   DIR/node-1.pem node-1.key                    node 1, and so on to --nodes
 *   DIR/ROLE.pem ROLE.key ROLE.profile           one client per role
 *   DIR/principals.json                          the first table of principals, for `node init`
 */
#include "client/cli/certificate.h"
#include "client/cli/cli.h"
#include "client/cli/new_files.h"
#include "client/cli/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOSTS_MAX      32
#define NODES_MAX      9 /* members of a cluster; further numbers with pki issue */
#define CA_DAYS        3650
#define LEAF_DAYS      365
#define SERVER_DEFAULT "127.0.0.1:7400"

static const char *const client_roles[] = {"channel", "business_operator", "site_operator",
                                           "auditor"};

struct pki_options {
    struct cli *cli;
    const char *directory;
    const char *hosts[HOSTS_MAX];
    size_t host_count;
    const char *role, *name, *principal;
    uint32_t days, nodes;
};

/* Letters, digits, '.', '-' and '_': a name becomes part of a file name and of a URI. */
static bool is_plain(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
    return size > 0 && size <= 40 && text[size] == '\0' && text[0] != '.';
}

static bool is_host(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:");
    return size > 0 && size <= 253 && text[size] == '\0';
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct pki_options *options = state->input;
    uint8_t role;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case 'h':
        if (!is_host(argument))
            argp_error(state, "--host: \"%s\" is neither a DNS name nor an address", argument);
        if (options->host_count == HOSTS_MAX)
            argp_error(state, "--host: at most %d", HOSTS_MAX);
        options->hosts[options->host_count++] = argument;
        return 0;
    case 'd':
        options->days = (uint32_t)cli_number(state, "--days", argument, 1, 3650);
        return 0;
    case 'r':
        if (!tally_role_parse(argument, &role) || role == TALLY_ROLE_NONE)
            argp_error(state,
                       "--role: \"%s\" is none of channel, business_operator, site_operator, "
                       "auditor, node",
                       argument);
        options->role = argument;
        return 0;
    case 'n':
        if (!is_plain(argument))
            argp_error(state, "--name: \"%s\": 1 to 40 letters, digits, '.', '-' or '_'", argument);
        options->name = argument;
        return 0;
    case 'N':
        options->nodes = (uint32_t)cli_number(state, "--nodes", argument, 1, NODES_MAX);
        return 0;
    case 'p':
        options->principal = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->directory != NULL)
            return ARGP_ERR_UNKNOWN;
        options->directory = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->directory == NULL)
            argp_error(state, "the directory is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Adds certificate, key and (for clients) a profile of one end certificate. */
static bool add_pair(struct new_files *files, const char *directory, const char *stem,
                     const struct certificate_pair *pair, const char *server)
{
    char name[128];
    char *profile;
    snprintf(name, sizeof name, "%s.pem", stem);
    if (!new_files_add(files, directory, name, 0644, certificate_pem(pair)))
        return false;
    snprintf(name, sizeof name, "%s.key", stem);
    if (!new_files_add(files, directory, name, 0600, certificate_key_pem(pair)))
        return false;
    if (server == NULL)
        return true;
    if (asprintf(&profile,
                 "# tally --profile: paths count from this file's directory\n"
                 "server = %s\nca = ca.pem\ncert = %s.pem\nkey = %s.key\n",
                 server, stem, stem) < 0)
        profile = NULL;
    snprintf(name, sizeof name, "%s.profile", stem);
    return new_files_add(files, directory, name, 0644, profile);
}

/* Issues for spiffe://tallystick/ROLE/NAME and adds its files. */
static bool issue(struct new_files *files, const struct pki_options *options,
                  const struct certificate_pair *ca, const char *role, const char *name,
                  const char *stem)
{
    static const char *const local[] = {"localhost", "127.0.0.1", "::1"};
    const char *hosts[HOSTS_MAX + 3];
    char uri[128];
    char common_name[64];
    size_t host_count = 0;
    bool is_node = strcmp(role, "node") == 0;

    snprintf(uri, sizeof uri, "spiffe://tallystick/%s/%s", role, name);
    snprintf(common_name, sizeof common_name, "%s %s", role, name);
    for (size_t i = 0; is_node && i < 3; i++)
        hosts[host_count++] = local[i];
    for (size_t i = 0; is_node && i < options->host_count; i++)
        hosts[host_count++] = options->hosts[i];
    const struct certificate_options leaf = {
        .common_name = common_name,
        .uri = uri,
        .hosts = hosts,
        .host_count = host_count,
        .server = is_node,
        .days = options->days,
    };
    struct certificate_error error;
    struct certificate_pair *pair = certificate_issue(ca, &leaf, &error);
    if (pair == NULL) {
        snprintf(files->error, sizeof files->error, "%s", error.text);
        return false;
    }
    const char *server = options->cli->server != NULL ? options->cli->server : SERVER_DEFAULT;
    bool added = add_pair(files, options->directory, stem, pair, is_node ? NULL : server);
    certificate_destroy(pair);
    return added;
}

/* The table's first rows as JSON text. */
static char *principals_text(const struct pki_options *options)
{
    json_t *rows = json_array();
    char name[64];
    for (size_t i = 0; i < sizeof client_roles / sizeof client_roles[0]; i++) {
        char uri[128];
        snprintf(uri, sizeof uri, "spiffe://tallystick/%s/main", client_roles[i]);
        snprintf(name, sizeof name, "%s/main", client_roles[i]);
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:s}", "uri", uri, "name", name, "role", client_roles[i]));
    }
    for (uint32_t node = 1; node <= options->nodes; node++) {
        char uri[128];
        snprintf(uri, sizeof uri, "spiffe://tallystick/node/%u", node);
        snprintf(name, sizeof name, "node/%u", node);
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:s}", "uri", uri, "name", name, "role", "node"));
    }
    char *text = json_dumps(rows, JSON_INDENT(2));
    json_decref(rows);
    return text;
}

static bool build_all(struct new_files *files, const struct pki_options *options,
                      const struct certificate_pair *ca)
{
    const char *directory = options->directory;
    if (!new_files_add(files, directory, "ca.pem", 0644, certificate_pem(ca)) ||
        !new_files_add(files, directory, "ca.key", 0600, certificate_key_pem(ca)))
        return false;
    for (uint32_t node = 1; node <= options->nodes; node++) {
        char name[16];
        char stem[32];
        snprintf(name, sizeof name, "%u", node);
        snprintf(stem, sizeof stem, "node-%u", node);
        if (!issue(files, options, ca, "node", name, stem))
            return false;
    }
    for (size_t i = 0; i < sizeof client_roles / sizeof client_roles[0]; i++)
        if (!issue(files, options, ca, client_roles[i], "main", client_roles[i]))
            return false;
    return new_files_add(files, directory, "principals.json", 0644, principals_text(options));
}

static void report(const struct pki_options *options, const struct new_files *files)
{
    if (options->cli->json) {
        json_t *names = json_array();
        for (size_t i = 0; i < files->count; i++)
            json_array_append_new(names, json_string(files->files[i].path));
        output_json(json_pack("{s:s, s:o}", "directory", options->directory, "files", names));
        return;
    }
    for (size_t i = 0; i < files->count; i++)
        printf("%s\n", files->files[i].path);
}

int pki_init_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"host", 'h', "NAME|IP", 0,
         "Also valid for this name or address of a node (localhost always is); repeatable", 0},
        {"nodes", 'N', "N", 0, "Certificates for nodes 1 to N (1); all are valid for every --host",
         0},
        {"days", 'd', "N", 0, "Days the nodes' and clients' certificates are valid (365)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        "DIR",
        "Makes a private CA (ten years), certificates for the nodes and one for each client role, "
        "with profiles for --profile and the first table of principals. Overwrites nothing.\v"
        "--server is what the profiles name, all nodes of a cluster with commas between them; "
        "default " SERVER_DEFAULT ".",
        cli_children,
        NULL,
        NULL};
    struct pki_options options = {.cli = cli, .days = LEAF_DAYS, .nodes = 1};
    struct certificate_error error;
    cli_parse(&argp, argc, argv, &options);

    struct new_files *files = calloc(1, sizeof *files);
    struct certificate_pair *ca = certificate_create_ca("Tallystick CA", CA_DAYS, &error);
    if (files == NULL || ca == NULL) {
        free(files);
        certificate_destroy(ca);
        return cli_error(EXIT_LOCAL, "%s", files == NULL ? "out of memory" : error.text);
    }
    int code = EXIT_OK;
    if (build_all(files, &options, ca) && new_files_write(files, options.directory)) {
        report(&options, files);
        fprintf(stderr,
                "Next: tally node init NODE_DIR --pki %s\n"
                "Then keep %s/ca.key somewhere else: whoever has it can make any role.\n",
                options.directory, options.directory);
    } else {
        code = cli_error(files->exists ? EXIT_USAGE : EXIT_LOCAL, "%s", files->error);
    }
    new_files_deinit(files);
    free(files);
    certificate_destroy(ca);
    return code;
}

int pki_issue_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"role", 'r', "ROLE", 0,
         "channel, business_operator, site_operator, auditor or node (required)", 0},
        {"name", 'n', "NAME", 0, "Name within the role (required)", 0},
        {"principal", 'p', "NAME", 0,
         "Principal for the printed next step (default ROLE/NAME); instances of one channel share "
         "it",
         0},
        {"host", 'h', "NAME|IP", 0, "Name or address, for role node; repeatable", 0},
        {"days", 'd', "N", 0, "Days it is valid (365)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,        parse,
        "DIR",        "Issues one more certificate from the CA that pki init made in DIR.",
        cli_children, NULL,
        NULL};
    struct pki_options options = {.cli = cli, .days = LEAF_DAYS};
    struct certificate_error error;
    char certificate_file[4096];
    char key_file[4096];
    char stem[100];
    char principal[100];
    cli_parse(&argp, argc, argv, &options);
    if (options.role == NULL || options.name == NULL)
        return cli_error(EXIT_USAGE, "pki issue needs --role and --name");

    snprintf(certificate_file, sizeof certificate_file, "%s/ca.pem", options.directory);
    snprintf(key_file, sizeof key_file, "%s/ca.key", options.directory);
    if (access(certificate_file, F_OK) != 0)
        return cli_error(EXIT_USAGE,
                         "there is no %s: make the authority first with \"tally pki init %s\"",
                         certificate_file, options.directory);
    snprintf(stem, sizeof stem, "%s-%s", options.role, options.name);
    snprintf(principal, sizeof principal, "%s/%s", options.role, options.name);
    struct new_files *files = calloc(1, sizeof *files);
    struct certificate_pair *ca = certificate_load(certificate_file, key_file, &error);
    if (files == NULL || ca == NULL) {
        free(files);
        certificate_destroy(ca);
        return cli_error(EXIT_LOCAL, "%s", files == NULL ? "out of memory" : error.text);
    }
    int code = EXIT_OK;
    if (issue(files, &options, ca, options.role, options.name, stem) &&
        new_files_write(files, options.directory)) {
        report(&options, files);
        fprintf(stderr,
                "Next, as site_operator: tally principal set --uri spiffe://tallystick/%s/%s "
                "--name %s --role %s\n",
                options.role, options.name,
                options.principal != NULL ? options.principal : principal, options.role);
    } else {
        code = cli_error(files->exists ? EXIT_USAGE : EXIT_LOCAL, "%s", files->error);
    }
    new_files_deinit(files);
    free(files);
    certificate_destroy(ca);
    return code;
}
