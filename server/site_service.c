/*
 * Operations on a whole site. They are the leader's to do, like changes of members, and for the
 * same reason not forwarded: the operator sees which node did it. Each is an event of the audit
 * log at its beginning and at its end: who (the certificate's URI, not a name that the caller
 * chose), what, why. A dry run is none: it changes nothing.
 *
 * The client may go away in the middle. Before leadership moves, the operation ends with it;
 * afterwards there is nothing left to undo.
 */
#include "core/invariant.h"
#include "replication/node/node_site.h"
#include "server/dispatch.h"
#include "server/wire_site.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_S (1000ull * 1000 * 1000)

/* Of a call without deadline. */
#define OPERATION_NS_MAX (60 * NS_PER_S)

static struct node *node_of(const struct work *work)
{
    return dispatch_options(work->dispatch)->node;
}

static void audit(const struct work *work, enum event event, const char *text)
{
    struct log_line line;
    struct wire_site_request wire;
    struct wire_error error;
    enum status status = wire_decode_site_request(work->message, work->message_size, &wire, &error);
    invariant_values(status == STATUS_OK, status, 0); /* it was read before */
    if (wire.dry_run)
        return;
    log_begin(&line, event);
    log_text(&line, "principal", grpc_call_principal(work->call));
    log_text(&line, "operation", site_operation_name((enum site_operation_kind)wire.operation));
    log_text(&line, "site", wire.site);
    log_text(&line, "reason", wire.reason);
    log_text(&line, "settings", wire.settings);
    log_text(&line, "text", text);
    log_end(dispatch_options(work->dispatch)->log, &line);
}

/* Another one under way is told at once, not waited for: the operator has to know of it. */
static void finish_refused(struct work *work, enum status status, const char *text)
{
    struct refusal refusal = refusal_of_change(status == STATUS_BUSY ? STATUS_INVALID : status);
    refusal.message = text;
    if (status != STATUS_NOT_READY) /* it is only asked elsewhere */
        audit(work, EVENT_SITE_OPERATION_REFUSED, text);
    work_finish_refusal(work, &refusal);
}

static void operated(void *context, enum status status, const struct site_report *report,
                     const char *text)
{
    struct work *work = context;
    invariant_values(work->changing == WORK_OPERATING_SITE, work->changing, status);
    work->changing = WORK_NOT_CHANGING;
    if (status != STATUS_OK) {
        finish_refused(work, status, text);
        return;
    }
    const struct machine *machine = node_machine(node_of(work));
    char how[64];
    snprintf(how, sizeof how, "%s, %u ms held", report->done_before ? "it was so already" : "done",
             (unsigned)(report->held_ns / 1000000));
    audit(work, EVENT_SITE_OPERATION_ENDED, how);
    wire_write_site_report(dispatch_page(work->dispatch), report);
    work_finish_page(work, machine ? machine_applied_index(machine) : 0);
}

void site_service_begin(struct work *work)
{
    struct wire_site_request wire;
    struct wire_error malformed;
    struct node_error error = {.text = ""};
    if (wire_decode_site_request(work->message, work->message_size, &wire, &malformed) !=
        STATUS_OK) {
        work_finish_malformed(work, &malformed);
        return;
    }
    struct site_operation_request request = {
        .kind = (enum site_operation_kind)wire.operation,
        .dry_run = wire.dry_run != 0,
        .force = wire.force != 0,
        .power_off = wire.power_off != 0,
        .has_number = wire.has_number,
        .number = wire.number,
        .deadline_ns = work_deadline_ns(work, uv_hrtime() + OPERATION_NS_MAX),
        .cb = operated,
        .context = work,
    };
    memcpy(request.site, wire.site, sizeof request.site);
    memcpy(request.why, wire.reason, sizeof request.why);
    memcpy(request.settings, wire.settings, sizeof request.settings);
    snprintf(request.who, sizeof request.who, "%s", grpc_call_principal(work->call));
    enum status status = node_site_begin(node_of(work), &request, &error);
    if (status != STATUS_OK) {
        finish_refused(work, status, error.text);
        return;
    }
    work->changing = WORK_OPERATING_SITE;
    audit(work, EVENT_SITE_OPERATION_BEGUN, "");
}

void site_service_gone(struct work *work)
{
    work->changing = WORK_NOT_CHANGING;
    audit(work, EVENT_SITE_OPERATION_REFUSED, "who asked went away before its end");
    node_site_cancel(node_of(work));
}
