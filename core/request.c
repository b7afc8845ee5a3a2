/*
 * Request uniqueness [safety].
 *
 * A client that lost an answer repeats the request and must get the same answer and no second
 * effect. The identity is (principal, nonce, issue time); the principal is the channel, not the
 * certificate, so that another instance may repeat. Per (principal, nonce) at most one request is
 * *live*: remembered, with ledger time <= issue time + window. An expired one counts as absent even
 * while its record is still in a memtable or in storage, because when a record physically leaves is
 * local to a node. Of several records with one (principal, nonce) only the latest can be live: it
 * was remembered only because the earlier had expired, and ledger time never goes back.
 *
 * The order of judgement, after "can it be read" and "may the role do this":
 *   1  a live record with this (principal, nonce):
 *        another issue time                        NONCE_REUSED
 *        fenced                                    REQUEST_FENCED
 *        this is a fence, or the same operation
 *        and digest                                the stored answer
 *        otherwise                                 NONCE_REUSED
 *   2  issue time + window < ledger time           BEYOND_WINDOW
 *   3  issue time > ledger time + ahead            ISSUED_TOO_FAR_AHEAD
 *   4  the window's store is full                  WINDOW_FULL
 *   5  execute or fence, and remember
 *
 * The nonce is looked up before the issue time is judged. For a repeat the two orders agree: a live
 * record's own identity is never beyond the window. For a nonce misused with an old issue time the
 * more telling answer comes first, and it is the one that GetRequest gives.
 *
 * Steps 2 to 4 remember nothing: their answer may change (3, 4) or can be derived again (2). For a
 * full store room for the largest answer is asked, since execution cannot be undone for want of
 * room.
 */
#include "core/request.h"

#include "core/answer.h"
#include "core/digest.h"
#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"
#include "core/policy.h"
#include "core/request_window.h"

static uint64_t request_hash(const struct machine *machine, uint32_t name_ordinal,
                             const uint8_t nonce[16])
{
    struct id128 id;
    memcpy(id.bytes, nonce, sizeof id.bytes);
    return hash_id(machine->hash_seed ^ ((uint64_t)name_ordinal << 32), &id);
}

/* The latest record with this (principal, nonce), wherever it is, expired or not. */
static bool request_latest(const struct machine *machine, uint32_t name_ordinal,
                           const uint8_t nonce[16], struct request_memory *out)
{
    if (planted(PLANTED_REQUEST_WINDOW_OFF))
        return false;
    uint64_t hash = request_hash(machine, name_ordinal, nonce);
    const struct memtable *tables[] = {machine_current(machine), machine_frozen(machine)};
    for (size_t i = 0; i < 2; i++) {
        if (tables[i] == NULL)
            continue;
        uint32_t position = memtable_request_find(tables[i], name_ordinal, nonce, hash);
        if (position == MEMTABLE_NONE)
            continue;
        out->record = tables[i]->requests[position];
        if (out->record.answer_size > 0)
            memcpy(out->answer, tables[i]->answers + tables[i]->answer_offsets[position],
                   out->record.answer_size);
        return true;
    }
    if (!machine->past.request_by_nonce(machine->past.context, name_ordinal, nonce, &out->record,
                                        out->answer))
        return false;
    /* Asserted in pairs: what the past returns is what a freeze once handed out. */
    invariant_values(out->record.principal_name == name_ordinal, out->record.principal_name,
                     name_ordinal);
    invariant(memcmp(out->record.nonce, nonce, sizeof out->record.nonce) == 0);
    invariant_values(out->record.outcome == OUTCOME_EXECUTED ||
                         out->record.outcome == OUTCOME_REQUEST_FENCED,
                     out->record.outcome, out->record.index);
    invariant_values(out->record.answer_size <= out->record.event_count, out->record.answer_size,
                     out->record.event_count);
    return true;
}

uint8_t request_find(const struct machine *machine, uint32_t name_ordinal, const uint8_t nonce[16],
                     uint64_t issued_at_ns, uint64_t now, struct request_memory *out)
{
    if (planted(PLANTED_WINDOW_WITHOUT_PRINCIPAL))
        name_ordinal = 0;
    if (request_latest(machine, name_ordinal, nonce, out) &&
        !request_expired(planted(PLANTED_WINDOW_BY_COMMIT_TIME) ? out->record.stamp
                                                                : out->record.issued_at_ns,
                         now)) {
        if (out->record.issued_at_ns != issued_at_ns)
            return OUTCOME_NONCE_REUSED;
        return out->record.outcome;
    }
    return request_expired(issued_at_ns, now) ? OUTCOME_BEYOND_WINDOW : OUTCOME_NOT_YET_SEEN;
}

static bool request_window_full(const struct machine *machine, uint32_t event_count)
{
    const struct request_window_record *window = &machine->window;
    if (planted(PLANTED_WINDOW_ONE_TOO_MANY) ? window->request_count > machine->request_count_max
                                             : window->request_count >= machine->request_count_max)
        return true;
    invariant_values(window->answer_bytes <= machine->request_answer_bytes_max,
                     window->answer_bytes, machine->request_answer_bytes_max);
    return answer_size_max(event_count) > machine->request_answer_bytes_max - window->answer_bytes;
}

uint8_t request_judge(const struct machine *machine, const struct request_header *request,
                      uint32_t name_ordinal, uint64_t now, struct request_memory *out)
{
    uint8_t outcome =
        request_find(machine, name_ordinal, request->nonce, request->issued_at_ns, now, out);
    if (outcome == OUTCOME_EXECUTED && request->operation != OPERATION_FENCE_REQUEST) {
        const struct request_record *record = &out->record;
        if (record->operation != request->operation ||
            memcmp(record->digest, request->digest, sizeof record->digest) != 0)
            return OUTCOME_NONCE_REUSED;
    }
    if (outcome != OUTCOME_NOT_YET_SEEN)
        return outcome;
    if (request_too_far_ahead(request->issued_at_ns, now))
        return OUTCOME_ISSUED_TOO_FAR_AHEAD;
    if (request_window_full(machine, request->event_count))
        return OUTCOME_WINDOW_FULL;
    return OUTCOME_NOT_YET_SEEN;
}

void request_answer(const struct request_memory *memory, uint8_t *results, struct answer *out)
{
    const struct request_record *record = &memory->record;
    bool readable =
        answer_unpack(memory->answer, record->answer_size, record->event_count, results);
    invariant_values(readable, record->index, record->answer_size);
    *out = (struct answer){
        .index = record->index,
        .stamp = record->stamp,
        .outcome = record->outcome,
        .repeated = true,
        .operation = record->operation,
        .encoding = record->encoding,
        .event_count = record->event_count,
        .results = results,
    };
}

void request_remember(struct machine *machine, const struct request_record *record,
                      const uint8_t *answer)
{
    if (planted(PLANTED_REQUEST_WINDOW_OFF))
        return;
    uint64_t hash = request_hash(machine, record->principal_name, record->nonce);
    memtable_request_add(machine_current_mutable(machine), record, answer, hash);
    request_window_add(&machine->window, record->issued_at_ns, record->answer_size);
    machine->digest_sum += digest_request(record, answer);
    machine->request_count++;
}

void machine_request(const struct machine *machine, uint32_t name_ordinal, const uint8_t nonce[16],
                     uint64_t issued_at_ns, struct answer *out, uint8_t *results)
{
    struct request_memory memory;
    uint8_t outcome =
        request_find(machine, name_ordinal, nonce, issued_at_ns, machine->stamp, &memory);
    if (outcome == OUTCOME_EXECUTED || outcome == OUTCOME_REQUEST_FENCED) {
        request_answer(&memory, results, out);
        return;
    }
    *out = (struct answer){
        .index = machine->applied_index,
        .stamp = machine->stamp,
        .outcome = outcome,
    };
}

bool machine_repeat(const struct machine *machine, const struct request_header *request,
                    struct answer *out, uint8_t *results)
{
    struct request_memory memory;
    if (request->principal >= machine_principal_count(machine))
        return false;
    const struct principal_record *caller = machine_principal_at(machine, request->principal);
    if (!policy_may_write(caller->role, request->operation))
        return false;
    uint8_t outcome =
        request_judge(machine, request, caller->name_ordinal, machine->stamp, &memory);
    if (outcome != OUTCOME_EXECUTED && outcome != OUTCOME_REQUEST_FENCED)
        return false;
    request_answer(&memory, results, out);
    return true;
}
