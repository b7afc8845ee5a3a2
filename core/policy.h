/*
 * Who may do what: one table, used by the server before it proposes and by apply, so that the two
 * cannot disagree. Pure.
 *
 *                        channel  business_operator  site_operator  auditor  node
 *   CreateLedgers           -            x                 -           -       -
 *   CreateAccounts          -            x                 -           -       -
 *   CreateTransfers         x            -                 -           -       -
 *   FenceRequest            x            x                 x           -       -    (own requests)
 *   SetPrincipals           -            -                 x           -       -
 *   reads of money          x            x                 -           x       -
 *   GetRequest              own          own               own         any     -
 *   status                  x            x                 x           x       x
 *   members, leadership     -            -                 x           -       -
 *   requests in doubt       -            -                 x           x       -
 */
#ifndef TALLY_CORE_POLICY_H
#define TALLY_CORE_POLICY_H

#include "core/command.h"

#include <stdbool.h>

enum permission_read {
    READ_MONEY, /* accounts, transfers, ledgers, trial balance */
    READ_OWN_REQUEST,
    READ_ANY_REQUEST,
    READ_STATUS,
    READ_PRINCIPALS, /* site_operator and auditor */
    READ_IN_DOUBT,   /* identities and outcomes of any principal's; site_operator and auditor */
    CHANGE_MEMBERS,  /* not in the ledger's log format, so no operation: site_operator */
};

bool policy_may_write(uint8_t role, uint16_t operation);
bool policy_may_read(uint8_t role, enum permission_read what);

/* "channel", "business_operator", ...; "none" for ROLE_NONE and other numbers. */
const char *role_name(uint8_t role);
/* ROLE_NONE when the word is no role. */
uint8_t role_by_name(const char *name);

#endif
