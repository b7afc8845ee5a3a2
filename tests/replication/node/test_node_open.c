/* What node_init and node_open refuse, with which words, and that nothing is left behind. */
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include "replication/directory.h"
#include "storage/journal.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(node_open, .timeout = 120);

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

/* Only a site operator may change principals: a list in which nobody is one could never be
 * corrected. */
Test(node_open, init_refuses_principals_without_a_site_operator)
{
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX];
    snprintf(other, sizeof other, "%.480s/other", pump.root);
    struct node_init_options options = pump_init_options(other);
    struct principal_event rows[PRINCIPAL_COUNT];
    memcpy(rows, options.principals, sizeof rows);
    options.principals = rows;
    static const uint8_t roles[] = {ROLE_NONE, ROLE_CHANNEL, ROLE_BUSINESS_OPERATOR};
    for (size_t i = 0; i < sizeof roles; i++) {
        rows[PRINCIPAL_SITE_OPERATOR].role = roles[i];
        struct node_error error;
        cr_assert_eq(node_init(&options, &error), STATUS_INVALID, "role %d", roles[i]);
        cr_assert_not_null(strstr(error.text, "site_operator"), "%s", error.text);
        cr_assert_neq(access(other, F_OK), 0, "nothing was made");
    }
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
    patch_identity(&pump, "directory 2", "directory 9");
    assert_refused(&pump, STATUS_VERSION, "newer one");
    patch_identity(&pump, "directory 9", "directory 2");
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
    path_in(&pump, "journal-1", to);
    path_in(&other, "journal-1", from);
    pump_remove_tree(to);
    pump_copy_tree(from, to);
    assert_refused(&pump, STATUS_WRONG_CLUSTER, "another cluster");
    pump_deinit(&other);
    pump_deinit(&pump);
}

/* Nobody guesses which of several generations counts. */
Test(node_open, refuses_a_missing_current)
{
    struct pump pump;
    pump_init(&pump, true);
    rename_in(&pump, "current", "current.away");
    assert_refused(&pump, STATUS_NOT_FOUND, "which journal and store");
    pump_deinit(&pump);
}

Test(node_open, refuses_a_missing_journal)
{
    struct pump pump;
    pump_init(&pump, true);
    rename_in(&pump, "journal-1", "journal.away");
    assert_refused(&pump, STATUS_NOT_FOUND, "restore it");
    char path[2 * PUMP_PATH_MAX];
    path_in(&pump, "journal-1", path);
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
    path_in(&early, "journal-1", from);
    path_in(&pump, "journal-1", to);
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
    path_in(&twin, "journal-1", from);
    path_in(&pump, "journal-1", to);
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

    rename_in(&pump, "store-1", "store.away");
    assert_refused(&pump, STATUS_NOT_FOUND, "the store is missing");
    char from[2 * PUMP_PATH_MAX], to[2 * PUMP_PATH_MAX];
    path_in(&early, "store-1", from);
    path_in(&pump, "store-1", to);
    cr_assert_neq(access(to, F_OK), 0, "no store is made up");
    pump_copy_tree(from, to);
    assert_refused(&pump, STATUS_NOT_FOUND, "older copy");
    pump_remove_tree(to);
    rename_in(&pump, "store.away", "store-1");
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

/* ---- entries of another build, torn tails ---- */

static uint64_t clock_zero(void *context)
{
    (void)context;
    return 0;
}

static void real_random(void *context, void *out, size_t size)
{
    (void)context;
    environment_real()->random(NULL, out, size);
}

static void no_wake(void *context)
{
    (void)context;
}

static void appended(struct journal_append *append, enum status status)
{
    (void)append;
    cr_assert_eq(status, STATUS_OK);
}

/* Puts one entry at the end of a closed node's journal, as another build might. */
static void append_entry(const struct pump *pump, const void *payload, uint32_t size)
{
    char path[2 * PUMP_PATH_MAX];
    path_in(pump, "journal-1", path);
    struct files files;
    cr_assert_eq(files_posix_open(path, &files), STATUS_OK);
    struct journal_options options = {.files = &files,
                                      .segment_size = PUMP_SEGMENT_BYTES,
                                      .clock_ns = clock_zero,
                                      .random = real_random,
                                      .wake_writer = no_wake,
                                      .wake_preparer = no_wake,
                                      .wake_loop = no_wake};
    struct files directory;
    struct identity identity;
    cr_assert_eq(files_posix_open(pump->directory, &directory), STATUS_OK);
    cr_assert_eq(identity_read(&directory, &identity), STATUS_OK);
    files_posix_close(&directory);
    memcpy(options.cluster_id, identity.cluster_id, 16);
    struct journal *journal;
    struct journal_damage damage;
    uint64_t cut;
    cr_assert_eq(journal_open(&options, &journal, &damage, &cut), STATUS_OK);
    struct journal_position position;
    journal_position(journal, &position);
    const struct journal_entry entry = {.index = position.last_index + 1,
                                        .term = position.last_term,
                                        .type = JOURNAL_COMMAND,
                                        .size = size,
                                        .payload = payload};
    struct journal_append append = {.entries = &entry, .entry_count = 1, .cb = appended};
    cr_assert_eq(journal_append(journal, &append), STATUS_OK);
    uint64_t wait_ns;
    cr_assert_eq(journal_writer_step(journal, &wait_ns), JOB_AGAIN);
    journal_process(journal);
    journal_stop(journal);
    while (journal_writer_step(journal, &wait_ns) != JOB_DONE)
        continue;
    while (journal_preparer_step(journal, &wait_ns) != JOB_DONE)
        continue;
    journal_close(journal);
    files_posix_close(&files);
}

/* The node stops before an entry of a newer command version, and says what to install. */
Test(node_open, stops_before_an_entry_of_an_unknown_version)
{
    struct pump pump;
    pump_init(&pump, true);
    const struct entry_header newer = {.version = COMMAND_VERSION + 1, .size = sizeof newer};
    append_entry(&pump, &newer, sizeof newer);
    cr_assert_eq(pump_open(&pump), STATUS_OK, "%s", pump.error.text);
    cr_assert_eq(node_start(pump.node, &pump.error), STATUS_OK);
    cr_assert(pump_until_phase(&pump, NODE_FAILED));
    struct node_status status = pump_status(&pump);
    cr_assert_eq(status.error.status, STATUS_VERSION);
    cr_assert_not_null(strstr(status.error.text, "install"), "%s", status.error.text);
    cr_assert_eq(status.applied_index, 2, "stopped before it");
    pump_deinit(&pump);
}

/* Bytes of a known version that no proposer writes are applied like anything else: they change
 * nothing and stop nobody. */
Test(node_open, replays_over_an_entry_that_cannot_be_read)
{
    struct pump pump;
    pump_init(&pump, true);
    uint64_t garbage[20];
    memset(garbage, 0xee, sizeof garbage);
    ((struct entry_header *)garbage)->version = COMMAND_VERSION;
    append_entry(&pump, garbage, sizeof garbage);
    pump_serve(&pump);
    cr_assert_eq(pump_status(&pump).applied_index, 4);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Flips a byte of the transfer's id wherever the journal holds it; how often it was found. */
static int damage_transfer(const struct pump *pump, struct id128 id)
{
    char path[2 * PUMP_PATH_MAX];
    path_in(pump, "journal-1", path);
    DIR *stream = opendir(path);
    cr_assert_not_null(stream);
    int found = 0;
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        char name[3 * PUMP_PATH_MAX];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(name, "r+");
        if (file == NULL)
            continue;
        static uint8_t bytes[PUMP_SEGMENT_BYTES];
        size_t size = fread(bytes, 1, sizeof bytes, file);
        uint8_t *at = size > 0 ? memmem(bytes, size, id.bytes, sizeof id.bytes) : NULL;
        if (at != NULL) {
            found++;
            cr_assert_eq(fseek(file, at - bytes, SEEK_SET), 0);
            cr_assert_eq(fputc(*at ^ 1, file), *at ^ 1);
        }
        fclose(file);
    }
    closedir(stream);
    return found;
}

/* The last record, unsealed: a torn write, cut and reported. An earlier one: corruption, refused.
 */
Test(node_open, cuts_a_torn_tail_and_refuses_a_damaged_middle)
{
    struct pump pump, torn, corrupt;
    pump_init(&pump, true); /* its clock stands still, so nothing is sealed */
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    for (uint64_t i = 0; i < 2; i++) {
        struct test_request *request = request_transfers(i * 100, 10);
        request_run(&pump, request);
        request_destroy(request);
    }
    pump_init_copy(&torn, &pump, "torn", false);
    cr_assert_eq(damage_transfer(&torn, transfer_id(105)), 1);
    pump_serve(&torn);
    cr_assert_eq(pump_event_count(&torn, "journal_torn_tail_cut"), 1);
    cr_assert_gt(pump_status(&torn).torn_bytes_cut, 0);
    cr_assert(transfers_exist(&torn, 0, 10));
    cr_assert_not(transfers_exist(&torn, 100, 1));
    pump_stop(&torn);
    pump_deinit(&torn);

    pump_init_copy(&corrupt, &pump, "corrupt", false);
    cr_assert_eq(damage_transfer(&corrupt, transfer_id(5)), 1);
    assert_refused(&corrupt, STATUS_CORRUPT, "journal");
    pump_deinit(&corrupt);
    pump_stop(&pump);
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
