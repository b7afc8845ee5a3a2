/* How long clients waited, by the slice in which it ended. Times are in ms from an odd beginning.
 */
#include "replication/node/pauses.h"

#include <criterion/criterion.h>

TestSuite(pauses, .timeout = 10);

#define MS    UINT64_C(1000000)
#define BEGIN (UINT64_C(86400017) * MS)

static struct pauses pauses;

static void answered(uint64_t accepted_ms, uint64_t at_ms)
{
    pauses_note(&pauses, BEGIN + accepted_ms * MS, BEGIN + at_ms * MS, STATUS_OK);
}

static struct pause since(uint64_t now_ms, uint64_t window_ms)
{
    struct pause pause;
    pauses_since(&pauses, BEGIN + now_ms * MS, window_ms * MS, &pause);
    return pause;
}

/* Answers every 10 ms, then one that waited 73 ms with nothing before it, then every 10 ms again.
 */
Test(pauses, the_longest_wait_and_gap_of_a_window_are_found_and_nothing_older)
{
    pauses = (struct pauses){0};
    for (uint64_t at = 0; at <= 1000; at += 10)
        answered(at - (at > 2 ? 2 : 0), at);
    answered(1010, 1083);
    for (uint64_t at = 1090; at <= 2000; at += 10)
        answered(at - 1, at);
    struct pause all = since(2000, 2000);
    cr_assert_eq(all.longest_wait_ns, 73 * MS);
    cr_assert_eq(all.longest_gap_ns, 83 * MS);
    cr_assert_eq(all.answered, 101 + 1 + 92);
    cr_assert_eq(all.refused + all.unknown, 0);
    struct pause late = since(2000, 500);
    cr_assert_eq(late.longest_wait_ns, 1 * MS);
    cr_assert_eq(late.longest_gap_ns, 10 * MS);
}

/* A refusal and an unknown outcome are counted, and end no gap: nobody was answered by them. */
Test(pauses, refusals_are_counted_and_are_no_answers)
{
    pauses = (struct pauses){0};
    answered(0, 1);
    pauses_note(&pauses, BEGIN, BEGIN + 50 * MS, STATUS_BUSY);
    pauses_note(&pauses, BEGIN, BEGIN + 60 * MS, STATUS_UNKNOWN_OUTCOME);
    answered(90, 101);
    struct pause pause = since(110, 200);
    cr_assert_eq(pause.answered, 2);
    cr_assert_eq(pause.refused, 1);
    cr_assert_eq(pause.unknown, 1);
    cr_assert_eq(pause.longest_gap_ns, 100 * MS);
    cr_assert_eq(pause.longest_wait_ns, 11 * MS);
}

/* The ring comes round: what is older than it keeps is gone, also when nothing was noted between.
 */
Test(pauses, a_slice_that_comes_round_again_begins_anew)
{
    pauses = (struct pauses){0};
    const uint64_t round = PAUSE_SLICE_MS * PAUSE_SLICE_COUNT;
    answered(0, 90);
    cr_assert_eq(since(90, 1000).longest_wait_ns, 90 * MS);
    answered(round + 85, round + 90);
    struct pause pause = since(round + 90, 2 * round);
    cr_assert_eq(pause.answered, 1, "%lu", (unsigned long)pause.answered);
    cr_assert_eq(pause.longest_wait_ns, 5 * MS);
    cr_assert_eq(pause.longest_gap_ns, round * MS, "a gap counts where it ended");
}

Test(pauses, nothing_noted_is_all_zero)
{
    pauses = (struct pauses){0};
    struct pause pause = since(5, 1000);
    cr_assert_eq(pause.answered + pause.refused + pause.unknown + pause.longest_gap_ns +
                     pause.longest_wait_ns,
                 0);
}
