/*
 * Import: rows become batches, batches become requests, results become counts and a list of
 * rejected rows.
 *
 *   input (digest, then rows) -> csv -> columns -> batch being filled -> sent -> ended -> reported
 *                                                  \______ ring, in file order ______/
 *
 * Order. One request is in flight unless asked otherwise, while the next is being filled: rows then
 * execute in file order, which a limited account or an id that appears twice can tell. With
 * --in-flight above 1 requests may overtake each other; results are reported in file order all the
 * same.
 *
 * Identity. Which rows were posted already is decided by the *transfer ids* alone: given in the
 * file or derived from its digest and line, the same in every run, unique in the ledger for ever. A
 * request's own identity (nonce, issue time) only makes attempts within one run safe, so it is new
 * and random for each batch of each run: the issue time of a second run differs, and an old nonce
 * with a new time would be refused as NONCE_REUSED. A second run gets EXISTS for what was posted
 * and ID_ALREADY_FAILED for what was refused by the state of the ledger, and looks up why.
 *
 * Memory: in_flight + 1 batches, each of at most batch_count events and as many rejected rows.
 */
#include "client/cli/import.h"

#include "client/cli/columns.h"
#include "client/cli/csv.h"
#include "client/cli/import_report.h"
#include "client/cli/input.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_DEFAULT_MS 60000

struct import_kind {
    const char *noun;
    const struct column_set *columns;
    size_t event_size;
    bool (*from_row)(const struct column_map *map, const struct row_defaults *defaults,
                     const struct csv_row *row, void *out, char *out_reason);
    enum tally_status (*submit)(struct tally_client *client, struct tally_call *call,
                                const void *events, size_t count, uint8_t *out_results,
                                tally_call_cb cb);
    bool burns_ids; /* ID_ALREADY_FAILED can be looked up */
};

static bool read_transfer(const struct column_map *map, const struct row_defaults *defaults,
                          const struct csv_row *row, void *out, char *out_reason)
{
    return transfer_from_row(map, defaults, row, out, out_reason);
}

static enum tally_status submit_transfers(struct tally_client *client, struct tally_call *call,
                                          const void *events, size_t count, uint8_t *out_results,
                                          tally_call_cb cb)
{
    return tally_submit_transfers(client, call, events, count, out_results, cb);
}

static bool read_account(const struct column_map *map, const struct row_defaults *defaults,
                         const struct csv_row *row, void *out, char *out_reason)
{
    return account_from_row(map, defaults, row, out, out_reason);
}

static enum tally_status submit_accounts(struct tally_client *client, struct tally_call *call,
                                         const void *events, size_t count, uint8_t *out_results,
                                         tally_call_cb cb)
{
    return tally_submit_accounts(client, call, events, count, out_results, cb);
}

const struct import_kind import_transfers = {
    "transfers",   &transfer_columns, sizeof(struct tally_new_transfer),
    read_transfer, submit_transfers,  true};
const struct import_kind import_accounts = {
    "accounts",   &account_columns, sizeof(struct tally_new_account),
    read_account, submit_accounts,  false};

enum batch_state {
    BATCH_FREE, /* also while it is being filled */
    BATCH_SENT,
    BATCH_ENDED,
};

struct batch {
    enum batch_state state;
    struct tally_call call;
    enum tally_status status;
    struct import_report *report;
    uint64_t sent_ns;
    uint32_t event_count;
    uint8_t *events; /* kind->event_size each */
    struct import_place *places;
    uint8_t *results;
    uint32_t reject_count;
    struct import_reject *rejects; /* refused on this side */
};

struct import {
    struct cli *cli;
    const struct import_kind *kind;
    const struct import_options *options;
    struct input input;
    struct import_report report;
    struct column_map map;
    struct row_defaults defaults;
    uint32_t batch_count, deadline_ms;
    struct batch batches[IMPORT_IN_FLIGHT_MAX + 1];
    uint32_t ring_size, head, tail; /* head: oldest not reported; tail: being filled */
    bool stopped;                   /* a request did not execute, or we cannot go on */
    int stop_code;
    struct csv_reader reader;
};

/* ---- ended requests ---- */

static void batch_cb(struct tally_call *call, enum tally_status status)
{
    struct batch *batch = call->user;
    batch->status = status;
    batch->state = BATCH_ENDED;
    import_report_waited(batch->report, batch->sent_ns);
}

static const struct tally_id *event_id(const struct import *import, const struct batch *batch,
                                       uint32_t index)
{
    /* Both kinds of events begin with their id. */
    return (const struct tally_id *)(const void *)(batch->events +
                                                   index * import->kind->event_size);
}

_Static_assert(offsetof(struct tally_new_transfer, id) == 0, "see event_id()");
_Static_assert(offsetof(struct tally_new_account, id) == 0, "see event_id()");

/* Replaces ID_ALREADY_FAILED by what the transfer was refused with then, in `original` (0 = not
 * known). A failure only costs the reason. */
static void look_up_originals(struct import *import, const struct batch *batch, uint8_t *original)
{
    enum { PIECE = 1000 };
    struct tally_id *ids = calloc(PIECE, sizeof *ids);
    struct tally_transfer *found = calloc(PIECE, sizeof *found);
    uint32_t next = 0;
    while (ids != NULL && found != NULL && next < batch->event_count) {
        uint32_t places[PIECE];
        size_t asked = 0;
        for (; next < batch->event_count && asked < PIECE; next++) {
            if (batch->results[next] != TALLY_RESULT_ID_ALREADY_FAILED)
                continue;
            places[asked] = next;
            ids[asked++] = *event_id(import, batch, next);
        }
        struct tally_call call = {.deadline_ms = import->deadline_ms};
        size_t count = 0;
        if (asked == 0 || tally_lookup_transfers(import->cli->client, &call, ids, asked, found,
                                                 &count) != TALLY_OK)
            break;
        for (size_t i = 0, j = 0; i < asked && j < count; i++)
            if (memcmp(&found[j].id, &ids[i], sizeof ids[i]) == 0)
                original[places[i]] = found[j++].refused;
    }
    free(ids);
    free(found);
}

/* Counts and reports one ended batch, events and rows refused here merged by line. */
static void batch_report(struct import *import, struct batch *batch)
{
    struct import_report *report = &import->report;
    uint8_t original[TALLY_EVENTS_MAX];
    uint32_t reject = 0;
    bool executed = batch->status == TALLY_OK;

    memset(original, 0, batch->event_count);
    if (executed && import->kind->burns_ids &&
        memchr(batch->results, TALLY_RESULT_ID_ALREADY_FAILED, batch->event_count) != NULL)
        look_up_originals(import, batch, original);
    for (uint32_t i = 0; i < batch->event_count; i++) {
        while (reject < batch->reject_count &&
               batch->rejects[reject].place.line < batch->places[i].line)
            import_report_reject(report, &batch->rejects[reject++]);
        if (executed)
            import_report_result(report, &batch->places[i], batch->results[i], original[i]);
        else
            import_report_undecided(report, &batch->places[i], batch->status == TALLY_UNKNOWN);
    }
    while (reject < batch->reject_count)
        import_report_reject(report, &batch->rejects[reject++]);
    if (!executed && !import->stopped) {
        import->stopped = true;
        import->stop_code =
            cli_error(cli_exit_code(batch->status, batch->call.error.retryable), "%s: %s",
                      tally_status_text(batch->status), batch->call.error.text);
    } else if (!executed && batch->status == TALLY_UNKNOWN) {
        import->stop_code = EXIT_UNKNOWN; /* of several failed requests the worst one counts */
    }
    batch->event_count = 0;
    batch->reject_count = 0;
    batch->state = BATCH_FREE;
}

/* Reports what has ended, in order, and waits until at most `sent_max` batches are not reported. */
static void import_wait(struct import *import, uint32_t sent_max)
{
    for (;;) {
        while (import->head != import->tail && import->batches[import->head].state == BATCH_ENDED) {
            batch_report(import, &import->batches[import->head]);
            import->head = (import->head + 1) % import->ring_size;
        }
        uint32_t sent = (import->tail + import->ring_size - import->head) % import->ring_size;
        if (sent <= sent_max)
            return;
        (void)tally_wait(import->cli->client, 200); /* the batches' states show what ended */
        import_report_progress(&import->report, import->reader.offset);
    }
}

/* ---- filling ---- */

static void batch_send(struct import *import)
{
    struct batch *batch = &import->batches[import->tail];
    if (batch->event_count == 0 && batch->reject_count == 0)
        return;
    import_wait(import, import->ring_size - 2); /* one more may be in flight then */
    batch->call = (struct tally_call){.deadline_ms = import->deadline_ms, .user = batch};
    batch->state = BATCH_SENT;
    batch->report = &import->report;
    batch->sent_ns = import_report_now_ns();
    if (batch->event_count == 0) {
        batch_cb(&batch->call, TALLY_OK);
    } else if (import->stopped) {
        batch_cb(&batch->call, TALLY_NOT_SENT);
    } else if (tally_identity_new(&batch->call.identity) != TALLY_OK) {
        snprintf(batch->call.error.text, sizeof batch->call.error.text,
                 "the operating system has no random numbers");
        batch_cb(&batch->call, TALLY_SYSTEM);
    } else {
        enum tally_status status =
            import->kind->submit(import->cli->client, &batch->call, batch->events,
                                 batch->event_count, batch->results, batch_cb);
        if (status != TALLY_OK)
            batch_cb(&batch->call, status);
    }
    import->tail = (import->tail + 1) % import->ring_size;
}

static void take_row(struct import *import, const struct csv_row *row, bool good)
{
    struct batch *batch = &import->batches[import->tail];
    struct import_place place = {row->line, row->offset, row->size};
    struct import_reject *reject = &batch->rejects[batch->reject_count];
    import->report.row_count++;
    if (good) {
        void *event = batch->events + batch->event_count * import->kind->event_size;
        if (import->kind->from_row(&import->map, &import->defaults, row, event, reject->reason)) {
            batch->places[batch->event_count++] = place;
            goto out;
        }
    } else {
        snprintf(reject->reason, sizeof reject->reason, "%s", row->reason);
    }
    reject->place = place;
    batch->reject_count++;
out:
    if (batch->event_count == import->batch_count || batch->reject_count == import->batch_count)
        batch_send(import);
}

static int read_header(struct import *import)
{
    struct csv_row row;
    struct columns_error error;
    switch (csv_next(&import->reader, &row)) {
    case CSV_ROW:
        if (!columns_read_header(import->kind->columns, &row, &import->map, &error))
            return cli_error(EXIT_USAGE, "%s: %s", import->input.name, error.text);
        import->reader.field_count = import->map.count;
        return EXIT_OK;
    case CSV_BAD:
        return cli_error(EXIT_USAGE, "%s: line %" PRIu64 ": %s; it must name the columns",
                         import->input.name, row.line, row.reason);
    case CSV_END:
        return cli_error(EXIT_USAGE, "%s is empty: the first line must name the columns",
                         import->input.name);
    case CSV_IO:
        break;
    }
    return cli_error(EXIT_LOCAL, "cannot read %s: %s", import->input.name, strerror(errno));
}

static int read_rows(struct import *import)
{
    struct csv_row row;
    while (!import->stopped) {
        enum csv_kind kind = csv_next(&import->reader, &row);
        if (kind == CSV_END || (kind == CSV_IO && import->input.is_shorter))
            return EXIT_OK; /* that the file changed is said at the end, with what was posted */
        if (kind == CSV_IO)
            return cli_error(EXIT_LOCAL, "cannot read %s: %s", import->input.name, strerror(errno));
        take_row(import, &row, kind == CSV_ROW);
        import_report_progress(&import->report, import->reader.offset);
    }
    return EXIT_OK;
}

/* ---- from beginning to end ---- */

static bool batches_allocate(struct import *import)
{
    for (uint32_t i = 0; i < import->ring_size; i++) {
        struct batch *batch = &import->batches[i];
        batch->events = calloc(import->batch_count, import->kind->event_size);
        batch->places = calloc(import->batch_count, sizeof *batch->places);
        batch->results = calloc(import->batch_count, 1);
        batch->rejects = calloc(import->batch_count, sizeof *batch->rejects);
        if (batch->events == NULL || batch->places == NULL || batch->results == NULL ||
            batch->rejects == NULL)
            return false;
    }
    return true;
}

static void batches_free(struct import *import)
{
    for (uint32_t i = 0; i < import->ring_size; i++) {
        free(import->batches[i].events);
        free(import->batches[i].places);
        free(import->batches[i].results);
        free(import->batches[i].rejects);
    }
}

static int finish(struct import *import, int code)
{
    if (code != EXIT_OK && !import->stopped) {
        import->stopped = true;
        import->stop_code = code;
    }
    batch_send(import); /* the last rows; when stopped, they only count as not executed */
    import_wait(import, 0);
    bool written = import_report_finish(&import->report, import->cli->json);
    if (import->stopped) {
        fprintf(stderr,
                "tally: stopped; run the same import again: what was posted is not posted twice\n");
        return import->stop_code;
    }
    if (!input_is_unchanged(&import->input))
        return cli_error(EXIT_DAMAGED,
                         "%s changed while it was imported: the ids of its rows belong to the file "
                         "as it was at the beginning (SHA-256 above); find out what was posted "
                         "before you import it again",
                         import->input.name);
    if (!written)
        return cli_error(EXIT_LOCAL, "the list of rejected rows could not be written");
    return import->report.rejected_count > 0 ? EXIT_SOME_REFUSED : EXIT_OK;
}

static int import_opened(struct import *import)
{
    struct tally_ledger *ledgers;
    int code = cli_ledgers(import->cli, &ledgers, &import->defaults.ledger_count);
    if (code != EXIT_OK)
        return code;
    import->defaults.ledgers = ledgers;
    import->defaults.ledger = import->options->ledger;
    import->defaults.code = import->options->code;
    import->defaults.digest = import->input.digest;
    import->reader.read = input_read;
    import->reader.context = &import->input;
    csv_init(&import->reader);
    if (!batches_allocate(import))
        code = cli_error(EXIT_LOCAL, "out of memory");
    if (code == EXIT_OK)
        code = read_header(import);
    if (code == EXIT_OK && !import_report_begin(&import->report, import->options->rejects_path))
        code = EXIT_LOCAL;
    if (code == EXIT_OK)
        code = finish(import, read_rows(import));
    import_report_deinit(&import->report);
    batches_free(import);
    free(ledgers);
    return code;
}

/* Whoever presses Ctrl-C asks himself what became of the file. The signal ends the process as it
 * would have anyway. */
static void interrupted(int signal_number)
{
    static const char text[] = "\ntally: interrupted; what the node has received counts. Run the "
                               "same import again: what was posted is not posted twice\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written; /* there is nobody left to tell */
    (void)raise(signal_number);
}

static void tell_of_interruption(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction told = {.sa_handler = interrupted, .sa_flags = (int)SA_RESETHAND};
    struct sigaction before;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            (void)sigaction(signals[i], &told, NULL); /* without it there is no message */
}

int import_run(struct cli *cli, const struct import_kind *kind,
               const struct import_options *options)
{
    uint32_t in_flight = options->in_flight_max > 0 ? options->in_flight_max : 1;
    struct input_error error;
    int code = cli_connect(cli, in_flight);
    if (code != EXIT_OK)
        return code;
    struct import *import = calloc(1, sizeof *import);
    if (import == NULL)
        return cli_error(EXIT_LOCAL, "out of memory");
    import->cli = cli;
    import->kind = kind;
    import->options = options;
    import->batch_count = options->batch_count > 0 ? options->batch_count : TALLY_EVENTS_MAX;
    import->deadline_ms = cli->deadline_ms > 0 ? cli->deadline_ms : DEADLINE_DEFAULT_MS;
    import->ring_size = in_flight + 1;
    import_report_init(&import->report, kind->noun, &import->input, options->quiet);
    if (!input_open(options->path, &import->input, import_report_hashing, &import->report,
                    &error)) {
        code = cli_error(error.local ? EXIT_LOCAL : EXIT_USAGE, "%s", error.text);
    } else {
        if (!import->input.ends_with_newline && !options->last_line_is_complete)
            code = cli_error(EXIT_USAGE,
                             "%s: the last line does not end with a newline, the file may be cut "
                             "short; nothing was sent. If it is whole, say "
                             "--last-line-is-complete (adding the newline would change the ids of "
                             "rows without one)",
                             import->input.name);
        else {
            tell_of_interruption();
            code = import_opened(import);
        }
        input_close(&import->input);
    }
    free(import);
    return code;
}
