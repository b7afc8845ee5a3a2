/*
 * Building the next generation of files.
 *
 * Everything is written into directories whose numbers `current` does not name, so a crash at any
 * step leaves the old pair untouched, and the next start removes what was left (catch_up_clean).
 * The order of syncs matters only at the end: file contents, then the names inside each directory,
 * then the names of the directories themselves; after that the switch is one rename.
 *
 * What is checked, by whom:
 *   each piece of the store     a chain of hashes that the leader makes from what it read
 *   the store as a whole        environment->verify_store: every value's own checksum
 *   each batch of entries       the journal's chain, compared with the leader's
 *
 * The store is synced every SYNC_SIZE bytes, so that the last sync is not one of gigabytes.
 */
#include "replication/catch_up/catch_up_build.h"

#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/agreed.h"
#include "storage/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SYNC_SIZE (64ull << 20)

void catch_up_chain(const uint8_t before[CATCH_UP_CHECK_SIZE], const void *bytes, size_t size,
                    uint8_t out[CATCH_UP_CHECK_SIZE])
{
    uint8_t previous[CATCH_UP_CHECK_SIZE];
    memcpy(previous, before, sizeof previous);
    const struct hash_part parts[] = {{previous, sizeof previous}, {bytes, size}};
    hash_parts(parts, 2, out);
}

void catch_up_build_init(struct catch_up_build *build, const struct catch_up_build_options *options)
{
    memset(build, 0, sizeof *build);
    build->options = *options;
    const struct generation *in_use = &options->in_use;
    const uint64_t newest = in_use->journal > in_use->store ? in_use->journal : in_use->store;
    build->to = (struct generation){.journal = newest + 1, .store = in_use->store};
}

static enum status tell(struct catch_up_build *build, enum status status, const char *what)
{
    if (status != STATUS_OK)
        snprintf(build->text, sizeof build->text, "%s: %s", what, status_text(status));
    return status;
}

/* ---- directories ---- */

static enum status path_of(const struct catch_up_build *build, const char *what, uint64_t number,
                           char out_path[DIRECTORY_PATH_MAX])
{
    char name[DIRECTORY_NAME_MAX];
    directory_generation_name(what, number, name);
    return directory_join(build->options.directory, name, out_path);
}

/* Made anew: what is there under this name counts for nothing. */
static enum status make_directory(struct catch_up_build *build, const char *what, uint64_t number,
                                  struct files *out_files)
{
    const struct environment *environment = build->options.environment;
    char path[DIRECTORY_PATH_MAX];
    enum status status = path_of(build, what, number, path);
    if (status != STATUS_OK)
        return status;
    status = environment->remove_directory(environment->context, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    status = environment->make_directory(environment->context, path);
    if (status != STATUS_OK)
        return status;
    return environment->open_directory(environment->context, path, out_files);
}

static void remove_made(struct catch_up_build *build, const char *what, uint64_t number)
{
    const struct environment *environment = build->options.environment;
    char path[DIRECTORY_PATH_MAX];
    if (path_of(build, what, number, path) == STATUS_OK)
        /* What stays is removed by the next copy, or the next start. */
        (void)environment->remove_directory(environment->context, path);
}

static void close_store(struct catch_up_build *build)
{
    const struct environment *environment = build->options.environment;
    if (build->store_file != NULL)
        build->store_files.close(build->store_files.context, build->store_file);
    build->store_file = NULL;
    if (build->store_files_open)
        environment->close_directory(environment->context, &build->store_files);
    build->store_files_open = false;
}

static enum status close_journal(struct catch_up_build *build)
{
    const struct environment *environment = build->options.environment;
    enum status status = STATUS_OK;
    if (build->fill != NULL)
        status = journal_fill_close(build->fill, NULL);
    build->fill = NULL;
    if (build->journal_files_open)
        environment->close_directory(environment->context, &build->journal_files);
    build->journal_files_open = false;
    return status;
}

void catch_up_build_close(struct catch_up_build *build)
{
    close_store(build);
    (void)close_journal(build); /* whoever needs to know ended it before */
}

void catch_up_build_discard(struct catch_up_build *build)
{
    catch_up_build_close(build);
    if (build->journal_made)
        remove_made(build, DIRECTORY_JOURNAL, build->to.journal);
    if (build->store_made)
        remove_made(build, DIRECTORY_STORE, build->to.store);
    build->journal_made = build->store_made = false;
}

/* ---- the store ---- */

enum status catch_up_build_store_begin(struct catch_up_build *build, uint64_t size)
{
    invariant(!build->store_made);
    build->to.store = build->to.journal;
    build->store_made = true;
    build->store_size = size;
    enum status status =
        make_directory(build, DIRECTORY_STORE, build->to.store, &build->store_files);
    if (status != STATUS_OK)
        return tell(build, status, "the new store's directory cannot be made");
    build->store_files_open = true;
    const struct files *files = &build->store_files;
    status = files->open(files->context, CHECKPOINT_COPY_FILE, FILE_CREATE, &build->store_file);
    if (status == STATUS_OK)
        status = files->allocate(files->context, build->store_file, size);
    return tell(build, status, "the new store's file cannot be made");
}

enum status catch_up_build_store_add(struct catch_up_build *build, const uint8_t *bytes,
                                     size_t size, const uint8_t check[CATCH_UP_CHECK_SIZE])
{
    const struct files *files = &build->store_files;
    uint8_t chain[CATCH_UP_CHECK_SIZE];
    if (size == 0 || size > build->store_size - build->store_done)
        return tell(build, STATUS_CORRUPT, "a piece of the store does not fit");
    catch_up_chain(build->store_check, bytes, size, chain);
    if (memcmp(chain, check, sizeof chain) != 0)
        return tell(build, STATUS_CORRUPT, "a piece of the store is not what the leader read");
    enum status status =
        files->write(files->context, build->store_file, bytes, size, build->store_done);
    if (status == STATUS_OK && build->store_done + size - build->store_synced >= SYNC_SIZE) {
        status = files->sync(files->context, build->store_file);
        build->store_synced = build->store_done + size;
    }
    if (status != STATUS_OK)
        return tell(build, status, "the new store cannot be written");
    build->store_done += size;
    memcpy(build->store_check, chain, sizeof chain);
    return STATUS_OK;
}

enum status catch_up_build_store_end(struct catch_up_build *build)
{
    const struct environment *environment = build->options.environment;
    const struct files *files = &build->store_files;
    invariant_values(build->store_done == build->store_size, build->store_done, build->store_size);
    enum status status = STATUS_OK;
    if (!planted(PLANTED_COPY_NOT_SYNCED))
        status = files->sync(files->context, build->store_file);
    if (status == STATUS_OK)
        status = files->sync_directory(files->context);
    close_store(build);
    if (status != STATUS_OK)
        return tell(build, status, "the new store cannot be synced");
    if (environment->verify_store == NULL)
        return STATUS_OK;
    char path[DIRECTORY_PATH_MAX];
    struct store_error error = {{0}};
    status = path_of(build, DIRECTORY_STORE, build->to.store, path);
    if (status == STATUS_OK)
        status = environment->verify_store(environment->context, path, &error);
    if (status != STATUS_OK)
        snprintf(build->text, sizeof build->text, "the store that was copied: %.150s", error.text);
    return status;
}

/* ---- the journal ---- */

static uint64_t clock_ns(void *context)
{
    const struct environment *environment = context;
    return environment->monotonic_ns(environment->context);
}

static void draw(void *context, void *out, size_t size)
{
    const struct environment *environment = context;
    environment->random(environment->context, out, size);
}

enum status catch_up_build_journal_begin(struct catch_up_build *build,
                                         const struct journal_anchor *anchor)
{
    invariant(!build->journal_made);
    build->journal_made = true;
    enum status status =
        make_directory(build, DIRECTORY_JOURNAL, build->to.journal, &build->journal_files);
    if (status != STATUS_OK)
        return tell(build, status, "the new journal's directory cannot be made");
    build->journal_files_open = true;
    build->journal_options = (struct journal_options){
        .files = &build->journal_files,
        .segment_size = build->options.segment_size,
        .clock_context = (void *)(uintptr_t)build->options.environment,
        .clock_ns = clock_ns,
        .random_context = (void *)(uintptr_t)build->options.environment,
        .random = draw,
    };
    memcpy(build->journal_options.cluster_id, build->options.cluster_id, 16);
    struct journal_damage damage = {0};
    status = journal_create_at(&build->journal_options, anchor);
    if (status == STATUS_OK)
        status = journal_fill_open(&build->journal_options, &build->fill, &damage);
    build->last_index = anchor->index;
    build->last_term = anchor->term;
    memcpy(build->last_head, anchor->head, sizeof build->last_head);
    return tell(build, status, "the new journal cannot be made");
}

/* Segments begun from now on carry members and mode, as in a journal that consensus writes: when
 * those before are pruned, nothing else says who they are. What is copied is committed. Known a
 * batch too early does no harm: the entry itself is in the journal. */
static void keep_configuration(struct catch_up_build *build, uint32_t count)
{
    struct journal *journal = journal_fill_journal(build->fill);
    struct agreed agreed;
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX];
    size_t size = 0;
    bool is_known = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct journal_entry *entry = &build->entries[i];
        if (entry->type != JOURNAL_CONFIGURATION && entry->type != JOURNAL_DURABILITY)
            continue;
        if (!is_known && (journal_configuration(journal, bytes, sizeof bytes, &size) != STATUS_OK ||
                          agreed_decode(bytes, size, &agreed) != STATUS_OK))
            agreed_init(&agreed);
        is_known = true;
        if (agreed_take(&agreed, entry))
            journal_set_configuration(journal, bytes, agreed_encode(&agreed, bytes));
    }
}

static enum status append(struct catch_up_build *build, uint32_t count)
{
    keep_configuration(build, count);
    enum status status = journal_fill_append(build->fill, build->entries, count);
    if (status != STATUS_INVALID || count == 1)
        return status;
    /* Larger than a segment together: then one by one. */
    status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++)
        status = journal_fill_append(build->fill, &build->entries[i], 1);
    return status;
}

enum status catch_up_build_journal_add(struct catch_up_build *build, const uint8_t *bytes,
                                       size_t size, const uint8_t check[JOURNAL_HASH_SIZE])
{
    uint32_t count = 0;
    if (!catch_up_entries_decode(bytes, size, build->last_index, build->last_term, build->entries,
                                 &count))
        return tell(build, STATUS_CORRUPT, "entries do not follow each other");
    if (count > 0) {
        enum status status = append(build, count);
        if (status != STATUS_OK)
            return tell(build, status, "the new journal cannot be written");
    }
    struct journal_position position;
    journal_position(journal_fill_journal(build->fill), &position);
    if (memcmp(position.head, check, sizeof position.head) != 0)
        return tell(build, STATUS_CORRUPT, "the chain of the entries is not the leader's");
    build->last_index = position.last_index;
    build->last_term = position.last_term;
    memcpy(build->last_head, position.head, sizeof build->last_head);
    return STATUS_OK;
}

enum status catch_up_build_end(struct catch_up_build *build)
{
    invariant(build->fill != NULL);
    enum status status = close_journal(build);
    if (status == STATUS_OK)
        status = build->options.files->sync_directory(build->options.files->context);
    return tell(build, status, "the new journal cannot be closed");
}

/* ---- leftovers ---- */

#define LEFTOVERS_MAX 64

struct leftovers {
    const struct generation *in_use;
    uint32_t count;
    char names[LEFTOVERS_MAX][DIRECTORY_NAME_MAX];
};

static bool note_leftover(void *argument, const char *name)
{
    struct leftovers *leftovers = argument;
    uint64_t number;
    const bool unused = (directory_generation_parse(DIRECTORY_JOURNAL, name, &number) &&
                         number != leftovers->in_use->journal) ||
                        (directory_generation_parse(DIRECTORY_STORE, name, &number) &&
                         number != leftovers->in_use->store);
    if (unused)
        snprintf(leftovers->names[leftovers->count++], DIRECTORY_NAME_MAX, "%s", name);
    return leftovers->count < LEFTOVERS_MAX;
}

enum status catch_up_clean(const struct environment *environment, const struct files *files,
                           const char *directory, const struct generation *in_use)
{
    struct leftovers leftovers = {.in_use = in_use};
    enum status status = files->list(files->context, note_leftover, &leftovers);
    for (uint32_t i = 0; i < leftovers.count && status == STATUS_OK; i++) {
        char path[DIRECTORY_PATH_MAX];
        status = directory_join(directory, leftovers.names[i], path);
        if (status == STATUS_OK)
            status = environment->remove_directory(environment->context, path);
        if (status == STATUS_NOT_FOUND)
            status = STATUS_OK;
    }
    return status;
}
