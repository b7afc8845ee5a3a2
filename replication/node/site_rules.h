/* What has to be true before a site operation begins, judged by what the leader knows. Pure. */
#ifndef TALLY_REPLICATION_SITE_RULES_H
#define TALLY_REPLICATION_SITE_RULES_H

#include "replication/node/site_operation.h"

/* A clock further from the leader's than this would lead with stamps that others doubt. */
#define SITE_CLOCK_MS_MAX 250
/* Silent for longer than this is not current. */
#define SITE_HEARD_MS_MAX 500

struct site_view {
    uint64_t now_ns;
    uint64_t node_id; /* of the leader, who asks */
    struct consensus_status consensus;
    uint32_t count;
    struct consensus_peer peers[MEMBERS_MAX];
    const struct site_told *told[MEMBERS_MAX]; /* by place in peers; NULL = it did not answer */
    uint64_t mark_index;                       /* to be verified by whoever is current */
    const char *member_change;                 /* "" = none */
    struct consensus_durability durability;
};

/* Whether some data node that votes is at `site`; otherwise false with words. */
bool site_rules_knows(const struct site_view *view, const char *site, struct node_error *out_error);
const char *site_rules_site_of(const struct site_view *view, uint64_t node_id);

/* The first other site with a data node that votes, "" = there is none. */
const char *site_rules_other_site(const struct site_view *view, const char *site);

/* Adds the checks of the command to the report. Leadership is to go to `to_site` ("" = it stays):
 * returns the node that should lead, the one of that site that is current, or 0. `consensus` is
 * asked what it would say to an entry. */
uint64_t site_rules_check(const struct site_view *view,
                          const struct site_operation_request *request, const char *to_site,
                          struct consensus *consensus, struct site_report *report);
/* A data node of the site that is connected, current and ready; or 0, and what is missing. */
uint64_t site_rules_current(const struct site_view *view, const char *site, char *out_missing,
                            size_t size);
/* Whether nothing of the report stands in the way. */
bool site_rules_pass(const struct site_report *report);
/* All that stands in the way, in one text. */
void site_rules_explain(const struct site_report *report, const char *what, struct node_error *out);

#endif
