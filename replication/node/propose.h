/*
 * The proposer: waiting requests become log entries.
 *
 *   waiting (bounded list) --gather--> entry slot (pool) --consensus_propose--> in flight (FIFO)
 *      ^    ^               --committed--> fsm.c takes the slot, applies, answers --> slot is free
 *      |    └── leadership lost: requests of slots go back, their fate is uncertain
 *      └─────> or they are sent to the leader (forward.h), and come back when that fails
 *
 * With a free slot an entry leaves at once; requests gather only while all slots are in flight. A
 * request is never split. Stamps: an entry's first event is later than every event already in the
 * log, committed or not, and not before the wall clock.
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_PROPOSE_H
#define TALLY_REPLICATION_PROPOSE_H

#include "core/machine.h"
#include "replication/consensus/consensus.h"
#include "replication/environment.h"
#include "replication/node/node.h"
#include "replication/notify.h"

/* Most entries in flight that may be asked for. */
#define PROPOSE_ENTRIES_MAX 64
/* Oldest entry in flight, or bytes in flight, above which nothing more is proposed. */
#define PROPOSE_HOLD_MS    2000
#define PROPOSE_HOLD_BYTES (64ull << 20)
/* A request that found no place in an entry for this long is refused as busy. */
#define PROPOSE_WAITING_MS_MAX 5000

/* Completes a header whose operation, event count, issue time, nonce and events are set: size,
 * encoding, principal, and the digest: SHA-256 over a name for the scheme, command version,
 * operation, event count, issue time and the events. Principal and nonce are the identity, so they
 * stay outside. `request` is followed by its events in memory. */
void request_seal(struct request_header *request, uint32_t principal);

/* One entry between gathering and commit. */
struct entry_slot {
    struct consensus_proposal proposal;
    uint8_t *bytes;                /* ENTRY_SIZE_MAX, 64-aligned, from the pool */
    struct node_request *requests; /* unanswered, in order of position */
    uint32_t request_count;
    uint32_t event_count; /* stamps it takes: a request without events counts one */
    uint64_t proposed_ns;
    struct entry_slot *next;
};

struct proposer_options {
    const struct environment *environment;
    const struct notify *notify;
    uint32_t in_flight_entries_max;
    uint32_t waiting_requests_max;
    uint64_t waiting_bytes_max;
};

struct proposer {
    struct proposer_options options;
    struct machine *machine;
    struct consensus *consensus;
    struct node_request *waiting_first, *waiting_last;
    uint32_t waiting_count;
    uint64_t waiting_bytes;
    struct entry_slot *slots; /* array of in_flight_entries_max */
    uint8_t *pool;
    struct entry_slot *free_first;
    struct entry_slot *in_flight_first, *in_flight_last;
    uint32_t in_flight_entries;
    uint32_t in_flight_events;
    uint32_t in_flight_requests;
    uint64_t in_flight_bytes;
    uint64_t last_stamp;
    uint64_t expiry_ns;   /* nothing expires before; UINT64_MAX = nothing waits */
    bool room_wanted;     /* an entry waits for the memtable: close the epoch */
    bool journal_refused; /* the journal was busy at the last try: try again soon */
    uint64_t entries_total, requests_total;
    uint64_t proposed_bytes_total;
    /* What may be proposed at this moment: set by the owner before proposer_process(), which lets
     * an entry through as long as it is not 0. UINT64_MAX: whatever there is. */
    uint64_t budget_bytes;
};

/* STATUS_NO_MEMORY leaves nothing behind. */
enum status proposer_init(struct proposer *proposer, const struct proposer_options *options);
/* Nothing of it may be borrowed any more: journal stopped, all requests answered. */
void proposer_deinit(struct proposer *proposer);

/* From now on entries are for these. Slots of before are free: the journal that may have read them
 * is closed, and what was in them waits again, uncertain. */
void proposer_attach(struct proposer *proposer, struct machine *machine,
                     struct consensus *consensus);

/* ---- terms ---- */

/* We may propose in a new term; `stamp` is the highest in the log. Slots of earlier terms are free
 * again: what became of their entries is known, or they are gone. */
void proposer_begin_term(struct proposer *proposer, uint64_t stamp);
/* A site is missing: those that asked for both are called back, STATUS_DEGRADED, or
 * STATUS_UNKNOWN_OUTCOME where an earlier attempt may be in the log. */
void proposer_refuse_degraded(struct proposer *proposer);
/* We do not lead any more, or in another term: requests in flight wait again, uncertain; those of
 * other nodes are given back to them (UNKNOWN_OUTCOME in flight, NOT_READY waiting). */
void proposer_end_term(struct proposer *proposer);

/* ---- requests ---- */

/* Queues. STATUS_BUSY: a bound is reached. STATUS_INVALID: command_check would refuse it. */
enum status proposer_add(struct proposer *proposer, struct node_request *request);
/* The first waiting request that may be sent to another node, taken out; NULL when there is none.
 */
struct node_request *proposer_pop(struct proposer *proposer);
/* A popped request waits again, before all others. */
void proposer_return(struct proposer *proposer, struct node_request *request);

/* Makes entries out of what waits, as long as slots and memtable have room and `held` is false. */
void proposer_process(struct proposer *proposer, bool held);
/* Calls back what is out of time: those proposed, or uncertain, with STATUS_UNKNOWN_OUTCOME, the
 * others with `refusal`. */
void proposer_expire(struct proposer *proposer, enum status refusal);
/* The process was stopped for so long: those without a deadline of their own get it back. */
void proposer_forgive(struct proposer *proposer, uint64_t pause_ns);
/* When that one is due. */
static inline uint64_t proposer_until_ns(const struct node_request *request)
{
    uint64_t waiting = request->accepted_ns + PROPOSE_WAITING_MS_MAX * 1000000ull;
    return request->uncertain || request->until_ns < waiting ? request->until_ns : waiting;
}
/* Oldest entry in flight is older than PROPOSE_HOLD_MS, or too many bytes are. */
bool proposer_is_holding(const struct proposer *proposer);

/* ---- after consensus ---- */

/* For every entry that is pulled, of whatever type: takes the slot out of flight whose proposal it
 * is, or returns NULL. A slot at the same index with another term did not make it into the log: its
 * requests wait again. */
struct entry_slot *proposer_take(struct proposer *proposer, uint64_t index, uint64_t term);
void proposer_release(struct proposer *proposer, struct entry_slot *slot);
/* Calls back with the ledger's answer to the newest attempt. STATUS_UNKNOWN_OUTCOME instead if an
 * earlier attempt may have taken effect and this answer does not tell: see propose.c. */
void proposer_answer(struct node_request *request, const struct answer *answer);
/* Calls back the requests of a slot, still in flight or taken, with `status`. */
void proposer_answer_slot(struct entry_slot *slot, enum status status);

/* Calls back all that wait: the uncertain with STATUS_UNKNOWN_OUTCOME, the others with `status`. */
void proposer_refuse_waiting(struct proposer *proposer, enum status status);
/* The same, but the uncertain go on waiting. */
void proposer_refuse_certain(struct proposer *proposer, enum status status);
/* Everybody is called back: in flight or uncertain with STATUS_UNKNOWN_OUTCOME, others with
 * STATUS_STOPPING. Slots stay allocated: the journal may still read them. */
void proposer_abandon(struct proposer *proposer);

#endif
