/*
 * `tally request in-doubt`: after a failover, the requests that may not have been answered, with
 * what became of them. Every node has a list of its own, so all servers given are asked, each by
 * itself, and their lists are merged by identity. A server that does not answer makes the list
 * incomplete: that is said, and shows in the exit code.
 */
#include "client/cli/cli.h"
#include "client/cli/evidence.h"
#include "client/cli/output.h"
#include "client/cli/server_status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SINCE 0x3100
/* Beyond it a list helps nobody, and memory ends somewhere. */
#define ROWS_MAX 100000

struct in_doubt_options {
    struct cli *cli;
    uint64_t since_ns;
};

struct list {
    struct tally_in_doubt *rows;
    size_t count, capacity;
    bool full;
    uint64_t forgotten;
    uint32_t asked, answered;
    uint64_t since_ns; /* the latest start of a node that was asked: before it, one knew nothing */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct in_doubt_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
        return 0;
    case KEY_SINCE:
        if (!evidence_parse_time(argument, &options->since_ns))
            argp_error(state,
                       "--since: \"%s\" is no time like 2026-11-22T08:00:00Z or nanoseconds "
                       "since 1970",
                       argument);
        return 0;
    case ARGP_KEY_END:
        if (options->since_ns == 0)
            argp_error(state, "--since is missing: a time shortly before the failover");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- merging ---- */

static int compare(const void *left, const void *right)
{
    const struct tally_in_doubt *a = left, *b = right;
    int order = strcmp(a->principal, b->principal);
    if (order == 0)
        order = (a->identity.issued_at_ns > b->identity.issued_at_ns) -
                (a->identity.issued_at_ns < b->identity.issued_at_ns);
    if (order == 0)
        order = memcmp(a->identity.nonce, b->identity.nonce, sizeof a->identity.nonce);
    return order;
}

static bool is_known(const struct tally_in_doubt *row)
{
    return row->outcome != TALLY_OUTCOME_NOT_YET_SEEN;
}

/* Both are true for the moment at which each node was asked; what is known stays so. */
static void merge_into(struct tally_in_doubt *row, const struct tally_in_doubt *other)
{
    const bool unanswered = row->unanswered || other->unanswered;
    const bool gone = row->client_gone || other->client_gone;
    const bool inherited = row->inherited || other->inherited;
    const uint64_t seen_ns =
        row->seen_at_ns < other->seen_at_ns ? row->seen_at_ns : other->seen_at_ns;
    if (!is_known(row) && is_known(other))
        *row = *other;
    row->unanswered = unanswered;
    row->client_gone = gone;
    row->inherited = inherited;
    row->seen_at_ns = seen_ns;
}

static void merge(struct list *list)
{
    size_t kept = 0;
    if (list->count == 0)
        return;
    qsort(list->rows, list->count, sizeof *list->rows, compare);
    for (size_t i = 1; i < list->count; i++) {
        if (compare(&list->rows[kept], &list->rows[i]) == 0)
            merge_into(&list->rows[kept], &list->rows[i]);
        else
            list->rows[++kept] = list->rows[i];
    }
    list->count = kept + 1;
}

/* ---- asking ---- */

static bool add(struct list *list, const struct tally_in_doubt *rows, size_t count)
{
    if (list->count + count > ROWS_MAX) {
        merge(list);
        if (list->count + count > ROWS_MAX) {
            list->full = true;
            return true;
        }
    }
    if (list->count + count > list->capacity) {
        size_t capacity = 2 * (list->count + count);
        struct tally_in_doubt *larger = realloc(list->rows, capacity * sizeof *larger);
        if (larger == NULL)
            return false;
        list->rows = larger;
        list->capacity = capacity;
    }
    memcpy(list->rows + list->count, rows, count * sizeof *rows);
    list->count += count;
    return true;
}

static int ask(const struct cli *cli, const char *server, uint64_t since_ns, struct list *list)
{
    const struct tally_options options = {.servers = server,
                                          .ca_file = cli->ca,
                                          .certificate_file = cli->certificate,
                                          .key_file = cli->key,
                                          .deadline_ms = cli->deadline_ms};
    struct tally_client *client;
    struct tally_error error;
    if (tally_client_create(&options, &client, &error) != TALLY_OK)
        return cli_error(EXIT_USAGE, "%s", error.text);
    int code = EXIT_OK;
    uint64_t first = 0;
    do {
        struct tally_call call = {.deadline_ms = cli->deadline_ms};
        struct tally_in_doubt_page page;
        if (tally_list_in_doubt(client, &call, since_ns, first, &page) != TALLY_OK) {
            code = cli_exit_code(call.error.status, call.error.retryable);
            fprintf(stderr, "tally: %s does not tell: %s\n", server, call.error.text);
            break;
        }
        if (first == 0) {
            list->forgotten += page.forgotten;
            if (page.since_ns > list->since_ns)
                list->since_ns = page.since_ns;
        }
        if (!add(list, page.rows, page.count))
            code = cli_error(EXIT_LOCAL, "out of memory");
        tally_free(page.rows);
        first = page.next;
    } while (first != 0 && code == EXIT_OK && !list->full);
    tally_client_destroy(client);
    return code;
}

/* The first error that is not merely one server away; EXIT_UNREACHABLE when one is. */
static int ask_all(const struct cli *cli, uint64_t since_ns, struct list *list)
{
    int result = EXIT_OK;
    const char *at = cli->server;
    char server[SERVER_NAME_SIZE];
    while (server_next(&at, server)) {
        if (list->asked == SERVERS_MAX || strlen(server) == SERVER_NAME_SIZE - 1)
            return cli_error(EXIT_USAGE, "--server names more than %d servers, or a long one",
                             SERVERS_MAX);
        list->asked++;
        const int code = ask(cli, server, since_ns, list);
        list->answered += code == EXIT_OK;
        if (code == EXIT_LOCAL || code == EXIT_USAGE || code == EXIT_REFUSED)
            return code;
        if (code != EXIT_OK)
            result = EXIT_UNREACHABLE;
    }
    return result;
}

/* ---- showing ---- */

static json_t *row_json(const struct tally_in_doubt *row)
{
    char identity[TALLY_IDENTITY_SIZE];
    tally_identity_format(&row->identity, identity);
    const bool executed = row->outcome == TALLY_OUTCOME_EXECUTED;
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:b, s:s, s:i, s:s, s:o, s:o, s:o, s:o}",
                     "principal", row->principal, "identity", identity, "nonce",
                     output_bytes(row->identity.nonce, sizeof row->identity.nonce), "issued_at_ns",
                     output_u64(row->identity.issued_at_ns), "seen_at_ns",
                     output_u64(row->seen_at_ns), "unanswered", row->unanswered, "client_gone",
                     row->client_gone, "inherited", row->inherited, "method", row->method, "events",
                     (int)row->event_count, "outcome", tally_outcome_name(row->outcome), "index",
                     executed ? output_u64(row->index) : json_null(), "timestamp_ns",
                     executed ? output_u64(row->timestamp_ns) : json_null(), "ok",
                     executed ? json_integer(row->ok_count) : json_null(), "refused",
                     executed ? json_integer(row->refused_count) : json_null());
}

static void print_json(const struct list *list)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(rows, row_json(&list->rows[i]));
    output_json(json_pack("{s:o, s:i, s:i, s:o, s:b, s:o}", "requests", rows, "servers_asked",
                          (int)list->asked, "servers_answered", (int)list->answered, "forgotten",
                          output_u64(list->forgotten), "cut", list->full, "nodes_know_since_ns",
                          output_u64(list->since_ns)));
}

static void print_table(const struct list *list, uint64_t since_ns)
{
    static const struct table_column columns[] = {
        {"principal", false}, {"identity", false}, {"why", false},   {"outcome", false},
        {"index", true},      {"ok", true},        {"refused", true}};
    struct table *table = table_create(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < list->count; i++) {
        const struct tally_in_doubt *row = &list->rows[i];
        const bool executed = row->outcome == TALLY_OUTCOME_EXECUTED;
        char identity[TALLY_IDENTITY_SIZE], index[OUTPUT_NUMBER_SIZE], ok[OUTPUT_NUMBER_SIZE];
        char refused[OUTPUT_NUMBER_SIZE];
        tally_identity_format(&row->identity, identity);
        const char *cells[] = {row->principal,
                               identity,
                               row->unanswered    ? "answered: unknown"
                               : row->client_gone ? "client gone"
                                                  : "its leader is gone",
                               tally_outcome_name(row->outcome),
                               executed ? output_number(row->index, index) : "-",
                               executed ? output_number(row->ok_count, ok) : "-",
                               executed ? output_number(row->refused_count, refused) : "-"};
        table_row(table, cells);
    }
    table_print(table);
    printf("%zu requests; NOT_YET_SEEN becomes final with `tally request fence`\n", list->count);
    if (list->since_ns > since_ns) {
        char time[OUTPUT_TIME_SIZE];
        output_time(list->since_ns, time);
        printf("a node was started at %s and knows of nothing before\n", time);
    }
    if (list->forgotten > 0)
        printf("%" PRIu64 " older ones were forgotten by the nodes\n", list->forgotten);
    if (list->full)
        printf("cut: name a later time with --since\n");
}

int request_in_doubt_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp_option flags[] = {
        {"since", KEY_SINCE, "TIME", 0, "Shortly before the failover: 2026-11-22T08:00:00Z", 0},
        {0},
    };
    static const struct argp argp = {
        flags,
        parse,
        NULL,
        "Lists requests that were accepted around a failover and may not have been answered, with "
        "what became of them; asks every server given. Roles site_operator and auditor. Exit code "
        "4 "
        "when a server did not answer: the list may be incomplete.",
        cli_children,
        NULL,
        NULL};
    struct in_doubt_options options = {.cli = cli};
    struct list list = {.rows = NULL};
    cli_parse(&argp, argc, argv, &options);
    int code = cli_resolve_all(cli);
    if (code != EXIT_OK)
        return code;
    code = ask_all(cli, options.since_ns, &list);
    if (code == EXIT_OK || code == EXIT_UNREACHABLE) {
        merge(&list);
        if (cli->json)
            print_json(&list);
        else
            print_table(&list, options.since_ns);
    }
    free(list.rows);
    return code;
}
