/*
 * Making a data directory.
 *
 * Order, so that a crash or an error at any point leaves either a complete directory or one that is
 * visibly none: check everything that can be checked without writing; then directories, reserve,
 * hard state, journal with its first entries; and last the identity, by one atomic rename. A
 * directory without an identity is refused by node_open. On an error everything made here is
 * removed again, the directory itself included if it was made here.
 *
 * A founder's journal begins with the entries of genesis.c; a joiner's is empty, its term 0 and its
 * vote not given: all it will know comes from the cluster that takes it in.
 */
#include "core/planted_fault.h"
#include "replication/directory.h"
#include "replication/environment.h"
#include "replication/node/genesis.h"
#include "replication/node/node_error.h"

#include "storage/hard_state.h"
#include "storage/journal_fill.h"
#include "storage/reserve.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_SITE    "A"
#define DEFAULT_ADDRESS "127.0.0.1:7402"

struct making {
    const struct node_init_options *options;
    const struct environment *environment;
    struct node_error *error;
    bool made_directory, made_journal, made_store, opened;
    struct files files;
    struct file *lock;
    struct identity identity;
    struct member member; /* the same, as the cluster sees it */
    struct genesis genesis;
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

static enum status write_founding_entries(const struct making *making,
                                          const struct journal_options *options)
{
    struct journal_fill *fill = NULL;
    struct journal_damage damage;
    enum status status = journal_fill_open(options, &fill, &damage);
    if (status != STATUS_OK)
        return status;
    status = journal_fill_append(fill, making->genesis.entries, GENESIS_ENTRY_COUNT);
    enum status closed = journal_fill_close(fill, NULL);
    return status == STATUS_OK ? closed : status;
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
    };
    memcpy(options.cluster_id, making->identity.cluster_id, sizeof options.cluster_id);
    enum status status = journal_create(&options);
    if (status == STATUS_OK && !making->options->join)
        status = write_founding_entries(making, &options);
    return status;
}

static enum status generation_path(const struct making *making, const char *what,
                                   char out_path[DIRECTORY_PATH_MAX])
{
    char name[DIRECTORY_NAME_MAX];
    directory_generation_name(what, DIRECTORY_GENERATION_FIRST, name);
    return directory_join(making->options->directory, name, out_path);
}

static enum status make_journal(struct making *making)
{
    char path[DIRECTORY_PATH_MAX];
    enum status status = generation_path(making, DIRECTORY_JOURNAL, path);
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
    enum status status = generation_path(making, DIRECTORY_STORE, path);
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
    if (status == STATUS_OK && !making->options->join)
        status = hard_state_write(&making->files, &first);
    return status == STATUS_OK ? STATUS_OK : refuse_disk(making, status, "the hard state");
}

/* What an operator has to tell the cluster about this node. */
static enum status make_member_file(struct making *making)
{
    char line[IDENTITY_MEMBER_LINE_SIZE + 1];
    identity_member_line(&making->identity, line);
    size_t size = strlen(line);
    line[size++] = '\n';
    enum status status = files_replace(&making->files, DIRECTORY_MEMBER, line, size);
    return status == STATUS_OK ? STATUS_OK : refuse_disk(making, status, "the file member");
}

static enum status make_generation(struct making *making)
{
    enum status status = make_journal(making);
    if (status == STATUS_OK && making->identity.kind == MEMBER_DATA)
        status = make_store_directory(making);
    if (status != STATUS_OK)
        return status;
    const struct generation first = {.journal = DIRECTORY_GENERATION_FIRST,
                                     .store = DIRECTORY_GENERATION_FIRST};
    status = current_write(&making->files, &first);
    return status == STATUS_OK ? STATUS_OK : refuse_disk(making, status, "the file current");
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
        status = make_generation(making);
    if (status == STATUS_OK && making->options->join)
        status = make_member_file(making);
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
    if (making->made_journal && generation_path(making, DIRECTORY_JOURNAL, path) == STATUS_OK)
        (void)remove_directory(making, path); /* best effort: the error that led here is reported */
    if (making->made_store && generation_path(making, DIRECTORY_STORE, path) == STATUS_OK)
        (void)remove_directory(making, path);
    (void)making->files.list(making->files.context, remove_name, making);
    if (making->made_directory)
        (void)remove_directory(making, directory);
}

static bool is_zero(const uint8_t id[16])
{
    static const uint8_t zero[16];
    return memcmp(id, zero, sizeof zero) == 0;
}

/* The member's fields, checked by the one who prints members. */
static enum status choose_member(struct making *making)
{
    struct identity *identity = &making->identity;
    const struct node_init_options *options = making->options;
    const char *site = options->site != NULL ? options->site : DEFAULT_SITE;
    const char *address = options->peer_address != NULL ? options->peer_address : DEFAULT_ADDRESS;
    char text[MEMBER_TEXT_SIZE];
    if (strlen(site) > MEMBER_SITE_SIZE_MAX || strlen(address) > MEMBER_ADDRESS_SIZE_MAX)
        return node_refuse(making->error, STATUS_INVALID,
                           "a site has at most %d characters, an address at most %d",
                           MEMBER_SITE_SIZE_MAX, MEMBER_ADDRESS_SIZE_MAX);
    memcpy(identity->site, site, strlen(site) + 1);
    memcpy(identity->address, address, strlen(address) + 1);
    identity->node_id = options->node_id;
    identity->kind = options->kind;
    identity_member(identity, &making->member);
    if (member_print(&making->member, text) != STATUS_OK)
        return node_refuse(making->error, STATUS_INVALID,
                           "site \"%s\" or address \"%s\": a site is made of letters, digits, '-' "
                           "and '_'; an address is host:port or [v6]:port with a port from 1",
                           site, address);
    return STATUS_OK;
}

static enum status choose_identity(struct making *making)
{
    struct identity *identity = &making->identity;
    const struct environment *environment = making->environment;
    memcpy(identity->cluster_id, making->options->cluster_id, sizeof identity->cluster_id);
    if (is_zero(identity->cluster_id)) {
        if (making->options->join)
            return node_refuse(making->error, STATUS_INVALID,
                               "which cluster shall it join? Name its id; `tally status` on one of "
                               "its nodes shows it");
        environment->random(environment->context, identity->cluster_id,
                            sizeof identity->cluster_id);
    }
    if (making->options->kind == MEMBER_WITNESS && !making->options->join)
        return node_refuse(making->error, STATUS_INVALID,
                           "a witness holds no ledger, so it cannot found a cluster: found it with "
                           "a data node, then let the witness join");
    environment->random(environment->context, identity->incarnation, sizeof identity->incarnation);
    if (planted(PLANTED_WIPED_NODE_KEEPS_ID))
        memset(identity->incarnation, (int)making->options->node_id, sizeof identity->incarnation);
    identity->cluster_epoch = 1;
    identity->reserve_bytes = making->options->reserve_bytes;
    return choose_member(making);
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
    if (!node_segment_size_is_valid(options->environment, options->journal_segment_size))
        return node_refuse(out_error, STATUS_INVALID, NODE_SEGMENT_SIZE_WORDS);
    enum status status = choose_identity(&making);
    if (status == STATUS_OK && !options->join)
        status =
            genesis_build(&making.genesis, options, &making.member, making.environment, out_error);
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
    genesis_release(&making.genesis);
    if (status == STATUS_OK && options->out_member != NULL)
        *options->out_member = making.member;
    return status;
}
