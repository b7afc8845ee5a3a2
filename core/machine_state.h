/*
 * The inside of `struct machine`, for the files of core that judge and change it. Others see
 * machine.h only.
 */
#ifndef TALLY_CORE_MACHINE_STATE_H
#define TALLY_CORE_MACHINE_STATE_H

#include "core/account_table.h"
#include "core/ledger_table.h"
#include "core/machine.h"
#include "core/memtable.h"
#include "core/principal_table.h"
#include "core/request.h"

/*
 *   EMPTY --first apply--> RUNNING
 *     | restore_begin         ^
 *     v                       | restore_end
 *   RESTORING ----------------'
 *     | anything refused
 *     v
 *   REFUSED (only machine_destroy is left)
 */
enum machine_phase {
    MACHINE_EMPTY,
    MACHINE_RESTORING,
    MACHINE_RUNNING,
    MACHINE_REFUSED,
};

/* The frozen epoch: what it points to besides the frozen memtable. */
struct epoch_image {
    struct epoch epoch;
    uint32_t *balance_ordinals;
    struct balance_record *balances;
    struct ledger_record *ledgers;
    struct principal_record *principals;
    struct request_window_record window;
};

struct restore_totals {
    u128 digest; /* as the checkpoint says */
    uint64_t account_count;
    uint64_t last_timestamp;
    u128 *debits_posted; /* by ledger position, summed over the accounts read so far */
    u128 *credits_posted;
    u128 *debits_pending;
    u128 *credits_pending;
    uint32_t *account_counts;
};

#define MACHINE_REGIONS_MAX 40

struct machine {
    struct memory memory;
    struct {
        void *pointer;
        size_t size;
    } regions[MACHINE_REGIONS_MAX]; /* in order of allocation, this struct apart */
    uint32_t region_count;
    enum machine_phase phase;

    struct ledger_past past;
    uint64_t hash_seed;
    uint64_t request_count_max;
    uint64_t request_answer_bytes_max;

    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t stamp;
    uint64_t transfer_count; /* ever made: the next sequence number */
    uint64_t request_count;  /* ever remembered: the next sequence number */
    u128 digest_sum;         /* without the ledgers' contributions */

    struct account_table accounts;
    struct ledger_table ledgers;
    struct principal_table principals;
    struct request_window_record window;

    struct memtable memtables[2];
    uint32_t current;
    bool frozen;                  /* the memtable that is not current belongs to `image` */
    uint32_t epoch_account_first; /* accounts.count at the last freeze */
    struct epoch_image image;

    struct restore_totals restore;
    struct trial_balance_row *trial_rows; /* by account code, for machine_trial_balance */
    uint64_t *trial_codes;                /* one bit per code in use, likewise */

    struct request_memory memory_of_request; /* of the request being applied */
    uint8_t results[REQUEST_EVENTS_MAX];     /* likewise */
    uint8_t packed[REQUEST_EVENTS_MAX];      /* likewise */
};

static inline const struct memtable *machine_current(const struct machine *machine)
{
    return &machine->memtables[machine->current];
}

static inline struct memtable *machine_current_mutable(struct machine *machine)
{
    return &machine->memtables[machine->current];
}

/* NULL when no epoch is frozen. */
static inline const struct memtable *machine_frozen(const struct machine *machine)
{
    return machine->frozen ? &machine->memtables[1 - machine->current] : NULL;
}

/* To be called for each account that is added: touches the memory into which a freeze will copy its
 * balance, so that the first freeze after many accounts does not pay for the pages. */
static inline void machine_touch_image(struct machine *machine, uint32_t ordinal,
                                       const struct balance_record *balance)
{
    /* A frozen epoch has at most as many balances as accounts before this one: no reader here. */
    machine->image.balances[ordinal] = *balance;
    machine->image.balance_ordinals[ordinal] = ordinal;
}

/* Sum of the ledgers' contributions to the digest. */
u128 machine_ledgers_digest(const struct machine *machine);

#endif
