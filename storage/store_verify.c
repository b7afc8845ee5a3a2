/*
 * The scrub: every checksum of every value, and every rule between tables that can be checked
 * without the ledger.
 *
 * It runs in a child process. LMDB 0.9 has no page checksums, so a damaged page of a B-tree can
 * send LMDB into memory that is not there; what kills the child is then a finding ("while reading
 * table X, key Y") and not the end of the process that asked. A child also may open an environment
 * that this process has open, which LMDB forbids within one process.
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
        if (!value_check(walk, table, key, &v))
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

static enum status walk_store(struct walk *walk, const char *path)
{
    struct store_txn *t = &walk->t;
    struct store_options options = {.path = path};
    enum status status = store_environment_open(&options, true, t);
    if (status == STATUS_OK)
        status = store_state_read(t, &walk->state);
    if (status == STATUS_OK)
        status = store_state_check(t, &walk->state);
    struct request_window_record window;
    if (status == STATUS_OK && walk->state.head.epoch_count > 0)
        status = store_get_small(t, STORE_META, STORE_META_REQUEST_WINDOW, &window, sizeof window);
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

static _Noreturn void child(const char *path, int pipe)
{
    struct walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL)
        _exit(3);
    (void)signal(SIGSEGV, SIG_DFL); /* whatever handler the parent has, it would talk of a bug */
    (void)signal(SIGBUS, SIG_DFL);
    (void)signal(SIGABRT, SIG_DFL);
    walk->pipe = pipe;
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

enum status store_verify(const char *path, struct store_error *out_error,
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
        (void)close(fds[0]);                    /* the parent's end */
        (void)setpriority(PRIO_PROCESS, 0, 10); /* beside a node that serves; as good without */
        child(path, fds[1]);
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
    snprintf(out_error->text, sizeof out_error->text,
             "store: table %s, at or after key %" PRIu64
             ": reading it killed the reader (%s %d): pages of the tree are damaged; restore from "
             "a peer or a backup",
             store_table_name((enum store_table)last.table), last.key,
             WIFSIGNALED(wait_status) ? "signal" : "exit",
             WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
    return STATUS_CORRUPT;
}
