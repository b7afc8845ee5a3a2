/*
 * Epochs made by hand from a seed, so that a store can be tested without core and checked by a
 * process that never saw the writer: every record is a pure function of (seed, its number), and
 * the books balance.
 */
#ifndef TALLY_TESTS_STORAGE_EPOCH_MAKER_H
#define TALLY_TESTS_STORAGE_EPOCH_MAKER_H

#include "core/machine.h"
#include "storage/checkpoint.h"

struct epoch_maker_options {
    uint64_t seed;
    uint32_t base_accounts;   /* made by the first epoch; transfers move between these */
    uint64_t request_step_ns; /* between the issue times of two requests; 0 = 1 ms */
    uint32_t answer_size_max; /* stored answers are 0 .. this; 0 = 64 */
};

struct epoch_plan {
    uint32_t transfers;
    uint32_t accounts; /* beside the base accounts */
    uint32_t requests;
};

struct epoch_maker;
struct epoch_maker *epoch_maker_create(const struct epoch_maker_options *options);
void epoch_maker_destroy(struct epoch_maker *maker);

/* The next epoch; valid, with *out_meta's contents, until the next call. */
const struct epoch *epoch_maker_next(struct epoch_maker *maker, const struct epoch_plan *plan,
                                     struct checkpoint_meta *out_meta);
/* A plan drawn from (seed, number of the epoch): mostly small, sometimes large, sometimes empty. */
struct epoch_plan epoch_maker_plan(const struct epoch_maker *maker, uint32_t transfers_max);

uint64_t epoch_maker_epochs(const struct epoch_maker *maker);
uint64_t epoch_maker_transfers(const struct epoch_maker *maker);
uint64_t epoch_maker_requests(const struct epoch_maker *maker);
uint32_t epoch_maker_accounts(const struct epoch_maker *maker);
uint64_t epoch_maker_stamp(const struct epoch_maker *maker);

/* What a number stands for, whether or not it was made yet. */
void made_transfer(const struct epoch_maker *maker, uint64_t sequence, struct transfer_record *out);
void made_account(const struct epoch_maker *maker, uint32_t ordinal, struct account_record *out);
void made_request(const struct epoch_maker *maker, uint64_t number, struct request_record *out,
                  uint8_t *answer);
const struct balance_record *made_balance(const struct epoch_maker *maker, uint32_t ordinal);

/* Asks the past for transfers and requests, each `stride`-th of those made so far and as many that
 * were not; NULL when all answers are right, otherwise what is wrong. Requests below
 * `request_first` may be forgotten. */
const char *made_check_past(const struct epoch_maker *maker, const struct ledger_past *past,
                            uint64_t stride, uint64_t request_first);

#endif
