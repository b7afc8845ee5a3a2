/*
 * The ledger once more, slow and obvious: linear arrays, every question answered by walking all of
 * them, no memtables, no epochs, no hash. Written from docs/formats/command.md, not from core's
 * code; it shares with core the structs of the formats, the packing of answers and the digest of
 * single records. Sizes are fixed and small; running over them aborts.
 */
#ifndef TALLY_TESTS_CORE_ORACLE_H
#define TALLY_TESTS_CORE_ORACLE_H

#include "core/machine.h"

#define ORACLE_EVENTS_MAX   40
#define ORACLE_REQUESTS_MAX 4 /* per entry */

/* A request as it is before it becomes bytes. */
struct oracle_request {
    uint16_t operation;
    uint32_t principal;
    uint64_t nonce;
    uint64_t issued_at_ns;
    uint32_t event_count;
    bool malformed; /* this one and all behind it in the entry cannot be read */
    union {
        struct ledger_event ledger[ORACLE_EVENTS_MAX];
        struct account_event account[ORACLE_EVENTS_MAX];
        struct transfer_event transfer[ORACLE_EVENTS_MAX];
        struct principal_event principal[ORACLE_EVENTS_MAX];
    } events;
};

struct oracle_answer {
    uint8_t outcome;
    bool repeated;
    uint64_t index;
    uint64_t stamp;
    uint32_t event_count;
    uint8_t results[ORACLE_EVENTS_MAX];
};

struct oracle_memory {
    struct request_record record;
    uint8_t results[ORACLE_EVENTS_MAX];
};

struct oracle {
    uint32_t account_count_max, ledger_count_max, principal_count_max;
    uint64_t request_count_max, request_answer_bytes_max;

    uint64_t index;
    uint64_t stamp;
    uint32_t ledger_count, account_count, principal_count;
    uint64_t transfer_count, request_count;
    struct ledger_record ledgers[16];
    struct principal_record principals[32];
    struct account_record accounts[128];
    struct balance_record balances[128];
    struct transfer_record transfers[16384];
    struct oracle_memory requests[16384];
};

/* What the entry with these requests must answer; `digests` are those of the built bytes. */
void oracle_apply(struct oracle *oracle, uint64_t stamp, const struct oracle_request *requests,
                  uint32_t request_count, uint8_t (*digests)[32],
                  struct oracle_answer *out_answers);

/* What GetRequest must say. */
uint8_t oracle_find(const struct oracle *oracle, uint32_t name_ordinal, uint64_t nonce,
                    uint64_t issued_at_ns, uint64_t now, const struct oracle_memory **out);

/* The sum over everything, made from nothing. */
u128 oracle_digest(const struct oracle *oracle);

#endif
