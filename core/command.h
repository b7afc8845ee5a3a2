/*
 * What is replicated: the payload of a log entry, command version 1.
 *
 * An entry is a header and one or more requests, each a header and an array of fixed-size events.
 * The layout is the format: little-endian, every offset asserted in command.c, all reserved bytes
 * zero. Entries are 8-byte aligned in memory and multiples of 8 bytes long.
 *
 *   entry    = entry_header(32) request+
 *   request  = request_header(80) event*        size counts both, multiple of 8
 */
#ifndef TALLY_CORE_COMMAND_H
#define TALLY_CORE_COMMAND_H

#include "core/bounds.h"
#include "core/status.h"
#include "core/u128.h"

#include <stddef.h>
#include <stdint.h>

#define COMMAND_VERSION 1

/* The only encoding of answers so far (request_header.encoding). */
#define ANSWER_ENCODING 1

/* Greatest stamp an entry may begin with: the year 2262. Leaves room for sums without overflow. */
#define STAMP_MAX ((uint64_t)INT64_MAX)

enum operation {
    OPERATION_CREATE_LEDGERS = 1,   /* events: struct ledger_event */
    OPERATION_CREATE_ACCOUNTS = 2,  /* events: struct account_event */
    OPERATION_CREATE_TRANSFERS = 3, /* events: struct transfer_event */
    OPERATION_FENCE_REQUEST = 4,    /* no events; the header's identity is the one fenced */
    OPERATION_SET_PRINCIPALS = 5,   /* events: struct principal_event */
};

/* Who may do what; see policy.h for the table. Numbers are on the wire. */
enum role {
    ROLE_NONE = 0, /* row removed: nothing is allowed */
    ROLE_CHANNEL = 1,
    ROLE_BUSINESS_OPERATOR = 2,
    ROLE_SITE_OPERATOR = 3,
    ROLE_AUDITOR = 4,
    ROLE_NODE = 5,
    ROLE_COUNT
};

struct entry_header {
    uint16_t version; /* COMMAND_VERSION; first, so that any build can refuse */
    uint16_t reserved_0;
    uint32_t size;  /* bytes of the whole entry */
    uint64_t stamp; /* ns since 1970 of the entry's first event; event k has stamp + k */
    uint32_t request_count;
    uint32_t event_count; /* sum of request_stamp_count(): one per event, one for a fence */
    uint64_t reserved_1;
};

struct request_header {
    uint32_t size;      /* this header and its events */
    uint16_t operation; /* enum operation */
    uint16_t encoding;  /* version of the answer's encoding, chosen at proposal; 1 */
    uint32_t event_count;
    uint32_t principal;    /* ordinal of the caller's row in the principal table */
    uint64_t issued_at_ns; /* ns since 1970 by the caller's clock */
    uint8_t nonce[16];
    uint8_t
        digest[32]; /* SHA-256 over operation, version, issue time and events (storage/hash.h) */
    uint64_t reserved;
};

struct ledger_event {
    uint32_t id;       /* 1 .. 2^32 - 1 */
    uint8_t exponent;  /* decimal digits of the minor unit, 0 .. EXPONENT_MAX */
    uint8_t name_size; /* 1 .. NAME_SIZE_MAX */
    uint16_t flags;    /* reserved, 0 */
    char currency[4];  /* ISO 4217 alphabetic code and a zero byte */
    uint32_t reserved;
    char name[NAME_SIZE_MAX];
};

enum account_flag {
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS = 1 << 0,
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS = 1 << 1,
    /* bits 2..15 belong to features to come: linked, history, closed, imported */
};

struct account_event {
    struct id128 id;
    struct id128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t ledger;
    uint16_t code;  /* kind of account in the bank's chart, 1 .. 65535 */
    uint16_t flags; /* enum account_flag */
    uint32_t reserved_0;
    uint64_t reserved_1;
};

enum transfer_flag {
    /* Named now, refused (RESULT_RESERVED_FLAG) until two-phase and linked transfers arrive. */
    TRANSFER_LINKED = 1 << 0,
    TRANSFER_PENDING = 1 << 1,
    TRANSFER_POST_PENDING = 1 << 2,
    TRANSFER_VOID_PENDING = 1 << 3,
    TRANSFER_BALANCING_DEBIT = 1 << 4,
    TRANSFER_BALANCING_CREDIT = 1 << 5,
    TRANSFER_CLOSING_DEBIT = 1 << 6,
    TRANSFER_CLOSING_CREDIT = 1 << 7,
};

struct transfer_event {
    struct id128 id;
    struct id128 debit_account_id;
    struct id128 credit_account_id;
    uint64_t amount_low; /* minor units of the ledger, 128 bits in two halves (alignment 8) */
    uint64_t amount_high;
    struct id128 pending_id;
    struct id128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t timeout_s;
    uint32_t ledger;
    uint16_t code;       /* reason of the transfer, 1 .. 65535 */
    uint16_t flags;      /* enum transfer_flag */
    uint32_t value_date; /* YYYYMMDD, or 0 for none */
    uint32_t reserved;
};

struct principal_event {
    uint8_t role;      /* enum role; ROLE_NONE disables the row */
    uint8_t uri_size;  /* 1 .. URI_SIZE_MAX: the certificate's one URI SAN */
    uint8_t name_size; /* 1 .. NAME_SIZE_MAX: the channel (request identity counts by it) */
    uint8_t reserved_0;
    uint32_t in_flight_max; /* requests in flight per principal; 0 = the node's default */
    char name[NAME_SIZE_MAX];
    char uri[256];
};

_Static_assert(sizeof(struct entry_header) == 32, "format");
_Static_assert(sizeof(struct request_header) == 80, "format");
_Static_assert(sizeof(struct ledger_event) == 80, "format");
_Static_assert(sizeof(struct account_event) == 64, "format");
_Static_assert(sizeof(struct transfer_event) == 128, "format");
_Static_assert(sizeof(struct principal_event) == 328, "format");

/* Bytes of one event of an operation; 0 for an operation without events or an unknown one. */
size_t operation_event_size(uint16_t operation);

/* Stamps that a request takes: its events, or one when it has none. */
static inline uint32_t request_stamp_count(const struct request_header *request)
{
    return request->event_count == 0 ? 1 : request->event_count;
}

/*
 * Walks an entry. The same code checks at the proposer and decodes in apply, so what one accepts
 * the other understands. `bytes` is 8-byte aligned and stays the caller's.
 *
 * command_cursor_init: STATUS_VERSION for an unknown version (stop before the entry: upgrade),
 * STATUS_INVALID when the entry header does not match `size`.
 * command_cursor_next: STATUS_OK with *out_request pointing into `bytes`; STATUS_NOT_FOUND at the
 * proper end; STATUS_INVALID when what follows is not a request (the rest is unreadable, and
 * every further call says so again).
 */
struct command_cursor {
    const uint8_t *bytes;
    size_t size;
    size_t offset;
    uint32_t request_index;
    uint32_t request_count;
    uint32_t stamps_left; /* of the entry header's event_count */
    uint64_t stamp;       /* of the next request's first event */
};

enum status command_cursor_init(struct command_cursor *cursor, const void *bytes, size_t size);
enum status command_cursor_next(struct command_cursor *cursor,
                                const struct request_header **out_request, uint64_t *out_stamp);

/* One request alone, before it is gathered: STATUS_OK when an entry made of it would pass
 * command_check(). Looks at the header only; `request->size` bytes are the caller's promise. */
enum status request_check(const struct request_header *request);

/* The proposer's check of a whole entry: STATUS_OK exactly when apply will find every request. */
enum status command_check(const void *bytes, size_t size);

#endif
