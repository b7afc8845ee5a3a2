/* The table of policy.h as bits: one row per role, one bit per write operation or kind of read.
 * Unknown roles and operations have no row and no bit, so the answer to them is no. */
#include "core/policy.h"

#include <string.h>

#define WRITE(operation) (1u << (operation))
#define READ(what)       (1u << (what))

struct role_row {
    const char *name;
    uint32_t writes;
    uint32_t reads;
};

static const struct role_row role_rows[ROLE_COUNT] = {
    [ROLE_NONE] = {.name = "none"},
    [ROLE_CHANNEL] =
        {
            .name = "channel",
            .writes = WRITE(OPERATION_CREATE_TRANSFERS) | WRITE(OPERATION_FENCE_REQUEST),
            .reads = READ(READ_MONEY) | READ(READ_OWN_REQUEST) | READ(READ_STATUS),
        },
    [ROLE_BUSINESS_OPERATOR] =
        {
            .name = "business_operator",
            .writes = WRITE(OPERATION_CREATE_LEDGERS) | WRITE(OPERATION_CREATE_ACCOUNTS) |
                      WRITE(OPERATION_FENCE_REQUEST),
            .reads = READ(READ_MONEY) | READ(READ_OWN_REQUEST) | READ(READ_STATUS),
        },
    [ROLE_SITE_OPERATOR] =
        {
            .name = "site_operator",
            .writes = WRITE(OPERATION_SET_PRINCIPALS) | WRITE(OPERATION_FENCE_REQUEST),
            .reads = READ(READ_OWN_REQUEST) | READ(READ_STATUS) | READ(READ_PRINCIPALS) |
                     READ(READ_IN_DOUBT) | READ(CHANGE_MEMBERS),
        },
    [ROLE_AUDITOR] =
        {
            .name = "auditor",
            .reads = READ(READ_MONEY) | READ(READ_OWN_REQUEST) | READ(READ_ANY_REQUEST) |
                     READ(READ_STATUS) | READ(READ_PRINCIPALS) | READ(READ_IN_DOUBT),
        },
    [ROLE_NODE] =
        {
            .name = "node",
            .reads = READ(READ_STATUS),
        },
};

bool policy_may_write(uint8_t role, uint16_t operation)
{
    return role < ROLE_COUNT && operation < 32 && (role_rows[role].writes & WRITE(operation)) != 0;
}

bool policy_may_read(uint8_t role, enum permission_read what)
{
    return role < ROLE_COUNT && (unsigned)what < 32 && (role_rows[role].reads & READ(what)) != 0;
}

const char *role_name(uint8_t role)
{
    return role_rows[role < ROLE_COUNT ? role : ROLE_NONE].name;
}

uint8_t role_by_name(const char *name)
{
    for (uint8_t role = ROLE_NONE + 1; role < ROLE_COUNT; role++) {
        if (strcmp(role_rows[role].name, name) == 0)
            return role;
    }
    return ROLE_NONE;
}
