/*
 * `tally journal verify` and `tally store verify`: the offline checks of storage, with progress and
 * an exit code. They read the files of a stopped node, or of a copy, and change nothing.
 *
 * A running node appends, begins segments and removes pruned ones while its journal is walked, and
 * the walk may meet a file that is gone or two files of different moments. What was seen once in a
 * journal whose node runs is therefore looked at again: damage stays where it is.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "replication/directory.h"
#include "storage/files.h"
#include "storage/journal.h"
#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the journal of a running node, when each finds something else. */
#define WALKS_MAX 10

struct verify_options {
    struct cli *cli;
    const char *directory;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct verify_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options->cli;
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

static void progress(void *context, uint64_t done, uint64_t total)
{
    unsigned *shown = context;
    unsigned percent = total > 0 ? (unsigned)((double)done * 100 / (double)total) : 100;
    if (percent == *shown)
        return;
    *shown = percent;
    fprintf(stderr, "\r\033[Kverifying %u %%", percent);
    (void)fflush(stderr); /* progress is a courtesy */
}

static void progress_end(bool shown)
{
    if (shown)
        fputs("\r\033[K", stderr);
}

/* "PLACE/part-N" when PLACE is a data directory and N the generation in use. */
static bool find_generation(const char *place, const char *part, char *out, size_t size)
{
    struct files files;
    struct stat about;
    struct generation generation;
    char name[DIRECTORY_NAME_MAX];
    if (files_posix_open(place, &files) != STATUS_OK)
        return false;
    enum status status = current_read(&files, &generation);
    files_posix_close(&files);
    if (status != STATUS_OK)
        return false;
    directory_generation_name(
        part, strcmp(part, DIRECTORY_STORE) == 0 ? generation.store : generation.journal, name);
    snprintf(out, size, "%s/%s", place, name);
    return stat(out, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The directory itself, or the `part` of a data directory, or of a directory made by `node init`.
 */
static void find_part(const char *directory, const char *part, char *out, size_t size)
{
    char place[4096];
    snprintf(place, sizeof place, "%s/data", directory);
    if (!find_generation(directory, part, out, size) && !find_generation(place, part, out, size))
        snprintf(out, size, "%s", directory);
}

static void print_journal(const struct cli *cli, const char *path,
                          const struct journal_report *report)
{
    char head[2 * JOURNAL_HASH_SIZE + 1];
    const struct journal_damage *damage = &report->damage;
    bool sound = damage->status == STATUS_OK;
    for (size_t i = 0; i < JOURNAL_HASH_SIZE; i++)
        snprintf(head + 2 * i, 3, "%02x", report->head[i]);
    if (cli->json) {
        json_t *json =
            json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:I}", "journal", path,
                      "sound", sound, "segments", (json_int_t)report->segment_count, "records",
                      (json_int_t)report->record_count, "entries", (json_int_t)report->entry_count,
                      "bytes", (json_int_t)report->bytes, "first_index",
                      output_u64(report->first_index), "last_index", output_u64(report->last_index),
                      "head", head, "torn_bytes", (json_int_t)report->torn_bytes);
        if (json != NULL && !sound)
            json_object_set_new(json, "damage",
                                json_pack("{s:s, s:s, s:o, s:o, s:o, s:s}", "status",
                                          status_text(damage->status), "segment", damage->segment,
                                          "offset", output_u64(damage->offset), "index",
                                          output_u64(damage->index), "sequence",
                                          output_u64(damage->sequence), "text", damage->text));
        output_json(json);
        return;
    }
    printf("journal      %s\n", path);
    printf("segments     %" PRIu64 " (%" PRIu64 " bytes)\n", report->segment_count, report->bytes);
    printf("records      %" PRIu64 ", of these %" PRIu64 " log entries\n", report->record_count,
           report->entry_count);
    printf("log indexes  %" PRIu64 " to %" PRIu64 "\n", report->first_index, report->last_index);
    printf("chain head   %s\n", head);
    if (report->torn_bytes > 0)
        printf("torn tail    %" PRIu64 " bytes, never acknowledged; cut at the next start\n",
               report->torn_bytes);
    printf("state        %s\n", sound ? "sound" : "DAMAGED");
    if (!sound)
        printf("damage       segment %s, offset %" PRIu64 ", index %" PRIu64 ": %s: %s\n",
               damage->segment, damage->offset, damage->index, status_text(damage->status),
               damage->text);
}

/* A process holds the lock of the data directory that this journal belongs to. */
static bool node_is_running(const char *journal)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/../lock", journal);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    bool held = flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    (void)close(descriptor); /* gives the lock back */
    return held;
}

static bool is_sound(enum status status, const struct journal_report *report)
{
    return status == STATUS_OK && report->damage.status == STATUS_OK;
}

static bool is_same_damage(const struct journal_damage *a, const struct journal_damage *b)
{
    return a->status != STATUS_OK && a->status == b->status && a->offset == b->offset &&
           strcmp(a->segment, b->segment) == 0;
}

static enum status verify(const struct cli *cli, const struct files *files, const char *path,
                          struct journal_report *out)
{
    enum status status = STATUS_OK;
    struct journal_damage before = {0};
    for (int walk = 0; walk < WALKS_MAX; walk++) {
        unsigned shown = 101;
        bool on_terminal = isatty(STDERR_FILENO) == 1;
        *out = (struct journal_report){0};
        status = journal_verify(files, out, on_terminal ? progress : NULL, &shown);
        progress_end(on_terminal && shown != 101);
        if (is_sound(status, out) || is_same_damage(&before, &out->damage) ||
            !node_is_running(path))
            return status;
        before = out->damage;
    }
    if (!cli->json)
        fprintf(stderr,
                "tally: a running node changes this journal faster than it can be walked; stop the "
                "node or verify a copy to be sure\n");
    return status;
}

int journal_verify_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL,
        parse,
        "DIR",
        "Walks every segment of the journal in DIR (or in the node's directory DIR) and checks "
        "checksums, indexes, padding and hash chain. Offline, read-only. Exit code 6 when "
        "something is damaged.",
        cli_children,
        NULL,
        NULL};
    struct verify_options options = {.cli = cli};
    struct journal_report report = {0};
    struct files files;
    char path[4096];

    cli_parse(&argp, argc, argv, &options);
    find_part(options.directory, DIRECTORY_JOURNAL, path, sizeof path);
    enum status status = files_posix_open(path, &files);
    if (status != STATUS_OK)
        return cli_error(status == STATUS_NOT_FOUND ? EXIT_USAGE : EXIT_LOCAL, "%s: %s", path,
                         status_text(status));
    status = verify(cli, &files, path, &report);
    files_posix_close(&files);
    if (status != STATUS_OK)
        return cli_error(status == STATUS_NOT_FOUND ? EXIT_USAGE : EXIT_LOCAL,
                         "%s cannot be checked: %s", path, status_text(status));
    print_journal(cli, path, &report);
    return report.damage.status == STATUS_OK ? EXIT_OK : EXIT_DAMAGED;
}

int store_verify_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {
        NULL,
        parse,
        "DIR",
        "Checks every checksum of the store in DIR (or in the node's directory DIR). Read-only. "
        "Exit code 6 when something is damaged.",
        cli_children,
        NULL,
        NULL};
    struct verify_options options = {.cli = cli};
    struct store_error error = {{0}};
    char path[4096];
    unsigned shown = 101;

    cli_parse(&argp, argc, argv, &options);
    find_part(options.directory, DIRECTORY_STORE, path, sizeof path);
    bool on_terminal = isatty(STDERR_FILENO) == 1;
    enum status status = store_verify(path, &error, on_terminal ? progress : NULL, &shown);
    progress_end(on_terminal && shown != 101);
    bool damaged = status == STATUS_CORRUPT;
    if (status != STATUS_OK && !damaged)
        return cli_error(status == STATUS_NOT_FOUND ? EXIT_USAGE : EXIT_LOCAL,
                         "%s cannot be checked: %s: %s", path, status_text(status), error.text);
    if (cli->json)
        output_json(
            json_pack("{s:s, s:b, s:s}", "store", path, "sound", !damaged, "damage", error.text));
    else
        printf("store  %s\nstate  %s%s%s\n", path, damaged ? "DAMAGED" : "sound",
               damaged ? "\ndamage " : "", damaged ? error.text : "");
    return damaged ? EXIT_DAMAGED : EXIT_OK;
}
