/*
 * Business outcomes: replicated data, identical on every node, stable numbers for ever.
 *
 * `enum outcome` is about a whole request, `enum result` about one event (a ledger, an account, a
 * transfer) of an executed request. Both fit one byte below 128, the size of a packed enum on the
 * wire. Numbers are never reused. The wire enums in proto/tally/v1 carry the same numbers.
 */
#ifndef TALLY_CORE_RESULT_H
#define TALLY_CORE_RESULT_H

#include <stdbool.h>
#include <stdint.h>

enum outcome {
    OUTCOME_EXECUTED = 0,       /* applied; results[] tell about each event. Stored. */
    OUTCOME_NONCE_REUSED = 1,   /* (principal, nonce) belongs to another request. Final. */
    OUTCOME_REQUEST_FENCED = 2, /* FenceRequest came first; will never execute. Final. Stored. */
    OUTCOME_BEYOND_WINDOW = 3,  /* issue time older than the window. Final. */
    OUTCOME_ISSUED_TOO_FAR_AHEAD = 4, /* issue time ahead of ledger time. Retryable. */
    OUTCOME_WINDOW_FULL = 5,          /* the window's store is full. Retryable. */
    OUTCOME_NOT_PERMITTED = 6, /* the principal's role does not allow the operation. Final. */
    OUTCOME_MALFORMED = 7,     /* bytes that no correct proposer writes. Final. */
    OUTCOME_NOT_YET_SEEN = 8,  /* only as an answer to a question about a request */
    OUTCOME_COUNT
};

enum result {
    RESULT_OK = 0,

    /* Order of judgement for every event: refusals by the event alone (20..) in the order of the
     * numbers, then the id (1..17), then the state (60..) in the order of the numbers, then bounds
     * (80..). docs/formats/command.md has the ladders.
     *
     * The id is taken. EXISTS: by an event equal in every field. The first differing field in
     * the order of the numbers is named. */
    RESULT_EXISTS = 1,
    RESULT_EXISTS_WITH_DIFFERENT_FLAGS = 2,
    RESULT_EXISTS_WITH_DIFFERENT_LEDGER = 3,
    RESULT_EXISTS_WITH_DIFFERENT_CODE = 4,
    RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID = 5,
    RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID = 6,
    RESULT_EXISTS_WITH_DIFFERENT_AMOUNT = 7,
    RESULT_EXISTS_WITH_DIFFERENT_PENDING_ID = 8,
    RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128 = 9,
    RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64 = 10,
    RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32 = 11,
    RESULT_EXISTS_WITH_DIFFERENT_TIMEOUT = 12,
    RESULT_EXISTS_WITH_DIFFERENT_VALUE_DATE = 13,
    RESULT_EXISTS_WITH_DIFFERENT_CURRENCY = 14,
    RESULT_EXISTS_WITH_DIFFERENT_EXPONENT = 15,
    RESULT_EXISTS_WITH_DIFFERENT_NAME = 16,
    RESULT_ID_ALREADY_FAILED = 17, /* a transfer with this id was refused by state: burned */

    /* Refused by the event alone, whatever the state. The id stays free. */
    RESULT_ID_ZERO = 20,
    RESULT_ID_MAX = 21,
    RESULT_RESERVED_FLAG = 22,  /* unknown flag, or one of a feature not yet in this version */
    RESULT_RESERVED_FIELD = 23, /* reserved bytes are not zero */
    RESULT_FLAGS_MUTUALLY_EXCLUSIVE = 24,
    RESULT_LEDGER_ZERO = 25,
    RESULT_CODE_ZERO = 26,
    RESULT_DEBIT_ACCOUNT_ID_ZERO = 27,
    RESULT_DEBIT_ACCOUNT_ID_MAX = 28,
    RESULT_CREDIT_ACCOUNT_ID_ZERO = 29,
    RESULT_CREDIT_ACCOUNT_ID_MAX = 30,
    RESULT_ACCOUNTS_SAME = 31,
    RESULT_AMOUNT_ZERO = 32,
    RESULT_PENDING_ID_NOT_ZERO = 33,
    RESULT_TIMEOUT_NOT_ZERO = 34,
    RESULT_VALUE_DATE_INVALID = 35, /* neither 0 nor a Gregorian date YYYYMMDD, 1900 to 9999 */
    RESULT_CURRENCY_INVALID = 36,   /* not three letters A-Z (ISO 4217 alphabetic code) */
    RESULT_EXPONENT_INVALID = 37,   /* above EXPONENT_MAX */
    RESULT_NAME_INVALID = 38,       /* empty, too long, control characters or not UTF-8 */
    RESULT_URI_INVALID = 39,
    RESULT_ROLE_INVALID = 40,

    /* Refused by the state of the ledger: another time it might pass, so a transfer's id is burned
     * and stays on record as refused (RESULT_ID_ALREADY_FAILED from then on). */
    RESULT_LEDGER_NOT_FOUND = 60,
    RESULT_DEBIT_ACCOUNT_NOT_FOUND = 61,
    RESULT_CREDIT_ACCOUNT_NOT_FOUND = 62,
    RESULT_ACCOUNTS_ON_DIFFERENT_LEDGERS = 63,
    RESULT_TRANSFER_ON_OTHER_LEDGER =
        64,                        /* both accounts are on a ledger other than the transfer's */
    RESULT_OVERFLOWS_DEBITS = 65,  /* debits posted + pending of the debit account pass 2^128 - 1 */
    RESULT_OVERFLOWS_CREDITS = 66, /* likewise credits of the credit account */
    RESULT_EXCEEDS_CREDITS = 67,   /* debit account: debits_must_not_exceed_credits */
    RESULT_EXCEEDS_DEBITS = 68,    /* credit account: credits_must_not_exceed_debits */
    RESULT_OVERFLOWS_LEDGER = 69,  /* the ledger's total would pass 2^128 - 1 */

    /* Refused by the state, about rows of the principal table: nothing is burned. */
    RESULT_LAST_SITE_OPERATOR = 70, /* would leave no row that may set principals */

    /* A bounded table is full: retryable after the bound was raised; nothing is burned. */
    RESULT_LEDGER_TABLE_FULL = 80,
    RESULT_ACCOUNT_TABLE_FULL = 81,
    RESULT_PRINCIPAL_TABLE_FULL = 82,
};

/* Upper-case names as on the wire, without prefix: "EXCEEDS_CREDITS". "UNKNOWN" for other numbers.
 */
const char *result_name(uint8_t result);
const char *outcome_name(uint8_t outcome);

/* One plain English sentence with the next step, for people. Static. */
const char *result_explanation(uint8_t result);
const char *outcome_explanation(uint8_t outcome);

/* True when a transfer refused with this result keeps its id burned. */
static inline bool result_burns_id(uint8_t result)
{
    return result >= RESULT_LEDGER_NOT_FOUND && result <= RESULT_OVERFLOWS_LEDGER;
}

#endif
