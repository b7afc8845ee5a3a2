/*
 * See the header. Why it is as it is:
 *
 * The member needs what the leader admits, and the share of processors, disk and network that is
 * left. Without a limit a closed loop of clients takes whatever there is, and a member that is as
 * fast as its leader stays as far behind as it is. A few percent less at the leader count twice:
 * fewer entries to be caught up with, and room to do it.
 *
 * It is measured in bytes of entries, since a member's work is. `usual` is smoothed over about ten
 * seconds in which everybody took part. While a member is away more may go through, where members
 * share what they work with; if that counted, a limit would hold nothing back when the member is
 * there again. When less goes through meanwhile that counts (`lately`): a day's load is no measure
 * for the night. When the limit begins, the rate at that moment counts if it is greater: the load
 * may have grown since. So the floor is a share of something that really went through, and a load
 * that is smaller than it is not touched.
 *
 * Whether the gap closes is judged over three seconds, since entries come and are taken in bursts.
 * Only a stage in which entries are read counts: while a store is copied the gap cannot shrink,
 * however little is admitted.
 *
 * The speed of reading goes down by a third when clients are held up and up by little when they are
 * not, as senders on a network do that do not know what they share. Held up: less goes through than
 * before, although there is something in flight nearly all of the time. (A load that just got
 * smaller leaves gaps.) While less is admitted it is measured by that. A leader that has never seen
 * a whole cluster, since its predecessor is the one that is away, goes by what it has seen.
 *
 * The budget is a bucket that holds a tenth of a second: what is not used is not saved up.
 */
#include "replication/catch_up/pacing.h"

#define NS_PER_S 1000000000ull
/* Weight of the last second in `usual`: one part in so many. */
#define USUAL_SMOOTHING 8
/* Nearer: by one part in so many of the gap. */
#define NEARER_PART 50
#define BUCKET_PART 10
#define READ_STEP   (8ull << 20)
/* Nobody was brought up to date for so long: what goes through is the usual again. */
#define PACING_OVER_S 60

static uint64_t share(uint64_t value, uint64_t percent)
{
    return value / 100 * percent + value % 100 * percent / 100;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool pacing_is_due(const struct pacing *pacing, uint64_t now_ns)
{
    return !pacing->begun || now_ns - pacing->looked_ns >= NS_PER_S;
}

uint64_t pacing_floor(const struct pacing *pacing)
{
    return greater(share(pacing->reference, PACING_FLOOR_PERCENT), PACING_FLOOR_BYTES);
}

void pacing_forget(struct pacing *pacing)
{
    *pacing = (struct pacing){0};
}

/* What goes through when nobody is brought up to date; 0: never seen. */
static uint64_t before(const struct pacing *pacing)
{
    const bool whole_is_less = pacing->usual > 0 && pacing->usual < pacing->lately;
    return whole_is_less ? pacing->usual : pacing->lately;
}

/* ---- the speed of reading ---- */

void pacing_note(struct pacing *pacing, uint64_t now_ns, bool in_flight)
{
    if (pacing->busy)
        pacing->busy_ns += now_ns - pacing->noted_ns;
    pacing->noted_ns = now_ns;
    pacing->busy = in_flight;
}

uint64_t pacing_read_rate(const struct pacing *pacing)
{
    return pacing->read_rate == 0 ? PACING_READ_MAX : pacing->read_rate;
}

/* Of the second that ended at this look, which took `ns`. */
static void steer_reading(struct pacing *pacing, bool feeds, uint64_t rate, uint64_t ns)
{
    const bool busy = pacing->busy_ns >= share(ns, PACING_BUSY_PERCENT);
    uint64_t expected = before(pacing);
    if (pacing->limited && pacing->limit < expected)
        expected = pacing->limit;
    uint64_t least = PACING_READ_MIN;
    if (feeds)
        least = greater(least, share(rate, PACING_READ_MIN_PERCENT));
    uint64_t read_rate = pacing_read_rate(pacing);
    if (busy && rate < share(expected, PACING_HARM_PERCENT))
        read_rate -= read_rate / 3;
    else
        read_rate += READ_STEP;
    read_rate = greater(read_rate, least);
    pacing->read_rate = read_rate < PACING_READ_MAX ? read_rate : PACING_READ_MAX;
}

/* ---- once a second ---- */

/* Bytes per second since the last look. */
static uint64_t take_rate(struct pacing *pacing, const struct pacing_input *input)
{
    const uint64_t ns = input->now_ns - pacing->looked_ns;
    const uint64_t bytes = input->proposed_bytes - pacing->proposed_bytes;
    pacing->looked_ns = input->now_ns;
    pacing->proposed_bytes = input->proposed_bytes;
    /* In milliseconds: 64 bits are enough for 10 GB within a minute's pause. */
    const uint64_t ms = ns / 1000000;
    return ms == 0 ? 0 : bytes * 1000 / ms;
}

static void note_gap(struct pacing *pacing, const struct pacing_input *input)
{
    const uint64_t gap = input->gap_bytes;
    for (uint32_t i = PACING_GAPS - 1; i > 0; i--)
        pacing->gaps[i] = pacing->gaps[i - 1];
    pacing->gaps[0] = gap;
    if (pacing->gap_count == 0 || gap < pacing->best_gap - pacing->best_gap / NEARER_PART) {
        pacing->best_gap = gap;
        pacing->best_ns = input->now_ns;
    }
    if (pacing->gap_count < PACING_GAPS)
        pacing->gap_count++;
}

static bool closes(const struct pacing *pacing)
{
    const uint64_t now = pacing->gaps[0], before = pacing->gaps[PACING_GAPS - 1];
    if (pacing->gap_count < PACING_GAPS || now <= PACING_CLOSED_BYTES)
        return true; /* or not known yet */
    return before > now && (before - now) * PACING_HORIZON_S / (PACING_GAPS - 1) >= now;
}

static enum pacing_news end(struct pacing *pacing, enum pacing_news news)
{
    pacing->limited = false;
    pacing->budget = pacing->debt = 0;
    return news;
}

/* Within the time that it is given. */
static bool gets_nearer(const struct pacing *pacing, uint64_t now_ns)
{
    return now_ns - pacing->best_ns < PACING_GIVE_UP_S * NS_PER_S;
}

static enum pacing_news give_up(struct pacing *pacing)
{
    pacing->gave_up = true;
    return end(pacing, PACING_GAVE_UP);
}

static enum pacing_news begin(struct pacing *pacing, uint64_t now_ns, uint64_t rate)
{
    pacing->reference = greater(before(pacing), rate);
    const uint64_t floor = pacing_floor(pacing);
    if (rate <= floor) /* less goes through already: a limit would hold nothing back */
        return gets_nearer(pacing, now_ns) ? PACING_NOTHING : give_up(pacing);
    pacing->limited = true;
    pacing->limit = greater(rate - share(pacing->reference, PACING_STEP_PERCENT), floor);
    pacing->budget = pacing->debt = 0;
    pacing->budget_ns = pacing->best_ns = now_ns;
    pacing->best_gap = pacing->gaps[0];
    return PACING_BEGAN;
}

static enum pacing_news less(struct pacing *pacing, uint64_t now_ns)
{
    const uint64_t floor = pacing_floor(pacing);
    const uint64_t step = share(pacing->reference, PACING_STEP_PERCENT);
    if (pacing->limit > floor + step) {
        pacing->limit -= step;
        pacing->best_ns = now_ns; /* the time at the floor counts, and what is done in it */
        pacing->best_gap = pacing->gaps[0];
        return PACING_NOTHING;
    }
    pacing->limit = floor;
    return gets_nearer(pacing, now_ns) ? PACING_NOTHING : give_up(pacing);
}

static enum pacing_news more(struct pacing *pacing)
{
    pacing->limit += greater(share(pacing->reference, PACING_STEP_PERCENT), 1);
    return pacing->limit >= pacing->reference ? end(pacing, PACING_ENDED) : PACING_NOTHING;
}

static void smooth(uint64_t *value, uint64_t rate)
{
    *value = *value + rate / USUAL_SMOOTHING - *value / USUAL_SMOOTHING;
}

enum pacing_news pacing_look(struct pacing *pacing, const struct pacing_input *input)
{
    if (!pacing->begun) {
        pacing->begun = true;
        pacing->looked_ns = pacing->noted_ns = input->now_ns;
        pacing->proposed_bytes = input->proposed_bytes;
        pacing->busy_ns = 0;
        return PACING_NOTHING;
    }
    const uint64_t ns = input->now_ns - pacing->looked_ns;
    const uint64_t rate = take_rate(pacing, input);
    pacing_note(pacing, input->now_ns, pacing->busy);
    if (input->serves)
        steer_reading(pacing, input->feeds, rate, ns);
    else
        pacing->read_rate = PACING_READ_MAX;
    pacing->busy_ns = 0;
    if (!input->feeds)
        pacing->gap_count = 0;
    if (input->serves)
        pacing->served_ns = input->now_ns;
    /* A cut, or a change over to a new store, is no end. */
    const bool over = input->now_ns - pacing->served_ns >= PACING_OVER_S * NS_PER_S;
    if (over || pacing->served_ns == 0) {
        pacing->gave_up = false;
        if (!pacing->limited)
            smooth(&pacing->lately, rate);
        if (!pacing->limited && input->whole)
            smooth(&pacing->usual, rate);
    }
    if (!input->feeds)
        return pacing->limited ? more(pacing) : PACING_NOTHING;
    note_gap(pacing, input);
    if (closes(pacing) || pacing->gave_up)
        return PACING_NOTHING;
    return pacing->limited ? less(pacing, input->now_ns) : begin(pacing, input->now_ns, rate);
}

/* ---- the budget ---- */

uint64_t pacing_budget(struct pacing *pacing, uint64_t now_ns)
{
    if (!pacing->limited)
        return UINT64_MAX;
    const uint64_t most = pacing->limit / BUCKET_PART + 1;
    uint64_t ns = now_ns - pacing->budget_ns;
    pacing->budget_ns = now_ns;
    if (ns > NS_PER_S)
        ns = NS_PER_S;
    /* In microseconds, so that it fits; the rest of the division is a microsecond's worth. */
    const uint64_t us = ns / 1000;
    pacing->budget_ns -= ns % 1000;
    uint64_t earned = pacing->limit * us / 1000000;
    const uint64_t paid = earned < pacing->debt ? earned : pacing->debt;
    pacing->debt -= paid;
    pacing->budget += earned - paid;
    if (pacing->budget > most)
        pacing->budget = most;
    return pacing->budget;
}

void pacing_spend(struct pacing *pacing, uint64_t bytes)
{
    if (!pacing->limited)
        return;
    const uint64_t paid = bytes < pacing->budget ? bytes : pacing->budget;
    pacing->budget -= paid;
    pacing->debt += bytes - paid;
}
