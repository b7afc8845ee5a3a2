/*
 * Authorization per call. A certificate that the CA signed but nobody listed gets PERMISSION_DENIED
 * on its calls rather than a closed connection: clients retry a closed connection for ever and show
 * their users "unavailable", while a refused call shows the sentence below.
 *
 * The table is asked on every call, so a row that is taken away counts from the next call on, also
 * on connections that are already open.
 */
#include "server/authorize.h"

#include "core/invariant.h"
#include "core/policy.h"

#include <stdio.h>
#include <string.h>

struct method_row {
    const char *path;
    uint16_t operation; /* 0: reads */
    enum permission_read read;
};

static const struct method_row methods[METHOD_COUNT] = {
    [METHOD_CREATE_LEDGERS] = {"/tally.v1.Ledger/CreateLedgers", OPERATION_CREATE_LEDGERS, 0},
    [METHOD_CREATE_ACCOUNTS] = {"/tally.v1.Ledger/CreateAccounts", OPERATION_CREATE_ACCOUNTS, 0},
    [METHOD_CREATE_TRANSFERS] = {"/tally.v1.Ledger/CreateTransfers", OPERATION_CREATE_TRANSFERS, 0},
    [METHOD_FENCE_REQUEST] = {"/tally.v1.Ledger/FenceRequest", OPERATION_FENCE_REQUEST, 0},
    [METHOD_SET_PRINCIPALS] = {"/tally.v1.Admin/SetPrincipals", OPERATION_SET_PRINCIPALS, 0},
    [METHOD_GET_REQUEST] = {"/tally.v1.Ledger/GetRequest", 0, READ_OWN_REQUEST},
    [METHOD_LOOKUP_ACCOUNTS] = {"/tally.v1.Ledger/LookupAccounts", 0, READ_MONEY},
    [METHOD_LOOKUP_TRANSFERS] = {"/tally.v1.Ledger/LookupTransfers", 0, READ_MONEY},
    [METHOD_LIST_LEDGERS] = {"/tally.v1.Ledger/ListLedgers", 0, READ_MONEY},
    [METHOD_LIST_ACCOUNTS] = {"/tally.v1.Ledger/ListAccounts", 0, READ_MONEY},
    [METHOD_LIST_TRANSFERS] = {"/tally.v1.Ledger/ListTransfers", 0, READ_MONEY},
    [METHOD_TRIAL_BALANCE] = {"/tally.v1.Ledger/TrialBalance", 0, READ_MONEY},
    [METHOD_LIST_PRINCIPALS] = {"/tally.v1.Admin/ListPrincipals", 0, READ_PRINCIPALS},
    [METHOD_GET_STATUS] = {"/tally.v1.Admin/GetStatus", 0, READ_STATUS},
    [METHOD_LIST_MEMBERS] = {"/tally.v1.Admin/ListMembers", 0, READ_STATUS},
    [METHOD_ADD_MEMBER] = {"/tally.v1.Admin/AddMember", 0, CHANGE_MEMBERS},
    [METHOD_REPLACE_MEMBER] = {"/tally.v1.Admin/ReplaceMember", 0, CHANGE_MEMBERS},
    [METHOD_REMOVE_MEMBER] = {"/tally.v1.Admin/RemoveMember", 0, CHANGE_MEMBERS},
    [METHOD_TRANSFER_LEADERSHIP] = {"/tally.v1.Admin/TransferLeadership", 0, CHANGE_MEMBERS},
    [METHOD_OPERATE_SITE] = {"/tally.v1.Admin/OperateSite", 0, CHANGE_MEMBERS},
    [METHOD_LIST_IN_DOUBT] = {"/tally.v1.Admin/ListInDoubt", 0, READ_IN_DOUBT},
};

const char *method_path(enum method method)
{
    invariant(method < METHOD_COUNT);
    return methods[method].path;
}

const char *method_name(enum method method)
{
    return strrchr(method_path(method), '/') + 1;
}

uint16_t method_operation(enum method method)
{
    invariant(method < METHOD_COUNT);
    return methods[method].operation;
}

bool authorize_role(uint8_t role, enum method method)
{
    invariant(method < METHOD_COUNT);
    const struct method_row *row = &methods[method];
    if (row->operation != 0)
        return policy_may_write(role, row->operation);
    /* Who may ask about any request may ask about its own as well. */
    if (row->read == READ_OWN_REQUEST && policy_may_read(role, READ_ANY_REQUEST))
        return true;
    return policy_may_read(role, row->read);
}

/* "channel or auditor": the roles that may call the method. */
static void list_roles(enum method method, char *out, size_t capacity)
{
    size_t size = 0;
    out[0] = '\0';
    for (uint8_t role = ROLE_NONE; role < ROLE_COUNT; role++) {
        if (!authorize_role(role, method))
            continue;
        int added =
            snprintf(out + size, capacity - size, "%s%s", size ? " or " : "", role_name(role));
        invariant(added > 0 && (size_t)added < capacity - size);
        size += (size_t)added;
    }
}

enum grpc_code authorize_call(const struct machine *machine, enum method method, const char *uri,
                              struct caller *out_caller, struct denial *out_denial)
{
    uint32_t ordinal;
    const struct principal_record *row = machine_principal(machine, uri, strlen(uri), &ordinal);
    if (!row) {
        snprintf(out_denial->text, sizeof out_denial->text,
                 "%.200s is not in the table of principals; a site operator can add it with "
                 "tally.v1.Admin/SetPrincipals",
                 uri);
        return GRPC_PERMISSION_DENIED;
    }
    if (!authorize_role(row->role, method)) {
        char roles[128];
        list_roles(method, roles, sizeof roles);
        snprintf(out_denial->text, sizeof out_denial->text,
                 "%.160s has the role %s, which may not call %s; it needs %s", uri,
                 role_name(row->role), method_name(method), roles);
        return GRPC_PERMISSION_DENIED;
    }
    *out_caller = (struct caller){
        .ordinal = ordinal,
        .name_ordinal = row->name_ordinal,
        .in_flight_max = row->in_flight_max,
        .role = row->role,
    };
    return GRPC_OK;
}

uint32_t in_flight_max(const struct in_flight *in_flight, const struct caller *caller)
{
    return caller->in_flight_max != 0 ? caller->in_flight_max : in_flight->default_max;
}

bool in_flight_enter(struct in_flight *in_flight, const struct caller *caller)
{
    invariant_values(caller->name_ordinal < PRINCIPALS_MAX, caller->name_ordinal, 0);
    uint32_t *count = &in_flight->per_principal[caller->name_ordinal];
    if (*count >= in_flight_max(in_flight, caller))
        return false;
    ++*count;
    return true;
}

void in_flight_leave(struct in_flight *in_flight, const struct caller *caller)
{
    invariant_values(caller->name_ordinal < PRINCIPALS_MAX, caller->name_ordinal, 0);
    uint32_t *count = &in_flight->per_principal[caller->name_ordinal];
    invariant_values(*count > 0, caller->name_ordinal, 0);
    --*count;
}
