/*
 * A process may die inside of a call of its disk; so the terms are taken from its journal's index
 * in memory. Whether a disk keeps what was synced is checked by what nodes find when they start.
 *
 * Only the newest terms of a dead node are kept: commits are asked for as they happen, and no more
 * than HELD_MAX entries are in flight.
 */
#include "chaos/sim/holdings.h"

#include "replication/node/node_internal.h"

#include <stdlib.h>
#include <string.h>

#define HELD_MAX 4096

void holdings_init(struct holdings *holdings, const struct host *hosts, uint32_t host_count)
{
    *holdings = (struct holdings){.hosts = hosts, .host_count = host_count};
}

void holdings_deinit(struct holdings *holdings)
{
    for (uint32_t i = 0; i < HOSTS_MAX; i++) {
        free(holdings->gone[i].terms);
        free(holdings->retired[i].terms);
    }
}

void holdings_note(struct holdings *holdings, const struct host *host)
{
    struct holding *holding = &holdings->gone[host->number];
    const struct journal *journal = host->node->journal;
    if (journal == NULL)
        return; /* it opens its files: what it had before stands */
    struct journal_position position;
    journal_position(journal, &position);
    uint64_t first = position.first_index;
    if (position.synced_index >= first + HELD_MAX)
        first = position.synced_index - HELD_MAX + 1;
    const uint64_t count = position.synced_index >= first ? position.synced_index - first + 1 : 0;
    free(holding->terms);
    *holding = (struct holding){
        .known = true,
        .anchor_index = position.anchor_index,
        .first_index = first,
        .synced_index = position.synced_index,
        .terms = sim_allocate(count * sizeof *holding->terms),
    };
    for (uint64_t i = 0; i < count; i++)
        if (journal_term(journal, first + i, &holding->terms[i]) != STATUS_OK)
            holding->terms[i] = 0; /* no entry has it: it does not count */
}

void holdings_note_wipe(struct holdings *holdings, const struct host *host)
{
    struct holding *retired = &holdings->retired[host->number];
    struct holding *gone = &holdings->gone[host->number];
    /* A disk that was put back and then replaced: what it had before was more. */
    if (gone->known && (!retired->known || gone->synced_index >= retired->synced_index)) {
        free(retired->terms);
        *retired = *gone;
    } else {
        free(gone->terms);
    }
    *gone = (struct holding){0};
}

static bool holding_has(const struct holding *holding, uint64_t index, uint64_t term)
{
    if (!holding->known)
        return false;
    if (index <= holding->anchor_index)
        return true;
    return index >= holding->first_index && index <= holding->synced_index &&
           holding->terms[index - holding->first_index] == term;
}

static bool journal_has(const struct journal *journal, uint64_t index, uint64_t term)
{
    struct journal_position position;
    uint64_t found;
    journal_position(journal, &position);
    if (index <= position.anchor_index)
        return true;
    return index <= position.synced_index && journal_term(journal, index, &found) == STATUS_OK &&
           found == term;
}

bool holdings_has(const struct holdings *holdings, uint32_t number, uint64_t index, uint64_t term)
{
    const struct host *host = &holdings->hosts[number];
    if (holding_has(&holdings->retired[number], index, term))
        return true;
    if (host->node != NULL && host->node->journal != NULL && !host->dying)
        return journal_has(host->node->journal, index, term);
    return holding_has(&holdings->gone[number], index, term);
}

bool holdings_site_has(const struct holdings *holdings, const char *site, enum member_kind kind,
                       uint64_t index, uint64_t term)
{
    for (uint32_t i = 0; i < holdings->host_count; i++) {
        const struct host *host = &holdings->hosts[i];
        if (host->kind == kind && strcmp(host->site, site) == 0 &&
            holdings_has(holdings, i, index, term))
            return true;
    }
    return false;
}
