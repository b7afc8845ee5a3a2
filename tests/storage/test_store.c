/* The LMDB store passes the claims of every checkpoint, and those of its own: creation, upkeep of
 * id runs, forgetting of requests, refusals at open. */
#include "storage/store_internal.h"
#include "tests/storage/checkpoint_suite.h"
#include "tests/storage/epoch_maker.h"
#include "tests/storage/store_fixture.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status open_target(void *context, struct checkpoint **out)
{
    return store_fixture_open(context, out);
}

/* A store beside the fixture's, made of a copy's bytes. */
static enum status adopt_target(void *context, const void *bytes, size_t size,
                                struct checkpoint **out)
{
    struct store_fixture *fixture = context;
    char directory[128], path[192];
    snprintf(directory, sizeof directory, "%s/adopted", fixture->path);
    snprintf(path, sizeof path, "%s/" CHECKPOINT_COPY_FILE, directory);
    cr_assert_eq(mkdir(directory, 0700), 0);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
    struct store_options options = {
        .path = directory, .map_size_bytes = 1ull << 30, .bloom_bytes = 1 << 20};
    memcpy(options.cluster_id, fixture->cluster_id, sizeof options.cluster_id);
    cr_assert_eq(store_verify(directory, &fixture->error, NULL, NULL), STATUS_OK, "%s",
                 fixture->error.text);
    return store_open(&options, out, &fixture->error);
}

/* Parameters travel to another process, where functions lie elsewhere: numbers, not pointers. */
ParameterizedTestParameters(store, passes_the_checkpoint_suite)
{
    static unsigned number[32];
    for (unsigned i = 0; i < checkpoint_case_count; i++)
        number[i] = i;
    return cr_make_param_array(unsigned, number, checkpoint_case_count);
}

ParameterizedTest(unsigned *number, store, passes_the_checkpoint_suite, .timeout = 200)
{
    const struct checkpoint_case *one = &checkpoint_cases[*number];
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    cr_log_info("%s", one->name);
    one->run(&(struct checkpoint_target){
        .context = &fixture, .open = open_target, .adopt = adopt_target});
    store_fixture_assert_clean(&fixture);
    store_fixture_deinit(&fixture);
}

static void write_epoch(struct checkpoint *checkpoint, struct epoch_maker *maker,
                        const struct epoch_plan *plan)
{
    struct checkpoint_meta meta;
    const struct epoch *epoch = epoch_maker_next(maker, plan, &meta);
    cr_assert_eq(checkpoint_drive(checkpoint, epoch, &meta), STATUS_OK);
}

static void assert_past(struct checkpoint *checkpoint, const struct epoch_maker *maker,
                        uint64_t stride, uint64_t request_first)
{
    struct ledger_past past;
    checkpoint_past(checkpoint, &past);
    const char *wrong = made_check_past(maker, &past, stride, request_first);
    cr_assert_null(wrong, "after %lu epochs: %s", (unsigned long)epoch_maker_epochs(maker), wrong);
}

static void remove_tree(const char *directory)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    char path[192];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    cr_assert_eq(rmdir(directory), 0);
}

static const struct store *inside(const struct checkpoint *checkpoint)
{
    return (const struct store *)(const void *)checkpoint;
}

/* An operator can tell filters that are too full by what they let through in vain. */
Test(store, look_ups_that_the_filters_let_through_are_counted, .timeout = 100)
{
    struct store_fixture fixture;
    struct checkpoint_stats stats;
    store_fixture_init(&fixture);
    struct checkpoint *checkpoint = store_fixture_opened(&fixture);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 8, .base_accounts = 100});
    write_epoch(checkpoint, maker, &(struct epoch_plan){.transfers = 9000, .requests = 2000});
    const uint64_t transfers = epoch_maker_transfers(maker), requests = epoch_maker_requests(maker);
    assert_past(checkpoint, maker, 1, 0); /* asks for all that were made, and as many others */
    checkpoint_stats(checkpoint, &stats);
    cr_assert_lt(stats.transfer_lookups.vain_count, transfers / 50);
    cr_assert_lt(stats.request_lookups.vain_count, requests / 50);
    cr_assert_eq(stats.transfer_lookups.count, transfers + stats.transfer_lookups.vain_count);
    cr_assert_eq(stats.request_lookups.count, requests + stats.request_lookups.vain_count);
    checkpoint_finish(checkpoint);

    struct store_options options = {
        .path = fixture.path, .map_size_bytes = 1ull << 30, .bloom_bytes = 1024};
    memcpy(options.cluster_id, fixture.cluster_id, sizeof options.cluster_id);
    cr_assert_eq(store_open(&options, &checkpoint, &fixture.error), STATUS_OK);
    assert_past(checkpoint, maker, 1, 0);
    checkpoint_stats(checkpoint, &stats);
    cr_assert_gt(stats.transfer_lookups.vain_count, transfers / 2);
    cr_assert_gt(stats.request_lookups.vain_count, requests / 2);
    checkpoint_finish(checkpoint);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* 150 epochs of 9000 ids need several tiers and merges that last several epochs. The store is
 * closed and reopened while merges are in progress; runs stay few, and work per epoch stays
 * bounded. */
Test(store, merges_go_on_after_a_restart_in_their_middle, .timeout = 300)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct checkpoint *checkpoint = store_fixture_opened(&fixture);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 11, .base_accounts = 10});
    unsigned restarts_in_a_merge = 0, merges_seen = 0, removals_seen = 0, runs_max = 0;
    for (unsigned e = 1; e <= 150; e++) {
        write_epoch(checkpoint, maker, &(struct epoch_plan){.transfers = 9000, .requests = 5});
        const struct id_run_list *list = &inside(checkpoint)->committed->transfer_runs;
        merges_seen += list->merge_count > 0;
        removals_seen += list->removal_count > 0;
        if (list->run_count > runs_max)
            runs_max = list->run_count;
        if (list->merge_count > 0 && list->merges[0].output_count > 0 && e % 2 == 0) {
            restarts_in_a_merge++;
            checkpoint_finish(checkpoint);
            checkpoint = store_fixture_opened(&fixture);
        }
        assert_past(checkpoint, maker, e == 75 || e == 150 ? 13 : 4999, 0);
    }
    cr_assert_gt(restarts_in_a_merge, 5);
    cr_assert_gt(merges_seen, 10);
    cr_assert_gt(removals_seen, 0);
    cr_assert_lt(runs_max, 40);
    checkpoint_finish(checkpoint);
    store_fixture_assert_clean(&fixture);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* KiB of the store's mapping that this process holds, by /proc/self/smaps. */
static uint64_t resident_kib(const struct store *store)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    cr_assert_not_null(file);
    char line[512], begin[32];
    snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)store->map);
    bool inside_map = false;
    unsigned long kib = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, begin, strlen(begin)) == 0)
            inside_map = true;
        if (inside_map && sscanf(line, "Rss: %lu kB", &kib) == 1)
            break;
    }
    cr_assert_eq(fclose(file), 0);
    cr_assert(inside_map, "the store's mapping is not in /proc/self/smaps");
    return kib;
}

/* Reading the whole past maps the whole file. Given back, the pages are gone from the process, a
 * reader that had begun goes on, and everything is read again as it was. */
Test(store, mapped_pages_are_given_back_and_read_again, .timeout = 100)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct checkpoint *checkpoint = store_fixture_opened(&fixture);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 12, .base_accounts = 10});
    for (unsigned e = 1; e <= 5; e++)
        write_epoch(checkpoint, maker, &(struct epoch_plan){.transfers = 9000, .requests = 5});
    assert_past(checkpoint, maker, 1, 0);
    struct store *store = (struct store *)(void *)checkpoint;
    cr_assert_gt(resident_kib(store), 4096, "reading mapped only %lu KiB",
                 (unsigned long)resident_kib(store));
    store_resident_trim(store, UINT64_MAX);
    cr_assert_gt(resident_kib(store), 4096, "below its limit the mapping is left alone");
    store_resident_trim(store, 0);
    cr_assert_lt(resident_kib(store), 256, "%lu KiB are still resident",
                 (unsigned long)resident_kib(store));
    assert_past(checkpoint, maker, 1, 0);
    write_epoch(checkpoint, maker, &(struct epoch_plan){.transfers = 9000, .requests = 5});
    assert_past(checkpoint, maker, 7, 0);
    checkpoint_finish(checkpoint);
    store_fixture_assert_clean(&fixture);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* One request a minute of ledger time: after three days only about a day's worth is left on disk,
 * everything inside the window is found, and the runs of forgotten ones are gone too. */
Test(store, forgotten_requests_leave_the_disk, .timeout = 300)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct checkpoint *checkpoint = store_fixture_opened(&fixture);
    const uint64_t step_ns = 60000000000ull, per_window = REQUEST_WINDOW_NS / step_ns;
    struct epoch_maker *maker = epoch_maker_create(&(struct epoch_maker_options){
        .seed = 12, .base_accounts = 2, .request_step_ns = step_ns, .answer_size_max = 8000});
    while (epoch_maker_requests(maker) < 6 * per_window) {
        write_epoch(checkpoint, maker, &(struct epoch_plan){.requests = 37});
        uint64_t made = epoch_maker_requests(maker);
        uint64_t live = made > per_window ? made - per_window : 0;
        assert_past(checkpoint, maker, 17, live);
        if (epoch_maker_epochs(maker) % 50 == 0) {
            checkpoint_finish(checkpoint);
            checkpoint = store_fixture_opened(&fixture);
        }
    }
    const struct store_state *state = inside(checkpoint)->committed;
    uint64_t chunks = state->head.request_chunk_next - state->head.request_chunk_first;
    /* A window holds 1440 requests of 4104 bytes on average, 15 to a chunk: 96 chunks. */
    cr_assert_gt(state->head.request_chunk_first, 0);
    cr_assert_lt(chunks, 96 * 3 / 2, "%lu chunks", (unsigned long)chunks);
    cr_assert_lt(id_run_list_entries(&state->request_runs), 3 * per_window);
    checkpoint_finish(checkpoint);
    store_fixture_assert_clean(&fixture);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* Another cluster's id: refused by name, nothing touched. */
Test(store, refuses_another_cluster)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    checkpoint_close(store_fixture_opened(&fixture));
    struct checkpoint *checkpoint = NULL;
    fixture.cluster_id[0] ^= 1;
    cr_assert_eq(store_fixture_open(&fixture, &checkpoint), STATUS_WRONG_CLUSTER);
    cr_assert(strstr(fixture.error.text, "another cluster") != NULL, "%s", fixture.error.text);
    fixture.cluster_id[0] ^= 1;
    checkpoint_close(store_fixture_opened(&fixture));
    store_fixture_deinit(&fixture);
}

/* A creation that was cut off leaves a directory "new": the next open starts over. */
Test(store, creation_cut_off_starts_over)
{
    struct store_fixture fixture;
    char path[128];
    store_fixture_init(&fixture);
    snprintf(path, sizeof path, "%s/new", fixture.path);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/new/data.mdb", fixture.path);
    FILE *half = fopen(path, "w");
    cr_assert_not_null(half);
    cr_assert_gt(fprintf(half, "half a file"), 0);
    cr_assert_eq(fclose(half), 0);
    checkpoint_close(store_fixture_opened(&fixture));
    snprintf(path, sizeof path, "%s/new", fixture.path);
    cr_assert_neq(access(path, F_OK), 0);
    store_fixture_deinit(&fixture);
}

/* data.mdb cut off, emptied or filled with zeros: a precise refusal, and the file stays. */
Test(store, refuses_a_damaged_file, .timeout = 60)
{
    static const off_t sizes[] = {0, 4096, 100000};
    for (unsigned i = 0; i < 3; i++) {
        struct store_fixture fixture;
        char path[128];
        store_fixture_init(&fixture);
        struct checkpoint *checkpoint = store_fixture_opened(&fixture);
        struct epoch_maker *maker =
            epoch_maker_create(&(struct epoch_maker_options){.seed = 13, .base_accounts = 3000});
        write_epoch(checkpoint, maker, &(struct epoch_plan){.transfers = 9000});
        checkpoint_finish(checkpoint);
        snprintf(path, sizeof path, "%s/data.mdb", fixture.path);
        cr_assert_eq(truncate(path, sizes[i]), 0);
        cr_assert_eq(store_fixture_open(&fixture, &checkpoint), STATUS_CORRUPT, "size %ld",
                     (long)sizes[i]);
        cr_assert(strstr(fixture.error.text, "data.mdb") != NULL, "%s", fixture.error.text);
        struct store_error error;
        cr_assert_eq(store_verify(fixture.path, &error, NULL, NULL), STATUS_CORRUPT);
        epoch_maker_destroy(maker);
        store_fixture_deinit(&fixture);
    }
}

/* No directory, no permission: said as such. */
Test(store, names_a_missing_directory)
{
    struct store_options options = {
        .path = "/tmp/tally-no-such-directory", .map_size_bytes = 1 << 30, .bloom_bytes = 1 << 16};
    struct store_error error;
    struct checkpoint *checkpoint = NULL;
    cr_assert_eq(store_open(&options, &checkpoint, &error), STATUS_NOT_FOUND);
    cr_assert(strstr(error.text, "tally-no-such-directory") != NULL, "%s", error.text);
}

/* A map of 4 MiB: the epoch that does not fit says DISK_FULL and changes nothing; after a reopen
 * with room the same epoch is accepted. */
Test(store, full_map_is_disk_full_and_the_epoch_can_come_again, .timeout = 60)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct store_options options = {
        .path = fixture.path, .map_size_bytes = 4 << 20, .bloom_bytes = 1 << 16};
    memcpy(options.cluster_id, fixture.cluster_id, sizeof options.cluster_id);
    struct checkpoint *checkpoint = NULL;
    struct store_error error;
    struct checkpoint_meta meta;
    cr_assert_eq(store_open(&options, &checkpoint, &error), STATUS_OK, "%s", error.text);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 14, .base_accounts = 10});
    write_epoch(checkpoint, maker, &(struct epoch_plan){.transfers = 600, .requests = 50});
    const struct epoch *epoch =
        epoch_maker_next(maker, &(struct epoch_plan){.transfers = 60000, .requests = 50}, &meta);
    cr_assert_eq(checkpoint_drive(checkpoint, epoch, &meta), STATUS_DISK_FULL);
    store_failure(checkpoint, &error);
    cr_assert(strstr(error.text, "transfer") != NULL, "%s", error.text);
    cr_assert_eq(checkpoint_drive(checkpoint, epoch, &meta), STATUS_DISK_FULL);
    checkpoint_finish(checkpoint);
    checkpoint = store_fixture_opened(&fixture);
    cr_assert_eq(checkpoint_drive(checkpoint, epoch, &meta), STATUS_OK);
    assert_past(checkpoint, maker, 7, 0);
    checkpoint_finish(checkpoint);
    store_fixture_assert_clean(&fixture);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* ---- a copy beside the flusher ---- */

struct flusher {
    struct checkpoint *checkpoint;
    struct epoch_maker *maker;
    _Atomic bool stop;
    _Atomic unsigned epochs, allowed;
};

static void *flush_epochs(void *context)
{
    struct flusher *flusher = context;
    while (!flusher->stop) {
        if (flusher->epochs >= flusher->allowed) { /* the file must not outgrow the map */
            usleep(200);
            continue;
        }
        write_epoch(flusher->checkpoint, flusher->maker,
                    &(struct epoch_plan){.transfers = 2000, .requests = 300});
        flusher->epochs++;
    }
    return NULL;
}

/* Six copies are begun while another thread commits without a pause; each is whole, of the epoch
 * that it names. */
Test(store, copies_begun_beside_commits_are_whole, .timeout = 300)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct flusher flusher = {.checkpoint = store_fixture_opened(&fixture)};
    flusher.maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 12, .base_accounts = 100});
    write_epoch(flusher.checkpoint, flusher.maker, &(struct epoch_plan){.transfers = 10});
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, flush_epochs, &flusher), 0);
    for (unsigned i = 0; i < 6; i++) {
        flusher.allowed = flusher.epochs + 4;
        usleep(3000 * i); /* begins anywhere in an epoch */
        struct checkpoint_copy *copy = NULL;
        struct checkpoint_copy_info info;
        cr_assert_eq(checkpoint_copy_begin(flusher.checkpoint, &copy, &info), STATUS_OK);
        unsigned seen = flusher.epochs;
        uint8_t *bytes = malloc(info.size);
        for (uint64_t offset = 0; offset < info.size; offset += 65536) {
            uint64_t left = info.size - offset;
            cr_assert_eq(checkpoint_copy_read(flusher.checkpoint, copy, offset, bytes + offset,
                                              left < 65536 ? (size_t)left : 65536),
                         STATUS_OK);
            if (offset == 0) /* the rest is read two epochs later */
                for (int wait = 0; flusher.epochs < seen + 2 && wait < 20000; wait++)
                    usleep(1000);
        }
        checkpoint_copy_end(flusher.checkpoint, copy);
        struct checkpoint *adopted = NULL;
        struct checkpoint_meta meta;
        cr_assert_eq(adopt_target(&fixture, bytes, (size_t)info.size, &adopted), STATUS_OK, "%s",
                     fixture.error.text);
        cr_assert_eq(checkpoint_meta(adopted, &meta), STATUS_OK);
        cr_assert_eq(memcmp(&meta, &info.meta, sizeof meta), 0);
        checkpoint_close(adopted);
        char directory[128];
        snprintf(directory, sizeof directory, "%s/adopted", fixture.path);
        remove_tree(directory);
        free(bytes);
    }
    flusher.stop = true;
    cr_assert_eq(pthread_join(thread, NULL), 0);
    checkpoint_finish(flusher.checkpoint);
    epoch_maker_destroy(flusher.maker);
    store_fixture_deinit(&fixture);
}
