/*
 * A ledger_past in RAM: keeps every epoch it is given, as storage would, and can restore a machine
 * from them. Plain arrays with chained hashing; slow and simple next to what it stands for.
 */
#ifndef TALLY_TESTS_LIB_PAST_MEMORY_H
#define TALLY_TESTS_LIB_PAST_MEMORY_H

#include "core/machine.h"

struct past_memory {
    struct transfer_record *transfers;
    uint64_t *transfer_next; /* chain: position + 1, 0 = end */
    uint64_t transfer_count;
    uint64_t transfer_capacity;
    uint64_t *transfer_heads;

    struct request_record *requests;
    uint8_t **answers;
    uint64_t *request_next;
    uint64_t request_count;
    uint64_t request_capacity;
    uint64_t *request_heads;

    struct account_record *accounts;
    struct balance_record *balances;
    uint32_t account_count;
    uint32_t account_capacity;

    struct ledger_record *ledgers;
    struct principal_record *principals;
    struct request_window_record window;
    struct machine_checkpoint checkpoint; /* pointers into this struct; of the last epoch */

    uint64_t transfer_question_count; /* how often transfer_by_id was asked */
};

void past_memory_init(struct past_memory *past);
void past_memory_deinit(struct past_memory *past);
/* The table of functions; its context is `past`. */
struct ledger_past past_memory_table(struct past_memory *past);

/* Takes over a frozen epoch, which must follow the one before without a gap (else it aborts). */
void past_memory_take(struct past_memory *past, const struct epoch *epoch);

/* Freezes, takes over and releases in one go. */
void past_memory_checkpoint(struct past_memory *past, struct machine *machine);

/* machine_restore_begin, _account for each, _end with what was taken over; the first status that is
 * not STATUS_OK. */
enum status past_memory_restore(const struct past_memory *past, struct machine *machine);

#endif
