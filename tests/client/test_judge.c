/* What an attempt means, row by row of the table in judge.h. */
#include "client/judge.h"

#include <criterion/criterion.h>

Test(judge, each_kind_of_end_has_its_verdict)
{
    static const struct {
        enum http2_fate fate;
        int code;
        const char *outcome, *retry;
        enum verdict verdict;
        bool doubt, settles, said_no, leave;
        uint8_t named;
        uint32_t retry_ms;
    } rows[] = {
        {HTTP2_ANSWERED, 0, NULL, NULL, VERDICT_ANSWER, 0, 0, 0, 0, TALLY_OUTCOME_NONE, 0},
        {HTTP2_NOT_SENT, 14, NULL, NULL, VERDICT_AGAIN, 0, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_NOT_PROCESSED, 14, NULL, NULL, VERDICT_AGAIN, 0, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_UNKNOWN, 14, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_UNKNOWN, 4, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        /* a node's refusal for now */
        {HTTP2_ANSWERED, 14, "NOT_ACCEPTED", "50", VERDICT_AGAIN, 0, 0, 1, 1,
         TALLY_OUTCOME_NOT_ACCEPTED, 50},
        {HTTP2_ANSWERED, 9, "ISSUED_TOO_FAR_AHEAD", "1000", VERDICT_AGAIN, 0, 0, 1, 0,
         TALLY_OUTCOME_ISSUED_TOO_FAR_AHEAD, 1000},
        {HTTP2_ANSWERED, 8, "WINDOW_FULL", NULL, VERDICT_AGAIN, 0, 0, 1, 0,
         TALLY_OUTCOME_WINDOW_FULL, 0},
        {HTTP2_ANSWERED, 8, NULL, "20", VERDICT_AGAIN, 0, 0, 1, 0, TALLY_OUTCOME_NONE, 20},
        {HTTP2_ANSWERED, 8, NULL, NULL, VERDICT_REFUSED, 0, 0, 1, 0, TALLY_OUTCOME_NONE, 0},
        /* final */
        {HTTP2_ANSWERED, 9, "NONCE_REUSED", NULL, VERDICT_REFUSED, 0, 1, 0, 0,
         TALLY_OUTCOME_NONCE_REUSED, 0},
        {HTTP2_ANSWERED, 9, "REQUEST_FENCED", NULL, VERDICT_REFUSED, 0, 1, 0, 0,
         TALLY_OUTCOME_REQUEST_FENCED, 0},
        {HTTP2_ANSWERED, 9, "BEYOND_WINDOW", NULL, VERDICT_REFUSED, 0, 0, 0, 0,
         TALLY_OUTCOME_BEYOND_WINDOW, 0},
        {HTTP2_ANSWERED, 7, "NOT_PERMITTED", NULL, VERDICT_REFUSED, 0, 0, 0, 0,
         TALLY_OUTCOME_NOT_PERMITTED, 0},
        {HTTP2_ANSWERED, 13, "MALFORMED", NULL, VERDICT_REFUSED, 0, 0, 0, 0,
         TALLY_OUTCOME_MALFORMED, 0},
        {HTTP2_ANSWERED, 7, NULL, NULL, VERDICT_REFUSED, 0, 0, 0, 0, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 3, NULL, NULL, VERDICT_REFUSED, 0, 0, 0, 0, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 12, NULL, NULL, VERDICT_REFUSED, 0, 0, 0, 0, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 16, NULL, NULL, VERDICT_REFUSED, 0, 0, 0, 0, TALLY_OUTCOME_NONE, 0},
        /* the server does not know either */
        {HTTP2_ANSWERED, 1, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 2, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 4, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 10, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 13, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 14, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        {HTTP2_ANSWERED, 15, NULL, NULL, VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE, 0},
        /* trailers that say nothing */
        {HTTP2_ANSWERED, 14, "SOMETHING_NEW", "soon", VERDICT_AGAIN, 1, 0, 0, 1, TALLY_OUTCOME_NONE,
         0},
        {HTTP2_ANSWERED, 14, "NOT_ACCEPTED", "99999999", VERDICT_AGAIN, 0, 0, 1, 1,
         TALLY_OUTCOME_NOT_ACCEPTED, 60000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct judgement j = judge(rows[i].fate, rows[i].code, rows[i].outcome, rows[i].retry);
        cr_assert_eq(j.verdict, rows[i].verdict, "row %zu", i);
        cr_assert_eq(j.doubt, rows[i].doubt, "row %zu: doubt", i);
        cr_assert_eq(j.settles, rows[i].settles, "row %zu: settles", i);
        cr_assert_eq(j.said_no, rows[i].said_no, "row %zu: said_no", i);
        cr_assert_eq(j.leave, rows[i].leave, "row %zu: leave", i);
        cr_assert_eq(j.outcome, rows[i].named, "row %zu: outcome %u", i, j.outcome);
        cr_assert_eq(j.retry_ms, rows[i].retry_ms, "row %zu: %u ms", i, j.retry_ms);
    }
}

/* The end of a call that changes something, after its last attempt. */
Test(judge, an_earlier_doubt_is_settled_only_by_words_about_every_attempt)
{
    static const struct {
        const char *outcome;
        int code;
        enum tally_status clean, doubted;
    } rows[] = {
        {"NONCE_REUSED", 9, TALLY_REFUSED, TALLY_REFUSED},
        {"REQUEST_FENCED", 9, TALLY_REFUSED, TALLY_REFUSED},
        {"BEYOND_WINDOW", 9, TALLY_REFUSED, TALLY_UNKNOWN},
        {"NOT_PERMITTED", 7, TALLY_REFUSED, TALLY_UNKNOWN},
        {"MALFORMED", 13, TALLY_REFUSED, TALLY_UNKNOWN},
        {"NOT_ACCEPTED", 14, TALLY_REFUSED, TALLY_UNKNOWN},
        {"WINDOW_FULL", 8, TALLY_REFUSED, TALLY_UNKNOWN},
        {NULL, 3, TALLY_REFUSED, TALLY_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct judgement j = judge(HTTP2_ANSWERED, rows[i].code, rows[i].outcome, NULL);
        cr_assert_eq(judge_end(&j, true, false, true), rows[i].clean, "row %zu", i);
        cr_assert_eq(judge_end(&j, true, true, true), rows[i].doubted, "row %zu", i);
    }
}

Test(judge, nothing_left_is_not_sent_and_something_left_is_unknown)
{
    struct judgement away = judge(HTTP2_NOT_SENT, 14, NULL, NULL);
    struct judgement lost = judge(HTTP2_UNKNOWN, 14, NULL, NULL);
    cr_assert_eq(judge_end(&away, true, false, false), TALLY_NOT_SENT);
    cr_assert_eq(judge_end(&away, true, true, true), TALLY_UNKNOWN);
    cr_assert_eq(judge_end(&lost, true, true, true), TALLY_UNKNOWN);
}

Test(judge, a_question_is_never_unknown)
{
    struct judgement away = judge(HTTP2_NOT_SENT, 14, NULL, NULL);
    struct judgement lost = judge(HTTP2_UNKNOWN, 14, NULL, NULL);
    struct judgement denied = judge(HTTP2_ANSWERED, 7, NULL, NULL);
    cr_assert_eq(judge_end(&away, false, false, false), TALLY_NOT_SENT);
    cr_assert_eq(judge_end(&lost, false, true, true), TALLY_NO_ANSWER);
    cr_assert_eq(judge_end(&denied, false, true, true), TALLY_REFUSED);
}

Test(judge, pauses_double_to_a_second_and_follow_the_servers_hint)
{
    static const uint32_t whole[] = {20, 40, 80, 160, 320, 640, 1000, 1000, 1000};
    for (uint32_t attempt = 1; attempt <= 9; attempt++) {
        for (uint32_t random = 0; random < 2000; random += 7) {
            uint32_t pause = judge_pause_ms(attempt, 0, random);
            cr_assert_geq(pause, whole[attempt - 1] / 2);
            cr_assert_leq(pause, whole[attempt - 1]);
        }
    }
    cr_assert_leq(judge_pause_ms(UINT32_MAX, 0, UINT32_MAX), 1000u);
    cr_assert_eq(judge_pause_ms(1, 400, 0), 400u);
    cr_assert_eq(judge_pause_ms(9, 400, 100), 500u);
}
