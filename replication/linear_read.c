/*
 * Reads move through four lists, always towards `ready`:
 *
 *     arrived --round begins--> confirming --round ends--> applying --index applied--> ready
 *                                    └── leadership gone: STATUS_NOT_READY ──────────────┘
 *
 * A callback may add or cancel reads: `ready` is emptied one read at a time from its head, and a
 * read that is added meanwhile goes to `arrived`, which is not looked at in the same turn. So a
 * turn ends, and a cancelled read is not called.
 *
 * node_read.min_index is raised to the confirmed index when its round ends; after that a read needs
 * to know one number only.
 */
#include "replication/linear_read.h"

#include "core/invariant.h"

#include <stddef.h>

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

static void confirmation_cb(struct consensus_confirmation *confirmation, enum status status,
                            uint64_t index)
{
    struct linear_reads *reads =
        (struct linear_reads *)((char *)confirmation - offsetof(struct linear_reads, confirmation));
    struct node_read *read;
    while ((read = list_pop(&reads->confirming)) != NULL) {
        read->status = status;
        if (status != STATUS_OK) {
            list_add(&reads->ready, read);
            continue;
        }
        if (read->min_index < index)
            read->min_index = index;
        list_add(&reads->applying, read);
    }
}

void linear_reads_init(struct linear_reads *reads, const struct environment *environment,
                       struct consensus *consensus, uint32_t count_max)
{
    *reads = (struct linear_reads){
        .environment = environment,
        .consensus = consensus,
        .count_max = count_max,
        .confirmation.cb = confirmation_cb,
    };
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
    list_add(&reads->arrived, read);
    return STATUS_OK;
}

void linear_reads_cancel(struct linear_reads *reads, struct node_read *read)
{
    (void)(list_remove(&reads->arrived, read) || list_remove(&reads->confirming, read) ||
           list_remove(&reads->applying, read) || list_remove(&reads->ready, read));
}

void linear_reads_begin(struct linear_reads *reads)
{
    if (reads->arrived.count == 0 || reads->confirmation.in_flight)
        return;
    invariant(reads->confirming.count == 0);
    reads->confirming = reads->arrived;
    reads->arrived = (struct read_list){0};
    consensus_confirm(reads->consensus, &reads->confirmation);
}

/* Moves to `ready` what is applied or too late. */
static void sort_applying(struct linear_reads *reads, uint64_t applied_index)
{
    if (reads->applying.count == 0)
        return;
    uint64_t now = reads->environment->monotonic_ns(reads->environment->context);
    struct read_list still = {0};
    struct node_read *read;
    while ((read = list_pop(&reads->applying)) != NULL) {
        if (read->min_index <= applied_index) {
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
    sort_applying(reads, applied_index);
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
    for (const struct node_read *read = reads->applying.first; read != NULL; read = read->next)
        if (read->deadline_ns < earliest)
            earliest = read->deadline_ns;
    return earliest;
}
