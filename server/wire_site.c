/*
 * The request has texts of an operator's: the reason is logged and shown to other operators, so
 * control bytes are refused here rather than quoted everywhere else. The report is written with
 * protobuf-c, since nothing about it is in a hurry: once per operation.
 */
#include "server/wire_site.h"

#include "core/invariant.h"
#include "server/wire_message.h"

#include "tally/v1/admin.pb-c.h"

#include <stddef.h>
#include <string.h>

_Static_assert((int)SITE_SWITCHOVER == TALLY__V1__SITE_OPERATION__SWITCHOVER, "as in admin.proto");
_Static_assert((int)SITE_DRAIN == TALLY__V1__SITE_OPERATION__DRAIN, "as in admin.proto");
_Static_assert((int)SITE_RESUME == TALLY__V1__SITE_OPERATION__RESUME, "as in admin.proto");
_Static_assert((int)SITE_POLICY == TALLY__V1__SITE_OPERATION__POLICY, "as in admin.proto");
_Static_assert((int)SITE_DEGRADE == TALLY__V1__SITE_OPERATION__DEGRADE_SITE, "as in admin.proto");
_Static_assert((int)SITE_RETURN == TALLY__V1__SITE_OPERATION__RETURN_TO_SYNC, "as in admin.proto");
_Static_assert((int)SITE_FINE == TALLY__V1__SITE_CHECK__VERDICT__FINE, "as in admin.proto");
_Static_assert((int)SITE_IN_THE_WAY == TALLY__V1__SITE_CHECK__VERDICT__IN_THE_WAY,
               "as in admin.proto");
_Static_assert((int)SITE_FORCED == TALLY__V1__SITE_CHECK__VERDICT__FORCED, "as in admin.proto");

#define REASON_SIZE_MAX 120
_Static_assert(REASON_SIZE_MAX < SITE_WHY_SIZE, "with its zero byte");

#define SETTINGS_SIZE_MAX 250
_Static_assert(SETTINGS_SIZE_MAX < SITE_SETTINGS_SIZE, "with its zero byte");

static const struct wire_field number_fields[] = {
    [1] = FIELD("number", KIND_UINT64, struct wire_site_request, number),
};
static const struct wire_message number_message = MESSAGE(number_fields);

struct site_request {
    struct wire_site_request values; /* first: fields are placed by it */
    struct wire_nested seen;
};
static const struct wire_field site_request_fields[] = {
    [1] = FIELD("operation", KIND_UINT8, struct wire_site_request, operation),
    [2] = TEXT("site", struct wire_site_request, site, site_size, MEMBER_SITE_SIZE_MAX),
    [3] = TEXT("reason", struct wire_site_request, reason, reason_size, REASON_SIZE_MAX),
    [4] = FIELD("dry_run", KIND_UINT8, struct wire_site_request, dry_run),
    [5] = FIELD("force", KIND_UINT8, struct wire_site_request, force),
    [6] = FIELD("power_off", KIND_UINT8, struct wire_site_request, power_off),
    [7] = TEXT("settings", struct wire_site_request, settings, settings_size, SETTINGS_SIZE_MAX),
    [8] = FIELD("seen", KIND_NESTED, struct site_request, seen),
};
static const struct wire_message site_request_message = MESSAGE(site_request_fields);

static bool is_printable(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

enum status wire_decode_site_request(const uint8_t *message, size_t size,
                                     struct wire_site_request *out, struct wire_error *out_error)
{
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    struct site_request request = {
        .seen = {.message = &number_message, .target = out},
    };
    memset(out, 0, sizeof *out);
    if (!wire_read_message(&reader, &site_request_message, &request))
        return STATUS_INVALID;
    request.values.has_number = request.seen.given;
    request.values.number = out->number;
    *out = request.values;
    if (out->operation >= SITE_OPERATION_KIND_COUNT) {
        wire_refuse(&reader, WIRE_OUT_OF_RANGE, reader.begin, NULL, "operation",
                    "this version of the node does not know it");
        return STATUS_INVALID;
    }
    const bool names_site = out->operation != SITE_POLICY && out->operation != SITE_RETURN;
    if (names_site != (out->site_size > 0)) {
        wire_refuse(&reader, WIRE_MISSING, reader.begin, NULL, "site",
                    names_site ? "missing" : "this operation is about both sites: it names none");
        return STATUS_INVALID;
    }
    if (!is_printable(out->site, out->site_size) || !is_printable(out->reason, out->reason_size) ||
        !is_printable(out->settings, out->settings_size)) {
        wire_refuse(&reader, WIRE_OUT_OF_RANGE, reader.begin, NULL, "reason",
                    "site, reason and settings are text without control characters");
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

/* Protobuf-C has no const; nothing is written through these. */
static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

void wire_write_site_report(struct wire_writer *writer, const struct site_report *report)
{
    Tally__V1__SiteCheck checks[SITE_CHECKS_MAX];
    Tally__V1__SiteCheck *check_pointers[SITE_CHECKS_MAX];
    Tally__V1__SiteStep steps[SITE_STEPS_MAX];
    Tally__V1__SiteStep *step_pointers[SITE_STEPS_MAX];
    Tally__V1__SitePause pauses[MEMBERS_MAX];
    Tally__V1__SitePause *pause_pointers[MEMBERS_MAX];
    Tally__V1__OperateSiteResponse response = TALLY__V1__OPERATE_SITE_RESPONSE__INIT;
    for (uint32_t i = 0; i < report->check_count; i++) {
        tally__v1__site_check__init(&checks[i]);
        checks[i].verdict = (Tally__V1__SiteCheck__Verdict)report->checks[i].verdict;
        checks[i].text = text_of(report->checks[i].text);
        check_pointers[i] = &checks[i];
    }
    for (uint32_t i = 0; i < report->step_count; i++) {
        tally__v1__site_step__init(&steps[i]);
        steps[i].at_us = report->steps[i].at_ns / 1000;
        steps[i].text = text_of(report->steps[i].text);
        step_pointers[i] = &steps[i];
    }
    for (uint32_t i = 0; i < report->pause_count; i++) {
        const struct site_pause *from = &report->pauses[i];
        tally__v1__site_pause__init(&pauses[i]);
        pauses[i].node_id = from->node_id;
        pauses[i].known = from->known;
        pauses[i].longest_wait_us = from->pause.longest_wait_ns / 1000;
        pauses[i].longest_gap_us = from->pause.longest_gap_ns / 1000;
        pauses[i].answered = from->pause.answered;
        pauses[i].refused = from->pause.refused;
        pauses[i].unknown = from->pause.unknown;
        pause_pointers[i] = &pauses[i];
    }
    response.done_before = report->done_before;
    response.n_checks = report->check_count;
    response.checks = check_pointers;
    response.n_steps = report->step_count;
    response.steps = step_pointers;
    response.n_pauses = report->pause_count;
    response.pauses = pause_pointers;
    response.held_us = report->held_ns / 1000;
    response.leader_id = report->leader_id;
    response.again = report->again;
    response.number = report->number;
    const size_t size = tally__v1__operate_site_response__get_packed_size(&response);
    invariant_values(writer->size + size <= writer->capacity, size, writer->capacity);
    tally__v1__operate_site_response__pack(&response, writer->bytes + writer->size);
    writer->size += size;
}
