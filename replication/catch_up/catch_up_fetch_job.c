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
    struct fetch *fetch = &piece->owner->fetch;
    struct catch_up_build *build = &fetch->build;
    if (piece->feeds) {
        piece->status = fetch->feed_text[0] != '\0' ? STATUS_CORRUPT : feed_check_piece(piece);
        return;
    }
    /* Behind one that failed nothing fits any more. */
    piece->status = build->text[0] != '\0' ? STATUS_CORRUPT : add_piece(piece, build);
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
    case FETCH_WORK_END:
        fetch->status = catch_up_build_end(build);
        return;
    case FETCH_WORK_DISCARD:
        catch_up_build_discard(build);
        fetch->status = STATUS_OK;
        return;
    }
    invariant_values(false, fetch->work, fetch->phase);
}
