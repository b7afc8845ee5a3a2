/* See the header. Maps are small (1 GiB), because sanitizers leave little address space. */
#include "tests/storage/store_fixture.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void store_fixture_init(struct store_fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    memcpy(fixture->cluster_id, "cluster-for-test", 16);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/tally-store-XXXXXX");
    cr_assert_not_null(mkdtemp(fixture->path));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *position)
{
    (void)info;
    (void)type;
    (void)position;
    return remove(path);
}

void store_fixture_deinit(struct store_fixture *fixture)
{
    cr_expect_eq(nftw(fixture->path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

enum status store_fixture_open(struct store_fixture *fixture, struct checkpoint **out)
{
    struct store_options options = {
        .path = fixture->path, .map_size_bytes = 1ull << 30, .bloom_bytes = 1 << 20};
    memcpy(options.cluster_id, fixture->cluster_id, sizeof options.cluster_id);
    return store_open(&options, out, &fixture->error);
}

struct checkpoint *store_fixture_opened(struct store_fixture *fixture)
{
    struct checkpoint *checkpoint = NULL;
    enum status status = store_fixture_open(fixture, &checkpoint);
    cr_assert_eq(status, STATUS_OK, "%s", fixture->error.text);
    return checkpoint;
}

void store_fixture_assert_clean(struct store_fixture *fixture)
{
    struct store_error error = {{0}};
    enum status status = store_verify(fixture->path, &error, NULL, NULL);
    cr_assert_eq(status, STATUS_OK, "%s", error.text);
}
