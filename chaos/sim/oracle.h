/*
 * What the cluster has promised, as its clients saw it, and the judgement over it.
 *
 * A fact is one request with its identity: its bytes, the answers that were given, whether it was
 * ever fenced. Answers are compared with each other the moment they come; at the end every fact is
 * looked up at every node, and a small model of the ledger (written from docs/formats/command.md)
 * executes them in the order of the log: results, balances, totals and every balance that a client
 * read on the way must come out the same.
 */
#ifndef TALLY_CHAOS_SIM_ORACLE_H
#define TALLY_CHAOS_SIM_ORACLE_H

#include "chaos/sim/draw.h"
#include "chaos/sim/world.h"
#include "core/command.h"
#include "core/machine.h"

#define ORACLE_LEDGER        7
#define ORACLE_ACCOUNTS      16
#define ORACLE_EVENTS_MAX    24
#define ORACLE_PRINCIPALS    4
#define ORACLE_HISTORY       4096
#define ORACLE_PRINCIPAL_APP 2
#define ORACLE_PRINCIPAL_WEB 3 /* another channel, which may use the same nonces */

struct fact {
    uint64_t number;
    struct request_header *bytes; /* header and events */
    bool sent, fenced_sent;       /* at least one attempt left the client */
    uint64_t first_sent_ns;
    uint64_t floor_index; /* acknowledged to anybody before it was first sent */
    bool only_once;       /* nobody repeats or fences it: it belongs to one call of the library */
    bool shares_nonce;    /* with one of another principal */
    bool denied;          /* its caller was told that nothing of it was, or will be, executed */
    bool answered;
    uint8_t outcome;
    uint64_t index, stamp;
    uint8_t results[ORACLE_EVENTS_MAX];
};

/* A balance that a client read at an applied index. */
struct sample {
    uint64_t index;
    uint32_t account;
    u128 debits, credits;
    uint64_t transfer_count; /* of the whole ledger */
};

struct oracle {
    struct world *world;
    struct draw draw;
    struct fact **facts;
    uint64_t fact_count, fact_capacity;
    struct sample *samples;
    uint64_t sample_count, sample_capacity;
    uint64_t acknowledged_index; /* highest index of an acknowledged write or finished read */
    struct {
        uint64_t at_ns, index;
    } history[ORACLE_HISTORY]; /* of acknowledged_index, a ring */
    uint64_t history_count;
    uint64_t next_transfer;
    uint64_t answer_total, repeat_total, fence_total, read_total, lookup_total, unknown_total;
    uint64_t transfer_total, too_old_total;
};

void oracle_init(struct oracle *oracle, struct world *world);
void oracle_deinit(struct oracle *oracle);

/* The rows that a cluster begins with. */
const struct principal_event *oracle_principals(void);

/* New facts, not sent yet; `wall_ns` is the client's clock. */
struct fact *oracle_ledger(struct oracle *oracle, uint64_t wall_ns);
struct fact *oracle_accounts(struct oracle *oracle, uint64_t wall_ns);
struct fact *oracle_transfers(struct oracle *oracle, uint64_t wall_ns);
/* The request that fences `fact`; the caller frees it. */
struct request_header *oracle_fence(const struct fact *fact);
/* Any fact that was made; NULL when there is none. */
struct fact *oracle_any(struct oracle *oracle);

void oracle_sent(struct oracle *oracle, struct fact *fact, bool fence);
/* An answer with STATUS_OK came for it, or for its fence. */
void oracle_answered(struct oracle *oracle, struct fact *fact, const struct answer *answer,
                     uint32_t host);
/* A read that was allowed at `host`: it must have applied `floor_index`. */
void oracle_read(struct oracle *oracle, const struct machine *machine, uint64_t floor_index,
                 bool linearizable, uint32_t host);
/* What a machine, applied beyond all that was acknowledged when the question was asked, knows of a
 * fact. */
void oracle_lookup(struct oracle *oracle, const struct fact *fact, const struct machine *machine,
                   bool answered_before, uint32_t host);
/* What the log holds and nobody was told counts as told from now on. At rest. */
void oracle_remember(struct oracle *oracle, const struct machine *machine);
/* Highest index acknowledged before `at_ns`. */
uint64_t oracle_index_before(const struct oracle *oracle, uint64_t at_ns);

/* The end, everything applied everywhere: compares `machine` with all facts and the model. */
void oracle_judge(struct oracle *oracle, const struct machine *machine, uint32_t host);

#endif
