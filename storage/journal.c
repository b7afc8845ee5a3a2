/*
 * The journal's life: made, opened (journal_recover.c), closed. How it works is told where it
 * happens:
 *
 *   journal_format.h     the bytes
 *   journal_walk.c       judging a segment: sound, torn or damaged
 *   journal_recover.c    open: cut a torn tail, make durable what was found, build the index
 *   journal_append.c     the loop's side: accept, call back, positions
 *   journal_writer.c     group commit, seals, turning to the next segment
 *   journal_preparer.c   the spare segment and the removal of pruned ones
 *   journal_eye.c        finding and checking one record, for whoever reads
 *   journal_read.c       reading back, truncating a suffix, pruning a prefix
 *   journal_reader.c     reading beside the loop
 *   journal_verify.c     the same judgement offline, for people
 */
#include "core/invariant.h"
#include "storage/journal_state.h"

#include <stdlib.h>
#include <string.h>

/* ---- create ---- */

static bool options_valid(const struct journal_options *options)
{
    return options->segment_size >= JOURNAL_SEGMENT_SIZE_MIN &&
           options->segment_size <= JOURNAL_SEGMENT_SIZE_MAX &&
           options->segment_size % JOURNAL_PAGE_SIZE == 0;
}

/* Header and a stop mark: from its first moment every byte of the file is vouched for. */
static enum status write_first(const struct journal_options *options,
                               const struct journal_anchor *anchor, struct file *file)
{
    static const uint8_t zeros[JOURNAL_PREPARE_SLICE];
    const struct files *files = options->files;
    enum status status = files->allocate(files->context, file, options->segment_size);
    for (uint64_t offset = 0; status == STATUS_OK && offset < options->segment_size;
         offset += sizeof zeros) {
        const uint64_t left = options->segment_size - offset;
        status = files->write(files->context, file, zeros,
                              left < sizeof zeros ? (size_t)left : sizeof zeros, offset);
    }
    if (status != STATUS_OK)
        return status;

    struct {
        struct journal_segment_header header;
        uint8_t record[JOURNAL_RECORD_ALIGN];
    } page;
    memset(&page, 0, sizeof page);
    memcpy(page.header.cluster_id, options->cluster_id, sizeof page.header.cluster_id);
    options->random(options->random_context, page.header.generation, sizeof page.header.generation);
    page.header.number = 1;
    page.header.size = options->segment_size;
    page.header.first_sequence = 1;
    page.header.anchor_index = anchor->index;
    page.header.anchor_term = anchor->term;
    memcpy(page.header.anchor_head, anchor->head, sizeof page.header.anchor_head);
    page.header.configuration_size = anchor->configuration_size;
    if (anchor->configuration_size > 0)
        memcpy(page.header.configuration, anchor->configuration, anchor->configuration_size);
    journal_segment_header_seal(&page.header);
    struct journal_key key;
    journal_key_derive(page.header.generation, &key);
    const struct journal_record_header stop = {
        .sequence = 1, .index = anchor->index, .term = anchor->term, .type = JOURNAL_STOP};
    journal_record_encode(&key, &stop, NULL, page.header.anchor_head, page.record);
    status = files->write(files->context, file, &page, sizeof page, 0);
    return status == STATUS_OK ? files->sync(files->context, file) : status;
}

static bool seen_segment(void *argument, const char *name)
{
    uint64_t number;
    bool *seen = argument;
    *seen = *seen || journal_segment_name_parse(name, &number);
    return !*seen;
}

enum status journal_create(const struct journal_options *options)
{
    static const struct journal_anchor beginning;
    return journal_create_at(options, &beginning);
}

enum status journal_create_at(const struct journal_options *options,
                              const struct journal_anchor *anchor)
{
    if (!options_valid(options) || anchor->configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX)
        return STATUS_INVALID;
    const struct files *files = options->files;
    bool seen = false;
    enum status status = files->list(files->context, seen_segment, &seen);
    if (status != STATUS_OK)
        return status;
    if (seen)
        return STATUS_EXISTS;
    status = files->remove(files->context, JOURNAL_CREATE_TEMPORARY);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;

    struct file *file = NULL;
    status = files->open(files->context, JOURNAL_CREATE_TEMPORARY, FILE_CREATE, &file);
    if (status != STATUS_OK)
        return status;
    status = write_first(options, anchor, file);
    files->close(files->context, file);
    char name[JOURNAL_NAME_SIZE];
    journal_segment_name(1, name);
    if (status == STATUS_OK)
        status = files->rename(files->context, JOURNAL_CREATE_TEMPORARY, name);
    if (status == STATUS_OK)
        return files->sync_directory(files->context);
    /* The first error is the one to report; a leftover is removed by the next attempt. */
    (void)files->remove(files->context, JOURNAL_CREATE_TEMPORARY);
    return status;
}

/* ---- memory ---- */

struct journal *journal_allocate(const struct journal_options *options)
{
    struct journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return NULL;
    journal->shared = calloc(1, sizeof *journal->shared);
    journal->writer.buffer = malloc(JOURNAL_BUFFER_SIZE);
    if (journal->shared == NULL || journal->writer.buffer == NULL) {
        free(journal->shared);
        free(journal->writer.buffer);
        free(journal);
        return NULL;
    }
    journal->options = *options;
    invariant(pthread_mutex_init(&journal->shared->lock, NULL) == 0);
    invariant(pthread_mutex_init(&journal->writer.io_lock, NULL) == 0);
    journal->writer.hash = hash_stream_create();
    journal->read_hash = hash_stream_create();
    journal_eye_init(&journal->eye, options->files);
    return journal;
}

void journal_release(struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    const struct files *files = journal->options.files;
    if (journal->writer.file != NULL)
        files->close(files->context, journal->writer.file);
    if (journal->preparer.file != NULL)
        files->close(files->context, journal->preparer.file);
    journal_segment_destroy(journal->preparer.segment);
    for (size_t i = 0; i < shared->segment_count; i++)
        journal_segment_destroy(shared->segments[i]);
    journal_segment_destroy(shared->spare);
    free(shared->segments);
    free(journal->terms);
    journal_eye_deinit(&journal->eye);
    hash_stream_destroy(journal->writer.hash);
    hash_stream_destroy(journal->read_hash);
    free(journal->writer.buffer);
    (void)pthread_mutex_destroy(&journal->writer.io_lock); /* nobody holds it: the jobs ended */
    (void)pthread_mutex_destroy(&shared->lock);
    free(shared);
    free(journal);
}

void journal_close(struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const bool idle = shared->queued_first == NULL && shared->taken_first == NULL;
    const bool ended = shared->writer_done || shared->failure != STATUS_OK || !shared->stopping;
    pthread_mutex_unlock(&shared->lock);
    invariant(ended);
    if (journal_failure(journal) == STATUS_OK)
        invariant(idle);
    journal_release(journal);
}
