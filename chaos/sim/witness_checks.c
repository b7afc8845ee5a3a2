/*
 * A witness's journal keeps what is above the watermark, so that when the site that works is lost
 * it can bring the other one to where the cluster was. Nothing else in a run would tell that it
 * kept too little: the lost site comes back sooner or later, and everybody is served again.
 *
 * Judged is each step of the journal's begin, when it is seen: the last entry that is gone must be
 * synced at a data node of each site, by those who live, died, or were replaced. While a disk does
 * not keep what it was given nothing is judged: what a site had is then not what it has.
 *
 * Its note says up to where its log is committed, and is believed at its next start. One that says
 * too much does harm only when the witness dies before the rest is committed, and the rest is taken
 * back by the next leader: a rare thing, so the note itself is looked at. A leader knows of a
 * commit before anybody whom it tells, so nobody may note what no node has told of.
 */
#include "chaos/sim/witness_checks.h"

#include "chaos/sim/world.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

/* A site with data nodes; a founder that is alone so far keeps for nobody. */
static bool has_data(const struct holdings *holdings, const char *site)
{
    for (uint32_t i = 0; i < holdings->host_count; i++)
        if (holdings->hosts[i].kind == MEMBER_DATA && strcmp(holdings->hosts[i].site, site) == 0)
            return true;
    return false;
}

/* As a start would read it: docs/formats/directory.md. One that is damaged is no note. */
static void check_note(const struct witness_checks *checks, const struct host *host)
{
    const struct files *files = &host->node->files;
    struct file *file = NULL;
    uint8_t head[16];
    uint64_t index;
    if (files->open(files->context, "witness_log", FILE_READ, &file) != STATUS_OK)
        return;
    const enum status status = files->read(files->context, file, head, sizeof head, 0);
    files->close(files->context, file);
    memcpy(&index, head + 8, sizeof index);
    if (status == STATUS_OK && memcmp(head, "TLYWITN2", 8) == 0 && index > *checks->commit_index)
        world_violate(checks->world,
                      "the witness notes too much: entry %" PRIu64
                      " as committed, and nobody knows of more than %" PRIu64,
                      index, *checks->commit_index);
}

void witness_checks_look(struct witness_checks *checks, const struct host *host)
{
    static const char *const sites[] = {"A", "B"};
    if (host->kind != MEMBER_WITNESS || host->node->journal == NULL)
        return;
    if (checks->nemesis->damage.state == DAMAGE_NONE && !host->disk.dead)
        check_note(checks, host);
    struct journal_position position;
    journal_position(host->node->journal, &position);
    if (position.anchor_index <= checks->anchor_seen[host->number])
        return;
    checks->anchor_seen[host->number] = position.anchor_index;
    if (checks->nemesis->damage.state != DAMAGE_NONE)
        return;
    checks->total++;
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++)
        if (has_data(checks->holdings, sites[i]) &&
            !holdings_site_has(checks->holdings, sites[i], MEMBER_DATA, position.anchor_index,
                               position.anchor_term))
            world_violate(checks->world,
                          "the witness keeps too little: its journal begins behind %" PRIu64
                          " (term %" PRIu64 "), which nobody at site %s has synced",
                          position.anchor_index, position.anchor_term, sites[i]);
}
