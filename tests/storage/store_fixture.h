/* A store in a directory of its own, for the tests of the store. */
#ifndef TALLY_TESTS_STORAGE_STORE_FIXTURE_H
#define TALLY_TESTS_STORAGE_STORE_FIXTURE_H

#include "storage/store.h"

struct store_fixture {
    char path[64];
    uint8_t cluster_id[16];
    struct store_error error; /* of the last open */
};

void store_fixture_init(struct store_fixture *fixture);
void store_fixture_deinit(struct store_fixture *fixture); /* removes the directory */
enum status store_fixture_open(struct store_fixture *fixture, struct checkpoint **out);
/* Opens, or fails the test. */
struct checkpoint *store_fixture_opened(struct store_fixture *fixture);
/* store_verify finds nothing, or the test fails with what it found. */
void store_fixture_assert_clean(struct store_fixture *fixture);

#endif
