/*
 * What a node says about the two sites: the rule in force, the mode of the log, the policy, and for
 * each site how far it is behind and whether it could be lost at this moment.
 *
 * survives_loss{site} is computed all the time, of who is there rather than of what was configured:
 * a witness that died last month costs nothing until the day a site is lost. A false value comes
 * with its reason. Only the leader knows how far each site is; the others leave that out.
 */
#include "server/probe_cluster_sites.h"

#include "server/metrics.h"

#include <inttypes.h>
#include <string.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static uint64_t ago_ns(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

/* Agreed entries that no data node of the site is known to hold. */
static uint64_t lag(const struct node_cluster *cluster, const struct consensus_site *site)
{
    const uint64_t commit = cluster->consensus.commit_index;
    return commit > site->verified_index ? commit - site->verified_index : 0;
}

/* ---- the document ---- */

static json_t *policy_json(const struct durability_policy *policy)
{
    json_t *object = json_object();
    json_object_set_new(object, "decision",
                        json_string(durability_decision_text(policy->decision)));
    json_object_set_new(object, "degrade_after_ms", number(policy->degrade_after_ms));
    json_object_set_new(object, "grace_ms", number(policy->grace_ms));
    json_object_set_new(object, "lag_ms", number(policy->lag_ms));
    json_object_set_new(object, "resync_dwell_ms", number(policy->resync_dwell_ms));
    json_object_set_new(object, "dwell_min_ms", number(policy->dwell_min_ms));
    json_object_set_new(object, "changes_per_hour_max", number(policy->changes_per_hour_max));
    json_object_set_new(object, "degraded_seconds_max", number(policy->degraded_seconds_max));
    json_object_set_new(object, "degraded_value_max", number(policy->degraded_value_max));
    json_object_set_new(object, "on_bound",
                        json_string(durability_on_bound_text(policy->on_bound)));
    json_object_set_new(object, "preferred_site", json_string(policy->preferred_site));
    json_object_set_new(object, "drained_site", json_string(policy->drained_site));
    return object;
}

/* The newest durability entry; null: none was ever made. */
static json_t *entry_json(const struct durability_entry *entry, uint64_t index)
{
    if (entry->number == 0)
        return json_null();
    json_t *object = json_object();
    json_object_set_new(object, "number", number(entry->number));
    json_object_set_new(object, "index", number(index));
    json_object_set_new(object, "kind", json_string(durability_kind_text(entry->kind)));
    json_object_set_new(object, "mode", json_string(durability_mode_text(entry->mode)));
    json_object_set_new(object, "site", json_string(entry->site));
    json_object_set_new(object, "stamp_ns", number(entry->stamp));
    json_object_set_new(object, "who", json_string(entry->who));
    json_object_set_new(object, "why", json_string(entry->why));
    return object;
}

/* In minor units of that ledger; what does not fit is the most that does. */
static uint64_t value_of(const struct durability_run *run)
{
    return run->value_high != 0 || run->value_low > INT64_MAX ? INT64_MAX : run->value_low;
}

static json_t *site_json(const struct node_cluster *cluster, const struct consensus_site *site,
                         uint64_t now_ns)
{
    json_t *object = json_object();
    json_object_set_new(object, "site", json_string(site->name));
    json_object_set_new(object, "data", json_boolean(site->has_data));
    const bool known = site->known && site->has_data;
    json_object_set_new(object, "verified_index",
                        known ? number(site->verified_index) : json_null());
    json_object_set_new(object, "lag", known ? number(lag(cluster, site)) : json_null());
    json_object_set_new(object, "behind_ms",
                        !known ? json_null()
                        : site->behind_since_ns == 0
                            ? number(0)
                            : number(ago_ns(now_ns, site->behind_since_ns) / 1000000));
    json_object_set_new(object, "heard_ms",
                        site->heard_ns == 0 ? json_null()
                                            : number(ago_ns(now_ns, site->heard_ns) / 1000000));
    json_object_set_new(object, "survives_loss", json_boolean(site->survives_loss));
    json_object_set_new(object, "reason", json_string(site->why_not));
    return object;
}

void probe_sites_json(json_t *root, const struct node_cluster *cluster, uint64_t now_ns)
{
    const struct consensus_durability *durability = &cluster->durability;
    json_object_set_new(root, "rule", json_string(cluster->rule ? cluster->rule : "majority"));
    json_object_set_new(root, "mode", json_string(durability_mode_text(durability->newest.mode)));
    json_object_set_new(root, "mode_committed",
                        json_string(durability_mode_text(durability->committed.mode)));
    json_object_set_new(root, "number", number(durability->newest.number));
    json_object_set_new(root, "number_committed", number(durability->committed.number));
    json_object_set_new(root, "policy", policy_json(&durability->committed.policy));
    json_object_set_new(root, "both", number(durability->both_index));
    json_object_set_new(root, "durability_entry",
                        entry_json(&durability->newest, durability->newest_index));
    json_object_set_new(root, "changes_last_hour", number(durability->changes_last_hour));
    json_object_set_new(root, "return_capped", json_boolean(durability->return_capped));
    json_object_set_new(root, "held_up", json_string(durability->held_up));
    json_t *run = json_null();
    if (cluster->degraded.degraded) {
        run = json_object();
        json_object_set_new(run, "seconds", number(cluster->degraded.seconds));
        json_object_set_new(run, "value", number(value_of(&cluster->degraded)));
        json_object_set_new(run, "ledger", number(cluster->degraded.ledger));
    }
    json_object_set_new(root, "degraded_run", run);
    json_object_set_new(root, "degraded_bound", json_string(cluster->degraded_why));
    json_t *sites = json_array(), *losses = json_object();
    for (uint32_t i = 0; i < durability->site_count; i++) {
        const struct consensus_site *site = &durability->sites[i];
        json_array_append_new(sites, site_json(cluster, site, now_ns));
        json_object_set_new(losses, site->name, json_boolean(site->survives_loss));
    }
    json_object_set_new(root, "sites", sites);
    json_object_set_new(root, "survives_loss", losses);
}

/* ---- metrics ---- */

enum site_metric { SITE_SURVIVES, SITE_VERIFIED, SITE_LAG, SITE_BEHIND, SITE_HEARD, SITE_METRICS };

static const struct {
    const char *name, *help;
} site_metrics[SITE_METRICS] = {
    [SITE_SURVIVES] = {"tally_survives_loss",
                       "1 while nothing acknowledged would be lost with the site, and a majority "
                       "that can go on would be left."},
    [SITE_VERIFIED] = {"tally_site_verified_index",
                       "Newest entry known to be on a disk of the site; at the leader only."},
    [SITE_LAG] = {"tally_site_lag_entries",
                  "Agreed entries not known to be on a disk of the site; at the leader only."},
    [SITE_BEHIND] = {"tally_site_behind_seconds",
                     "Since the site last had all that was agreed; at the leader only."},
    [SITE_HEARD] = {"tally_site_heard_seconds", "Since any node of the site was heard."},
};

static void write_seconds(FILE *page, const char *name, const char *label, uint64_t ns)
{
    fprintf(page, "%s{%s} %" PRIu64 ".%03" PRIu64 "\n", name, label, ns / 1000000000,
            ns / 1000000 % 1000);
}

static void write_site(FILE *page, enum site_metric metric, const struct node_cluster *cluster,
                       const struct consensus_site *site, uint64_t now_ns)
{
    const char *name = site_metrics[metric].name;
    const bool known = site->known && site->has_data;
    char label[64];
    metrics_label(label, sizeof label, "site", site->name);
    switch (metric) {
    case SITE_SURVIVES:
        metrics_sample(page, name, label, site->survives_loss);
        break;
    case SITE_VERIFIED:
        if (known)
            metrics_sample(page, name, label, site->verified_index);
        break;
    case SITE_LAG:
        if (known)
            metrics_sample(page, name, label, lag(cluster, site));
        break;
    case SITE_BEHIND:
        if (known)
            write_seconds(page, name, label,
                          site->behind_since_ns == 0 ? 0 : ago_ns(now_ns, site->behind_since_ns));
        break;
    case SITE_HEARD:
        if (site->heard_ns != 0)
            write_seconds(page, name, label, ago_ns(now_ns, site->heard_ns));
        break;
    case SITE_METRICS:
        break;
    }
}

void probe_sites_metrics(FILE *page, const struct node_cluster *cluster, uint64_t now_ns)
{
    const struct consensus_durability *durability = &cluster->durability;
    metrics_gauge(page, "tally_site_rule",
                  "1 while the rule about two sites is in force: a commit implies both.",
                  durability->in_force);
    metrics_gauge(page, "tally_degraded",
                  "1 while the log says that a majority is enough, without one of the sites.",
                  durability->newest.mode == DURABILITY_DEGRADED);
    metrics_counter(page, "tally_durability_number",
                    "Number of the newest durability entry in the log.", durability->newest.number);
    metrics_gauge(page, "tally_both_index", "Agreed, and certainly on both sites.",
                  durability->both_index);
    metrics_gauge(page, "tally_durability_changes_last_hour",
                  "Changes of the mode in the last hour, as seen here.",
                  durability->changes_last_hour);
    metrics_gauge(page, "tally_return_capped",
                  "1 while the cluster stays degraded because of the cap on changes.",
                  durability->return_capped);
    metrics_gauge(page, "tally_degrade_held_up",
                  "1 while a site is lost and the policy keeps the leader from degrading.",
                  durability->degrade_wanted);
    metrics_gauge(page, "tally_degraded_seconds", "Run with one site alone, now.",
                  cluster->degraded.seconds);
    metrics_gauge(page, "tally_degraded_value",
                  "What debits grew by meanwhile, minor units of the ledger where it is most.",
                  value_of(&cluster->degraded));
    metrics_gauge(page, "tally_degraded_bound", "1 while a bound of the policy on that is reached.",
                  cluster->degraded_bound != DURABILITY_WITHIN);
    for (int metric = 0; metric < SITE_METRICS; metric++) {
        metrics_family(page, site_metrics[metric].name, METRIC_GAUGE, site_metrics[metric].help);
        for (uint32_t i = 0; i < durability->site_count; i++)
            write_site(page, (enum site_metric)metric, cluster, &durability->sites[i], now_ns);
    }
}
