/*
 * `tally node repair`: a node whose journal or store is damaged, or that was quarantined, becomes a
 * new node on the same machine, which the cluster brings up to date and takes in for the old one.
 *
 *   DIR/repair            what is under way: written first, removed last
 *   DIR/data.damaged-OLD  the old data directory, whole, for inquiry; remove it afterwards
 *   DIR/data              a joiner's, under the new number
 *   DIR/tallyd.yaml       names the new number's certificate and key
 *
 * Why not the old number: a node that lost journal may have acknowledged, or voted for, what it no
 * longer knows. Under a new number and incarnation it has promised nothing to anybody.
 *
 * Every step looks first whether it is done, so the command is repeated after any interruption. The
 * damaged directory is moved by one rename, and only while no process holds its lock.
 */
#include "client/cli/cli.h"
#include "client/cli/member_text.h"
#include "client/cli/node_files.h"
#include "client/cli/output.h"
#include "replication/directory.h"
#include "replication/environment.h"
#include "replication/node/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct repair_options {
    struct cli *cli;
    const char *directory, *pki, *peer_address;
    uint64_t node_id;
    bool force;
};

enum { KEY_PKI = 'p', KEY_ID = 0x2000, KEY_PEER_ADDRESS, KEY_FORCE };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct repair_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_PKI:
        options->pki = argument;
        return 0;
    case KEY_ID:
        options->node_id = cli_number(state, "--node-id", argument, 1, UINT32_MAX);
        return 0;
    case KEY_PEER_ADDRESS:
        options->peer_address = argument;
        return 0;
    case KEY_FORCE:
        options->force = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->directory != NULL)
            return ARGP_ERR_UNKNOWN;
        options->directory = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->directory == NULL)
            argp_error(state, "the directory is missing: that of \"tally node init\"");
        if (options->node_id == 0)
            argp_error(state, "--node-id is missing: a number that no node ever had");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what is there ---- */

struct repair {
    const struct repair_options *options;
    char data[4096], damaged[4200], note[4096], yaml[4096];
    struct identity old; /* node id, cluster, site, kind, address, reserve */
    struct member member;
};

/* The identity of a data directory, which nobody may be using if `idle`. */
static enum status look(const char *path, bool idle, struct identity *out, uint64_t *out_pid)
{
    const struct environment *environment = environment_real();
    struct files files;
    struct file *lock = NULL;
    *out_pid = 0;
    enum status status = environment->open_directory(environment->context, path, &files);
    if (status != STATUS_OK)
        return status;
    status = identity_read(&files, out);
    if (status == STATUS_OK && idle) {
        status = directory_lock(&files, &lock, out_pid);
        if (status == STATUS_OK)
            files.close(files.context, lock);
    }
    environment->close_directory(environment->context, &files);
    return status;
}

static int refuse_identity(const struct repair *repair, const char *path, enum status status,
                           uint64_t pid)
{
    if (status == STATUS_LOCKED)
        return cli_error(EXIT_USAGE, "%s: process %" PRIu64 " is using it: stop tallyd first", path,
                         pid);
    return cli_error(
        status == STATUS_CORRUPT ? EXIT_DAMAGED : EXIT_USAGE,
        "%s/identity: %s: who this node was cannot be told; make a new one beside it with \"tally "
        "node init --join --node-id %" PRIu64 "\" and \"tally member replace\"",
        path, status_text(status), repair->options->node_id);
}

/* Reads or writes DIR/repair: "OLD NEW\n". */
static int take_note(struct repair *repair, uint64_t *out_old_id)
{
    uint64_t from = 0;
    uint64_t to = 0;
    FILE *file = fopen(repair->note, "re");
    *out_old_id = 0;
    if (file == NULL)
        return errno == ENOENT
                   ? EXIT_OK
                   : cli_error(EXIT_LOCAL, "cannot read %s: %s", repair->note, strerror(errno));
    int fields = fscanf(file, "%" SCNu64 " %" SCNu64, &from, &to);
    (void)fclose(file); /* was only read */
    if (fields != 2 || from == 0)
        return cli_error(EXIT_DAMAGED,
                         "%s holds no two numbers; remove it if no repair is under way",
                         repair->note);
    if (to != repair->options->node_id)
        return cli_error(EXIT_USAGE,
                         "a repair of node %" PRIu64 " as node %" PRIu64
                         " is under way in %s: repeat it with --node-id %" PRIu64,
                         from, to, repair->options->directory, to);
    *out_old_id = from;
    return EXIT_OK;
}

static int write_note(const struct repair *repair)
{
    char text[64];
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", repair->old.node_id,
             repair->options->node_id);
    return node_file_replace(repair->note, text, 0644);
}

/* Who the damaged node was: from its directory, wherever that is by now. */
static int find_old(struct repair *repair)
{
    uint64_t pid;
    uint64_t old_id;
    int code = take_note(repair, &old_id);
    if (code != EXIT_OK)
        return code;
    struct identity found;
    enum status status = look(repair->data, false, &found, &pid);
    if (old_id == 0 && status != STATUS_OK)
        return refuse_identity(repair, repair->data, status, pid);
    if (old_id == 0)
        old_id = found.node_id;
    if (old_id == repair->options->node_id)
        return cli_error(EXIT_USAGE,
                         "--node-id: it is node %" PRIu64
                         " already; a repaired node needs a number "
                         "that no node ever had",
                         old_id);
    snprintf(repair->damaged, sizeof repair->damaged, "%s.damaged-%" PRIu64, repair->data, old_id);
    /* Where it is by now; the joiner in its place may be running already. */
    bool moved = status != STATUS_OK || found.node_id != old_id;
    const char *path = moved ? repair->damaged : repair->data;
    status = look(path, true, &repair->old, &pid);
    return status == STATUS_OK ? EXIT_OK : refuse_identity(repair, path, status, pid);
}

/* ---- the steps ---- */

static int move_aside(const struct repair *repair)
{
    struct stat about;
    if (stat(repair->damaged, &about) == 0)
        return EXIT_OK; /* an earlier run was here */
    if (rename(repair->data, repair->damaged) != 0)
        return cli_error(EXIT_LOCAL, "cannot move %s to %s: %s", repair->data, repair->damaged,
                         strerror(errno));
    return node_directory_sync(repair->options->directory);
}

static int make_joiner(struct repair *repair)
{
    struct stat about;
    struct identity made;
    struct node_error error;
    uint64_t pid;
    if (look(repair->data, false, &made, &pid) == STATUS_OK) {
        identity_member(&made, &repair->member);
        return EXIT_OK; /* an earlier run made it */
    }
    if (stat(repair->damaged, &about) != 0)
        return cli_error(EXIT_LOCAL, "cannot look at %s: %s", repair->damaged, strerror(errno));
    struct node_init_options init = {
        .directory = repair->data,
        .journal_segment_size = node_config_segment_bytes(repair->yaml),
        .reserve_bytes = repair->old.reserve_bytes,
        .node_id = repair->options->node_id,
        .kind = repair->old.kind,
        .site = repair->old.site,
        .peer_address = repair->options->peer_address != NULL ? repair->options->peer_address
                                                              : repair->old.address,
        .join = true,
        .out_member = &repair->member,
    };
    memcpy(init.cluster_id, repair->old.cluster_id, sizeof init.cluster_id);
    enum status status = node_init(&init, &error);
    if (status != STATUS_OK)
        return cli_error(status == STATUS_INVALID ? EXIT_USAGE : EXIT_LOCAL, "%s", error.text);
    return node_directory_give(repair->data, about.st_uid, about.st_gid);
}

static int run(const struct repair_options *options)
{
    struct repair repair = {.options = options};
    snprintf(repair.data, sizeof repair.data, "%s/data", options->directory);
    snprintf(repair.note, sizeof repair.note, "%s/repair", options->directory);
    snprintf(repair.yaml, sizeof repair.yaml, "%s/tallyd.yaml", options->directory);
    int code = cli_resolve_all(options->cli); /* before anything is moved */
    if (code == EXIT_OK)
        code = find_old(&repair);
    if (code == EXIT_OK)
        code = node_config_check_certificate(repair.yaml, options->pki, repair.old.node_id,
                                             options->node_id);
    if (code == EXIT_OK)
        code = write_note(&repair);
    if (code == EXIT_OK)
        code = move_aside(&repair);
    if (code == EXIT_OK)
        code = make_joiner(&repair);
    if (code == EXIT_OK)
        code = node_config_set_certificate(repair.yaml, options->pki, repair.old.node_id,
                                           options->node_id);
    if (code != EXIT_OK)
        return code;
    fprintf(stderr,
            "The damaged files are in %s.\n"
            "Start now: tallyd --config %s\n"
            "Waiting until node %" PRIu64 " has caught up and node %" PRIu64 " is removed ...\n",
            repair.damaged, repair.yaml, options->node_id, repair.old.node_id);
    code = member_replace(options->cli, repair.old.node_id, &repair.member, options->force);
    if (code == EXIT_OK && unlink(repair.note) != 0)
        code = cli_error(EXIT_LOCAL, "cannot remove %s: %s", repair.note, strerror(errno));
    if (code != EXIT_OK)
        fputs("tally: repeat the same command: it goes on where it stopped\n", stderr);
    return code;
}

int node_repair_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"node-id", KEY_ID, "N", 0, "New number, one that no node ever had (required)", 0},
        {"peer-address", KEY_PEER_ADDRESS, "HOST:PORT", 0,
         "Where the other members reach it (default: as before)", 0},
        {"pki", KEY_PKI, "DIR", 0,
         "Where node-N.pem and node-N.key are, when the configuration names copies of them", 0},
        {"force", KEY_FORCE, NULL, 0, "Although the loss of fewer sites would be survived", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        "DIR",
        "The node in DIR, stopped, becomes a new one: its damaged files are moved aside, the "
        "cluster brings it up to date and takes it in for the old one. Repeat it after any "
        "interruption. Role site_operator.",
        cli_children,
        NULL,
        NULL};
    struct repair_options options = {.cli = cli};
    cli_parse(&argp, argc, argv, &options);
    return run(&options);
}
