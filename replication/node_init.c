/*
 * Making a data directory.
 *
 * Order, so that a crash or an error at any point leaves either a complete directory or one that is
 * visibly none: check everything that can be checked without writing; then directories, reserve,
 * hard state, journal with its first entry; and last the identity, by one atomic rename. A
 * directory without an identity is refused by node_open. On an error everything made here is
 * removed again, the directory itself included if it was made here.
 *
 * The first entry (index 1, term 1) sets the principals: who may use the ledger is part of the
 * replicated state from the beginning, so that no node needs a list of its own. The rows are judged
 * by the state machine itself: the entry is applied to a small machine in memory, and any result
 * other than OK is reported with its row.
 */
#include "replication/directory.h"
#include "replication/environment.h"
#include "replication/memory.h"
#include "replication/node_error.h"
#include "replication/propose.h"

#include "core/invariant.h"
#include "storage/hard_state.h"
#include "storage/reserve.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENESIS_TERM 1
/* Steps of the journal's jobs until one small entry is synced and sealed; each waits for nothing
 * but the disk. */
#define JOURNAL_STEPS_MAX 10000

struct making {
    const struct node_init_options *options;
    const struct environment *environment;
    struct node_error *error;
    bool made_directory, made_journal, made_store, opened;
    struct files files;
    struct file *lock;
    struct identity identity;
    uint8_t *entry; /* genesis */
    uint32_t entry_size;
};

static enum status refuse_disk(struct making *making, enum status status, const char *what)
{
    const char *directory = making->options->directory;
    switch (status) {
    case STATUS_PERMISSION:
        return node_refuse(
            making->error, status,
            "%s: cannot write %s: permission denied; give the directory to the user that "
            "runs tallyd, or choose another one",
            directory, what);
    case STATUS_DISK_FULL:
        return node_refuse(making->error, status,
                           "%s: no room for %s; free some space or choose another file system",
                           directory, what);
    default:
        return node_refuse(making->error, status, "%s: cannot make %s: %s", directory, what,
                           status_text(status));
    }
}

/* ---- the first entry ---- */

static enum status build_genesis(struct making *making)
{
    const struct node_init_options *options = making->options;
    if (options->principal_count == 0)
        return node_refuse(
            making->error, STATUS_INVALID,
            "no principals given: nobody could ever use this ledger; name at least the "
            "operators' certificates");
    size_t events_size = (size_t)options->principal_count * sizeof *options->principals;
    size_t size = sizeof(struct entry_header) + sizeof(struct request_header) + events_size;
    if (options->principal_count > PRINCIPALS_MAX || size > ENTRY_SIZE_MAX)
        return node_refuse(
            making->error, STATUS_INVALID,
            "%" PRIu32 " principals are too many for the first entry: at most %zu fit",
            options->principal_count,
            (ENTRY_SIZE_MAX - sizeof(struct entry_header) - sizeof(struct request_header)) /
                sizeof *options->principals);
    making->entry = aligned_alloc(64, (size + 63) / 64 * 64);
    if (making->entry == NULL)
        return node_refuse(making->error, STATUS_NO_MEMORY, "out of memory");
    making->entry_size = (uint32_t)size;
    memset(making->entry, 0, size);

    uint64_t stamp = making->environment->wall_ns(making->environment->context);
    struct entry_header header = {
        .version = COMMAND_VERSION,
        .size = (uint32_t)size,
        .stamp = stamp,
        .request_count = 1,
        .event_count = options->principal_count,
    };
    memcpy(making->entry, &header, sizeof header);
    struct request_header *request =
        (struct request_header *)(void *)(making->entry + sizeof header);
    request->operation = OPERATION_SET_PRINCIPALS;
    request->event_count = options->principal_count;
    request->issued_at_ns = stamp;
    making->environment->random(making->environment->context, request->nonce,
                                sizeof request->nonce);
    memcpy(request + 1, options->principals, events_size);
    request_seal(request, 0);
    return STATUS_OK;
}

/* ---- the rows, judged by the machine ---- */

static bool no_transfer_by_id(void *context, const struct id128 *id, struct transfer_record *out)
{
    (void)context, (void)id, (void)out;
    return false;
}

static bool no_transfer_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    (void)context, (void)sequence, (void)out;
    return false;
}

static bool no_request(void *context, uint32_t principal_name, const uint8_t nonce[16],
                       struct request_record *out, uint8_t *answer)
{
    (void)context, (void)principal_name, (void)nonce, (void)out, (void)answer;
    return false;
}

static void judge_rows(void *context, uint32_t position, const struct answer *answer)
{
    (void)position;
    struct making *making = context;
    if (answer->outcome != OUTCOME_EXECUTED) {
        node_refuse(making->error, STATUS_INVALID, "the principals are refused: %s: %s",
                    outcome_name(answer->outcome), outcome_explanation(answer->outcome));
        return;
    }
    for (uint32_t i = 0; i < answer->event_count; i++) {
        if (answer->results[i] == RESULT_OK || making->error->status != STATUS_OK)
            continue;
        const struct principal_event *row = &making->options->principals[i];
        node_refuse(making->error, STATUS_INVALID,
                    "principal %" PRIu32 " (%.*s) is refused: %s: %s", i + 1,
                    (int)(row->uri_size < 200 ? row->uri_size : 200), row->uri,
                    result_name(answer->results[i]), result_explanation(answer->results[i]));
    }
}

/* The table is only ever changed by a site operator: without one it stays as it is for ever. */
static bool has_site_operator(const struct machine *machine)
{
    for (uint32_t i = 0; i < machine_principal_count(machine); i++)
        if (machine_principal_at(machine, i)->role == ROLE_SITE_OPERATOR)
            return true;
    return false;
}

static enum status check_principals(struct making *making)
{
    const struct ledger_past past = {
        .transfer_by_id = no_transfer_by_id,
        .transfer_by_sequence = no_transfer_by_sequence,
        .request_by_nonce = no_request,
    };
    const struct machine_options options = {
        .memory = memory_pages(),
        .account_count_max = 1024,
        .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
        .epoch_request_count_max = ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 1024 * 1024,
    };
    struct machine *machine = NULL;
    enum status status = machine_create(&options, &past, &machine);
    if (status != STATUS_OK)
        return node_refuse(making->error, status, "no memory to check the principals");
    machine_apply(machine, 1, GENESIS_TERM, making->entry, making->entry_size, judge_rows, making);
    if (making->error->status == STATUS_OK && !has_site_operator(machine))
        node_refuse(making->error, STATUS_INVALID,
                    "none of the %" PRIu32
                    " principals has the role site_operator, so nobody could "
                    "ever change them; give that role to at least one certificate",
                    making->options->principal_count);
    machine_destroy(machine);
    return making->error->status;
}

/* ---- the directory ---- */

static bool note_name(void *argument, const char *name)
{
    if (strcmp(name, DIRECTORY_LOCK) == 0)
        return true;
    snprintf(argument, 64, "%.63s", name);
    return false; /* one is enough */
}

static enum status check_empty(struct making *making)
{
    char found[64] = "";
    enum status status = making->files.list(making->files.context, note_name, found);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the directory");
    if (found[0] == 0)
        return STATUS_OK;
    return node_refuse(making->error, STATUS_EXISTS,
                       "%s: is not empty (it holds \"%s\"); nothing was changed. Choose an empty "
                       "directory, or remove its contents if it is left over from an interrupted "
                       "`node init` (it has no file \"" DIRECTORY_IDENTITY "\" then)",
                       making->options->directory, found);
}

static enum status make_directory(struct making *making)
{
    const char *path = making->options->directory;
    enum status status = making->environment->make_directory(making->environment->context, path);
    if (status == STATUS_NOT_FOUND)
        return node_refuse(making->error, status,
                           "%s: the parent directory does not exist; create it first", path);
    if (status != STATUS_OK && status != STATUS_EXISTS)
        return refuse_disk(making, status, "the directory");
    making->made_directory = status == STATUS_OK;

    status =
        making->environment->open_directory(making->environment->context, path, &making->files);
    if (status == STATUS_NOT_FOUND)
        return node_refuse(making->error, STATUS_INVALID, "%s: is not a directory", path);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the directory");
    making->opened = true;
    status = check_empty(making);
    if (status != STATUS_OK)
        return status;
    /* Two inits of one directory: the lock tells who goes on, the second look whether the other one
     * has been here meanwhile. */
    uint64_t pid = 0;
    status = directory_lock(&making->files, &making->lock, &pid);
    if (status == STATUS_LOCKED)
        return node_refuse(making->error, status, "%s: another process (%" PRIu64 ") is using it",
                           path, pid);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the lock");
    return check_empty(making);
}

/* ---- the journal ---- */

static uint64_t journal_clock(void *context)
{
    const struct environment *environment = context;
    return environment->monotonic_ns(environment->context);
}

static void journal_random(void *context, void *out, size_t size)
{
    const struct environment *environment = context;
    environment->random(environment->context, out, size);
}

static void no_wake(void *context)
{
    (void)context; /* we step the jobs ourselves */
}

struct genesis_append {
    struct journal_append append; /* first */
    bool done;
    enum status status;
};

static void genesis_append_cb(struct journal_append *append, enum status status)
{
    struct genesis_append *genesis = (struct genesis_append *)append;
    genesis->done = true;
    genesis->status = status;
}

/* Appends as soon as the journal takes it. STATUS_BUSY: try again after the next steps. */
static enum status append_genesis(struct journal *journal, struct genesis_append *genesis)
{
    enum status status = journal_append(journal, &genesis->append);
    return status == STATUS_READ_ONLY ? STATUS_DISK_FULL : status;
}

/* Steps the jobs by hand until the entry is synced and the journal has stopped; a failure stops it
 * as well. */
static enum status run_journal(struct journal *journal, struct genesis_append *genesis)
{
    enum status status = STATUS_BUSY; /* of the append; genesis->status counts once it is done */
    bool stopping = false;
    bool writer_ended = false;
    bool preparer_ended = false;
    for (int i = 0; i < JOURNAL_STEPS_MAX; i++) {
        if (status == STATUS_BUSY)
            status = append_genesis(journal, genesis);
        if (!stopping && status != STATUS_BUSY && (genesis->done || status != STATUS_OK)) {
            journal_stop(journal);
            stopping = true;
        }
        uint64_t wait_ns;
        if (!writer_ended)
            writer_ended = journal_writer_step(journal, &wait_ns) >= JOB_FAILED;
        if (!preparer_ended)
            preparer_ended = journal_preparer_step(journal, &wait_ns) >= JOB_FAILED;
        journal_process(journal);
        if (writer_ended && preparer_ended)
            break;
    }
    if (journal_failure(journal) != STATUS_OK)
        return journal_failure(journal);
    if (status == STATUS_OK)
        status = genesis->done ? genesis->status : STATUS_IO;
    return status;
}

static enum status write_journal(struct making *making, const struct files *files)
{
    struct journal_options options = {
        .files = files,
        .segment_size = making->options->journal_segment_size,
        .clock_context = (void *)(uintptr_t)making->environment,
        .clock_ns = journal_clock,
        .random_context = (void *)(uintptr_t)making->environment,
        .random = journal_random,
        .wake_writer = no_wake,
        .wake_preparer = no_wake,
        .wake_loop = no_wake,
    };
    memcpy(options.cluster_id, making->identity.cluster_id, sizeof options.cluster_id);
    enum status status = journal_create(&options);
    if (status != STATUS_OK)
        return status;
    struct journal *journal = NULL;
    struct journal_damage damage;
    uint64_t cut = 0;
    status = journal_open(&options, &journal, &damage, &cut);
    if (status != STATUS_OK)
        return status;
    struct journal_entry entry = {
        .index = 1,
        .term = GENESIS_TERM,
        .type = JOURNAL_COMMAND,
        .size = making->entry_size,
        .payload = making->entry,
    };
    struct genesis_append genesis = {
        .append = {.entries = &entry, .entry_count = 1, .cb = genesis_append_cb},
    };
    status = run_journal(journal, &genesis);
    journal_close(journal);
    return status;
}

static enum status make_journal(struct making *making)
{
    char path[DIRECTORY_PATH_MAX];
    enum status status = directory_join(making->options->directory, DIRECTORY_JOURNAL, path);
    if (status == STATUS_OK)
        status = making->environment->make_directory(making->environment->context, path);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the journal's directory");
    making->made_journal = true;
    struct files files;
    status = making->environment->open_directory(making->environment->context, path, &files);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the journal's directory");
    status = write_journal(making, &files);
    making->environment->close_directory(making->environment->context, &files);
    return status == STATUS_OK ? STATUS_OK : refuse_disk(making, status, "the journal");
}

static enum status make_store_directory(struct making *making)
{
    char path[DIRECTORY_PATH_MAX];
    enum status status = directory_join(making->options->directory, DIRECTORY_STORE, path);
    if (status == STATUS_OK)
        status = making->environment->make_directory(making->environment->context, path);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the store's directory");
    making->made_store = true;
    return STATUS_OK;
}

static enum status make_hard_state(struct making *making)
{
    enum status status = hard_state_create(&making->files);
    const struct hard_state first = {.term = GENESIS_TERM, .vote = making->options->node_id};
    if (status == STATUS_OK)
        status = hard_state_write(&making->files, &first);
    return status == STATUS_OK ? STATUS_OK : refuse_disk(making, status, "the hard state");
}

/* From here on there is something to undo. */
static enum status make_files(struct making *making)
{
    enum status status = reserve_ensure(&making->files, making->options->reserve_bytes);
    if (status == STATUS_DISK_FULL)
        return node_refuse(making->error, status,
                           "%s: no room for the disk reserve of %" PRIu64
                           " MiB; free some space, choose another file system or a smaller reserve",
                           making->options->directory, making->options->reserve_bytes >> 20);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the disk reserve");
    status = make_hard_state(making);
    if (status == STATUS_OK)
        status = make_journal(making);
    if (status == STATUS_OK)
        status = make_store_directory(making);
    if (status != STATUS_OK)
        return status;
    status = making->files.sync_directory(making->files.context);
    if (status == STATUS_OK && making->made_directory)
        status = making->environment->sync_parent(making->environment->context,
                                                  making->options->directory);
    if (status != STATUS_OK)
        return refuse_disk(making, status, "the directory durable");
    /* The point of no return: with its identity the directory is complete. */
    status = identity_write(&making->files, &making->identity);
    return status == STATUS_OK ? STATUS_OK : refuse_disk(making, status, "the identity");
}

static bool remove_name(void *argument, const char *name)
{
    struct making *making = argument;
    /* What cannot be removed is named by the next `node init`: "is not empty". */
    (void)making->files.remove(making->files.context, name);
    return true;
}

static enum status remove_directory(const struct making *making, const char *path)
{
    return making->environment->remove_directory(making->environment->context, path);
}

static void undo(struct making *making)
{
    char path[DIRECTORY_PATH_MAX];
    const char *directory = making->options->directory;
    if (making->made_journal && directory_join(directory, DIRECTORY_JOURNAL, path) == STATUS_OK)
        (void)remove_directory(making, path); /* best effort: the error that led here is reported */
    if (making->made_store && directory_join(directory, DIRECTORY_STORE, path) == STATUS_OK)
        (void)remove_directory(making, path);
    (void)making->files.list(making->files.context, remove_name, making);
    if (making->made_directory)
        (void)remove_directory(making, directory);
}

static void choose_identity(struct making *making)
{
    static const uint8_t zero[16];
    struct identity *identity = &making->identity;
    const struct environment *environment = making->environment;
    memcpy(identity->cluster_id, making->options->cluster_id, sizeof identity->cluster_id);
    if (memcmp(identity->cluster_id, zero, sizeof zero) == 0)
        environment->random(environment->context, identity->cluster_id,
                            sizeof identity->cluster_id);
    environment->random(environment->context, identity->incarnation, sizeof identity->incarnation);
    identity->node_id = making->options->node_id;
    identity->cluster_epoch = 1;
    identity->reserve_bytes = making->options->reserve_bytes;
}

enum status node_init(const struct node_init_options *options, struct node_error *out_error)
{
    *out_error = (struct node_error){0};
    struct making making = {
        .options = options,
        .environment = options->environment != NULL ? options->environment : environment_real(),
        .error = out_error,
    };
    if (options->node_id == 0 || options->node_id > INT64_MAX)
        return node_refuse(out_error, STATUS_INVALID, "the node id has to be 1 or greater");
    if (!node_segment_size_is_valid(options->journal_segment_size))
        return node_refuse(out_error, STATUS_INVALID, NODE_SEGMENT_SIZE_WORDS);
    choose_identity(&making);
    enum status status = build_genesis(&making);
    if (status == STATUS_OK)
        status = check_principals(&making);
    if (status == STATUS_OK)
        status = make_directory(&making);
    if (status == STATUS_OK) {
        status = make_files(&making);
        if (status != STATUS_OK)
            undo(&making);
    } else if (making.made_directory) {
        (void)remove_directory(&making, options->directory); /* still empty */
    }
    if (making.lock != NULL)
        making.files.close(making.files.context, making.lock);
    if (making.opened)
        making.environment->close_directory(making.environment->context, &making.files);
    free(making.entry);
    return status;
}
