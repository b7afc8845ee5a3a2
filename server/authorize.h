/*
 * Who may call what, and how much of it at once. The caller is the one URI SAN of its certificate;
 * the replicated table of principals maps it to a role; core/policy.h says what a role may do.
 */
#ifndef TALLY_SERVER_AUTHORIZE_H
#define TALLY_SERVER_AUTHORIZE_H

#include "core/machine.h"
#include "server/grpc.h"

#include <stdbool.h>
#include <stdint.h>

enum method {
    METHOD_CREATE_LEDGERS,
    METHOD_CREATE_ACCOUNTS,
    METHOD_CREATE_TRANSFERS,
    METHOD_FENCE_REQUEST,
    METHOD_SET_PRINCIPALS,
    METHOD_GET_REQUEST,
    METHOD_LOOKUP_ACCOUNTS,
    METHOD_LOOKUP_TRANSFERS,
    METHOD_LIST_LEDGERS,
    METHOD_LIST_ACCOUNTS,
    METHOD_LIST_TRANSFERS,
    METHOD_TRIAL_BALANCE,
    METHOD_LIST_PRINCIPALS,
    METHOD_GET_STATUS,
    METHOD_LIST_MEMBERS,
    METHOD_ADD_MEMBER,
    METHOD_REPLACE_MEMBER,
    METHOD_REMOVE_MEMBER,
    METHOD_TRANSFER_LEADERSHIP,
    METHOD_OPERATE_SITE,
    METHOD_LIST_IN_DOUBT,
    METHOD_COUNT
};

const char *method_path(enum method method); /* "/tally.v1.Ledger/CreateTransfers" */
const char *method_name(enum method method); /* "CreateTransfers" */
/* enum operation of a method that proposes; 0 for one that reads. */
uint16_t method_operation(enum method method);

struct caller {
    uint32_t ordinal;      /* row of the certificate's URI */
    uint32_t name_ordinal; /* the principal */
    uint32_t in_flight_max;
    uint8_t role;
};

struct denial {
    char text[384]; /* names the URI, the role and the next step */
};

/* GRPC_OK with *out_caller, or GRPC_PERMISSION_DENIED with *out_denial. */
enum grpc_code authorize_call(const struct machine *machine, enum method method, const char *uri,
                              struct caller *out_caller, struct denial *out_denial);

/* Whether a role may call a method at all; the table behind authorize_call. */
bool authorize_role(uint8_t role, enum method method);

/* Calls in flight, per principal. */
struct in_flight {
    uint32_t default_max; /* where the row says 0 */
    uint32_t per_principal[PRINCIPALS_MAX];
};

/* False when the principal has its maximum in flight; otherwise counted until in_flight_leave. */
bool in_flight_enter(struct in_flight *in_flight, const struct caller *caller);
void in_flight_leave(struct in_flight *in_flight, const struct caller *caller);
uint32_t in_flight_max(const struct in_flight *in_flight, const struct caller *caller);

#endif
