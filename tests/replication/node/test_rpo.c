/* What a site lacks, measured: against a plain sum over all entries, through thinning, forgetting
 * and restarts; unknown where it is unknown. */
#include "replication/node/rpo.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(rpo, .timeout = 60);

#define NS_PER_MS  1000000ull
#define WALL       1800000000000000000ull
#define ENTRIES    10000
#define EVENTS_MAX 4

static struct rpo rpo;
static struct {
    uint64_t bytes, ns;
    uint32_t ledger[EVENTS_MAX];
    uint64_t amount[EVENTS_MAX];
    uint32_t count;
} truth[ENTRIES + 1];

static struct rpo_time at(uint64_t ms)
{
    return (struct rpo_time){.monotonic_ns = ms * NS_PER_MS, .wall_ns = WALL + ms * NS_PER_MS};
}

struct request {
    struct request_header header;
    struct transfer_event events[EVENTS_MAX];
};

static void answer(const struct request *request, const uint8_t *results, bool repeated)
{
    const struct answer given = {.outcome = OUTCOME_EXECUTED,
                                 .operation = OPERATION_CREATE_TRANSFERS,
                                 .repeated = repeated,
                                 .event_count = request->header.event_count,
                                 .results = results};
    rpo_answer(&rpo, &request->header, &given);
}

/* Entry `index` with `count` transfers of (index % 7 + 1) in ledger (index % ledgers + 1). */
static void apply(uint64_t index, uint32_t count, uint32_t ledgers)
{
    struct request request = {.header = {.event_count = count}};
    uint8_t results[EVENTS_MAX] = {0};
    for (uint32_t i = 0; i < count; i++) {
        truth[index].ledger[i] = request.events[i].ledger = (uint32_t)(index % ledgers) + 1;
        truth[index].amount[i] = request.events[i].amount_low = index % 7 + 1;
    }
    truth[index].count = count;
    truth[index].bytes = 100 + index % 13;
    truth[index].ns = index * NS_PER_MS;
    answer(&request, results, false);
    rpo_applied(&rpo, index, truth[index].bytes, index * NS_PER_MS, WALL + index * NS_PER_MS);
}

static uint64_t sum_above(uint64_t verified, uint64_t last, uint32_t ledger)
{
    uint64_t sum = 0;
    for (uint64_t index = verified + 1; index <= last; index++)
        for (uint32_t i = 0; i < truth[index].count; i++)
            if (ledger == 0 || truth[index].ledger[i] == ledger)
                sum += ledger == 0 ? 0 : truth[index].amount[i];
    return sum;
}

static uint64_t bytes_above(uint64_t verified, uint64_t last)
{
    uint64_t sum = 0;
    for (uint64_t index = verified + 1; index <= last; index++)
        sum += truth[index].bytes;
    return sum;
}

static uint64_t amount_of(const struct rpo_site *site, uint32_t ledger)
{
    for (uint32_t i = 0; i < site->ledger_count; i++)
        if (site->ledgers[i].ledger == ledger)
            return site->ledgers[i].amount_low;
    return 0;
}

static void begin(void)
{
    cr_assert_eq(rpo_init(&rpo), STATUS_OK);
    rpo_begin(&rpo, 0);
}

/* Few entries: every figure is exact, at every place. */
Test(rpo, is_what_a_plain_sum_gives)
{
    begin();
    for (uint64_t index = 1; index <= 200; index++)
        apply(index, (uint32_t)(index % (EVENTS_MAX + 1)), 3);
    const struct rpo_time now = at(500);
    for (uint64_t verified = 1; verified < 200; verified++) {
        struct rpo_site site;
        rpo_measure(&rpo, verified, &now, &site);
        cr_assert_eq(site.flags, RPO_KNOWN | RPO_AMOUNTS | RPO_EXACT);
        cr_assert_eq(site.entries, 200 - verified);
        cr_assert_eq(site.bytes, bytes_above(verified, 200));
        cr_assert_eq(site.ns, (500 - verified - 1) * NS_PER_MS);
        for (uint32_t ledger = 1; ledger <= 3; ledger++)
            cr_assert_eq(amount_of(&site, ledger), sum_above(verified, 200, ledger));
    }
    rpo_deinit(&rpo);
}

/* Everything is there: 0 because it was measured. Nothing is known of the site: not 0. */
Test(rpo, zero_is_measured_and_unknown_is_not_zero)
{
    struct rpo_site site;
    begin();
    apply(1, 1, 1);
    const struct rpo_time now = at(10);
    rpo_measure(&rpo, 1, &now, &site);
    cr_assert_eq(site.flags, RPO_KNOWN | RPO_AMOUNTS | RPO_EXACT);
    cr_assert_eq(site.entries + site.bytes + site.ns + site.ledger_count, 0);
    rpo_measure(&rpo, 0, &now, &site);
    cr_assert_eq(site.flags, 0);
    rpo_deinit(&rpo);
}

/* Ten thousand entries that a lost site lacks: memory is bounded, the figures are never too low,
 * and not far too high. */
Test(rpo, with_bounded_memory_figures_are_upper_bounds)
{
    begin();
    for (uint64_t index = 1; index <= ENTRIES; index++)
        apply(index, EVENTS_MAX, 2);
    cr_assert_leq(rpo.mark_count, RPO_MARKS);
    const struct rpo_time now = at(ENTRIES + 100);
    for (uint64_t verified = 1; verified < ENTRIES; verified += 37) {
        struct rpo_site site;
        rpo_measure(&rpo, verified, &now, &site);
        const uint64_t bytes = bytes_above(verified, ENTRIES);
        cr_assert_eq(site.entries, ENTRIES - verified);
        cr_assert(site.flags & RPO_AMOUNTS);
        cr_assert_geq(site.bytes, bytes);
        cr_assert_leq(site.bytes, bytes + 64 * 113);
        cr_assert_geq(site.ns, (ENTRIES + 100 - verified - 1) * NS_PER_MS);
        for (uint32_t ledger = 1; ledger <= 2; ledger++)
            cr_assert_geq(amount_of(&site, ledger), sum_above(verified, ENTRIES, ledger));
        if (site.flags & RPO_EXACT)
            cr_assert_eq(site.bytes, bytes);
    }
    rpo_deinit(&rpo);
}

/* What all sites have is forgotten; at and above it nothing changes, below it amounts are unknown,
 * the number of entries is not. The same for what was applied before the count began. */
Test(rpo, below_what_was_forgotten_only_entries_are_known)
{
    struct rpo_site before, after;
    begin();
    rpo_begin(&rpo, 50);
    for (uint64_t index = 51; index <= 300; index++)
        apply(index, 1, 1);
    const struct rpo_time now = at(400);
    rpo_measure(&rpo, 250, &now, &before);
    rpo_forget(&rpo, 249);
    rpo_measure(&rpo, 250, &now, &after);
    cr_assert_arr_eq(&before, &after, sizeof before);
    rpo_measure(&rpo, 249, &now, &after);
    cr_assert_eq(after.bytes, bytes_above(249, 300));
    rpo_measure(&rpo, 248, &now, &after);
    cr_assert_eq(after.flags, RPO_KNOWN);
    cr_assert_eq(after.entries, 52);
    rpo_begin(&rpo, 300);
    rpo_measure(&rpo, 299, &now, &after);
    cr_assert_eq(after.flags, RPO_KNOWN);
    rpo_deinit(&rpo);
}

/* Only what took effect, once: refused events and repeats move no money. A sum beyond 64 bits. */
Test(rpo, counts_what_took_effect_once)
{
    struct request request = {.header = {.event_count = 3}};
    uint8_t results[EVENTS_MAX] = {RESULT_OK, RESULT_AMOUNT_ZERO, RESULT_OK};
    struct rpo_site site;
    begin();
    for (int i = 0; i < 3; i++) {
        request.events[i].ledger = 9;
        request.events[i].amount_low = UINT64_MAX;
    }
    answer(&request, results, false);
    answer(&request, results, true);
    rpo_applied(&rpo, 1, 10, 0, WALL);
    rpo_applied(&rpo, 2, 10, 0, WALL);
    const struct rpo_time now = at(0);
    rpo.base.index = 0;
    rpo_measure(&rpo, 1, &now, &site);
    cr_assert_eq(site.ledger_count, 0);
    rpo_begin(&rpo, 2);
    rpo_applied(&rpo, 3, 1, 0, WALL);
    answer(&request, results, false);
    rpo_applied(&rpo, 4, 1, 0, WALL);
    rpo_measure(&rpo, 3, &now, &site);
    cr_assert_eq(site.ledger_count, 1);
    cr_assert_eq(site.ledgers[0].amount_high, 1);
    cr_assert_eq(site.ledgers[0].amount_low, UINT64_MAX - 1);
    rpo_deinit(&rpo);
}

/* Sixteen ledgers by name; of the others the transfers are counted. */
Test(rpo, ledgers_beyond_the_bound_are_counted_only)
{
    struct rpo_site site;
    begin();
    apply(1, 1, 1);
    for (uint64_t index = 2; index <= 41; index++)
        apply(index, 1, 40);
    const struct rpo_time now = at(100);
    rpo_measure(&rpo, 1, &now, &site);
    cr_assert_eq(site.ledger_count, RPO_LEDGERS);
    cr_assert_eq(site.other_transfers, 40 - RPO_LEDGERS);
    rpo_deinit(&rpo);
}

/* The process stood still over a restart, or the wall clock was set back: the age is the older of
 * what the two clocks say. */
Test(rpo, age_is_the_older_of_two_clocks)
{
    struct rpo_site site;
    begin();
    rpo_applied(&rpo, 1, 1, 1000 * NS_PER_MS, WALL);
    rpo_applied(&rpo, 2, 1, 1000 * NS_PER_MS, WALL);
    const struct rpo_time restarted = {.monotonic_ns = 1001 * NS_PER_MS,
                                       .wall_ns = WALL + 60000 * NS_PER_MS};
    rpo_measure(&rpo, 1, &restarted, &site);
    cr_assert_eq(site.ns, 60000 * NS_PER_MS);
    const struct rpo_time set_back = {.monotonic_ns = 4000 * NS_PER_MS, .wall_ns = 1};
    rpo_measure(&rpo, 1, &set_back, &site);
    cr_assert_eq(site.ns, 3000 * NS_PER_MS);
    rpo_deinit(&rpo);
}

/* A follower takes the leader's report of its own term, whole, and nothing else. */
Test(rpo, a_report_is_taken_whole_or_not)
{
    struct rpo_report report = {.message = {.type = MESSAGE_RPO, .size = sizeof report},
                                .term = 5,
                                .index = 10,
                                .site_count = 1,
                                .sites = {{.site = "A", .flags = RPO_KNOWN, .entries = 3}}};
    begin();
    cr_assert(rpo_receive(&rpo, &report, sizeof report, 4, 1));
    cr_assert_eq(rpo.told_ns, 0);
    cr_assert_not(rpo_receive(&rpo, &report, sizeof report - 8, 5, 1));
    report.sites[0].site[20] = 'x';
    cr_assert_not(rpo_receive(&rpo, &report, sizeof report, 5, 1));
    report.sites[0].site[20] = 0;
    report.sites[0].ledger_count = RPO_LEDGERS + 1;
    cr_assert_not(rpo_receive(&rpo, &report, sizeof report, 5, 1));
    report.sites[0].ledger_count = 0;
    report.site_count = RPO_SITES + 1;
    cr_assert_not(rpo_receive(&rpo, &report, sizeof report, 5, 1));
    report.site_count = 1;
    report.sites[0].site[0] = '"';
    cr_assert_not(rpo_receive(&rpo, &report, sizeof report, 5, 1));
    report.sites[0].site[0] = 'A';
    cr_assert(rpo_receive(&rpo, &report, sizeof report, 5, 7));
    cr_assert_eq(rpo.told_ns, 7);
    rpo_deinit(&rpo);
}
