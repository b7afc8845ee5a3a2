/*
 * Three verdicts, and for each the argument that it never claims too much. "Acknowledged" is what a
 * client was told to be executed, at any time until the loss; the survivors are the directories
 * that are presented, their nodes stopped. Only sound journals count: every checksum and the chain
 * hold, and the node was not quarantined for having lost what it acknowledged.
 *
 * *Covered.* A certificate says "at T everything acknowledged is at or below N". It counts once
 * the best journal here, the one with the greatest (last term, last index), holds entry N with the
 * chain head H: then it holds all that was acknowledged at T, byte for byte. A certificate that is
 * above the end of that journal, or whose H is another one, contradicts what is here: something
 * committed is missing, or a file was exchanged. Then nothing is proven, whatever else is here. One
 * whose N was pruned cannot be compared and says nothing.
 *
 * PROVEN_ZERO by majority. The sound survivors are a majority of the voters, by the newest
 * configuration in the best journal, each with the incarnation that it names, and a certificate is
 * covered. An entry is acknowledged after a majority of the voters had it synced, of that
 * configuration or one step away from it (of each change one step is committed before the next
 * begins, and a step that is committed is known to one of us by this same argument): two such
 * majorities share a node, that node is here, and its journal lost nothing. By Raft's argument for
 * elections the best journal then holds it too: these survivors could elect its node. This needs
 * neither a mode nor a policy. The certificate is asked for although the argument does without it,
 * because it is the one witness against a directory that was put back from an older copy.
 *
 * PROVEN_ZERO by policy. A covered certificate says: rule site, policy never, SYNC, and no
 * durability entry behind the committed one; no journal here has a later durability entry either;
 * and here are all data members of one site, voters or not, by the newest configuration. Under
 * SYNC a commit implies a data voter of each site. So who could have acknowledged something that
 * this site does not hold must have left SYNC after N. Under `never` no degrade entry is taken,
 * not even an operator's, by the *committed* policy; another policy commits under SYNC, so one of
 * this site's journals would have its entry. A data node that became a voter of this site behind
 * our back was a member before, by an entry committed under SYNC, and would be missing here. A
 * member change that leaves a site without a data voter is refused under `never`; one that ends the
 * rule by a data voter at a third site needs that member first, and then it is in our table.
 * With any other policy one site's journals alone prove nothing: the other site and the witness may
 * have degraded after the last contact, and gone on.
 *
 * BOUNDED_BY_TIME. A covered certificate, and a time of loss that somebody asserts: what was
 * acknowledged up to T is here; about the time from T to the loss, and the margin by which two
 * clocks may differ, nothing is known, neither entries nor money. T was the clock of a leader that
 * may be lost, the time of loss is a claim: the verdict names both. A time of loss before T is no
 * better, it is a contradiction, and proves nothing. Without any certificate the journals' own word
 * (certificate_survivor.c) may stand in for it; not where one is refused or a journal is damaged,
 * for whoever changed that may have changed the journal, too.
 *
 * UNKNOWN is everything else, and never a number.
 */
#include "replication/node/certificate_verdict.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *verdict_name(enum verdict verdict)
{
    return verdict == VERDICT_PROVEN_ZERO       ? "PROVEN_ZERO"
           : verdict == VERDICT_BOUNDED_BY_TIME ? "BOUNDED_BY_TIME"
                                                : "UNKNOWN";
}

const char *verdict_basis_name(enum verdict_basis basis)
{
    static const char *const names[] = {
        [VERDICT_BY_NOTHING] = "nothing", [VERDICT_BY_MAJORITY] = "majority",
        [VERDICT_BY_POLICY] = "policy",   [VERDICT_BY_CERTIFICATE] = "certificate",
        [VERDICT_BY_JOURNAL] = "journal",
    };
    return names[basis];
}

__attribute__((format(printf, 2, 3))) static void say(struct verdict_answer *out,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(out->text, sizeof out->text, format, arguments); /* cut is fine */
    va_end(arguments);
}

/* ---- do they belong together? ---- */

static enum status check_together(const struct verdict_question *question,
                                  struct verdict_answer *out)
{
    const struct survivor *first = &question->survivors[0];
    for (uint32_t i = 1; i < question->count; i++) {
        const struct survivor *other = &question->survivors[i];
        if (memcmp(first->identity.cluster_id, other->identity.cluster_id,
                   sizeof first->identity.cluster_id) != 0 ||
            first->identity.cluster_epoch != other->identity.cluster_epoch) {
            say(out, "%s and %s are of different clusters or epochs", first->path, other->path);
            return STATUS_WRONG_CLUSTER;
        }
        for (uint32_t k = 0; k < i; k++)
            if (question->survivors[k].identity.node_id == other->identity.node_id) {
                say(out, "%s and %s are both of node %" PRIu64, question->survivors[k].path,
                    other->path, other->identity.node_id);
                return STATUS_EXISTS;
            }
    }
    return STATUS_OK;
}

static const struct survivor *find_best(const struct verdict_question *question)
{
    const struct survivor *best = NULL;
    for (uint32_t i = 0; i < question->count; i++) {
        const struct survivor *at = &question->survivors[i];
        if (!at->sound)
            continue;
        if (best == NULL || at->last_term > best->last_term ||
            (at->last_term == best->last_term && at->last_index > best->last_index))
            best = at;
    }
    return best;
}

/* ---- certificates against the best journal ---- */

enum coverage { COVERED, NOT_COMPARABLE, TOO_HIGH, CONTRADICTS };

static enum coverage cover(const struct survivor *best, const struct certificate_record *record)
{
    if (record->index > best->last_index)
        return TOO_HIGH;
    const struct survivor_head *head = survivor_head(best, record->index);
    if (head == NULL || head->state == SURVIVOR_HEAD_PRUNED)
        return NOT_COMPARABLE;
    invariant_values(head->state == SURVIVOR_HEAD_THERE, record->index, best->last_index);
    if (head->term != record->index_term ||
        memcmp(head->head, record->head, sizeof head->head) != 0)
        return CONTRADICTS;
    return COVERED;
}

/* The latest T of those that are covered. False: one of them contradicts what is here. */
static bool weigh_certificates(const struct verdict_question *question, struct verdict_answer *out)
{
    bool agrees = true;
    for (uint32_t i = 0; i < question->count; i++) {
        const struct survivor *at = &question->survivors[i];
        const struct certificate_record *record = &at->certificate;
        if (at->certificate_state != SURVIVOR_CERTIFICATE_GOOD)
            continue;
        switch (cover(out->best, record)) {
        case COVERED:
            if (out->proof == NULL || record->wall_ns > out->proof->certificate.wall_ns)
                out->proof = at;
            break;
        case NOT_COMPARABLE:
            break;
        case TOO_HIGH:
            agrees = false;
            if (record->index - out->best->last_index > out->missing)
                out->missing = record->index - out->best->last_index;
            say(out,
                "the certificate in %s speaks of entry %" PRIu64 ", and the journals here end at "
                "%" PRIu64 ": committed entries are missing. Bring the other survivors' "
                "directories",
                at->path, record->index, out->best->last_index);
            break;
        case CONTRADICTS:
            agrees = false;
            out->damaged = true;
            say(out,
                "at entry %" PRIu64 " the journal in %s is another one than the certificate in %s "
                "speaks of: one of them was exchanged",
                record->index, out->best->path, at->path);
            break;
        }
    }
    return agrees;
}

/* ---- who is here ---- */

static bool is_here(const struct verdict_question *question, const struct member *member)
{
    for (uint32_t i = 0; i < question->count; i++) {
        const struct survivor *at = &question->survivors[i];
        if (at->sound && at->identity.node_id == member->node_id &&
            memcmp(at->identity.incarnation, member->incarnation, sizeof member->incarnation) == 0)
            return true;
    }
    return false;
}

static bool majority_is_here(const struct verdict_question *question,
                             const struct member_table *table, char *out_absent, size_t capacity)
{
    uint32_t voters = 0, here = 0;
    size_t used = 0;
    out_absent[0] = '\0';
    for (uint32_t i = 0; i < table->count; i++) {
        if (!table->votes[i] && !planted(PLANTED_VERDICT_COUNTS_STANDBYS))
            continue;
        voters += table->votes[i];
        if (is_here(question, &table->members[i])) {
            here++;
            continue;
        }
        int added =
            snprintf(out_absent + used, capacity - used, "%s%" PRIu64 " (%s)", used > 0 ? ", " : "",
                     table->members[i].node_id, table->members[i].site);
        if (added > 0 && (size_t)added < capacity - used)
            used += (size_t)added;
    }
    return here > voters / 2;
}

/* The rule about both sites is in force, and no promotion of a member can have ended it: data
 * voters at two sites, a witness that votes, and no data member anywhere else, not even one without
 * a vote yet. */
static bool rule_fits(const struct member_table *table)
{
    const char *sites[2] = {NULL, NULL};
    bool votes[2] = {false, false}, witness = false;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct member *member = &table->members[i];
        if (member->kind == MEMBER_WITNESS) {
            witness |= table->votes[i];
            continue;
        }
        int place = 0;
        while (place < 2 && sites[place] != NULL && strcmp(sites[place], member->site) != 0)
            place++;
        if (place == 2)
            return false;
        sites[place] = member->site;
        votes[place] |= table->votes[i];
    }
    return votes[0] && votes[1] && witness;
}

static bool site_is_here(const struct verdict_question *question, const struct member_table *table,
                         const char *site)
{
    bool votes = false;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct member *member = &table->members[i];
        if (member->kind != MEMBER_DATA || strcmp(member->site, site) != 0)
            continue;
        if (!is_here(question, member))
            return false;
        votes |= table->votes[i];
    }
    return votes;
}

static bool any_site_is_here(const struct verdict_question *question,
                             const struct member_table *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (table->members[i].kind == MEMBER_DATA &&
            site_is_here(question, table, table->members[i].site))
            return true;
    return false;
}

static bool policy_holds(const struct verdict_question *question,
                         const struct certificate_record *record)
{
    if (record->rule != CERTIFICATE_SITE || record->policy != DURABILITY_NEVER ||
        record->mode != DURABILITY_SYNC || record->log_number != record->number)
        return false;
    for (uint32_t i = 0; i < question->count; i++)
        if (question->survivors[i].sound &&
            (!question->survivors[i].members_known ||
             question->survivors[i].durability.number != record->number))
            return false;
    return true;
}

/* ---- time ---- */

static void bound_by_time(const struct verdict_question *question, struct verdict_answer *out,
                          const char *absent)
{
    out->verdict = VERDICT_UNKNOWN;
    if (out->proof != NULL) {
        out->basis = VERDICT_BY_CERTIFICATE;
        out->known_index = out->proof->certificate.index;
        out->known_ns = out->proof->certificate.wall_ns;
    } else if (out->best->proven_entry != 0 && !out->damaged) {
        out->basis = VERDICT_BY_JOURNAL;
        out->known_index = out->best->proven_entry;
        out->known_ns = out->best->proven_stamp;
    } else {
        say(out,
            "no certificate here can be used, and no journal says which of its entries were "
            "committed. Voters that are not here: %s",
            absent);
        return;
    }
    if (question->lost_at_ns == 0) {
        say(out, "when the site was lost was not said (--lost-at). Voters that are not here: %s",
            absent);
        return;
    }
    if (question->lost_at_ns < out->known_ns) {
        out->basis = VERDICT_BY_NOTHING;
        say(out, "the loss is said to have been before the last thing that is known: look at the "
                 "asserted time, and at the clocks");
        return;
    }
    out->verdict = VERDICT_BOUNDED_BY_TIME;
    out->unproven_ns = question->lost_at_ns - out->known_ns + VERDICT_CLOCK_MARGIN_NS;
    say(out,
        "everything acknowledged before the last contact is here; what was acknowledged after it, "
        "up to the asserted time of loss, may be lost. Bring the directories of %s to prove more",
        absent);
}

/* ---- the verdict ---- */

static void judge(const struct verdict_question *question, struct verdict_answer *out)
{
    const struct member_table *table = &out->best->members;
    char absent[256] = "unknown";
    bool majority = false;
    if (out->best->members_known)
        majority = majority_is_here(question, table, absent, sizeof absent);
    if (majority && out->proof != NULL) {
        out->verdict = VERDICT_PROVEN_ZERO;
        out->basis = VERDICT_BY_MAJORITY;
        say(out,
            "a majority of the voters is here, and every certificate agrees: whatever was "
            "acknowledged is in the journal in %s",
            out->best->path);
    } else if (out->proof != NULL && out->best->members_known && rule_fits(table) &&
               policy_holds(question, &out->proof->certificate) &&
               any_site_is_here(question, table)) {
        out->verdict = VERDICT_PROVEN_ZERO;
        out->basis = VERDICT_BY_POLICY;
        say(out,
            "the policy was never to degrade, and all data nodes of a site are here: whatever "
            "was acknowledged is in the journal in %s",
            out->best->path);
    } else {
        bound_by_time(question, out, absent[0] != '\0' ? absent : "nobody");
        return;
    }
    out->known_index = out->proof->certificate.index;
    out->known_ns = out->proof->certificate.wall_ns;
}

enum status certificate_judge(const struct verdict_question *question, struct verdict_answer *out)
{
    invariant(question->count > 0);
    *out = (struct verdict_answer){.verdict = VERDICT_UNKNOWN};
    enum status status = check_together(question, out);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < question->count; i++)
        out->damaged |= !question->survivors[i].sound ||
                        question->survivors[i].certificate_state == SURVIVOR_CERTIFICATE_REFUSED;
    out->best = find_best(question);
    if (out->best == NULL)
        say(out, "no journal here is sound");
    else if (weigh_certificates(question, out))
        judge(question, out);
    else
        out->proof = NULL;
    return STATUS_OK;
}
