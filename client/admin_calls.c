/*
 * Questions for site operators: the table of principals and the node's status.
 */
#include "client/message.h"

#include "core/policy.h"
#include "tally/v1/admin.pb-c.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)TALLY_ROLE_NONE == (int)ROLE_NONE, "number of the role");
_Static_assert((int)TALLY_ROLE_CHANNEL == (int)ROLE_CHANNEL, "number of the role");
_Static_assert((int)TALLY_ROLE_BUSINESS_OPERATOR == (int)ROLE_BUSINESS_OPERATOR,
               "number of the role");
_Static_assert((int)TALLY_ROLE_SITE_OPERATOR == (int)ROLE_SITE_OPERATOR, "number of the role");
_Static_assert((int)TALLY_ROLE_AUDITOR == (int)ROLE_AUDITOR, "number of the role");
_Static_assert((int)TALLY_ROLE_NODE == (int)ROLE_NODE, "number of the role");

#define PRINCIPALS_READ_MAX 4096

const char *tally_role_name(uint8_t role)
{
    return role_name(role);
}

bool tally_role_parse(const char *name, uint8_t *out_role)
{
    uint8_t role = role_by_name(name);
    if (role == ROLE_NONE && strcmp(name, "none") != 0)
        return false;
    *out_role = role;
    return true;
}

static enum tally_status decode_principals(const struct call_request *request,
                                           const uint8_t *answer, size_t size,
                                           struct tally_error *error)
{
    Tally__V1__ListPrincipalsResponse *response =
        tally__v1__list_principals_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a list of principals");
    enum tally_status status = TALLY_OK;
    size_t count = response->n_principals;
    struct tally_principal *rows = NULL;
    if (count > PRINCIPALS_READ_MAX)
        status = message_malformed(error, "more than 4096 principals");
    else if ((rows = calloc(count > 0 ? count : 1, sizeof *rows)) == NULL)
        status = error_set(error, TALLY_NO_MEMORY, "no memory for %zu principals", count);
    for (size_t i = 0; status == TALLY_OK && i < count; i++) {
        const Tally__V1__Principal *from = response->principals[i];
        rows[i].role = (uint8_t)from->role;
        rows[i].in_flight_max = from->in_flight_max;
        if (!message_read_text(from->uri, rows[i].uri, sizeof rows[i].uri) ||
            !message_read_text(from->name, rows[i].name, sizeof rows[i].name))
            status = message_malformed(error, "a principal with a name or URI that is too long");
    }
    tally__v1__list_principals_response__free_unpacked(response, NULL);
    if (status != TALLY_OK) {
        free(rows);
        return status;
    }
    *(struct tally_principal **)request->out = rows;
    *request->out_count = count;
    return TALLY_OK;
}

enum tally_status tally_list_principals(struct tally_client *client, struct tally_call *call,
                                        struct tally_principal **out_principals, size_t *out_count)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Admin/ListPrincipals",
                                   .decode = decode_principals,
                                   .out = out_principals,
                                   .out_count = out_count};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__ListPrincipalsRequest message = TALLY__V1__LIST_PRINCIPALS_REQUEST__INIT;
    message.min_index = call->min_index;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

static enum tally_status decode_status(const struct call_request *request, const uint8_t *answer,
                                       size_t size, struct tally_error *error)
{
    Tally__V1__GetStatusResponse *response =
        tally__v1__get_status_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a status");
    char *json = strdup(response->json);
    tally__v1__get_status_response__free_unpacked(response, NULL);
    if (json == NULL)
        return error_set(error, TALLY_NO_MEMORY, "no memory for the status");
    *(char **)request->out = json;
    return TALLY_OK;
}

enum tally_status tally_get_status(struct tally_client *client, struct tally_call *call,
                                   char **out_json)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Admin/GetStatus",
                                   .decode = decode_status,
                                   .out = out_json};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__GetStatusRequest message = TALLY__V1__GET_STATUS_REQUEST__INIT;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}
