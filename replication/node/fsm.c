/*
 * Committed entries enter the ledger here, in order, and nowhere else.
 *
 * Whoever proposed an entry, it is applied by the same call; the node that proposed it finds the
 * slot by (index, term) and hands each answer to its request. Nothing here asks who leads.
 *
 * Who owns an entry's bytes: consensus, or the proposer's slot (just proposed), until
 * fsm_apply returns; the slot is then free for the next entry.
 *
 * An entry in an unknown command version stops the process before it is applied: another build
 * wrote it, and skipping it would let this replica drift.
 */
#include "replication/node/fsm.h"

#include "core/invariant.h"
#include "replication/node/digests.h"
#include "replication/node/propose.h"
#include "replication/node/rpo.h"

#include <inttypes.h>
#include <stdio.h>

bool fsm_has_room(const struct fsm *fsm, const struct journal_entry *entry)
{
    if (entry->type != JOURNAL_COMMAND)
        return true;
    struct command_cursor cursor;
    if (command_cursor_init(&cursor, entry->payload, entry->size) != STATUS_OK)
        return true; /* refused or answered as malformed: nothing is stored */
    return machine_room_for(fsm->machine, cursor.stamps_left, cursor.request_count);
}

struct answering {
    struct fsm *fsm;
    struct entry_slot *slot;        /* NULL: another node proposed the entry */
    struct command_cursor requests; /* the next one is what is answered */
};

static void answer_request(void *context, uint32_t position, const struct answer *answer)
{
    struct answering *answering = context;
    const struct request_header *header;
    uint64_t stamp;
    if (command_cursor_next(&answering->requests, &header, &stamp) == STATUS_OK)
        rpo_answer(answering->fsm->rpo, header, answer);
    if (answering->slot == NULL)
        return;
    if (answer->operation == OPERATION_CREATE_TRANSFERS && answer->outcome == OUTCOME_EXECUTED &&
        !answer->repeated)
        answering->fsm->transfers_total += answer->event_count;
    struct node_request *request = answering->slot->requests;
    if (request == NULL || request->position != position)
        return; /* its time was up, or it was routed again: it has been told, or will be */
    answering->slot->requests = request->next;
    request->next = NULL;
    proposer_answer(request, answer);
}

static void apply_command(struct fsm *fsm, const struct journal_entry *entry,
                          struct entry_slot *slot)
{
    struct answering answering = {.fsm = fsm, .slot = slot};
    /* An entry whose header is unreadable has no requests, and answers none. */
    (void)command_cursor_init(&answering.requests, entry->payload, entry->size);
    machine_apply(fsm->machine, entry->index, entry->term, entry->payload, entry->size,
                  answer_request, &answering);
    if (slot != NULL)
        proposer_release(fsm->proposer, slot);
}

static bool refuse_version(struct fsm *fsm, const struct journal_entry *entry, const char *what)
{
    char text[256];
    snprintf(text, sizeof text,
             "entry %" PRIu64
             " is %s that this build does not know; install the version that wrote "
             "it, or a newer one, and start again",
             entry->index, what);
    notify_fail(fsm->notify, STATUS_VERSION, text);
    return false;
}

bool fsm_apply(struct fsm *fsm, const struct journal_entry *entry)
{
    struct command_cursor cursor;
    if (entry->type == JOURNAL_COMMAND &&
        command_cursor_init(&cursor, entry->payload, entry->size) == STATUS_VERSION)
        return refuse_version(fsm, entry, "written in a command version");
    struct entry_slot *slot = proposer_take(fsm->proposer, entry->index, entry->term);
    switch (entry->type) {
    case JOURNAL_COMMAND:
        apply_command(fsm, entry, slot);
        break;
    case JOURNAL_DIGEST:
        if (!digests_compare(fsm->digests, entry))
            return false;
        __attribute__((fallthrough));
    case JOURNAL_BARRIER:
    case JOURNAL_CONFIGURATION:
    case JOURNAL_DURABILITY:
        invariant(slot == NULL); /* we propose nothing else through slots */
        machine_apply_other(fsm->machine, entry->index, entry->term);
        break;
    default:
        return refuse_version(fsm, entry, "of a type");
    }
    digests_note(fsm->digests, fsm->machine);
    rpo_applied(fsm->rpo, entry->index, entry->size,
                fsm->environment->monotonic_ns(fsm->environment->context),
                machine_stamp(fsm->machine));
    return true;
}
