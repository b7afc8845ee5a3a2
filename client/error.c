/*
 * Errors of libtally: one structure with a status for programs and a text for people. The names of
 * results and outcomes are core's, so that a number has one name in the ledger, on the wire, in the
 * client and on the screen; the asserts below keep the public copy of the numbers equal to it.
 */
#include "client/internal.h"
#include "core/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME_RESULT(name)                                                                          \
    _Static_assert((int)TALLY_RESULT_##name == (int)RESULT_##name, "number of " #name)
#define SAME_OUTCOME(name)                                                                         \
    _Static_assert((int)TALLY_OUTCOME_##name == (int)OUTCOME_##name, "number of " #name)

SAME_RESULT(OK);
SAME_RESULT(EXISTS);
SAME_RESULT(EXISTS_WITH_DIFFERENT_FLAGS);
SAME_RESULT(EXISTS_WITH_DIFFERENT_LEDGER);
SAME_RESULT(EXISTS_WITH_DIFFERENT_CODE);
SAME_RESULT(EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID);
SAME_RESULT(EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID);
SAME_RESULT(EXISTS_WITH_DIFFERENT_AMOUNT);
SAME_RESULT(EXISTS_WITH_DIFFERENT_PENDING_ID);
SAME_RESULT(EXISTS_WITH_DIFFERENT_USER_DATA_128);
SAME_RESULT(EXISTS_WITH_DIFFERENT_USER_DATA_64);
SAME_RESULT(EXISTS_WITH_DIFFERENT_USER_DATA_32);
SAME_RESULT(EXISTS_WITH_DIFFERENT_TIMEOUT);
SAME_RESULT(EXISTS_WITH_DIFFERENT_VALUE_DATE);
SAME_RESULT(EXISTS_WITH_DIFFERENT_CURRENCY);
SAME_RESULT(EXISTS_WITH_DIFFERENT_EXPONENT);
SAME_RESULT(EXISTS_WITH_DIFFERENT_NAME);
SAME_RESULT(ID_ALREADY_FAILED);
SAME_RESULT(ID_ZERO);
SAME_RESULT(ID_MAX);
SAME_RESULT(RESERVED_FLAG);
SAME_RESULT(RESERVED_FIELD);
SAME_RESULT(FLAGS_MUTUALLY_EXCLUSIVE);
SAME_RESULT(LEDGER_ZERO);
SAME_RESULT(CODE_ZERO);
SAME_RESULT(DEBIT_ACCOUNT_ID_ZERO);
SAME_RESULT(DEBIT_ACCOUNT_ID_MAX);
SAME_RESULT(CREDIT_ACCOUNT_ID_ZERO);
SAME_RESULT(CREDIT_ACCOUNT_ID_MAX);
SAME_RESULT(ACCOUNTS_SAME);
SAME_RESULT(AMOUNT_ZERO);
SAME_RESULT(PENDING_ID_NOT_ZERO);
SAME_RESULT(TIMEOUT_NOT_ZERO);
SAME_RESULT(VALUE_DATE_INVALID);
SAME_RESULT(CURRENCY_INVALID);
SAME_RESULT(EXPONENT_INVALID);
SAME_RESULT(NAME_INVALID);
SAME_RESULT(URI_INVALID);
SAME_RESULT(ROLE_INVALID);
SAME_RESULT(LEDGER_NOT_FOUND);
SAME_RESULT(DEBIT_ACCOUNT_NOT_FOUND);
SAME_RESULT(CREDIT_ACCOUNT_NOT_FOUND);
SAME_RESULT(ACCOUNTS_ON_DIFFERENT_LEDGERS);
SAME_RESULT(TRANSFER_ON_OTHER_LEDGER);
SAME_RESULT(OVERFLOWS_DEBITS);
SAME_RESULT(OVERFLOWS_CREDITS);
SAME_RESULT(EXCEEDS_CREDITS);
SAME_RESULT(EXCEEDS_DEBITS);
SAME_RESULT(OVERFLOWS_LEDGER);
SAME_RESULT(LAST_SITE_OPERATOR);
SAME_RESULT(LEDGER_TABLE_FULL);
SAME_RESULT(ACCOUNT_TABLE_FULL);
SAME_RESULT(PRINCIPAL_TABLE_FULL);

SAME_OUTCOME(EXECUTED);
SAME_OUTCOME(NONCE_REUSED);
SAME_OUTCOME(REQUEST_FENCED);
SAME_OUTCOME(BEYOND_WINDOW);
SAME_OUTCOME(ISSUED_TOO_FAR_AHEAD);
SAME_OUTCOME(WINDOW_FULL);
SAME_OUTCOME(NOT_PERMITTED);
SAME_OUTCOME(MALFORMED);
SAME_OUTCOME(NOT_YET_SEEN);

const char *tally_result_name(uint8_t result)
{
    return result_name(result);
}

const char *tally_result_explanation(uint8_t result)
{
    return result_explanation(result);
}

const char *tally_outcome_name(uint8_t outcome)
{
    if (outcome == TALLY_OUTCOME_NOT_ACCEPTED)
        return "NOT_ACCEPTED";
    if (outcome == TALLY_OUTCOME_NONE)
        return "NONE";
    return outcome_name(outcome);
}

const char *tally_outcome_explanation(uint8_t outcome)
{
    if (outcome == TALLY_OUTCOME_NOT_ACCEPTED)
        return "the node turned the request away before it reached the log; repeat it";
    if (outcome == TALLY_OUTCOME_NONE)
        return "no outcome was named";
    return outcome_explanation(outcome);
}

const char *tally_status_text(enum tally_status status)
{
    switch (status) {
    case TALLY_OK:
        return "ok";
    case TALLY_REFUSED:
        return "refused";
    case TALLY_UNKNOWN:
        return "outcome unknown";
    case TALLY_NOT_SENT:
        return "not sent";
    case TALLY_NO_ANSWER:
        return "no answer";
    case TALLY_INVALID:
        return "invalid argument";
    case TALLY_BUSY:
        return "too many calls in flight";
    case TALLY_NO_MEMORY:
        return "out of memory";
    case TALLY_SYSTEM:
        return "system error";
    }
    return "unknown status";
}

enum tally_status error_set_list(struct tally_error *error, enum tally_status status,
                                 const char *format, va_list list)
{
    if (error != NULL) {
        *error =
            (struct tally_error){.status = status, .outcome = TALLY_OUTCOME_NONE, .grpc_code = -1};
        vsnprintf(error->text, sizeof error->text, format, list);
    }
    return status;
}

enum tally_status error_set(struct tally_error *error, enum tally_status status, const char *format,
                            ...)
{
    va_list list;
    va_start(list, format);
    error_set_list(error, status, format, list);
    va_end(list);
    return status;
}

const char *excerpt(const char *text, size_t size, char out[EXCERPT_SIZE])
{
    size_t kept = size < 40 ? size : 40;
    for (size_t i = 0; i < kept; i++)
        out[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    memcpy(out + kept, size > kept ? "..." : "", size > kept ? 4 : 1);
    return out;
}

void tally_free(void *pointer)
{
    free(pointer);
}
