/*
 * Whose word counts: for who belongs to the cluster and how far everybody is, the leader of the
 * newest term that answered; if none leads, the answer of the newest term. For itself, every node.
 * Two documents are not of the same moment, so indexes that differ a little are normal and only
 * states at the *same* index are compared.
 *
 * A member that no server of the list answers for is still shown, with what the others know of it:
 * a witness serves no clients and is seen only so.
 */
#include "client/cli/cluster_text.h"

#include "client/cli/output.h"
#include "client/cli/status_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* Leaders hand over at 500 ms. */
#define CLOCK_OFFSET_NS 250000000
/* More than an entry in flight here and there: apply does not keep up. */
#define BEHIND_ENTRIES 64

/* ---- fields ---- */

static uint64_t number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "";
}

static bool is_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* ---- whose word counts ---- */

static const json_t *authority(const struct cluster_answer *answers, size_t count)
{
    const json_t *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const json_t *document = answers[i].document;
        if (document == NULL || json_object_get(document, "members") == NULL)
            continue;
        bool leads = is_true(document, "leads");
        bool better =
            best == NULL || leads > is_true(best, "leads") ||
            (leads == is_true(best, "leads") && number(document, "term") > number(best, "term"));
        if (better)
            best = document;
    }
    return best;
}

/* What the node itself said; NULL when no server of the list was it. */
static const json_t *own_words(const struct cluster_answer *answers, size_t count, uint64_t node)
{
    for (size_t i = 0; i < count; i++)
        if (answers[i].document != NULL && number(answers[i].document, "node") == node)
            return answers[i].document;
    return NULL;
}

/* ---- what is wrong ---- */

/* Calls `tell` with each thing that needs attention: what, and what to do. */
struct attention {
    void (*tell)(void *context, const char *what, const char *next);
    void *context;
};

__attribute__((format(printf, 3, 4))) static void wrong(const struct attention *to,
                                                        const char *next, const char *format, ...)
{
    char what[700];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    to->tell(to->context, what, next);
}

static void judge_servers(const struct cluster_answer *answers, size_t count, const json_t *best,
                          const struct attention *to)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *document = answers[i].document;
        if (document == NULL)
            wrong(to, "look at that machine, its network, and the node's log", "%s: %s",
                  answers[i].server, answers[i].error);
        else if (best != NULL && strcmp(text(document, "cluster"), text(best, "cluster")) != 0)
            wrong(to, "correct the list of servers (profile, --server)",
                  "%s belongs to ANOTHER CLUSTER, %s", answers[i].server,
                  text(document, "cluster"));
    }
}

static void judge_leader(const struct cluster_answer *answers, size_t count, const json_t *best,
                         const struct attention *to)
{
    size_t leaders = 0;
    for (size_t i = 0; i < count; i++)
        leaders += is_true(answers[i].document, "leads");
    if (best != NULL && leaders == 0 && number(best, "leader") == 0)
        wrong(to, "a majority of the voters must run and reach each other; look at the links below",
              "NOBODY LEADS: writes and newest reads wait");
    else if (best != NULL && leaders == 0)
        wrong(to, "name all data nodes in the profile or --server",
              "the leader, node %" PRIu64 ", is not among the servers that answered",
              number(best, "leader"));
    if (leaders > 1)
        wrong(to, "none of it can answer wrongly; if it lasts, look at the network between them",
              "%zu nodes say that they lead: all but one have been cut off and do not know it yet",
              leaders);
}

/* Whether the leader's table lacks a node: it was removed, or is not added yet. Only a leader's
 * table counts: the others' may be older than the node. */
static bool is_no_member(const json_t *best, uint64_t node)
{
    size_t i;
    json_t *member;
    json_array_foreach(json_object_get(best, "members"), i, member)
    {
        if (number(member, "node") == node)
            return false;
    }
    return is_true(best, "leads");
}

static void judge_node(const json_t *document, const json_t *best, const struct attention *to)
{
    const json_t *index = json_object_get(document, "index");
    const char *phase = text(document, "phase");
    uint64_t node = number(document, "node");
    uint64_t commit = number(index, "commit");
    uint64_t applied = number(index, "applied");
    char part[STATUS_TEXT_SIZE];
    if (strcmp(phase, "failed") == 0)
        wrong(to, "its log has the cause; \"tally node repair\" if the files are damaged",
              "node %" PRIu64 " has failed: %s", node, text(document, "error"));
    else if (is_no_member(best, node))
        wrong(to,
              "if it was removed, stop it for good and take it out of the profiles; if it is new, "
              "\"tally member add\"",
              "node %" PRIu64 " runs and is NO MEMBER of the cluster", node);
    else if (!is_true(document, "ready"))
        wrong(to, "it takes no requests; its /readyz has the reason",
              "node %" PRIu64 " is not ready: %s", node, phase);
    if (is_true(document, "read_only"))
        wrong(to, "free disk space there; it ends by itself with its reason",
              "node %" PRIu64 " is READ-ONLY: %s", node, text(document, "read_only_reason"));
    if (number(document, "clock_behind_ns") > CLOCK_OFFSET_NS)
        wrong(to, "check the clock's synchronization on that machine",
              "ledger time is %s ahead of the clock of node %" PRIu64,
              status_text_duration(number(document, "clock_behind_ns"), part), node);
    if (strcmp(text(document, "kind"), "witness") != 0 && commit > applied &&
        commit - applied > BEHIND_ENTRIES)
        wrong(to, "look again; if the number does not fall, look at its disk and log",
              "node %" PRIu64 " is BEHIND: %" PRIu64 " agreed entries are not applied there", node,
              commit - applied);
}

/* What the asked node knows of why it is not linked to a peer; "" when it does not say. */
static const char *why_not_linked(const json_t *document, uint64_t node)
{
    size_t i;
    json_t *link;
    json_array_foreach(json_object_get(document, "links"), i, link)
    {
        if (number(link, "node") == node)
            return text(json_object_get(link, "raft"), "why_down");
    }
    return "";
}

static void judge_member(const json_t *document, const json_t *member, const struct attention *to)
{
    const char *why = why_not_linked(document, number(member, "node"));
    uint64_t node = number(member, "node");
    int64_t offset = json_integer_value(json_object_get(member, "clock_offset_ns"));
    const json_t *catch_up = json_object_get(member, "catch_up");
    char first[STATUS_TEXT_SIZE];
    char second[STATUS_TEXT_SIZE];
    if (!is_true(member, "linked"))
        wrong(to, "is it running, can the machines reach each other? Both logs say why",
              "node %" PRIu64 " at site %s is NOT LINKED to the leader%s%s", node,
              text(member, "site"), *why != '\0' ? ": " : "", why);
    if (offset > CLOCK_OFFSET_NS || offset < -CLOCK_OFFSET_NS)
        wrong(to, "check the clocks' synchronization; a leader too far off hands over",
              "the clock of node %" PRIu64 " is %s %s", node,
              status_text_duration((uint64_t)(offset < 0 ? -offset : offset), first),
              offset < 0 ? "behind the leader's" : "ahead of the leader's");
    if (is_true(catch_up, "active"))
        wrong(to, "nothing to do but wait", "node %" PRIu64 " is being caught up: %s%s%s", node,
              status_text_bytes(number(catch_up, "bytes_done"), first),
              number(catch_up, "bytes_total") != 0 ? " of " : "",
              number(catch_up, "bytes_total") != 0
                  ? status_text_bytes(number(catch_up, "bytes_total"), second)
                  : "");
}

static void judge_sites(const json_t *best, const struct attention *to)
{
    const json_t *sites = json_object_get(best, "sites");
    size_t i;
    json_t *site;
    if (json_array_size(sites) < 3)
        return; /* one or two sites never survive the loss of one: the table below says so */
    json_array_foreach(sites, i, site)
    {
        if (!is_true(site, "survives_loss"))
            wrong(
                to,
                "bring back the voters that are not linked, or add the one that is missing, before "
                "anything else is done",
                "the LOSS OF SITE %s WOULD NOT BE SURVIVED now: %s", text(site, "site"),
                text(site, "reason"));
    }
}

static void judge_durability(const json_t *best, const struct attention *to)
{
    const json_t *entry = json_object_get(best, "durability_entry");
    if (strcmp(text(best, "mode"), "degraded") == 0)
        wrong(to, "bring the site back; it is counted on again when it has kept pace for a while",
              "DEGRADED since entry %" PRIu64 " (%s): what is acknowledged is promised at one site "
              "only. %s, by %s",
              number(entry, "number"), text(entry, "site"), text(entry, "why"), text(entry, "who"));
    if (*text(best, "degraded_bound") != '\0')
        wrong(to, "bring the site back", "the policy's bound on running degraded is reached: %s",
              text(best, "degraded_bound"));
    if (is_true(best, "return_capped"))
        wrong(to, "find out why the site comes and goes, then return by hand",
              "it stays degraded because of the cap on changes: %s", text(best, "held_up"));
    else if (*text(best, "held_up") != '\0')
        wrong(to, "bring the site back, or, under policy \"operator\", degrade",
              "WRITES STAND STILL and the policy keeps it so: %s", text(best, "held_up"));
}

/* Same index, other state: the one thing that must never be. */
static void judge_digests(const struct cluster_answer *answers, size_t count,
                          const struct attention *to)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            const json_t *a = answers[i].document;
            const json_t *b = answers[k].document;
            const json_t *at_a = json_object_get(a, "digest_at");
            const json_t *at_b = json_object_get(b, "digest_at");
            uint64_t applied = number(json_object_get(a, "index"), "applied");
            bool witness =
                strcmp(text(a, "kind"), "witness") == 0 || strcmp(text(b, "kind"), "witness") == 0;
            if (a == NULL || b == NULL || witness || number(a, "node") == number(b, "node"))
                continue;
            bool differ = number(at_a, "index") != 0 &&
                          number(at_a, "index") == number(at_b, "index") &&
                          strcmp(text(at_a, "digest"), text(at_b, "digest")) != 0;
            differ |= applied != 0 && applied == number(json_object_get(b, "index"), "applied") &&
                      strcmp(text(a, "digest"), text(b, "digest")) != 0;
            if (differ)
                wrong(to, "stop the follower of the two, keep its files, and report this",
                      "nodes %" PRIu64 " and %" PRIu64 " DIFFER in their state at the same index",
                      number(b, "node"), number(a, "node"));
        }
    }
}

static void judge(const struct cluster_answer *answers, size_t count, const struct attention *to)
{
    const json_t *best = authority(answers, count);
    size_t i;
    json_t *member;
    judge_digests(answers, count, to);
    judge_leader(answers, count, best, to);
    judge_sites(best, to);
    judge_durability(best, to);
    judge_servers(answers, count, best, to);
    for (size_t k = 0; k < count; k++)
        if (answers[k].document != NULL)
            judge_node(answers[k].document, best, to);
    if (is_true(best, "leads"))
        json_array_foreach(json_object_get(best, "members"), i, member)
            judge_member(best, member, to);
    const char *step = text(best, "change_step");
    if (*step != '\0' || is_true(best, "changing_members"))
        wrong(to, "repeat the command that began it if it was interrupted",
              "a change of members is under way%s%s", *step != '\0' ? ": " : "", step);
}

/* ---- for people ---- */

struct page {
    FILE *out;
    bool any;
};

static void print_wrong(void *context, const char *what, const char *next)
{
    struct page *page = context;
    if (!page->any)
        fputs("\nneeds attention\n", page->out);
    page->any = true;
    fprintf(page->out, "  %s\n      %s\n", what, next);
}

static const char *state_of(const json_t *member, const json_t *document)
{
    if (document == NULL)
        return is_true(member, "linked") ? "(linked)" : "no answer";
    if (strcmp(text(document, "phase"), "serving") != 0)
        return text(document, "phase");
    return text(document, "role");
}

/* "" for what is not known. */
static const char *optional(const json_t *object, const char *name, char out[24])
{
    const json_t *value = json_object_get(object, name);
    out[0] = '\0';
    if (json_is_integer(value))
        snprintf(out, 24, "%" PRIu64, (uint64_t)json_integer_value(value));
    return out;
}

static void print_member(FILE *out, const json_t *member, const json_t *document)
{
    const json_t *index = json_object_get(document, "index");
    char term[24], last[24], agreed[24], applied[24], durable[24], lag[24], heard[24];
    char clock[32] = "";
    const json_t *offset = json_object_get(member, "clock_offset_ns");
    if (json_is_integer(offset) && !is_true(member, "self"))
        snprintf(clock, sizeof clock, "%+.1f", (double)json_integer_value(offset) / 1e6);
    /* Without its own word, what its journal is known to hold. */
    const char *synced =
        document != NULL ? optional(index, "synced", last) : optional(member, "match_index", last);
    fprintf(out, "  %4" PRIu64 "  %-8s %-8s %-8s %-11s %6s %10s %10s %10s %10s %6s %8s %8s\n",
            number(member, "node"), text(member, "site"), text(member, "kind"),
            text(member, "vote"), state_of(member, document), optional(document, "term", term),
            synced, optional(index, "commit", agreed),
            strcmp(text(member, "kind"), "witness") == 0 ? "" : optional(index, "applied", applied),
            strcmp(text(member, "kind"), "witness") == 0 ? "" : optional(index, "durable", durable),
            optional(member, "lag", lag), clock,
            is_true(member, "self") ? "" : optional(member, "heard_ms", heard));
}

static void print_nodes(FILE *out, const struct cluster_answer *answers, size_t count,
                        const json_t *best)
{
    size_t i;
    json_t *member;
    fputs("\nnodes, as each says of itself; lag (entries), clock (ms) and heard (ms ago) as the "
          "first "
          "line says\n",
          out);
    fprintf(out, "  %4s  %-8s %-8s %-8s %-11s %6s %10s %10s %10s %10s %6s %8s %8s\n", "node",
            "site", "kind", "vote", "state", "term", "synced", "agreed", "applied", "in store",
            "lag", "clock", "heard");
    json_array_foreach(json_object_get(best, "members"), i, member)
        print_member(out, member, own_words(answers, count, number(member, "node")));
}

static void print_sites(FILE *out, const json_t *best)
{
    size_t i;
    json_t *site;
    fprintf(out, "\nsites: mode %s, policy %s, entry %" PRIu64 ", both have %" PRIu64 "\n",
            text(best, "mode"), text(json_object_get(best, "policy"), "decision"),
            number(best, "number"), number(best, "both"));
    json_array_foreach(json_object_get(best, "sites"), i, site)
    {
        char lag[24];
        const bool known = *optional(site, "lag", lag) != '\0';
        fprintf(out, "  %-8s its loss would %sbe survived%s%s%s%s%s\n", text(site, "site"),
                is_true(site, "survives_loss") ? "" : "NOT ",
                *text(site, "reason") != '\0' ? ": " : "", text(site, "reason"),
                known ? "; it lacks " : "", lag, known ? " entries" : "");
    }
}

static void print_digests(FILE *out, const struct cluster_answer *answers, size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        const json_t *at = json_object_get(answers[i].document, "digest_at");
        if (number(at, "index") == 0)
            continue;
        if (!any)
            fputs("\nstate digests at the newest common mark of each node\n", out);
        any = true;
        fprintf(out, "  node %-4" PRIu64 " index %-12" PRIu64 " %s\n",
                number(answers[i].document, "node"), number(at, "index"), text(at, "digest"));
    }
}

void cluster_text_print(const struct cluster_answer *answers, size_t count, FILE *out)
{
    const json_t *best = authority(answers, count);
    struct page page = {.out = out};
    const struct attention to = {.tell = print_wrong, .context = &page};
    size_t answered = 0;
    for (size_t i = 0; i < count; i++)
        answered += answers[i].document != NULL;
    if (best == NULL)
        fprintf(out, "none of %zu servers told about a cluster\n", count);
    else if (number(best, "leader") != 0)
        fprintf(out,
                "cluster %s: node %" PRIu64 " leads in term %" PRIu64
                "; %zu of %zu servers answered; rule=%s\n",
                text(best, "cluster"), number(best, "leader"), number(best, "term"), answered,
                count, text(best, "rule"));
    else
        fprintf(out, "cluster %s: nobody leads; %zu of %zu servers answered; rule=%s\n",
                text(best, "cluster"), answered, count, text(best, "rule"));
    judge(answers, count, &to);
    if (best == NULL)
        return;
    print_nodes(out, answers, count, best);
    print_sites(out, best);
    print_digests(out, answers, count);
}

/* ---- for programs ---- */

static void add_wrong(void *context, const char *what, const char *next)
{
    json_array_append_new(context, json_pack("{s:s, s:s}", "what", what, "next", next));
}

json_t *cluster_json(const struct cluster_answer *answers, size_t count)
{
    const json_t *best = authority(answers, count);
    json_t *nodes = json_array();
    json_t *attention = json_array();
    const struct attention to = {.tell = add_wrong, .context = attention};
    for (size_t i = 0; i < count; i++)
        json_array_append_new(nodes, answers[i].document != NULL
                                         ? json_pack("{s:s, s:O}", "server", answers[i].server,
                                                     "status", answers[i].document)
                                         : json_pack("{s:s, s:s}", "server", answers[i].server,
                                                     "error", answers[i].error));
    judge(answers, count, &to);
    return json_pack("{s:s, s:I, s:I, s:s, s:s, s:I, s:O?, s:O?, s:O?, s:O?, s:o, s:o}", "cluster",
                     text(best, "cluster"), "leader", (json_int_t)number(best, "leader"), "term",
                     (json_int_t)number(best, "term"), "rule", text(best, "rule"), "mode",
                     text(best, "mode"), "number", (json_int_t)number(best, "number"), "policy",
                     json_object_get(best, "policy"), "sites", json_object_get(best, "sites"),
                     "members", json_object_get(best, "members"), "survives_loss",
                     json_object_get(best, "survives_loss"), "attention", attention, "nodes",
                     nodes);
}
