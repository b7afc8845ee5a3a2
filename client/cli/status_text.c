/*
 * The status for people. The first line answers the question somebody has at night: does the node
 * take requests? Then comes all that is wrong, each with its next step, and only then the numbers.
 *
 * The rules for "wrong" are those of the alerts in ops/prometheus, as far as one look can tell: a
 * phase other than serving, read-only, a clock behind ledger time, entries that are agreed and not
 * applied.
 */
#include "client/cli/status_text.h"

#include "client/cli/output.h"

#include <inttypes.h>
#include <string.h>

#define SECOND_NS 1000000000u
/* As the alert TallystickClockBehind. */
#define CLOCK_BEHIND_NS (SECOND_NS / 2)
/* More than limits.entries_in_flight can be: apply does not keep up, or stands still. */
#define BEHIND_ENTRIES 64

const char *status_text_bytes(uint64_t bytes, char out[STATUS_TEXT_SIZE])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, STATUS_TEXT_SIZE, "%" PRIu64 " B", bytes);
        return out;
    }
    double size = (double)bytes / 1024;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        size /= 1024;
        unit++;
    }
    snprintf(out, STATUS_TEXT_SIZE, "%.1f %s", size, units[unit]);
    return out;
}

const char *status_text_duration(uint64_t duration_ns, char out[STATUS_TEXT_SIZE])
{
    uint64_t seconds = duration_ns / SECOND_NS;
    if (duration_ns == 0)
        snprintf(out, STATUS_TEXT_SIZE, "0 s");
    else if (seconds == 0)
        snprintf(out, STATUS_TEXT_SIZE, "%.1f ms", (double)duration_ns / 1e6);
    else if (seconds < 60)
        snprintf(out, STATUS_TEXT_SIZE, "%.1f s", (double)duration_ns / 1e9);
    else if (seconds < 3600)
        snprintf(out, STATUS_TEXT_SIZE, "%" PRIu64 " min %" PRIu64 " s", seconds / 60,
                 seconds % 60);
    else if (seconds < 86400)
        snprintf(out, STATUS_TEXT_SIZE, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
                 seconds % 3600 / 60);
    else
        snprintf(out, STATUS_TEXT_SIZE, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
                 seconds % 86400 / 3600);
    return out;
}

/* ---- fields of the document ---- */

static uint64_t number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* "" when missing. */
static const char *text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "";
}

static bool is_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* "     name              " before a value. */
static void row(FILE *out, const char *name)
{
    fprintf(out, "  %-15s", name);
}

static void text_row(FILE *out, const char *name, const char *value)
{
    if (*value == '\0')
        return;
    row(out, name);
    fprintf(out, "%s\n", value);
}

static void number_row(FILE *out, const char *name, uint64_t value, const char *remark)
{
    row(out, name);
    fprintf(out, "%" PRIu64 "%s%s\n", value, *remark != '\0' ? "   " : "", remark);
}

/* ---- what is wrong ---- */

static void wrong(FILE *out, bool *any, const char *what, const char *next)
{
    if (!*any)
        fputs("\nneeds attention\n", out);
    *any = true;
    fprintf(out, "  %s\n      %s\n", what, next);
}

static void print_wrong(FILE *out, const json_t *document)
{
    const json_t *index = json_object_get(document, "index");
    const char *phase = text(document, "phase");
    char line[640];
    char part[STATUS_TEXT_SIZE];
    bool any = false;

    if (strcmp(phase, "failed") == 0) {
        snprintf(line, sizeof line, "the node has failed: %s", text(document, "error"));
        wrong(out, &any, line,
              "its log has the cause; look at the disk before it is started again");
    } else if (strcmp(phase, "replaying") == 0) {
        const json_t *replay = json_object_get(document, "replay");
        snprintf(line, sizeof line,
                 "replaying the journal: %" PRIu64 " %%, entry %" PRIu64 " of %" PRIu64
                 " to %" PRIu64,
                 number(replay, "percent"), number(index, "applied"), number(replay, "first"),
                 number(replay, "last"));
        wrong(out, &any, line, "requests are refused until it is done; nothing to do but wait");
    } else if (!is_true(document, "ready")) {
        snprintf(line, sizeof line, "not ready: %s",
                 strcmp(phase, "serving") == 0 ? "stopping" : phase);
        wrong(out, &any, line, "requests are refused; clients try again");
    }
    if (is_true(document, "read_only")) {
        snprintf(line, sizeof line, "READ-ONLY, writes are refused: %s",
                 text(document, "read_only_reason"));
        wrong(out, &any, line, "reads and repeats are answered; it ends by itself with its reason");
    }
    if (strcmp(text(document, "mode"), "degraded") == 0) {
        const json_t *entry = json_object_get(document, "durability_entry");
        snprintf(line, sizeof line, "DEGRADED, without site %s: %s, by %s", text(entry, "site"),
                 text(entry, "why"), text(entry, "who"));
        wrong(out, &any, line, "what is acknowledged is promised at one site only; bring it back");
    }
    const char *reasons[] = {text(document, "held_up"), text(document, "degraded_bound")};
    for (int i = 0; i < 2; i++) {
        if (*reasons[i] == '\0')
            continue;
        snprintf(line, sizeof line, "THE POLICY ABOUT THE SITES: %s", reasons[i]);
        wrong(out, &any, line, "tally durability show; then bring the site back, or decide");
    }
    if (number(document, "clock_behind_ns") > CLOCK_BEHIND_NS) {
        snprintf(line, sizeof line, "ledger time is %s ahead of the node's clock",
                 status_text_duration(number(document, "clock_behind_ns"), part));
        wrong(out, &any, line, "check the clock's synchronization on that machine");
    }
    uint64_t commit = number(index, "commit");
    uint64_t applied = number(index, "applied");
    if (strcmp(phase, "serving") == 0 && commit > applied && commit - applied > BEHIND_ENTRIES) {
        snprintf(line, sizeof line, "BEHIND: %" PRIu64 " agreed entries are not applied yet",
                 commit - applied);
        wrong(out, &any, line, "look again; if the number does not fall, look at the disk and log");
    }
}

/* ---- the groups ---- */

static void print_node(FILE *out, const json_t *document, uint64_t now_ns)
{
    char part[STATUS_TEXT_SIZE];
    char when[OUTPUT_TIME_SIZE];

    fputs("\nnode\n", out);
    row(out, "version");
    fprintf(out, "%s, process %" PRIu64 ", up %s\n", text(document, "version"),
            number(document, "pid"),
            status_text_duration(number(document, "uptime_ms") * 1000000, part));
    if (json_object_get(document, "index") == NULL)
        return; /* still opening: nothing else is known */
    row(out, "role");
    fprintf(out, "%s, term %" PRIu64 ", cluster epoch %" PRIu64 "\n", text(document, "role"),
            number(document, "term"), number(document, "epoch"));
    text_row(out, "cluster", text(document, "cluster"));
    text_row(out, "incarnation", text(document, "incarnation"));

    uint64_t stamp_ns = number(document, "stamp_ns");
    output_time(stamp_ns, when);
    row(out, "ledger time");
    if (stamp_ns != 0 && now_ns >= stamp_ns)
        fprintf(out, "%s   %s ago\n", when, status_text_duration(now_ns - stamp_ns, part));
    else
        fprintf(out, "%s\n", when);
    text_row(out, "digest", text(document, "digest"));
}

/* The others, as this node sees them; a node that is alone has none. */
static void print_members(FILE *out, const json_t *document)
{
    const json_t *members = json_object_get(document, "members");
    size_t i;
    json_t *member;
    char name[32];
    if (json_array_size(members) < 2)
        return;
    fputs("\nmembers, as this node sees them; \"tally status\" with several servers shows the "
          "cluster\n",
          out);
    json_array_foreach(members, i, member)
    {
        snprintf(name, sizeof name, "node %" PRIu64, number(member, "node"));
        row(out, name);
        fprintf(out, "site %s, %s, %s%s%s", text(member, "site"), text(member, "kind"),
                text(member, "vote"), is_true(member, "self") ? ", this one" : "",
                is_true(member, "linked") ? "" : ", NOT LINKED");
        if (number(member, "node") == number(document, "leader"))
            fputs(", leads", out);
        if (json_is_integer(json_object_get(member, "lag")) && number(member, "lag") != 0)
            fprintf(out, ", %" PRIu64 " entries behind", number(member, "lag"));
        fputs("\n", out);
    }
    if (strcmp(text(document, "rule"), "site") != 0)
        return;
    row(out, "durability");
    fprintf(out, "mode %s, policy %s, entry %" PRIu64 ", both sites have %" PRIu64 "\n",
            text(document, "mode"), text(json_object_get(document, "policy"), "decision"),
            number(document, "number"), number(document, "both"));
}

static void print_log(FILE *out, const json_t *document)
{
    const json_t *index = json_object_get(document, "index");
    const json_t *journal = json_object_get(document, "journal");
    char remark[64];
    char part[STATUS_TEXT_SIZE];
    if (index == NULL)
        return;
    uint64_t applied = number(index, "applied");
    uint64_t durable = number(index, "durable");

    fputs("\nlog, by index of its entries\n", out);
    snprintf(remark, sizeof remark, "the journal begins at %" PRIu64,
             number(journal, "first_index"));
    number_row(out, "last", number(index, "last"), remark);
    number_row(out, "synced", number(index, "synced"), "");
    number_row(out, "agreed", number(index, "commit"), "");
    number_row(out, "applied", applied, "");
    snprintf(remark, sizeof remark, "%" PRIu64 " to replay after a crash",
             applied > durable ? applied - durable : 0);
    number_row(out, "in the store", durable, remark);
    snprintf(remark, sizeof remark, "%s on disk",
             status_text_bytes(number(journal, "bytes"), part));
    number_row(out, "segments", number(journal, "segments"), remark);
    uint64_t torn = number(json_object_get(document, "replay"), "torn_bytes_cut");
    if (torn != 0) {
        row(out, "cut at start");
        fprintf(out, "%s of a write that the last run did not finish\n",
                status_text_bytes(torn, part));
    }
    text_row(out, "chain head", text(journal, "head"));
}

static void print_store(FILE *out, const json_t *document)
{
    const json_t *checkpoint = json_object_get(document, "checkpoint");
    char first[STATUS_TEXT_SIZE];
    char second[STATUS_TEXT_SIZE];
    if (checkpoint == NULL)
        return;
    fputs("\nstore and disk\n", out);
    row(out, "checkpoints");
    if (number(checkpoint, "epochs") == 0)
        fputs("none since start\n", out);
    else
        fprintf(out, "%" PRIu64 " since start; the last took %s, the longest %s\n",
                number(checkpoint, "epochs"),
                status_text_duration(number(checkpoint, "last_flush_ns"), first),
                status_text_duration(number(checkpoint, "longest_flush_ns"), second));
    row(out, "size");
    fprintf(out, "%s used, %s of file\n",
            status_text_bytes(number(checkpoint, "bytes_used"), first),
            status_text_bytes(number(checkpoint, "bytes_file"), second));
    text_row(out, "free on disk", status_text_bytes(number(document, "free_bytes"), first));
}

static void print_contents(FILE *out, const json_t *document)
{
    static const char *const counts[] = {"ledgers", "accounts", "transfers", "principals"};
    const json_t *count = json_object_get(document, "count");
    const json_t *load = json_object_get(document, "load");
    char part[STATUS_TEXT_SIZE];
    if (count != NULL) {
        fputs("\nholds\n", out);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            number_row(out, counts[i], number(count, counts[i]),
                       i == 2 ? "posted, and refused ones whose ids are used up" : "");
    }
    if (load == NULL)
        return;
    fputs("\nload\n", out);
    row(out, "now");
    fprintf(out,
            "%" PRIu64 " connections, %" PRIu64 " calls, %" PRIu64 " requests waiting, %" PRIu64
            " entries in flight, %s\n",
            number(load, "connections"), number(load, "calls"), number(load, "waiting_requests"),
            number(load, "in_flight_entries"),
            status_text_bytes(number(load, "request_bytes"), part));
    number_row(out, "requests", number(count, "requests_since_start"), "since start");
}

void status_text_print(const json_t *document, uint64_t now_ns, FILE *out)
{
    const char *phase = text(document, "phase");
    const char *state = !is_true(document, "ready")      ? "does NOT take requests"
                        : is_true(document, "read_only") ? "takes reads only"
                                                         : "takes requests";
    if (json_object_get(document, "node") != NULL)
        fprintf(out, "node %" PRIu64 " is %s and %s\n", number(document, "node"), phase, state);
    else
        fprintf(out, "the node is %s and %s\n", phase, state);
    print_wrong(out, document);
    print_node(out, document, now_ns);
    print_members(out, document);
    print_log(out, document);
    print_store(out, document);
    print_contents(out, document);
}
