/* See degraded_run.h. Nothing here is replicated: the bounds are a leader's reason to refuse what
 * is not in the log yet, and never change what an entry does. */
#include "replication/node/degraded_run.h"

#include "core/invariant.h"

#define LOOK_NS  ((uint64_t)50000000)
#define NS_PER_S ((uint64_t)1000000000)

static u128 debits(const struct machine *machine, uint32_t place, uint32_t *out_id)
{
    struct ledger_record record;
    bool known = machine_ledger_at(machine, place, &record);
    invariant_values(known, place, machine_ledger_count(machine));
    *out_id = record.id;
    return u128_make(record.debits_posted_low, record.debits_posted_high) +
           u128_make(record.debits_pending_low, record.debits_pending_high);
}

static void begin(struct degraded_run *degraded, const struct machine *machine, uint64_t stamp)
{
    degraded->run = (struct durability_run){.degraded = true};
    degraded->stamp = stamp;
    degraded->began_ns = 0;
    degraded->ledger_count = machine_ledger_count(machine);
    invariant_values(degraded->ledger_count <= LEDGERS_MAX, degraded->ledger_count, LEDGERS_MAX);
    for (uint32_t i = 0; i < degraded->ledger_count; i++) {
        uint32_t id;
        const u128 total = debits(machine, i, &id);
        degraded->begin[i] =
            (struct degraded_total){.low = u128_low(total), .high = u128_high(total)};
    }
}

void degraded_run_note(struct degraded_run *degraded, const struct journal_entry *entry,
                       const struct machine *machine)
{
    struct durability_entry noted;
    if (durability_entry_decode(entry->payload, entry->size, &noted) != STATUS_OK)
        return; /* as the guard takes it: see durability_log.c; the next look finds the mode */
    if (noted.mode == DURABILITY_SYNC)
        degraded->run = (struct durability_run){0};
    else if (!degraded->run.degraded)
        begin(degraded, machine, noted.stamp);
}

/* It may be replayed long after it happened. */
static uint64_t find_begin(uint64_t stamp, uint64_t now_ns, uint64_t wall_ns)
{
    const uint64_t age = wall_ns > stamp ? wall_ns - stamp : 0;
    return age < now_ns ? now_ns - age : 1;
}

/* The ledger that grew most. */
static void measure(struct degraded_run *degraded, const struct machine *machine)
{
    const uint32_t count = machine_ledger_count(machine);
    u128 most = 0;
    for (uint32_t i = 0; i < count && i < LEDGERS_MAX; i++) {
        uint32_t id;
        const u128 total = debits(machine, i, &id);
        const u128 before = i < degraded->ledger_count
                                ? u128_make(degraded->begin[i].low, degraded->begin[i].high)
                                : 0;
        const u128 grown = total > before ? total - before : 0; /* pending may be voided */
        if (grown <= most)
            continue;
        most = grown;
        degraded->run.ledger = id;
    }
    degraded->run.value_low = u128_low(most);
    degraded->run.value_high = u128_high(most);
}

static void tell(struct degraded_run *degraded, const struct notify *notify)
{
    if (degraded->bound == degraded->told)
        return;
    degraded->told = degraded->bound;
    if (degraded->bound != DURABILITY_WITHIN)
        notify_event(notify,
                     degraded->bound == DURABILITY_BOUND_REFUSES ? "degraded_refuses"
                                                                 : "degraded_bound",
                     degraded->why, degraded->run.seconds, degraded->run.ledger);
}

void degraded_run_process(struct degraded_run *degraded, const struct consensus *consensus,
                          const struct machine *machine, const struct notify *notify,
                          uint64_t now_ns, uint64_t wall_ns)
{
    if (degraded->judged_ns != 0 && now_ns - degraded->judged_ns < LOOK_NS)
        return;
    degraded->judged_ns = now_ns;
    struct consensus_durability view;
    consensus_durability(consensus, &view);
    const bool is_degraded = view.in_force && view.committed.mode == DURABILITY_DEGRADED;
    if (is_degraded && !degraded->run.degraded)
        begin(degraded, machine, view.committed.stamp); /* of before our start */
    else if (!is_degraded)
        degraded->run = (struct durability_run){0};
    if (degraded->run.degraded) {
        if (degraded->began_ns == 0)
            degraded->began_ns = find_begin(degraded->stamp, now_ns, wall_ns);
        degraded->run.seconds = (now_ns - degraded->began_ns) / NS_PER_S;
        measure(degraded, machine);
    }
    degraded->bound = durability_judge_run(&view.committed.policy, &degraded->run, degraded->why);
    tell(degraded, notify);
}
