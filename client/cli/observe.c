/*
 * `tally observe`: what clients at each site see, measured from outside by canaries that are sent
 * at fixed moments whatever the system does. Here are its options, its accounts and its end; the
 * engine is in observe_run.c, what its figures mean in observe_summary.c.
 *
 * Canaries are real transfers of one minor unit in a ledger of their own (999999999, currency XTS,
 * which ISO 4217 keeps for tests), between two accounts per site whose ids are name:tally-observe/
 * SITE/debit and .../credit. They go to and fro, so balances stay near zero. The ledger and the
 * accounts are made once, by a business operator's profile (--create-with).
 */
#include "client/cli/observe.h"

#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANARY_LEDGER   999999999u
#define DEADLINE_MS     10000u
#define PREPARE_MS      15000u
#define RECORDS_DEFAULT 500000u
#define RECORDS_MAX     20000000u
#define NS_PER_MS       1000000ull

struct observe_options {
    struct cli *cli;
    struct observe run;
    const char *json, *html, *mark, *create_with;
    struct tally_id debit, credit;
    bool has_debit, has_credit;
};

enum {
    KEY_SITE = 0x2000,
    KEY_EVERY,
    KEY_DURATION,
    KEY_ATTEMPT,
    KEY_RESOLVE,
    KEY_IN_FLIGHT,
    KEY_RECORDS,
    KEY_CROSS_SITE,
    KEY_LEDGER,
    KEY_DEBIT,
    KEY_CREDIT,
    KEY_CREATE_WITH,
    KEY_JSON_FILE,
    KEY_HTML,
    KEY_MARKS,
    KEY_MARK,
    KEY_NO_WATCH,
    KEY_QUIET,
    KEY_CA,
    KEY_CERT,
    KEY_KEY,
    KEY_PROFILE,
    KEY_DEADLINE,
};

static void check(struct argp_state *state, const struct observe_options *options)
{
    if (options->mark != NULL) {
        if (options->run.marks == NULL)
            argp_error(state, "--mark needs --marks FIFO, the one that the observer was given");
        return;
    }
    if (options->run.site_count == 0)
        argp_error(state, "no --site: name each as NAME=host:port,host:port");
    if (options->has_debit != options->has_credit)
        argp_error(state, "--debit and --credit are given together");
    if (options->has_debit && options->create_with != NULL)
        argp_error(state, "--create-with makes the usual canary accounts; --debit and --credit "
                          "name existing ones");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct observe_options *options = state->input;
    struct observe *run = &options->run;
    char error[OBSERVE_TEXT_SIZE];
    switch (key) {
    case KEY_CA:
        options->cli->ca = argument;
        return 0;
    case KEY_CERT:
        options->cli->certificate = argument;
        return 0;
    case KEY_KEY:
        options->cli->key = argument;
        return 0;
    case KEY_PROFILE:
        options->cli->profile = argument;
        return 0;
    case KEY_DEADLINE:
        options->cli->deadline_ms =
            (uint32_t)cli_number(state, "--deadline", argument, 1, 3600) * 1000;
        return 0;
    case KEY_SITE:
        if (!observe_site_parse(run, argument, error))
            argp_error(state, "--site %s: %s", argument, error);
        return 0;
    case KEY_EVERY:
        run->every_ns = cli_number(state, "--every-ms", argument, 1, 60000) * NS_PER_MS;
        return 0;
    case KEY_DURATION:
        run->duration_ns =
            cli_number(state, "--duration", argument, 1, 7 * 86400) * 1000 * NS_PER_MS;
        return 0;
    case KEY_ATTEMPT:
        run->attempt_ns = cli_number(state, "--attempt-ms", argument, 50, 600000) * NS_PER_MS;
        return 0;
    case KEY_RESOLVE:
        run->resolve_ns = cli_number(state, "--resolve", argument, 0, 86400) * 1000 * NS_PER_MS;
        return 0;
    case KEY_IN_FLIGHT:
        run->in_flight_max =
            (uint32_t)cli_number(state, "--in-flight", argument, 1, OBSERVE_IN_FLIGHT_MAX);
        return 0;
    case KEY_RECORDS:
        run->records_max = (size_t)cli_number(state, "--records", argument, 1, RECORDS_MAX);
        return 0;
    case KEY_CROSS_SITE:
        run->cross_site = true;
        return 0;
    case KEY_LEDGER:
        run->ledger = (uint32_t)cli_number(state, "--ledger", argument, 1, UINT32_MAX);
        return 0;
    case KEY_DEBIT:
        options->debit = cli_id(state, "--debit", argument);
        options->has_debit = true;
        return 0;
    case KEY_CREDIT:
        options->credit = cli_id(state, "--credit", argument);
        options->has_credit = true;
        return 0;
    case KEY_CREATE_WITH:
        options->create_with = argument;
        return 0;
    case KEY_JSON_FILE:
        options->json = argument;
        return 0;
    case KEY_HTML:
        options->html = argument;
        return 0;
    case KEY_MARKS:
        run->marks = argument;
        return 0;
    case KEY_MARK:
        options->mark = argument;
        return 0;
    case KEY_NO_WATCH:
        run->watch = false;
        return 0;
    case KEY_QUIET:
        run->quiet = true;
        return 0;
    case ARGP_KEY_END:
        check(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- a mark from outside ---- */

static int send_mark(const struct observe_options *options)
{
    const char *path = options->run.marks;
    char line[OBSERVE_TEXT_SIZE + 1];
    int size = snprintf(line, sizeof line, "%.*s\n", OBSERVE_TEXT_SIZE - 1, options->mark);
    for (int i = 0; i < size - 1; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return cli_error(
            errno == ENXIO || errno == ENOENT ? EXIT_UNREACHABLE : EXIT_LOCAL, "%s: %s", path,
            errno == ENXIO || errno == ENOENT ? "no observer listens there" : strerror(errno));
    ssize_t written = write(fd, line, (size_t)size); /* whole: less than PIPE_BUF */
    int error = errno;
    (void)close(fd); /* a pipe has nothing to flush */
    if (written != size)
        return cli_error(EXIT_LOCAL, "%s: %s", path, written < 0 ? strerror(error) : "cut short");
    return EXIT_OK;
}

/* ---- canary accounts ---- */

/* All servers of all sites, as libtally takes them. */
static void all_servers(const struct observe *run, char *out, size_t capacity)
{
    size_t size = 0;
    for (size_t i = 0; i < run->server_count; i++)
        size += (size_t)snprintf(out + size, capacity - size, "%s%s", i > 0 ? "," : "",
                                 run->servers[i].name);
}

static int client_of(const struct cli *cli, const char *servers, struct tally_client **out)
{
    const struct tally_options options = {.servers = servers,
                                          .ca_file = cli->ca,
                                          .certificate_file = cli->certificate,
                                          .key_file = cli->key,
                                          .deadline_ms = PREPARE_MS};
    struct tally_error error;
    enum tally_status status = tally_client_create(&options, out, &error);
    return status == TALLY_OK ? EXIT_OK : cli_error(cli_exit_code(status, false), "%s", error.text);
}

static void name_accounts(struct observe_options *options)
{
    struct observe *run = &options->run;
    char name[64];
    for (size_t i = 0; i < run->site_count; i++) {
        struct observe_site *site = &run->sites[i];
        site->debit = options->debit;
        site->credit = options->credit;
        if (options->has_debit)
            continue;
        int size = snprintf(name, sizeof name, "name:tally-observe/%s/debit", site->name);
        (void)tally_id_parse(name, (size_t)size, &site->debit,
                             NULL); /* such a name always is one */
        size = snprintf(name, sizeof name, "name:tally-observe/%s/credit", site->name);
        (void)tally_id_parse(name, (size_t)size, &site->credit, NULL);
    }
}

/* EXIT_OK: all there. EXIT_SOME_REFUSED: some are missing (said only when `tell`). */
static int accounts_check(const struct cli *cli, const struct observe *run,
                          struct tally_client *client, bool tell)
{
    struct tally_id ids[2 * OBSERVE_SITES_MAX] = {{{0}}};
    struct tally_account found[2 * OBSERVE_SITES_MAX];
    struct tally_call call = {.deadline_ms = PREPARE_MS};
    char text[TALLY_ID_TEXT_SIZE];
    size_t count = 0, found_count, k = 0;
    for (size_t i = 0; i < run->site_count; i++) {
        ids[count++] = run->sites[i].debit;
        ids[count++] = run->sites[i].credit;
    }
    if (tally_lookup_accounts(client, &call, ids, count, found, &found_count) != TALLY_OK)
        return cli_fail(cli, &call, false);
    for (size_t i = 0; i < count; i++) {
        bool there = k < found_count && memcmp(&found[k].id, &ids[i], sizeof ids[i]) == 0;
        if (there && found[k].ledger == run->ledger) {
            k++;
            continue;
        }
        if (!tell)
            return EXIT_SOME_REFUSED;
        tally_id_format(&ids[i], text);
        return cli_error(EXIT_SOME_REFUSED,
                         "account %s %s ledger %u: make the canary accounts with --create-with "
                         "PROFILE (a business operator's), or name others with --ledger, --debit "
                         "and --credit",
                         text, there ? "is not in" : "does not exist in", run->ledger);
    }
    return EXIT_OK;
}

static int accounts_create(const struct observe_options *options, const char *servers)
{
    const struct observe *run = &options->run;
    struct cli cli = {.profile = options->create_with};
    struct tally_client *client = NULL;
    struct tally_new_account rows[2 * OBSERVE_SITES_MAX];
    uint8_t results[2 * OBSERVE_SITES_MAX];
    size_t count = 0;
    struct tally_call call = {.deadline_ms = PREPARE_MS};
    const struct tally_new_ledger ledger = {
        .id = run->ledger, .exponent = 2, .currency = "XTS", .name = "tally observe: canaries"};
    for (size_t i = 0; i < run->site_count; i++)
        for (int k = 0; k < 2; k++)
            rows[count++] = (struct tally_new_account){.id = k == 0 ? run->sites[i].debit
                                                                    : run->sites[i].credit,
                                                       .ledger = run->ledger,
                                                       .code = 1};
    int code = cli_resolve_all(&cli);
    if (code == EXIT_OK)
        code = client_of(&cli, servers, &client);
    if (code == EXIT_OK)
        code = tally_identity_new(&call.identity) == TALLY_OK
                   ? EXIT_OK
                   : cli_error(EXIT_LOCAL, "no random numbers");
    if (code == EXIT_OK && tally_create_ledgers(client, &call, &ledger, 1, results) != TALLY_OK)
        code = cli_fail(&cli, &call, true);
    if (code == EXIT_OK && results[0] != TALLY_RESULT_OK && results[0] != TALLY_RESULT_EXISTS)
        code = cli_error(EXIT_SOME_REFUSED, "ledger %u: %s", run->ledger,
                         tally_result_explanation(results[0]));
    if (code == EXIT_OK && tally_identity_new(&call.identity) != TALLY_OK)
        code = cli_error(EXIT_LOCAL, "no random numbers");
    if (code == EXIT_OK && tally_create_accounts(client, &call, rows, count, results) != TALLY_OK)
        code = cli_fail(&cli, &call, true);
    for (size_t i = 0; code == EXIT_OK && i < count; i++)
        if (results[i] != TALLY_RESULT_OK && results[i] != TALLY_RESULT_EXISTS)
            code = cli_error(EXIT_SOME_REFUSED, "a canary account: %s",
                             tally_result_explanation(results[i]));
    tally_client_destroy(client);
    cli_deinit(&cli);
    return code;
}

static int prepare(struct observe_options *options)
{
    struct observe *run = &options->run;
    struct tally_client *client;
    char servers[OBSERVE_SERVERS_MAX * sizeof run->servers[0].name];
    name_accounts(options);
    all_servers(run, servers, sizeof servers);
    int code = client_of(options->cli, servers, &client);
    if (code != EXIT_OK)
        return code;
    code = accounts_check(options->cli, run, client, options->create_with == NULL);
    if (code == EXIT_SOME_REFUSED && options->create_with != NULL) {
        code = accounts_create(options, servers);
        if (code == EXIT_OK)
            code = accounts_check(options->cli, run, client, true);
    }
    tally_client_destroy(client);
    return code;
}

/* ---- the end ---- */

static int report(const struct observe_options *options)
{
    const struct observe *run = &options->run;
    struct observe_summary summaries[OBSERVE_SITES_MAX];
    uint64_t unknown = 0, acknowledged = 0;
    size_t made = 0;
    int code = EXIT_OK;
    while (made < run->site_count && observe_summarize(run, &run->sites[made], &summaries[made])) {
        unknown += summaries[made].counts[OBSERVE_UNKNOWN];
        acknowledged += summaries[made].counts[OBSERVE_ACKNOWLEDGED];
        made++;
    }
    if (made < run->site_count) {
        code = cli_error(EXIT_LOCAL, "out of memory");
    } else {
        observe_text_summary(run, summaries, stdout);
        if (options->json != NULL)
            code = observe_write_json(run, summaries, options->json);
        if (options->html != NULL && observe_write_html(run, summaries, options->html) != EXIT_OK)
            code = EXIT_LOCAL;
    }
    for (size_t i = 0; i < made; i++)
        observe_summary_deinit(&summaries[i]);
    if (code == EXIT_OK && acknowledged == 0)
        code = cli_error(EXIT_UNREACHABLE, "no canary was acknowledged");
    if (code == EXIT_OK && unknown > 0)
        code = cli_error(EXIT_UNKNOWN,
                         "of %llu canaries it is still unknown whether they were executed; ask "
                         "\"tally request show\" (--json has their identities)",
                         (unsigned long long)unknown);
    return code;
}

static const struct argp_option flags[] = {
    {"site", KEY_SITE, "NAME=HOST:PORT,...", 0, "A site and its servers; once for each site", 0},
    {"every-ms", KEY_EVERY, "N", 0, "One canary so often at each site (default 10)", 0},
    {"duration", KEY_DURATION, "SECONDS", 0, "End by itself (default: at SIGINT)", 0},
    {"cross-site", KEY_CROSS_SITE, NULL, 0,
     "Repeat at the other sites' servers when a site's own were asked", 0},
    {"attempt-ms", KEY_ATTEMPT, "N", 0,
     "Give a silent attempt up after so long and repeat at the next server (default 1000)", 0},
    {"resolve", KEY_RESOLVE, "SECONDS", 0,
     "At the end, ask about unknown ones for so long (default 30)", 0},
    {"in-flight", KEY_IN_FLIGHT, "N", 0,
     "Most canaries under way per site; more are noted as not sent (default 1024)", 0},
    {"records", KEY_RECORDS, "N", 0,
     "Most canaries per site; then the run ends with its report (default 500000)", 0},
    {"json", KEY_JSON_FILE, "FILE", 0, "Write every request to FILE", 1},
    {"html", KEY_HTML, "FILE", 0, "Write a page with the timeline to FILE", 1},
    {"marks", KEY_MARKS, "FIFO", 0, "Lines written to this fifo become events", 1},
    {"mark", KEY_MARK, "TEXT", 0, "Only write TEXT to the fifo of a running observer (--marks)", 1},
    {"no-watch", KEY_NO_WATCH, NULL, 0, "Do not ask the servers for their status", 1},
    {"quiet", KEY_QUIET, NULL, 0, "No line while it runs", 1},
    {"create-with", KEY_CREATE_WITH, "PROFILE", 0,
     "Make missing canary accounts with a business operator's profile", 2},
    {"ledger", KEY_LEDGER, "N", 0, "Ledger of the canaries (default 999999999)", 2},
    {"debit", KEY_DEBIT, "ID", 0, "An existing account instead of the canary ones", 2},
    {"credit", KEY_CREDIT, "ID", 0, "Likewise, the other one", 2},
    {"ca", KEY_CA, "FILE", 0, "Who may sign the nodes' certificates, PEM (TALLY_CA)", 3},
    {"cert", KEY_CERT, "FILE", 0, "Our certificate, PEM (TALLY_CERT)", 3},
    {"key", KEY_KEY, "FILE", 0, "Its private key, PEM (TALLY_KEY)", 3},
    {"profile", KEY_PROFILE, "FILE", 0, "Lines key = value with the above (TALLY_PROFILE)", 3},
    {"deadline", KEY_DEADLINE, "SECONDS", 0,
     "Longest time for one canary, its repeats included (default 10)", 3},
    {0},
};

int observe_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Measures from outside what clients at each site see: small real transfers at fixed "
        "moments, repeated under one identity until their outcome is known. Role channel. Ends "
        "at SIGINT with its report; a second SIGINT does not wait for unknown ones.\v"
        "Exit codes: 0 every outcome is known; 4 nothing was acknowledged; 5 some stayed unknown. "
        "docs/observe.md says what the figures mean.",
        NULL,
        NULL,
        NULL};
    struct observe_options options = {
        .cli = cli,
        .run = {.ledger = CANARY_LEDGER,
                .every_ns = 10 * NS_PER_MS,
                .attempt_ns = 1000 * NS_PER_MS,
                .resolve_ns = 30000 * NS_PER_MS,
                .in_flight_max = 1024,
                .records_max = RECORDS_DEFAULT,
                .watch = true},
    };
    struct observe *run = &options.run;
    cli_parse(&argp, argc, argv, &options);
    if (options.mark != NULL)
        return send_mark(&options);
    int code = cli_resolve(cli);
    if (code != EXIT_OK)
        return code;
    if (cli->server == NULL)
        cli->server = run->servers[0].name; /* each site has its own; this one is not looked at */
    code = cli_resolve_all(cli);
    if (code == EXIT_OK)
        code = prepare(&options);
    if (code != EXIT_OK)
        return code;
    run->ca = cli->ca;
    run->certificate = cli->certificate;
    run->key = cli->key;
    run->deadline_ns = (cli->deadline_ms > 0 ? cli->deadline_ms : DEADLINE_MS) * NS_PER_MS;
    if (!observe_records_init(run))
        return cli_error(EXIT_LOCAL, "no memory for %zu records per site", run->records_max);
    if (observe_run(run))
        code = report(&options);
    else
        code = cli_error(EXIT_LOCAL, "%s", run->error);
    observe_records_deinit(run);
    return code;
}
