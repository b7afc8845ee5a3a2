/*
 * The leader's half of catch-up that touches files: opening a copy, reading pieces of it, reading
 * entries. On the job's thread; one session at a time, everything it needs was put into the session
 * by the loop, and the loop leaves the session alone until the task is done.
 *
 * Where a witness's journal begins. It needs everything that some site may lack, so it begins at
 * the watermark when our journal reaches back that far and the configuration is known there (the
 * store says since which index its configuration is in force), at the checkpoint otherwise.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"

#include <string.h>

static struct serve_session *session_of(struct catch_up_task *task)
{
    return (struct serve_session *)(void *)task; /* first member */
}

static void end_copy(struct serve_session *session)
{
    if (session->copy != NULL)
        checkpoint_copy_end(session->owner->options.store, session->copy);
    session->copy = NULL;
}

void serve_close_files(struct serve_session *session)
{
    end_copy(session);
    journal_reader_destroy(session->reader);
    session->reader = NULL;
}

/* ---- opening ---- */

/* An index that the journal still has, with its term and head, for a witness to begin behind. */
static void begin_earlier(struct serve_session *session)
{
    struct checkpoint_meta *meta = &session->info.meta;
    uint64_t configuration_index = meta->index;
    if (meta->configuration_size >= sizeof configuration_index)
        memcpy(&configuration_index, meta->configuration, sizeof configuration_index);
    uint64_t index = session->watermark_index;
    if (index < configuration_index)
        index = configuration_index;
    if (index <= session->journal_anchor.index)
        index = session->journal_anchor.index + 1;
    if (index >= meta->index)
        return;
    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
    if (journal_reader_seek(session->reader, index, &term, head) != STATUS_OK)
        return; /* the checkpoint will do */
    meta->index = index;
    meta->term = term;
    memcpy(meta->head, head, sizeof meta->head);
}

static enum status open_whole(struct serve_session *session)
{
    struct checkpoint *store = session->owner->options.store;
    if (store == NULL)
        return STATUS_NOT_FOUND; /* we are a witness */
    enum status status = checkpoint_copy_begin(store, &session->copy, &session->info);
    if (status == STATUS_NOT_FOUND) { /* no epoch yet: everything is in the journal */
        memset(&session->info, 0, sizeof session->info);
        status = session->journal_anchor.index == 0 ? STATUS_OK : STATUS_NOT_FOUND;
    }
    if (status == STATUS_OK && session->kind == MEMBER_WITNESS) {
        end_copy(session);
        session->info.size = 0;
        if (session->info.meta.index > 0)
            begin_earlier(session);
    }
    if (status == STATUS_OK)
        journal_reader_set(session->reader, session->info.meta.index, session->info.meta.head);
    return status;
}

/* The journal alone, from where the peer stands, if that is a place in our history. */
static enum status open_from(struct serve_session *session)
{
    const struct catch_up_open *open = &session->open;
    const struct journal_anchor *anchor = &session->journal_anchor;
    uint64_t term = anchor->term;
    uint8_t head[JOURNAL_HASH_SIZE];
    memcpy(head, anchor->head, sizeof head);
    if (open->index == anchor->index) {
        journal_reader_set(session->reader, anchor->index, anchor->head);
    } else {
        enum status status = journal_reader_seek(session->reader, open->index, &term, head);
        if (status != STATUS_OK)
            return status;
    }
    if (term != open->term || memcmp(head, open->check, sizeof head) != 0)
        return STATUS_WRONG_CLUSTER;
    memset(&session->info, 0, sizeof session->info);
    session->info.meta.index = open->index;
    session->info.meta.term = term;
    memcpy(session->info.meta.head, head, sizeof head);
    return STATUS_OK;
}

/* ---- reading ---- */

static void add_mark(struct serve_session *session)
{
    struct serve_mark *mark = &session->marks[session->mark_count++ % SERVE_MARKS_MAX];
    mark->offset = session->position;
    memcpy(mark->check, session->check, sizeof mark->check);
}

static enum status read_store(struct serve_session *session)
{
    struct catch_up_data *data = &session->data;
    if (session->copy == NULL || session->read.position != session->position ||
        session->position >= session->info.size)
        return STATUS_INVALID;
    const uint64_t left = session->info.size - session->position;
    const uint32_t size = left < CATCH_UP_PIECE_SIZE ? (uint32_t)left : CATCH_UP_PIECE_SIZE;
    uint8_t *bytes = session->message + CATCH_UP_DATA_HEAD_SIZE;
    enum status status = checkpoint_copy_read(session->owner->options.store, session->copy,
                                              session->position, bytes, size);
    if (status != STATUS_OK)
        return status;
    catch_up_chain(session->check, bytes, size, session->check);
    data->size = size;
    data->position = session->position;
    memcpy(data->check, session->check, sizeof data->check);
    session->position += size;
    data->at_end = session->position == session->info.size;
    add_mark(session);
    return STATUS_OK;
}

static enum status read_journal(struct serve_session *session)
{
    struct catch_up_data *data = &session->data;
    end_copy(session); /* whoever asks for entries has the store */
    data->position = session->read_index;
    memcpy(data->check, session->journal_check, sizeof data->check);
    enum status status = catch_up_pack(session->reader, session->read_index, session->limit_index,
                                       session->message + CATCH_UP_DATA_HEAD_SIZE, &data->size,
                                       &session->read_index, data->check);
    if (status != STATUS_OK)
        return status;
    memcpy(session->journal_check, data->check, sizeof session->journal_check);
    data->at_end = session->read_index >= session->limit_index;
    return STATUS_OK;
}

static enum status read_piece(struct serve_session *session)
{
    session->data.session = session->id;
    session->data.what = session->read.what;
    return session->read.what == CATCH_UP_STORE ? read_store(session) : read_journal(session);
}

static enum status open_session(struct serve_session *session)
{
    enum status status = journal_reader_create(session->owner->options.journal, &session->reader);
    if (status == STATUS_OK)
        status = session->work == SERVE_WORK_WHOLE ? open_whole(session) : open_from(session);
    if (status != STATUS_OK)
        return status;
    session->read_index = session->info.meta.index;
    memcpy(session->journal_check, session->info.meta.head, sizeof session->journal_check);
    add_mark(session); /* the beginning of the store */
    return STATUS_OK;
}

void serve_run(struct catch_up_task *task)
{
    struct serve_session *session = session_of(task);
    switch (session->work) {
    case SERVE_WORK_WHOLE:
    case SERVE_WORK_FROM:
        session->status = open_session(session);
        break;
    case SERVE_WORK_READ:
        session->status = read_piece(session);
        break;
    case SERVE_WORK_END:
        serve_close_files(session);
        session->status = STATUS_OK;
        break;
    }
}
