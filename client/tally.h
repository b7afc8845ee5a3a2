/*
 * libtally: the C client of Tallystick.
 *
 * A client holds one connection (gRPC over mutual TLS) to one of the named servers and moves to the
 * next when it breaks. Every call has a deadline and ends by it. A call that may change something
 * carries an identity; the same identity is used for every attempt, so an attempt whose answer was
 * lost is repeated without risk: the ledger executes an identity once and repeats its answer.
 *
 *     struct tally_client *client;
 *     struct tally_error error;
 *     struct tally_options options = {.servers = "ledger.bank:7400", .ca_file = "ca.pem",
 *                                     .certificate_file = "me.pem", .key_file = "me.key"};
 *     if (tally_client_create(&options, &client, &error) != TALLY_OK) ...error.text...
 *     struct tally_call call = {.deadline_ms = 5000};
 *     tally_identity_new(&call.identity);       // keep it (on disk) to ask about it later
 *     uint8_t result;
 *     switch (tally_create_transfers(client, &call, &transfer, 1, &result)) {
 *     case TALLY_OK:      // executed: result says what became of the transfer
 *     case TALLY_REFUSED: // nothing changed: call.error
 *     case TALLY_UNKNOWN: // may or may not be executed: repeat with the same identity, or ask
 *     ...
 *
 * Threads: a client belongs to one thread at a time; several clients in several threads are fine.
 * The library starts no thread, sets no signal handler and keeps no global state. SIGPIPE must be
 * ignored by the program (signal(SIGPIPE, SIG_IGN)), as for every program that writes to sockets.
 *
 * Unless stated otherwise pointers are borrowed until the function returns, strings end with a zero
 * byte, and out parameters are written only on TALLY_OK.
 */
#ifndef TALLY_H
#define TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TALLY_EVENTS_MAX    8190 /* ledgers, accounts, transfers or ids of one request */
#define TALLY_PAGE_MAX      4000 /* rows of one page of a list */
#define TALLY_LEDGERS_MAX   1024
#define TALLY_NAME_SIZE     65  /* longest name, 64 bytes of UTF-8, and the zero */
#define TALLY_URI_SIZE      256 /* longest URI, 255 bytes, and the zero */
#define TALLY_EXPONENT_MAX  18
#define TALLY_IN_FLIGHT_MAX 64
#define TALLY_ID_TEXT_SIZE  33 /* 32 hex digits and the zero */
#define TALLY_IDENTITY_SIZE 54 /* text form of an identity and the zero */
#define TALLY_AMOUNT_SIZE   64 /* longest amount as text, sign of nothing, and the zero */
#define TALLY_ERROR_SIZE    768

/* ---- how a call ended ---- */

enum tally_status {
    TALLY_OK = 0,
    /* The server refused the whole request; by this call nothing was changed. error.outcome and
     * error.text say why, error.retryable whether the same request may pass later. */
    TALLY_REFUSED = 1,
    /* The deadline passed, or no further attempt made sense, while an attempt had left this machine
     * and no final answer had come. The request may have been executed or may yet be. Repeat it
     * with the same identity and the same content, or ask tally_get_request();
     * tally_fence_request() makes "never" final. */
    TALLY_UNKNOWN = 2,
    /* Certainly nothing left this machine, or every attempt was turned away before it was looked
     * at.
     */
    TALLY_NOT_SENT = 3,
    /* A question was not answered in time. Questions change nothing: ask again. */
    TALLY_NO_ANSWER = 4,
    /* An argument was refused on this side; nothing was sent. */
    TALLY_INVALID = 5,
    /* As many calls are in flight as options.in_flight_max allows: tally_wait() first. */
    TALLY_BUSY = 6,
    TALLY_NO_MEMORY = 7,
    /* The operating system refused something: random numbers, a file, a socket. */
    TALLY_SYSTEM = 8,
};

/* What happened to a request as a whole; numbers as on the wire. */
enum tally_outcome {
    TALLY_OUTCOME_EXECUTED = 0,
    TALLY_OUTCOME_NONCE_REUSED = 1,   /* the nonce belongs to another request; final */
    TALLY_OUTCOME_REQUEST_FENCED = 2, /* fenced first: never executed, never will be; final */
    TALLY_OUTCOME_BEYOND_WINDOW = 3,  /* issued longer ago than the ledger remembers (24 h). This
                                       * attempt did nothing; an earlier one may have executed */
    TALLY_OUTCOME_ISSUED_TOO_FAR_AHEAD = 4, /* this machine's clock is ahead; retryable */
    TALLY_OUTCOME_WINDOW_FULL = 5,          /* the ledger's memory of requests is full; retryable */
    TALLY_OUTCOME_NOT_PERMITTED = 6,
    TALLY_OUTCOME_MALFORMED = 7,
    TALLY_OUTCOME_NOT_YET_SEEN = 8,   /* only from tally_get_request() */
    TALLY_OUTCOME_NOT_ACCEPTED = 254, /* turned away before the log; retryable */
    TALLY_OUTCOME_NONE = 255,         /* the answer, if any, named none */
};

/* What became of one event (ledger, account, transfer, principal); numbers as on the wire. */
enum tally_result {
    TALLY_RESULT_OK = 0,
    TALLY_RESULT_EXISTS = 1, /* was created before, equal in every field */
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_FLAGS = 2,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_LEDGER = 3,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_CODE = 4,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID = 5,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID = 6,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_AMOUNT = 7,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_PENDING_ID = 8,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128 = 9,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64 = 10,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32 = 11,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_TIMEOUT = 12,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_VALUE_DATE = 13,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_CURRENCY = 14,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_EXPONENT = 15,
    TALLY_RESULT_EXISTS_WITH_DIFFERENT_NAME = 16,
    TALLY_RESULT_ID_ALREADY_FAILED = 17, /* refused before, for good: look the transfer up */
    TALLY_RESULT_ID_ZERO = 20,
    TALLY_RESULT_ID_MAX = 21,
    TALLY_RESULT_RESERVED_FLAG = 22,
    TALLY_RESULT_RESERVED_FIELD = 23,
    TALLY_RESULT_FLAGS_MUTUALLY_EXCLUSIVE = 24,
    TALLY_RESULT_LEDGER_ZERO = 25,
    TALLY_RESULT_CODE_ZERO = 26,
    TALLY_RESULT_DEBIT_ACCOUNT_ID_ZERO = 27,
    TALLY_RESULT_DEBIT_ACCOUNT_ID_MAX = 28,
    TALLY_RESULT_CREDIT_ACCOUNT_ID_ZERO = 29,
    TALLY_RESULT_CREDIT_ACCOUNT_ID_MAX = 30,
    TALLY_RESULT_ACCOUNTS_SAME = 31,
    TALLY_RESULT_AMOUNT_ZERO = 32,
    TALLY_RESULT_PENDING_ID_NOT_ZERO = 33,
    TALLY_RESULT_TIMEOUT_NOT_ZERO = 34,
    TALLY_RESULT_VALUE_DATE_INVALID = 35,
    TALLY_RESULT_CURRENCY_INVALID = 36,
    TALLY_RESULT_EXPONENT_INVALID = 37,
    TALLY_RESULT_NAME_INVALID = 38,
    TALLY_RESULT_URI_INVALID = 39,
    TALLY_RESULT_ROLE_INVALID = 40,
    TALLY_RESULT_LEDGER_NOT_FOUND = 60,
    TALLY_RESULT_DEBIT_ACCOUNT_NOT_FOUND = 61,
    TALLY_RESULT_CREDIT_ACCOUNT_NOT_FOUND = 62,
    TALLY_RESULT_ACCOUNTS_ON_DIFFERENT_LEDGERS = 63,
    TALLY_RESULT_TRANSFER_ON_OTHER_LEDGER = 64,
    TALLY_RESULT_OVERFLOWS_DEBITS = 65,
    TALLY_RESULT_OVERFLOWS_CREDITS = 66,
    TALLY_RESULT_EXCEEDS_CREDITS = 67,
    TALLY_RESULT_EXCEEDS_DEBITS = 68,
    TALLY_RESULT_OVERFLOWS_LEDGER = 69,
    TALLY_RESULT_LAST_SITE_OPERATOR = 70,
    TALLY_RESULT_LEDGER_TABLE_FULL = 80,
    TALLY_RESULT_ACCOUNT_TABLE_FULL = 81,
    TALLY_RESULT_PRINCIPAL_TABLE_FULL = 82,
};

/* Names as on the wire ("EXCEEDS_CREDITS") and one English sentence with the next step. Static,
 * never NULL, also for numbers of a newer server. */
const char *tally_result_name(uint8_t result);
const char *tally_result_explanation(uint8_t result);
const char *tally_outcome_name(uint8_t outcome);
const char *tally_outcome_explanation(uint8_t outcome);
/* "refused", "unknown", "not sent", ... */
const char *tally_status_text(enum tally_status status);

struct tally_error {
    enum tally_status status;
    uint8_t outcome;             /* enum tally_outcome */
    bool retryable;              /* the same request may pass later */
    int grpc_code;               /* of the last answer; -1 when none came */
    uint32_t attempt_count;      /* attempts made */
    char text[TALLY_ERROR_SIZE]; /* for people: what, where, what to do next */
};

/* ---- identifiers, amounts, identities ---- */

/* 16 opaque bytes. All zero and all 0xff are refused by the ledger. */
struct tally_id {
    uint8_t bytes[16];
};
/* Unsigned 128-bit number of minor units (cents): high * 2^64 + low. */
struct tally_amount {
    uint64_t low;
    uint64_t high;
};
/* (nonce, issue time) name a request for ever, together with the principal of the certificate. */
struct tally_identity {
    uint8_t nonce[16];
    uint64_t issued_at_ns; /* ns since 1970 */
};

/* Reads an id: 32 hex digits; a UUID (8-4-4-4-12 hex digits); another run of decimal digits, a
 * number below 2^128 stored big-endian (so 255 is ...00ff); or "name:TEXT", the first 16 bytes of
 * SHA-256(TEXT), for demos and tests. Exactly 32 digits are always hex. TALLY_INVALID with the
 * reason in out_error->text. */
enum tally_status tally_id_parse(const char *text, size_t size, struct tally_id *out,
                                 struct tally_error *out_error);
/* 32 lower-case hex digits. */
void tally_id_format(const struct tally_id *id, char out[TALLY_ID_TEXT_SIZE]);

/* Reads a decimal amount in major units into minor units: digits, and when exponent > 0 perhaps a
 * point and at most `exponent` digits ("12", "12.3", "12.34" with exponent 2). No sign, space,
 * thousands separator, exponent notation or bare point. TALLY_INVALID with the reason. Zero is
 * read; the ledger refuses it. */
enum tally_status tally_amount_parse(const char *text, size_t size, uint32_t exponent,
                                     struct tally_amount *out, struct tally_error *out_error);
/* The exact inverse, always with `exponent` decimals: "12.30". exponent <= TALLY_EXPONENT_MAX. */
void tally_amount_format(const struct tally_amount *amount, uint32_t exponent,
                         char out[TALLY_AMOUNT_SIZE]);

/* A new identity: random nonce, issued now by this machine's clock. Keep it, with the content of
 * the request, before the first attempt: then a later process can repeat the request or ask about
 * it. TALLY_SYSTEM when the operating system has no random numbers. */
enum tally_status tally_identity_new(struct tally_identity *out);
/* "NONCE:ISSUED_AT_NS", 32 hex digits and a decimal number. */
void tally_identity_format(const struct tally_identity *identity, char out[TALLY_IDENTITY_SIZE]);
enum tally_status tally_identity_parse(const char *text, struct tally_identity *out,
                                       struct tally_error *out_error);

/* ---- a client ---- */

struct tally_client;

struct tally_options {
    const char *servers; /* "host:port,host:port,..."; [v6]:port; at most 16; tried in turn */
    const char *ca_file; /* PEM: who may sign the server's certificate */
    const char *certificate_file; /* PEM: this client, with its chain */
    const char *key_file;         /* PEM: its private key, without a passphrase */
    uint32_t deadline_ms;         /* of calls that name none; 0 = 10 000 */
    /* An attempt without an answer for this long is given up and repeated (same identity) at the
     * next server; 0 = 3000 with several servers, else the whole deadline. */
    uint32_t attempt_ms;
    uint32_t connect_ms;    /* until connected and authenticated; 0 = 3000 */
    uint32_t in_flight_max; /* submitted calls; 0 = 8; at most TALLY_IN_FLIGHT_MAX */
};

/* Reads the files; connects only with the first call. TALLY_INVALID names the option or file and
 * what is wrong with it (expired certificate, key of another certificate, ...). */
enum tally_status tally_client_create(const struct tally_options *options,
                                      struct tally_client **out_client,
                                      struct tally_error *out_error);
/* Accepts NULL. Calls still in flight end first, with TALLY_UNKNOWN, TALLY_NOT_SENT or
 * TALLY_NO_ANSWER: their callbacks fire inside. Not to be called from a callback. */
void tally_client_destroy(struct tally_client *client);

/* ---- calls ---- */

struct tally_call;
typedef void (*tally_call_cb)(struct tally_call *call, enum tally_status status);

/* One call: what it needs, then what came of it. Zero what you do not set. */
struct tally_call {
    struct tally_identity identity; /* calls that change something: from tally_identity_new() */
    uint32_t deadline_ms;           /* from now; 0 = the client's default; at most one day */
    uint64_t min_index;             /* questions: answer from a state that includes this log index
                                     * (read your writes at any node); 0 = the newest state */
    uint32_t max_age_ms;            /* questions: a state that was the newest at most this long ago
                                     * will do, and may be answered without asking the other nodes;
                                     * 0 = the newest; at most one day */
    uint32_t attempts_max;          /* ends with the last attempt's failure after so many; 0 = as
                                     * many as the deadline has room for. 1 asks how somebody is
                                     * now: "connection refused" is an answer, too */
    void *user;                     /* yours */
    /* ---- filled in ---- */
    uint64_t index; /* TALLY_OK: log index that the answer reflects */
    uint64_t
        timestamp_ns; /* TALLY_OK, calls that change: commit stamp of event 0; event k has + k */
    struct tally_error error; /* TALLY_OK: attempt_count alone says something */
};

/* Repeats inside the deadline, with the same identity and the same bytes, whatever was refused for
 * now or got lost: after a jittered back-off from 20 ms to 1 s, or the server's own hint.
 *
 * Results: `out_results` has room for `count` bytes, each an enum tally_result, in the order asked.
 * count is 1 to TALLY_EVENTS_MAX. Statuses: all but TALLY_BUSY and TALLY_NO_ANSWER. */

struct tally_new_ledger {
    uint32_t id;          /* not 0 */
    uint32_t exponent;    /* decimal digits of the minor unit, 0 .. 18 */
    const char *currency; /* three letters, ISO 4217 */
    const char *name;     /* 1 to 64 bytes of UTF-8 */
};
enum tally_status tally_create_ledgers(struct tally_client *client, struct tally_call *call,
                                       const struct tally_new_ledger *ledgers, size_t count,
                                       uint8_t *out_results);

#define TALLY_DEBITS_MUST_NOT_EXCEED_CREDITS 1u
#define TALLY_CREDITS_MUST_NOT_EXCEED_DEBITS 2u

struct tally_new_account {
    struct tally_id id;
    struct tally_id user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t ledger;
    uint32_t code; /* 1 to 65535 */
    uint32_t flags;
};
enum tally_status tally_create_accounts(struct tally_client *client, struct tally_call *call,
                                        const struct tally_new_account *accounts, size_t count,
                                        uint8_t *out_results);

struct tally_new_transfer {
    struct tally_id id; /* unique for ever */
    struct tally_id debit_account_id;
    struct tally_id credit_account_id;
    struct tally_id user_data_128;
    struct tally_amount amount; /* minor units, not zero */
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t ledger;
    uint32_t code;       /* 1 to 65535 */
    uint32_t flags;      /* 0 in this version */
    uint32_t value_date; /* YYYYMMDD or 0 */
};
enum tally_status tally_create_transfers(struct tally_client *client, struct tally_call *call,
                                         const struct tally_new_transfer *transfers, size_t count,
                                         uint8_t *out_results);

enum tally_role {
    TALLY_ROLE_NONE = 0, /* nothing is allowed */
    TALLY_ROLE_CHANNEL = 1,
    TALLY_ROLE_BUSINESS_OPERATOR = 2,
    TALLY_ROLE_SITE_OPERATOR = 3,
    TALLY_ROLE_AUDITOR = 4,
    TALLY_ROLE_NODE = 5,
};
/* "channel", "business_operator", ...; "none" for other numbers. */
const char *tally_role_name(uint8_t role);
/* False when the word is no role. */
bool tally_role_parse(const char *name, uint8_t *out_role);

struct tally_principal {
    char uri[TALLY_URI_SIZE];   /* the certificate's one URI SAN */
    char name[TALLY_NAME_SIZE]; /* the principal; several certificates may share it */
    uint8_t role;               /* enum tally_role */
    uint32_t in_flight_max;     /* requests in flight; 0 = the node's default */
};
/* Adds or changes rows of the table of principals. */
enum tally_status tally_set_principals(struct tally_client *client, struct tally_call *call,
                                       const struct tally_principal *principals, size_t count,
                                       uint8_t *out_results);

/* ---- many at once ---- */

/* Starts and returns; `call`, `transfers` and `out_results` stay borrowed until `cb`, which fires
 * exactly once, from tally_wait(), another call of this client or tally_client_destroy(), never
 * from here; statuses as of tally_create_transfers(). If this returns anything but TALLY_OK
 * (TALLY_BUSY, TALLY_INVALID, TALLY_NO_MEMORY; call->error is filled) cb never fires. cb may submit
 * again, and must not make other calls or destroy the client. Calls submitted together may execute
 * in any order. */
enum tally_status tally_submit_transfers(struct tally_client *client, struct tally_call *call,
                                         const struct tally_new_transfer *transfers, size_t count,
                                         uint8_t *out_results, tally_call_cb cb);
enum tally_status tally_submit_accounts(struct tally_client *client, struct tally_call *call,
                                        const struct tally_new_account *accounts, size_t count,
                                        uint8_t *out_results, tally_call_cb cb);
/* Works until at least one submitted call has ended or `timeout_ms` passed; returns how many have
 * ended inside, 0 at once when none is in flight. */
size_t tally_wait(struct tally_client *client, uint32_t timeout_ms);
size_t tally_in_flight(const struct tally_client *client);

/* ---- questions ----
 * Statuses: TALLY_OK, TALLY_REFUSED (role, ledger not found), TALLY_NO_ANSWER, TALLY_NOT_SENT,
 * TALLY_INVALID, TALLY_NO_MEMORY, TALLY_SYSTEM. Nothing changes. */

struct tally_account {
    struct tally_id id;
    struct tally_id user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t ledger;
    uint32_t code;
    uint32_t flags;
    struct tally_amount debits_pending, debits_posted;
    struct tally_amount credits_pending, credits_posted;
    uint64_t timestamp_ns;
    uint64_t transfer_count;
};
/* Those of `ids` (1 to TALLY_EVENTS_MAX) that exist, in the order asked; `out` has room for
 * `count`.
 */
enum tally_status tally_lookup_accounts(struct tally_client *client, struct tally_call *call,
                                        const struct tally_id *ids, size_t count,
                                        struct tally_account *out, size_t *out_count);

struct tally_transfer {
    struct tally_id id;
    struct tally_id debit_account_id;  /* zero when refused because it was not found */
    struct tally_id credit_account_id; /* likewise */
    struct tally_id pending_id;
    struct tally_id user_data_128;
    struct tally_amount amount;
    uint64_t user_data_64;
    uint64_t timestamp_ns;
    uint64_t sequence; /* place among all transfers; from tally_list_transfers() only */
    uint32_t user_data_32;
    uint32_t timeout_s;
    uint32_t ledger;
    uint32_t code;
    uint32_t flags;
    uint32_t value_date;
    uint8_t refused; /* enum tally_result: OK when posted, otherwise why it was refused for ever */
};
/* Those on record, in the order asked; refused ones say so. */
enum tally_status tally_lookup_transfers(struct tally_client *client, struct tally_call *call,
                                         const struct tally_id *ids, size_t count,
                                         struct tally_transfer *out, size_t *out_count);

struct tally_ledger {
    uint32_t id;
    uint32_t exponent;
    uint32_t account_count;
    uint64_t timestamp_ns;
    char currency[4];
    char name[TALLY_NAME_SIZE];
};
/* All ledgers; `out` has room for TALLY_LEDGERS_MAX. */
enum tally_status tally_list_ledgers(struct tally_client *client, struct tally_call *call,
                                     struct tally_ledger *out, size_t *out_count);

/* One page in order of creation. `ledger` 0 = all. `first` is 0, then *out_next_first of the page
 * before until that is 0. `out` has room for `limit`, 1 to TALLY_PAGE_MAX. */
enum tally_status tally_list_accounts(struct tally_client *client, struct tally_call *call,
                                      uint32_t ledger, uint32_t first, uint32_t limit,
                                      struct tally_account *out, size_t *out_count,
                                      uint32_t *out_next_first);
/* Likewise in order of commit, refused ones included. */
enum tally_status tally_list_transfers(struct tally_client *client, struct tally_call *call,
                                       uint32_t ledger, uint64_t first, uint32_t limit,
                                       struct tally_transfer *out, size_t *out_count,
                                       uint64_t *out_next_first);

struct tally_trial_balance_row {
    uint32_t code;
    uint64_t account_count;
    struct tally_amount debits_pending, debits_posted;
    struct tally_amount credits_pending, credits_posted;
};
struct tally_trial_balance {
    struct tally_ledger ledger;
    struct tally_trial_balance_row *rows; /* by account code */
    size_t row_count;
    struct tally_amount debits_pending, debits_posted; /* over all accounts of the ledger */
    struct tally_amount credits_pending, credits_posted;
    bool balanced; /* debits = credits, and both match the ledger's running totals */
    uint64_t index;
    uint64_t timestamp_ns;
    uint8_t digest[32]; /* of the whole state at index */
    size_t digest_size; /* bytes used */
};
enum tally_status tally_trial_balance(struct tally_client *client, struct tally_call *call,
                                      uint32_t ledger, struct tally_trial_balance *out);
void tally_trial_balance_deinit(struct tally_trial_balance *balance);

struct tally_request {
    uint8_t outcome;  /* enum tally_outcome: EXECUTED, REQUEST_FENCED, NOT_YET_SEEN, ... */
    char method[64];  /* "CreateTransfers", ... when executed */
    uint8_t *results; /* when executed: enum tally_result of each event */
    size_t result_count;
    uint64_t index;
    uint64_t timestamp_ns;
};
/* What became of the request `asked`. `principal` NULL or "" = this certificate's own. */
enum tally_status tally_get_request(struct tally_client *client, struct tally_call *call,
                                    const struct tally_identity *asked, const char *principal,
                                    struct tally_request *out);
/* Changes something: from then on `fenced` cannot execute any more, unless it already has; *out
 * says which. May be repeated (call->identity is not used). Statuses as of calls that change. */
enum tally_status tally_fence_request(struct tally_client *client, struct tally_call *call,
                                      const struct tally_identity *fenced,
                                      struct tally_request *out);
void tally_request_deinit(struct tally_request *request);

/* All rows. *out_principals is the caller's, to be given to tally_free(). */
enum tally_status tally_list_principals(struct tally_client *client, struct tally_call *call,
                                        struct tally_principal **out_principals, size_t *out_count);
/* ---- members of the cluster ---- */

#define TALLY_MEMBERS_MAX         16
#define TALLY_SITE_SIZE           17  /* longest name of a site, 16 bytes, and the zero */
#define TALLY_MEMBER_ADDRESS_SIZE 129 /* longest address, 128 bytes, and the zero */

enum tally_member_kind { TALLY_MEMBER_DATA = 0, TALLY_MEMBER_WITNESS = 1 };
enum tally_member_vote {
    TALLY_MEMBER_SPARE = 0,   /* in the table, does not vote */
    TALLY_MEMBER_STANDBY = 1, /* receives the log, does not vote */
    TALLY_MEMBER_VOTER = 2,
};
struct tally_member {
    uint64_t node_id; /* 1 to 2^63 - 1; never used again after a removal */
    uint8_t kind;     /* enum tally_member_kind */
    uint8_t incarnation[16];
    char site[TALLY_SITE_SIZE];
    char address[TALLY_MEMBER_ADDRESS_SIZE]; /* for the other members */
};
struct tally_member_state {
    struct tally_member member;
    uint8_t vote; /* enum tally_member_vote */
    bool leader;
    bool asked;  /* this node gave the answer; what follows is its view */
    bool linked; /* connected to it */
    bool heard;  /* since it started */
    bool catching_up;
    uint64_t heard_ms;    /* ago */
    uint64_t match_index; /* known by the leader: durable in the member's journal; 0 = unknown */
    uint64_t catch_up_bytes, catch_up_bytes_total; /* total 0 = not known yet */
};
struct tally_members {
    struct tally_member_state rows[TALLY_MEMBERS_MAX];
    size_t count;
    uint64_t leader_id; /* 0 = the asked node knows of none */
    uint64_t term, commit_index;
    bool changing;     /* a change of members is not committed yet */
    bool transferring; /* leadership moves away */
};
/* As the asked node sees them; it asks nobody, so it answers also while nobody leads. */
enum tally_status tally_list_members(struct tally_client *client, struct tally_call *call,
                                     struct tally_members *out);

/* The four below need the role site_operator, are done by the leader (found among the client's
 * servers), take no identity, and may be repeated at any time: the same call goes on where an
 * earlier one stopped. TALLY_OK: committed whole. TALLY_NO_ANSWER: not done by the deadline;
 * tally_list_members() shows how far it is. TALLY_REFUSED: error.text says which rule stands in the
 * way. A new member has to catch up before it votes: give minutes. `force`: although fewer losses
 * would be survived. */
enum tally_status tally_add_member(struct tally_client *client, struct tally_call *call,
                                   const struct tally_member *member, bool force);
/* Adds `member`, then removes `old_id`, which may be dead. */
enum tally_status tally_replace_member(struct tally_client *client, struct tally_call *call,
                                       uint64_t old_id, const struct tally_member *member,
                                       bool force);
enum tally_status tally_remove_member(struct tally_client *client, struct tally_call *call,
                                      uint64_t node_id, bool force);
/* `to`: 0 = the best data node, at another site if there is one. TALLY_OK once another member
 * leads, or `to` already does. */
enum tally_status tally_transfer_leadership(struct tally_client *client, struct tally_call *call,
                                            uint64_t to, uint64_t *out_leader_id);

/* ---- requests in doubt ---- */

struct tally_in_doubt {
    char principal[65];
    struct tally_identity identity;
    uint64_t seen_at_ns;
    bool unanswered;  /* the node told its client that the outcome is unknown */
    bool client_gone; /* the client did not wait for the end */
    bool inherited;   /* found in an entry of a leader that is gone; it may have been answered */
    char method[32];
    uint32_t event_count;
    uint8_t outcome; /* enum tally_outcome, as of the call */
    uint64_t index, timestamp_ns;
    uint32_t ok_count, refused_count;
};
struct tally_in_doubt_page {
    struct tally_in_doubt *rows; /* the caller's, to be given to tally_free() */
    size_t count;
    uint64_t next;      /* `first` of the next page; 0: there is none */
    uint64_t forgotten; /* older ones that the node had no room for */
    uint64_t since_ns;  /* the node was started then */
};
/* What the node that answers noted at `since_ns` or later; roles site operator and auditor. Every
 * node has a list of its own. */
enum tally_status tally_list_in_doubt(struct tally_client *client, struct tally_call *call,
                                      uint64_t since_ns, uint64_t first,
                                      struct tally_in_doubt_page *out);

/* ---- operations on a whole site ---- */

#define TALLY_SITE_CHECKS_MAX 32
#define TALLY_SITE_STEPS_MAX  32
#define TALLY_SITE_TEXT_SIZE  256

enum tally_site_operation {
    TALLY_SITE_SWITCHOVER = 0, /* the site leads; requests wait for a moment, none is refused */
    TALLY_SITE_DRAIN = 1,      /* its nodes neither lead nor serve clients */
    TALLY_SITE_RESUME = 2,     /* the reverse, once it is current */
    TALLY_SITE_POLICY = 3,     /* other rules for degrading and returning: `settings` */
    TALLY_SITE_DEGRADE = 4,    /* go on without the site */
    TALLY_SITE_RETURN = 5,     /* both sites again */
};
enum tally_site_verdict {
    TALLY_SITE_FINE = 0,
    TALLY_SITE_IN_THE_WAY = 1,
    TALLY_SITE_FORCED = 2, /* in the way, and overruled by force */
};
struct tally_site_request {
    uint8_t operation;    /* enum tally_site_operation */
    const char *site;     /* NULL: of POLICY and RETURN, which are about both */
    const char *reason;   /* at most 120 bytes; only a switchover may have none, NULL */
    const char *settings; /* POLICY: "decision=never preferred_site=A", names as in /status */
    bool dry_run;         /* the checks only */
    bool force;           /* although less loss would be survived */
    bool power_off;       /* DRAIN: the site's nodes are going to be stopped */
    bool has_number;      /* refused when there is a later durability entry than `number` */
    uint64_t number;
};
struct tally_site_report {
    bool done_before;   /* it was so already */
    bool again;         /* of DRAIN: the leader left the site; call again, the new one goes on */
    uint64_t leader_id; /* at the end */
    uint64_t number;    /* of the newest durability entry */
    uint64_t held_us;   /* how long new requests were held */
    size_t check_count;
    struct tally_site_check {
        uint8_t verdict; /* enum tally_site_verdict */
        char text[TALLY_SITE_TEXT_SIZE];
    } checks[TALLY_SITE_CHECKS_MAX];
    size_t step_count;
    struct tally_site_step {
        uint64_t at_us; /* since the command began */
        char text[TALLY_SITE_TEXT_SIZE];
    } steps[TALLY_SITE_STEPS_MAX];
    size_t pause_count;
    struct tally_site_pause {
        uint64_t node_id;
        bool known;               /* the node told how its clients fared */
        uint64_t longest_wait_us; /* of one request, from its arrival to its answer */
        uint64_t longest_gap_us;  /* between two answers */
        uint64_t answered, refused, unknown;
    } pauses[TALLY_MEMBERS_MAX];
};
/* At the leader, wherever it is among the servers; safe to repeat. TALLY_REFUSED: a check stands in
 * the way, or it was given up; call->error says what, and no request was refused for it. */
enum tally_status tally_operate_site(struct tally_client *client, struct tally_call *call,
                                     const struct tally_site_request *request,
                                     struct tally_site_report *out);

/* The node's status as a JSON document, the caller's, to be given to tally_free(). */
enum tally_status tally_get_status(struct tally_client *client, struct tally_call *call,
                                   char **out_json);
void tally_free(void *pointer);

#ifdef __cplusplus
}
#endif

#endif
