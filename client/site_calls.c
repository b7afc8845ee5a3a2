/*
 * Operations on a whole site. Like changes of members they have no identity: each describes a state
 * to be reached (that site leads), and repeating it is as safe as asking.
 */
#include "client/message.h"

#include "tally/v1/admin.pb-c.h"

#include <stdio.h>

_Static_assert((int)TALLY_SITE_SWITCHOVER == (int)TALLY__V1__SITE_OPERATION__SWITCHOVER,
               "number of the operation");
_Static_assert((int)TALLY_SITE_RETURN == (int)TALLY__V1__SITE_OPERATION__RETURN_TO_SYNC,
               "number of the last operation");
_Static_assert((int)TALLY_SITE_FORCED == (int)TALLY__V1__SITE_CHECK__VERDICT__FORCED,
               "number of the verdict");

#define UNANSWERED "; \"tally status\" shows who leads, and the same command may be given again"

/* What a newer node tells at greater length is cut. */
static void copy_text(const char *from, char out[TALLY_SITE_TEXT_SIZE])
{
    (void)snprintf(out, TALLY_SITE_TEXT_SIZE, "%s", from);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void read_report(const Tally__V1__OperateSiteResponse *from, struct tally_site_report *out)
{
    *out = (struct tally_site_report){
        .done_before = from->done_before,
        .again = from->again,
        .number = from->number,
        .leader_id = from->leader_id,
        .held_us = from->held_us,
        .check_count = smaller(from->n_checks, TALLY_SITE_CHECKS_MAX),
        .step_count = smaller(from->n_steps, TALLY_SITE_STEPS_MAX),
        .pause_count = smaller(from->n_pauses, TALLY_MEMBERS_MAX),
    };
    for (size_t i = 0; i < out->check_count; i++) {
        out->checks[i].verdict = (uint8_t)from->checks[i]->verdict;
        copy_text(from->checks[i]->text, out->checks[i].text);
    }
    for (size_t i = 0; i < out->step_count; i++) {
        out->steps[i].at_us = from->steps[i]->at_us;
        copy_text(from->steps[i]->text, out->steps[i].text);
    }
    for (size_t i = 0; i < out->pause_count; i++) {
        const Tally__V1__SitePause *pause = from->pauses[i];
        out->pauses[i] = (struct tally_site_pause){
            .node_id = pause->node_id,
            .known = pause->known,
            .longest_wait_us = pause->longest_wait_us,
            .longest_gap_us = pause->longest_gap_us,
            .answered = pause->answered,
            .refused = pause->refused,
            .unknown = pause->unknown,
        };
    }
}

static enum tally_status decode_report(const struct call_request *request, const uint8_t *answer,
                                       size_t size, struct tally_error *error)
{
    Tally__V1__OperateSiteResponse *response =
        tally__v1__operate_site_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not the report of a site operation");
    read_report(response, request->out);
    tally__v1__operate_site_response__free_unpacked(response, NULL);
    return TALLY_OK;
}

enum tally_status tally_operate_site(struct tally_client *client, struct tally_call *call,
                                     const struct tally_site_request *request,
                                     struct tally_site_report *out)
{
    struct call_request packed = {.call = call,
                                  .path = "/tally.v1.Admin/OperateSite",
                                  .unanswered = UNANSWERED,
                                  .decode = decode_report,
                                  .out = out};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    /* Protobuf-C has no const; nothing is written through these. */
    Tally__V1__OperateSiteRequest message = TALLY__V1__OPERATE_SITE_REQUEST__INIT;
    message.operation = (Tally__V1__SiteOperation)request->operation;
    if (request->site != NULL)
        message.site = (char *)(uintptr_t)request->site;
    if (request->settings != NULL)
        message.settings = (char *)(uintptr_t)request->settings;
    Tally__V1__OperatorsNumber seen = TALLY__V1__OPERATORS_NUMBER__INIT;
    seen.number = request->number;
    if (request->has_number)
        message.seen = &seen;
    message.power_off = request->power_off;
    if (request->reason != NULL)
        message.reason = (char *)(uintptr_t)request->reason;
    message.dry_run = request->dry_run;
    message.force = request->force;
    status = message_pack(&message.base, &packed);
    return status == TALLY_OK ? call_run(client, &packed) : status;
}
