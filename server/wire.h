/*
 * Messages of tally.v1 to and from bytes, by hand: requests are decoded straight into the
 * replicated format (core/command.h), answers are written from the ledger's records, and neither
 * calls the heap.
 *
 * Stricter than protobuf on purpose, because a value that is silently dropped or cut is money that
 * is silently wrong: refused are unknown fields, wrong wire types, numbers beyond their field's
 * range (protobuf keeps the low bits), bytes and texts of the wrong length, a repeated `identity`
 * (protobuf merges). As in protobuf the last of several equal scalar fields counts. Every refusal
 * names field and position.
 */
#ifndef TALLY_SERVER_WIRE_H
#define TALLY_SERVER_WIRE_H

#include "core/command.h"
#include "core/machine.h"
#include "core/status.h"
#include "replication/member.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_fault {
    WIRE_FINE = 0,
    /* not protobuf, or not this message: protobuf's own decoders refuse it too */
    WIRE_TRUNCATED,
    WIRE_WRONG_TYPE,
    WIRE_BAD_VARINT, /* more than ten bytes */
    WIRE_BAD_TAG,    /* field number 0, or more than five bytes, or groups */
    /* refused by us alone */
    WIRE_UNKNOWN_FIELD,
    WIRE_OUT_OF_RANGE,
    WIRE_WRONG_LENGTH,
    WIRE_REPEATED, /* a singular message given twice */
    WIRE_MISSING,
    WIRE_TOO_MANY,
};

struct wire_error {
    enum wire_fault fault;
    size_t offset;  /* in the message, of the field's tag */
    char text[200]; /* "transfers[17].amount: ... (at byte 1834)" */
};

/* ---- requests that change something ---- */

/* Bytes that wire_decode_request will need for this message: header and events, multiple of 8.
 * Refuses what is no protobuf at the top level, no event at all and too many. */
enum status wire_measure_request(uint16_t operation, const uint8_t *message, size_t size,
                                 size_t *out_size, struct wire_error *out_error);

/* Fills `out` (8-aligned, `capacity` from wire_measure_request) except for principal and digest.
 * Operations: CREATE_LEDGERS, CREATE_ACCOUNTS, CREATE_TRANSFERS, FENCE_REQUEST, SET_PRINCIPALS.
 * STATUS_INVALID with *out_error. */
enum status wire_decode_request(uint16_t operation, const uint8_t *message, size_t size,
                                struct request_header *out, size_t capacity,
                                struct wire_error *out_error);

/* ---- requests that read ---- */

struct wire_identity {
    uint64_t issued_at_ns;
    bool given, nonce_given;
    uint8_t nonce[16];
};

struct wire_get_request {
    struct wire_identity identity;
    uint64_t min_index;
    uint8_t principal_size; /* 0: the caller's own */
    char principal[NAME_SIZE_MAX];
};
enum status wire_decode_get_request(const uint8_t *message, size_t size,
                                    struct wire_get_request *out, struct wire_error *out_error);

/* ListLedgers, ListPrincipals (min_index), GetStatus (nothing), TrialBalance (ledger, min_index),
 * ListAccounts and ListTransfers (all), ListInDoubt (since_ns, first, limit). */
enum wire_query_kind {
    WIRE_QUERY_EMPTY,
    WIRE_QUERY_MIN_INDEX,
    WIRE_QUERY_TRIAL_BALANCE,
    WIRE_QUERY_LIST_ACCOUNTS,
    WIRE_QUERY_LIST_TRANSFERS,
    WIRE_QUERY_IN_DOUBT,
};
struct wire_query {
    uint32_t ledger;
    uint32_t limit;
    uint64_t first;
    uint64_t min_index;
    uint64_t since_ns; /* ListInDoubt */
};
enum status wire_decode_query(enum wire_query_kind kind, const uint8_t *message, size_t size,
                              struct wire_query *out, struct wire_error *out_error);

/* LookupAccounts, LookupTransfers. The ids stay in the message: wire_next_id walks them. */
struct wire_lookup {
    uint64_t min_index;
    uint32_t id_count; /* 1 .. REQUEST_EVENTS_MAX */
};
enum status wire_decode_lookup(const uint8_t *message, size_t size, struct wire_lookup *out,
                               struct wire_error *out_error);
/* Next id of a message that wire_decode_lookup accepted; *offset begins at 0. False at the end. */
bool wire_next_id(const uint8_t *message, size_t size, size_t *offset, struct id128 *out);

/* AddMember, ReplaceMember, RemoveMember, TransferLeadership: what the message does not have stays
 * zero. Texts are terminated; whether they make sense is replication/member.h's to say. */
enum wire_member_change_kind {
    WIRE_ADD_MEMBER,
    WIRE_REPLACE_MEMBER,
    WIRE_REMOVE_MEMBER,
    WIRE_TRANSFER_LEADERSHIP,
};
struct wire_member {
    uint64_t node_id;
    uint8_t kind;
    uint8_t incarnation[16];
    uint8_t site_size, address_size;
    char site[MEMBER_SITE_SIZE_MAX + 1];
    char address[MEMBER_ADDRESS_SIZE_MAX + 1];
};
struct wire_member_change {
    uint64_t node_id; /* the member to be replaced or removed, or that shall lead */
    uint8_t force;
    struct wire_member member;
};
enum status wire_decode_member_change(enum wire_member_change_kind kind, const uint8_t *message,
                                      size_t size, struct wire_member_change *out,
                                      struct wire_error *out_error);

/* health.Check and health.Watch: the one field. `out_service` points into the message. */
enum status wire_decode_health(const uint8_t *message, size_t size, const char **out_service,
                               size_t *out_service_size, struct wire_error *out_error);

/* ---- answers ---- */

/* Bytes into a buffer of fixed capacity; `full` once something did not fit (nothing is written from
 * then on). */
struct wire_writer {
    uint8_t *bytes;
    size_t capacity;
    size_t size;
    bool full;
};

/* The largest of each message, tag and length included, for sizing pages. */
#define WIRE_ACCOUNT_SIZE_MAX  192
#define WIRE_TRANSFER_SIZE_MAX 208

/* The answer body of Create*, SetPrincipals: results, index, timestamp in the stored encoding. An
 * outcome other than EXECUTED has no body (invariant). STATUS_VERSION for a later encoding. */
enum status wire_answer_size(const struct answer *answer, size_t *out_size);
/* Writes exactly wire_answer_size() bytes. */
void wire_write_answer(const struct answer *answer, uint8_t *out);

/* GetRequestResponse about `answer`; STATUS_VERSION as above. */
enum status wire_request_answer_size(const struct answer *answer, size_t *out_size);
void wire_write_request_answer(const struct answer *answer, uint8_t *out);

/* As element `field` of a repeated field. */
void wire_write_account(struct wire_writer *writer, uint32_t field, const struct account *account);
/* Account ids come from the accounts, which the record names by ordinal; NULL when refused. */
void wire_write_transfer(struct wire_writer *writer, uint32_t field,
                         const struct transfer_record *transfer, uint64_t sequence,
                         const struct id128 *debit_account_id,
                         const struct id128 *credit_account_id);
void wire_write_ledger(struct wire_writer *writer, uint32_t field,
                       const struct ledger_record *ledger);
void wire_write_trial_balance_row(struct wire_writer *writer, uint32_t field,
                                  const struct trial_balance_row *row);
void wire_write_principal(struct wire_writer *writer, uint32_t field,
                          const struct principal_record *principal);

/* One member of the cluster as the asked node sees it: MemberState. */
struct wire_member_state {
    uint64_t node_id;
    const char *site, *address;
    uint8_t kind, vote;
    const uint8_t *incarnation;
    bool leader, asked, linked, heard, catching_up;
    uint64_t match_index, heard_ms, catch_up_bytes, catch_up_bytes_total;
};
void wire_write_member_state(struct wire_writer *writer, uint32_t field,
                             const struct wire_member_state *state);

/* Single fields; a zero value writes nothing, as proto3 has it. */
void wire_write_uint(struct wire_writer *writer, uint32_t field, uint64_t value);
void wire_write_fixed64(struct wire_writer *writer, uint32_t field, uint64_t value);
void wire_write_fixed32(struct wire_writer *writer, uint32_t field, uint32_t value);
void wire_write_bytes(struct wire_writer *writer, uint32_t field, const void *bytes, size_t size);
void wire_write_amount(struct wire_writer *writer, uint32_t field, uint64_t low, uint64_t high);

#endif
