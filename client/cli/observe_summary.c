/*
 * Figures from records. Pure: records in, figures out, so that anybody can compute them again from
 * the JSON file (tests/e2e does).
 *
 * The pause. For each intended send, however it ended: how long from its intended time until it, or
 * any request intended after it, was acknowledged? The longest such time is the pause of the site.
 *
 *     intended   1   2   3   4   5   6   7   8   9
 *     ack'ed     1a  2a              6a 7a,3a 8a 9a      4 and 5: refused, lost, or not sent
 *                        |<--------->|
 *                        pause: 3 was due here, and nothing due then or later came before 6a
 *
 * So it does not matter whether the system held requests, lost them or turned them away; whether
 * late answers to old requests trickle in; or whether this program was too slow to send. A request
 * alone that waits long while later ones are served is no pause of the site: it shows in the
 * largest latency. The plainer figure, the longest distance between two neighbours among the
 * acknowledged intended times, stands beside it (gap): it misses whatever was held and answered
 * late.
 */
#include "client/cli/observe.h"

#include <stdlib.h>
#include <string.h>

static bool acknowledged(const struct observe_record *record)
{
    return record->outcome == OBSERVE_ACKNOWLEDGED;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the least value not exceeded by so many per cent of them. */
static uint64_t percentile(const uint64_t *sorted, size_t count, uint32_t percent)
{
    size_t rank = (count * percent + 99) / 100;
    return sorted[rank > 0 ? rank - 1 : 0];
}

static bool latencies(const struct observe_site *site, struct observe_latency *out)
{
    size_t count = 0;
    uint64_t *values = calloc(site->count > 0 ? site->count : 1, sizeof *values);
    if (values == NULL)
        return false;
    for (size_t i = 0; i < site->count; i++)
        if (acknowledged(&site->records[i]))
            values[count++] = site->records[i].answered_ns - site->records[i].intended_ns;
    *out = (struct observe_latency){0};
    if (count > 0) {
        qsort(values, count, sizeof *values, compare);
        out->p50_ns = percentile(values, count, 50);
        out->p99_ns = percentile(values, count, 99);
        out->max_ns = values[count - 1];
    }
    free(values);
    return true;
}

static void find_gap(const struct observe *run, const struct observe_site *site,
                     struct observe_summary *out)
{
    uint64_t before = site->count > 0 ? site->records[0].intended_ns : 0;
    for (size_t i = 0; i <= site->count; i++) {
        uint64_t at = run->ended_ns;
        if (i < site->count) {
            if (!acknowledged(&site->records[i]))
                continue;
            at = site->records[i].intended_ns;
        }
        if (site->count > 0 && at > before && at - before > out->gap_ns) {
            out->gap_ns = at - before;
            out->gap_from_ns = before;
        }
        before = at;
    }
}

/* Two passes over `next`, the earliest acknowledgement of a request and all later ones: backwards
 * to fill it, forwards to note where a wait began. Within one pause the first wait is the longest.
 */
static bool find_pauses(const struct observe *run, const struct observe_site *site,
                        struct observe_summary *out)
{
    uint64_t *next = calloc(site->count > 0 ? site->count : 1, sizeof *next);
    if (next == NULL)
        return false;
    uint64_t earliest = UINT64_MAX;
    for (size_t i = site->count; i-- > 0;) {
        if (acknowledged(&site->records[i]) && site->records[i].answered_ns < earliest)
            earliest = site->records[i].answered_ns;
        next[i] = earliest;
    }
    size_t capacity = 0;
    uint64_t chain_end = 0;
    bool good = true;
    for (size_t i = 0; good && i < site->count; i++) {
        struct observe_pause pause = {.from_ns = site->records[i].intended_ns, .to_ns = next[i]};
        if (next[i] == UINT64_MAX) {
            pause.open = true;
            pause.to_ns = run->ended_ns > pause.from_ns ? run->ended_ns : pause.from_ns;
        }
        uint64_t length = pause.to_ns - pause.from_ns;
        if (i == 0 || length > out->pause.to_ns - out->pause.from_ns)
            out->pause = pause;
        if (length < OBSERVE_PAUSE_NOTED_NS)
            continue;
        bool overlaps = pause.from_ns < chain_end;
        chain_end = pause.to_ns; /* never goes back: next[] does not */
        if (overlaps) {
            struct observe_pause *last = &out->pauses[out->pause_count - 1];
            if (length > last->to_ns - last->from_ns)
                *last = pause;
            continue;
        }
        if (out->pause_count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 16;
            struct observe_pause *grown = realloc(out->pauses, capacity * sizeof *grown);
            good = grown != NULL;
            if (!good)
                break;
            out->pauses = grown;
        }
        out->pauses[out->pause_count++] = pause;
    }
    free(next);
    return good;
}

bool observe_summarize(const struct observe *run, const struct observe_site *site,
                       struct observe_summary *out)
{
    *out = (struct observe_summary){.intended = site->count};
    for (size_t i = 0; i < site->count; i++) {
        const struct observe_record *record = &site->records[i];
        out->counts[record->outcome]++;
        out->repeated += record->attempts > 1;
        out->in_doubt +=
            record->outcome == OBSERVE_UNKNOWN || record->outcome >= OBSERVE_FOUND_POSTED;
    }
    find_gap(run, site, out);
    if (latencies(site, &out->latency) && find_pauses(run, site, out))
        return true;
    observe_summary_deinit(out);
    return false;
}

void observe_summary_deinit(struct observe_summary *summary)
{
    free(summary->pauses);
    summary->pauses = NULL;
    summary->pause_count = 0;
}
