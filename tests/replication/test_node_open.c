/* What node_init and node_open refuse, with which words, and that nothing is left behind. */
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(node_open, .timeout = 60);

static void assert_refused(struct pump *pump, enum status expected, const char *words)
{
    enum status status = pump_open(pump);
    cr_assert_eq(status, expected, "%s: %s", status_text(status), pump->error.text);
    cr_assert_eq(pump->error.status, expected);
    cr_assert_not_null(strstr(pump->error.text, words), "\"%s\" does not say \"%s\"",
                       pump->error.text, words);
    cr_assert_null(pump->node);
}

static void path_in(const struct pump *pump, const char *name, char out[2 * PUMP_PATH_MAX])
{
    snprintf(out, 2 * PUMP_PATH_MAX, "%s/%s", pump->directory, name);
}

static void rename_in(const struct pump *pump, const char *from, const char *to)
{
    char a[2 * PUMP_PATH_MAX], b[2 * PUMP_PATH_MAX];
    path_in(pump, from, a);
    path_in(pump, to, b);
    cr_assert_eq(rename(a, b), 0);
}

static void write_batch(struct pump *pump, uint64_t first)
{
    struct test_request *request = request_transfers(first, REQUEST_EVENTS_MAX);
    request_run(pump, request);
    request_destroy(request);
}

static uint32_t count_entries(const char *path)
{
    DIR *stream = opendir(path);
    cr_assert_not_null(stream, "%s", path);
    uint32_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            count++;
    closedir(stream);
    return count;
}

/* ---- init ---- */

Test(node_open, init_refuses_a_directory_that_is_not_empty_and_touches_nothing)
{
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX];
    snprintf(other, sizeof other, "%.480s/other", pump.root);
    cr_assert_eq(mkdir(other, 0700), 0);
    char file[PUMP_PATH_MAX + 16];
    snprintf(file, sizeof file, "%s/precious", other);
    int descriptor = open(file, O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(descriptor, 0);
    close(descriptor);
    struct node_init_options options = pump_init_options(other);
    struct node_error error;
    cr_assert_eq(node_init(&options, &error), STATUS_EXISTS);
    cr_assert_not_null(strstr(error.text, "precious"), "%s", error.text);
    cr_assert_eq(count_entries(other), 1);
    /* A data directory is not empty either. */
    options = pump_init_options(pump.directory);
    cr_assert_eq(node_init(&options, &error), STATUS_EXISTS);
    cr_assert_eq(pump_open(&pump), STATUS_OK, "%s", pump.error.text);
    pump_close(&pump);
    pump_deinit(&pump);
}

Test(node_open, init_says_that_the_parent_is_missing)
{
    struct node_init_options options = pump_init_options("/nonexistent-tally/data");
    struct node_error error;
    cr_assert_eq(node_init(&options, &error), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(error.text, "parent"), "%s", error.text);
}

Test(node_open, init_names_the_principal_that_is_wrong)
{
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX];
    snprintf(other, sizeof other, "%.480s/other", pump.root);
    struct node_init_options options = pump_init_options(other);
    struct principal_event rows[PRINCIPAL_COUNT];
    memcpy(rows, options.principals, sizeof rows);
    rows[1].role = 77;
    options.principals = rows;
    struct node_error error;
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "principal 2"), "%s", error.text);
    cr_assert_not_null(strstr(error.text, "ROLE_INVALID"), "%s", error.text);
    options.principal_count = 0;
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    options = pump_init_options(other);
    options.node_id = 0;
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    cr_assert_neq(access(other, F_OK), 0, "nothing was made");
    pump_deinit(&pump);
}

/* The n-th write, sync, allocation or creation fails, for every n until init succeeds: either a
 * whole directory or none at all. */
Test(node_open, init_leaves_nothing_behind_whatever_fails)
{
    static const enum status kinds[] = {STATUS_IO, STATUS_DISK_FULL};
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX];
    snprintf(other, sizeof other, "%.480s/other", pump.root);
    struct node_init_options options = pump_init_options(other);
    options.environment = &pump.environment;
    uint64_t failures = 0;
    for (size_t kind = 0; kind < 2; kind++) {
        bool reached = true;
        for (uint64_t n = 1; reached; n++) {
            pump.disk.fail_at = n;
            pump.disk.fail_status = kinds[kind];
            struct node_error error;
            enum status status = node_init(&options, &error);
            reached = pump.disk.fail_at == 0;
            pump.disk.fail_at = 0;
            if (status ==
                STATUS_OK) { /* only words for people were lost, or n was beyond the end */
                pump_remove_tree(other);
                continue;
            }
            failures++;
            cr_assert_eq(status, kinds[kind], "n %lu: %s", n, error.text);
            cr_assert_not_null(strstr(error.text, other), "%s", error.text);
            cr_assert_neq(access(other, F_OK), 0, "n %lu left something behind", n);
        }
    }
    cr_assert_gt(failures, 20);
    pump_deinit(&pump);
}

Test(node_open, init_says_how_much_room_the_reserve_needs)
{
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX];
    snprintf(other, sizeof other, "%.480s/other", pump.root);
    struct node_init_options options = pump_init_options(other);
    options.environment = &pump.environment;
    pump.disk.allocate_status = STATUS_DISK_FULL;
    struct node_error error;
    cr_assert_eq(node_init(&options, &error), STATUS_DISK_FULL);
    cr_assert_not_null(strstr(error.text, "reserve of 1 MiB"), "%s", error.text);
    cr_assert_neq(access(other, F_OK), 0);
    pump_deinit(&pump);
}

/* ---- open ---- */

Test(node_open, refuses_a_missing_and_a_foreign_directory)
{
    struct pump pump;
    pump_init(&pump, true);
    char saved[PUMP_PATH_MAX];
    memcpy(saved, pump.directory, sizeof saved);
    snprintf(pump.directory, sizeof pump.directory, "%.480s/nothing", pump.root);
    assert_refused(&pump, STATUS_NOT_FOUND, "tally node init");
    cr_assert_eq(mkdir(pump.directory, 0700), 0);
    assert_refused(&pump, STATUS_NOT_FOUND, "no data directory");
    cr_assert_eq(count_entries(pump.directory), 0, "no lock in a foreign directory");
    memcpy(pump.directory, saved, sizeof saved);
    pump_deinit(&pump);
}

/* A second process is told which one holds the directory. */
Test(node_open, a_second_process_is_refused_with_the_first_ones_number)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    struct node *second = NULL;
    struct node_error error;
    cr_assert_eq(node_open(&pump.options, &second, &error), STATUS_LOCKED);
    char number[32];
    snprintf(number, sizeof number, "process %d ", (int)getpid());
    cr_assert_not_null(strstr(error.text, number), "%s", error.text);
    pump_stop(&pump);
    /* And free again after the first has closed. */
    cr_assert_eq(pump_open(&pump), STATUS_OK);
    pump_close(&pump);
    pump_deinit(&pump);
}

static void patch_identity(const struct pump *pump, const char *from, const char *to)
{
    char path[2 * PUMP_PATH_MAX], text[2048] = "";
    path_in(pump, "identity", path);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    char *at = strstr(text, from);
    cr_assert_not_null(at, "%s", text);
    memcpy(at, to, strlen(to));
    rewind(file);
    cr_assert_eq(fwrite(text, 1, size, file), size);
    fclose(file);
}

Test(node_open, refuses_a_damaged_or_newer_identity)
{
    struct pump pump;
    pump_init(&pump, true);
    patch_identity(&pump, "node 1", "node 2");
    assert_refused(&pump, STATUS_CORRUPT, "identity");
    patch_identity(&pump, "node 2", "node 1");
    patch_identity(&pump, "directory 1", "directory 9");
    assert_refused(&pump, STATUS_VERSION, "newer one");
    patch_identity(&pump, "directory 9", "directory 1");
    cr_assert_eq(pump_open(&pump), STATUS_OK, "%s", pump.error.text);
    pump_close(&pump);
    pump_deinit(&pump);
}

Test(node_open, refuses_the_journal_of_another_cluster)
{
    struct pump pump, other;
    pump_init(&pump, true);
    pump_init(&other, true);
    char from[2 * PUMP_PATH_MAX], to[2 * PUMP_PATH_MAX];
    path_in(&pump, "journal", to);
    path_in(&other, "journal", from);
    pump_remove_tree(to);
    pump_copy_tree(from, to);
    assert_refused(&pump, STATUS_WRONG_CLUSTER, "another cluster");
    pump_deinit(&other);
    pump_deinit(&pump);
}

Test(node_open, refuses_a_missing_journal)
{
    struct pump pump;
    pump_init(&pump, true);
    rename_in(&pump, "journal", "journal.away");
    assert_refused(&pump, STATUS_NOT_FOUND, "restore it");
    char path[2 * PUMP_PATH_MAX];
    path_in(&pump, "journal", path);
    cr_assert_eq(mkdir(path, 0700), 0);
    assert_refused(&pump, STATUS_NOT_FOUND, "restore it");
    cr_assert_eq(count_entries(path), 0, "no journal is made up");
    pump_deinit(&pump);
}

/* The journal of an earlier moment under the store of a later one. */
Test(node_open, refuses_a_store_that_is_ahead_of_the_journal)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump);
    struct pump early;
    pump_init_copy(&early, &pump, "early", false);
    pump_serve(&pump);
    write_batch(&pump, 0);
    pump_stop(&pump);
    char from[2 * PUMP_PATH_MAX], to[2 * PUMP_PATH_MAX];
    path_in(&early, "journal", from);
    path_in(&pump, "journal", to);
    pump_remove_tree(to);
    pump_copy_tree(from, to);
    assert_refused(&pump, STATUS_STORE_AHEAD, "the journal ends at");
    pump_deinit(&early);
    pump_deinit(&pump);
}

/* Two copies of one node lived on apart: store of the one, journal of the other. */
Test(node_open, refuses_a_store_with_another_history)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump);
    struct pump twin;
    pump_init_copy(&twin, &pump, "twin", false);
    pump_serve(&pump);
    write_batch(&pump, 0);
    pump_stop(&pump);
    pump_serve(&twin);
    write_batch(&twin, 500000);
    write_batch(&twin, 600000);
    pump_stop(&twin);
    char from[2 * PUMP_PATH_MAX], to[2 * PUMP_PATH_MAX];
    path_in(&twin, "journal", from);
    path_in(&pump, "journal", to);
    pump_remove_tree(to);
    pump_copy_tree(from, to);
    assert_refused(&pump, STATUS_CORRUPT, "different histories");
    pump_deinit(&twin);
    pump_deinit(&pump);
}

/* The journal was pruned: a missing or older store cannot be rebuilt from it. */
Test(node_open, refuses_a_missing_or_older_store_behind_a_pruned_journal)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump);
    struct pump early;
    pump_init_copy(&early, &pump, "early", false);
    pump_serve(&pump);
    for (uint64_t batch = 0; batch < 12; batch++)
        write_batch(&pump, batch * REQUEST_EVENTS_MAX);
    pump_stop(&pump);
    cr_assert_eq(pump_open(&pump), STATUS_OK);
    uint64_t first = pump_status(&pump).journal.first_index;
    uint64_t early_end = 5;
    cr_assert_gt(first, early_end + 1, "pruned");
    pump_close(&pump);

    rename_in(&pump, "store", "store.away");
    assert_refused(&pump, STATUS_NOT_FOUND, "the store is missing");
    char from[2 * PUMP_PATH_MAX], to[2 * PUMP_PATH_MAX];
    path_in(&early, "store", from);
    path_in(&pump, "store", to);
    cr_assert_neq(access(to, F_OK), 0, "no store is made up");
    pump_copy_tree(from, to);
    assert_refused(&pump, STATUS_NOT_FOUND, "older copy");
    pump_remove_tree(to);
    rename_in(&pump, "store.away", "store");
    cr_assert_eq(pump_open(&pump), STATUS_OK, "%s", pump.error.text);
    pump_close(&pump);
    pump_deinit(&early);
    pump_deinit(&pump);
}

Test(node_open, refuses_a_lost_or_older_hard_state)
{
    struct pump pump;
    pump_init(&pump, false);
    char saved[PUMP_PATH_MAX + 16], path[2 * PUMP_PATH_MAX];
    path_in(&pump, "hard_state", path);
    pump_serve(&pump);
    pump_stop(&pump);
    struct pump early;
    pump_init_copy(&early, &pump, "early", false);
    pump_serve(&pump);
    pump_stop(&pump);
    rename_in(&pump, "hard_state", "hard_state.away");
    assert_refused(&pump, STATUS_NOT_FOUND, "hard_state");
    /* The one from before the last start: its term is below the journal's. */
    snprintf(saved, sizeof saved, "%s/hard_state", early.directory);
    cr_assert_eq(rename(saved, path), 0);
    assert_refused(&pump, STATUS_CORRUPT, "hard_state");
    pump_deinit(&early);
    pump_deinit(&pump);
}

/* As another user than the owner: skipped words are for root only, who may do everything. */
Test(node_open, says_that_the_directory_is_not_writable)
{
    struct pump pump;
    pump_init(&pump, true);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        if (getuid() == 0 &&
            (chmod(pump.root, 0755) != 0 || chmod(pump.directory, 0755) != 0 || setuid(65534) != 0))
            _exit(2);
        if (getuid() != 65534 && chmod(pump.directory, 0500) != 0)
            _exit(2);
        struct node *node = NULL;
        struct node_error error;
        enum status status = node_open(&pump.options, &node, &error);
        _exit(status == STATUS_PERMISSION || status == STATUS_OK ? (status == STATUS_OK) : 3);
    }
    int ended = 0;
    cr_assert_eq(waitpid(child, &ended, 0), child);
    cr_assert(WIFEXITED(ended));
    cr_assert_eq(WEXITSTATUS(ended), 0);
    (void)chmod(pump.directory, 0700);
    pump_deinit(&pump);
}

Test(node_open, refuses_options_that_cannot_work)
{
    struct pump pump;
    pump_init(&pump, true);
    struct node_options good = pump.options;
    pump.options.in_flight_entries_max = 0;
    assert_refused(&pump, STATUS_INVALID, "at least 1");
    pump.options = good;
    pump.options.waiting_bytes_max = 1000;
    assert_refused(&pump, STATUS_INVALID, "bytes");
    pump.options = good;
    pump.options.epoch_transfer_count_max = 10;
    assert_refused(&pump, STATUS_INVALID, "epoch");
    pump.options = good;
    pump.options.journal_segment_size = 1u << 20;
    assert_refused(&pump, STATUS_INVALID, "segment");
    pump.options = good;
    cr_assert_eq(pump_open(&pump), STATUS_OK);
    pump_close(&pump);
    pump_deinit(&pump);
}
