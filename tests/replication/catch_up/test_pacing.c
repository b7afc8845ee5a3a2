/* A leader that holds back while a member catches up, in virtual time: clients that would send as
 * much as goes through, and a member that takes so many bytes a second. */
#include "replication/catch_up/pacing.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(pacing, .timeout = 30);

#define NS_PER_S 1000000000ull
#define TURN_NS  5000000ull
#define MIB      (1ull << 20)
#define ENTRY    (128ull * 1024)

struct world {
    struct pacing pacing;
    uint64_t now_ns, proposed, taken; /* bytes; the member is at `taken` */
    uint64_t load;                    /* bytes a second that could go through */
    uint64_t speed;                   /* bytes a second that the member takes */
    uint64_t owed;                    /* of the load, not yet proposed */
    uint64_t lowest;                  /* bytes in the slowest whole second */
    uint64_t read;                    /* bytes read to the member, ever */
    uint32_t cost; /* percent of what goes through that is lost when it is read at full speed */
    bool not_busy; /* clients leave gaps */
    uint32_t began, ended, gave_up;
    bool serves, feeds, away;
};

static struct world world;

static void begin(uint64_t load, uint64_t speed)
{
    memset(&world, 0, sizeof world);
    world.now_ns = 77 * NS_PER_S;
    world.load = load;
    world.speed = speed;
}

static uint64_t gap(void)
{
    return world.proposed - world.taken;
}

static void turn(void)
{
    world.now_ns += TURN_NS;
    if (pacing_is_due(&world.pacing, world.now_ns)) {
        const struct pacing_input input = {.now_ns = world.now_ns,
                                           .proposed_bytes = world.proposed,
                                           .whole = !world.away,
                                           .serves = world.serves,
                                           .feeds = world.feeds,
                                           .gap_bytes = gap()};
        const enum pacing_news news = pacing_look(&world.pacing, &input);
        world.began += news == PACING_BEGAN;
        world.ended += news == PACING_ENDED;
        world.gave_up += news == PACING_GAVE_UP;
    }
    pacing_note(&world.pacing, world.now_ns, !world.not_busy);
    uint64_t load = world.load;
    if (world.serves) {
        const uint64_t read_rate = pacing_read_rate(&world.pacing);
        world.read += read_rate / (NS_PER_S / TURN_NS);
        load -= load / 100 * world.cost * (read_rate / MIB) / (PACING_READ_MAX / MIB);
    }
    /* A closed loop: what is held back is asked for later, and not twice. */
    world.owed += load / (NS_PER_S / TURN_NS);
    if (world.owed > world.load / 10)
        world.owed = world.load / 10;
    uint64_t budget = pacing_budget(&world.pacing, world.now_ns);
    while (world.owed >= ENTRY && budget > 0) {
        world.owed -= ENTRY;
        world.proposed += ENTRY;
        pacing_spend(&world.pacing, ENTRY);
        budget = pacing_budget(&world.pacing, world.now_ns);
    }
    if (world.feeds) {
        world.taken += world.speed / (NS_PER_S / TURN_NS);
        if (world.taken > world.proposed)
            world.taken = world.proposed;
    }
}

static void pass(uint32_t seconds)
{
    world.lowest = UINT64_MAX;
    for (uint32_t i = 0; i < seconds; i++) {
        const uint64_t before = world.proposed;
        for (uint64_t j = 0; j < NS_PER_S / TURN_NS; j++)
            turn();
        if (world.proposed - before < world.lowest)
            world.lowest = world.proposed - before;
    }
}

/* A minute of load, then a member that lacks `lacking` bytes and is read entries. */
static void fall_behind(uint64_t lacking)
{
    pass(60);
    world.taken = world.proposed - lacking;
    world.serves = world.feeds = true;
}

Test(pacing, nothing_is_held_back_when_nobody_catches_up)
{
    begin(100 * MIB, 0);
    pass(300);
    cr_assert_eq(pacing_budget(&world.pacing, world.now_ns), UINT64_MAX);
    cr_assert_geq(world.pacing.usual, 95 * MIB);
    cr_assert_leq(world.pacing.usual, 101 * MIB);
    cr_assert_eq(world.began, 0);
}

Test(pacing, a_member_that_comes_nearer_costs_nothing)
{
    begin(20 * MIB, 60 * MIB);
    fall_behind(1000 * MIB);
    pass(60);
    cr_assert_eq(world.began, 0);
    cr_assert_leq(gap(), PACING_CLOSED_BYTES);
    cr_assert_geq(world.lowest, 19 * MIB);
}

/* While a member is away twice as much goes through, for there is less to do. That is not what its
 * return is measured by: what goes through then is more than the floor, and can be held back. */
Test(pacing, what_goes_through_without_a_member_is_not_the_usual)
{
    begin(20 * MIB, 25 * MIB);
    pass(60);
    world.away = true;
    world.load = 40 * MIB;
    pass(60);
    cr_assert_leq(world.pacing.usual, 21 * MIB);
    world.away = false;
    world.load = 25 * MIB;
    world.taken = world.proposed - 200 * MIB;
    world.serves = world.feeds = true;
    pass(90);
    cr_assert_eq(world.began, 1);
    cr_assert_leq(gap(), PACING_CLOSED_BYTES, "%lu", (unsigned long)gap());
    cr_assert_geq(world.lowest, 25 * MIB * (PACING_FLOOR_PERCENT - 1) / 100);
}

/* A member was lost by day and is there again by night: what went through by day says nothing of
 * whether clients are held up now, or of how much can be held back. */
Test(pacing, what_went_through_long_ago_is_not_the_usual)
{
    begin(100 * MIB, 60 * MIB);
    pass(60);
    world.away = true;
    world.load = 60 * MIB;
    pass(120);
    world.away = false;
    world.serves = true;
    pass(30);
    cr_assert_eq(pacing_read_rate(&world.pacing), PACING_READ_MAX, "nobody is held up");
    world.taken = world.proposed - 300 * MIB;
    world.feeds = true;
    pass(90);
    cr_assert_eq(world.began, 1);
    cr_assert_eq(world.gave_up, 0);
    cr_assert_leq(gap(), PACING_CLOSED_BYTES, "%lu", (unsigned long)gap());
}

/* A new leader, whose predecessor is the member that is away, never saw a whole cluster: reading
 * gives way to clients all the same. */
Test(pacing, reading_gives_way_also_where_a_whole_cluster_was_never_seen)
{
    begin(20 * MIB, 0);
    world.away = true;
    pass(60);
    cr_assert_eq(world.pacing.usual, 0);
    world.cost = 50;
    world.serves = true;
    pass(20);
    cr_assert_leq(pacing_read_rate(&world.pacing), 50 * MIB);
    cr_assert_geq(world.lowest, 20 * MIB / 2);
}

/* As fast as the leader: without a limit it would stay where it is for ever. */
Test(pacing, a_gap_that_stays_is_closed_and_everything_is_admitted_again)
{
    begin(20 * MIB, 20 * MIB);
    fall_behind(200 * MIB);
    pass(5);
    cr_assert_eq(world.began, 1);
    pass(120);
    cr_assert_leq(gap(), PACING_CLOSED_BYTES, "%lu", (unsigned long)gap());
    cr_assert_geq(world.lowest, 20 * MIB * (PACING_FLOOR_PERCENT - 1) / 100, "%lu",
                  (unsigned long)world.lowest);
    cr_assert_eq(world.gave_up, 0);
    world.serves = world.feeds = false;
    pass(10);
    cr_assert_eq(world.ended, 1);
    pass(5);
    cr_assert_geq(world.lowest, 19 * MIB);
}

/* Whatever the member does, no second has less than the floor; and it ends. */
Test(pacing, never_below_the_floor_and_not_for_ever)
{
    begin(50 * MIB, 30 * MIB); /* less than the floor: hopeless */
    fall_behind(500 * MIB);
    pass(30);
    cr_assert_eq(world.began, 1);
    cr_assert_geq(world.lowest, 50 * MIB * (PACING_FLOOR_PERCENT - 1) / 100, "%lu",
                  (unsigned long)world.lowest);
    cr_assert_eq(world.pacing.limit, pacing_floor(&world.pacing));
    pass(60);
    cr_assert_geq(world.lowest, 50 * MIB * (PACING_FLOOR_PERCENT - 1) / 100);
    cr_assert_eq(world.gave_up, 1, "it is said");
    pass(600);
    cr_assert_eq(world.gave_up, 1, "once");
    cr_assert_eq(world.began, 1, "and not tried again with this one");
    cr_assert_geq(world.lowest, 49 * MIB);
    /* Nor after a cut. */
    world.serves = world.feeds = false;
    pass(3);
    world.serves = world.feeds = true;
    pass(100);
    cr_assert_eq(world.began, 1);
    /* The next one is another matter. */
    world.serves = world.feeds = false;
    pass(65);
    world.taken = world.proposed - 100 * MIB;
    world.speed = 45 * MIB;
    world.serves = world.feeds = true;
    pass(120);
    cr_assert_eq(world.began, 2);
    cr_assert_leq(gap(), PACING_CLOSED_BYTES);
}

/* The member stands still while the limit goes down, so the gap is larger at the floor than it was
 * before; from then on it gets smaller, slowly. That is nearer, and not given up. */
Test(pacing, slowly_nearer_at_the_floor_is_not_given_up)
{
    begin(50 * MIB, 0);
    fall_behind(1000 * MIB);
    pass(10);
    cr_assert_eq(world.pacing.limit, pacing_floor(&world.pacing));
    cr_assert_gt(gap(), 1400 * MIB);
    world.speed = 43 * MIB; /* the floor is 39 */
    pass(180);
    cr_assert_gt(gap(), 500 * MIB, "no test of anything");
    cr_assert_eq(world.gave_up, 0);
    cr_assert(world.pacing.limited);
}

/* While a store is copied the gap cannot close: nobody is held back for that. */
Test(pacing, the_copy_of_a_store_costs_nothing)
{
    begin(50 * MIB, 0);
    pass(30);
    world.serves = true;
    pass(600);
    cr_assert_eq(world.began, 0);
    cr_assert_geq(world.lowest, 49 * MIB);
}

Test(pacing, a_small_load_is_never_held_back)
{
    begin(3 * MIB, 1 * MIB);
    fall_behind(100 * MIB);
    pass(300);
    cr_assert_eq(world.began, 0);
    cr_assert_geq(world.lowest, 2 * MIB);
    cr_assert_eq(world.gave_up, 1, "but it is said");
}

/* Less goes through by itself than the floor, because the member takes its share of the machine:
 * nothing is gained by holding back. */
Test(pacing, a_load_below_the_floor_is_not_touched)
{
    begin(50 * MIB, 20 * MIB);
    fall_behind(100 * MIB);
    world.load = 30 * MIB;
    pass(50);
    cr_assert_eq(world.began, 0);
    cr_assert_eq(world.gave_up, 0);
    pass(30);
    cr_assert_eq(world.gave_up, 1);
}

/* The load grows while a store is copied: the floor is a share of what really goes through. */
Test(pacing, the_floor_follows_a_load_that_has_grown)
{
    begin(10 * MIB, 95 * MIB);
    pass(60);
    world.serves = true;
    world.load = 100 * MIB;
    pass(30);
    world.taken = world.proposed - 500 * MIB;
    world.feeds = true;
    pass(60);
    cr_assert_eq(world.began, 1);
    cr_assert_geq(world.lowest, (PACING_FLOOR_PERCENT - 1) * MIB, "%lu",
                  (unsigned long)world.lowest);
}

/* An entry larger than the bucket goes through, and is paid for by those behind it; an idle time
 * saves nothing up. */
Test(pacing, large_entries_pass_and_are_paid_for)
{
    struct pacing pacing = {.limited = true, .limit = 5 * MIB, .reference = 6 * MIB};
    uint64_t now = 5 * NS_PER_S, bytes = 0;
    pacing.budget_ns = now;
    now += 100 * NS_PER_S; /* idle */
    cr_assert_leq(pacing_budget(&pacing, now), 5 * MIB / 10 + 1);
    for (int i = 0; i < 10 * 200; i++) {
        now += TURN_NS;
        if (pacing_budget(&pacing, now) == 0)
            continue;
        pacing_spend(&pacing, 1 * MIB);
        bytes += 1 * MIB;
    }
    cr_assert_geq(bytes, 49 * MIB);
    cr_assert_leq(bytes, 52 * MIB);
}

/* A pause of the whole machine, an hour long, is neither a rate nor a budget. */
Test(pacing, a_pause_is_survived)
{
    begin(50 * MIB, 50 * MIB);
    fall_behind(300 * MIB);
    pass(20);
    cr_assert(world.pacing.limited);
    world.now_ns += 3600 * NS_PER_S;
    turn();
    cr_assert_leq(pacing_budget(&world.pacing, world.now_ns), 50 * MIB / 10 + 1);
    pass(100);
    cr_assert_geq(world.lowest, 50 * MIB * (PACING_FLOOR_PERCENT - 1) / 100);
    cr_assert_leq(gap(), PACING_CLOSED_BYTES);
}

Test(pacing, who_leads_no_more_forgets)
{
    begin(50 * MIB, 50 * MIB);
    fall_behind(300 * MIB);
    pass(20);
    cr_assert(world.pacing.limited);
    pacing_forget(&world.pacing);
    cr_assert_eq(pacing_budget(&world.pacing, world.now_ns), UINT64_MAX);
    cr_assert_eq(world.pacing.usual, 0);
}

/* Reading at full speed takes half of what goes through: it becomes slower, until clients have
 * about what they had, and then as fast as ever for the next one. */
Test(pacing, reading_gives_way_to_clients)
{
    begin(50 * MIB, 0);
    pass(60);
    cr_assert_eq(pacing_read_rate(&world.pacing), PACING_READ_MAX);
    world.serves = true;
    world.cost = 50;
    pass(10);
    const uint64_t proposed = world.proposed, read = world.read;
    pass(100);
    cr_assert_geq(world.proposed - proposed, 100 * (50 * MIB) * 78 / 100);
    cr_assert_geq(world.read - read, 100 * PACING_READ_MAX / 4, "it goes on");
    cr_assert_eq(world.began, 0);
    world.cost = 0;
    pass(15);
    cr_assert_eq(pacing_read_rate(&world.pacing), PACING_READ_MAX);
}

/* However much clients are held up: a store gets its least, and entries more than the leader adds.
 */
Test(pacing, reading_never_stops)
{
    begin(50 * MIB, 0);
    pass(60);
    world.serves = true;
    world.load = 10 * MIB; /* something else takes the machine */
    pass(30);
    cr_assert_eq(pacing_read_rate(&world.pacing), PACING_READ_MIN);
    world.load = 30 * MIB;
    world.taken = world.proposed - 500 * MIB;
    world.feeds = true;
    pass(30);
    cr_assert_geq(pacing_read_rate(&world.pacing), 30 * MIB * 120 / 100);
    cr_assert_leq(pacing_read_rate(&world.pacing), 30 * MIB * 130 / 100);
}

/* Less comes, because clients want less: nobody is held up. */
Test(pacing, a_load_that_gets_smaller_slows_nothing)
{
    begin(50 * MIB, 0);
    pass(60);
    world.serves = true;
    world.load = 10 * MIB;
    world.not_busy = true;
    pass(60);
    cr_assert_eq(pacing_read_rate(&world.pacing), PACING_READ_MAX);
}
