/*
 * `tally pki show`: which certificates of a directory end when. The node warns of its own in its
 * log; those of channels end unseen until a morning on which nothing can be posted.
 */
#include "client/cli/certificate.h"
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CERTIFICATES_MAX 4096
#define DAY_S            86400

struct show_row {
    char file[256];
    struct certificate_facts facts;
};

struct show {
    struct cli *cli;
    const char *directory;
    struct show_row *rows;
    size_t count;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct show *show = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = show->cli;
        return 0;
    case ARGP_KEY_ARG:
        if (show->directory != NULL)
            return ARGP_ERR_UNKNOWN;
        show->directory = argument;
        return 0;
    case ARGP_KEY_END:
        if (show->directory == NULL)
            argp_error(state, "the directory is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int read_all(struct show *show, DIR *directory)
{
    struct certificate_error error;
    const struct dirent *entry;
    char path[4096];
    while ((entry = readdir(directory)) != NULL) {
        size_t size = strlen(entry->d_name);
        if (size < 4 || strcmp(entry->d_name + size - 4, ".pem") != 0)
            continue;
        if (show->count == CERTIFICATES_MAX)
            return cli_error(EXIT_USAGE, "%s holds more than %d certificates", show->directory,
                             CERTIFICATES_MAX);
        struct show_row *row = &show->rows[show->count];
        snprintf(path, sizeof path, "%s/%s", show->directory, entry->d_name);
        if (!certificate_read(path, &row->facts, &error))
            return cli_error(EXIT_USAGE, "%s", error.text);
        snprintf(row->file, sizeof row->file, "%s", entry->d_name);
        show->count++;
    }
    return EXIT_OK;
}

static int compare(const void *left, const void *right)
{
    const struct show_row *a = left;
    const struct show_row *b = right;
    if (a->facts.ends_s != b->facts.ends_s)
        return a->facts.ends_s < b->facts.ends_s ? -1 : 1;
    return strcmp(a->file, b->file);
}

/* Whole days, rounded down: below 0 it has ended. */
static int64_t days_left(const struct show_row *row, int64_t now_s)
{
    int64_t left_s = row->facts.ends_s - now_s;
    return left_s >= 0 ? left_s / DAY_S : -1 - (-left_s - 1) / DAY_S;
}

static void print_table(const struct show *show, int64_t now_s)
{
    static const struct table_column columns[] = {
        {"FILE", false}, {"NAME", false}, {"ENDS", false}, {"LEFT", false}};
    struct table *table = table_create(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < show->count; i++) {
        const struct show_row *row = &show->rows[i];
        char ends[OUTPUT_TIME_SIZE];
        char left[32];
        output_time((uint64_t)(row->facts.ends_s > 0 ? row->facts.ends_s : 0) * 1000000000u, ends);
        ends[strcspn(ends, "T")] = '\0'; /* the day is enough */
        if (days_left(row, now_s) < 0)
            snprintf(left, sizeof left, "ENDED");
        else
            snprintf(left, sizeof left, "%" PRId64 " days", days_left(row, now_s));
        table_row(table, (const char *const[]){row->file, row->facts.name, ends, left});
    }
    table_print(table);
}

static void print_json(const struct show *show, int64_t now_s)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < show->count; i++) {
        const struct show_row *row = &show->rows[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:I, s:I}", "file", row->file, "name",
                                        row->facts.name, "ends_s", (json_int_t)row->facts.ends_s,
                                        "days_left", (json_int_t)days_left(row, now_s)));
    }
    output_json(json_pack("{s:o}", "certificates", rows));
}

int pki_show_command(struct cli *cli, int argc, char **argv)
{
    static const struct argp argp = {NULL,
                                     parse,
                                     "DIR",
                                     "Shows the certificates (*.pem) in DIR, the one that ends "
                                     "first at the top. Exit code 1 when one has ended.",
                                     cli_children,
                                     NULL,
                                     NULL};
    struct show show = {.cli = cli};
    int64_t now_s = time(NULL);
    cli_parse(&argp, argc, argv, &show);

    DIR *directory = opendir(show.directory);
    if (directory == NULL)
        return cli_error(EXIT_USAGE, "cannot open %s: %s", show.directory, strerror(errno));
    show.rows = calloc(CERTIFICATES_MAX, sizeof *show.rows);
    int code =
        show.rows != NULL ? read_all(&show, directory) : cli_error(EXIT_LOCAL, "out of memory");
    (void)closedir(directory); /* was only read */
    if (code == EXIT_OK) {
        qsort(show.rows, show.count, sizeof *show.rows, compare);
        if (cli->json)
            print_json(&show, now_s);
        else
            print_table(&show, now_s);
        if (show.count > 0 && days_left(&show.rows[0], now_s) < 0)
            code = EXIT_SOME_REFUSED;
    }
    free(show.rows);
    return code;
}
