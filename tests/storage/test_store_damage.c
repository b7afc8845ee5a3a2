/*
 * Damage: a bit flipped in any table, a row missing or in the wrong place, bytes of the file
 * changed under LMDB. What must never happen is a wrong answer.
 */
#include "core/machine.h"
#include "storage/store_internal.h"
#include "tests/lib/test_memory.h"
#include "tests/storage/checkpoint_suite.h"
#include "tests/storage/epoch_maker.h"
#include "tests/storage/store_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct epoch_maker *fill(struct store_fixture *fixture)
{
    struct checkpoint *checkpoint = store_fixture_opened(fixture);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 21, .base_accounts = 1500});
    for (unsigned e = 0; e < 3; e++) {
        struct checkpoint_meta meta;
        const struct epoch *epoch = epoch_maker_next(
            maker, &(struct epoch_plan){.transfers = 1100, .requests = 900}, &meta);
        cr_assert_eq(checkpoint_drive(checkpoint, epoch, &meta), STATUS_OK);
    }
    checkpoint_finish(checkpoint);
    return maker;
}

/* ---- values changed through LMDB itself ---- */

struct raw {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static struct raw raw_open(const struct store_fixture *fixture, enum store_table table)
{
    struct raw raw;
    cr_assert_eq(mdb_env_create(&raw.env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(raw.env, STORE_TABLE_COUNT), 0);
    cr_assert_eq(mdb_env_set_mapsize(raw.env, 1 << 30), 0);
    cr_assert_eq(mdb_env_open(raw.env, fixture->path, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(raw.env, NULL, 0, &raw.txn), 0);
    cr_assert_eq(mdb_dbi_open(raw.txn, store_table_name(table), MDB_INTEGERKEY, &raw.dbi), 0);
    return raw;
}

static void raw_close(struct raw *raw)
{
    cr_assert_eq(mdb_txn_commit(raw->txn), 0);
    mdb_env_close(raw->env);
}

/* Copies a value out; NULL when there is no such key. */
static uint8_t *raw_get(struct raw *raw, uint64_t key, size_t *out_size)
{
    MDB_val k = {sizeof key, &key}, v;
    if (mdb_get(raw->txn, raw->dbi, &k, &v) != 0)
        return NULL;
    uint8_t *copy = malloc(v.mv_size);
    cr_assert_not_null(copy);
    memcpy(copy, v.mv_data, v.mv_size);
    *out_size = v.mv_size;
    return copy;
}

static void raw_put(struct raw *raw, uint64_t key, uint8_t *value, size_t size)
{
    MDB_val k = {sizeof key, &key}, v = {size, value};
    cr_assert_eq(mdb_put(raw->txn, raw->dbi, &k, &v, 0), 0);
    free(value);
}

static void flip(const struct store_fixture *fixture, enum store_table table, uint64_t key,
                 size_t bit_from_thousandth)
{
    struct raw raw = raw_open(fixture, table);
    size_t size;
    uint8_t *value = raw_get(&raw, key, &size);
    cr_assert_not_null(value, "table %s has no key %lu", store_table_name(table),
                       (unsigned long)key);
    size_t bit = (size * 8 - 1) * bit_from_thousandth / 1000;
    value[bit / 8] ^= (uint8_t)(1u << bit % 8);
    raw_put(&raw, key, value, size);
    raw_close(&raw);
}

#define INDEXES_PER_EPOCH 10 /* of an epoch_maker */

/* Everything that a node does with a store at its start and later, in a child: exit 0 when all
 * answers were right, 1 when something was refused with a word, 2 when the store is that of an
 * earlier epoch, which a node compares with its journal; SIGABRT when a look-up stopped the
 * process; 9 is a wrong answer. */
static int use_in_child(struct store_fixture *fixture, const struct epoch_maker *maker)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct checkpoint *checkpoint = NULL;
        struct ledger_past past;
        static struct test_memory memory;
        struct machine *machine = NULL;
        (void)signal(SIGABRT, SIG_DFL);
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGBUS, SIG_DFL);
        (void)alarm(30);
        if (freopen("/dev/null", "w", stderr) == NULL) /* the stop's message is expected */
            _exit(8);
        const enum status opened = store_fixture_open(fixture, &checkpoint);
        const bool is_damage = opened == STATUS_CORRUPT || opened == STATUS_VERSION;
        if (opened != STATUS_OK)
            _exit(is_damage && fixture->error.text[0] != '\0' ? 1 : 9);
        struct checkpoint_meta meta;
        if (checkpoint_meta(checkpoint, &meta) != STATUS_OK ||
            meta.index < INDEXES_PER_EPOCH * epoch_maker_epochs(maker))
            _exit(2);
        struct machine_options options = {
            .memory = test_memory_of(&memory),
            .account_count_max = 1u << 13,
            .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
            .epoch_request_count_max = ENTRY_REQUESTS_MAX,
            .epoch_answer_bytes_max = 1 << 20,
        };
        checkpoint_past(checkpoint, &past);
        if (machine_create(&options, &past, &machine) != STATUS_OK)
            _exit(8);
        enum status status = checkpoint_restore(checkpoint, machine);
        if (status != STATUS_OK)
            _exit(status == STATUS_CORRUPT ? 1 : 9);
        for (uint32_t i = 0; i < epoch_maker_accounts(maker); i++) {
            struct account account;
            struct account_record expected;
            made_account(maker, i, &expected);
            if (!machine_account_at(machine, i, &account) ||
                memcmp(&account.record, &expected, sizeof expected) != 0 ||
                memcmp(&account.balance, made_balance(maker, i), sizeof account.balance) != 0)
                _exit(9);
        }
        _exit(made_check_past(maker, &past, 1, 0) == NULL ? 0 : 9);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct {
    enum store_table table;
    uint64_t key;
    bool stops; /* found by a look-up, which stops the process; otherwise refused */
} spots[] = {
    {STORE_META, STORE_META_HEAD, false},
    {STORE_META, STORE_META_TRANSFER_RUNS, false},
    {STORE_META, STORE_META_REQUEST_RUNS, false},
    {STORE_META, STORE_META_REQUEST_WINDOW, false},
    {STORE_TRANSFERS, 0, true},
    {STORE_TRANSFERS, 6, true}, /* the last, partly filled one */
    {STORE_TRANSFER_IDS, 0, false},
    {STORE_TRANSFER_IDS, 2ull << 32, false},
    {STORE_ACCOUNTS, 1, false},
    {STORE_BALANCES, 777, false},
    {STORE_REQUESTS, 0, true},
    {STORE_REQUEST_IDS, 1ull << 32, false},
    {STORE_LEDGERS, 0, false},
    {STORE_PRINCIPALS, 0, false},
};

/* One bit anywhere in a value of any table: verify names table and key, and use never answers
 * wrongly: it refuses, or stops, or did not need that bit (trailers of chunks, padding). */
Test(store_damage, a_flipped_bit_in_any_table_is_found, .timeout = 200)
{
    static const size_t places[] = {0, 93, 480, 998, 1000};
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct epoch_maker *maker = fill(&fixture);
    cr_assert_eq(use_in_child(&fixture, maker), 0);
    for (unsigned i = 0; i < sizeof spots / sizeof spots[0]; i++) {
        unsigned noticed = 0;
        for (unsigned p = 0; p < sizeof places / sizeof places[0]; p++) {
            char where[80];
            struct store_error error = {{0}};
            flip(&fixture, spots[i].table, spots[i].key, places[p]);
            snprintf(where, sizeof where, "table %s, key %lu", store_table_name(spots[i].table),
                     (unsigned long)spots[i].key);
            enum status status = store_verify(fixture.path, &error, NULL, NULL);
            if (spots[i].table == STORE_META && spots[i].key == STORE_META_HEAD && places[p] == 93)
                cr_assert(status == STATUS_CORRUPT || status == STATUS_VERSION);
            else
                cr_assert_eq(status, STATUS_CORRUPT, "%s at %zu: %s", where, places[p], error.text);
            cr_assert(strstr(error.text, where) != NULL, "%s: %s", where, error.text);
            int end = use_in_child(&fixture, maker);
            cr_assert(end == 0 || end == 1 || end == 128 + SIGABRT, "%s at %zu: end %d", where,
                      places[p], end);
            noticed += end == (spots[i].stops ? 128 + SIGABRT : 1);
            flip(&fixture, spots[i].table, spots[i].key, places[p]); /* and back */
        }
        cr_assert_gt(noticed, 0, "table %s, key %lu: use never notices",
                     store_table_name(spots[i].table), (unsigned long)spots[i].key);
    }
    store_fixture_assert_clean(&fixture);
    cr_assert_eq(use_in_child(&fixture, maker), 0);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* Undamaged values that changed places are as bad: checksums are seeded with the key. */
Test(store_damage, values_that_changed_places_are_found, .timeout = 100)
{
    static const struct {
        enum store_table table;
        uint64_t a, b;
    } pairs[] = {
        {STORE_TRANSFERS, 1, 2},
        {STORE_TRANSFER_IDS, 0, 1ull << 32},
        {STORE_BALANCES, 10, 11},
        {STORE_REQUESTS, 0, 1},
    };
    for (unsigned i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct store_fixture fixture;
        store_fixture_init(&fixture);
        struct epoch_maker *maker = fill(&fixture);
        struct raw raw = raw_open(&fixture, pairs[i].table);
        size_t size_a, size_b;
        uint8_t *a = raw_get(&raw, pairs[i].a, &size_a), *b = raw_get(&raw, pairs[i].b, &size_b);
        cr_assert_not_null(a);
        cr_assert_not_null(b, "table %s", store_table_name(pairs[i].table));
        raw_put(&raw, pairs[i].a, b, size_b);
        raw_put(&raw, pairs[i].b, a, size_a);
        raw_close(&raw);
        struct store_error error = {{0}};
        cr_assert_eq(store_verify(fixture.path, &error, NULL, NULL), STATUS_CORRUPT);
        int end = use_in_child(&fixture, maker);
        cr_assert(end == 1 || end == 128 + SIGABRT, "table %s: end %d",
                  store_table_name(pairs[i].table), end);
        epoch_maker_destroy(maker);
        store_fixture_deinit(&fixture);
    }
}

/* A row that is gone: open refuses and names the table. */
Test(store_damage, a_missing_row_is_found_at_open, .timeout = 100)
{
    for (unsigned i = 0; i < sizeof spots / sizeof spots[0]; i++) {
        struct store_fixture fixture;
        struct checkpoint *checkpoint = NULL;
        store_fixture_init(&fixture);
        struct epoch_maker *maker = fill(&fixture);
        struct raw raw = raw_open(&fixture, spots[i].table);
        uint64_t key = spots[i].key;
        MDB_val k = {sizeof key, &key};
        cr_assert_eq(mdb_del(raw.txn, raw.dbi, &k, NULL), 0);
        raw_close(&raw);
        cr_assert_eq(store_fixture_open(&fixture, &checkpoint), STATUS_CORRUPT);
        cr_assert(strstr(fixture.error.text, store_table_name(spots[i].table)) != NULL, "%s",
                  fixture.error.text);
        epoch_maker_destroy(maker);
        store_fixture_deinit(&fixture);
    }
}

/* A store of a later format version: "upgrade", not "corrupt". */
Test(store_damage, a_newer_format_is_refused_as_such)
{
    struct store_fixture fixture;
    struct checkpoint *checkpoint = NULL;
    store_fixture_init(&fixture);
    struct epoch_maker *maker = fill(&fixture);
    struct raw raw = raw_open(&fixture, STORE_META);
    size_t size;
    uint8_t *head = raw_get(&raw, STORE_META_HEAD, &size);
    uint32_t version = STORE_FORMAT_VERSION + 1;
    memcpy(head + offsetof(struct store_head, format_version), &version, sizeof version);
    raw_put(&raw, STORE_META_HEAD, head, size);
    raw_close(&raw);
    cr_assert_eq(store_fixture_open(&fixture, &checkpoint), STATUS_VERSION);
    cr_assert(strstr(fixture.error.text, "upgrade") != NULL, "%s", fixture.error.text);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* ---- bytes changed under LMDB ---- */

struct file_image {
    int fd;
    size_t size;
    uint8_t *pristine;
};

static struct file_image file_image_take(const struct store_fixture *fixture)
{
    struct file_image image;
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/data.mdb", fixture->path);
    image.fd = open(path, O_RDWR);
    cr_assert_geq(image.fd, 0);
    cr_assert_eq(fstat(image.fd, &info), 0);
    image.size = (size_t)info.st_size;
    image.pristine = malloc(image.size);
    cr_assert_not_null(image.pristine);
    cr_assert_eq(pread(image.fd, image.pristine, image.size, 0), info.st_size);
    uint32_t page_size;
    memcpy(&page_size, image.pristine + 40, sizeof page_size);
    cr_assert_eq(page_size, 4096, "the places below are those of pages of 4096 bytes");
    return image;
}

static void file_image_restore(const struct file_image *image)
{
    cr_assert_eq(pwrite(image->fd, image->pristine, image->size, 0), (ssize_t)image->size);
    cr_assert_eq(ftruncate(image->fd, (off_t)image->size), 0);
}

static void file_image_release(struct file_image *image)
{
    (void)close(image->fd); /* nothing is buffered */
    free(image->pristine);
}

/* Verify comes back with a verdict, and use ends as one would want it to: all answers are right, it
 * is refused with a word, or a look-up stops the process with one. Returns whether verify found it.
 */
static bool damage_is_survived(struct store_fixture *fixture, const struct epoch_maker *maker,
                               size_t offset)
{
    struct store_error error = {{0}};
    enum status status = store_verify(fixture->path, &error, NULL, NULL);
    int end = use_in_child(fixture, maker);
    cr_assert(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_VERSION,
              "offset %zu: %s: %s", offset, status_text(status), error.text);
    cr_assert_neq(end, 9, "offset %zu: a wrong answer, or refused for another reason", offset);
    cr_assert_neq(end, 128 + SIGALRM, "offset %zu: hangs", offset);
    cr_assert(end <= 2 || end == 128 + SIGABRT, "offset %zu: use ended with %d", offset, end);
    if (status == STATUS_OK)
        cr_assert(end == 0 || end == 2, "offset %zu: verify saw nothing, use ended with %d", offset,
                  end);
    else
        cr_assert(error.text[0] != '\0');
    return status != STATUS_OK;
}

/* One random bit of the file at a time, B-tree pages included, which have no checksums. Whatever
 * happens, verify comes back with a verdict, and use gives no wrong answer: a verdict "clean" means
 * that all answers are right. */
Test(store_damage, a_flipped_bit_of_the_file_never_gives_a_wrong_answer, .timeout = 250)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct epoch_maker *maker = fill(&fixture);
    struct file_image image = file_image_take(&fixture);
    unsigned found = 0;
    srandom(3);
    for (unsigned i = 0; i < 150; i++) {
        size_t offset = (size_t)random() % image.size;
        if (i % 2 == 0) /* half of them in the headers and first nodes of pages */
            offset = offset / 4096 * 4096 + (size_t)random() % 160;
        uint8_t byte = image.pristine[offset] ^ (uint8_t)(1u << random() % 8);
        cr_assert_eq(pwrite(image.fd, &byte, 1, (off_t)offset), 1);
        found += damage_is_survived(&fixture, maker, offset);
        file_image_restore(&image);
    }
    cr_assert_gt(found, 30, "found %u", found);
    file_image_release(&image);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* LMDB believes what its two meta pages say: sizes, roots, counts. Each of their bytes in turn is
 * zero, all ones, and another one. */
Test(store_damage, a_damaged_meta_page_is_refused_in_words, .timeout = 250)
{
    enum { PAGE = 4096, USED = 160, PAGE_SIZE_AT = 40 };
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct epoch_maker *maker = fill(&fixture);
    struct file_image image = file_image_take(&fixture);
    unsigned found = 0;
    for (size_t offset = 0; offset < 2 * PAGE; offset++) {
        if (offset % PAGE >= USED)
            continue;
        const uint8_t was = image.pristine[offset], other[] = {0, 0xff, was ^ 0x10};
        uint8_t byte = other[offset % 3];
        if (byte == was)
            byte ^= 1;
        cr_assert_eq(pwrite(image.fd, &byte, 1, (off_t)offset), 1);
        found += damage_is_survived(&fixture, maker, offset);
        file_image_restore(&image);
    }
    cr_assert_gt(found, 10, "found %u", found);

    /* A page size of zero, in both: LMDB divides by it. */
    const uint32_t none = 0;
    struct checkpoint *checkpoint = NULL;
    for (size_t page = 0; page < 2; page++)
        cr_assert_eq(pwrite(image.fd, &none, sizeof none, (off_t)(page * PAGE + PAGE_SIZE_AT)),
                     (ssize_t)sizeof none);
    cr_assert_eq(store_fixture_open(&fixture, &checkpoint), STATUS_CORRUPT);
    cr_assert(strstr(fixture.error.text, "restore from a peer") != NULL, "%s", fixture.error.text);
    file_image_release(&image);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}

/* Where the n-th list of two or more free pages is in the file: LMDB's meta page names the root of
 * their tree, here a leaf, whose nodes are a header of 8 bytes, a key, then length and pages. */
static size_t find_free_pages(const struct file_image *image, unsigned n)
{
    enum { PAGE = 4096, ROOT_AT = 80, TRANSACTION_AT = 144, NODES_AT = 16, NODE_HEADER = 8 };
    uint64_t transactions[2], root, count;
    uint16_t node;
    for (size_t page = 0; page < 2; page++)
        memcpy(&transactions[page], image->pristine + page * PAGE + TRANSACTION_AT, 8);
    const size_t newest = transactions[1] > transactions[0] ? PAGE : 0;
    memcpy(&root, image->pristine + newest + ROOT_AT, sizeof root);
    const uint8_t *leaf = image->pristine + root * PAGE;
    for (size_t at = NODES_AT; at < 64; at += sizeof node) {
        memcpy(&node, leaf + at, sizeof node);
        const size_t pages = node + NODE_HEADER + sizeof(uint64_t); /* behind the key */
        memcpy(&count, leaf + pages, sizeof count);
        if (count >= 2 && n-- == 0)
            return root * PAGE + pages;
    }
    cr_assert(false, "no free pages");
    return 0;
}

/* Free pages whose order, which LMDB counts on, is another, or that are none, or too many. */
Test(store_damage, a_damaged_list_of_free_pages_is_refused, .timeout = 100)
{
    struct store_fixture fixture;
    store_fixture_init(&fixture);
    struct epoch_maker *maker = fill(&fixture);
    struct file_image image = file_image_take(&fixture);
    const size_t at = find_free_pages(&image, 0);
    uint64_t list[3], other;
    memcpy(list, image.pristine + at, sizeof list);
    memcpy(&other, image.pristine + find_free_pages(&image, 1) + 8, sizeof other);
    cr_assert_gt(list[1], list[2]);
    const uint64_t damaged[][3] = {
        {list[0], list[2], list[1]},
        {list[0], list[1], list[1]},
        {list[0], image.size / 4096, list[2]},
        {list[0] << 20, list[1], list[2]},
        {2, list[1], 1},     /* a meta page */
        {1, other, list[2]}, /* free twice */
    };
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        struct checkpoint *checkpoint = NULL;
        struct store_error error;
        cr_assert_eq(pwrite(image.fd, damaged[i], sizeof list, (off_t)at), (ssize_t)sizeof list);
        cr_assert_eq(store_fixture_open(&fixture, &checkpoint), STATUS_CORRUPT);
        cr_assert(strstr(fixture.error.text, "free pages") != NULL, "%s", fixture.error.text);
        cr_assert_eq(store_verify(fixture.path, &error, NULL, NULL), STATUS_CORRUPT);
        file_image_restore(&image);
    }
    cr_assert_eq(use_in_child(&fixture, maker), 0);
    file_image_release(&image);
    epoch_maker_destroy(maker);
    store_fixture_deinit(&fixture);
}
