/*
 * For people: one line while it runs, a summary at the end. On a terminal the line is drawn over
 * itself every second; elsewhere it comes every ten seconds, so that a log stays readable.
 */
#include "client/cli/observe.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LIVE_WINDOW_NS   1000000000ull
#define LIVE_LOG_SECONDS 10
#define PAUSES_SHOWN_MAX 10
#define NS_PER_MS        1e6

/* What came back within the last second, and since when nothing does. */
static void live_site(const struct observe *run, const struct observe_site *site, FILE *out)
{
    uint64_t now = observe_now(run), worst = 0, newest = 0;
    size_t answers = 0, waiting = 0;
    for (size_t i = site->count; i-- > 0;) {
        const struct observe_record *record = &site->records[i];
        if (now - record->intended_ns > LIVE_WINDOW_NS + run->deadline_ns)
            break; /* the loop is bounded by what may still be under way */
        waiting += record->outcome == OBSERVE_WAITING;
        if (record->outcome != OBSERVE_ACKNOWLEDGED)
            continue;
        if (record->intended_ns > newest)
            newest = record->intended_ns;
        if (now - record->answered_ns > LIVE_WINDOW_NS)
            continue;
        answers++;
        if (record->answered_ns - record->intended_ns > worst)
            worst = record->answered_ns - record->intended_ns;
    }
    fprintf(out, "  | %s: %zu/s, worst %.0f ms, %zu waiting", site->name, answers,
            (double)worst / NS_PER_MS, waiting);
    if (now - newest > LIVE_WINDOW_NS)
        fprintf(out, ", NOTHING for %.1f s", (double)(now - newest) / 1e9);
}

void observe_text_live(const struct observe *run, FILE *out)
{
    static bool drawn;
    if (out == NULL) {
        if (drawn)
            fputc('\n', stderr);
        return;
    }
    bool terminal = isatty(fileno(out));
    uint64_t seconds = observe_now(run) / 1000000000u;
    if (!terminal && seconds % LIVE_LOG_SECONDS != 0)
        return;
    drawn = terminal;
    fprintf(out, "%s%" PRIu64 " s%s", terminal ? "\r\033[K" : "", seconds,
            run->stopping ? ", ending" : "");
    for (size_t i = 0; i < run->site_count; i++)
        live_site(run, &run->sites[i], out);
    if (run->event_count > 0)
        fprintf(out, "  | %.60s", run->events[run->event_count - 1].text);
    if (!terminal)
        fputc('\n', out);
    fflush(out);
}

static void print_pauses(const struct observe_summary *summary, FILE *out)
{
    for (size_t i = 0; i < summary->pause_count && i < PAUSES_SHOWN_MAX; i++) {
        const struct observe_pause *pause = &summary->pauses[i];
        fprintf(out, "    %.0f ms, from %.3f s to %.3f s%s\n",
                (double)(pause->to_ns - pause->from_ns) / NS_PER_MS, (double)pause->from_ns / 1e9,
                (double)pause->to_ns / 1e9, pause->open ? " (still going on at the end)" : "");
    }
    if (summary->pause_count > PAUSES_SHOWN_MAX)
        fprintf(out, "    and %zu more\n", summary->pause_count - PAUSES_SHOWN_MAX);
}

static void print_site(const struct observe_site *site, const struct observe_summary *summary,
                       FILE *out)
{
    const uint64_t *counts = summary->counts;
    fprintf(out,
            "site %s: %" PRIu64 " canaries intended, %" PRIu64 " acknowledged, %" PRIu64
            " repeated\n",
            site->name, summary->intended, counts[OBSERVE_ACKNOWLEDGED], summary->repeated);
    fprintf(out,
            "  longest pause %.1f ms, from %.3f s%s; longest gap between acknowledged sends "
            "%.1f ms\n",
            (double)(summary->pause.to_ns - summary->pause.from_ns) / NS_PER_MS,
            (double)summary->pause.from_ns / 1e9,
            summary->pause.open ? ", STILL GOING ON at the end" : "",
            (double)summary->gap_ns / NS_PER_MS);
    print_pauses(summary, out);
    fprintf(out, "  latency from the intended time: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
            (double)summary->latency.p50_ns / NS_PER_MS,
            (double)summary->latency.p99_ns / NS_PER_MS,
            (double)summary->latency.max_ns / NS_PER_MS);
    fprintf(out,
            "  in doubt %" PRIu64 ": found posted %" PRIu64 ", found refused %" PRIu64
            ", found never %" PRIu64 ", still unknown %" PRIu64 "\n",
            summary->in_doubt, counts[OBSERVE_FOUND_POSTED], counts[OBSERVE_FOUND_REFUSED],
            counts[OBSERVE_FOUND_NEVER], counts[OBSERVE_UNKNOWN]);
    fprintf(out,
            "  failed %" PRIu64 ": refused %" PRIu64 ", not executed by the deadline %" PRIu64
            "; NOT SENT, too many in flight: %" PRIu64 "\n",
            counts[OBSERVE_REFUSED] + counts[OBSERVE_NOT_EXECUTED], counts[OBSERVE_REFUSED],
            counts[OBSERVE_NOT_EXECUTED], counts[OBSERVE_NOT_SENT]);
    if (site->words[0] != '\0')
        fprintf(out, "  the first that failed was told: %s\n", site->words);
}

void observe_text_summary(const struct observe *run, const struct observe_summary *summaries,
                          FILE *out)
{
    fprintf(out, "observed %.1f s, one canary every %.1f ms per site, ledger %u\n",
            (double)run->ended_ns / 1e9, (double)run->every_ns / NS_PER_MS, run->ledger);
    if (run->records_full)
        fprintf(out, "ENDED because the memory for records was full (--records)\n");
    for (size_t i = 0; i < run->site_count; i++)
        print_site(&run->sites[i], &summaries[i], out);
    fprintf(out, "events: %zu", run->event_count);
    if (run->events_lost > 0)
        fprintf(out, ", and %" PRIu64 " that were lost because there were too many",
                run->events_lost);
    fputc('\n', out);
    for (size_t i = 0; i < run->event_count; i++)
        fprintf(out, "  %9.3f s  %-6s  %s\n", (double)run->events[i].at_ns / 1e9,
                observe_event_kind_name(run->events[i].kind), run->events[i].text);
}
