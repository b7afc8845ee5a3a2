/*
 * `tally node init`: makes everything a node needs to start, and says how to start it. The first
 * node founds a cluster of one; with --join a node is made for a cluster that exists: it knows
 * nothing yet, waits to be contacted, and becomes a member by `tally member add`.
 *
 *   DIR/tallyd.yaml   configuration, absolute paths
 *   DIR/data/         made by replication's node_init(): identity, journal, hard state, reserve
 *   DIR/tls/          with --user: the node's copies of its certificate and key and of ca.pem
 *
 * The copies are for the node's user alone. It cannot read the directory of "tally pki init", and
 * must not: the authority's key is there. Without --user the configuration names the originals.
 *
 * The configuration is written last: a directory that has one is complete.
 */
#include "client/cli/cli.h"
#include "client/cli/member_text.h"
#include "client/cli/new_files.h"
#include "client/cli/output.h"
#include "client/cli/principals.h"
#include "core/command.h"
#include "replication/node/node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES_DEFAULT (64ull << 20)
/* With the default watermark it holds the largest checkpoint: docs/operations-node.md. */
#define RESERVE_BYTES_DEFAULT (256ull << 20)
#define TLS_FILES             3 /* certificate, key, authority */
#define PEM_SIZE_MAX          (1 << 20)

struct init_options {
    struct cli *cli;
    const char *directory, *pki, *principals, *listen, *ops, *user;
    const char *site, *peer_address, *peer_listen;
    char peer_listen_default[80];
    bool allow_root, join, has_cluster_id;
    enum member_kind kind;
    uint8_t cluster_id[16];
    uint64_t segment_bytes, reserve_bytes, node_id;
};

enum {
    KEY_PKI = 'p',
    KEY_PRINCIPALS = 0x2000,
    KEY_LISTEN,
    KEY_OPS,
    KEY_SEGMENT,
    KEY_RESERVE,
    KEY_NODE_ID,
    KEY_USER,
    KEY_ALLOW_ROOT,
    KEY_SITE,
    KEY_KIND,
    KEY_PEER_ADDRESS,
    KEY_PEER_LISTEN,
    KEY_JOIN,
    KEY_CLUSTER_ID
};

/* Only what an address can consist of, since it is written into the configuration; whether it is
 * one is tallyd's to say. */
static const char *address(struct argp_state *state, const char *option, const char *text)
{
    if (text[0] == '\0' || text[strspn(text, "0123456789abcdefABCDEF.:[]")] != '\0')
        argp_error(state, "%s: \"%s\" is not ADDRESS:PORT (numeric; IPv6 as [address]:port)",
                   option, text);
    return text;
}

/* What only makes sense together. */
static void check_together(const struct init_options *options, struct argp_state *state)
{
    if (options->directory == NULL)
        argp_error(state, "the directory is missing");
    if (options->pki == NULL)
        argp_error(state, "--pki is missing: the directory made by \"tally pki init\"");
    if (options->join && !options->has_cluster_id)
        argp_error(state, "--join needs --cluster-id: \"tally status\" of the cluster shows it");
    if (options->join && options->peer_address == NULL)
        argp_error(state, "--join needs --peer-address: where the other members reach this node");
    /* The defaults are the founder's: a joiner that took them would be refused as its twin or,
     * worse, count at a site where it does not stand. */
    if (options->join && options->node_id == 0)
        argp_error(state, "--join needs --node-id: a number that no node of the cluster ever had");
    if (options->join && options->site == NULL)
        argp_error(state, "--join needs --site: where this node stands");
    if (options->join && options->principals != NULL)
        argp_error(state, "--principals: a node that joins gets the cluster's table of principals");
    if (!options->join && options->has_cluster_id)
        argp_error(state, "--cluster-id is for --join; a new cluster gets a number of its own");
    if (!options->join && options->kind == MEMBER_WITNESS)
        argp_error(state, "--kind witness: a witness cannot found a cluster; make it with --join");
    if (options->peer_listen != NULL && options->peer_address == NULL)
        argp_error(state, "--peer-listen needs --peer-address: where others reach this node");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct init_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_PKI:
        options->pki = argument;
        return 0;
    case KEY_PRINCIPALS:
        options->principals = argument;
        return 0;
    case KEY_LISTEN:
        options->listen = address(state, "--listen", argument);
        return 0;
    case KEY_OPS:
        options->ops = address(state, "--ops", argument);
        return 0;
    case KEY_SEGMENT:
        options->segment_bytes = cli_number(state, "--segment-bytes", argument, 2 << 20, 1 << 30);
        if (options->segment_bytes % 4096 != 0)
            argp_error(state, "--segment-bytes: must be a multiple of 4096");
        return 0;
    case KEY_RESERVE:
        options->reserve_bytes = cli_number(state, "--reserve-bytes", argument, 0, 1ull << 40);
        return 0;
    case KEY_NODE_ID:
        options->node_id = cli_number(state, "--node-id", argument, 1, UINT32_MAX);
        return 0;
    case KEY_USER:
        options->user = argument;
        return 0;
    case KEY_ALLOW_ROOT:
        options->allow_root = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->directory != NULL)
            return ARGP_ERR_UNKNOWN;
        options->directory = argument;
        return 0;
    case KEY_SITE:
        options->site = argument;
        return 0;
    case KEY_KIND:
        options->kind = member_kind(state, argument);
        return 0;
    case KEY_PEER_ADDRESS:
        options->peer_address = argument;
        return 0;
    case KEY_PEER_LISTEN:
        options->peer_listen = address(state, "--peer-listen", argument);
        return 0;
    case KEY_JOIN:
        options->join = true;
        return 0;
    case KEY_CLUSTER_ID:
        options->has_cluster_id = true;
        if (!member_hex(argument, options->cluster_id))
            argp_error(state, "--cluster-id: \"%s\" is not 32 hex digits", argument);
        return 0;
    case ARGP_KEY_END:
        check_together(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Text in YAML's double quotes; malloc'ed. */
static char *quoted(const char *text)
{
    char *out = malloc(2 * strlen(text) + 3);
    char *to = out;
    if (out == NULL)
        return NULL;
    *to++ = '"';
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            *to++ = '\\';
        *to++ = *text;
    }
    *to++ = '"';
    *to = '\0';
    return out;
}

/* "base/name" as an absolute path in quotes; the file must exist. NULL after a message. */
static char *absolute(const char *base, const char *name, int *out_code)
{
    char path[4096];
    char resolved[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", base, name);
    if (realpath(path, resolved) == NULL) {
        *out_code = cli_error(EXIT_USAGE, "%s: %s; \"tally pki init %s\" makes it", path,
                              strerror(errno), base);
        return NULL;
    }
    for (const char *at = resolved; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20) {
            *out_code = cli_error(EXIT_USAGE, "%s: control characters in a path", path);
            return NULL;
        }
    }
    char *text = quoted(resolved);
    if (text == NULL)
        *out_code = cli_error(EXIT_LOCAL, "out of memory");
    return text;
}

/* "base/name" in quotes for the file `name` that the node reads: of the directory of certificates,
 * or the copy in DIR/tls of its user. `directory` is quoted. NULL after a message. */
static char *tls_path(const struct init_options *options, const char *directory, const char *name,
                      int *out_code)
{
    char *copy = NULL;
    char *original = absolute(options->pki, name, out_code);
    if (original == NULL || options->user == NULL)
        return original;
    free(original);
    if (asprintf(&copy, "%.*s/tls/%s\"", (int)strlen(directory) - 1, directory, name) < 0) {
        *out_code = cli_error(EXIT_LOCAL, "out of memory");
        return NULL;
    }
    return copy;
}

static char *configuration(const struct init_options *options, const char *const names[TLS_FILES],
                           int *out_code)
{
    char *text = NULL;
    char *directory = absolute(options->directory, ".", out_code);
    if (directory == NULL)
        return NULL;
    char *certificate = tls_path(options, directory, names[0], out_code);
    char *key = certificate != NULL ? tls_path(options, directory, names[1], out_code) : NULL;
    char *ca = key != NULL ? tls_path(options, directory, names[2], out_code) : NULL;
    char *user = ca != NULL ? quoted(options->user != NULL ? options->user : "") : NULL;
    if (user == NULL)
        goto out;
    if (asprintf(
            &text,
            "# Made by \"tally node init\". \"tallyd --check-config --config FILE\" checks it.\n"
            "node:\n"
            "  directory: %.*s/data\"\n"
            "%s%s%s"
            "  allow_root: %s\n"
            "listen:\n"
            "  grpc: \"%s\"\n"
            "  ops: \"%s\"\n"
            "%s%s%s"
            "tls:\n"
            "  certificate: %s\n"
            "  key: %s\n"
            "  ca: %s\n"
            "journal:\n"
            "  segment_bytes: %llu\n",
            (int)strlen(directory) - 1, directory, options->user != NULL ? "  user: " : "",
            options->user != NULL ? user : "", options->user != NULL ? "\n" : "",
            options->allow_root ? "true" : "false", options->listen, options->ops,
            options->peer_listen != NULL ? "peer:\n  listen: \"" : "",
            options->peer_listen != NULL ? options->peer_listen : "",
            options->peer_listen != NULL ? "\"\n" : "", certificate, key, ca,
            (unsigned long long)options->segment_bytes) < 0) {
        text = NULL;
        *out_code = cli_error(EXIT_LOCAL, "out of memory");
    }
out:
    free(directory);
    free(certificate);
    free(key);
    free(ca);
    free(user);
    return text;
}

/* ---- the node's own certificates ---- */

/* PEM of a few kilobytes; malloc'ed, NULL after a message. */
static char *read_pem(const char *path, int *out_code)
{
    char *text = calloc(1, PEM_SIZE_MAX);
    FILE *file = fopen(path, "re");
    if (text != NULL && file != NULL) {
        size_t size = fread(text, 1, PEM_SIZE_MAX - 1, file);
        if (!ferror(file) && size > 0 && size < PEM_SIZE_MAX - 1) {
            fclose(file); /* was only read */
            return text;
        }
    }
    *out_code = file == NULL ? cli_error(EXIT_USAGE, "cannot read %s: %s", path, strerror(errno))
                             : cli_error(EXIT_USAGE, "%s is no PEM file", path);
    if (file != NULL)
        fclose(file); /* was only read */
    free(text);
    return NULL;
}

static int add_copies(const struct init_options *options, const char *const names[TLS_FILES],
                      const char *directory, struct new_files *copies)
{
    int code = EXIT_OK;
    for (size_t i = 0; i < TLS_FILES; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", options->pki, names[i]);
        char *text = read_pem(path, &code);
        if (text == NULL)
            return code;
        if (!new_files_add(copies, directory, names[i], 0600, text))
            return cli_error(EXIT_LOCAL, "%s", copies->error);
    }
    return EXIT_OK;
}

/* ---- ownership ---- */

static struct passwd *give_to; /* nftw() has no argument of ours */

static int give(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return lchown(path, give_to->pw_uid, give_to->pw_gid);
}

static int check_user(const struct init_options *options)
{
    if (options->user != NULL && getpwnam(options->user) == NULL)
        return cli_error(EXIT_USAGE, "--user: there is no user \"%s\" on this machine",
                         options->user);
    if (geteuid() == 0 && options->user == NULL && !options->allow_root)
        return cli_error(EXIT_USAGE,
                         "you are root: name the user that tallyd shall run as with --user, or say "
                         "--allow-root");
    if (geteuid() != 0 && options->user != NULL && getpwnam(options->user)->pw_uid != geteuid())
        return cli_error(EXIT_USAGE, "--user: only root can give the directory to another user");
    return EXIT_OK;
}

static int give_directory(const struct init_options *options, const char *directory)
{
    if (options->user == NULL || geteuid() != 0)
        return EXIT_OK;
    give_to = getpwnam(options->user);
    if (give_to == NULL || nftw(directory, give, 16, FTW_PHYS) != 0)
        return cli_error(EXIT_LOCAL, "cannot give %s to user %s: %s", directory, options->user,
                         strerror(errno));
    return EXIT_OK;
}

/* ---- the command ---- */

/* Where the node listens for its peers when --peer-listen does not say: at the address that they
 * use if that is numeric, else (a name, perhaps of a gateway) at its port on every address. */
static int choose_peer_listen(struct init_options *options)
{
    const char *text = options->peer_address;
    if (text == NULL || options->peer_listen != NULL)
        return EXIT_OK;
    const char *port = strrchr(text, ':');
    if (port == NULL || port[1] == '\0' || strlen(text) > MEMBER_ADDRESS_SIZE_MAX)
        return cli_error(EXIT_USAGE, "--peer-address: \"%s\" is not HOST:PORT or [IPv6]:PORT",
                         text);
    struct in_addr binary;
    char host[64];
    snprintf(host, sizeof host, "%.*s", (int)(port - text), text);
    bool numeric = text[0] == '[' || inet_pton(AF_INET, host, &binary) == 1;
    snprintf(options->peer_listen_default, sizeof options->peer_listen_default, "%s%s",
             numeric ? host : "0.0.0.0", port);
    options->peer_listen = options->peer_listen_default;
    return EXIT_OK;
}

static int make_data(struct init_options *options, const char *data, struct member *out_member)
{
    struct principal_list principals = {0};
    struct principal_event *rows = NULL;
    char path[4096];
    int code = EXIT_OK;

    snprintf(path, sizeof path, "%s/principals.json", options->pki);
    if (!options->join)
        code =
            principals_load(options->principals != NULL ? options->principals : path, &principals);
    if (code != EXIT_OK)
        return code;
    if (!options->join &&
        getrandom(options->cluster_id, sizeof options->cluster_id, 0) != sizeof options->cluster_id)
        code = cli_error(EXIT_LOCAL, "the operating system has no random numbers");
    if (code == EXIT_OK && !options->join)
        rows = calloc(principals.count, sizeof *rows);
    if (code == EXIT_OK && rows == NULL && !options->join) {
        code = cli_error(EXIT_LOCAL, "out of memory");
    }
    if (code != EXIT_OK)
        goto out;
    for (size_t i = 0; i < principals.count; i++) {
        const struct tally_principal *from = &principals.rows[i];
        rows[i].role = from->role;
        rows[i].in_flight_max = from->in_flight_max;
        rows[i].uri_size = (uint8_t)strlen(from->uri);
        rows[i].name_size = (uint8_t)strlen(from->name);
        memcpy(rows[i].uri, from->uri, rows[i].uri_size);
        memcpy(rows[i].name, from->name, rows[i].name_size);
    }
    struct node_init_options init = {
        .directory = data,
        .journal_segment_size = options->segment_bytes,
        .reserve_bytes = options->reserve_bytes,
        .node_id = options->node_id,
        .kind = options->kind,
        .site = options->site,
        .peer_address = options->peer_address,
        .join = options->join,
        .principals = rows,
        .principal_count = (uint32_t)principals.count,
        .out_member = out_member,
    };
    memcpy(init.cluster_id, options->cluster_id, sizeof init.cluster_id);
    struct node_error error;
    enum status status = node_init(&init, &error);
    if (status != STATUS_OK)
        code =
            cli_error(status == STATUS_INVALID || status == STATUS_EXISTS ? EXIT_USAGE : EXIT_LOCAL,
                      "%s", error.text);
out:
    free(rows);
    principals_deinit(&principals);
    return code;
}

static void report(const struct init_options *options, const char *data, const char *yaml,
                   const struct member *member)
{
    char line[MEMBER_FLAGS_SIZE];
    member_flags(member, line);
    if (options->cli->json) {
        output_json(json_pack("{s:s, s:s, s:o, s:o, s:s}", "directory", data, "configuration", yaml,
                              "cluster_id",
                              output_bytes(options->cluster_id, sizeof options->cluster_id),
                              "member", member_json(member), "member_flags", line));
    } else {
        printf("%s\n%s\n", data, yaml);
        if (options->join)
            printf("member: %s\n", line);
    }
    fprintf(stderr, "Next: tallyd --config %s\n", yaml);
    if (options->join)
        fprintf(stderr, "Then, as site_operator at the cluster: tally member add %s\n", line);
    else
        fprintf(stderr, "Then: tally status --profile %s/auditor.profile\n", options->pki);
}

static int init(struct init_options *options, struct new_files *files, struct new_files *copies)
{
    struct member member;
    char data[4096];
    char yaml[4096];
    char tls[4096];
    char certificate_name[32];
    char key_name[32];
    const char *const names[TLS_FILES] = {certificate_name, key_name, "ca.pem"};
    int code = check_user(options);
    if (code == EXIT_OK)
        code = choose_peer_listen(options);
    if (code != EXIT_OK)
        return code;
    snprintf(data, sizeof data, "%s/data", options->directory);
    snprintf(yaml, sizeof yaml, "%s/tallyd.yaml", options->directory);
    snprintf(tls, sizeof tls, "%s/tls", options->directory);
    snprintf(certificate_name, sizeof certificate_name, "node-%u.pem", (unsigned)options->node_id);
    snprintf(key_name, sizeof key_name, "node-%u.key", (unsigned)options->node_id);
    if (access(yaml, F_OK) == 0)
        return cli_error(EXIT_USAGE, "%s exists: this is a node already; choose another directory",
                         yaml);
    if (mkdir(options->directory, 0755) != 0 && errno != EEXIST)
        return cli_error(EXIT_LOCAL, "cannot make directory %s: %s", options->directory,
                         strerror(errno));
    /* Everything that may be wrong with what we were given is found before data is made. */
    char *text = configuration(options, names, &code);
    if (text == NULL)
        return code;
    if (options->user != NULL)
        code = add_copies(options, names, tls, copies);
    if (code != EXIT_OK) {
        free(text);
        return code;
    }
    if (!new_files_add(files, options->directory, "tallyd.yaml", 0644, text))
        return cli_error(EXIT_LOCAL, "%s", files->error);
    code = make_data(options, data, &member);
    if (code != EXIT_OK)
        return code;
    if (options->user != NULL && !new_files_write(copies, tls))
        return cli_error(EXIT_LOCAL, "%s", copies->error);
    code = give_directory(options, data);
    if (code == EXIT_OK && options->user != NULL)
        code = give_directory(options, tls);
    if (code != EXIT_OK)
        return code;
    if (!new_files_write(files, options->directory))
        return cli_error(EXIT_LOCAL, "%s", files->error);
    report(options, data, yaml, &member);
    return EXIT_OK;
}

int node_init_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"pki", KEY_PKI, "DIR", 0, "Certificates: node-1.pem, node-1.key, ca.pem (required)", 0},
        {"principals", KEY_PRINCIPALS, "FILE", 0,
         "First table of principals (default: principals.json of --pki)", 0},
        {"listen", KEY_LISTEN, "ADDR:PORT", 0, "gRPC (default 127.0.0.1:7400)", 0},
        {"ops", KEY_OPS, "ADDR:PORT", 0, "Probes, metrics, status (default 127.0.0.1:7401)", 0},
        {"segment-bytes", KEY_SEGMENT, "N", 0, "Size of a journal segment (default 64 MiB)", 0},
        {"reserve-bytes", KEY_RESERVE, "N", 0,
         "Disk space kept back for the last checkpoint (default 256 MiB)", 0},
        {"node-id", KEY_NODE_ID, "N", 0, "Number of this node (default 1; needed with --join)", 0},
        {"site", KEY_SITE, "NAME", 0, "Where the node stands (default A; needed with --join)", 0},
        {"kind", KEY_KIND, "data|witness", 0, "What the node is (default data)", 0},
        {"peer-address", KEY_PEER_ADDRESS, "HOST:PORT", 0,
         "Where the other members reach this node; without it, it is alone and stays so", 0},
        {"peer-listen", KEY_PEER_LISTEN, "ADDR:PORT", 0,
         "Numeric address that it listens at for them (default: that of --peer-address)", 0},
        {"join", KEY_JOIN, NULL, 0, "For a cluster that exists", 0},
        {"cluster-id", KEY_CLUSTER_ID, "HEX", 0, "Which one; \"tally status\" shows it", 0},
        {"user", KEY_USER, "NAME", 0,
         "User that tallyd runs as; gets DIR/data, and copies of certificate and key in DIR/tls",
         0},
        {"allow-root", KEY_ALLOW_ROOT, NULL, 0, "Let tallyd run as root (containers, demos)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        "DIR",
        "Makes DIR/data and DIR/tallyd.yaml for a new node: the first of a new cluster, or with "
        "--join one for a cluster that exists.",
        cli_children,
        NULL,
        NULL};
    struct init_options options = {
        .cli = cli,
        .listen = "127.0.0.1:7400",
        .ops = "127.0.0.1:7401",
        .segment_bytes = SEGMENT_BYTES_DEFAULT,
        .reserve_bytes = RESERVE_BYTES_DEFAULT,
    };
    cli_parse(&argp, argc, argv, &options);
    if (options.node_id == 0)
        options.node_id = 1;
    if (options.site == NULL)
        options.site = "A";
    struct new_files *files = calloc(2, sizeof *files); /* the configuration; DIR/tls */
    if (files == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    int code = init(&options, &files[0], &files[1]);
    new_files_deinit(&files[0]);
    new_files_deinit(&files[1]);
    free(files);
    return code;
}
