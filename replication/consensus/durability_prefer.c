/*
 * Where the leader should be, by the policy: at the preferred site, and not at a drained one.
 *
 * Preferred site. Leading elsewhere, a node hands over once a data node of that site has been
 * current for FIT_NS without a break, and not sooner than COOLDOWN_NS after its own election: a
 * site that comes and goes must not take the leadership with it each time. Not while that site is
 * the one that was given up.
 *
 * Drained site. Its nodes follow, vote and sync as before, or less would be survived; they only do
 * not lead. A leader there hands over to any current data node elsewhere, at once; the others there
 * wait much longer before they campaign (consensus_lead.c), and so lead only where nobody else can.
 */
#include "replication/consensus/consensus_raft_internal.h"

#include "replication/guard/raft_layout.h"

#include <string.h>

#define FIT_NS      (5000 * NS_PER_MS)
#define COOLDOWN_NS (60000 * NS_PER_MS)
/* Between two tries to leave a drained site. */
#define LEAVE_NS (2000 * NS_PER_MS)

static const struct durability_policy *policy_of(const struct consensus_raft *c)
{
    return &c->durability_log.committed.entry.policy;
}

static bool is_named(const char *wish, const char *site)
{
    return wish[0] != 0 && strcmp(wish, site) == 0;
}

/* Degraded, and it is the site that is done without. */
static bool is_given_up(const struct consensus_raft *c, const char *site)
{
    const struct durability_record *newest = &c->durability_log.newest;
    return newest->entry.mode == DURABILITY_DEGRADED && strcmp(newest->lost_site, site) == 0;
}

/* The best data node of another site that may lead now; `site` NULL: of any. */
static uint64_t find_fit(const struct consensus_raft *c, const char *site)
{
    uint64_t best = 0, best_match = 0;
    for (uint32_t i = 0; i < c->sites.member_count; i++) {
        const struct site_member *member = &c->sites.members[i];
        if (!member->votes || !member->is_data || member->id == c->options.self.node_id)
            continue;
        const char *name = c->sites.sites[member->site].name;
        const uint64_t match = raft_layout_match(&c->raft, member->id);
        if ((site != NULL && strcmp(name, site) != 0) || strcmp(name, c->options.self.site) == 0 ||
            is_given_up(c, name) || is_named(policy_of(c)->drained_site, name) ||
            !raft_guard_is_current(&c->guard, member->id))
            continue;
        if (best == 0 || match > best_match) {
            best = member->id;
            best_match = match;
        }
    }
    return best;
}

bool consensus_is_drained(const struct consensus_raft *c)
{
    return is_named(policy_of(c)->drained_site, c->options.self.site);
}

static void move_to(struct consensus_raft *c, uint64_t to, const char *event, const char *text)
{
    struct durability_drive *drive = &c->durability_drive;
    drive->moved_ns = consensus_now_ns(c);
    drive->fit_since_ns = 0;
    if (consensus_members_transfer(c, to) == STATUS_OK)
        consensus_event(c, event, text, to, c->raft.current_term);
}

void consensus_prefer_process(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    const uint64_t now = consensus_now_ns(c);
    const char *preferred = policy_of(c)->preferred_site;
    if (!c->sites.in_force || !consensus_is_ready(c) || consensus_is_transferring(c))
        return;
    if (consensus_is_drained(c)) {
        const uint64_t to = find_fit(c, NULL);
        if (to != 0 && now - drive->moved_ns >= LEAVE_NS)
            move_to(c, to, "leader_leaves_drained",
                    "this node's site is drained: leadership is handed over");
        return;
    }
    const uint64_t to =
        preferred[0] == 0 || is_named(preferred, c->options.self.site) ? 0 : find_fit(c, preferred);
    if (to == 0) {
        drive->fit_since_ns = 0;
        return;
    }
    if (drive->fit_since_ns == 0)
        drive->fit_since_ns = now;
    if (now - drive->fit_since_ns >= FIT_NS && now - drive->elected_ns >= COOLDOWN_NS &&
        (drive->moved_ns == 0 || now - drive->moved_ns >= COOLDOWN_NS))
        move_to(c, to, "leader_to_preferred",
                "the preferred site keeps pace: leadership is handed over to it");
}
