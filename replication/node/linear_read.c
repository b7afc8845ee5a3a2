/*
 * Reads move through four lists, always towards `ready`:
 *
 *     arrived --round begins--> confirming --round ends--> applying --index applied--> ready
 *        ^  │                      │                                                     ^
 *        │  └── young enough state at hand (max_age_ns), or out of time ─────────────────┤
 *        └──── nobody confirmed it: the next round                                       │
 *
 * A round that fails (leadership lost, no majority reached) says nothing about the read: the next
 * one may be answered by another leader, so reads wait for it until their time is up. A pause
 * between rounds keeps a node without a leader from spinning.
 *
 * A callback may add or cancel reads: `ready` is emptied one read at a time from its head, and a
 * read that is added meanwhile goes to `arrived`, which is not looked at in the same turn. So a
 * turn ends, and a cancelled read is not called.
 *
 * node_read.min_index is raised to the confirmed index when its round ends; after that a read needs
 * to know one number only.
 *
 * Age: a confirmed index that is applied makes the state here at least as new as the moment at
 * which its question was *asked*. That moment is what max_age_ns is measured from.
 */
#include "replication/node/linear_read.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <stddef.h>

#define NS_PER_MS 1000000ull

static void list_add(struct read_list *list, struct node_read *read)
{
    read->next = NULL;
    if (list->last == NULL)
        list->first = read;
    else
        list->last->next = read;
    list->last = read;
    list->count++;
}

static struct node_read *list_pop(struct read_list *list)
{
    struct node_read *read = list->first;
    if (read == NULL)
        return NULL;
    list->first = read->next;
    if (list->first == NULL)
        list->last = NULL;
    list->count--;
    read->next = NULL;
    return read;
}

static bool list_remove(struct read_list *list, struct node_read *read)
{
    struct node_read *before = NULL;
    for (struct node_read *at = list->first; at != NULL; before = at, at = at->next) {
        if (at != read)
            continue;
        if (before == NULL)
            list->first = at->next;
        else
            before->next = at->next;
        if (list->last == at)
            list->last = before;
        list->count--;
        at->next = NULL;
        return true;
    }
    return false;
}

static uint64_t now_ns(const struct linear_reads *reads)
{
    return reads->environment->monotonic_ns(reads->environment->context);
}

/* Put before what has arrived since, in its order. */
static void ask_again(struct linear_reads *reads)
{
    struct read_list again = reads->confirming;
    reads->confirming = (struct read_list){0};
    struct node_read *read;
    while ((read = list_pop(&reads->arrived)) != NULL)
        list_add(&again, read);
    reads->arrived = again;
}

static void confirmation_cb(struct consensus_confirmation *confirmation, enum status status,
                            uint64_t index)
{
    struct linear_reads *reads =
        (struct linear_reads *)((char *)confirmation - offsetof(struct linear_reads, confirmation));
    if (status != STATUS_OK) {
        reads->retry_ns = now_ns(reads) + LINEAR_READ_RETRY_MS * NS_PER_MS;
        ask_again(reads);
        return;
    }
    reads->confirmed_index = index;
    reads->confirmed_ns = planted(PLANTED_AGE_SINCE_ANSWER) ? now_ns(reads) : reads->asked_ns;
    struct node_read *read;
    while ((read = list_pop(&reads->confirming)) != NULL) {
        if (read->min_index < index)
            read->min_index = index;
        list_add(&reads->applying, read);
    }
}

void linear_reads_init(struct linear_reads *reads, const struct environment *environment,
                       uint32_t count_max)
{
    *reads = (struct linear_reads){.environment = environment, .count_max = count_max};
}

void linear_reads_attach(struct linear_reads *reads, struct consensus *consensus)
{
    reads->consensus = consensus;
    reads->confirmation = (struct consensus_confirmation){.cb = confirmation_cb};
    reads->retry_ns = 0;
    reads->confirmed_index = reads->confirmed_ns = reads->fresh_ns = reads->applied_index = 0;
    ask_again(reads);
}

uint32_t linear_reads_count(const struct linear_reads *reads)
{
    return reads->arrived.count + reads->confirming.count + reads->applying.count +
           reads->ready.count;
}

enum status linear_reads_add(struct linear_reads *reads, struct node_read *read)
{
    if (linear_reads_count(reads) >= reads->count_max)
        return STATUS_BUSY;
    read->status = STATUS_OK;
    read->accepted_ns = now_ns(reads);
    if (read->deadline_ns == 0)
        read->deadline_ns = read->accepted_ns + NODE_READ_MS_DEFAULT * NS_PER_MS;
    list_add(&reads->arrived, read);
    return STATUS_OK;
}

void linear_reads_cancel(struct linear_reads *reads, struct node_read *read)
{
    (void)(list_remove(&reads->arrived, read) || list_remove(&reads->confirming, read) ||
           list_remove(&reads->applying, read) || list_remove(&reads->ready, read));
}

/* When a read that nobody has confirmed is given up. */
static uint64_t unconfirmed_until_ns(const struct node_read *read)
{
    uint64_t latest = read->accepted_ns + NODE_READ_MS_DEFAULT * NS_PER_MS;
    return read->deadline_ns < latest ? read->deadline_ns : latest;
}

static bool is_young_enough(const struct linear_reads *reads, const struct node_read *read,
                            uint64_t now)
{
    if (read->max_age_ns == 0 || reads->fresh_ns == 0)
        return false;
    if (read->min_index > reads->applied_index && !planted(PLANTED_AGE_WITHOUT_MIN_INDEX))
        return false;
    return now - reads->fresh_ns <= read->max_age_ns;
}

/* Moves to `ready` what nobody needs to confirm, or confirmed in time. */
static void sort_unconfirmed(struct linear_reads *reads, struct read_list *list, uint64_t now)
{
    struct read_list still = {0};
    struct node_read *read;
    while ((read = list_pop(list)) != NULL) {
        if (is_young_enough(reads, read, now)) {
            reads->bounded_total++;
            list_add(&reads->ready, read);
        } else if (unconfirmed_until_ns(read) <= now) {
            read->status = STATUS_NOT_READY;
            list_add(&reads->ready, read);
        } else {
            list_add(&still, read);
        }
    }
    *list = still;
}

void linear_reads_begin(struct linear_reads *reads)
{
    if (reads->arrived.count == 0 || reads->confirmation.in_flight)
        return;
    uint64_t now = now_ns(reads);
    if (now < reads->retry_ns)
        return;
    sort_unconfirmed(reads, &reads->arrived, now);
    if (reads->arrived.count == 0)
        return;
    invariant(reads->confirming.count == 0);
    reads->confirming = reads->arrived;
    reads->arrived = (struct read_list){0};
    reads->asked_ns = now;
    reads->rounds_total++;
    consensus_confirm(reads->consensus, &reads->confirmation);
}

/* Moves to `ready` what is applied or too late. */
static void sort_applying(struct linear_reads *reads, uint64_t now)
{
    struct read_list still = {0};
    struct node_read *read;
    while ((read = list_pop(&reads->applying)) != NULL) {
        if (read->min_index <= reads->applied_index) {
            list_add(&reads->ready, read);
        } else if (read->deadline_ns <= now) {
            read->status = STATUS_DEADLINE;
            list_add(&reads->ready, read);
        } else {
            list_add(&still, read);
        }
    }
    reads->applying = still;
}

static void call_ready(struct linear_reads *reads)
{
    struct node_read *read;
    while ((read = list_pop(&reads->ready)) != NULL)
        read->cb(read, read->status);
}

void linear_reads_finish(struct linear_reads *reads, uint64_t applied_index)
{
    reads->applied_index = applied_index;
    if (reads->confirmed_ns > reads->fresh_ns &&
        (reads->confirmed_index <= applied_index || planted(PLANTED_FRESH_BEFORE_APPLIED)))
        reads->fresh_ns = reads->confirmed_ns;
    if (linear_reads_count(reads) == 0)
        return;
    uint64_t now = now_ns(reads);
    sort_unconfirmed(reads, &reads->arrived, now);
    sort_unconfirmed(reads, &reads->confirming, now);
    sort_applying(reads, now);
    call_ready(reads);
}

void linear_reads_abandon(struct linear_reads *reads, enum status status)
{
    struct read_list *lists[] = {&reads->arrived, &reads->confirming, &reads->applying};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct node_read *read;
        while ((read = list_pop(lists[i])) != NULL) {
            read->status = status;
            list_add(&reads->ready, read);
        }
    }
    call_ready(reads);
}

uint64_t linear_reads_deadline_ns(const struct linear_reads *reads)
{
    uint64_t earliest = UINT64_MAX;
    const struct read_list *lists[] = {&reads->arrived, &reads->confirming};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct node_read *read = lists[i]->first; read != NULL; read = read->next)
            if (unconfirmed_until_ns(read) < earliest)
                earliest = unconfirmed_until_ns(read);
    for (const struct node_read *read = reads->applying.first; read != NULL; read = read->next)
        if (read->deadline_ns < earliest)
            earliest = read->deadline_ns;
    if (reads->arrived.count > 0 && !reads->confirmation.in_flight && reads->retry_ns < earliest)
        earliest = reads->retry_ns;
    return earliest;
}
