/*
 * Looking at one record: where the index in RAM says it lies, in a window over its segment's file,
 * with its checksums judged.
 *
 * The index is shared with the writer and changed by the loop (truncation, pruning), so everything
 * that is needed of a segment is copied out under the lock, its key included; reading goes on
 * without it. A segment that is pruned in between takes its file along: that is STATUS_NOT_FOUND as
 * well, but never for the loop's own eye, because the loop is who prunes.
 */
#include "storage/journal_state.h"

#include <string.h>

struct record_place {
    uint64_t number, size, offset;
    struct journal_key key;
};

void journal_eye_init(struct journal_eye *eye, const struct files *files)
{
    *eye = (struct journal_eye){0};
    journal_window_init(&eye->window, files);
}

void journal_eye_close(struct journal_eye *eye)
{
    const struct files *files = eye->window.files;
    if (eye->file != NULL)
        files->close(files->context, eye->file);
    eye->file = NULL;
}

void journal_eye_deinit(struct journal_eye *eye)
{
    journal_eye_close(eye);
    journal_window_deinit(&eye->window);
}

void journal_eye_forget(struct journal_eye *eye)
{
    if (eye->file != NULL)
        journal_window_set(&eye->window, eye->file, eye->window.file_size);
}

static enum status open_segment(struct journal_eye *eye, uint64_t number, uint64_t size)
{
    const struct files *files = eye->window.files;
    char name[JOURNAL_NAME_SIZE];
    if (eye->file != NULL && eye->number == number)
        return STATUS_OK;
    journal_segment_name(number, name);
    struct file *file = NULL;
    const enum status status = files->open(files->context, name, FILE_READ, &file);
    if (status != STATUS_OK)
        return status;
    journal_eye_close(eye);
    eye->file = file;
    eye->number = number;
    journal_window_set(&eye->window, file, size);
    return STATUS_OK;
}

static bool find_place(const struct journal *journal, uint64_t index, struct record_place *out)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const struct journal_segment *segment = journal_segments_find(shared, index, &out->offset);
    if (segment != NULL) {
        out->number = segment->number;
        out->size = segment->size;
        out->key = segment->key;
    }
    pthread_mutex_unlock(&shared->lock);
    return segment != NULL;
}

enum status journal_eye_look(struct journal_eye *eye, const struct journal *journal, uint64_t index,
                             struct journal_entry *out_entry, uint8_t out_head[JOURNAL_HASH_SIZE])
{
    struct record_place place;
    if (!find_place(journal, index, &place))
        return STATUS_NOT_FOUND;
    enum status status = open_segment(eye, place.number, place.size);
    if (status != STATUS_OK)
        return status;
    const uint8_t *bytes;
    struct journal_record_header header;
    status = journal_window_get(&eye->window, place.offset, sizeof header, &bytes);
    if (status != STATUS_OK)
        return status;
    memcpy(&header, bytes, sizeof header);
    if (!journal_record_header_valid(&place.key, &header) ||
        !journal_record_is_entry(header.type) || header.index != index)
        return STATUS_CORRUPT;
    const uint64_t body_size = journal_record_body_size(header.type, header.length);
    status =
        journal_window_get(&eye->window, place.offset, sizeof header + (size_t)body_size, &bytes);
    if (status != STATUS_OK)
        return status;
    const uint8_t *body = bytes + sizeof header;
    if (!journal_record_body_valid(&place.key, &header, body))
        return STATUS_CORRUPT;
    *out_entry = (struct journal_entry){.index = header.index,
                                        .term = header.term,
                                        .type = header.type,
                                        .size = header.length,
                                        .payload = body};
    memcpy(out_head, body + body_size - JOURNAL_HASH_SIZE, JOURNAL_HASH_SIZE);
    return STATUS_OK;
}

uint64_t journal_synced_index(const struct journal *journal)
{
    pthread_mutex_lock(&journal->shared->lock);
    const uint64_t index = journal->shared->synced_index;
    pthread_mutex_unlock(&journal->shared->lock);
    return index;
}
