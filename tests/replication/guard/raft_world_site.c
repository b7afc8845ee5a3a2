/*
 * Two sites: where nodes are, entries that set the mode, and what a commit must imply.
 *
 * The mode is read from the log, entry by entry, by nothing that the guard has: so that its own
 * reading is judged.
 */
#include "raft_world.h"
#include "replication/guard/raft_layout.h"

/* Command numbers of their own; the low bits keep them apart. */
#define DEGRADE_BIT (UINT64_C(1) << 60)
#define RETURN_BIT  (UINT64_C(1) << 61)

bool world_mode_of(uint64_t command, enum durability_mode *out_mode)
{
    if ((command & (DEGRADE_BIT | RETURN_BIT)) == 0)
        return false;
    *out_mode = (command & DEGRADE_BIT) != 0 ? DURABILITY_DEGRADED : DURABILITY_SYNC;
    return true;
}

static bool sets_mode(void *context, const struct raft_buffer *buffer,
                      enum durability_mode *out_mode)
{
    (void)context;
    struct raft_entry entry = {.type = RAFT_COMMAND, .buf = *buffer};
    uint64_t command;
    return world_command_of(&entry, &command) && world_mode_of(command, out_mode);
}

static void places(void *context, const struct raft_configuration *configuration,
                   enum site_place out_places[])
{
    const struct world_node *node = context;
    const struct world_options *options = &node->world->options;
    for (unsigned i = 0; i < configuration->n; i++) {
        raft_id bit = configuration->servers[i].id - 1;
        out_places[i] = (options->witnesses >> bit & 1) != 0     ? SITE_PLACE_WITNESS
                        : (options->second_site >> bit & 1) != 0 ? SITE_PLACE_1
                                                                 : SITE_PLACE_0;
    }
}

void world_site_options(struct raft_guard_options *options)
{
    options->places = places;
    options->sets_mode = sets_mode;
}

struct proposed_mode {
    enum durability_mode mode;
    bool accepted;
};

static void propose_mode(struct world_node *node, void *context)
{
    struct proposed_mode *proposed = context;
    uint64_t command = node->world->next_command++ |
                       (proposed->mode == DURABILITY_DEGRADED ? DEGRADE_BIT : RETURN_BIT);
    proposed->accepted = world_propose_commands(node, &command, 1);
}

bool world_propose_mode(struct world *world, unsigned node, enum durability_mode mode)
{
    struct proposed_mode proposed = {.mode = mode};
    world_within(world, node, propose_mode, &proposed);
    return proposed.accepted;
}

unsigned world_site(const struct world *world, unsigned site)
{
    const struct world_options *options = &world->options;
    unsigned all = (1u << options->nodes) - 1, second = options->second_site;
    return (site == 1 ? second : all & ~second) & ~options->witnesses;
}

enum durability_mode world_mode_at(const struct world_node *node, raft_index index)
{
    for (raft_index i = index; i >= raft_layout_first_index(&node->raft) && i > 0; i--) {
        const struct raft_entry *entry = raft_layout_entry(&node->raft, i);
        uint64_t command;
        enum durability_mode mode;
        if (entry != NULL && world_command_of(entry, &command) && world_mode_of(command, &mode))
            return mode;
    }
    return (enum durability_mode)node->disk.snapshot.mode;
}

bool world_disks_have(const struct world *world, unsigned nodes, raft_index index, raft_term term)
{
    for (unsigned i = 0; i < world->options.nodes; i++) {
        const struct world_disk *disk = &world->nodes[i].disk;
        if ((nodes >> i & 1) == 0)
            continue;
        if (disk->snapshot.index >= index)
            return true;
        if (index >= disk->start && index - disk->start < disk->count &&
            disk->entries[index - disk->start].term == term)
            return true;
    }
    return false;
}

static void expect_on_both(struct world_node *node, raft_index index, const char *claim)
{
    struct world *world = node->world;
    raft_term term = raft_layout_term_at(&node->raft, index);
    for (unsigned site = 0; site < 2 && term != 0; site++) {
        if (!world_disks_have(world, world_site(world, site), index, term))
            checkers_violation(&world->checkers,
                               "node %u %s index %llu, and site %u has it nowhere",
                               node->number + 1, claim, (unsigned long long)index, site);
    }
}

void world_check_sites(struct world_node *node)
{
    struct world *world = node->world;
    const struct raft *raft = &node->raft;
    const raft_index commit = raft->commit_index, before = node->commit_seen;
    node->commit_seen = commit;
    if (raft->state != RAFT_LEADER || !raft_guard_rule_in_force(&node->guard))
        return;
    const raft_index both = raft_guard_both(&node->guard);
    if (both > node->both_seen)
        expect_on_both(node, both, "says that both sites have");
    node->both_seen = both;
    if (commit <= before || raft_layout_term_at(raft, commit) != raft->current_term)
        return;
    const enum durability_mode mode = world_mode_at(node, commit);
    if (commit > world->committed.index) {
        world->committed.index = commit;
        world->committed.term = raft->current_term;
        world->committed.mode = mode;
    }
    if (mode == DURABILITY_DEGRADED) {
        world->degraded_commits++;
        return;
    }
    world->sync_commits++;
    expect_on_both(node, commit, "commits under SYNC");
}

void world_check_loss(struct world *world, unsigned site)
{
    if (world->committed.index == 0 || world->committed.mode != DURABILITY_SYNC)
        return;
    if (!world_disks_have(world, world_site(world, 1 - site), world->committed.index,
                          world->committed.term))
        checkers_violation(&world->checkers,
                           "index %llu was committed under SYNC, and without site %u it is lost",
                           (unsigned long long)world->committed.index, site);
}
