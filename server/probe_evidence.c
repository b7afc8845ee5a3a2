/*
 * "Unknown" is null in the document, and no sample among the metrics: a gauge that shows 0 for what
 * nobody knows would be believed. `tally_rpo_known` tells an alert that the others are missing.
 */
#include "server/probe_evidence.h"

#include "core/u128.h"
#include "replication/node/certificate_record.h"
#include "replication/node/rpo.h"
#include "server/metrics.h"

#include <inttypes.h>
#include <string.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *hex(const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * CERTIFICATE_HEAD_SIZE + 1];
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * size] = '\0';
    return json_string(text);
}

/* Minor units of a ledger have up to 39 digits: text. */
#define AMOUNT_SIZE 40
static const char *amount_text(const struct rpo_ledger *ledger, char out[AMOUNT_SIZE])
{
    u128 value = u128_make(ledger->amount_low, ledger->amount_high);
    char *at = out + AMOUNT_SIZE - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value > 0);
    return at;
}

/* ---- the document ---- */

static json_t *site_json(const struct rpo_site *site)
{
    const bool known = (site->flags & RPO_KNOWN) != 0;
    const bool amounts = (site->flags & RPO_AMOUNTS) != 0;
    char text[AMOUNT_SIZE];
    json_t *object = json_object();
    json_object_set_new(object, "site", json_string(site->site));
    json_object_set_new(object, "entries", known ? number(site->entries) : json_null());
    json_object_set_new(object, "bytes", amounts ? number(site->bytes) : json_null());
    json_object_set_new(object, "seconds",
                        amounts ? json_real((double)site->ns / 1e9) : json_null());
    json_object_set_new(object, "exact", json_boolean((site->flags & RPO_EXACT) != 0));
    json_t *ledgers = json_array();
    for (uint32_t i = 0; i < site->ledger_count; i++) {
        json_t *ledger = json_object();
        json_object_set_new(ledger, "ledger", number(site->ledgers[i].ledger));
        json_object_set_new(ledger, "minor", json_string(amount_text(&site->ledgers[i], text)));
        json_array_append_new(ledgers, ledger);
    }
    if (!amounts) {
        json_decref(ledgers);
        ledgers = json_null();
    }
    json_object_set_new(object, "ledgers", ledgers);
    json_object_set_new(object, "other_transfers",
                        amounts ? number(site->other_transfers) : json_null());
    return object;
}

static json_t *rpo_json(const struct rpo_report *report)
{
    if (report->site_count == 0)
        return json_null();
    json_t *sites = json_array();
    for (uint32_t i = 0; i < report->site_count; i++)
        json_array_append_new(sites, site_json(&report->sites[i]));
    return sites;
}

static json_t *certificate_json(const struct certificate_view *view)
{
    const struct certificate_record *record = &view->record;
    json_t *object = json_object();
    json_object_set_new(object, "node", number(record->node_id));
    json_object_set_new(object, "term", number(record->term));
    json_object_set_new(object, "sequence", number(record->sequence));
    json_object_set_new(object, "time_ns", number(record->wall_ns));
    json_object_set_new(object, "ledger_time_ns", number(record->stamp));
    json_object_set_new(object, "index", number(record->index));
    json_object_set_new(object, "head", hex(record->head, sizeof record->head));
    json_object_set_new(object, "rule", json_string(certificate_rule_name(record->rule)));
    json_object_set_new(object, "mode",
                        json_string(durability_mode_text((enum durability_mode)record->mode)));
    json_object_set_new(
        object, "policy",
        json_string(durability_decision_text((enum durability_decision)record->policy)));
    json_object_set_new(object, "number", number(record->number));
    json_object_set_new(object, "both_index",
                        record->both_index != 0 ? number(record->both_index) : json_null());
    json_object_set_new(object, "signed", json_boolean(view->signature_size != 0));
    return object;
}

void probe_evidence_json(json_t *root, const struct node *node)
{
    struct rpo_report report;
    struct certificate_view view;
    node_rpo(node, &report);
    json_object_set_new(root, "rpo", rpo_json(&report));
    json_object_set_new(root, "certificate",
                        node_certificate(node, &view) ? certificate_json(&view) : json_null());
}

/* ---- metrics ---- */

enum rpo_metric { RPO_IS_KNOWN, RPO_ENTRIES, RPO_BYTES, RPO_SECONDS, RPO_METRIC_COUNT };

static const struct {
    const char *name, *help;
} rpo_metrics[RPO_METRIC_COUNT] = {
    [RPO_IS_KNOWN] = {"tally_rpo_known", "1 while the figures below are known."},
    [RPO_ENTRIES] = {"tally_rpo_entries", "Applied entries that the site is not known to hold."},
    [RPO_BYTES] = {"tally_rpo_bytes", "Bytes of these entries."},
    [RPO_SECONDS] = {"tally_rpo_seconds", "Age of the oldest of these entries."},
};

static void write_site(FILE *page, enum rpo_metric metric, const struct rpo_site *site)
{
    const char *name = rpo_metrics[metric].name;
    const bool known = (site->flags & RPO_KNOWN) != 0;
    const bool amounts = (site->flags & RPO_AMOUNTS) != 0;
    char label[64];
    metrics_label(label, sizeof label, "site", site->site);
    if (metric == RPO_IS_KNOWN)
        metrics_sample(page, name, label, known && amounts);
    else if (metric == RPO_ENTRIES && known)
        metrics_sample(page, name, label, site->entries);
    else if (metric == RPO_BYTES && amounts)
        metrics_sample(page, name, label, site->bytes);
    else if (metric == RPO_SECONDS && amounts)
        fprintf(page, "%s{%s} %" PRIu64 ".%03" PRIu64 "\n", name, label, site->ns / 1000000000,
                site->ns / 1000000 % 1000);
}

static void write_amounts(FILE *page, const struct rpo_report *report)
{
    metrics_family(page, "tally_rpo_minor_units", METRIC_GAUGE,
                   "Money moved by these entries, in minor units of the ledger.");
    for (uint32_t i = 0; i < report->site_count; i++)
        for (uint32_t k = 0; k < report->sites[i].ledger_count; k++) {
            char label[64], text[AMOUNT_SIZE];
            metrics_label(label, sizeof label, "site", report->sites[i].site);
            fprintf(page, "tally_rpo_minor_units{%s,ledger=\"%" PRIu32 "\"} %s\n", label,
                    report->sites[i].ledgers[k].ledger,
                    amount_text(&report->sites[i].ledgers[k], text));
        }
}

void probe_evidence_metrics(FILE *page, const struct node *node)
{
    struct rpo_report report;
    struct certificate_view view;
    node_rpo(node, &report);
    for (int metric = 0; metric < RPO_METRIC_COUNT; metric++) {
        metrics_family(page, rpo_metrics[metric].name, METRIC_GAUGE, rpo_metrics[metric].help);
        for (uint32_t i = 0; i < report.site_count; i++)
            write_site(page, (enum rpo_metric)metric, &report.sites[i]);
    }
    write_amounts(page, &report);
    if (!node_certificate(node, &view))
        return;
    metrics_gauge(page, "tally_certificate_index", "What the newest certificate covers.",
                  view.record.index);
    metrics_family(page, "tally_certificate_time_seconds", METRIC_GAUGE,
                   "The moment that it is about, by its leader's clock, since 1970.");
    fprintf(page, "tally_certificate_time_seconds %" PRIu64 ".%03" PRIu64 "\n",
            view.record.wall_ns / 1000000000, view.record.wall_ns / 1000000 % 1000);
}
