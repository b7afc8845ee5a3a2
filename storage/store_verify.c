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
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the child is beside a table: the key says it. */
enum { OPENING, FREE_PAGES, STATE };

/* What the child writes into the pipe; smaller than PIPE_BUF, so never torn. */
struct report {
    uint64_t done, total;
    uint32_t table; /* STORE_TABLE_COUNT: none */
    uint32_t is_last;
    uint64_t key;
    uint32_t status;
    uint32_t reserved;
    struct store_error error;
};

struct question {
    const char *path;
    uint64_t map_size_bytes; /* 0: what the store says */
    bool trees_only;
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

static enum status walk_store(struct walk *walk, const char *path, uint64_t map_size_bytes)
{
    struct store_txn *t = &walk->t;
    struct store_options options = {.path = path, .map_size_bytes = map_size_bytes};
    enum status status = store_environment_open(&options, true, t);
    report(walk, STORE_TABLE_COUNT, FREE_PAGES, false, STATUS_OK);
    if (status == STATUS_OK)
        status = store_free_pages_check(t, path);
    report(walk, STORE_TABLE_COUNT, STATE, false, STATUS_OK);
    if (status == STATUS_OK && !walk->trees_only)
        status = check_state(walk);
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

/* Signals are blocked when it begins. Its parent's handlers are not its own: what ends it is to end
 * it, and whoever tells the parent to stop means the parent, with which it ends. */
static void be_a_child(pid_t parent)
{
    static const int deaths[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT},
                     stops[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t none;
    for (size_t i = 0; i < sizeof deaths / sizeof deaths[0]; i++)
        (void)signal(deaths[i], SIG_DFL);
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++)
        (void)signal(stops[i], SIG_IGN);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* it holds the parent's locks and sockets as well */
    if (getppid() != parent)
        _exit(3);
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child(const struct question *question, pid_t parent, int pipe)
{
    be_a_child(parent);
    if (!question->trees_only) /* beside a node that serves; as good without */
        (void)setpriority(PRIO_PROCESS, 0, 10);
    struct walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL)
        _exit(3);
    walk->pipe = pipe;
    walk->trees_only = question->trees_only;
    report(walk, STORE_TABLE_COUNT, OPENING, false, STATUS_OK);
    enum status status = walk_store(walk, question->path, question->map_size_bytes);
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

struct place {
    char text[64];
};

static struct place place_of(const struct report *last)
{
    struct place out;
    if (last->table < STORE_TABLE_COUNT)
        snprintf(out.text, sizeof out.text, "table %s, at or after key %" PRIu64,
                 store_table_name((enum store_table)last->table), last->key);
    else
        snprintf(out.text, sizeof out.text, "%s",
                 last->key == OPENING      ? "opening it"
                 : last->key == FREE_PAGES ? "its free pages"
                                           : "its meta records");
    return out;
}

/* A child that did not come to its end: damage, or somebody else's doing, which says nothing of the
 * store. */
static enum status explain_end(const char *path, int wait_status, const struct report *last,
                               struct store_error *out_error)
{
    const int signal_number = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    switch (signal_number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGABRT:
        snprintf(out_error->text, sizeof out_error->text,
                 "store: %.80s: %s: reading it killed the reader (signal %d): LMDB's pages are "
                 "damaged; restore from a peer or a backup",
                 path, place_of(last).text, signal_number);
        return STATUS_CORRUPT;
    default:
        snprintf(out_error->text, sizeof out_error->text,
                 "store: %.60s: %s: who reads it was ended from outside (%s %d), it may be sound; "
                 "start again, perhaps with more memory",
                 path, place_of(last).text, signal_number != 0 ? "signal" : "exit",
                 signal_number != 0 ? signal_number : WEXITSTATUS(wait_status));
        return STATUS_NO_MEMORY;
    }
}

static enum status refuse_to_begin(int code, const char *what, struct store_error *out_error)
{
    snprintf(out_error->text, sizeof out_error->text, "store: %s: %s", what, strerror(code));
    return code == ENOMEM || code == EAGAIN ? STATUS_NO_MEMORY : STATUS_IO;
}

static enum status ask_in_child(const struct question *question, struct store_error *out_error,
                                void (*progress)(void *context, uint64_t done, uint64_t total),
                                void *context)
{
    int fds[2];
    sigset_t all, before;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return refuse_to_begin(errno, "cannot make a pipe", out_error);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t parent = getpid(), pid = fork();
    const int fork_code = errno;
    if (pid == 0) {
        (void)close(fds[0]); /* the parent's end */
        child(question, parent, fds[1]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
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
    if (pid < 0)
        return refuse_to_begin(fork_code, "cannot start a process", out_error);
    int wait_status = 0;
    pid_t ended;
    do {
        ended = waitpid(pid, &wait_status, 0);
    } while (ended < 0 && errno == EINTR);
    if (finished) {
        *out_error = last.error;
        if (last.status == STATUS_OK)
            out_error->text[0] = '\0';
        return (enum status)last.status;
    }
    if (ended < 0) /* whoever started us has SIGCHLD ignored: nobody knows how it ended */
        return refuse_to_begin(errno, "cannot wait for the process that reads it", out_error);
    return explain_end(question->path, wait_status, &last, out_error);
}

enum status store_verify(const char *path, struct store_error *out_error,
                         void (*progress)(void *context, uint64_t done, uint64_t total),
                         void *context)
{
    return ask_in_child(&(struct question){.path = path}, out_error, progress, context);
}

enum status store_check_trees(const struct store_options *options, struct store_error *out_error)
{
    return ask_in_child(&(struct question){.path = options->path,
                                           .map_size_bytes = options->map_size_bytes,
                                           .trees_only = true},
                        out_error, NULL, NULL);
}
