/*
 * Reporting an import. Rejected rows are read again from the input to be shown, so nothing of a
 * file's rows is kept in memory.
 */
#include "client/cli/import_report.h"

#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SHOWN_OF_LONG_LINE 200

uint64_t import_report_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void import_report_init(struct import_report *report, const char *noun, const struct input *input,
                        bool quiet)
{
    *report = (struct import_report){
        .noun = noun,
        .input = input,
        .quiet = quiet,
        .is_terminal = isatty(STDERR_FILENO) == 1,
        .begun_ns = import_report_now_ns(),
    };
    report->shown_ns = report->begun_ns;
}

bool import_report_begin(struct import_report *report, const char *rejects_path)
{
    struct stat input;
    struct stat rejects;
    report->row = malloc(3 * CSV_LINE_MAX + 2);
    if (report->row == NULL) {
        cli_error(EXIT_LOCAL, "out of memory");
        return false;
    }
    if (rejects_path == NULL)
        return true;
    int fd = open(rejects_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || fstat(fd, &rejects) != 0 || fstat(report->input->fd, &input) != 0) {
        cli_error(EXIT_LOCAL, "cannot open %s: %s", rejects_path, strerror(errno));
        if (fd >= 0)
            (void)close(fd); /* nothing was written */
        return false;
    }
    if (rejects.st_dev == input.st_dev && rejects.st_ino == input.st_ino) {
        cli_error(EXIT_LOCAL, "--rejects names the input itself: choose another file");
        (void)close(fd); /* nothing was written */
        return false;
    }
    if ((S_ISREG(rejects.st_mode) && ftruncate(fd, 0) != 0) ||
        (report->rejects = fdopen(fd, "w")) == NULL) {
        cli_error(EXIT_LOCAL, "cannot write %s: %s", rejects_path, strerror(errno));
        (void)close(fd); /* nothing was written */
        return false;
    }
    fputs("line,result,reason,row\n", report->rejects);
    return true;
}

/* ---- rejected rows ---- */

static void close_line(struct import_report *report)
{
    if (report->line_open)
        fputs("\r\033[K", stderr);
    report->line_open = false;
}

static void write_quoted(struct import_report *report, const char *text, size_t size)
{
    char *quoted = report->row + CSV_LINE_MAX;
    size_t used = csv_quote(text, size, quoted);
    (void)fwrite(quoted, 1, used, report->rejects); /* ferror() is asked at the end */
}

static void write_reject(struct import_report *report, const struct import_place *place,
                         const char *result, const char *reason)
{
    report->rejected_count++;
    if (report->rejects == NULL) {
        close_line(report);
        fprintf(stderr, "line %" PRIu64 ": %s: %s\n", place->line, result, reason);
        return;
    }
    size_t size = place->size <= CSV_LINE_MAX ? (size_t)place->size : SHOWN_OF_LONG_LINE;
    fprintf(report->rejects, "%" PRIu64 ",%s,", place->line, result);
    write_quoted(report, reason, strlen(reason));
    fputc(',', report->rejects);
    if (!input_read_at(report->input, place->offset, report->row, size))
        report->failed = true;
    else
        write_quoted(report, report->row, size);
    fputc('\n', report->rejects);
}

void import_report_reject(struct import_report *report, const struct import_reject *reject)
{
    write_reject(report, &reject->place, "ROW_INVALID", reject->reason);
}

void import_report_result(struct import_report *report, const struct import_place *place,
                          uint8_t result, uint8_t original)
{
    char reason[512];
    if (result == TALLY_RESULT_OK) {
        report->posted_count++;
    } else if (result == TALLY_RESULT_EXISTS) {
        report->existing_count++;
    } else if (result == TALLY_RESULT_ID_ALREADY_FAILED && original != TALLY_RESULT_OK) {
        snprintf(reason, sizeof reason, "refused before: %s", tally_result_explanation(original));
        write_reject(report, place, tally_result_name(original), reason);
    } else {
        write_reject(report, place, tally_result_name(result), tally_result_explanation(result));
    }
}

void import_report_undecided(struct import_report *report, const struct import_place *place,
                             bool unknown)
{
    if (report->undecided_first == 0)
        report->undecided_first = place->line;
    report->undecided_last = place->line;
    if (unknown)
        report->unknown_count++;
    else
        report->not_executed_count++;
}

void import_report_waited(struct import_report *report, uint64_t sent_ns)
{
    uint64_t waited_ns = import_report_now_ns() - sent_ns;
    if (waited_ns > report->longest_wait_ns)
        report->longest_wait_ns = waited_ns;
}

/* ---- progress ---- */

static void show_progress(struct import_report *report, const char *what, uint64_t done,
                          uint64_t total, const char *more)
{
    uint64_t now = import_report_now_ns();
    if (report->quiet || now - report->shown_ns < (report->is_terminal ? 200 : 5000) * 1000000ull)
        return;
    report->shown_ns = now;
    if (report->is_terminal)
        fputs("\r\033[K", stderr);
    if (total > 0)
        fprintf(stderr, "%s %u %%%s", what,
                (unsigned)(done >= total ? 100 : (double)done * 100 / (double)total), more);
    else
        fprintf(stderr, "%s %" PRIu64 " MiB%s", what, done >> 20, more);
    report->line_open = report->is_terminal;
    fputs(report->is_terminal ? "" : "\n", stderr);
    (void)fflush(stderr); /* progress is a courtesy */
}

void import_report_progress(struct import_report *report, uint64_t offset)
{
    char more[160];
    snprintf(more, sizeof more,
             ": %" PRIu64 " posted, %" PRIu64 " already there, %" PRIu64 " rejected",
             report->posted_count, report->existing_count, report->rejected_count);
    show_progress(report, "importing", offset, report->input->size, more);
}

void import_report_hashing(void *context, uint64_t done, uint64_t total)
{
    show_progress(context, "reading", done, total, "");
}

/* ---- summary ---- */

static void print_summary(const struct import_report *report, uint64_t ms)
{
    char digest[2 * HASH_SIZE + 1];
    for (size_t i = 0; i < HASH_SIZE; i++)
        snprintf(digest + 2 * i, 3, "%02x", report->input->digest[i]);
    printf("file           %s\n", report->input->name);
    printf("sha256         %s\n", digest);
    printf("rows           %" PRIu64 "\n", report->row_count);
    printf("posted         %" PRIu64 "\n", report->posted_count);
    printf("already there  %" PRIu64 "\n", report->existing_count);
    printf("rejected       %" PRIu64 "\n", report->rejected_count);
    if (report->unknown_count > 0)
        printf("unknown        %" PRIu64 " (lines %" PRIu64 " to %" PRIu64 ")\n",
               report->unknown_count, report->undecided_first, report->undecided_last);
    if (report->not_executed_count > 0)
        printf("not executed   %" PRIu64 " (lines %" PRIu64 " to %" PRIu64 ")\n",
               report->not_executed_count, report->undecided_first, report->undecided_last);
    printf("time           %" PRIu64 ".%03u s (%" PRIu64 " %s/s)\n", ms / 1000,
           (unsigned)(ms % 1000), ms > 0 ? report->row_count * 1000 / ms : report->row_count,
           report->noun);
    printf("longest wait   %" PRIu64 " ms for one request\n", report->longest_wait_ns / 1000000);
}

static void print_json(const struct import_report *report, uint64_t ms)
{
    json_t *json = json_pack(
        "{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "file", report->input->name, "sha256",
        output_bytes(report->input->digest, HASH_SIZE), "rows", (json_int_t)report->row_count,
        "posted", (json_int_t)report->posted_count, "already_there",
        (json_int_t)report->existing_count, "rejected", (json_int_t)report->rejected_count,
        "unknown", (json_int_t)report->unknown_count, "not_executed",
        (json_int_t)report->not_executed_count, "duration_ms", (json_int_t)ms, "longest_wait_ms",
        (json_int_t)(report->longest_wait_ns / 1000000));
    if (json != NULL && report->undecided_first > 0) {
        json_object_set_new(json, "undecided_first_line",
                            json_integer((json_int_t)report->undecided_first));
        json_object_set_new(json, "undecided_last_line",
                            json_integer((json_int_t)report->undecided_last));
    }
    output_json(json);
}

bool import_report_finish(struct import_report *report, bool json)
{
    uint64_t ms = (import_report_now_ns() - report->begun_ns) / 1000000;
    close_line(report);
    if (report->rejects != NULL) {
        if (ferror(report->rejects))
            report->failed = true;
        if (fclose(report->rejects) != 0)
            report->failed = true;
        report->rejects = NULL;
    }
    if (json)
        print_json(report, ms);
    else
        print_summary(report, ms);
    return !report->failed;
}

void import_report_deinit(struct import_report *report)
{
    close_line(report);
    if (report->rejects != NULL)
        (void)fclose(report->rejects); /* an earlier error is being reported */
    free(report->row);
}
