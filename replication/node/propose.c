/*
 * Gathering requests into entries.
 *
 * Why slots and not a queue of bytes: an entry's buffer is read by the journal's thread until it is
 * committed, so the buffers come from a pool made at start, one per entry in flight. No heap call
 * is made between a request's arrival and its answer.
 *
 * Back-pressure has one rule: an entry is proposed only if the current memtable has room for it and
 * for everything in flight. Committed entries can therefore always be applied. Without room the
 * entry waits, `room_wanted` asks for the epoch to be closed, and arriving requests run into the
 * bounds of the waiting list.
 *
 * A request ends in one of four ways: answered by its entry, refused while nothing of it can be in
 * the log, unknown when its time is up and something of it may be, or called back at the end of the
 * node. `uncertain` is the difference between the second and the third: it is set when an attempt
 * ended without telling (leadership or a connection lost), and never cleared. An answer to an
 * uncertain request is that of whichever attempt took effect, because the ledger remembers it; all
 * but two, which are given without looking there or after it was forgotten: NOT_PERMITTED (the role
 * may have been taken away in between) and BEYOND_WINDOW. As the answer to an only attempt they say
 * that nothing happened; as the answer to a later one they do not, and the outcome is unknown.
 *
 * Stamps: consensus knows the greatest in the log, that of entries which are not ours included
 * (durability entries have one); last_stamp counts every event of entries in flight, so the next
 * entry is later even when none of them is committed yet. When the log is ahead of the wall clock
 * time goes on by one.
 *
 * The proposer's check: each request alone when it is added, so that one bad request can harm no
 * other, and the whole entry once more as encoded, by the same code that apply decodes with.
 */
#include "replication/node/propose.h"

#include "core/invariant.h"
#include "core/planted_fault.h"
#include "storage/hash.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000ull

static uint64_t now_ns(const struct proposer *proposer)
{
    return proposer->options.environment->monotonic_ns(proposer->options.environment->context);
}

/* ---- a request's digest ---- */

void request_seal(struct request_header *request, uint32_t principal)
{
    static const char scheme[] = "tally.request.1";
    size_t events_size = operation_event_size(request->operation) * (size_t)request->event_count;
    request->size = (uint32_t)(sizeof *request + events_size);
    request->encoding = ANSWER_ENCODING;
    request->principal = principal;
    request->reserved = 0;
    uint16_t version = COMMAND_VERSION;
    const struct hash_part parts[] = {
        {scheme, sizeof scheme},
        {&version, sizeof version},
        {&request->operation, sizeof request->operation},
        {&request->event_count, sizeof request->event_count},
        {&request->issued_at_ns, sizeof request->issued_at_ns},
        {request + 1, events_size},
    };
    hash_parts(parts, sizeof parts / sizeof parts[0], request->digest);
}

/* ---- life ---- */

enum status proposer_init(struct proposer *proposer, const struct proposer_options *options)
{
    uint32_t count = options->in_flight_entries_max;
    invariant(count > 0);
    invariant(options->waiting_requests_max > 0);
    *proposer =
        (struct proposer){.options = *options, .expiry_ns = UINT64_MAX, .budget_bytes = UINT64_MAX};
    proposer->slots = calloc(count, sizeof *proposer->slots);
    proposer->pool = aligned_alloc(64, (size_t)count * ENTRY_SIZE_MAX);
    if (proposer->slots == NULL || proposer->pool == NULL) {
        proposer_deinit(proposer);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        proposer->slots[i].bytes = proposer->pool + (size_t)i * ENTRY_SIZE_MAX;
        proposer->slots[i].next = proposer->free_first;
        proposer->free_first = &proposer->slots[i];
    }
    return STATUS_OK;
}

void proposer_deinit(struct proposer *proposer)
{
    invariant(proposer->waiting_count == 0);
    free(proposer->slots);
    free(proposer->pool);
    *proposer = (struct proposer){0};
}

/* ---- waiting ---- */

static void append_waiting(struct proposer *proposer, struct node_request *request)
{
    request->next = NULL;
    if (proposer->waiting_last == NULL)
        proposer->waiting_first = request;
    else
        proposer->waiting_last->next = request;
    proposer->waiting_last = request;
    proposer->waiting_count++;
    proposer->waiting_bytes += request->request->size;
}

static void note_expiry(struct proposer *proposer, const struct node_request *request)
{
    uint64_t until = proposer_until_ns(request);
    if (until < proposer->expiry_ns)
        proposer->expiry_ns = until;
}

enum status proposer_add(struct proposer *proposer, struct node_request *request)
{
    const struct request_header *header = request->request;
    enum status status = request_check(header);
    if (status != STATUS_OK)
        return status;
    if (proposer->waiting_count >= proposer->options.waiting_requests_max)
        return STATUS_BUSY;
    if (proposer->waiting_bytes + header->size > proposer->options.waiting_bytes_max)
        return STATUS_BUSY;

    request->position = 0;
    request->uncertain = false;
    request->sequence = 0;
    request->accepted_ns = now_ns(proposer);
    uint64_t latest = request->accepted_ns + NODE_REQUEST_MS_MAX * NS_PER_MS;
    bool own = request->deadline_ns != 0 && request->deadline_ns < latest;
    request->until_ns = own ? request->deadline_ns : latest;
    append_waiting(proposer, request);
    note_expiry(proposer, request);
    return STATUS_OK;
}

static struct node_request *unlink_waiting(struct proposer *proposer, struct node_request *before,
                                           struct node_request *request)
{
    if (before == NULL)
        proposer->waiting_first = request->next;
    else
        before->next = request->next;
    if (proposer->waiting_last == request)
        proposer->waiting_last = before;
    invariant(proposer->waiting_count > 0);
    invariant(proposer->waiting_bytes >= request->request->size);
    proposer->waiting_count--;
    proposer->waiting_bytes -= request->request->size;
    request->next = NULL;
    return request;
}

static struct node_request *waiting_pop(struct proposer *proposer)
{
    return unlink_waiting(proposer, NULL, proposer->waiting_first);
}

struct node_request *proposer_pop(struct proposer *proposer)
{
    struct node_request *before = NULL;
    for (struct node_request *at = proposer->waiting_first; at != NULL; before = at, at = at->next)
        if (!at->served)
            return unlink_waiting(proposer, before, at);
    return NULL;
}

void proposer_return(struct proposer *proposer, struct node_request *request)
{
    request->next = proposer->waiting_first;
    proposer->waiting_first = request;
    if (proposer->waiting_last == NULL)
        proposer->waiting_last = request;
    proposer->waiting_count++;
    proposer->waiting_bytes += request->request->size;
    note_expiry(proposer, request);
}

/* ---- ends of requests ----
 *
 * Callbacks may add requests: what is to be called back is taken out of the lists first. */

struct ended {
    struct node_request *first, **end;
};

static void end_request(struct ended *ended, struct node_request *request)
{
    request->next = NULL;
    *ended->end = request;
    ended->end = &request->next;
}

static void call_back(struct node_request *request, enum status status)
{
    while (request != NULL) {
        struct node_request *next = request->next;
        request->next = NULL;
        request->cb(request, status, NULL);
        request = next;
    }
}

typedef bool (*request_test)(const struct node_request *request, uint64_t now);

/* Takes the waiting requests that `test` names out, into one of two lists. */
static void take_waiting(struct proposer *proposer, request_test test, uint64_t now,
                         struct ended *certain, struct ended *uncertain)
{
    struct node_request *before = NULL, *next;
    for (struct node_request *at = proposer->waiting_first; at != NULL; at = next) {
        next = at->next;
        if (!test(at, now)) {
            before = at;
            continue;
        }
        (void)unlink_waiting(proposer, before, at);
        end_request(at->uncertain ? uncertain : certain, at);
    }
}

static bool is_any(const struct node_request *request, uint64_t now)
{
    (void)request, (void)now;
    return true;
}

static bool is_certain(const struct node_request *request, uint64_t now)
{
    (void)now;
    return !request->uncertain;
}

static bool is_served(const struct node_request *request, uint64_t now)
{
    (void)now;
    return request->served;
}

static bool is_late(const struct node_request *request, uint64_t now)
{
    return proposer_until_ns(request) <= now;
}

static void end_waiting(struct proposer *proposer, request_test test, enum status status)
{
    struct ended certain = {.end = &certain.first};
    struct ended uncertain = {.end = &uncertain.first};
    take_waiting(proposer, test, now_ns(proposer), &certain, &uncertain);
    call_back(certain.first, status);
    call_back(uncertain.first, STATUS_UNKNOWN_OUTCOME);
}

void proposer_refuse_waiting(struct proposer *proposer, enum status status)
{
    end_waiting(proposer, is_any, status);
}

static bool wants_both(const struct node_request *request, uint64_t now)
{
    (void)now;
    return request->both_sites;
}

void proposer_refuse_degraded(struct proposer *proposer)
{
    if (proposer->waiting_first != NULL)
        end_waiting(proposer, wants_both, STATUS_DEGRADED);
}

void proposer_refuse_certain(struct proposer *proposer, enum status status)
{
    end_waiting(proposer, is_certain, status);
}

/* The requests of a slot that are out of time. Its entry goes on without them. */
static void take_late(struct entry_slot *slot, uint64_t now, struct ended *late)
{
    struct node_request **link = &slot->requests;
    while (*link != NULL) {
        struct node_request *request = *link;
        if (request->until_ns > now) {
            link = &request->next;
            continue;
        }
        *link = request->next;
        end_request(late, request);
    }
}

static void find_next_expiry(struct proposer *proposer)
{
    proposer->expiry_ns = UINT64_MAX;
    for (struct node_request *at = proposer->waiting_first; at != NULL; at = at->next)
        note_expiry(proposer, at);
    for (struct entry_slot *slot = proposer->in_flight_first; slot != NULL; slot = slot->next)
        for (struct node_request *at = slot->requests; at != NULL; at = at->next)
            if (at->until_ns < proposer->expiry_ns)
                proposer->expiry_ns = at->until_ns;
}

void proposer_expire(struct proposer *proposer, enum status refusal)
{
    uint64_t now = now_ns(proposer);
    if (now < proposer->expiry_ns)
        return;
    struct ended certain = {.end = &certain.first};
    struct ended late = {.end = &late.first};
    take_waiting(proposer, is_late, now, &certain, &late);
    for (struct entry_slot *slot = proposer->in_flight_first; slot != NULL; slot = slot->next)
        take_late(slot, now, &late);
    find_next_expiry(proposer);
    call_back(certain.first, refusal);
    call_back(late.first, STATUS_UNKNOWN_OUTCOME);
}

static void forgive(struct node_request *request, uint64_t pause_ns)
{
    if (request->deadline_ns == 0)
        request->until_ns += pause_ns;
}

void proposer_forgive(struct proposer *proposer, uint64_t pause_ns)
{
    for (struct node_request *at = proposer->waiting_first; at != NULL; at = at->next)
        forgive(at, pause_ns);
    for (struct entry_slot *slot = proposer->in_flight_first; slot != NULL; slot = slot->next)
        for (struct node_request *at = slot->requests; at != NULL; at = at->next)
            forgive(at, pause_ns);
    find_next_expiry(proposer);
}

/* ---- gathering ---- */

struct gathering {
    uint32_t request_count;
    uint32_t event_count; /* stamps */
    uint32_t size;
};

/* The longest run of waiting requests that makes one entry: a single one of any size, or several
 * within the gathering bounds. */
static struct gathering gather(const struct proposer *proposer)
{
    const struct node_request *request = proposer->waiting_first;
    struct gathering g = {
        .request_count = 1,
        .event_count = request_stamp_count(request->request),
        .size = (uint32_t)sizeof(struct entry_header) + request->request->size,
    };
    invariant_values(g.size <= ENTRY_SIZE_MAX, g.size, ENTRY_SIZE_MAX);
    for (request = request->next; request != NULL; request = request->next) {
        const struct request_header *header = request->request;
        if (g.request_count == ENTRY_REQUESTS_MAX)
            break;
        if (g.size + header->size > ENTRY_GATHER_BYTES)
            break;
        if (g.event_count + request_stamp_count(header) > REQUEST_EVENTS_MAX)
            break;
        g.request_count++;
        g.event_count += request_stamp_count(header);
        g.size += header->size;
    }
    return g;
}

static void encode(struct proposer *proposer, struct entry_slot *slot, const struct gathering *g)
{
    uint64_t wall = proposer->options.environment->wall_ns(proposer->options.environment->context);
    /* Whatever else is in the log with a stamp, by whomever it was put there. */
    uint64_t last = consensus_stamp(proposer->consensus);
    if (last < proposer->last_stamp)
        last = proposer->last_stamp;
    uint64_t stamp = last + 1 > wall ? last + 1 : wall;
    struct entry_header header = {
        .version = COMMAND_VERSION,
        .size = g->size,
        .stamp = stamp,
        .request_count = g->request_count,
        .event_count = g->event_count,
    };
    memcpy(slot->bytes, &header, sizeof header);
    uint32_t offset = sizeof header;
    const struct node_request *request = proposer->waiting_first;
    for (uint32_t i = 0; i < g->request_count; i++, request = request->next) {
        memcpy(slot->bytes + offset, request->request, request->request->size);
        offset += request->request->size;
    }
    invariant_values(offset == g->size, offset, g->size);
    slot->proposal = (struct consensus_proposal){
        .type = JOURNAL_COMMAND, .size = g->size, .payload = slot->bytes};
    slot->request_count = g->request_count;
    slot->event_count = g->event_count;
}

static bool has_room(const struct proposer *proposer, const struct gathering *g)
{
    return machine_room_for(proposer->machine, proposer->in_flight_events + g->event_count,
                            proposer->in_flight_requests + g->request_count);
}

/* The entry is in the log's hands: its requests leave the waiting list with it. */
static void launch(struct proposer *proposer, struct entry_slot *slot)
{
    struct entry_header header;
    memcpy(&header, slot->bytes, sizeof header);
    proposer->last_stamp = header.stamp + slot->event_count - 1;

    struct node_request **tail = &slot->requests;
    for (uint32_t i = 0; i < slot->request_count; i++) {
        struct node_request *request = waiting_pop(proposer);
        request->position = i;
        *tail = request;
        tail = &request->next;
    }
    *tail = NULL;

    slot->proposed_ns = now_ns(proposer);
    slot->next = NULL;
    if (proposer->in_flight_last == NULL)
        proposer->in_flight_first = slot;
    else
        proposer->in_flight_last->next = slot;
    proposer->in_flight_last = slot;
    proposer->in_flight_entries++;
    proposer->in_flight_events += slot->event_count;
    proposer->in_flight_requests += slot->request_count;
    proposer->in_flight_bytes += slot->proposal.size;
    proposer->proposed_bytes_total += slot->proposal.size;
    if (proposer->budget_bytes != UINT64_MAX)
        proposer->budget_bytes -= slot->proposal.size < proposer->budget_bytes
                                      ? slot->proposal.size
                                      : proposer->budget_bytes;
    proposer->entries_total++;
    proposer->requests_total += slot->request_count;
}

/* One entry. False when nothing more can be proposed in this turn. */
static bool propose_one(struct proposer *proposer)
{
    struct gathering g = gather(proposer);
    if (proposer->in_flight_bytes + g.size > PROPOSE_HOLD_BYTES)
        return false;
    if (!has_room(proposer, &g)) {
        proposer->room_wanted = true;
        return false;
    }
    struct entry_slot *slot = proposer->free_first;
    encode(proposer, slot, &g);
    if (command_check(slot->bytes, g.size) != STATUS_OK) {
        /* The owner changed a request after it was checked: refuse what cannot be replicated. */
        notify_event(proposer->options.notify, "entry_refused",
                     "an entry did not pass its own check; its requests are refused", g.size,
                     g.request_count);
        struct ended refused = {.end = &refused.first};
        for (uint32_t i = 0; i < g.request_count; i++)
            end_request(&refused, waiting_pop(proposer));
        call_back(refused.first, STATUS_INVALID);
        return true;
    }
    enum status status = consensus_propose(proposer->consensus, &slot->proposal);
    if (status == STATUS_OK) {
        proposer->free_first = slot->next;
        launch(proposer, slot);
        return true;
    }
    proposer->journal_refused = true;
    if (status != STATUS_BUSY && status != STATUS_READ_ONLY && status != STATUS_NOT_READY &&
        status != STATUS_NO_MEMORY)
        notify_fail(proposer->options.notify, status, "the journal refused an entry");
    return false;
}

bool proposer_is_holding(const struct proposer *proposer)
{
    const struct entry_slot *oldest = proposer->in_flight_first;
    if (oldest == NULL)
        return false;
    if (proposer->in_flight_bytes >= PROPOSE_HOLD_BYTES)
        return true;
    return now_ns(proposer) - oldest->proposed_ns > PROPOSE_HOLD_MS * NS_PER_MS;
}

void proposer_process(struct proposer *proposer, bool held)
{
    proposer->room_wanted = false;
    proposer->journal_refused = false;
    if (held || proposer_is_holding(proposer))
        return;
    while (proposer->waiting_first != NULL && proposer->free_first != NULL &&
           proposer->budget_bytes > 0)
        if (!propose_one(proposer))
            return;
}

/* ---- after consensus ---- */

static void remove_first_in_flight(struct proposer *proposer)
{
    struct entry_slot *slot = proposer->in_flight_first;
    proposer->in_flight_first = slot->next;
    if (proposer->in_flight_first == NULL)
        proposer->in_flight_last = NULL;
    slot->next = NULL;
    invariant(proposer->in_flight_entries > 0);
    invariant(proposer->in_flight_events >= slot->event_count);
    invariant(proposer->in_flight_requests >= slot->request_count);
    invariant(proposer->in_flight_bytes >= slot->proposal.size);
    proposer->in_flight_entries--;
    proposer->in_flight_events -= slot->event_count;
    proposer->in_flight_requests -= slot->request_count;
    proposer->in_flight_bytes -= slot->proposal.size;
    if (proposer->in_flight_entries == 0) {
        invariant(proposer->in_flight_events == 0);
        invariant(proposer->in_flight_bytes == 0);
    }
}

/* Back to the head of the waiting list, in their order; other nodes get theirs back. */
static void take_requests_back(struct proposer *proposer, struct entry_slot *slot, bool uncertain)
{
    struct node_request *first = slot->requests;
    slot->requests = NULL;
    struct node_request *own = NULL; /* reversed */
    struct ended served = {.end = &served.first};
    while (first != NULL) {
        struct node_request *request = first;
        first = request->next;
        request->uncertain |= uncertain;
        if (request->served) {
            end_request(&served, request);
            continue;
        }
        request->next = own;
        own = request;
    }
    while (own != NULL) {
        struct node_request *request = own;
        own = request->next;
        proposer_return(proposer, request);
    }
    call_back(served.first, uncertain ? STATUS_UNKNOWN_OUTCOME : STATUS_NOT_READY);
}

struct entry_slot *proposer_take(struct proposer *proposer, uint64_t index, uint64_t term)
{
    struct entry_slot *slot = proposer->in_flight_first;
    if (slot == NULL || slot->proposal.index != index)
        return NULL;
    remove_first_in_flight(proposer);
    if (slot->proposal.term == term)
        return slot;
    take_requests_back(proposer, slot, false);
    proposer_release(proposer, slot);
    return NULL;
}

void proposer_release(struct proposer *proposer, struct entry_slot *slot)
{
    invariant(slot->requests == NULL);
    slot->next = proposer->free_first;
    proposer->free_first = slot;
}

void proposer_answer(struct node_request *request, const struct answer *answer)
{
    bool silent =
        answer->outcome == OUTCOME_NOT_PERMITTED || answer->outcome == OUTCOME_BEYOND_WINDOW;
    if (request->uncertain && silent)
        request->cb(request, STATUS_UNKNOWN_OUTCOME, NULL);
    else
        request->cb(request, STATUS_OK, answer);
}

void proposer_answer_slot(struct entry_slot *slot, enum status status)
{
    struct node_request *requests = slot->requests;
    slot->requests = NULL;
    call_back(requests, status);
}

/* ---- terms ---- */

static void free_slots(struct proposer *proposer)
{
    while (proposer->in_flight_first != NULL) {
        struct entry_slot *slot = proposer->in_flight_first;
        remove_first_in_flight(proposer);
        take_requests_back(proposer, slot, true);
        proposer_release(proposer, slot);
    }
}

void proposer_attach(struct proposer *proposer, struct machine *machine,
                     struct consensus *consensus)
{
    free_slots(proposer);
    proposer->machine = machine;
    proposer->consensus = consensus;
}

void proposer_begin_term(struct proposer *proposer, uint64_t stamp)
{
    free_slots(proposer);
    if (proposer->last_stamp < stamp)
        proposer->last_stamp = stamp;
}

/* The newest slot first, so that requests wait in the order they had. */
static void take_slots_back(struct proposer *proposer, struct entry_slot *slot)
{
    struct entry_slot *reversed[PROPOSE_ENTRIES_MAX];
    uint32_t count = 0;
    for (; slot != NULL; slot = slot->next) {
        invariant(count < PROPOSE_ENTRIES_MAX);
        reversed[count++] = slot;
    }
    while (count > 0)
        take_requests_back(proposer, reversed[--count], !planted(PLANTED_LOST_TERM_AS_CERTAIN));
}

void proposer_end_term(struct proposer *proposer)
{
    end_waiting(proposer, is_served, STATUS_NOT_READY);
    take_slots_back(proposer, proposer->in_flight_first);
}

void proposer_abandon(struct proposer *proposer)
{
    for (struct entry_slot *slot = proposer->in_flight_first; slot != NULL; slot = slot->next)
        proposer_answer_slot(slot, STATUS_UNKNOWN_OUTCOME);
    proposer_refuse_waiting(proposer, STATUS_STOPPING);
}
