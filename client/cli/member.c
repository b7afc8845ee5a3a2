/*
 * `tally member` and `tally leader`: who belongs to the cluster, and who leads it. The leader makes
 * changes; libtally finds it among the servers of --server, which therefore should name all data
 * nodes. A change may be interrupted at any point and repeated: it goes on where it stopped.
 */
#include "client/cli/cli.h"
#include "client/cli/member_text.h"
#include "client/cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

_Static_assert(TALLY_MEMBERS_MAX >= MEMBERS_MAX, "all members fit");
_Static_assert(TALLY_SITE_SIZE == MEMBER_SITE_SIZE_MAX + 1, "a site fits");
_Static_assert(TALLY_MEMBER_ADDRESS_SIZE == MEMBER_ADDRESS_SIZE_MAX + 1, "an address fits");

#define GRPC_NOT_FOUND_CODE 5

/* A new member has to catch up before it votes. */
#define CHANGE_DEADLINE_MS 600000u
/* How long the operator hears nothing of a change that waits. */
#define TURN_MS 10000u

struct member_options {
    struct cli *cli;
    struct member member; /* given flag by flag */
    unsigned seen;        /* bits of the flags below */
    const char *file;
    uint64_t node_id; /* the argument: who is replaced, removed, or shall lead; 0 = not given */
    bool takes_member, takes_id, force;
};

enum {
    SEEN_ID = 1,
    SEEN_SITE = 2,
    SEEN_KIND = 4,
    SEEN_ADDRESS = 8,
    SEEN_INCARNATION = 16,
    SEEN_NEEDED = SEEN_ID | SEEN_SITE | SEEN_ADDRESS | SEEN_INCARNATION,
};
enum {
    KEY_ID = 0x2000,
    KEY_SITE,
    KEY_KIND,
    KEY_ADDRESS,
    KEY_INCARNATION,
    KEY_FILE,
    KEY_FORCE,
    KEY_TO
};

/* ---- options ---- */

static void take_text(struct argp_state *state, const char *option, const char *text, char *out,
                      size_t capacity)
{
    if (strlen(text) >= capacity)
        argp_error(state, "%s: longer than %zu bytes", option, capacity - 1);
    memcpy(out, text, strlen(text) + 1);
}

static void check_end(const struct member_options *options, struct argp_state *state)
{
    char text[MEMBER_TEXT_SIZE];
    if (options->takes_id && options->node_id == 0)
        argp_error(state, "the node id is missing");
    if (!options->takes_member)
        return;
    if (options->file != NULL && options->seen != 0)
        argp_error(state, "give either --member-file or the member's flags");
    if (options->file != NULL)
        return;
    if ((options->seen & SEEN_NEEDED) != SEEN_NEEDED)
        argp_error(state, "the new member is not described: --member-file FILE (DIR/data/member of "
                          "the new node), or the flags that \"tally node init --join\" printed");
    if (member_print(&options->member, text) != STATUS_OK)
        argp_error(state,
                   "--site is 1 to 16 letters, digits, '-' or '_'; --address is HOST:PORT or "
                   "[IPv6]:PORT");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct member_options *options = state->input;
    struct member *member = &options->member;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_ID:
        member->node_id = cli_number(state, "--node-id", argument, 1, INT64_MAX);
        options->seen |= SEEN_ID;
        return 0;
    case KEY_SITE:
        take_text(state, "--site", argument, member->site, sizeof member->site);
        options->seen |= SEEN_SITE;
        return 0;
    case KEY_KIND:
        member->kind = member_kind(state, argument);
        options->seen |= SEEN_KIND;
        return 0;
    case KEY_ADDRESS:
        take_text(state, "--address", argument, member->address, sizeof member->address);
        options->seen |= SEEN_ADDRESS;
        return 0;
    case KEY_INCARNATION:
        if (!member_hex(argument, member->incarnation))
            argp_error(state, "--incarnation: \"%s\" is not 32 hex digits", argument);
        options->seen |= SEEN_INCARNATION;
        return 0;
    case KEY_FILE:
        options->file = argument;
        return 0;
    case KEY_FORCE:
        options->force = true;
        return 0;
    case KEY_TO:
        options->node_id = cli_number(state, "--to", argument, 1, INT64_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (!options->takes_id || options->node_id != 0)
            return ARGP_ERR_UNKNOWN;
        options->node_id = cli_number(state, "NODE_ID", argument, 1, INT64_MAX);
        return 0;
    case ARGP_KEY_END:
        check_end(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define FORCE_FLAG                                                                                 \
    {                                                                                              \
        "force", KEY_FORCE, NULL, 0, "Although the loss of fewer sites would be survived", 0       \
    }
#define MEMBER_FLAGS                                                                               \
    {"member-file",                                                                                \
     KEY_FILE,                                                                                     \
     "FILE",                                                                                       \
     0,                                                                                            \
     "DIR/data/member of the new node: all of the next five",                                      \
     0},                                                                                           \
        {"node-id", KEY_ID, "N", 0, "Its number, never used before", 0},                           \
        {"site", KEY_SITE, "NAME", 0, "Where it stands", 0},                                       \
        {"kind", KEY_KIND, "data|witness", 0, "What it is (default data)", 0},                     \
        {"address", KEY_ADDRESS, "HOST:PORT", 0, "Where the other members reach it", 0},           \
        {"incarnation", KEY_INCARNATION, "HEX", 0, "Of its data directory", 0}, FORCE_FLAG

/* The member of the file, or of the flags. */
static int read_member(const struct member_options *options, struct member *out)
{
    char text[1024];
    const char *reason;
    if (options->file == NULL) {
        *out = options->member;
        return EXIT_OK;
    }
    FILE *file = fopen(options->file, "re");
    if (file == NULL)
        return cli_error(EXIT_USAGE, "cannot open %s: %s", options->file, strerror(errno));
    size_t size = fread(text, 1, sizeof text - 1, file);
    bool failed = ferror(file) != 0;
    (void)fclose(file); /* was only read */
    text[size] = '\0';
    if (failed || strlen(text) != size)
        return cli_error(EXIT_USAGE, "%s cannot be read, or is no text", options->file);
    if (!member_flags_parse(text, out, &reason))
        return cli_error(EXIT_USAGE, "%s: the line %s", options->file, reason);
    return EXIT_OK;
}

static void to_tally(const struct member *from, struct tally_member *out)
{
    *out = (struct tally_member){.node_id = from->node_id, .kind = (uint8_t)from->kind};
    memcpy(out->incarnation, from->incarnation, sizeof out->incarnation);
    memcpy(out->site, from->site, sizeof out->site);
    memcpy(out->address, from->address, sizeof out->address);
}

/* ---- list ---- */

static const char *vote_name(uint8_t vote)
{
    return vote == TALLY_MEMBER_VOTER     ? "voter"
           : vote == TALLY_MEMBER_STANDBY ? "standby"
                                          : "spare";
}

static json_t *state_json(const struct tally_member_state *row)
{
    struct member member = {.node_id = row->member.node_id,
                            .kind = (enum member_kind)row->member.kind};
    memcpy(member.incarnation, row->member.incarnation, sizeof member.incarnation);
    memcpy(member.site, row->member.site, sizeof member.site);
    memcpy(member.address, row->member.address, sizeof member.address);
    json_t *object = member_json(&member);
    json_object_set_new(object, "vote", json_string(vote_name(row->vote)));
    json_object_set_new(object, "leader", json_boolean(row->leader));
    json_object_set_new(object, "asked", json_boolean(row->asked));
    json_object_set_new(object, "linked", json_boolean(row->linked));
    json_object_set_new(object, "match_index", output_u64(row->match_index));
    json_object_set_new(object, "heard_ms",
                        row->heard ? json_integer((json_int_t)row->heard_ms) : json_null());
    if (row->catching_up)
        json_object_set_new(object, "catch_up",
                            json_pack("{s:o, s:o}", "bytes", output_u64(row->catch_up_bytes),
                                      "bytes_total", output_u64(row->catch_up_bytes_total)));
    return object;
}

static void print_members(const struct tally_members *members)
{
    struct table *table = table_create((const struct table_column[]){{"NODE", true},
                                                                     {"SITE", false},
                                                                     {"KIND", false},
                                                                     {"VOTE", false},
                                                                     {"ROLE", false},
                                                                     {"LINK", false},
                                                                     {"HEARD", false},
                                                                     {"DURABLE TO", true},
                                                                     {"ADDRESS", false}},
                                       9);
    for (size_t i = 0; i < members->count; i++) {
        const struct tally_member_state *row = &members->rows[i];
        char id[OUTPUT_NUMBER_SIZE];
        char index[OUTPUT_NUMBER_SIZE];
        char heard[40] = "never";
        if (row->heard)
            snprintf(heard, sizeof heard, "%" PRIu64 " ms ago", row->heard_ms);
        table_row(table, (const char *[]){
                             output_number(row->member.node_id, id), row->member.site,
                             member_kind_name((enum member_kind)row->member.kind),
                             row->catching_up ? "catches up" : vote_name(row->vote),
                             row->leader ? "leader" : "", row->linked ? "up" : "DOWN",
                             row->asked ? "asked" : heard,
                             row->match_index != 0 ? output_number(row->match_index, index) : "",
                             row->member.address});
    }
    table_print(table);
    if (members->leader_id == 0)
        puts("nobody leads, as far as this node knows");
    if (members->changing)
        puts("a change of members is not committed yet");
    if (members->transferring)
        puts("leadership moves away");
}

int member_list_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {NULL,
                                     cli_parse_none,
                                     NULL,
                                     "The cluster's members as the asked node sees them; what they "
                                     "have on disk is known to the leader only.",
                                     cli_children,
                                     NULL,
                                     NULL};
    struct tally_members members;
    cli_parse(&argp, argc, argv, cli);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
    if (tally_list_members(cli->client, &call, &members) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (!cli->json) {
        print_members(&members);
        return EXIT_OK;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < members.count; i++)
        json_array_append_new(rows, state_json(&members.rows[i]));
    output_json(json_pack("{s:o, s:I, s:o, s:o, s:b, s:b}", "members", rows, "leader",
                          (json_int_t)members.leader_id, "term", output_u64(members.term),
                          "commit_index", output_u64(members.commit_index), "changing",
                          members.changing, "transferring", members.transferring));
    return EXIT_OK;
}

/* ---- changes ---- */

struct change {
    enum { CHANGE_ADD, CHANGE_REPLACE, CHANGE_REMOVE } kind;
    uint64_t old_id; /* of the member that goes; not of ADD */
    struct tally_member member;
    bool force;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static enum tally_status change_once(const struct cli *cli, const struct change *change,
                                     struct tally_call *call)
{
    switch (change->kind) {
    case CHANGE_ADD:
        return tally_add_member(cli->client, call, &change->member, change->force);
    case CHANGE_REPLACE:
        return tally_replace_member(cli->client, call, change->old_id, &change->member,
                                    change->force);
    default:
        return tally_remove_member(cli->client, call, change->old_id, change->force);
    }
}

/* A change may take minutes, or wait for a node that nobody has started. So it is asked for again
 * and again in turns of some seconds, each of which ends with the leader's words on what it waits
 * for; the same call goes on from what was committed. */
static enum tally_status change_members(const struct cli *cli, const struct change *change,
                                        struct tally_call *out_call)
{
    const uint64_t limit_ms = cli->deadline_ms != 0 ? cli->deadline_ms : CHANGE_DEADLINE_MS;
    const uint64_t start_ms = now_ms();
    for (;;) {
        uint64_t spent_ms = now_ms() - start_ms;
        uint64_t left_ms = limit_ms > spent_ms ? limit_ms - spent_ms : 1;
        bool last = left_ms < 2 * TURN_MS;
        *out_call = (struct tally_call){.deadline_ms = (uint32_t)(last ? left_ms : TURN_MS)};
        enum tally_status status = change_once(cli, change, out_call);
        const struct tally_error *error = &out_call->error;
        if (status == TALLY_OK || last || (status != TALLY_NO_ANSWER && !error->retryable))
            return status;
        fprintf(stderr, "tally: still waiting, for %" PRIu64 " s: %.*s\n",
                (now_ms() - start_ms) / 1000, (int)strcspn(error->text, ";"), error->text);
    }
}

/* How a change ended: `verb` "added", `id` the member it is about. */
static int report(const struct cli *cli, const struct tally_call *call, const char *verb,
                  uint64_t id)
{
    if (call->error.status != TALLY_OK)
        return cli_fail(cli, call, false);
    if (cli->json)
        output_json(json_pack("{s:I, s:s, s:o}", "member", (json_int_t)id, "result", verb, "index",
                              output_u64(call->index)));
    else
        printf("member %" PRIu64 ": %s\n", id, verb);
    return EXIT_OK;
}

int member_add_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {MEMBER_FLAGS, {0}};
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "A node made with \"tally node init --join\", and started, becomes a voting member. Ends "
        "when it has caught up and votes (--deadline, 10 minutes); repeat it after any "
        "interruption. Role site_operator.",
        cli_children,
        NULL,
        NULL};
    struct member_options options = {.cli = cli, .takes_member = true};
    struct member member;
    cli_parse(&argp, argc, argv, &options);
    int code = read_member(&options, &member);
    if (code == EXIT_OK)
        code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct change change = {.kind = CHANGE_ADD, .force = options.force};
    to_tally(&member, &change.member);
    struct tally_call call;
    (void)change_members(cli, &change, &call); /* the status is in call */
    return report(cli, &call, "is a voting member", member.node_id);
}

int member_replace_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {MEMBER_FLAGS, {0}};
    static const struct argp argp = {
        flags,
        parse,
        "OLD_NODE_ID",
        "A node made with \"tally node init --join\", and started, takes the place of another, "
        "which may be dead. Ends when the new one votes and the old one is removed; repeat it "
        "after any interruption. Role site_operator.",
        cli_children,
        NULL,
        NULL};
    struct member_options options = {.cli = cli, .takes_member = true, .takes_id = true};
    struct member member;
    cli_parse(&argp, argc, argv, &options);
    int code = read_member(&options, &member);
    return code == EXIT_OK ? member_replace(cli, options.node_id, &member, options.force) : code;
}

int member_replace(struct cli *cli, uint64_t old_id, const struct member *member, bool force)
{
    struct change change = {.kind = CHANGE_REPLACE, .old_id = old_id, .force = force};
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    to_tally(member, &change.member);
    struct tally_call call;
    (void)change_members(cli, &change, &call); /* the status is in call */
    return report(cli, &call, "is a voting member, the other one is removed", member->node_id);
}

int member_remove_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {FORCE_FLAG, {0}};
    static const struct argp argp = {
        flags,
        parse,
        "NODE_ID",
        "A node, dead or alive, is no member any more. Its number is never used again. Role "
        "site_operator.",
        cli_children,
        NULL,
        NULL};
    struct member_options options = {.cli = cli, .takes_id = true};
    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    const struct change change = {
        .kind = CHANGE_REMOVE, .old_id = options.node_id, .force = options.force};
    struct tally_call call;
    enum tally_status status = change_members(cli, &change, &call);
    if (status == TALLY_REFUSED && call.error.grpc_code == GRPC_NOT_FOUND_CODE) {
        /* Said of an earlier attempt of ours as well: what was wanted is so. */
        call.error = (struct tally_error){.status = TALLY_OK};
        return report(cli, &call, "is no member; nothing was to be done", options.node_id);
    }
    return report(cli, &call, "is removed", options.node_id);
}

int leader_transfer_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"to", KEY_TO, "NODE_ID", 0,
         "Who shall lead (default: the best data node, at another site if there is one)", 0},
        {0},
    };
    static const struct argp argp = {
        flags, parse, NULL, "Another member leads. Role site_operator.", cli_children, NULL, NULL};
    struct member_options options = {.cli = cli};
    uint64_t leader_id = 0;
    cli_parse(&argp, argc, argv, &options);
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
    if (tally_transfer_leadership(cli->client, &call, options.node_id, &leader_id) != TALLY_OK)
        return cli_fail(cli, &call, false);
    if (cli->json)
        output_json(json_pack("{s:I}", "leader", (json_int_t)leader_id));
    else
        printf("node %" PRIu64 " leads\n", leader_id);
    if (options.node_id != 0 && leader_id != options.node_id)
        return cli_error(EXIT_SOME_REFUSED, "another member than %" PRIu64 " was elected",
                         options.node_id);
    return EXIT_OK;
}
