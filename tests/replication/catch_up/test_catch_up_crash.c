/* The disk of a node that is brought up to date stops at every step, from the first file of the
 * copy to the rename that makes it count: what the next start finds is the old pair or the new one.
 * Likewise while entries are taken into the journal in use: what it finds is a part of the history,
 * not shorter than what was there before.
 */
#include "tests/replication/catch_up/catch_up_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(catch_up_crash, .timeout = 600);

#define LAST 500u
/* The leader's last epoch, where a new journal begins. */
#define DURABLE 450u

static struct rig rig;

static struct rig_side *make_leader(struct epoch_maker *maker)
{
    struct rig_side *leader = rig_make(&rig, 0, false);
    rig_open(leader);
    rig_append(leader, LAST);
    for (int i = 0; i < 45; i++)
        rig_epoch(leader, maker, i == 0 ? 8000 : 20);
    cr_assert_eq(journal_prune_prefix(leader->journal, DURABLE), STATUS_OK);
    struct journal_position at;
    journal_position(leader->journal, &at);
    cr_assert_gt(at.anchor_index, 0, "nothing was pruned: the test is pointless");
    leader->facts = (struct catch_up_facts){
        .term = 9, .leads = true, .commit_index = LAST, .log_first_index = LAST - 10};
    return leader;
}

/* Until it is ready, or its disk has failed and it has seen it. */
static void run(struct rig_side *leader, struct rig_side *side)
{
    for (int i = 0; i < 40 && !side->ready && side->failures == 0; i++)
        (void)rig_until_ready(&rig, leader, side, 500);
}

static uint64_t life(struct rig_side *leader, bool witness, uint64_t fail_at, bool dies)
{
    struct rig_side *side = rig_make(&rig, 1, witness);
    rig_open(side);
    const uint64_t before = side->disk.call_count;
    side->disk.dies = dies;
    side->disk.fail_status = STATUS_IO;
    side->disk.fail_at = fail_at;
    run(leader, side);
    cr_assert(side->ready || side->failures > 0);
    /* A loss of power from here on must find all of what is about to count. */
    if (side->ready)
        cr_assert_str_empty(side->disk.closed_unsynced, "closed, and never synced");
    rig_install_and_crash(side);
    const bool struck = fail_at == 0 || side->disk.fail_at == 0;
    const uint64_t calls = side->disk.call_count - before;
    side->disk.fail_at = 0;
    side->disk.dead = false;

    rig_open(side); /* the next start: every check of the journal and the store is made */
    struct journal_position position;
    journal_position(side->journal, &position);
    cr_assert_eq(rig_count_directories(side), witness ? 1 : 2, "call %lu", (unsigned long)fail_at);
    if (side->generation.journal == 1) {
        cr_assert_eq(position.last_index, 0, "call %lu: the old journal was empty",
                     (unsigned long)fail_at);
        cr_assert_neq(fail_at, 0);
    } else {
        cr_assert_gt(position.last_index, 0);
        rig_assert_same(side, leader, position.last_index);
    }
    if (fail_at % 8 == 1) { /* and it is not in the way of the next copy */
        side->failures = 0;
        if (side->generation.journal == 1) {
            run(leader, side);
            cr_assert(side->ready, "call %lu: %s", (unsigned long)fail_at, side->last_failure);
            cr_assert(rig_install(side));
        }
        leader->caught_up[side->id] = 0;
        cr_assert(rig_until_fed(&rig, leader, side, 20000), "%s", side->last_failure);
        rig_assert_same(side, leader, LAST);
    }
    rig_unmake(side);
    rig_connect_all(&rig);
    return struck ? calls : 0;
}

static void every_step(bool witness, bool dies)
{
    rig_init(&rig, 21);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(maker);
    const uint64_t calls = life(leader, witness, 0, false);
    cr_assert_gt(calls, 20);
    /* The end is where it counts: each of those; of the long middle every third. */
    for (uint64_t n = 1; n <= calls; n += n + 30 < calls && n > 20 ? 3 : 1)
        (void)life(leader, witness, n, dies);
    epoch_maker_destroy(maker);
    rig_deinit(&rig);
}

/* The process ends at the n-th call. */
Test(catch_up_crash, an_end_at_any_step_leaves_the_old_pair_or_the_new_one)
{
    every_step(false, true);
}

Test(catch_up_crash, the_same_for_a_witness)
{
    every_step(true, true);
}

/* The n-th call fails, the process lives: the copy is thrown away, or had counted already. */
Test(catch_up_crash, an_error_at_any_step_leaves_the_old_pair_or_the_new_one)
{
    every_step(false, false);
}

/* A member whose log ends in the middle of what the leader's journal holds, and behind that has
 * entries that nobody committed. Until its disk stops, at call `fail_at`; 0: it does not. */
static uint64_t life_fed(struct rig_side *leader, bool witness, uint64_t fail_at)
{
    const uint64_t had = 470;
    struct rig_side *side = rig_make(&rig, 1, witness);
    rig_open(side);
    rig_append(side, had);
    rig_append_other(side, had + 10, 4);
    const uint64_t before = side->disk.call_count;
    side->disk.dies = true;
    side->disk.fail_status = STATUS_IO;
    side->disk.fail_at = fail_at;
    leader->caught_up[side->id] = 0;
    for (int i = 0; i < 4000 && !side->failed && side->disk.fail_at == fail_at; i++)
        if (rig_until_fed(&rig, leader, side, 1))
            break;
    const bool struck = fail_at == 0 || side->disk.fail_at == 0;
    const uint64_t calls = side->disk.call_count - before;
    rig_close(side);
    side->disk.fail_at = 0;
    side->disk.dead = side->failed = false;

    rig_open(side);
    struct journal_position position;
    journal_position(side->journal, &position);
    cr_assert_geq(position.last_index, had, "call %lu", (unsigned long)fail_at);
    cr_assert_eq(side->generation.journal, 1);
    cr_assert_eq(rig_count_directories(side), witness ? 1 : 2);
    rig_assert_same(side, leader, had);
    uint64_t term;
    cr_assert_eq(journal_term(side->journal, position.last_index, &term), STATUS_OK);
    if (term != 4) /* its own tail is gone: all of it is the leader's */
        rig_assert_same(side, leader, position.last_index);
    leader->caught_up[side->id] = 0;
    cr_assert(rig_until_fed(&rig, leader, side, 20000), "%s", side->last_failure);
    rig_assert_same(side, leader, LAST);
    rig_unmake(side);
    rig_connect_all(&rig);
    return struck ? calls : 0;
}

Test(catch_up_crash, an_end_while_entries_are_taken_leaves_a_part_of_the_history)
{
    rig_init(&rig, 23);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = rig_make(&rig, 0, false);
    rig_open(leader);
    rig_append(leader, LAST);
    leader->facts = (struct catch_up_facts){
        .term = 9, .leads = true, .commit_index = LAST, .log_first_index = LAST};
    for (int witness = 0; witness < 2; witness++) {
        const uint64_t calls = life_fed(leader, witness != 0, 0);
        cr_assert_gt(calls, 20);
        for (uint64_t n = 1; n <= calls; n++)
            (void)life_fed(leader, witness != 0, n);
    }
    epoch_maker_destroy(maker);
    rig_deinit(&rig);
}
