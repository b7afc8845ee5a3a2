/*
 * `tally certificate`: what a node holds, and, after a loss, what the survivors' directories prove.
 * "verify" is offline: it trusts the CA file, and nothing else that it did not check.
 *
 * What is unknown is printed as "unknown" and as null in JSON, never as 0.
 */
#include "client/cli/cli.h"
#include "client/cli/evidence.h"
#include "client/cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_DATA      0x100
#define KEY_LOST_SITE 0x101
#define KEY_LOST_AT   0x102
#define KEY_PREFIX    0x103

/* docs/cli.md */
enum verdict_code { EXIT_PROVEN = 0, EXIT_BOUNDED = 1, EXIT_UNPROVEN = 5 };

struct certificate_options {
    struct cli *cli;
    const char *data[SURVIVORS_MAX + 1];
    uint32_t data_count;
    const char *lost_site, *uri_prefix;
    uint64_t lost_at_ns;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct certificate_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_DATA:
        if (options->data_count == SURVIVORS_MAX)
            argp_error(state, "--data: at most %d directories", SURVIVORS_MAX);
        options->data[options->data_count++] = argument;
        return 0;
    case KEY_LOST_SITE:
        options->lost_site = argument;
        return 0;
    case KEY_LOST_AT:
        if (!evidence_parse_time(argument, &options->lost_at_ns))
            argp_error(state,
                       "--lost-at: \"%s\" is no time like 2026-11-22T08:00:00Z or "
                       "nanoseconds since 1970",
                       argument);
        return 0;
    case KEY_PREFIX:
        options->uri_prefix = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- one certificate ---- */

static json_t *record_json(const struct certificate_record *record)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:o}",
        "cluster", output_bytes(record->cluster_id, sizeof record->cluster_id), "epoch",
        output_u64(record->cluster_epoch), "node", output_u64(record->node_id), "incarnation",
        output_bytes(record->incarnation, sizeof record->incarnation), "term",
        output_u64(record->term), "sequence", output_u64(record->sequence), "time_ns",
        output_u64(record->wall_ns), "ledger_time_ns", output_u64(record->stamp), "index",
        output_u64(record->index), "index_term", output_u64(record->index_term), "head",
        output_bytes(record->head, sizeof record->head), "mode",
        durability_mode_text((enum durability_mode)record->mode), "policy",
        durability_decision_text((enum durability_decision)record->policy), "rule",
        certificate_rule_name(record->rule), "both_index",
        record->both_index != 0 ? output_u64(record->both_index) : json_null(), "number",
        output_u64(record->number));
}

static void print_record(const struct certificate_record *record)
{
    char time[OUTPUT_TIME_SIZE];
    output_time(record->wall_ns, time);
    printf("made         by node %" PRIu64 ", leader in term %" PRIu64 ", number %" PRIu64 "\n",
           record->node_id, record->term, record->sequence);
    printf("as of        %s, by that node's clock\n", time);
    printf("index        %" PRIu64 ": everything acknowledged then is at or below it\n",
           record->index);
    printf("chain head   ");
    for (size_t i = 0; i < sizeof record->head; i++)
        printf("%02x", record->head[i]);
    printf("\nrule         %s, mode %s, policy %s (entry %" PRIu64 ")\n",
           certificate_rule_name(record->rule),
           durability_mode_text((enum durability_mode)record->mode),
           durability_decision_text((enum durability_decision)record->policy), record->number);
    if (record->both_index != 0)
        printf("both sites   hold everything up to %" PRIu64 "\n", record->both_index);
    else
        puts("both sites   unknown");
}

/* ---- show ---- */

static int show_directory(struct cli *cli, const struct certificate_options *options)
{
    struct evidence *evidence = calloc(1, sizeof *evidence);
    struct evidence_error error = {.text = ""};
    if (evidence == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    evidence->ca_file = cli->ca;
    evidence->uri_prefix = options->uri_prefix;
    enum status status = evidence_add(evidence, options->data[0], &error);
    const struct survivor *survivor = &evidence->survivors[0];
    int code = EXIT_OK;
    if (status == STATUS_LOCKED)
        code = cli_error(EXIT_USAGE, "%s: a node is running here: ask it (--server)",
                         options->data[0]);
    else if (status != STATUS_OK)
        code = cli_error(EXIT_LOCAL, "%s", error.text);
    else if (survivor->certificate_state == SURVIVOR_NO_CERTIFICATE)
        code = cli_error(EXIT_SOME_REFUSED, "%s holds no certificate", survivor->path);
    else if (survivor->certificate_state == SURVIVOR_CERTIFICATE_REFUSED)
        code = cli_error(EXIT_DAMAGED, "%s/certificate: %s", survivor->path,
                         survivor->certificate_text);
    else if (cli->json)
        output_json(record_json(&survivor->certificate));
    else
        print_record(&survivor->certificate);
    if (code == EXIT_OK && cli->ca == NULL && !cli->json)
        puts("signature    not checked: that needs --ca");
    evidence_close(evidence);
    free(evidence);
    return code;
}

static int show_server(struct cli *cli)
{
    struct tally_call call = {.deadline_ms = cli->deadline_ms};
    json_error_t error;
    char *text;
    int code = cli_connect(cli, 1);
    if (code != EXIT_OK)
        return code;
    if (tally_get_status(cli->client, &call, &text) != TALLY_OK)
        return cli_fail(cli, &call, false);
    json_t *status = json_loads(text, 0, &error);
    tally_free(text);
    const json_t *certificate = json_object_get(status, "certificate");
    if (!json_is_object(certificate)) {
        json_decref(status);
        return cli_error(EXIT_SOME_REFUSED, "the node holds no certificate");
    }
    if (cli->json) {
        output_json(json_deep_copy(certificate));
    } else {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)certificate, key, value)
        {
            if (json_is_string(value))
                printf("%-15s %s\n", key, json_string_value(value));
            else if (json_is_integer(value))
                printf("%-15s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
            else
                printf("%-15s unknown\n", key);
        }
    }
    json_decref(status);
    return EXIT_OK;
}

int certificate_show_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"data", KEY_DATA, "DIR", 0, "The file of a stopped node's directory", 0},
        {"uri-prefix", KEY_PREFIX, "URI", 0,
         "What peers' certificates begin with (peer.uri_prefix)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Shows the newest certificate that a node holds: asked of the server, or read from a "
        "stopped node's directory (with --ca its signature is checked).",
        cli_children,
        NULL,
        NULL};
    struct certificate_options options = {.cli = cli};
    cli_parse(&argp, argc, argv, &options);
    if (options.data_count > 1)
        return cli_error(EXIT_USAGE, "--data: one directory at a time");
    if (options.data_count == 0)
        return show_server(cli);
    int code = cli_resolve(cli);
    return code == EXIT_OK ? show_directory(cli, &options) : code;
}

/* ---- verify ---- */

static const char *certificate_word(const struct survivor *survivor)
{
    return survivor->certificate_state == SURVIVOR_CERTIFICATE_GOOD      ? "good"
           : survivor->certificate_state == SURVIVOR_CERTIFICATE_REFUSED ? "REFUSED"
                                                                         : "none";
}

static json_t *survivor_json(const struct survivor *survivor)
{
    json_t *object =
        json_pack("{s:s, s:o, s:s, s:s, s:b, s:o, s:o, s:s}", "directory", survivor->path, "node",
                  output_u64(survivor->identity.node_id), "site", survivor->identity.site, "kind",
                  survivor->identity.kind == MEMBER_WITNESS ? "witness" : "data", "sound",
                  survivor->sound, "last_index", output_u64(survivor->last_index), "last_term",
                  output_u64(survivor->last_term), "certificate_state", certificate_word(survivor));
    if (object == NULL)
        return NULL;
    if (survivor->certificate_state == SURVIVOR_CERTIFICATE_GOOD)
        json_object_set_new(object, "certificate", record_json(&survivor->certificate));
    if (survivor->certificate_state == SURVIVOR_CERTIFICATE_REFUSED)
        json_object_set_new(object, "certificate_refused", json_string(survivor->certificate_text));
    if (!survivor->sound)
        json_object_set_new(object, "damage",
                            json_string(survivor->quarantined ? survivor->quarantine_text
                                                              : survivor->report.damage.text));
    return object;
}

static json_t *zero_or_unknown(const struct verdict_answer *answer)
{
    return answer->verdict == VERDICT_PROVEN_ZERO ? json_integer(0) : json_null();
}

static void print_json(const struct verdict_question *question, const struct verdict_answer *answer)
{
    json_t *survivors = json_array();
    for (uint32_t i = 0; i < question->count; i++)
        json_array_append_new(survivors, survivor_json(&question->survivors[i]));
    const bool bounded = answer->verdict == VERDICT_BOUNDED_BY_TIME;
    json_t *seconds =
        bounded ? json_real((double)answer->unproven_ns / 1e9) : zero_or_unknown(answer);
    output_json(json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:o, s:b, s:s, s:o}", "verdict",
        verdict_name(answer->verdict), "basis", verdict_basis_name(answer->basis), "seconds",
        seconds, "entries", zero_or_unknown(answer), "money", zero_or_unknown(answer),
        "known_index", answer->known_index != 0 ? output_u64(answer->known_index) : json_null(),
        "known_time_ns", answer->known_ns != 0 ? output_u64(answer->known_ns) : json_null(),
        "missing_at_least", answer->missing != 0 ? output_u64(answer->missing) : json_null(),
        "lost_site", question->lost_site, "asserted_time_ns",
        question->lost_at_ns != 0 ? output_u64(question->lost_at_ns) : json_null(), "damaged",
        answer->damaged, "explanation", answer->text, "survivors", survivors));
}

static void print_text(const struct verdict_question *question, const struct verdict_answer *answer)
{
    char known[OUTPUT_TIME_SIZE], lost[OUTPUT_TIME_SIZE];
    const bool proven = answer->verdict == VERDICT_PROVEN_ZERO;
    output_time(answer->known_ns, known);
    output_time(question->lost_at_ns, lost);
    printf("verdict      %s (by %s)\n", verdict_name(answer->verdict),
           verdict_basis_name(answer->basis));
    printf("because      %s\n", answer->text);
    printf("lost         entries %s, money %s", proven ? "0" : "unknown", proven ? "0" : "unknown");
    if (answer->verdict == VERDICT_BOUNDED_BY_TIME)
        printf(", of at most %.3f seconds", (double)answer->unproven_ns / 1e9);
    else if (!proven)
        printf(", seconds unknown");
    putchar('\n');
    if (answer->missing != 0)
        printf("missing      at least %" PRIu64 " committed entries\n", answer->missing);
    if (answer->known_index != 0)
        printf("known        what was acknowledged by %s is at or below entry %" PRIu64 "\n", known,
               answer->known_index);
    if (question->lost_at_ns != 0)
        printf("asserted     %s%s was lost at %s; nobody proves that\n",
               question->lost_site != NULL ? "site " : "the site",
               question->lost_site != NULL ? question->lost_site : "", lost);
    for (uint32_t i = 0; i < question->count; i++) {
        const struct survivor *at = &question->survivors[i];
        printf("node %-7" PRIu64 " %s, site %s, %s: journal %s up to entry %" PRIu64
               " (term %" PRIu64 "), certificate %s\n",
               at->identity.node_id, at->path, at->identity.site,
               at->identity.kind == MEMBER_WITNESS ? "witness" : "data",
               at->sound ? "sound" : "DOES NOT COUNT", at->last_index, at->last_term,
               certificate_word(at));
        if (!at->sound)
            printf("             %s\n",
                   at->quarantined ? at->quarantine_text : at->report.damage.text);
        if (at->certificate_state == SURVIVOR_CERTIFICATE_REFUSED)
            printf("             certificate: %s\n", at->certificate_text);
    }
}

static int verdict_code(const struct verdict_answer *answer)
{
    if (answer->verdict == VERDICT_PROVEN_ZERO)
        return EXIT_PROVEN;
    if (answer->verdict == VERDICT_BOUNDED_BY_TIME)
        return EXIT_BOUNDED;
    return answer->damaged ? EXIT_DAMAGED : EXIT_UNPROVEN;
}

static int verify(struct cli *cli, const struct certificate_options *options,
                  struct evidence *evidence)
{
    struct evidence_error error = {.text = ""};
    struct verdict_answer answer;
    for (uint32_t i = 0; i < options->data_count; i++) {
        enum status status = evidence_add(evidence, options->data[i], &error);
        if (status != STATUS_OK)
            return cli_error(status == STATUS_IO ? EXIT_LOCAL : EXIT_USAGE, "%s", error.text);
    }
    if (evidence_survey(evidence, &error) != STATUS_OK)
        return cli_error(EXIT_LOCAL, "%s", error.text);
    const struct verdict_question question = {.survivors = evidence->survivors,
                                              .count = evidence->count,
                                              .lost_site = options->lost_site,
                                              .lost_at_ns = options->lost_at_ns};
    if (certificate_judge(&question, &answer) != STATUS_OK)
        return cli_error(EXIT_USAGE, "%s", answer.text);
    if (cli->json)
        print_json(&question, &answer);
    else
        print_text(&question, &answer);
    return verdict_code(&answer);
}

int certificate_verify_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"data", KEY_DATA, "DIR", 0, "A stopped survivor's directory; once for each", 0},
        {"lost-site", KEY_LOST_SITE, "SITE", 0, "The site that was lost", 0},
        {"lost-at", KEY_LOST_AT, "TIME", 0, "When, as asserted: 2026-11-22T08:00:00Z", 0},
        {"uri-prefix", KEY_PREFIX, "URI", 0,
         "What peers' certificates begin with (peer.uri_prefix)", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Says what the survivors' directories prove about a loss, offline. Exit code 0: "
        "PROVEN_ZERO, "
        "nothing acknowledged is lost; 1: BOUNDED_BY_TIME; 5: UNKNOWN; 6: UNKNOWN, and something "
        "presented is damaged or forged.",
        cli_children,
        NULL,
        NULL};
    struct certificate_options options = {.cli = cli};
    cli_parse(&argp, argc, argv, &options);
    int code = cli_resolve(cli);
    if (code != EXIT_OK)
        return code;
    if (options.data_count == 0)
        return cli_error(EXIT_USAGE, "--data is missing: name each survivor's directory");
    if (cli->ca == NULL)
        return cli_error(EXIT_USAGE, "--ca is missing: a certificate counts by its signature");
    struct evidence *evidence = calloc(1, sizeof *evidence);
    if (evidence == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    evidence->ca_file = cli->ca;
    evidence->uri_prefix = options.uri_prefix;
    code = verify(cli, &options, evidence);
    evidence_close(evidence);
    free(evidence);
    return code;
}
