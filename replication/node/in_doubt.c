/*
 * After a failover somebody at a counter asks "did that payment go through?", and the answer is in
 * the ledger; what is missing is the list of what to ask for. Three sources make it:
 *
 *  - the node answered "unknown": leadership or a connection was lost after the request had been
 *    sent or proposed, and its time was up before it had an end;
 *  - the client went away, and between accepting the request and its end a leader was lost or none
 *    was known: the client's patience ended because of it;
 *  - an entry of an earlier term is pulled by a node that knows of a later one: its proposer leads
 *    no more. It may have answered just before, so this names more than what is in doubt, never
 *    less. Every data node sees it, whoever the request was sent to, so the list of a node that
 * died with its memory is mostly at the others.
 *
 * What no node can name: a request that reached only the leader that died, and was in no entry that
 * anybody else got. It has no effect and never will have by itself; its sender repeats it or fences
 * it.
 *
 * A ring in memory, so a restart forgets; an entry that a restarted node replays from its journal
 * is not noted again, since the journal does not tell which of its old entries were in doubt once.
 * One request may be noted more than once, by several nodes or for several reasons; who lists them
 * merges by identity.
 */
#include "replication/node/in_doubt.h"

#include <stdlib.h>
#include <string.h>

enum status in_doubt_init(struct in_doubt *doubt, uint64_t wall_ns)
{
    *doubt =
        (struct in_doubt){.rows = calloc(IN_DOUBT_ROWS, sizeof *doubt->rows), .since_ns = wall_ns};
    return doubt->rows != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void in_doubt_deinit(struct in_doubt *doubt)
{
    free(doubt->rows);
    doubt->rows = NULL;
}

void in_doubt_follow(struct in_doubt *doubt, uint64_t term, bool led, uint64_t now_ns)
{
    if (!led || term != doubt->seen_term)
        doubt->disturbed_ns = now_ns;
    doubt->seen_term = term;
}

bool in_doubt_disturbed(const struct in_doubt *doubt, uint64_t since_ns)
{
    return doubt->disturbed_ns != 0 && doubt->disturbed_ns >= since_ns;
}

void in_doubt_note(struct in_doubt *doubt, const struct request_header *request, uint64_t index,
                   enum in_doubt_how how, uint64_t wall_ns)
{
    struct in_doubt_row *row = &doubt->rows[doubt->count++ % IN_DOUBT_ROWS];
    *row = (struct in_doubt_row){
        .issued_at_ns = request->issued_at_ns,
        .seen_ns = wall_ns,
        .index = index,
        .principal = request->principal,
        .event_count = request->event_count,
        .operation = request->operation,
        .how = (uint16_t)how,
    };
    memcpy(row->nonce, request->nonce, sizeof row->nonce);
}

void in_doubt_inherit(struct in_doubt *doubt, const struct journal_entry *entry, uint64_t wall_ns)
{
    struct command_cursor cursor;
    const struct request_header *request;
    uint64_t stamp;
    if (entry->type != JOURNAL_COMMAND ||
        command_cursor_init(&cursor, entry->payload, entry->size) != STATUS_OK)
        return;
    while (command_cursor_next(&cursor, &request, &stamp) == STATUS_OK)
        in_doubt_note(doubt, request, entry->index, IN_DOUBT_INHERITED, wall_ns);
}

uint64_t in_doubt_forgotten(const struct in_doubt *doubt)
{
    return doubt->count > IN_DOUBT_ROWS ? doubt->count - IN_DOUBT_ROWS : 0;
}

const struct in_doubt_row *in_doubt_next(const struct in_doubt *doubt, uint64_t since_ns,
                                         uint64_t *position)
{
    const uint64_t oldest = in_doubt_forgotten(doubt);
    for (uint64_t at = *position > oldest ? *position : oldest; at < doubt->count; at++) {
        const struct in_doubt_row *row = &doubt->rows[at % IN_DOUBT_ROWS];
        if (row->seen_ns < since_ns)
            continue;
        *position = at + 1;
        return row;
    }
    *position = doubt->count;
    return NULL;
}
