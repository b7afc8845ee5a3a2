/*
 * Reading entries beside the loop, for a peer that is to be brought up to date.
 *
 * It walks the index in RAM entry by entry, not the file record by record: behind a record there
 * may lie a truncation that takes it back, and only the index knows. An eye of its own keeps it
 * from disturbing the loop's; the only thing shared is the index, under its lock.
 *
 * The chain is recomputed from entry to entry, so what leaves this machine was whole when it left.
 */
#include "core/invariant.h"
#include "storage/journal_state.h"

#include <stdlib.h>
#include <string.h>

struct journal_reader {
    struct journal *journal;
    struct journal_eye eye;
    struct hash_stream *hash;
    uint64_t index; /* read last */
    uint8_t head[JOURNAL_HASH_SIZE];
};

enum status journal_reader_create(struct journal *journal, struct journal_reader **out_reader)
{
    struct journal_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return STATUS_NO_MEMORY;
    reader->journal = journal;
    journal_eye_init(&reader->eye, journal->options.files);
    reader->hash = hash_stream_create();
    *out_reader = reader;
    return STATUS_OK;
}

void journal_reader_destroy(struct journal_reader *reader)
{
    if (reader == NULL)
        return;
    journal_eye_deinit(&reader->eye);
    hash_stream_destroy(reader->hash);
    free(reader);
}

void journal_reader_set(struct journal_reader *reader, uint64_t index,
                        const uint8_t head[JOURNAL_HASH_SIZE])
{
    reader->index = index;
    memcpy(reader->head, head, JOURNAL_HASH_SIZE);
}

enum status journal_reader_seek(struct journal_reader *reader, uint64_t index, uint64_t *out_term,
                                uint8_t out_head[JOURNAL_HASH_SIZE])
{
    struct journal_entry entry;
    uint8_t head[JOURNAL_HASH_SIZE];
    if (index > journal_synced_index(reader->journal))
        return STATUS_NOT_FOUND;
    journal_eye_forget(&reader->eye);
    enum status status = journal_eye_look(&reader->eye, reader->journal, index, &entry, head);
    if (status != STATUS_OK)
        return status;
    journal_reader_set(reader, index, head);
    *out_term = entry.term;
    memcpy(out_head, head, sizeof head);
    return STATUS_OK;
}

enum status journal_reader_read(struct journal_reader *reader, uint64_t last,
                                bool (*each)(void *context, const struct journal_entry *entry),
                                void *context, uint8_t out_head[JOURNAL_HASH_SIZE])
{
    if (last > journal_synced_index(reader->journal))
        return STATUS_NOT_FOUND;
    journal_eye_forget(&reader->eye);
    bool more = true;
    while (more && reader->index < last) {
        struct journal_entry entry;
        uint8_t stored[JOURNAL_HASH_SIZE], head[JOURNAL_HASH_SIZE];
        enum status status =
            journal_eye_look(&reader->eye, reader->journal, reader->index + 1, &entry, stored);
        if (status != STATUS_OK)
            return status;
        journal_chain(reader->hash, reader->head, &entry, head);
        if (memcmp(head, stored, sizeof head) != 0)
            return STATUS_CORRUPT;
        journal_reader_set(reader, entry.index, head);
        more = each(context, &entry);
    }
    memcpy(out_head, reader->head, JOURNAL_HASH_SIZE);
    return STATUS_OK;
}

enum status journal_reader_anchor(struct journal_reader *reader, struct journal_anchor *out,
                                  uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX])
{
    const struct files *files = reader->journal->options.files;
    struct journal_shared *shared = reader->journal->shared;
    struct journal_segment_header header;
    char name[JOURNAL_NAME_SIZE];
    pthread_mutex_lock(&shared->lock);
    journal_segment_name(shared->segments[0]->number, name);
    pthread_mutex_unlock(&shared->lock);
    struct file *file = NULL;
    enum status status = files->open(files->context, name, FILE_READ, &file);
    if (status != STATUS_OK)
        return status;
    status = files->read(files->context, file, &header, sizeof header, 0);
    files->close(files->context, file);
    if (status == STATUS_OK)
        status = journal_segment_header_check(&header);
    if (status == STATUS_OK && header.configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX)
        status = STATUS_CORRUPT;
    if (status != STATUS_OK)
        return status;
    memcpy(configuration, header.configuration, header.configuration_size);
    *out = (struct journal_anchor){
        .index = header.anchor_index,
        .term = header.anchor_term,
        .configuration = configuration,
        .configuration_size = header.configuration_size,
    };
    memcpy(out->head, header.anchor_head, sizeof out->head);
    return STATUS_OK;
}
