/* Term and vote: never forgotten, never invented, damage refused. */
#include "storage/hard_state.h"
#include "tests/lib/files_memory.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

TestSuite(hard_state, .timeout = 60);

static struct hard_state read_back(struct files_memory *memory)
{
    struct hard_state state = {99, 99};
    cr_assert_eq(hard_state_read(files_memory_table(memory), &state), STATUS_OK);
    return state;
}

Test(hard_state, is_created_once_and_keeps_what_was_written)
{
    struct files_memory *memory = files_memory_create(1);
    const struct files *files = files_memory_table(memory);
    struct hard_state state;
    cr_assert_eq(hard_state_read(files, &state), STATUS_NOT_FOUND);
    cr_assert_eq(hard_state_create(files), STATUS_OK);
    cr_assert_eq(hard_state_create(files), STATUS_EXISTS);
    cr_assert_eq(read_back(memory).term, 0);
    cr_assert_eq(read_back(memory).vote, 0);
    for (uint64_t term = 1; term < 20; term++) {
        state = (struct hard_state){.term = term, .vote = 0};
        cr_assert_eq(hard_state_write(files, &state), STATUS_OK);
        state.vote = term * 7;
        cr_assert_eq(hard_state_write(files, &state), STATUS_OK);
        cr_assert_eq(read_back(memory).term, term);
        cr_assert_eq(read_back(memory).vote, term * 7);
    }
    files_memory_destroy(memory);
}

Test(hard_state, a_term_that_goes_back_stops_the_process, .signal = SIGABRT)
{
    struct files_memory *memory = files_memory_create(1);
    const struct files *files = files_memory_table(memory);
    cr_assert_eq(hard_state_create(files), STATUS_OK);
    struct hard_state state = {.term = 5, .vote = 1};
    cr_assert_eq(hard_state_write(files, &state), STATUS_OK);
    state.term = 4;
    (void)hard_state_write(files, &state);
}

Test(hard_state, a_second_vote_in_one_term_stops_the_process, .signal = SIGABRT)
{
    struct files_memory *memory = files_memory_create(1);
    const struct files *files = files_memory_table(memory);
    cr_assert_eq(hard_state_create(files), STATUS_OK);
    struct hard_state state = {.term = 5, .vote = 1};
    cr_assert_eq(hard_state_write(files, &state), STATUS_OK);
    state.vote = 2;
    (void)hard_state_write(files, &state);
}

/* Every call of a sequence of writes fails once, or is the process's last, torn or not; then the
 * power goes, or not. What was acknowledged stays, and what is read stays when the power goes
 * again. */
static void survive(int kind)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (uint64_t n = 1;; n++) {
            struct files_memory *memory = files_memory_create(seed * 1000 + n);
            const struct files *files = files_memory_table(memory);
            cr_assert_eq(hard_state_create(files), STATUS_OK);
            if (kind == 0)
                files_memory_fail(memory, FILES_CALL_CHANGES, n, STATUS_IO);
            else
                files_memory_halt(memory, FILES_CALL_CHANGES, n, (int64_t)(seed % 10) - 1);
            uint64_t acknowledged = 0;
            uint64_t tried = 0;
            while (tried < 6) {
                tried++;
                const struct hard_state state = {.term = tried, .vote = tried};
                if (hard_state_write(files, &state) != STATUS_OK)
                    break;
                acknowledged = tried;
            }
            const bool struck = files_memory_failed(memory);
            if (kind == 2)
                files_memory_power_loss(memory);
            else
                files_memory_restart(memory);
            const struct hard_state first = read_back(memory);
            cr_assert(first.term >= acknowledged && first.term <= tried, "call %lu: %lu of %lu",
                      (unsigned long)n, (unsigned long)first.term, (unsigned long)acknowledged);
            cr_assert_eq(first.vote, first.term);
            files_memory_power_loss(memory);
            const struct hard_state second = read_back(memory);
            cr_assert_eq(second.term, first.term, "a term that was read was lost");
            files_memory_destroy(memory);
            if (!struck)
                break;
        }
    }
}

Test(hard_state, any_failing_call_forgets_nothing)
{
    survive(0);
}

Test(hard_state, a_crash_at_any_call_forgets_nothing)
{
    survive(1);
}

Test(hard_state, a_power_loss_at_any_call_forgets_nothing)
{
    survive(2);
}

/* Creation at every failing call: a valid file, or none. */
Test(hard_state, creation_is_all_or_nothing)
{
    for (uint64_t n = 1;; n++) {
        struct files_memory *memory = files_memory_create(n);
        const struct files *files = files_memory_table(memory);
        files_memory_halt(memory, FILES_CALL_CHANGES, n, -1);
        (void)hard_state_create(files);
        const bool struck = files_memory_failed(memory);
        files_memory_power_loss(memory);
        const enum status again = hard_state_create(files);
        cr_assert(again == STATUS_OK || again == STATUS_EXISTS);
        cr_assert_eq(read_back(memory).term, 0);
        files_memory_destroy(memory);
        if (!struck)
            break;
    }
}

/* All 65 536 bits; lengths; a slot copied over the other: refused, never guessed. */
Test(hard_state, any_damage_is_refused)
{
    struct files_memory *memory = files_memory_create(1);
    const struct files *files = files_memory_table(memory);
    cr_assert_eq(hard_state_create(files), STATUS_OK);
    struct hard_state state = {.term = 7, .vote = 3};
    cr_assert_eq(hard_state_write(files, &state), STATUS_OK);
    uint64_t size;
    uint8_t *bytes = files_memory_bytes(memory, "hard_state", &size);
    cr_assert_eq(size, 8192);
    for (uint64_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert_eq(hard_state_read(files, &state), STATUS_CORRUPT, "bit %lu", (unsigned long)bit);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    cr_assert_eq(hard_state_read(files, &state), STATUS_OK);
    uint8_t copy[8192];
    memcpy(copy, bytes, sizeof copy);
    memcpy(bytes + 4096, bytes, 4096);
    cr_assert_eq(hard_state_read(files, &state), STATUS_CORRUPT);
    memcpy(bytes, copy, sizeof copy);
    files_memory_resize(memory, "hard_state", 4096);
    cr_assert_eq(hard_state_read(files, &state), STATUS_CORRUPT);
    files_memory_destroy(memory);
}
