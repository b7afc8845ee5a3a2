/*
 * One disk does not keep what it was given. No rule of two sites survives such a disk and the loss
 * of another place at once, so nothing else is wrong meanwhile: other faults are ended, the cluster
 * settles, then the damage happens, and faults go on when the node has been replaced.
 *
 *   CALMING ──settled──► COMING ──it happens──► WATCHED ──found, or long enough──► REPAIRING ──►
 *      └── does not settle: no damage ──────────────────────────────────────────────────────►
 *
 * What is demanded: all that is checked at every turn and every answer, of this node as of the
 * others; and that a node which stops over it says in words what is wrong and what to do. The
 * operator replaces it when it stops, and also when it does not: a disk that did that once is not
 * kept.
 */
#include "chaos/sim/disk_damage.h"
#include "chaos/sim/nemesis_internal.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

#define LOOK_NS    (50 * NS_PER_MS)
#define CALM_NS    (15 * NS_PER_S) /* for the cluster to settle in */
#define HAPPEN_NS  (6 * NS_PER_S)
#define WATCH_NS   (5 * NS_PER_S)
#define REPAIR_NS  (20 * NS_PER_S)
#define BEHIND_MAX 64 /* entries */
#define IMAGE_MS   5000

static void look(void *context, uint64_t number, uint64_t round);

static uint64_t now(const struct nemesis *nemesis)
{
    return nemesis->world->now_ns;
}

bool nemesis_is_held(const struct nemesis *nemesis)
{
    return nemesis->damage.state != DAMAGE_NONE;
}

/* ---- whether all is well ---- */

static bool is_serving(const struct host *host)
{
    return host->node != NULL && host->node->phase == NODE_SERVING &&
           host->busy_until_ns <= host->world->now_ns + 50 * NS_PER_MS;
}

static bool is_calm(const struct nemesis *nemesis)
{
    struct consensus_status first = {0}, status;
    const struct host *leader = NULL;
    uint64_t commit_index = 0;
    if (!members_are_idle(nemesis->members))
        return false;
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        const struct host *host = &nemesis->hosts[i];
        if (!is_serving(host))
            return false;
        consensus_status(host->node->consensus, &status);
        if (i == 0)
            first = status;
        if (status.term != first.term || status.leader_id != first.leader_id)
            return false;
        if (status.leads)
            leader = host;
        if (status.commit_index > commit_index)
            commit_index = status.commit_index;
    }
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        consensus_status(nemesis->hosts[i].node->consensus, &status);
        if (status.consumed_index + BEHIND_MAX < commit_index)
            return false;
    }
    if (leader == NULL)
        return false;
    struct consensus_durability durability;
    consensus_durability(leader->node->consensus, &durability);
    consensus_status(leader->node->consensus, &status);
    return durability.newest.mode == DURABILITY_SYNC &&
           durability.newest_index == durability.committed_index &&
           durability.newest.policy.decision != DURABILITY_NEVER &&
           (!status.site_rule || status.both_index + BEHIND_MAX >= commit_index);
}

/* ---- steps ---- */

static void look_again(struct nemesis *nemesis)
{
    world_post(nemesis->world, now(nemesis) + LOOK_NS, look, nemesis, nemesis->damage.number,
               nemesis->round);
}

static void finish(struct nemesis *nemesis)
{
    struct nemesis_damage *damage = &nemesis->damage;
    disk_image_destroy(damage->image);
    damage->image = NULL;
    damage->state = DAMAGE_NONE;
    if (!nemesis->ended)
        nemesis_go_on(nemesis);
}

static void happened(struct nemesis *nemesis, struct host *host)
{
    struct nemesis_damage *damage = &nemesis->damage;
    damage->state = DAMAGE_WATCHED;
    damage->until_ns = now(nemesis) + WATCH_NS;
    host->damaged = true;
    host->last_failure[0] = 0;
    nemesis_excuse(nemesis, host, WATCH_NS + REPAIR_NS);
}

static void come(struct nemesis *nemesis, struct host *host)
{
    struct nemesis_damage *damage = &nemesis->damage;
    char where[DISK_DAMAGE_SIZE] = "";
    damage->state = DAMAGE_COMING;
    damage->until_ns = now(nemesis) + HAPPEN_NS;
    switch (damage->kind) {
    case NEMESIS_ROT:
        if (!disk_rot(&host->disk, &nemesis->draw, where))
            break;
        world_note(nemesis->world, "rotten", host->number, damage->number, 0);
        world_tell(nemesis->world, "host %u: bits have changed in %s", host->number, where);
        happened(nemesis, host);
        if (draw_chance(&nemesis->draw, 2, 3)) /* so that it is read */
            host_kill(host, draw_chance(&nemesis->draw, 1, 2));
        break;
    case NEMESIS_MISDIRECT:
        host->disk.misdirected[0] = 0;
        host->disk.misdirect_in = (uint32_t)draw_between(&nemesis->draw, 1, 12);
        break;
    default:
        damage->image = disk_image_take(&host->disk);
        world_tell(nemesis->world, "host %u: an image of its disk is taken", host->number);
        damage->until_ns = now(nemesis) + draw_between(&nemesis->draw, 50, IMAGE_MS) * NS_PER_MS;
        break;
    }
}

static void put_back(struct nemesis *nemesis, struct host *host)
{
    world_note(nemesis->world, "put back", host->number, nemesis->damage.number, 0);
    world_tell(nemesis->world, "host %u loses power, and its disk is put back to the image",
               host->number);
    happened(nemesis, host);
    host_kill(host, true);
    disk_image_restore(&host->disk, nemesis->damage.image);
}

static void await(struct nemesis *nemesis, struct host *host)
{
    struct nemesis_damage *damage = &nemesis->damage;
    if (damage->kind == NEMESIS_ROLLBACK) {
        if (now(nemesis) >= damage->until_ns)
            put_back(nemesis, host);
        return;
    }
    if (host->disk.misdirected[0] != 0) {
        world_note(nemesis->world, "misdirected", host->number, damage->number, 0);
        world_tell(nemesis->world, "host %u: %s", host->number, host->disk.misdirected);
        happened(nemesis, host);
        host_kill(host, true); /* unless it found it, and stopped: then it starts, and says more */
    } else if (now(nemesis) >= damage->until_ns) {
        host->disk.misdirect_in = 0; /* nothing was written */
        damage->given_up_total++;
        finish(nemesis);
    }
}

/* Words that help: where, and what to do. */
static bool is_helpful(const char *text)
{
    return strstr(text, HOST_DIRECTORY) != NULL || strstr(text, "entry ") != NULL ||
           strstr(text, "repair") != NULL || strstr(text, "look at the disk") != NULL;
}

static void watch(struct nemesis *nemesis, struct host *host)
{
    struct nemesis_damage *damage = &nemesis->damage;
    damage->found = host->node == NULL && host->last_failure[0] != 0;
    if (!damage->found && now(nemesis) < damage->until_ns)
        return;
    if (damage->found) {
        damage->found_total++;
        world_tell(nemesis->world, "host %u has found it: %s", host->number, host->last_failure);
        if (!is_helpful(host->last_failure))
            world_violate(nemesis->world, "host %u stops over a damaged disk and says only: %s",
                          host->number, host->last_failure);
    } else {
        damage->unnoticed_total++;
        world_tell(nemesis->world, "host %u is none the worse for it so far", host->number);
    }
    damage->state = DAMAGE_REPAIRING;
    damage->until_ns = now(nemesis) + REPAIR_NS;
    if (!members_replace(nemesis->members, host->number))
        world_violate(nemesis->world, "host %u cannot be replaced: the operator is busy",
                      host->number);
}

static void look(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    struct nemesis_damage *damage = &nemesis->damage;
    struct host *host = &nemesis->hosts[damage->host];
    if (round != nemesis->round || number != damage->number || damage->state == DAMAGE_NONE)
        return;
    switch (damage->state) {
    case DAMAGE_CALMING:
        if (is_calm(nemesis)) {
            come(nemesis, host);
        } else if (now(nemesis) >= damage->until_ns) {
            world_tell(nemesis->world, "it does not settle: the disk stays as it is");
            damage->given_up_total++;
            finish(nemesis);
            return;
        }
        break;
    case DAMAGE_COMING:
        await(nemesis, host);
        break;
    case DAMAGE_WATCHED:
        watch(nemesis, host);
        break;
    case DAMAGE_REPAIRING:
        if ((members_are_idle(nemesis->members) && is_serving(host)) ||
            now(nemesis) >= damage->until_ns) {
            finish(nemesis);
            return;
        }
        break;
    case DAMAGE_NONE:
        break;
    }
    if (damage->state != DAMAGE_NONE)
        look_again(nemesis);
}

void nemesis_damage(struct nemesis *nemesis, enum nemesis_kind kind, struct host *host)
{
    struct nemesis_damage *damage = &nemesis->damage;
    if (damage->state != DAMAGE_NONE)
        return;
    nemesis_heal(nemesis);
    damage->state = DAMAGE_CALMING;
    damage->kind = kind;
    damage->host = host->number;
    damage->number = nemesis->number;
    damage->found = false;
    damage->until_ns = now(nemesis) + CALM_NS;
    look_again(nemesis);
}

/* The disk may be wrong still, and nobody may know it: it goes. */
void nemesis_damage_end(struct nemesis *nemesis)
{
    struct nemesis_damage *damage = &nemesis->damage;
    struct host *host = &nemesis->hosts[damage->host];
    host->disk.misdirect_in = 0;
    if (damage->state == DAMAGE_WATCHED && !members_replace(nemesis->members, host->number))
        world_violate(nemesis->world, "host %u cannot be replaced: the operator is busy",
                      host->number);
    if (damage->state == DAMAGE_COMING && host->disk.misdirected[0] != 0 &&
        damage->kind == NEMESIS_MISDIRECT)
        (void)members_replace(nemesis->members, host->number);
    if (damage->state != DAMAGE_NONE)
        finish(nemesis);
}
