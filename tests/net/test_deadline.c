/* The heap of deadlines against a sorted list, by a seeded random walk. */
#include "net/deadline.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(deadline, .timeout = 20);

Test(deadline, an_empty_heap_has_no_first)
{
    struct deadline_heap heap;
    struct deadline stranger = {0};
    deadline_heap_init(&heap);
    cr_assert_null(deadline_heap_first(&heap));
    deadline_heap_remove(&heap, &stranger); /* harmless */
    deadline_heap_deinit(&heap);
}

/* 20 000 random adds and removals from the middle; the first is always the earliest alive. */
Test(deadline, the_first_is_always_the_earliest)
{
    enum { COUNT = 700, STEPS = 20000 };
    struct deadline *entries = calloc(COUNT, sizeof *entries);
    struct deadline_heap heap;
    uint64_t seed = 42;
    deadline_heap_init(&heap);
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        struct deadline *entry = &entries[(seed >> 40) % COUNT];
        if (entry->place) {
            deadline_heap_remove(&heap, entry);
        } else {
            entry->at_ns = (seed >> 20) % 1000; /* with repetitions */
            cr_assert_eq(deadline_heap_add(&heap, entry), STATUS_OK);
        }
        uint64_t earliest = UINT64_MAX;
        uint32_t alive = 0;
        for (int i = 0; i < COUNT; i++) {
            if (!entries[i].place)
                continue;
            alive++;
            if (entries[i].at_ns < earliest)
                earliest = entries[i].at_ns;
        }
        cr_assert_eq(heap.count, alive);
        if (alive)
            cr_assert_eq(deadline_heap_first(&heap)->at_ns, earliest, "step %d", step);
        else
            cr_assert_null(deadline_heap_first(&heap));
    }
    deadline_heap_deinit(&heap);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(entries[i].place, 0);
    free(entries);
}
