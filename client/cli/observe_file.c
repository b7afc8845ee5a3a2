/*
 * The files that a run leaves: a JSON document with every request, and an HTML page that shows
 * them.
 *
 * Both are written as a stream, because a run of hours has a million records, into a file beside
 * the target that then takes its name: a half-written report never stands where a whole one is
 * looked for. The page (observe_page.html) is fixed; only its data, a JSON document in a <script>,
 * differs. Everything foreign passes through observe_json_string(), and the page shows it as text,
 * never as markup.
 *
 * Numbers: milliseconds with microseconds behind the point; what may pass 2^53 is a string. The
 * page gets at most POINTS_MAX points per site: above that the worst of each few neighbours, and
 * says so.
 */
#include "client/cli/observe.h"

#include "client/cli/cli.h"
#include "client/cli/observe_page.h"
#include "client/cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POINTS_MAX 30000

/* ---- strings ---- */

/* Bytes of the well-formed UTF-8 letter at `text`, 0 when there is none (RFC 3629). */
static size_t letter_size(const unsigned char *text)
{
    static const struct {
        unsigned char first, last, second_low, second_high;
        size_t size;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last)
            continue;
        if (forms[i].size > 1 && (text[1] < forms[i].second_low || text[1] > forms[i].second_high))
            return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if (text[k] < 0x80 || text[k] > 0xbf)
                return 0;
        return forms[i].size;
    }
    return 0;
}

void observe_json_string(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    fputc('"', out);
    while (*at != '\0') {
        size_t size = letter_size(at);
        if (size == 0) {
            fputs("\\ufffd", out);
            size = 1;
        } else if (size == 1 && (*at < 0x20 || *at == 0x7f || strchr("\"\\<>&'", *at) != NULL)) {
            fprintf(out, "\\u%04x", *at);
        } else if (size == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] & 0xfe) == 0xa8) {
            fprintf(out, "\\u%04x", 0x2000 + (at[2] & 0x3f)); /* ends a line in JavaScript */
        } else {
            fwrite(at, 1, size, out);
        }
        at += size;
    }
    fputc('"', out);
}

static void json_ms(FILE *out, uint64_t ns)
{
    fprintf(out, "%" PRIu64 ".%03" PRIu64, ns / 1000000, ns / 1000 % 1000);
}

static void json_ms_or_null(FILE *out, uint64_t ns)
{
    if (ns == 0)
        fputs("null", out);
    else
        json_ms(out, ns);
}

static void json_member_ms(FILE *out, const char *name, uint64_t ns)
{
    fprintf(out, "\"%s\": ", name);
    json_ms(out, ns);
    fputs(", ", out);
}

static void json_hex(FILE *out, const uint8_t *bytes, size_t size)
{
    fputc('"', out);
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%02x", bytes[i]);
    fputc('"', out);
}

/* ---- what both files have ---- */

static void write_head(const struct observe *run, FILE *out)
{
    char began[OUTPUT_TIME_SIZE];
    output_time(run->origin_wall_ns, began);
    fputs("{\"format\": \"tally-observe\", \"version\": 1, \"began\": ", out);
    observe_json_string(out, began);
    fprintf(out, ", \"began_wall_ns\": \"%" PRIu64 "\", ", run->origin_wall_ns);
    json_member_ms(out, "ended_ms", run->ended_ns);
    json_member_ms(out, "every_ms", run->every_ns);
    json_member_ms(out, "deadline_ms", run->deadline_ns);
    json_member_ms(out, "attempt_ms", run->attempt_ns);
    fprintf(out,
            "\"in_flight_max\": %u, \"cross_site\": %s, \"ledger\": %u, \"records_full\": %s, "
            "\"events_lost\": %" PRIu64 ",\n",
            run->in_flight_max, run->cross_site ? "true" : "false", run->ledger,
            run->records_full ? "true" : "false", run->events_lost);
    fputs("\"outcomes\": [", out);
    for (uint8_t i = 0; i < OBSERVE_OUTCOME_COUNT; i++) {
        fputs(i > 0 ? ", " : "", out);
        observe_json_string(out, observe_outcome_name(i));
    }
    fputs("],\n\"servers\": [", out);
    for (size_t i = 0; i < run->server_count; i++) {
        fputs(i > 0 ? ", " : "", out);
        observe_json_string(out, run->servers[i].name);
    }
    fputs("],\n\"events\": [", out);
    for (size_t i = 0; i < run->event_count; i++) {
        fputs(i > 0 ? ",\n  {" : "\n  {", out);
        json_member_ms(out, "at_ms", run->events[i].at_ns);
        fputs("\"kind\": ", out);
        observe_json_string(out, observe_event_kind_name(run->events[i].kind));
        fputs(", \"text\": ", out);
        observe_json_string(out, run->events[i].text);
        fputc('}', out);
    }
    fputs("],\n", out);
}

static void write_pause(FILE *out, const struct observe_pause *pause)
{
    fputc('{', out);
    json_member_ms(out, "from_ms", pause->from_ns);
    json_member_ms(out, "to_ms", pause->to_ns);
    json_member_ms(out, "ms", pause->to_ns - pause->from_ns);
    fprintf(out, "\"open\": %s}", pause->open ? "true" : "false");
}

static void write_summary(const struct observe_summary *summary, FILE *out)
{
    fputs("\"summary\": {\"pause\": ", out);
    write_pause(out, &summary->pause);
    fputs(", ", out);
    json_member_ms(out, "gap_ms", summary->gap_ns);
    json_member_ms(out, "gap_from_ms", summary->gap_from_ns);
    fputs("\"latency_ms\": {", out);
    json_member_ms(out, "p50", summary->latency.p50_ns);
    json_member_ms(out, "p99", summary->latency.p99_ns);
    fputs("\"max\": ", out);
    json_ms(out, summary->latency.max_ns);
    fprintf(out,
            "}, \"intended\": %" PRIu64 ", \"in_doubt\": %" PRIu64 ", \"repeated\": %" PRIu64
            ", \"outcomes\": {",
            summary->intended, summary->in_doubt, summary->repeated);
    for (uint8_t i = 0; i < OBSERVE_OUTCOME_COUNT; i++) {
        fputs(i > 0 ? ", " : "", out);
        observe_json_string(out, observe_outcome_name(i));
        fprintf(out, ": %" PRIu64, summary->counts[i]);
    }
    fputs("}},\n \"pauses\": [", out);
    for (size_t i = 0; i < summary->pause_count; i++) {
        fputs(i > 0 ? ", " : "", out);
        write_pause(out, &summary->pauses[i]);
    }
    fputs("],\n", out);
}

static void write_site_head(const struct observe *run, const struct observe_site *site,
                            const struct observe_summary *summary, FILE *out)
{
    fputs("{\"name\": ", out);
    observe_json_string(out, site->name);
    fputs(", \"servers\": [", out);
    for (uint8_t i = 0; i < site->server_count; i++) {
        fputs(i > 0 ? ", " : "", out);
        observe_json_string(out, run->servers[site->first_server + i].name);
    }
    fputs("], \"debit\": ", out);
    json_hex(out, site->debit.bytes, sizeof site->debit.bytes);
    fputs(", \"credit\": ", out);
    json_hex(out, site->credit.bytes, sizeof site->credit.bytes);
    fputs(", \"first_failure\": ", out);
    observe_json_string(out, site->words);
    fputs(",\n ", out);
    write_summary(summary, out);
}

/* ---- the JSON file's records ---- */

static void write_records(const struct observe_site *site, FILE *out)
{
    fputs(" \"columns\": [\"intended_ms\", \"sent_ms\", \"refused_ms\", \"answered_ms\", "
          "\"resolved_ms\", "
          "\"outcome\", \"result\", \"attempts\", \"server\", \"leader\", \"durability\", "
          "\"nonce\", \"issued_at_ns\", \"answered_wall_ns\", \"index\", \"timestamp_ns\"],\n"
          " \"records\": [",
          out);
    for (size_t i = 0; i < site->count; i++) {
        const struct observe_record *record = &site->records[i];
        fputs(i > 0 ? ",\n  [" : "\n  [", out);
        json_ms(out, record->intended_ns);
        fputs(", ", out);
        json_ms_or_null(out, record->sent_ns);
        fputs(", ", out);
        json_ms_or_null(out, record->refused_ns);
        fputs(", ", out);
        json_ms_or_null(out, record->answered_ns);
        fputs(", ", out);
        json_ms_or_null(out, record->resolved_ns);
        fprintf(out, ", %u, %u, %u, %u, \"%" PRIu64 "\", %u, ", record->outcome, record->result,
                record->attempts, record->server, record->leader, record->durability);
        json_hex(out, record->identity.nonce, sizeof record->identity.nonce);
        fprintf(out, ", \"%" PRIu64 "\", \"%" PRIu64 "\", \"%" PRIu64 "\", \"%" PRIu64 "\"]",
                record->identity.issued_at_ns, record->answered_wall_ns, record->index,
                record->timestamp_ns);
    }
    fputs("]}", out);
}

/* ---- the page's points ---- */

/* The one of two that must not disappear: not acknowledged, else the slower one. */
static bool is_worse(const struct observe_record *one, const struct observe_record *other)
{
    bool one_ok = one->outcome == OBSERVE_ACKNOWLEDGED;
    bool other_ok = other->outcome == OBSERVE_ACKNOWLEDGED;
    if (one_ok != other_ok)
        return other_ok;
    return one_ok && one->answered_ns - one->intended_ns > other->answered_ns - other->intended_ns;
}

static void write_points(const struct observe_site *site, FILE *out)
{
    size_t together = (site->count + POINTS_MAX - 1) / POINTS_MAX;
    if (together == 0)
        together = 1;
    fprintf(out, " \"thinned\": %zu, \"points\": [", together);
    for (size_t i = 0; i < site->count; i += together) {
        const struct observe_record *worst = &site->records[i];
        for (size_t k = i + 1; k < i + together && k < site->count; k++)
            if (is_worse(&site->records[k], worst))
                worst = &site->records[k];
        fputs(i > 0 ? ",[" : "[", out);
        json_ms(out, worst->intended_ns);
        fputc(',', out);
        if (worst->answered_ns > 0)
            json_ms(out, worst->answered_ns - worst->intended_ns);
        else
            fputs("-1", out);
        fprintf(out, ",%u,%u,%u]", worst->outcome, worst->server, worst->attempts);
    }
    fputs("]}", out);
}

/* ---- files ---- */

static void write_document(const struct observe *run, const struct observe_summary *summaries,
                           void (*rest)(const struct observe_site *site, FILE *out), FILE *out)
{
    write_head(run, out);
    fputs("\"sites\": [\n", out);
    for (size_t i = 0; i < run->site_count; i++) {
        fputs(i > 0 ? ",\n" : "", out);
        write_site_head(run, &run->sites[i], &summaries[i], out);
        rest(&run->sites[i], out);
    }
    fputs("\n]}\n", out);
}

/* Opens PATH.part; NULL after a message. *out_part is malloc'ed. */
static FILE *part_open(const char *path, char **out_part)
{
    FILE *file = NULL;
    if (asprintf(out_part, "%s.part", path) < 0) {
        *out_part = NULL;
        (void)cli_error(EXIT_LOCAL, "out of memory");
        return NULL;
    }
    file = fopen(*out_part, "we");
    if (file == NULL)
        (void)cli_error(EXIT_LOCAL, "cannot write %s: %s", *out_part, strerror(errno));
    return file;
}

static int part_close(FILE *file, char *part, const char *path)
{
    bool good = file != NULL;
    if (good) {
        good = !ferror(file);
        good = fclose(file) == 0 && good;
        good = good && rename(part, path) == 0;
        if (!good) {
            (void)cli_error(EXIT_LOCAL, "cannot write %s: %s", path, strerror(errno));
            (void)unlink(part); /* what is left of it is no report */
        }
    }
    free(part);
    return good ? EXIT_OK : EXIT_LOCAL;
}

int observe_write_json(const struct observe *run, const struct observe_summary *summaries,
                       const char *path)
{
    char *part;
    FILE *file = part_open(path, &part);
    if (file != NULL)
        write_document(run, summaries, write_records, file);
    return part_close(file, part, path);
}

int observe_write_html(const struct observe *run, const struct observe_summary *summaries,
                       const char *path)
{
    char *part;
    FILE *file = part_open(path, &part);
    if (file != NULL) {
        fwrite(observe_page_before, 1, observe_page_before_size, file);
        write_document(run, summaries, write_points, file);
        fwrite(observe_page_after, 1, observe_page_after_size, file);
    }
    return part_close(file, part, path);
}
