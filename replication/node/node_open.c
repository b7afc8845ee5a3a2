/*
 * Opening a data directory: lock it, read every part, and refuse unless they belong together.
 *
 * The checks between journal and store, D being the store's durable index:
 *
 *     journal:        anchor ............ last
 *     good:              anchor <= D <= last, and the store's chain head is the journal's at D
 *     last < D           the journal lost entries that were committed, or is an older copy
 *     D < anchor         the store is older than what was pruned: entries between are missing
 *     heads differ       two histories
 *
 * A missing store is an older store with D = 0: if the journal still begins at entry 1 everything
 * is replayed from it, otherwise the node refuses. A journal is never made up again: what it held
 * may have been acknowledged.
 *
 * Every refusal says what was found, where, and what to do next. Nothing on disk is changed before
 * all checks passed, except for the lock and for a torn tail that the journal cuts.
 */
#include "replication/node/node_internal.h"

#include "replication/node/genesis.h"

#include "core/invariant.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- callbacks handed down ---- */

static void wake_loop(void *context)
{
    struct node *node = context;
    node->options.wake_loop(node->options.wake_context);
}

static void wake_worker(struct node *node, enum node_job job)
{
    worker_wake(&node->workers[job]);
}

static void wake_writer(void *context)
{
    wake_worker(context, NODE_JOB_WRITER);
}

static void wake_preparer(void *context)
{
    wake_worker(context, NODE_JOB_PREPARER);
}

static void wake_flusher(void *context)
{
    wake_worker(context, NODE_JOB_FLUSHER);
}

static enum job_state writer_step(void *context, uint64_t *out_wait_ns)
{
    struct node *node = context;
    return journal_writer_step(node->journal, out_wait_ns);
}

static enum job_state preparer_step(void *context, uint64_t *out_wait_ns)
{
    struct node *node = context;
    return journal_preparer_step(node->journal, out_wait_ns);
}

static enum job_state flusher_step(void *context, uint64_t *out_wait_ns)
{
    struct node *node = context;
    if (node->store != NULL)
        return checkpoint_step(node->store, out_wait_ns);
    *out_wait_ns = UINT64_MAX; /* a witness has none */
    return node->jobs_stop ? JOB_DONE : JOB_IDLE;
}

static enum job_state catch_up_step(void *context, uint64_t *out_wait_ns)
{
    struct node *node = context;
    if (node->catch_up != NULL)
        return catch_up_job_step(node->catch_up, out_wait_ns);
    *out_wait_ns = UINT64_MAX; /* without peers there is none */
    return node->jobs_stop ? JOB_DONE : JOB_IDLE;
}

static enum job_state certificate_step(void *context, uint64_t *out_wait_ns)
{
    struct node *node = context;
    const bool stops = node->jobs_stop; /* before the last look: what came earlier is written */
    certificates_job_step(&node->certificates);
    floor_file_job_step(&node->floors);
    *out_wait_ns = UINT64_MAX;
    return stops ? JOB_DONE : JOB_IDLE;
}

static uint64_t clock_ns(void *context)
{
    const struct node *node = context;
    return node->environment->monotonic_ns(node->environment->context);
}

static void random_bytes(void *context, void *out, size_t size)
{
    const struct node *node = context;
    node->environment->random(node->environment->context, out, size);
}

static void forward_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct node *node = context;
    if (node->options.event != NULL)
        node->options.event(node->options.event_context, name, text, a, b);
}

/* ---- directory, lock, identity ---- */

static enum status open_directory(struct node *node, struct node_error *error)
{
    const char *path = node->options.directory;
    enum status status =
        node->environment->open_directory(node->environment->context, path, &node->files);
    if (status == STATUS_NOT_FOUND)
        return node_refuse(error, status,
                           "%s: there is no such directory; make it with `tally node init`", path);
    if (status == STATUS_PERMISSION)
        return node_refuse(error, status,
                           "%s: permission denied; the directory must belong to the user that runs "
                           "tallyd",
                           path);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s: cannot be opened: %s", path, status_text(status));
    node->opened = OPENED_FILES;
    return STATUS_OK;
}

static enum status read_identity(struct node *node, struct node_error *error)
{
    const char *path = node->options.directory;
    enum status status = identity_read(&node->files, &node->identity);
    switch (status) {
    case STATUS_OK:
        return STATUS_OK;
    case STATUS_NOT_FOUND:
        return node_refuse(
            error, status,
            "%s: holds no file \"" DIRECTORY_IDENTITY "\", so it is no data directory; check the "
            "path. If a node has run here, restore this file from its backup; only what an "
            "interrupted `tally node init` left behind may be removed",
            path);
    case STATUS_VERSION:
        return node_refuse(
            error, status,
            "%s/" DIRECTORY_IDENTITY ": written by another version of Tallystick "
            "(this build knows format %d); start the version that made it, or a newer one",
            path, DIRECTORY_FORMAT);
    case STATUS_CORRUPT:
        return node_refuse(error, status,
                           "%s/" DIRECTORY_IDENTITY ": damaged (its checksum or a line is wrong); "
                           "restore this file from the backup of this node, or replace the node",
                           path);
    default:
        return node_refuse(error, status, "%s/" DIRECTORY_IDENTITY ": cannot be read: %s", path,
                           status_text(status));
    }
}

/* What is damaged here is whole at the peers. */
#define REPAIR_WORDS                                                                               \
    "; a member of a cluster is rebuilt from its peers, under a new number, with `tally node "     \
    "repair`"

/* A replica that drifted stays down until somebody has looked at it. */
static enum status check_quarantine(struct node *node, struct node_error *error)
{
    char text[400];
    enum status status = quarantine_read(&node->files, text, sizeof text);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s/" QUARANTINE_FILE ": cannot be read: %s",
                           node->options.directory, status_text(status));
    return node_refuse(error, STATUS_CORRUPT, "%s: quarantined: %s", node->options.directory,
                       text[0] != 0 ? text : "run `tally node repair`");
}

static enum status lock_directory(struct node *node, struct node_error *error)
{
    const char *path = node->options.directory;
    uint64_t pid = 0;
    enum status status = directory_lock(&node->files, &node->lock, &pid);
    if (status == STATUS_LOCKED) {
        if (pid == 0)
            return node_refuse(error, status,
                               "%s: another process uses this directory; stop it first", path);
        return node_refuse(error, status,
                           "%s: process %" PRIu64 " uses this directory; stop it first", path, pid);
    }
    if (status == STATUS_PERMISSION)
        return node_refuse(
            error, status,
            "%s/" DIRECTORY_LOCK ": cannot be written: permission denied or read-only "
            "file system; the directory must be writable by the user that runs tallyd",
            path);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s/" DIRECTORY_LOCK ": %s", path, status_text(status));
    node->opened = OPENED_LOCK;
    return STATUS_OK;
}

/* Which journal and store are in use. */
static enum status read_current(struct node *node, struct node_error *error)
{
    const char *path = node->options.directory;
    enum status status = current_read(&node->files, &node->generation);
    switch (status) {
    case STATUS_OK:
        return STATUS_OK;
    case STATUS_VERSION:
        return node_refuse(error, status,
                           "%s/" DIRECTORY_CURRENT
                           ": written by another version of Tallystick; start the "
                           "version that made it, or a newer one",
                           path);
    default:
        return node_refuse(error, status,
                           "%s/" DIRECTORY_CURRENT
                           ": %s, so it is not known which journal and store belong to this node; "
                           "restore this file from the backup of this node, or rebuild it from a "
                           "peer with `tally node repair`",
                           path, status == STATUS_NOT_FOUND ? "missing" : status_text(status));
    }
}

static enum status generation_path(const struct node *node, const char *what, uint64_t number,
                                   char out_path[DIRECTORY_PATH_MAX])
{
    char name[DIRECTORY_NAME_MAX];
    directory_generation_name(what, number, name);
    return directory_join(node->options.directory, name, out_path);
}

/* ---- journal ---- */

static enum status open_journal_files(struct node *node, struct node_error *error)
{
    char path[DIRECTORY_PATH_MAX];
    enum status status = generation_path(node, DIRECTORY_JOURNAL, node->generation.journal, path);
    if (status == STATUS_OK)
        status = node->environment->open_directory(node->environment->context, path,
                                                   &node->journal_files);
    if (status == STATUS_NOT_FOUND)
        return node_refuse(
            error, status,
            "%s: the journal's directory is missing; it may hold acknowledged transfers "
            "that nothing else holds: restore it, do not make a new one",
            path);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s: cannot be opened: %s", path, status_text(status));
    node->opened = OPENED_JOURNAL_FILES;
    return STATUS_OK;
}

static enum status make_workers(struct node *node, struct node_error *error)
{
    const struct worker plan[NODE_JOB_COUNT] = {
        [NODE_JOB_WRITER] = {.name = "journal-writer", .step = writer_step},
        [NODE_JOB_PREPARER] = {.name = "journal-prepare", .step = preparer_step},
        [NODE_JOB_FLUSHER] = {.name = "flusher", .step = flusher_step},
        [NODE_JOB_CATCH_UP] = {.name = "catch-up", .step = catch_up_step},
        [NODE_JOB_CERTIFICATE] = {.name = "certificate", .step = certificate_step},
    };
    node->opened = OPENED_WORKERS;
    for (int job = 0; job < NODE_JOB_COUNT; job++) {
        node->workers[job] = plan[job];
        node->workers[job].context = node;
        node->workers[job].ended = wake_loop;
        if (worker_init(&node->workers[job]) != STATUS_OK)
            return node_refuse(error, STATUS_NO_MEMORY, "the system refuses a condition variable");
        node->workers_ready++;
    }
    return STATUS_OK;
}

static enum status open_journal(struct node *node, struct node_error *error)
{
    struct journal_options options = {
        .files = &node->journal_files,
        .segment_size = node->options.journal_segment_size,
        .clock_context = node,
        .clock_ns = clock_ns,
        .random_context = node,
        .random = random_bytes,
        .wake_context = node,
        .wake_writer = wake_writer,
        .wake_preparer = wake_preparer,
        .wake_loop = wake_loop,
    };
    memcpy(options.cluster_id, node->identity.cluster_id, sizeof options.cluster_id);
    struct journal_damage damage = {0};
    enum status status = journal_open(&options, &node->journal, &damage, &node->torn_bytes_cut);
    const char *path = node->options.directory;
    switch (status) {
    case STATUS_OK:
        node->opened = OPENED_JOURNAL;
        return STATUS_OK;
    case STATUS_NOT_FOUND:
        return node_refuse(error, status,
                           "%s/" DIRECTORY_JOURNAL
                           ": holds no journal; it may have held acknowledged "
                           "transfers that nothing else holds: restore it, do not make a new one",
                           path);
    case STATUS_WRONG_CLUSTER:
        return node_refuse(error, status,
                           "%s/" DIRECTORY_JOURNAL ": this journal belongs to another cluster than "
                           "the directory's identity; %s",
                           path, damage.text[0] != 0 ? damage.text : "put the right one back");
    default:
        return node_refuse(
            error, status, "%s/" DIRECTORY_JOURNAL ": %s; %s%s", path, status_text(status),
            damage.text[0] != 0 ? damage.text : "run `tally journal verify` on it for details",
            status == STATUS_CORRUPT ? REPAIR_WORDS : "");
    }
}

/* ---- store ---- */

/* Before a store is created in place of a missing one: can the journal rebuild it? */
static enum status find_store(struct node *node, const char *path, struct node_error *error)
{
    enum status status = node->environment->find_directory(node->environment->context, path);
    if (status == STATUS_OK)
        return STATUS_OK;
    if (status == STATUS_INVALID)
        return node_refuse(error, STATUS_CORRUPT,
                           "%s: is not a directory; restore the store from a backup or a peer",
                           path);
    if (status != STATUS_NOT_FOUND)
        return node_refuse(error, status, "%s: %s", path, status_text(status));
    struct journal_position position;
    journal_position(node->journal, &position);
    if (position.anchor_index > 0)
        return node_refuse(
            error, STATUS_NOT_FOUND,
            "%s: the store is missing, and the journal begins at entry %" PRIu64
            ", so it cannot be rebuilt from it; restore the store from a backup or a peer",
            path, position.first_index);
    status = node->environment->make_directory(node->environment->context, path);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s: cannot be made: %s", path, status_text(status));
    status = node->files.sync_directory(node->files.context);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s: cannot be made durable: %s", path,
                           status_text(status));
    return STATUS_OK;
}

static enum status open_store(struct node *node, struct node_error *error)
{
    if (node_is_witness(node)) {
        node->opened = OPENED_STORE; /* it has none */
        return STATUS_OK;
    }
    char path[DIRECTORY_PATH_MAX];
    enum status status = generation_path(node, DIRECTORY_STORE, node->generation.store, path);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s: the path is too long", node->options.directory);
    status = find_store(node, path, error);
    if (status != STATUS_OK)
        return status;
    struct store_options options = {
        .path = path,
        .map_size_bytes = node->options.store_map_size_bytes,
        .bloom_bytes = node->options.bloom_bytes,
        .wake_context = node,
        .wake_flusher = wake_flusher,
        .wake_loop = wake_loop,
    };
    memcpy(options.cluster_id, node->identity.cluster_id, sizeof options.cluster_id);
    struct store_error store_error = {0};
    status = node->environment->open_store(node->environment->context, &options, &node->store,
                                           &store_error);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s: %s%s%s%s", path, status_text(status),
                           store_error.text[0] != 0 ? ": " : "", store_error.text,
                           status == STATUS_CORRUPT ? REPAIR_WORDS : "");
    node->opened = OPENED_STORE;
    return STATUS_OK;
}

/* The drawing above. *out_durable is D. */
static enum status check_together(struct node *node, uint64_t *out_durable,
                                  struct node_error *error)
{
    const char *path = node->options.directory;
    struct journal_position position;
    journal_position(node->journal, &position);
    if (node_is_witness(node)) {
        *out_durable = position.anchor_index; /* the journal is all it has */
        return STATUS_OK;
    }
    struct checkpoint_meta meta = {0};
    enum status status = checkpoint_meta(node->store, &meta);
    if (status == STATUS_NOT_FOUND)
        meta = (struct checkpoint_meta){0};
    else if (status != STATUS_OK)
        return node_refuse(error, status, "%s/" DIRECTORY_STORE ": its meta record: %s", path,
                           status_text(status));

    if (meta.index > position.last_index)
        return node_refuse(
            error, STATUS_STORE_AHEAD,
            "%s: the store has applied entry %" PRIu64 " but the journal ends at %" PRIu64
            ": the journal is an older copy or lost its end; put the right journal back, "
            "or rebuild this node from its peers with `tally node repair`",
            path, meta.index, position.last_index);
    if (meta.index < position.anchor_index)
        return node_refuse(
            error, STATUS_NOT_FOUND,
            "%s: the journal begins at entry %" PRIu64 " but the store ends at %" PRIu64
            ": the store is missing or an older copy; restore the newer store, or the "
            "journal's earlier segments",
            path, position.first_index, meta.index);
    if (meta.index == 0)
        return STATUS_OK;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint64_t term = 0;
    status = journal_head(node->journal, meta.index, head);
    if (status == STATUS_OK)
        status = journal_term(node->journal, meta.index, &term);
    if (status != STATUS_OK)
        return node_refuse(error, status, "%s/" DIRECTORY_JOURNAL ": entry %" PRIu64 ": %s", path,
                           meta.index, status_text(status));
    if (memcmp(head, meta.head, sizeof head) != 0 || term != meta.term)
        return node_refuse(
            error, STATUS_CORRUPT,
            "%s: journal and store tell different histories up to entry %" PRIu64
            " (their chain heads differ): one of them was copied from elsewhere; put the "
            "matching pair back",
            path, meta.index);
    *out_durable = meta.index;
    node->meta = meta;
    return STATUS_OK;
}

/* ---- all of it ---- */

enum status node_open_generation(struct node *node, struct node_error *error)
{
    invariant(node->opened == OPENED_QUEUES);
    uint64_t durable_index = 0;
    node->meta = (struct checkpoint_meta){0};
    node->jobs_stop = false;
    enum status status = read_current(node, error);
    if (status == STATUS_OK)
        status = open_journal_files(node, error);
    if (status == STATUS_OK)
        status = make_workers(node, error);
    if (status == STATUS_OK)
        status = open_journal(node, error);
    if (status == STATUS_OK)
        status = open_store(node, error);
    if (status == STATUS_OK)
        status = check_together(node, &durable_index, error);
    if (status == STATUS_OK)
        status = node_make_parts(node, durable_index, error);
    return status;
}

static enum status open_all(struct node *node, struct node_error *error)
{
    enum status status = open_directory(node, error);
    if (status == STATUS_OK)
        status = read_identity(node, error); /* before the lock: no file in a foreign directory */
    if (status == STATUS_OK)
        status = lock_directory(node, error);
    if (status == STATUS_OK)
        status = read_identity(node, error); /* what counts is what we read under the lock */
    if (status == STATUS_OK)
        status = check_quarantine(node, error);
    if (status == STATUS_OK)
        status = node_make_queues(node, error);
    if (status == STATUS_OK)
        status = node_open_generation(node, error);
    return status;
}

enum status node_open(const struct node_options *options, struct node **out_node,
                      struct node_error *out_error)
{
    *out_error = (struct node_error){0};
    invariant(options->wake_loop != NULL);
    if (options->in_flight_entries_max == 0 || options->waiting_requests_max == 0)
        return node_refuse(out_error, STATUS_INVALID,
                           "entries in flight and waiting requests have to be at least 1");
    if (options->in_flight_entries_max > PROPOSE_ENTRIES_MAX)
        return node_refuse(out_error, STATUS_INVALID, "entries in flight have to be at most %d",
                           PROPOSE_ENTRIES_MAX);
    if (options->waiting_bytes_max < ENTRY_SIZE_MAX)
        return node_refuse(out_error, STATUS_INVALID,
                           "the bytes of waiting requests have to be at least %d", ENTRY_SIZE_MAX);
    if (!node_segment_size_is_valid(options->environment, options->journal_segment_size))
        return node_refuse(out_error, STATUS_INVALID, NODE_SEGMENT_SIZE_WORDS);
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return node_refuse(out_error, STATUS_NO_MEMORY, "out of memory");
    node->options = *options;
    node->environment = options->environment != NULL ? options->environment : environment_real();
    node->notify = (struct notify){.context = node, .event = forward_event, .fail = node_fail};
    node->phase = NODE_OPENING;
    enum status status = open_all(node, out_error);
    if (status != STATUS_OK) {
        node_release(node);
        return status;
    }
    if (node->torn_bytes_cut > 0)
        notify_event(&node->notify, "journal_torn_tail_cut",
                     "the journal ended in an unfinished write; it was cut", node->torn_bytes_cut,
                     node->replay_last);
    if (node->replay_first == 1 && node->replay_last > GENESIS_ENTRY_COUNT)
        notify_event(&node->notify, "store_rebuilding",
                     "the store holds no checkpoint: everything is replayed from the journal", 1,
                     node->replay_last);
    *out_node = node;
    return STATUS_OK;
}

/* Undoes one step and names the one before. */
static enum opened_step undo(struct node *node)
{
    switch (node->opened) {
    case OPENED_CATCH_UP:
        catch_up_destroy(node->catch_up);
        node->catch_up = NULL;
        return OPENED_CONSENSUS;
    case OPENED_CONSENSUS:
        consensus_destroy(node->consensus);
        node->consensus = NULL;
        return OPENED_MACHINE;
    case OPENED_MACHINE:
        if (node->machine != NULL)
            machine_destroy(node->machine);
        node->machine = NULL;
        return OPENED_STORE;
    case OPENED_STORE:
        if (node->store != NULL)
            checkpoint_close(node->store);
        node->store = NULL;
        return OPENED_JOURNAL;
    case OPENED_JOURNAL:
        journal_close(node->journal);
        node->journal = NULL;
        return OPENED_WORKERS;
    case OPENED_WORKERS:
        while (node->workers_ready > 0)
            worker_deinit(&node->workers[--node->workers_ready]);
        return OPENED_JOURNAL_FILES;
    case OPENED_JOURNAL_FILES:
        node->environment->close_directory(node->environment->context, &node->journal_files);
        return OPENED_QUEUES;
    case OPENED_QUEUES:
        forward_deinit(&node->forward);
        proposer_deinit(&node->proposer);
        rpo_deinit(&node->rpo);
        in_doubt_deinit(&node->in_doubt);
        return OPENED_LOCK;
    case OPENED_LOCK:
        node->files.close(node->files.context, node->lock);
        return OPENED_FILES;
    case OPENED_FILES:
        node->environment->close_directory(node->environment->context, &node->files);
        return OPENED_NOTHING;
    case OPENED_NOTHING:
        break;
    }
    return OPENED_NOTHING;
}

void node_close_generation(struct node *node)
{
    while (node->opened > OPENED_QUEUES)
        node->opened = undo(node);
}

void node_release(struct node *node)
{
    while (node->opened > OPENED_NOTHING)
        node->opened = undo(node);
    free(node);
}
