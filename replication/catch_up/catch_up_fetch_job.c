/*
 * The peer's half of catch-up that touches files: pieces are checked and written in the order in
 * which they came, between the few steps that begin and end a part. On the job's thread; what a
 * step found is left in its task for the loop.
 */
#include "replication/catch_up/catch_up_internal.h"

#include "core/invariant.h"

#include <string.h>

static enum status add_piece(struct fetch_piece *piece, struct catch_up_build *build)
{
    const struct catch_up_data *data = &piece->data;
    enum status status = STATUS_OK;
    if (data->what == CATCH_UP_STORE) {
        if (data->position != build->store_done)
            return STATUS_CORRUPT;
        status = catch_up_build_store_add(build, piece->bytes, data->size, data->check);
        memcpy(piece->check, build->store_check, sizeof piece->check);
    } else {
        if (data->position != build->last_index)
            return STATUS_CORRUPT;
        status = catch_up_build_journal_add(build, piece->bytes, data->size, data->check);
        piece->last_index = build->last_index;
        piece->last_term = build->last_term;
        memcpy(piece->check, build->last_head, sizeof piece->check);
    }
    return status;
}

void fetch_run_piece(struct catch_up_task *task)
{
    struct fetch_piece *piece = (struct fetch_piece *)(void *)task; /* first member */
    struct catch_up_build *build = &piece->owner->fetch.build;
    /* Behind one that failed nothing fits any more. */
    piece->status = build->text[0] != '\0' ? STATUS_CORRUPT : add_piece(piece, build);
}

/* ---- our own entries ---- */

void fetch_close_files(struct fetch *fetch)
{
    journal_reader_destroy(fetch->own_reader);
    fetch->own_reader = NULL;
}

static enum status local_begin(struct fetch *fetch)
{
    const struct catch_up_options *options = &fetch->owner->options;
    enum status status = journal_reader_create(options->journal, &fetch->own_reader);
    if (status == STATUS_OK && options->store == NULL)
        status = journal_reader_anchor(fetch->own_reader, &fetch->anchor, fetch->configuration);
    if (status == STATUS_OK && fetch->anchor.index > fetch->own_index)
        status = STATUS_NOT_FOUND;
    if (status != STATUS_OK)
        return status;
    journal_reader_set(fetch->own_reader, fetch->anchor.index, fetch->anchor.head);
    fetch->local_index = fetch->anchor.index;
    return catch_up_build_journal_begin(&fetch->build, &fetch->anchor);
}

/* As much as one DATA holds. */
static enum status local_more(struct fetch *fetch)
{
    uint8_t *bytes = fetch->pieces[0].bytes; /* no piece is on its way in this phase */
    uint8_t head[JOURNAL_HASH_SIZE];
    uint32_t size = 0;
    memcpy(head, fetch->build.last_head, sizeof head);
    enum status status = catch_up_pack(fetch->own_reader, fetch->local_index, fetch->own_index,
                                       bytes, &size, &fetch->local_index, head);
    if (status == STATUS_OK)
        status = catch_up_build_journal_add(&fetch->build, bytes, size, head);
    if (status == STATUS_OK && fetch->local_index == fetch->own_index &&
        memcmp(head, fetch->own_head, sizeof head) != 0)
        status = STATUS_CORRUPT;
    return status;
}

void fetch_run_control(struct catch_up_task *task)
{
    struct fetch *fetch = (struct fetch *)(void *)task; /* first member */
    struct catch_up_build *build = &fetch->build;
    switch (fetch->work) {
    case FETCH_WORK_STORE_BEGIN:
        fetch->status = catch_up_build_store_begin(build, fetch->bytes_total);
        return;
    case FETCH_WORK_STORE_END:
        fetch->status = catch_up_build_store_end(build);
        return;
    case FETCH_WORK_JOURNAL_BEGIN:
        fetch->status = catch_up_build_journal_begin(build, &fetch->anchor);
        return;
    case FETCH_WORK_LOCAL_BEGIN:
        fetch->status = local_begin(fetch);
        return;
    case FETCH_WORK_LOCAL:
        fetch->status = local_more(fetch);
        return;
    case FETCH_WORK_END:
        fetch->status = catch_up_build_end(build);
        return;
    case FETCH_WORK_DISCARD:
        fetch_close_files(fetch);
        catch_up_build_discard(build);
        fetch->status = STATUS_OK;
        return;
    }
    invariant_values(false, fetch->work, fetch->phase);
}
