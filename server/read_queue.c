/*
 * The lines and their ring. A line is in the ring exactly when it is not empty; a read that is put
 * back keeps its place in the line, and its line the place that taking has given it.
 */
#include "server/read_queue.h"

#include "core/invariant.h"
#include "server/dispatch.h"

static struct read_line *line_of(struct read_queue *queue, const struct work *work)
{
    invariant_values(work->caller.name_ordinal < PRINCIPALS_MAX, work->caller.name_ordinal, 0);
    return &queue->lines[work->caller.name_ordinal];
}

static void ring_add(struct read_queue *queue, struct read_line *line)
{
    line->next = NULL;
    if (queue->last)
        queue->last->next = line;
    else
        queue->first = line;
    queue->last = line;
}

static void ring_remove(struct read_queue *queue, struct read_line *line)
{
    struct read_line *before = NULL;
    for (struct read_line *other = queue->first; other != line; other = other->next)
        before = other;
    if (before)
        before->next = line->next;
    else
        queue->first = line->next;
    if (queue->last == line)
        queue->last = before;
}

void read_queue_add(struct read_queue *queue, struct work *work)
{
    struct read_line *line = line_of(queue, work);
    work->next = NULL;
    if (line->last) {
        line->last->next = work;
    } else {
        line->first = work;
        ring_add(queue, line);
    }
    line->last = work;
}

void read_queue_put_back(struct read_queue *queue, struct work *work)
{
    struct read_line *line = line_of(queue, work);
    work->next = line->first;
    line->first = work;
    if (line->last)
        return;
    line->last = work;
    ring_add(queue, line);
}

struct work *read_queue_take(struct read_queue *queue)
{
    struct read_line *line = queue->first;
    if (!line)
        return NULL;
    struct work *work = line->first;
    line->first = work->next;
    ring_remove(queue, line);
    if (line->first)
        ring_add(queue, line);
    else
        line->last = NULL;
    return work;
}

void read_queue_remove(struct read_queue *queue, struct work *work)
{
    struct read_line *line = line_of(queue, work);
    struct work *before = NULL;
    for (struct work *other = line->first; other != work; other = other->next) {
        invariant(other != NULL);
        before = other;
    }
    if (before)
        before->next = work->next;
    else
        line->first = work->next;
    if (line->last == work)
        line->last = before;
    if (!line->first)
        ring_remove(queue, line);
}
