/*
 * What every implementation of `struct checkpoint` must do, as a list of claims. A test program
 * brings a target and runs each case on fresh storage (ParameterizedTest or one Test per case).
 */
#ifndef TALLY_TESTS_STORAGE_CHECKPOINT_SUITE_H
#define TALLY_TESTS_STORAGE_CHECKPOINT_SUITE_H

#include "storage/checkpoint.h"

struct checkpoint_target {
    void *context;
    /* Opens what an earlier open and close left behind; the first time that is nothing. */
    enum status (*open)(void *context, struct checkpoint **out);
    /* Opens another, fresh storage whose file CHECKPOINT_COPY_FILE has these bytes. */
    enum status (*adopt)(void *context, const void *bytes, size_t size, struct checkpoint **out);
};

struct checkpoint_case {
    const char *name;
    void (*run)(const struct checkpoint_target *target);
};
extern const struct checkpoint_case checkpoint_cases[];
extern const unsigned checkpoint_case_count;

/* Drives one epoch through submit, step and process on this thread; the callback's status. */
enum status checkpoint_drive(struct checkpoint *checkpoint, const struct epoch *epoch,
                             const struct checkpoint_meta *meta);
/* Stops, steps to the end and closes. */
void checkpoint_finish(struct checkpoint *checkpoint);

#endif
