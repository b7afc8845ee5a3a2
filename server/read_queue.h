/*
 * Reads that wait for the loop's time, in one line per principal. The lines take turns, so that a
 * principal with a thousand long reads delays another's by one of them and not by all. Loop thread.
 */
#ifndef TALLY_SERVER_READ_QUEUE_H
#define TALLY_SERVER_READ_QUEUE_H

#include "core/bounds.h"

#include <stdbool.h>
#include <stddef.h>

struct work;

struct read_line {
    struct work *first, *last;
    struct read_line *next;
};

/* Zeroed is empty. */
struct read_queue {
    struct read_line lines[PRINCIPALS_MAX]; /* by name ordinal */
    struct read_line *first, *last;         /* lines that are not empty, the next one first */
};

static inline bool read_queue_is_empty(const struct read_queue *queue)
{
    return queue->first == NULL;
}

/* At the end of its principal's line; uses work->next. */
void read_queue_add(struct read_queue *queue, struct work *work);
/* Back to the front of its line: the read that read_queue_take gave is not finished. */
void read_queue_put_back(struct read_queue *queue, struct work *work);
/* The first read of the line whose turn it is; that line goes behind the others. NULL when empty.
 */
struct work *read_queue_take(struct read_queue *queue);
/* Invariant: it stands in the queue. */
void read_queue_remove(struct read_queue *queue, struct work *work);

#endif
