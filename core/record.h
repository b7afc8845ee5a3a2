/*
 * Records of the ledger's facts, as held in memtables and as written by a checkpoint: one layout
 * for both, little-endian, reserved bytes zero.
 */
#ifndef TALLY_CORE_RECORD_H
#define TALLY_CORE_RECORD_H

#include "core/bounds.h"
#include "core/u128.h"

#include <stdint.h>

/* "No earlier transfer" in the history links. */
#define SEQUENCE_NONE UINT64_MAX
/* "No such account" in a refused transfer. */
#define ORDINAL_NONE UINT32_MAX

/* A transfer, accepted (result 0) or refused with a result that burns its id. Its place in the
 * sequence of all transfers is its sequence number. Account history is a backward linked list
 * of accepted transfers; a refused one has SEQUENCE_NONE in both links and is in no history. */
struct transfer_record {
    struct id128 id;
    uint64_t amount_low;
    uint64_t amount_high;
    struct id128 pending_id;
    struct id128 user_data_128;
    uint64_t user_data_64;
    uint64_t previous_debit_sequence;  /* earlier transfer touching the debit account */
    uint64_t previous_credit_sequence; /* earlier transfer touching the credit account */
    uint64_t timestamp;                /* commit stamp, ns since 1970 */
    uint32_t debit_ordinal;            /* of the account, refused or not; ORDINAL_NONE: no such */
    uint32_t credit_ordinal;
    uint32_t user_data_32;
    uint32_t timeout_s;
    uint32_t ledger;
    uint16_t code;
    uint16_t flags;
    uint32_t value_date;
    uint8_t result; /* enum result: 0, or why it was refused */
    uint8_t reserved[3];
};

/* What of an account never changes. `ordinal` is its place in the order of creation, from 0. */
struct account_record {
    struct id128 id;
    struct id128 user_data_128;
    uint64_t user_data_64;
    uint64_t timestamp;
    uint32_t user_data_32;
    uint32_t ledger;
    uint16_t code;
    uint16_t flags;
    uint32_t reserved;
};

/* What of an account changes with transfers. 128-bit sums of minor units in two halves. */
struct balance_record {
    uint64_t debits_pending_low, debits_pending_high;
    uint64_t debits_posted_low, debits_posted_high;
    uint64_t credits_pending_low, credits_pending_high;
    uint64_t credits_posted_low, credits_posted_high;
    uint64_t last_sequence; /* newest transfer of the account, or SEQUENCE_NONE */
    uint64_t transfer_count;
};

struct ledger_record {
    uint32_t id;
    uint8_t exponent;
    uint8_t name_size;
    uint16_t flags;
    char currency[4];
    uint32_t account_count;
    char name[NAME_SIZE_MAX];
    uint64_t timestamp;
    /* Totals over the ledger's accounts, kept with every posting; a trial balance recomputes them.
     */
    uint64_t debits_posted_low, debits_posted_high;
    uint64_t credits_posted_low, credits_posted_high;
    uint64_t debits_pending_low, debits_pending_high;
    uint64_t credits_pending_low, credits_pending_high;
};

/* One certificate name. Rows are never deleted and keep their ordinal; ROLE_NONE disables one.
 * Rows that share `name` are instances of one principal and share `name_ordinal`, the ordinal of
 * the first row with that name: request identity counts by it. */
struct principal_record {
    uint8_t role;
    uint8_t uri_size;
    uint8_t name_size;
    uint8_t reserved_0;
    uint32_t in_flight_max;
    uint32_t name_ordinal;
    uint32_t reserved_1;
    char name[NAME_SIZE_MAX];
    char uri[256];
};

/* A remembered request. The stored answer follows apart (answer_size bytes): see answer.h. */
struct request_record {
    uint32_t principal_name; /* name_ordinal of the caller */
    uint16_t operation;
    uint16_t encoding;
    uint8_t nonce[16];
    uint64_t issued_at_ns;
    uint8_t digest[32]; /* zero for a fence */
    uint64_t index;     /* log index of the entry that executed (or fenced) it */
    uint64_t stamp;
    uint32_t event_count;
    uint16_t answer_size; /* bytes of packed results */
    uint8_t outcome;      /* OUTCOME_EXECUTED or OUTCOME_REQUEST_FENCED */
    uint8_t reserved;
};

/* Live requests by the minute in which they are forgotten, so that "full" is a function of the log.
 */
#define REQUEST_BUCKET_NS (60ull * 1000000000ull)
#define REQUEST_BUCKETS   1536 /* > (window + ahead) / one minute + 2 */
struct request_window_record {
    uint64_t first_bucket; /* number of the oldest live bucket: forget time / REQUEST_BUCKET_NS */
    uint64_t request_count;
    uint64_t answer_bytes;
    struct {
        uint32_t request_count;
        uint32_t reserved;
        uint64_t answer_bytes;
    } bucket[REQUEST_BUCKETS]; /* bucket number modulo REQUEST_BUCKETS */
};

_Static_assert(sizeof(struct transfer_record) == 128, "format");
_Static_assert(sizeof(struct account_record) == 64, "format");
_Static_assert(sizeof(struct balance_record) == 80, "format");
_Static_assert(sizeof(struct ledger_record) == 152, "format");
_Static_assert(sizeof(struct principal_record) == 336, "format");
_Static_assert(sizeof(struct request_record) == 88, "format");

#endif
