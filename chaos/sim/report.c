/* Sums over seeds, and the words that they are told in. One line each for what a reader wants to
 * compare between two searches; names stay as they are, since scripts read them. */
#include "chaos/sim/report.h"

#include "commit.h"

#include <inttypes.h>
#include <stdio.h>

void report_add(struct report *report, const struct sim_result *r)
{
    struct sim_result *sum = &report->sum;
    report->seeds++;
    sum->virtual_ns += r->virtual_ns;
    sum->events += r->events;
    sum->turns += r->turns;
    sum->messages += r->messages;
    sum->commits += r->commits;
    sum->elections += r->elections;
    sum->requests += r->requests;
    sum->answers += r->answers;
    sum->repeats += r->repeats;
    sum->reads += r->reads;
    sum->lookups += r->lookups;
    sum->unknown += r->unknown;
    sum->transfers += r->transfers;
    sum->starts += r->starts;
    sum->kills += r->kills;
    sum->power_losses += r->power_losses;
    sum->fail_stops += r->fail_stops;
    if (r->pause_ns > report->pause_ns[r->leader_lost])
        report->pause_ns[r->leader_lost] = r->pause_ns;
    sum->steps += r->steps;
    sum->one_sided += r->one_sided;
    sum->certificates += r->certificates;
    for (int i = 0; i < 3; i++)
        sum->verdicts[i] += r->verdicts[i];
    sum->losses += r->losses;
    sum->late_messages += r->late_messages;
    sum->failed_calls += r->failed_calls;
    sum->burst += r->burst;
    sum->abandoned += r->abandoned;
    sum->settled += r->settled;
    sum->too_old += r->too_old;
    sum->library_calls += r->library_calls;
    sum->library_unknown += r->library_unknown;
    sum->library_refused += r->library_refused;
    sum->moves += r->moves;
    sum->moves_refused += r->moves_refused;
    sum->damages_found += r->damages_found;
    sum->damages_unnoticed += r->damages_unnoticed;
    sum->damages_left_out += r->damages_left_out;
    sum->put_back += r->put_back;
    sum->put_back_noticed += r->put_back_noticed;
    sum->degrades += r->degrades;
    sum->returns += r->returns;
    sum->policies += r->policies;
    sum->nights += r->nights;
    sum->commits_judged += r->commits_judged;
    sum->commits_waited += r->commits_waited;
    if (r->commit_longest_ns > sum->commit_longest_ns)
        sum->commit_longest_ns = r->commit_longest_ns;
    if (r->longest_ns > sum->longest_ns)
        sum->longest_ns = r->longest_ns;
    if (r->settle_ns > sum->settle_ns)
        sum->settle_ns = r->settle_ns;
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        sum->faults[kind] += r->faults[kind];
}

void report_print(const struct report *report, const char *topology, uint32_t jobs, double seconds)
{
    const struct sim_result *sum = &report->sum;
    printf("%s: %" PRIu64 " seeds, %.2f virtual hours in %.1f s (%.0f virtual s per s and job), "
           "%" PRIu64 " failed, commit %s\n",
           topology, report->seeds, (double)sum->virtual_ns / 3.6e12, seconds,
           (double)sum->virtual_ns / 1e9 / seconds / jobs, report->failed, SIM_COMMIT);
    printf("  %" PRIu64 " commits, %" PRIu64 " elections, %" PRIu64 " starts (%" PRIu64
           " kills, %" PRIu64 " power losses, %" PRIu64 " fail-stops)\n",
           sum->commits, sum->elections, sum->starts, sum->kills, sum->power_losses,
           sum->fail_stops);
    printf("  %" PRIu64 " requests, %" PRIu64 " transfers, %" PRIu64 " answers (%" PRIu64
           " repeated), %" PRIu64 " unknown outcomes, %" PRIu64 " reads, %" PRIu64
           " look-ups, slowest operation %.1f s, longest until settled %.1f s\n",
           sum->requests, sum->transfers, sum->answers, sum->repeats, sum->unknown, sum->reads,
           sum->lookups, (double)sum->longest_ns / 1e9, (double)sum->settle_ns / 1e9);
    printf("  %" PRIu64 " commit steps judged by sites, %" PRIu64 " of them one-sided; %" PRIu64
           " degrade, %" PRIu64 " return, %" PRIu64 " policy entries; %" PRIu64 " certificates\n",
           sum->steps, sum->one_sided, sum->degrades, sum->returns, sum->policies,
           sum->certificates);
    printf("  %" PRIu64 " commits held against what the leader knew, %" PRIu64
           " came later, the latest %.3f ms; %" PRIu64 " nights\n",
           sum->commits_judged, sum->commits_waited, (double)sum->commit_longest_ns / 1e6,
           sum->nights);
    printf("  last exam of each: longest until a write is acknowledged after the loss of a place "
           "%.2f s, of the leader's %.2f s\n",
           (double)report->pause_ns[0] / 1e9, (double)report->pause_ns[1] / 1e9);
    printf("  aftermath: %" PRIu64 " times proven that nothing is lost, %" PRIu64
           " bounded by time, %" PRIu64 " unknown; something was lost %" PRIu64 " times\n",
           sum->verdicts[VERDICT_PROVEN_ZERO], sum->verdicts[VERDICT_BOUNDED_BY_TIME],
           sum->verdicts[VERDICT_UNKNOWN], sum->losses);
    printf("  %" PRIu64 " messages of connections given up, %" PRIu64
           " calls of disks failed, %" PRIu64 " requests in bursts, %" PRIu64 " abandoned, %" PRIu64
           " settled later, %" PRIu64 " too old\n",
           sum->late_messages, sum->failed_calls, sum->burst, sum->abandoned, sum->settled,
           sum->too_old);
    printf("  %" PRIu64 " calls of the library, %" PRIu64 " ended unknown, %" PRIu64
           " refused or not sent; %" PRIu64 " site commands, %" PRIu64
           " given up; damaged disks: %" PRIu64 " found, %" PRIu64 " not noticed, %" PRIu64
           " left out; all put back %" PRIu64 " times, noticed inside %" PRIu64 "\n",
           sum->library_calls, sum->library_unknown, sum->library_refused, sum->moves,
           sum->moves_refused, sum->damages_found, sum->damages_unnoticed, sum->damages_left_out,
           sum->put_back, sum->put_back_noticed);
    printf("  %" PRIu64 " events, %" PRIu64 " turns, %" PRIu64 " messages; faults:", sum->events,
           sum->turns, sum->messages);
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if (sum->faults[kind] > 0)
            printf(" %s %" PRIu64, nemesis_name((enum nemesis_kind)kind), sum->faults[kind]);
    printf("\n");
}
