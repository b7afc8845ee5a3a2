/* The question and the answer as bytes: what was said is read, anything else is refused. */
#include "replication/node/site_message.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(site_message, .timeout = 10);

Test(site_message, what_is_written_is_read_again)
{
    struct site_question question = site_question_make(77, 1234), read_question;
    cr_assert_eq(site_question_decode(&question, sizeof question, &read_question), STATUS_OK);
    cr_assert_eq(read_question.sequence, 77);
    cr_assert_eq(read_question.window_ms, 1234);
    const struct pause pause = {1, 2, 3, 4, 5};
    struct pause read_pause;
    struct site_answer answer = {.sequence = 77,
                                 .flags = SITE_ANSWER_SERVES,
                                 .applied_index = 4711,
                                 .wall_ns = 1234567890},
                       read_answer;
    site_answer_seal(&answer, &pause);
    cr_assert_eq(site_answer_decode(&answer, sizeof answer, &read_answer, &read_pause), STATUS_OK);
    cr_assert_eq(read_answer.sequence, 77);
    cr_assert_eq(read_answer.applied_index, 4711);
    cr_assert_eq(read_answer.wall_ns, 1234567890);
    cr_assert_eq(read_answer.flags, SITE_ANSWER_SERVES);
    cr_assert_eq(memcmp(&pause, &read_pause, sizeof pause), 0);
}

/* Every length but the right one, the other type, a wrong size within, every reserved bit. */
Test(site_message, anything_else_is_refused)
{
    struct site_question question = site_question_make(1, 0), out_question;
    const struct pause none = {0};
    struct site_answer answer = {.sequence = 1}, out_answer;
    struct pause pause;
    site_answer_seal(&answer, &none);
    uint8_t bytes[sizeof answer + 8] = {0};
    memcpy(bytes, &question, sizeof question);
    for (size_t size = 0; size <= sizeof bytes; size++)
        cr_assert_eq(site_question_decode(bytes, size, &out_question),
                     size == sizeof question ? STATUS_OK : STATUS_INVALID, "%zu", size);
    memcpy(bytes, &answer, sizeof answer);
    for (size_t size = 0; size <= sizeof bytes; size++)
        cr_assert_eq(site_answer_decode(bytes, size, &out_answer, &pause),
                     size == sizeof answer ? STATUS_OK : STATUS_INVALID, "%zu", size);
    struct site_question wrong = question;
    wrong.message.type = MESSAGE_SITE_ANSWER;
    cr_assert_eq(site_question_decode(&wrong, sizeof wrong, &out_question), STATUS_INVALID);
    wrong = question;
    wrong.message.size++;
    cr_assert_eq(site_question_decode(&wrong, sizeof wrong, &out_question), STATUS_INVALID);
    wrong = question;
    wrong.reserved_0 = 1;
    cr_assert_eq(site_question_decode(&wrong, sizeof wrong, &out_question), STATUS_INVALID);
    for (unsigned bit = 0; bit < 32; bit++) {
        struct site_answer flagged = answer;
        flagged.flags = 1u << bit;
        cr_assert_eq(site_answer_decode(&flagged, sizeof flagged, &out_answer, &pause),
                     (flagged.flags & SITE_ANSWER_FLAGS_ALL) != 0 ? STATUS_OK : STATUS_INVALID);
        flagged = answer;
        flagged.reserved_0 = 1u << bit;
        cr_assert_eq(site_answer_decode(&flagged, sizeof flagged, &out_answer, &pause),
                     STATUS_INVALID);
    }
}
