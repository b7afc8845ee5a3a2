/*
 * Questions of tally.v1.Admin: the table of principals and the status document. SetPrincipals
 * changes something and goes with the requests (ledger_service.c).
 */
#include "core/invariant.h"
#include "server/dispatch.h"

#include <stdlib.h>
#include <string.h>

/* 4096 rows of at most 255 + 64 + 20 bytes: 1.4 MB, below the page's size. */
_Static_assert(PRINCIPALS_MAX *(URI_SIZE_MAX + NAME_SIZE_MAX + 24) <
                   REQUEST_EVENTS_MAX * WIRE_TRANSFER_SIZE_MAX,
               "the table of principals fits one answer");

static void list_principals_cb(struct work *work)
{
    const struct machine *machine = node_machine(dispatch_options(work->dispatch)->node);
    struct wire_writer *page = dispatch_page(work->dispatch);
    for (uint32_t i = 0; i < machine_principal_count(machine); i++)
        wire_write_principal(page, 1, machine_principal_at(machine, i));
    work_finish_page(work, machine_applied_index(machine));
}

static void get_status(struct work *work)
{
    const struct dispatch_options *options = dispatch_options(work->dispatch);
    char *json = options->status_json(options->status_context);
    if (!json) {
        work_finish_status(work, STATUS_NO_MEMORY);
        return;
    }
    struct wire_writer *page = dispatch_page(work->dispatch);
    wire_write_bytes(page, 1, json, strlen(json));
    free(json);
    work_finish_page(work, machine_applied_index(node_machine(options->node)));
}

void admin_service_begin(struct work *work)
{
    bool lists = work->method == METHOD_LIST_PRINCIPALS;
    struct wire_error error;
    if (wire_decode_query(lists ? WIRE_QUERY_MIN_INDEX : WIRE_QUERY_EMPTY, work->message,
                          work->message_size, &work->query, &error) != STATUS_OK)
        work_finish_malformed(work, &error);
    else if (lists)
        work_read(work, work->query.min_index, list_principals_cb);
    else
        get_status(work);
}
