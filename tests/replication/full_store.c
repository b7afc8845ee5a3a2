#include "tests/replication/full_store.h"

#include <stddef.h>
#include <string.h>

/* The environment's context is the pump; a test has one store at a time. */
static struct full_store *installed;

static struct full_store *of(struct checkpoint *checkpoint)
{
    return (struct full_store *)checkpoint;
}

static enum status full_submit(struct checkpoint *checkpoint, const struct epoch *epoch,
                               const struct checkpoint_meta *meta, checkpoint_cb cb, void *context)
{
    struct full_store *full = of(checkpoint);
    if (full->status == STATUS_OK)
        return checkpoint_submit(full->inner, epoch, meta, cb, context);
    full->waiting = cb;
    full->waiting_context = context;
    return STATUS_OK;
}

static enum job_state full_step(struct checkpoint *checkpoint, uint64_t *out_wait_ns)
{
    return checkpoint_step(of(checkpoint)->inner, out_wait_ns);
}

static void full_process(struct checkpoint *checkpoint)
{
    struct full_store *full = of(checkpoint);
    if (full->waiting != NULL) {
        checkpoint_cb cb = full->waiting;
        full->waiting = NULL;
        cb(full->waiting_context, full->status, 0);
    }
    checkpoint_process(full->inner);
}

static void full_stop(struct checkpoint *checkpoint)
{
    checkpoint_stop(of(checkpoint)->inner);
}

static void full_past(struct checkpoint *checkpoint, struct ledger_past *out)
{
    checkpoint_past(of(checkpoint)->inner, out);
}

static enum status full_meta(struct checkpoint *checkpoint, struct checkpoint_meta *out)
{
    return checkpoint_meta(of(checkpoint)->inner, out);
}

static enum status full_restore(struct checkpoint *checkpoint, struct machine *machine)
{
    return checkpoint_restore(of(checkpoint)->inner, machine);
}

static void full_stats(const struct checkpoint *checkpoint, struct checkpoint_stats *out)
{
    checkpoint_stats(((const struct full_store *)checkpoint)->inner, out);
}

static void full_close(struct checkpoint *checkpoint)
{
    checkpoint_close(of(checkpoint)->inner);
}

static const struct checkpoint_operations full_operations = {
    .submit = full_submit,
    .step = full_step,
    .process = full_process,
    .stop = full_stop,
    .past = full_past,
    .meta = full_meta,
    .restore = full_restore,
    .stats = full_stats,
    .close = full_close,
};

static enum status open_store(void *context, const struct store_options *options,
                              struct checkpoint **out_store, struct store_error *out_error)
{
    (void)context;
    enum status status = store_open(options, &installed->inner, out_error);
    if (status != STATUS_OK)
        return status;
    *out_store = &installed->base;
    return STATUS_OK;
}

static void failure(void *context, struct checkpoint *store, struct store_error *out_error)
{
    (void)context;
    store_failure(of(store)->inner, out_error);
}

void full_store_install(struct full_store *full, struct environment *environment)
{
    memset(full, 0, sizeof *full);
    full->base.operations = &full_operations;
    installed = full;
    environment->open_store = open_store;
    environment->store_failure = failure;
}
