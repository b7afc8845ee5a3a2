/*
 * `tally durability`: the rule that a commit implies both sites, and how far it holds now. Changes
 * are entries of the log with a number, a name and a reason. A change is made against the number
 * that its author saw: the one of --number, or else the one that is read just before; so of two
 * operators the second is refused and told of the first.
 */
#include "client/cli/output.h"
#include "client/cli/server_status.h"
#include "client/cli/site_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SETTINGS_SIZE 250

struct durability_options {
    struct cli *cli;
    struct tally_site_request request;
    char settings[SETTINGS_SIZE + 1];
};

enum { KEY_REASON = 0x2000, KEY_DRY_RUN, KEY_NUMBER };

/* ---- the document ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* The leader knows; without one whoever saw the newest entry. */
static bool knows_more(const json_t *a, const json_t *b)
{
    const bool leads_a = strcmp(text_of(a, "role"), "leader") == 0;
    const bool leads_b = strcmp(text_of(b, "role"), "leader") == 0;
    if (leads_a != leads_b)
        return leads_a;
    if (leads_a)
        return number_of(a, "term") > number_of(b, "term");
    return number_of(a, "number") > number_of(b, "number");
}

/* The status of the node that knows most, all servers being asked: one that was just started says
 * what was true when it was stopped. NULL after a message, with the exit code. */
static json_t *read_status(struct cli *cli, int *out_code)
{
    struct servers *servers = NULL;
    json_t *best = NULL;
    *out_code = cli_resolve_all(cli);
    if (*out_code == EXIT_OK)
        *out_code = servers_ask(cli, cli->deadline_ms != 0 ? cli->deadline_ms : SERVERS_DEADLINE_MS,
                                &servers);
    if (*out_code != EXIT_OK)
        return NULL;
    for (size_t i = 0; i < servers->count; i++) {
        json_t *document = servers->answers[i].document;
        if (document != NULL && (best == NULL || knows_more(document, best)))
            best = document;
    }
    json_incref(best);
    if (best == NULL) {
        const struct cluster_answer *last = &servers->answers[servers->count - 1];
        *out_code = cli_error(EXIT_UNREACHABLE, "no server answered; the last one: %s: %s",
                              last->server, last->error);
    }
    servers_release(servers);
    return best;
}

static void print_entry(const json_t *entry)
{
    char time[OUTPUT_TIME_SIZE];
    if (!json_is_object(entry))
        return;
    output_time(number_of(entry, "stamp_ns"), time);
    const char *site = text_of(entry, "site");
    printf("newest entry    %" PRIu64 ": %s%s%s at %s by %s: %s\n", number_of(entry, "number"),
           text_of(entry, "kind"), site[0] != '\0' ? ", site " : "", site, time,
           text_of(entry, "who"), text_of(entry, "why"));
}

static void print_policy(const json_t *policy)
{
    const char *preferred = text_of(policy, "preferred_site");
    const char *drained = text_of(policy, "drained_site");
    const uint64_t seconds = number_of(policy, "degraded_seconds_max");
    const uint64_t value = number_of(policy, "degraded_value_max");
    printf("policy          %s: degrade after %" PRIu64
           " ms, return when it lags less than %" PRIu64 " ms for %" PRIu64 " ms, at most %" PRIu64
           " changes an hour\n",
           text_of(policy, "decision"), number_of(policy, "degrade_after_ms"),
           number_of(policy, "lag_ms"), number_of(policy, "resync_dwell_ms"),
           number_of(policy, "changes_per_hour_max"));
    if (seconds != 0 || value != 0)
        printf("bounds          degraded at most %" PRIu64 " s, %" PRIu64
               " minor units per ledger (0 = none); then: %s\n",
               seconds, value, text_of(policy, "on_bound"));
    printf("preferred site  %s\ndrained site    %s\n", preferred[0] != '\0' ? preferred : "none",
           drained[0] != '\0' ? drained : "none");
}

static void print_site(const json_t *site)
{
    const char *reason = text_of(site, "reason");
    printf("site %-10s its loss %s%s%s", text_of(site, "site"),
           json_is_true(json_object_get(site, "survives_loss")) ? "would be survived"
                                                                : "would NOT be survived",
           reason[0] != '\0' ? ": " : "", reason);
    if (json_is_integer(json_object_get(site, "lag")))
        printf("; lacks %" PRIu64 " entries", number_of(site, "lag"));
    putchar('\n');
}

static void print_leader(const json_t *document)
{
    const uint64_t leader = number_of(document, "leader");
    if (json_is_true(json_object_get(document, "leads")))
        printf("leader          node %" PRIu64 " at site %s\n", number_of(document, "node"),
               text_of(document, "site"));
    else if (leader != 0)
        printf("leader          node %" PRIu64 ", which does not answer; this is what node %" PRIu64
               " knows\n",
               leader, number_of(document, "node"));
    else
        printf("leader          NONE: this is what node %" PRIu64 " knows\n",
               number_of(document, "node"));
}

static void print_durability(const json_t *document)
{
    const char *held_up = text_of(document, "held_up");
    const char *refusal = text_of(document, "write_refusal");
    const bool by_site = strcmp(text_of(document, "rule"), "site") == 0;
    size_t i;
    json_t *site;
    print_leader(document);
    printf("rule            %s\n",
           by_site ? "both sites: under SYNC a commit is on a disk of each"
                   : "majority: there are not two sites and a witness, a commit is at a majority");
    printf("mode            %s%s\n",
           strcmp(text_of(document, "mode"), "degraded") == 0
               ? "DEGRADED: a commit may be at one site only"
               : "SYNC",
           strcmp(text_of(document, "mode"), text_of(document, "mode_committed")) == 0
               ? ""
               : " (not committed yet)");
    printf("number          %" PRIu64 "\n", number_of(document, "number"));
    print_entry(json_object_get(document, "durability_entry"));
    print_policy(json_object_get(document, "policy"));
    if (held_up[0] != '\0')
        printf("held up         %s\n", held_up);
    if (refusal[0] != '\0')
        printf("writes refused  %s\n", refusal);
    json_array_foreach(json_object_get(document, "sites"), i, site) print_site(site);
}

/* Every site with data nodes that vote: whether the node that answers is connected to one of them,
 * or is one. Only a leader's word says that a site is there: everybody is connected to itself. */
static json_t *connected_sites(const json_t *document)
{
    json_t *sites = json_object();
    size_t i;
    json_t *member;
    json_array_foreach(json_object_get(document, "members"), i, member)
    {
        const char *site = text_of(member, "site");
        if (strcmp(text_of(member, "kind"), "data") != 0 ||
            strcmp(text_of(member, "vote"), "voter") != 0)
            continue;
        if (!json_is_true(json_object_get(sites, site)))
            json_object_set(sites, site, json_object_get(member, "linked"));
    }
    return sites;
}

/* The site that the cluster goes on without, by the newest entry; "" under SYNC. While it does, no
 * entry is about anything else. */
static const char *given_up(const json_t *document)
{
    return strcmp(text_of(document, "mode"), "degraded") == 0
               ? text_of(json_object_get(document, "durability_entry"), "site")
               : "";
}

int durability_show_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL,
        cli_parse_none,
        NULL,
        "The rule about both sites as the leader sees it, or, without one, "
        "the server that saw the newest entry: mode, policy, newest entry, "
        "which losses would be survived, and why writes are refused, if they "
        "are.",
        cli_children,
        NULL,
        NULL};
    static const char *const keys[] = {"node",
                                       "site",
                                       "leads",
                                       "leader",
                                       "term",
                                       "rule",
                                       "mode",
                                       "mode_committed",
                                       "number",
                                       "number_committed",
                                       "policy",
                                       "both",
                                       "durability_entry",
                                       "changes_last_hour",
                                       "held_up",
                                       "degraded_bound",
                                       "write_refusal",
                                       "sites",
                                       "survives_loss"};
    int code;
    cli_parse(&argp, argc, argv, cli);
    json_t *document = read_status(cli, &code);
    if (document == NULL)
        return code;
    if (cli->json) {
        json_t *part = json_object();
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            json_object_set(part, keys[i], json_object_get(document, keys[i]));
        json_object_set_new(part, "given_up", json_string(given_up(document)));
        json_object_set_new(part, "connected", connected_sites(document));
        output_json(part);
    } else {
        print_durability(document);
    }
    json_decref(document);
    return EXIT_OK;
}

/* ---- changes ---- */

static void add_setting(struct argp_state *state, struct durability_options *options,
                        const char *prefix, const char *word)
{
    const size_t used = strlen(options->settings);
    if (used + strlen(prefix) + strlen(word) + 2 > sizeof options->settings ||
        strchr(word, ' ') != NULL)
        argp_error(state, "\"%s\": no KEY=VALUE, or too many of them", word);
    snprintf(options->settings + used, sizeof options->settings - used, "%s%s%s",
             used > 0 ? " " : "", prefix, word);
    options->request.settings = options->settings;
}

static void take_argument(struct argp_state *state, struct durability_options *options,
                          const char *word)
{
    struct tally_site_request *request = &options->request;
    if (request->operation == TALLY_SITE_POLICY)
        add_setting(state, options, strchr(word, '=') == NULL ? "decision=" : "", word);
    else if (request->operation == TALLY_SITE_DEGRADE && request->site == NULL)
        request->site = word;
    else
        argp_error(state, "\"%s\" is one argument too many", word);
}

static void check_end(struct argp_state *state, const struct durability_options *options)
{
    const struct tally_site_request *request = &options->request;
    if (request->operation == TALLY_SITE_POLICY && request->settings == NULL)
        argp_error(state, "auto, never, operator or some KEY=VALUE is missing");
    if (request->operation == TALLY_SITE_DEGRADE && request->site == NULL)
        argp_error(state, "the site to go on without is missing");
    if (request->reason == NULL)
        argp_error(state, "--reason is missing: it is kept in the log, and shown to everybody");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct durability_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_REASON:
        options->request.reason = site_reason(state, argument);
        return 0;
    case KEY_DRY_RUN:
        options->request.dry_run = true;
        return 0;
    case KEY_NUMBER:
        options->request.has_number = true;
        options->request.number = cli_number(state, "--number", argument, 0, INT64_MAX);
        return 0;
    case ARGP_KEY_ARG:
        take_argument(state, options, argument);
        return 0;
    case ARGP_KEY_END:
        check_end(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define CHANGE_FLAGS                                                                               \
    {"reason", KEY_REASON, "TEXT", 0, "Why; is kept with your name (required)", 0},                \
        {"number",                                                                                 \
         KEY_NUMBER,                                                                               \
         "N",                                                                                      \
         0,                                                                                        \
         "The newest entry that you saw (durability show): with a later one it is refused",        \
         0},                                                                                       \
        {"dry-run", KEY_DRY_RUN, NULL, 0, "Only say what stands in the way", 0},                   \
    {                                                                                              \
        0                                                                                          \
    }
#define EXIT_CODES                                                                                 \
    "\vExit codes: 0 done, or it was so already; 3 refused, nothing was changed (of a dry run "    \
    "too); 4 nobody could be asked, or it was not done in time."

static int change(struct cli *cli, int argc, char **argv, const struct argp *argp,
                  enum tally_site_operation operation)
{
    struct durability_options options = {.cli = cli, .request = {.operation = (uint8_t)operation}};
    int code;
    cli_parse(argp, argc, argv, &options);
    if (!options.request.has_number) {
        json_t *document = read_status(cli, &code);
        if (document == NULL)
            return code;
        options.request.has_number = json_is_integer(json_object_get(document, "number"));
        options.request.number = number_of(document, "number");
        json_decref(document);
    }
    return site_run(cli, &options.request);
}

int durability_policy_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {CHANGE_FLAGS};
    static const struct argp argp = {
        flags,
        parse,
        "auto|never|operator|KEY=VALUE...",
        "Other rules for degrading and returning: who may degrade, and any of the settings that "
        "\"durability show --json\" lists under policy but drained_site (\"site drain\" sets it). "
        "What is not named stays. Under SYNC only. "
        "Role site_operator." EXIT_CODES,
        cli_children,
        NULL,
        NULL};
    return change(cli, argc, argv, &argp, TALLY_SITE_POLICY);
}

int durability_degrade_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {CHANGE_FLAGS};
    static const struct argp argp = {
        flags,
        parse,
        "SITE",
        "Goes on without SITE: from now on a commit may be at the other site only, until somebody "
        "returns. Role site_operator." EXIT_CODES,
        cli_children,
        NULL,
        NULL};
    return change(cli, argc, argv, &argp, TALLY_SITE_DEGRADE);
}

int durability_return_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {CHANGE_FLAGS};
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Both sites again, once the one that was away has caught up. Role "
        "site_operator." EXIT_CODES,
        cli_children,
        NULL,
        NULL};
    return change(cli, argc, argv, &argp, TALLY_SITE_RETURN);
}
