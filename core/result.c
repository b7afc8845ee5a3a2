/* Names and sentences for results and outcomes, one table each by number. The names are those of
 * the wire enums without prefix; the sentences are for people and end with what to do next. */
#include "core/result.h"

#include <stddef.h>

struct words {
    const char *name;
    const char *explanation;
};

#define RESULT_WORDS_MAX 128

static const struct words result_words[RESULT_WORDS_MAX] = {
    [RESULT_OK] = {"OK", "Done."},

    [RESULT_EXISTS] = {"EXISTS", "It exists already with the same fields: nothing more to do."},
    [RESULT_EXISTS_WITH_DIFFERENT_FLAGS] =
        {"EXISTS_WITH_DIFFERENT_FLAGS",
         "The id is taken by one with other flags: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_LEDGER] =
        {"EXISTS_WITH_DIFFERENT_LEDGER",
         "The id is taken by one on another ledger: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_CODE] =
        {"EXISTS_WITH_DIFFERENT_CODE",
         "The id is taken by one with another code: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID] =
        {"EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID",
         "The id is taken by a transfer from another debit account: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID] =
        {"EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID",
         "The id is taken by a transfer to another credit account: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_AMOUNT] =
        {"EXISTS_WITH_DIFFERENT_AMOUNT",
         "The id is taken by a transfer of another amount: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_PENDING_ID] =
        {"EXISTS_WITH_DIFFERENT_PENDING_ID",
         "The id is taken by a transfer with another pending id: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128] =
        {"EXISTS_WITH_DIFFERENT_USER_DATA_128",
         "The id is taken by one with other user data (128 bits): look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64] =
        {"EXISTS_WITH_DIFFERENT_USER_DATA_64",
         "The id is taken by one with other user data (64 bits): look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32] =
        {"EXISTS_WITH_DIFFERENT_USER_DATA_32",
         "The id is taken by one with other user data (32 bits): look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_TIMEOUT] =
        {"EXISTS_WITH_DIFFERENT_TIMEOUT",
         "The id is taken by a transfer with another timeout: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_VALUE_DATE] =
        {"EXISTS_WITH_DIFFERENT_VALUE_DATE",
         "The id is taken by a transfer with another value date: look it up, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_CURRENCY] =
        {"EXISTS_WITH_DIFFERENT_CURRENCY",
         "The id is taken by a ledger of another currency: list the ledgers, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_EXPONENT] =
        {"EXISTS_WITH_DIFFERENT_EXPONENT",
         "The id is taken by a ledger with another exponent: list the ledgers, or use a new id."},
    [RESULT_EXISTS_WITH_DIFFERENT_NAME] =
        {"EXISTS_WITH_DIFFERENT_NAME",
         "It is taken under another name: keep that name, or use a new id (a new certificate URI "
         "for a principal)."},
    [RESULT_ID_ALREADY_FAILED] =
        {"ID_ALREADY_FAILED",
         "A transfer with this id was refused before and the id stays spent: look it up for the "
         "reason, then try again under a new id."},

    [RESULT_ID_ZERO] = {"ID_ZERO", "The id is zero: give a non-zero id."},
    [RESULT_ID_MAX] = {"ID_MAX", "The id has all bits set, which is reserved: give another id."},
    [RESULT_RESERVED_FLAG] =
        {"RESERVED_FLAG",
         "A flag is set that this version does not know: clear it, or upgrade the cluster."},
    [RESULT_RESERVED_FIELD] = {"RESERVED_FIELD", "A reserved field is not zero: set it to zero."},
    [RESULT_FLAGS_MUTUALLY_EXCLUSIVE] = {"FLAGS_MUTUALLY_EXCLUSIVE",
                                         "Two flags exclude each other: keep one of them."},
    [RESULT_LEDGER_ZERO] = {"LEDGER_ZERO", "The ledger is zero: name a ledger."},
    [RESULT_CODE_ZERO] = {"CODE_ZERO", "The code is zero: give a code from 1 to 65535."},
    [RESULT_DEBIT_ACCOUNT_ID_ZERO] = {"DEBIT_ACCOUNT_ID_ZERO",
                                      "The debit account id is zero: name the account to debit."},
    [RESULT_DEBIT_ACCOUNT_ID_MAX] =
        {"DEBIT_ACCOUNT_ID_MAX",
         "The debit account id has all bits set, which is reserved: name the account to debit."},
    [RESULT_CREDIT_ACCOUNT_ID_ZERO] =
        {"CREDIT_ACCOUNT_ID_ZERO", "The credit account id is zero: name the account to credit."},
    [RESULT_CREDIT_ACCOUNT_ID_MAX] =
        {"CREDIT_ACCOUNT_ID_MAX",
         "The credit account id has all bits set, which is reserved: name the account to credit."},
    [RESULT_ACCOUNTS_SAME] = {"ACCOUNTS_SAME",
                              "Debit and credit account are the same: name two accounts."},
    [RESULT_AMOUNT_ZERO] = {"AMOUNT_ZERO", "The amount is zero: give a positive amount."},
    [RESULT_PENDING_ID_NOT_ZERO] =
        {"PENDING_ID_NOT_ZERO",
         "A pending id is only for transfers that post or void a pending one: leave it out."},
    [RESULT_TIMEOUT_NOT_ZERO] = {"TIMEOUT_NOT_ZERO",
                                 "A timeout is only for pending transfers: leave it out."},
    [RESULT_VALUE_DATE_INVALID] =
        {"VALUE_DATE_INVALID",
         "The value date is no date: give YYYYMMDD from 19000101 to 99991231, or leave it out."},
    [RESULT_CURRENCY_INVALID] = {"CURRENCY_INVALID",
                                 "The currency is not three letters A-Z: give its ISO 4217 code."},
    [RESULT_EXPONENT_INVALID] = {"EXPONENT_INVALID",
                                 "The exponent is too large: give 0 to 18 decimal digits."},
    [RESULT_NAME_INVALID] =
        {"NAME_INVALID",
         "The name is empty, too long, not UTF-8 or has control characters: give 1 to 64 bytes."},
    [RESULT_URI_INVALID] =
        {"URI_INVALID",
         "The URI is not a scheme, a colon and printable ASCII of 255 bytes at most: give the "
         "certificate's URI name."},
    [RESULT_ROLE_INVALID] = {"ROLE_INVALID", "The role is unknown: give one that is documented."},

    [RESULT_LEDGER_NOT_FOUND] =
        {"LEDGER_NOT_FOUND",
         "The ledger does not exist: create it; a transfer then needs a new id."},
    [RESULT_DEBIT_ACCOUNT_NOT_FOUND] =
        {"DEBIT_ACCOUNT_NOT_FOUND",
         "The debit account does not exist: create it or correct its id, then use a new id."},
    [RESULT_CREDIT_ACCOUNT_NOT_FOUND] =
        {"CREDIT_ACCOUNT_NOT_FOUND",
         "The credit account does not exist: create it or correct its id, then use a new id."},
    [RESULT_ACCOUNTS_ON_DIFFERENT_LEDGERS] =
        {"ACCOUNTS_ON_DIFFERENT_LEDGERS",
         "The two accounts are on different ledgers: name two of one ledger, under a new id."},
    [RESULT_TRANSFER_ON_OTHER_LEDGER] =
        {"TRANSFER_ON_OTHER_LEDGER",
         "The accounts are on another ledger than the transfer: correct the ledger, under a new "
         "id."},
    [RESULT_OVERFLOWS_DEBITS] =
        {"OVERFLOWS_DEBITS",
         "The debit account's debits would pass 128 bits: use another account, under a new id."},
    [RESULT_OVERFLOWS_CREDITS] =
        {"OVERFLOWS_CREDITS",
         "The credit account's credits would pass 128 bits: use another account, under a new id."},
    [RESULT_EXCEEDS_CREDITS] =
        {"EXCEEDS_CREDITS",
         "The debit account has not enough credits: fund it, then use a new id."},
    [RESULT_EXCEEDS_DEBITS] =
        {"EXCEEDS_DEBITS",
         "The credit account has not enough debits: charge it, then use a new id."},
    [RESULT_OVERFLOWS_LEDGER] =
        {"OVERFLOWS_LEDGER",
         "The ledger's total would pass 128 bits: use another ledger, under a new id."},
    [RESULT_LAST_SITE_OPERATOR] =
        {"LAST_SITE_OPERATOR",
         "Nobody could change the principal table afterwards: list another site operator first."},

    [RESULT_LEDGER_TABLE_FULL] = {"LEDGER_TABLE_FULL",
                                  "The ledger table is full: raise its bound, then try again."},
    [RESULT_ACCOUNT_TABLE_FULL] = {"ACCOUNT_TABLE_FULL",
                                   "The account table is full: raise its bound, then try again."},
    [RESULT_PRINCIPAL_TABLE_FULL] =
        {"PRINCIPAL_TABLE_FULL", "The principal table is full: raise its bound, then try again."},
};

static const struct words outcome_words[OUTCOME_COUNT] = {
    [OUTCOME_EXECUTED] = {"EXECUTED", "The request was executed: see the result of each event."},
    [OUTCOME_NONCE_REUSED] =
        {"NONCE_REUSED",
         "The nonce belongs to another request and nothing was done: send this one under a new "
         "nonce."},
    [OUTCOME_REQUEST_FENCED] =
        {"REQUEST_FENCED",
         "The request was fenced before it arrived and will never execute: send it under a new "
         "nonce if it is still wanted."},
    [OUTCOME_BEYOND_WINDOW] =
        {"BEYOND_WINDOW",
         "The issue time is older than the window, so nobody can tell by its nonce whether it was "
         "executed: look its transfers up by id."},
    [OUTCOME_ISSUED_TOO_FAR_AHEAD] =
        {"ISSUED_TOO_FAR_AHEAD",
         "The issue time is ahead of ledger time: set the caller's clock right, then repeat."},
    [OUTCOME_WINDOW_FULL] =
        {"WINDOW_FULL",
         "Too many requests of the last day are remembered and nothing was done: repeat later."},
    [OUTCOME_NOT_PERMITTED] =
        {"NOT_PERMITTED",
         "The caller's role does not allow the operation: use the certificate of another role, or "
         "ask a site operator."},
    [OUTCOME_MALFORMED] =
        {"MALFORMED",
         "The request could not be read and nothing was done: this is a fault of the node that "
         "proposed it; report it."},
    [OUTCOME_NOT_YET_SEEN] =
        {"NOT_YET_SEEN",
         "The request has not been seen yet: repeat it, or fence it to make that final."},
};

static const struct words unknown = {"UNKNOWN", "Unknown to this version: upgrade."};

static const struct words *result_find(uint8_t result)
{
    if (result >= RESULT_WORDS_MAX || result_words[result].name == NULL)
        return &unknown;
    return &result_words[result];
}

static const struct words *outcome_find(uint8_t outcome)
{
    if (outcome >= OUTCOME_COUNT || outcome_words[outcome].name == NULL)
        return &unknown;
    return &outcome_words[outcome];
}

const char *result_name(uint8_t result)
{
    return result_find(result)->name;
}

const char *outcome_name(uint8_t outcome)
{
    return outcome_find(outcome)->name;
}

const char *result_explanation(uint8_t result)
{
    return result_find(result)->explanation;
}

const char *outcome_explanation(uint8_t outcome)
{
    return outcome_find(outcome)->explanation;
}
