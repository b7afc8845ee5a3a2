/*
 * The last thing of a run: what the oracle knows is from a world that is gone, so only one question
 * is left. Each data node is asked for a read at the index that clients had seen; it may answer
 * when it has applied that much, and must not before. Nothing else is written meanwhile, so it
 * never has.
 *
 * A read without that index is answered from the past: nothing in the product can notice, and
 * docs/simulator.md says so.
 */
#include "chaos/sim/old_images.h"

#include "chaos/sim/disk_damage.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define START_NS    (10 * NS_PER_S)
#define ANSWER_NS   (2 * NS_PER_S)
#define PATIENCE_NS (4 * NS_PER_S)
#define STEP_NS     (50 * NS_PER_MS)

struct question {
    struct node_read read; /* first */
    struct old_images *images;
    const struct host *host;
};

void old_images_take(struct old_images *images)
{
    for (uint32_t i = 0; i < images->host_count; i++)
        images->image[i] = disk_image_take(&images->hosts[i].disk);
    world_note(images->world, "images", images->host_count, 0, 0);
}

static void answered(struct node_read *read, enum status status)
{
    struct question *question = (struct question *)(void *)read;
    struct old_images *images = question->images;
    images->pending--;
    if (status != STATUS_OK || question->host->dying) {
        images->refused++;
    } else {
        const uint64_t applied = machine_applied_index(node_machine(question->host->node));
        images->answered++;
        if (applied < images->seen_index)
            world_violate(images->world,
                          "all disks are from the past: host %u answers a client that has seen "
                          "%" PRIu64 " with a state of %" PRIu64,
                          question->host->number, images->seen_index, applied);
    }
    free(question);
}

static void ask(struct old_images *images, struct host *host)
{
    struct question *question = sim_allocate(sizeof *question);
    question->images = images;
    question->host = host;
    question->read = (struct node_read){.min_index = images->seen_index,
                                        .deadline_ns = host_monotonic_ns(host) + ANSWER_NS,
                                        .cb = answered};
    images->asked++;
    const enum status status = node_read(host->node, &question->read);
    host_left(host);
    if (status == STATUS_OK) {
        images->pending++;
        return;
    }
    images->refused++;
    free(question);
}

static bool all_serve(const struct old_images *images)
{
    for (uint32_t i = 0; i < images->host_count; i++)
        if (images->hosts[i].node == NULL || images->hosts[i].node->phase != NODE_SERVING)
            return false;
    return true;
}

void old_images_restore(struct old_images *images)
{
    struct world *world = images->world;
    images->restored = true;
    images->seen_index = images->oracle->acknowledged_index;
    world_tell(world, "all disks are put back to images; clients have seen %" PRIu64,
               images->seen_index);
    for (uint32_t i = 0; i < images->host_count; i++) {
        struct host *host = &images->hosts[i];
        disk_image_restore(&host->disk, images->image[i]);
        host->may_fail = true;    /* to stop over it is as good as anything */
        host->unreachable = true; /* for those clients: what they would write is not judged */
        for (uint32_t j = 0; j < images->host_count; j++)
            if (i != j)
                network_set_cut(images->network, i, j, false);
    }
    for (uint32_t i = 0; i < images->host_count; i++)
        host_start(&images->hosts[i]);
    const uint64_t end = world->now_ns + START_NS;
    while (!all_serve(images) && world->now_ns < end)
        if (!world_run_until(world, world->now_ns + STEP_NS))
            return;
    images->noticed = !all_serve(images);
    for (uint32_t i = 0; i < images->host_count; i++)
        if (images->hosts[i].kind == MEMBER_DATA && images->hosts[i].node != NULL &&
            images->hosts[i].node->phase == NODE_SERVING)
            ask(images, &images->hosts[i]);
    if (!world_run_until(world, world->now_ns + PATIENCE_NS))
        return;
    world_note(world, "all put back", images->asked, images->refused, images->answered);
    if (images->pending > 0)
        world_violate(world, "all disks are from the past: %u reads hang", images->pending);
}

void old_images_deinit(struct old_images *images)
{
    for (uint32_t i = 0; i < HOSTS_MAX; i++)
        disk_image_destroy(images->image[i]);
}
