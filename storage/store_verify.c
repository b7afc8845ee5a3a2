/*
 * The scrub: every checksum of every value, and every rule between tables that can be checked
 * without the ledger. And before a store is opened for writing: its trees alone, without values.
 *
 * Both run in a child process. LMDB 0.9 has no page checksums, so a damaged page of a B-tree can
 * send LMDB into memory that is not there, or a damaged meta page make it divide by zero; what
 * kills the child is then a finding ("while reading table X, key Y") and not the end of the process
 * that asked. A child also may open an environment that this process has open, which LMDB forbids
 * within one process.
 */
#include "storage/store_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child writes into the pipe; smaller than PIPE_BUF, so never torn. */
struct report {
    uint64_t done, total;
    uint32_t table;
    uint32_t is_last;
    uint64_t key;
    uint32_t status;
    uint32_t reserved;
    struct store_error error;
};

struct walk {
    struct store_txn t;
    struct store_state state;
    int pipe;
    bool trees_only;
    uint64_t done, total, reported;
};

static void report(struct walk *walk, enum store_table table, uint64_t key, bool is_last,
                   enum status status)
{
    struct report r = {.done = walk->done,
                       .total = walk->total,
                       .table = table,
                       .key = key,
                       .is_last = is_last,
                       .status = status,
                       .error = walk->t.error};
    ssize_t n;
    do {
        n = write(walk->pipe, &r, sizeof r);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof r)
        _exit(3); /* the parent is gone or will say that we died */
}

static bool small_check(enum store_table table, uint64_t key, const MDB_val *v, size_t row_size)
{
    uint8_t copy[512];
    uint64_t sum;
    if (row_size > sizeof copy || v->mv_size != row_size + sizeof sum)
        return false;
    memcpy(copy, v->mv_data, row_size);
    memcpy(&sum, (const uint8_t *)v->mv_data + row_size, sizeof sum);
    return sum == store_checksum(table, key, 0, copy, row_size);
}

static bool record_check(const uint8_t *chunk, enum store_table table, uint64_t key,
                         uint64_t record_count, uint32_t per_chunk)
{
    uint64_t first = key * per_chunk;
    if (first >= record_count)
        return false;
    uint64_t rest = record_count - first;
    return record_chunk_check(chunk, table, key, rest < per_chunk ? (uint32_t)rest : per_chunk);
}

/* Entries that the lists expect in an id chunk; 0 when no list knows it. */
static uint32_t expected_entries(const struct id_run_list *list, uint32_t run, uint32_t chunk,
                                 bool *out_any_count)
{
    uint64_t entries = 0;
    *out_any_count = false;
    for (uint32_t i = 0; i < list->run_count; i++)
        if (list->runs[i].number == run)
            entries = list->runs[i].entry_count;
    for (uint32_t i = 0; i < list->merge_count; i++)
        if (list->merges[i].output == run)
            entries = list->merges[i].output_count;
    for (uint32_t i = 0; i < list->removal_count; i++)
        if (list->removals[i].run == run && chunk >= list->removals[i].chunk_next &&
            chunk < list->removals[i].chunk_end)
            *out_any_count = true;
    uint64_t first = (uint64_t)chunk * ID_CHUNK_ENTRIES;
    if (first >= entries)
        return 0;
    uint64_t rest = entries - first;
    return rest < ID_CHUNK_ENTRIES ? (uint32_t)rest : ID_CHUNK_ENTRIES;
}

static bool id_check(const struct walk *walk, enum store_table table, uint64_t key,
                     const uint8_t *chunk)
{
    const struct id_run_list *list =
        table == STORE_TRANSFER_IDS ? &walk->state.transfer_runs : &walk->state.request_runs;
    bool any_count;
    uint32_t count = expected_entries(list, (uint32_t)(key >> 32), (uint32_t)key, &any_count);
    if (any_count) /* waits for deletion: its own count will do */
        memcpy(&count, chunk + ID_CHUNK_SUMS_AT + ID_CHUNK_BLOCKS * sizeof(uint64_t), sizeof count);
    return count > 0 && count <= ID_CHUNK_ENTRIES && id_chunk_check(chunk, table, key, count);
}

static bool value_check(struct walk *walk, enum store_table table, uint64_t key, const MDB_val *v)
{
    const struct store_head *head = &walk->state.head;
    const uint8_t *bytes = v->mv_data;
    switch (table) {
    case STORE_META:
        return true; /* read and checked before the walk */
    case STORE_TRANSFERS:
        return v->mv_size == CHUNK_SIZE &&
               record_check(bytes, table, key, head->transfer_count, TRANSFERS_PER_CHUNK);
    case STORE_ACCOUNTS:
        return v->mv_size == CHUNK_SIZE &&
               record_check(bytes, table, key, head->account_count, ACCOUNTS_PER_CHUNK);
    case STORE_TRANSFER_IDS:
    case STORE_REQUEST_IDS:
        return v->mv_size == CHUNK_SIZE && id_check(walk, table, key, bytes);
    case STORE_REQUESTS:
        return v->mv_size == CHUNK_SIZE && key >= head->request_chunk_first &&
               key < head->request_chunk_next && request_chunk_check(bytes, key);
    case STORE_BALANCES:
        return key < head->account_count &&
               small_check(table, key, v, sizeof(struct balance_record));
    case STORE_LEDGERS:
        return key < head->ledger_count && small_check(table, key, v, sizeof(struct ledger_record));
    case STORE_PRINCIPALS:
        return key < head->principal_count &&
               small_check(table, key, v, sizeof(struct principal_record));
    case STORE_TABLE_COUNT:
        break;
    }
    return false;
}

static enum status walk_table(struct walk *walk, enum store_table table)
{
    struct store_txn *t = &walk->t;
    MDB_cursor *cursor;
    MDB_val k, v;
    uint64_t key = 0, before = 0, rows = 0;
    MDB_stat s;
    report(walk, table, 0, false, STATUS_OK);
    int code = mdb_stat(t->txn, t->dbi[table], &s);
    if (code == 0)
        code = mdb_cursor_open(t->txn, t->dbi[table], &cursor);
    if (code != 0)
        return store_fail_code(t, code, table, 0, "cannot be read");
    while ((code = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        if (k.mv_size != sizeof key)
            return store_fail(t, STATUS_CORRUPT, table, before, "next key has a wrong size");
        memcpy(&key, k.mv_data, sizeof key);
        if (walk->done - walk->reported >= 256) {
            walk->reported = walk->done;
            report(walk, table, key, false, STATUS_OK);
        }
        if (rows > 0 && key <= before)
            return store_fail(t, STATUS_CORRUPT, table, key, "keys are out of order");
        if (!walk->trees_only && !value_check(walk, table, key, &v))
            return store_fail(t, STATUS_CORRUPT, table, key,
                              "value is damaged; restore from a peer or a backup");
        before = key;
        rows++;
        walk->done++;
    }
    if (code != MDB_NOTFOUND)
        return store_fail_code(t, code, table, before, "cannot be read after this key");
    if (rows != s.ms_entries)
        return store_fail(t, STATUS_CORRUPT, table, before,
                          "rows are missing after this key; restore from a peer or a backup");
    mdb_cursor_close(cursor);
    return STATUS_OK;
}

#define FREE_LIST  0 /* LMDB's handle of it, as in its own tool mdb_stat */
#define META_PAGES 2

/* LMDB takes pages to write on from lists of page numbers, each behind its length, and counts on
 * their order. */
static bool free_pages_check(const MDB_val *v, uint64_t last_page)
{
    const uint8_t *bytes = v->mv_data;
    uint64_t count, before = last_page + 1, page;
    if (v->mv_size < sizeof count)
        return false;
    memcpy(&count, bytes, sizeof count);
    if (count > v->mv_size / sizeof page - 1)
        return false;
    for (uint64_t i = 0; i < count; i++, before = page) {
        memcpy(&page, bytes + (i + 1) * sizeof page, sizeof page);
        if (page >= before || page < META_PAGES)
            return false;
    }
    return true;
}

static enum status walk_free_list(struct walk *walk, const char *path)
{
    struct store_txn *t = &walk->t;
    MDB_cursor *cursor;
    MDB_envinfo info;
    MDB_val k, v;
    int code = mdb_env_info(t->env, &info);
    if (code == 0)
        code = mdb_cursor_open(t->txn, FREE_LIST, &cursor);
    if (code == 0) {
        while ((code = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
            if (!free_pages_check(&v, info.me_last_pgno))
                break;
        mdb_cursor_close(cursor);
    }
    if (code == MDB_NOTFOUND)
        return STATUS_OK;
    snprintf(t->error.text, sizeof t->error.text,
             "store: %.140s: the list of free pages is damaged (%s); restore from a peer or a "
             "backup",
             path, code == 0 ? "pages out of order or range" : mdb_strerror(code));
    return STATUS_CORRUPT;
}

/* Every rule that values have among each other, but for the tables' own. */
static enum status check_state(struct walk *walk)
{
    struct store_txn *t = &walk->t;
    struct request_window_record window;
    enum status status = store_state_read(t, &walk->state);
    if (status == STATUS_OK)
        status = store_state_check(t, &walk->state);
    if (status == STATUS_OK && walk->state.head.epoch_count > 0)
        status = store_get_small(t, STORE_META, STORE_META_REQUEST_WINDOW, &window, sizeof window);
    return status;
}

static enum status walk_store(struct walk *walk, const char *path)
{
    struct store_txn *t = &walk->t;
    struct store_options options = {.path = path};
    enum status status = store_environment_open(&options, true, t);
    if (status == STATUS_OK && !walk->trees_only)
        status = check_state(walk);
    if (status == STATUS_OK)
        status = walk_free_list(walk, path);
    if (status != STATUS_OK)
        return status;
    for (int table = 0; table < STORE_TABLE_COUNT; table++) {
        MDB_stat s;
        if (mdb_stat(t->txn, t->dbi[table], &s) == 0)
            walk->total += s.ms_entries;
    }
    for (int table = 0; table < STORE_TABLE_COUNT && status == STATUS_OK; table++)
        status = walk_table(walk, (enum store_table)table);
    return status;
}

static _Noreturn void child(const char *path, bool trees_only, int pipe)
{
    struct walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL)
        _exit(3);
    (void)signal(SIGSEGV, SIG_DFL); /* whatever handler the parent has, it would talk of a bug */
    (void)signal(SIGBUS, SIG_DFL);
    (void)signal(SIGFPE, SIG_DFL);
    (void)signal(SIGABRT, SIG_DFL);
    walk->pipe = pipe;
    walk->trees_only = trees_only;
    enum status status = walk_store(walk, path);
    report(walk, STORE_TABLE_COUNT, 0, true, status);
    if (walk->t.txn != NULL)
        mdb_txn_abort(walk->t.txn); /* gives the reader's slot back */
    _exit(0);
}

static bool read_report(int pipe, struct report *out)
{
    size_t have = 0;
    while (have < sizeof *out) {
        ssize_t n = read(pipe, (uint8_t *)out + have, sizeof *out - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

/* A child that did not come to its end: damage, or somebody else's doing, which says nothing of the
 * store. */
static enum status explain_end(int wait_status, const struct report *last,
                               struct store_error *out_error)
{
    const char *table = store_table_name((enum store_table)last->table);
    int signal_number = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    switch (signal_number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGABRT:
        snprintf(out_error->text, sizeof out_error->text,
                 "store: table %s, at or after key %" PRIu64
                 ": reading it killed the reader (signal %d): pages of the tree are damaged; "
                 "restore from a peer or a backup",
                 table, last->key, signal_number);
        return STATUS_CORRUPT;
    default:
        snprintf(out_error->text, sizeof out_error->text,
                 "store: table %s, at or after key %" PRIu64
                 ": the process that reads it was ended (%s %d), the store may be sound; start "
                 "again, with more memory if that ran short",
                 table, last->key, signal_number != 0 ? "signal" : "exit",
                 signal_number != 0 ? signal_number : WEXITSTATUS(wait_status));
        return STATUS_NO_MEMORY;
    }
}

static enum status walk_in_child(const char *path, bool trees_only, struct store_error *out_error,
                                 void (*progress)(void *context, uint64_t done, uint64_t total),
                                 void *context)
{
    int fds[2];
    if (pipe(fds) != 0) {
        snprintf(out_error->text, sizeof out_error->text, "store: cannot make a pipe: %s",
                 strerror(errno));
        return STATUS_IO;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[0]); /* the parent's end */
        if (!trees_only)     /* beside a node that serves; as good without */
            (void)setpriority(PRIO_PROCESS, 0, 10);
        child(path, trees_only, fds[1]);
    }
    (void)close(fds[1]); /* the child's end */
    struct report r, last = {.table = STORE_TABLE_COUNT};
    bool finished = false;
    while (pid > 0 && read_report(fds[0], &r)) {
        last = r;
        finished = r.is_last != 0;
        if (progress != NULL)
            progress(context, r.done, r.total);
    }
    (void)close(fds[0]);
    int wait_status = 0;
    if (pid > 0)
        while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
            ;
    if (pid < 0) {
        snprintf(out_error->text, sizeof out_error->text, "store: cannot start a process: %s",
                 strerror(errno));
        return STATUS_NO_MEMORY;
    }
    if (finished) {
        *out_error = last.error;
        if (last.status == STATUS_OK)
            out_error->text[0] = '\0';
        return (enum status)last.status;
    }
    return explain_end(wait_status, &last, out_error);
}

enum status store_verify(const char *path, struct store_error *out_error,
                         void (*progress)(void *context, uint64_t done, uint64_t total),
                         void *context)
{
    return walk_in_child(path, false, out_error, progress, context);
}

enum status store_check_trees(const char *path, struct store_error *out_error)
{
    return walk_in_child(path, true, out_error, NULL, NULL);
}
