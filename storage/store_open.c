/*
 * The environment: made whole or not at all, and believed only after a sync.
 *
 * Creation happens in a directory "new" beside the place where the file belongs: environment,
 * tables and first meta records are committed and synced there, then data.mdb is renamed into place
 * and the directory synced. So a data.mdb that exists is complete, and one that is too short or
 * without tables is damage, never a start that was cut off.
 *
 * A kill between LMDB's write of a meta page and its sync leaves an epoch that can be read but is
 * not durable; the journal must not be pruned on its word. Hence mdb_env_sync() before any record
 * is trusted.
 */
#include "storage/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_FILE "data.mdb"
#define LOCK_FILE "lock.mdb"
#define NEW_DIR   "new"

struct path {
    char text[4096];
};

static enum status note(struct store_txn *t, enum status status, const char *path, const char *what)
{
    snprintf(t->error.text, sizeof t->error.text, "store: %.140s: %s (%s)", path, what,
             status_text(status));
    return status;
}

static enum status note_code(struct store_txn *t, int code, const char *path, const char *what)
{
    snprintf(t->error.text, sizeof t->error.text, "store: %.140s: %s: %s", path, what,
             mdb_strerror(code));
    return store_status_of(code);
}

static bool path_join(struct path *out, const char *a, const char *b)
{
    int size = snprintf(out->text, sizeof out->text, "%s/%s", a, b);
    return size > 0 && (size_t)size < sizeof out->text;
}

static enum status sync_directory(struct store_txn *t, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = 0;
    if (fd < 0 || fsync(fd) != 0)
        code = errno;
    if (fd >= 0)
        (void)close(fd); /* only read through */
    return code == 0 ? STATUS_OK : note_code(t, code, path, "cannot sync the directory");
}

/* ---- LMDB ---- */

static enum status environment_map(struct store_txn *t, const char *path, uint64_t map_size,
                                   unsigned flags)
{
    MDB_env *env = NULL;
    int code = mdb_env_create(&env);
    if (code == 0)
        code = mdb_env_set_maxdbs(env, STORE_TABLE_COUNT);
    if (code == 0 && map_size > 0)
        code = mdb_env_set_mapsize(env, map_size);
    if (code == 0)
        code = mdb_env_open(env, path, MDB_NOTLS | MDB_NOMEMINIT | flags, 0600);
    if (code != 0) {
        if (env != NULL)
            mdb_env_close(env);
        return note_code(t, code, path, "cannot open the environment");
    }
    t->env = env;
    return STATUS_OK;
}

static enum status tables_open(struct store_txn *t, const char *path, unsigned flags)
{
    for (int table = 0; table < STORE_TABLE_COUNT; table++) {
        int code = mdb_dbi_open(t->txn, store_table_name((enum store_table)table),
                                MDB_INTEGERKEY | flags, &t->dbi[table]);
        if (code == MDB_NOTFOUND)
            return note(t, STATUS_CORRUPT, path,
                        "a table is missing; restore from a peer or a backup");
        if (code != 0)
            return note_code(t, code, path, "cannot open a table");
    }
    return STATUS_OK;
}

/* ---- creation ---- */

static enum status write_first_records(struct store_txn *t, const struct store_options *options)
{
    struct store_head head = {.magic = STORE_MAGIC, .format_version = STORE_FORMAT_VERSION};
    memcpy(head.cluster_id, options->cluster_id, sizeof head.cluster_id);
    if (getrandom(&head.hash_seed, sizeof head.hash_seed, 0) != (ssize_t)sizeof head.hash_seed)
        return note_code(t, errno, options->path, "cannot draw a random seed");
    struct id_run_list *empty = calloc(1, sizeof *empty);
    if (empty == NULL)
        return note(t, STATUS_NO_MEMORY, options->path, "cannot create the store");
    enum status status =
        store_put_small(t, STORE_META, STORE_META_TRANSFER_RUNS, empty, sizeof *empty);
    if (status == STATUS_OK)
        status = store_put_small(t, STORE_META, STORE_META_REQUEST_RUNS, empty, sizeof *empty);
    if (status == STATUS_OK)
        status = store_put_small(t, STORE_META, STORE_META_HEAD, &head, sizeof head);
    free(empty);
    return status;
}

static enum status create_in(struct store_txn *t, const struct store_options *options,
                             const char *path)
{
    enum status status = environment_map(t, path, options->map_size_bytes, 0);
    if (status != STATUS_OK)
        return status;
    int code = mdb_txn_begin(t->env, NULL, 0, &t->txn);
    if (code != 0) {
        status = note_code(t, code, path, "cannot begin to write");
        goto close;
    }
    status = tables_open(t, path, MDB_CREATE);
    if (status == STATUS_OK)
        status = write_first_records(t, options);
    if (status != STATUS_OK) {
        mdb_txn_abort(t->txn);
        goto close;
    }
    code = mdb_txn_commit(t->txn);
    if (code == 0)
        code = mdb_env_sync(t->env, 1);
    if (code != 0)
        status = note_code(t, code, path, "cannot write the first records");
close:
    mdb_env_close(t->env);
    t->env = NULL;
    t->txn = NULL;
    return status;
}

static void remove_unfinished(const char *new_path)
{
    static const char *const names[] = {DATA_FILE, LOCK_FILE};
    struct path file;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (path_join(&file, new_path, names[i]))
            (void)unlink(file.text); /* what stays makes mkdir or rename fail and is named there */
    (void)rmdir(new_path);
}

static enum status create(struct store_txn *t, const struct store_options *options,
                          const char *new_path, const char *data_path)
{
    struct path made;
    if (!path_join(&made, new_path, DATA_FILE))
        return note(t, STATUS_INVALID, options->path, "path is too long");
    if (mkdir(new_path, 0700) != 0 && errno != EEXIST)
        return note_code(t, errno, new_path, "cannot create the directory");
    enum status status = create_in(t, options, new_path);
    if (status == STATUS_OK && rename(made.text, data_path) != 0)
        status = note_code(t, errno, data_path, "cannot be put into place");
    if (status == STATUS_OK)
        status = sync_directory(t, options->path);
    remove_unfinished(new_path);
    return status;
}

/* ---- opening ---- */

/* LMDB would take an empty file for a new environment, and a short one would end in SIGBUS. */
static enum status check_size_before(struct store_txn *t, const char *data_path)
{
    struct stat file;
    if (stat(data_path, &file) != 0)
        return note_code(t, errno, data_path, "cannot be found");
    if (file.st_size < 2 * 4096)
        return note(t, STATUS_CORRUPT, data_path, "is cut off; restore from a peer or a backup");
    return STATUS_OK;
}

enum status store_environment_open(const struct store_options *options, bool read_only,
                                   struct store_txn *t)
{
    struct path data, unfinished;
    memset(t, 0, sizeof *t);
    if (!path_join(&data, options->path, DATA_FILE) ||
        !path_join(&unfinished, options->path, NEW_DIR))
        return note(t, STATUS_INVALID, options->path, "path is too long");

    enum status status = STATUS_OK;
    if (!read_only) {
        if (access(options->path, R_OK | W_OK | X_OK) != 0)
            return note_code(t, errno, options->path, "cannot use the directory");
        remove_unfinished(unfinished.text);
        if (access(data.text, F_OK) != 0) {
            if (errno != ENOENT)
                return note_code(t, errno, data.text, "cannot be reached");
            status = create(t, options, unfinished.text, data.text);
        } else {
            /* A kill between the rename and its sync leaves a name that a power loss would take. */
            status = sync_directory(t, options->path);
        }
    }
    if (status == STATUS_OK)
        status = check_size_before(t, data.text);
    if (status == STATUS_OK)
        status = store_meta_pages_check(t, data.text);
    if (status == STATUS_OK && !read_only)
        status = store_check_trees(options, &t->error);
    if (status == STATUS_OK)
        status =
            environment_map(t, options->path, options->map_size_bytes, read_only ? MDB_RDONLY : 0);
    if (status != STATUS_OK)
        return status;

    int code = 0, dead = 0;
    if (!read_only) {
        code = mdb_env_sync(t->env, 1);
        if (code == 0) /* slots of readers that were killed would pin old pages */
            code = mdb_reader_check(t->env, &dead);
    }
    if (code != 0)
        return note_code(t, code, options->path, "cannot sync what the last process left");
    code = mdb_txn_begin(t->env, NULL, MDB_RDONLY, &t->txn);
    if (code != 0)
        return note_code(t, code, options->path, "cannot begin to read");
    status = tables_open(t, options->path, 0);
    if (status != STATUS_OK)
        return status;
    code = mdb_txn_commit(t->txn); /* keeps the handles */
    t->txn = NULL;
    if (code == 0)
        code = mdb_txn_begin(t->env, NULL, MDB_RDONLY, &t->txn);
    return code == 0 ? STATUS_OK : note_code(t, code, options->path, "cannot begin to read");
}

/* ---- meta records ---- */

static enum status head_read(struct store_txn *t, struct store_head *out)
{
    MDB_val k, v;
    uint64_t key = STORE_META_HEAD, magic;
    uint32_t version;
    k.mv_size = sizeof key;
    k.mv_data = &key;
    int code = mdb_get(t->txn, t->dbi[STORE_META], &k, &v);
    if (code != 0 || v.mv_size < sizeof magic + sizeof version)
        return store_fail(t, STATUS_CORRUPT, STORE_META, key,
                          "head is missing; restore from a peer or a backup");
    memcpy(&magic, v.mv_data, sizeof magic);
    memcpy(&version, (const uint8_t *)v.mv_data + sizeof magic, sizeof version);
    if (magic == STORE_MAGIC && version > STORE_FORMAT_VERSION)
        return store_fail(t, STATUS_VERSION, STORE_META, key,
                          "written by a newer build; upgrade tallyd");
    enum status status = store_get_small(t, STORE_META, key, out, sizeof *out);
    if (status == STATUS_OK && (out->magic != STORE_MAGIC || out->format_version == 0 ||
                                out->configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX))
        status = store_fail(t, STATUS_CORRUPT, STORE_META, key,
                            "is not a store's head; restore from a peer or a backup");
    return status;
}

enum status store_state_read(struct store_txn *t, struct store_state *out)
{
    enum status status = head_read(t, &out->head);
    if (status == STATUS_OK)
        status = store_get_small(t, STORE_META, STORE_META_TRANSFER_RUNS, &out->transfer_runs,
                                 sizeof out->transfer_runs);
    if (status == STATUS_OK)
        status = store_get_small(t, STORE_META, STORE_META_REQUEST_RUNS, &out->request_runs,
                                 sizeof out->request_runs);
    if (status != STATUS_OK)
        return status;
    if (!id_run_list_check(&out->transfer_runs))
        return store_fail(t, STATUS_CORRUPT, STORE_META, STORE_META_TRANSFER_RUNS,
                          "run list contradicts itself; restore from a peer or a backup");
    if (!id_run_list_check(&out->request_runs))
        return store_fail(t, STATUS_CORRUPT, STORE_META, STORE_META_REQUEST_RUNS,
                          "run list contradicts itself; restore from a peer or a backup");
    return STATUS_OK;
}

static uint64_t run_chunks(const struct id_run_list *list)
{
    uint64_t chunks = 0;
    for (uint32_t i = 0; i < list->run_count; i++)
        chunks += id_run_chunks(list->runs[i].entry_count);
    for (uint32_t i = 0; i < list->merge_count; i++)
        chunks += id_run_chunks(list->merges[i].output_count);
    for (uint32_t i = 0; i < list->removal_count; i++)
        chunks += list->removals[i].chunk_end - list->removals[i].chunk_next;
    return chunks;
}

enum status store_state_check(struct store_txn *t, const struct store_state *state)
{
    const struct store_head *head = &state->head;
    const uint64_t rows[STORE_TABLE_COUNT] = {
        [STORE_META] = head->epoch_count > 0 ? 4 : 3,
        [STORE_TRANSFERS] = (head->transfer_count + TRANSFERS_PER_CHUNK - 1) / TRANSFERS_PER_CHUNK,
        [STORE_TRANSFER_IDS] = run_chunks(&state->transfer_runs),
        [STORE_ACCOUNTS] = (head->account_count + ACCOUNTS_PER_CHUNK - 1) / ACCOUNTS_PER_CHUNK,
        [STORE_BALANCES] = head->account_count,
        [STORE_REQUESTS] = head->request_chunk_next - head->request_chunk_first,
        [STORE_REQUEST_IDS] = run_chunks(&state->request_runs),
        [STORE_LEDGERS] = head->ledger_count,
        [STORE_PRINCIPALS] = head->principal_count,
    };
    for (int table = 0; table < STORE_TABLE_COUNT; table++) {
        MDB_stat s;
        int code = mdb_stat(t->txn, t->dbi[table], &s);
        if (code != 0)
            return store_fail_code(t, code, (enum store_table)table, 0, "cannot count rows");
        if (s.ms_entries != rows[table])
            return store_fail(
                t, STATUS_CORRUPT, (enum store_table)table, s.ms_entries,
                "count of rows (the key here) differs from the head's; restore from a "
                "peer or a backup");
    }
    return STATUS_OK;
}
