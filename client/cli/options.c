/*
 * Options that every command takes, where they come from, and the ends that every command has.
 *
 * Order: flag, then the file named by --profile or TALLY_PROFILE, then the environment. A profile
 * is lines "key = value" (server, ca, cert, key, deadline); paths in it count from its own
 * directory, so a directory made by `tally pki init` can be moved as a whole.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "client/cli/server_status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROFILE_SIZE_MAX 65536

enum {
    KEY_SERVER = 0x1000,
    KEY_CA,
    KEY_CERT,
    KEY_KEY,
    KEY_PROFILE,
    KEY_JSON,
    KEY_DEADLINE,
    KEY_MAX_AGE
};

static const struct argp_option options[] = {
    {.doc = "Server and identity (flag, else --profile, else environment):", .group = 10},
    {"server", KEY_SERVER, "HOST:PORT,...", 0, "Nodes to ask, in turn (TALLY_SERVER)", 10},
    {"ca", KEY_CA, "FILE", 0, "Who may sign the nodes' certificates, PEM (TALLY_CA)", 10},
    {"cert", KEY_CERT, "FILE", 0, "Our certificate, PEM (TALLY_CERT)", 10},
    {"key", KEY_KEY, "FILE", 0, "Its private key, PEM (TALLY_KEY)", 10},
    {"profile", KEY_PROFILE, "FILE", 0, "Lines key = value with the above (TALLY_PROFILE)", 10},
    {"deadline", KEY_DEADLINE, "SECONDS", 0, "Longest time for one request (default 10)", 10},
    {"json", KEY_JSON, NULL, 0, "Answer in JSON, for programs", 10},
    {"max-age", KEY_MAX_AGE, "SECONDS", 0,
     "Reading the ledger: an answer that was the newest at most so long ago will do; the node "
     "asked "
     "answers by itself, also without a leader (default: the newest)",
     10},
    {0},
};

uint64_t cli_number(struct argp_state *state, const char *option, const char *text, uint64_t low,
                    uint64_t high)
{
    uint64_t value = 0;
    bool valid = text[0] != '\0';
    for (const char *at = text; *at != '\0' && valid; at++) {
        uint64_t digit = (uint64_t)(unsigned char)*at - '0';
        valid = digit <= 9 && value <= (UINT64_MAX - digit) / 10;
        if (valid)
            value = value * 10 + digit;
    }
    if (!valid || value < low || value > high)
        argp_error(state, "%s: \"%s\" is not a whole number of %" PRIu64 " to %" PRIu64, option,
                   text, low, high);
    return value;
}

struct tally_id cli_id(struct argp_state *state, const char *option, const char *text)
{
    struct tally_id id = {{0}};
    struct tally_error error;
    if (tally_id_parse(text, strlen(text), &id, &error) != TALLY_OK)
        argp_error(state, "%s: %s", option, error.text);
    return id;
}

/* Seconds with at most three decimals, as milliseconds; 0 when it is no such number of up to a day.
 */
static uint32_t parse_deadline(const char *text)
{
    struct tally_amount ms;
    if (tally_amount_parse(text, strlen(text), 3, &ms, NULL) != TALLY_OK || ms.high != 0 ||
        ms.low > 24ull * 3600 * 1000)
        return 0;
    return (uint32_t)ms.low;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct cli *cli = state->input;
    switch (key) {
    case KEY_SERVER:
        cli->server = argument;
        return 0;
    case KEY_CA:
        cli->ca = argument;
        return 0;
    case KEY_CERT:
        cli->certificate = argument;
        return 0;
    case KEY_KEY:
        cli->key = argument;
        return 0;
    case KEY_PROFILE:
        cli->profile = argument;
        return 0;
    case KEY_JSON:
        cli->json = true;
        return 0;
    case KEY_MAX_AGE:
        cli->max_age_ms = parse_deadline(argument);
        if (cli->max_age_ms == 0)
            argp_error(state, "--max-age: \"%s\" is not a number of seconds (0.001 to 86400)",
                       argument);
        return 0;
    case KEY_DEADLINE:
        cli->deadline_ms = parse_deadline(argument);
        if (cli->deadline_ms == 0)
            argp_error(state, "--deadline: \"%s\" is not a number of seconds (0.001 to 86400)",
                       argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

error_t cli_parse_none(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

const struct argp cli_global_argp = {.options = options, .parser = parse};
const struct argp_child cli_children[] = {{.argp = &cli_global_argp}, {0}};

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = EXIT_USAGE;
    (void)argp_parse(argp, argc, argv, 0, NULL, input); /* exits on any error */
}

/* ---- profile ---- */

static char *read_profile(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        cli_error(EXIT_USAGE, "cannot open profile %s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = malloc(PROFILE_SIZE_MAX + 1);
    size_t size = text != NULL ? fread(text, 1, PROFILE_SIZE_MAX + 1, file) : 0;
    bool failed =
        text == NULL || ferror(file) || size > PROFILE_SIZE_MAX || memchr(text, '\0', size) != NULL;
    (void)fclose(file); /* was only read */
    if (failed) {
        cli_error(EXIT_USAGE, "profile %s cannot be read, is no text, or is above 64 KiB", path);
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

/* `value` counts from the profile's directory unless it is absolute; malloc'ed. */
static char *beside(const char *profile, const char *value)
{
    const char *slash = strrchr(profile, '/');
    char *path;
    if (value[0] == '/' || slash == NULL)
        return strdup(value);
    if (asprintf(&path, "%.*s/%s", (int)(slash - profile), profile, value) < 0)
        return NULL;
    return path;
}

static char *trimmed(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    size_t size = strlen(text);
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t' || text[size - 1] == '\r'))
        text[--size] = '\0';
    return text;
}

static int take_setting(struct cli *cli, const char *path, unsigned line, char *key, char *value)
{
    const struct {
        const char *key;
        const char **place;
    } settings[] = {{"server", &cli->server},
                    {"ca", &cli->ca},
                    {"cert", &cli->certificate},
                    {"key", &cli->key}};
    if (value[0] == '\0')
        return cli_error(EXIT_USAGE, "%s:%u: %s has no value", path, line, key);
    if (strcmp(key, "deadline") == 0) {
        uint32_t ms = parse_deadline(value);
        if (ms == 0)
            return cli_error(EXIT_USAGE, "%s:%u: deadline: \"%s\" is not a number of seconds", path,
                             line, value);
        if (cli->deadline_ms == 0)
            cli->deadline_ms = ms;
        return EXIT_OK;
    }
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strcmp(key, settings[i].key) != 0)
            continue;
        if (cli->owned[i] != NULL)
            return cli_error(EXIT_USAGE, "%s:%u: %s appears twice", path, line, key);
        if (*settings[i].place != NULL)
            return EXIT_OK; /* a flag wins */
        cli->owned[i] = i == 0 ? strdup(value) : beside(path, value);
        *settings[i].place = cli->owned[i];
        return cli->owned[i] != NULL ? EXIT_OK : cli_error(EXIT_LOCAL, "out of memory");
    }
    return cli_error(EXIT_USAGE,
                     "%s:%u: key \"%s\" is not known; keys are server, ca, cert, key, deadline",
                     path, line, key);
}

static int load_profile(struct cli *cli, const char *path)
{
    char *text = read_profile(path);
    if (text == NULL)
        return EXIT_USAGE;
    int code = EXIT_OK;
    unsigned line = 0;
    for (char *at = text; at != NULL && code == EXIT_OK;) {
        char *next = strchr(at, '\n');
        if (next != NULL)
            *next++ = '\0';
        line++;
        char *key = trimmed(at);
        at = next;
        if (key[0] == '\0' || key[0] == '#')
            continue;
        char *equals = strchr(key, '=');
        if (equals == NULL) {
            code = cli_error(EXIT_USAGE, "%s:%u: expected key = value", path, line);
            break;
        }
        *equals = '\0';
        code = take_setting(cli, path, line, trimmed(key), trimmed(equals + 1));
    }
    free(text);
    return code;
}

int cli_resolve(struct cli *cli)
{
    if (cli->resolved)
        return EXIT_OK;
    cli->resolved = true;
    if (cli->profile == NULL)
        cli->profile = getenv("TALLY_PROFILE");
    if (cli->profile != NULL && cli->profile[0] != '\0') {
        int code = load_profile(cli, cli->profile);
        if (code != EXIT_OK)
            return code;
    }
    if (cli->server == NULL)
        cli->server = getenv("TALLY_SERVER");
    if (cli->ca == NULL)
        cli->ca = getenv("TALLY_CA");
    if (cli->certificate == NULL)
        cli->certificate = getenv("TALLY_CERT");
    if (cli->key == NULL)
        cli->key = getenv("TALLY_KEY");
    return EXIT_OK;
}

void cli_deinit(struct cli *cli)
{
    tally_client_destroy(cli->client);
    for (size_t i = 0; i < sizeof cli->owned / sizeof cli->owned[0]; i++)
        free(cli->owned[i]);
    *cli = (struct cli){0};
}

int cli_resolve_all(struct cli *cli)
{
    int code = cli_resolve(cli);
    if (code != EXIT_OK)
        return code;
    const struct {
        const char *value, *flag, *variable;
    } needed[] = {{cli->server, "--server", "TALLY_SERVER"},
                  {cli->ca, "--ca", "TALLY_CA"},
                  {cli->certificate, "--cert", "TALLY_CERT"},
                  {cli->key, "--key", "TALLY_KEY"}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (needed[i].value == NULL || needed[i].value[0] == '\0')
            return cli_error(EXIT_USAGE, "%s is not given; give it, set %s, or name a --profile",
                             needed[i].flag, needed[i].variable);
    return EXIT_OK;
}

int cli_connect(struct cli *cli, uint32_t in_flight_max)
{
    int code = cli_resolve_all(cli);
    if (code != EXIT_OK)
        return code;
    const struct tally_options client_options = {
        .servers = cli->server,
        .ca_file = cli->ca,
        .certificate_file = cli->certificate,
        .key_file = cli->key,
        .deadline_ms = cli->deadline_ms,
        .in_flight_max = in_flight_max,
    };
    struct tally_error error;
    enum tally_status status = tally_client_create(&client_options, &cli->client, &error);
    if (status != TALLY_OK)
        return cli_error(cli_exit_code(status, false), "%s", error.text);
    return EXIT_OK;
}

/* ---- ends ---- */

int cli_error(int code, const char *format, ...)
{
    va_list list;
    fputs("tally: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return code;
}

int cli_exit_code(enum tally_status status, bool retryable)
{
    switch (status) {
    case TALLY_OK:
        return EXIT_OK;
    case TALLY_REFUSED:
        return retryable ? EXIT_UNREACHABLE : EXIT_REFUSED;
    case TALLY_UNKNOWN:
        return EXIT_UNKNOWN;
    case TALLY_NOT_SENT:
    case TALLY_NO_ANSWER:
        return EXIT_UNREACHABLE;
    case TALLY_INVALID:
        return EXIT_USAGE;
    case TALLY_BUSY:
    case TALLY_NO_MEMORY:
    case TALLY_SYSTEM:
        return EXIT_LOCAL;
    }
    return EXIT_LOCAL;
}

int cli_call(const struct cli *cli, const char *identity, struct tally_call *out_call)
{
    struct tally_error error;
    *out_call = (struct tally_call){.deadline_ms = cli->deadline_ms};
    if (identity == NULL) {
        if (tally_identity_new(&out_call->identity) != TALLY_OK)
            return cli_error(EXIT_LOCAL, "the operating system has no random numbers or no clock");
        return EXIT_OK;
    }
    if (tally_identity_parse(identity, &out_call->identity, &error) != TALLY_OK)
        return cli_error(EXIT_USAGE, "--identity: %s", error.text);
    return EXIT_OK;
}

int cli_fail(const struct cli *cli, const struct tally_call *call, bool changes)
{
    return cli_fail_with(cli, call, changes,
                         cli_exit_code(call->error.status, call->error.retryable));
}

int cli_fail_with(const struct cli *cli, const struct tally_call *call, bool changes, int code)
{
    const struct tally_error *error = &call->error;
    char identity[TALLY_IDENTITY_SIZE] = "";
    if (changes)
        tally_identity_format(&call->identity, identity);
    cli_error(code, "%s: %s", tally_status_text(error->status), error->text);
    if (code == EXIT_UNREACHABLE)
        server_explain(cli);
    if (changes && error->status == TALLY_UNKNOWN)
        fprintf(stderr,
                "tally: ask with   tally request show %s\n"
                "tally: or repeat the same command with   --identity %s\n",
                identity, identity);
    if (cli->json) {
        json_t *about =
            json_pack("{s:s, s:s, s:s, s:b, s:i}", "status", tally_status_text(error->status),
                      "outcome", tally_outcome_name(error->outcome), "text", error->text,
                      "retryable", error->retryable, "exit_code", code);
        if (about != NULL && changes)
            json_object_set_new(about, "identity", json_string(identity));
        output_json(json_pack("{s:o?}", "error", about));
    }
    return code;
}

int cli_result(const struct cli *cli, const struct tally_call *call, uint8_t result,
               const char *noun, const char *name)
{
    bool good = result == TALLY_RESULT_OK || result == TALLY_RESULT_EXISTS;
    char identity[TALLY_IDENTITY_SIZE];
    char time[OUTPUT_TIME_SIZE];
    tally_identity_format(&call->identity, identity);
    output_time(call->timestamp_ns, time);
    if (cli->json) {
        output_json(json_pack(
            "{s:s, s:s, s:s, s:o, s:o, s:s}", noun, name, "result", tally_result_name(result),
            "explanation", tally_result_explanation(result), "index", output_u64(call->index),
            "timestamp_ns", output_u64(call->timestamp_ns), "identity", identity));
    } else if (good) {
        printf("%s %s: %s at %s (log index %" PRIu64 ")\n", noun, name,
               result == TALLY_RESULT_OK ? "done" : "was there already, equal", time, call->index);
    }
    if (good)
        return EXIT_OK;
    return cli_error(EXIT_SOME_REFUSED, "%s %s: %s: %s", noun, name, tally_result_name(result),
                     tally_result_explanation(result));
}

/* ---- ledgers, which nearly every command needs for its exponent ---- */

int cli_ledgers(struct cli *cli, struct tally_ledger **out_ledgers, size_t *out_count)
{
    struct tally_call call = {.deadline_ms = cli->deadline_ms, .max_age_ms = cli->max_age_ms};
    struct tally_ledger *ledgers = calloc(TALLY_LEDGERS_MAX, sizeof *ledgers);
    if (ledgers == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    if (tally_list_ledgers(cli->client, &call, ledgers, out_count) != TALLY_OK) {
        free(ledgers);
        return cli_fail(cli, &call, false);
    }
    *out_ledgers = ledgers;
    return EXIT_OK;
}

const struct tally_ledger *cli_find_ledger(const struct tally_ledger *ledgers, size_t count,
                                           uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ledgers[i].id == id)
            return &ledgers[i];
    return NULL;
}

int cli_ledger(struct cli *cli, uint32_t id, struct tally_ledger *out)
{
    struct tally_ledger *ledgers;
    size_t count;
    int code = cli_ledgers(cli, &ledgers, &count);
    if (code != EXIT_OK)
        return code;
    const struct tally_ledger *found = cli_find_ledger(ledgers, count, id);
    if (found != NULL)
        *out = *found;
    else
        code =
            cli_error(EXIT_SOME_REFUSED, "ledger %u does not exist; see \"tally ledger list\"", id);
    free(ledgers);
    return code;
}
