/*
 * The recovery point, live. What a site lacks is the difference of two sums: over everything that
 * was applied here, and over what the site has. So only sums at places of the log are kept, and a
 * site that has everything needs none.
 *
 * Applied, not committed: what was answered was applied before, here or (a repeat) at a follower
 * from what this leader told it was committed, a moment earlier. For a moment after a commit the
 * figures do not count it yet; a loss is judged by the certificate, not by these.
 *
 * The marks are bounded. When there are too many, every second one is dropped, and those that
 * follow stand for twice as many entries; a site that stands between two marks is then taken to
 * stand at the lower one, so its figures are upper bounds, not exact ones, until it has passed the
 * next. The log behind the slowest site is forgotten.
 *
 * What a site has is what one of its data nodes is known to have synced: this node's own synced
 * index, what others acknowledged in this term, and what an earlier leader knew to be everywhere
 * (the watermark; not of a site that was released, for which it does not wait). A leader that was
 * elected a moment ago and heard nothing from a site knows no more than the watermark: then the
 * figures are upper bounds by their nature. Without even that they are unknown, and nowhere 0.
 *
 * Money is the sum of the amounts of transfers that took effect, per ledger: what was moved, not
 * balances. An amount is that of its event; a transfer that took less than it asked for counts
 * whole. Ledgers are told one by one up to a bound; of those beyond it only transfers are counted,
 * because amounts of two currencies have no sum.
 */
#include "replication/node/rpo.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000ull

enum status rpo_init(struct rpo *rpo)
{
    *rpo = (struct rpo){.marks = calloc(RPO_MARKS, sizeof *rpo->marks)};
    return rpo->marks != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void rpo_deinit(struct rpo *rpo)
{
    free(rpo->marks);
    rpo->marks = NULL;
}

void rpo_begin(struct rpo *rpo, uint64_t index)
{
    rpo->base = rpo->now = (struct rpo_mark){.index = index};
    rpo->ledger_count = 0;
    rpo->mark_count = 0;
    rpo->step = 1;
    rpo->in_last = 0;
    rpo->told_ns = 0;
}

/* ---- counting ---- */

static void add_transfer(struct rpo *rpo, const struct transfer_event *event)
{
    uint32_t i = 0;
    while (i < rpo->ledger_count && rpo->ledgers[i] != event->ledger)
        i++;
    if (i == RPO_LEDGERS) {
        rpo->now.other_transfers++;
        return;
    }
    if (i == rpo->ledger_count)
        rpo->ledgers[rpo->ledger_count++] = event->ledger;
    uint64_t *low = &rpo->now.sums[i].low;
    *low += event->amount_low;
    rpo->now.sums[i].high += event->amount_high + (*low < event->amount_low);
}

void rpo_answer(struct rpo *rpo, const struct request_header *header, const struct answer *answer)
{
    if (answer->operation != OPERATION_CREATE_TRANSFERS || answer->outcome != OUTCOME_EXECUTED ||
        answer->repeated || answer->event_count != header->event_count)
        return;
    const struct transfer_event *events = (const struct transfer_event *)(header + 1);
    for (uint32_t i = 0; i < answer->event_count; i++)
        if (answer->results[i] == RESULT_OK)
            add_transfer(rpo, &events[i]);
}

/* Every second one goes, and those to come stand for twice as many entries. The time of what it
 * stood for goes to the one behind it. */
static void thin(struct rpo *rpo)
{
    uint32_t kept = 0;
    for (uint32_t i = 1; i < rpo->mark_count; i += 2) {
        const struct rpo_mark before = rpo->marks[i - 1];
        rpo->marks[kept] = rpo->marks[i];
        rpo->marks[kept].since_ns = before.since_ns;
        rpo->marks[kept++].since_stamp = before.since_stamp;
    }
    rpo->mark_count = kept;
    rpo->step *= 2;
}

static void add_mark(struct rpo *rpo)
{
    struct rpo_mark *last = rpo->mark_count > 0 ? &rpo->marks[rpo->mark_count - 1] : NULL;
    if (last != NULL && rpo->in_last < rpo->step) {
        const struct rpo_mark before = *last;
        *last = rpo->now;
        last->since_ns = before.since_ns;
        last->since_stamp = before.since_stamp;
        rpo->in_last++;
        return;
    }
    if (rpo->mark_count == RPO_MARKS)
        thin(rpo);
    rpo->marks[rpo->mark_count++] = rpo->now;
    rpo->in_last = 1;
}

void rpo_applied(struct rpo *rpo, uint64_t index, uint64_t bytes, uint64_t now_ns, uint64_t stamp)
{
    invariant_values(index > rpo->now.index, index, rpo->now.index);
    rpo->now.index = index;
    rpo->now.bytes += bytes;
    rpo->now.since_ns = now_ns;
    rpo->now.since_stamp = stamp;
    add_mark(rpo);
}

void rpo_forget(struct rpo *rpo, uint64_t index)
{
    uint32_t below = 0;
    while (below < rpo->mark_count && rpo->marks[below].index <= index)
        below++;
    if (below == 0 || below < rpo->mark_count / 2)
        return; /* moving costs */
    rpo->base = rpo->marks[below - 1];
    memmove(rpo->marks, rpo->marks + below, (rpo->mark_count - below) * sizeof *rpo->marks);
    rpo->mark_count -= below;
    if (rpo->mark_count < RPO_MARKS / 4)
        rpo->step = 1; /* the next ones are exact again */
}

/* ---- measuring ---- */

/* How many marks are at or below `index`. */
static uint32_t count_below(const struct rpo *rpo, uint64_t index)
{
    uint32_t low = 0, high = rpo->mark_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (rpo->marks[middle].index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void subtract(const struct rpo *rpo, const struct rpo_mark *from, struct rpo_site *out)
{
    out->bytes = rpo->now.bytes - from->bytes;
    out->other_transfers = rpo->now.other_transfers - from->other_transfers;
    for (uint32_t i = 0; i < rpo->ledger_count; i++) {
        const struct rpo_ledger ledger = {
            .ledger = rpo->ledgers[i],
            .amount_low = rpo->now.sums[i].low - from->sums[i].low,
            .amount_high = rpo->now.sums[i].high - from->sums[i].high -
                           (rpo->now.sums[i].low < from->sums[i].low),
        };
        if (ledger.amount_low != 0 || ledger.amount_high != 0)
            out->ledgers[out->ledger_count++] = ledger;
    }
}

/* The older of what the two clocks say: one stands still over a restart, the other may be set back.
 */
static uint64_t age(const struct rpo_mark *mark, const struct rpo_time *now)
{
    const uint64_t here =
        now->monotonic_ns > mark->since_ns ? now->monotonic_ns - mark->since_ns : 0;
    const uint64_t told = now->wall_ns > mark->since_stamp && mark->since_stamp != 0
                              ? now->wall_ns - mark->since_stamp
                              : 0;
    return here > told ? here : told;
}

void rpo_measure(const struct rpo *rpo, uint64_t verified, const struct rpo_time *now,
                 struct rpo_site *out)
{
    *out = (struct rpo_site){.flags = 0};
    if (verified >= rpo->now.index) {
        /* Also when nothing was applied yet: nothing is missing then. */
        out->flags = RPO_KNOWN | RPO_AMOUNTS | RPO_EXACT;
        return;
    }
    if (verified == 0)
        return;
    out->flags = RPO_KNOWN;
    out->entries = rpo->now.index - verified;
    if (verified < rpo->base.index)
        return;
    const uint32_t below = count_below(rpo, verified);
    invariant_values(below < rpo->mark_count, below,
                     rpo->mark_count); /* the last is at now.index */
    const struct rpo_mark *from = below > 0 ? &rpo->marks[below - 1] : &rpo->base;
    out->flags |= RPO_AMOUNTS | (from->index == verified ? RPO_EXACT : 0);
    out->ns = age(&rpo->marks[below], now);
    subtract(rpo, from, out);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The watermark says what every site has, but for one that was released: from then on it goes on
 * without that site, and does not come back when an entry takes the word back. */
static bool is_released(const struct consensus_durability *durability, const char *site)
{
    return strcmp(durability->newest.released_site, site) == 0 ||
           strcmp(durability->committed.released_site, site) == 0;
}

void rpo_report(const struct rpo *rpo, const struct consensus *consensus,
                const struct rpo_time *now, struct rpo_report *out)
{
    struct consensus_status status;
    consensus_status(consensus, &status);
    *out = (struct rpo_report){
        .message = {.type = MESSAGE_RPO, .size = sizeof *out},
        .term = status.term,
        .index = rpo->now.index,
    };
    if (!status.leads) {
        if (rpo->told_ns != 0 && rpo->told.term == status.term && status.leader_id != 0 &&
            now->monotonic_ns - rpo->told_ns <= RPO_OLD_MS * NS_PER_MS)
            *out = rpo->told;
        return;
    }
    struct consensus_durability durability;
    consensus_durability(consensus, &durability);
    for (uint32_t i = 0; i < durability.site_count && out->site_count < RPO_SITES; i++) {
        const struct consensus_site *site = &durability.sites[i];
        if (!site->has_data)
            continue;
        uint64_t verified = durability.in_force ? status.both_index : 0;
        if (!is_released(&durability, site->name) || planted(PLANTED_RELEASED_SITE_COUNTS))
            verified = larger(verified, status.watermark_index);
        if (site->known)
            verified = larger(verified, site->verified_index);
        struct rpo_site *into = &out->sites[out->site_count++];
        rpo_measure(rpo, verified, now, into);
        memcpy(into->site, site->name, sizeof site->name);
    }
}

/* ---- on a follower ---- */

static bool site_is_sound(const struct rpo_site *site)
{
    static const char zeros[sizeof site->site];
    const size_t size = strnlen(site->site, sizeof site->site);
    if (size == 0 || size > MEMBER_SITE_SIZE_MAX ||
        memcmp(site->site + size, zeros, sizeof site->site - size) != 0 ||
        site->flags > (RPO_KNOWN | RPO_AMOUNTS | RPO_EXACT) || site->ledger_count > RPO_LEDGERS)
        return false;
    for (size_t i = 0; i < size; i++) {
        const char c = site->site[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              c == '-' || c == '_'))
            return false;
    }
    return true;
}

bool rpo_receive(struct rpo *rpo, const void *bytes, size_t size, uint64_t term, uint64_t now_ns)
{
    struct rpo_report report;
    if (size != sizeof report)
        return false;
    memcpy(&report, bytes, sizeof report);
    if (report.message.size != sizeof report || report.message.reserved_0 != 0 ||
        report.reserved != 0 || report.site_count > RPO_SITES)
        return false;
    for (uint32_t i = 0; i < report.site_count; i++)
        if (!site_is_sound(&report.sites[i]))
            return false;
    if (report.term != term)
        return true; /* late, or early: the next one will do */
    rpo->told = report;
    rpo->told_ns = now_ns;
    return true;
}
