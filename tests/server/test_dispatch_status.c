/* How refusals are told: the table of proto/tally/v1/ledger.proto, row by row. */
#include "core/result.h"
#include "server/dispatch.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct {
    uint8_t outcome;
    enum grpc_code code;
    bool retry;
} outcomes[] = {
    {OUTCOME_NONCE_REUSED, GRPC_FAILED_PRECONDITION, false},
    {OUTCOME_REQUEST_FENCED, GRPC_FAILED_PRECONDITION, false},
    {OUTCOME_BEYOND_WINDOW, GRPC_FAILED_PRECONDITION, false},
    {OUTCOME_ISSUED_TOO_FAR_AHEAD, GRPC_FAILED_PRECONDITION, true},
    {OUTCOME_WINDOW_FULL, GRPC_RESOURCE_EXHAUSTED, true},
    {OUTCOME_NOT_PERMITTED, GRPC_PERMISSION_DENIED, false},
    {OUTCOME_MALFORMED, GRPC_INTERNAL, false},
};

Test(dispatch_status, outcomes_are_told_as_the_contract_says)
{
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
        struct refusal refusal = refusal_of_outcome(outcomes[i].outcome);
        cr_expect_eq(refusal.code, outcomes[i].code, "%s", outcome_name(outcomes[i].outcome));
        cr_expect_str_eq(refusal.outcome, outcome_name(outcomes[i].outcome));
        cr_expect_eq(refusal.retry_ms != 0, outcomes[i].retry, "%s", refusal.outcome);
        cr_expect_gt(strlen(refusal.message), 20, "%s", refusal.outcome);
    }
}

/* Not in the log: NOT_ACCEPTED and a hint. Perhaps in the log: UNKNOWN, never NOT_ACCEPTED. */
Test(dispatch_status, only_what_is_not_in_the_log_is_called_not_accepted)
{
    static const enum status not_in_the_log[] = {
        STATUS_BUSY,      STATUS_READ_ONLY, STATUS_NOT_READY, STATUS_STOPPING,
        STATUS_NO_MEMORY, STATUS_DISK_FULL, STATUS_DEGRADED};
    for (int status = 1; status < STATUS_COUNT; status++) {
        struct refusal refusal = refusal_of_status((enum status)status);
        bool expected = false;
        for (size_t i = 0; i < sizeof not_in_the_log / sizeof not_in_the_log[0]; i++)
            expected |= not_in_the_log[i] == (enum status)status;
        bool told = refusal.outcome && strcmp(refusal.outcome, "NOT_ACCEPTED") == 0;
        cr_expect_eq(told, expected, "%s", status_text((enum status)status));
        if (expected) {
            cr_expect_gt(refusal.retry_ms, 0, "%s", status_text((enum status)status));
            cr_expect(refusal.code == GRPC_UNAVAILABLE || refusal.code == GRPC_RESOURCE_EXHAUSTED);
        }
        cr_expect_neq(refusal.code, GRPC_OK);
        cr_expect_gt(strlen(refusal.message), 20);
    }
    struct refusal unknown = refusal_of_status(STATUS_UNKNOWN_OUTCOME);
    cr_expect_str_eq(unknown.outcome, "UNKNOWN");
    cr_expect_eq(unknown.code, GRPC_UNAVAILABLE);
    cr_expect(strstr(unknown.message, "GetRequest"));
    cr_expect_eq(refusal_of_status(STATUS_BUSY).code, GRPC_RESOURCE_EXHAUSTED);
    cr_expect_eq(refusal_of_status(STATUS_DEADLINE).code, GRPC_DEADLINE_EXCEEDED);
}
