/*
 * The checks look into the node (node_internal.h), and nowhere else does the simulator do so but
 * for killing it: a state is compared by digest at every applied index, a log by its chain head at
 * some of them, since reading the head verifies an entry.
 */
#include "chaos/sim/invariants.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_EVERY     16
#define LOG_BYTES_MAX  (300ull << 20)
#define LEADER_UNKNOWN 0

void invariants_init(struct invariants *invariants, struct world *world)
{
    *invariants = (struct invariants){.world = world};
}

void invariants_deinit(struct invariants *invariants)
{
    free(invariants->notes);
    free(invariants->leaders);
}

static struct applied_note *note_at(struct invariants *invariants, uint64_t index)
{
    if (index >= invariants->note_capacity) {
        const uint64_t before = invariants->note_capacity;
        invariants->note_capacity = 2 * index + 256;
        invariants->notes =
            sim_resize(invariants->notes, invariants->note_capacity * sizeof *invariants->notes);
        memset(invariants->notes + before, 0,
               (invariants->note_capacity - before) * sizeof *invariants->notes);
    }
    return &invariants->notes[index];
}

static void check_leader(struct invariants *invariants, const struct host *host,
                         const struct consensus_status *status)
{
    if (!status->leads)
        return;
    if (status->term >= invariants->leader_capacity) {
        const uint64_t before = invariants->leader_capacity;
        invariants->leader_capacity = 2 * status->term + 64;
        invariants->leaders = sim_resize(invariants->leaders,
                                         invariants->leader_capacity * sizeof *invariants->leaders);
        memset(invariants->leaders + before, 0,
               (invariants->leader_capacity - before) * sizeof *invariants->leaders);
    }
    uint64_t *leader = &invariants->leaders[status->term];
    if (*leader == LEADER_UNKNOWN) {
        *leader = host->node_id;
        invariants->election_total++;
        world_note(invariants->world, "leads", host->number, status->term, status->commit_index);
        world_tell(invariants->world,
                   "host %u at %s leads term %" PRIu64 ", having committed %" PRIu64, host->number,
                   host->site, status->term, status->commit_index);
    }
    if (*leader != host->node_id)
        world_violate(invariants->world,
                      "two leaders in term %" PRIu64 ": node %" PRIu64 " and node %" PRIu64,
                      status->term, *leader, host->node_id);
}

static void check_applied(struct invariants *invariants, const struct host *host)
{
    const struct node *node = host->node;
    const uint64_t applied = machine_applied_index(node->machine);
    uint64_t *seen = &invariants->applied_seen[host->number];
    uint64_t *reopened = &invariants->reopened_seen[host->number];
    if (*reopened != node->reopened_total)
        *seen = 0; /* on a copy's files, which end somewhere else */
    *reopened = node->reopened_total;
    if (applied == *seen)
        return;
    if (applied < *seen)
        world_violate(invariants->world,
                      "host %u had applied %" PRIu64 " and goes back to %" PRIu64, host->number,
                      *seen, applied);
    *seen = applied;
    struct applied_note *note = note_at(invariants, applied);
    uint8_t digest[16];
    machine_digest(node->machine, digest);
    if (!note->digest_known) {
        note->digest_known = true;
        memcpy(note->digest, digest, sizeof digest);
    } else if (memcmp(note->digest, digest, sizeof digest) != 0) {
        world_violate(invariants->world,
                      "host %u has another state than others at index %" PRIu64 ": digests differ",
                      host->number, applied);
    }
    if (applied % HEAD_EVERY != 0)
        return;
    uint8_t head[JOURNAL_HASH_SIZE];
    if (host->disk.dead || journal_head(node->journal, applied, head) != STATUS_OK)
        return; /* pruned already, or the disk fails: the node itself will say so */
    if (!note->head_known) {
        note->head_known = true;
        memcpy(note->head, head, sizeof head);
    } else if (memcmp(note->head, head, sizeof head) != 0) {
        world_violate(invariants->world,
                      "host %u has another log than others up to index %" PRIu64
                      ": chain heads differ",
                      host->number, applied);
    }
}

void invariants_check(struct invariants *invariants, const struct host *host)
{
    const struct node *node = host->node;
    struct consensus_status status;
    consensus_status(node->consensus, &status);
    check_leader(invariants, host, &status);
    if (status.commit_index > invariants->commit_index)
        invariants->commit_index = status.commit_index;
    if (status.log_bytes > invariants->log_bytes_max)
        invariants->log_bytes_max = status.log_bytes;
    if (status.log_bytes > LOG_BYTES_MAX)
        world_violate(invariants->world, "host %u holds %" PRIu64 " bytes of log in memory",
                      host->number, status.log_bytes);
    if (node->machine != NULL)
        check_applied(invariants, host);
}

void invariants_forget(struct invariants *invariants, const struct host *host)
{
    invariants->applied_seen[host->number] = 0;
    invariants->reopened_seen[host->number] = 0;
}
