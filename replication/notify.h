/*
 * How the node's parts report upward without knowing the node: events for the log, and fail-stop.
 */
#ifndef TALLY_REPLICATION_NOTIFY_H
#define TALLY_REPLICATION_NOTIFY_H

#include "core/status.h"

#include <stdint.h>

struct notify {
    void *context;
    /* `name` is stable and listed in node.h; `text` is for people and holds no client payload. */
    void (*event)(void *context, const char *name, const char *text, uint64_t a, uint64_t b);
    /* Fail-stop, loop thread: the node moves to NODE_FAILED; `text` says what and what to do. The
     * caller returns soon and changes nothing more. The first failure is the one that is kept. */
    void (*fail)(void *context, enum status status, const char *text);
};

static inline void notify_event(const struct notify *notify, const char *name, const char *text,
                                uint64_t a, uint64_t b)
{
    notify->event(notify->context, name, text, a, b);
}

static inline void notify_fail(const struct notify *notify, enum status status, const char *text)
{
    notify->fail(notify->context, status, text);
}

#endif
