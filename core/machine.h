/*
 * The state machine: everything the ledger decides, as a function of the applied prefix of the log.
 *
 * Start reading here, then transfer.c. One thread owns a machine. Nothing here does I/O, reads a
 * clock or fails halfway: machine_apply() checks everything of an event, then changes state without
 * any way to fail. State lives in RAM: accounts, ledgers and principals whole; transfers and
 * requests in two memtables (current and frozen), older ones behind `struct ledger_past`.
 *
 * Life of an epoch:
 *     machine_apply()*  ->  machine_freeze()  ->  storage writes the epoch (another thread)
 *                       ->  machine_release_epoch() after the new checkpoint can be read
 * While an epoch is frozen apply goes on into the other memtable. Nothing that apply decides, and
 * no digest, depends on when epochs begin or end.
 */
#ifndef TALLY_CORE_MACHINE_H
#define TALLY_CORE_MACHINE_H

#include "core/command.h"
#include "core/ledger_past.h"
#include "core/record.h"
#include "core/result.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;

/* Memory comes from outside: core links nothing. `allocate` returns zeroed memory aligned to 64, or
 * NULL; called only by machine_create. Large tables rely on untouched memory costing nothing. */
struct memory {
    void *context;
    void *(*allocate)(void *context, size_t size);
    void (*release)(void *context, void *pointer, size_t size);
};

struct machine_options {
    struct memory memory;
    uint32_t account_count_max;        /* normally ACCOUNTS_MAX; all nodes alike */
    uint32_t epoch_transfer_count_max; /* memtable sizes; each is held twice */
    uint32_t epoch_request_count_max;
    uint32_t epoch_answer_bytes_max;
    /* Bounds agreed by all nodes; 0 means the number in bounds.h. Tests make them small. */
    uint32_t ledger_count_max;
    uint32_t principal_count_max;
    uint64_t request_count_max;        /* remembered at once */
    uint64_t request_answer_bytes_max; /* of their stored answers */
    /* Seed of the hash tables, best drawn at random per process so that nobody can choose ids that
     * collide. Nothing visible depends on it; 0 is allowed. */
    uint64_t hash_seed;
};

/* STATUS_NO_MEMORY, or STATUS_INVALID when a size is zero or smaller than one entry needs
 * (REQUEST_EVENTS_MAX transfers, ENTRY_REQUESTS_MAX requests and their answers), or beyond the
 * bounds. `past` is copied, all its functions but the prefetch are set (invariant), and its context
 * must outlive the machine. */
enum status machine_create(const struct machine_options *options, const struct ledger_past *past,
                           struct machine **out_machine);
void machine_destroy(struct machine *machine);

/* ---- apply ---- */

/* The answer to one request. The pointers are borrowed until the callback returns. */
struct answer {
    uint64_t index;  /* log index at which the request took effect (original one if repeated) */
    uint64_t stamp;  /* commit stamp of its first event, ns since 1970 */
    uint8_t outcome; /* enum outcome; results are valid only if OUTCOME_EXECUTED */
    bool repeated;   /* stored answer of an identical earlier request */
    uint16_t operation;
    uint16_t encoding; /* encoding version the answer body must be written in */
    uint32_t event_count;
    const uint8_t *results; /* event_count x enum result */
};

/* `position` counts the requests of the entry from 0. Must not call back into the machine's apply,
 * freeze or release. */
typedef void (*answer_cb)(void *context, uint32_t position, const struct answer *answer);

/* Applies the entry at `index`, which must be the last applied index + 1 (invariant), and answers
 * each of its requests in order, each exactly once. Total: any bytes of COMMAND_VERSION are
 * applied; unreadable requests answer OUTCOME_MALFORMED and change nothing, and an entry whose very
 * header is unreadable has no requests. `entry` is 8-byte aligned (invariant). The caller has made
 * sure of machine_room_for() with the counts of the entry's header (invariant) and of
 * command_cursor_init() != STATUS_VERSION (invariant). `cb` may be NULL (replay).
 *
 * Requests are judged at ledger time = the entry's stamp. Stamps never stand still: an entry whose
 * stamp is not above machine_stamp() (no correct proposer writes one) counts as stamped
 * machine_stamp() + 1.
 *
 * Genesis: while the principal table is empty, SET_PRINCIPALS with header.principal = 0 is executed
 * whatever role and issue time; it alone is not remembered as a request. */
void machine_apply(struct machine *machine, uint64_t index, uint64_t term, const void *entry,
                   size_t size, answer_cb cb, void *context);

/* An entry that is not a command (barrier, configuration) still moves the applied index. */
void machine_apply_other(struct machine *machine, uint64_t index, uint64_t term);

/* Room in the current memtable for an entry with these totals (upper bounds). */
bool machine_room_for(const struct machine *machine, uint32_t event_count, uint32_t request_count);

uint64_t machine_applied_index(const struct machine *machine);
uint64_t machine_applied_term(const struct machine *machine);
/* Ledger time: highest stamp applied, ns since 1970; 0 at the beginning. */
uint64_t machine_stamp(const struct machine *machine);
/* Number of transfer records ever made, accepted and refused: the next sequence number. */
uint64_t machine_transfer_count(const struct machine *machine);

/* Digest of the logical state: order-independent 128-bit sum over accounts with balances,
 * transfers, ledgers, principals and every request ever remembered. Equal prefixes give equal
 * digests. */
void machine_digest(const struct machine *machine, uint8_t out_digest[16]);

/* ---- questions (loop thread, between applies) ---- */

struct account {
    struct account_record record;
    struct balance_record balance;
};

bool machine_account(const struct machine *machine, const struct id128 *id, struct account *out);
/* Account by ordinal, 0 .. machine_account_count() - 1. */
bool machine_account_at(const struct machine *machine, uint32_t ordinal, struct account *out);
uint32_t machine_account_count(const struct machine *machine);

bool machine_ledger(const struct machine *machine, uint32_t id, struct ledger_record *out);
bool machine_ledger_at(const struct machine *machine, uint32_t position, struct ledger_record *out);
uint32_t machine_ledger_count(const struct machine *machine);

/* Memtables first, then the past: may read storage. Refused (burned) transfers are found too. */
bool machine_transfer(const struct machine *machine, const struct id128 *id,
                      struct transfer_record *out);
bool machine_transfer_at(const struct machine *machine, uint64_t sequence,
                         struct transfer_record *out);

/* Row by certificate URI (bytes, not terminated). NULL when unlisted; valid until the next apply.
 */
const struct principal_record *machine_principal(const struct machine *machine, const char *uri,
                                                 size_t uri_size, uint32_t *out_ordinal);
const struct principal_record *machine_principal_at(const struct machine *machine,
                                                    uint32_t ordinal);
uint32_t machine_principal_count(const struct machine *machine);

/* What became of a request of the principal with this name ordinal. `out->outcome`: EXECUTED or
 * REQUEST_FENCED with the stored answer; NONCE_REUSED when the nonce lives with another issue time;
 * BEYOND_WINDOW; NOT_YET_SEEN. out->results points into `results` (capacity REQUEST_EVENTS_MAX). */
void machine_request(const struct machine *machine, uint32_t name_ordinal, const uint8_t nonce[16],
                     uint64_t issued_at_ns, struct answer *out, uint8_t *results);

/* The answer that applying `request` (complete: principal and digest) would repeat now, because it
 * was executed, or is fenced: true, with out->results in `results` (capacity REQUEST_EVENTS_MAX).
 * False: only the log can say. Such an answer never changes, so it may be given by a node that
 * cannot reach the log. */
bool machine_repeat(const struct machine *machine, const struct request_header *request,
                    struct answer *out, uint8_t *results);

/* Sums over the accounts of one ledger, by account code; walks all accounts (10 to 25 ms
 * a million). */
struct trial_balance_row {
    uint16_t code;
    uint64_t account_count;
    u128 debits_posted, credits_posted, debits_pending, credits_pending;
};
/* Calls `row` once per code in ascending order, codes without accounts left out. Returns false when
 * the ledger does not exist, or (*out_balanced = false) reports a total that does not match. */
bool machine_trial_balance(const struct machine *machine, uint32_t ledger,
                           void (*row)(void *context, const struct trial_balance_row *row),
                           void *context, bool *out_balanced);

/* ---- epochs ---- */

/* Everything that changed since the last freeze, as records in final format. Owned by the machine,
 * unchanging until machine_release_epoch(); another thread may read it. */
struct epoch {
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t stamp;
    uint8_t digest[16];

    uint64_t transfer_first; /* sequence number of transfers[0] */
    uint32_t transfer_count;
    const struct transfer_record *transfers;

    uint32_t account_first; /* ordinal of accounts[0]: accounts created in this epoch */
    uint32_t account_count;
    const struct account_record *accounts;

    uint32_t balance_count;           /* accounts whose balance changed, or that are new */
    const uint32_t *balance_ordinals; /* ascending */
    const struct balance_record *balances;

    uint64_t request_first; /* sequence number of requests[0], counted from 0 for ever */
    uint32_t request_count;
    const struct request_record *requests;
    const uint32_t *answer_offsets; /* where requests[i]'s answer begins in `answers` */
    const uint8_t *answers;
    uint32_t answer_bytes;

    uint32_t ledger_count; /* all of them, in order of creation */
    const struct ledger_record *ledgers;
    uint32_t principal_count; /* all of them, by ordinal */
    const struct principal_record *principals;
    const struct request_window_record *request_window;
};

/* Closes the current memtable and returns it. Invariant: none is frozen. */
const struct epoch *machine_freeze(struct machine *machine);
bool machine_is_frozen(const struct machine *machine);
/* The frozen epoch can be read through ledger_past: forget it here. */
void machine_release_epoch(struct machine *machine);

/* ---- restart: an empty machine takes over a checkpoint, in this order ---- */

struct machine_checkpoint {
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t stamp;
    uint8_t digest[16];
    uint64_t transfer_count;
    uint64_t request_count;
    uint32_t ledger_count;
    const struct ledger_record *ledgers;
    uint32_t principal_count;
    const struct principal_record *principals;
    const struct request_window_record *request_window;
};

/* All three refuse what does not fit (STATUS_CORRUPT: duplicate id, unknown ledger, beyond bounds,
 * wrong count), since the bytes come from disk. restore_end checks digest-bearing totals: the sum
 * over accounts equals the ledgers' totals. */
enum status machine_restore_begin(struct machine *machine,
                                  const struct machine_checkpoint *checkpoint);
/* Once per account, ordinals ascending from 0 without gaps. */
enum status machine_restore_account(struct machine *machine, const struct account_record *record,
                                    const struct balance_record *balance);
enum status machine_restore_end(struct machine *machine);

#endif
