/*
 * Consensus is reached through a table of functions, so a lie needs no hook in the product: some
 * of them are replaced. propose() remembers what was proposed, next() hands it out when nothing is
 * committed, and what comes later under the same index is taken for known.
 */
#include "chaos/sim/plant.h"

#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/node/node_internal.h"

#include <stdlib.h>
#include <string.h>

struct plant_entry {
    struct journal_entry entry;
    struct plant_entry *next;
    uint64_t bytes[]; /* payload */
};

/* All that are in use: the table's functions know only their consensus. */
static struct plant *plants;

static struct plant *plant_of(const struct consensus *consensus)
{
    struct plant *plant = plants;
    while (plant->consensus != consensus)
        plant = plant->next_plant;
    return plant;
}

static enum status plant_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    struct plant *plant = plant_of(consensus);
    const enum status status = plant->real->propose(consensus, proposal);
    if (status != STATUS_OK)
        return status;
    struct plant_entry *entry = calloc(1, sizeof *entry + proposal->size + 8);
    invariant(entry != NULL);
    entry->entry = (struct journal_entry){
        .index = proposal->index,
        .term = proposal->term,
        .type = proposal->type,
        .size = proposal->size,
        .payload = entry->bytes,
    };
    if (proposal->size > 0)
        memcpy(entry->bytes, proposal->payload, proposal->size);
    if (plant->last != NULL)
        plant->last->next = entry;
    else
        plant->first = entry;
    plant->last = entry;
    return STATUS_OK;
}

static struct plant_entry *take_first(struct plant *plant)
{
    struct plant_entry *entry = plant->first;
    plant->first = entry->next;
    if (plant->first == NULL)
        plant->last = NULL;
    return entry;
}

static const struct journal_entry *plant_next(struct consensus *consensus)
{
    struct plant *plant = plant_of(consensus);
    if (plant->current != NULL)
        return &plant->current->entry;
    const struct journal_entry *entry = plant->real->next(consensus);
    while (entry != NULL && entry->index <= plant->early_index) {
        plant->real->consumed(consensus);
        entry = plant->real->next(consensus);
    }
    while (plant->first != NULL && entry != NULL && plant->first->entry.index <= entry->index)
        free(take_first(plant));
    if (entry != NULL)
        return entry;
    struct consensus_status status;
    plant->real->status(consensus, &status);
    const uint64_t pulled =
        status.consumed_index > plant->early_index ? status.consumed_index : plant->early_index;
    while (plant->first != NULL && plant->first->entry.index <= pulled)
        free(take_first(plant));
    if (plant->first == NULL || plant->first->entry.index != pulled + 1)
        return NULL;
    plant->current = take_first(plant);
    return &plant->current->entry;
}

static void plant_consumed(struct consensus *consensus)
{
    struct plant *plant = plant_of(consensus);
    if (plant->current == NULL) {
        plant->real->consumed(consensus);
        return;
    }
    plant->early_index = plant->current->entry.index;
    free(plant->current);
    plant->current = NULL;
}

/* From now on consensus answers through the plant's own table. */
static void take_over(struct plant *plant, struct consensus *consensus)
{
    *plant = (struct plant){
        .operations = *consensus->operations,
        .real = consensus->operations,
        .consensus = consensus,
        .next_plant = plants,
    };
    consensus->operations = &plant->operations;
    plants = plant;
}

void plant_reply_before_commit(struct plant *plant, struct consensus *consensus)
{
    take_over(plant, consensus);
    plant->operations.propose = plant_propose;
    plant->operations.next = plant_next;
    plant->operations.consumed = plant_consumed;
}

static void plant_status(const struct consensus *consensus, struct consensus_status *out)
{
    const struct consensus_raft *raft = (const struct consensus_raft *)(const void *)consensus;
    plant_of(consensus)->real->status(consensus, out);
    if (!out->leads && (out->mode == DURABILITY_SYNC ||
                        raft->durability_log.committed.entry.mode == DURABILITY_SYNC))
        out->both_index = out->commit_index;
}

void plant_followers_mode(struct plant *plant, struct consensus *consensus)
{
    take_over(plant, consensus);
    plant->operations.status = plant_status;
}

void plant_early_return(struct consensus *consensus)
{
    struct consensus_raft *raft = (struct consensus_raft *)(void *)consensus;
    struct durability *driver = &raft->durability_drive.driver;
    for (uint32_t i = 0; i < DURABILITY_SAMPLES; i++)
        driver->samples[i].index = 0; /* nothing was committed lag_ms ago */
}

void plant_certificate_high(struct node *node)
{
    struct certificates *held = &node->certificates;
    struct certificate_view view;
    if (held->size == 0 || held->record.node_id != node->identity.node_id ||
        certificate_decode(held->bytes, held->size, &view) != STATUS_OK ||
        view.record.index != held->record.index)
        return; /* spoiled before */
    held->record.index++;
}

void plant_guard_off(struct consensus *consensus, uint64_t parts)
{
    struct consensus_raft *raft = (struct consensus_raft *)(void *)consensus;
    raft->guard.options.parts &= ~parts;
}

uint64_t plant_guard_part(const char *name)
{
    static const struct {
        const char *name;
        uint64_t part;
    } parts[] = {
        {"S1", RAFT_GUARD_S1},
        {"S2", RAFT_GUARD_S2},
        {"S3", RAFT_GUARD_S3},
        {"S4", RAFT_GUARD_S4},
        {"S5", RAFT_GUARD_S5},
        {"S6", RAFT_GUARD_S6},
        {"S7", RAFT_GUARD_S7},
        {"S8", RAFT_GUARD_S8},
        {"S9", RAFT_GUARD_S9},
        {"S10", RAFT_GUARD_S10},
        {"S11", RAFT_GUARD_S11},
        {"S12", RAFT_GUARD_S12},
        {"S13", RAFT_GUARD_S13},
        {"S18", RAFT_GUARD_S18},
        {"S20", RAFT_GUARD_S20},
        {"ONE_VOTE", RAFT_GUARD_ONE_VOTE},
        {"NEWER", RAFT_GUARD_NEWER},
        {"LEADER", RAFT_GUARD_LEADER},
        {"BARRIER", RAFT_GUARD_BARRIER},
        {"ROLLBACK", RAFT_GUARD_ROLLBACK},
        {"VOTE", RAFT_GUARD_VOTE},
        {"TERM", RAFT_GUARD_TERM},
        {"CHANGE", RAFT_GUARD_CHANGE},
        {"QUIET", RAFT_GUARD_QUIET},
        {"RESORT", RAFT_GUARD_RESORT},
        {"SILENT", RAFT_GUARD_SILENT},
        {"HAND_OVER", RAFT_GUARD_HAND_OVER},
        {"TARGET", RAFT_GUARD_TARGET},
        {"REACH", RAFT_GUARD_REACH},
        {"GATE", RAFT_GUARD_GATE},
        {"VERIFIED", RAFT_GUARD_VERIFIED},
        {"CLAMP", RAFT_GUARD_CLAMP},
        {"SYNCED", RAFT_GUARD_SYNCED},
        {"MODE", RAFT_GUARD_MODE},
        {"REACHED", RAFT_GUARD_REACHED},
        {"RUN", RAFT_GUARD_RUN},
        {"AGAIN", RAFT_GUARD_AGAIN},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].part;
    return 0;
}

void plant_deinit(struct plant *plant)
{
    if (plant->consensus == NULL)
        return;
    struct plant **at = &plants;
    while (*at != plant)
        at = &(*at)->next_plant;
    *at = plant->next_plant;
    while (plant->first != NULL)
        free(take_first(plant));
    free(plant->current);
    *plant = (struct plant){0};
}
